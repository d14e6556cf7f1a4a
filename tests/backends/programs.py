"""Programs built by hand, as the elaborator builds them from text."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from nnc.ir.builder import Builder, Tensor
from nnc.ir.dims import Dim, symbol
from nnc.ir.graph import Graph, Origin
from nnc.ir.host import HostConst, HostOp, HostVar
from nnc.ir.program import Evaluation, Forward, Phase, StateEntry, Step, Training
from nnc.ir.types import TensorType
from nnc.ops.random import bernoulli_mask, uniform01
from nnc.passes.autodiff import expand_gradients
from nnc.passes.pipeline import optimize_training

FEATURES, HIDDEN, CLASSES, BATCH = 64, 256, 10, 64
MOMENTS = ("m", "v")
N = symbol("N")


def origin(line: int, scope: str = "", file: str = "digits.nn") -> tuple[Origin, ...]:
    return (Origin(file, line, 3, scope),)


def digits(dropout: bool = True, dtype: str = "f32") -> Training:
    """64-256-10 with relu, dropout 0.1, cross entropy and AdamW: the digits program."""
    shapes: dict[str, tuple[int, ...]] = {
        "net.dense_0.w": (FEATURES, HIDDEN),
        "net.dense_0.b": (HIDDEN,),
        "net.dense_1.w": (HIDDEN, CLASSES),
        "net.dense_1.b": (CLASSES,),
    }
    state = {
        path: StateEntry(path, TensorType(dtype, shape), "param", initial(path, shape, dtype))
        for path, shape in shapes.items()
    }
    for moment in MOMENTS:
        for path, shape in shapes.items():
            entry = f"@opt/adamw/{moment}/{path}"
            zeros = initial("", shape, dtype)
            state[entry] = StateEntry(entry, TensorType(dtype, shape), "optimizer", zeros)
    step = Step("classify", step_graph(shapes, dropout, dtype), scalars(), 1, ("adamw",))
    inference = forward_graph(shapes, dtype)
    training = Training(
        name="classify",
        state=state,
        phases=[Phase("main", 100, [step])],
        evaluations=[evaluation(shapes, dtype)],
        forwards=[Forward("net", inference, inference)],
        sources={},
        clock="digits",
        steps_per_epoch=20,
        file="digits.nn",
    )
    optimize_training(training)
    return training


def initial(path: str, shape: tuple[int, ...], dtype: str) -> Graph:
    """Glorot uniform for a named matrix, zeros for all else."""
    builder = Builder(Graph("glorot_uniform" if path else "zeros"))
    seed = builder.input("seed", TensorType("u64"), "scalar")
    if not path or len(shape) == 1:
        value = builder.full(0.0, dtype, shape)
    else:
        zero = builder.const(0, "u64")
        bits = builder.emit(
            "random_bits", seed, zero, zero, zero, path=f"init/{path}", ordinal=0, shape=shape
        )
        limit = float(np.sqrt(6 / sum(shape)))
        value = uniform01(bits, dtype) * (2 * limit) - limit
    builder.graph.outputs = {"value": value.value}
    return builder.graph


def scalars() -> dict[str, HostOp | HostConst | HostVar]:
    updates = HostOp("add", (HostVar("updates"), HostConst(1)))

    def correction(beta: float) -> HostOp:
        return HostOp("sub", (HostConst(1.0), HostOp("pow", (HostConst(beta), updates))))

    return {
        "lr": HostConst(3e-3),
        "c1": correction(0.9),
        "c2": correction(0.999),
        "seed": HostVar("seed"),
        "draw": HostVar("draw"),
    }


def network(
    builder: Builder, x: Tensor, weights: dict[str, Tensor], drop: Callable[[Tensor], Tensor]
) -> Tensor:
    def dense(x: Tensor, place: str) -> Tensor:
        w, b = weights[f"{place}.w"], weights[f"{place}.b"]
        with builder.at(origin(14, place)):
            product = x.emit("dot", w, contract=((1,), (0,)), batch=((), ()))
            return product + b

    hidden = dense(x, "net.dense_0")
    with builder.at(origin(14, "net")):
        hidden = (hidden > 0.0).where(hidden, 0.0)
    hidden = drop(hidden)
    logits = dense(hidden, "net.dense_1")
    builder.graph.producer(logits.value).name = "logits"
    return logits


def label_loss(logits: Tensor, y: Tensor) -> Tensor:
    log_p = logits.emit("log_softmax", axis=1)
    picked = log_p.emit("take_along", y.reshape((y.shape[0], 1)), axis=1)
    return -picked.reshape((y.shape[0],))


def inputs(
    builder: Builder, shapes: dict[str, tuple[int, ...]], dtype: str, batch: Dim
) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    x = builder.input("digits.x", TensorType(dtype, (batch, FEATURES)), "batch")
    y = builder.input("digits.y", TensorType("i32", (batch,)), "batch")
    weights = {
        path: builder.input(path, TensorType(dtype, shape), "state")
        for path, shape in shapes.items()
    }
    return x, y, weights


def step_graph(shapes: dict[str, tuple[int, ...]], dropout: bool, dtype: str) -> Graph:
    builder = Builder(Graph("classify"))
    x, y, weights = inputs(builder, shapes, dtype, BATCH)

    def drop(h: Tensor) -> Tensor:
        if not dropout:
            return h
        with builder.at(origin(14, "net.dropout_0")):
            seed = builder.input("seed", TensorType("u64"), "scalar")
            draw = builder.input("draw", TensorType("u64"), "scalar")
            zero = builder.const(0, "u64")
            bits = builder.emit(
                "random_bits", seed, draw, zero, zero,
                path="dropout/net.dropout_0", ordinal=0, shape=h.shape,
            )  # fmt: skip
            return bernoulli_mask(bits, 0.9).where(h * (1 / 0.9), 0.0)

    logits = network(builder, x, weights, drop)
    with builder.at(origin(20)):
        losses = label_loss(logits, y)
        loss = losses.mean((0,))
        builder.graph.producer(loss.value).name = "loss"
        hits = logits.emit("argmax", axis=1).equals(y).cast(dtype).mean((0,))
        gradients = builder.emit("gradient", loss, *weights.values())
    outputs = {"@loss": loss.value, "@metrics/accuracy": hits.value}
    with builder.at(origin(22)):
        numbers = {k: builder.input(k, TensorType(dtype), "scalar") for k in ("lr", "c1", "c2")}
        for (path, p), grad in zip(weights.items(), gradients, strict=True):
            outputs |= adamw(builder, path, p, grad, numbers)
    builder.graph.outputs = outputs
    expand_gradients(builder.graph)
    return builder.graph


def adamw(
    builder: Builder, path: str, p: Tensor, grad: Tensor, numbers: dict[str, Tensor]
) -> dict[str, object]:
    old = {
        moment: builder.input(f"@opt/adamw/{moment}/{path}", p.type, "state") for moment in MOMENTS
    }
    m = 0.9 * old["m"] + (1 - 0.9) * grad
    v = 0.999 * old["v"] + (1 - 0.999) * (grad * grad)
    root = (v / numbers["c2"]).emit("sqrt")
    new = p - numbers["lr"] * (m / numbers["c1"]) / (root + 1e-8) - numbers["lr"] * 0.01 * p
    return {
        path: new.value,
        f"@opt/adamw/m/{path}": m.value,
        f"@opt/adamw/v/{path}": v.value,
    }


def evaluation(shapes: dict[str, tuple[int, ...]], dtype: str) -> Evaluation:
    batch = Builder(Graph("batch"))
    x, y, weights = inputs(batch, shapes, dtype, N)
    logits = network(batch, x, weights, lambda h: h)
    hits = logits.emit("argmax", axis=1).equals(y).cast(dtype)
    batch.graph.outputs = {
        "loss": label_loss(logits, y).sum((0,)).value,
        "hits": hits.sum((0,)).value,
        "count": batch.emit("size", dim=N, dtype=dtype).value,
    }
    finish = Builder(Graph("finish"))
    loss, hits, count = (
        finish.input(name, TensorType(dtype), "accumulator") for name in ("loss", "hits", "count")
    )
    finish.graph.outputs = {
        "@loss": (loss / count).value,
        "@metrics/accuracy": (hits / count).value,
    }
    merge = dict.fromkeys(batch.graph.outputs, "sum")
    return Evaluation("val", "digits", "val", batch.graph, merge, finish.graph)


def forward_graph(shapes: dict[str, tuple[int, ...]], dtype: str) -> Graph:
    builder = Builder(Graph("net"))
    x = builder.input("x", TensorType(dtype, (N, FEATURES)), "argument")
    weights = {
        path: builder.input(path, TensorType(dtype, shape), "state")
        for path, shape in shapes.items()
    }
    builder.graph.outputs = {"output": network(builder, x, weights, lambda h: h).value}
    return builder.graph
