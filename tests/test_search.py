"""HMMER through pyhmmer: alignments anchored on the query."""

from pathlib import Path

import numpy as np
import pytest

from minifold.data.msa import TOKEN_LETTERS, read_alignment, read_fasta, write_alignment
from minifold.data.residues import GAP, RESTYPES
from minifold.data.search import align_family, jackhmmer
from minifold.errors import BadInput

SEQUENCES = Path(__file__).parent.parent / "data" / "sequences"
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


def test_bad_input_is_refused():
    with pytest.raises(BadInput, match="'x' has a letter that is not an amino acid"):
        align_family([("q", QUERY), ("x", "AC1")])
    with pytest.raises(BadInput, match="no sequences"):
        jackhmmer(("q", QUERY), [])
    with pytest.raises(BadInput, match="no sequences"):
        align_family([])
