"""Proteins in 3D: ``view`` draws chains, ``trajectory`` a chain on its way, ``attention`` what a
residue looks at. What they return is a still picture, a part of a page and a view in a notebook:
``minifold.look.drawing3d``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import matplotlib
import numpy as np
import torch
from jaxtyping import Float
from matplotlib.colors import to_hex

from minifold.data.residues import ONE_TO_THREE
from minifold.data.structures import Chain
from minifold.errors import BadInput
from minifold.look import style
from minifold.look.drawing3d import CA, GHOST, C, Layer, Mark, N, View, data_uri, disulfides
from minifold.look.live3d import asset, library
from minifold.model.rigid import Rigid
from minifold.training.metrics import align_sequences, evaluate
from minifold.training.superposition import superpose

__all__ = [
    "View", "view", "trajectory", "attention", "disulfides", "plddt_color", "library", "asset",
    "data_uri", "PLDDT_BANDS", "METRICS",
]  # fmt: skip

# AlphaFold's colours: from this pLDDT on, what it means, colour
PLDDT_BANDS = (
    (90, "very high (90 and above)", "#0053D6"),
    (70, "confident (70 to 90)", "#65CBF3"),
    (50, "low (50 to 70)", "#FFDB13"),
    (0, "very low (below 50)", "#FF7D45"),
)
# metric: heading, unit, digits, whether more is better
METRICS = {
    "lddt": ("lDDT", "all atoms", 3, True),
    "lddt_ca": ("lDDT-Cα", "", 3, True),
    "tm_score": ("TM-score", "", 3, True),
    "gdt_ts": ("GDT-TS", "", 3, True),
    "gdt_ha": ("GDT-HA", "", 3, True),
    "rmsd_ca": ("RMSD Cα", "Å", 2, False),
}
BESIDE = ("lddt_ca", "lddt", "tm_score", "rmsd_ca")  # those beside a superposition
LOOKS, ARC = style.RED, "#D98E00"  # who looks, and at whom
MOST_ARCS = 24
AXES = ((style.RED, "x"), (style.GREEN, "y"), (style.BLUE, "z"))  # of a frame
AXIS, ROD = 1.6, 0.13  # length of an axis and radius of a rod, Å
Point = Float[np.ndarray, "3"]
Rod = tuple[Point, Point, str]  # from, to, colour


def view(
    chains: Chain | Sequence[Chain],
    color: str | Sequence[float] | np.ndarray = "plddt",
    width: int = 480,
    height: int = 360,
    superpose: bool = False,
    caption: str = "",
    axes: bool = False,
    rods: Sequence[Rod] = (),
) -> View:
    """Draw one or more chains.

    Args:
        chains: with ``superpose`` the first is drawn in colour, the others (the truth) in grey.
        color: "plddt" (B-factors, AlphaFold's colours), "position" (dark blue N-terminus to
            yellow C-terminus), "chain" (one colour each), or a number 0..1 for each residue of the
            first chain, pale to dark.
        superpose: move every further chain onto the first, residues paired by sequence; lDDT,
            TM-score and RMSD are printed beside the picture.
        axes: draw the backbone frame of each residue of the first chain (Algorithm 21), and the
            chain itself as a thread.
        rods: start and end (Å, where the chains are) and colour of each, to draw beside the chains.

    Raises:
        BadInput: no chain, no Cα atom, an unknown colour, or chains that are not of one protein.
    """
    chains = [chains] if isinstance(chains, Chain) else list(chains)
    _check(chains)
    if superpose:
        chains = chains[:1] + [_moved(chain, onto=chains[0]) for chain in chains[1:]]
    at = chains[0].mask[:, CA] > 0
    ca = chains[0].positions[:, CA][at]
    few = at.sum() < 4  # too few to turn them well
    rotation, center = _orientation(chains[0].positions[chains[0].mask > 0] if few else ca)
    layers = []
    for k, chain in enumerate(chains):
        turned = (chain.positions - center) @ rotation * chain.mask[..., None]
        ghost = superpose and k > 0
        colors = [GHOST] * len(chain.sequence) if ghost else _colors(chain, color, k)
        notes = [""] * len(chain.sequence)
        if isinstance(color, str) and color == "plddt" and not ghost:
            notes = [f" · pLDDT {b:.0f}" for b in chain.b_factors]
        placed = replace(chain, positions=turned.astype(np.float32))
        thin = axes and k == 0
        layers.append(Layer(placed, tuple(colors), tuple(notes), ghost, thin))
    rods = [*rods, *_frame_axes(chains[0])] if axes else rods
    marks = [
        Mark((np.array([start, end]) - center) @ rotation, ROD, shade) for start, end, shade in rods
    ]
    key = _key(layers, color) + (AXES if axes else ())
    scores = _scores(chains) if superpose else ()
    return View(tuple(layers), width, height, caption, marks=tuple(marks), key=key, scores=scores)


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


def attention(
    chain: Chain,
    weights: Float[np.ndarray, " n"],
    residue: int,
    least: float = 0.1,
    width: int = 480,
    height: int = 360,
    caption: str = "",
) -> View:
    """What one residue looks at: one row of an attention map, on the structure.

    The ribbon is the darker the larger the weight; arcs lead to those looked at most.

    Args:
        residue: who looks, counted from 0.
        least: arcs are for weights from this part of the largest on; 24 at most.

    Raises:
        BadInput: not one weight for each residue, or no such residue; otherwise as ``view``.
    """
    n = len(chain.sequence)
    weights = np.asarray(weights, float)
    if not 0 <= residue < n or weights.shape != (n,) or not np.isfinite(weights).all():
        raise BadInput(
            f"attention of residue {residue} with weights of shape {weights.shape} does not fit "
            f"to {n} residues; give one finite weight for each, and count from 0"
        )
    part = weights / max(float(weights.max()), 1e-30)
    names = [f"{ONE_TO_THREE[x].capitalize()} {k + 1}" for x, k in
             zip(chain.sequence, chain.residue_index.tolist())]  # fmt: skip
    others = [k for k in np.argsort(-part, kind="stable") if k != residue and part[k] >= least]
    most = ", ".join(f"{names[k]} ({weights[k]:.2g})" for k in others[:3])
    words = f"{names[residue]} looks most at {most}." if most else f"{names[residue]} looks around."
    drawn = view(chain, part, width, height, caption=caption or words)
    layer = drawn.layers[0]
    there, ca = layer.chain.mask[:, CA] > 0, layer.chain.positions[:, CA].astype(np.float64)
    marks = [Mark(ca[[residue]], 1.3, LOOKS)] if there[residue] else []
    for k in others[:MOST_ARCS]:
        if there[k] and there[residue]:
            bow = _bow(ca[residue], ca[k], ca[there].mean(0))
            marks.append(Mark(bow, 0.06 + 0.34 * float(part[k]), ARC))
            marks.append(Mark(ca[[k]], 0.35 + 0.65 * float(part[k]), ARC))
    notes = tuple(f" · weight {w:.2g}" for w in weights)
    key = ((LOOKS, f"{names[residue]} looks"), (ARC, "is looked at (thicker: more)"))
    return replace(drawn, layers=(replace(layer, notes=notes),), marks=tuple(marks), key=key)


def plddt_color(plddt: float) -> str:
    """AlphaFold's colour of a confidence."""
    return next((c for least, _, c in PLDDT_BANDS if plddt >= least), PLDDT_BANDS[-1][2])


