"""Elementwise ops that write to the array of an operand that nothing else has.

    linear(x, w, b).relu_()          rather than   torch.relu(linear(x, w, b))
    linear(h, w, b).add_(x)          rather than   x + linear(h, w, b)

What stands inside its only reader's expression is such an array.  A new one of some size pushes
others out of the cache, and is not there itself, as what was just computed is.
"""

from __future__ import annotations

from dataclasses import replace

from nnc.emit import ATOM, Emitter, Expr, Site
from nnc.ir.dims import product as size_of
from nnc.ir.graph import Node
from nnc.ir.types import TensorType
from nnc.ops.registry import OPS
from nnc_torch import kernels
from nnc_torch.spellings import is_relu

#: elements from which a new array costs more than a plainer text is worth
LARGE = 1 << 12

#: op -> the method that does it in place
METHODS = {
    "add": "add_", "sub": "sub_", "mul": "mul_", "div": "div_", "neg": "neg_", "exp": "exp_",
    "log": "log_", "sqrt": "sqrt_", "rsqrt": "rsqrt_", "tanh": "tanh_", "sigmoid": "sigmoid_",
}  # fmt: skip
COMMUTATIVE = ("add", "mul")
#: ops whose results are new arrays, beside most elementwise ones
NEW = ("dot", "sigmoid", "softplus", "gelu", "silu", "gelu_grad", "silu_grad", "softmax")
#: elementwise ops that may give what they were given, or no array at all
OLD = ("cast", "bitcast", "where")


def is_large(type: TensorType) -> bool:
    count = size_of(type.shape)
    return type.is_float and type.rank > 0 and isinstance(count, int) and count >= LARGE


def may_write(x: Expr, type: TensorType) -> bool:
    """Whether `x` is a new array of `type` that only the expression around it reads."""
    return x.is_new and is_large(type)


def in_place(op: str, emit: Emitter) -> Emitter:
    """`emit`, but into an operand where that pays."""

    def wrapped(site: Site, node: Node, *xs: Expr) -> Expr:
        made = emit(site, node, *xs)
        if made.weak or not is_large(node.type):
            return made
        if not made.fused:
            made = written(op, site, node, xs) or made
        is_new = op in NEW or (OPS[op].family == "elementwise" and op not in OLD)
        return replace(made, is_new=is_new and made.size > 0)

    return wrapped


def written(op: str, site: Site, node: Node, xs: tuple[Expr, ...]) -> Expr | None:
    """The call of the method of an operand that may be written to."""
    whole = [
        may_write(x, type) and axes is None and type == node.type
        for x, type, axes in zip(xs, site.types, site.axes, strict=True)
    ]
    if op == "maximum":
        return method(xs[1], "relu_") if is_relu(node, *xs) and whole[1] else None
    if op not in METHODS:
        return None
    if whole[0]:
        return method(xs[0], METHODS[op], *xs[1:])
    if op in COMMUTATIVE and whole[1]:
        return method(xs[1], METHODS[op], xs[0])
    return None


def method(x: Expr, name: str, *others: Expr) -> Expr:
    text = f"{x.at(ATOM)}.{name}({', '.join(other.text for other in others)})"
    return Expr(text, size=1 + x.size + sum(other.size for other in others))


def gelu_grad(site: Site, node: Node, dy: Expr, x: Expr) -> Expr:
    kernel = kernels.gelu_grad_ if may_write(dy, site.types[0]) else kernels.gelu_grad
    return site.dialect.call(site.helper(kernel), dy, x)
