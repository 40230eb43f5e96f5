import copy
import re
import subprocess
import sys

import pytest
from datasets import Dataset, DatasetDict
from PIL import Image

import families
from pixeltune.data.placeholders import tokens_of, tokens_of_block
from pixeltune.data.placement import place, place_dataset, place_image, place_row
from pixeltune.errors import UserError
from pixeltune.model.preprocessing import Preprocessor

BLOCK = "<|vision_start|><|image_pad|><|image_pad|><|vision_end|>"
USER = {"role": "user", "content": "How many?"}
SYSTEM = {"role": "system", "content": "Be brief."}
CALL = {"type": "function", "function": {"name": "count", "arguments": {"of": "apples"}}}
TOOLS = [
    {"type": "function", "function": {"name": "count", "parameters": {"type": "object", "properties": {}}}}
]
CONVERSATIONS = {
    "one turn": [USER],
    "system": [SYSTEM, USER],
    "turns": [
        SYSTEM,
        USER,
        {"role": "assistant", "content": "Three."},
        {"role": "user", "content": "Of what?"},
    ],
    "calls": [
        USER,
        {"role": "assistant", "content": "", "tool_calls": [CALL]},
        {"role": "tool", "content": "3"},
    ],
    "parts": [
        SYSTEM,
        {"role": "user", "content": [{"type": "text", "text": "How "}, {"type": "text", "text": "many?"}]},
    ],
    "spaces": [{"role": "user", "content": "\n  How many?  "}],
}


@pytest.fixture(scope="module", params=families.FAMILIES)
def processor(request):
    return families.make_processor(request.param)


@pytest.mark.parametrize("tools", [None, TOOLS], ids=["no tools", "tools"])
@pytest.mark.parametrize("name", CONVERSATIONS)
def test_training_rows_and_served_messages_have_the_same_tokens(processor, name, tools):
    preprocessor = Preprocessor(processor)
    height, width = preprocessor.size_for_tokens(64)
    row = place(CONVERSATIONS[name], preprocessor.block(height, width))
    trained = processor.tokenizer.apply_chat_template(
        row, tools=tools, add_generation_prompt=True, return_dict=True
    )
    picture = Image.new("RGB", (width, height))
    request = place_image(CONVERSATIONS[name], "data:...")
    for message in request:  # what an engine does with image_url parts
        if isinstance(message["content"], list):
            message["content"] = [
                {"type": "image", "image": picture} if part["type"] == "image_url" else part
                for part in message["content"]
            ]
    served = processor.apply_chat_template(
        request, tools=tools, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
    )
    assert trained["input_ids"] == served["input_ids"][0].tolist()
    assert trained["input_ids"].count(preprocessor.image_token_id) == 64


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_arguments_are_not_modified(name):
    messages = copy.deepcopy(CONVERSATIONS[name])
    place(messages, "[art]")
    place_image(messages, "data:...")
    assert messages == CONVERSATIONS[name]


def test_only_the_first_user_message_changes():
    placed = place(CONVERSATIONS["turns"], "[art]")
    assert placed[1]["content"] == "[art]How many?"
    assert placed[0] == SYSTEM
    assert placed[2:] == CONVERSATIONS["turns"][2:]


def test_the_users_own_pictures_come_after_the_artwork():
    messages = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What?"}]}]
    assert place(messages, "[art]")[0]["content"][0] == {"type": "text", "text": "[art]"}
    assert place_image(messages, "u")[0]["content"][0] == {"type": "image_url", "image_url": {"url": "u"}}


@pytest.mark.parametrize("function", [place, place_image])
def test_without_a_user_message_there_is_no_place(function):
    with pytest.raises(ValueError, match="no user message"):
        function([SYSTEM], "x")


@pytest.mark.parametrize("name", ["one turn", "parts"])
def test_placing_twice_is_an_error(name):
    with pytest.raises(ValueError, match="already"):
        place(place(CONVERSATIONS[name], "[art]"), "[art]")


@pytest.mark.parametrize(
    ("row", "placed"),
    [
        ({"prompt": [USER], "completion": [{"role": "assistant", "content": "3"}], "tools": "t"}, ["prompt"]),
        ({"prompt": [USER], "chosen": [{"role": "assistant", "content": "3"}], "rejected": []}, ["prompt"]),
        ({"prompt": [USER], "answer": 3}, ["prompt"]),
        ({"messages": [SYSTEM, USER], "chat_template_kwargs": {}}, ["messages"]),
        ({"chosen": [USER], "rejected": [USER]}, ["chosen", "rejected"]),
    ],
)
def test_rows_of_every_kind(row, placed):
    result = place_row(row, "[art]")
    for name, value in row.items():
        assert result[name] == (place(value, "[art]") if name in placed else value)


