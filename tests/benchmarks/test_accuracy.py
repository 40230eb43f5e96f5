"""The comparison of methods: the same for each of them, nothing that trains nothing, and right tables."""

from __future__ import annotations

import hashlib
import itertools
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks import accuracy
from benchmarks.common import accuracy_cells, accuracy_real, baselines
from benchmarks.common.accuracy_plans import PLANS, SMOL, Plan
from benchmarks.common.accuracy_table import chosen, gains, interval, tables
from benchmarks.common.accuracy_tasks import PROMPTS, REWARDS, TASKS, TINY, part
from benchmarks.common.cells import once, read
from pixeltune.data.turns import each_turn
from pixeltune.evaluation.in_process import InProcess
from pixeltune.evaluation.statistics import mcnemar, wilson
from pixeltune.model.loading import load_model, load_processor
from pixeltune.training.objectives import OBJECTIVES

SFT = {"max_steps": 2, "per_device_train_batch_size": 4}
GRPO = {**SFT, "num_generations": 2, "max_completion_length": 12}


@pytest.fixture(scope="module")
def processor(bundled):
    return load_processor("tiny")


@pytest.mark.parametrize("name", TASKS)
def test_training_validation_and_test_rows_have_no_prompt_in_common(name):
    seen = {
        which: {json.dumps(row["prompt"]) for seed in seeds for row in part(name, which, n, seed)}
        for which, n, seeds in (
            ("train", 1000, (41, 42, 43)),
            ("validation", 200, (1000,)),
            ("test", 200, (42,)),
        )
    }
    assert not seen["train"] & seen["validation"]
    assert not seen["train"] & seen["test"]
    assert not seen["validation"] & seen["test"]


@pytest.mark.parametrize("name", TASKS)
def test_fewer_rows_are_the_beginning_of_more(name):
    assert part(name, "train", 300, 42)[:30] == part(name, "train", 30, 42) != part(name, "train", 30, 43)
    assert part(name, "validation", 200, 1000)[:100] == part(name, "validation", 100, 1000)


@pytest.mark.parametrize("name", TASKS)
def test_every_reference_answer_is_rewarded_and_another_one_is_not(name):
    rows = each_turn(part(name, "train", 40, 42))
    rows = [{**row, "wanted": row["completion"][0]["content"]} for row in rows]
    columns = {key: [row[key] for row in rows] for key in rows[0] if key not in ("prompt", "completion")}
    right = [row["completion"] for row in rows]
    assert REWARDS[name](right, **columns) == [1.0] * len(rows)
    wrong = [[{"role": "assistant", "content": "I think it is 12345."}]] * len(rows)
    assert REWARDS[name](wrong, **columns) == [0.0] * len(rows)


def test_every_method_has_the_same_number_of_configurations():
    assert {len(rates) for rates in baselines.RATES.values()} == {3}
    assert {len(words) for words in PROMPTS.values()} == {3} == {Plan("", 0, 0, 0, ()).configurations}


@pytest.mark.parametrize(
    ("scores", "best"), [([0.1, 0.2, 0.9], 2), ([0.5, 0.5, 0.5], 1), ([0.7, 0.2, 0.7], 0), ([0.3], 0)]
)
def test_a_tie_goes_to_the_middle(scores, best):
    assert accuracy.choose(scores) == best


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("lora16", 5, ["a", "b"], 2, False), "nothing moved in 5"),
        (("prompt", 1, ["a"], 1, False), "nothing moved in 1"),
        (("lora16", 2, ["a"], 2, False), "1 of 2 tensors did not move, a"),
        (("lora16", 2, [], 2, True), "weights of the base changed"),
        (("artwork", 2, [], 1, True), "weights of the base changed"),
        (("full", 2, ["tower"], 9, False), "weights of the base did not change"),
    ],
)
def test_a_silent_no_op_is_an_error(arguments, said):
    with pytest.raises(RuntimeError, match=said):
        baselines.check(*arguments)


def test_stock_prompt_tuning_cannot_generate(bundled, processor):
    """When this fails, PEFT and transformers get along and `soft_prompt.generate` can go."""
    model = baselines.adapt(load_model("tiny"), "prompt")
    texts = ["What is 1 + 2?", "Anna has 12 apples."]
    batch = processor.tokenizer(texts, padding=True, padding_side="left", return_tensors="pt")
    with pytest.raises(RuntimeError, match="size of tensor"):
        type(model).generate(model, **batch, max_new_tokens=4, do_sample=False)


