"""`kernel` compiled by numba (the extra ``fast``). Importing it without numba raises `ImportError`.

No fast maths and no fused multiply-add: what is compiled gives the same bits as CPython and numpy.
"""

from __future__ import annotations

from functools import cache
from types import FunctionType
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from pumpwatch.simulator import kernel
from pumpwatch.simulator.stepping import EDGE_ROOM, Floats, Record, Span, Tables


@cache
def _compiled() -> dict[str, Any]:
    """The functions of the kernel, compiled; they call each other by name, so here the names are the
    compiled ones. Not at import: numba tries then whether it may write its cache."""
    names: dict[str, Any] = dict(vars(kernel)) | {"__name__": __name__}
    for function in kernel.FUNCTIONS:
        names[function.__name__] = numba.njit(cache=True, fastmath=False, error_model="numpy")(
            FunctionType(function.__code__, names, function.__name__)
        )
    return names


def step_numba(
    state: Floats, inflow: Floats, span: Span, tables: Tables, record: Record
) -> NDArray[np.int64]:
    """`stepping.step_numpy`, compiled."""
    edges = np.empty((EDGE_ROOM, 4), np.int64)
    count = np.zeros(1, np.int64)
    routed = np.zeros((state.shape[1] + 1, span.steps + 1 if tables.linked else 1))
    _compiled()["run_block"](
        state, inflow, span.lead, span.per_minute, span.first, span.steps, span.begin, span.dt,
        tables.upstream, tables.order, tables.linked, routed, np.empty(len(state)), tables.heights,
        tables.volumes, tables.net, tables.flow, tables.normals, tables.uniforms, edges, count,
        record.level, record.seen, record.amps, record.bits, record.minutes,
    )  # fmt: skip
    if count[0] > EDGE_ROOM:
        raise RuntimeError(f"{count[0]} edges in one block, room for {EDGE_ROOM}")
    return edges[: count[0]]
