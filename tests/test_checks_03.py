"""The checks of lesson 03 accept every right answer and say what is wrong with a wrong one."""

import math
from collections import Counter

import numpy as np
import pytest
import torch

from minifold.checks import CheckFailed, check
from minifold.checks.lesson_02 import LETTERS, properties
from minifold.checks.lesson_03 import families
from minifold.data.residues import RESTYPES
from minifold.training import baselines


def wrong_with(name, answer, message):
    with pytest.raises(CheckFailed, match=message) as caught:
        check(name, answer)
    assert str(caught.value).startswith(f"{name}: ") and "\n" not in str(caught.value)


# --- information ----------------------------------------------------------------------------------


def information(letters, skip="-", base=2.0, total=None):
    counts = Counter(letter for letter in letters if letter not in skip)
    n = total(letters) if total else sum(counts.values())
    return math.log(20, base) + sum(c / n * math.log(c / n, base) for c in counts.values())


def information_numpy(letters):
    letters = np.array(list(letters))
    _, counts = np.unique(letters[letters != "-"], return_counts=True)
    p = counts / counts.sum()
    return np.log2(20) - (p * np.log2(1 / p)).sum()


def information_wants_array(letters):
    known = letters[letters != "-"]  # fails on a string
    return information("".join(known))


@pytest.mark.parametrize(
    "answer",
    [
        information,
        information_numpy,
        information_wants_array,
        lambda letters: torch.tensor(information(letters)),
        lambda letters: [information(letters)],
        lambda letters: math.log2(20) + sum(
            p * math.log2(p) if p else 0.0
            for p in ((list(letters).count(a) / sum(x != "-" for x in letters)) for a in RESTYPES)
        ),
    ],
)  # fmt: skip
def test_right_information(answer, capsys):
    check("information", answer)
    assert capsys.readouterr().out.startswith("✓ information: ")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda x: information(x, skip=""), "gaps are counted"),
        (lambda x: information(x, base=math.e), "base e"),
        (lambda x: math.log2(20) - information(x), "this is the entropy"),
        (lambda x: information(x, total=len), "length with gaps"),
        (
            lambda x: information(x) - math.log2(20) + math.log2(len(set(x) - {"-"})),
            "only as many kinds of letters",
        ),
        (lambda x: information(x) + 1, "'CCCC-A': expected 3.6, got 4.6"),
        (lambda x: None, "returned None"),
        (lambda x: "3.6", "returned a str"),
        (lambda x: information(x[0]) / 0, "raised ZeroDivisionError"),
    ],
)
def test_wrong_information(answer, message):
    wrong_with("information", answer, message)


# --- mutual information ---------------------------------------------------------------------------


def mutual(a, b, log=math.log, weight=True):
    n = len(a)
    single_a, single_b, pairs = Counter(a), Counter(b), Counter(zip(a, b))
    return sum(
        (c / n if weight else 1) * log(c * n / (single_a[x] * single_b[y]))
        for (x, y), c in pairs.items()
    )


def mutual_by_entropies(a, b):
    def entropy(things):
        p = np.array(list(Counter(things).values())) / len(a)
        return -(p * np.log(p)).sum()

    return entropy(a) + entropy(b) - entropy(list(zip(a, b)))


def mutual_table(a, b):  # wants arrays; a table with zeros in it
    kinds_a, kinds_b = np.unique(a), np.unique(b)
    table = np.array([[((a == x) & (b == y)).mean() for y in kinds_b] for x in kinds_a])
    independent = np.outer(table.sum(1), table.sum(0))
    seen = table > 0
    return (table[seen] * np.log(table[seen] / independent[seen])).sum()


def without_gaps(a, b):
    kept = [(x, y) for x, y in zip(a, b) if "-" not in x + y]
    return mutual(*map(list, zip(*kept)))


@pytest.mark.parametrize(
    "answer",
    [
        mutual,
        mutual_by_entropies,
        mutual_table,
        lambda a, b: torch.tensor(mutual(a, b), dtype=torch.float32),
        lambda a, b: max(mutual(a, b), 0.0),
    ],
)
def test_right_mutual_information(answer, capsys):
    check("mutual_information", answer)
    assert capsys.readouterr().out.startswith("✓ mutual_information: ")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda a, b: mutual(a, b, log=math.log2), "base 2.*in bits"),
        (lambda a, b: mutual(a, b, weight=False), "not weighted with p_ab"),
        (lambda a, b: -mutual(a, b), "sign is turned"),
        (without_gaps, "rows with a gap are left out"),
        (lambda a, b: 0.0, "'KKEEKE-E' and 'EEKKEAKR': expected 0.7356, got 0"),
        (lambda a, b: mutual(a, b) + 0.1 * (len(a) == 4), "'AAKK' and 'AKAK'"),
        (lambda a: 0.0, "raised TypeError"),
    ],
)
def test_wrong_mutual_information(answer, message):
    wrong_with("mutual_information", answer, message)


