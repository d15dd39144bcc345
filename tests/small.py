"""A small model with random, non-zero weights and batches of random features, for the tests.

Last layers start at zero in AlphaFold2, which would hide most mistakes: `randomise` fills every
parameter.
"""

from __future__ import annotations

import torch
from torch import nn

from minifold.config import Config
from minifold.data.features import Batch
from minifold.model.alphafold import AlphaFold
from minifold.model.atoms import lookup
from minifold.model.rigid import Rigid, quaternion_to_rotation

SMALL = Config(
    name="small",
    c_m=16,
    c_z=12,
    c_s=20,
    c_e=8,
    c_t=6,
    evoformer_blocks=2,
    extra_msa_blocks=1,
    template_blocks=1,
    msa_heads=4,
    pair_heads=2,
    template_heads=2,
    c_template_attention=8,
    c_outer=5,
    c_triangle=10,
    transition_factor=2,
    structure_layers=3,
    ipa_heads=3,
    ipa_scalars=4,
    ipa_query_points=2,
    ipa_value_points=3,
    c_torsion=12,
    c_plddt=10,
    pae=True,
    max_msa=8,
    max_extra_msa=8,
)


def randomise(module: nn.Module, seed: int = 0) -> nn.Module:
    """Every parameter random: weights as at the start, all else a little off its start value."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.dim() == 2:
                parameter.copy_(noise * parameter.shape[1] ** -0.5)
            else:
                parameter.add_(0.2 * noise)
    return module


def small_model(seed: int = 0, **changes) -> AlphaFold:
    """The small model with random weights, ready for inference."""
    return randomise(AlphaFold(SMALL.replace(**changes)), seed).eval()


def random_structure(aatype: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """All atoms [*, 37, 3] scattered around a random walk with steps of 3.8 Å."""
    steps = torch.randn(*aatype.shape, 3, generator=generator)
    walk = torch.cumsum(3.8 * steps / steps.norm(dim=-1, keepdim=True), dim=-2)
    atoms = 1.5 * torch.randn(*aatype.shape, 37, 3, generator=generator)
    return (walk[..., None, :] + atoms) * lookup("ATOM37_MASK", aatype)[..., None]


def random_batch(
    b: int = 1, i: int = 11, s: int = 5, t: int = 6, T: int = 2, seed: int = 0, truth: bool = False
) -> Batch:
    """Features without padding; ``T`` = 0 leaves the templates out."""
    g = torch.Generator().manual_seed(seed)

    def random(*shape):
        return torch.rand(*shape, generator=g)

    def letters(high, *shape):
        return torch.randint(0, high, shape, generator=g)

    aatype = letters(20, b, i)
    one_hot = nn.functional.one_hot(aatype, 21).float()
    fields = {
        "aatype": aatype,
        "residue_index": torch.cumsum(1 + (random(b, i) < 0.2).long() * 3, dim=-1),
        "seq_mask": torch.ones(b, i),
        "target_feat": torch.cat([torch.zeros(b, i, 1), one_hot], dim=-1),
        "msa_feat": random(b, s, i, 49),
        "msa_mask": torch.ones(b, s, i),
        "extra_msa": letters(23, b, t, i),
        "extra_has_deletion": (random(b, t, i) < 0.3).float(),
        "extra_deletion_value": random(b, t, i),
        "extra_msa_mask": torch.ones(b, t, i),
    }
    if T:
        template_aatype = letters(20, b, T, i)
        fields |= {
            "template_aatype": template_aatype,
            "template_all_atom_positions": random_structure(template_aatype, g),
            "template_all_atom_mask": lookup("ATOM37_MASK", template_aatype),
            "template_mask": torch.ones(b, T),
        }
    if truth:
        fields |= {
            "true_msa": letters(22, b, s, i),
            "bert_mask": (random(b, s, i) < 0.3).float(),
            "all_atom_positions": random_structure(aatype, g),
            "all_atom_mask": lookup("ATOM37_MASK", aatype),
            "resolution": torch.full((b,), 2.0),
            "use_clamped_fape": torch.ones(b),
        }
    return Batch(**fields)


def random_motion(seed: int = 0, far: float = 20.0) -> Rigid:
    """A rotation and a translation of everything."""
    g = torch.Generator().manual_seed(seed)
    q = torch.randn(4, generator=g)
    return Rigid(quaternion_to_rotation(q / q.norm()), far * torch.randn(3, generator=g))
