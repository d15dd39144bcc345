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
# # 04 · Axial attention: along the rows, down the columns
#
# > *An alignment is a picture made of letters, 512 sequences high and 256 residues wide. If each letter looks at
# > each other one, that makes 17 thousand million looks. How can a letter hear from all others, and the computer
# > still get done?*
#
# **Time:** about 75 minutes of reading and trying, 40 more for the exercises.
#
# **You need:** [lesson 02](02_multi_head_attention.ipynb) (heads, the gate) and
# [lesson 03](03_msa_and_coevolution.ipynb) (alignments, co-evolution, the toy world).
#
# **Afterwards you can**
# - say what attention over an alignment costs, and how rows and columns make it affordable;
# - write AlphaFold2's row attention, with pair bias and gate, and its column attention, and show that both equal
#   the package's;
# - show with an experiment that a network needs both directions, and in the right order;
# - explain global attention and the transition.
#
# New words are *set like this* at first use and collected in the [glossary](../docs/glossary.md).

# %%
import math
import time

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

import minifold
from minifold.config import Config
from minifold.data import msa
from minifold.data.residues import ATOM_INDEX, RESTYPES
from minifold.data.structures import read_structure
from minifold.data.toyworld import ToyWorld
from minifold.look import plots, style
from minifold.look.attention_view import attend
from minifold.model import msa_stack
from minifold.model.evoformer import EvoformerBlock
from minifold.model.primitives import Attention, Transition

# %%
style.use()
torch.set_num_threads(1)  # our matrices are small: one thread is fastest
MSA_FILE = "../data/sample_msas/kunitz_1bpi.a3m"

# %% [markdown]
# ## 1 · Three ways to look around
#
# At the end of lesson 03 each letter of the alignment had become a vector. All together they are the
# [*MSA representation*](../docs/glossary.md#msa-representation) $m$: a number $m_{sic}$ for each sequence $s$, residue
# $i$ and channel $c$. AlphaFold2 keeps it as an array of the shape `[s, i, c]`; $m_{si}$ is the vector of one *cell*
# of the picture.
#
# A cell has to be able to hear from all others: its neighbours in the same sequence (who is my partner?), the same
# residue in other sequences (am I conserved?), and by both from everywhere. Three ways to look around, for the cell
# marked with a star:

# %%
figure, axes = plt.subplots(1, 3, figsize=(9, 2.7))
S, N, star = 6, 9, (2, 3)
views = {
    "everywhere: full attention": np.ones((S, N)),
    "first along the row ...": np.arange(S)[:, None] == star[0] + np.zeros(N),
    "... then down the column": np.arange(N)[None] == star[1] + np.zeros((S, 1)),
}
for ax, (title, seen), color in zip(axes, views.items(), (style.GREY, style.ORANGE, style.BLUE)):
    for (s, i), looks in np.ndenumerate(seen):
        face = style.tint(color, 0.5) if looks else "white"
        ax.add_patch(plt.Rectangle((i, s), 0.9, 0.9, facecolor=face, edgecolor=style.GREY))
    ax.text(star[1] + 0.45, star[0] + 0.48, "★", ha="center", va="center", fontsize=13)
    ax.set(title=title, xlim=(-0.1, N), ylim=(S, -0.1), aspect="equal")
    ax.set(xticks=[], yticks=[], xlabel="residue", ylabel="sequence" if ax is axes[0] else "")
    ax.spines[:].set_visible(False)
plt.show()

# %% [markdown]
# Rows first and columns afterwards: this is called [*axial attention*](../docs/glossary.md#axial-attention), or
# criss-cross attention. It comes from computer vision, where the cells are the pixels of an image and full attention is
# just as unaffordable (Huang and others, *CCNet*, 2018; Ho and others, *Axial Attention*, 2019).
#
# ## 2 · What does it cost?
#
# Attention computes one weight for each pair of query and key. With $S$ sequences of $N$ residues:
#
# - full: each of $S N$ cells looks at $S N$ cells;
# - axial: each of $S N$ cells looks at $N$ cells of its row, then at $S$ cells of its column.
#
# ### Exercise 1 · Count the looks (easy)
#
# Write `my_looks(S, N)` that returns two numbers: how many weights full attention computes, and how many axial
# attention computes (one head).
#
# *In all exercises: try by yourself first. One possible answer stands between the two lines that
# start with `###`; delete it, write yours, run the check.*


# %% nbgrader={"grade": false, "grade_id": "looks", "locked": false, "schema_version": 3, "solution": true, "task": false}
def my_looks(S, N):
    """Number of weights: full attention, axial attention."""
    ### BEGIN SOLUTION
    return (S * N) ** 2, S * N * (N + S)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check-looks", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
minifold.check("looks", my_looks)

# %% [markdown]
# Formulas are good, measuring is better. We let an attention layer of minifold run over a growing square alignment and
# count the multiplications and additions it really does (*floating-point operations*, FLOPs), and look at the clock.
#
# **Predict first:** the alignment becomes twice as high and twice as wide. By which factor does full attention grow?
# And axial attention?

# %%
layer = Attention(c_q=32, c_kv=32, c_out=32, heads=1)
layer.path = "clear"  # compute the weights one by one, as written in lesson 01


@torch.no_grad()
def full(m):
    everything = m.reshape(1, -1, 32)  # all cells in one long row
    return layer(everything, everything).reshape(m.shape)


@torch.no_grad()
def axial(m):
    m = layer(m, m)  # rows
    columns = m.transpose(0, 1)
    return layer(columns, columns).transpose(0, 1)


# %%
def measure(function, m):
    """Operations, and the least seconds of three runs."""
    with FlopCounterMode(display=False) as counter:
        function(m)
    clocks = [time.perf_counter()]
    for _ in range(3):
        function(m)
        clocks.append(time.perf_counter())
    return counter.get_total_flops(), np.diff(clocks).min()


# %%
sides = [8, 16, 32, 64]
costs = {f: [measure(f, torch.randn(n, n, 32)) for n in sides] for f in (full, axial)}
print("size      full        axial      full / axial")
for k, n in enumerate(sides):
    a, b = costs[full][k][0], costs[axial][k][0]
    print(f"{n:2d} x {n:2d}  {a / 1e6:7.1f} M   {b / 1e6:6.1f} M   {a / b:5.1f}")
seconds = [costs[f][-1][1] for f in (full, axial)]
assert seconds[0] > 4 * seconds[1]
print("by the clock, at 64 x 64 full attention takes more than 4 times as long")

# %% [markdown]
# For small alignments it hardly matters (axial attention has two layers, so it may even cost more). Then the full one
# runs away: per doubling it grows nearly 16-fold, axial attention by less than 8. And it has to keep all the weights in memory.
# For a real alignment of AlphaFold2, 512 sequences of 256 residues, 8 heads, 4 bytes for each number:

