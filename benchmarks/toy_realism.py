"""Are toy proteins like proteins? Their geometry beside that of natural chains of the same length.

    python -m benchmarks.toy_realism --natural CHAINS.npz    # writes results/toy_realism.*

CHAINS.npz holds coordinates of natural chains (arrays N, CA, C, O_rebuilt, offsets, and the masks
compact and nr90); without it only the toy columns are filled.
"""

import argparse
import csv
import io
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import torch

from minifold.data.files import write_bytes, write_text
from minifold.data.residues import ATOM_INDEX
from minifold.data.toyworld import ToyWorld

BACKBONE = ("N", "CA", "C", "O")
# Generously allowed Ramachandran regions: boxes of φ and ψ (degrees).
ALLOWED = ((-180, -35, 80, 180), (-180, -35, -180, -150), (-170, -30, -90, 80), (30, 95, -40, 95),
           (35, 95, -180, -100), (35, 95, 170, 180))  # fmt: skip


def dihedral(a, b, c, d):
    """Dihedral angle (degrees) of points [n, 3]."""
    along = (c - b) / np.linalg.norm(c - b, axis=-1, keepdims=True)
    u, v = a - b, d - c
    u = u - (u * along).sum(-1, keepdims=True) * along
    v = v - (v * along).sum(-1, keepdims=True) * along
    return np.degrees(np.arctan2((np.cross(along, u) * v).sum(-1), (u * v).sum(-1)))


def measure(x: np.ndarray) -> dict[str, float]:
    """Geometry of one chain, N, CA, C, O of each residue: [i, 4, 3] Å, NaN where unknown."""
    n_, ca, c, _ = x.transpose(1, 0, 2)
    n, at = len(x), np.arange(len(x))
    b, d = ca - n_, c - ca
    cb = -0.58273431 * np.cross(b, d) + 0.56802827 * b - 0.54067466 * d + ca
    apart = np.abs(at[:, None] - at)
    distance = np.linalg.norm(cb[:, None] - cb, axis=-1)
    phi = dihedral(c[:-2], n_[1:-1], ca[1:-1], c[1:-1])
    psi = dihedral(n_[1:-1], ca[1:-1], c[1:-1], n_[2:])
    bonded = np.linalg.norm(c[:-1] - n_[1:], axis=-1) < 2
    bonded = bonded[:-1] & bonded[1:]
    phi, psi = phi[bonded], psi[bonded]
    allowed = np.zeros(len(phi), bool)
    for low, high, bottom, top in ALLOWED:
        allowed |= (phi >= low) & (phi <= high) & (psi >= bottom) & (psi <= top)
    turn = dihedral(ca[:-3], ca[1:-2], ca[2:-1], ca[3:])
    helical = (np.abs(np.abs(turn) - 50) < 20) & (np.linalg.norm(ca[:-3] - ca[3:], axis=-1) < 6.2)
    atoms, owner, kind = x.reshape(-1, 3), at.repeat(4), np.tile(np.arange(4), n)
    gap = np.linalg.norm(atoms[:, None] - atoms, axis=-1)
    far = (owner[:, None] - owner) >= 2
    polar = np.abs(kind[:, None] - kind) == 3  # N and O: a hydrogen bond may be 2.8 Å
    return {
        "radius of gyration / 2.2 N^0.38": np.sqrt(((ca - ca.mean(0)) ** 2).sum(-1).mean())
        / (2.2 * n**0.38),
        "contacts per residue": ((distance < 8) & (apart >= 6)).sum() / 2 / n,
        "contacts per residue, separation >= 12": ((distance < 8) & (apart >= 12)).sum() / 2 / n,
        "Ramachandran outliers": 1 - allowed.mean() if len(phi) else np.nan,
        "residues with φ > 0": (phi > 0).mean() if len(phi) else np.nan,
        "backbone clashes (< 3.0 Å) per residue": ((gap < 3.0) & far & ~polar).sum() / n,
        "N-O pairs under 2.6 Å per residue": ((gap < 2.6) & far & polar).sum() / n,
        "helical turns": helical.mean(),
        "right-handed share of helical turns": (turn[helical] > 0).mean()
        if helical.any()
        else np.nan,
        "CA-CA (Å)": np.linalg.norm(np.diff(ca, axis=0), axis=-1)[: len(ca) - 1][
            np.linalg.norm(np.diff(ca, axis=0), axis=-1) < 4.5
        ].mean(),
        "_phi": phi,
        "_psi": psi,
    }


def natural_chains(path: Path, low: int, high: int) -> list[np.ndarray]:
    """Compact non-redundant chains of low to high residues."""
    data = np.load(path)
    offsets, wanted = data["offsets"], data["compact"] & data["nr90"]
    x = np.stack([data["N"], data["CA"], data["C"], data["O_rebuilt"]], 1)
    chains = [x[a:b] for a, b in zip(offsets[:-1][wanted], offsets[1:][wanted], strict=True)]
    return [chain for chain in chains if low <= len(chain) <= high]


