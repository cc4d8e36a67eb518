"""A data directory belongs to one purpose and one hub."""

from __future__ import annotations

from pathlib import Path

import pytest

from pumpwatch.app.datadir import DataDir
from pumpwatch.domain.errors import PumpwatchError


def test_a_directory_keeps_the_purpose_it_was_made_for(tmp_path: Path) -> None:
    directory = DataDir(tmp_path / "new")
    directory.claim("demo")
    directory.claim("demo")
    assert directory.purpose() == "demo"


def test_serve_refuses_demo_data_and_demo_refuses_real_data(tmp_path: Path) -> None:
    for mine, other in (("demo", "live"), ("live", "demo")):
        directory = DataDir(tmp_path / mine)
        directory.claim(mine)  # type: ignore[arg-type]
        with pytest.raises(PumpwatchError, match=f"holds {mine} data, not {other}"):
            directory.claim(other)  # type: ignore[arg-type]


def test_data_of_unknown_purpose_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "inbox.db").touch()
    with pytest.raises(PumpwatchError, match="unknown purpose"):
        DataDir(tmp_path).claim("demo")


def test_a_second_hub_is_told_who_is_there(tmp_path: Path) -> None:
    directory = DataDir(tmp_path)
    directory.claim("live")
    with (
        directory.locked(),
        pytest.raises(PumpwatchError, match="another hub"),
        DataDir(tmp_path).locked(),
    ):
        pass


def test_the_lock_is_free_again_afterwards(tmp_path: Path) -> None:
    directory = DataDir(tmp_path)
    directory.claim("live")
    with directory.locked():
        pass
    with directory.locked():
        assert directory.purpose() == "live"
