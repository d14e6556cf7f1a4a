"""What the loop of a forward pass keeps, so that the loop of its backward pass need not compute it.

    for t in range(4):                              for t in range(4):
        h = gelu(a)                                     h, slope = gelu_with_slope(a)
        kept.append(a)                    ->            kept.append(slope)
    for t in reversed(range(4)):                    for t in reversed(range(4)):
        _, slope = gelu_with_slope(kept.pop())          slope = kept.pop()

Where no loops are around them, the rules of `rewrites` see both in one graph.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from nnc.backend import OpenLoop
from nnc.ir.graph import Graph, Node, Value


class Rule(NamedTuple):
    """How a backward loop is spared an op that reads what a forward loop has stacked."""

    place: int  # the operand that was stacked
    name: str  # of what is stacked for it
    keep: Callable[[OpenLoop, Value], Value | None]  # in the forward loop: what to stack for it
    use: Callable[[OpenLoop, Node, Value], None]  # in the backward loop: what it is for


def keep_for_gradients(graph: Graph) -> bool:
    """True if there was anything to keep."""
    changed = False
    while any(spare(graph, loop, node) for loop, node in candidates(graph)):
        changed = True
    return changed


def candidates(graph: Graph) -> Iterator[tuple[Node, Node]]:
    """Loops, each with a node of its body for which there is a rule."""
    for loop in graph:
        if loop.op == "scan":
            yield from ((loop, node) for node in loop.attrs["body"] if node.op in RULES)


def spare(graph: Graph, loop: Node, node: Node) -> bool:
    """Let a forward loop keep what the backward `loop` has `node` for; whether one could."""
    rule = RULES[node.op]
    stack = stack_of(graph, loop, node.operands[rule.place])
    if stack is None:
        return False
    forward = OpenLoop(graph, graph.producer(stack))
    kept = rule.keep(forward, forward.output(stack.index))
    if kept is None:
        return False
    index = forward.add_stack(kept, 0, rule.name)
    whole = forward.settle()[index]
    backward = OpenLoop(graph, loop)
    rule.use(backward, node, backward.add_sequence(whole, 0, rule.name))
    drop(backward.body, node)
    backward.settle()
    return True


def drop(body: Graph, node: Node) -> None:
    """Remove a node that nothing reads any more, so that no rule finds it again."""
    if not body.nx.out_degree(node.id) and all(v.node != node.id for v in body.outputs.values()):
        body.remove(node.id)


def stack_of(graph: Graph, loop: Node, value: Value) -> Value | None:
    """The stack of another loop of which `value`, of the body of `loop`, is what that one stacked
    in the same round.  Nothing else reads it."""
    sequence = OpenLoop(graph, loop).sequence(value)
    if sequence is None:
        return None
    stack, axis = sequence[0].value, sequence[1]
    other = graph.producer(stack)
    number = stack.index - other.attrs["carries"] if other.op == "scan" else -1
    is_same = number >= 0 and other.attrs["out_axes"][number] == axis
    is_read_once = len(graph.users(stack)) == 1 and stack not in graph.outputs.values()
    return stack if is_same and is_read_once else None


# ---------------------------------------------------------------- the rules
def slope(forward: OpenLoop, x: Value) -> Value | None:
    """The derivative of gelu(x), where the loop computes this."""
    gelus = [user for user, _ in forward.body.users(x) if user.op == "gelu"]
    if not gelus:
        return None
    y, derivative = forward.inner.tensor(x).emit("gelu_with_slope")
    for node in gelus:
        forward.replace(Value(node.id), y.value)
        drop(forward.body, node)
    result: Value = derivative.value
    return result


def by_slope(backward: OpenLoop, node: Node, derivative: Value) -> None:
    backward.replace(Value(node.id, 1), derivative)


def weights(forward: OpenLoop, logsumexp: Value) -> Value | None:
    """The weights of an attention, where only its gradient reads the log-sum-exp."""
    node = forward.body.producer(logsumexp)
    if node.op != "attention" or forward.body.users(logsumexp):
        return None
    q, *others = (forward.inner.tensor(value) for value in node.operands)
    y, p = q.emit("attention_with_weights", *others, **node.attrs)
    forward.replace(Value(node.id), y.value)
    result: Value = p.value
    return result


def by_weights(backward: OpenLoop, node: Node, p: Value) -> None:
    dy, *others, _ = (backward.inner.tensor(value) for value in node.operands)
    kept = backward.inner.tensor(p)
    made = dy.emit("attention_weights_grad", *others, kept, **node.attrs)
    for index, result in enumerate(made):
        backward.replace(Value(node.id, index), result.value)


RULES = {
    "gelu_with_slope": Rule(0, "slope", slope, by_slope),
    "attention_grad": Rule(-1, "weight", weights, by_weights),
}
