"""How ops are printed where JAX differs from NumPy's interface.

An index outside its axis is undefined in nnc; here it reads nan and adds nothing, so that a mistake
in the data shows instead of passing for another row; only `take_along` takes negative ones for
places from the end, as JAX's function for it does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp

from nnc.emit import Emitter, Expr, Site, dim_text, string, tuple_text
from nnc.emit.spellings import attribute_text, dims_text
from nnc.ir.graph import Node
from nnc_jax import streams


def native(name: str) -> Emitter:
    """`name(x, ...)`."""
    return lambda site, node, *xs: site.dialect.call(name, *xs)


def along(name: str) -> Emitter:
    """`name(x, axis=...)`."""
    return lambda site, node, x: site.dialect.call(name, x, axis=node.attrs["axis"])


def helper(function: Callable[..., Any], *attributes: str) -> Emitter:
    """A call of `function`, which goes into the file, with these attributes of the op."""

    def emit(site: Site, node: Node, *xs: Expr) -> Expr:
        options = {name: attribute_text(node.attrs[name]) for name in attributes}
        return site.dialect.call(site.helper(function), *xs, **options)

    return emit


def bitcast(site: Site, node: Node, x: Expr) -> Expr:
    dtype = Expr(site.dialect.dtype(node.attrs["dtype"]))
    return site.dialect.call("lax.bitcast_convert_type", x, dtype)


def argsort(site: Site, node: Node, x: Expr) -> Expr:
    order = site.dialect.method(x, "argsort", f"axis={node.attrs['axis']}", "stable=True")
    return site.dialect.method(order, "astype", site.dialect.dtype("i32"))


def barrier(site: Site, node: Node, *xs: Expr) -> Expr:
    if len(xs) == 1:
        return site.dialect.call("lax.optimization_barrier", *xs)
    held = Expr(f"({', '.join(site.dialect.strong(x).text for x in xs)})")
    return site.dialect.call("lax.optimization_barrier", held)


# ---------------------------------------------------------------- index
def take(site: Site, node: Node, x: Expr, index: Expr) -> Expr:
    return site.dialect.call(site.helper(_take), x, index, axis=node.attrs["axis"])


def _take(x: jax.Array, index: jax.Array, *, axis: int) -> jax.Array:
    """x at places of an axis, nan outside of it.

    If negative places were those from its end, each element would be compared and added to first.
    """
    places = (slice(None),) * axis + (index,)
    return x.at[places].get(mode="fill", wrap_negative_indices=False)


def take_along(site: Site, node: Node, x: Expr, index: Expr) -> Expr:
    axis = node.attrs["axis"]
    return site.dialect.call("jnp.take_along_axis", x, index, axis=axis, mode='"fill"')


def scatter_add(site: Site, node: Node, x: Expr, index: Expr, update: Expr) -> Expr:
    name = site.helper(_scatter_add)
    return site.dialect.call(name, x, index, update, axis=node.attrs["axis"])


def _scatter_add(x: jax.Array, index: jax.Array, update: jax.Array, *, axis: int) -> jax.Array:
    """x with `update` added at places of an axis, not where they are outside of it."""
    places = (slice(None),) * axis + (index,)
    return x.at[places].add(update, mode="drop", wrap_negative_indices=False)


def scatter_add_along(site: Site, node: Node, x: Expr, index: Expr, update: Expr) -> Expr:
    name = site.helper(_scatter_add_along)
    return site.dialect.call(name, x, index, update, axis=node.attrs["axis"])


def _scatter_add_along(
    x: jax.Array, index: jax.Array, update: jax.Array, *, axis: int
) -> jax.Array:
    """x with `update` added where `jnp.take_along_axis` would read."""
    places = list(jnp.indices(index.shape, sparse=True))
    places[axis] = index
    return x.at[tuple(places)].add(update, mode="drop", wrap_negative_indices=False)


def dynamic_slice(site: Site, node: Node, x: Expr, *starts: Expr) -> Expr:
    size = Expr(dims_text(node.attrs["size"]))
    return site.dialect.call("lax.dynamic_slice", x, _places(site, starts), size)


def dynamic_update(site: Site, node: Node, x: Expr, update: Expr, *starts: Expr) -> Expr:
    return site.dialect.call("lax.dynamic_update_slice", x, update, _places(site, starts))


def _places(site: Site, starts: tuple[Expr, ...]) -> Expr:
    """Starts as a tuple; they must have one type, as Python's numbers and i32 have not."""
    texts = [site.dialect.strong(start).text for start in starts]
    size = sum(start.size for start in starts)
    return Expr(tuple_text(texts) if texts else "()", size=size)


# ---------------------------------------------------------------- convolution, random
#: spatial axes -> the layouts of x, w and y
LAYOUTS = {1: ("NWC", "WIO", "NWC"), 2: ("NHWC", "HWIO", "NHWC"), 3: ("NDHWC", "DHWIO", "NDHWC")}


def conv(site: Site, node: Node, x: Expr, w: Expr) -> Expr:
    """Named layouts up to three spatial axes; what has its default is left out."""
    attrs, spatial = node.attrs, len(node.attrs["stride"])
    pads = [f"({lo}, {hi})" for lo, hi in zip(attrs["low"], attrs["high"], strict=True)]
    options: dict[str, str] = {}
    if any(apart != 1 for apart in attrs["dilation"]):
        options["rhs_dilation"] = dims_text(attrs["dilation"])
    options["dimension_numbers"] = repr(LAYOUTS.get(spatial, numbered(spatial))).replace("'", '"')
    if attrs["groups"] != 1:
        options["feature_group_count"] = dim_text(attrs["groups"])
    stride, padding = Expr(dims_text(attrs["stride"])), Expr(tuple_text(pads))
    return site.dialect.call("lax.conv_general_dilated", x, w, stride, padding, **options)


def numbered(spatial: int) -> tuple[str, str, str]:
    """Layouts whose spatial axes are digits."""
    axes = "".join(map(str, range(spatial)))
    return f"N{axes}C", f"{axes}IO", f"N{axes}C"


def random_bits(site: Site, node: Node, *xs: Expr) -> Expr:
    """The words of a stream; a counter that is 0 is left out."""
    seed, *places = xs[:4]
    counters = [Expr(str(node.attrs["ordinal"])), *places]
    names = ("ordinal", "step", "iteration", "offset")
    options = {name: x.text for name, x in zip(names, counters, strict=True) if x.text != "0"}
    if node.type.dtype != "u32":
        options["width"] = node.type.dtype.removeprefix("u")
    name, shape = site.helper(streams.random_words), Expr(dims_text(node.attrs["shape"]))
    stream = xs[4] if xs[4:] else Expr(string(node.attrs["path"]))
    return site.dialect.call(name, shape, replace(seed, weak=""), stream, **options)


def stream_tags(site: Site, node: Node) -> Expr:
    path, sizes = Expr(string(node.attrs["path"])), Expr(dims_text(node.attrs["sizes"]))
    return site.dialect.call(site.helper(streams.stream_tags), path, sizes)
