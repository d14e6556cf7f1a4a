"""What a backend must provide, how backends are found, and all that one needs of nnc.

A backend is a package that registers an object with the entry-point group `nnc.backends`:

    [project.entry-points."nnc.backends"]
    numpy = "nnc_numpy:backend"

It imports this module, `nnc.emit` (printing), `nnc.ir` and `nnc.ops.registry`, and nothing else of
nnc.
"""

from __future__ import annotations

import importlib.util
import re
import sys
import types
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from nnc import random as random_streams
from nnc.ir.graph import Graph
from nnc.ir.host import python_text
from nnc.ir.program import Step, Training
from nnc.language.diagnostics import NncError, error, suggest
from nnc.passes.base import Rewriter, run_on_bodies
from nnc.passes.border import cross_in_f32
from nnc.passes.fold_constants import splat
from nnc.passes.legalize import expansion, legalize
from nnc.passes.open_loop import OpenLoop
from nnc.passes.pipeline import Pipeline, map_graphs, map_steps, optimize, pipeline_of
from nnc.passes.recurrent import replace_lstms
from nnc.passes.remat import rematerialize
from nnc.source import Sources

GROUP = "nnc.backends"

__all__ = [
    "Backend",
    "Compiling",
    "Measuring",
    "NncError",
    "OpenLoop",
    "Rewriter",
    "Sources",
    "compiler_of",
    "devices",
    "error",
    "expansion",
    "get",
    "installed",
    "legalize",
    "legalized",
    "load_source",
    "on_device",
    "optimize",
    "python_text",
    "random_streams",
    "replace_lstms",
    "require_device",
    "run_on_bodies",
    "source_of",
    "splat",
]


@runtime_checkable
class Backend(Protocol):
    """Prints a `Training` as one standalone file (docs/architecture.md, "Backends")."""

    name: str
    #: the spelling of each op; its keys say which ops may reach `emit` (others are decomposed)
    emitters: Mapping[str, Any]

    def emit(self, training: Training) -> str:
        """The Python source; `training` is not changed."""

    def version(self) -> str:
        """Name and version of the framework, for reports."""

    def devices(self) -> list[str]:
        """What `DEVICE` in the emitted source can be here, the default first."""


@runtime_checkable
class Measuring(Backend, Protocol):
    """A backend of which `nnc summary` can say how much memory its steps take."""

    def keeps(self, step: Step) -> int:
        """Arrays of less bytes than this live to the end of `step`; 0 where none do."""

    def legal(self, training: Training) -> Training:
        """What `emit` prints of `training`: a copy in the ops of this backend."""

    def peak_bytes(self, step: Callable[..., Any], state: Any, batch: Any, scalars: Any) -> int:
        """The most bytes of arrays at once in a call of the emitted `step`, arguments included."""


@runtime_checkable
class Compiling(Backend, Protocol):
    """A backend whose files have a function that makes a faster step of a step, on request."""

    #: its name
    compiler: str


class Host(Backend, Protocol):
    """A backend in whose terms the files of others compute initial values: NumPy's."""

    def rewrite(self, graph: Graph) -> bool:
        """Change a legal graph for this backend, in place; True if there was anything to do."""


def installed() -> dict[str, EntryPoint]:
    """Backends by name, without importing them."""
    return {entry.name: entry for entry in sorted(entry_points(group=GROUP), key=lambda e: e.name)}


def get(name: str) -> Backend:
    """The backend called `name`; NncError for one that is unknown, lacks its framework or fails."""
    backends = installed()
    if name not in backends:
        raise error(
            "E0901",
            f"there is no backend `{name}`",
            help=suggest(name, backends) or f"installed are: {', '.join(backends) or 'none'}",
        )
    entry = backends[name]
    try:
        backend = entry.load()
    except ModuleNotFoundError as missing:
        root = (missing.name or "").partition(".")[0]
        if root in ("nnc", entry.module.partition(".")[0]):  # its own files: nothing to install
            raise _broken(entry, missing) from missing
        raise _without_framework(entry, missing) from None
    except Exception as problem:
        raise _broken(entry, problem) from problem
    if not isinstance(backend, Backend):
        raise _broken(entry, f"`{entry.value}` has not all that a backend needs")
    return backend


def _without_framework(entry: EntryPoint, missing: ModuleNotFoundError) -> NncError:
    what = f"`{missing.name}`, which" if missing.name else f"what ({missing})"
    is_ours = entry.dist is None or entry.dist.name == "nnc"
    wanted = f"'nnc[{entry.name}]'" if is_ours or not missing.name else missing.name
    return error(
        "E0902",
        f"the backend `{entry.name}` needs {what} is not installed",
        help=f"pip install {wanted}",
    )


