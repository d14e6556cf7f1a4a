"""Which samples train, which validate and which test."""

from collections.abc import Mapping

import numpy as np

from nnc.data.errors import DataError
from nnc.random import permutation


def split_rows(
    name: str, count: int, split: Mapping[str, float] | None, shuffle: bool, seed: int
) -> dict[str, np.ndarray]:
    """The rows of each part, ascending; all in "train" without a `split` (part -> fraction).

    Borders lie at the rounded cumulative fractions of an order that is drawn from the stream
    `split/NAME`, or of the file's order where `shuffle` is false.
    """
    split = {"train": 1.0} if split is None else split
    _check_fractions(split)
    order = permutation(seed, f"split/{name}", 0, count) if shuffle else np.arange(count)
    total, start, parts = 0.0, 0, {}
    for part, fraction in split.items():
        total += fraction
        stop = round(total * count)
        if start == stop:
            raise DataError(
                "E0513",
                f"the part `{part}` of {count} samples is empty: {fraction:.6g} of them",
                subject="split",
            )
        parts[part] = np.sort(order[start:stop])
        start = stop
    return parts


def _check_fractions(split: Mapping[str, float]) -> None:
    for part, fraction in split.items():
        if isinstance(fraction, bool) or not isinstance(fraction, (int, float)):
            raise DataError(
                "E0514", f"`{part}` must be a fraction, not {fraction!r}", subject="split"
            )
        if not 0 < fraction <= 1:
            raise DataError(
                "E0514",
                f"`{part}` must lie above 0 and up to 1, not {fraction:g}",
                help="write a percentage such as `80%`",
                subject="split",
            )
    if "train" not in split:
        raise DataError(
            "E0514", "the split has no part `train`", help="add `train = 80%`", subject="split"
        )
    total = sum(split.values())
    if abs(total - 1) > 1e-6:
        raise DataError(
            "E0514",
            f"the parts add up to {100 * total:.6g}%, not 100%: "
            + ", ".join(f"{part} {100 * fraction:.6g}%" for part, fraction in split.items()),
            subject="split",
        )
