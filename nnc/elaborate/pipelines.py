"""`csv("digits.csv") |> scale(1 / 16)`: readers and transforms of `data` sections.

They run once, on the host: their names and parameters are those of the data package, and their
arguments are static values.
"""

from __future__ import annotations

from dataclasses import fields as dataclass_fields
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from nnc.elaborate.collected import evaluate_all
from nnc.elaborate.scope import Scope, unknown_name
from nnc.elaborate.values import ListValue, RangeValue, TupleValue, describe
from nnc.language import tree
from nnc.language.diagnostics import NncError, error, suggest
from nnc.language.tree import Span

if TYPE_CHECKING:
    from nnc.elaborate.context import Context


def pipeline(cx: Context, expr: tree.Expr, scope: Scope) -> Any:
    """`reader(...) |> transform(...)` as a `Pipeline`."""
    from nnc.data import READERS, TRANSFORMS, Pipeline

    stages: list[tree.Expr] = [expr]
    if isinstance(expr, tree.Chain) and expr.kind == "pipe":
        stages = [expr.first, *(operand for _, operand in expr.rest)]
    tables = [(READERS, "reader"), *[(TRANSFORMS, "transform")] * (len(stages) - 1)]
    reader, *transforms = evaluate_all(
        partial(host_call, cx, stage, scope, table, what)
        for stage, (table, what) in zip(stages, tables, strict=True)
    )
    return Pipeline(reader, tuple(transforms))


def host_call(cx: Context, expr: tree.Expr, scope: Scope, table: Any, what: str) -> Any:
    """A reader or transform of the data package, with its arguments checked."""
    from nnc.data import DataError

    function = expr.function if isinstance(expr, tree.Call) else expr
    if not isinstance(function, tree.Name):
        raise error(
            "E0406", f"a {what} is needed here", expr.span, help=f"{what}s are {', '.join(table)}"
        )
    kind = table.get(function.id)
    if kind is None:
        unknown = unknown_name(function.id, function.span, scope, what)
        help = suggest(function.id, table) or f"{what}s are {', '.join(table)}"
        raise NncError(replace(unknown.diagnostics[0], help=help))
    parameters = [f.name for f in dataclass_fields(kind) if f.init]
    values: dict[str, Any] = {}
    arguments = expr.arguments if isinstance(expr, tree.Call) else ()
    position = 0
    for item in arguments:
        name = item.name
        if not name:
            if position >= len(parameters):
                raise error(
                    "E0213", f"`{function.id}` takes {len(parameters)} arguments", item.span
                )
            name = parameters[position]
            position += 1
        if name not in parameters:
            raise error(
                "E0211",
                f"`{function.id}` has no parameter `{name}`",
                item.name_span or item.span,
                help=suggest(name, parameters)
                or f"its parameters are {', '.join(parameters) or 'none'}",
            )
        if name in values:
            raise error("E0214", f"`{name}` of `{function.id}` is given twice", item.span)
        values[name] = plain(cx.eval(item.value, scope), item.value.span)
    for parameter in dataclass_fields(kind):
        needed = parameter.init and parameter.default is parameter.default_factory
        if needed and parameter.name not in values:
            raise error("E0212", f"`{function.id}` needs `{parameter.name}`", expr.span)
    try:
        return kind(**values)
    except DataError as failure:
        raise NncError(*(replace(d, span=expr.span) for d in failure.diagnostics)) from None


def plain(value: Any, span: Span) -> Any:
    """A static value as the plain Python that readers take."""
    if isinstance(value, RangeValue):
        return range(int(value.start), int(value.stop))  # type: ignore[arg-type]
    if isinstance(value, (ListValue, TupleValue)):
        return [plain(item, span) for item in value.values]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise error("E0310", f"a static value is needed here; this is {describe(value)}", span)
