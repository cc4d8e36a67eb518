"""The report of the proof: `reliability-report.json`, and the tables of docs/reliability.md."""

from __future__ import annotations

import json
import os
import platform
import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pumpwatch import __version__

from .nursery import ROOT

PAGE = ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"
Figures = dict[str, Any]


def percentiles(values: Sequence[float]) -> Figures:
    """n, median, 99th percentile and maximum; only n where there is nothing."""
    if not values:
        return {"n": 0}
    p50, p99 = np.percentile(values, [50, 99])
    return {"n": len(values), "p50": round(float(p50), 2), "p99": round(float(p99), 2),
            "max": round(float(max(values)), 2)}  # fmt: skip


def bound(n: int) -> str:
    """The 95 % upper bound of a rate of which ``n`` trials showed none: 3/n."""
    return f"{3 / n:.1e}" if n else "-"


def _said(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    except OSError:
        return "not installed"
    lines = (done.stdout or done.stderr).strip().splitlines()
    return lines[0].strip() if lines else ""


class Report:
    """One JSON file; parts that were there before and are not run again stay as they were."""

    def __init__(self, path: Path, seed: int) -> None:
        self._path, self._seed = path, seed
        self.parts: dict[str, Figures] = json.loads(path.read_text()) if path.exists() else {}

    def put(self, name: str, figures: Figures) -> None:
        about = {
            "seed": self._seed,
            "commit": _said("git", "rev-parse", "--short", "HEAD"),
            "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "load": round(os.getloadavg()[1], 1),
        }
        self.parts[name] = {**figures, "run": about}
        self.parts["versions"] = _versions()
        beside = self._path.with_suffix(".part")
        beside.write_text(json.dumps(self.parts, indent=1, ensure_ascii=False) + "\n")
        beside.replace(self._path)


def _versions() -> Figures:
    return {
        "pumpwatch": __version__,
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "mosquitto": _said("/usr/sbin/mosquitto", "-h"),
        "victoria-metrics": _said("victoria-metrics", "-version"),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
    }


# -- the page --------------------------------------------------------------------------------------


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(str(cell) for cell in line) + " |" for line in lines] + [""]


def render(parts: dict[str, Figures]) -> str:
    """The part of the page between the marks."""
    lines: list[str] = []
    for name, section in _SECTIONS.items():
        if name in parts:
            lines += section(parts[name])
            run = parts[name]["run"]
            lines += [f"Seed {run['seed']}, commit {run['commit']}, {run['at']}, "
                      f"load average {run['load']}.", ""]  # fmt: skip
    versions = parts.get("versions", {})
    lines += ["### Versions", "", *table(["part", "version"], list(versions.items()))]
    return "\n".join(lines)


def _promises(f: Figures) -> list[str]:
    owed = f["obligations"]
    return table(
        ["promise", "trials n", "broken", "95 % bound"],
        [
            ["acknowledged samples and events that were lost", f["acknowledged"],
             f["acknowledged_and_lost"], bound(f["acknowledged"])],
            ["alerts owed that are missing or wrong", f["alerts_owed"],
             len(f["broken"].get("alerts missing", [])), bound(f["alerts_owed"])],
            ["notices owed without an accepted attempt", owed,
             f["obligations_without_attempt"], bound(owed)],
            ["answers of people that were lost", f["answers"],
             len(f["broken"].get("answers of people lost", [])), bound(f["answers"])],
        ],
    )  # fmt: skip


def _kills(f: Figures) -> list[str]:
    n = f["kills"]
    rows = [[name, a["kills"], a["at_the_point"], a["in_flight_least"]]
            for name, a in f["labels"].items()]  # fmt: skip
    back, per_1000 = f["recovered_s"], 1_000 * f["duplicate_notices"] / max(f["notices"], 1)
    return [
        f"### {n} kills (-9) at {sum(a['kills'] > 0 for a in f['labels'].values())} points",
        "",
        f"At least {f['in_flight']['least']} messages were under way at each kill (median "
        f"{f['in_flight']['p50']:.0f}). Broken promises per kill: 0 of {n}, 95 % bound {bound(n)}."
        if not f["broken"] else f"Promises were broken: {', '.join(f['broken'])}.",
        "",
        *_promises(f),
        f"Notices accepted {f['notices']}, of these repeated {f['duplicate_notices']} "
        f"({per_1000:.1f} in 1,000). In the memory of a killed agent, not yet acknowledged: "
        f"{f['lost_unacknowledged']} of {f['made']}. Confirming again after a kill of the hub: median "
        f"{back['hub'].get('p50')} s, p99 {back['hub'].get('p99')} s; of an agent: {back['edge'].get('p50')} s, "
        f"p99 {back['edge'].get('p99')} s (up to 1.6 s of it are the line's delay).",
        "",
        *table(["point", "kills", "at the very line", "fewest under way"], rows),
    ]  # fmt: skip


