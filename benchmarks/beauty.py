"""What beauty costs: held-out score against likeness to the start picture, for bounds, masks and style terms.

    python benchmarks/beauty.py [--tasks sums calls] [--seeds 42 43 44] [--table] [--quick]

Every artwork is painted by SFT on the bundled model from our drawing of tools, which by itself does next to
nothing for either task ("start" in the table), with the same rows, steps and rate for all settings. Each seed
has test rows of its own. Writes benchmarks/results/beauty.json cell by cell (a killed run goes on), pictures
of the first seed and a plot into docs/images/beauty/, and prints the table of docs/results/style.md.

Likeness is PSNR and SSIM (scikit-image; Wang et al. 2004) of the artwork against its start, and how much less
probable, in nats per token, the model's own description of the start has become.
"""

from __future__ import annotations

import argparse
import tempfile
from functools import cache, partial
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image
from skimage.metrics import structural_similarity

from benchmarks.common.accuracy_table import interval, share
from benchmarks.common.cells import once, read
from benchmarks.common.paintings import amounts, begin, model, painting, processor, right
from pixeltune.artwork.png import encode_png
from pixeltune.data.placement import place_image
from pixeltune.evaluation.agreement import after
from pixeltune.evaluation.backends import image_parts
from pixeltune.evaluation.in_process import InProcess
from pixeltune.evaluation.robustness import psnr
from pixeltune.evaluation.statistics import wilson
from pixeltune.picture.drawings import draw
from pixeltune.writing import write_atomically

