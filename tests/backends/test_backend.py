"""Finding backends: by entry point, with an answer where one is missing."""

import ast
from importlib.metadata import EntryPoint
from pathlib import Path

import nnc_numpy
import pytest

from nnc import backend as contract
from nnc.backend import Backend, get, installed
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


def test_a_missing_framework_is_one_line_with_the_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    entry = EntryPoint("jax", "no_such_framework:backend", contract.GROUP)
    monkeypatch.setattr(contract, "entry_points", lambda group: [entry])
    diagnostic = refusal("jax")
    assert diagnostic.code == "E0902"
    assert diagnostic.message == (
        "the backend `jax` needs `no_such_framework`, which is not installed"
    )
    assert diagnostic.help == "pip install 'nnc[jax]'"


def test_the_numpy_backend_uses_the_public_contract_alone() -> None:
    allowed = ("nnc.backend", "nnc.emit", "nnc.ir", "nnc.ops.registry", "nnc_numpy")
    for file in Path(nnc_numpy.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            modules += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
            for module in modules:
                assert not module.startswith("nnc") or module.startswith(allowed), (file, module)
