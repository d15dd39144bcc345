"""Relaxation: what is broken gets mended, what is whole stays, and the rest is refused."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import biotite.structure as struc
import biotite.structure.io as strucio
import gemmi
import numpy as np
import pytest

from minifold.cli import main
from minifold.data.residues import ATOM37_MASK, ATOM_INDEX
from minifold.data.structures import Chain, read_structure, write_structure
from minifold.errors import BadInput
from minifold.physics import relax as relaxing
from minifold.physics.relax import count, relax, violations_of

STRUCTURES = Path(__file__).parent.parent / "data" / "structures"
N, CA, C, CB = (ATOM_INDEX[name] for name in ("N", "CA", "C", "CB"))
NONE = {"connection": 0, "clash": 0, "within": 0, "any": 0}


@pytest.fixture(scope="module")
def trp_cage() -> Chain:
    return read_structure(STRUCTURES / "1l2y.cif")


def shaken(chain: Chain, stddev: float) -> Chain:
    """Every atom moved at random."""
    noise = np.random.default_rng(0).normal(0, stddev, chain.positions.shape)
    moved = chain.positions + noise * chain.mask[..., None]
    return replace(chain, positions=moved.astype(np.float32))


def without(chain: Chain, residues: slice | list[int], atoms=slice(None)) -> Chain:
    mask = chain.mask.copy()
    mask[residues, atoms] = 0
    return replace(chain, mask=mask, positions=chain.positions * mask[..., None])


def test_a_broken_structure_is_mended_near_to_where_it_was(trp_cage):
    broken = shaken(trp_cage, 0.2)
    result = relax(broken, seed=3)
    assert result.before["connection"] > 10 and result.before["within"] > 10
    assert result.after == NONE == count(violations_of(result.chain))
    # an independent look: textbook bond lengths, and nothing that is not bonded within 2 Å
    x = result.chain.positions
    assert np.abs(np.linalg.norm(x[:-1, C] - x[1:, N], axis=-1) - 1.335).max() < 0.05
    assert np.abs(np.linalg.norm(x[:, N] - x[:, CA], axis=-1) - 1.46).max() < 0.05
    atoms = result.chain.mask > 0
    apart = np.abs(np.subtract.outer(*[np.nonzero(atoms)[0]] * 2)) > 1
    assert np.linalg.norm(x[atoms][:, None] - x[atoms][None], axis=-1)[apart].min() > 2.5
    # near
    moved = np.sqrt(((x[:, CA] - broken.positions[:, CA]) ** 2).sum(-1).mean())
    assert result.rmsd_ca == pytest.approx(moved, abs=1e-4) and moved < 0.5
    assert result.mirrored == 0 and result.rounds == 1
    np.testing.assert_array_equal(result.chain.mask, broken.mask)
    # the same again
    np.testing.assert_array_equal(relax(broken, seed=3).chain.positions, x)


def test_a_good_structure_stays(trp_cage):
    result = relax(trp_cage)
    assert result.before == result.after == NONE
    assert result.rmsd_ca < 0.1 and result.released == 0
    assert result.energy < -500


def test_missing_atoms_come_back(trp_cage):
    bare = without(trp_cage, slice(None), slice(5, None))
    result = relax(bare)
    expected = ATOM37_MASK[trp_cage.aatype]
    expected[-1, ATOM_INDEX["OXT"]] = 1
    np.testing.assert_array_equal(result.chain.mask, expected)
    assert result.after == NONE


def test_a_gap_is_not_closed_and_has_no_atoms(trp_cage):
    gap = without(trp_cage, slice(8, 11))
    result = relax(gap)
    assert not result.chain.mask[8:11].any() and not result.chain.positions[8:11].any()
    ends = [np.linalg.norm(c.positions[7, C] - c.positions[11, N]) for c in (gap, result.chain)]
    assert abs(ends[1] - ends[0]) < 0.5 and ends[0] > 3
    assert result.chain.mask[7, ATOM_INDEX["OXT"]] == 1, "each piece has ends of its own"


def chain_through_a_ring(trp_cage: Chain) -> Chain:
    """Asp9 to Ser13, and Leu2-Tyr3 moved so that the bond Gly10-Gly11 runs through Tyr's ring."""

    def axes(x, y):
        x = x / np.linalg.norm(x)
        y = y - y @ x * x
        y = y / np.linalg.norm(y)
        return np.stack([x, y, np.cross(x, y)], axis=1)

    names = ("CG", "CD1", "CE1", "CZ", "CE2", "CD2")
    ring = trp_cage.positions[2, [ATOM_INDEX[name] for name in names]]
    centre = ring.mean(0)
    ours = axes(np.cross(ring[0] - centre, ring[1] - centre), ring[0] - centre)
    bond = trp_cage.positions[10, N], trp_cage.positions[9, C]
    middle = sum(bond) / 2
    theirs = axes(bond[0] - bond[1], middle - trp_cage.positions[8:13, CA].mean(0))
    moved = (trp_cage.positions[1:3] - centre) @ ours @ theirs.T + middle
    mask = np.concatenate([trp_cage.mask[8:13], trp_cage.mask[1:3]])
    positions = np.concatenate([trp_cage.positions[8:13], moved]) * mask[..., None]
    return Chain(
        sequence=trp_cage.sequence[8:13] + trp_cage.sequence[1:3],
        positions=positions.astype(np.float32),
        mask=mask,
        residue_index=np.array([0, 1, 2, 3, 4, 20, 21], np.int32),
        b_factors=np.zeros(7, np.float32),
        name="ring",
    )


