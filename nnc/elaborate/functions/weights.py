"""Weights as values, gradients as values, own gradients (semantics 8 and 9)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from nnc.elaborate.arithmetic import as_tensor, broadcast_together
from nnc.elaborate.calls import Site, invoke
from nnc.elaborate.frames import Frame
from nnc.elaborate.functions.registry import builtin
from nnc.elaborate.values import (
    CALLABLE,
    Part,
    PathRef,
    Stage,
    Template,
    TensorValue,
    TupleValue,
    WeightsValue,
    describe,
)
from nnc.ir.builder import Builder
from nnc.ir.graph import Graph


def weights_below(site: Site, path: str) -> WeightsValue:
    """The parameters at and below a path, as this graph reads them."""
    cx = site.cx
    cx.refuse_layers("takes the weights of a network as values")
    prefix = path + "."
    found = cx.once_defined(lambda: _paths(site, prefix))
    if not found:
        raise site.wrong(
            "E0209", f"`{path}` has no weights yet", help="they come into being where it is applied"
        )
    leaves = {}
    for full in found:
        value = next((o[full] for o in reversed(cx.overrides) if full in o), None)
        if value is None:
            tensor = cx.input(full, cx.world.state[full].type, "state")
            value = TensorValue(tensor, cx.world.names[full])
        leaves[full[len(prefix) :]] = cx.localize(value)
    return WeightsValue(leaves, path)


def _paths(site: Site, prefix: str) -> list[str]:
    state = site.cx.world.state
    return [p for p, entry in state.items() if entry.kind == "param" and p.startswith(prefix)]


@builtin()
def weights(site: Site, net: Any) -> WeightsValue:
    """`weights(net)`: the tree of its parameters.

    Trees of one network combine element by element, with each other and with scalars; `sum`,
    `abs`, `maximum` ... work on them too.
    """
    if isinstance(net, WeightsValue):
        return net
    path = _path(net)
    if path is None:
        raise site.wrong("E0310", f"`weights` of {describe(net)}", "net", "it takes an instance")
    if isinstance(net, Template) and net.override:
        prefix = net.path + "."
        kept = {p[len(prefix) :]: v for p, v in net.override.items()}
        return WeightsValue({p: site.cx.localize(v) for p, v in kept.items()}, net.path)
    return weights_below(site, path)


def _path(net: Any) -> str | None:
    """Below which path the weights of an instance, or of a stage that a `let` names, stand."""
    if isinstance(net, (Template, PathRef)):
        return net.path
    parts = net.parts if isinstance(net, Stage) else ()
    named = (p.naming.path(("", "")) for p in parts if isinstance(p, Part) and p.naming.active)
    return next((path.rstrip(".") for path in named), None)


@builtin()
def with_weights(site: Site, net: Any, tree: Any) -> Template:
    """`with_weights(net, w)`: the same network with other weights."""
    if not isinstance(net, Template):
        raise site.wrong("E0310", f"`with_weights` of {describe(net)}", "net")
    if not isinstance(tree, WeightsValue):
        raise site.wrong("E0310", f"weights are needed; this is {describe(tree)}", "tree")
    own = weights_below(site, net.path)
    if own.leaves.keys() != tree.leaves.keys():
        raise site.wrong("E0318", "this tree of weights belongs to another network", "tree")
    override = {f"{net.path}.{path}": leaf for path, leaf in tree.leaves.items()}
    return replace(net, override={**net.override, **override})


@builtin()
def frozen(site: Site, net: Any) -> Template:
    """`frozen(net)`: the network as in evaluation: no gradient, no change of its buffers."""
    if not isinstance(net, Template):
        raise site.wrong("E0310", f"`frozen` of {describe(net)}", "net", "it takes an instance")
    return replace(net, frozen=True)


@builtin()
def stop_gradient(site: Site, x: Any) -> Any:
    """`stop_gradient(x)`: x, as a constant for gradients."""
    if isinstance(x, WeightsValue):
        return x.map(lambda leaf: leaf.with_tensor(site.emit("stop_gradient", leaf.tensor)))
    if isinstance(x, TupleValue):
        return x.map(lambda item: stop_gradient(site, item))
    if not isinstance(x, TensorValue):
        raise site.wrong("E0311", f"`stop_gradient` of {describe(x)}", "x")
    return x.with_tensor(site.emit("stop_gradient", x.tensor))


@builtin()
def with_gradient(site: Site, value: Any, via: Any) -> TensorValue:
    """`with_gradient(value, via = y)`: value forward; its gradient goes through y alone."""
    cx = site.cx
    tensors = [v for v in (value, via) if isinstance(v, TensorValue)]
    if not tensors:
        raise site.wrong("E0311", f"`with_gradient` of {describe(value)}", "value")
    dtype = tensors[0].dtype
    a = as_tensor(cx, value, dtype, site.place("value"))
    b = as_tensor(cx, via, dtype, site.place("via"))
    places = site.place("value"), site.place("via")
    a, b = broadcast_together(cx, a, b, *places, site.span, "`with_gradient`")
    return a.with_tensor(site.emit("with_gradient", a.tensor, b.tensor))


@builtin()
def on_gradient(site: Site, x: TensorValue, stage: Any) -> TensorValue:
    """`on_gradient(x, stage)`: x forward; its gradient passes through the stage on the way back."""
    cx = site.cx
    if not isinstance(stage, CALLABLE):
        raise site.wrong("E0310", f"a stage is needed; this is {describe(stage)}", "stage")
    body = Graph("on_gradient")
    cx.frames.append(Frame(Builder(body, cx.origin(site.span))))
    try:
        inner = TensorValue(cx.builder.input("cotangent", x.type, "cotangent"), x.names)
        result = invoke(cx, stage, [("", inner, site.span)], site.span)
        if not isinstance(result, TensorValue) or result.type != x.type:
            raise site.wrong(
                "E0301", f"the stage makes {describe(result)} of a gradient {describe(x)}", "stage"
            )
        body.outputs["cotangent"] = result.tensor.value
        captured = list(cx.frames[-1].captures)
    finally:
        cx.frames.pop()
    captures = [cx.builder.tensor(value) for value in captured]
    return x.with_tensor(site.emit("on_gradient", x.tensor, *captures, body=body))


@builtin()
def gradient(site: Site, y: TensorValue, wrt: Any) -> Any:
    """`gradient(y, x)`: the derivative of a scalar by a tensor or a tree of weights."""
    if y.rank:
        raise site.wrong(
            "E0330",
            f"`gradient` needs a scalar; this is {describe(y)}",
            "y",
            help="`sum` or `mean` it first",
        )
    site.cx.refuse_layers("takes a gradient")
    if site.cx.draw_iteration is not None:
        raise site.wrong(
            "E0331", "`gradient` cannot be taken inside `scan`", help="`repeat` unrolls its rounds"
        )
    if _path(wrt) is not None:
        wrt = weights(site, wrt)
    if isinstance(wrt, TensorValue):
        (result,) = as_tuple(site.emit("gradient", y.tensor, wrt.tensor))
        return wrt.with_tensor(result)
    if not isinstance(wrt, WeightsValue):
        raise site.wrong("E0310", f"`gradient` by {describe(wrt)}", "wrt")
    results = as_tuple(
        site.emit("gradient", y.tensor, *(leaf.tensor for leaf in wrt.leaves.values()))
    )
    leaves = {
        path: leaf.with_tensor(result)
        for (path, leaf), result in zip(wrt.leaves.items(), results, strict=True)
    }
    return WeightsValue(leaves, wrt.root)


def as_tuple(results: Any) -> tuple[Any, ...]:
    return results if isinstance(results, tuple) else (results,)
