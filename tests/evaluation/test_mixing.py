import numpy as np
import pytest

from pixeltune.artwork.artwork import Artwork
from pixeltune.artwork.provenance import Provenance
from pixeltune.cli.main import main
from pixeltune.evaluation.mixing import average, dial, greedy
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
        (["--rows", "0"], "--rows"),
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
