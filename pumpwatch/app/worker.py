"""A thread that does one thing again and again, and survives that thing failing."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event, Thread

import structlog

log = structlog.get_logger()

FIRST_RETRY_S = 0.5
LONGEST_RETRY_S = 30.0


class Worker:
    """Runs ``step`` until stopped. ``step`` returns the seconds to rest; `wake` ends a rest early.

    A step that raises is logged (once per run of failures), counted and tried again with growing
    rests: one broken part delays only itself.
    """

    def __init__(self, name: str, step: Callable[[], float]) -> None:
        self.name = name
        self.failures = 0
        self.failing = ""
        self._step = step
        self._stopping = False
        self._wake = Event()
        self._thread = Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        self._wake.set()

    def stop(self, timeout_s: float = 10) -> bool:
        """Ask the thread to end after its present step; False when it did not in time."""
        self._stopping = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def _run(self) -> None:
        retry_s = FIRST_RETRY_S
        while not self._stopping:
            try:
                rest_s = self._step()
            except Exception as error:  # the thread must outlive whatever its step meets
                self.failures += 1
                if not self.failing:
                    log.exception("worker failed", worker=self.name)
                self.failing = f"{type(error).__name__}: {error}"
                rest_s, retry_s = retry_s, min(retry_s * 2, LONGEST_RETRY_S)
            else:
                if self.failing:
                    log.info("worker recovered", worker=self.name, failures=self.failures)
                self.failing, retry_s = "", FIRST_RETRY_S
            if rest_s > 0:
                self._wake.wait(rest_s)
            self._wake.clear()
