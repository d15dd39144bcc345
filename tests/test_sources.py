"""Where training examples come from."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from minifold.config import preset
from minifold.errors import BadInput
from minifold.training.runs import as_table
from minifold.training.sources import Proteins, read_examples

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
