"""Proteins in 3D: for a page, for a notebook, and as a still picture.

``view`` draws chains, ``trajectory`` a chain on its way. The result is one object with three faces:

- ``.png()``: a still picture, painted here (``minifold.look.picture``).
- ``.html()``: a live view for a page that has ``library()`` in it once, however many views it has;
  until it starts (or where it cannot start) it shows the still picture.
- in a notebook: the still picture as an image of its own, for places where no script runs
  (GitHub, printing), and below it the live view. The first view shown brings the library, packed to
  0.2 MB; those after it use that copy. Nothing is ever loaded from the network.

The live view is drawn by 3Dmol.js (``assets/README.md``). Everything is deterministic: the same
input gives the same bytes.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import html
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path

import matplotlib
import numpy as np
import torch
from jaxtyping import Float
from matplotlib.colors import to_hex, to_rgb
from PIL import Image

from minifold.data.files import write_bytes
from minifold.data.residues import ATOM_INDEX
from minifold.data.structures import Chain, to_pdb
from minifold.errors import BadInput
from minifold.look import style
from minifold.look.picture import Balls, paint, ribbon, rod
from minifold.training.metrics import align_sequences
from minifold.training.superposition import superpose

ASSETS = Path(__file__).parent / "assets"
CA, CB, SG = (ATOM_INDEX[name] for name in ("CA", "CB", "SG"))
# AlphaFold's colours: from this pLDDT on, what it means, colour
PLDDT_BANDS = (
    (90, "very high (90 and above)", "#0053D6"),
    (70, "confident (70 to 90)", "#65CBF3"),
    (50, "low (50 to 70)", "#FFDB13"),
    (0, "very low (below 50)", "#FF7D45"),
)
GHOST = "#B4B4B4"  # a second chain, to compare with
SULFUR = "#C79500"
DISULFIDE = 2.5  # Å, longest S-S distance that counts as a bond


@dataclass(frozen=True)
class Layer:
    """One chain as it is drawn."""

    chain: Chain
    colors: tuple[str, ...]  # one per residue
    notes: tuple[str, ...]  # shown beside the residue's name under the mouse
    ghost: bool = False  # drawn in the background, to compare with


@dataclass(frozen=True)
class View:
    """A drawing of chains; see the head of this file. Made by ``view`` and ``trajectory``."""

    layers: tuple[Layer, ...]
    width: int = 480  # pixels
    height: int = 360
    caption: str = ""
    frames: np.ndarray | None = None  # [f, n, 3], Å: Cα of the first chain over time
    labels: tuple[str, ...] = ()  # one per frame

    def image(self) -> np.ndarray:
        """The still picture, uint8 [height, width, 3]; frames are shown side by side."""
        return np.asarray(Image.open(io.BytesIO(self._png)).convert("RGB"))

    def png(self, path: str | Path | None = None) -> bytes:
        """The still picture as a PNG, also written to ``path`` if there is one.

        Raises:
            BadInput: the file cannot be written.
        """
        if path is not None:
            write_bytes(path, self._png)
        return self._png

    def html(self, still: bool = True) -> str:
        """The live view as a <figure>, for a page with ``library()`` in it."""
        style = f"position:relative;max-width:{self.width}px"
        style += f";aspect-ratio:{self.width}/{self.height}" + ("" if still else ";display:none")
        picture = f'<img alt="{html.escape(self._text)}" src="{data_uri(self._png)}">'
        caption = f"<figcaption>{html.escape(self.caption)}</figcaption>" if self.caption else ""
        return (
            f'<figure class="mf-view" id="{self.identifier}" style="width:{self.width + 24}px">'
            f'<div class="mf-stage" style="{style}">{picture if still else ""}</div>'
            f'{caption}<script type="application/json">{self._spec}</script></figure>'
        )

    @property
    def identifier(self) -> str:
        """A name made from the content."""
        return "view-" + hashlib.sha256(self._spec.encode()).hexdigest()[:12]

    def _repr_html_(self) -> str:
        """The live view with all it needs; the library only if no other view has brought it."""
        global _bearer
        _bearer = _bearer or self.identifier
        brought = (
            library() if _bearer == self.identifier else f"<script>{asset('viewer.js')}</script>"
        )
        rules = "<style>.mf-live{position:absolute;inset:0}.mf-controls{font-size:85%}</style>"
        return rules + self.html(still=False) + brought

    def _ipython_display_(self) -> None:
        from IPython.display import display  # notebooks have it

        text = {"text/plain": self._text}
        display({"image/png": base64.b64encode(self._png).decode(), **text}, raw=True)
        display({"text/html": self._repr_html_(), **text}, raw=True)

    @property
    def _text(self) -> str:
        names = ", ".join(layer.chain.name or "a protein" for layer in self.layers)
        return self.caption or f"3D view of {names}"

    @cached_property
    def _png(self) -> bytes:
        if self.frames is None:
            picture = paint(self._balls(), self.width, self.height)
        else:
            picture = self._filmstrip()
        file = io.BytesIO()
        # 128 colours are enough, and a quarter of the size
        Image.fromarray(picture).quantize(128, dither=Image.Dither.NONE).save(
            file, "PNG", optimize=True
        )
        return file.getvalue()

    def _filmstrip(self) -> np.ndarray:
        """Four moments from first to last, row by row, all to one scale."""
        low, high = self.frames.min((0, 1)), self.frames.max((0, 1))
        corners = Balls(np.stack([low, high]).astype(np.float64), np.ones((2, 3)), 1e-3)
        shown = np.linspace(0, len(self.frames) - 1, 4).round().astype(int)
        first, second, third, last = (
            paint([*self._balls(self.frames[k]), corners], self.width // 2, self.height // 2)
            for k in shown
        )
        return np.block([[[first], [second]], [[third], [last]]])

    def _balls(self, ca: np.ndarray | None = None) -> list[Balls]:
        """What ``paint`` needs; ``ca`` replaces the coordinates of the first chain."""
        balls = []
        for k, layer in enumerate(self.layers):
            moved = ca is not None and k == 0
            color = np.array([to_rgb(c) for c in layer.colors])
            x = ca if moved else layer.chain.positions[:, CA]
            for piece in _pieces(layer.chain):
                drawn = ribbon(x[piece], color[piece], flat=not layer.ghost)
                balls.append(replace(drawn, radius=0.24) if layer.ghost else drawn)
            for i, j in [] if moved or layer.ghost else disulfides(layer.chain):
                atoms = layer.chain.positions[[i, i, i, j, j, j], [CA, CB, SG, SG, CB, CA]]
                balls.append(rod(atoms, np.array(to_rgb(SULFUR)), 0.24))
        return balls

    @cached_property
    def _spec(self) -> str:
        """What viewer.js reads, as JSON that may stand in a page."""
        models = []
        for k, layer in enumerate(self.layers):
            number = [int(x) + 1 for x in layer.chain.residue_index]
            bridges = [] if layer.ghost else disulfides(layer.chain)
            moving = self.frames is not None and k == 0
            models.append(
                {
                    "pdb": _pdb(layer.chain),
                    "colors": dict(zip(number, layer.colors)),
                    "notes": dict(zip(number, layer.notes)),
                    "disulfides": [] if moving else [[number[i], number[j]] for i, j in bridges],
                    "ghost": layer.ghost,
                    # hundredths of an Å
                    "moving": np.rint(100 * self.frames).astype(int).tolist() if moving else None,
                }
            )
        frames = 0 if self.frames is None else len(self.frames)
        spec = {"models": models, "frames": frames, "labels": self.labels}
        return json.dumps(spec, separators=(",", ":")).replace("</", "<\\/")


_bearer: str | None = None  # the view that brings the library into this notebook


def view(
    chains: Chain | Sequence[Chain],
    color: str | Sequence[float] | np.ndarray = "plddt",
    width: int = 480,
    height: int = 360,
    superpose: bool = False,
    caption: str = "",
) -> View:
    """Draw one or more chains.

    Args:
        chains: with ``superpose`` the first is drawn in colour, the others (the truth) in grey.
        color: "plddt" (B-factors, AlphaFold's colours), "position" (dark blue N-terminus to
            yellow C-terminus), "chain" (one colour each), or a number 0..1 for each residue of the
            first chain, pale to dark.
        superpose: move every further chain onto the first, residues paired by sequence.

    Raises:
        BadInput: no chain, no Cα atom, an unknown colour, or chains that are not of one protein.
    """
    chains = [chains] if isinstance(chains, Chain) else list(chains)
    _check(chains)
    if superpose:
        chains = chains[:1] + [_moved(chain, onto=chains[0]) for chain in chains[1:]]
    rotation, center = _orientation(chains[0].positions[:, CA][chains[0].mask[:, CA] > 0])
    layers = []
    for k, chain in enumerate(chains):
        turned = (chain.positions - center) @ rotation * chain.mask[..., None]
        ghost = superpose and k > 0
        colors = [GHOST] * len(chain.sequence) if ghost else _colors(chain, color, k)
        notes = [""] * len(chain.sequence)
        if isinstance(color, str) and color == "plddt" and not ghost:
            notes = [f" · pLDDT {b:.0f}" for b in chain.b_factors]
        placed = replace(chain, positions=turned.astype(np.float32))
        layers.append(Layer(placed, tuple(colors), tuple(notes), ghost))
    return View(tuple(layers), width, height, caption)


def trajectory(
    chain: Chain,
    frames: Float[np.ndarray, "f n 3"],
    color: str | Sequence[float] | np.ndarray = "position",
    width: int = 480,
    height: int = 360,
    truth: Chain | None = None,
    labels: Sequence[str] = (),
    caption: str = "",
) -> View:
    """A chain on its way: Cα positions (Å) at f moments, with a slider; superposed on the last.

    Raises:
        BadInput: the frames do not fit to the chain; otherwise as ``view``.
    """
    frames = np.asarray(frames, np.float32)
    n = len(chain.sequence)
    if frames.ndim != 3 or not len(frames) or frames.shape[1:] != (n, 3):
        raise BadInput(f"frames have shape {frames.shape}; {n} residues need (frames, {n}, 3)")
    last = torch.from_numpy(frames[-1:]).expand(len(frames), n, 3)
    frames = superpose(torch.from_numpy(frames), last, torch.ones(len(frames), n)).numpy()
    positions = np.zeros_like(chain.positions)
    positions[:, CA] = frames[-1]
    mask = np.zeros_like(chain.mask)
    mask[:, CA] = 1
    traced = replace(chain, positions=positions, mask=mask)
    drawn = [traced] if truth is None else [traced, truth]
    result = view(drawn, color, width, height, superpose=True, caption=caption)
    rotation, center = _orientation(frames[-1])
    return replace(
        result,
        frames=((frames - center) @ rotation).astype(np.float32),
        labels=tuple(labels) or tuple(f"{k + 1} of {len(frames)}" for k in range(len(frames))),
    )


def library() -> str:
    """What a page needs once for all its views: 3Dmol.js with its licence, packed; our script."""
    return f'<script type="text/plain" id="minifold-3dmol">{_packed()}</script>' + _script()


def disulfides(chain: Chain) -> list[tuple[int, int]]:
    """Pairs of residues (indices) whose SG atoms are bonded."""
    at = [i for i in np.flatnonzero(chain.mask[:, SG]) if chain.mask[i, [CA, CB]].all()]
    x = chain.positions[:, SG]
    near = [(i, j) for i in at for j in at if i < j and np.linalg.norm(x[i] - x[j]) < DISULFIDE]
    return [(int(i), int(j)) for i, j in near]


def plddt_color(plddt: float) -> str:
    """AlphaFold's colour of a confidence."""
    return next((c for least, _, c in PLDDT_BANDS if plddt >= least), PLDDT_BANDS[-1][2])


