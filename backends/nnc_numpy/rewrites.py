"""Rewrites of legal graphs that pay in NumPy alone.

They keep every value, but not the sign of a zero: what was -0.0 + 0.0 may be -0.0.
"""

from __future__ import annotations

from collections.abc import Callable

from nnc.backend import Rewriter, expansion, replace_lstms, splat
from nnc.ir.builder import Tensor
from nnc.ir.dims import Dim, equal
from nnc.ir.graph import Graph, Node, Value
from nnc.ir.types import SHORT_FLOATS
from nnc_numpy.dialect import NUMPY
from nnc_numpy.kept import keep_for_gradients
from nnc_numpy.masks import is_zero
from nnc_numpy.narrow import cast_there_and_back, hold_bf16_in_f32, product_in_f32

Rules = dict[str, list[Callable[[Rewriter, Node], Tensor | tuple[Tensor, ...] | None]]]


def rewrite_for_numpy(graph: Graph) -> bool:
    """`rewrite`, and what short floats are in NumPy; True if there was anything to rewrite."""
    emitters = frozenset({*NUMPY.emitters, *NUMPY.statements})
    layers = replace_lstms(Rewriter(graph), rewrite_for_numpy, emitters)
    short = rewrite(graph, SHORT)
    narrow = hold_bf16_in_f32(graph)
    several = [rewrite(graph, rules) for rules in (FIRST, SECOND, NARROW, RULES)]
    kept = keep_for_gradients(graph)
    return any(several) or kept or layers or short or narrow


def rewrite(graph: Graph, rules: Rules | None = None) -> bool:
    """Apply all of them in place; True if there was anything to rewrite."""
    rewriter = Rewriter(graph)
    changed = False
    for node in rewriter:
        for rule in (RULES if rules is None else rules).get(node.op, ()):
            with rewriter.builder.at(node.origin):
                result = rule(rewriter, node)
            if result is not None:
                results = result if isinstance(result, tuple) else (result,)
                rewriter.replace_node(node, results)
                changed = True
                break
    return changed


def one_place_each(rewriter: Rewriter, node: Node) -> Tensor | None:
    """Adding to one place in each row of zeros, the gradient of picking one, is a comparison."""
    x, index, update = rewriter.operands(node)
    axis = node.attrs["axis"]
    zero = splat(rewriter.graph, x.value)
    if zero is None or zero != 0 or equal(index.shape[axis], 1) is not True:
        return None
    rest = tuple(dim for a, dim in enumerate(x.shape) if a != axis)
    axes = tuple(a for a in range(x.rank) if a != axis)
    counts = rewriter.builder.emit("iota", shape=(x.shape[axis],), axis=0, dtype="i32")
    places = counts.broadcast(x.shape, (axis,))
    here = places.equals(index.reshape(rest).broadcast(x.shape, axes))
    result: Tensor = here.where(update.reshape(rest).broadcast(x.shape, axes), 0)
    return result


def sum_of_pads(rewriter: Rewriter, node: Node) -> Tensor | None:
    """Pieces padded with zeros and added up, the gradient of splitting, are joined."""
    graph = rewriter.graph
    if any(user.op == "add" for user, _ in graph.users(Value(node.id))):
        return None  # a part of a longer sum, which takes its turn
    pads = padded_terms(graph, node)
    if pads is None:
        return None
    moved = {axis for pad in pads for axis in _moved(pad)}
    if len(moved) != 1:
        return None
    (axis,) = moved
    pads.sort(key=lambda pad: pad.attrs["low"][axis])
    pieces = [rewriter.builder.tensor(pad.operands[0]) for pad in pads]
    end: Dim = 0
    for pad, piece in zip(pads, pieces, strict=True):
        if pad.attrs["low"][axis] != end:
            return None
        end += piece.shape[axis]
    if end != node.type.shape[axis]:
        return None
    result: Tensor = rewriter.builder.emit("concat", *pieces, axis=axis)
    return result


def padded_terms(graph: Graph, node: Node) -> list[Node] | None:
    """The terms of the sum `node`, where each is read by it alone and is padded by zeros."""
    terms: list[Node] = []
    stack = [graph.producer(value) for value in node.operands]
    while stack:
        term = stack.pop()
        if not graph.is_read_once(term.id):
            return None
        if term.op == "add":
            stack += [graph.producer(value) for value in term.operands]
        elif term.op == "pad" and term.attrs["value"] == 0 and _is_known(term):
            terms.append(term)
        else:
            return None
    return terms


