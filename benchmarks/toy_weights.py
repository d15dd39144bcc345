"""The shipped weights toy-nano on toy proteins that no training saw.

    python -m benchmarks.toy_weights [--seed 0] [--count 200] [--twin 121]

Writes results/toy_nano.md and .csv: scores beside controls and floors, for all families and for
the half that is farthest from the training folds; by length and depth; and whether pLDDT knows.
``--twin`` first trains a twin on shuffled columns for so many CPU minutes, as many as the weights
had; interrupted, it goes on where it stopped.
"""

from __future__ import annotations

import argparse
import csv
import time
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from scipy.stats import spearmanr

from benchmarks.toy_learning import fresh_families, train
from minifold.data.features import collate, make_batch
from minifold.data.residues import ATOM_INDEX
from minifold.model.alphafold import AlphaFold
from minifold.model.heads import plddt_from_logits
from minifold.predict import load
from minifold.training.controls import compare, hide
from minifold.training.loop import hardware
from minifold.training.metrics import lddt_per_point
from minifold.training.runs import TOY
from minifold.training.sources import Example
from minifold.training.toy import ToyFamilies
from minifold.training.toyscores import SCORES, family_scores, summary

ROOT = Path(__file__).parent.parent
CA = ATOM_INDEX["CA"]
TRAININGS = ((0, 11_243), (1, 14675))  # seeds and steps of the trainings that made the weights
LENGTHS, DEPTHS = ((24, 32), (32, 48), (48, 64)), (1, 8, 32, 64, 128)


ABOUT = """# toy-nano on unseen toy proteins

{count} fresh families of 32 to 48 residues and 64 sequences. `rmsd_ca` is the median, in Å; all
else are means. `precision`: contacts, top L/2, |i-j| >= 6. `lddt_long`: pairs with |i-j| >= 6. The
controls are the same model with less to read. Twins are *trained* without covariation: `--twin`
adds one that had as long as these weights, others are in [toy_learning.md](toy_learning.md).

{all}

The half that is farthest from all training folds (median dRMSD to the nearest one {far:.2f} Å; of
all families {near:.2f} Å):

{new}

By size ({few} families each):

{sizes}

Does pLDDT know? Spearman correlation with the true lDDT-Cα, and calibration error (ten bins):

| | Spearman | calibration error | mean pLDDT | mean lDDT-Cα |
|---|---|---|---|---|
{knows}

- command: `{command}`, {minutes:.0f} CPU minutes
- hardware: {hardware}, shared with other work
"""


def confidence(
    model: AlphaFold, examples: list[Example]
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """pLDDT and true lDDT-Cα of every residue, both 0 to 1."""
    predicted, true = [], []
    for example in examples:
        batch = collate([make_batch(example.alignment, example.chain, model.config)])
        with torch.no_grad():
            output = model(batch, recycles=model.config.recycles)
        x, y = output.positions[..., CA, :], batch.all_atom_positions[..., CA, :]
        true.append(lddt_per_point(x, y, batch.seq_mask)[0])
        predicted.append(plddt_from_logits(output.plddt_logits)[0] / 100)
    return torch.cat(predicted).numpy(), torch.cat(true).numpy()


def calibration_error(predicted: np.ndarray, true: np.ndarray, bins: int = 10) -> float:
    """Mean difference of confidence and truth over bins of confidence, weighted by their size."""
    which = np.minimum((predicted * bins).astype(int), bins - 1)
    gaps = [
        (which == k).mean() * abs(predicted[which == k].mean() - true[which == k].mean())
        for k in range(bins)
        if (which == k).any()
    ]
    return float(sum(gaps))


def _knows(what: str, predicted: np.ndarray, true: np.ndarray) -> str:
    numbers = (
        spearmanr(predicted, true).statistic,
        calibration_error(predicted, true),
        predicted.mean(),
        true.mean(),
    )
    return f"| {what} | " + " | ".join(f"{x:.3f}" for x in numbers) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--twin", type=float, metavar="M", help="CPU minutes of a trained twin")
    parser.add_argument("--out", type=Path, default=Path("out/toy_weights"))
    a = parser.parse_args()
    torch.set_num_threads(1)
    if a.twin:
        train("shuffled", a.twin, 0, a.out / f"twin-{a.twin:g}-minutes")
    began = time.process_time()
    model = load("toy-nano").eval()
    examples = fresh_families(a.seed, a.count)
    folds = []
    for seed, steps in TRAININGS:
        source = ToyFamilies(model.config, seed=seed, held_out=1)
        folds += source.folds(steps, TOY.batch)
    rows, novelty = compare(model, examples, folds, a.seed)
    if a.twin:
        twin = load(str(a.out / f"twin-{a.twin:g}-minutes" / "weights.safetensors"))
        hidden = [hide(x, "shuffled", a.seed + k) for k, x in enumerate(examples)]
        rows[f"twin trained on shuffled columns, {a.twin:g} minutes"] = family_scores(twin, hidden)
    far = novelty >= np.median(novelty)
    sizes = {}
    for low, high in LENGTHS:
        some = fresh_families(a.seed + 1, a.count // 4, (low, high))
        sizes[f"{low}-{high} residues, 64 sequences"] = summary(family_scores(model, some))
    depths, residues = [], []
    for depth in DEPTHS:
        some = fresh_families(a.seed + 2, a.count // 4, (32, 48), depth)
        depths.append(family_scores(model, some))
        residues.append(confidence(model, some))
        sizes[f"32-48 residues, {depth} sequences"] = summary(depths[-1])
    of_depths = (np.concatenate([x[key] for x in depths]) for key in ("plddt", "lddt_ca"))
    of_residues = (np.concatenate(x) for x in zip(*residues))
    among = ", ".join(str(depth) for depth in DEPTHS)
    knows = [
        _knows("residues, 64 sequences", *confidence(model, examples)),
        _knows(f"residues, {among} sequences", *of_residues),
        _knows("families, 64 sequences", rows["model"]["plddt"], rows["model"]["lddt_ca"]),
        _knows(f"families, {among} sequences", *of_depths),
    ]
    text = ABOUT.format(
        count=a.count,
        all=_table({name: summary(scores) for name, scores in rows.items()}),
        far=np.median(novelty[far]),
        near=np.median(novelty),
        new=_table({name: summary(scores, far) for name, scores in rows.items()}),
        few=a.count // 4,
        sizes=_table(sizes),
        knows="\n".join(knows),
        command=f"python -m benchmarks.toy_weights --seed {a.seed} --count {a.count}"
        + (f" --twin {a.twin:g}" if a.twin else ""),
        minutes=(time.process_time() - began) / 60,
        hardware=hardware(),
    )
    (ROOT / "results" / "toy_nano.md").write_text(text)
    with open(ROOT / "results" / "toy_nano.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["predictor", "family", "residues", "drmsd_to_training", *SCORES])
        for name, scores in rows.items():
            for k, example in enumerate(examples):
                cells = [f"{scores[key][k]:.4f}" if key in scores else "" for key in SCORES]
                head = [name, k, len(example.chain.sequence), f"{novelty[k]:.3f}"]
                writer.writerow([*head, *cells])


def _table(rows: dict[str, dict[str, float]]) -> str:
    lines = ["| | " + " | ".join(SCORES) + " |", "|---" * (len(SCORES) + 1) + "|"]
    for name, scores in rows.items():
        cells = (f"{scores[key]:.3f}" if key in scores else "–" for key in SCORES)
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
