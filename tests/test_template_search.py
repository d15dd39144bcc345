"""Templates: found, aligned, given to the model; and the target is never one of them."""

from __future__ import annotations

import gzip
import shutil
import subprocess
from dataclasses import replace
from functools import partial
from pathlib import Path

import gemmi
import numpy as np
import pytest
import torch

from minifold.data import template_search
from minifold.data.features import make_batch
from minifold.data.msa import TOKEN_LETTERS, Alignment, read_alignment
from minifold.data.residues import ATOM_INDEX, GAP
from minifold.data.structures import (
    Chain,
    cif_text,
    read_structure,
    to_gemmi,
    to_pdb,
    write_structure,
)
from minifold.data.template_search import PROGRAMS, Template, find_templates, with_templates
from minifold.errors import BadInput
from minifold.model.templates import template_pair_features
from tests.conftest import ROOT
from tests.small import SMALL, small_model

STRUCTURES = ROOT / "data" / "structures"
FAMILY = read_alignment(ROOT / "data" / "sample_msas" / "kunitz_1bpi.a3m")
BPTI = read_structure(STRUCTURES / "1bpi.cif")
NAMES = sorted(path.stem for path in STRUCTURES.glob("*.cif"))

hhsuite = pytest.mark.skipif(
    not shutil.which("hhsearch"), reason="hhsearch is not installed (Debian package hhsuite)"
)
programs = pytest.mark.parametrize(
    "program", ["hmmsearch", pytest.param("hhsearch", marks=hhsuite)]
)


find = partial(find_templates, program="hmmsearch")


def relative(row: int) -> Alignment:
    """A member of BPTI's family, alone."""
    return Alignment.from_sequence(letters(row), FAMILY.names[row])


def tagged(row: int) -> Alignment:
    """The same with residues at its start that no relative has."""
    return Alignment.from_sequence("MGSGSGSG" + letters(row), FAMILY.names[row])


def letters(row: int) -> str:
    tokens = FAMILY.tokens[row]
    return "".join(TOKEN_LETTERS[t] for t in tokens[tokens != GAP])


def mutant(mutations: int, name: str = "mutant", chain_id: str = "A") -> Chain:
    """BPTI with some residues replaced, evenly spread."""
    sequence = list(BPTI.sequence)
    for k in np.linspace(3, 54, mutations).astype(int):
        sequence[k] = "A" if sequence[k] != "A" else "S"
    return replace(BPTI, sequence="".join(sequence), name=name, chain_id=chain_id)


def part(chain: Chain, residues: slice) -> Chain:
    whole = ("positions", "mask", "b_factors", "residue_index", "sequence")
    return replace(chain, **{key: getattr(chain, key)[residues] for key in whole})


def write_complex(first: Chain, second: Chain, path: Path) -> None:
    """Two proteins in one file."""
    both, other = to_gemmi(first), to_gemmi(second)
    entity = other.entities[0]
    entity.name = "2"
    for residue in other[0][0]:
        residue.entity_id = "2"
    both[0].add_chain(other[0][0])
    both.entities.append(entity)
    path.write_text(cif_text(both))


# --- Finding and aligning -------------------------------------------------------------------------


@programs
def test_a_relative_is_a_template(program):
    """Seven structures, one relative among them, aligned as in the alignment of the family."""
    for row in (3, 20):
        (found,) = find_templates(relative(row), STRUCTURES, program=program)
        assert found.name == "1bpi_A" and found.path == STRUCTURES / "1bpi.cif"
        there = np.flatnonzero(FAMILY.tokens[row] != GAP)  # the column is BPTI's residue
        assert not FAMILY.deletions[row].any()
        expected = dict(enumerate(there))
        pairs = dict(zip(found.columns, found.places))
        right = sum(expected[column] == place for column, place in pairs.items())
        assert right >= 0.95 * len(expected) and len(pairs) <= len(expected)
        assert 0.9 * len(pairs) < found.expected <= len(pairs)
        assert found.evalue < 1e-6


