"""Sources: splits, order of samples, batches, declared types, statistics for new data."""

from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnc.data import CODES, READERS, TRANSFORMS, DataError, FieldSpec, Pipeline, Source
from nnc.data.files import Files
from nnc.random import permutation

csv, npz = READERS["csv"], READERS["npz"]
scale, normalize, categories = (TRANSFORMS[n] for n in ("scale", "normalize", "categories"))
MODELS = Path(__file__).parents[2] / "models"
few = settings(max_examples=25, deadline=None)
SPLIT = {"train": 0.8, "val": 0.1, "test": 0.1}


def field(name, reader, *transforms, dtype="f32", shape=()):
    return FieldSpec(name, dtype, shape, Pipeline(reader, transforms))


def digits(**options) -> Source:
    fields = [
        field("x", csv("data/digits.csv.gz", range(64)), scale(1 / 16), shape=(64,)),
        field("y", csv("data/digits.csv.gz", 64), dtype="i32"),
    ]
    return Source.load("digits", fields, MODELS, **{"batch": 64, "split": SPLIT, **options})


def counting(folder: Path, n: int, **options) -> Source:
    """A source whose samples are the numbers from 0."""
    np.savez(folder / "n.npz", x=np.arange(n))
    fields = [field("x", npz("n.npz", "x"), dtype="i32")]
    return Source.load("numbers", fields, folder, **{"batch": 2, **options})


def fault(*args, **options) -> DataError:
    with pytest.raises(DataError) as caught:
        Source.load(*args, **options)
    return caught.value


def test_the_digits():
    source = digits()
    assert source.arrays["x"].shape == (1797, 64)
    assert source.arrays["x"].dtype == np.float32
    assert source.arrays["x"].flags.c_contiguous
    assert (source.arrays["x"].min(), source.arrays["x"].max()) == (0, 1)
    assert np.bincount(source.arrays["y"]).tolist() == [
        178, 182, 177, 183, 181, 182, 181, 179, 174, 180,
    ]  # fmt: skip
    assert source.merged_facts == {"count": 1797, "classes": 10}
    assert {part: len(rows) for part, rows in source.parts.items()} == {
        "train": 1438,
        "val": 179,
        "test": 180,
    }
    assert source.place("y", 16) == "data/digits.csv.gz, row 17, column 64"


# ---------------------------------------------------------------- splits
@few
@given(
    n=st.integers(10, 60),
    seed=st.integers(0, 9),
    shuffle=st.booleans(),
    cuts=st.lists(st.integers(1, 9), min_size=0, max_size=2, unique=True),
)
def test_parts_share_out_all_samples(tmp_path_factory, n, seed, shuffle, cuts):
    folder = tmp_path_factory.mktemp("split")
    borders = [0, *sorted(cuts), 10]
    names = ["train", "val", "test"]
    split = {
        name: (b - a) / 10 for name, a, b in zip(names, borders[:-1], borders[1:], strict=False)
    }
    source = counting(folder, n, split=split, seed=seed, shuffle=shuffle, batch=1)
    assert sorted(np.concatenate(list(source.parts.values()))) == list(range(n))
    for name, rows in source.parts.items():
        assert np.array_equal(rows, np.sort(rows))
        assert abs(len(rows) - split[name] * n) <= 1


def test_the_split_comes_from_its_stream(tmp_path):
    source = counting(tmp_path, 10, split={"train": 0.7, "val": 0.3}, seed=5)
    order = permutation(5, "split/numbers", 0, 10)
    assert source.parts["train"].tolist() == sorted(order[:7])
    assert source.parts["val"].tolist() == sorted(order[7:])


def test_without_shuffle_parts_and_epochs_follow_the_file(tmp_path):
    source = counting(tmp_path, 10, split={"train": 0.7, "val": 0.3}, shuffle=False)
    assert source.parts["val"].tolist() == [7, 8, 9]
    assert source.epoch_order(3, seed=1).tolist() == list(range(7))


