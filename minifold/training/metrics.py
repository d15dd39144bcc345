"""How good is a predicted structure?

Every function takes a batch and returns one value per example. Coordinates are in Å, masks 0/1,
scores 0..1 unless a unit is given. RMSD, TM-score and GDT find their superposition themselves
(``minifold.training.superposition``). lDDT needs none and is blind to mirror images; FAPE and
``mirrored`` are not.
"""

from __future__ import annotations

import re

import gemmi
import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from minifold.data.structures import Chain
from minifold.errors import BadInput
from minifold.model.rigid import Rigid
from minifold.training.fape import frame_aligned_point_error
from minifold.training.superposition import (
    gdt,
    gdt_ha,
    gdt_ts,
    mirrored,
    rmsd,
    superpose,
    tm_score,
)

__all__ = [
    "superpose", "rmsd", "tm_score", "gdt", "gdt_ts", "gdt_ha", "mirrored",
    "lddt", "lddt_per_point", "lddt_all_atom", "drmsd", "contact_precision", "fape",
    "radius_of_gyration", "clashes", "ca_ca_error", "helix_turns", "evaluate",
]  # fmt: skip

N, CA, C = 0, 1, 2  # in atom37
LDDT_CUTOFFS = (0.5, 1.0, 2.0, 4.0)  # Å

# ------------------------------------------------------------------ distances


def _kept_distances(
    predicted: Float[Tensor, "b n 3"],
    true: Float[Tensor, "b n 3"],
    mask: Float[Tensor, "b n"],
    group: Int[Tensor, "b n"] | None,
    separation: int,
    present: Float[Tensor, "b n"] | None,
    cutoff: float,
) -> tuple[Float[Tensor, "b n"], Float[Tensor, "b n"]]:
    """Of the true distances below the cutoff: how many are kept per point, how many there are."""
    b, n = mask.shape
    group = torch.arange(n, device=mask.device).expand(b, n) if group is None else group
    present = mask if present is None else present
    kept, total = [], []
    for at in torch.arange(n, device=mask.device).split(1024):  # rows, to bound the memory

        def distances(x: Tensor, at: Tensor = at) -> Tensor:
            return (1e-10 + (x[:, at, None] - x[:, None, :]).square().sum(-1)).sqrt()

        true_distance = distances(true)
        counted = mask[:, at, None] * mask[:, None, :] * (true_distance < cutoff)
        counted = counted * ((group[:, at, None] - group[:, None, :]).abs() >= separation)
        error = (distances(predicted) - true_distance).abs()
        score = sum((error < c).to(true.dtype) for c in LDDT_CUTOFFS) / len(LDDT_CUTOFFS)
        found = present[:, at, None] * present[:, None, :]
        kept.append((counted * found * score).sum(-1))
        total.append(counted.sum(-1))
    return torch.cat(kept, 1), torch.cat(total, 1)


def lddt(
    predicted: Float[Tensor, "b n 3"],
    true: Float[Tensor, "b n 3"],
    mask: Float[Tensor, "b n"],
    group: Int[Tensor, "b n"] | None = None,
    separation: int = 1,
    present: Float[Tensor, "b n"] | None = None,
    cutoff: float = 15.0,
) -> Float[Tensor, " b"]:
    """Local distance difference test (Mariani et al. 2013): the share of true distances kept.

    Of all pairs of points nearer than ``cutoff`` Å in the truth, the share whose distance is kept
    to 0.5, 1, 2 and 4 Å (mean of the four). Only pairs whose ``group`` numbers differ by at least
    ``separation`` count: with residue numbers as groups, 1 leaves out pairs inside a residue and 6
    gives the long-range score. ``present`` marks the points the prediction has; others are wrong.
    """
    kept, total = _kept_distances(predicted, true, mask, group, separation, present, cutoff)
    return (1e-10 + kept.sum(-1)) / (1e-10 + total.sum(-1))


def lddt_per_point(
    predicted: Float[Tensor, "b n 3"],
    true: Float[Tensor, "b n 3"],
    mask: Float[Tensor, "b n"],
    group: Int[Tensor, "b n"] | None = None,
    separation: int = 1,
    cutoff: float = 15.0,
) -> Float[Tensor, "b n"]:
    """``lddt`` of each point; 1 where a point has no pair that counts (as DeepMind's code)."""
    kept, total = _kept_distances(predicted, true, mask, group, separation, None, cutoff)
    return (1e-10 + kept) / (1e-10 + total)


