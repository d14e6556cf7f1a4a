"""Reading and adding at places that a tensor of indices gives."""

from __future__ import annotations

from typing import Any

from nnc.elaborate.calls import Site
from nnc.elaborate.functions.registry import builtin
from nnc.elaborate.indexing import axis_of
from nnc.elaborate.values import TensorValue, describe, is_int


@builtin()
def take(site: Site, x: TensorValue, index: TensorValue, axis: Any = 0) -> TensorValue:
    """`take(table, ids)`: the entries of an axis at these indices (i32)."""
    at = axis_of(x, axis, site.place("axis"))
    tensor = site.emit("take", x.tensor, index.tensor, axis=at)
    return TensorValue(tensor, (*x.names[:at], *index.names, *x.names[at + 1 :]))


@builtin()
def take_along(site: Site, x: TensorValue, index: TensorValue, axis: Any = -1) -> TensorValue:
    """`take_along(x, index, axis = -1)`: for each position, the entry at its own index (i32)."""
    at = axis_of(x, axis, site.place("axis"))
    return index.with_tensor(site.emit("take_along", x.tensor, index.tensor, axis=at))


@builtin()
def scatter_add(
    site: Site, x: TensorValue, index: TensorValue, update: TensorValue, axis: Any = 0
) -> TensorValue:
    """`scatter_add(x, index, update)`: x with `update` added at these indices (i32) of an axis.

    The adjoint of `take`: an index that stands twice adds twice.
    """
    at = axis_of(x, axis, site.place("axis"))
    return x.with_tensor(site.emit("scatter_add", x.tensor, index.tensor, update.tensor, axis=at))


@builtin()
def one_hot(site: Site, ids: TensorValue, classes: Any) -> TensorValue:
    """`one_hot(ids, classes)`: 1 at the position that each id (i32) names, else 0; f32."""
    if not is_int(classes):
        raise site.wrong(
            "E0307", f"`classes` must be an int; this is {describe(classes)}", "classes"
        )
    if ids.dtype != "i32":
        raise site.wrong("E0312", f"`one_hot` of {describe(ids)}", "ids", "`i32(...)` casts")
    shape = (*ids.shape, classes)
    with site.cx.at(site.span):
        spread = ids.tensor.broadcast(shape, tuple(range(ids.rank)))
        places = site.emit("iota", shape=shape, axis=ids.rank, dtype="i32")
        return TensorValue(spread.equals(places).cast("f32"), (*ids.names, None))
