"""Training on toy families: what is shown, what is hidden, what is measured."""

from __future__ import annotations

import json
from functools import partial

import numpy as np
import pytest
import torch

from minifold.config import preset
from minifold.data.residues import aatype_to_sequence
from minifold.data.toyworld import ToyWorld
from minifold.errors import BadInput
from minifold.model.alphafold import AlphaFold
from minifold.predict import load
from minifold.training import runs
from minifold.training.controls import compare, foreign, hide
from minifold.training.losses import loss
from minifold.training.sources import precision_of
from minifold.training.toy import LOGGED, ToyFamilies, newborn
from minifold.training.toyscores import family_scores, summary

TINY = preset("nano").replace(
    c_m=16, c_z=16, c_s=32, evoformer_blocks=1, structure_layers=1, max_msa=4, max_extra_msa=4,
    recycles=0,
)  # fmt: skip


@pytest.fixture(scope="module")
def toy() -> ToyFamilies:
    return ToyFamilies(TINY, length=(16, 20), depth=8, seed=5, held_out=3)


def sequences(batch) -> list[str]:
    lengths = batch.seq_mask.sum(1).long()
    return [aatype_to_sequence(row[:n].numpy()) for row, n in zip(batch.aatype, lengths)]


def test_toy_steps_are_fresh_and_reproducible(toy):
    one, again, next_one = toy.batch(0, 4), toy.batch(0, 4), toy.batch(1, 4)
    assert torch.equal(one.msa_feat, again.msa_feat)
    assert torch.equal(one.all_atom_positions, again.all_atom_positions)
    assert not set(sequences(one)) & set(sequences(next_one))


def test_steps_do_not_depend_on_what_was_asked_before(toy):
    other = ToyFamilies(TINY, length=(16, 20), depth=8, seed=5, held_out=1)
    for step in (20, 3):
        assert torch.equal(other.batch(step, 4).msa_feat, toy.batch(step, 4).msa_feat)


