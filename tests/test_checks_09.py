"""The checks of lesson 09 accept every right answer and say what is wrong with a wrong one."""

import random

import numpy as np
import pytest
import torch

from minifold.checks import CheckFailed, check
from minifold.checks.lesson_09 import EDGES, recycling_properties
from minifold.model.embed import distance_bins


def wrong_with(name, answer, message):
    with pytest.raises(CheckFailed, match=message) as caught:
        check(name, answer)
    assert str(caught.value).startswith(f"{name}: ") and "\n" not in str(caught.value)


# --- recycle_bins ---------------------------------------------------------------------------------


def bins(lower=lambda d: d > EDGES, upper=lambda d: d <= np.append(EDGES[1:], np.inf)):
    def answer(x):
        x = np.asarray(x, dtype=float)
        d = np.linalg.norm(x[:, None] - x[None], axis=-1)[..., None]
        return (lower(d) & upper(d)).astype(float)

    return answer


def bins_in_loops(x):
    assert isinstance(x, list)
    table = []
    for a in x:
        table.append([])
        for b in x:
            d = sum((p - q) ** 2 for p, q in zip(a, b)) ** 0.5
            row = [0] * 15
            if d > 3.25:
                row[min(int((d - 3.25) / 1.25), 14)] = 1
            table[-1].append(row)
    return table


def bins_by_search(x):
    d = torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist")
    number = torch.searchsorted(torch.linspace(3.25, 20.75, 15).to(d), d)
    return torch.nn.functional.one_hot(number, 16)[..., 1:]


@pytest.mark.parametrize(
    "answer",
    [
        bins(),
        bins_in_loops,
        bins_by_search,
        lambda x: distance_bins(x, 3.25, 20.75, 15),
    ],
)
def test_right_bins(answer, capsys):
    check("recycle_bins", answer)
    assert capsys.readouterr().out.startswith("✓ recycle_bins: ")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (bins(upper=lambda d: d < EDGES + 1.25), "the last bin ends"),
        (bins(lower=lambda d: d > np.append(0 * EDGES[:1] - 1, EDGES[1:])), "into the first bin"),
        (bins(upper=lambda d: d < np.inf), "every edge below"),
        (lambda x: np.eye(15)[abs(np.linalg.norm(np.asarray(x)[:, None] - np.asarray(x), axis=-1)
                                  [..., None] - EDGES).argmin(-1)], "nearest edge"),
        (lambda x: distance_bins(torch.tensor(x), 3.25**0.5, 20.75**0.5, 15), "expected"),
        (lambda x: bins()(x)[..., :14], "expected shape"),
        (lambda x: None, "returned None"),
    ],
)  # fmt: skip
def test_wrong_bins(answer, message):
    wrong_with("recycle_bins", answer, message)


# --- train_pass -----------------------------------------------------------------------------------


def train_pass(draw=random.randint, feed=lambda x: x.detach(), show=lambda k, x: x):
    def answer(network, protein, nothing, recycles):
        previous = nothing
        for k in range(draw(0, recycles) + 1):
            previous = network(show(k, protein), feed(previous))
        return previous

    return answer


def train_pass_as_in_the_paper(network, protein, nothing, recycles):
    rounds = int(torch.randint(1, recycles + 2, ()))
    previous = nothing
    for k in range(1, rounds + 1):
        with torch.set_grad_enabled(k == rounds):
            previous = network(protein, previous)
    return previous


def test_right_training_passes(capsys):
    random.seed(0)
    torch.manual_seed(0)
    for answer in (train_pass(), train_pass_as_in_the_paper):
        check("train_pass", answer)
        assert capsys.readouterr().out.startswith("✓ train_pass: ")


