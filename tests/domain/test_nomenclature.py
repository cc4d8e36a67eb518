"""The closed lists: signals, faults, features."""

from __future__ import annotations

from pumpwatch.domain.faults import CONDITION_FAULTS, FAULT_GROUP, Group
from pumpwatch.domain.features import FEATURE_UNITS
from pumpwatch.domain.signals import MAX_PUMPS, SIGNALS, current_signal, run_signal


def test_every_pump_has_its_signals() -> None:
    for n in range(1, MAX_PUMPS + 1):
        assert {run_signal(n), current_signal(n), f"pump{n}_hours_h"} <= SIGNALS.keys()


def test_a_signals_unit_stands_in_its_name() -> None:
    suffix = {"m": "_m", "A": "_a", "h": "_h", "V": "_v", "mm/h": "_mm_h"}
    for signal in SIGNALS.values():
        if signal.unit:
            assert signal.name.endswith(suffix[signal.unit])
        assert signal.low < signal.high
        assert signal.ja
        assert signal.en


def test_fault_codes_stand_in_one_group_each_and_conditions_are_known() -> None:
    assert len(FAULT_GROUP) == 32
    assert set(FAULT_GROUP.values()) == set(Group)
    assert FAULT_GROUP.keys() >= CONDITION_FAULTS


def test_a_features_unit_stands_in_its_name() -> None:
    suffix = {"m3/s": "_m3s", "s": "_s", "m": "_m", "A": "_a", "h": "_h", "1/h": "_per_h"}
    for name, unit in FEATURE_UNITS.items():
        if unit:
            assert name.endswith(suffix[unit]), name
