"""`data` sections: from the tree to a `Source`, read when a program first needs it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnc.elaborate.collected import Collected
from nnc.elaborate.pipelines import pipeline
from nnc.elaborate.scope import Scope
from nnc.elaborate.types import unknown_type
from nnc.elaborate.values import (
    POISON,
    Poison,
    Poisoned,
    Provenance,
    TensorValue,
    TupleValue,
    describe,
    is_number,
)
from nnc.ir.types import DTYPES, TensorType
from nnc.language import tree
from nnc.language.diagnostics import Diagnostic, Label, NncError, error, nearest, suggest
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


@dataclass(frozen=True)
class Declaration:
    """What a field says of itself; a None in `shape` takes its size from the data."""

    dtype: str
    shape: tuple[int | None, ...]
    names: tuple[str | None, ...]  # with that of the sample axis
    span: Span


@dataclass
class Unread:
    """Stands in for the `Source` of a section with errors, as far as the section declares it."""

    arrays: dict[str, TensorType] = field(default_factory=dict)
    parts: dict[str, range] = field(default_factory=lambda: {"train": range(1)})
    batch: int = 1
    steps_per_epoch: int = 1000
    merged_facts: dict[str, Any] = field(default_factory=dict)


class Data:
    """All data sections of a program; each is read once.

    `lenient` is for checking a program: a section that cannot be read is reported in `faults` and
    goes on as what it declares, so that the rest of the program is still checked.
    """

    def __init__(
        self, root: Path, seed: int = 0, roots: tuple[Path, ...] = (), lenient: bool = False
    ):
        self.root = root
        self.roots = roots
        self.seed = seed
        self.lenient = lenient
        self.sections: dict[str, DataSection] = {}
        self.read: dict[str, Source | Unread] = {}
        self.declared: dict[str, dict[str, Declaration]] = {}
        self.faults: list[Diagnostic] = []
        self._failed: set[str] = set()
        self._reading: set[str] = set()

    def source(self, cx: Context, name: str) -> Source:
        """The section `name`, read; errors stand at the field or setting to blame."""
        if name not in self.sections or name in self._failed:
            raise Poisoned
        if name not in self.read:
            self._reading.add(name)
            try:
                self.read[name] = self._load(cx, name)
            except (NncError, Poisoned) as failure:
                if not self.lenient:
                    self._failed.add(name)
                    raise
                self.faults.extend(getattr(failure, "diagnostics", ()))
                self.read[name] = self._unread(cx, name)
            finally:
                self._reading.discard(name)
        return self.read[name]  # type: ignore[return-value]  # `Unread` has what elaboration asks

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
        if name in self._reading:
            raise error("E0204", f"`{name}` is defined by itself", span)
        source = self.source(cx, name)
        if attr in source.arrays:
            declared = self.declared[name][attr]
            shape = (cx.batch_size(name), *source.arrays[attr].shape[1:])
            with cx.at(span):
                tensor = cx.input(f"{name}.{attr}", TensorType(declared.dtype, shape), "batch")
            made = Provenance(declared.span, f"`{name}.{attr}`")
            return TensorValue(tensor, declared.names, made)
        if isinstance(source, Unread):
            raise Poisoned
        facts = {"steps_per_epoch": source.steps_per_epoch, **source.merged_facts}
        facts["N"] = cx.batch_size(name)
        if attr in facts:
            return facts[attr]
        known = [*source.arrays, *facts]
        raise error(
            "E0208",
            f"the data section `{name}` has no `{attr}`",
            span,
            help=suggest(attr, known) or f"it has {', '.join(known)}",
        )

    # ------------------------------------------------------------ reading
    def _load(self, cx: Context, name: str) -> Source:
        """Everything that is wrong with a section, or its source."""
        from nnc.data import DataError, FieldSpec, Source

        found, problems = self.sections[name], Collected()
        fields = _fields(found.section)
        settings = problems.attempt(_settings, cx, found)
        declared = [problems.attempt(_declaration, cx, f, found.scope) for f in fields]
        pipes = [problems.attempt(pipeline, cx, f.value, found.scope) for f in fields]
        problems.finish()
        self.declared[name] = {
            f.name: d for f, d in zip(fields, declared, strict=True) if d is not None
        }
        specs = [
            FieldSpec(f.name, d.dtype, d.shape, pipe)
            for f, d, pipe in zip(fields, declared, pipes, strict=True)
            if d is not None and pipe is not None
        ]

        def load(chosen: list[FieldSpec]) -> Source:
            return Source.load(
                name, chosen, self.root, seed=self.seed, roots=self.roots, **settings or {}
            )

        try:
            return load(specs)
        except DataError as failure:
            problems.found.extend(_placed(failure, found.section))
            for spec in specs if self.lenient else ():  # each may have a fault of its own
                try:
                    load([spec])
                except DataError as other:
                    problems.found.extend(_placed(other, found.section))
            raise NncError(*problems.found) from None

    def _unread(self, cx: Context, name: str) -> Unread:
        """What a section with errors declares nevertheless."""
        found, quiet = self.sections[name], Collected()  # its errors are reported already
        unread = Unread()
        self.declared[name] = {}
        for one in _fields(found.section):
            declared = quiet.attempt(_declaration, cx, one, found.scope)
            if declared is not None and None not in declared.shape:
                self.declared[name][one.name] = declared
                type = TensorType(declared.dtype, (1, *declared.shape))  # type: ignore[arg-type]
                unread.arrays[one.name] = type
        values = _values(cx, found, quiet)
        unread.batch = quiet.attempt(_batch, found.section, values) or unread.batch
        split = quiet.attempt(_split, found.section, values.get("split"))
        unread.parts = {part: range(1) for part in split or unread.parts}
        return unread


# ---------------------------------------------------------------- settings
def _settings(cx: Context, found: DataSection) -> dict[str, Any]:
    """The settings as `Source.load` takes them; raises every fault of the section's own text."""
    problems = Collected()
    section = found.section
    problems.found.extend(_misplaced(section))
    values = _values(cx, found, problems)
    settings = {
        "batch": problems.attempt(_batch, section, values),
        "split": problems.attempt(_split, section, values.get("split")),
        "shuffle": problems.attempt(_shuffle, section, values),
    }
    problems.finish()
    return settings


