"""How much memory PyTorch takes at most, as its profiler counts it."""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate
from typing import Any

import torch


def peak_of(function: Callable[[], Any]) -> int:
    """The most bytes of tensors that `function` has at once, beside those that were there."""
    activities = [torch.profiler.ProfilerActivity.CPU]
    if torch.cuda.is_available():
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=activities, profile_memory=True) as profile:
        function()
    events = profile.profiler.kineto_results.events()
    changes = [(e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]"]
    return max(0, *accumulate(change for _, change in sorted(changes, key=lambda c: c[0])), 0)
