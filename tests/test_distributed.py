"""Two processes train the very model that one process trains."""

from __future__ import annotations

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
device = distributed.start(torch.device("cpu"))
config = preset("nano").replace(
    c_m=16, c_z=16, c_s=32, evoformer_blocks=1, structure_layers=1, max_msa=4, max_extra_msa=4,
    crop=24, recycles=1,
)
torch.manual_seed(0)
examples = [x for x in read_examples("data") if len(x.chain.sequence) < 50]
settings = Settings(steps=4, batch=4, micro_batch=1, evaluations=1, warmup=1)
trainer = Trainer(AlphaFold(config), Proteins(examples, config), settings, sys.argv[1], device)
trainer.run(quiet=True)
assert distributed.world() == int(sys.argv[2])
assert bool(trainer.rows) == (distributed.rank() == 0)
distributed.stop()
"""


def run(folder: Path, processes: int) -> dict[str, torch.Tensor]:
    script = folder / "script.py"
    script.write_text(SCRIPT)
    out = folder / f"by{processes}"
    launch = [sys.executable]
    if processes > 1:
        launch += ["-m", "torch.distributed.run", "--standalone"]
        launch += ["--nproc-per-node", str(processes)]
    command = [*launch, str(script), str(out), str(processes)]
    clean = {k: v for k, v in os.environ.items() if k not in ("RANK", "WORLD_SIZE", "LOCAL_RANK")}
    done = subprocess.run(
        command, cwd=ROOT, env=clean | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return load_file(out / "weights.safetensors")


@pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch has no distributed")
def test_two_processes_give_the_weights_of_one(tmp_path):
    one, two = run(tmp_path, 1), run(tmp_path, 2)
    assert one.keys() == two.keys()
    assert max((one[key] - two[key]).abs().max().item() for key in one) < 1e-5
