"""Transforms: what each computes, where its statistics come from, and what it refuses."""

import inspect
import statistics
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nnc.data import READERS, TRANSFORMS, DataError, Pipeline
from nnc.data.files import Files

few = settings(max_examples=25, deadline=None)
tables = hnp.arrays(
    np.float64,
    st.tuples(st.integers(2, 8), st.integers(1, 3)),
    elements=st.floats(-1e3, 1e3).map(lambda x: round(x, 3)),
)


def make(name: str, *args, **kwargs):
    return TRANSFORMS[name](*args, **kwargs)


def fit(folder: Path, array: np.ndarray, *transforms, train=None):
    """(fitted pipeline, values) of an array that is read from a file."""
    np.save(folder / "a.npy", array)
    pipeline = Pipeline(READERS["npy"]("a.npy"), transforms)
    loaded = pipeline.read(Files(folder))
    rows = np.arange(pipeline.count(loaded)) if train is None else np.asarray(train)
    return pipeline.fit(loaded, rows)


def apply(folder: Path, array, *transforms, train=None) -> np.ndarray:
    return fit(folder, np.asarray(array), *transforms, train=train)[1]


def fault(folder: Path, array, *transforms, train=None) -> tuple[str, str]:
    with pytest.raises(DataError) as caught:
        apply(folder, array, *transforms, train=train)
    return caught.value.diagnostics[0].code, str(caught.value)


# ---------------------------------------------------------------- numbers
def test_elementwise(tmp_path):
    x = np.array([[-1, 0, 4]], np.int16)
    assert apply(tmp_path, x, make("scale", 0.5)).tolist() == [[-0.5, 0, 2]]
    assert apply(tmp_path, x, make("clip", 0, 3)).tolist() == [[0, 0, 3]]
    assert apply(tmp_path, x + 1, make("log1p")).tolist() == np.log1p([[0.0, 1.0, 5.0]]).tolist()


def test_integers_do_not_wrap_around(tmp_path):
    assert apply(tmp_path, np.array([200], np.uint8), make("scale", 2)).tolist() == [400]


@few
@given(table=tables, data=st.data())
def test_normalize_and_rescale_take_each_column_s_statistics_of_the_train_part(
    tmp_path_factory, table, data
):
    folder = tmp_path_factory.mktemp("scale")
    train = sorted(data.draw(st.sets(st.integers(0, len(table) - 1), min_size=1)))
    normal = apply(folder, table, make("normalize"), train=train)
    rescaled = apply(folder, table, make("rescale", -1, 2), train=train)
    for k, column in enumerate(table.T.tolist()):
        seen = [column[row] for row in train]
        mean, std = statistics.fmean(seen), statistics.pstdev(seen) or 1.0
        extent = max(seen) - min(seen) or 1.0
        expected = [(x - mean) / std for x in column]
        np.testing.assert_allclose(normal[:, k], expected, rtol=1e-9, atol=1e-9)
        expected = [3 * (x - min(seen)) / extent - 1 for x in column]
        np.testing.assert_allclose(rescaled[:, k], expected, rtol=1e-9, atol=1e-9)


def test_statistics_per_axis(tmp_path):
    images = np.arange(48.0).reshape(2, 2, 4, 3) ** 2
    per_channel = apply(tmp_path, images, make("normalize"))
    np.testing.assert_allclose(per_channel.mean((0, 1, 2)), 0, atol=1e-12)
    np.testing.assert_allclose(per_channel.std((0, 1, 2)), 1)
    whole = apply(tmp_path, images, make("normalize", axis=None))
    assert abs(whole.mean()) < 1e-12
    assert abs(whole.mean((0, 1, 2))).max() > 0.05
    per_pixel = apply(tmp_path, images, make("rescale", axis=[1, 2, 3]))
    assert per_pixel[0].tolist() == np.zeros((2, 4, 3)).tolist()
    assert per_pixel[1].tolist() == np.ones((2, 4, 3)).tolist()


def test_scalars_share_one_statistic(tmp_path):
    assert apply(tmp_path, [1.0, 3.0], make("normalize")).tolist() == [-1, 1]


def test_constant_columns_become_zero_and_low(tmp_path):
    assert apply(tmp_path, np.full((3, 1), 0.1), make("normalize")).tolist() == [[0]] * 3
    assert apply(tmp_path, np.full((3, 1), 7), make("rescale", -1, 1)).tolist() == [[-1]] * 3


@pytest.mark.parametrize("axis", [0, 2, -2, "x"])
def test_axes_are_those_of_a_sample(tmp_path, axis):
    if axis == "x":
        with pytest.raises(DataError, match="`axis` must be a whole number or a list or none"):
            make("normalize", axis)
    else:
        code, message = fault(tmp_path, np.ones((4, 3)), make("normalize", axis))
        assert code == "E0515"
        assert f"axis {axis} is no axis of a sample; the values have the shape [N, 3]" in message


