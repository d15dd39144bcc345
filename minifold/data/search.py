"""Homologous sequences: HMMER's profiles, through pyhmmer.

Two ways to an alignment that is anchored on a query: ``align_family`` for sequences that are
known to belong together, ``search`` to find them in a database first. Both are deterministic.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pyhmmer import easel, hmmer, plan7
from tqdm import tqdm

from minifold.data.msa import (
    Alignment,
    Record,
    aligned_columns,
    anchored,
    columns,
    deduplicate,
    read_alignment,
    read_sequences,
    weights,
)
from minifold.data.residues import GAP
from minifold.errors import BadInput

AMINO = easel.Alphabet.amino()
SHIPPED = Path(__file__).parents[2] / "data" / "sequences"  # the families in data/sequences
METHODS = ("jackhmmer", "hmmsearch", "phmmer")
LONGEST = 100_000  # residues; HMMER compares no longer sequence
BLOCK = 1000  # sequences between two steps of the progress bar
THIN, DEEP = 30, 100  # effective sequences


def align_family(records: Sequence[tuple[str, str]], rounds: int = 3) -> Alignment:
    """Align (name, sequence) records to the first one; all of them stay, in their order.

    The first round aligns to a profile of the query alone (BLOSUM62), each further one to a
    profile of the alignment before it, whose match states are the residues of the query. What a
    sequence has outside of the aligned domain is left out.

    Raises:
        BadInput: no records, or a letter that is not an amino acid.
    """
    block = digital(records)
    builder = plan7.Builder(AMINO, architecture="hand")  # match states: as the reference line says
    profile, _, _ = builder.build(block[0], plan7.Background(AMINO))
    for _ in range(rounds - 1):
        rows = hmmer.hmmalign(profile, block, cpus=1)
        rows.name = "family"
        rows.reference = "".join("x" if c.isalpha() else "." for c in rows.alignment[0])
        profile, _, _ = builder.build_msa(rows.digitize(AMINO), plan7.Background(AMINO))
    query, *others = hmmer.hmmalign(profile, block, cpus=1).alignment
    return _anchored([name for name, _ in records], [query, *map(_without_flanks, others)])


def search(
    query: Alignment | str | Path,
    database: Sequence[tuple[str, str]] | str | Path | None = None,
    method: str = "jackhmmer",
    iterations: int = 3,
    evalue: float = 1e-3,
    quiet: bool = True,
) -> Alignment:
    """Search a database for homologs of a protein; the query first, then the hits, best first.

    A hit's name is ``name/first-last``; what it has outside of the aligned domain is left out,
    and rows that repeat an earlier one are dropped. Rows of the query's alignment other than the
    query shape the profile and are not in the result.

    Args:
        query: an alignment, or a file with one (FASTA with one sequence, a3m, Stockholm).
        database: (name, sequence) records, a file of them (FASTA, a3m or Stockholm; gaps do not
            matter), or a folder of such files; None: the families that are shipped.
        method: "phmmer" searches with the query sequence alone; "hmmsearch" with the profile of
            the query's alignment; "jackhmmer" goes on from there: each iteration searches with
            the profile of the hits before it, until no new one is found.
        iterations: of jackhmmer, at most.
        evalue: largest E-value of a hit and of each of its domains.
        quiet: no progress bar.

    Raises:
        BadInput: a file that cannot be read, an empty database, a letter that is not an amino
            acid, or no such method.
    """
    if method not in METHODS:
        raise BadInput(f"no method {method!r}; choose one of {', '.join(METHODS)}")
    family = query if isinstance(query, Alignment) else read_alignment(query)
    family = family.take(np.arange(1)) if method == "phmmer" else family
    targets = _targets(SHIPPED if database is None else database, quiet)
    found: set[str] = set()
    for round_ in range(1, 1 + (iterations if method == "jackhmmer" else 1)):
        label = f"{method}, round {round_}" if method == "jackhmmer" else method
        hits = scan(profile_of(family), targets, evalue, label, quiet)
        family = _with_hits(family, hits)
        names = {name.rpartition("/")[0] for name in family.names[1:]}
        if names <= found:
            break
        found |= names
    return deduplicate(family)


def jackhmmer(
    query: tuple[str, str], database: Sequence[tuple[str, str]], iterations: int = 3
) -> Alignment:
    """``search`` for a (name, sequence) in a list of such records."""
    name, sequence = query
    return search(Alignment.from_sequence(sequence, name), database, iterations=iterations)


def profile_of(family: Alignment) -> plan7.HMM:
    """HMMER's profile of an alignment: one match state for each residue of the query."""
    builder, background = plan7.Builder(AMINO, architecture="hand"), plan7.Background(AMINO)
    if family.depth == 1:
        return builder.build(digital([(family.names[0], family.query)])[0], background)[0]
    rows, reference = columns(family)
    sequences = [
        easel.TextSequence(name=f"{k} {name}", sequence=row)
        for k, (name, row) in enumerate(zip(family.names, rows))
    ]
    msa = easel.TextMSA(name=family.names[0], sequences=sequences)
    msa.reference = reference
    return builder.build_msa(msa.digitize(AMINO), background)[0]