# %%
full_looks, axial_looks = my_looks(512, 256)
for name, looks in (("full", full_looks), ("axial", axial_looks)):
    print(f"{name:5s} {looks:.3g} weights per head, {looks * 8 * 4 / 1e9:6.1f} GB for one layer")

rows = np.geomspace(8, 8192, 60)
figure, ax = plt.subplots(figsize=(7, 3.2))
for (name, cost), color in zip((("full", 0), ("axial", 1)), (style.RED, style.BLUE)):
    ax.loglog(rows, [my_looks(s, 256)[cost] * 32 / 1e9 for s in rows], label=name, color=color)
ax.axhline(80, color=style.INK, linewidth=1, linestyle=":")
ax.text(9, 110, "memory of a large graphics card: 80 GB", fontsize=9)
ax.set(xlabel="sequences (of 256 residues)", ylabel="GB for the weights")
ax.set_xticks([10, 100, 1000], ["10", "100", "1000"])
ax.legend(loc="lower right")
plt.show()

# %% [markdown]
# With full attention about 200 sequences would fill the whole card, for a single layer. AlphaFold2 has 48 blocks.
#
# ## 3 · Does everybody still hear from everybody?
#
# One step along the row reaches the cells of that row alone. **Predict first:** the second step goes down one column.
# Which cells can influence the star now?
#
# We can ask the computer: how does the star's result change if we change a cell a little? PyTorch calls that the
# *gradient*.


# %%
def influence(steps):
    """How strongly each cell acts on the star: [S, N]."""
    torch.manual_seed(0)
    layers = [Attention(8, 8, 8, heads=2) for _ in steps]
    start = x = torch.randn(S, N, 8, requires_grad=True)
    for layer, step in zip(layers, steps):
        torch.nn.init.eye_(layer.output.weight)  # a fresh output layer is 0 and passes nothing on
        x = x.transpose(0, 1) if step == "column" else x
        x = layer(x, x)
        x = x.transpose(0, 1) if step == "column" else x
    x[star].sum().backward()
    return start.grad.abs().sum(dim=-1).numpy()


reached = {steps: influence(steps) for steps in (("row",), ("column",), ("row", "column"))}
for steps, strength in reached.items():
    print(f"{' then '.join(steps):16s} reaches {(strength > 0).sum()} of {S * N} cells")

# %%
figure, axes = plt.subplots(1, 3, figsize=(9, 2.5))
for ax, (steps, strength) in zip(axes, reached.items()):
    shares = strength / strength.max()
    ax.imshow(np.where(strength > 0, shares**0.4, np.nan), cmap="Blues", vmin=-0.3, vmax=1)
    ax.text(star[1], star[0], "★", ha="center", va="center", fontsize=13, color=style.ORANGE)
    ax.set(title=" then ".join(steps), xticks=[], yticks=[], xlabel="residue")
axes[0].set_ylabel("sequence")
plt.show()

# %% [markdown]
# (Darker: stronger; white: no influence at all.) Two steps reach everybody. The way from cell $(t, j)$ to the star
# $(s, i)$ leads over the corner $(t, i)$: first along row $t$ from $j$ to $i$, then down column $i$ from $t$ to $s$. So
# the star looks at $(t, j)$ with a weight that is a *product*. We check it for the simplest attention, whose values
# are the vectors themselves:

# %%
torch.manual_seed(1)
x = torch.randn(S, N, 4)
along_rows = torch.softmax(x @ x.transpose(-2, -1) / 2, dim=-1)  # [s, i, j]
y = along_rows @ x
y_columns = y.transpose(0, 1)  # [i, s, c]
down_columns = torch.softmax(y_columns @ y_columns.transpose(-2, -1) / 2, dim=-1)  # [i, s, t]
two_steps = (down_columns @ y_columns).transpose(0, 1)

product = torch.einsum("ist,tij->sitj", down_columns, along_rows)  # star (s, i) looks at (t, j)
assert torch.allclose(torch.einsum("sitj,tjc->sic", product, x), two_steps, atol=1e-5)
assert torch.allclose(product.sum(dim=(2, 3)), torch.ones(S, N))
print("two steps = one full attention whose weights are products; they add up to 1")

# %% [markdown]
# That is the price: not any pattern of looks is possible, only products. It turns out to be a good bargain. But is it
# good enough to *learn* something that needs both directions?
#
# ### An experiment: kingdoms
#
# We make alignments in which every sequence belongs to one of four kingdoms. The kingdom is written
# in its first letter (W, X, Y or Z). Each kingdom has its own version of the protein, eight letters of an alphabet
# of eight, with a few copying mistakes. Some letters are hidden; find them.

# %%
KINGDOMS, SEQUENCES, LETTERS, HIDDEN = 4, 12, 8, 12  # tokens: 0-7 letters, 8-11 kingdoms, 12 hidden


def kingdoms(count, generator):
    """Alignments [count, 12, 9], the same with letters hidden, where, and the kingdoms."""
    versions = torch.randint(0, LETTERS, (count, KINGDOMS, 9), generator=generator)
    kingdom = torch.randint(0, KINGDOMS, (count, SEQUENCES), generator=generator)
    rows = versions.gather(1, kingdom[..., None].expand(-1, -1, 9))
    mistake = torch.rand(rows.shape, generator=generator) < 0.1
    rows = torch.where(mistake, torch.randint(0, LETTERS, rows.shape, generator=generator), rows)
    rows[:, :, 0] = LETTERS + kingdom
    hidden = torch.rand(rows.shape, generator=generator) < 0.2
    hidden[:, :, 0] = False
    return rows, rows.masked_fill(hidden, HIDDEN), hidden, kingdom


rows, shown, hidden, kingdom = kingdoms(1, torch.Generator().manual_seed(3))
for row in shown[0, :6]:
    print("   ", "".join("abcdefghWXYZ?"[k] for k in row))

# %% [markdown]
# You would look who else has the same first letter, and what they have in that column. That takes a look *along the
# row* (what is my kingdom?) and one *down the column* (what do my fellows have here?).
#
# **Predict first:** we train four networks of two attention layers each: row-row, column-column, column-row, row-column.
# Which of them can learn it?


# %%
class TwoLayers(torch.nn.Module):
    """Two attention layers, "r" along rows or "c" down columns; each is added to what was there."""

    def __init__(self, order):
        super().__init__()
        self.order = order
        self.embed = torch.nn.Embedding(13, 32)
        self.layers = torch.nn.ModuleList(Attention(32, 32, 32, heads=2) for _ in order)
        self.answer = torch.nn.Sequential(torch.nn.LayerNorm(32), torch.nn.Linear(32, LETTERS))
        for layer in self.layers:  # a fresh output layer is 0; starting at random is quicker here
            torch.nn.init.xavier_uniform_(layer.output.weight)

    def forward(self, tokens):
        m = self.embed(tokens)  # [b, s, i, c]
        for step, layer in zip(self.order, self.layers):
            x = F.layer_norm(m, [32])  # section 4
            x = x.transpose(1, 2) if step == "c" else x
            x = layer(x, x)
            m = m + (x.transpose(1, 2) if step == "c" else x)
        return self.answer(m)


