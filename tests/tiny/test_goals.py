from __future__ import annotations

from pixeltune.base import load_model, load_processor, weights_sha256
from pixeltune.tiny import goals


def test_the_bundled_model_meets_its_goals(bundled):
    """So the recipe that made it ends where it ended then, without a further round."""
    model = load_model("tiny")
    before = weights_sha256(model)
    found = goals.scores(model, load_processor("tiny"))
    assert set(found) == {"sums", "calls", "turns"}
    assert goals.missed(found) == []
    assert weights_sha256(model) == before
    assert goals.missed({**found, "calls": 0.94}) == ["calls"]