def test_a_soft_prompt_generates_what_its_training_sees(bundled, processor):
    """Left-padded rows of different lengths, each against its own forward pass as trained, unpadded."""
    model = baselines.adapt(load_model("tiny"), "prompt", seed=3).eval()
    texts = ["What is 1 + 2?", "Anna has 12 apples and finds 7 more. How many apples are there now?", "Hello"]
    batch = processor.tokenizer(texts, padding=True, padding_side="left", return_tensors="pt")
    with torch.no_grad():
        out = model.generate(**batch, max_new_tokens=8, do_sample=False)
        plain = load_model("tiny").generate(**batch, max_new_tokens=8, do_sample=False)
        for row, mask in zip(out, batch["attention_mask"], strict=True):
            prompt, said = row[: len(mask)][mask.bool()], row[len(mask) :]
            ids = torch.cat([prompt, said])[None]
            logits = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0]
            guessed = logits[-len(said) - 1 : -1].argmax(-1)
            ended = (said == processor.tokenizer.eos_token_id).cumsum(0).cumsum(0) > 1
            assert torch.equal(guessed[~ended], said[~ended])
    assert not torch.equal(out, plain)


def test_left_padding_does_not_move_a_soft_prompt_away(bundled, processor):
    """GRPO pads prompts on the left in training, too; generating for another batch must not change that."""
    model = baselines.adapt(load_model("tiny"), "prompt", seed=3).eval()
    texts = ["What is 1 + 2?", "Anna has 12 apples and finds 7 more. How many apples are there now?"]
    batch = processor.tokenizer(texts, padding=True, padding_side="left", return_tensors="pt")
    alone = processor.tokenizer(texts[:1], return_tensors="pt")
    with torch.no_grad():
        for _ in range(2):
            padded = model(**batch).logits[0, -1]
            torch.testing.assert_close(padded, model(**alone).logits[0, -1], rtol=1e-4, atol=1e-4)
            model.generate(**alone, max_new_tokens=2, do_sample=False)


@pytest.mark.parametrize("method", ["artwork", "lora4", "prompt", "full"])
def test_training_lowers_the_loss_and_changes_what_is_said(bundled, processor, method):
    rows, rate = part("sums", "train", 16, 42), baselines.RATES[method][1]
    trained = baselines.train("sft", method, rate, 42, rows, {**SFT, "max_steps": 6})
    first, last = trained.facts["loss"]
    assert last < first
    asked = ([rows[0]["prompt"]], [None], 24)
    assert (
        InProcess(trained.model, processor).complete(*asked)[0].text
        != InProcess(load_model("tiny"), processor).complete(*asked)[0].text
    )


def test_lora_is_on_every_linear_layer_of_the_language_model_and_on_no_other(bundled):
    model = load_model("tiny")
    linear = {
        name
        for name, module in model.model.language_model.named_modules()
        if isinstance(module, torch.nn.Linear)
    }
    adapted = baselines.adapt(model, "lora4")
    on = {name.split("language_model.")[1] for name, p in adapted.named_parameters() if p.requires_grad}
    assert {name.split(".lora_")[0] for name in on} == linear
    assert all("language_model." in name for name, p in adapted.named_parameters() if p.requires_grad)


def test_every_method_sees_the_same_answers_in_the_same_order(bundled, monkeypatch):
    seen = {}
    stock = OBJECTIVES["sft"].trainer.compute_loss

    def spy(self, model, inputs, *args, **kwargs):
        seen.setdefault(method, []).extend(row[row != -100].tolist() for row in inputs["labels"])
        return stock(self, model, inputs, *args, **kwargs)

    monkeypatch.setattr(OBJECTIVES["sft"].trainer, "compute_loss", spy)
    rows = part("turns", "train", 12, 42)
    for method in ("artwork", "lora4", "prompt", "full"):
        baselines.train("sft", method, baselines.RATES[method][0], 42, rows, SFT)
    assert len(seen["artwork"]) == 8
    assert seen["artwork"] == seen["lora4"] == seen["prompt"] == seen["full"]


