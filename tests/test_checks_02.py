"""The checks of lesson 02 accept every right answer and say what is wrong with a wrong one."""

import math

import numpy as np
import pytest
import torch

from minifold.checks import CheckFailed, check
from minifold.checks.lesson_02 import LETTERS, chains, properties


def softmax(x, axis=-1):
    e = np.exp(x - np.max(x, axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def wrong_with(name, answer, message):
    with pytest.raises(CheckFailed, match=message) as caught:
        check(name, answer)
    assert str(caught.value).startswith(f"{name}: ") and "\n" not in str(caught.value)


# --- relation -------------------------------------------------------------------------------------


def relation(scale=math.sqrt, project=True, axis=-1, last=softmax):
    def answer(x, w):
        x, w = np.asarray(x), np.asarray(w)
        p = x @ w.T if project else x
        return last(p @ p.T / scale(len(w)), axis)

    return answer


def relation_loops(x, w):  # wants lists
    seen = [[sum(a * b for a, b in zip(row, v)) for row in w] for v in x]
    rows = []
    for p in seen:
        e = [math.exp(sum(a * b for a, b in zip(p, q)) / len(w) ** 0.5) for q in seen]
        rows.append([v / sum(e) for v in e])
    return rows


@pytest.mark.parametrize(
    "answer",
    [
        relation(),
        relation_loops,
        lambda x, w: torch.softmax(x @ w.T @ w @ x.T / len(w) ** 0.5, dim=-1),
        lambda x, w: relation()(x.numpy(), w.numpy()).astype(np.float32),
        lambda x, w: (relation()(x, w), "more"),
    ],
)
def test_right_relation(answer, capsys):
    check("relation", answer)
    assert capsys.readouterr().out.startswith("✓ relation: ")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (relation(scale=lambda d: 1), r"not divided by sqrt\(d\)"),
        (relation(scale=float), "not by its square root"),
        (relation(project=False), "not projected"),
        (relation(axis=0), "over the queries"),
        (relation(last=lambda s, axis: s), "without softmax"),
        (lambda x, w: softmax((x @ w.T) @ (x @ w.T).T / np.sqrt(x.shape[1])), "before projection"),
        (lambda x, w: x @ w.T, r"expected shape \(4, 4\), got \(4, 2\)"),
        (lambda x, w: x @ w, "ValueError|RuntimeError"),
        (lambda x, w: None, "returned None"),
    ],
)
def test_wrong_relation(answer, message):
    wrong_with("relation", answer, message)


# --- salt bridge ----------------------------------------------------------------------------------

CHARGE = np.array([[0.0, 0, 1, 1]])


@pytest.mark.parametrize(
    "answer",
    [
        (CHARGE, -CHARGE),
        (-3 * CHARGE, 0.1 * CHARGE),
        [CHARGE.tolist(), (-CHARGE).tolist()],
        (torch.tensor(CHARGE), -torch.tensor(CHARGE).float()),
        {"W_q": CHARGE, "W_k": -CHARGE},
        (CHARGE[0], -CHARGE[0]),  # one row as a vector
        ([[0, 0, 1, 0], [0, 0, 0, -1]], [[0, 0, 0, -1], [0, 0, 1, 0]]),  # two rows: + seeks -
    ],
)
def test_right_salt_bridge(answer):
    check("salt_bridge", lambda: answer)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ((CHARGE, CHARGE), "D should prefer K and R.*like attracts like: turn the sign"),
        ((CHARGE, 0 * CHARGE), "all scores are 0"),
        ((np.array([[1.0, 0, 1, 1]]), -CHARGE), "K should prefer|D should prefer|neutral"),
        ((np.array([[0.01, 0, 1, 1]]), -CHARGE), "H is neutral.*nothing but charge"),
        (CHARGE, r"two matrices \[d, 4\]"),
        (None, "got None"),
        ((CHARGE[:, :3], CHARGE[:, :3]), r"shape \(1, 3\)"),
        (([[0, 0, 1, -1]], [[0, 0, 1, -1]]), "D should prefer"),  # |charge|: all charged ones
    ],
)
def test_wrong_salt_bridge(answer, message):
    wrong_with("salt_bridge", lambda: answer, message)


def test_properties_are_those_of_the_lesson():
    x = dict(zip(LETTERS, properties()))
    assert np.allclose(x["S"], [0.107, -1.298, 0, 0], atol=5e-3)
    assert np.allclose(x["D"], [1.034, -0.748, 0, -1], atol=5e-3)
    assert x["K"][2] == 1 and x["K"][3] == 0


# --- multi-head attention -------------------------------------------------------------------------


