"""The checks of lesson 05 accept every right answer and say what is wrong with a wrong one."""

import numpy as np
import pytest
import torch

from minifold.checks import CheckFailed, check
from minifold.checks.lesson_05 import covariances, squeezed_precision
from minifold.data.residues import RESTYPES
from minifold.data.toyfamilies import FEATURES


def wrong_with(name, answer, message):
    with pytest.raises(CheckFailed, match=message) as caught:
        check(name, answer)
    assert str(caught.value).startswith(f"{name}: ") and "\n" not in str(caught.value)


# --- outer mean -----------------------------------------------------------------------------------


def outer_mean(left, right, mask):
    left, right = left * mask[..., None], right * mask[..., None]
    both = torch.einsum("si,sj->ij", mask, mask)
    return torch.einsum("sic,sjd->ijcd", left, right) / both[:, :, None, None]


def outer_loops(left, right, mask):  # wants lists
    n = len(left[0])
    answer = [[None] * n for _ in range(n)]
    for i in range(n):
        for j in range(n):
            tables = [
                np.outer(a[i], b[j]) for a, b, w in zip(left, right, mask) if w[i] == w[j] == 1
            ]
            answer[i][j] = sum(tables) / len(tables)
    return np.array(answer)


def outer_numpy(left, right, mask):
    both = mask.T @ mask
    table = np.tensordot(left * mask[..., None], right * mask[..., None], axes=(0, 0))
    return table.transpose(0, 2, 1, 3) / both[..., None, None]


@pytest.mark.parametrize(
    "answer", [outer_mean, outer_loops, outer_numpy, lambda *a: (outer_mean(*a), "done")]
)
def test_right_outer_mean(answer, capsys):
    check("outer_mean", answer)
    assert capsys.readouterr().out.startswith("✓ outer_mean: ")


def unmasked(left, right, mask):
    return torch.einsum("sic,sjd->ijcd", left, right)


def masked(left, right, mask):
    return unmasked(left * mask[..., None], right * mask[..., None], mask)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (masked, "not divided by the number of sequences"),
        (lambda x, y, w: unmasked(x, y, w) / len(x), "mask is left out"),
        (lambda x, y, w: masked(x, y, w) / len(x), "absent residues count as zeros"),
        (
            lambda x, y, w: unmasked(x, y, w) / (w.T @ w)[..., None, None],
            "absent residues are added in",
        ),
        (
            lambda x, y, w: unmasked(x * w[..., None], y, w) / (w.T @ w)[..., None, None],
            "mask is on the left factor only",
        ),
        (
            lambda x, y, w: masked(x, y, w) / w.sum(0)[:, None, None, None],
            "not by those that have i and j",
        ),
        (lambda *a: outer_mean(*a).transpose(0, 1), "changed places"),
        (
            lambda x, y, w: torch.einsum("ic,jd->ijcd", x.mean(0), y.mean(0)),
            "outer product of the means",
        ),
        (
            lambda x, y, w: outer_mean(x, y, w) - torch.einsum("ic,jd->ijcd", x.mean(0), y.mean(0)),
            "nothing is subtracted",
        ),
        (lambda *a: outer_mean(*a).flatten(-2), r"expected shape \(4, 4, 3, 2\), got \(4, 4, 6\)"),
        (lambda *a: 2 * outer_mean(*a), "for 6 sequences of 4 residues.*largest difference"),
        (lambda x, y: x, "raised TypeError"),
        (lambda *a: None, "returned None"),
    ],
)
def test_wrong_outer_mean(answer, message):
    wrong_with("outer_mean", answer, message)


# --- block ----------------------------------------------------------------------------------------


def block(m, z, row, column, transition, outer, pair):
    m = m + row(m, z)
    m = m + column(m)
    m = m + transition(m)
    z = z + outer(m)
    return m, z + pair(z)


def block_as_dict(m, z, *layers):
    m, z = block(m, z, *layers)
    return {"m": m, "z": z}


def block_in_place(m, z, row, column, transition, outer, pair):
    m += row(m, z)
    for layer in (column, transition):
        m += layer(m)
    z += outer(m)
    z += pair(z)
    return [m, z]