def _misplaced(section: tree.Section) -> list[Diagnostic]:
    """Statements that a data section cannot hold, and fields that it has twice or not at all."""
    found: list[Diagnostic] = []
    seen: dict[str, Span] = {}
    for statement in section.body:
        if isinstance(statement, tree.Field):
            place = statement.name_span or statement.span
            if statement.name in seen:
                label = Label(seen[statement.name], "first defined here")
                found += error(
                    "E0203", f"`{statement.name}` is defined twice", place, label
                ).diagnostics
            seen.setdefault(statement.name, place)
        elif not isinstance(statement, tree.Set):
            found += error(
                "E0233", "a data section holds fields and settings", statement.span
            ).diagnostics
    if not seen:
        found += error(
            "E0401",
            f"the data section `{section.name}` has no field",
            section.name_span or section.span,
            help="write `x: f32[N, 64] = csv(...)`",
        ).diagnostics
    return found


def _values(cx: Context, found: DataSection, problems: Collected) -> dict[str, Any]:
    """Setting -> value; POISON for one that has an error."""
    settings: dict[str, tree.Set] = {}
    meant: dict[str, tree.Set] = {}
    for statement in found.section.body:
        if isinstance(statement, tree.Set):
            problems.attempt(_setting, statement, settings, meant)
    chosen = {**meant, **settings}
    values: dict[str, Any] = dict.fromkeys(chosen, POISON)

    def evaluate(name: str) -> None:
        values[name] = cx.eval(chosen[name].value, found.scope)

    for name in chosen:
        problems.attempt(evaluate, name)
    return values


