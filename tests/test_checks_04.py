"""The checks of lesson 04 accept every right answer and say what is wrong with a wrong one."""

import math

import numpy as np
import pytest
import torch

from minifold.checks import CheckFailed, check
from minifold.checks.lesson_04 import alignments


def softmax(x, axis=-1):
    e = np.exp(x - np.max(x, axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def wrong_with(name, answer, message):
    with pytest.raises(CheckFailed, match=message) as caught:
        check(name, answer)
    assert str(caught.value).startswith(f"{name}: ") and "\n" not in str(caught.value)


# --- looks ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        lambda s, n: ((s * n) ** 2, s * n * (n + s)),
        lambda S, N: [S * N * S * N, S * N**2 + N * S**2],
        lambda s, n: {"full": s**2 * n**2, "axial": s * n * n + n * s * s},
        lambda s, n: torch.tensor([float(s * n) ** 2, s * n * (n + s)], dtype=torch.float64),
        lambda s, n: np.array([s * n, s + n]) * s * n,
    ],
)
def test_right_looks(answer, capsys):
    check("looks", answer)
    assert capsys.readouterr().out.startswith("✓ looks: ")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda s, n: ((s * n) ** 2, s * n * n), "rows only"),
        (lambda s, n: ((s * n) ** 2, n * s * s), "columns only"),
        (lambda s, n: (s * n * (n + s), (s * n) ** 2), "other order"),
        (lambda s, n: ((s * n) ** 2, s * s + n * n), "one row and one column"),
        (lambda s, n: (s * n, s + n), "single cell"),
        (lambda s, n: (s * n * (s * n - 1) / 2, s * n * (n + s)), "each pair once"),
        (lambda s, n: (s * n, s * n * (n + s)), "all cells times all cells"),
        (
            lambda s, n: ((s * n) ** 2, s * n * (n + s - 1)),  # the own cell counted once
            r"6 sequences of 9 residues: expected \[2916\., +810\.\], got \[2916\., +756\.\]",
        ),
        (lambda s, n: (s * n) ** 2, r"expected shape \(2,\)"),
        (lambda s, n: None, "returned None"),
    ],
)
def test_wrong_looks(answer, message):
    wrong_with("looks", answer, message)


# --- row attention --------------------------------------------------------------------------------


def row(bias=lambda b: b, scale=math.sqrt, gate=lambda g: g, axis=-1, late=False, times=False):
    def answer(q, k, v, b, g):
        q, k, v, b, g = (np.asarray(x) for x in (q, k, v, b, g))
        s = np.einsum("sic,sjc->sij", q, k) / scale(q.shape[-1])
        s = s * bias(b) if times else s if late else s + bias(b)
        weights = softmax(s, axis) + (bias(b) if late else 0)
        return gate(g) * (weights @ v)

    return answer


def row_loops(q, k, v, bias, gate):  # wants lists
    result = []
    for qs, ks, vs, gs in zip(q, k, v, gate):
        answers = []
        for i, x in enumerate(qs):
            dots = [sum(a * b for a, b in zip(x, y)) / len(x) ** 0.5 for y in ks]
            e = [math.exp(d + b) for d, b in zip(dots, bias[i])]
            mean = [sum(w * y[c] for w, y in zip(e, vs)) / sum(e) for c in range(len(x))]
            answers.append([a * b for a, b in zip(gs[i], mean)])
        result.append(answers)
    return result


def row_fused(q, k, v, bias, gate):
    return gate * torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=bias)


def along_columns(q, k, v, bias, gate):
    q, k, v = (np.asarray(x).transpose(1, 0, 2) for x in (q, k, v))
    weights = softmax(q @ k.transpose(0, 2, 1) / math.sqrt(q.shape[-1]))
    return np.asarray(gate) * (weights @ v).transpose(1, 0, 2)


@pytest.mark.parametrize(
    "answer",
    [row(), row_loops, row_fused, lambda *a: torch.tensor(row()(*a)), lambda *a: (row()(*a), 1)],
)
def test_right_row_attention(answer):
    check("row_attention", answer)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (row(bias=lambda b: 0 * b), "bias is left out"),
        (row(bias=lambda b: b.T), "other way round"),
        (row(times=True), "multiplied"),
        (row(late=True), "after softmax"),
        (row(bias=lambda b: b / np.sqrt(4)), "divided by sqrt"),
        (row(scale=lambda d: 1), "not divided by sqrt"),
        (row(axis=-2), "residues that look"),
        (row(gate=lambda g: 1), "gate is left out"),
        (row(gate=lambda g: 1 / (1 + np.exp(-g))), "sigmoid is put on the gate once more"),
        (lambda q, k, v, b, g: row()(q, k, g * v, b, 1), "put on the values"),
        (along_columns, "along columns"),
        (lambda *a: row()(*a)[0], r"expected shape \(3, 5, 4\), got \(5, 4\)"),
        (lambda *a: 2 * row()(*a), "for 3 sequences of 5 residues.*largest difference"),
        (lambda q, k: q, "raised TypeError"),
    ],
)
def test_wrong_row_attention(answer, message):
    wrong_with("row_attention", answer, message)


