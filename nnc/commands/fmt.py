"""`nnc fmt [--check] FILE...`: programs rewritten in the one style, each file as a whole."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from nnc.commands.output import print_error
from nnc.language.diagnostics import NncError
from nnc.language.formatter import format_text
from nnc.language.limits import read_source
from nnc.train.checkpoint import write_atomically


def run(args: argparse.Namespace) -> int:
    code = 0
    for name in args.files:
        try:
            changed = _format(Path(name), args.check)
        except NncError as problem:
            print_error(problem)
            code = 1
            continue
        if changed and args.check:
            print(f"would rewrite {name}", file=sys.stderr)
            code = 1
        elif changed:
            print(f"rewrote {name}")
    return code


def _format(path: Path, check: bool) -> bool:
    """Rewrite `path` unless `check`; whether its text is another."""
    before = read_source(path, str(path)).text
    after = format_text(before, str(path))
    if after != before and not check:
        write_atomically(path, after.encode())
    return after != before
