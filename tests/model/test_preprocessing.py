import io
import re
import site
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import families
from pixeltune.data.placement import place
from pixeltune.errors import UserError
from pixeltune.model.families import FAMILIES, REFUSED, vision_tower
from pixeltune.model.preprocessing import Preprocessor

GOOD = {"qwen2_5_vl": (224, 252), "qwen3_vl": (256, 288), "qwen3_5": (288, 256)}
BAD = {"qwen2_5_vl": (256, 256), "qwen3_vl": (224, 224), "qwen3_5": (250, 300)}


@pytest.fixture(scope="module", params=families.FAMILIES)
def family(request):
    return request.param


@pytest.fixture(scope="module")
def preprocessor(family):
    return Preprocessor(families.make_processor(family))


def picture(height: int, width: int) -> np.ndarray:
    """Noise that contains every grey level."""
    values = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    values[0, : 256 if width >= 256 else width, :] = np.arange(min(256, width), dtype=np.uint8)[:, None]
    return values


def test_pixels_equal_those_of_the_png_through_the_stock_processor(family, preprocessor):
    parity = preprocessor.parity(picture(*GOOD[family]))
    assert parity.equal
    assert parity.max_abs == 0
    assert parity.constants["patch"] == (14 if family == "qwen2_5_vl" else 16)
    assert parity.constants["image_processor"] == "Qwen2VLImageProcessor"


def test_pixels_equal_after_pillow_saved_the_png_again(family, preprocessor):
    values, file, again = picture(*GOOD[family]), io.BytesIO(), io.BytesIO()
    Image.fromarray(values).save(file, format="PNG")
    Image.open(file).save(again, format="PNG", optimize=True)
    served = preprocessor.processor.image_processor(images=[Image.open(again)], return_tensors="pt")
    trained = preprocessor.pixel_values(torch.from_numpy(values).permute(2, 0, 1) / 255)
    assert set(trained) == set(served)
    assert all(torch.equal(trained[name], served[name]) for name in served)


def test_parity_notices_a_processor_that_sees_tensors_differently(family):
    preprocessor = Preprocessor(families.make_processor(family))
    real = preprocessor.images.preprocess
    preprocessor.images.preprocess = lambda images, **kw: real(
        images=[im + 0.5 if torch.is_tensor(im) else im for im in images], **kw
    )
    parity = preprocessor.parity(picture(*GOOD[family]))
    assert not parity.equal
    assert parity.max_abs > 1e-4


def test_gradient_reaches_every_pixel(family, preprocessor):
    image = torch.rand(3, *GOOD[family], requires_grad=True)
    preprocessor.pixel_values(image)["pixel_values"].sum().backward()
    assert image.grad.ne(0).all()


def test_tokens_grid_and_block_agree_with_the_processor(family, preprocessor):
    height, width = GOOD[family]
    seen = preprocessor.processor(
        text=["<|vision_start|><|image_pad|><|vision_end|>"],
        images=[Image.new("RGB", (width, height))],
        return_tensors="pt",
    )
    assert preprocessor.block_ids(height, width) == seen["input_ids"][0].tolist()
    assert preprocessor.tokens(height, width) == len(preprocessor.block_ids(height, width)) - 2 == 72
    assert torch.equal(preprocessor.grid(height, width), seen["image_grid_thw"])
    assert preprocessor.block(height, width) == "<|vision_start|>" + 72 * "<|image_pad|>" + "<|vision_end|>"


def test_sizes_that_would_be_resized_are_refused_with_the_nearest_good_ones(family, preprocessor):
    with pytest.raises(ValueError, match="would resize") as error:
        preprocessor.pixel_values(torch.rand(3, *BAD[family]))
    expected = {"qwen2_5_vl": "252x252", "qwen3_vl": "256x256", "qwen3_5": "256x288"}[family]
    assert expected in str(error.value)


