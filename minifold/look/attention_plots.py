"""Pictures of attention, made for print: whole stacks, one head, MSA columns, triangles.

Every function takes arrays as ``minifold.look.record`` gives them and returns a Figure. Rows ask,
columns answer; blocks and heads are counted from 0, as in Python, residues and sequences from 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Integer
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from scipy.cluster.hierarchy import dendrogram, linkage
from scipy.spatial.distance import pdist

from minifold.data.residues import ONE_TO_THREE
from minifold.errors import BadInput
from minifold.look import style

WAY = "row: who looks (query); column: who is looked at (key)"
LARGEST = "weight (of the largest in the map)"


def attention_grid(
    weights: Float[np.ndarray, "layers h q k"],
    name: str = "Attention",
    layers: Sequence[str] = (),
) -> Figure:
    """All heads of all layers, one small map each, on a scale of its own: its largest weight.

    Args:
        layers: the names of the layers, such as "block 3"; default 0, 1, 2, ...

    Raises:
        BadInput: the names do not fit.
    """
    deep, heads, queries, keys = weights.shape
    names = [str(name) for name in layers] or [f"layer {k}" for k in range(deep)]
    if len(names) != deep:
        raise BadInput(f"{len(names)} names for {deep} layers; give one for each")
    side = max(0.45, min(1.7, 14 / deep, 9.5 / heads))
    height = side * min(2.0, max(0.5, queries / keys))
    figure, grid = style.sheet(side * heads + 2, (height + 0.2) * deep + 0.75, heads, deep)
    for (b, h), ax in np.ndenumerate(grid):
        image = weight_map(ax, weights[b, h])
        ax.set(xticks=[], yticks=[])
        if side > 0.8:
            ax.set_title(f"max {weights[b, h].max():.2g}", fontsize=8, pad=2, color=style.INK)
        if b == deep - 1:
            ax.set_xlabel(f"head {h}" if side > 0.8 else str(h), fontsize=9)
    for ax, layer in zip(grid[:, 0], names):
        ax.set_ylabel(layer, fontsize=9, rotation=0, ha="right", va="center")
    figure.colorbar(image, ax=grid, shrink=min(1, 3 / figure.get_figheight()), label=LARGEST)
    over(figure, name, WAY)
    return figure


def attention_heads(
    weights: Float[np.ndarray, "h n m"], title: str = "Attention", columns: int = 4
) -> Figure:
    """The heads of one layer, one map each, all on one scale."""
    heads = len(weights)
    columns = min(columns, heads)
    rows = -(-heads // columns)
    figure, grid = style.sheet(2.1 * columns + 0.8, 2.25 * rows + 0.3, columns, rows)
    high = float(np.nanmax(weights))
    for k, ax in enumerate(grid.flat):
        if k < heads:
            image = weight_map(ax, weights[k], high)
            ax.set_title(f"head {k}", loc="left", fontsize=9)
            ax.set(xticks=[], yticks=[])
        else:
            ax.set_axis_off()
    figure.colorbar(image, ax=grid, shrink=0.7, aspect=30, label="weight")
    over(figure, title, WAY)
    return figure


def attention_head(
    weights: Float[np.ndarray, "n m"],
    sequence: str = "",
    residue_index: Integer[np.ndarray, " n"] | None = None,
    name: str = "Attention",
) -> Figure:
    """One head, large, and above it how much each key is looked at on average.

    Args:
        sequence: the letters of the residues, written at both sides of a map of at most 80.
        residue_index: counted from 0.

    Raises:
        BadInput: the sequence does not fit.
    """
    n, m = weights.shape
    if sequence and not n == m == len(sequence):
        raise BadInput(f"{len(sequence)} letters for a map of {n} x {m}; give one for each residue")
    figure, grid = style.sheet(6.2, 6.6, 1, 2, height_ratios=(1, 7), sharex="col")
    above, ax = grid[:, 0]
    image = weight_map(ax, weights, float(weights.max()))
    ax.set(xlabel="key: who is looked at", ylabel="query: who looks")
    above.bar(range(m), weights.mean(0), color=style.BLUE, width=0.9)
    above.set_ylabel("mean", fontsize=9)
    above.set_ylim(0, None)
    above.tick_params(labelbottom=False, length=2)
    numbers = np.arange(max(n, m)) if residue_index is None else np.asarray(residue_index)
    for axis, size in ((ax.xaxis, m), (ax.yaxis, n)):
        step = next(s for s in (1, 2, 5, 10, 20, 50, 100, 10**6) if size / s <= 16)
        at = [k for k in range(size) if (numbers[k] + 1) % step == 0]
        axis.set_ticks(at, [str(numbers[k] + 1) for k in at])
        if sequence and size <= 80:
            axis.remove_overlapping_locs = False  # a letter at the numbers, too
            axis.set_ticks(range(size), sequence, minor=True, fontsize=min(8, 330 / size))
            axis.set_tick_params(which="minor", length=0, pad=1)
            axis.set_tick_params(which="major", length=0, pad=11)
    figure.colorbar(image, ax=grid, shrink=0.6, aspect=30, label="weight")
    style.headline(above, name)
    return figure


def msa_column(
    weights: Float[np.ndarray, "h s s"],
    letters: Integer[np.ndarray, "rows n"],
    name: str = "MSA column attention",
) -> Figure:
    """Who looks at whom among the sequences, relatives side by side, with their tree.

    The tree is Ward's, on the square root of the Hamming distance: that root, unlike the distance
    itself, is a Euclidean distance between one-hot letters, as Ward's method wants.

    Args:
        weights: heads of one block, of one column or the mean over columns.
        letters: the alignment, row 0 the query: ``taps["recycle0/msa"]``.

    Raises:
        BadInput: fewer than two sequences, or the two arrays differ in their number.
    """
    heads, s = weights.shape[:2]
    if len(letters) != s or s < 2:
        raise BadInput(f"attention of {s} sequences, letters of {len(letters)}; give the same ≥ 2")
    tree = dendrogram(relatives(letters), no_plot=True)
    order = tree["leaves"]
    columns = min(heads, 4)
    rows = -(-heads // columns)
    widths = [0.8, *[2.2] * columns, 0.22]
    figure, grid = style.sheet(
        sum(widths) + 1.6, 2.5 * rows + 0.6, columns + 2, rows, width_ratios=widths
    )
    identity = (letters == letters[0]).mean(1)
    query = order.index(0)
    for r, (left, *maps, right) in enumerate(grid):
        draw_tree(left, tree)
        left.set_ylabel("sequences, relatives together", fontsize=9)
        for k, ax in enumerate(maps):
            head = r * columns + k
            ax.set(xticks=[], yticks=[])
            if head >= heads:
                ax.set_axis_off()
                continue
            image = weight_map(ax, weights[head][np.ix_(order, order)])
            ax.set_title(f"head {head} · max {weights[head].max():.2g}", loc="left", fontsize=9)
            ax.set_xticks([query], ["query"], fontsize=8)
            ax.set_yticks([query], [])
        right.imshow(identity[order, None], aspect="auto", cmap="Greys", vmin=0, vmax=1)
        right.set(xticks=[], yticks=[query], yticklabels=["query"])
        right.yaxis.tick_right()
        right.set_ylabel("identity to the query (black: the same)", fontsize=8)
        right.yaxis.set_label_position("right")
    figure.colorbar(image, ax=grid, shrink=0.8, aspect=25, label=LARGEST)
    over(figure, name, WAY)
    return figure


def relatives(letters: Integer[np.ndarray, "s n"]) -> Float[np.ndarray, "merges 4"]:
    """Ward's tree of aligned sequences, as SciPy's linkage matrix."""
    return linkage(np.sqrt(pdist(letters, "hamming")), "ward")


def draw_tree(ax: Axes, tree: dict) -> None:
    """A dendrogram that grows to the left; its leaves lie at 0, 1, 2, ... from the top."""
    leaf = [[(y - 5) / 10 for y in ys] for ys in tree["icoord"]]  # SciPy puts them at 5, 15, ...
    lines = [list(zip(xs, ys)) for xs, ys in zip(tree["dcoord"], leaf)]
    ax.add_collection(LineCollection(lines, colors=style.INK, linewidths=0.7))
    far = max(max(xs) for xs in tree["dcoord"])
    ax.set(xlim=(1.02 * far or 1, 0), ylim=(len(tree["leaves"]) - 0.5, -0.5), xticks=[], yticks=[])
    ax.spines[:].set_visible(False)


def triangle_slices(
    weights: Float[np.ndarray, "n h q k"],
    rows: Sequence[int] = (),
    sequence: str = "",
    ending: bool = False,
    name: str = "",
) -> Figure:
    """Triangle attention with one corner held fixed: a column of maps for each fixed residue.

    Args:
        weights: [i, h, j, k], edge i→j looks at the edges i→k; with ``ending`` [j, h, i, k], edge
            i→j looks at the edges k→j.
        rows: the fixed residues, counted from 0; four evenly spaced ones if there are none.

    Raises:
        BadInput: a fixed residue is not there.
    """
    n, heads = weights.shape[:2]
    rows = list(rows) or sorted({int(x) for x in np.linspace(0, n - 1, 6).round()[1:-1]})
    if not all(0 <= row < n for row in rows):
        raise BadInput(f"fixed residues {rows}, but there are residues 0 to {n - 1}; choose these")
    fixed, looks, looked_at = ("j", "i → j", "k → j") if ending else ("i", "i → j", "i → k")
    side = min(2.2, 10 / len(rows), 14 / heads)
    figure, grid = style.sheet(
        side * len(rows) + 1.5, (side + 0.15) * heads + 0.8, len(rows), heads
    )
    for (h, column), ax in np.ndenumerate(grid):
        values = weights[rows[column], h]
        image = weight_map(ax, values)
        number = rows[column]
        amino_acid = ONE_TO_THREE[sequence[number]].capitalize() if sequence else "residue"
        ax.set(xticks=[], yticks=[])
        if h == 0:
            ax.set_title(f"{fixed} = {amino_acid} {number + 1}", loc="left", fontsize=10)
        if h == heads - 1:
            ax.set_xlabel(f"k: edge {looked_at}", fontsize=9)
    for h, ax in enumerate(grid[:, 0]):
        ax.set_ylabel(f"head {h}\n{looks[0 if ending else -1]}: edge {looks} looks", fontsize=9)
    figure.colorbar(image, ax=grid, shrink=min(1, 3 / figure.get_figheight()), label=LARGEST)
    end = "ending" if ending else "starting"
    words = name or f"Triangle attention around the {end} node"
    over(figure, words, f"{fixed} fixed; rows look, columns are looked at")
    return figure


def over(figure: Figure, name: str, way: str) -> None:
    """Two lines above a figure."""
    figure.suptitle(f"{name}\n{way}", fontsize=10, x=0.01, ha="left", color=style.INK)


def weight_map(ax: Axes, weights: Float[np.ndarray, "q k"], high: float | None = None):
    """One map, dark at ``high``, or at its own largest weight and then from 0 to 1."""
    if high is None:
        weights, high = weights / max(float(weights.max()), 1e-30), 1.0
    ax.spines[:].set_visible(True)
    ax.spines[:].set_color(style.GREY)
    options = {"aspect": "auto", "interpolation": "none"}
    return ax.imshow(weights, cmap=style.WEIGHTS, vmin=0, vmax=high, **options)
