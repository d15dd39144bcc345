"""A drawing of protein chains and its three faces; ``minifold.look.view3d`` makes them.

- ``.png()``: a still picture, painted here (``minifold.look.picture``).
- ``.html()``: a live view for a page that has ``library()`` in it once, however many views it has;
  until it starts (or where it cannot start) it shows the still picture.
- in a notebook: the still picture as an image of its own, for places where no script runs
  (GitHub, printing), and below it the live view. The first view shown brings the library, packed to
  0.2 MB; those after it use that copy. Nothing is ever loaded from the network.

The live view is py3Dmol's (``minifold.look.live3d``). Everything is deterministic: the same input
gives the same bytes.
"""

from __future__ import annotations

import base64
import html
import io
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Float
from matplotlib.colors import to_rgb
from PIL import Image

from minifold.data.files import write_bytes
from minifold.data.residues import ATOM_INDEX
from minifold.data.structures import Chain, to_pdb
from minifold.look import picture
from minifold.look.live3d import Scene, asset, library, script, zoom
from minifold.look.picture import Balls, paint, ribbon, rod

N, CA, C, CB, SG = (ATOM_INDEX[name] for name in ("N", "CA", "C", "CB", "SG"))
GHOST = "#B4B4B4"  # a second chain, to compare with
SULFUR = "#C79500"
DISULFIDE = 2.5  # Å, longest S-S distance that counts as a bond
PEPTIDE = 0.71, 1.77  # Å, C-N distances that are bonds to 3Dmol


@dataclass(frozen=True)
class Layer:
    """One chain as it is drawn."""

    chain: Chain
    colors: tuple[str, ...]  # one per residue
    notes: tuple[str, ...]  # shown beside the residue's name under the mouse
    ghost: bool = False  # drawn in the background, to compare with
    thin: bool = False  # as a thread, so that what is beside it can be seen


@dataclass(frozen=True)
class Mark:
    """A ball at one point, or a rod through several."""

    points: Float[np.ndarray, "k 3"]  # Å
    radius: float
    color: str


