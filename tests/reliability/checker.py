"""Compares what stations made with what inbox, series, ledger and receiver hold at the end."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from pumpwatch.app.datadir import DataDir
from pumpwatch.app.hub import Stores, open_stores
from pumpwatch.app.settings import SeriesSettings
from pumpwatch.diagnosis.assessor import SiteAssessor
from pumpwatch.diagnosis.settings import DiagnosisSettings
from pumpwatch.domain.alerts import Alert, OwedState, Phase, Step
from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.messages import EdgeEvent, Lane, Telemetry
from pumpwatch.domain.samples import Chunk, Edge
from pumpwatch.transports.wire import decode
from pumpwatch_edge.outbox import SqliteOutbox

from .station import TENANT, Station, is_narrow, kept_log, side_log
from .town import OPENING, Town

FAULT = "high_level"
EXCUSED = ("acknowledged by", "newer news of it was sent", "nobody was told that it began")
"""Reasons for which a notice need not be sent."""


class Episode(NamedTuple):
    """An alert as diagnosis derives it from a whole record."""

    site: str
    cause: str
    opened_ms: int
    resolved_ms: int | None


@dataclass
class Verdict:
    """What was found; the lists are empty when every promise was kept."""

    made: int = 0
    acknowledged: int = 0
    """Samples and events that an agent's outbox had on disk."""
    lost: list[str] = field(default_factory=list)
    invented: list[str] = field(default_factory=list)
    """Rows that no station made, or with another value than it made."""
    alerts_owed: int = 0
    alerts_missing: list[str] = field(default_factory=list)
    alerts_invented: list[str] = field(default_factory=list)
    obligations: int = 0
    unsent: list[str] = field(default_factory=list)
    answers: int = 0
    answers_lost: list[str] = field(default_factory=list)
    thinned: int = 0
    """Samples that the small outboxes gave up, by their own count."""
    lost_unacknowledged: int = 0
    """What was in the memory of an agent that was killed."""
    notices: int = 0
    duplicate_notices: int = 0
    quarantined: int = 0
    alert_times: list[tuple[int, float]] = field(default_factory=list)
    """Per alert, when its fact was complete [wall ms], and how long after that the receiver had
    accepted a notice of it [s]."""

    @property
    def latency_s(self) -> list[float]:
        return [seconds for _, seconds in self.alert_times]

    @property
    def broken(self) -> dict[str, list[str]]:
        lists = {
            "acknowledged and lost": self.lost,
            "stored and never made": self.invented,
            "alerts missing": self.alerts_missing,
            "alerts without a reason": self.alerts_invented,
            "obligations without attempt": self.unsent,
            "answers of people lost": self.answers_lost,
        }
        return {name: found for name, found in lists.items() if found}


class _Record(NamedTuple):
    """What one station made and its agent kept."""

    made: dict[int, int]
    """t_ms → wall_ms of samples."""
    made_edges: dict[int, tuple[int, float]]
    kept: set[int]
    kept_edges: set[int]


def check(town: Town, series: SeriesSettings | None = None) -> Verdict:
    """Everything of a town that has settled."""
    verdict = Verdict()
    records = {site: _record(town, site) for site in town.sites}
    with OPENING:
        stores = open_stores(DataDir(town.data_dir), series)
    try:
        told = _told(town)
        verdict.notices = sum(told.values())
        verdict.duplicate_notices = sum(n - 1 for n in told.values())
        stored = _stored_edges(stores)
        for site, record in records.items():
            _check_samples(town, stores, site, record, verdict)
            lost = record.kept_edges - stored.get(site, set())
            verdict.lost += [f"{site} event {t}" for t in sorted(lost)]
        verdict.made = sum(len(r.made) + len(r.made_edges) for r in records.values())
        verdict.acknowledged = sum(len(r.kept) + len(r.kept_edges) for r in records.values())
        verdict.lost_unacknowledged = verdict.made - verdict.acknowledged
        _check_alerts(town, stores, records, verdict)
        _check_obligations(stores, set(told), verdict)
        _check_answers(town, stores, verdict)
        verdict.quarantined = sum(stores.inbox.quarantine_counts().values())
    finally:
        stores.close()
    verdict.alert_times = _alert_times(town, records)
    return verdict


def _record(town: Town, site: str) -> _Record:
    made, edges = {}, {}
    for line in side_log(town.folder, site).read_text().splitlines():
        wall, t, *value = line.split()
        if value:
            edges[int(t)] = int(wall), float(value[0])
        else:
            made[int(t)] = int(wall)
    kept: dict[str, set[int]] = {lane: set() for lane in Lane}
    for line in kept_log(town.folder, site).read_text().splitlines():
        t, lane = line.split()
        kept[lane].add(int(t))
    return _Record(made, edges, kept[Lane.TELEMETRY], kept[Lane.EVENT])


def _stored_edges(stores: Stores) -> dict[str, set[int]]:
    """Every row of the inbox is read as its consumers read it."""
    found: dict[str, set[int]] = {}
    after = 0
    while rows := stores.inbox.read(after, 5_000):
        for row in rows:
            message = decode(row.topic, row.payload, row.received_ms)
            assert isinstance(message, Telemetry | EdgeEvent), message
            if isinstance(message, EdgeEvent):
                found.setdefault(row.stamp.key.site, set()).add(message.edge.t_ms)
        after = rows[-1].id
    return found


