"""How learning in the toy world goes, and what each part of the model and of its training buys.

    python -m benchmarks.toy_curve [--minutes 6] [--out out/toy_curve]

Trains preset ``nano`` again and again, each time from scratch and for the same CPU time, with one
thing changed; then looks at the shipped weights by depth and by recycles. Interrupted, it goes on
where it stopped. Writes results/toy_curve.md, .csv and .png.
"""

from __future__ import annotations

import argparse
import csv
import json
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.toy_learning import fresh_families
from minifold.config import preset
from minifold.look import style
from minifold.model.alphafold import AlphaFold
from minifold.predict import load
from minifold.training import baselines
from minifold.training.controls import floor_scores, hide
from minifold.training.loop import Trainer, hardware
from minifold.training.runs import TOY
from minifold.training.toy import ToyFamilies, newborn
from minifold.training.toyscores import family_scores, summary

ROOT = Path(__file__).parent.parent
FAMILIES, FRESH = 96, 40  # families of the test, and their seed
DEPTHS, RECYCLES = (1, 2, 4, 8, 16, 32, 64, 128), (0, 1, 2, 3, 4)
SCORES = ("precision", "lddt_ca", "lddt_long", "rmsd_ca", "mirrored")


@dataclass(frozen=True)
class Variant:
    """One thing that is changed: fields of config, settings or loss, or modules left out."""

    group: str
    name: str
    config: dict = field(default_factory=dict)
    settings: dict = field(default_factory=dict)
    loss: dict = field(default_factory=dict)
    without: tuple[str, ...] = ()  # modules of a pair stack
    seed: int = 1


MULTIPLICATION = ("triangle_outgoing", "triangle_incoming")
ATTENTION = ("triangle_starting", "triangle_ending")
HALF = {"c_m": 16, "c_z": 16, "c_s": 64, "c_outer": 6, "c_triangle": 8}
TWICE = {"c_m": 64, "c_z": 64, "c_s": 256, "c_outer": 24, "c_triangle": 32}
VARIANTS = (
    *(Variant("as it is", f"nano, seed {seed}", seed=seed) for seed in (1, 2)),
    Variant("size", "half as wide", HALF),
    Variant("size", "twice as wide, same rates", TWICE),
    Variant("size", "one Evoformer block", {"evoformer_blocks": 1}),
    Variant("size", "four Evoformer blocks", {"evoformer_blocks": 4}),
    Variant("triangles", "no triangle multiplication", without=MULTIPLICATION),
    Variant("triangles", "no triangle attention", without=ATTENTION),
    Variant("triangles", "no triangles at all", without=MULTIPLICATION + ATTENTION),
    Variant("first frames", "all in one point", {"start": "black_hole"}),
    Variant("first frames", "on a line", {"start": "line"}),
    Variant("recycling", "trained with 0 or 1", {"recycles": 1}),
    Variant("trunk alone at first", "never", settings={"trunk_first": 0.0}),
    *(
        Variant("losses", f"without {name}", loss={name: 0.0})
        for name in (
            "distogram", "fape_backbone", "fape_local", "smooth_lddt", "start_torsions",
            "masked_msa",
        )
    ),
    Variant("losses", "fape_backbone 2 instead of 0.5", loss={"fape_backbone": 2.0}),
)  # fmt: skip


def leave_out(model: AlphaFold, modules: tuple[str, ...]) -> None:
    """These modules of every pair stack give zeros from now on, and cost nothing."""
    for block in model.trunk.evoformer.stack.blocks:
        for name in modules:
            getattr(block.pair, name).forward = lambda z, mask: torch.zeros_like(z)


