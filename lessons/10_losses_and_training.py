# ---
# jupyter:
#   jupytext:
#     cell_metadata_filter: all
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 10 · Losses and training: what a network is told
#
# > *A fresh network is full of random numbers, and nobody will ever explain a protein to it. All it hears after each try is
# > one single number: how wrong. What has to be in this number, so that after enough tries a protein folds?*
#
# **Time:** about 110 minutes of reading and trying, 50 more for the exercises.
#
# **You need:** the Evoformer ([lesson 05](05_evoformer.ipynb)), torsions and atoms ([lesson 07](07_protein_geometry.ipynb)), FAPE and lDDT
# ([lesson 08](08_ipa_fape.ipynb)).
#
# **Afterwards you can**
# - name the losses of AlphaFold2, write the smallest version of each, and say what each of them alone teaches, and what not;
# - write a learning-rate warm-up, clipping per example and a moving average of the weights, and say why they are there;
# - pay with time for memory (activation checkpointing), and measure both;
# - train a small AlphaFold2 in half a minute until it reads contacts in alignments that it has never seen, and set it beside the controls that count;
# - test whether a network knows how wrong it is.
#
# New words are *set like this* at first use and collected in the [glossary](../docs/glossary.md).

# %%
import copy
import math
import time
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

import minifold
from minifold.checks.lesson_10 import bond_properties
from minifold.config import preset
from minifold.data.features import collate, make_batch
from minifold.data.residues import ATOM_INDEX, VDW_RADIUS
from minifold.data.structures import read_structure, structure_files
from minifold.data.toyworld import ToyWorld

# %%
from minifold.look import style
from minifold.model import heads
from minifold.model.alphafold import AlphaFold, Trunk
from minifold.model.atoms import frames_to_atom14, ground_truth, lookup, torsions_to_frames
from minifold.model.evoformer import EvoformerStack
from minifold.model.primitives import set_attention
from minifold.model.rigid import Rigid
from minifold.model.structure import StructureOutput
from minifold.physics import violations
from minifold.training import baselines, losses
from minifold.training.controls import compare, hide

# %%
from minifold.training.loop import clip_and_accumulate
from minifold.training.losses import LossWeights, losses_per_example, structure_losses
from minifold.training.metrics import lddt, lddt_per_point
from minifold.training.runs import TOY
from minifold.training.sources import Example, precision_of
from minifold.training.toy import HELD_OUT
from minifold.training.toyscores import family_scores, summary

style.use()
torch.set_num_threads(1)  # our matrices are small: one thread is fastest
CA = ATOM_INDEX["CA"]

# %% [markdown]
# ## 1 · One number
#
# Training is simple. Show the network an example, measure how wrong its answer is (the [*loss*](../docs/glossary.md#loss)), compute
# for each of its weights in which direction the loss falls (the [*gradient*](../docs/glossary.md#gradient)), move all weights a little in that direction. Repeat. The gradient
# can be computed for whatever is written in PyTorch, so the art lies in the loss: **the network becomes good at what is in the loss, and at nothing else.**
#
# AlphaFold2's loss is a sum. Besides the structure module, small [*heads*](../docs/glossary.md#head) (mostly a single linear layer) answer questions from
# the representations that the [Evoformer](../docs/glossary.md#evoformer) makes, and each answer has a loss of its own.

# %%
HEADS = (
    (4.1, "$m$ (alignment)", "linear", "hidden letters", "2", style.SKY),
    (3.45, "$z$ (pairs)", "linear", "distogram", "0.3", style.PURPLE),
    (2.8, "$s$ (residues)", "linear", "atoms resolved?", "0.01", style.GREEN),
    (1.2, "$s$, $z$", "structure\nmodule", "", "", style.ORANGE),
)
STRUCTURE = (
    (2.05, "pLDDT (a small network)", "0.01"),
    (1.48, "FAPE: layers · all atoms", "0.5 · 0.5"),
    (0.91, "torsions: χ · length", "0.5 · 0.01"),
    (0.34, "violations", "0, later 1"),
)

# %%
figure, ax = style.canvas(9.6, 4.5)
style.box(ax, (1.05, 2.35), "Evoformer", size=(1.4, 0.8), color=style.YELLOW)
for y, name, head, loss, weight, color in HEADS:
    style.arrow(ax, (1.75, 2.35), (2.35, y), color=style.GREY)
    style.box(ax, (3.0, y), name, size=(1.3, 0.5), color=color, fontsize=9)
    style.arrow(ax, (3.65, y), (4.15, y))
    style.box(ax, (4.7, y), head, size=(1.1, 0.5), color=color, fontsize=9)
    if loss:
        style.arrow(ax, (5.25, y), (6.95, y))
        style.box(ax, (7.8, y), loss, size=(1.7, 0.46), color=style.GREY, fontsize=9)
        ax.text(8.85, y, f"× {weight}", va="center")
for y, loss, weight in STRUCTURE:
    style.arrow(ax, (5.25, 1.2), (6.3, y))
    style.box(ax, (7.35, y), loss, size=(2.1, 0.42), color=style.GREY, fontsize=9)
    ax.text(8.5, y, f"× {weight}", va="center", fontsize=10)
plt.show()

# %% [markdown]
# On the right stand the weights in the sum. They come from the paper; nobody has derived them. (As in DeepMind's code; in the paper, "resolved" and "violations" count only in the fine-tuning at the end.)
#
# Let an untrained AlphaFold2 answer: preset `nano`, eight families of the [toy world](../docs/glossary.md#toy-world). **Predict first:** which loss makes up most of the sum?

# %%
NANO = preset("nano")
TOYS = ToyWorld(length=32, depth=64, seed=10, block=24).sample(24)
EXAMPLES = [Example(TOYS.chain(k), TOYS.alignment(k)) for k in range(24)]


def features(examples, config, seed=0, masked=0.15):
    """What the model takes as input, and the truth, in one batch."""
    some = [
        make_batch(x.alignment, x.chain, config, seed + k, mask_fraction=masked)
        for k, x in enumerate(examples)
    ]
    return replace(collate(some), resolution=torch.ones(len(some)))  # Å; more on that in section 2


torch.manual_seed(0)
untrained = AlphaFold(NANO).eval()
BATCH = features(EXAMPLES, NANO)
WEIGHTS = LossWeights(violation=1.0)

# %% tags=["nbval-ignore-output"]
FEW = BATCH.map(lambda x: x[:8])
with torch.no_grad():
    first = losses_per_example(untrained(FEW, recycles=0), FEW, WEIGHTS)
parts = {k: v.mean().item() for k, v in first.items() if k not in ("total", "start_torsions")}
whole = sum(getattr(WEIGHTS, name) * value for name, value in parts.items())
print("                   loss   weight   share of the sum")
for name, value in parts.items():
    weight = getattr(WEIGHTS, name)
    print(f"{name:15s} {value:7.2f}   {weight:5g}    {weight * value / whole:4.0%}")
assert abs(parts["distogram"] - math.log(64)) < 0.01
assert abs(parts["masked_msa"] - math.log(23)) < 0.01
assert abs(parts["plddt"] - math.log(50)) < 0.01 and abs(parts["resolved"] - math.log(2)) < 0.01
print("ln 64, ln 23, ln 50, ln 2 =", *(f"{math.log(n):.2f}" for n in (64, 23, 50, 2)))

# %% [markdown]
# Four of the numbers are no accident. They are the logarithms of how many answers there are to choose from: an untrained head, whose last layer is 0, gives them all the same probability. The next section says why.
#
# (`chi` is a squared error of torsion angles, `angle_norm` a technical one, both explained in section 3. The total has one more part in minifold's small models, left out here.)
#
# ## 2 · Answers that are probabilities
#
# Four heads do not answer with a number but with probabilities for a list of answers. The head puts out one score per answer (a
# [*logit*](../docs/glossary.md#logit)), [softmax](../docs/glossary.md#softmax) makes probabilities of them. The loss is the
# [cross-entropy](../docs/glossary.md#cross-entropy) of [lesson 02](02_multi_head_attention.ipynb): minus the logarithm of the probability that the right answer got,
#
# $$-\log p_{\text{right}}, \qquad p = \operatorname{softmax}(\text{logits}).$$
#
# Sure and right: 0. All $n$ answers alike: $\ln n$. Sure and wrong: no limit.
#
# ### The distogram: how far apart?
#
# The [distogram](../docs/glossary.md#distogram) head takes $z_{ij} + z_{ji}$ and gives probabilities for 64 bins of the distance between the two Cβ atoms, from 2 to 22 Å, about 0.3 Å each; the last bin means "farther". From scratch:


# %%
def small_distogram_loss(logits, beta):
    """Cross-entropy of the binned distance: logits [b, i, j, 64], Cβ positions [b, i, 3]."""
    distance = (beta[:, :, None] - beta[:, None]).norm(dim=-1)
    edges = torch.linspace(2.3125, 21.6875, 63)
    right = (distance[..., None] > edges).sum(-1)  # the number of the bin
    p = torch.softmax(logits, dim=-1)
    p_right = p.gather(-1, right[..., None])[..., 0]
    return -p_right.log().mean(dim=(1, 2))


TRUTH = ground_truth(BATCH.aatype, BATCH.all_atom_positions, BATCH.all_atom_mask)
beta, there = TRUTH.pseudo_beta, TRUTH.pseudo_beta_mask
logits = torch.randn(24, 32, 32, 64, generator=torch.Generator().manual_seed(0))
package = losses.distogram_loss(logits, beta, there)
assert torch.allclose(small_distogram_loss(logits, beta), package, atol=1e-4)
print(f"equal to the package's: {package.mean():.2f} for random logits")

# %% [markdown]
# Why probabilities, and not simply the distance? Suppose a loop of the protein is seen 6 Å away from its neighbour in half of the
# crystals, and 16 Å away in the other half. Train two heads on that: one that puts out a number, with the squared error as its loss, and one with 64 logits and cross-entropy. Nothing else is
# learned, the numbers are free. **Predict first:** what do they answer?

# %%
seen = torch.where(torch.arange(100) % 2 == 0, 6.0, 16.0)
seen = seen + torch.randn(100, generator=torch.Generator().manual_seed(1)) * 0.4
edges, middles = heads.distogram_edges(), heads.distogram_centers()
bins = (seen[:, None] > edges).sum(-1)
number, free = torch.zeros((), requires_grad=True), torch.zeros(64, requires_grad=True)
optimizer = torch.optim.Adam([number, free], lr=0.2)
for _ in range(300):
    loss = (number - seen).square().mean() + F.cross_entropy(free.expand(100, 64), bins)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
p = torch.softmax(free.detach(), dim=0)
print(
    f"the number says {number:.1f} Å; probability of 10 to 12 Å: {p[abs(middles - 11) < 1].sum():.3f}"
)
assert abs(number - 11) < 0.3 and p[abs(middles - 11) < 1].sum() < 0.02

# %%
figure, ax = plt.subplots(figsize=(7, 2.5))
ax.bar(middles, p, width=0.28, color=style.tint(style.BLUE, 0.6), label="64 logits")
ax.axvline(number.item(), color=style.RED, label="one number")
ax.set(xlabel="distance (Å)", ylabel="probability")
ax.legend()
plt.show()

