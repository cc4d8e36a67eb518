"""The errors of the house: each says what is wrong, where, and what to do next."""

from __future__ import annotations


class PumpwatchError(Exception):
    """A problem a person can act on: ``problem`` says what, ``remedy`` what to do."""

    def __init__(self, problem: str, remedy: str = "") -> None:
        super().__init__(f"{problem}: {remedy}" if remedy else problem)
        self.problem = problem
        self.remedy = remedy


class InvalidInput(PumpwatchError):
    """A value from outside that cannot be used; ``field`` names it."""

    def __init__(self, field: str, problem: str, remedy: str = "") -> None:
        super().__init__(f"{field}: {problem}", remedy)
        self.field = field


class NotFound(PumpwatchError):
    """Something was asked for by a name nobody has."""


class Conflict(PumpwatchError):
    """The thing changed since it was read, or the step is not allowed from its present state."""


class StoreUnavailable(PumpwatchError):
    """A store did not answer; trying again later helps."""


class DeliveryError(PumpwatchError):
    """A notification was not taken.

    ``permanent`` says that trying again will not help; ``retry_after_s`` is how long the other side
    asked to be left alone.
    """

    def __init__(
        self,
        problem: str,
        remedy: str = "",
        *,
        permanent: bool = False,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(problem, remedy)
        self.permanent = permanent
        self.retry_after_s = retry_after_s
