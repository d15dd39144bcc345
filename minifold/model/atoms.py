"""From torsion angles to atoms and back (supplement 1.2.9, 1.8.4, Algorithms 24 to 26).

A residue is eight rigid groups: backbone, pre-omega, phi, psi, chi1 to chi4. Given the backbone
frame and the torsions, each group has a frame, and each atom is a fixed point in one of them.
Torsions are (sin, cos), in the order pre-omega, phi, psi, chi1 to chi4. All lengths are in Å.

Two orders of atoms: atom37 has one slot per atom name, atom14 one per atom of the residue.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from minifold.data import residues
from minifold.model.rigid import Rigid


@functools.cache
def _on_device(name: str, device: torch.device, dtype: torch.dtype) -> Tensor:
    return torch.as_tensor(getattr(residues, name), device=device, dtype=dtype)


def lookup(name: str, aatype: Int[Tensor, "*batch"], dtype: torch.dtype = torch.float32) -> Tensor:
    """Rows of a table of `minifold.data.residues` by residue type; a gap (21) counts as X."""
    return _on_device(name, aatype.device, dtype)[aatype.clamp(max=residues.UNKNOWN)]


# --- Torsions to atoms ----------------------------------------------------------------------------


def torsions_to_frames(
    backbone: Rigid, torsions: Float[Tensor, "*batch 7 2"], aatype: Int[Tensor, "*batch"]
) -> Rigid:
    """Frames [*, 8] of the rigid groups: Algorithm 24 lines 2 to 10.

    Args:
        backbone: [*], Å.
        torsions: unit vectors (sin, cos).
    """
    default = lookup("RIGID_GROUP_FRAMES", aatype, torsions.dtype)
    group = Rigid(default[..., :3, :3], default[..., :3, 3])  # [*, 8], torsion 0, in the parent
    turned = group[..., 1:].compose(rotation_about_x(torsions))
    pre_omega, phi, psi, chi1, chi2, chi3, chi4 = (turned[..., k] for k in range(7))
    chi2 = chi1.compose(chi2)  # chi2 to chi4 hang on the chi before, all others on the backbone
    chi3 = chi2.compose(chi3)
    chi4 = chi3.compose(chi4)
    local = Rigid.stack([group[..., 0], pre_omega, phi, psi, chi1, chi2, chi3, chi4], dim=-1)
    return backbone[..., None].compose(local)


def rotation_about_x(sin_cos: Float[Tensor, "*batch 2"]) -> Rigid:
    """Rotation about the x axis by the angle of a unit vector (sin, cos): Algorithm 25."""
    sin, cos = sin_cos.unbind(-1)
    zero, one = torch.zeros_like(sin), torch.ones_like(sin)
    rows = [[one, zero, zero], [zero, cos, -sin], [zero, sin, cos]]
    R = torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)
    return Rigid(R, torch.stack([zero, zero, zero], dim=-1))


def frames_to_atom14(frames8: Rigid, aatype: Int[Tensor, "*batch"]) -> Float[Tensor, "*batch 14 3"]:
    """Atom positions from the frames [*, 8] of the rigid groups: Algorithm 24 line 11.

    Slots that the residue does not have are at the origin.
    """
    literature = lookup("ATOM14_POSITIONS", aatype, frames8.t.dtype)
    group = lookup("ATOM14_GROUP", aatype, torch.int64)
    frame = Rigid(
        torch.take_along_dim(frames8.R, group[..., None, None], dim=-3),
        torch.take_along_dim(frames8.t, group[..., None], dim=-2),
    )
    return frame.apply(literature) * lookup("ATOM14_MASK", aatype)[..., None]


def torsions_to_atom14(
    backbone: Rigid, torsions: Float[Tensor, "*batch 7 2"], aatype: Int[Tensor, "*batch"]
) -> Float[Tensor, "*batch 14 3"]:
    """Algorithm 24, computeAllAtomCoordinates."""
    return frames_to_atom14(torsions_to_frames(backbone, torsions, aatype), aatype)


def atom14_to_atom37(
    atom14: Float[Tensor, "*batch 14 d"], aatype: Int[Tensor, "*batch"]
) -> Float[Tensor, "*batch 37 d"]:
    """The same values by atom name; 0 for atoms the residue type does not have."""
    index = lookup("ATOM37_TO_ATOM14", aatype, torch.int64)[..., None]
    mask = lookup("ATOM37_MASK", aatype, atom14.dtype)[..., None]
    return torch.take_along_dim(atom14, index, dim=-2) * mask


def atom37_to_atom14(
    atom37: Float[Tensor, "*batch 37 d"], aatype: Int[Tensor, "*batch"]
) -> Float[Tensor, "*batch 14 d"]:
    """The same values in the order of the residue's own atoms; 0 in slots it does not have."""
    index = lookup("ATOM14_TO_ATOM37", aatype, torch.int64)[..., None]
    mask = lookup("ATOM14_MASK", aatype, atom37.dtype)[..., None]
    return torch.take_along_dim(atom37, index, dim=-2) * mask


