"""Declared types against values: binding dims, checking sizes, naming axes (semantics 3)."""

from __future__ import annotations

from typing import Any

from nnc.elaborate.context import Context
from nnc.elaborate.scope import Scope
from nnc.elaborate.values import (
    CALLABLE,
    AxisRef,
    Deferred,
    Duration,
    Host,
    ListValue,
    Poison,
    Poisoned,
    RangeValue,
    SourceValue,
    TensorValue,
    TupleValue,
    WeightsValue,
    describe,
    is_int,
    is_number,
)
from nnc.ir.dims import Dim, equal, shape_text
from nnc.ir.types import DTYPES, TensorType
from nnc.language import tree
from nnc.language.diagnostics import Label, NncError, error, suggest
from nnc.language.tree import Span

#: Names of types that are not element types, and what they admit.
KINDS: dict[str, tuple[type, ...]] = {
    "stage": CALLABLE,
    "block": CALLABLE,
    "net": CALLABLE,
    "weights": (WeightsValue, *CALLABLE),
    "list": (ListValue, TupleValue),
    "ints": (int, ListValue, TupleValue),
    "tensor": (TensorValue,),
    "initializer": (Deferred,),
    "str": (str,),
    "range": (RangeValue,),
    "source": (SourceValue,),
    "axis": (AxisRef, int, TupleValue, ListValue),
    "any": (object,),
}
ELLIPSIS = "..."
#: What other languages call the element types.
_FOREIGN_TYPES = {
    "float": "f32",
    "float32": "f32",
    "tensor": "f32",
    "double": "f64",
    "float64": "f64",
    "half": "f16",
    "float16": "f16",
    "bfloat16": "bf16",
    "integer": "int",
    "int32": "i32",
    "long": "i64",
    "int64": "i64",
    "boolean": "bool",
    "string": "str",
}


def coerce(
    cx: Context, declared: tree.TypeExpr, value: Any, scope: Scope, span: Span, what: str
) -> Any:
    """`value` as the declared type; `what` names it in messages (`x` of `Dense`)."""
    if isinstance(value, Poison):
        raise Poisoned
    if isinstance(declared, tree.RecordTypeExpr):
        return _record(cx, declared, value, scope, span, what)
    if declared.dims is None or not declared.dims:
        return _scalar(cx, declared, value, span, what)
    return _tensor(cx, declared, value, scope, span, what)


def declared_type(cx: Context, declared: tree.TypeExpr, scope: Scope) -> tuple[TensorType, Any]:
    """The type and axis labels of a declaration whose dims must all be known (params, buffers)."""
    if isinstance(declared, tree.RecordTypeExpr):
        raise error("E0306", "a tensor type is needed here", declared.span)
    check_dtype(declared)
    shape: list[Dim] = []
    names: list[str | None] = []
    for item in declared.dims or ():
        if isinstance(item.value, tree.Ellipsis_):
            dims, labels = _ellipsis(scope, item.span)
            shape.extend(dims)
            names.extend(labels)
            continue
        dims = _dims(cx, item.value, scope)
        shape.extend(dims)
        names.extend([_label(item)] if len(dims) == 1 else [None] * len(dims))
    return TensorType(declared.dtype, tuple(shape)), tuple(names)


def _dims(cx: Context, expr: tree.Expr, scope: Scope) -> tuple[Dim, ...]:
    """A list of sizes stands for as many dims: `f32[kernel, C, out]` with `kernel = [3, 3]`."""
    binding = scope.find(expr.id) if isinstance(expr, tree.Name) else None
    value = binding.force(expr.id, expr.span) if binding else None  # type: ignore[union-attr]
    if isinstance(value, ListValue) and all(map(is_int, value.values)):
        return value.values
    return (dim_value(cx, expr, scope),)