def test_without_split_all_is_train(tmp_path):
    assert counting(tmp_path, 4).parts["train"].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("split", "code", "message"),
    [
        ({"train": 0.8, "val": 0.3}, "E0514", "the parts add up to 110%, not 100%"),
        ({"train": 0.5}, "E0514", "the parts add up to 50%, not 100%: train 50%"),
        ({"val": 1.0}, "E0514", "the split has no part `train`"),
        ({}, "E0514", "the split has no part `train`"),
        ({"train": 80, "val": 20}, "E0514", "`train` must lie above 0 and up to 1, not 80"),
        ({"train": 1.0, "val": 0.0}, "E0514", "`val` must lie above 0 and up to 1, not 0"),
        ({"train": "all"}, "E0514", "`train` must be a fraction, not 'all'"),
        ({"train": 0.99, "val": 0.01}, "E0513", "the part `val` of 10 samples is empty"),
    ],
)
def test_faulty_splits(tmp_path, split, code, message):
    with pytest.raises(DataError) as caught:
        counting(tmp_path, 10, split=split)
    assert caught.value.diagnostics[0].code == code
    assert str(caught.value).startswith(message)
    assert caught.value.subject == "split"


# ---------------------------------------------------------------- batches
def test_an_epoch_is_the_permutation_of_its_stream_in_full_batches(tmp_path):
    source = counting(tmp_path, 7, seed=9)
    assert source.steps_per_epoch == 3
    for epoch in range(3):
        steps = range(3 * epoch, 3 * epoch + 3)
        drawn = np.concatenate([source.train_batch(i, seed=4)["numbers.x"] for i in steps])
        order = permutation(4, "shuffle/numbers", epoch, 7)
        assert drawn.tolist() == order[:6].tolist()


def test_a_batch_is_a_function_of_its_index(tmp_path):
    forward, backward = counting(tmp_path, 9), counting(tmp_path, 9)
    first = [forward.train_batch(i, 0)["numbers.x"].tolist() for i in range(12)]
    last = [backward.train_batch(i, 0)["numbers.x"].tolist() for i in reversed(range(12))]
    assert first == last[::-1]


def test_evaluation_sees_every_sample_once_in_order(tmp_path):
    source = counting(tmp_path, 25, split={"train": 0.8, "val": 0.2}, batch=3)
    batches = [batch["numbers.x"] for batch in source.batches("val")]
    assert [len(batch) for batch in batches] == [3, 2]
    assert np.array_equal(np.concatenate(batches), source.parts["val"])
    with pytest.raises(DataError, match="`numbers` has no part `vall`"):
        source.batches("vall")


def test_fields_of_a_batch_belong_together():
    source = digits()
    batch = source.train_batch(30, seed=2)
    rows = source.epoch_order(1, 2)[8 * 64 : 9 * 64]
    assert np.array_equal(batch["digits.x"], source.arrays["x"][rows])
    assert np.array_equal(batch["digits.y"], source.arrays["y"][rows])


def test_too_few_samples_for_a_batch(tmp_path):
    with pytest.raises(DataError) as caught:
        counting(tmp_path, 10, split={"train": 0.5, "val": 0.5}, batch=6)
    assert str(caught.value) == ("`numbers` has 5 samples to train on, fewer than one batch of 6")
    assert caught.value.subject == "batch"


@pytest.mark.parametrize("batch", [0, -1, 2.0, True])
def test_a_batch_is_a_whole_number(tmp_path, batch):
    with pytest.raises(DataError, match="`batch` must be a whole number from 1"):
        counting(tmp_path, 10, batch=batch)


# ---------------------------------------------------------------- declared types
def typed(folder: Path, array: np.ndarray, dtype: str, shape=(), *transforms) -> np.ndarray:
    np.savez(folder / "a.npz", a=array)
    spec = field("x", npz("a.npz", "a"), *transforms, dtype=dtype, shape=shape)
    return Source.load("s", [spec], folder, batch=1).arrays["x"]


@pytest.mark.parametrize(
    ("array", "dtype", "expected"),
    [
        (np.array([3.0, -1.0]), "i32", [3, -1]),
        (np.array([2**31 - 1, -(2**31)]), "i32", [2**31 - 1, -(2**31)]),
        (np.array([2**31 - 1.0, -(2.0**31)]), "i32", [2**31 - 1, -(2**31)]),
        (np.array([True, False]), "f32", [1, 0]),
        (np.array([0, 1]), "bool", [False, True]),
        (np.array([7], np.uint64), "i64", [7]),
        (np.array([1, 2], ">i4"), "i32", [1, 2]),
    ],
)
def test_values_that_fit_the_declared_type(tmp_path, array, dtype, expected):
    assert typed(tmp_path, array, dtype).tolist() == expected


