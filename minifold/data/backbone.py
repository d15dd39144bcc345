"""Backbones with ideal bonds: from torsions φ, ψ to poses of residues, and to atoms.

Everything is batched over b chains of i residues, in the precision of the torsions; ω = 180°. A
pose is a 4 x 4 matrix, local to global, of a residue with CA at the origin, C on the x axis, N in
the xy plane (AlphaFold2, supplement 1.8.1).
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

DEGREE = math.pi / 180
N, CA, C, CB, O = range(5)  # noqa: E741  sites of a residue

# Ideal bond lengths (Å) and angles (Engh & Huber 1991), atoms of a residue in its own frame.
N_SITE, C_SITE, CB_SITE = (-0.525, 1.363, 0.0), (1.526, 0.0, 0.0), (-0.529, -0.774, -1.205)
BOND_C_N, BOND_N_CA, BOND_C_O = 1.329, 1.460, 1.231
ANGLE_CA_C_N, ANGLE_C_N_CA, ANGLE_CA_C_O = 116.6 * DEGREE, 121.4 * DEGREE, 120.5 * DEGREE
ANGLE_N_CA_C = math.atan2(N_SITE[1], N_SITE[0])


def _joint(angle: float, bond: float) -> Tensor:
    """Pose [4, 4]: turn x into the next bond, at this angle in the xy plane, and walk along it."""
    cos, sin = -math.cos(angle), math.sin(angle)
    rows = [[cos, -sin, 0, cos * bond], [sin, cos, 0, sin * bond], [0, 0, 1, 0], [0, 0, 0, 1]]
    return torch.tensor(rows, dtype=torch.float64)


def _links() -> Float[Tensor, "9 16"]:
    """Pose of residue i + 1 in the frame of i: a linear map of (1, cos, sin) ψ x (1, cos, sin) φ.

    From CA step to C, turn by ψ, step to N, turn by ω, step to CA, turn by φ, and face the next C.
    """
    turn = torch.zeros(
        3, 4, 4, dtype=torch.float64
    )  # rotation about x = turn[0] + cos * turn[1] + sin * turn[2]
    turn[0] = torch.diag(torch.tensor([1.0, 0, 0, 1]))
    turn[1] = torch.diag(torch.tensor([0.0, 1, 1, 0]))
    turn[2, 1, 2], turn[2, 2, 1] = -1, 1
    omega = turn[0] - turn[1]
    to_c, face_c = _joint(math.pi, C_SITE[0]), _joint(ANGLE_N_CA_C, 0.0)
    peptide = _joint(ANGLE_CA_C_N, BOND_C_N) @ omega @ _joint(ANGLE_C_N_CA, BOND_N_CA)
    link = torch.einsum("ab,pbc,cd,qde,ef->pqaf", to_c, turn, peptide, turn, face_c)
    return link.reshape(9, 16)


LINKS = _links()


def build_poses(phi: Float[Tensor, "b i"], psi: Float[Tensor, "b i"]) -> Float[Tensor, "b i 4 4"]:
    """Poses of ideal residues with these torsions (radians); residue 0 at the identity."""
    psi, phi = psi[:, :-1, None], phi[:, 1:, None]
    psi = torch.cat([torch.ones_like(psi), psi.cos(), psi.sin()], -1)
    phi = torch.cat([torch.ones_like(phi), phi.cos(), phi.sin()], -1)
    pairs = (psi[..., :, None] * phi[..., None, :]).flatten(-2)
    links = (pairs @ LINKS.to(phi)).unflatten(-1, (4, 4)).unbind(1)
    poses = [torch.eye(4).to(phi).expand(len(phi), 4, 4)]
    for link in links:
        poses.append(torch.bmm(poses[-1], link))
    return torch.stack(poses, 1)


def backbone_sites(
    poses: Float[Tensor, "b i 4 4"], psi: Float[Tensor, "b i"]
) -> Float[Tensor, "b i 5 3"]:
    """N, CA, C, CB and O of every residue (Å)."""
    local = torch.tensor([N_SITE, (0.0, 0.0, 0.0), C_SITE, CB_SITE]).to(poses)
    local = local.expand(*psi.shape, 4, 3)
    along, across = -math.cos(ANGLE_CA_C_O) * BOND_C_O, math.sin(ANGLE_CA_C_O) * BOND_C_O
    oxygen = [along + C_SITE[0] + 0 * psi, -across * psi.cos(), -across * psi.sin()]
    local = torch.cat([local, torch.stack(oxygen, -1)[:, :, None]], 2)
    return local @ poses[..., :3, :3].transpose(-1, -2) + poses[..., None, :3, 3]
