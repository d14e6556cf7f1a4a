"""What an expression can mean while a program is elaborated.

Static values are plain Python: int (or `Poly`, a symbolic size), float, bool, str, None.  The other
kinds are here.  Binding times (docs/language.md): *static*, *host* (`Host`, per step), *device*
(`TensorValue`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from nnc.ir.builder import Tensor
from nnc.ir.dims import Dim, Poly
from nnc.ir.host import HostExpr, HostIf, HostOp
from nnc.ir.types import TensorType
from nnc.language import tree
from nnc.language.tree import Span

if TYPE_CHECKING:
    from nnc.elaborate.layers import Layers
    from nnc.elaborate.places import Naming
    from nnc.elaborate.scope import Binding, Scope


@dataclass(frozen=True)
class Provenance:
    """Where a tensor was made, for labels in messages: `from Dense(128) at line 7`."""

    span: Span
    what: str

    @property
    def text(self) -> str:
        return f"{self.what} at line {self.span.line}"


@dataclass(frozen=True)
class TensorValue:
    """A tensor with a label (or None) for each axis."""

    tensor: Tensor
    names: tuple[str | None, ...]
    made: Provenance | None = None

    @property
    def type(self) -> TensorType:
        return self.tensor.type

    @property
    def shape(self) -> tuple[Dim, ...]:
        return self.tensor.shape

    @property
    def dtype(self) -> str:
        return self.tensor.dtype

    @property
    def rank(self) -> int:
        return len(self.names)

    def with_tensor(self, tensor: Tensor) -> TensorValue:
        """The same axes on another tensor of the same rank."""
        return TensorValue(tensor, self.names, self.made if tensor.shape == self.shape else None)


@dataclass(frozen=True)
class Host:
    """A scalar computed on the host once a step; `kind` is "int", "float" or "bool"."""

    expr: HostExpr
    kind: str

    def named(self, name: str) -> Host:
        """The same under a name, for the source, unless it has one."""
        expr = self.expr
        if isinstance(expr, (HostOp, HostIf)) and not expr.name:
            return Host(replace(expr, name=name), self.kind)
        return self


@dataclass(frozen=True)
class Duration:
    """`5epochs`, `500steps`."""

    value: int | float
    unit: str  # "epochs" or "steps"


@dataclass(frozen=True)
class RangeValue:
    start: Dim
    stop: Dim


@dataclass(frozen=True)
class AxisRef:
    """A name given as `axis`: the axis of that label, else the int that the name stands for."""

    label: str
    value: Any
    span: Span


@dataclass(frozen=True)
class PathRef:
    """Everything below a path of the state: `net.encoder` in `update` or an optimizer group."""

    path: str


@dataclass(frozen=True)
class TupleValue:
    """A tuple or record; positional items have the name ""."""

    items: tuple[tuple[str, Any], ...]

    @property
    def values(self) -> tuple[Any, ...]:
        return tuple(value for _, value in self.items)

    def get(self, name: str) -> Any:
        return dict(self.items)[name]

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.items if name]

    def map(self, function: Callable[[Any], Any]) -> TupleValue:
        return TupleValue(tuple((name, function(value)) for name, value in self.items))


@dataclass(frozen=True)
class ListValue:
    values: tuple[Any, ...]


@dataclass(frozen=True)
class WeightsValue:
    """A tree of weights: path below the instance -> tensor.  Arithmetic is leaf by leaf."""

    leaves: dict[str, TensorValue]
    root: str = ""

    def map(self, function: Callable[[TensorValue], TensorValue]) -> WeightsValue:
        return WeightsValue({path: function(leaf) for path, leaf in self.leaves.items()}, self.root)


@dataclass(frozen=True)
class Function:
    """A `fn` of the program or the library, with the module scope it was written in."""

    definition: tree.Fn
    scope: Scope

    @property
    def name(self) -> str:
        return self.definition.name


@dataclass(frozen=True)
class BlockValue:
    """A `block` or `model` before its static call."""

    definition: tree.Block
    scope: Scope

    @property
    def name(self) -> str:
        return self.definition.name


@dataclass(frozen=True)
class Builtin:
    """A function that the compiler provides; `run(cx, call_site, *bound arguments)`."""

    name: str
    run: Callable[..., Any]
    parameters: tuple[Any, ...]  # inspect.Parameter of the language-visible parameters
    doc: str = ""

    @cached_property
    def signature(self) -> Signature:
        return Signature(self.parameters)


class Signature:
    """The parameters of a builtin by kind."""

    def __init__(self, parameters: tuple[Any, ...]):
        self.plain = [p for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
        self.keyword_only = [p for p in parameters if p.kind is p.KEYWORD_ONLY]
        self.has_rest = any(p.kind is p.VAR_POSITIONAL for p in parameters)
        self.has_extra = any(p.kind is p.VAR_KEYWORD for p in parameters)
        self.named = [*self.plain, *self.keyword_only]
        self.names = [p.name for p in self.named]
        self.required = {p.name for p in self.named if p.default is p.empty}
        self.takes_tensor = bool(parameters) and parameters[0].annotation == "TensorValue"


@dataclass
class Template:
    """A block after its static call: `Dense(10)`.  It owns the weights at its place."""

    block: BlockValue
    static: dict[str, Binding]
    naming: Naming
    place: tuple[str, str]  # its name in the body, and inside its `let`
    span: Span
    iteration: tuple[Any, ...] = ()  # numbers, names of fields, and `Layers`
    override: dict[str, TensorValue] = field(default_factory=dict)
    frozen: bool = False
    stacks: tuple[Layers, ...] = ()  # what the stars in its path stand for

    @property
    def path(self) -> str:
        return self.naming.path(self.place, self.iteration)

    @property
    def has_own_name(self) -> bool:
        """Whether a `let` gave it its name, and not the count of its block."""
        return not self.naming.names


@dataclass(frozen=True)
class Part:
    """A stage written as an expression, with what it needs to run later."""

    expr: tree.Expr
    scope: Scope
    naming: Naming
    iteration: tuple[Any, ...]


@dataclass(frozen=True)
class Deferred:
    """An argument of type `initializer`: evaluated for each weight whose initial value it is."""

    expr: tree.Expr
    scope: Scope


@dataclass(frozen=True)
class Stage:
    """Something that waits for its first argument: parts applied one after the other."""

    parts: tuple[Any, ...]  # Part or any callable value


@dataclass(frozen=True)
class Partial:
    """A call that lacks only its first argument."""

    callee: Any
    arguments: tuple[tuple[str, Any, Span], ...]
    span: Span


@dataclass(frozen=True)
class SourceValue:
    """A `data` section: its fields are the current batch, its facts static values."""

    name: str


@dataclass(frozen=True)
class ModuleValue:
    """`use std.adversarial as adv`."""

    scope: Scope
    path: str


@dataclass(frozen=True)
class Poison:
    """The value of something that already has an error; whatever uses it stays silent."""


class Poisoned(Exception):
    """Raised where a poisoned value is used: its error is already reported."""


POISON = Poison()
Value = Any
CALLABLE = (Function, BlockValue, Builtin, Template, Stage, Partial)


def is_int(value: Value) -> bool:
    return isinstance(value, (int, Poly)) and not isinstance(value, bool)


def is_number(value: Value) -> bool:
    return isinstance(value, (int, float, Poly)) and not isinstance(value, bool)


def is_static(value: Value) -> bool:
    return value is None or isinstance(value, (bool, int, float, str, Poly))


def leaves(value: Value) -> Iterator[Value]:
    """The tensors, templates and scalars inside tuples and lists, in order."""
    if isinstance(value, (TupleValue, ListValue)):
        for item in value.values:
            yield from leaves(item)
    else:
        yield value


def shape_words(value: TensorValue) -> str:
    """`f32[N = 64, 10]`: the type with its labels; those of lower case are names of static
    parameters (`out`), not of the user's axes."""
    dims = []
    for name, dim in zip(value.names, value.shape, strict=True):
        plain = name is None or name.islower() or str(dim) == name
        dims.append(str(dim) if plain else f"{name} = {dim}")
    return f"{value.dtype}[{', '.join(dims)}]" if dims else value.dtype