# %% [markdown]
# The number says 11 Å, which nobody has ever seen. The probabilities say what is known: here or there. (The same happened to squared errors of coordinates in [lesson 08](08_ipa_fape.ipynb).) And not knowing costs little: who is unsure spreads the
# probability.
#
# A loss needs something to be compared with. How well can one guess distances *without* reading the alignment? We let several guessers loose on the 24 families; toy-nano, which is trained, has never seen them. The first three
# know only the distances of 64 other toy proteins. **Predict first:** how far below $\ln 64 = 4.16$ does each get?

# %%
OTHERS = ToyWorld(length=32, depth=1, seed=11, block=64).sample(64)
others = ground_truth(OTHERS.aatype, OTHERS.positions, OTHERS.atom_mask).pseudo_beta
other_bins = (torch.cdist(others, others)[..., None] > edges).sum(-1)  # [64, i, j]
apart = (torch.arange(32)[:, None] - torch.arange(32)).abs()
counts = torch.zeros(32, 64).index_put_(
    (apart.expand(64, 32, 32), other_bins), torch.ones(()), accumulate=True
)  # [|i-j|, bin]
trained = minifold.load("toy-nano").eval()
SHUFFLED = [hide(x, "shuffled", k) for k, x in enumerate(EXAMPLES)]
PASSES = {"recycles": trained.config.recycles}
with torch.no_grad():
    answers = trained(BATCH, **PASSES)
    in_the_dark = trained(features(SHUFFLED, trained.config), **PASSES)
guesses = {
    "all bins alike": torch.zeros(24, 32, 32, 64),
    "how frequent each bin is": (counts.sum(0) + 0.1).log().expand(24, 32, 32, 64),
    "... at this |i - j|": (counts + 0.1).log()[apart].expand(24, 32, 32, 64),
    "toy-nano, columns shuffled": in_the_dark.distogram_logits,
    "toy-nano": answers.distogram_logits,
}


# %%
def bars(ax, table, unit):
    """Means over the families, with their standard errors."""
    values = {name: np.asarray(x) for name, x in table.items()}
    for k, (name, x) in enumerate(values.items()):
        color = style.BLUE if name == "toy-nano" else style.GREY
        ax.barh(k, x.mean(), xerr=x.std() / len(x) ** 0.5, color=style.tint(color, 0.6), capsize=3)
        ax.text(x.mean() + 0.15, k, f"{x.mean():.2f}", va="center", fontsize=10)
    ax.set_yticks(range(len(values)), values)
    ax.set(xlabel=unit, xlim=(0, 5))
    ax.invert_yaxis()


by_guess = {name: losses.distogram_loss(x, beta, there) for name, x in guesses.items()}
figure, ax = plt.subplots(figsize=(7.6, 2.6))
bars(ax, by_guess, "distogram loss, 24 families (bars: standard error)")
plt.show()
means = [x.mean() for x in by_guess.values()]
assert means[0] > means[1] > means[2] > means[4] and means[3] > means[4] + 0.3

# %% [markdown]
# A good part of the way down is free: it needs no alignment, only the habit of chains. Keep this in mind when somebody shows you a falling loss. What counts is the last step, below everything that can be had without co-evolution.
#
# ### Masked MSA: which letter is hidden?
#
# Before the alignment enters the network, 15 % of its letters are tampered with. Of those, 70 % become a mask, 10 % a random letter, 10 % a letter drawn from the column's profile, 10 % stay as they are. The masked-MSA head has to
# guess all of them from $m$: 23 answers (20 amino acids, unknown, gap, mask). This is the trick of the language model BERT: a task that needs no structure at all, only sequences.


# %%
def small_msa_loss(logits, true_msa, hidden):
    """Cross-entropy of the hidden letters: logits [b, s, i, 23], letters and hidden [b, s, i]."""
    surprise = F.cross_entropy(logits.movedim(-1, 1), true_msa, reduction="none")
    return (hidden * surprise).sum(dim=(1, 2)) / hidden.sum(dim=(1, 2))


logits = torch.randn(*BATCH.true_msa.shape, 23, generator=torch.Generator().manual_seed(0))
package = losses.masked_msa_loss(logits, BATCH.true_msa, BATCH.bert_mask)
assert torch.allclose(small_msa_loss(logits, BATCH.true_msa, BATCH.bert_mask), package, atol=1e-4)
print(f"equal to the package's; {BATCH.bert_mask.mean():.0%} of the letters are asked for")

# %% [markdown]
# Again some guessers. One counts the letters *that can still be seen* in the column (the profile). One cheats: its profile was made *before* the letters were hidden. **Predict first:** by how much does the cheat win?

# %%
letters = F.one_hot(BATCH.true_msa, 23).float()  # [b, s, i, 23]
visible = (1 - BATCH.bert_mask)[..., None]
background = (letters * visible).mean(dim=(0, 1, 2))
profile = (letters * visible).sum(dim=1, keepdim=True) + 30 * background
leaking = letters.sum(dim=1, keepdim=True) + 30 * background
guesses = {
    "all letters alike": torch.zeros_like(letters),
    "how frequent each letter is": (background + 1e-4).log().expand_as(letters),
    "profile of the column": (profile + 1e-4).log().expand_as(letters),
    "the same, made before hiding": (leaking + 1e-4).log().expand_as(letters),
    "toy-nano, columns shuffled": in_the_dark.masked_msa_logits,
    "toy-nano": answers.masked_msa_logits,
}
by_guess = {
    name: losses.masked_msa_loss(x, BATCH.true_msa, BATCH.bert_mask) for name, x in guesses.items()
}
figure, ax = plt.subplots(figsize=(7.6, 2.8))
bars(ax, by_guess, "masked-MSA loss, 24 families (bars: standard error)")
plt.show()
# %% [markdown]
# In the toy world the profile hardly helps, since its columns are nearly alike: what tells one letter is the letter of the *partner*, somewhere else in the same sequence. toy-nano has found out, and with shuffled columns it is lost. To get better at this game, a network
# has to learn [co-evolution](../docs/glossary.md#co-evolution), without ever seeing a structure. That is what the loss is for.
#
# And the cheat: **the number fell because the answer leaked**, not because anybody understands anything. A network that is given such a profile learns to read off the answer. (In a public implementation the masked letters are still in the profile features; in others there is no masked-MSA loss at all.
# `tests/test_mistakes.py` keeps watch over that in minifold.)
#
# What does this loss teach *alone*, without any other? The smallest model that can play the game: the scores for the letter at $i$ are a sum over all other places $j$ of a table $W_{ij}$, row: the letter at $j$, column: the letter at $i$. Each letter of each sequence is hidden in turn. We train it on a single family, on nothing but this
# loss (with a small cost for large tables), and then look how large the tables $W_{ij}$ have become.
#
# **Predict first:** what will the large ones be?


# %%
def tables_from_hidden_letters(tokens, steps=60, cost=0.01):
    """Size of the table of each pair of places, from masked letters alone: [i, j]."""
    x = F.one_hot(torch.as_tensor(tokens).long().clamp(max=20), 21).float()  # [s, i, 21]
    s, n, _ = x.shape
    W, bias = (
        torch.zeros(n * 21, n * 21, requires_grad=True),
        torch.zeros(n, 21, requires_grad=True),
    )
    others = 1 - torch.eye(n).repeat_interleave(21, 0).repeat_interleave(21, 1)  # not itself
    optimizer = torch.optim.Adam([W, bias], lr=0.02)
    for _ in range(steps):
        logits = (x.flatten(1) @ (W * others)).view(s, n, 21) + bias
        loss = F.cross_entropy(logits.flatten(0, 1), x.argmax(-1).flatten())
        optimizer.zero_grad()
        (loss + cost * W.square().sum() / n).backward()
        optimizer.step()
    size = W.detach().view(n, 21, n, 21)[:, :20, :, :20].square().sum((1, 3)).sqrt()
    return baselines.average_product_correction(np.asarray(size + size.T))


# %% tags=["nbval-ignore-output"]
ways = {
    "hidden letters alone": lambda x, k: tables_from_hidden_letters(x.alignment.tokens),
    "... columns shuffled": lambda x, k: tables_from_hidden_letters(SHUFFLED[k].alignment.tokens),
    "DCA (lesson 03)": lambda x, k: baselines.direct_coupling(x.alignment.tokens),
    "random pairs": lambda x, k: np.random.default_rng(k).random((32, 32)),
}
found = {
    name: np.array([precision_of(way(x, k), x.chain) for k, x in enumerate(EXAMPLES[:12])])
    for name, way in ways.items()
}
print("contact precision (best L/2 pairs, at least 6 apart), 12 families:")
for name, x in found.items():
    print(f"   {name:22s} {x.mean():.2f} ± {x.std() / 12**0.5:.2f}")
hidden, shuffled, dca, chance = (x.mean() for x in found.values())
assert hidden > dca - 0.1 and hidden > shuffled + 0.3 and hidden > chance + 0.3

# %% [markdown]
# **Contacts.** Nobody has shown a structure to this model. To guess a hidden letter one has to know who its partner is. (This is pseudo-likelihood DCA, a classic; protein language models do the same on a large scale.)
#
# ### pLDDT: how wrong am I?
#
# The [*pLDDT*](../docs/glossary.md#plddt) head guesses, for every residue, the [lDDT](../docs/glossary.md#lddt) of the structure that the network has just made: 50 bins from 0 to 1. Here the right answer is not in the data: it is the prediction's own score, computed during training.


# %%
def small_plddt_loss(logits, ca, true_ca):
    """Cross-entropy of each residue's own lDDT: logits [b, i, 50], Cα positions [b, i, 3]."""
    score = lddt_per_point(ca.detach(), true_ca, torch.ones(ca.shape[:2]))
    right = (score * 50).long().clamp(max=49)
    return F.cross_entropy(logits.movedim(-1, 1), right, reduction="none").mean(dim=1)


true_ca = BATCH.all_atom_positions[:, :, CA]
package = losses.plddt_loss(
    answers.plddt_logits, answers.positions[:, :, CA], true_ca, BATCH.seq_mask, BATCH.resolution
)
ours = small_plddt_loss(answers.plddt_logits, answers.positions[:, :, CA], true_ca)
assert torch.allclose(ours, package, atol=1e-4)
print("equal to the package's")

# %% [markdown]
# Why `detach()`? It cuts the gradient. Without it, the network could lower this loss by making its structures *easier to judge* instead of better. Does the gradient stay out of the structure?

# %%
ca = answers.positions[:, :, CA].clone().requires_grad_()
scores = answers.plddt_logits.clone().requires_grad_()
losses.plddt_loss(scores, ca, true_ca, BATCH.seq_mask, None).sum().backward()
print("gradient for the logits:", bool(scores.grad.abs().max() > 0), end="; ")
print("for the positions:", ca.grad)
assert ca.grad is None

# %% [markdown]
# Whether the network is right about itself, section 9 measures.
#
# ### Resolved: was this atom seen?
#
# In a crystal, some parts of a protein move so much that nobody sees them. Their atoms are missing in the file. The fourth head guesses for each of the 37 possible atoms of a residue whether it was *experimentally resolved*: a probability each, by the
# [sigmoid](01_fuzzy_search_attention.ipynb). Among our seven real proteins, one has missing atoms:


