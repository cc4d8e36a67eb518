"""A recorded site: a folder with ``data.csv`` (or compressed, or Parquet), ``site.json`` and ``events.csv``."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from pumpwatch.domain.alerts import ms_from_iso
from pumpwatch.domain.errors import InvalidInput, PumpwatchError
from pumpwatch.domain.samples import Chunk
from pumpwatch.domain.signals import SIGNALS
from pumpwatch.domain.sites import LogEntry, LogKind, Site, SiteMode, site_from_dict

DATA_FILES = ("data.parquet", "data.csv", "data.csv.gz", "data.csv.xz")


@dataclass(frozen=True, slots=True)
class Recording:
    """One site's whole record, rows in time order, with what was counted while reading it.

    ``repeated`` rows had a time already taken, ``bad_times`` no readable time, ``out_of_bounds`` values lay
    outside their signal's bounds and are blank; ``unknown`` columns are no signal and were left out.
    """

    site: Site
    chunk: Chunk
    log: Sequence[LogEntry]
    repeated: int = 0
    bad_times: int = 0
    out_of_bounds: int = 0
    unknown: Sequence[str] = ()


def find_recordings(folder: Path) -> list[Path]:
    """Site folders under ``folder`` (or itself), by name. Raises `InvalidInput` if there is none."""
    if not folder.is_dir():
        raise InvalidInput("folder", f"{folder} is not a folder", "give a folder of recorded sites")
    if _data_file(folder):
        return [folder]
    found = sorted(p for p in folder.iterdir() if p.is_dir() and _is_site(p))
    if not found:
        raise InvalidInput(
            "folder",
            f"{folder} holds no recorded site",
            "each site is a folder with site.json and data.csv, .csv.gz, .csv.xz or .parquet",
        )
    return found


def read_recording(folder: Path) -> Recording:
    """Read one site folder. Raises `InvalidInput` naming the file or column that cannot be used."""
    path = _data_file(folder)
    if path is None:
        raise InvalidInput(str(folder), "no data file", f"add one of {', '.join(DATA_FILES)}")
    site = read_site(folder)
    frame = _read_table(path)
    if "ts" not in frame.columns:
        raise InvalidInput(
            str(path), "column ts is missing", "add the time of each row, ISO 8601, UTC"
        )
    if "level_m" not in frame.columns:
        raise InvalidInput(str(path), "column level_m is missing", "add the water level in metres")
    if frame.empty:
        raise InvalidInput(str(path), "no rows", "record some samples, or leave the site out")
    moments = pd.to_datetime(frame["ts"], utc=True, errors="coerce", format="ISO8601")
    known = moments.notna().to_numpy()
    if not known.any():
        raise InvalidInput(
            str(path), "no readable time in column ts", "write times in ISO 8601, UTC"
        )
    t_ms = moments[known].to_numpy(dtype="datetime64[ms]").astype(np.int64)
    times, first = np.unique(t_ms, return_index=True)
    signals, bad = _signals(frame, known, first)
    return Recording(
        site=site,
        chunk=Chunk(times, signals),
        log=read_log(folder),
        repeated=len(t_ms) - len(times),
        bad_times=int((~known).sum()),
        out_of_bounds=bad,
        unknown=sorted(set(map(str, frame.columns)) - {"ts"} - set(SIGNALS)),
    )


def read_site(folder: Path) -> Site:
    """``site.json`` of a folder; one without it is a site named like the folder."""
    path = folder / "site.json"
    try:
        raw = json.loads(path.read_text("utf-8")) if path.exists() else {"site": folder.name}
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as e:
        raise InvalidInput(str(path), f"cannot be read ({e})", "write it as one JSON object") from e
    if not isinstance(raw, dict):
        raise InvalidInput(str(path), "is not a JSON object", "see the site.json reference")
    try:
        return replace(site_from_dict(raw), mode=SiteMode.RECORDING)
    except InvalidInput as e:
        raise InvalidInput(f"{path}, {e.field}", e.problem.partition(": ")[2], e.remedy) from e


def read_log(folder: Path) -> list[LogEntry]:
    """The site log ``events.csv`` (ts, kind, target, note) in time order; none if there is no file."""
    path = folder / "events.csv"
    if not path.exists():
        return []
    entries = []
    try:
        with path.open(encoding="utf-8", newline="") as lines:
            for n, row in enumerate(csv.DictReader(lines), start=2):
                entries.append(_log_entry(row, f"{path} line {n}"))
    except (OSError, UnicodeDecodeError) as e:
        raise InvalidInput(str(path), f"cannot be read ({e})", "write it as UTF-8 CSV") from e
    return sorted(entries, key=lambda e: e.t_ms)


def _log_entry(row: dict[str, str | None], where: str) -> LogEntry:
    try:
        return LogEntry(
            t_ms=ms_from_iso(row.get("ts") or ""),
            kind=LogKind(row.get("kind") or ""),
            target=row.get("target") or None,
            note=row.get("note") or "",
        )
    except ValueError as e:
        kinds = ", ".join(LogKind)
        raise InvalidInput(where, str(e), f"columns ts (ISO 8601), kind ({kinds})") from e


def _is_site(folder: Path) -> bool:
    return (folder / "site.json").exists() or _data_file(folder) is not None


def _data_file(folder: Path) -> Path | None:
    return next((p for name in DATA_FILES if (p := folder / name).exists()), None)


def _read_table(path: Path) -> pd.DataFrame:
    try:
        if path.suffix == ".parquet":
            return pd.read_parquet(path)
        return pd.read_csv(path, low_memory=False)
    except PumpwatchError:
        raise
    except pd.errors.EmptyDataError:
        raise InvalidInput(str(path), "the file is empty", "record some samples") from None
    except (
        Exception
    ) as e:  # pandas and its codecs raise many kinds; all mean the same to the reader
        reason = str(e).splitlines()[0] if str(e) else type(e).__name__
        raise InvalidInput(str(path), f"cannot be read ({reason})", "check the file") from e


def _signals(
    frame: pd.DataFrame, known: np.ndarray, rows: np.ndarray
) -> tuple[dict[str, np.ndarray], int]:
    """Signal columns in time order; text and impossible values become blanks and are counted."""
    out, bad = {}, 0
    for name in frame.columns:
        if (signal := SIGNALS.get(str(name))) is None:
            continue
        column = frame[name]
        numbers = pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
        values = numbers[known][rows]
        blank = column.isna().to_numpy()[known][rows]
        with np.errstate(invalid="ignore"):
            wrong = ~((values >= signal.low) & (values <= signal.high)) & ~blank
        values = np.where(wrong, np.nan, values)
        bad += int(wrong.sum())
        if np.isfinite(values).any():
            out[signal.name] = values
    return out, bad
