"""Shapes: reshape, join, cut, select."""

from __future__ import annotations

from typing import Any

from nnc.elaborate.arithmetic import as_tensor
from nnc.elaborate.calls import Site
from nnc.elaborate.functions.registry import builtin
from nnc.elaborate.indexing import axes_of, axis_of
from nnc.elaborate.values import (
    ListValue,
    TensorValue,
    TupleValue,
    describe,
    is_int,
)
from nnc.ir.dims import Dim, equal, product


def dims_of(site: Site, shape: Any, parameter: str = "shape") -> tuple[Dim, ...]:
    """A list of sizes."""
    values = shape.values if isinstance(shape, (ListValue, TupleValue)) else (shape,)
    for value in values:
        if not is_int(value):
            raise site.wrong(
                "E0307", f"a shape is a list of ints; this is {describe(value)}", parameter
            )
    return tuple(values)


def dim_of(site: Site, size: Any, parameter: str) -> Dim:
    """A single size."""
    if not is_int(size):
        raise site.wrong("E0307", f"`{parameter}` is an int; this is {describe(size)}", parameter)
    return size


@builtin()
def reshape(site: Site, x: TensorValue, shape: Any) -> TensorValue:
    """`reshape(x, [N, 4, -1])`: the same elements in the same order; one size may be -1."""
    dims = list(dims_of(site, shape))
    if -1 in dims:
        known = product([d for d in dims if d != -1])
        dims[dims.index(-1)] = product(x.shape) // known
    if not equal(product(dims), product(x.shape)):
        raise site.wrong(
            "E0325",
            f"{describe(x)} has {product(x.shape)} elements; the shape "
            f"[{', '.join(map(str, dims))}] has {product(dims)}",
            "shape",
        )
    with site.cx.at(site.span):
        tensor = x.tensor.reshape(tuple(dims))
    names = tuple(
        x.names[i] if i < x.rank and equal(d, x.shape[i]) and _prefix(x, dims, i) else None
        for i, d in enumerate(dims)
    )
    return TensorValue(tensor, names)


def _prefix(x: TensorValue, dims: list[Dim], i: int) -> bool:
    """A leading axis that stays as it is keeps its label."""
    return all(equal(a, b) for a, b in zip(x.shape[: i + 1], dims[: i + 1], strict=False))


@builtin()
def flatten(site: Site, x: TensorValue) -> TensorValue:
    """`flatten(x)`: every axis but the first joined into one."""
    if not x.rank:
        raise site.wrong("E0302", f"`flatten` of {describe(x)}", "x")
    with site.cx.at(site.span):
        tensor = x.tensor.reshape((x.shape[0], product(x.shape[1:])))
    return TensorValue(tensor, (x.names[0], None))


@builtin()
def squeeze(site: Site, x: TensorValue, axis: Any = None) -> TensorValue:
    """`squeeze(x)`: without its axes of size 1 that have no label; or without `axis`."""
    if axis is None:
        drop = {i for i, d in enumerate(x.shape) if d == 1 and _unlabelled(x.names[i])}
    else:
        drop = set(axes_of(x, axis, site.place("axis")))
        for i in drop:
            if x.shape[i] != 1:
                raise site.wrong("E0324", f"axis {i} of {describe(x)} is not 1", "axis")
    with site.cx.at(site.span):
        tensor = x.tensor.reshape(tuple(d for i, d in enumerate(x.shape) if i not in drop))
    return TensorValue(tensor, tuple(n for i, n in enumerate(x.names) if i not in drop))


def _unlabelled(name: str | None) -> bool:
    """Labels of lower case are names of static parameters (`out`), not of the user's axes."""
    return name is None or name.islower()


@builtin()
def expand(site: Site, x: TensorValue, axis: int = -1) -> TensorValue:
    """`expand(x, axis = -1)`: a new axis of size 1 at that position."""
    at = axis % (x.rank + 1)
    with site.cx.at(site.span):
        tensor = x.tensor.reshape((*x.shape[:at], 1, *x.shape[at:]))
    return TensorValue(tensor, (*x.names[:at], None, *x.names[at:]))


@builtin()
def transpose(site: Site, x: TensorValue, axes: Any = None) -> TensorValue:
    """`transpose(x)`: the last two axes exchanged; `transpose(x, [2, 0, 1])`: in that order."""
    if axes is None:
        if x.rank < 2:
            raise site.wrong("E0302", f"`transpose` of {describe(x)}", "x")
        perm = (*range(x.rank - 2), x.rank - 1, x.rank - 2)
    else:
        values = axes.values if isinstance(axes, (ListValue, TupleValue)) else (axes,)
        perm = tuple(axis_of(x, a, site.place("axes")) for a in values)
        if sorted(perm) != list(range(x.rank)):
            raise site.wrong("E0324", f"`axes` must name each axis of {describe(x)} once", "axes")
    with site.cx.at(site.span):
        return TensorValue(x.tensor.transpose(perm), tuple(x.names[p] for p in perm))


@builtin()
def concat(site: Site, *tensors: Any, axis: Any = -1) -> TensorValue:
    """`concat(a, b, ..., axis = -1)`: joined along an axis."""
    values = _tensors(site, tensors, "concat")
    at = axis_of(values[0], axis, site.place("axis"))
    for other in values[1:]:
        _check_joins(site, values[0], other, at)
    tensor = site.emit("concat", *(v.tensor for v in values), axis=at)
    names = tuple(None if i == at else n for i, n in enumerate(values[0].names))
    return TensorValue(tensor, names)


