"""A batch's tree holds every row once more or less, and nothing else."""

from __future__ import annotations

import random

import pytest
import torch

from pixeltune.model.shared_prefix.tree import grow

PICTURE, TOKENS, PAD = 9, 4, 0
BLOCK = [7, *[PICTURE] * TOKENS, 8]


def batch(texts, side, rng):
    """Padded ids and mask; "both" pads a random part of the padding on each side."""
    length = max(map(len, texts)) + rng.randint(0, 3)
    ids, mask = [], []
    for text in texts:
        free = length - len(text)
        left = {"left": free, "right": 0, "both": rng.randint(0, free)}[side]
        ids.append([PAD] * left + text + [PAD] * (free - left))
        mask.append([0] * left + [1] * len(text) + [0] * (free - left))
    return torch.tensor(ids), torch.tensor(mask)


def random_texts(rng):
    """Rows like those of a training step: some share the text before the artwork, some a question too."""
    heads = [[rng.randint(1, 3) for _ in range(rng.randint(1, 5))] for _ in range(rng.choice([1, 1, 3]))]
    questions = [[rng.randint(1, 3) for _ in range(rng.randint(0, 6))] for _ in range(rng.choice([1, 3, 8]))]
    answers = [[rng.randint(1, 3) for _ in range(rng.randint(1, 4))] for _ in range(12)]
    return [rng.choice(heads) + BLOCK + rng.choice(questions) + answer for answer in answers]


def rows_of(tree, ids):
    """For each node of the last level, the token ids from the root to its end."""
    texts, flat = [[]], ids.flatten()
    for level in tree.levels:
        said, nodes = flat[level.tokens], len(level.parent)
        if level.slots is None:
            own = said.view(nodes, -1).tolist()
        else:
            place = torch.full(level.slots.shape, -1).flatten()
            place[level.places] = said
            assert torch.equal(said[level.slots].flatten()[level.places], said)
            own = [[token for token in node if token >= 0] for node in place.view(nodes, -1).tolist()]
        texts = [texts[int(above)] + new for above, new in zip(level.parent, own, strict=True)]
    return texts


@pytest.mark.parametrize("even", [False, True])
@pytest.mark.parametrize("picture", [None, "this one"])
@pytest.mark.parametrize("side", ["left", "right", "both"])
def test_every_row_is_a_path_from_the_root(side, picture, even):
    rng, trees = random.Random(f"{side} {picture} {even}"), 0
    for _ in range(150):
        texts = random_texts(rng)
        ids, mask = batch(texts, side, rng)
        tree = grow(ids, mask, PICTURE, TOKENS, even, picture)
        if tree is None:
            continue
        trees += 1
        assert tree.tokens < ids.numel()
        assert sorted(rows_of(tree, ids)) == sorted(texts)
        flat = torch.cat([ids.flatten()[level.tokens] for level in tree.levels])
        assert torch.equal(flat[tree.where[mask.bool()]], ids[mask.bool()])
        assert (tree.where[~mask.bool()] == len(flat)).all()
        for level in tree.levels[:-1]:
            assert level.slots is None or not even
        for depth, level in enumerate(tree.levels):
            seen = ids.flatten()[level.tokens]
            assert level.pictures == bool((seen == PICTURE).any())
            if level.known is not None and depth == 0:
                assert not level.pictures
    assert trees > 75


def test_the_levels_are_text_artwork_question_and_answer():
    questions = [[1, 2, 3], [2, 2, 2, 1, 1]]
    texts = [
        [5, 5, *BLOCK, *question, 4, *[answer] * answer] for question in questions for answer in (1, 2, 3)
    ]
    ids, mask = batch(texts, "right", random.Random(0))
    tree = grow(ids, mask, PICTURE, TOKENS)
    assert [len(level.tokens) for level in tree.levels] == [2, 6, 4 + 6, 2 * (1 + 2 + 3)]
    assert [tuple(level.slots.shape) for level in tree.levels[2:]] == [(2, 6), (6, 3)]
    assert [level.parent.tolist() for level in tree.levels] == [[0], [0], [0, 0], [0, 0, 0, 1, 1, 1]]
    assert [level.known is not None for level in tree.levels] == [True, False, False, False]


def test_what_is_known_names_the_picture_and_the_text():
    texts = [[5, 5, *BLOCK, 1, 1], [5, 5, *BLOCK, 2]]
    ids, mask = batch(texts, "left", random.Random(0))
    with_one, with_other = (grow(ids, mask, PICTURE, TOKENS, picture=name) for name in ("one", "other"))
    assert with_one.levels[0].known == with_other.levels[0].known
    assert with_one.levels[1].known != with_other.levels[1].known
    longer, mask = batch([[5, *text] for text in texts], "left", random.Random(0))
    assert grow(longer, mask, PICTURE, TOKENS, picture="one").levels[1].known != with_one.levels[1].known


def test_rows_without_anything_in_common_make_no_tree():
    ids, mask = batch([[1, *BLOCK, 1], [2, *BLOCK, 1]], "right", random.Random(1))
    assert grow(ids[:, :8], mask[:, :8], PICTURE, TOKENS) is None


def test_padding_inside_a_row_makes_no_tree():
    ids, mask = batch([[5, *BLOCK, 1, 1], [5, *BLOCK, 2, 2]], "right", random.Random(0))
    assert grow(ids, mask, PICTURE, TOKENS) is not None
    mask[0, 3] = 0
    assert grow(ids, mask, PICTURE, TOKENS) is None


def test_nothing_is_shared_from_a_rows_own_picture_on():
    own = [7, PICTURE, PICTURE, 8]
    texts = [[5, *BLOCK, 1, 2, *own, 3, 3], [5, *BLOCK, 1, 2, *own, 3, 3], [5, *BLOCK, 1, 2, 3, 3]]
    ids, mask = batch(texts, "left", random.Random(0))
    for picture in (None, "this one"):
        tree = grow(ids, mask, PICTURE, TOKENS, picture=picture)
        places = tree.where[mask.bool()].split([len(text) for text in texts])
        first = 1 + len(BLOCK) + 3  # piece of a picture that is a row's own
        assert torch.equal(places[0][: first - 1], places[1][: first - 1])
        assert not (places[0][first:, None] == places[1][first:]).any()
