"""Exercises of lesson 10: warm-up, clipping per example, bonds, calibration."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from minifold.checks import CheckFailed, exercise, expect
from minifold.data.residues import BETWEEN_C_N
from minifold.physics.violations import C, N, find_violations

# --- The learning rate ----------------------------------------------------------------------------


@exercise("warmup")
def _check_warmup(function: Callable) -> str:
    for step in (0, 9, 499, 998, 999, 1000, 20_000, 49_999, 50_000, 99_999, 150_000):
        ramp = min(1.0, (step + 1) / 1000)
        fall = 0.95 if step >= 50_000 else 1.0
        right = 1000 * 1e-3 * ramp * fall
        slips = {
            "the first step has the rate 0 (count from 1)": min(1.0, step / 1000) * fall,
            "there is no warm-up": fall,
            "the warm-up never ends": (step + 1) / 1000 * fall,
            "the rate has not fallen (step 50,000 is the first with the lower one)": ramp,
            "the rate falls again and again; it shall fall once": ramp * 0.95 ** (step // 50_000),
            "the rate falls to 5 %, not to 95 %": ramp * (0.05 if step >= 50_000 else 1.0),
        }
        differing = {name: x for name, x in slips.items() if abs(x - right) > 1e-6}
        expect(
            lambda s: 1000 * function(s),
            [(step,)],
            right,
            f"1000 times the rate at step {step}",
            differing,
            tolerance=1e-6,
        )
    return "it rises for 1000 steps, stays, and falls once"


# --- Clipping -------------------------------------------------------------------------------------


def _clipped(g: np.ndarray, limit: float) -> np.ndarray:
    """Rows no longer than ``limit``."""
    return g * np.minimum(1, limit / np.linalg.norm(g, axis=-1, keepdims=True))


@exercise("clip_each")
def _check_clip_each(function: Callable) -> str:
    rng = np.random.default_rng(10)
    wild = rng.normal(size=(4, 6)) * np.array([0.03, 0.02, 5.0, 0.04])[:, None]
    small = 0.01 * rng.normal(size=(3, 5))
    alike = np.tile([0.3, 0.0, 0.4], (8, 1))
    for case, g in (
        ("for four examples, one of them wild", wild),
        ("for gradients that are all short", small),
        ("for eight equal gradients that are too long", alike),
    ):
        limit = 0.1
        right = _clipped(g, limit).mean(0)
        divided = _clipped(g / len(g), limit).sum(0)
        slips = {
            "the mean is clipped, not each example": _clipped(g.mean(0), limit),
            "gradients are divided by their number first, and then clipped: the limit is "
            f"{len(g)} times as weak": divided,
            "each number is clipped by itself: that changes the direction": np.clip(
                g, -limit, limit
            ).mean(0),
            "short gradients are made longer": (
                limit * g / np.linalg.norm(g, axis=-1, keepdims=True)
            ).mean(0),
            "the clipped gradients are added up, not averaged": len(g) * right,
            "nothing is clipped": g.mean(0),
            "all examples are clipped by their common norm": g.mean(0)
            * min(1, limit / np.linalg.norm(g)),
            "long gradients are thrown away": (
                g * (np.linalg.norm(g, axis=-1, keepdims=True) <= limit)
            ).mean(0),
        }
        differing = {name: x for name, x in slips.items() if not np.allclose(x, right, atol=1e-5)}
        tensor = torch.from_numpy(g)
        forms = [(g, limit), (tensor, limit), (tensor.float(), limit), (g.tolist(), limit)]
        expect(function, forms, right, case, differing)
    return "no example pulls harder than the limit, and short gradients stay as they are"


# --- Find the bug ---------------------------------------------------------------------------------


def _chain(
    lengths: Float[np.ndarray, "b k"],
) -> tuple[Float[Tensor, "b i 3"], Float[Tensor, "b i 3"]]:
    """Atoms C and N of chains along x: 3 Å inside a residue, then a bond of these lengths."""
    lengths = torch.as_tensor(np.asarray(lengths, dtype=np.float32))
    start = torch.cat([torch.zeros(len(lengths), 1), (lengths + 3).cumsum(1)], dim=1)
    zero = torch.zeros_like(start)
    return tuple(torch.stack([x, zero, zero], dim=-1) for x in (start + 3, start))


def bond_properties(function: Callable) -> dict[str, bool]:
    """What has to be true of a loss for the bonds between residues, and whether it is.

    Args:
        function: (c [b, i, 3], n [b, i, 3], mask [b, i], residue_index [b, i]) -> [b], Å.
    """
    ideal = float(BETWEEN_C_N[0])
    index, ones = torch.arange(8).expand(2, 8) + 1, torch.ones(2, 8)
    good = np.full((2, 7), ideal)

    def score(lengths, mask=ones, index=index, rows=slice(None)) -> Tensor:
        c, n = _chain(lengths)
        result = function(c[rows], n[rows], mask[rows], index[rows])
        return torch.as_tensor(result).detach().expand(len(mask[rows]))

    nearly, broken = good.copy(), good.copy()
    nearly[:, 3] += 0.1
    broken[0, 2] += 1
    padded, mask = broken.copy(), ones.clone()
    padded[:, 5:] = 40
    mask[:, 6:] = 0
    gap = index.clone()
    gap[:, 4:] += 10
    jump = good.copy()
    jump[:, 3] = 20

    c, n = (x.clone().requires_grad_() for x in _chain(good * 0))
    torch.as_tensor(function(c, n, ones, index)).sum().backward()
    finite = c.grad is not None and bool(
        torch.isfinite(c.grad).all() and torch.isfinite(n.grad).all()
    )

    close = torch.allclose
    cost = (1 - 12 * 0.014) / torch.tensor([7.0, 5.0])
    return {
        "ideal bonds cost nothing": bool((score(good) < 0.002).all()),
        "0.1 Å too long is tolerated": bool((score(nearly) < 0.002).all()),
        "1 Å too long costs 1 Å less the tolerance, divided by the number of bonds": close(
            score(broken)[:1], cost[:1], atol=0.004
        ),
        "padding (mask 0) changes nothing": close(
            score(padded, mask)[:1], cost[1:], atol=0.004
        ),
        "where residue numbers jump there is no bond": bool((score(jump, index=gap) < 0.002).all()),
        "each example of a batch is scored by itself": close(
            score(broken)[1:], score(broken, rows=slice(1, 2)), atol=0.001
        ),
        "two atoms in one place: the gradient is still a number": finite,
    }  # fmt: skip


def package_bonds(
    c: Float[Tensor, "b i 3"],
    n: Float[Tensor, "b i 3"],
    mask: Float[Tensor, "b i"],
    residue_index: Int[Tensor, "b i"],
) -> Float[Tensor, " b"]:
    """The package's loss of the bonds' lengths, for chains of alanine."""
    atom14 = torch.zeros(*mask.shape, 14, 3)
    atom14[:, :, C], atom14[:, :, N] = c, n
    exists = torch.zeros(*mask.shape, 14)
    exists[:, :, C] = exists[:, :, N] = mask
    aatype = torch.zeros(mask.shape, dtype=torch.int64)
    return find_violations(atom14, exists, residue_index, aatype).bond_c_n


@exercise("mend_bonds")
def _check_mend_bonds(function: Callable) -> str:
    try:
        found = bond_properties(function)
    except Exception as error:
        raise CheckFailed(f"your function raised {type(error).__name__}: {error}") from None
    failing = [name for name, holds in found.items() if not holds]
    if failing:
        more = f" ({len(failing)} of {len(found)} properties fail)" if len(failing) > 1 else ""
        raise CheckFailed(f"this is not true yet: {failing[0]}{more}")
    rng = np.random.default_rng(11)
    c, n = _chain(rng.uniform(0.8, 2.5, (3, 9)))
    mask, index = torch.ones(3, 10), torch.arange(10).expand(3, 10).clone()
    mask[1, 7:] = 0
    mask[2, 4] = 0  # not seen in the experiment
    index[0, 5:] += 3
    expect(
        function,
        [(c, n, mask, index)],
        package_bonds(c, n, mask, index).numpy(),
        "all properties hold, but for three chains of random bonds",
        tolerance=2e-3,
    )
    return f"all {len(found)} properties hold, and it equals the package's"


# --- Calibration ----------------------------------------------------------------------------------


@exercise("calibration")
def _check_calibration(function: Callable) -> str:
    rng = np.random.default_rng(12)
    honest = rng.uniform(0, 1, 400)
    noise = 0.1 * rng.normal(size=400)
    boastful = 0.62 + 0.36 * honest
    two = np.where(honest < 0.9, 0.95, 0.35)
    for case, predicted, true in (
        ("for someone who boasts", boastful, np.clip(honest**2 + noise, 0, 1)),
        ("for confidences in two bins only", two, np.where(two > 0.5, 0.8, 0.6)),
        ("for a confidence of exactly 1", np.ones(10), np.full(10, 0.7)),
    ):
        which = np.minimum((predicted * 10).astype(int), 9)
        filled = [k for k in range(10) if (which == k).any()]
        share = np.array([(which == k).mean() for k in filled])
        gap = np.array([(predicted - true)[which == k].mean() for k in filled])
        right = (share * abs(gap)).sum()
        slips = {
            "all bins count alike; they have to count by their size": abs(gap).mean(),
            "the sum is divided by 10 bins; they have to count by their size": abs(gap).sum() / 10,
            "bins that are too sure and bins that are too modest cancel": abs((share * gap).sum()),
            "each residue's own error is taken; average inside the bins first": abs(
                predicted - true
            ).mean(),
            "gaps are squared": (share * gap**2).sum(),
            "the largest gap is taken, not the mean": abs(gap).max(),
            "the answer is in percent": 100 * right,
        }
        differing = {name: x for name, x in slips.items() if abs(x - right) > 1e-3}
        forms = [
            (predicted, true),
            (torch.from_numpy(predicted), torch.from_numpy(true)),
            (predicted.tolist(), true.tolist()),
        ]
        expect(function, forms, right, case, differing, tolerance=1e-4)
    return "confidence against truth, bin by bin"