# %%
def small_resolved_loss(logits, seen, exists):
    """Cross-entropy of yes or no for each atom that the residue has: all [b, i, 37]."""
    p = torch.sigmoid(logits)
    surprise = -(seen * p.log() + (1 - seen) * (1 - p).log())
    return (exists * surprise).sum(dim=(1, 2)) / exists.sum(dim=(1, 2))


for chain in [read_structure(path) for path in structure_files("../data/structures")]:
    exists = lookup("ATOM37_MASK", torch.as_tensor(chain.aatype).long())
    missing = (exists * (1 - torch.as_tensor(chain.mask))).sum(-1)
    if missing.any():
        where = [k + 1 for k in missing.nonzero()[:, 0].tolist()]
        print(f"{chain.name}: {missing.sum():.0f} of {exists.sum():.0f} atoms, in residues {where}")

# %% [markdown]
# (The repressor of phage 434: the crystal does not show its tail.) What does a network have to know to guess this? Let us make toy "crystals": a residue is invisible if fewer than 12 others have their Cα within 10 Å of its own, so loose ends and
# exposed loops. We train a linear head with 12 families, and test it on the 12 others. In AlphaFold2 this head reads $s_i$ as the Evoformer hands it over. **Predict first:** does the $s_i$ of toy-nano, which was never asked for it, know who is inside and who is loose? And the $s_i$ *after* the structure module?

# %%
exists = lookup("ATOM37_MASK", BATCH.aatype)
crowd = (torch.cdist(true_ca, true_ca) < 10).sum(-1) - 1
seen = exists * (crowd >= 12)[..., None]
logits = torch.randn(24, 32, 37, generator=torch.Generator().manual_seed(0))
package = losses.resolved_loss(logits, seen, exists, None)
assert torch.allclose(small_resolved_loss(logits, seen, exists), package, atol=1e-4)


def resolved_head(s, steps=80):
    """Loss of each test family after training a linear head on the first 12 families."""
    s = (s - s[:12].mean((0, 1))) / (s[:12].std((0, 1)) + 1e-3)
    head = nn.Linear(s.shape[-1], 1)  # whole residues are missing: one answer for all atoms
    optimizer = torch.optim.Adam([nn.init.zeros_(p) for p in head.parameters()], lr=0.01)
    for _ in range(steps):
        loss = losses.resolved_loss(head(s[:12]).expand(-1, -1, 37), seen[:12], exists[:12], None)
        optimizer.zero_grad()
        loss.mean().backward()
        optimizer.step()
    with torch.no_grad():
        return losses.resolved_loss(head(s[12:]).expand(-1, -1, 37), seen[12:], exists[12:], None)


# %% tags=["nbval-ignore-output"]
share = (seen[:12].sum() / exists[:12].sum()).logit()
place = F.one_hot(torch.arange(32).expand(24, 32), 32).float()
by_guess = {
    "yes or no alike": small_resolved_loss(0 * exists, seen, exists)[12:],
    "always the average": small_resolved_loss(share + 0 * exists, seen, exists)[12:],
    "only the place in the chain": resolved_head(place),
    "s of the Evoformer": resolved_head(answers.s.detach()),
    "z, mean over the pairs of i": resolved_head(answers.z.mean(dim=2)),
    "s after the structure module": resolved_head(answers.structure.s.detach()),
    "... columns shuffled": resolved_head(in_the_dark.structure.s.detach()),
}
print(f"{1 - share.sigmoid():.0%} of the atoms are not seen; loss on 12 other families:")
for name, x in by_guess.items():
    print(f"   {name:28s} {x.mean():.2f} ± {x.std() / len(x) ** 0.5:.2f}")
after = by_guess["s after the structure module"].mean()
blind = ("always the average", "only the place in the chain", "s of the Evoformer")
assert after + 0.1 < min(by_guess[name].mean() for name in blind)

# %% [markdown]
# Interesting: in the Evoformer of toy-nano this knowledge is in the pairs; in its $s_i$ a linear head finds little or nothing. After the structure module has put every residue into space, $s_i$ knows how crowded it is there. In AlphaFold2 the gradient of this very head asks the Evoformer to write it into $s_i$: **a
# loss not only reads, it also tells the network what to remember.**
#
# One more rule:

# %%
nmr = losses.resolved_loss(0 * exists, seen, exists, torch.zeros(24))
coarse = losses.resolved_loss(0 * exists, seen, exists, torch.full((24,), 3.5))
print("loss of a structure by NMR, or at 3.5 Å:", nmr.max().item(), coarse.max().item())

# %% [markdown]
# **Confidence is only taught by structures that deserve it**, crystals (or electron microscopy) with a resolution between 0.1 and 3 Å. For all others the losses of
# pLDDT and of this head are 0. (One reads now and then that the head tells experimental structures from predicted ones. It does not: it is about single atoms.)
#
# ## 3 · Answers that are a structure
#
# ### FAPE, once per layer
#
# [FAPE](../docs/glossary.md#fape) is the main loss, and [lesson 08](08_ipa_fape.ipynb) is about little else. It enters twice: for all heavy atoms at the end, and, as the main part of the *auxiliary loss*, for the backbone after **every** layer of the structure module, averaged. Why every layer? So that even the
# first one hears directly how wrong it is. Here is what toy-nano's layers got for their work:

# %% tags=["nbval-ignore-output"]
with torch.no_grad():
    frames = Rigid.stack(answers.structure.frames)  # [layers, b, i]
    by_layer = [
        losses.backbone_fape(frames[k : k + 1], TRUTH.backbone, TRUTH.backbone_mask).mean()
        for k in range(frames.shape[0])
    ]
print("backbone FAPE after each layer:", *(f"{x:.2f}" for x in by_layer))
mean = losses.backbone_fape(frames, TRUTH.backbone, TRUTH.backbone_mask).mean()
assert torch.isclose(mean, torch.stack(by_layer).mean(), atol=1e-4)
print(f"their mean is the loss: {mean:.2f}")

# %% [markdown]
# ### Torsions
#
# The side chains are not predicted as positions but as angles χ ([lesson 07](07_protein_geometry.ipynb)); the network puts out two numbers per angle, a vector $\vec a$, which is brought to length 1 and read as (sin χ, cos χ). The loss is the squared distance to the true point on the circle: 0 to 4.
# Two refinements:
#
# - In Asp, Glu, Phe and Tyr the two ends of the side chain look alike. Turned by 180° it is the same side chain with other *names*. So the **nearer** of two truths counts.
# - The length of $\vec a$ does not matter for the angle, but a small second loss, $\big| |\vec a| - 1 \big|$, keeps it near 1.


# %%
def small_torsion_loss(raw, truth, mask):
    """Losses of χ and of the length [b]: raw [layers, b, i, 7, 2], of one protein after another."""
    length = raw.norm(dim=-1, keepdim=True)
    unit = raw / length
    one, other = (
        (unit - x)[..., 3:, :].square().sum(-1) for x in (truth.torsions, truth.alt_torsions)
    )
    chi = (mask * torch.minimum(one, other)).sum((0, 2, 3)) / (len(raw) * mask.sum((1, 2)))
    return chi, (length - 1).abs().mean(dim=(0, 2, 3, 4))


raw = torch.randn(4, 24, 32, 7, 2, generator=torch.Generator().manual_seed(0))
ours = small_torsion_loss(raw, TRUTH, TRUTH.chi_mask)
both_names = TRUTH.torsions, TRUTH.alt_torsions
unit = raw / raw.norm(dim=-1, keepdim=True)
package = losses.torsion_loss(unit, raw, both_names, TRUTH.torsion_mask, BATCH.seq_mask)
assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(ours, package))
print("equal to the package's")

# %% [markdown]
# What is the length good for, if it does not matter? The gradient of the first loss is always at a right angle to $\vec a$ (along the circle), so every step, however it turns out, makes $\vec a$ *longer*, and the longer it is, the less a step turns it. We let 200 free vectors learn an angle that is changed every
# 20 steps (in a network, too, the wanted angle differs from protein to protein), by plain gradient descent, with and without the length loss. **Predict first:** what do the lengths do?

# %%
generator = torch.Generator().manual_seed(2)
wanted = 2 * math.pi * torch.rand(20, 200, generator=generator)  # 20 times, 200 vectors
start = torch.randn(200, 2, generator=generator)
histories = {}
for name, weight in (("χ loss alone", 0.0), ("with 0.02 × length loss", 0.02)):
    a, lengths, off = start.clone().requires_grad_(), [], []
    for step in range(400):
        angle = wanted[step // 20]
        true = torch.stack([angle.sin(), angle.cos()], dim=-1)
        length = a.norm(dim=-1)
        chi = (a / length[:, None] - true).square().sum(-1)
        lengths.append(length.median().item())
        off.append(chi.mean().item())
        (gradient,) = torch.autograd.grad((chi + weight * (length - 1).abs()).sum(), a)
        a = (a - 0.3 * gradient).detach().requires_grad_()
    histories[name] = lengths, off

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(8.5, 2.9))
for name, (lengths, off) in histories.items():
    left.plot(lengths, label=name)
    ends = [np.mean(off[k + 15 : k + 20]) for k in range(0, 400, 20)]
    right.plot(range(20, 401, 20), ends, "o-", markersize=4, label=name)
left.set(xlabel="step", ylabel="length (median of 200)", title="they grow ...")
right.set(
    xlabel="step", ylabel="χ loss after 15-20 steps", title="... and learn slower", ylim=(0, None)
)
left.legend(fontsize=9)
plt.show()
(alone, slow), (kept, quick) = histories.values()
assert alone[-1] > 1.5 * kept[-1] and np.mean(slow[-5:]) > 1.5 * np.mean(quick[-5:])

# %% [markdown]
# ### Violations: what chemistry forbids
#
# FAPE is content if all atoms are *nearly* right. Chemistry is not: a bond 0.3 Å too long is broken, and two atoms cannot be in the same place. The *violation loss* looks at the predicted structure alone, **without any truth**:
#
# - the bond from C to the next N, and the two angles beside it, as far as they are more than 12 standard deviations off;
# - atoms of different residues that overlap by more than 1.5 Å;
# - atoms inside a residue whose distance is impossible.
#
# Each has a *flat bottom*: within the tolerance it is 0 and pulls at nothing. The clashes from scratch:


# %%
def small_clash_loss(x, radius):
    """Mean overlap of atoms in different residues (Å, more than 1.5): [i, 14, 3], radii [i, 14]."""
    n = len(x)
    at, slot = torch.arange(n).repeat_interleave(14), torch.arange(14).repeat(n)
    x, r = x.reshape(-1, 3), radius.reshape(-1)
    distance = (x[:, None] - x).norm(dim=-1)
    overlap = (r[:, None] + r - 1.5 - distance).relu()
    pairs = (at[:, None] != at) & (r[:, None] > 0) & (r > 0)
    peptide = (at[:, None] + 1 == at) & (slot[:, None] == 2) & (slot == 0)  # C and the next N
    sulphur = (slot[:, None] == 5) & (slot == 5)  # may be a disulfide bond
    return (overlap * (pairs & ~peptide & ~peptide.T & ~sulphur)).sum() / (r > 0).sum()


