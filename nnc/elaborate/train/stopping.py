"""The `stop` setting: `patience(5epochs, on = val.loss)`."""

from __future__ import annotations

from nnc.elaborate.train.common import Section
from nnc.elaborate.train.scoring import metric_items
from nnc.elaborate.types import in_steps
from nnc.elaborate.values import Duration, describe
from nnc.ir.program import Stop
from nnc.language import tree
from nnc.language.diagnostics import error, suggest
from nnc.language.tree import Span

_PARAMETERS = ("duration", "on", "mode")


def early_stop(section: Section, clock: str) -> Stop | None:
    """When to stop before the end; a loss is watched for its minimum, a metric for its maximum."""
    setting = section.settings.get("stop")
    if setting is None:
        return None
    call = setting.value
    known = isinstance(call, tree.Call) and isinstance(call.function, tree.Name)
    if not known or call.function.id != "patience":  # type: ignore[union-attr]
        raise error("E0421", "`stop` is `patience(5epochs, on = val.loss)`", call.span)
    given = _arguments(call)  # type: ignore[arg-type]
    if "duration" not in given:
        raise error("E0212", "`patience` needs a duration", call.span, help="`5epochs`")
    steps = _steps(section, given["duration"])
    split, metric = _watched(given["on"]) if "on" in given else ("val", "loss")
    place = given["on"].span if "on" in given else call.span
    _check_watched(section, clock, split, metric, place)
    mode = section.static(given["mode"]) if "mode" in given else ""
    if mode not in ("", "min", "max"):
        raise error("E0421", f'`mode` is "min" or "max"; this is {describe(mode)}', call.span)
    return Stop(metric, split, max(steps, 1), mode or ("min" if metric == "loss" else "max"))


def _arguments(call: tree.Call) -> dict[str, tree.Expr]:
    given: dict[str, tree.Expr] = {}
    for position, item in enumerate(call.arguments):
        name = item.name or (_PARAMETERS[position] if position < len(_PARAMETERS) else "")
        if name not in _PARAMETERS:
            raise error(
                "E0211",
                f"`patience` has no parameter `{item.name or item.span.text}`",
                item.span,
                help=suggest(item.name, _PARAMETERS)
                or f"its parameters are {', '.join(_PARAMETERS)}",
            )
        given[name] = item.value
    return given


def _steps(section: Section, expr: tree.Expr) -> int:
    value = section.static(expr)
    if not isinstance(value, Duration):
        raise error(
            "E0421",
            f"`patience` needs a duration; this is {describe(value)}",
            expr.span,
            help=f"write `{expr.span.text}epochs`",
        )
    cx = section.module.context()
    cx.world = section.world
    return in_steps(cx, value, expr.span)


def _watched(expr: tree.Expr) -> tuple[str, str]:
    if isinstance(expr, tree.Attribute) and isinstance(expr.value, tree.Name):
        return expr.value.id, expr.name
    raise error("E0421", "`on` names a part and a metric: `val.loss`", expr.span)


def _check_watched(section: Section, clock: str, split: str, metric: str, span: Span) -> None:
    parts = section.parts(clock)
    if split not in parts or split == "train":
        raise error(
            "E0421",
            f"`{clock}` has no part `{split}` to watch",
            span,
            help="write `split = (train = 80%, val = 20%)` in its data section",
        )
    known = ["loss", *(item.name for item in metric_items(section.settings))]
    if metric not in known:
        raise error(
            "E0421",
            f"there is no metric `{metric}` to watch",
            span,
            help=suggest(metric, known) or f"there is {', '.join(known)}",
        )
