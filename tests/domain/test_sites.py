"""A site.json is believed only where it is possible, and the error names the field."""

from __future__ import annotations

from typing import Any

import pytest

from pumpwatch.domain.errors import InvalidInput
from pumpwatch.domain.sites import SiteMode, site_from_dict

FULL: dict[str, Any] = {
    "site": "mh0001",
    "timezone": "Asia/Tokyo",
    "sample_s": 10,
    "well_diameter_m": 1.5,
    "well_depth_m": 3.4,
    "stop_level_m": 0.44,
    "start_level_m": 1.28,
    "lag_start_level_m": 1.54,
    "high_level_m": 1.85,
    "pump_capacity_m3_min": 0.311,
    "has_current": False,
}


def test_every_field_but_the_id_may_be_missing() -> None:
    site = site_from_dict({"site": "mh0001"})
    assert (site.timezone, site.pumps, site.area_m2) == ("Asia/Tokyo", 2, None)


def test_area_comes_from_the_diameter_when_it_is_not_given() -> None:
    assert site_from_dict(FULL).area_m2 == pytest.approx(1.7671, abs=1e-4)


def test_capacity_is_si_inside() -> None:
    assert site_from_dict(FULL).capacity_m3s == pytest.approx(0.311 / 60)


def test_a_field_of_a_newer_writer_is_left_out() -> None:
    assert site_from_dict({**FULL, "colour": "green"}).site == "mh0001"


def test_what_was_written_reads_back_the_same() -> None:
    site = site_from_dict({**FULL, "mode": "demo"})
    assert site.mode is SiteMode.DEMO
    assert site_from_dict(site.to_dict()) == site


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("site", "MH 1"),
        ("site", None),
        ("stop_level_m", 1.3),
        ("well_depth_m", 1.0),
        ("well_diameter_m", 0),
        ("sample_s", float("nan")),
        ("pump_capacity_m3_min", "much"),
        ("timezone", "Asia/Sakai"),
        ("pumps", 7),
        ("has_current", "yes"),
        ("mode", "secret"),
    ],
)
def test_an_impossible_value_names_its_field(field: str, value: object) -> None:
    with pytest.raises(InvalidInput) as caught:
        site_from_dict({**FULL, field: value})
    named = {field, "high_level_m"} if field == "well_depth_m" else {field}
    assert caught.value.field in named
    assert caught.value.remedy
