"""`data` sections: from the tree to a `Source`, read when a program first needs it."""

from __future__ import annotations

from dataclasses import fields as dataclass_fields
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnc.elaborate.scope import Scope, unknown_name
from nnc.elaborate.values import ListValue, RangeValue, TensorValue, TupleValue, describe, is_number
from nnc.ir.types import DTYPES, TensorType
from nnc.language import tree
from nnc.language.diagnostics import Diagnostic, Label, NncError, error, suggest
from nnc.language.tree import Span

if TYPE_CHECKING:
    from nnc.data import Source
    from nnc.elaborate.context import Context

SETTINGS = ("batch", "split", "shuffle")


@dataclass
class DataSection:
    """A `data` section of the program and the module scope it stands in."""

    section: tree.Section
    scope: Scope


class Data:
    """All data sections of a program; each is read once."""

    def __init__(self, root: Path, seed: int = 0, roots: tuple[Path, ...] = ()):
        self.root = root
        self.roots = roots
        self.seed = seed
        self.sections: dict[str, DataSection] = {}
        self.read: dict[str, Source] = {}
        self.labels: dict[str, dict[str, tuple[str | None, ...]]] = {}
        self._failed: set[str] = set()

    def source(self, cx: Context, name: str) -> Source:
        """The section `name`, read; errors stand at the field or setting to blame."""
        from nnc.elaborate.values import Poisoned

        if name in self._failed:
            raise Poisoned
        if name not in self.read:
            try:
                self.read[name] = self._load(cx, name)
            except NncError:
                self._failed.add(name)
                raise
        return self.read[name]

    def inside(self, file: str, span: Span) -> Path:
        """A file that the program names, which must lie in its folder (or those allowed)."""
        path = (self.root / file).resolve()
        if not any(path.is_relative_to(r.resolve()) for r in (self.root, *self.roots)):
            raise error("E0502", f"`{file}` lies outside the program's folder", span)
        if not path.is_file():
            raise error("E0501", f"there is no file `{file}`", span)
        return path

    def attribute(self, cx: Context, name: str, attr: str, span: Span) -> Any:
        """`digits.x`: the batch; `digits.classes`: a fact."""
        source = self.source(cx, name)
        if attr in source.arrays:
            array = source.arrays[attr]
            spec = source.fields[attr]
            type = TensorType(spec.dtype, (cx.batch_size(name), *array.shape[1:]))
            with cx.at(span):
                tensor = cx.input(f"{name}.{attr}", type, "batch")
            return TensorValue(tensor, self.labels[name][attr])
        facts = {"steps_per_epoch": source.steps_per_epoch, **source.merged_facts}
        if attr in facts:
            return facts[attr]
        raise error(
            "E0208", f"the data section `{name}` has no `{attr}`", span,
            help=suggest(attr, [*source.arrays, *facts])
            or f"it has {', '.join([*source.arrays, *facts])}",
        )

    # ------------------------------------------------------------ reading
    def _load(self, cx: Context, name: str) -> Source:
        from nnc.data import DataError, Source

        found = self.sections[name]
        section = found.section
        settings = _settings(cx, found)
        specs, labels = [], {}
        for statement in section.body:
            if isinstance(statement, tree.Field):
                spec, names = _field(cx, statement, found.scope)
                specs.append(spec)
                labels[statement.name] = names
        if not specs:
            raise error("E0401", f"the data section `{name}` has no field", section.span,
                        help="write `x: f32[N, 64] = csv(...)`")
        batch = settings.get("batch")
        if not isinstance(batch, int) or isinstance(batch, bool) or batch < 1:
            place = _place_of(section, "batch") or section.kind_span or section.span
            raise error("E0402", f"`batch` must be an int of at least 1; this is {describe(batch)}"
                        if "batch" in settings else f"`{name}` needs `batch = ...`", place)
        self.labels[name] = labels
        try:
            return Source.load(
                name, specs, self.root, batch, _split(section, settings.get("split")),
                shuffle=settings.get("shuffle", True), seed=self.seed, roots=self.roots,
            )
        except DataError as failure:
            raise _placed(failure, section) from None


def _settings(cx: Context, found: DataSection) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    for statement in found.section.body:
        if isinstance(statement, tree.Set):
            key = statement.names[0]
            if key.id not in SETTINGS:
                raise error(
                    "E0403", f"`data` has no setting `{key.id}`", key.span,
                    help=suggest(key.id, SETTINGS)
                    or f"its settings are {', '.join(SETTINGS)}; a field has a type: "
                    f"`{key.id}: f32[N, ...] = ...`",
                )
            settings[key.id] = cx.eval(statement.value, found.scope)
        elif not isinstance(statement, tree.Field):
            raise error("E0233", "a data section holds fields and settings", statement.span)
    shuffle = settings.get("shuffle", True)
    if not isinstance(shuffle, bool):
        raise error("E0310", "`shuffle` is `true` or `false`", _place_of(found.section, "shuffle"))
    return settings


