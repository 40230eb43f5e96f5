"""The training verbs' way in: help and what is wrong are said before torch is imported."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from pixeltune.cli.given import settings
from pixeltune.cli.help import SCREEN, everything, first_screen
from pixeltune.cli.main import main
from pixeltune.cli.refusals import check
from pixeltune.errors import UserError
from pixeltune.training.defaults import OBJECTIVE_FACTS

LIGHT = (
    "import sys; from pixeltune.cli.main import main\n"
    "try:\n    status = main(sys.argv[1:])\nexcept SystemExit as end:\n    status = end.code\n"
    "assert not {'torch', 'trl', 'transformers', 'datasets'} & set(sys.modules), 'heavy'\nsys.exit(status)"
)


def light(*words: str) -> subprocess.CompletedProcess:
    """Run a command that must need neither torch nor TRL."""
    return subprocess.run([sys.executable, "-c", LIGHT, *words], capture_output=True, text=True)


@pytest.fixture
def desk(tmp_path, monkeypatch) -> Path:
    """A working folder with files that fit and files that do not."""
    monkeypatch.chdir(tmp_path)
    rows = [{"prompt": f"{number} + 1 = ?", "completion": f"{number + 1}"} for number in range(30)]
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    Path("rows.jsonl.copy").write_bytes(Path("rows.jsonl").read_bytes())
    Path("asked.jsonl").write_text("".join(json.dumps({"prompt": row["prompt"]}) + "\n" for row in rows))
    Path("bad.jsonl").write_text(json.dumps({"prompt": "?", "answer": "!"}) + "\n")
    Path("text.txt").write_text("Say a number.")
    Image.new("RGB", (300, 100), "white").save("wide.png")
    Image.new("RGB", (256, 256), "black").save("black.png")
    Path("run").mkdir()
    Path("run/artwork.png").write_text("")
    return tmp_path


WRONG = [
    ("sft", "", "give --task (calls, sums, gsm8k, ...) or --data rows.jsonl"),
    ("sft", "--lerning_rate 1", "there is no --lerning_rate (did you mean --learning_rate?)"),
    ("sft", "--modle x --task sums", "did you mean --model?"),
    ("sft", "taks sums", "'taks' has no flag (did you mean --task?)"),
    ("sft", "sums", "'sums' has no flag (did you mean --task sums?)"),
    ("sft", "rows.jsonl", "(did you mean --data rows.jsonl?)"),
    ("sft", "--task sumz", "did you mean sums?"),
    ("sft", "--data nowhere.jsonl", "there is no file nowhere.jsonl"),
    ("sft", "--task sums calls:0", "must be above 0"),
    ("sft", "--task sums callz:0.5", "did you mean calls?"),
    ("sft", "--task sums --balance", "--balance is between several"),
    ("grpo", "--task sums calls --balance", "grpo does not use --balance; sft and dpo do"),
    ("grpo", "--task sums shop", "shop plays episodes with tools"),
    ("sft", "--task sums calls --data rows.jsonl", "beside tasks --data is a folder"),
    ("sft", "--task sums --data rows.jsonl asked.jsonl", "several files are rows of your own"),
    ("sft", "--data rows.jsonl owner/name:2020", "may be a weight or a part of the name"),
    ("sft", "--data rows.jsonl bad.jsonl:0.5", "bad.jsonl, line 1"),
    ("sft", "--data bad.jsonl", "bad.jsonl, line 1"),
    ("sft", "--task sums --model nowhere/at/all", "cannot load 'nowhere/at/all'"),
    ("sft", "--task sums --also nowhere/at/all", "cannot load 'nowhere/at/all'"),
    ("sft", "--task sums --max_steps abc", "--max_steps is 'abc': it must be int"),
    ("sft", "--task sums --bf16 perhaps", "--bf16 is 'perhaps': it must be bool"),
    ("sft", "--task sums --bound 8.5", "--bound is '8.5': it must be int or null"),
    ("sft", "--task sums --save_strategy sometimes", "it must be no, steps, epoch, best"),
    ("sft", "--task sums --lr_scheduler_type cosin", "did you mean cosine?"),
    ("sft", "--task sums --dtype float17", "did you mean float16?"),
    ("distill", "--task sums --distillation_mode full", "must be sampled_token, full_logits, topk_logits"),
    ("sft", "--task sums --learning_rate 0", "must be above 0"),
    ("sft", "--task sums --eval_strategy steps", "--score_steps takes held-out scores"),
    ("sft", "--task sums --height 100 --width 100", "Nearest good sizes: 256x256"),
    ("sft", "--task sums --height 256", "give both height and width"),
    ("sft", "--task sums --image_tokens 0", "at least one image token"),
    ("sft", "--task sums --image_tokens 65", "image_tokens is 65"),
    ("sft", "--task sums --cells 900", "paint 1 to 64 of them, not 900"),
    ("sft", "--task sums --start wide.png", "say under which licence with --licence"),
    ("sft", "--task sums --start wide.png --licence MIT", "'wide.png' is 100x300"),
    ("sft", "--task sums --start text.txt --licence MIT", "cannot read the start picture 'text.txt'"),
    ("sft", "--task sums --start nowhere.png --licence MIT", "nowhere.png"),
    ("sft", "--task sums --mask nowhere.png", "the mask picture 'nowhere.png' is not a file"),
    ("sft", "--task sums --mask wide.png", "the mask 'wide.png' is 100x300"),
    ("sft", "--task sums --mask black.png", "the mask leaves no pixel to paint"),
    ("sft", "--task sums --style l3", "there is no style term 'l3'"),
    ("sft", '--task sums --style gram("nowhere.png")', "the style picture 'nowhere.png' is not a file"),
    ("sft", "--task sums --style l2 --style_schedule often", "there is no style schedule 'often'"),
    ("sft", "--task sums --robust heavvy", "there is no transform 'heavvy'"),
    ("sft", "--task sums --output_dir run", "run holds a run already (artwork.png)"),
    ("sft", "--task sums --output_dir new --resume_from_checkpoint true", "no checkpoint in new"),
    ("sft", "--data rows.jsonl --held_out_rows 30", "--held_out_rows 30 leaves none of 30 rows"),
    ("sft", "--data rows.jsonl --score calls", "has nothing for --score calls"),
    ("sft", "--task sums --reward a:b", "sft does not use --reward; grpo and rloo do"),
    ("sft", "--task sums --environment a:b", "sft does not use --environment; grpo and rloo do"),
    ("rloo", "--task shop", "without a KL term: give --beta 0"),
    ("grpo", "--data asked.jsonl", "rows of your own have no reward"),
    (
        "sft",
        "--task sums --skip_spikes 1",
        "--skip_spikes is how many times the median is too much, above 1, not 1.0",
    ),
    ("grpo", "--task sums --skip_spikes 10 --fp16", "leaves out steps itself: leave out --skip_spikes"),
    ("grpo", "--task sums --reward nowhere:b", "no reward 'nowhere:b'"),
    ("distill", "--task sums --instruction nowhere.txt", "there is no instruction file nowhere.txt"),
    ("distill", "--task sums", "Give --instruction prompt.txt"),
    ("dpo", "--task turns", "dpo takes single answers"),
    ("sft", "--task sums calls --balance --key_tokens 2", "not both at once"),
    ("sft", "--task calls --key_tokens 0", "above 0 (others weigh 1), not 0"),
    ("sft", "--task calls --key_tokens 2 --use_liger_kernel", "--use_liger_kernel is another"),
    ("grpo", "--task calls --key_tokens 2", "grpo does not use --key_tokens; sft does"),
    ("sft", "--task sums --contexts nowhere.jsonl", "there is no file of contexts nowhere.jsonl"),
    ("sft", "--task sums --contexts rows.jsonl", "rows.jsonl, line 1: messages must be a list, and is null"),
    ("grpo", "--task sums --contexts own --context_share 2", "above 0 up to 1, not 2.0"),
    ("sft", "--task sums --context_share 0.5", "--context_share is of --contexts"),
    ("sft", "--task sums calls:1e9", "must be above 0 and at most 100"),
    ("sft", "--task sums calls:nan", "must be above 0 and at most 100"),
    ("sft", "--task sums calls:", "nothing stands behind the colon"),
]


@pytest.mark.parametrize(("verb", "words", "said"), WRONG)
def test_what_is_wrong_is_refused(verb, words, said, desk):
    with pytest.raises(UserError) as refused:
        check(verb, settings(verb, words.split()))
    assert said in " ".join(str(refused.value).split())


USAGE = {"rows.jsonl", "--task sums --bf16 perhaps"}
"""Flags that cannot be read: exit 2, where other refusals end with 1."""
EARLY = {
    "",
    *USAGE,
    "--task sums calls:0",
    "--task sums --height 100 --width 100",
    "--task sums --start text.txt --licence MIT",
    "--task sums --style l3",
    "--task sums --style l2 --style_schedule often",
    "--task sums --output_dir new --resume_from_checkpoint true",
    "--data rows.jsonl --score calls",
    "--task sums --reward nowhere:b",
    "--task calls --key_tokens 2 --use_liger_kernel",
    "--task sums --contexts rows.jsonl",
}


@pytest.mark.parametrize(("verb", "words", "said"), [case for case in WRONG if case[1] in EARLY])
def test_and_so_before_torch_is_imported(verb, words, said, desk):
    done = light(verb, *words.split())
    assert done.returncode == (2 if words in USAGE else 1)
    assert "heavy" not in done.stderr
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_each_of_them_is_there():
    assert {words for _, words, _ in WRONG} >= EARLY


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("task: sums\nmax_steps: abc\n", "r.yaml: max_steps is 'abc': it must be int"),
        ("task: 5\n", "r.yaml: task is 5: it must be list"),
        ("task: sums\nstyle: [l2]\n", "r.yaml: style is ['l2']: it must be str or null"),
        ("task: sums\nsave_strategy: no\n", "r.yaml: save_strategy is False: it must be no, steps"),
        ("task: sums\nseed: 1\ntask: calls\n", "r.yaml: task stands in line 1 and in line 3: leave one"),
        ("task: sums\nlr_scheduler_kwargs:\n  a: 1\n  a: 2\n", "a stands in line 3 and in line 4"),
        ("task: sums\nalso: [1]\n", "r.yaml: also is [1]: it must be list"),
        ("task: sums\nstart: nowhere.png\nlicence: MIT\n", "the start picture 'nowhere.png' is not a file"),
        ("data: nowhere.jsonl\n", "there is no file nowhere.jsonl"),
        ("task: sums\noutput_dir: run\n", "run holds a run already"),
    ],
)
def test_what_a_config_says_is_judged_alike(text, said, desk):
    Path("r.yaml").write_text(text)
    with pytest.raises(UserError) as refused:
        check("sft", settings("sft", ["--config", "r.yaml"]))
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("verb", "words"),
    [
        ("sft", "--task sums --start wide.png --licence MIT --fit crop --mask wide.png"),
        ("sft", "--task sums calls:0.5 gsm8k:2 --balance"),
        ("grpo", "--data rows.jsonl rows.jsonl.copy:0.5 --score number"),
        ("sft", "--data rows.jsonl --held_out_rows 5 --score number --height 256 --width 320"),
        ("dpo", "--task sums --style l2 --bound 8 --cells 64"),
        ("grpo", "--data rows.jsonl --score number --robust light"),
        ("grpo", "--task errands --output_dir run --overwrite"),
        ("distill", "--task sums --instruction text.txt"),
    ],
)
def test_what_is_right_is_not_refused(verb, words, desk):
    check(verb, settings(verb, words.split()))


def test_a_row_is_shown_though_the_folder_holds_a_run(desk):
    check("sft", settings("sft", ["--task", "sums", "--output_dir", "run"]), writes=False)


def test_texts_become_what_settings_are():
    words = "--max_length none --report_to none --also none --learning_rate 1e-3 --fp16 no --max_steps -1"
    given = settings("sft", [*words.split(), "--model_init_kwargs", '{"cache": false}'])
    assert given == {
        "max_length": None,
        "report_to": "none",
        "also": ["none"],
        "learning_rate": 0.001,
        "fp16": False,
        "max_steps": -1,
        "model_init_kwargs": {"cache": False},
    }


def test_flags_win_over_a_config_wherever_they_stand(desk):
    Path("r.yaml").write_text("task: calls\nmax_steps: 7\nseed: '3'\n")
    given = settings("sft", ["--task", "sums", "--config", "r.yaml", "--no_gradient_checkpointing", "--bf16"])
    expected = {"task": ["sums"], "max_steps": 7, "seed": 3, "gradient_checkpointing": False, "bf16": True}
    assert given == expected


@pytest.mark.parametrize("verb", OBJECTIVE_FACTS)
def test_the_first_screen_of_help_is_one_screen(verb):
    said = first_screen(verb)
    assert said.count("\n") < 100 < 300 < everything(verb).count("\n")
    assert "--help all" in said
    for name in ("model", "data", "output_dir", "max_steps", "learning_rate", "image_tokens"):
        assert f"  --{name} " in said
    assert all(title in said for title in SCREEN)
    assert "(default: 0.02)" in said
    assert said.split("\n")[2].startswith("paint an artwork ")
    assert "..." not in said


def test_help_shows_only_what_the_verb_takes():
    for shown in (first_screen, everything):
        for name, verbs in {
            "reward": ("grpo", "rloo"),
            "rollouts": ("grpo", "rloo"),
            "refill_rounds": ("grpo", "rloo"),
            "environment": ("grpo", "rloo"),
            "turn_budget_steps": ("grpo",),
            "instruction": ("distill",),
            "packing_strategy": ("sft",),
        }.items():
            if shown is first_screen and name == "packing_strategy":
                continue
            assert {verb for verb in OBJECTIVE_FACTS if f"--{name}" in shown(verb)} == set(verbs)


def test_defaults_and_whole_sentences_are_shown():
    said = " ".join(first_screen("sft").split())
    assert "Default 64, or the nearest number that the processor has a size for;" in said
    assert (
        "Remove the run that output_dir holds. Not given: a folder with a run is refused. (default: false)"
        in said
    )


def test_help_needs_no_torch():
    done = light("sft", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    done = light("grpo", "--help", "all")
    assert (done.returncode, done.stderr) == (0, "")
    assert "--loss_type" in done.stdout


def test_all_of_trls_settings_are_behind_help_all(capsys):
    assert main(["sft", "--help", "all"]) == 0
    assert "--packing_strategy" in capsys.readouterr().out
