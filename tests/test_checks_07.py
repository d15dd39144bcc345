"""The checks of lesson 07 accept every right answer and say what is wrong with a wrong one."""

import math

import numpy as np
import pytest
import torch

from minifold.checks import CheckFailed, check
from minifold.checks.lesson_07 import hairpin
from minifold.model.atoms import atom37_to_torsions
from minifold.model.rigid import Rigid


def wrong_with(name, answer, message):
    with pytest.raises(CheckFailed, match=message) as caught:
        check(name, answer)
    assert str(caught.value).startswith(f"{name}: ") and "\n" not in str(caught.value)


def unit(v):
    return v / np.linalg.norm(v)


# --- torsion --------------------------------------------------------------------------------------


def torsion(sign=1, shift=0.0, out=np.degrees, middle=None, clever=None):
    def answer(a, b, c, d):
        a, b, c, d = (np.asarray(x, dtype=float) for x in (a, b, c, d))
        p, q, r = b - a, c - b, d - c
        n1, n2 = np.cross(p, q), np.cross(q, r)
        if clever:
            return clever(p, q, r, n1, n2)
        x, y = n1 @ n2, np.cross(n1, n2) @ (middle or unit)(q)
        return out(np.arctan2(sign * y, x) + shift)

    return answer


def between(u, v):
    return np.degrees(np.arccos(unit(u) @ unit(v)))


def exchanged(p, q, r, n1, n2):
    return np.degrees(np.arctan2(n1 @ n2, np.cross(n1, n2) @ unit(q)))


def torsion_by_projection(a, b, c, d):  # tensors only
    q = (c - b) / (c - b).norm()
    v, w = a - b, d - c
    v, w = v - (v @ q) * q, w - (w @ q) * q
    return torch.rad2deg(torch.atan2(torch.linalg.cross(q, v) @ w, v @ w))


def torsion_by_frame(a, b, c, d):
    a, b, c, d = (x.double() for x in (a, b, c, d))
    _, y, z = Rigid.from_axes(c - b, a - c, c).invert_apply(d)
    return torch.rad2deg(torch.atan2(z, y)).item()


def torsion_of_lists(a, b, c, d):
    assert isinstance(a, list)
    sub = lambda u, v: [x - y for x, y in zip(u, v)]  # noqa: E731
    dot = lambda u, v: sum(x * y for x, y in zip(u, v))  # noqa: E731
    p, q, r = sub(b, a), sub(c, b), sub(d, c)
    cross = lambda u, v: [  # noqa: E731
        u[1] * v[2] - u[2] * v[1],
        u[2] * v[0] - u[0] * v[2],
        u[0] * v[1] - u[1] * v[0],
    ]
    n1, n2 = cross(p, q), cross(q, r)
    return math.degrees(math.atan2(dot(p, n2) * math.sqrt(dot(q, q)), dot(n1, n2)))


@pytest.mark.parametrize(
    "answer", [torsion(), torsion_by_projection, torsion_by_frame, torsion_of_lists]
)
def test_right_torsion(answer, capsys):
    check("torsion", answer)
    assert capsys.readouterr().out.startswith("✓ torsion: ")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (torsion(sign=-1), "sign is turned"),
        (torsion(out=float), "in radians"),
        (torsion(shift=np.pi), "180 degrees off|expected"),
        (torsion(middle=lambda q: q), "middle bond"),
        (torsion(clever=lambda p, q, r, m, n: between(m, n)), "sign is lost"),
        (torsion(clever=lambda p, q, r, m, n: between(-p, q)), "three of"),
        (torsion(clever=exchanged), "exchanged"),
        (lambda a, b, c, d: None, "returned None"),
        (lambda a, b, c, d: a, "expected shape"),
    ],
)
def test_wrong_torsion(answer, message):
    wrong_with("torsion", answer, message)


# --- frame ----------------------------------------------------------------------------------------


def frame(n, ca, c, change=lambda R, t: (R, t)):
    n, ca, c = (np.asarray(x, dtype=float) for x in (n, ca, c))
    x = unit(c - ca)
    y = unit((n - ca) - ((n - ca) @ x) * x)
    return change(np.stack([x, y, np.cross(x, y)], axis=-1), ca)


def frame_by_cross_products(n, ca, c):  # tensors
    x = (c - ca) / (c - ca).norm()
    z = torch.linalg.cross(x, n - ca)
    z = z / z.norm()
    return torch.stack([x, torch.linalg.cross(z, x), z]).T, ca


def frame_of_the_package(n, ca, c):
    T = Rigid.from_3_points(n, ca, c)
    return T.R, T.t


@pytest.mark.parametrize(
    "answer",
    [
        frame,
        frame_by_cross_products,
        frame_of_the_package,
        lambda *a: list(frame(*a)),
        lambda *a: (frame(*a)[0].tolist(), frame(*a)[1].tolist()),
    ],
)
def test_right_frame(answer):
    check("frame", answer)


def bad(change):
    return lambda n, ca, c: frame(n, ca, c, change)


def not_perpendicular(n, ca, c):
    x, y = unit(c - ca), unit(n - ca)
    return np.stack([x, y, np.cross(x, y)], axis=-1), ca