def _setting(
    statement: tree.Set, settings: dict[str, tree.Set], meant: dict[str, tree.Set]
) -> None:
    key = statement.names[0]
    if key.id not in SETTINGS:
        if near := nearest(key.id, SETTINGS):
            meant[near] = statement
        raise error(
            "E0403",
            f"`data` has no setting `{key.id}`",
            key.span,
            help=suggest(key.id, SETTINGS)
            or f"its settings are {', '.join(SETTINGS)}; a field has a type: "
            f"`{key.id}: f32[N, ...] = ...`",
        )
    if key.id in settings:
        raise error(
            "E0203",
            f"`{key.id}` is set twice",
            key.span,
            Label(settings[key.id].span, "first set here"),
        )
    settings[key.id] = statement


def _batch(section: tree.Section, values: dict[str, Any]) -> int:
    batch = values.get("batch")
    if isinstance(batch, Poison):
        raise Poisoned
    if isinstance(batch, int) and not isinstance(batch, bool) and batch >= 1:
        return batch
    place = _place_of(section, "batch")
    if place is None:
        raise error(
            "E0402",
            f"`{section.name}` needs the size of its batches",
            section.name_span or section.span,
            help="write `batch = 64`",
        )
    raise error("E0402", f"`batch` must be an int of at least 1; this is {describe(batch)}", place)


def _split(section: tree.Section, value: Any) -> dict[str, float] | None:
    if value is None:
        return None
    if isinstance(value, Poison):
        raise Poisoned
    place = _place_of(section, "split")
    parts = dict(value.items) if isinstance(value, TupleValue) else {}
    if not parts or not all(name and is_number(v) for name, v in parts.items()):
        raise error(
            "E0404",
            f"`split` names its parts; this is {describe(value)}",
            place,
            help="write `split = (train = 80%, val = 10%, test = 10%)`",
        )
    return {name: float(v) for name, v in parts.items()}


def _shuffle(section: tree.Section, values: dict[str, Any]) -> bool:
    shuffle = values.get("shuffle", True)
    if isinstance(shuffle, Poison):
        raise Poisoned
    if not isinstance(shuffle, bool):
        raise error(
            "E0310",
            f"`shuffle` is `true` or `false`; this is {describe(shuffle)}",
            _place_of(section, "shuffle"),
        )
    return shuffle


# ---------------------------------------------------------------- fields
def _declaration(cx: Context, field: tree.Field, scope: Scope) -> Declaration:
    declared = field.type
    if not isinstance(declared, tree.TensorTypeExpr) or not declared.dims:
        raise error(
            "E0306",
            "a field has a tensor type with the sample axis first: `f32[N, 64]`",
            declared.span,
        )
    if declared.dtype not in DTYPES:
        raise unknown_type(declared)
    shape: list[int | None] = []
    names: list[str | None] = []
    for position, item in enumerate(declared.dims):
        expr = item.value
        label = item.name or (expr.id if isinstance(expr, tree.Name) and expr.id != "_" else None)
        size: int | None = None
        if not isinstance(expr, tree.Name) or scope.find(expr.id) is not None:
            if not position:
                raise error(
                    "E0405", "the first dimension of a field is its samples: `N`", item.span
                )
            value = cx.eval(expr, scope)
            if not isinstance(value, int) or isinstance(value, bool) or value < 0:
                raise error(
                    "E0307", f"a dimension must be an int; this is {describe(value)}", expr.span
                )
            size = value
        names.append(label)
        if position:
            shape.append(size)
    return Declaration(declared.dtype, tuple(shape), tuple(names), field.name_span or field.span)


def _fields(section: tree.Section) -> list[tree.Field]:
    return [s for s in section.body if isinstance(s, tree.Field)]


def _place_of(section: tree.Section, subject: str) -> Span | None:
    for statement in section.body:
        if isinstance(statement, tree.Set) and statement.names[0].id == subject:
            return statement.span
        if isinstance(statement, tree.Field) and statement.name == subject:
            return statement.value.span
    return None


def _placed(failure: NncError, section: tree.Section) -> list[Diagnostic]:
    """A fault in the data, at the field or setting to blame."""
    subject = getattr(failure, "subject", "")
    place = _place_of(section, subject) or section.kind_span or section.span
    return [replace(d, span=d.span or place) for d in failure.diagnostics]
