"""The Evoformer and the extra MSA stack: Algorithms 6 and 18."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from minifold.config import Config
from minifold.model.msa_stack import (
    MSAColumnAttention,
    MSAColumnGlobalAttention,
    MSARowAttentionWithPairBias,
    OuterProductMean,
)
from minifold.model.pair_stack import PairStack
from minifold.model.primitives import Linear, SharedDropout, Transition


class EvoformerBlock(nn.Module):
    """One block of Algorithm 6; with ``extra`` one block of Algorithm 18.

    Args:
        config: sizes.
        extra: a block of the extra MSA stack: c_e channels and global column attention.
    """

    def __init__(self, config: Config, extra: bool = False):
        super().__init__()
        c_m, c_z, heads = config.c_e if extra else config.c_m, config.c_z, config.msa_heads
        self.msa_row = MSARowAttentionWithPairBias(c_m, c_z, heads)
        self.msa_column = (
            MSAColumnGlobalAttention(c_m, heads) if extra else MSAColumnAttention(c_m, heads)
        )
        self.msa_transition = Transition(c_m, config.transition_factor)
        self.outer_product = OuterProductMean(c_m, c_z, config.c_outer)
        self.pair = PairStack(
            c_z,
            config.c_triangle,
            config.pair_heads,
            config.transition_factor,
            config.pair_dropout,
        )
        self.dropout_row = SharedDropout(config.msa_dropout, shared=1)

    def forward(
        self,
        m: Float[Tensor, "b s i c_m"],
        z: Float[Tensor, "b i i c_z"],
        msa_mask: Float[Tensor, "b s i"],
        pair_mask: Float[Tensor, "b i i"],
    ) -> tuple[Float[Tensor, "b s i c_m"], Float[Tensor, "b i i c_z"]]:
        m = m + self.dropout_row(self.msa_row(m, z, msa_mask))  # Alg. 6 line 2
        m = m + self.msa_column(m, msa_mask)  # line 3
        m = m + self.msa_transition(m)  # line 4
        z = z + self.outer_product(m, msa_mask)  # line 5
        z = self.pair(z, pair_mask)  # lines 6-10
        return m, z


class EvoformerStack(nn.Module):
    """All blocks one after another: Algorithm 6 line 1, Algorithm 18 line 1.

    ``checkpointing`` (an attribute) recomputes each block in the backward pass instead of
    storing what it computed: less memory, a third more time (supplement 1.11.8).
    """

    def __init__(self, config: Config, blocks: int, extra: bool = False):
        super().__init__()
        self.blocks = nn.ModuleList(EvoformerBlock(config, extra) for _ in range(blocks))
        self.checkpointing = False

    def forward(
        self,
        m: Float[Tensor, "b s i c_m"],
        z: Float[Tensor, "b i i c_z"],
        msa_mask: Float[Tensor, "b s i"],
        pair_mask: Float[Tensor, "b i i"],
    ) -> tuple[Float[Tensor, "b s i c_m"], Float[Tensor, "b i i c_z"]]:
        for block in self.blocks:
            if self.checkpointing and torch.is_grad_enabled():
                m, z = checkpoint(block, m, z, msa_mask, pair_mask, use_reentrant=False)
            else:
                m, z = block(m, z, msa_mask, pair_mask)
        return m, z


class Evoformer(nn.Module):
    """The main stack, and the single representation it ends with: Algorithm 6."""

    def __init__(self, config: Config):
        super().__init__()
        self.stack = EvoformerStack(config, config.evoformer_blocks)
        self.single = Linear(config.c_m, config.c_s)

    def forward(
        self,
        m: Float[Tensor, "b s i c_m"],
        z: Float[Tensor, "b i i c_z"],
        msa_mask: Float[Tensor, "b s i"],
        pair_mask: Float[Tensor, "b i i"],
    ) -> tuple[Float[Tensor, "b s i c_m"], Float[Tensor, "b i i c_z"], Float[Tensor, "b i c_s"]]:
        m, z = self.stack(m, z, msa_mask, pair_mask)
        s = self.single(m[:, 0])  # Alg. 6 line 12
        return m, z, s
