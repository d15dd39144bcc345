"""What a GPU buys: toy families, steps of training, memory, and the full-size model.

    python -m benchmarks.gpu [--seed 0]

Writes results/gpu.md. On a machine without a GPU it says so and stops. A time is the median of
several, after a first one that does not count.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from benchmarks.full_size import random_family
from minifold.config import preset
from minifold.data.files import write_text
from minifold.data.toyworld import ToyWorld
from minifold.model.alphafold import AlphaFold
from minifold.model.primitives import set_attention
from minifold.predict import inference_batches
from minifold.training.loop import Trainer, hardware
from minifold.training.runs import TOY
from minifold.training.toy import ToyFamilies, newborn

ROOT = Path(__file__).parent.parent
STEPS = (("nano", 4), ("nano", 32), ("mini", 4), ("mini", 32))  # presets and examples in a batch

ABOUT = """# What a GPU buys

Made with `python -m benchmarks.gpu --seed {seed}` on: {hardware}, PyTorch {torch}. The CPU is one
core of the same machine. Both are shared with other work: read ratios.

Toy families of 32 residues and 64 sequences, whole (structure, alignment, side chains):

| made on | in one block | families per second |
|---|---|---|
{world}

A step of training with everything on (families of 24 to 48 residues and 64 sequences, forward,
backward, update; features not counted):

| preset | batch | device | numbers | checkpointing | seconds | examples per second | peak GB |
|---|---|---|---|---|---|---|---|
{steps}

The full-size model (93 million parameters, random weights, 512 clusters and 1,024 extra sequences,
one pass without recycling), prediction only:

| residues | attention | seconds | peak GB |
|---|---|---|---|
{full}
"""


def clock(work: Callable[[int], object], times: int) -> float:
    """Median seconds of a piece of work; the GPU has finished before the clock is read."""
    seconds = []
    for k in range(times + 1):
        torch.cuda.synchronize()
        started = time.perf_counter()
        work(k)
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    return float(np.median(seconds[1:]))


def families(seed: int) -> list[list]:
    rows = []
    for device, block in (("cpu", 64), ("cuda", 64), ("cuda", 256), ("cuda", 1024)):
        world = ToyWorld(length=32, depth=64, seed=seed, device=device, block=block)
        rows.append([device, block, f"{block / clock(world.make_block, 2):.0f}"])
    return rows


def step(name: str, size: int, device: str, bfloat16: bool, checkpointing: bool, seed: int):
    config = preset(name)
    source = ToyFamilies(config, seed=seed, held_out=1, device="cuda")
    source.world = replace(source.world, block=64)
    batches = [source.batch(k, size) for k in range(3)]
    settings = replace(
        TOY, steps=9, batch=size, bfloat16=bfloat16, checkpointing=checkpointing, trunk_first=0.0
    )
    torch.manual_seed(seed)
    with TemporaryDirectory() as folder:
        trainer = Trainer(newborn(config), source, settings, folder, device)
        torch.cuda.reset_peak_memory_stats()
        seconds = clock(lambda k: trainer.train_step(batches[k % 3]), 2 if device == "cpu" else 8)
    peak = f"{torch.cuda.max_memory_allocated() / 1e9:.2f}" if device == "cuda" else "–"
    numbers, kept = "bfloat16" if bfloat16 else "float32", "yes" if checkpointing else "no"
    return [name, size, device, numbers, kept, f"{seconds:.3f}", f"{size / seconds:.1f}", peak]


def steps(seed: int) -> list[list]:
    rows = []
    for name, size in STEPS:
        if size == STEPS[0][1]:
            rows.append(step(name, size, "cpu", True, False, seed))
        for bfloat16 in (False, True):
            rows.append(step(name, size, "cuda", bfloat16, False, seed))
    return [*rows, step("mini", 32, "cuda", True, True, seed)]


def full_size(seed: int) -> list[list]:
    torch.manual_seed(seed)
    config, rows = preset("alphafold2_ptm"), []
    with torch.device("cuda"):
        model = AlphaFold(config).eval()
    for residues in (60, 256):
        family = random_family(residues, 2000, seed)
        batch = inference_batches(family, config, 0, seed)[0].to("cuda")
        for path in ("clear", "fast"):
            set_attention(model, path)
            torch.cuda.reset_peak_memory_stats()
            with torch.no_grad():
                seconds = clock(lambda _, b=batch: model(b, recycles=0), 3)
            peak = torch.cuda.max_memory_allocated() / 1e9
            rows.append([residues, path, f"{seconds:.2f}", f"{peak:.1f}"])
    return rows


def table(rows: list[list]) -> str:
    return "\n".join("| " + " | ".join(map(str, row)) + " |" for row in rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=ROOT / "results")
    a = parser.parse_args()
    if not torch.cuda.is_available():
        parser.error("there is no CUDA GPU here")
    torch.set_num_threads(1)
    parts = {"world": families(a.seed), "steps": steps(a.seed), "full": full_size(a.seed)}
    text = ABOUT.format(
        seed=a.seed,
        hardware=hardware(),
        torch=torch.__version__,
        **{name: table(rows) for name, rows in parts.items()},
    )
    write_text(a.out / "gpu.md", text)
    print(text)


if __name__ == "__main__":
    main()
