"""The spellings of normalization and attention, for which PyTorch has kernels.

What a kernel leaves for its backward is read where it is wanted alone: where it is not, the plain
function of `torch.nn.functional` stands, through which autograd goes too.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from nnc.backend import Rewriter, expansion
from nnc.emit import Expr, Printer, Statement
from nnc.emit.spellings import dims_text
from nnc.ir.builder import Tensor
from nnc.ir.dims import equal
from nnc.ir.graph import Node, Value
from nnc_torch import kernels
from nnc_torch.spatial import settle


@dataclass(frozen=True)
class Moment(Expr):
    """A moment of each sample; `whole` is the variable that has it with an axis of 1 behind."""

    whole: str = ""


def wanted(printer: Printer, node: Node) -> dict[str, str]:
    """The option that says which of the results are read, where it is not all of them."""
    flags = tuple(bool(printer.uses[Value(node.id, i)]) for i in range(len(node.types)))
    return {} if all(flags) else {"wanted": str(flags)}


def is_left(printer: Printer, node: Node) -> bool:
    """Whether anything reads the results after the first."""
    return any(printer.uses[Value(node.id, i)] for i in range(1, len(node.types)))


def operands(printer: Printer, node: Node) -> list[Expr]:
    return [printer.dialect.strong(printer.read(value)) for value in node.operands]


# ---------------------------------------------------------------- normalization
def print_layer_norm(printer: Printer, node: Node) -> None:
    x, gain, bias = operands(printer, node)
    shape = Expr(dims_text(node.types[0].shape[-1:]))
    eps = printer.dialect.literal(node.attrs["eps"], "f64")
    if not is_left(printer, node):
        settle(printer, node, call("F.layer_norm", x, shape, gain, bias, eps))
        return
    made = call("torch.native_layer_norm", x, shape, gain, bias, eps)
    printer.unpack(node, made)
    for index in (1, 2):
        whole = printer.read(Value(node.id, index)).text
        printer.bind(Value(node.id, index), Moment(f"{whole}[..., 0]", whole=whole))


def print_layer_norm_grad(printer: Printer, node: Node) -> None:
    *others, mean, rstd = operands(printer, node)
    moments = [
        Expr(read.whole) if isinstance(read, Moment) else printer.dialect.subscript(x, places)
        for read, x, places in (
            (printer.read(value), x, ["...", "None"])
            for value, x in zip(node.operands[3:], (mean, rstd), strict=True)
        )
    ]
    name = printer.helper(kernels.layer_norm_grad)
    printer.unpack(node, call(name, *others, *moments, **wanted(printer, node)))


def print_batch_norm(printer: Printer, node: Node) -> None:
    eps = printer.dialect.literal(node.attrs["eps"], "f64")
    name = printer.helper(kernels.batch_norm)
    printer.unpack(node, call(name, *operands(printer, node), eps))


def print_batch_norm_grad(printer: Printer, node: Node) -> None:
    eps = printer.dialect.literal(node.attrs["eps"], "f64")
    name = printer.helper(kernels.batch_norm_grad)
    made = call(name, *operands(printer, node), eps, **wanted(printer, node))
    printer.unpack(node, made)


def call(name: str, *xs: Expr, **options: str) -> Expr:
    """A call of numbers and arrays, numbers as they stand."""
    parts = [x.text for x in xs] + [f"{key}={value}" for key, value in options.items()]
    return Expr(f"{name}({', '.join(parts)})", size=1 + sum(x.size for x in xs))


# ---------------------------------------------------------------- attention
def options_of(node: Node) -> dict[str, str]:
    options = {"scale": repr(node.attrs["scale"])}
    return {**options, "causal": "True"} if node.attrs["causal"] else options


def in_parts(rewriter: Rewriter, node: Node) -> tuple[Tensor, ...] | None:
    """Attention that is differentiated, and whose q, k and v are not [N, H, T, D], for which alone
    the kernel for CPUs has a backward."""
    graph = rewriter.graph
    first = int(node.op == "attention_grad")
    q, _, v = (graph.type(value) for value in node.operands[first : first + 3])
    has_kernel = q.rank == 4 and equal(q.shape[-1], v.shape[-1]) is True
    is_read = first or graph.users(Value(node.id, 1)) or rewriter.is_output(Value(node.id, 1))
    return None if has_kernel or not is_read else expansion(rewriter, node)


def attention(function: Callable[..., Any]) -> Statement:
    """The statement of an attention; `function` is the one that gives the log-sum-exp too."""

    def emit(printer: Printer, node: Node) -> None:
        if not is_left(printer, node):
            settle(printer, node, plain_attention(printer, node))
            return
        name = printer.helper(function)
        printer.unpack(node, call(name, *operands(printer, node), **options_of(node)))

    return emit


print_attention = attention(kernels.attention)
#: autograd goes through the log-sum-exp, too, of the parts
print_module_attention = attention(kernels.attention_by_parts)


def plain_attention(printer: Printer, node: Node) -> Expr:
    """y alone: `F.scaled_dot_product_attention(q, k, v, is_causal=True)`."""
    scale, causal = node.attrs["scale"], node.attrs["causal"]
    if len(node.operands) == 4:
        name = printer.helper(kernels.masked_attention)
        return call(name, *operands(printer, node), **options_of(node))
    depth = printer.graph.type(node.operands[0]).shape[-1]
    is_default = isinstance(depth, int) and math.isclose(scale, depth**-0.5, rel_tol=1e-15)
    options = {"is_causal": "True"} if causal else {}
    if not is_default:
        options["scale"] = repr(scale)
    name = "F.scaled_dot_product_attention"
    return call(name, *operands(printer, node), **options)


def print_attention_grad(printer: Printer, node: Node) -> None:
    dy, q, k, v, *mask, y, logsumexp = operands(printer, node)
    name = printer.helper(kernels.attention_grad)
    made = call(name, dy, q, k, v, y, logsumexp, *mask, **options_of(node))
    printer.unpack(node, made)
