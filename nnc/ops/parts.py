"""The gradient of a composite by its parts, for those that have no better one of their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nnc.ir.builder import Tensor


def vjp_of_parts(
    decompose: Callable[..., Any],
) -> Callable[..., tuple[Tensor | None, ...]]:
    """A `vjp` that differentiates what `decompose` makes."""

    def vjp(dy: Any, y: Any, *xs: Tensor, **attrs: Any) -> tuple[Tensor | None, ...]:
        dys = list(dy) if isinstance(dy, Sequence) else [dy]
        return differentiated(lambda *zs: decompose(*zs, **attrs), dys, xs)

    return vjp


def differentiated(
    function: Callable[..., Any], dys: Sequence[Tensor | None], xs: Sequence[Tensor]
) -> tuple[Tensor | None, ...]:
    """The cotangent of each of `xs` for the cotangents `dys` of the results of `function`.

    The function is differentiated in a graph of its own, where no operand depends on another one,
    as the residuals of a gradient depend on its other operands.
    """
    from nnc.ir.builder import Builder
    from nnc.ir.graph import Graph
    from nnc.ir.reverse import vjp
    from nnc.ir.splice import inline

    inner = Builder(Graph())
    inputs = [inner.input(f"x{i}", x.type) for i, x in enumerate(xs)]
    for node in inner.graph:
        node.name = ""  # after which gradients would be called
    made = function(*inputs)
    results = list(made) if isinstance(made, Sequence) else [made]
    pairs = [(y, dy) for y, dy in zip(results, dys, strict=True) if dy is not None]
    cotangents = [inner.input(f"d{i}", dy.type) for i, (_, dy) in enumerate(pairs)]
    smooth = [i for i, x in enumerate(xs) if x.type.is_float]
    found = vjp(inner, [y for y, _ in pairs], cotangents, [inputs[i] for i in smooth])
    given = {i: ct for i, ct in zip(smooth, found, strict=True) if ct is not None}
    inner.graph.outputs = {f"dx{i}": ct.value for i, ct in given.items()}
    operands = [*xs, *(dy for _, dy in pairs)]
    outer = dict(zip(given, inline(xs[0].builder, inner.graph, operands), strict=True))
    return tuple(outer.get(i) for i in range(len(xs)))
