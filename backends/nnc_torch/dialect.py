"""PyTorch as a dialect: what its numbers, types and new arrays look like.

Numbers of the host stay Python floats, which cost nothing until they meet an array and take its
element type there.  There are two dialects.  In functions of the state nothing is differentiated,
and arrays are made on `DEVICE`; in modules autograd goes through every op, so those whose gradients
differ from nnc's at kinks are spelt otherwise, and arrays are made where the arguments are.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from textwrap import indent
from typing import Any

import numpy as np
from nnc_numpy import NUMPY

from nnc.emit import COMPARE, Dialect, Expr, Helper, Printer, infix
from nnc.emit.layout import INDENT
from nnc.emit.memory import keep_memory
from nnc.emit.updates import Loop, is_view_of_state
from nnc.ir.graph import Value
from nnc.ir.narrow import held
from nnc.ir.program import Forward, Step, Training
from nnc.ir.types import NUMPY_DTYPES, dtype_of
from nnc_torch import kernels, runtime, short
from nnc_torch.emitters import EMITTERS, MODULE_EMITTERS
from nnc_torch.host import UNSIGNED, drawn
from nnc_torch.loops import MODULE_STATEMENTS, STATEMENTS
from nnc_torch.modules import class_texts, forward_text, method_names
from nnc_torch.updates import print_updates

HELPERS = tuple(
    f
    for module in (runtime, kernels)
    for f in vars(module).values()
    if getattr(f, "__module__", "") == module.__name__
)


class TorchDialect(Dialect):
    """Functions of the state."""

    name = "torch"
    module = "torch"
    imports = {  # noqa: RUF012
        "np": "import numpy as np",
        "torch": "import torch",
        "F": "import torch.nn.functional as F",
        "nn": "from torch import Tensor, nn",
    }
    emitters = EMITTERS
    statements = STATEMENTS
    native = frozenset()
    frees = True
    helpers = HELPERS
    preamble = (runtime.from_numpy, runtime.to_numpy)
    start = (keep_memory,)
    constants = {  # noqa: RUF012
        "DEVICE": '"cpu"',
        "torch.backends.cuda.matmul.allow_tf32": "False",
        "torch.backends.cudnn.allow_tf32": "False",
    }
    decorators = dict.fromkeys(("step", "batch", "finish", "forward"), ("@torch.no_grad()",))
    #: where new arrays are made
    device = "DEVICE"

    def __init__(self, forwards: Sequence[Forward] = ()):
        """`forwards` are the nets, legal for `ModuleDialect`."""
        self.forwards = forwards

    def functions(self, training: Training) -> tuple[Callable[..., Any], ...]:
        if "bf16" not in training.state_dtypes:
            return self.preamble
        return short.from_numpy, short.to_numpy

    def settings(self, training: Training) -> Mapping[str, str]:
        """Products of short floats are added up in f32 throughout, where any are."""
        short_floats = {"bf16": "bf16", "f16": "fp16"}
        found = [name for dtype, name in short_floats.items() if dtype in training.dtypes]
        prefix = "torch.backends.cuda.matmul.allow"
        lines = {f"{prefix}_{name}_reduced_precision_reduction": "False" for name in found}
        return {**self.constants, **lines}

    @property
    def host(self) -> Dialect:
        return NUMPY

    @property
    def taken(self) -> frozenset[str]:
        return (
            super().taken | NUMPY.taken | {"Tensor", "Model", "compiled", "model", "nets", "self"}
        )

    def needs(self) -> str:
        return "PyTorch and NumPy alone"

    # ------------------------------------------------------------ nets
    def classes(self, training: Training, helper: Helper) -> list[str]:
        if not self.forwards:
            return []
        doc = f"The nets of `{training.name}`; `state_dict()` has the paths of their weights."
        methods = method_names(self.forwards)
        return class_texts(self.forwards, training.state, ModuleDialect, helper, methods, doc)

    def forward(self, training: Training, forward: Forward, name: str) -> str:
        text = forward_text(forward, name, method_names(self.forwards)[forward.name], self)
        return f"{MODEL}\n\n\n{text}" if forward is training.forwards[0] else text

    # ------------------------------------------------------------ steps
    def runner(self, step: Step, name: str) -> str | None:
        inputs = (step.graph.node(id) for id in step.graph.inputs)
        reads_data = any(node.attrs["kind"] == "batch" for node in inputs)
        return RUN.format(name=name) if reads_data else None

    def ending(self, training: Training, helpers: Collection[str]) -> list[str]:
        has_draws = any(self.drawn(step) for phase in training.phases for step in phase.steps)
        has_kernels = any(kernels <= set(helpers) for kernels in SLOWED)
        outside = [name for name in OUTSIDE if name in helpers]
        lines = [f"global {', '.join(outside)}"] if outside else []
        lines += [AS_IT_IS] if has_kernels else []
        lines += [f"{name} = torch.compiler.disable({name})" for name in outside]
        lines += ['drawn = globals().get(f"{step.__name__}_drawn")'] if has_draws else []
        more = ", *([drawn(scalars)] if drawn else [])" if has_draws else ""
        start = indent("".join(f"{line}\n" for line in lines), INDENT)
        return [COMPILED.format(start=start, drawn=more, kernels=KERNELS if has_kernels else "")]

    def drawn(self, step: Step) -> Mapping[str, Value]:
        """Nothing where a step is to take less memory: what it draws is then drawn where it is
        used."""
        is_thrifty = step.remat is not None and step.remat.policy != "none"
        return {} if is_thrifty else drawn(step.graph)

    def update(self, printer: Printer, loops: Sequence[Loop]) -> bool:
        return print_updates(printer, loops)

    def stored(self, printer: Printer, value: Value) -> None:
        """Entries are written to in place, so that none may be a view of another."""
        expr = printer.read(value)
        if is_view_of_state(printer.graph, value) and not expr.text.endswith(".clone()"):
            printer.bind(value, self.method(expr, "clone"))

    # ------------------------------------------------------------ types and numbers
    def dtype(self, dtype: str) -> str:
        name = {"bf16": "bfloat16", "bool": "bool"}.get(dtype)
        return f"torch.{name or NUMPY_DTYPES[dtype].__name__}"

    def options(self, dtype: str, default: str = "") -> str:
        """The options of a function that makes an array; `default` is the type it makes."""
        typed = "" if dtype == default else f"dtype={self.dtype(dtype)}, "
        return f"{typed}device={self.device}"

    def number(self, text: str, dtype: str) -> str:
        if dtype in UNSIGNED:
            return NUMPY.number(text, dtype)
        return f"torch.tensor({text}, {self.options(dtype)})"

    def literal(self, value: Any, dtype: str) -> Expr:
        """A short float with all its digits, since a number meets an array in f32 here."""
        if dtype not in ("bf16", "f16"):
            return super().literal(value, dtype)
        return replace(super().literal(float(held(value, dtype)), "f64"), weak=dtype)

    def scalar(self, text: str, dtype: str) -> Expr:
        return Expr(text, weak=dtype)

    def array(self, data: np.ndarray) -> str:
        listed = NUMPY.array(data).removeprefix("np.array(").rpartition(", dtype=")[0]
        return self.number(listed.replace("np.", "torch."), dtype_of(data))

    def filled(self, value: str, shape: str, dtype: str) -> str:
        name = {"0": "zeros", "0.0": "zeros", "1": "ones", "1.0": "ones"}.get(value)
        if name is not None:
            return f"torch.{name}({shape}, {self.options(dtype, 'f32')})"
        shape = shape if shape.startswith("(") else f"({shape},)"
        return f"torch.full({shape}, {value}, {self.options(dtype)})"

    # ------------------------------------------------------------ expressions
    def binary(self, symbol: str, level: int, x: Expr, y: Expr) -> Expr:
        """Of two Python numbers it is Python's own."""
        made = infix(symbol, level, x, y)
        weak = ("bool" if level == COMPARE else x.weak) if x.weak and y.weak else ""
        return Expr(made.text, made.level, weak, made.size)


