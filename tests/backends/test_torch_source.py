"""How emitted PyTorch reads and behaves: updates in place, devices, loops, standing alone."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import nnc_numpy
import nnc_torch
import numpy as np
import pytest
import torch

from nnc.backend import load_source
from nnc.elaborate import load as load_program
from nnc.ir.program import Training
from nnc.ir.types import TensorType
from nnc.passes.pipeline import optimize_training
from tests.backends.harness import load
from tests.backends.programs import digits
from tests.backends.test_numpy_models import PROGRAMS, first_batch, in_float64
from tests.backends.test_numpy_source import body
from tests.backends.torch_harness import as_numpy, assert_computes, source_of
from tests.passes.graphs import graph
from tests.std.program import training_of

F64 = TensorType("f64", (4, 3))
X = np.random.default_rng(0).standard_normal((8, 3)).astype(np.float32)
Y = np.random.default_rng(1).standard_normal((8, 2)).astype(np.float32)

PROGRAM = """
language 1
data d {{
  x: f32[N, 3] = npz("data.npz", "x")
  y: f32[N, 2] = npz("data.npz", "y")
  batch = 4
}}
{blocks}
train fit {{
  let net = Net()
  loss      = mse(net(d.x), d.y)
  optimizer = {optimizer}
  {settings}
  steps     = 5
}}
"""
NET = "block Net()(x: f32[N, D]) -> f32[N, 2] = x |> Dense(4) |> relu |> Dense(2)"


def program(root: Path, optimizer: str, blocks: str = NET, settings: str = "") -> Training:
    text = PROGRAM.format(blocks=blocks, optimizer=optimizer, settings=settings)
    training = in_float64(training_of(root, text, x=X, y=Y))
    optimize_training(training)
    return training


def assert_trains_like_numpy(training: Training, steps: int = 4) -> str:
    """Several steps give the states that NumPy's give; the source of the step."""
    source = nnc_torch.backend.emit(training)
    numpy, pytorch = load(nnc_numpy.backend.emit(training)), load(source)
    batch = first_batch(training)
    wanted, found = numpy["init"](3), pytorch["init"](3)
    for t in range(steps):
        scalars = numpy["step_scalars"](t, t, 3, t)
        wanted, losses = numpy["step"](wanted, batch, scalars)
        found, outs = pytorch["step"](found, pytorch["from_numpy"](batch), scalars)
        assert found.keys() == wanted.keys()
        for key, value in {**wanted, **losses}.items():
            got = as_numpy({**found, **outs}[key])
            np.testing.assert_allclose(got, value, 1e-9, 1e-12, err_msg=key, strict=True)
    return step_text(source)


def step_text(source: str, name: str = "step") -> str:
    """The statements of a step, in both of its parts where it has these."""
    parts = (f"{name}_gradients", f"{name}_update", name)
    return "\n".join(body(source, part) for part in parts if f"def {part}(" in source)


