import numpy as np
import pytest
import torch
from PIL import Image

from pixeltune.picture import canvas as canvas_module
from pixeltune.picture.canvas import Canvas, cells_mask, paintable_mask, start_picture
from pixeltune.picture.drawings import NAMES, draw


def noisy(canvas: Canvas, scale: float = 0.3) -> Canvas:
    """The canvas after something like a large optimiser step."""
    generator = torch.Generator().manual_seed(1)
    canvas.pixels.data += scale * torch.randn(canvas.pixels.shape, generator=generator)
    return canvas


def test_all_levels_survive_the_way_to_the_unit_interval_and_back():
    levels = torch.arange(256.0).expand(3, 1, 256)
    assert torch.equal(canvas_module._unit(levels) * 255, levels)


def test_forward_is_exactly_on_the_8_bit_grid_with_a_straight_through_gradient():
    canvas = noisy(Canvas(start_picture("noise", 8, 8)), 0.1)
    image = canvas()
    assert image.dtype == torch.float32
    assert torch.equal(image, canvas_module._unit((image * 255).round()))
    assert not torch.equal(image, canvas.pixels)
    weights = torch.randn(3, 8, 8)
    (image * weights).sum().backward()
    assert torch.equal(canvas.pixels.grad, weights)


def test_to_uint8_is_what_forward_shows():
    canvas = noisy(Canvas(start_picture("noise", 8, 12), bound=0.1))
    shown = (canvas() * 255).permute(1, 2, 0).detach().numpy()
    assert canvas.to_uint8().dtype == np.uint8
    assert np.array_equal(canvas.to_uint8(), shown)


@pytest.mark.parametrize("projected", [False, True])
def test_bound_holds_after_rounding(projected):
    start = start_picture("noise", 16, 16)
    canvas = noisy(Canvas(start, bound=8.9 / 255))
    if projected:
        canvas.project()
    distance = np.abs(canvas.to_uint8().astype(int) - (start * 255).round().permute(1, 2, 0).numpy())
    assert distance.max() == 8
    assert distance.mean() > 5


def test_whole_levels_of_bound_are_not_lost_to_float_rounding():
    for levels in range(1, 256):
        assert Canvas(start_picture("grey", 2, 2), bound=levels / 255).bound_levels == levels


def test_project_clamps_in_place_and_is_idempotent():
    canvas = noisy(Canvas(start_picture("noise", 8, 8)), 1.0)
    parameter = canvas.pixels
    canvas.project()
    assert canvas.pixels is parameter
    assert parameter.min() == 0
    assert parameter.max() == 1
    before = parameter.detach().clone()
    canvas.project()
    assert torch.equal(parameter, before)


def test_masked_pixels_keep_the_start_and_get_no_gradient():
    start = start_picture("noise", 8, 8)
    mask = torch.zeros(8, 8, dtype=torch.bool)
    mask[:4] = True
    canvas = noisy(Canvas(start, mask=mask))
    image = canvas()
    assert torch.equal(image[:, 4:], start[:, 4:])
    assert not torch.equal(image[:, :4], start[:, :4])
    image.square().sum().backward()
    assert canvas.pixels.grad[:, 4:].eq(0).all()
    assert canvas.pixels.grad[:, :4].ne(0).any()
    canvas.project()
    assert torch.equal(canvas.pixels[:, 4:], start[:, 4:])


def test_cells_are_whole_squares_drawn_from_the_seed():
    def grid(count: int, seed: int) -> np.ndarray:
        free = cells_mask(count, 24, 128, 192, seed)
        assert (free.shape, free.dtype) == ((128, 192), torch.bool)
        shares = free.numpy().reshape(4, 32, 6, 32).mean(axis=(1, 3))
        assert set(shares.flat) <= {0, 1}
        assert shares.sum() == count
        return shares

    assert (grid(24, 0) == 1).all()
    assert (grid(5, 0) == grid(5, 0)).all()
    assert (grid(5, 0) <= grid(6, 0)).all()
    assert (grid(5, 0) != grid(5, 1)).any()


@pytest.mark.parametrize("size", [(128, 192, 20), (100, 192, 24), (4, 4, 64)])
def test_cells_that_are_no_squares_are_refused(size):
    height, width, tokens = size
    with pytest.raises(ValueError, match="are no squares"):
        cells_mask(2, tokens, height, width)