@programs
def test_a_profile_finds_what_a_sequence_does_not(program, tmp_path):
    """The most distant relatives: a profile of the family reaches further than one member."""
    rng = np.random.default_rng(0)
    sequence = list(BPTI.sequence)
    for k in rng.permutation([k for k in range(58) if BPTI.sequence[k] != "C"])[:44]:
        others = FAMILY.tokens[:, k][FAMILY.tokens[:, k] < 20]
        sequence[k] = TOKEN_LETTERS[rng.choice(others)]
    far = replace(BPTI, sequence="".join(sequence), name="far")
    write_structure(far, tmp_path / "far.cif")
    whole = find_templates(FAMILY, tmp_path, program=program)
    alone = find_templates(FAMILY.take(np.arange(1)), tmp_path, program=program)
    assert [hit.name for hit in whole] == ["far_A"]
    assert not alone or alone[0].evalue > 1e3 * whole[0].evalue


@programs
def test_gaps_on_both_sides(program, tmp_path):
    """The structure lacks five residues of the query and has three of its own."""
    query = relative(3)
    other = replace(mutant(20), name="other")
    keep = np.r_[0:30, 35:58]
    cut = replace(
        other,
        sequence="".join(other.sequence[k] for k in keep),
        positions=other.positions[keep],
        mask=other.mask[keep],
        b_factors=other.b_factors[keep],
        residue_index=np.arange(len(keep), dtype=np.int32),
    )
    write_structure(cut, tmp_path / "cut.cif")
    (found,) = find_templates(
        Alignment.from_sequence(BPTI.sequence), tmp_path, program=program, allow_target=True
    )
    keep_of = dict(enumerate(keep))
    right = [keep_of[p] == c for c, p in zip(found.columns, found.places)]
    assert np.mean(right) > 0.9 and len(right) > 45
    assert (np.diff(found.columns) > 0).all() and (np.diff(found.places) > 0).all()
    assert np.diff(found.columns).max() == 6
    assert query.depth == 1


@programs
def test_the_best_come_first_and_not_more_than_asked_for(program, tmp_path):
    lengths = (35, 58, 40, 50, 45)
    for length in lengths:
        write_structure(part(mutant(12, f"n{length}"), slice(length)), tmp_path / f"{length}.cif")
    query = Alignment.from_sequence(BPTI.sequence)
    found = find_templates(query, tmp_path, program=program)
    assert [hit.name for hit in found] == ["n58_A", "n50_A", "n45_A", "n40_A"]
    every = find_templates(query, tmp_path, 99, program=program)
    assert [hit.name for hit in every[:4]] == [hit.name for hit in found] and len(every) == 5
    # what is said of one template does not depend on the others
    for hit in every[2:3]:
        alone = tmp_path / "alone" / hit.name
        alone.mkdir(parents=True)
        shutil.copy(hit.path, alone)
        (same,) = find_templates(query, alone, program=program)
        assert (hit.places == hit.columns).all() and (same.places == same.columns).all()
        assert abs(len(same.places) - len(hit.places)) <= 2
        assert same.evalue == pytest.approx(hit.evalue / 5, rel=0.1)


@hhsuite
def test_both_programs_agree():
    for row in (60,):
        one, two = (find_templates(relative(row), STRUCTURES, program=p)[0] for p in PROGRAMS)
        pairs = [set(zip(hit.columns.tolist(), hit.places.tolist())) for hit in (one, two)]
        assert len(pairs[0] & pairs[1]) >= 0.9 * min(map(len, pairs))


def test_hhsearch_is_used_where_it_is_installed(monkeypatch):
    used = []
    for name in ("_hhsearch", "_hmmsearch"):
        monkeypatch.setattr(template_search, name, lambda *_, name=name: used.append(name) or [])
    for where in ("/usr/bin/hhsearch", None):
        monkeypatch.setattr(shutil, "which", lambda _, where=where: where)
        find_templates(relative(3))
    assert used == ["_hhsearch", "_hmmsearch"]


def test_what_was_not_seen_is_no_template(tmp_path):
    """Nine residues with coordinates are too few, however many are in the sequence."""
    for seen in (9, 10):
        mask = np.zeros_like(BPTI.mask)
        mask[20 : 20 + seen] = BPTI.mask[20 : 20 + seen]
        folder = tmp_path / str(seen)
        write_structure(replace(mutant(20, "few"), mask=mask), folder / "few.cif")
        assert len(find(FAMILY, folder)) == (seen == 10)


