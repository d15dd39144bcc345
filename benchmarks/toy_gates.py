"""Does co-evolution, and only co-evolution, decide the folds of the toy world? Two gates.

    python -m benchmarks.toy_gates               # a few minutes; writes results/toy_gates.md

1. Mean-field direct couplings find the contacts: precision of the L/2 best pairs >= 0.70.
2. A network that sees only the frequencies of each column (and the query) does not: <= 0.32.
   Beside it, the same network with nothing, or with the true secondary structure, as input.

Contacts: CB within 8 Å, |i - j| >= 6. Families of one seed for training, of another for the gates.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from minifold.data.files import write_text
from minifold.data.toyworld import ToyExamples, ToyWorld
from minifold.model.atoms import pseudo_beta
from minifold.training.baselines import direct_coupling, mutual_information, shuffle_columns
from minifold.training.metrics import contact_precision

SEPARATION = 6


class ProfilePredictor(nn.Module):
    """Columns -> contact logits: four residual convolutions, then every pair of columns."""

    def __init__(self, c_in: int, c: int = 32):
        super().__init__()
        self.embed = nn.Linear(c_in, c)
        self.blocks = nn.ModuleList(nn.Conv1d(c, c, 5, padding=2) for _ in range(4))
        self.left, self.right = nn.Linear(c, c), nn.Linear(c, c)
        self.separation = nn.Embedding(512, c)
        self.logit = nn.Sequential(nn.ReLU(), nn.Linear(c, c), nn.ReLU(), nn.Linear(c, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[b, i, c_in] -> [b, i, i]"""
        h = self.embed(x).transpose(1, 2)
        for block in self.blocks:
            h = h + F.relu(block(h))
        h = h.transpose(1, 2)
        at = torch.arange(h.shape[1])
        left, right = self.left(h)[:, :, None], self.right(h)[:, None]
        z = left + right + left * right
        return self.logit(z + self.separation((at - at[:, None]).clamp(min=0)))[..., 0]


def inputs(examples: ToyExamples, kind: str) -> torch.Tensor:
    """What the predictor sees: "profile", "structure" or "nothing"."""
    if kind == "structure":
        return F.one_hot(examples.structure, 3).float()
    if kind == "nothing":
        return torch.zeros(*examples.aatype.shape, 1)
    frequency = F.one_hot(examples.tokens, 22).float().mean(1)
    entropy = -(frequency * (frequency + 1e-6).log()).sum(-1, keepdim=True)
    query = F.one_hot(examples.aatype, 21).float()
    return torch.cat([4 * frequency, query, entropy], -1)


def beta_carbons(examples: ToyExamples) -> torch.Tensor:
    return pseudo_beta(examples.aatype, examples.positions, examples.atom_mask)[0]


def predictor_precision(
    train: ToyExamples, test: ToyExamples, kind: str, seconds: float, seed: int
) -> float:
    """Train for some CPU seconds, then precision on the test families."""
    torch.manual_seed(seed)
    x, beta = inputs(train, kind), beta_carbons(train)
    contact = (torch.cdist(beta, beta) < 8).float()
    at = torch.arange(x.shape[1])
    far = (at - at[:, None]) >= SEPARATION
    model = ProfilePredictor(x.shape[-1])
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    start = time.process_time()
    while (done := (time.process_time() - start) / seconds) < 1:
        optimizer.param_groups[0]["lr"] = 3e-3 * max(0.02, 1 - done)
        pick = torch.randint(len(x), (64,))
        loss = F.binary_cross_entropy_with_logits(model(x[pick])[:, far], contact[pick][:, far])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        score = model(inputs(test, kind))
    return contact_precision(score, beta_carbons(test), test.mask).mean().item()


def alignment_precision(test: ToyExamples, method, shuffle: bool = False) -> np.ndarray:
    """Precision of a classical method, family by family."""
    rng, beta, found = np.random.default_rng(0), beta_carbons(test), []
    for n, tokens in enumerate(test.tokens.numpy()):
        score = method(shuffle_columns(tokens, rng) if shuffle else tokens)
        score = torch.as_tensor(score, dtype=torch.float32)[None]
        found.append(contact_precision(score, beta[n : n + 1], test.mask[n : n + 1]).item())
    return np.array(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--length", type=int, default=32)
    parser.add_argument("--depth", type=int, default=64)
    parser.add_argument("--families", type=int, default=256, help="held out, for both gates")
    parser.add_argument(
        "--train", type=int, default=3072, help="families the predictor learns from"
    )
    parser.add_argument("--seconds", type=float, default=20, help="CPU time of the predictor")
    parser.add_argument("--coupling", type=float, default=ToyWorld.coupling)
    parser.add_argument("--profile", type=float, default=ToyWorld.profile)
    parser.add_argument("--random-signs", action="store_true")
    parser.add_argument("--no-hidden", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("results"))
    options = parser.parse_args()

    dials = {
        "length": options.length,
        "depth": options.depth,
        "coupling": options.coupling,
        "profile": options.profile,
        "hidden": not options.no_hidden,
        "physical": not options.random_signs,
    }
    test = ToyWorld(seed=2 * options.seed + 1, **dials).sample(options.families)
    start = time.process_time()
    train = ToyWorld(seed=2 * options.seed, **dials).sample(options.train)
    rate = options.train / (time.process_time() - start)
    beta = beta_carbons(test)
    at = torch.arange(options.length)
    far = (at - at[:, None]) >= SEPARATION
    contact = (torch.cdist(beta, beta) < 8)[:, far]
    rows = [
        ("chance (share of pairs in contact)", contact.float().mean().item()),
        ("direct couplings (gate: >= 0.70)", alignment_precision(test, direct_coupling).mean()),
        ("mutual information + APC", alignment_precision(test, mutual_information).mean()),
        (
            "direct couplings, columns shuffled",
            alignment_precision(test, direct_coupling, shuffle=True).mean(),
        ),
    ]
    names = {
        "nothing": "predictor without input",
        "structure": "predictor with the true secondary structure",
        "profile": "profile predictor (gate: <= 0.32)",
    }
    for kind, name in names.items():
        value = predictor_precision(train, test, kind, options.seconds, options.seed)
        rows.append((name, value))
    lines = [
        "# Gates of the toy world",
        "",
        f"`python -m benchmarks.toy_gates --seed {options.seed}`: {dials}; {options.families} "
        f"held-out families, {options.train} to learn from, {options.seconds:g} CPU-seconds per "
        f"predictor; {contact.sum() / contact.shape[0] / options.length:.2f} contacts and "
        f"{test.couplings.triu(SEPARATION).sum() / test.mask.sum():.2f} long-range couplings per "
        f"residue. {rate:.0f} complete examples per CPU-second.",
        "",
        "| input | precision of the top L/2 |",
        "|---|---|",
        *[f"| {name} | {value:.3f} |" for name, value in rows],
        "",
    ]
    options.out.mkdir(parents=True, exist_ok=True)
    write_text(options.out / "toy_gates.md", "\n".join(lines))
    print("\n".join(lines))


if __name__ == "__main__":
    main()
