"""``tuning.json`` beside a recording: the versions of its station's own settings, oldest first.

So a recording is judged as its station was: live operation, a replay and a backtest change at the same row.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pumpwatch.diagnosis.tuning import tuning_from_dict
from pumpwatch.domain.actors import LOCAL, Actor
from pumpwatch.domain.alerts import iso_utc, ms_from_iso
from pumpwatch.domain.errors import InvalidInput
from pumpwatch.domain.tuning import TuningVersion

NAME = "tuning.json"
_FORM = '[{"from": "2026-04-01T00:00:00Z", "reason": "…", "settings": {"set": {"limit": 12}}}]'


def read_tunings(folder: Path) -> list[TuningVersion]:
    """The versions that lie beside a recording; none where there is no such file.

    Of a version ``from`` (default: the first row), ``made``, ``who``, ``role``, ``reason`` and ``restores`` may be
    missing. Raises `InvalidInput` naming file, version and field.
    """
    path = folder / NAME
    if not path.exists():
        return []
    try:
        raw = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidInput(str(path), f"cannot be read ({error})", f"write {_FORM}") from error
    if not isinstance(raw, list):
        raise InvalidInput(str(path), "is no list of versions", f"write {_FORM}")
    return [_version(n, one, path) for n, one in enumerate(raw, start=1)]


def write_tunings(folder: Path, versions: Sequence[TuningVersion]) -> None:
    """Write them so that `read_tunings` gives the same; without any there is no file."""
    if versions:
        told = [
            {
                "from": iso_utc(v.effective_ms),
                "made": iso_utc(v.made_ms),
                "who": v.actor.id,
                "role": v.actor.role,
                "reason": v.reason,
                "settings": dict(v.settings),
                "restores": v.restores,
            }
            for v in versions
        ]
        text = json.dumps(told, ensure_ascii=False, indent=1) + "\n"
        (folder / NAME).write_text(text, encoding="utf-8")


def _version(n: int, raw: Any, path: Path) -> TuningVersion:
    where = f"{path} version {n}"
    if not isinstance(raw, Mapping):
        raise InvalidInput(where, "is no JSON object", f"write {_FORM}")
    try:
        settings = tuning_from_dict(raw["settings"]).to_dict()
        restores = raw.get("restores")
        return TuningVersion(
            n,
            ms_from_iso(raw["from"]) if "from" in raw else 0,
            ms_from_iso(raw["made"]) if "made" in raw else 0,
            Actor(str(raw.get("who", LOCAL.id)), str(raw.get("role", LOCAL.role))),
            str(raw.get("reason", "")),
            settings,
            None if restores is None else int(restores),
        )
    except InvalidInput as error:
        raise InvalidInput(
            f"{where}, {error.field}", error.problem.partition(": ")[2], error.remedy
        ) from error
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise InvalidInput(where, f"cannot be used ({error})", f"write {_FORM}") from error
