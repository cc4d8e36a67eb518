"""The whole of diagnosis over recorded sites, causally and at full speed."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from pumpwatch.cycles.recording import find_recordings, read_recording
from pumpwatch.diagnosis.assessor import Assessment, SiteAssessor
from pumpwatch.diagnosis.forest import FitRequest, SiteModel, fit_site_model
from pumpwatch.diagnosis.risk import breakdown_chance, by_day
from pumpwatch.diagnosis.settings import DiagnosisSettings
from pumpwatch.diagnosis.tuned import TunedAssessor
from pumpwatch.domain.alerts import Phase, iso_utc
from pumpwatch.domain.clock import DAY_MS
from pumpwatch.domain.errors import InvalidInput, NotFound, PumpwatchError
from pumpwatch.domain.keys import DEFAULT_TENANT, SiteKey
from pumpwatch.domain.samples import Chunk
from pumpwatch.services.tuning_file import read_tunings

Line = dict[str, Any]


@dataclass(frozen=True, slots=True)
class SiteResult:
    """One site's backtest. ``problem`` says why there is none; times are CPU seconds of its process."""

    site: str
    lines: Sequence[Line] = ()
    risk: Sequence[Line] = ()
    problem: str = ""
    rows: int = 0
    days: float = 0.0
    cycles: int = 0
    read_s: float = 0.0
    diagnose_s: float = 0.0
    notes: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class BacktestSummary:
    """What a backtest did. ``site_days_per_s`` counts diagnosis alone, on one core; reading is apart."""

    sites: int
    failed: dict[str, str]
    alerts: int
    rows: int
    site_days: float
    read_s: float
    diagnose_s: float
    wall_s: float
    notes: dict[str, list[str]] = field(default_factory=dict)

    @property
    def site_days_per_s(self) -> float:
        return self.site_days / self.diagnose_s if self.diagnose_s else 0.0


Progress = Callable[[int, int, SiteResult], None]
"""Called with (done, of, the site just finished)."""


def backtest(
    folder: Path | str,
    out: Path | str,
    *,
    sites: Sequence[str] | None = None,
    workers: int = 2,
    risk: Path | str | None = None,
    progress: Progress | None = None,
    settings: DiagnosisSettings | None = None,
) -> BacktestSummary:
    """Diagnose every recorded site under ``folder`` and write its alerts to ``out``, one JSON a line.

    Alerts are what opened or worsened, in order of time and site. A site that cannot be read is reported
    and stops no other. Raises `InvalidInput` without any site, `NotFound` for an unknown one of ``sites``.
    """
    began = time.perf_counter()
    folders = _chosen(find_recordings(Path(folder)), sites)
    results: list[SiteResult] = []
    for result in _run(folders, workers, risk is not None, settings or DiagnosisSettings()):
        results.append(result)
        if progress is not None:
            progress(len(results), len(folders), result)
    results.sort(key=lambda r: r.site)
    lines = sorted((line for r in results for line in r.lines), key=lambda x: (x["ts"], x["site"]))
    _write(Path(out), lines)
    if risk is not None:
        _write(Path(risk), [line for r in results for line in r.risk])
    return BacktestSummary(
        sites=len(results),
        failed={r.site: r.problem for r in results if r.problem},
        alerts=len(lines),
        rows=sum(r.rows for r in results),
        site_days=sum(r.days for r in results),
        read_s=sum(r.read_s for r in results),
        diagnose_s=sum(r.diagnose_s for r in results),
        wall_s=time.perf_counter() - began,
        notes={r.site: list(r.notes) for r in results if r.notes},
    )


def diagnose_folder(folder: Path, with_risk: bool, settings: DiagnosisSettings) -> SiteResult:
    """Read and diagnose one site folder; a problem with it is a result, not an exception."""
    start = time.process_time()
    try:
        return _diagnose(folder, with_risk, settings, start)
    except PumpwatchError as e:
        return SiteResult(folder.name, problem=str(e), read_s=time.process_time() - start)
    except Exception as e:  # one site's surprise must not cost the others their result
        problem = f"diagnosis failed ({type(e).__name__}: {e}): please report it with this folder"
        return SiteResult(folder.name, problem=problem)


def _diagnose(
    folder: Path, with_risk: bool, settings: DiagnosisSettings, start: float
) -> SiteResult:
    recording = read_recording(folder)
    read = time.process_time()
    site, chunk = recording.site, recording.chunk
    assessor = TunedAssessor(
        SiteAssessor(
            SiteKey(DEFAULT_TENANT, site.site),
            site,
            fit=fit_now,
            settings=settings,
            log=recording.log,
        ),
        read_tunings(folder),
    )
    assessment = assessor.feed(chunk)
    lines = [f.to_line() for f in assessment.findings if f.phase != Phase.RESOLVED]
    risk = _risk(site.site, chunk, assessment) if with_risk else []
    counted = [
        (recording.repeated, "repeated rows left out"),
        (recording.bad_times, "rows without a readable time left out"),
        (recording.out_of_bounds, "impossible values read as blank"),
        (len(recording.unknown), f"unknown columns left out: {', '.join(recording.unknown)}"),
    ]
    return SiteResult(
        site=site.site,
        lines=lines,
        risk=risk,
        rows=len(chunk),
        days=float(chunk.t_ms[-1] - chunk.t_ms[0]) / DAY_MS,
        cycles=len(assessment.cycles),
        read_s=read - start,
        diagnose_s=time.process_time() - read,
        notes=[f"{n} {what}" for n, what in counted if n],
    )


def _risk(site: str, chunk: Chunk, assessment: Assessment) -> list[Line]:
    """One line a UTC day: the chance of a breakdown, by what is open and what was evident at its beginning."""
    days = by_day(assessment.findings, assessment.evidence, int(chunk.t_ms[0]), int(chunk.t_ms[-1]))
    return [
        {"site": site, "ts": iso_utc(t_ms), "risk": breakdown_chance(told, far)}
        for t_ms, told, far in days
    ]


def fit_now(request: FitRequest) -> SiteModel:
    """A recording waits for its models: fit at once."""
    return fit_site_model(request.rows, request.day, request.names, request.seed)


def _chosen(folders: Sequence[Path], sites: Sequence[str] | None) -> list[Path]:
    if sites is None:
        return list(folders)
    by_name = {p.name: p for p in folders}
    missing = [s for s in sites if s not in by_name]
    if missing:
        raise NotFound(f"no recorded site named {', '.join(missing)}", "see the folder's names")
    return [by_name[s] for s in sites]


def _run(
    folders: Sequence[Path], workers: int, with_risk: bool, settings: DiagnosisSettings
) -> Iterator[SiteResult]:
    if workers < 1:
        raise InvalidInput("workers", f"{workers} is less than 1", "give a number of processes")
    if workers == 1 or len(folders) == 1:
        for folder in folders:
            yield diagnose_folder(folder, with_risk, settings)
        return
    with ProcessPoolExecutor(min(workers, len(folders)), mp_context=get_context("spawn")) as pool:
        jobs: list[Future[SiteResult]] = [
            pool.submit(diagnose_folder, folder, with_risk, settings) for folder in folders
        ]
        for job in as_completed(jobs):
            yield job.result()


def _write(path: Path, lines: Sequence[Line]) -> None:
    """Put the file in place whole, or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    with part.open("w", encoding="utf-8") as file:
        for line in lines:
            file.write(json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n")
    part.replace(path)
