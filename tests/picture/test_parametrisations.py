import numpy as np
import pytest
import torch

from pixeltune.picture.canvas import Canvas, start_picture
from pixeltune.picture.parametrisations import parametrise
from pixeltune.picture.settings import read_spec

SPECS = ["pixels", "fourier", "fourier:0", "low-rank", "low-rank:9", "grid", "grid:5", "subspace:100"]


def started(spec: str, height: int = 48, width: int = 40) -> tuple[Canvas, torch.Tensor]:
    start = start_picture("noise", height, width, seed=1)
    return Canvas(start, parametrisation=spec, seed=2), start


@pytest.mark.parametrize("spec", SPECS)
def test_a_fresh_one_is_the_start_picture(spec):
    canvas, start = started(spec)
    assert torch.equal(canvas(), start)
    assert (canvas.pixels - start).abs().max() < 1e-6


@pytest.mark.parametrize("spec", SPECS)
def test_a_step_of_adam_moves_pixels_by_about_the_learning_rate(spec):
    canvas = Canvas(torch.full((3, 96, 128), 0.5), parametrisation=spec)
    generator = torch.Generator().manual_seed(0)
    before, wish = canvas.pixels.detach().clone(), torch.randn(3, 96, 128, generator=generator)
    optimizer = torch.optim.Adam(canvas.parameters(), lr=0.01, eps=1e-16)
    (canvas() * wish).sum().backward()
    optimizer.step()
    change = canvas.pixels.detach() - before
    assert 0.005 < change.square().mean().sqrt() < 0.02
    assert (change * wish).sum() < 0  # downhill


@pytest.mark.parametrize("spec", SPECS)
def test_the_gradient_is_that_of_the_picture(spec):
    """Finite differences of the unrounded picture, in float64, along a random direction."""
    paint = parametrise(spec, torch.full((3, 24, 20), 0.5)).double()
    generator = torch.Generator().manual_seed(3)
    start = torch.rand(3, 24, 20, generator=generator, dtype=torch.float64)
    weights = torch.randn(3, 24, 20, generator=generator, dtype=torch.float64)
    steps = [torch.randn(p.shape, generator=generator, dtype=torch.float64) for p in paint.parameters()]
    (paint(start) ** 2 * weights).sum().backward()
    along = sum((p.grad * step).sum() for p, step in zip(paint.parameters(), steps, strict=True))
    values = []
    for way in (1e-6, -2e-6):
        for p, step in zip(paint.parameters(), steps, strict=True):
            p.data += way * step
        values.append((paint(start) ** 2 * weights).sum().item())
    assert along.item() == pytest.approx((values[0] - values[1]) / 2e-6, rel=1e-5)


def test_fourier_is_the_inverse_transform_of_numpy():
    paint = parametrise("fourier:0", torch.zeros(3, 16, 20))
    waves = np.random.default_rng(0).normal(size=(3, 16, 11, 2)).astype(np.float32)
    paint.waves.data = torch.from_numpy(waves)
    planes = np.fft.irfft2((waves[..., 0] + 1j * waves[..., 1]) / np.sqrt(2), s=(16, 20), norm="ortho")
    light = paint(torch.zeros(3, 16, 20)).detach().numpy().sum(0) / np.sqrt(3)
    assert np.allclose(light, planes[0], atol=1e-5)
    assert torch.allclose(paint.colours @ paint.colours.T, torch.eye(3), atol=1e-6)


def test_long_waves_move_more_than_short_ones():
    paint = parametrise("fourier", torch.zeros(3, 32, 32))
    assert paint.scale[0, 1] == pytest.approx(4 * paint.scale[0, 4].item())
    assert paint.scale[31, 0] == paint.scale[1, 0]


def test_a_subspace_has_orthogonal_directions_that_share_the_pixels():
    paint = parametrise("subspace:7", torch.zeros(3, 5, 4), seed=5)
    directions = torch.stack([paint_of(paint, i) for i in range(7)])
    assert directions.ne(0).sum(0).eq(1).all()  # every pixel belongs to one number
    assert set(directions.unique().tolist()) == {-1.0, 0.0, 1.0}
    other = parametrise("subspace:7", torch.zeros(3, 5, 4), seed=6)
    assert not torch.equal(paint_of(other, 0), paint_of(paint, 0))
    assert torch.equal(paint_of(parametrise("subspace:7", torch.zeros(3, 5, 4), seed=5), 0), directions[0])


def paint_of(paint, i: int) -> torch.Tensor:
    paint.z.data = torch.eye(7)[i]
    return paint(torch.zeros(3, 5, 4)).detach().flatten()


def test_low_rank_has_that_rank():
    canvas = Canvas(torch.full((3, 32, 24), 0.5), parametrisation="low-rank:3")
    canvas.paint.wide.data.normal_(generator=torch.Generator().manual_seed(0))
    assert torch.linalg.matrix_rank(canvas.paint(torch.zeros(())).detach()).tolist() == [3, 3, 3]


@pytest.mark.parametrize("spec", SPECS[1:])
def test_outside_the_box_a_gradient_only_leads_back(spec):
    mask = torch.ones(48, 40, dtype=torch.bool)
    mask[:10] = False
    canvas = Canvas(torch.full((3, 48, 40), 128 / 255), bound=8 / 255, mask=mask, parametrisation=spec)
    for parameter in canvas.paint.parameters():
        parameter.data.normal_(0, 30, generator=torch.Generator().manual_seed(0))
    free = canvas.pixels.detach()
    shown = (canvas() * 255).round().detach() - 128
    assert shown.abs().max() == 8
    assert shown[:, :10].eq(0).all()
    passed = []

    def listen(module, inputs, picture) -> None:
        picture.register_hook(passed.append)

    canvas.paint.register_forward_hook(listen)
    for push in (1.0, -1.0):
        (push * canvas()).sum().backward()
    above, below = free * 255 > 136.01, free * 255 < 119.99
    above[:, :10], below[:, :10] = False, False
    assert above.any()
    assert below.any()
    assert passed[0][above].eq(1).all()
    assert passed[0][below].eq(0).all()
    assert passed[1][above].eq(0).all()
    assert passed[1][below].eq(-1).all()
    assert passed[0][:, :10].eq(0).all()


@pytest.mark.parametrize("spec", SPECS)
def test_a_checkpoint_restores_the_picture(spec):
    canvas, _ = started(spec)
    for parameter in canvas.paint.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(4))
    other = Canvas.awaiting(48, 40, masked=False, bound=None, parametrisation=spec, seed=2)
    with pytest.raises(ValueError, match="never loaded"):
        other()
    other.load_state_dict(canvas.state_dict())
    assert torch.equal(other(), canvas())
    canvas.to(torch.bfloat16)
    assert torch.equal(other(), canvas())


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("wavelets", "there is no parametrisation"),
        ("pixels:3", "there is no parametrisation"),
        ("subspace", "how many dimensions"),
        ("subspace:0", "1 or more"),
        ("subspace:3.5", "whole number"),
        ("low-rank:-2", "1 or more"),
        ("grid:", "whole number"),
        ("fourier:nan", "from 0 to 4"),
        ("fourier:x", "from 0 to 4"),
    ],
)
def test_bad_specs_are_named(spec, message):
    with pytest.raises(ValueError, match=message):
        read_spec(spec)


@pytest.mark.parametrize(("spec", "message"), [("grid:9", "8 pixels"), ("subspace:193", "192 numbers")])
def test_numbers_too_large_for_the_picture_are_named(spec, message):
    with pytest.raises(ValueError, match=message):
        parametrise(spec, torch.zeros(3, 8, 8))
