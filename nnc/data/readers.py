"""The readers of `data` sections: each turns a file into an array whose first axis counts samples.

Each class is the function of the same name in the language: the fields of the dataclass are its
parameters.  A reader is only a description; `read` opens the file.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from nnc.data import arrays, table
from nnc.data.arguments import bad_argument, check_arguments
from nnc.data.errors import DataError
from nnc.data.files import Files
from nnc.data.transforms import CharacterIds, Transform


@dataclass(frozen=True)
class Loaded:
    """What a reader found: `values` [N, ...], and how messages name it and a row of it."""

    path: str
    values: np.ndarray
    place: Callable[[int], str]


@dataclass(frozen=True)
class Reader:
    """Base of the readers."""

    path: str
    name: ClassVar[str]

    def __post_init__(self) -> None:
        check_arguments(self)

    def transforms(self) -> tuple[Transform, ...]:
        """Transforms that always follow this reader."""
        return ()

    def read(self, files: Files, *, text: bool = False, missing: bool = False) -> Loaded:
        """The samples; `text` and `missing` (NaN) are errors unless allowed."""
        raise NotImplementedError

    def take(self, name: str, values: Any, *, text: bool = False, missing: bool = False) -> Loaded:
        """Samples that came from elsewhere, under the rules for those of a file."""
        return _array(name, np.asarray(values), text, missing)


@dataclass(frozen=True)
class Csv(Reader):
    """Rows of cells between delimiters, plain or `.gz`.

    `columns`: indices from 0 (negative ones from the end) or names from the header, one or a list,
    or a range; one gives [N], a list, a range or none (all) give [N, K].  `header` none: the first
    row is one if none of its cells is a number and the second row has one.  Missing values (empty,
    `nan`, `na`, `n/a`, `null`) need `fill_missing`.
    """

    name = "csv"
    columns: int | str | range | list | tuple | None = None
    header: bool | None = None
    delimiter: str = ","

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.delimiter) != 1 or self.delimiter in '"\r\n':
            raise bad_argument(self, f"`delimiter` must be one character, not {self.delimiter!r}")
        if isinstance(self.columns, (list, tuple, range)):
            for column in self.columns:
                if type(column) not in (int, str):
                    raise bad_argument(
                        self, f"{column!r} is neither the index nor name of a column"
                    )
            if not self.columns:
                raise bad_argument(self, "`columns` selects nothing")

    def read(self, files: Files, *, text: bool = False, missing: bool = False) -> Loaded:
        key = ("csv", self.path, self.delimiter, self.header)
        rows: table.Table = files.once(
            key,
            lambda: table.parse(self.path, files.text(self.path), self.delimiter, self.header),
        )
        columns = rows.select(self.columns)
        values = self._values(rows, columns, text)
        if values.dtype.kind == "f":
            _refuse_missing(values, missing, lambda row, k: rows.place(row, columns[k]))
        if not isinstance(self.columns, (int, str)):
            return Loaded(self.path, values, rows.place)
        return Loaded(self.path, values[:, 0], lambda row: rows.place(row, columns[0]))

    def _values(self, rows: table.Table, columns: list[int], text: bool) -> np.ndarray:
        try:
            return rows.floats(columns)
        except DataError:
            if not text:
                raise
        cells = rows.cells(columns)
        for row, record in enumerate(cells):
            if "" in record:
                place = rows.place(row, columns[record.index("")])
                raise DataError("E0507", f"{place}: the cell is empty", help="fill it in the file")
        return np.array(cells)


@dataclass(frozen=True)
class Npy(Reader):
    """One array saved by `numpy.save`."""

    name = "npy"

    def read(self, files: Files, *, text: bool = False, missing: bool = False) -> Loaded:
        values = arrays.npy(self.path, files.bytes(self.path))
        return _array(self.path, values, text, missing)


@dataclass(frozen=True)
class Npz(Reader):
    """The array `key` of a file saved by `numpy.savez`; it may be left out if there is only one."""

    name = "npz"
    key: str | None = None

    def read(self, files: Files, *, text: bool = False, missing: bool = False) -> Loaded:
        values = arrays.npz(self.path, files.bytes(self.path), self.key)
        return _array(f"{self.path}[{self.key}]" if self.key else self.path, values, text, missing)


@dataclass(frozen=True)
class Idx(Reader):
    """An array in the IDX format of MNIST, plain or `.gz`."""

    name = "idx"

    def read(self, files: Files, *, text: bool = False, missing: bool = False) -> Loaded:
        values = arrays.idx(self.path, files.bytes(self.path))
        return _array(self.path, values, text, missing)


@dataclass(frozen=True)
class Chars(Reader):
    """The characters of a text in UTF-8, as indices into the sorted set of those that occur, [N].

    Facts: `vocab`, how many there are, and `characters`, the string of them.
    """

    name = "chars"

    def transforms(self) -> tuple[Transform, ...]:
        return (CharacterIds(),)

    def read(self, files: Files, *, text: bool = False, missing: bool = False) -> Loaded:
        return _characters(self.path, files.text(self.path))

    def take(self, name: str, values: Any, *, text: bool = False, missing: bool = False) -> Loaded:
        if not isinstance(values, str) or not values:
            raise DataError("E0509", f"`{name}` takes a string of characters, not {values!r}")
        return _characters(name, values)


def _characters(path: str, text: str) -> Loaded:
    def place(row: int) -> str:
        line, column = text.count("\n", 0, row) + 1, row - text.rfind("\n", 0, row)
        return f"{path}, row {line}, character {column}"

    return Loaded(path, np.frombuffer(text.encode("utf-32-le"), "<u4"), place)


def _array(path: str, values: np.ndarray, text: bool, missing: bool) -> Loaded:
    def place(row: int, k: int | None = None) -> str:
        return f"{path}, index {row}" if k is None else f"{path}, index [{row}, {k}]"

    if values.ndim == 0:
        raise DataError("E0511", f"{path} holds a single number: it has no axis of samples")
    if not len(values):
        raise DataError("E0504", f"{path} holds no samples: its shape is {list(values.shape)}")
    if values.dtype.kind not in ("biufU" if text else "biuf"):
        kind = "text" if values.dtype.kind in "US" else f"the element type {values.dtype}"
        raise DataError(
            "E0506" if kind == "text" else "E0509",
            f"{path} has {kind}, not numbers",
            help="turn text into class numbers with `|> categories()`" if kind == "text" else "",
        )
    if values.dtype.kind == "f":
        _refuse_missing(values, missing, place)
    return Loaded(path, values, place)


def _refuse_missing(values: np.ndarray, missing: bool, place: Callable[..., str]) -> None:
    bad = np.isinf(values) if missing else ~np.isfinite(values)
    if not bad.any():
        return
    index = tuple(int(i) for i in np.argwhere(bad)[0])
    if np.isinf(values[index]):
        raise DataError("E0507", f"{place(*index[:2])}: the value is infinite")
    raise DataError(
        "E0507",
        f"{place(*index[:2])}: the value is missing",
        help="fill the gaps with `|> fill_missing()` right after the reader",
    )


#: The readers by their names in the language.
READERS: dict[str, type[Reader]] = {kind.name: kind for kind in (Csv, Npz, Npy, Idx, Chars)}