def _check_samples(
    town: Town, stores: Stores, site: str, record: _Record, verdict: Verdict
) -> None:
    station = Station(site, town.numbers[site], town.start_ms)
    chunk = stores.series.read_raw(SiteKey(TENANT, site), 0, 2**60, ["level_m"])
    times = chunk.t_ms.tolist()
    right = [station.level_m(station.n_of(t)) for t in times]
    wrong = ~np.isclose(chunk.signals["level_m"], right, atol=1e-9, rtol=0)
    verdict.invented += [f"{site} value at {times[i]}" for i in np.flatnonzero(wrong)]
    verdict.invented += [f"{site} row {t}" for t in times if t not in record.made]
    lost = sorted(record.kept - set(times))
    if is_narrow(site):
        outbox = SqliteOutbox(town.folder / f"{site}.outbox")
        given_up = outbox.thinned + outbox.dropped
        outbox.close()
        verdict.thinned += given_up
        lost = lost[given_up:]
    verdict.lost += [f"{site} sample {t}" for t in lost]


# -- alerts ----------------------------------------------------------------------------------------


def _check_alerts(
    town: Town, stores: Stores, records: dict[str, _Record], verdict: Verdict
) -> None:
    expected = {e for site, record in records.items() for e in _derived(town, stores, site, record)}
    found = {_episode(alert) for alert in stores.ledger.alerts(limit=1_000_000)}
    verdict.alerts_owed = len(expected)
    verdict.alerts_missing = sorted(map(str, expected - found))
    verdict.alerts_invented = sorted(map(str, found - expected))


def _derived(town: Town, stores: Stores, site: str, record: _Record) -> Iterable[Episode]:
    """What diagnosis says of the whole record at once, as nothing had ever happened to it."""
    key, station = SiteKey(TENANT, site), Station(site, town.numbers[site], town.start_ms)
    about = stores.ledger.site(key)
    assert about is not None
    assessor = SiteAssessor(key, about, fit=lambda _: None, settings=DiagnosisSettings(), log=[])
    readings = [station.reading(station.n_of(t)) for t in sorted(record.kept)]
    signals = {
        name: np.array([r.values[name] for r in readings], float)
        for name in ("level_m", "pump1_run")
    }
    chunk = Chunk(np.array([r.t_ms for r in readings], np.int64), signals)
    edges = [Edge(t, FAULT, record.made_edges[t][1]) for t in sorted(record.kept_edges)]
    opened: dict[str, int] = {}
    for finding in assessor.feed(chunk, edges).findings:
        if finding.phase is Phase.OPENED:
            opened[finding.cause] = finding.t_ms
        elif finding.phase is Phase.RESOLVED:
            yield Episode(site, finding.cause, opened.pop(finding.cause), finding.t_ms)
    for cause, t_ms in opened.items():
        yield Episode(site, cause, t_ms, None)


def _episode(alert: Alert) -> Episode:
    return Episode(alert.key.site, alert.cause, alert.opened_ms, alert.resolved_ms)


def _told(town: Town) -> Counter[str]:
    """How often the receiver accepted each notice."""
    path = town.folder / "accepted"
    return Counter(line.split()[1] for line in path.read_text().splitlines())


def _check_obligations(stores: Stores, told: set[str], verdict: Verdict) -> None:
    """Each notice owed was accepted, or there is a reason that makes it needless."""
    for alert in stores.ledger.alerts(limit=1_000_000):
        owed = stores.ledger.owed_for(alert.id)
        steps = {t.n: t.step for t in stores.ledger.transitions(alert.id)}
        if Step.OPENED not in {steps[row.transition_n] for row in owed}:
            verdict.unsent.append(f"{alert.id} owes nobody its opening")
        for row in owed:
            verdict.obligations += 1
            name = f"{row.alert_id}-{row.transition_n}-{row.notifier}"
            excused = row.state is OwedState.HELD and row.last_error.startswith(EXCUSED)
            if name not in told and not excused:
                verdict.unsent.append(f"{name} {row.state} {row.last_error}")


def _check_answers(town: Town, stores: Stores, verdict: Verdict) -> None:
    verdict.answers = len(town.answered)
    for alert_id in sorted(town.answered):
        alert = stores.ledger.alert(alert_id)
        if alert is None or alert.acknowledged_ms is None:
            verdict.answers_lost.append(alert_id)


def _alert_times(town: Town, records: dict[str, _Record]) -> list[tuple[int, float]]:
    """From the word at which the rule's delay had run out to the first accepted notice."""
    first: dict[str, int] = {}
    for line in (town.folder / "accepted").read_text().splitlines():
        wall, _, kind, alert_id = line.split()
        if kind == "alert.opened":
            first.setdefault(alert_id, int(wall))
    ledger = town.ledger()
    try:
        alerts = [a for a in ledger.alerts(limit=1_000_000) if a.cause == FAULT]
    finally:
        ledger.close()
    words = {site: sorted(record.made.items()) for site, record in records.items()}
    found = []
    for alert in alerts:
        said = words[alert.key.site]
        at = bisect_left(said, (alert.opened_ms, 0))
        if alert.id in first and at < len(said):
            complete_ms = said[at][1]
            found.append((complete_ms, (first[alert.id] - complete_ms) / 1000))
    return found
