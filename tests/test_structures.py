"""Structure files: what gemmi's view of them becomes, and what is refused."""

import csv
import gzip
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minifold.data.residues import ATOM37_MASK, ATOM_INDEX, RESTYPES
from minifold.data.structures import Chain, read_structure, write_structure
from minifold.errors import BadInput

N, CA, C, SD = (ATOM_INDEX[name] for name in ("N", "CA", "C", "SD"))
DATA = Path(__file__).parent.parent / "data" / "structures"


def atom(
    name: str,
    residue: str,
    number: int,
    xyz=(1.0, 2.0, 3.0),
    *,
    altloc=" ",
    chain="A",
    icode=" ",
    occupancy=1.0,
    record="ATOM",
) -> str:
    """One line of a PDB file."""
    x, y, z = xyz
    element = "SE" if name == "SE" else name[0]
    label = f"{name:<4}" if len(name) == 4 or element == "SE" else f" {name:<3}"
    return (
        f"{record:<6}{1:>5} {label}{altloc}{residue:>3} {chain}{number:>4}{icode}   "
        f"{x:8.3f}{y:8.3f}{z:8.3f}{occupancy:6.2f}{10:6.2f}          {element:>2}\n"
    )


def residue(name: str, number: int, x: float = 0.0, **options) -> str:
    """Backbone atoms of one residue, 3.8 Å per residue along x."""
    places = {"N": -1.2, "CA": 0.0, "C": 1.4, "O": 1.5}
    return "".join(
        atom(a, name, number, (3.8 * number + dx, x, dx), **options) for a, dx in places.items()
    )


def pdb(tmp_path: Path, *lines: str, name: str = "x.pdb") -> Path:
    path = tmp_path / name
    path.write_text("".join(lines) + "END\n")
    return path


# --- What is read ---------------------------------------------------------------------------------


def test_altlocs_give_one_conformer_by_occupancy(tmp_path):
    path = pdb(
        tmp_path,
        residue("ALA", 1),
        residue("ALA", 2, 1.0, altloc="A", occupancy=0.4),
        residue("ALA", 2, 2.0, altloc="B", occupancy=0.6),
        residue("ALA", 3, 1.0, altloc="A", occupancy=0.5),
        residue("ALA", 3, 2.0, altloc="B", occupancy=0.5),
        residue("ALA", 4, 1.0, altloc="A", occupancy=0.7),
        residue("ALA", 4, 2.0, altloc="B", occupancy=0.3),
    )
    chain = read_structure(path)
    # B, then B again because residue 3 is a tie, then A; every atom of a residue from the same
    np.testing.assert_allclose(chain.positions[:, :3, 1], [[0] * 3, [2] * 3, [2] * 3, [1] * 3])
    np.testing.assert_array_equal(chain.mask[:, :5].sum(1), [4] * 4)


def test_a_conformer_borrows_missing_backbone_but_no_side_chain(tmp_path):
    path = pdb(
        tmp_path,
        residue("SER", 1, 1.0, altloc="A", occupancy=0.4),
        atom("OG", "SER", 1, altloc="A", occupancy=0.4),
        atom("CB", "SER", 1, (9, 9, 9), altloc="B", occupancy=0.6),
    )
    chain = read_structure(path)
    assert chain.mask[0, CA] == 1 and chain.mask[0, ATOM_INDEX["OG"]] == 0
    np.testing.assert_allclose(chain.positions[0, ATOM_INDEX["CB"]], [9, 9, 9])


def test_microheterogeneity_takes_the_residue_of_highest_occupancy(tmp_path):
    path = pdb(
        tmp_path,
        residue("GLY", 1),
        residue("SER", 2, 1.0, altloc="A", occupancy=0.3),
        residue("THR", 2, 2.0, altloc="B", occupancy=0.7),
        residue("GLY", 3),
    )
    chain = read_structure(path)
    assert chain.sequence == "GTG"
    assert chain.positions[1, CA, 1] == 2


def test_insertion_codes_are_residues_of_their_own(tmp_path):
    path = pdb(
        tmp_path,
        residue("GLY", 52),
        residue("ALA", 52, 1.0, icode="A"),
        residue("SER", 52, 2.0, icode="B"),
        residue("VAL", 53),
        residue("TRP", 58),
    )
    chain = read_structure(path)
    assert chain.sequence == "GASVW"
    np.testing.assert_array_equal(np.diff(chain.residue_index), [1, 1, 1, 5])