# %%
def train(order, seed, steps=150):
    """A network trained to find hidden letters."""
    generator = torch.manual_seed(seed)
    network = TwoLayers(order)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1, 0.02, total_iters=steps)
    for _ in range(steps):
        rows, shown, hidden, _ = kingdoms(24, generator)
        loss = F.cross_entropy(network(shown)[hidden], rows[hidden])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return network


ORDERS = {"rr": "row, row", "cc": "column, column", "cr": "column, row", "rc": "row, column"}
networks = {(order, seed): train(order, seed) for order in ORDERS for seed in range(3)}

# %%
rows, shown, hidden, kingdom = kingdoms(100, torch.Generator().manual_seed(99))
seen = F.one_hot(shown, 13)[..., :LETTERS].float()  # hidden letters and kingdoms do not count
fellows = (kingdom[:, :, None] == kingdom[:, None]).float()


def share_right(scores):
    """Share of the hidden letters that get the highest score."""
    return (scores.argmax(dim=-1) == rows)[hidden].float().mean().item()


by_column = share_right(seen.sum(dim=1, keepdim=True).expand_as(seen))
by_fellows = share_right(torch.einsum("bst,btia->bsia", fellows, seen))
with torch.no_grad():
    right = {
        name: [share_right(networks[order, seed](shown)) for seed in range(3)]
        for order, name in ORDERS.items()
    }

# %%
figure, ax = plt.subplots(figsize=(7.5, 2.8))
for y, (name, shares) in enumerate(right.items()):
    color = style.BLUE if name == "row, column" else style.GREY
    ax.barh(y, np.mean(shares), color=style.tint(color, 0.5), height=0.6)
    ax.plot(shares, [y] * 3, "o", color=color, markersize=5)
ax.set_yticks(range(4), list(right))
floors = (
    (1 / 8, "guessing"),
    (by_column, "most frequent\nin the column"),
    (by_fellows, "... among\nknown fellows"),
)
for x, words in floors:
    ax.axvline(x, color=style.INK, linewidth=1, linestyle=":")
    ax.text(x, -0.65, words, fontsize=9, ha="center", va="bottom")
ax.set(xlabel="hidden letters found (dots: three seeds)", xlim=(0, 1), ylim=(3.5, -0.6))
plt.show()
for name, shares in right.items():
    print(f"{name:15s} at least as good as known fellows: {min(shares) > 0.95 * by_fellows}")
    assert min(shares) > 0.95 * by_fellows or max(shares) < 1.3 * by_column

# %% [markdown]
# Only one order works, in all three seeds. Columns alone see the letters of a column but not who is whose fellow; they end as good as the most
# frequent letter. Rows alone see nothing of the others. And "column, row" has the right steps in the wrong order: when
# the column is searched, no cell knows its kingdom yet. In AlphaFold2 48 blocks follow each other, so every order
# comes up in the end.
#
# What does the column layer look at? Its weights for one alignment, sequences sorted by kingdom, beside the kingdoms themselves
# and a network that was not trained:


# %%
@torch.no_grad()
def column_weights(network, tokens):
    """Mean over heads and residues of the weights of the second layer: [s, t]."""
    caught = []
    network.layers[1].record = caught.append
    network(tokens)
    network.layers[1].record = None
    return caught[0][0, 1:].mean(dim=(0, 1))  # [i, heads, s, t], the first column left out


# %%
order = kingdom[0].argsort(stable=True)
trained = column_weights(networks["rc", 0], shown[:1, order])
torch.manual_seed(0)
untrained = column_weights(TwoLayers("rc"), shown[:1, order])
same = fellows[0][order][:, order]
tags = ["WXYZ"[k] for k in kingdom[0, order]]
figure, axes = plt.subplots(1, 3, figsize=(9, 3.1), sharey=True)
maps = {
    "same kingdom": same / same.sum(dim=-1, keepdim=True),
    "trained": trained,
    "untrained": untrained,
}
for ax, (title, table) in zip(axes, maps.items()):
    image = style.heatmap(ax, table, tags, tags, cmap=style.WEIGHTS, limits=(0, 0.5))
    ax.set(title=title, xlabel="looks at")
figure.colorbar(image, ax=axes, label="weight")
plt.show()
inside = {name: (table * same).sum(dim=-1).mean() for name, table in maps.items()}
assert inside["trained"] > 0.7 > 0.4 > inside["untrained"]
print("more than 70 % of the weight stays in the kingdom; untrained: less than 40 %")

# %% [markdown]
# The column layer has found the kingdoms: the family tree of this little world. In the trained AlphaFold2, too, some heads of column attention show
# blocks of sequences that look at each other, much like the blocks of sequences with a small Hamming distance (supplement,
# Fig. 13; you will draw these maps in [lesson 12](12_attention_maps.ipynb)).
#
# ## 4 · Row attention from scratch
#
# Now AlphaFold2's first layer: **row-wise gated self-attention with pair bias**. In each sequence, residues look at
# each other. Four ingredients, three of them known: heads and the gate (lesson 02), the scaled dot product (lesson
# 01). New is the arrow from above: the *pair bias*.

# %%
places = {
    "m": (0.5, 1.1, 0.6, "m\n[s, i, c]", style.SKY),
    "z": (0.5, 2.75, 0.6, "z\n[i, j, c]", style.PURPLE),
    "norm": (1.75, 1.1, 0.9, "Layer-\nNorm", style.GREY),
    "qk": (3.35, 1.6, 1.0, "q, k", style.BLUE),
    "v": (3.35, 0.95, 1.0, "v", style.GREEN),
    "gate": (3.35, 0.3, 1.0, "gate σ(...)", style.YELLOW),
    "bias": (3.35, 2.75, 1.7, "norm, project:\none bias per head", style.PURPLE),
    "soft": (5.45, 1.6, 1.7, "softmax(\nq·k/√d + bias)", style.ORANGE),
    "sum": (7.15, 0.95, 0.8, "weights\n× v", style.GREEN),
    "mul": (7.95, 0.3, 0.5, "⊙", style.YELLOW),
    "out": (8.9, 0.3, 0.8, "output\nlayer", style.GREY),
}
flow = "m norm, norm qk, norm v, norm gate, z bias, bias soft, qk soft, soft sum, v sum"
flow += ", gate mul, sum mul, mul out"