def toy_chains(length: int | tuple[int, int], count: int, seed: int) -> list[np.ndarray]:
    examples = ToyWorld(length=length, depth=1, seed=seed).sample(count)
    x = examples.positions[:, :, [ATOM_INDEX[name] for name in BACKBONE]].numpy()
    return [chain[: int(m.sum())] for chain, m in zip(x, examples.mask, strict=True)]


def side_chain_clashes(count: int, seed: int) -> float:
    """Pairs of heavy atoms of residues two or more apart, at least one in a side chain, < 2.8 Å."""
    examples = ToyWorld(length=32, depth=1, seed=seed).sample(count)
    total = 0
    for x, m in zip(examples.positions, examples.atom_mask, strict=True):
        residue, atom = m.nonzero(as_tuple=True)
        side = ~torch.isin(atom, torch.tensor([ATOM_INDEX[name] for name in BACKBONE]))
        close = torch.cdist(x[residue, atom], x[residue, atom]) < 2.8
        far = (residue[:, None] - residue) >= 2
        total += int((close & far & (side[:, None] | side)).sum())
    return total / int(examples.mask.sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--natural", type=Path, help="coordinates of natural chains (.npz)")
    parser.add_argument("--count", type=int, default=256)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("results"))
    options = parser.parse_args()
    natural = options.natural
    if natural is not None and not natural.is_file():
        raise SystemExit(f"{natural}: no such file")

    columns: dict[str, list[dict]] = {}
    for low, high in ((28, 36), (44, 52), (58, 70)):
        if natural is not None:
            chains = natural_chains(natural, low, high)
            columns[f"natural {low}-{high} (n = {len(chains)})"] = [measure(x) for x in chains]
        chains = toy_chains((low + high) // 2, options.count, options.seed)
        columns[f"toy {(low + high) // 2} (n = {len(chains)})"] = [measure(x) for x in chains]

    quantities = [key for key in next(iter(columns.values()))[0] if not key.startswith("_")]
    table = [
        [quantity, *(float(np.nanmean([m[quantity] for m in col])) for col in columns.values())]
        for quantity in quantities
    ]
    options.out.mkdir(parents=True, exist_ok=True)
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(
        [
            ["mean over chains", *columns],
            *[[row[0], *(f"{v:.4f}" for v in row[1:])] for row in table],
        ]
    )
    write_text(options.out / "toy_realism.csv", text.getvalue())
    lines = [
        "# Toy proteins beside natural ones",
        "",
        f"`python -m benchmarks.toy_realism --natural CHAINS.npz --seed {options.seed}`: means "
        "over chains (natural: compact, non-redundant).",
        "",
        "| mean over chains | " + " | ".join(columns) + " |",
        "|---|" + "---|" * len(columns),
        *["| " + row[0] + " | " + " | ".join(f"{v:.3f}" for v in row[1:]) + " |" for row in table],
        "",
        f"Side chains: {side_chain_clashes(64, options.seed):.2f} pairs of heavy atoms under 2.8 Å "
        "per residue (residues two or more apart; toy, 32 residues).",
        "",
        "![Ramachandran and sizes](toy_realism.png)",
        "",
    ]
    write_text(options.out / "toy_realism.md", "\n".join(lines))
    print("\n".join(lines))
    draw(columns, options.out / "toy_realism.png")


def draw(columns: dict[str, list[dict]], path: Path) -> None:
    """Ramachandran plots above; radius of gyration and contact density below."""
    names = list(columns)[:2]
    figure, axes = plt.subplots(2, 2, figsize=(8, 7.5), layout="constrained")
    for axis, name in zip(axes[0], names, strict=False):
        phi = np.concatenate([m["_phi"] for m in columns[name]])
        psi = np.concatenate([m["_psi"] for m in columns[name]])
        axis.hist2d(phi, psi, bins=60, range=[[-180, 180]] * 2, cmin=1, norm="log")
        axis.set(title=name, xlabel="φ (degrees)", ylabel="ψ (degrees)")
    for axis, quantity in zip(
        axes[1], ("radius of gyration / 2.2 N^0.38", "contacts per residue"), strict=True
    ):
        for name in names:
            axis.hist(
                [m[quantity] for m in columns[name]], bins=25, density=True, alpha=0.6, label=name
            )
        axis.set(xlabel=quantity, ylabel="density")
        axis.legend(frameon=False)
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=110)
    plt.close(figure)
    write_bytes(path, image.getvalue())


if __name__ == "__main__":
    main()
