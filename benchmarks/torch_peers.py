"""PyTorch by hand: modules, autograd and torch.optim, as its own tutorials write it.

Modules stand in the order in which nnc numbers its layers, so that weights can be copied.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.workloads import Arrays, Setup

Batch = dict[str, Tensor]
Sizes = Any


class MLP(nn.Module):
    def __init__(self, w: list[int], rate: float = 0.0):
        super().__init__()
        hidden = pairwise(w[:-1])
        self.layers = nn.Sequential(
            *(m for a, b in hidden for m in (nn.Linear(a, b), nn.ReLU(), nn.Dropout(rate))),
            nn.Linear(w[-2], w[-1]),
        )

    def loss(self, batch: Batch) -> Tensor:
        return F.cross_entropy(self.layers(batch["x"]), batch["y"])


class Basic(nn.Module):
    def __init__(self, inputs: int, c: int, stride: int):
        super().__init__()
        self.skip = conv_norm(inputs, c, 1, stride) if stride > 1 else nn.Identity()
        self.a = conv_norm(inputs, c, 3, stride)
        self.b = conv_norm(c, c, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.skip(x) + self.b(F.relu(self.a(x))))


def conv_norm(inputs: int, c: int, k: int, stride: int) -> nn.Module:
    conv = nn.Conv2d(inputs, c, k, stride, padding=k // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(c))


class ResNet(nn.Module):
    def __init__(self, c: int):
        super().__init__()
        self.body = nn.Sequential(
            conv_norm(3, c, 3, 1),
            nn.ReLU(),
            Basic(c, c, 1),
            Basic(c, 2 * c, 2),
            Basic(2 * c, 4 * c, 2),
        )
        self.head = nn.Linear(4 * c, 10)

    def loss(self, batch: Batch) -> Tensor:
        features = self.body(batch["x"]).mean((2, 3))
        return F.cross_entropy(self.head(features), batch["y"])


class CharLM(nn.Module):
    def __init__(self, vocab: int, embed: int, hidden: int):
        super().__init__()
        self.embedding = nn.Embedding(vocab, embed)
        self.lstm = nn.LSTM(embed, hidden, batch_first=True)
        # One bias trains, as in nnc: two of them would move twice as far.
        self.lstm.bias_hh_l0 = nn.Parameter(torch.zeros(4 * hidden), requires_grad=False)
        self.head = nn.Linear(hidden, vocab)

    def loss(self, batch: Batch) -> Tensor:
        logits = self.head(self.lstm(self.embedding(batch["inputs"]))[0])
        return F.cross_entropy(logits.flatten(0, 1), batch["targets"].flatten())


class Positions(nn.Module):
    def __init__(self, length: int, width: int):
        super().__init__()
        self.pos = nn.Parameter(torch.zeros(length, width))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.pos


class Layer(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm_a = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm_b = nn.LayerNorm(width)
        self.ff = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        n, t, d = x.shape
        qkv = self.qkv(self.norm_a(x)).view(n, t, 3, self.heads, d // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).reshape(n, t, d))
        return x + self.ff(self.norm_b(x))


class GPT(nn.Module):
    def __init__(self, vocab: int, width: int, length: int, depth: int, heads: int):
        super().__init__()
        self.body = nn.Sequential(
            nn.Embedding(vocab, width),
            Positions(length, width),
            *(Layer(width, heads) for _ in range(depth)),
            nn.LayerNorm(width),
            nn.Linear(width, vocab),
        )

    def loss(self, batch: Batch) -> Tensor:
        logits = self.body(batch["inputs"])
        return F.cross_entropy(logits.flatten(0, 1), batch["targets"].flatten())


class VAE(nn.Module):
    def __init__(self, inputs: int, hidden: int, latent: int):
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, 2 * latent)
        )
        self.decoder = nn.Sequential(
            nn.Linear(latent, hidden), nn.ReLU(), nn.Linear(hidden, inputs)
        )

    def loss(self, batch: Batch) -> Tensor:
        x = batch["x"]
        mu, logvar = self.encoder(x).chunk(2, dim=1)
        z = mu + torch.exp(0.5 * logvar) * torch.randn_like(mu)
        fit = F.binary_cross_entropy_with_logits(self.decoder(z), x, reduction="sum")
        kl = -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())
        return (fit + kl) / len(x)


class NeuMF(nn.Module):
    def __init__(self, users: int, items: int, factors: int):
        super().__init__()
        self.user_gmf, self.item_gmf = nn.Embedding(users, factors), nn.Embedding(items, factors)
        wide = 4 * factors
        self.user_mlp, self.item_mlp = nn.Embedding(users, wide), nn.Embedding(items, wide)
        sizes = [8 * factors, 4 * factors, 2 * factors, factors]
        pairs = pairwise(sizes)
        self.mlp = nn.Sequential(*(m for a, b in pairs for m in (nn.Linear(a, b), nn.ReLU())))
        self.head = nn.Linear(2 * factors, 1)

    def loss(self, batch: Batch) -> Tensor:
        user, item = batch["user"], batch["item"]
        gmf = self.user_gmf(user) * self.item_gmf(item)
        mlp = self.mlp(torch.cat((self.user_mlp(user), self.item_mlp(item)), dim=1))
        logits = self.head(torch.cat((gmf, mlp), dim=1)).squeeze(1)
        return F.binary_cross_entropy_with_logits(logits, batch["liked"])


def network(setup: Setup) -> nn.Module:
    """The network of a workload; its widths are those of nnc's weights."""
    w: dict[str, Any] = {k.removeprefix("net."): v.shape for k, v in setup.weights.items()}
    sizes: Sizes = setup.sizes
    match setup.workload:
        case "mlp":
            widths = [w["dense_0.w"][0], *(w[f"dense_{i}.b"][0] for i in range(3))]
            return MLP(widths, sizes["rate"])
        case "tiny":
            return MLP([w["dense_0.w"][0], w["dense_0.b"][0], w["dense_1.b"][0]])
        case "cnn":
            return ResNet(w["conv_norm_0.conv_0.w"][-1])
        case "lstm":
            vocab, embed = w["embedding_0.table"]
            return CharLM(vocab, embed, w["lstm_0.cell.u"][0])
        case "gpt":
            vocab, width = w["embedding_0.table"]
            return GPT(vocab, width, w["pos"][0], sizes["depth"], sizes["heads"])
        case "vae":
            inputs, hidden = w["dense_0.w"]
            return VAE(inputs, hidden, w["dense_2.w"][0])
        case _:
            return NeuMF(sizes["users"], sizes["items"], w["embedding_0.table"][1])


