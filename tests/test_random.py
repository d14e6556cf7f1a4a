"""The random streams: known answers, independence of chunks and order, limits."""

import inspect

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnc import random
from nnc.random import bits64, draw_bits, permutation, tag

few = settings(max_examples=25, deadline=None)
counts = st.integers(0, 200)

#: Random123's kat_vectors for philox4x64 with 10 rounds: counter, key, words.
KNOWN_ANSWERS = [
    (
        "0000000000000000 0000000000000000 0000000000000000 0000000000000000",
        "0000000000000000 0000000000000000",
        "16554d9eca36314c db20fe9d672d0fdc d7e772cee186176b 7e68b68aec7ba23b",
    ),
    (
        "ffffffffffffffff ffffffffffffffff ffffffffffffffff ffffffffffffffff",
        "ffffffffffffffff ffffffffffffffff",
        "87b092c3013fe90b 438c3c67be8d0224 9cc7d7c69cd777b6 a09caebf594f0ba0",
    ),
    (
        "243f6a8885a308d3 13198a2e03707344 a4093822299f31d0 082efa98ec4e6c89",
        "452821e638d01377 be5466cf34e90c6c",
        "a528f45403e61d95 38c72dbd566e9788 a5a1610e72fd18b5 57bd43b5e52b7fe6",
    ),
]


def words(text: str) -> list[int]:
    return [int(word, 16) for word in text.split()]


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN_ANSWERS)
def test_numpy_is_random123_one_counter_later(counter, key, expected):
    number = sum(word << (64 * i) for i, word in enumerate(words(counter)))
    before = (number - 1) % 2**256
    start = [(before >> (64 * i)) % 2**64 for i in range(4)]
    stream = np.random.Philox(
        key=np.array(words(key), np.uint64), counter=np.array(start, np.uint64)
    )
    assert stream.random_raw(4).tolist() == words(expected)


def philox(counter: list[int], key: list[int]) -> list[int]:
    """Philox4x64-10 as the paper defines it (Salmon et al. 2011, section 3.3)."""
    mask = 2**64 - 1
    for _ in range(10):
        left, right = 0xD2E7470EE14C6C93 * counter[0], 0xCA5A826395121157 * counter[2]
        counter = [
            (right >> 64) ^ counter[1] ^ key[0],
            right & mask,
            (left >> 64) ^ counter[3] ^ key[1],
            left & mask,
        ]
        key = [(key[0] + 0x9E3779B97F4A7C15) & mask, (key[1] + 0xBB67AE8584CAA73B) & mask]
    return counter


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN_ANSWERS)
def test_the_reference_of_these_tests_gives_the_known_answers(counter, key, expected):
    assert philox(words(counter), words(key)) == words(expected)


def test_the_counter_holds_block_iteration_ordinal_step_from_low_to_high():
    drawn = bits64(7, "dropout/net", ordinal=3, step=5, iteration=11, count=8)
    key = [7, tag("dropout/net")]
    # NumPy counts up before the first block.
    assert drawn.tolist() == philox([1, 11, 3, 5], key) + philox([2, 11, 3, 5], key)


def test_the_tag_is_the_head_of_sha256_in_little_endian():
    # printf 'abc' | sha256sum: ba7816bf 8f01cfea ...
    assert tag("abc") == int.from_bytes(bytes.fromhex("ba7816bf8f01cfea"), "little")


def test_a_64_bit_word_gives_its_low_half_first():
    word = int(bits64(1, "a", count=1)[0])
    assert draw_bits(1, "a", count=2).tolist() == [word & 0xFFFFFFFF, word >> 32]


def test_words_are_pinned():
    """These numbers are part of the language: weights of every program depend on them."""
    assert draw_bits(0, "init/net.dense_0.w", count=4).tolist() == [
        3705395747,
        2259039916,
        2384762764,
        3862671796,
    ]
    assert permutation(0, "shuffle/digits", 3, 10).tolist() == [8, 6, 9, 1, 3, 2, 7, 4, 5, 0]