def test_identity_sizes_are_those_the_processor_leaves_alone(family, preprocessor):
    unit = 28 if family == "qwen2_5_vl" else 32
    for height in (unit, 4 * unit, 8 * unit, 8 * unit + 1):
        for width in (unit, 8 * unit, 9 * unit, 9 * unit + 14):
            values = np.zeros((height, width, 3), dtype=np.uint8)
            grid = preprocessor.images(images=[Image.fromarray(values)], return_tensors="pt")[
                "image_grid_thw"
            ][0]
            kept = (grid[1:] * preprocessor.images.patch_size).tolist() == [height, width]
            assert preprocessor.is_identity(height, width) == kept


def test_size_for_tokens(family, preprocessor):
    unit = 28 if family == "qwen2_5_vl" else 32
    assert preprocessor.size_for_tokens(64) == (8 * unit, 8 * unit)
    assert preprocessor.size_for_tokens(256) == (16 * unit, 16 * unit)
    assert preprocessor.size_for_tokens(1) == ((2 * unit, 2 * unit) if unit == 28 else (8 * unit, 8 * unit))
    for count in (65, 97, 131, 500):
        height, width = preprocessor.size_for_tokens(count)
        assert abs(preprocessor.tokens(height, width) - count) <= 2
        assert width <= 2 * height
    with pytest.raises(ValueError, match="at least one"):
        preprocessor.size_for_tokens(0)


MORE = {  # the size for 64 tokens, what it takes, the smallest size
    "qwen2_vl": ((224, 224), 64, (56, 56)),
    "qwen3_vl_moe": ((256, 256), 64, (256, 256)),
    "qwen3_5_moe": ((256, 256), 64, (256, 256)),
    "glm4v": ((224, 224), 64, (56, 112)),
    "glm4v_moe": ((224, 224), 64, (56, 112)),
    "glm46v": ((224, 224), 64, (56, 112)),
    "gemma3": ((896, 896), 256, (896, 896)),
    "gemma4": ((672, 864), 252, (672, 864)),
    "internvl": ((448, 448), 256, (448, 448)),
    "mistral3": ((224, 224), 64, (28, 28)),
    "idefics3": ((364, 364), 169, (364, 364)),
    "smolvlm": ((512, 512), 64, (512, 512)),
    "llava_onevision": ((384, 384), 1485, (384, 384)),
    "minicpmv4_6": ((448, 448), 64, (336, 560)),
}


@pytest.fixture(scope="module", params=MORE)
def more(request):
    """Another family, its preprocessor, and its size for 64 tokens."""
    if package := families.missing(request.param):
        pytest.skip(f"the stock processor of {request.param} needs the package {package}")
    preprocessor = Preprocessor(families.make_processor(request.param))
    return request.param, preprocessor, preprocessor.size_for_tokens(64)


def test_every_supported_family_is_tested():
    assert set(FAMILIES) == set(families.ALL) == set(MORE) | set(families.FAMILIES)


def test_the_page_of_models_names_what_is_supported_and_what_is_refused():
    page = (Path(__file__).parents[2] / "docs" / "results" / "models.md").read_text()
    lines = [
        line.split("|") for line in page.splitlines() if line.startswith("| ") and "`model_type`" not in line
    ]
    kinds = {line[2].strip(" `"): line for line in lines}
    assert set(kinds) == set(FAMILIES) | set(REFUSED)
    for kind, line in kinds.items():
        assert ("refused" in line[3]) == (kind in REFUSED)
        assert "not run" not in line[3]
        assert "**" not in "|".join(line), f"{kind} failed: run benchmarks/models.py"


def test_other_families_have_sizes_that_their_processor_leaves_alone(more):
    family, preprocessor, size = more
    expected, tokens, smallest = MORE[family]
    assert size == expected
    assert preprocessor.size_for_tokens(1) == smallest
    assert preprocessor.tokens(*size) == tokens
    parity = preprocessor.parity(picture(*size))
    assert parity.equal
    assert parity.max_abs == 0
    height, width = size
    for wrong in ((height, width + 8), (height + 8, width), (7, 7)):
        assert not preprocessor.is_identity(*wrong)
        with pytest.raises(ValueError, match=r"would resize .*Nearest good sizes: \d+x\d+"):
            preprocessor.pixel_values(torch.rand(3, *wrong))


