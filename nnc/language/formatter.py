"""The one style of programs: `nnc fmt`.

`format_text` keeps the tree and every comment, and formatting twice changes nothing; both are
tested on generated programs.  The rules of the style stand in `printer.py`.
"""

from __future__ import annotations

from nnc.language.parser import parse_text
from nnc.language.printer import print_program, print_with_comments

__all__ = ["format_text", "print_program"]


def format_text(text: str, path: str = "<text>") -> str:
    """A program in canonical style; raises `NncError` where it has syntax errors."""
    return print_with_comments(parse_text(text, path))
