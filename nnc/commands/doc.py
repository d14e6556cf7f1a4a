"""`nnc doc [NAME]`: what a name of the language means, or all names."""

from __future__ import annotations

import argparse

from nnc.doc import document, overview


def run(args: argparse.Namespace) -> int:
    print(overview() if args.name is None else document(args.name))
    return 0
