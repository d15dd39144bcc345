"""A training set of short chains: what gets in, and that nothing in val is like train."""

from __future__ import annotations

import csv
import gzip
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import biotite.sequence as seq
import biotite.sequence.align as align
import numpy as np
import pytest
from pyhmmer import easel, hmmer

from minifold.cli import main
from minifold.data.download import Downloader
from minifold.data.fetch import Sources
from minifold.data.msa import read_fasta
from minifold.data.residues import ATOM_INDEX
from minifold.data.short_chains import build, clusters, identity, split, why_not
from minifold.data.structures import protein_chains, read_structure, to_pdb, write_structure
from minifold.errors import BadInput
from tests.conftest import ROOT
from tests.local_server import Answer, serve

STRUCTURES = ROOT / "data" / "structures"
UBIQUITIN = read_structure(STRUCTURES / "1ubq.cif")


def manifest(folder: Path) -> list[dict[str, str]]:
    with (folder / "manifest.csv").open() as file:
        return list(csv.DictReader(file))


# --- What gets in ---------------------------------------------------------------------------------


def test_shipped_structures_become_a_set(tmp_path):
    made = build(10, tmp_path, STRUCTURES, quiet=True)
    assert made == {
        "files": 7, "chains": 4, "train": 4, "val": 0, "clusters": 4,
        "dropped": {"not X-ray (solution nmr)": 3},
    }  # fmt: skip
    rows = manifest(tmp_path)
    assert [row["id"] for row in rows] == ["1bpi_A", "1crn_A", "1r69_A", "1ubq_A"]
    assert list(rows[0]) == "id chain length resolution method cluster split source".split()
    assert rows[3] == {
        "id": "1ubq_A", "chain": "A", "length": "76", "resolution": "1.80",
        "method": "X-RAY DIFFRACTION", "cluster": "3", "split": "train", "source": "1ubq.cif",
    }  # fmt: skip
    for row in rows:
        written = read_structure(tmp_path / row["split"] / f"{row['id']}.cif")
        original = read_structure(STRUCTURES / row["source"])
        assert written.sequence == original.sequence and len(written.sequence) == int(row["length"])
        np.testing.assert_array_equal(written.mask, original.mask)
        np.testing.assert_allclose(written.positions, original.positions, atol=6e-4)
        assert written.resolution == original.resolution


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({}, None),
        ({"method": "X-RAY DIFFRACTION; NEUTRON DIFFRACTION"}, None),
        ({"method": "SOLUTION NMR"}, "not X-ray (solution nmr)"),
        ({"method": ""}, "not X-ray (method not in the file)"),
        ({"resolution": None}, "resolution not in the file"),
        ({"resolution": 2.5}, None),
        ({"resolution": 2.51}, "resolution worse than 2.5 Å"),
        ({"sequence": "X" * 30 + UBIQUITIN.sequence[30:]}, "less than 80% of the residues"),
    ],
)
def test_reasons_to_leave_a_chain_out(change, reason):
    found = why_not(replace(UBIQUITIN, **change))
    assert found is None if reason is None else found.startswith(reason)


@pytest.mark.parametrize(("length", "fits"), [(29, False), (30, True), (76, True)])
def test_length(length, fits):
    part = replace(
        UBIQUITIN,
        sequence=UBIQUITIN.sequence[:length],
        positions=UBIQUITIN.positions[:length],
        mask=UBIQUITIN.mask[:length],
        residue_index=UBIQUITIN.residue_index[:length],
        b_factors=UBIQUITIN.b_factors[:length],
    )
    assert (why_not(part) is None) == fits


def test_residues_that_were_not_seen_count():
    mask = UBIQUITIN.mask.copy()
    mask[:15, ATOM_INDEX["C"]] = 0  # 61 of 76 are left, 80.3 %
    assert why_not(replace(UBIQUITIN, mask=mask)) is None
    mask[15] = 0
    assert "resolved" in why_not(replace(UBIQUITIN, mask=mask))


