"""What a matcher of a formula gives."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from nnc.ir.builder import Tensor
from nnc.ir.graph import Node, Value


@dataclass
class Found:
    """The composite whose first result is that of `root`.

    `known` are values inside the formula that are results of the composite, by their index.
    """

    root: Node
    op: str
    operands: list[Tensor]
    attrs: dict[str, Any]
    known: list[tuple[Value, int]] = field(default_factory=list)
