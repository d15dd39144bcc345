"""Proteins, families and alignments from the public databases: ``minifold fetch``.

What a name means follows from its form, see ``KINDS``. ``alignment`` asks ColabFold's server.
Where a database answers is in one table, ``Sources``; a mirror or a test gives another one.
"""

from __future__ import annotations

import io
import json
import random
import re
import sys
import tarfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlencode

import numpy as np
from tqdm import tqdm

from minifold.data.download import Downloader, NotThere, default_cache, unpacked
from minifold.data.files import write_bytes, write_text
from minifold.data.msa import (
    Alignment,
    deduplicate,
    read_alignment,
    read_fasta,
    write_alignment,
)
from minifold.data.residues import sequence_to_aatype
from minifold.errors import BadInput

OPENPROTEINSET_FILES = ("uniref90_hits.a3m", "bfd_uniclust_hits.a3m", "mgnify_hits.a3m")
PATIENCE = 3600.0  # s until an alignment server must be done
POLL = 5.0  # s between two questions to it


@dataclass(frozen=True)
class Sources:
    """Where each database answers."""

    rcsb: str = "https://files.rcsb.org/download"
    rcsb_search: str = "https://search.rcsb.org/rcsbsearch/v2/query"
    uniprot: str = "https://rest.uniprot.org/uniprotkb"
    alphafold: str = "https://alphafold.ebi.ac.uk/api/prediction"
    pfam: str = "https://www.ebi.ac.uk/interpro/api/entry/pfam"
    openproteinset: str = "https://openfold.s3.amazonaws.com/pdb"
    msa_server: str = "https://api.colabfold.com"


PUBLIC = Sources()


def fetch(
    names: Sequence[str],
    folder: str | Path,
    sources: Sources | None = None,
    downloader: Downloader | None = None,
    quiet: bool = False,
) -> list[Path]:
    """Fetch everything that is named into a folder; no name is looked up if one has no known form.

    Args:
        names: any of the forms of ``KINDS``.
        folder: where the files go.
        sources: where the databases answer; default: ``PUBLIC``.
        downloader: how to get them; default: with the user's cache.
        quiet: no progress bar, and nothing about attempts that failed.

    Returns:
        The path of each file, in the order of the names.

    Raises:
        BadInput: a name of no known form, something that does not exist, or no answer.
    """
    sources, downloader = sources or PUBLIC, downloader or default_downloader(quiet)
    folder = Path(folder)
    plans = [(kind, match) for kind, match in map(_kind, names)]
    paths = []
    for kind, match in tqdm(plans, "fetching", leave=False, disable=quiet or len(plans) < 2):
        paths.append(kind.get(match, folder, sources, downloader))
    return paths


def default_downloader(quiet: bool = False) -> Downloader:
    """With the user's cache; tells on standard error how it goes, unless quiet."""
    say = (lambda line: None) if quiet else (lambda line: tqdm.write(line, file=sys.stderr))
    return Downloader(default_cache(), say=say, bar=not quiet)


# --- One database each ----------------------------------------------------------------------------


def entry_file(entry: str, sources: Sources, downloader: Downloader) -> Path:
    """The cached mmCIF file (gzip) of a PDB entry."""
    try:
        return downloader.file(f"{sources.rcsb}/{entry.lower()}.cif.gz", starts=(b"data_", b"#"))
    except NotThere:
        raise NotThere(f"the PDB has no entry {entry.upper()} (as mmCIF); check the code") from None


def _entry(match: re.Match, folder: Path, sources: Sources, downloader: Downloader) -> Path:
    packed = entry_file(match[1], sources, downloader).read_bytes()
    return _save(folder / f"{match[1].lower()}.cif", unpacked(packed))


def _sequence(match: re.Match, folder: Path, sources: Sources, downloader: Downloader) -> Path:
    accession = match[1].upper()
    try:
        data = downloader.get(f"{sources.uniprot}/{accession}.fasta", starts=(b">",))
    except NotThere:
        raise NotThere(f"UniProt has no sequence {accession}; is it obsolete?") from None
    return _save(folder / f"{accession}.fasta", data)