@pytest.mark.parametrize("answer", [block, block_as_dict, block_in_place])
def test_right_block(answer, capsys):
    check("block", answer)
    assert capsys.readouterr().out.startswith("✓ block: ")


def replaced(m, z, row, column, transition, outer, pair):
    m = transition(column(row(m, z)))
    return m, pair(outer(m))


def z_first(m, z, row, column, transition, outer, pair):
    z = z + outer(m)
    m = m + row(m, z)
    m = m + column(m)
    return m + transition(m), z + pair(z)


def old_m(m, z, row, column, transition, outer, pair):
    old = m
    m, _ = block(m, z, row, column, transition, outer, pair)
    z = z + outer(old)
    return m, z + pair(z)


def parallel(m, z, row, column, transition, outer, pair):
    m = m + row(m, z) + column(m) + transition(m)
    z = z + outer(m)
    return m, z + pair(z)


def pair_reads_old(m, z, row, column, transition, outer, pair):
    m, _ = block(m, z, row, column, transition, outer, pair)
    return m, z + outer(m) + pair(z)


def column_first(m, z, row, column, transition, outer, pair):
    m = m + column(m)
    m = m + row(m, z)
    m = m + transition(m)
    z = z + outer(m)
    return m, z + pair(z)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (replaced, "new m for 3 sequences of 4 residues.*each layer replaces m"),
        (z_first, "z is updated before the row attention has read it"),
        (old_m, "new z.*of the old m, before the attentions"),
        (parallel, "instead of following each other"),
        (pair_reads_old, "pair reads the old z"),
        (column_first, "the column comes before the row"),
        (lambda m, z, *a: block(m, z, *a)[::-1], "in the other order"),
        (lambda m, z, *a: block(m, z, *a)[0], "return two things, m and z; got a Tensor"),
        (lambda m, z, *a: None, "got a NoneType"),
        (lambda m, z, *a: (m, z), "new m.*largest difference"),
        (lambda m, z: (m, z), "raised TypeError"),
    ],
)
def test_wrong_block(answer, message):
    wrong_with("block", answer, message)


# --- squeeze --------------------------------------------------------------------------------------

HYDROPATHY, CHARGE = FEATURES[:, 2].numpy(), FEATURES[:, 0].numpy()


def test_right_squeeze(capsys):
    check("squeeze", lambda: np.stack([HYDROPATHY, CHARGE], axis=1))
    assert capsys.readouterr().out.startswith("✓ squeeze: a mean precision of 0.9")
    check("squeeze", lambda: FEATURES[:, [1, 4]])  # a tensor: size, polar
    check("squeeze", lambda: np.stack([HYDROPATHY, CHARGE], axis=1).tolist())


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda: np.random.default_rng(0).normal(size=(20, 2)), r"precision of 0\.\d\d.*0.75"),
        (lambda: np.stack([np.arange(20) * 100, CHARGE], axis=1), "drowns it; scale both"),
        (lambda: np.ones((20, 2)), "nothing can vary together"),
        (lambda: np.stack([HYDROPATHY, CHARGE]), r"shape is \(2, 20\); return one row"),
        (lambda: HYDROPATHY, r"shape \(20, 2\); got shape \(20,\)"),
        (lambda: FEATURES.numpy() * np.nan, r"got shape \(20, 5\)"),
        (lambda: np.full((20, 2), np.nan), "no finite numbers"),
        (lambda: None, "got a NoneType"),
        (lambda x: x, "raised TypeError"),
    ],
)
def test_wrong_squeeze(answer, message):
    wrong_with("squeeze", answer, message)


def test_the_lesson_says_the_truth_about_squeezing():
    """All letters 0.9, random matrices 0.35; the order of rows is that of RESTYPES."""
    assert "".join(RESTYPES) == "ARNDCQEGHILKMFPSTWYV"
    assert abs(squeezed_precision(np.eye(20)) - 0.9) < 0.03
    random = [squeezed_precision(np.random.default_rng(k).normal(size=(20, 2))) for k in range(8)]
    assert abs(np.mean(random) - 0.35) < 0.05 and max(random) < 0.65
    tables, chains = covariances()
    assert tables.shape == (12, 32, 32, 20, 20) and len(chains) == 12