# --- The target is no template --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "program"),
    [*((name, "hmmsearch") for name in NAMES), pytest.param("1bpi", "hhsearch", marks=hhsuite)],
)
def test_no_shipped_protein_is_its_own_template(name, program):
    """And so the batch is what it was without templates: the answer is nowhere in it."""
    chain = read_structure(STRUCTURES / f"{name}.cif")
    query = Alignment.from_sequence(chain.sequence, name)
    found = find_templates(query, STRUCTURES, program=program)
    assert found == []
    batch = make_batch(query, None, SMALL)
    assert with_templates(batch, found) is batch
    assert not [key for key in batch.present() if "template" in key]


def test_the_target_is_there_if_it_is_asked_for():
    (found,) = find(FAMILY, STRUCTURES, allow_target=True)
    np.testing.assert_array_equal(found.places, found.columns)
    batch = with_templates(make_batch(FAMILY, None, SMALL), [found])
    known = batch.template_all_atom_mask[0, 0, :, ATOM_INDEX["CA"]] > 0
    x = batch.template_all_atom_positions[0, 0, known, ATOM_INDEX["CA"]].numpy()
    assert np.abs(x - BPTI.positions[known.numpy(), ATOM_INDEX["CA"]]).max() == 0  # the answer


@pytest.mark.parametrize(
    ("mutations", "refused"), [(0, True), (1, True), (2, True), (3, False), (9, False)]
)
def test_near_copies_are_refused(tmp_path, mutations, refused):
    """2 of 58: 96.6 % identical; 3 of 58: 94.8 %."""
    write_structure(mutant(mutations), tmp_path / "mutant.cif")
    query = Alignment.from_sequence(BPTI.sequence)
    assert (find(query, tmp_path) == []) == refused
    assert (find(FAMILY, tmp_path) == []) == refused
    assert len(find(query, tmp_path, allow_target=True)) == 1


@pytest.mark.parametrize("residues", [slice(0, 40), slice(20, 58), slice(3, 55), slice(5, 58)])
def test_pieces_of_the_target_are_refused(tmp_path, residues):
    """In both directions: the structure is a piece of the target, or the target of it."""
    write_structure(part(BPTI, residues), tmp_path / "piece.cif")
    assert find(Alignment.from_sequence(BPTI.sequence), tmp_path) == []
    query = Alignment.from_sequence(BPTI.sequence[residues])
    assert find(query, STRUCTURES) == []


def test_tags_and_gaps_hide_nothing(tmp_path):
    """A tag on the target or on the structure, residues that were not seen, unknown residues."""
    query = Alignment.from_sequence("MGSSHHHHHHSSGLVPRGSH" + BPTI.sequence)
    assert find(query, STRUCTURES) == []
    ubiquitin = read_structure(STRUCTURES / "1ubq.cif")
    whole = {
        key: np.concatenate([getattr(ubiquitin, key), getattr(BPTI, key)])
        for key in ("positions", "mask", "b_factors")
    }
    fusion = replace(
        BPTI,
        sequence=ubiquitin.sequence + BPTI.sequence,
        residue_index=np.arange(134, dtype=np.int32),
        name="fusion",
        **whole,
    )
    write_structure(fusion, tmp_path / "fusion.cif")
    assert find(Alignment.from_sequence(BPTI.sequence), tmp_path) == []
    (tmp_path / "fusion.cif").unlink()
    # a PDB file without SEQRES has the residues that were seen, and no others
    mask = BPTI.mask.copy()
    mask[[0, 1, 2, 24, 25, 26, 27, 40, 41, 57]] = 0
    lines = to_pdb(replace(BPTI, mask=mask)).splitlines(keepends=True)
    text = "".join(line for line in lines if not line.startswith("SEQRES"))
    (tmp_path / "seen.pdb").write_text(text)
    assert len(read_structure(tmp_path / "seen.pdb").sequence) == 48
    assert find(Alignment.from_sequence(BPTI.sequence), tmp_path) == []
    (tmp_path / "seen.pdb").unlink()
    unknown = "".join("X" if k % 9 == 0 else c for k, c in enumerate(BPTI.sequence))
    write_structure(replace(BPTI, sequence=unknown), tmp_path / "unknown.cif")
    assert find(Alignment.from_sequence(BPTI.sequence), tmp_path) == []


