"""Exercises of lesson 04: axial attention."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from minifold.checks import CheckFailed, exercise, expect, show, to_array


def _softmax(scores: np.ndarray, axis: int = -1) -> np.ndarray:
    e = np.exp(scores - scores.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


@exercise("looks")
def _check_looks(function: Callable) -> str:
    for s, n in ((6, 9), (512, 256), (1, 50)):
        wanted = (s * n) ** 2, s * n * (n + s)
        slips = {
            "axial attention counts rows only": (wanted[0], s * n * n),
            "axial attention counts columns only": (wanted[0], n * s * s),
            "the two numbers are in the other order (first full, then axial)": wanted[::-1],
            "axial attention counts one row and one column instead of all of them": (
                wanted[0],
                s * s + n * n,
            ),
            "this is counted for a single cell; all cells look": (s * n, s + n),
            "full attention counts each pair once (a looks at b, and b looks at a: two weights)": (
                s * n * (s * n - 1) / 2,
                wanted[1],
            ),
            "full attention is counted as rows times columns, not all cells times all cells": (
                s * n,
                wanted[1],
            ),
        }
        case = f"for {s} sequence{'s' * (s > 1)} of {n} residues"
        expect(function, [(s, n)], wanted, case, slips, tolerance=1e-9)
    return "both numbers are right"


@exercise("row_attention")
def _check_row_attention(function: Callable) -> str:
    rng = np.random.default_rng(4)
    for s, i, d in ((3, 5, 4), (2, 4, 6)):
        q, k, v = rng.normal(size=(3, s, i, d))
        bias, gate = 2 * rng.normal(size=(i, i)), rng.random((s, i, d))

        def answer(scores, v=v, gate=gate, axis=-1):
            return gate * np.einsum("sij,sjc->sic", _softmax(scores, axis), v)

        dots = np.einsum("sic,sjc->sij", q, k)
        scores = dots / np.sqrt(d)
        across = np.einsum("sic,tic->ist", q, k) / np.sqrt(d)  # along columns
        slips = {
            "the bias is left out": answer(scores),
            "the bias is the other way round (i looks at j: bias[i, j])": answer(scores + bias.T),
            "the bias is multiplied with the scores instead of added": answer(scores * bias),
            "the bias is added after softmax": gate
            * np.einsum("sij,sjc->sic", _softmax(scores) + bias, v),
            "the bias is divided by sqrt(d), too": answer((dots + bias) / np.sqrt(d)),
            "the scores are not divided by sqrt(d)": answer(dots + bias),
            "softmax runs over the residues that look instead of over those looked at": answer(
                scores + bias, axis=-2
            ),
            "the gate is left out": answer(scores + bias, gate=np.ones_like(gate)),
            "the gate is put on the values instead of on the answer": answer(
                scores + bias, v=gate * v, gate=np.ones_like(gate)
            ),
            "a sigmoid is put on the gate once more": answer(
                scores + bias, gate=1 / (1 + np.exp(-gate))
            ),
            "the cells look along columns instead of along rows": gate
            * np.einsum("ist,tic->sic", _softmax(across), v),
        }
        arrays = (q, k, v, bias, gate)
        forms = [
            tuple(torch.from_numpy(a.copy()) for a in arrays),
            tuple(a.copy() for a in arrays),
            tuple(torch.from_numpy(a).float() for a in arrays),
            tuple(a.tolist() for a in arrays),
        ]
        case = f"for {s} sequences of {i} residues and vectors of {d} numbers"
        expect(function, forms, answer(scores + bias), case, slips)
    return "the answer is right, bias and gate included"


@exercise("bias")
def _check_bias(function: Callable) -> str:
    for scores, j, target in (
        ([0.0, 0.0, 0.0, 0.0], 1, 0.6),
        ([1.0, -0.5, 2.0], 0, 0.9),
        ([1.0, -0.5, 2.0], 2, 0.1),
        ([900.0, 900.0], 1, 0.75),
    ):
        x = np.array(scores)
        weights = _softmax(x)
        before = weights[j]
        case = f"for scores {show(x)}, j = {j} and the target {target}, the weight with your bias"

        def weight_reached(scores, j, target, x=x, case=case):
            answer = function(scores, j, target)
            b = None if answer is None else to_array(answer)
            if b is None or b.size != 1 or not np.isfinite(b).all():
                raise CheckFailed(f"{case}: expected one number, the bias, got {answer!r}")
            return _softmax(x + b.item() * (np.arange(len(x)) == j))[j]

        def weight_with(b, x=x, j=j):
            return _softmax(x + b * (np.arange(len(x)) == j))[j]

        slips = {
            "the bias is the logarithm of target / weight, as if the other weights stayed": (
                weight_with(np.log(target / before))
            ),
            "the odds of the target are not compared with those of now": weight_with(
                np.log(target / (1 - target))
            ),
            "the sign is turned": weight_with(
                np.log(before / (1 - before)) - np.log(target / (1 - target))
            ),
            "the odds are used without the logarithm": weight_with(
                target / (1 - target) * (1 - before) / before
            ),
        }
        slips = {words: w for words, w in slips.items() if abs(w - target) > 1e-2}
        forms = [(form, j, target) for form in (x.copy(), x.tolist(), torch.from_numpy(x.copy()))]
        expect(weight_reached, forms, target, case, slips, tolerance=1e-4)
    return "key j gets the weight that was asked for"


SEQUENCES, COLUMNS, BRANCHES, HIDDEN = 12, 24, 3, 20
TARGET = 0.75


def alignments(count: int = 100, seed: int = 7) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Letters [12, 24] with some hidden (20), the true ones, and the branch of each sequence.

    An ancestor, three branches that keep 30 % of it, sequences with 10 % mistakes.
    """
    rng = np.random.default_rng(seed)
    result = []
    for _ in range(count):
        ancestor = rng.integers(0, 20, COLUMNS)
        branches = _mutated(np.tile(ancestor, (BRANCHES, 1)), 0.7, rng)
        branch = rng.permutation(SEQUENCES) % BRANCHES
        true = _mutated(branches[branch], 0.1, rng)
        hidden = rng.random(true.shape) < 0.15
        result.append((np.where(hidden, HIDDEN, true), true, branch))
    return result


