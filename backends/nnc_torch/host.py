"""Unsigned integers, which are NumPy arrays: PyTorch can store them but not compute with them.

They are random words and what is made of them until they become masks or floats.  Ops on them are
printed in NumPy, and what leaves them becomes a tensor there.

That is done in a function of its own before a step (`drawn`), as torch.compile would cut the step
at each draw: a millisecond for each cut.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from itertools import chain, count

from nnc_numpy import NUMPY

from nnc.emit import Emitter, Expr, Site
from nnc.ir.graph import Graph, Node, Value

UNSIGNED = ("u16", "u32", "u64")


def by_type(emitter: Emitter | None, op: str) -> Emitter:
    """`emitter`, but NumPy's where an operand or the result is unsigned."""

    def emit(site: Site, node: Node, *xs: Expr) -> Expr:
        is_host = [type.dtype in UNSIGNED for type in site.types]
        result = node.type.dtype in UNSIGNED
        if emitter is not None and not result and not any(is_host):
            return emitter(site, node, *xs)
        if op not in NUMPY.emitters:  # it says where gradients go, and integers have none
            return xs[0]
        if node.type.dtype == "bf16":  # which NumPy has not
            types, attrs = (node.type.with_dtype("f32"),), {**node.attrs, "dtype": "f32"}
            wide = emit(site, replace(node, types=types, attrs=attrs), *xs)
            return site.dialect.method(wide, "bfloat16")
        operands = [
            x if host or x.weak else site.dialect.method(x, "numpy", "force=True")
            for x, host in zip(xs, is_host, strict=True)
        ]
        made: Expr = NUMPY.emitters[op](Site(NUMPY, site.types, site.helper), node, *operands)
        if result or made.weak:
            return made
        device = site.dialect.device  # type: ignore[attr-defined]
        return Expr(f"torch.as_tensor({made.text}, device={device})", size=made.size)

    return emit


def drawn(graph: Graph) -> dict[str, Value]:
    """What leaves NumPy of all that is made of random words and numbers of the host alone, by the
    stream of the words."""
    if all(node.op != "random_bits" for node in graph):
        return {}
    streams: dict[int, str] = {}
    known: set[int] = set()  # numbers of the host, along whatever axes
    found: dict[str, Value] = {}
    for node in graph:
        sources = {value.node for value in node.operands}
        is_drawn = sources & streams.keys() and sources <= streams.keys() | known
        if node.op == "random_bits" and sources <= known:
            streams[node.id] = node.attrs["path"]
        elif is_number(node) and sources <= known:
            known.add(node.id)
        elif is_drawn and node.op in NUMPY.emitters:
            stream = next(streams[id] for id in sources if id in streams)
            if node.type.dtype in UNSIGNED:
                streams[node.id] = stream
            else:
                found[unused(stream, found)] = Value(node.id)
    return found


def is_number(node: Node) -> bool:
    """Whether `node` is a number of the host, if all that it is made of is."""
    if node.op == "input":
        return node.attrs["kind"] == "scalar"
    return node.op == "broadcast" or not any(type.rank for type in node.types)


def unused(stream: str, names: Collection[str]) -> str:
    """`stream`, with a number where it is one of `names` already."""
    numbered = (f"{stream}#{number}" for number in count(2))
    return next(name for name in chain([stream], numbered) if name not in names)
