"""A model on its way to the shelf and back. What comes back is not trusted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from pumpwatch.diagnosis.forest_arrays import LEAF, Forest, SiteModel
from pumpwatch.domain.errors import InvalidInput
from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.ports import StoredModel

FORMAT = "pumpwatch-forest"
VERSION = 1
MAX_DEPTH = 64
MAX_FEATURES = 256
MAX_NODES = 1_000_000

Number = TypeVar("Number", int, float)

_TYPES: dict[str, type[np.generic]] = {
    "median": np.float64,
    "scale": np.float64,
    "feature": np.int16,
    "value": np.float32,
    "child": np.int32,
    "roots": np.int32,
    "calibration": np.float64,
}


def to_stored(
    model: SiteModel, key: SiteKey, effective_ms: int, card: Mapping[str, Any]
) -> StoredModel:
    """The model as arrays and a JSON card: the given one, and what `from_stored` needs to read it."""
    forest = model.forest
    arrays: dict[str, NDArray[Any]] = {
        "median": model.median,
        "scale": model.scale,
        "feature": forest.feature,
        "value": forest.value,
        "child": forest.child,
        "roots": forest.roots,
        "calibration": model.calibration,
    }
    own = {
        "format": FORMAT,
        "version": VERSION,
        "features": list(model.names),
        "trees": len(forest.roots),
        "depth": forest.depth,
        "path_norm": forest.path_norm,
        "max_samples": forest.max_samples,
    }
    return StoredModel(key, effective_ms, {**card, **own}, arrays)


def from_stored(stored: StoredModel) -> SiteModel:
    """The model again. Raises `InvalidInput`, saying why, for one that could not have been written.

    Every index is checked before it is used, so that no file can make scoring crash or run on.
    """
    card = stored.card
    _need(card.get("format") == FORMAT, "card", f"format {card.get('format')!r} is not {FORMAT}")
    _need(card.get("version") == VERSION, "card", f"version {card.get('version')!r} is unknown")
    names = _names(card)
    depth = _number(card, "depth", int, MAX_DEPTH)
    path_norm = _number(card, "path_norm", float, MAX_DEPTH)
    max_samples = _number(card, "max_samples", int, MAX_NODES)
    arrays = {name: _array(stored.arrays, name, dtype) for name, dtype in _TYPES.items()}
    _check_scaling(arrays, len(names))
    _check_nodes(arrays, len(names), depth)
    feature, value, child, roots = (arrays[n] for n in ("feature", "value", "child", "roots"))
    forest = Forest(feature, value, child, roots, depth, path_norm, max_samples)
    return SiteModel(names, arrays["median"], arrays["scale"], forest, arrays["calibration"])


def _names(card: Mapping[str, Any]) -> tuple[str, ...]:
    names = card.get("features")
    if not isinstance(names, list) or not all(isinstance(n, str) for n in names):
        raise _refused("card", "no feature names")
    _need(1 <= len(names) <= MAX_FEATURES, "card", f"{len(names)} features")
    return tuple(names)


def _number(card: Mapping[str, Any], name: str, kind: type[Number], highest: float) -> Number:
    number = card.get(name)
    if type(number) is not kind or not 0 <= number <= highest:
        raise _refused("card", f"{name} {number!r}")
    return number


def _array(arrays: Mapping[str, NDArray[Any]], name: str, dtype: type[np.generic]) -> NDArray[Any]:
    found = arrays.get(name)
    if not isinstance(found, np.ndarray):
        raise _refused(name, "the array is missing")
    _need(found.ndim == 1 and found.dtype == dtype, name, f"{found.dtype} {found.shape}")
    _need(0 < len(found) <= MAX_NODES, name, f"{len(found)} values")
    if np.issubdtype(dtype, np.floating):
        _need(bool(np.isfinite(found).all()), name, "a value is not finite")
    return found


def _check_scaling(arrays: Mapping[str, NDArray[Any]], features: int) -> None:
    for name in ("median", "scale"):
        _need(len(arrays[name]) == features, name, f"{len(arrays[name])} for {features} features")
    _need(bool((arrays["scale"] > 0).all()), "scale", "a value is not positive")
    scores = arrays["calibration"]
    _need(bool((np.diff(scores) >= 0).all()), "calibration", "the scores are not sorted")
    _need(bool(scores[0] >= -1 and scores[-1] <= 0), "calibration", "a score is not in [-1, 0]")


def _check_nodes(arrays: Mapping[str, NDArray[Any]], features: int, depth: int) -> None:
    feature, child, roots = arrays["feature"], arrays["child"], arrays["roots"]
    nodes = len(feature)
    for name in ("value", "child"):
        _need(len(arrays[name]) == nodes, name, f"{len(arrays[name])} for {nodes} nodes")
    _need(bool((feature >= 0).all() and (feature <= features).all()), "feature", "no such feature")
    own = np.arange(nodes)
    leaf = feature == LEAF
    _need(bool((child[leaf] == own[leaf]).all()), "child", "a leaf points elsewhere")
    _need(bool((arrays["value"][leaf] >= 0).all()), "value", "a path length is negative")
    down = child[~leaf]
    _need(bool((down > own[~leaf]).all()), "child", "a node points back")
    _need(bool((down < nodes - 1).all()), "child", "a node points outside")
    _need(bool((roots >= 0).all() and (roots < nodes).all()), "roots", "a root lies outside")
    reached = np.unique(roots)
    for _ in range(depth):
        down = child[reached[~leaf[reached]]]
        reached = np.unique(np.concatenate([reached[leaf[reached]], down, down + 1]))
    _need(bool(leaf[reached].all()), "child", f"a path is longer than {depth}")


def _need(holds: bool, name: str, problem: str) -> None:
    if not holds:
        raise _refused(name, problem)


def _refused(name: str, problem: str) -> InvalidInput:
    return InvalidInput(f"model {name}", problem, "fit the site again (pumpwatch train)")