@programs
def test_other_chains_of_the_targets_file_are_refused(tmp_path, program):
    """A second copy (0.1 Å from the first), and a relative that stands beside the target."""
    query = Alignment.from_sequence(BPTI.sequence)
    rng = np.random.default_rng(0)
    shifted = replace(
        BPTI, positions=BPTI.positions + 0.1 * rng.normal(size=BPTI.positions.shape), chain_id="B"
    )
    write_complex(BPTI, shifted, tmp_path / "copies.cif")
    write_complex(mutant(20), replace(BPTI, chain_id="B"), tmp_path / "beside.cif")
    assert find_templates(query, tmp_path, program=program) == []
    write_complex(mutant(20), mutant(25, chain_id="B"), tmp_path / "free.cif")
    found = find_templates(query, tmp_path, program=program)
    assert {hit.path.name for hit in found} == {"free.cif"}
    assert {hit.chain.chain_id for hit in found} == {"A", "B"}
    beside = find_templates(query, tmp_path, 99, True, program)
    assert {hit.path.name for hit in beside} == {"copies.cif", "beside.cif", "free.cif"}


def test_refusals_are_told(tmp_path, capsys):
    packed = tmp_path / "1bpi.cif.gz"
    packed.write_bytes(gzip.compress((STRUCTURES / "1bpi.cif").read_bytes()))
    assert find(FAMILY, tmp_path, quiet=False) == []
    said = capsys.readouterr()
    assert said.out == "" and f"{packed} holds the target or a near copy" in said.err
    find(FAMILY, tmp_path)
    assert capsys.readouterr() == ("", "")


def test_real_structures_of_the_target_are_refused(shared_data):
    """BPTI and crambin are there under other names and in other crystals."""
    quirks = shared_data / "mmcif_quirks"
    files = [quirks / f"{name}.cif" for name in ("5pti", "1crn", "1ubq", "4zey", "1lcd")]
    assert find(FAMILY, files) == []
    (found,) = find(FAMILY, files, allow_target=True)
    assert found.path == quirks / "5pti.cif"
    (found,) = find(relative(3), files)
    assert found.name == "5pti_A"


# --- Features -------------------------------------------------------------------------------------


def test_features_stand_where_the_query_is():
    """Coordinates of the file itself, read by gemmi, at the aligned residues; elsewhere a gap."""
    query = tagged(8)
    (found,) = find(query, STRUCTURES)
    batch = with_templates(make_batch(query, None, SMALL), [found])
    residues = list(gemmi.read_structure(str(STRUCTURES / "1bpi.cif"))[0][0])
    n = len(query.query)
    assert batch.template_aatype.shape == (1, 1, n) and batch.template_mask.tolist() == [[1.0]]
    pairs = dict(zip(found.columns.tolist(), found.places.tolist()))
    assert 0.8 * n < len(pairs) < n
    for column in range(n):
        slots = batch.template_all_atom_mask[0, 0, column]
        positions = batch.template_all_atom_positions[0, 0, column]
        if column not in pairs:
            assert batch.template_aatype[0, 0, column] == GAP
            assert not slots.any() and not positions.any()
            continue
        residue = residues[pairs[column]]
        letter = gemmi.find_tabulated_residue(residue.name).one_letter_code
        assert TOKEN_LETTERS[batch.template_aatype[0, 0, column]] == letter
        atoms = {atom.name: atom.pos.tolist() for atom in residue}
        assert slots.sum() == len(atoms)
        for name, place in atoms.items():
            assert slots[ATOM_INDEX[name]] == 1
            np.testing.assert_allclose(positions[ATOM_INDEX[name]], place, atol=1e-4)


def test_the_pair_features_are_the_templates_distances():
    """Algorithm 16's input: the bin of every Cβ distance, computed here from the chain."""
    (found,) = find(tagged(8), STRUCTURES)
    batch = with_templates(make_batch(tagged(8), None, SMALL), [found])
    f = template_pair_features(
        batch.template_aatype[:, 0],
        batch.template_all_atom_positions[:, 0],
        batch.template_all_atom_mask[:, 0],
        *(3.25, 50.75, 39),
    )[0]
    glycine = [BPTI.sequence[p] == "G" for p in found.places]
    slot = np.where(glycine, ATOM_INDEX["CA"], ATOM_INDEX["CB"])
    beta = BPTI.positions[found.places, slot]
    distance = np.linalg.norm(beta[:, None] - beta[None], axis=-1)
    bins = np.digitize(distance, np.linspace(3.25, 50.75, 39)) - 1
    there = f[found.columns][:, found.columns]
    far = bins >= 0
    np.testing.assert_array_equal(there[..., :39].argmax(-1)[far], bins[far])
    assert (there[..., :39].sum(-1).numpy() == far).all() and there[..., 39].all()
    gone = np.setdiff1d(np.arange(batch.length), found.columns)
    assert len(gone) and not f[gone].any() and not f[:, gone].any()


