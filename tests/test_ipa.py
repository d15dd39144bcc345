"""Invariant point attention: invariance, masks, gradients, and Algorithm 22 spelled out."""

import math

import pytest
import torch

from minifold.config import PRESETS
from minifold.model.ipa import InvariantPointAttention
from minifold.model.rigid import Rigid
from tests.test_rigid import random_rigid

SMALL = PRESETS["nano"].replace(
    c_s=4, c_z=3, ipa_heads=2, ipa_scalars=2, ipa_query_points=2, ipa_value_points=1
)


def random_ipa(dtype=torch.float64) -> InvariantPointAttention:
    """Weights of ordinary size everywhere: the output layer would otherwise start at zero."""
    ipa = InvariantPointAttention(SMALL).to(dtype)
    for p in ipa.parameters():
        torch.nn.init.normal_(p, std=0.5)
    return ipa.eval()


def random_input(b=2, n=7, dtype=torch.float64):
    s, z = torch.randn(b, n, SMALL.c_s, dtype=dtype), torch.randn(b, n, n, SMALL.c_z, dtype=dtype)
    return s, z, random_rigid(b, n, dtype=dtype, size=1.0), torch.ones(b, n, dtype=dtype)


def one_residue_at_a_time(ipa: InvariantPointAttention, s, z, T: Rigid, i: int) -> torch.Tensor:
    """Algorithm 22 for residue i of one protein, in loops, as the supplement writes it."""
    h, c, P, V = ipa.h, ipa.c, ipa.query_points, ipa.value_points
    n = len(s)

    def point(x, j, head, p, number):  # x coordinates of all points first, then y, then z
        index = [xyz * h * number + head * number + p for xyz in range(3)]
        return T.R[j] @ x[j][index] + T.t[j]

    q, kv, q_pts, kv_pts = ipa.q_scalar(s), ipa.kv_scalar(s), ipa.q_point(s), ipa.kv_point(s)
    scalars, points, norms, pairs = [], [], [], []
    for head in range(h):
        gamma = math.log(1 + math.exp(ipa.point_weights[head].item()))
        logits = []
        for j in range(n):
            k = kv[j, head * 2 * c : head * 2 * c + c]
            logit = q[i, head * c : (head + 1) * c] @ k / math.sqrt(c)
            logit = logit + ipa.pair_bias(z[i, j])[head]
            for p in range(P):
                d = point(q_pts, i, head, p, P) - point(kv_pts, j, head, p, P + V)
                logit = logit - gamma * math.sqrt(2 / (9 * P)) / 2 * d.square().sum()
            logits.append(math.sqrt(1 / 3) * logit)
        a = torch.softmax(torch.stack(logits), 0)
        scalars.append(sum(a[j] * kv[j, head * 2 * c + c : (head + 1) * 2 * c] for j in range(n)))
        pairs.append(sum(a[j] * z[i, j] for j in range(n)))
        for p in range(V):
            o = sum(a[j] * point(kv_pts, j, head, P + p, P + V) for j in range(n))
            points.append(T.R[i].T @ (o - T.t[i]))
            norms.append(points[-1].norm())
    xyz = torch.stack(points, dim=1).flatten()
    return ipa.output(torch.cat([*scalars, xyz, torch.stack(norms), *pairs]))


@torch.no_grad()
def test_is_algorithm_22():
    ipa, (s, z, T, mask) = random_ipa(), random_input(b=1, n=4)
    out = ipa(s, z, T, mask)[0]
    for i in range(4):
        expected = one_residue_at_a_time(ipa, s[0], z[0], T[0], i)
        torch.testing.assert_close(out[i], expected, rtol=1e-6, atol=1e-6)


def test_moving_everything_changes_nothing():
    ipa, (s, z, T, mask) = random_ipa(), random_input()
    out = ipa(s, z, T, mask)
    move = random_rigid(1, 1, size=5.0)
    torch.testing.assert_close(ipa(s, z, move.compose(T), mask), out)
    # but moving one residue does change the others
    t = T.t.clone()
    t[:, 0] += 1
    changed = ipa(s, z, Rigid(T.R, t), mask)
    assert (changed - out).abs().amax(-1).min() > 1e-6


