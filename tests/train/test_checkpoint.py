"""Checkpoint files: what goes in comes out, damage is found, the one before is used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from nnc.language.diagnostics import NncError
from nnc.train import checkpoint
from nnc.train.checkpoint import Checkpoint, decode, encode, load, load_last, save, state_hash

DTYPES = st.sampled_from(["f4", "f8", "f2", "i4", "i8", "u4", "u8", "?"])
VALUES = arrays.arrays(DTYPES, arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3))


def example(step: int = 3) -> Checkpoint:
    state = {"net.w": np.arange(6, dtype=np.float32).reshape(2, 3), "@opt/a/t": np.float32(2)}
    return Checkpoint(state, {"seed": 2**63, "step": step}, {"digits": {"mean": np.ones(2)}})


def message(problem: pytest.ExceptionInfo[NncError]) -> str:
    return problem.value.diagnostics[0].message


@given(st.dictionaries(st.text("abc./@", min_size=1), VALUES, max_size=4), st.integers())
def test_a_round_trip_keeps_every_bit(state: dict[str, np.ndarray], number: int) -> None:
    state = {f"net.{path}": value for path, value in state.items()}
    found = decode(encode(Checkpoint(state, {"number": number})), "x")
    assert state_hash(found.state) == state_hash(state)
    assert found.meta == {"number": number}


def test_fitted_statistics_stand_under_data() -> None:
    content = encode(example())
    assert "@data/digits/mean" in safetensors.numpy.load(content)
    found = decode(content, "x")
    assert "@data/digits/mean" not in found.state
    np.testing.assert_array_equal(found.fitted["digits"]["mean"], np.ones(2))


def test_equal_checkpoints_are_equal_files() -> None:
    assert encode(example()) == encode(example())


def test_a_loaded_state_can_be_written_to() -> None:
    decode(encode(example()), "x").state["net.w"][0, 0] = 9


def test_memory_order_is_not_part_of_the_value() -> None:
    turned = Checkpoint({"w": np.asfortranarray(np.arange(6.0).reshape(2, 3))}, {})
    np.testing.assert_array_equal(
        decode(encode(turned), "x").state["w"], np.arange(6.0).reshape(2, 3)
    )


@pytest.mark.parametrize("position", [0, 9, 60, -30, -1])
def test_a_changed_byte_is_found(position: int) -> None:
    content = bytearray(encode(example()))
    content[position] ^= 0x55
    with pytest.raises(NncError) as problem:
        decode(bytes(content), "last.safetensors")
    assert "last.safetensors" in message(problem)


@pytest.mark.parametrize("length", [0, 5, 100, -1])
def test_a_cut_file_is_found(length: int) -> None:
    with pytest.raises(NncError, match="is damaged"):
        decode(encode(example())[:length], "x")


def test_weights_of_others_are_no_checkpoint(tmp_path: Path) -> None:
    safetensors.numpy.save_file({"w": np.ones(2)}, tmp_path / "other.safetensors")
    with pytest.raises(NncError, match="is not a checkpoint of nnc"):
        load(tmp_path / "other.safetensors")


def test_the_one_before_stays_and_is_used(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        save(tmp_path, example(step))
    assert load(tmp_path / checkpoint.LAST).meta["step"] == 3
    assert load(tmp_path / checkpoint.PREVIOUS).meta["step"] == 2
    assert load_last(tmp_path)[1] == []
    (tmp_path / checkpoint.LAST).write_bytes(b"half a checkpoi")
    found, remarks = load_last(tmp_path)
    assert found.meta["step"] == 2
    assert "last.safetensors is damaged" in remarks[0]
    assert "previous.safetensors" in remarks[1]


def test_without_a_whole_one_the_damage_is_named(tmp_path: Path) -> None:
    with pytest.raises(NncError, match="holds no checkpoint"):
        load_last(tmp_path)
    (tmp_path / checkpoint.LAST).write_bytes(b"")
    with pytest.raises(NncError, match=r"last\.safetensors is damaged"):
        load_last(tmp_path)


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: Any) -> None:
    save(tmp_path, example(1))
    before = (tmp_path / checkpoint.LAST).read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(NncError, match="No space left on device"):
        save(tmp_path, example(2))
    assert (tmp_path / checkpoint.LAST).read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [checkpoint.LAST]
