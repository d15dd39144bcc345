"""Toy side chains: rotamers for a given backbone and sequence.

Side chains have few preferred shapes, and the backbone decides among them (the idea of the rotamer
library of Dunbrack & Karplus 1993; the coarse frequencies here are our own).
"""

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor

from minifold.data.backbone import DEGREE
from minifold.data.residues import CHI_MASK, RESTYPES
from minifold.data.toyfolds import PRECISE, squared_distances
from minifold.model import atoms
from minifold.model.rigid import Rigid

CANDIDATES = 4  # side chains drawn for every residue
NEIGHBOURS = 8  # residues that a side chain may run into
TOUCH = 3.4  # Å between heavy atoms, below which it hurts

# χ1: chance of -60, 180 and +60 degrees, for loop, helix and strand (the codes of `toyfolds`).
CHI1 = ((0.5, 0.33, 0.17), (0.57, 0.41, 0.02), (0.5, 0.38, 0.12))
CHI1_SHIFT = {"V": (1, 0, 2), "S": (2, 1, 0)}
# Other χ, unless said otherwise: chance of -60, 180 and +60.
STAGGERED = (0.2, 0.6, 0.2)
# χ2 or χ3 that ends in a flat group: its centre and spread (degrees).
FLAT = {
    ("F", 1): (90, 12), ("Y", 1): (90, 12), ("W", 1): (95, 15), ("H", 1): (-75, 20),
    ("N", 1): (-20, 25), ("D", 1): (-10, 20), ("Q", 2): (0, 40), ("E", 2): (0, 35),
}  # fmt: skip
PROLINE = ((28, 8), (-35, 8))  # χ1, χ2: one of the two puckers, the other is its mirror image


def _tables() -> tuple[Float[Tensor, "3 21 4 3"], Float[Tensor, "21 4 3"], Float[Tensor, "21 4"]]:
    """Chance and centre (radians) of three rotamers of every χ, and the spread around them."""
    chance = torch.tensor(STAGGERED).repeat(3, 21, 4, 1)
    chance[:, :, 0] = torch.tensor(CHI1)[:, None]
    centre = torch.tensor([-60.0, 180.0, 60.0]).repeat(21, 4, 1)
    spread = torch.full((21, 4), 8.0)
    for letter, order in CHI1_SHIFT.items():
        index = RESTYPES.index(letter)
        chance[:, index, 0] = chance[:, index, 0][:, list(order)]
    for (letter, chi), (angle, width) in FLAT.items():
        index = RESTYPES.index(letter)
        centre[index, chi], spread[index, chi] = angle, width
    for chi, (angle, width) in enumerate(PROLINE):
        index = RESTYPES.index("P")
        centre[index, chi] = torch.tensor([angle, -angle, angle])
        spread[index, chi], chance[:, index, chi] = width, torch.tensor([0.5, 0.5, 0.0])
    return chance, centre * DEGREE, spread * DEGREE


CHANCE, CENTRE, SPREAD = _tables()


def draw_chi(
    aatype: Int[Tensor, "b i"], structure: Int[Tensor, "b i"], generator: Generator
) -> Float[Tensor, "b i 4"]:
    """Side-chain torsions (radians) at random from the rotamer table; 0 where there is none."""
    device = aatype.device
    chance = CHANCE.to(device)[structure, aatype]
    uniform = torch.rand(*aatype.shape, 4, 1, generator=generator, device=device)
    proline = (aatype == RESTYPES.index("P"))[..., None, None]
    uniform = torch.where(proline, uniform[..., :1, :], uniform)  # its ring closes: χ2 follows χ1
    rotamer = (uniform > chance.cumsum(-1)[..., :2]).sum(-1, keepdim=True)
    noise = torch.randn(*aatype.shape, 4, generator=generator, device=device, dtype=PRECISE)
    chi = CENTRE.to(device)[aatype].gather(-1, rotamer)[..., 0] + SPREAD.to(device)[aatype] * noise
    return (chi * torch.as_tensor(CHI_MASK, device=device)[aatype]).float()


def place_atoms(
    poses: Float[Tensor, "b i 4 4"],
    torsion: Float[Tensor, "b i 2"],
    aatype: Int[Tensor, "b i"],
    structure: Int[Tensor, "b i"],
    mask: Float[Tensor, "b i"],
    generator: Generator,
) -> tuple[Float[Tensor, "b i 37 3"], Float[Tensor, "b i 37"], Float[Tensor, "b i 7 2"]]:
    """Dress a backbone -> atom37 positions (Å), their mask, torsions (sin, cos).

    Every residue draws a few side chains and takes, in turn, the one that has most room.
    """
    poses, torsion, mask = poses.float(), torsion.float(), mask.float()
    chosen = aatype[..., None].expand(*aatype.shape, CANDIDATES)
    drawn = [draw_chi(aatype, structure, generator) for _ in range(CANDIDATES)]
    angles = torch.cat([torch.full_like(torsion[..., :1], torch.pi), torsion], -1)
    angles = torch.cat(
        [angles[:, :, None].expand(-1, -1, CANDIDATES, -1), torch.stack(drawn, 2)], -1
    )
    torsions = torch.stack([angles.sin(), angles.cos()], -1)
    backbone = Rigid(poses[:, :, None, :3, :3], poses[:, :, None, :3, 3])
    atom14 = atoms.torsions_to_atom14(backbone, torsions, chosen)
    choice = _roomiest(atom14, aatype, mask, poses)[..., None, None, None]
    atom14 = torch.take_along_dim(atom14, choice, 2)[:, :, 0]
    torsions = torch.take_along_dim(torsions, choice, 2)[:, :, 0]
    known = atoms.lookup("ATOM37_MASK", aatype) * mask[..., None]
    positions = atoms.atom14_to_atom37(atom14, aatype) * known[..., None]
    return positions, known, torsions * mask[..., None, None]


def _roomiest(
    atom14: Float[Tensor, "b i k 14 3"],
    aatype: Int[Tensor, "b i"],
    mask: Float[Tensor, "b i"],
    poses: Float[Tensor, "b i 4 4"],
) -> Int[Tensor, "b i"]:
    """Choice among k side chains: even and odd residues in turn, twice."""
    b, n, k = atom14.shape[:3]
    atom14, ca = atom14.to(PRECISE), poses[..., :3, 3].to(PRECISE)
    exists = atoms.lookup("ATOM14_MASK", aatype).to(PRECISE) * mask[..., None]
    apart = squared_distances(ca, ca) + 1e6 * (1 - mask[:, None])
    apart = apart + 1e9 * torch.eye(n, device=ca.device)
    near = apart.topk(min(NEIGHBOURS, n - 1), largest=False).indices
    row = torch.arange(b, device=ca.device)[:, None]
    choice = torch.zeros_like(aatype)
    for turn in range(4):
        mine = torch.arange(turn % 2, n, 2, device=ca.device)
        now = torch.take_along_dim(atom14, choice[..., None, None, None], 2)[:, :, 0]
        there = near[:, mine]
        others = now[row[..., None], there].flatten(0, 1).flatten(1, 2)
        other_exists = exists[row[..., None], there].flatten(0, 1).flatten(1)
        square = squared_distances(atom14[:, mine, :, 5:].flatten(0, 1).flatten(1, 2), others)
        overlap = square.neg_().add_(TOUCH**2).clamp_(0, 20)
        hurt = torch.bmm(overlap, other_exists[..., None])[..., 0]
        hurt = hurt.view(b, len(mine), k, -1) * exists[:, mine, None, 5:]
        choice[:, mine] = hurt.sum(-1).argmin(-1)
    return choice
