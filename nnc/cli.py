"""The command line: what there is to say and how it ends; no logic.

Each command lives in a module of `nnc.commands`, which is imported when the command runs, so that
`nnc --help` imports nothing.  Exit codes: 0 clean, 1 errors in a program, its data or a run, 2
usage, 130 interrupted.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Callable, Sequence

from nnc import __version__

#: adds a command: its name, its help, and its module where that is called otherwise
Command = Callable[..., argparse.ArgumentParser]
#: the passes of nnc.passes.pipeline, which is not imported to print a help
PASSES = (
    "recognize", "fold_constants", "simplify", "fold_constants", "loops", "common", "dead_code",
)  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line; the exit code."""
    parser = build_parser()
    args = parser.parse_args(argv)
    try:
        code = _run(args)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader has gone (`nnc doc ... | head`): nothing is wrong here
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return code


def _run(args: argparse.Namespace) -> int:
    from nnc.language.diagnostics import NncError

    try:
        command = importlib.import_module(f"nnc.commands.{args.module}")
        return int(command.run(args))
    except NncError as problem:
        from nnc.commands.output import print_error

        print_error(problem)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except MemoryError:
        print("error: out of memory", file=sys.stderr)
        return 1
    except BrokenPipeError:
        raise
    except Exception as bug:
        if args.debug:
            raise
        print(
            f"nnc has a bug: {type(bug).__name__}: {bug}; please report it with the program "
            "(--debug shows the traceback)",
            file=sys.stderr,
        )
        return 1


# ---------------------------------------------------------------- what there is to say
def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nnc",
        description="One text describes a network, its data and its training; nnc checks, compiles "
        "and trains it.",
    )
    parser.add_argument("--version", action="version", version=f"nnc {__version__}")
    parser.add_argument("--debug", action="store_true", help=argparse.SUPPRESS)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def command(name: str, help: str, module: str = "") -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=help, description=help)
        sub.add_argument(
            "--debug",
            action="store_true",
            default=argparse.SUPPRESS,
            help="show the traceback of a bug in nnc",
        )
        sub.set_defaults(module=module or name)
        return sub

    for group in (_reading, _compiling, _training, _verifying):
        group(command)
    return parser


def _reading(command: Command) -> None:
    """Commands that read a program or what is known of the language."""
    check = command("check", "find all errors of programs")
    check.add_argument("files", nargs="+", metavar="FILE")
    check.add_argument("--json", action="store_true", help="print the errors as JSON")
    _set(check)

    fmt = command("fmt", "rewrite programs in the one style")
    fmt.add_argument("files", nargs="+", metavar="FILE")
    fmt.add_argument("--check", action="store_true", help="only say which files would change")

    explain = command("explain", "explain an error code, with an example")
    explain.add_argument("code", metavar="CODE")

    doc = command("doc", "show the documentation of a layer, function or op")
    doc.add_argument("name", metavar="NAME", nargs="?", help="all names where none is given")

    summary = command("summary", "list layers with their shapes, parameters and costs")
    summary.add_argument("file", metavar="FILE")
    _train_name(summary)
    _backend(summary)
    _set(summary)
    _stack_layers(summary)
    _passes(summary)
    summary.add_argument(
        "--measure", action="store_true", help="run a few steps and show the memory that they took"
    )


def _compiling(command: Command) -> None:
    """The command that prints source."""
    compile = command("compile", "print a training as standalone source")
    compile.add_argument("file", metavar="FILE")
    _train_name(compile)
    _backend(compile)
    _device(compile)
    _set(compile)
    _stack_layers(compile)
    compile.add_argument("-o", "--out", metavar="OUT", help="write to a file (default: stdout)")
    compile.add_argument(
        "--emit",
        choices=("source", "graph", "expanded"),
        default="source",
        help="the emitted source, the optimized graphs, or the program with every default",
    )
    _passes(compile)
    compile.add_argument(
        "--dump-after",
        metavar="A,B",
        help="print graphs after these passes (stderr); also after precision, autodiff, legalize, "
        "rewrite and remat, which are no choice",
    )
    compile.add_argument(
        "--timings",
        action="store_true",
        help="show what each phase and each pass costs and gives (stderr)",
    )


