"""Tables of results on the standard output: as wide as they need where it is no terminal."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table

from nnc.ir.dims import Dim
from nnc.train.evaluate import Scores
from nnc.train.progress import figure


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """The first column is text, the others are numbers."""
    table = Table(title=title or None, title_justify="left")
    for index, name in enumerate(columns):
        table.add_column(name, justify="left" if index == 0 else "right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    width = None if sys.stdout.isatty() else 200
    Console(file=sys.stdout, width=width, markup=False, highlight=False).print(table)


def byte_text(value: Dim) -> str:
    """`1.5 MiB`."""
    if not isinstance(value, int):
        return f"{value} B"
    size, unit = float(value), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if size < 1024:
            break
        size, unit = size / 1024, larger
    return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"


def print_scores(scores: Sequence[Scores]) -> None:
    """A row a split, a column a metric; metrics that are arrays below."""
    metrics = list(dict.fromkeys(name for s in scores for name in s.metrics))
    scalar = [m for m in metrics if any(s.value(m) is not None for s in scores)]
    rows = [
        [s.name, *("" if (v := s.value(m)) is None else figure(v) for m in ["loss", *scalar])]
        for s in scores
    ]
    if rows:
        print_table("", ["", "loss", *scalar], rows)
    for result in scores:
        for name in metrics:
            if name not in scalar and name in result.metrics:
                print(f"{result.name} {name}:")
                for row in result.metrics[name]:  # type: ignore[union-attr]
                    print(f"  {json.dumps(row)}")
