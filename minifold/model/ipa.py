"""Invariant point attention (supplement 1.8.2, Algorithm 22).

Besides a scalar query and key, every head has a few points per residue, given in the residue's
own frame. A residue attends to those whose points come close to its own in space. Distances do
not change when everything is moved together, so neither does the result.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from minifold.config import Config
from minifold.model.primitives import Linear
from minifold.model.rigid import Rigid


class InvariantPointAttention(nn.Module):
    """Algorithm 22, InvariantPointAttention.

    ``record``, when set, receives the logits' three parts and the weights of each call:
    a dictionary with "scalar", "pair", "points", "weights", each [b, h, i, j].
    """

    def __init__(self, config: Config):
        super().__init__()
        c_s, c_z, h = config.c_s, config.c_z, config.ipa_heads
        self.h, self.c = h, config.ipa_scalars
        self.query_points, self.value_points = config.ipa_query_points, config.ipa_value_points
        self.q_scalar = Linear(c_s, h * self.c)
        self.kv_scalar = Linear(c_s, h * 2 * self.c)
        self.q_point = Linear(c_s, 3 * h * self.query_points)
        self.kv_point = Linear(c_s, 3 * h * (self.query_points + self.value_points))
        self.pair_bias = Linear(c_z, h)
        # softplus of it is gamma, the weight of the points in each head; it starts at 1
        self.point_weights = nn.Parameter(torch.full((h,), math.log(math.e - 1)))
        self.output = Linear(h * (self.c + 4 * self.value_points + c_z), c_s, init="zero")
        self.record: Callable[[dict[str, Tensor]], None] | None = None

    def forward(
        self,
        s: Float[Tensor, "b i c_s"],
        z: Float[Tensor, "b i j c_z"],
        T: Rigid,
        mask: Float[Tensor, "b i"],
    ) -> Float[Tensor, "b i c_s"]:
        """Update of s.

        Args:
            T: frames [b, i], in units of `Config.position_scale` Å.
            mask: 1 for residues that exist; the others are not attended to.
        """
        q = self._heads(self.q_scalar(s))  # line 1
        k, v = self._heads(self.kv_scalar(s)).split(self.c, dim=-1)
        q_points = self._points(self.q_point(s), T)  # line 2, global
        kv_points = self._points(self.kv_point(s), T)  # line 3
        k_points, v_points = kv_points.split([self.query_points, self.value_points], dim=-2)

        w_c = math.sqrt(2 / (9 * self.query_points))  # line 5
        w_l = math.sqrt(1 / 3)  # line 6
        gamma = F.softplus(self.point_weights)[:, None, None]
        scalar = w_l / math.sqrt(self.c) * (q @ k.mT)  # line 7, three parts
        pair = w_l * self.pair_bias(z).permute(0, 3, 1, 2)  # line 4
        points = -w_l * w_c / 2 * gamma * _squared_distances(q_points, k_points)
        both = mask[:, None, :, None] * mask[:, None, None, :]
        a = torch.softmax(scalar + pair + points - 1e5 * (1 - both), dim=-1)  # [b, h, i, j]
        if self.record is not None:
            self.record({"scalar": scalar, "pair": pair, "points": points, "weights": a})

        o_pair = torch.einsum("bhij,bijc->bihc", a, z)  # line 8
        o = (a @ v).transpose(1, 2)  # line 9
        o_points = torch.einsum("bhij,bhjpx->bihpx", a, v_points)  # line 10
        o_points = T[..., None, None].invert_apply(o_points)
        norm = (o_points.square().sum(-1) + 1e-8).sqrt()
        # line 11; the coordinates x of all heads first, then y, then z, as DeepMind stores them
        parts = [o, *o_points.unbind(-1), norm, o_pair]
        return self.output(torch.cat([part.flatten(2) for part in parts], dim=-1))

    def _heads(self, x: Tensor) -> Tensor:
        """[b, i, h * c] -> [b, h, i, c]"""
        return x.unflatten(-1, (self.h, -1)).transpose(1, 2)

    def _points(self, x: Tensor, T: Rigid) -> Tensor:
        """[b, i, 3 * h * p], all x first -> global points [b, h, i, p, 3]"""
        local = x.unflatten(-1, (3, self.h, -1)).movedim(2, -1)  # [b, i, h, p, 3]
        return T[..., None, None].apply(local).transpose(1, 2)


def _squared_distances(q: Tensor, k: Tensor) -> Tensor:
    """Sum over the points p of |q_ip - k_jp|²: [b, h, i, p, 3], [b, h, j, p, 3] -> [b, h, i, j]

    As |q|² + |k|² - 2 q·k, a matrix product that never holds all the differences.
    """
    q, k = q.flatten(-2), k.flatten(-2)
    return q.square().sum(-1)[..., :, None] + k.square().sum(-1)[..., None, :] - 2 * q @ k.mT
