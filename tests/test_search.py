"""HMMER through pyhmmer: alignments anchored on the query."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pyhmmer import easel, hmmer, plan7

from minifold.cli import main
from minifold.data import search as searching
from minifold.data.msa import (
    TOKEN_LETTERS,
    Alignment,
    columns,
    read_alignment,
    read_fasta,
    write_alignment,
)
from minifold.data.residues import GAP, RESTYPES
from minifold.data.search import (
    AMINO,
    advice,
    align_family,
    digital,
    jackhmmer,
    neff,
    profile_of,
    search,
)
from minifold.errors import BadInput

DATA = Path(__file__).parent.parent / "data"
SEQUENCES, MSAS = DATA / "sequences", DATA / "sample_msas"
QUERY = "MKTAYIAKQRQISFVKSHFSRQLEERLGLIEVQAPILSRVGDGTQDNLSGAEKAVQVKVK"


def letters(alignment, row: int) -> str:
    return "".join(TOKEN_LETTERS[t] for t in alignment.tokens[row])


def test_known_edits_are_found():
    """A deletion, an insertion, and letters before and after the domain."""
    records = [
        ("query", QUERY),
        ("shorter", QUERY[:20] + QUERY[25:]),
        ("longer", QUERY[:30] + "WWW" + QUERY[30:]),
        ("framed", "GSGSGSGS" + QUERY + "PPPP"),
    ]
    for alignment in (align_family(records), align_family(records, rounds=1)):
        assert alignment.names == ["query", "shorter", "longer", "framed"]
        assert alignment.query == QUERY
        missing = np.flatnonzero(alignment.tokens[1] == GAP)
        assert len(missing) == 5 and set(missing) <= set(range(18, 27))
        assert letters(alignment, 2) == QUERY
        assert alignment.deletions[2].sum() == 3 and 28 <= alignment.deletions[2].argmax() <= 32
        assert alignment.insertions[2] == "www"
        assert letters(alignment, 3) == QUERY and alignment.deletions[3].sum() == 0


def test_jackhmmer_finds_the_family_among_strangers():
    rng = np.random.default_rng(0)
    family = read_fasta(SEQUENCES / "kunitz.fasta")
    strangers = [(f"random{k}", "".join(rng.choice(list(RESTYPES), 80))) for k in range(300)]
    hits = jackhmmer(family[0], strangers + family[1:])
    assert hits.query == family[0][1] and hits.names[0] == family[0][0]
    found = {name.rsplit("/", 1)[0] for name in hits.names[1:]}
    assert len(found & {name for name, _ in family}) >= 90
    assert not any(name.startswith("random") for name in found)


def test_nothing_found_leaves_the_query():
    hits = jackhmmer(("q", QUERY), [("other", "G" * 50)])
    assert hits.depth == 1 and hits.query == QUERY


@pytest.mark.parametrize("rounds", [1, 3])
def test_the_same_input_gives_the_same_alignment(rounds):
    family = read_fasta(SEQUENCES / "rrm.fasta")
    one, two = align_family(family, rounds), align_family(family, rounds)
    np.testing.assert_array_equal(one.tokens, two.tokens)
    assert one.insertions == two.insertions


def test_hits_can_be_written_and_read(tmp_path):
    family = read_fasta(SEQUENCES / "fn3.fasta")
    hits = jackhmmer(family[0], family[1:])
    write_alignment(hits, tmp_path / "hits.a3m")
    again = read_alignment(tmp_path / "hits.a3m")
    np.testing.assert_array_equal(again.tokens, hits.tokens)
    np.testing.assert_array_equal(again.deletions, hits.deletions)
    # real letters: every row, its gaps taken out, is a piece of the sequence it came from
    sequence = dict(family)
    text = [row for row in (tmp_path / "hits.a3m").read_text().splitlines() if row[0] != ">"]
    for name, row in list(zip(hits.names, text))[1:]:
        assert row.replace("-", "").upper() in sequence[name.rsplit("/", 1)[0]], name


# --- search ---------------------------------------------------------------------------------------


def shipped() -> list[tuple[str, str]]:
    return [record for file in sorted(SEQUENCES.glob("*.fasta")) for record in read_fasta(file)]


def sources(alignment) -> list[str]:
    """The database's names of the hits."""
    return [name.rpartition("/")[0] for name in alignment.names[1:]]