OPTIMIZERS = {
    "SGD": "SGD(0.1)",
    "momentum": "SGD(0.1, momentum = 0.9)",
    "nesterov": "SGD(0.1, momentum = 0.9, nesterov = true)",
    "Adam": "Adam(1e-2)",
    "AdamW": "AdamW(1e-2, weight_decay = 0.1)",
    "RMSprop": "RMSprop(1e-2)",
    "Adagrad": "Adagrad(1e-2)",
    "Lion": "Lion(1e-2, weight_decay = 0.1)",
    "schedule": "Adam(cosine(1e-2, warmup = 2steps))",
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer(tmp_path: Path, name: str) -> None:
    text = assert_trains_like_numpy(program(tmp_path, OPTIMIZERS[name]))
    assert ("adam_(" in text) == ("Adam(" in OPTIMIZERS[name] or "AdamW(" in OPTIMIZERS[name])


GROUPS = (
    '[("*dense_1*", SGD(0.1, momentum = 0.9)), ("*.b", AdamW(1e-2, weight_decay = 0.1)), '
    '("*", Adam(1e-2))]'
)
NORMED = """
block Net()(x: f32[N, D]) -> f32[N, 2] = x |> BatchNorm() |> Dense(4) |> tanh |> Dense(2)
"""


@pytest.mark.parametrize("optimizer", [OPTIMIZERS["schedule"], GROUPS], ids=["one", "groups"])
def test_an_update_that_is_a_kernel_is_a_function_of_its_own(
    tmp_path: Path, optimizer: str
) -> None:
    training = program(tmp_path, optimizer, NORMED, "clip_norm = 0.1")
    text = assert_trains_like_numpy(training, 6)
    source = nnc_torch.backend.emit(training)
    before, after = body(source, "step_gradients"), body(source, "step_update")
    assert body(source, "step") == (
        "return step_update(state, scalars, *step_gradients(state, batch, scalars))"
    )
    assert "adam_(" in after
    assert "adam_(" not in before
    assert "square_sum(" in before
    assert "square_sum(" not in after
    assert 'rate = scalars["rate"]' in after
    if optimizer == GROUPS:  # where a parameter is alone in its group, its update is no kernel
        assert 'rate = scalars["rate"]' in before
        assert 'state["net.dense_0.b"] = ' in before
        results = "quotient, gradients, gradients_2, gradients_3"
    else:
        assert "scalars" not in before
        results = "quotient, gradients, gradients_2"
    assert before.splitlines()[-1].endswith(f"}}, {results}")
    assert text.count("gradients = {") == 1


def test_an_update_of_many_kernels_is_compiled_with_the_rest(tmp_path: Path) -> None:
    source = nnc_torch.backend.emit(program(tmp_path, OPTIMIZERS["nesterov"]))
    assert "step_gradients" not in body(source, "step")
    assert "torch._foreach" in body(source, "step")


#: updates that are almost Adam's
NOT_ADAM = {
    "no correction of eps": "p - lr * m / sqrt(v)",
    "another gradient": "p - lr * grad / (sqrt(v) + 1e-8)",
    "the old average": "p - lr * m / (sqrt(before) + 1e-8)",
    "an average that grows": "p - lr * m / (sqrt(v) + 1e-8)",
}


@pytest.mark.parametrize("name", NOT_ADAM)
def test_what_is_almost_adam_is_another(tmp_path: Path, name: str) -> None:
    kept = 1.0 if name == "an average that grows" else 0.99
    blocks = f"""
block Almost(lr: f32)(p: f32[...], grad: f32[...]) -> f32[...] {{
  buffer m: f32[...] = zeros()
  buffer v: f32[...] = ones()
  let before = v
  m = 0.9 * m + 0.1 * grad
  v = {kept} * v + 0.01 * grad^2
  return {NOT_ADAM[name]}
}}
"""
    training = program(tmp_path, "Almost(1e-2)", NET + blocks)
    assert "adam_(" not in assert_trains_like_numpy(training)


PLAIN = """
block Plain(lr: f32)(p: f32[...], grad: f32[...]) -> f32[...] {
  buffer m: f32[...] = zeros()
  buffer v: f32[...] = zeros()
  v = grad * 0.01 * grad + v * 0.99
  m = 0.2 * grad + 0.8 * m
  return p * 0.75 - m * lr / (0.001 + sqrt(v)) + 0.125 * p
}
"""


def test_adam_without_corrections(tmp_path: Path) -> None:
    text = assert_trains_like_numpy(program(tmp_path, "Plain(1e-2)", NET + PLAIN))
    assert "betas=(0.8, 0.99), rate=0.01, eps=0.001, decay=1 - 0.75 - 0.125)" in text


def test_adam_with_its_corrections_written_out(tmp_path: Path) -> None:
    blocks = """
block Textbook(lr: f32)(p: f32[...], grad: f32[...]) -> f32[...] {
  buffer m: f32[...] = zeros()
  buffer v: f32[...] = zeros()
  m = 0.9 * m + 0.1 * grad
  v = 0.999 * v + 0.001 * grad^2
  let left1 = 1 - 0.9^(step + 1)
  let left2 = 1 - 0.999^(step + 1)
  return p - lr * (m / left1) / (sqrt(v / left2) + 1e-8)
}
"""
    text = assert_trains_like_numpy(program(tmp_path, "Textbook(1e-2)", NET + blocks))
    assert "betas=(0.9, 0.999), rate=0.01 / left1, eps=1e-08, correction=left2" in " ".join(
        text.split()
    )


def test_adamw_is_what_a_careful_engineer_writes(tmp_path: Path) -> None:
    text = PROGRAM.format(
        blocks=NET, optimizer="AdamW(cosine(1e-2), weight_decay = 0.1)", settings=""
    )
    training = training_of(tmp_path, text, x=X, y=Y)
    optimize_training(training)
    text = body(nnc_torch.backend.emit(training), "step_update")
    update = text[text.index("grads = ") :].split("return")[0]
    assert update == "\n".join(
        [
            "grads = list(gradients.values())",
            "p = [state[path] for path in gradients]",
            'm = [state[f"@opt/step/m/{path}"] for path in gradients]',
            'v = [state[f"@opt/step/v/{path}"] for path in gradients]',
            "adam_(p, grads, m, v, betas=(0.9, 0.999), rate=rate, eps=eps_hat, decay=decay)",
            "",
        ]
    )


def test_a_state_is_updated_in_place(tmp_path: Path) -> None:
    module = load(nnc_torch.backend.emit(program(tmp_path, "Adam(1e-2)")))
    state = module["init"](1)
    places = {path: value.data_ptr() for path, value in state.items()}
    batch = module["from_numpy"]({"d.x": X[:4].astype(np.float64), "d.y": Y[:4].astype(np.float64)})
    state, _ = module["step"](state, batch, module["step_scalars"](0, 0, 1, 0))
    assert {path: value.data_ptr() for path, value in state.items()} == places


READERS = {
    "an old weight": "last = w",
    "an old weight turned": "last = transpose(w)",
    "a mean of weights": "last = 0.5 * last + 0.5 * w",
    "another's old value": "last = w\n  before = last",
}


@pytest.mark.parametrize("name", READERS)
def test_what_reads_a_weight_reads_it_before_it_changes(tmp_path: Path, name: str) -> None:
    blocks = f"""
block Keep()(x: f32[N, D]) -> f32[N, D] {{
  param w: f32[D, D] = glorot_uniform()
  param b: f32[D] = zeros()
  buffer last: f32[D, D] = zeros()
  buffer before: f32[D, D] = zeros()
  {READERS[name]}
  return x @ w + b
}}
block Net()(x: f32[N, D]) -> f32[N, 2] = x |> Keep() |> Keep() |> Dense(2)
"""
    training = program(tmp_path, "SGD(0.1, momentum = 0.9)", blocks)
    assert_trains_like_numpy(training)
    module = load(nnc_torch.backend.emit(training))
    batch = module["from_numpy"](first_batch(training))
    state, _ = module["step"](module["init"](1), batch, module["step_scalars"](0, 0, 1, 0))
    assert len({value.data_ptr() for value in state.values()}) == len(state)


WHOLE = {
    "weights of weights": """
train fit {
  let net   = Net()
  let inner = mse(net(d.x), d.y)
  let fast  = with_weights(net, weights(net) - 0.1 * gradient(inner, weights(net)))
  loss      = mse(fast(2 * d.x), d.y)
  optimizer = [("*.b", AdamW(1e-3, weight_decay = 0)), (net, AdamW(1e-2, weight_decay = 0.1))]
  steps     = 3
}
""",
    "two steps": """
block Wide()(z: f32[N, D]) -> f32[N, 3] = z |> Dense(3)
train fit {
  let g    = Net()
  let wide = Wide()
  let c    = Net()
  let fake = g(d.x) + normal([N, 2])
  step critic(times = 2) {
    loss      = mean(c(tanh(wide(fake)))) + 10 * gradient_penalty(c, d.x, 2 * d.x)
    update    = c
    optimizer = Adam(1e-2, beta1 = 0.0, beta2 = 0.9)
  }
  step generator {
    loss      = -mean(c(tanh(wide(fake))))
    update    = g
    optimizer = SGD(1e-2, momentum = 0.9)
  }
  steps = 3
}
""",
}


@pytest.mark.parametrize("name", WHOLE)
def test_whole_programs(tmp_path: Path, name: str) -> None:
    text = PROGRAM.format(blocks=NET, optimizer="", settings="").split("train fit")[0]
    training = in_float64(training_of(tmp_path, text + WHOLE[name], x=X, y=Y))
    optimize_training(training)
    numpy = load(nnc_numpy.backend.emit(training))
    pytorch = load(nnc_torch.backend.emit(training))
    batch = first_batch(training)
    wanted, found = numpy["init"](3), pytorch["init"](3)
    for t in range(3):
        for step in numpy["PROGRAM"]["phases"][0]["steps"]:
            scalars = numpy[step["scalars"]](t, t, 3, t)
            wanted, _ = numpy[step["function"]](wanted, batch, scalars)
            given = pytorch["from_numpy"](batch)
            found, _ = pytorch[step["function"]](found, given, scalars)
    for key, value in wanted.items():
        np.testing.assert_allclose(as_numpy(found[key]), value, 1e-8, 1e-11, err_msg=key)


def test_clipping_and_accumulation(tmp_path: Path) -> None:
    assert_trains_like_numpy(program(tmp_path, "Adam(1e-2)", settings="clip_norm = 0.1"))
    assert_trains_like_numpy(program(tmp_path, "Adam(1e-2)", settings="clip_value = 0.01"))


def test_several_steps_in_one_call_are_the_same_to_the_bit() -> None:
    module = load(nnc_torch.backend.emit(digits()))
    draw = np.random.default_rng(0)
    data = {
        "digits.x": draw.random((100, 64)).astype(np.float32),
        "digits.y": draw.integers(0, 10, 100).astype(np.int32),
    }
    order = draw.integers(0, 100, (5, 64))
    numbers = [module["classify_scalars"](t, t, 2**63 + 5, t) for t in range(5)]
    single, losses = module["init"](1), []
    for rows, scalars in zip(order, numbers, strict=True):
        batch = module["from_numpy"]({key: values[rows] for key, values in data.items()})
        single, out = module["classify"](single, batch, scalars)
        losses.append(out["loss"])
    together = {key: np.array([scalars[key] for scalars in numbers]) for key in numbers[0]}
    state, outs = module["run_classify"](
        module["init"](1), module["from_numpy"](data), {"digits": order}, together
    )
    assert torch.equal(outs["loss"], torch.stack(losses))
    assert all(torch.equal(state[path], value) for path, value in single.items())


# ---------------------------------------------------------------- ops
def returned(function: Any, *types: TensorType) -> str:
    made = graph(function, *types)
    made.outputs = {"output": made.outputs["y0"]}
    text = source_of(made).split("def evaluate_val_batch")[1].split("\n\n\n")[0]
    return text.split('{"output": ')[1].rstrip("}\n ")


STACK, MATRIX = TensorType("f64", (2, 4, 3)), TensorType("f64", (3, 5))
VECTOR = TensorType("f64", (5,))


def times(a: Any, b: Any) -> Any:
    return a.emit("dot", b, contract=((a.rank - 1,), (0,)), batch=((), ()))


SPELLINGS: dict[str, Any] = {
    "torch.addmm(x0, x1, x2)": (
        lambda a, b, c: a + b.emit("dot", c, contract=((1,), (0,)), batch=((), ())),
        (TensorType("f64", (4, 5)), TensorType("f64", (4, 3)), TensorType("f64", (3, 5))),
    ),
    "F.linear(x0, x1.T, x2)": (lambda a, b, c: times(a, b) + c, (STACK, MATRIX, VECTOR)),
    "F.linear(x0, x1, x2)": (
        lambda a, b, c: c + times(a, b.transpose((1, 0))),
        (STACK, TensorType("f64", (5, 3)), VECTOR),
    ),
    "x0 @ x1 + x2": (
        lambda a, b, c: times(a, b) + c,
        (STACK, MATRIX, TensorType("f64", (4, 5))),
    ),
    "x0 @ x1 + x2[:, None, None]": (
        lambda a, b, c: times(a, b) + c.broadcast((2, 4, 5), (0,)),
        (STACK, MATRIX, TensorType("f64", (2,))),
    ),
    "x1 @ x2 + x0": (
        lambda c, a, b: times(a, b).expand((2, 4, 5)) + c,
        (TensorType("f64", (2, 4, 5)), F64, MATRIX),
    ),
    "x0.flatten(0, 1).T @ x1.flatten(0, 1)": (
        lambda a, b: a.emit("dot", b, contract=((0, 1), (0, 1)), batch=((), ())),
        (TensorType("f64", (4, 5, 2)), TensorType("f64", (4, 5, 3))),
    ),
    "torch.relu(x0)": (lambda a: a.builder.full(0, "f64", a.shape).binary("maximum", a), (F64,)),
    "x0.flatten(1)": (lambda a: a.reshape((2, 12)), (TensorType("f64", (2, 3, 4)),)),
    "x0.unflatten(1, (3, 4))": (lambda a: a.reshape((2, 3, 4)), (TensorType("f64", (2, 12)),)),
    "x0.clamp(min=0.0)": (lambda a: a.binary("maximum", 0.0), (F64,)),
    "x0.transpose(1, 2)": (lambda a: a.transpose((0, 2, 1)), (TensorType("f64", (2, 3, 4)),)),
    "x0.argmax(1) == x1": (
        lambda a, b: a.emit("argmax", axis=1).equals(b),
        (F64, TensorType("i32", (4,))),
    ),
}


@pytest.mark.parametrize("text", SPELLINGS)
def test_spellings(text: str) -> None:
    function, types = SPELLINGS[text]
    assert returned(function, *types) == text


def test_a_kernel_for_two_nodes_is_not_divided() -> None:
    """However long the names are."""
    made = graph(lambda a, b, c: times(a, b) + c, STACK, MATRIX, VECTOR)
    for node, name in zip(made, ("rows", "weight", "bias"), strict=False):
        node.attrs = {**node.attrs, "name": f"the_{name}_{'x' * 40}"}
    assert "F.linear(" in source_of(made)


def test_relu_of_what_is_no_number_is_none() -> None:
    made = graph(
        lambda x: x.builder.full(0, "f64", (5,)).binary("maximum", x), TensorType("f64", (5,))
    )
    values = np.array([np.nan, np.inf, -np.inf, -1.0, 2.0])
    assert_computes(made, [values], 0.0)


def test_the_gradient_of_a_relu_reads_its_result(tmp_path: Path) -> None:
    text = assert_trains_like_numpy(program(tmp_path, "SGD(0.1)"))
    assert "relu_grad(" in text
    assert "where" not in text


NOISY = (
    "block Net()(x: f32[N, D]) -> f32[N, 2] =\n"
    "  x + normal_like(x) |> Dense(4) |> relu |> Dropout(0.5) |> Dense(2)"
)


def test_random_words_stay_in_numpy_until_they_are_a_mask() -> None:
    source = nnc_torch.backend.emit(digits())
    text = body(source, "classify_drawn")
    assert 'bits = random_bits((64, 256), seed, "dropout/net.dropout_0", step=draw)' in text
    assert "torch.as_tensor(bits < 3865470566, device=DEVICE)" in text
    assert "random_bits" not in step_text(source, "classify")


def test_a_step_draws_by_itself_what_it_is_not_given(tmp_path: Path) -> None:
    training = program(tmp_path, "SGD(0.1)", NOISY)
    text = assert_trains_like_numpy(training)
    assert 'drawn["dropout/net.dropout_0"]' in text
    module = load(nnc_torch.backend.emit(training))
    batch, numbers = module["from_numpy"](first_batch(training)), module["step_scalars"](1, 1, 3, 1)
    drawn = module["step_drawn"](numbers)
    assert drawn.keys() == {"normal/net", "normal/net#2", "dropout/net.dropout_0"}
    _, wanted = module["step"](module["init"](3), batch, numbers)
    _, found = module["step"](module["init"](3), batch, numbers, drawn)
    _, others = module["step"](
        module["init"](3), batch, numbers, module["step_drawn"]({**numbers, "draw": 2})
    )
    assert found["loss"] == wanted["loss"]
    assert others["loss"] != wanted["loss"]


def test_a_step_of_little_memory_draws_where_it_is_used(tmp_path: Path) -> None:
    training = program(tmp_path, "SGD(0.1)", NOISY, "remat = auto")
    text = assert_trains_like_numpy(training)
    assert "drawn" not in text
    assert "random_bits(" in text


# ---------------------------------------------------------------- devices and the file
@pytest.mark.parametrize(("path", "name"), PROGRAMS)
def test_all_arrays_are_made_on_the_device(path: Path, name: str) -> None:
    """On the device `meta`, which refuses to mix with others, as an accelerator does."""
    training = load_program(str(path)).training(name)
    optimize_training(training)
    module = load(nnc_torch.backend.emit(training))
    module["DEVICE"] = "meta"
    state = module["init"](1)
    batch = module["from_numpy"](
        {k: v for source in training.sources.values() for k, v in source.train_batch(0, 0).items()}
    )
    (step,) = module["PROGRAM"]["phases"][0]["steps"]
    for t in range(2):
        state, out = module[step["function"]](state, batch, module[step["scalars"]](t, t, 1, t))
    for e in module["PROGRAM"]["evaluations"]:
        sums = module[e["batch"]](state, batch, {})
        out |= module[e["finish"]](state, sums, {}, 32)
    assert {v.device.type for v in [*state.values(), *out.values()] if torch.is_tensor(v)} == {
        "meta"
    }
    assert all(torch.is_tensor(value) for value in state.values())


ALONE = """
import importlib.util, sys
sys.path.insert(0, {packages!r})
sys.modules["nnc"] = sys.modules["nnc_numpy"] = sys.modules["nnc_torch"] = None
import numpy as np
spec = importlib.util.spec_from_file_location("emitted", {path!r})
emitted = importlib.util.module_from_spec(spec)
spec.loader.exec_module(emitted)
x, y = np.full((64, 64), 0.5, np.float32), np.arange(64, dtype=np.int32) % 10
state, batch = emitted.init(0), emitted.from_numpy({{"digits.x": x, "digits.y": y}})
for t in range(20):
    state, out = emitted.classify(state, batch, emitted.classify_scalars(t, t, 0, t))
assert emitted.to_numpy(state)["net.dense_0.w"].dtype == np.float32
print(float(out["loss"]))
"""


def test_the_file_runs_where_there_is_no_nnc(tmp_path: Path) -> None:
    path = tmp_path / "out.py"
    path.write_text(nnc_torch.backend.emit(digits()))
    packages = str(Path(np.__file__).parent.parent)
    script = ALONE.format(packages=packages, path=str(path))
    done = subprocess.run(
        [sys.executable, "-S", "-I", "-c", script], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) == pytest.approx(np.log(10), rel=0.1)


def test_emitting_is_deterministic_and_leaves_the_program_alone() -> None:
    training = digits()
    sizes = [len(g) for g in training.graphs()]
    assert nnc_torch.backend.emit(training) == nnc_torch.backend.emit(training)
    assert nnc_torch.backend.emit(training) == nnc_torch.backend.emit(digits())
    assert [len(g) for g in training.graphs()] == sizes


def test_products_are_in_full_precision() -> None:
    load(nnc_torch.backend.emit(digits()))
    assert torch.backends.cuda.matmul.allow_tf32 is False
    assert torch.backends.cudnn.allow_tf32 is False


def test_arrays_are_copied_both_ways() -> None:
    module = load(nnc_torch.backend.emit(digits()))
    array = np.zeros(3, np.float32)
    array.flags.writeable = False
    given = module["from_numpy"]({"x": array})
    given["x"] += 1.0
    back = module["to_numpy"](given)
    given["x"] += 1.0
    np.testing.assert_array_equal(array, 0.0)
    np.testing.assert_array_equal(back["x"], 1.0)


# ---------------------------------------------------------------- torch.compile
CONVOLUTION = """
block Net()(x: f32[N, D]) -> f32[N, 2] =
  x |> reshape((N, D, 1)) |> Conv(4, 3) |> {norm} |> flatten |> Dense(2)
"""


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of its own modules
@pytest.mark.parametrize(("norm", "is_itself"), [("BatchNorm()", True), ("relu", False)])
def test_a_step_whose_time_is_in_kernels_stays_as_it_is_on_a_cpu(
    norm: str, is_itself: bool, tmp_path: Path
) -> None:
    training = program(tmp_path, "SGD(0.1)", CONVOLUTION.format(norm=norm))
    module = load(nnc_torch.backend.emit(training))
    step = module["step"]
    assert (module["compiled"](step) is step) is is_itself
    module["DEVICE"] = "cuda"
    assert module["compiled"](step) is not step


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of its own modules
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a compiler")
@pytest.mark.parametrize("optimizer", ["Plain(1e-2)", GROUPS], ids=["no scalars", "groups"])
def test_a_compiled_step_has_its_update_behind_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, optimizer: str
) -> None:
    text = PROGRAM.format(blocks=NORMED + PLAIN, optimizer=optimizer, settings="")
    training = training_of(tmp_path, text, x=X, y=Y)
    optimize_training(training)
    path = tmp_path / "emitted.py"
    path.write_text(nnc_torch.backend.emit(training))
    plain, module = load_source(path), load_source(path)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    assert "step_update" in vars(module)
    batch = plain.from_numpy({"d.x": X[:4], "d.y": Y[:4]})
    step, wanted, found = module.compiled(module.step), plain.init(0), module.init(0)
    for t in range(2):
        numbers = plain.step_scalars(t, t, 0, t)
        wanted, losses = plain.step(wanted, batch, numbers)
        found, outs = step(found, batch, numbers)
        torch.testing.assert_close({**found, **outs}, {**wanted, **losses}, rtol=1e-4, atol=1e-6)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of its own modules
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a compiler")
def test_a_compiled_step_is_compiled_once_and_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks = """
block Net()(x: f32[N, D]) -> f32[N, 2] = x |> Dense(4) |> relu |> Dropout(0.5) |> Dense(2)
"""
    optimizer = "AdamW(cosine(1e-2, warmup = 2steps), weight_decay = 0.1)"
    text = PROGRAM.format(blocks=blocks, optimizer=optimizer, settings="clip_norm = 0.1")
    training = training_of(tmp_path, text, x=X, y=Y)
    optimize_training(training)
    path = tmp_path / "emitted.py"
    path.write_text(nnc_torch.backend.emit(training))
    plain, module = load_source(path), load_source(path)
    monkeypatch.setitem(sys.modules, module.__name__, module)  # where torch.compile looks for it
    batch = plain.from_numpy({"d.x": X[:4], "d.y": Y[:4]})
    step, wanted, found = module.compiled(module.step), plain.init(0), module.init(0)
    for t in range(5):
        if t == 2:  # the second step has let dimensions and counters vary
            torch.compiler.set_stance("fail_on_recompile")
        numbers = plain.step_scalars(t, t, 0, t)
        wanted, losses = plain.step(wanted, batch, numbers)
        found, outs = step(found, batch, numbers)
        torch.testing.assert_close({**found, **outs}, {**wanted, **losses}, rtol=1e-4, atol=1e-6)
    torch.compiler.set_stance("default")
