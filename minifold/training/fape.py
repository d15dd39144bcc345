"""Frame aligned point error (Alg. 28): the loss that sees a structure from every residue.

And what it needs: the names of atoms that chemistry cannot tell apart (Alg. 26).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from minifold.data.residues import RENAMING
from minifold.model.atoms import GroundTruth
from minifold.model.rigid import Rigid, rotate

# Slots of atom14 that hold an atom with two names in some residue: the ends of Asp, Glu, Phe, Tyr
AMBIGUOUS_SLOTS = [k for k in range(14) if (RENAMING[:, k] != k).any()]


def frame_aligned_point_error(
    frames: Rigid,
    true_frames: Rigid,
    frames_mask: Float[Tensor, "*#b f"],
    points: Float[Tensor, "*b p 3"],
    true_points: Float[Tensor, "*#b p 3"],
    points_mask: Float[Tensor, "*#b p"],
    clamp: float | None = 10.0,
    scale: float = 10.0,
    eps: float = 1e-4,
) -> Float[Tensor, "*b"]:
    """Mean distance, in all frames, between points and true points as that frame sees them.

    Unchanged when prediction or truth are moved as a whole, but not by a reflection. Alg. 28.

    Args:
        frames, true_frames: rigids [*b, f], Å. Truth and masks may lack axes of the prediction.
        clamp: largest error that counts, Å; None for no limit.
        scale: the unit of the result, Å.
    """
    # lines 1, 2: T⁻¹(x) of the prediction less that of the truth is linear in (x, x_true, 1), so
    # the differences of all pairs are one matrix product
    Rt, true_Rt = frames.R.mT, true_frames.R.mT.expand_as(frames.R)
    offset = rotate(true_Rt, true_frames.t) - rotate(Rt, frames.t)
    matrix = torch.cat([Rt, -true_Rt, offset[..., None]], dim=-1)  # [*b, f, 3, 7]
    one = torch.ones_like(points[..., :1])
    vector = torch.cat([points, true_points.expand_as(points), one], dim=-1)  # [*b, p, 7]
    difference = (matrix.flatten(-3, -2) @ vector.mT).unflatten(-2, (-1, 3))  # [*b, f, 3, p]
    error = (eps + difference.square().sum(-2)).sqrt()  # line 3
    if clamp is not None:
        error = error.clamp(max=clamp)
    total = (frames_mask * (error @ points_mask[..., None])[..., 0]).sum(-1)  # line 4, masked
    return total / scale / (eps + frames_mask.sum(-1) * points_mask.sum(-1))


def backbone_fape(
    frames: Rigid,
    true_frames: Rigid,
    mask: Float[Tensor, "b i"],
    use_clamped: Float[Tensor, " b"] | None = None,
) -> Float[Tensor, " b"]:
    """Backbone FAPE, mean over the layers (Alg. 20 line 17).

    Args:
        frames: [l, b, i], Å. true_frames: [b, i].
        use_clamped: the share of the clamped (10 Å) loss, 1 if absent; 0 is the unclamped loss
            that AlphaFold2 used for 10 % of the samples, the same for all pairs of an example.
    """
    arguments = frames, true_frames, mask, frames.t, true_frames.t, mask
    clamped = frame_aligned_point_error(*arguments, clamp=10.0)
    if use_clamped is None:
        return clamped.mean(0)
    unclamped = frame_aligned_point_error(*arguments, clamp=None)
    return (use_clamped * clamped + (1 - use_clamped) * unclamped).mean(0)


def local_fape(
    frames: Rigid,
    true_frames: Rigid,
    mask: Float[Tensor, "b i"],
    residue_index: Int[Tensor, "b i"],
    reach: int = 4,
    scale: float = 10.0,
) -> Float[Tensor, "l b"]:
    """Backbone FAPE of residues at most ``reach`` apart in the chain, never clamped.

    Not part of AlphaFold2; off by default. Of all pairs few are neighbours, so a small model learns
    last what FAPE weighs least: bond lengths, helices and their hand.

    Args:
        frames: [l, b, i], Å. true_frames: [b, i].
    """
    seen, true = (T[..., :, None].invert_apply(T.t[..., None, :, :]) for T in (frames, true_frames))
    apart = (residue_index[:, :, None] - residue_index[:, None, :]).abs()
    pairs = mask[:, :, None] * mask[:, None, :] * ((apart > 0) & (apart <= reach))
    error = (1e-4 + (seen - true).square().sum(-1)).sqrt()
    return (pairs * error).sum((-2, -1)) / scale / (1e-4 + pairs.sum((-2, -1)))


@dataclass(frozen=True)
class RenamedTruth:
    """The truth with the names of ambiguous atoms that suit the prediction best."""

    frames8: Rigid  # [b, i, 8]
    frames8_mask: Float[Tensor, "b i 8"]
    atom14: Float[Tensor, "b i 14 3"]
    atom14_mask: Float[Tensor, "b i 14"]
    renamed: Float[Tensor, "b i"]  # 1 where the other names were taken


@torch.no_grad()
def rename_ambiguous(atom14: Float[Tensor, "b i 14 3"], truth: GroundTruth) -> RenamedTruth:
    """Algorithm 26, renameSymmetricGroundTruthAtoms.

    A residue takes the other names if they bring its ambiguous atoms' distances to all
    unambiguous atoms nearer to the predicted distances.
    """

    def distances(x: Tensor) -> Float[Tensor, "b ix ja"]:
        some, all_ = x[:, :, AMBIGUOUS_SLOTS].flatten(1, 2), x.flatten(1, 2)
        return torch.cdist(some, all_, compute_mode="donot_use_mm_for_euclid_dist")

    predicted = distances(atom14.detach())  # Alg. 26 line 1
    known, ambiguous = truth.atom14_mask, truth.atom14_ambiguous
    rows = (known * ambiguous)[:, :, AMBIGUOUS_SLOTS].flatten(1)
    columns = (known * (1 - ambiguous)).flatten(1)
    misfit = [
        ((predicted - distances(names)).abs() * columns[:, None, :]).sum(-1) * rows
        for names in (truth.atom14, truth.alt_atom14)
    ]  # lines 2, 3
    ours, other = (x.unflatten(1, (known.shape[1], -1)).sum(-1) for x in misfit)
    swap = (other < ours).to(atom14.dtype)  # line 4

    def choose(one: Tensor, two: Tensor) -> Tensor:  # lines 5, 6
        return torch.where(swap.reshape(*swap.shape, *[1] * (one.dim() - 2)) > 0, two, one)

    frames, alt = truth.frames8, truth.alt_frames8
    return RenamedTruth(
        Rigid(choose(frames.R, alt.R), choose(frames.t, alt.t)),
        truth.frames8_mask,
        choose(truth.atom14, truth.alt_atom14),
        choose(known, truth.alt_atom14_mask),
        swap,
    )


def sidechain_fape(
    frames8: Rigid,
    atom14: Float[Tensor, "b i 14 3"],
    truth: RenamedTruth,
    clamp: float | None = 10.0,
) -> Float[Tensor, " b"]:
    """FAPE of all atoms in the frames [b, i, 8] of all rigid groups (Alg. 20 line 28)."""

    def flat(T: Rigid) -> Rigid:
        return Rigid(T.R.flatten(1, 2), T.t.flatten(1, 2))

    return frame_aligned_point_error(
        flat(frames8),
        flat(truth.frames8),
        truth.frames8_mask.flatten(1),
        atom14.flatten(1, 2),
        truth.atom14.flatten(1, 2),
        truth.atom14_mask.flatten(1),
        clamp,
    )
