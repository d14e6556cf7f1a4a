"""Transforms of shape: windows, padding, cropping."""

from dataclasses import dataclass

import numpy as np

from nnc.data.arguments import bad_argument, whole_numbers
from nnc.data.errors import BadValue
from nnc.data.stages import Transform


@dataclass(frozen=True)
class Windows(Transform):
    """Runs of `size` successive samples, each a new sample [size, ...], `stride` apart.

    (N - size) // stride + 1 of them; without `stride` they follow one another without overlap.
    Overlapping windows of different parts of a split share rows.
    """

    name = "windows"
    size: int
    stride: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        whole_numbers(self, "size", 1)
        if self.stride is not None:
            whole_numbers(self, "stride", 1)

    @property
    def step(self) -> int:
        return self.stride or self.size

    def count(self, n: int) -> int:
        if n < self.size:
            raise BadValue("E0515", f"windows of {self.size} from {n} rows: there are too few")
        return (n - self.size) // self.step + 1

    def sources(self, rows: np.ndarray) -> np.ndarray:
        starts = np.asarray(rows) * self.step
        border = np.zeros(starts.max() + self.size + 1, np.int64)
        np.add.at(border, starts, 1)
        np.add.at(border, starts + self.size, -1)
        return np.flatnonzero(np.cumsum(border))

    def apply(self, values: np.ndarray) -> np.ndarray:
        self.count(len(values))
        windows = np.lib.stride_tricks.sliding_window_view(values, self.size, axis=0)
        return np.moveaxis(windows[:: self.step], -1, 1)


@dataclass(frozen=True)
class PadTo(Transform):
    """Samples [L, ...] made `size` long with `value` at the end."""

    name = "pad_to"
    size: int
    value: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        whole_numbers(self, "size", 1)

    def apply(self, values: np.ndarray) -> np.ndarray:
        _need_rank(self, values, 1)
        if values.shape[1] > self.size:
            raise BadValue("E0515", f"pad_to({self.size}): the samples are {values.shape[1]} long")
        if values.dtype.kind != "f" and self.value != int(self.value):
            values = values.astype(np.float64)
        filler = np.full((len(values), self.size - values.shape[1], *values.shape[2:]), self.value)
        return np.concatenate([values, filler.astype(values.dtype)], axis=1)


@dataclass(frozen=True)
class Reshape(Transform):
    """Each sample in another shape, in row-major order; one size may be -1, the rest."""

    name = "reshape"
    shape: list | tuple

    def __post_init__(self) -> None:
        super().__post_init__()
        sizes = whole_numbers(self, "shape", -1)
        if 0 in sizes or sizes.count(-1) > 1:
            raise bad_argument(self, f"`shape` may hold one -1 and no 0, not {list(sizes)}")

    def apply(self, values: np.ndarray) -> np.ndarray:
        try:
            return values.reshape(len(values), *self.shape)
        except ValueError:
            shapes = f"{list(values.shape[1:])} as {list(self.shape)}"
            raise BadValue("E0515", f"reshape: {shapes}: the sizes differ") from None


@dataclass(frozen=True)
class Flatten(Transform):
    """Each sample as one axis."""

    name = "flatten"

    def apply(self, values: np.ndarray) -> np.ndarray:
        return values.reshape(len(values), -1)


@dataclass(frozen=True)
class CenterCrop(Transform):
    """The middle `size` by `size` (or [height, width]) of samples [H, W, ...]."""

    name = "center_crop"
    size: int | list | tuple

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(whole_numbers(self, "size", 1)) > (2 if isinstance(self.size, (list, tuple)) else 1):
            raise bad_argument(self, "`size` is one number or [height, width]")

    def apply(self, values: np.ndarray) -> np.ndarray:
        _need_rank(self, values, 2)
        sizes = whole_numbers(self, "size", 1)
        height, width = sizes * 2 if len(sizes) == 1 else sizes
        top, left = (values.shape[1] - height) // 2, (values.shape[2] - width) // 2
        if top < 0 or left < 0:
            had = f"{values.shape[1]} by {values.shape[2]}"
            raise BadValue("E0515", f"center_crop: {height} by {width} of images that are {had}")
        return values[:, top : top + height, left : left + width]


def _need_rank(call: Transform, values: np.ndarray, rank: int) -> None:
    if values.ndim <= rank:
        shape = ["N", *map(str, values.shape[1:])]
        raise BadValue(
            "E0515",
            f"{call.name} needs samples with {rank} axes or more: these are [{', '.join(shape)}]",
            help="give them axes with `|> reshape([...])`",
        )
