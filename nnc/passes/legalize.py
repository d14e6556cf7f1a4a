"""Makes a graph fit for a backend: composites that it does not spell become core ops.

Which ops are legal is not said twice: they are the keys of the backend's emitter table.  Runs after
differentiation, since a composite may have a better gradient than its decomposition.
"""

from __future__ import annotations

from collections.abc import Collection

from nnc.ir.builder import Tensor
from nnc.ir.graph import Graph, Node
from nnc.language.diagnostics import NncError, error
from nnc.ops.registry import OPS
from nnc.passes.base import Rewriter, bodies, run_on_bodies

#: what only differentiation reads: the value is the first operand, where nothing spells them
MARKERS = ("stop_gradient", "with_gradient", "on_gradient")


def has_markers(graph: Graph) -> bool:
    """Whether `graph` or a body in it says where gradients go."""
    return any(
        node.op in MARKERS or any(has_markers(body) for _, body in bodies(node)) for node in graph
    )


def legalize(graph: Graph, native: Collection[str], backend: str = "this backend") -> bool:
    """Expand in place every composite that is not `native`, also inside bodies and expansions.

    True if any was expanded.  NncError E0903 for an op that is neither native nor a composite.
    """
    expanded = False

    def on_body(body: Graph) -> None:
        nonlocal expanded
        expanded |= legalize(body, native, backend)

    run_on_bodies(graph, on_body)
    rewriter = Rewriter(graph)
    for node in rewriter:
        if node.op in MARKERS and node.op not in native:
            rewriter.replace_node(node, rewriter.operands(node)[:1])
        elif node.op not in native and node.op != "input":
            rewriter.replace_node(node, expansion(rewriter, node, backend))
            expanded = True
    return expanded


def expansion(rewriter: Rewriter, node: Node, backend: str) -> tuple[Tensor, ...]:
    """The results of `node` from the ops that it is made of."""
    decompose = OPS[node.op].decompose
    if decompose is None:
        raise unsupported(node, backend)
    with rewriter.builder.at(node.origin):
        results = decompose(*rewriter.operands(node), **node.attrs)
    return results if isinstance(results, tuple) else (results,)


def unsupported(node: Node, backend: str) -> NncError:
    where = f"{node.origin[0].file}:{node.origin[0].line}: " if node.origin else ""
    reason = (
        "the autodiff pass expands it, and has not run on this graph"
        if node.op == "gradient"
        else "it has no emitter for it, and the op has no decomposition"
    )
    return error("E0903", f"{where}the backend `{backend}` cannot spell `{node.op}`: {reason}")
