"""NumPy by hand, carefully: backward passes written out, results in arrays that are there already.

All weights lie in one array and all gradients in another, so that clipping and the optimizer's
update are a few calls over the whole, cut into blocks that stay in the cache.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.numpy_conv import ConvNorm
from benchmarks.workloads import Arrays, Setup

Array = np.ndarray
BLOCK = 1 << 15  # elements that an update works on at a time


class Peer:
    """`gradients` fills `self.g` and gives the loss; the rest is common to all networks."""

    unit = 1
    clip = 0.0

    def __init__(self, setup: Setup):
        self.sizes: Any = setup.sizes
        given = {k.removeprefix("net."): v for k, v in setup.weights.items()}
        self.buffers = {k: v.copy() for k, v in given.items() if k.endswith((".mean", ".var"))}
        params = {k: v for k, v in given.items() if k not in self.buffers}
        self.flat, self.w = _packed(params)
        self.flat_grad, self.g = _packed({k: np.zeros_like(v) for k, v in params.items()})
        self.update = optimizer(setup.workload, self.flat.size)
        self.batches = setup.batches
        self.rng = np.random.default_rng(0)
        self.rooms: dict[str, Array] = {}
        ids = self.batches[0].get("ids")
        self.rows = np.arange(int(self.sizes["size"]) if ids is None else ids[:, 1:].size)
        self.done = 0
        self.build()

    def build(self) -> None:
        """Whatever a network prepares once."""

    def gradients(self, batch: Arrays) -> float:
        raise NotImplementedError

    def room(self, name: str, *shape: int) -> Array:
        """The array of this name, made at its first use."""
        if name not in self.rooms:
            self.rooms[name] = np.empty(shape, np.float32)
        return self.rooms[name]

    def run(self, steps: int) -> float:
        for t in range(self.done, self.done + steps):
            loss = self.gradients(self.batches[t % len(self.batches)])
            if self.clip:
                norm = np.sqrt(self.flat_grad @ self.flat_grad)
                if norm > self.clip:
                    self.flat_grad *= self.clip / norm
            self.update(self.flat, self.flat_grad, t + 1)
        self.done += steps
        return float(loss)

    def weights(self) -> Arrays:
        return {f"net.{k}": v.copy() for k, v in {**self.w, **self.buffers}.items()}

    # ------------------------------------------------------------ layers
    def dense(self, name: str, x: Array) -> Array:
        w = self.w[f"{name}.w"]
        y = np.matmul(x, w, out=self.room(name, len(x), w.shape[1]))
        y += self.w[f"{name}.b"]
        return y

    def dense_back(self, name: str, x: Array, dy: Array, need_dx: bool = True) -> Any:
        np.matmul(x.T, dy, out=self.g[f"{name}.w"])
        np.add.reduce(dy, axis=0, out=self.g[f"{name}.b"])
        if need_dx:
            return np.matmul(dy, self.w[f"{name}.w"].T, out=self.room(f"d {name}", *x.shape))
        return None

    def embed_back(self, name: str, ids: Array, dy: Array) -> None:
        """Rows of `dy` summed by id: sorted, equal ids are runs."""
        order = np.argsort(ids, kind="stable")
        found, starts = np.unique(ids[order], return_index=True)
        grad = self.g[f"{name}.table"]
        grad.fill(0)
        grad[found] = np.add.reduceat(dy[order], starts, axis=0)


def _packed(arrays: Arrays) -> tuple[Array, Arrays]:
    """One array that holds all, and views of it."""
    flat = np.concatenate([array.ravel() for array in arrays.values()])
    ends = np.cumsum([array.size for array in arrays.values()])
    parts = np.split(flat, ends[:-1])
    return flat, {k: p.reshape(a.shape) for (k, a), p in zip(arrays.items(), parts, strict=True)}


def cross_entropy(logits: Array, labels: Array, rows: Array) -> float:
    """The loss; `logits` becomes its gradient.  `rows` counts them."""
    logits -= np.maximum.reduce(logits, axis=1, keepdims=True)
    chosen = logits[rows, labels]
    np.exp(logits, out=logits)
    total = np.add.reduce(logits, axis=1, keepdims=True)
    loss = np.add.reduce(np.log(total[:, 0]) - chosen) / len(rows)
    total *= len(rows)
    logits /= total
    logits[rows, labels] -= np.float32(1 / len(rows))
    return float(loss)


def bce(logits: Array, target: Array, rows: int, scratch: Array) -> float:
    """The sum of all losses by `rows`; `logits` becomes its gradient."""
    np.abs(logits, out=scratch)
    np.negative(scratch, out=scratch)
    np.exp(scratch, out=scratch)
    loss = np.log1p(scratch).sum() + np.maximum(logits, 0).sum() - np.vdot(logits, target)
    positive = logits >= 0
    np.copyto(logits, scratch)
    logits[positive] = 1
    scratch += 1
    logits /= scratch
    logits -= target
    logits *= np.float32(1 / rows)
    return float(loss) / rows


def normal(rng: np.random.Generator, out: Array) -> None:
    rng.standard_normal(dtype=np.float32, out=out)


# ------------------------------------------------------------ optimizers
Update = Callable[[Array, Array, int], None]  # (weights, gradients, t from 1), in place


def optimizer(workload: str, size: int) -> Update:
    match workload:
        case "tiny":
            return sgd(0.1, size)
        case "cnn":
            return nesterov(0.05, 0.9, 5e-4, size)
        case "gpt":
            return adam(1e-3, 0.1, size)
    return adam(1e-3, 0.0, size)


def _blocks(size: int) -> list[slice]:
    return [slice(i, min(i + BLOCK, size)) for i in range(0, size, BLOCK)]


def sgd(lr: float, size: int) -> Update:
    def update(w: Array, g: Array, t: int) -> None:
        g *= lr
        w -= g

    return update


def nesterov(lr: float, mu: float, decay: float, size: int) -> Update:
    moving, scratch, blocks = np.zeros(size, np.float32), np.empty(BLOCK, np.float32), _blocks(size)

    def update(w: Array, g: Array, t: int) -> None:
        for block in blocks:
            p, grad, v = w[block], g[block], moving[block]
            s = scratch[: p.size]
            np.multiply(p, decay, out=s)
            grad += s
            v *= mu
            v += grad
            np.multiply(v, mu, out=s)
            grad += s
            grad *= lr
            p -= grad

    return update


def adam(lr: float, decay: float, size: int) -> Update:
    first, second = np.zeros(size, np.float32), np.zeros(size, np.float32)
    scratch, blocks = np.empty(BLOCK, np.float32), _blocks(size)

    def update(w: Array, g: Array, t: int) -> None:
        root = np.sqrt(1 - 0.999**t)
        rate = lr * root / (1 - 0.9**t)
        for block in blocks:
            p, grad, m, v = w[block], g[block], first[block], second[block]
            s = scratch[: p.size]
            m *= 0.9
            np.multiply(grad, 0.1, out=s)
            m += s
            v *= 0.999
            grad *= grad
            grad *= 0.001
            v += grad
            np.sqrt(v, out=s)
            s += 1e-8 * root
            np.divide(m, s, out=s)
            s *= rate
            if decay:
                p *= 1 - lr * decay
            p -= s

    return update


# ------------------------------------------------------------ networks
class MLP(Peer):
    """relu between dense layers; dropout where the workload has a rate."""

    def build(self) -> None:
        self.last = len(self.w) // 2 - 1
        self.rate = self.sizes.get("rate", 0.0)

    def gradients(self, batch: Arrays) -> float:
        inputs = [batch["x"]]
        for i in range(self.last):
            y = self.dense(f"dense_{i}", inputs[-1])
            np.maximum(y, 0, out=y)
            if self.rate:
                self.drop(y)
            inputs.append(y)
        dy = self.dense(f"dense_{self.last}", inputs[-1])
        loss = cross_entropy(dy, batch["y"], self.rows)
        for i in range(self.last, -1, -1):
            x = inputs[i]
            dy = self.dense_back(f"dense_{i}", x, dy, need_dx=i > 0)
            if i > 0:
                dy *= x > 0  # what was dropped is 0 too
                if self.rate:
                    dy *= np.float32(1 / (1 - self.rate))
        return loss

    def drop(self, y: Array) -> None:
        """Dropout in place.  A mask compares 16 random bits: the rate is right to 2^-17."""
        bits = np.frombuffer(self.rng.bytes(2 * y.size), np.uint16).reshape(y.shape)
        y *= np.float32(1 / (1 - self.rate))
        y *= bits < round((1 - self.rate) * 2**16)


class CNN(Peer):
    def build(self) -> None:
        def layer(name: str, stride: int = 1, needs_dx: bool = True) -> ConvNorm:
            return ConvNorm(name, self.w, self.g, self.buffers, stride, needs_dx)

        self.stem = layer("conv_norm_0", needs_dx=False)
        self.blocks = [
            (
                layer(f"basic_{i}.conv_norm_0", stride) if stride > 1 else None,
                layer(f"basic_{i}.conv_norm_1", stride),
                layer(f"basic_{i}.conv_norm_2"),
            )
            for i, stride in enumerate((1, 2, 2))
        ]

    def gradients(self, batch: Arrays) -> float:
        x = self.stem.forward(batch["x"])
        np.maximum(x, 0, out=x)
        saved = [x]
        for skip, a, b in self.blocks:
            inner = a.forward(x)
            np.maximum(inner, 0, out=inner)
            y = b.forward(inner)
            y += skip.forward(x) if skip else x
            x = np.maximum(y, 0, out=y)
            saved += [inner, x]
        pixels = x.shape[1] * x.shape[2]
        features = x.reshape(len(x), pixels, -1).mean(axis=1)
        dy = self.dense("dense_0", features)
        loss = cross_entropy(dy, batch["y"], self.rows)
        spread = self.dense_back("dense_0", features, dy) * np.float32(1 / pixels)
        d = self.room("d pool", *x.shape)
        d[...] = spread[:, None, None]
        for skip, a, b in reversed(self.blocks):
            y, inner, _ = saved.pop(), saved.pop(), saved[-1]
            d *= y > 0
            d_inner = b.backward(d)
            d_inner *= inner > 0
            dx = a.backward(d_inner)
            dx += skip.backward(d) if skip else d
            d = dx
        d *= saved[0] > 0
        self.stem.backward(d)
        return loss


class LSTM(Peer):
    clip = 1.0

    def build(self) -> None:
        """The gates i, f, o need sigmoid(x) = tanh(x / 2) / 2 + 1 / 2: one tanh then does all."""
        hidden = len(self.w["lstm_0.cell.u"])
        self.half = np.full(4 * hidden, 0.5, np.float32)
        self.half[2 * hidden : 3 * hidden] = 1

    def gradients(self, batch: Arrays) -> float:
        ids = batch["ids"].T  # time first
        t, n = len(ids) - 1, ids.shape[1]
        w, u, table = (self.w[k] for k in ("lstm_0.cell.w", "lstm_0.cell.u", "embedding_0.table"))
        hidden, flat = len(u), ids[:-1].ravel()
        x = np.take(table, flat, axis=0, out=self.room("x", t * n, table.shape[1]))
        gates = self.room("gates", t, n, 4 * hidden)
        np.matmul(x, w, out=gates.reshape(t * n, -1))
        gates += self.w["lstm_0.cell.b"]
        hs, cs = self.room("h", t + 1, n, hidden), self.room("c", t + 1, n, hidden)
        tanhs, product = self.room("tanh", t, n, hidden), self.room("product", n, 4 * hidden)
        hs[0], cs[0] = 0, 0
        for s in range(t):
            gate = gates[s]
            gate += np.matmul(hs[s], u, out=product)
            gate *= self.half
            np.tanh(gate, out=gate)
            gate *= self.half
            gate += 1 - self.half
            # The half of g is 1: it is tanh alone, and nothing was added to it.
            i, f, g, o = (gate[:, k * hidden : (k + 1) * hidden] for k in range(4))
            c = np.multiply(f, cs[s], out=cs[s + 1])
            c += np.multiply(i, g, out=tanhs[s])
            np.multiply(o, np.tanh(c, out=tanhs[s]), out=hs[s + 1])
        outputs = hs[1:].reshape(t * n, hidden)
        logits = self.dense("dense_0", outputs)
        loss = cross_entropy(logits, ids[1:].ravel(), self.rows)
        dhs = self.dense_back("dense_0", outputs, logits).reshape(t, n, hidden)
        d_gates = self.through_time(dhs, gates, cs, tanhs, u).reshape(t * n, -1)
        np.matmul(hs[:-1].reshape(t * n, hidden).T, d_gates, out=self.g["lstm_0.cell.u"])
        np.matmul(x.T, d_gates, out=self.g["lstm_0.cell.w"])
        np.add.reduce(d_gates, axis=0, out=self.g["lstm_0.cell.b"])
        self.embed_back("embedding_0", flat, np.matmul(d_gates, w.T, out=self.room("dx", *x.shape)))
        return loss

    def through_time(self, dhs: Array, gates: Array, cs: Array, tanhs: Array, u: Array) -> Array:
        """The gradients before the gates' functions, in the place of the gates."""
        t, n, hidden = dhs.shape
        dh, dc = self.room("dh", n, hidden), self.room("dc", n, hidden)
        d, slope = self.room("d gate", n, 4 * hidden), self.room("slope", n, 4 * hidden)
        dh.fill(0)
        dc.fill(0)
        parts = [slice(k * hidden, (k + 1) * hidden) for k in range(4)]
        d_i, d_f, d_g, d_o = (d[:, part] for part in parts)
        for s in reversed(range(t)):
            gate, tanh = gates[s], tanhs[s]
            i, f, g, o = (gate[:, part] for part in parts)
            dh += dhs[s]
            np.multiply(dh, tanh, out=d_o)
            # (1 - tanh^2) o dh goes on into the cell.
            tanh *= tanh
            np.subtract(1, tanh, out=tanh)
            tanh *= o
            tanh *= dh
            dc += tanh
            np.multiply(dc, g, out=d_i)
            np.multiply(dc, cs[s], out=d_f)
            np.multiply(dc, i, out=d_g)
            dc *= f
            # sigmoid' = y (1 - y), tanh' = 1 - y^2 = (1 + y) (1 - y)
            np.subtract(1, gate, out=slope)
            slope *= d
            g += 1
            gate *= slope
            np.matmul(gate, u.T, out=dh)
        return gates


