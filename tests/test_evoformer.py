"""The layers of the Evoformer against their formulas, written as loops."""

from __future__ import annotations

import pytest
import torch

from minifold.model.evoformer import Evoformer, EvoformerBlock
from minifold.model.msa_stack import OuterProductMean
from minifold.model.pair_stack import TriangleAttention, TriangleMultiplication
from tests.small import SMALL, randomise

Z = torch.randn(1, 5, 5, 12, generator=torch.Generator().manual_seed(5))
PAIRS = torch.ones(1, 5, 5)


def test_outer_product_mean_is_the_mean_over_unmasked_sequences():
    module, m = randomise(OuterProductMean(6, 4, 3)), torch.randn(1, 7, 5, 6)
    mask = (torch.rand(1, 7, 5) < 0.7).float()
    out = module(m, mask)[0]
    left, right = module.left(module.norm_m(m))[0], module.right(module.norm_m(m))[0]
    for i in range(5):
        for j in range(5):
            both = [s for s in range(7) if mask[0, s, i] and mask[0, s, j]]
            total = sum((torch.outer(left[s, i], right[s, j]) for s in both), torch.zeros(3, 3))
            expected = module.output(total.flatten()) / (len(both) + 1e-3)
            assert torch.allclose(out[i, j], expected, atol=1e-5)


def test_the_bias_of_the_outer_product_mean_is_divided_too():
    module, m = randomise(OuterProductMean(6, 4, 3)), torch.randn(1, 7, 5, 6)
    none = module(m, torch.zeros(1, 7, 5))
    assert torch.allclose(none, (module.output.bias / 1e-3).expand_as(none), rtol=1e-4)
    with torch.no_grad():
        module.output.weight.zero_()
    assert torch.allclose(module(m, torch.ones(1, 7, 5)), module.output.bias / 7.001, rtol=1e-4)


@pytest.mark.parametrize("outgoing", [True, False])
def test_triangle_multiplication_is_the_sum_over_the_third_corner(outgoing):
    module, mask = randomise(TriangleMultiplication(12, 6, outgoing)), (torch.rand(1, 5, 5) < 0.7)
    z, mask = module.norm(Z), mask.float()
    a, b = (
        mask[..., None] * torch.sigmoid(gate(z)) * linear(z)
        for gate, linear in ((module.a_gate, module.a), (module.b_gate, module.b))
    )
    out = module(Z, mask)
    for i in range(5):
        for j in range(5):
            if outgoing:
                total = sum(a[0, i, k] * b[0, j, k] for k in range(5))
            else:
                total = sum(a[0, k, i] * b[0, k, j] for k in range(5))
            expected = torch.sigmoid(module.gate(z[0, i, j])) * module.output(
                module.norm_output(total)
            )
            assert torch.allclose(out[0, i, j], expected, atol=1e-5)


def test_attention_at_the_ending_node_has_the_bias_of_edge_k_to_i():
    """Edge (i, j) looks at the edges (k, j); the third side of that triangle is (k, i)."""
    module = randomise(TriangleAttention(12, 2, starting=False))
    z, a = module.norm(Z)[0], module.attention
    b = module.triangle_bias(z)
    out = module(Z, PAIRS)[0]
    for i in range(5):
        for j in range(5):
            heads = []
            for h in range(2):
                rows = slice(6 * h, 6 * h + 6)
                q, k, v = (w.weight[rows] for w in (a.q, a.k, a.v))
                logits = (z[:, j] @ k.T) @ (q @ z[i, j]) / 6**0.5 + b[:, i, h]
                heads.append(torch.softmax(logits, 0) @ (z[:, j] @ v.T))
            expected = a.output(torch.sigmoid(a.gate(z[i, j])) * torch.cat(heads))
            assert torch.allclose(out[i, j], expected, atol=1e-5)


def test_ending_is_starting_with_all_edges_turned_round():
    start = randomise(TriangleAttention(12, 2, starting=True))
    end = randomise(TriangleAttention(12, 2, starting=False))
    turned = start(Z.transpose(1, 2), PAIRS).transpose(1, 2)
    assert torch.allclose(end(Z, PAIRS), turned, atol=1e-6)


@pytest.mark.parametrize("extra", [False, True])
def test_a_block_is_algorithm_6(extra):
    block = randomise(EvoformerBlock(SMALL, extra)).eval()
    m = torch.randn(2, 4, 5, SMALL.c_e if extra else SMALL.c_m)
    z, rows, pairs = torch.randn(2, 5, 5, 12), torch.ones(2, 4, 5), torch.ones(2, 5, 5)
    m_out, z_out = block(m, z, rows, pairs)
    m = m + block.msa_row(m, z, rows)
    m = m + block.msa_column(m, rows)
    m = m + block.msa_transition(m)
    z = z + block.outer_product(m, rows)
    pair = block.pair
    for layer in (
        pair.triangle_outgoing,
        pair.triangle_incoming,
        pair.triangle_starting,
        pair.triangle_ending,
    ):
        z = z + layer(z, pairs)
    z = z + pair.transition(z)
    assert torch.allclose(m_out, m, atol=1e-5) and torch.allclose(z_out, z, atol=1e-5)


def test_a_new_block_changes_nothing():
    """All last layers start at zero: depth costs nothing at the start of training."""
    block = EvoformerBlock(SMALL).eval()
    m, z = torch.randn(1, 4, 5, 16), torch.randn(1, 5, 5, 12)
    m_out, z_out = block(m, z, torch.ones(1, 4, 5), PAIRS)
    assert torch.equal(m, m_out) and torch.equal(z, z_out)


def test_the_single_representation_is_read_from_the_first_row():
    stack = randomise(Evoformer(SMALL.replace(evoformer_blocks=1))).eval()
    m, z = torch.randn(1, 4, 5, 16), torch.randn(1, 5, 5, 12)
    m_out, _, s = stack(m, z, torch.ones(1, 4, 5), PAIRS)
    assert torch.equal(s, stack.single(m_out[:, 0]))
