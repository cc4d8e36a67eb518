"""The dashboards as data: what Grafana needs of them, and that every query has an answer."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from pumpwatch.app.metrics import HubCollector, exposition
from pumpwatch.domain.actors import LOCAL, SYSTEM
from pumpwatch.domain.alerts import Alert, Kind, Severity, Step, Transition, alert_id
from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.ports import AlertChange, HubStatus
from pumpwatch.domain.samples import Chunk
from pumpwatch.domain.sites import Site
from pumpwatch.stores.memory import MemoryLedger, MemorySeries

GRAFANA = Path(__file__).parents[2] / "dashboards" / "grafana"
README = GRAFANA.parent / "README.md"
FILES = sorted((GRAFANA / "dashboards").glob("*.json"))
NOW_MS = 1_763_600_000_000
INSTANCE = {"job": "pumpwatch", "instance": "hub:8000"}


def load(file: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return content


def queries() -> list[Any]:
    found = []
    for file in FILES:
        for panel in load(file)["panels"]:
            for target in panel["targets"]:
                name = f"{file.stem}-{panel['id']}{target['refId']}"
                found.append(pytest.param(target["expr"], target["legendFormat"], id=name))
    return found


# -- structure -----------------------------------------------------------------------------------


def test_every_dashboard_has_an_address_of_its_own() -> None:
    uids = [load(file)["uid"] for file in FILES]

    assert uids
    assert all(re.fullmatch(r"pumpwatch-[a-z0-9-]{1,30}", uid) for uid in uids)
    assert len(set(uids)) == len(uids)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_dashboard_carries_nothing_of_the_server_it_was_made_on(file: Path) -> None:
    assert load(file).keys().isdisjoint({"id", "__inputs", "__requires", "__elements"})
    assert load(file)["schemaVersion"] == 39


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_panels_are_told_apart_and_do_not_overlap(file: Path) -> None:
    panels = load(file)["panels"]
    ids = [panel["id"] for panel in panels]
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]

    assert len(set(ids)) == len(ids)
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24, "Grafana's grid has 24 columns"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_panels_and_queries_use_the_provisioned_data_source(file: Path) -> None:
    provisioned = provisioning("datasources")["datasources"]
    known = [{"type": source["type"], "uid": source["uid"]} for source in provisioned]

    for panel in load(file)["panels"]:
        assert panel["targets"], panel["title"]
        for user in (panel, *panel["targets"]):
            assert user["datasource"] in known, panel["title"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_titles_are_in_both_languages(file: Path) -> None:
    for titled in (load(file), *load(file)["panels"]):
        english, _, japanese = titled["title"].partition(" / ")
        assert english.isascii()
        assert re.search(r"[ぁ-んァ-ヶ一-龠]", japanese), titled["title"]


def test_the_data_source_takes_its_address_from_the_environment() -> None:
    [source] = provisioning("datasources")["datasources"]

    assert source["url"] == "${PROMETHEUS_URL}", "PUMPWATCH_ belongs to the hub's own settings"
    assert "PROMETHEUS_URL=http" in README.read_text(encoding="utf-8")


def test_the_folder_of_dashboards_is_the_one_the_readme_mounts() -> None:
    [provider] = provisioning("dashboards")["providers"]

    assert provider["options"]["path"] in README.read_text(encoding="utf-8")


def provisioning(kind: str) -> dict[str, Any]:
    text = (GRAFANA / "provisioning" / kind / "pumpwatch.yaml").read_text(encoding="utf-8")
    content: dict[str, Any] = yaml.safe_load(text)
    assert content["apiVersion"] == 1
    return content


# -- every query against a real store --------------------------------------------------------------


class Hub:
    """A hub with three stations: one fine, one that fell silent, one that never spoke."""

    def __init__(self) -> None:
        self.ledger, self.series = MemoryLedger(), MemorySeries()
        self.now_ms = NOW_MS
        self.stored = 0
        for site, name in [("north", "浜寺西"), ("south", None), ("never", None)]:
            self.ledger.put_site(SiteKey("default", site), Site(site, name), LOCAL, NOW_MS)
        self._sample("south", NOW_MS - 3_600_000)
        self._alert(SiteKey("default", "north"))

    def status(self) -> HubStatus:
        ms = self.now_ms - 1_000
        counters = {"stored": self.stored, "duplicate": 0, "poison_json": 1}
        return HubStatus(self.now_ms, NOW_MS - 10**6, True, ms, ms, ms, ms, ms, {"assess": 3}, counters)  # fmt: skip

    def step(self, now_ms: int) -> bytes:
        """Go on to ``now_ms``, and what a scrape finds then."""
        self.now_ms = now_ms
        self.stored += 60
        self._sample("north", now_ms - 5_000)
        return exposition(HubCollector(self.ledger, self.ledger, self.series, self))

    def _sample(self, site: str, t_ms: int) -> None:
        values = {"level_m": np.array([0.83]), "pump1_run": np.array([1.0])}
        chunk = Chunk(np.array([t_ms], np.int64), values)
        self.series.write([(SiteKey("default", site), chunk)], 1)

    def _alert(self, key: SiteKey) -> None:
        alert = Alert(
            alert_id(key, "capacity:pump1", NOW_MS), key, "capacity:pump1", Kind.PREDICTIVE,
            Severity.WARNING, ("pump_wear",), "pump1", 0.9, {}, NOW_MS, NOW_MS,
        )  # fmt: skip
        opened = Transition(1, Step.OPENED, NOW_MS, NOW_MS, SYSTEM, alert.severity, alert.fault)
        self.ledger.commit_assessment([], [AlertChange(alert, [opened])], [])


@pytest.fixture(scope="module")
def scraped(victoria: Any) -> Any:
    """The store after ten minutes of scrapes of a hub."""
    hub = Hub()
    for at_ms in range(NOW_MS - 600_000, NOW_MS + 1, 60_000):
        victoria.scrape(hub.step(at_ms), at_ms, INSTANCE)
    return victoria


@pytest.mark.store
@pytest.mark.parametrize(("expression", "legend"), queries())
def test_every_query_has_an_answer_and_its_legend_its_labels(
    scraped: Any, expression: str, legend: str
) -> None:
    series = scraped.ask(expression, NOW_MS)

    assert series
    assert all(np.isfinite(float(one["value"][1])) for one in series)
    for name in re.findall(r"{{\s*(\w+)\s*}}", legend):
        assert all(name in one["metric"] for one in series), name
    legends = [tuple(sorted(one["metric"].items())) for one in series]
    assert len(set(legends)) == len(legends)


def expression_of(title: str) -> str:
    [found] = [
        panel["targets"][0]["expr"]
        for panel in load(GRAFANA / "dashboards" / "fleet.json")["panels"]
        if panel["title"].startswith(title)
    ]
    return str(found)


@pytest.mark.store
def test_a_station_that_never_spoke_is_silent_like_one_that_stopped(scraped: Any) -> None:
    [silent] = scraped.ask(expression_of("Silent stations"), NOW_MS)

    assert silent["value"][1] == "2"


@pytest.mark.store
def test_a_hub_that_is_not_scraped_shows_no_reassuring_zero(scraped: Any) -> None:
    assert scraped.ask(expression_of("Silent stations"), NOW_MS + 3_600_000) == []


@pytest.mark.store
def test_levels_are_named_as_people_name_the_station(scraped: Any) -> None:
    named = {one["metric"]["name"] for one in scraped.ask(expression_of("Water level"), NOW_MS)}

    assert named == {"浜寺西", "south"}


@pytest.mark.store
def test_a_query_of_a_metric_that_is_not_there_finds_nothing(scraped: Any) -> None:
    """The measure of the tests above: emptiness is seen."""
    assert scraped.ask("pumpwatch_level_meters", NOW_MS) == []


@pytest.mark.store
def test_the_readmes_scrape_configuration_is_understood(tmp_path: Path) -> None:
    [config] = re.findall(r"^```yaml\n(.*?)^```", README.read_text(encoding="utf-8"), re.M | re.S)
    for text, sound in ((config, True), (config.replace("targets", "tragets"), False)):
        file = tmp_path / "prometheus.yml"
        file.write_text(text)
        command = ["victoria-metrics", f"-promscrape.config={file}", "-dryRun"]
        strict = "-promscrape.config.strictParse=true"
        done = subprocess.run([*command, strict], cwd=tmp_path, capture_output=True, check=False)
        assert (done.returncode == 0) is sound, done.stderr
