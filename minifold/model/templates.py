"""Known structures as a second input: Algorithms 16 and 17, Algorithm 2 lines 7-13."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from minifold.config import Config
from minifold.data.residues import ATOM_TYPES
from minifold.model.atoms import atom37_to_torsions, pseudo_beta
from minifold.model.embed import distance_bins
from minifold.model.pair_stack import TemplatePairBlock
from minifold.model.primitives import Attention, LayerNorm, Linear

TEMPLATE_TYPES = 22  # 20 amino acids, unknown, gap
PAIR_CHANNELS = 39 + 1 + 2 * TEMPLATE_TYPES + 3 + 1  # 88 with AlphaFold2's 39 distance bins
ANGLE_CHANNELS = TEMPLATE_TYPES + 14 + 14 + 7  # 57


class TemplatePairEmbedder(nn.Module):
    """One template's pair features through the template pair stack: Algorithm 16."""

    def __init__(self, config: Config):
        super().__init__()
        self.bins = (config.template_min, config.template_max, config.template_bins)
        self.linear = Linear(PAIR_CHANNELS - 39 + config.template_bins, config.c_t, init="relu")
        self.blocks = nn.ModuleList(
            TemplatePairBlock(
                config.c_t,
                config.c_t,
                config.template_heads,
                config.template_transition_factor,
                config.pair_dropout,
            )
            for _ in range(config.template_blocks)
        )
        self.norm = LayerNorm(config.c_t)

    def forward(
        self,
        aatype: Int[Tensor, "b i"],
        positions: Float[Tensor, "b i 37 3"],
        mask: Float[Tensor, "b i 37"],
        pair_mask: Float[Tensor, "b i i"],
    ) -> Float[Tensor, "b i i c_t"]:
        t = self.linear(template_pair_features(aatype, positions, mask, *self.bins))
        for block in self.blocks:  # Alg. 16 line 1
            t = block(t, pair_mask)
        return self.norm(t)  # line 8


class TemplateEmbedder(nn.Module):
    """Every edge attends over the templates: Algorithm 17 (pointwise attention)."""

    def __init__(self, config: Config):
        super().__init__()
        self.pair = TemplatePairEmbedder(config)
        self.attention = Attention(
            config.c_z,
            config.c_t,
            config.c_z,
            config.template_heads,
            c_qk=config.c_template_attention,
            c_v=config.c_template_attention,
            gated=False,
        )

    def forward(
        self,
        z: Float[Tensor, "b i i c_z"],
        aatype: Int[Tensor, "b T i"],
        positions: Float[Tensor, "b T i 37 3"],
        mask: Float[Tensor, "b T i 37"],
        template_mask: Float[Tensor, "b T"],
        pair_mask: Float[Tensor, "b i i"],
    ) -> Float[Tensor, "b i i c_z"]:
        """Returns the update of z; 0 where there is no template at all."""
        t = torch.stack(
            [
                self.pair(aatype[:, n], positions[:, n], mask[:, n], pair_mask)
                for n in range(aatype.shape[1])
            ],
            dim=-2,
        )  # [b, i, j, T, c_t]
        keys = template_mask[:, None, None, :].expand(*t.shape[:-1])
        update = self.attention(z[..., None, :], t, keys)[..., 0, :]  # Alg. 17 lines 1-5
        return update * (template_mask.sum(-1) > 0).to(update.dtype)[:, None, None, None]


class TemplateAngleEmbedder(nn.Module):
    """Templates' torsion angles as further rows of m: Algorithm 2 lines 7, 8."""

    def __init__(self, config: Config):
        super().__init__()
        self.linear_1 = Linear(ANGLE_CHANNELS, config.c_m, init="relu")
        self.linear_2 = Linear(config.c_m, config.c_m)

    def forward(self, features: Float[Tensor, "b T i 57"]) -> Float[Tensor, "b T i c_m"]:
        return self.linear_2(torch.relu(self.linear_1(features)))


def template_pair_features(
    aatype: Int[Tensor, "b i"],
    positions: Float[Tensor, "b i 37 3"],
    mask: Float[Tensor, "b i 37"],
    first: float,
    last: float,
    bins: int,
) -> Float[Tensor, "b i i channels"]:
    """Distances and residue types of one template (supplement 1.7.1, Table 1).

    The unit vectors are zero, as in the released models (deviation D5 of DEVIATIONS.md).
    """
    beta, beta_mask = pseudo_beta(aatype, positions, mask)
    n, ca, c = (ATOM_TYPES.index(name) for name in ("N", "CA", "C"))
    frame_mask = mask[..., n] * mask[..., ca] * mask[..., c]
    both_beta = (beta_mask[:, :, None] * beta_mask[:, None, :])[..., None]
    both_frames = (frame_mask[:, :, None] * frame_mask[:, None, :])[..., None]
    types = F.one_hot(aatype, TEMPLATE_TYPES).to(positions.dtype)
    size = (*both_beta.shape[:3], TEMPLATE_TYPES)
    features = torch.cat(
        [
            distance_bins(beta, first, last, bins),
            both_beta,
            types[:, None, :, :].expand(size),  # varies with j
            types[:, :, None, :].expand(size),  # varies with i
            positions.new_zeros(*both_beta.shape[:3], 3),
            both_frames,
        ],
        dim=-1,
    )
    return features * both_frames


def template_angle_features(
    aatype: Int[Tensor, "b T i"],
    positions: Float[Tensor, "b T i 37 3"],
    mask: Float[Tensor, "b T i 37"],
) -> tuple[Float[Tensor, "b T i 57"], Float[Tensor, "b T i"]]:
    """Residue type, torsions, alternative torsions and their mask; and the mask of the rows.

    Undefined torsions are (sin, cos) = (1, 0): they are rounding noise in the released models
    (deviation D6 of DEVIATIONS.md). The row mask is the mask of psi.
    """
    torsions, alternative, known = atom37_to_torsions(aatype, positions, mask, placeholder=True)
    types = F.one_hot(aatype, TEMPLATE_TYPES).to(positions.dtype)
    parts = [types, torsions.flatten(-2), alternative.flatten(-2), known]
    return torch.cat(parts, dim=-1), known[..., 2]