def _moved(pad: Node) -> list[int]:
    sides = zip(pad.attrs["low"], pad.attrs["high"], strict=True)
    return [axis for axis, side in enumerate(sides) if side != (0, 0)]


def _is_known(pad: Node) -> bool:
    return all(isinstance(pad.attrs["low"][axis], int) for axis in _moved(pad))


def zero_by_result(rewriter: Rewriter, node: Node) -> Tensor | None:
    """The gradient of a relu by its result, which is positive where its argument is.

    The argument's array is free then.
    """
    graph = rewriter.graph
    condition = graph.producer(node.operands[0])
    if not node.type.is_float or condition.op != "le" or not is_zero(graph, node.operands[1]):
        return None
    x, zero = condition.operands
    if not is_zero(graph, zero) or graph.type(x) != node.type:
        return None
    for user, _ in graph.users(x):
        if user.op == "maximum" and user.operands[1] == x and is_zero(graph, user.operands[0]):
            _, nothing, dy = rewriter.operands(node)
            result: Tensor = (rewriter.builder.tensor(Value(user.id)) <= 0.0).where(nothing, dy)
            return result
    return None


def by_slope(rewriter: Rewriter, node: Node) -> Tensor | None:
    """The gradient of a gelu, by the derivative that is computed with its result."""
    dy, x = rewriter.operands(node)
    result: Tensor = dy * x.emit("gelu_with_slope")[1]
    return result


def with_slope(rewriter: Rewriter, node: Node) -> Tensor | None:
    """A gelu whose derivative is needed too."""
    users = [user.op for user, _ in rewriter.graph.users(node.operands[0])]
    if not {"gelu_grad", "gelu_with_slope"} & set(users):
        return None
    (x,) = rewriter.operands(node)
    result: Tensor = x.emit("gelu_with_slope")[0]
    return result


def by_weights(rewriter: Rewriter, node: Node) -> tuple[Tensor, ...] | None:
    """The gradient of an attention of this graph, by the weights that are computed with it."""
    dy, *operands, y, logsumexp = rewriter.operands(node)
    if rewriter.graph.producer(logsumexp.value).op != "attention":
        return None
    q, *others = operands
    _, p = q.emit("attention_with_weights", *others, **node.attrs)
    return tuple(dy.emit("attention_weights_grad", *operands, y, p, **node.attrs))


def with_weights(rewriter: Rewriter, node: Node) -> tuple[Tensor, ...] | None:
    """An attention whose weights are needed too."""
    graph = rewriter.graph
    y, logsumexp = Value(node.id), Value(node.id, 1)
    gradients = {"attention_grad", "attention_weights_grad"}
    users = {user.op for user, _ in graph.users(y)}
    if rewriter.is_output(logsumexp) or not gradients & users:
        return None
    if any(user.op not in gradients for user, _ in graph.users(logsumexp)):
        return None
    q, *others = rewriter.operands(node)
    mixed, _ = q.emit("attention_with_weights", *others, **node.attrs)
    return mixed, rewriter.builder.tensor(logsumexp)


def of_several(rewriter: Rewriter, node: Node) -> tuple[Tensor, ...] | None:
    """Composites of short floats in their parts, each of which rounds."""
    is_short = any(type.dtype in SHORT_FLOATS for type in node.types)
    return expansion(rewriter, node) if is_short else None


def pick_once(rewriter: Rewriter, node: Node) -> Tensor | None:
    """What is picked of a log_softmax that the gradient reads as a softmax, and that softmax."""
    graph, axis = rewriter.graph, node.attrs["axis"]
    logs = graph.producer(node.operands[0])
    others = [user for user, _ in graph.users(node.operands[0]) if user.id != node.id]
    is_last = axis == node.type.rank - 1 and equal(node.type.shape[axis], 1) is True
    if logs.op != "log_softmax" or logs.attrs["axis"] != axis or not is_last:
        return None
    if not others or any(user.op != "exp" for user in others):
        return None
    (x,), (_, index) = rewriter.operands(logs), rewriter.operands(node)
    picked, y = x.emit("pick_log_softmax", index.reshape(index.shape[:-1]))
    for user in others:
        rewriter.replace_node(user, (y,))
    result: Tensor = picked.reshape(node.type.shape)
    return result


