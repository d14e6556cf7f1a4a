"""nnc from Python: the same programs, graphs and emitted source as on the command line.

program = nnc.load("model.nn", hidden=128)
model = program.compile("numpy")
state = model.init(seed=0)
state, out = model.step(state, model.batch(0))
model.predict(state, x)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nnc import backend as backends
from nnc.elaborate import load as elaborate
from nnc.ir.program import Forward, Training
from nnc.language.diagnostics import error, suggest
from nnc.passes.pipeline import STANDARD, Pipeline, optimize_training, select, uncollected
from nnc.train import checkpoint, session
from nnc.train.checkpoint import Checkpoint
from nnc.train.evaluate import Scores, evaluate
from nnc.train.initial import initial_state
from nnc.train.layers import stack
from nnc.train.loop import Result
from nnc.train.module import execution, forward_of, plan
from nnc.train.progress import Display
from nnc.train.rundir import RunDir


def load(path: str | Path, **config: Any) -> Program:
    """Read and check the program at `path`; `config` sets its `config` values (`hidden=128`).

    Raises `NncError`, whose `diagnostics` are all errors of the program.
    """
    texts = {name: _text(value) for name, value in config.items()}
    return Program(Path(path), texts)


class Program:
    """A checked program, of which trainings can be compiled."""

    def __init__(self, path: Path, overrides: Mapping[str, str]):
        self.path = path
        self.overrides = dict(overrides)
        self._compiled = elaborate(str(path), overrides=self.overrides)

    @property
    def trainings(self) -> list[str]:
        """The names of the program's `train` sections."""
        return list(self._compiled.trainings)

    def expanded(self) -> str:
        """The program with every default written out."""
        return self._compiled.expanded()

    def training(
        self,
        train: str | None = None,
        *,
        seed: int | None = None,
        epochs: int | None = None,
        steps: int | None = None,
        stack_layers: bool = False,
        pipeline: Pipeline = STANDARD,
    ) -> Training:
        """The graphs and data of one `train` section (the only one by default).

        With `stack_layers` a `repeat` of equal layers is a loop over stacked weights; `remarks` of
        the training say which could not be.
        """
        return self._compiled.training(
            train,
            seed=seed,
            epochs=epochs,
            steps=steps,
            stack_layers=stack_layers,
            pipeline=pipeline,
        )

    def compile(
        self,
        backend: str = "numpy",
        train: str | None = None,
        *,
        seed: int | None = None,
        epochs: int | None = None,
        steps: int | None = None,
        device: str | None = None,
        stack_layers: bool = False,
        compile: bool = False,
        pipeline: Pipeline = STANDARD,
    ) -> Model:
        """One `train` section as source for `backend`, loaded; `device` as in `nnc backends`.

        `stack_layers` as in `training`: checkpoints are the same with it and without.
        With `compile` the steps go through torch.compile, for a minute at their first call.
        `pipeline` is what its graphs go through: `Pipeline(select(without=["loops"]))`.
        """
        chosen = backends.get(backend)
        if device is not None:
            backends.require_device(chosen, device)
        compiler = backends.compiler_of(chosen) if compile else ""
        with uncollected():
            training = self.training(
                train,
                seed=seed,
                epochs=epochs,
                steps=steps,
                stack_layers=stack_layers,
                pipeline=pipeline,
            )
            optimize_training(training)
            source = backends.source_of(training, chosen, device)
        settings = {
            "program": str(self.path.resolve()),
            "train": training.name,
            "backend": backend,
            "set": self.overrides,
            "seed": training.seed,
            "epochs": epochs,
            "steps": steps,
            "device": device,
            "stack_layers": stack_layers,
            "compile": compile,
            "passes": pipeline.names,
        }
        expanded = self.expanded()
        return Model(session.Session(training, source, backend, expanded, settings, compiler))


