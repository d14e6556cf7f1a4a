"""Readers: what they give for sound files, and the message for every kind of damaged one."""

import contextlib
import gzip
import io
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnc.data import READERS, DataError
from nnc.data.files import Files

csv, npz, npy, idx, chars = (READERS[name] for name in ("csv", "npz", "npy", "idx", "chars"))


def read(folder: Path, reader, **allowed):
    return reader.read(Files(folder), **allowed)


def values(folder: Path, reader, **allowed) -> list:
    return read(folder, reader, **allowed).values.tolist()


def fault(folder: Path, reader, **allowed) -> tuple[str, str, str]:
    """Code, message and help of the error that reading gives."""
    with pytest.raises(DataError) as caught:
        read(folder, reader, **allowed)
    (diagnostic,) = caught.value.diagnostics
    return diagnostic.code, diagnostic.message, diagnostic.help


@pytest.fixture
def table(tmp_path: Path) -> Path:
    (tmp_path / "t.csv").write_text("a,b,c\n1,2,3\n4,5,6\n")
    return tmp_path


# ---------------------------------------------------------------- csv: columns and header
@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (None, [[1, 2, 3], [4, 5, 6]]),
        (0, [1, 4]),
        (-1, [3, 6]),
        ("b", [2, 5]),
        (range(0, 2), [[1, 2], [4, 5]]),
        ([2], [[3], [6]]),
        (["c", "a"], [[3, 1], [6, 4]]),
        ((1, "a"), [[2, 1], [5, 4]]),
        ([0, 0], [[1, 1], [4, 4]]),
    ],
)
def test_columns_by_index_name_or_range(table, columns, expected):
    assert values(table, csv("t.csv", columns=columns)) == expected


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("1,2\n3,4\n", 2),
        ("x,y\n3,4\n", 1),
        ("x,y\n3,4", 1),
        ("\n\n1,2\r\n3,4\r\n", 2),
        ("\ufeffx,y\n1,2\n", 1),
        (" 1 , 2 \n", 1),
    ],
)
def test_a_header_is_a_first_row_without_numbers_above_one_with(tmp_path, text, rows):
    (tmp_path / "t.csv").write_bytes(text.encode())
    assert len(values(tmp_path, csv("t.csv"))) == rows


def test_header_can_be_said(tmp_path):
    (tmp_path / "years.csv").write_text("2001,2002\n3,4\n")
    assert values(tmp_path, csv("years.csv", header=True, columns="2002")) == [4]
    assert values(tmp_path, csv("years.csv", header=False, columns=1)) == [2002, 4]


def test_delimiters_quotes_and_gz(tmp_path):
    (tmp_path / "t.tsv").write_text("1\t2\n3\t4\n")
    assert values(tmp_path, csv("t.tsv", delimiter="\t")) == [[1, 2], [3, 4]]
    (tmp_path / "q.csv").write_text('"a, b",c\n"1",2\n')
    assert values(tmp_path, csv("q.csv", columns="a, b")) == [1]
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(b"1,2\n"))
    assert values(tmp_path, csv("t.csv.gz")) == [[1, 2]]


def test_text_where_it_is_allowed(tmp_path):
    (tmp_path / "t.csv").write_text('kind,n\n"big cat",1\ndog,2\n')
    assert values(tmp_path, csv("t.csv", columns="kind"), text=True) == ["big cat", "dog"]
    assert values(tmp_path, csv("t.csv", columns="n"), text=True) == [1, 2]


def test_missing_values_where_they_are_allowed(tmp_path):
    (tmp_path / "t.csv").write_text("1,,NA\n2,nan,n/a\n")
    missing = np.isnan(read(tmp_path, csv("t.csv"), missing=True).values)
    assert missing.tolist() == [[False, True, True]] * 2