def test_fill_missing(tmp_path):
    nan = np.nan
    x = np.array([[1, nan], [3, 5], [8, 1]])
    assert apply(tmp_path, x, make("fill_missing", 0)).tolist() == [[1, 0], [3, 5], [8, 1]]
    by_mean = apply(tmp_path, x, make("fill_missing"), train=[0, 1])
    assert by_mean.tolist() == [[1, 5], [3, 5], [8, 1]]
    by_median = apply(tmp_path, np.array([1, nan, 2, 9]), make("fill_missing", "median"))
    assert by_median.tolist() == [1, 2, 2, 9]
    code, message = fault(tmp_path, x, make("fill_missing"), train=[0])
    assert (code, message) == (
        "E0507",
        "a.npy: column 1 has no value in the training part to take the mean of",
    )


def test_gaps_are_errors_unless_they_are_filled_first(tmp_path):
    x = np.array([1, np.nan])
    assert fault(tmp_path, x, make("scale", 2), make("fill_missing"))[0] == "E0507"
    assert fault(tmp_path, np.array([1, np.inf]), make("fill_missing"))[0] == "E0507"


def test_log1p_names_the_row(tmp_path):
    code, message = fault(tmp_path, [[0.0], [-1.0]], make("log1p"))
    assert (code, message) == ("E0515", "a.npy, index 1: log1p of -1.0: it is defined above -1")


# ---------------------------------------------------------------- shapes
@few
@given(n=st.integers(1, 30), size=st.integers(1, 10), stride=st.none() | st.integers(1, 12))
def test_windows_are_runs_of_rows(tmp_path_factory, n, size, stride):
    folder = tmp_path_factory.mktemp("windows")
    x = np.arange(2 * n).reshape(n, 2)
    if n < size:
        assert fault(folder, x, make("windows", size, stride))[0] == "E0515"
        return
    step = stride or size
    expected = [x[i : i + size].tolist() for i in range(0, n - size + 1, step)]
    assert apply(folder, x, make("windows", size, stride)).tolist() == expected


@few
@given(
    rows=st.sets(st.integers(0, 20), min_size=1), size=st.integers(1, 6), stride=st.integers(1, 8)
)
def test_windows_know_their_rows(rows, size, stride):
    covered = {row * stride + k for row in rows for k in range(size)}
    found = make("windows", size, stride).sources(np.array(sorted(rows)))
    assert found.tolist() == sorted(covered)


def test_statistics_before_windows_come_from_the_rows_of_train_windows(tmp_path):
    x = np.array([1.0, 3.0, 100.0, 200.0])
    windows = apply(tmp_path, x, make("normalize"), make("windows", 2), train=[0])
    assert windows[0].tolist() == [-1, 1]


def test_reshaping_padding_cropping(tmp_path):
    x = np.arange(24).reshape(2, 12)
    assert apply(tmp_path, x, make("reshape", [3, -1])).shape == (2, 3, 4)
    assert apply(tmp_path, x, make("reshape", (3, 4)), make("flatten")).tolist() == x.tolist()
    assert apply(tmp_path, x[:, 0], make("reshape", [1])).shape == (2, 1)
    padded = apply(tmp_path, x, make("pad_to", 14, -1))
    assert padded[1].tolist() == [*range(12, 24), -1, -1]
    assert apply(tmp_path, x, make("pad_to", 13, 0.5))[0, -1] == 0.5
    images = np.arange(2 * 5 * 4).reshape(2, 5, 4, 1)
    middle = apply(tmp_path, images, make("center_crop", [3, 2]))
    assert middle.tolist() == images[:, 1:4, 1:3].tolist()
    assert apply(tmp_path, images, make("center_crop", 4)).shape == (2, 4, 4, 1)


@pytest.mark.parametrize(
    ("name", "args", "message"),
    [
        ("reshape", ([5, 3],), "a.npy: reshape: [12] as [5, 3]: the sizes differ"),
        ("pad_to", (11,), "a.npy: pad_to(11): the samples are 12 long"),
        ("center_crop", (3,), "a.npy: center_crop needs samples with 2 axes or more"),
        ("windows", (3,), "a.npy: windows of 3 from 2 rows: there are too few"),
    ],
)
def test_shapes_that_do_not_fit(tmp_path, name, args, message):
    code, text = fault(tmp_path, np.zeros((2, 12)), make(name, *args))
    assert code == "E0515"
    assert text.startswith(message)


def test_a_crop_lies_inside(tmp_path):
    code, text = fault(tmp_path, np.zeros((1, 4, 8)), make("center_crop", 5))
    assert (code, text) == ("E0515", "a.npy: center_crop: 5 by 5 of images that are 4 by 8")


# ---------------------------------------------------------------- vocabularies
def test_categories_are_places_in_the_sorted_set(tmp_path):
    fitted, ids = fit(tmp_path, np.array(["dog", "cat", "dog", "ant"]), make("categories"))
    assert ids.tolist() == [2, 1, 2, 0]
    assert fitted.facts() == {"classes": 3, "labels": ("ant", "cat", "dog")}
    fitted, ids = fit(tmp_path, np.array([10, 2, 2.5]), make("categories"))
    assert ids.tolist() == [2, 0, 1]
    assert fitted.facts()["labels"] == ("2", "2.5", "10")