def _check_joins(site: Site, first: TensorValue, other: TensorValue, at: int) -> None:
    """Same element type and sizes, but for the axis along which they are joined."""
    fits = (
        first.rank == other.rank
        and first.dtype == other.dtype
        and all(
            i == at or equal(a, b)
            for i, (a, b) in enumerate(zip(first.shape, other.shape, strict=True))
        )
    )
    if not fits:
        raise site.wrong(
            "E0320",
            f"`{site.name}` joins {describe(first)} and {describe(other)} along axis {at}: "
            "everything else must agree",
        )


@builtin()
def stack(site: Site, *tensors: Any, axis: int = 0) -> TensorValue:
    """`stack(a, b, ..., axis = 0)`: joined along a new axis."""
    values = [expand(site, v, axis) for v in _tensors(site, tensors, "stack")]
    return concat(site, *values, axis=axis % values[0].rank)


def _tensors(site: Site, values: tuple[Any, ...], name: str) -> list[TensorValue]:
    if len(values) == 1 and isinstance(values[0], (ListValue, TupleValue)):
        values = values[0].values
    for value in values:
        if not isinstance(value, TensorValue):
            raise site.wrong("E0311", f"`{name}` joins tensors; this is {describe(value)}")
    if not values:
        raise site.wrong("E0212", f"`{name}` needs at least one tensor")
    return list(values)


@builtin()
def split(site: Site, x: TensorValue, parts: Any, axis: Any = -1) -> TupleValue:
    """`split(x, 3)`: equal parts; `split(x, [2, 5])`: parts of these sizes; along `axis`."""
    at = axis_of(x, axis, site.place("axis"))
    size = x.shape[at]
    if isinstance(parts, (ListValue, TupleValue)):
        sizes = list(dims_of(site, parts, "parts"))
    elif isinstance(parts, int) and not isinstance(parts, bool) and parts > 0:
        if not equal(size % parts, 0):
            raise site.wrong(
                "E0326", f"axis {at} of {describe(x)} has no {parts} equal parts", "parts"
            )
        sizes = [size // parts] * parts
    else:
        raise site.wrong(
            "E0307", f"`parts` is a count or a list; this is {describe(parts)}", "parts"
        )
    if not equal(_total(sizes), size):
        raise site.wrong("E0326", f"parts of {_total(sizes)} for an axis of {size}", "parts")
    pieces: list[tuple[str, TensorValue]] = []
    begin: Dim = 0
    for part in sizes:
        start = tuple(begin if i == at else 0 for i in range(x.rank))
        stop = tuple(begin + part if i == at else d for i, d in enumerate(x.shape))
        piece = site.emit("slice", x.tensor, start=start, stop=stop, step=(1,) * x.rank)
        names = tuple(None if i == at else n for i, n in enumerate(x.names))
        pieces.append(("", TensorValue(piece, names)))
        begin = begin + part
    return TupleValue(tuple(pieces))


def _total(sizes: list[Dim]) -> Dim:
    total: Dim = 0
    for size in sizes:
        total = total + size
    return total


@builtin()
def flip(site: Site, x: TensorValue, axis: Any = -1) -> TensorValue:
    """`flip(x, axis = -1)`: the order along an axis reversed."""
    axes = axes_of(x, axis, site.place("axis"))
    return x.with_tensor(site.emit("reverse", x.tensor, axes=axes))


@builtin()
def pad(site: Site, x: TensorValue, low: Any, high: Any, value: Any = 0) -> TensorValue:
    """`pad(x, [0, 1], [0, 1], value = 0)`: as many elements before and after each axis."""
    sizes = [dims_of(site, d, p) for d, p in ((low, "low"), (high, "high"))]
    for dims, parameter in zip(sizes, ("low", "high"), strict=True):
        if len(dims) != x.rank:
            raise site.wrong("E0302", f"one pad an axis of {describe(x)}", parameter)
    fill = float(value) if x.dtype[0] in "fb" and x.dtype != "bool" else value
    return x.with_tensor(site.emit("pad", x.tensor, low=sizes[0], high=sizes[1], value=fill))


@builtin()
def shift(site: Site, x: TensorValue, fill: Any = 0, axis: Any = -1) -> TensorValue:
    """`shift(x, fill = 0)`: each element replaced by the one after it, the last by `fill`."""
    if not isinstance(fill, (int, float)):
        raise site.wrong("E0310", f"`fill` must be a number; this is {describe(fill)}", "fill")
    at = axis_of(x, axis, site.place("axis"))
    start = tuple(1 if i == at else 0 for i in range(x.rank))
    rest = site.emit("slice", x.tensor, start=start, stop=x.shape, step=(1,) * x.rank)
    high = tuple(1 if i == at else 0 for i in range(x.rank))
    value = float(fill) if x.dtype.startswith("f") else fill
    return x.with_tensor(site.emit("pad", rest, low=(0,) * x.rank, high=high, value=value))


@builtin()
def broadcast_to(site: Site, x: Any, shape: Any) -> TensorValue:
    """`broadcast_to(x, [N, K])`: repeated along new leading axes."""
    dims = dims_of(site, shape)
    value = as_tensor(site.cx, x, "f32", site.place("x"))
    if value.rank > len(dims) or not all(
        equal(a, b) for a, b in zip(value.shape, dims[len(dims) - value.rank :], strict=True)
    ):
        raise site.wrong("E0320", f"{describe(value)} does not end the shape", "shape")
    with site.cx.at(site.span):
        lead = (None,) * (len(dims) - value.rank)
        return TensorValue(value.tensor.expand(dims), (*lead, *value.names))
