"""`nnc predict DIR_OR_CHECKPOINT --input x=FILE`: a model's outputs for new data, as csv or npz."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from nnc.api import arguments, bind, forward_function
from nnc.commands.evaluate import open_checkpoint
from nnc.ir.types import TensorType
from nnc.language.diagnostics import error, suggest
from nnc.train import predict
from nnc.train.checkpoint import write_atomically


def run(args: argparse.Namespace) -> int:
    kind = predict.file_format(Path(args.out), ("csv", "npz")) if args.out else "csv"
    found, model = open_checkpoint(args)
    function, forward = forward_function(model.module, model.training, args.instance)
    types = arguments(forward)
    sources = predict.with_fitted(model.training.sources, found.fitted)
    inputs = {
        name: predict.read_input(name, Path(file), types[name], sources)
        for name, file in _files(args.input, types).items()
    }
    inputs = bind(forward, (), inputs)
    batched = all(type.rank and not isinstance(type.shape[0], int) for type in types.values())
    state = model.native(found.state)
    outputs = predict.in_chunks(lambda *x: function(state, *x), inputs, batched)
    if args.out is None:
        sys.stdout.write(predict.to_csv(outputs))
    else:
        content = predict.to_npz(outputs) if kind == "npz" else predict.to_csv(outputs).encode()
        write_atomically(Path(args.out), content)
    return 0


def _files(given: list[tuple[str, str]], types: dict[str, TensorType]) -> dict[str, str]:
    """Files by input; a file without a name belongs to the only input."""
    wanted = ", ".join(f"`{name}`: {type}" for name, type in types.items())
    files: dict[str, str] = {}
    for name, file in given:
        if not name and len(types) == 1:
            (name,) = types
        if name not in types or name in files:
            fault = f"no input `{name}`" if name else "several inputs; say which one with NAME="
            raise error("E0707", f"the model has {fault}", help=suggest(name, types) or wanted)
        files[name] = file
    missing = [name for name in types if name not in files]
    if missing:
        raise error(
            "E0707",
            f"no file for the input `{missing[0]}`",
            help=f"give one with `--input {missing[0]}=FILE`; the model takes {wanted}",
        )
    return files
