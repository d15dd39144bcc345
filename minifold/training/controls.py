"""What a score on toy families must be compared with: a model without the evidence, and floors.

``compare`` makes the table that every result on families prints: the model, the same model with
the covariation hidden, and what knows nothing of the alignment at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from jaxtyping import Float

from minifold.data.msa import Alignment
from minifold.data.residues import ATOM_INDEX, GAP
from minifold.model.alphafold import AlphaFold
from minifold.training import baselines
from minifold.training.sources import Example, precision_of
from minifold.training.toyscores import family_scores, structure_scores

CA = ATOM_INDEX["CA"]
CONTROLS = ("none", "shuffled", "query")
Scores = dict[str, Float[np.ndarray, " n"]]


def hide(example: Example, control: str, seed: int = 0) -> Example:
    """The example without what the control hides from the model.

    "none" hides nothing, "shuffled" the covariation (each column is shuffled by itself below the
    query), "query" all rows but the first.
    """
    alignment = example.alignment
    if control == "shuffled":
        tokens = baselines.shuffle_columns(alignment.tokens, np.random.default_rng(seed))
        alignment = Alignment(alignment.names, tokens, alignment.deletions)
    if control == "query":
        alignment = alignment.take(np.array([0]))
    return Example(example.chain, alignment)


def foreign(example: Example, other: Example) -> Example:
    """The example with the rows of another protein's alignment below its query."""
    n, rows = example.alignment.tokens.shape[1], other.alignment.depth
    tokens = np.full((rows, n), GAP, other.alignment.tokens.dtype)
    common = min(n, other.alignment.tokens.shape[1])
    tokens[:, :common] = other.alignment.tokens[:, :common]
    tokens[0] = example.alignment.tokens[0]
    names = example.alignment.names[:1] + other.alignment.names[1:]
    return Example(example.chain, Alignment(names, tokens, np.zeros(tokens.shape, np.int32)))


def compare(
    model: AlphaFold,
    examples: Sequence[Example],
    folds: Iterable[Float[np.ndarray, "_ 3"]] = (),
    seed: int = 0,
) -> tuple[dict[str, Scores], Float[np.ndarray, " n"] | None]:
    """Scores of each example by name of the predictor, and each one's distance from ``folds``.

    Args:
        folds: Cα atoms (Å) of all that the model was trained on; without them there is no row of
            the nearest fold and no distance.

    Returns:
        Scores, see ``toyscores.structure_scores``, and the dRMSD (Å) of the nearest training fold.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        untrained = AlphaFold(model.config).to(next(model.parameters()).device)
    others = [*examples[1:], *examples[:1]]
    rows = {
        "model": family_scores(model, examples),
        "columns shuffled": family_scores(
            model, [hide(x, "shuffled", seed + k) for k, x in enumerate(examples)]
        ),
        "query alone": family_scores(model, [hide(x, "query") for x in examples]),
        "another's alignment": family_scores(
            model, [foreign(x, other) for x, other in zip(examples, others)]
        ),
        "untrained": family_scores(untrained, examples),
        "direct couplings": {"precision": np.array([_couplings(x) for x in examples])},
    }
    rng = np.random.default_rng(seed)
    rows["helix"] = floor_scores(examples, [baselines.helix(x.chain.sequence)[0] for x in examples])
    walks = [baselines.random_walk(len(x.chain.sequence), rng) for x in examples]
    rows["random walk"] = floor_scores(examples, walks)
    folds = list(folds)
    if not folds:
        return rows, None
    near = baselines.nearest_structures(folds, [x.chain.positions[:, CA] for x in examples])
    rows["nearest training fold"] = floor_scores(examples, [ca for ca, _ in near])
    return rows, np.array([drmsd for _, drmsd in near])


def _couplings(example: Example) -> float:
    return precision_of(baselines.direct_coupling(example.alignment.tokens), example.chain)


def floor_scores(examples: Sequence[Example], predicted: Sequence[np.ndarray]) -> Scores:
    """Scores of structures that are Cα atoms only, or whole; FAPE needs whole ones."""
    rows = []
    for example, x in zip(examples, predicted):
        whole = x if x.ndim == 3 else np.zeros_like(example.chain.positions)
        if x.ndim == 2:
            whole[:, CA] = x
        one = structure_scores(
            *(
                torch.as_tensor(np.asarray(a, np.float32))[None]
                for a in (whole, example.chain.positions, example.chain.mask)
            )
        )
        if x.ndim == 2:
            del one["fape"]
        rows.append(one)
    return {key: np.concatenate([row[key] for row in rows]) for key in rows[0]}