def test_seqres_gives_the_residues_that_were_not_seen(tmp_path):
    path = pdb(
        tmp_path,
        "SEQRES   1 A    7  MET GLY ALA SER VAL TRP LYS\n",
        residue("ALA", 3),
        residue("SER", 4),
        residue("TRP", 6),
    )
    chain = read_structure(path)
    assert chain.sequence == "MGASVWK"
    np.testing.assert_array_equal(chain.mask[:, CA], [0, 0, 1, 1, 0, 1, 0])
    np.testing.assert_array_equal(chain.residue_index, np.arange(7))


def test_modified_residues_become_their_parents(tmp_path):
    path = pdb(
        tmp_path,
        residue("ALA", 1),
        residue("MSE", 2, record="HETATM"),
        atom("SE", "MSE", 2, (5, 6, 7), record="HETATM"),
        residue("SEP", 3, record="HETATM"),
        atom("P", "SEP", 3, record="HETATM"),
        residue("ALA", 4),
    )
    chain = read_structure(path)
    assert chain.sequence == "AMSA"
    np.testing.assert_allclose(chain.positions[1, SD], [5, 6, 7])
    assert chain.mask[2].sum() == 4  # the phosphorus has no place in a serine


def test_models_and_chains(tmp_path):
    one, two = residue("ALA", 1), residue("TRP", 2, 5.0, chain="B")
    moved = residue("ALA", 1, 9.0)
    path = pdb(
        tmp_path, "MODEL        1\n", one, two, "ENDMDL\nMODEL        2\n", moved, "ENDMDL\n"
    )
    assert read_structure(path).sequence == "A"
    assert read_structure(path, chain="B").sequence == "W"
    assert read_structure(path, model=1).positions[0, CA, 1] == 9
    with pytest.raises(BadInput, match="has 2 models.* no model 2"):
        read_structure(path, model=2)
    with pytest.raises(BadInput, match="no chain Q; choose one of the protein chains: A, B"):
        read_structure(path, chain="Q")


def test_coordinates_that_are_not_numbers_are_not_there(tmp_path):
    text = (DATA / "1l2y.cif").read_text()
    path = tmp_path / "x.cif"
    path.write_text(text.replace(" -8.608 3.135 -1.618 ", " nan ? . "))
    chain = read_structure(path)
    assert chain.mask[0, CA] == 0 and chain.mask[0, N] == 1
    assert np.isfinite(chain.positions).all()


def test_gzipped_files(tmp_path):
    path = tmp_path / "x.cif.gz"
    path.write_bytes(gzip.compress((DATA / "1crn.cif").read_bytes()))
    assert read_structure(path).sequence == read_structure(DATA / "1crn.cif").sequence


def test_label_names(shared_data):
    chain = read_structure(shared_data / "mmcif_quirks" / "1a4w.cif", chain="B")
    assert chain.chain_id == "H"  # B is its label name, no author name


# --- What is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, text, says",
    [
        ("x.cif", "", "not a complete cif file"),
        ("x.pdb", "", "has no atoms"),
        ("x.cif", ">q\nACD\n", "not a complete cif file"),
        ("x.pdb", ">q\nACD\n", "has no atoms"),
        ("x.cif", "data_X\n_cell.length_a 1\n", "has no atoms"),
        ("x.pdb", "data_X\n_cell.length_a 1\n", "pdb"),
        ("x.txt", "", "a structure file ends in .cif"),
        ("x.cif", bytes(range(256)), "not a complete cif file"),
        ("x.pdb", bytes(range(256)) * 9, "has no atoms"),
        ("x.pdb", atom("N", "ALA", 1) + atom("C", "ALA", 1), "has no CA atoms"),
        ("x.pdb", atom("O", "HOH", 1, record="HETATM"), "no protein chain (no polymer)"),
        ("x.pdb", residue("ALA", 1)[:-40], "not a complete pdb file"),
        ("x.pdb", residue("ALA", 1).encode().replace(b"ALA A", b"ALA \xff"), "not text"),
    ],
)
def test_bad_files_say_what_is_wrong(tmp_path, name, text, says):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(BadInput) as error:
        read_structure(path)
    message = str(error.value)
    assert says in message and message.startswith(str(path)) and "\n" not in message


