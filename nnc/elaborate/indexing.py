"""`x[...]` by position, label or a tensor of indices; `.name` of everything that has names."""

from __future__ import annotations

from typing import Any

from nnc.elaborate.context import Context
from nnc.elaborate.scope import Scope, unknown_name
from nnc.elaborate.values import (
    AxisRef,
    ListValue,
    ModuleValue,
    PathRef,
    Poison,
    Poisoned,
    RangeValue,
    SourceValue,
    Template,
    TensorValue,
    TupleValue,
    WeightsValue,
    describe,
    is_int,
)
from nnc.ir.dims import Dim
from nnc.ir.graph import Value
from nnc.language import tree
from nnc.language.diagnostics import error, suggest
from nnc.language.tree import Span


# ---------------------------------------------------------------- attributes
def attribute(cx: Context, value: Any, expr: tree.Attribute, scope: Scope) -> Any:
    name, span = expr.name, expr.name_span or expr.span
    if isinstance(value, Poison):
        raise Poisoned
    if isinstance(value, TupleValue):
        if name in value.names:
            return value.get(name)
        raise error(
            "E0208",
            f"there is no field `{name}`",
            span,
            help=suggest(name, value.names) or f"its fields are {', '.join(value.names) or 'none'}",
        )
    if isinstance(value, SourceValue):
        return cx.world.data.attribute(cx, value.name, name, span)
    if isinstance(value, (Template, PathRef)):
        return _inside(cx, value.path, name, span)
    if isinstance(value, ModuleValue):
        binding = value.scope.bindings.get(name)
        if binding is None:
            raise unknown_name(name, span, value.scope)
        return binding.force(name, span)
    if isinstance(value, WeightsValue):
        if name in value.leaves:
            return value.leaves[name]
        prefix = name + "."
        inner = {p[len(prefix) :]: t for p, t in value.leaves.items() if p.startswith(prefix)}
        if inner:
            return WeightsValue(inner, f"{value.root}.{name}")
    raise error("E0208", f"{describe(value)} has no `{name}`", span)


def _inside(cx: Context, path: str, name: str, span: Span) -> Any:
    """A weight, or what stands below an instance."""
    inner, start = f"{path}.{name}", path + "."
    cx.refuse_layers(f"reads `{name}` of an instance")
    for given in reversed(cx.overrides):
        if inner in given:
            return cx.localize(given[inner])
    cx.once_defined(lambda: [p for p in cx.world.state if p.startswith(start)])
    entry = cx.world.state.get(inner)
    if entry is not None:
        return TensorValue(cx.input(inner, entry.type, "state"), cx.world.names[inner])
    known = cx.world.applications.get(inner)
    if known is not None:
        return known.template
    below = {p[len(start) :].split(".")[0] for p in cx.world.state if p.startswith(start)}
    if name in below:
        return PathRef(inner)
    if not below:
        raise error(
            "E0209",
            f"`{path}` has no weights yet",
            span,
            help="they come into being where it is applied first",
        )
    raise error(
        "E0208",
        f"`{path}` has no `{name}`",
        span,
        help=suggest(name, below) or f"it has {', '.join(sorted(below))}",
    )


# ---------------------------------------------------------------- indices
def index(cx: Context, value: Any, expr: tree.Index, scope: Scope) -> Any:
    if isinstance(value, Poison):
        raise Poisoned
    if isinstance(value, (ListValue, TupleValue)):
        return _item(cx, value, expr, scope)
    if not isinstance(value, TensorValue):
        raise error("E0321", f"{describe(value)} cannot be indexed", expr.span)
    inner = Scope(scope, "index")
    for label, size in zip(value.names, value.shape, strict=True):
        if label is not None and label not in inner.bindings:
            inner.define(label, size, expr.span)
    chosen = _choices(cx, value, expr, inner)
    return _select(cx, value, chosen, expr.span)


def _item(cx: Context, value: Any, expr: tree.Index, scope: Scope) -> Any:
    if len(expr.items) != 1:
        raise error("E0321", f"{describe(value)} takes one index", expr.span)
    position = cx.eval(expr.items[0].value, scope)
    values = value.values
    if not isinstance(position, int) or isinstance(position, bool):
        raise error("E0321", f"an index must be an int; this is {describe(position)}", expr.span)
    if not -len(values) <= position < len(values):
        raise error("E0322", f"index {position} of {describe(value)}", expr.items[0].span)
    return values[position]


def _choices(
    cx: Context, value: TensorValue, expr: tree.Index, scope: Scope
) -> dict[int, tuple[Any, Span]]:
    """Axis -> what is chosen on it."""
    positional = [item for item in expr.items if not item.name]
    dots = [i for i, item in enumerate(positional) if isinstance(item.value, tree.Ellipsis_)]
    if len(positional) - len(dots) > value.rank:
        raise error("E0321", f"{len(positional)} indices for {describe(value)}", expr.span)
    chosen: dict[int, tuple[Any, Span]] = {}
    for position, item in enumerate(positional):
        if isinstance(item.value, tree.Ellipsis_):
            continue
        after = bool(dots) and position > dots[0]
        axis = value.rank - (len(positional) - position) if after else position
        chosen[axis] = (cx.eval(item.value, scope), item.span)
    for item in expr.items:
        if item.name:
            axis = axis_named(value, item.name, item.name_span or item.span)
            if axis in chosen:
                raise error("E0321", f"axis `{item.name}` is indexed twice", item.span)
            chosen[axis] = (cx.eval(item.value, scope), item.span)
    return chosen