def digital(records: Sequence[tuple[str, str]]) -> easel.DigitalSequenceBlock:
    """The records in HMMER's form.

    Raises:
        BadInput: no records, a letter that is not an amino acid, or a sequence that is too long.
    """
    if not records:
        raise BadInput("there is no sequence; give some to align or to search")
    sequences = []
    for name, letters in records:
        letters = letters.upper().replace("-", "").replace(".", "").rstrip("*").replace("*", "X")
        if len(letters) > LONGEST:
            raise BadInput(
                f"{name!r} has {len(letters)} residues, HMMER takes up to {LONGEST}; leave it out"
            )
        try:
            if not (letters.isalpha() and letters.isascii()):
                raise ValueError
            sequences.append(easel.TextSequence(name=name, sequence=letters).digitize(AMINO))
        except ValueError:
            raise BadInput(
                f"{name!r} has a letter that is not an amino acid, or no letter; remove it"
            ) from None
    return easel.DigitalSequenceBlock(AMINO, sequences)


def scan(
    profile: plan7.HMM,
    targets: easel.DigitalSequenceBlock,
    evalue: float,
    label: str = "searching",
    quiet: bool = True,
) -> plan7.TopHits:
    """Hits of a profile. Block after block, for the sake of the bar; E-values are of the whole."""
    parts = []
    thresholds = dict.fromkeys(("E", "domE", "incE", "incdomE"), evalue)
    with tqdm(total=len(targets), desc=label, unit=" sequences", disable=quiet) as bar:
        for start in range(0, len(targets), BLOCK):
            block = targets[start : start + BLOCK]
            pipeline = plan7.Pipeline(AMINO, **thresholds)
            parts.append(pipeline.search_hmm(profile, block))
            bar.update(len(block))
    return parts[0].merge(*parts[1:])


def neff(alignment: Alignment) -> float:
    """Effective number of sequences: rows that are 80 % identical share one vote."""
    return float(weights(alignment.tokens).sum())


def advice(alignment: Alignment) -> str:
    """Depth and Neff in a sentence, and what follows from them (Jumper et al. 2021, Fig. 5a)."""
    votes = weights(alignment.tokens)
    total = round(float(votes.sum()), 1)
    text = f"{alignment.depth} sequence{'s' * (alignment.depth > 1)}, Neff {total}: "
    if total < THIN:
        return text + (
            f"thin (under {THIN}), the structure may be wrong; search a larger database, or ask "
            "ColabFold's server: minifold fetch --msa QUERY.fasta"
        )
    if total <= DEEP:
        text += "enough to fold; a larger database may still improve it"
    else:
        text += (
            f"deep (over {DEEP}), more would gain little; what the model cannot hold, it clusters"
        )
    thin = int((votes @ (alignment.tokens != GAP) < THIN).sum())
    have = "residue has" if thin == 1 else "residues have"
    return text + (f"; {thin} {have} less than {THIN}" if thin else "")


def _targets(
    database: Sequence[tuple[str, str]] | str | Path, quiet: bool
) -> easel.DigitalSequenceBlock:
    """A database in HMMER's form."""
    if not isinstance(database, (str, Path)):
        return digital(database)
    path = Path(database)
    files = sorted(path.glob("*.fasta")) if path.is_dir() else [path]
    small = sum(file.stat().st_size for file in files if file.is_file()) < 50e6
    label = f"reading {path.name}"
    try:
        with tqdm(desc=label, bar_format="{desc}", leave=False, disable=quiet or small):
            return digital([record for file in files for record in read_sequences(file)])
    except BadInput as error:
        raise BadInput(f"{path}: {str(error).removeprefix(f'{path}: ')}") from None


def _with_hits(family: Alignment, hits: plan7.TopHits) -> Alignment:
    """The query and the domains that were found."""
    query = digital([(family.names[0], family.query)])[0]
    trace = plan7.Trace.from_sequence(query)
    rows = hits.to_msa(AMINO, sequences=[query], traces=[trace], all_consensus_cols=True)
    return _anchored([family.names[0], *list(rows.names)[1:]], list(rows.alignment))


def _anchored(names: list[str], rows: list[str]) -> Alignment:
    records = [Record(name, row) for name, row in zip(names, rows)]
    return anchored(aligned_columns(records), "the HMMER alignment")


def _without_flanks(row: str) -> str:
    """The row without insertions (lower case) outside of its first and last matched residue."""
    core = re.search(r"[A-Z](.*[A-Z])?", row)
    start, end = core.span() if core else (len(row), len(row))
    return "-" * start + row[start:end] + "-" * (len(row) - end)
