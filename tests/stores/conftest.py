"""A child process that is killed in the middle of its work."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def killed(tmp_path: Path) -> Callable[[str, int], int]:
    """Run a script that prints a number after each durable step; kill -9 it after ``lines``.

    Returns the last number it had printed. The script finds the folder in ``sys.argv[1]``.
    """

    def run(script: str, lines: int) -> int:
        with subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True
        ) as child:
            assert child.stdout is not None
            for _ in range(lines):
                said = child.stdout.readline()
                assert said, "the child ended by itself"
            child.kill()
            rest = child.stdout.read().split("\n")
        return int([said, *rest[:-1]][-1])

    return run
