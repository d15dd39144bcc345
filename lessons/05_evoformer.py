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
# # 05 · The Evoformer: from columns to pairs, and back
#
# > *An alignment is a list of sequences. A fold is a table: who is near whom. Somewhere inside AlphaFold2 the list must
# > become a table. Where, exactly? And how does the table help to read the list?*
#
# **Time:** about 75 minutes of reading and trying, 40 more for the exercises.
#
# **You need:** [lesson 03](03_msa_and_coevolution.ipynb) (co-evolution, the toy world) and
# [lesson 04](04_axial_msa_attention.ipynb) (row and column attention, the pair bias).
#
# **Afterwards you can**
# - show that AlphaFold2's outer product mean is a covariance, and find contacts with nothing else;
# - write the outer product mean and the whole Evoformer block, and show that both equal the package's;
# - say what 48 blocks cost, and why the extra sequences have a stack of their own;
# - watch a trained Evoformer draw a contact map, layer by layer, and cut its wires to see which one matters.
#
# New words are *set like this* at first use and collected in the [glossary](../docs/glossary.md).

# %%
import copy

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

import minifold
from minifold.config import Config
from minifold.data.features import collate, make_batch
from minifold.data.residues import RESTYPES
from minifold.data.toyworld import ToyWorld

# %%
from minifold.look import plots, record, style
from minifold.model.embed import InputEmbedder
from minifold.model.evoformer import EvoformerBlock
from minifold.model.heads import contact_probability
from minifold.model.msa_stack import MSAColumnAttention, OuterProductMean
from minifold.model.primitives import set_attention
from minifold.training import baselines
from minifold.training.controls import hide
from minifold.training.sources import Example, precision_of
from minifold.training.toy import HELD_OUT

# %%
style.use()
torch.set_num_threads(1)  # our matrices are small: one thread is fastest

# %% [markdown]
# ## 1 · A list and a table
#
# AlphaFold2 keeps two records. One is the [*MSA representation*](../docs/glossary.md#msa-representation) $m_{si}$ of lesson
# 04: a vector for each residue $i$ of each sequence $s$. The other is the
# [*pair representation*](../docs/glossary.md#pair-representation) $z_{ij}$: a vector for each *pair* of residues, a table
# of $N \times N$ cells. What stands in $z_{ij}$ is what the network believes about the two: how far
# apart, touching or not, one above the other in a sheet ... In the end the distances are read off it.
#
# A cell of $z$ belongs to *two columns* of $m$:

# %%
S, N, i, j = 6, 9, 2, 6


def draw_grids(ax):
    """m with two columns, z with one cell marked."""
    for s in range(S):
        for k in range(N):
            face = {i: style.tint(style.ORANGE, 0.6), j: style.tint(style.BLUE, 0.6)}.get(
                k, "white"
            )
            place = (0.5 + 0.32 * k, 2.6 - 0.32 * s)
            ax.add_patch(plt.Rectangle(place, 0.29, 0.29, facecolor=face, edgecolor=style.GREY))
    for a in range(N):
        for b in range(N):
            face = style.GREEN if (a, b) == (i, j) else "white"
            face = style.tint(style.ORANGE, 0.3) if a == i and b != j else face
            face = style.tint(style.BLUE, 0.3) if b == j and a != i else face
            place = (5.6 + 0.29 * b, 2.8 - 0.29 * a)
            ax.add_patch(plt.Rectangle(place, 0.26, 0.26, facecolor=face, edgecolor=style.GREY))


# %%
figure, ax = style.canvas(8.8, 3.4)
draw_grids(ax)
for x, y, words in ((0.5 + 0.32 * i, 2.98, "$i$"), (0.5 + 0.32 * j, 2.98, "$j$")):
    ax.text(x + 0.14, y, words, ha="center")
ax.text(5.6 + 0.29 * j + 0.13, 3.14, "$j$", ha="center")
ax.text(5.45, 2.8 - 0.29 * i + 0.13, "$i$", ha="center", va="center")
ax.text(0.4, 1.8, "sequences", rotation=90, ha="right", va="center", fontsize=10)
ax.text(1.92, 0.15, "m: the list", ha="center", weight="bold")
ax.text(6.9, 0.15, "z: the table", ha="center", weight="bold")
ax.text(4.4, 2.25, "columns $i$ and $j$\nspeak about\nthe cell $ij$", ha="center", fontsize=10)
style.arrow(ax, (3.6, 1.9), (5.2, 1.9))
style.arrow(ax, (5.2, 1.2), (3.6, 1.2), color=style.PURPLE)
ax.text(
    4.4, 0.8, "pair bias\n(lesson 04)", ha="center", fontsize=10, color=style.PURPLE, va="center"
)
plt.show()

# %% [markdown]
# The arrow from right to left is the pair bias of lesson 04. This lesson builds the other one.
#
# ### What stands in the table at the beginning?
#
# Very little. Three things are added up: a vector for the amino acid at $i$, one for the amino acid at $j$, and one for
# how far apart they are along the chain ([*relative position*](../docs/glossary.md#relative-position), cut off at ±32):
#
# $$z_{ij} = a_i + b_j + p_{\,\mathrm{clip}(i - j,\ \pm 32)}.$$


# %%
def first_pairs(target, index, layer):
    """Algorithm 3, lines 1 to 3, and Algorithm 4: z [i, j, c]."""
    a = target @ layer.left.weight.T + layer.left.bias
    b = target @ layer.right.weight.T + layer.right.bias
    offset = (index[:, None] - index[None, :]).clamp(-32, 32) + 32  # 0 to 64
    p = layer.relative_position.linear
    return a[:, None] + b[None, :] + p.weight.T[offset] + p.bias


torch.manual_seed(0)
config = Config(c_m=32, c_z=16, msa_heads=4, c_outer=8, msa_dropout=0.0, pair_dropout=0.0)
embedder = InputEmbedder(config)
target = F.one_hot(torch.randint(0, 20, (10,)), 22).float()
index = torch.arange(10)
with torch.no_grad():
    _, package = embedder(target[None], index[None], torch.zeros(1, 4, 10, 49))
    assert torch.allclose(first_pairs(target, index, embedder), package[0], atol=1e-5)
print("equal to the z of minifold's InputEmbedder")