@pytest.mark.parametrize("count", [0, 25])
def test_more_cells_than_there_are_are_refused(count):
    with pytest.raises(ValueError, match="paint 1 to 24 of them"):
        cells_mask(count, 24, 128, 192)


def test_state_dict_restores_pixels_start_bound_and_mask_without_their_files():
    mask = torch.zeros(4, 4, dtype=torch.bool)
    mask[1:] = True
    canvas = noisy(Canvas(start_picture("noise", 4, 4), bound=0.1, mask=mask))
    state = {name: value.clone() for name, value in canvas.state_dict().items()}
    other = Canvas.awaiting(4, 4, masked=True, bound=0.1)
    with pytest.raises(ValueError, match="never loaded"):
        other()
    other.load_state_dict(state)
    assert torch.equal(other(), canvas())
    assert torch.equal(other.pixels, canvas.pixels)
    assert torch.equal(other.start_image(), canvas.start_image())
    assert torch.equal(other.mask, mask)


def test_saved_pixels_are_inside_the_bound():
    canvas = noisy(Canvas(start_picture("grey", 4, 4), bound=4 / 255))
    saved = canvas.state_dict()["paint.pixels"]
    assert (saved - canvas.start_image()).abs().max() <= 4 / 255 + 1e-7


def test_memory_layout_does_not_depend_on_the_start(tmp_path):
    Image.new("RGB", (4, 6), "red").save(tmp_path / "start.png")
    for start in (start_picture(str(tmp_path / "start.png"), 6, 4), torch.zeros(6, 4, 3).permute(2, 0, 1)):
        canvas = Canvas(start)
        assert canvas.pixels.stride() == canvas.start.stride() == (24, 4, 1)


def test_start_image_ignores_training():
    canvas = noisy(Canvas(start_picture("grey", 4, 4)))
    assert (canvas.start_image() * 255).eq(128).all()


@pytest.mark.parametrize("cast", ["to", "data"])
def test_pixels_stay_float32_and_keep_all_levels_under_a_16_bit_cast(cast):
    ramp = (torch.arange(256.0) / 255).expand(3, 1, 256)
    canvas = Canvas(ramp)
    before = canvas.pixels.detach().clone()
    if cast == "to":
        canvas.to(torch.bfloat16)
    else:  # what TRL does on quantised bases
        canvas.pixels.data = canvas.pixels.data.to(torch.bfloat16)
    canvas.project()
    assert canvas.pixels.dtype == torch.float32
    assert torch.equal(canvas.pixels, before)


def test_diverged_pixels_are_an_error():
    canvas = Canvas(start_picture("grey", 4, 4))
    canvas.pixels.data[0, 0, 0] = float("nan")
    with pytest.raises(ValueError, match="diverged"):
        canvas()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"start": torch.zeros(4, 4)}, "shape"),
        ({"start": torch.full((3, 4, 4), 2.0)}, "0, 1"),
        ({"start": torch.zeros(3, 4, 4), "bound": 0.5 / 255}, "less than one grey level"),
        ({"start": torch.zeros(3, 4, 4), "mask": torch.zeros(4, 4, dtype=torch.bool)}, "no pixel to paint"),
        ({"start": torch.zeros(3, 4, 4), "mask": torch.ones(2, 2, dtype=torch.bool)}, "mask must be"),
    ],
)
def test_settings_that_cannot_train_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Canvas(**arguments)


def test_start_grey_noise_and_seed():
    assert (start_picture("grey", 4, 6) * 255).eq(128).all()
    assert start_picture("grey", 4, 6).shape == (3, 4, 6)
    assert torch.equal(start_picture("noise", 4, 6, seed=3), start_picture("noise", 4, 6, seed=3))
    assert not torch.equal(start_picture("noise", 4, 6, seed=3), start_picture("noise", 4, 6, seed=4))


def test_start_from_a_file_is_exact_at_the_same_size(tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (6, 4, 3), dtype=np.uint8)
    Image.fromarray(picture).save(tmp_path / "start.png")
    start = start_picture(str(tmp_path / "start.png"), 6, 4)
    assert np.array_equal((start * 255).permute(1, 2, 0).numpy(), picture)
    assert start_picture(str(tmp_path / "start.png"), 8, 8, fit="stretch").shape == (3, 8, 8)


