"""Two processes train the very model that one process trains."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

ROOT = Path(__file__).parent.parent
SCRIPT = """
import sys, torch
from minifold.config import preset
from minifold.model.alphafold import AlphaFold
from minifold.training import distributed
from minifold.training.loop import Settings, Trainer
from minifold.training.sources import Proteins, read_examples

torch.set_num_threads(1)
config = preset("nano").replace(
    start="line",  # a start from distances jumps where rounding moves one into the next bin
    c_m=16, c_z=16, c_s=32, evoformer_blocks=1, structure_layers=1, max_msa=4, max_extra_msa=4,
    crop=24, recycles=1,
)
torch.manual_seed(0)
examples = [x for x in read_examples("data") if len(x.chain.sequence) < 50]
settings = Settings(steps=4, batch=4, micro_batch=1, evaluations=1, warmup=1)
with distributed.joined(torch.device("cpu")) as device:
    trainer = Trainer(AlphaFold(config), Proteins(examples, config), settings, sys.argv[1], device)
    trainer.run(quiet=True)
    assert distributed.world() == int(sys.argv[2])
    assert bool(trainer.rows) == (distributed.rank() == 0)
assert distributed.world() == 1
"""

needs_distributed = pytest.mark.skipif(
    not torch.distributed.is_available(), reason="this torch has no distributed"
)


def launch(*command, processes: int) -> str:
    """Run Python with these arguments in so many processes; what they print."""
    several = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    clean = {k: v for k, v in os.environ.items() if k not in ("RANK", "WORLD_SIZE", "LOCAL_RANK")}
    done = subprocess.run(
        [sys.executable, *(several if processes > 1 else []), *map(str, command)],
        cwd=ROOT,
        env=clean | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def weights_by(folder: Path, processes: int) -> dict[str, torch.Tensor]:
    script, out = folder / "script.py", folder / f"by{processes}"
    script.write_text(SCRIPT)
    launch(script, out, processes, processes=processes)
    return load_file(out / "weights.safetensors")


@needs_distributed
def test_two_processes_give_the_weights_of_one(tmp_path):
    """Four updates, each by the clipped gradients of four examples."""
    one, two = weights_by(tmp_path, 1), weights_by(tmp_path, 2)
    assert one.keys() == two.keys()
    assert max((one[key] - two[key]).abs().max().item() for key in one) < 1e-5


@needs_distributed
def test_one_of_two_processes_prints_one_table(tmp_path):
    command = ("-m", "minifold", "train", "--data", "toy", "--steps", 2, "--device", "cpu")
    out = launch(*command, "--out", tmp_path, processes=2)
    assert [out.count(name) for name in ("lddt_ca", "random walk", "weights, log")] == [1, 1, 1]
    assert (tmp_path / "weights.safetensors").is_file()


@needs_distributed
def test_a_folder_of_one_protein_trains_in_two_processes_and_in_one(tmp_path):
    """There the batch is one protein; of several processes each takes one."""
    data = tmp_path / "data"
    data.mkdir()
    (data / "1l2y.cif").write_bytes((ROOT / "data" / "structures" / "1l2y.cif").read_bytes())
    command = ("-m", "minifold", "train", "--data", data, "--steps", 1, "--device", "cpu")
    scores = json.loads(launch(*command, "--out", tmp_path / "out", "--json", processes=2))
    assert set(scores) == {"model", "helix", "random walk"}
    settings = json.loads((tmp_path / "out" / "settings.json").read_text())
    assert settings["batch"] == 2
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", 1)
    scores = json.loads(launch(*torchrun, *command, "--out", tmp_path, "--json", processes=1))
    assert set(scores) == {"model", "helix", "random walk"}
