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
# # 06 · Triangles: three distances are not free
#
# > *Residue 3 is 5 Å away from residue 40, and 40 is 6 Å away from 71. You have never seen 3 and 71
# > together. What do you know about them all the same?*
#
# **Time:** about 75 minutes of reading and trying, 45 more for the exercises.
#
# **You need:** attention ([lesson 02](02_multi_head_attention.ipynb)), the pair representation
# ([lesson 05](05_evoformer.ipynb)), and how two matrices are multiplied.
#
# **Afterwards you can**
# - say what the triangle inequality knows about a distance map, and use it to fill in gaps;
# - explain why "outgoing" and "incoming" triangle updates are matrix products, and write them;
# - write triangle attention, and say what the multiplication saves;
# - show by measurement, with error bars, that triangles matter;
# - find mistakes in a network by testing properties instead of reading code.
#
# New words are *set like this* at first use and collected in the [glossary](../docs/glossary.md).

# %%
import inspect
import math
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F

import minifold
from minifold.checks import lesson_06
from minifold.data.structures import read_structure, structure_files
from minifold.look import style
from minifold.look.view3d import view
from minifold.model.pair_stack import PairStack, TriangleAttention, TriangleMultiplication
from minifold.training.baselines import random_walk
from minifold.training.superposition import rmsd

style.use()
torch.set_num_threads(1)  # our matrices are tiny: one thread is fastest

# %% [markdown]
# ## 1 · What every distance map obeys
#
# A [*distance map*](../docs/glossary.md#distance-map) is a table of all distances between residues of a protein, measured between their Cα
# atoms, the middle atoms of the residues. Seven real proteins come with minifold. Here is ubiquitin.

# %%
CHAINS = [read_structure(path) for path in structure_files("../data/structures")]
CA = [chain.positions[:, 1][chain.mask[:, 1] > 0].astype(float) for chain in CHAINS]


def distances(x):
    """All distances [*, n, n] of points [*, n, 3]."""
    return np.linalg.norm(x[..., :, None, :] - x[..., None, :, :], axis=-1)


MAPS = {chain.name: distances(x) for chain, x in zip(CHAINS, CA)}
UBIQUITIN = MAPS["1UBQ"]
figure, ax = plt.subplots(figsize=(4.6, 3.8))
image = ax.imshow(UBIQUITIN, extent=(0.5, 76.5, 76.5, 0.5), cmap="cividis_r", vmin=0, vmax=30)
figure.colorbar(image, label="Cα distance (Å)", extend="max")
ax.set(title="ubiquitin", xlabel="residue j", ylabel="residue i")
plt.show()

# %% [markdown]
# A map of 76 residues has $76 \cdot 75 / 2 = 2850$ distances. But they are not 2850 independent numbers. For any three points,
# a detour is never shorter than the straight way:
#
# $$d_{ij} \le d_{ik} + d_{kj} .$$
#
# This is the [*triangle inequality*](../docs/glossary.md#triangle-inequality). The same inequality for the two other sides says
# $d_{ij} \ge |d_{ik} - d_{kj}|$. So two sides of a triangle leave the third only an interval:

# %%
figure, ax = style.canvas(8.4, 2.9)
shift = {"i": (-0.2, -0.1), "k": (0, -0.3), "j": (0.08, 0.12)}
for x, angle, name in ((0.5, 175, "largest"), (3.6, 75, "in between"), (6.4, 5, "smallest")):
    k = np.array([x + 0.9, 1.0])
    i = k + 0.8 * np.array([-1, 0.0])
    j = k + 0.96 * np.array([-math.cos(math.radians(angle)), math.sin(math.radians(angle))])
    ax.plot(*np.stack([i, k]).T, "-", color=style.BLUE, linewidth=3)
    ax.plot(*np.stack([k, j]).T, "-", color=style.ORANGE, linewidth=3)
    ax.plot(*np.stack([i, j]).T, ":", color=style.GREEN, linewidth=3)
    for point, letter in ((i, "i"), (k, "k"), (j, "j")):
        ax.plot(*point, "o", color=style.INK, markersize=7)
        ax.text(*(point + shift[letter]), letter, fontsize=13, ha="center")
    third = math.sqrt(25 + 36 - 60 * math.cos(math.radians(angle)))
    ax.text(x + 0.9, 0.2, f"{name}: {third:.1f} Å", ha="center")
ax.text(0.6, 2.45, "d(i,k) = 5 Å", color=style.BLUE, weight="bold")
ax.text(2.3, 2.45, "d(k,j) = 6 Å", color=style.ORANGE, weight="bold")
ax.text(4.0, 2.45, "d(i,j): between 1 and 11 Å", color=style.GREEN, weight="bold")
plt.show()

# %% [markdown]
# That answers the opening question: between 1 and 11 Å. Not much, but a protein has many residues $k$, and each adds its own interval.
#
# **Predict first:** in how many of the triangles of the seven real maps is the inequality broken? And if we take ubiquitin's distances and deal them out again to other pairs, like
# cards? And if every distance is measured with an error of 2 Å?


# %%
def broken(d, by=0.1):
    """Share of triples i, j, k whose direct way i-j is longer than the detour, by 0.1 Å or more."""
    detour = d[..., :, None, :] + np.swapaxes(d, -1, -2)[..., None, :, :]  # [*, i, j, k]
    return np.mean(d[..., None] > detour + by)


def symmetric(upper):
    """A symmetric map from what stands above the diagonal."""
    upper = np.triu(upper, 1)
    return upper + np.swapaxes(upper, -1, -2)


rng = np.random.default_rng(0)
above = np.triu_indices(76, 1)
dealt = np.zeros((76, 76))
dealt[above] = rng.permutation(UBIQUITIN[above])
noisy = symmetric(UBIQUITIN + 2 * rng.normal(size=(76, 76)))
triples = sum(len(d) ** 3 for d in MAPS.values())
print(f"real: {max(broken(d) for d in MAPS.values()):.1%} of {triples:,} triples")
print(f"dealt out again: {broken(symmetric(dealt)):.1%},  error of 2 Å: {broken(noisy):.1%}")

