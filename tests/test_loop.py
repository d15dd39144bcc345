"""The training loop: clipping, averaging, budgets, checkpoints, faults."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch
from torch import nn

from minifold.config import preset
from minifold.data.features import collate
from minifold.errors import BadInput
from minifold.model.alphafold import AlphaFold
from minifold.predict import load
from minifold.training import distributed
from minifold.training.loop import Settings, Trainer, clip_and_accumulate
from minifold.training.losses import loss, trunk_losses
from minifold.training.sources import Proteins, read_examples

DATA = Path(__file__).parent.parent / "data"
TINY = preset("nano").replace(
    evoformer_blocks=1, structure_layers=1, max_msa=4, max_extra_msa=4, crop=24, recycles=1
)


@pytest.fixture(scope="module")
def examples():
    return read_examples(DATA)


def trainer(examples, folder, **settings) -> Trainer:
    torch.manual_seed(0)
    small = [x for x in examples if len(x.chain.sequence) < 40]
    source = Proteins(small, TINY, seed=1)
    return Trainer(AlphaFold(TINY), source, Settings(batch=2, **settings), folder)


def parameters(model) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def test_each_micro_batch_is_clipped_before_it_is_added():
    """An outlier weighs no more than its clipped gradient, however many others there are."""
    weight = nn.Parameter(torch.zeros(2))
    total = [torch.zeros(2)]
    for gradient in ([30.0, 40.0], [0.3, 0.4], [0.0, 0.01]):
        weight.grad = torch.tensor(gradient)
        clip_and_accumulate([weight], total, limit=0.1)
    assert torch.allclose(total[0], torch.tensor([0.12, 0.17]), atol=1e-5)
    assert weight.grad is None


def test_at_first_only_the_trunk_may_learn(examples, tmp_path):
    """Without the structure module the losses of the trunk are the same, and it learns alone."""
    one = trainer(examples, tmp_path, steps=4, trunk_first=0.5, warmup=5, structure_rate=3.0)
    model, batch = one.model.eval(), one.source.batch(0, 2)
    with torch.no_grad():
        whole, alone = loss(model(batch, recycles=0), batch), trunk_losses(model, batch)
    assert alone.keys() == {"total", "distogram", "masked_msa"}
    for key in ("distogram", "masked_msa"):
        assert torch.allclose(alone[key], whole[key], rtol=1e-5)
    assert torch.allclose(alone["total"], 0.3 * alone["distogram"] + 2 * alone["masked_msa"])
    before = {name: p.clone() for name, p in model.named_parameters()}
    for step in range(3):
        one.train_step(one.source.batch(step, 2))
        moved = {n.split(".")[0] for n, p in model.named_parameters() if (p != before[n]).any()}
        assert moved >= {"distogram", "masked_msa"}  # the last layers of the heads begin with zeros
        assert ("trunk" in moved) == (step > 0)
        assert ("structure_module" in moved) == (step == 2)
    # Adam starts there afresh, and warms up: its first step is the rate, whatever the gradient
    for name, p in model.structure_module.named_parameters(prefix="structure_module"):
        most = one.settings.learning_rate * 3.0 / 5
        assert (p - before[name]).abs().max() <= 1.01 * most, name


def test_micro_batches_add_up_to_the_batch(examples, tmp_path):
    """Without clipping, two micro-batches of one give the same update as one of two."""
    whole = trainer(examples, tmp_path / "a", steps=1, clip=1e9)
    parts = trainer(examples, tmp_path / "b", steps=1, clip=1e9, micro_batch=1)
    batch = whole.source.batch(0, 2)
    losses = whole.train_step(batch), parts.train_step(batch)
    assert losses[0]["loss"] == pytest.approx(losses[1]["loss"], rel=1e-5)
    # Adam turns gradients into steps of the size of the learning rate, also tiny noisy ones
    start = parameters(trainer(examples, tmp_path, steps=1).model)
    a, b = parameters(whole.model), parameters(parts.model)
    assert (a - b).abs().mean() < 0.02 * (a - start).abs().mean()


def test_a_batch_that_processes_cannot_share_is_refused(examples, tmp_path, monkeypatch):
    monkeypatch.setattr(distributed, "world", lambda: 3)
    with pytest.raises(BadInput, match="3 processes cannot share a batch of 2"):
        trainer(examples, tmp_path, steps=1)


def gradients(model) -> torch.Tensor:
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def one_pass(t: Trainer) -> tuple[float, int]:
    """The loss of a forward and a backward pass, and bytes that were kept between them."""
    kept: dict[int, int] = {}

    def keep(x: torch.Tensor) -> torch.Tensor:
        kept[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    own = {p.untyped_storage().data_ptr() for p in t.model.parameters()}
    batch = t.source.batch(0, 2)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        total = loss(t.model(batch, recycles=1), batch, t.settings.loss)["total"]
    total.backward()
    return float(total.detach()), sum(n for where, n in kept.items() if where not in own)


def test_checkpointing_keeps_less_and_changes_nothing(examples, tmp_path):
    plain = trainer(examples, tmp_path, steps=1)
    less = trainer(examples, tmp_path, steps=1, checkpointing=True)
    value, kept = one_pass(plain)
    same, kept_less = one_pass(less)
    assert same == pytest.approx(value, rel=1e-6)
    assert torch.allclose(gradients(less.model), gradients(plain.model), rtol=1e-4, atol=1e-6)
    assert kept_less < 0.6 * kept


def test_bfloat16_is_for_the_trunk_alone(examples, tmp_path):
    """It computes in bfloat16; weights, structure module and loss stay float32."""
    full = trainer(examples, tmp_path, steps=1)
    half = trainer(examples, tmp_path, steps=1, bfloat16=True)
    seen: dict[str, set[torch.dtype]] = {"trunk": set(), "structure": set()}

    def note(name: str):
        return lambda module, inputs, output: seen[name].add(output.dtype)

    for name, part in (("trunk", half.model.trunk), ("structure", half.model.structure_module)):
        for module in part.modules():
            if isinstance(module, nn.Linear):
                module.register_forward_hook(note(name))
    batch = full.source.batch(0, 2)
    exact, near = full.train_step(batch)["loss"], half.train_step(batch)["loss"]
    assert torch.bfloat16 in seen["trunk"] and seen["structure"] == {torch.float32}
    assert near != exact and near == pytest.approx(exact, rel=0.02)
    assert {p.dtype for p in half.model.parameters()} == {torch.float32}
    assert {p.dtype for p in half.average.parameters()} == {torch.float32}


def test_the_structure_module_has_a_rate_of_its_own(examples, tmp_path):
    """Adam's first step is proportional to the rate, whatever the gradient."""
    start = trainer(examples, tmp_path, steps=1)
    same = trainer(examples, tmp_path, steps=1, warmup=1)
    fast = trainer(examples, tmp_path, steps=1, warmup=1, structure_rate=3.0)
    batch = start.source.batch(0, 2)
    same.train_step(batch)
    fast.train_step(batch)

    def moved(t: Trainer, part: str) -> torch.Tensor:
        return parameters(getattr(t.model, part)) - parameters(getattr(start.model, part))

    assert moved(same, "structure_module").abs().max() > 1e-4
    for part, factor in (("structure_module", 3.0), ("trunk", 1.0), ("distogram", 1.0)):
        assert torch.allclose(moved(fast, part), factor * moved(same, part), atol=2e-6), part