HERE = Path(__file__).parent
OUT, PICTURES = HERE / "results" / "beauty.json", HERE.parent / "docs" / "images" / "beauty"
TASKS = ["sums", "calls"]
START = "tools"
PROMPT = "What colour is the top left tile?"  # the only kind of question about pictures that this model knows
SETTINGS: dict[str, list[str] | None] = {
    "start": None,
    "free": [],
    "bound 64": ["--bound", "64"],
    "bound 32": ["--bound", "32"],
    "bound 16": ["--bound", "16"],
    "bound 8": ["--bound", "8"],
    "mask": ["--mask", "MASK"],
    "l2": ["--style", "10 * l2"],
    "content": ["--style", "content"],
    "gram": ["--style", f"gram('{START}')"],
    "caption": ["--style", "caption('CAPTION', 'PROMPT')"],
    "fourier": ["--parametrisation", "fourier"],
}


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=TASKS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[42, 43, 44])
    parser.add_argument("--only", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--table", action="store_true", help="only print the table of what is there")
    parser.add_argument("--quick", action="store_true", help="two steps, a few rows, to see that it works")
    arguments = parser.parse_args(argv)
    out, rows = begin(OUT, arguments.quick)
    shown = out.parent if arguments.quick else PICTURES
    for seed in () if arguments.table else arguments.seeds:
        for name in arguments.only:
            for task in arguments.tasks:
                settings = amounts(rows) | {"start": START, "flags": SETTINGS[name], "seed": seed}
                work = partial(measure, task, name, seed, rows, shown if seed == 42 else None)
                made_by = "python benchmarks/beauty.py"
                cell = once(out, f"{task}/{name}/{seed}", settings, work, made_by=made_by)
                print(task, name, seed, {k: v for k, v in cell.items() if k != "right"}, flush=True)
    cells = read(out)["cells"]
    plot(cells, shown)
    print(table(cells))


def measure(task: str, name: str, seed: int, rows: int, shown: Path | None) -> dict:
    """Paint with one setting, score, and compare with the start; the picture is kept in a folder, if any."""
    start = pixels = draw(START, 256, 256)
    if SETTINGS[name] is not None:
        pixels = painted(task, seed, SETTINGS[name])
    if shown:
        write_atomically(shown / f"{task}-{name.replace(' ', '-')}.png", encode_png(pixels, {}))
    noise = psnr(Image.fromarray(start), Image.fromarray(pixels))
    return {
        "right": right(task, pixels, rows, seed),
        "psnr": noise and round(noise, 2),
        "ssim": round(float(structural_similarity(start, pixels, channel_axis=2)), 4),
        "caption_loss": round(unlikeliness(pixels) - unlikeliness(start), 4),
        "mean_change": round(float(np.abs(pixels.astype(int) - start).mean()), 2),
        "png_bytes": len(encode_png(pixels, {})),
    }


def painted(task: str, seed: int, flags: list[str]) -> np.ndarray:
    """The pixels of an artwork, `(256, 256, 3)` uint8."""
    with tempfile.TemporaryDirectory() as folder:
        mask = f"{folder}/mask.png"
        Image.fromarray(ground()).save(mask)
        for word, meaning in {"PROMPT": PROMPT, "CAPTION": description(), "MASK": mask}.items():
            flags = [flag.replace(word, meaning) for flag in flags]
        return painting(task, seed, "--start", START, *flags)[0].pixels


def ground() -> np.ndarray:
    """White where the drawing has its most frequent colour, `(256, 256)` uint8: ground, not figures."""
    start = draw(START, 256, 256)
    colours, counts = np.unique(start.reshape(-1, 3), axis=0, return_counts=True)
    return np.where((start == colours[counts.argmax()]).all(2), 255, 0).astype(np.uint8)


@cache
def description() -> str:
    """What the model says about the start picture."""
    backend = InProcess(model(), processor(), Image.fromarray(draw(START, 256, 256)))
    said = backend.complete([[{"role": "user", "content": PROMPT}]], [None], 24)[0].text
    return said.strip().replace("'", "")


def unlikeliness(pixels: np.ndarray) -> float:
    """Nats per token of that description in front of a picture."""
    messages = image_parts(place_image([{"role": "user", "content": PROMPT}], ""))
    ids = processor().tokenizer(description(), add_special_tokens=False)["input_ids"]
    _, table = after(model(), processor(), Image.fromarray(pixels), messages, None, ids)
    return -sum(table[i, token].item() for i, token in enumerate(ids)) / len(ids)


def table(cells: dict) -> str:
    """Markdown: seeds together."""
    lines = [
        "| task | setting | right | of free | PSNR, dB | SSIM | caption, nats | PNG, kB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for task in TASKS:
        scores = {name: [c for k, c in cells.items() if k.startswith(f"{task}/{name}/")] for name in SETTINGS}
        free = share("".join(cell["right"] for cell in scores["free"]) or "0")
        for name, found in scores.items():
            if not found:
                continue
            every = "".join(cell["right"] for cell in found)
            noise = [cell["psnr"] for cell in found if cell["psnr"] is not None]
            fields = [
                task,
                name,
                interval(every),
                f"{100 * share(every) / free:.0f} %" if free else "",
                f"{np.mean(noise):.1f}" if noise else "the same",
                f"{np.mean([cell['ssim'] for cell in found]):.3f}",
                f"{np.mean([cell['caption_loss'] for cell in found]):+.2f}",
                f"{np.mean([cell['png_bytes'] for cell in found]) / 1000:.0f}",
            ]
            lines.append(f"| {' | '.join(fields)} |")
    return "\n".join(lines)


def plot(cells: dict, folder: Path) -> None:
    """Score against PSNR, a point a setting and a panel a task, into ``folder/cost.svg``."""
    plt.rcParams["svg.hashsalt"] = "pixeltune"  # the same file from the same cells
    figure, panels = plt.subplots(1, len(TASKS), figsize=(9, 3.6), sharey=True, layout="constrained")
    for task, panel in zip(TASKS, panels, strict=True):
        points = []
        for name in SETTINGS:
            found = [c for k, c in cells.items() if k.startswith(f"{task}/{name}/") and c["psnr"] is not None]
            if not found:
                continue
            every = "".join(cell["right"] for cell in found)
            score, noise = 100 * share(every), np.mean([cell["psnr"] for cell in found])
            low, high = (100 * end for end in wilson(every.count("1"), len(every)))
            panel.errorbar(
                noise, score, [[max(0, score - low)], [max(0, high - score)]], fmt="o", color="#a23b1c", ms=4
            )
            points.append((noise, score, name))
        lanes: list[tuple[float, float, int]] = []  # of the labels so far: where they stand, how deep
        for noise, score, name in sorted(points):
            taken = {lane for x, y, lane in lanes if noise - x < 2.2 and abs(score - y) < 15}
            lane = next(free for free in range(len(points)) if free not in taken)
            lanes.append((noise, score, lane))
            below = {
                "xytext": (0, -12 - 10 * lane),
                "textcoords": "offset points",
                "ha": "center",
                "va": "top",
            }
            line = {"arrowstyle": "-", "color": "#bbbbbb", "lw": 0.6, "shrinkA": 0, "shrinkB": 3}
            panel.annotate(name, (noise, score), **below, fontsize=7, arrowprops=line)
        panel.margins(x=0.1)
        panel.set(title=task, xlabel="PSNR to the start picture, dB", ylim=(-25, 104))
    panels[0].set_ylabel("right, %")
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / "cost.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
