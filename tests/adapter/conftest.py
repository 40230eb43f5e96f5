import os
import sys
from pathlib import Path

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
sys.path.insert(0, str(Path(__file__).parent.parent))  # for families.py

import pytest
import torch

import families

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory) -> dict[str, str]:
    """One saved tiny model per family."""
    return {family: families.save(family, tmp_path_factory.mktemp(family)) for family in families.FAMILIES}


@pytest.fixture(params=families.FAMILIES)
def checkpoint(request, checkpoints) -> str:
    return checkpoints[request.param]
