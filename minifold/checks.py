"""Instant checks for the exercises: ``minifold.check("softmax", my_softmax)``.

A check calls the student's function on small inputs. It accepts every right answer, whether the
function works on lists, dicts, arrays or tensors, and says of a wrong one what differs and where.
To add an exercise, write a function below and register it with ``@exercise(name)``: it raises
`CheckFailed` with one clear message, or returns one line that says what was right.
"""

from __future__ import annotations

import copy
import random
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import torch

_EXERCISES: dict[str, Callable[[Callable], str]] = {}


class CheckFailed(AssertionError):
    """The answer to an exercise is wrong; the message says what differs."""

    def _render_traceback_(self) -> list[str]:
        """What Jupyter shows instead of a traceback: the message alone."""
        return [f"✗ {self}"]


def check(name: str, function: Any) -> None:
    """Check the answer to an exercise and print one line if it is right.

    Args:
        name: the exercise, as written in its notebook.
        function: the student's function, called on small inputs.

    Raises:
        CheckFailed: the answer is wrong; the message says what differs.
        KeyError: there is no such exercise.
    """
    if name not in _EXERCISES:
        raise KeyError(f"no exercise {name!r}; there are {', '.join(sorted(_EXERCISES))}")
    if not callable(function):
        raise CheckFailed(
            f"{name}: give the function itself, minifold.check({name!r}, my_function), "
            f"not its result (got {type(function).__name__})"
        )
    try:
        with warnings.catch_warnings():  # a form of the input that does not suit may warn
            warnings.simplefilter("ignore")
            praise = _EXERCISES[name](function)
    except CheckFailed as failure:
        raise CheckFailed(f"{name}: {failure}") from None
    print(f"✓ {name}: {praise}")


def exercise(name: str):
    """Register the check of one exercise."""

    def register(checker: Callable[[Callable], str]):
        _EXERCISES[name] = checker
        return checker

    return register


# --- Comparing ------------------------------------------------------------------------------------


def expect(
    function: Callable,
    arguments: Iterable[tuple],
    wanted: Any,
    case: str,
    slips: Mapping[str, Any] | None = None,
    tolerance: float = 1e-4,
) -> None:
    """Call the function on one case and compare.

    Args:
        arguments: the same input in several forms (lists, arrays, tensors ...). The answer is
            right if it is right for one of them: we do not ask which form a function works on.
        wanted: the right numbers.
        case: the input in words, for the message.
        slips: usual mistakes: what was done → the numbers that come out.

    Raises:
        CheckFailed: no form gives the right numbers.
    """
    wanted = np.asarray(wanted, dtype=float)
    complaints, errors = [], []
    for args in arguments:
        try:
            result = function(*copy.deepcopy(args))
        except CheckFailed:
            raise
        except Exception as error:  # whatever the student's code raises belongs into the message
            errors.append(f"{case}: your function raised {type(error).__name__}: {error}")
            continue
        complaint = _difference(result, wanted, slips or {}, tolerance)
        if complaint is None:
            return
        complaints.append(f"{case}: {complaint}")
    raise CheckFailed((complaints + errors)[0])


def _difference(result: Any, wanted: np.ndarray, slips: Mapping, tolerance: float) -> str | None:
    """What is wrong with a result, or None; of (output, weights) one part has to be right."""
    if result is None:
        return "your function returned None; does it end with `return ...`?"
    parts = [result, *result] if isinstance(result, tuple | list) else [result]
    arrays = [a for a in map(_to_array, parts) if a is not None]
    fitting = [a.reshape(wanted.shape) for a in arrays if _same_shape(a, wanted)]
    if any(_close(a, wanted, tolerance) for a in fitting):
        return None
    if not arrays:
        return f"your function returned a {type(result).__name__}, not numbers"
    if not fitting:
        return f"expected shape {wanted.shape}, got {arrays[0].shape}: {_show(arrays[0])}"
    got = fitting[0]
    for mistake, numbers in slips.items():
        if _close(got, np.asarray(numbers, dtype=float), tolerance):
            return f"this is what comes out when {mistake}; {_expected_got(wanted, got)}"
    return _expected_got(wanted, got)


def _expected_got(wanted: np.ndarray, got: np.ndarray) -> str:
    text = f"expected {_show(wanted)}, got {_show(got)}"
    if wanted.size > 1:
        gap = np.where(np.isfinite(got), abs(got - wanted), np.inf)
        where = np.unravel_index(gap.argmax(), wanted.shape)
        place = ", ".join(str(int(i)) for i in where)
        text += f" (largest difference at [{place}]: {wanted[where]:.4g}, not {got[where]:.4g})"
    return text


def _to_array(value: Any) -> np.ndarray | None:
    """Numbers in any wrapping as an array, or None if they are not numbers."""
    if isinstance(value, str):
        return None
    if isinstance(value, Mapping):
        value = list(value.values())
    elif hasattr(value, "__next__"):  # a generator, map or zip
        value = list(value)
    elif isinstance(value, torch.Tensor):
        value = value.detach().cpu().numpy()
    try:
        return np.asarray(value, dtype=float)
    except (TypeError, ValueError):
        return None


def _same_shape(a: np.ndarray, b: np.ndarray) -> bool:
    """Equal up to axes of length 1, so that a column or a row will do for a vector."""
    return [n for n in a.shape if n > 1] == [n for n in b.shape if n > 1]


def _close(a: np.ndarray, b: np.ndarray, tolerance: float) -> bool:
    return a.shape == b.shape and bool(
        np.all(abs(a - b) <= tolerance * max(1.0, abs(b).max(initial=0.0)))
    )


def _show(a: np.ndarray) -> str:
    if a.ndim == 0:
        return f"{float(a):.4g}"
    return np.array2string(a, precision=4, suppress_small=True, separator=", ").replace("\n", "")


# --- Lesson 01: fuzzy search ----------------------------------------------------------------------


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
        expect(function, _forms(x), _softmax(x), f"for scores {_show(x)}", slips)
    large = np.array([1000.0, 999.0, -1000.0])
    hint = f"for large scores {_show(large)} (hint: subtract the largest score first)"
    expect(function, _forms(large), _softmax(large), hint)
    return "weights are right, and stay right for scores of 1000"


@exercise("temperature")
def _check_temperature(function: Callable) -> str:
    for scores, target in (([5 / 6, 0.5, 0.0], 0.9), ([5 / 6, 0.5, 0.0], 0.4), ([2.0, 1.0], 0.75)):
        x = np.array(scores)
        case = f"for scores {_show(x)} and the wanted weight {target}"

        def weight_reached(scores, target, x=x, case=case):
            answer = function(scores, target)
            t = None if answer is None else _to_array(answer)
            if t is None or t.size != 1:
                raise CheckFailed(f"{case}: expected one number, the temperature, got {answer!r}")
            if not t.item() > 0:
                raise CheckFailed(f"{case}: a temperature is above 0, got {_show(t)}")
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
    expect(function, forms, output(scores, seen), f"{sizes}, mask {_show(seen)}", slips)
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
