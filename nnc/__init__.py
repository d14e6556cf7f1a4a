"""nnc: a declarative model-graph compiler.

    import nnc
    model = nnc.load("model.nn").compile("numpy")
    state = model.init(seed=0)

The names below are imported when they are first used, so that `import nnc` costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nnc.api import Model, Program, load
    from nnc.language.diagnostics import Diagnostic, NncError

__version__ = "0.1.0"
__all__ = ["Diagnostic", "Model", "NncError", "Program", "load"]

_HOMES = {
    "load": "nnc.api",
    "Model": "nnc.api",
    "Program": "nnc.api",
    "NncError": "nnc.language.diagnostics",
    "Diagnostic": "nnc.language.diagnostics",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'nnc' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