def test_other_families_get_all_pixels_with_a_gradient(more):
    _, preprocessor, size = more
    image = torch.rand(3, *size, requires_grad=True)
    preprocessor.pixel_values(image)["pixel_values"].float().sum().backward()
    assert image.grad.isfinite().all()
    assert image.grad.ne(0).all()


def test_other_families_read_the_same_tokens_from_text_and_from_a_served_message(more):
    _, preprocessor, size = more
    processor, tokenizer = preprocessor.processor, preprocessor.processor.tokenizer
    for text in ("\n\nWhat?", "hi", "  1\n"):
        for head in ([], [{"role": "system", "content": "Be brief.\n"}]):
            row = place([*head, {"role": "user", "content": text}], preprocessor.block(*size))
            parts = [{"type": "image"}, {"type": "text", "text": text}]
            chat = processor.apply_chat_template([*head, {"role": "user", "content": parts}], tokenize=False)
            served = processor(text=[chat], images=[Image.fromarray(picture(*size))], return_tensors="pt")
            ids = tokenizer(processor.apply_chat_template(row, tokenize=False))["input_ids"]
            assert ids == served["input_ids"][0].tolist()
            assert ids.count(preprocessor.image_token_id) == preprocessor.tokens(*size)
            pieces = preprocessor.piece_ids(*size)
            assert [i for i in ids if i in pieces] == pieces


SHAPES = [(1, 1), (2, 3), (4, 1024), (1024, 4), (1, 199), (1, 201), (1, 5000), (40, 2400), (300, 400)]


@pytest.mark.parametrize("family", families.ALL)
def test_a_users_picture_is_refused_beforehand_exactly_where_the_processor_would_fail(family):
    if package := families.missing(family):
        pytest.skip(f"the stock processor of {family} needs the package {package}")
    preprocessor, refused = Preprocessor(families.make_processor(family)), []
    for height, width in SHAPES:
        own = Image.new("RGB", (width, height), "red")
        try:
            preprocessor.processor(text=[preprocessor.processor.image_token], images=[own])
            preprocessor.check_picture(own)
        except UserError:
            raise
        except Exception:
            refused.append((height, width))
            with pytest.raises(UserError, match=rf"takes no picture of {height}x{width} .*Crop or pad"):
                preprocessor.check_picture(own)
    thin = [(4, 1024), (1024, 4), (1, 201), (1, 5000)]
    many = family in families.FAMILIES + families.GRIDS
    assert refused == (thin if many else [(1, 5000)] if family == "mistral3" else [])


def test_a_reported_thin_picture_is_refused_with_the_processors_reason(preprocessor):
    with Image.open(Path(__file__).parents[1] / "fixtures" / "cases" / "png" / "thin.png") as thin:
        for _ in range(2):
            with pytest.raises(UserError, match=r"4x1024 .*aspect ratio must be smaller than 200, got 256"):
                preprocessor.check_picture(thin)


def test_pictures_that_would_be_cut_into_tiles_are_refused():
    for family, size in [("internvl", (448, 896)), ("llava_onevision", (768, 768)), ("gemma3", (896, 1792))]:
        with pytest.raises(ValueError, match="would resize or cut"):
            Preprocessor(families.make_processor(family)).pixel_values(torch.rand(3, *size))
    with pytest.raises(ValueError, match="Nearest good sizes: 448x448"):
        Preprocessor(families.make_processor("minicpmv4_6")).pixel_values(torch.rand(3, 896, 896))


def test_idefics3_as_released_is_refused_with_what_to_set():
    processor = families.make_processor("idefics3")
    processor.image_processor.size = {"longest_edge": 4 * 364}
    preprocessor = Preprocessor(processor)
    for ask in (
        lambda: preprocessor.size_for_tokens(64),
        lambda: preprocessor.pixel_values(torch.rand(3, 364, 364)),
    ):
        with pytest.raises(ValueError, match=r'leaves no picture as it is.*Set size=\{"longest_edge": 364\}'):
            ask()
    processor.image_processor.size = {"longest_edge": 364}
    for splitting in (True, False):
        processor.image_processor.do_image_splitting = splitting
        assert Preprocessor(processor).size_for_tokens(64) == (364, 364)


