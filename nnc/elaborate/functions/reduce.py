"""Reductions and searches along axes."""

from __future__ import annotations

from typing import Any

from nnc.elaborate.calls import Site
from nnc.elaborate.functions.registry import builtin
from nnc.elaborate.indexing import axes_of, axis_of
from nnc.elaborate.values import TensorValue, WeightsValue, describe
from nnc.ir.types import FLOATS


def _kept(x: TensorValue, axes: tuple[int, ...], keep: bool) -> tuple[str | None, ...]:
    if keep:
        return tuple(None if i in axes else n for i, n in enumerate(x.names))
    return tuple(n for i, n in enumerate(x.names) if i not in axes)


def reduction(site: Site, op: str, x: TensorValue, axis: Any, keep: bool) -> TensorValue:
    axes = axes_of(x, axis, site.place("axis"))
    if op in ("sum", "mean", "prod") and x.dtype == "bool":
        raise site.wrong("E0312", f"`{op}` of {describe(x)}", "x", help="`f32(mask)` casts")
    if op == "mean" and x.dtype not in FLOATS:
        raise site.wrong("E0312", f"`mean` of {describe(x)}", "x", help="`f32(...)` casts")
    with site.cx.at(site.span):
        tensor = x.tensor.mean(axes, keep) if op == "mean" else x.tensor._reduce(op, axes, keep)
    return TensorValue(tensor, _kept(x, axes, keep))


@builtin("sum")
def sum_(site: Site, x: Any, axis: Any = None, keep: bool = False) -> TensorValue:
    """`sum(x, axis = none, keep = false)`: over one axis, several or all.

    Of a tree of weights it is one number, over all of them.
    `axis` is an int from either end, the label of an axis, or several in brackets; `keep` leaves
    axes of size 1.
    """
    if isinstance(x, WeightsValue):
        totals = [reduction(site, "sum", leaf, None, False) for leaf in x.leaves.values()]
        total = totals[0].tensor
        for other in totals[1:]:
            total = site.emit("add", total, other.tensor)
        return TensorValue(total, ())
    return reduction(site, "sum", tensor_of(site, x, "sum"), axis, keep)


@builtin()
def mean(site: Site, x: TensorValue, axis: Any = None, keep: bool = False) -> TensorValue:
    """`mean(x, axis = none, keep = false)`: the arithmetic mean."""
    return reduction(site, "mean", x, axis, keep)


@builtin("max")
def max_(site: Site, x: TensorValue, axis: Any = None, keep: bool = False) -> TensorValue:
    """`max(x, axis = none, keep = false)`: the greatest element; its gradient goes to the first."""
    return reduction(site, "max", x, axis, keep)


@builtin("min")
def min_(site: Site, x: TensorValue, axis: Any = None, keep: bool = False) -> TensorValue:
    """`min(x, axis = none, keep = false)`: the least element; its gradient goes to the first."""
    return reduction(site, "min", x, axis, keep)


@builtin()
def prod(site: Site, x: TensorValue, axis: Any = None, keep: bool = False) -> TensorValue:
    """`prod(x, axis = none, keep = false)`: the product."""
    return reduction(site, "prod", x, axis, keep)


@builtin("any")
def any_(site: Site, x: TensorValue, axis: Any = None) -> TensorValue:
    """`any(x, axis = none)`: whether any element of a bool tensor is true."""
    return _logical(site, "max", x, axis)


@builtin("all")
def all_(site: Site, x: TensorValue, axis: Any = None) -> TensorValue:
    """`all(x, axis = none)`: whether all elements of a bool tensor are true."""
    return _logical(site, "min", x, axis)


def _logical(site: Site, op: str, x: TensorValue, axis: Any) -> TensorValue:
    """An extremum of bools, which are 0 and 1 as numbers."""
    if x.dtype != "bool":
        raise site.wrong("E0312", f"`{site.name}` of {describe(x)}", "x", help="compare: `x != 0`")
    number = x.with_tensor(site.emit("cast", x.tensor, dtype="i32"))
    result = reduction(site, op, number, axis, False)
    return result.with_tensor(site.emit("cast", result.tensor, dtype="bool"))


