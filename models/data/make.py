"""Makes the data files of this folder; every run gives the same bytes.

pip install scikit-learn statsmodels
python models/data/make.py
"""

import gzip
import unicodedata
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from statsmodels.datasets import sunspots

from nnc.random import permutation

HERE = Path(__file__).parent

#: Names that a rule makes from code points, or that repeat one pattern hundreds of times.
PATTERNS = (
    "CJK ", "HANGUL ", "YI ", "BRAILLE ", "MATHEMATICAL ", "BYZANTINE ", "MUSICAL ", "TAG ",
    "VARIATION ", "KANGXI ", "ARABIC LIGATURE ", "CIRCLED ", "PARENTHESIZED ", "SQUARE ",
    "IDEOGRAPHIC ", "HALFWIDTH ", "FULLWIDTH ",
)  # fmt: skip


def write_csv(name: str, header: list[str], rows: Iterable[Iterable[object]]) -> None:
    """A gzipped table; `mtime=0` keeps the time out of the file."""
    lines = [",".join(header)] if header else []
    lines += [",".join(map(number_text, row)) for row in rows]
    content = ("\n".join(lines) + "\n").encode()
    (HERE / name).write_bytes(gzip.compress(content, compresslevel=9, mtime=0))


def number_text(value: object) -> str:
    """Whole numbers without a decimal point, others as their shortest text."""
    if isinstance(value, str):
        return value
    number = float(value)  # type: ignore[arg-type]
    return str(int(number)) if number == int(number) else repr(number)


def digits() -> None:
    data = load_digits()
    write_csv("digits.csv.gz", [], np.column_stack([data.data, data.target]))


def breast_cancer() -> None:
    data = load_breast_cancer()
    header = [str(name).replace(" ", "_") for name in data.feature_names]
    diagnoses = [str(data.target_names[target]) for target in data.target]
    rows = ([*row, diagnosis] for row, diagnosis in zip(data.data, diagnoses, strict=True))
    write_csv("breast_cancer.csv.gz", [*header, "diagnosis"], rows)


def diabetes() -> None:
    data = load_diabetes(scaled=False)
    rows = np.column_stack([data.data, data.target])
    write_csv("diabetes.csv.gz", [*data.feature_names, "progression"], rows)


def sunspot_numbers() -> None:
    data = sunspots.load_pandas().data
    write_csv("sunspots.csv.gz", ["year", "sunspots"], data[["YEAR", "SUNACTIVITY"]].to_numpy())


def unicode_names() -> None:
    """Names of characters in an order of our own, so that neighbours do not give each other away.

    Python keeps the tables of Unicode 3.2 beside the current ones: they never change.
    """
    table = unicodedata.ucd_3_2_0
    names = [table.name(chr(code), "") for code in range(0x110000)]
    names = [name for name in names if name and not name.startswith(PATTERNS)]
    order = permutation(0, "models/unicode_names", 0, len(names))
    text = "".join(f"{names[i].lower()}\n" for i in order)
    (HERE / "unicode_names.txt").write_text(text, encoding="ascii", newline="\n")


if __name__ == "__main__":
    for make in (digits, breast_cancer, diabetes, sunspot_numbers, unicode_names):
        make()