def test_every_method_answers_the_same_questions_under_grpo(bundled):
    """Rewarded at random, so that there is always something to learn; then all that should move has moved."""
    seen = {}

    def reward(completions, wanted, **_):
        seen.setdefault(method, []).append(wanted)
        return [float(i % 2) for i in range(len(completions))]

    rows = part("calls", "train", 12, 42)
    for method in ("artwork", "lora4", "prompt", "full"):
        trained = baselines.train("grpo", method, baselines.RATES[method][0], 42, rows, GRPO, reward)
        assert trained.facts["lessons"] == 2
    assert seen["artwork"] == seen["lora4"] == seen["prompt"] == seen["full"]


def test_without_an_uneven_reward_training_ends_early(bundled):
    settings = {**GRPO, "max_steps": 20, "max_completion_length": 2}
    rows = part("calls", "train", 8, 42)
    for method in ("artwork", "full"):
        facts = baselines.train(
            "grpo", method, 0.06, 42, rows, settings, lambda completions, **_: [0.0] * len(completions)
        ).facts
        assert (facts["lessons"], facts["steps"]) == (0, baselines.PATIENCE)


def test_a_cell_is_made_once_and_again_when_its_settings_change(tmp_path):
    out, made = tmp_path / "report.json", []

    def work():
        made.append(1)
        return {"score": len(made)}

    assert once(out, "a", {"steps": 1}, work, made_by="me")["score"] == 1
    assert once(out, "a", {"steps": 1}, work)["score"] == 1
    assert once(out, "b", {"steps": 1}, work)["score"] == 2
    assert once(out, "a", {"steps": 2}, work)["score"] == 3
    assert once(out, "a", {"steps": 2}, work, again=True)["score"] == 4
    report = read(out)
    assert set(report["cells"]) == {"a", "b"}
    assert report["made_by"] == "me"
    assert report["machines"][report["cells"]["a"]["machine"]]["threads"] == torch.get_num_threads()
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]


def test_a_cell_does_not_wipe_out_what_another_process_has_written(tmp_path):
    out = tmp_path / "report.json"
    once(out, "a", {}, lambda: {"other": once(out, "b", {}, lambda: {})["settings"]})
    assert set(read(out)["cells"]) == {"a", "b"}


def _report() -> dict:
    ours, theirs = "1" * 90 + "0" * 10, "1" * 60 + "0" * 40
    facts = {"seconds": 8.0, "trained_numbers": 1234, "off_identical": 100}
    cells = {"sums/off/42": {"right": "0" * 100, "told": "1" * 50}}
    for seed in (42, 43):
        curve = [[5, 1.0, 0.5], [40, 8.0, 0.9]]
        cells[f"sums/artwork/{seed}"] = {"choice": 0.06, "right": ours, "curve": curve, **facts}
        cells[f"sums/lora4/{seed}"] = {"choice": 1e-3, "right": theirs, **facts}
    cells["sums/artwork/rows/10/42"] = {"choice": 0.06, "right": theirs, **facts}
    cells["sums/full/tune/0.1"] = {"steps": 8, "lessons": 0}
    cells["calls/artwork/42"] = {"right": ours, "others": {"sums": {"told": "1" * 25 + "0" * 25}}, **facts}
    cells["calls/artwork/42"]["choice"] = 0.15
    return {"cells": cells, "rates": baselines.RATES, "plan": {"rows": 1000, "batch": 64}}


def test_tables_hold_what_the_cells_hold():
    said = tables(_report())
    for line in filter(None, said.splitlines()):
        assert line.startswith("|")
        assert line.endswith("|")
    assert all(len({line.count("|") for line in block.splitlines()}) == 1 for block in said.split("\n\n"))
    low, high = wilson(180, 200)
    assert (
        f"| sums | artwork | 0.06 | 90.0% ({low:.1%} to {high:.1%}), n = 200 | 90.0 (90.0 to 90.0) | | |"
        in said
    )
    assert "| sums | LoRA r=4 | 0.001 (edge) | 60.0%" in said
    assert "+30.0 (" in said
    assert mcnemar([1.0] * 60, [0.0] * 60) < 0.001
    assert "| <0.001 | 1,234 | 8 |" in said
    assert "no group of completions was rewarded unevenly (512 completions)" in said
    assert "| sums | artwork | 50.0 (1.0 s) | 90.0 (8.0 s) |" in said
    assert (
        f"| sums | artwork | 1 | {interval('1' * 60 + '0' * 40)} | {interval('1' * 90 + '0' * 10)} |" in said
    )
    assert "| calls | artwork | sums |" in said
    assert "| -50.0 (" in said
    assert "| 100 of 100 |" in said


