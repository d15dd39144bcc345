"""What does relaxation do? To structures folded by seven-nano, and to shaken experimental ones.

    python -m benchmarks.relax [--seed 0]

Writes results/relax.md and .csv.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from minifold.data.msa import read_alignment
from minifold.data.structures import Chain, read_structure
from minifold.physics.relax import METHOD, openmm_version, relax
from minifold.predict import fold, load
from minifold.training.loop import hardware
from minifold.training.metrics import evaluate

ROOT = Path(__file__).parent.parent
MSAS = {"1BPI": ROOT / "data" / "sample_msas" / "kunitz_1bpi.a3m"}
SHAKEN = 0.2  # Å, standard deviation of every coordinate
HEADS = (
    "input protein residues violated_before violated_after rounds mirrored rmsd_ca "
    "lddt_before lddt_after cpu_seconds"
).split()
INTRO = f"""\
# Relaxation

`minifold relax` on the seven shipped proteins: as seven-nano folds them (it knows them by heart),
and the experimental structures with every coordinate moved by {SHAKEN} Å (standard deviation).
*Violated*: residues with a broken peptide bond, a clash, or impossible distances inside
(`minifold.physics.violations`), before → after; *moved*: RMSD of Cα between input and output;
*mirrored*: residues that became D amino acids; lDDT: all atoms, against the experiment,
before → after (for scale: a random walk and a straight helix have lDDT-Cα 0.32 on these proteins,
[memorise.md](memorise.md)).
"""


def inputs(seed: int) -> Iterator[tuple[str, Chain, Chain]]:
    """(kind, structure, the experimental one)."""
    model, rng = load(), np.random.default_rng(seed)
    for path in sorted((ROOT / "data" / "structures").glob("*.cif")):
        truth = read_structure(path)
        alignment = read_alignment(MSAS[truth.name]) if truth.name in MSAS else truth.sequence
        yield "folded", fold(alignment, model, seed=seed).chain, truth
        noise = rng.normal(0, SHAKEN, truth.positions.shape) * truth.mask[..., None]
        moved = (truth.positions + noise).astype(np.float32)
        yield "shaken", replace(truth, positions=moved), truth


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    seed = parser.parse_args().seed
    torch.set_num_threads(1)
    rows = []
    for kind, chain, truth in inputs(seed):
        started = time.process_time()
        result = relax(chain, seed=seed)
        spent = time.process_time() - started
        before, after = (evaluate(x, truth)["lddt"] for x in (chain, result.chain))
        counts = (result.before["any"], result.after["any"], result.rounds, result.mirrored)
        numbers = (round(x, 3) for x in (result.rmsd_ca, before, after))
        rows.append((kind, truth.name, len(truth.sequence), *counts, *numbers, round(spent, 1)))
        print(*rows[-1], flush=True)
    with open(ROOT / "results" / "relax.csv", "w", newline="") as file:
        csv.writer(file).writerows([HEADS, *rows])
    head = "| input | protein | residues | violated | rounds | mirrored | moved Å | lDDT | CPU s |"
    table = [head, "|---" * 9 + "|"]
    for kind, name, n, violated, still, rounds, mirrored, moved, before, after, spent in rows:
        table.append(
            f"| {kind} | {name} | {n} | {violated} → {still} | {rounds} | {mirrored} | "
            f"{moved:.2f} | {before:.3f} → {after:.3f} | {spent:.0f} |"
        )
    facts = [
        f"- {METHOD}, OpenMM {openmm_version()}, one thread",
        f"- command: `python -m benchmarks.relax --seed {seed}`",
        f"- hardware: {hardware()}, shared with other work",
    ]
    text = "\n".join([INTRO, *table, "", *facts, ""])
    (ROOT / "results" / "relax.md").write_text(text)


if __name__ == "__main__":
    main()
