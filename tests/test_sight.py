import io
import site
import subprocess
import sys
import types

import numpy as np
import pytest
import torch
from PIL import Image

import families
from pixeltune.sight import Sight, vision_tower

GOOD = {"qwen2_5_vl": (224, 252), "qwen3_vl": (256, 288), "qwen3_5": (288, 256)}
BAD = {"qwen2_5_vl": (256, 256), "qwen3_vl": (224, 224), "qwen3_5": (250, 300)}


@pytest.fixture(scope="module", params=families.FAMILIES)
def family(request):
    return request.param


@pytest.fixture(scope="module")
def sight(family):
    return Sight(families.make_processor(family))


def picture(height: int, width: int) -> np.ndarray:
    """Noise that contains every grey level."""
    values = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    values[0, : 256 if width >= 256 else width, :] = np.arange(min(256, width), dtype=np.uint8)[:, None]
    return values


def test_pixels_equal_those_of_the_png_through_the_stock_processor(family, sight):
    parity = sight.parity(picture(*GOOD[family]))
    assert parity.equal
    assert parity.max_abs == 0
    assert parity.constants["patch"] == (14 if family == "qwen2_5_vl" else 16)
    assert parity.constants["image_processor"] == "Qwen2VLImageProcessor"


def test_pixels_equal_after_pillow_saved_the_png_again(family, sight):
    values, file, again = picture(*GOOD[family]), io.BytesIO(), io.BytesIO()
    Image.fromarray(values).save(file, format="PNG")
    Image.open(file).save(again, format="PNG", optimize=True)
    served = sight.processor.image_processor(images=[Image.open(again)], return_tensors="pt")
    trained = sight.pixel_values(torch.from_numpy(values).permute(2, 0, 1) / 255)
    assert set(trained) == set(served)
    assert all(torch.equal(trained[name], served[name]) for name in served)


def test_parity_notices_a_processor_that_sees_tensors_differently(family):
    sight = Sight(families.make_processor(family))
    values, real = picture(*GOOD[family]), sight.images
    sight.images = lambda images, **kw: real(
        images=[im + 0.5 if torch.is_tensor(im) else im for im in images], **kw
    )
    for name in (
        "patch_size",
        "merge_size",
        "size",
        "image_mean",
        "image_std",
        "get_number_of_image_patches",
    ):
        setattr(sight.images, name, getattr(real, name))
    parity = sight.parity(values)
    assert not parity.equal
    assert parity.max_abs > 1e-4


def test_gradient_reaches_every_pixel(family, sight):
    image = torch.rand(3, *GOOD[family], requires_grad=True)
    sight.pixel_values(image)["pixel_values"].sum().backward()
    assert image.grad.ne(0).all()


def test_tokens_grid_and_block_agree_with_the_processor(family, sight):
    height, width = GOOD[family]
    seen = sight.processor(
        text=["<|vision_start|><|image_pad|><|vision_end|>"],
        images=[Image.new("RGB", (width, height))],
        return_tensors="pt",
    )
    assert sight.block_ids(height, width) == seen["input_ids"][0].tolist()
    assert sight.tokens(height, width) == len(sight.block_ids(height, width)) - 2 == 72
    assert torch.equal(sight.grid(height, width), seen["image_grid_thw"])
    assert sight.block(height, width) == "<|vision_start|>" + 72 * "<|image_pad|>" + "<|vision_end|>"


def test_sizes_that_would_be_resized_are_refused_with_the_nearest_good_ones(family, sight):
    with pytest.raises(ValueError, match="would resize") as error:
        sight.pixel_values(torch.rand(3, *BAD[family]))
    expected = {"qwen2_5_vl": "252x252", "qwen3_vl": "256x256", "qwen3_5": "256x288"}[family]
    assert expected in str(error.value)


def test_identity_sizes_are_those_the_processor_leaves_alone(family, sight):
    unit = 28 if family == "qwen2_5_vl" else 32
    for height in (unit, 4 * unit, 8 * unit, 8 * unit + 1):
        for width in (unit, 8 * unit, 9 * unit, 9 * unit + 14):
            values = np.zeros((height, width, 3), dtype=np.uint8)
            grid = sight.images(images=[Image.fromarray(values)], return_tensors="pt")["image_grid_thw"][0]
            kept = (grid[1:] * sight.images.patch_size).tolist() == [height, width]
            assert sight.is_identity(height, width) == kept


def test_size_for_tokens(family, sight):
    unit = 28 if family == "qwen2_5_vl" else 32
    assert sight.size_for_tokens(64) == (8 * unit, 8 * unit)
    assert sight.size_for_tokens(256) == (16 * unit, 16 * unit)
    assert sight.size_for_tokens(1) == ((2 * unit, 2 * unit) if unit == 28 else (8 * unit, 8 * unit))
    for count in (65, 97, 131, 500):
        height, width = sight.size_for_tokens(count)
        assert abs(sight.tokens(height, width) - count) <= 2
        assert width <= 2 * height
    with pytest.raises(ValueError, match="at least one"):
        sight.size_for_tokens(0)


def test_pil_processors_are_refused_because_they_have_no_gradient():
    from transformers import Qwen2VLImageProcessorPil  # not above: families must be imported first

    processor = types.SimpleNamespace(image_processor=Qwen2VLImageProcessorPil())
    with pytest.raises(ValueError, match=r'backend="torchvision"'):
        Sight(processor)


def test_other_families_are_refused():
    processor = types.SimpleNamespace(image_processor=object())
    with pytest.raises(ValueError, match="qwen2_5_vl, qwen3_vl, qwen3_5"):
        Sight(processor)
    with pytest.raises(ValueError, match="qwen2_5_vl, qwen3_vl, qwen3_5"):
        vision_tower(torch.nn.Linear(2, 2))


def run_bare(code: str) -> subprocess.CompletedProcess:
    """Run without .pth files, of which one may already have declared the operators in this environment."""
    paths = [path for path in sys.path if path] + site.getsitepackages()
    code = f"import sys; sys.path[:0] = {paths!r}\n{code}"
    return subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True)


@pytest.mark.skipif(torch.version.cuda is not None, reason="the patch is for CPU builds of torch")
def test_torchvision_still_needs_its_operators_declared():
    plain = run_bare("import torchvision")
    assert "operator torchvision::nms does not exist" in plain.stderr, (
        "torchvision imports by itself now: delete pixeltune/torchvision_cpu.py and its callers"
    )


def test_torchvision_imports_after_the_declaration():
    code = "from pixeltune.torchvision_cpu import declare_operators as d; d(); d(); import torchvision.ops"
    assert run_bare(code).returncode == 0


def test_importing_the_package_stays_cheap():
    code = "import sys, pixeltune; assert not {'torch', 'transformers'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
