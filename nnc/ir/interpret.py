"""The graph, run node by node with each op's own NumPy evaluation: the living definition.

Slow and plain on purpose.  Backends are compared with it, constants are folded with it, and
finite differences and derived tolerances come from `as_float64` of the same graph.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from nnc.ir.dims import Dim, Poly, shape_text, substitute, symbols
from nnc.ir.graph import Array, Graph, Node, Value
from nnc.ir.narrow import held
from nnc.ir.types import FLOATS, INTEGERS, TensorType, numpy_dtype
from nnc.ir.verify import GraphError, node_text
from nnc.ops.registry import OPS

#: Called with each node of a graph (not of its bodies) and its results, in order.
Keep = Callable[[Node, tuple[np.ndarray, ...]], None]


def interpret(
    graph: Graph,
    inputs: Mapping[str, Any] | Sequence[Any],
    *,
    keep: Keep | None = None,
) -> dict[str, np.ndarray]:
    """The outputs of `graph` for these inputs, in the order of `graph.inputs` or by name.

    A mapping may hold more than the graph reads.  Sizes that the types leave open are those of the
    arrays.  Inputs are converted to the declared element types where that loses no more than float
    precision; a ValueError says which one is missing or does not fit.
    """
    if isinstance(inputs, Mapping):
        missing = [name for name in graph.input_names if name not in inputs]
        if missing:
            raise ValueError(f"the graph reads {', '.join(missing)} too")
        inputs = [inputs[name] for name in graph.input_names]
    arrays = [
        _as_type(value, graph.node(id)) for id, value in zip(graph.inputs, inputs, strict=True)
    ]
    with np.errstate(all="ignore"):
        results = evaluate_graph(graph, arrays, keep)
    return dict(zip(graph.outputs, results, strict=True))


def evaluate_graph(
    graph: Graph, values: Sequence[np.ndarray], keep: Keep | None = None
) -> tuple[np.ndarray, ...]:
    """The outputs of `graph`, in order, for arrays of its inputs' types: what runs a body."""
    sizes = bind_sizes(graph, values)
    if sizes:
        graph = with_sizes(graph, sizes)
    results: dict[int, tuple[np.ndarray, ...]] = {
        id: (value,) for id, value in zip(graph.inputs, values, strict=True)
    }
    for node in graph:
        if node.op != "input":
            operands = [results[value.node][value.index] for value in node.operands]
            results[node.id] = _evaluate(node, operands)
        if keep:
            keep(node, results[node.id])
    return tuple(results[value.node][value.index] for value in graph.outputs.values())


def bind_sizes(graph: Graph, values: Sequence[np.ndarray]) -> dict[str, int]:
    """The size of each name among the dims of the inputs; a ValueError where arrays disagree."""
    nodes = [graph.node(id) for id in graph.inputs]
    sizes: dict[str, int] = {}
    for node, value in zip(nodes, values, strict=True):
        for dim, size in zip(node.type.shape, value.shape, strict=False):
            if isinstance(dim, Poly) and symbols(dim) == {str(dim)}:
                sizes.setdefault(str(dim), size)
    for node, value in zip(nodes, values, strict=True):
        shape = tuple(substitute(dim, sizes) for dim in node.type.shape)
        if shape != value.shape:
            raise ValueError(
                f"the input `{node.attrs['name']}` is {node.type}, and the array has the shape "
                f"{shape_text(value.shape)}" + _sizes_text(sizes)
            )
    return sizes


# ---------------------------------------------------------------- the same graph, otherwise typed
def with_sizes(graph: Graph, sizes: Mapping[str, Dim]) -> Graph:
    """The same graph, node by node, with names of dims replaced by sizes; in bodies too."""
    result = graph.copy()
    for id in result.nx:
        node = result.node(id)
        node.attrs = {key: _with_sizes(value, sizes) for key, value in node.attrs.items()}
        node.types = tuple(t.with_shape(_with_sizes(t.shape, sizes)) for t in node.types)
    return result