def multi_head(scale=None, cut=None, output=True, transpose=False, axis=-1):
    def answer(x, w_q, w_k, w_v, w_o, heads):
        x, *w = (np.asarray(a) for a in (x, w_q, w_k, w_v, w_o))
        w = [m if transpose else m.T for m in w]
        n, c = x.shape
        split = cut or (lambda z, n, h: z.reshape(n, h, -1).transpose(1, 0, 2))
        q, k, v = (split(x @ m, n, heads) for m in w[:3])
        d = {"sqrt c": c**0.5, "d": c // heads, "one": 1}.get(scale, (c // heads) ** 0.5)
        o = softmax(q @ k.transpose(0, 2, 1) / d, axis) @ v
        o = o.transpose(1, 0, 2).reshape(n, c)
        return o @ w[3] if output else o

    return answer


def multi_head_torch(x, w_q, w_k, w_v, w_o, heads):
    layer = torch.nn.MultiheadAttention(x.shape[1], heads, bias=False, batch_first=True)
    layer = layer.to(x.dtype)
    with torch.no_grad():
        layer.in_proj_weight.copy_(torch.cat([w_q, w_k, w_v]))
        layer.out_proj.weight.copy_(w_o)
    return layer(x[None], x[None], x[None])  # with a batch axis, and weights beside


def test_right_multi_head():
    check("multi_head", multi_head())
    check("multi_head", multi_head_torch)
    check("multi_head", lambda *a: torch.tensor(multi_head()(*a), dtype=torch.float32))
    check("multi_head", lambda *a: multi_head()(*a).tolist())


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (multi_head(scale="sqrt c"), r"sqrt\(c\) instead of"),
        (multi_head(scale="one"), r"not divided by sqrt\(d\)"),
        (multi_head(scale="d"), "not by its square root"),
        (multi_head(cut=lambda z, n, h: z.reshape(h, n, -1)), "mixed up"),
        (multi_head(cut=lambda z, n, h: z.reshape(n, -1, h).transpose(2, 0, 1)), "every h-th"),
        (multi_head(output=False), "W_o is missing"),
        (multi_head(transpose=True), "other way round"),
        (multi_head(axis=-2), "over the queries"),
        (lambda *a: multi_head()(*a[:5], 1), "one wide head"),
        (lambda *a: multi_head()(*a)[:, :4], r"expected shape \(5, 12\)"),
    ],
)
def test_wrong_multi_head(answer, message):
    wrong_with("multi_head", answer, message)


# --- two heads by hand ----------------------------------------------------------------------------


def two_heads(x, ahead=4, sharp=20.0, cysteine=4):
    x = np.asarray(x)
    turn = 2 * np.pi * ahead / np.array([3.0, 5, 8, 13, 21, 34, 55, 89])
    sin, cos = x[:, 20:28], x[:, 28:]
    q = np.hstack(
        [sin * np.cos(turn) + cos * np.sin(turn), cos * np.cos(turn) - sin * np.sin(turn)]
    )
    c = x[:, [cysteine]]
    return softmax(sharp * np.stack([q @ x[:, 20:].T, c @ c.T]))


def test_right_two_heads(capsys):
    check("two_heads", two_heads)
    assert "four ahead 100% (head 1), partner 100% (head 2)" in capsys.readouterr().out
    check("two_heads", lambda x: two_heads(x)[::-1].copy())  # in the other order
    assert "four ahead 100% (head 2)" in capsys.readouterr().out
    check("two_heads", lambda x: torch.tensor(two_heads(x), dtype=torch.float32))
    check("two_heads", lambda x: tuple(two_heads(x)))
    check("two_heads", lambda x: torch.from_numpy(two_heads(x.detach().numpy())))  # wants a tensor


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda x: two_heads(x, ahead=3), "four ahead 0%.*partner 100%.*target is 95%"),
        (lambda x: two_heads(x, cysteine=3), "four ahead 100%.*target"),
        (lambda x: 20 * np.log(two_heads(x) + 1e-9), "add up to 1"),
        (lambda x: two_heads(x)[0], r"shape \(2, 24, 24\).*got \(24, 24\)"),
        (lambda x: None, "got a NoneType"),
        (lambda x: x @ x, "your function raised"),
    ],
)
def test_wrong_two_heads(answer, message):
    wrong_with("two_heads", answer, message)


def test_chains_of_the_check():
    for x, places in chains(20, seed=1):
        assert x.shape == (24, 36) and sorted(np.flatnonzero(x[:, 4])) == sorted(places)
        assert np.allclose(x[:, 20] ** 2 + x[:, 28] ** 2, 1)  # sines, then cosines