def dim_value(cx: Context, expr: tree.Expr, scope: Scope) -> Dim:
    """The size that a dim expression stands for; E0303 where it comes from nowhere."""
    if isinstance(expr, tree.Name):
        if expr.id == "_":
            raise error("E0303", "the size of `_` cannot be inferred here", expr.span)
        binding = scope.find(expr.id)
        if binding is None:
            sizes = [n for n in scope.names() if n[:1].isupper()]
            raise error(
                "E0303",
                f"the dimension `{expr.id}` comes from nowhere",
                expr.span,
                help=suggest(expr.id, sizes)
                or "a dimension comes from an input, a static parameter or a `let`",
            )
    value = cx.eval(expr, scope)
    if isinstance(value, Poison):
        raise Poisoned
    if not is_int(value):
        raise error("E0307", f"a dimension must be an int; this is {describe(value)}", expr.span)
    if isinstance(value, int) and value < 0:
        raise error("E0308", f"a dimension cannot be negative; this is {value}", expr.span)
    return value


def check_dtype(declared: tree.TensorTypeExpr) -> None:
    if declared.dtype not in DTYPES and declared.dtype != "int":
        raise unknown_type(declared)


def unknown_type(declared: tree.TensorTypeExpr) -> NncError:
    """E0309 with the type that was meant: also what other languages call it."""
    name, span = declared.dtype, declared.span
    known = [*DTYPES, "int", *KINDS]
    near = _FOREIGN_TYPES.get(name.lower(), "")
    return error(
        "E0309",
        f"unknown type `{name}`",
        Span(span.source, span.start, span.start + len(name)),
        help=f"it is called `{near}`"
        if near
        else suggest(name, known)
        or f"tensors hold {', '.join(DTYPES)}; parameters may also be {', '.join(KINDS)}",
    )


# ---------------------------------------------------------------- scalars
def _scalar(cx: Context, declared: tree.TensorTypeExpr, value: Any, span: Span, what: str) -> Any:
    kind = declared.dtype
    if kind in KINDS:
        if isinstance(value, KINDS[kind]) and not (kind == "ints" and isinstance(value, bool)):
            return value
        wanted = {"str": "a string", "ints": "an int or a list of ints"}.get(kind, f"a {kind}")
        raise error("E0310", f"{what} must be {wanted}; this is {describe(value)}", span)
    check_dtype(declared)
    if isinstance(value, AxisRef):
        value = value.value
    if isinstance(value, Duration) and kind in ("int", "i32", "f32"):
        return in_steps(cx, value, span)
    if isinstance(value, TensorValue) and value.rank == 0 and value.dtype == kind:
        return value
    if kind in ("int", "i32", "i64"):
        if is_int(value) or (isinstance(value, Host) and value.kind == "int"):
            return value
        if isinstance(value, float) and value.is_integer():
            return int(value)
    elif kind == "bool":
        if isinstance(value, bool) or (isinstance(value, Host) and value.kind == "bool"):
            return value
    elif is_number(value):
        return float(value) if isinstance(value, int) else value
    elif isinstance(value, Host) and value.kind != "bool":
        return value
    wanted = {"int": "an int", "bool": "`true` or `false`"}.get(kind, f"a number ({kind})")
    help = ""
    if isinstance(value, TensorValue) and value.rank:
        help = f"this is a tensor; {what} takes one number"
    raise error("E0310", f"{what} must be {wanted}; this is {describe(value)}", span, help=help)


def in_steps(cx: Context, duration: Duration, span: Span) -> int:
    """A duration as a number of steps."""
    if duration.unit == "steps":
        return int(duration.value)
    if cx.world.steps_per_epoch is None:
        raise error("E0415", "an epoch has no length here", span, help="give the duration in steps")
    return round(duration.value * cx.world.steps_per_epoch)


