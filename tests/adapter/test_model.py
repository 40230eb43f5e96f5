"""The adapter against the untouched model that is shown the PNG."""

import pytest
import torch
from peft import PeftModel, get_peft_model
from PIL import Image

import families
from pixeltune.adapter import ArtConfig, ArtLayer
from pixeltune.data.placement import place
from pixeltune.model.compat.transformers_insides import cache_name
from reopening import reopened

CONVERSATIONS = [
    [{"role": "user", "content": "hi"}],
    [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "How much is 3 + 4, and why?"}],
]


def paint(model: PeftModel, scale: float = 0.2) -> None:
    """Something like an optimiser step, far beyond the 8-bit grid and the valid range."""
    canvas = layer_of(model).canvas()
    canvas.pixels.data += scale * torch.randn(canvas.pixels.shape, generator=torch.Generator().manual_seed(5))


def layer_of(model: PeftModel) -> ArtLayer:
    return next(module for module in model.modules() if isinstance(module, ArtLayer))


def text_rows(model, processor, side="right", conversations=CONVERSATIONS):
    processor.tokenizer.padding_side = side
    texts = [
        processor.tokenizer.apply_chat_template(place(messages, model.art_block), tokenize=False)
        for messages in conversations
    ]
    return processor.tokenizer(texts, padding=True, return_tensors="pt")


def without_padding(rows):
    """Labels as every collator makes them."""
    return rows["input_ids"].masked_fill(rows["attention_mask"] == 0, -100)


def served_rows(pixels, processor, side="right", own=None, conversations=CONVERSATIONS):
    """The same conversations through the stock processor, with pictures."""
    processor.tokenizer.padding_side = side
    texts, images = [], []
    for row, messages in enumerate(conversations):
        pictures = [reopened(pixels), *(own[row] if own else [])]
        messages = [
            {
                **message,
                "content": [{"type": "image"}] * len(pictures)
                + [{"type": "text", "text": message["content"]}],
            }
            if message["role"] == "user"
            else message
            for message in messages
        ]
        texts.append(processor.apply_chat_template(messages, tokenize=False))
        images.append(pictures)
    return processor(text=texts, images=images, padding=True, padding_side=side, return_tensors="pt")


@pytest.fixture
def painted(checkpoint):
    """An adapted model with a painted canvas, an untouched one, and their processor."""
    model, processor = families.load(checkpoint)
    model = get_peft_model(model, ArtConfig(start="noise"))
    paint(model)
    return model, families.load(checkpoint)[0], processor


@pytest.mark.parametrize("side", ["left", "right"])
def test_logits_equal_the_untouched_model_with_the_png(painted, side):
    model, base, processor = painted
    rows, served = text_rows(model, processor, side), served_rows(model.get_artwork_image(), processor, side)
    assert torch.equal(rows["input_ids"], served["input_ids"])
    with torch.no_grad():
        ours, theirs = model(**rows).logits, base(**served).logits
        with model.disable_adapter():
            other = model(**rows).logits
    real = rows["attention_mask"].bool()
    torch.testing.assert_close(ours[real], theirs[real], atol=1e-5, rtol=0)
    assert (other - theirs)[real].abs().max() > 1e-2  # the picture matters to this model


@pytest.mark.parametrize("stand_in", [True, False], ids=["with stand-in", "own pictures only"])
def test_rows_with_pictures_of_their_own(painted, stand_in):
    model, base, processor = painted
    colours = [[], [Image.new("RGB", (256, 256), "red"), Image.new("RGB", (288, 320), "blue")]]
    served = served_rows(model.get_artwork_image(), processor, "left", colours)
    batch = dict(served)
    patches = served["image_grid_thw"].prod(-1).tolist()
    pieces = list(served["pixel_values"].split(patches))
    assert len(pieces) == 4
    if stand_in:  # pictures 0 and 1 are the artwork of row 0 and of row 1; what they show must not matter
        pieces[0], pieces[1] = torch.zeros_like(pieces[0]), torch.zeros_like(pieces[1])
    else:
        pieces, batch["image_grid_thw"] = pieces[2:], served["image_grid_thw"][2:]
    batch["pixel_values"] = torch.cat(pieces)
    with torch.no_grad():
        ours, theirs = model(**batch).logits, base(**served).logits
        generated = model.generate(**batch, max_new_tokens=4, do_sample=False)
        expected = base.generate(**served, max_new_tokens=4, do_sample=False)
    real = served["attention_mask"].bool()
    torch.testing.assert_close(ours[real], theirs[real], atol=1e-5, rtol=0)
    assert torch.equal(generated, expected)


def test_generation_sees_the_live_picture_after_an_optimiser_step(painted):
    model, _, processor = painted
    rows = text_rows(model, processor, "left")
    optimizer = torch.optim.SGD([layer_of(model).canvas().pixels], lr=10.0)
    options = {
        "max_new_tokens": 1,
        "do_sample": False,
        "return_dict_in_generate": True,
        "output_logits": True,
    }
    before = model.generate(**rows, **options).logits[0].log_softmax(-1)
    model(**rows, labels=rows["input_ids"]).loss.backward()
    optimizer.step()
    trained = model(**rows).logits[:, -1].log_softmax(-1)
    generated = model.generate(**rows, **options).logits[0].log_softmax(-1)
    torch.testing.assert_close(generated, trained.detach(), atol=1e-5, rtol=0)
    assert (generated - before).abs().max() > 1e-3


@pytest.mark.parametrize(
    "options", [{"do_sample": False}, {"num_beams": 2}, {"num_beams": 2, "num_return_sequences": 2}]
)
def test_generated_text_equals_the_untouched_model_with_the_png(painted, options):
    model, base, processor = painted
    rows, served = (
        text_rows(model, processor, "left"),
        served_rows(model.get_artwork_image(), processor, "left"),
    )
    ours = model.generate(**rows, **options, max_new_tokens=5)
    # A model of random weights would answer with picture tokens, too, which adapters never choose.
    untouched = {"suppress_tokens": sorted(model.base_model._picture_tokens())}
    if base.config.model_type == "qwen3_5" and "num_beams" in options:
        # With several beams, stock Qwen3.5 (transformers 5.19) gets even the first token's logits of a row
        # with a picture wrong, so compare with its own greedy ones.
        options = options | {"max_new_tokens": 1, "output_logits": True, "return_dict_in_generate": True}
        beams = model.generate(**rows, **options).logits[0][::2]
        expected = base.generate(
            **served,
            **untouched,
            **{**options, "num_beams": 1, "num_return_sequences": 1},
            do_sample=False,
        )
        torch.testing.assert_close(beams, expected.logits[0], atol=1e-5, rtol=0)
        return
    assert torch.equal(ours, base.generate(**served, **untouched, **options, max_new_tokens=5))
    positional = model.generate(
        rows["input_ids"], attention_mask=rows["attention_mask"], **options, max_new_tokens=5
    )
    assert torch.equal(positional, ours)


def test_the_vision_tower_runs_once_per_forward(painted):
    model, _, processor = painted
    calls = []
    layer_of(model).base_layer.register_forward_hook(lambda *_: calls.append(1))
    model(**text_rows(model, processor, conversations=CONVERSATIONS * 3))
    assert len(calls) == 1
    model.generate(**text_rows(model, processor, "left"), max_new_tokens=5, do_sample=False)
    assert len(calls) == 2


def test_a_disabled_adapter_looks_at_the_start_picture(painted):
    model, base, processor = painted
    fresh = get_peft_model(families.load(base.name_or_path)[0], ArtConfig(start="noise"))
    rows, served = text_rows(model, processor), served_rows(fresh.get_artwork_image(), processor)
    with torch.no_grad(), model.disable_adapter():
        disabled = model(**rows).logits
        plain = model(**processor.tokenizer("hello", return_tensors="pt")).logits
    torch.testing.assert_close(disabled, base(**served).logits, atol=1e-5, rtol=0)
    torch.testing.assert_close(plain, base(**processor.tokenizer("hello", return_tensors="pt")).logits)
    assert (model(**rows).logits - disabled).abs().max() > 1e-2


def test_gradient_equals_finite_differences(painted):
    """In float64, along random directions, through the whole model, without the rounding to 8 bits."""
    model, _, processor = painted
    model.double()
    canvas = layer_of(model).canvas()
    canvas.project()
    canvas.pixels.data = 0.1 + 0.8 * canvas.pixels.data  # so that no step leaves the valid range
    canvas.forward = lambda: canvas.pixels
    rows = text_rows(model, processor, "left")

    def loss():
        return model(**rows, labels=rows["input_ids"]).loss

    loss().backward()
    start, step = canvas.pixels.detach().clone(), 1e-3
    # Where the gradient is large, so that float32 in the image processor does not drown the differences.
    direction = canvas.pixels.grad.sign() * torch.rand(
        start.shape, generator=torch.Generator().manual_seed(0)
    )
    with torch.no_grad():
        canvas.pixels.copy_(start + step * direction)
        above = loss()
        canvas.pixels.copy_(start - step * direction)
        numeric = (above - loss()) / (2 * step)
    analytic = (canvas.pixels.grad * direction).sum().double()
    assert analytic.abs() > 1e-3
    assert abs(numeric / analytic - 1) < 2e-3


