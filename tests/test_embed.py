"""The first m and z: relative positions, recycling, distance bins."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from minifold.model.embed import (
    InputEmbedder,
    RecyclingEmbedder,
    RelativePosition,
    distance_bins,
    extra_msa_features,
)
from tests.small import SMALL, random_batch, randomise


def test_input_embedder_is_algorithm_3():
    module, batch = randomise(InputEmbedder(SMALL)), random_batch()
    m, z = module(batch.target_feat, batch.residue_index, batch.msa_feat)
    f = batch.target_feat[0]
    relative = module.relative_position(batch.residue_index)[0]
    assert torch.allclose(z[0, 3, 7], module.left(f[3]) + module.right(f[7]) + relative[3, 7])
    expected = module.msa(batch.msa_feat[0, 2, 4]) + module.target(f[4])
    assert torch.allclose(m[0, 2, 4], expected, atol=1e-6)


def test_relative_positions_have_65_classes_from_i_minus_j():
    module = randomise(RelativePosition(4, 32))
    z = module(torch.tensor([[0, 1, 50, 90]]))[0]
    table = module.linear.weight.T + module.linear.bias
    for (i, j), offset in {(0, 0): 0, (1, 0): 1, (0, 1): -1, (2, 0): 32, (0, 3): -32}.items():
        assert torch.allclose(z[i, j], table[offset + 32]), (i, j)


def test_distance_bins_by_hand():
    x = torch.tensor([0.0, 3.0, 3.3, 4.6, 20.9, 500.0])[:, None] * torch.tensor([1.0, 0, 0])
    bins = distance_bins(x, 3.25, 20.75, 15)[0]
    assert not bins[0].any() and not bins[1].any()  # nearer than the first edge: no bin
    assert [int(bins[k].argmax()) for k in (2, 3, 4, 5)] == [0, 1, 14, 14]  # the last one is open
    assert torch.equal(bins[2:].sum(-1), torch.ones(4))


def test_the_first_pass_adds_biases_and_offsets_only():
    module = randomise(RecyclingEmbedder(SMALL))
    m, z = module(torch.zeros(1, 4, 16), torch.zeros(1, 4, 4, 12), torch.zeros(1, 4, 3))
    assert torch.allclose(m, module.norm_m.bias.expand_as(m), atol=1e-6)
    expected = module.distances.bias + module.norm_z.bias
    assert torch.allclose(z, expected.expand_as(z), atol=1e-6)


def test_recycled_distances_are_seen():
    module = randomise(RecyclingEmbedder(SMALL))
    x = 10 * torch.randn(1, 4, 3)
    m, z0 = module(torch.zeros(1, 4, 16), torch.zeros(1, 4, 4, 12), torch.zeros(1, 4, 3))
    _, z = module(torch.zeros(1, 4, 16), torch.zeros(1, 4, 4, 12), x)
    bins = distance_bins(x, *module.bins)
    assert torch.allclose(z - z0, bins @ module.distances.weight.T, atol=1e-5)


def test_extra_features_in_order():
    letters = torch.tensor([[[0, 20, 21, 22]]])
    flag, value = torch.tensor([[[0.0, 1, 0, 0]]]), torch.tensor([[[0.0, 0.3, 0, 0]]])
    f = extra_msa_features(letters, flag, value)
    assert torch.equal(f[..., :23], F.one_hot(letters, 23).float())
    assert torch.equal(f[..., 23], flag) and torch.equal(f[..., 24], value)
