"""A town's own failure log: which station failed when, and what was found.

One line a failure, CSV with a header: ``site`` and ``failed_at`` are needed; ``found`` (a fault code or its
name in Japanese or English), ``target`` (``pump1`` …), ``repaired_at`` and ``note`` may be blank or absent.
Times are ISO 8601; one without an offset is the station's own.
"""

from __future__ import annotations

import csv
import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from zoneinfo import ZoneInfo

from pumpwatch.alerting.catalogue import ENTRIES
from pumpwatch.alerting.i18n import LANGS, translator
from pumpwatch.alerting.wording import fault_title
from pumpwatch.domain.errors import InvalidInput
from pumpwatch.domain.faults import FAULT_GROUP
from pumpwatch.domain.signals import MAX_PUMPS
from pumpwatch.domain.sites import Site
from pumpwatch.services.truth import SiteTruth

COLUMNS = ("site", "failed_at", "found", "target", "repaired_at", "note")
_NEEDED = COLUMNS[:2]
_PUMPS = [f"pump{n}" for n in range(1, MAX_PUMPS + 1)]


@dataclass(frozen=True, slots=True)
class Failure:
    """One failure as the town knows it. ``found`` is a fault code, None where nobody wrote it down."""

    site: str
    failed_ms: int
    found: str | None = None
    target: str | None = None
    repaired_ms: int | None = None
    note: str = ""


def read_failures(path: Path, sites: Mapping[str, Site]) -> list[Failure]:
    """The failures of a log, in order of time. ``sites`` give the time zones of their stations.

    Raises `InvalidInput` naming file, line and column. A station that is not in ``sites`` is kept: it is
    the study that says what it could not look at.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            _check_header(path, reader.fieldnames or [])
            failures = [
                _failure(f"{path} line {reader.line_num}", row, sites)
                for row in reader
                if any(row.values())
            ]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InvalidInput(str(path), f"cannot be read ({error})", "save it as UTF-8 CSV") from None
    return sorted(failures, key=lambda f: (f.failed_ms, f.site))


def failures_of_truth(truth: Mapping[str, SiteTruth]) -> list[Failure]:
    """The failures of recordings whose truth is known, as a town's log would hold them.

    What comes slowly fails at its breakdown, what comes at once when it begins.
    """
    failures = [
        Failure(
            site,
            fault.breakdown_ms if fault.progressive else fault.onset_ms,
            fault.fault,
            fault.target,
            fault.repair_ms,
        )
        for site, known in truth.items()
        for fault in known.faults
    ]
    return sorted(failures, key=lambda f: (f.failed_ms, f.site))


def _check_header(path: Path, names: Iterable[str]) -> None:
    given = [name.strip() for name in names]
    for name in _NEEDED:
        if name not in given:
            raise InvalidInput(
                f"{path} line 1", f"column {name} is missing", f"use: {','.join(COLUMNS)}"
            )
    for name in given:
        if name not in COLUMNS:
            raise InvalidInput(
                f"{path} line 1", f"column {name!r} is unknown", f"use: {','.join(COLUMNS)}"
            )


def _failure(where: str, row: Mapping[str | None, str], sites: Mapping[str, Site]) -> Failure:
    cells = {name.strip(): (text or "").strip() for name, text in row.items() if name is not None}
    name = cells["site"]
    if not name:
        raise InvalidInput(f"{where}, site", "is blank", "name the station's folder")
    site = sites.get(name, Site(name))
    failed_ms = _moment(f"{where}, failed_at", cells["failed_at"], site)
    repaired = cells.get("repaired_at", "")
    repaired_ms = _moment(f"{where}, repaired_at", repaired, site) if repaired else None
    if repaired_ms is not None and repaired_ms < failed_ms:
        raise InvalidInput(
            f"{where}, repaired_at", f"{repaired} is before the failure", "correct one of the two"
        )
    target = cells.get("target") or None
    if target is not None and target not in _PUMPS[: site.pumps]:
        raise InvalidInput(
            f"{where}, target",
            f"{target!r} is no pump of {name}",
            f"use {', '.join(_PUMPS[: site.pumps])} or leave it blank",
        )
    found = _fault(f"{where}, found", cells.get("found", ""))
    return Failure(name, failed_ms, found, target, repaired_ms, cells.get("note", ""))


def _moment(where: str, text: str, site: Site) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidInput(
            where,
            f"{text!r} is no time",
            "write it like 2024-05-01T03:10 or 2024-05-01T03:10+09:00",
        ) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=ZoneInfo(site.timezone))
    return round(moment.timestamp() * 1000)


def _fault(where: str, text: str) -> str | None:
    """The code for what was found; its name in either language will do. Blank is not known."""
    if not text:
        return None
    code = _names().get(text.casefold())
    if code is None:
        near = difflib.get_close_matches(text.casefold(), _names(), 1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise InvalidInput(
            where,
            f"{text!r} is no fault",
            f"{hint}use a code of the runbook (pump_ragging …), or leave it blank and write a note",
        )
    return code


@cache
def _names() -> dict[str, str]:
    named = {
        fault_title(code, translator(lang)).casefold(): code for lang in LANGS for code in ENTRIES
    }
    return named | {code: code for code in FAULT_GROUP}