class ModuleDialect(TorchDialect):
    """Methods of modules, through which autograd goes."""

    emitters = MODULE_EMITTERS
    statements = MODULE_STATEMENTS

    def __init__(self, device: str):
        super().__init__()
        self.device = device


#: what torch.compile would not go through, or not make faster
OUTSIDE = ("random_bits", "lstm", "lstm_grad")

RUN = '''
def run_{name}(state, data, order, scalars):
    """`{name}` K times in one call; `state` is consumed.

    `data` has whole fields, `order` the rows [K, batch] of each source, `scalars` K of each number.
    """
    rows = {{source: torch.as_tensor(places, device=DEVICE) for source, places in order.items()}}
    numbers = {{key: values.tolist() for key, values in scalars.items()}}
    outs = []
    for i in range(len(next(iter(rows.values())))):
        batch = {{field: x[rows[field.split(".")[0]][i]] for field, x in data.items()}}
        state, out = {name}(state, batch, {{key: values[i] for key, values in numbers.items()}})
        outs.append(out)
    return state, {{key: torch.stack([out[key] for out in outs]) for key in outs[0]}}
'''.strip()

#: kernels that torch.compile replaces by slower ones on a CPU, or can only go around, and which
#: take most of the time of a step that has them
SLOWED = ({"lstm"}, {"conv", "batch_norm"})

KERNELS = """
    On a CPU it is `step` itself: the kernels that take most of its time are quicker than what
    torch.compile makes of them."""

AS_IT_IS = """
if DEVICE == "cpu":
    return step
""".strip()

COMPILED = '''
def compiled(step):
    """`step` by torch.compile, which takes up to a minute for the first call.

    What it draws is drawn before it; an update that is one kernel stays as it is.{kernels}
    """
{start}    torch._dynamo.config.capture_scalar_outputs = True
    part = globals().get(f"{{step.__name__}}_gradients", step)
    update = globals().get(f"{{step.__name__}}_update")
    fast = torch.no_grad()(torch.compile(part.__wrapped__))

    def run(state, batch, scalars):
        numbers = {{  # as tensors: a Python float would be a part of the code
            key: torch.tensor(x, dtype=torch.float64) if isinstance(x, float) else x
            for key, x in scalars.items()
        }}
        found = fast(state, batch, numbers{drawn})
        return found if part is step else update(state, scalars, *found)

    return run
'''.strip()

MODEL = '''
def model(state):
    """The nets with the weights of `state`, which they share: to be used, or trained further."""
    with torch.device("meta"):
        nets = Model()
    nets.load_state_dict({path: state[path] for path in nets.state_dict()}, assign=True)
    return nets
'''.strip()
