"""The agent's errors: each says what is wrong, where, and what to do next."""

from __future__ import annotations


class EdgeError(Exception):
    """A problem a person can act on: ``problem`` says what, ``remedy`` what to do."""

    def __init__(self, problem: str, remedy: str = "") -> None:
        super().__init__(f"{problem}: {remedy}" if remedy else problem)
        self.problem = problem
        self.remedy = remedy


class InvalidMessage(EdgeError):
    """A message, or a value that was to go into one, that the wire does not allow."""

    def __init__(self, field: str, problem: str, remedy: str = "") -> None:
        super().__init__(f"{field}: {problem}", remedy)
        self.field = field


class SettingsError(EdgeError):
    """A setting that cannot be used."""


class SourceError(EdgeError):
    """A source that cannot be read (any further)."""


class OutboxUnavailable(EdgeError):
    """The outbox could not be written or read now; nothing was changed, trying again may help."""


class OutboxRefused(OutboxUnavailable):
    """The outbox is another agent's or a newer version's: no use trying again."""
