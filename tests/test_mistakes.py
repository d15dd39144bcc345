"""Twelve mistakes that implementations of AlphaFold2 are known for, each with its test.

They are easy to make, and training runs on as if nothing had happened.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from minifold.config import Config
from minifold.data.features import crop, make_batch, pad
from minifold.data.msa import Alignment
from minifold.data.residues import ATOM14_MASK, GAP, MASK
from minifold.data.structures import Chain
from minifold.model.alphafold import AlphaFold
from minifold.model.atoms import lookup
from minifold.model.embed import RelativePosition
from minifold.model.evoformer import EvoformerBlock
from minifold.model.primitives import SharedDropout
from minifold.model.templates import TemplatePairEmbedder
from minifold.physics.violations import find_violations, violation_loss, violation_metrics
from minifold.training.fape import backbone_fape
from minifold.training.losses import FINE_TUNING, LossWeights, loss, losses_per_example
from minifold.training.metrics import lddt, lddt_per_point
from tests.small import SMALL, random_batch, randomise, small_model
from tests.test_properties import run, saved_bytes

ROOT = Path(__file__).parent.parent


def family(rows: int, columns: int, seed: int = 0) -> Alignment:
    rng = np.random.default_rng(seed)
    tokens = rng.integers(0, 20, (rows, columns)).astype(np.int8)
    return Alignment([f"r{k}" for k in range(rows)], tokens, np.zeros(tokens.shape, np.int32))


# 1 ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("accumulated", [1, 4, 128])
def test_gradients_are_clipped_before_they_are_averaged(accumulated):
    """Clipping after dividing by the accumulation count makes a limit of 0.1 act as 12.8 at 128."""
    from minifold.training.loop import clip_and_accumulate

    p, limit = torch.nn.Parameter(torch.zeros(5)), 0.1
    sums = [torch.zeros(5)]
    direction = torch.tensor([3.0, 0.0, 4.0, 0.0, 0.0]) / 5
    for _ in range(accumulated):
        p.grad = 7.0 * direction
        norm = clip_and_accumulate([p], sums, limit)
        assert norm == pytest.approx(7.0)
        assert p.grad is None or not p.grad.any()  # else the next example adds to it
    assert torch.allclose(sums[0], accumulated * limit * direction, rtol=1e-4)
    p.grad = 0.01 * direction  # a small gradient stays as it is
    clip_and_accumulate([p], sums, limit)
    assert torch.allclose(sums[0], (accumulated * limit + 0.01) * direction, rtol=1e-4)


def test_one_wild_example_does_not_drown_the_others():
    from minifold.training.loop import clip_and_accumulate

    p, sums = torch.nn.Parameter(torch.zeros(2)), [torch.zeros(2)]
    for gradient in ([1e6, 0.0], [0.0, 0.05]):
        p.grad = torch.tensor(gradient)
        clip_and_accumulate([p], sums, 0.1)
    assert torch.allclose(sums[0], torch.tensor([0.1, 0.05]), rtol=1e-3)


# 2 ------------------------------------------------------------------------------------------------


def test_a_tenth_of_the_samples_has_unclamped_fape():
    config = SMALL.replace(templates=False)
    chain = Chain(
        sequence="ACDEF",
        positions=np.random.default_rng(0).normal(size=(5, 37, 3)).astype(np.float32),
        mask=np.ones((5, 37), np.float32),
        residue_index=np.arange(5, dtype=np.int32),
        b_factors=np.zeros(5, np.float32),
        name="test",
    )
    flags = [
        float(make_batch(None, chain, config, seed, training=True).use_clamped_fape[0])
        for seed in range(400)
    ]
    assert set(flags) == {0.0, 1.0}
    assert 0.06 < flags.count(0.0) / 400 < 0.15


def test_the_loss_uses_the_unclamped_fape():
    """The flag is obeyed, by each example of a batch for itself."""
    model, batch = small_model(), random_batch(b=2, truth=True)
    far = replace(batch, all_atom_positions=20 * batch.all_atom_positions)  # errors beyond 10 Å
    output = run(model, far, recycles=0)

    def fape(*flags):
        flagged = replace(far, use_clamped_fape=torch.tensor(flags))
        return losses_per_example(output, flagged)["fape_backbone"]

    clamped, unclamped, mixed = fape(1.0, 1.0), fape(0.0, 0.0), fape(1.0, 0.0)
    assert (clamped <= 1.0).all() and (unclamped > 2.0).all()
    assert torch.allclose(mixed, torch.stack([clamped[0], unclamped[1]]))
    assert torch.allclose(fape(0.9, 0.9), 0.9 * clamped + 0.1 * unclamped)


def test_unclamped_fape_has_gradients_far_away():
    """What it is for: a residue 100 Å off is still pulled."""
    from minifold.model.rigid import Rigid

    truth = Rigid.identity((1, 4))
    t = torch.zeros(1, 1, 4, 3)
    t[0, 0, 3] = 100.0
    for flag, pulled in ((1.0, False), (0.0, True)):
        x = t.clone().requires_grad_()
        frames = Rigid(torch.eye(3).expand(1, 1, 4, 3, 3), x)
        backbone_fape(frames, truth, torch.ones(1, 4), torch.tensor([flag])).sum().backward()
        assert bool(x.grad[0, 0, 3].abs().max() > 1e-3) is pulled


# 3 ------------------------------------------------------------------------------------------------


def test_the_violation_loss_does_not_count_padding():
    batch = random_batch(b=1, i=9, truth=True)
    index = torch.arange(9)[None]
    atom14 = 4 * torch.randn(1, 9, 14, 3)

    def violations(aatype, atom14, residue_index, seq_mask):
        mask = lookup("ATOM14_MASK", aatype) * seq_mask[..., None]
        found = find_violations(atom14, mask, residue_index, aatype)
        shares = violation_metrics(found, atom14, mask, residue_index, seq_mask)
        return torch.cat([violation_loss(found, mask), *shares.values()])

    short = violations(batch.aatype, atom14, index, batch.seq_mask)
    assert short[0] > 1
    for filling in (0, 7):  # padded residue type and position: zeros, then rubbish
        more = violations(
            torch.cat([batch.aatype, torch.full((1, 8), filling)], 1),
            torch.cat([atom14, torch.full((1, 8, 14, 3), float(filling))], 1),
            torch.cat([index, torch.arange(9, 17)[None] * (filling > 0)], 1),
            torch.cat([batch.seq_mask, torch.zeros(1, 8)], 1),
        )
        assert torch.allclose(short, more, rtol=1e-5)


def test_the_total_loss_does_not_count_padding():
    model, batch = small_model(), random_batch(truth=True)
    for weights in (LossWeights(), FINE_TUNING, LossWeights(sqrt_length=True)):
        totals = [loss(run(model, x), x, weights)["total"] for x in (batch, pad(batch, 19, "i"))]
        assert torch.allclose(*totals, rtol=1e-4)


# 4 ------------------------------------------------------------------------------------------------


def test_the_template_pair_stack_has_its_own_width():
    """64 channels, not the 128 of the pairs; else no published weights can be loaded."""
    with torch.device("meta"):
        embedder = TemplatePairEmbedder(Config())
        model = AlphaFold(SMALL)
    assert len(embedder.blocks) == 2
    for block in embedder.blocks:
        assert block.triangle_outgoing.a.weight.shape == (64, 64)
        assert block.triangle_starting.attention.q.weight.shape == (64, 64)
        assert block.transition.linear_1.weight.shape == (128, 64)
    assert embedder.linear.weight.shape == (64, 88)
    assert model.trunk.templates.attention.q.weight.shape == (8, SMALL.c_z)
    assert model.trunk.templates.attention.k.weight.shape == (8, SMALL.c_t)


# 5 ------------------------------------------------------------------------------------------------


def dropped(module, *inputs) -> list[tuple[str, torch.Tensor]]:
    """For each dropout of a block, in order: the layer before it, and which entries it dropped."""
    names = {sub: name.split(".")[-1] for name, sub in module.named_modules()}
    last, found = {}, []

    def layer_hook(layer, _, output):
        if torch.is_tensor(output):
            last[id(output)] = names[layer]

    def dropout_hook(layer, inputs, output):
        found.append((last[id(inputs[0])], output == 0))

    for sub in module.modules():
        if isinstance(sub, SharedDropout):
            sub.register_forward_hook(dropout_hook)
        else:
            sub.register_forward_hook(layer_hook)
    module.train()
    module(*inputs)
    return found


@pytest.mark.parametrize("kind", ["main", "extra", "template"])
def test_dropout_is_shared_along_the_right_axis(kind):
    """Row-wise: the same in all rows. Column-wise, for the ending node only: in all columns."""
    config = SMALL.replace(msa_dropout=0.5, pair_dropout=0.5)
    z, pairs = torch.randn(2, 9, 9, 12), torch.ones(2, 9, 9)
    wanted = {
        "triangle_outgoing": 1,
        "triangle_incoming": 1,
        "triangle_starting": 1,
        "triangle_ending": 2,
    }
    if kind == "template":
        block = TemplatePairEmbedder(config.replace(c_t=12)).blocks[0]
        found = dropped(randomise(block), z, pairs)
    else:
        c = config.c_e if kind == "extra" else config.c_m
        block = EvoformerBlock(config, extra=kind == "extra")
        m, rows = torch.randn(2, 7, 9, c), torch.ones(2, 7, 9)
        found = dropped(randomise(block), m, z, rows, pairs)
        wanted |= {"msa_row": 1}
    assert {name for name, _ in found} == set(wanted) and len(found) == len(wanted)
    for name, zero in found:
        shared, other = wanted[name], 3 - wanted[name]
        first = zero.narrow(shared, 0, 1)
        assert torch.equal(zero, first.expand_as(zero)), f"{name} is not shared along {shared}"
        assert not torch.equal(zero, zero.narrow(other, 0, 1).expand_as(zero)), name
        assert not torch.equal(zero[0], zero[1]) and not torch.equal(zero[..., 0], zero[..., 1])
        assert 0.3 < zero.float().mean() < 0.7


def test_dropout_rates_are_the_published_ones():
    with torch.device("meta"):
        model = AlphaFold(Config())
    blocks = [*model.trunk.extra_stack.blocks, *model.trunk.evoformer.stack.blocks]
    assert {block.dropout_row.rate for block in blocks} == {0.15}
    pairs = [block.pair for block in blocks] + list(model.trunk.templates.pair.blocks)
    assert {pair.dropout_row.rate for pair in pairs} == {0.25}
    assert {pair.dropout_column.rate for pair in pairs} == {0.25}
    assert model.structure_module.iteration.dropout.p == 0.1


# 6 ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [False, True])
def test_no_template_comes_from_the_target(training):
    """Other chains of the target's own file hold the answer (0.1 Å): none is added by itself."""
    rng = np.random.default_rng(0)
    alignment = family(6, 12)
    chain = Chain(
        sequence=alignment.query,
        positions=rng.normal(size=(12, 37, 3)).astype(np.float32),
        mask=np.ones((12, 37), np.float32),
        residue_index=np.arange(12, dtype=np.int32),
        b_factors=np.zeros(12, np.float32),
        name="test",
    )
    batch = make_batch(alignment, chain, SMALL, training=training)
    assert not [name for name in batch.present() if "template" in name]


