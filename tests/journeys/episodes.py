"""Brings a backtest's lines and the live ledger's alerts into one form, so that they can be compared."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

Step = tuple[str, str, tuple[str, ...]]
Episode = tuple[str, str, str]
"""(site, cause, opening time)"""


def of_backtest(lines: Iterable[Mapping[str, Any]]) -> dict[Episode, dict[str, Any]]:
    """Episodes with their steps and what their last line says."""
    episodes: dict[Episode, dict[str, Any]] = {}
    running: dict[tuple[str, str], Episode] = {}
    for line in lines:
        place = (line["site"], line["cause"])
        if line["phase"] == "opened":
            running[place] = (*place, line["ts"])
            episodes[running[place]] = {"steps": []}
        episode = episodes[running[place]]
        episode["steps"].append((line["phase"], line["ts"], tuple(line["fault"])))
        episode.update({name: line[name] for name in ("kind", "fault", "target", "evidence")})
    return episodes


def of_ledger(rows: Iterable[Mapping[str, Any]]) -> dict[Episode, dict[str, Any]]:
    """The same of `pumpwatch alerts list --all --json`; ends are left out, as a backtest leaves them."""
    return {
        (row["site"], row["cause"], row["ts"]): {
            "steps": [
                (t["step"], t["t"], tuple(t["fault"]))
                for t in row["transitions"]
                if t["step"] in ("opened", "worsened")
            ],
            **{name: row[name] for name in ("kind", "fault", "target", "evidence")},
        }
        for row in rows
    }
