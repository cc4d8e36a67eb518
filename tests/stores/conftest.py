"""A child process that is killed in the middle of its work."""

from __future__ import annotations

import shutil
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


KILL_AT_STEP = """
import os, signal, shutil, sys
from contextlib import contextmanager
from pathlib import Path
import pandas  # which every child would have to do
from pumpwatch.stores import rollups, series_sqlite
from pumpwatch.stores.rollups import RolledSeries
from pumpwatch.stores.series_sealed import SealedSeries

left = 0

def step():
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)

def deadly(owner, name):
    real = getattr(owner, name)
    def wrapped(*arguments, **more):
        step()
        return real(*arguments, **more)
    setattr(owner, name, wrapped)

def deadly_commit(module):
    real = module.transaction
    @contextmanager
    def wrapped(connection):
        with real(connection) as inside:
            yield inside
            step()
        step()
    module.transaction = wrapped

for name in ("mkdir", "fsync", "replace", "unlink"):
    deadly(os, name)
deadly_commit(series_sqlite)
deadly_commit(rollups)

for n in range(1, 200):
    folder = Path(sys.argv[1]) / f"killed{n}"
    shutil.copytree(sys.argv[2], folder)
    child = os.fork()
    if child == 0:
        store = RolledSeries(
            SealedSeries(folder / "series.db", folder / "raw"), folder / "rollups.db", folder
        )
        left = n
        while store.upkeep(2**62):
            pass
        os._exit(0)
    if os.waitpid(child, 0)[1] == 0:
        print(n)
        break
"""


@pytest.fixture
def killed_at_every_step(tmp_path: Path) -> Callable[[Path], list[Path]]:
    """Copies of a folder in which upkeep was killed before its first step, its second, and so on.

    A step is a call that changes the disk, or a commit (before and after it).
    """

    def run(folder: Path) -> list[Path]:
        command = [sys.executable, "-c", KILL_AT_STEP, str(tmp_path), str(folder)]
        ended = subprocess.run(command, capture_output=True, text=True)
        assert ended.returncode == 0, ended.stderr
        steps = int(ended.stdout)
        shutil.rmtree(tmp_path / f"killed{steps}")
        return [tmp_path / f"killed{n}" for n in range(1, steps)]

    return run
