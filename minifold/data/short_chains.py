"""A training set of short real chains: ``minifold fetch --short-chains N``.

X-ray structures of 2.5 Å or better, one chain of 30 to 100 residues to a file, in folders
``train`` and ``val``, between which there is no homology: chains are put into one cluster if
phmmer finds one with the other, or if they are 40 % identical, and a cluster is never divided.
"""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import quote

import gemmi
import numpy as np
from jaxtyping import Int
from tqdm import tqdm

from minifold.data.download import Downloader, NotThere
from minifold.data.fetch import PUBLIC, Sources, default_downloader, entry_file
from minifold.data.files import write_text
from minifold.data.residues import ATOM_INDEX
from minifold.data.structures import (
    Chain,
    protein_chains,
    read_structure,
    structure_files,
    write_structure,
)
from minifold.errors import BadInput

SHORTEST, LONGEST = 30, 100  # residues of the whole sequence, unresolved ones included
RESOLUTION = 2.5  # Å, at most
KNOWN = 0.8  # at least this share of residues has a type and its N, CA and C
IDENTITY = 0.4  # from this share of identical residues on, two chains are related
COVERAGE = 0.8  # of chains whose lengths differ more, only phmmer judges: chance is enough for 40 %
# phmmer's E-value in the search of all against all. Ten times the usual 0.01: a tenth of the
# chains is held out, and searching a tenth of the database makes an E-value ten times smaller.
E_VALUE = 0.1
HELD_OUT = 0.1  # share of the chains, at most
LARGEST_ENTRY = 2000  # residues; larger files take long to fetch for one short chain
COLUMNS = "id chain length resolution method cluster split source".split()
BACKBONE = [ATOM_INDEX[name] for name in ("N", "CA", "C")]


@dataclass(frozen=True)
class Found:
    """A chain, its name, and the file or entry it is from."""

    name: str
    chain: Chain
    source: str


def build(
    count: int,
    folder: str | Path,
    structures: str | Path | None = None,
    sources: Sources | None = None,
    downloader: Downloader | None = None,
    seed: int = 0,
    quiet: bool = False,
) -> dict:
    """Write train/NAME.cif, val/NAME.cif and manifest.csv.

    Args:
        count: how many chains, at most.
        folder: where they go.
        structures: a folder of structure files to take them from; None: from the PDB.
        sources: where the PDB answers; default: ``PUBLIC``.
        downloader: how to ask it; default: with the user's cache.
        seed: of the order in which candidates are looked at, and of the split.
        quiet: no progress bars.

    Returns:
        How many files were read and chains kept, the numbers of train, val and clusters, and
        under "dropped" why chains and files were not taken, each with its number.

    Raises:
        BadInput: no such folder, nothing in it that qualifies, no answer from the PDB, or the
            folder has a training set already.
    """
    for part in ("train", "val"):  # chains of another split would break the promise of this one
        if any((Path(folder) / part).glob("*")):
            raise BadInput(f"{Path(folder) / part} is not empty; give another folder")
    rng = np.random.default_rng(seed)
    if structures is None:
        downloader = downloader or default_downloader(quiet)
        candidates = _from_pdb(sources or PUBLIC, downloader, rng)
    else:
        candidates = _from_folder(Path(structures), rng)
    found, dropped, files = _collect(candidates, count, quiet)
    if not found:
        reasons = ", ".join(f"{reason}: {number}" for reason, number in dropped.items())
        raise BadInput(f"none of {files} files has a chain to train on ({reasons or 'no files'})")
    found.sort(key=lambda one: one.name)
    labels = clusters([one.chain.sequence for one in found], quiet)
    held_out = split(labels, rng)
    parts = ["val" if out else "train" for out in held_out]
    for one, part in zip(found, parts):
        write_structure(one.chain, Path(folder) / part / f"{one.name}.cif")
    write_text(Path(folder) / "manifest.csv", _manifest(found, labels, parts))
    return {
        "files": files,
        "chains": len(found),
        "train": int((~held_out).sum()),
        "val": int(held_out.sum()),
        "clusters": len(set(labels.tolist())),
        "dropped": dict(dropped.most_common()),
    }