def test_residues_may_be_renumbered():
    ipa, (s, z, T, mask) = random_ipa(), random_input()
    order = torch.randperm(s.shape[1])
    out = ipa(s[:, order], z[:, order][:, :, order], T[:, order], mask)
    torch.testing.assert_close(out, ipa(s, z, T, mask)[:, order])


def test_masked_residues_do_not_influence_the_others():
    ipa, (s, z, T, mask) = random_ipa(torch.float32), random_input(dtype=torch.float32)
    mask[:, 3] = 0
    out = ipa(s, z, T, mask)
    s, z, t, R = s.clone(), z.clone(), T.t.clone(), T.R.clone()
    s[:, 3], z[:, 3], z[:, :, 3], t[:, 3], R[:, 3] = 1, -3, 3, 0, torch.eye(3)
    again = ipa(s, z, Rigid(R, t), mask)
    keep = mask[0].bool()
    torch.testing.assert_close(again[:, keep], out[:, keep])
    everyone = ipa(s, z, Rigid(R, t), torch.ones_like(mask))
    assert not torch.allclose(everyone[:, keep], out[:, keep], atol=1e-3)


def test_record_receives_parts_that_add_up_to_the_weights():
    ipa, (s, z, T, mask) = random_ipa(), random_input()
    mask[1, -2:] = 0
    seen: list[dict] = []
    silent = ipa(s, z, T, mask)
    ipa.record = seen.append
    torch.testing.assert_close(ipa(s, z, T, mask), silent, rtol=0, atol=0)
    (parts,) = seen
    assert set(parts) == {"scalar", "pair", "points", "weights"}
    logits = parts["scalar"] + parts["pair"] + parts["points"]
    first = torch.softmax(logits[0], dim=-1)
    torch.testing.assert_close(parts["weights"][0], first)
    assert (parts["weights"][1, :, :-2, -2:] == 0).all()
    assert (parts["points"] <= 1e-9).all()
    # no term dominates by design: each has about unit variance for unit inputs
    torch.testing.assert_close(parts["weights"].sum(-1), torch.ones_like(parts["weights"][..., 0]))


def test_points_start_with_weight_one_and_the_output_with_zero():
    ipa = InvariantPointAttention(SMALL)
    softplus = torch.nn.functional.softplus(ipa.point_weights)
    torch.testing.assert_close(softplus, torch.ones(SMALL.ipa_heads))
    s, z, T, mask = random_input(dtype=torch.float32)
    assert (ipa(s, z, T, mask) == 0).all()


def test_gradients_of_everything():
    """gradcheck in float64: every parameter, both representations, rotations and translations."""
    ipa, (s, z, T, mask) = random_ipa(), random_input(b=1, n=3)
    mask[0, 2] = 0
    names = [name for name, _ in ipa.named_parameters()]
    parameters = [p.detach().clone().requires_grad_() for p in ipa.parameters()]
    inputs = [x.clone().requires_grad_() for x in (s, z, T.R, T.t)]

    def f(s, z, R, t, *parameters):
        weights = dict(zip(names, parameters))
        out = torch.func.functional_call(ipa, weights, (s, z, Rigid(R, t), mask))
        return out[:, :2]  # the masked query is noise: its logits sit on top of -1e5

    assert torch.autograd.gradcheck(f, (*inputs, *parameters))


@pytest.mark.parametrize("distance", [0.0, 30.0])
def test_attention_falls_with_distance(distance):
    """With scalars and pairs silent, the points alone decide: near residues are seen."""
    ipa, (s, z, _, mask) = random_ipa(), random_input(b=1, n=2)
    for layer in (ipa.q_scalar, ipa.pair_bias):
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    s[:, 1] = s[:, 0]  # the same residue twice
    T = Rigid.identity((1, 2), dtype=torch.float64)
    T.t[0, 1, 0] = distance
    seen: list[dict] = []
    ipa.record = seen.append
    ipa(s, z, T, mask)
    other = seen[0]["weights"][0, :, 0, 1]
    expected = 0.5 if distance == 0 else 0.0
    torch.testing.assert_close(other, torch.full_like(other, expected), atol=1e-6, rtol=0)