def test_the_model_sees_templates():
    query, model = tagged(8), small_model(max_msa=8)
    found = find(query, STRUCTURES)
    batch = make_batch(query, None, SMALL)
    other = [replace(found[0], chain=replace(BPTI, positions=BPTI.positions * 1.5))]
    with torch.no_grad():
        plain, one, two = (
            model(with_templates(batch, t), recycles=0).distogram_logits for t in ([], found, other)
        )
    assert not torch.allclose(plain, one, atol=1e-3) and not torch.allclose(one, two, atol=1e-3)


def test_templates_of_another_protein_are_refused():
    found = find(FAMILY, STRUCTURES, allow_target=True)
    batch = make_batch(Alignment.from_sequence("ACDEFGHIKL"), None, SMALL)
    with pytest.raises(BadInput, match="1bpi_A is aligned to another protein"):
        with_templates(batch, found)


# --- Bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        (None, "", "no protein structure in"),
        ("readme.txt", "no structure", "no protein structure in"),
        ("broken.cif", (STRUCTURES / "1ubq.cif").read_text()[:9000], "broken.cif: not a complete"),
        ("empty.pdb", "", "empty.pdb has no atoms"),
        ("packed.cif.gz", "not gzip", "packed.cif.gz: not a complete"),
    ],
)
def test_bad_folders_are_refused(tmp_path, name, text, says):
    if name:
        (tmp_path / name).write_text(text)
    with pytest.raises(BadInput, match=says) as error:
        find(FAMILY, tmp_path)
    assert "\n" not in str(error.value)


def test_missing_folders_queries_and_programs(tmp_path, monkeypatch):
    with pytest.raises(BadInput, match="nowhere is not a folder"):
        find(FAMILY, tmp_path / "nowhere")
    with pytest.raises(BadInput, match="gone.a3m does not exist"):
        find(tmp_path / "gone.a3m", STRUCTURES)
    with pytest.raises(BadInput, match="no program 'blast'; choose one of hhsearch, hmmsearch"):
        find_templates(FAMILY, STRUCTURES, program="blast")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find(relative(3), STRUCTURES)[0].name == "1bpi_A"  # without hhsearch
    with pytest.raises(BadInput, match="hhsearch is not installed; Debian's package is hhsuite"):
        find_templates(FAMILY, STRUCTURES, program="hhsearch")


def test_hhsearch_that_fails(monkeypatch):
    def fail(command, **_):
        raise subprocess.CalledProcessError(1, command, stderr="ERROR:\nno memory\n")

    monkeypatch.setattr(subprocess, "run", fail)
    with pytest.raises(BadInput, match="could not search the structures: ERROR: no memory"):
        find_templates(FAMILY, STRUCTURES, program="hhsearch")


def test_a_chain_that_cannot_be_used_is_left_out(tmp_path):
    """One without CA atoms stands beside a good one."""
    mask = np.zeros_like(BPTI.mask)
    mask[:, ATOM_INDEX["N"]] = BPTI.mask[:, ATOM_INDEX["N"]]
    ghost = replace(read_structure(STRUCTURES / "1ubq.cif"), chain_id="B")
    only_n = ghost.mask.copy()
    only_n[:, ATOM_INDEX["CA"]] = 0
    write_complex(mutant(20), replace(ghost, mask=only_n), tmp_path / "x.cif")
    assert [hit.chain.chain_id for hit in find(FAMILY, tmp_path)] == ["A"]


def test_the_fields_of_a_template():
    """The pipeline keeps templates in a file and builds them anew."""
    assert list(Template.__dataclass_fields__) == (
        "chain path columns places expected evalue".split()
    )
