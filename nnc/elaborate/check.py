"""Checking a program without running it: every `train`, every `model`, every name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nnc.elaborate.calls import apply, static_call
from nnc.elaborate.context import Context, Naming, World
from nnc.elaborate.data import Data
from nnc.elaborate.module import Module, read_source
from nnc.elaborate.names import unknown_names
from nnc.elaborate.train import TrainBuilder
from nnc.elaborate.train.common import Collected
from nnc.elaborate.types import check_dtype, dim_value
from nnc.elaborate.values import BlockValue, Poisoned, TensorValue, TupleValue
from nnc.ir.dims import Dim, symbol
from nnc.ir.graph import Graph
from nnc.ir.program import Training
from nnc.language import tree
from nnc.language.diagnostics import Diagnostic, NncError, error, suggest
from nnc.language.parser import parse
from nnc.language.tree import Source


class Compiled:
    """A program whose text is right; its trainings are elaborated when they are asked for."""

    def __init__(
        self, source: Source, root: Path, overrides: dict[str, str] | None = None, seed: int = 0,
        roots: tuple[Path, ...] = (),
    ):
        self.source = source
        self.program, faults = parse(source)
        if faults:
            raise NncError(*faults)
        self.data = Data(root, seed, roots)
        given = dict(overrides or {})
        self.module = Module(source, self.program, self._context, self.data, given)
        names = [i.name for i in self.program.items if isinstance(i, tree.Decl)]
        for name in given:
            if name not in names:
                self.module.faults += error(
                    "E0410", f"there is no config `{name}` to set", None,
                    help=suggest(name, names) or f"configs are {', '.join(names) or 'none'}",
                ).diagnostics

    def _context(self) -> Context:
        cx = Context(World(self.data), Graph("static"), training=False)
        cx.naming = Naming("", {})
        return cx

    @property
    def trainings(self) -> list[str]:
        return list(self.module.trains)

    def expanded(self) -> str:
        """The program with every default written out."""
        from nnc.elaborate.expand import expanded

        return expanded(self.module)

    def training(
        self, name: str | None = None, *, seed: int | None = None, epochs: int | None = None,
        steps: int | None = None,
    ) -> Training:
        """The graphs of one `train` section; raises `NncError` with every error in it."""
        if self.module.faults:
            raise NncError(*_distinct(self.module.faults))
        section = self._train_section(name)
        try:
            return TrainBuilder(
                self.module, section, seed=seed, epochs=epochs, steps=steps
            ).build()
        except NncError as failure:
            raise NncError(*_distinct(failure.diagnostics)) from None
        except Poisoned:
            raise NncError(*_distinct(self.diagnose())) from None

    def _train_section(self, name: str | None) -> tree.Section:
        trains = self.module.trains
        if name is None:
            if len(trains) == 1:
                return next(iter(trains.values()))
            words = ", ".join(trains)
            raise error("E0431", "the program has no `train` section" if not trains
                        else f"which of its trainings? It has {words}",
                        help="" if not trains else f"`--train {next(iter(trains))}`")
        if name not in trains:
            raise error("E0431", f"there is no training `{name}`",
                        help=suggest(name, trains) or f"it has {', '.join(trains) or 'none'}")
        return trains[name]

    # ------------------------------------------------------------ all errors
    def diagnose(self) -> list[Diagnostic]:
        """Every independent error of the program, in the order of the text."""
        problems = Collected(list(self.module.faults))
        for name, binding in list(self.module.scope.bindings.items()):
            problems.attempt(binding.force, name, None)
        for name in self.data.sections:
            problems.attempt(self.data.source, self._context(), name)
        applied: set[str] = set()
        for section in self.module.trains.values():
            applied |= problems.attempt(self._check_train, section) or set()
        for item in self.module.definitions():
            if isinstance(item, tree.Block) and item.name not in applied:
                problems.attempt(self._alone, item)
        problems.found.extend(unknown_names(self.module))
        return _distinct(problems.found)

    def _check_train(self, section: tree.Section) -> set[str]:
        """The blocks that a training applies, once it is found right."""
        builder = TrainBuilder(self.module, section, seed=None, epochs=None, steps=None)
        builder.build()
        return {a.template.block.name for a in builder.world.applications.values()}

    def _alone(self, block: tree.Block) -> None:
        """A block that no training applies, on inputs of symbolic sizes."""
        if any(p.default is None for p in block.static) or block.inputs is None:
            return
        world = World(self.data, steps=1, epochs=1, steps_per_epoch=1)
        cx = Context(world, Graph(block.name), training=True, batch=symbol("N"))
        cx.naming = Naming("", {})
        sizes: dict[str, Dim] = {}
        args = []
        for parameter in block.inputs:
            value = self._symbolic(cx, parameter.type, sizes)
            if value is None:
                return
            args.append(("", value, parameter.span))
        if not _sizes_are_known(block, sizes):
            return
        place = block.name_span or block.span
        template = static_call(cx, BlockValue(block, self.module.scope), [], place)
        template.place = (block.name, block.name)
        apply(cx, template, args, place)

    def _symbolic(self, cx: Context, declared: tree.TypeExpr, sizes: dict[str, Dim]) -> Any:
        if isinstance(declared, tree.RecordTypeExpr):
            items = [(p.name, self._symbolic(cx, p.type, sizes)) for p in declared.fields]
            return None if any(v is None for _, v in items) else TupleValue(tuple(items))
        check_dtype(declared)
        if declared.dims is None:
            return None
        shape: list[Dim] = []
        names: list[str | None] = []
        for item in declared.dims:
            if isinstance(item.value, tree.Ellipsis_):
                return None
            if isinstance(item.value, tree.Name):
                name = item.value.id
                shape.append(sizes.setdefault(name, symbol(name)))
                names.append(name)
            else:
                shape.append(dim_value(cx, item.value, self.module.scope))
                names.append(item.name or None)
        from nnc.ir.types import TensorType

        tensor = cx.builder.input(f"x{len(cx.root.graph)}", TensorType(
            declared.dtype, tuple(shape)), "argument")
        return TensorValue(tensor, tuple(names))


def _sizes_are_known(block: tree.Block, sizes: dict[str, Dim]) -> bool:
    """Weights need known sizes, so only the sample axis may be free."""
    return set(sizes) <= {"N"}


def _distinct(diagnostics: Any) -> list[Diagnostic]:
    """Each error once, in the order of the text."""
    seen: dict[Any, Diagnostic] = {}
    for one in diagnostics:
        place = (one.span.source.path, one.span.start, one.span.end) if one.span else ("", -1, -1)
        seen.setdefault((one.code, place), one)
    return [seen[key] for key in sorted(seen, key=lambda k: (k[1][0], k[1][1], k[0]))]


def load(
    path: str, *, overrides: dict[str, str] | None = None, seed: int = 0,
    roots: tuple[Path, ...] = (),
) -> Compiled:
    """The program at `path`; raises `NncError` where its text or a config is wrong."""
    source = read_source(Path(path), path)
    compiled = Compiled(source, Path(path).parent, overrides, seed, roots)
    if compiled.module.faults:
        raise NncError(*_distinct(compiled.module.faults))
    return compiled


def check(path: str, overrides: dict[str, str] | None = None) -> list[Diagnostic]:
    """Every error of the program at `path`."""
    try:
        source = read_source(Path(path), path)
        return Compiled(source, Path(path).parent, overrides).diagnose()
    except NncError as failure:
        return _distinct(failure.diagnostics)


def check_text(text: str, path: str = "<text>", root: Path = Path(".")) -> list[Diagnostic]:
    """Every error of a program given as text; files are found beside `root`."""
    try:
        return Compiled(Source(path, text), root).diagnose()
    except NncError as failure:
        return _distinct(failure.diagnostics)
