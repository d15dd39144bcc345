"""Where training examples come from."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import minifold
from minifold.config import preset
from minifold.data.structures import Chain
from minifold.errors import BadInput
from minifold.training.runs import as_table, train
from minifold.training.sources import SIMILAR, Example, Proteins, held_out_beside, read_examples

DATA = Path(__file__).parent.parent / "data"
TINY = preset("nano").replace(
    evoformer_blocks=1, structure_layers=1, max_msa=4, max_extra_msa=4, recycles=0
)


def test_a_missing_score_is_a_dash():
    table = as_table({"model": {"a": 1.0}, "other": {"b": 2.0}})
    assert table.splitlines()[1].split() == ["model", "1.000", "–"]
    assert table.splitlines()[2].split() == ["other", "–", "2.000"]


def test_nothing_to_train_on(tmp_path):
    with pytest.raises(BadInput, match="no structure"):
        read_examples(tmp_path)
    with pytest.raises(BadInput, match="no protein"):
        Proteins([], TINY)


def test_a_few_proteins_are_learnt_with_unclamped_fape():
    examples = [x for x in read_examples(DATA) if len(x.chain.sequence) < 40]

    def clamped(**options) -> float:
        source = Proteins(examples, TINY, **options)
        flags = [source.batch(step, 8).use_clamped_fape for step in range(10)]
        return float(torch.cat(flags).mean())

    assert clamped() == 0.0
    assert 0.75 < clamped(clamped_fraction=0.9) < 1.0


def test_many_proteins_are_drawn_with_others_of_similar_length():
    """A batch is padded to its longest. Every protein has its turn."""
    examples = []
    for n in range(20, 20 + 2 * SIMILAR):
        zeros = np.zeros((n, 37, 3), np.float32), np.zeros((n, 37), np.float32)
        index = np.arange(n, dtype=np.int32)
        examples.append(Example(Chain("A" * n, *zeros, index, np.zeros(n, np.float32))))
    source = Proteins(examples[::-1], TINY.replace(crop=1000))
    seen = set()
    for step in range(300):
        lengths = source.batch(step, 4).seq_mask.sum(1)
        assert len(set(lengths.tolist())) == 4 and lengths.max() - lengths.min() < SIMILAR
        seen |= set(lengths.tolist())
    assert len(seen) == len(examples)


def test_what_lies_beside_is_held_out(tmp_path):
    """``minifold fetch --short-chains`` writes train and val; val is measured, not trained on."""
    for part, name in (("train", "1l2y"), ("val", "1vii")):
        (tmp_path / part).mkdir()
        shutil.copy(DATA / "structures" / f"{name}.cif", tmp_path / part)
    assert [x.chain.name for x in held_out_beside(tmp_path / "train")] == ["1VII"]
    assert held_out_beside(tmp_path / "val") == [] == held_out_beside(DATA)
    scores = train("nano", str(tmp_path / "train"), tmp_path / "out", steps=1, quiet=True)
    assert set(scores) == {"model", "helix", "random walk"}
    settings = json.loads((tmp_path / "out" / "settings.json").read_text())
    assert settings["loss"]["geometry"] > 0
    assert minifold.load(str(tmp_path / "out" / "weights.safetensors")).config.settle