def no_gradient_at_all(network, protein, nothing, recycles):
    with torch.no_grad():
        return train_pass()(network, protein, nothing, recycles)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (train_pass(draw=lambda a, b: b), "always 4 passes; draw their number"),
        (train_pass(draw=lambda a, b: random.randint(a, max(a, b - 1))), "1 to 4 passes; counted"),
        (train_pass(draw=lambda a, b: random.randint(a, b + 1)), "1 to 1 passes; counted"),
        (train_pass(draw=lambda a, b: min(random.randint(a, b) ** 2, b)), "equally likely|counted"),
        (train_pass(feed=lambda x: x), "flows through earlier passes"),
        (train_pass(feed=lambda x: 0 * x.detach()), "has to be fed the result of the pass before"),
        (train_pass(show=lambda k, x: x if k == 0 else 0 * x), "has to see the protein itself"),
        (no_gradient_at_all, "has no gradient"),
        (lambda network, protein, nothing, recycles: nothing, "was not called"),
        (
            lambda network, *rest: train_pass()(network, *rest).detach().tolist(),
            "expected the result",
        ),
        (lambda *a: 1 / 0, "raised ZeroDivisionError"),
    ],
)
def test_wrong_training_passes(answer, message):
    random.seed(0)
    wrong_with("train_pass", answer, message)


# --- settled --------------------------------------------------------------------------------------


def settled(measure=lambda change: (change**2).mean() ** 0.5, of=None):
    def distances(x):
        return np.linalg.norm(x[:, None] - x[None], axis=-1)

    def answer(new, old, tolerance):
        new, old = (np.asarray(x) for x in (new, old))
        of_ = of or distances
        return measure(of_(new) - of_(old)) < tolerance

    return answer


def settled_in_torch(new, old, tolerance):
    return (torch.cdist(new, new) - torch.cdist(old, old)).square().mean().sqrt() < tolerance


@pytest.mark.parametrize("answer", [settled(), settled_in_torch])
def test_right_settled(answer, capsys):
    check("settled", answer)
    assert capsys.readouterr().out.startswith("✓ settled: ")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (settled(of=lambda x: x), "turned and moved by 30 Å.*coordinates are compared"),
        (settled(lambda c: (c**2).mean()), "square root is missing"),
        (settled(lambda c: abs(c).max()), "largest change"),
        (settled(lambda c: abs(c).mean()), "mean of the changes"),
        (settled(lambda c: c.mean()), "answer is False, not True"),
        (lambda *a: not settled()(*a), "answer is True, not False"),
        (lambda *a: True, "answer is False, not True"),
        (lambda *a: None, "returned None"),
        (lambda *a: 1 / 0, "raised ZeroDivisionError"),
    ],
)
def test_wrong_settled(answer, message):
    wrong_with("settled", answer, message)


# --- mend_recycling -------------------------------------------------------------------------------


def recycle(network, norm, x, recycles, memory=None, stop=True, normalise=True, passes=1, x0=1):
    previous = torch.zeros_like(x) if not memory else memory[-1]
    for k in range(recycles + passes):
        previous = previous.detach() if stop else previous
        seen = x if k == 0 or x0 else 0
        previous = network(seen + (norm(previous) if normalise else previous))
    if memory is not None:
        memory.append(previous.detach())
    return previous


def recycle_without_gradients_first(network, norm, x, recycles):
    previous = torch.zeros_like(x)
    with torch.no_grad():
        for _ in range(recycles):
            previous = network(x + norm(previous))
    return network(x + norm(previous))


def test_right_mended_loops(capsys):
    for answer in (lambda *a: recycle(*a), recycle_without_gradients_first):
        assert all(recycling_properties(answer).values())
        check("mend_recycling", lambda n, m, x, r, f=answer: f(n, m, x, r))
        assert capsys.readouterr().out == "✓ mend_recycling: all 7 properties hold\n"


@pytest.mark.parametrize(
    ("options", "broken"),
    [
        ({"memory": []}, "the protein before"),
        ({"stop": False}, "gradient is that of the last pass"),
        ({"stop": False}, "keep no more"),
        ({"normalise": False}, "1000 times"),
        ({"passes": 0}, "recycles = 0"),
        ({"x0": 0}, "every pass sees"),
    ],
)
def test_each_mistake_breaks_its_property(options, broken):
    def answer(network, norm, x, recycles):
        result = recycle(network, norm, x, recycles, **options)
        return result * network.weight.sum() / network.weight.sum()  # a gradient, even of no pass

    found = recycling_properties(answer)
    assert [words for words, holds in found.items() if broken in words and not holds], found
    wrong_with("mend_recycling", answer, "this is not true yet")


def test_a_loop_that_raises():
    wrong_with("mend_recycling", lambda n, m, x, r: 1 / 0, "raised ZeroDivisionError")
    wrong_with("mend_recycling", lambda n: n, "has to take network, norm, x and recycles")