@few
@given(offset=counts, count=counts)
def test_an_offset_skips_words(offset, count):
    whole = draw_bits(3, "p", 1, 2, 3, count=offset + count)
    assert np.array_equal(draw_bits(3, "p", 1, 2, 3, offset, count=count), whole[offset:])
    whole = bits64(3, "p", 1, 2, 3, count=offset + count)
    assert np.array_equal(bits64(3, "p", 1, 2, 3, offset, count=count), whole[offset:])


@few
@given(sizes=st.lists(st.integers(0, 40), max_size=6))
def test_chunks_join_to_the_whole(sizes):
    starts = np.cumsum([0, *sizes])
    chunks = [
        draw_bits(1, "p", offset=int(start), count=size)
        for start, size in zip(starts[:-1], sizes, strict=True)
    ]
    joined = np.concatenate([np.zeros(0, np.uint32), *chunks])
    assert np.array_equal(joined, draw_bits(1, "p", count=sum(sizes)))


@pytest.mark.parametrize(
    "change", [{"seed": 2}, {"path": "q"}, {"ordinal": 1}, {"step": 1}, {"iteration": 1}]
)
def test_every_part_of_the_name_of_a_draw_changes_it(change):
    name = {"seed": 1, "path": "p"}
    assert not np.any(draw_bits(**name, count=64) == draw_bits(**{**name, **change}, count=64))


def test_types_and_counts():
    assert draw_bits(0, "p", count=5).dtype == np.uint32
    assert bits64(0, "p", count=5).dtype == np.uint64
    assert draw_bits(0, "p", offset=9, count=0).shape == (0,)


def test_words_are_uniform():
    drawn = draw_bits(0, "uniform", count=1_000_000)
    cells = np.bincount(drawn >> 24, minlength=256)
    chi_square = float(((cells - 1e6 / 256) ** 2).sum() / (1e6 / 256))
    # 255 degrees of freedom: mean 255, standard deviation 22.6; four of them.
    assert abs(chi_square - 255) < 4 * 22.6
    ones = np.unpackbits(drawn.view(np.uint8)).mean()
    assert abs(ones - 0.5) < 4 * 0.5 / np.sqrt(32e6)


@few
@given(seed=st.integers(0, 2**64 - 1), epoch=st.integers(0, 1000), n=st.integers(0, 50))
def test_a_permutation_orders_all_of_them(seed, epoch, n):
    assert sorted(permutation(seed, "shuffle/x", epoch, n)) == list(range(n))


def test_epochs_have_orders_of_their_own():
    assert not np.array_equal(permutation(0, "s", 0, 100), permutation(0, "s", 1, 100))


@pytest.mark.parametrize("seed", [-1, 2**64, -(2**70)])
def test_seeds_lie_in_64_bits(seed):
    with pytest.raises(ValueError, match=r"seed must be at least 0 and below 2\^64"):
        draw_bits(seed, "p", count=1)


def test_the_greatest_seed_works():
    assert len(draw_bits(2**64 - 1, "p", count=3)) == 3


@pytest.mark.parametrize("name", ["ordinal", "step", "iteration", "offset"])
def test_other_numbers_lie_there_too(name):
    with pytest.raises(ValueError, match=name):
        draw_bits(0, "p", **{name: -1}, count=1)
    with pytest.raises(ValueError, match="count"):
        draw_bits(0, "p", count=-1)


def test_the_functions_stand_alone_when_copied():
    """Emitted programs carry these sources with three imports."""
    header = "import functools\nimport hashlib\n\nimport numpy as np\n\n"
    functions = (random.tag, random.bits64, random.draw_bits, random.permutation)
    sources = [inspect.getsource(inspect.unwrap(f)) for f in functions]
    namespace: dict = {}
    exec(header + "\n\n".join(sources), namespace)
    assert np.array_equal(namespace["draw_bits"](5, "p", count=9), draw_bits(5, "p", count=9))
    assert np.array_equal(namespace["permutation"](5, "p", 1, 9), permutation(5, "p", 1, 9))
