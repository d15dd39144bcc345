"""Exercises of lesson 07: torsions, frames, turning bonds."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from minifold.checks import CheckFailed, exercise, expect, to_array
from minifold.data.residues import ATOM_INDEX
from minifold.training.baselines import ideal_chain


def _forms(*arrays: np.ndarray) -> list[tuple]:
    """The arrays as they are, as tensors of both precisions, and as lists."""
    tensors = [torch.as_tensor(a) for a in arrays]
    return [
        tuple(np.array(a) if np.ndim(a) else a for a in arrays),
        tuple(t.clone() for t in tensors),
        tuple(t.float() for t in tensors),
        tuple(np.asarray(a).tolist() for a in arrays),
    ]


def _unit(v: np.ndarray) -> np.ndarray:
    return v / np.linalg.norm(v)


# --- Torsion --------------------------------------------------------------------------------------


def _four_points(angle: float, rng: np.random.Generator) -> np.ndarray:
    """Four points [4, 3] somewhere in space, with this torsion (degrees)."""
    t = np.radians(angle)
    flat = np.array([[0.4, 1.3, 0], [0, 0, 0], [1.5, 0, 0], [1.9, np.cos(t), np.sin(t)]])
    rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    return flat @ (rotation * np.linalg.det(rotation)).T + rng.normal(size=3)


@exercise("torsion")
def _check_torsion(function: Callable) -> str:
    rng = np.random.default_rng(7)
    for angle in (60.0, -110.0, 165.0, -57.8, 5.0, 100.0):
        points = _four_points(angle, rng)
        a, b, c, d = points
        p, q, r = b - a, c - b, d - c
        bend = np.degrees(np.arccos(_unit(-p) @ _unit(q)))
        sine = np.cross(np.cross(p, q), np.cross(q, r)) @ q  # without division by |q|
        slips = {
            "the sign is lost (arccos gives no negative angles; use arctan2)": abs(angle),
            "the sign is turned": -angle,
            "the angle is in radians": np.radians(angle),
            "it is measured from the other side, 180 degrees off": angle - np.copysign(180, angle),
            "the sine is larger than it should be: divide it by the length of the middle bond": (
                np.degrees(np.arctan2(sine, np.cross(p, q) @ np.cross(q, r)))
            ),
            "only three of the four points are used": bend,
            "sine and cosine are exchanged in arctan2": np.degrees(
                np.arctan2(np.cos(np.radians(angle)), np.sin(np.radians(angle)))
            ),
        }
        if angle > 0:
            del slips["the sign is lost (arccos gives no negative angles; use arctan2)"]
        expect(function, _forms(*points), angle, f"for a torsion of {angle} degrees", slips, 2e-3)
    return "the angle is right, and so is its sign"


# --- Frame ----------------------------------------------------------------------------------------


@exercise("frame")
def _check_frame(function: Callable) -> str:
    rng = np.random.default_rng(8)
    for _ in range(3):
        n, ca, c = rng.normal(size=(3, 3)) * 2
        x, toward = _unit(c - ca), n - ca
        y = _unit(toward - toward @ x * x)
        right = np.stack([x, y, np.cross(x, y)], axis=1)
        along_n = _unit(toward)
        y_n = _unit((c - ca) - (c - ca) @ along_n * along_n)
        sloppy = toward - toward @ x * x
        slips = {
            "the axes are the rows of R; they should be its columns": right.T,
            "the third axis is turned round: a left-handed frame": right * [1, 1, -1],
            "the second vector is not made perpendicular to the first": np.stack(
                [x, along_n, np.cross(x, along_n)], axis=1
            ),
            "the second axis does not have length 1": np.stack(
                [x, sloppy, np.cross(x, sloppy)], axis=1
            ),
            "the axes do not have length 1": np.stack(
                [c - ca, toward - toward @ x * x, np.cross(c - ca, sloppy)], axis=1
            ),
            "the first axis points to N instead of to C": np.stack(
                [along_n, y_n, np.cross(along_n, y_n)], axis=1
            ),
            "the first axis points from C to CA instead of from CA to C": right * [-1, 1, -1],
        }
        case = "for N, CA, C somewhere in space, the matrix R"
        expect(_part(function, 0, case), _forms(n, ca, c), right, case, slips)
        case = "for N, CA, C somewhere in space, the origin t"
        slips = {"N is taken": n, "C is taken": c, "the mean of the atoms": (n + ca + c) / 3}
        slips = {f"{name} instead of CA": point for name, point in slips.items()}
        expect(_part(function, 1, case), _forms(n, ca, c), ca, case, slips)
    return "R is a rotation with the axes as columns, t is CA"


def _part(function: Callable, k: int, case: str) -> Callable:
    """One of the two things that the student's function returns."""

    def part(*args):
        answer = function(*args)
        if answer is None:
            return None
        if not isinstance(answer, tuple | list) or len(answer) != 2:
            raise CheckFailed(
                f"{case}: return two things, R and t; got a {type(answer).__name__}"
                + (f" of length {len(answer)}" if isinstance(answer, tuple | list) else "")
            )
        return answer[k]

    return part


