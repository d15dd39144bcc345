"""Multiple sequence alignments: reading, writing, and what AlphaFold does to their rows.

An alignment is anchored on its query, the first row: the columns are the query's residues, and
what another sequence has between two of them is not kept but counted (``deletions``: AlphaFold
calls an insertion relative to the query a deletion of the query).

The functions at the end are the steps of supplement 1.2.5-1.2.7 on plain integer arrays.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from minifold.data.files import read_text, write_text
from minifold.data.residues import GAP, LETTER_TO_TOKEN, MASK, RESTYPES
from minifold.errors import BadInput

NUM_TOKENS = 23  # 20 amino acids, X, gap, mask
TOKEN_LETTERS = RESTYPES + "X-"
FORMATS = {
    ".a3m": "a3m",
    ".sto": "stockholm",
    ".stockholm": "stockholm",
    ".fasta": "fasta",
    ".fa": "fasta",
    ".afa": "fasta",
}
_SECONDARY_STRUCTURE = ("ss_pred", "ss_conf", "ss_dssp")  # records HH-suite puts into an a3m


@dataclass(frozen=True)
class Alignment:
    """S aligned sequences of N columns; row 0 is the query and has no gap."""

    names: list[str]
    tokens: Int[np.ndarray, "s n"]  # int8; 0..19 amino acids, 20 X, 21 gap
    deletions: Int[np.ndarray, "s n"]  # int32; residues left out just before this column
    insertions: list[str] | None = None  # the letters left out of each row, in order, if known

    @classmethod
    def from_sequence(cls, sequence: str, name: str = "query") -> Alignment:
        """The alignment of one sequence alone.

        Raises:
            BadInput: a letter is not an amino acid.
        """
        return anchored([Record(name, sequence.strip().upper())], "the sequence")

    @property
    def query(self) -> str:
        """The sequence of row 0."""
        return "".join(TOKEN_LETTERS[token] for token in self.tokens[0])

    @property
    def depth(self) -> int:
        """Number of sequences."""
        return len(self.tokens)

    def take(self, rows: Int[np.ndarray, " k"]) -> Alignment:
        """The alignment of these rows, in this order."""
        insertions = self.insertions and [self.insertions[r] for r in rows]
        names = [self.names[r] for r in rows]
        return Alignment(names, self.tokens[rows], self.deletions[rows], insertions)


# --- Files ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Record:
    """A named row of letters, not yet understood."""

    name: str
    letters: str
    line: int | None = None  # where it starts in its file


def read_fasta(path: str | Path) -> list[tuple[str, str]]:
    """Name (first word) and letters of every record of a FASTA or a3m file, untouched.

    Raises:
        BadInput: the file cannot be read or is not FASTA.
    """
    return [(r.name, r.letters) for r in _fasta_records(read_text(path), Path(path))]


def read_alignment(path: str | Path) -> Alignment:
    """Read an alignment anchored on its first sequence; the suffix tells the format.

    ``.a3m``: lower-case letters are insertions. ``.sto``, ``.stockholm``, ``.fasta``, ``.fa``,
    ``.afa``: all rows are equally wide, and what stands where the query has a gap is an
    insertion. A FASTA file with one sequence is an alignment of depth 1. ``B Z U`` are read as
    ``D E C``, ``J O`` as ``X``; ``*`` at the end of a sequence is dropped.

    Raises:
        BadInput: unknown suffix, unreadable or empty file, rows of different widths, or a letter
            that is not an amino acid; the message names file, line and remedy.
    """
    path = Path(path)
    form = FORMATS.get(path.suffix.lower())
    if form is None:
        raise BadInput(f"{path}: an alignment ends in {', '.join(FORMATS)}; rename or convert it")
    text = read_text(path)
    if form == "stockholm":
        records = _stockholm_records(text, path)
    else:
        records = _fasta_records(text, path)
    return anchored(records if form == "a3m" else aligned_columns(records), str(path))


def read_sequences(path: str | Path) -> list[tuple[str, str]]:
    """Name and letters, without gaps, of every record of a FASTA, a3m or Stockholm file.

    Raises:
        BadInput: the file cannot be read or is neither of these.
    """
    path, text = Path(path), read_text(path)
    if FORMATS.get(path.suffix.lower()) == "stockholm":
        records = _stockholm_records(text, path)
    else:
        records = _fasta_records(text, path)
    return [(r.name, re.sub("[-.]", "", r.letters).upper()) for r in records]


def write_alignment(alignment: Alignment, path: str | Path) -> None:
    """Write .a3m or Stockholm (.sto); insertions whose letters are not known become ``x``.

    Raises:
        BadInput: the suffix is another one, or the file cannot be written.
    """
    if form_to_write(path) == "a3m":
        rows = ("".join(row) for row in _pieces(alignment))
        lines = [line for pair in zip(alignment.names, rows) for line in (f">{pair[0]}", pair[1])]
    else:
        rows, reference = columns(alignment)
        names = [f"{name}_{k}" for k, name in enumerate(alignment.names, start=1)]
        if len(set(alignment.names)) == alignment.depth:  # rows of one name would be joined
            names = alignment.names
        width = max(len("#=GC RF"), *map(len, names))
        lines = ["# STOCKHOLM 1.0", ""]
        lines += [f"{name:{width}} {row}" for name, row in zip(names, rows)]
        lines += [f"{'#=GC RF':{width}} {reference}", "//"]
    write_text(path, "\n".join(lines) + "\n")


def form_to_write(path: str | Path) -> str:
    """The format, "a3m" or "stockholm", as the suffix says.

    Raises:
        BadInput: it is neither .a3m nor .sto.
    """
    form = FORMATS.get(Path(path).suffix.lower())
    if form not in ("a3m", "stockholm"):
        raise BadInput(f"{path}: alignments are written as .a3m or .sto; choose such a name")
    return form


def columns(alignment: Alignment) -> tuple[list[str], str]:
    """Equally wide rows with room for all insertions, and a line with x where the query is."""
    wide = alignment.deletions.max(axis=0)
    rows = [
        "".join(piece[:-1].ljust(n, ".") + piece[-1] for piece, n in zip(row, wide))
        for row in _pieces(alignment)
    ]
    return rows, "".join("." * n + "x" for n in wide)


def _pieces(alignment: Alignment) -> Iterator[list[str]]:
    """For each row and column: what is inserted before it (lower case), and its letter."""
    for row, deletions in enumerate(alignment.deletions):
        inserted = alignment.insertions[row] if alignment.insertions else "x" * deletions.sum()
        yield [
            inserted[end - count : end] + TOKEN_LETTERS[token]
            for token, count, end in zip(alignment.tokens[row], deletions, np.cumsum(deletions))
        ]


def _fasta_records(text: str, path: Path) -> list[Record]:
    """The records of FASTA or a3m text. Comment lines (#) at the top are skipped."""
    records: list[Record] = []
    rows: list[list[str]] = []
    for number, raw in enumerate(text.replace("\0", "").splitlines(), start=1):
        line = raw.strip()
        if not line or (line.startswith("#") and not records):
            continue
        if line.startswith(">"):
            words = line[1:].split()
            records.append(Record(words[0] if words else f"sequence_{number}", "", number))
            rows.append([])
        elif records:
            rows[-1].append(line.replace(" ", ""))
        else:
            raise BadInput(f"{path}:{number}: expected '>' and a name; is this FASTA or a3m?")
    return [
        replace(record, letters="".join(row))
        for record, row in zip(records, rows)
        if not record.name.startswith(_SECONDARY_STRUCTURE)
    ]


def _stockholm_records(text: str, path: Path) -> list[Record]:
    """The rows of Stockholm text; a row may be spread over several blocks."""
    lines = text.splitlines()
    if not lines or not lines[0].startswith("# STOCKHOLM"):
        raise BadInput(f"{path}:1: expected '# STOCKHOLM 1.0'; is this a Stockholm file?")
    rows: dict[str, tuple[int, list[str]]] = {}
    for number, line in enumerate(lines, start=1):
        if line.startswith("//"):
            break
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if len(words) != 2:
            raise BadInput(f"{path}:{number}: expected a name and a row; the line may be cut off")
        rows.setdefault(words[0], (number, []))[1].append(words[1])
    return [Record(name, "".join(row), number) for name, (number, row) in rows.items()]


def aligned_columns(records: list[Record]) -> list[Record]:
    """Rows of a format in which every character is a column, as a3m: capital letters, - for ."""
    return [replace(r, letters=r.letters.upper().replace(".", "-")) for r in records]


def anchored(records: list[Record], source: str) -> Alignment:
    """The alignment of a3m rows, in the columns where the first one has a residue.

    Raises:
        BadInput: no records, an alien letter, or rows of different widths; names ``source``.
    """
    if not records:
        raise BadInput(f"{source}: no sequences found; the first record must be the query")
    rows = [_row(record, source) for record in records]
    query = rows[0][0]
    gaps = query[query != _INSERTED] == GAP
    if gaps.all():
        raise BadInput(f"{source}: the query {records[0].name!r} has no residues; put it first")
    tokens = np.empty((len(rows), (~gaps).sum()), np.int8)
    deletions = np.empty(tokens.shape, np.int32)
    insertions = []
    for k, (codes, letters) in enumerate(rows):
        inserted = codes == _INSERTED
        if (width := (~inserted).sum()) != len(gaps):
            raise BadInput(
                f"{source}:{records[k].line}: {records[k].name!r} has {width} columns, the query "
                f"{len(gaps)}; give an alignment, not a list of sequences"
            )
        # where the query has a gap a residue counts as inserted, and a gap is nothing
        dropped = ~inserted
        dropped[dropped] = gaps
        inserted |= dropped & (codes != GAP)
        column = ~inserted & ~dropped
        tokens[k] = codes[column]
        deletions[k] = np.diff(np.cumsum(inserted)[column], prepend=0)
        insertions.append(letters[inserted].tobytes().decode().lower()[: deletions[k].sum()])
    return Alignment([record.name for record in records], tokens, deletions, insertions)


def _letter_codes() -> np.ndarray:
    """[256] what a character of a row means: a token, or one of the three codes below."""
    codes = np.full(256, _ALIEN)
    codes[ord(".")] = _SKIPPED  # a2m writes it where other rows have an insertion
    for letter, token in LETTER_TO_TOKEN.items():
        codes[ord(letter)] = token
        if letter != "-":
            codes[ord(letter.lower())] = _INSERTED
    return codes


_ALIEN, _SKIPPED, _INSERTED = -1, -2, -3
_LETTER_CODES = _letter_codes()


def _row(record: Record, source: str) -> tuple[np.ndarray, np.ndarray]:
    """Code and character of everything in a row that is a residue or a gap."""
    text = record.letters.removesuffix("*")
    letters = np.frombuffer(text.encode("ascii", "replace"), np.uint8)
    codes = _LETTER_CODES[letters]
    if (codes == _ALIEN).any():
        alien = text[int(np.argmax(codes == _ALIEN))]
        place = source if record.line is None else f"{source}:{record.line}"
        raise BadInput(
            f"{place}: {alien!r} in {record.name!r} is not an amino acid; "
            f"use the letters {RESTYPES}, X for unknown, - for a gap"
        )
    present = codes != _SKIPPED
    return codes[present], letters[present]


# --- What AlphaFold does to the rows --------------------------------------------------------------


def one_hot(tokens: Int[np.ndarray, "*s"], size: int = NUM_TOKENS) -> Float[np.ndarray, "*s k"]:
    """float32 rows of the unit matrix."""
    return np.eye(size, dtype=np.float32)[tokens]


def deduplicate(alignment: Alignment) -> Alignment:
    """The alignment without rows that repeat an earlier one; insertions do not tell rows apart."""
    first: dict[bytes, int] = {}
    for row, tokens in enumerate(alignment.tokens):
        first.setdefault(tokens.tobytes(), row)
    return alignment.take(np.array(list(first.values())))


def delete_blocks(alignment: Alignment, rng: np.random.Generator) -> Alignment:
    """Remove 5 random, possibly overlapping blocks of 30 % of the rows; the query stays. Alg. 1.

    Similar sequences are neighbours in most alignments: whole branches of the family go.
    """
    size = int(0.3 * alignment.depth)  # Alg. 1 line 1
    start = rng.integers(1, max(alignment.depth, 2), size=5)  # line 4
    rows = np.arange(alignment.depth)[:, None]
    deleted = ((rows >= start) & (rows < start + size)).any(axis=1)  # line 5
    return alignment.take(np.flatnonzero(~deleted))  # lines 7, 8


def profile(tokens: Int[np.ndarray, "s n"]) -> Float[np.ndarray, "n 22"]:
    """Frequency of each letter (amino acids, X, gap) in each column."""
    n = tokens.shape[1]
    counts = np.bincount((np.arange(n) * MASK + tokens).ravel(), minlength=n * MASK)
    return (counts / len(tokens)).reshape(n, MASK).astype(np.float32)


def mask_letters(
    tokens: Int[np.ndarray, "s n"],
    column_profile: Float[np.ndarray, "n 22"],
    fraction: float,
    rng: np.random.Generator,
) -> tuple[Int[np.ndarray, "s n"], Float[np.ndarray, "s n"]]:
    """Choose letters and replace them, as in BERT (supplement 1.2.7).

    A chosen letter becomes the mask token (70 %), a random amino acid (10 %), a letter drawn from
    the profile of its column (10 %), or stays (10 %).

    Returns:
        The tokens after masking, and 1 where a letter was chosen (also where it stayed).
    """
    chosen = rng.random(tokens.shape) < fraction
    lot = rng.random(tokens.shape)
    uniform = rng.integers(0, 20, tokens.shape)
    height = np.cumsum(column_profile, axis=-1)  # of the inverse-transform sampler
    drawn = (rng.random(tokens.shape)[..., None] * height[:, -1:] >= height).sum(axis=-1)
    replacement = np.select([lot < 0.1, lot < 0.2, lot < 0.3], [uniform, drawn, tokens], MASK)
    masked = np.where(chosen, replacement, tokens).astype(tokens.dtype)
    return masked, chosen.astype(np.float32)


def nearest_cluster(
    centres: Int[np.ndarray, "s n"], extra: Int[np.ndarray, "t n"]
) -> Int[np.ndarray, " t"]:
    """The centre that agrees with each extra row in most letters; gaps and masks do not count.

    Ties go to the earlier centre. Source: supplement 1.2.7 (Hamming distance).
    """
    letters = np.eye(NUM_TOKENS, GAP, dtype=np.float32)  # one-hot; gap and mask are zero
    width = centres.shape[1] * GAP
    flat = letters[centres].reshape(len(centres), width).T
    step = max(1, 10_000_000 // width)  # extra rows at a time, to bound the memory
    found = [np.empty(0, np.int64)]
    for start in range(0, len(extra), step):
        rows = letters[extra[start : start + step]].reshape(-1, width)
        found.append(np.argmax(rows @ flat, axis=1))
    return np.concatenate(found)


def cluster_profiles(
    centres: Int[np.ndarray, "s n"],
    centre_deletions: Int[np.ndarray, "s n"],
    extra: Int[np.ndarray, "t n"],
    extra_deletions: Int[np.ndarray, "t n"],
    cluster: Int[np.ndarray, " t"],
) -> tuple[Float[np.ndarray, "s n 23"], Float[np.ndarray, "s n"]]:
    """Letter frequencies and mean deletion count of each cluster: its centre and its extra rows.

    ``centres`` are the masked ones: a profile of the true letters would give the answer away.
    """
    s, n = centres.shape
    tokens = np.concatenate([centres, extra])
    deletions = np.concatenate([centre_deletions, extra_deletions])
    row = np.concatenate([np.arange(s), cluster])
    column = row[:, None] * n + np.arange(n)
    counts = np.bincount((column * NUM_TOKENS + tokens).ravel(), minlength=s * n * NUM_TOKENS)
    sums = np.bincount(column.ravel(), weights=deletions.ravel(), minlength=s * n)
    members = np.bincount(row, minlength=s)[:, None]
    frequencies = counts.reshape(s, n, NUM_TOKENS) / members[..., None]
    return frequencies.astype(np.float32), (sums.reshape(s, n) / members).astype(np.float32)


def weights(tokens: Int[np.ndarray, "s n"], identity: float = 0.8) -> Float[np.ndarray, " s"]:
    """1 / (number of rows, itself included, that equal a row in at least ``identity`` of columns).

    A gap is a letter like any other here. The sum is the effective number of sequences, Neff.
    Source: Morcos et al. 2011, PNAS 108, E1293 (there with 0.8).
    """
    flat = one_hot(tokens).reshape(len(tokens), -1)
    needed = identity * tokens.shape[1] - 1e-3
    step = 256
    neighbours = [
        (flat[start : start + step] @ flat.T >= needed).sum(axis=1)
        for start in range(0, len(flat), step)
    ]
    return (1 / np.concatenate(neighbours)).astype(np.float32)