def test_files_that_are_broken_or_repeat_others(tmp_path):
    source = tmp_path / "source"
    write_structure(UBIQUITIN, source / "a.cif")
    write_structure(replace(UBIQUITIN, name="copy"), source / "b.cif")
    (source / "broken.cif").write_text("data_x\nloop_\n_atom_site.id\n")
    (source / "notes.txt").write_text("no structure")
    (source / "packed").mkdir()
    (source / "packed" / "1crn.cif.gz").write_bytes(
        gzip.compress((STRUCTURES / "1crn.cif").read_bytes())
    )
    made = build(10, tmp_path / "out", source, quiet=True)
    assert (made["files"], made["chains"]) == (4, 2)
    assert made["dropped"] == {
        "the same sequence as another chain": 1,
        "no protein that can be read": 1,
    }
    assert {row["source"] for row in manifest(tmp_path / "out")} > {"packed/1crn.cif.gz"}


def test_chain_names_that_differ_in_case_only(tmp_path):
    source = tmp_path / "source"
    write_structure(replace(UBIQUITIN, chain_id="a"), source / "1.cif")
    other = replace(read_structure(STRUCTURES / "1crn.cif"), name=UBIQUITIN.name, chain_id="A")
    write_structure(other, source / "2.cif")
    build(10, tmp_path / "out", source, quiet=True)
    ids = [row["id"].lower() for row in manifest(tmp_path / "out")]
    assert len(set(ids)) == 2


def test_refusals(tmp_path):
    with pytest.raises(BadInput, match="is not a folder"):
        build(1, tmp_path / "out", tmp_path / "nothing", quiet=True)
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput, match="none of 0 files has a chain to train on .no files."):
        build(1, tmp_path / "out", tmp_path / "empty", quiet=True)
    assert not (tmp_path / "out").exists()


def test_command_line(tmp_path, capsys):
    arguments = ["fetch", "--short-chains", "2", "--from", str(STRUCTURES), "--out", str(tmp_path)]
    with pytest.raises(SystemExit) as error:
        main([*arguments, "--json"])
    assert error.value.code == 0
    made = json.loads(capsys.readouterr().out)["short_chains"]
    assert made["chains"] == 2 == len(manifest(tmp_path))
    with pytest.raises(SystemExit) as error:
        main(arguments)
    assert error.value.code == 2 and "train is not empty" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*arguments[:-1], str(tmp_path / "other")])
    assert "2 chains from " in capsys.readouterr().out


# --- From the PDB ---------------------------------------------------------------------------------