# %% [markdown]
# No cell knows more than two letters and a distance along the chain. (If the structure of a relative is known, a
# *template*, its distances are added, too; [lesson 14](14_real_proteins.ipynb). In later rounds the last result is added:
# [lesson 09](09_recycling.ipynb).) All the rest must come from $m$.
#
# ## 2 · Two columns, one table
#
# Take one sequence. At $i$ it has K (positive), at $j$ E (negative). Written as
# [*one-hot vectors*](../docs/glossary.md#one-hot-vector) $x$ and $y$, one 1 and nineteen 0. The
# [*outer product*](../docs/glossary.md#outer-product) $x \otimes y$ is the table of all products $x_a y_b$: a single 1, in the row K and the column
# E. It says "K here *and* E there". **The mean of these tables over all sequences** counts how often each pair of
# letters occurs together.

# %%
letters = "DEKRAL"  # six of the twenty, to keep the tables small
column_i, column_j = "KKEEKEDKRE", "EEKKDRKEEK"
x, y = (torch.tensor(np.eye(6)[[letters.index(a) for a in c]]) for c in (column_i, column_j))
together = torch.einsum("sa,sb->ab", x, y) / len(x)  # the mean of ten outer products
by_chance = torch.outer(x.mean(dim=0), y.mean(dim=0))  # the outer product of the two means
tables = {
    "one sequence: K and E": torch.outer(x[0], y[0]),
    "mean of ten": together,
    "by chance": by_chance,
    "the difference": together - by_chance,
}

# %%
figure, axes = plt.subplots(1, 4, figsize=(9.6, 2.6), sharey=True)
for ax, (title, table) in zip(axes, tables.items()):
    last = title == "the difference"
    limits = (-0.3, 0.3) if last else (0, 1) if title.startswith("one") else (0, 0.5)
    style.heatmap(
        ax, table, letters, letters, cmap=style.DIVERGING if last else style.WEIGHTS, limits=limits
    )
    ax.set_title(title, fontsize=11)
    ax.set_xlabel("letter at j")
axes[0].set_ylabel("letter at i")
plt.show()

# %% [markdown]
# "By chance" is what we would expect if the two columns knew nothing of each other: frequency at $i$ times frequency at $j$.
# The difference is blue for pairs that are avoided (two charges of the same sign), red for pairs that are
# preferred. It has a name in statistics, the [*covariance*](../docs/glossary.md#covariance):
#
# $$\operatorname{cov}_{ab} = \underbrace{\frac{1}{S} \sum_s x_{sa}\, y_{sb}}_{\text{mean of outer products}} - \underbrace{\bar x_a\, \bar y_b}_{\text{outer product of means}} = \frac{1}{S} \sum_s (x_{sa} - \bar x_a)(y_{sb} - \bar y_b).$$
#
# The last form is the one to remember: **subtract each column's mean, then take the mean of the outer products.**

# %%
centred = torch.einsum("sa,sb->ab", x - x.mean(dim=0), y - y.mean(dim=0)) / len(x)
assert torch.allclose(centred, together - by_chance)
assert np.allclose(centred, np.cov(x.T, y.T, bias=True)[:6, 6:])
print("mean of outer products of centred columns = covariance, as NumPy computes it")

# %% [markdown]
# ### Exercise 1 · The outer product mean (easy)
#
# Write `my_outer_mean(left, right, mask)` for all pairs of columns at once: `left` [s, i, c], `right` [s, i, d], `mask` [s, i]
# with 1 where a sequence has a residue and 0 where it has none. Return [i, j, c, d]: the mean of
# `left[s, i]` ⊗ `right[s, j]` over those sequences that have both.
#
# *In all exercises: try by yourself first. One possible answer stands between the two lines that
# start with `###`; delete it, write yours, run the check.*


# %% nbgrader={"grade": false, "grade_id": "outer_mean", "locked": false, "schema_version": 3, "solution": true, "task": false}
def my_outer_mean(left, right, mask):
    """Mean over sequences of outer products: [i, j, c, d]."""
    ### BEGIN SOLUTION
    left, right, mask = (torch.as_tensor(x) for x in (left, right, mask))
    left, right = left * mask[..., None], right * mask[..., None]
    total = torch.einsum("sic,sjd->ijcd", left, right)
    return total / torch.einsum("si,sj->ij", mask, mask)[..., None, None]
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check-outer_mean", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
minifold.check("outer_mean", my_outer_mean)

# %% [markdown]
# ## 3 · Contacts from nothing but outer products
#
# Now a whole family of the toy world of lesson 03: 128 sequences of 32 residues, whose contacts evolve together. We make each
# letter a one-hot vector, centre the columns, and take the outer product mean: a 20 × 20 table for each of the 32 × 32 pairs. Its
# size (root of the sum of squares) is the score of the pair. As in lesson 03, what a column has with all others is
# subtracted ([APC](../docs/glossary.md#average-product-correction)).
#
# **Predict first:** of the 16 best pairs at least 6 apart, how many are contacts? Lesson 03 needed mutual information, or the inverse of a big
# matrix. Here is only a mean of products.

# %%
world = ToyWorld(length=32, depth=128, seed=11, block=12).sample(12)
families = [world.alignment(k).tokens for k in range(12)]
chains = [world.chain(k) for k in range(12)]


def one_hot(tokens):
    """Letters as vectors; gaps are all zero: [s, i, 20]."""
    return torch.tensor(np.eye(23)[tokens][..., :20])


def covariance(tokens):
    """The outer product mean of the centred one-hot columns: [i, j, 20, 20]."""
    x = one_hot(tokens)
    x = x - x.mean(dim=0)
    return my_outer_mean(x, x, torch.ones(x.shape[:2], dtype=x.dtype))


def pair_scores(table):
    """How large each pair's table is, corrected for the columns' averages: [i, j]."""
    return baselines.average_product_correction(np.asarray(table.square().sum(dim=(2, 3)).sqrt()))


# %%
rng = np.random.default_rng(0)
rivals = {
    "outer product mean": lambda tokens: pair_scores(covariance(tokens)),
    "... columns shuffled": lambda tokens: pair_scores(
        covariance(baselines.shuffle_columns(tokens, rng))
    ),
    "mutual information": baselines.mutual_information,
    "DCA": baselines.direct_coupling,
    "random pairs": lambda tokens: rng.random((32, 32)),
}
precision = {
    name: np.mean([precision_of(rival(tokens), chain) for tokens, chain in zip(families, chains)])
    for name, rival in rivals.items()
}
for name, share in precision.items():
    print(f"{name:22s} {share:.2f}")