def test_the_truth_is_no_input():
    """The answer enters the losses only: with another truth the prediction is the same."""
    model, batch = small_model(), random_batch(truth=True)
    other = replace(batch, all_atom_positions=torch.randn_like(batch.all_atom_positions))
    assert torch.equal(run(model, batch).positions, run(model, other).positions)
    blind = replace(batch, all_atom_positions=None, all_atom_mask=None, true_msa=None)
    assert torch.equal(run(model, batch).positions, run(model, blind).positions)


# 7 ------------------------------------------------------------------------------------------------


def test_masked_letters_are_nowhere_in_the_features():
    """Neither the letters nor the cluster profiles may show what the model has to guess."""
    alignment = family(rows=40, columns=60)
    config = SMALL.replace(max_msa=64, templates=False)  # every row is the centre of its cluster
    batch = make_batch(alignment, None, config, seed=1, mask_fraction=0.3)
    letters, profile = batch.msa_feat[..., :23], batch.msa_feat[..., 25:48]
    hidden = letters[..., MASK] == 1
    assert 0.15 < hidden.float().mean() < 0.27  # 70 % of 30 %
    assert torch.equal(profile, letters)  # clusters of one
    true = torch.nn.functional.one_hot(batch.true_msa, 23)
    assert not (true * (letters + profile))[hidden].any()
    assert bool((batch.bert_mask[hidden] == 1).all())
    assert int(batch.bert_mask.sum()) > int(hidden.sum())  # some stay or become other letters
    assert (batch.true_msa[..., :] <= GAP).all()


