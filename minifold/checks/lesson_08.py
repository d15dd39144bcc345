"""Exercises of lesson 08: invariant points, FAPE, lDDT."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from minifold.checks import CheckFailed, exercise, expect, to_array
from minifold.data.residues import ATOM_INDEX
from minifold.data.toyworld import ToyWorld
from minifold.model.rigid import Rigid
from minifold.training.fape import backbone_fape


def _forms(*arrays: np.ndarray | float) -> list[tuple]:
    """Arrays, tensors of both precisions, and lists; plain numbers stay what they are."""

    def wrap(f: Callable) -> tuple:
        return tuple(a if np.ndim(a) == 0 else f(np.array(a)) for a in arrays)

    def tensor(a: np.ndarray) -> Tensor:
        return torch.from_numpy(a)

    return [wrap(np.copy), wrap(tensor), wrap(lambda a: tensor(a).float()), wrap(np.ndarray.tolist)]


def _rotations(n: int, rng: np.random.Generator) -> np.ndarray:
    """Random rotations [n, 3, 3]."""
    q = np.linalg.qr(rng.normal(size=(n, 3, 3)))[0]
    return q * np.linalg.det(q)[:, None, None]


# --- The point term of IPA ------------------------------------------------------------------------


@exercise("point_term")
def _check_point_term(function: Callable) -> str:
    rng = np.random.default_rng(8)
    for n, p, gamma in ((4, 3, 1.0), (3, 1, 0.5)):
        R, t = _rotations(n, rng), rng.normal(size=(n, 3))
        q, k = rng.normal(size=(2, n, p, 3))
        factor = -gamma / 2 * np.sqrt(2 / (9 * p))

        def placed(x, R=R, t=t):
            return np.einsum("ixy,ipy->ipx", R, x) + t[:, None]

        def square(a, b):
            return np.square(a[:, None] - b[None]).sum(-1)  # [i, j, p]

        each = square(placed(q), placed(k))
        right = factor * each.sum(-1)
        slips = {
            "the sign is turned: near points have to score higher": -right,
            "distances are added up, not their squares": factor * np.sqrt(each).sum(-1),
            "γ/2 and w_C are left out": -each.sum(-1),
            "γ is left out": right / gamma,
            "w_C is left out": -gamma / 2 * each.sum(-1),
            "the 2 under γ is left out": 2 * right,
            "rows and columns are exchanged (row i is who asks)": right.T,
            "the points are not put into space: T is not applied": factor * square(q, k).sum(-1),
            "the points are turned but not shifted by t": (
                factor * square(placed(q) - t[:, None], placed(k) - t[:, None]).sum(-1)
            ),
            "R is transposed": factor
            * square(placed(q, R.transpose(0, 2, 1)), placed(k, R.transpose(0, 2, 1))).sum(-1),
            "the query points are compared with themselves, not with the key points": (
                factor * square(placed(q), placed(q)).sum(-1)
            ),
        }
        if p > 1:
            slips["the mean over the points is taken, not the sum"] = right / p
        case = f"for {n} residues with {p} point{'s' * (p > 1)} and γ = {gamma:g}"
        differing = {name: x for name, x in slips.items() if not np.allclose(x, right)}
        expect(function, _forms(R, t, q, k, gamma), right, case, differing)
    return "near points score high, far points low, with the right weight"


# --- Hydrogen bonds -------------------------------------------------------------------------------

NEAR, APART = 3.5, 3  # Å from O to N; residues along the chain


def bonds(
    positions: Float[Tensor, "n 37 3"],
) -> tuple[Rigid, Bool[Tensor, "n n"], Bool[Tensor, "n n"]]:
    """Backbone frames of a chain; whether O of i holds on to N of j; pairs that may."""
    n, ca, c, o = (positions[:, ATOM_INDEX[name]] for name in ("N", "CA", "C", "O"))
    at = torch.arange(len(positions))
    allowed = (at[:, None] - at).abs() >= APART
    return Rigid.from_3_points(n, ca, c), (torch.cdist(o, n) < NEAR) & allowed, allowed


def bonds_found(q: Tensor, k: Tensor, chains: list[Float[Tensor, "_ 37 3"]]) -> tuple[int, int]:
    """How many residues whose O has a bond look at its partner, and how many there are.

    A residue looks at the one whose key point ``k`` comes nearest to its own query point ``q``
    (both [3], Å, in the backbone frame), of those at least three away along the chain.
    """
    right = total = 0
    for positions in chains:
        T, bonded, allowed = bonds(positions)
        looks_at = torch.cdist(T.apply(q), T.apply(k)).masked_fill(~allowed, torch.inf).argmin(-1)
        asked = bonded.any(-1)
        right += int(bonded[torch.arange(len(T.t)), looks_at][asked].sum())
        total += int(asked.sum())
    return right, total


@cache
def _toy_chains() -> list[Float[Tensor, "_ 37 3"]]:
    return list(ToyWorld(length=40, depth=1, seed=8, block=16).sample(16).positions)


@exercise("hydrogen_bonds")
def _check_hydrogen_bonds(function: Callable) -> str:
    answer = function()
    if not isinstance(answer, tuple | list) or len(answer) != 2:
        raise CheckFailed(
            f"return two points, query and key, each of three coordinates; got {answer!r}"
        )
    points = [to_array(x) for x in answer]
    for name, x in zip(("query", "key"), points):
        if x is None or x.shape != (3,) or not np.isfinite(x).all():
            got = "no numbers" if x is None else f"shape {x.shape}"
            raise CheckFailed(f"the {name} point has to be three coordinates in Å; got {got}")
    q, k = (torch.tensor(x).float() for x in points)
    right, total = bonds_found(q, k, _toy_chains())
    told = f"{right / total:.0%} of the bonds in toy proteins that you have not seen are found"
    if right < 0.9 * total:
        swapped, _ = bonds_found(k, q, _toy_chains())
        hint = ""
        if swapped >= 0.9 * total:
            hint = "; you look from N for O: exchange the two points"
        elif max(abs(q).max(), abs(k).max()) < 0.5:
            hint = "; your points lie within 0.5 Å of Cα; O and N are farther away"
        raise CheckFailed(f"{told}, the target is 90%{hint}")
    return told


# --- FAPE -----------------------------------------------------------------------------------------


@exercise("fape")
def _check_fape(function: Callable) -> str:
    rng = np.random.default_rng(9)
    for n, points, size in ((5, 7, 2.0), (6, 6, 12.0)):
        R, R_true = _rotations(n, rng), _rotations(n, rng)
        t, t_true = size * rng.normal(size=(2, n, 3))
        x, x_true = size * rng.normal(size=(2, points, 3))

        def seen(R, t, x):
            return np.einsum("iyx,ijy->ijx", R, x[None] - t[:, None])  # Rᵀ (x - t)

        def mean(difference, clamp=10.0, power=1):
            return np.minimum(np.linalg.norm(difference, axis=-1) ** power, clamp).mean() / 10

        difference = seen(R, t, x) - seen(R_true, t_true, x_true)
        right = mean(difference)
        forward = np.einsum("ixy,jy->ijx", R, x) - np.einsum("ixy,jy->ijx", R_true, x_true)
        slips = {
            "errors above 10 Å are not clamped": mean(difference, np.inf),
            "the mean is clamped, not each error": min(mean(difference, np.inf), 1.0),
            "the result is in Å, not in units of 10 Å": 10 * right,
            "errors are squared": mean(difference, np.inf, 2),
            "squared errors are clamped": mean(difference, 10.0, 2),
            "the truth is seen from the predicted frames": mean(
                seen(R, t, x) - seen(R, t, x_true)
            ),
            "R is not transposed: the inverse of a rotation is its transpose": mean(
                np.einsum("ixy,ijy->ijx", R, x[None] - t[:, None])
                - np.einsum("ixy,ijy->ijx", R_true, x_true[None] - t_true[:, None])
            ),
            "T is applied, not its inverse": mean(
                forward + t[:, None] - t_true[:, None]
            ),
            "t is not subtracted": mean(seen(R, 0 * t, x) - seen(R_true, 0 * t, x_true)),
            "the points are not turned into the frames": mean(
                (x[None] - t[:, None]) - (x_true[None] - t_true[:, None])
            ),
            "the errors are added up, not averaged": right * n * points,
        }  # fmt: skip
        if n == points:
            own = np.linalg.norm(difference, axis=-1).diagonal()
            slips["each frame looks only at its own point"] = np.minimum(own, 10).mean() / 10
        case = f"for {n} frames and {points} points"
        differing = {name: v for name, v in slips.items() if abs(v - right) > 2e-3}
        forms = _forms(R, t, x, R_true, t_true, x_true)
        expect(function, forms, right, case, differing, tolerance=1e-3)
    return "every point is seen from every frame"


# --- lDDT -----------------------------------------------------------------------------------------


def _distances(x: np.ndarray) -> np.ndarray:
    return np.linalg.norm(x[:, None] - x[None], axis=-1)


@exercise("lddt")
def _check_lddt(function: Callable) -> str:
    rng = np.random.default_rng(10)
    true = np.cumsum(rng.normal(size=(24, 3)) * 2.6, axis=0)
    noisy = true + rng.normal(size=true.shape)
    moved = noisy @ _rotations(1, rng)[0].T + 20
    others = ~np.eye(len(true), dtype=bool)
    D = _distances(true)
    for case, predicted in (
        ("for a noisy copy, turned and shifted", moved),
        ("for a perfect copy, shifted by 20 Å", true + 20),
        ("for all points in one place", 0 * true),
    ):
        error = abs(_distances(predicted) - D)

        def kept(error, pairs, cutoffs=(0.5, 1, 2, 4)):
            return np.mean([(error < c)[pairs].mean() if pairs.any() else 0 for c in cutoffs])

        near = others & (D < 15)
        right = kept(error, near)
        by_row = np.mean([kept(error[i], near[i]) for i in range(len(D))])
        raw = np.linalg.norm(predicted - true, axis=-1)
        slips = {
            "positions are compared, not distances": kept(raw, np.ones(len(raw), bool)),
            "the distance of a point to itself counts (it is always right)": kept(error, D < 15),
            "all pairs count, not only those nearer than 15 Å": kept(error, others),
            "the 15 Å are measured in the prediction, not in the truth": kept(
                error, others & (_distances(predicted) < 15)
            ),
            "the mean of the residues' own scores is taken; here all pairs count alike": by_row,
            "the answer is in percent": 100 * right,
            "this is the share of distances that are lost": 1 - right,
        } | {f"the only cutoff is {c:g} Å": kept(error, near, [c]) for c in (0.5, 1, 2, 4)}
        differing = {name: v for name, v in slips.items() if abs(v - right) > 1.2e-3}
        expect(function, _forms(predicted, true), right, case, differing, tolerance=1e-3)
    return "right, wherever the copy lies"


# --- Find the bug ---------------------------------------------------------------------------------


def _random_frames(b: int, n: int, seed: int) -> Rigid:
    generator = torch.Generator().manual_seed(seed)
    update = torch.randn(b, n, 6, generator=generator)
    return Rigid.from_update(update * torch.tensor([1, 1, 1, 8, 8, 8]))


def fape_properties(function: Callable) -> dict[str, bool]:
    """What has to be true of a FAPE for training, and whether it is.

    Args:
        function: (T, T_true, mask [b, i], use_clamped [b]) -> [b], T being frames [b, i].
    """
    truth, other, ones = _random_frames(2, 8, 0), _random_frames(2, 8, 1), torch.ones(2, 8)
    on, off = torch.ones(2), torch.zeros(2)
    padded, mask = Rigid(truth.R, truth.t.clone()), torch.ones(2, 8)
    padded.t[:, 6:] += 30
    mask[:, 6:] = 0
    tail, farther = Rigid(truth.R, truth.t.clone()), Rigid(truth.R, truth.t.clone())
    tail.t[:, 7] += 20
    farther.t[:, 7] += 40
    moved = _random_frames(2, 1, 2).compose(truth)
    flip = torch.tensor([1.0, 1, -1])  # mirrors points and turns the third axis with them
    mirror = Rigid(flip[:, None] * truth.R * flip, truth.t * flip)

    def score(T, mask=ones, use_clamped=on) -> Tensor:
        return torch.as_tensor(function(T, truth, mask, use_clamped)).detach().expand(len(T.t))

    plain, mixed = score(other), score(other, use_clamped=torch.tensor([1.0, 0.0]))
    free = score(other, use_clamped=off)
    close = torch.allclose
    return {
        "a perfect copy scores almost 0": bool((score(truth) < 0.01).all()),
        "a perfect copy, moved as a whole, scores almost 0": bool((score(moved) < 0.01).all()),
        "the mirror image does not": bool((score(mirror) > 0.1).all()),
        "padding (mask 0) changes nothing": bool((score(padded, mask) < 0.01).all())
        and close(score(other, mask)[:1], _cut(function, other, truth), atol=0.01),
        "clamped: an error of 40 Å counts no more than one of 20 Å": close(
            score(tail), score(farther), atol=0.01
        ),
        "not clamped: it counts more": bool(
            (score(farther, use_clamped=off) > 1.5 * score(tail, use_clamped=off)).all()
        ),
        "each example of a batch is scored by itself": close(
            mixed, torch.stack([plain[0], free[1]]), atol=0.001
        ),
    }


def _cut(function: Callable, T: Rigid, truth: Rigid) -> Tensor:
    """Score of the first example without the residues that are padding."""
    score = function(T[:1, :6], truth[:1, :6], torch.ones(1, 6), torch.ones(1))
    return torch.as_tensor(score).detach().expand(1)


@exercise("mend")
def _check_mend(function: Callable) -> str:
    try:
        found = fape_properties(function)
    except Exception as error:
        raise CheckFailed(f"your function raised {type(error).__name__}: {error}") from None
    broken = [name for name, holds in found.items() if not holds]
    if broken:
        more = f" ({len(broken)} of {len(found)} properties fail)" if len(broken) > 1 else ""
        raise CheckFailed(f"this is not true yet: {broken[0]}{more}")
    T, truth = _random_frames(3, 9, 3), _random_frames(3, 9, 4)
    mask = torch.ones(3, 9)
    mask[1, 5:] = 0
    use_clamped = torch.tensor([1.0, 0.0, 0.0])
    wanted = backbone_fape(Rigid.stack([T]), truth, mask, use_clamped)
    expect(
        function,
        [(T, truth, mask, use_clamped)],
        wanted.numpy(),
        "all properties hold, but for three chains of random frames",
        tolerance=2e-3,
    )
    return f"all {len(found)} properties hold, and it equals the package's"
