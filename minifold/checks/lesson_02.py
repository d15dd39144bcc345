"""Exercises of lesson 02: heads."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator

import numpy as np
import torch

from minifold.checks import CheckFailed, exercise, expect, to_array
from minifold.data.residues import RESTYPES


def _softmax(scores: np.ndarray, axis: int = -1) -> np.ndarray:
    e = np.exp(scores - scores.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def _forms(*arrays: np.ndarray) -> list[tuple]:
    """The arrays as they are, as tensors of both precisions, and as lists."""
    tensors = [torch.from_numpy(a.copy()) for a in arrays]
    return [
        tuple(a.copy() for a in arrays),
        tuple(tensors),
        tuple(t.float() for t in tensors),
        tuple(a.tolist() for a in arrays),
    ]


@exercise("relation")
def _check_relation(function: Callable) -> str:
    rng = np.random.default_rng(2)
    for n, d, c in ((4, 2, 6), (3, 1, 5)):
        x, w = rng.normal(size=(n, c)), rng.normal(size=(d, c))
        raw = (x @ w.T) @ (x @ w.T).T
        slips = {
            "the vectors are not projected": _softmax(x @ x.T / np.sqrt(d)),
            "the scores are used without softmax": raw / np.sqrt(d),
            "softmax runs over the queries instead of over the keys": _softmax(raw / np.sqrt(d), 0),
            "the scores are divided by the length of the vectors before projection": _softmax(
                raw / np.sqrt(c)
            ),
        }
        if d > 1:
            slips |= {
                "the scores are not divided by sqrt(d)": _softmax(raw),
                "the scores are divided by d, not by its square root": _softmax(raw / d),
            }
        case = f"for {n} vectors of {c} numbers and a W with {d} row{'s' * (d > 1)}"
        expect(function, _forms(x, w), _softmax(raw / np.sqrt(d)), case, slips)
    return "the weights are right"


LETTERS = "DEKRHNQSTGPACVILMFYW"
# solubility (hydropathy with the sign turned), volume in Å^3: see the lesson
_HYDROPATHY = """-3.5 -3.5 -3.9 -4.5 -3.2 -3.5 -3.5 -0.8 -0.7 -0.4
    -1.6 1.8 2.5 4.2 4.5 3.8 1.9 2.8 -1.3 -0.9"""
_VOLUME = """111.1 138.4 168.6 173.4 153.2 114.1 143.8 89.0 116.1 60.1
    112.7 88.6 108.5 140.0 166.7 166.7 162.9 189.9 193.6 227.8"""


def properties() -> np.ndarray:
    """[20, 4]: solubility and size (mean 0, spread 1), positive (0, 1), negative charge (0, -1)."""
    x, size = -np.array(_HYDROPATHY.split(), float), np.array(_VOLUME.split(), float)
    positive = [float(a in "KR") for a in LETTERS]
    negative = [0 - float(a in "DE") for a in LETTERS]
    x, size = ((v - v.mean()) / v.std() for v in (x, size))
    return np.stack([x, size, positive, negative], axis=1)


@exercise("salt_bridge")
def _check_salt_bridge(function: Callable) -> str:
    w_q, w_k = _two_matrices(function())
    x = properties()
    scores = (x @ w_q.T) @ (x @ w_k.T).T  # [query, key]
    largest = abs(scores).max()
    if largest == 0 or not np.isfinite(largest):
        raise CheckFailed("all scores are 0 or not finite; with these matrices nobody asks")
    scores = scores / largest
    groups = {"DE": "KR", "KR": "DE"}
    for asking, wanted in groups.items():
        for query in asking:
            row = dict(zip(LETTERS, scores[LETTERS.index(query)]))
            least = min(row[a] for a in wanted)
            rival = max((a for a in LETTERS if a not in wanted), key=row.get)
            if least <= row[rival] + 1e-6:
                hint = ""
                if rival in asking:
                    hint = "; here like attracts like: turn the sign of W_q or of W_k"
                raise CheckFailed(
                    f"{query} should prefer {wanted[0]} and {wanted[1]} to anyone else, but gives "
                    f"{rival} the score {row[rival]:.3g} and one of them {least:.3g} "
                    f"(largest score of all: 1){hint}"
                )
    for query, row in zip(LETTERS, scores):
        if query not in "DEKR" and np.ptp(row) > 1e-3:
            best = LETTERS[int(row.argmax())]
            raise CheckFailed(
                f"{query} is neutral and should give everyone the same score, but prefers {best} "
                f"({row.max():.3g} against {row.min():.3g}); W_q must see nothing but charge"
            )
    return "opposites attract, and neutral ones do not ask"


def _two_matrices(answer) -> tuple[np.ndarray, np.ndarray]:
    if isinstance(answer, dict):
        answer = list(answer.values())
    try:
        w_q, w_k = (np.atleast_2d(to_array(w)) for w in answer)
        if w_q.shape[-1] == 4 and w_q.shape == w_k.shape and w_q.ndim == 2:
            return w_q, w_k
        found = f"matrices of shape {w_q.shape} and {w_k.shape}"
    except (TypeError, ValueError):
        found = "None" if answer is None else f"a {type(answer).__name__}"
    raise CheckFailed(f"return W_q and W_k, two matrices [d, 4] of equal shape; got {found}")


@exercise("multi_head")
def _check_multi_head(function: Callable) -> str:
    rng = np.random.default_rng(3)
    for n, c, heads in ((5, 12, 3), (4, 8, 1)):
        x = rng.normal(size=(n, c))
        matrices = rng.normal(size=(4, c, c)) / np.sqrt(c)
        d = c // heads

        def layer(cut, w=matrices, scale=d**0.5, axis=-1, output=True, x=x, n=n, c=c):
            q, k, v = (cut(x @ m.T) for m in w[:3])  # [h, n, d]
            o = _softmax(q @ k.transpose(0, 2, 1) / scale, axis) @ v
            o = o.transpose(1, 0, 2).reshape(n, c)
            return o @ w[3].T if output else o

        def blocks(z, n=n, heads=heads, d=d):
            return z.reshape(n, heads, d).transpose(1, 0, 2)

        wanted = layer(blocks)
        slips = {
            "the matrices are used the other way round (X @ W instead of X @ W.T)": layer(
                blocks, matrices.transpose(0, 2, 1)
            ),
            "softmax runs over the queries instead of over the keys": layer(blocks, axis=-2),
            "the output layer W_o is missing": layer(blocks, output=False),
            "the scores are not divided by sqrt(d)": layer(blocks, scale=1.0),
            "the scores are divided by d, not by its square root": layer(blocks, scale=d),
        }
        if heads > 1:
            slips |= {
                "the scores are divided by sqrt(c) instead of sqrt(c / heads)": layer(
                    blocks, scale=c**0.5
                ),
                "all heads are one wide head": layer(lambda z: z[None], scale=c**0.5),
                "residues and heads are mixed up (reshape without moving the axis of heads)": layer(
                    lambda z, n=n, h=heads, d=d: z.reshape(h, n, d)
                ),
                "a head gets every h-th number instead of d neighbouring ones": layer(
                    lambda z, n=n, h=heads, d=d: z.reshape(n, d, h).transpose(2, 0, 1)
                ),
            }
        forms = [(*form, heads) for form in _forms(x, *matrices)]
        expect(function, forms, wanted, f"for {n} vectors of {c} numbers, {heads} heads", slips)
    return "the output is right, for one head and for three"


_PERIODS = np.array([3.0, 5, 8, 13, 21, 34, 55, 89])
_CYS = RESTYPES.index("C")


def chains(count: int, seed: int) -> Iterator[tuple[np.ndarray, list[int]]]:
    """Chains [24, 36] as in the lesson, and the places of the two cysteines of each."""
    rng = np.random.default_rng(seed)
    angles = 2 * np.pi * np.arange(24)[:, None] / _PERIODS
    clocks = np.concatenate([np.sin(angles), np.cos(angles)], axis=1)
    others = [k for k in range(20) if k != _CYS]
    for _ in range(count):
        kinds = rng.choice(others, 24)
        two = rng.choice(24, 2, replace=False)
        kinds[two] = _CYS
        yield np.concatenate([np.eye(20)[kinds], clocks], axis=1), [int(i) for i in two]


@exercise("two_heads")
def _check_two_heads(function: Callable) -> str:
    looks = []  # [chain][head] share of right looks: ahead, partner
    for x, (one, other) in chains(100, seed=4):
        weights = _two_heads_of(function, x)
        where = np.where(np.eye(24, dtype=bool), -np.inf, weights).argmax(axis=-1)  # [2, 24]
        ahead = (where[:, :20] == np.arange(4, 24)).mean(axis=1)
        partner = ((where[:, one] == other).astype(float) + (where[:, other] == one)) / 2
        looks.append(np.stack([ahead, partner], axis=1))
    share = np.mean(looks, axis=0)  # [head, question]
    first = 0 if share[0, 0] + share[1, 1] >= share[1, 0] + share[0, 1] else 1
    ahead, partner = share[first, 0], share[1 - first, 1]
    result = f"four ahead {ahead:.0%} (head {first + 1}), partner {partner:.0%} (head {2 - first})"
    if min(ahead, partner) < 0.95:
        raise CheckFailed(f"looks at the right place: {result}; the target is 95% for both")
    return f"looks at the right place: {result}"


def _two_heads_of(function: Callable, x: np.ndarray) -> np.ndarray:
    """The weights for one chain, whatever form of the input the function wants."""
    errors, complaints = [], []
    for (form,) in _forms(x):
        try:
            answer = function(copy.deepcopy(form))
        except Exception as error:  # shown to the student
            errors.append(f"your function raised {type(error).__name__}: {error}")
            continue
        if isinstance(answer, tuple | list) and len(answer) == 2:
            answer = [to_array(a) for a in answer]
        weights = None if answer is None else to_array(answer)
        if weights is None or weights.shape != (2, 24, 24):
            got = f"a {type(answer).__name__}" if weights is None else str(weights.shape)
            complaints.append(f"return weights of shape (2, 24, 24), two heads; got {got}")
        elif not np.allclose(weights.sum(-1), 1, atol=1e-3) or weights.min() < -1e-6:
            complaints.append(
                f"weights of a query are not negative and add up to 1; the first row of head 1 "
                f"adds up to {weights[0, 0].sum():.4g}"
            )
        else:
            return weights
    raise CheckFailed((complaints + errors)[0])