def test_a_ring_with_a_bond_through_it_is_freed_by_shaking(trp_cage, monkeypatch):
    stuck = chain_through_a_ring(trp_cage)
    results = (relax(stuck, seed=seed) for seed in range(4))  # chance decides
    freed = next(result for result in results if result.after == NONE)
    assert freed.rounds > 1 and 2 <= freed.released < 7
    monkeypatch.setattr(relaxing, "SHAKE", 0.0)
    assert relax(stuck, rounds=3).after["any"], "cutting the springs alone does not help"


def test_what_amber_cannot_describe_is_refused(trp_cage):
    where = np.arange(37)
    for chain, named in [
        (replace(trp_cage, sequence="X" + trp_cage.sequence[1:]), r"residue 1 is unknown \(X\)"),
        (without(trp_cage, [3], where == N), "residue 4 has no atom N"),
        (without(trp_cage, [8, 10]), "residue 10 has no neighbour"),
        (replace(trp_cage, positions=trp_cage.positions * 0), "the very same point"),
        (replace(trp_cage, positions=trp_cage.positions * np.float32(np.nan)), "are not numbers"),
        (replace(trp_cage, positions=trp_cage.positions + np.float32(1e4)), "beyond 9999 Å"),
    ]:
        with pytest.raises(BadInput, match=f"1L2Y: .*{named}"):
            relax(chain)


@pytest.mark.parametrize("missing", ["openmm", "pdbfixer"])
def test_without_openmm_it_says_how_to_install_it(missing, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(SystemExit) as stop:
        main(["relax", str(STRUCTURES / "1l2y.cif"), "--out", str(tmp_path / "x.cif")])
    err = capsys.readouterr().err
    assert stop.value.code == 2 and err.count("\n") == 1
    assert "pip install openmm pdbfixer" in err
    assert not list(tmp_path.iterdir())


def test_ctrl_c_stops_at_once_and_leaves_no_file(tmp_path, monkeypatch, capsys):
    class Interrupted(relaxing.tqdm):
        def update(self, n=1):
            raise KeyboardInterrupt

    monkeypatch.setattr(relaxing, "tqdm", Interrupted)
    with pytest.raises(SystemExit) as stop:
        main(["relax", str(STRUCTURES / "1l2y.cif"), "--out", str(tmp_path / "x.cif")])
    assert stop.value.code == 130
    assert capsys.readouterr().err.endswith("minifold: interrupted\n")
    assert not list(tmp_path.iterdir())


def test_the_command(trp_cage, tmp_path, capsys):
    broken, out = tmp_path / "broken.pdb", tmp_path / "deep" / "relaxed.cif"
    write_structure(shaken(replace(trp_cage, b_factors=np.arange(20) + 60.5), 0.2), broken)
    with pytest.raises(SystemExit) as stop:
        main(["relax", str(broken), "--out", str(out), "--json", "--quiet"])
    assert stop.value.code == 0
    said = json.loads(capsys.readouterr().out)
    assert said["violations_before"]["any"] > 10 and said["violations_after"] == NONE
    residues = gemmi.read_structure(str(out))[0][0]
    assert [residue["CA"][0].b_iso for residue in residues] == list(np.arange(20) + 60.5)
    atoms = strucio.load_structure(str(out))
    assert struc.get_residue_count(atoms) == 20 and "H" not in atoms.element
    bonds = struc.index_distance(
        atoms, np.stack([np.flatnonzero(atoms.atom_name == name) for name in ("CA", "C")], axis=1)
    )
    assert bonds == pytest.approx(1.53, abs=0.04)


def test_bad_files_are_refused_before_the_work(tmp_path, capsys):
    good, cut = str(STRUCTURES / "1l2y.cif"), tmp_path / "cut.cif"
    cut.write_bytes((STRUCTURES / "1l2y.cif").read_bytes()[:3000])
    for argv, named in [
        ((good, "--out", tmp_path / "x.xyz"), ".cif or .pdb"),
        ((cut, "--out", tmp_path / "x.cif"), "cut.cif: not a complete"),
        ((tmp_path / "none.pdb", "--out", tmp_path / "x.cif"), "does not exist"),
        ((tmp_path / "cut.txt", "--out", tmp_path / "x.cif"), "a structure file ends in"),
    ]:
        with pytest.raises(SystemExit) as stop:
            main(["relax", *map(str, argv)])
        err = capsys.readouterr().err
        assert stop.value.code == 2 and err.count("\n") == 1 and named in err, err
    assert [path.name for path in tmp_path.iterdir()] == ["cut.cif"]
