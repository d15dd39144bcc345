"""From features to the first m and z: Algorithms 3, 4, 5 and 32, and the extra MSA embedding."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from minifold.config import Config
from minifold.model.primitives import LayerNorm, Linear

TARGET_CHANNELS = 22  # 20 amino acids, unknown, and a flag that is always 0 for one chain
MSA_CHANNELS = 49
EXTRA_MSA_CHANNELS = 25


class InputEmbedder(nn.Module):
    """Embed the alignment and the target sequence: Algorithm 3."""

    def __init__(self, config: Config):
        super().__init__()
        self.left = Linear(TARGET_CHANNELS, config.c_z)
        self.right = Linear(TARGET_CHANNELS, config.c_z)
        self.relative_position = RelativePosition(config.c_z, config.max_relative)
        self.msa = Linear(MSA_CHANNELS, config.c_m)
        self.target = Linear(TARGET_CHANNELS, config.c_m)

    def forward(
        self,
        target_feat: Float[Tensor, "b i 22"],
        residue_index: Int[Tensor, "b i"],
        msa_feat: Float[Tensor, "b s i 49"],
    ) -> tuple[Float[Tensor, "b s i c_m"], Float[Tensor, "b i i c_z"]]:
        a, b = self.left(target_feat), self.right(target_feat)  # Alg. 3 line 1
        z = a[:, :, None] + b[:, None, :]  # line 2
        z = z + self.relative_position(residue_index)  # line 3
        m = self.msa(msa_feat) + self.target(target_feat)[:, None]  # line 4
        return m, z


class RelativePosition(nn.Module):
    """Embed how far apart two residues are along the chain: Algorithms 4 and 5.

    It counts with ``residue_index``, so a gap in the chain or a crop keeps its true distances.

    Args:
        c_z: channels.
        max_relative: offsets are clipped to ± this.
    """

    def __init__(self, c_z: int, max_relative: int):
        super().__init__()
        self.max_relative = max_relative
        self.linear = Linear(2 * max_relative + 1, c_z)

    def forward(self, residue_index: Int[Tensor, "b i"]) -> Float[Tensor, "b i i c_z"]:
        d = residue_index[:, :, None] - residue_index[:, None, :]  # Alg. 4 line 1
        d = torch.clamp(d, -self.max_relative, self.max_relative) + self.max_relative
        one_hot = F.one_hot(d, 2 * self.max_relative + 1)  # Alg. 5
        return self.linear(one_hot.to(self.linear.weight.dtype))  # Alg. 4 line 2


class RecyclingEmbedder(nn.Module):
    """Feed the last pass's result back in: Algorithm 32.

    In the first pass all three inputs are zero; the offsets of the layer norms and the bias of
    the distance embedding enter all the same, as in DeepMind's code.
    """

    def __init__(self, config: Config):
        super().__init__()
        self.bins = (config.recycle_min, config.recycle_max, config.recycle_bins)
        self.distances = Linear(config.recycle_bins, config.c_z)
        self.norm_z = LayerNorm(config.c_z)
        self.norm_m = LayerNorm(config.c_m)

    def forward(
        self,
        m_first: Float[Tensor, "b i c_m"],
        z: Float[Tensor, "b i i c_z"],
        pseudo_beta: Float[Tensor, "b i 3"],
    ) -> tuple[Float[Tensor, "b i c_m"], Float[Tensor, "b i i c_z"]]:
        d = distance_bins(pseudo_beta, *self.bins)  # Alg. 32 lines 1, 2
        z = self.distances(d.to(self.distances.weight.dtype)) + self.norm_z(z)  # lines 2, 3
        return self.norm_m(m_first), z  # line 4


class ExtraMSAEmbedder(nn.Module):
    """Embed the sequences that are no cluster centres: Algorithm 2 line 15."""

    def __init__(self, config: Config):
        super().__init__()
        self.linear = Linear(EXTRA_MSA_CHANNELS, config.c_e)

    def forward(self, features: Float[Tensor, "b t i 25"]) -> Float[Tensor, "b t i c_e"]:
        return self.linear(features)


def extra_msa_features(
    extra_msa: Int[Tensor, "b t i"],
    has_deletion: Float[Tensor, "b t i"],
    deletion_value: Float[Tensor, "b t i"],
) -> Float[Tensor, "b t i 25"]:
    """One-hot letters (20 amino acids, X, gap, mask) and two deletion features."""
    one_hot = F.one_hot(extra_msa, 23).to(has_deletion.dtype)
    return torch.cat([one_hot, has_deletion[..., None], deletion_value[..., None]], dim=-1)


def distance_bins(
    x: Float[Tensor, "*batch i 3"], first: float, last: float, bins: int
) -> Float[Tensor, "*batch i i bins"]:
    """One-hot distance between all pairs of points.

    Args:
        x: positions in Å.
        first, last: lower edges of the first and the last bin in Å. The last bin is open; a
            distance below ``first`` gives all zeros.
    """
    lower = torch.linspace(first, last, bins, device=x.device, dtype=torch.float32) ** 2
    upper = torch.cat([lower[1:], lower.new_tensor([1e8])])
    d2 = (x[..., :, None, :] - x[..., None, :, :]).square().sum(-1, keepdim=True)
    return ((d2 > lower) & (d2 < upper)).to(x.dtype)
