"""Two processes paint what one process paints with the double batch, however they are started."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pixeltune.artwork.artwork import Artwork
from pixeltune.cli.train import settings
from pixeltune.training.objectives import OBJECTIVES
from pixeltune.training.paint import paint
from vllm_server import free_port

FLAGS = (
    "--task calls --max_steps 4 --train_rows 64 --learning_rate 0.05 --save_strategy no --report_to none "
    "--score_steps 0 --snapshot_steps 0 --use_cpu true --seed 3 --gradient_accumulation_steps 2"
).split()
TORCHRUN = ["-m", "torch.distributed.run"]
PORT = "PORT"  # a free one
LAUNCHES = {
    "torchrun": [[*TORCHRUN, *"--standalone --nproc_per_node 2".split()]],
    "accelerate launch": [
        [*"-m accelerate.commands.launch --multi_gpu --num_processes 2 --main_process_port".split(), PORT]
    ],
    # Each launcher is what one of two machines would run.
    "two machines": [
        [*TORCHRUN, *f"--nnodes 2 --node_rank {rank} --master_addr 127.0.0.1 --master_port".split(), PORT]
        for rank in (0, 1)
    ],
}


@pytest.fixture(scope="module")
def alone(bundled, tmp_path_factory) -> Artwork:
    """Painted by one process."""
    words = ["--per_device_train_batch_size", "8", "--output_dir", str(tmp_path_factory.mktemp("one"))]
    painting = paint("sft", quiet=True, **settings("sft", [*FLAGS, *words]))
    assert painting.finished
    return painting.artwork


@pytest.mark.parametrize("launch", LAUNCHES)
def test_two_processes_paint_what_one_does_with_the_double_batch(alone, launch, tmp_path):
    """The gradient is a sum over rows, so only its order of summation differs (gloo adds the halves)."""
    port = str(free_port())
    words = ["-m", "pixeltune.cli.main", "sft", *FLAGS, "--per_device_train_batch_size", "4"]
    words += ["--ddp_backend", "gloo", "--output_dir", str(tmp_path / "two")]
    running = [
        subprocess.Popen(
            [sys.executable, *(port if word == PORT else word for word in launcher), *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for launcher in LAUNCHES[launch]
    ]
    said = [process.communicate(timeout=300) for process in running]
    assert all(process.returncode == 0 for process in running), said[0][1][-3000:]
    two = Artwork.load(tmp_path / "two" / "artwork.png")
    named = sum(out.count(str(Path(tmp_path, "two", "artwork.png"))) for out, _ in said)
    assert named == 1  # one of them speaks
    assert two.provenance.training == alone.provenance.training
    gap = np.abs(alone.pixels.astype(int) - two.pixels.astype(int))
    assert np.abs(alone.pixels.astype(int) - 128).mean() > 2
    assert (gap <= 1).mean() > 0.995


def test_a_model_over_several_devices_is_for_one_process(monkeypatch, tmp_path):
    words = [*FLAGS, "--device_map", "auto", "--output_dir", str(tmp_path)]
    monkeypatch.setattr(OBJECTIVES["sft"].config, "world_size", 2)
    with pytest.raises(ValueError, match="start a single one"):
        paint("sft", quiet=True, **settings("sft", words))
    assert not list(tmp_path.iterdir())
