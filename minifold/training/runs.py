"""Whole training runs: what ``minifold train`` and the demo do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from minifold.config import Config, preset
from minifold.data.files import write_bytes
from minifold.data.residues import ATOM_INDEX
from minifold.data.structures import Chain
from minifold.model.alphafold import AlphaFold
from minifold.predict import choose_device, load
from minifold.training import baselines, distributed
from minifold.training.controls import compare
from minifold.training.loop import Settings, Trainer
from minifold.training.losses import LossWeights
from minifold.training.metrics import evaluate
from minifold.training.sources import (
    Example,
    Proteins,
    fold_example,
    held_out_beside,
    read_examples,
)
from minifold.training.toy import ToyFamilies, newborn
from minifold.training.toyscores import summary

CA = ATOM_INDEX["CA"]

# What was found to work for a few known proteins: one of them at a time, many small steps.
SEVEN = Settings(
    batch=1,
    learning_rate=2e-3,
    ema=0.99,
    loss=LossWeights(fape_backbone=1.0, masked_msa=0.1, smooth_lddt=1.0),
)

# Families of the toy world: many small steps, and bold ones in the trunk. The distogram must count,
# as it teaches contacts and FAPE drowns it at its usual weight; at first it learns alone. Side
# chains are placed by their torsions: the FAPE of all atoms would double the structure's time.
TOY = Settings(
    batch=4,
    learning_rate=8e-3,
    structure_rate=0.375,
    warmup=20,
    ema=0.995,
    trunk_first=0.35,
    loss=LossWeights(
        fape_backbone=0.5,
        fape_sidechain=0.0,
        fape_local=0.5,
        start_torsions=3.0,
        smooth_lddt=1.0,
        distogram=12.0,
        masked_msa=0.5,
        plddt=0.1,
    ),
)

# A GPU takes as long for many examples as for few. There bfloat16 saves memory (results/gpu.md); a
# CPU only takes longer with it.
ON_GPU = {"batch": 16, "bfloat16": True}

# A wider trunk, and what has learnt already, must not be thrown about.
GENTLE = {"learning_rate": 2e-3, "structure_rate": 1.5}
LEARNT = {"trunk_first": 0.0, **GENTLE}

# Real short proteins, mostly single sequences, to fold unseen ones: many small steps. A sequence
# alone tells helix, strand and size, not the fold, and clamped FAPE asks for no more. Smooth lDDT
# teaches fastest but would pull all into one heap with helices of either hand: local FAPE, torsions
# and a little geometry (more of it costs lDDT) hold against it. Of most chains only the backbone is
# known, so what the experiment has resolved is nothing to learn.
SHORT = Settings(
    batch=1,
    learning_rate=2e-3,
    ema=0.998,
    evaluations=4,
    loss=LossWeights(
        fape_backbone=1.0,
        fape_sidechain=0.0,
        fape_local=4.0,
        start_torsions=2.0,
        smooth_lddt=5.0,
        geometry=0.05,
        distogram=1.0,
        masked_msa=0.1,
        plddt=0.3,
        resolved=0.0,
    ),
)
SHORT_CLAMPED = 1.0  # share of clamped FAPE, with SHORT


def train(
    preset_name: str,
    data: str,
    folder: str | Path,
    steps: int | None = None,
    minutes: float | None = None,
    seed: int = 0,
    device: str = "auto",
    resume: bool = False,
    quiet: bool = False,
    begin: str | None = None,
    recycles: int | None = None,
) -> dict[str, dict[str, float]]:
    """Train a model and measure it; returns scores and baselines by name.

    On a folder named train with one named val beside it (``minifold fetch --short-chains``) the
    proteins of val are measured, with the settings ``SHORT``; else those that were trained on, with
    ``SEVEN``.

    Under ``torchrun`` the first process returns them, the others return {}.

    Args:
        begin: trained weights to begin with (``minifold.load``), instead of random ones; their
            config takes the place of the preset's.
        recycles: how many passes are drawn from in a step, instead of the config's number.

    Raises:
        BadInput: data, preset, weights or checkpoint are not what is needed.
    """
    if steps is None and minutes is None:
        minutes = 3.0
    trained, toy = load(begin) if begin else None, data == "toy"
    config = trained.config if trained else preset(preset_name)
    if recycles is not None:
        config = config.replace(recycles=recycles)
    held_out = [] if toy else held_out_beside(data)
    if held_out:  # else unknown folds, averaged, run into themselves
        config = config.replace(settle=True)
    with distributed.joined(choose_device(device)) as where:
        if toy:
            settings = toy_settings(config, where, learnt=trained is not None)
        else:
            settings = SHORT if held_out else SEVEN
        settings = replace(settings, steps=steps, minutes=minutes, seed=seed)
        settings = replace(settings, batch=max(settings.batch, distributed.world()))
        if toy:
            made_on = "cuda" if where.type == "cuda" else "cpu"  # MPS has no float64
            source = ToyFamilies(config, seed=seed, device=made_on)
        else:
            clamped = SHORT_CLAMPED if held_out else 0.0
            source = Proteins(read_examples(data), config, held_out, seed, clamped)
        torch.manual_seed(seed)
        model = newborn(config) if toy else AlphaFold(config)
        if trained:
            model.load_state_dict(trained.state_dict())
        trainer = Trainer(model, source, settings, folder, where)
        if resume:
            trainer.resume()
        model = trainer.run(quiet)
        first = distributed.rank() == 0
    if not first:
        return {}
    draw_curves(trainer.rows, Path(folder) / "curves.png")
    if toy:
        return rounded(compare(model, source.held_out, seed=seed)[0])
    return scores_beside_baselines(model, source.held_out)


def toy_settings(config: Config, device: torch.device, learnt: bool = False) -> Settings:
    """``TOY`` for a model of this size on this device, new or with weights that have learnt."""
    settings = TOY
    if device.type == "cuda":
        settings = replace(settings, **ON_GPU)
    if config.c_z > preset("nano").c_z:
        settings = replace(settings, **GENTLE)
    return replace(settings, **LEARNT) if learnt else settings


def rounded(rows: Mapping[str, Mapping[str, np.ndarray]]) -> dict[str, dict[str, float]]:
    """The means of ``compare``, for people."""
    means = {name: summary(scores) for name, scores in rows.items()}
    return {name: {k: round(v, 4) for k, v in row.items()} for name, row in means.items()}


def scores_beside_baselines(
    model: AlphaFold, examples: Sequence[Example]
) -> dict[str, dict[str, float]]:
    """Mean scores of the model and of predictions that know nothing."""
    rows = [score_example(fold_example(model, x), x.chain) for x in examples]
    return {
        name: {
            key: round(float(np.mean([row[name][key] for row in rows])), 4)
            for key in rows[0]["model"]
        }
        for name in rows[0]
    }


def score_example(predicted: Chain, truth: Chain, seed: int = 0) -> dict[str, dict[str, float]]:
    """Scores of a prediction and, beside it, of a straight helix and of a random walk."""
    positions, mask = baselines.helix(truth.sequence)
    walk = baselines.random_walk(len(truth.sequence), np.random.default_rng(seed))
    only_ca = np.zeros_like(positions)
    only_ca[:, CA] = walk
    ca_mask = np.zeros_like(mask)
    ca_mask[:, CA] = 1
    floors = {
        "helix": replace(truth, positions=positions.astype(np.float32), mask=mask.astype("f4")),
        "random walk": replace(
            truth, positions=only_ca.astype(np.float32), mask=ca_mask.astype("f4")
        ),
    }
    return {
        "model": evaluate(predicted, truth),
        **{name: evaluate(chain, truth) for name, chain in floors.items()},
    }


def as_table(scores: Mapping[str, Mapping[str, float]]) -> str:
    """Scores by name as lines of text."""
    keys = list(dict.fromkeys(key for values in scores.values() for key in values))
    wide = max(14, *(len(name) + 1 for name in scores))
    lines = [" " * wide + "".join(f"{key:>11}" for key in keys)]
    for name, values in scores.items():
        cells = (f"{values[key]:11.3f}" if key in values else f"{'–':>11}" for key in keys)
        lines.append(f"{name:{wide}}" + "".join(cells))
    return "\n".join(lines)


def draw_curves(rows: Sequence[Mapping[str, float | int]], path: Path) -> None:
    """The loss curve as a PNG."""
    from minifold.look import plots

    if rows:
        columns = {key: np.array([row.get(key, np.nan) for row in rows]) for key in rows[-1]}
        write_bytes(path, plots.png(plots.loss_curve(columns, ("lddt_ca", "rmsd_ca"))))
