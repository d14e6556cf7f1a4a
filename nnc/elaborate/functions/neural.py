"""Convolution, pooling and windows: what the library's layers stand on.  Channels last."""

from __future__ import annotations

from math import prod
from typing import Any

from nnc.elaborate.calls import Site
from nnc.elaborate.functions.registry import builtin
from nnc.elaborate.functions.shape import dim_of
from nnc.elaborate.indexing import axes_of
from nnc.elaborate.values import ListValue, TensorValue, TupleValue, describe
from nnc.ir.dims import Dim, Poly


def per_axis(site: Site, value: Any, count: int, parameter: str, least: int = 1) -> tuple[int, ...]:
    """One int an axis: a single int stands for all."""
    many = value.values if isinstance(value, (ListValue, TupleValue)) else (value,) * count
    known = all(isinstance(v, int) and not isinstance(v, bool) for v in many)
    if len(many) != count or not known or min(many, default=least) < least:
        raise site.wrong(
            "E0329",
            f"`{parameter}` is an int of at least {least} or a list of {count}; this is "
            f"{describe(value)}",
            parameter,
        )
    return tuple(many)


def padding_of(
    site: Site,
    padding: Any,
    sizes: tuple[Dim, ...],
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    dilation: tuple[int, ...],
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Explicit pads: "same" gives (size + stride - 1) // stride outputs, the odd one at the end."""
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    if padding == "valid":
        return (0,) * len(sizes), (0,) * len(sizes)
    if padding == "same":
        total = [_same(site, *of) for of in zip(sizes, reach, stride, strict=True)]
        return tuple(t // 2 for t in total), tuple(t - t // 2 for t in total)
    if padding == "causal":
        return tuple(r - 1 for r in reach), (0,) * len(sizes)
    if isinstance(padding, str):
        raise site.wrong(
            "E0329",
            f'unknown padding "{padding}"',
            "padding",
            help='it is "same", "valid", "causal", an int, or a list of ints or (low, high)',
        )
    many = padding.values if isinstance(padding, (ListValue, TupleValue)) else (padding,)
    many = tuple(many) * (len(sizes) if len(many) == 1 else 1)
    pairs = [v.values if isinstance(v, TupleValue) else (v, v) for v in many]
    good = len(pairs) == len(sizes) and all(
        len(p) == 2 and all(isinstance(v, int) and v >= 0 for v in p) for p in pairs
    )
    if not good:
        raise site.wrong("E0329", f"a pad for each of {len(sizes)} axes is needed", "padding")
    return tuple(p[0] for p in pairs), tuple(p[1] for p in pairs)


def _same(site: Site, size: Dim, reach: int, stride: int) -> int:
    if isinstance(size, Poly):
        if stride == 1:
            return reach - 1
        raise site.wrong(
            "E0304",
            f'"same" padding with stride {stride} needs a known size, not {size}',
            "padding",
        )
    out = (size + stride - 1) // stride
    return max((out - 1) * stride + reach - size, 0)


@builtin("per_axis")
def per_axis_(site: Site, k: Any, count: int) -> ListValue:
    """`per_axis(k, 2)`: a list with one int an axis: k itself, or k as often as there are axes."""
    return ListValue(per_axis(site, k, count, "k"))


@builtin()
def conv(
    site: Site,
    x: TensorValue,
    w: TensorValue,
    stride: Any = 1,
    padding: Any = "same",
    dilation: Any = 1,
    groups: int = 1,
) -> TensorValue:
    """`conv(x, w)`: cross-correlation of x [N, *S, C] with w [*K, C // groups, O] -> [N, *S', O].

    `stride` and `dilation` are an int or one for each spatial axis.  `padding` is "same" (S' =
    (S + stride - 1) // stride), "valid" (none), "causal" (all before the first), an int, or a list
    of ints or pairs (low, high).
    """
    spatial = x.rank - 2
    if spatial < 1 or w.rank != x.rank:
        raise site.wrong(
            "E0302",
            f"`conv` of {describe(x)} and a filter {describe(w)}",
            "x",
            help="x is [N, *S, C] and the filter [*K, C // groups, O]",
        )
    kernel = tuple(k for k in w.shape[:spatial] if isinstance(k, int))
    strides = per_axis(site, stride, spatial, "stride")
    dilations = per_axis(site, dilation, spatial, "dilation")
    low, high = padding_of(site, padding, x.shape[1:-1], kernel, strides, dilations)
    tensor = site.emit(
        "conv",
        x.tensor,
        w.tensor,
        stride=strides,
        dilation=dilations,
        low=low,
        high=high,
        groups=groups,
    )
    return TensorValue(tensor, (*x.names[:-1], w.names[-1]))


@builtin()
def conv_transpose(
    site: Site,
    x: TensorValue,
    w: TensorValue,
    stride: Any = 1,
    padding: Any = "same",
    dilation: Any = 1,
) -> TensorValue:
    """`conv_transpose(x, w)`: the adjoint of `conv`: x [N, *S, C], w [*K, O, C] -> [N, *S', O].

    "same" gives S * stride, "valid" (S - 1) * stride + reach.
    """
    spatial = x.rank - 2
    if spatial < 1 or w.rank != x.rank:
        raise site.wrong("E0302", f"`conv_transpose` of {describe(x)} and {describe(w)}", "x")
    kernel = tuple(k for k in w.shape[:spatial] if isinstance(k, int))
    strides = per_axis(site, stride, spatial, "stride")
    dilations = per_axis(site, dilation, spatial, "dilation")
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    if padding == "same":
        out = [s * t for s, t in zip(x.shape[1:-1], strides, strict=True)]
        total = [max(r - t, 0) for r, t in zip(reach, strides, strict=True)]
        low = tuple(t // 2 for t in total)
        high = tuple(t - t // 2 for t in total)
        if any(r < t for r, t in zip(reach, strides, strict=True)):
            raise site.wrong("E0329", '"same" needs a kernel at least as large as the stride', "w")
    else:
        low, high = padding_of(site, padding, x.shape[1:-1], kernel, strides, dilations)
        out = [
            (s - 1) * t + r - lo - hi
            for s, t, r, lo, hi in zip(x.shape[1:-1], strides, reach, low, high, strict=True)
        ]
    tensor = site.emit(
        "conv_input_grad",
        x.tensor,
        w.tensor,
        shape=(x.shape[0], *out, w.shape[-2]),
        stride=strides,
        dilation=dilations,
        low=low,
        high=high,
        groups=1,
    )
    return TensorValue(tensor, (*x.names[:-1], w.names[-2]))


@builtin()
def max_pool(
    site: Site, x: TensorValue, size: Any = 2, stride: Any = None, padding: Any = "valid"
) -> TensorValue:
    """`max_pool(x, 2)`: the greatest of each window of x [N, *S, C] -> [N, *S', C].

    `stride` is the size where it is not given; size, stride and padding as in `conv`, but the
    padding is "valid" where it is not given.  The gradient goes to the first of equals.
    """
    kernel, strides, low, high = _window(site, x, size, stride, padding)
    values, _ = site.emit("max_pool", x.tensor, size=kernel, stride=strides, low=low, high=high)
    return TensorValue(values, x.names)


@builtin()
def avg_pool(
    site: Site,
    x: TensorValue,
    size: Any = 2,
    stride: Any = None,
    padding: Any = "valid",
    count_padding: bool = False,
) -> TensorValue:
    """`avg_pool(x, 2)`: the mean of each window of x [N, *S, C] -> [N, *S', C].

    Size, stride and padding as in `max_pool`; padding is counted only if `count_padding` is true.
    """
    kernel, strides, low, high = _window(site, x, size, stride, padding)
    attrs = {"size": kernel, "stride": strides, "low": low, "high": high}
    total = site.emit("sum_pool", x.tensor, **attrs)
    cx = site.cx
    with cx.at(site.span):
        if count_padding or not any(low + high):
            return TensorValue(total / float(prod(kernel)), x.names)
        ones = cx.builder.full(1.0, x.dtype, (1, *x.shape[1:-1], 1))
        count = site.emit("sum_pool", ones, **attrs)
        count = count.reshape(count.shape[1:-1])
        spread = count.broadcast(total.shape, tuple(range(1, x.rank - 1)))
        return TensorValue(total / spread, x.names)


def _window(site: Site, x: TensorValue, size: Any, stride: Any, padding: Any) -> Any:
    spatial = x.rank - 2
    if spatial < 1:
        raise site.wrong("E0302", f"pooling of {describe(x)}", "x", help="x is [N, *S, C]")
    kernel = per_axis(site, size, spatial, "size")
    strides = per_axis(site, size if stride is None else stride, spatial, "stride")
    low, high = padding_of(site, padding, x.shape[1:-1], kernel, strides, (1,) * spatial)
    return kernel, strides, low, high


@builtin()
def windows(
    site: Site, x: TensorValue, size: Any, axis: Any, stride: Any = 1, dilation: Any = 1
) -> TensorValue:
    """`windows(x, 3, axis = T)`: the windows along axes; their elements stand on new last axes."""
    axes = axes_of(x, axis, site.place("axis"))
    attrs = {
        name: per_axis(site, value, len(axes), name)
        for name, value in (("size", size), ("stride", stride), ("dilation", dilation))
    }
    tensor = site.emit("window", x.tensor, axes=axes, **attrs)
    return TensorValue(tensor, (*x.names, *(None,) * len(axes)))


@builtin()
def upsample(site: Site, x: TensorValue, factor: Any = 2) -> TensorValue:
    """`upsample(x, 2)`: each point of x [N, *S, C] repeated along every spatial axis (nearest)."""
    spatial = x.rank - 2
    factors = per_axis(site, factor, spatial, "factor")
    shape: list[Dim] = [x.shape[0]]
    places = [0]
    final: list[Dim] = [x.shape[0]]
    for size, times in zip(x.shape[1:-1], factors, strict=True):
        places.append(len(shape))
        shape += [size, times]
        final.append(size * times)
    places.append(len(shape))
    shape.append(x.shape[-1])
    final.append(x.shape[-1])
    with site.cx.at(site.span):
        spread = x.tensor.broadcast(tuple(shape), tuple(places))
        return TensorValue(spread.reshape(tuple(final)), x.names)


@builtin()
def causal_mask(site: Site, size: Any) -> TensorValue:
    """`causal_mask(T)`: [T, T], true where the column is not after the row."""
    count = dim_of(site, size, "size")
    with site.cx.at(site.span):
        row = site.emit("iota", shape=(count, count), axis=0, dtype="i32")
        column = site.emit("iota", shape=(count, count), axis=1, dtype="i32")
        return TensorValue(column <= row, (None, None))