@pytest.mark.parametrize(
    ("array", "dtype", "message"),
    [
        (np.array([3.0, 3.5]), "i32", "a.npz[a], index 1: 3.5 is no whole number (i32)"),
        (np.array([1, 2**31]), "i32", "a.npz[a], index 1: 2147483648 is out of range for i32"),
        (np.array([2.0**31]), "i32", "a.npz[a], index 0: 2147483648.0 is out of range for i32"),
        (np.array([2.0**63]), "i64", "a.npz[a], index 0: 9.223372036854775808e+18 is out of"),
        (np.array([-1]), "u32", "a.npz[a], index 0: -1 is out of range for u32"),
        (np.array([2**64 - 1], np.uint64), "i64", "a.npz[a], index 0: 18446744073709551615 is out"),
        (np.array([0, 2]), "bool", "a.npz[a], index 1: 2 is neither 0 nor 1"),
        (np.array([1e39]), "f32", "a.npz[a], index 0: 1e+39 is too large for f32"),
        (np.array([1.0]), "bf16", "data cannot be bf16"),
    ],
)
def test_values_that_do_not(tmp_path, array, dtype, message):
    with pytest.raises(DataError) as caught:
        typed(tmp_path, array, dtype)
    assert caught.value.diagnostics[0].code == "E0509"
    assert str(caught.value).startswith(
        message.replace("9.223372036854775808e", "9.223372036854776e")
    )
    assert caught.value.subject == "x"


def test_labels_as_floats_in_text(tmp_path):
    (tmp_path / "y.csv").write_text("3.0\n2\n3.5\n")
    error = fault("s", [field("y", csv("y.csv", 0), dtype="i32")], tmp_path, 1)
    assert str(error) == "y.csv, row 3, column 0: 3.5 is no whole number (i32)"


def test_transforms_that_overflow(tmp_path):
    with pytest.raises(DataError) as caught:
        typed(tmp_path, np.array([[0.0, 1.0], [0.5, 10.0]]), "f32", (2,), scale(1e308))
    assert caught.value.diagnostics[0].code == "E0507"
    assert str(caught.value) == "a.npz[a], index 1: inf at [1] is not finite after the transforms"


def test_floats_are_rounded_once(tmp_path):
    third = typed(tmp_path, np.array([3], np.uint8), "f32", (), scale(1 / 9))
    assert third[0] == np.float32(1 / 9 * 3)


def test_a_size_may_come_from_the_data(tmp_path):
    assert typed(tmp_path, np.zeros((2, 3, 4)), "f32", (None, 4)).shape == (2, 3, 4)


@pytest.mark.parametrize(
    ("shape", "have", "help"),
    [
        ((8, 8), (64,), "add `|> reshape([8, 8])`"),
        ((), (1,), "add `|> reshape([])`"),
        ((63,), (64,), "declare [N, 64], or select other columns"),
        ((None, 4), (3, 5), ""),
    ],
)
def test_declared_shapes_hold(tmp_path, shape, have, help):
    with pytest.raises(DataError) as caught:
        typed(tmp_path, np.zeros((2, *have)), "f32", shape)
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.code == "E0511"
    assert diagnostic.help == help
    assert str(["N", *have]).replace("'", "") in diagnostic.message


def test_fields_have_one_count(tmp_path):
    np.savez(tmp_path / "a.npz", a=np.ones(3), b=np.ones(4))
    fields = [field(key, npz("a.npz", key)) for key in "ab"]
    error = fault("s", fields, tmp_path, 1)
    assert error.diagnostics[0].code == "E0512"
    assert str(error) == "the fields of `s` differ in samples: `a` has 3, `b` has 4"
    assert fault("s", [], tmp_path, 1).diagnostics[0].code == "E0513"


def test_labels_stay_below_the_number_of_classes():
    source = digits()
    source.check_index("y", 10)
    with pytest.raises(DataError) as caught:
        source.check_index("y", 9)
    assert caught.value.diagnostics[0].code == "E0510"
    assert str(caught.value) == (
        "data/digits.csv.gz, row 10, column 64: label 9 is out of range: "
        "`digits.y` indexes 9 classes, 0 to 8"
    )


