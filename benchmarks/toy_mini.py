"""Preset ``mini`` on a GPU: from scratch on toy families, then measured on unseen ones.

    python -m benchmarks.toy_mini [--minutes 6.5] [--seed 1] [--count 200]

The training is ``minifold train --preset mini --data toy``. Writes results/toy_mini.md and .png;
interrupted, the training goes on where it stopped.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
from pathlib import Path

import numpy as np

from benchmarks.toy_curve import table
from benchmarks.toy_learning import fresh_families
from minifold.predict import choose_device, load
from minifold.training.controls import compare
from minifold.training.loop import hardware
from minifold.training.runs import train
from minifold.training.toy import ToyFamilies
from minifold.training.toyscores import SCORES, summary

ROOT = Path(__file__).parent.parent

ABOUT = """# Preset mini in the toy world

{parameters:,} parameters, {minutes:g} minutes by the clock from scratch: {steps} steps of {batch}
families. {count} fresh families of 32 to 48 residues and 64 sequences. `rmsd_ca` is the median, in
Å; all else are means. `precision`: contacts, top L/2, |i-j| >= 6. `lddt_long`: pairs with
|i-j| >= 6. The controls are the same model with less to read.

{all}

The half that is farthest from all training folds (median dRMSD to the nearest one {far:.2f} Å; of
all families {near:.2f} Å):

{new}

While it learnt (32 other held-out families):

{curve}

![curves](toy_mini.png)

- command: `python -m benchmarks.toy_mini --minutes {minutes:g} --seed {seed} --count {count}`
- hardware: {hardware}, shared with other work
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=6.5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=200, help="fresh families")
    parser.add_argument("--out", type=Path, default=Path("out/toy_mini"))
    a = parser.parse_args()
    resume = (a.out / "checkpoint.pt").is_file()
    train("mini", "toy", a.out, minutes=a.minutes, seed=a.seed, resume=resume)
    where = choose_device("auto")
    model = load(str(a.out / "weights.safetensors")).to(where).eval()
    settings = json.loads((a.out / "settings.json").read_text())
    with open(a.out / "log.csv") as file:
        log = list(csv.DictReader(file))
    source = ToyFamilies(model.config, seed=a.seed, held_out=1, device=where.type)
    folds = source.folds(int(log[-1]["step"]), settings["batch"])
    rows, novelty = compare(model, fresh_families(a.seed, a.count), folds, a.seed)
    new = novelty >= np.median(novelty)
    parts = {
        "all": {name: summary(scores) for name, scores in rows.items()},
        "new": {name: summary(scores, new) for name, scores in rows.items()},
    }
    cells = {
        part: [[name, *(s.get(key) for key in SCORES)] for name, s in scores.items()]
        for part, scores in parts.items()
    }
    keys = ["step", "minutes", "precision", "lddt_ca", "lddt_long", "rmsd_ca", "mirrored"]
    text = ABOUT.format(
        parameters=sum(p.numel() for p in model.parameters()),
        minutes=a.minutes,
        steps=log[-1]["step"],
        batch=settings["batch"],
        count=a.count,
        seed=a.seed,
        all=table(["", *SCORES], cells["all"]),
        new=table(["", *SCORES], cells["new"]),
        far=float(np.median(novelty[new])),
        near=float(np.median(novelty)),
        curve=table(keys, [[row["step"], *(float(row[k]) for k in keys[1:])] for row in log]),
        hardware=hardware(),
    )
    (ROOT / "results" / "toy_mini.md").write_text(text)
    shutil.copy(a.out / "curves.png", ROOT / "results" / "toy_mini.png")


if __name__ == "__main__":
    main()
