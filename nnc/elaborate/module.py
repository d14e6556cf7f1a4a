"""Files to scopes: the program, what it `use`s, the library, and what the compiler provides."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import lru_cache, partial
from importlib import resources
from pathlib import Path
from typing import Any

from nnc.elaborate.context import Context
from nnc.elaborate.data import Data
from nnc.elaborate.data_settings import DataSection
from nnc.elaborate.functions import BUILTINS
from nnc.elaborate.places import Naming, place_names, snake_case
from nnc.elaborate.scope import Binding, Scope
from nnc.elaborate.statements import evaluate_let
from nnc.elaborate.values import (
    POISON,
    BlockValue,
    Function,
    Host,
    ListValue,
    ModuleValue,
    Poisoned,
    SourceValue,
    describe,
)
from nnc.ir.host import HostConst, HostOp, HostVar
from nnc.language import tree
from nnc.language.diagnostics import Diagnostic, Label, NncError, error, nearest, suggest
from nnc.language.limits import read_source
from nnc.language.parser import parse
from nnc.language.tree import Source, Span

SECTIONS = ("data", "train")


# ---------------------------------------------------------------- ambient scalars
def _counted(name: str) -> Callable[[Context, Span], Any]:
    def value(cx: Context, span: Span) -> Any:
        known = getattr(cx.world, name)
        if known is None:
            raise error(
                "E0415",
                f"`{name}` has no value here",
                span,
                help="it is known inside a `train` that says how long it runs",
            )
        return known

    return value


def _step(cx: Context, span: Span) -> Host:
    return Host(HostVar(cx.counter), "int")


def _epoch(cx: Context, span: Span) -> Host:
    length = cx.world.steps_per_epoch or 1
    return Host(HostOp("floordiv", (HostVar(cx.counter), HostConst(length))), "int")


def _training(cx: Context, span: Span) -> bool:
    return cx.training and not cx.frozen


AMBIENT: dict[str, Any] = {
    "step": _step,
    "steps": _counted("steps"),
    "epoch": _epoch,
    "epochs": _counted("epochs"),
    "training": _training,
    "pi": math.pi,
}


# ---------------------------------------------------------------- the library
@lru_cache(maxsize=1)
def library() -> Scope:
    """Builtins and, above them, every name of `nnc/std/*.nn`; a file is parsed when needed."""
    base = Scope(kind="builtin")
    for name, value in {**AMBIENT, **BUILTINS}.items():
        base.bindings[name] = Binding(value)
    scope = Scope(base, "std")
    for file in library_files():
        text = file.read_text(encoding="utf-8")
        for name in re.findall(r"^(?:block|fn|model)\s+(\w+)", text, re.MULTILINE):
            scope.define_lazy(name, _library_item(file.name, text, name, scope))
    return scope


def library_files() -> list[Any]:
    """The files of the library, by name."""
    files = [f for f in resources.files("nnc.std").iterdir() if f.name.endswith(".nn")]
    return sorted(files, key=lambda f: f.name)


def _library_item(file: str, text: str, name: str, scope: Scope) -> Callable[[], Any]:
    return lambda: _library_module(file, text, scope)[name]


_PARSED: dict[str, dict[str, Any]] = {}


def _library_module(file: str, text: str, scope: Scope) -> dict[str, Any]:
    if file not in _PARSED:
        program, diagnostics = parse(Source(f"std/{file}", text))
        if diagnostics:
            raise NncError(*diagnostics)
        _PARSED[file] = {
            item.name: _definition(item, scope)
            for item in program.items
            if isinstance(item, (tree.Fn, tree.Block))
        }
    return _PARSED[file]


def _definition(item: tree.Fn | tree.Block, scope: Scope) -> Function | BlockValue:
    if isinstance(item, tree.Fn):
        return Function(item, scope)
    return BlockValue(item, scope)


# ---------------------------------------------------------------- programs
class Module:
    """A parsed program file: its scope, its `train` sections, its faults so far."""

    def __init__(
        self,
        source: Source,
        program: tree.Program,
        context: Callable[[], Context],
        data: Data,
        overrides: dict[str, str],
        loading: tuple[Path, ...] = (),
    ):
        self.source = source
        self.program = program
        self.scope = Scope(library(), "module")
        self.context = context
        self.data = data
        self.overrides = overrides
        self.loading = loading
        self.trains: dict[str, tree.Section] = {}
        self.configs: dict[str, Any] = {}
        self.faults: list[Diagnostic] = []
        for item in program.items:
            try:
                _ITEMS[type(item)](self, item)
            except NncError as failure:
                self.faults.extend(failure.diagnostics)
                self._poison(item)
            except Poisoned:
                self._poison(item)
        for name in program.lost:
            if self.scope.find(name) is None:
                self.scope.define(name, POISON)

    def _poison(self, item: Any) -> None:
        """What a faulty item was to define is not unknown: its uses stay silent."""
        names = [n.id for n in getattr(item, "names", ())]
        names += [getattr(item, key, "") for key in ("name", "alias")]
        for name in names:
            if name and name not in self.scope.bindings:
                self.scope.define(name, POISON)

    # ------------------------------------------------------------ items
    def _definition(self, item: tree.Fn | tree.Block) -> None:
        self.scope.define(item.name, _definition(item, self.scope), item.name_span)
        _check_case(item)

    def _let(self, item: tree.Let) -> None:
        values: dict[str, Any] = {}

        def compute(name: str) -> Callable[[], Any]:
            def run() -> Any:
                if not values:
                    cx = self.context()
                    cx.naming = Naming("", place_names((item,)))
                    pairs = evaluate_let(cx, item, self.scope)
                    values.update({n.id: v for n, v in pairs})
                return values[name]

            return run

        for name in item.names:
            self.scope.define_lazy(name.id, compute(name.id), name.span)

    def _decl(self, item: tree.Decl) -> None:
        if item.kind != "config":
            raise error("E0233", f"a `{item.kind}` belongs in a block", item.span)
        value = self._config_value(item)
        self.configs[item.name] = value
        self.scope.define(item.name, value, item.name_span)

    def _config_value(self, item: tree.Decl) -> Any:
        from nnc.elaborate.types import coerce

        cx = self.context()
        what = f"config `{item.name}`"
        if item.name in self.overrides:
            value, place = _parse_override(item, self.overrides[item.name]), item.span
        elif item.value is not None:
            value, place = cx.eval(item.value, self.scope), item.value.span
        else:
            raise error(
                "E0410",
                f"{what} has no value",
                item.span,
                help=f"give it with `--set {item.name}=...` or a default",
            )
        value = coerce(cx, item.type, value, self.scope, place, what)
        if item.choices is not None:
            choices = cx.eval(item.choices, self.scope)
            allowed = choices.values if isinstance(choices, ListValue) else ()
            if value not in allowed:
                words = ", ".join(str(c) for c in allowed)
                raise error(
                    "E0411",
                    f"{what} is one of {words}; this is {describe(value)}",
                    place,
                    Label(item.choices.span, "the choices"),
                )
        return value

    def _section(self, item: tree.Section) -> None:
        place = item.kind_span or item.span
        if item.kind not in SECTIONS:
            if near := nearest(item.kind, SECTIONS):
                self._section(replace(item, kind=near))
            raise error(
                "E0412",
                f"unknown section `{item.kind}`",
                place,
                help=suggest(item.kind, [*SECTIONS, "block", "model", "fn", "config"])
                or "a program has `data` and `train` sections",
            )
        if not item.name:
            raise error("E0413", f"a `{item.kind}` section needs a name", place)
        if item.kind == "train":
            if item.name in self.trains:
                raise error(
                    "E0203",
                    f"`{item.name}` is defined twice",
                    item.name_span,
                    Label(self.trains[item.name].name_span or place, "first defined here"),
                )
            self.trains[item.name] = item
            return
        self.scope.define(item.name, SourceValue(item.name), item.name_span)
        self.data.sections[item.name] = DataSection(item, self.scope)

    def _use(self, item: tree.Use) -> None:
        scope, words = self._used(item)
        if item.names:
            for name in item.names:
                found = scope.find(name.id)
                if found is None:
                    raise error(
                        "E0414",
                        f"{words} has no `{name.id}`",
                        name.span,
                        help=suggest(name.id, scope.bindings),
                    )
                self.scope.define_lazy(name.id, partial(found.force, name.id, name.span), name.span)
            return
        alias = item.alias or (item.path[-1] if isinstance(item.path, tuple) else "")
        if not alias:
            raise error(
                "E0414",
                "say what to use from the file",
                item.span,
                help='write `use "file.nn" (Name)` or `use "file.nn" as name`',
            )
        self.scope.define(alias, ModuleValue(scope, words), item.span)

    def _used(self, item: tree.Use) -> tuple[Scope, str]:
        if isinstance(item.path, tuple):
            if item.path[0] != "std":
                raise error(
                    "E0414",
                    f"there is no module `{'.'.join(item.path)}`",
                    item.span,
                    help='the library is `std`; a file is named as "file.nn"',
                )
            known = [f.name.removesuffix(".nn") for f in library_files()]
            if len(item.path) > 1 and item.path[1] not in known:
                raise error(
                    "E0414",
                    f"the library has no module `{item.path[1]}`",
                    item.span,
                    help=suggest(item.path[1], known) or f"it has {', '.join(known)}",
                )
            return library(), "the library"
        return self._load(item).scope, f'"{item.path}"'

    def _load(self, item: tree.Use) -> Module:
        root = self.data.root.resolve()
        path = (root / str(item.path)).resolve()
        if not path.is_relative_to(root):
            raise error("E0414", f'"{item.path}" is outside the program\'s folder', item.span)
        if path in self.loading:
            raise error("E0414", f'"{item.path}" uses itself', item.span)
        source = read_source(path, str(item.path), item.span)
        program, diagnostics = parse(source)
        if diagnostics:
            raise NncError(*diagnostics)
        module = Module(source, program, self.context, self.data, {}, (*self.loading, path))
        if module.faults:
            raise NncError(*module.faults)
        return module

    def library_item(self, name: str) -> Any:
        """A function of the library, whatever the program calls by its name."""
        binding = library().find(name)
        assert binding is not None
        return binding.force(name, None)

    def definitions(self) -> Iterator[tree.Fn | tree.Block]:
        return (i for i in self.program.items if isinstance(i, (tree.Fn, tree.Block)))


_ITEMS: dict[type, Callable[[Module, Any], None]] = {
    tree.Fn: Module._definition,
    tree.Block: Module._definition,
    tree.Let: Module._let,
    tree.Decl: Module._decl,
    tree.Section: Module._section,
    tree.Use: Module._use,
}


def _check_case(item: tree.Fn | tree.Block) -> None:
    """CamelCase owns state, lowercase does not."""
    camel = item.name[:1].isupper()
    if isinstance(item, tree.Block) and not camel:
        better = "".join(word.capitalize() for word in item.name.split("_"))
        raise error(
            "E0224",
            f"a {item.kind} owns weights, so its name is CamelCase",
            item.name_span,
            help=f"call it `{better}`",
        )
    if isinstance(item, tree.Fn) and camel:
        raise error(
            "E0224",
            "a `fn` owns nothing, so its name is lower case",
            item.name_span,
            help=f"call it `{snake_case(item.name)}`",
        )


def _parse_override(item: tree.Decl, text: str) -> Any:
    kind = item.type.dtype if isinstance(item.type, tree.TensorTypeExpr) else ""
    words = {"true": True, "false": False, "none": None}
    if kind == "str":
        return text
    if text in words:
        return words[text]
    try:
        if text.endswith("%"):
            return float(text[:-1]) / 100
        clean = text.replace("_", "")
        return int(clean) if re.fullmatch(r"[+-]?\d+", clean) else float(clean)
    except ValueError:
        raise error(
            "E0310", f"`--set {item.name}={text}`: the value must be a {kind}", item.span
        ) from None