def as_float64(graph: Graph) -> Graph:
    """The same graph, node by node, computing in float64 whatever it computes in floats.

    Bits stay those of the original element types: a `bitcast` gets conversions around it.
    """
    result = graph.copy()
    for id in list(result.nx):
        node = result.node(id)
        if node.op == "bitcast":
            continue
        node.attrs = {key: _in_float64(key, value) for key, value in node.attrs.items()}
        node.types = tuple(map(_float64_type, node.types))
    for id in list(result.nx):
        if result.node(id).op == "bitcast":
            _keep_bits(graph, result, result.node(id))
    return result


def _with_sizes(value: Any, sizes: Mapping[str, Dim]) -> Any:
    if isinstance(value, Poly):
        return substitute(value, sizes)
    if isinstance(value, tuple):
        return tuple(_with_sizes(item, sizes) for item in value)
    return with_sizes(value, sizes) if isinstance(value, Graph) else value


def _in_float64(key: str, value: Any) -> Any:
    if isinstance(value, Graph):
        return as_float64(value)
    if isinstance(value, Array) and value.data.dtype.kind == "f":
        return Array(value.data.astype(np.float64))
    return "f64" if key == "dtype" and value in FLOATS else value


def _float64_type(type: TensorType) -> TensorType:
    return type.with_dtype("f64") if type.is_float else type


def _keep_bits(original: Graph, result: Graph, bitcast: Node) -> None:
    """Convert floats from float64 before and to float64 after a bitcast of `result`."""
    (operand,) = bitcast.operands
    read = original.type(original.node(bitcast.id).operands[0])
    if read.is_float:
        narrow = result.insert("cast", (operand,), {"dtype": read.dtype}, (read,))
        result.set_operands(bitcast, (Value(narrow.id),))
    if bitcast.type.is_float:
        users = result.users(Value(bitcast.id))
        wide = result.insert(
            "cast", (Value(bitcast.id),), {"dtype": "f64"}, (_float64_type(bitcast.type),)
        )
        for user, _ in users:
            new = (Value(wide.id) if v.node == bitcast.id else v for v in user.operands)
            result.set_operands(user, new)
        for name, value in result.outputs.items():
            if value.node == bitcast.id:
                result.outputs[name] = Value(wide.id)


# ---------------------------------------------------------------- one node
def _evaluate(node: Node, operands: list[np.ndarray]) -> tuple[np.ndarray, ...]:
    evaluate = OPS[node.op].evaluate
    if evaluate is None:
        raise GraphError(f"{node_text(node)}: this op cannot be evaluated")
    result = evaluate(*operands, **node.attrs)
    arrays = tuple(map(np.asarray, result if isinstance(result, tuple) else (result,)))
    if any(type.dtype == "bf16" for type in node.types):
        arrays = tuple(_rounded(a, t) for a, t in zip(arrays, node.types, strict=True))
    found = [(array.dtype, array.shape) for array in arrays]
    if found != [(np.dtype(numpy_dtype(t.dtype)), t.shape) for t in node.types]:
        declared = ", ".join(map(str, node.types))
        raise GraphError(f"{node_text(node)}: evaluates to {found}, not to {declared}")
    return arrays


def _rounded(array: np.ndarray, type: TensorType) -> np.ndarray:
    """What an op gave in float32, where its result is bf16, as values of that."""
    return held(array, "bf16") if type.dtype == "bf16" else array


def _as_type(value: Any, node: Node) -> np.ndarray:
    """`value` as an array of the input's element type."""
    array = _rounded(np.asarray(value), node.type)
    dtype = node.type.dtype
    target = np.dtype(numpy_dtype(dtype))
    if array.dtype == target:
        return array
    if dtype in INTEGERS and array.dtype.kind in "iu":
        converted = array.astype(target)
        fits = bool(np.array_equal(converted, array))
    else:
        fits = np.can_cast(array.dtype, target, "same_kind") and array.dtype.kind in "iuf"
        converted = array.astype(target) if fits else array
    if not fits:
        name = node.attrs["name"]
        raise ValueError(f"the input `{name}` is {node.type}, and {array.dtype} does not fit it")
    return converted


def _sizes_text(sizes: Mapping[str, int]) -> str:
    return "".join(f", {name} = {size}" for name, size in sizes.items())
