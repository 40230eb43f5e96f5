import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from pixeltune.artwork.artwork import Artwork
from pixeltune.artwork.provenance import Provenance
from pixeltune.cli.main import main
from pixeltune.data.hashes import prompt_hash, write_trained
from pixeltune.errors import UserError
from pixeltune.evaluation.candidates import Candidate, start_of
from pixeltune.evaluation.doubts import DoubtWarning
from pixeltune.evaluation.mixing import average, dial, greedy, mix, plan_of
from pixeltune.picture.canvas import start_picture


def artwork(seed: int, size: tuple[int, int] = (8, 6), **fields) -> Artwork:
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    given = {"base_model": "tiny", "image_tokens": 64, "placement": "p", "processor": {}, "objective": "sft"}
    return Artwork(pixels, Provenance(**given | {"seed": seed, "start": "grey", "data": "sums"} | fields))


def test_the_dial_goes_from_the_start_through_the_artwork_and_beyond():
    art = artwork(0)
    start = np.full_like(art.pixels, 128)
    assert (dial(art, start, 0).pixels == start).all()
    assert (dial(art, start, 1).pixels == art.pixels).all()
    half = dial(art, start, 0.5)
    assert np.abs(half.pixels - (art.pixels / 2 + 64)).max() <= 0.5
    change = art.pixels.astype(int) - 128
    assert (dial(art, start, 2).pixels == np.clip(128 + 2 * change, 0, 255)).all()
    assert half.provenance.training == {"strength": 0.5}
    assert Artwork.load(half.png()) == half
    for strength in (-0.1, 4.1, float("nan")):
        with pytest.raises(ValueError, match="0 to 4"):
            dial(art, start, strength)
    with pytest.raises(ValueError, match="the artwork"):
        dial(art, start[1:], 0.5)


def test_an_average_is_the_mean_rounded_once():
    members = [artwork(seed) for seed in range(3)]
    mean = average(members)
    exact = np.mean([member.pixels for member in members], axis=0)
    assert np.abs(mean.pixels - exact).max() <= 0.5
    assert mean.provenance.training["average_of"] == [member.sha256 for member in members]
    assert mean.provenance.scores == {}


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (artwork(1, size=(8, 8)), "pixels cannot"),
        (artwork(1, base_model="other"), "same model"),
        (artwork(1, template_sha256="0" * 64), "same model"),
        (artwork(1, base_sha256="0" * 64), "same model"),
    ],
)
def test_what_does_not_belong_together_is_not_averaged(other, message):
    with pytest.raises(ValueError, match=message):
        average([artwork(0), other])
    with pytest.raises(ValueError, match="at least two"):
        average([other])


def test_a_greedy_soup_keeps_what_does_not_lower_the_score():
    """Members 0 and 2 lie on either side of grey; 1 is far off, and any average with it is worse."""
    levels = [100, 255, 150]
    members = [
        Artwork(np.full((4, 4, 3), level, np.uint8), artwork(i).provenance) for i, level in enumerate(levels)
    ]
    soup, scores, reached = greedy(members, lambda art: 1 - abs(art.pixels.mean() - 128) / 128)
    assert soup.pixels.flat[0] == 125
    assert scores == pytest.approx([1 - 28 / 128, 1 - 127 / 128, 1 - 22 / 128])
    assert reached > max(scores)
    assert soup.provenance.training["average_of"] == [members[2].sha256, members[0].sha256]


def test_a_soup_that_is_worse_than_its_best_member_is_refused():
    def score(art: Artwork) -> float:
        return float("average_of" not in art.provenance.training) + art.provenance.seed / 10

    with pytest.raises(ValueError, match=r"best member \(1\.300\), number 2"):
        greedy([artwork(1), artwork(3), artwork(2)], score)


def test_where_nothing_scores_nothing_is_no_worse():
    with pytest.raises(UserError, match=r"no artwork scores above zero.*nothing can be compared.*--data"):
        greedy([artwork(0), artwork(1)], lambda art: 0.0)