def _faults(f: Figures) -> list[str]:
    rows = [[name, a["trials"], a.get("p50", "-"), a.get("max", "-")]
            for name, a in f["faults"].items()]  # fmt: skip
    late = f["latency_s"]
    return [
        "### Other faults", "",
        *_promises(f),
        f"Alert latency while they happened: median {late.get('p50')} s, p99 {late.get('p99')} s, "
        f"longest {late.get('max')} s. Poison set aside: {f['quarantined']}.",
        "",
        *table(["fault", "trials", "heard again after [s], median", "longest"], rows),
    ]  # fmt: skip


def _disk(f: Figures) -> list[str]:
    if "skipped" in f:
        return ["### Full disk", "", f"Not tried: {f['skipped']}", ""]
    full = f["faults"]["disk full"]
    return ["### Full disk", "", *_promises(f),
            f"{full['trials']} times: the hub confirmed nothing more, lived, said so, and went on "
            f"{full['p50']} s (median, longest {full['max']} s) after there was room.", ""]  # fmt: skip


def _series(f: Figures) -> list[str]:
    if "away_s" not in f:
        return ["### Time-series server away", "", f"Broken: {f['broken']}", ""]
    before, during = f["latency_before_s"], f["latency_during_s"]
    return ["### Time-series server away", "", *_promises(f),
            f"VictoriaMetrics was killed and stayed away for {f['away_s']:g} s, in which stations measured "
            f"{f['away_event_h']} h. Alert latency before: median {before.get('p50')} s, p99 {before.get('p99')} s; "
            f"meanwhile: median {during.get('p50')} s, p99 {during.get('p99')} s. The series was complete "
            f"{f['caught_up_s']} s after the server was back.", ""]  # fmt: skip


def _catch_up(f: Figures) -> list[str]:
    stages = {"kept": "in the inbox", "series": "recorded", "assess": "judged"}
    rates, pace = f["messages_per_s"], f["times_the_pace_of_stations"]
    rows = [[name, rates[stage], *(of[stage] for of in pace.values())]
            for stage, name in stages.items()]  # fmt: skip
    head = ["until all is", "messages/s", *(f"times the pace of {int(n):,} stations" for n in pace)]
    return [
        "### Catching up", "",
        f"{f['messages']:,} messages ({f['samples']:,} samples) of 232 stations wait at the broker for a hub that was away. "
        f"The rates include its start: it was connected after {f['heard_after_s']:g} s. A station sends one message a minute, "
        "what it measures every 10 s.",
        "",
        *table(head, rows),
    ]  # fmt: skip


def _plain(title: str) -> Any:
    def section(f: Figures) -> list[str]:
        rows = [(k, _flat(v)) for k, v in f.items() if k != "run"]
        return [f"### {title}", "", *table(["figure", "value"], rows)]

    return section


def _flat(value: object) -> object:
    if isinstance(value, dict):
        return ", ".join(f"{k} {_flat(v)}" for k, v in value.items())
    if isinstance(value, list):
        return ", ".join(str(_flat(v)) for v in value) or "none"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else value


_SECTIONS: dict[str, Any] = {
    "kills": _kills,
    "faults": _faults,
    "disk": _disk,
    "series": _series,
    "drill": _plain("Restore drill"),
    "catch_up": _catch_up,
    "simulation": _plain("Simulation"),
    "fuzz": _plain("Fuzzed payloads"),
}


def main() -> None:
    """Put the figures of a report into the page."""
    parts = json.loads(Path(sys.argv[1]).read_text())
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n\n{render(parts)}\n{END}{after}")


if __name__ == "__main__":
    main()
