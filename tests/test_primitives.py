"""Linear layers, attention, transition and shared dropout by themselves."""

from __future__ import annotations

import pytest
import torch

from minifold.model.primitives import (
    Attention,
    GlobalAttention,
    Linear,
    SharedDropout,
    Transition,
    set_attention,
)
from tests.small import randomise


@pytest.mark.parametrize("init, variance", [("default", 1.0), ("relu", 2.0)])
def test_initial_weights_have_the_published_spread(init, variance):
    layer = Linear(400, 300, init=init)
    assert float(layer.weight.var()) * 400 == pytest.approx(variance, rel=0.05)
    std = (variance / 400) ** 0.5
    assert layer.weight.abs().max() <= 2.28 * std  # cut at two standard deviations, rescaled
    assert not layer.bias.any()


def test_last_layers_start_at_zero_and_gates_open():
    assert not Linear(5, 4, init="zero").weight.any()
    gate = Linear(5, 4, init="gate")
    assert not gate.weight.any() and bool((gate.bias == 1).all())
    with pytest.raises(ValueError, match="unknown init"):
        Linear(5, 4, init="none")


@pytest.mark.parametrize("gated", [True, False])
@pytest.mark.parametrize("path", ["fast", "clear"])
def test_attention_is_the_formula(gated, path):
    h, c = 3, 4
    module = randomise(Attention(10, 7, 5, h, h * c, h * c, gated))
    set_attention(module, path)
    x, y = torch.randn(2, 6, 10), torch.randn(2, 8, 7)
    mask = (torch.rand(2, 8) < 0.7).float()
    mask[:, 0] = 1
    bias = torch.randn(2, h, 6, 8)
    out = []
    for b in range(2):
        heads = []
        for k in range(h):
            rows = slice(k * c, (k + 1) * c)
            q, key, v = (w.weight[rows] for w in (module.q, module.k, module.v))
            logits = (x[b] @ q.T) @ (y[b] @ key.T).T / c**0.5 + bias[b, k]
            logits[:, mask[b] == 0] = -torch.inf
            heads.append(torch.softmax(logits, -1) @ (y[b] @ v.T))
        o = torch.cat(heads, -1)
        out.append(module.output(torch.sigmoid(module.gate(x[b])) * o if gated else o))
    assert torch.allclose(module(x, y, mask, bias), torch.stack(out), atol=1e-5)


@pytest.mark.parametrize("path", ["fast", "clear"])
def test_a_query_without_keys_attends_to_all_alike(path):
    module = randomise(Attention(8, 8, 8, 2, gated=False))
    set_attention(module, path)
    x = torch.randn(1, 5, 8)
    out = module(x, x, torch.zeros(1, 5), torch.randn(1, 2, 5, 5))
    assert torch.allclose(out, module.output(module.v(x).mean(1, keepdim=True)).expand_as(out))


def test_recorded_weights_are_distributions_and_change_nothing():
    module, found = randomise(Attention(8, 8, 8, 2)), []
    x, mask = torch.randn(1, 5, 8), torch.tensor([[1.0, 1, 0, 1, 0]])
    plain = module(x, x, mask)
    module.record = found.append
    assert torch.allclose(module(x, x, mask), plain, atol=1e-6)
    assert found[0].shape == (1, 2, 5, 5)
    assert torch.allclose(found[0].sum(-1), torch.ones(1, 2, 5))
    assert not found[0][..., mask[0] == 0].any()


def test_global_attention_has_the_mean_query_and_one_key_head():
    module = randomise(GlobalAttention(8, 2))
    x, mask = torch.randn(3, 6, 8), (torch.rand(3, 6) < 0.6).float()
    mask[:, 0] = 1
    for b in range(3):
        seen = x[b, mask[b] > 0]
        q = module.q(seen).mean(0).view(2, 4)
        weights = torch.softmax(q @ module.k(seen).T / 2, -1)
        o = (weights @ module.v(seen)).flatten()
        expected = module.output(torch.sigmoid(module.gate(x[b])) * o)
        assert torch.allclose(module(x, mask)[b], expected, atol=1e-5)


def test_heads_must_divide_the_channels():
    with pytest.raises(ValueError, match="3 heads"):
        Attention(8, 8, 8, 3)
    with pytest.raises(ValueError, match="quick"):
        set_attention(Transition(4, 2), "quick")


def test_transition_works_on_each_position_alone():
    module, x = randomise(Transition(6, 4)), torch.randn(2, 3, 5, 6)
    assert module.linear_1.weight.shape == (24, 6)
    assert torch.allclose(module(x)[1, 2, 3], module(x[1, 2, 3]), atol=1e-6)


def test_dropout_keeps_the_mean_and_rests_at_inference():
    drop, x = SharedDropout(0.25, shared=1), torch.ones(1, 2, 400, 400)
    assert torch.equal(drop.eval()(x), x)
    y = drop.train()(x)
    assert float(y.mean()) == pytest.approx(1.0, abs=0.02)
    assert y.unique().tolist() == [0.0, pytest.approx(4 / 3)]
