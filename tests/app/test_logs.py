"""What is written to the log, and what never is."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Literal

import pytest
import structlog

from pumpwatch.app import logs


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers, root.level = handlers, level
    structlog.reset_defaults()


@pytest.mark.parametrize("style", ["text", "json"])
def test_a_traceback_names_the_lines_and_shows_no_values(
    style: Literal["text", "json"], capsys: pytest.CaptureFixture[str]
) -> None:
    logs.configure(style)

    def connect(password: str) -> None:
        raise ConnectionError(f"refused after {len(password)} letters")

    secret = "hunter2" * 2
    try:
        connect(secret)
    except ConnectionError:
        structlog.get_logger().exception("worker failed")
    written = capsys.readouterr().err
    assert "test_logs.py" in written
    assert "refused after 14 letters" in written
    assert secret not in written