# --- precision ------------------------------------------------------------------------------------


def precision(apart=6, sign=-1, divide=True, recall=False, twice=False):
    def answer(scores, contacts, top):
        scores, contacts = np.asarray(scores), np.asarray(contacts) > 0
        i, j = np.triu_indices(len(scores), apart)
        if twice:
            i, j = np.append(i, j), np.append(j, i)
        best = np.argsort(sign * scores[i, j], kind="stable")[:top]
        found = contacts[i[best], j[best]].sum()
        return found / (contacts[i, j].sum() if recall else top if divide else 1)

    return answer


def precision_lists(scores, contacts, top):  # wants lists
    pairs = [
        (s, c)
        for i, (row, flags) in enumerate(zip(scores, contacts))
        for j, (s, c) in enumerate(zip(row, flags))
        if j - i >= 6
    ]
    return sum(1 for _, c in sorted(pairs, key=lambda pair: -pair[0])[:top] if c) / top


def precision_torch(scores, contacts, top):  # wants tensors
    far = torch.ones_like(scores).triu(6) > 0
    best = scores.masked_fill(~far, -torch.inf).flatten().topk(top).indices
    return contacts.flatten()[best].double().mean()


def precision_lower(scores, contacts, top):  # the other half of the table
    scores = np.where(np.tri(len(scores), k=-6), scores, -np.inf)
    best = np.unravel_index(np.argsort(scores, axis=None)[::-1][:top], scores.shape)
    return np.asarray(contacts)[best].mean()


@pytest.mark.parametrize("answer", [precision(), precision_lists, precision_torch, precision_lower])
def test_right_precision(answer):
    check("precision", answer)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (precision(apart=1), "neighbours along the chain"),
        (precision(apart=7), "exactly 6 counts"),
        (precision(apart=5), "of 5 counts"),
        (precision(sign=1), "the lowest scores"),
        (precision(divide=False), "number of contacts, not their share"),
        (precision(recall=True), "recall"),
        (precision(twice=True), "counts twice"),
        (lambda s, c, top: 2.0, "for 24 residues and the best 17 pairs: expected 0.8235, got 2"),
        (lambda s, c: 0, "raised TypeError"),
    ],
)
def test_wrong_precision(answer, message):
    wrong_with("precision", answer, message)


# --- contacts -------------------------------------------------------------------------------------


def chemistry(tokens):
    solubility, size, positive, negative = properties().T
    known = np.stack([solubility, size, positive + negative], axis=1)
    table = np.zeros((23, 3))
    table[[RESTYPES.index(a) for a in LETTERS]] = (known - known.mean(0)) / known.std(0)
    x = table[np.asarray(tokens)]
    x = (x - x.mean(0)) / (x.std(0) + 1e-9)
    correlation = np.einsum("sia,sjb->ijab", x, x) / len(x)
    scores = np.sqrt((correlation**2).sum((2, 3)))
    return baselines.average_product_correction(scores)


def test_contacts(capsys):
    check("contacts", chemistry)
    assert "mean precision 0.6" in capsys.readouterr().out
    check("contacts", lambda tokens: torch.tensor(chemistry(tokens)))
    check("contacts", lambda tokens: np.triu(chemistry(tokens)).tolist())  # one half is enough
    check("contacts", lambda tokens: chemistry(tokens.numpy()))  # wants a tensor


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (
            lambda t: baselines.mutual_information(np.asarray(t)),
            r"precision 0\.[45]\d.*target is 0.60",
        ),
        (lambda t: np.zeros((32, 32)), r"target is 0.60, random pairs give 0\.1"),
        (lambda t: chemistry(t)[0], r"shape \(32, 32\).*got shape \(32,\)"),
        (lambda t: chemistry(t) * np.nan, "not finite"),
        (lambda t: None, "got a NoneType"),
        (lambda t: t @ t @ "a", "your function raised"),
    ],
)  # fmt: skip
def test_wrong_contacts(answer, message):
    wrong_with("contacts", answer, message)


def test_the_families_are_hard_and_not_those_of_the_lesson():
    """Statistics of bare letters stay below the target; random pairs far below."""
    scores = {"dca": baselines.direct_coupling, "mi": baselines.mutual_information}
    i, j = np.triu_indices(32, 6)
    for f in scores.values():
        shares = []
        for tokens, contacts in families():
            best = np.argsort(-f(tokens)[i, j], kind="stable")[:16]
            shares.append(contacts[i[best], j[best]].mean())
        assert 0.3 < np.mean(shares) < 0.6
    assert 0.05 < np.mean([c[i, j].mean() for _, c in families()]) < 0.2
