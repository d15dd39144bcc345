"""The pair half of the Evoformer: Algorithms 11-15.

z[i, j] describes the edge from residue i to residue j. Every layer lets it look at the two
other edges of the triangles i, j, k that it belongs to.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from minifold.model.primitives import Attention, LayerNorm, Linear, SharedDropout, Transition


class TriangleMultiplication(nn.Module):
    """Update an edge from the two others of each triangle: Algorithms 11 and 12.

    Args:
        c_z: channels of z.
        c: channels of the two factors.
        outgoing: use the edges i→k and j→k (Algorithm 11), else k→i and k→j (Algorithm 12).
    """

    def __init__(self, c_z: int, c: int, outgoing: bool):
        super().__init__()
        self.outgoing = outgoing
        self.norm = LayerNorm(c_z)
        self.a = Linear(c_z, c)
        self.a_gate = Linear(c_z, c, init="gate")
        self.b = Linear(c_z, c)
        self.b_gate = Linear(c_z, c, init="gate")
        self.norm_output = LayerNorm(c)
        self.output = Linear(c, c_z, init="zero")
        self.gate = Linear(c_z, c_z, init="gate")

    def forward(
        self, z: Float[Tensor, "b i i c_z"], pair_mask: Float[Tensor, "b i i"]
    ) -> Float[Tensor, "b i i c_z"]:
        z = self.norm(z)  # Alg. 11 line 1
        mask = pair_mask[..., None]
        a = mask * torch.sigmoid(self.a_gate(z)) * self.a(z)  # line 2
        b = mask * torch.sigmoid(self.b_gate(z)) * self.b(z)
        g = torch.sigmoid(self.gate(z))  # line 3
        equation = "bikc,bjkc->bijc" if self.outgoing else "bkic,bkjc->bijc"
        return g * self.output(self.norm_output(torch.einsum(equation, a, b)))  # line 4


class TriangleAttention(nn.Module):
    """Attention among the edges that share a node: Algorithms 13 and 14.

    Args:
        c_z: channels of z.
        heads: attention heads.
        starting: edges i→j look at the edges i→k (Algorithm 13); else edges i→j look at k→j
            (Algorithm 14), which is Algorithm 13 with all edges turned round.
    """

    def __init__(self, c_z: int, heads: int, starting: bool):
        super().__init__()
        self.starting = starting
        self.norm = LayerNorm(c_z)
        self.triangle_bias = Linear(c_z, heads, bias=False)
        self.attention = Attention(c_z, c_z, c_z, heads)

    def forward(
        self, z: Float[Tensor, "b i i c_z"], pair_mask: Float[Tensor, "b i i"]
    ) -> Float[Tensor, "b i i c_z"]:
        if not self.starting:
            z, pair_mask = z.transpose(1, 2), pair_mask.transpose(1, 2)
        z = self.norm(z)  # Alg. 13 line 1
        bias = self.triangle_bias(z).permute(0, 3, 1, 2)[:, None]  # line 3: [b, 1, h, j, k]
        z = self.attention(z, z, pair_mask, bias)  # lines 2, 4-7
        return z if self.starting else z.transpose(1, 2)


class PairStack(nn.Module):
    """The pair layers of an Evoformer block: Algorithm 6 lines 6-10.

    Args:
        c_z: channels of z.
        c_triangle: channels of the triangle multiplications.
        heads: heads of the triangle attentions.
        factor: widening of the transition.
        dropout: rate of the shared dropout.
    """

    def __init__(self, c_z: int, c_triangle: int, heads: int, factor: int, dropout: float):
        super().__init__()
        self.triangle_outgoing = TriangleMultiplication(c_z, c_triangle, outgoing=True)
        self.triangle_incoming = TriangleMultiplication(c_z, c_triangle, outgoing=False)
        self.triangle_starting = TriangleAttention(c_z, heads, starting=True)
        self.triangle_ending = TriangleAttention(c_z, heads, starting=False)
        self.transition = Transition(c_z, factor)
        self.dropout_row = SharedDropout(dropout, shared=1)
        self.dropout_column = SharedDropout(dropout, shared=2)

    def forward(
        self, z: Float[Tensor, "b i i c_z"], pair_mask: Float[Tensor, "b i i"]
    ) -> Float[Tensor, "b i i c_z"]:
        z = z + self.dropout_row(self.triangle_outgoing(z, pair_mask))  # Alg. 6 line 6
        z = z + self.dropout_row(self.triangle_incoming(z, pair_mask))  # line 7
        z = z + self.dropout_row(self.triangle_starting(z, pair_mask))  # line 8
        z = z + self.dropout_column(self.triangle_ending(z, pair_mask))  # line 9
        return z + self.transition(z)  # line 10


class TemplatePairBlock(PairStack):
    """A block of Algorithm 16: as above, but attention comes before multiplication.

    That order is DeepMind's code's (deviation D4 of DEVIATIONS.md).
    """

    def forward(
        self, z: Float[Tensor, "b i i c_t"], pair_mask: Float[Tensor, "b i i"]
    ) -> Float[Tensor, "b i i c_t"]:
        z = z + self.dropout_row(self.triangle_starting(z, pair_mask))  # Alg. 16 line 2
        z = z + self.dropout_column(self.triangle_ending(z, pair_mask))  # line 3
        z = z + self.dropout_row(self.triangle_outgoing(z, pair_mask))  # line 4
        z = z + self.dropout_row(self.triangle_incoming(z, pair_mask))  # line 5
        return z + self.transition(z)  # line 6