def axis_named(value: TensorValue, label: str, span: Span) -> int:
    """The axis with this label; E0323 where there is none or more than one."""
    axes = [i for i, name in enumerate(value.names) if name == label]
    if len(axes) == 1:
        return axes[0]
    labels = [n for n in value.names if n]
    if axes:
        raise error("E0323", f"two axes of {describe(value)} are called `{label}`", span)
    raise error(
        "E0323",
        f"no axis of {describe(value)} is called `{label}`",
        span,
        help=suggest(label, labels) or (f"its axes are {', '.join(labels)}" if labels else ""),
    )


def axis_of(value: TensorValue, axis: Any, span: Span) -> int:
    """An `axis` argument as a position: an int from either end, or a label."""
    if isinstance(axis, AxisRef):
        if axis.label in value.names or axis.value is None:
            return axis_named(value, axis.label, axis.span)
        axis = axis.value
    if isinstance(axis, str):
        return axis_named(value, axis, span)
    if not isinstance(axis, int) or isinstance(axis, bool):
        raise error("E0324", f"an axis is an int or a label; this is {describe(axis)}", span)
    if not -value.rank <= axis < value.rank:
        help = f"its axes are 0 to {value.rank - 1}" if value.rank else ""
        raise error("E0324", f"{describe(value)} has no axis {axis}", span, help=help)
    return axis % value.rank


def axes_of(value: TensorValue, axis: Any, span: Span) -> tuple[int, ...]:
    """An `axis` argument that may be one axis, a tuple of them, or none for all."""
    if axis is None:
        return tuple(range(value.rank))
    if isinstance(axis, AxisRef) and axis.label not in value.names:
        axis = axis.value if isinstance(axis.value, (TupleValue, ListValue)) else axis
    many = axis.values if isinstance(axis, (TupleValue, ListValue)) else (axis,)
    return tuple(sorted({axis_of(value, one, span) for one in many}))


def _select(
    cx: Context, value: TensorValue, chosen: dict[int, tuple[Any, Span]], span: Span
) -> TensorValue:
    value, chosen = _by_counter(cx, value, chosen)
    start: list[Dim] = [0] * value.rank
    stop = list(value.shape)
    dropped: set[int] = set()
    gathered: list[tuple[int, TensorValue]] = []
    for axis, (what, place) in chosen.items():
        size = value.shape[axis]
        if isinstance(what, RangeValue):
            start[axis], stop[axis] = _bound(what.start, size), _bound(what.stop, size)
            _check_range(start[axis], stop[axis], size, place)
        elif is_int(what):
            at = _bound(what, size)
            if isinstance(at, int) and isinstance(size, int) and not 0 <= at < size:
                raise error(
                    "E0322",
                    f"index {what} of an axis of size {size}",
                    place,
                    help=f"indices run from 0 to {size - 1}" if size else "",
                )
            start[axis], stop[axis] = at, at + 1
            dropped.add(axis)
        elif isinstance(what, TensorValue) and what.dtype == "i32":
            gathered.append((axis, what))
        else:
            raise error(
                "E0321",
                f"an index is an int, a range or a tensor i32; this is {describe(what)}",
                place,
                help="`where(mask, x, 0)` selects by a mask" if _is_mask(what) else "",
            )
    tensor = value.tensor
    if len(chosen) > len(gathered):
        steps = (1,) * value.rank
        tensor = cx.emit(span, "slice", tensor, start=tuple(start), stop=tuple(stop), step=steps)
    kept = [axis for axis in range(value.rank) if axis not in dropped]
    with cx.at(span):
        tensor = tensor.reshape(tuple(tensor.shape[axis] for axis in kept))
    names = [value.names[axis] for axis in kept]
    for axis, where in sorted(gathered, reverse=True, key=lambda pair: pair[0]):
        at = kept.index(axis)
        tensor = cx.emit(span, "take", tensor, where.tensor, axis=at)
        names[at : at + 1] = where.names
    return TensorValue(tensor, tuple(names))


def _by_counter(
    cx: Context, value: TensorValue, chosen: dict[int, tuple[Any, Span]]
) -> tuple[TensorValue, dict[int, tuple[Any, Span]]]:
    """In a loop over `0..n`, `x[T = t]` of an `x` from outside is an element of this round."""
    frame = cx.frames[-1]
    loop = frame.counting
    outer = frame.captured(value.tensor) if loop else None
    if loop is None or outer is None:
        return value, chosen
    counted = [axis for axis, (what, _) in chosen.items() if _is_value(what, cx, loop.counter)]
    if not counted:
        return value, chosen
    axis, place = counted[0], chosen[counted[0]][1]
    _check_range(0, loop.length, value.shape[axis], place)
    rest = [i for i in range(value.rank) if i != axis]
    if (outer, axis) not in loop.elements:
        type = value.type.with_shape(tuple(value.shape[i] for i in rest))
        loop.elements[outer, axis] = frame.builder.input("element", type, "element")
    element = TensorValue(loop.elements[outer, axis], tuple(value.names[i] for i in rest))
    return element, {rest.index(i): what for i, what in chosen.items() if i != axis}


def _is_value(what: Any, cx: Context, value: Value) -> bool:
    own = isinstance(what, TensorValue) and what.tensor.builder is cx.builder
    return own and what.tensor.value == value


def _is_mask(value: Any) -> bool:
    return isinstance(value, TensorValue) and value.dtype == "bool"


def _bound(position: Dim, size: Dim) -> Dim:
    return size + position if isinstance(position, int) and position < 0 else position


def _check_range(start: Dim, stop: Dim, size: Dim, span: Span) -> None:
    known = all(isinstance(d, int) for d in (start, stop, size))
    if known and not 0 <= start <= stop <= size:  # type: ignore[operator]
        raise error("E0322", f"the range {start}..{stop} of an axis of size {size}", span)