# ---------------------------------------------------------------- tensors
def _tensor(
    cx: Context, declared: tree.TensorTypeExpr, value: Any, scope: Scope, span: Span, what: str
) -> Any:
    check_dtype(declared)
    anywhere = any(isinstance(d.value, tree.Ellipsis_) for d in declared.dims or ())
    if anywhere and len(declared.dims or ()) == 1 and (is_number(value) or isinstance(value, Host)):
        return float(value) if isinstance(value, int) and declared.dtype[0] == "f" else value
    if not isinstance(value, TensorValue):
        raise error(
            "E0311",
            f"{what} must be a tensor {declared.span.text}; this is {describe(value)}",
            span,
            help=_tensor_help(value),
        )
    if value.dtype != declared.dtype:
        raise _wrong_dtype(declared, value, span, what)
    return _match_dims(cx, declared, value, scope, span, what)


def _tensor_help(value: Any) -> str:
    from nnc.elaborate.values import BlockValue, Stage, Template

    if isinstance(value, SourceValue):
        return f"name one of its fields: `{value.name}.x`"
    if isinstance(value, (Template, Stage)):
        return "apply it to an input first"
    if isinstance(value, BlockValue):
        return f"write `{value.name}(...)(x)`: a block has two parameter lists"
    return ""


def _wrong_dtype(
    declared: tree.TensorTypeExpr, value: TensorValue, span: Span, what: str
) -> NncError:
    help = f"`{declared.dtype}(...)` casts"
    if value.dtype == "i32" and declared.dtype == "f32":
        help = "`f32(...)` casts; ids of words or classes go through `Embedding` or `one_hot`"
    return error(
        "E0312",
        f"{what} must be {declared.span.text}; this is {describe(value)}",
        span,
        *_made(value),
        Label(declared.span, "declared here"),
        help=help,
    )


def _match_dims(
    cx: Context,
    declared: tree.TensorTypeExpr,
    value: TensorValue,
    scope: Scope,
    span: Span,
    what: str,
) -> TensorValue:
    pattern = list(declared.dims or ())
    dots = next((i for i, d in enumerate(pattern) if isinstance(d.value, tree.Ellipsis_)), None)
    fixed = len(pattern) - (dots is not None)
    if value.rank < fixed or (dots is None and value.rank != fixed):
        raise error(
            "E0302",
            f"{what} must have {'at least ' if dots is not None else ''}{fixed} "
            f"dimension{'s' * (fixed != 1)}, {declared.span.text}; this is {describe(value)}",
            span,
            *_made(value),
            Label(declared.span, "declared here"),
        )
    names = list(value.names)
    axes = list(range(value.rank))
    if dots is not None:
        free = value.rank - fixed
        taken = axes[dots : dots + free]
        _bind_ellipsis(
            scope, tuple(value.shape[a] for a in taken), tuple(names[a] for a in taken), span, what
        )
        axes = axes[:dots] + axes[dots + free :]
        pattern = pattern[:dots] + pattern[dots + 1 :]
    # Plain names first, so that `f32[N, 2 * K, K]` can bind K before it is used.
    order = sorted(range(len(pattern)), key=lambda i: not isinstance(pattern[i].value, tree.Name))
    for i in order:
        axis, item = axes[i], pattern[i]
        names[axis] = _match_dim(cx, item, value, axis, scope, span, what)
    return TensorValue(value.tensor, tuple(names), value.made)


def _match_dim(
    cx: Context,
    item: tree.Argument,
    value: TensorValue,
    axis: int,
    scope: Scope,
    span: Span,
    what: str,
) -> str | None:
    """Check one axis against its declaration; its label.  `K = 2` labels an axis of size 2 `K`."""
    size, expr = value.shape[axis], item.value
    label = item.name or value.names[axis]
    if not isinstance(expr, tree.Name):
        _check_size(dim_value(cx, expr, scope), size, expr, value, axis, span, what, None)
    elif expr.id != "_":
        _bind_size(scope, expr, size, value, axis, span, what)
        label = item.name or expr.id
    if item.name:
        name = tree.Name(item.name, item.name_span or item.span)
        _bind_size(scope, name, size, value, axis, span, what)
    return label


def _bind_size(
    scope: Scope, name: tree.Name, size: Dim, value: TensorValue, axis: int, span: Span, what: str
) -> None:
    """A name that has a size already must have this one; another gets it."""
    binding = scope.find(name.id)
    known = binding.force(name.id, name.span) if binding else None
    if known is not None and is_int(known):
        place = binding.span if binding else None
        _check_size(known, size, name, value, axis, span, what, place)
    else:
        scope.define(name.id, size, span)