def test_rows_of_your_own_are_scored_as_eval_scores_them(tmp_path):
    data = tmp_path / "rows.jsonl"
    lines = [{"prompt": f"{i} + {i}?", "completion": f"Answer: {2 * i}"} for i in range(1, 6)]
    data.write_text("".join(json.dumps(line) + "\n" for line in lines))
    art = artwork(0, data="rows.jsonl")
    field = [Candidate("a.png", "picture", art.image, artwork=art, path=str(tmp_path / "a.png"))]
    plan = plan_of(None, data, None, None, 3, field)
    assert len(plan.rows) == 3
    assert plan.task.score(plan.rows[1], "It is 4. Answer: 4") == 1
    assert plan_of(None, data, "exact", None, 3, field).task.score(plan.rows[1], "Answer: 04") == 0
    known = [replace(field[0], artwork=artwork(0, data="sums"))]
    assert plan_of(None, data, None, None, 9, known).name == "rows"
    assert plan_of(None, None, None, None, 9, known).name == "sums"
    for given, of, message in (
        ((None, None, None, None), field, r"painted on rows.jsonl.*--data .*--task"),
        ((None, None, "exact", None), field, "give them with --data"),
        (("sums", data, "exact", None), field, "without --task"),
        ((None, data, "exact", "mine:reward"), field, "give one"),
        ((None, tmp_path, None, None), field, "is a folder"),
        ((None, tmp_path / "none", None, None), known, "there is no file"),
    ):
        with pytest.raises(UserError, match=message):
            plan_of(*given, 3, of)
    write_trained(tmp_path, map(prompt_hash, plan.rows[:2]))
    with pytest.warns(DoubtWarning, match="a.png was trained on 2 of these 3 rows"):
        plan_of(None, data, None, None, 3, field)


def painted_cells(*cells: int, size: tuple[int, int] = (8, 8), level: int = 9, **fields) -> Artwork:
    """Grey of four cells (0 and 1 in the upper row), of which some are other."""
    plain = artwork(0, size=size, image_tokens=4, **fields)
    pixels, side = np.full_like(plain.pixels, 128), size[0] // 2
    for cell in cells:
        row, column = divmod(cell, 2)
        pixels[row * side, column * side + 1, 2] = level  # one value of one pixel is a change of the cell
    return Artwork(pixels, plain.provenance)


def test_a_sum_has_the_changes_of_all():
    one, two = painted_cells(0, 3, training={"cells": 2, "x": 1}), painted_cells(1, level=200, data="calls")
    made = mix([one, two, painted_cells(2)], sum=True)
    assert str(made) == "the sum of 3 artworks"
    exact = 128 + sum(a.pixels.astype(int) - 128 for a in (one, two, painted_cells(2)))
    assert (made.artwork.pixels == exact).all()
    said = made.artwork.provenance
    assert (said.data, said.scores) == ("sums + calls", {})
    assert said.training == {"x": 1, "sum_of": [one.sha256, two.sha256, painted_cells(2).sha256]}
    assert Artwork.load(made.artwork.png()) == made.artwork


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (painted_cells(0, level=10), "1 of 4 cells were changed by more than one"),
        (painted_cells(1, start="noise"), "began as different pictures"),
        (painted_cells(1, base_model="other"), "same model.*added up"),
        (painted_cells(1, size=(8, 6)), "cannot be added up"),
        (None, "at least two artworks"),
    ],
)
def test_what_is_no_sum_is_refused(other, said):
    with pytest.raises(UserError, match=said):
        mix([painted_cells(0), *([other] if other else [])], sum=True)


def test_a_sum_of_noise_wants_one_seed_and_of_a_file_that_file(tmp_path):
    def changed(seed: int, place: int, start: str = "noise") -> Artwork:
        first = artwork(seed, size=(8, 8), image_tokens=4, start=start)
        pixels = np.asarray(start_of(first, "" if start == "noise" else str(tmp_path / start))).copy()
        pixels[place, 0] += 1
        return Artwork(pixels, first.provenance)

    assert mix([changed(1, 0), changed(1, 4)], sum=True)
    with pytest.raises(UserError, match="began as different pictures"):
        mix([changed(1, 0), changed(2, 4)], sum=True)
    Image.fromarray(artwork(5, size=(8, 8)).pixels).save(tmp_path / "mine.png")
    mine = [changed(1, 0, "mine.png"), changed(2, 4, "mine.png")]
    with pytest.raises(UserError, match=r"painted from mine\.png"):
        mix(mine, sum=True)
    assert mix(mine, sum=True, start=str(tmp_path / "mine.png"))


