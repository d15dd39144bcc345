"""The checks of lesson 08 accept every right answer and say what is wrong with a wrong one."""

import math

import numpy as np
import pytest
import torch

from minifold.checks import CheckFailed, check
from minifold.checks.lesson_08 import bonds_found, fape_properties
from minifold.data.structures import read_structure, structure_files
from minifold.model.rigid import Rigid
from minifold.training.fape import backbone_fape, frame_aligned_point_error
from minifold.training.metrics import lddt, lddt_per_point
from tests.conftest import ROOT


def wrong_with(name, answer, message):
    with pytest.raises(CheckFailed, match=message) as caught:
        check(name, answer)
    assert str(caught.value).startswith(f"{name}: ") and "\n" not in str(caught.value)


# --- point_term -----------------------------------------------------------------------------------


def point_term(place=None, power=2, total=lambda d: d.sum(-1), weight=None):
    def answer(R, t, q, k, gamma):
        R, t, q, k = (torch.as_tensor(np.asarray(x)).double() for x in (R, t, q, k))
        a, b = ((place or default)(R, t, x) for x in (q, k))
        d = (a[:, None] - b[None]).norm(dim=-1) ** power
        w = math.sqrt(2 / (9 * q.shape[1]))
        return (weight or (lambda g, w: -g * w / 2))(gamma, w) * total(d)

    def default(R, t, x):
        return torch.einsum("ixy,ipy->ipx", R, x) + t[:, None]

    return answer


def point_term_by_matrix_product(R, t, q, k, gamma):
    R, t, q, k = (np.asarray(x) for x in (R, t, q, k))
    a, b = (
        (x @ R.transpose(0, 2, 1) + t[:, None, :]).reshape(len(t), -1) for x in (q, k)
    )  # row vectors
    square = (a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * a @ b.T
    return -gamma / 2 * np.sqrt(2 / (9 * q.shape[1])) * square


def point_term_in_loops(R, t, q, k, gamma):
    assert isinstance(R, list)
    n, p = len(q), len(q[0])

    def put(i, x):
        return [sum(R[i][a][b] * x[b] for b in range(3)) + t[i][a] for a in range(3)]

    w = -gamma / 2 * math.sqrt(2 / 9 / p)
    return [
        [w * sum(math.dist(put(i, q[i][m]), put(j, k[j][m])) ** 2 for m in range(p))
         for j in range(n)] for i in range(n)
    ]  # fmt: skip


def point_term_of_the_package(R, t, q, k, gamma):
    T = Rigid(R, t)[:, None]
    square = (T.apply(q)[:, None] - T.apply(k)[None]).square().sum((-1, -2))
    return -gamma * math.sqrt(2 / (9 * q.shape[1])) / 2 * square


@pytest.mark.parametrize(
    "answer",
    [
        point_term(),
        point_term_by_matrix_product,
        point_term_in_loops,
        point_term_of_the_package,
    ],
)
def test_right_point_term(answer, capsys):
    check("point_term", answer)
    assert capsys.readouterr().out.startswith("✓ point_term: ")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (point_term(weight=lambda g, w: g * w / 2), "sign is turned"),
        (point_term(weight=lambda g, w: -1), "γ/2 and w_C are left out"),
        (point_term(weight=lambda g, w: -g * w), "the 2 under γ"),
        (point_term(weight=lambda g, w: -g / 2), "w_C is left out"),
        (point_term(power=1), "not their squares"),
        (point_term(total=lambda d: d.mean(-1)), "mean over the points"),
        (point_term(place=lambda R, t, x: x), "not put into space"),
        (point_term(place=lambda R, t, x: torch.einsum("ixy,ipy->ipx", R, x)), "not shifted"),
        (point_term(place=lambda R, t, x: torch.einsum("iyx,ipy->ipx", R, x) + t[:, None]),
         "R is transposed"),
        (lambda R, t, q, k, g: point_term()(R, t, q, q, g), "compared with themselves"),
        (lambda *a: point_term()(*a).T, "rows and columns"),
        (lambda *a: None, "returned None"),
        (lambda R, t, q, k, g: t, "expected shape"),
    ],
)  # fmt: skip
def test_wrong_point_term(answer, message):
    wrong_with("point_term", answer, message)


def test_gamma_may_be_anything():
    without_gamma = point_term(weight=lambda g, w: -w / 2)
    wrong_with("point_term", without_gamma, "for 3 residues with 1 point and γ = 0.5.*γ is left")


# --- hydrogen_bonds -------------------------------------------------------------------------------

