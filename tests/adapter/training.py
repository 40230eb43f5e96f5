"""An unmodified SFTTrainer with `peft_config=`; as a program, one that is killed in mid-training."""

import os
import signal
import sys
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))  # for families.py

import pixeltune  # noqa: F401, I001  before transformers: where torchvision is a CUDA build beside a CPU torch

import torch
from datasets import Dataset
from transformers import TrainerCallback
from trl import SFTConfig, SFTTrainer

import families
from pixeltune.adapter import ArtConfig
from pixeltune.data.placement import place_dataset
from pixeltune.model.preprocessing import Preprocessor

torch.set_num_threads(1)


def make_trainer(
    checkpoint: str, output: str, config: ArtConfig, callbacks=(), rows=None, **settings
) -> SFTTrainer:
    model, processor = families.load(checkpoint)
    dataset = place_dataset(Dataset.from_list(rows or families.rows()), config.block(Preprocessor(processor)))
    settings = {
        "max_steps": 4,
        "per_device_train_batch_size": 4,
        "learning_rate": 1e-2,
        "weight_decay": 0.0,
        "adam_epsilon": 1e-16,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "use_cpu": True,
        "bf16": False,
        "disable_tqdm": True,
        **settings,
    }
    return SFTTrainer(
        model=model,
        args=SFTConfig(output_dir=output, **settings),
        train_dataset=dataset,
        processing_class=processor.tokenizer,
        peft_config=config,
        callbacks=list(callbacks),
    )


class Kill(TrainerCallback):
    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == 3:
            os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    settings = {"save_strategy": "steps", "save_steps": 2}
    make_trainer(
        sys.argv[1], sys.argv[2], ArtConfig(start=sys.argv[3], bound=8), [Kill()], **settings
    ).train()