def optimizer(workload: str, model: nn.Module, **options: Any) -> torch.optim.Optimizer:
    trained = [p for p in model.parameters() if p.requires_grad]
    match workload:
        case "tiny":
            return torch.optim.SGD(trained, lr=0.1, **options)
        case "cnn":
            return torch.optim.SGD(
                trained, lr=0.05, momentum=0.9, nesterov=True, weight_decay=5e-4, **options
            )
        case "gpt":
            return torch.optim.AdamW(trained, lr=1e-3, weight_decay=0.1, **options)
        case _:
            return torch.optim.Adam(trained, lr=1e-3, **options)


class Peer:
    unit = 1

    def __init__(self, setup: Setup, compiled: bool = False):
        torch.manual_seed(0)
        self.model = network(setup)
        copy_in(self.model, setup.weights)
        self.clip = setup.workload in ("lstm", "gpt")
        self.trained = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = optimizer(
            setup.workload, self.model, **({"fused": True} if compiled else {})
        )
        self.loss: Callable[[Batch], Tensor] = self.model.loss  # type: ignore[assignment]
        if compiled:
            self.loss = torch.compile(self.loss)
        self.batches = [tensors(batch) for batch in setup.batches]
        self.done = 0

    def step(self, batch: Batch) -> Tensor:
        self.optimizer.zero_grad()
        loss = self.loss(batch)
        loss.backward()
        if self.clip:
            nn.utils.clip_grad_norm_(self.trained, 1.0)
        self.optimizer.step()
        return loss.detach()

    def run(self, steps: int) -> float:
        for t in range(self.done, self.done + steps):
            loss = self.step(self.batches[t % len(self.batches)])
        self.done += steps
        return float(loss)

    def weights(self) -> Arrays:
        return copy_out(self.model)


def eager(setup: Setup) -> Peer:
    return Peer(setup)


def compiled(setup: Setup) -> Peer:
    """Forward and backward under torch.compile, the optimizer fused."""
    return Peer(setup, compiled=True)


def tensors(batch: Arrays) -> Batch:
    """Labels and ids as int64 and images as [N, C, H, W], as PyTorch has them."""
    if "ids" in batch:
        ids = torch.from_numpy(batch["ids"]).long()
        return {"inputs": ids[:, :-1].contiguous(), "targets": ids[:, 1:].contiguous()}
    made = {k: torch.from_numpy(v) for k, v in batch.items()}
    if made.get("x", torch.empty(0)).dim() == 4:
        made["x"] = made["x"].permute(0, 3, 1, 2).contiguous()
    return {k: v.long() if v.dtype == torch.int32 else v for k, v in made.items()}


# ------------------------------------------------------------ weights in nnc's layouts
#: nnc's name -> the name in a module and the axes of nnc's array there
LAYOUTS: dict[type[nn.Module], dict[str, tuple[str, tuple[int, ...]]]] = {
    nn.Linear: {"w": ("weight", (1, 0)), "b": ("bias", (0,))},
    nn.Conv2d: {"w": ("weight", (3, 2, 0, 1))},
    nn.BatchNorm2d: {
        "mean": ("running_mean", (0,)),
        "gain": ("weight", (0,)),
        "bias": ("bias", (0,)),
    },
    nn.LayerNorm: {"gain": ("weight", (0,)), "bias": ("bias", (0,))},
    nn.Embedding: {"table": ("weight", (0, 1))},
    nn.LSTM: {
        "w": ("weight_ih_l0", (1, 0)),
        "u": ("weight_hh_l0", (1, 0)),
        "b": ("bias_ih_l0", (0,)),
    },
    Positions: {"pos": ("pos", (0, 1))},
}


def copy_in(model: nn.Module, weights: Arrays) -> None:
    """The weights of nnc into the modules, which stand in the same order.

    The running variance of nnc's batch norm is biased and PyTorch's is not: that one stays out.
    """
    owners = dict.fromkeys(path.rpartition(".")[0] for path in weights)
    for owner, module in zip(owners, _leaves(model), strict=True):
        module.nnc_path = owner  # type: ignore[assignment]
        for name, (own, axes) in LAYOUTS[type(module)].items():
            array = np.ascontiguousarray(weights[f"{owner}.{name}"].transpose(axes))
            getattr(module, own).data.copy_(torch.from_numpy(array))


def copy_out(model: nn.Module) -> Arrays:
    found: Arrays = {}
    for module in _leaves(model):
        for name, (own, axes) in LAYOUTS[type(module)].items():
            array = getattr(module, own).detach().numpy()
            found[f"{module.nnc_path}.{name}"] = array.transpose(np.argsort(axes)).copy()
    return found


def _leaves(model: nn.Module) -> Iterator[nn.Module]:
    return (module for module in model.modules() if type(module) in LAYOUTS)
