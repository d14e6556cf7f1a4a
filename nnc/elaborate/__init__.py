"""From the tree to graphs: names, calls, parameters, shapes, and the `train` sections."""

from nnc.elaborate.check import Compiled, check, check_text, load

__all__ = ["Compiled", "check", "check_text", "load"]