# %% [markdown]
# Never; in 7 of 100; in 4 of 100. (The counts include flat triangles such as $k = i$, which nothing can break.) A distance map is a very special kind of matrix, and most matrices that a network could put out are not.
# A network that knows about triangles has less to guess.
#
# ## 2 · Filling gaps with nothing but triangles
#
# Now the game that this lesson plays throughout. Somebody tells us one distance in five, and that neighbours in the chain are 3.8 Å apart. We shall say
# all the others. The protein is the Trp-cage, 20 residues.
#
# Start with upper bounds: what is told is an upper bound for itself, everything else is "at most 1000 Å". Each $k$ may tighten:
#
# $$U_{ij} \leftarrow \min\bigl(U_{ij},\; \min_k\, (U_{ik} + U_{kj})\bigr) .$$
#
# ### Exercise 1 · Tighten (easy)
#
# Write `my_tighten(U)`: one round of this, for a table of bounds [n, n] with zeros on the diagonal.
#
# *In all exercises: try by yourself first. One possible answer stands between the two lines that
# start with `###`; delete it, write yours, run the check.*


# %% nbgrader={"grade": false, "grade_id": "tighten", "locked": false, "schema_version": 3, "solution": true, "task": false}
def my_tighten(U):
    """Upper bounds [n, n] after all detours with one stop have been looked at."""
    ### BEGIN SOLUTION
    U = np.asarray(U)
    detours = U[:, :, None] + U[None]  # [i, k, j]
    return np.minimum(U, detours.min(axis=1))
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check-tighten", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
minifold.check("tighten", my_tighten)

# %% [markdown]
# **Predict first:** after how many rounds does nothing change any more, for 20 residues of which neighbours are known?

# %%
TRP_CAGE = MAPS["1L2Y"]
apart = abs(np.subtract.outer(np.arange(20), np.arange(20)))
known = symmetric(np.random.default_rng(3).random((20, 20)) < 0.2) > 0
known |= apart <= 1
seen = np.where(known, TRP_CAGE, 0)
print(f"told: {int((known & (apart > 1)).sum()) // 2} of 171 distances")

U = np.where(known, seen, 1000.0)
for round_ in range(1, 10):
    tighter = np.minimum(U, (U[:, :, None] + U[None]).min(axis=1))
    changed = int((tighter < U - 1e-9).sum()) // 2
    print(f"round {round_}: {changed} bounds tighter")
    if not changed:
        break
    U = tighter

# %% [markdown]
# One round allows detours with one stop, two rounds with three stops, three with seven: with each round, twice as many steps. What comes out is the *shortest path* between any two residues along known
# distances. From upper bounds follow lower ones, $L_{ij} \ge L_{ik} - U_{kj}$; the package's check file has both as `bounds`. How good a guess is the middle between the two?

# %%
lower, upper = lesson_06.bounds(seen, known)
assert (
    np.allclose(upper, U) and (lower <= TRP_CAGE + 1e-9).all() and (upper + 1e-9 >= TRP_CAGE).all()
)
hidden = ~known
middle = (lower + upper) / 2
figure, axes = plt.subplots(1, 4, figsize=(9, 2.7), sharey=True)
shown = (
    (np.where(known, TRP_CAGE, np.nan), "told"),
    (lower, "lower bound"),
    (upper, "upper bound"),
    (TRP_CAGE, "truth"),
)
for ax, (picture, title) in zip(axes, shown):
    image = ax.imshow(picture, cmap="cividis_r", vmin=0, vmax=25)
    ax.set(title=title, xticks=[], yticks=[])
figure.colorbar(image, ax=axes, label="Å", extend="max")
plt.show()
print(f"between the bounds, on average: {(upper - lower)[hidden].mean():.1f} Å")
print(f"mean error of the middle: {abs(middle - TRP_CAGE)[hidden].mean():.2f} Å")

# %% [markdown]
# Quite something for a rule that knows nothing about proteins. But it is a *hard* rule: it takes every number for exact. With one wrong distance the bounds contradict each other, and a network's
# guesses are never exact. Can the rule be made soft?
#
# ## 3 · From a hard rule to a soft one
#
# Remember softmax and its temperature ([lesson 01](01_fuzzy_search_attention.ipynb)). The minimum over $k$ has a soft version, too:
#
# $$\min_k\,(d_{ik} + d_{kj}) \;\approx\; -T \log \sum_k e^{-(d_{ik} + d_{kj})/T}
#    \;=\; -T \log \sum_k \underbrace{e^{-d_{ik}/T}}_{a_{ik}}\; \underbrace{e^{-d_{kj}/T}}_{b_{jk}} ,$$
#
# and the colder, the nearer to the minimum. Look at the right hand side. Every edge is turned into a number, $a_{ik}$ or $b_{jk}$, two numbers are multiplied, and the products are added
# up over $k$. That is **a matrix product**, $A B^\top$.

# %%
shortest = (U[:, :, None] + U[None]).min(axis=1)
for T in (2.0, 0.5, 0.1):
    A = np.exp(-U / T)
    B = np.exp(-U.T / T)  # b[j, k] is about the edge from k to j; distances are the same both ways
    soft = -T * np.log(A @ B.T)
    print(f"T = {T}: at most {abs(soft - shortest).max():.2f} Å from the minimum")
assert abs(soft - shortest).max() < 0.5

# %% [markdown]
# This is the idea of the [*triangle multiplicative update*](../docs/glossary.md#triangle-update): edges as matrices, and "all detours from i to j" is one matrix product. Only that the network
# *learns* how to turn an edge into numbers, and has not one of them but 128.
#
# Matrix products of edges find other things, too. Write a 1 where two residues touch. Then $(A A^\top)_{ij} = \sum_k a_{ik} a_{jk}$ counts the residues that touch *both*.
# **Predict first:** are two residues that have common acquaintances more likely to know each other?

