"""Payloads that are wrong in every way, through the real door, inbox and consumers, beside good ones.

``python -m tests.reliability.fuzz --payloads 1000000 --seed 1`` prints its figures as one JSON
object on the last line, and ends with 1 if anything of what `faults` looks at happened.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
import traceback
from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path
from random import Random
from threading import RLock
from typing import Any

from pumpwatch.alerting.policy import Policy, Route
from pumpwatch.diagnosis.assessor import SiteAssessor
from pumpwatch.diagnosis.settings import DiagnosisSettings
from pumpwatch.domain.actors import SYSTEM
from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.messages import Arrival, Birth, Lane
from pumpwatch.domain.sites import Site
from pumpwatch.services.assess import AssessService
from pumpwatch.services.ingest import Door
from pumpwatch.services.live import LiveFeed
from pumpwatch.services.record import Recorder
from pumpwatch.stores.inbox import KEPT_QUARANTINE_ROWS, SqliteInbox
from pumpwatch.stores.ledger import SqlLedger
from pumpwatch.stores.series_sqlite import SqliteSeries
from pumpwatch.transports.wire import decode, inspect

from .mutations import MUTATIONS, Wire, Wrong

BEGAN_MS = 1_763_600_400_000
BATCH = 500
"""So many wrong payloads go into one batch with one good message of every good site."""
STEP_MS = 60_000
"""So much time passes from batch to batch; a good message holds the samples of it."""
SAMPLES = 6
GOOD = [SiteKey("default", f"good-{n}") for n in range(5)]
ATTACKED = [SiteKey("default", f"attacked-{n}") for n in range(5)]
REMEMBERED = 200
_PRUNE_BATCHES = 100
GROWTH_BOUND = 0.05


class Hub:
    """The door and the consumers behind it, on files, in one thread."""

    def __init__(self, folder: Path) -> None:
        self.inbox = SqliteInbox(folder / "inbox.db")
        self.ledger = SqlLedger(f"sqlite:///{folder / 'core.db'}")
        self.series = SqliteSeries(folder / "series.db")
        for key in (*GOOD, *ATTACKED):
            self.ledger.put_site(key, Site(key.site), SYSTEM, BEGAN_MS)
        self.door = Door(self.inbox, inspect, lambda: (*GOOD, *ATTACKED))
        self.recorder = Recorder(
            inbox=self.inbox, sites=self.ledger, store=self.series, decode=decode
        )
        self.assess = AssessService(
            inbox=self.inbox, alerts=self.ledger, sites=self.ledger, decode=decode,
            make_assessor=lambda key, site, log, state: SiteAssessor(
                key, site, fit=lambda request: None, settings=DiagnosisSettings(), log=log, state=state
            ),
            policy=Policy((Route("console"),)), alert_lock=RLock(), feed=LiveFeed(), now_ms=BEGAN_MS,
        )  # fmt: skip

    def take(self, batch: list[Wire], now_ms: int) -> None:
        """A batch through the door, and everything behind it as far as it goes."""
        outcome = self.door.take(
            [Arrival(*wire, now_ms, n) for n, wire in enumerate(batch)], now_ms
        )
        assert len(outcome.tokens) == len(batch), "everything is answered for"
        births: dict[SiteKey, Birth] = {birth.key: birth for birth in outcome.births}
        for birth in births.values():
            self.ledger.put_birth(birth, now_ms)
        for key, messages in outcome.held.items():
            self.ledger.hold(key, now_ms, messages, births.get(key))
        while self.recorder.step(now_ms):
            pass
        while self.assess.step(now_ms):
            pass
        self.assess.checkpoint(now_ms)

    def prune(self) -> None:
        self.inbox.prune(min(self.recorder.safe_position(), self.assess.safe_position()))

    def close(self) -> None:
        self.inbox.close()
        self.series.close()
        self.ledger.close()


class Sender:
    """What the sites say: the good ones the truth, the attacked ones anything."""

    def __init__(self, seed: int) -> None:
        self._dice = Random(seed)
        self._seqs: Counter[str] = Counter()
        self._said: deque[Wire] = deque(maxlen=REMEMBERED)
        self.kinds: Counter[str] = Counter()

    def good(self, key: SiteKey, now_ms: int) -> Wire:
        return self._telemetry(key, now_ms, SAMPLES)

    def wrong(self, now_ms: int) -> Wire:
        if self._said and self._dice.random() < 0.03:
            self.kinds["repeated"] += 1
            return self._dice.choice(self._said)
        mutation = self._dice.choice(MUTATIONS)
        self.kinds[mutation.__name__] += 1
        topic, payload = self._valid(self._dice.choice(ATTACKED), now_ms)
        made = mutation(Wrong(self._dice, topic, json.loads(payload), now_ms))
        wire = made if isinstance(made, tuple) else (topic, made)
        if len(wire[1]) < 10_000:
            self._said.append(wire)
        return wire

    def _valid(self, key: SiteKey, now_ms: int) -> Wire:
        make = self._dice.choice([self._telemetry, self._telemetry, self._event, self._status])
        return make(key, now_ms)

    def _telemetry(self, key: SiteKey, now_ms: int, n: int = 4) -> Wire:
        t_ms = [now_ms - STEP_MS + (i + 1) * STEP_MS // n for i in range(n)]
        level = [round(0.5 + 0.01 * (t // 10_000 % 60), 3) for t in t_ms]
        run = [int(t // 600_000 % 2) for t in t_ms]
        return self._stamped(key, "telemetry", now_ms, t=t_ms, signals={"level_m": level, "pump1_run": run})  # fmt: skip

    def _event(self, key: SiteKey, now_ms: int) -> Wire:
        value = self._dice.randint(0, 1)
        signal = self._dice.choice(
            ["pump1_run", "pump2_run", "high_level", "power_ok", "of-tomorrow"]
        )
        return self._stamped(key, "event", now_ms, t=now_ms - 10, signal=signal, value=value)

    def _status(self, key: SiteKey, now_ms: int) -> Wire:
        body = {
            "schema": 1, "online": True, "boot": "b1", "agent": "0.1.0", "period_s": 10, "outbox": 3,
            "signals": {"level_m": {"unit": "m", "min": 0, "max": 5}},
        }  # fmt: skip
        return f"pumpwatch/v1/{key}/status", json.dumps(body).encode()

    def _stamped(self, key: SiteKey, channel: str, now_ms: int, **body: Any) -> Wire:
        topic = f"pumpwatch/v1/{key}/{channel}"
        self._seqs[topic] += 1
        head = {"schema": 1, "epoch": "e1", "seq": self._seqs[topic], "sent": now_ms, "boot": "b1", "clock": "ntp"}  # fmt: skip
        return topic, json.dumps(head | body).encode()


def run(
    seed: int,
    payloads: int,
    folder: Path | None = None,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> dict[str, Any]:
    """Send so many wrong payloads and say what became of hub and good messages; see `faults`.

    Memory is resident bytes; ``memory_growth`` is the share by which the median of the last tenth
    lies above the median of the tenth in the middle. Without ``folder`` a temporary one is used.
    """
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="pumpwatch-fuzz-") as made:
            return run(seed, payloads, Path(made), progress)
    hub, sender = Hub(folder), Sender(seed)
    batches = -(-payloads // BATCH)
    escaped, memory = Counter[str](), []
    began_s, now_ms = time.monotonic(), BEGAN_MS
    for n in range(batches):
        now_ms += STEP_MS
        batch = [sender.wrong(now_ms) for _ in range(min(BATCH, payloads - n * BATCH))]
        for key in GOOD:
            batch.insert(sender._dice.randrange(len(batch) + 1), sender.good(key, now_ms))
        try:
            hub.take(batch, now_ms)
            if n % _PRUNE_BATCHES == 0:
                hub.prune()
        except Exception:
            escaped[traceback.format_exc(limit=-3)] += 1
        memory.append(resident_bytes())
        progress((n + 1) * BATCH, payloads)
    took_s = time.monotonic() - began_s
    try:
        return _figures(hub, sender, seed, payloads, batches, escaped, memory, took_s, folder)
    finally:
        hub.close()


def _figures(
    hub: Hub, sender: Sender, seed: int, payloads: int, batches: int, escaped: Counter[str],
    memory: list[int], took_s: float, folder: Path,
) -> dict[str, Any]:  # fmt: skip
    tenth = max(1, batches // 10)
    middle = statistics.median(memory[batches // 2 : batches // 2 + tenth])
    end = statistics.median(memory[-tenth:])
    health = hub.door.health().counters
    return {
        "seed": seed,
        "payloads": payloads,
        "seconds": round(took_s, 1),
        "payloads_per_s": round(payloads / took_s),
        "escaped": sum(escaped.values()),
        "traces": dict(escaped.most_common(5)),
        "sites_set_aside": {str(key): why for key, why in hub.assess.failed.items()},
        "store_trouble": hub.recorder.last_error,
        "good_messages": batches * len(GOOD),
        "good_confirmed": sum(
            hub.inbox.watermarks(key).get(("e1", Lane.TELEMETRY), 0) for key in GOOD
        ),
        "good_samples": batches * len(GOOD) * SAMPLES,
        "good_samples_stored": sum(hub.series.count(key) for key in GOOD),
        "unread_by_series": hub.recorder.lag(),
        "unread_by_assess": hub.inbox.last_id() - hub.assess.position,
        "quarantine_rows": len(hub.inbox.quarantine(10 * KEPT_QUARANTINE_ROWS)),
        "inbox_bytes": (folder / "inbox.db").stat().st_size,
        "memory_middle_mb": round(middle / 2**20, 1),
        "memory_end_mb": round(end / 2**20, 1),
        "memory_growth": round(end / middle - 1, 4),
        "counters": {name: n for name, n in health.items() if n},
        "kinds": dict(sorted(sender.kinds.items())),
    }


def faults(figures: dict[str, Any]) -> list[str]:
    """What must not be, each in one line; nothing when all is well."""
    wrong = {
        f"{figures['escaped']} exceptions escaped": figures["escaped"],
        f"sites were set aside: {figures['sites_set_aside']}": figures["sites_set_aside"],
        f"the store refused: {figures['store_trouble']}": figures["store_trouble"],
        "a good message was not confirmed": figures["good_confirmed"] != figures["good_messages"],
        "a good sample is missing": figures["good_samples_stored"] != figures["good_samples"],
        "something was left unread": figures["unread_by_series"] or figures["unread_by_assess"],
        "the quarantine grew past its bound": figures["quarantine_rows"] > KEPT_QUARANTINE_ROWS,
        f"memory grew by {figures['memory_growth']:.1%}": figures["memory_growth"] >= GROWTH_BOUND,
    }
    return [line for line, found in wrong.items() if found]


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--payloads", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="say nothing but the figures")
    options = parser.parse_args()
    told_s = [0.0]

    def progress(done: int, of: int) -> None:
        if not options.json and time.monotonic() - told_s[0] > 5:
            told_s[0] = time.monotonic()
            print(f"{done} of {of}, {resident_bytes() / 2**20:.0f} MB", file=sys.stderr, flush=True)

    figures = run(options.seed, options.payloads, progress=progress)
    found = faults(figures)
    for line in found:
        print(f"seed {options.seed}: {line}", file=sys.stderr)
    print(json.dumps(figures | {"faults": found}))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