def _split(section: tree.Section, value: Any) -> dict[str, float] | None:
    if value is None:
        return None
    place = _place_of(section, "split")
    parts = dict(value.items) if isinstance(value, TupleValue) else {}
    if not parts or not all(name and is_number(v) for name, v in parts.items()):
        raise error("E0404", f"`split` names its parts; this is {describe(value)}", place,
                    help="write `split = (train = 80%, val = 10%, test = 10%)`")
    return {name: float(v) for name, v in parts.items()}


def _field(cx: Context, field: tree.Field, scope: Scope) -> tuple[Any, tuple[str | None, ...]]:
    from nnc.data import FieldSpec

    declared = field.type
    if not isinstance(declared, tree.TensorTypeExpr) or not declared.dims:
        raise error("E0306", "a field has a tensor type with the sample axis first: `f32[N, 64]`",
                    declared.span)
    if declared.dtype not in DTYPES:
        raise error("E0309", f"unknown type `{declared.dtype}`", declared.span,
                    help=suggest(declared.dtype, DTYPES))
    shape: list[int | None] = []
    names: list[str | None] = []
    for position, item in enumerate(declared.dims):
        expr = item.value
        label = item.name or None
        size: int | None = None
        if isinstance(expr, tree.Name) and scope.find(expr.id) is None:
            label = label or (expr.id if expr.id != "_" else None)
        elif position:
            value = cx.eval(expr, scope)
            if not isinstance(value, int) or isinstance(value, bool):
                raise error("E0307", f"a dimension must be an int; this is {describe(value)}",
                            expr.span)
            size = value
            label = label or (expr.id if isinstance(expr, tree.Name) else None)
        else:
            raise error("E0405", "the first dimension of a field is its samples: `N`", item.span)
        names.append(label)
        if position:
            shape.append(size)
    return (
        FieldSpec(field.name, declared.dtype, tuple(shape), pipeline(cx, field.value, scope)),
        tuple(names),
    )


# ---------------------------------------------------------------- host functions
def pipeline(cx: Context, expr: tree.Expr, scope: Scope) -> Any:
    """`reader(...) |> transform(...)` as a `Pipeline`."""
    from nnc.data import READERS, TRANSFORMS, Pipeline

    stages: list[tree.Expr] = [expr]
    if isinstance(expr, tree.Chain) and expr.kind == "pipe":
        stages = [expr.first, *(operand for _, operand in expr.rest)]
    reader = host_call(cx, stages[0], scope, READERS, "reader")
    transforms = tuple(host_call(cx, s, scope, TRANSFORMS, "transform") for s in stages[1:])
    return Pipeline(reader, transforms)


def host_call(cx: Context, expr: tree.Expr, scope: Scope, table: Any, what: str) -> Any:
    """A reader or transform of the data package, with its arguments checked."""
    from nnc.data import DataError

    function = expr.function if isinstance(expr, tree.Call) else expr
    if not isinstance(function, tree.Name):
        raise error("E0406", f"a {what} is needed here", expr.span,
                    help=f"{what}s are {', '.join(table)}")
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
                raise error("E0213", f"`{function.id}` takes {len(parameters)} arguments",
                            item.span)
            name = parameters[position]
            position += 1
        if name not in parameters:
            raise error("E0211", f"`{function.id}` has no parameter `{name}`", item.span,
                        help=suggest(name, parameters)
                        or f"its parameters are {', '.join(parameters)}")
        values[name] = plain(cx.eval(item.value, scope), item.value.span)
    try:
        return kind(**values)
    except DataError as failure:
        raise NncError(*(replace(d, span=expr.span) for d in failure.diagnostics)) from None
    except TypeError:
        missing = [f.name for f in dataclass_fields(kind) if f.name not in values and f.init
                   and f.default is f.default_factory]
        raise error("E0212", f"`{function.id}` needs `{missing[0] if missing else '?'}`",
                    expr.span) from None


def plain(value: Any, span: Span) -> Any:
    """A static value as the plain Python that readers take."""
    if isinstance(value, RangeValue):
        return range(int(value.start), int(value.stop))  # type: ignore[arg-type]
    if isinstance(value, (ListValue, TupleValue)):
        return [plain(item, span) for item in value.values]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise error("E0310", f"a static value is needed here; this is {describe(value)}", span)


def _place_of(section: tree.Section, subject: str) -> Span | None:
    for statement in section.body:
        if isinstance(statement, tree.Set) and statement.names[0].id == subject:
            return statement.span
        if isinstance(statement, tree.Field) and statement.name == subject:
            return statement.value.span
    return None


def _placed(failure: Any, section: tree.Section) -> NncError:
    """A fault in the data, at the field or setting to blame."""
    place = _place_of(section, failure.subject) or section.kind_span or section.span
    labels: tuple[Label, ...] = ()
    return NncError(
        *(
            Diagnostic(d.code, d.message, d.span or place, d.labels or labels, d.help)
            for d in failure.diagnostics
        )
    )
