"""`data` sections: from the tree to a `Source`, read when a program first needs it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnc.elaborate.collected import Collected
from nnc.elaborate.data_settings import (
    DataSection,
    batch_size,
    place_of,
    read_data_settings,
    setting_values,
    split_shares,
)
from nnc.elaborate.pipelines import pipeline
from nnc.elaborate.scope import Scope
from nnc.elaborate.types import unknown_type
from nnc.elaborate.values import Poisoned, Provenance, TensorValue, describe
from nnc.ir.types import DTYPES, TensorType
from nnc.language import tree
from nnc.language.diagnostics import Diagnostic, NncError, error, suggest
from nnc.language.tree import Span

if TYPE_CHECKING:
    from nnc.data import Source
    from nnc.elaborate.context import Context


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
        settings = problems.attempt(read_data_settings, cx, found)
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
        values = setting_values(cx, found, quiet)
        unread.batch = quiet.attempt(batch_size, found.section, values) or unread.batch
        split = quiet.attempt(split_shares, found.section, values.get("split"))
        unread.parts = {part: range(1) for part in split or unread.parts}
        return unread


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


def _placed(failure: NncError, section: tree.Section) -> list[Diagnostic]:
    """A fault in the data, at the field or setting to blame."""
    subject = getattr(failure, "subject", "")
    place = place_of(section, subject) or section.kind_span or section.span
    return [replace(d, span=d.span or place) for d in failure.diagnostics]
