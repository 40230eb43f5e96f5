from __future__ import annotations

import pytest

from pixeltune.model.loading import load_processor


@pytest.fixture(scope="module")
def processor(bundled):
    return load_processor("tiny")