def test_the_average_follows_the_weights(examples, tmp_path):
    t = trainer(examples, tmp_path, steps=3, ema=0.5)
    start = parameters(t.model)
    batch = t.source.batch(0, 2)
    t.train_step(batch)
    decay = min(0.5, 1 / 10)
    expected = decay * start + (1 - decay) * parameters(t.model)
    assert torch.allclose(parameters(t.average), expected, atol=1e-6)


def test_the_rate_warms_up_and_falls(examples, tmp_path):
    t = trainer(examples, tmp_path, steps=100, warmup=10, learning_rate=1.0, final=0.1)
    rates = []
    for t.step in range(100):
        rates.append(t.learning_rate(t.step))
    assert rates[0] == pytest.approx(0.1, rel=0.01) and max(rates) == pytest.approx(1.0, rel=0.05)
    assert rates.index(max(rates)) in range(8, 12) and rates[-1] < 0.12


def test_training_learns_and_logs(examples, tmp_path):
    t = trainer(examples, tmp_path, steps=12, evaluations=2)
    model = t.run(quiet=True)
    with open(tmp_path / "log.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["6", "12"]
    assert float(rows[1]["loss"]) < float(rows[0]["loss"])
    assert {"lddt_ca", "rmsd_ca", "fape_backbone", "gradient"} <= set(rows[0])
    loaded = load(str(tmp_path / "weights.safetensors"))
    assert torch.equal(parameters(loaded), parameters(model))


def test_resuming_gives_the_bits_of_an_uninterrupted_run(examples, tmp_path):
    whole = trainer(examples, tmp_path / "whole", steps=6, evaluations=3)
    whole.run(quiet=True)
    first = trainer(examples, tmp_path / "parts", steps=6, evaluations=3)
    first.run(quiet=True, stop_after=4)
    second = trainer(examples, tmp_path / "parts", steps=6, evaluations=3)
    torch.manual_seed(99)
    second.resume()
    assert second.step == 4
    second.run(quiet=True)
    assert torch.equal(parameters(whole.model), parameters(second.model))
    assert torch.equal(parameters(whole.average), parameters(second.average))


def test_a_budget_of_minutes_ends(examples, tmp_path):
    t = trainer(examples, tmp_path, minutes=0.03, evaluations=1)
    t.run(quiet=True)
    assert t.step >= 1 and t.spent >= 0.03


def test_a_loss_that_is_no_number_stops_and_keeps_the_checkpoint(examples, tmp_path):
    t = trainer(examples, tmp_path, steps=4, evaluations=2)
    t.run(quiet=True, stop_after=2)
    before = (tmp_path / "checkpoint.pt").read_bytes()
    with torch.no_grad():
        next(t.model.parameters()).fill_(float("nan"))
    with pytest.raises(BadInput, match="resume from it"):
        t.run(quiet=True)
    assert (tmp_path / "checkpoint.pt").read_bytes() == before


def test_a_full_disk_keeps_the_last_checkpoint(examples, tmp_path, monkeypatch):
    t = trainer(examples, tmp_path, steps=2, evaluations=1)
    t.run(quiet=True)
    before = (tmp_path / "checkpoint.pt").read_bytes()

    def full(state, path):
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(BadInput, match="No space left"):
        t.save()
    assert (tmp_path / "checkpoint.pt").read_bytes() == before
    assert not list(tmp_path.glob("*.part"))


def test_the_same_step_gives_the_same_examples(examples):
    source = Proteins(examples, TINY, seed=3)
    one, two, other = source.batch(5, 3), source.batch(5, 3), source.batch(6, 3)
    assert torch.equal(one.msa_feat, two.msa_feat)
    assert not torch.equal(one.residue_index, other.residue_index) or not torch.equal(
        one.aatype, other.aatype
    )


def test_every_protein_takes_its_turn(examples):
    source = Proteins(examples, TINY, seed=3)
    batch = source.batch(0, len(examples))
    targets = {tuple(row.tolist()) for row in batch.aatype}
    assert len(targets) == len(examples)


def test_alignments_find_their_structure(examples):
    found = {x.chain.name: x.alignment for x in examples}
    assert found["1BPI"] is not None and found["1BPI"].depth > 50
    assert found["1L2Y"] is None


def test_batches_of_different_lengths_train(examples, tmp_path):
    source = Proteins(examples, TINY.replace(crop=64), seed=0)
    t = Trainer(AlphaFold(TINY), source, Settings(steps=1, batch=3), tmp_path)
    values = t.train_step(collate([source.batch(k, 1) for k in range(3)]))
    assert values["loss"] > 0