@settings(max_examples=25, deadline=None)
@given(
    rows=st.lists(st.tuples(*[st.floats(allow_nan=False, allow_infinity=False)] * 3), min_size=1)
)
def test_numbers_come_back_as_they_were_written(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("csv")
    plain = "\n".join(",".join(map(repr, row)) for row in rows)
    (folder / "plain.csv").write_text(plain)
    (folder / "quoted.csv").write_text("\n".join(",".join(f'"{x!r}"' for x in r) for r in rows))
    assert values(folder, csv("plain.csv")) == [list(row) for row in rows]
    assert values(folder, csv("quoted.csv")) == [list(row) for row in rows]


# ---------------------------------------------------------------- csv: faults
@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        ("1,2\n3\n", "E0505", "t.csv, row 2: 1 cells where row 1 has 2"),
        ("\n1,2\n\n3,4,5\n", "E0505", "t.csv, row 4: 3 cells where row 2 has 2"),
        ("1,2\n3,4\n\n5,x\n", "E0506", "t.csv, row 4, column 1: `x` is not a number"),
        ("a,b\n1,2\n3,y\n", "E0506", "t.csv, row 3, column `b`: `y` is not a number"),
        ("1,2\n3,1_0\n", "E0506", "t.csv, row 2, column 1: `1_0` is not a number"),
        ("1,2\n3,٣\n", "E0506", "t.csv, row 2, column 1: `٣` is not a number"),
        ('"1",2\n3,z\n', "E0506", "t.csv, row 2, column 1: `z` is not a number"),
        ("1,2\n3,\n", "E0507", "t.csv, row 2, column 1: the value is missing"),
        ("1,2\n3,NaN\n", "E0507", "t.csv, row 2, column 1: the value is missing"),
        ("1,2\n3,-inf\n", "E0507", "t.csv, row 2, column 1: the value is infinite"),
        ("1,2\n3,1e999\n", "E0507", "t.csv, row 2, column 1: the value is infinite"),
        ("\n \n", "E0504", "t.csv holds no rows"),
        ("a,b\n", "E0504", "t.csv holds no rows below its header"),
        ('1,2\n"3,4\n', "E0504", "t.csv, line 2: quotes that do not match"),
    ],
)
def test_a_faulty_table_names_row_and_column(tmp_path, text, code, message):
    (tmp_path / "t.csv").write_text(text, encoding="utf-8")
    assert fault(tmp_path, csv("t.csv"))[0] == code
    assert fault(tmp_path, csv("t.csv"))[1].startswith(message)


@pytest.mark.parametrize(
    ("columns", "message", "help"),
    [
        (3, "t.csv has no column 3: its columns are 0 to 2", ""),
        (-4, "t.csv has no column -4: its columns are 0 to 2", ""),
        ("z", "t.csv has no column `z`", "its columns are a, b, c"),
        ("B", "t.csv has no column `B`", "did you mean `b`?"),
    ],
)
def test_unknown_columns(table, columns, message, help):
    assert fault(table, csv("t.csv", columns=columns)) == ("E0508", message, help)


def test_a_name_needs_a_header_in_which_it_stands_once(tmp_path):
    (tmp_path / "t.csv").write_text("1,2\n")
    assert "its first row holds no names" in fault(tmp_path, csv("t.csv", columns="a"))[1]
    (tmp_path / "twice.csv").write_text("a,b,a\n1,2,3\n")
    assert fault(tmp_path, csv("twice.csv", columns="a")) == (
        "E0508",
        "twice.csv has 2 columns named `a`",
        "select one by its index: 0, 2",
    )
    assert values(tmp_path, csv("twice.csv", columns="b")) == [2]


def test_text_columns_have_no_gaps(tmp_path):
    (tmp_path / "t.csv").write_text("cat\n\n dog\n")
    assert values(tmp_path, csv("t.csv", columns=0, header=False), text=True) == ["cat", "dog"]
    (tmp_path / "t.csv").write_text("cat,1\n,2\n")
    code, message, _ = fault(tmp_path, csv("t.csv", columns=0, header=False), text=True)
    assert (code, message) == ("E0507", "t.csv, row 2, column 0: the cell is empty")


def test_help_tells_what_to_write(tmp_path):
    (tmp_path / "t.csv").write_text("2001,name\n3,4\n")
    assert "header = true" in fault(tmp_path, csv("t.csv"))[2]
    (tmp_path / "t.csv").write_text("1,2\n,4\n")
    assert "fill_missing" in fault(tmp_path, csv("t.csv"))[2]
    (tmp_path / "t.csv").write_text("1,2\nx,4\n")
    assert "categories" in fault(tmp_path, csv("t.csv"))[2]
    (tmp_path / "t.csv").write_text("1;2\n3;4,5\n")
    assert "delimiter" in fault(tmp_path, csv("t.csv"))[2]


# ---------------------------------------------------------------- files
def test_a_missing_file_suggests_one_of_its_folder(table):
    assert fault(table, csv("tt.csv")) == (
        "E0501",
        "there is no file `tt.csv`",
        "did you mean `t.csv`?",
    )
    assert fault(table, csv("zzz"))[2] == "the folder holds t.csv"
    assert fault(table, csv("no/t.csv"))[1].endswith("its folder does not exist")


@pytest.mark.parametrize("path", ["../secret.csv", "/etc/hostname", "link.csv", "folder/x.csv"])
def test_paths_stay_inside_the_program_s_folder(tmp_path, path):
    (tmp_path / "secret.csv").write_text("1,2\n")
    (tmp_path / "x.csv").write_text("1,2\n")
    inside = tmp_path / "program"
    inside.mkdir()
    (inside / "link.csv").symlink_to(tmp_path / "secret.csv")
    (inside / "folder").symlink_to(tmp_path)
    assert fault(inside, csv(path))[:2] == ("E0502", f"`{path}` lies outside the program's folder")


