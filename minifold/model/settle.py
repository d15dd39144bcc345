"""Cα atoms moved as little as makes a chain of them that can exist. Ours: AlphaFold2 has no such.

A small model that does not know a fold leaves neighbours too near or too far and pushes strangers
into each other: the mean of many folds is no fold. Training against that costs accuracy; moving
the atoms apart afterwards does not. Nothing here has parameters or gradients.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

BOND = 3.80  # Å between neighbours, across a trans peptide
SECOND = 5.0, 7.2  # Å between second neighbours: 82° to 143° at the one between them
NEAREST = 4.1  # Å between all others
ROUNDS = 200


@torch.no_grad()
def settle(x: Float[Tensor, "b i 3"], mask: Float[Tensor, "b i"]) -> Float[Tensor, "b i 3"]:
    """Points with the distances of Cα atoms (Å), near the given ones; masked ones stay.

    Position based dynamics (Müller et al. 2007): in every round each pair that is too near or too
    far asks both its points for half of the way, and a point goes the mean of what it is asked.
    """
    at = torch.arange(x.shape[1], device=x.device)
    apart = (at[:, None] - at[None, :]).abs()
    low, high = torch.full_like(x[0] @ x[0].mT, NEAREST), torch.full_like(x[0] @ x[0].mT, torch.inf)
    low[apart == 1], high[apart == 1] = BOND, BOND
    low[apart == 2], high[apart == 2] = SECOND
    pairs = mask[:, :, None] * mask[:, None, :] * (apart > 0)
    for _ in range(ROUNDS):
        difference = x[:, :, None] - x[:, None, :]
        distance = difference.square().sum(-1).clamp(min=1e-6).sqrt()
        missing = pairs * (distance.clamp(low, high) - distance)
        asked = (missing.abs() > 1e-3).sum(-1).clamp(min=2)[..., None]
        x = x + ((missing / distance)[..., None] * difference).sum(2) / asked
    return x
