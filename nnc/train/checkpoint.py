"""Checkpoints: everything a run needs to go on to the bit, in one safetensors file.

A file holds the state under its own paths, what the data sources fitted (means, vocabularies)
under `@data/SOURCE/NAME`, and, as JSON in the header's metadata, the counters and settings of the
run with a SHA-256 of all of it.  A file is written beside its place, synced and renamed; the one
before it stays as `previous.safetensors`, which is read when the last one is damaged.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from nnc.language.diagnostics import NncError, error

LAST, PREVIOUS, BEST = "last.safetensors", "previous.safetensors", "best.safetensors"
DATA = "@data/"
FORMAT = 1

State = dict[str, np.ndarray]


@dataclass(frozen=True)
class Checkpoint:
    """`state` as the emitted source has it but for stacks of layers, of which each is an array by
    itself; `fitted[source][name]`, and JSON-able `meta`."""

    state: State
    meta: dict[str, Any]
    fitted: dict[str, State] = field(default_factory=dict)


def copy_state(state: State) -> State:
    """A copy that shares no memory with `state`, in C order."""
    return {path: np.array(value, order="C") for path, value in state.items()}


def state_hash(state: State) -> str:
    """SHA-256 of the names, types, shapes and bytes of a state, independent of its order."""
    digest = hashlib.sha256()
    for path in sorted(state):
        value = np.asarray(state[path], order="C")
        digest.update(f"{path} {value.dtype.str} {list(value.shape)}\n".encode())
        digest.update(value.data if value.size else b"")
    return digest.hexdigest()


def encode(checkpoint: Checkpoint) -> bytes:
    arrays = {path: np.asarray(value, order="C") for path, value in checkpoint.state.items()}
    for source, values in checkpoint.fitted.items():
        for name, value in values.items():
            arrays[f"{DATA}{source}/{name}"] = np.asarray(value, order="C")
    meta = {"format": FORMAT, **checkpoint.meta}
    meta["sha256"] = _checksum(arrays, meta)
    # One entry alone: safetensors writes several in an order that changes from call to call.
    return safetensors.numpy.save(arrays, {"nnc": json.dumps(meta, sort_keys=True)})


def decode(content: bytes, path: str | Path) -> Checkpoint:
    """The checkpoint in `content`; an error that names `path` where it is not a whole one."""
    try:
        arrays = {name: np.array(value) for name, value in safetensors.numpy.load(content).items()}
        length = int.from_bytes(content[:8], "little")
        header = json.loads(content[8 : 8 + length]).get("__metadata__", {})
        meta = json.loads(header.get("nnc", "null"))
    except (SafetensorError, ValueError, KeyError) as problem:
        raise _damaged(path, f"is no whole safetensors file ({problem})") from None
    if not isinstance(meta, dict):
        raise error(
            "E0703",
            f"{path} is not a checkpoint of nnc: its header has no `nnc` entry",
            help="give the directory of a run, or a checkpoint that `nnc train` wrote",
        )
    if meta.pop("sha256", None) != _checksum(arrays, meta):
        raise _damaged(path, "does not match its own checksum")
    if meta.pop("format", None) != FORMAT:
        raise error("E0703", f"{path} was written by another version of nnc")
    state = {name: value for name, value in arrays.items() if not name.startswith(DATA)}
    fitted: dict[str, State] = {}
    for name, value in arrays.items():
        if name.startswith(DATA):
            source, _, key = name.removeprefix(DATA).partition("/")
            fitted.setdefault(source, {})[key] = value
    return Checkpoint(state, meta, fitted)


def save(directory: Path, checkpoint: Checkpoint, name: str = LAST) -> None:
    """Write `name`; an older `last.safetensors` becomes `previous.safetensors`."""
    path = directory / name
    if name == LAST and path.exists():
        temporary = write_beside(path, encode(checkpoint))
        os.replace(path, directory / PREVIOUS)
        os.replace(temporary, path)
        sync_directory(directory)
    else:
        write_atomically(path, encode(checkpoint))


def load(path: str | Path) -> Checkpoint:
    """The checkpoint in one file."""
    try:
        content = Path(path).read_bytes()
    except OSError as problem:
        raise error("E0703", f"cannot read {path}: {problem.strerror}") from None
    return decode(content, path)


def load_last(directory: Path) -> tuple[Checkpoint, list[str]]:
    """The newest whole checkpoint of a run, and a remark for each damaged one passed over."""
    remarks: list[str] = []
    last_problem: NncError | None = None
    for name in (LAST, PREVIOUS):
        if not (directory / name).exists():
            continue
        try:
            checkpoint = load(directory / name)
        except NncError as problem:
            last_problem = problem
            remarks.append(problem.diagnostics[0].message)
        else:
            if remarks:
                remarks.append(f"going on from {directory / name}")
            return checkpoint, remarks
    if last_problem is not None:
        raise last_problem
    raise error(
        "E0703",
        f"{directory} holds no checkpoint",
        help=f"a run's directory has a {LAST}; without `--resume` a new run is started",
    )


def write_atomically(path: Path, content: bytes) -> None:
    """`path` has either its old content or all of the new one, even after a power failure."""
    os.replace(write_beside(path, content), path)
    sync_directory(path.parent)


def write_beside(path: Path, content: bytes) -> Path:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError as problem:
        temporary.unlink(missing_ok=True)
        raise error("E0704", f"cannot write {path}: {problem.strerror}") from None
    return temporary


def sync_directory(directory: Path) -> None:
    if os.name != "posix":  # elsewhere a directory cannot be opened, and renames are durable
        return
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _checksum(arrays: State, meta: dict[str, Any]) -> str:
    text = state_hash(arrays) + json.dumps(meta, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _damaged(path: str | Path, what: str) -> NncError:
    return error("E0703", f"checkpoint {path} is damaged: it {what}")
