"""The instant checks accept every right answer and say what is wrong with a wrong one."""

import math

import numpy as np
import pytest
import torch

from minifold.checks import CheckFailed, check
from minifold.checks.lesson_01 import found, typos


def stable(x, axis=-1):
    e = np.exp(x - np.max(x, axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


# --- softmax --------------------------------------------------------------------------------------


def softmax_list(scores):
    top = max(scores)
    e = [math.exp(s - top) for s in scores]
    return [x / sum(e) for x in e]


def softmax_dict(scores):
    top = max(scores.values())
    e = {k: math.exp(s - top) for k, s in scores.items()}
    return {k: x / sum(e.values()) for k, x in e.items()}


def softmax_generator(scores):
    yield from softmax_list(scores)


@pytest.mark.parametrize(
    "answer",
    [
        stable,
        softmax_list,
        softmax_dict,
        softmax_generator,
        lambda x: torch.softmax(x, dim=-1),  # wants a tensor
        lambda x: torch.softmax(torch.as_tensor(x).requires_grad_(), dim=-1).float(),
        lambda x: stable(np.asarray(x))[:, None],  # a column
        lambda x: tuple(softmax_list(x)),
    ],
)
def test_right_softmax(answer, capsys):
    check("softmax", answer)
    assert capsys.readouterr().out.startswith("✓ softmax: ")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda x: np.exp(x), "not divided by their sum"),
        (lambda x: np.array(x) / np.sum(x), "without the exponential"),
        (lambda x: stable(-np.array(x)), "sign"),
        (lambda x: None, "returned None"),
        (lambda x: "0.46", "returned a str"),
        (lambda x: stable(np.array(x))[:-1], r"expected shape \(3,\), got \(2,\)"),
        (lambda x: np.exp(x) / np.exp(x).sum(), "large scores.*subtract the largest"),
        (
            lambda x: [math.exp(s) / sum(math.exp(t) for t in x) for s in x],
            "OverflowError",
        ),
        (lambda x: stable(np.array(x)) + np.eye(len(x))[0] / 10, r"at \[0\]: 0.4649, not 0.56"),
        (lambda: 0, "raised TypeError"),
    ],
)
def test_wrong_softmax(answer, message):
    with pytest.raises(CheckFailed, match=message) as caught:
        check("softmax", answer)
    assert str(caught.value).startswith("softmax: ")
    assert "\n" not in str(caught.value)


# --- temperature ----------------------------------------------------------------------------------


def temperature_bisect(scores, target):
    scores = np.array(list(scores.values()) if isinstance(scores, dict) else scores)
    low, high = 1e-4, 1e4
    for _ in range(80):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if stable(scores / middle).max() > target else (low, middle)
    return middle


def test_right_temperature():
    check("temperature", temperature_bisect)
    check("temperature", lambda s, w: torch.tensor([temperature_bisect(s, w)]))
    check("temperature", lambda s, w: temperature_bisect(s.numpy(), w))  # wants a tensor


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda s, w: 1.0, "expected 0.9, got 0.46"),
        (lambda s, w: 1 / temperature_bisect(s, w), "best key's weight"),
        (lambda s, w: -1.0, "above 0"),
        (lambda s, w: stable(np.array(s)), "expected one number"),
        (lambda s, w: None, "expected one number"),
    ],
)
def test_wrong_temperature(answer, message):
    with pytest.raises(CheckFailed, match=message):
        check("temperature", answer)


# --- attention ------------------------------------------------------------------------------------


def numpy_attention(q, k, v, mask=None):
    s = np.asarray(q) @ np.asarray(k).T / np.sqrt(np.shape(k)[-1])
    if mask is not None:
        s = np.where(np.asarray(mask) == 0, -np.inf, s)
    return stable(s) @ np.asarray(v)


def torch_attention(q, k, v, mask=None):
    mask = None if mask is None else mask[None, :] == 1
    return torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)


def test_right_attention():
    check("attention", numpy_attention)
    check("attention", torch_attention)
    check("attention", lambda *a: (numpy_attention(*a), "weights"))
    check("attention", lambda q, k, v, m=None: torch_attention(q, k, v, m).tolist())
    # only knows masks of true and false
    check("attention", lambda q, k, v, m=None: numpy_attention(q, k, v, m if m is None else ~~m))


def without(**change):
    """An attention with one usual mistake."""

    def wrong(q, k, v, mask=None):
        q, k, v = (np.asarray(x) for x in (q, k, v))
        s = q @ k.T / change.get("scale", np.sqrt(8))
        if mask is not None:
            s = change.get("mask", lambda s, m: np.where(m == 0, -1e9, s))(s, np.asarray(mask))
        return stable(s, change.get("axis", -1)) @ v

    return wrong


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (without(scale=1), "not divided by sqrt"),
        (without(scale=8), "not by its square root"),
        (without(axis=0), "over the queries"),
        (without(mask=lambda s, m: s), "mask is ignored"),
        (without(mask=lambda s, m: np.where(m == 0, s, -1e9)), "turned round"),
        (without(mask=lambda s, m: s * m), "ordinary score"),
        (lambda q, k, v, m=None: numpy_attention(q, k, v, m).T, r"expected shape \(3, 2\)"),
    ],
)
def test_wrong_attention(answer, message):
    with pytest.raises(CheckFailed, match=message):
        check("attention", answer)


# --- search ---------------------------------------------------------------------------------------


def edits(query, key):
    row = list(range(len(key) + 1))
    for i, a in enumerate(query):
        new = [i + 1]
        for j, b in enumerate(key):
            new.append(min(row[j] + (a != b), row[j + 1] + 1, new[j] + 1))
        row = new
    return -row[-1]


def letters_in_place(query, key):
    return sum(a == b for a, b in zip(query, key))


def test_search():
    check("search", edits)
    check("search", lambda q, k: torch.tensor(edits(q, k)))
    with pytest.raises(CheckFailed, match=r"of 120 typos are found.*target is 90%.*for example"):
        check("search", letters_in_place)
    with pytest.raises(CheckFailed, match="IndexError"):
        check("search", lambda q, k: sum(q[i] == k[i] for i in range(10)))


def test_typos_are_reproducible_and_hard():
    assert typos() == typos() and len(typos()) == 120
    assert all(typo != name for typo, name in typos())
    assert found(lambda q, k: 0.0, typos()) == 0  # a tie finds nobody
    assert found(letters_in_place, typos()) < 0.8 * 120 < found(edits, typos())


# --- all ------------------------------------------------------------------------------------------


def test_misuse():
    with pytest.raises(KeyError, match="attention, .*search"):
        check("sofmax", stable)
    with pytest.raises(CheckFailed, match="give the function itself"):
        check("softmax", stable(np.array([1.0, 2.0])))


def test_jupyter_shows_only_the_message():
    assert CheckFailed("softmax: no")._render_traceback_() == ["✗ softmax: no"]
