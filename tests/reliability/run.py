"""The whole proof: `python -m tests.reliability.run --kills 1000 --seed 1`.

Each part writes its figures into the report as soon as it has them, so that what was found is not lost
with a run that is broken off. Ends with 1 when a promise was broken; the run's files are kept then.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from threading import Lock
from typing import Any

from .checker import Verdict, check
from .faults import FAULTS, disk_full, recovery_s, small_disk, suffer
from .labels import LABELS
from .nursery import ROOT, Nursery
from .report import Report, percentiles
from .series_server import series_server_away
from .town import IN_FLIGHT, Plan, Strike, Town, town

KILLS_IN_A_RUN = 40
HUB_SHARE = 0.36
"""Of all kills; the hub has two thirds of the points, and takes longest to be heard again."""
QUICK = ("broker killed", "broker killed and emptied", "stations cut off", "hub cut off",
         "receiver answers 500", "poison", "repeats out of order", "edge clocks jump")  # fmt: skip
"""Faults that come between the kills, two a run."""


@dataclass
class Totals:
    """What the runs so far found together."""

    runs: int = 0
    strikes: list[Strike] = field(default_factory=list)
    faults: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """Fault → how long after its end [s] all stations were heard again."""
    sums: Counter[str] = field(default_factory=Counter)
    broken: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    latency_s: list[float] = field(default_factory=list)
    settle_s: list[float] = field(default_factory=list)

    def add(self, verdict: Verdict) -> None:
        self.runs += 1
        self.sums.update({n: v for n, v in vars(verdict).items() if isinstance(v, int)})
        self.latency_s += verdict.latency_s
        for name, found in verdict.broken.items():
            self.broken[name] += found

    def figures(self) -> dict[str, Any]:
        """As the report keeps them."""
        return {
            "runs": self.runs,
            **self.sums,
            "acknowledged_and_lost": len(self.broken["acknowledged and lost"]),
            "obligations_without_attempt": len(self.broken["obligations without attempt"]),
            "broken": {name: found[:20] for name, found in self.broken.items() if found},
            "latency_s": percentiles(self.latency_s),
            "settle_s": percentiles(self.settle_s),
            "faults": {
                name: {"trials": len(took), **percentiles(took)}
                for name, took in sorted(self.faults.items())
            },
        }


def kill_figures(totals: Totals) -> dict[str, Any]:
    """What the kills were, beside what came of them."""
    by_label: dict[str, list[Strike]] = {label.name: [] for label in LABELS}
    recovered: dict[str, list[float]] = {"edge": [], "hub": []}
    victims = {label.name: label.victim for label in LABELS}
    for strike in totals.strikes:
        by_label[strike.label].append(strike)
        if strike.recovered_s is not None:
            recovered[victims[strike.label]].append(strike.recovered_s)
    flights = [strike.in_flight for strike in totals.strikes]
    return {
        **totals.figures(),
        "kills": len(totals.strikes),
        "in_flight": {"least": min(flights, default=0), **percentiles(flights)},
        "recovered_s": {victim: percentiles(took) for victim, took in recovered.items()},
        "labels": {
            name: {
                "kills": len(strikes),
                "at_the_point": sum(strike.hit for strike in strikes),
                "in_flight_least": min((s.in_flight for s in strikes), default=0),
            }
            for name, strikes in by_label.items()
        },
    }


def _turns(victim: str, n: int, random: Random) -> list[str]:
    """``n`` labels of this victim, all equally often, in random order."""
    names = [label.name for label in LABELS if label.victim == victim]
    turns = [names[i % len(names)] for i in range(n)]
    random.shuffle(turns)
    return turns


def strike_all(made: Town, hub: list[str], edge: list[str]) -> None:
    """Strike the hub and both processes of stations at the same time, each again and again."""

    def strike(name: str, labels: list[str]) -> None:
        for label in labels:
            for _ in range(3):
                if made.strike(label, name).in_flight >= IN_FLIGHT:
                    break
            if name == "hub":
                made.answer()

    groups = list(made.groups)
    queues = {"hub": hub, **{g: edge[i :: len(groups)] for i, g in enumerate(groups)}}
    with ThreadPoolExecutor(len(queues)) as pool:
        for done in [pool.submit(strike, *item) for item in queues.items()]:
            done.result()


# -- the parts -------------------------------------------------------------------------------------


class Proof:
    """One run of everything: a folder, a nursery, a report."""

    def __init__(self, folder: Path, report: Report, seed: int) -> None:
        self.folder, self.report, self.seed = folder, report, seed
        self.nursery = Nursery(folder / "nursery.log")
        self.failures: list[str] = []
        self._lock = Lock()

    def kills(self, wanted: int, towns: int) -> None:
        """So many kills, in several towns side by side, with faults between them."""
        random, totals, began = Random(self.seed), Totals(), time.monotonic()
        hub, edge = int(wanted * HUB_SHARE), wanted - int(wanted * HUB_SHARE)
        turns = {"hub": _turns("hub", hub, random), "edge": _turns("edge", edge, random)}
        n = -(-wanted // KILLS_IN_A_RUN)
        with ThreadPoolExecutor(towns) as pool:
            runs = [
                pool.submit(
                    self._run, f"kills-{run}", turns["hub"][run::n], turns["edge"][run::n],
                    random.sample(QUICK, 2), totals,
                )
                for run in range(n)
            ]  # fmt: skip
            for done in as_completed(runs):
                done.result()
                with self._lock:
                    self.report.put("kills", kill_figures(totals))
                say(f"{len(totals.strikes)} of {wanted} kills in "
                    f"{(time.monotonic() - began) / 60:.1f} min, "
                    f"{totals.sums['acknowledged']} acknowledged, "
                    f"{sum(map(len, totals.broken.values()))} broken promises")  # fmt: skip

    def _run(
        self, name: str, hub: list[str], edge: list[str], faults: list[str], totals: Totals
    ) -> None:
        """One town; each of its processes is struck in its own rhythm, with a fault after each half."""

        def work(made: Town) -> None:
            half, rest = len(hub) // 2, len(edge) // 2
            for labels, fault in zip(
                [(hub[:half], edge[:rest]), (hub[half:], edge[rest:])], faults, strict=True
            ):
                strike_all(made, *labels)
                took_s = suffer(made, fault)
                with self._lock:
                    totals.faults[fault].append(took_s)

        seed = zlib.crc32(f"{self.seed} {name}".encode())
        self._town(name, Plan(), seed, work, totals, self.folder / name)

    def _town(
        self, name: str, plan: Plan, seed: int, work: Callable[[Town], None], totals: Totals,
        folder: Path, data_dir: Path | None = None,
    ) -> None:  # fmt: skip
        try:
            with town(folder, plan, seed, nursery=self.nursery, data_dir=data_dir) as made:
                work(made)
                settle_s = made.settle()
                verdict = check(made)
            with self._lock:  # only what was checked is counted
                totals.strikes += made.strikes
                totals.settle_s.append(settle_s)
                totals.add(verdict)
            if not verdict.broken:
                shutil.rmtree(folder)
                return
        except Exception as error:
            totals.broken["runs that did not come to their end"].append(f"{name}: {error}"[:2_000])
            traceback.print_exc()
        self.failures.append(name)
        say(f"{name} broke a promise: see {folder}")

    def faults(self, times: int) -> None:
        """Every fault so often, in a town that is otherwise left in peace; then the full disk."""
        totals, random = Totals(), Random(self.seed)
        for turn in range(times):
            names = random.sample(list(FAULTS), len(FAULTS))

            def work(made: Town, names: list[str] = names) -> None:
                for name in names:
                    totals.faults[name].append(suffer(made, name))
                    say(f"{name}: heard again after {totals.faults[name][-1]:.1f} s")

            name = f"faults-{turn}"
            self._town(name, Plan(), self.seed + turn, work, totals, self.folder / name)
            self.report.put("faults", totals.figures())

    def disk(self, times: int) -> None:
        totals = Totals()

        def work(made: Town) -> None:
            for _ in range(times):
                totals.faults["disk full"].append(disk_full(made))
                say(f"disk full: went on after {totals.faults['disk full'][-1]:.1f} s")
                recovery_s(made)

        try:
            with small_disk(self.folder / "disk") as mount:
                name = "disk-full"
                where = self.folder / name
                self._town(name, Plan(), self.seed, work, totals, where, mount / "hub")
        except PermissionError as error:
            self.report.put("disk", {"skipped": str(error)})
            return
        self.report.put("disk", totals.figures())

    def series(self, away_s: float) -> None:
        totals = Totals()
        folder = self.folder / "series"
        try:
            figures = series_server_away(folder, self.nursery, self.seed, away_s, totals.add)
        except Exception as error:
            traceback.print_exc()
            figures = {}
            totals.broken["runs that did not come to their end"].append(f"series: {error}"[:2_000])
        if totals.broken:
            self.failures.append("series")
        self.report.put("series", {**totals.figures(), **figures})

    def other(self, name: str, *command: str) -> None:
        """A part that is a program of its own and prints its figures as JSON on its last line."""
        began = time.monotonic()
        done = subprocess.run([sys.executable, *command], cwd=ROOT, stdout=subprocess.PIPE, text=True)  # fmt: skip
        try:
            figures = json.loads(done.stdout.strip().splitlines()[-1])
        except (ValueError, IndexError):
            figures = {"failed": done.stdout[-2_000:]}
        if done.returncode:
            self.failures.append(name)
        took_s = round(time.monotonic() - began, 1)
        self.report.put(name, {**figures, "took_s": took_s, "status": done.returncode})


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


PARTS = ("kills", "faults", "disk", "series", "drill", "catch_up", "simulation", "fuzz")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=1_000, help="kills of the first part")
    parser.add_argument("--towns", type=int, default=2, help="towns that are struck side by side")
    parser.add_argument("--faults", type=int, default=3, help="trials of every other fault")
    parser.add_argument(
        "--away-s", type=float, default=150, help="the series server is away so long"
    )
    parser.add_argument("--sim-seeds", type=int, default=200, help="seeds of the simulation")
    parser.add_argument("--payloads", type=int, default=1_000_000, help="payloads of the fuzzer")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--parts", nargs="*", choices=PARTS, default=PARTS)
    parser.add_argument("--out", type=Path, default=ROOT / "reliability-report.json")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="pumpwatch-reliability-"))
    report = Report(options.out, options.seed)
    proof = Proof(folder, report, options.seed)
    seed = str(options.seed)
    parts: dict[str, Callable[[], None]] = {
        "kills": lambda: proof.kills(options.kills, options.towns),
        "faults": lambda: proof.faults(options.faults),
        "disk": lambda: proof.disk(options.faults),
        "series": lambda: proof.series(options.away_s),
        "drill": lambda: proof.other("drill", "-m", "tests.reliability.drill", "--json"),
        "catch_up": lambda: proof.other("catch_up", "-m", "tests.reliability.catch_up", "--json"),
        "simulation": lambda: proof.other(
            "simulation", "-m", "tests.reliability.simulation",
            "--seeds", str(options.sim_seeds), "--start-seed", seed, "--json",
        ),
        "fuzz": lambda: proof.other(
            "fuzz", "-m", "tests.reliability.fuzz",
            "--payloads", str(options.payloads), "--seed", seed, "--json",
        ),
    }  # fmt: skip
    try:
        for name in options.parts:
            say(f"part: {name}")
            parts[name]()
    finally:
        proof.nursery.close()
    if proof.failures:
        say(f"broken: {', '.join(proof.failures)}; files are under {folder}")
        return 1
    shutil.rmtree(folder)
    say(f"every promise was kept; the report is {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