assert precision["outer product mean"] > 0.8 > 0.3 > precision["... columns shuffled"]

# %%
shuffled = baselines.shuffle_columns(families[0], np.random.default_rng(1))
maps = {
    "true couplings": world.couplings[0].numpy(),
    "outer product mean": pair_scores(covariance(families[0])),
    "... columns shuffled": pair_scores(covariance(shuffled)),
}
largest = np.quantile(maps["outer product mean"], 0.99)
plots.pair_maps(maps, "size", (0.0, largest), style.WEIGHTS)

# %% [markdown]
# A mean of outer products is as good as the classical methods, and once the columns are shuffled, nothing is left. (Mean of 12 families. In a
# real family hearsay would spoil it; lesson 03 needed the inverse matrix for that. Hold that thought: somebody has to untangle
# the table later.)
#
# So the formula does the work. But who subtracts the mean in AlphaFold2? Nobody does in Algorithm 10. The layer *before* can:
# [column attention](04_axial_msa_attention.ipynb) that looks at all sequences alike returns the mean of the column, and the residual connection adds
# it, with any sign. By hand:

# %%
x = one_hot(families[0]).float()[None]  # [1, s, i, 20]
centring = MSAColumnAttention(20, heads=1)
centring.norm_m = torch.nn.Identity()
with torch.no_grad():
    for linear in (centring.attention.q, centring.attention.k):
        linear.weight.zero_()  # all scores are 0: look at all sequences alike
    centring.attention.v.weight.copy_(torch.eye(20))
    centring.attention.output.weight.copy_(-torch.eye(20))  # minus the mean
    centring.attention.gate.bias.fill_(50)  # wide open
    ones = torch.ones(x.shape[:3])
    m = x + centring(x, ones)
    table = my_outer_mean(m[0], m[0], ones[0])
assert torch.allclose(table, covariance(families[0]).float(), atol=1e-5)
print("column attention, then outer product mean = covariance")

# %% [markdown]
# ## 4 · Algorithm 10
#
# The real thing does not have 20 one-hot channels but 256 learned ones. A table of 256 × 256 numbers for each pair would be too
# much:

# %%
for c in (256, 32):
    numbers = c * c
    print(
        f"c = {c:3d}: {numbers:6,} numbers per pair, {numbers * 256**2 * 4 / 1e9:5.2f} GB for 256 residues"
    )

# %% [markdown]
# So each vector is first projected onto 32 numbers, twice: $a_{si}$ for the part of the first residue, $b_{sj}$ for
# that of the second. The 32 × 32 table is then written as one row of 1024 numbers and projected onto the 128
# channels of $z_{ij}$. The layer is called the [*outer product mean*](../docs/glossary.md#outer-product-mean):


# %%
def small_table(ax, x, y):
    """5 x 5 cells that stand for 32 x 32."""
    for a, b in np.ndindex(5, 5):
        shade = style.tint(style.GREEN, 0.15 + 0.17 * ((3 * a + 2 * b) % 5))
        place = (x + 0.22 * b, y + 0.22 * a)
        ax.add_patch(plt.Rectangle(place, 0.2, 0.2, facecolor=shade, edgecolor=style.GREY))


# %%
figure, ax = style.canvas(9.4, 2.6)
for y, word, name, color in (
    (1.95, "$m_{si}$", "$a_{si}$", style.ORANGE),
    (0.65, "$m_{sj}$", "$b_{sj}$", style.BLUE),
):
    style.box(ax, (0.6, y), f"{word}\n256", size=(0.8, 0.7), color=style.SKY)
    style.arrow(ax, (1.0, y), (1.5, y))
    style.box(ax, (2.2, y), "LayerNorm,\nproject", size=(1.3, 0.7), color=style.GREY, fontsize=10)
    style.arrow(ax, (2.86, y), (3.3, y))
    style.box(ax, (3.7, y), f"{name}\n32", size=(0.75, 0.7), color=color)
    style.arrow(ax, (4.1, y), (4.6, 1.3 + 0.25 * np.sign(y - 1.3)))

small_table(ax, 4.7, 0.78)
ax.text(5.25, 2.05, "$a_{si} \\otimes b_{sj}$, 32 × 32", ha="center", fontsize=10)
ax.text(5.25, 0.5, "mean over\nsequences $s$", ha="center", va="center", fontsize=10)
style.arrow(ax, (5.9, 1.3), (6.5, 1.3))
style.box(ax, (7.1, 1.3), "flatten,\nproject\n1024 → 128", size=(1.15, 0.95), color=style.GREY)
style.arrow(ax, (7.68, 1.3), (8.2, 1.3))
style.box(ax, (8.75, 1.3), "added to\n$z_{ij}$, 128", size=(1.0, 0.7), color=style.PURPLE)
plt.show()


# %%
def outer_product_mean(m, layer):
    """m [s, i, c]: Algorithm 10, one pair after the other. All cells are real."""
    S, N, _ = m.shape
    m = F.layer_norm(m, m.shape[-1:], layer.norm_m.weight, layer.norm_m.bias)
    a = m @ layer.left.weight.T + layer.left.bias  # [s, i, 32]
    b = m @ layer.right.weight.T + layer.right.bias
    z = torch.zeros(N, N, layer.output.out_features)
    for i in range(N):
        for j in range(N):
            total = sum(torch.outer(a[s, i], b[s, j]) for s in range(S))
            z[i, j] = (layer.output.weight @ total.flatten() + layer.output.bias) / (S + 1e-3)
    return z


# %%
def randomise(module):
    """Random parameters, so that nothing is 0 or 1 by chance of being fresh."""
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return module


torch.manual_seed(0)
m, z = torch.randn(7, 10, 32), torch.randn(10, 10, 16)
ones, pairs = torch.ones(1, 7, 10), torch.ones(1, 10, 10)
layer = randomise(OuterProductMean(c_m=32, c_z=16, c_outer=8))
with torch.no_grad():
    assert torch.allclose(outer_product_mean(m, layer), layer(m[None], ones)[0], atol=1e-4)
print("equal to minifold's OuterProductMean")