@pytest.mark.parametrize("name", ["fn3", "kunitz", "tautomerase"])
def test_jackhmmer_is_hmmers_own(name):
    """pyhmmer has the whole loop as one function: the same hits, aligned in the same way."""
    query = read_fasta(SEQUENCES / f"{name}.fasta")[0]
    found = search(Alignment.from_sequence(query[1], query[0]), shipped(), evalue=1e-3)
    theirs = next(
        iter(hmmer.jackhmmer(digital([query])[0], digital(shipped()), max_iterations=3, cpus=1))
    )
    rows = {
        (n, "".join(c for c, x in zip(row, theirs.msa.reference) if x != "."))
        for n, row in zip(theirs.msa.names, theirs.msa.textize().alignment)
    }
    ours = {(n, letters(found, k)) for k, n in enumerate(found.names)}
    assert ours <= rows  # repeated rows are dropped
    assert {row for _, row in ours} == {row for _, row in rows} and len(ours) > 50


def test_the_shipped_families_are_the_default(tmp_path):
    globin = read_fasta(SEQUENCES / "globins.fasta")
    path = tmp_path / "query.fasta"
    path.write_text(f">q\n{globin[3][1]}\n")
    names = {name for name, _ in globin}
    found = sources(search(path))
    assert set(found) <= names and len(set(found)) > 40
    assert search(path, SEQUENCES).names == search(path, shipped()).names == search(path).names


def test_each_method_sees_what_it_should():
    """A profile finds more than a sequence, and rounds find more than one profile."""
    family = read_alignment(MSAS / "rrm.a3m")
    some = family.take(np.arange(10))
    phmmer = search(some, method="phmmer")
    assert phmmer.names == search(family.take(np.arange(1)), method="hmmsearch").names
    assert phmmer.names == search(some.take(np.arange(1)), iterations=1).names
    hmmsearch = search(some, method="hmmsearch")
    jackhmmer = search(some, iterations=5)
    assert phmmer.depth < hmmsearch.depth < jackhmmer.depth
    assert hmmsearch.names == search(some, iterations=1).names
    assert {a.query for a in (phmmer, hmmsearch, jackhmmer)} == {family.query}


def test_evalues_are_of_the_whole_database(monkeypatch):
    """Whatever the size of the blocks: more strangers make the same hit less significant."""
    query, *family = read_fasta(SEQUENCES / "fn3.fasta")
    monkeypatch.setattr(searching, "BLOCK", 7)
    small = jackhmmer(query, family)
    monkeypatch.setattr(searching, "BLOCK", 1000)
    assert small.names == jackhmmer(query, family).names
    strict = search(Alignment.from_sequence(query[1]), family, evalue=1e-10)
    assert 1 < strict.depth < small.depth
    theirs = next(hmmer.hmmsearch(profile_of(Alignment.from_sequence(query[1])), digital(family)))
    expected = {hit.name for hit in theirs if hit.evalue <= 1e-10}
    found = search(Alignment.from_sequence(query[1]), family, method="phmmer", evalue=1e-10)
    assert set(sources(found)) == expected and expected


def planted() -> tuple[Alignment, list[tuple[str, str]]]:
    """A query and relatives with insertions, a deletion, and a domain within strangers."""
    rng = np.random.default_rng(1)
    flank = "".join(rng.choice(list(RESTYPES), 40))
    relative = QUERY.replace("E", "D")  # rows that repeat the query would be dropped
    records = [
        ("inserted", relative[:30] + "WWCHH" + relative[30:]),
        ("deleted", relative[:20] + relative[26:]),
        ("framed", flank + relative[:-1] + flank),
        ("two", QUERY[:25] + "GG" + QUERY[25:45] + "PDP" + relative[45:]),
    ]
    return Alignment.from_sequence(QUERY, "q"), records


def test_insertions_and_deletions_are_found():
    (query, records), relative = planted(), QUERY.replace("E", "D")
    found = search(query, records)
    assert found.names[0] == "q" and found.query == QUERY
    row = {name.partition("/")[0]: k for k, name in enumerate(found.names)}
    assert len(row) == 5 and "framed/41-99" in found.names  # only the domain
    k = row["inserted"]
    assert letters(found, k) == relative and found.insertions[k] == "wwchh"
    assert found.deletions[k].sum() == 5 and abs(found.deletions[k].argmax() - 30) <= 1
    missing = np.flatnonzero(found.tokens[row["deleted"]] == GAP)
    assert len(missing) == 6 and set(missing) <= set(range(18, 28))
    assert found.insertions[row["two"]] == "ggpdp"
    assert letters(found, row["two"]) == QUERY[:45] + relative[45:]


@pytest.mark.parametrize("suffix", [".a3m", ".sto"])
def test_written_hits_are_read_again_letter_for_letter(tmp_path, suffix):
    families = [read_alignment(path) for path in sorted(MSAS.glob("*.a3m"))]
    for n, family in enumerate([search(*planted()), *families]):
        path = tmp_path / f"{n}{suffix}"
        write_alignment(family, path)
        again = read_alignment(path)
        assert again.names == family.names and again.insertions == family.insertions
        np.testing.assert_array_equal(again.tokens, family.tokens)
        np.testing.assert_array_equal(again.deletions, family.deletions)