def _training(command: Command) -> None:
    """Commands that train, and use what was trained."""
    train = command("train", "train a program")
    train.add_argument("file", metavar="FILE", nargs="?", help="not needed with --resume")
    _train_name(train)
    _backend(train, None)
    _device(train)
    _set(train)
    _stack_layers(train, None)
    train.add_argument(
        "--compile",
        action="store_true",
        default=None,
        help="torch.compile the steps (PyTorch): up to a minute before the first",
    )
    train.add_argument("--seed", type=_seed, metavar="N")
    length = train.add_mutually_exclusive_group()
    length.add_argument("--epochs", type=_count, metavar="N")
    length.add_argument("--steps", type=_count, metavar="N")
    where = train.add_mutually_exclusive_group()
    where.add_argument("--out", metavar="DIR", help="a new directory (default: runs/NAME)")
    where.add_argument("--resume", metavar="DIR", help="go on with the run in DIR")
    _passes(train)

    evaluate = command("eval", "evaluate a checkpoint", "evaluate")
    evaluate.add_argument("checkpoint", metavar="DIR_OR_CHECKPOINT")
    evaluate.add_argument("--split", default="test", metavar="NAME", help="default: test")
    _other_backend(evaluate)

    predict = command("predict", "run the model of a checkpoint on new data")
    predict.add_argument("checkpoint", metavar="DIR_OR_CHECKPOINT")
    predict.add_argument(
        "--input",
        action="append",
        default=[],
        type=_assignment,
        metavar="NAME=FILE",
        help="a csv or npz file for an input of the model; NAME= may be left out for the only one",
    )
    predict.add_argument("--instance", metavar="NAME", help="which model of the program to run")
    predict.add_argument("-o", "--out", metavar="OUT", help="a csv or npz file (default: stdout)")
    _other_backend(predict)


def _verifying(command: Command) -> None:
    """Commands about backends."""
    verify = command("verify", "check that all backends train the same network")
    verify.add_argument("file", metavar="FILE")
    _train_name(verify, "all")
    verify.add_argument(
        "--backends", metavar="A,B", help="compare these (default: all that are installed)"
    )
    verify.add_argument(
        "--steps", type=_count, default=20, metavar="N", help="of each phase (default: 20)"
    )
    verify.add_argument("--json", action="store_true", help="print the report as JSON")
    verify.add_argument(
        "--bisect", action="store_true", help="say which pass brought a fault in, if one did"
    )
    _passes(verify)
    _set(verify)
    _stack_layers(verify)

    command("backends", "list the backends that are installed")


def _train_name(parser: argparse.ArgumentParser, default: str = "the one") -> None:
    parser.add_argument("--train", metavar="NAME", help=f"which train section (default: {default})")


def _backend(parser: argparse.ArgumentParser, default: str | None = "numpy") -> None:
    parser.add_argument("--backend", default=default, metavar="NAME", help="default: numpy")


def _other_backend(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--backend", metavar="NAME", help="default: the one that trained it")
    _device(parser)


def _device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--device", metavar="NAME", help="where to compute, as `nnc backends` lists it"
    )


def _stack_layers(parser: argparse.ArgumentParser, default: bool | None = False) -> None:
    parser.add_argument(
        "--stack-layers",
        action="store_true",
        default=default,
        help="make a `repeat` of equal layers a loop over stacked weights",
    )


def _passes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--passes",
        metavar="A,B",
        help=f"run these passes over the graphs, in this order (default: {', '.join(PASSES)})",
    )
    parser.add_argument(
        "--no-pass",
        metavar="NAME",
        action="append",
        default=[],
        help="leave a pass out; may be given several times",
    )
    parser.add_argument(
        "--fast-math",
        action="store_true",
        help="also what rounds otherwise: the passes reassociate and scalars",
    )


def _set(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        type=_override,
        metavar="K=V",
        help="set a config value of the program",
    )


def _override(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise argparse.ArgumentTypeError(f"`{text}` is not of the form NAME=VALUE")
    return key.strip(), value.strip()


def _assignment(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    return (key, value) if equals and key.isidentifier() else ("", text)


def _seed(text: str) -> int:
    return _integer(text, 0, 2**64 - 1)


def _count(text: str) -> int:
    return _integer(text, 1, 2**62)


def _integer(text: str, low: int, high: int) -> int:
    try:
        value = int(text.replace("_", ""))
    except ValueError:
        raise argparse.ArgumentTypeError(f"`{text}` is not an integer") from None
    if not low <= value <= high:
        raise argparse.ArgumentTypeError(f"{value} is not between {low} and {high}")
    return value


if __name__ == "__main__":
    sys.exit(main())