# %%
figure, ax = style.canvas(9.4, 3.1)
for x, y, wide, words, color in places.values():
    style.box(ax, (x, y), words, size=(wide, 0.55), color=color, fontsize=9)
for link in flow.split(", "):
    (x0, y0, wide0, *_), (x1, y1, wide1, *_) = (places[name] for name in link.split())
    if link in ("bias soft", "soft sum", "sum mul"):  # from above
        style.arrow(ax, (x0 + wide0 / 2, y0), (x1, y1 + 0.29))
    else:
        style.arrow(ax, (x0 + wide0 / 2, y0), (x1 - wide1 / 2, y1))
plt.show()

# %% [markdown]
# First the plain part. [*Layer normalisation*](../docs/glossary.md#layer-normalisation) makes the numbers of each
# vector have mean 0 and variance 1, then stretches and shifts every channel by learned amounts. It keeps numbers in
# a sensible range, however many layers have added something before.


# %%
def norm(x, layer):
    """Mean 0, variance 1 over the channels; then times a weight, plus a bias."""
    x = x - x.mean(dim=-1, keepdim=True)
    x = x / torch.sqrt((x**2).mean(dim=-1, keepdim=True) + 1e-5)
    return x * layer.weight + layer.bias


x = 5 + 3 * torch.randn(2, 3, 16)
layer = torch.nn.LayerNorm(16)
torch.nn.init.normal_(layer.weight)
assert torch.allclose(norm(x, layer), layer(x), atol=1e-5)
print("equal to PyTorch's LayerNorm")

# %% [markdown]
# Then one gated attention for one row, as in lesson 02, with a bias that is added to the scores. And row attention
# is a loop over sequences. (The package takes a mask, too. Here it is 1 everywhere: all cells are real.)


# %%
def gated_attention(x, layer, bias):
    """x [n, c], bias [h, n, n]; the matrices are those of `layer` (lesson 02)."""
    matrices = (layer.q.weight, layer.k.weight, layer.v.weight, layer.gate.weight, layer.gate.bias)
    answers = []
    for h, parts in enumerate(zip(*(matrix.chunk(layer.heads) for matrix in matrices))):
        w_q, w_k, w_v, w_g, b_g = parts
        q, k, v = x @ w_q.T, x @ w_k.T, x @ w_v.T  # each [n, d]
        weights = torch.softmax(q @ k.T / math.sqrt(q.shape[-1]) + bias[h], dim=-1)
        answers.append(torch.sigmoid(x @ w_g.T + b_g) * (weights @ v))
    return torch.cat(answers, dim=-1) @ layer.output.weight.T + layer.output.bias


def row_attention(m, z, layer):
    """m [s, i, c], z [i, j, c_z]: Algorithm 7 of AlphaFold2, one sequence after the other."""
    bias = norm(z, layer.norm_z) @ layer.pair_bias.weight.T  # [i, j, h]
    bias = bias.permute(2, 0, 1)  # [h, i, j], the same for all sequences
    return torch.stack(
        [gated_attention(row, layer.attention, bias) for row in norm(m, layer.norm_m)]
    )


# %%
def randomise(module):
    """Random parameters, so that nothing is 0 or 1 by chance of being fresh."""
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return module


torch.manual_seed(0)
c_m, c_z, heads = 32, 16, 4
m, z, ones = torch.randn(7, 10, c_m), torch.randn(10, 10, c_z), torch.ones(1, 7, 10)
rows_layer = randomise(msa_stack.MSARowAttentionWithPairBias(c_m, c_z, heads))
with torch.no_grad():
    package = rows_layer(m[None], z[None], ones)[0]
    assert torch.allclose(row_attention(m, z, rows_layer), package, atol=1e-4)
print("equal to minifold's MSARowAttentionWithPairBias, bias and gate included")

# %% [markdown]
# ### Exercise 2 · Row attention (needs a thought)
#
# Write one head without loops over sequences: `my_row_attention(q, k, v, bias, gate)` with `q`, `k`, `v`
# and `gate` of the shape [s, i, d] and `bias` [i, j]; `gate` is already between 0 and 1.


# %% nbgrader={"grade": false, "grade_id": "row_attention", "locked": false, "schema_version": 3, "solution": true, "task": false}
def my_row_attention(q, k, v, bias, gate):
    """Answers [s, i, d] of one head."""
    ### BEGIN SOLUTION
    q, k, v, bias, gate = (torch.as_tensor(x) for x in (q, k, v, bias, gate))
    scores = torch.einsum("sic,sjc->sij", q, k) / math.sqrt(q.shape[-1]) + bias
    return gate * torch.einsum("sij,sjc->sic", torch.softmax(scores, dim=-1), v)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check-row_attention", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
minifold.check("row_attention", my_row_attention)

# %% [markdown]
# ## 5 · The pair bias: a hint from the budding structure
#
# Beside $m$, AlphaFold2 keeps a vector for each *pair* of residues: the
# [*pair representation*](../docs/glossary.md#pair-representation) $z_{ij}$, of the shape `[i, j, c]`. It collects what
# the network believes about the pair: how far apart, touching or not (lesson 05 shows how it learns that from
# the alignment). If it believes that $i$ and $j$ touch, then row attention had better look there. So each head reads a number
# $b_{ij}$ off $z_{ij}$ and adds it to the score:
#
# $$a_{ij} = \operatorname{softmax}_j\!\left(\frac{q_i \cdot k_j}{\sqrt{d}} + b_{ij}\right), \qquad b_{ij} = w \cdot \operatorname{LayerNorm}(z_{ij}).$$
#
# The exponential turns a sum into a product: $e^{s + b} = e^b e^s$. So the
# [*pair bias*](../docs/glossary.md#pair-bias) multiplies the odds of looking at $j$ by $e^b$, whatever the letters say. (In the language of
# probability: $b$ is the prior, the dot product the evidence.)
#
# Let us see it move. The letters are random vectors. The bias is $b$ for each pair of residues of BPTI that touch (Cα atoms nearer
# than 8 Å), and 0 elsewhere. **Predict first:** without bias, a
# sixth of all weight falls on touching pairs. How much is it with $b = 2$, and with $b = 5$?

# %%
chain = read_structure("../data/structures/1bpi.cif")
alpha = torch.tensor(chain.positions[:, ATOM_INDEX["CA"]])
touching = torch.cdist(alpha, alpha) < 8  # [58, 58]
torch.manual_seed(0)
q, k = torch.randn(2, 32, 58, 32)  # 32 random sequences, one head
scores = q @ k.transpose(-2, -1) / math.sqrt(32)

attentions = {b: torch.softmax(scores + b * touching, dim=-1) for b in (0, 2, 5)}
for b, a in attentions.items():
    print(
        f"b = {b}: odds times {math.exp(b):5.1f}, weight on touching pairs {(a * touching).sum(-1).mean():.2f}"
    )

