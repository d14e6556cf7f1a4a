"""What an op means, in one place: type rule, NumPy evaluation, gradient, decomposition.

An op is defined once, in the family file it belongs to:

    define = family("elementwise")
    define("exp", infer=float_unary, evaluate=np.exp, vjp=lambda dy, y, x: (dy * y,))

All four functions take the operands in order and the node's attributes as keywords:

    infer(*types, **attrs)      -> TensorType | tuple of them; raises OpError in the user's terms
    evaluate(*arrays, **attrs)  -> array | tuple; the living definition, dims already concrete
    vjp(dy, y, *xs, **attrs)    -> one cotangent (or None) an operand, as `Tensor`s of a builder;
                                   `dy` and `y` are tuples where the op has several results, and a
                                   `dy` in such a tuple is None where that result is not used
    decompose(*xs, **attrs)     -> Tensor | tuple; the same value from core ops (composites only)

An op without `vjp` is not differentiable: reaching it with a cotangent is an error in the user's
terms unless `zero_gradient` says that its gradient is zero everywhere (comparisons, argmax ...).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


class OpError(Exception):
    """A use of an op that its type rule refuses; the message is shown to the user."""


@dataclass(frozen=True)
class Op:
    name: str
    family: str
    infer: Callable[..., Any]
    evaluate: Callable[..., Any] | None = None
    vjp: Callable[..., Any] | None = None
    decompose: Callable[..., Any] | None = None
    zero_gradient: bool = False
    doc: str = ""

    @property
    def composite(self) -> bool:
        return self.decompose is not None


OPS: dict[str, Op] = {}


def family(name: str) -> Callable[..., Op]:
    """The `define` of one family file: `define = family("elementwise")`."""

    def define(op: str, **parts: Any) -> Op:
        if op in OPS:
            raise ValueError(f"op `{op}` is defined twice")
        OPS[op] = Op(op, name, **parts)
        return OPS[op]

    return define