def test_profiles_of_larger_clusters_are_made_of_masked_centres():
    """The weight of the hidden letter's own row is at the mask token, not at the letter."""
    alignment = family(rows=60, columns=50)
    config = SMALL.replace(max_msa=8, templates=False)
    batch = make_batch(alignment, None, config, seed=2, mask_fraction=0.5)
    letters, profile = batch.msa_feat[..., :23], batch.msa_feat[..., 25:48]
    hidden = letters[..., MASK] == 1
    assert hidden.any()
    assert (profile[..., MASK][hidden] > 0).all()
    assert torch.equal(profile[..., MASK] > 0, hidden)


def test_there_is_a_masked_msa_loss():
    assert LossWeights().masked_msa == 2.0
    model, batch = small_model(), random_batch(truth=True)
    output = model(batch, recycles=0)
    losses = loss(output, batch)
    assert losses["masked_msa"] > 0.5
    without = loss(output, batch, LossWeights(masked_msa=0.0))
    assert torch.allclose(losses["total"] - without["total"], 2 * losses["masked_msa"], rtol=1e-4)
    losses["masked_msa"].backward()
    assert model.trunk.input.msa.weight.grad.abs().sum() > 0
    perfect = 50.0 * torch.nn.functional.one_hot(batch.true_msa, 23).float()
    right = replace(output, masked_msa_logits=perfect)
    assert loss(right, batch)["masked_msa"] < 1e-3


