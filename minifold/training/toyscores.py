"""Scores of a model on families whose structures are known, and of all that must be beaten."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float

from minifold.data.features import Batch, collate, make_batch
from minifold.data.residues import ATOM_INDEX
from minifold.model.alphafold import AlphaFold, Output
from minifold.model.atoms import pseudo_beta
from minifold.model.heads import contact_probability, plddt_from_logits
from minifold.training import metrics
from minifold.training.sources import Example

CA = ATOM_INDEX["CA"]
AT_ONCE = 16  # examples in one pass through the model
SCORES = (
    "precision", "lddt_ca", "lddt_long", "tm_score", "rmsd_ca", "fape", "mirrored",
)  # fmt: skip


def family_scores(
    model: AlphaFold, examples: Sequence[Example], recycles: int | None = None, seed: int = 0
) -> dict[str, Float[np.ndarray, " n"]]:
    """Scores of each example, in their order; see ``structure_scores``.

    And ``precision`` of the contacts (top L/2, |i-j| >= 6), and the mean ``plddt`` (0 to 1).
    """
    recycles = model.config.recycles if recycles is None else recycles
    device = next(model.parameters()).device
    training, columns = model.training, {}
    order = np.argsort([len(x.chain.sequence) for x in examples], kind="stable")
    model.eval()
    for start in range(0, len(order), AT_ONCE):
        some = order[start : start + AT_ONCE]
        batch = collate(
            [make_batch(examples[k].alignment, examples[k].chain, model.config, seed) for k in some]
        )
        with torch.no_grad():
            output = model(batch.to(device), recycles=recycles)
        for key, values in _scores_of(output, batch).items():
            columns.setdefault(key, np.zeros(len(examples)))[some] = values
    model.train(training)
    return columns


def _scores_of(output: Output, batch: Batch) -> dict[str, np.ndarray]:
    mask, positions = batch.seq_mask, output.positions.float().cpu()
    beta, known = pseudo_beta(batch.aatype, batch.all_atom_positions, batch.all_atom_mask)
    contacts = contact_probability(output.distogram_logits.float().cpu())
    plddt = plddt_from_logits(output.plddt_logits.float().cpu()) / 100
    scores = {
        "precision": metrics.contact_precision(contacts, beta, known),
        "plddt": (plddt * mask).sum(1) / mask.sum(1),
    }
    scores = {key: value.numpy() for key, value in scores.items()}
    return scores | structure_scores(positions, batch.all_atom_positions, batch.all_atom_mask)


def structure_scores(
    predicted: Float[torch.Tensor, "b i 37 3"],
    true: Float[torch.Tensor, "b i 37 3"],
    mask: Float[torch.Tensor, "b i 37"],
) -> dict[str, Float[np.ndarray, " b"]]:
    """lDDT-Cα, long-range lDDT-Cα (|i-j| >= 6), TM-score, RMSD (Å), FAPE (10 Å), mirror images."""
    x, y, m = predicted[..., CA, :], true[..., CA, :], mask[..., CA]
    scores = {
        "lddt_ca": metrics.lddt(x, y, m),
        "lddt_long": metrics.lddt(x, y, m, separation=6),
        "tm_score": metrics.tm_score(x, y, m),
        "rmsd_ca": metrics.rmsd(x, y, m),
        "fape": metrics.fape(predicted, true, mask),
        "mirrored": metrics.mirrored(x, y, m),
    }
    return {key: value.numpy() for key, value in scores.items()}


def summary(
    scores: Mapping[str, Float[np.ndarray, " n"]], chosen: np.ndarray | None = None
) -> dict[str, float]:
    """Means over the (chosen) examples; the median of the RMSD, whose mean a few chains decide."""
    chosen = slice(None) if chosen is None else chosen
    return {
        key: float(np.median(v[chosen]) if key == "rmsd_ca" else np.mean(v[chosen]))
        for key, v in scores.items()
    }
