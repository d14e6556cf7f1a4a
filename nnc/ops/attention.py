"""Scaled dot-product attention as a composite: softmax(q @ k^T * scale) @ v (Vaswani et al. 2017).

Scores that a query may not see are -1e30, so that a query that sees nothing averages all of v.  The
log-sum-exp of the scores is a result for kernels that never hold all of them (Dao et al. 2022).
With P = softmax(scores), the gradient is

    dv = P^T dy,  ds = P * (dy v^T - sum(dy * y)),  dq = scale * ds k,  dk = scale * ds^T q

(ibid., appendix B.2).  Decomposed, it says P as the decomposed result does, which is then computed
once.  `attention_with_weights` has P as a result, for backends that rather keep it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from nnc.ir.dims import equal
from nnc.ir.types import TensorType, same_shape
from nnc.ops.parts import differentiated, vjp_of_parts
from nnc.ops.registry import OpError, family

if TYPE_CHECKING:
    from nnc.ir.builder import Tensor

define = family("nn")

#: the score of a key that a query may not see, and what f16 has for it
UNSEEN = -1e30
UNSEEN_F16 = -6e4


# ------------------------------------------------------------------------------------ type rules
def _attention_infer(
    q: TensorType,
    k: TensorType,
    v: TensorType,
    mask: TensorType | None = None,
    *,
    scale: float,
    causal: bool,
) -> tuple[TensorType, TensorType]:
    if not q.is_float or not q.dtype == k.dtype == v.dtype:
        raise OpError(f"`attention` needs floats of one type, not {q}, {k} and {v}")
    lead = q.shape[:-2]
    fits = (
        q.rank == k.rank == v.rank >= 2
        and same_shape(k.shape[:-2], lead)
        and same_shape(v.shape[:-1], k.shape[:-1])
        and equal(q.shape[-1], k.shape[-1]) is True
    )
    if not fits:
        raise OpError(
            "`attention` needs q [..., T, D], k [..., S, D] and v [..., S, E], "
            f"not {q}, {k} and {v}"
        )
    if causal and equal(q.shape[-2], k.shape[-2]) is not True:
        raise OpError(f"causal attention needs as many queries as keys, not {q} and {k}")
    if mask is not None:
        _check_mask(mask, q.with_shape((*q.shape[:-1], k.shape[-2])))
    return q.with_shape((*q.shape[:-1], v.shape[-1])), q.with_shape(q.shape[:-1])


def _check_mask(mask: TensorType, scores: TensorType) -> None:
    fits = mask.rank == scores.rank and all(
        dim == 1 or equal(dim, whole) is True
        for dim, whole in zip(mask.shape, scores.shape, strict=True)
    )
    if mask.dtype != "bool" or not fits:
        raise OpError(f"the mask of scores {scores} has bools of this shape, or 1s; it is {mask}")


def _attention_grad_infer(
    dy: TensorType, q: TensorType, k: TensorType, v: TensorType, *rest: TensorType, **attrs: Any
) -> tuple[TensorType, TensorType, TensorType]:
    *mask, y, logsumexp = rest
    of_y, of_logsumexp = _attention_infer(q, k, v, *mask, **attrs)
    _check_results((dy, of_y), (y, of_y), (logsumexp, of_logsumexp))
    return q, k, v


def _with_weights_infer(
    q: TensorType, k: TensorType, *others: TensorType, **attrs: Any
) -> tuple[TensorType, TensorType]:
    y, _ = _attention_infer(q, k, *others, **attrs)
    return y, q.with_shape((*q.shape[:-1], k.shape[-2]))


def _weights_grad_infer(
    dy: TensorType, q: TensorType, k: TensorType, v: TensorType, *rest: TensorType, **attrs: Any
) -> tuple[TensorType, TensorType, TensorType]:
    *mask, y, p = rest
    of_y, of_p = _with_weights_infer(q, k, v, *mask, **attrs)
    _check_results((dy, of_y), (y, of_y), (p, of_p))
    return q, k, v


def _check_results(*pairs: tuple[TensorType, TensorType]) -> None:
    for found, expected in pairs:
        if found.dtype != expected.dtype or not same_shape(found.shape, expected.shape):
            raise OpError(f"this attention gives {expected}; its gradient cannot take {found}")


# ------------------------------------------------------------------------------------ evaluation
def _turned(x: np.ndarray) -> np.ndarray:
    return np.swapaxes(x, -1, -2)


def _seen(shape: tuple[int, ...], mask: np.ndarray | None, causal: bool) -> np.ndarray:
    """Which scores count, as an array that broadcasts to their `shape`."""
    seen = np.tri(shape[-2], shape[-1], dtype=np.bool_) if causal else np.ones((), bool)
    return seen if mask is None else seen & mask


def _unseen(dtype: str) -> float:
    return UNSEEN_F16 if dtype in ("f16", "float16") else UNSEEN


def _scores(
    q: np.ndarray, k: np.ndarray, mask: np.ndarray | None, scale: float, causal: bool
) -> np.ndarray:
    scores = (q * q.dtype.type(scale)) @ _turned(k)
    return np.where(_seen(scores.shape, mask, causal), scores, q.dtype.type(_unseen(q.dtype.name)))


def _attention(
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    mask: np.ndarray | None = None,
    *,
    scale: float,
    causal: bool,
) -> tuple[np.ndarray, np.ndarray]:
    scores = _scores(q, k, mask, scale, causal)
    top = scores.max(-1, keepdims=True)
    p = np.exp(scores - top)
    total = p.sum(-1, keepdims=True)
    return (p / total) @ v, (np.log(total) + top)[..., 0]


def _with_weights(
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    mask: np.ndarray | None = None,
    *,
    scale: float,
    causal: bool,
) -> tuple[np.ndarray, np.ndarray]:
    scores = _scores(q, k, mask, scale, causal)
    p = np.exp(scores - scores.max(-1, keepdims=True))
    p /= p.sum(-1, keepdims=True)
    return p @ v, p


def _attention_grad(
    dy: np.ndarray,
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    *rest: np.ndarray,
    scale: float,
    causal: bool,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    *mask, y, _ = rest
    _, p = _with_weights(q, k, v, *mask, scale=scale, causal=causal)
    return _weights_grad(dy, q, k, v, *mask, y, p, scale=scale, causal=causal)


def _weights_grad(
    dy: np.ndarray,
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    *rest: np.ndarray,
    scale: float,
    causal: bool,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    mask, (y, p) = rest[0] if len(rest) == 3 else None, rest[-2:]
    ds = p * (dy @ _turned(v) - (dy * y).sum(-1, keepdims=True)) * q.dtype.type(scale)
    if mask is not None:  # else every query sees itself, and what it does not see has p = 0
        ds = np.where(_seen(ds.shape, mask, causal), ds, q.dtype.type(0))
    return ds @ k, _turned(ds) @ q, _turned(p) @ dy


# -------------------------------------------------------------------------------- decompositions
def _product(x: Tensor, y: Tensor, summed: tuple[int, int]) -> Tensor:
    """Over one axis each, counted from the last two, in step along the axes before these."""
    lead = tuple(range(x.rank - 2))
    contract = (x.rank + summed[0],), (y.rank + summed[1],)
    result: Tensor = x.emit("dot", y, contract=contract, batch=(lead, lead))
    return result


def _conditions(q: Tensor, k: Tensor, mask: Tensor | None, causal: bool) -> list[Tensor]:
    """What says which scores [..., T, S] count, in their shape."""
    shape, found = (*q.shape[:-1], k.shape[-2]), []
    if causal:
        emit = q.builder.emit
        query, key = (emit("iota", shape=shape[-2:], axis=axis, dtype="i32") for axis in (0, 1))
        found.append((key <= query).expand(shape))
    if mask is not None:
        kept = [axis for axis, dim in enumerate(mask.shape) if equal(dim, shape[axis]) is True]
        narrow = mask.reshape(tuple(mask.shape[axis] for axis in kept))
        found.append(narrow if len(kept) == len(shape) else narrow.broadcast(shape, tuple(kept)))
    return found


def _shown(q: Tensor, k: Tensor, mask: Tensor | None, scale: float, causal: bool) -> Tensor:
    """The scores, with those that do not count."""
    scores = _product(q * scale, k, (-1, -1))
    for condition in _conditions(q, k, mask, causal):
        scores = condition.where(scores, _unseen(scores.dtype))
    return scores


def _attention_decompose(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, *, scale: float, causal: bool
) -> tuple[Tensor, Tensor]:
    scores = _shown(q, k, mask, scale, causal)
    last = scores.rank - 1
    y = _product(scores.emit("softmax", axis=last), v, (-1, -2))
    return y, scores.emit("logsumexp", axis=last)


def _with_weights_decompose(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, *, scale: float, causal: bool
) -> tuple[Tensor, Tensor]:
    scores = _shown(q, k, mask, scale, causal)
    p: Tensor = scores.emit("softmax", axis=scores.rank - 1)
    return _product(p, v, (-1, -2)), p


def _attention_grad_decompose(
    dy: Tensor, q: Tensor, k: Tensor, v: Tensor, *rest: Tensor, scale: float, causal: bool
) -> tuple[Tensor, Tensor, Tensor]:
    *mask, y, _ = rest
    _, p = _with_weights_decompose(q, k, v, *mask, scale=scale, causal=causal)
    return _weights_grad_decompose(dy, q, k, v, *mask, y, p, scale=scale, causal=causal)


def _weights_grad_decompose(
    dy: Tensor, q: Tensor, k: Tensor, v: Tensor, *rest: Tensor, scale: float, causal: bool
) -> tuple[Tensor, Tensor, Tensor]:
    mask, (y, p) = rest[0] if len(rest) == 3 else None, rest[-2:]
    last = p.rank - 1
    mean = (dy * y).sum((last,)).restore(p.shape, (last,))
    ds = p * (_product(dy, v, (-1, -1)) - mean)
    if mask is not None:
        for condition in _conditions(q, k, mask, causal):
            ds = condition.where(ds, 0.0)
    return (
        _product(ds, k, (-1, -2)) * scale,
        _product(ds, q * scale, (-2, -2)),
        _product(p, dy, (-2, -2)),
    )


def _logsumexp_of_scores(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, *, scale: float, causal: bool
) -> Tensor:
    scores = _shown(q, k, mask, scale, causal)
    result: Tensor = scores.emit("logsumexp", axis=scores.rank - 1)
    return result


# ------------------------------------------------------------------------------------- gradients
def _attention_vjp(
    dys: tuple[Tensor | None, Tensor | None],
    ys: tuple[Tensor, Tensor],
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *mask: Tensor,
    **attrs: Any,
) -> tuple[Tensor | None, ...]:
    dy, dlogsumexp = dys
    found: list[Tensor | None] = [None] * 3
    if dy is not None:
        found = list(dy.emit("attention_grad", q, k, v, *mask, *ys, **attrs))
    if dlogsumexp is not None:
        more = differentiated(
            lambda *xs: _logsumexp_of_scores(*xs, **attrs), [dlogsumexp], (q, k, v, *mask)
        )
        for i, given in enumerate(more[:2]):
            total = found[i]
            found[i] = given if total is None or given is None else total + given
    return (*found, *(None for _ in mask))


define(
    "attention",
    infer=_attention_infer,
    evaluate=_attention,
    vjp=_attention_vjp,
    decompose=_attention_decompose,
    doc="softmax(q @ k^T * scale) @ v for q [..., T, D], k [..., S, D], v [..., S, E], and the "
    "log-sum-exp of the scores [..., T].  A bool mask [..., T, S] (1 for axes that it does not "
    "tell apart) is true, and `causal` lets a score count, where a query sees a key; else the "
    "score is -1e30.",
)
define(
    "attention_grad",
    infer=_attention_grad_infer,
    evaluate=_attention_grad,
    vjp=vjp_of_parts(_attention_grad_decompose),
    decompose=_attention_grad_decompose,
    doc="Cotangents of the q, k and v of an attention, from dy, its operands and its results.",
)
define(
    "attention_with_weights",
    infer=_with_weights_infer,
    evaluate=_with_weights,
    vjp=vjp_of_parts(_with_weights_decompose),
    decompose=_with_weights_decompose,
    doc="An attention, and the softmax of its scores [..., T, S] in the place of their "
    "log-sum-exp.",
)
define(
    "attention_weights_grad",
    infer=_weights_grad_infer,
    evaluate=_weights_grad,
    vjp=vjp_of_parts(_weights_grad_decompose),
    decompose=_weights_grad_decompose,
    doc="Cotangents of the q, k and v of an attention_with_weights, from dy, its operands and its "
    "results.",
)
