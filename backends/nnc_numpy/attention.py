"""Attention as functions that take a few samples at a time, so that their scores stay in the cache.

Heads are views of the arrays that hold all of them: products read and write them where they lie.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

Part = tuple[slice, ...]


def attention(
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    mask: np.ndarray | None = None,
    *,
    scale: float,
    causal: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """softmax(q @ k^T * scale) @ v [..., T, E], and the log-sum-exp of the scores [..., T]."""
    shape = (*q.shape[:-1], k.shape[-2])
    y, logsumexp = attended_like(q, v), np.empty(q.shape[:-1], q.dtype)
    limit = score_limits(shape, mask, causal, q.dtype)
    for part in parts_of_scores(shape):
        p = np.empty((*q[part].shape[:-1], shape[-1]), q.dtype)
        logsumexp[part] = softmax_of_scores(q[part], k[part], limit, part, scale, p)
        np.matmul(p, v[part], out=y[part])
    return y, logsumexp


def attention_with_weights(
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    mask: np.ndarray | None = None,
    *,
    scale: float,
    causal: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """y = p @ v [..., T, E] and p = softmax(q @ k^T * scale) [..., T, S]."""
    p = np.empty((*q.shape[:-1], k.shape[-2]), q.dtype)
    y, limit = attended_like(q, v), score_limits(p.shape, mask, causal, q.dtype)
    for part in parts_of_scores(p.shape):
        softmax_of_scores(q[part], k[part], limit, part, scale, p[part])
        np.matmul(p[part], v[part], out=y[part])
    return y, p


def attention_weights_grad(
    dy: np.ndarray,
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    *rest: np.ndarray,
    scale: float,
    causal: bool,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """dq, dk and dv, where the rest is the mask, if there is one, y and p.

    A sum along a row of dp * p is one of dy * y, which has fewer columns.
    """
    *mask, y, p = rest
    dq, dk, dv = np.empty_like(q), np.empty_like(k), np.empty_like(v)
    seen = seen_scores(p.shape, mask[0], causal) if mask else None
    for part in parts_of_scores(p.shape):
        ds = dy[part] @ v[part].swapaxes(-1, -2)
        ds -= np.einsum("...te,...te->...t", dy[part], y[part])[..., None]
        ds *= p[part]
        ds *= scale
        if seen is not None:
            # A query that sees nothing has weights for what does not count all the same.
            ds *= part_of_mask(seen, part)
        np.matmul(ds, k[part], out=dq[part])
        np.matmul(ds.swapaxes(-1, -2), q[part], out=dk[part])
        np.matmul(p[part].swapaxes(-1, -2), dy[part], out=dv[part])
    return dq, dk, dv


def attention_grad(
    dy: np.ndarray,
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    *rest: np.ndarray,
    scale: float,
    causal: bool,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The same from the log-sum-exp of the scores in the place of p."""
    *mask, y, _ = rest
    p = np.empty((*q.shape[:-1], k.shape[-2]), q.dtype)
    limit = score_limits(p.shape, mask[0] if mask else None, causal, q.dtype)
    for part in parts_of_scores(p.shape):
        softmax_of_scores(q[part], k[part], limit, part, scale, p[part])
    return attention_weights_grad(dy, q, k, v, *mask, y, p, scale=scale, causal=causal)


def softmax_of_scores(
    q: np.ndarray, k: np.ndarray, limit: np.ndarray | None, part: Part, scale: float, p: np.ndarray
) -> np.ndarray:
    """Writes softmax(min(q @ k^T * scale, limit)) into p [..., T, S]; the scores' log-sum-exp."""
    np.matmul(q * scale, k.swapaxes(-1, -2), out=p)
    if limit is not None:
        np.minimum(p, part_of_mask(limit, part), out=p)
    top = np.maximum.reduce(p, axis=-1, keepdims=True)
    p -= top
    np.exp(p, out=p)
    total = p @ np.ones((p.shape[-1], 1), p.dtype)
    p *= 1 / total
    return (np.log(total) + top)[..., 0]


def attended_like(q: np.ndarray, v: np.ndarray) -> np.ndarray:
    """A new array [..., T, E], with the axes in memory as q or v has them."""
    shape = (*q.shape[:-1], v.shape[-1])
    like = [x for x in (q, v) if x.shape == shape]
    return np.empty_like(like[0]) if like else np.empty(shape, q.dtype)


def score_limits(
    shape: tuple[int, ...], mask: np.ndarray | None, causal: bool, dtype: np.dtype[Any]
) -> np.ndarray | None:
    """Numbers that scores of `shape` must not exceed: -1e30 where a query may not see a key."""
    if mask is None and not causal:
        return None
    seen = seen_scores(shape, mask, causal)
    return np.where(seen, dtype.type(np.inf), dtype.type(-1e30))


def seen_scores(shape: tuple[int, ...], mask: np.ndarray | None, causal: bool) -> np.ndarray:
    """Which scores of `shape` count, with 1s for axes along which it is the same."""
    seen = np.tri(*shape[-2:], dtype=np.bool_) if causal else np.ones((1, 1), np.bool_)
    return seen if mask is None else seen & mask


def part_of_mask(mask: np.ndarray, part: Part) -> np.ndarray:
    """What of a mask [T, S] or [..., T, S], with 1s for axes along which it is the same, is for
    the `part` of the leading axes."""
    if mask.ndim == 2:
        return mask
    places = zip(mask.shape, part, strict=False)
    return mask[tuple([slice(None) if count == 1 else place for count, place in places])]


def parts_of_scores(shape: tuple[int, ...]) -> Iterator[Part]:
    """Parts of the leading axes of [..., T, S]: as many at a time as have 2^15 scores together."""
    lead, size = shape[:-2], int(np.prod(shape[1:]))
    if not lead:
        yield ()
    elif size > 32768 and len(lead) > 1:
        for index in range(lead[0]):
            for part in parts_of_scores(shape[1:]):
                yield slice(index, index + 1), *part
    else:
        count = max(1, 32768 // max(size, 1))
        for start in range(0, lead[0], count):
            yield (slice(start, start + count),)
