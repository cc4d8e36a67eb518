"""What people found, and what of it can be meant."""

import pytest

from pumpwatch.domain.errors import InvalidInput
from pumpwatch.domain.faults import FAULT_GROUP
from pumpwatch.domain.labels import FOUND_CAUSES, Found
from pumpwatch.domain.sites import Site

SITE = Site("mh0001", pumps=2)


def test_every_fault_may_be_found_and_so_may_nothing():
    assert set(FOUND_CAUSES) == {*FAULT_GROUP, "nothing_found", "other"}
    for cause in FOUND_CAUSES:
        assert Found(cause, None, "words").checked(SITE, 9).at_ms == 9


@pytest.mark.parametrize(
    ("found", "field"),
    [
        (Found("gremlins"), "cause"),
        (Found(""), "cause"),
        (Found("other", note="  "), "note"),
        (Found("pump_wear", note="x" * 1001), "note"),
        (Found("pump_wear", "pump3"), "target"),
        (Found("pump_wear", "both"), "target"),
        (Found("pump_wear", at_ms=10), "at"),
        (Found("pump_wear", at_ms=-1), "at"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name(found, field):
    with pytest.raises(InvalidInput) as refused:
        found.checked(SITE, 9)
    assert refused.value.field == field
    assert refused.value.remedy