def test_the_masked_msa_loss_sees_the_chosen_letters_only():
    model, batch = small_model(), random_batch(truth=True)
    output = run(model, batch)
    noise = torch.randn_like(output.masked_msa_logits) * (1 - batch.bert_mask[..., None])
    other = replace(output, masked_msa_logits=output.masked_msa_logits + noise)
    assert torch.allclose(loss(output, batch)["masked_msa"], loss(other, batch)["masked_msa"])


# 8 ------------------------------------------------------------------------------------------------


def test_padding_from_30_to_40_changes_nothing():
    """Without attention masks the representation changes by two thirds."""
    model, batch = small_model(), random_batch(i=30)
    short, longer = run(model, batch), run(model, pad(batch, 40, "i"))
    for name in ("m_first", "s"):
        assert torch.allclose(getattr(short, name), getattr(longer, name)[:, :30], atol=1e-4), name
    assert torch.allclose(short.z, longer.z[:, :30, :30], atol=1e-4)
    assert torch.allclose(short.positions, longer.positions[:, :30], atol=1e-3)
    assert not longer.atom_mask[:, 30:].any()


# 9 ------------------------------------------------------------------------------------------------


def test_lddt_of_a_shifted_copy_is_1():
    """lDDT compares distances: computed in raw coordinates a shifted perfect copy scores 0."""
    x, mask = 8 * torch.randn(2, 20, 3), torch.ones(2, 20)
    turned = torch.linalg.qr(torch.randn(3, 3)).Q
    for copy in (x + 20, x @ turned + torch.tensor([3.0, -50.0, 7.0])):
        assert torch.allclose(lddt(copy, x, mask), torch.ones(2))
        assert torch.allclose(lddt_per_point(copy, x, mask), torch.ones(2, 20))
    assert (lddt(8 * torch.randn(2, 20, 3), x, mask) < 0.5).all()


