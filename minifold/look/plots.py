"""Plots of what goes into the model, what it thinks and what comes out.

Every function takes plain arrays and returns a matplotlib Figure of its own (no global state, so
they work without a screen); ``png`` turns a figure into bytes. Residues are counted from 1 on axes.
Colours: ``minifold.look.style``; confidence has AlphaFold's. Plots of attention and of training are
in modules of their own and can be had from here, too.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Integer
from matplotlib.axes import Axes
from matplotlib.colors import Colormap
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.image import AxesImage
from matplotlib.patches import PathPatch, Rectangle
from matplotlib.textpath import TextPath
from matplotlib.transforms import Affine2D

from minifold.data.residues import GAP, RESTYPES
from minifold.data.structures import Chain
from minifold.errors import BadInput
from minifold.look import style
from minifold.look.attention_plots import (
    attention_grid,
    attention_head,
    attention_heads,
    msa_column,
    triangle_slices,
)
from minifold.look.style import png
from minifold.look.training_plots import METRIC_NAMES, loss_curve, read_log
from minifold.look.view3d import PLDDT_BANDS, plddt_color
from minifold.model.atoms import atom37_to_torsions

__all__ = [
    "png", "pair_map", "pair_maps", "pair_image", "two_halves", "distance_map", "contact_map",
    "pae", "plddt", "msa_depth", "msa_coverage", "logo", "distogram", "ramachandran", "phi_psi",
    "read_log", "loss_curve", "METRIC_NAMES",
    "attention_heads", "attention_grid", "attention_head", "msa_column", "triangle_slices",
]  # fmt: skip

NEAR = "cividis_r"  # distances: bright is near
LETTER_COLORS = (  # of a logo, by chemistry
    ("KRH", style.BLUE, "basic"),
    ("DE", style.RED, "acidic"),
    ("NQST", style.GREEN, "polar"),
    ("AVLIMFWYP", style.INK, "hydrophobic"),
    ("CG", style.ORANGE, "Cys, Gly"),
)


# --- Pairs of residues ----------------------------------------------------------------------------


def pair_map(
    values: Float[np.ndarray, "n m"],
    title: str,
    unit: str,
    limits: tuple[float, float] | None = None,
    cmap: str | Colormap = style.SEQUENTIAL,
    axes: tuple[str, str] = ("residue j", "residue i"),
) -> Figure:
    """Any map over pairs: attention weights, distances, couplings; NaN is left white."""
    figure, grid = style.sheet(4.6, 3.9)
    pair_image(grid[0, 0], values, title, unit, limits, cmap, axes)
    return figure


def distance_map(
    predicted: Float[np.ndarray, "n n"],
    true: Float[np.ndarray, "n n"] | None = None,
    farthest: float = 22.0,
) -> Figure:
    """Distances in Å: predicted above the diagonal, true below it (predicted if not known)."""
    title = "Distance between residues"
    figure, grid = style.sheet(4.6, 3.9)
    both = predicted if true is None else two_halves(predicted, true)
    limits = (2.0, farthest)
    pair_image(grid[0, 0], both, title, "Cβ distance (Å)", limits, NEAR)
    if true is not None:
        _name_halves(grid[0, 0], "white")
    return figure


def contact_map(
    predicted: Float[np.ndarray, "n n"],
    true: Bool[np.ndarray, "n n"] | Float[np.ndarray, "n n"] | None = None,
) -> Figure:
    """Probability of a contact above the diagonal; true contacts (0 or 1) below it."""
    figure, grid = style.sheet(4.6, 3.9)
    both = predicted if true is None else two_halves(predicted, np.asarray(true, float))
    title, unit = "Contacts (Cβ nearer than 8 Å)", "probability"
    pair_image(grid[0, 0], both, title, unit, (0.0, 1.0), "Blues")
    if true is not None:
        _name_halves(grid[0, 0], style.INK)
    return figure


def pae(error: Float[np.ndarray, "n n"]) -> Figure:
    """Predicted aligned error: of residue x, if predicted and true residue y were superposed."""
    axes = ("scored residue", "aligned residue")
    limits = (0.0, 31.75)  # the range of AlphaFold's 64 bins
    return pair_map(error, "Predicted aligned error", "Å", limits, "Greens_r", axes)


def pair_maps(
    maps: Mapping[str, Float[np.ndarray, "n m"]],
    unit: str = "",
    limits: tuple[float, float] | None = None,
    cmap: str | Colormap = style.SEQUENTIAL,
    axes: tuple[str, str] = ("residue j", "residue i"),
) -> Figure:
    """Maps over pairs side by side, by title: on one scale, or without limits each on its own."""
    side = min(3.0, 8.8 / len(maps))
    size = (side * len(maps) + (0.9 if limits else 0.3), side + 0.45)
    figure, grid = style.sheet(*size, len(maps), sharey=True)
    for ax, (title, values) in zip(grid[0], maps.items()):
        image = _cells(ax, values, limits, cmap)
        ax.set_xlabel(axes[0])
        style.headline(ax, title)
    grid[0, 0].set_ylabel(axes[1])
    if limits is not None:
        beyond = max(float(np.nanmax(values)) for values in maps.values())
        _scale(image, grid, unit, beyond)
    return figure


def pair_image(
    ax: Axes,
    values: Float[np.ndarray, "n m"],
    title: str,
    unit: str,
    limits: tuple[float, float] | None = None,
    cmap: str | Colormap = style.SEQUENTIAL,
    axes: tuple[str, str] = ("residue j", "residue i"),
) -> None:
    """A map over pairs, as a part of a figure that has others."""
    image = _cells(ax, values, limits, cmap)
    ax.set_xlabel(axes[0])
    ax.set_ylabel(axes[1])
    _scale(image, ax, unit, float(np.nanmax(values)))
    style.headline(ax, title)


def two_halves(
    upper: Float[np.ndarray, "n n"], lower: Float[np.ndarray, "n n"]
) -> Float[np.ndarray, "n n"]:
    """One map of two: above and below the diagonal, on which there is nothing (NaN)."""
    i, j = np.indices(np.shape(upper))
    return np.where(j > i, upper, np.where(i > j, lower, np.nan))


def _cells(
    ax: Axes, values: np.ndarray, limits: tuple[float, float] | None, cmap: str | Colormap
) -> AxesImage:
    values = np.asarray(values, float)
    rows, columns = values.shape
    low, high = limits or (float(np.nanmin(values)), float(np.nanmax(values)))
    extent = (0.5, columns + 0.5, rows + 0.5, 0.5)
    ax.spines[["top", "right"]].set_visible(True)
    return ax.imshow(values, cmap=cmap, vmin=low, vmax=high, extent=extent, interpolation="none")


def _scale(image: AxesImage, axes: Axes | np.ndarray, unit: str, largest: float) -> None:
    beyond = "max" if largest > image.get_clim()[1] + 1e-6 else "neither"
    image.get_figure().colorbar(image, ax=axes, label=unit, extend=beyond, shrink=0.9)


def _name_halves(ax: Axes, color: str) -> None:
    box = {"boxstyle": "round,pad=0.25", "alpha": 0.88, "linewidth": 0}
    box["facecolor"] = "white" if color == style.INK else style.INK
    words = {"transform": ax.transAxes, "color": color, "fontsize": 9, "bbox": box}
    ax.text(0.97, 0.95, "predicted", ha="right", va="top", **words)
    ax.text(0.03, 0.05, "true", ha="left", va="bottom", **words)


# --- Along the chain ------------------------------------------------------------------------------


def plddt(
    confidence: Float[np.ndarray, " n"],
    lddt: Float[np.ndarray, " n"] | None = None,
    residue_index: Int[np.ndarray, " n"] | None = None,
) -> Figure:
    """Predicted lDDT (0-100) along the chain; with ``lddt`` (0-100) what it really is."""
    x = _numbers(len(confidence), residue_index)
    figure, grid = style.sheet(6.3, 2.8)
    ax = grid[0, 0]
    upper = 100
    for least, words, color in PLDDT_BANDS:
        ax.axhspan(least, upper, color=color, alpha=0.10, linewidth=0)
        ax.text(1.01, (least + upper) / 200, words.split(" (")[0], transform=ax.transAxes,
                va="center", fontsize=9, color=style.INK)  # fmt: skip
        upper = least
    ax.plot(x, confidence, color=style.GREY, linewidth=1.2, zorder=2)
    colors = [plddt_color(c) for c in confidence.tolist()]
    ax.scatter(x, confidence, c=colors, s=22, zorder=3, edgecolor=style.INK, linewidth=0.4,
               label="predicted (pLDDT)")  # fmt: skip
    if lddt is not None:
        ax.plot(x, lddt, color=style.INK, linewidth=1.3, linestyle="--", label="true (lDDT)")
        ax.legend(loc="lower left", fontsize=9, frameon=True, framealpha=0.85)
    ax.set(ylim=(0, 100), xlim=(x[0] - 1, x[-1] + 1), xlabel="residue", ylabel="pLDDT")
    style.headline(ax, f"Confidence along the chain (mean {np.mean(confidence):.1f})")
    return figure


def msa_depth(depth: Int[np.ndarray, " n"] | Float[np.ndarray, " n"]) -> Figure:
    """How many sequences of the alignment have a letter at each residue."""
    figure, grid = style.sheet(6.3, 2.1)
    ax = grid[0, 0]
    x = np.arange(1, len(depth) + 1)
    ax.fill_between(x, depth, step="mid", color=style.tint(style.BLUE, 0.35), linewidth=0)
    ax.step(x, depth, where="mid", color=style.BLUE, linewidth=1.5)
    ax.set(xlim=(0, len(depth) + 1), xlabel="residue", ylabel="sequences")
    ax.set_ylim(0, max(1, 1.1 * float(np.max(depth))))
    ax.yaxis.get_major_locator().set_params(integer=True)
    style.headline(ax, f"Depth of the alignment (median {np.median(depth):.0f})")
    return figure


def msa_coverage(tokens: Integer[np.ndarray, "s n"]) -> Figure:
    """The whole alignment: a line for each sequence, coloured by how alike the query it is.

    The sequences most alike are at the bottom; white is a gap; the black line counts the letters.
    """
    tokens = np.asarray(tokens)
    there = tokens < GAP
    alike = ((tokens == tokens[0]) & there).sum(1) / there.sum(1).clip(1)
    order = np.argsort(-alike, kind="stable")
    image = np.where(there, alike[:, None], np.nan)[order]
    depth, n = tokens.shape
    figure, grid = style.sheet(6.3, 3.2)
    ax = grid[0, 0]
    extent = (0.5, n + 0.5, 0, depth)
    shown = ax.imshow(image, cmap="viridis", vmin=0, vmax=1, extent=extent, aspect="auto",
                      origin="lower", interpolation="none")  # fmt: skip
    ax.step(np.arange(1, n + 1), there.sum(0), where="mid", color=style.INK, linewidth=1.5)
    ax.set(xlim=(0.5, n + 0.5), ylim=(0, 1.02 * depth), xlabel="residue", ylabel="sequences")
    ax.yaxis.get_major_locator().set_params(integer=True)
    figure.colorbar(shown, ax=ax, label="identity to the query")
    middle = f"{np.median(there.sum(0)):.0f} at a residue (median)"
    style.headline(ax, f"The alignment: {depth} sequence{'s' * (depth > 1)}, {middle}")
    return figure


def logo(tokens: Int[np.ndarray, "s n"], start: int = 1, per_row: int = 40) -> Figure:
    """Sequence logo: the height of a column is its information (bits, at most log2(20) = 4.32).

    Letters are stacked by frequency; gaps and unknown letters do not count. ``start`` is the number
    of the first residue.
    """
    length = tokens.shape[1]
    counts = (np.asarray(tokens)[..., None] == np.arange(20)).sum(0)
    frequency = counts / counts.sum(-1, keepdims=True).clip(1)
    entropy = -(frequency * np.log2(frequency.clip(1e-12))).sum(-1)
    bits = np.where(counts.sum(-1) > 0, np.log2(20) - entropy, 0)
    color_of = {letter: color for letters, color, _ in LETTER_COLORS for letter in letters}
    rows = -(-length // per_row)
    wide = min(length, per_row)
    figure, grid = style.sheet(0.8 + 0.2 * wide, 0.5 + 1.25 * rows, 1, rows)
    shapes = _letter_shapes()
    for r, ax in enumerate(grid[:, 0]):
        columns = range(r * per_row, min((r + 1) * per_row, length))
        for i in columns:
            base = 0.0
            for token in np.argsort(frequency[i], kind="stable"):
                height = frequency[i, token] * bits[i]
                if height > 0.02:
                    place = Affine2D().scale(0.92, height).translate(start + i - 0.46, base)
                    ink = color_of[RESTYPES[token]]
                    ax.add_patch(PathPatch(place.transform_path(shapes[token]), color=ink, lw=0))
                base += height
        first = start + r * per_row
        ax.set(xlim=(first - 0.7, first + wide - 0.3), ylim=(0, np.log2(20)), ylabel="bits")
        ticks = [start + i for i in columns if (start + i) % 5 == 0]
        ax.set_xticks(ticks)
    grid[-1, 0].set_xlabel("residue")
    words = [(name, color) for _, color, name in LETTER_COLORS]
    for k, (name, color) in enumerate(words):
        grid[0, 0].text(k / len(words), 1.06, name, color=color, fontsize=9, fontweight="bold",
                        transform=grid[0, 0].transAxes)  # fmt: skip
    return figure


def _letter_shapes() -> list:
    """Outlines of the twenty letters, each scaled to fill the unit square."""
    font = FontProperties(family="DejaVu Sans", weight="bold")
    shapes = []
    for letter in RESTYPES:
        path = TextPath((0, 0), letter, size=1, prop=font)
        box = path.get_extents()
        move = Affine2D().translate(-box.x0, -box.y0)
        shapes.append(move.scale(1 / box.width, 1 / box.height).transform_path(path))
    return shapes


def _numbers(n: int, residue_index: np.ndarray | None) -> np.ndarray:
    return np.arange(1, n + 1) if residue_index is None else np.asarray(residue_index) + 1


# --- Single things --------------------------------------------------------------------------------


def distogram(
    probability: Float[np.ndarray, " bins"],
    edges: Float[np.ndarray, " inner"],
    pair: tuple[str, str] = ("i", "j"),
    true: float | None = None,
) -> Figure:
    """What the model believes about one distance: probability per bin; ``edges`` (Å) between bins.

    Raises:
        BadInput: there is not one edge fewer than bins.
    """
    if len(edges) != len(probability) - 1:
        raise BadInput(f"{len(probability)} bins need {len(probability) - 1} edges between them")
    step = edges[1] - edges[0]
    left = np.concatenate([edges[:1] - step, edges])
    figure, grid = style.sheet(5.2, 2.8)
    ax = grid[0, 0]
    colors = [style.BLUE] * (len(left) - 1) + [style.GREY]
    ax.bar(left, probability, width=step * 0.9, align="edge", color=colors)
    ax.set_ylim(0, 1.18 * float(np.max(probability)))
    if true is not None:
        ax.axvline(true, color=style.RED, linewidth=1.8)
        ax.text(true, 1.0, f" true {true:.1f} Å", color=style.RED, fontsize=9, va="top",
                transform=ax.get_xaxis_transform())  # fmt: skip
    ax.set(xlabel="Cβ distance (Å); the grey bin is all that is farther", ylabel="probability")
    style.headline(ax, f"Distance between {pair[0]} and {pair[1]}")
    return figure


def ramachandran(
    phi: Float[np.ndarray, " n"],
    psi: Float[np.ndarray, " n"],
    glycine: Bool[np.ndarray, " n"] | None = None,
) -> Figure:
    """Backbone torsions in degrees; NaN is left out. Boxes: right-handed helix and strand."""
    figure, grid = style.sheet(4.2, 4.0)
    ax = grid[0, 0]
    regions = ((-95, -70, 50, 55, "α helix"), (-170, 90, 125, 90, "β strand"))
    for x, y, w, h, name in regions:
        box = Rectangle((x, y), w, h, facecolor=style.tint(style.SKY, 0.25), linewidth=0)
        ax.add_patch(box)
        ax.text(6, y + h / 2, name, fontsize=9, color=style.BLUE, va="center")
    flexible = np.zeros(len(phi), bool) if glycine is None else np.asarray(glycine, bool)
    ax.scatter(phi[~flexible], psi[~flexible], s=14, color=style.BLUE, label="residue")
    if flexible.any():
        ax.scatter(phi[flexible], psi[flexible], s=20, marker="^", color=style.RED, label="glycine")
        figure.legend(fontsize=9, loc="outside lower right", ncols=2, handletextpad=0.1)
    ticks = range(-180, 181, 60)
    ax.set(xlim=(-180, 180), ylim=(-180, 180), xticks=ticks, yticks=ticks, aspect="equal")
    ax.set(xlabel="φ (degrees)", ylabel="ψ (degrees)")
    ax.axhline(0, color=style.GREY, linewidth=0.6, zorder=0)
    ax.axvline(0, color=style.GREY, linewidth=0.6, zorder=0)
    style.headline(ax, "Backbone torsions (Ramachandran)")
    return figure


def phi_psi(chain: Chain) -> tuple[np.ndarray, np.ndarray]:
    """Both backbone torsions of every residue in degrees, for `ramachandran`; NaN: not defined."""
    values = (chain.aatype, chain.positions, chain.mask)
    aatype, positions, mask = (torch.as_tensor(x)[None] for x in values)
    torsions, _, defined = atom37_to_torsions(aatype.long(), positions, mask)
    degrees = torch.atan2(*torsions[0, :, 1:3].unbind(-1)).rad2deg()  # pre-omega, phi, psi, ...
    degrees = degrees.where(defined[0, :, 1:3] > 0, torch.nan).numpy()
    return degrees[:, 0], degrees[:, 1]
