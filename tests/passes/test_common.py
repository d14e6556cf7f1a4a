"""Equal expressions are computed once; expressions that only look equal are not."""

from hypothesis import given, settings

from nnc.ir.builder import Tensor
from nnc.ir.graph import Graph
from nnc.passes.common import common
from tests.passes.graphs import F64, assert_becomes, assert_same_meaning, graph, random_graphs


@settings(max_examples=40, deadline=None)
@given(random_graphs())
def test_not_a_bit_changes(original: Graph) -> None:
    assert_same_meaning(common, original)


def count(op: str, changed: Graph) -> int:
    common.run(changed)
    return sum(node.op == op for node in changed)


def test_chains_meet() -> None:
    def before(x: Tensor, y: Tensor) -> Tensor:
        return (x + y).emit("exp") * (x + y).emit("exp")

    def after(x: Tensor, y: Tensor) -> Tensor:
        e = (x + y).emit("exp")
        return e * e

    assert_becomes(common, before, after, F64, F64)


def test_the_order_of_a_sum_does_not_matter_and_of_a_difference_does() -> None:
    assert count("add", graph(lambda x, y: [x + y, y + x], F64, F64)) == 1
    assert count("sub", graph(lambda x, y: [x - y, y - x], F64, F64)) == 2


def test_attributes_count() -> None:
    assert count("sum", graph(lambda x: [x.sum((0,)), x.sum((1,)), x.sum((0,))], F64)) == 2


def test_zeros_of_two_signs_are_two_constants() -> None:
    assert count("const", graph(lambda x: [x + 0.0, x + -0.0, x * 0.0], F64)) == 2


def draws(*paths: str) -> Graph:
    def make(x: Tensor) -> list[Tensor]:
        zero = x.builder.const(0, "u64")
        return [
            zero.emit("random_bits", zero, zero, zero, path=path, ordinal=0, shape=(3,))
            for path in paths
        ]

    return graph(make, F64)


def test_a_draw_is_named_by_its_place() -> None:
    assert count("random_bits", draws("dropout/a", "dropout/a", "dropout/b")) == 2