# %%
exists14 = lookup("ATOM14_MASK", BATCH.aatype)
names = lookup("ATOM14_TO_ATOM37", BATCH.aatype, torch.int64)
radius = torch.as_tensor(VDW_RADIUS).float()[names] * exists14
dense = 0.75 * TRUTH.atom14[:4]  # all atoms closer together: clashes
found = violations.find_violations(dense, exists14[:4], BATCH.residue_index[:4], BATCH.aatype[:4])
package = found.clash_loss.sum((1, 2)) / exists14[:4].sum((1, 2))
ours = torch.stack([small_clash_loss(x, r) for x, r in zip(dense, radius)])
assert torch.allclose(ours, package, atol=1e-3)
print("equal to the package's (squeezed toy proteins):", ours.numpy().round(2))

# %% [markdown]
# ### Each loss alone
#
# Now we can ask what each of these losses teaches *by itself*. As in [lesson 08](08_ipa_fape.ipynb) we leave the network out: the frames and the raw torsion vectors of a protein are the parameters. It is the Trp-cage, 20 residues. We crumple it (every residue shifted by 1.5 Å or so and turned by 15° or so, all torsions
# random), six times, and let each loss alone repair it for 60 steps.
#
# **Predict first:** which loss puts side chains right? Which one the fold? What does a structure look like that is trained on violations alone?

# %%
CAGE = next(
    c for c in map(read_structure, structure_files("../data/structures")) if c.name == "1L2Y"
)
cage = make_batch(None, CAGE, NANO)
cage = cage.map(lambda x: x.expand(6, *x.shape[1:]))
FOLD = ground_truth(cage.aatype, cage.all_atom_positions, cage.all_atom_mask)
ATOMS = lookup("ATOM14_MASK", cage.aatype)
noise = torch.randn(6, 20, 6, generator=torch.Generator().manual_seed(5))
CRUMPLED = FOLD.backbone.compose(Rigid.from_update(noise * torch.tensor([0.13] * 3 + [0.9] * 3)))
ANGLES = torch.randn(6, 20, 7, 2, generator=torch.Generator().manual_seed(6))
ALL = LossWeights(violation=1.0)


def structure(u, raw):
    """What a structure module of one layer would put out, from free numbers."""
    T = CRUMPLED.compose(Rigid.from_update(u * torch.tensor([1.0, 1, 1, 10, 10, 10])))
    unit = raw / raw.norm(dim=-1, keepdim=True)
    frames8 = torsions_to_frames(Rigid.stack([T]), unit[None], cage.aatype[None])
    atom14 = frames_to_atom14(frames8, cage.aatype[None])
    return StructureOutput([T], unit[None], raw[None], frames8, atom14, raw)


# %%
def measured(free):
    """All structure losses [6], and lDDT-Cα."""
    one = (cage.aatype, cage.residue_index, cage.seq_mask, None)
    parts = structure_losses(free, FOLD, *one, ALL)
    ca = free.atom14[-1][:, :, 1]
    return parts | {"lddt": lddt(ca, FOLD.atom14[:, :, 1], cage.seq_mask)}


def repair(weights, steps=60):
    """All losses after following the weighted ones downhill."""
    u, raw = torch.zeros(6, 20, 6, requires_grad=True), ANGLES.clone().requires_grad_()
    optimizer = torch.optim.Adam([{"params": [u], "lr": 0.03}, {"params": [raw], "lr": 0.15}])
    one = (cage.aatype, cage.residue_index, cage.seq_mask, None)
    for _ in range(steps):
        parts = structure_losses(structure(u, raw), FOLD, *one, LossWeights(**OFF | weights))
        optimizer.zero_grad()
        sum(share * parts[name] for name, share in weights.items()).sum().backward()
        optimizer.step()
    with torch.no_grad():
        return measured(structure(u, raw))


# %%
KINDS = ("fape_backbone", "fape_sidechain", "chi", "angle_norm", "violation")
OFF = dict.fromkeys(KINDS, 0.0)
with torch.no_grad():
    before = measured(structure(torch.zeros(6, 20, 6), ANGLES))
WORDS = ("backbone FAPE", "all-atom FAPE", "χ", "length", "violations")
after = {word: repair({name: 1.0}) for word, name in zip(WORDS, KINDS)}
after["all together"] = repair({k: getattr(ALL, k) for k in KINDS})
left = {row: [(x[k] / before[k]).numpy() for k in KINDS] for row, x in after.items()}
table = {row: [x.mean() for x in values] for row, values in left.items()}

# %% tags=["nbval-ignore-output"]
figure, ax = plt.subplots(figsize=(7.8, 3.2))
style.heatmap(ax, list(table.values()), list(table), WORDS, 2, style.DIVERGING, (0, 2))
ax.set(xlabel="measured: what is left (1: as at the start)", ylabel="switched on")
plt.show()
spread = max(x.std() / 6**0.5 for row in left.values() for x in row)
print(f"mean of 6; largest standard error {spread:.2f}")
for name, x in {"at the start": before, **after}.items():
    print(f"{name:15s} lDDT {x['lddt'].mean():.2f} ± {x['lddt'].std() / 6**0.5:.2f}")

# %%
assert left["backbone FAPE"][0].max() < 0.3 < 0.9 < left["backbone FAPE"][2].min()  # χ untouched
assert max(x.mean() for x in left["all-atom FAPE"][:3]) < 0.3
assert left["χ"][2].max() < 0.1 and left["χ"][0].min() > 0.99
assert left["length"][3].mean() < 0.3 and min(x.min() for x in left["length"][:3]) > 0.9
assert left["violations"][4].mean() < 0.05 < 0.8 < left["violations"][0].mean()
assert max(left["all together"][k].mean() for k in (0, 1, 2, 4)) < 0.3
print("backbone FAPE leaves χ, χ leaves the backbone; violations heal violations, not the fold")

# %% [markdown]
# (0 is perfect, 1 as at the start; more than 1: worse than before.) Read it row by row:
#
# - **Backbone FAPE** puts the chain right and does not touch a single side chain. **χ** does the opposite.
# - **All-atom FAPE** repairs all of it. It could do alone, but it comes only at the end of the last layer, and its clamp is always on.
# - **Length** does nothing but its duty.
# - **Violations alone** make a chain that no chemist could object to, and not the fold. lDDT rises a little, because neighbours are put in order. It is a sanity check, no teacher. That is why it may come late: in AlphaFold2's fine-tuning, when the fold is right.
# - **All together**, nothing is left out.
#
# ### Exercise 1 · Find the bug (needs a thought)
#
# A loss for the bond from C to the next N, as it might be found on the web: the length should be 1.329 Å, 12 standard deviations of 0.014 Å are tolerated. `c` and `n` [b, i, 3] are atoms, `mask` [b, i] is 0 for padding, `residue_index` [b, i] the number of each residue (where it jumps, residues are missing, or another chain begins). It runs, and the loss falls.


# %%
def found_on_the_web(c, n, mask, residue_index):
    """Loss of the bonds' lengths [b], Å."""
    difference = n[:, 1:] - c[:, :-1]
    length = difference.square().sum(-1).sqrt()
    over = ((length - 1.329).abs() - 12 * 0.014).relu()
    return over.mean(dim=1)


# %% [markdown]
# As in lesson 08, we write down what has to be true. (Two of its mistakes were found in public implementations: one counts padding, so that a protein looks the better the more padding it gets; the other counts residues 1, 2, 3, ... instead of reading their numbers.)

# %%
for words, holds in bond_properties(found_on_the_web).items():
    print("✓" if holds else "✗", words)

# %% [markdown]
# Find the reason of each ✗, and write `my_bonds(c, n, mask, residue_index)`. (For the last one: what is the slope of $\sqrt{x}$ at 0?)
#
# *In all exercises: try by yourself first. One possible answer stands between the two lines that
# start with `###`; delete it, write yours, run the check.*


# %% nbgrader={"grade": false, "grade_id": "mend_bonds", "locked": false, "schema_version": 3, "solution": true, "task": false}
def my_bonds(c, n, mask, residue_index):
    """Loss of the bonds' lengths [b], Å."""
    ### BEGIN SOLUTION
    length = ((n[:, 1:] - c[:, :-1]).square().sum(-1) + 1e-6).sqrt()  # a finite slope at 0
    over = ((length - 1.329).abs() - 12 * 0.014).relu()
    joined = residue_index[:, 1:] - residue_index[:, :-1] == 1  # else there is no bond
    bonds = joined * mask[:, 1:] * mask[:, :-1]  # padding has none
    return (bonds * over).sum(dim=1) / bonds.sum(dim=1).clamp(min=1)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check-mend_bonds", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
minifold.check("mend_bonds", my_bonds)

# %% [markdown]
# ## 4 · Mixing the voices
#
# A weighted sum of losses sounds like a weighted sum of wishes, but the network does not hear the losses. It hears their *gradients*. A loss of 0.1 with a steep slope is louder than one of 4 with a flat slope. So let us listen at the door between Evoformer and structure module: how long is the gradient that each loss,
# times its weight, sends into $z$, $s$ and $m$? For each of four families, in toy-nano.
#
# **Predict first:** who is louder at $z$: FAPE, or the distogram with its weight of 0.3?

# %%
FOUR = BATCH.map(lambda x: x[:4])
output = trained(FOUR, **PASSES)  # with gradients this time
parts = losses_per_example(output, FOUR, WEIGHTS)
doors = {"m": output.m, "s": output.s, "z": output.z}
pull = {}
for name in (*KINDS, "plddt", "resolved", "distogram", "masked_msa"):
    gradients = torch.autograd.grad(
        parts[name].sum(), list(doors.values()), retain_graph=True, allow_unused=True
    )
    sizes = [torch.zeros(4) if g is None else g.flatten(1).norm(dim=1) for g in gradients]
    pull[name] = {door: getattr(WEIGHTS, name) * x for door, x in zip(doors, sizes)}
del output, parts, doors

# %%
figure, axes = plt.subplots(1, 3, figsize=(9.4, 3.2), sharey=True)
for ax, door in zip(axes, "msz"):
    rows = [x[door] for x in pull.values()]
    means, errors = [x.mean().clamp(min=1e-6) for x in rows], [x.std() / 4**0.5 for x in rows]
    ax.barh(list(pull), means, xerr=errors, color=style.tint(style.BLUE, 0.6), capsize=2)
    ax.set(title=f"pull on {door}", xlabel="weight × gradient", xscale="log", xlim=(1e-5, 1))
axes[0].invert_yaxis()
plt.show()

# %%
z = {name: x["z"].mean() for name, x in pull.items()}
through_structure = z["fape_backbone"] + z["fape_sidechain"] + z["chi"]
assert through_structure > 1.5 * z["distogram"]
assert z["violation"] > 2 * z["distogram"] and pull["masked_msa"]["m"].mean() > 0.01
print("at z, the structure's losses together are louder than the distogram: True")
print("violations would be more than twice as loud as the distogram: True")