# %%
counts = np.zeros((2, 4))
for d in MAPS.values():
    far, steps = np.triu(d > -1, 6), abs(np.subtract.outer(*2 * [np.arange(len(d))]))
    contact = ((d < 8) & (steps > 1)).astype(int)  # neighbours in the chain do not count
    common = (contact @ contact.T).clip(max=3)
    for shared in range(4):
        cell = far & (common == shared)
        counts[:, shared] += cell.sum(), (cell & (d < 8)).sum()
for shared, (pairs, contacts) in enumerate(counts.T):
    words = "3 or more" if shared == 3 else str(shared)
    print(f"{words} common contacts: {contacts / pairs:4.0%} of {pairs:.0f} pairs touch")
print(f"all pairs: {counts[1].sum() / counts[0].sum():.0%}")
assert counts[1, 0] / counts[0, 0] < 0.01 and counts[1, 3] / counts[0, 3] > 0.2

# %% [markdown]
# The friend of my friend is often my friend, and without a common friend hardly anybody is. (Pairs less than six apart in the chain are left out.) This, too, a triangle update can learn; nobody has to choose between the two rules.
#
# ## 4 · Outgoing and incoming
#
# AlphaFold2's pair representation $z$ holds a vector for each *ordered* pair, an arrow from $i$ to $j$ ([lesson 05](05_evoformer.ipynb)). Is $z_{ij}$ not the same as $z_{ji}$? For a distance it would be. But "j is four residues
# *after* i" is not, nor is "j lies to the left of i". So the two arrows of a pair have vectors of their own, and there are two kinds of triangles, by the direction of the arrows at the third residue $k$:

# %%
figure, ax = style.canvas(8.6, 3.1)
for x, outgoing in ((1.9, True), (6.3, False)):
    i, j, k = np.array([[x - 1.1, 0.7], [x + 1.1, 0.7], [x, 2.3]])
    for point, other, color in ((i, k, style.BLUE), (j, k, style.ORANGE), (i, j, style.GREEN)):
        start, end = (point, other) if outgoing or color == style.GREEN else (other, point)
        along = 0.17 * (end - start) / np.linalg.norm(end - start)
        style.arrow(ax, start + along, end - along, color=color, width=3)
    for point, letter in ((i, "i"), (j, "j"), (k, "k")):
        ax.add_patch(plt.Circle(point, 0.16, color=style.tint(style.GREY, 0.5)))
        ax.text(*point, letter, ha="center", va="center", weight="bold")
    names = ("a(i,k)", "b(j,k)") if outgoing else ("a(k,i)", "b(k,j)")
    ax.text(x - 0.95, 1.65, names[0], color=style.BLUE, ha="center")
    ax.text(x + 0.98, 1.65, names[1], color=style.ORANGE, ha="center")
    ax.text(x, 0.3, "updated", color=style.GREEN, ha="center")
    title = "outgoing: from i and from j to k" if outgoing else "incoming: from k to i and to j"
    ax.text(x, 2.8, title, ha="center", weight="bold")
plt.show()

# %% [markdown]
# In full (Algorithm 12, incoming; all lines are numbered as in the supplement):
#
# 1. normalise $z$: each vector to mean 0 and variance 1 ([*layer normalisation*](../docs/glossary.md#layer-normalisation));
# 2. two projections of each edge, each with a gate ([lesson 02](02_multi_head_attention.ipynb)): $a_{ij}$ and $b_{ij}$, 128 numbers each;
# 3. a gate $g_{ij}$ for the result;
# 4. $g_{ij} \odot \operatorname{Linear}\bigl(\operatorname{LayerNorm}\bigl(\sum_k a_{ki} \odot b_{kj}\bigr)\bigr)$.
#
# `einsum` writes the sum as it stands on paper: the letters of both factors, and after the arrow those that remain. Residues that do not exist (padding) are multiplied away by the mask *before* the sum over $k$.


# %%
def incoming(layer, z, mask):
    """Algorithm 12 for z [n, n, c] and mask [n, n]."""
    x = layer.norm(z)  # line 1
    m = mask[..., None]
    a = m * torch.sigmoid(layer.a_gate(x)) * layer.a(x)  # line 2
    b = m * torch.sigmoid(layer.b_gate(x)) * layer.b(x)
    g = torch.sigmoid(layer.gate(x))  # line 3
    product = torch.einsum("kic,kjc->ijc", a, b)
    return g * layer.output(layer.norm_output(product))  # line 4


def random_weights(layer, seed=0):
    """New layers add nothing (their last weights are 0); give all weights random numbers."""
    generator = torch.Generator().manual_seed(seed)
    for weight in layer.parameters():
        weight.data = 0.5 * torch.randn(weight.shape, generator=generator)
    return layer.requires_grad_(False)


# %%
layer = random_weights(TriangleMultiplication(c_z=16, c=8, outgoing=False))
z = torch.randn(10, 10, 16, generator=torch.Generator().manual_seed(1))
real = (torch.arange(10) < 8).float()  # two of the ten residues are only padding
mask = real[:, None] * real[None]
assert torch.allclose(incoming(layer, z, mask), layer(z[None], mask[None])[0], atol=1e-5)
a, b = torch.randn(2, 10, 10, 8)
product = torch.einsum("kic,kjc->ijc", a, b)
assert torch.allclose(product[..., 3], a[..., 3].T @ b[..., 3], atol=1e-5)
print("equal to the package's; and each channel is one matrix product, AᵀB")

# %% [markdown]
# ### Exercise 2 · The outgoing update (needs a thought)
#
# Write `my_outgoing(layer, z, mask)`: Algorithm 11, with the parts of a `TriangleMultiplication` (`layer.norm`, `layer.a`, ...), for z [n, n, c] and mask [n, n]. It
# differs from ours in two letters. Which? (Look at the drawing, not at the code.)


