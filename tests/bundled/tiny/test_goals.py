from __future__ import annotations

from pixeltune.bundled.tiny import goals
from pixeltune.model.loading import load_model, load_processor, weights_sha256


def test_the_bundled_model_meets_its_goals(bundled):
    """What is shipped is what the recipe would be content with."""
    model = load_model("tiny")
    before = weights_sha256(model)
    found = goals.scores(model, load_processor("tiny"))
    assert set(found) == {"sums", "calls", "turns"}
    assert goals.missed(found) == []
    assert weights_sha256(model) == before
    assert goals.missed({**found, "calls": 0.94}) == ["calls"]
