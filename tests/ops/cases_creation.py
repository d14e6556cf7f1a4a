"""Ops without operands have nothing to be differentiated by."""

from tests.gradcheck import Case

CASES: list[Case] = []
EXEMPT = dict.fromkeys(
    ("input", "const", "iota", "size"), "it has no operands to send a cotangent to"
)