# --- Parts ----------------------------------------------------------------------------------------


def _bow(start: np.ndarray, end: np.ndarray, middle: np.ndarray) -> np.ndarray:
    """Points of an arc that bends away from the middle of the protein."""
    t = np.linspace(0, 1, 13)[:, None]
    out = (start + end) / 2 - middle
    height = 0.35 * np.linalg.norm(end - start) + 1
    lift = 4 * t * (1 - t) * height / max(float(np.linalg.norm(out)), 1e-6)
    return start + t * (end - start) + lift * out


def _frame_axes(chain: Chain) -> list[Rod]:
    """The axes of the backbone frames, from Cα on."""
    x = torch.as_tensor(chain.positions[chain.mask[:, [N, CA, C]].all(1)]).double()
    frames = Rigid.from_3_points(x[:, N], x[:, CA], x[:, C])
    return [
        (t, t + AXIS * R[:, k], color)
        for R, t in zip(frames.R.numpy(), frames.t.numpy())
        for k, (color, _) in enumerate(AXES)
    ]


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


def _key(layers: Sequence[Layer], color: str | Sequence[float] | np.ndarray) -> tuple:
    """What the colours stand for."""
    key: list[tuple[str, str]] = []
    if isinstance(color, str) and color == "plddt":
        for least, words, shade in PLDDT_BANDS:
            from_here = f" (≥ {least})" if least else ""
            key.append((shade, words.split(" (")[0] + from_here))
        key[0] = (key[0][0], f"pLDDT {key[0][1]}")
    elif isinstance(color, str) and color == "position":
        key = [(layers[0].colors[0], "N-terminus"), (layers[0].colors[-1], "C-terminus")]
    elif isinstance(color, str):
        key = [(layer.colors[0], layer.chain.name or "a chain") for layer in layers]
    return tuple(key + [(GHOST, x.chain.name or "to compare") for x in layers if x.ghost])


def _scores(chains: Sequence[Chain]) -> tuple[tuple[str, str], ...]:
    """Name and value of what is printed beside a superposition on the first chain."""
    first, *others = chains
    traced = not first.mask[:, [N, C]].any()  # Cα alone cannot be judged by all atoms
    result = []
    for chain in others:
        values = evaluate(first, chain)
        prefix = f"{chain.name}: " if len(others) > 1 else ""
        for metric in BESIDE:
            label, unit, digits, _ = METRICS[metric]
            if not (traced and metric == "lddt"):
                text = f"{values[metric]:.{digits}f}"
                beside = unit if metric == "lddt" else ""
                result.append((f"{prefix}{label}{f' ({beside})' if beside else ''}",
                               text + (f" {unit}" if unit and not beside else "")))  # fmt: skip
    return tuple(result)


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
