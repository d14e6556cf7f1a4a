"""The settings of a `data` section: the size of a batch, the split, the order of samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nnc.elaborate.collected import Collected
from nnc.elaborate.scope import Scope
from nnc.elaborate.values import POISON, Poison, Poisoned, TupleValue, describe, is_number
from nnc.language import tree
from nnc.language.diagnostics import Diagnostic, Label, error, nearest, suggest
from nnc.language.tree import Span

if TYPE_CHECKING:
    from nnc.elaborate.context import Context

SETTINGS = ("batch", "split", "shuffle")


@dataclass
class DataSection:
    """A `data` section of the program and the module scope it stands in."""

    section: tree.Section
    scope: Scope


def read_data_settings(cx: Context, found: DataSection) -> dict[str, Any]:
    """The settings as `Source.load` takes them; raises every fault of the section's own text."""
    problems = Collected()
    section = found.section
    problems.found.extend(_misplaced(section))
    values = setting_values(cx, found, problems)
    settings = {
        "batch": problems.attempt(batch_size, section, values),
        "split": problems.attempt(split_shares, section, values.get("split")),
        "shuffle": problems.attempt(_shuffle, section, values),
    }
    problems.finish()
    return settings


def _misplaced(section: tree.Section) -> list[Diagnostic]:
    """Statements that a data section cannot hold, and fields that it has twice or not at all."""
    found: list[Diagnostic] = []
    seen: dict[str, Span] = {}
    for statement in section.body:
        if isinstance(statement, tree.Field):
            place = statement.name_span or statement.span
            if statement.name in seen:
                label = Label(seen[statement.name], "first defined here")
                found += error(
                    "E0203", f"`{statement.name}` is defined twice", place, label
                ).diagnostics
            seen.setdefault(statement.name, place)
        elif not isinstance(statement, tree.Set):
            found += error(
                "E0233", "a data section holds fields and settings", statement.span
            ).diagnostics
    if not seen:
        found += error(
            "E0401",
            f"the data section `{section.name}` has no field",
            section.name_span or section.span,
            help="write `x: f32[N, 64] = csv(...)`",
        ).diagnostics
    return found


def setting_values(cx: Context, found: DataSection, problems: Collected) -> dict[str, Any]:
    """Setting -> value; POISON for one that has an error."""
    settings: dict[str, tree.Set] = {}
    meant: dict[str, tree.Set] = {}
    for statement in found.section.body:
        if isinstance(statement, tree.Set):
            problems.attempt(_setting, statement, settings, meant)
    chosen = {**meant, **settings}
    values: dict[str, Any] = dict.fromkeys(chosen, POISON)

    def evaluate(name: str) -> None:
        values[name] = cx.eval(chosen[name].value, found.scope)

    for name in chosen:
        problems.attempt(evaluate, name)
    return values


def _setting(
    statement: tree.Set, settings: dict[str, tree.Set], meant: dict[str, tree.Set]
) -> None:
    key = statement.names[0]
    if key.id not in SETTINGS:
        if near := nearest(key.id, SETTINGS):
            meant[near] = statement
        raise error(
            "E0403",
            f"`data` has no setting `{key.id}`",
            key.span,
            help=suggest(key.id, SETTINGS)
            or f"its settings are {', '.join(SETTINGS)}; a field has a type: "
            f"`{key.id}: f32[N, ...] = ...`",
        )
    if key.id in settings:
        raise error(
            "E0203",
            f"`{key.id}` is set twice",
            key.span,
            Label(settings[key.id].span, "first set here"),
        )
    settings[key.id] = statement


def batch_size(section: tree.Section, values: dict[str, Any]) -> int:
    batch = values.get("batch")
    if isinstance(batch, Poison):
        raise Poisoned
    if isinstance(batch, int) and not isinstance(batch, bool) and batch >= 1:
        return batch
    place = place_of(section, "batch")
    if place is None:
        raise error(
            "E0402",
            f"`{section.name}` needs the size of its batches",
            section.name_span or section.span,
            help="write `batch = 64`",
        )
    raise error("E0402", f"`batch` must be an int of at least 1; this is {describe(batch)}", place)


def split_shares(section: tree.Section, value: Any) -> dict[str, float] | None:
    if value is None:
        return None
    if isinstance(value, Poison):
        raise Poisoned
    place = place_of(section, "split")
    parts = dict(value.items) if isinstance(value, TupleValue) else {}
    if not parts or not all(name and is_number(v) for name, v in parts.items()):
        raise error(
            "E0404",
            f"`split` names its parts; this is {describe(value)}",
            place,
            help="write `split = (train = 80%, val = 10%, test = 10%)`",
        )
    return {name: float(v) for name, v in parts.items()}


def _shuffle(section: tree.Section, values: dict[str, Any]) -> bool:
    shuffle = values.get("shuffle", True)
    if isinstance(shuffle, Poison):
        raise Poisoned
    if not isinstance(shuffle, bool):
        raise error(
            "E0310",
            f"`shuffle` is `true` or `false`; this is {describe(shuffle)}",
            place_of(section, "shuffle"),
        )
    return shuffle


def place_of(section: tree.Section, subject: str) -> Span | None:
    """The setting or field of this name."""
    for statement in section.body:
        if isinstance(statement, tree.Set) and statement.names[0].id == subject:
            return statement.span
        if isinstance(statement, tree.Field) and statement.name == subject:
            return statement.value.span
    return None