def _broken(entry: EntryPoint, problem: Exception | str) -> NncError:
    text = f"{type(problem).__name__}: {problem}" if isinstance(problem, Exception) else problem
    name = entry.dist.name if entry.dist is not None else entry.module.partition(".")[0]
    return error(
        "E0908",
        f"the backend `{entry.name}` cannot be loaded: {' '.join(text.split())}",
        help=f"`{name}` is not whole, or does not fit the version of its framework that is here",
    )


def devices(backend: Backend) -> list[str]:
    """The devices of `backend`; NncError E0907 where its framework fails when it looks for them."""
    try:
        return backend.devices()
    except Exception as problem:
        text = " ".join(f"{type(problem).__name__}: {problem}".split())
        raise error(
            "E0907",
            f"the framework of the backend `{backend.name}` finds no device",
            help=f"it says: {text}",
        ) from problem


def compiler_of(backend: Backend) -> str:
    """The function of its files that compiles a step; NncError E0910 where there is none."""
    if isinstance(backend, Compiling):
        return backend.compiler
    raise error(
        "E0910",
        f"the backend `{backend.name}` has no compiler to be asked for",
        help="`--compile` is for `--backend torch`; that of `jax` compiles every step",
    )


def require_device(backend: Backend, device: str) -> None:
    """NncError E0907 where the framework of `backend` does not find `device` here."""
    found = devices(backend)
    if device not in found:
        raise _no_device(backend.name, device, f"it has: {', '.join(found)}")


def source_of(training: Training, backend: Backend, device: str | None = None) -> str:
    """What `backend` prints for an optimized training, with `device` as its own where given."""
    with pipeline_of(training).phase("print"):
        source = backend.emit(training)
    return source if device is None else on_device(source, device)


def on_device(source: str, device: str) -> str:
    """Emitted `source` with its constant `DEVICE` set; a file without one is for the CPU."""
    changed, count = re.subn(
        r"^DEVICE = .*$", f'DEVICE = "{device}"', source, count=1, flags=re.MULTILINE
    )
    if not re.fullmatch(r"\w+(:\d+)?", device) or (not count and device != "cpu"):
        backend = re.search(r'^    "backend": "(\w+)"', source, re.MULTILINE)
        raise _no_device(backend[1] if backend else "", device, "it computes on the CPU")
    return changed


def _no_device(backend: str, device: str, help: str) -> NncError:
    message = f"the backend `{backend}` has no device `{device}` here"
    return error("E0907", message, help=help)


def legalized(
    training: Training,
    backend: Backend,
    rewrite: Callable[[Graph], bool] = lambda graph: False,
    host: Host | None = None,
) -> Training:
    """A copy of `training` that holds only ops `backend` has an emitter for.

    `rewrite` is run on each graph and body after that, for what pays on this backend alone; it says
    whether it changed anything.  A graph that was changed is optimized again.  Where `init` is in
    the terms of another backend, which is the rule, `host` is that one.  What a function takes and
    returns besides the state is f32 where the program has bf16.  Steps recompute what the program
    asks for; nothing may change their graphs after that, as the order of nodes counts.
    """

    pipeline = pipeline_of(training)

    def fit(graph: Graph, to: Backend, rewrite: Callable[[Graph], bool]) -> None:
        expanded = pipeline.apply(
            "legalize", graph, lambda graph: legalize(graph, to.emitters.keys(), to.name)
        )
        changed = pipeline.apply("rewrite", graph, lambda graph: _rewrite_all(graph, rewrite))
        if changed or expanded:
            pipeline.run(graph)

    def run(graph: Graph) -> None:
        cross_in_f32(graph, training.state)
        fit(graph, backend, rewrite)

    def run_initial(graph: Graph) -> None:
        assert host is not None
        fit(graph, host, host.rewrite)

    legal = map_graphs(training, run, run_initial if host else run)
    return rematerialized(legal, backend, pipeline)


def rematerialized(training: Training, backend: Backend, pipeline: Pipeline) -> Training:
    """A copy of the legal `training` whose steps recompute what the program asks for."""

    def changed(step: Step) -> Step:
        keeps = backend.keeps(step) if isinstance(backend, Measuring) else 0
        graph = rematerialize(step, backend.name, keeps)
        if graph is not step.graph:
            legalize(graph, backend.emitters.keys(), backend.name)  # of barriers
            pipeline.after("remat", graph)
        return replace(step, graph=graph)

    return map_steps(training, changed)


def _rewrite_all(graph: Graph, rewrite: Callable[[Graph], bool]) -> bool:
    """`rewrite` of `graph` and its bodies, innermost first."""
    changed = False

    def on_body(body: Graph) -> None:
        nonlocal changed
        changed |= _rewrite_all(body, rewrite)

    run_on_bodies(graph, on_body)
    return rewrite(graph) or changed


def load_source(path: str | Path) -> types.ModuleType:
    """The emitted file at `path` as a module, which `sys.modules` does not keep."""
    path = Path(path)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise error("E0905", f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    before = sys.dont_write_bytecode
    sys.dont_write_bytecode = True
    try:
        spec.loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = before
    return module