# %% [markdown]
# (The axis is logarithmic: from one label to the next it is a hundred times as much. Bars: standard error over four families. The masked-MSA loss speaks to $m$, the structure's losses to $s$ and $z$.) Two things to take home.
#
# - The weight says little about who is heard. The distogram has a loss several times as large as FAPE's, and still is not louder at $z$ than the losses of the structure together. In the toy world this matters: our tiny model learns to read contacts *from the distogram*, and at AlphaFold2's weight of 0.3 it took far longer to do so than at the ten times larger one that `minifold train`
#   uses. (Section 8 prints it.)
# - Violations have a small loss and a huge gradient: one broken bond, one clash, and everybody has to jump. Early in training, when nearly everything clashes, nothing else would be heard. So AlphaFold2 gives them the weight 0 until the fine-tuning.
#
# That the weights are what they are is no law of nature. Some of them have been found by trying, here and in the paper.
#
# ## 5 · One step
#
# Now the gradient is there. How far do we go? AlphaFold2 uses [*Adam*](../docs/glossary.md#adam). For every weight, Adam keeps a running mean of its gradient, and one of the *square* of its gradient, and moves the weight by
#
# $$-\text{rate} \times \frac{\text{mean gradient}}{\sqrt{\text{mean square}} + \epsilon}.$$
#
# So a weight whose gradients always agree moves by about the rate in each step, and one whose gradients flicker hardly moves, no matter how large they are. Three things are done around it.
#
# ### Warm-up
#
# **Predict first:** in the very first step, how much does a weight move whose gradient is 1? And one whose gradient is 0.001?

# %%
weights = nn.Parameter(torch.zeros(4))
optimizer = torch.optim.Adam([weights], lr=1e-3, eps=1e-6)
weights.grad = torch.tensor([1.0, 0.001, -0.1, 5.0])
optimizer.step()
print("gradients 1, 0.001, -0.1, 5: moved by", weights.detach().numpy().round(4))
assert torch.allclose(weights.abs(), torch.full((4,), 1e-3), atol=2e-6)

# %% [markdown]
# All by the full rate: with a single gradient, the mean is the gradient and the root of the mean square is its size. Adam cannot know yet which weights flicker. So in the first steps everything runs at full speed in directions that are mostly accidents of the first few proteins. The remedy is to begin slowly: the *warm-up*. In
# AlphaFold2 the rate rises in a straight line during the first 1000 steps.
#
# Does it matter? We take a very small Evoformer (one block, 16 channels) and let it learn the distances of two families by heart, 22 steps, with and without a warm-up over 16 of them. Three seeds; once with a cautious rate, once with a bold one.
#
# **Predict first:** the warm-up walks less far in total. When does it pay nevertheless?

# %%
SMALL = NANO.replace(name="small", c_m=16, c_z=16, c_s=32, evoformer_blocks=1, max_msa=8)
some = ToyWorld(length=24, depth=16, seed=10, block=2).sample(2)
TWO = [Example(some.chain(k), some.alignment(k)) for k in range(2)]
TWO = features(TWO, SMALL, masked=0.0)
TWO_BETA = ground_truth(TWO.aatype, TWO.all_atom_positions, TWO.all_atom_mask).pseudo_beta


class Reader(nn.Module):
    """An AlphaFold2 that ends after the Evoformer: trunk, distogram, hidden letters."""

    def __init__(self, config):
        super().__init__()
        self.trunk = Trunk(config)
        self.distogram, self.masked_msa = heads.DistogramHead(config), heads.MaskedMSAHead(config)
        self.config = config
        set_attention(self, "clear")

    def forward(self, batch):
        m, z, _ = self.trunk(batch, AlphaFold.nothing(self, batch))  # no recycling
        return self.distogram(z), self.masked_msa(m)


# %%
def first_steps(rate, warmup, seed, steps=22):
    """The distogram loss before each step."""
    torch.manual_seed(seed)
    model, curve = Reader(SMALL), []
    optimizer = torch.optim.Adam(model.parameters(), eps=1e-6)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = rate * min(1.0, (step + 1) / warmup)
        logits, _ = model(TWO)
        loss = losses.distogram_loss(logits, TWO_BETA, torch.ones(2, 24)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        curve.append(loss.item())
    return curve


# %%
curves = {
    (rate, warmup): np.array([first_steps(rate, warmup, seed) for seed in range(3)])
    for rate in (0.02, 0.05)
    for warmup in (1, 16)
}

# %%
figure, axes = plt.subplots(1, 2, figsize=(8.5, 2.9), sharey=True)
for (rate, warmup), curve in curves.items():
    ax = axes[int(rate == 0.05)]
    color = style.ORANGE if warmup > 1 else style.BLUE
    name = f"warm-up of {warmup} steps" if warmup > 1 else "no warm-up"
    ax.plot(curve.mean(0), color=color, linestyle="-" if warmup > 1 else "--", label=name)
    ax.fill_between(range(22), curve.min(0), curve.max(0), color=color, alpha=0.2)
    ax.set(title=f"rate {rate:g}", xlabel="step", ylim=(0, 10))
axes[0].set_ylabel("distogram loss")
axes[1].legend(fontsize=9)
plt.show()
end = {key: curve[:, -3:].mean() for key, curve in curves.items()}
assert end[0.05, 16] < end[0.05, 1] - 0.5 and curves[0.05, 1].max() > 8 > 6 > curves[0.02, 1].max()
print("bold rate: without warm-up the loss jumps to more than twice its start: True")
print("cautious rate: the warm-up is no gain:", bool(end[0.02, 16] > end[0.02, 1] - 0.2))

# %% [markdown]
# (Lines: mean of three seeds; bands: from the lowest to the highest.) At a cautious rate the warm-up only costs time. At a bold one the first few blind steps throw the network somewhere from where it takes long to come back. A warm-up is what you pay for being allowed a bold rate later. (Our trainings below need only ten steps of it; a larger and deeper network is more easily hurt.)
#
# ### Exercise 2 · The learning rate of AlphaFold2 (easy)
#
# Write `my_rate(step)`, counting steps from 0: it rises in a straight line, so that step 0 has a thousandth of the full rate of $10^{-3}$, and step 999 is the first with all of it. From step 50,000 on (6.4 million proteins in batches of 128) the rate is multiplied by 0.95, once.


# %% nbgrader={"grade": false, "grade_id": "warmup", "locked": false, "schema_version": 3, "solution": true, "task": false}
def my_rate(step):
    """The learning rate of a step."""
    ### BEGIN SOLUTION
    rate = 1e-3 * min(1.0, (step + 1) / 1000)
    return rate * (0.95 if step >= 50_000 else 1.0)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check-warmup", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
minifold.check("warmup", my_rate)

# %% [markdown]
# ### Clipping: nobody may shout
#
# Now and then an example is odd: a file with a mistake, a protein folded around a partner that is not shown. Its gradient may be a hundred times as long as the others. [*Clipping*](../docs/glossary.md#clipping) shortens a gradient that is longer than a limit to that limit, and keeps its direction. AlphaFold2: 0.1, **for each
# example, before the mean over the batch is taken**. Does the order matter?
#
# Eight families, one gradient each, from toy-nano, with the loss of the fine-tuning: violations count. How long are the eight gradients, and how much does the mean of them care for each family? (The cosine between the update and a family's own gradient: 1 if the update is just what this family wants, below 0 if it gets worse by it.)
#
# **Predict first:** what does clipping the *mean* change in these cosines?

# %%
parameters = list(trained.parameters())
rows = []
for x in EXAMPLES[:8]:
    one = features([x], trained.config)
    total = losses_per_example(trained(one, recycles=0), one, WEIGHTS)["total"].sum()
    gradients = torch.autograd.grad(total, parameters, materialize_grads=True, allow_unused=True)
    rows.append(torch.cat([g.flatten() for g in gradients]))
rows = torch.stack(rows)  # [8 families, all weights]
sizes = rows.norm(dim=1)


def clipped(g, limit):
    """The gradient [*, p], no longer than the limit."""
    return g * (limit / g.norm(dim=-1, keepdim=True)).clamp(max=1)


# %% tags=["nbval-ignore-output"]
limit = sizes.min().item() / 2
updates = {
    "the mean": rows.mean(0),
    "the mean, clipped": clipped(rows.mean(0), limit),
    "divided by 8, each clipped, added": clipped(rows / 8, limit).sum(0),
    "each clipped, then the mean": clipped(rows, limit).mean(0),
}
quiet, loud = sizes.argsort()[:4], sizes.argsort()[4:]
print(f"the longest gradient is {sizes.max() / sizes.min():.1f} times as long as the shortest")
print("                                     agrees with the 4 loud    with the 4 quiet")
cosines = {}
for name, update in updates.items():
    cosines[name] = F.cosine_similarity(rows, update[None], dim=1)
    print(f"{name:36s}       {cosines[name][loud].mean():.2f}", end="")
    print(f"                   {cosines[name][quiet].mean():.2f}")

# %%
mean, late, weak, each = cosines.values()
assert torch.allclose(mean, late, atol=1e-4)  # the length changes, the direction does not
assert each[quiet].mean() > mean[quiet].mean() + 0.03 and sizes.max() > 2 * sizes.min()
probe, sums = nn.Parameter(torch.zeros(rows.shape[1])), [torch.zeros(rows.shape[1])]
for row in rows:
    probe.grad = row.clone()
    clip_and_accumulate([probe], sums, limit)
assert torch.allclose(sums[0] / 8, updates["each clipped, then the mean"], atol=1e-4)
print("clipping each is what the package's training loop does: equal")

# %% [markdown]
# Clipping the mean shortens it, and does nothing about who has made it: the loud ones. Clipped one by one, all have the same say. The third line is a mistake from public code: with gradients added up over 128 backward passes, each already divided by 128, a limit of 0.1 acts like 12.8, which is none. (AlphaFold2's batch of 128 is one protein on each of 128 chips, so every chip clips its own.)
#
# By the way: a protein file with a blunder is *not* loud for FAPE. Since errors are not squared, the gradient of an error of 100 Å is no longer than that of an error of 1 Å (and 0, if clamped). A robust loss clips by itself.
#
# ### Exercise 3 · Clip each (easy)
#
# Write `my_mean_gradient(gradients, limit)`: rows are the gradients of k examples [k, p]. Shorten those that are longer than the limit, then average.


# %% nbgrader={"grade": false, "grade_id": "clip_each", "locked": false, "schema_version": 3, "solution": true, "task": false}
def my_mean_gradient(gradients, limit):
    """Mean [p] of the clipped gradients [k, p]."""
    ### BEGIN SOLUTION
    g = np.asarray(gradients, dtype=float)
    length = np.linalg.norm(g, axis=1, keepdims=True)
    return (g * np.minimum(1, limit / length)).mean(axis=0)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check-clip_each", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
minifold.check("clip_each", my_mean_gradient)

# %% [markdown]
# ### A moving average of the weights
#
# Every step is computed from a few proteins, so the weights stagger around the way down. For predictions one does not take the weights themselves, but their mean over the last steps: an *exponential moving average* ([EMA](../docs/glossary.md#moving-average)), which moves a little towards the weights after every step:
#
# $$\bar w \leftarrow 0.999\, \bar w + 0.001\, w.$$
#
# In the smallest world possible: a weight that should be 0 and gets a noisy gradient. **Predict first:** how much nearer to 0 is the average, at 0.99?

# %%
generator = torch.Generator().manual_seed(3)
w, average, path = torch.full((500,), 3.0), torch.full((500,), 3.0), []  # 500 trainings at once
for _ in range(600):
    gradient = w + 2 * torch.randn(500, generator=generator)  # slope of w²/2, and noise
    w = w - 0.1 * gradient
    average = 0.99 * average + 0.01 * w
    path.append(torch.stack([w[0], average[0]]))
print(f"distance from 0: weights {w.abs().mean():.2f}, their average {average.abs().mean():.2f}")
assert average.abs().mean() < 0.6 * w.abs().mean()
figure, ax = plt.subplots(figsize=(7, 2.4))
ax.plot(torch.stack(path)[:, 0], linewidth=0.8, color=style.tint(style.BLUE, 0.6), label="weight")
ax.plot(torch.stack(path)[:, 1], color=style.ORANGE, label="moving average")
ax.axhline(0, color=style.INK, linewidth=0.8, linestyle=":")
ax.set(xlabel="step", ylabel="weight")
ax.legend(fontsize=9)
plt.show()

# %% [markdown]
# One could also make the steps smaller towards the end; AlphaFold2 hardly does, and has the average instead. (At first the average lags behind. minifold begins with a short memory and lengthens it.) Adam, warm-up, clipping per example, moving average: that is all of `minifold/training/loop.py` that is not book-keeping.
#
# ## 6 · Memory
#
# To compute gradients, PyTorch keeps what every layer has computed on the way forward (the [*activations*](../docs/glossary.md#activation)) until the way back. In a stack of 48 blocks over tables of $N \times N$ cells, this is what fills the machine. We can count it: PyTorch lets us watch every tensor that it puts aside.


# %%
def kept_bytes(compute):
    """Bytes that are kept for the way back; a tensor that is kept twice counts once."""
    kept = {}

    def look(x):
        storage = x.untyped_storage()
        kept[storage._cdata] = storage.nbytes()
        return x.detach()  # the same numbers; x itself would hold on to its own history

    with torch.autograd.graph.saved_tensors_hooks(look, lambda x: x):
        result = compute()
    return sum(kept.values()), result


# %% [markdown]
# **How much would AlphaFold2 need?** In its first training: crops of 256 residues, 128 sequences, 16-bit numbers. We need not compute anything for that. On PyTorch's device "meta", tensors have a shape and no numbers. We send one full-size Evoformer block through it and count.

# %%
BIG = minifold.Config(msa_dropout=0.0, pair_dropout=0.0)
half = {"device": "meta", "dtype": torch.bfloat16}
with torch.device("meta"):
    block = EvoformerStack(BIG, 1).to(torch.bfloat16)
set_attention(block, "clear")
m = torch.zeros(1, 128, 256, BIG.c_m, requires_grad=True, **half)
z = torch.zeros(1, 256, 256, BIG.c_z, requires_grad=True, **half)
masks = torch.ones(1, 128, 256, **half), torch.ones(1, 256, 256, **half)
size, _ = kept_bytes(lambda: block(m, z, *masks))
doors = 2 * (m.numel() + z.numel())
print(f"one block keeps {size / 1e9:.1f} GB; 48 blocks {48 * size / 1e9:.0f} GB (a chip had 16)")
print(f"m and z themselves: {doors / 1e9:.3f} GB; between 48 blocks {48 * doors / 1e9:.1f} GB")
assert round(48 * 4 * 384**3 * 2 / 2**30, 1) == 20.2  # see below
print(f"so: {48 * doors / 1e9:.1f} GB, and one block at a time: {(48 * doors + size) / 1e9:.1f} GB")

# %% [markdown]
# (Attention weights and all, as our plain code computes it. How much is kept depends on how a layer is written. Often one reads of 20 GB: that is what the scores of a *single* layer, triangle attention with 4 heads, take in 48 blocks at the later crop of 384 residues: $48 \cdot 4 \cdot 384^3$ numbers of 2 bytes are 20.2 · 2³⁰ bytes.) The last line is the trick, [*activation checkpointing*](../docs/glossary.md#activation-checkpointing): **forget** what happened inside a block, keep only its input, and
# when the way back arrives, **compute the block once more**. Pay with time, get memory.
#
# From scratch, it is a function with its own rule for the way back:


# %%
class Forgetful(torch.autograd.Function):
    """Computes f(m, z) without keeping anything but m and z."""

    @staticmethod
    def forward(ctx, f, m, z):
        ctx.f = f
        ctx.save_for_backward(m, z)
        return f(m, z)  # inside forward, PyTorch keeps nothing

    @staticmethod
    def backward(ctx, *gradients):
        inputs = [x.detach().requires_grad_() for x in ctx.saved_tensors]
        with torch.enable_grad():
            outputs = ctx.f(*inputs)  # once more, and this time with memory
        torch.autograd.backward(outputs, gradients)
        return None, *(x.grad for x in inputs)


# %%
ONES = torch.ones(1, 24, 32), torch.ones(1, 32, 32)


def forward(stack, forget):
    """Some number that depends on all that the blocks compute, with or without keeping it."""
    generator = torch.Generator().manual_seed(0)
    m = torch.randn(1, 24, 32, 32, generator=generator).requires_grad_()
    z = torch.randn(1, 32, 32, 32, generator=generator).requires_grad_()
    for block in stack.blocks:

        def f(m, z, block=block):
            return block(m, z, *ONES)

        m, z = Forgetful.apply(f, m, z) if forget else f(m, z)
    return m.square().mean() + z.square().mean()


# %%
def passes(stack, forget):
    """Bytes kept on the way forward, gradients, and seconds there and back."""
    size, _ = kept_bytes(lambda: forward(stack, forget))
    took = []
    for _ in range(3):
        stack.zero_grad()
        began = time.process_time()
        forward(stack, forget).backward()
        took.append(time.process_time() - began)
    return size, [p.grad for p in stack.parameters()], min(took)


# %%
depths, memory, seconds = (1, 2, 4, 8), {}, {}
for forget in (False, True):
    runs = []
    for blocks in depths:
        torch.manual_seed(0)
        stack = EvoformerStack(NANO, blocks)
        set_attention(stack, "clear")
        runs.append(passes(stack, forget))
    memory[forget] = [run[0] / 1e6 for run in runs]
    seconds[forget] = runs[-1][2]
    if forget:
        assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(runs[-1][1], remembered))
    remembered = runs[-1][1]