# %%
maps = {f"b = {b}": a.mean(dim=0).numpy() for b, a in attentions.items()}
ways = ("residue looked at", "residue that looks")
plots.pair_maps(maps, "weight", (0.0, 0.12), style.WEIGHTS, ways)

# %% [markdown]
# (Mean over the 32 sequences.) The bias is the same for all sequences: one belief about the structure, shared by the whole family,
# since structure is more conservative than sequence.
#
# ### Exercise 3 · How much bias? (needs a thought)
#
# Write `my_bias(scores, j, target)`: the number to add to score `j` (counted from 0) so that after softmax it has the weight
# `target`. There is a formula without search.


# %% nbgrader={"grade": false, "grade_id": "bias", "locked": false, "schema_version": 3, "solution": true, "task": false}
def my_bias(scores, j, target):
    """The bias that gives key j the weight target."""
    ### BEGIN SOLUTION
    e = np.exp(np.asarray(scores, dtype=float) - np.max(np.asarray(scores)))
    odds = e[j] / (e.sum() - e[j])  # now
    return math.log(target / (1 - target)) - math.log(odds)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check-bias", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
minifold.check("bias", my_bias)

# %% [markdown]
# ### Does a network use the hint?
#
# Back to the toy world of lesson 03: families in which contacts evolve together. We hide letters, as in lesson 03, and train
# **one** row attention layer to find them. In $z_{ij}$ we write 1 if the pair is truly coupled. Two controls: nothing in $z$,
# and the couplings of *another* family.
#
# **Predict first:** always naming the most frequent amino acid is right in 6 % of the cases. How good are the three?

# %%
world = ToyWorld(length=24, depth=8, seed=5, block=128)
known, tests = world.sample(256), world.sample(64, start=512)


def hint(couplings, kind):
    """z [b, i, j, 2]: coupled or not, as we tell the network."""
    couplings = {
        "true": couplings,
        "another family's": couplings.roll(1, 0),
        "none": 0 * couplings,
    }[kind]
    return torch.stack([couplings, 1 - couplings], dim=-1)


# %%
def hide(tokens, generator):
    """Letters with 15 % hidden, and where."""
    hidden = (torch.rand(tokens.shape, generator=generator) < 0.15) & (tokens < 20)
    return tokens.masked_fill(hidden, 22), hidden


class OneRow(torch.nn.Module):
    """Embedding, row attention with pair bias, answer."""

    def __init__(self):
        super().__init__()
        self.embed, self.answer = torch.nn.Embedding(23, 32), torch.nn.Linear(32, 20)
        self.row = msa_stack.MSARowAttentionWithPairBias(32, 2, heads=4)

    def forward(self, tokens, z):
        m = self.embed(tokens)
        return self.answer(m + self.row(m, z, torch.ones(tokens.shape)))


# %%
def train_row(kind, steps=150):
    """A network trained with this kind of hint."""
    generator = torch.manual_seed(0)
    network = OneRow()
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    for _ in range(steps):
        picked = torch.randint(0, 256, (16,), generator=generator)
        tokens, z = known.tokens[picked], hint(known.couplings[picked], kind)
        shown, hidden = hide(tokens, generator)
        loss = F.cross_entropy(network(shown, z)[hidden], tokens[hidden])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network


# %%
@torch.no_grad()
def found(network, kind):
    """Share of hidden letters found in the test families."""
    shown, hidden = hide(tests.tokens, torch.Generator().manual_seed(9))
    answer = network(shown, hint(tests.couplings, kind)).argmax(dim=-1)
    return (answer == tests.tokens)[hidden].float().mean().item()


# %%
hinted = {kind: train_row(kind) for kind in ("none", "another family's", "true")}
shares = {f"hint: {kind}": found(network, kind) for kind, network in hinted.items()}
shares["trained with the true hint,\ngiven another family's"] = found(
    hinted["true"], "another family's"
)
letters = tests.tokens[tests.tokens < 20]
frequent = (torch.bincount(letters).max() / len(letters)).item()
figure, ax = plt.subplots(figsize=(7.5, 2.6))
ax.barh(list(shares), list(shares.values()), color=[style.GREY] * 2 + [style.BLUE, style.SKY])
ax.axvline(frequent, color=style.INK, linewidth=1, linestyle=":")
ax.set(xlabel="hidden letters found (dotted: always the most frequent amino acid)")
ax.invert_yaxis()
plt.show()
best = shares.pop("hint: true")
assert best > 1.6 * max(frequent, *shares.values())
print("the true hint finds more than 1.6 times as many as anything else")

# %% [markdown]
# The true hint about doubles the success; a wrong one is as useless as none, and the network that has learned to trust the hint fails
# when it is wrong. And what have the four heads made of it?

# %%
caught = []
network = hinted["true"]
network.row.attention.record = caught.append
with torch.no_grad():
    network(tests.tokens[:1], hint(tests.couplings[:1], "true"))
weights = caught[0][0].mean(dim=0)  # [heads, i, j]

maps = {"truly coupled": tests.couplings[0].numpy()}
maps |= {f"head {h}": weights[h].numpy() for h in range(4)}
plots.pair_maps(maps, "weight", (0.0, 0.4), style.WEIGHTS, ways)

# %%
coupled = tests.couplings[0] > 0
ratios = torch.stack([w[coupled].mean() / w[~coupled].mean() for w in weights])
print("some head looks at coupled pairs:", bool(ratios.max() > 4))
print("some head looks away from them:", bool(ratios.min() < 0.25))

# %% [markdown]
# Some follow the hint, others turn it round and look everywhere *but* there. Nobody told them the sign.
#
# ## 6 · The gate, a transistor
#
# A transistor has three legs. Current flows from one to the second, and the voltage on the third, the *gate*, decides
# how much of it. AlphaFold2's [*gate*](../docs/glossary.md#gate) does the same with numbers: the answer of the head is the
# current, and the cell that asks sets the voltage, by its projection onto a learned direction:
#
# $$g_{si} = \sigma(W_g\, m_{si} + b_g), \qquad o_{si} = g_{si} \odot \sum_j a_{sij} v_{sj}.$$

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(8.6, 3), width_ratios=(1, 1.3))
left.plot([0, 1.2, 1.2], [0.5, 0.5, 0.25], color=style.GREEN, linewidth=4, linestyle="-")
left.plot([1.6, 1.6, 2.8], [0.25, 0.5, 0.5], color=style.GREEN, linewidth=4, linestyle="-")
left.plot([0.95, 1.85], [0.2, 0.2], color=style.INK, linewidth=5, linestyle="-")
left.plot([1.4, 1.4], [0.1, -0.4], color=style.ORANGE, linewidth=4, linestyle="-")
left.plot([1.05, 1.75], [0.08, 0.08], color=style.ORANGE, linewidth=4, linestyle="-")
left.text(0, 0.6, "answer of\nthe head", color=style.GREEN)
left.text(2.0, 0.6, "what the cell\nreceives", color=style.GREEN)
left.text(1.55, -0.35, "the cell that asks", color=style.ORANGE)
left.set(xlim=(-0.1, 3.2), ylim=(-0.5, 1.1))
left.axis("off")
voltage = np.linspace(-6, 6, 100)
right.plot(voltage, 1 / (1 + np.exp(-voltage)), color=style.ORANGE)
for x, y, words in ((-5.8, 0.06, "shut"), (0.5, 0.45, "half open"), (4.0, 1.04, "open")):
    right.text(x, y, words, fontsize=10)