def data_uri(png: bytes) -> str:
    """A PNG as something an <img> can show."""
    return "data:image/png;base64," + base64.b64encode(png).decode()


def _check(chains: list[Chain]) -> None:
    if not chains:
        raise BadInput("nothing to draw: give at least one chain")
    for chain in chains:
        if not chain.mask[:, CA].any():
            raise BadInput(f"chain {chain.name or chain.chain_id} has no CA atoms to draw")


def _colors(chain: Chain, color: str | Sequence[float] | np.ndarray, k: int) -> list[str]:
    n = len(chain.sequence)
    if not isinstance(color, str):
        values = np.asarray(color, float)
        if values.shape != (n,):
            raise BadInput(f"{values.size} colour values for {n} residues; give one for each")
        return [to_hex(c) for c in matplotlib.colormaps["YlGnBu"](0.15 + 0.85 * values.clip(0, 1))]
    if color == "plddt":
        return [plddt_color(b) for b in chain.b_factors.tolist()]
    if color == "position":
        return [to_hex(c) for c in matplotlib.colormaps["viridis"](np.linspace(0, 1, n))]
    if color == "chain":
        return [style.CYCLE[k % len(style.CYCLE)]] * n
    raise BadInput(f"no colouring {color!r}; use plddt, position, chain or one number per residue")


