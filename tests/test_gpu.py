"""On a GPU the same code gives the same numbers. Skipped where there is none."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn.utils import parameters_to_vector

from minifold.config import preset
from minifold.data.toyworld import ToyWorld
from minifold.model.primitives import set_attention
from minifold.predict import fold, load
from minifold.training.loop import Trainer
from minifold.training.losses import LossWeights, loss
from minifold.training.runs import TOY, toy_settings
from minifold.training.toy import ToyFamilies, newborn
from tests.small import random_batch, small_model

ROOT = Path(__file__).parent.parent

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

EVERY_LOSS = LossWeights(
    violation=1.0, smooth_lddt=1.0, fape_local=1.0, geometry=1.0, masked_msa=1.0, plddt=1.0
)


@pytest.mark.parametrize("attention", ["clear", "fast"])
def test_outputs_and_gradients_are_those_of_the_cpu(attention):
    model, batch = small_model(), random_batch(b=2, truth=True)
    set_attention(model, attention)
    found = []
    for device in ("cpu", "cuda"):
        model, batch = model.to(device), batch.to(device)
        output = model(batch, recycles=2)
        loss(output, batch, EVERY_LOSS)["total"].backward()
        found.append(
            [output.positions.detach(), output.distogram_logits.detach()]
            + [p.grad for p in model.parameters() if p.grad is not None]
        )
        model.zero_grad(set_to_none=True)
    assert len(found[0]) == len(found[1]) > 100
    largest = max(x.abs().max().item() for x in found[0][2:])
    for here, there in zip(*found):
        torch.testing.assert_close(there.cpu(), here, rtol=5e-3, atol=1e-5 * largest)


@pytest.mark.parametrize("weights", ["toy-nano", "seven-nano"])
def test_folds_are_those_of_the_cpu(weights):
    """Å: the frames start from bins of distances, so a few atoms may move more."""
    world = ToyWorld(length=40, depth=32, seed=3).sample(1)
    one, two = (fold(world.alignment(0), weights, device=device) for device in ("cpu", "cuda"))
    distance = ((one.positions - two.positions) ** 2).sum(-1) ** 0.5
    assert torch.as_tensor(distance)[torch.as_tensor(one.atom_mask) > 0].median() < 1e-2
    assert abs(one.plddt - two.plddt).mean() < 0.1


def test_families_made_on_a_gpu_are_as_good_and_as_repeatable():
    here = ToyWorld(length=32, depth=64, seed=1).sample(64)
    world = ToyWorld(length=32, depth=64, seed=1, device="cuda", block=128)
    there, again = world.sample(64), world.sample(64)
    assert there.tokens.is_cuda
    assert torch.equal(there.tokens, again.tokens)
    assert torch.equal(there.positions, again.positions)
    for name in ("mask", "atom_mask"):  # as many residues; as many atoms, letters being by chance
        means = [getattr(x, name).mean().item() for x in (here, there)]
        assert means[1] == pytest.approx(means[0], rel=0.1)
    ca = [x.positions[:, :, 1].cpu() for x in (here, there)]
    steps = [(x[:, 1:] - x[:, :-1]).norm(dim=-1) for x in ca]
    assert steps[1].mean().item() == pytest.approx(steps[0].mean().item(), abs=0.02)
    sizes = [(x - x.mean(1, keepdim=True)).norm(dim=-1).square().mean().sqrt().item() for x in ca]
    assert sizes[1] == pytest.approx(sizes[0], rel=0.1)


def test_bfloat16_training_learns_and_its_weights_load_on_a_cpu(tmp_path):
    config = preset("nano")
    source = ToyFamilies(config, seed=1, held_out=4, device="cuda")
    settings = toy_settings(config, torch.device("cuda"))
    settings = replace(settings, steps=40, trunk_first=0.5, evaluations=2)
    assert settings.bfloat16
    torch.manual_seed(1)
    trainer = Trainer(newborn(config), source, settings, tmp_path, "cuda")
    first = trainer.train_step(source.batch(0, settings.batch))["distogram"]
    average = trainer.run(quiet=True)
    assert trainer.rows[-1]["distogram"] < first
    assert all(torch.isfinite(p).all() for p in average.parameters())
    for mine, theirs in zip(load(str(tmp_path / "weights.safetensors")).parameters(),
                            average.parameters()):  # fmt: skip
        assert not mine.is_cuda
        assert torch.equal(mine, theirs.cpu())
    again = Trainer(newborn(config), source, settings, tmp_path, "cuda")
    again.resume()
    assert again.step == 40
    assert all(p.is_cuda for state in again.optimizer.state.values() for p in state.values())


def test_checkpointing_needs_less_memory_and_gives_the_same_update(tmp_path):
    config = preset("mini").replace(recycles=0)
    source = ToyFamilies(config, seed=1, held_out=1, device="cuda")
    batch, peaks, weights = source.batch(0, 8), [], []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        settings = replace(TOY, steps=1, batch=8, checkpointing=checkpointing, trunk_first=0.0)
        trainer = Trainer(newborn(config), source, settings, tmp_path, "cuda")
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        begun = parameters_to_vector(trainer.model.parameters()).detach()
        trainer.train_step(batch)
        peaks.append(torch.cuda.max_memory_allocated() - before)
        weights.append(parameters_to_vector(trainer.model.parameters()).detach())
    assert peaks[1] < 0.7 * peaks[0]
    one, two = weights
    assert (one - two).norm() < 0.05 * (one - begun).norm()


def test_torchrun_trains_over_nccl(tmp_path):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
    command += [str(torch.cuda.device_count()), "-m", "minifold", "train", "--data", "toy"]
    command += ["--steps", "4", "--device", "cuda", "--out", str(tmp_path), "--json", "--quiet"]
    environment = os.environ | {"NCCL_DEBUG": "VERSION"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "NCCL version" in done.stdout + done.stderr
    settings = json.loads((tmp_path / "settings.json").read_text())
    assert settings["batch"] == 16 and settings["bfloat16"]
    assert (tmp_path / "weights.safetensors").is_file()
