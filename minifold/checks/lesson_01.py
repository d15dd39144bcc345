"""Exercises of lesson 01: fuzzy search."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import torch

from minifold.checks import CheckFailed, exercise, expect, show, to_array


def _softmax(scores: np.ndarray) -> np.ndarray:
    e = np.exp(scores - scores.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def _forms(numbers: np.ndarray) -> list[tuple]:
    """One list of numbers in the forms in which a student's function may want it."""
    by_name = {f"key {i}": float(x) for i, x in enumerate(numbers)}
    tensor = torch.from_numpy(numbers.copy())
    return [(numbers.tolist(),), (numbers.copy(),), (tensor,), (by_name,)]


@exercise("softmax")
def _check_softmax(function: Callable) -> str:
    for scores in ([5 / 6, 0.5, 0.0], [2.0, -1.0, 0.5, 0.5], [3.0]):
        x = np.array(scores)
        e = np.exp(x)
        slips = {
            "the exponentials are not divided by their sum": e,
            "the scores are divided by their sum, without the exponential": x / x.sum(),
            "the sign of the scores is turned": _softmax(-x),
            "every exponential is divided by the largest one instead of by the sum": e / e.max(),
        }
        expect(function, _forms(x), _softmax(x), f"for scores {show(x)}", slips)
    large = np.array([1000.0, 999.0, -1000.0])
    hint = f"for large scores {show(large)} (hint: subtract the largest score first)"
    expect(function, _forms(large), _softmax(large), hint)
    return "weights are right, and stay right for scores of 1000"


@exercise("temperature")
def _check_temperature(function: Callable) -> str:
    for scores, target in (([5 / 6, 0.5, 0.0], 0.9), ([5 / 6, 0.5, 0.0], 0.4), ([2.0, 1.0], 0.75)):
        x = np.array(scores)
        case = f"for scores {show(x)} and the wanted weight {target}"

        def weight_reached(scores, target, x=x, case=case):
            answer = function(scores, target)
            t = None if answer is None else to_array(answer)
            if t is None or t.size != 1:
                raise CheckFailed(f"{case}: expected one number, the temperature, got {answer!r}")
            if not t.item() > 0:
                raise CheckFailed(f"{case}: a temperature is above 0, got {show(t)}")
            return _softmax(x / t.item()).max()

        forms = [(form[0], target) for form in _forms(x)]
        case += ", the best key's weight at your temperature"
        expect(weight_reached, forms, target, case, tolerance=2e-3)
    return "the best key gets the weight that was asked for"


@exercise("attention")
def _check_attention(function: Callable) -> str:
    rng = np.random.default_rng(1)
    q, k, v = rng.normal(size=(3, 8)), rng.normal(size=(4, 8)), rng.normal(size=(4, 2))
    seen = np.array([1.0, 1.0, 0.0, 1.0])
    raw = q @ k.T
    scores = raw / np.sqrt(8)

    def output(scores, mask=None):
        return _softmax(scores if mask is None else np.where(mask == 0, -1e9, scores)) @ v

    slips = {
        "the scores are not divided by sqrt(d_k)": output(raw),
        "the scores are divided by d_k, not by its square root": output(raw / 8),
        "softmax runs over the queries instead of over the keys": _softmax(scores.T).T @ v,
        "the scores are used as weights, without softmax": scores @ v,
    }
    arrays = [[q, k, v], [torch.from_numpy(x) for x in (q, k, v)], [x.tolist() for x in (q, k, v)]]
    sizes = "for 3 queries and 4 keys of 8 numbers and values of 2 numbers"
    expect(function, [tuple(a) for a in arrays], output(scores), f"{sizes}, no mask", slips)

    slips = {
        "the mask is ignored": output(scores),
        "the mask is turned round (1 means: may be seen)": output(scores, 1 - seen),
        "masked scores become 0, which is an ordinary score": _softmax(scores * seen) @ v,
        "masked weights become 0 after softmax and the rest no longer sums to 1": (
            _softmax(scores) * seen
        )
        @ v,
    }
    masks = [seen, torch.from_numpy(seen), seen.tolist()]
    masks = masks + [seen > 0, torch.from_numpy(seen) > 0, (seen > 0).tolist()]
    forms = [(*a, m) for a, m in zip(arrays + arrays, masks)]
    expect(function, forms, output(scores, seen), f"{sizes}, mask {show(seen)}", slips)
    return "output is right, with and without a mask"


NAMES = (
    "Ivanov Petrov Sidorov Pavlov Popov Smirnov Sokolov Kozlov Novikov Morozov Volkov Orlov"
).split()


def typos(count: int = 120, seed: int = 0) -> list[tuple[str, str]]:
    """Misspelt names with the name that was meant: one letter lost, added, changed or swapped."""
    rng = random.Random(seed)
    letters = "abcdefghijklmnopqrstuvwxyz"
    pairs = []
    while len(pairs) < count:
        name = rng.choice(NAMES)
        i = rng.randrange(len(name) - 1)
        typo = rng.choice(
            [
                name[:i] + name[i + 1 :],
                name[:i] + rng.choice(letters) + name[i:],
                name[:i] + rng.choice(letters) + name[i + 1 :],
                name[:i] + name[i + 1] + name[i] + name[i + 2 :],
            ]
        )
        if typo not in NAMES:
            pairs.append((typo, name))
    return pairs


def found(similarity: Callable, pairs: list[tuple[str, str]]) -> int:
    """How many typos have the name that was meant as their one most similar name."""
    return sum(_closest(similarity, typo) == [name] for typo, name in pairs)


def _closest(similarity: Callable, typo: str) -> list[str]:
    scores = {name: float(similarity(typo, name)) for name in NAMES}
    return [name for name in NAMES if scores[name] == max(scores.values())]


@exercise("search")
def _check_search(function: Callable) -> str:
    pairs = typos()
    try:
        hits = found(function, pairs)
    except Exception as error:
        raise CheckFailed(
            "it has to take two words, also of different length, and return one number; "
            f"it raised {type(error).__name__}: {error}"
        ) from None
    if hits < 0.9 * len(pairs):
        typo, name = next((t, n) for t, n in pairs if _closest(function, t) != [n])
        closest = " and ".join(_closest(function, typo))
        raise CheckFailed(
            f"{hits} of {len(pairs)} typos are found ({hits / len(pairs):.0%}), the target is 90%; "
            f"for example {typo!r} is meant to be {name!r}, but most similar is {closest}"
        )
    return f"{hits} of {len(pairs)} typos are found ({hits / len(pairs):.0%})"
