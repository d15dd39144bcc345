"""Can it learn at all? Trp-cage alone, then all shipped proteins, from scratch on a CPU.

    python -m benchmarks.memorise [--seed 0] [--out out/memorise] [--publish]

Writes results/memorise.md and .csv; with --publish also weights/seven-nano.safetensors.
"""

from __future__ import annotations

import argparse
import csv
import resource
import shutil
import time
from dataclasses import replace
from pathlib import Path

import torch

from minifold.config import preset
from minifold.model.alphafold import AlphaFold
from minifold.training.loop import Trainer, hardware
from minifold.training.runs import SEVEN, score_example
from minifold.training.sources import Proteins, fold_example, read_examples

ROOT = Path(__file__).parent.parent
# Wider than the preset, which is made for many families: what is learnt by heart needs room.
SIZES = preset("nano").replace(
    c_m=64, c_outer=12, c_triangle=32, extra_msa_blocks=1, ipa_heads=4, c_torsion=64, start="line"
)
KEYS = ("lddt_ca", "lddt", "tm_score", "gdt_ts", "rmsd_ca")


def train(examples, minutes: float, seed: int, folder: Path) -> tuple[Trainer, float]:
    """Train from scratch; returns the trainer and the CPU minutes it took, measuring included."""
    torch.manual_seed(seed)
    config = SIZES
    settings = replace(SEVEN, minutes=minutes, seed=seed)
    source = Proteins(examples, config, seed=seed)
    trainer = Trainer(AlphaFold(config), source, settings, folder)
    started = time.process_time()
    trainer.run()
    return trainer, (time.process_time() - started) / 60


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("out/memorise"))
    parser.add_argument("--publish", action="store_true", help="write weights/seven-nano")
    parser.add_argument("--one", type=float, default=1.9, help="CPU minutes for Trp-cage alone")
    parser.add_argument("--all", type=float, default=14.3, help="CPU minutes for all proteins")
    a = parser.parse_args()
    torch.set_num_threads(1)
    began = time.perf_counter()
    examples = read_examples(ROOT / "data")
    trp = [x for x in examples if x.chain.name == "1L2Y"]
    rows, runs = [], []
    for name, chosen, minutes in (("Trp-cage alone", trp, a.one), ("all", examples, a.all)):
        trainer, spent = train(chosen, minutes, a.seed, a.out / name.split()[0].lower())
        runs.append((name, spent, trainer.step))
        for example in chosen:
            scores = score_example(fold_example(trainer.average, example), example.chain)
            rows.append((name, example, scores))
    if a.publish:
        weights = ROOT / "weights" / "seven-nano.safetensors"
        weights.parent.mkdir(exist_ok=True)
        shutil.copyfile(a.out / "all" / "weights.safetensors", weights)
    write(rows, runs, trainer, a.seed, (time.perf_counter() - began) / 60)


def write(rows, runs, trainer: Trainer, seed: int, minutes: float) -> None:
    size = sum(p.numel() for p in trainer.model.parameters())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    names = list(rows[0][2])
    with open(ROOT / "results" / "memorise.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["run", "protein", "residues", "prediction", *KEYS])
        for run, example, scores in rows:
            for name in names:
                values = [f"{scores[name][key]:.4f}" for key in KEYS]
                head = [run, example.chain.name, len(example.chain.sequence), name]
                writer.writerow([*head, *values])

    def line(label: str, chosen) -> str:
        cells = []
        for key in ("lddt_ca", "tm_score", "rmsd_ca"):
            for name in names:
                mean = sum(scores[name][key] for _, _, scores in chosen) / len(chosen)
                cells.append(f"{mean:.2f}")
        return f"| {label} | " + " | ".join(cells) + " |"

    heads = [f"{key} {name}" for key in ("lDDT-Cα", "TM", "RMSD Å") for name in names]
    table = ["| | " + " | ".join(heads) + " |", "|---" * (1 + len(heads)) + "|"]
    for run, _, _ in runs:
        chosen = [row for row in rows if row[0] == run]
        if len(chosen) == 1:
            table.append(line(f"{run} ({len(chosen[0][1].chain.sequence)} residues)", chosen))
        else:
            for row in chosen:
                chain = row[1].chain
                table.append(line(f"{chain.name} ({len(chain.sequence)} residues)", [row]))
            table.append(line("**mean of all**", chosen))
    took = f"{minutes:.0f} minutes in all"
    text = "\n".join(
        [
            "# Learning seven proteins by heart",
            "",
            f"A model of {size:,} parameters, trained from scratch on the shipped structures"
            " and asked for the same",
            "structures again. This is memorisation: it shows that all parts work together and"
            " learn, not that the model",
            "could fold a protein it has not seen. Beside it, what knows nothing: a straight helix"
            " and a random walk as",
            "compact as a protein.",
            "",
            *table,
            "",
            *(f"- {name}: {spent:.1f} CPU minutes, {steps} steps" for name, spent, steps in runs),
            f"- peak memory {peak:.2f} GB",
            f"- command: `python -m benchmarks.memorise --seed {seed}`, {took}",
            f"- hardware: {hardware()}, shared with other work; torch {torch.__version__}",
            "",
        ]
    )
    (ROOT / "results" / "memorise.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
