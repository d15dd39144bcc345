"""``minifold demo``: train on the shipped proteins, fold them, show it all on one page."""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path

import torch

from minifold.config import preset
from minifold.data.structures import write_structure
from minifold.errors import BadInput
from minifold.look import plots
from minifold.look.report import Row, Section, write_report
from minifold.look.view3d import view
from minifold.model.alphafold import AlphaFold
from minifold.training.loop import Trainer, hardware
from minifold.training.runs import SEVEN, draw_curves, score_example
from minifold.training.sources import Proteins, fold_example, read_examples

DATA = Path(__file__).parent.parent / "data"
SHOWN = ("lddt_ca", "tm_score", "rmsd_ca")

LEAD = (
    "A small AlphaFold2, trained from nothing on the proteins of this page and then asked to fold "
    "them again."
)
MEMORY = (
    "This is memorisation. The model has seen these very structures, so the page shows that every "
    "part works and can learn: alignment in, structure out. It does not show that the model "
    "could fold a protein that it has never seen; on those it knows next to nothing.",
    "Beside each score stand two predictions that know nothing: a straight helix, and a random "
    "walk that is as compact as a protein. A model that learnt nothing scores like them.",
)


def run(
    folder: str | Path,
    minutes: float = 8.5,
    seed: int = 0,
    quiet: bool = False,
    as_json: bool = False,
) -> dict | None:
    """Train, fold, evaluate and write ``report.html``.

    Raises:
        BadInput: the data folder of the repository is not there.
    """
    folder, started, cpu = Path(folder), time.perf_counter(), time.process_time()
    if not DATA.is_dir():
        raise BadInput("the demo needs the folder data/ of the repository; run it in a clone")
    say = (lambda text: None) if quiet else (lambda text: print(text, file=sys.stderr))
    examples = read_examples(DATA)
    config = preset("nano")
    torch.manual_seed(seed)
    settings = replace(SEVEN, minutes=minutes, wall=True, learning_rate=3e-3, seed=seed)
    trainer = Trainer(AlphaFold(config), Proteins(examples, config, seed=seed), settings, folder)
    size = sum(p.numel() for p in trainer.model.parameters())
    say(
        f"Training {config.name} ({size:,} parameters) from scratch on {len(examples)} proteins, "
        f"for {minutes:g} minutes"
    )
    model = trainer.run(quiet)
    draw_curves(trainer.rows, folder / "curves.png")

    say("Folding each of them from its sequence or alignment")
    rows, views = [], []
    for example in examples:
        truth = example.chain
        predicted = fold_example(model, example)
        write_structure(predicted, folder / f"{truth.name.lower()}.cif")
        scores = score_example(predicted, truth)
        rows.append(
            Row(
                truth.name,
                {key: scores["model"][key] for key in SHOWN},
                {
                    name: {key: values[key] for key in SHOWN}
                    for name, values in scores.items()
                    if name != "model"
                },
                note=_note(example),
            )
        )
        caption = f"{truth.name}: prediction in colour, experiment in grey"
        views.append(view([predicted, truth], color="position", superpose=True, caption=caption))
    means = {key: sum(row.metrics[key] for row in rows) / len(rows) for key in SHOWN}
    spent = (time.process_time() - cpu) / 60
    facts = {
        "parameters": f"{size:,}",
        "training steps": trainer.step,
        "CPU minutes in all": f"{spent:.1f}",
        "minutes in all": f"{(time.perf_counter() - started) / 60:.1f}",
        "machine": hardware(),
        "seed": seed,
    }
    figure = plots.loss_curve(plots.read_log(folder / "log.csv"), ("lddt_ca", "rmsd_ca"))
    page = folder / "report.html"
    write_report(
        page,
        "minifold: seven proteins, learnt by heart",
        LEAD,
        [
            Section("What came out", text=MEMORY, rows=rows),
            Section("Predictions on the true structures", views=views),
            Section("How it learnt", figures=[figure]),
            Section("How it was made", numbers=facts),
        ],
        footer=f"minifold demo --minutes {minutes:g} --seed {seed}",
    )
    if as_json:
        return {**{key: round(value, 4) for key, value in means.items()}, "report": str(page)}
    if not quiet:
        for row in rows:
            print("  ".join([f"{row.name:6}", *(f"{k} {row.metrics[k]:6.3f}" for k in SHOWN)]))
        print(f"mean    lDDT-Cα {means['lddt_ca']:.3f}, RMSD {means['rmsd_ca']:.2f} Å")
        print("This is memorisation: the model was trained on these very proteins.")
        print(f"Open {page} in a browser: it works offline.")
    return None


def _note(example) -> str:
    residues = f"{len(example.chain.sequence)} residues"
    if example.alignment is None:
        return f"{residues}, sequence alone"
    return f"{residues}, {example.alignment.depth} sequences"