def scattered(rewriter: Rewriter, value: Value) -> Node | None:
    """The node that adds to places of zeros, where `value` is its result."""
    node = rewriter.graph.producer(value)
    if node.op != "scatter_add_along" or not is_zero(rewriter.graph, node.operands[0]):
        return None
    return node


def sum_of_scattered(rewriter: Rewriter, node: Node) -> Tensor | None:
    """The sum over the axis along which something was added to zeros is its own."""
    scatter = scattered(rewriter, node.operands[0])
    if scatter is None or scatter.attrs["axis"] not in node.attrs["axes"]:
        return None
    update = rewriter.builder.tensor(scatter.operands[2])
    number = splat(rewriter.graph, update.value)
    summed = [update.shape[axis] for axis in node.attrs["axes"]]
    if number is not None and all(equal(dim, 1) is True for dim in summed):
        full: Tensor = rewriter.builder.full(number.item(), node.type.dtype, node.type.shape)
        return full
    result: Tensor = update.sum(node.attrs["axes"])
    return result


def negative(rewriter: Rewriter, x: Tensor) -> Tensor:
    """-x, where x is a product with a number by the number."""
    node = rewriter.graph.producer(x.value)
    if node.op == "mul":
        for place, other in ((0, 1), (1, 0)):
            number = splat(rewriter.graph, node.operands[place])
            if number is not None:
                return rewriter.builder.tensor(node.operands[other]) * -number.item()
    return -x


def add_to_places(rewriter: Rewriter, node: Node) -> Tensor | None:
    """Zeros with something added in places, less x or plus x, are x with it added there."""
    for place, value in enumerate(node.operands):
        scatter = scattered(rewriter, value)
        if scatter is None or (node.op == "sub" and place) or not node.type.is_float:
            continue
        if equal(rewriter.graph.type(scatter.operands[1]).shape[scatter.attrs["axis"]], 1) is True:
            x = rewriter.operands(node)[1 - place]
            x = negative(rewriter, x) if node.op == "sub" else x
            _, index, update = rewriter.operands(scatter)
            result: Tensor = x.emit("scatter_add_along", index, update, **scatter.attrs)
            return result
    return None


def stack_as_read(rewriter: Rewriter, node: Node) -> Tensor | None:
    """A product over the first two axes of two arrays, one of which a loop has stacked.

    The loop stacks it in the order of the other, so that no array is copied to be multiplied.
    """
    graph = rewriter.graph
    for side in (0, 1):
        value, contract = node.operands[side], node.attrs["contract"]
        scan = graph.producer(value)
        own, other = contract[side], contract[1 - side]
        if scan.op != "scan":
            continue
        stack = value.index - scan.attrs["carries"]
        is_crosswise = sorted(own) == [0, 1] and (other[0] < other[1]) != (own[0] < own[1])
        is_seen = rewriter.is_output(value) or len(graph.users(value)) > 1
        if stack < 0 or is_seen or not is_crosswise or scan.attrs["out_axes"][stack] > 1:
            continue
        axes, types = list(scan.attrs["out_axes"]), list(scan.types)
        axes[stack] = 1 - axes[stack]
        first, second, *rest = types[value.index].shape
        types[value.index] = types[value.index].with_shape((second, first, *rest))
        scan.attrs, scan.types = {**scan.attrs, "out_axes": tuple(axes)}, tuple(types)
        turned = [tuple(1 - axis for axis in own), other]
        attrs = {**node.attrs, "contract": tuple(turned[:: -1 if side else 1])}
        x, y = rewriter.operands(node)
        result: Tensor = x.emit("dot", y, **attrs)
        return result
    return None


FIRST: Rules = {"sum": [sum_of_scattered], "take_along": [pick_once]}
SECOND: Rules = {"sub": [add_to_places], "add": [add_to_places]}
RULES: Rules = {
    "scatter_add_along": [one_place_each],
    "add": [sum_of_pads],
    "where": [zero_by_result],
    "dot": [stack_as_read],
    "gelu": [with_slope],
    "gelu_grad": [by_slope],
    "attention": [with_weights],
    "attention_grad": [by_weights],
}
SHORT: Rules = {
    op: [of_several]
    for name in ("gelu", "layer_norm", "batch_norm", "attention")
    for op in (name, f"{name}_grad")
}
NARROW: Rules = {
    **{op: [product_in_f32] for op in ("dot", "conv", "conv_input_grad", "conv_filter_grad")},
    "cast": [cast_there_and_back],
}
