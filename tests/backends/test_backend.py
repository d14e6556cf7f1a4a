"""Finding backends: by entry point, with an answer where one is missing."""

from importlib.metadata import EntryPoint

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