def test_other_folders_can_be_allowed(tmp_path):
    (tmp_path / "program").mkdir()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "t.csv").write_text("1,2\n")
    files = Files(tmp_path / "program", (tmp_path / "data",))
    for path in ("../data/t.csv", str(tmp_path / "data" / "t.csv")):
        assert csv(path).read(files).values.tolist() == [[1, 2]]


def test_what_is_not_a_file(table):
    (table / "empty.csv").write_text("")
    (table / "loop.csv").symlink_to(table / "loop.csv")
    assert fault(table, csv("."))[:2] == ("E0503", "`.` is a folder, not a file")
    assert fault(table, csv("empty.csv"))[:2] == ("E0504", "`empty.csv` is empty")
    assert fault(table, csv("a\0b"))[0] == "E0503"
    assert fault(table, csv("x" * 5000))[0] == "E0503"
    assert fault(table, csv("loop.csv"))[0] == "E0503"


@pytest.mark.parametrize("cut", [5, 12, -4])
def test_a_truncated_gz(tmp_path, cut):
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(b"1,2\n" * 100)[:cut])
    code, message, _ = fault(tmp_path, csv("t.csv.gz"))
    assert (code, message) == ("E0504", "`t.csv.gz` is truncated: the gzip stream has no end")


def test_a_gz_that_is_none_or_damaged(tmp_path):
    (tmp_path / "t.csv.gz").write_text("1,2\n")
    assert fault(tmp_path, csv("t.csv.gz"))[1].startswith("`t.csv.gz` is not a sound gzip file")
    packed = bytearray(gzip.compress(b"1,2\n" * 100))
    packed[-6] ^= 1
    (tmp_path / "t.csv.gz").write_bytes(packed)
    assert fault(tmp_path, csv("t.csv.gz"))[1].startswith("`t.csv.gz` is not a sound gzip file")


def test_text_that_is_not_utf_8(tmp_path):
    (tmp_path / "t.csv").write_bytes(b"1,2\n3,\xe4\n")
    code, message, _ = fault(tmp_path, csv("t.csv"))
    assert (code, message) == ("E0504", "t.csv, row 2: byte 0xe4 is not UTF-8 text")
    np.save(tmp_path / "a.npy", np.ones(3))
    assert "suggest npy" in fault(tmp_path, csv("a.npy"))[2]


# ---------------------------------------------------------------- npy and npz
def test_arrays_keep_their_type(tmp_path):
    array = np.arange(6, dtype=np.uint8).reshape(3, 2)
    np.save(tmp_path / "a.npy", array)
    np.savez_compressed(tmp_path / "a.npz", x=array, y=array * 2)
    np.savez(tmp_path / "one.npz", only=array)
    found = read(tmp_path, npy("a.npy")).values
    assert found.dtype == np.uint8
    assert np.array_equal(found, array)
    assert values(tmp_path, npz("a.npz", "y")) == (array * 2).tolist()
    assert values(tmp_path, npz("one.npz")) == array.tolist()


def test_an_array_is_named_by_its_key(tmp_path):
    np.savez(tmp_path / "a.npz", x_train=np.ones(2), y_train=np.ones(2))
    code, message, help = fault(tmp_path, npz("a.npz", "xtrain"))
    assert (code, message) == ("E0508", "`a.npz` has no array `xtrain`")
    assert help == "did you mean `x_train`?"
    assert fault(tmp_path, npz("a.npz"))[2] == 'name one of them: "x_train", "y_train"'


def objects() -> bytes:
    out = io.BytesIO()
    np.save(out, np.array([{}, 1], dtype=object), allow_pickle=True)
    return out.getvalue()


def test_python_objects_are_never_loaded(tmp_path):
    (tmp_path / "a.npy").write_bytes(objects())
    assert fault(tmp_path, npy("a.npy"))[:2] == (
        "E0509",
        "`a.npy` holds Python objects, not numbers",
    )
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("x.npy", objects())
    assert fault(tmp_path, npz("a.npz", "x"))[0] == "E0509"


