"""What must hold for the whole model, whatever its weights: symmetries, masks, switches."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
import torch
from torch import Tensor

from minifold.data.features import Batch, collate, pad
from minifold.model.alphafold import Output, Recycled
from minifold.model.primitives import set_attention
from minifold.model.rigid import Rigid
from minifold.training.losses import loss
from tests.small import random_batch, random_motion, random_structure, small_model

PAIRS = ("z", "distogram_logits", "pae_logits")
RESIDUES = ("s", "m_first", "positions", "atom_mask", "plddt_logits", "resolved_logits")
ROWS = ("m", "masked_msa_logits")


def run(model, batch, recycles: int = 1, **options) -> Output:
    with torch.no_grad():
        return model(batch, recycles=recycles, **options)


def parts(output: Output, member: int | slice = slice(None), rows: int = 99, i: int = 99):
    """All results by name, without what lies beyond ``rows`` rows and ``i`` residues."""
    found = {name: getattr(output, name)[member] for name in PAIRS + RESIDUES + ROWS}
    axis = 1 if isinstance(member, slice) else 0
    for name in RESIDUES:
        found[name] = found[name].narrow(axis, 0, min(i, found[name].shape[axis]))
    for name in PAIRS:
        for a in (axis, axis + 1):
            found[name] = found[name].narrow(a, 0, min(i, found[name].shape[a]))
    for name in ROWS:
        found[name] = found[name].narrow(axis, 0, min(rows, found[name].shape[axis]))
        found[name] = found[name].narrow(axis + 1, 0, min(i, found[name].shape[axis + 1]))
    return found


def difference(one: dict[str, Tensor], two: dict[str, Tensor]) -> dict[str, float]:
    """The largest difference of each result, relative to its largest value."""
    return {
        name: float((x - two[name]).abs().max() / x.abs().max().clamp(min=1e-6))
        for name, x in one.items()
    }


def assert_same(one: dict[str, Tensor], two: dict[str, Tensor], tol: float = 1e-5) -> None:
    wrong = {name: error for name, error in difference(one, two).items() if not error <= tol}
    assert not wrong, wrong


def scramble(batch: Batch, padded: Batch) -> Batch:
    """Rubbish wherever ``padded`` is longer than ``batch``; the masks stay 0."""

    def rubbish(name: str, x: Tensor) -> Tensor:
        if "mask" in name:
            return x
        size = getattr(batch, name).shape
        inside = torch.zeros_like(x, dtype=torch.bool)
        inside[tuple(slice(n) for n in size)] = True
        noise = torch.randint(0, 20, x.shape).to(x.dtype)
        return torch.where(inside, x, noise)

    names = [f.name for f in fields(Batch) if getattr(batch, f.name) is not None]
    return Batch(**{name: rubbish(name, getattr(padded, name)) for name in names})


# ------------------------------------------------------------------ the test itself


def test_every_input_matters():
    """The other tests would prove nothing if the random model ignored its inputs."""
    model, batch = small_model(), random_batch()
    before = run(model, batch).positions
    for name in ("target_feat", "msa_feat", "extra_has_deletion", "template_all_atom_positions"):
        x = getattr(batch, name)
        moved = run(model, replace(batch, **{name: x + torch.randn_like(x)})).positions
        assert (moved - before).abs().max() > 1e-2, name
    for name in ("residue_index", "extra_msa", "template_aatype"):
        x = getattr(batch, name)
        other = run(model, replace(batch, **{name: torch.randperm(x.numel()).view(x.shape) % 20}))
        assert (other.positions - before).abs().max() > 1e-2, name


# ------------------------------------------------------------------ symmetries of space


def test_moving_the_templates_changes_nothing():
    model, batch = small_model(), random_batch()
    x = random_motion().apply(batch.template_all_atom_positions)
    moved = replace(
        batch,
        template_all_atom_positions=x * batch.template_all_atom_mask[..., None],
    )
    assert_same(parts(run(model, batch)), parts(run(model, moved)), 1e-4)


def test_moving_the_previous_positions_changes_nothing():
    model, batch = small_model(), random_batch()
    g = torch.Generator().manual_seed(1)
    x = random_structure(batch.aatype, g)
    previous = Recycled(torch.randn(1, 11, 16), torch.randn(1, 11, 11, 12), x)
    with torch.no_grad():
        still = model.trunk(batch, previous)
        moved = model.trunk(batch, replace(previous, positions=random_motion().apply(x)))
        other = model.trunk(batch, replace(previous, positions=1.3 * x))
    for a, b, c in zip(still, moved, other):
        assert torch.allclose(a, b, atol=1e-4)
        assert not torch.allclose(a, c, atol=1e-2)


def test_the_structure_moves_with_its_first_frames(monkeypatch):
    """Equivariance: starting elsewhere and turned, the same structure comes out, moved."""
    model, batch = small_model(), random_batch()
    still = run(model, batch, recycles=0)
    module, motion = model.structure_module, random_motion(far=3.0)
    start = module.start
    monkeypatch.setattr(module, "start", lambda mask: motion.compose(start(mask)))
    moved = run(model, batch, recycles=0)
    in_angstrom = motion.scale(model.config.position_scale)
    expected = in_angstrom.apply(still.structure.atom14) * (still.structure.atom14 != 0)
    assert (moved.structure.atom14 - still.structure.atom14).abs().max() > 1
    assert torch.allclose(moved.structure.atom14, expected, atol=2e-3)
    assert torch.allclose(moved.structure.angles, still.structure.angles, atol=1e-3)
    assert torch.allclose(moved.plddt_logits, still.plddt_logits, atol=1e-3)


def test_moving_the_truth_changes_no_loss():
    model, batch = small_model(), random_batch(truth=True)
    output = run(model, batch)
    x = random_motion().apply(batch.all_atom_positions) * batch.all_atom_mask[..., None]
    still, moved = loss(output, batch), loss(output, replace(batch, all_atom_positions=x))
    mirror = loss(output, replace(batch, all_atom_positions=-batch.all_atom_positions))
    for name, value in still.items():
        assert torch.allclose(value, moved[name], rtol=1e-3, atol=1e-4), name
    for name in ("fape_backbone", "fape_sidechain", "chi"):  # these see mirror images
        assert not torch.allclose(still[name], mirror[name], rtol=1e-3), name


def test_moving_the_prediction_changes_no_loss():
    model, batch = small_model(), random_batch(truth=True)
    output = run(model, batch)
    motion = random_motion()

    def move(T: Rigid) -> Rigid:
        return motion.compose(T)

    structure = replace(
        output.structure,
        frames=[move(T) for T in output.structure.frames],
        frames8=move(output.structure.frames8),
        atom14=motion.apply(output.structure.atom14),
    )
    moved = replace(output, structure=structure, positions=motion.apply(output.positions))
    for name, value in loss(output, batch).items():
        assert torch.allclose(value, loss(moved, batch)[name], rtol=1e-3, atol=1e-4), name


# ------------------------------------------------------------------ padding and batches


@pytest.mark.parametrize(
    "axes",
    [{"i": 15}, {"s": 9}, {"t": 10}, {"T": 4}, {"i": 14, "s": 7, "t": 8, "T": 3}],
    ids=lambda axes: "".join(axes),
)
@pytest.mark.parametrize("start", ["black_hole", "line"])
def test_padding_changes_nothing(axes, start):
    """Mistake: no attention masks. Neither zeros nor rubbish in the padding may be seen."""
    model, batch = small_model(start=start), random_batch()
    padded = batch
    for axis, size in axes.items():
        padded = pad(padded, size, axis)
    short = parts(run(model, batch))
    for longer in (padded, scramble(batch, padded)):
        assert_same(short, parts(run(model, longer), rows=5, i=11))


def test_padding_changes_no_loss():
    model, batch = small_model(), random_batch(truth=True)
    padded = pad(pad(pad(batch, 16, "i"), 8, "s"), 9, "t")
    short, longer = (loss(run(model, x), x) for x in (batch, padded))
    for name, value in short.items():
        assert torch.allclose(value, longer[name], rtol=1e-4, atol=1e-5), name


def test_holes_in_the_masks_are_not_seen():
    """Masked letters and residues in the middle: what stands there changes nothing elsewhere."""
    model, batch = small_model(), random_batch(s=5, t=6, T=0)
    residues = torch.ones(1, 11)
    residues[0, [3, 8]] = 0
    holes = {
        name: (torch.rand_like(getattr(batch, name)) < 0.7).float() * residues[:, None]
        for name in ("msa_mask", "extra_msa_mask")
    }
    holes["msa_mask"][:, 0] = residues  # the query's row, from which the structure is made
    one = replace(batch, seq_mask=residues, **holes)
    letters, rows = (1 - holes[name][..., None] for name in ("extra_msa_mask", "msa_mask"))
    other = replace(
        one,
        msa_feat=one.msa_feat + 3 * rows * torch.randn_like(one.msa_feat),
        target_feat=one.target_feat + 3 * (1 - residues[..., None]),
        extra_msa=torch.where(letters[..., 0] > 0, (one.extra_msa + 5) % 23, one.extra_msa),
        extra_deletion_value=one.extra_deletion_value + letters[..., 0],
    )
    there, kept = residues[0] > 0, holes["msa_mask"] > 0
    with torch.no_grad():
        a, b = model(one, recycles=1), model(other, recycles=1)
    assert torch.allclose(a.positions[:, there], b.positions[:, there], atol=2e-4)
    assert torch.allclose(a.z[:, there][:, :, there], b.z[:, there][:, :, there], atol=1e-4)
    assert torch.allclose(a.m[kept], b.m[kept], atol=1e-4)
    assert not torch.allclose(a.m, b.m, atol=1e-2)


def test_a_masked_template_is_not_seen():
    model, batch = small_model(), random_batch(T=2)
    mask = batch.template_mask.clone()
    mask[:, 1] = 0
    gone = batch.template_all_atom_mask.clone()
    gone[:, 1] = 0
    one = replace(batch, template_mask=mask, template_all_atom_mask=gone)
    other = replace(
        one,
        template_all_atom_positions=one.template_all_atom_positions.flip(1).clone(),
    )
    keep = one.template_all_atom_positions[:, :1]
    other.template_all_atom_positions[:, :1] = keep
    assert_same(parts(run(model, one)), parts(run(model, other)))


def test_no_template_at_all_is_no_template():
    """With every template masked the pairs are not updated, as without templates."""
    model, batch = small_model(), random_batch(T=2)
    masked = replace(
        batch,
        template_mask=0 * batch.template_mask,
        template_all_atom_mask=0 * batch.template_all_atom_mask,
    )
    none = replace(batch, **{f.name: None for f in fields(Batch) if "template" in f.name})
    assert_same(parts(run(model, masked)), parts(run(model, none)))


def test_a_batch_is_its_members():
    model = small_model()
    members = [
        random_batch(i=11, s=5, t=6, T=2, seed=1),
        random_batch(i=8, s=3, t=2, T=1, seed=2),
        random_batch(i=13, s=6, t=7, T=2, seed=3),
    ]
    together = run(model, collate(members))
    for k, member in enumerate(members):
        rows, i = member.msa_feat.shape[1:3]
        alone = parts(run(model, member), member=0)
        assert_same(alone, parts(together, member=k, rows=rows, i=i), 2e-5)


def test_the_order_of_the_sequences_does_not_matter():
    model, batch = small_model(), random_batch(s=7, t=8, T=3)
    rows = torch.cat([torch.zeros(1, dtype=torch.long), 1 + torch.randperm(6)])
    extra, templates = torch.randperm(8), torch.randperm(3)
    shuffled = replace(
        batch,
        msa_feat=batch.msa_feat[:, rows],
        **{name: getattr(batch, name)[:, extra] for name in vars(batch) if "extra" in name},
        **{name: getattr(batch, name)[:, templates] for name in vars(batch) if "template" in name},
    )
    one, two = run(model, batch), run(model, shuffled)
    assert_same(parts(one, rows=1), parts(two, rows=1), 2e-5)
    assert torch.allclose(one.m[:, rows], two.m, atol=1e-4)


def test_the_query_row_is_special():
    """... and exchanging it with another row does change the structure."""
    model, batch = small_model(), random_batch(s=5)
    swapped = replace(batch, msa_feat=batch.msa_feat[:, [1, 0, 2, 3, 4]])
    error = difference(parts(run(model, batch)), parts(run(model, swapped)))
    assert error["positions"] > 1e-3


# ------------------------------------------------------------------ switches


def test_chunked_is_unchunked():
    model, batch = small_model(), pad(pad(random_batch(b=2), 13, "i"), 7, "s")
    whole = parts(run(model, batch), rows=5, i=11)
    for chunk in (1, 3, 4):
        set_attention(model, chunk=chunk)
        assert_same(whole, parts(run(model, batch), rows=5, i=11))


def test_clear_attention_is_fast_attention():
    model, batch = small_model(), pad(random_batch(b=2), 13, "i")
    fast = parts(run(model, batch), i=11)
    set_attention(model, "clear")
    assert_same(fast, parts(run(model, batch), i=11))


@pytest.mark.parametrize("dropout", [0.0, 0.25])
def test_checkpointed_is_not(dropout):
    """The same values and gradients; with dropout too, since the random state is restored."""
    model = small_model(msa_dropout=dropout, pair_dropout=dropout, structure_dropout=0.0).train()
    batch = random_batch(truth=True)
    results = []
    for checkpointing in (False, True):
        for stack in (model.trunk.extra_stack, model.trunk.evoformer.stack):
            stack.checkpointing = checkpointing
        model.zero_grad()
        torch.manual_seed(3)
        total = loss(model(batch, recycles=1), batch)["total"]
        total.backward()
        results.append((total.detach(), [p.grad for p in model.parameters()]))
    (one, gradients), (two, others) = results
    assert torch.equal(one, two)
    assert all(torch.allclose(g, h, atol=1e-6) for g, h in zip(gradients, others) if g is not None)
    assert sum(float(g.abs().sum()) for g in gradients if g is not None) > 0


def test_checkpointing_saves_memory():
    model, batch = small_model().train(), random_batch(truth=True)

    def saved() -> int:
        return saved_bytes(lambda: model(batch, recycles=0).distogram_logits.sum())

    plain = saved()
    for stack in (model.trunk.extra_stack, model.trunk.evoformer.stack):
        stack.checkpointing = True
    assert saved() < 0.7 * plain


def test_bf16_autocast_is_finite_and_near():
    """Stated tolerance: 5 % (root mean square) in the logits, 0.5 Å in the Cα distances."""
    model, batch = small_model(), random_batch(b=2)
    exact = run(model, batch)
    with torch.autocast("cpu", torch.bfloat16):
        half = run(model, batch)
    for name, x in parts(half).items():
        assert torch.isfinite(x).all(), name
        reference = parts(exact)[name].float()
        error = (x - reference).square().mean().sqrt() / reference.square().mean().sqrt()
        assert error < 0.05, (name, float(error))
    distances = [torch.cdist(x.positions[:, :, 1], x.positions[:, :, 1]) for x in (exact, half)]
    assert (distances[0] - distances[1]).square().mean().sqrt() < 0.5
    assert exact.structure.frames[-1].R.dtype == half.structure.frames[-1].R.dtype == torch.float32


def test_bf16_training_has_finite_gradients():
    model, batch = small_model().train(), random_batch(truth=True)
    with torch.autocast("cpu", torch.bfloat16):
        output = model(batch, recycles=1)
    loss(output, batch)["total"].backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
    for stack in (model.trunk.input, model.trunk.extra_stack, model.trunk.templates):
        assert sum(float(p.grad.abs().sum()) for p in stack.parameters()) > 0


def test_the_same_seed_gives_the_same_bits():
    batch, results = random_batch(truth=True), []
    for _ in range(2):
        torch.manual_seed(7)
        model = small_model().train()  # with dropout
        total = loss(model(batch, recycles=1), batch)["total"]
        total.backward()
        results.append([total.detach(), *(p.grad for p in model.parameters())])
    one, two = results
    assert all(torch.equal(a, b) for a, b in zip(one, two) if a is not None)


# ------------------------------------------------------------------ recycling and ensembles


def test_recycling_changes_the_result():
    model, batch = small_model(), random_batch()
    error = difference(parts(run(model, batch, 0)), parts(run(model, batch, 1)))
    assert error["positions"] > 1e-3


def test_recycling_takes_a_sample_for_each_pass():
    """A list of batches is used pass after pass: the last one is the last pass's."""
    model = small_model()
    one, two = random_batch(seed=1), random_batch(seed=1)
    two = replace(two, msa_feat=torch.rand_like(two.msa_feat))
    forth, back = run(model, [one, two]), run(model, [two, one])
    twice = run(model, [two, two])
    assert difference(parts(forth), parts(back))["positions"] > 1e-3
    assert difference(parts(forth), parts(twice))["positions"] > 1e-3
    assert_same(parts(twice), parts(run(model, two)))
    with pytest.raises(ValueError, match="3 batches"):
        model([one, two, one], recycles=1)


