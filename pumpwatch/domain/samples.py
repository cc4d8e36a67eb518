"""What a panel said, in columns. Arrays appear in annotations only: this floor needs no numpy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some rows of one site: one message or one year.

    ``t_ms`` is (n,) int64, epoch milliseconds UTC; each signal is (n,) float64 in its own unit,
    NaN where the panel said nothing. A signal the site does not have is an absent key.
    """

    t_ms: NDArray[np.int64]
    signals: Mapping[str, NDArray[np.float64]]

    def __len__(self) -> int:
        return len(self.t_ms)

    def __repr__(self) -> str:
        return f"Chunk({len(self)} rows, {', '.join(self.signals)})"


@dataclass(frozen=True, slots=True)
class Edge:
    """A change of one signal, stamped on site at the moment it happened."""

    t_ms: int
    signal: str
    value: float