def _along(site: Site, op: str, x: TensorValue, axis: Any, **attrs: Any) -> Any:
    return site.emit(op, x.tensor, axis=axis_of(x, axis, site.place("axis")), **attrs)


@builtin()
def argmax(site: Site, x: TensorValue, axis: Any = -1) -> TensorValue:
    """`argmax(x, axis = -1)`: the index of the greatest element, the first of equals; i32."""
    names = _kept(x, (axis_of(x, axis, site.place("axis")),), False)
    return TensorValue(_along(site, "argmax", x, axis), names)


@builtin()
def argmin(site: Site, x: TensorValue, axis: Any = -1) -> TensorValue:
    """`argmin(x, axis = -1)`: the index of the least element, the first of equals; i32."""
    names = _kept(x, (axis_of(x, axis, site.place("axis")),), False)
    return TensorValue(_along(site, "argmin", x, axis), names)


@builtin()
def argsort(site: Site, x: TensorValue, axis: Any = -1) -> TensorValue:
    """`argsort(x, axis = -1)`: the indices that sort x ascending, stable; i32."""
    return x.with_tensor(_along(site, "argsort", x, axis))


@builtin()
def sort(site: Site, x: TensorValue, axis: Any = -1) -> TensorValue:
    """`sort(x, axis = -1)`: ascending."""
    at = axis_of(x, axis, site.place("axis"))
    order = site.emit("argsort", x.tensor, axis=at)
    return x.with_tensor(site.emit("take_along", x.tensor, order, axis=at))


@builtin()
def cumsum(site: Site, x: TensorValue, axis: Any = -1, reverse: bool = False) -> TensorValue:
    """`cumsum(x, axis = -1, reverse = false)`: running sums, each with its own element."""
    return x.with_tensor(_along(site, "cumsum", x, axis, reverse=reverse))


@builtin()
def softmax(site: Site, x: TensorValue, axis: Any = -1) -> TensorValue:
    """`softmax(x, axis = -1)`: exp(x) / sum(exp(x)), stable."""
    return x.with_tensor(_along(site, "softmax", x, axis))


@builtin()
def log_softmax(site: Site, x: TensorValue, axis: Any = -1) -> TensorValue:
    """`log_softmax(x, axis = -1)`: x - log(sum(exp(x))), stable."""
    return x.with_tensor(_along(site, "log_softmax", x, axis))


@builtin()
def logsumexp(site: Site, x: TensorValue, axis: Any = -1) -> TensorValue:
    """`logsumexp(x, axis = -1)`: log(sum(exp(x))), stable."""
    names = _kept(x, (axis_of(x, axis, site.place("axis")),), False)
    return TensorValue(_along(site, "logsumexp", x, axis), names)


@builtin()
def moments(site: Site, x: TensorValue, axis: Any = "all but the last", keep: bool = False) -> Any:
    """`moments(x)`: (mean, biased variance), two-pass, over all axes but the last, or `axis`."""
    from nnc.elaborate.values import TupleValue

    if axis == "all but the last":
        axes = tuple(range(x.rank - 1))
    else:
        axes = axes_of(x, axis, site.place("axis"))
    with site.cx.at(site.span):
        average = x.tensor.mean(axes)
        centred = x.tensor - average.restore(x.shape, axes)
        variance = (centred * centred).mean(axes)
        if keep:
            shape = tuple(1 if i in axes else d for i, d in enumerate(x.shape))
            average, variance = average.reshape(shape), variance.reshape(shape)
    names = _kept(x, axes, keep)
    return TupleValue((("", TensorValue(average, names)), ("", TensorValue(variance, names))))


def tensor_of(site: Site, x: Any, name: str) -> TensorValue:
    if not isinstance(x, TensorValue):
        raise site.wrong("E0311", f"`{name}` of {describe(x)}", "x")
    return x
