"""The faults a simulated station can have: every `Fault` class in a file of this package."""

from __future__ import annotations

import importlib
import inspect
import pkgutil

from pumpwatch.simulator.faults.base import Fault


def _found() -> dict[str, type[Fault]]:
    modules = [
        importlib.import_module(m.name) for m in pkgutil.iter_modules(__path__, f"{__name__}.")
    ]
    classes = [c for module in modules for _, c in inspect.getmembers(module, inspect.isclass)]
    return {c.code: c for c in classes if issubclass(c, Fault) and c is not Fault}


FAULTS: dict[str, type[Fault]] = dict(sorted(_found().items()))
"""Fault code → class."""

__all__ = ["FAULTS", "Fault"]