def describe(value: Value) -> str:
    """What a value is, in a message."""
    if isinstance(value, TensorValue):
        return shape_words(value)
    if isinstance(value, bool):
        return f"the bool `{str(value).lower()}`"
    if value is None:
        return "`none`"
    if isinstance(value, str):
        return f'the string "{value}"'
    if is_int(value):
        return f"the int {value}"
    if isinstance(value, float):
        return f"the number {value:g}"
    if isinstance(value, Host):
        return f"a per-step {value.kind}"
    if isinstance(value, Duration):
        return f"the duration {value.value:g}{value.unit}"
    if isinstance(value, Function):
        return f"the function `{value.name}`"
    if isinstance(value, Builtin):
        return f"the function `{value.name}`"
    if isinstance(value, BlockValue):
        return f"the block `{value.name}` without its static call"
    if isinstance(value, Template):
        return f"an instance of `{value.block.name}`"
    if isinstance(value, Partial) and isinstance(value.callee, (Function, Builtin)):
        return f"a call of `{value.callee.name}` without its first argument"
    if isinstance(value, (Stage, Partial)):
        return "a stage that waits for its input"
    if isinstance(value, Deferred):
        return f"the initializer `{value.expr.span.text}`"
    if isinstance(value, TupleValue):
        return f"a tuple of {len(value.items)}"
    if isinstance(value, ListValue):
        return f"a list of {len(value.values)}"
    if isinstance(value, WeightsValue):
        return "a tree of weights"
    if isinstance(value, SourceValue):
        return f"the data section `{value.name}`"
    if isinstance(value, RangeValue):
        return f"the range {value.start}..{value.stop}"
    if isinstance(value, AxisRef):
        return f"the axis `{value.label}`"
    return "a module" if isinstance(value, ModuleValue) else type(value).__name__
