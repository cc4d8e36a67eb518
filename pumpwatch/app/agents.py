"""Ordinary edge agents run inside this process: for the demo, a simulated fleet, a replay."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pumpwatch.domain.errors import PumpwatchError
from pumpwatch.domain.keys import SiteKey
from pumpwatch_edge.agent import Agent
from pumpwatch_edge.errors import EdgeError
from pumpwatch_edge.message import Plan
from pumpwatch_edge.outbox import SqliteOutbox
from pumpwatch_edge.runner import AgentRunner
from pumpwatch_edge.settings import BrokerSettings
from pumpwatch_edge.source import Source


def make_agent(
    key: SiteKey,
    source: Source,
    outboxes: Path,
    broker: tuple[str, int],
    now_ms: Callable[[], int],
    *,
    batch_age_s: float = 30,
) -> AgentRunner:
    """An agent for ``source`` with its outbox in ``outboxes``; not started yet."""
    outbox = outboxes / key.tenant / f"{key.site}.db"
    outbox.parent.mkdir(parents=True, exist_ok=True)
    agent = Agent(
        key.tenant,
        key.site,
        SqliteOutbox(outbox),
        signals=source.signals,
        period_s=source.period_s,
        plan=Plan(batch_age_s=batch_age_s),
    )
    host, port = broker
    return AgentRunner(agent, source, now_ms, BrokerSettings(host=host, port=port), patient=True)


@contextmanager
def edge_errors() -> Iterator[None]:
    """The edge has errors of its own; here they become the house's."""
    try:
        yield
    except EdgeError as error:
        raise PumpwatchError(str(error)) from None
