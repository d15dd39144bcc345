"""Exercises of lesson 05: the outer product mean and the Evoformer block."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import torch

from minifold.checks import CheckFailed, exercise, expect, to_array
from minifold.data.toyworld import ToyWorld
from minifold.training.baselines import average_product_correction
from minifold.training.sources import precision_of


@exercise("outer_mean")
def _check_outer_mean(function: Callable) -> str:
    rng = np.random.default_rng(5)
    for s, n, c, d, holes in ((6, 4, 3, 2, False), (7, 3, 2, 4, True)):
        left, right = rng.normal(size=(s, n, c)), rng.normal(size=(s, n, d))
        mask = np.ones((s, n))
        if holes:
            mask[1:4, 0] = mask[2:5, 1] = mask[6, 2] = 0  # some sequences have both, for each pair
        a, b = left * mask[..., None], right * mask[..., None]
        both = np.einsum("si,sj->ij", mask, mask)[..., None, None]
        total = np.einsum("sic,sjd->ijcd", a, b)
        wanted = total / both
        alone = mask.sum(0)[:, None]
        means = np.einsum("ic,jd->ijcd", a.sum(0) / alone, b.sum(0) / alone)
        slips = {
            "the sum is not divided by the number of sequences": total,
            "columns i and j have changed places": wanted.transpose(1, 0, 2, 3),
            "the channels c and d have changed places": wanted.transpose(0, 1, 3, 2),
            "this is the outer product of the means, not the mean of the outer products": means,
            "the covariance is taken; here nothing is subtracted": wanted - means,
            "the table is written as one row": wanted.reshape(n, n, c * d),
        }
        if holes:
            slips |= {
                "the mask is left out": np.einsum("sic,sjd->ijcd", left, right) / s,
                "absent residues count as zeros (divide by how many sequences have both)": total
                / s,
                "absent residues are added in": np.einsum("sic,sjd->ijcd", left, right) / both,
                "the mask is on the left factor only": np.einsum("sic,sjd->ijcd", a, right) / both,
                "it is divided by the sequences that have i, not by those that have i and j": total
                / alone[..., None, None],
            }
        arrays = (left, right, mask)
        forms = [
            tuple(torch.from_numpy(x.copy()) for x in arrays),
            tuple(x.copy() for x in arrays),
            tuple(torch.from_numpy(x).float() for x in arrays),
            tuple(x.tolist() for x in arrays),
        ]
        case = f"for {s} sequences of {n} residues" + ", some absent" * holes
        slips = {
            words: x for words, x in slips.items() if not np.allclose(np.ravel(x), wanted.ravel())
        }
        expect(function, forms, wanted, case, slips)
    return "the means are right, with and without absent residues"


@exercise("block")
def _check_block(function: Callable) -> str:
    """The layers do not commute, so that every mistake in the wiring shows."""
    rng = np.random.default_rng(6)
    m, z = 0.5 * rng.normal(size=(3, 4)), 0.5 * rng.normal(size=(4, 4))

    def row(m, z):
        return 0.5 * m @ z

    def column(m):
        return m * m[:1] + 0.3

    def transition(m):
        return 0.2 * m**2 - m

    def outer(m):
        return m.T @ m / 3

    def pair(z):
        return 0.1 * z @ z + 0.7

    def wire(early=False, skip=(), sum_m=True, sum_z=True, pair_first=False, swap=False):
        x, y = m, z
        if pair_first:
            y = y + pair(y)
        if early:
            y = y + outer(x)
        order = [("row", lambda x: row(x, y)), ("column", column), ("transition", transition)]
        if swap:
            order[0], order[1] = order[1], order[0]
        for name, layer in order:
            if name not in skip:
                x = x + layer(x) if sum_m else layer(x)
        if not early and "outer" not in skip:
            y = y + outer(x) if sum_z else outer(x)
        if not pair_first and "pair" not in skip:
            y = y + pair(y) if sum_z else pair(y)
        return x, y

    right = wire()
    parallel = m + row(m, z) + column(m) + transition(m)
    mistakes = {
        "each layer replaces m instead of being added to it": wire(sum_m=False),
        "each layer replaces z instead of being added to it": (right[0], wire(sum_z=False)[1]),
        "nothing is added to what was there": wire(sum_m=False, sum_z=False),
        "the outer product is taken of the old m, before the attentions": (
            right[0],
            (lambda y: y + pair(y))(z + outer(m)),
        ),
        "z is updated before the row attention has read it": wire(early=True),
        "the layers of z come before the outer product": wire(pair_first=True),
        "the column comes before the row": wire(swap=True),
        "all three layers read the old m instead of following each other": (
            parallel,
            (lambda y: y + pair(y))(z + outer(parallel)),
        ),
        "pair reads the old z": (right[0], z + outer(right[0]) + pair(z)),
        "outer has no residual": (right[0], outer(right[0]) + pair(outer(right[0]))),
        "pair has no residual": (right[0], pair(z + outer(right[0]))),
        "z is never changed by pair": wire(skip=("pair",)),
        "z is never changed by outer": wire(skip=("outer",)),
        "the row attention is left out": wire(skip=("row",)),
        "the column attention is left out": wire(skip=("column",)),
        "the transition is left out": wire(skip=("transition",)),
    }
    layers = (row, column, transition, outer, pair)
    forms = [
        (torch.from_numpy(m.copy()), torch.from_numpy(z.copy()), *layers),
        (m.copy(), z.copy(), *layers),
    ]
    for part, name in enumerate("mz"):

        def one(*arguments, part=part):
            answer = function(*arguments)
            if isinstance(answer, dict):
                answer = [answer.get("m"), answer.get("z")]
            if not isinstance(answer, tuple | list) or len(answer) != 2:
                raise CheckFailed(f"return two things, m and z; got a {type(answer).__name__}")
            if all(getattr(x, "shape", None) == s.shape for x, s in zip(answer, (z, m))):
                raise CheckFailed("m and z are returned in the other order; first m, then z")
            return answer[part]

        slips = {
            words: pair_of[part]
            for words, pair_of in mistakes.items()
            if not np.allclose(pair_of[part], right[part])
        }
        expect(one, forms, right[part], f"the new {name} for 3 sequences of 4 residues", slips)
    return "both are right: each layer reads what the layer before has written"


FAMILIES, TARGET = 12, 0.75


@cache
def covariances() -> tuple[np.ndarray, list]:
    """Covariance [family, i, j, 20, 20] of the one-hot columns of 12 toy families; their chains."""
    world = ToyWorld(length=32, depth=128, seed=505, block=FAMILIES).sample(FAMILIES)
    tables = []
    for k in range(FAMILIES):
        x = np.eye(23)[world.alignment(k).tokens][..., :20]
        x = (x - x.mean(0)).reshape(len(x), -1)
        tables.append((x.T @ x / len(x)).reshape(32, 20, 32, 20).transpose(0, 2, 1, 3))
    return np.stack(tables), [world.chain(k) for k in range(FAMILIES)]


def squeezed_precision(matrix: np.ndarray) -> float:
    """Mean contact precision with letters described by the rows of ``matrix`` [20, c]."""
    tables, chains = covariances()
    small = np.einsum("fijab,ac,bd->fijcd", tables, matrix, matrix, optimize=True)
    scores = np.sqrt(np.square(small).sum((3, 4)))
    return float(
        np.mean([precision_of(average_product_correction(x), c) for x, c in zip(scores, chains)])
    )


@exercise("squeeze")
def _check_squeeze(function: Callable) -> str:
    try:
        answer = function()
    except Exception as error:  # shown to the student
        raise CheckFailed(f"your function raised {type(error).__name__}: {error}") from None
    matrix = None if answer is None else to_array(answer)
    if matrix is not None and matrix.shape == (2, 20):
        raise CheckFailed("the shape is (2, 20); return one row for each amino acid: (20, 2)")
    if matrix is None or matrix.shape != (20, 2):
        got = f"a {type(answer).__name__}" if matrix is None else f"shape {matrix.shape}"
        raise CheckFailed(f"return a matrix of shape (20, 2); got {got}")
    if not np.isfinite(matrix).all():
        raise CheckFailed("the matrix has entries that are no finite numbers")
    if not np.ptp(matrix, axis=0).any():
        raise CheckFailed("all amino acids have the same numbers: nothing can vary together")
    share = squeezed_precision(matrix)
    if share < TARGET:
        hint = "do the two numbers say who would like to touch whom?"
        if np.ptp(matrix, axis=0).max() > 20 * np.ptp(matrix, axis=0).min():
            hint = "one column is much larger than the other and drowns it; scale both alike"
        raise CheckFailed(
            f"a mean precision of {share:.2f} with two numbers per letter; the target is "
            f"{TARGET}, all 20 letters reach {squeezed_precision(np.eye(20)):.2f}; {hint}"
        )
    return f"a mean precision of {share:.2f} with two numbers per letter"