right.set(
    xlabel=r"projection of the cell, $W_g m + b_g$", ylabel="share let through", ylim=(-0.02, 1.2)
)
plt.show()

# %% [markdown]
# It is often said that such gates are nearly always shut or open, like a switch. Is that so? We look into a trained model, the
# little one that comes with minifold, while it folds BPTI. **Predict first:** which share of the gates is nearly
# shut (below 0.1), which nearly open (above 0.9)?

# %%
model = minifold.load()
openings = {}
for k, block in enumerate(model.trunk.evoformer.stack.blocks):
    for kind in ("msa_row", "msa_column"):

        def note(layer, inputs, output, name=(k, kind)):
            openings[name] = torch.sigmoid(output).flatten()

        getattr(block, kind).attention.gate.register_forward_hook(note)
attend(MSA_FILE, model, recycles=0)
figure, axes = plt.subplots(1, 4, figsize=(9, 2.3), sharey=True)
for ax, ((k, kind), opening) in zip(axes, openings.items()):
    ax.hist(opening.numpy(), np.linspace(0, 1, 21), density=True, color=style.ORANGE)
    ax.set(title=f"block {k + 1}, {kind[4:]}", xlabel="gate", xlim=(0, 1), yticks=[])
    shut, wide = ((opening < 0.1).float().mean().item(), (opening > 0.9).float().mean().item())
    print(
        f"block {k + 1}, {kind[4:]:6s}: shut {shut:.2f}, open {wide:.2f}, between {1 - shut - wide:.2f}"
    )
plt.show()

# %% [markdown]
# Not a switch, but a tap: in this model most gates are half open, and only some are nearly shut or wide open. (It is one small
# model that knows seven proteins by heart. The claim may be truer of a large one. Measure before you believe.)
#
# ## 7 · Column attention
#
# The same once more, down the columns: the sequences exchange what they have at this residue. There
# is no pair bias, since there is no representation of pairs of *sequences*. All we need is to turn the picture on its side:


# %%
def column_attention(m, layer):
    """m [s, i, c]: Algorithm 8, one column after the other."""
    columns = norm(m, layer.norm_m).transpose(0, 1)  # [i, s, c]
    no_bias = torch.zeros(layer.attention.heads, 1, 1)
    return torch.stack([gated_attention(x, layer.attention, no_bias) for x in columns], dim=1)


columns_layer = randomise(msa_stack.MSAColumnAttention(c_m, heads))
with torch.no_grad():
    package = columns_layer(m[None], ones)[0]
    assert torch.allclose(column_attention(m, columns_layer), package, atol=1e-4)
print("equal to minifold's MSAColumnAttention")

# %% [markdown]
# What can it do? **First: see conservation.** A head that looks at all sequences alike, and whose values are the one-hot
# letters, gives every cell the frequencies of its column, the *profile*:


# %%
kunitz = msa.read_alignment(MSA_FILE).tokens
one_hot = torch.tensor(msa.one_hot(kunitz))[None]  # [1, s, i, 23]
average = msa_stack.MSAColumnAttention(23, heads=1)
average.norm_m = torch.nn.Identity()
with torch.no_grad():
    for linear in (average.attention.q, average.attention.k):
        linear.weight.zero_()  # all scores are 0
    for linear in (average.attention.v, average.attention.output):
        linear.weight.copy_(torch.eye(23))
    average.attention.gate.bias.fill_(50)  # wide open
    profile = average(one_hot, torch.ones(one_hot.shape[:3]))[0]  # [s, i, 23]
assert torch.allclose(profile[:, :, :22], torch.tensor(msa.profile(kunitz)), atol=1e-5)
print("every cell has received the profile of its column")
print(f"share of cysteine at 5: {profile[0, 4, RESTYPES.index('C')]:.2f}")

# %% [markdown]
# **Second: find relatives**, if the cells know by then who they are: the kingdoms in section 3.
#
# **Third: pass on news.** AlphaFold2 runs several times ([lesson 09](09_recycling.ipynb)), and what the last
# round found out about the structure is written into the *first* row only, that of the query. How does it get to the others? By
# a head that looks at the first row, whoever asks. In the trained AlphaFold2 there are such heads (supplement, Fig. 13b).
# By hand: channel 0 is a flag that only the first row carries, channel 1 the news, channel 2 is 1 everywhere.

# %%
cells = torch.zeros(6, 9, 3)  # [s, i, c]
cells[0, :, 0] = 1
cells[0, :, 1] = torch.linspace(-1, 1, 9)  # one number for each residue
cells[:, :, 2] = 1
reader, caught = Attention(3, 3, 3, heads=1, gated=False), []
reader.record = caught.append
with torch.no_grad():
    for linear in (reader.v, reader.output):
        linear.weight.copy_(torch.eye(3))
    reader.q.weight.copy_(torch.tensor([[0.0, 0, 20], [0, 0, 0], [0, 0, 0]]))  # all ask ...
    reader.k.weight.copy_(torch.tensor([[1.0, 0, 0], [0, 0, 0], [0, 0, 0]]))  # ... for the flag
    columns = cells.transpose(0, 1)
    heard = reader(columns, columns).transpose(0, 1)
assert torch.allclose(heard[:, :, 1], cells[0, :, 1].expand(6, 9), atol=1e-3)
print(
    f"all rows look at row 1 with a weight of at least {caught[0][..., 0].min():.3f} and know its news"
)

# %% [markdown]
# ## 8 · Thousands of sequences: global attention
#
# The rows that did not become cluster centres (lesson 03) are up to 5120. Now columns are the trouble: $S^2$ weights for each residue.
# AlphaFold2's way out is [*global attention*](../docs/glossary.md#global-attention): there is only **one query per column**, made from the mean of
# all its cells. Each head has its own query, and all heads share one set of keys and values. The one answer goes to every cell, and the
# cell's own gate decides what to take of it.