def train(variant: Variant, minutes: float, out: Path) -> dict:
    """One training and its scores on fresh families, or what an earlier call found."""
    folder = out / f"{minutes:g}-minutes" / f"{variant.group}, {variant.name}".replace(" ", "-")
    done = folder / "found.json"
    if done.is_file():
        return json.loads(done.read_text())
    config = preset("nano").replace(**variant.config)
    settings = replace(TOY, minutes=minutes, seed=variant.seed, **variant.settings)
    settings = replace(settings, loss=replace(TOY.loss, **variant.loss))
    torch.manual_seed(variant.seed)
    source = ToyFamilies(config, seed=variant.seed)
    trainer = Trainer(newborn(config), source, settings, folder)
    for model in (trainer.model, trainer.average):
        leave_out(model, variant.without)
    if (folder / "checkpoint.pt").is_file():
        trainer.resume()
    trainer.run()
    left = (f".{name}." for name in variant.without)
    sizes = {name: p.numel() for name, p in trainer.model.named_parameters()}
    unused = sum(sizes[name] for part in left for name in sizes if part in name)
    found = {
        "parameters": sum(sizes.values()) - unused,
        "steps": trainer.step,
        "hardware": hardware(),
        "curve": [{k: row[k] for k in ("step", "minutes", "lddt_ca")} for row in trainer.rows],
        "scores": summary(family_scores(trainer.average, fresh_families(FRESH, FAMILIES))),
    }
    done.write_text(json.dumps(found))
    return found


def floors() -> dict[str, dict[str, float]]:
    """Scores of a helix and of a random walk on the same families."""
    rng, examples = np.random.default_rng(0), fresh_families(FRESH, FAMILIES)
    letters = [x.chain.sequence for x in examples]
    predicted = {
        "straight helix": [baselines.helix(sequence)[0] for sequence in letters],
        "random walk": [baselines.random_walk(len(sequence), rng) for sequence in letters],
    }
    return {name: summary(floor_scores(examples, some)) for name, some in predicted.items()}


def by_depth(model: AlphaFold) -> dict[int, dict[str, dict[str, float]]]:
    """Scores of the shipped weights by number of sequences, beside shuffled columns."""
    found = {}
    for depth in DEPTHS:
        examples = fresh_families(FRESH + 1, FAMILIES, depth=depth)
        hidden = [hide(x, "shuffled", k) for k, x in enumerate(examples)]
        found[depth] = {
            "model": summary(family_scores(model, examples)),
            "columns shuffled": summary(family_scores(model, hidden)),
        }
    return found


def by_recycles(model: AlphaFold) -> dict[int, dict[str, float]]:
    """Scores of the shipped weights by number of recycles."""
    examples = fresh_families(FRESH, FAMILIES)
    return {k: summary(family_scores(model, examples, recycles=k)) for k in RECYCLES}


ABOUT = """# What buys what in the toy world

Preset `nano` ({parameters:,} parameters), {minutes:g} CPU minutes from scratch, one thing changed
at a time; {families} fresh families of 32 to 48 residues and 64 sequences. All have the same time,
so what is cheaper sees more families: `families` counts those shown (each one up to six times).
The two seeds of the first rows say how much is chance.

![curves](toy_curve.png)

{trainings}

The shipped weights `toy-nano` by recycles (trained with 0 to {practised}):

{recycles}

By depth (other families, one set for each depth):

{depths}

- command: `python -m benchmarks.toy_curve --minutes {minutes:g}`
- hardware: {hardware}, shared with other work
"""