def _mutated(letters: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    return np.where(rng.random(letters.shape) < share, rng.integers(0, 20, letters.shape), letters)


@exercise("fill_in")
def _check_fill_in(function: Callable) -> str:
    right = asked = 0
    for shown, true, _ in alignments():
        letters, hidden = _letters_of(function, shown), shown == HIDDEN
        right += int((letters == true)[hidden].sum())
        asked += int(hidden.sum())
    text = f"{right} of {asked} hidden letters are found ({right / asked:.0%})"
    if right < TARGET * asked:
        raise CheckFailed(
            f"{text}; the target is {TARGET:.0%}, the most frequent letter of the column reaches "
            f"{_by_column():.0%}"
        )
    return text


def _by_column() -> float:
    """Share found by the most frequent letter of each column."""
    found = []
    for shown, true, _ in alignments():
        counts = (shown[..., None] == np.arange(20)).sum(axis=0)  # [24, 20]
        guess = np.broadcast_to(counts.argmax(axis=-1), true.shape)
        found.append((guess == true)[shown == HIDDEN])
    return float(np.concatenate(found).mean())


def _letters_of(function: Callable, shown: np.ndarray) -> np.ndarray:
    """The letters for one alignment, whatever form of the input the function wants."""
    complaints, errors = [], []
    for form in (shown.copy(), torch.from_numpy(shown.copy()), shown.tolist()):
        try:
            answer = function(form)
        except Exception as error:  # shown to the student
            errors.append(f"your function raised {type(error).__name__}: {error}")
            continue
        letters = None if answer is None else to_array(answer)
        if letters is not None and letters.shape == (*shown.shape, 20):  # scores of the 20 letters
            letters = letters.argmax(axis=-1)
        if letters is None or letters.shape != shown.shape:
            got = f"a {type(answer).__name__}" if letters is None else f"shape {letters.shape}"
            complaints.append(f"return letters (numbers) of shape {shown.shape}; got {got}")
        else:
            return letters
    raise CheckFailed((complaints + errors)[0])