def test_missing_files(tmp_path):
    with pytest.raises(BadInput, match="does not exist"):
        read_structure(tmp_path / "nothing.cif")
    (tmp_path / "folder.cif").mkdir()
    with pytest.raises(BadInput, match="is not a file"):
        read_structure(tmp_path / "folder.cif")


@pytest.mark.parametrize("share", np.linspace(0.02, 0.98, 25))
def test_truncated_files_raise_bad_input_or_give_a_part(tmp_path, share):
    """Cut anywhere, a file never gives a traceback; what can still be read is a true part."""
    whole = read_structure(DATA / "1crn.cif")
    write_structure(whole, tmp_path / "whole.pdb")
    for source in (DATA / "1crn.cif", tmp_path / "whole.pdb"):
        path = tmp_path / f"cut{source.suffix}"
        text = source.read_text()
        path.write_text(text[: int(share * len(text))])
        try:
            part = read_structure(path)
        except BadInput as error:
            assert "\n" not in str(error)
        else:
            assert part.sequence == whole.sequence
            np.testing.assert_allclose(
                part.positions, whole.positions * part.mask[..., None], atol=2e-3
            )


# --- Writing --------------------------------------------------------------------------------------


def random_chain(seed: int, length: int, gaps: bool, seen: float) -> Chain:
    rng = np.random.default_rng(seed)
    aatype = rng.integers(0, 21, length)
    backbone = np.isin(np.arange(37), [ATOM_INDEX[a] for a in ("N", "CA", "C", "O")])
    mask = np.where(aatype[:, None] == 20, backbone, ATOM37_MASK[aatype])
    mask = mask * (rng.random((length, 1)) < seen)
    mask[0] = backbone
    steps = rng.integers(1, 4, length) if gaps else np.ones(length, int)
    positions = np.cumsum(rng.normal(size=(length, 37, 3)), axis=0) * mask[..., None]
    return Chain(
        sequence="".join((RESTYPES + "X")[a] for a in aatype),
        positions=positions.astype(np.float32),
        mask=mask.astype(np.float32),
        residue_index=(np.cumsum(steps) - steps[0]).astype(np.int32),
        b_factors=(rng.uniform(0, 100, length) * mask[:, CA]).astype(np.float32),
        name="test",
        resolution=2.5,
        method="X-RAY DIFFRACTION",
    )


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 999), st.integers(1, 40), st.booleans(), st.sampled_from([".cif", ".pdb"]))
def test_what_is_written_is_read_again(tmp_path_factory, seed, length, gaps, suffix):
    """Sequence, numbering with gaps, atoms, B-factors; residues without atoms where none miss."""
    chain = random_chain(seed, length, gaps, 1.0)
    path = tmp_path_factory.mktemp("round") / f"x{suffix}"
    write_structure(chain, path)
    again = read_structure(path)
    assert again.sequence == chain.sequence and again.chain_id == "A"
    np.testing.assert_array_equal(again.residue_index, chain.residue_index)
    np.testing.assert_array_equal(again.mask, chain.mask)
    np.testing.assert_allclose(again.positions, chain.positions, atol=6e-4)
    np.testing.assert_allclose(again.b_factors, chain.b_factors, atol=6e-3)
    if suffix == ".cif":
        assert (again.resolution, again.method) == (chain.resolution, chain.method)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 999))
def test_unseen_residues_stay_in_the_sequence(tmp_path_factory, seed):
    chain = random_chain(seed, 30, False, 0.6)
    path = tmp_path_factory.mktemp("round") / "x.cif"
    write_structure(chain, path)
    again = read_structure(path)
    assert again.sequence == chain.sequence
    np.testing.assert_array_equal(again.mask, chain.mask)


def test_other_programs_read_what_is_written(tmp_path):
    import biotite.structure.io.pdbx as pdbx

    chain = random_chain(3, 20, False, 0.8)
    write_structure(chain, tmp_path / "x.cif")
    file = pdbx.CIFFile.read(tmp_path / "x.cif")
    atoms = pdbx.get_structure(file, model=1, extra_fields=["b_factor"])
    assert len(atoms) == chain.mask.sum()
    assert str(pdbx.get_sequence(file)["A"]) == chain.sequence
    seen = atoms[atoms.atom_name == "CA"]
    np.testing.assert_allclose(seen.coord, chain.positions[chain.mask[:, CA] == 1, CA], atol=1e-3)
    np.testing.assert_array_equal(seen.res_id - 1, np.flatnonzero(chain.mask[:, CA]))
    write_structure(chain, tmp_path / "again.cif")
    assert (tmp_path / "x.cif").read_bytes() == (tmp_path / "again.cif").read_bytes()