def _manifest(found: Sequence[Found], labels: np.ndarray, parts: Sequence[str]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for one, cluster, part in zip(found, labels.tolist(), parts):
        c = one.chain
        row = (one.name, c.chain_id, len(c.sequence), f"{c.resolution:.2f}", c.method, cluster)
        writer.writerow([*row, part, one.source])
    return text.getvalue()


# --- Candidates -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Candidate:
    """A structure file that may have a chain to train on."""

    get: Callable[[], Path]
    source: str  # what the manifest says
    entity: str | None = None  # the protein that is wanted; None: all


def _from_folder(folder: Path, rng: np.random.Generator) -> Iterator[Candidate]:
    """Every structure file below a folder, in random order."""
    files = structure_files(folder)
    for k in rng.permutation(len(files)):
        yield Candidate(partial(Path, files[k]), files[k].relative_to(folder).as_posix())


def _from_pdb(
    sources: Sources, downloader: Downloader, rng: np.random.Generator
) -> Iterator[Candidate]:
    """Entries of the PDB with a short chain, in random order."""
    names = search(sources, downloader)
    for k in rng.permutation(len(names)):
        entry, entity = names[k].split("_")
        source = f"{sources.rcsb}/{entry.lower()}.cif.gz"
        yield Candidate(partial(entry_file, entry, sources, downloader), source, entity)


def search(sources: Sources, downloader: Downloader) -> list[str]:
    """What the PDB has: "1UBQ_1" is the first entity of an entry; one of each 90 % cluster.

    Raises:
        BadInput: there is no answer, or one of unknown form.
    """
    conditions = [
        ("exptl.method", "exact_match", "X-RAY DIFFRACTION"),
        ("rcsb_entry_info.resolution_combined", "less_or_equal", RESOLUTION),
        ("rcsb_entry_info.deposited_polymer_monomer_count", "less_or_equal", LARGEST_ENTRY),
        ("entity_poly.rcsb_entity_polymer_type", "exact_match", "Protein"),
        ("entity_poly.rcsb_sample_sequence_length", "greater_or_equal", SHORTEST),
        ("entity_poly.rcsb_sample_sequence_length", "less_or_equal", LONGEST),
    ]
    nodes = [
        {
            "type": "terminal",
            "service": "text",
            "parameters": {"attribute": attribute, "operator": operator, "value": value},
        }
        for attribute, operator, value in conditions
    ]
    names: list[str] = []
    rows = 10_000  # the most that are sent at once
    while True:
        request = {
            "query": {"type": "group", "logical_operator": "and", "nodes": nodes},
            "return_type": "polymer_entity",
            "request_options": {
                "paginate": {"start": len(names), "rows": rows},
                "results_content_type": ["experimental"],
                "results_verbosity": "compact",
                "group_by": {"aggregation_method": "sequence_identity", "similarity_cutoff": 90},
                "group_by_return_type": "representatives",
            },
        }
        text = downloader.ask(f"{sources.rcsb_search}?json={quote(json.dumps(request))}")
        try:
            page = [str(name) for name in json.loads(text)["result_set"]]
        except (ValueError, KeyError, TypeError):
            raise BadInput(f"{sources.rcsb_search}: an answer of unknown form") from None
        names += page
        if len(page) < rows:
            return sorted(set(names))


def _collect(
    candidates: Iterator[Candidate], count: int, quiet: bool
) -> tuple[list[Found], Counter, int]:
    """The first ``count`` chains that qualify, why others do not, and how many files were read."""
    found: dict[str, Found] = {}
    seen: set[str] = set()
    dropped: Counter = Counter()
    files = 0
    with tqdm(total=count, desc="chains", disable=quiet) as bar:
        for candidate in candidates:
            try:
                path = candidate.get()
            except NotThere:
                dropped["entry without a file"] += 1
                continue
            files += 1
            chains = _chains(path, candidate.entity)
            if not chains:
                dropped["no protein that can be read"] += 1
            for chain in chains:
                reason = why_not(chain)
                if reason is None and chain.sequence in seen:
                    reason = "the same sequence as another chain"
                if reason:
                    dropped[reason] += 1
                    continue
                seen.add(chain.sequence)
                name = _name(chain, {key.lower() for key in found})
                found[name] = Found(name, chain, candidate.source)
                bar.update()
                if len(found) == count:
                    return list(found.values()), dropped, files
    return list(found.values()), dropped, files


def _chains(path: Path, entity: str | None) -> list[Chain]:
    """One chain of each protein in a file, or of the wanted one; none of a file that is broken."""
    try:
        names = protein_chains(path)
        wanted = names.values() if entity is None else [names[entity]]
        return [read_structure(path, chain=name) for name in wanted]
    except (BadInput, KeyError):
        return []


def _name(chain: Chain, taken: set[str]) -> str:
    """1abc_A; chains A and a get different names even where case does not count."""
    stem = "".join(c if c.isalnum() else "-" for c in chain.name.lower())
    name = f"{stem}_{chain.chain_id}"
    number = 2
    while name.lower() in taken:
        name, number = f"{stem}_{chain.chain_id}-{number}", number + 1
    return name


def why_not(chain: Chain) -> str | None:
    """The first reason not to train on a chain; None if there is none."""
    if "X-RAY" not in chain.method.upper():
        return f"not X-ray ({chain.method.lower() or 'method not in the file'})"
    if chain.resolution is None:
        return "resolution not in the file"
    if chain.resolution > RESOLUTION:
        return f"resolution worse than {RESOLUTION} Å"
    if not SHORTEST <= len(chain.sequence) <= LONGEST:
        return f"not {SHORTEST} to {LONGEST} residues"
    letters = np.array(list(chain.sequence)) != "X"
    if (letters & chain.mask[:, BACKBONE].all(axis=1)).mean() < KNOWN:
        return f"less than {KNOWN:.0%} of the residues resolved and known"
    return None


# --- Clusters -------------------------------------------------------------------------------------


def clusters(sequences: Sequence[str], quiet: bool = True) -> Int[np.ndarray, " n"]:
    """Number of the cluster of each sequence, from 0 in the order of first members."""
    parent = list(range(len(sequences)))

    def root(k: int) -> int:
        while parent[k] != k:
            parent[k] = parent[parent[k]]
            k = parent[k]
        return k

    for i, j in _hits(sequences, quiet):
        parent[root(i)] = root(j)
    for i, j in _identical(sequences, quiet):
        parent[root(i)] = root(j)
    numbers: dict[int, int] = {}
    return np.array([numbers.setdefault(root(k), len(numbers)) for k in range(len(sequences))])


def _hits(sequences: Sequence[str], quiet: bool) -> Iterator[tuple[int, int]]:
    """Pairs that phmmer finds, all against all."""
    from pyhmmer import easel, hmmer

    amino = easel.Alphabet.amino()
    block = easel.DigitalSequenceBlock(
        amino,
        [
            easel.TextSequence(name=str(k), sequence=letters).digitize(amino)
            for k, letters in enumerate(sequences)
        ],
    )
    searches = hmmer.phmmer(block, block, cpus=1, E=E_VALUE)
    bar = tqdm(searches, "phmmer", total=len(sequences), leave=False, disable=quiet)
    for query, hits in enumerate(bar):
        for hit in hits:
            if hit.evalue < E_VALUE:
                yield query, int(hit.name)


def _identical(sequences: Sequence[str], quiet: bool) -> Iterator[tuple[int, int]]:
    """Pairs of similar length that are 40 % identical."""
    residues = [_residues(letters) for letters in sequences]
    for i in tqdm(range(len(sequences)), "identity", leave=False, disable=quiet):
        for j in range(i):
            short, long = sorted((len(residues[i]), len(residues[j])))
            if short >= COVERAGE * long and _identity(residues[i], residues[j]) >= IDENTITY:
                yield i, j


def identity(one: str, other: str) -> float:
    """Identical residues of the best global alignment (BLOSUM62), as a share of the shorter."""
    return _identity(_residues(one), _residues(other))


def _residues(letters: str) -> list[str]:
    return gemmi.expand_one_letter_sequence(letters, gemmi.ResidueKind.AA)


def _identity(one: list[str], other: list[str]) -> float:
    scoring = gemmi.AlignmentScoring("b")
    matches = gemmi.align_string_sequences(one, other, [], scoring).match_count
    return matches / min(len(one), len(other))


def split(labels: Int[np.ndarray, " n"], rng: np.random.Generator) -> np.ndarray:
    """[n] whether a chain is held out: whole clusters in random order, up to a tenth."""
    held_out = np.zeros(len(labels), bool)
    for cluster in rng.permutation(labels.max() + 1):
        members = labels == cluster
        if held_out.sum() + members.sum() <= HELD_OUT * len(labels):
            held_out |= members
    return held_out
