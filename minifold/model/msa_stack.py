"""The MSA half of the Evoformer: Algorithms 7-10 and 19.

m [b, s, i, c_m] ── row attention (biased by z) ── column attention ── transition ──► m
                                                                          │
z [b, i, j, c_z] ◄───────────────────── outer product mean ◄──────────────┘
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from minifold.model.primitives import Attention, GlobalAttention, LayerNorm, Linear


class MSARowAttentionWithPairBias(nn.Module):
    """Gated self-attention along each sequence, biased by the pairs: Algorithm 7.

    Args:
        c_m, c_z: channels of m and z.
        heads: attention heads.
    """

    def __init__(self, c_m: int, c_z: int, heads: int):
        super().__init__()
        self.norm_m = LayerNorm(c_m)
        self.norm_z = LayerNorm(c_z)
        self.pair_bias = Linear(c_z, heads, bias=False)
        self.attention = Attention(c_m, c_m, c_m, heads)

    def forward(
        self,
        m: Float[Tensor, "b s i c_m"],
        z: Float[Tensor, "b i i c_z"],
        msa_mask: Float[Tensor, "b s i"],
    ) -> Float[Tensor, "b s i c_m"]:
        m = self.norm_m(m)  # Alg. 7 line 1
        bias = self.pair_bias(self.norm_z(z))  # line 3
        bias = bias.permute(0, 3, 1, 2)[:, None]  # [b, 1, h, i, j]: the same for every sequence
        return self.attention(m, m, msa_mask, bias)  # lines 2, 4-7


class MSAColumnAttention(nn.Module):
    """Gated self-attention along each column: Algorithm 8."""

    def __init__(self, c_m: int, heads: int):
        super().__init__()
        self.norm_m = LayerNorm(c_m)
        self.attention = Attention(c_m, c_m, c_m, heads)

    def forward(
        self, m: Float[Tensor, "b s i c_m"], msa_mask: Float[Tensor, "b s i"]
    ) -> Float[Tensor, "b s i c_m"]:
        m = self.norm_m(m).transpose(1, 2)  # Alg. 8 line 1; [b, i, s, c_m]
        m = self.attention(m, m, msa_mask.transpose(1, 2))  # lines 2-6
        return m.transpose(1, 2)


class MSAColumnGlobalAttention(nn.Module):
    """Column attention with one query per column, for many sequences: Algorithm 19."""

    def __init__(self, c_e: int, heads: int):
        super().__init__()
        self.norm_m = LayerNorm(c_e)
        self.attention = GlobalAttention(c_e, heads)

    def forward(
        self, m: Float[Tensor, "b s i c_e"], msa_mask: Float[Tensor, "b s i"]
    ) -> Float[Tensor, "b s i c_e"]:
        m = self.norm_m(m).transpose(1, 2)  # Alg. 19 line 1
        return self.attention(m, msa_mask.transpose(1, 2)).transpose(1, 2)  # lines 2-7


class OuterProductMean(nn.Module):
    """Mean over sequences of the outer product of two columns: Algorithm 10.

    As in DeepMind's code the bias of the last layer is divided by the number of sequences too
    (deviation D1 of DEVIATIONS.md).

    Args:
        c_m, c_z: channels of m and z.
        c_outer: channels of each factor.
    """

    def __init__(self, c_m: int, c_z: int, c_outer: int):
        super().__init__()
        self.norm_m = LayerNorm(c_m)
        self.left = Linear(c_m, c_outer)
        self.right = Linear(c_m, c_outer)
        self.output = Linear(c_outer * c_outer, c_z, init="zero")

    def forward(
        self, m: Float[Tensor, "b s i c_m"], msa_mask: Float[Tensor, "b s i"]
    ) -> Float[Tensor, "b i i c_z"]:
        m = self.norm_m(m)  # Alg. 10 line 1
        left = self.left(m) * msa_mask[..., None]  # line 2
        right = self.right(m) * msa_mask[..., None]
        outer = torch.einsum("bsic,bsjd->bijcd", left, right).flatten(-2)  # line 3, a sum
        count = torch.einsum("bsi,bsj->bij", msa_mask, msa_mask)[..., None]
        return self.output(outer) / (1e-3 + count)  # line 4, and the mean of line 3