def test_a_sum_by_command(tmp_path, capsys):
    for name, cell in (("a", 0), ("b", 3)):
        painted_cells(cell).save(tmp_path / f"{name}.png")
    files = [str(tmp_path / "a.png"), str(tmp_path / "b.png")]
    out = tmp_path / "both.png"
    assert main(["mix", *files, "--sum", "--output", str(out)]) == 0
    assert (Artwork.load(out).pixels == painted_cells(0, 3).pixels).all()
    for more, said in ((["--strength", "1"], "give either"), (["--task", "sums"], "--sum makes one picture")):
        assert main(["mix", *files, "--sum", *more, "--output", str(tmp_path / "c.png")]) == 1
        assert said in capsys.readouterr().err


def test_settings_that_would_change_nothing_are_refused():
    with pytest.raises(UserError, match="measures nothing"):
        mix([artwork(0)], strength=1, task="sums")
    with pytest.raises(UserError, match="--start is where"):
        mix([artwork(0), artwork(1)], start="mine.png")


def test_noise_of_a_seed_that_nobody_wrote_down_is_no_start():
    def unsaid(art: Artwork) -> Artwork:
        return Artwork(art.pixels, replace(art.provenance, seed=None))

    with pytest.raises(UserError, match=r"does not say of which seed.*start:FILE"):
        mix([unsaid(artwork(0, start="noise"))], strength=0.5)
    assert (mix([unsaid(artwork(0))], strength=0).artwork.pixels == 128).all()  # grey has none


def test_one_artwork_has_no_average_but_a_strength():
    with pytest.raises(UserError, match="at least two artworks: give more of them, or --strength"):
        mix([artwork(0)])


def test_by_command(tmp_path, capsys):
    art = artwork(0)
    art.save(tmp_path / "a.png")
    flags = ["mix", str(tmp_path / "a.png"), "--output", str(tmp_path / "half.png")]
    assert main([*flags, "--strength", "0"]) == 0
    made = Artwork.load(tmp_path / "half.png")
    grey = start_picture("grey", *art.size).permute(1, 2, 0).numpy() * 255
    assert (made.pixels == grey.round()).all()
    (tmp_path / "half.png").unlink()
    artwork(1, base_model="other").save(tmp_path / "b.png")
    for more, message in (
        (["--strength", "9"], "0 to 4"),
        ([], "at least two"),
        ([str(tmp_path / "b.png")], "same model"),
        ([str(tmp_path / "b.png"), "--strength", "1"], "of one artwork"),
        (["--rows", "0"], "rows must be at least 1"),
    ):
        assert (
            main(
                [*flags[:2], *more, *flags[2:]] if more[:1] == [str(tmp_path / "b.png")] else [*flags, *more]
            )
            == 1
        )
        assert message in capsys.readouterr().err
    assert not (tmp_path / "half.png").exists()


def test_a_real_average_is_scored_by_the_model(painted, painted_folder, tmp_path, capsys):
    """The same artwork twice: its average is itself, as good as the best member."""
    file = str(painted_folder / "sums/artwork.png")
    out = tmp_path / "soup.png"
    assert main(["mix", file, file, "--rows", "10", "--output", str(out)]) == 0
    assert (Artwork.load(out).pixels == painted["sums"].pixels).all()
    said = capsys.readouterr().out.splitlines()
    scores = [float(line.split()[0]) for line in said[-4:-1]]
    assert scores[0] == scores[1] == scores[2] >= 0.8
    data = tmp_path / "rows.jsonl"  # whose answers no artwork gives
    data.write_text(
        "".join(json.dumps({"prompt": f"Say {i}.", "completion": "Blue."}) + "\n" for i in range(3))
    )
    assert main(["mix", file, file, "--data", str(data), "--output", str(tmp_path / "none.png")]) == 1
    assert "no artwork scores above zero" in capsys.readouterr().err
    assert not (tmp_path / "none.png").exists()
