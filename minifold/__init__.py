"""minifold: AlphaFold2, small enough to read in a weekend.

import minifold
prediction = minifold.fold("data/sample_msas/kunitz_1bpi.a3m")
prediction.show()
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOME = {
    "fold": "minifold.predict",
    "load": "minifold.predict",
    "Prediction": "minifold.predict",
    "Config": "minifold.config",
    "AlphaFold": "minifold.model.alphafold",
    "check": "minifold.checks",
}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that ``import minifold`` is instant."""
    if name not in _HOME:
        raise AttributeError(f"module 'minifold' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return __all__
