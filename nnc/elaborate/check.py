"""Checking a program without running it: every `train`, every `model`, every name."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from nnc.elaborate.alone import check_alone
from nnc.elaborate.collected import Collected
from nnc.elaborate.context import Context
from nnc.elaborate.data import Data
from nnc.elaborate.layers import Stacking, Unstackable
from nnc.elaborate.module import Module
from nnc.elaborate.names import unknown_names
from nnc.elaborate.places import Naming
from nnc.elaborate.train import TrainBuilder
from nnc.elaborate.values import Poisoned
from nnc.elaborate.world import World
from nnc.ir.graph import Graph
from nnc.ir.program import Training
from nnc.language import tree
from nnc.language.diagnostics import Diagnostic, NncError, error, suggest
from nnc.language.limits import make_source, read_source
from nnc.language.parser import parse
from nnc.language.tree import Source
from nnc.passes.pipeline import STANDARD, Pipeline, uncollected

STACK = 12_000  # Python frames: about fifteen for each call in a program
MAX_ERRORS = 50  # definitions with errors after which the others are not looked at
_MISSING = frozenset(("E0230", "E0401", "E0402", "E0417", "E0420", "E0424", "E0427"))


class Compiled:
    """A program whose text is right; its trainings are elaborated when they are asked for.

    `lenient` is for checking: errors of the text and of the data are kept, and the rest goes on.
    """

    def __init__(
        self,
        source: Source,
        root: Path,
        overrides: dict[str, str] | None = None,
        seed: int = 0,
        roots: tuple[Path, ...] = (),
        *,
        lenient: bool = False,
    ):
        self.source = source
        self.given = dict(overrides or {})
        self.program, self.faults = parse(source)
        if self.faults and not lenient:
            raise NncError(*self.faults)
        self.data = Data(root, seed, roots, lenient)
        with at_work():
            self.module = Module(source, self.program, self._context, self.data, self.given)
        self._check_given()

    def _check_given(self) -> None:
        names = [i.name for i in self.program.items if isinstance(i, tree.Decl)]
        for name in self.given:
            if name not in names:
                self.module.faults += error(
                    "E0410",
                    f"there is no config `{name}` to set",
                    None,
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
        self,
        name: str | None = None,
        *,
        seed: int | None = None,
        epochs: int | None = None,
        steps: int | None = None,
        stack_layers: bool = False,
        pipeline: Pipeline = STANDARD,
    ) -> Training:
        """The graphs of one `train` section, on the way through `pipeline`.

        With `stack_layers` a `repeat` of equal layers is a loop, and its weights are stacks.
        Raises `NncError` with every error in the section.
        """
        if self.module.faults:
            raise NncError(*self.diagnose())
        section = self._train_section(name)
        build = partial(
            TrainBuilder,
            self.module,
            section,
            seed=seed,
            epochs=epochs,
            steps=steps,
            pipeline=pipeline,
        )
        try:
            with at_work(), pipeline.phase("elaborate"):
                return _stacked(build) if stack_layers else build().build()
        except (NncError, Poisoned) as failure:
            own = getattr(failure, "diagnostics", ())
            raise NncError(*_distinct([*own, *self.diagnose()])) from None

    def _train_section(self, name: str | None) -> tree.Section:
        trains = self.module.trains
        if name is None:
            if len(trains) == 1:
                return next(iter(trains.values()))
            words = ", ".join(trains)
            raise error(
                "E0431",
                "the program has no `train` section"
                if not trains
                else f"which of its trainings? It has {words}",
                help="" if not trains else f"`--train {next(iter(trains))}`",
            )
        if name not in trains:
            raise error(
                "E0431",
                f"there is no training `{name}`",
                help=suggest(name, trains) or f"it has {', '.join(trains) or 'none'}",
            )
        return trains[name]

    def diagnose(self) -> list[Diagnostic]:
        """Every independent error of the program, in the order of the text."""
        data = self.data
        fresh = Compiled(self.source, data.root, self.given, data.seed, data.roots, lenient=True)
        with at_work():
            return _diagnose(fresh)


def _stacked(build: Callable[..., TrainBuilder]) -> Training:
    """A training whose layers are stacked, but for those of a `repeat` that does not allow it."""
    stacking = Stacking()
    while True:
        try:
            training = build(stacking=stacking).build()
        except Unstackable as found:
            stacking.unrolled[found.span] = found.reason
        except NncError as failure:
            training = build().build()  # raises the error where it is one of the program
            training.remarks = [f"every `repeat` stays unrolled: {failure.diagnostics[0].message}"]
            return training
        else:
            training.remarks = stacking.remarks()
            return training


def _diagnose(compiled: Compiled) -> list[Diagnostic]:
    module, data = compiled.module, compiled.data
    problems = Collected([*compiled.faults, *module.faults])
    for name, binding in list(module.scope.bindings.items()):
        problems.attempt(binding.force, name, None)
    for name in data.sections:
        problems.attempt(data.source, module.context(), name)
    called: set[str] = set()  # names of the blocks and functions that ran
    for section in module.trains.values():
        problems.attempt(_check_train, module, section, called)
    for kind in (tree.Block, tree.Fn):
        for item in module.definitions():
            unused = isinstance(item, kind) and item.name not in called
            if unused and len(problems.found) < MAX_ERRORS:
                problems.found.extend(check_alone(module, item, called))
    unreached = islice(unknown_names(module), MAX_ERRORS)
    found = [*problems.found, *data.faults, *unreached]
    return _distinct(_without_aftermath(found, bool(compiled.faults)))


def _without_aftermath(found: list[Diagnostic], left_out: bool) -> list[Diagnostic]:
    """Errors without those that only follow from others.

    What seems to be missing may stand in a statement that was left out for its syntax, data may
    hide behind a name that is unknown, and a net has no weights where it could not be applied.
    """
    codes = {d.code for d in found}
    silent: set[str] = set(_MISSING) if left_out else set()
    if "E0201" in codes:
        silent |= {"E0416", "E0417"}
    if codes - {"E0209"}:
        silent.add("E0209")
    return [d for d in found if d.code not in silent]


def _check_train(module: Module, section: tree.Section, called: set[str]) -> None:
    builder = TrainBuilder(module, section, seed=None, epochs=None, steps=None)
    try:
        builder.build()
    finally:
        called |= builder.world.called


@contextmanager
def at_work() -> Iterator[None]:
    """Room for nested calls of a program, and no search for garbage where all is still needed."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(max(before, STACK))
    try:
        with uncollected():
            yield
    finally:
        sys.setrecursionlimit(before)