def saved_bytes(f) -> int:
    """Bytes that autograd keeps for the backward pass of ``f``, each tensor counted once."""
    kept: dict[int, int] = {}

    def pack(x: Tensor) -> Tensor:
        kept[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        result = f()
    assert result.requires_grad
    return sum(kept.values())


def test_only_the_last_pass_has_gradients():
    """Mistake: gradients on in all cycles, so that memory grows with their number."""
    model, batch = small_model(), random_batch(truth=True)
    sizes = [
        saved_bytes(lambda r=r: loss(model(batch, recycles=r), batch)["total"]) for r in (0, 3)
    ]
    assert sizes[1] < 1.05 * sizes[0], sizes
    modes = []
    model.trunk.register_forward_pre_hook(lambda *_: modes.append(torch.is_grad_enabled()))
    output = model(batch, recycles=2)
    assert modes == [False, False, True]
    assert output.z.requires_grad


def test_gradients_of_recycling_are_those_of_the_last_pass_alone():
    model, batch = small_model(), random_batch(truth=True)
    first = run(model, batch, recycles=0)
    previous = Recycled(first.m_first, first.z, first.positions)
    loss(model(batch, recycles=1), batch)["total"].backward()
    recycled = [p.grad for p in model.parameters()]
    model.zero_grad(set_to_none=True)
    loss(model._one_pass([batch], previous, 2), batch)["total"].backward()
    for g, p in zip(recycled, model.parameters()):
        assert (g is None) == (p.grad is None)
        assert g is None or torch.equal(g, p.grad)


def test_early_stop():
    model, batch = small_model(), random_batch()
    assert run(model, batch, recycles=4).passes == 5
    never, at_once = (run(model, batch, recycles=4, tolerance=t) for t in (1e-9, 1e6))
    assert never.passes == 5
    assert at_once.passes == 1
    assert_same(parts(at_once), parts(run(model, batch, recycles=0)))
    assert model.train()(batch, recycles=4, tolerance=1e6).passes == 5  # not in training


def test_an_ensemble_of_equals_is_one():
    model, batch = small_model(), random_batch()
    single = run(model, batch, recycles=1)
    three = run(model, [batch] * 6, recycles=1, ensembles=3)
    assert_same(parts(single), parts(three))


def test_an_ensemble_is_the_mean_of_its_members():
    model, one = small_model(), random_batch()
    two = replace(one, msa_feat=torch.rand_like(one.msa_feat))
    outputs = [run(model, x, recycles=0) for x in (one, two)]
    both = run(model, [one, two], recycles=0, ensembles=2)
    for name in ("s", "z", "m_first"):
        mean = sum(getattr(x, name) for x in outputs) / 2
        assert torch.allclose(getattr(both, name), mean, atol=1e-5), name
    assert torch.allclose(both.m, outputs[0].m)  # the MSA is the first member's
