"""Every op's gradient is that of finite differences, and no op is forgotten."""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path

import pytest

import nnc.ops  # noqa: F401  (fills the registry)
from nnc.ops.registry import OPS
from tests.gradcheck import Case, check_gradient

MODULES = [
    import_module(f"tests.ops.{path.stem}")
    for path in sorted(Path(__file__).parent.glob("cases_*.py"))
]
CASES: list[Case] = [case for module in MODULES for case in module.CASES]
EXEMPT: Mapping[str, str] = {
    op: reason for module in MODULES for op, reason in module.EXEMPT.items()
}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_gradient_is_that_of_finite_differences(case: Case) -> None:
    check_gradient(case.op, case.arrays, case.attrs, case.order)


@pytest.mark.parametrize("op", sorted(OPS))
def test_every_op_is_differentiated_or_says_why_not(op: str) -> None:
    """Exactly one of: cases for its vjp, a gradient of zero, a reason for neither."""
    checked = any(case.op == op for case in CASES)
    assert checked + OPS[op].zero_gradient + (op in EXEMPT) == 1
    assert not (OPS[op].zero_gradient and OPS[op].vjp)


def test_reasons_are_given_for_ops_that_exist() -> None:
    assert set(EXEMPT) <= set(OPS)