# %% [markdown]
# (As in DeepMind's code, and unlike the paper, the last bias is divided by the number of sequences, too, and a thousandth keeps the division
# safe: [DEVIATIONS.md](../DEVIATIONS.md), D1.) What takes a loop over pairs here is one `einsum` in the package.
#
# ### Why not simply add the attention maps?
#
# Row attention already compares residues, so its maps would be an obvious thing to add to $z$. But a map tells what *one* sequence
# has in mind, and only one number per head. Average the scores of a head over all sequences, and look at the
# formula:
#
# $$\frac{1}{S} \sum_s (W_q m_{si}) \cdot (W_k m_{sj}) = \sum_{cd} \big(W_q^\top W_k\big)_{cd} \; \Big[\frac{1}{S} \sum_s m_{si} \otimes m_{sj}\Big]_{cd}.$$
#
# The bracket is an outer product mean. So the average score of *any* head is one particular weighted sum of its numbers:

# %%
W_q, W_k = torch.randn(2, 8, 32)  # a head of 8 numbers
scores = torch.einsum("sic,sjc->sij", m @ W_q.T, m @ W_k.T)  # each sequence's own
from_outer = torch.einsum("cd,ijcd->ij", W_q.T @ W_k, my_outer_mean(m, m, ones[0]))
assert torch.allclose(scores.mean(dim=0), from_outer, atol=1e-3)
print("mean score of a head = a weighted sum of the outer product mean")

# %% [markdown]
# The outer product mean offers all such sums at once, and the projection 1024 → 128 chooses 128 of them.
#
# What could such a sum mean? Let each letter be its charge: +1 for K and R, −1 for D and E. Then $a$ and $b$ are one number
# each, and the outer product mean of the centred columns is one number per pair: the covariance of the charges.
# **Predict first:** will it be positive or negative for pairs in contact?

# %%
charge = torch.tensor([(a in "KR") - 1.0 * (a in "DE") for a in RESTYPES]).double()
by_charge = [torch.einsum("ijab,a,b->ij", covariance(t), charge, charge) for t in families]
far = np.triu_indices(32, 6)
true = np.stack([world.couplings[k].numpy()[far] for k in range(12)]) > 0
values = np.stack([table.numpy()[far] for table in by_charge])

# %%
figure, ax = plt.subplots(figsize=(7, 2.7))
for kind, color in ((True, style.ORANGE), (False, style.BLUE)):
    words = "coupled pairs" if kind else "other pairs"
    ax.hist(
        values[true == kind],
        np.linspace(-0.3, 0.2, 51),
        density=True,
        color=style.tint(color, 0.6),
        label=words,
        alpha=0.7,
    )
ax.set(xlabel="covariance of the charges", yticks=[], ylabel="share")
ax.legend(loc="upper left")
plt.show()
print(f"mean: coupled {values[true].mean():.3f}, others {values[~true].mean():.3f}")
assert values[true].mean() < -10 * abs(values[~true].mean())

# %% [markdown]
# Negative: where one turns positive, its partner turns negative. Opposites attract, and one channel of $z$ is enough to see it.
# How far can one get with *two* numbers per letter? That is exercise 3 at the end.
#
# ## 5 · The block
#
# Now we can put the block of the [*Evoformer*](../docs/glossary.md#evoformer) together. It has three parts:
#
# 1. **the list**: row attention, with a hint from the table; column attention; transition (lesson 04);
# 2. **from the list to the table**: the outer product mean;
# 3. **the table by itself**: four layers in which cells of $z$ talk to each other. If $i$ is near $k$, and $k$ near $j$, then $i$ cannot be
#    far from $j$: they work on *triangles* of residues, and are the subject of
#    [lesson 06](06_triangle_updates.ipynb). Today we use them as they are. A transition at the end.


# %%
def line_of_layers(ax, y, layers, end):
    """Layers below a straight line: each takes from it and adds its answer to it."""
    for x, words, wide, color in layers:
        left, plus = x - wide / 2 - 0.17, x + wide / 2 + 0.17
        ax.plot([end, plus - 0.13], [y, y], "-", color=style.INK, linewidth=1.6)
        ax.plot([left, left], [y, y - 0.8], "-", color=style.INK, linewidth=1.2)
        style.arrow(ax, (left, y - 0.8), (x - wide / 2, y - 0.8), width=1.2)
        style.box(ax, (x, y - 0.8), words, size=(wide, 0.62), color=color, fontsize=9)
        corner = [x + wide / 2, plus, plus], [y - 0.8, y - 0.8, y - 0.13]
        ax.plot(*corner, "-", color=style.INK, linewidth=1.2)
        style.box(ax, (plus, y), "+", size=(0.26, 0.26), color=style.GREY, fontsize=9)
        end = plus + 0.13
    return end


# %%
upper = (
    (1.7, "2 row attention\n+ pair bias", 1.2, style.ORANGE),
    (3.35, "3 column\nattention", 0.9, style.BLUE),
    (4.75, "4 transition", 0.9, style.GREEN),
)
lower = (
    (7.15, "6, 7 triangle\nproducts", 0.95, style.YELLOW),
    (8.55, "8, 9 triangle\nattention", 0.95, style.RED),
    (9.72, "10", 0.36, style.GREEN),
)

# %%
figure, ax = style.canvas(10.5, 3.9)
style.box(ax, (0.4, 3.4), "m", size=(0.6, 0.55), color=style.SKY, weight="bold")
style.box(ax, (0.4, 1.5), "z", size=(0.6, 0.55), color=style.PURPLE, weight="bold")
end = line_of_layers(ax, 3.4, upper, 0.7)
style.arrow(ax, (end, 3.4), (10.45, 3.4))
style.arrow(ax, (6.2, 3.4), (6.2, 2.8), color=style.PURPLE, width=2)
style.box(
    ax, (6.2, 2.45), "5 outer\nproduct mean", size=(1.1, 0.66), color=style.PURPLE, fontsize=9
)
style.arrow(ax, (6.2, 2.1), (6.2, 1.64), color=style.PURPLE, width=2)
ax.plot([0.7, 6.07], [1.5, 1.5], "-", color=style.INK, linewidth=1.6)
style.box(ax, (6.2, 1.5), "+", size=(0.26, 0.26), color=style.GREY, fontsize=9)
end = line_of_layers(ax, 1.5, lower, 6.33)
style.arrow(ax, (end, 1.5), (10.45, 1.5))
style.arrow(ax, (1.7, 1.5), (1.7, 2.28), color=style.PURPLE, width=2)
ax.text(1.85, 1.85, "z tells m where to look", color=style.PURPLE, fontsize=10, va="center")
ax.text(6.9, 2.45, "m tells z who changes with whom", color=style.PURPLE, fontsize=10, va="center")
ax.text(0.1, 0.3, "numbers: lines of Algorithm 6 (10: transition)", fontsize=9, va="center")
plt.show()