def test_gradient_passes_straight_through_the_rounding(painted):
    model, _, processor = painted
    canvas = layer_of(model).canvas()
    canvas.project()
    rows = text_rows(model, processor)
    model(**rows, labels=rows["input_ids"]).loss.backward()
    rounded, canvas.pixels.grad = canvas.pixels.grad, None
    canvas.pixels.data = canvas().detach()  # the same picture, now without anything to round
    model(**rows, labels=rows["input_ids"]).loss.backward()
    assert torch.equal(canvas.pixels.grad, rounded)
    assert rounded.ne(0).float().mean() > 0.9


@pytest.mark.parametrize("reentrant", [True, False])
def test_gradient_checkpointing_changes_nothing(painted, reentrant):
    model, _, processor = painted
    model.train()
    rows, gradients = text_rows(model, processor), []
    labels = without_padding(rows)
    for checkpointing in (False, True):
        if checkpointing:
            model.enable_input_require_grads()
            model.gradient_checkpointing_enable({"use_reentrant": reentrant})
        model(**rows, labels=labels, use_cache=False).loss.backward()
        gradients.append(layer_of(model).canvas().pixels.grad)
        layer_of(model).canvas().pixels.grad = None
    if reentrant:  # which is computed row by row: the same sums in another order
        assert (gradients[0] - gradients[1]).norm() < 1e-5 * gradients[0].norm()
    else:
        assert torch.equal(*gradients)
    assert gradients[0].ne(0).any()


@pytest.mark.parametrize("side", ["left", "right"])
def test_labels_on_padding_add_no_gradient(painted, side):
    model, _, processor = painted
    model.train()
    rows, gradients = text_rows(model, processor, side), []
    mask = rows["attention_mask"]
    assert not mask.all()
    ends = torch.nn.functional.pad(
        mask[:, :-1] > mask[:, 1:], (1, 0)
    )  # what a row's last token would predict
    for labels in (rows["input_ids"].masked_fill(ends, -100), without_padding(rows)):
        counted = (labels[:, 1:] != -100).sum()  # of which the loss is the mean
        (model(**rows, labels=labels, use_cache=False).loss * counted).backward()
        gradients.append(layer_of(model).canvas().pixels.grad)
        layer_of(model).canvas().pixels.grad = None
    assert (gradients[0] - gradients[1]).norm() < 1e-5 * gradients[1].norm()


def test_rows_without_the_artwork_are_an_error(painted):
    model, _, processor = painted
    bare = processor.tokenizer("hello", return_tensors="pt")
    for call in (model, model.generate, model.get_base_model().model):
        with pytest.raises(ValueError, match=r"no artwork in it.*place_dataset\(dataset, model.art_block\)"):
            call(**bare)
    mixed = processor.tokenizer([model.art_block + "hi", "hello"], padding=True, return_tensors="pt")
    with pytest.raises(ValueError, match="row 1 of the batch"):
        model(**mixed)
    with model.disable_adapter(), pytest.raises(ValueError, match="row 1 of the batch"):
        model(**mixed)


def test_rows_with_a_wrong_number_of_image_tokens_are_an_error(painted):
    model, _, processor = painted
    cut = processor.tokenizer(model.art_block, return_tensors="pt")["input_ids"][:, :-3]
    with pytest.raises(ValueError, match="62 image tokens, but the artwork takes 64"):
        model(input_ids=cut)
    twice = processor.tokenizer(model.art_block * 2, return_tensors="pt")
    with pytest.raises(ValueError, match="packing"):
        model(**twice)


def test_calls_that_would_not_see_the_artwork_are_errors(painted):
    model, _, processor = painted
    rows = text_rows(model, processor, "left")
    base = model.get_base_model()
    with pytest.raises(ValueError, match="position_ids"):  # a generate that was not told about the artwork
        type(base).generate(base, **rows, max_new_tokens=2)
    with pytest.raises(ValueError, match="position_ids"):
        model(**rows, position_ids=torch.arange(rows["input_ids"].shape[1])[None])
    with pytest.raises(ValueError, match="input_ids"):
        model(inputs_embeds=base.get_input_embeddings()(rows["input_ids"]))
    one = text_rows(model, processor, conversations=CONVERSATIONS[:1])
    with pytest.raises(ValueError, match="image tokens"):
        model.generate(**one, max_new_tokens=2, prefill_chunk_size=8)
    cache = model(**one, use_cache=True)[cache_name()]
    for name in {cache_name(), "past_key_values"}:  # transformers takes the old name too
        with pytest.raises(ValueError, match="one piece"):
            model(input_ids=one["input_ids"], **{name: cache})