# 10 -----------------------------------------------------------------------------------------------


def test_memory_does_not_grow_with_the_number_of_cycles():
    """Gradients are on in the last cycle only."""
    model, batch = small_model().train(), random_batch()
    sizes = [saved_bytes(lambda r=r: model(batch, recycles=r).z.sum()) for r in (0, 1, 5)]
    assert max(sizes) < 1.05 * min(sizes), sizes


# 11 -----------------------------------------------------------------------------------------------


def test_relative_positions_count_with_residue_index():
    """A gap in the chain is a gap, and not a bond between its ends."""
    embed = randomise(RelativePosition(6, 32))
    index = torch.tensor([[5, 6, 20, 21]])
    z = embed(index)[0]
    assert torch.allclose(z[0, 1], z[2, 3]) and not torch.allclose(z[0, 1], z[1, 2])
    assert torch.allclose(z, embed(index + 100)[0])
    assert not torch.allclose(z[0, 1], z[1, 0])
    assert torch.allclose(z[2, 0], embed(torch.tensor([[15, 0]]))[0, 0, 1])
    far = embed(torch.tensor([[0, 32, 33, 400]]))[0]
    assert torch.allclose(far[0, 1], far[0, 3])  # clipped at 32


def test_a_crop_keeps_its_numbers():
    batch = random_batch(i=40)
    piece = crop(batch, 12, torch.Generator().manual_seed(0))
    start = int((batch.residue_index[0] == piece.residue_index[0, 0]).nonzero())
    assert start > 0
    assert torch.equal(piece.residue_index, batch.residue_index[:, start : start + 12])
    embed = small_model().trunk.input
    with torch.no_grad():
        _, whole = embed(batch.target_feat, batch.residue_index, batch.msa_feat)
        _, z = embed(piece.target_feat, piece.residue_index, piece.msa_feat)
    cut = slice(start, start + 12)
    assert torch.allclose(z, whole[:, cut, cut], atol=1e-6)


def test_the_structure_depends_on_residue_index():
    model, batch = small_model(), random_batch()
    numbered = replace(batch, residue_index=torch.arange(11)[None])
    gap = replace(batch, residue_index=torch.arange(11)[None] + 30 * (torch.arange(11) > 5))
    shifted = replace(batch, residue_index=torch.arange(11)[None] + 30)
    one = run(model, numbered).positions
    assert (one - run(model, gap).positions).abs().max() > 1e-2
    assert torch.allclose(one, run(model, shifted).positions)


def test_violations_count_with_residue_index():
    """Residues on both sides of a gap are not bound to each other."""
    aatype = torch.zeros(1, 2, dtype=torch.long)
    mask = torch.from_numpy(ATOM14_MASK)[aatype].float()
    atom14 = torch.randn(1, 2, 14, 3)
    atom14[:, 1] += 100
    bound, free = (
        find_violations(atom14, mask, torch.tensor([index]), aatype).bond_c_n
        for index in ([1, 2], [1, 9])
    )
    assert bound > 50 and free == 0


# 12 -----------------------------------------------------------------------------------------------


def test_every_table_of_results_has_its_baselines():
    """A held-out RMSD of 12 Å means nothing beside a random walk's 11 to 17 Å."""
    for path in sorted((ROOT / "results").glob("*.md")):
        text = path.read_text().lower()
        if "rmsd" in text or "lddt" in text:
            assert "random walk" in text, f"{path.name} has scores but no random walk beside them"


def test_a_random_walk_scores_what_nothing_learnt_scores():
    """As compact as a protein, it is 11 to 17 Å from another one; any table must show it."""
    from minifold.training.baselines import expected_radius, radius_of, random_walk
    from minifold.training.metrics import rmsd

    rng = np.random.default_rng(0)
    walks = torch.as_tensor(np.stack([random_walk(120, rng) for _ in range(8)]))
    for walk in walks:
        assert abs(radius_of(walk.numpy()) / expected_radius(120) - 1) < 0.1
    scores = rmsd(walks[:4], walks[4:], torch.ones(4, 120))
    assert 11 < float(scores.mean()) < 17
