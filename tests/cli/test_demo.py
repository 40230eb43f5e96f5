from __future__ import annotations

import json

from pixeltune.artwork.artwork import Artwork
from pixeltune.cli.main import main

KEYS = "start", "artwork"


def test_the_demo_writes_its_report_and_fails_when_the_ceiling_is_missed(bundled, tmp_path, capsys):
    """One step paints nothing useful for sums: everything is written, and the exit status says so.

    A PNG says of its scores what a training's does.
    """
    out = tmp_path / "demo"
    assert main(["demo", "--output_dir", str(out), "--rows", "8", "--steps", "1"]) == 1
    report = json.loads((out / "report.json").read_text())
    assert set(report) == {"tasks", "pixels_equal", "seconds", "passed"}
    assert report["passed"] is False
    assert report["pixels_equal"] is True
    assert set(report["tasks"]) == {"calls", "sums"}
    for name, scores in report["tasks"].items():
        assert set(scores) == {"off", "start", "artwork", "ceiling"}
        for score in scores.values():
            assert score["n"] == 8
            assert 0 <= score["ci95"][0] <= score["score"] <= score["ci95"][1] <= 1
        artwork = Artwork.load(out / f"{name}.png")
        before, after = ({"score": scores[key]["score"], "ci95": scores[key]["ci95"]} for key in KEYS)
        assert artwork.provenance.scores == {"held_out": {**after, "n": 8, "before": before}}
        assert "| artwork |" in artwork.card()
    assert "vllm serve" in capsys.readouterr().out