# %%
def evoformer_block(m, z, msa_mask, pair_mask, block):
    """Algorithm 6, lines 2 to 10, without dropout."""
    m = m + block.msa_row(m, z, msa_mask)  # z tells m where to look
    m = m + block.msa_column(m, msa_mask)
    m = m + block.msa_transition(m)
    z = z + block.outer_product(m, msa_mask)  # m tells z who changes with whom
    z = z + block.pair.triangle_outgoing(z, pair_mask)  # lesson 06: this and the next three
    z = z + block.pair.triangle_incoming(z, pair_mask)
    z = z + block.pair.triangle_starting(z, pair_mask)
    z = z + block.pair.triangle_ending(z, pair_mask)
    z = z + block.pair.transition(z)
    return m, z


# %%
torch.manual_seed(0)
block = randomise(EvoformerBlock(config)).eval()
with torch.no_grad():
    for ours, theirs in zip(
        evoformer_block(m[None], z[None], ones, pairs, block), block(m[None], z[None], ones, pairs)
    ):
        assert torch.allclose(ours, theirs, atol=1e-4 * float(theirs.abs().max()))
print("equal to minifold's EvoformerBlock")

# %% [markdown]
# ### Exercise 2 · Wire a block (needs a thought)
#
# Write `my_block(m, z, row, column, transition, outer, pair)`. The last five are functions: `row(m, z)`, `column(m)`,
# `transition(m)`, `outer(m)` and `pair(z)` return what the layer has to say; it is for you to add it in the right place. (`pair` stands for all
# layers of part 3 together.) Return the new `m` and the new `z`.


# %% nbgrader={"grade": false, "grade_id": "block", "locked": false, "schema_version": 3, "solution": true, "task": false}
def my_block(m, z, row, column, transition, outer, pair):
    """One Evoformer block: m and z."""
    ### BEGIN SOLUTION
    m = m + row(m, z)
    m = m + column(m)
    m = m + transition(m)
    z = z + outer(m)
    z = z + pair(z)
    return m, z
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check-block", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
minifold.check("block", my_block)

# %% [markdown]
# ### How far does news travel?
#
# We change a single cell and ask what is different afterwards. **Predict first:** a cell $z_{37}$ of the table changes a
# little. Which cells of $m$ notice, after line 2? And if a cell of $m$ changes, which cells of $z$ notice after
# line 5?


# %%
def twice(m, z):
    """The same block two times, one after the other."""
    return block(*block(m, z, ones, pairs), ones, pairs)


row, outer = block.msa_row, block.outer_product
with torch.no_grad():
    m0, z0 = m[None], z[None]
    m1, z1 = m0.clone(), z0.clone()
    m1[0, 2, 4] += torch.randn(32)  # sequence 3, residue 5
    z1[0, 2, 6] += torch.randn(16)  # residues 3 and 7
    after = {
        "a cell of z → m, line 2": row(m0, z1, ones) - row(m0, z0, ones),
        "a cell of z → m, two blocks": twice(m0, z1)[0] - twice(m0, z0)[0],
        "a cell of m → z, line 5": outer(m1, ones) - outer(m0, ones),
        "a cell of m → z, the block": block(m1, z0, ones, pairs)[1] - block(m0, z0, ones, pairs)[1],
    }

# %%
figure, axes = plt.subplots(1, 4, figsize=(9.8, 2.6))
for ax, (title, change) in zip(axes, after.items()):
    size = change[0].norm(dim=-1).numpy()
    noticed = size > 1e-4 * size.max()
    shades = np.where(noticed, (size / size.max()) ** 0.4, np.nan)
    ax.imshow(shades, cmap="Blues", vmin=-0.3, vmax=1)
    ax.set(xticks=[], yticks=[], xlabel="residue")
    ax.set_ylabel("sequence" if "→ m" in title else "residue")
    ax.set_title(title.replace(", ", ",\n"), fontsize=10)
    print(f"{title:28s} {noticed.sum():3d} of {noticed.size} cells notice")
    assert noticed.all() or "line" in title
plt.show()

# %% [markdown]
# (Darker: stronger; white: not at all.) The cell $z_{37}$ reaches residue 3 of *every* sequence: all of them have been told
# where to look. A cell of column 5 reaches row 5 and column 5 of the table, and by the end of the block the triangles have told all the others.
# The other way it takes a second block, whose row attention reads the rewritten table. Then everybody has heard of everything. That is the circle of this lesson: the table says where to look, the looking changes what the columns say, the columns rewrite
# the table.
#
# ## 6 · Forty-eight blocks, and a smaller stack before them
#
# AlphaFold2 has 48 such blocks, one after the other, each with parameters of its own. Before them run four blocks for the *extra*
# sequences that found no room among the clusters (lesson 03): up to 1024, in the last stage of training 5120. The class is the same,
# with two differences: 64 channels instead of 256, and the global column attention of lesson 04.
# Their $m$ is thrown away at the end; what stays is what they have written into $z$.
#
# What does it cost? We let the full-size blocks run on PyTorch's *meta* device, which keeps track of shapes and of operations, but does not compute
# anything:


# %%
def cost(extra, sequences, residues):
    """Parameters and operations (multiplications and additions) of one full-size block."""
    size = Config()
    with torch.device("meta"):
        block = EvoformerBlock(size, extra).eval()
        set_attention(block, path="clear")
        m = torch.empty(1, sequences, residues, size.c_e if extra else size.c_m)
        z = torch.empty(1, residues, residues, size.c_z)
        masks = torch.empty(1, sequences, residues), torch.empty(1, residues, residues)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        block(m, z, *masks)
    layers = {
        name.split(".")[-1]: sum(parts.values())
        for name, parts in counter.get_flop_counts().items()
        if name.count(".") == 1
    }
    return sum(p.numel() for p in block.parameters()), counter.get_total_flops(), layers


# %%
for words, extra, sequences in (
    ("main block, 512 sequences", False, 512),
    ("main block, if it had 5120", False, 5120),
    ("extra block, 5120 sequences", True, 5120),
):
    parameters, operations, _ = cost(extra, sequences, 256)
    print(f"{words:28s} {parameters / 1e6:.2f} M parameters, {operations / 1e12:5.2f} T operations")
main, extra = (cost(kind, 512, 256)[0] for kind in (False, True))
print(f"48 main blocks and 4 extra ones: {(48 * main + 4 * extra) / 1e6:.0f} M parameters")
print(
    "column layer of an extra block:", type(EvoformerBlock(config, extra=True).msa_column).__name__
)