print("the same gradients")
stack.checkpointing = True  # the package's switch
m, z = torch.randn(1, 24, 32, 32), torch.randn(1, 32, 32, 32)
size, _ = kept_bytes(lambda: stack(m.requires_grad_(), z.requires_grad_(), *ONES))
print(f"8 blocks: {memory[False][-1]:.0f} MB, forgetful {memory[True][-1]:.1f} MB", end=", ")
print(f"with the package's checkpointing {size / 1e6:.1f} MB")
assert memory[True][-1] < memory[False][-1] / 20

# %% tags=["nbval-ignore-output"]
figure, ax = plt.subplots(figsize=(7, 2.8))
for forget, name in ((False, "everything is kept"), (True, "forgetful")):
    ax.plot(depths, memory[forget], "o-", label=name)
ax.set(xlabel="blocks", ylabel="kept for the way back (MB)")
ax.set_xticks(depths)
ax.legend()
plt.show()
print(f"price: {seconds[True] / seconds[False]:.2f} times the seconds (on this machine, just now)")

# %% [markdown]
# Nothing is free: every block is computed twice on the way forward and once on the way back, which costs two to three times as much as forward. So in theory a third more time, for a few hundredths of the memory. That is the bargain that made AlphaFold2's training possible.
#
# ### Half the bits
#
# The other way to save memory is to write numbers with fewer digits. A float32 has 32 bits: 8 for the size (exponent), 23 for the digits. There are two ways to halve it. **Predict first:** which one is better for training?

# %%
print("                    float32      float16     bfloat16")
for name, value in (("a gradient", 1e-8), ("a distance²", 9e4), ("a coordinate", 12.345)):
    kinds = [
        torch.tensor(value).to(k).item() for k in (torch.float32, torch.float16, torch.bfloat16)
    ]
    print(f"{name:14s} {value:g} " + "".join(f"{x:13.5g}" for x in kinds))

# %% [markdown]
# float16 keeps more digits, but small gradients become 0 and large numbers infinite. [*bfloat16*](../docs/glossary.md#bfloat16) keeps the *range* of float32 and gives up digits: 12.345 Å becomes 12.375 Å. For the thoughts of an Evoformer that is good enough. For coordinates it is not, so the structure module stays in float32, in AlphaFold2 and here. In PyTorch:

# %%
torch.manual_seed(1)
model = Reader(NANO)
some = features(EXAMPLES[:2], NANO)
target = ground_truth(some.aatype, some.all_atom_positions, some.all_atom_mask)


def trunk_loss(bf16):
    """Distogram loss of two families."""
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        logits, _ = model(some)
    return losses.distogram_loss(logits, target.pseudo_beta, target.pseudo_beta_mask).mean()


# %% tags=["nbval-ignore-output"]
with torch.no_grad():  # fresh weights answer 0: give them something to say
    for p in model.parameters():
        p.add_(0.1 * torch.randn_like(p))
full, a = kept_bytes(lambda: trunk_loss(False))
a = a.item()  # lets go of the memory
short, b = kept_bytes(lambda: trunk_loss(True))
b = b.item()
print(f"kept: {short / full:.0%} of the bytes; loss {a:.2f} and {b:.2f}")
assert 0.4 < short / full < 0.9 and abs(a - b) < 0.05 * a

# %% tags=["nbval-ignore-output"]
took = {False: [], True: []}
for bf16 in (False, True, False, True, False, True):
    began = time.process_time()
    trunk_loss(bf16).backward()
    took[bf16].append(time.process_time() - began)
took = {bf16: min(seconds) for bf16, seconds in took.items()}
print(
    f"bfloat16 takes {took[True] / took[False]:.2f} times the seconds (on this machine, just now)"
)

# %% [markdown]
# Not everything becomes half as large: sums, softmax and normalisations stay in float32. And whether it is faster depends on the machine. TPUs and GPUs have units for it; a processor without them gains little or nothing.
#
# ## 7 · A real training
#
# All pieces are there. We train a small AlphaFold2 from scratch, here and now, and ask it about families it has never seen. For the structure module there is no time (section 8), so our model ends after the Evoformer: preset `nano`, two blocks, distogram and hidden letters. 256 toy families of 32 residues with 32 sequences each, four at a time, 140 steps, a quarter of a minute.
#
# One thing is not AlphaFold2's. There, the last matrix of every layer starts at 0, which is kind to deep networks, and slow: the outer product mean cannot learn before the head listens, and the head has nothing to listen to before the outer product mean speaks. Our two outer products start with random numbers instead; in our trials that never hurt, and for some seeds it saved half of the steps. (Try it: leave out the loop in `fresh`. `minifold train --data toy` begins in the same way: [DEVIATIONS.md](../DEVIATIONS.md), D39.)
#
# ### What must it be compared with?
#
# A contact precision of 0.6 on new families sounds good. Is it? We need rivals:
#
# - **DCA** of the very same alignments: classical statistics, no learning ([lesson 03](03_msa_and_coevolution.ipynb));
# - the same model, shown alignments with **shuffled columns**, or the **query only**: does it *use* covariation?
# - a **twin trained on shuffled columns**: what can be learned without covariation? (A model that was trained on real alignments is confused by shuffled ones, so testing alone flatters. Give the control the same chance.)
# - random pairs.
#
# **Predict first:** order them. Does a quarter of a minute beat DCA?