def test_pan_and_scan_cuts_nothing_from_a_square():
    processor = families.make_processor("gemma3")
    plain = Preprocessor(processor).parity(picture(896, 896))
    settings = {"min_crop_size": 256, "max_num_crops": 4, "min_ratio_to_activate": 1.2}
    processor.image_processor.do_pan_and_scan = True
    for name, value in settings.items():
        setattr(processor.image_processor, f"pan_and_scan_{name}", value)
    scanned = Preprocessor(processor).parity(picture(896, 896))
    assert plain.equal
    assert scanned.equal
    assert plain.constants != scanned.constants  # an artwork's provenance says which it was


def test_templates_that_change_the_text_are_refused():
    """Gemma 3's writes what a message holds trimmed, and a picture of Gemma 3 begins with line breaks."""
    processor = families.make_processor("gemma3")
    stock = processor.chat_template.replace("{{ content }}", "{{ content | trim }}")
    processor.chat_template = stock = stock.replace("{{ part.text }}", "{{ part.text | trim }}")
    with pytest.raises(ValueError, match=r"drops or trims text.*as it is"):
        Preprocessor(processor).block(896, 896)
    processor.chat_template = stock.replace(" | trim", "")  # for rows; requests may stay with the stock one
    row = place([{"role": "user", "content": "hi"}], Preprocessor(processor).block(896, 896))
    ids = processor.tokenizer(processor.apply_chat_template(row, tokenize=False))["input_ids"]
    parts = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "hi"}]}]
    chat = processor.apply_chat_template(parts, chat_template=stock, tokenize=False)
    served = processor(text=[chat], images=[Image.fromarray(picture(896, 896))], return_tensors="pt")
    assert ids == served["input_ids"][0].tolist()
    processor = families.make_processor("qwen3_vl")
    processor.chat_template = None
    processor.tokenizer.chat_template = None
    with pytest.raises(ValueError, match="no chat template"):
        Preprocessor(processor).block(256, 256)


@pytest.mark.parametrize("family", REFUSED)
def test_families_that_were_tried_in_vain_are_refused_with_the_reason(family):
    name = {"paligemma": "PaliGemma", "llama4": "Llama4"}[family]
    processor = type(f"{name}Processor", (), {"image_processor": object()})()
    with pytest.raises(ValueError, match=re.escape(REFUSED[family])):
        Preprocessor(processor)
    model = types.SimpleNamespace(config=types.SimpleNamespace(model_type=family), base_model=None)
    with pytest.raises(ValueError, match=re.escape(REFUSED[family])):
        vision_tower(model)


def test_pil_processors_are_refused_because_they_have_no_gradient():
    from transformers import Qwen2VLImageProcessorPil  # not above: families must be imported first

    processor = types.SimpleNamespace(image_processor=Qwen2VLImageProcessorPil())
    with pytest.raises(ValueError, match=r'backend="torchvision"'):
        Preprocessor(processor)


def test_other_families_are_refused():
    processor = types.SimpleNamespace(image_processor=object())
    with pytest.raises(ValueError, match="qwen2_5_vl, qwen3_vl, qwen3_5"):
        Preprocessor(processor)
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
    where = "pixeltune.model.compat.torchvision_cpu"
    code = f"from {where} import declare_operators as d; d(); d(); import torchvision.ops"
    assert run_bare(code).returncode == 0


def test_importing_the_package_stays_cheap():
    code = "import sys, pixeltune; assert not {'torch', 'transformers'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_its_repr_says_whose_it_is_and_which_sizes_it_takes():
    found = repr(Preprocessor(families.make_processor("qwen3_vl")))
    assert found == "Preprocessor(Qwen3VLProcessor with Qwen2VLImageProcessor, sides in multiples of 32)"
