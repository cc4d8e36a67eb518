"""What many seeds came to together."""

from __future__ import annotations

import logging
from collections import Counter
from typing import Any

import structlog

from .town import Result


class Report:
    """Adds up results; `content` is what is published, with its trials and bounds."""

    def __init__(self) -> None:
        self.seeds: list[int] = []
        self.counts: Counter[str] = Counter()
        self.site_days = 0.0
        self.violations: list[str] = []

    def add(self, result: Result) -> None:
        self.seeds.append(result.seed)
        self.counts.update(result.counts)
        self.site_days += result.site_days
        self.violations += result.violations

    @property
    def site_years(self) -> float:
        return self.site_days / 365.25

    def line(self) -> str:
        counts = self.counts
        return (
            f"{len(self.seeds)} towns, {self.site_years:.1f} site-years, {sum(self._by('fault ').values())} faults,"
            f" {counts['acknowledged']} messages acknowledged, {counts['lost']} lost,"
            f" {counts['owed']} notifications owed, {counts['unsent']} unsent, {len(self.violations)} violations"
        )

    def content(self, seconds: float) -> dict[str, Any]:
        """The object that `--json` prints; bounds are 95 % upper ones by the rule of three."""
        counts = self.counts
        return {
            "seeds": len(self.seeds),
            "first_seed": min(self.seeds, default=None),
            "last_seed": max(self.seeds, default=None),
            "seconds": round(seconds, 1),
            "site_years": round(self.site_years, 2),
            "faults": self._by("fault "),
            "weather": {n: counts[n] for n in ("dropped", "doubled", "garbled", "overflowed", "unheard")},
            "kills": self._by("killed "),
            "acknowledged": counts["acknowledged"],
            "lost": counts["lost"],
            "lost_bound": _bound(counts["acknowledged"]),
            "rows_compared": counts["rows"],
            "alerts_compared": counts["alerts_owed"],
            "alerts_begun_late": counts["alerts_begun_late"],
            "alerts_joined": counts["alerts_joined"],
            "alerts_lost": counts["alerts_lost"],
            "alerts_lost_bound": _bound(counts["alerts_owed"]),
            "notifications_owed": counts["owed"],
            "notifications_told": counts["told"],
            "notifications_repeated": counts["told_again"],
            "obligations_unsent": counts["unsent"],
            "obligations_unsent_bound": _bound(counts["owed"]),
            "lost_with_the_hub_disk": counts["lost with the hub's disk"],
            "readings_lost_in_ram": counts["readings_lost_in_ram"],
            "violations": self.violations,
        }  # fmt: skip

    def _by(self, prefix: str) -> dict[str, int]:
        found = {n.removeprefix(prefix): v for n, v in self.counts.items() if n.startswith(prefix)}
        return dict(sorted(found.items()))


def _bound(n: int) -> float | None:
    """The 95 % upper bound of the rate when nothing was seen in ``n`` trials."""
    return 3 / n if n else None


def quiet() -> None:
    """The services say what goes wrong, and here everything does."""
    logging.disable(logging.CRITICAL)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
