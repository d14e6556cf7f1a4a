"""What outlives a graph: weights, their initial values, which instances exist.

All graphs of one `train` section share one `World`.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nnc.elaborate.layers import Layers, Stacking
from nnc.elaborate.values import Template
from nnc.ir.dims import Poly
from nnc.ir.graph import Graph, Origin
from nnc.ir.program import StateEntry
from nnc.ir.types import TensorType
from nnc.language.tree import Source, Span

if TYPE_CHECKING:
    from nnc.elaborate.data import Data

MAX_WEIGHTS = 10_000  # tensors of weights and buffers
MAX_PARAMETERS = 20_000_000_000  # numbers in them


@dataclass
class Application:
    """The first use of an instance: its argument types, to build `forward` from."""

    template: Template
    arguments: list[tuple[str, TensorType, tuple[str | None, ...]]]
    span: Span

    @property
    def is_open(self) -> bool:
        """Whether a size of an argument is a symbol, as that of a batch of any size."""
        return any(isinstance(dim, Poly) for _, type, _ in self.arguments for dim in type.shape)


class AllApplied(Exception):
    """All instances that were awaited have arguments of open sizes: nothing more is asked."""


@dataclass
class World:
    """What all graphs of one training share."""

    data: Data
    state: dict[str, StateEntry] = field(default_factory=dict)
    names: dict[str, tuple[str | None, ...]] = field(default_factory=dict)  # axis labels of state
    declared: dict[str, Span] = field(default_factory=dict)
    layers: dict[str, tuple[Layers, ...]] = field(default_factory=dict)  # of paths with stars
    initial: dict[Hashable, Graph] = field(default_factory=dict)  # by what they compute
    applications: dict[str, Application] = field(default_factory=dict)
    called: set[str] = field(default_factory=set)  # names of the blocks and functions that ran
    origins: dict[tuple[Source, int, str], Origin] = field(default_factory=dict)
    defined: set[int] = field(default_factory=set)  # offsets of the definitions that ran
    open_sizes: frozenset[str] = frozenset()  # symbols that may size weights
    exhausted: bool = False  # a graph has had more calls than any may have
    weights: int = 0  # tensors of weights and buffers
    parameters: int = 0  # numbers in the weights
    steps: int | None = None
    epochs: int | None = None
    steps_per_epoch: int | None = None
    stacking: Stacking | None = None  # where a `repeat` may become a loop
