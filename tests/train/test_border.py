"""The border between NumPy's arrays and a framework's: the loop never looks into the latter."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nnc.language.diagnostics import NncError
from nnc.train import checkpoint
from nnc.train.checkpoint import state_hash
from nnc.train.loop import INTERRUPTED, Result
from tests.train.conftest import EMITTED, make_loop, training

#: `EMITTED` in a framework whose arrays NumPy cannot read
BOXED = (
    EMITTED
    + """
class Box:
    def __init__(self, value):
        self.value = value

    def __array__(self, *args, **kwargs):
        raise TypeError("read me with to_numpy")


def from_numpy(arrays):
    assert not any(isinstance(value, Box) for value in arrays.values())
    return {key: Box(np.array(value)) for key, value in arrays.items()}


def to_numpy(state):
    return {key: value.value for key, value in state.items()}


def boxed(function):
    def run(state, arrays, *rest):
        state, arrays = to_numpy(state), to_numpy(arrays)
        result = function(state, arrays, *rest)
        if isinstance(result, tuple):
            return from_numpy(result[0]), from_numpy(result[1])
        return from_numpy(result)

    return run


def boxed_init(seed, numpy_init=init):
    return from_numpy(numpy_init(seed))


init = boxed_init
step = boxed(step)
evaluate_val_batch = evaluate_test_batch = boxed(evaluate_val_batch)
evaluate_val_finish = evaluate_test_finish = boxed(evaluate_val_finish)
"""
)


def assert_same(found: Result, wanted: Result) -> None:
    assert state_hash(found.state) == state_hash(wanted.state)
    assert found.scores == wanted.scores


def test_a_run_is_the_same_run() -> None:
    assert_same(make_loop(emitted=BOXED).run(), make_loop().run())


def test_checkpoints_hold_numpy_arrays(tmp_path: Path) -> None:
    make_loop(tmp_path, BOXED).run()
    state = checkpoint.load(tmp_path / checkpoint.LAST).state
    assert all(isinstance(value, np.ndarray) for value in state.values())


@pytest.mark.parametrize(("first", "second"), [(BOXED, EMITTED), (EMITTED, BOXED)])
def test_a_run_goes_on_in_another_framework(
    first: str, second: str, tmp_path: Path, stop_after: object
) -> None:
    stopped = make_loop(tmp_path, first, stop_requested=stop_after(7))  # type: ignore[operator]
    assert stopped.run().reason == INTERRUPTED
    loop = make_loop(tmp_path, second)
    loop.resume(checkpoint.load(tmp_path / checkpoint.LAST))
    assert_same(loop.run(), make_loop().run())


def test_a_value_that_is_not_finite_is_found(tmp_path: Path) -> None:
    exploding = BOXED.replace("    return state, {", "    w[0] = np.nan\n    return state, {", 1)
    assert exploding != BOXED
    with pytest.raises(NncError, match=r"`net\.w` is not finite at step 0"):
        make_loop(tmp_path, exploding, training(counts=(100, 0))).run()