@dataclass(frozen=True)
class View:
    """A drawing of chains; see the head of this file. Made by the functions below."""

    layers: tuple[Layer, ...]
    width: int = 480  # pixels
    height: int = 360
    caption: str = ""
    frames: np.ndarray | None = None  # [f, n, 3], Å: Cα of the first chain over time
    labels: tuple[str, ...] = ()  # one per frame
    marks: tuple[Mark, ...] = ()
    key: tuple[tuple[str, str], ...] = ()  # a colour and what it stands for
    scores: tuple[tuple[str, str], ...] = ()  # name and value, of a superposition

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
        image = f'<img alt="{html.escape(self._text)}" src="{data_uri(self._png)}">'
        key = "".join(
            f'<span><i style="background:{color}"></i>{html.escape(words)}</span>'
            for color, words in self.key
        )
        scores = "".join(
            f"<div><dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd></div>"
            for name, value in self.scores
        )
        return (
            f'<figure class="mf-view" id="{self.identifier}" style="width:{self.width + 24}px">'
            f'<div class="mf-stage" style="{style}">{image if still else ""}</div>'
            + (f'<dl class="mf-scores">{scores}</dl>' if scores else "")
            + (f'<div class="mf-key">{key}</div>' if key else "")
            + (f"<figcaption>{html.escape(self.caption)}</figcaption>" if self.caption else "")
            + f"{self._drawing[1]}</figure>"
        )

    @property
    def identifier(self) -> str:
        """A name made from the content."""
        return f"view-{self._drawing[0]}"

    def _repr_html_(self) -> str:
        """The live view with all it needs; the library only if no other view has brought it."""
        global _bearer
        _bearer = _bearer or self.identifier
        brought = library() if _bearer == self.identifier else script()
        return f"<style>{asset('view.css')}</style>{self.html(still=False)}{brought}"

    def _ipython_display_(self) -> None:
        from IPython.display import display  # notebooks have it

        text = {"text/plain": self._text}
        display({"image/png": base64.b64encode(self._png).decode(), **text}, raw=True)
        display({"text/html": self._repr_html_(), **text}, raw=True)

    @property
    def _text(self) -> str:
        names = ", ".join(layer.chain.name or "a protein" for layer in self.layers)
        words = [self.caption or f"3D view of {names}"]
        return "; ".join(words + [f"{name} {value}" for name, value in self.scores])

    @cached_property
    def _png(self) -> bytes:
        words = [("", f"{name} {value}") for name, value in self.scores] + list(self.key)
        room = picture.LINE * picture.lines(words, self.width) + 6 if words else 0
        if room > self.height / 3:
            words, room = [], 0
        height = self.height - room
        if self.frames is None:
            drawn = paint(self._balls(), self.width, height)
        else:
            drawn = self._filmstrip(height)
        drawn = _few_colors(drawn, 120)  # enough, and a quarter of the size
        if words:  # their colours stay exact
            drawn = np.concatenate([drawn, np.full((room, self.width, 3), 255, np.uint8)])
            drawn = picture.write(drawn, words, at=(8, height))
        file = io.BytesIO()
        Image.fromarray(drawn).quantize(256, dither=Image.Dither.NONE).save(
            file, "PNG", optimize=True
        )
        return file.getvalue()

    def _filmstrip(self, height: int) -> np.ndarray:
        """Four moments from first to last, row by row, all to one scale."""
        low, high = self.frames.min((0, 1)), self.frames.max((0, 1))
        corners = Balls(np.stack([low, high]).astype(np.float64), np.ones((2, 3)), 1e-3)
        panels = []
        for p, k in enumerate(np.linspace(0, len(self.frames) - 1, 4).round().astype(int)):
            size = [self.width // 2, height // 2]
            size = [a + b * (c % 2) for a, b, c in zip(size, (p % 2, p // 2), (self.width, height))]
            panel = paint([*self._balls(self.frames[k]), corners], *size)
            panels.append(picture.write(panel, [("", self.labels[k])]))
        return np.block([[[panels[0]], [panels[1]]], [[panels[2]], [panels[3]]]])

    def _balls(self, ca: np.ndarray | None = None) -> list[Balls]:
        """What ``paint`` needs; ``ca`` replaces the coordinates of the first chain."""
        balls = []
        for k, layer in enumerate(self.layers):
            moved = ca is not None and k == 0
            color = np.array([to_rgb(c) for c in layer.colors])
            x = ca if moved else layer.chain.positions[:, CA]
            for piece in _pieces(layer.chain):
                thread = layer.ghost or layer.thin
                drawn = ribbon(x[piece], color[piece], flat=not thread)
                balls.append(replace(drawn, radius=0.24) if thread else drawn)
            for i, j in [] if moved or layer.ghost else disulfides(layer.chain):
                atoms = layer.chain.positions[[i, i, i, j, j, j], [CA, CB, SG, SG, CB, CA]]
                balls.append(rod(atoms, np.array(to_rgb(SULFUR)), 0.24))
        for mark in self.marks:
            points, color = mark.points.astype(np.float64), np.array(to_rgb(mark.color))
            if len(points) == 1:
                balls.append(Balls(points, color[None], mark.radius))
            else:
                balls.append(rod(points, color, mark.radius))
        return balls

    @cached_property
    def _drawing(self) -> tuple[str, str]:
        """The name of the view and what the page needs to draw it."""
        scene = Scene()
        notes, sides, torn = [], [], []
        for k, layer in enumerate(self.layers):
            numbers = [int(x) + 1 for x in layer.chain.residue_index]
            notes.append({n: note for n, note in zip(numbers, layer.notes) if note})
            scene.addModel(atom_lines(layer.chain), "pdb")
            if self.frames is not None and k == 0:
                scene.setStyle({"model": k}, {})
                continue
            cartoon = {"arrows": True, "thickness": 0.45}
            if layer.thin:
                cartoon |= {"style": "trace", "thickness": 0.25}
            if layer.ghost:
                cartoon |= {"color": GHOST, "opacity": 0.75}
            else:
                colors = dict(zip(numbers, layer.colors))
                cartoon |= {"colorscheme": {"prop": "resi", "map": colors}}
                sides.append(_side_chains(k, layer.chain, numbers))
            scene.setStyle({"model": k}, {"cartoon": cartoon})
            torn += [[k, numbers[i], numbers[j]] for i, j in _torn(layer.chain)]
            if not layer.ghost:
                _bridges(scene, k, layer.chain, numbers)
        for mark in self.marks:
            if len(mark.points) == 1:
                scene.ball(mark.points[0], mark.radius, mark.color)
            else:
                scene.rod(mark.points, mark.radius, mark.color)
        scene.setViewStyle({"style": "outline", "color": "black", "width": 0.03})
        scene.zoomTo()
        scene.zoom(zoom(self._corners(), self.width, self.height))
        return scene.part({"notes": notes, "sides": sides, "torn": torn, "moving": self._moving()})

    def _corners(self) -> np.ndarray:
        """All that should be seen, [k, 3]."""
        atoms = [layer.chain.positions[layer.chain.mask > 0] for layer in self.layers]
        frames = [] if self.frames is None else [self.frames.reshape(-1, 3)]
        return np.concatenate(atoms + frames).astype(np.float64)

    def _moving(self) -> dict | None:
        """The frames for the slider, in hundredths of an Å."""
        if self.frames is None:
            return None
        layer = self.layers[0]
        return {
            "frames": np.rint(100 * self.frames).astype(int).tolist(),
            "colors": layer.colors,
            "numbers": [int(x) + 1 for x in layer.chain.residue_index],
            "labels": self.labels,
        }


_bearer: str | None = None  # the view that brings the library into this notebook


def _few_colors(image: np.ndarray, most: int) -> np.ndarray:
    few = Image.fromarray(image).quantize(most, dither=Image.Dither.NONE)
    return np.asarray(few.convert("RGB"))


def disulfides(chain: Chain) -> list[tuple[int, int]]:
    """Pairs of residues (indices) whose SG atoms are bonded."""
    at = [i for i in np.flatnonzero(chain.mask[:, SG]) if chain.mask[i, [CA, CB]].all()]
    x = chain.positions[:, SG]
    near = [(i, j) for i in at for j in at if i < j and np.linalg.norm(x[i] - x[j]) < DISULFIDE]
    return [(int(i), int(j)) for i, j in near]


def data_uri(data: bytes, kind: str = "image/png") -> str:
    """A file as an address that holds all of it, for an <img> or a link."""
    return f"data:{kind};base64," + base64.b64encode(data).decode()


def _torn(chain: Chain) -> list[tuple[int, int]]:
    """Neighbours whose bond is so wrong that the cartoon shows a gap."""
    x, there = chain.positions, chain.mask
    pairs = []
    for i in range(len(chain.sequence) - 1):
        follows = chain.residue_index[i + 1] - chain.residue_index[i] == 1
        bonded = there[i, C] and there[i + 1, N]
        bonded = bonded and PEPTIDE[0] < np.linalg.norm(x[i, C] - x[i + 1, N]) < PEPTIDE[1]
        if follows and there[i, CA] and there[i + 1, CA] and not bonded:
            pairs.append((i, i + 1))
    return pairs


def _bridges(scene: Scene, model: int, chain: Chain, numbers: list[int]) -> None:
    """Disulfides as sticks."""
    for i, j in disulfides(chain):
        atoms = {"model": model, "resi": [numbers[i], numbers[j]], "atom": ["CA", "CB", "SG"]}
        scene.addStyle(atoms, {"stick": {"color": SULFUR, "radius": 0.2}})
        scene.rod(chain.positions[[i, j], SG], 0.2, SULFUR)


def _side_chains(model: int, chain: Chain, numbers: list[int]) -> dict:
    """Which atoms the box "side chains" shows: not those of disulfides, which are there always."""
    hidden: list[dict] = [{"atom": ["N", "C", "O", "OXT"]}]
    bridged = [numbers[i] for pair in disulfides(chain) for i in pair]
    if bridged:
        hidden.append({"resi": bridged})
    return {"model": model, "not": {"or": hidden}}


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


def atom_lines(chain: Chain) -> str:
    """ATOM records up to the coordinates: all that 3Dmol.js needs."""
    text = to_pdb(replace(chain, chain_id="A", name="", method="", resolution=None))
    return "\n".join(line[:54] for line in text.splitlines() if line.startswith("ATOM"))
