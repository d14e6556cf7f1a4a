"""Random tensors: initial values and draws that are new in each step (semantics 11)."""

from __future__ import annotations

import math
from typing import Any

from nnc.elaborate.arithmetic import as_tensor
from nnc.elaborate.calls import Site
from nnc.elaborate.functions.registry import builtin
from nnc.elaborate.functions.shape import dims_of
from nnc.elaborate.values import Host, TensorValue, describe, is_number
from nnc.ir.builder import Tensor
from nnc.ir.dims import Dim, product
from nnc.ops import random as floats


def _shape(site: Site, shape: Any) -> tuple[tuple[Dim, ...], str]:
    """The shape to draw and its element type: given, or that of the declaration."""
    expected = site.cx.expected
    if shape is not None:
        return dims_of(site, shape), "f32"
    if expected is None:
        raise site.wrong(
            "E0212",
            f"`{site.name}` needs a shape here",
            help="only an initial value takes its shape from the declaration",
        )
    return expected.shape, expected.dtype


def _bits(site: Site, shape: tuple[Dim, ...], stream: str) -> Tensor:
    return site.cx.random_bits(site.span, shape, stream)


def standard_normal(site: Site, shape: tuple[Dim, ...], dtype: str, stream: str) -> Tensor:
    """Box-Muller over two words an element: the first half of the words, then the second."""
    bits = _bits(site, (2, *shape), stream)
    return floats.normal(bits, dtype)


def _affine(site: Site, x: Tensor, factor: Any, offset: Any) -> Tensor:
    """`x * factor + offset`, without the parts that change nothing."""
    cx = site.cx
    with cx.at(site.span):
        for value, op in ((factor, "mul"), (offset, "add")):
            if value == (1 if op == "mul" else 0):
                continue
            other = as_tensor(cx, value, x.dtype, site.span).tensor
            x = x.binary(op, other)
    return x


def _number(site: Site, value: Any, parameter: str) -> Any:
    if is_number(value) or isinstance(value, (Host, TensorValue)):
        return value
    raise site.wrong(
        "E0310", f"`{parameter}` must be a number; this is {describe(value)}", parameter
    )


@builtin()
def normal(site: Site, shape: Any = None, mean: Any = 0.0, std: Any = 1.0) -> TensorValue:
    """`normal(shape, mean = 0, std = 1)`: Gaussian numbers; an initial value needs no shape."""
    dims, dtype = _shape(site, shape)
    with site.cx.at(site.span):
        drawn = standard_normal(site, dims, dtype, "normal")
    tensor = _affine(site, drawn, _number(site, std, "std"), _number(site, mean, "mean"))
    return TensorValue(tensor, (None,) * len(dims))


@builtin()
def normal_like(site: Site, x: TensorValue) -> TensorValue:
    """`normal_like(x)`: Gaussian numbers of the shape of x."""
    with site.cx.at(site.span):
        return x.with_tensor(standard_normal(site, x.shape, x.dtype, "normal"))


@builtin()
def uniform(site: Site, shape: Any = None, low: Any = 0.0, high: Any = 1.0) -> TensorValue:
    """`uniform(shape, low = 0, high = 1)`: even in [low, high); an initial value needs no shape."""
    dims, dtype = _shape(site, shape)
    low, high = _number(site, low, "low"), _number(site, high, "high")
    with site.cx.at(site.span):
        drawn = floats.uniform01(_bits(site, dims, "uniform")).cast(dtype)
    if is_number(low) and is_number(high):
        return TensorValue(_affine(site, drawn, high - low, low), (None,) * len(dims))
    raise site.wrong("E0310", "`low` and `high` must be numbers")


@builtin()
def truncated_normal(site: Site, shape: Any = None, mean: Any = 0.0, std: Any = 1.0) -> TensorValue:
    """`truncated_normal(shape, mean = 0, std = 1)`: Gaussian within two standard deviations.

    By the inverse of the distribution function; `std` is that of the Gaussian before it is cut.  An
    initial value needs no shape.
    """
    dims, dtype = _shape(site, shape)
    inside = math.erf(2 / math.sqrt(2))
    with site.cx.at(site.span):
        drawn = floats.uniform01(_bits(site, dims, "uniform")).cast("f64")
        centred = (drawn * 2.0 - (1.0 - 2.0**-24)) * inside
        tensor = (site.emit("erfinv", centred) * math.sqrt(2)).cast(dtype)
    tensor = _affine(site, tensor, _number(site, std, "std"), _number(site, mean, "mean"))
    return TensorValue(tensor, (None,) * len(dims))


@builtin()
def bernoulli(site: Site, shape: Any, p: Any = 0.5, stream: str = "bernoulli") -> TensorValue:
    """`bernoulli([N], 0.9)`: true with probability p, by an integer threshold.

    p is right to 2^-17, as the draw has 16 bits; below 1/256 and above 255/256 it has 32.
    """
    dims = dims_of(site, shape) if not isinstance(shape, TensorValue) else shape.shape
    names = shape.names if isinstance(shape, TensorValue) else (None,) * len(dims)
    if not is_number(p) or not 0 <= p <= 1:
        raise site.wrong("E0328", f"a probability is between 0 and 1; this is {describe(p)}", "p")
    with site.cx.at(site.span):
        bits = site.cx.random_bits(site.span, dims, stream, floats.mask_dtype(p))
        return TensorValue(floats.bernoulli_mask(bits, p), names)


@builtin()
def orthogonal(site: Site, gain: Any = 1.0) -> TensorValue:
    """`orthogonal(gain = 1)`: an initial value with orthonormal rows or columns (Saxe et al. 2014).

    Q of the QR of a Gaussian matrix [*K * in, out], its signs fixed.
    """
    dims, dtype = _shape(site, None)
    if len(dims) < 2:
        raise site.wrong("E0302", "`orthogonal` needs at least two dimensions")
    with site.cx.at(site.span):
        matrix = standard_normal(site, (product(dims[:-1]), dims[-1]), "f64", "normal")
        tensor = site.emit("orthogonal", matrix).reshape(dims)
        tensor = tensor.cast(dtype)
    return TensorValue(_affine(site, tensor, _number(site, gain, "gain"), 0), (None,) * len(dims))


def _fans(site: Site) -> tuple[Dim, Dim]:
    expected = site.cx.expected
    if expected is None:
        raise site.wrong("E0212", f"`{site.name}` has a meaning only in an initial value")
    shape = expected.shape or (1,)
    field = product(shape[:-2])
    fan_in = shape[-2] if len(shape) > 1 else shape[0]
    return field * fan_in, field * shape[-1]


@builtin()
def fan_in(site: Site) -> Dim:
    """`fan_in()`: in an initial value, how many inputs feed an output: [*K, in, out] -> K * in."""
    return _fans(site)[0]


@builtin()
def fan_out(site: Site) -> Dim:
    """`fan_out()`: in an initial value, how many outputs an input feeds: of [*K, in, out]
    K * out.
    """
    return _fans(site)[1]