def test_merging_is_refused_and_unload_gives_the_base_back(painted):
    model, base, processor = painted
    for merge in (model.merge_adapter, model.merge_and_unload):
        with pytest.raises(ValueError, match="cannot be merged"):
            merge()
    plain = model.unload()
    assert [name for name, _ in plain.named_modules()] == [name for name, _ in base.named_modules()]
    assert "generate" not in vars(plain)
    text = processor.tokenizer("hello", return_tensors="pt")
    assert torch.equal(plain(**text).logits, base(**text).logits)


def test_16_bit_models_keep_a_float32_canvas(checkpoint):
    model, processor = families.load(checkpoint)
    model = get_peft_model(model.to(torch.bfloat16), ArtConfig(), autocast_adapter_dtype=False)
    canvas = layer_of(model).canvas()
    assert canvas.pixels.dtype == torch.float32
    parameter, canvas.pixels.data = (
        canvas.pixels,
        canvas.pixels.data.to(torch.bfloat16),
    )  # TRL, quantised bases
    rows = text_rows(model, processor)
    model(**rows, labels=rows["input_ids"]).loss.backward()
    assert canvas.pixels is parameter
    assert parameter.dtype == parameter.grad.dtype == torch.float32


def test_save_and_load_round_trip(checkpoint, tmp_path):
    Image.new("RGB", (64, 64), "orange").save(tmp_path / "start.png")
    mask = Image.new("L", (64, 64))
    mask.paste(255, (0, 0, 64, 32))
    mask.save(tmp_path / "mask.png")
    config = ArtConfig(
        start=str(tmp_path / "start.png"),
        mask=str(tmp_path / "mask.png"),
        fit="stretch",
        bound=16,
        image_tokens=70,
    )
    model, processor = families.load(checkpoint)
    model = get_peft_model(model, config)
    paint(model)
    model.save_pretrained(tmp_path / "saved")
    (tmp_path / "start.png").unlink()
    (tmp_path / "mask.png").unlink()
    assert (tmp_path / "saved" / "adapter_model.safetensors").stat().st_size < 1_200_000

    again = PeftModel.from_pretrained(families.load(checkpoint)[0], tmp_path / "saved", is_trainable=True)
    ours, theirs = layer_of(model).canvas(), layer_of(again).canvas()
    for name, value in ours.state_dict().items():
        assert torch.equal(value, theirs.state_dict()[name]), name
    assert ours.bound_levels == theirs.bound_levels == 16
    rows = text_rows(model, processor)
    assert torch.equal(model(**rows).logits, again(**rows).logits)
    with pytest.raises(ValueError, match="not a file"):
        get_peft_model(families.load(checkpoint)[0], ArtConfig(start=str(tmp_path / "start.png")))
    with pytest.raises(ValueError, match="never loaded"):
        get_peft_model(
            families.load(checkpoint)[0], ArtConfig.from_pretrained(tmp_path / "saved")
        ).get_artwork_image()


def test_a_second_artwork_can_be_added_and_chosen(checkpoint):
    model, processor = families.load(checkpoint)
    model = get_peft_model(model, ArtConfig())
    model.add_adapter("other", ArtConfig(start="noise"))
    rows = text_rows(model, processor)
    first = model(**rows).logits
    model.set_adapter("other")
    second = model(**rows).logits
    model.set_adapter("default")
    assert (first - second).abs().max() > 1e-2
    assert torch.equal(model(**rows).logits, first)
    assert any(".art_canvas.default." in name for name, _ in model.named_parameters())


def test_contradicting_or_bad_settings_are_refused(checkpoint):
    for settings, message in [
        ({"height": 280, "width": 250}, "Nearest good sizes"),
        ({"height": 448, "width": 448, "image_tokens": 64}, "not 64"),
        ({"image_tokens": 1 << 20}, "model's context holds"),
        ({"processor": "/nowhere/at/all"}, r"ArtConfig\(processor=...\)"),
    ]:
        with pytest.raises(ValueError, match=message):
            get_peft_model(families.load(checkpoint)[0], ArtConfig(**settings))
    with pytest.raises(ValueError, match="both height and width"):
        ArtConfig(height=256)
    with pytest.raises(ValueError, match="grey levels"):
        ArtConfig(bound=0)
