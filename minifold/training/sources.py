"""Where training examples come from, and what is measured on the held-out ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable
from zlib import crc32

import numpy as np
import torch

from minifold.config import Config
from minifold.data.features import Batch, collate, crop, make_batch
from minifold.data.msa import Alignment, read_alignment
from minifold.data.residues import ATOM_INDEX
from minifold.data.structures import Chain, read_structure
from minifold.errors import BadInput
from minifold.model.alphafold import AlphaFold
from minifold.model.atoms import pseudo_beta
from minifold.training.metrics import contact_precision, lddt, rmsd

CA = ATOM_INDEX["CA"]
STRUCTURES = (".cif", ".mmcif", ".pdb", ".ent")
ALIGNMENTS = (".a3m", ".sto", ".stockholm", ".afa")
SIMILAR = (
    64  # a batch is drawn from so many proteins of similar length: it is padded to its longest
)


@dataclass(frozen=True)
class Example:
    """A protein of known structure, with its alignment if there is one."""

    chain: Chain
    alignment: Alignment | None = None


@runtime_checkable
class Source(Protocol):
    """What the training loop asks for."""

    data: str  # names the examples: a checkpoint goes on with no others

    def batch(self, step: int, size: int) -> Batch:
        """The examples of a step; the same step gives the same examples."""

    def measure(self, model: AlphaFold) -> dict[str, float]:
        """Scores of the model for the log: on held-out proteins, if the source has any."""


class Proteins:
    """Known structures: every step draws some, crops them and samples their alignments anew.

    Args:
        examples: what is trained on.
        config: sizes of the model.
        held_out: what is measured; without any, the training proteins are (memorisation).
        seed: of all draws.
        clamped_fraction: how often FAPE is clamped at 10 Å. A small model that starts far from
            the truth feels no pull from clamped errors, so the default is never; AlphaFold2: 0.9.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        config: Config,
        held_out: Sequence[Example] = (),
        seed: int = 0,
        clamped_fraction: float = 0.0,
    ):
        if not examples:
            raise BadInput("there is no protein to train on")
        self.examples, self.config, self.seed = list(examples), config, seed
        self.clamped_fraction = clamped_fraction
        self.by_length = np.argsort([len(x.chain.sequence) for x in self.examples], kind="stable")
        letters = " ".join(example.chain.sequence for example in self.examples)
        self.data = (
            f"proteins ({len(self.examples)} chains, checksum {crc32(letters.encode()):08x})"
        )
        self.held_out = list(held_out) or self.examples

    def batch(self, step: int, size: int) -> Batch:
        rng = np.random.default_rng([self.seed, step])
        count = len(self.examples)
        pool = np.arange(count)
        if count > SIMILAR:
            start = np.clip(rng.integers(count) - SIMILAR // 2, 0, count - SIMILAR)
            pool = self.by_length[start : start + SIMILAR]
        draws = [rng.permutation(pool) for _ in range(-(-size // len(pool)))]
        order = np.concatenate(draws)[:size]
        generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
        parts = []
        for k in order:
            example = self.examples[k]
            seed = int(rng.integers(2**31))
            one = make_batch(
                example.alignment,
                example.chain,
                self.config,
                seed,
                training=True,
                clamped_fraction=self.clamped_fraction,
            )
            parts.append(crop(one, self.config.crop, generator))
        return collate(parts)

    def measure(self, model: AlphaFold) -> dict[str, float]:
        pairs = [(fold_example(model, example), example.chain) for example in self.held_out]
        return _means([quick_scores(predicted, truth) for predicted, truth in pairs])


def quick_scores(predicted: Chain, truth: Chain) -> dict[str, float]:
    """lDDT-Cα and RMSD (Å) of a prediction of the very same sequence."""
    x, y, mask = (
        torch.from_numpy(np.ascontiguousarray(a))[None]
        for a in (predicted.positions[:, CA], truth.positions[:, CA], truth.mask[:, CA])
    )
    return {"lddt_ca": float(lddt(x, y, mask)[0]), "rmsd_ca": float(rmsd(x, y, mask)[0])}


def _means(scores: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {key: float(np.mean([score[key] for score in scores])) for key in scores[0]}


def precision_of(contacts: np.ndarray, truth: Chain) -> float:
    """Contact precision (top L/2, |i-j| >= 6) of any scores [n, n] against a structure."""
    positions, mask = torch.from_numpy(truth.positions), torch.from_numpy(truth.mask)
    beta, known = pseudo_beta(torch.from_numpy(truth.aatype).long(), positions, mask)
    scores = torch.from_numpy(np.ascontiguousarray(contacts, dtype=np.float32))
    return float(contact_precision(scores[None], beta[None], known[None])[0])


def fold_example(model: AlphaFold, example: Example) -> Chain:
    """The structure the model predicts for an example, without a look at the truth."""
    from minifold.predict import fold

    alignment = example.alignment
    if alignment is None:
        alignment = Alignment.from_sequence(example.chain.sequence, example.chain.name)
    device = next(model.parameters()).device.type
    return fold(alignment, model, device=device).chain


def read_examples(folder: str | Path) -> list[Example]:
    """All structures below a folder, each with the alignment whose query is its sequence.

    Raises:
        BadInput: there is no such folder, no structure in it, or a file cannot be read.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise BadInput(f"{folder} is not a folder; give one with structures (.cif or .pdb)")
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    chains = [read_structure(path) for path in files if path.suffix in STRUCTURES]
    if not chains:
        raise BadInput(f"{folder} holds no structure; put .cif or .pdb files into it")
    alignments = [read_alignment(path) for path in files if path.suffix in ALIGNMENTS]
    by_query = {alignment.query: alignment for alignment in alignments}
    return [Example(chain, by_query.get(chain.sequence)) for chain in chains]


def held_out_beside(folder: str | Path) -> list[Example]:
    """What lies in ``val`` beside a folder named ``train``; nothing if that is not how it is."""
    folder = Path(folder).resolve()
    beside = folder.with_name("val")
    if folder.name != "train" or not beside.is_dir():
        return []
    return read_examples(beside)
