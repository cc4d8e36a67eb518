import json

import pandas as pd
import pytest

from pumpwatch.domain.alerts import ms_from_iso
from pumpwatch.domain.errors import InvalidInput
from pumpwatch.domain.sites import site_from_dict
from pumpwatch.simulator import Simulation, demo_fleet
from pumpwatch.simulator.recorded import FORMATS, PlannedFault, parse_fault, write_recordings

FAULTS = [
    PlannedFault("mh-01", "power_outage", None, 0.5),
    PlannedFault("mh-02", "check_valve_leak", "pump1", 1.0),
]


@pytest.fixture(name="written")
def _written(tmp_path, start_ms):
    def write(form="csv.gz", name="out", **changes):
        arguments = {"seed": 5, "start_ms": start_ms, "days": 2, "faults": FAULTS} | changes
        return write_recordings(tmp_path / name, demo_fleet(5, 2), form=form, **arguments)

    return write


@pytest.mark.parametrize("form", FORMATS)
def test_a_recording_holds_what_was_published(written, start_ms, form):
    folder = written(form)[1]
    path = folder / f"data.{form}"
    data = pd.read_parquet(path) if form == "parquet" else pd.read_csv(path)
    t_ms = pd.to_datetime(data["ts"], utc=True).dt.as_unit("ms").astype("int64")
    simulation = Simulation(demo_fleet(5, 2), 5, start_ms)
    simulation.inject("mh-02", "check_valve_leak", "pump1", start_ms + 86_400_000)
    simulation.advance(start_ms + 2 * 86_400_000)
    chunk, _ = simulation.take("mh-02")
    assert t_ms.tolist() == chunk.t_ms.tolist()
    assert set(data.columns) == {"ts", *chunk.signals}
    for name, values in chunk.signals.items():
        assert data[name].tolist() == values.tolist()


@pytest.mark.parametrize("form", FORMATS)
def test_equal_arguments_give_equal_bytes(written, form):
    one, other = written(form, "one"), written(form, "other")
    for a, b in zip(one, other, strict=True):
        for path in a.iterdir():
            assert path.read_bytes() == (b / path.name).read_bytes()


def test_the_site_file_can_be_read_back(written):
    raw = json.loads((written()[0] / "site.json").read_text(encoding="utf-8"))
    site, spec = site_from_dict(raw), demo_fleet(5, 2)[0].site
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
    grown = leak["faults"][0]
    assert (grown["target"], grown["progression"], grown["censored"]) == (
        "pump1", "progressive", True,
    )  # fmt: skip
    assert grown["onset"] <= grown["detectable"] <= grown["breakdown"] <= grown["repair"]
    assert leak["kind"] == "faulty"
    assert len(leak["rain_mm_per_day"]) == leak["days"] == 2
    assert all(n > 20 for n in leak["starts"])
    assert outage["high_level_hours"]


def test_progress_is_told_up_to_the_end(written):
    heard = []
    written(progress=heard.append)
    assert heard == [0.5, 1.0]


def test_a_second_recording_is_not_laid_over_the_first(written):
    written()
    with pytest.raises(InvalidInput, match="empty folder"):
        written("csv")


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"form": "xlsx"}, "format"),
        ({"days": 0}, "days"),
        ({"faults": [PlannedFault("mh-01", "pump_ragging", "pump1", 2.0)]}, "fault"),
        ({"faults": [PlannedFault("mh-09", "pump_ragging", "pump1", 1.0)]}, "site"),
    ],
)
def test_what_cannot_be_recorded_is_named_before_anything_is_written(
    written, tmp_path, changes, named
):
    with pytest.raises(InvalidInput) as refused:
        written(**changes)
    assert refused.value.field == named
    assert not (tmp_path / "out").exists()


def test_a_planned_fault_is_read_from_one_word():
    assert parse_fault("mh-03:pump_ragging:pump2:22") == PlannedFault(
        "mh-03", "pump_ragging", "pump2", 22
    )
    assert parse_fault("mh-03:power_outage:1.5") == PlannedFault("mh-03", "power_outage", None, 1.5)
    assert parse_fault("mh-03:power_outage::1.5") == parse_fault("mh-03:power_outage:1.5")


@pytest.mark.parametrize(
    "text", ["", "mh-03", "a:b:c:d:e", "mh-03:pump_ragging:pump2:soon", "a:b:-1", "a:b:nan"]
)
def test_a_fault_that_cannot_be_read_is_named(text):
    with pytest.raises(InvalidInput, match="fault"):
        parse_fault(text)
