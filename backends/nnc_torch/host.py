"""Unsigned integers, which are NumPy arrays: PyTorch can store them but not compute with them.

They are random words and what is made of them until they become masks or floats.  Ops on them are
printed in NumPy, and what leaves them becomes a tensor there.
"""

from __future__ import annotations

from dataclasses import replace

from nnc_numpy import NUMPY

from nnc.emit import Emitter, Expr, Site
from nnc.ir.graph import Node

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
