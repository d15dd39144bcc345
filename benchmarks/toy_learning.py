"""Does it learn to fold unseen toy proteins, and from what? Trainings with controls and floors.

    python -m benchmarks.toy_learning [--minutes 10] [--seeds 1 2 3] [--out out/toy_learning]

For every seed: the model, a twin trained on alignments with shuffled columns and a twin trained on
the query alone, from scratch; measured on families of other seeds. Interrupted, it goes on where it
stopped. Writes results/toy_learning.md and .csv once all seeds are done.
"""

from __future__ import annotations

import argparse
import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from minifold.config import preset
from minifold.data.toyworld import ToyWorld
from minifold.predict import load
from minifold.training.controls import CONTROLS, compare, hide
from minifold.training.loop import Trainer, hardware
from minifold.training.runs import TOY
from minifold.training.sources import Example
from minifold.training.toy import ToyFamilies, newborn
from minifold.training.toyscores import SCORES, family_scores, summary

ROOT = Path(__file__).parent.parent
FRESH = 7_000_000  # seeds of the test families: far from those of training and of the log


def fresh_families(seed: int, count: int, length=(32, 48), depth=64) -> list[Example]:
    """Families that no training and no log has seen."""
    toys = ToyWorld(length=length, depth=depth, seed=FRESH + seed).sample(count)
    return [Example(toys.chain(n, f"fresh{n}"), toys.alignment(n)) for n in range(count)]


def train(control: str, minutes: float, seed: int, folder: Path) -> tuple[Trainer, dict]:
    """One training, or what an earlier call finished; and its facts."""
    config = preset("nano")
    source = ToyFamilies(config, seed=seed, control=control)
    torch.manual_seed(seed)
    trainer = Trainer(newborn(config), source, replace(TOY, minutes=minutes, seed=seed), folder)
    if (folder / "checkpoint.pt").is_file():
        trainer.resume()
    trainer.run()
    facts = {"steps": trainer.step, "CPU minutes": round(trainer.spent, 2)}
    (folder / "facts.json").write_text(json.dumps(facts))
    return trainer, facts


def one_seed(seed: int, minutes: float, count: int, out: Path, twins: bool) -> dict[str, dict]:
    """All rows of one seed: {predictor: {"all": scores, "new": scores of the newer half}}."""
    out = out / f"{minutes:g}-minutes"
    done = out / f"seed{seed}-{count}{'-twins' * twins}.json"
    controls = CONTROLS if twins else CONTROLS[:1]
    if done.is_file():
        return json.loads(done.read_text())
    facts, folds = {}, None
    for control in controls:
        trainer, facts[control] = train(control, minutes, seed, out / f"seed{seed}-{control}")
        if control == "none":
            folds = list(trainer.source.folds(trainer.step, TOY.batch))
    examples = fresh_families(seed, count)
    model = load(str(out / f"seed{seed}-none" / "weights.safetensors"))
    rows, novelty = compare(model, examples, folds, seed)
    for control in controls[1:]:
        twin = load(str(out / f"seed{seed}-{control}" / "weights.safetensors"))
        hidden = [hide(x, control, seed + k) for k, x in enumerate(examples)]
        rows[f"twin trained on {control}"] = family_scores(twin, hidden)
    new = novelty >= np.median(novelty)
    result = {
        name: {"all": summary(scores), "new": summary(scores, new)} for name, scores in rows.items()
    }
    result["facts"] = {
        "trainings": facts,
        "families": count,
        "training folds": len(folds),
        "dRMSD": [float(np.median(novelty)), float(np.median(novelty[new]))],
    }
    done.write_text(json.dumps(result))
    return result


ABOUT = """# Learning to fold in the toy world

Preset `nano` from scratch: {minutes:g} CPU minutes for each training, in which families are made,
learnt from and measured. {families} fresh families for each seed, of 32 to 48 residues and 64
sequences. A cell is the mean over the seeds {seeds}, with the smallest and the largest; of twins,
that are trained without covariation, over the seeds {twins}.
`precision`: contacts, top L/2, |i-j| >= 6. `lddt_long`: pairs with |i-j| >= 6. `rmsd_ca`: median,
Å. `mirrored`: share of predictions that are nearer to the mirror image of the truth.

All families:

{all}

The half that is farthest from every fold of the training:

{new}

- dRMSD to the nearest training fold, median of all / of the farther half: {distances}
- steps (model / twin on shuffled columns / twin on the query alone): {steps}
- command: `{command}`
- hardware: {hardware}, shared with other work
"""


def write(results: dict[int, dict], minutes: float, command: str) -> None:
    """results/toy_learning.md and .csv."""
    facts = {seed: result["facts"] for seed, result in results.items()}
    steps = (
        f"seed {seed}: " + " / ".join(str(t["steps"]) for t in fact["trainings"].values())
        for seed, fact in facts.items()
    )
    text = ABOUT.format(
        minutes=minutes,
        families=next(iter(facts.values()))["families"],
        seeds=", ".join(str(seed) for seed in results),
        twins=", ".join(str(s) for s, f in facts.items() if len(f["trainings"]) > 1),
        all=_table(results, "all"),
        new=_table(results, "new"),
        distances=", ".join("{:.2f} / {:.2f} Å".format(*f["dRMSD"]) for f in facts.values()),
        steps=", ".join(steps),
        command=command,
        hardware=hardware(),
    )
    (ROOT / "results" / "toy_learning.md").write_text(text)
    with open(ROOT / "results" / "toy_learning.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["seed", "predictor", "families", *SCORES])
        for seed, result in results.items():
            for name, part in ((n, p) for n in result if n != "facts" for p in ("all", "new")):
                values = (result[name][part].get(key) for key in SCORES)
                writer.writerow(
                    [seed, name, part, *("" if v is None else f"{v:.4f}" for v in values)]
                )


def _table(results: dict[int, dict], part: str) -> str:
    lines = ["| predictor | " + " | ".join(SCORES) + " |", "|---" * (len(SCORES) + 1) + "|"]
    for name in next(iter(results.values())):
        if name != "facts":
            rows = [result[name][part] for result in results.values() if name in result]
            cells = [_cell([row[key] for row in rows if key in row]) for key in SCORES]
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(values: list[float]) -> str:
    if not values:
        return "–"
    mean = f"{np.mean(values):.3f}"
    return mean if len(values) == 1 else f"{mean} ({min(values):.2f}–{max(values):.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10.0, help="CPU minutes of a training")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--twins", type=int, help="how many of the seeds train twins too; all")
    parser.add_argument("--count", type=int, default=200, help="fresh families for each seed")
    parser.add_argument("--out", type=Path, default=Path("out/toy_learning"))
    a = parser.parse_args()
    torch.set_num_threads(1)
    twins = len(a.seeds) if a.twins is None else a.twins
    results = {
        seed: one_seed(seed, a.minutes, a.count, a.out, k < twins) for k, seed in enumerate(a.seeds)
    }
    seeds = " ".join(str(seed) for seed in a.seeds)
    options = f"--minutes {a.minutes:g} --seeds {seeds} --count {a.count}"
    options += f" --twins {twins}" if twins < len(a.seeds) else ""
    write(results, a.minutes, f"python -m benchmarks.toy_learning {options}")


if __name__ == "__main__":
    main()