# %% [markdown]
# The extra stack shows ten times as many sequences to the table for about twice the price of a main block, where a main block would take nearly twenty times
# as much. And when the protein grows? **Predict first:** which part of the block becomes the most expensive one?

# %%
sizes = [64, 128, 256, 512, 1024]
by_size = [cost(False, 512, n)[2] for n in sizes]
figure, ax = plt.subplots(figsize=(7.4, 3.2))
parts = {
    "msa_row": "row attention",
    "msa_column": "column attention",
    "msa_transition": "transition",
    "outer_product": "outer product mean",
    "pair": "triangles, transition of z",
}
for (key, words), color in zip(parts.items(), style.CYCLE):
    ax.loglog(sizes, [layers[key] / 1e12 for layers in by_size], label=words, color=color)
ax.set(xlabel="residues (512 sequences)", ylabel="10¹² operations")
ax.set_xticks(sizes, [str(n) for n in sizes])
ax.minorticks_off()
ax.legend(fontsize=9)
plt.show()
growth = {words: by_size[-1][key] / by_size[-2][key] for key, words in parts.items()}
print("from 512 to 1024 residues:", *(f"{words} × {g:.1f};" for words, g in growth.items()))
assert max(growth, key=growth.get) == "triangles, transition of z"

# %% [markdown]
# Column attention and transition grow with $N$, row attention and the outer product mean toward $N^2$, the table's own layers toward $N^3$, since
# each pair looks at each third residue. For long proteins the table is the bottleneck.
#
# ## 7 · Look into a trained one
#
# Everything so far was arithmetic with random or hand-made numbers. Now a model that has learned: minifold's `toy-nano`, an AlphaFold2 with
# **two** Evoformer blocks of 32 channels, trained on families of the toy world. We show it 24 families of another
# seed, which it has never seen, each with 64 sequences, and look into $z$ after each layer.
#
# How does one read a vector of 32 numbers? The model has a [*distogram*](../docs/glossary.md#distogram) head, a linear layer that turns $z_{ij}$ into probabilities for the
# distance of the two residues. It was trained for the last $z$ only. We put it onto all the earlier ones, and add up the
# probabilities below 8 Å.

# %%
model = minifold.load("toy-nano").eval()
unseen = ToyWorld(length=32, depth=64, seed=HELD_OUT + 1, block=24).sample(24)
examples = [Example(unseen.chain(k), unseen.alignment(k)) for k in range(24)]


def features(examples):
    """What the model takes as input, all families in one batch."""
    return collate([make_batch(x.alignment, x.chain, model.config, seed=0) for x in examples])


with record(model, "recycle0/evoformer.*") as taps, torch.no_grad():
    output = model(features(examples), recycles=0)
for name in taps.match("*/z"):
    print(f"{name:24s} {taps[name].shape}")

# %% [markdown]
# `record` keeps what the model computes inside, after each block (counted from 0), for one protein of the batch. Blocks are coarse. But
# every layer *adds* its answer to $z$, so we can listen to each answer and add up ourselves, for the whole batch:

# %%
LINES = {
    "outer product": "outer_product",
    "triangle products, out": "pair.triangle_outgoing",
    "triangle products, in": "pair.triangle_incoming",
    "triangle attention, start": "pair.triangle_starting",
    "triangle attention, end": "pair.triangle_ending",
    "transition": "pair.transition",
}


# %%
@torch.no_grad()
def after_each_line(model, examples):
    """z [b, i, j, c] at the start and after each line that changes it."""
    answers, blocks = {}, model.trunk.evoformer.stack.blocks
    hooks = [blocks[0].register_forward_pre_hook(lambda _, inputs: answers.update(start=inputs[1]))]
    for k, block in enumerate(blocks):
        for words, name in LINES.items():

            def note(layer, inputs, answer, title=f"{k}: {words}"):
                answers[title] = answer

            hooks.append(block.get_submodule(name).register_forward_hook(note))
    output = model(features(examples), recycles=0)
    for hook in hooks:
        hook.remove()
    sums = torch.stack(list(answers.values())).cumsum(dim=0)
    assert torch.allclose(sums[-1], output.z, atol=1e-3)
    return dict(zip(answers, sums))


# %%
def contacts(z):
    """Probability of a contact, read by the model's own distogram head: [b, i, j]."""
    with torch.no_grad():
        return contact_probability(model.distogram(z)).numpy()


def mean_precision(tables, examples):
    """Share of contacts among the best L/2 pairs at least 6 apart; mean of the families."""
    return np.mean([precision_of(table, x.chain) for table, x in zip(tables, examples)])


# %% [markdown]
# **Predict first:** after which of the twelve lines does the contact map appear: at once, little by little, or only at the
# end? Beside it stand DCA on the same alignments, random pairs, and the same model with all columns shuffled.

# %%
shuffled = [hide(x, "shuffled", seed=k) for k, x in enumerate(examples)]
pairs_at = {
    "families": after_each_line(model, examples),
    "shuffled": after_each_line(model, shuffled),
}
emerging = {
    kind: [mean_precision(contacts(z), examples) for z in lines.values()]
    for kind, lines in pairs_at.items()
}
rng = np.random.default_rng(0)
dca = mean_precision([baselines.direct_coupling(x.alignment.tokens) for x in examples], examples)
chance = mean_precision([rng.random((32, 32)) for _ in examples], examples)

# %%
figure, ax = plt.subplots(figsize=(8.6, 4.0))
steps = np.arange(13)
ax.plot(steps, emerging["families"], "o-", color=style.BLUE, label="toy-nano")
ax.plot(steps, emerging["shuffled"], "s--", color=style.ORANGE, label="toy-nano, columns shuffled")
for share, words, dash in ((dca, "DCA", ":"), (chance, "random pairs", "-.")):
    ax.axhline(share, color=style.INK, linewidth=1.2, linestyle=dash, label=words)
for x, words in ((3.5, "block 0"), (9.5, "block 1")):
    ax.text(x, 1.03, words, ha="center", weight="bold")
ax.axvline(6.5, color=style.GREY, linewidth=1, linestyle="-")
names = [name.split(": ")[-1] for name in pairs_at["families"]]
ax.set_xticks(steps, names, rotation=40, ha="right", fontsize=9)
ax.set(ylabel="contact precision", ylim=(0, 1.1))
ax.legend(loc="center right", bbox_to_anchor=(1, 0.45), fontsize=9)
plt.show()