def test_few_rows_are_planned_for_all_seeds_and_say_what_is_lost():
    planned: list[str] = []

    def do(key, work, **inputs):
        planned.append(key)
        return {"score": 1.0}

    for method in ("artwork", "lora16", "prompt", "full"):
        accuracy.compare(TINY, PLANS["sft"], "calls", method, do)
    few = [key.split("/") for key in planned if "/rows/" in key]
    assert {parts[1] for parts in few} == {"artwork", "lora16", "prompt"}
    for n in ("1", "3"):
        assert {(parts[1], parts[4]) for parts in few if parts[3] == n} == {
            (method, seed) for method in ("artwork", "lora16", "prompt") for seed in ("42", "43", "44")
        }
    report = _report()
    before = tables(report)
    report["cells"] |= {f"calls/prompt/rows/1/{seed}": {"right": "1", "others": {"sums": {"told": "1" * 25 + "0" * 25}}}
                        for seed in (42, 43)}  # fmt: skip
    assert "| calls | 1 | soft prompt | sums | 1 |" in tables(
        report
    )  # of seed 43 nobody asked the base model
    assert "| calls | 1 | soft prompt" not in before


def test_cells_of_before_are_kept():
    """Other sizes and seeds are more cells, and not other settings."""
    results = Path(accuracy.__file__).parent / "results" / "accuracy_sft.json"
    report = read(results)
    settings = []

    def keep(out, key, given, work, again, **facts):
        settings.append(given)
        return report["cells"][key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(accuracy, "once", keep)
        accuracy.measure(
            TINY, results, PLANS["sft"], False, "sums/artwork/rows/10/42", dict,
            choice=report["cells"]["sums/artwork/rows/10/42"]["choice"], seed=42, train_rows=10,
        )  # fmt: skip
    digest = hashlib.sha256(json.dumps(settings[0], sort_keys=True).encode()).hexdigest()[:16]
    assert digest == report["cells"]["sums/artwork/rows/10/42"]["settings"]


def test_a_rate_at_the_edge_is_called_so():
    rates = {"rates": {"lora4": [1, 2, 3]}}
    assert [chosen(rates, "lora4", {"choice": rate}) for rate in (1, 2, 3)] == ["1 (edge)", "2", "3 (edge)"]


def test_the_whole_study_in_small_and_a_second_time_for_nothing(bundled, tmp_path, monkeypatch, capsys):
    for name, task in TASKS.items():
        monkeypatch.setitem(TASKS, name, replace(task, max_new_tokens=24))
    for method, rates in baselines.RATES.items():  # two steps at the highest are enough to hear a difference
        monkeypatch.setitem(baselines.RATES, method, rates[-1:])
    only = ["sums/off", "sums/text", "sums/artwork", "sums/prompt"]
    command = ["--quick", "--verbs", "sft", "--threads", "1", "--folder", str(tmp_path), "--only", *only]
    accuracy.main(command)
    report = read(tmp_path / "accuracy_sft.json")
    for method in ("artwork", "prompt"):
        cell = report["cells"][f"sums/{method}/42"]
        assert (len(cell["right"]), cell["steps"], len(cell["curve"])) == (4, 2, 2)
        assert cell["off_identical"] == 4
    assert set(report["cells"]["sums/artwork/42"]["others"]) == {"calls", "turns"}
    assert "others" not in report["cells"]["sums/artwork/rows/4/42"]
    for method in ("artwork", "prompt"):
        assert set(report["cells"][f"sums/{method}/rows/1/42"]["others"]) == {"calls", "turns"}
    monkeypatch.setattr(accuracy_cells, "fit", lambda *_: pytest.fail("trained once more"))
    monkeypatch.setattr(accuracy_cells, "answers", lambda *_: pytest.fail("asked once more"))
    accuracy.main(command)
    assert capsys.readouterr().out.count("| sums | artwork |") >= 4


@pytest.mark.parametrize("method", ["artwork", "lora4", "full"])
def test_grpo_goes_on_from_where_sft_has_ended(bundled, monkeypatch, method):
    rows, asked = part("sums", "train", 32, 1), {}
    first = baselines.train("sft", method, 0.01, 1, rows, {"max_steps": 1, "per_device_train_batch_size": 4})
    kept = {name: p.detach().clone() for name, p in first.model.named_parameters() if p.requires_grad}

    def watched(trainer, *args, **kwargs):
        asked.update(
            {name: p.detach().clone() for name, p in trainer.model.named_parameters() if name in kept}
        )
        return train(trainer, *args, **kwargs)

    train = OBJECTIVES["sft"].trainer.train
    monkeypatch.setattr(OBJECTIVES["sft"].trainer, "train", watched)
    settings = {"max_steps": 2, "per_device_train_batch_size": 4}
    trained = baselines.train("sft", method, 0.01, 1, rows, settings, begun=first.model)
    assert asked
    assert all(torch.equal(kept[name], weights) for name, weights in asked.items())
    moved = {name: p for name, p in trained.model.named_parameters() if name in kept}
    assert any(not torch.equal(kept[name], weights) for name, weights in moved.items())


def test_what_goes_on_takes_the_rate_that_was_chosen_and_stays_out_without_it(capsys):
    plan, made = SMOL["grpo"], {}

    def do(key, work, **inputs):
        made[key] = inputs
        return {"score": 0.0}

    before = {"cells": {"sums/artwork/42": {"choice": 0.06, "right": "1"}}}
    accuracy.compare(TINY, plan, "sums", "artwork", do, before)
    assert {inputs["first"] for inputs in made.values()} == {0.06}
    assert len(made) == 5
    made.clear()
    accuracy.compare(TINY, plan, "sums", "lora4", do, before)
    assert not made
    assert "sums/lora4: left out" in capsys.readouterr().out


def test_a_table_says_what_was_gained_on_the_same_rows():
    cell = {"trained_numbers": 1}
    report = {"cells": {"sums/artwork/42": {"right": "1110", **cell}, "sums/off/42": {"right": "0000"}}}
    before = {"cells": {"sums/artwork/42": {"right": "1000", **cell}, "sums/off/42": {"right": "0000"}}}
    (line,) = gains(report, before).splitlines()[2:]
    assert "+50.0 (" in line
    assert line.startswith("| sums | artwork | 25.0%")


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["--only", "sums/lora17"], "sums/lora17"),
        (["--model", "smol"], "--model smol needs --data"),
        (["--model", "smol", "--data", ".", "--only", "sums"], "--only sums"),
    ],
)
def test_what_cannot_be_compared_is_named(command, said, capsys):
    with pytest.raises(SystemExit):
        accuracy.main(command)
    assert said in capsys.readouterr().err


