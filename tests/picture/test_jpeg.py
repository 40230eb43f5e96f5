"""JPEG in torch against Pillow's, which is libjpeg."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from pixeltune.picture import jpeg as jpeg_module
from pixeltune.picture.jpeg import CHROMINANCE, LUMINANCE, SUBSAMPLINGS, cut_off, jpeg, quality_table

QUALITIES = (10, 30, 50, 75, 90, 100)


def saved(pixels: np.ndarray, quality: int, subsampling: str) -> Image.Image:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality, subsampling=subsampling)
    return Image.open(file)


def ours(pixels: np.ndarray, quality: int, subsampling: str) -> np.ndarray:
    picture = torch.from_numpy(pixels).permute(2, 0, 1).float() / 255
    levels = jpeg(picture, quality, subsampling) * 255
    assert (levels - levels.round()).abs().max() < 1e-3
    return levels.round().permute(1, 2, 0).numpy()


def waves(height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    channels = [128 + 120 * np.sin(x / 9) * np.cos(y / 7), x * 2.2, 255 - y * 2.5]
    return np.stack(channels, -1).clip(0, 255).astype(np.uint8)


def random(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("subsampling", SUBSAMPLINGS)
@pytest.mark.parametrize("quality", QUALITIES)
@pytest.mark.parametrize(("make", "most"), [(waves, 0.12), (random, 0.4)])
def test_it_gives_the_pixels_that_libjpeg_gives(make, most, quality, subsampling):
    """Odd sizes, so that blocks and subsampled pairs run over the edge; some steps of DCT rounding differ."""
    pixels = make(61, 75)
    real = np.asarray(saved(pixels, quality, subsampling)).astype(int)
    gap = np.abs(ours(pixels, quality, subsampling) - real)
    assert gap.mean() < most
    assert (gap == 0).mean() > 0.6
    if quality < 100:
        assert np.abs(real - pixels).mean() > 3 * gap.mean()  # what JPEG does to the picture


@pytest.mark.parametrize("subsampling", SUBSAMPLINGS)
def test_flat_pictures_are_exact(subsampling):
    """Their blocks lie on halves of quantisation steps, where a rounding error would be a whole step."""
    for level in range(0, 256, 15):
        pixels = np.full((16, 17, 3), (level, level, level), np.uint8)
        for quality in (30, 50):
            assert np.array_equal(ours(pixels, quality, subsampling), saved(pixels, quality, subsampling))


@pytest.mark.parametrize("quality", QUALITIES)
def test_the_tables_are_libjpegs(quality):
    tables = saved(waves(16, 16), quality, "4:4:4").quantization
    for ours_, real in zip((LUMINANCE, CHROMINANCE), (tables[0], tables[1]), strict=True):
        assert quality_table(ours_, quality).flatten().tolist() == list(real)


@pytest.mark.parametrize("subsampling", SUBSAMPLINGS)
def test_the_gradient_is_right_but_for_the_rounding(subsampling, monkeypatch):
    """Finite differences, without rounding; with it the gradient is the same (straight-through)."""
    generator = torch.Generator().manual_seed(0)
    picture = 0.3 + 0.4 * torch.rand(3, 13, 18, generator=generator, dtype=torch.float64)
    weights = torch.randn(3, 13, 18, generator=generator, dtype=torch.float64)

    def gradient():
        leaf = picture.clone().requires_grad_()
        (jpeg(leaf, 90, subsampling) * weights).sum().backward()
        return leaf.grad

    rounded = gradient()
    monkeypatch.setattr(jpeg_module, "_through", lambda values, whole: values)
    torch.testing.assert_close(rounded, gradient())
    assert rounded.abs().min() > 0
    picture.requires_grad_()
    assert torch.autograd.gradcheck(lambda leaf: jpeg(leaf, 90, subsampling), picture, fast_mode=True)


@pytest.mark.parametrize(("quality", "subsampling"), [(0, "4:4:4"), (101, "4:4:4"), (90, "4:1:1")])
def test_what_it_cannot_do_is_refused(quality, subsampling):
    with pytest.raises(ValueError, match="quality 1 to 100"):
        jpeg(torch.zeros(3, 8, 8), quality, subsampling)


def test_what_is_cut_off_has_no_gradient_and_the_ends_have():
    """From torch 2.15 on `clamp` gives the ends none, where the black and white pixels are."""
    values = torch.tensor([-0.1, 0.0, 0.5, 1.0, 1.2], requires_grad=True)
    cut = cut_off(values, 0, 1)
    assert torch.equal(cut, values.clamp(0, 1))
    cut.sum().backward()
    assert values.grad.tolist() == [0, 1, 1, 1, 0]
