"""Errors on the standard error, in color on a terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from nnc.language.diagnostics import Diagnostic, NncError
from nnc.language.render import render


def print_error(problem: NncError) -> None:
    print_diagnostics(problem.diagnostics)


def print_remarks(remarks: Sequence[str]) -> None:
    for remark in remarks:
        print(f"remark: {remark}", file=sys.stderr)


def print_diagnostics(diagnostics: Sequence[Diagnostic]) -> None:
    color = sys.stderr.isatty() and "NO_COLOR" not in os.environ
    sys.stderr.write(render(diagnostics, color))