# --- Atoms to frames and torsions -----------------------------------------------------------------


def atom37_to_frames(
    aatype: Int[Tensor, "*batch i"],
    positions: Float[Tensor, "*batch i 37 3"],
    mask: Float[Tensor, "*batch i 37"],
) -> tuple[Rigid, Rigid, Float[Tensor, "*batch i 8"]]:
    """Frames of the rigid groups of a known structure (supplement 1.8.4).

    Returns:
        The frames [*, i, 8]; the frames with the other names of the ambiguous atoms; 1 where the
        residue has that group and its three atoms are known.
    """
    atoms = lookup("GROUP_FRAME_ATOMS", aatype, torch.int64)  # [*, i, 8, 4]
    points = _atoms(positions, atoms)
    tail, head, origin, plane = points.unbind(-2)
    frames = Rigid.from_axes(head - tail, plane - origin, origin)
    known = _atoms(mask[..., None], atoms).amin((-1, -2))
    exists = lookup("GROUP_MASK", aatype, mask.dtype) * known
    # turning the group by 180 degrees about its bond exchanges the ambiguous atoms
    sign = 1 - 2 * lookup("GROUP_AMBIGUOUS", aatype, positions.dtype)
    flip = torch.stack([torch.ones_like(sign), sign, sign], dim=-1)
    return frames, Rigid(frames.R * flip[..., None, :], frames.t), exists


def atom37_to_torsions(
    aatype: Int[Tensor, "*batch i"],
    positions: Float[Tensor, "*batch i 37 3"],
    mask: Float[Tensor, "*batch i 37"],
    placeholder: bool = True,
) -> tuple[
    Float[Tensor, "*batch i 7 2"], Float[Tensor, "*batch i 7 2"], Float[Tensor, "*batch i 7"]
]:
    """The torsion angles of a known structure.

    Args:
        placeholder: write (1, 0) where a torsion is undefined. Without, those entries are noise
            of degenerate frames, as in DeepMind's released configuration.

    Returns:
        Torsions (sin, cos); the same with the other names of ambiguous atoms; which are defined.
    """
    previous = torch.cat([torch.zeros_like(positions[..., :1, :, :]), positions], -3)[
        ..., :-1, :, :
    ]
    previous_mask = torch.cat([torch.zeros_like(mask[..., :1, :]), mask], -2)[..., :-1, :]
    N, CA, C, O = (residues.ATOM_INDEX[name] for name in ("N", "CA", "C", "O"))  # noqa: E741
    chi_atoms = lookup("CHI_ATOMS", aatype, torch.int64)

    def four_atoms(x: Tensor, before: Tensor) -> Tensor:
        """[*, i, 7, 4, d]: atoms of each torsion; pre-omega and phi begin in the residue before."""
        pre_omega = torch.cat([before[..., [CA, C], :], x[..., [N, CA], :]], dim=-2)
        phi = torch.cat([before[..., [C], :], x[..., [N, CA, C], :]], dim=-2)
        psi = x[..., [N, CA, C, O], :]
        return torch.cat([torch.stack([pre_omega, phi, psi], -3), _atoms(x, chi_atoms)], dim=-3)

    a, b, c, d = four_atoms(positions, previous).unbind(-2)
    _, y, z = Rigid.from_axes(c - b, a - c, c).invert_apply(d).unbind(-1)
    torsions = torch.stack([z, y], dim=-1)
    torsions = torsions / (torsions.square().sum(-1, keepdim=True) + 1e-8).sqrt()
    # psi is measured with O instead of the next N, which is on the other side
    torsions = torsions * torsions.new_tensor([1, 1, -1, 1, 1, 1, 1])[:, None]

    exists = four_atoms(mask[..., None], previous_mask[..., None]).amin((-1, -2))
    chi_mask = lookup("CHI_MASK", aatype, mask.dtype)
    exists = exists * torch.cat([torch.ones_like(chi_mask[..., :3]), chi_mask], dim=-1)

    mirror = 1 - 2 * lookup("CHI_PI_PERIODIC", aatype, torsions.dtype)
    mirror = torch.cat([torch.ones_like(mirror[..., :3]), mirror], dim=-1)
    alternative = torsions * mirror[..., None]
    if placeholder:
        undefined = torsions.new_tensor([1.0, 0.0])
        torsions = torch.where(exists[..., None] > 0, torsions, undefined)
        alternative = torch.where(exists[..., None] > 0, alternative, undefined)
    return torsions, alternative, exists


