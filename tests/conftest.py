"""Shapes in annotations are checked while the tests run."""

from pathlib import Path

import pytest
import torch
from jaxtyping import install_import_hook

install_import_hook("minifold", "beartype.beartype")

ROOT = Path(__file__).parent.parent
SHARED = ROOT.parent / "shared" / "data"


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.fixture
def shared_data() -> Path:
    """Real structures and alignments for development; not part of the project."""
    if not SHARED.is_dir():
        pytest.skip("needs the development data folder ../shared/data, which is absent")
    return SHARED