def test_the_vocabulary_is_that_of_all_samples(tmp_path):
    assert apply(tmp_path, np.array([5, 7, 9]), make("categories"), train=[1]).tolist() == [0, 1, 2]


def test_characters(tmp_path):
    (tmp_path / "t.txt").write_text("hello\n")
    pipeline = Pipeline(READERS["chars"]("t.txt"))
    fitted, ids = pipeline.fit(pipeline.read(Files(tmp_path)), np.arange(6))
    assert fitted.facts() == {"vocab": 5, "characters": "\nehlo"}
    assert ids.tolist() == [2, 1, 3, 3, 4, 0]
    assert fitted.apply(pipeline.take("x", "hole")).tolist() == [2, 4, 3, 1]
    with pytest.raises(DataError, match="x, row 1, character 3: 'z' is not in the vocabulary"):
        fitted.apply(pipeline.take("x", "hez"))


@pytest.mark.parametrize(
    ("known", "new", "expected"),
    [
        (["ant", "bee"], ["bee"], [1]),
        (["1", "x"], [1.0], [0]),
        (["10", "9", "x"], [9], [1]),
        ([3, 5], [5], [1]),
        ([3, 5], ["5"], [1]),
        ([9, 10], ["10", "9"], [1, 0]),
    ],
)
def test_new_values_find_their_class(tmp_path, known, new, expected):
    fitted, _ = fit(tmp_path, np.array(known), make("categories"))
    assert fitted.apply(fitted.pipeline.take("y", np.array(new))).tolist() == expected


def test_unknown_values_are_named(tmp_path):
    fitted, _ = fit(tmp_path, np.array(["cat", "dog"]), make("categories"))
    with pytest.raises(DataError) as caught:
        fitted.apply(fitted.pipeline.take("y", np.array(["dog", "cta"])))
    diagnostic = caught.value.diagnostics[0]
    assert diagnostic.code == "E0510"
    assert diagnostic.message == "y, index 1: 'cta' is not in the vocabulary of the training data"
    assert diagnostic.help == "did you mean `cat`?"


# ---------------------------------------------------------------- statistics in checkpoints
@pytest.mark.parametrize(
    ("name", "args", "array"),
    [
        ("normalize", (), np.array([[1.0, 2.0], [5.0, 9.0]])),
        ("rescale", (-1, 1), np.array([[1.0, 2.0], [5.0, 9.0]])),
        ("fill_missing", (), np.array([1, np.nan, 3])),
        ("categories", (), np.array(["é", "ant", "bee"])),
        ("categories", (), np.array([3, 1, 2])),
        ("scale", (2,), np.array([3.0])),
    ],
)
def test_statistics_survive_a_checkpoint(tmp_path, name, args, array):
    fitted, expected = fit(tmp_path, array, make(name, *args))
    state = fitted.state()
    assert all(value.dtype.kind in "fiu" for value in state.values())
    other, _ = fit(tmp_path, array[:1] if name != "fill_missing" else array, make(name, *args))
    restored = other.restore(state)
    assert restored.apply(fitted.pipeline.take("x", array)).tolist() == expected.tolist()


def test_statistics_of_another_program_are_refused(tmp_path):
    fitted, _ = fit(tmp_path, np.ones((2, 2)), make("normalize"))
    with pytest.raises(DataError, match="no usable statistics for `normalize`"):
        fitted.restore({})


# ---------------------------------------------------------------- arguments
@pytest.mark.parametrize(
    ("name", "args", "message"),
    [
        ("scale", ("x",), "scale: `factor` must be a number, not 'x'"),
        ("scale", (True,), "scale: `factor` must be a number, not True"),
        ("scale", (float("inf"),), "scale: `factor` must be finite, not inf"),
        ("clip", (2, 1), "clip: `low` must be below `high`: 2 and 1"),
        ("rescale", (1, 1), "rescale: `low` must be below `high`: 1 and 1"),
        ("fill_missing", ("avg",), 'fill_missing: `value` is "mean", "median" or a number'),
        ("windows", (0,), "windows: `size` must hold whole numbers from 1, not 0"),
        ("windows", (2, 0), "windows: `stride` must hold whole numbers from 1, not 0"),
        ("windows", (2.0,), "windows: `size` must be a whole number, not 2.0"),
        ("reshape", ([-1, -1],), "reshape: `shape` may hold one -1 and no 0"),
        ("reshape", (4,), "reshape: `shape` must be a list, not 4"),
        ("center_crop", ([1, 2, 3],), "center_crop: `size` is one number or [height, width]"),
    ],
)
def test_wrong_arguments(name, args, message):
    with pytest.raises(DataError) as caught:
        make(name, *args)
    assert caught.value.diagnostics[0].code == "E0516"
    assert str(caught.value).startswith(message)


def test_signatures_and_documentation_serve_the_language():
    for name, kind in {**READERS, **TRANSFORMS}.items():
        assert kind.name == name
        assert len(inspect.getdoc(kind).splitlines()[0]) > 10
        for parameter in inspect.signature(kind).parameters.values():
            assert parameter.annotation is not parameter.empty
            assert not isinstance(parameter.annotation, str)
