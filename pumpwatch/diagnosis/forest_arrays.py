"""A fitted forest as flat arrays, and how numpy alone scores rows with it.

The scores are those of scikit-learn's ``score_samples`` (a test holds them to 1e-6) at a fortieth of the
cost for a single row, and many sites are scored in one pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]

LEAF = 0
"""The feature number of a leaf. Column 0 of what is scored is -inf, so a row rests at its leaf."""
MAX_DEVIATION = 1e4
"""Standardised deviations are cut here: far beyond every split, and safe in 32 bits."""


@dataclass(frozen=True, slots=True, eq=False)
class Forest:
    """Isolation trees in arrays (nodes,), children of a node side by side.

    An inner node sends a row to ``child`` when the row's ``feature`` (1-based) is <= ``value``, else to
    ``child + 1``; a leaf has feature 0, is its own child, and its value is the path length of
    the rows that rest there. ``roots`` is (trees,); after ``depth`` steps every row rests;
    ``path_norm`` is the path length expected among ``max_samples`` rows.
    """

    feature: NDArray[np.int16]
    value: NDArray[np.float32]
    child: NDArray[np.int32]
    roots: NDArray[np.int32]
    depth: int
    path_norm: float
    max_samples: int


@dataclass(frozen=True, slots=True, eq=False)
class SiteModel:
    """A site's forest with what standardises its rows and calibrates its scores.

    ``names`` are its d features; ``median`` and ``scale`` are (d,); ``calibration`` (m,) the sorted
    scores of rows whose days the forest that scored them had not seen.
    """

    names: tuple[str, ...]
    median: Floats
    scale: Floats
    forest: Forest
    calibration: Floats

    def standardise(self, rows: Floats) -> Floats:
        """Signed deviations (n, d) of rows in robust sigmas; an unknown feature deviates by 0."""
        return standardised(rows, self.median, self.scale)

    def scores(self, rows: Floats) -> Floats:
        """(n,) as scikit-learn's ``score_samples``: between -1 and 0, lower is stranger."""
        return ForestPool([self]).scores([rows])[0]

    def p_values(self, rows: Floats) -> Floats:
        """(n,) conformal p-values, small is strange: (rank + 1) / (held-back rows + 1)."""
        return self.p_of_scores(self.scores(rows))

    def p_of_scores(self, scores: Floats) -> Floats:
        rank = np.searchsorted(self.calibration, scores, side="right")
        return np.asarray((rank + 1) / (len(self.calibration) + 1))


class ForestPool:
    """The nodes of many forests in one array, so that all their sites are scored in one pass."""

    def __init__(self, models: Sequence[SiteModel]) -> None:
        self.models = list(models)
        forests = [m.forest for m in self.models]
        nodes = np.array([len(f.feature) for f in forests], dtype=np.int64)
        first_node = np.cumsum(nodes) - nodes
        self._feature = _joined([f.feature for f in forests], np.int16)
        self._value = _joined([f.value for f in forests], np.float32)
        self._child = _joined([f.child for f in forests], np.int32)
        self._child += np.repeat(first_node, nodes).astype(np.int32)
        self._trees = np.array([len(f.roots) for f in forests], dtype=np.int64)
        self._first_tree = np.cumsum(self._trees) - self._trees
        self._roots = _joined([f.roots for f in forests], np.int64)
        self._roots += np.repeat(first_node, self._trees)
        self._depth = max((f.depth for f in forests), default=0)
        self._norm = np.array([f.path_norm for f in forests])
        self._width = max((len(m.names) for m in self.models), default=0)

    def scores(self, rows: Sequence[Floats]) -> list[Floats]:
        """Scores of ``rows[i]`` (n_i, d_i) under model i, as `SiteModel.scores`."""
        if len(rows) != len(self.models):
            raise ValueError(f"{len(rows)} blocks of rows for {len(self.models)} models")
        if not rows:
            return []
        deviations = [m.standardise(r) for m, r in zip(self.models, rows, strict=True)]
        counts = np.array([len(z) for z in deviations], dtype=np.int64)
        ends = np.cumsum(counts)
        x = np.zeros((int(ends[-1]), self._width + 1), dtype=np.float32)
        x[:, LEAF] = -np.inf
        for z, end in zip(deviations, ends, strict=True):
            x[end - len(z) : end, 1 : z.shape[1] + 1] = z
        owner = np.repeat(np.arange(len(rows)), counts)
        norm = self._norm[owner]
        # a forest of single rows expects no path at all; scikit-learn calls its score one half
        ratio = np.divide(self._path_lengths(x, owner), norm, out=np.ones(len(x)), where=norm > 0)
        return np.split(-np.exp2(-ratio), ends[:-1])

    def _path_lengths(self, x: NDArray[np.float32], owner: Ints) -> Floats:
        """Mean path length (n,) of each row over its model's trees: one lane per row and tree."""
        if not len(x):
            return np.zeros(0)
        trees = self._trees[owner]
        first_lane = np.cumsum(trees) - trees
        lane_row = np.repeat(np.arange(len(x)), trees)
        lane_tree = np.arange(len(lane_row)) + np.repeat(
            self._first_tree[owner] - first_lane, trees
        )
        flat, row_start = x.ravel(), lane_row * x.shape[1]
        node = self._roots[lane_tree]
        for _ in range(self._depth):
            right = flat[row_start + self._feature[node]] > self._value[node]
            node = self._child[node] + right
        return np.asarray(np.add.reduceat(self._value[node].astype(float), first_lane) / trees)


def standardised(rows: Floats, median: Floats, scale: Floats) -> Floats:
    """(rows - median) / scale (n, d), bounded, and 0 where a row says nothing."""
    z = (np.atleast_2d(np.asarray(rows, dtype=float)) - median) / scale
    return np.clip(np.nan_to_num(z, nan=0.0), -MAX_DEVIATION, MAX_DEVIATION)


def _joined(parts: Sequence[NDArray[Any]], dtype: type[np.generic]) -> NDArray[Any]:
    return np.concatenate([np.zeros(0, dtype), *parts]).astype(dtype, copy=False)
