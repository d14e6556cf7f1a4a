"""`dot` against einsum, and that it does not copy what it need not."""

import string
import tracemalloc
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnc.ir.dims import symbol
from nnc.ir.types import TensorType
from nnc.ops.registry import OPS, OpError
from tests.gradcheck import normal
from tests.ops.bodies import evaluate

dot = partial(evaluate, "dot")


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_dot_is_einsum(data: st.DataObject) -> None:
    """Any axes, in any order, on operands that lie in memory in any order."""
    counts = [data.draw(st.integers(0, 2)) for _ in range(4)]
    names = iter(string.ascii_lowercase)
    batch, summed, rows, columns = ("".join(next(names) for _ in range(n)) for n in counts)
    sizes = {name: data.draw(st.integers(1, 3)) for name in batch + summed + rows + columns}
    x_axes = "".join(data.draw(st.permutations(batch + summed + rows)))
    y_axes = "".join(data.draw(st.permutations(batch + summed + columns)))

    def array(axes: str) -> np.ndarray:
        order = data.draw(st.permutations(range(len(axes))))
        lying = normal(*(sizes[axes[i]] for i in order), seed=len(axes))
        return lying.transpose(np.argsort(order)) if axes else lying

    x, y = array(x_axes), array(y_axes)
    out = (
        batch + "".join(c for c in x_axes if c in rows) + "".join(c for c in y_axes if c in columns)
    )
    attrs = {
        kind: (tuple(map(x_axes.index, names)), tuple(map(y_axes.index, names)))
        for kind, names in (("contract", summed), ("batch", batch))
    }
    found = dot(x, y, **attrs)
    np.testing.assert_allclose(found, np.einsum(f"{x_axes},{y_axes}->{out}", x, y), atol=1e-12)
    inferred = OPS["dot"].infer(TensorType("f64", x.shape), TensorType("f64", y.shape), **attrs)
    assert inferred.shape == found.shape


BIG = normal(60, 50, 40)


@pytest.mark.parametrize(
    ("x", "y", "contract"),
    [
        (BIG, normal(40, 10), ((2,), (0,))),  # a layer
        (BIG[:, :, :10], normal(40, 10), ((2,), (1,))),  # the gradient of its input
        (BIG, normal(60, 50, 10), ((0, 1), (0, 1))),  # the gradient of its weights
        (BIG, normal(60, 50, 10), ((1, 0), (1, 0))),
    ],
)
def test_plain_products_copy_no_operand(
    x: np.ndarray, y: np.ndarray, contract: tuple[tuple[int, ...], tuple[int, ...]]
) -> None:
    x = np.ascontiguousarray(x)
    tracemalloc.start()
    result = dot(x, y, contract=contract, batch=((), ()))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < result.nbytes + min(x.nbytes, y.nbytes) // 4 + 20_000


def infer(x: tuple[Any, ...], y: tuple[Any, ...], dtype: str = "f32") -> TensorType:
    result: TensorType = OPS["dot"].infer(
        TensorType(dtype, x), TensorType("f32", y), contract=((1,), (0,)), batch=((), ())
    )
    return result


def test_products_that_make_no_sense_are_refused() -> None:
    with pytest.raises(
        OpError, match=r"cannot sum over axis 1 of f32\[2, 3\] and axis 0 .* 3 is not 4"
    ):
        infer((2, 3), (4, 5))
    with pytest.raises(OpError, match="N and 4 may differ"):
        infer((2, symbol("N")), (4, 5))
    with pytest.raises(OpError, match="element types differ"):
        infer((2, 3), (3, 5), "f64")
    with pytest.raises(OpError, match="distinct axes"):
        infer((2,), (3, 5))


@pytest.mark.parametrize("shape", [(6, 4), (4, 6), (5, 5)])
def test_orthogonal_matrices(shape: tuple[int, int]) -> None:
    q = evaluate("orthogonal", normal(*shape))
    small = q.T @ q if shape[0] >= shape[1] else q @ q.T
    np.testing.assert_allclose(small, np.eye(min(shape)), atol=1e-12)
    assert q.shape == shape


def test_the_signs_of_an_orthogonal_matrix_are_those_of_its_source() -> None:
    """R has a positive diagonal, so an orthogonal matrix is its own Q."""
    q = evaluate("orthogonal", normal(4, 4))
    np.testing.assert_allclose(evaluate("orthogonal", q), q, atol=1e-12)
