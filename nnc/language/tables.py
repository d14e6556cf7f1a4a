"""The LALR parser, built from `nn.lark` once and then read from a cache.

Building takes a tenth of a second on every start; reading the finished tables a few milliseconds.
`Lark.save` would write a pickle, which can run anything when read, so the tables are kept as JSON:
under a name with the hash of the grammar and lark's version, with a checksum inside, written to a
temporary file and renamed.  A cache that is missing, damaged or not writable only costs time.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnc.language.builder import Builder

if TYPE_CHECKING:
    from lark import Lark

_OPTIONS: dict[str, Any] = {"parser": "lalr", "lexer": "basic", "keep_all_tokens": True}


@cache
def grammar() -> str:
    """The text of `nn.lark`: beside this module in a wheel, in `grammar/` of a checkout."""
    installed = Path(__file__).with_name("nn.lark")
    checkout = Path(__file__).parents[2] / "grammar" / "nn.lark"
    return (installed if installed.exists() else checkout).read_text(encoding="utf-8")


def cache_folder() -> Path:
    """Where this user's caches go (`NNC_CACHE`, else the platform's place)."""
    if "NNC_CACHE" in os.environ:
        return Path(os.environ["NNC_CACHE"])
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA", "~/AppData/Local")
    else:
        base = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    return Path(base).expanduser() / "nnc"


def make_parser(builder: Builder) -> Lark:
    """A parser that feeds `builder`."""
    import lark

    key = hashlib.sha256(f"{lark.__version__}\n{_OPTIONS}\n{grammar()}".encode()).hexdigest()
    path = cache_folder() / f"grammar-{key[:16]}.json"
    tables = _read(path)
    if tables is None:
        plain = lark.Lark(grammar(), **_OPTIONS)
        data, memo = plain.memo_serialize([lark.lexer.TerminalDef, lark.grammar.Rule])
        tables = {"data": data, "memo": memo}
        _write(path, tables)
    return lark.Lark._load_from_dict(tables["data"], tables["memo"], transformer=builder)


def _int_keys(pairs: list[tuple[str, Any]]) -> dict[str | int, Any]:
    # JSON turns the numbers of states and tokens into text.
    return {int(k) if k.isdigit() else k: v for k, v in pairs}


def _read(path: Path) -> dict[str, Any] | None:
    try:
        checksum, text = path.read_text(encoding="utf-8").split("\n", 1)
    except (OSError, ValueError):
        return None
    if hashlib.sha256(text.encode()).hexdigest() != checksum:
        return None
    tables: dict[str, Any] = json.loads(text, object_pairs_hook=_int_keys)
    return tables


def _write(path: Path, tables: dict[str, Any]) -> None:
    text = json.dumps(tables, separators=(",", ":"))
    checksum = hashlib.sha256(text.encode()).hexdigest()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(f"{checksum}\n{text}")
        os.replace(temporary, path)
    except OSError:
        return