def lddt_all_atom(
    predicted: Float[Tensor, "b i 37 3"],
    true: Float[Tensor, "b i 37 3"],
    mask: Float[Tensor, "b i 37"],
    present: Float[Tensor, "b i 37"] | None = None,
) -> Float[Tensor, " b"]:
    """``lddt`` of all heavy atoms, pairs inside a residue left out."""
    present = mask if present is None else present
    scores = []
    for x, y, m, p in zip(predicted, true, mask, present, strict=True):
        residue, atom = m.nonzero(as_tuple=True)
        points = (v[residue, atom][None] for v in (x, y, m))
        scores.append(lddt(*points, group=residue[None], present=p[residue, atom][None])[0])
    return torch.stack(scores)


def _pair_distances(x: Float[Tensor, "b n 3"]) -> Float[Tensor, "b n n"]:
    return torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist")


def drmsd(
    predicted: Float[Tensor, "b n 3"],
    true: Float[Tensor, "b n 3"],
    mask: Float[Tensor, "b n"],
) -> Float[Tensor, " b"]:
    """Root mean square difference of all pair distances, Å. Blind to mirror images, like lDDT."""
    square = (_pair_distances(predicted) - _pair_distances(true)).square()
    pairs = mask[:, :, None] * mask[:, None, :] * (1 - torch.eye(mask.shape[1], device=mask.device))
    return ((pairs * square).sum((1, 2)) / pairs.sum((1, 2)).clamp(min=1)).sqrt()


def contact_precision(
    scores: Float[Tensor, "b i i"],
    cb: Float[Tensor, "b i 3"],
    mask: Float[Tensor, "b i"],
    per_length: float = 0.5,
    separation: int = 6,
    contact: float = 8.0,
) -> Float[Tensor, " b"]:
    """Share of true contacts among the L·``per_length`` best-scored pairs with |i-j| ≥ separation.

    A contact is a pair of Cβ (Cα in glycine) nearer than ``contact`` Å; L is the number of unmasked
    residues. Higher scores are more likely contacts; only the upper triangle is read.
    """
    at = torch.arange(mask.shape[1], device=mask.device)
    far = (at[None, :] - at[:, None]) >= separation
    precisions = []
    for score, x, m in zip(scores, cb, mask, strict=True):
        i, j = (far & (m[:, None] * m[None, :] > 0)).nonzero(as_tuple=True)
        top = min(len(i), max(1, round(float(m.sum()) * per_length)))
        best = score[i, j].topk(top).indices
        hit = (x[i[best]] - x[j[best]]).norm(dim=-1) < contact
        precisions.append(hit.to(cb.dtype).mean() if top else cb.new_zeros(()))
    return torch.stack(precisions)


def fape(
    predicted: Float[Tensor, "b i 37 3"],
    true: Float[Tensor, "b i 37 3"],
    mask: Float[Tensor, "b i 37"],
    clamp: float | None = 10.0,
) -> Float[Tensor, " b"]:
    """Backbone FAPE (Alg. 28): Cα errors in all backbone frames, in units of 10 Å."""
    resolved = mask[..., N] * mask[..., CA] * mask[..., C]
    frames = (
        Rigid.from_3_points(x[..., N, :], x[..., CA, :], x[..., C, :]) for x in (predicted, true)
    )
    points = predicted[..., CA, :], true[..., CA, :]
    return frame_aligned_point_error(*frames, resolved, *points, resolved, clamp=clamp)


# ------------------------------------------------------------------ is it a protein?


def radius_of_gyration(
    ca: Float[Tensor, "b n 3"], mask: Float[Tensor, "b n"]
) -> Float[Tensor, " b"]:
    """Root mean square distance of the Cα atoms from their centre, Å."""
    w = (mask / mask.sum(-1, keepdim=True).clamp(min=1))[..., None]
    return (w * (ca - (w * ca).sum(1, keepdim=True)).square()).sum((1, 2)).sqrt()


def clashes(
    ca: Float[Tensor, "b n 3"], mask: Float[Tensor, "b n"], nearer: float = 4.0
) -> Float[Tensor, " b"]:
    """Pairs of Cα atoms, not neighbours in the chain, nearer than 4 Å: how many per residue."""
    at = torch.arange(mask.shape[1], device=mask.device)
    pairs = mask[:, :, None] * mask[:, None, :] * ((at[None, :] - at[:, None]) >= 2)
    return (pairs * (_pair_distances(ca) < nearer)).sum((1, 2)) / mask.sum(-1).clamp(min=1)