def _moved(chain: Chain, onto: Chain) -> Chain:
    """The chain, superposed on the Cα atoms of another."""
    ours, theirs = align_sequences(chain.sequence, onto.sequence)
    both = (chain.mask[ours, CA] * onto.mask[theirs, CA]) > 0
    ours, theirs = ours[both], theirs[both]
    if not len(ours):
        raise BadInput("no Cα atom is in both structures; they cannot be superposed")
    # the target of every atom is unknown but for the paired Cα atoms, which alone have weight
    target, weight = np.zeros_like(chain.positions), np.zeros_like(chain.mask)
    target[ours, CA], weight[ours, CA] = onto.positions[theirs, CA], 1
    x, y, w = (
        torch.from_numpy(a.reshape(-1, *a.shape[2:]).astype(np.float64))
        for a in (chain.positions, target, weight)
    )
    moved = superpose(x, y, w).numpy().reshape(chain.positions.shape)
    return replace(chain, positions=(moved * chain.mask[..., None]).astype(np.float32))


def _orientation(ca: Float[np.ndarray, "n 3"]) -> tuple[np.ndarray, np.ndarray]:
    """Rotation [3, 3] and centre [3]: longest axis to the right, shortest towards the viewer."""
    center = ca.mean(0).astype(np.float64)
    centered = ca - center
    _, vectors = np.linalg.eigh(centered.T @ centered)
    x, y = vectors[:, 2], vectors[:, 1]
    x, y = (v * (1 if ((centered @ v) ** 3).sum() >= 0 else -1) for v in (x, y))
    return np.stack([x, y, np.cross(x, y)], axis=1), center


def _pieces(chain: Chain) -> list[slice]:
    """Stretches of residues that are there and follow each other."""
    there = chain.mask[:, CA] > 0
    pieces, start = [], None
    for i in range(len(there) + 1):
        joined = 0 < i < len(there) and chain.residue_index[i] - chain.residue_index[i - 1] == 1
        if start is not None and not (joined and there[i]):
            pieces.append(slice(start, i))
            start = None
        if start is None and i < len(there) and there[i]:
            start = i
    return pieces


def _pdb(chain: Chain) -> str:
    """ATOM records only: all that the viewer reads."""
    text = to_pdb(replace(chain, chain_id="A", name="", method="", resolution=None))
    return "".join(f"{line.rstrip()}\n" for line in text.splitlines() if line.startswith("ATOM"))


def _script() -> str:
    return f"<script>{asset('viewer.js')}</script>"


@cache
def asset(name: str) -> str:
    """A text file that goes into pages."""
    return (ASSETS / name).read_text(encoding="utf-8")


@cache
def _packed() -> str:
    code = f"/*\n{asset('3Dmol-LICENSE.txt')}\n*/\n{asset('3Dmol-min.js')}"
    return base64.b64encode(gzip.compress(code.encode(), 9, mtime=0)).decode()