# %%
real, control = emerging["families"], emerging["shuffled"]
print(f"at the start {real[0]:.2f}, after the first outer product {real[1]:.2f}")
print(
    f"after block 0 {real[6]:.2f}, after block 1 {real[12]:.2f}; columns shuffled {control[12]:.2f}"
)
print(f"DCA {dca:.2f}, random pairs {chance:.2f}")
assert real[0] < 0.25 and real[1] > 0.6 and real[12] > dca + 0.1
assert np.argmax(np.diff(real)) == 0 and max(control) < 0.4

# %% [markdown]
# At the start the table knows nothing. **One line, the first outer product mean, makes most of the map.** The rest improves it, until the model is
# better than DCA on the same alignments. With shuffled columns nothing emerges, so it is co-evolution that the model reads,
# not the letters.
#
# How can it be better than DCA? It has seen many folds of this world. It knows that contacts come in patterns, and that
# $i$–$k$ and $k$–$j$ say something about $i$–$j$. One family, as $z$ grows (above the diagonal what the model
# believes, below the true contacts):


# %%
def true_contacts(k):
    """True where two Cβ (Cα in glycine) are nearer than 8 Å."""
    has_beta = unseen.atom_mask[k, :, 4:5]
    x = unseen.positions[k, :, 4] * has_beta + unseen.positions[k, :, 1] * (1 - has_beta)
    return (torch.cdist(x, x) < 8).numpy()


stations = {
    "at the start": "start",
    "0: outer product": "0: outer product",
    "after block 0": "0: transition",
    "after block 1": "1: transition",
}

# %%
maps = {
    title: plots.two_halves(contacts(pairs_at["families"][line])[0], true_contacts(0))
    for title, line in stations.items()
}
plots.pair_maps(maps, "probability", (0.0, 1.0), style.WEIGHTS)

# %% [markdown]
# ### Is the reader fair?
#
# The head was trained for the last $z$. Perhaps an earlier table knows more, in a language that this head does not speak? So we
# train a reader for each station: one linear layer on $z_{ij} + z_{ji}$ (and a bias), with 12 of the families, and
# test it on the other 12.


# %%
def own_reader(z, steps=200):
    """Contact precision of a linear reader trained on z of the first 12 families."""
    torch.manual_seed(0)
    x = z + z.transpose(1, 2)
    x = (x - x.mean(dim=(0, 1, 2))) / (x.std(dim=(0, 1, 2)) + 1e-6)
    i, j = np.triu_indices(32, 6)
    known = np.stack([true_contacts(k)[i, j] for k in range(12)])
    reader = torch.nn.Linear(x.shape[-1], 1)
    optimizer = torch.optim.Adam(reader.parameters(), lr=0.03)
    for _ in range(steps):
        scores = reader(x[:12, i, j])[..., 0]
        loss = F.binary_cross_entropy_with_logits(scores, torch.tensor(known).float())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        return mean_precision(reader(x[12:])[..., 0].numpy(), examples[12:])


# %%
print("                    the model's head   a reader of its own   (12 families)")
for title, line in stations.items():
    z_line = pairs_at["families"][line]
    head, own = mean_precision(contacts(z_line[12:]), examples[12:]), own_reader(z_line)
    print(f"{title:20s}       {head:.2f}                 {own:.2f}")
    assert own < 0.35 if line == "start" else own > 0.45

# %% [markdown]
# The story stays: before the first outer product no linear reader finds contacts, right after it both do. (The own reader has seen 12 families, the
# model's head thousands, so it may well be the worse one.)
#
# ### Cut the wires
#
# A picture is not an explanation. To know what a layer does for the result, switch it off. We set the last matrix of a layer to 0 in
# both blocks, so that it has nothing to say. **Predict first:** rank them. Which cut hurts most: the
# outer product mean, the pair bias, the row attention, the column attention, or the triangles?


# %%
WIRES = {
    "nothing": (),
    "pair bias (z → m)": ("msa_row.pair_bias",),
    "row attention": ("msa_row.attention.output",),
    "column attention": ("msa_column.attention.output",),
    "all four triangle layers": ("pair.triangle_outgoing.output", "pair.triangle_incoming.output")
    + ("pair.triangle_starting.attention.output", "pair.triangle_ending.attention.output"),
    "outer product mean (m → z)": ("outer_product.output",),
}


# %%
@torch.no_grad()
def without(wires):
    """Contact precision of the model with these layers silenced in both blocks."""
    cut = copy.deepcopy(model)
    for block in cut.trunk.evoformer.stack.blocks:
        for name in wires:
            for parameter in block.get_submodule(name).parameters():
                parameter.zero_()
    output = cut(features(examples), recycles=0)
    return mean_precision(contact_probability(output.distogram_logits).numpy(), examples)


# %%
left = {words: without(wires) for words, wires in WIRES.items()}
figure, ax = plt.subplots(figsize=(7.6, 2.8))
ax.barh(list(left), list(left.values()), color=style.tint(style.BLUE, 0.6))
ax.axvline(chance, color=style.INK, linewidth=1, linestyle=":")
ax.set(xlabel="contact precision when cut (dotted: random pairs)", xlim=(0, 1))
ax.invert_yaxis()
plt.show()

# %%
whole = left["nothing"]
assert left["outer product mean (m → z)"] < 0.4 < whole - 0.4
print("without the outer product mean, most of it is lost")
assert left["all four triangle layers"] < whole - 0.02
print("without triangles, something is lost")
for words in ("pair bias (z → m)", "row attention", "column attention"):
    assert left[words] > whole - 0.15
    print(f"without the {words}, hardly anything is lost")

