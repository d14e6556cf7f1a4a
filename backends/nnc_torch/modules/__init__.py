"""A program's nets as a tree of `nn.Module`s, for inference and for training by other means."""

from nnc_torch.modules.classes import class_texts
from nnc_torch.modules.model import forward_text, method_names

__all__ = ["class_texts", "forward_text", "method_names"]