# %% nbgrader={"grade": false, "grade_id": "outgoing", "locked": false, "schema_version": 3, "solution": true, "task": false}
def my_outgoing(layer, z, mask):
    """Algorithm 11: the update of z from outgoing edges."""
    ### BEGIN SOLUTION
    x = layer.norm(z)
    a = mask[..., None] * torch.sigmoid(layer.a_gate(x)) * layer.a(x)
    b = mask[..., None] * torch.sigmoid(layer.b_gate(x)) * layer.b(x)
    product = torch.einsum("ikc,jkc->ijc", a, b)  # A Bᵀ
    return torch.sigmoid(layer.gate(x)) * layer.output(layer.norm_output(product))
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check-outgoing", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
minifold.check("outgoing", my_outgoing)

# %% [markdown]
# ## 5 · Triangle attention
#
# The other way to look at triangles is attention. Edge $i \to j$ asks all edges $i \to k$ that start at the same residue: which of you matters to me? What is new is that the *third* edge, $j \to k$, has a say: a number read off $z_{jk}$ is
# added to the score (a bias, as the pair bias of [lesson 04](04_axial_msa_attention.ipynb)).
#
# $$a_{ijk} = \operatorname{softmax}_k\!\Bigl(\tfrac{1}{\sqrt{c}}\, q_{ij} \cdot k_{ik} + b_{jk}\Bigr), \qquad
#   o_{ij} = g_{ij} \odot \sum_k a_{ijk}\, v_{ik}$$
#
# This is attention *around the starting node* (Algorithm 13). Around the *ending node* (Algorithm 14), edge $i \to j$ looks at the edges $k \to j$ that end in the same place, and the third edge is $k \to i$. It is the same thing with all arrows turned round.

# %%
figure, ax = style.canvas(8.6, 2.9)
i, j = np.array([1.0, 1.3]), np.array([3.6, 0.5])


def edge(start, end, color, width):
    step = 0.17 * (end - start) / np.linalg.norm(end - start)
    style.arrow(ax, start + step, end - step, color=color, width=width)


for x, width, name in zip((1.7, 3.0, 4.3), (4, 1.2, 2), ("k", "k'", "k''")):
    edge(i, np.array([x, 2.3]), style.BLUE, width)
    edge(j, np.array([x, 2.3]), style.ORANGE, 1.2)
    ax.text(x, 2.52, name, ha="center", weight="bold")
edge(i, j, style.GREEN, 3)
for point, letter in ((i, "i"), (j, "j")):
    ax.text(*point, letter, ha="center", va="center", weight="bold")
ax.text(5.0, 2.0, "i → j asks", color=style.GREEN, weight="bold")
ax.text(5.0, 1.5, "the edges i → k (thick: large weight)", color=style.BLUE, weight="bold")
ax.text(5.0, 1.0, "j → k adds a bias to the score", color=style.ORANGE, weight="bold")
plt.show()


# %%
def starting(layer, z):
    """Algorithm 13 for z [n, n, c], all residues real."""
    n, heads = len(z), layer.attention.heads
    x = layer.norm(z)  # line 1
    part = layer.attention
    q, k, v = (f(x).view(n, n, heads, -1) for f in (part.q, part.k, part.v))  # line 2
    bias = layer.triangle_bias(x)  # line 3: [j, k, h]
    score = torch.einsum("ijhc,ikhc->ijkh", q, k) / math.sqrt(q.shape[-1])
    weight = torch.softmax(score + bias[None], dim=2)  # line 5; bias is the same for all i
    answer = torch.einsum("ijkh,ikhc->ijhc", weight, v).reshape(n, n, -1)
    return part.output(torch.sigmoid(part.gate(x)) * answer)  # lines 4, 6, 7


layer = random_weights(TriangleAttention(c_z=16, heads=2, starting=True))
everyone = torch.ones(1, 10, 10)
assert torch.allclose(starting(layer, z), layer(z[None], everyone)[0], atol=1e-5)
ending = random_weights(TriangleAttention(c_z=16, heads=2, starting=False))
turned = starting(ending, z.transpose(0, 1)).transpose(0, 1)
assert torch.allclose(turned, ending(z[None], everyone)[0], atol=1e-5)
print("both kinds agree with the package")

# %% [markdown]
# Which edges can learn from which? We find out by experiment: change a *single* edge, the one from residue 3 to residue 7, and look where the output of each layer changes.
# **Predict first:** draw the four pictures. Which two look alike?


# %%
def touched(layer):
    """Which outputs [10, 10] change when the edge 3 → 7 does."""
    other = z.clone()
    other[2, 6] = z[0, 0]  # (adding 1 everywhere would not do: the normalisation takes it out)
    return (layer(other[None], everyone) - layer(z[None], everyone))[0].abs().amax(-1) > 1e-5


LAYERS = {
    "outgoing": TriangleMultiplication(16, 8, outgoing=True),
    "incoming": TriangleMultiplication(16, 8, outgoing=False),
    "starting node": TriangleAttention(16, 2, starting=True),
    "ending node": TriangleAttention(16, 2, starting=False),
}
figure, axes = plt.subplots(1, 4, figsize=(9, 2.8), sharey=True)
for ax, (name, one) in zip(axes, LAYERS.items()):
    ax.imshow(touched(random_weights(one)), extent=(0.5, 10.5, 10.5, 0.5), cmap="Blues", vmax=1.6)
    ax.plot(7, 3, "o", color=style.RED, markersize=8)
    ax.set(title=name, xlabel="j", xticks=[3, 7], yticks=[3, 7])
axes[0].set_ylabel("i")
plt.show()

# %% [markdown]
# (Red: the edge that was changed. Blue: all edges that notice.) Outgoing and starting node carry news to all edges that share the *start* of the arrow, residue 3, in both directions; incoming and ending node to all that share its *end*, residue 7. One layer of each kind, and
# every edge can hear from every other: start and end together reach the whole map.

