"""`nnc check FILE... [--json]`: all independent errors of each program."""

from __future__ import annotations

import argparse
import json
import sys

from nnc.commands.output import print_diagnostics
from nnc.elaborate import check
from nnc.language.render import to_json


def run(args: argparse.Namespace) -> int:
    found = [d for file in args.files for d in check(file, dict(args.set))]
    if args.json:
        print(json.dumps(to_json(found), indent=2))
    elif found:
        print_diagnostics(found)
        count = "1 error" if len(found) == 1 else f"{len(found)} errors"
        print(f"\n{count}; `nnc explain {found[0].code}` says more", file=sys.stderr)
    else:
        print("no errors")
    return 1 if found else 0
