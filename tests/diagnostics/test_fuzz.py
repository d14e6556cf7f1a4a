"""Whatever is written, checking answers with messages, never with another exception."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from nnc.elaborate import check_text
from nnc.language.render import render, to_json
from tests.diagnostics.mutations import MODELS, PROGRAMS, mutate

seeds = st.integers(0, 2**32)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(st.sampled_from(PROGRAMS), seeds)
def test_damaged_programs_get_messages(program: str, seed: int) -> None:
    found = check_text(mutate(program, random.Random(seed)), root=MODELS)
    assert "error[" in render(found) or not found
    assert all(entry["code"] and entry["message"] for entry in to_json(found))


@settings(max_examples=80, deadline=None, derandomize=True)
@given(st.sampled_from(PROGRAMS), seeds)
def test_messages_come_in_the_order_of_the_text_and_once(program: str, seed: int) -> None:
    found = check_text(mutate(program, random.Random(seed)), path="m.nn", root=MODELS)
    own = [d.span.start for d in found if d.span and d.span.source.path == "m.nn"]
    assert own == sorted(own)
    places = [(d.code, d.span.source.path, d.span.start, d.span.end) for d in found if d.span]
    assert len(places) == len(set(places))
