"""What chemistry forbids: broken peptide bonds, bent angles, overlapping atoms (supplement 1.9.11).

Each test has a flat bottom, ``STDDEVS`` standard deviations or ``OVERLAP`` Å wide, in which it
costs nothing. All lengths in Å; atoms in the atom14 order; masks decide everything, so padding
changes nothing. Loss and violation use the same tolerance, as in the released configuration.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from minifold.data import residues
from minifold.model.atoms import lookup

STDDEVS = 12.0  # tolerance of bond lengths and angles, in standard deviations
OVERLAP = 1.5  # Å that two atoms may be closer than the sum of their van der Waals radii
N, CA, C, SG = 0, 1, 2, 5  # in atom14; SG of cysteine
PROLINE = residues.RESTYPES.index("P")


@dataclass(frozen=True)
class Violations:
    """Losses (means per example, sums per residue or atom) and what is violated (0 or 1)."""

    bond_c_n: Float[Tensor, " b"]  # length of the peptide bond, Å over the tolerance
    angle_ca_c_n: Float[Tensor, " b"]  # cosine over the tolerance
    angle_c_n_ca: Float[Tensor, " b"]
    connection_loss: Float[Tensor, "b i"]  # the three above; each half to both residues
    connection_violated: Float[Tensor, "b i"]
    clash: Float[Tensor, " b"]
    clash_loss: Float[Tensor, "b i 14"]
    clash_violated: Float[Tensor, "b i 14"]
    within_loss: Float[Tensor, "b i 14"]
    within_violated: Float[Tensor, "b i 14"]

    @property
    def violated(self) -> Float[Tensor, "b i"]:
        """1 for each residue with a violation of any kind."""
        atoms = torch.maximum(self.clash_violated, self.within_violated).amax(-1)
        return torch.maximum(self.connection_violated, atoms)


def find_violations(
    atom14: Float[Tensor, "b i 14 3"],
    atom14_mask: Float[Tensor, "b i 14"],
    residue_index: Int[Tensor, "b i"],
    aatype: Int[Tensor, "b i"],
) -> Violations:
    """All violations of a structure; ``atom14_mask`` is 1 for the atoms that should exist."""
    bonds = _connections(atom14, atom14_mask, residue_index, aatype)
    clashes = _clashes(atom14, atom14_mask, residue_index, aatype)
    return Violations(*bonds, *clashes, *_within(atom14, atom14_mask, aatype))


def violation_loss(found: Violations, atom14_mask: Float[Tensor, "b i 14"]) -> Float[Tensor, " b"]:
    """L_viol of supplement 1.9.11: bonds and angles, and overlaps per atom."""
    overlaps = (found.clash_loss + found.within_loss).sum((-2, -1))
    per_atom = overlaps / (1e-6 + atom14_mask.sum((-2, -1)))
    return found.bond_c_n + found.angle_ca_c_n + found.angle_c_n_ca + per_atom


def violation_metrics(
    found: Violations,
    atom14: Float[Tensor, "b i 14 3"],
    atom14_mask: Float[Tensor, "b i 14"],
    residue_index: Int[Tensor, "b i"],
    seq_mask: Float[Tensor, "b i"],
) -> dict[str, Float[Tensor, " b"]]:
    """Shares of residues with each kind of violation, and of stretched Cα-Cα neighbours."""
    ca = atom14[..., CA, :]
    joined = atom14_mask[:, :-1, CA] * atom14_mask[:, 1:, CA] * _consecutive(residue_index)
    stretched = (_distance(ca[:, :-1], ca[:, 1:]) - residues.CA_CA > 1.5).to(atom14.dtype)
    return {
        "ca_ca_stretched": masked_mean(joined, stretched),
        "connection": masked_mean(seq_mask, found.connection_violated),
        "clash": masked_mean(seq_mask, found.clash_violated.amax(-1)),
        "within": masked_mean(seq_mask, found.within_violated.amax(-1)),
        "any": masked_mean(seq_mask, found.violated),
    }


def masked_mean(
    mask: Float[Tensor, "b n"], value: Float[Tensor, "b n"], eps: float = 1e-10
) -> Float[Tensor, " b"]:
    """Mean of the unmasked values of each example."""
    return (mask * value).sum(-1) / (mask.sum(-1) + eps)


def _distance(x: Tensor, y: Tensor, eps: float = 1e-6) -> Tensor:
    return (eps + (x - y).square().sum(-1)).sqrt()


def _consecutive(residue_index: Int[Tensor, "b i"]) -> Tensor:
    """1 where the next residue follows directly in the chain [b, i-1]."""
    return (residue_index[:, 1:] - residue_index[:, :-1] == 1).float()


def _connections(atom14, mask, residue_index, aatype) -> tuple[Tensor, ...]:
    """Length of C-N and the angles at C and N between neighbours (supplement eq. 44, 45)."""
    ca, c = atom14[:, :-1, CA], atom14[:, :-1, C]
    next_n, next_ca = atom14[:, 1:, N], atom14[:, 1:, CA]
    has_ca, has_c = mask[:, :-1, CA], mask[:, :-1, C]
    has_bond = has_c * mask[:, 1:, N] * _consecutive(residue_index).to(mask.dtype)

    length, ca_c, n_ca = _distance(c, next_n), _distance(ca, c), _distance(next_n, next_ca)
    along = (next_n - c) / length[..., None]
    cos_ca_c_n = ((ca - c) / ca_c[..., None] * along).sum(-1)
    cos_c_n_ca = (-along * (next_ca - next_n) / n_ca[..., None]).sum(-1)

    proline = aatype[:, 1:] == PROLINE  # the bond before proline is a little longer
    ideal, stddev = (
        torch.where(proline, length.new_tensor(pair[1]), length.new_tensor(pair[0]))
        for pair in (residues.BETWEEN_C_N, residues.BETWEEN_C_N_STDDEV)
    )
    tests = [
        (length, ideal, stddev, has_bond),
        (cos_ca_c_n, residues.COS_CA_C_N, residues.COS_CA_C_N_STDDEV, has_bond * has_ca),
        (cos_c_n_ca, residues.COS_C_N_CA, residues.COS_C_N_CA_STDDEV, has_bond * mask[:, 1:, CA]),
    ]
    means, losses, violated = [], [], []
    for value, ideal, stddev, exists in tests:
        error = (1e-6 + (value - ideal).square()).sqrt()
        loss = exists * (error - STDDEVS * stddev).relu()
        means.append(masked_mean(exists, loss, 1e-6))
        losses.append(loss)
        violated.append(exists * (error > STDDEVS * stddev))
    loss, broken = sum(losses), torch.stack(violated).amax(0)
    pad = torch.nn.functional.pad
    per_residue = (pad(loss, (0, 1)) + pad(loss, (1, 0))) / 2
    return *means, per_residue, torch.maximum(pad(broken, (0, 1)), pad(broken, (1, 0)))


def _clashes(atom14, mask, residue_index, aatype) -> tuple[Tensor, ...]:
    """Atoms of different residues that overlap; peptide and disulfide bonds may (eq. 46)."""
    radius = (
        mask * _radius(atom14.device, atom14.dtype)[lookup("ATOM14_TO_ATOM37", aatype, torch.int64)]
    )
    pairs = mask[:, :, None, :, None] * mask[:, None, :, None, :]  # [b, i, j, a, a]
    first = residue_index[:, :, None] < residue_index[:, None, :]  # each pair once
    pairs = pairs * first[..., None, None]
    bond, disulfide = mask.new_zeros(2, 14, 14)
    bond[C, N] = disulfide[SG, SG] = 1
    neighbours = (residue_index[:, :, None] + 1 == residue_index[:, None, :]).to(mask.dtype)
    pairs = pairs * (1 - neighbours[..., None, None] * bond) * (1 - disulfide)

    distance = _distance(atom14[:, :, None, :, None], atom14[:, None, :, None, :], 1e-10)
    shortest = radius[:, :, None, :, None] + radius[:, None, :, None, :] - OVERLAP
    loss = pairs * (shortest - distance).relu()
    overlap = pairs * (distance < shortest)
    mean = loss.sum((1, 2, 3, 4)) / (1e-6 + pairs.sum((1, 2, 3, 4)))
    per_atom = loss.sum((1, 3)) + loss.sum((2, 4))
    return mean, per_atom, torch.maximum(overlap.amax((1, 3)), overlap.amax((2, 4)))


def _within(atom14, mask, aatype) -> tuple[Tensor, Tensor]:
    """Atoms of one residue nearer or farther than its covalent geometry allows."""
    lower, upper = (x[aatype] for x in _bounds(atom14.device, atom14.dtype))
    pairs = mask[..., :, None] * mask[..., None, :] * (1 - torch.eye(14, device=mask.device))
    distance = _distance(atom14[..., :, None, :], atom14[..., None, :, :], 1e-10)
    loss = pairs * ((lower - distance).relu() + (distance - upper).relu())
    outside = pairs * ((distance < lower) | (distance > upper))
    return loss.sum(-1) + loss.sum(-2), torch.maximum(outside.amax(-1), outside.amax(-2))


@functools.cache
def _bounds(device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    bounds = residues.distance_bounds(OVERLAP, STDDEVS)
    return tuple(torch.as_tensor(x, device=device, dtype=dtype) for x in bounds)


@functools.cache
def _radius(device: torch.device, dtype: torch.dtype) -> Tensor:
    return torch.as_tensor(residues.VDW_RADIUS, device=device, dtype=dtype)