# --- Turning about a bond -------------------------------------------------------------------------


def _turned(points: np.ndarray, origin: np.ndarray, axis: np.ndarray, degrees: float) -> np.ndarray:
    """Points [n, 3], turned about an axis (of any length) through a point."""
    x, t = points - origin, np.radians(degrees)
    along = np.outer(x @ axis, axis)
    return origin + np.cos(t) * x + np.sin(t) * np.cross(axis, x) + (1 - np.cos(t)) * along


@exercise("turn")
def _check_turn(function: Callable) -> str:
    rng = np.random.default_rng(9)
    for degrees in (90.0, -35.0, 120.0):
        points, start, end = rng.normal(size=(4, 3)), *rng.normal(size=(2, 3))
        axis = _unit(end - start)
        away = {
            "the angle is taken for radians": _turned(points, start, axis, np.degrees(degrees)),
            "the sense of rotation is the other one": _turned(points, start, axis, -degrees),
            "the axis goes through the origin of space, not through the bond": _turned(
                points, np.zeros(3), axis, degrees
            ),
            "the axis is not of length 1": _turned(points, start, end - start, degrees),
            "the points are not moved back after the rotation": (
                _turned(points, start, axis, degrees) - start
            ),
        }
        wanted = _turned(points, start, axis, degrees)
        case = f"for 4 points and an angle of {degrees:.0f} degrees"
        forms = [(*form, degrees) for form in _forms(points, start, end)]
        expect(function, forms, wanted, case, away)
    return "points turn about the bond, and only they"


# --- A hairpin ------------------------------------------------------------------------------------

SEQUENCE = "AAAAAGGAAAAA"


def hairpin(phi: np.ndarray, psi: np.ndarray) -> tuple[np.ndarray, float, float]:
    """What the check looks at in a chain of twelve residues with these torsions (degrees).

    Returns:
        Cα distances (Å) of the five pairs 1-12, 2-11, ... 5-8; the shortest distance between atoms
        of residues that are no neighbours; the shortest from Cα to the next but one in a strand.
    """
    positions, mask = ideal_chain(SEQUENCE, phi, psi)
    ca = positions[:, ATOM_INDEX["CA"]]
    pairs = np.linalg.norm(ca[:5] - ca[::-1][:5], axis=-1)
    residue = np.argwhere(mask > 0)[:, 0]
    atoms = positions[mask > 0]
    distance = np.linalg.norm(atoms[:, None] - atoms[None], axis=-1)
    nearest = distance[abs(residue[:, None] - residue) > 1].min()
    steps = np.linalg.norm(ca[2:] - ca[:-2], axis=-1)
    return pairs, float(nearest), float(min(steps[:3].min(), steps[-3:].min()))


@exercise("hairpin")
def _check_hairpin(function: Callable) -> str:
    answer = function()
    if not isinstance(answer, tuple | list) or len(answer) != 2:
        raise CheckFailed(f"return two lists of 12 angles, φ and ψ; got a {type(answer).__name__}")
    phi, psi = (to_array(a) for a in answer)
    for name, angles in (("φ", phi), ("ψ", psi)):
        if angles is None or angles.shape != (12,) or not np.isfinite(angles).all():
            shape = "no numbers" if angles is None else f"shape {angles.shape}"
            raise CheckFailed(f"{name} has to be 12 angles in degrees, one a residue; got {shape}")
    if max(abs(phi).max(), abs(psi).max()) <= 2 * np.pi:
        raise CheckFailed("all angles are below 6.3; are they in radians? degrees are wanted")
    pairs, nearest, step = hairpin(phi, psi)
    told = ", ".join(f"{pair:.1f}" for pair in pairs)
    told = f"the five pairs are {told} Å apart, mean {pairs.mean():.2f}"
    if step < 6.0:
        raise CheckFailed(
            f"the strands are not stretched: a Cα is {step:.2f} Å from the next but one, "
            f"at least 6 Å is wanted; {told}"
        )
    if nearest < 2.5:
        raise CheckFailed(
            f"two atoms clash: {nearest:.2f} Å apart, at least 2.5 Å is wanted; {told}"
        )
    if pairs.mean() > 6.0:
        raise CheckFailed(f"the strands do not lie side by side: {told}, the target is 6.0")
    return told