# %%
both = random_weights(PairStack(16, 8, 2, 2, 0.0)).eval()
print(f"a whole block carries the news to {touched(both).float().mean():.0%} of the edges")

# %% [markdown]
# ## 6 · Which is cheaper?
#
# DeepMind had triangle attention first; the multiplication was made as its frugal replacement. Frugal in what? We count at AlphaFold2's size (128 channels, 4 heads): multiplications, and
# the largest table of numbers that has to be held. (The layers run on PyTorch's `meta` device, which computes shapes but no numbers.)

# %%
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode


class LargestTensor(TorchDispatchMode):
    """Notes the size of the largest tensor that any operation returns."""

    def __init__(self):
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        if isinstance(out, torch.Tensor):
            self.numbers = max(self.numbers, out.numel())
        return out


# %%
def cost(layer, n):
    """Multiplications and the largest tensor for n residues."""
    for part in layer.modules():
        part.path = "clear"  # attention spelled out, with its weights as a table
    x, pairs = torch.empty(1, n, n, 128), torch.empty(1, n, n)
    with FlopCounterMode(display=False) as flops, LargestTensor() as largest:
        layer(x, pairs)
    return flops.get_total_flops() / 2, largest.numbers


# %%
print("residues   multiplications, 10⁹     largest table, 10⁶ numbers")
with torch.device("meta"), torch.no_grad():
    multiply = TriangleMultiplication(128, 128, outgoing=True)
    attend = TriangleAttention(128, heads=4, starting=True)
    for n in (64, 128, 256, 384):
        (times, size), (times_a, size_a) = cost(multiply, n), cost(attend, n)
        print(f"{n:8d}   {times / 1e9:7.1f} against {times_a / 1e9:7.1f}", end="")
        print(f"     {size / 1e6:8.0f} against {size_a / 1e6:5.0f}")

# %% [markdown]
# (First the multiplication, then attention.) Both grow with the third power of the length, since there are $n^3$ triangles. In multiplications attention costs the same for short chains and a quarter more for 384 residues. Its real price is memory: the
# weights $a_{ijk}$ are a number for each triangle *and head*, $4 n^3$, where the multiplication holds nothing larger than $z$ itself, $128\, n^2$. (Modern attention kernels avoid holding the table, at the price of computing
# it twice in training. AlphaFold2's code computes attention slice by slice instead.)
#
# ## 7 · Do triangles matter?
#
# Now the experiment. Tiny networks play the game of section 2, and a second one:
#
# - **complete**: one distance in five is told, the rest is hidden;
# - **denoise**: all distances are told, each with an error of 2 Å (standard deviation).
#
# The maps are those of pieces of 20 residues, cut from the chains of minifold's toy world ([lesson 03](03_msa_and_coevolution.ipynb)), of which there are endlessly many. We train on some, and test on others that the networks have never seen.

# %%
N = lesson_06.LENGTH  # 20 residues
TRAIN, TEST = (
    torch.tensor(np.concatenate([distances(lesson_06.pieces(k)) for k in blocks])).float()
    for blocks in (range(4), [100])
)
sep = torch.tensor(apart)  # how far apart in the chain
far_apart = sep > 1  # the pairs that count
mean_map = torch.stack([TRAIN[:, sep == s].mean() for s in range(N)])[sep]  # the mean map
print(f"{len(TRAIN)} pieces to train on, {len(TEST)} to test")


# %%
def both_ways(x):
    """Symmetric from above the diagonal, without the diagonal and its neighbours."""
    return x.triu(2) + x.triu(2).transpose(1, 2)


def spoil(true, task, generator):
    """What is told of maps [b, n, n], and which pairs are told."""
    draw = torch.rand(true.shape, generator=generator)
    noise = both_ways(torch.randn(true.shape, generator=generator))
    known = both_ways((draw < (0.2 if task == "complete" else 1.0)).float()) + ~far_apart
    return (true + 2 * noise * (task == "denoise")) * known, known


# %% [markdown]
# The input of an edge: the distance that was told, written as 15 soft bins, a flag "told", and how far apart the two are in the chain. The output: how far the distance is from the mean
# of such pairs. In between, minifold's own pair layers, 16 channels wide.

# %%
CENTERS = torch.linspace(2, 30, 15)


def features(told, known):
    """[b, n, n, 25]"""
    bins = torch.exp(-(((told[..., None] - CENTERS) / 2) ** 2)) * known[..., None]
    place = F.one_hot(sep.clamp(max=8), 9).float().expand(len(told), -1, -1, -1)
    return torch.cat([bins, known[..., None], place], dim=-1)


# %%
class MapNet(torch.nn.Module):
    """Pair blocks of which only some layers are used."""

    def __init__(self, layers, blocks):
        super().__init__()
        self.layers = [f"triangle_{name}" for name in layers.split()]
        self.embed, self.answer = torch.nn.Linear(25, 16), torch.nn.Linear(16, 1)
        self.blocks = torch.nn.ModuleList(PairStack(16, 16, 2, 2, 0.0) for _ in range(blocks))

    def forward(self, told, known):
        z, everyone = self.embed(features(told, known)), torch.ones_like(told)
        for block in self.blocks:
            for name in self.layers:
                z = z + getattr(block, name)(z, everyone)
            z = z + block.transition(z)
        shift = self.answer(z)[..., 0]
        return torch.where(far_apart, mean_map + 2.5 * (shift + shift.transpose(1, 2)), mean_map)


# %% [markdown]
# Five kinds of network, three seeds each:
#
# - *each edge alone*: no layer that looks at other edges, just the transition (a small network on each edge);
# - *rows and columns*: triangle attention without the third edge. It may look along rows and columns but sees no triangles: the fair control;
# - *multiplication* (outgoing, incoming) and *attention* (starting, ending node);
# - *both*, as in AlphaFold2, but one block instead of two, so that all have four layers that look at other edges.
#
# **Predict first:** put them into an order. By how much will triangles win, if at all?

