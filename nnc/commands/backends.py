"""`nnc backends`: what is installed, in which version, on which devices."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from nnc import backend as backends
from nnc.language.diagnostics import NncError

HEAD = ("backend", "framework", "devices")


def run(args: argparse.Namespace) -> int:
    rows = [HEAD, *map(_row, backends.installed())]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print(_line(row, widths))
    return 0


def _row(name: str) -> tuple[str, str, str]:
    """A backend, or in its line why it is none and what to do."""
    try:
        found = backends.get(name)
    except NncError as problem:
        (fault,) = problem.diagnostics
        if fault.code == "E0902":
            return name, "not installed", fault.help
        return name, "broken", fault.message
    try:
        return name, found.version(), ", ".join(backends.devices(found))
    except NncError as problem:
        return name, found.version(), f"none; {problem.diagnostics[0].help}"


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = (cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
    return "  ".join(padded).rstrip()
