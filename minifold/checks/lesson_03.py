"""Exercises of lesson 03: alignments and co-evolution."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import cache

import numpy as np
import torch

from minifold.checks import CheckFailed, exercise, expect, show, to_array
from minifold.model.atoms import pseudo_beta

_GAP = 21


@exercise("information")
def _check_information(function: Callable) -> str:
    for letters in ("CCCC-A", "GGGGGG", "ACDEFGHIKLMNPQRSTVWY", "AAK-R--"):
        known = letters.replace("-", "")
        entropy = _entropy(known)
        slips = {
            "the logarithm has the base e": (np.log(20) - entropy * np.log(2)),
            "this is the entropy, not log2(20) minus the entropy": entropy,
            "there were only as many kinds of letters as occur in the column": (
                np.log2(len(set(known))) - entropy
            ),
        }
        if "-" in letters:
            slips |= {
                "gaps are counted as a letter": np.log2(20) - _entropy(letters),
                "counts are divided by the length with gaps": np.log2(20)
                + sum(
                    n / len(letters) * np.log2(n / len(letters)) for n in Counter(known).values()
                ),
            }
        forms = [(letters,), (list(letters),), (np.array(list(letters)),)]
        wanted = np.log2(20) - entropy
        expect(function, forms, wanted, f"for the column {letters!r}", _differing(slips, wanted))
    return "the bits are right, with and without gaps"


def _entropy(letters: str) -> float:
    """In bits."""
    return -sum(n / len(letters) * np.log2(n / len(letters)) for n in Counter(letters).values())


@exercise("mutual_information")
def _check_mutual_information(function: Callable) -> str:
    for a, b in (
        ("KKEEKE-E", "EEKKEAKR"),
        ("KKEEKKEE", "EEKKEEKK"),
        ("CCCCCC", "ACDEFG"),
        ("AAKK", "AKAK"),
    ):
        wanted = np.log(2) * (_entropy(a) + _entropy(b) - _joint_entropy(a, b))
        keep = [k for k in range(len(a)) if "-" not in a[k] + b[k]]
        short = ["".join(column[k] for k in keep) for column in (a, b)]
        slips = {
            "the logarithm has the base 2 (the answer in bits, not in nats)": wanted / np.log(2),
            "p_ab is compared with nothing: this is minus the joint entropy": (
                -np.log(2) * _joint_entropy(a, b)
            ),
            "the sign is turned": -wanted,
            "the ratio is not weighted with p_ab": sum(
                np.log(n * len(a) / (a.count(x) * b.count(y)))
                for (x, y), n in Counter(zip(a, b)).items()
            ),
            "rows with a gap are left out": np.log(2)
            * (_entropy(short[0]) + _entropy(short[1]) - _joint_entropy(*short)),
        }
        forms = [(a, b), (list(a), list(b)), (np.array(list(a)), np.array(list(b)))]
        case = f"for the columns {a!r} and {b!r}"
        expect(function, forms, wanted, case, _differing(slips, wanted))
    return "right for coupled, independent and conserved columns"


def _joint_entropy(a: str, b: str) -> float:
    """In bits."""
    return -sum(n / len(a) * np.log2(n / len(a)) for n in Counter(zip(a, b)).values())


def _differing(slips: dict, wanted: float) -> dict:
    """The mistakes that can be told from the right answer."""
    return {words: value for words, value in slips.items() if abs(value - wanted) > 1e-3}


@exercise("precision")
def _check_precision(function: Callable) -> str:
    for n, top, seed in (
        (24, 17, 326),
        (14, 11, 699),
    ):  # here every usual mistake gives itself away
        rng = np.random.default_rng(seed)
        scores, contacts = rng.normal(size=(n, n)), rng.random((n, n)) < 0.4
        scores, contacts = scores + scores.T, contacts | contacts.T
        wanted = _precision(scores, contacts, top)
        slips = {
            "neighbours along the chain count, too (only |i - j| of at least 6 do)": _precision(
                scores, contacts, top, apart=1
            ),
            "|i - j| has to be more than 6 (exactly 6 counts)": _precision(
                scores, contacts, top, apart=7
            ),
            "|i - j| of 5 counts (at least 6 does)": _precision(scores, contacts, top, apart=5),
            "the lowest scores are taken": _precision(-scores, contacts, top),
            "this is the number of contacts, not their share": wanted * top,
            "each pair counts twice, as (i, j) and (j, i)": _precision(
                scores, contacts, top, twice=True
            ),
            "the share is that of all contacts (the recall)": wanted
            * top
            / max(contacts[np.triu_indices(n, 6)].sum(), 1),
        }
        forms = [
            (scores.copy(), contacts.copy(), top),
            (scores.copy(), contacts.astype(float), top),
            (torch.from_numpy(scores), torch.from_numpy(contacts), top),
            (scores.tolist(), contacts.tolist(), top),
        ]
        case = f"for {n} residues and the best {top} pairs"
        expect(function, forms, wanted, case, _differing(slips, wanted))
    return "the share of contacts is right"


def _precision(
    scores: np.ndarray, contacts: np.ndarray, top: int, apart: int = 6, twice: bool = False
) -> float:
    """Share of contacts among the best pairs at least ``apart`` residues from each other."""
    i, j = np.triu_indices(len(scores), apart)
    if twice:
        i, j = np.append(i, j), np.append(j, i)
    best = np.argsort(-scores[i, j], kind="stable")[:top]
    return float(contacts[i[best], j[best]].mean())


TARGET = 0.6


@cache
def families(count: int = 20, seed: int = 101) -> list[tuple[np.ndarray, np.ndarray]]:
    """Toy families: letters [32, 32] and contacts [32, 32], other ones than in the lesson."""
    from minifold.data.toyworld import ToyWorld  # only this exercise needs it

    world = ToyWorld(length=32, depth=32, seed=seed, block=count).sample(count)
    beta, _ = pseudo_beta(world.aatype, world.positions, world.atom_mask)
    near = torch.cdist(beta, beta) < 8
    return list(zip(world.tokens.numpy(), near.numpy()))


@exercise("contacts")
def _check_contacts(function: Callable) -> str:
    shares = []
    for tokens, contacts in families():
        scores = _scores_of(function, tokens)
        shares.append(_precision((scores + scores.T) / 2, contacts, 16))
    mean = np.mean(shares)
    text = f"mean precision {mean:.2f} on {len(shares)} families of 32 sequences"
    if mean < TARGET:
        raise CheckFailed(f"{text}; the target is {TARGET:.2f}, random pairs give {_chance():.2f}")
    return text


def _chance() -> float:
    return float(np.mean([c[np.triu_indices(32, 6)].mean() for _, c in families()]))


def _scores_of(function: Callable, tokens: np.ndarray) -> np.ndarray:
    """The scores of one family, whatever form of the input the function wants."""
    complaints, errors = [], []
    for form in (tokens.copy(), torch.from_numpy(tokens.copy()), tokens.tolist()):
        try:
            answer = function(form)
        except Exception as error:  # shown to the student
            errors.append(f"your function raised {type(error).__name__}: {error}")
            continue
        scores = None if answer is None else to_array(answer)
        if scores is None or scores.shape != (32, 32):
            got = f"a {type(answer).__name__}" if scores is None else f"shape {scores.shape}"
            complaints.append(f"return scores of shape (32, 32), a number for each pair; got {got}")
        elif not np.isfinite(scores[np.triu_indices(32, 6)]).all():
            where = np.argwhere(~np.isfinite(np.triu(scores, 6)))[0]
            complaints.append(f"the score of the pair {show(where)} is not finite")
        else:
            return scores
    raise CheckFailed((complaints + errors)[0])