def pseudo_beta(
    aatype: Int[Tensor, "*batch i"],
    positions: Float[Tensor, "*batch i 37 3"],
    mask: Float[Tensor, "*batch i 37"],
) -> tuple[Float[Tensor, "*batch i 3"], Float[Tensor, "*batch i"]]:
    """CB, or CA for glycine, and whether it is known."""
    CA, CB = residues.ATOM_INDEX["CA"], residues.ATOM_INDEX["CB"]
    glycine = aatype == residues.RESTYPES.index("G")
    position = torch.where(glycine[..., None], positions[..., CA, :], positions[..., CB, :])
    return position, torch.where(glycine, mask[..., CA], mask[..., CB])


def _atoms(x: Tensor, atoms: Tensor) -> Tensor:
    """[*, i, 37, d] at atom37 indices [*, i, g, k] -> [*, i, g, k, d]"""
    flat = torch.take_along_dim(x, atoms.flatten(-2)[..., None], dim=-2)
    return flat.unflatten(-2, atoms.shape[-2:])


# --- What the losses compare with -----------------------------------------------------------------


@dataclass(frozen=True)
class GroundTruth:
    """A known structure in every form that a loss asks for; Å. "alt" is with the other names of
    the ambiguous atoms of ASP, GLU, PHE and TYR."""

    backbone: Rigid  # [b, i]
    backbone_mask: Float[Tensor, "b i"]
    frames8: Rigid  # [b, i, 8]
    alt_frames8: Rigid
    frames8_mask: Float[Tensor, "b i 8"]
    atom14: Float[Tensor, "b i 14 3"]
    alt_atom14: Float[Tensor, "b i 14 3"]
    atom14_mask: Float[Tensor, "b i 14"]
    alt_atom14_mask: Float[Tensor, "b i 14"]
    atom14_ambiguous: Float[Tensor, "b i 14"]
    torsions: Float[Tensor, "b i 7 2"]
    alt_torsions: Float[Tensor, "b i 7 2"]
    torsion_mask: Float[Tensor, "b i 7"]
    chi_angles: Float[Tensor, "b i 4"]  # radians, 0 where undefined
    chi_mask: Float[Tensor, "b i 4"]
    pseudo_beta: Float[Tensor, "b i 3"]
    pseudo_beta_mask: Float[Tensor, "b i"]


def ground_truth(
    aatype: Int[Tensor, "b i"],
    all_atom_positions: Float[Tensor, "b i 37 3"],
    all_atom_mask: Float[Tensor, "b i 37"],
) -> GroundTruth:
    """Everything the losses need to know about the true structure."""
    frames8, alt_frames8, frames8_mask = atom37_to_frames(aatype, all_atom_positions, all_atom_mask)
    torsions, alt_torsions, torsion_mask = atom37_to_torsions(
        aatype, all_atom_positions, all_atom_mask
    )
    atom14_mask = atom37_to_atom14(all_atom_mask[..., None], aatype)
    atom14 = atom37_to_atom14(all_atom_positions, aatype) * atom14_mask
    other_name = lookup("RENAMING", aatype, torch.int64)[..., None]
    chi_mask = torsion_mask[..., 3:]
    beta, beta_mask = pseudo_beta(aatype, all_atom_positions, all_atom_mask)
    return GroundTruth(
        backbone=frames8[..., 0],
        backbone_mask=frames8_mask[..., 0],
        frames8=frames8,
        alt_frames8=alt_frames8,
        frames8_mask=frames8_mask,
        atom14=atom14,
        alt_atom14=torch.take_along_dim(atom14, other_name, dim=-2),
        atom14_mask=atom14_mask[..., 0],
        alt_atom14_mask=torch.take_along_dim(atom14_mask, other_name, dim=-2)[..., 0],
        atom14_ambiguous=lookup("ATOM14_AMBIGUOUS", aatype),
        torsions=torsions,
        alt_torsions=alt_torsions,
        torsion_mask=torsion_mask,
        chi_angles=torch.atan2(torsions[..., 3:, 0], torsions[..., 3:, 1]) * chi_mask,
        chi_mask=chi_mask,
        pseudo_beta=beta,
        pseudo_beta_mask=beta_mask,
    )