def _model(match: re.Match, folder: Path, sources: Sources, downloader: Downloader) -> Path:
    """The database is asked for the address, which has the version of the model in it.

    Older answers call the name of a model entryId, newer ones modelEntityId.
    """
    accession, fragment = match[1].upper(), match[2] or "1"
    wanted = f"AF-{accession}-F{fragment}"
    try:
        answer = downloader.get(f"{sources.alphafold}/{accession}", starts=(b"[",))
        models = {
            model.get("modelEntityId") or model["entryId"]: model["cifUrl"]
            for model in json.loads(answer)
        }
    except NotThere:
        models = {}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise BadInput(f"{sources.alphafold}: an answer of unknown form") from None
    if wanted not in models:
        others = f"; it has {', '.join(models)}" if models else ""
        raise NotThere(f"the AlphaFold database has no model {wanted}{others}")
    return _save(folder / f"{wanted}.cif", downloader.get(models[wanted], starts=(b"data_",)))


def _family(match: re.Match, folder: Path, sources: Sources, downloader: Downloader) -> Path:
    accession, which = match[1].upper(), "full" if match[2] else "seed"
    url = f"{sources.pfam}/{accession}/?annotation=alignment:{which}"
    try:
        data = downloader.get(url, starts=(b"# STOCKHOLM",))
    except NotThere:
        raise NotThere(f"Pfam has no {which} alignment of {accession}") from None
    return _save(folder / f"{accession}{'_full' if match[2] else ''}.sto", data)


def _chain(match: re.Match, folder: Path, sources: Sources, downloader: Downloader) -> Path:
    """OpenProteinSet's alignments of a PDB chain, in one file."""
    name = f"{match[1].lower()}_{match[2]}"
    texts = []
    for file in OPENPROTEINSET_FILES:
        try:
            url = f"{sources.openproteinset}/{name}/a3m/{file}"
            texts.append(downloader.get(url, starts=(b">", b"#")))
        except NotThere:
            continue
    if not texts:
        raise NotThere(f"OpenProteinSet has no alignment of {name}; try `minifold fetch --msa`")
    path = folder / f"{name}.a3m"
    write_alignment(merged(texts, name), path)
    return path


@dataclass(frozen=True)
class Kind:
    """What one form of a name means."""

    form: str  # regular expression, case does not matter
    example: str
    what: str
    get: Callable[[re.Match, Path, Sources, Downloader], Path]


UNIPROT = "[OPQ][0-9][A-Z0-9]{3}[0-9]|[A-NR-Z][0-9](?:[A-Z][A-Z0-9]{2}[0-9]){1,2}"
KINDS = (
    Kind("([1-9][A-Z0-9]{3})", "1UBQ", "PDB entry → 1ubq.cif", _entry),
    Kind("([1-9][A-Z0-9]{3})_([A-Z0-9]+)", "1BPI_A", "OpenProteinSet → 1bpi_A.a3m", _chain),
    Kind(f"({UNIPROT})", "P00974", "UniProt sequence → P00974.fasta", _sequence),
    Kind(
        f"AF-({UNIPROT})(?:-F([0-9]+))?",
        "AF-P00974",
        "AlphaFold database → AF-P00974-F1.cif",
        _model,
    ),
    Kind("(PF[0-9]{5})([.:]full)?", "PF00014", "Pfam seed alignment → PF00014.sto", _family),
)


def _kind(name: str) -> tuple[Kind, re.Match]:
    for kind in KINDS:
        if match := re.fullmatch(kind.form, name.strip(), flags=re.IGNORECASE):
            return kind, match
    known = ", ".join(f"{kind.example} ({kind.what.split(' →')[0]})" for kind in KINDS)
    raise BadInput(f"{name!r} has no form that is known; forms are {known}")


def _save(path: Path, data: bytes) -> Path:
    write_bytes(path, data)
    return path


# --- Alignments -----------------------------------------------------------------------------------


def merged(texts: Sequence[bytes], name: str) -> Alignment:
    """Several a3m files with the same query as one alignment without repeated rows.

    Raises:
        BadInput: a file is no a3m, or the queries differ.
    """
    parts = []
    with TemporaryDirectory() as folder:
        for text in texts:
            path = Path(folder) / f"{name}.a3m"
            write_text(path, text.decode(errors="replace"))
            try:
                parts.append(read_alignment(path))
            except BadInput as error:
                raise BadInput(str(error).replace(str(path), f"the alignment of {name}")) from None
    if len({part.query for part in parts}) > 1:
        raise BadInput(f"the alignments of {name} are not of the same sequence")
    whole = Alignment(
        names=[name, *(n for part in parts for n in part.names)],
        tokens=np.concatenate([parts[0].tokens[:1], *(part.tokens for part in parts)]),
        deletions=np.concatenate([parts[0].deletions[:1], *(part.deletions for part in parts)]),
        insertions=["", *(i for part in parts for i in part.insertions)],
    )
    return deduplicate(whole)


