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


NATIVE, DECOMPOSED, DROPPED, REFUSED = "native", "decomposed", "dropped", "refused"


def treatment(op: str, native: Collection[str]) -> str:
    """What becomes of `op` on the way to a backend that spells the ops of `native`."""
    if op in native or op == "input":  # an input is an argument of the function
        return NATIVE
    if op in MARKERS:
        return DROPPED
    return DECOMPOSED if OPS[op].composite else REFUSED


def reason(op: str) -> str:
    """Why a backend that does not spell `op` refuses it."""
    if op == "gradient":
        return "the autodiff pass expands it, and has not run on this graph"
    return "it has no emitter for it, and the op has no decomposition"


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
        what = treatment(node.op, native)
        if what == REFUSED:
            raise unsupported(node, backend)
        if what == DROPPED:
            rewriter.replace_node(node, rewriter.operands(node)[:1])
        elif what == DECOMPOSED:
            rewriter.replace_node(node, expansion(rewriter, node))
            expanded = True
    return expanded


def expansion(rewriter: Rewriter, node: Node) -> tuple[Tensor, ...]:
    """The results of the composite `node` from the ops that it is made of."""
    decompose = OPS[node.op].decompose
    assert decompose is not None
    with rewriter.builder.at(node.origin):
        results = decompose(*rewriter.operands(node), **node.attrs)
    return results if isinstance(results, tuple) else (results,)


def unsupported(node: Node, backend: str) -> NncError:
    where = f"{node.origin[0].file}:{node.origin[0].line}: " if node.origin else ""
    return error(
        "E0903", f"{where}the backend `{backend}` cannot spell `{node.op}`: {reason(node.op)}"
    )
