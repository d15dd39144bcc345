"""Still pictures of what was recorded, for ``minifold attention`` and beside the viewer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from minifold.data.structures import Chain
from minifold.look import plots
from minifold.look.attention_maps import KINDS, Maps
from minifold.look.taps import Record
from minifold.look.view3d import attention


def grid(maps: Maps) -> Figure:
    """A figure of all maps of one kind, pass and slice: a row for each block."""
    name = KINDS[maps.kind].label + (f", {maps.label}" if maps.label else "")
    return plots.attention_grid(maps.weights, name, [f"{unit(maps)} {b}" for b in maps.blocks])


def pictures(firsts: Sequence[Maps], record: Record, chain: Chain) -> dict[str, bytes]:
    """Still pictures (PNG) by name: see ``attention_view.write_attention``."""
    result = {maps.kind: plots.png(grid(maps)) for maps in firsts}
    residues = [maps for maps in firsts if not KINDS[maps.kind].sequences]
    if residues:
        maps = residues[0]
        head, query = farthest(maps.weights[-1])
        weights = maps.weights[-1, head]
        place = f"{KINDS[maps.kind].label}, {unit(maps)} {maps.blocks[-1]}, head {head}"
        numbers = record["input/residue_index"]
        large = plots.attention_head(weights, record.sequence, numbers, place)
        result["head"] = plots.png(large)
        result["structure"] = attention(chain, weights[query], query, caption=place).png()
    for maps in firsts:
        stack = f"recycle{maps.recycle}/{KINDS[maps.kind].stack}.{maps.blocks[-1]}/{maps.kind}"
        place = f"{KINDS[maps.kind].label}, {unit(maps)} {maps.blocks[-1]}"
        letters = record.get(f"recycle{maps.recycle}/msa", np.zeros((0, 0), np.uint8))
        if maps.kind == "msa_column" and len(letters) > 1:
            s = len(letters)  # the rows after these are templates
            tree = plots.msa_column(maps.weights[-1][:, :s, :s], letters, f"{place}, {maps.label}")
            result["msa_column_tree"] = plots.png(tree)
        if maps.kind.startswith("triangle") and record[stack].ndim == 4:
            ending = maps.kind == "triangle_ending"
            figure = plots.triangle_slices(
                record[stack], sequence=record.sequence, ending=ending, name=place
            )
            result[f"{maps.kind}_slices"] = plots.png(figure)
    return result


def farthest(weights: Float[np.ndarray, "h n n"]) -> tuple[int, int]:
    """Head and query of the largest weight between residues more than two places apart."""
    i, j = np.indices(weights.shape[1:])
    head, query, _ = np.unravel_index(np.where(abs(i - j) > 2, weights, -1).argmax(), weights.shape)
    return int(head), int(query)


def unit(maps: Maps) -> str:
    """What the model has several of: blocks, or layers of the structure module."""
    return "layer" if KINDS[maps.kind].stack == "structure" else "block"