# %%
KINDS = {
    "each edge alone": ("", 2),
    "rows and columns": ("starting ending", 2),
    "multiplication": ("outgoing incoming", 2),
    "attention": ("starting ending", 2),
    "both": ("outgoing incoming starting ending", 1),
}


def without_third_edge(model):
    """Attention along rows and columns; the edge j → k has no say any more."""
    for block in model.blocks:
        for layer in (block.triangle_starting, block.triangle_ending):
            layer.triangle_bias.weight.requires_grad_(False).zero_()
    return model


# %%
def train(kind, seed, steps=250):
    generator = torch.manual_seed(seed)
    model = MapNet(*KINDS[kind])
    model = without_third_edge(model) if kind == "rows and columns" else model
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad])
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.015, total_steps=steps)
    for _ in range(steps):
        true = TRAIN[torch.randint(len(TRAIN), (4,), generator=generator)]
        spoilt = [spoil(true[:2], "complete", generator), spoil(true[2:], "denoise", generator)]
        told, known = (torch.cat(parts) for parts in zip(*spoilt))
        loss = (model(told, known) - true)[:, far_apart].abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return model


# %%
@torch.no_grad()
def score(predict, true):
    """Mean error in Å for both games, and the share of broken triangles after denoising."""
    results = []
    for task in ("complete", "denoise"):
        told, known = spoil(true, task, torch.Generator().manual_seed(9))
        guess = predict(told, known)
        asked = (known == 0) if task == "complete" else far_apart.expand_as(known)
        results.append((guess - true).abs()[asked].mean().item())
    return np.array([*results, 100 * broken(guess.numpy())])


MODELS = {(kind, seed): train(kind, seed) for kind in KINDS for seed in range(3)}
SCORES = {kind: np.array([score(MODELS[kind, seed], TEST) for seed in range(3)]) for kind in KINDS}

# %% [markdown]
# And what it has to be compared with, without any learning: the mean map; the middle between the bounds (section 2); what was told, as it is; and the told map of a
# denoising game, made consistent by force: the three-dimensional points whose distances fit it best ([*multidimensional scaling*](../docs/glossary.md#multidimensional-scaling), a classical method).


# %%
def points(d):
    """Points [*, n, 3] whose distances are as near as possible to d (classical scaling)."""
    n = d.shape[-1]
    center = torch.eye(n, dtype=d.dtype) - 1 / n
    value, vector = torch.linalg.eigh(-center @ d**2 @ center / 2)
    return vector[..., -3:] * value[..., None, -3:].clamp(min=0).sqrt()


def middle_of_bounds(told, known):
    pairs = zip(told.numpy(), known.numpy() > 0)
    return torch.tensor(np.array([sum(lesson_06.bounds(*pair)) / 2 for pair in pairs])).float()


# %%
BASELINES = {
    "mean map": lambda told, known: mean_map.expand_as(told),
    "middle of bounds": middle_of_bounds,
    "as told": lambda told, known: told,
    "nearest points in 3D": lambda told, known: torch.cdist(points(told), points(told)),
}
FLOORS = {name: score(f, TEST) for name, f in BASELINES.items()}
games = {
    "mean map": (0, 1),
    "middle of bounds": (0,),
    "as told": (1,),
    "nearest points in 3D": (1,),
}


# %% tags=["nbval-ignore-output"]
def row(name, complete, denoise, share):
    print(f"{name:20s} {complete:>12s} {denoise:>13s} {share:>18s}")


row("mean error, Å", "complete", "denoise", "broken triangles")
for name, (complete, denoise, wrong) in FLOORS.items():
    cells = f"{complete:.2f}", f"{denoise:.2f}", f"{wrong:.1f} %"
    row(name, cells[0] * (0 in games[name]), *(cell * (1 in games[name]) for cell in cells[1:]))
for kind, results in SCORES.items():
    (complete, denoise, wrong), spread = results.mean(axis=0), results.std(axis=0)
    row(
        kind,
        f"{complete:.2f} ± {spread[0]:.2f}",
        f"{denoise:.2f} ± {spread[1]:.2f}",
        f"{wrong:.1f} %",
    )

# %%
figure, axes = plt.subplots(1, 2, figsize=(9, 3.2), sharey=True)
for game, (ax, title) in enumerate(zip(axes, ("complete: 1 in 5 told", "denoise: error of 2 Å"))):
    means = [SCORES[kind][:, game].mean() for kind in KINDS]
    spreads = [SCORES[kind][:, game].std() for kind in KINDS]
    colors = [style.GREY, style.GREY, style.BLUE, style.BLUE, style.BLUE]
    ax.barh(list(KINDS), means, xerr=spreads, color=colors, capsize=4, height=0.6)
    for name in BASELINES:
        if game in games[name]:
            ax.axvline(FLOORS[name][game], color=style.RED, linestyle=":", linewidth=1.5)
            where = {"x": FLOORS[name][game], "y": 1.02, "transform": ax.get_xaxis_transform()}
            ax.text(s=name, rotation=50, fontsize=8, color=style.RED, **where)
    ax.set(xlabel="mean error (Å)", xlim=(0, 3.6))
    ax.set_title(title, pad=60)
axes[0].invert_yaxis()
plt.show()

# %%
best = {kind: results.mean(axis=0) for kind, results in SCORES.items()}
for game in range(2):
    with_triangles = [
        SCORES[kind][:, game].max() for kind in ("multiplication", "attention", "both")
    ]
    assert max(with_triangles) < 0.9 * SCORES["rows and columns"][:, game].min()
assert best["both"][2] < best["rows and columns"][2] < FLOORS["as told"][2]
print("in every seed of both games: triangles beat rows and columns by more than 10 %")

