"""Known structures of related proteins: how templates are found and given to the model.

    query's alignment ─ profile ─ search ─┬─► Template: chain, aligned residues ─► Batch.template_*
    folder of structures ─ sequences ─────┘

A structure of the target itself is the answer, not a template: near copies are refused, and with
them every other chain of their file.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import gemmi
import numpy as np
import torch
from jaxtyping import Int
from tqdm import tqdm

from minifold.data.features import Batch
from minifold.data.msa import Alignment, read_alignment
from minifold.data.residues import GAP
from minifold.data.search import digital, profile_of, scan
from minifold.data.structures import Chain, protein_chains, read_structure, structure_files
from minifold.errors import BadInput

SHIPPED = Path(__file__).parents[2] / "data" / "structures"
IDENTITY, COVERAGE = 0.95, 0.9  # from here on, a structure is a near copy of the target
E_VALUE = 1e-3
SHORTEST = 10  # aligned residues


@dataclass(frozen=True)
class Template:
    """A chain of known structure, aligned to n residues of the query."""

    chain: Chain
    path: Path
    columns: Int[np.ndarray, " n"]  # residues of the query, from 0
    places: Int[np.ndarray, " n"]  # the residue of the chain at each of them
    expected: float  # how many of the n are aligned correctly, on average
    evalue: float

    @property
    def name(self) -> str:
        """Such as 1abc_A."""
        return f"{self.chain.name.lower()}_{self.chain.chain_id}"


def find_templates(
    query: Alignment | str | Path,
    folder: str | Path | None = None,
    max_templates: int = 4,
    allow_target: bool = False,
    quiet: bool = True,
) -> list[Template]:
    """The templates of a protein, those with most correctly aligned residues first.

    The profile of the query's alignment is searched for in the sequences of all structures.

    Args:
        query: an alignment, or a file with one.
        folder: of structure files (.cif, .pdb, also .gz); None: the ones that are shipped.
        max_templates: how many, at most; AlphaFold takes 4.
        allow_target: take also near copies of the target (95 % identity over 90 % of the shorter
            of the two), and what stands in the same file. For experiments: it is the answer.
        quiet: no progress bar, and nothing about what is refused.

    Raises:
        BadInput: there is no such folder, or a file cannot be read.
    """
    query = query if isinstance(query, Alignment) else read_alignment(query)
    library = _library(SHIPPED if folder is None else folder, quiet)
    found = [hit for hit in _hmmer(query, library) if len(hit.columns) >= SHORTEST]
    if not allow_target:
        refused = _near_copies(query.query, found, library)
        for path in sorted(refused) if not quiet else ():
            tqdm.write(f"{path} holds the target or a near copy: no template", file=sys.stderr)
        found = [hit for hit in found if hit.path not in refused]
    return sorted(found, key=lambda hit: -hit.expected)[:max_templates]


def with_templates(batch: Batch, templates: Sequence[Template]) -> Batch:
    """The batch of one protein, with templates; the same batch if there are none.

    Raises:
        BadInput: a template is aligned to a residue that the protein does not have.
    """
    if not templates:
        return batch
    shape = (len(templates), batch.length)
    aatype = np.full(shape, GAP)
    positions, mask = np.zeros((*shape, 37, 3), np.float32), np.zeros((*shape, 37), np.float32)
    for row, hit in enumerate(templates):
        if hit.columns.max() >= batch.length:
            raise BadInput(f"template {hit.name} is aligned to another protein; search again")
        aatype[row, hit.columns] = hit.chain.aatype[hit.places]
        positions[row, hit.columns] = hit.chain.positions[hit.places]
        mask[row, hit.columns] = hit.chain.mask[hit.places]
    return replace(
        batch,
        template_aatype=torch.from_numpy(aatype)[None],
        template_all_atom_positions=torch.from_numpy(positions)[None],
        template_all_atom_mask=torch.from_numpy(mask)[None],
        template_mask=torch.ones(1, len(templates)),
    )


def _library(folder: str | Path, quiet: bool) -> list[tuple[Path, Chain]]:
    """One chain of each protein in each file."""
    library = []
    for path in tqdm(structure_files(folder), "reading structures", leave=False, disable=quiet):
        for name in protein_chains(path).values():
            library.append((path, read_structure(path, chain=name)))
    if not library:
        raise BadInput(f"{folder} has no protein structure; give a folder with .cif or .pdb files")
    return library


def _hmmer(query: Alignment, library: Sequence[tuple[Path, Chain]]) -> Iterator[Template]:
    """Every domain that HMMER finds."""
    targets = digital([(str(k), chain.sequence) for k, (_, chain) in enumerate(library)])
    for hit in scan(profile_of(query), targets, E_VALUE).included:
        path, chain = library[int(hit.name)]
        for domain in hit.domains.included:
            a = domain.alignment
            column, place, pairs = a.hmm_from - 1, a.target_from - 1, []
            for ours, theirs, sure in zip(
                a.hmm_sequence, a.target_sequence, a.posterior_probabilities
            ):
                if ours != "." and theirs != "-":
                    pairs.append((column, place, 1.0 if sure == "*" else int(sure) / 10))
                column, place = column + (ours != "."), place + (theirs != "-")
            columns, places, chances = zip(*pairs)
            yield Template(
                chain, path, np.array(columns), np.array(places), sum(chances), domain.i_evalue
            )


def _near_copies(
    query: str, found: Sequence[Template], library: Sequence[tuple[Path, Chain]]
) -> set[Path]:
    """Files of hits that hold the target or a near copy, in whichever chain."""
    suspects = [(h.path, h.chain, h.columns, h.places) for h in found]
    paths = {hit.path for hit in found}
    suspects += [
        (path, chain, *_paired(query, chain.sequence)) for path, chain in library if path in paths
    ]
    return {path for path, *pairs in suspects if _is_near_copy(query, *pairs)}


def _is_near_copy(query: str, chain: Chain, columns: np.ndarray, places: np.ndarray) -> bool:
    """Whether the aligned residues are many and nearly all the same."""
    same = sum(query[a] == chain.sequence[b] for a, b in zip(columns, places))
    shorter = min(len(query), len(chain.sequence))
    return len(columns) >= COVERAGE * shorter and same >= IDENTITY * len(columns)


def _paired(one: str, other: str) -> tuple[np.ndarray, np.ndarray]:
    """The aligned residues of the best global alignment (BLOSUM62)."""
    residues = [gemmi.expand_one_letter_sequence(x, gemmi.ResidueKind.AA) for x in (one, other)]
    result = gemmi.align_string_sequences(*residues, [], gemmi.AlignmentScoring("b"))
    rows = result.add_gaps(one, 1), result.add_gaps(other, 2)
    gaps = np.array([[c == "-" for c in row] for row in rows])
    both = ~gaps.any(axis=0)
    first, second = (np.cumsum(~gaps, axis=1) - 1)[:, both]
    return first, second
