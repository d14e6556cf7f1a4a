"""Similarities, contrastive and adversarial functions, augmentation."""

from __future__ import annotations

import numpy as np
import pytest

from tests.std.program import error_of, run

rng = np.random.default_rng(19)
A, B = rng.normal(size=(2, 5, 4)).astype(np.float32)
IMAGES = rng.normal(size=(40, 6, 7, 3)).astype(np.float32)


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


# ---------------------------------------------------------------- norms, pairs
def test_norms_over_everything_an_axis_or_several() -> None:
    values = run("(norm(x), norm(x, axis = -1), norm(x, axis = (1, 2), keep = true))", x=IMAGES)
    np.testing.assert_allclose(values.outputs["0"], np.linalg.norm(IMAGES), rtol=1e-5)
    np.testing.assert_allclose(values.outputs["1"], np.linalg.norm(IMAGES, axis=-1), rtol=1e-5)
    expected = np.sqrt((IMAGES**2).sum((1, 2), keepdims=True))
    np.testing.assert_allclose(values.outputs["2"], expected, rtol=1e-5)


def test_the_gradient_of_a_norm_is_zero_at_zero() -> None:
    x = np.stack([np.zeros(4), A[0]])
    slope = run("gradient(sum(norm(x, axis = -1)), x)", x=x).value
    np.testing.assert_allclose(slope, [np.zeros(4), unit(A[0])], rtol=1e-5)


def test_cosine_similarity() -> None:
    value = run("cosine_similarity(a, b)", a=A, b=B).value
    np.testing.assert_allclose(value, (unit(A) * unit(B)).sum(-1), rtol=1e-5, atol=1e-6)
    assert run("cosine_similarity(a, 0 * a)", a=A).value == pytest.approx(0)


def test_nt_xent_picks_the_partner_among_all_other_views() -> None:
    z = unit(np.concatenate([A, B]).astype(float))
    scores = z @ z.T / 0.3
    np.fill_diagonal(scores, -np.inf)
    logp = scores - np.log(np.exp(scores).sum(-1, keepdims=True))
    expected = -logp[np.arange(10), (np.arange(10) + 5) % 10].mean()
    for free in (False, True):
        value = run("nt_xent(a, b, temperature = 0.3)", a=A, b=B, free=free).value
        np.testing.assert_allclose(value, expected, rtol=1e-5)


# ---------------------------------------------------------------- gradients of the network
NET = "let net = Dense(3)\nlet logits = net(x)\n"


def test_pgd_climbs_and_stays_inside_its_ball() -> None:
    y = np.array([0, 1, 2, 0, 1])
    text = NET + "let a = pgd(net, x, y, eps = 0.3, iters = 4)\nreturn (a, logits, net(a))"
    near, before, after = run(text, x=A, y=y).outputs.values()
    assert np.abs(near - A).max() == pytest.approx(0.3, rel=1e-5)

    def loss(z: np.ndarray) -> float:
        return float((np.log(np.exp(z).sum(-1)) - z[np.arange(5), y]).mean())

    assert loss(after) > loss(before) + 0.1


def test_one_step_of_pgd_is_the_sign_of_the_gradient() -> None:
    y = np.array([0, 1, 2, 0, 1])
    text = NET + (
        "let a = pgd(net, x, y, eps = 1, iters = 1, rate = 0.5)\n"
        "return (a, gradient(cross_entropy(logits, y), x))"
    )
    near, slope = run(text, x=A, y=y).outputs.values()
    np.testing.assert_allclose(near, A + 0.5 * np.sign(slope), rtol=1e-5)


def test_the_gradient_penalty_of_a_linear_critic_is_that_of_its_weights() -> None:
    text = "let net = Dense(1) |> squeeze\nlet y = net(a)\nreturn gradient_penalty(net, a, b)"
    result = run(text, a=A, b=B)
    slope = np.linalg.norm(result.state["net.net.dense_0.w"])
    np.testing.assert_allclose(result.value, (slope - 1) ** 2, rtol=1e-4)


def test_the_gradient_penalty_trains_the_critic_on_samples_of_any_rank() -> None:
    text = """
let net     = tanh |> flatten |> Dense(1) |> squeeze
let y       = net(x)
let penalty = gradient_penalty(net, x, 2 * x)
return (penalty, gradient(penalty, weights(net)).dense_0.w)
"""
    penalty, slope = run(text, x=IMAGES, training=True).outputs.values()
    assert np.isfinite(penalty)
    assert (slope != 0).any()


# ---------------------------------------------------------------- augmentation
def test_augmentation_is_off_in_evaluation() -> None:
    text = "x |> random_flip() |> color_jitter(0.4) |> random_crop(4)"
    np.testing.assert_array_equal(run(text, x=IMAGES).value, IMAGES[:, 1:5, 1:5])


def test_random_flip_mirrors_whole_images() -> None:
    y = run("x |> random_flip(p = 0.25)", x=IMAGES, training=True).value
    same = (y == IMAGES).all((1, 2, 3))
    mirrored = (y == IMAGES[:, :, ::-1]).all((1, 2, 3))
    assert (same ^ mirrored).all()
    assert 0 < mirrored.sum() < 20


def test_random_crop_cuts_a_square_of_the_padded_image() -> None:
    y = run("x |> random_crop(5, pad = 2)", x=IMAGES, training=True).value
    padded = np.pad(IMAGES, [(0, 0), (2, 2), (2, 2), (0, 0)])
    places = set()
    for image, cut in zip(padded, y, strict=True):
        found = [
            (top, left)
            for top in range(6)
            for left in range(7)
            if (image[top : top + 5, left : left + 5] == cut).all()
        ]
        assert found
        places.add(found[0])
    assert len(places) > 15
    assert {top for top, _ in places} == set(range(6))


def test_color_jitter_changes_brightness_contrast_and_saturation_of_each_image() -> None:
    still = run("x |> color_jitter(0)", x=IMAGES, training=True).value
    np.testing.assert_allclose(still, IMAGES, rtol=1e-4, atol=1e-5)
    grey = np.full((40, 6, 7, 3), 2.0)
    y = run("x |> color_jitter(0.4)", x=grey, training=True).value
    factors = y[:, 0, 0, 0] / 2
    np.testing.assert_allclose(y, np.broadcast_to(y[:, :1, :1, :1], y.shape), rtol=1e-5)
    assert factors.min() >= 0.6
    assert factors.max() <= 1.4
    assert factors.std() > 0.1


def test_a_stage_of_augmentations_draws_anew_at_each_use() -> None:
    text = "let view = random_crop(5, pad = 1) |> random_flip()\nreturn (x |> view, x |> view)"
    both = run(text, x=IMAGES, training=True)
    assert (both.outputs["0"] != both.outputs["1"]).any((1, 2, 3)).sum() > 20


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("x |> random_crop(9)", "size must fit"),
        ("x |> color_jitter(2)", "between 0 and 1"),
        ("x |> random_flip(2)", "a probability is between 0 and 1"),
        ("cosine_similarity(x, x[0..40, 0..2])", "E0301"),
    ],
)
def test_a_wrong_use_is_an_error_at_the_users_call(text: str, says: str) -> None:
    message = error_of(text, x=IMAGES, training=True)
    assert says in message
    assert "--> program.nn:3" in message
