"""The bundled model and its processor, loaded once for each file that asks."""

from __future__ import annotations

import pytest

from pixeltune.model.loading import load_model, load_processor


@pytest.fixture(scope="module")
def model(bundled):
    return load_model("tiny")


@pytest.fixture(scope="module")
def processor(bundled):
    return load_processor("tiny")
