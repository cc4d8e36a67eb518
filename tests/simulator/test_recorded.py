import json

import pandas as pd
import pytest

from pumpwatch.cycles.recording import read_log
from pumpwatch.domain.alerts import ms_from_iso
from pumpwatch.domain.clock import DAY_MS, HOUR_MS
from pumpwatch.domain.errors import InvalidInput
from pumpwatch.domain.sites import LogEntry, LogKind, site_from_dict
from pumpwatch.simulator.catalogue import kind_of
from pumpwatch.simulator.events import Event
from pumpwatch.simulator.fleet import draw_fleet
from pumpwatch.simulator.generation import generate
from pumpwatch.simulator.recorded import parse_fault, write_recordings
from pumpwatch.simulator.scenario import Scenario
from pumpwatch.simulator.weather import Sky
from pumpwatch.simulator.writer import FORMATS


@pytest.fixture(name="scenario")
def _scenario(start_ms):
    def scenario(
        days=2, faults=("mh-01:power_outage:0.5", "mh-02:check_valve_leak:pump1:1"), **more
    ):
        events = tuple(parse_fault(text, start_ms) for text in faults)
        fleet = draw_fleet(5, 2, start_ms)
        end_ms = start_ms + days * DAY_MS
        return Scenario("x", "X", 5, start_ms, end_ms, fleet, Sky(5), events, **more)

    return scenario


@pytest.fixture(name="written")
def _written(tmp_path, scenario):
    def write(form="csv.gz", name="out", progress=None, **changes):
        return write_recordings(tmp_path / name, scenario(**changes), form=form, progress=progress)

    return write


@pytest.mark.parametrize("form", FORMATS)
def test_a_recording_holds_what_was_published(written, scenario, form):
    path = written(form)[1] / f"data.{form}"
    data = pd.read_parquet(path) if form == "parquet" else pd.read_csv(path)
    t_ms = pd.to_datetime(data["ts"], utc=True).dt.as_unit("ms").astype("int64")
    told = scenario()
    parts = generate(told.fleet, told.sky, told.events, told.start_ms, told.end_ms)
    chunks = [part.stations["mh-02"].samples for part in parts]
    assert t_ms.tolist() == [t for chunk in chunks for t in chunk.t_ms.tolist()]
    assert set(data.columns) == {"ts", *chunks[0].signals}
    for name in chunks[0].signals:
        values = [v for chunk in chunks for v in chunk.signals[name].tolist()]
        assert data[name].tolist() == pytest.approx(values, abs=0, nan_ok=True)


@pytest.mark.parametrize("form", FORMATS)
def test_equal_arguments_give_equal_bytes(written, form):
    one, other = written(form, "one"), written(form, "other")
    for a, b in zip(one, other, strict=True):
        for path in a.iterdir():
            assert path.read_bytes() == (b / path.name).read_bytes()


def test_the_site_file_can_be_read_back(written):
    raw = json.loads((written()[0] / "site.json").read_text(encoding="utf-8"))
    site, spec = site_from_dict(raw), draw_fleet(5, 2).stations[0].site
    assert "mode" not in raw
    assert site.to_dict() | {"mode": spec.mode} == spec.to_dict()


def test_the_truth_says_what_happened_and_when(written, start_ms):
    outage, leak = (
        json.loads((folder / "truth.json").read_text(encoding="utf-8")) for folder in written()
    )
    cut = outage["faults"][0]
    assert (cut["class"], cut["group"], cut["progression"], cut["target"]) == (
        "power_outage", "supply", "abrupt", None,
    )  # fmt: skip
    assert ms_from_iso(cut["onset"]) == start_ms + 43_200_000
    assert ms_from_iso(cut["deadline"]) == ms_from_iso(cut["onset"]) + 15 * 60_000
    assert ms_from_iso(cut["repair"]) == ms_from_iso(cut["onset"]) + 2 * 3_600_000
    assert cut["severity"]["values"] == [1.0, 1.0, 0.0]
    grown = leak["unscored"][0]
    assert (grown["target"], grown["progression"], grown["censored"]) == (
        "pump1", "progressive", True,
    )  # fmt: skip
    assert grown["onset"] <= grown["detectable"] <= grown["breakdown"] <= grown["repair"]
    assert leak["kind"] == "faulty"
    assert leak["days"] == 2
    assert len(leak["rain_mm_per_day"]) == 3  # two days from midnight in Japan touch three in UTC
    assert all(n > 20 for n in leak["starts"])
    assert outage["high_level_hours"]