# %% [markdown]
# What do we see?
#
# 1. An edge alone can do nothing about a hidden distance: it says the mean. Looking along rows and columns helps a lot, but does not even reach the bounds of section 2.
# 2. Each of the two triangle layers makes a clear step, far more than the spread between seeds. The only difference between "rows and columns" and "attention" is the third edge: *that* is what triangles are worth.
# 3. Either of the two can be left out, and the network is still good. That agrees with what DeepMind reports. They also report that both together are best; with networks as small as ours, attention alone does as well, and we cannot confirm it.
# 4. Nobody demanded consistent triangles. There is no such term in the loss, and no layer forbids anything. Still, far fewer triangles are broken after denoising: it is a *soft* constraint, learned because it helps. (Consistency alone is worth little: the mean map breaks no triangle.)
#
# (The numbers come from training; on another kind of processor the last digits may differ. What becomes of structures when triangles are taken out of the whole model is measured in [lesson 13](13_ablations.ipynb).)
#
# ### A real protein
#
# Our networks have seen toy chains only. **Predict first:** do they know anything about the Trp-cage of section 2, a real protein?

# %% tags=["nbval-ignore-output"]
told, there = torch.tensor(seen).float()[None], torch.tensor(known).float()[None]
with torch.no_grad():
    GUESS = {kind: MODELS[kind, 0](told, there)[0].double().numpy() for kind in KINDS}
GUESS = {"middle of bounds": middle, **GUESS}
for kind, guess in GUESS.items():
    print(f"{kind:18s} {abs(guess - TRP_CAGE)[hidden].mean():.2f} Å")
figure, axes = plt.subplots(1, 5, figsize=(9.4, 2.4), sharey=True)
shown = {"told": np.where(known, TRP_CAGE, np.nan)} | {
    k: GUESS[k] for k in ("each edge alone", "rows and columns", "attention")
}
for ax, (title, picture) in zip(axes, {**shown, "truth": TRP_CAGE}.items()):
    image = ax.imshow(picture, cmap="cividis_r", vmin=0, vmax=22)
    ax.set(xticks=[], yticks=[])
    ax.set_title(title, fontsize=10)
figure.colorbar(image, ax=axes, label="Å")
plt.show()

# %% [markdown]
# One protein could be luck. Here are all windows of 20 residues (without overlap) of all seven real proteins:

# %% tags=["nbval-ignore-output"]
windows = [x[s : s + N] for x in CA for s in range(0, len(x) - N + 1, N)]
REAL = torch.tensor(distances(np.array(windows))).float()
print(f"{len(REAL)} real pieces, mean ± spread over the seeds: complete, denoise")
for kind in KINDS:
    results = np.array([score(MODELS[kind, seed], REAL) for seed in range(3)])
    mean, spread = results.mean(axis=0), results.std(axis=0)
    print(f"{kind:18s} {mean[0]:.2f} ± {spread[0]:.2f} Å   {mean[1]:.2f} ± {spread[1]:.2f} Å")
print(f"{'middle of bounds':18s} {score(middle_of_bounds, REAL)[0]:.2f}          Å")

# %% [markdown]
# The same order. Geometry is the same in a toy and in a protein. And a consistent map is nearly a structure: three-dimensional points that fit it can be computed (`points`, above).

# %% tags=["nbval-ignore-output"]
TRUE = next(chain for chain in CHAINS if chain.name == "1L2Y")


def folded(guess):
    """The Trp-cage's Cα atoms from a map (of two mirror images the better one), and their RMSD."""
    x, target = points(torch.tensor(guess)), torch.tensor(TRUE.positions[:, 1]).double()
    images = {float(rmsd(p, target, torch.ones(N))): p for p in (x, x * torch.tensor([1, 1, -1]))}
    mask, positions = np.zeros_like(TRUE.mask), np.zeros_like(TRUE.positions)
    positions[:, 1], mask[:, 1] = images[min(images)].numpy(), 1
    return replace(TRUE, positions=positions, mask=mask, name="from the map"), min(images)


walks = [distances(random_walk(N, np.random.default_rng(k))).astype(float) for k in range(20)]
for kind, guess in GUESS.items():
    print(f"{kind:18s} RMSD {folded(guess)[1]:.1f} Å")
print(f"{'random walk':18s} RMSD {np.mean([folded(walk)[1] for walk in walks]):.1f} Å")
pair = [folded(GUESS["attention"])[0], TRUE]
words = "Trp-cage from one distance in five (attention); truth in grey"
view(pair, color="position", superpose=True, height=300, caption=words)

# %% [markdown]
# Better than a random walk as compact as a protein, but 3 Å is no good structure yet: one distance in five is not much to go by. (RMSD: root mean square distance after superposition. We have cheated once: a distance map does not tell a protein from its mirror image, and we took the right one. How AlphaFold2 sees the difference is the subject of
# [lesson 08](08_ipa_fape.ipynb).)
#
# ## 8 · Find the bug
#
# Triangle layers are easy to get wrong, and training runs on as if nothing had happened: the loss goes down, only less far. Here is a pair stack that contains two mistakes. Both were found in published programs.

# %%
print(inspect.getsource(lesson_06.BrokenPairStack))

# %% [markdown]
# Do not stare at the code. Ask what *must* hold, whatever the weights are, and test it with random weights. Five such properties:

# %%
for name, wrong in lesson_06.examine(lesson_06.BrokenPairStack).items():
    print("✗" if wrong else "✓", name)
    if wrong:
        print("   ", wrong)

# %% [markdown]
# ### Exercise 3 · Mend it (needs a thought)
#
# Write `MyPairStack`, a child of `BrokenPairStack` with a `forward` of its own, so that all five hold. For the dropout: [*shared dropout*](../docs/glossary.md#shared-dropout) throws away the same entries in all rows (`self.dropout_row`) or in all columns (`self.dropout_column`);
# in Algorithm 6, columns are for the ending node only.