# %%
def draw_looks(ax, queries, title):
    """Lines from each query to each of five keys."""
    heights = np.linspace(0.3, 2.5, 5)
    for y, word in queries:
        for height in heights:
            ax.plot([1.5, 3.3], [y, height], "-", color=style.GREY, linewidth=0.8, zorder=0)
        style.box(ax, (1, y), word, size=(1.0, 0.4), color=style.ORANGE, fontsize=8)
    for s, height in enumerate(heights, start=1):
        style.box(ax, (3.8, height), f"key {s}", size=(1.0, 0.4), color=style.SKY, fontsize=8)
    ax.set(xlim=(0.3, 4.5), ylim=(0, 2.8), title=title)
    ax.axis("off")


figure, (left, right) = plt.subplots(1, 2, figsize=(8, 2.5))
each = [(y, f"query {s}") for s, y in enumerate(np.linspace(0.3, 2.5, 5), start=1)]
draw_looks(left, each, "column attention: 5 × 5 weights")
draw_looks(right, [(1.4, "mean query")], "global attention: 1 × 5 weights")
plt.show()


# %%
def global_attention(m, layer):
    """m [s, i, c]: Algorithm 19 without mask, one column after the other."""
    a, results = layer.attention, []
    for x in norm(m, layer.norm_m).transpose(0, 1):  # [s, c]
        q = (x.mean(dim=0) @ a.q.weight.T).view(a.heads, -1)  # [h, d]
        k, v = x @ a.k.weight.T, x @ a.v.weight.T  # [s, d]: one set for all heads
        weights = torch.softmax(q @ k.T / math.sqrt(k.shape[-1]), dim=-1)  # [h, s]
        answer = (weights @ v).flatten()  # [h * d], the same for all sequences
        gate = torch.sigmoid(x @ a.gate.weight.T + a.gate.bias)  # [s, h * d]
        results.append((gate * answer) @ a.output.weight.T + a.output.bias)
    return torch.stack(results, dim=1)


global_layer = randomise(msa_stack.MSAColumnGlobalAttention(c_m, heads))
with torch.no_grad():
    package = global_layer(m[None], ones)[0]
    assert torch.allclose(global_attention(m, global_layer), package, atol=1e-4)
print("equal to minifold's MSAColumnGlobalAttention")

# %% [markdown]
# **Predict first:** 5120 sequences of 256 residues, 8 heads, 4 bytes per weight: how much memory do the weights of
# one column layer take, how much those of one global layer?

# %%
plain, single = (256 * 8 * looks * 4 / 1e9 for looks in (5120**2, 5120))
print(f"column attention {plain:.0f} GB, global attention {single:.2f} GB")
with torch.no_grad():
    for name, layer in (("column", columns_layer), ("global", global_layer)):
        layer.attention.gate.weight.zero_()  # all gates alike, whoever asks
        result = layer(m[None], ones)[0]
        print(
            f"{name}: all sequences receive the same: {torch.allclose(result, result[:1], atol=1e-5)}"
        )

# %% [markdown]
# The price shows in the second half: without gates all sequences receive the same. Nobody can look for relatives of their own.
# For the extra sequences that is good enough: they are there for their statistics.
#
# ## 9 · The transition: thinking it over
#
# Attention moves and averages. But an average cannot say "this *and not* that". So, after both attentions, each cell
# thinks over what it has heard, by itself: a small network with one hidden layer, four times as wide, the same for all cells. It is
# called the [*transition*](../docs/glossary.md#transition). Between its two layers, numbers below 0 become 0
# (*ReLU*, the simplest function that is not linear).


# %%
def transition(x, layer):
    """Algorithm 9, for each cell by itself."""
    hidden = norm(x, layer.norm) @ layer.linear_1.weight.T + layer.linear_1.bias  # 4 times as wide
    return hidden.clamp(min=0) @ layer.linear_2.weight.T + layer.linear_2.bias


think = randomise(Transition(c_m, factor=4))
with torch.no_grad():
    assert torch.allclose(transition(m, think), think(m), atol=1e-4)
print("equal to minifold's Transition")

# %% [markdown]
# An example of what it can and attention's average cannot: a cell has heard $a$ = "my partner is positive" and
# $b$ = "I am positive", each 0 or 1. It wants to know whether the two *fit*: exactly one of them is positive. The
# best linear function of $a$ and $b$, and two hidden numbers with ReLU:

# %%
heard = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], dtype=float)
fits = np.array([0.0, 1, 1, 0])
table = np.column_stack([heard, np.ones(4)])
linear = table @ np.linalg.lstsq(table, fits, rcond=None)[0]
a, b = heard.T
relu = np.maximum(a + b, 0) - 2 * np.maximum(a + b - 1, 0)
print("wanted     ", fits)
print("linear     ", linear.round(2))
print("with ReLU  ", relu)
assert np.allclose(linear, 0.5) and np.array_equal(relu, fits)

# %% [markdown]
# The linear function can do no better than say "half" to everything.
#
# ## 10 · The upper half of the Evoformer block
#
# Put together. Each layer adds its answer to what was there
# (the residual connection of lesson 02). In training, some of the row layer's answers are dropped; not here.

# %%
figure, ax = style.canvas(9.2, 2.3)
style.box(ax, (0.6, 1.6), "m", size=(0.7, 0.6), color=style.SKY)
stations = (
    (2.35, "row attention\n+ pair bias", style.ORANGE),
    (5.0, "column\nattention", style.BLUE),
)
stations += ((7.3, "transition", style.GREEN),)
end = 0.95
for x, words, color in stations:
    ax.plot([end, x + 0.88], [1.6, 1.6], "-", color=style.INK, linewidth=1.6)
    ax.plot([x - 1.05, x - 1.05, x - 0.75], [1.6, 0.75, 0.75], "-", color=style.INK, linewidth=1.6)
    style.box(ax, (x, 0.75), words, size=(1.5, 0.62), color=color, fontsize=10)
    ax.plot([x + 0.75, x + 1.05, x + 1.05], [0.75, 0.75, 1.42], "-", color=style.INK, linewidth=1.6)
    style.box(ax, (x + 1.05, 1.6), "+", size=(0.34, 0.34), color=style.GREY)
    end = x + 1.22
style.arrow(ax, (end, 1.6), (9.1, 1.6))
ax.text(0.95, 0.12, "z", weight="bold", color=style.PURPLE, ha="center", va="center")
style.arrow(ax, (1.1, 0.12), (2.35, 0.42), color=style.PURPLE)
plt.show()


# %%
def msa_half(m, z, block):
    """Algorithm 6, lines 2 to 4."""
    m = m + row_attention(m, z, block.msa_row)
    m = m + column_attention(m, block.msa_column)
    return m + transition(m, block.msa_transition)


config = Config(c_m=32, c_z=16, msa_heads=4, msa_dropout=0.0, pair_dropout=0.0)
block = randomise(EvoformerBlock(config))
with torch.no_grad():
    theirs, _ = block(m[None], z[None], ones, torch.ones(1, 10, 10))
    ours = msa_half(m, z, block)
    assert torch.allclose(ours, theirs[0], atol=1e-3 * float(ours.abs().max()))