# %% [markdown]
# A surprise, and a lesson in modesty. In *this* model only one of the two arrows carries weight. The outer product mean is everything: it is the only
# way from the list to the table. The triangles add their part. But the hint from $z$ to $m$, so beautiful in the
# drawing, is not needed for the contacts: with two blocks and a simple world, the letters themselves tell the outer product all
# it has to know.
#
# Two warnings. Cutting a finished model shows what *it* relies on; a model trained without the layer may find another way
# (the honest test, with several trainings, comes in [lesson 13](13_ablations.ipynb)). And two blocks are not 48. In AlphaFold2, where families are noisy and
# hearsay abounds, the table is rewritten 48 times, and the supplement's Fig. 12 shows that a layer in the first
# quarter of the stack already attends along the true distances. The paper's Fig. 4b follows the structure through the blocks: some proteins are nearly folded after a few of
# them, others need almost all.
#
# ### Exercise 3 · Squeeze (open)
#
# AlphaFold2 squeezes each vector to 32 numbers before the outer product. You have **two**. Write `my_squeeze()`: a matrix
# [20, 2], one row for each amino acid in the order of `RESTYPES` (`ARNDCQEGHILKMFPSTWYV`). We take the centred one-hot columns of toy families,
# multiply them by your matrix, take the outer product mean (a 2 × 2 table for each pair), its size, and APC.
# Target: a mean precision of 0.75 on 12 families of 128 sequences that you have not seen. Random matrices reach about 0.35, all
# 20 letters about 0.9.
#
# Which two numbers tell best who goes with whom? You may think (lesson 02), or let the computer learn: the toy world gives as many
# families as you like. How near do you get to 0.9?


# %% nbgrader={"grade": false, "grade_id": "squeeze", "locked": false, "schema_version": 3, "solution": true, "task": false}
def my_squeeze():
    """Two numbers for each amino acid: [20, 2]."""
    ### BEGIN SOLUTION
    hydropathy = [1.8, -4.5, -3.5, -3.5, 2.5, -3.5, -3.5, -0.4, -3.2, 4.5]  # Kyte and Doolittle
    hydropathy += [3.8, -3.9, 1.9, 2.8, -1.6, -0.8, -0.7, -0.9, -1.3, 4.2]
    charge = [(a in "KR") - (a in "DE") for a in "ARNDCQEGHILKMFPSTWYV"]
    table = np.array([hydropathy, charge], dtype=float).T
    return (table - table.mean(axis=0)) / table.std(axis=0)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check-squeeze", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
minifold.check("squeeze", my_squeeze)

# %% [markdown]
# ## Quiz
#
# <details><summary>1. An alignment has one sequence only. What does the outer product mean tell?</summary>
#
# The two letters, through one outer product, and nothing about variation: the covariance of a single observation is 0. That is why AlphaFold2 is poor without
# relatives.
# </details>
#
# <details><summary>2. Is the covariance of columns i and j the same as that of j and i?</summary>
#
# The same numbers, as a transposed table. But the layer has different projections for left and right, so $z_{ij}$ and $z_{ji}$ may differ. The distogram
# head adds both.
# </details>
#
# <details><summary>3. A column never varies. What is its covariance with the others?</summary>
#
# Zero: centred, it is all zeros. What never varies cannot vary together with anything (lesson 03). The outer product mean *without* centring still
# knows its letter.
# </details>
#
# <details><summary>4. You copy every sequence of the alignment ten times. What does the outer product mean return?</summary>
#
# The same: a mean does not care about copies of everything. Copies of *some* sequences shift it, which is why relatives are weighted in DCA, and clustered in AlphaFold2.
# </details>
#
# <details><summary>5. Line 5 writes into z after line 2 has read it. Does what the alignment says in block 0 ever reach the row attention of block 0?</summary>
#
# Not in this block: it is the row attention of block 1 that reads it. In the next recycling even block 0 knows (lesson 09).
# </details>
#
# <details><summary>6. Why is m of the extra stack thrown away?</summary>
#
# Its sequences are there for their statistics, which have gone into z. The structure module needs the first row of the main m, and z.
# </details>
#
# ## In the paper
#
# AlphaFold2 (Jumper et al., *Nature* 596, 583, 2021), supplementary information:
#
# - The first pair representation: section 1.5, Algorithms 3, 4 and 5.
# - The Evoformer: section 1.6, Algorithm 6. The outer product mean: section 1.6.4, Algorithm 10.
# - The extra MSA stack: section 1.7.2, Algorithm 18. Distogram head: section 1.9.8.
# - Attention maps of the stack: section 1.16, Fig. 12 and 13.
# - Covariance of an alignment as a table of contacts: Göbel and others (1994); Morcos and others (2011).
#
# ## In real AlphaFold2
#
# | | here (`toy-nano`) | AlphaFold2 |
# |---|---|---|
# | blocks | 2 | 48 |
# | channels of m, of z | 32, 32 | 256, 128 |
# | outer product | 12 × 12 numbers | 32 × 32 numbers |
# | blocks for extra sequences | none (they count in the clusters' profiles) | 4, 64 channels, 1024 to 5120 sequences |
# | relative positions | cut at ±32 | cut at ±32 |
# | dropout | none | 0.15 (row attention), 0.25 (triangles) |
# | proteins | toy families of 24 to 48 residues | the Protein Data Bank, crops of 256, later 384 residues |
#
# ## What next
#
# The triangles: why a table of distances must be consistent, and how four layers see to it.
# [Lesson 06](06_triangle_updates.ipynb).
#
# <details><summary>Review: every claim of this lesson, and where it is shown</summary>
#
# | claim | where |
# |---|---|
# | the Evoformer takes m and z and returns both, refined | 5: from scratch, asserted equal |
# | it consists of 48 blocks of one kind, each with its own parameters | 6: parameters counted |
# | without templates the pair representation starts with simple defaults | 1: letters and relative position, asserted equal; 7: no contacts at the start |
# | three steps: list with hints from the table; outer product mean; consistency of the table | 5: drawing, code, exercise 2 |
# | information flows both ways | 5: one cell changed, who notices |
# | adding the maps of row attention would be the obvious way | 4: the mean score of any head is asserted to be one readout of the outer product mean |
# | outer products of projections within each sequence, averaged over all | 2: by hand; 4: asserted equal |
# | it is a covariance once columns are centred | 2 and 3: asserted against NumPy; column attention can centre, asserted |
# | the outer product mean finds contacts | 3: beside mutual information, DCA, shuffled columns, random pairs |
# | projecting to 32 numbers is necessary | 4: memory computed; exercise 3: two numbers go far |
# | the extra stack makes thousands of sequences affordable | 6: operations counted |
# | the table becomes the bottleneck of long proteins | 6: operations counted for growing N |
# | the table is made consistent by triangles | named here; 7: cut, something is lost; lesson 06 |
# | the structure shapes up early in the stack | 7: layer by layer, with controls, in a model of two blocks; in AlphaFold2 by citation |
# | row attention uses the hint of the pairs | lesson 04: a layer learns to; 7: **not needed** for the contacts of `toy-nano`, measured |
#
# </details>
