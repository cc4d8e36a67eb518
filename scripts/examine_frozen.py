"""Examine the diagnosis of one commit, once, on three fleets that nobody could have tuned to.

    python scripts/examine_frozen.py --out examined/ [--commit HEAD] [--stations 232] [--days 90]

The seeds come from the commit's hash. Two fleets have --rate times as many faults as life, the third has
none. Written are a folder a fleet (recordings, alerts, daily risks), its figures as JSON, and table.md.
A folder that is there already is not examined again, so that nobody runs it until it looks well; the
diagnosis must be that of the commit.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from pumpwatch.services.benchmark import examine, frozen_seeds, gate_table
from pumpwatch.simulator.recorded import write_recordings
from pumpwatch.simulator.scenario_draw import draw_scenario

JUDGED = ("pumpwatch/diagnosis", "pumpwatch/cycles", "pumpwatch/hydraulics", "pumpwatch/simulator")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="a new folder")
    parser.add_argument("--commit", default="HEAD", help="the one whose constants are frozen")
    parser.add_argument("--stations", type=int, default=232)
    parser.add_argument("--days", type=int, default=90)
    parser.add_argument("--rate", type=float, default=4.0)
    parser.add_argument("--workers", type=int, default=2)
    asked = parser.parse_args()
    commit = _git("rev-parse", asked.commit)
    if _git("diff", "--name-only", commit, "--", *JUDGED):
        print(f"{', '.join(JUDGED)} differ from {commit[:12]}: commit first", file=sys.stderr)
        return 2
    if asked.out.exists():
        print(f"{asked.out} is there already: it was examined", file=sys.stderr)
        return 2
    asked.out.mkdir(parents=True)
    seeds = dict(zip(("faults-1", "faults-2", "healthy"), frozen_seeds(commit, 3), strict=True))
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        made = {
            name: pool.submit(
                _make, asked.out / name, seed, _rate(name, asked), asked.stations, asked.days
            )
            for name, seed in seeds.items()
        }
        columns = {
            name: _examine(asked.out / name, seeds[name], _rate(name, asked), job.result(), asked.workers)
            for name, job in made.items()
        }  # fmt: skip
    table = gate_table(columns)
    head = (
        f"Commit {commit}, {asked.stations} stations, {asked.days} days, rate {asked.rate:g}.\n\n"
    )
    (asked.out / "table.md").write_text(head + table + "\n", encoding="utf-8")
    print(head + table)
    return 0


def _rate(name: str, asked: argparse.Namespace) -> float:
    return 0.0 if name == "healthy" else float(asked.rate)


def _make(place: Path, seed: int, rate: float, stations: int, days: int) -> float:
    """Seconds it took; the next fleet is made while one is diagnosed."""
    began = time.monotonic()
    write_recordings(place / "sites", draw_scenario(seed, stations, days, rate), form="parquet")
    return time.monotonic() - began


def _examine(place: Path, seed: int, rate: float, made_s: float, workers: int) -> dict[str, float]:
    began = time.monotonic()
    examined = examine(place / "sites", place, workers=workers)
    seconds = {"simulate": made_s, "diagnose": time.monotonic() - began}
    found = {"seed": seed, "rate": rate, "seconds": seconds, "failed": examined.summary.failed}
    whole = found | {"scores": examined.scores, "risk": examined.risk}
    (place / "figures.json").write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
    print(f"{place.name}: seed {seed}, {made_s:.0f} + {seconds['diagnose']:.0f} s", flush=True)
    return {**examined.scores, **examined.risk}


def _git(*words: str) -> str:
    ran = subprocess.run(["git", *words], check=True, capture_output=True, text=True)  # noqa: S603, S607
    return ran.stdout.strip()


if __name__ == "__main__":
    raise SystemExit(main())