class Model:
    """A compiled training: its source, and its functions with the scalars filled in."""

    def __init__(self, run: session.Session):
        self.session = run
        self.training = run.training
        self.source = run.source
        self.module = run.load(f"train_{run.backend}.py")
        self._plan = plan(self.module, run.training)
        self._executed = 0

    def init(self, seed: int | None = None) -> Any:
        """A fresh state, a dict path -> array; `step` counts from 0 again."""
        self._executed = 0
        return initial_state(self.training, self._plan, seed)

    def batch(self, index: int) -> dict[str, np.ndarray]:
        """The training batches number `index` of all sources, as `source.field` -> array."""
        merged: dict[str, np.ndarray] = {}
        for source in self.training.sources.values():
            merged |= source.train_batch(index, self.training.seed)
        return merged

    def step(
        self, state: Any, batch: Mapping[str, Any], *, at: int | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Execute the next step section on `batch`; `state` is consumed.

        Schedules, bias corrections and random draws follow a count of executed steps that the
        model keeps, or `at` (from 0) where it is given.  The outputs are "loss" and "metrics/NAME".
        """
        if at is not None:
            self._executed = at
        step, cycle, updates = execution(self._plan, self._executed)
        scalars = step.scalars(cycle, updates, self.training.seed, self._executed)
        self._executed += 1
        with np.errstate(all="ignore"):
            return step.run(state, batch, scalars)

    def predict(self, state: Any, *inputs: Any, instance: str | None = None, **named: Any) -> Any:
        """The output of a model (the first one by default), for inputs in order or by name."""
        function, forward = forward_function(self.module, self.training, instance)
        return function(self.native(state), *bind(forward, inputs, named).values())

    def evaluate(self, state: Any, split: str = "val") -> Scores:
        """Loss and metrics over a whole split of the data."""
        found = {p.evaluation.split: p for p in reversed(self._plan.evaluations)}
        if split not in found and not found:
            raise error("E0707", "the program evaluates nothing: it has one part of data only")
        chosen = found.get(split) or next(iter(found.values()))
        source = self.training.sources[chosen.evaluation.source]
        if split not in source.parts:
            parts = ", ".join(f"`{part}`" for part in source.parts)
            raise error("E0707", f"the data has no part `{split}`: its parts are {parts}")
        counters = {"step": 0, "updates": 0, "draw": 0, "seed": self.training.seed}
        with np.errstate(all="ignore"):
            return evaluate(chosen, self.native(state), source, counters, split)

    def train(
        self,
        out: str | Path | None = None,
        *,
        resume: str | Path | None = None,
        display: Display | None = None,
        stop_requested: Callable[[], bool] = lambda: False,
    ) -> Result:
        """Run the whole training; files go into the new directory `out`, or on in `resume`."""
        if resume is not None:
            run_dir = RunDir.open(Path(resume))
            found, remarks = checkpoint.load_last(run_dir.path)
            for remark in remarks:
                (display or Display()).message(remark)
            return self.session.run(run_dir, found, display, stop_requested)
        new = RunDir.create(Path(out)) if out is not None else None
        return self.session.run(new, None, display, stop_requested)

    def load_state(self, path: str | Path) -> Any:
        """The weights in a checkpoint or in the directory of a run."""
        found, _ = session.find_checkpoint(Path(path))
        session.check_state(found.state, self.training)
        return self.native(found.state)

    def native(self, state: Any) -> Any:
        """`state` in the arrays of the backend's framework, be it so already or in NumPy's.

        NumPy's may be those of a checkpoint, which has stacked layers one by one.
        """
        if all(isinstance(value, np.ndarray) for value in state.values()):
            return self._plan.border.from_numpy(stack(state, self.training))
        return state


def from_checkpoint(
    found: Checkpoint, backend: str | None = None, device: str | None = None
) -> tuple[Model, list[str]]:
    """The model that wrote a checkpoint, compiled from its program again, and remarks.

    The weights must fit the program as it is now; that it changed otherwise is a remark.  It runs
    on the backend that trained it, on its default device, unless others are named.
    """
    settings = found.meta["settings"]
    program = Program(Path(settings["program"]), settings["set"])
    model = program.compile(
        backend or settings["backend"],
        settings["train"],
        seed=settings["seed"],
        epochs=settings["epochs"],
        steps=settings["steps"],
        device=device,
        stack_layers=settings.get("stack_layers", False),
        pipeline=Pipeline(select(settings.get("passes"))),
    )
    session.check_state(found.state, model.training)
    changed = model.session.changed(found)
    return model, [f"the {what} changed since the checkpoint was written" for what in changed]


def forward_function(
    module: Any, training: Training, instance: str | None
) -> tuple[Callable[..., Any], Forward]:
    """The emitted `forward` of an instance, on NumPy's arrays, and its graph."""
    by_name = {forward.name: forward for forward in training.forwards}
    if not by_name:
        raise error("E0707", "the program has no model to predict with")
    if instance is not None and instance not in by_name:
        raise error(
            "E0707",
            f"there is no model `{instance}` in `{training.name}`",
            help=suggest(instance, by_name) or f"there are: {', '.join(by_name)}",
        )
    forward = by_name[instance] if instance else training.forwards[0]
    functions = {entry["name"]: entry["function"] for entry in module.PROGRAM["forwards"]}
    return forward_of(module, functions[forward.name], training.file), forward


def arguments(forward: Forward) -> dict[str, Any]:
    """The inputs of a model in order: name -> type."""
    nodes = (forward.graph.node(id) for id in forward.graph.inputs)
    return {n.attrs["name"]: n.type for n in nodes if n.attrs["kind"] == "argument"}


def bind(
    forward: Forward, inputs: tuple[Any, ...], named: Mapping[str, Any]
) -> dict[str, np.ndarray]:
    """Inputs by name as arrays of the declared element types; an error where they do not fit."""
    from nnc.ir.narrow import held

    wanted = arguments(forward)
    given = {**dict(zip(wanted, inputs, strict=False)), **named}
    if len(inputs) > len(wanted) or given.keys() != wanted.keys():
        names = ", ".join(f"`{name}`: {type}" for name, type in wanted.items())
        raise error(
            "E0707", f"`{forward.name}` takes {names}; given: {', '.join(given) or 'nothing'}"
        )
    bound: dict[str, np.ndarray] = {}
    for name, type in wanted.items():
        array = np.asarray(given[name])
        if array.ndim != type.rank or any(
            isinstance(dim, int) and dim != size
            for dim, size in zip(type.shape, array.shape, strict=True)
        ):
            shape = list(array.shape)
            raise error("E0707", f"`{name}` of `{forward.name}` is {type}; given: shape {shape}")
        bound[name] = held(array, type.dtype)
    return bound


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
