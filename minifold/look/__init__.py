"""Looking: plots, 3D views, reports, and taps into the running model."""

from typing import Any


def __getattr__(name: str) -> Any:
    """``record`` and ``Record`` are imported when first used: plots alone need no model."""
    if name in ("record", "Record"):
        from minifold.look import taps

        return getattr(taps, name)
    raise AttributeError(f"module 'minifold.look' has no attribute {name!r}")
