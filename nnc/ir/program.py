"""What elaboration makes of one `train` section: graphs, state and plan, free of syntax.

This is all that passes, backends and the training loop know of a program.

Graph inputs have a kind: "state" (name = path of a weight, buffer or optimizer moment), "batch"
(name = `source.field`), "scalar" (name = key of the dict that `scalars(...)` gives), "argument"
(name = input of a model, in `forward` graphs) and "accumulator" (in `finish` graphs).  Outputs of a
step graph: the path of each state entry that it changes, `@loss`, `@metrics/NAME`, and `@skipped`,
which is 1 where the step left all of the state but the loss scale as it was.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from nnc.ir.graph import Graph, Origin
from nnc.ir.host import HostExpr
from nnc.ir.types import TensorType

#: what paths of the state begin with that are no names of the program: moments, loss scales
STATE_PREFIXES = ("@opt/", "@scale/")


def is_result(output: str) -> bool:
    """Whether an output of a step is a result for the caller rather than new state."""
    return output.startswith("@") and not output.startswith(STATE_PREFIXES)


@dataclass
class StateEntry:
    """One array of the state; `init` maps the u64 scalar input `seed` to the output `value`.

    A path with stars stands for all that have numbers there: what they hold lies in one array,
    whose first axes are `layers`.
    """

    path: str
    type: TensorType
    kind: str  # "param", "buffer", "optimizer" or "scale"
    init: Graph
    origin: Origin | None = None
    layers: tuple[int, ...] = ()

    @property
    def paths(self) -> list[str]:
        """All that the path stands for, the last number counting fastest."""
        return numbered(self.path, self.layers)


def numbered(path: str, layers: tuple[int, ...]) -> list[str]:
    """`path` with each choice of numbers below `layers` for its stars."""
    paths = [path]
    for size in layers:
        paths = [one.replace("*", str(number), 1) for one in paths for number in range(size)]
    return paths


#: what `remat` can be
POLICIES = ("none", "auto", "full")


@dataclass(frozen=True)
class Remat:
    """What a step computes twice to take less memory: see `nnc.passes.remat`.

    One of `POLICIES`, or, with a `budget` in bytes, whatever makes the step fit.  `place` is where
    the program says so, for messages.
    """

    policy: str = "auto"
    budget: int | None = None
    place: Any = None


@dataclass
class Step:
    """One `step` section (or the section that stands for it): a graph run `times` times a cycle."""

    name: str
    graph: Graph
    scalars: dict[str, HostExpr]
    times: int = 1
    optimizers: tuple[str, ...] = ()
    remat: Remat | None = None


@dataclass
class Phase:
    """`count` cycles over `steps`."""

    name: str
    count: int
    steps: list[Step]


@dataclass
class Evaluation:
    """Metrics over a whole split, every sample once (semantics 18).

    `batch` (batch size symbolic) gives accumulators; `merge[name]` says how those of several
    batches combine: "sum", "max", "min" or "collect" (concatenated along axis 0).  `finish` turns
    the merged ones into `@loss` and `@metrics/NAME`.
    """

    name: str
    source: str
    split: str
    batch: Graph
    merge: dict[str, str]
    finish: Graph
    scalars: dict[str, HostExpr] = field(default_factory=dict)
    every: int | None = None  # steps; None: once an epoch


@dataclass
class Forward:
    """Inference of one instance: arguments -> `output`, or the fields of a record.

    `graph` is flat; `structured` computes the same with a `call` for each instance, nested as the
    blocks are.
    """

    name: str
    graph: Graph
    structured: Graph


@dataclass
class Stop:
    """`patience`: stop when `metric` of `split` has not improved for `steps` steps."""

    metric: str
    split: str
    steps: int
    mode: str = "min"


@dataclass
class IndexBound:
    """Values of `source.field` index an axis of size `size`; checked against the data first."""

    source: str
    field: str
    size: int
    origin: Origin | None = None


@dataclass
class Load:
    """Weights below the path `into` ("" for all) that begin as those of a safetensors file.

    `part` is where they stand in the file (None: below `into` too, else at its top).  With
    `strict` the file must have every one of them; without, those that fit are taken.
    """

    file: str
    into: str
    strict: bool = True
    part: str | None = None


@dataclass
class Training:
    """A whole `train` section."""

    name: str
    state: dict[str, StateEntry]
    phases: list[Phase]
    evaluations: list[Evaluation]
    forwards: list[Forward]
    sources: dict[str, Any]  # name -> nnc.data.Source
    clock: str
    steps_per_epoch: int
    seed: int = 0
    stop: Stop | None = None
    bounds: list[IndexBound] = field(default_factory=list)
    loads: list[Load] = field(default_factory=list)
    file: str = ""
    doc: str = ""
    remarks: list[str] = field(default_factory=list)  # what was asked for and could not be done
    pipeline: Any = None  # the nnc.passes.pipeline.Pipeline to go through; None: the default

    def graphs(self) -> Iterator[Graph]:
        """The graphs of steps, evaluations and inference."""
        yield from (step.graph for phase in self.phases for step in phase.steps)
        for evaluation in self.evaluations:
            yield from (evaluation.batch, evaluation.finish)
        yield from (forward.graph for forward in self.forwards)

    @property
    def dtypes(self) -> set[str]:
        """The element types of all values in steps, evaluations and inference."""
        return set().union(*(graph.dtypes for graph in self.graphs()))

    @property
    def state_dtypes(self) -> set[str]:
        return {entry.type.dtype for entry in self.state.values()}

    @property
    def steps(self) -> int:
        return sum(phase.count for phase in self.phases)
