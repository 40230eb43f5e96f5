"""Which families of models work: all checks on a tiny random one each; the table of docs/results/models.md.

    python benchmarks/models.py [--families gemma3 ...] [--table]

The models are stock classes of transformers with random weights (`tests/families.py`), their processors stock
classes with the constants of released checkpoints; no checkpoint is downloaded. Writes
benchmarks/results/models.json family by family and puts the table into docs/results/models.md.
"""

from __future__ import annotations

import pixeltune  # noqa: F401  first: it makes torchvision importable beside a CPU torch

# isort: split
import argparse
import json
import logging
import sys
import tempfile
import warnings
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT / "tests" / "adapter"), str(ROOT / "tests")]


import numpy as np
import torch
import transformers
from peft import get_peft_model

import families
from benchmarks.common.machine import machine
from pixeltune.adapter import ArtConfig
from pixeltune.model.families import FAMILIES, REFUSED
from pixeltune.model.preprocessing import Preprocessor
from pixeltune.model.shared_prefix.prefix import SharedPrefix
from pixeltune.writing import write_atomically
from test_model import layer_of, paint, served_rows, text_rows
from test_prefix import BATCHES, painted, relative, rows, run, tree
from test_training import fingerprint, losses
from training import make_trainer

OUT = Path(__file__).parent / "results" / "models.json"
PAGE = ROOT / "docs" / "results" / "models.md"
MARKS = "<!-- table: python benchmarks/models.py -->\n", "<!-- end of table -->\n"
STEPS = 10
GAPS = "gap_to_untouched_model", "generation_gap"
ONE_TOKEN = {"max_new_tokens": 1, "do_sample": False, "output_logits": True, "return_dict_in_generate": True}

NAMES = {kind: family.title for kind, family in FAMILIES.items()}
NAMES |= {"paligemma": "PaliGemma", "llama4": "Llama 4"}

EXPERTS = "`router_aux_loss_coef=0.0` in a TRL config of your own; `pixeltune` sets it"
SPLIT = '`size={{"longest_edge": {}}}` in the image processor, also of the engine; refused without'
SWITCHES = {
    **dict.fromkeys(("qwen3_vl_moe", "qwen3_5_moe", "glm4v_moe"), EXPERTS),
    "gemma3": "a chat template that does not trim messages; refused without. Pan-and-scan may be on or off",
    "internvl": "none: at this size `crop_to_patches` makes one tile",
    "idefics3": SPLIT.format(364),
    "smolvlm": SPLIT.format(512) + ". Its processor wants the package `num2words`",
    "llava_onevision": "`max_length=None` in a TRL config of your own; `pixeltune` sets it. A request with a "
    "second picture is processed otherwise: send the artwork alone",
    "minicpmv4_6": "none: at these sizes nothing is sliced",
}


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--families", nargs="+", choices=list(FAMILIES), default=list(FAMILIES))
    parser.add_argument("--table", action="store_true", help="only write the table of what is there")
    arguments = parser.parse_args(argv)
    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity_error()
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    found = json.loads(OUT.read_text())["families"] if OUT.exists() else {}
    for family in () if arguments.table else arguments.families:
        if package := families.missing(family):
            print(f"{family}: not run, its stock processor needs the package {package}", flush=True)
            continue
        with tempfile.TemporaryDirectory() as folder:
            found[family] = measure(family, Path(folder))
        print(family, found[family], flush=True)
        made = {"made_by": "python benchmarks/models.py", "machine": machine(), "families": found}
        write_atomically(OUT, json.dumps(made, indent=1).encode() + b"\n")
    text = PAGE.read_text()
    head, tail = text[: text.index(MARKS[0])], text[text.index(MARKS[1]) :]
    write_atomically(PAGE, (head + MARKS[0] + table(found) + tail).encode())


def measure(family: str, folder: Path) -> dict:
    """Every check for one family."""
    checkpoint = families.save(family, folder / "model")
    base, processor = families.load(checkpoint)
    preprocessor = Preprocessor(processor)
    size, least = preprocessor.size_for_tokens(64), preprocessor.size_for_tokens(1)
    noise = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    model = get_peft_model(families.load(checkpoint)[0], ArtConfig(start="noise"))
    before = fingerprint(model)
    paint(model)
    batch = text_rows(model, processor, "left")
    served = served_rows(model.get_artwork_image(), processor, "left")
    real = batch["attention_mask"].bool()
    with torch.no_grad():
        gap = (model(**batch).logits - base(**served).logits)[real].abs().max().item()
    first = model.generate(**batch, **ONE_TOKEN).logits[0]
    model(**batch, labels=batch["input_ids"]).loss.backward()
    pixels = layer_of(model).canvas().pixels
    torch.optim.AdamW([pixels], lr=0.02, eps=1e-16, weight_decay=0.0).step()
    with torch.no_grad():
        trained = model(**batch).logits[:, -1]
    generated = model.generate(**batch, **ONE_TOKEN).logits[0]
    return {
        "unit": preprocessor.sizes.unit,
        "sizes": list(_sizes(preprocessor)),
        "smallest": [*least, preprocessor.tokens(*least)],
        "usual": [*size, preprocessor.tokens(*size)],
        "parity": preprocessor.parity(noise).equal,
        "same_ids": torch.equal(batch["input_ids"], served["input_ids"]),
        "gap_to_untouched_model": gap,
        "gradient_share": pixels.grad.ne(0).float().mean().item(),
        "gradient_finite": bool(pixels.grad.isfinite().all()),
        "generation_gap": (generated - trained).abs().max().item(),
        "generation_change": (generated - first).abs().max().item(),
        "weights_same": fingerprint(model) == before,
        **_prefix(checkpoint),
        **_training(checkpoint, str(folder / "run")),
    }


