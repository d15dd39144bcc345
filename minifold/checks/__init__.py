"""Instant checks for the exercises: ``minifold.check("softmax", my_softmax)``.

A check calls the student's function on small inputs. It accepts every right answer, whether the
function works on lists, dicts, arrays or tensors, and says of a wrong one what differs and where.
The exercises of lesson NN are in ``lesson_NN.py``. To add one, write a function there under
``@exercise(name)``: it raises `CheckFailed` with one clear message, or returns one line that says
what was right.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from pathlib import Path
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
    for file in sorted(Path(__file__).parent.glob("lesson_*.py")):
        import_module(f"{__name__}.{file.stem}")
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
    arrays = [a for a in map(to_array, parts) if a is not None]
    fitting = [a.reshape(wanted.shape) for a in arrays if _same_shape(a, wanted)]
    if any(_close(a, wanted, tolerance) for a in fitting):
        return None
    if not arrays:
        return f"your function returned a {type(result).__name__}, not numbers"
    if not fitting:
        return f"expected shape {wanted.shape}, got {arrays[0].shape}: {show(arrays[0])}"
    got = fitting[0]
    for mistake, numbers in slips.items():
        if _close(got, np.asarray(numbers, dtype=float), tolerance):
            return f"this is what comes out when {mistake}; {_expected_got(wanted, got)}"
    return _expected_got(wanted, got)


def _expected_got(wanted: np.ndarray, got: np.ndarray) -> str:
    text = f"expected {show(wanted)}, got {show(got)}"
    if wanted.size > 1:
        gap = np.where(np.isfinite(got), abs(got - wanted), np.inf)
        where = np.unravel_index(gap.argmax(), wanted.shape)
        place = ", ".join(str(int(i)) for i in where)
        text += f" (largest difference at [{place}]: {wanted[where]:.4g}, not {got[where]:.4g})"
    return text


def to_array(value: Any) -> np.ndarray | None:
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
    except (TypeError, ValueError, RuntimeError):  # RuntimeError: a tuple of tensors with gradients
        return None


def _same_shape(a: np.ndarray, b: np.ndarray) -> bool:
    """Equal up to axes of length 1, so that a column or a row will do for a vector."""
    return [n for n in a.shape if n > 1] == [n for n in b.shape if n > 1]


def _close(a: np.ndarray, b: np.ndarray, tolerance: float) -> bool:
    return a.shape == b.shape and bool(
        np.all(abs(a - b) <= tolerance * max(1.0, abs(b).max(initial=0.0)))
    )


def show(a: np.ndarray) -> str:
    if a.ndim == 0:
        return f"{float(a):.4g}"
    return np.array2string(a, precision=4, suppress_small=True, separator=", ").replace("\n", "")