def test_hmmer_reads_the_stockholm_file(tmp_path):
    """Row by row the same letters, and match columns where the query has residues."""
    family = search(*planted())
    write_alignment(family, tmp_path / "hits.sto")
    with easel.MSAFile(tmp_path / "hits.sto", format="stockholm") as file:
        msa = file.read()
    msa.name = "hits"
    assert list(msa.names) == family.names
    kept = [x == "x" for x in msa.reference]
    for k, row in enumerate(msa.alignment):
        assert "".join(c for c, keep in zip(row, kept) if keep) == letters(family, k)
        assert "".join(c for c in row if c.islower()) == family.insertions[k]
    hmm = plan7.Builder(AMINO, architecture="hand").build_msa(
        msa.digitize(AMINO), plan7.Background(AMINO)
    )[0]
    assert len(QUERY) == hmm.M
    np.testing.assert_array_equal(hmm.match_emissions, profile_of(family).match_emissions)


def test_rows_of_one_name_stay_apart_in_stockholm(tmp_path):
    alignment = replace(Alignment.from_sequence("ACDEF", "a"), names=["a", "a", "b"])
    alignment = replace(
        alignment,
        tokens=np.array([[0, 4, 3, 6, 13], [0, 4, 3, 6, 1], [1, 4, 3, 6, 13]], np.int8),
        deletions=np.array([[0, 0, 0, 0, 0], [0, 2, 0, 0, 0], [0, 0, 1, 0, 0]], np.int32),
        insertions=None,
    )
    assert columns(alignment) == (["A..C.DEF", "AxxC.DER", "R..CxDEF"], "x..x.xxx")
    write_alignment(alignment, tmp_path / "x.sto")
    again = read_alignment(tmp_path / "x.sto")
    np.testing.assert_array_equal(again.tokens, alignment.tokens)
    np.testing.assert_array_equal(again.deletions, alignment.deletions)
    assert len(set(again.names)) == 3


@pytest.mark.parametrize("suffix", [".a3m", ".sto"])
def test_an_alignment_serves_as_a_database(tmp_path, suffix):
    """Gaps are taken out and insertions stay: the sequences are whole again."""
    family = read_alignment(MSAS / "kunitz_1bpi.a3m")
    write_alignment(family, tmp_path / f"family{suffix}")
    rows, _ = columns(family)
    bare = [row.replace("-", "").replace(".", "").upper() for row in rows]
    whole = list(zip(family.names, bare))
    query = family.take(np.arange(1))
    one, two = (
        search(query, tmp_path / f"family{suffix}"),
        search(query, whole),
    )
    assert one.names == two.names and one.depth > 90
    np.testing.assert_array_equal(one.tokens, two.tokens)


def test_letters_of_real_databases_are_understood():
    """Selenocysteine, ambiguous letters, stops, lower case."""
    odd = QUERY[:10] + "uBzJox" + QUERY[16:].lower() + "*"
    found = search(
        Alignment.from_sequence(QUERY), [("odd", odd), ("stop", QUERY[:30] + "*" + QUERY[31:])]
    )
    assert set(sources(found)) == {"odd", "stop"}
    k = found.names.index("odd/1-60")
    assert letters(found, k)[10:16] == "CDEXXX"


# --- Depth and advice -----------------------------------------------------------------------------


def strangers(depth: int, n: int = 50) -> Alignment:
    tokens = np.random.default_rng(0).integers(0, 20, (depth, n)).astype(np.int8)
    return Alignment([f"s{k}" for k in range(depth)], tokens, np.zeros((depth, n), np.int32))


@pytest.mark.parametrize(
    ("depth", "says"),
    [(1, "thin"), (29, "thin"), (30, "enough"), (100, "enough"), (101, "deep")],
)
def test_advice_follows_from_neff(depth, says):
    family = strangers(depth)
    assert neff(family) == pytest.approx(depth)
    assert f"Neff {depth}.0: {says}" in advice(family)
    copies = family.take(np.repeat(np.arange(depth), 7))
    assert neff(copies) == pytest.approx(depth) and says in advice(copies)
    assert advice(copies).startswith(f"{7 * depth} sequences")
    assert ("fetch --msa" in advice(family)) == (says == "thin")


def test_a_stretch_without_relatives_is_told():
    family = strangers(120)
    family.tokens[1:, 0] = GAP
    assert advice(family).endswith("; 1 residue has less than 30")
    family.tokens[1:, :8] = GAP
    assert advice(family).endswith("; 8 residues have less than 30")
    assert "residues" not in advice(strangers(120))


# --- The command, and bad input -------------------------------------------------------------------


def run(*argv) -> int:
    with pytest.raises(SystemExit) as stop:
        main(["search", *map(str, argv)])
    return stop.value.code


