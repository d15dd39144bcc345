"""The checks of lesson 10 accept right answers of every kind and explain typical mistakes."""

import numpy as np
import pytest
import torch

from minifold import check
from minifold.checks import CheckFailed
from minifold.checks.lesson_10 import bond_properties, package_bonds
from minifold.training.loop import clip_and_accumulate


def wrong_with(name, answer, message):
    with pytest.raises(CheckFailed, match=message):
        check(name, answer)


# --- warmup ---------------------------------------------------------------------------------------


def rate(first=1, length=1000, fall=50_000, factor=0.95):
    def answer(step):
        warm = min(1.0, (step + first) / length) if length else 1.0
        return 1e-3 * warm * (factor if step >= fall else 1.0)

    return answer


def rate_by_cases(step):
    if step < 999:
        return (step + 1) * 1e-6
    return torch.tensor(0.00095 if step >= 50_000 else 0.001)


@pytest.mark.parametrize("answer", [rate(), rate_by_cases, lambda s: np.array(rate()(s))])
def test_right_warmup(answer, capsys):
    check("warmup", answer)
    assert capsys.readouterr().out.startswith("✓ warmup: ")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (rate(first=0), "first step has the rate 0"),
        (rate(length=None), "no warm-up"),
        (rate(fall=10**9), "has not fallen"),
        (rate(fall=50_001), "step 50000.*has not fallen"),
        (rate(factor=0.05), "to 5 %, not to 95 %"),
        (lambda s: rate(fall=10**9)(s) * 0.95 ** (s // 50_000), "again and again"),
        (lambda s: 1e-6 * (s + 1), "never ends"),
        (lambda s: rate()(s) / 2, "expected"),
        (lambda s: None, "TypeError"),
    ],
)
def test_wrong_warmup(answer, message):
    wrong_with("warmup", answer, message)


# --- clip_each ------------------------------------------------------------------------------------


def clip(g, limit):
    g = np.asarray(g, dtype=float)
    return g * np.minimum(1, limit / np.linalg.norm(g, axis=-1, keepdims=True))


def clip_in_loops(gradients, limit):
    k, total = len(gradients), [0.0] * len(gradients[0])
    for g in gradients:
        length = sum(x * x for x in g) ** 0.5
        share = limit / length if length > limit else 1.0
        total = [t + share * x / k for t, x in zip(total, g)]
    return total


def clip_of_the_package(gradients, limit):
    p, sums = torch.nn.Parameter(torch.zeros(gradients.shape[1])), [torch.zeros(gradients.shape[1])]
    for g in gradients.float():
        p.grad = g.clone()
        clip_and_accumulate([p], sums, limit)
    return sums[0] / len(gradients)


def clip_by_torch(gradients, limit):
    return torch.renorm(gradients, 2, 0, limit).mean(0)


@pytest.mark.parametrize(
    "answer",
    [lambda g, m: clip(g, m).mean(0), clip_in_loops, clip_of_the_package, clip_by_torch],
)
def test_right_clip(answer):
    check("clip_each", answer)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda g, m: clip(np.mean(g, axis=0), m), "the mean is clipped"),
        (lambda g, m: clip(np.asarray(g) / len(g), m).sum(0), "4 times as weak"),
        (lambda g, m: np.clip(g, -m, m).mean(0), "each number is clipped"),
        (lambda g, m: clip(g, m).sum(0), "added up, not averaged"),
        (lambda g, m: np.mean(g, axis=0), "nothing is clipped"),
        (lambda g, m: clip(np.asarray(g) * 1e9, m).mean(0), "short gradients are made longer"),
        (lambda g, m: clip(g, m), "shape"),
        (lambda g, m: None, "returned None"),
    ],
)
def test_wrong_clip(answer, message):
    wrong_with("clip_each", answer, message)


# --- mend_bonds -----------------------------------------------------------------------------------