@pytest.mark.parametrize(
    ("array", "code", "message"),
    [
        (np.ones(2, complex), "E0509", "a.npy has the element type complex128, not numbers"),
        (np.array(["a"]), "E0506", "a.npy has text, not numbers"),
        (np.float32(3), "E0511", "a.npy holds a single number: it has no axis of samples"),
        (np.ones((0, 2)), "E0504", "a.npy holds no samples: its shape is [0, 2]"),
        (np.array([[1.0], [np.nan]]), "E0507", "a.npy, index [1, 0]: the value is missing"),
        (np.array([1.0, np.inf]), "E0507", "a.npy, index 1: the value is infinite"),
    ],
)
def test_arrays_that_are_no_samples(tmp_path, array, code, message):
    np.save(tmp_path / "a.npy", array)
    assert fault(tmp_path, npy("a.npy"))[:2] == (code, message)


@settings(max_examples=150, deadline=None)
@given(position=st.integers(0, 400), byte=st.integers(0, 255), cut=st.booleans())
def test_damaged_arrays_give_an_error_or_an_array(tmp_path_factory, position, byte, cut):
    folder = tmp_path_factory.mktemp("damage")
    np.save(folder / "a.npy", np.arange(4.0))
    np.savez_compressed(folder / "a.npz", x=np.arange(4.0))
    for name, reader in (("a.npy", npy("a.npy")), ("a.npz", npz("a.npz", "x"))):
        content = bytearray((folder / name).read_bytes())
        at = position % len(content)
        if cut:
            del content[at:]
        content[at : at + 1] = bytes([byte])
        (folder / name).write_bytes(content)
        with contextlib.suppress(DataError):
            assert isinstance(read(folder, reader).values, np.ndarray)


def test_files_of_another_format(table):
    assert "not an npy file" in fault(table, npy("t.csv"))[1]
    assert "not an npz file" in fault(table, npz("t.csv"))[1]
    assert "not an idx file" in fault(table, idx("t.csv"))[1]
    (table / "a.npz").write_bytes(b"PK\3\4 and nothing more")
    assert fault(table, npz("a.npz"))[0] == "E0504"


# ---------------------------------------------------------------- idx
def idx_bytes(kind: int, shape: tuple[int, ...], body: bytes) -> bytes:
    return bytes([0, 0, kind, len(shape)]) + struct.pack(f">{len(shape)}I", *shape) + body


def test_idx_as_mnist_is_stored(tmp_path):
    body = bytes(range(12))
    (tmp_path / "x.idx").write_bytes(idx_bytes(0x08, (3, 2, 2), body))
    assert values(tmp_path, idx("x.idx")) == np.arange(12).reshape(3, 2, 2).tolist()
    (tmp_path / "y.gz").write_bytes(
        gzip.compress(idx_bytes(0x0C, (2,), b"\0\0\1\0\xff\xff\xff\xff"))
    )
    assert values(tmp_path, idx("y.gz")) == [256, -1]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\0\1\x08\1", "not an idx file: its magic number is another"),
        (b"\0\0\x07\1\0\0\0\1x", "not an idx file: its magic number is another"),
        (b"\0\0\x08\2\0\0\0\1", "truncated: it ends inside its header"),
        (idx_bytes(0x08, (3,), b"ab"), "truncated: 10 bytes where [3] takes 11"),
        (idx_bytes(0x08, (1,), b"ab"), "too long: 10 bytes where [1] takes 9"),
        (idx_bytes(0x0E, (2**31, 2**31), b""), "truncated"),
    ],
)
def test_faulty_idx(tmp_path, content, message):
    (tmp_path / "x.idx").write_bytes(content)
    assert fault(tmp_path, idx("x.idx"))[0] == "E0504"
    assert message in fault(tmp_path, idx("x.idx"))[1]


# ---------------------------------------------------------------- chars
def test_characters_are_code_points(tmp_path):
    (tmp_path / "t.txt").write_bytes("né\r\n😀".encode())
    loaded = read(tmp_path, chars("t.txt"))
    assert loaded.values.tolist() == [ord(c) for c in "né\n😀"]
    assert loaded.place(3) == "t.txt, row 2, character 1"


# ---------------------------------------------------------------- arguments
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: csv(3), "csv: `path` must be a string, not 3"),
        (lambda: csv("a", header=1), "csv: `header` must be true or false or none, not 1"),
        (lambda: csv("a", columns=1.5), "csv: `columns` must be"),
        (lambda: csv("a", columns=[]), "csv: `columns` selects nothing"),
        (lambda: csv("a", columns=[True]), "csv: True is neither the index nor name of a column"),
        (lambda: csv("a", delimiter=", "), "csv: `delimiter` must be one character, not ', '"),
        (lambda: npz("a", key=0), "npz: `key` must be a string or none, not 0"),
    ],
)
def test_wrong_arguments(call, message):
    with pytest.raises(DataError) as caught:
        call()
    assert caught.value.diagnostics[0].code == "E0516"
    assert str(caught.value).startswith(message)
