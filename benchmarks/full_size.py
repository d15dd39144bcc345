"""Fold a 60-residue protein with the full-size model and random weights: seconds and GB.

    python -m benchmarks.full_size [--recycles 3] [--residues 60] [--seed 0] [--out results]

It says what the machine must bear before any weights are downloaded; the numbers do not depend
on the values of the weights, and the structure means nothing.
"""

from __future__ import annotations

import argparse
import csv
import os
import platform
import resource
import sys
import time
from pathlib import Path

import numpy as np
import torch

from minifold.config import preset
from minifold.data.files import write_text
from minifold.data.msa import Alignment
from minifold.data.residues import RESTYPES
from minifold.model.alphafold import AlphaFold
from minifold.predict import inference_batches


def peak_gb() -> float:
    """The most memory this process has held so far."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def random_family(residues: int, depth: int, seed: int) -> Alignment:
    """A random query and relatives of it that differ in 30 % of their letters."""
    rng = np.random.default_rng(seed)
    query = rng.integers(0, len(RESTYPES), residues)
    rows = np.where(rng.random((depth, residues)) < 0.3, rng.integers(0, 20, (depth, 1)), query)
    rows[0] = query
    names = [f"row{k}" for k in range(depth)]
    return Alignment(names, rows.astype(np.int8), np.zeros(rows.shape, np.int32))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--residues", type=int, default=60)
    parser.add_argument("--depth", type=int, default=2000, help="sequences in the alignment")
    parser.add_argument("--recycles", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("results"))
    options = parser.parse_args()
    started = time.perf_counter()
    rows = [("imports", 0.0, 0.0, peak_gb())]

    def now() -> tuple[float, float]:
        return time.perf_counter(), time.process_time()

    def note(what: str, since: tuple[float, float]) -> None:
        wall, cpu = (b - a for a, b in zip(since, now()))
        rows.append((what, wall, cpu, peak_gb()))
        print(f"{what:26} {wall:8.1f} s {cpu:8.1f} CPU s   peak {rows[-1][3]:5.2f} GB", flush=True)

    config = preset("alphafold2_ptm")
    t = now()
    with torch.device("meta"):
        number = sum(p.numel() for p in AlphaFold(config).parameters())
    note("build on the meta device", t)

    torch.manual_seed(options.seed)
    t = now()
    model = AlphaFold(config).eval()
    note("build with random weights", t)

    t = now()
    alignment = random_family(options.residues, options.depth, options.seed)
    batches = inference_batches(alignment, config, options.recycles, options.seed)
    note("features", t)

    t = now()
    with torch.no_grad():
        output = model(batches, recycles=options.recycles)
    note(f"fold, {output.passes} passes", t)
    assert bool(torch.isfinite(output.positions).all()), "a coordinate is not finite"

    minutes = (time.perf_counter() - started) / 60
    shape = tuple(batches[0].msa_feat.shape[1:3]), tuple(batches[0].extra_msa.shape[1:])
    command = (
        f"python -m benchmarks.full_size --residues {options.residues} --depth {options.depth} "
        f"--recycles {options.recycles} --seed {options.seed}"
    )
    options.out.mkdir(parents=True, exist_ok=True)
    with open(options.out / "full_size.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["step", "seconds", "cpu_seconds", "peak_gb"])
        writer.writerows((what, f"{s:.1f}", f"{cpu:.1f}", f"{gb:.2f}") for what, s, cpu, gb in rows)
    table = "\n".join(f"| {what} | {s:.1f} | {cpu:.1f} | {gb:.2f} |" for what, s, cpu, gb in rows)
    write_text(
        options.out / "full_size.md",
        f"""# The full-size model on a small machine

Preset `alphafold2_ptm` ({number:,} parameters), random weights, float32: a protein of
{options.residues} residues, {shape[0][0]} clusters and {shape[1][0]} extra sequences, no templates.
The structure means nothing; time and memory are those of the published weights.

| step | seconds | CPU seconds | peak memory so far, GB |
|---|---|---|---|
{table}

- command: `{command}`
- seed {options.seed}, {minutes:.1f} minutes in all
- hardware: {platform.machine()}, {os.cpu_count()} CPU cores of which PyTorch used
  {torch.get_num_threads()}, shared with other work; torch {torch.__version__}, no GPU
""",
    )


if __name__ == "__main__":
    main()