def align(
    query: str | Path,
    folder: str | Path,
    sources: Sources | None = None,
    downloader: Downloader | None = None,
    quiet: bool = False,
) -> list[Path]:
    """Let ColabFold's server align each sequence of a FASTA file; writes NAME.a3m for each.

    The sequences are sent to that server (UniRef30 and environmental sequences, MMseqs2). It is
    shared by everybody: one sequence at a time, and a question every few seconds.

    Raises:
        BadInput: the file is not FASTA or has no protein, or the server does not deliver.
    """
    sources, downloader = sources or PUBLIC, downloader or default_downloader(quiet)
    records = [(name, letters.upper().rstrip("*")) for name, letters in read_fasta(query)]
    if not records:
        raise BadInput(f"{query} has no sequence")
    names = [re.sub(r"[^A-Za-z0-9._-]+", "_", name).lstrip(".") for name, _ in records]
    if len(set(names)) < len(names):
        raise BadInput(f"{query}: two sequences have the same name; give each its own")
    for name, letters in records:
        try:
            sequence_to_aatype(letters)
        except BadInput as error:
            raise BadInput(f"{query}: {name}: {error}") from None
    paths = []
    for name, (_, letters) in zip(names, records):
        path = Path(folder) / f"{name}.a3m"
        with tqdm(desc=f"{name}: asking", bar_format="{desc} {elapsed}", disable=quiet) as bar:
            texts = _serve(letters, name, sources.msa_server, downloader, bar)
        write_alignment(merged(texts, name), path)
        paths.append(path)
    return paths


def _serve(letters: str, name: str, server: str, downloader: Downloader, bar: tqdm) -> list[bytes]:
    """The a3m files that the server makes of a sequence."""
    form = urlencode({"q": f">101\n{letters}\n", "mode": "env"}).encode()
    deadline = time.monotonic() + PATIENCE
    ticket = _answer(downloader, f"{server}/ticket/msa", form)
    while (status := ticket.get("status")) != "COMPLETE":
        if status == "MAINTENANCE":
            raise BadInput(f"{server} is being maintained; try again later")
        if status not in ("UNKNOWN", "RATELIMIT", "PENDING", "RUNNING"):
            raise BadInput(f"{server} could not align {name} ({status}); is it a protein?")
        if time.monotonic() > deadline:
            raise BadInput(f"{server} was not done after {PATIENCE / 60:.0f} minutes; try later")
        bar.set_description_str(f"{name}: {str(status).lower()}")
        time.sleep(POLL * random.uniform(0.8, 1.2))
        if status in ("PENDING", "RUNNING"):
            ticket = _answer(downloader, f"{server}/ticket/{ticket.get('id')}")
        else:  # the question was not taken
            ticket = _answer(downloader, f"{server}/ticket/msa", form)
    return _a3m_members(downloader.get(f"{server}/result/download/{ticket.get('id')}"), server)


def _answer(downloader: Downloader, url: str, form: bytes | None = None) -> dict:
    text = downloader.ask(url, form)
    try:
        answer = json.loads(text)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise BadInput(f"{url}: an answer of unknown form; try again later")
    return answer


def _a3m_members(data: bytes, server: str) -> list[bytes]:
    """The contents of the .a3m files of a tar archive: uniref.a3m, then the environmental ones."""
    try:
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            members = [m for m in archive.getmembers() if m.isfile() and m.name.endswith(".a3m")]
            members.sort(key=lambda member: member.name, reverse=True)
            texts = [archive.extractfile(member).read() for member in members]
    except tarfile.TarError:
        raise BadInput(f"{server}: the result is no tar archive; try again later") from None
    if not (texts := [text for text in texts if text.strip(b"\0 \n")]):
        raise BadInput(f"{server}: the result has no alignment; try again later")
    return texts