def ca_ca_error(
    ca: Float[Tensor, "b n 3"], mask: Float[Tensor, "b n"], residue_index: Int[Tensor, "b n"]
) -> Float[Tensor, " b"]:
    """Mean deviation of the distance between neighbouring Cα atoms from 3.80 Å, in Å."""
    joined = mask[:, 1:] * mask[:, :-1] * (residue_index[:, 1:] - residue_index[:, :-1] == 1)
    error = ((ca[:, 1:] - ca[:, :-1]).norm(dim=-1) - 3.80).abs()
    return (joined * error).sum(-1) / joined.sum(-1).clamp(min=1)


def helix_turns(
    ca: Float[Tensor, "b n 3"], mask: Float[Tensor, "b n"]
) -> tuple[Float[Tensor, " b"], Float[Tensor, " b"]]:
    """How many turns of α-helix are right-handed, and how many left-handed.

    A turn is four Cα atoms in a row, the ends 4.5-6.5 Å apart, with a torsion of +50° ± 20° (right)
    or -50° ± 20° (left); it counts when the next one is of the same hand.
    """
    p = [ca[:, k : ca.shape[1] - 3 + k] for k in range(4)]
    a, b, c = p[1] - p[0], p[2] - p[1], p[3] - p[2]
    n1, n2 = torch.linalg.cross(a, b), torch.linalg.cross(b, c)
    sine = (torch.linalg.cross(n1, n2) * b).sum(-1) / b.norm(dim=-1).clamp(min=1e-6)
    torsion = torch.rad2deg(torch.atan2(sine, (n1 * n2).sum(-1)))
    span = (p[3] - p[0]).norm(dim=-1)
    whole = mask[:, :-3] * mask[:, 1:-2] * mask[:, 2:-1] * mask[:, 3:] * (span > 4.5) * (span < 6.5)
    turns = (whole * ((torsion - sign * 50).abs() < 20) for sign in (1, -1))
    return tuple((turn[:, 1:] * turn[:, :-1]).sum(-1) for turn in turns)


# ------------------------------------------------------------------ two chains


def align_sequences(one: str, other: str) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the residues that a global alignment pairs (Needleman-Wunsch, by gemmi).

    Raises:
        BadInput: fewer than 70 % of the shorter sequence are paired with the same letter.
    """
    result = gemmi.align_string_sequences(list(one), list(other), [])
    pairs, i, j = [], 0, 0
    for count, kind in re.findall(r"(\d+)([MID])", result.cigar_str()):
        if kind == "M":
            pairs += [(i + k, j + k) for k in range(int(count))]
        i += int(count) * (kind != "D")
        j += int(count) * (kind != "I")
    alike = sum(one[i] == other[j] != "X" for i, j in pairs)
    shorter = min(len(one), len(other))
    if alike < 0.7 * shorter or alike == 0:
        raise BadInput(
            f"the two sequences are not of one protein: {alike} of {shorter} residues agree "
            "in the best alignment; choose the right file or chain"
        )
    a, b = np.array(pairs).T
    return a, b


def evaluate(predicted: Chain, reference: Chain) -> dict[str, float]:
    """All scores of a prediction, the residues paired by sequence alignment.

    Everything is normalised by what the reference has resolved: what the prediction lacks counts as
    wrong. ``rmsd_ca`` (Å) is over the Cα atoms that both have. Numbering does not matter.

    Returns:
        lddt (all heavy atoms), lddt_ca, tm_score, gdt_ts, gdt_ha, rmsd_ca.

    Raises:
        BadInput: the sequences do not align, or no Cα atom is in both.
    """
    ours, theirs = align_sequences(predicted.sequence, reference.sequence)
    # the prediction, in the residues of the reference
    x, present = np.zeros_like(reference.positions), np.zeros_like(reference.mask)
    x[theirs], present[theirs] = predicted.positions[ours], predicted.mask[ours]
    x, present, true, mask = (
        torch.as_tensor(np.asarray(array, np.float32))[None]
        for array in (x, present, reference.positions, reference.mask)
    )
    both = present[..., CA] * mask[..., CA]
    if both.sum() == 0:
        raise BadInput("no Cα atom is in both structures; nothing can be compared")
    ca, length = (x[..., CA, :], true[..., CA, :]), int(mask[..., CA].sum())
    scores = {
        "lddt": lddt_all_atom(x, true, mask, present),
        "lddt_ca": lddt(*ca, mask[..., CA], present=present[..., CA]),
        "tm_score": tm_score(*ca, both, length),
        "gdt_ts": gdt_ts(*ca, both, length),
        "gdt_ha": gdt_ha(*ca, both, length),
        "rmsd_ca": rmsd(*ca, both),
    }
    return {name: float(score) for name, score in scores.items()}