# --- bias -----------------------------------------------------------------------------------------


def logit(p):
    return math.log(p / (1 - p))


def bias_formula(scores, j, target):
    return logit(target) - logit(softmax(np.asarray(scores, float))[j])


def bias_search(scores, j, target):
    low, high = -2000.0, 2000.0
    for _ in range(200):
        middle = (low + high) / 2
        moved = np.array(scores, float)
        moved[j] += middle
        low, high = (low, middle) if softmax(moved)[j] > target else (middle, high)
    return middle


def bias_from_the_others(scores, j, target):  # log of what the others have together
    others = torch.cat([scores[:j], scores[j + 1 :]])
    return logit(target) + torch.logsumexp(others, 0) - scores[j]


def test_right_bias(capsys):
    for answer in (bias_formula, bias_search, bias_from_the_others):
        check("bias", answer)
        assert capsys.readouterr().out.startswith("✓ bias: ")
    check("bias", lambda s, j, t: [bias_formula(s, j, t)])


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda s, j, t: math.log(t / softmax(np.array(s))[j]), "as if the other weights stayed"),
        (lambda s, j, t: logit(t), "not compared with those of now"),
        (lambda s, j, t: -bias_formula(s, j, t), "sign is turned"),
        (lambda s, j, t: math.exp(bias_formula(s, j, t)), "without the logarithm"),
        (lambda s, j, t: 0.0, r"target 0.6, the weight with your bias: expected 0.6, got 0.25"),
        (lambda s, j, t: math.exp(s[j]), "OverflowError|expected"),
        (lambda s, j, t: None, "expected one number"),
        (lambda s, j, t: np.array(s), "expected one number"),
        (lambda s, j, t: float("inf"), "expected one number"),
    ],
)
def test_wrong_bias(answer, message):
    wrong_with("bias", answer, message)


def test_bias_of_large_scores():
    """Exponentials of 900 overflow; the message names the case."""

    def careless(scores, j, target):
        e = np.exp(np.asarray(scores))
        return logit(target) - np.log(e[j] / (e.sum() - e[j]))

    wrong_with("bias", careless, r"scores \[900.*expected one number, the bias, got .*nan")


# --- fill in --------------------------------------------------------------------------------------


def by_relatives(tokens, temperature=0.7):
    one_hot = np.eye(21)[np.asarray(tokens)][..., :20]
    rows = one_hot.reshape(len(one_hot), -1)
    scores = rows @ rows.T / temperature
    np.fill_diagonal(scores, -1e9)
    return np.einsum("st,tia->sia", softmax(scores), one_hot)


def by_nearest(tokens):  # the closest relative that has a letter there; wants lists
    answer = []
    for s, row in enumerate(tokens):
        others = [other for t, other in enumerate(tokens) if t != s]
        others.sort(key=lambda other: -sum(a == b != 20 for a, b in zip(row, other)))
        answer.append([next((o[i] for o in others if o[i] != 20), 0) for i in range(len(row))])
    return answer


def by_column(tokens):
    one_hot = np.eye(21)[np.asarray(tokens)][..., :20]
    return np.tile(one_hot.sum(0).argmax(-1), (len(one_hot), 1))


def test_right_fill_in(capsys):
    check("fill_in", lambda tokens: by_relatives(tokens).argmax(-1))
    assert "8" in capsys.readouterr().out.split("(")[1]  # more than 80 %
    check("fill_in", by_relatives)  # scores of the 20 letters will do
    check("fill_in", by_nearest)
    check("fill_in", lambda tokens: torch.from_numpy(by_relatives(tokens.numpy())))


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (by_column, r"found \(\d\d%\); the target is 75%, the most frequent.*\d\d%"),
        (lambda t: by_relatives(t, 1e6).argmax(-1), "target is 75%"),
        (lambda t: np.asarray(t), r"\(0%\)"),
        (lambda t: by_relatives(t)[0], r"shape \(12, 24\); got shape \(24, 20\)"),
        (lambda t: None, "got a NoneType"),
        (lambda t: t.nothing, "your function raised AttributeError"),
    ],
)
def test_wrong_fill_in(answer, message):
    wrong_with("fill_in", answer, message)


def test_alignments_are_reproducible_and_the_lesson_says_the_truth_about_them():
    """30 % by column, 85 % for one who knows the branches."""
    shown, true, branch = (np.array(x) for x in zip(*alignments()))
    assert np.array_equal(shown, np.array([a for a, _, _ in alignments()]))
    hidden = shown == 20
    assert abs(hidden.mean() - 0.15) < 0.01
    column = np.array([by_column(a) for a in shown])
    assert abs((column == true)[hidden].mean() - 0.3) < 0.05
    same = branch[:, :, None] == branch[:, None]
    one_hot = np.eye(21)[shown][..., :20]
    fellows = np.einsum("bst,btia->bsia", same, one_hot).argmax(-1)
    assert abs((fellows == true)[hidden].mean() - 0.85) < 0.03