def not_unit(n, ca, c):
    x = c - ca
    y = (n - ca) - ((n - ca) @ x) / (x @ x) * x
    return np.stack([x, y, np.cross(x, y)], axis=-1), ca


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (bad(lambda R, t: (R.T, t)), "rows of R"),
        (bad(lambda R, t: (R * [1, 1, -1], t)), "left-handed"),
        (bad(lambda R, t: (R * [-1, 1, -1], t)), "from C to CA"),
        (bad(lambda R, t: (R, 0 * t)), "the origin t: expected"),
        (lambda n, ca, c: (frame(n, ca, c)[0], n), "N is taken instead of CA"),
        (lambda n, ca, c: (frame(n, ca, c)[0], (n + ca + c) / 3), "mean of the atoms instead"),
        (lambda n, ca, c: frame(c, ca, n), "points to N"),
        (not_perpendicular, "not made perpendicular"),
        (not_unit, "do not have length 1"),
        (lambda *a: frame(*a)[0], "two things, R and t; got a ndarray"),
        (lambda *a: None, "returned None"),
    ],
)
def test_wrong_frame(answer, message):
    wrong_with("frame", answer, message)


# --- turn -----------------------------------------------------------------------------------------


def turn(points, start, end, angle, radians=np.radians, about=None, length=unit, back=True):
    points, start, end = (np.asarray(x, dtype=float) for x in (points, start, end))
    k, t = length(end - start), radians(angle)
    here = start if about is None else about
    K = np.array([[0, -k[2], k[1]], [k[2], 0, -k[0]], [-k[1], k[0], 0]])
    R = np.eye(3) + np.sin(t) * K + (1 - np.cos(t)) * K @ K
    return (points - here) @ R.T + here * back


def turn_by_quaternion(points, start, end, angle):
    k = (end - start) / (end - start).norm()
    update = torch.cat([k * math.tan(math.radians(angle) / 2), torch.zeros(3, dtype=k.dtype)])
    return Rigid.from_update(update).apply(points - start) + start


def test_right_turn():
    check("turn", turn)
    check("turn", turn_by_quaternion)
    check("turn", lambda p, s, e, a: [turn([x], s, e, a)[0].tolist() for x in p])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"radians": float}, "taken for radians"),
        ({"radians": lambda a: -np.radians(a)}, "sense of rotation"),
        ({"about": np.zeros(3)}, "origin of space"),
        ({"back": False}, "not moved back"),
    ],
)
def test_wrong_turn(change, message):
    wrong_with("turn", lambda *a: turn(*a, **change), message)


def test_turn_about_an_axis_of_another_length():
    def rodrigues(points, start, end, angle):
        x, k, t = np.asarray(points) - start, np.asarray(end) - start, np.radians(angle)
        along = np.outer(x @ k, k)
        return start + np.cos(t) * x + np.sin(t) * np.cross(k, x) + (1 - np.cos(t)) * along

    wrong_with("turn", rodrigues, "not of length 1")


# --- hairpin --------------------------------------------------------------------------------------

PHI = [-110.0] * 5 + [66, 70] + [-110.0] * 5
PSI = [103.0] * 5 + [57, 14] + [103.0] * 5


def test_right_hairpin(capsys):
    check("hairpin", lambda: (PHI, PSI))
    assert "mean 5." in capsys.readouterr().out
    check("hairpin", lambda: (torch.tensor(PHI), np.array(PSI)))


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ((np.radians(PHI), np.radians(PSI)), "radians"),
        (([-120.0] * 12, [130.0] * 12), "side by side"),
        (([-57.8] * 12, [-47.0] * 12), "not stretched"),
        (([-120.0] * 5 + [60, -80] + [-120.0] * 5, [130.0] * 5 + [-120, 0] + [130.0] * 5), "clash"),
        ((PHI[:5], PSI), "φ has to be 12 angles"),
        ((PHI, "many"), "ψ has to be 12 angles.*no numbers"),
        (PHI, "two lists of 12 angles"),
        (None, "NoneType"),
    ],
)
def test_wrong_hairpin(answer, message):
    wrong_with("hairpin", lambda: answer, message)


def test_hairpin_is_built_from_its_angles():
    pairs, nearest, step = hairpin(np.full(12, -120.0), np.full(12, 130.0))
    assert pairs[0] > 30 and nearest > 2.6 and 6.5 < step < 7


def test_torsions_of_the_check_are_those_of_the_package():
    """IUPAC's sign, seen through a real torsion of the model."""
    from minifold.checks.lesson_07 import _four_points

    points = _four_points(-57.8, np.random.default_rng(0))
    positions, mask = torch.zeros(1, 2, 37, 3), torch.zeros(1, 2, 37)
    positions[0, 0, 2], mask[0, 0, 2] = torch.tensor(points[0]), 1  # C, then N CA C
    positions[0, 1, :3], mask[0, 1, :3] = torch.tensor(points[1:]).float(), 1
    torsions, _, _ = atom37_to_torsions(torch.zeros(1, 2, dtype=torch.long), positions, mask)
    assert math.degrees(torch.atan2(*torsions[0, 1, 1])) == pytest.approx(-57.8, abs=0.01)
