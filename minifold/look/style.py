"""One look for every figure of the course: readable in print, in dark mode, without colour vision.

Colours are Okabe & Ito's ("Color Universal Design", 2008), told apart by people with any kind of
colour vision; lines differ in their dashes, too. Figures always bring a white background.
"""

from __future__ import annotations

import io
from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from PIL import Image

BLUE, ORANGE, GREEN, RED = "#0072B2", "#E69F00", "#009E73", "#D55E00"
PURPLE, SKY, YELLOW, GREY, INK = "#CC79A7", "#56B4E9", "#F0E442", "#999999", "#222222"
CYCLE = [BLUE, ORANGE, GREEN, RED, PURPLE, SKY]
DASHES = ["-", "--", ":", "-.", (0, (5, 1)), (0, (1, 1))]

SEQUENTIAL = "cividis"  # from little to much
DIVERGING = "RdBu_r"  # below and above zero: scores, differences
WEIGHT_COLORS = ("#ffffff", "#cfe4f4", "#4a9fd4", "#005c94", "#04243d")  # of the viewer, too
WEIGHTS = LinearSegmentedColormap.from_list("weights", WEIGHT_COLORS)  # from nothing to much
DPI = 130  # of figures that functions of this package make


def use() -> None:
    """Set matplotlib's defaults; call it once at the top of a notebook."""
    plt.rcParams.update(
        {
            "figure.figsize": (7.0, 3.4),
            "figure.dpi": 110,
            "figure.facecolor": "white",
            "savefig.facecolor": "white",
            "figure.constrained_layout.use": True,
            "axes.facecolor": "white",
            "axes.edgecolor": INK,
            "axes.labelcolor": INK,
            "axes.titlesize": 12,
            "axes.titlelocation": "left",
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.prop_cycle": cycler(color=CYCLE) + cycler(linestyle=DASHES),
            "text.color": INK,
            "xtick.color": INK,
            "ytick.color": INK,
            "font.family": "DejaVu Sans",  # comes with matplotlib: the same on every machine
            "font.size": 11,
            "lines.linewidth": 2.0,
            "legend.frameon": False,
            "image.cmap": SEQUENTIAL,
        }
    )


def sheet(width: float, height: float, columns: int = 1, rows: int = 1, **options):
    """A figure for plots, without pyplot, and its axes, [rows, columns].

    Args:
        options: as for ``Figure.subplots``, and ``width_ratios``, ``height_ratios``.
    """
    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained", facecolor="white")
    axes = figure.subplots(rows, columns, squeeze=False, **options)
    for ax in axes.flat:
        ax.set_prop_cycle(color=CYCLE)
        ax.spines[["top", "right"]].set_visible(False)
        ax.tick_params(labelsize=9, colors=INK)
    return figure, axes


def headline(ax: Axes, words: str) -> None:
    """The title of a plot of a ``sheet``."""
    ax.set_title(words, loc="left", fontsize=11, color=INK)


def png(figure: Figure, dpi: int = DPI, colors: int | None = None) -> bytes:
    """The figure as a PNG, small if of few ``colors``; the same figure gives the same bytes."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # what is laid out stays: a second round would move it
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=dpi, metadata={"Software": None})
    if colors is None:
        return file.getvalue()
    small = io.BytesIO()
    palette = Image.open(file).convert("RGB").quantize(colors, dither=Image.Dither.NONE)
    palette.save(small, "PNG", optimize=True)
    return small.getvalue()


def canvas(width: float, height: float) -> tuple[Figure, Axes]:
    """An empty sheet for a drawing; coordinates run from (0, 0) to (width, height) inches."""
    figure, ax = plt.subplots(figsize=(width, height))
    ax.set(xlim=(0, width), ylim=(0, height), aspect="equal")
    ax.axis("off")
    return figure, ax


def box(
    ax: Axes,
    center: tuple[float, float],
    text: str,
    size: tuple[float, float] = (1.2, 0.5),
    color: str = SKY,
    **text_style,
) -> None:
    """A rounded box with text in it, lightly filled with ``color``."""
    (x, y), (width, height) = center, size
    corner = (x - width / 2, y - height / 2)
    shape = "round,pad=0,rounding_size=0.08"
    ax.add_patch(
        FancyBboxPatch(
            corner, width, height, shape, facecolor=tint(color), edgecolor=color, linewidth=1.6
        )
    )
    ax.text(x, y, text, ha="center", va="center", **text_style)


def arrow(
    ax: Axes,
    start: tuple[float, float],
    end: tuple[float, float],
    color: str = INK,
    width: float = 1.6,
    bend: float = 0.0,
) -> None:
    """An arrow; ``bend`` > 0 curves it to the right, < 0 to the left."""
    ax.add_patch(
        FancyArrowPatch(
            start,
            end,
            arrowstyle="-|>",
            mutation_scale=10 + 2 * width,
            connectionstyle=f"arc3,rad={bend}",
            color=color,
            linewidth=width,
            shrinkA=0,
            shrinkB=0,
        )
    )


def heatmap(
    ax: Axes,
    values: np.ndarray,
    rows: Sequence[str],
    columns: Sequence[str],
    digits: int | None = None,
    cmap: str = SEQUENTIAL,
    limits: tuple[float, float] | None = None,
):
    """A matrix as coloured cells, with names at its sides; ``digits`` prints the numbers."""
    values = np.asarray(values, dtype=float)
    low, high = limits or (np.nanmin(values), np.nanmax(values))
    image = ax.imshow(values, cmap=cmap, vmin=low, vmax=high, aspect="auto")
    ax.set_xticks(range(len(columns)), columns)
    ax.set_yticks(range(len(rows)), rows)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    if digits is not None:
        for (i, j), value in np.ndenumerate(values):
            red, green, blue, _ = image.cmap(image.norm(value))
            bright = 0.3 * red + 0.59 * green + 0.11 * blue > 0.5
            ink = INK if bright else "white"
            ax.text(j, i, f"{value:.{digits}f}", ha="center", va="center", color=ink, fontsize=9)
    return image


def tint(color: str, strength: float = 0.25) -> tuple[float, float, float]:
    """A pale version of a colour, for areas with text on them."""
    return tuple(1 - strength * (1 - channel) for channel in to_rgb(color))
