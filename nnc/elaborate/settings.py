"""The settings of `train` and of the sections inside it: one schema, checked by name."""

from __future__ import annotations

from nnc.ir.program import POLICIES, Remat
from nnc.language import tree
from nnc.language.diagnostics import Diagnostic, Label, NncError, error, nearest, suggest
from nnc.passes.precision import PRECISIONS

Settings = dict[str, tree.Set]

_STEP = (
    "loss", "update", "optimizer", "clip_norm", "clip_value", "precision", "memory", "remat",
)  # fmt: skip
#: section kind -> its settings
SCHEMA: dict[str, tuple[str, ...]] = {
    "train": (*_STEP, "metrics", "epochs", "steps", "stop", "seed", "clock", "init"),
    "phase": (*_STEP, "epochs", "steps"),
    "step": _STEP,
    "eval": ("metrics",),
}
#: section kind -> the sections that may stand inside it
INNER: dict[str, tuple[str, ...]] = {
    "train": ("phase", "step", "eval"),
    "phase": ("step",),
    "step": (),
    "eval": (),
}
#: what other languages call the values of `precision`
FOREIGN_PRECISIONS = {
    "bfloat16": "bf16", "half": "f16", "float16": "f16", "fp16": "f16", "float": "f32",
    "float32": "f32", "fp32": "f32", "single": "f32",
}  # fmt: skip

#: units of `memory`
SIZES = {
    "KB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30,
}  # fmt: skip


def read_settings(section: tree.Section, faults: list[Diagnostic]) -> Settings:
    """Name -> `key = value` statement; `faults` takes every fault of the section.

    A misspelt setting counts as the one it is nearest to, so that this does not seem to be missing.
    """
    found: Settings = {}
    meant: Settings = {}
    for statement in section.body:
        try:
            if isinstance(statement, tree.Set):
                _setting(section, statement, found, meant)
            elif isinstance(statement, tree.Section):
                _inner(section, statement)
            elif not isinstance(statement, tree.Let):
                raise error(
                    "E0233",
                    f"a `{section.kind}` section holds settings, `let` and sections",
                    statement.span,
                )
        except NncError as failure:
            faults.extend(failure.diagnostics)
    return {**meant, **found}


def _setting(section: tree.Section, statement: tree.Set, found: Settings, meant: Settings) -> None:
    known = SCHEMA[section.kind]
    if len(statement.names) != 1:
        raise error("E0403", "one setting a statement", statement.span)
    key = statement.names[0]
    if key.id not in known:
        if near := nearest(key.id, known):
            meant[near] = statement
        raise error(
            "E0403",
            f"`{section.kind}` has no setting `{key.id}`",
            key.span,
            help=suggest(key.id, known)
            or f"`let {key.id} = ...` introduces a name; settings are {', '.join(known)}",
        )
    if key.id in found:
        raise error(
            "E0203",
            f"`{key.id}` is set twice",
            key.span,
            Label(found[key.id].span, "first set here"),
        )
    found[key.id] = statement


def precision_of(settings: Settings) -> str:
    """In which type products are computed: `f32` where `precision` says nothing else."""
    setting = settings.get("precision")
    if setting is None:
        return "f32"
    value = setting.value
    name = value.id if isinstance(value, tree.Name) else value.span.text.strip('"')
    if isinstance(value, tree.Name) and name in PRECISIONS:
        return name
    meant = FOREIGN_PRECISIONS.get(name.lower(), name)
    known = f"{', '.join(PRECISIONS[:-1])} or {PRECISIONS[-1]}"
    raise error(
        "E0435",
        f"`precision` is {known}; this is {value.span.text}",
        value.span,
        help=f"write `precision = {meant}`" if meant in PRECISIONS else suggest(meant, PRECISIONS),
    )


def remat_of(settings: Settings) -> Remat | None:
    """What `memory` or `remat` asks to be computed twice; None where there is neither."""
    memory, policy = settings.get("memory"), settings.get("remat")
    if memory is not None and policy is not None:
        raise error(
            "E0436",
            "give `memory` or `remat`, not both",
            memory.span,
            Label(policy.span, "and here"),
            help="`memory` finds out by itself what to compute twice",
        )
    if memory is not None:
        return Remat(budget=_size(memory.value), place=memory.value.span)
    if policy is None:
        return None
    word = policy.value.span.text
    if word not in POLICIES:
        raise error(
            "E0436",
            f"`remat` is {', '.join(POLICIES[:-1])} or {POLICIES[-1]}; this is {word}",
            policy.value.span,
            help=suggest(word.strip('"'), POLICIES)
            or "`memory = 2GB` computes twice what it must to fit",
        )
    return Remat(word, place=policy.value.span)


def _size(value: tree.Expr) -> int:
    """`2GB` in bytes."""
    if isinstance(value, tree.Number) and value.unit in SIZES and value.value > 0:
        return int(value.value * SIZES[value.unit])
    help = f"the units are {', '.join(SIZES)}"
    if isinstance(value, tree.Number):
        units = [unit for unit in SIZES if unit[0] == value.unit[:1].upper()]
        help = f"write `memory = {value.text.removesuffix(value.unit)}{[*units, 'GB'][0]}`"
    raise error(
        "E0436",
        f"`memory` is a size such as 2GB or 512MB; this is {value.span.text}",
        value.span,
        help=help,
    )


def _inner(section: tree.Section, inner: tree.Section) -> None:
    known = INNER[section.kind]
    place = inner.kind_span or inner.span
    if inner.kind not in known:
        raise error(
            "E0412",
            f"a `{section.kind}` has no section `{inner.kind}`",
            place,
            help=suggest(inner.kind, known) or (f"it may have {', '.join(known)}" if known else ""),
        )
    if not inner.name:
        raise error("E0413", f"a `{inner.kind}` section needs a name", place)
