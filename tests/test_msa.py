"""Alignments: files in three formats, errors a user can act on, and AlphaFold's steps."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minifold.data import msa
from minifold.data.msa import Alignment, read_alignment, write_alignment
from minifold.data.residues import GAP, MASK, RESTYPES
from minifold.errors import BadInput

LETTERS = RESTYPES + "X"


def tokens(*rows: str) -> np.ndarray:
    return np.array([[msa.TOKEN_LETTERS.index(x) for x in row] for row in rows], np.int8)


@st.composite
def a3m_rows(draw):
    """A query without gaps, and rows with gaps and insertions; none after the last column."""
    query = draw(st.text(LETTERS, min_size=1, max_size=12))
    insertion = st.text(RESTYPES.lower(), max_size=3)
    row = st.tuples(*(st.tuples(insertion, st.sampled_from(LETTERS + "-")) for _ in query))
    rows = draw(st.lists(row, max_size=5))
    return [query, *("".join(i + c for i, c in row) for row in rows)]


# --- Files ----------------------------------------------------------------------------------------


@given(a3m_rows())
def test_a3m_survives_reading_and_writing(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("a3m")
    text = "".join(f">s{k}\n{row}\n" for k, row in enumerate(rows))
    (folder / "in.a3m").write_text(text)
    alignment = read_alignment(folder / "in.a3m")
    write_alignment(alignment, folder / "out.a3m")
    assert (folder / "out.a3m").read_text() == text
    for row, kept, deleted in zip(rows, alignment.tokens, alignment.deletions):
        assert "".join(msa.TOKEN_LETTERS[t] for t in kept) == "".join(
            x for x in row if not x.islower()
        )
        assert deleted.sum() == sum(x.islower() for x in row)


@given(a3m_rows())
def test_the_three_formats_say_the_same(tmp_path_factory, rows):
    """Insertions written as columns of their own, as aligned FASTA and Stockholm do."""
    folder = tmp_path_factory.mktemp("formats")
    (folder / "x.a3m").write_text("".join(f">s{k}\n{row}\n" for k, row in enumerate(rows)))
    wanted = read_alignment(folder / "x.a3m")
    width = wanted.deletions.max(axis=0)
    wide = []
    for k in range(wanted.depth):
        row, inserted = "", iter(wanted.insertions[k])
        for column, room in enumerate(width):
            letters = "".join(next(inserted) for _ in range(wanted.deletions[k, column]))
            row += letters.upper().ljust(room, "-")
            row += msa.TOKEN_LETTERS[wanted.tokens[k, column]]
        wide.append(row)
    (folder / "x.fasta").write_text("".join(f">s{k}\n{row}\n" for k, row in enumerate(wide)))
    half = len(wide[0]) // 2 + 1  # Stockholm in two blocks, gaps as dots
    blocks = [
        "".join(f"s{k} {row[part].replace('-', '.')}\n" for k, row in enumerate(wide) if row[part])
        for part in (slice(None, half), slice(half, None))
    ]
    (folder / "x.sto").write_text("# STOCKHOLM 1.0\n#=GF ID x\n\n" + "\n".join(blocks) + "//\n")
    for suffix in ("fasta", "sto"):
        found = read_alignment(folder / f"x.{suffix}")
        np.testing.assert_array_equal(found.tokens, wanted.tokens)
        np.testing.assert_array_equal(found.deletions, wanted.deletions)
        assert found.insertions == wanted.insertions
        assert found.names == wanted.names


def test_deletions_are_counted_left_of_the_column(tmp_path):
    path = tmp_path / "x.a3m"
    path.write_text(
        "#6 1\n>query description\nACD\nEFG\n>hit\nwwA-Dvvv\nyEF-kkk\n>ss_pred\nHHHHHH\n"
    )
    alignment = read_alignment(path)
    assert alignment.query == "ACDEFG" and alignment.names == ["query", "hit"]
    np.testing.assert_array_equal(alignment.deletions[1], [2, 0, 0, 4, 0, 0])
    np.testing.assert_array_equal(alignment.tokens[1], tokens("A-DEF-")[0])


def test_columns_where_the_query_has_a_gap_are_insertions(tmp_path):
    path = tmp_path / "x.afa"
    path.write_text(">q\n-A--CD-\n>h\nWAY-C-W\n")
    alignment = read_alignment(path)
    assert alignment.query == "ACD"
    np.testing.assert_array_equal(alignment.tokens[1], tokens("AC-")[0])
    np.testing.assert_array_equal(alignment.deletions[1], [1, 1, 0])
    assert alignment.insertions[1] == "wy"


def test_unusual_letters(tmp_path):
    path = tmp_path / "x.fasta"
    path.write_text(">q\nABZUJOX*\n")
    assert read_alignment(path).query == "ADECXXX"


@pytest.mark.parametrize(
    "name, text, says",
    [
        ("x.a3m", ">q\nACD\n>h\nAC\n", ":3: 'h' has 2 columns, the query 3; give an alignment"),
        ("x.a3m", ">q\nACD\n>h\nA1D\n", ":3: '1' in 'h' is not an amino acid"),
        ("x.a3m", ">q\nACD\n>h\nAéD\n", ":3: 'é' in 'h' is not an amino acid"),
        ("x.fasta", ">q\nA*D\n", ":1: '*' in 'q' is not an amino acid"),
        ("x.fasta", ">q\nACD\n>h\nACDE\n", "give an alignment"),
        ("x.a3m", "", "no sequences found"),
        ("x.a3m", ">q\n---\n", "'q' has no residues"),
        ("x.a3m", ">q\n", "'q' has no residues"),
        ("x.a3m", "data_1ABC\nloop_\n", ":1: expected '>'"),
        ("x.sto", ">q\nACD\n", ":1: expected '# STOCKHOLM"),
        ("x.sto", "# STOCKHOLM 1.0\nq ACD\nh\n//\n", ":3: expected a name and a row"),
        ("x.sto", "# STOCKHOLM 1.0\n//\n", "no sequences found"),
        ("x.txt", ">q\nACD\n", "an alignment ends in .a3m"),
        ("x.a3m", b"\xff\xfe\x00", "not a text file"),
    ],
)
def test_bad_files_say_what_is_wrong_and_where(tmp_path, name, text, says):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(BadInput) as error:
        read_alignment(path)
    message = str(error.value)
    assert says in message and str(path) in message and "\n" not in message


def test_missing_files_and_folders(tmp_path):
    with pytest.raises(BadInput, match="does not exist"):
        read_alignment(tmp_path / "nothing.a3m")
    (tmp_path / "folder.a3m").mkdir()
    with pytest.raises(BadInput, match="is a folder"):
        read_alignment(tmp_path / "folder.a3m")


def test_nothing_is_half_written(tmp_path):
    alignment = Alignment.from_sequence("ACD")
    with pytest.raises(BadInput, match="written as .a3m or .sto"):
        write_alignment(alignment, tmp_path / "x.txt")
    (tmp_path / "taken.a3m").mkdir()
    with pytest.raises(BadInput, match="cannot be written"):
        write_alignment(alignment, tmp_path / "taken.a3m")
    assert [p.name for p in tmp_path.iterdir()] == ["taken.a3m"]


def test_from_sequence():
    alignment = Alignment.from_sequence(" acdX\n")
    assert alignment.query == "ACDX" and alignment.depth == 1
    with pytest.raises(BadInput, match="'7' in 'query'"):
        Alignment.from_sequence("AC7")


def test_real_alignments_can_be_read(shared_data):
    paths = list((shared_data / "msas").rglob("*.a*"))
    assert paths
    for path in paths:
        alignment = read_alignment(path)
        assert alignment.depth > 10 and GAP not in alignment.tokens[0], path
        inserted = [len(letters) for letters in alignment.insertions]
        np.testing.assert_array_equal(alignment.deletions.sum(axis=1), inserted)


# --- Rows -----------------------------------------------------------------------------------------


def family(depth: int = 200, length: int = 30, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 22, (depth, length)).astype(np.int8)


def alignment_of(rows: np.ndarray) -> Alignment:
    return Alignment([f"s{k}" for k in range(len(rows))], rows, np.zeros(rows.shape, np.int32))


def test_deduplicate_keeps_first_occurrences_in_order():
    rows = tokens("ACD", "AAA", "ACD", "CCC", "AAA", "ADD")
    assert msa.deduplicate(alignment_of(rows)).names == ["s0", "s1", "s3", "s5"]


def test_delete_blocks():
    alignment = alignment_of(family(depth=100))
    counts = []
    for seed in range(200):
        kept = msa.delete_blocks(alignment, np.random.default_rng(seed)).names
        assert kept[0] == "s0"
        counts.append(len(kept))
        rows = np.array([int(name[1:]) for name in kept])
        deleted = np.setdiff1d(np.arange(100), rows)
        # what goes are at most five runs, and all but a run at the end have 30 rows or more
        runs = np.split(deleted, np.flatnonzero(np.diff(deleted) > 1) + 1)
        assert len(runs) <= 5
        assert all(len(run) >= 30 or run[-1] == 99 for run in runs)
    # five starts, uniform over 99 rows: row r survives if none is in (r - 30, r]
    expected = 1 + sum((1 - min(r, 30) / 99) ** 5 for r in range(1, 100))
    assert abs(np.mean(counts) - expected) < 1.5
    single = alignment_of(family(depth=1))
    assert msa.delete_blocks(single, np.random.default_rng(0)).depth == 1


def test_mask_letters_follows_the_recipe():
    """15 % are chosen: 70 % become masks, 10 % random, 10 % drawn from the profile, 10 % stay."""
    rows = np.full((400, 500), 3, np.int8)
    column_profile = np.zeros((500, 22), np.float32)
    column_profile[:, 7], column_profile[:, GAP] = 0.25, 0.75
    masked, chosen = msa.mask_letters(rows, column_profile, 0.15, np.random.default_rng(0))
    assert abs(chosen.mean() - 0.15) < 0.005
    assert (masked[chosen == 0] == 3).all()
    share = np.bincount(masked[chosen == 1], minlength=23) / chosen.sum()
    expected = np.full(23, 0.1 / 20)  # uniform over the twenty amino acids
    expected[[20, GAP, MASK]] = 0
    expected[MASK] += 0.7
    expected[3] += 0.1
    expected[7] += 0.025
    expected[GAP] += 0.075
    np.testing.assert_allclose(share, expected, atol=0.008)


def test_mask_fraction_zero_changes_nothing():
    rows = family()
    masked, chosen = msa.mask_letters(rows, msa.profile(rows), 0.0, np.random.default_rng(0))
    assert (masked == rows).all() and not chosen.any()


def test_nearest_cluster_ignores_gaps_and_masks():
    centres = tokens("AAAA----", "CCCCCCCC")
    extra = tokens("A-------", "AACCC---", "--------")
    np.testing.assert_array_equal(msa.nearest_cluster(centres, extra), [0, 1, 0])
    masked = np.full((1, 8), MASK, np.int8)
    both = np.concatenate([masked, centres])
    np.testing.assert_array_equal(msa.nearest_cluster(both, extra), [1, 2, 0])


@given(st.integers(1, 5), st.integers(0, 30), st.integers(1, 9), st.integers(0, 99))
def test_nearest_cluster_is_the_best_agreement(s, t, n, seed):
    rng = np.random.default_rng(seed)
    centres, extra = rng.integers(0, 23, (s, n)), rng.integers(0, 22, (t, n))
    same = (extra[:, None] == centres[None]) & (extra[:, None] < GAP)
    np.testing.assert_array_equal(
        msa.nearest_cluster(centres, extra), same.sum(axis=2).argmax(axis=1)
    )


def test_cluster_profiles_by_hand():
    centres, extra = tokens("AC", "DD"), tokens("A-", "CC", "DX")
    frequencies, deletions = msa.cluster_profiles(
        centres,
        np.array([[3, 0], [0, 0]]),
        extra,
        np.array([[0, 3], [0, 0], [4, 1]]),
        np.array([0, 0, 1]),
    )
    a, c, d, x = (msa.TOKEN_LETTERS.index(letter) for letter in "ACDX")
    expected = np.zeros((2, 2, 23))
    expected[0, 0, a], expected[0, 0, c] = 2 / 3, 1 / 3
    expected[0, 1, c], expected[0, 1, GAP] = 2 / 3, 1 / 3
    expected[1, 0, d] = 1
    expected[1, 1, d] = expected[1, 1, x] = 1 / 2
    np.testing.assert_allclose(frequencies, expected, atol=1e-6)
    np.testing.assert_allclose(deletions, [[1, 1], [2, 0.5]])


def test_weights_by_hand():
    # rows 0, 1, 2 agree in 9 of 10 or 8 of 10 columns; row 3 stands alone
    rows = tokens("AAAAAAAAAA", "AAAAAAAAAC", "AAAAAAAACC", "WWWWWWWWWW")
    np.testing.assert_allclose(msa.weights(rows), [1 / 3, 1 / 3, 1 / 3, 1])
    np.testing.assert_allclose(msa.weights(rows, 0.85), [1 / 2, 1 / 3, 1 / 2, 1])
    assert msa.weights(family()).sum() == 200


@given(st.integers(1, 300), st.integers(0, 99))
def test_copies_share_their_weight(copies, seed):
    rows = np.concatenate([family(5, 20, seed), np.repeat(family(1, 20, seed + 100), copies, 0)])
    assert msa.weights(rows).sum() == pytest.approx(6, rel=1e-4)


def test_profile_counts_every_letter():
    found = msa.profile(tokens("A-", "AX", "CX", "CX"))
    assert found[0, 0] == 0.5 and found[1, 20] == 0.75 and found[1, GAP] == 0.25
    np.testing.assert_allclose(found.sum(axis=1), 1)
