"""Sizes from a processor's file are those of the processor that is loaded from it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import families
from pixeltune.errors import UserError
from pixeltune.model.families import FAMILIES, sizes_of
from pixeltune.model.processor_file import read_sizes

ASKED = {"gemma4", "minicpmv4_6"}
"""Of these the processor itself has to be asked."""


@pytest.mark.parametrize("family", FAMILIES)
def test_the_file_says_what_the_processor_does(family, tmp_path):
    processor = families.make_processor(family)
    processor.save_pretrained(tmp_path)
    read, real = read_sizes(str(tmp_path)), sizes_of(processor)
    if family in ASKED:
        assert read is None
        assert real.asks
        return
    assert (read.unit, read.only, read.each) == (real.unit, real.only, real.each)
    assert read.constants == real.constants
    assert read.nearest(64) == real.nearest(64)


@pytest.mark.parametrize("family", ["qwen2_5_vl", "qwen3_vl", "glm4v", "glm46v"])
def test_limits_of_the_area_are_the_processors_own(family):
    """Where its arithmetic, asked for patches, changes a size."""
    images = families.make_processor(family).image_processor
    sizes = sizes_of(families.make_processor(family))
    for rows in range(1, 40):
        for columns in (rows, 2 * rows, 5 * rows):
            height, width = rows * sizes.unit, columns * sizes.unit
            kept = images.get_number_of_image_patches(height, width) == (height // images.patch_size) * (
                width // images.patch_size
            )
            assert sizes.passes(height, width) == kept, (height, width)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("processor_config.json", {"image_processor": {"image_processor_type": "SomeImageProcessor"}}),
        ("processor_config.json", {"image_processor": {}}),
        ("preprocessor_config.json", {"image_processor_type": "Qwen2VLImageProcessor", "patch_size": 14}),
        (
            "preprocessor_config.json",
            {"image_processor_type": "Qwen2VLImageProcessor", "patch_size": 14, "merge_size": 2}
            | {"min_pixels": 1, "max_pixels": 9, "size": {"shortest_edge": 1, "longest_edge": 9}},
        ),
        ("preprocessor_config.json", []),
        ("other.json", {}),
    ],
)
def test_what_a_file_does_not_say_is_left_to_the_processor(name, said, tmp_path):
    (tmp_path / name).write_text(json.dumps(said))
    assert read_sizes(str(tmp_path)) is None


def test_older_files_hold_the_image_processor_alone(tmp_path):
    said = {"image_processor_type": "Qwen2VLImageProcessorFast", "patch_size": 14, "merge_size": 2}
    said["size"] = {"shortest_edge": 3136, "longest_edge": 12845056}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(said))
    assert read_sizes(str(tmp_path)).unit == 28


def test_sizes_are_checked_by_the_file_alone():
    sizes = read_sizes("tiny")
    sizes.check(256, 288)
    with pytest.raises(UserError, match=r"resize a 100x100 picture .* Nearest good sizes: 256x256; .* 32"):
        sizes.check(100, 100)
    with pytest.raises(UserError, match="at least one image token, not 0"):
        sizes.nearest(0)
    with pytest.raises(UserError, match="image_tokens is 67"):
        sizes.check_count(67)


def test_reading_it_needs_no_torch():
    code = "import sys; from pixeltune.model.processor_file import read_sizes; assert read_sizes('tiny'); "
    code += "assert not {'torch', 'transformers'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