def test_every_family_is_shown_as_often_as_asked_for():
    source = ToyFamilies(TINY, length=8, depth=1, seed=2, held_out=1, uses=3)
    rounds = [source.block_of_round(number) for number in range(300)]
    assert all(block <= number // 3 for number, block in enumerate(rounds))
    assert {rounds.count(block) for block in range(33, 60)} == {3}
    far = [number for number, block in enumerate(rounds) if block == 40]
    assert min(b - a for a, b in zip(far, far[1:])) > 30


def test_batches_hold_chains_of_similar_length():
    source = ToyFamilies(TINY, length=(8, 40), depth=1, seed=3, held_out=1)
    lengths = [source.batch(step, 4).seq_mask.sum(1) for step in range(16)]
    spread = np.mean([float(n.max() - n.min()) for n in lengths])
    assert spread < 6  # of four random ones: 19
    assert sorted(torch.cat(lengths).tolist())[0] < 12


def test_toy_proteins_teach_confidence(toy):
    batch = toy.batch(0, 4)
    parts = loss(AlphaFold(TINY)(batch, recycles=0), batch)
    assert parts["plddt"] > 1 and parts["resolved"] > 0.1  # near log 50 and log 2 untrained


def test_half_of_fape_is_clamped(toy):
    assert toy.batch(0, 4).use_clamped_fape.tolist() == [0.5] * 4


def test_a_batch_that_divides_no_block_is_refused(toy):
    with pytest.raises(BadInput, match="divisor of 64"):
        toy.batch(0, 7)


def test_held_out_families_are_not_trained_on(toy):
    seen = {s for k in range(8) for s in sequences(toy.batch(k, 4))}
    held_out = {x.chain.sequence for x in toy.held_out}
    assert len(held_out) == 3 and not held_out & seen


def test_what_a_control_hides():
    example = ToyFamilies(TINY, length=24, depth=64, seed=1, held_out=1).held_out[0]
    tokens = example.alignment.tokens
    shuffled = hide(example, "shuffled", 0).alignment.tokens
    assert (shuffled[0] == tokens[0]).all() and (shuffled != tokens).any()
    assert (np.sort(shuffled, axis=0) == np.sort(tokens, axis=0)).all()  # every profile stays
    assert hide(example, "query").alignment.depth == 1
    assert hide(example, "none").alignment.tokens is tokens
    with pytest.raises(BadInput, match="control"):
        ToyFamilies(TINY, control="rows")


def test_a_twin_never_sees_what_is_hidden_from_it():
    query = ToyFamilies(TINY, length=16, depth=8, seed=4, held_out=2, control="query")
    assert all(x.alignment.depth == 1 for x in query.held_out)
    assert query.batch(0, 4).msa_feat.shape[1] == 1


def test_a_gpu_takes_more_examples_at_once():
    cpu, gpu = (runs.toy_settings(TINY, torch.device(name)) for name in ("cpu", "cuda"))
    assert cpu == runs.TOY and not cpu.bfloat16
    assert (gpu.batch, gpu.bfloat16) == (16, True)


def test_another_alignment_keeps_the_query():
    world = ToyWorld(length=(12, 20), depth=8, seed=9)
    toys = world.sample(2)
    from minifold.training.sources import Example

    one, two = (Example(toys.chain(n), toys.alignment(n)) for n in range(2))
    mixed = foreign(one, two).alignment
    assert mixed.query == one.alignment.query and mixed.depth == two.alignment.depth
    n = min(mixed.tokens.shape[1], two.alignment.tokens.shape[1])
    assert (mixed.tokens[1:, :n] == two.alignment.tokens[1:, :n]).all()


def test_the_outer_products_of_a_newborn_are_heard_at_once():
    """AlphaFold2's are zeros, whatever the alignment says. Nothing else begins in another way."""
    torch.manual_seed(0)
    m, mask = torch.randn(1, 8, 6, TINY.c_m), torch.ones(1, 8, 6)
    for make, heard in ((AlphaFold, False), (newborn, True)):
        z = make(TINY).trunk.evoformer.stack.blocks[0].outer_product(m, mask)
        assert (z.std() > 0.1) == heard
    model = newborn(TINY)
    zeros = {name for name, p in AlphaFold(TINY).named_parameters() if not p.any()}
    others = {name for name, p in model.named_parameters() if not p.any()}
    assert zeros - others == {"trunk.evoformer.stack.blocks.0.outer_product.output.weight"}


@pytest.mark.parametrize(
    "name, begin, rate, alone",
    [("nano", None, 8e-3, 0.35), ("nano", "toy-nano-early", 2e-3, 0.0), ("mini", None, 2e-3, 0.35)],
)
def test_wide_trunks_and_what_has_learnt_take_small_steps(
    tmp_path, monkeypatch, name, begin, rate, alone
):
    monkeypatch.setattr(runs, "compare", lambda *_, **__: ({}, None))
    monkeypatch.setattr(runs, "ToyFamilies", partial(ToyFamilies, length=16, depth=8, held_out=1))
    runs.train(name, "toy", tmp_path, steps=1, quiet=True, begin=begin, device="cpu")
    settings = json.loads((tmp_path / "settings.json").read_text())
    assert (settings["learning_rate"], settings["trunk_first"]) == (rate, alone)
    assert settings["learning_rate"] * settings["structure_rate"] == pytest.approx(3e-3)
    first = load(str(tmp_path / "weights.safetensors")).trunk.evoformer.stack.blocks[0]
    assert (first.outer_product.output.weight.std() > 0.9) == (begin is None)


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


def test_scores_keep_the_order_of_the_examples(toy):
    model = load("toy-nano-early")  # untrained, a rounding error may choose between two folds
    together = family_scores(model, toy.held_out)
    for k, example in enumerate(toy.held_out):
        alone = family_scores(model, [example])
        for key, values in together.items():
            assert values[k] == pytest.approx(alone[key][0], abs=1e-2), key
    assert set(LOGGED) < set(summary(together))
    assert summary(together)["rmsd_ca"] == np.median(together["rmsd_ca"])


def test_the_table_has_all_controls_and_floors(toy):
    torch.manual_seed(0)
    folds = list(toy.folds(steps=1, size=64))
    assert len(folds) == 64
    model = AlphaFold(TINY)
    before = torch.get_rng_state()
    rows, novelty = compare(model, toy.held_out, folds)
    assert torch.equal(torch.get_rng_state(), before), "a training goes on as if not measured"
    assert list(rows) == [
        "model", "columns shuffled", "query alone", "another's alignment", "untrained",
        "direct couplings", "helix", "random walk", "nearest training fold",
    ]  # fmt: skip
    assert len(novelty) == 3 and (novelty > 0).all()
    assert (rows["nearest training fold"]["lddt_ca"] > rows["random walk"]["lddt_ca"]).mean() > 0.6
    assert list(rows["direct couplings"]) == ["precision"]