O_SITE, N_SITE = (2.14, 0.0, 0.0), (-0.53, 1.36, 0.0)


def test_right_hydrogen_bonds(capsys):
    check("hydrogen_bonds", lambda: (O_SITE, N_SITE))
    assert capsys.readouterr().out.startswith("✓ hydrogen_bonds: 9")
    check("hydrogen_bonds", lambda: [torch.tensor(O_SITE), np.array(N_SITE)])


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (((0, 0, 0), (0, 0, 0)), "within 0.5 Å of Cα"),
        ((N_SITE, O_SITE), "exchange the two points"),
        (((-5.0, 0, 0), (0, 0, 0)), "the target is 90%"),
        (((0, 0), (0, 0, 0)), "query point has to be three coordinates.*shape"),
        ((O_SITE, "N"), "key point has to be.*no numbers"),
        (O_SITE, "return two points"),
        (None, "return two points"),
    ],
)
def test_wrong_hydrogen_bonds(answer, message):
    wrong_with("hydrogen_bonds", lambda: answer, message)


def test_points_find_hydrogen_bonds_in_real_proteins():
    chains = [
        torch.as_tensor(read_structure(path).positions)
        for path in structure_files(ROOT / "data" / "structures")
    ]
    right, total = bonds_found(torch.tensor(O_SITE), torch.tensor(N_SITE), chains)
    near, _ = bonds_found(torch.zeros(3), torch.zeros(3), chains)
    assert total > 150 and right / total > 0.9 and near / total < 0.65


# --- fape -----------------------------------------------------------------------------------------


def fape(inverse=True, clamp=10.0, unit=10.0, eps=0.0, power=1, late=False, see=None):
    def answer(R, t, x, R_true, t_true, x_true):
        def local(R, t, x):
            if see:
                return see(R, t, x)
            y = x[None] - t[:, None]
            return np.einsum("iyx,ijy->ijx" if inverse else "ixy,ijy->ijx", R, y)

        arrays = (np.asarray(a, dtype=float) for a in (R, t, x, R_true, t_true, x_true))
        R, t, x, R_true, t_true, x_true = arrays
        d = np.sqrt(np.square(local(R, t, x) - local(R_true, t_true, x_true)).sum(-1) + eps)
        d = d**power
        return min(d.mean(), clamp) / unit if late else np.minimum(d, clamp).mean() / unit

    return answer


def fape_of_the_package(R, t, x, R_true, t_true, x_true):
    one, points = torch.ones(len(t)).to(t), torch.ones(len(x)).to(t)
    return frame_aligned_point_error(
        Rigid(R, t), Rigid(R_true, t_true), one, x, x_true, points
    )  # fmt: skip


def fape_in_loops(R, t, x, R_true, t_true, x_true):
    total = 0.0
    for A, a, B, b in zip(R, t, R_true, t_true):
        for p, q in zip(x, x_true):
            mine, right = Rigid(A, a).invert_apply(p), Rigid(B, b).invert_apply(q)
            total += min(10.0, (mine - right).norm().item())
    return total / len(R) / len(x) / 10


@pytest.mark.parametrize("answer", [fape(), fape(eps=1e-4), fape_of_the_package, fape_in_loops])
def test_right_fape(answer):
    check("fape", answer)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (fape(clamp=np.inf), "are not clamped"),
        (fape(late=True), "not clamped|mean is clamped"),
        (fape(unit=1), "in units of 10 Å"),
        (fape(power=2, clamp=np.inf), "errors are squared"),
        (fape(power=2), "squared errors are clamped"),
        (fape(inverse=False), "R is not transposed"),
        (fape(see=lambda R, t, x: np.einsum("ixy,jy->ijx", R, x) + t[:, None]), "not its inverse"),
        (fape(see=lambda R, t, x: np.einsum("iyx,jy->ijx", R, x)), "t is not subtracted"),
        (fape(see=lambda R, t, x: x[None] - t[:, None]), "not turned into the frames"),
        (lambda R, t, x, R2, t2, x2: fape()(R, t, x, R, t, x2), "seen from the predicted frames"),
        (lambda *a: None, "returned None"),
    ],
)
def test_wrong_fape(answer, message):
    wrong_with("fape", answer, message)


# --- lddt -----------------------------------------------------------------------------------------


