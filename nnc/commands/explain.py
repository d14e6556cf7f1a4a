"""`nnc explain CODE`: the page of an error code, with an example."""

from __future__ import annotations

import argparse
from importlib import resources

from nnc.language.diagnostics import error, suggest


def run(args: argparse.Namespace) -> int:
    code = args.code.upper()
    known = codes()
    if code not in known:
        raise error(
            "E0801",
            f"there is no error code `{args.code}`",
            help=suggest(code, known) or f"codes run from {known[0]} to {known[-1]}",
        )
    print(page(code), end="")
    return 0


def codes() -> list[str]:
    """Every code that has a page, sorted."""
    files = resources.files("nnc.language").joinpath("explain").iterdir()
    return sorted(file.name.removesuffix(".md") for file in files if file.name.endswith(".md"))


def page(code: str) -> str:
    return resources.files("nnc.language").joinpath("explain", f"{code}.md").read_text("utf-8")
