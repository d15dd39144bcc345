"""Maps of residue pairs that answer in a page: the predicted aligned error, distances, contacts.

A pair under the mouse is named; a rectangle that is dragged, or drawn with the keyboard, is
described and shown in the structure and the sequence of the same section (``assets/pairs.js``).
Where no script runs a still picture is there. Values are stored as bytes, all together as gzip in
base64; the same input gives the same bytes.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import html
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import matplotlib
import numpy as np
from jaxtyping import Float
from matplotlib.colors import to_hex

from minifold.errors import BadInput
from minifold.look.view3d import asset, data_uri

MOST_BYTES = 400_000  # of all maps, in base64
LEVELS = (255, 127, 63, 31)  # of a value; fewer where there is no room


@dataclass(frozen=True)
class PairMap:
    """One number for each pair of n residues."""

    name: str
    values: Float[np.ndarray, "n n"]  # row i, column j
    limits: tuple[float, float]  # what is beyond is shown as the limit
    colors: str  # matplotlib's name of a colour map
    says: str  # of one pair, with {i} and {j}: "Expected distance of {i} and {j}"
    axes: tuple[str, str]  # what columns and rows are
    unit: str = ""
    digits: int = 1

    def quantised(self, levels: int) -> np.ndarray:
        """uint8 [n, n]: 0 is the lower limit, ``levels`` the upper one."""
        low, high = self.limits
        part = (np.asarray(self.values, float).clip(low, high) - low) / (high - low)
        return np.rint(levels * part).astype(np.uint8)

    def colors_of(self, count: int = 9) -> list[str]:
        shades = matplotlib.colormaps[self.colors](np.linspace(0, 1, count))
        return [to_hex(shade) for shade in shades]


def pae_map(pae: Float[np.ndarray, "n n"]) -> PairMap:
    """The predicted aligned error, Å: of residue j in the frame of residue i."""
    return PairMap(
        name="predicted aligned error",
        values=pae,
        limits=(0.0, 31.75),
        colors="Greens_r",
        says="Expected error at {j}, if prediction and truth are superposed at {i}",
        axes=("scored residue", "aligned residue"),
        unit="Å",
    )


def distance_map(distances: Float[np.ndarray, "n n"]) -> PairMap:
    """The expected distance, Å, of the distogram."""
    return PairMap(
        name="expected distance",
        values=distances,
        limits=(2.0, 22.0),
        colors="cividis_r",
        says="Expected Cβ distance of {i} and {j}",
        axes=("residue j", "residue i"),
        unit="Å",
    )


def contact_map(contacts: Float[np.ndarray, "n n"]) -> PairMap:
    """The probability of a contact, of the distogram."""
    return PairMap(
        name="contact probability",
        values=contacts,
        limits=(0.0, 1.0),
        colors="Blues",
        says="Probability that the Cβ atoms of {i} and {j} are nearer than 8 Å",
        axes=("residue j", "residue i"),
        digits=2,
    )


@dataclass(frozen=True)
class PairView:
    """Maps of one protein, to choose from; a view of a ``Section``.

    Args:
        still: a PNG that is shown where no script runs; ``alt`` says what it shows.
    """

    maps: Sequence[PairMap]
    names: Sequence[str]  # of the residues, such as "Cys 5"
    residue_index: np.ndarray  # [n], counted from 0
    still: bytes
    alt: str

    def __post_init__(self):
        n = len(self.names)
        for m in self.maps:
            if m.values.shape != (n, n):
                raise BadInput(f"{m.name}: a map of {m.values.shape} for {n} residues; give n x n")

    def html(self) -> str:
        """A <figure>; the still picture alone if there is no room for the values."""
        still = f'alt="{html.escape(self.alt)}" src="{data_uri(self.still)}"'
        live = ""
        if self._spec:
            live = f'<script type="application/json">{self._spec}</script>'
            live += f"<script>{asset('tools.js')}</script><script>{asset('pairs.js')}</script>"
        return (
            f"<style>{asset('pairs.css')}</style>"
            f'<figure class="mf-pairs" id="{self.identifier}" style="width:460px">'
            f'<img class="mfp-still" {still}>{live}</figure>'
        )

    @property
    def identifier(self) -> str:
        """A name made from the content."""
        return "pairs-" + hashlib.sha256((self._spec + self.alt).encode()).hexdigest()[:12]

    @cached_property
    def _spec(self) -> str:
        """What pairs.js reads, as JSON that may stand in a page; the finest that fits."""
        for levels in LEVELS:
            raw = b"".join(m.quantised(levels).tobytes() for m in self.maps)
            data = base64.b64encode(gzip.compress(raw, 9, mtime=0)).decode()
            if len(data) <= MOST_BYTES:
                break
        else:
            return ""
        numbers = [int(x) + 1 for x in self.residue_index]
        maps = [
            {
                "name": m.name,
                "unit": m.unit,
                "digits": m.digits,
                "low": m.limits[0],
                "high": m.limits[1],
                "levels": levels,
                "step": float(f"{(m.limits[1] - m.limits[0]) / levels:.2g}"),
                "says": m.says,
                "axes": m.axes,
                "colors": m.colors_of(),
                "at": k * len(numbers) ** 2,
            }
            for k, m in enumerate(self.maps)
        ]
        spec = {"names": list(self.names), "numbers": numbers, "maps": maps, "data": data}
        return json.dumps(spec, separators=(",", ":"), ensure_ascii=False).replace("</", "<\\/")
