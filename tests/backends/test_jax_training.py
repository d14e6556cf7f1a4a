"""A whole program in JAX: its streams, its chunks of steps, what it leaves alone."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import nnc_numpy
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nnc_jax import backend
from nnc_jax.runtime import compiled
from nnc_jax.streams import random_words

from nnc.random import draw_bits
from tests.backends.harness import load
from tests.backends.programs import BATCH, CLASSES, FEATURES, digits
from tests.backends.test_numpy_ops import assert_clean
from tests.backends.test_numpy_training import batch

ROWS = 200


@pytest.fixture(scope="module")
def source() -> str:
    return backend.emit(digits())


@pytest.fixture(scope="module")
def emitted(source: str) -> dict[str, Any]:
    return load(source)


# ---------------------------------------------------------------- streams
@pytest.mark.parametrize("counters", [(0, 0, 0, 0), (3, 2**40 + 7, 2**33, 5), (1, 2**63, 0, 2**35)])
@pytest.mark.parametrize("seed", [0, 7, 2**64 - 1])
@pytest.mark.parametrize("width", [16, 32])
def test_random_words_are_those_of_numpy(
    seed: int, width: int, counters: tuple[int, int, int, int]
) -> None:
    ordinal, step, iteration, offset = counters
    place = "dropout/net.a", ordinal, step, iteration, offset
    wanted = draw_bits(seed, *place, count=21, width=width)

    def draw(seed: Any, step: Any, iteration: Any, offset: Any) -> Any:
        place = "dropout/net.a", ordinal, step, iteration, offset
        return random_words((3, 7), seed, *place, width)

    given = (np.uint64(number) for number in (seed, step, iteration, offset))
    found = np.asarray(compiled(draw)(*given))
    np.testing.assert_array_equal(found, wanted.reshape(3, 7), strict=True)


draws = compiled(lambda seed, offset: random_words((9,), seed, "a", offset=offset))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**64 - 1), st.integers(0, 2**62))
def test_a_stream_can_be_entered_anywhere(seed: int, offset: int) -> None:
    found = np.asarray(draws(np.uint64(seed), np.uint64(offset)))
    np.testing.assert_array_equal(found, draw_bits(seed, "a", offset=offset, count=9))


def test_initial_weights_are_those_of_numpy(emitted: dict[str, Any]) -> None:
    wanted = load(nnc_numpy.backend.emit(digits()))["init"](5)
    found = emitted["to_numpy"](emitted["init"](5))
    assert list(found) == list(wanted)
    for path, value in wanted.items():
        np.testing.assert_array_equal(found[path], value, strict=True)


# ---------------------------------------------------------------- many steps in one call
@pytest.fixture(scope="module")
def data() -> dict[str, np.ndarray]:
    return batch("f32", ROWS)


def cut(emitted: dict[str, Any], data: dict[str, np.ndarray], lengths: list[int]) -> Any:
    """State and losses after calls of `run_classify` for so many steps each."""
    order = np.random.default_rng(3).integers(0, ROWS, (sum(lengths), BATCH), np.int32)
    numbers = [emitted["classify_scalars"](t, t, 2**64 - 1, t) for t in range(sum(lengths))]
    state, whole, losses, first = emitted["init"](0), emitted["from_numpy"](data), [], 0
    for length in lengths:
        part = slice(first, first + length)
        scalars = {name: np.array([each[name] for each in numbers[part]]) for name in numbers[0]}
        state, outs = emitted["run_classify"](state, whole, {"digits": order[part]}, scalars)
        losses.append(np.asarray(outs["loss"]))
        first += length
    return order, numbers, emitted["to_numpy"](state), np.concatenate(losses)


def test_the_cut_into_calls_does_not_change_a_bit(
    emitted: dict[str, Any], data: dict[str, np.ndarray]
) -> None:
    _, _, state, losses = cut(emitted, data, [11])
    for lengths in ([1] * 11, [4, 1, 6]):
        _, _, other, others = cut(emitted, data, lengths)
        np.testing.assert_array_equal(others, losses)
        for path, value in state.items():
            np.testing.assert_array_equal(other[path], value)


def test_many_steps_are_what_single_ones_are(
    emitted: dict[str, Any], data: dict[str, np.ndarray]
) -> None:
    order, numbers, wanted, losses = cut(emitted, data, [5])
    state = emitted["init"](0)
    for t, rows in enumerate(order):
        state, out = emitted["classify"](
            state, {name: values[rows] for name, values in data.items()}, numbers[t]
        )
        assert float(out["loss"]) == pytest.approx(losses[t], rel=1e-6)
    for path, value in emitted["to_numpy"](state).items():
        np.testing.assert_allclose(value, wanted[path], 1e-5, 1e-6, err_msg=path)


# ---------------------------------------------------------------- the user's JAX
def test_the_settings_of_jax_stay_as_they_are(emitted: dict[str, Any]) -> None:
    state = emitted["init"](0)
    state, out = emitted["classify"](state, batch("f32"), emitted["classify_scalars"](0, 0, 0, 0))
    assert not jax.config.jax_enable_x64
    assert jax.config.jax_default_matmul_precision is None
    assert {str(value.dtype) for value in (*state.values(), *out.values())} == {"float32"}
    assert jax.numpy.arange(2.0).dtype == np.float32


def test_a_step_consumes_its_state_and_copies_outlive_it(emitted: dict[str, Any]) -> None:
    state = emitted["init"](0)
    copies = emitted["to_numpy"](state)
    kept = {path: value.copy() for path, value in copies.items()}
    emitted["classify"](state, batch("f32"), emitted["classify_scalars"](0, 0, 0, 0))
    assert state["net.dense_0.w"].is_deleted()
    for path, value in kept.items():
        np.testing.assert_array_equal(copies[path], value)


def test_forward_can_be_differentiated_and_compiled_by_others(emitted: dict[str, Any]) -> None:
    state, x = emitted["init"](0), np.ones((5, FEATURES), np.float32)

    def total(weights: dict[str, Any]) -> Any:
        return emitted["forward"]({**state, **weights}, x).sum()

    weights = {path: state[path] for path in ("net.dense_1.b", "net.dense_0.w")}
    gradient = jax.jit(jax.grad(total))(weights)
    np.testing.assert_allclose(gradient["net.dense_1.b"], np.full(CLASSES, 5.0), 1e-6)
    assert gradient["net.dense_0.w"].dtype == np.float32


# ---------------------------------------------------------------- the file
ALONE = """
import importlib.util, sys
sys.modules["nnc"] = sys.modules["nnc_jax"] = sys.modules["nnc_numpy"] = None  # cannot be imported
import numpy as np
spec = importlib.util.spec_from_file_location("emitted", {path!r})
emitted = importlib.util.module_from_spec(spec)
spec.loader.exec_module(emitted)
x, y = np.full((64, 64), 0.5, np.float32), np.arange(64, dtype=np.int32) % 10
state, batch = emitted.init(0), emitted.from_numpy({{"digits.x": x, "digits.y": y}})
for t in range(20):
    state, out = emitted.classify(state, batch, emitted.classify_scalars(t, t, 0, t))
print(float(out["loss"]))
"""


def test_the_file_runs_where_there_is_no_nnc(source: str, tmp_path: Path) -> None:
    path = tmp_path / "out.py"
    path.write_text(source)
    script = ALONE.format(path=str(path))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) == pytest.approx(np.log(10), rel=0.1)


def test_the_file_is_formatted_and_clean(source: str, tmp_path: Path) -> None:
    (tmp_path / "out.py").write_text(source)
    assert_clean(tmp_path)


def test_a_device_is_a_constant_of_the_file(source: str) -> None:
    module = load(source.replace("DEVICE = None", 'DEVICE = "cpu"'))
    (array,) = module["from_numpy"]({"x": np.ones(2)}).values()
    assert {device.platform for device in array.devices()} == {"cpu"}
    assert array.committed
    assert array.dtype == np.float64