def test_plain_texts_become_messages():
    placed = place_row({"prompt": "How many?", "completion": "3", "label": True}, "[art]")
    assert placed["prompt"] == [{"role": "user", "content": "[art]How many?"}]
    assert placed["completion"] == [{"role": "assistant", "content": "3"}]
    assert placed["label"] is True
    pair = place_row({"prompt": "How many?", "chosen": "3", "rejected": "4"}, "[art]")
    assert pair["rejected"] == [{"role": "assistant", "content": "4"}]


def test_rows_without_a_conversation_are_refused():
    with pytest.raises(ValueError, match="plain text"):
        place_row({"messages": "How many?"}, "[art]")
    with pytest.raises(ValueError, match="column"):
        place_row({"text": "How many?"}, "[art]")


def test_datasets_keep_their_other_columns():
    dataset = Dataset.from_list([{**row, "label": True} for row in families.rows(3)])
    placed = place_dataset(dataset, BLOCK)
    assert placed.column_names == dataset.column_names
    assert all(row["prompt"][0]["content"].startswith(BLOCK) for row in placed)
    assert placed["completion"] == dataset["completion"]


def test_a_dict_of_datasets_is_placed_in_each_and_a_stream_too():
    rows = Dataset.from_list([{"prompt": "How many?"}])
    said = [{"role": "user", "content": f"{BLOCK}How many?"}]
    assert place_dataset(DatasetDict(train=rows, test=rows), BLOCK)["test"][0]["prompt"] == said
    assert next(iter(place_dataset(rows.to_iterable_dataset(), BLOCK)))["prompt"] == said


@pytest.mark.parametrize("given", [[{"prompt": "How many?"}], {"train": []}, None])
def test_what_is_no_dataset_is_refused(given):
    with pytest.raises(UserError, match=f"takes a datasets.Dataset.*not {type(given).__name__}"):
        place_dataset(given, BLOCK)


@pytest.mark.parametrize("block", ["hello", "", None])
def test_a_text_that_stands_for_no_artwork_is_refused(block):
    with pytest.raises(UserError, match="no placeholder text of an artwork"):
        place_dataset(Dataset.from_list([{"prompt": "How many?"}]), block)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": "See <|image_pad|>"}, "row 1: prompt holds '<|image_pad|>'"),
        ({"prompt": "See", "completion": "a <|video_pad|>"}, "row 1: completion holds '<|video_pad|>'"),
    ],
)
def test_rows_that_quote_a_picture_token_are_refused(row, message):
    rows = Dataset.from_list([{"prompt": "How many?", "completion": "<video>, a tag"}, row])
    with pytest.raises(UserError, match=re.escape(message)):
        place_dataset(rows, BLOCK)


def test_a_prompt_that_is_a_number_is_called_so():
    with pytest.raises(UserError, match=r'"prompt" holds a number \(5\)'):
        place_row({"prompt": 5}, "[art]")


def test_an_artwork_that_is_there_already_is_no_quotation():
    placed = place_dataset(Dataset.from_list([{"prompt": "How many?"}]), BLOCK)
    with pytest.raises(UserError, match="place it once"):
        place_dataset(placed, BLOCK)


@pytest.mark.parametrize("family", families.ALL)
def test_the_block_tells_the_picture_tokens_of_its_family(family):
    if needed := families.missing(family):
        pytest.skip(f"needs {needed}")
    processor = families.make_processor(family)
    preprocessor = Preprocessor(processor)
    block = preprocessor.block(*preprocessor.size_for_tokens(64))
    assert set(tokens_of_block(block)) == set(tokens_of(type(processor.image_processor).__name__))


def test_importing_it_needs_neither_torch_nor_transformers():
    code = "import sys, pixeltune.data.placement; assert not {'torch', 'transformers'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_preferences_with_turns_of_tools_are_refused_where_nothing_would_mask_them():
    said, told = {"role": "assistant", "content": "b"}, {"role": "tool", "content": "4"}
    ask = {"role": "user", "content": "a"}
    pair = {"prompt": [ask], "chosen": [said, told, said], "rejected": [said]}
    labelled = {"prompt": [ask], "completion": [said, told, said], "label": True}
    whole = {"chosen": [ask, said, told, said], "rejected": [ask, {**said, "content": "c"}, told, said]}
    for row in (pair, labelled, whole):
        with pytest.raises(UserError, match=r"row 0: .* has turns of tools or users, and TRL would train on"):
            place_dataset(Dataset.from_list([row]), BLOCK)
    shared = {"chosen": [ask, said, told, said], "rejected": [ask, said, told, {**said, "content": "c"}]}
    completed = {"prompt": [ask], "completion": [said, told, said]}  # TRL's assistant_only_loss masks these
    for row in (shared, completed):
        assert len(place_dataset(Dataset.from_list([row]), BLOCK)) == 1
