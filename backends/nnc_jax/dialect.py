"""JAX as a dialect: NumPy's interface under `jnp`, functions that `compiled` compiles.

All arrays have their own element types and Python scalars are weak, so 64-bit types can be on
throughout without turning anything into float64.
"""

from __future__ import annotations

from nnc_numpy import NUMPY

from nnc.emit import Dialect, Expr, print_call
from nnc.ir.program import Step
from nnc_jax import runtime, streams
from nnc_jax.emitters import EMITTERS
from nnc_jax.scan import print_scan

RUN = '''\
@functools.partial(compiled, donate_argnames="state")
def run_{name}(state, data, order, scalars):
    """`{name}` K times in one call; `state` is consumed.

    `order` has the rows [K, batch] of each source, `data` its whole fields, `scalars` K numbers each.
    """

    def turn(state, now):
        rows, numbers = now
        batch = {{field: values[rows[field.split(".")[0]]] for field, values in data.items()}}
        return {name}(state, batch, numbers)

    return lax.scan(turn, state, (order, scalars))'''


class JaxDialect(Dialect):
    name = "jax"
    module = "jnp"
    imports = {  # noqa: RUF012
        "jax": "import jax",
        "jnp": "import jax.numpy as jnp",
        "lax": "from jax import lax",
    }
    emitters = EMITTERS
    statements = {"scan": print_scan, "call": print_call}  # noqa: RUF012
    native = frozenset({"bool"})
    helpers = (streams.random_words,)
    preamble = (runtime.compiled, runtime.from_numpy, runtime.to_numpy)
    constants = {"DEVICE": "None"}  # noqa: RUF012
    decorators = {  # noqa: RUF012
        "step": ('@functools.partial(compiled, donate_argnames="state")',),
        "batch": ("@compiled",),
        "finish": ('@functools.partial(compiled, static_argnames="count")',),
        "forward": ("@compiled",),
    }

    @property
    def host(self) -> Dialect:
        return NUMPY

    def needs(self) -> str:
        return "JAX and NumPy alone"

    def runner(self, step: Step, name: str) -> str:
        return RUN.format(name=name)

    def host_scalar(self, text: str, dtype: str) -> str:
        """JAX takes a Python integer for a signed one, into which a seed may not fit."""
        return f"np.uint64({text})" if dtype == "u64" else text

    def scalar(self, text: str, dtype: str) -> Expr:
        return Expr(self.number(text, dtype))


JAX = JaxDialect()
