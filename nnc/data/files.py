"""The files a program may read: those in its own folder and in the folders it was given.

A program is data from anywhere, so a path is resolved with all its links before it is opened.
"""

import gzip
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nnc.data.errors import DataError
from nnc.language.diagnostics import suggest


@dataclass(frozen=True)
class Files:
    """Reads files below `root`, the program's folder, or below one of `roots`; each only once."""

    root: Path
    roots: tuple[Path, ...] = ()
    _parsed: dict[tuple[Any, ...], Any] = field(default_factory=dict, compare=False, repr=False)

    def resolve(self, path: str) -> Path:
        """The file that `path` means; relative paths start at `root`."""
        try:
            found = (self.root / path).resolve()
            allowed = [folder.resolve() for folder in (self.root, *self.roots)]
        except (OSError, RuntimeError, ValueError) as fault:
            raise DataError("E0503", f"{path!r} is not a path: {fault}") from None
        if not any(found.is_relative_to(folder) for folder in allowed):
            raise DataError(
                "E0502",
                f"`{path}` lies outside the program's folder",
                help="move the file beside the program, or allow its folder on the command line",
            )
        return found

    def bytes(self, path: str) -> bytes:
        """The content of a file, decompressed if its name ends in `.gz`."""
        found = self.resolve(path)
        try:
            if found.is_dir():
                raise DataError("E0503", f"`{path}` is a folder, not a file", help=_listing(found))
            if not found.exists():
                raise _missing(path, found)
            if not found.is_file():
                raise DataError("E0503", f"`{path}` is not a regular file")
            content = found.read_bytes()
        except OSError as fault:
            raise DataError("E0503", f"cannot open `{path}`: {fault.strerror}") from None
        if found.suffix == ".gz" and content:
            content = _decompress(path, content)
        if not content:
            raise DataError("E0504", f"`{path}` is empty")
        return content

    def text(self, path: str) -> str:
        """The content of a text file in UTF-8; every end of line becomes a newline."""
        content = self.bytes(path)
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError as fault:
            row = content.count(b"\n", 0, fault.start) + 1
            raise DataError(
                "E0504",
                f"{path}, row {row}: byte 0x{content[fault.start]:02x} is not UTF-8 text",
                help=f"save the file as UTF-8{_other_reader(content)}",
            ) from None
        return text.replace("\r\n", "\n").replace("\r", "\n")

    def once(self, key: tuple[Any, ...], parse: Callable[[], Any]) -> Any:
        """What `parse` gives, from memory if it was asked for with this key before."""
        if key not in self._parsed:
            self._parsed[key] = parse()
        return self._parsed[key]


def _decompress(path: str, content: bytes) -> bytes:
    try:
        return gzip.decompress(content)
    except EOFError:
        raise DataError("E0504", f"`{path}` is truncated: the gzip stream has no end") from None
    except (gzip.BadGzipFile, zlib.error) as fault:
        raise DataError("E0504", f"`{path}` is not a sound gzip file: {fault}") from None


def _missing(path: str, found: Path) -> DataError:
    if not found.parent.is_dir():
        return DataError("E0501", f"there is no file `{path}`: its folder does not exist")
    near = suggest(found.name, sorted(entry.name for entry in found.parent.iterdir()))
    return DataError("E0501", f"there is no file `{path}`", help=near or _listing(found.parent))


def _listing(folder: Path) -> str:
    names = sorted(entry.name for entry in folder.iterdir() if entry.is_file())
    if not names:
        return "the folder holds no files"
    return "the folder holds " + ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")


_MAGIC = {b"\x93NUMPY": "npy", b"PK": "npz", b"\x1f\x8b": "a name ending in .gz"}


def _other_reader(content: bytes) -> str:
    for magic, reader in _MAGIC.items():
        if content.startswith(magic):
            return f"; its first bytes suggest {reader}"
    return ""
