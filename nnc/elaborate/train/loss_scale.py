"""Dynamic loss scaling, without which small gradients vanish in f16 and large ones overflow.

Micikevicius et al., "Mixed Precision Training" (ICLR 2018): the loss is multiplied before it is
differentiated and the gradients divided after.  A step whose gradients overflow changes nothing but
the scale, which halves; after `PATIENCE` good steps in a row it doubles.  All of it is in the
graph, so every backend skips the same steps.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from nnc.elaborate.context import Context
from nnc.elaborate.values import TensorValue, WeightsValue
from nnc.ir.builder import Builder, Tensor
from nnc.ir.graph import Graph
from nnc.ir.program import StateEntry
from nnc.ir.types import TensorType
from nnc.language.tree import Span

START, LARGEST, PATIENCE = 2.0**16, 2.0**24, 2000
#: At a scale of 1 an overflow is no fault of the scale: the step is not skipped, and training ends
#: with the error that names the operation.
LEAST = 1.0


@dataclass
class LossScale:
    """The loss scale of one step section; graph nodes that it makes come from `span`."""

    cx: Context
    step: str
    span: Span
    skipped: Tensor = field(init=False)

    def __post_init__(self) -> None:
        with self.cx.at(self.span):
            self.scale = self._entry("scale", START, "f32")
            self.good = self._entry("good_steps", 0, "i32")
            self.skipped: Tensor

    def _entry(self, name: str, start: float, dtype: str) -> Tensor:
        path, type = self._path(name), TensorType(dtype)
        init = Builder(Graph(f"init {path}"), self.cx.origin(self.span))
        init.graph.outputs["value"] = init.const(start, dtype).value
        origin = self.cx.origin(self.span)[0]
        self.cx.world.state[path] = StateEntry(path, type, "scale", init.graph, origin)
        self.cx.world.names[path] = ()
        return self.cx.input(path, type, "state")

    def _path(self, name: str) -> str:
        return f"@scale/{self.step}/{name}"

    # ------------------------------------------------------------ gradients
    def scaled(self, loss: TensorValue) -> TensorValue:
        with self.cx.at(self.span):
            return loss.with_tensor(loss.tensor.cast("f32") * self.scale)

    def unscaled(self, gradients: WeightsValue) -> WeightsValue:
        with self.cx.at(self.span):
            found = {
                path: gradient.with_tensor(gradient.tensor.cast("f32") / self.scale)
                for path, gradient in gradients.leaves.items()
            }
        for path, gradient in found.items():
            self._name(gradient.tensor, f"unscaled_{path}")
        return WeightsValue(found)

    def _name(self, tensor: Tensor, name: str) -> None:
        tensor.builder.graph.producer(tensor.value).name = name

    # ------------------------------------------------------------ skipping
    def update(self, gradients: WeightsValue) -> dict[str, Tensor]:
        """Output -> value: the new scale, and whether the step is skipped."""
        with self.cx.at(self.span):
            self.skipped = self._overflows(gradients).binary("and", self.scale > LEAST)
            self._name(self.skipped, "skipped")
            good = self.good + 1
            ready = good >= PATIENCE
            larger = (self.scale * 2.0).binary("minimum", LARGEST)
            scale = self.skipped.where(self.scale * 0.5, ready.where(larger, self.scale))
            good = self.skipped.binary("or", ready).where(0, good)
            self._name(scale, "new_scale")
            skipped = self.skipped.cast("f32")
        return {self._path("scale"): scale, self._path("good_steps"): good, "@skipped": skipped}

    def _overflows(self, gradients: WeightsValue) -> Tensor:
        """Whether any gradient is infinite or nan, as then the largest of all is."""
        largest: Tensor | None = None
        for gradient in gradients.leaves.values():
            size = gradient.tensor.emit("abs")
            top = size.max(tuple(range(size.rank)))
            largest = top if largest is None else largest.binary("maximum", top)
        assert largest is not None
        self._name(largest, "largest")
        finite: Tensor = largest.emit("is_finite")
        overflows: Tensor = finite.emit("not")
        return overflows

    def kept(self, path: str, new: Tensor) -> Tensor:
        """`new`, or what stands at `path` where the step is skipped."""
        with self.cx.at(self.span):
            old = self.cx.input(path, new.type, "state")
            return self.skipped.expand(new.shape).where(old, new)