def _check_size(
    known: Dim,
    size: Dim,
    expr: tree.Expr,
    value: TensorValue,
    axis: int,
    span: Span,
    what: str,
    bound: Span | None,
) -> None:
    same = equal(known, size)
    if same:
        return
    written = expr.span.text
    says = f"`{written}`" if written == str(known) else f"`{written}` = {known}"
    labels = [Label(expr.span, f"{says} is declared here"), *_made(value)]
    if bound is not None and bound is not span:
        labels.insert(0, Label(bound, f"`{written}` is {known} because of this"))
    if same is None:
        raise error(
            "E0304",
            f"cannot prove that axis {axis} of {what}, {size}, equals {says}",
            span,
            *labels,
            help=f"state it: `assert {size} == {known}`",
        )
    raise error(
        "E0301",
        f"{what} is {describe(value)}: axis {axis} is {size} where {says} is wanted",
        span,
        *labels,
    )


def _record(
    cx: Context, declared: tree.RecordTypeExpr, value: Any, scope: Scope, span: Span, what: str
) -> Any:
    fields = [p.name for p in declared.fields]
    if not isinstance(value, TupleValue) or len(value.items) != len(fields):
        raise error(
            "E0313",
            f"{what} must have the fields ({', '.join(fields)}); this is {describe(value)}",
            span,
            Label(declared.span, "declared here"),
        )
    given = value.names
    if given and given != fields:
        wrong = next(n for n in given if n not in fields) if set(given) - set(fields) else ""
        if wrong:
            raise error(
                "E0313",
                f"{what} has no field `{wrong}`",
                span,
                Label(declared.span, "declared here"),
                help=suggest(wrong, fields),
            )
    items = []
    for i, parameter in enumerate(declared.fields):
        item = value.get(parameter.name) if given else value.values[i]
        field_name = f"field `{parameter.name}` of {what}"
        items.append((parameter.name, coerce(cx, parameter.type, item, scope, span, field_name)))
    return TupleValue(tuple(items))


# ---------------------------------------------------------------- helpers
def _bind_ellipsis(
    scope: Scope, dims: tuple[Dim, ...], names: tuple[str | None, ...], span: Span, what: str
) -> None:
    bound = scope.bindings.get(ELLIPSIS)
    if bound is None:
        scope.define(ELLIPSIS, (dims, names), span)
        return
    before = bound.value[0]
    if len(before) != len(dims) or not all(equal(a, b) for a, b in zip(before, dims, strict=True)):
        because = f"`...` is {shape_text(before)} because of this"
        labels = [Label(bound.span, because)] if bound.span else []
        raise error(
            "E0301",
            f"`...` of {what} is {shape_text(dims)} where {shape_text(before)} is wanted",
            span,
            *labels,
            help=_one_too_many(before, dims),
        )


def _one_too_many(a: tuple[Dim, ...], b: tuple[Dim, ...]) -> str:
    longer, shorter = (a, b) if len(a) > len(b) else (b, a)
    if longer[-1:] == (1,) and longer[:-1] == shorter:
        return "`squeeze` drops an axis of size 1, `expand` adds one; nothing is broadcast silently"
    return ""


def _ellipsis(scope: Scope, span: Span) -> tuple[tuple[Dim, ...], tuple[str | None, ...]]:
    binding = scope.find(ELLIPSIS)
    if binding is None:
        raise error("E0303", "`...` stands for nothing here: no input has it", span)
    return binding.value


def _label(item: tree.Argument) -> str | None:
    if item.name:
        return item.name
    return item.value.id if isinstance(item.value, tree.Name) and item.value.id != "_" else None


def _made(value: TensorValue) -> list[Label]:
    if value.made is None:
        return []
    return [Label(value.made.span, f"{describe(value)}, from {value.made.text}")]