def test_writing_is_whole_or_not_at_all(tmp_path):
    chain = random_chain(0, 5, False, 1.0)
    with pytest.raises(BadInput, match="written as .cif or .pdb"):
        write_structure(chain, tmp_path / "x.txt")
    (tmp_path / "taken.cif").mkdir()
    with pytest.raises(BadInput, match="cannot be written"):
        write_structure(chain, tmp_path / "taken.cif")
    assert [p.name for p in tmp_path.iterdir()] == ["taken.cif"]
    write_structure(replace(chain, chain_id="LONG"), tmp_path / "x.pdb")
    assert read_structure(tmp_path / "x.pdb").sequence == chain.sequence


# --- Real files -----------------------------------------------------------------------------------


def test_every_quirk_parses(shared_data):
    """All files are proteins: each gives a chain that agrees with its manifest."""
    with (shared_data / "manifest.csv").open() as file:
        rows = {r["file"]: r for r in csv.DictReader(file) if r["file"].startswith("mmcif_quirks")}
    folder = shared_data / "mmcif_quirks"
    files = sorted(p for p in folder.rglob("*") if p.suffix in (".cif", ".pdb"))
    assert len(files) >= 38
    for path in files:
        chain = read_structure(path)
        note = rows[str(path.relative_to(shared_data))]["note"]
        assert set(chain.sequence) <= set(RESTYPES + "X"), path
        assert np.isfinite(chain.positions).all() and np.isfinite(chain.b_factors).all(), path
        assert (np.diff(chain.residue_index) >= 1).all(), path
        if "chains=1 " in note and "microhet" not in note and "edge" not in note:
            observed = int(note.split("aa=")[1].split()[0])
            assert (chain.mask.sum(1) > 0).sum() == observed, path
        if "MSE" in note:
            methionines = np.array(list(chain.sequence)) == "M"
            seen = methionines & (chain.mask[:, CA] == 1)
            assert chain.mask[seen, SD].mean() > 0.9, path
        neighbours = (chain.mask[1:, N] * chain.mask[:-1, ATOM_INDEX["C"]]) == 1
        bond = np.linalg.norm(
            chain.positions[1:, N] - chain.positions[:-1, ATOM_INDEX["C"]], axis=1
        )
        if neighbours.sum() > 10:  # conformers fit together
            assert (np.abs(bond[neighbours] - 1.33) < 0.2).mean() > 0.97, path


def test_quirks_agree_with_prepared_chains(shared_data):
    """The same entry as one clean chain: same residues, same coordinates."""
    compared = 0
    for path in sorted((shared_data / "mmcif_quirks").glob("*.cif")):
        for clean in (shared_data / "chains_full_atom" / "experimental").glob(
            f"{path.stem[:4]}_*.pdb"
        ):
            wanted = read_structure(clean)
            try:
                found = read_structure(path, chain=clean.stem[5:])
            except BadInput:
                continue
            seen = found.mask[:, CA] == 1
            letters = "".join(np.array(list(found.sequence))[seen])
            known = wanted.mask[:, CA] == 1
            assert letters == "".join(np.array(list(wanted.sequence))[known]), clean
            gap = np.linalg.norm(found.positions[seen, CA] - wanted.positions[known, CA], axis=1)
            assert np.median(gap) < 1e-3, clean
            compared += 1
    assert compared >= 8


def test_hydrogens_and_deuterium_are_left_out(shared_data):
    chain = read_structure(shared_data / "mmcif_quirks" / "5pti.cif")
    assert chain.mask.sum() == read_structure(DATA / "1bpi.cif").mask.sum()


def test_nucleic_acids_are_refused(shared_data):
    path = shared_data / "mmcif_quirks" / "1lcd.cif"
    with pytest.raises(BadInput, match="chain B is DNA, not protein; .* protein chains: A"):
        read_structure(path, chain="B")
    assert read_structure(path).chain_id == "A"  # not the first chain, but the first protein


def test_caps_are_no_residues(shared_data):
    assert read_structure(shared_data / "mmcif_quirks" / "1as5.cif").sequence[-1] == "R"
