"""``minifold demo``: learn to fold toy proteins, fold unseen ones and real ones, on one page."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from html import escape
from pathlib import Path

import numpy as np
import torch

from minifold.config import preset
from minifold.data.structures import write_structure
from minifold.data.toyworld import ToyWorld
from minifold.errors import BadInput
from minifold.look import plots
from minifold.look.report import Row, Section, write_report
from minifold.look.view3d import View, view
from minifold.model.alphafold import AlphaFold
from minifold.predict import load
from minifold.training.controls import compare
from minifold.training.loop import Trainer, hardware
from minifold.training.runs import TOY, as_table, draw_curves, rounded, score_example
from minifold.training.sources import Example, fold_example, read_examples
from minifold.training.toy import ToyFamilies, newborn

DATA = Path(__file__).parent.parent / "data"
SHOWN = ("lddt_ca", "tm_score", "rmsd_ca")
UNSEEN = 5_000_000  # seed of the toy proteins that are folded: no training saw them
COUNT, DRAWN = 24, 4  # unseen toy proteins, and how many of them are drawn

LEAD = (
    "A small AlphaFold2 learns from nothing to fold toy proteins; then weights that were trained "
    "longer fold toy proteins they have never seen, and real proteins."
)
TOYS = (
    "Toy proteins are made by the computer: compact chains of helices and strands, and families of "
    "sequences that evolved on them, so that residues that touch vary together. No protein below "
    "was seen in training.",
    "Read each table from its controls. With shuffled columns an alignment keeps its letters but "
    "not what varies together: what is lost there was read from co-evolution. Direct couplings are "
    "classical statistics of the same alignment. Helix and random walk know nothing.",
)
REAL = {
    "seven-nano": "These weights were trained on these very proteins: they know them by heart, "
    "which shows only that all parts work together.",
    "short-nano": "These weights were trained on 826 short natural chains, not on these, though "
    "on relatives of some. A single sequence does not give a fold: expect the local structure and "
    "the size, no more, and compare with the floors, helix and random walk.",
}
COLUMNS = {
    "precision": "contacts, top L/2",
    "lddt_ca": "lDDT-Cα",
    "lddt_long": "lDDT-Cα, |i-j| ≥ 6",
    "tm_score": "TM-score",
    "rmsd_ca": "RMSD, Å (median)",
    "mirrored": "mirror images",
}


def run(
    folder: str | Path,
    minutes: float = 3.0,
    seed: int = 0,
    quiet: bool = False,
    as_json: bool = False,
) -> dict | None:
    """Train, fold, evaluate and write ``report.html``.

    Raises:
        BadInput: the data folder of the repository is not there.
    """
    folder, started = Path(folder), time.perf_counter()
    if not DATA.is_dir():
        raise BadInput("the demo needs the folder data/ of the repository; run it in a clone")
    say = (lambda text: None) if quiet else (lambda text: print(text, file=sys.stderr))

    say(f"1. Training a small model on toy families from scratch, {minutes:g} minutes")
    trainer = _train(folder, minutes, seed, quiet)
    fresh = rounded(compare(trainer.average, trainer.source.held_out, seed=seed)[0])

    say("2. Folding toy proteins that the shipped weights toy-nano have never seen")
    toys = ToyWorld(length=(32, 48), seed=UNSEEN + seed).sample(COUNT)
    unseen = [Example(toys.chain(n, f"toy{n}"), toys.alignment(n)) for n in range(COUNT)]
    toy_nano = load("toy-nano")
    trained = rounded(compare(toy_nano, unseen, seed=seed)[0])
    toy_views = [_fold(toy_nano, example, folder, "toy protein")[1] for example in unseen[:DRAWN]]

    say("3. Folding the seven real proteins of this repository")
    natural = read_examples(DATA)
    real = {name: _real(name, natural, folder) for name in REAL}
    facts = {
        "parameters": f"{sum(p.numel() for p in trainer.model.parameters()):,}",
        "training steps": trainer.step,
        "minutes in all": f"{(time.perf_counter() - started) / 60:.1f}",
        "machine": hardware(),
        "seed": seed,
    }
    figure = plots.loss_curve(plots.read_log(folder / "log.csv"), ("precision", "lddt_ca"))
    page, shown = folder / "report.html", f"{minutes:g} minutes"
    write_report(
        page,
        "minifold: learning to fold",
        LEAD,
        [
            Section(
                f"Unseen toy proteins after {shown} of training",
                text=TOYS,
                figures=[figure],
                html=_table(fresh),
            ),
            Section(
                "Other unseen toy proteins, weights toy-nano", views=toy_views, html=_table(trained)
            ),
            *(
                Section(f"Real proteins, weights {n}", text=[REAL[n]], rows=rows, views=views)
                for n, (rows, views) in real.items()
            ),
            Section("How it was made", numbers=facts),
        ],
        footer=f"minifold demo --minutes {minutes:g} --seed {seed}",
    )
    if as_json:
        return {"trained here": fresh, "toy-nano": trained, "report": str(page)}
    if not quiet:
        print(f"Unseen toy proteins, trained here for {shown}:\n{as_table(fresh)}\n")
        print(f"Unseen toy proteins, shipped weights toy-nano:\n{as_table(trained)}\n")
        for name, (rows, _) in real.items():
            print(f"Real proteins, {name}. {REAL[name]}")
            for row in rows:
                values = "  ".join(f"{key} {row.metrics[key]:6.3f}" for key in SHOWN)
                print(f"{row.name:6}{values}")
        print(f"Open {page} in a browser: it works offline.")
    return None


def _train(folder: Path, minutes: float, seed: int, quiet: bool) -> Trainer:
    config = preset("nano")
    torch.manual_seed(seed)
    source = ToyFamilies(config, seed=seed)
    settings = replace(TOY, minutes=minutes, wall=True, seed=seed)
    trainer = Trainer(newborn(config), source, settings, folder)
    trainer.run(quiet)
    draw_curves(trainer.rows, folder / "curves.png")
    return trainer


def _fold(model: AlphaFold, example: Example, folder: Path, what: str):
    """The prediction, written to a file, and its picture on the true structure."""
    truth = example.chain
    predicted = fold_example(model, example)
    write_structure(predicted, folder / f"{truth.name.lower()}-{what.replace(' ', '-')}.cif")
    caption = f"{truth.name} ({what}): prediction in colour, truth in grey"
    return predicted, view([predicted, truth], color="position", superpose=True, caption=caption)


def _real(name: str, examples: Sequence[Example], folder: Path) -> tuple[list[Row], list[View]]:
    """Scores beside their floors, and pictures, of real proteins folded by shipped weights."""
    rows, views, model = [], [], load(name)
    for example in examples:
        predicted, picture = _fold(model, example, folder, name)
        scores = score_example(predicted, example.chain)
        chosen = {n: {key: v[key] for key in SHOWN} for n, v in scores.items()}
        rows.append(Row(example.chain.name, chosen.pop("model"), chosen))
        views.append(picture)
    return rows, views


def _table(rows: Mapping[str, Mapping[str, float]]) -> str:
    """Predictors down, scores across; "–" where a predictor has no such score."""
    head = "".join(f"<th>{escape(label)}</th>" for label in COLUMNS.values())
    body = ""
    for name, scores in rows.items():
        values = (scores.get(key, np.nan) for key in COLUMNS)
        cells = "".join("<td>–</td>" if np.isnan(v) else f"<td>{v:.2f}</td>" for v in values)
        body += f"<tr><td>{escape(name)}</td>{cells}</tr>"
    return (
        f'<div class="wide"><table><thead><tr><th></th>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )
