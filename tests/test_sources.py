"""Where training examples come from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from minifold.config import preset
from minifold.errors import BadInput
from minifold.model.alphafold import AlphaFold
from minifold.training.runs import as_table
from minifold.training.sources import (
    Proteins,
    ToyFamilies,
    measure_families,
    precision_of,
    read_examples,
)

DATA = Path(__file__).parent.parent / "data"
TINY = preset("nano").replace(
    evoformer_blocks=1, structure_layers=1, max_msa=4, max_extra_msa=4, recycles=0
)


@pytest.fixture(scope="module")
def toy() -> ToyFamilies:
    return ToyFamilies(TINY, length=(16, 20), depth=8, seed=5, held_out=3)


def test_toy_steps_are_fresh_and_reproducible(toy):
    one, again, next_one = toy.batch(0, 4), toy.batch(0, 4), toy.batch(1, 4)
    assert torch.equal(one.msa_feat, again.msa_feat)
    assert torch.equal(one.all_atom_positions, again.all_atom_positions)
    assert one.aatype.shape != next_one.aatype.shape or not torch.equal(one.aatype, next_one.aatype)


def test_held_out_families_are_not_trained_on(toy):
    seen = {examples for k in range(8) for examples in _sequences(toy.batch(k, 4))}
    held_out = {x.chain.sequence for x in toy.held_out}
    assert len(held_out) == 3 and not held_out & seen


def _sequences(batch) -> list[str]:
    from minifold.data.residues import aatype_to_sequence

    lengths = batch.seq_mask.sum(1).long()
    return [aatype_to_sequence(row[:n].numpy()) for row, n in zip(batch.aatype, lengths)]


def test_true_distances_have_the_best_contact_precision(toy):
    chain = toy.held_out[0].chain
    x = torch.from_numpy(chain.positions)
    glycine = np.array([letter == "G" for letter in chain.sequence])
    beta = torch.where(torch.from_numpy(glycine)[:, None], x[:, 1], x[:, 3])
    nearness = -torch.cdist(beta, beta).numpy()
    others = np.random.default_rng(0).normal(size=nearness.shape)
    best = precision_of(nearness, chain)
    assert best > precision_of(others, chain)
    assert best == max(precision_of(s, chain) for s in (nearness, others, -nearness))


def test_measuring_an_untrained_model(toy):
    torch.manual_seed(0)
    scores = measure_families(AlphaFold(TINY), toy.held_out)
    assert set(scores) == {"precision", "lddt_ca", "rmsd_ca"}
    assert 0 <= scores["precision"] <= 1 and scores["rmsd_ca"] > 2


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
