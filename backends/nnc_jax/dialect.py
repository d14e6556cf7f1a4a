"""JAX as a dialect: NumPy's interface under `jnp`, functions that `compiled` compiles.

All arrays have their own element types and Python scalars are weak, so 64-bit types can be on
throughout without turning anything into float64.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from nnc_numpy import NUMPY

from nnc.emit import Dialect, Expr, print_call
from nnc.emit.memory import keep_memory
from nnc.ir.dims import product
from nnc.ir.graph import Graph
from nnc.ir.liveness import step_liveness
from nnc.ir.program import Step, Training
from nnc.ir.storage import bytes_of
from nnc_jax import runtime, short, streams
from nnc_jax.emitters import EMITTERS
from nnc_jax.scan import print_scan

#: Bytes from which on a step runs on its caller's thread.  A recurrent network of 60 MB then needs
#: 90 MB less, in the same time; a step of microseconds would take twice as long.
LARGE = 1 << 24

#: Up to so many multiplications a product takes less time on one core than handed to a library:
#: 32 x 64 by 64 x 32, in a step of 18 us that now takes 13; with 2^19 it is all the same.
SMALL = 1 << 18

RUN = '''\
def run_{name}(state, data, order, scalars):
    """`{name}` K times in one call; `state` is consumed.

    `data` has whole fields, `order` the rows [K, batch] of each source, `scalars` K of each number.
    Any K up to 64 is one and the same compiled loop, so the cut into calls does not change a bit.
    """
    count = len(next(iter(order.values())))
    length = -(-count // 64) * 64
    padded = jax.tree.map(lambda x: np.resize(x, (length, *np.shape(x)[1:])), (order, scalars))
    state, outs = _run_{name}(state, data, *padded, count)
    return state, first(outs, count)


@functools.partial(compiled, donate_argnames="state")
def _run_{name}(state, data, order, scalars, count):
    """The first `count` executions of `run_{name}`."""

    def turn(i, state):
        rows = {{source: places[i] for source, places in order.items()}}
        batch = {{field: x[rows[field.split(".")[0]]] for field, x in data.items()}}
        return {name}(state, batch, {{key: numbers[i] for key, numbers in scalars.items()}})

    def body(i, carry):
        state, out = turn(i, carry[0])
        return state, {{key: x.at[i].set(out[key]) for key, x in carry[1].items()}}

    length = len(next(iter(order.values())))
    _, out = jax.eval_shape(turn, 0, state)
    outs = {{key: jnp.zeros((length, *x.shape), x.dtype) for key, x in out.items()}}
    return lax.fori_loop(0, count, body, (state, outs))'''


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
    start = (keep_memory,)
    constants = {"DEVICE": "None", "SMALL": "False"}  # noqa: RUF012
    decorators = {  # noqa: RUF012
        "step": ('@functools.partial(compiled, donate_argnames="state")',),
        "batch": ("@compiled",),
        "finish": ('@functools.partial(compiled, static_argnames="count")',),
        "forward": ("@compiled",),
    }

    def functions(self, training: Training) -> tuple[Callable[..., Any], ...]:
        steps = (step for phase in training.phases for step in phase.steps)
        many = (runtime.first,) if any(map(reads_data, steps)) else ()
        if "bf16" not in training.state_dtypes:
            return *self.preamble, *many
        return runtime.compiled, short.from_numpy, short.to_numpy, *many

    def starts(self, training: Training) -> tuple[Callable[..., Any], ...]:
        is_large = any(takes_much(step) for phase in training.phases for step in phase.steps)
        return *super().starts(training), *((runtime.run_in_caller,) if is_large else ())

    def settings(self, training: Training) -> Mapping[str, str]:
        steps = [step for phase in training.phases for step in phase.steps]
        small = bool(steps) and all(is_small(step.graph) for step in steps)
        return {**self.constants, "SMALL": str(small)}

    @property
    def host(self) -> Dialect:
        return NUMPY

    def needs(self) -> str:
        return "JAX and NumPy alone"

    def runner(self, step: Step, name: str) -> str | None:
        return RUN.format(name=name) if reads_data(step) else None

    def host_scalar(self, text: str, dtype: str) -> str:
        """JAX takes a Python integer for a signed one, into which a seed may not fit."""
        return f"np.uint64({text})" if dtype == "u64" else text

    def scalar(self, text: str, dtype: str) -> Expr:
        return Expr(self.number(text, dtype))


def takes_much(step: Step) -> bool:
    """Whether `LARGE` bytes are alive at the peak of `step`."""
    made = (node for node in step.graph if node.op != "broadcast")  # which is a view
    largest = max((bytes_of(type) for node in made for type in node.types), default=0)
    return largest >= LARGE or step_liveness(step.graph).most >= LARGE


def is_small(graph: Graph) -> bool:
    """Whether no product is of more than `SMALL` multiplications, and nothing a convolution."""
    for node in graph:
        if node.op.startswith("conv"):
            return False
        if "body" in node.attrs and not is_small(node.attrs["body"]):
            return False
        if node.op == "dot":
            shape, axes = graph.type(node.operands[0]).shape, node.attrs["contract"][0]
            terms = node.type.size * product([shape[axis] for axis in axes])
            if not (isinstance(terms, int) and terms <= SMALL):
                return False
    return True


def reads_data(step: Step) -> bool:
    inputs = (step.graph.node(id) for id in step.graph.inputs)
    return any(node.attrs["kind"] == "batch" for node in inputs)


JAX = JaxDialect()
