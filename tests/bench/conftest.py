"""Prints the table of `report.row` when the session ends, and lets benchmarks import it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    lines = report.table()
    if lines:
        terminalreporter.section("measured")
        for line in lines:
            terminalreporter.write_line(line)
