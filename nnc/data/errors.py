"""Errors in data: they name the file and the row, and the field or setting to blame.

The elaborator knows where a field stands in the program and adds that place to the message.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from nnc.language.diagnostics import Diagnostic, NncError

#: Every code that this package raises, with the title of its page.
CODES = {
    "E0501": "a file that does not exist",
    "E0502": "a path outside the program's folder",
    "E0503": "a file that cannot be opened",
    "E0504": "a file that is damaged, empty or of another format",
    "E0505": "rows of different lengths",
    "E0506": "text in a column of numbers",
    "E0507": "a missing or infinite value",
    "E0508": "an unknown column or array",
    "E0509": "a value that does not fit the declared type",
    "E0510": "a label out of range",
    "E0511": "data of another shape than declared",
    "E0512": "fields with different numbers of samples",
    "E0513": "too few samples",
    "E0514": "a split that does not add up",
    "E0515": "a transform that does not apply",
    "E0516": "a wrong argument",
}


class DataError(NncError):
    """One fault in the data; `subject` is the field or setting it belongs to, "" while unknown."""

    def __init__(self, code: str, message: str, *, help: str = "", subject: str = ""):
        super().__init__(Diagnostic(code, message, help=help))
        self.subject = subject


class BadValue(Exception):
    """A transform cannot take its input (because of `row`); becomes a `DataError` with a place."""

    def __init__(self, code: str, message: str, *, row: int | None = None, help: str = ""):
        super().__init__(message)
        self.code, self.message, self.row, self.help = code, message, row, help


@contextmanager
def blame(subject: str) -> Iterator[None]:
    """Gives the data errors of a `with` body their subject."""
    try:
        yield
    except DataError as fault:
        fault.subject = fault.subject or subject
        raise
