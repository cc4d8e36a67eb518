"""Which channels the settings ask for, and the heartbeat."""

from __future__ import annotations

from collections.abc import Callable
from typing import TextIO

from pumpwatch.app.settings import Settings
from pumpwatch.domain.clock import WallClock
from pumpwatch.domain.ports import Notifier
from pumpwatch.transports.console import ConsoleNotifier
from pumpwatch.transports.heartbeat import HttpHeartbeat
from pumpwatch.transports.webhook import WebhookNotifier


def make_notifiers(
    settings: Settings, console: TextIO, *, simulated: bool = False
) -> list[Notifier]:
    """The configured channels; ``console`` is where the console one writes. What is ``simulated``
    is told there only: a demo beside a town's settings must not wake its crews."""
    notifiers: list[Notifier] = []
    if settings.notify.console:
        notifiers.append(ConsoleNotifier(console))
    hook = None if simulated else settings.notify.webhook
    if hook is not None:
        secrets = [hook.secret, *([hook.old_secret] if hook.old_secret else [])]
        notifiers.append(
            WebhookNotifier(
                hook.url,
                [secret.get_secret_value() for secret in secrets],
                clock=WallClock(),
                private_hosts=hook.private_hosts,
                allow_loopback=hook.allow_loopback,
                timeout_s=hook.timeout_s,
            )
        )
    return notifiers


def make_heartbeat(settings: Settings) -> Callable[[], None] | None:
    """None where no address is set."""
    url = settings.health.heartbeat_url
    return None if url is None else HttpHeartbeat(url.get_secret_value()).beat