# %%
FAMILIES = ToyWorld(length=32, depth=32, seed=0, block=64).sample(256)
TRAINING = [Example(FAMILIES.chain(k), FAMILIES.alignment(k)) for k in range(256)]
unseen = ToyWorld(length=32, depth=32, seed=HELD_OUT, block=48).sample(48)
UNSEEN = [Example(unseen.chain(k), unseen.alignment(k)) for k in range(48)]


@torch.no_grad()
def precision(model, examples):
    """Contact precision of each family."""
    found = []
    for start in range(0, len(examples), 16):
        some = examples[start : start + 16]
        logits, _ = model(features(some, NANO, masked=0.0))
        tables = heads.contact_probability(logits).numpy()
        found += [precision_of(table, x.chain) for table, x in zip(tables, some)]
    return np.array(found)


# %%
def fresh(seed=0):
    """A model whose outer products have something to say from the beginning."""
    torch.manual_seed(seed)
    model = Reader(NANO)
    for block in model.trunk.evoformer.stack.blocks:
        nn.init.normal_(block.outer_product.output.weight)
    return model


def reading_loss(model, batch):
    """Distogram and hidden letters, for each family."""
    truth = ground_truth(batch.aatype, batch.all_atom_positions, batch.all_atom_mask)
    distogram, letters = model(batch)
    return losses.distogram_loss(
        distogram, truth.pseudo_beta, truth.pseudo_beta_mask
    ) + 0.1 * losses.masked_msa_loss(letters, batch.true_msa, batch.bert_mask)


# %%
def train(examples, steps=140, rate=5e-3, seed=0):
    """The model, its moving average, and what was measured on the way."""
    model, rng, log = fresh(seed), np.random.default_rng(seed), []
    average, parameters = copy.deepcopy(model), list(model.parameters())
    optimizer = torch.optim.Adam(parameters, eps=1e-6)
    for step in range(steps):
        cosine = 0.5 * (1 + math.cos(math.pi * step / steps))
        optimizer.param_groups[0]["lr"] = rate * cosine * min(1, (step + 1) / 10)
        batch = features([examples[k] for k in rng.integers(256, size=4)], NANO, 1000 * step)
        loss = reading_loss(model, batch).mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)  # all four together: quicker
        optimizer.step()
        decay = min(0.96, (1 + step) / (10 + step))
        with torch.no_grad():
            torch._foreach_lerp_(list(average.parameters()), parameters, 1 - decay)
        log.append((loss.item(), precision(average, UNSEEN[:16]).mean() if step % 20 == 19 else 0))
    return model, average, np.array(log)


# %%
raw, model, log = train(TRAINING)
_, twin, twin_log = train([hide(x, "shuffled", k) for k, x in enumerate(TRAINING)])

# %%
blind = {way: [hide(x, way, k) for k, x in enumerate(UNSEEN)] for way in ("shuffled", "query")}
rng = np.random.default_rng(0)
contacts = {
    "trained here": precision(model, UNSEEN),
    "  without the moving average": precision(raw, UNSEEN),
    "DCA, same alignments": [
        precision_of(baselines.direct_coupling(x.alignment.tokens), x.chain) for x in UNSEEN
    ],
    "twin trained on shuffled columns": precision(twin, blind["shuffled"]),
    "trained here, columns shuffled": precision(model, blind["shuffled"]),
    "trained here, query only": precision(model, blind["query"]),
    "untrained": precision(fresh(1), UNSEEN),
    "random pairs": [precision_of(rng.random((32, 32)), x.chain) for x in UNSEEN],
}
contacts = {name: np.array(x) for name, x in contacts.items()}

# %% tags=["nbval-ignore-output"]
print("contact precision (best L/2, at least 6 apart), 48 unseen families, ± standard error")
for name, x in contacts.items():
    print(f"   {name:33s} {x.mean():.2f} ± {x.std() / 48**0.5:.2f}")

# %%
ours, controls = contacts.pop("trained here"), dict(contacts)
controls.pop("  without the moving average")
ahead = {name: ours.mean() - x.mean() for name, x in controls.items()}
assert min(ahead.values()) > 0.1, ahead
assert min(gap for name, gap in ahead.items() if "DCA" not in name) > 0.25, ahead
print("ahead of DCA by more than 0.1, of everything else by more than 0.25: True")

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(8.5, 3.0))
measured_at = np.arange(20, 141, 20)
for (name, curve), color, dash in zip(
    {"real alignments": log, "columns shuffled": twin_log}.items(), style.CYCLE, ("-", "--")
):
    smooth = np.convolve(curve[:, 0], np.ones(10) / 10, mode="valid")
    left.plot(np.arange(10, 141), smooth, color=color, linestyle=dash, label=name)
    right.plot(measured_at, curve[19::20, 1], "o", color=color, linestyle=dash)
for name, color in (("DCA, same alignments", style.INK), ("random pairs", style.GREY)):
    right.axhline(contacts[name].mean(), color=color, linestyle=":", linewidth=1.3)
    right.text(
        95,
        contacts[name].mean() + (0.02 if color == style.INK else -0.07),
        name.split(",")[0],
        fontsize=9,
    )
left.set(xlabel="step", ylabel="loss (mean of 10 steps)", title="training families")
right.set(xlabel="step", ylabel="contact precision", ylim=(0, 1), title="16 unseen families")
left.legend(fontsize=9)
plt.show()

# %% [markdown]
# A quarter of a minute is enough to read alignments better than a method that took decades to invent, and without having been told what a covariance is. (To be fair: DCA must work for every protein of this planet; our model only for this toy world, which it has seen 256 families of.) At first nothing happens, for dozens of steps, and then the contacts
# come quickly. The loss alone hardly tells: the twin's falls, too. It learns the habits of chains (section 2), and not one contact more. (The moving average brings nothing here, because our rate falls to 0 by itself.)
#
# What was *not* shown: this is one training with one seed. In other seeds the contacts come some steps earlier or later (try `train(TRAINING, seed=1)`). Whether a difference between two trainings means anything, only several seeds can tell ([lesson 13](13_ablations.ipynb)).
#
# ## 8 · From contacts to a structure
#
# Knowing who touches whom is not knowing where everybody is. The structure module has to learn what FAPE asks for: bonds, helices, their hand, and how to turn a table of distances into places. That takes minutes, not seconds. So we begin in the middle: [toy-nano](../weights/toy-nano.md) is the same small model with its structure module, trained for much longer with
# the losses of this lesson, in another mixture; `toy-nano-early` is the same training, interrupted after six of its 46 minutes. We train that one on, for some seconds, with every loss and a learning rate that falls to 0.
#
# minifold's small models have some help here: before the first layer of the structure module, plain geometry lays the chain where the distogram and the predicted torsions put it ([DEVIATIONS.md](../DEVIATIONS.md), D27). AlphaFold2 starts with all residues in one point and learns this, too.

# %%
MIXTURE = replace(TOY.loss, fape_backbone=2.0, distogram=3.0, masked_msa=0.1)  # as for toy-nano
for name in ("fape_backbone", "fape_sidechain", "chi", "distogram", "masked_msa", "plddt"):
    print(
        f"{name:15s} AlphaFold2 {getattr(WEIGHTS, name):5g}   toy-nano {getattr(MIXTURE, name):5g}"
    )
only_ours = ("smooth_lddt", "fape_local", "start_torsions")
print("only in small models:", {name: getattr(MIXTURE, name) for name in only_ours})


# %%
def go_on(model, steps=40, rate=3e-4):
    """A few more steps with all losses, on the families of section 7."""
    model, rng = copy.deepcopy(model).train(), np.random.default_rng(0)
    parameters = list(model.parameters())
    optimizer = torch.optim.Adam(parameters, eps=1e-6)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = rate * 0.5 * (1 + math.cos(math.pi * step / steps))
        some = [TRAINING[k] for k in rng.integers(256, size=4)]
        batch = features(some, model.config, 1000 * step)
        loss = losses.loss(model(batch, recycles=0), batch, MIXTURE)["total"]
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
    return model.eval()


early = minifold.load("toy-nano-early").eval()
later = go_on(early)

# %% [markdown]
# A score by itself says nothing. We ask all three for the structures of our 24 families, which none of them has seen, and set *all* the floors beside them: toy-nano with less to read; an untrained model; a straight helix; a random walk as compact as a protein; and an oracle that picks, from the 256 toy proteins of section 7, the one most like the truth.
#
# **Predict first:** which floor is the highest? Is the interrupted model above it, and what do some seconds more bring?

# %%
folds = [FAMILIES.positions[k, :, CA].numpy() for k in range(256)]
table, _ = compare(trained, EXAMPLES, folds)
table = {
    "toy-nano-early": family_scores(early, EXAMPLES),
    "... trained on, here": family_scores(later, EXAMPLES),
    "toy-nano": table.pop("model"),
    **table,
}
table["nearest of 256 other folds"] = table.pop("nearest training fold")
table["DCA, same alignments"] = table.pop("direct couplings")
table = {name: summary(row) for name, row in table.items()}
COLUMNS = ("precision", "lddt_ca", "lddt_long", "rmsd_ca", "mirrored")

# %% tags=["nbval-ignore-output"]
print(" " * 28 + "".join(f"{name:>11}" for name in COLUMNS))
for name, row in table.items():
    cells = (f"{row[key]:11.2f}" if key in row else f"{'–':>11}" for key in COLUMNS)
    print(f"{name:28s}" + "".join(cells))

# %%
ours = ("toy-nano-early", "... trained on, here", "toy-nano")
before, model_row, best = (table[name] for name in ours)
floors = {name: row for name, row in table.items() if name not in ours}
assert model_row["precision"] > max(x.get("precision", 0) for x in floors.values()) + 0.1
blind_floors = [v for k, v in floors.items() if "nearest" not in k and "lddt_ca" in v]
for key, margin in (("lddt_ca", 0.1), ("lddt_long", 0.1)):
    assert model_row[key] > max(x[key] for x in blind_floors) + margin
assert model_row["rmsd_ca"] < min(x["rmsd_ca"] for x in blind_floors) - 1
print("above all floors that do not know the answer: contacts, lDDT, long-range lDDT, RMSD")
for key in ("lddt_ca", "lddt_long"):
    assert before[key] < model_row[key] < best[key]

# %% [markdown]
# (`lddt_long`: pairs at least 6 apart along the chain, so without what every helix has for free. `rmsd_ca`: the median, in Å. `mirrored`: share of predictions that are nearer to the mirror image, see lesson 08; for something that knows nothing it is a half.)
#
# Look at the floors before you look at the model. lDDT-Cα below about 0.4 means nothing here. There are public results whose RMSD on unseen proteins looks fine until one sees what a random walk has for proteins of that size. The oracle is not a fair rival, it knows the answer; but a model that is below it might just as well recite what it has seen. And look down the column `mirrored`: handedness comes late.
#
# ## 9 · Does it know how wrong it is?
#
# On a new protein nobody gives us the truth. All we have is the network's own word, the [pLDDT](../docs/glossary.md#plddt). Is it worth anything? Two questions, and they are different:
#
# - **Ranking.** Are residues with a higher pLDDT better? Measured by [*Spearman's correlation*](../docs/glossary.md#spearman-correlation): the correlation of the ranks, 1 if the order is right.
# - [**Calibration**](../docs/glossary.md#calibration). Where it says 0.7, is it 0.7? Sort all residues by pLDDT into ten bins (0 to 0.1, 0.1 to 0.2, ...; exactly 1 goes into the last); in each, compare the mean pLDDT with the mean true lDDT; average the absolute differences, each bin counting by its number of residues. This is the *expected calibration error*.
#
# ### Exercise 4 · Calibration error (needs a thought)
#
# Write `my_calibration_error(predicted, true)` for two lists of numbers between 0 and 1. (Empty bins do not count.)


