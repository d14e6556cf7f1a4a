"""`nnc backends`: what is installed, in which version, on which devices."""

from __future__ import annotations

import argparse

from nnc import backend as backends
from nnc.language.diagnostics import NncError


def run(args: argparse.Namespace) -> int:
    for name in backends.installed():
        try:
            found = backends.get(name)
            print(f"{name:10} {found.version():20} {', '.join(found.devices())}")
        except NncError as missing:
            print(f"{name:10} not installed        {missing.diagnostics[0].help}")
    return 0
