"""Transforms of names into indices: classes and characters, with the vocabulary as a fact."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnc.data.errors import BadValue
from nnc.data.stages import Fitted, Transform
from nnc.language.diagnostics import suggest


@dataclass(frozen=True)
class Categories(Transform):
    """Texts or numbers as class indices: their places in the sorted set of those that occur.

    Facts: `classes`, how many there are, and `labels`, the tuple of their texts.
    """

    name = "categories"
    fits_on = "all"
    takes_text = True

    def fit(self, values: np.ndarray) -> Fitted:
        return Classes(np.unique(_comparable(values)))

    def restore(self, state: Mapping[str, np.ndarray]) -> Fitted:
        if "numbers" in state:
            return Classes(state["numbers"])
        return Classes(np.array(json.loads(state["text"].tobytes())))


@dataclass(frozen=True)
class Classes:
    """Values as indices into the sorted `labels`, which are all texts or all numbers."""

    labels: np.ndarray

    def apply(self, values: np.ndarray) -> np.ndarray:
        values = _comparable(values)
        if values.dtype.kind != self.labels.dtype.kind:
            # New data alone may look like numbers where the labels are texts, or the reverse.
            values = np.array([_text(v) for v in values.flat]).reshape(values.shape)
            order = np.argsort(self.texts())
            return order[_indices(values, np.sort(self.texts()))]
        return _indices(values, self.labels)

    def texts(self) -> tuple[str, ...]:
        return tuple(_text(label) for label in self.labels)

    def state(self) -> dict[str, np.ndarray]:
        if self.labels.dtype.kind == "f":
            return {"numbers": self.labels}
        text = json.dumps(list(self.texts())).encode()
        return {"text": np.frombuffer(text, np.uint8)}

    def facts(self) -> dict[str, Any]:
        return {"classes": len(self.labels), "labels": self.texts()}


@dataclass(frozen=True)
class CharacterIds(Transform):
    """Code points as indices into the sorted set of those that occur; follows `chars`."""

    name = "characters"
    fits_on = "all"

    def fit(self, values: np.ndarray) -> Fitted:
        return Characters(np.unique(values))

    def restore(self, state: Mapping[str, np.ndarray]) -> Fitted:
        return Characters(state["codepoints"])


@dataclass(frozen=True)
class Characters:
    """Code points as indices into the sorted `codepoints`."""

    codepoints: np.ndarray

    def apply(self, values: np.ndarray) -> np.ndarray:
        return _indices(values, self.codepoints)

    def characters(self) -> str:
        return "".join(map(chr, self.codepoints))

    def state(self) -> dict[str, np.ndarray]:
        return {"codepoints": self.codepoints.astype(np.uint32)}

    def facts(self) -> dict[str, Any]:
        return {"vocab": len(self.codepoints), "characters": self.characters()}


def _comparable(values: np.ndarray) -> np.ndarray:
    return values if values.dtype.kind == "U" else values.astype(np.float64)


def _text(label: Any) -> str:
    if isinstance(label, str):
        return str(label)
    if isinstance(label, np.uint32):
        return chr(label)
    return str(int(label)) if label == int(label) else repr(float(label))


def _indices(values: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The place of each value in the sorted `labels`; E0510 where one is not there."""
    places = np.minimum(np.searchsorted(labels, values), len(labels) - 1)
    bad = labels[places] != values
    if bad.any():
        index = tuple(np.argwhere(bad)[0])
        texts = [_text(label) for label in labels]
        value = _text(values[index])
        known = "known are " + ", ".join(texts[:8]) + (", ..." if len(texts) > 8 else "")
        raise BadValue(
            "E0510",
            f"{value!r} is not in the vocabulary of the training data",
            row=int(index[0]),
            help=suggest(value, texts) or known,
        )
    return places
