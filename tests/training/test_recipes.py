"""Recipes for real models: each header's command runs, on a tiny random model of the same architecture.

It has the released chat template of Qwen3.5-0.8B, which renders tools and prompts as for the real model.
"""

from __future__ import annotations

import json
import pkgutil
import shlex
import shutil
import threading
from pathlib import Path

import pytest
import yaml

import families
from pixeltune.artwork.artwork import Artwork
from pixeltune.cli import main as cli
from pixeltune.evaluation.backends import image_parts
from pixeltune.model.loading import load_processor
from pixeltune.tasks.base import BENCHMARKS
from test_engine import TOOLS
from test_rollouts import Oracle, pictures

REPOSITORY = Path(__file__).parents[2]
RECIPES = {path.stem: path for path in sorted((REPOSITORY / "recipes").glob("*.yaml"))}
REAL = {name: text for name, p in RECIPES.items() if "/" in (text := yaml.safe_load(p.read_text()))["model"]}
TINY = (
    "--max_steps 2 --per_device_train_batch_size 4 --gradient_accumulation_steps 1 --save_strategy no "
    "--snapshot_steps 0 --score_steps 0 --report_to none"
).split()
ONLINE = {"grpo": "--max_completion_length 8 --num_generations 2", "distill": "--max_completion_length 8"}
OWN_TEST = {"qwen3_5_gsm8k_grpo"}
ASKED = "How warm is it in Oslo?"
CALL = {"name": "get_weather", "arguments": {"city": "Oslo"}}
WRITTEN = (
    "<tool_call>\n<function=get_weather>\n<parameter=city>\nOslo\n</parameter>\n</function>\n</tool_call>"
)


def commands(name: str) -> list[list[str]]:
    """The command lines in a recipe's header: the indented ones."""
    lines = RECIPES[name].read_text().splitlines()
    return [shlex.split(line[4:]) for line in lines if line.startswith("#   ")]


def many_letters(completions: list, **_) -> list[float]:
    """A reward that differs between random texts."""
    return [float(len(set(text if isinstance(text, str) else text[-1]["content"]))) for text in completions]


class Calculator(Oracle):
    """Answers now "Answer: 5", now "No."."""

    def respond(self, body: dict) -> dict:
        said = super().respond(body)
        for choice in said["choices"][1::2]:
            choice["token_ids"] = self.processor.tokenizer("Answer: 5<|im_end|>")["input_ids"]
            choice["logprobs"] = {"content": choice["logprobs"]["content"][:1] * len(choice["token_ids"])}
        return said


@pytest.fixture(scope="module")
def studio(tmp_path_factory) -> Path:
    """A folder with a tiny Qwen3.5, the recipes, every data file that they name, and benchmarks' files."""
    from trl.chat_template_utils import qwen3_5_nothink_chat_template

    folder = tmp_path_factory.mktemp("studio")
    model, processor = families.make_model("qwen3_5"), families.make_processor("qwen3_5")
    pads = [id for token, id in processor.tokenizer.get_vocab().items() if "_pad|>" in token]
    model.generation_config.suppress_tokens = pads  # random weights would say them
    model.save_pretrained(folder / "model")
    processor.chat_template = processor.tokenizer.chat_template = qwen3_5_nothink_chat_template
    processor.save_pretrained(folder / "model")
    (folder / "recipes").symlink_to(REPOSITORY / "recipes")
    for fixture, train in (
        ("gsm8k/train.jsonl", "gsm8k/train.jsonl"),
        ("svamp/SVAMP.json", "svamp/train.json"),
    ):
        (folder / train).parent.mkdir()
        shutil.copy(REPOSITORY / "tests/fixtures" / fixture, folder / train)
    row = {"prompt": ASKED, "completion": WRITTEN, "tools": TOOLS, "call": json.dumps(CALL)}
    for name in ("calls.jsonl", "rows.jsonl"):
        (folder / name).write_text((json.dumps(row) + "\n") * 8)
    (folder / "prompts.jsonl").write_text((json.dumps({"prompt": ASKED}) + "\n") * 8)
    (folder / "prompt.txt").write_text("Answer in one word, in French.")
    return folder


def run(name: str, *more: str) -> Artwork:
    """Run the header's command in the current folder; the artwork that must have come out."""
    ((program, verb, *rest),) = [words for words in commands(name) if words[0] != "vllm"]
    assert program == "pixeltune"
    task = REAL[name].get("task")
    folder = ["--data", task] if task in BENCHMARKS else []  # in place of the hub
    flags = [*TINY, *ONLINE.get(verb, "").split(), "--model", "model", *folder, *more]
    assert cli.main([verb, *rest, *flags]) == 0
    artwork = Artwork.load(Path(REAL[name]["output_dir"]) / "artwork.png")
    made = artwork.provenance
    assert (made.objective, made.steps, made.image_tokens, artwork.size) == (verb, 2, 64, (256, 256))
    return artwork


def test_every_recipe_says_how_to_run_it():
    for name in RECIPES:
        assert [f"recipes/{name}.yaml" in words for words in commands(name)][-1], name


@pytest.mark.parametrize("name", sorted(REAL.keys() - OWN_TEST))
def test_the_command_in_the_header_paints(name, studio, monkeypatch):
    monkeypatch.chdir(studio)
    reward = ["--reward", "test_recipes:many_letters"] if "reward" in REAL[name] else []
    assert (run(name, *reward).pixels != 128).any()


def test_the_papers_setting_with_a_server(studio, monkeypatch):
    """The recipe's own reward; what the engine is sent is picture, question, suffix, and thinking is off."""
    monkeypatch.chdir(studio)
    processor = load_processor("model")
    with Calculator(processor) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        artwork = run("qwen3_5_gsm8k_grpo", "--rollouts", server.url)
        server.shutdown()
    assert (artwork.pixels != 128).any()
    assert len(server.seen) == 4  # two steps of two questions
    for body, _ in server.seen:
        image, text = body["messages"][0]["content"]
        assert pictures(body)[0].size == (256, 256)
        assert image["type"] == "image_url"
        assert text["text"].endswith("\n\nEnd your response with: Answer: <number>")
        prompt = processor.apply_chat_template(image_parts(body["messages"]), add_generation_prompt=True)
        assert prompt.endswith("assistant\n<think>\n\n</think>\n\n")


@pytest.mark.parametrize(
    ("name", "column", "right", "wrong"),
    [
        ("qwen3_5_gsm8k_grpo", {"answer": "1080"}, "It is $36 * 30.\nAnswer: $1,080.", "Answer: 108"),
        ("qwen3_5_calls_grpo", {"call": json.dumps(CALL)}, WRITTEN, WRITTEN.replace("Oslo", "Rome")),
        ("qwen3_5_svamp_grpo", {"answer": "51"}, "76 - 25 = 51\n\n**Answer: 51**", "It is 51."),
    ],
)
def test_the_recipes_own_reward(name, column, right, wrong):
    reward = pkgutil.resolve_name(REAL[name]["reward"])
    columns = {key: [value] * 2 for key, value in column.items()}
    best, worst = reward(prompts=["", ""], completions=[right, wrong], **columns)
    assert best == 1.0 > worst
