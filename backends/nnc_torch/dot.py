"""The spellings of `dot`: `@` wherever its rules do it, else `tensordot` and `einsum`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from string import ascii_lowercase

from nnc.emit import ADD, ATOM, MUL, Dialect, Expr, Site
from nnc.ir.dims import product as size_of
from nnc.ir.graph import Node
from nnc.ir.types import TensorType
from nnc_torch import kernels

Axes = tuple[int, ...]


@dataclass(frozen=True)
class Product(Expr):
    """The product of x and a matrix, to which a kernel can add something at no cost: `addmm` for
    a matrix x, `linear` for x of more axes, which takes the matrix transposed."""

    x: str = ""
    matrix: str = ""
    turned: str = ""
    linear: str = ""  # what a step calls for it, where it is large


#: From so many multiplications on oneDNN is faster than MKL, on which `@` rests, where there is
#: AVX-512: by 1.1 to 1.6 on an AMD EPYC, and as fast on Intel's processors.  With AVX2 alone MKL is
#: faster by 1.05 to 1.2.  Small products lose the 25 us of its call; x.T @ y of two tall arrays,
#: which is the gradient of a matrix, is no faster or slower.
LARGE = 1 << 23


def step_dot(site: Site, node: Node, x: Expr, y: Expr) -> Expr:
    """A product which nothing differentiates: large ones by oneDNN."""
    made = dot(site, node, x, y)
    left = site.types[0]
    if not isinstance(made, Product) or node.attrs["contract"][0] != (left.rank - 1,):
        return made
    count = size_of([*left.shape, *node.type.shape[-1:]])
    if left.dtype != "f32" or left.rank < 2 or not isinstance(count, int) or count < LARGE:
        return made
    name = site.helper(kernels.linear)
    text = f"{name}({made.x}, {made.matrix})"
    return replace(made, text=text, level=ATOM, linear=name)


def dot(site: Site, node: Node, x: Expr, y: Expr) -> Expr:
    dialect, (left, right) = site.dialect, site.types
    contract, batch = node.attrs["contract"], node.attrs["batch"]
    x, y = dialect.strong(x), dialect.strong(y)
    if len(contract[0]) == 1 and is_stacked(batch, left, right):
        a = as_left(x, left.rank, contract[0][0], len(batch[0]))
        b = as_right(y, right.rank, contract[1][0], len(batch[0]))
        if a is not None and b is not None:
            made = dialect.binary("@", MUL, a, b)
            if left.rank >= right.rank == 2 and not batch[0]:
                turned = y if b is not y else transposed(y, 2)
                return Product(
                    made.text,
                    made.level,
                    size=made.size,
                    x=a.text,
                    matrix=b.text,
                    turned=turned.text,
                )
            return made
    if batch[0]:
        return einsum(dialect, node, left, right, x, y)
    if not contract[0] and left.rank == right.rank == 1:
        return dialect.call("torch.outer", x, y)
    together = rows(contract, left, right)
    if together:
        flat = [dialect.method(z, "flatten", "0", str(together - 1)) for z in (x, y)]
        return dialect.binary("@", MUL, transposed(flat[0], 2), flat[1])
    if is_swapped(contract, left, right):
        is_left = smaller(left, right)  # the one of which a turned copy is made
        sides = []
        for z, is_turned in ((x, is_left), (y, not is_left)):
            whole = dialect.method(z, "transpose", "0", "1") if is_turned else z
            sides.append(dialect.method(whole, "flatten", "0", "1"))
        return dialect.binary("@", MUL, transposed(sides[0], 2), sides[1])
    axes = Expr(f"({list(contract[0])}, {list(contract[1])})")
    return dialect.call("torch.tensordot", x, y, axes)


def plus(site: Site, node: Node, x: Expr, y: Expr) -> Expr:
    """`torch.addmm(b, x, w)` for the sum of a matrix product and something that broadcasts, and
    `F.linear(x, w.T, b)` for that of a product of more axes and a vector."""
    sides = list(zip((x, y), site.axes, strict=True))
    for (product, of_product), (other, of_other) in (sides, sides[::-1]):
        if isinstance(product, Product) and of_product is None and not other.weak:
            if product.linear and of_other == (node.type.rank - 1,):
                text = f"{product.linear}({product.x}, {product.matrix}, {other.text})"
            elif node.type.rank == 2:
                text = f"torch.addmm({other.text}, {product.x}, {product.matrix})"
            elif of_other == (node.type.rank - 1,):
                text = f"F.linear({product.x}, {product.turned}, {other.text})"
            else:
                continue
            return Expr(text, size=1 + product.size + other.size, fused=True)
    return site.dialect.binary("+", ADD, x, y)


def is_stacked(batch: tuple[Axes, Axes], left: TensorType, right: TensorType) -> bool:
    """Whether `@` pairs these axes: stacks of matrices, or any x with one matrix or vector."""
    count = len(batch[0])
    if batch != (tuple(range(count)),) * 2:
        return False
    if count:
        return {left.rank - count, right.rank - count} == {2}
    return left.rank >= 1 and 1 <= right.rank <= 2


def as_left(x: Expr, rank: int, summed: int, lead: int) -> Expr | None:
    """`x` with the summed axis last."""
    if summed == rank - 1:
        return x
    return transposed(x, rank) if summed == lead and rank == lead + 2 else None


def as_right(y: Expr, rank: int, summed: int, lead: int) -> Expr | None:
    """`y` with the summed axis first of the last two."""
    if summed == max(rank - 2, 0):
        return y
    return transposed(y, rank) if summed == rank - 1 and rank == lead + 2 else None


def transposed(x: Expr, rank: int) -> Expr:
    return Expr(f"{x.at(ATOM)}.{'T' if rank == 2 else 'mT'}", size=x.size)


def rows(contract: tuple[Axes, Axes], left: TensorType, right: TensorType) -> int:
    """How many first axes are summed in order, where each operand has one more: x.T @ y of rows."""
    count = len(contract[0])
    first = tuple(range(count))
    is_rows = contract == (first, first) and left.rank == right.rank == count + 1 and count > 1
    return count if is_rows else 0


def is_swapped(contract: tuple[Axes, Axes], left: TensorType, right: TensorType) -> bool:
    """Whether the first two axes of both are summed, those of one in the other order."""
    pairs = set(zip(*contract, strict=True))
    return left.rank == right.rank == 3 and pairs == {(0, 1), (1, 0)}


def smaller(left: TensorType, right: TensorType) -> bool:
    """Whether the last axis of `left` is the shorter one, as far as it is known."""
    a, b = left.shape[-1], right.shape[-1]
    return isinstance(a, int) and isinstance(b, int) and a <= b


def einsum(
    dialect: Dialect, node: Node, left: TensorType, right: TensorType, x: Expr, y: Expr
) -> Expr:
    """Batch axes that stand anywhere: letters in the order of x, then of y."""
    contract, batch = node.attrs["contract"], node.attrs["batch"]
    of_x = ascii_lowercase[: left.rank]
    shared = dict(zip((*contract[1], *batch[1]), (*contract[0], *batch[0]), strict=True))
    rest = iter(ascii_lowercase[left.rank :])
    of_y = "".join(of_x[shared[a]] if a in shared else next(rest) for a in range(right.rank))
    lead = "".join(of_x[a] for a in batch[0])
    mine = "".join(of_x[a] for a in range(left.rank) if a not in (*contract[0], *batch[0]))
    theirs = "".join(of_y[a] for a in range(right.rank) if a not in shared)
    return dialect.call("torch.einsum", Expr(f'"{of_x},{of_y}->{lead}{mine}{theirs}"'), x, y)
