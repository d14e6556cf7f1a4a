"""Which variables printed lines read and assign."""

import pytest

from nnc.emit.variables import assigned, read, variables_in

LINES = {
    "h = x @ w + b": (["h"], ["x", "w", "b"]),
    "y, _ = parts(x, axis=axis)": (["y", "_"], ["parts", "x", "axis"]),
    "for p, grad in updated(state, gradients):": (["p", "grad"], ["updated", "state", "gradients"]),
    'state["net.w"] = net.sum(0) * 2.0': ([], ["state", "net"]),
    "h *= slope": ([], ["h", "slope"]),
    "np.maximum(0.0, h, out=h)": ([], ["np", "h", "h"]),
    "# h = x": ([], []),
}


@pytest.mark.parametrize("line", LINES)
def test_what_a_line_assigns_and_reads(line: str) -> None:
    assert (assigned(line), read(line)) == LINES[line]


def test_attributes_keywords_numbers_and_strings_are_no_variables() -> None:
    text = 'take(x.h, axis=1, how="in h", scale=2e3 * h_2)'
    assert variables_in(text) == ["take", "x", "h_2"]
