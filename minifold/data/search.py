"""Homologous sequences: HMMER's profiles, through pyhmmer.

Two ways to an alignment that is anchored on a query: ``align_family`` for sequences that are
known to belong together, ``jackhmmer`` to find them in a database first. Both are deterministic.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from pyhmmer import easel, hmmer, plan7

from minifold.data.msa import Alignment, Record, aligned_columns, anchored, deduplicate
from minifold.errors import BadInput

AMINO = easel.Alphabet.amino()


def align_family(records: Sequence[tuple[str, str]], rounds: int = 3) -> Alignment:
    """Align (name, sequence) records to the first one; all of them stay, in their order.

    The first round aligns to a profile of the query alone (BLOSUM62), each further one to a
    profile of the alignment before it, whose match states are the residues of the query. What a
    sequence has outside of the aligned domain is left out.

    Raises:
        BadInput: no records, or a letter that is not an amino acid.
    """
    block = _digital(records)
    builder = plan7.Builder(AMINO, architecture="hand")  # match states: as the reference line says
    profile, _, _ = builder.build(block[0], plan7.Background(AMINO))
    for _ in range(rounds - 1):
        rows = hmmer.hmmalign(profile, block, cpus=1)
        rows.name = "family"
        rows.reference = "".join("x" if c.isalpha() else "." for c in rows.alignment[0])
        profile, _, _ = builder.build_msa(rows.digitize(AMINO), plan7.Background(AMINO))
    query, *others = hmmer.hmmalign(profile, block, cpus=1).alignment
    return _anchored([name for name, _ in records], [query, *map(_without_flanks, others)])


def jackhmmer(
    query: tuple[str, str],
    database: Sequence[tuple[str, str]],
    iterations: int = 3,
    progress: Callable[[int, int], None] | None = None,
) -> Alignment:
    """Search (name, sequence) records for homologs of a query; query first, then the hits.

    Each iteration searches with the profile of the hits before it (E-value up to 0.001), until no
    new one is found. ``progress(iteration, number of hits)`` is called after each. A hit's name is
    ``name/first-last``; repeated rows are dropped.

    Raises:
        BadInput: the database is empty, or a letter is not an amino acid.
    """
    sequence, targets = _digital([query])[0], _digital(database)
    search = hmmer.jackhmmer(sequence, targets, max_iterations=iterations, checkpoints=True, cpus=1)
    for result in next(iter(search)):
        if progress is not None:
            progress(result.iteration, len(result.hits.included))
    rows = result.msa.textize()
    return deduplicate(_anchored([query[0], *list(rows.names)[1:]], list(rows.alignment)))


def _anchored(names: list[str], rows: list[str]) -> Alignment:
    records = [Record(name, row) for name, row in zip(names, rows)]
    return anchored(aligned_columns(records), "the HMMER alignment")


def _without_flanks(row: str) -> str:
    """The row without insertions (lower case) outside of its first and last matched residue."""
    core = re.search(r"[A-Z](.*[A-Z])?", row)
    start, end = core.span() if core else (len(row), len(row))
    return "-" * start + row[start:end] + "-" * (len(row) - end)


def _digital(records: Sequence[tuple[str, str]]) -> easel.DigitalSequenceBlock:
    """The records in HMMER's form.

    Raises:
        BadInput: no records, or a letter that is not an amino acid.
    """
    if not records:
        raise BadInput("no sequences to align or search; is the file empty?")
    sequences = []
    for name, letters in records:
        try:
            sequences.append(easel.TextSequence(name=name, sequence=letters).digitize(AMINO))
        except ValueError:
            raise BadInput(
                f"{name!r} has a letter that is not an amino acid; give unaligned sequences"
            ) from None
    return easel.DigitalSequenceBlock(AMINO, sequences)
