"""How right the alerts were, by what people found: precision and recall, per station and of all.

Precision is confirmed / answered alerts; notices (`info`) are left out, nobody was sent for them.
Recall is told / (told + missed) failures. The interval is Wilson's 95 %.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pumpwatch.domain.alerts import Kind
from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.labels import Label, newest
from pumpwatch.services.scoring import wilson


@dataclass(frozen=True, slots=True)
class Share:
    """``hits`` of ``n``; nothing is claimed of none."""

    hits: int
    n: int

    @property
    def value(self) -> float | None:
        return self.hits / self.n if self.n else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """95 %."""
        return wilson(self.hits, self.n)


@dataclass(frozen=True, slots=True)
class LabelScores:
    """``named``: of the confirmed alerts, those whose first fault (and pump) was what was found."""

    precision: Share
    named: Share
    recall: Share

    @property
    def missed(self) -> int:
        return self.recall.n - self.recall.hits


def label_scores(labels: Iterable[Label]) -> LabelScores:
    """The scores of ``labels``, in which the newest answer to each subject counts."""
    counted = newest(labels)
    answered = [a for a in counted if a.said is not None and a.said.kind is not Kind.INFO]
    confirmed = [a for a in answered if a.confirms]
    missed = sum(a.said is None and a.confirms for a in counted)
    told = _failures(confirmed)
    return LabelScores(
        Share(len(confirmed), len(answered)),
        Share(sum(a.named for a in confirmed), len(confirmed)),
        Share(told, told + missed),
    )


def scores_by_site(labels: Sequence[Label]) -> dict[SiteKey, LabelScores]:
    """Of each station that has a label."""
    keys = sorted({label.key for label in labels})
    return {key: label_scores(a for a in labels if a.key == key) for key in keys}


def _failures(confirmed: Iterable[Label]) -> int:
    """How many failures these alerts told of: several of one station, cause and pump that were open at
    the same time are one."""
    count, until = 0, dict[tuple[SiteKey, str, str | None], int]()
    for label in sorted(confirmed, key=_opened_ms):
        failure = label.key, label.cause, label.target
        if failure not in until or _opened_ms(label) > until[failure]:
            count += 1
        until[failure] = max(until.get(failure, 0), label.found_ms)
    return count


def _opened_ms(label: Label) -> int:
    return label.said.opened_ms if label.said is not None else label.found_ms
