"""The source of NumPy functions, complete with what they call, for copying into emitted files.

An op's meaning and its spelling are then one text: the function that defines `fold` for the
interpreter is the one that stands in the emitted file.  Types are left out of signatures, because
they name things of nnc; those of the fields of a record (`NamedTuple`) have to be Python's own.
"""

from __future__ import annotations

import ast
import functools
import inspect
import sys
import textwrap
import types
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

WIDTH = 100


@dataclass
class Sources:
    """Imports and definitions in an order in which each stands after those it uses.

    `given` are names that the file defines itself.
    """

    given: frozenset[str] = frozenset()
    imports: set[str] = field(default_factory=set)
    definitions: dict[str, str] = field(default_factory=dict)
    _origins: dict[str, str] = field(default_factory=dict)  # name -> its module

    def add(self, function: Callable[..., Any]) -> str:
        """Include `function`, or a record, and all that it uses; its name.

        ValueError where something of this name from another module is already in the file.
        """
        function = inspect.unwrap(function)
        name: str = function.__name__
        if self._origins.setdefault(name, function.__module__) != function.__module__:
            raise ValueError(f"{function.__module__} and {self._origins[name]} both have `{name}`")
        if name not in self.definitions:
            self.definitions[name] = ""  # in work, should it be recursive
            text, tree = _parsed(function)
            module = sys.modules[function.__module__]
            for used in sorted(_global_names(tree) - {name} - self.given):
                self._add_global(module, used)
            del self.definitions[name]
            self.definitions[name] = text
        return name

    def _add_global(self, module: types.ModuleType, name: str) -> None:
        value: Any = module.__dict__.get(name)
        is_copied = inspect.isfunction(inspect.unwrap(value)) or inspect.isclass(value)
        if is_copied and self._is_ours(value, module):
            self.add(value)
        elif name in module.__dict__:
            self.imports.add(_import_of(module, name))

    def _is_ours(self, function: Callable[..., Any], module: types.ModuleType) -> bool:
        """Whether `function` is of nnc, or of the package that uses it."""
        package = function.__module__.partition(".")[0]
        return package in ("nnc", module.__name__.partition(".")[0])


@functools.cache
def _parsed(function: Callable[..., Any]) -> tuple[str, ast.FunctionDef | ast.ClassDef]:
    """The text of a function or record with plain signatures, and its tree without their types."""
    lines = textwrap.dedent(inspect.getsource(function)).splitlines()
    (tree,) = ast.parse("\n".join(lines)).body
    assert isinstance(tree, ast.FunctionDef | ast.ClassDef), f"{function} cannot be copied"
    inside = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    for node in sorted(inside, key=lambda node: node.lineno, reverse=True):
        _strip_types(node)
        first, last = node.lineno - 1, node.body[0].lineno - 1
        lines[first:last] = _signature(node)
    return "\n".join(lines), tree


def _strip_types(tree: ast.FunctionDef) -> None:
    arguments = tree.args
    for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs):
        argument.annotation = None
    for rest in (arguments.vararg, arguments.kwarg):
        if rest is not None:
            rest.annotation = None
    tree.returns = None


def _signature(tree: ast.FunctionDef) -> list[str]:
    indent = " " * tree.col_offset
    line = f"{indent}def {tree.name}({ast.unparse(tree.args)}):"
    if len(line) <= WIDTH:
        return [line]
    arguments = [f"{indent}    {argument}," for argument in ast.unparse(tree.args).split(", ")]
    return [f"{indent}def {tree.name}(", *arguments, f"{indent}):"]


def _global_names(tree: ast.FunctionDef | ast.ClassDef) -> set[str]:
    """Names that a function or record reads and does not bind itself."""
    names = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
    bound = {node.id for node in names if isinstance(node.ctx, ast.Store)}
    bound |= {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    return {node.id for node in names if isinstance(node.ctx, ast.Load)} - bound


def _import_of(module: types.ModuleType, name: str) -> str:
    """The import that bound `name` in `module`."""
    imports = _imports(module)
    if name not in imports:
        raise ValueError(f"`{name}` of {module.__name__} cannot be copied into an emitted file")
    return imports[name]


@functools.cache
def _imports(module: types.ModuleType) -> dict[str, str]:
    """Name -> the import that binds it at the top of `module`."""
    found: dict[str, str] = {}
    for node in ast.parse(inspect.getsource(module)).body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            start = f"from {node.module} " if isinstance(node, ast.ImportFrom) else ""
            for alias in node.names:
                renamed = f" as {alias.asname}" if alias.asname else ""
                line = f"{start}import {alias.name}{renamed}"
                found.setdefault(alias.asname or alias.name, line)
    return found