def _sizes(preprocessor: Preprocessor) -> list[str]:
    """All sizes up to 1:2, where they are few."""
    near = [
        f"{height}x{width}"
        for _, (height, width) in zip(range(13), preprocessor.sizes.near(64), strict=False)
    ]
    return near if len(near) < 13 else []


def _prefix(checkpoint: str) -> dict:
    """Largest relative difference, tree to plain pass, of hidden states, log-probs and pixel gradients."""
    model, processor = painted(checkpoint)
    batch = rows(model, processor, BATCHES["groups"][2:6], "both")
    if tree(model, batch, use_cache=False) is None:
        return {"prefix": None, "prefix_reason": model.base_model._prefix._unfit({})}
    shared, planned = run(model, batch), SharedPrefix.tree
    try:
        SharedPrefix.tree = lambda *_: None
        plain = run(model, batch)
    finally:
        SharedPrefix.tree = planned
    return {"prefix": max(relative(one, two) for one, two in zip(shared, plain, strict=True))}


def _training(checkpoint: str, output: str) -> dict:
    """Ten steps of TRL's unmodified SFTTrainer on eight short rows."""
    settings = {"max_steps": STEPS, "learning_rate": 5e-2, "max_length": None, "router_aux_loss_coef": 0.0}
    trainer = make_trainer(checkpoint, output, ArtConfig(start="noise"), **settings)
    before, start = fingerprint(trainer.model), trainer.model.get_artwork_image().astype(int)
    trainer.train()
    return {
        "losses": [losses(trainer)[0], losses(trainer)[-1]],
        "pixels_moved": float(np.abs(trainer.model.get_artwork_image() - start).mean()),
        "weights_same_after_training": fingerprint(trainer.model) == before,
    }


def table(found: dict) -> str:
    """Markdown, a line for each family, those that were tried in vain at the end."""
    columns = ["family", "`model_type`", "sizes (height x width)", "image tokens: smallest, for 64"]
    columns += ["PNG, ids, logits", "gradient", "generation", "shared prefix", "SFT, 10 steps", "to set"]
    rest = (len(columns) - 3) * " |"
    lines = ["| " + " | ".join(columns) + " |", "|" + len(columns) * "---|"]
    lines += [_line(family, found[family]) for family in NAMES if family in found]
    missing = [family for family in FAMILIES if family not in found]
    lines += [f"| {NAMES[family]} | `{family}` | not run |{rest}" for family in missing]
    lines += [f"| {NAMES[family]} | `{family}` | refused, see below |{rest}" for family in REFUSED]
    return "\n".join(lines) + "\n"


def _line(family: str, cell: dict) -> str:
    (height, width, least), (_, _, usual) = cell["smallest"], cell["usual"]
    sizes = f"multiples of {cell['unit']}, from {height}x{width}"
    if cell["sizes"]:
        sizes = ", ".join(cell["sizes"]) + (" (and turned)" if len(cell["sizes"]) > 1 else " only")
    equal, live_gap = (f"{cell[name]:.0e}" if cell[name] else "0" for name in GAPS)
    same = cell["parity"] and cell["same_ids"] and cell["weights_same"]
    same = same and cell["gap_to_untouched_model"] < 1e-5
    live = cell["generation_gap"] < 1e-5 < 1e-3 < cell["generation_change"]
    begin, end = cell["losses"]
    trained = end < begin and cell["pixels_moved"] > 1 and cell["weights_same_after_training"]
    prefix = "plain pass: attention in both directions, sliding windows"
    if (gap := cell["prefix"]) is not None:
        prefix = f"exact ({gap:.0e})" if gap < 1e-10 else f"**differs** ({gap:.0e})"
    return " | ".join(
        [
            f"| {NAMES[family]}",
            f"`{family}`",
            sizes,
            f"{least}, {usual}",
            f"equal ({equal})" if same else "**differs**",
            f"{cell['gradient_share']:.1%}" + ("" if cell["gradient_finite"] else " **not finite**"),
            f"live ({live_gap})" if live else "**differs**",
            prefix,
            f"{begin:.2f} to {end:.2f}" if trained else f"**{begin:.2f} to {end:.2f}**",
            SWITCHES.get(family, "none") + " |",
        ]
    )


if __name__ == "__main__":
    main()