print("equal to the m that minifold's EvoformerBlock returns")

full_size = EvoformerBlock(Config())
for name in ("msa_row", "msa_column", "msa_transition"):
    numbers = sum(p.numel() for p in getattr(full_size, name).parameters())
    print(f"{name:15s} {numbers:8,} parameters in AlphaFold2")

# %% [markdown]
# The transition has the most parameters of the three.
#
# ### Exercise 4 · Fill in the family (open)
#
# An alignment of 12 sequences and 24 columns; each sequence belongs to one of three branches, but this time nothing says to
# which. 15 % of the letters are hidden. Write `my_fill_in(tokens)`: `tokens` [12, 24] are numbers 0 to 19, and 20 for hidden;
# return your letters [12, 24] (only the hidden places count). Target: 75 % of the hidden letters on 100 alignments
# that you do not know. The most frequent letter of the column reaches about 30 %.
#
# Do it with attention: let sequences look at each other with weights from a softmax, where the scores compare *whole
# rows*, and let each cell collect the letters of its column. How near can you get to 85 %, what one reaches who knows the
# branches? Which temperature is best?


# %% nbgrader={"grade": false, "grade_id": "fill_in", "locked": false, "schema_version": 3, "solution": true, "task": false}
def my_fill_in(tokens):
    """Letters [12, 24] from what the relatives have in the column."""
    ### BEGIN SOLUTION
    one_hot = torch.eye(21)[torch.as_tensor(np.asarray(tokens)).long()][..., :20]  # hidden: zeros
    rows = one_hot.flatten(1)  # what row attention could collect: the whole sequence
    scores = rows @ rows.T / 0.7  # equal letters, at temperature 0.7
    weights = torch.softmax(scores.fill_diagonal_(-1e9), dim=-1)  # [s, t], for all columns
    return torch.einsum("st,tia->sia", weights, one_hot).argmax(dim=-1)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check-fill_in", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
minifold.check("fill_in", my_fill_in)

# %% [markdown]
# ## Quiz
#
# <details><summary>1. An alignment has one sequence only. What does column attention do?</summary>
#
# Each cell can look at itself alone, with weight 1. The layer is then a gated linear function of the cell. Row attention works as usual.
# </details>
#
# <details><summary>2. The pair bias is the same for all sequences. Would it be better to have one for each sequence?</summary>
#
# There is one structure for the whole family, so one belief about it is enough, and S times cheaper. What is special in a sequence comes in by its own
# queries and keys.
# </details>
#
# <details><summary>3. You add 7 to the pair bias of all pairs. What changes?</summary>
#
# Nothing: softmax only sees differences (lesson 01).
# </details>
#
# <details><summary>4. The gate of a cell is shut. Can the cell still be looked at?</summary>
#
# Yes. The gate stops what the cell receives; its key and value are open to all.
# </details>
#
# <details><summary>5. You shuffle the rows of the alignment (not the first). What happens to the result?</summary>
#
# Its rows are shuffled in the same way, nothing else: attention does not know any order of sequences. With the columns it is different: their order is
# known from the pair representation.
# </details>
#
# <details><summary>6. Why has the extra MSA global attention for its columns, but ordinary attention for its rows?</summary>
#
# Rows cost S N², columns S² N. With 5120 sequences of 256 residues the columns cost 20 times as much; the rows do not suffer from many sequences.
# </details>
#
# ## In the paper
#
# AlphaFold2 (Jumper et al., *Nature* 596, 583, 2021), supplementary information:
#
# - Row attention with pair bias: section 1.6.1, Algorithm 7 (line 3: the bias; line 4: the gate; line 5: the weights).
# - Column attention: section 1.6.2, Algorithm 8. Transition: section 1.6.3, Algorithm 9.
# - Global column attention in the extra MSA stack: section 1.7.2, Algorithm 19.
# - The block: Algorithm 6, lines 2 to 4. Heads of column attention looked at: section 1.16, Fig. 13.
# - Rows and columns of alignments in a language model of proteins: Rao and others, *MSA Transformer* (2021).
#
# ## In real AlphaFold2
#
# | | here | AlphaFold2 |
# |---|---|---|
# | sequences × residues in training | 7 × 10 | 128 × 256, later 512 × 384 |
# | channels of m, of z | 32, 16 | 256, 128 |
# | heads, numbers per head | 4, 8 | 8, 32 |
# | blocks | 1 | 48, and 4 for the extra sequences (64 channels, 8 heads of 8) |
# | transition | 4 times as wide | 4 times as wide |
# | dropout of the row layer's answers | 0 | 0.15, whole columns together |
# | bias, gate | learned in small experiments | learned |
#
# ## What next
#
# The arrow from $z$ to $m$ is built. But who fills $z$? The alignment does, by an outer product. Then the circle is closed:
# [lesson 05](05_evoformer.ipynb).
#
# <details><summary>Review: every claim of this lesson, and where it is shown</summary>
#
# | claim | where |
# |---|---|
# | full attention over an alignment is unaffordable; axial attention is the frugal alternative | 2: operations counted, clock asserted, memory computed |
# | first the residues of the same sequence, then the same residue in the other sequences | 1, drawing; 3: influence measured |
# | the idea comes from vision | 1, by citation |
# | after both steps every cell has heard from every other | 3: gradients; asserted to be one attention whose weights are products |
# | a network needs both, rows before columns | 3: four networks of equal depth |
# | row attention is gated self-attention with heads | 4: drawing, from scratch, asserted equal |
# | the pair representation biases the scores | 4 and 5: asserted equal; moved by hand |
# | if the budding structure says that two residues interact, row attention uses it | 5: trained with true, wrong and no hint |
# | the gate works like a transistor | 6: drawing and curve |
# | a gate is nearly always shut or open | 6: **not so** in our trained model; measured |
# | the gate is shut by the projection of the query | 6: the formula; asserted equal in 4 |
# | column attention exchanges information between sequences | 7: asserted equal |
# | it helps to see conserved positions | 7: computes the profile, asserted |
# | it helps to see co-evolved positions | needs rows and columns together: 5 (partner along the row), lesson 05 (outer product) |
# | it passes news of the structure from the first sequence to the others | 7: by hand; in trained models: lesson 12 |
# | for some residues only a subset of the sequences counts | 3: kingdoms; in a trained model: lesson 12 |
# | attention maps come to resemble the tree of descent | 3: kingdoms, beside an untrained network; in AlphaFold2 by citation |
# | many more sequences need a cheaper column layer | 8: asserted equal, memory computed |
# | the transition works on each cell by itself | 9: asserted equal; what averages cannot do |
#
# </details>