# %% nbgrader={"grade": false, "grade_id": "pair_stack", "locked": false, "schema_version": 3, "solution": true, "task": false}
class MyPairStack(lesson_06.BrokenPairStack):
    ### BEGIN SOLUTION
    def forward(self, z, pair_mask):
        z = z + self.dropout_row(self.triangle_outgoing(z, pair_mask))
        z = z + self.dropout_row(self.triangle_incoming(z, pair_mask))
        z = z + self.dropout_row(self.triangle_starting(z, pair_mask))
        z = z + self.dropout_column(self.triangle_ending(z, pair_mask))
        return z + self.transition(z)

    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check-pair_stack", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
minifold.check("pair_stack", MyPairStack)

# %% [markdown]
# ### Exercise 4 · Complete a map yourself (open)
#
# Write `my_completion(seen, known)` for one map of section 2: `seen` [20, 20] in Å (0 where not told) and `known` [20, 20] (true where told). No network needed: you have bounds, and you know that the points live in three
# dimensions. Target: 5 % better than the middle of the bounds, on 24 toy pieces. How far can you get? (Beat our networks, if you can.)


# %% nbgrader={"grade": false, "grade_id": "completion", "locked": false, "schema_version": 3, "solution": true, "task": false}
def my_completion(seen, known):
    """All distances [20, 20] from a few."""
    ### BEGIN SOLUTION
    lower, upper = (torch.tensor(x) for x in lesson_06.bounds(seen, known))
    middle, certain = (lower + upper) / 2, 1 / (0.5 + upper - lower) ** 2
    x = points(middle).clone().requires_grad_()  # pull real points in space
    optimizer = torch.optim.Adam([x], lr=0.2)
    for _ in range(100):
        d = ((x[:, None] - x) ** 2).sum(-1).add(1e-4).sqrt()
        loss = (certain * (d - middle) ** 2).sum()  # narrow bounds count most
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return d.detach().numpy()
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check-completion", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false} tags=["nbval-ignore-output"]
minifold.check("completion", my_completion)

# %% [markdown]
# ## Quiz
#
# <details><summary>1. d(i,k) = 4 Å and d(k,j) = 9 Å. What is known about d(i,j)?</summary>
#
# It is between 5 and 13 Å.
# </details>
#
# <details><summary>2. Why is the sum over k in the triangle update a matrix product?</summary>
#
# $\sum_k a_{ik} b_{jk}$ is row $i$ of $A$ times row $j$ of $B$, so the whole is $A B^\top$: one product per channel.
# </details>
#
# <details><summary>3. Why are there two kinds, outgoing and incoming?</summary>
#
# z(i,j) and z(j,i) are different vectors. The outgoing update hears from edges that start where i and j are, the incoming one from edges that end there (pictures in section 5).
# </details>
#
# <details><summary>4. What makes triangle attention more than attention along rows?</summary>
#
# The third edge: z(j,k) adds a bias to the score. Without it, the network of section 7 lost most of the gain.
# </details>
#
# <details><summary>5. Does the network have to obey the triangle inequality?</summary>
#
# No. Nothing in it forbids a broken triangle. The layers make it easy to use the inequality, the training data make it worth while: a soft constraint.
# </details>
#
# <details><summary>6. Why is the mask applied to a and b, and not to the result?</summary>
#
# The sum runs over k. A padded k would have been added to the edges of real residues; masking the result afterwards does not take it out again.
# </details>
#
# ## In the paper
#
# - The idea: Jumper et al., *Nature* 596, 583 (2021), Figure 3b and 3c: the pair representation as arrows between residues, updated in triangles. They write that the multiplication was developed as a cheaper and more symmetric replacement
#   for the attention, that either of them alone gives accurate structures, and that both together are more accurate. The ablation "no triangles, biasing or gating" is in Figure 4a.
# - Supplementary information: section 1.6.5, Algorithms 11 and 12 (multiplicative update); section 1.6.6, Algorithms 13 and 14 (attention); Algorithm 6, lines 6 to 10 (the order); section 1.11.6 (shared dropout).
# - What triangle attention looks at: section 1.16, Supplementary Figure 12 ([lesson 12](12_attention_maps.ipynb)).
#
# ## In real AlphaFold2
#
# | | here, section 7 | AlphaFold2 |
# |---|---|---|
# | channels of z | 16 | 128 |
# | channels of a and b | 16 | 128 |
# | heads of triangle attention | 2 | 4, of 32 channels |
# | blocks | 1 or 2 | 48, and 4 in the extra MSA stack, 2 (64 channels) for templates |
# | order in a block | outgoing, incoming, starting, ending, transition | the same |
# | widening of the transition | 2 | 4 |
# | dropout | none | 25 % of rows, and of columns for the ending node |
# | trained on | 768 toy maps, 250 steps | never on maps alone: all layers together, on structures |
#
# ## What next
#
# A consistent distance map is nearly a structure, but not quite: mirror images, and no atoms but Cα. [Lesson 07](07_protein_geometry.ipynb) takes a protein apart into pieces that a network can move.
#
# <details><summary>Review: every claim of this lesson, and where it is shown</summary>
#
# | claim | where |
# |---|---|
# | distances of a protein obey triangle inequalities | 1: no exception in seven proteins; broken by dealing out again and by noise |
# | triangle inequalities constrain pair distances naturally | 2: bounds from one distance in five |
# | in AlphaFold2 they are soft constraints, not hard ones | 3: soft minimum as a matrix product; 7: broken triangles become rare, not zero |
# | two blocks: multiplicative update (outgoing, incoming edges) and self-attention (starting, ending node) | 4 and 5, each equal to the package |
# | why edges as matrices | 3: detours and common contacts are matrix products |
# | the multiplication is the frugal alternative | 6: multiplications and largest tensor counted |
# | either may be removed and the model still performs well | 7: three seeds, error bars, toy and real |
# | both together are best | 7: not confirmed by networks this small; by citation |
# | the third edge is what makes it a triangle | 7: the same attention without it |
# | what triangle attention learns (radius 4, cysteines) | [lesson 12](12_attention_maps.ipynb) |
#
# </details>
