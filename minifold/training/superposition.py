"""Superposition of structures, and the scores that need one: RMSD, TM-score, GDT.

Every function takes a batch and returns one value per example; coordinates in Å, masks 0/1.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def superpose(
    mobile: Float[Tensor, "*b n 3"],
    target: Float[Tensor, "*b n 3"],
    weight: Float[Tensor, "*b n"],
) -> Float[Tensor, "*b n 3"]:
    """``mobile`` moved onto ``target`` with the least weighted square error (Kabsch 1976).

    The rotation comes from the singular vectors of the covariance; it is never a reflection.
    """
    w = (weight / weight.sum(-1, keepdim=True).clamp(min=1e-9))[..., None]
    x = mobile - (w * mobile).sum(-2, keepdim=True)
    centre = (w * target).sum(-2, keepdim=True)
    u, _, vt = torch.linalg.svd((w * x).mT @ (target - centre))
    sign = torch.ones_like(u[..., 0])
    sign[..., 2] = torch.linalg.det(u @ vt).sign()
    return x @ (u * sign[..., None, :] @ vt) + centre


def rmsd(
    predicted: Float[Tensor, "*b n 3"],
    true: Float[Tensor, "*b n 3"],
    mask: Float[Tensor, "*b n"],
) -> Float[Tensor, "*b"]:
    """Root mean square distance after the best superposition, Å."""
    moved = superpose(predicted.double(), true.double(), mask.double())
    square = mask * (moved - true).square().sum(-1)
    return (square.sum(-1) / mask.sum(-1).clamp(min=1)).sqrt().to(true.dtype)


def mirrored(
    predicted: Float[Tensor, "*b n 3"],
    true: Float[Tensor, "*b n 3"],
    mask: Float[Tensor, "*b n"],
) -> Float[Tensor, "*b"]:
    """1 where the prediction is nearer to the mirror image of the truth; the mean is a rate."""
    return (rmsd(-predicted, true, mask) < rmsd(predicted, true, mask)).to(true.dtype)


def _fragments(mask: Bool[Tensor, " n"]) -> Bool[Tensor, "k n"]:
    """Windows of n, n/2, n/4, ... and 4 unmasked residues: where the search begins."""
    at = mask.nonzero()[:, 0]
    sizes = {max(len(at) >> level, min(4, len(at))) for level in range(len(at).bit_length())}
    stride = max(1, len(at) // 200)
    windows = [
        at[start : start + size]
        for size in sorted(sizes, reverse=True)
        for start in range(0, len(at) - size + 1, stride)
    ]
    chosen = mask.new_zeros(len(windows), len(mask))
    for row, window in zip(chosen, windows, strict=True):
        row[window] = True
    return chosen


def _best_score(
    predicted: Float[Tensor, "n 3"],
    true: Float[Tensor, "n 3"],
    mask: Float[Tensor, " n"],
    reach: tuple[float, float],
    score: Callable[[Tensor], Tensor],
) -> float:
    """The largest ``score(distances [k, n] in Å) -> [k]`` over many superpositions.

    Zhang & Skolnick (2004): superpose a fragment, keep the residues that fall within reach (at
    least three), superpose those, and so on until nothing changes; from every fragment. The reach
    is ``reach[0]`` Å in the first round, then ``reach[1]``.
    """
    if mask.sum() == 0:
        return 0.0
    present = mask > 0
    x, y, chosen, best = predicted.double(), true.double(), _fragments(present), 0.0
    for round_ in range(20):
        many = (len(chosen), -1, -1)
        distance = (superpose(x.expand(many), y.expand(many), chosen.double()) - y).norm(dim=-1)
        distance = distance.masked_fill(~present, float("inf"))
        best = max(best, float(score(distance).max()))
        # fewer than three within reach: a larger one, in steps of 0.5 Å as in TM-score
        near = reach[min(round_, 1)]
        third = distance.topk(min(3, len(mask)), largest=False).values[:, -1:]
        within = distance <= near + 0.5 * ((third - near) / 0.5).clamp(min=0).ceil()
        within = torch.unique(within & present, dim=0)
        if within.shape == chosen.shape and bool((within == chosen).all()):
            break
        chosen = within
    return best


def _tm_sum(distance: Float[Tensor, "k n"], d0: float) -> Float[Tensor, " k"]:
    return (1 / (1 + (distance / d0).square())).sum(-1)


def _count_within(distance: Float[Tensor, "k n"], cutoff: float) -> Int[Tensor, " k"]:
    return (distance <= cutoff).sum(-1)


def tm_score(
    predicted: Float[Tensor, "b n 3"],
    true: Float[Tensor, "b n 3"],
    mask: Float[Tensor, "b n"],
    length: int | None = None,
) -> Float[Tensor, " b"]:
    """TM-score of Cα atoms for the given pairing of residues (Zhang & Skolnick 2004).

    Normalised by ``length``, by default the number of unmasked residues.
    """
    scores = []
    for x, y, m in zip(predicted, true, mask, strict=True):
        total = length or max(int(m.sum()), 1)
        d0 = max(0.5, 1.24 * max(total - 15, 0) ** (1 / 3) - 1.8)
        search = min(max(d0, 4.5), 8.0)
        reach = (search - 1, search + 1)
        scores.append(_best_score(x, y, m, reach, partial(_tm_sum, d0=d0)) / total)
    return true.new_tensor(scores)


def gdt(
    predicted: Float[Tensor, "b n 3"],
    true: Float[Tensor, "b n 3"],
    mask: Float[Tensor, "b n"],
    cutoffs: tuple[float, ...],
    length: int | None = None,
) -> Float[Tensor, " b"]:
    """Mean over the cutoffs (Å) of the largest share of residues that can be brought so near.

    Zemla (2003); each cutoff has a superposition of its own.
    """
    scores = []
    for x, y, m in zip(predicted, true, mask, strict=True):
        total = length or max(int(m.sum()), 1)
        best = 0.0
        for cutoff in cutoffs:
            near = partial(_count_within, cutoff=cutoff)
            best += max(_best_score(x, y, m, (r, r), near) for r in (cutoff, 2 * cutoff))
        scores.append(best / len(cutoffs) / total)
    return true.new_tensor(scores)


def gdt_ts(predicted: Tensor, true: Tensor, mask: Tensor, length: int | None = None) -> Tensor:
    """GDT total score: cutoffs of 1, 2, 4 and 8 Å. Arguments as ``gdt``."""
    return gdt(predicted, true, mask, (1.0, 2.0, 4.0, 8.0), length)


def gdt_ha(predicted: Tensor, true: Tensor, mask: Tensor, length: int | None = None) -> Tensor:
    """GDT high accuracy: cutoffs of 0.5, 1, 2 and 4 Å. Arguments as ``gdt``."""
    return gdt(predicted, true, mask, (0.5, 1.0, 2.0, 4.0), length)