class GPT(Peer):
    clip = 1.0

    def gradients(self, batch: Arrays) -> float:
        ids, depth = batch["ids"], self.sizes["depth"]
        n, t = ids.shape[0], ids.shape[1] - 1
        d, flat = self.w["pos"].shape[1], ids[:, :-1].ravel()
        x = np.take(self.w["embedding_0.table"], flat, axis=0, out=self.room("x", n * t, d))
        x.reshape(n, t, d)[...] += self.w["pos"]
        for i in range(depth):
            name = f"layer_0.{i}"
            a = self.norm(f"{name}.layer_norm_0", x)
            x += self.attention(f"{name}.multi_head_attention_0", a, n)
            a = self.norm(f"{name}.layer_norm_1", x)
            x += self.dense(f"{name}.dense_1", self.gelu(name, self.dense(f"{name}.dense_0", a)))
        a = self.norm("layer_norm_0", x)
        logits = self.dense("dense_0", a)
        loss = cross_entropy(logits, ids[:, 1:].ravel(), self.rows)
        dx = self.norm_back("layer_norm_0", self.dense_back("dense_0", a, logits))
        for i in reversed(range(depth)):
            name = f"layer_0.{i}"
            da = self.dense_back(f"{name}.dense_1", self.rooms[f"{name} gelu"], dx)
            da *= self.rooms[f"{name} slope"]
            a = self.rooms[f"{name}.layer_norm_1 y"]
            dx += self.norm_back(f"{name}.layer_norm_1", self.dense_back(f"{name}.dense_0", a, da))
            a = self.rooms[f"{name}.layer_norm_0 y"]
            da = self.attention_back(f"{name}.multi_head_attention_0", a, dx, n)
            dx += self.norm_back(f"{name}.layer_norm_0", da)
        np.add.reduce(dx.reshape(n, t, d), axis=0, out=self.g["pos"])
        self.embed_back("embedding_0", flat, dx)
        return loss

    def norm(self, name: str, x: Array) -> Array:
        """Layer norm over rows; keeps the normalized rows and 1 / std."""
        d = x.shape[1]
        z = np.subtract(x, x.mean(axis=1, keepdims=True), out=self.room(f"{name} z", *x.shape))
        scale = (1 / np.sqrt(np.einsum("nd,nd->n", z, z) / d + np.float32(1e-5)))[:, None]
        self.rooms[f"{name} scale"] = scale
        z *= scale
        y = np.multiply(z, self.w[f"{name}.gain"], out=self.room(f"{name} y", *x.shape))
        y += self.w[f"{name}.bias"]
        return y

    def norm_back(self, name: str, dy: Array) -> Array:
        """(dz - mean(dz) - z mean(dz z)) / std, in the place of `dy`."""
        z, d = self.rooms[f"{name} z"], dy.shape[1]
        np.einsum("nd,nd->d", dy, z, out=self.g[f"{name}.gain"])
        np.add.reduce(dy, axis=0, out=self.g[f"{name}.bias"])
        dy *= self.w[f"{name}.gain"]
        along = np.einsum("nd,nd->n", dy, z)[:, None] / d
        dy -= dy.mean(axis=1, keepdims=True)
        z *= along
        dy -= z
        dy *= self.rooms[f"{name} scale"]
        return dy

    def heads(self, x: Array, n: int) -> Array:
        """[N T, k D] -> views [k, N, heads, T, D / heads]."""
        heads, t, d = self.sizes["heads"], len(x) // n, self.w["pos"].shape[1]
        return x.reshape(n, t, -1, heads, d // heads).transpose(2, 0, 3, 1, 4)

    def attention(self, name: str, x: Array, n: int) -> Array:
        q, k, v = self.heads(self.dense(f"{name}.dense_0", x), n)
        t, scale = q.shape[2], np.float32(q.shape[3] ** -0.5)
        p = self.room(f"{name} p", *q.shape[:3], t)
        np.matmul(q, k.swapaxes(2, 3), out=p)
        p *= scale
        p += self.future(t)
        p -= p.max(axis=3, keepdims=True)
        np.exp(p, out=p)
        p /= p.sum(axis=3, keepdims=True)
        mixed = self.room(f"{name} mixed", *x.shape)
        np.matmul(p, v, out=self.heads(mixed, n)[0])
        return self.dense(f"{name}.dense_1", mixed)

    def future(self, t: int) -> Array:
        if "future" not in self.rooms:
            self.rooms["future"] = np.triu(np.full((t, t), -1e30, np.float32), 1)
        return self.rooms["future"]

    def attention_back(self, name: str, x: Array, dy: Array, n: int) -> Array:
        d_mixed = self.dense_back(f"{name}.dense_1", self.rooms[f"{name} mixed"], dy)
        (d_mixed,) = self.heads(d_mixed, n)
        q, k, v = self.heads(self.rooms[f"{name}.dense_0"], n)
        p, scale = self.rooms[f"{name} p"], np.float32(q.shape[3] ** -0.5)
        d_qkv = self.room("d qkv", *self.rooms[f"{name}.dense_0"].shape)
        dq, dk, dv = self.heads(d_qkv, n)
        np.matmul(p.swapaxes(2, 3), d_mixed, out=dv)
        ds = np.matmul(d_mixed, v.swapaxes(2, 3), out=self.room("ds", *p.shape))
        ds -= np.einsum("bhts,bhts->bht", ds, p)[..., None]
        ds *= p
        ds *= scale
        np.matmul(ds, k, out=dq)
        np.matmul(ds.swapaxes(2, 3), q, out=dk)
        return self.dense_back(f"{name}.dense_0", x, d_qkv)

    def gelu(self, name: str, x: Array) -> Array:
        """gelu(x), and its slope, which the backward pass takes.

        erf by Abramowitz & Stegun 7.1.26, right to 1.5e-7; its exp(-x^2 / 2) is also the slope's.
        """
        y, slope = self.room(f"{name} gelu", *x.shape), self.room(f"{name} slope", *x.shape)
        for i in range(0, len(x), 64):  # rows that stay in the cache
            _gelu(x[i : i + 64], y[i : i + 64], slope[i : i + 64])
        return y


def _gelu(x: Array, y: Array, slope: Array) -> None:
    """y = gelu(x) and slope = gelu'(x)."""
    t = np.abs(x)
    t *= 0.3275911 * np.sqrt(0.5)
    t += 1
    np.divide(1, t, out=t)
    tail = t * 1.061405429
    for factor in (-1.453152027, 1.421413741, -0.284496736, 0.254829592):
        tail += factor
        tail *= t
    np.multiply(x, x, out=slope)
    slope *= -0.5
    np.exp(slope, out=slope)
    tail *= slope
    tail *= 0.5  # P(Z > |x|)
    cdf = np.where(x > 0, 1 - tail, tail)
    np.multiply(x, cdf, out=y)
    slope *= x
    slope *= np.float32((2 * np.pi) ** -0.5)
    slope += cdf


class VAE(Peer):
    def gradients(self, batch: Arrays) -> float:
        x = batch["x"]
        n, latent = len(x), self.w["dense_2.w"].shape[0]
        hidden = self.dense("dense_0", x)
        np.maximum(hidden, 0, out=hidden)
        code = self.dense("dense_1", hidden)
        mu, logvar = code[:, :latent], code[:, latent:]
        noise = self.room("noise", n, latent)
        normal(self.rng, noise)
        std = np.exp(0.5 * logvar)
        noise *= std
        z = mu + noise
        wide = self.dense("dense_2", z)
        np.maximum(wide, 0, out=wide)
        logits = self.dense("dense_3", wide)
        loss = bce(logits, x, n, self.room("scratch", *logits.shape))
        var = std * std
        loss -= 0.5 * float((1 + logvar - mu * mu - var).sum()) / n

        d_wide = self.dense_back("dense_3", wide, logits)
        d_wide *= wide > 0
        dz = self.dense_back("dense_2", z, d_wide)
        d_code = self.room("d code", n, 2 * latent)
        d_code[:, :latent] = dz + mu * np.float32(1 / n)
        # d z / d logvar = noise std / 2, and noise is multiplied with std already
        d_code[:, latent:] = 0.5 * (dz * noise + (var - 1) * np.float32(1 / n))
        d_hidden = self.dense_back("dense_1", hidden, d_code)
        d_hidden *= hidden > 0
        self.dense_back("dense_0", x, d_hidden, need_dx=False)
        return loss


class NCF(Peer):
    def gradients(self, batch: Arrays) -> float:
        user, item = batch["user"], batch["item"]
        tables = [self.w[f"embedding_{i}.table"] for i in range(4)]
        n, wide = len(user), tables[2].shape[1]
        gmf_user, gmf_item = tables[0][user], tables[1][item]
        inputs = [self.room("mlp", n, 2 * wide)]
        np.take(tables[2], user, axis=0, out=inputs[0][:, :wide], mode="clip")
        np.take(tables[3], item, axis=0, out=inputs[0][:, wide:], mode="clip")
        for i in range(3):
            y = self.dense(f"dense_{i}", inputs[-1])
            inputs.append(np.maximum(y, 0, out=y))
        factors = gmf_user.shape[1]
        joined = self.room("joined", n, 2 * factors)
        np.multiply(gmf_user, gmf_item, out=joined[:, :factors])
        joined[:, factors:] = inputs[-1]
        logits = self.dense("dense_3", joined)
        loss = bce(logits, batch["liked"][:, None], n, self.room("scratch", n, 1))

        d_joined = self.dense_back("dense_3", joined, logits)
        dy = d_joined[:, factors:]
        for i in (2, 1, 0):
            dy *= inputs[i + 1] > 0
            dy = self.dense_back(f"dense_{i}", inputs[i], dy)
        d_gmf = d_joined[:, :factors]
        d_user = np.concatenate((d_gmf * gmf_item, dy[:, :wide]), axis=1)
        d_item = np.concatenate((d_gmf * gmf_user, dy[:, wide:]), axis=1)
        for ids, d, (narrow, broad) in ((user, d_user, (0, 2)), (item, d_item, (1, 3))):
            order = np.argsort(ids, kind="stable")
            found, starts = np.unique(ids[order], return_index=True)
            sums = np.add.reduceat(d[order], starts, axis=0)
            for table, part in ((narrow, sums[:, :factors]), (broad, sums[:, factors:])):
                grad = self.g[f"embedding_{table}.table"]
                grad.fill(0)
                grad[found] = part
        return loss


NETWORKS = {"mlp": MLP, "tiny": MLP, "cnn": CNN, "lstm": LSTM, "gpt": GPT, "vae": VAE, "ncf": NCF}


def by_hand(setup: Setup) -> Peer:
    return NETWORKS[setup.workload](setup)
