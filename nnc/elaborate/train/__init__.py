"""`train` sections: from settings and definitions to a `Training` (semantics 12 to 18)."""

from nnc.elaborate.train.section import TrainBuilder

__all__ = ["TrainBuilder"]