def _distinct(diagnostics: Any) -> list[Diagnostic]:
    """Each error once, in the order of the text."""
    seen: dict[Any, Diagnostic] = {}
    for one in diagnostics:
        place = (one.span.source.path, one.span.start, one.span.end) if one.span else ("", -1, -1)
        seen.setdefault((one.code, place), one)
    return [seen[key] for key in sorted(seen, key=lambda k: (k[1][0], k[1][1], k[0]))]


def load(
    path: str,
    *,
    overrides: dict[str, str] | None = None,
    seed: int = 0,
    roots: tuple[Path, ...] = (),
) -> Compiled:
    """The program at `path`; raises `NncError` where its text or a config is wrong."""
    compiled = Compiled(read_source(path), Path(path).parent, overrides, seed, roots)
    if compiled.module.faults:
        raise NncError(*compiled.diagnose())
    return compiled


def check(path: str, overrides: dict[str, str] | None = None) -> list[Diagnostic]:
    """Every error of the program at `path`."""
    try:
        return Compiled(read_source(path), Path(path).parent, overrides, lenient=True).diagnose()
    except NncError as failure:
        return _distinct(failure.diagnostics)


def check_text(text: str, path: str = "<text>", root: Path = Path(".")) -> list[Diagnostic]:
    """Every error of a program given as text; files are found beside `root`."""
    try:
        return Compiled(make_source(text, path), root, lenient=True).diagnose()
    except NncError as failure:
        return _distinct(failure.diagnostics)