def data() -> Path:
    path = Path(__file__).parents[3] / "shared/data"
    if not path.is_dir():
        pytest.skip("the benchmarks' files are not here")
    return path


@pytest.mark.parametrize("name", accuracy_real.SMOL)
def test_real_rows_have_no_prompt_in_common_and_two_seeds_no_test_row(name):
    part = accuracy_real.smol(data()).part
    train, validation, even, odd = (
        {json.dumps([row["prompt"], row.get("tools")]) for row in part(name, which, 10_000, seed)}
        for which, seed in (("train", 42), ("validation", 1000), ("test", 42), ("test", 43))
    )
    for one, other in itertools.combinations((train, validation, even, odd), 2):
        assert not one & other
    assert min(len(even), len(odd)) >= 140
    assert len(validation) >= 40
    assert part(name, "test", 300, 42) == part(name, "test", 300, 42)[:300]
    assert part(name, "train", 30, 41) == part(name, "train", 60, 41)[:30] != part(name, "train", 30, 42)


@pytest.mark.parametrize("name", accuracy_real.SMOL)
def test_real_references_are_right(name):
    suite = accuracy_real.smol(data())
    for row in suite.part(name, "validation", 20, 1000):
        assert suite.tasks[name].score(row, row["completion"][0]["content"]) == 1.0
        assert suite.tasks[name].score(row, "I think it is 12345.") == 0.0
