"""`nnc eval DIR_OR_CHECKPOINT`: loss and metrics of a checkpoint on one part of the data."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from nnc.api import Model, from_checkpoint
from nnc.commands.tables import print_scores
from nnc.train.checkpoint import Checkpoint
from nnc.train.session import find_checkpoint


def run(args: argparse.Namespace) -> int:
    found, model = open_checkpoint(args)
    print_scores([model.evaluate(found.state, args.split)])
    return 0


def open_checkpoint(args: argparse.Namespace) -> tuple[Checkpoint, Model]:
    """A checkpoint and its model; what is remarkable about them goes to the standard error."""
    found, remarks = find_checkpoint(Path(args.checkpoint))
    model, more = from_checkpoint(found, args.backend, args.device)
    for remark in [*remarks, *more]:
        print(f"warning: {remark}", file=sys.stderr)
    return found, model