@pytest.fixture
def query(tmp_path) -> Path:
    path = tmp_path / "query.fasta"
    name, letters = read_fasta(SEQUENCES / "kunitz.fasta")[0]
    path.write_text(f">{name}\n{letters}\n")
    return path


def test_the_command(query, tmp_path, capsys):
    out = tmp_path / "new" / "hits.sto"
    assert run(query, "--out", out) == 0
    said = capsys.readouterr()
    found = search(query)
    assert said.out == f"{advice(found)}\n{out}\n"
    assert "jackhmmer, round 2" in said.err
    assert read_alignment(out).names == found.names
    out = tmp_path / "hits.a3m"
    few = ("--method", "phmmer", "--evalue", "1e-15", "--json", "--quiet")
    assert run(query, SEQUENCES / "kunitz.fasta", *few, "--out", out) == 0
    said = capsys.readouterr()
    result = json.loads(said.out)
    assert result["file"] == str(out) and said.err == ""
    assert 1 < result["sequences"] == read_alignment(out).depth < found.depth
    assert result["neff"] == round(neff(read_alignment(out)), 2)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["hits.a3m", "new", "query.fasta"]


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("db.fasta", "", "db.fasta: there is no sequence"),
        ("db.fasta", ">a\nACD\n>b\nAC1D\n", "db.fasta: 'b' has a letter that is not"),
        ("db.fasta", ">a\nACD\n>b\n", "db.fasta: 'b' has .* no letter"),
        ("db.fasta", ">a\nAC~D\n", "db.fasta: 'a' has a letter"),
        ("db.fasta", ">a\nACé\n", "db.fasta: 'a' has a letter"),
        ("db.fasta", ">long\n" + "A" * 100_001, "db.fasta: 'long' has 100001 residues"),
        ("db.fasta", "ACD\n", "db.fasta:1: expected '>'"),
        ("db.sto", "# STOCKHOLM 1.0\na AC\nb\n", "db.sto:3: expected a name and a row"),
        ("db.sto", ">a\nACD\n", "db.sto:1: expected '# STOCKHOLM 1.0'"),
        ("folder/readme.txt", "", "folder: there is no sequence"),
        ("folder/x.fasta", ">a\nA!\n", "folder: 'a' has a letter"),
    ],
)
def test_bad_databases_are_refused(query, tmp_path, capsys, name, text, says):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    database = path if path.parent == tmp_path else path.parent
    refused(capsys, says, query, database, "--out", tmp_path / "hits.a3m")
    assert not list(tmp_path.glob("*hits*"))


def refused(capsys, says: str, *argv) -> None:
    """One line, exit code 2."""
    assert run(*argv) == 2
    said = capsys.readouterr()
    message = said.err.splitlines()
    assert said.out == "" and len(message) == 1 and message[0].startswith("minifold: ")
    assert re.search(says, message[0]), message


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no sequences found"),
        (">a\nACDEF\n>b\nACD\n", "give an alignment, not a list of sequences"),
        (">a\nAC?\n", "'.' in 'a' is not an amino acid"),
    ],
)
def test_bad_queries_are_refused(tmp_path, capsys, text, says):
    path = tmp_path / "q.fasta"
    path.write_text(text)
    refused(capsys, says, path, "--out", tmp_path / "hits.a3m")
    assert [p.name for p in tmp_path.iterdir()] == ["q.fasta"]


def test_missing_files_and_wrong_names_are_refused(query, tmp_path, capsys):
    refused(capsys, "gone.fasta does not exist", tmp_path / "gone.fasta")
    refused(capsys, "gone.fasta does not exist", query, tmp_path / "gone.fasta")
    refused(capsys, "as .a3m or .sto", query, "--out", tmp_path / "hits.txt")
    refused(capsys, "cannot be written", query, "--out", query / "hits.a3m", "--quiet")
    for wrong in (("--iterations", "0"), ("--evalue", "-1"), ("--method", "blast")):
        assert run(query, *wrong) == 2
    with pytest.raises(BadInput, match="no method 'blast'; choose one of jackhmmer"):
        search(query, method="blast")
    with pytest.raises(BadInput, match="there is no sequence"):
        jackhmmer(("q", QUERY), [])
    with pytest.raises(BadInput, match="there is no sequence"):
        align_family([])
    with pytest.raises(BadInput, match="'x' has a letter that is not an amino acid"):
        align_family([("q", QUERY), ("x", "AC1")])


def test_ctrl_c_leaves_no_file(query, tmp_path, capsys, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(searching, "_with_hits", interrupted)
    before = sorted(tmp_path.iterdir())
    assert run(query, "--quiet", "--out", tmp_path / "hits.a3m") == 130
    assert capsys.readouterr().err == "minifold: interrupted\n"
    assert sorted(tmp_path.iterdir()) == before
