"""Finding backends: by entry point, with an answer where one is missing."""

import ast
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from nnc import backend as contract
from nnc.backend import Backend, get, installed
from nnc.cli import main
from nnc.language.diagnostics import Diagnostic, NncError


def test_numpy_is_installed_and_fulfils_the_contract() -> None:
    assert "numpy" in installed()
    numpy = get("numpy")
    assert isinstance(numpy, Backend)
    assert (numpy.name, numpy.devices()) == ("numpy", ["cpu"])
    assert numpy.version().startswith("numpy ")


def refusal(name: str) -> Diagnostic:
    with pytest.raises(NncError) as caught:
        get(name)
    (diagnostic,) = caught.value.diagnostics
    return diagnostic


def test_an_unknown_backend_gets_a_suggestion() -> None:
    diagnostic = refusal("nunpy")
    assert (diagnostic.code, diagnostic.message) == ("E0901", "there is no backend `nunpy`")
    assert diagnostic.help == "did you mean `numpy`?"
    assert "installed are: " in refusal("tensorflow").help


# ---------------------------------------------------------------- backends that cannot be loaded
@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], None]:
    """Registers a backend `toy`, whose package has this text."""

    def register(text: str) -> None:
        (tmp_path / "nnc_toy.py").write_text(text)
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, "nnc_toy", raising=False)
        entry = EntryPoint("toy", "nnc_toy:backend", contract.GROUP)
        monkeypatch.setattr(contract, "entry_points", lambda group: [entry])

    return register


@pytest.mark.parametrize(
    ("text", "needs"),
    [
        ("import no_such_framework.core", "`no_such_framework`, which"),
        ("raise ModuleNotFoundError('toy wants toylib')", "what (toy wants toylib)"),
    ],
)
def test_a_missing_framework_is_one_line_with_the_command(
    registered: Callable[[str], None], text: str, needs: str
) -> None:
    registered(text)
    diagnostic = refusal("toy")
    assert diagnostic.code == "E0902"
    assert diagnostic.message == f"the backend `toy` needs {needs} is not installed"
    assert diagnostic.help == "pip install 'nnc[toy]'"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("import nnc_toy.spellings", "ModuleNotFoundError: No module named 'nnc_toy.spellings'"),
        ("import nnc.gone", "ModuleNotFoundError: No module named 'nnc.gone'"),
        ("from math import taw", "ImportError: cannot import name 'taw' from 'math'"),
        ("import math\nmath.taw", "AttributeError: module 'math' has no attribute 'taw'"),
        ("backend = None", "`nnc_toy:backend` has not all that a backend needs"),
        ("", "AttributeError: module 'nnc_toy' has no attribute 'backend'"),
    ],
)
def test_what_is_wrong_with_the_package_is_no_missing_framework(
    registered: Callable[[str], None], text: str, why: str
) -> None:
    registered(text)
    diagnostic = refusal("toy")
    assert diagnostic.code == "E0908"
    assert diagnostic.message.startswith(f"the backend `toy` cannot be loaded: {why}")
    assert "pip" not in diagnostic.help


TOY = """
class Toy:
    name, emitters = "toy", {}
    def emit(self, training): return ""
    def version(self): return "toy 1.0"
    def devices(self): raise AssertionError("no driver")
backend = Toy()
"""


def test_backends_that_are_none_are_told_in_their_lines(
    registered: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    registered("import no_such_framework")
    assert main(["backends"]) == 0
    assert "toy      not installed  pip install 'nnc[toy]'\n" in capsys.readouterr().out
    registered("from math import taw")
    assert main(["backends"]) == 0
    assert "toy      broken     the backend `toy` cannot be loaded: " in capsys.readouterr().out
    registered(TOY)
    assert main(["backends"]) == 0
    out = capsys.readouterr().out
    assert "toy      toy 1.0    none; it says: AssertionError: no driver\n" in out


# ---------------------------------------------------------------- the contract
@pytest.mark.parametrize("name", ["jax", "numpy", "torch"])
def test_a_backend_uses_the_public_contract_alone(name: str) -> None:
    """Those of a framework may also use the NumPy backend, which prints the initial values."""
    package = import_module(f"nnc_{name}")
    allowed = ("nnc.backend", "nnc.emit", "nnc.ir", "nnc.ops.registry", "nnc_numpy", f"nnc_{name}")
    for file in Path(package.__file__ or "").parent.rglob("*.py"):
        for module in imported(ast.parse(file.read_text("utf-8"))):
            is_ours = module.split(".")[0].startswith("nnc")
            fits = any(module == one or module.startswith(f"{one}.") for one in allowed)
            assert not is_ours or fits, (file, module)


def imported(tree: ast.AST) -> Iterator[str]:
    """The modules that a file imports, and `nnc.x` for `from nnc import x`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "relative imports hide where they lead"
            names = [f".{alias.name}" for alias in node.names] if node.module == "nnc" else [""]
            yield from (f"{node.module}{name}" for name in names)