# ---------------------------------------------------------------- statistics and new data
def cancer(**options) -> Source:
    reader = csv("data/breast_cancer.csv.gz", range(30))
    fields = [
        field("x", reader, normalize(), shape=(None,)),
        field("y", csv("data/breast_cancer.csv.gz", "diagnosis"), categories(), dtype="i32"),
    ]
    split = {"train": 0.8, "test": 0.2}
    return Source.load("cancer", fields, MODELS, **{"batch": 32, "split": split, **options})


def test_statistics_come_from_the_train_part_alone():
    source = cancer()
    train = source.arrays["x"][source.parts["train"]]
    np.testing.assert_allclose(train.mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(train.std(0), 1, rtol=1e-6)
    assert abs(source.arrays["x"].mean(0)).max() > 1e-4
    assert source.facts["y"] == {"classes": 2, "labels": ("benign", "malignant")}
    assert np.bincount(source.arrays["y"]).tolist() == [357, 212]


def test_new_data_is_treated_with_the_statistics_of_the_checkpoint(tmp_path):
    source, other = cancer(seed=1), cancer(seed=2)
    state = source.fitted()
    raw = other.fields["x"].pipeline.read(Files(MODELS)).values
    restored = other.with_fitted(state)
    assert np.array_equal(restored.apply_new({"x": raw})["x"], source.arrays["x"])
    assert not np.array_equal(other.apply_new({"x": raw})["x"], source.arrays["x"])
    new = tmp_path / "new.csv"
    np.savetxt(new, raw[:5], delimiter=",", fmt="%.17g")
    assert np.array_equal(restored.read_new(new, ["x"])["x"], source.arrays["x"][:5])


def test_faults_in_new_data_name_its_field_and_row(tmp_path):
    source = cancer()
    with pytest.raises(DataError, match=r"x, index \[1, 2\]: the value is missing"):
        source.apply_new({"x": np.where(np.arange(60).reshape(2, 30) == 32, np.nan, 1.0)})
    with pytest.raises(
        DataError, match=r"x has the shape \[N, 29\], but the training data \[N, 30"
    ):
        source.apply_new({"x": np.ones((2, 29))})
    with pytest.raises(DataError, match=r"there is no file `new\.csv`"):
        source.read_new(tmp_path / "new.csv", ["x"])


def test_the_digest_is_that_of_the_data(tmp_path):
    assert counting(tmp_path, 9).digest == counting(tmp_path, 9).digest
    assert counting(tmp_path, 9).digest != counting(tmp_path, 8).digest
    split = {"train": 0.5, "val": 0.5}
    digests = {counting(tmp_path, 9, split=split, seed=seed).digest for seed in range(3)}
    assert len(digests) == 3


@pytest.mark.parametrize("code", CODES)
def test_every_code_has_a_page_of_its_title(code):
    page = resources.files("nnc.language").joinpath(f"explain/{code}.md").read_text()
    assert page.startswith(f"# {code}: {CODES[code]}\n")
    assert page.count("```nn\n") == 2


def test_errors_know_their_field(tmp_path):
    np.savez(tmp_path / "a.npz", a=np.ones(3))
    fields = [field("x", npz("a.npz", "a")), field("y", npz("a.npz", "b"))]
    assert fault("s", fields, tmp_path, 1).subject == "y"


def test_windows_of_characters():
    fields = [
        field(
            "x",
            READERS["chars"]("data/unicode_names.txt"),
            TRANSFORMS["windows"](64),
            dtype="i32",
            shape=(64,),
        )
    ]
    source = Source.load("names", fields, MODELS, 32, SPLIT)
    text = (MODELS / "data" / "unicode_names.txt").read_text()
    characters = source.facts["x"]["characters"]
    assert source.facts["x"]["vocab"] == len(characters) == len(set(text))
    assert "".join(characters[i] for i in source.arrays["x"][5]) == text[320:384]
    line = text.count("\n", 0, 320) + 1
    assert source.place("x", 5).startswith(f"data/unicode_names.txt, row {line}, character")