def bonds(masked=True, numbered=True, eps=1e-6, tolerance=12 * 0.014, whole=False):
    def answer(c, n, mask, residue_index):
        length = ((n[:, 1:] - c[:, :-1]).square().sum(-1) + eps).sqrt()
        over = ((length - 1.329).abs() - tolerance).relu()
        exists = torch.ones_like(over)
        if masked:
            exists = exists * mask[:, 1:] * mask[:, :-1]
        if numbered:
            exists = exists * (residue_index.diff(dim=1) == 1)
        loss = (exists * over).sum(1) / exists.sum(1).clamp(min=1)
        return loss.mean() if whole else loss

    return answer


@pytest.mark.parametrize("answer", [bonds(), package_bonds])
def test_right_bonds(answer, capsys):
    check("mend_bonds", answer)
    assert "equals the package's" in capsys.readouterr().out
    assert all(bond_properties(answer).values())


@pytest.mark.parametrize(
    ("answer", "broken"),
    [
        (bonds(masked=False), "padding"),
        (bonds(numbered=False), "residue numbers jump"),
        (bonds(eps=0.0), "two atoms in one place"),
        (bonds(tolerance=0.0), "is tolerated"),
        (bonds(whole=True), "by itself"),
        (lambda *a: bonds()(*a) ** 2, "1 Å too long costs"),
        (lambda *a: bonds()(*a) + 0.1, "ideal bonds"),
    ],
)
def test_each_property_finds_its_mistake(answer, broken):
    found = bond_properties(answer)
    assert not next(holds for name, holds in found.items() if broken in name)


def test_wrong_bonds():
    wrong_with("mend_bonds", bonds(False, False, 0.0), r"not true yet: padding.*3 of 7")
    wrong_with("mend_bonds", lambda c, n, mask: 0, "raised TypeError")

    def stretched_only(c, n, mask, residue_index):
        length = ((n[:, 1:] - c[:, :-1]).square().sum(-1) + 1e-6).sqrt()
        joined = mask[:, 1:] * mask[:, :-1] * (residue_index.diff(dim=1) == 1)
        return (joined * (length - 1.329 - 12 * 0.014).relu()).sum(1) / joined.sum(1)

    wrong_with("mend_bonds", stretched_only, "all properties hold, but")


# --- calibration ----------------------------------------------------------------------------------


def gaps(predicted, true):
    p, t = np.asarray(predicted), np.asarray(true)
    which = np.minimum((p * 10).astype(int), 9)
    rows = [(which == k) for k in range(10) if (which == k).any()]
    return np.array([r.mean() for r in rows]), np.array([(p - t)[r].mean() for r in rows])


def right_error(predicted, true):
    share, gap = gaps(predicted, true)
    return (share * abs(gap)).sum()


def error_in_loops(predicted, true):
    bins = [[] for _ in range(10)]
    for p, t in zip(predicted, true):
        bins[min(9, int(float(p) * 10))].append((float(p), float(t)))
    sums = (abs(sum(p for p, _ in b) - sum(t for _, t in b)) for b in bins)
    return sum(sums) / len(predicted)


@pytest.mark.parametrize("answer", [right_error, error_in_loops])
def test_right_calibration(answer):
    check("calibration", answer)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda p, t: abs(gaps(p, t)[1]).mean(), "all bins count alike"),
        (lambda p, t: abs(gaps(p, t)[1]).sum() / 10, "divided by 10 bins"),
        (lambda p, t: abs((gaps(p, t)[0] * gaps(p, t)[1]).sum()), "cancel"),
        (lambda p, t: abs(np.asarray(p) - np.asarray(t)).mean(), "own error"),
        (lambda p, t: 100 * right_error(p, t), "in percent"),
        (lambda p, t: abs(gaps(p, t)[1]).max(), "largest gap"),
        (lambda p, t: None, "returned None"),
    ],
)
def test_wrong_calibration(answer, message):
    wrong_with("calibration", answer, message)


def test_a_confidence_of_1_belongs_to_the_last_bin():
    def without_the_last(predicted, true):
        p, t = np.asarray(predicted), np.asarray(true)
        which = (p * 10).astype(int)
        return sum(
            (which == k).mean() * abs((p - t)[which == k].mean())
            for k in range(10)
            if (which == k).any()
        )

    wrong_with("calibration", without_the_last, "for a confidence of exactly 1")
