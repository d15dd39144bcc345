"""From one sequence to a relaxed structure, in stages that are kept and not done twice.

    sequence ─ search ─ templates ─ fold ─ relax ─ write
              hits.a3m   .json     model.npz  relaxed.npz   prediction.cif, .pdb, scores.json, ...

What a stage made is in the folder of the run; stages.json says from what. A stage is done again
only if what goes into it has changed: its input, its settings, the weights, or this package.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from minifold.config import Config
from minifold.data.files import read_text, write_text
from minifold.data.modelcif import write_model
from minifold.data.msa import Alignment, read_alignment, write_alignment
from minifold.data.search import advice, search
from minifold.data.structures import read_structure, structure_files
from minifold.data.template_search import Template, find_templates
from minifold.errors import BadInput
from minifold.look.attention_view import glance
from minifold.look.taps import Record
from minifold.model.alphafold import AlphaFold
from minifold.physics.relax import openmm_version
from minifold.predict import DEFAULT_WEIGHTS, Prediction, load, read_source, weights_file

T = TypeVar("T")
RECORD = "stages.json"


@dataclass(frozen=True)
class Pipeline:
    """What to do with a sequence; ``run`` does it. One method for each stage."""

    weights: str = DEFAULT_WEIGHTS
    database: str | Path | None = None  # search these sequences for homologs first
    structures: Sequence[str | Path] = ()  # files and folders in which templates are looked for
    allow_target: bool = False  # take also structures of the target itself as templates
    relax: bool = False
    recycles: int | None = None
    seed: int = 0
    device: str = "auto"
    quiet: bool = True

    def run(self, source: str | Path, folder: str | Path) -> tuple[Prediction, list[Path]]:
        """Fold a sequence or alignment into a folder.

        Returns:
            The prediction, relaxed if it was asked for, and the files to look at.

        Raises:
            BadInput: as ``fold``, ``search``, ``find_templates`` and ``relax``. What is wrong with
                source, weights, structures or OpenMM is said before anything is computed.
        """
        alignment, model = read_source(source), load(self.weights)
        structures = structure_files(*self.structures)
        if self.relax:
            _check_relaxable(alignment)
        stages = Stages(Path(folder), self.quiet)
        if self.database is not None:
            alignment = self._search(stages, alignment)
        templates: list[Template] = []
        if self.structures:
            templates = self._templates(stages, alignment, structures, model.config)
        folded, taps = self._fold(stages, alignment, templates, model)
        final = self._relax(stages, folded) if self.relax else folded
        return final, self._write(stages, folded, final, taps)

    def _search(self, stages: Stages, query: Alignment) -> Alignment:
        database = Path(self.database)
        files = sorted(database.glob("*.fasta")) if database.is_dir() else [database]
        return stages.run(
            "search",
            needs=[_of(query), *map(_of_file, files)],
            make=lambda: search(query, database, quiet=self.quiet),
            save=lambda found, at: write_alignment(found, at / "hits.a3m"),
            read=lambda at: read_alignment(at / "hits.a3m"),
            say=advice,
        )

    def _templates(
        self, stages: Stages, query: Alignment, structures: list[Path], config: Config
    ) -> list[Template]:
        """The templates, for models that take some; for others they are listed only."""

        def say(found: list[Template]) -> str:
            names = ", ".join(template.name for template in found) or "none"
            text = f"{names} (of {len(structures)} structures)"
            if not config.templates:
                text += f"; not used, for {self.weights} takes no templates"
            return text

        templates = stages.run(
            "templates",
            needs=[_of(query), config.max_templates, self.allow_target, shutil.which("hhsearch")]
            + [(str(path), _of_file(path)) for path in structures],
            make=lambda: find_templates(
                query, structures, config.max_templates, self.allow_target, quiet=self.quiet
            ),
            save=lambda found, at: write_text(at / "templates.json", _as_json(found)),
            read=lambda at: _from_json(read_text(at / "templates.json")),
            say=say,
        )
        return templates if config.templates else []

    def _fold(
        self, stages: Stages, alignment: Alignment, templates: list[Template], model: AlphaFold
    ) -> tuple[Prediction, Record | None]:
        """The prediction, and of the attention what its page shows."""
        about = {"weights": Path(self.weights).name}
        if self.database is not None:
            about["database"] = Path(self.database).name

        def make() -> tuple[Prediction, Record | None]:
            options = (self.recycles, self.seed, self.device, templates)
            taps, made = glance(alignment, model, *options)
            return replace(made, about=made.about | about), taps

        def save(made: tuple[Prediction, Record | None], at: Path) -> None:
            made[0].write_arrays(at / "model.npz")
            if made[1] is not None:
                made[1].save(at / "attention.npz")

        def read(at: Path) -> tuple[Prediction, Record | None]:
            there = "attention.npz" in stages.made("fold")
            taps = Record.load(at / "attention.npz") if there else None
            return Prediction.read_arrays(at / "model.npz"), taps

        return stages.run(
            "fold",
            needs=[_of(alignment), _of_file(weights_file(self.weights)), _as_json(templates)]
            + [_of_file(template.path) for template in templates]
            + [about, self.recycles, self.seed, self.device],
            make=make,
            save=save,
            read=read,
            say=lambda made: (
                f"{len(made[0].sequence)} residues, {made[0].about['sequences']} sequences, "
                f"weights {made[0].about['weights']}, mean pLDDT {made[0].plddt.mean():.1f}"
            ),
        )

    def _relax(self, stages: Stages, folded: Prediction) -> Prediction:
        return stages.run(
            "relax",
            needs=[stages.made("fold"), openmm_version(), self.seed],
            make=lambda: folded.relax(self.seed, self.quiet),
            save=lambda made, at: made.write_arrays(at / "relaxed.npz"),
            read=lambda at: Prediction.read_arrays(at / "relaxed.npz"),
            say=lambda made: (
                "residues with violations: {violations_before} before, "
                "{violations_after} after; Cα moved {relax_rmsd_ca:.2f} Å".format(**made.about)
            ),
        )

    def _write(
        self, stages: Stages, folded: Prediction, final: Prediction, taps: Record | None
    ) -> list[Path]:
        def save(_: None, at: Path) -> None:
            final.save(at, taps)
            if final is not folded:
                write_model(folded, at / "unrelaxed.cif")

        stages.run(
            "write",
            needs=[stages.made("relax" if self.relax else "fold")],
            make=lambda: None,
            save=save,
            read=lambda at: None,
            say=lambda _: ", ".join(stages.made("write")),
        )
        return [stages.folder / name for name in stages.made("write")]


@dataclass
class Stages:
    """The stages in a folder, and what each of them was made from."""

    folder: Path
    quiet: bool = True
    record: dict[str, dict] = field(init=False)  # stage: key, files with their digests, seconds

    def __post_init__(self):
        path = self.folder / RECORD
        try:
            self.record = json.loads(read_text(path)) if path.is_file() else {}
        except ValueError:
            raise BadInput(f"{path} is damaged; delete it, and the stages are done again") from None

    def made(self, name: str) -> dict[str, str]:
        """Files of a stage and their digests."""
        return self.record[name]["files"]

    def run(
        self,
        name: str,
        needs: Sequence[Any],
        make: Callable[[], T],
        save: Callable[[T, Path], object],
        read: Callable[[Path], T],
        say: Callable[[T], str],
    ) -> T:
        """Do a stage, unless its files are there and were made from the same.

        Its files appear together, when all of them are complete; those that it made before and
        does not make now go. The result is what ``read`` finds, whether it is new or kept.

        Args:
            needs: everything that decides what comes out, as JSON.
            say: the line about the result.
        """
        key = _digest(json.dumps([code(), name, *needs]).encode())
        known = self.record.get(name, {})
        kept = known.get("key") == key and all(
            (self.folder / file).is_file() and _of_file(self.folder / file) == digest
            for file, digest in known["files"].items()
        )
        if not kept:
            started = time.perf_counter()
            self._replace(name, make(), save)
            seconds = round(time.perf_counter() - started, 2)
            self.record[name] |= {"key": key, "seconds": seconds}
            write_text(self.folder / RECORD, json.dumps(self.record, indent=1) + "\n")
        result = read(self.folder)
        if not self.quiet:
            spent = "kept" if kept else f"{self.record[name]['seconds']:.1f} s"
            print(f"{name:9} {spent:>8}  {say(result)}", file=sys.stderr)
        return result

    def _replace(self, name: str, result: T, save: Callable[[T, Path], object]) -> None:
        """Put the files of a result into the folder, in place of those of the one before."""
        before = set(self.record.get(name, {}).get("files", {}))
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=f".{name}.", dir=self.folder) as temporary:
                save(result, Path(temporary))
                made = {path.name: _of_file(path) for path in sorted(Path(temporary).iterdir())}
                for file in made:
                    os.replace(Path(temporary, file), self.folder / file)
            for file in before - set(made):
                (self.folder / file).unlink(missing_ok=True)
        except OSError as error:
            raise BadInput(f"{self.folder} cannot be written: {error.strerror}") from None
        self.record[name] = {"files": made}


def _check_relaxable(alignment: Alignment) -> None:
    """Say what will be wrong later now."""
    openmm_version()
    if "X" in alignment.query:
        raise BadInput(
            f"residue {alignment.query.index('X') + 1} of {alignment.names[0]!r} is unknown (X) "
            "and cannot be relaxed; leave out --relax, or name the amino acid"
        )


# --- Templates as JSON ----------------------------------------------------------------------------


def _as_json(templates: list[Template]) -> str:
    """One line for each template; residues of query and chain count from 0."""
    rows = [
        {
            "name": t.name,
            "file": str(t.path),
            "chain": t.chain.chain_id,
            "evalue": float(t.evalue),
            "expected": round(float(t.expected), 1),
            "columns": t.columns.tolist(),
            "places": t.places.tolist(),
        }
        for t in templates
    ]
    return "[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n"


def _from_json(text: str) -> list[Template]:
    return [
        Template(
            chain=read_structure(row["file"], row["chain"]),
            path=Path(row["file"]),
            columns=np.array(row["columns"]),
            places=np.array(row["places"]),
            expected=row["expected"],
            evalue=row["evalue"],
        )
        for row in json.loads(text)
    ]


# --- What decides whether a stage is done again ---------------------------------------------------


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _of_file(path: Path) -> str:
    """Digest of what is in a file; "" where there is none."""
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _of(alignment: Alignment) -> str:
    arrays = alignment.tokens.tobytes() + alignment.deletions.tobytes()
    return _digest(json.dumps(alignment.names).encode() + arrays)


@functools.cache
def code() -> str:
    """Digest of this package: who changes the code gets a new result, not the kept one."""
    files = sorted(Path(__file__).parent.rglob("*.*"))
    sources = [path for path in files if path.suffix in (".py", ".csv", ".js", ".css")]
    return _digest("".join(map(_of_file, sources)).encode())
