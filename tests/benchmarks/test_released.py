"""The comparison on released models: recipes, the check of the machine, few-shot, transfers, and the page."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
import yaml

import families
from benchmarks import accuracy
from benchmarks.common import (
    accuracy_cells,
    accuracy_page,
    accuracy_real,
    baselines,
    bases,
    fits,
    random_model,
)
from benchmarks.common.accuracy_flags import read_flags
from benchmarks.common.accuracy_plans import RELEASED, RELEASED_FOLDER, SMOL
from benchmarks.common.accuracy_table import transfers
from benchmarks.common.accuracy_tasks import TINY
from benchmarks.common.cells import once, read
from pixeltune.errors import UserError
from pixeltune.model.loading import load_model

ROOT = Path(accuracy.__file__).parents[1]
RECIPES = sorted((ROOT / "recipes" / "comparison").glob("*.yaml"))
GIB = 2**30


def data() -> Path:
    path = Path(__file__).parents[3] / "shared/data"
    if not path.is_dir():
        pytest.skip("the benchmarks' files are not here")
    return path


@pytest.fixture(scope="module")
def mini(tmp_path_factory) -> str:
    """A very small Qwen3.5 with the released chat template of those models that think where they may."""
    from trl.chat_template_utils import qwen3_5_think_chat_template

    folder = tmp_path_factory.mktemp("models") / "mini"
    model, processor = families.make_model("qwen3_5"), families.make_processor("qwen3_5")
    model.save_pretrained(folder)
    processor.chat_template = processor.tokenizer.chat_template = qwen3_5_think_chat_template
    processor.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    """A few rows of every benchmark, those of GSM8K made up."""
    folder = tmp_path_factory.mktemp("data")
    for name in ("svamp", "seal_tools", "bfcl", "when2call"):
        (folder / name).symlink_to(ROOT / "tests" / "fixtures" / name)
    (folder / "gsm8k").mkdir()
    for part, numbers in (("train", range(60)), ("test", range(60, 80))):
        rows = [
            {"question": f"What is {i} + 1?", "answer": f"{i} + 1 = {i + 1}\n#### {i + 1}"} for i in numbers
        ]
        (folder / "gsm8k" / f"{part}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


def suite(model: str = "mini", folder: Path | None = None, **more) -> accuracy_cells.Suite:
    made = accuracy_real.released(model, folder, "float32", 4, 1, False)
    return replace(made, **more)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_is_flags_that_are_taken(path):
    flags, compared, plans = read_flags("", ["--config", str(path)])
    said = yaml.safe_load(path.read_text())
    assert (flags.model, compared.model, flags.verbs) == (said["model"], said["model"], ["sft"])
    assert (compared.dtype, compared.micro, compared.batch) == (
        "bfloat16",
        said["rows-at-once"],
        said["answers-at-once"],
    )
    assert compared.checkpointing is said["checkpointing"]
    assert plans == RELEASED
    assert len(flags.cells) == 2 * 9  # two tasks, nine methods
    assert f"--config {path.relative_to(ROOT)}" in path.read_text()
    assert compared.trained == ["gsm8k", "seal_tools:single"]


def test_there_is_a_recipe_for_each_size_and_its_shapes():
    assert [yaml.safe_load(path.read_text())["model"] for path in RECIPES] == [
        f"Qwen/Qwen3.5-{size}" for size in random_model.QWEN3_5
    ]


def test_flags_win_over_a_recipe(tmp_path):
    recipe = tmp_path / "a.yaml"
    recipe.write_text("model: x/y\nrows-at-once: 4\ncheckpointing: true\nonly: [gsm8k/artwork]\n")
    flags, compared, _ = read_flags("", ["--config", str(recipe), "--rows-at-once", "2"])
    assert (compared.model, compared.micro, compared.checkpointing) == ("x/y", 2, True)
    assert flags.cells == ["gsm8k/artwork"]
    flags, _, _ = read_flags("", ["--model", "x/y", "--without", "full", "few-shot", "--only", "gsm8k"])
    assert {"gsm8k/full", "gsm8k/few-shot"}.isdisjoint(flags.cells)
    assert "gsm8k/lora64" in flags.cells


@pytest.mark.parametrize(
    ("recipe", "command", "said"),
    [
        ("- 1\n", [], "it is no list of flags with values"),
        ("rates: 3\n", [], "unrecognized arguments: --rates 3"),
        ("model: [\n", [], "--config"),
        ("model: x/y\n", ["--rows-at-once", "5"], "a step of 32 rows cannot be cut so"),
        ("model: x/y\n", ["--answers-at-once", "0"], "--answers-at-once must be at least 1"),
        ("model: x/y\n", ["--without", "lora5"], "--without lora5: there is no such method"),
        ("model: x/y\n", ["--only", "svamp"], "--only svamp: there is no such task"),
        ("model: x/y\n", ["--data", "nowhere"], "--data nowhere: there is no such folder"),
    ],
)
def test_what_a_recipe_cannot_say_is_refused(recipe, command, said, tmp_path, capsys):
    path = tmp_path / "a.yaml"
    path.write_text(recipe)
    with pytest.raises(SystemExit):
        read_flags("", ["--config", str(path), *command])
    assert said in capsys.readouterr().err


def test_the_second_models_tune_cells_are_as_they_were():
    """Their settings hash is that of the cells which are there, so a run of theirs goes on."""
    report = read(ROOT / "benchmarks" / "results" / "accuracy_smol_sft.json")
    repeats = ("seeds", "size_seeds", "sizes", "configurations")
    amounts = {k: v for k, v in asdict(SMOL["sft"]).items() if k not in repeats and v is not None}
    for key, cell in report["cells"].items():
        if "/artwork/tune/" in key:
            settings = {"version": 1, "base": report["base"], **amounts, "choice": cell["choice"], "seed": 41}
            text = json.dumps(settings, sort_keys=True)
            assert hashlib.sha256(text.encode()).hexdigest()[:16] == cell["settings"]
    assert any("/artwork/tune/" in key for key in report["cells"])


def test_the_bundled_models_cells_say_nothing_of_transfers(monkeypatch):
    made: dict[str, dict] = {}
    compared = suite(transfers={"gsm8k": ("svamp",)})

    def do(key, work, **inputs):
        made[key] = inputs
        return {"score": 0.0}

    accuracy.compare(TINY, RELEASED["sft"], "sums", "artwork", do)
    accuracy.compare(TINY, RELEASED["sft"], "sums", "off", do)
    assert all("transfers" not in inputs for inputs in made.values())
    made.clear()
    accuracy.compare(compared, RELEASED["sft"], "gsm8k", "few-shot", do)
    assert [key for key in made if "/tune/" in key] == [f"gsm8k/few-shot/tune/{n}" for n in (1, 4, 8)]
    assert all(("transfers" in inputs) == ("/tune/" not in key) for key, inputs in made.items())
    assert made["gsm8k/few-shot/42"] == {"choice": 4, "seed": 42, "transfers": ["svamp"]}


def test_few_shot_shows_the_seeds_first_training_rows(files):
    compared = suite(folder=files)
    shown = accuracy_cells.told(compared, "gsm8k", "few-shot", 4, 42)
    rows = compared.part("gsm8k", "train", 4, 42)
    assert shown == [message for row in rows for message in (*row["prompt"], *row["completion"])]
    assert shown != accuracy_cells.told(compared, "gsm8k", "few-shot", 4, 43)
    assert accuracy_cells.told(compared, "gsm8k", "text", "Be brief.", 42) == "Be brief."


def test_what_is_only_tested_has_no_row_of_what_is_trained():
    compared = suite(folder=data())
    for name, others in compared.transfers.items():
        trained = {
            json.dumps(row["prompt"])
            for which in ("train", "validation")
            for row in compared.part(name, which, 10_000, 41)
        }
        for other in others:
            halves = [{row["id"] for row in compared.part(other, "test", 1000, seed)} for seed in (42, 43)]
            assert not halves[0] & halves[1]
            assert min(map(len, halves)) >= 70
            assert not trained & {json.dumps(row["prompt"]) for row in compared.part(other, "test", 1000, 42)}


def test_a_step_of_several_passes_has_the_plans_rows():
    plan = RELEASED["sft"]
    made = accuracy_cells.settings(suite(micro=8, checkpointing=True), plan, "gsm8k")
    assert made["per_device_train_batch_size"] * made["gradient_accumulation_steps"] == plan.batch
    assert made["gradient_checkpointing"] is True
    assert "gradient_accumulation_steps" not in accuracy_cells.settings(TINY, plan, "sums")
    assert "gradient_checkpointing" not in accuracy_cells.settings(TINY, plan, "sums")


def test_a_model_that_thinks_aloud_is_asked_not_to(mini):
    processor = bases.processor(mini)
    asked = processor.apply_chat_template(
        [{"role": "user", "content": "Hi"}], tokenize=False, add_generation_prompt=True
    )
    assert asked.endswith("<think>\n\n</think>\n\n")
    assert (
        bases.load_processor(mini)
        .apply_chat_template([{"role": "user", "content": "Hi"}], tokenize=False, add_generation_prompt=True)
        .endswith("<think>\n")
    )


def test_lora_is_on_every_linear_layer_of_a_hybrid_model(mini):
    model = load_model(mini)
    linear = {n for n, m in model.model.language_model.named_modules() if isinstance(m, torch.nn.Linear)}
    adapted = baselines.adapt(model, "lora4")
    on = {
        n.split("language_model.")[1].split(".lora_")[0]
        for n, p in adapted.named_parameters()
        if p.requires_grad
    }
    assert on == linear
    assert any("in_proj" in name for name in on)


def test_full_fine_tuning_of_bfloat16_keeps_float32_weights_while_it_trains(mini):
    rows = [
        {
            "prompt": [{"role": "user", "content": f"{i} + 1"}],
            "completion": [{"role": "assistant", "content": f"{i + 1}"}],
        }
        for i in range(4)
    ]
    seen = []
    stock = baselines.OBJECTIVES["sft"].trainer.training_step

    def spy(self, model, *args, **kwargs):
        seen.append(next(model.parameters()).dtype)
        return stock(self, model, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(baselines.OBJECTIVES["sft"].trainer, "training_step", spy)
        settings = {"max_steps": 1, "per_device_train_batch_size": 2}
        trained = baselines.train("sft", "full", 1e-4, 42, rows, settings, base=mini, dtype="bfloat16")
    assert set(seen) == {torch.float32}
    assert next(trained.model.parameters()).dtype == torch.bfloat16


# The check of the machine.


def checked(monkeypatch, room: float, steps: dict[str, float], cells: list[str], numbers: int = 10**9) -> str:
    """`fits.check` on a machine with so many GiB free, where steps take so many at their peak."""
    monkeypatch.setattr(fits, "_read_rows", lambda suite: None)
    monkeypatch.setattr(fits, "parameters", lambda model: numbers)
    monkeypatch.setattr(fits, "free", lambda: int(room * GIB))
    monkeypatch.setattr(fits, "hours", lambda *_: 1.25)

    def do(key, work, **inputs):
        found = steps[key.split("/")[1]]
        if found > room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return {"seconds": 2.0, "bytes": int(found * GIB)}

    return fits.check(suite(dtype="bfloat16"), RELEASED["sft"], cells, do)


def test_a_machine_that_is_large_enough_is_told_what_it_takes(monkeypatch):
    line = checked(monkeypatch, 40, {"off": 3, "artwork": 9, "full": 22}, ["gsm8k/full", "gsm8k/artwork"])
    assert line == (
        "mini: 1,000 M parameters; at most 22.0 GiB of 40.0 GiB are taken (gsm8k/full/measured/step); "
        "about 1.2 h for everything"
    )


@pytest.mark.parametrize(
    ("room", "steps", "cells", "said"),
    [
        (1, {}, ["gsm8k/off"], "loading it takes about 1.9 GiB and 1.0 GiB are free"),
        (10, {}, ["gsm8k/full"], "full fine-tuning takes about 14.9 GiB"),
        # Nine with the weights, 1.9, are seven beside them; with the 14.9 of full fine-tuning more than 20.
        (
            20,
            {"off": 3, "artwork": 9},
            ["gsm8k/full", "gsm8k/artwork"],
            "a step of full on gsm8k takes about 22.0 GiB",
        ),
        (8, {"off": 3, "artwork": 9}, ["gsm8k/artwork"], "gsm8k/artwork/measured/step does not fit 8.0 GiB"),
    ],
)
def test_a_machine_that_is_too_small_is_told_so_in_a_line(room, steps, cells, said, monkeypatch):
    with pytest.raises(UserError) as refused:
        checked(monkeypatch, room, steps, cells)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_missing_data_are_named_before_anything_is_loaded(monkeypatch, tmp_path, files):
    monkeypatch.setattr(fits, "parameters", lambda model: pytest.fail("looked at the model"))
    for name in ("gsm8k", "svamp"):
        (tmp_path / name).symlink_to(files / name)
    with pytest.raises(SystemExit, match="Seal-Tools needs a folder"):
        accuracy.main(["--model", "x/y", "--data", str(tmp_path), "--folder", str(tmp_path / "out")])


def test_hours_are_trainings_and_answers(monkeypatch):
    compared = suite(transfers={}, part=lambda name, which, n, seed: [{}] * min(n, 50))
    plan = replace(RELEASED["sft"], steps=10, validation=20, curve=(5, 10), curve_rows=5)
    measured = {
        "gsm8k/off/measured/answers": {"seconds": 2.0},
        "gsm8k/lora4/measured/step": {"seconds": 3.0, "around": 7.0, "usual": 0.5},
    }
    # Off: two seeds of 50, untold and told. LoRA: three trainings to choose, two in the end.
    off = 2.0 * (2 * 50 + 2 * 50)
    lora = 5 * (7 + 10 * 3 * 0.5) + 2.0 * (3 * 20 + 2 * 50 + 2 * 2 * 5 + 50)
    assert 3600 * fits.hours(compared, plan, ["gsm8k/off"], measured) == pytest.approx(off)
    assert 3600 * fits.hours(compared, plan, ["gsm8k/off", "gsm8k/lora4"], measured) == pytest.approx(
        off + lora
    )


def test_parameters_are_counted_without_weights(mini):
    assert fits.parameters(mini) == sum(p.numel() for p in load_model(mini).parameters())


@pytest.mark.skipif(torch.cuda.is_available(), reason="of a machine without a GPU")
def test_the_peak_is_what_was_taken_meanwhile():
    with fits.peak() as small:
        pass
    with fits.peak() as large:
        taken = torch.ones(64 * 2**20)  # 256 MiB
    del taken
    with fits.peak() as after:
        pass
    assert large[0] - small[0] > 200 * 2**20
    assert large[0] - after[0] > 200 * 2**20


@pytest.mark.parametrize(
    ("size", "numbers"), [("0.8B", 852_985_920), ("2B", 2_213_241_664), ("4B", 4_539_265_536)]
)
def test_random_models_have_the_released_sizes(size, numbers, bundled):
    config = random_model.qwen3_5_config(size)
    with torch.device("meta"):
        model = random_model.AutoModelForImageTextToText.from_config(config)
    assert sum(p.numel() for p in model.parameters()) == numbers


# All of it, in small.


def test_the_comparison_on_a_folders_model_and_a_second_time_for_nothing(
    mini, files, tmp_path, monkeypatch, capsys
):
    for method in ("prompt", "full"):  # two steps at the highest are enough to move
        monkeypatch.setitem(baselines.RATES, method, baselines.RATES[method][-1:])
    command = ["--model", mini, "--data", str(files), "--quick", "--threads", "1", "--rows-at-once", "1"]
    command += ["--checkpointing", "--answers-at-once", "4", "--folder", str(tmp_path)]
    command += ["--only", *(f"gsm8k/{method}" for method in ("off", "few-shot", "prompt", "full"))]
    accuracy.main([*command, "--estimate"])
    said = capsys.readouterr().out
    assert f"{mini}: " in said
    cells = read(tmp_path / "mini_sft.json")["cells"]
    assert set(cells) == {
        f"gsm8k/{k}" for k in ("off/measured/answers", "prompt/measured/step", "full/measured/step")
    }
    accuracy.main(command)
    report = read(tmp_path / "mini_sft.json")
    assert {key: report["cells"][key] for key in cells} == cells
    for method in ("off", "few-shot", "prompt", "full"):
        assert set(report["cells"][f"gsm8k/{method}/42"]["transfers"]["svamp"]) <= {"0", "1"}
    assert "| gsm8k | few-shot | svamp |" in transfers(report)
    assert report["cells"]["gsm8k/prompt/42"]["off_identical"] == 2
    monkeypatch.setattr(accuracy_cells, "fit", lambda *_: pytest.fail("trained once more"))
    monkeypatch.setattr(accuracy_cells, "answers", lambda *_: pytest.fail("asked once more"))
    accuracy.main(command)


def test_an_adapters_transfers_are_asked_with_the_adapter_and_words_with_the_words(monkeypatch):
    asked = []

    def answers(suite, name, rows, backend, words=""):
        asked.append((name, len(rows), backend, words))
        return "1" * len(rows), []

    monkeypatch.setattr(accuracy_cells, "answers", answers)
    compared = suite(part=lambda name, which, n, seed: [{"prompt": name}] * 3)
    found = accuracy_cells.transferred(
        compared, RELEASED["sft"], "seal_tools:single", "adapted", 42, "Be brief."
    )
    assert found == {"transfers": dict.fromkeys(accuracy_real.CALLS, "111")}
    assert asked == [(name, 3, "adapted", "Be brief.") for name in accuracy_real.CALLS]
    assert accuracy_cells.transferred(TINY, RELEASED["sft"], "sums", "adapted", 42) == {}


def test_the_committed_page_is_what_the_results_say():
    folder = ROOT / "benchmarks" / "results" / RELEASED_FOLDER
    assert accuracy_page.PAGE.read_text() == accuracy_page.page(folder)


def test_the_page_has_a_models_scores_and_of_a_random_one_only_what_it_takes(tmp_path):
    for name in ("qwen_sft", "random_qwen_sft"):
        out = tmp_path / f"{name}.json"
        facts = {"rates": baselines.RATES, "plan": {"rows": 10, "batch": 2}}
        once(
            out,
            "gsm8k/artwork/42",
            {},
            lambda: {"choice": 0.06, "right": "1101", "transfers": {"svamp": "10"}},
            **facts,
        )
        once(out, "gsm8k/artwork/measured/step", {}, lambda: {"seconds": 2.5, "bytes": 3 * GIB})
    text = accuracy_page.page(tmp_path)
    scores, random = text.split("## Tried on random weights")
    assert "No released model" not in text
    assert "## qwen_sft" in scores
    assert "![Right answers on test rows by method, qwen_sft" in scores
    assert "| gsm8k | artwork | svamp | 50.0% " in scores
    assert "75.0%" in scores
    assert "75.0%" not in random
    assert "| gsm8k | a step, artwork | 3.0 |\n" in random
    assert "| gsm8k | a step, artwork | 3.0 | 2.50 |" in scores
    (tmp_path / "qwen_sft.json").unlink()
    assert "**No released model has been run yet.**" in accuracy_page.page(tmp_path)