@pytest.mark.parametrize(
    ("fault", "scored"),
    [
        ("mh-01:comms_gap:0.5", True),
        ("mh-01:comms_gap:1.9", False),  # its time to be told in ends after the last row
        ("mh-01:clock_error:0.1", False),  # rows carry one time: only receipt could show another
        ("mh-01:pump_wear:pump1:0.1", False),  # has not come to breakdown
    ],
)
def test_only_what_can_be_told_in_time_is_scored(written, fault, scored):
    raw = json.loads((written("parquet", faults=[fault])[0] / "truth.json").read_text("utf-8"))
    assert (len(raw["faults"]), len(raw["unscored"])) == (scored, not scored)


def test_a_fault_no_signal_of_a_station_shows_is_not_scored_there():
    contacts, plain = (
        next(s for s in draw_fleet(5, 40, 0).stations if s.contacts is there)
        for there in (True, False)
    )
    seal = kind_of("seal_leak")
    assert seal.shows(contacts, {})
    assert not seal.shows(plain, {})
    assert kind_of("pump_ragging").shows is None


def test_what_the_crews_wrote_down_is_in_the_site_log(written, start_ms):
    entry = LogEntry(start_ms + HOUR_MS, LogKind.VISIT, "pump1", "a look, no more")
    logged, silent = written(log={"mh-01": (entry,)})
    assert list(read_log(logged)) == [entry]
    assert not (silent / "events.csv").exists()


def test_progress_is_told_up_to_the_end(written):
    heard = []
    written(progress=heard.append)
    assert heard == sorted(heard)
    assert heard[-1] == 1.0


def test_a_second_recording_is_not_laid_over_the_first(written):
    written()
    with pytest.raises(InvalidInput, match="empty folder"):
        written("csv")


def test_a_run_that_is_broken_off_leaves_no_half_folder_and_the_next_is_whole(written, tmp_path):
    def broken_off(share):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        written(progress=broken_off)
    assert [p.name for p in (tmp_path / "out").iterdir() if not p.name.startswith(".")] == []
    again, other = written(), written(name="other")
    for a, b in zip(again, other, strict=True):
        assert (a / "data.csv.gz").read_bytes() == (b / "data.csv.gz").read_bytes()
    assert [p.name for p in (tmp_path / "out").iterdir() if p.name.startswith(".")] == []


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"form": "xlsx"}, "format"),
        ({"faults": ["mh-01:pump_ragging:pump1:2.0"]}, "fault"),
        ({"faults": ["mh-09:pump_ragging:pump1:1.0"]}, "station"),
    ],
)
def test_what_cannot_be_recorded_is_named_before_anything_is_written(
    written, tmp_path, changes, named
):
    with pytest.raises(InvalidInput) as refused:
        written(**changes)
    assert refused.value.field == named
    assert not (tmp_path / "out").exists()


def test_a_fault_is_read_from_one_word_and_repaired_a_day_after_breakdown():
    ragging = parse_fault("mh-03:pump_ragging:pump2:22", 0)
    breakdown_ms = ragging.kind.breakdown_ms(22 * DAY_MS)
    assert ragging == Event(
        "mh-03", "pump_ragging", "pump2", 22 * DAY_MS, repair_ms=breakdown_ms + DAY_MS
    )
    outage = parse_fault("mh-03:power_outage:1.5", 0)
    assert outage == Event("mh-03", "power_outage", None, DAY_MS * 3 // 2)
    assert parse_fault("mh-03:power_outage::1.5", 0) == outage


@pytest.mark.parametrize(
    "text", ["", "mh-03", "a:b:c:d:e", "mh-03:pump_ragging:pump2:soon", "a:b:-1", "a:b:nan"]
)
def test_a_fault_that_cannot_be_read_is_named(text):
    with pytest.raises(InvalidInput, match="fault"):
        parse_fault(text, 0)
