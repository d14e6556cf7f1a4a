"""Every public name has documentation, and `nnc doc` finds it."""

from __future__ import annotations

import re

import pytest

from nnc.doc import document, entries, overview
from nnc.elaborate.functions import BUILTINS
from nnc.elaborate.module import AMBIENT, library, library_files
from nnc.language.diagnostics import NncError

PUBLIC = [
    name
    for file in library_files()
    for name in re.findall(r"^(?:block|fn)\s+([A-Za-z]\w*)", file.read_text("utf-8"), re.MULTILINE)
]


def _words(text: str) -> list[str]:
    return text.split()


#: What the library must have.
CONTENTS = _words("""
Dense Conv ConvTranspose DepthwiseConv max_pool avg_pool global_avg_pool global_max_pool
BatchNorm LayerNorm GroupNorm RMSNorm Dropout Embedding flatten reshape concat upsample relu
leaky_relu elu selu gelu gelu_tanh silu mish sigmoid tanh softplus softmax log_softmax mse mae
huber cross_entropy bce_logits kl hinge l1 l2 accuracy top_k_accuracy precision recall f1 auc r2
confusion SGD Adam AdamW RMSprop Adagrad Lion clip_norm clip_value constant step_decay piecewise
exponential cosine one_cycle ramp zeros ones uniform normal truncated_normal glorot_uniform
glorot_normal he_uniform he_normal lecun_uniform lecun_normal orthogonal LSTMCell GRUCell
RNNCell attention
""")


@pytest.mark.parametrize("name", sorted({*PUBLIC, *BUILTINS, *AMBIENT, *CONTENTS}))
def test_every_name_has_documentation(name: str) -> None:
    found = [entry for entry in entries() if entry.name == name]
    assert found
    assert all(len(entry.doc) > 10 or name == "pi" for entry in found)
    assert name in document(name)


def test_every_name_of_the_library_can_be_used() -> None:
    scope = library()
    for name in PUBLIC:
        binding = scope.find(name)
        assert binding is not None
        assert binding.force(name, None).name == name


def test_no_name_is_defined_twice() -> None:
    assert len(PUBLIC) == len(set(PUBLIC))
    assert not set(PUBLIC) & set(BUILTINS)


def test_what_is_built_in_is_documented_by_how_it_is_called() -> None:
    for name, builtin in BUILTINS.items():
        assert re.match(rf"`{name}\(.*\)`.*: ", builtin.doc), name


def test_a_page_has_the_formula_the_shapes_the_defaults_and_the_source() -> None:
    page = document("AdamW")
    for part in ("std/optimizers.nn", "lr: f32 = 1e-3", "decoupled", "Loshchilov & Hutter 2019"):
        assert part in page
    page = document("conv")
    assert 'conv(x: tensor, w: tensor, stride = 1, padding = "same"' in page


def test_a_name_with_several_meanings_has_a_page_for_each() -> None:
    page = document("flatten")
    assert "function, built in" in page
    assert "transform, data sections" in page


def test_an_unknown_name_is_an_error_with_the_nearest_one() -> None:
    with pytest.raises(NncError) as raised:
        document("Dens")
    (fault,) = raised.value.diagnostics
    assert fault.help == "did you mean `Dense`?"


def test_the_overview_lists_every_name_on_a_line_of_at_most_100_columns() -> None:
    lines = overview().splitlines()
    assert all(len(line) <= 100 for line in lines)
    listed = {line.split()[0] for line in lines if line.startswith("  ")}
    assert listed == {entry.name for entry in entries()}


def test_helpers_of_the_library_are_not_listed() -> None:
    assert not [entry.name for entry in entries() if entry.name.startswith("_")]
