"""Floors: what is reached without learning anything. No result is shown without them.

Two kinds: structures that know nothing of the alignment (helix, random walk, one point, another
protein's structure), to be scored like a prediction; and contact scores by classical statistics of
the alignment (mutual information, mean-field direct coupling analysis). ``shuffle_columns`` is the
control that destroys covariation and keeps everything else. Numpy, Å.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

import numpy as np
from jaxtyping import Float, Int

from minifold.data.msa import weights
from minifold.data.residues import ATOM_INDEX
from minifold.errors import BadInput

# Ideal backbone: bond lengths (Å) and angles (degrees) of Engh & Huber (1991)
_N_CA, _CA_C, _C_N, _C_O, _CA_CB = 1.458, 1.525, 1.329, 1.231, 1.530
_N_CA_C, _CA_C_N, _C_N_CA, _CA_C_O = 111.0, 117.2, 121.7, 120.1
_PHI, _PSI, _OMEGA = -57.8, -47.0, 180.0  # of an α-helix


# ------------------------------------------------------------------ structures


def _place(a, b, c, length: float, angle: float, torsion: float) -> np.ndarray:
    """The atom d at ``length`` from c, with the angle b-c-d and the torsion a-b-c-d (degrees)."""
    angle, torsion = np.radians(angle), np.radians(torsion)
    x = (c - b) / np.linalg.norm(c - b)
    z = np.cross(b - a, x)
    z = z / np.linalg.norm(z)
    local = -np.cos(angle), np.sin(angle) * np.cos(torsion), np.sin(angle) * np.sin(torsion)
    return c + length * (local[0] * x + local[1] * np.cross(z, x) + local[2] * z)


def helix(sequence: str) -> tuple[Float[np.ndarray, "n 37 3"], Float[np.ndarray, "n 37"]]:
    """One straight ideal α-helix: positions and mask of N, CA, C, O and CB (not in glycine)."""
    n = len(sequence)
    return ideal_chain(sequence, np.full(n, _PHI), np.full(n, _PSI))


def ideal_chain(
    sequence: str, phi: Float[np.ndarray, " n"], psi: Float[np.ndarray, " n"]
) -> tuple[Float[np.ndarray, "n 37 3"], Float[np.ndarray, "n 37"]]:
    """A chain with these torsions (degrees), flat peptide bonds and ideal bonds and angles.

    Returns:
        Positions and mask of N, CA, C, O and CB (not in glycine); the first N is at the origin.
    """
    if not sequence:
        raise BadInput("the sequence is empty; give at least one residue")
    positions, mask = np.zeros((len(sequence), 37, 3)), np.zeros((len(sequence), 37))
    n, ca = np.zeros(3), np.array([_N_CA, 0.0, 0.0])
    bend = np.radians(180 - _N_CA_C)
    c = ca + _CA_C * np.array([np.cos(bend), np.sin(bend), 0.0])
    for i, letter in enumerate(sequence):
        if i:
            next_n = _place(n, ca, c, _C_N, _CA_C_N, psi[i - 1])
            next_ca = _place(ca, c, next_n, _N_CA, _C_N_CA, _OMEGA)
            n, ca, c = next_n, next_ca, _place(c, next_n, next_ca, _CA_C, _N_CA_C, phi[i])
        atoms = {"N": n, "CA": ca, "C": c, "O": _place(n, ca, c, _C_O, _CA_C_O, psi[i] + 180)}
        if letter != "G":  # L-amino acids: seen along CA-N, CB is 122.5 degrees from C
            atoms["CB"] = _place(c, n, ca, _CA_CB, 110.5, -122.5)
        for name, position in atoms.items():
            positions[i, ATOM_INDEX[name]], mask[i, ATOM_INDEX[name]] = position, 1
    return positions.astype(np.float32), mask.astype(np.float32)


def expected_radius(n: int) -> float:
    """Radius of gyration (Å) of a folded protein of n residues, 2.2 n^0.38."""
    return 2.2 * n**0.38


def random_walk(
    n: int, rng: np.random.Generator, radius: float | None = None
) -> Float[np.ndarray, "n 3"]:
    """Cα atoms of a random walk in steps of 3.8 Å that is as compact as a protein.

    Of 1,000 free walks the one whose radius of gyration is nearest to ``radius`` (Å, default
    ``expected_radius``).
    """
    steps = rng.normal(size=(1000, n, 3))
    walks = (3.8 * steps / np.linalg.norm(steps, axis=-1, keepdims=True)).cumsum(axis=1)
    walks -= walks.mean(axis=1, keepdims=True)
    radii = np.sqrt(np.square(walks).sum(-1).mean(-1))
    wanted = expected_radius(n) if radius is None else radius
    return walks[np.abs(radii - wanted).argmin()].astype(np.float32)


def radius_of(ca: Float[np.ndarray, "n 3"]) -> float:
    """Radius of gyration of Cα atoms, Å."""
    return float(np.sqrt(np.square(ca - ca.mean(0)).sum(-1).mean()))


def one_point(n: int) -> Float[np.ndarray, "n 3"]:
    """All Cα atoms at the origin."""
    return np.zeros((n, 3), np.float32)


def random_structure(
    library: Sequence[Float[np.ndarray, "_ 3"]], n: int, rng: np.random.Generator
) -> Float[np.ndarray, "n 3"]:
    """A random window of n residues of a random structure (Cα) of the training set.

    Raises:
        BadInput: no structure is that long.
    """
    fitting = [ca for ca in library if len(ca) >= n]
    if not fitting:
        raise BadInput(f"no structure of the library has {n} residues; give a larger library")
    ca = fitting[rng.integers(len(fitting))]
    start = rng.integers(len(ca) - n + 1)
    return ca[start : start + n]


def nearest_structures(
    library: Sequence[Float[np.ndarray, "_ 3"]], targets: Sequence[Float[np.ndarray, "_ 3"]]
) -> list[tuple[Float[np.ndarray, "_ 3"], float]]:
    """For each target the window (Cα) of the training set most like it, and its dRMSD in Å.

    An oracle: what a model could reach that has learnt its training set by heart, and knew which
    part of it to recite. Its dRMSD says how new the target is.

    Raises:
        BadInput: no structure is as long as a target.
    """
    n = max(len(ca) for ca in targets)
    if not any(len(ca) >= n for ca in library):
        raise BadInput(f"no structure of the library has {n} residues; give a larger library")
    nearest = [(np.zeros((0, 3)), np.inf)] * len(targets)
    for n in sorted({len(ca) for ca in targets}):
        upper = np.triu_indices(n, 1)
        mine = [k for k, ca in enumerate(targets) if len(ca) == n]
        wanted = np.stack([_distances(targets[k][None])[0][upper] for k in mine])
        windows = (ca[k : k + n] for ca in library for k in range(len(ca) - n + 1))
        while some := list(islice(windows, 4096)):
            theirs = _distances(np.stack(some))[:, upper[0], upper[1]]
            # the sum of squared differences, but for what is the same for all windows
            unlike = np.square(theirs).sum(1) - 2 * wanted @ theirs.T
            for row, (k, best) in enumerate(zip(mine, unlike.argmin(1))):
                drmsd = float(np.sqrt(np.square(theirs[best] - wanted[row]).mean()))
                if drmsd < nearest[k][1]:
                    nearest[k] = some[best], drmsd
    return nearest


def _distances(x: Float[np.ndarray, "k n 3"]) -> Float[np.ndarray, "k n n"]:
    x = x - x.mean(axis=1, keepdims=True)  # large numbers would cost digits
    square = np.square(x).sum(-1)
    square = square[:, :, None] + square[:, None, :] - 2 * x @ x.transpose(0, 2, 1)
    return np.sqrt(np.maximum(square, 0))


# ------------------------------------------------------------------ alignments


def shuffle_columns(
    tokens: Int[np.ndarray, "s n"], rng: np.random.Generator
) -> Int[np.ndarray, "s n"]:
    """Every column shuffled on its own below the query: the profile stays, covariation goes."""
    shuffled = tokens.copy()
    shuffled[1:] = rng.permuted(tokens[1:], axis=0)
    return shuffled


_STATES = 21  # amino acids, and one for everything else (gap, unknown, mask)


def _frequencies(
    tokens: Int[np.ndarray, "s n"], pseudocount: float
) -> tuple[Float[np.ndarray, "n 21"], Float[np.ndarray, "n n 21 21"]]:
    """Weighted frequencies of letters and of pairs of letters, mixed with uniform ones."""
    n = tokens.shape[1]
    one_hot = np.eye(_STATES)[np.minimum(tokens, _STATES - 1)].reshape(len(tokens), -1)
    w = weights(tokens)[:, None] / weights(tokens).sum()
    single = (w * one_hot).sum(0).reshape(n, _STATES)
    pair = ((w * one_hot).T @ one_hot).reshape(n, _STATES, n, _STATES).transpose(0, 2, 1, 3)
    single = (1 - pseudocount) * single + pseudocount / _STATES
    pair = (1 - pseudocount) * pair + pseudocount / _STATES**2
    i = np.arange(n)
    pair[i, i] = single[:, :, None] * np.eye(_STATES)  # a letter is paired with itself only
    return single, pair


def average_product_correction(scores: Float[np.ndarray, "n n"]) -> Float[np.ndarray, "n n"]:
    """Scores minus what a column has with all others: APC of Dunn et al. (2008). Zero diagonal."""
    n = len(scores)
    scores = scores * (1 - np.eye(n))
    column = scores.sum(0) / max(n - 1, 1)
    mean = column.mean()
    corrected = scores - np.outer(column, column) / mean if mean > 0 else scores
    return corrected * (1 - np.eye(n))


def mutual_information(
    tokens: Int[np.ndarray, "s n"], pseudocount: float = 0.05
) -> Float[np.ndarray, "n n"]:
    """Mutual information of each pair of columns (nats), corrected by APC."""
    single, pair = _frequencies(tokens, pseudocount)
    independent = single[:, None, :, None] * single[None, :, None, :]
    information = (pair * np.log(pair / independent, where=pair > 0, out=np.zeros_like(pair))).sum(
        (2, 3)
    )
    return average_product_correction(information)


def direct_coupling(
    tokens: Int[np.ndarray, "s n"], pseudocount: float = 0.5
) -> Float[np.ndarray, "n n"]:
    """Mean-field direct coupling analysis: how strongly two columns are coupled *directly*.

    Morcos et al. (2011): the couplings are minus the inverse of the covariance matrix of letters.
    Score: Frobenius norm of a pair's couplings in the zero-sum gauge, without gaps, corrected by
    APC (Ekeberg et al. 2013). The time grows with (20 n)³: seconds for 100 columns.
    """
    n, q = tokens.shape[1], _STATES - 1
    single, pair = _frequencies(tokens, pseudocount)
    covariance = pair - single[:, None, :, None] * single[None, :, None, :]
    flat = covariance[:, :, :q, :q].transpose(0, 2, 1, 3).reshape(n * q, n * q)
    couplings = -np.linalg.inv(flat).reshape(n, q, n, q).transpose(0, 2, 1, 3)
    full = np.zeros((n, n, _STATES, _STATES))  # the last state is the reference, coupling 0
    full[:, :, :q, :q] = couplings
    full -= (
        full.mean(2, keepdims=True) + full.mean(3, keepdims=True) - full.mean((2, 3), keepdims=True)
    )
    return average_product_correction(np.sqrt(np.square(full[:, :, :q, :q]).sum((2, 3))))
