"""Constant tensors, and facts about values that are known before anything runs."""

from __future__ import annotations

from typing import Any

from nnc.elaborate.calls import Site, invoke
from nnc.elaborate.functions.registry import builtin
from nnc.elaborate.functions.shape import dim_of, dims_of
from nnc.elaborate.indexing import axis_of
from nnc.elaborate.values import CALLABLE, Host, ListValue, TensorValue, TupleValue, describe
from nnc.ir.dims import product


@builtin()
def iota(site: Site, size: Any) -> TensorValue:
    """`iota(n)`: 0, 1, ..., n - 1; i32."""
    count = dim_of(site, size, "size")
    return TensorValue(site.emit("iota", shape=(count,), axis=0, dtype="i32"), (None,))


def _filled(site: Site, value: float, shape: Any) -> TensorValue:
    cx = site.cx
    expected = cx.expected
    if shape is None and expected is None:
        raise site.wrong(
            "E0212",
            f"`{site.name}` needs a shape here",
            help="only an initial value takes its shape from the declaration",
        )
    dims = expected.shape if shape is None and expected is not None else dims_of(site, shape)
    dtype = expected.dtype if expected is not None else "f32"
    with cx.at(site.span):
        return TensorValue(cx.builder.full(value, dtype, dims), (None,) * len(dims))


@builtin()
def zeros(site: Site, shape: Any = None) -> TensorValue:
    """`zeros([N, D])`: zeros; an initial value needs no shape."""
    return _filled(site, 0, shape)


@builtin()
def ones(site: Site, shape: Any = None) -> TensorValue:
    """`ones([N, D])`: ones; an initial value needs no shape."""
    return _filled(site, 1, shape)


@builtin()
def full(site: Site, value: Any, shape: Any = None) -> TensorValue:
    """`full(0.1, [N, D])`: one number everywhere; an initial value needs no shape."""
    return _filled(site, value, shape)


@builtin()
def zeros_like(site: Site, x: TensorValue) -> TensorValue:
    """`zeros_like(x)`: zeros of the shape and element type of x."""
    with site.cx.at(site.span):
        return x.with_tensor(site.cx.builder.full(0, x.dtype, x.shape))


@builtin()
def size(site: Site, x: Any, axis: Any = None) -> Any:
    """`size(x)`: how many elements a tensor or a list has; `size(x, axis = T)`: along an axis."""
    if isinstance(x, (ListValue, TupleValue)) and axis is None:
        return len(x.values)
    if not isinstance(x, TensorValue):
        raise site.wrong("E0311", f"`size` of {describe(x)}", "x")
    if axis is None:
        return product(x.shape)
    return x.shape[axis_of(x, axis, site.place("axis"))]


@builtin()
def rank(site: Site, x: TensorValue) -> int:
    """`rank(x)`: how many axes."""
    return x.rank


@builtin()
def is_static(site: Site, x: Any) -> bool:
    """`is_static(x)`: whether x is known before training: no schedule, no tensor."""
    return not isinstance(x, (Host, TensorValue))


@builtin("map")
def map_(site: Site, values: Any, stage: Any) -> Any:
    """`map(values, stage)`: the stage applied to each item of a tuple or list."""
    if not isinstance(stage, CALLABLE):
        raise site.wrong("E0310", f"`map` needs a stage; this is {describe(stage)}", "stage")
    if not isinstance(values, (TupleValue, ListValue)):
        raise site.wrong("E0310", f"`map` runs over a tuple; this is {describe(values)}", "values")

    def one(value: Any) -> Any:
        return invoke(site.cx, stage, [("", value, site.span)], site.span)

    if isinstance(values, TupleValue):
        return values.map(one)
    return ListValue(tuple(map(one, values.values)))
