"""From a sequence or an alignment to a structure: `load`, `fold` and `Prediction`.

``minifold.pipeline`` puts search, templates and relaxation around it.
"""

from __future__ import annotations

import io
import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from minifold.data.features import Batch, make_batch
from minifold.data.files import write_bytes, write_text
from minifold.data.modelcif import model_cif, pae_json
from minifold.data.msa import Alignment, read_alignment
from minifold.data.residues import ATOM_INDEX, GAP, LETTER_TO_TOKEN
from minifold.data.structures import Chain, to_pdb
from minifold.errors import BadInput
from minifold.model import weights as weight_files
from minifold.model.alphafold import AlphaFold, Output
from minifold.model.heads import (
    contact_probability,
    distogram_centers,
    pae_from_logits,
    plddt_from_logits,
    ptm_from_logits,
)

if TYPE_CHECKING:
    from minifold.data.template_search import Template
    from minifold.look.taps import Record

DEFAULT_WEIGHTS = "seven-nano"
WEIGHTS_FOLDER = Path(__file__).parent.parent / "weights"
CA = ATOM_INDEX["CA"]


@dataclass(frozen=True)
class Prediction:
    """A predicted structure of n residues and how sure the model is of it."""

    name: str
    sequence: str
    residue_index: np.ndarray  # [n]
    positions: np.ndarray  # [n, 37, 3], Å
    atom_mask: np.ndarray  # [n, 37]
    plddt: np.ndarray  # [n], 0 to 100
    contacts: np.ndarray  # [n, n], probability that the Cβ atoms are nearer than 8 Å
    distances: np.ndarray  # [n, n], expected Cβ distance, Å
    trajectory: np.ndarray  # [layers, n, 3], Cα after every structure-module layer, Å
    msa_depth: np.ndarray  # [n], sequences with a letter in this column
    pae: np.ndarray | None = None  # [n, n], expected error of j in the frame of i, Å
    ptm: float | None = None
    msa: np.ndarray | None = None  # [s, n], int8, letters of the alignment; 21 gap
    about: dict[str, str | float] = field(default_factory=dict)  # how it was made

    @property
    def chain(self) -> Chain:
        """The structure, with pLDDT as B-factors."""
        return Chain(
            sequence=self.sequence,
            positions=self.positions,
            mask=self.atom_mask,
            residue_index=self.residue_index,
            b_factors=self.plddt,
            name=self.name,
            method="THEORETICAL MODEL",
        )

    @property
    def settings(self) -> dict[str, str | float]:
        """``about`` without times: what gives the same result again."""
        return {key: x for key, x in self.about.items() if not key.endswith("seconds")}

    def scores(self) -> dict:
        """What goes into scores.json."""
        return {
            "name": self.name,
            "plddt": round(float(self.plddt.mean()), 2),
            "plddt_per_residue": [round(float(x), 2) for x in self.plddt],
            "ptm": None if self.ptm is None else round(self.ptm, 4),
            **self.settings,
        }

    def files(self) -> dict[str, str]:
        """Name and text of the files of a prediction.

        The mmCIF has the categories of ModelCIF; pae.json, of models with a head for it, is the
        predicted aligned error in the layout of the AlphaFold database.
        """
        files = {
            "prediction.cif": model_cif(self),
            "prediction.pdb": to_pdb(self.chain),
            "scores.json": json.dumps(self.scores(), indent=1) + "\n",
        }
        return files if self.pae is None else files | {"pae.json": pae_json(self)}

    def save(self, folder: str | Path, taps: Record | None = None) -> list[Path]:
        """Write ``files`` and view.html, a page about them, into a folder.

        With ``taps`` (``look.attention_view.glance``) the page shows the attention as well, and the
        arrays go to attention.npz.
        """
        from minifold.look.prediction_page import (
            write_prediction_page,  # matplotlib: slow to import
        )

        folder = Path(folder)
        files = self.files()
        for name, text in files.items():
            write_text(folder / name, text)
        names = list(files)
        if taps is not None:
            names.append("attention.npz")
            taps.save(folder / "attention.npz")
        write_prediction_page(self, folder / "view.html", taps=taps, files=names)
        return [folder / name for name in [*names, "view.html"]]

    def to_cif(self) -> str:
        """The structure as ModelCIF text."""
        return model_cif(self)

    def relax(self, seed: int = 0, quiet: bool = True) -> Prediction:
        """The same prediction with its atoms relaxed, see ``minifold.physics.relax``.

        Raises:
            BadInput: OpenMM is not installed, or AMBER does not know a residue.
        """
        from minifold.physics import relax

        started = time.perf_counter()
        found = relax.relax(self.chain, seed=seed, quiet=quiet)
        about = self.about | {
            "relaxed": relax.METHOD,
            "openmm": relax.openmm_version(),
            "relax_rounds": found.rounds,
            "relax_rmsd_ca": round(found.rmsd_ca, 3),
            "violations_before": found.before["any"],
            "violations_after": found.after["any"],
            "relax_seconds": round(time.perf_counter() - started, 2),
        }
        chain = found.chain
        return replace(self, positions=chain.positions, atom_mask=chain.mask, about=about)

    def write_arrays(self, path: str | Path) -> None:
        """Write everything to an .npz file, whole or not at all."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        arrays = {name: x for name, x in values.items() if isinstance(x, np.ndarray)}
        rest = {name: x for name, x in values.items() if name not in arrays}
        file = io.BytesIO()
        np.savez_compressed(file, rest=json.dumps(rest), **arrays)
        write_bytes(path, file.getvalue())

    @classmethod
    def read_arrays(cls, path: str | Path) -> Prediction:
        """What ``write_arrays`` wrote."""
        with np.load(path) as file:
            arrays = dict(file)
        return cls(**json.loads(str(arrays.pop("rest"))), **arrays)

    def show(self):
        """A 3D view for a notebook, coloured by pLDDT."""
        from minifold.look.view3d import view

        return view([self.chain], color="plddt")


def load(name: str = DEFAULT_WEIGHTS) -> AlphaFold:
    """A trained model: the name of shipped weights, or the path of a file.

    A ``.safetensors`` file must be one of ours; an ``.npz`` is read as DeepMind's parameters (the
    "alphafold2_ptm" preset if it has the pTM head).

    Raises:
        BadInput: there is no such name or file, or it is not a weight file that fits.
    """
    path = weights_file(name)
    if path.suffix == ".npz":
        return weight_files.load_npz(path)
    if path.suffix == ".pt":
        raise BadInput(f"{path}: a training checkpoint; give the .safetensors file beside it")
    return weight_files.load(path)


def weights_file(name: str) -> Path:
    """The file of shipped weights, or the path of another one.

    Raises:
        BadInput: there is neither.
    """
    path = WEIGHTS_FOLDER / f"{name}.safetensors"
    if not path.is_file():
        path = Path(name)
    if not path.is_file():
        shipped = sorted(p.stem for p in WEIGHTS_FOLDER.glob("*.safetensors"))
        raise BadInput(
            f"no weights {name!r}: give a file, or one of the shipped ones "
            f"({', '.join(shipped) or 'none here'})"
        )
    return path


def fold(
    source: str | Path | Alignment,
    weights: str | AlphaFold = DEFAULT_WEIGHTS,
    recycles: int | None = None,
    seed: int = 0,
    device: str = "auto",
    templates: Sequence[Template] = (),
) -> Prediction:
    """Predict the structure of a protein.

    Args:
        source: an alignment, the path of a .fasta, .a3m or .sto file, or a raw sequence.
        weights: a model, the name of shipped weights, or a weight file.
        recycles: how often the result is fed back; None takes what the model was trained with.
        seed: which sample of a deep alignment is used.
        device: "auto", "cpu", "cuda" or "mps".
        templates: from ``find_templates``, for weights that take some.

    Raises:
        BadInput: the source cannot be read, is too long for the model, the weights do not fit, or
            take no templates.
    """
    alignment = source if isinstance(source, Alignment) else read_source(source)
    model = weights if isinstance(weights, AlphaFold) else load(weights)
    about = {"weights": "given" if isinstance(weights, AlphaFold) else str(Path(weights).name)}
    where = choose_device(device)
    model = model.to(where).eval()
    recycles = model.config.recycles if recycles is None else recycles
    if templates and not model.config.templates:
        raise BadInput("these weights take no templates; fold without, or with other weights")
    started = time.perf_counter()
    batches = inference_batches(alignment, model.config, recycles, seed)
    if templates:
        from minifold.data.template_search import with_templates  # HMMER only where it is used

        batches = [with_templates(batch, templates) for batch in batches]
        about["templates"] = ",".join(template.name for template in templates)
    with torch.no_grad():
        output = model([batch.to(where) for batch in batches], recycles=recycles)
    about |= {
        "preset": model.config.name,
        "recycles": recycles,
        "seed": seed,
        "sequences": alignment.depth,
        "seconds": round(time.perf_counter() - started, 2),
    }
    return to_prediction(output, batches[-1], alignment, about)


def inference_batches(alignment: Alignment, config, recycles: int, seed: int) -> list[Batch]:
    """One sample of the alignment for each pass, as DeepMind's pipeline draws them.

    The full-size presets also mask 15 % of the letters, as DeepMind's models were run.
    """
    mask_fraction = 0.15 if config.name.startswith("alphafold2") else 0.0
    return [
        make_batch(alignment, None, config, seed + k, mask_fraction=mask_fraction)
        for k in range(recycles + 1)
    ]


def to_prediction(
    output: Output, batch: Batch, alignment: Alignment, about: dict, member: int = 0
) -> Prediction:
    """One member of a batch of outputs as a Prediction, padding cut off."""
    n = int(batch.seq_mask[member].sum())

    def cut(x: Tensor, axes: int = 1) -> np.ndarray:
        return x[member][(slice(n),) * axes].detach().float().cpu().numpy()

    logits = output.distogram_logits.float()
    centers = distogram_centers(logits.shape[-1], logits.device)
    distances = (torch.softmax(logits, dim=-1) * centers).sum(-1)
    pae = ptm = None
    if output.pae_logits is not None:
        pae = cut(pae_from_logits(output.pae_logits), axes=2)
        ptm = float(ptm_from_logits(output.pae_logits[:, :n, :n])[member])
    return Prediction(
        name=alignment.names[0],
        sequence=alignment.query,
        residue_index=batch.residue_index[member, :n].cpu().numpy().astype(np.int32),
        positions=cut(output.positions),
        atom_mask=cut(output.atom_mask),
        plddt=cut(plddt_from_logits(output.plddt_logits)),
        contacts=cut(contact_probability(logits), axes=2),
        distances=cut(distances, axes=2),
        trajectory=output.structure.atom14[:, member, :n, 1].detach().float().cpu().numpy(),
        msa_depth=(alignment.tokens != GAP).sum(0),
        msa=alignment.tokens,
        pae=pae,
        ptm=ptm,
        about=about,
    )


def read_source(source: str | Path) -> Alignment:
    """An alignment from a file, or from a raw sequence of one-letter codes.

    Raises:
        BadInput: no such file and not a sequence, or a file that cannot be read.
    """
    text = str(source)
    if isinstance(source, Path) or "." in text or "/" in text or os.path.exists(text):
        return read_alignment(text)
    sequence = text.strip().upper()
    alien = sorted(set(sequence) - set(LETTER_TO_TOKEN) | set(sequence) & {"-"})
    if not sequence or alien:
        raise BadInput(
            f"{text[:40]!r} is neither a file nor a protein sequence"
            + (f": letter {alien[0]!r} is no amino acid" if alien else ": it is empty")
        )
    return Alignment.from_sequence(sequence, "query")


def choose_device(name: str) -> torch.device:
    """The device of that name; "auto" takes a GPU where there is one.

    Raises:
        BadInput: the device is not there.
    """
    there = {"cpu": True, "cuda": torch.cuda.is_available()}
    there["mps"] = torch.backends.mps.is_available()
    if name == "auto":
        return torch.device("cuda" if there["cuda"] else "cpu")
    if not there.get(name, False):
        known = ", ".join(["auto", *(key for key, value in there.items() if value)])
        raise BadInput(f"device {name!r} is not there; choose one of {known}")
    return torch.device(name)
