"""Tables of text: rows of cells between delimiters, as in csv files.

Numbers are parsed by NumPy in one go; only when that fails are the cells looked at one by one, to
find missing values or to name the row and column at fault.
"""

import csv
import io
import math
from dataclasses import dataclass

import numpy as np

from nnc.data.errors import DataError
from nnc.language.diagnostics import suggest

#: What stands for a missing number, beside `nan`; small letters.
MISSING = ("", "na", "n/a", "null")


@dataclass(frozen=True)
class Table:
    """The data rows of a file: `records` as lines, or as lists of cells where any was quoted.

    `numbers[i]` is the row of record i in the file, counted from 1 with header and blank lines.
    """

    path: str
    delimiter: str
    header: tuple[str, ...]
    records: list[str] | list[list[str]]
    numbers: list[int]
    width: int

    def place(self, row: int, column: int | None = None) -> str:
        """`FILE, row 17, column bmi`: how messages name a cell or a row."""
        where = f"{self.path}, row {self.numbers[row]}"
        return where if column is None else f"{where}, column {self.column_name(column)}"

    def column_name(self, column: int) -> str:
        return f"`{self.header[column]}`" if self.header else str(column)

    def select(self, columns: object) -> list[int]:
        """The indices that `columns` means: None for all, or an int, str, range, list or tuple."""
        if columns is None:
            return list(range(self.width))
        many = columns if isinstance(columns, (list, tuple, range)) else (columns,)
        return [self._named(c) if isinstance(c, str) else self._indexed(c) for c in many]

    def _indexed(self, column: int) -> int:
        if -self.width <= column < self.width:
            return column % self.width
        raise DataError(
            "E0508", f"{self.path} has no column {column}: its columns are 0 to {self.width - 1}"
        )

    def _named(self, column: str) -> int:
        found = [i for i, name in enumerate(self.header) if name == column]
        if len(found) == 1:
            return found[0]
        if found:
            raise DataError(
                "E0508",
                f"{self.path} has {len(found)} columns named `{column}`",
                help=f"select one by its index: {', '.join(map(str, found))}",
            )
        if not self.header:
            raise DataError(
                "E0508",
                f"{self.path} has no column `{column}`: its first row holds no names",
                help="select columns by index from 0, or set `header = true`",
            )
        known = f"its columns are {', '.join(self.header[:8])}" + ", ..." * (len(self.header) > 8)
        raise DataError(
            "E0508",
            f"{self.path} has no column `{column}`",
            help=suggest(column, self.header) or known,
        )

    def cells(self, columns: list[int]) -> list[list[str]]:
        """The text of some columns, without surrounding spaces."""
        rows = (r.split(self.delimiter) if isinstance(r, str) else r for r in self.records)
        return [[row[c].strip() for c in columns] for row in rows]

    def floats(self, columns: list[int]) -> np.ndarray:
        """Some columns as float64 [N, K]; missing values are NaN.  E0506 for other text."""
        if isinstance(self.records[0], list):
            return self._floats_one_by_one(columns)
        try:
            return np.loadtxt(
                self.records, delimiter=self.delimiter, usecols=columns, comments=None, ndmin=2
            )
        except ValueError:
            return self._floats_one_by_one(columns)

    def _floats_one_by_one(self, columns: list[int]) -> np.ndarray:
        values = np.empty((len(self.records), len(columns)))
        for i, row in enumerate(self.cells(columns)):
            for k, cell in enumerate(row):
                number = _number(cell)
                if number is None:
                    raise DataError(
                        "E0506",
                        f"{self.place(i, columns[k])}: `{_short(cell)}` is not a number",
                        help=self._text_help(i),
                    )
                values[i, k] = number
        return values

    def _text_help(self, row: int) -> str:
        if row == 0 and not self.header:
            return "if the first row holds names, set `header = true`"
        return "turn text into class numbers with `|> categories()`, or select other columns"


def parse(path: str, text: str, delimiter: str, header: bool | None) -> Table:
    """The table in `text`; `header` None: the first row is one if it has no number, the next has.

    E0504 where there are no rows, E0505 where one has another number of cells than the first.
    """
    records, numbers = _quoted(path, text, delimiter) if '"' in text else _plain(text)
    if not records:
        raise DataError("E0504", f"{path} holds no rows")
    first, second = (_split(record, delimiter) for record in (records * 2)[:2])
    width = len(first)
    for record, number in zip(records, numbers, strict=True):
        count = record.count(delimiter) + 1 if isinstance(record, str) else len(record)
        if count != width:
            raise DataError(
                "E0505",
                f"{path}, row {number}: {count} cells where row {numbers[0]} has {width}",
                help=""
                if width > 1
                else "if the cells are not separated by commas, set `delimiter`",
            )
    if header is None:
        follows = len(records) == 1 or any(map(_is_number, second))
        header = follows and not any(map(_is_number, first))
    names = tuple(first) if header else ()
    if header and len(records) == 1:
        raise DataError("E0504", f"{path} holds no rows below its header")
    return Table(path, delimiter, names, records[header:], numbers[header:], width)


def _plain(text: str) -> tuple[list[str], list[int]]:
    lines = text.split("\n")
    numbers = [i for i, line in enumerate(lines, 1) if line.strip(" ")]
    return [lines[i - 1] for i in numbers], numbers


def _quoted(path: str, text: str, delimiter: str) -> tuple[list[list[str]], list[int]]:
    records, numbers = [], []
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        for number, record in enumerate(reader, 1):
            if record:
                records.append(record)
                numbers.append(number)
    except csv.Error as fault:
        where = f"{path}, line {reader.line_num}"
        raise DataError("E0504", f"{where}: quotes that do not match: {fault}") from None
    return records, numbers


def _split(record: str | list[str], delimiter: str) -> list[str]:
    return [c.strip() for c in (record.split(delimiter) if isinstance(record, str) else record)]


def _number(cell: str) -> float | None:
    """The number in a cell as NumPy reads it, NaN where it is missing, None where it is text."""
    if cell.lower() in MISSING:
        return math.nan
    try:
        return float(cell) if cell.isascii() and "_" not in cell else None
    except ValueError:
        return None


def _is_number(cell: str) -> bool:
    number = _number(cell)
    return number is not None and not math.isnan(number)


def _short(cell: str) -> str:
    return cell if len(cell) <= 40 else cell[:37] + "..."
