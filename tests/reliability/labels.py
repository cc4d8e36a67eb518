"""The points at which a process is killed: each is announced in the code by ``sys.audit``."""

from __future__ import annotations

from typing import NamedTuple


class Label(NamedTuple):
    """A point of ``edge`` or ``hub``; the kill comes at one of the first ``within`` passings."""

    name: str
    victim: str
    within: int


LABELS = (
    Label("edge.read", "edge", 60),
    Label("edge.in_txn", "edge", 60),
    Label("edge.thinned", "edge", 2),
    Label("edge.committed", "edge", 60),
    Label("edge.published", "edge", 60),
    Label("edge.puback", "edge", 60),
    Label("edge.trimmed", "edge", 20),
    Label("ingest.drained", "hub", 15),
    Label("ingest.in_txn", "hub", 15),
    Label("ingest.committed", "hub", 15),
    Label("ingest.acked", "hub", 15),
    Label("ingest.watermarked", "hub", 15),
    Label("assess.judged", "hub", 2),
    Label("assess.in_txn", "hub", 2),
    Label("assess.committed", "hub", 2),
    Label("record.in_txn", "hub", 10),
    Label("record.written", "hub", 10),
    Label("notify.attempted", "hub", 2),
    Label("notify.mid_http", "hub", 1),
    Label("notify.accepted", "hub", 2),
    Label("notify.settled", "hub", 2),
    Label("web.decided", "hub", 1),
    Label("web.committed", "hub", 1),
)

MID_HTTP = "notify.mid_http"
"""The only one outside our code: the receiver has taken the notice and not answered yet."""
BY_NAME = {label.name: label for label in LABELS}
