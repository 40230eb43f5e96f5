import numpy as np
import pytest
import torch
from PIL import Image

from pixeltune.picture.augment import (
    HEAVY,
    LIGHT,
    Distortions,
    Noise,
    Resize,
    Shift,
    distortions,
    eight_bits,
    resized,
)
from pixeltune.picture.settings import TRANSFORMS


def picture(height: int = 48, width: int = 57, dtype=torch.float32) -> torch.Tensor:
    """Between 0.2 and 0.8, so that nothing is cut off; on the 8-bit grid."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    levels = torch.stack([128 + 70 * torch.sin(x / 5) * torch.cos(y / 4), 60 + x * 2, 200 - y * 2])
    return (levels.round() / 255).to(dtype)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pillow(image: torch.Tensor) -> Image.Image:
    return Image.fromarray((image * 255).round().byte().permute(1, 2, 0).numpy())


def levels(image: torch.Tensor | Image.Image) -> np.ndarray:
    array = np.asarray(pillow(image) if isinstance(image, torch.Tensor) else image)
    return array.astype(int)


@pytest.mark.parametrize("name", HEAVY)
def test_the_contract(name):
    """Same shape and dtype, something changes, equal draws give equal pictures, the gradient arrives."""
    start = picture().requires_grad_()
    for transform in (LIGHT[name], HEAVY[name]):
        outs = [transform(start, generator(seed)) for seed in range(100, 104)]
        out = outs[0]
        assert (out.shape, out.dtype) == (start.shape, torch.float32)
        assert torch.equal(out, transform(start, generator(100)))
        assert not all(torch.equal(out, other) for other in outs)
        gaps = [float((other - start).detach().abs().mean() * 255) for other in outs]
        assert 0.2 < max(gaps) < 30
        start.grad = None
        out.sum().backward()
        assert (start.grad != 0).float().mean() > 0.95


@pytest.mark.parametrize("name", HEAVY)
def test_gradients_by_finite_differences(name, monkeypatch):
    """Without any rounding; with it the gradient is the same where nothing is cut off."""
    start = picture(11, 13, torch.float64).requires_grad_()
    weights = torch.randn(3, 11, 13, generator=generator(), dtype=torch.float64)

    def gradient():
        (gradient,) = torch.autograd.grad((HEAVY[name](start, generator(5)) * weights).sum(), start)
        return gradient

    rounded = gradient()
    monkeypatch.setattr("pixeltune.picture.jpeg._through", lambda values, whole: values)
    monkeypatch.setattr("pixeltune.picture.augment.eight_bits", lambda image: image)
    torch.testing.assert_close(rounded, gradient())
    assert torch.autograd.gradcheck(lambda image: HEAVY[name](image, generator(5)), start, fast_mode=True)


@pytest.mark.parametrize("kernel", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(24, 29), (40, 44), (96, 101)])
def test_resizing_is_pillows(kernel, size):
    real = pillow(picture()).resize(size[::-1], Image.Resampling[kernel.upper()])
    gap = np.abs(levels(eight_bits(resized(picture(), *size, kernel))) - levels(real))
    assert gap.mean() < 0.3
    assert gap.max() <= 2
    back = real.resize((57, 48), Image.Resampling[kernel.upper()])
    there_and_back = resized(eight_bits(resized(picture(), *size, kernel)), 48, 57, kernel)
    assert np.abs(levels(eight_bits(there_and_back)) - levels(back)).mean() < 0.5


def test_resize_goes_through_8_bits_of_a_smaller_picture():
    out = Resize(0.5, 0.5)(picture(), generator())
    small = pillow(picture()).resize((28, 24), Image.Resampling.BICUBIC)
    other = pillow(picture()).resize((28, 24), Image.Resampling.BILINEAR)
    gaps = [
        np.abs(levels(eight_bits(out)) - levels(s.resize((57, 48), k))).mean()
        for s, k in ((small, Image.Resampling.BICUBIC), (other, Image.Resampling.BILINEAR))
    ]
    assert min(gaps) < 0.5 < max(gaps)


def test_shifts_go_all_eight_ways_by_one_pixel_and_repeat_the_edge():
    start = levels(picture())
    padded = np.pad(start, ((1, 1), (1, 1), (0, 0)), mode="edge")
    ways = {(y, x): padded[y : y + 48, x : x + 57] for y in range(3) for x in range(3)}
    seen = set()
    for seed in range(80):
        out = levels(Shift()(picture(), generator(seed)))
        seen |= {way for way, moved in ways.items() if np.array_equal(out, moved)}
    assert seen == ways.keys() - {(1, 1)}


def test_noise_has_the_levels_it_says():
    spread = [
        float((Noise(8)(torch.full((3, 64, 64), 0.5), generator(seed)) - 0.5).std() * 255)
        for seed in range(60)
    ]
    assert max(spread) < 8.3
    assert min(spread) < 1
    assert 3 < np.mean(spread) < 5


def test_eight_bits_cuts_rounds_and_lets_the_gradient_pass_inside():
    start = torch.tensor([-0.1, 0.0, 0.1234, 1.0, 1.2]).requires_grad_()
    out = eight_bits(start)
    assert torch.equal(out, torch.tensor([0, 0, 31, 255, 255]) / 255)
    out.sum().backward()
    assert start.grad.tolist() == [0, 1, 1, 1, 0]


def test_what_a_step_sees_depends_on_seed_and_step_and_is_on_the_grid():
    heavy = distortions("heavy", seed=7)
    shown = [heavy(picture(), step) for step in range(40)]
    for step, image in enumerate(shown):
        assert torch.equal(image, (image * 255).round() / 255)
        assert torch.equal(image, distortions("heavy", seed=7)(picture(), step))
    assert sum(torch.equal(image, picture()) for image in shown) < 8  # 1 of 32 is shown as it is
    assert len({image.numpy().tobytes() for image in shown}) > 32
    other = distortions("heavy", seed=8)
    assert sum(torch.equal(other(picture(), step), image) for step, image in enumerate(shown)) < 8


def test_draws_do_not_depend_on_the_picture():
    """Two machines whose pixels differ in the last bit see the same distortions."""
    noise = distortions("noise", seed=1)
    grey = torch.full((3, 32, 32), 128 / 255)
    gaps = [(noise(grey, step) - noise(grey + 1 / 255, step) + 1 / 255).abs().max() for step in range(8)]
    assert max(gaps) < 1e-6


def test_autocast_does_not_cost_grey_levels():
    heavy = distortions("jpeg,resize", seed=0)
    with torch.autocast("cpu", torch.bfloat16):
        inside = [heavy(picture(), step) for step in range(6)]
    assert all(torch.equal(image, heavy(picture(), step)) for step, image in enumerate(inside))


def test_names():
    assert TRANSFORMS == tuple(LIGHT) == tuple(HEAVY)
    assert distortions("none", 0).transforms == ()
    assert distortions("light", 0).transforms == tuple(LIGHT.values())
    assert distortions("heavy", 0).transforms == tuple(HEAVY.values())
    assert distortions(" noise, jpeg", 3) == Distortions((HEAVY["noise"], HEAVY["jpeg"]), 3)
    assert torch.equal(distortions("none", 0)(picture(), 5), picture())


@pytest.mark.parametrize("robust", ["", "strong", "jpeg,webp", "jpeg,,noise", "light,jpeg"])
def test_unknown_names_are_one_line(robust):
    with pytest.raises(ValueError, match="give none, light, heavy or some of") as error:
        distortions(robust, 0)
    assert "\n" not in str(error.value)
