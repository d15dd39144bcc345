"""Toy side chains: rotamers for a given backbone and sequence.

Side chains have few preferred shapes, and the backbone decides among them (the idea of the rotamer
library of Dunbrack & Karplus 1993; the coarse frequencies here are our own).
"""

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor

from minifold.data.residues import CHI_MASK, RESTYPES

DEGREE = torch.pi / 180

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
    noise = torch.randn(*aatype.shape, 4, generator=generator, device=device)
    chi = CENTRE.to(device)[aatype].gather(-1, rotamer)[..., 0] + SPREAD.to(device)[aatype] * noise
    return chi * torch.as_tensor(CHI_MASK, device=device, dtype=chi.dtype)[aatype]
