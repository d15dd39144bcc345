"""py3Dmol, wrapped once: the same bytes every time, one copy of the structure, no network.

py3Dmol turns calls in Python into calls of 3Dmol.js. Left alone it names its output by the clock,
puts it into a notebook twice and loads 3Dmol.js from a server. Here the name comes from the
content, the output is in the page once, in a <template> that ``viewer.js`` brings to life when it
is seen, and 3Dmol.js comes with the page (``library``; ``assets/README.md``).
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import py3Dmol
from jaxtyping import Float

ASSETS = Path(__file__).parent / "assets"


class Scene:
    """What py3Dmol shows; a call of any method of 3Dmol's GLViewer is passed on."""

    def __init__(self):
        # the library is there when this runs: the address is never used
        self._view = py3Dmol.view(width="100%", height="100%", js="")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._view, name)

    def rod(self, points: Float[np.ndarray, "n 3"], radius: float, color: str) -> None:
        """Through some points; two make a straight one."""
        spots = [_spot(point) for point in points]
        if len(spots) == 2:
            ends = {"start": spots[0], "end": spots[1], "fromCap": 2, "toCap": 2}
            self.addCylinder(ends | {"radius": radius, "color": color})
        else:
            self.addCurve({"points": spots, "smooth": 2, "radius": radius, "color": color})

    def ball(self, center: Float[np.ndarray, " 3"], radius: float, color: str) -> None:
        self.addSphere({"center": _spot(center), "radius": radius, "color": color})

    def part(self, spec: dict[str, Any]) -> tuple[str, str]:
        """The name of the view and what the page needs of it.

        Args:
            spec: what ``viewer.js`` has to know besides, as JSON.
        """
        drawn = self._view.write_html()
        clock = self._view.uniqueid
        rest = json.dumps(spec, separators=(",", ":"), ensure_ascii=False).replace("</", "<\\/")
        content = drawn.replace(clock, "") + rest
        name = hashlib.sha256(content.encode()).hexdigest()[:12]
        return name, (
            f'<template data-name="{name}">{drawn.replace(clock, name)}</template>'
            f'<script type="application/json">{rest}</script>'
        )


def _spot(point: Float[np.ndarray, " 3"]) -> dict[str, float]:
    return {axis: round(float(x), 2) for axis, x in zip("xyz", point)}


def zoom(points: Float[np.ndarray, "n 3"], width: int, height: int) -> float:
    """How much nearer than ``zoomTo`` goes: all points just fit into the picture.

    ``zoomTo`` fits a sphere around the mean into the height. Those nearer to the eye look larger.
    """
    x = points - points.mean(0)
    sphere = float(np.linalg.norm(x, axis=-1).max())
    nearer = 1.0
    for _ in range(10):
        eye = sphere / np.tan(np.radians(10)) / nearer  # 3Dmol's field of view is 20 degrees
        larger = eye / (eye - x[:, 2])
        across, up = ((abs(x[:, k]) * larger).max() + 1.5 for k in (0, 1))  # 1.5 Å for ribbons
        nearer = sphere * min(width / height / across, 1 / up)
    return round(float(nearer), 3)


def library() -> str:
    """What a page needs once for all its views: 3Dmol.js with its licence, packed; our script."""
    return f'<script type="text/plain" id="minifold-3dmol">{_packed()}</script>' + script()


def script() -> str:
    """Our script alone."""
    return f"<script>{asset('viewer.js')}</script>"


@cache
def asset(name: str) -> str:
    """A text file that goes into pages."""
    return (ASSETS / name).read_text(encoding="utf-8")


@cache
def _packed() -> str:
    code = f"/*\n{asset('3Dmol-LICENSE.txt')}\n*/\n{asset('3Dmol-min.js')}"
    return base64.b64encode(gzip.compress(code.encode(), 9, mtime=0)).decode()
