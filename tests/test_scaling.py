"""Two processes paint what one process paints with the double batch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np

from pixeltune.artwork import Artwork
from pixeltune.train import paint, parse

FLAGS = (
    "--task calls --max_steps 4 --train_rows 64 --learning_rate 0.05 --save_strategy no --report_to none "
    "--score_steps 0 --snapshot_steps 0 --use_cpu true --seed 3 --gradient_accumulation_steps 2"
)


def test_two_processes_paint_what_one_does_with_the_double_batch(bundled, tmp_path):
    """The gradient is a sum over rows, so only its order of summation differs (gloo adds the halves)."""
    one, _, finished = paint(
        "sft",
        *parse(
            "sft", [*FLAGS.split(), *f"--per_device_train_batch_size 8 --output_dir {tmp_path}/one".split()]
        ),
        quiet=True,
    )
    assert finished
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    words = ["-m", "pixeltune.cli", "sft", *FLAGS.split(), "--per_device_train_batch_size", "4"]
    out = subprocess.run(
        [*launch, *words, "--ddp_backend", "gloo", "--output_dir", f"{tmp_path}/two"],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert out.returncode == 0, out.stderr[-3000:]
    two = Artwork.load(tmp_path / "two" / "artwork.png")
    assert out.stdout.count(str(Path(tmp_path, "two", "artwork.png"))) == 1  # one of them speaks
    assert two.provenance.training == one.provenance.training
    gap = np.abs(one.pixels.astype(int) - two.pixels.astype(int))
    assert np.abs(one.pixels.astype(int) - 128).mean() > 2
    assert (gap <= 1).mean() > 0.995
