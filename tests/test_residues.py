"""The tables of amino acids say what chemistry says."""

import numpy as np
import pytest

from minifold.data import residues as r
from minifold.errors import BadInput

# heavy atoms of a residue in a chain, from the chemical formula
HEAVY_ATOMS = dict(
    zip(r.RESTYPES, [5, 11, 8, 8, 6, 9, 9, 4, 10, 8, 8, 9, 8, 11, 7, 6, 7, 14, 12, 7], strict=True)
)


def test_every_residue_has_its_atoms():
    for letter, count in HEAVY_ATOMS.items():
        i = r.RESTYPES.index(letter)
        assert r.ATOM14_MASK[i].sum() == r.ATOM37_MASK[i].sum() == count
        assert len({name for name in r.ATOM14_NAMES[i] if name}) == count
    assert r.ATOM14_MASK[r.UNKNOWN].sum() == 0


def test_atom_maps_are_inverse_and_agree_with_the_names():
    for i in range(20):
        for a, name in enumerate(r.ATOM14_NAMES[i]):
            if name:
                assert r.ATOM_TYPES[r.ATOM14_TO_ATOM37[i, a]] == name
                assert r.ATOM37_TO_ATOM14[i, r.ATOM14_TO_ATOM37[i, a]] == a


def test_frames_are_rotations():
    frames = r.RIGID_GROUP_FRAMES[r.GROUP_MASK > 0][:, :3, :3]
    frames = frames[np.abs(frames).sum((1, 2)) > 0]  # an unknown residue has none
    assert len(frames) == 20 * 2 + int(r.CHI_MASK.sum())
    product = frames @ frames.transpose(0, 2, 1)
    np.testing.assert_allclose(product, np.broadcast_to(np.eye(3), product.shape), atol=1e-6)
    np.testing.assert_allclose(np.linalg.det(frames), 1, atol=1e-6)


def ideal_positions(i: int) -> dict[str, np.ndarray]:
    """All atoms of a residue type with every torsion at 0, by plain matrix products."""
    frames = r.RIGID_GROUP_FRAMES[i].astype(float).copy()
    for group in (5, 6, 7):
        frames[group] = frames[group - 1] @ frames[group]
    return {
        name: (frames[g] @ np.append(x, 1.0))[:3]
        for name, g, x in zip(r.ATOM14_NAMES[i], r.ATOM14_GROUP[i], r.ATOM14_POSITIONS[i])
        if name
    }


def test_ideal_coordinates_have_the_ideal_bond_lengths_and_angles():
    """Two independent tables: the coordinates lie within the tolerance of the bond tables."""
    lower, upper = r.distance_bounds(overlap_tolerance=1.5, stddev_factor=4.0)
    bonded = 0
    for i in range(20):
        at = ideal_positions(i)
        for a, one in enumerate(r.ATOM14_NAMES[i]):
            for b, other in enumerate(r.ATOM14_NAMES[i]):
                if r.RESTYPES[i] == "P" and "CD" in (one, other):
                    continue  # proline's ring does not close when all torsions are 0
                if a < b and one and other and upper[i, a, b] < 1e9:
                    d = np.linalg.norm(at[one] - at[other])
                    assert lower[i, a, b] < d < upper[i, a, b], (r.RESIDUE_NAMES[i], one, other)
                    bonded += 1
    assert bonded > 300


def test_distance_bounds_follow_their_arguments():
    low12, high12 = r.distance_bounds(stddev_factor=12.0)
    low6, high6 = r.distance_bounds(stddev_factor=6.0)
    i, n, ca = r.RESTYPES.index("A"), 0, 1
    assert low12[i, n, ca] == pytest.approx(1.459 - 12 * 0.020, abs=1e-6)
    assert high6[i, n, ca] == pytest.approx(1.459 + 6 * 0.020, abs=1e-6)
    assert (low12 <= low6).all() and (high12 >= high6).all()
    cb, o = 4, 3  # three bonds apart: van der Waals radii
    assert r.distance_bounds(overlap_tolerance=1.0)[0][i, cb, o] == pytest.approx(1.7 + 1.52 - 1.0)
    assert high12[i, cb, o] == 1e10
    for bound in (low12, high12):
        np.testing.assert_array_equal(bound, bound.transpose(0, 2, 1))
        assert (bound[r.UNKNOWN] == 0).all()


def test_chi_torsions_are_chains_of_four_bonded_atoms():
    _, upper = r.distance_bounds(stddev_factor=12.0)
    for i, residue in enumerate(r.RESIDUE_NAMES[:20]):
        for k, names in enumerate(r.CHI_ATOM_NAMES[residue]):
            slots = [r.ATOM14_NAMES[i].index(name) for name in names]
            assert [r.ATOM_TYPES[x] for x in r.CHI_ATOMS[i, k]] == list(names)
            for a, b in zip(slots, slots[1:]):
                assert upper[i, a, b] < 2.5, (residue, names)
            assert r.ATOM14_GROUP[i, slots[3]] == 4 + k  # the fourth atom is what chi moves
    assert r.CHI_MASK.sum(1).tolist()[:5] == [0, 4, 2, 2, 1]


def test_renaming_exchanges_atoms_at_mirror_positions():
    """Turning the last chi of an ambiguous residue by 180 degrees exchanges the two names."""
    assert (r.RENAMING[np.arange(21)[:, None], r.RENAMING] == np.arange(14)).all()
    for i in range(20):
        swapped = np.flatnonzero(r.ATOM14_AMBIGUOUS[i])
        assert bool(len(swapped)) == (r.CHI_PI_PERIODIC[i].sum() == 1) == (r.RESTYPES[i] in "DEFY")
        for a in swapped:
            x, y = r.ATOM14_POSITIONS[i, a], r.ATOM14_POSITIONS[i, r.RENAMING[i, a]]
            np.testing.assert_allclose(x * [1, -1, -1], y, atol=0.02)
            assert r.ATOM14_GROUP[i, a] == 4 + np.flatnonzero(r.CHI_PI_PERIODIC[i])[0]


def test_sequences_there_and_back():
    sequence = r.RESTYPES + "X"
    assert r.sequence_to_aatype(sequence).tolist() == list(range(21))
    assert r.aatype_to_sequence(r.sequence_to_aatype(sequence)) == sequence
    assert r.aatype_to_sequence(r.sequence_to_aatype("AUBZOJ")) == "AXXXXX"


@pytest.mark.parametrize(
    "sequence, says",
    [("ACD1E", "'1' at position 4"), ("", "empty"), ("ac", "'a' at position 1")],
)
def test_alien_letters_are_named(sequence, says):
    with pytest.raises(BadInput, match=says):
        r.sequence_to_aatype(sequence)
    with pytest.raises(BadInput, match="0 to 20"):
        r.aatype_to_sequence(np.array([3, 21]))


def test_alignment_letters():
    tokens = [r.LETTER_TO_TOKEN[x] for x in "ARX-BZUJO"]
    assert tokens == [0, 1, 20, 21, 3, 6, 4, 20, 20]