# %% nbgrader={"grade": false, "grade_id": "calibration", "locked": false, "schema_version": 3, "solution": true, "task": false}
def my_calibration_error(predicted, true):
    """Expected calibration error over ten bins."""
    ### BEGIN SOLUTION
    predicted, true = np.asarray(predicted, dtype=float), np.asarray(true, dtype=float)
    which = np.minimum((10 * predicted).astype(int), 9)
    error = 0.0
    for k in np.unique(which):
        here = which == k
        error += here.mean() * abs(predicted[here].mean() - true[here].mean())
    return error
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check-calibration", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
minifold.check("calibration", my_calibration_error)

# %% [markdown]
# Now toy-nano, on 48 families that it has not seen: 24 with all their sequences, and the same 24 with 4 sequences only, which makes them hard. **Predict first:** does it notice that it knows less?


# %%
@torch.no_grad()
def confidence(examples):
    """pLDDT and true lDDT of every residue, [family, residue], both 0 to 1."""
    batch = features(examples, trained.config, masked=0.0)
    output = trained(batch, **PASSES)
    true = batch.all_atom_positions[:, :, CA]
    score = lddt_per_point(output.positions[:, :, CA], true, batch.seq_mask)
    return heads.plddt_from_logits(output.plddt_logits).numpy() / 100, score.numpy()


def spearman(a, b):
    """Correlation of the ranks."""
    ranks = [np.argsort(np.argsort(x.ravel())) for x in (a, b)]
    return np.corrcoef(*ranks)[0, 1]


# %%
shallow = [Example(x.chain, x.alignment.take(np.arange(4))) for x in EXAMPLES]
said = {"64 sequences": confidence(EXAMPLES), "4 sequences": confidence(shallow)}
both = [np.concatenate([x[k] for x in said.values()]) for k in (0, 1)]  # [48, 32] each
said["together"] = both
rng = np.random.default_rng(0)
picks = rng.integers(48, size=(200, 48))  # the 48 families, drawn 200 times with replacement
again = [my_calibration_error(both[0][p].ravel(), both[1][p].ravel()) for p in picks]
order = [spearman(both[0][p], both[1][p]) for p in picks]

# %% tags=["nbval-ignore-output"]
print("               pLDDT   true lDDT   calibration error   Spearman")
for name, (p, t) in said.items():
    error = my_calibration_error(p.ravel(), t.ravel())
    print(f"{name:14s}  {p.mean():.2f}     {t.mean():.2f}          {error:.3f}", end="")
    print(f"             {spearman(p, t):.2f}")
print(f"together, ± standard error: {np.mean(again):.3f} ± {np.std(again):.3f}", end=", ")
print(f"Spearman {np.mean(order):.2f} ± {np.std(order):.2f}")

# %%
p, t = (x.ravel() for x in both)
which = np.minimum((10 * p).astype(int), 9)
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), width_ratios=(1, 1.3))
left.plot([0, 1], [0, 1], ":", color=style.INK, linewidth=1)
for k in np.unique(which):
    rows = [(which.reshape(48, 32)[f] == k) for f in range(48)]
    means = [both[1][f][r].mean() for f, r in enumerate(rows) if r.any()]
    spread = np.std(means) / len(means) ** 0.5
    left.errorbar(
        p[which == k].mean(), t[which == k].mean(), spread, fmt="o", color=style.BLUE, capsize=3
    )
left.set(xlabel="pLDDT", ylabel="true lDDT", title="calibration", xlim=(0, 1), ylim=(0, 1))
for name, marker in (("64 sequences", "o"), ("4 sequences", "s")):
    x, y = (v.mean(1) for v in said[name])
    right.plot(x, y, marker, label=name, markersize=5, alpha=0.8)
right.plot([0, 1], [0, 1], ":", color=style.INK, linewidth=1)
right.set(xlabel="mean pLDDT of a protein", title="48 predictions", xlim=(0.2, 1), ylim=(0.2, 1))
right.legend(fontsize=9)
plt.show()

# %%
ranked, wrong = spearman(*both), my_calibration_error(p, t)
constant = my_calibration_error(np.full(len(p), t.mean()), t)
assert ranked > 0.5 and wrong < 0.1 and constant < 1e-6
assert said["4 sequences"][0].mean() < said["64 sequences"][0].mean() - 0.1
print("with 4 sequences it is less sure, and it is right to be")
print(f"who always says the average: calibration error {constant:.2f}, and no ranking at all")

# %% [markdown]
# It notices. (Dots on the left: all residues in a bin, bars: standard error over families; dots on the right: whole predictions.) The last line is a warning: to be calibrated is easy, just always say the average. Only both together, calibration *and* ranking, make a useful confidence.
#
# And both hold for proteins *like those it was trained on*. On natural proteins toy-nano's pLDDT has never been put to the test of truth, and should not be believed. That holds for every confidence of every network: it is itself only a prediction.
#
# ## Quiz
#
# <details><summary>1. A fresh distogram head has a loss of 4.16, and after a day of training 3.5. Has it learned to read alignments?</summary>
#
# Not necessarily. That much can be had from the distance along the chain alone (section 2). Compare with a guesser that knows nothing else, or with shuffled columns.
# </details>
#
# <details><summary>2. Why is the pLDDT loss computed on positions whose gradient is cut off?</summary>
#
# Otherwise the network could lower it by making structures whose quality is easy to guess, for example uniformly bad ones.
# </details>
#
# <details><summary>3. You train with violations alone. What do you get?</summary>
#
# A chemically spotless chain in any shape whatever. They know nothing of the truth.
# </details>
#
# <details><summary>4. You accumulate gradients over 16 proteins, divide by 16 and clip at 0.1. What was the limit for a single protein that is alone in being loud?</summary>
#
# 1.6: its share of the sum may be 16 times as long. Clip each protein's gradient first, then average.
# </details>
#
# <details><summary>5. Why is float16 worse for gradients than bfloat16, although it has more digits?</summary>
#
# Its smallest number is about 6·10⁻⁸. Smaller gradients become 0. bfloat16 has the range of float32. (With float16 one multiplies the loss by a large number first.)
# </details>
#
# <details><summary>6. Checkpointing with one checkpoint every 4 blocks instead of every block: more or less memory? More or less time?</summary>
#
# Fewer inputs are kept, but when the way back arrives, four blocks' activations are alive at once. Time stays the same: everything is computed once more. (The best number of checkpoints grows with the root of the number of blocks.)
# </details>
#
# ## In the paper
#
# AlphaFold2 (Jumper et al., *Nature* 596, 583, 2021), supplementary information:
#
# - The sum of all losses: section 1.9, equation 7. Torsions: section 1.9.1, Algorithm 27. FAPE: 1.9.2, Algorithm 28; the auxiliary loss of the layers: Algorithm 20, lines 17 to 23.
# - pLDDT: 1.9.6, Algorithm 29. Aligned error and pTM (a further head, only in the "ptm" models): 1.9.7. Distogram: 1.9.8. Masked MSA: 1.9.9 and 1.2.7. Experimentally resolved: 1.9.10. Violations: 1.9.11.
# - Training protocol: section 1.11; stages: 1.11.1 and Table 4; rate, clipping: 1.11.3; clamp off for 10 %: 1.11.5; moving average: 1.11.7; memory: 1.11.8.
# - Adam: Kingma and Ba (2015). BERT: Devlin et al. (2019). Pseudo-likelihood DCA: Ekeberg et al. (2013). Checkpointing: Chen et al. (2016).
#
# ## In real AlphaFold2
#
# | | here | AlphaFold2 |
# |---|---|---|
# | weights: FAPE (layers, all atoms) | section 7: none; toy-nano: section 8 | 0.5, 0.5 |
# | torsions: χ, length | toy-nano: the same | 0.5, 0.01 |
# | distogram, masked MSA | section 7: 1, 0.1; toy-nano: section 8 | 0.3, 2 |
# | pLDDT, resolved, violations | toy-nano: section 8; violations 0 | 0.01, 0.01 (fine-tuning), 1 (fine-tuning) |
# | also | toy-nano: a smooth lDDT, FAPE of neighbours, torsions of the start | the sum times √(number of residues) |
# | batch | 4 | 128 |
# | learning rate, warm-up | 0.005, 10 steps; then a cosine down to 0 | 0.001, 1000 steps; × 0.95 after 50,000 |
# | clipping | 1, the whole batch (section 7) | 0.1, each example |
# | moving average | 0.96 | 0.999 |
# | precision | float32 (section 7) | bfloat16, structure module in float32 |
# | proteins | 256 toy families | about 10 million examples, a quarter from the PDB, three quarters predicted by itself ([lesson 11](11_self_distillation.ipynb)) |
# | crop, sequences | 32 residues, 32 | 256, 128; fine-tuning 384, 512 |
# | time | a quarter of a minute, one core | about 7 days, then 4 days of fine-tuning, on 128 TPUv3 cores |
#
# ## What next
#
# A quarter of AlphaFold2's training examples are known structures. Where do the other three quarters come from? From AlphaFold2 itself. [Lesson 11](11_self_distillation.ipynb) shows in miniature how a student can become better than its teacher.
#
# <details><summary>Review: every claim of this lesson, and where it is shown</summary>
#
# | claim | where |
# |---|---|
# | FAPE is the main loss; with or without side chains; sees stereoisomers | lesson 08; 3: "each loss alone" |
# | the loss is a weighted sum of FAPE and auxiliary losses | 1: drawing, the sum for an untrained network |
# | auxiliary loss from the structure module | 3: after every layer, mean equal to the package's; torsions, asserted equal |
# | distances are predicted as distributions; errors are an auxiliary loss | 2: asserted equal; two distances, number against logits; ladder of guessers |
# | letters are masked or mutated and have to be predicted, as in BERT | 2: asserted equal; ladder; contacts from hidden letters alone, with shuffled columns |
# | confidence in the predicted coordinates is a loss, too | 2: asserted equal, no gradient into the structure; 9: calibration and ranking |
# | a head predicts whether a structure was determined experimentally, or accurately | **not so**: 2: it predicts for each atom whether the experiment saw it; the resolution only decides which structures teach it |
# | violations: bonds, angles, clashes, even without a true structure | 3: asserted equal; alone they heal violations and not the fold; exercise 1 |
# | trained for about a week, fine-tuned for four days | by citation; 7: in miniature |
# | 20 GB needed, 16 GB there: forget activations and compute them again | 6: one full-size block counted; where 20 GB come from; from scratch, the same gradients; MB and seconds measured |
# | memory is bought with operations | 6: time ratio |
# | the model learns from co-evolution | 7: DCA, shuffled columns, query, a twin trained on shuffled columns; 8: all floors |
#
# </details>
