"""Templates: their features, the order of their block, and attention over them."""

from __future__ import annotations

from dataclasses import replace

import torch

from minifold.data.residues import ATOM_INDEX
from minifold.model.pair_stack import TemplatePairBlock
from minifold.model.templates import (
    TemplateEmbedder,
    template_angle_features,
    template_pair_features,
)
from tests.small import SMALL, random_batch, randomise

BINS = (3.25, 50.75, 39)


def structures(batch, n=0):
    return (
        batch.template_aatype[:, n],
        batch.template_all_atom_positions[:, n],
        batch.template_all_atom_mask[:, n],
    )


def test_88_pair_features_in_order():
    batch = random_batch(T=1)
    aatype, positions, mask = structures(batch)
    mask = mask.clone()
    mask[0, 2, ATOM_INDEX["C"]] = 0  # no frame
    f = template_pair_features(aatype, positions, mask, *BINS)[0]
    assert f.shape[-1] == 88
    assert not f[2].any() and not f[:, 2].any()  # all is multiplied by the mask of the frames
    ok = [k for k in range(11) if k != 2]
    f = f[ok][:, ok]
    types = aatype[0][ok]
    rows, columns = f[..., 62:84].argmax(-1), f[..., 40:62].argmax(-1)
    assert torch.equal(columns[0], types) and torch.equal(rows[:, 0], types)
    assert bool((f[..., 39] == 1).all()) and bool((f[..., 87] == 1).all())
    assert not f[..., 84:87].any()  # unit vectors
    assert torch.equal(f[..., :39], f[..., :39].transpose(0, 1))


def test_a_missing_cb_counts_as_the_origin():
    """As in DeepMind's code: distances to it depend on where the template lies."""
    batch = random_batch(T=1)
    aatype, positions, mask = structures(batch)
    aatype = torch.zeros_like(aatype)  # alanine
    mask, positions = torch.ones_like(mask), positions.clone()
    mask[0, 4, ATOM_INDEX["CB"]] = 0
    positions[0, 4, ATOM_INDEX["CB"]] = 0
    f = template_pair_features(aatype, positions, mask, *BINS)[0]
    assert not f[4, :, 39].any() and f[4, :, :39].any()
    moved = positions + 7 * mask[..., None]
    g = template_pair_features(aatype, moved, mask, *BINS)[0]
    others = [k for k in range(11) if k != 4]
    assert torch.equal(f[others][:, others], g[others][:, others])
    assert not torch.equal(f[4], g[4])


def test_57_torsion_features_with_a_placeholder():
    batch = random_batch(T=2)
    mask = batch.template_all_atom_mask.clone()
    mask[0, 1, 3, ATOM_INDEX["O"]] = 0  # psi is undefined
    features, rows = template_angle_features(
        batch.template_aatype, batch.template_all_atom_positions, mask
    )
    types, torsions, alternative, known = features.split([22, 14, 14, 7], dim=-1)
    assert torch.equal(types.argmax(-1), batch.template_aatype)
    torsions, alternative = torsions.unflatten(-1, (7, 2)), alternative.unflatten(-1, (7, 2))
    undefined = torch.tensor([1.0, 0.0])
    for x in (torsions, alternative):
        assert torch.equal(x[known == 0], undefined.expand_as(x[known == 0]))
        assert torch.allclose(x[known == 1].norm(dim=-1), torch.ones(int(known.sum())), atol=1e-4)
    assert not known[:, :, 0, :2].any()  # the first residue has no residue before it
    assert torch.equal(rows, known[..., 2]) and rows[0, 1, 3] == 0 and rows.sum() == 21


def test_in_a_template_block_attention_comes_first():
    block = randomise(TemplatePairBlock(6, 6, 2, 2, 0.25)).eval()
    z, pairs, order = torch.randn(1, 5, 5, 6), torch.ones(1, 5, 5), []
    for name, layer in block.named_children():
        layer.register_forward_hook(lambda *_, name=name: order.append(name))
    block(z, pairs)
    assert [name for name in order if "dropout" not in name] == [
        "triangle_starting",
        "triangle_ending",
        "triangle_outgoing",
        "triangle_incoming",
        "transition",
    ]


def embed(module, batch, z, template_mask=None):
    return module(
        z,
        batch.template_aatype,
        batch.template_all_atom_positions,
        batch.template_all_atom_mask,
        batch.template_mask if template_mask is None else template_mask,
        batch.seq_mask[:, :, None] * batch.seq_mask[:, None, :],
    )


def test_each_edge_attends_over_the_templates_by_itself():
    module, batch = randomise(TemplateEmbedder(SMALL)).eval(), random_batch(T=3)
    z = torch.randn(1, 11, 11, 12)
    out = embed(module, batch, z)
    a = module.attention
    assert a.gate is None
    pairs = torch.ones(1, 11, 11)
    t = torch.stack([module.pair(*structures(batch, n), pairs) for n in range(3)])[:, 0]
    i, j = 2, 9
    heads = []
    for h in range(2):
        rows = slice(4 * h, 4 * h + 4)
        q, k, v = (w.weight[rows] for w in (a.q, a.k, a.v))
        weights = torch.softmax((t[:, i, j] @ k.T) @ (q @ z[0, i, j]) / 2, 0)  # z as it is
        heads.append(weights @ (t[:, i, j] @ v.T))
    assert torch.allclose(out[0, i, j], a.output(torch.cat(heads)), atol=1e-5)


def test_without_templates_there_is_no_update():
    module, batch = randomise(TemplateEmbedder(SMALL)).eval(), random_batch(b=2, T=2)
    z = torch.randn(2, 11, 11, 12)
    mask = torch.tensor([[0.0, 0.0], [1.0, 0.0]])
    out = embed(module, batch, z, mask)
    assert not out[0].any() and out[1].any()
    first = replace(batch, **{k: v[:, :1] for k, v in vars(batch).items() if "template" in k})
    assert torch.allclose(out[1], embed(module, first, z)[1], atol=1e-5)