def test_the_pdb_is_searched_and_entries_are_fetched(tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    entries = ["1bpi", "1crn", "1l2y", "1r69", "1ubq"]
    found = [f"{entry.upper()}_1" for entry in entries] + ["1BPI_7", "9XXX_1"]
    with serve() as server:
        server.answers["/search"] = [Answer(json.dumps({"result_set": found}).encode())]
        for entry in entries:
            data = gzip.compress((STRUCTURES / f"{entry}.cif").read_bytes())
            server.answers[f"/pdb/{entry}.cif.gz"] = [Answer(data)]
        sources = Sources(rcsb=f"{server.url}/pdb", rcsb_search=f"{server.url}/search")
        downloader = Downloader(tmp_path / "cache")
        made = build(10, tmp_path / "all", None, sources, downloader, quiet=True)
        assert made["chains"] == 4 and made["dropped"] == {
            "not X-ray (solution nmr)": 1,
            "no protein that can be read": 1,  # there is no entity 7
            "entry without a file": 1,
        }
        query = json.loads(parse_qs(urlsplit(server.paths()[0]).query)["json"][0])
        build(2, tmp_path / "two", None, sources, downloader, seed=5, quiet=True)
    assert len(manifest(tmp_path / "two")) == 2
    assert manifest(tmp_path / "all")[3]["source"] == f"{sources.rcsb}/1ubq.cif.gz"
    asked = {
        (p["attribute"], p["operator"]): p["value"]
        for p in (node["parameters"] for node in query["query"]["nodes"])
    }
    assert asked["exptl.method", "exact_match"] == "X-RAY DIFFRACTION"
    assert asked["rcsb_entry_info.resolution_combined", "less_or_equal"] == 2.5
    assert asked["entity_poly.rcsb_sample_sequence_length", "less_or_equal"] == 100
    assert query["return_type"] == "polymer_entity"


def test_search_results_come_in_pages(tmp_path, monkeypatch):
    from minifold.data.short_chains import search

    monkeypatch.setenv("no_proxy", "127.0.0.1")
    pages = [[f"{k:04d}_1" for k in range(10_000)], ["9XYZ_1"]]
    with serve() as server:
        server.answers["/search"] = [
            Answer(json.dumps({"result_set": page}).encode()) for page in pages
        ]
        sources = Sources(rcsb_search=f"{server.url}/search")
        assert len(search(sources, Downloader(tmp_path))) == 10_001
        starts = [
            json.loads(parse_qs(urlsplit(path).query)["json"][0])["request_options"]["paginate"]
            for path in server.paths()
        ]
        assert [start["start"] for start in starts] == [0, 10_000]
        server.answers["/search"] = [Answer(b"{}")]
        with pytest.raises(BadInput, match="an answer of unknown form"):
            search(sources, Downloader(tmp_path))


# --- Homology -------------------------------------------------------------------------------------

BLOSUM62 = align.SubstitutionMatrix.std_protein_matrix()


def related(one: str, other: str) -> bool:
    """At least 40 % identical over chains of similar length, by biotite."""
    short, long = sorted((len(one), len(other)))
    pair = [seq.ProteinSequence(letters) for letters in (one, other)]
    best = align.align_optimal(*pair, BLOSUM62, gap_penalty=(-10, -1), max_number=1)[0]
    same = sum(a == b for a, b in zip(*best.get_gapped_sequences()) if a != "-")
    return short >= 0.8 * long and same / short >= 0.4


def hits(queries: list[str], targets: list[str]) -> int:
    """phmmer hits with E < 0.01."""
    amino = easel.Alphabet.amino()
    blocks = [
        easel.DigitalSequenceBlock(
            amino,
            [easel.TextSequence(name=str(k), sequence=s).digitize(amino) for k, s in enumerate(x)],
        )
        for x in (queries, targets)
    ]
    found = hmmer.phmmer(*blocks, cpus=1, E=0.01)
    return sum(hit.evalue < 0.01 for query in found for hit in query)


def families(each: int) -> tuple[list[str], list[str]]:
    """Sequences of five real families, and their shuffled letters, which have no family."""
    rng = np.random.default_rng(0)
    real = []
    for path in sorted((ROOT / "data" / "sequences").glob("*.fasta")):
        letters = [s for _, s in read_fasta(path) if 30 <= len(s) <= 150 and s.isalpha()]
        real += [letters[k] for k in rng.choice(len(letters), each, replace=False)]
    return real, ["".join(rng.permutation(list(s))) for s in real * 3]


def test_clusters_are_families():
    real, shuffled = families(8)
    labels = clusters(real + shuffled)
    family = np.repeat(np.arange(5), 8)
    for label in set(labels[:40].tolist()):
        assert len(set(family[labels[:40] == label])) == 1
    assert not set(labels[:40].tolist()) & set(labels[40:].tolist())
    for k in range(5):  # most of a family is together
        assert Counter(labels[:40][family == k].tolist()).most_common(1)[0][1] >= 4
    assert len(set(labels[40:].tolist())) >= 0.9 * len(shuffled)
    assert labels[0] == 0 and labels.max() == len(set(labels.tolist())) - 1


def test_val_has_nothing_like_train():
    real, shuffled = families(4)
    sequences = real + shuffled[:40]
    labels = clusters(sequences)
    held_out_real = 0
    for seed in range(6):
        held_out = split(labels, np.random.default_rng(seed))
        assert 0.05 * len(labels) <= held_out.sum() <= 0.1 * len(labels)
        assert not set(labels[held_out]) & set(labels[~held_out])
        val = [s for s, out in zip(sequences, held_out) if out]
        train = [s for s, out in zip(sequences, held_out) if not out]
        assert hits(val, train) == hits(train, val) == 0
        assert not any(related(v, t) for v in val for t in train)
        held_out_real += held_out[: len(real)].sum()
    assert held_out_real >= 2
    assert hits(real, real) > len(real)  # there was something to find


def test_identity_agrees_with_another_program():
    one = UBIQUITIN.sequence
    rng = np.random.default_rng(1)
    letters = list("ARNDCQEGHILKMFPSTWYV")
    for share in (0.2, 0.35, 0.45, 0.7, 1.0):
        changed = [c if rng.random() < share else rng.choice(letters) for c in one]
        other = "".join(changed[:30] + changed[33:])
        assert (identity(one, other) >= 0.4) == related(one, other)
    assert identity(one, one) == 1 and identity(one, one[:40]) == 1


def test_related_short_chains_that_phmmer_misses_are_together():
    """Identical here and there, but with no stretch that phmmer starts from."""
    one = UBIQUITIN.sequence[:32]
    change = dict(zip("ARNDCQEGHILKMFPSTWYV", "DPWYHCFVGQRMLNKTSAIE"))
    other = "".join(c if k % 5 in (0, 2) else change[c] for k, c in enumerate(one))
    assert hits([one], [other]) == 0 and identity(one, other) >= 0.4
    assert len(set(clusters([one, other]).tolist())) == 1


def test_a_cluster_is_never_divided():
    labels = np.array([0] * 50 + [1, 2, 3, 4, 4, 5, 6, 6, 6, 7])
    for seed in range(20):
        held_out = split(labels, np.random.default_rng(seed))
        assert 0 < held_out.sum() <= 6 and not held_out[:50].any()
        assert all(len(set(held_out[labels == k])) == 1 for k in range(8))
    assert not split(np.arange(4), np.random.default_rng(0)).any()


# --- Real files -----------------------------------------------------------------------------------


def test_real_files_with_everything_that_breaks_parsers(shared_data, tmp_path):
    made = build(1000, tmp_path, shared_data / "mmcif_quirks", quiet=True)
    rows = manifest(tmp_path)
    assert made["files"] == 38 and made["chains"] == len(rows) >= 10
    assert sum(made["dropped"].values()) + made["chains"] >= 38
    for row in rows:
        chain = read_structure(tmp_path / row["split"] / f"{row['id']}.cif")
        assert why_not(chain) is None
        original = read_structure(shared_data / "mmcif_quirks" / row["source"], row["chain"])
        assert chain.sequence == original.sequence
        np.testing.assert_array_equal(chain.mask, original.mask)
    assert {"1ubq_A", "5pti_A", "4zey_A"} <= {row["id"] for row in rows}
    # crambin is there twice, at two resolutions and with one residue changed: one cluster
    crambin = {row["cluster"] for row in rows if row["id"] in ("1crn_A", "pdb1ejg_A")}
    assert len(crambin) == 1


def test_one_chain_of_each_protein(shared_data):
    quirks = shared_data / "mmcif_quirks"
    assert protein_chains(quirks / "1lcd.cif") == {"3": "A"}  # 1 and 2 are DNA
    assert list(protein_chains(quirks / "5zng.cif").values()) == ["A", "C"]
    assert len(protein_chains(quirks / "3u8v.cif")) == 1  # four copies


def test_names_that_are_not_text_are_a_broken_file(tmp_path):
    (tmp_path / "good.cif").write_bytes((STRUCTURES / "1ubq.cif").read_bytes())
    text = to_pdb(UBIQUITIN).encode()
    (tmp_path / "odd.pdb").write_bytes(text.replace(b" A   1 ", b" \xe9   1 "))
    with pytest.raises(BadInput, match="odd.pdb has names that are not text"):
        protein_chains(tmp_path / "odd.pdb")
    made = build(10, tmp_path / "out", tmp_path, quiet=True)
    assert made["chains"] == 1 and made["dropped"] == {"no protein that can be read": 1}


def test_split_of_many_real_chains(shared_data):
    bundle = np.load(shared_data / "chains_backbone" / "backbone.npz")
    ends = bundle["offsets"]
    letters = bundle["seq"].astype("S1")
    lengths = np.diff(ends)
    fit = np.flatnonzero(bundle["compact"] & (lengths >= 30))
    chosen = np.random.default_rng(0).choice(fit, 150, replace=False)
    sequences = [b"".join(letters[ends[k] : ends[k + 1]]).decode() for k in chosen]
    labels = clusters(sequences)
    assert 50 < labels.max() + 1 < 150  # neither all together nor all alone
    held_out = split(labels, np.random.default_rng(0))
    val = [s for s, out in zip(sequences, held_out) if out]
    train = [s for s, out in zip(sequences, held_out) if not out]
    assert len(val) >= 12 and hits(val, train) == hits(train, val) == 0
    assert not any(related(v, t) for v in val for t in train)
