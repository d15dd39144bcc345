"""Known structures of related proteins: how templates are found and given to the model.

    query's alignment ─ profile ─ search ─┬─► Template: chain, aligned residues ─► Batch.template_*
    folder of structures ─ sequences ─────┘

A structure of the target itself is the answer, not a template: near copies are refused, and with
them every other chain of their file. Source: supplement 1.2.3; DeepMind refused by release date.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import gemmi
import numpy as np
import torch
from jaxtyping import Int
from tqdm import tqdm

from minifold.data.features import Batch
from minifold.data.files import write_bytes
from minifold.data.msa import Alignment, read_alignment, write_alignment
from minifold.data.residues import ATOM_INDEX, GAP
from minifold.data.search import digital, profile_of, scan
from minifold.data.structures import Chain, protein_chains, read_structure, structure_files
from minifold.errors import BadInput

SHIPPED = Path(__file__).parents[2] / "data" / "structures"
CA = ATOM_INDEX["CA"]
PROGRAMS = ("hhsearch", "hmmsearch")
IDENTITY, COVERAGE = 0.95, 0.9  # from here on, a structure is a near copy of the target
E_VALUE = 1e-3
SHORTEST = 10  # aligned residues with coordinates


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
    structures: str | Path | Sequence[str | Path] | None = None,
    max_templates: int = 4,
    allow_target: bool = False,
    program: str | None = None,
    quiet: bool = True,
) -> list[Template]:
    """The templates of a protein, those with most correctly aligned residues first.

    The profile of the query's alignment is searched for in the sequences of all structures.

    Args:
        query: an alignment, or a file with one.
        structures: a folder of structure files (.cif, .pdb, also .gz), or several folders and
            files; None: the structures that are shipped.
        max_templates: how many, at most; AlphaFold takes 4.
        allow_target: take also near copies of the target (95 % identity over 90 % of the shorter
            of the two), and what stands in the same file. For experiments: it is the answer.
        program: "hhsearch" or "hmmsearch"; None: hhsearch where it is installed.
        quiet: no progress bar, and nothing about what is refused.

    Raises:
        BadInput: no such folder or program, no protein in the folder, or a file cannot be read.
    """
    query = query if isinstance(query, Alignment) else read_alignment(query)
    program = program or ("hhsearch" if shutil.which("hhsearch") else "hmmsearch")
    if program not in PROGRAMS:
        raise BadInput(f"no program {program!r}; choose one of {', '.join(PROGRAMS)}")
    structures = SHIPPED if structures is None else structures
    library = _library([structures] if isinstance(structures, (str, Path)) else structures, quiet)
    hits = (_hhsearch if program == "hhsearch" else _hmmsearch)(query, library)
    found = [hit for hit in hits if hit.chain.mask[hit.places, CA].sum() >= SHORTEST]
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


# --- Search ---------------------------------------------------------------------------------------


def _library(places: Sequence[str | Path], quiet: bool) -> list[tuple[Path, Chain]]:
    """One chain of each protein in each file."""
    library = []
    for path in tqdm(structure_files(*places), "reading structures", leave=False, disable=quiet):
        for name in protein_chains(path).values():
            with suppress(BadInput):  # a chain without CA atoms
                library.append((path, read_structure(path, chain=name)))
    if not library:
        where = ", ".join(map(str, places)) or "the list"
        raise BadInput(f"no protein structure in {where}; give a folder with .cif or .pdb files")
    return library


def _hmmsearch(query: Alignment, library: Sequence[tuple[Path, Chain]]) -> Iterator[Template]:
    """Every domain that HMMER finds."""
    targets = digital([(str(k), chain.sequence) for k, (_, chain) in enumerate(library)])
    for hit in scan(profile_of(query), targets, E_VALUE).included:
        path, chain = library[int(hit.name)]
        for domain in hit.domains.included:
            a = domain.alignment
            column, place, pairs, expected = a.hmm_from - 1, a.target_from - 1, [], 0.0
            rows = zip(a.hmm_sequence, a.target_sequence, a.posterior_probabilities)
            for ours, theirs, sure in rows:
                if ours != "." and theirs != "-":
                    pairs.append((column, place))
                    expected += 1.0 if sure == "*" else int(sure) / 10
                column, place = column + (ours != "."), place + (theirs != "-")
            yield Template(chain, path, *np.array(pairs).T, expected, domain.i_evalue)


def _hhsearch(query: Alignment, library: Sequence[tuple[Path, Chain]]) -> Iterator[Template]:
    """Every alignment that HH-suite's hhsearch finds; the chains have profiles of one sequence."""
    with TemporaryDirectory() as folder:
        base = Path(folder)
        write_alignment(query, base / "query.a3m")
        sequences = [chain.sequence for _, chain in library]
        _write_ffindex(base / "db_a3m", [f">{k}\n{s}\n" for k, s in enumerate(sequences)])
        _write_ffindex(base / "db_cs219", ["A" * (len(s) - 1) for s in sequences])  # only lengths
        command = "hhsearch -v 1 -i query.a3m -d db -o hits.hhr -atab pairs.txt".split()
        try:
            subprocess.run(command, cwd=base, check=True, capture_output=True, text=True)
        except FileNotFoundError:
            raise BadInput("hhsearch is not installed; Debian's package is hhsuite") from None
        except subprocess.CalledProcessError as error:
            reason = " ".join(error.stderr.split())[-200:]
            raise BadInput(f"hhsearch could not search the structures: {reason}") from None
        evalues = re.findall(r"^Probab=.*?E-value=(\S+)", (base / "hits.hhr").read_text(), re.M)
        tables = (base / "pairs.txt").read_text().split(">")[1:]
    for evalue, table in zip(evalues, tables):
        number, _, _, *rows = table.splitlines()  # then: missing dssp; i j score SS probab
        pairs = np.array([row.split() for row in rows], float)
        if float(evalue) <= E_VALUE:
            path, chain = library[int(number)]
            columns, places = pairs[:, :2].astype(int).T - 1
            yield Template(chain, path, columns, places, float(pairs[:, 4].sum()), float(evalue))


def _write_ffindex(stem: Path, records: Sequence[str]) -> None:
    """HH-suite's database: records with a zero byte after each, and a sorted list of them."""
    data = [record.encode() + b"\0" for record in records]
    starts = np.cumsum([0, *map(len, data)])
    index = sorted(f"{k}\t{starts[k]}\t{len(record)}\n" for k, record in enumerate(data))
    write_bytes(stem.with_suffix(".ffdata"), b"".join(data))
    write_bytes(stem.with_suffix(".ffindex"), "".join(index).encode())


# --- The target is no template --------------------------------------------------------------------


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
    pairs = [query[a] + chain.sequence[b] for a, b in zip(columns, places)]
    same = sum(pair[0] == pair[1] or "X" in pair for pair in pairs)  # an unknown one may be any
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