def write(
    results: list[tuple[Variant, dict]],
    floor: dict[str, dict[str, float]],
    depth: dict[int, dict[str, dict[str, float]]],
    recycles: dict[int, dict[str, float]],
    minutes: float,
    practised: int,
) -> None:
    """results/toy_curve.md, .csv and .png."""
    head = ["group", "change", "parameters", "steps", "families", *SCORES]
    rows = [
        [v.group, v.name, f["parameters"], f["steps"], f["steps"] * TOY.batch, f["scores"]]
        for v, f in results
    ]
    rows += [["floor", name, "", "", "", scores] for name, scores in floor.items()]
    rows = [[*row[:-1], *(row[-1].get(key) for key in SCORES)] for row in rows]
    cycles = [[k, *(s[key] for key in SCORES)] for k, s in recycles.items()]
    depths = [
        [k, name, *(s[key] for key in SCORES)]
        for k, both in depth.items()
        for name, s in both.items()
    ]
    text = ABOUT.format(
        parameters=results[0][1]["parameters"],
        minutes=minutes,
        families=FAMILIES,
        trainings=table(head, rows),
        practised=practised,
        recycles=table(["recycles", *SCORES], cycles),
        depths=table(["sequences", "predictor", *SCORES], depths),
        hardware=results[0][1]["hardware"],
    )
    (ROOT / "results" / "toy_curve.md").write_text(text)
    with open(ROOT / "results" / "toy_curve.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(head)
        writer.writerows([_cell(x) for x in row] for row in rows)
    picture = draw(results, floor, depth, recycles)
    (ROOT / "results" / "toy_curve.png").write_bytes(picture)


def draw(results, floor, depth, recycles) -> bytes:
    """Six panels of lDDT: by minutes, families, parameters, change, depth and recycles."""
    figure, axes = style.sheet(15, 8.4, columns=3, rows=2)
    minutes, families, parameters, changes, depths, cycles = np.ravel(axes)
    others = iter(style.CYCLE[1:])
    for variant, found in results:
        same = variant.group == "as it is"
        if same or variant.group == "size":
            color = style.BLUE if same else next(others)
            label = "as it is" if same and variant.seed == 1 else variant.name
            look = {"color": color, "label": None if same and variant.seed > 1 else label}
            y = [row["lddt_ca"] for row in found["curve"]]
            minutes.plot([row["minutes"] for row in found["curve"]], y, "o-", **look)
            families.plot([TOY.batch * row["step"] for row in found["curve"]], y, "o-", **look)
            parameters.plot([found["parameters"] / 1000], [found["scores"]["lddt_ca"]], "o", **look)
    minutes.set(xlabel="CPU minutes", ylabel="lDDT-Cα, 32 held-out families")
    minutes.legend(fontsize=8, loc="lower right")
    families.set(xlabel="families shown", ylabel="lDDT-Cα, 32 held-out families")
    parameters.set(
        xlabel="thousand parameters (all the same time)", ylabel="lDDT-Cα, fresh families"
    )
    parameters.set(xlim=(0, 1200))
    parameters.legend(fontsize=8, loc="lower right")
    scores = [found["scores"]["lddt_ca"] for _, found in results]
    places = -np.arange(len(scores))
    colors = [style.BLUE if v.group == "as it is" else style.GREY for v, _ in results]
    changes.barh(places, scores, color=colors)
    plain = ("as it is", "size", "triangles", "losses")
    names = [v.name if v.group in plain else f"{v.group}: {v.name}" for v, _ in results]
    changes.set_yticks(places, names, fontsize=8)
    changes.set(xlabel="lDDT-Cα, fresh families", xlim=(0.2, 0.85))
    for k, name in enumerate(("model", "columns shuffled")):
        values = [both[name]["lddt_ca"] for both in depth.values()]
        depths.plot(list(depth), values, "o-", color=(style.BLUE, style.ORANGE)[k], label=name)
    depths.set(xscale="log", xlabel="sequences", ylabel="lDDT-Cα, toy-nano")
    depths.set_xticks(list(depth), [str(k) for k in depth])
    depths.minorticks_off()
    depths.legend(fontsize=8)
    values = [s["lddt_ca"] for s in recycles.values()]
    cycles.plot(list(recycles), values, "o-", color=style.BLUE)
    cycles.set(xlabel="recycles", ylabel="lDDT-Cα, toy-nano")
    cycles.set_xticks(list(recycles))
    lines = {"color": style.INK, "linewidth": 1}
    for name, mark in (("straight helix", ":"), ("random walk", "--")):
        for ax in (minutes, families, parameters, depths, cycles):
            ax.axhline(floor[name]["lddt_ca"], linestyle=mark, **lines)
            ax.set_ylim(0.2, 0.9)
        changes.axvline(floor[name]["lddt_ca"], linestyle=mark, **lines)
    cycles.text(0, floor["random walk"]["lddt_ca"] + 0.015, "dashed: random walk, dotted: helix")
    return style.png(figure)


def table(head: list[str], rows: list[list]) -> str:
    """Rows as Markdown."""
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    return "\n".join([*lines, *("| " + " | ".join(map(_cell, row)) + " |" for row in rows)])


def _cell(value) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    return "–" if value is None else str(value)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=6.0, help="CPU minutes of a training")
    parser.add_argument("--out", type=Path, default=Path("out/toy_curve"))
    a = parser.parse_args()
    torch.set_num_threads(1)
    results = [(variant, train(variant, a.minutes, a.out)) for variant in VARIANTS]
    model = load("toy-nano")
    write(results, floors(), by_depth(model), by_recycles(model), a.minutes, model.config.recycles)


if __name__ == "__main__":
    main()
