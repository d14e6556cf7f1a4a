"""The functions for inference, which call the tree of modules."""

from __future__ import annotations

from collections.abc import Sequence

from nnc.emit import Dialect, identifier
from nnc.emit.inputs import argument_name
from nnc.ir.program import Forward


def method_names(forwards: Sequence[Forward]) -> dict[str, str]:
    """The method of `Model` for each net."""
    if len(forwards) == 1:
        return {forwards[0].name: "forward"}
    return {forward.name: f"forward_{identifier(forward.name)}" for forward in forwards}


def forward_text(forward: Forward, name: str, method: str, dialect: Dialect) -> str:
    """The function `name(state, x, ...)`, which calls the `method` of `Model`."""
    inputs = [forward.structured.node(id).attrs for id in forward.structured.inputs]
    named = [(argument_name(a["name"], dialect), a["kind"]) for a in inputs if a["kind"] != "state"]
    arguments = [name for name, _ in named]
    parameters = [f"{name}=0" if kind == "scalar" else name for name, kind in named]
    target = "model(state)" if method == "forward" else f"model(state).{method}"
    return f'''
@torch.no_grad()
def {name}({", ".join(["state", *parameters])}):
    """`{forward.name}` of its arguments, as in evaluation."""
    return {target}({", ".join(arguments)})
'''.strip()
