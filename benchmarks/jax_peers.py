"""JAX by hand: pure functions, `jax.grad` and optax, one jitted step whose state is donated."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from benchmarks.workloads import Arrays, Setup

Params = dict[str, Any]  # by nnc's paths, without the `net.` in front
Loss = Callable[..., tuple[Any, Params]]  # (params, buffers, batch, key) -> loss, buffers
CHUNK = 50


def dense(p: Params, name: str, x: jax.Array) -> jax.Array:
    return x @ p[f"{name}.w"] + p[f"{name}.b"]


def cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def dropout(x: jax.Array, rate: float, key: jax.Array) -> jax.Array:
    if rate == 0:
        return x
    return jnp.where(jax.random.bernoulli(key, 1 - rate, x.shape), x / (1 - rate), 0)


def mlp(p: Params, buffers: Params, batch: Params, key: Any, *, rate: float = 0.0) -> Any:
    x, last = batch["x"], len(p) // 2 - 1
    for i in range(last):
        x = dropout(jax.nn.relu(dense(p, f"dense_{i}", x)), rate, jax.random.fold_in(key, i))
    return cross_entropy(dense(p, f"dense_{last}", x), batch["y"]), buffers


def cnn(p: Params, buffers: Params, batch: Params, key: Any) -> Any:
    moved: Params = {}

    def conv_norm(name: str, x: jax.Array, stride: int = 1) -> jax.Array:
        w, norm = p[f"{name}.conv_0.w"], f"{name}.batch_norm_0"
        pad = w.shape[0] // 2
        x = lax.conv_general_dilated(
            x, w, (stride, stride), [(pad, pad)] * 2, dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
        for part, now in (("mean", mean), ("var", var)):
            moved[f"{norm}.{part}"] = 0.9 * buffers[f"{norm}.{part}"] + 0.1 * now
        return (x - mean) * (lax.rsqrt(var + 1e-5) * p[f"{norm}.gain"]) + p[f"{norm}.bias"]

    x = jax.nn.relu(conv_norm("conv_norm_0", batch["x"]))
    for i, stride in enumerate((1, 2, 2)):
        skip = x if stride == 1 else conv_norm(f"basic_{i}.conv_norm_0", x, stride)
        main = jax.nn.relu(conv_norm(f"basic_{i}.conv_norm_1", x, stride))
        x = jax.nn.relu(skip + conv_norm(f"basic_{i}.conv_norm_2", main))
    return cross_entropy(dense(p, "dense_0", x.mean((1, 2))), batch["y"]), moved


def lstm(p: Params, buffers: Params, batch: Params, key: Any) -> Any:
    ids = batch["ids"]
    x = p["embedding_0.table"][ids[:, :-1].T]  # time first
    inputs = x @ p["lstm_0.cell.w"] + p["lstm_0.cell.b"]  # of all times in one product
    u = p["lstm_0.cell.u"]

    def cell(carry: tuple[Any, Any], at: Any) -> tuple[Any, Any]:
        h, c = carry
        i, f, g, o = jnp.split(at + h @ u, 4, axis=1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    start = jnp.zeros((len(ids), len(u)), jnp.float32)
    _, hs = lax.scan(cell, (start, start), inputs)
    return cross_entropy(dense(p, "dense_0", hs), ids[:, 1:].T), buffers


def layer_norm(p: Params, name: str, x: jax.Array) -> jax.Array:
    mean = x.mean(-1, keepdims=True)
    var = x.var(-1, keepdims=True)
    return (x - mean) * lax.rsqrt(var + 1e-5) * p[f"{name}.gain"] + p[f"{name}.bias"]


def gpt(p: Params, buffers: Params, batch: Params, key: Any, *, heads: int, depth: int) -> Any:
    ids = batch["ids"]
    x = p["embedding_0.table"][ids[:, :-1]] + p["pos"]
    n, t, d = x.shape
    for i in range(depth):
        name = f"layer_0.{i}"
        a = dense(
            p, f"{name}.multi_head_attention_0.dense_0", layer_norm(p, f"{name}.layer_norm_0", x)
        )
        q, k, v = jnp.moveaxis(a.reshape(n, t, 3, heads, d // heads), 2, 0)
        mixed = jax.nn.dot_product_attention(q, k, v, is_causal=True).reshape(n, t, d)
        x = x + dense(p, f"{name}.multi_head_attention_0.dense_1", mixed)
        a = dense(p, f"{name}.dense_0", layer_norm(p, f"{name}.layer_norm_1", x))
        x = x + dense(p, f"{name}.dense_1", jax.nn.gelu(a, approximate=False))
    logits = dense(p, "dense_0", layer_norm(p, "layer_norm_0", x))
    return cross_entropy(logits, ids[:, 1:]), buffers


def vae(p: Params, buffers: Params, batch: Params, key: Any) -> Any:
    x = batch["x"]
    hidden = jax.nn.relu(dense(p, "dense_0", x))
    mu, logvar = jnp.split(dense(p, "dense_1", hidden), 2, axis=1)
    z = mu + jnp.exp(0.5 * logvar) * jax.random.normal(key, mu.shape)
    logits = dense(p, "dense_3", jax.nn.relu(dense(p, "dense_2", z)))
    fit = optax.sigmoid_binary_cross_entropy(logits, x).sum()
    kl = -0.5 * (1 + logvar - mu**2 - jnp.exp(logvar)).sum()
    return (fit + kl) / len(x), buffers


def ncf(p: Params, buffers: Params, batch: Params, key: Any) -> Any:
    user, item = batch["user"], batch["item"]
    gmf = p["embedding_0.table"][user] * p["embedding_1.table"][item]
    x = jnp.concatenate((p["embedding_2.table"][user], p["embedding_3.table"][item]), axis=1)
    for i in range(3):
        x = jax.nn.relu(dense(p, f"dense_{i}", x))
    logits = dense(p, "dense_3", jnp.concatenate((gmf, x), axis=1))[:, 0]
    return optax.sigmoid_binary_cross_entropy(logits, batch["liked"]).mean(), buffers


def network(setup: Setup) -> Loss:
    sizes: Any = setup.sizes
    match setup.workload:
        case "mlp":
            return partial(mlp, rate=sizes["rate"])
        case "gpt":
            return partial(gpt, heads=sizes["heads"], depth=sizes["depth"])
    return {"tiny": mlp, "cnn": cnn, "lstm": lstm, "vae": vae, "ncf": ncf}[setup.workload]


def optimizer(workload: str) -> optax.GradientTransformation:
    match workload:
        case "tiny":
            return optax.sgd(0.1)
        case "cnn":
            return optax.chain(
                optax.add_decayed_weights(5e-4), optax.sgd(0.05, momentum=0.9, nesterov=True)
            )
        case "lstm":
            return optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-3))
        case "gpt":
            return optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(1e-3, weight_decay=0.1))
    return optax.adam(1e-3)


class Peer:
    """One call of the jitted step for each step."""

    unit = 1

    def __init__(self, setup: Setup):
        loss, update = network(setup), optimizer(setup.workload)
        given = {k.removeprefix("net."): jnp.array(v) for k, v in setup.weights.items()}
        buffers = {k: v for k, v in given.items() if k.endswith((".mean", ".var"))}
        params = {k: v for k, v in given.items() if k not in buffers}
        self.state = (params, buffers, update.init(params))
        self.key = jax.random.key(0)

        def step(state: Any, batch: Params, key: Any, t: Any) -> Any:
            params, buffers, memory = state
            key = jax.random.fold_in(key, t)
            (value, buffers), grads = jax.value_and_grad(loss, has_aux=True)(
                params, buffers, batch, key
            )
            updates, memory = update.update(grads, memory, params)
            return (optax.apply_updates(params, updates), buffers, memory), value

        self.body = step
        self.step = jax.jit(step, donate_argnums=0)
        self.batches = [jax.device_put(batch) for batch in setup.batches]
        self.done = 0

    def run(self, steps: int) -> float:
        for t in range(self.done, self.done + steps):
            batch = self.batches[t % len(self.batches)]
            self.state, loss = self.step(self.state, batch, self.key, t)
        self.done += steps
        return float(jax.block_until_ready((self.state, loss))[1])

    def weights(self) -> Arrays:
        params, buffers, _ = self.state
        return {f"net.{k}": np.array(v) for k, v in {**params, **buffers}.items()}


class Scan(Peer):
    """50 steps in one call: `lax.scan` over batches that lie on the device."""

    unit = CHUNK

    def __init__(self, setup: Setup):
        super().__init__(setup)
        count = len(self.batches)
        data = jax.tree.map(lambda *each: jnp.stack(each), *self.batches)

        def many(state: Any, data: Params, key: Any, first: Any) -> Any:
            def turn(state: Any, t: Any) -> Any:
                batch = {name: x[t % count] for name, x in data.items()}
                return self.body(state, batch, key, t)

            return lax.scan(turn, state, first + jnp.arange(CHUNK))

        self.many = jax.jit(many, donate_argnums=0)
        self.data = data
        self.batches = []

    def run(self, steps: int) -> float:
        for first in range(self.done, self.done + steps, CHUNK):
            self.state, losses = self.many(self.state, self.data, self.key, first)
        self.done += steps
        return float(jax.block_until_ready((self.state, losses))[1][-1])


def by_step(setup: Setup) -> Peer:
    return Peer(setup)


def by_scan(setup: Setup) -> Scan:
    return Scan(setup)