def my_lddt(cutoffs=(0.5, 1, 2, 4), radius=15.0, diagonal=False, rows=False, by="true"):
    def answer(predicted, true):
        p, t = (torch.as_tensor(np.asarray(x)).double() for x in (predicted, true))
        D, E = torch.cdist(t, t), torch.cdist(p, p)
        pairs = ((D if by == "true" else E) < radius) & (diagonal | ~torch.eye(len(D)).bool())
        kept = torch.stack([(D - E).abs() < c for c in cutoffs]).double().mean(0) * pairs
        if rows:
            return (kept.sum(1) / pairs.sum(1)).mean().item()
        return kept.sum() / pairs.sum().clamp(min=1)

    return answer


def lddt_of_the_package(predicted, true):
    return lddt(predicted[None], true[None], torch.ones(1, len(true)).to(true))[0]


def lddt_of_half_the_pairs(predicted, true):
    return my_lddt()(predicted, true)  # by symmetry i < j would do as well


def lddt_in_loops(predicted, true):
    shares = []
    for i in range(len(true)):
        for j in range(i):
            d = math.dist(true[i], true[j])
            if d < 15:
                off = abs(math.dist(predicted[i], predicted[j]) - d)
                shares.append(sum(off < c for c in (0.5, 1, 2, 4)) / 4)
    return sum(shares) / len(shares)


def raw(predicted, true):
    error = np.linalg.norm(np.asarray(predicted) - np.asarray(true), axis=-1)
    return np.mean([(error < c).mean() for c in (0.5, 1, 2, 4)])


@pytest.mark.parametrize("answer", [my_lddt(), lddt_of_the_package, lddt_in_loops])
def test_right_lddt(answer):
    check("lddt", answer)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (raw, "positions are compared, not distances"),
        (my_lddt(diagonal=True), "a point to itself counts"),
        (my_lddt(radius=1e9), "all pairs count"),
        (my_lddt(by="predicted"), "measured in the prediction"),
        (my_lddt(rows=True), "residues' own scores"),
        (my_lddt(cutoffs=(1,)), "only cutoff is 1 Å"),
        (lambda p, t: 100 * my_lddt()(p, t), "in percent"),
        (lambda p, t: 1 - my_lddt()(p, t), "distances that are lost"),
        (lambda p, t: lddt_per_point(p[None], t[None], torch.ones(1, len(t)).to(t)), "shape"),
        (lambda p, t: None, "returned None"),
    ],
)
def test_wrong_lddt(answer, message):
    wrong_with("lddt", answer, message)


# --- mend -----------------------------------------------------------------------------------------


def training_fape(frame="own", clamp_both=False, masked=True, late=False):
    def answer(T, T_true, mask, use_clamped):
        from_here = T if frame == "predicted" else T_true
        local = T[:, :, None].invert_apply(T.t[:, None])
        local_true = from_here[:, :, None].invert_apply(T_true.t[:, None])
        error = ((local - local_true).square().sum(-1) + 1e-4).sqrt()
        pairs = mask[:, :, None] * mask[:, None, :] if masked else torch.ones_like(error)

        def mean(e):
            return (pairs * e).sum((1, 2)) / pairs.sum((1, 2)) / 10

        clamped = mean(error).clamp(max=1) if late else mean(error.clamp(max=10))
        unclamped = clamped if clamp_both else mean(error)
        return use_clamped * clamped + (1 - use_clamped) * unclamped

    return answer


def package_fape(T, T_true, mask, use_clamped):
    return backbone_fape(Rigid.stack([T]), T_true, mask, use_clamped)


@pytest.mark.parametrize("answer", [training_fape(), package_fape])
def test_right_mend(answer, capsys):
    check("mend", answer)
    assert "equals the package's" in capsys.readouterr().out
    assert all(fape_properties(answer).values())


@pytest.mark.parametrize(
    ("answer", "broken"),
    [
        (training_fape(frame="predicted"), "moved as a whole"),
        (training_fape(clamp_both=True), "not clamped"),
        (training_fape(masked=False), "padding"),
        (training_fape(late=True), "clamped: an error"),
        (lambda T, true, mask, u: 0 * package_fape(T, true, mask, u), "mirror image"),
        (lambda T, true, mask, u: package_fape(T, true, mask, u).mean(), "by itself"),
    ],
)
def test_each_property_finds_its_mistake(answer, broken):
    found = fape_properties(answer)
    assert not next(holds for name, holds in found.items() if broken in name)


def test_wrong_mend():
    every = training_fape("predicted", clamp_both=True, masked=False)
    wrong_with("mend", every, r"not true yet: .*moved.*3 of 7")
    squares = lambda T, true, mask, u: package_fape(T, true, mask, u) ** 1.2  # noqa: E731
    wrong_with("mend", squares, "all properties hold, but")
    wrong_with("mend", lambda T, true, mask: 0, "raised TypeError")
