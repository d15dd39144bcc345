"""Auxiliary heads and what they say about confidence (supplement 1.9).

Each head turns a representation into logits; the functions below turn logits into numbers.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from minifold.config import Config
from minifold.model.primitives import LayerNorm, Linear


class DistogramHead(nn.Module):
    """Distance between the CB atoms of each pair of residues, as bins (supplement 1.9.8)."""

    def __init__(self, config: Config):
        super().__init__()
        self.logits = Linear(config.c_z, config.distogram_bins, init="zero")

    def forward(self, z: Float[Tensor, "b i j c_z"]) -> Float[Tensor, "b i j bins"]:
        half = self.logits(z)
        return half + half.transpose(1, 2)  # a distance is symmetric


class MaskedMSAHead(nn.Module):
    """Amino acid (20), unknown, gap or mask at each place of the MSA (supplement 1.9.9)."""

    def __init__(self, config: Config):
        super().__init__()
        self.logits = Linear(config.c_m, 23, init="zero")

    def forward(self, m: Float[Tensor, "b s i c_m"]) -> Float[Tensor, "b s i 23"]:
        return self.logits(m)


class PredictedLDDTHead(nn.Module):
    """The model's estimate of its own lDDT-CA, as bins: Algorithm 29."""

    def __init__(self, config: Config):
        super().__init__()
        self.norm = LayerNorm(config.c_s)
        self.linear_1 = Linear(config.c_s, config.c_plddt, init="relu")
        self.linear_2 = Linear(config.c_plddt, config.c_plddt, init="relu")
        self.logits = Linear(config.c_plddt, config.plddt_bins, init="zero")

    def forward(self, s: Float[Tensor, "b i c_s"]) -> Float[Tensor, "b i bins"]:
        a = self.norm(s)  # line 1
        a = torch.relu(self.linear_2(torch.relu(self.linear_1(a))))
        return self.logits(a)  # line 2, the softmax is in `plddt_from_logits`


class ExperimentallyResolvedHead(nn.Module):
    """Is each atom (atom37) seen in the experiment? (supplement 1.9.10)"""

    def __init__(self, config: Config):
        super().__init__()
        self.logits = Linear(config.c_s, 37, init="zero")

    def forward(self, s: Float[Tensor, "b i c_s"]) -> Float[Tensor, "b i 37"]:
        return self.logits(s)


class PredictedAlignedErrorHead(nn.Module):
    """Error of CA j when frame i is superposed on the truth, as bins (supplement 1.9.7)."""

    def __init__(self, config: Config):
        super().__init__()
        self.logits = Linear(config.c_z, config.pae_bins, init="zero")

    def forward(self, z: Float[Tensor, "b i j c_z"]) -> Float[Tensor, "b i j bins"]:
        return self.logits(z)


# --- Bins -----------------------------------------------------------------------------------------


def distogram_edges(
    bins: int = 64, first: float = 2.3125, last: float = 21.6875, device=None
) -> Float[Tensor, " edges"]:
    """The bins - 1 inner edges of the distogram, Å; the outer bins are open."""
    return torch.linspace(first, last, bins - 1, device=device)


def distogram_centers(bins: int = 64, device=None) -> Float[Tensor, " bins"]:
    """The distance, Å, for which each bin of the distogram stands: the middle of an inner bin."""
    edges = distogram_edges(bins, device=device)
    step = edges[1] - edges[0]
    return torch.cat([edges[:1] - step / 2, edges + step / 2])


def contact_probability(
    logits: Float[Tensor, "b i i bins"], contact: float = 8.0
) -> Float[Tensor, "b i i"]:
    """Probability that two Cβ atoms are nearer than ``contact`` Å."""
    near = distogram_centers(logits.shape[-1], logits.device) < contact
    return (torch.softmax(logits.float(), dim=-1) * near).sum(-1)


def pae_edges(bins: int = 64, last: float = 31.0, device=None) -> Float[Tensor, " edges"]:
    """The bins - 1 inner edges of the aligned error, Å, from 0: bin 0 is an error of exactly 0."""
    return torch.linspace(0.0, last, bins - 1, device=device)


def pae_centers(bins: int = 64, last: float = 31.0, device=None) -> Float[Tensor, " bins"]:
    """The value, Å, for which each aligned-error bin stands: its edge plus half a bin."""
    edges = pae_edges(bins, last, device)
    step = edges[1] - edges[0]
    return torch.cat([edges, edges[-1:] + step]) + step / 2


# --- Confidence -----------------------------------------------------------------------------------


def plddt_from_logits(logits: Float[Tensor, "b i bins"]) -> Float[Tensor, "b i"]:
    """Expected lDDT-CA of every residue, 0 to 100 (Algorithm 29)."""
    bins = logits.shape[-1]
    centers = (torch.arange(bins, device=logits.device) + 0.5) / bins
    return 100 * torch.softmax(logits.float(), dim=-1) @ centers


def pae_from_logits(logits: Float[Tensor, "b i j bins"]) -> Float[Tensor, "b i j"]:
    """Expected error of CA j in frame i, Å (supplement 1.9.7)."""
    centers = pae_centers(logits.shape[-1], device=logits.device)
    return torch.softmax(logits.float(), dim=-1) @ centers


def ptm_from_logits(
    logits: Float[Tensor, "b i j bins"], mask: Float[Tensor, "b i"] | None = None
) -> Float[Tensor, " b"]:
    """Expected TM-score, 0 to 1, of the best single superposition (supplement 1.9.7).

    Args:
        mask: residues that count; all if absent, as in DeepMind's inference, where nothing is
            padded.
    """
    if mask is None:
        mask = logits.new_ones(logits.shape[:2])
    number = mask.sum(-1).clamp(min=19)
    d0 = 1.24 * (number - 15) ** (1 / 3) - 1.8
    centers = pae_centers(logits.shape[-1], device=logits.device)
    value = 1 / (1 + (centers / d0[:, None]).square())  # [b, bins]
    expected = torch.einsum("bijc,bc->bij", torch.softmax(logits.float(), dim=-1), value)
    weight = mask[:, None] / (1e-8 + mask.sum(-1)[:, None, None])
    aligned_on_i = (expected * weight).sum(-1)
    return (aligned_on_i * mask).amax(-1)
