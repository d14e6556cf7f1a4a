"""The transforms of `data` sections, by their names in the language."""

from nnc.data.labels import Categories, CharacterIds
from nnc.data.scaling import Clip, FillMissing, Log1p, Normalize, Rescale, Scale
from nnc.data.shaping import CenterCrop, Flatten, PadTo, Reshape, Windows
from nnc.data.stages import Fitted, Transform

__all__ = ["TRANSFORMS", "CharacterIds", "Fitted", "Transform"]

#: Each class is the function of this name: the fields of the dataclass are its parameters.
TRANSFORMS: dict[str, type[Transform]] = {
    kind.name: kind
    for kind in (
        Scale, Rescale, Normalize, Log1p, Clip, FillMissing, Categories,
        Windows, PadTo, Reshape, Flatten, CenterCrop,
    )
}  # fmt: skip