def test_transparent_parts_become_mid_grey(tmp_path):
    Image.new("RGBA", (4, 4), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    assert (start_picture(str(tmp_path / "clear.png"), 4, 4) * 255).eq(128).all()


def test_the_backdrop_of_transparent_parts_can_be_chosen(tmp_path):
    Image.new("RGBA", (4, 4), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    start = start_picture(str(tmp_path / "clear.png"), 4, 4, backdrop="#204060")
    assert (start * 255).round()[:, 0, 0].tolist() == [0x20, 0x40, 0x60]


@pytest.mark.parametrize("name", NAMES)
def test_our_drawings_are_starts(name):
    start = start_picture(name, 64, 96)
    assert np.array_equal((start * 255).round().permute(1, 2, 0).numpy(), draw(name, 64, 96))


def test_starts_and_masks_of_another_shape_are_fitted_alike_or_refused(tmp_path):
    picture = np.zeros((8, 16, 3), dtype=np.uint8)
    picture[:, 4:12] = 255
    path = str(tmp_path / "wide.png")
    Image.fromarray(picture).save(path)
    for fit, white in (("crop", 64), ("pad", 16), ("stretch", 32)):
        start, mask = start_picture(path, 8, 8, fit=fit, backdrop="red"), paintable_mask(path, 8, 8, fit)
        assert mask.sum() == white
        assert torch.equal((start > 0.5).all(0), mask), fit
    for read in (start_picture, paintable_mask):
        with pytest.raises(ValueError, match=r"8x16 \(height x width\), the canvas 8x8: say how"):
            read(path, 8, 8)


def test_unreadable_starts_and_masks_are_named(tmp_path):
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(ValueError, match=r"cannot read the start picture.*text\.png"):
        start_picture(str(tmp_path / "text.png"), 4, 4)
    with pytest.raises(ValueError, match=r"cannot read the mask picture.*text\.png"):
        paintable_mask(str(tmp_path / "text.png"), 4, 4)
    with pytest.raises(ValueError, match="'sunset' is not a file"):
        start_picture("sunset", 4, 4)


def test_mask_white_is_paintable(tmp_path):
    picture = np.zeros((8, 8), dtype=np.uint8)
    picture[:, :4] = 255
    Image.fromarray(picture).save(tmp_path / "mask.png")
    mask = paintable_mask(str(tmp_path / "mask.png"), 16, 16)
    assert mask.dtype == torch.bool
    assert mask[:, :8].all()
    assert not mask[:, 8:].any()


def test_a_finished_picture_is_put_onto_the_canvas_exactly():
    levels = np.random.default_rng(2).integers(0, 256, (8, 6, 3), dtype=np.uint8)
    canvas = noisy(Canvas(start_picture("noise", 8, 6)))
    parameter = canvas.paint.pixels
    canvas.set_picture(levels)
    assert np.array_equal(canvas.to_uint8(), levels)
    assert canvas.paint.pixels is parameter
    canvas.paint.pixels.data = canvas.paint.pixels.data.to(torch.bfloat16)
    canvas.set_picture(levels)
    assert parameter.dtype == torch.float32
    assert np.array_equal(canvas.to_uint8(), levels)


@pytest.mark.parametrize("spec", ["fourier", "low-rank:2", "grid:2", "subspace:9"])
def test_a_canvas_of_fewer_numbers_refuses_a_finished_picture(spec):
    canvas = Canvas(start_picture("grey", 8, 8), parametrisation=spec)
    with pytest.raises(ValueError, match='as the start, or use parametrisation="pixels"'):
        canvas.set_picture(np.zeros((8, 8, 3), np.uint8))


def test_a_picture_that_does_not_fit_is_refused_and_leaves_the_canvas_alone():
    mask = torch.ones(8, 8, dtype=torch.bool)
    mask[0] = False
    for settings, level in (({"bound": 8 / 255}, 137), ({"mask": mask}, 129)):
        canvas = Canvas(start_picture("grey", 8, 8), **settings)
        with pytest.raises(ValueError, match="leaves this canvas's bound or mask"):
            canvas.set_picture(np.full((8, 8, 3), level, np.uint8))
        assert (canvas.to_uint8() == 128).all()
    canvas = Canvas(start_picture("grey", 8, 8), bound=8 / 255)
    canvas.set_picture(np.full((8, 8, 3), 136, np.uint8))
    for wrong in (np.zeros((8, 9, 3), np.uint8), np.zeros((8, 8, 3)), np.zeros((3, 8, 8), np.uint8)):
        with pytest.raises(ValueError, match=r"takes \(8, 8, 3\) uint8"):
            canvas.set_picture(wrong)
    assert (canvas.to_uint8() == 136).all()
