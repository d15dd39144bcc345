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
# # 08 · Invariant points and FAPE: geometry without an observer
#
# > *Two people look at the same protein, one from the left, one from above. Not a single coordinate is the same in their
# > notebooks. What can a network compute from such numbers, and how can it be corrected, so that it never matters who
# > took them?*
#
# **Time:** about 100 minutes of reading and trying, 60 more for the exercises.
#
# **You need:** frames ([lesson 07](07_protein_geometry.ipynb)), attention with heads ([lesson 02](02_multi_head_attention.ipynb))
# and with a pair bias ([lesson 04](04_axial_msa_attention.ipynb)).
#
# **Afterwards you can**
# - write *invariant point attention* (IPA), the attention that sees in space, and show that it equals the package's;
# - prove that it does not care where the protein lies, break that on purpose, and measure what is lost;
# - write the loop of the structure module and *FAPE*, the loss that trains it;
# - fold a protein with nothing but the gradient of FAPE, and explain why the gradient of distances yields a mirror image half of the time;
# - say what the clamp at 10 Å is good for, and what it costs.
#
# New words are *set like this* at first use and collected in the [glossary](../docs/glossary.md).

# %%
import copy
import math
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import nn

import minifold
from minifold.checks.lesson_08 import bonds_found, fape_properties
from minifold.config import PRESETS
from minifold.data.residues import ATOM_INDEX
from minifold.data.structures import read_structure, structure_files
from minifold.data.toyworld import ToyWorld

# %%
from minifold.look import plots, record, style
from minifold.look.view3d import attention, trajectory, view
from minifold.model.ipa import InvariantPointAttention
from minifold.model.rigid import Rigid, quaternion_to_rotation
from minifold.training.baselines import random_walk
from minifold.training.fape import frame_aligned_point_error
from minifold.training.metrics import drmsd, lddt, mirrored, rmsd

# %%
style.use()
torch.set_num_threads(1)
N, CA, C, CB = (ATOM_INDEX[name] for name in ("N", "CA", "C", "CB"))
CHAINS = [read_structure(path) for path in structure_files("../data/structures")]
UBIQUITIN = next(chain for chain in CHAINS if chain.name == "1UBQ")
BACKBONE = [N, CA, C, ATOM_INDEX["O"]]


# %%
def only(chain, atoms):
    """The chain without its other atoms: lighter to draw."""
    keep = np.isin(np.arange(37), atoms)
    return replace(chain, positions=chain.positions * keep[:, None], mask=chain.mask * keep)


def frames_of(chain):
    """The backbone frame of every residue (lesson 07), in Å."""
    x = torch.as_tensor(chain.positions).float()
    return Rigid.from_3_points(x[:, N], x[:, CA], x[:, C])


T = frames_of(UBIQUITIN)
n = len(T.t)
print(f"{len(CHAINS)} proteins; ubiquitin has {n} residues, so {n} frames T = (R, t)")

# %% [markdown]
# ## 1 · Two observers
#
# A protein in water tumbles. Its coordinates are numbers that belong to an *observer*: a point from which we
# measure, and three directions. Here are two observers and one little chain.


# %%
def draw_frame(ax, origin, degrees, color, names=("", "")):
    """Two little axes; returns the rotation, whose columns they are."""
    a = np.radians(degrees)
    R = np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
    for axis, name in zip(R.T, names):
        style.arrow(ax, origin, origin + 0.75 * axis, color=color, width=2.4)
        ax.text(*(origin + 0.95 * axis), name, color=color, ha="center", va="center")
    return R


# %%
figure, ax = style.canvas(8.5, 2.7)
points = np.array([[3.4, 0.7], [4.0, 1.5], [4.9, 1.3], [5.3, 2.1]])
ax.plot(*points.T, "-", color=style.GREY, linewidth=5, zorder=1)
for k, (x, y) in enumerate(points):
    ax.add_patch(plt.Circle((x, y), 0.17, color=style.tint(style.YELLOW, 0.9), ec=style.INK))
    ax.text(x, y, k + 1, ha="center", va="center", fontsize=9)
for name, origin, degrees, color in (
    ("A", np.array([1.2, 0.7]), -10, style.BLUE),
    ("B", np.array([7.3, 0.8]), 130, style.ORANGE),
):
    R = draw_frame(ax, origin, degrees, color, "xy")
    ax.plot(*np.array([origin, points[3]]).T, ":", color=color, linewidth=1.5)
    x, y = (points[3] - origin) @ R
    words = f"observer {name}\npoint 4 is at ({x:.1f}, {y:.1f})"
    ax.text(origin[0], 2.1, words, ha="center", color=color, fontsize=10)
plt.show()

# %% [markdown]
# Now ubiquitin. Observer A reads the file. For observer B everything is turned and moved by some
# [rigid motion](../docs/glossary.md#rigid-motion) $M$: a rotation and a shift.
#
# **Predict first:** which of these are the same for both: the coordinates of residue 30? Its distance to residue 50? The
# coordinates of residue 50 *in the frame of* residue 30, $T_{30}^{-1}\, x_{50}$?


# %%
def random_motion(generator, distance=30.0):
    """Some rotation, and a shift of about `distance` Å."""
    q = torch.randn(4, generator=generator)
    shift = distance / math.sqrt(3) * torch.randn(3, generator=generator)
    return Rigid(quaternion_to_rotation(q / q.norm()), shift)


M = random_motion(torch.manual_seed(1))
T_B = M.compose(T)  # every frame, as observer B writes it down
for who, frames in (("A", T), ("B", T_B)):
    inside = frames[29].invert_apply(frames.t[49])
    print(
        f"observer {who}: residue 30 at {frames.t[29].numpy().round(1)}, "
        f"distance to 50: {torch.dist(frames.t[29], frames.t[49]):.2f}, "
        f"50 seen from 30: {inside.numpy().round(2)}"
    )

# %% [markdown]
# What stays the same whoever looks is called [*invariant*](../docs/glossary.md#invariant). Distances are invariant. Positions
# seen from a residue's own frame are, too: every residue is an observer that travels with the protein. What is turned and
# moved *together with* the protein, like coordinates, is called [*equivariant*](../docs/glossary.md#equivariant). A structure
# predictor has to be equivariant: turn its input, and the same structure comes out, turned.
#
# The set of all rotations and shifts in space has the name *SE(3)*. Remember what does not belong to it: the mirror.
#
# Here is ubiquitin as A sees it, as B sees it, and as residue 30 sees it. The third picture holds both
# observers' calculations on top of each other.

# %%
figure, axes = plt.subplots(1, 3, figsize=(8.5, 2.8))
own = [frames[29].invert_apply(frames.t) for frames in (T, T_B)]
for ax, points, title in (
    (axes[0], T.t, "observer A"),
    (axes[1], T_B.t, "observer B"),
    (axes[2], own[0], "residue 30"),
):
    ax.plot(points[:, 0], points[:, 1], "-", color=style.GREY, linewidth=1)
    ax.scatter(points[:, 0], points[:, 1], 14, np.arange(n), cmap=style.SEQUENTIAL, zorder=2)
    ax.plot(points[29, 0], points[29, 1], "s", color=style.RED, markersize=7)
    ax.set(title=title, aspect="equal", xlabel="x (Å)")
axes[2].scatter(own[1][:, 0], own[1][:, 1], s=60, facecolors="none", edgecolors=style.ORANGE)
axes[0].set_ylabel("y (Å)")
plt.show()
assert torch.allclose(*own, atol=1e-3)
print("from residue 30, both observers compute the same (orange rings around every dot)")

# %% [markdown]
# (Dots are the Cα atoms, dark at the beginning of the chain; the red square is residue 30. A flat picture shows two of three coordinates.)
#
# ## 2 · Attention in space
#
# The Evoformer hands over two things: a vector $s_i$ for every residue of our protein (the first row of the
# [MSA representation](../docs/glossary.md#msa-representation), multiplied with a matrix: the
# [*single representation*](../docs/glossary.md#single-representation)) and the pair representation $z_{ij}$. From these, 3D structure has to be made.
# The tool is [*invariant point attention*](../docs/glossary.md#invariant-point-attention), short IPA: an attention over residues that
# listens to three voices.

# %%
figure, ax = style.canvas(9.2, 3.6)
lanes = (
    (3.1, "sequence", style.SKY, "$s_i$, $s_j$", "query · key", "values"),
    (2.0, "pairs", style.PURPLE, "$z_{ij}$", "pair bias", "pairs $z_{ij}$"),
    (0.9, "3D structure", style.ORANGE, "$s_i$, $s_j$\n$T_i$, $T_j$", "−distance²\nof points",
     "points,\nin own frame"),
)  # fmt: skip
for y, word, color, symbol, voice, answer in lanes:
    middle = 1.6 + 0.2 * y
    ax.text(0.75, y + 0.43, word, ha="center", fontsize=9)
    for x, words in ((0.75, symbol), (2.45, voice), (6.95, answer)):
        style.box(ax, (x, y), words, size=(1.3, 0.7), color=color, fontsize=10)
    ends = ((1.4, y, 1.8, y), (3.1, y, 3.75, middle), (5.75, middle, 6.3, y))
    for x1, y1, x2, y2 in (*ends, (7.6, y, 8.1, middle), (4.25, 2.0, 4.57, 2.0)):
        style.arrow(ax, (x1, y1), (x2, y2), color=color)
for x, width, words in ((4.0, 0.5, "+"), (5.15, 1.15, "softmax"), (8.55, 0.9, "update\nof $s_i$")):
    style.box(ax, (x, 2.0), words, size=(width, 0.64), color=style.YELLOW)
for x, word in ((2.45, "who matters to me?"), (5.15, "weights"), (6.95, "what comes back")):
    ax.text(x, 0.25, word, ha="center", weight="bold", fontsize=10)
plt.show()

# %% [markdown]
# For the smallest version we need some numbers to feed in. The frames are those of ubiquitin, in units of 10 Å, as AlphaFold2 computes
# inside (so that all numbers are about 1). $s$ and $z$ are random. Queries, keys and values are made by matrices, as always; we
# take the random ones of a fresh layer of the package, so that we can compare at the end. The axes: h heads, i and j residues, c channels, p points.

# %%
SMALL = PRESETS["nano"].replace(
    c_s=32, c_z=16, ipa_heads=4, ipa_scalars=16, ipa_query_points=4, ipa_value_points=8
)
generator = torch.manual_seed(0)
ipa = InvariantPointAttention(SMALL)
nn.init.normal_(ipa.output.weight, std=0.1)  # a fresh one is 0, so that it adds nothing
heads, P = SMALL.ipa_heads, SMALL.ipa_query_points
s, z = torch.randn(n, 32), torch.randn(n, n, 16)
T10 = T.scale(1 / 10)  # units of 10 Å

# %% [markdown]
# ### The first two voices
#
# They are old friends: $q_i \cdot k_j / \sqrt{c}$ from the sequence ([lesson 02](02_multi_head_attention.ipynb)), and the
# [pair bias](../docs/glossary.md#pair-bias), one number per head from $z_{ij}$ ([lesson 04](04_axial_msa_attention.ipynb)).


# %%
@torch.no_grad()
def scalar_voice(s):
    """[h, i, j], and the values [i, h, c]."""
    q = ipa.q_scalar(s).view(len(s), heads, 16)
    k, v = ipa.kv_scalar(s).view(len(s), heads, 32).split(16, dim=-1)
    return torch.einsum("ihc,jhc->hij", q, k) / math.sqrt(16), v


@torch.no_grad()
def pair_voice(z):
    """[h, i, j]"""
    return ipa.pair_bias(z).permute(2, 0, 1)


print("scalar:", tuple(scalar_voice(s)[0].shape), "  pair:", tuple(pair_voice(z).shape))

# %% [markdown]
# ### The third voice: points
#
# This one is new. From $s_i$ alone, each residue computes a few *points*, given in its own frame: query points $\vec q_i$ ("I
# care about what is here") and key points $\vec k_j$ ("this is where I am found"). The frames put all of them into
# space. The nearer my query points come to your key points, the more I listen to you:
#
# $$-\frac{\gamma\, w_C}{2} \sum_{p} \left| T_i\, \vec q_{ip} - T_j\, \vec k_{jp} \right|^2 .$$
#
# $\gamma$ is a learned positive number of each head: how much it trusts space. It starts at 1. The constant
# $w_C$ comes in a moment. The vectors with an arrow are points in space.

# %%
figure, ax = style.canvas(8.5, 3.0)
spots = []
for name, symbol, marker, origin, degrees, color, own in (
    ("i", "q", "o", np.array([2.0, 0.9]), 25, style.BLUE, [(1.2, 0.55), (0.4, 1.15)]),
    ("j", "k", "s", np.array([6.5, 1.0]), 115, style.ORANGE, [(0.35, 1.5), (0.95, 0.45)]),
):
    R = draw_frame(ax, origin, degrees, color)
    words = f"residue {name}, frame $T_{name}$"
    ax.text(origin[0] + 0.1, 0.35, words, ha="center", color=color)
    spots.append([R @ x + origin for x in own])
    for p, spot in enumerate(spots[-1], start=1):
        ax.plot(*np.array([origin, spot]).T, ":", color=color, linewidth=1.2)
        ax.plot(*spot, marker, color=color, markersize=9)
        ax.text(spot[0] - 0.1, spot[1] + 0.2, f"$\\vec {symbol}_{{{name}{p}}}$", fontsize=12)
for pair in zip(*spots):
    ax.plot(*np.array(pair).T, "--", color=style.RED)
ax.text(4.3, 2.6, "these distances count", color=style.RED, ha="center")
plt.show()


# %%
def place(T, local):
    """Points [i, h, p, 3] from the residues' frames into space: T∘x = R x + t."""
    return torch.einsum("ixy,ihpy->ihpx", T.R, local) + T.t[:, None, None]


@torch.no_grad()
def local_points(layer, s, count):
    """[i, h, count, 3]; the layer puts out all x coordinates first, then y, then z."""
    return layer(s).view(len(s), 3, heads, count).permute(0, 2, 3, 1)


# %%
def point_voice(s, T, gamma=1.0):
    """[h, i, j], and the value points [i, h, p, 3] in space."""
    q = place(T, local_points(ipa.q_point, s, P))
    k, v = place(T, local_points(ipa.kv_point, s, P + 8)).split([P, 8], dim=2)
    square = (q[:, None] - k[None]).square().sum(-1)  # [i, j, h, p]
    w_C = math.sqrt(2 / (9 * P))
    return -gamma * w_C / 2 * square.sum(-1).permute(2, 0, 1), v


print("points:", tuple(point_voice(s, T10)[0].shape))

# %% [markdown]
# What does this voice do? Take the simplest case: the query point and the key point of every residue are the origin of its frame, Cα. Then the
# term is $-(\gamma w_C / 2)\, d_{ij}^2$, with $d_{ij}$ the distance of the two Cα atoms. Softmax makes $e^{-\ldots d^2}$ of
# it, a bell curve: **who is near in space is heard**, however far away along the chain. Residue 44 of ubiquitin, with a sharp bell ($\gamma = 12$):

# %%
bell = torch.cdist(T10.t, T10.t).square() * -12 * math.sqrt(2 / 9) / 2  # γ = 12, one point
bell.fill_diagonal_(-torch.inf)  # itself left out, to see the others
weights = torch.softmax(bell, dim=-1)
far = [j + 1 for j in weights[43].topk(6).indices.tolist() if abs(j - 43) > 3]
print("among the six that residue 44 listens to most, far along the chain:", far)
attention(only(UBIQUITIN, BACKBONE), weights[43].numpy(), residue=43, width=420, height=320)

# %% [markdown]
# The points need not sit on Cα. A query point 8 Å in front of me is a question like "who stands over there?" And since a
# frame knows front from back, the answer depends on the *direction*, which no distance between Cα atoms could tell.
# Let residue 44 ask for what is 8 Å to the side where its side chain points to, and for the opposite side:

# %%
x = torch.as_tensor(UBIQUITIN.positions)
side = T10[43].invert_apply(x[43, CB] / 10)
side = side / side.norm()  # towards the side chain, in the frame of residue 44
heard = []
for step in (0.8, -0.8):  # in units of 10 Å
    q = T10[43].apply(step * side)
    weights = torch.softmax(-12 * math.sqrt(2 / 9) / 2 * (q - T10.t).square().sum(-1), dim=-1)
    heard.append(weights)
    print(f"8 Å {'towards' if step > 0 else 'away from'} the side chain:", end=" ")
    print("residues", sorted(k + 1 for k in weights.topk(4).indices.tolist()))
assert not set(heard[0].topk(4).indices.tolist()) & set(heard[1].topk(4).indices.tolist())

# %% [markdown]
# Two different neighbourhoods. (On the side of the side chain: 44, 68 and 70, the oily patch by which other proteins recognise ubiquitin.)
#
# ### Three voices, equally loud
#
# Why $w_C = \sqrt{2 / (9 P)}$, with $P$ points? Remember the $\sqrt{d_k}$ of lesson 01: it brings the variance of the score to 1. The same is done here. Say all coordinates of
# all points in space are random with mean 0 and variance 1. In $|\vec q - \vec k|^2 / 2 = |\vec q|^2/2 + |\vec k|^2/2 - \vec q \cdot \vec k$ the
# first part is the same for all keys $j$, and softmax does not notice it. The second has the variance 3/2, the third 3; together 9/2 for each point.
#
# **Predict first:** then $w_C$ brings the variance over the keys to ...? And the sum of three such voices, multiplied with $w_L = \sqrt{1/3}$?

# %%
q, k = torch.randn(2, 2000, 64, P, 3, generator=generator)  # 2000 queries, 64 keys each
q = q[:, :1]
points = -math.sqrt(2 / (9 * P)) / 2 * (q - k).square().sum((-1, -2))
scalars = (torch.randn(2000, 1, 16) * torch.randn(2000, 64, 16)).sum(-1) / math.sqrt(16)
bias = torch.randn(2000, 64)
total = math.sqrt(1 / 3) * (points + scalars + bias)
for name, voice in (("scalar", scalars), ("pair", bias), ("points", points), ("all", total)):
    print(f"{name:6s} variance over the keys {voice.var(dim=1).mean():.1f}")
    assert abs(voice.var(dim=1).mean() - 1) < 0.05

# %% [markdown]
# At the start of training, no voice shouts down the others. Later the layer decides by itself, with $\gamma$ and its matrices.
#
# ### Exercise 1 · The point term (easy)
#
# Write `my_point_term(R, t, q, k, gamma)` for one head: the third voice [n, n], row $i$ asks, column $j$ is asked. `R` [n, 3, 3] and `t` [n, 3] are the frames,
# `q` and `k` [n, p, 3] the points in the frames of their residues.
#
# *In all exercises: try by yourself first. One possible answer stands between the two lines that
# start with `###`; delete it, write yours, run the check.*


# %% nbgrader={"grade": false, "grade_id": "point_term", "locked": false, "schema_version": 3, "solution": true, "task": false}
def my_point_term(R, t, q, k, gamma):
    """The point term [n, n] of one head."""
    ### BEGIN SOLUTION
    R, t, q, k = (np.asarray(a) for a in (R, t, q, k))
    q, k = (np.einsum("ixy,ipy->ipx", R, a) + t[:, None] for a in (q, k))
    square = np.square(q[:, None] - k[None]).sum(axis=(-1, -2))
    return -gamma / 2 * math.sqrt(2 / (9 * q.shape[1])) * square
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check-point_term", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
minifold.check("point_term", my_point_term)

# %% [markdown]
# ### Exercise 2 · Find the hydrogen bonds (open)
#
# What can two well-placed points find? In helices and strands the oxygen O of one residue holds on to the nitrogen N of another, with a
# [hydrogen bond](../docs/glossary.md#hydrogen-bond). We say there is one if O and N are nearer than 3.5 Å, in residues at least three apart. Every residue whose O has a partner shall look at it. If both
# points are Cα itself, each residue looks at its nearest neighbour in space. How often is that the partner?

# %%
REAL = [torch.as_tensor(chain.positions) for chain in CHAINS]
right, total = bonds_found(torch.zeros(3), torch.zeros(3), REAL)
print(f"nearest Cα: {right} of {total} bonds found ({right / total:.0%})")
assert right / total < 0.65

# %% [markdown]
# Write `my_hydrogen_points()`: *one* query point and *one* key point, three coordinates each, in Å, in the frame of a backbone ([lesson 07](07_protein_geometry.ipynb): x from Cα to C, N in the xy
# plane with y > 0). They are the same for all residues. Target: 90 % of the bonds, in toy proteins that you have not seen. Then the open part: how far can
# you get? (A hint: in which place of the frame is N? And O? It is not quite fixed, so take the middle.)


# %% nbgrader={"grade": false, "grade_id": "hydrogen_bonds", "locked": false, "schema_version": 3, "solution": true, "task": false}
def my_hydrogen_points():
    """Query point and key point, three coordinates each, Å."""
    ### BEGIN SOLUTION
    query, key = [], []
    for chain in CHAINS:
        x, T = torch.as_tensor(chain.positions), frames_of(chain)
        query.append(T.invert_apply(x[:, ATOM_INDEX["O"]]))
        key.append(T.invert_apply(x[:, N]))
    return torch.cat(query).median(dim=0).values, torch.cat(key).median(dim=0).values
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check-hydrogen_bonds", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
minifold.check("hydrogen_bonds", my_hydrogen_points)

# %% [markdown]
# Two points per residue, fixed once and for all, and a bit of chemistry appears. A trained layer has 4 such pairs in each of 12 heads, and computes them from $s_i$, different ones for
# every residue.
#
# ## 3 · What comes back
#
# Add the three voices, multiply with $w_L$, softmax: the weights $a_{hij}$. With these weights each residue collects three kinds of answers:
#
# - ordinary values, $\sum_j a_{hij}\, v_j$;
# - the pair representation itself, $\sum_j a_{hij}\, z_{ij}$;
# - *value points*: every $j$ puts points into space, $i$ takes their weighted mean, **and brings it back into its own frame**: $T_i^{-1} \sum_j a_{hij}\, (T_j\, \vec v_j)$.
#   ("The others are on average 6 Å to my left.") Their distances from the origin of the frame come along.
#
# Everything is written one after the other ([concatenated](../docs/glossary.md#concatenation)), and an output layer makes the update of $s_i$.


# %%
@torch.no_grad()
def invariant_point_attention(s, z, T):
    """Algorithm 22: the update of s, and the weights [h, i, j]."""
    scalar, v = scalar_voice(s)
    points, v_points = point_voice(s, T)
    a = torch.softmax(math.sqrt(1 / 3) * (scalar + pair_voice(z) + points), dim=-1)
    o = torch.einsum("hij,jhc->ihc", a, v)
    o_pair = torch.einsum("hij,ijc->ihc", a, z)
    o_points = torch.einsum("hij,jhpx->ihpx", a, v_points)
    o_points = T[:, None, None].invert_apply(o_points)  # into the frame of residue i
    lengths = (o_points.square().sum(-1) + 1e-8).sqrt()
    parts = [o, *o_points.unbind(-1), lengths, o_pair]  # x of all points, then y, then z
    return ipa.output(torch.cat([part.flatten(1) for part in parts], dim=-1)), a


ours, a = invariant_point_attention(s, z, T10)
package = ipa(s[None], z[None], T10[None], torch.ones(1, n))[0]
assert torch.allclose(ours, package, atol=1e-4)
print("our IPA equals the package's: update of s", tuple(ours.shape))

# %% [markdown]
# ## 4 · Invariance, shown
#
# **Predict first:** we turn ubiquitin and carry it 30 Å away. By how much does the output of IPA change? And if we move *one* residue by 5 Å?

# %%
with torch.no_grad():
    moved, _ = invariant_point_attention(s, z, M.scale(1 / 10).compose(T10))
    bumped = T10.t.clone()
    bumped[29, 0] += 0.5
    one_moved, _ = invariant_point_attention(s, z, Rigid(T10.R, bumped))
print("everything moved:  largest change below 0.001:", bool((moved - ours).abs().max() < 1e-3))
print(f"one residue moved: largest change {(one_moved - ours).abs().max():.1f}")
assert (one_moved - ours).abs().max() > 0.1

# %% [markdown]
# Only rounding errors. It is easy to see why. A motion $M$ turns every frame $T_i$ into $M \circ T_i$.
#
# - The third voice: all points go along, $M\,T_i\,\vec q_i$ and $M\,T_j\,\vec k_j$. Their distance stays.
# - The value points: $(M\, T_i)^{-1} (M\, T_j\, \vec v_j) = T_i^{-1} M^{-1} M\, T_j\, \vec v_j = T_i^{-1}\, T_j\, \vec v_j$. The motion cancels.
# - $s$ and $z$ know nothing of space.
#
# And the mirror? A mirrored protein has the same distances. We mirror the *atoms* of ubiquitin and build new frames on them, as lesson 07 does.

# %%
in_mirror = frames_of(replace(UBIQUITIN, positions=UBIQUITIN.positions * [1, 1, -1]))
assert torch.allclose(torch.cdist(in_mirror.t, in_mirror.t), torch.cdist(T.t, T.t), atol=1e-3)
change = (invariant_point_attention(s, z, in_mirror.scale(1 / 10))[0] - ours).abs().max()
print(f"the same distances, but IPA sees a difference: {change:.1f}")
assert change > 0.1

# %% [markdown]
# IPA is deaf to motions, and not to the mirror: just right, since a protein and its mirror image are different things.
#
# ## 5 · Invariance, broken on purpose
#
# Is all this really needed? A network could simply be given the coordinates and learn the rest. Let us try.
#
# The task: each residue shall say where the middle of the protein is, *seen from its own frame* (a three-vector; it tells a
# residue on which side it is buried). Two networks with exactly the same layers and the same number of parameters:
#
# - **IPA**: the frames go where they belong;
# - **global coordinates**: the twelve numbers of each frame (R and t, as the observer writes them down) go into $s$; the attention gets no frames.
#
# The proteins come from the [toy world](../docs/glossary.md#toy-world): 8 to learn from, 40 new ones.

# %%
generator = torch.manual_seed(0)
TOY = ToyWorld(length=32, depth=1, seed=0, block=48).sample(48).positions
TOY = Rigid.from_3_points(TOY[:, :, N], TOY[:, :, CA], TOY[:, :, C]).scale(1 / 10)  # [48, 32]
MIDDLE = TOY.invert_apply(TOY.t.mean(dim=1, keepdim=True))  # [48, 32, 3], seen from each frame
KNOWN, NEW = slice(0, 8), slice(8, 48)


class Pointer(nn.Module):
    """Says where the middle of the protein is, in the frame of each residue."""

    def __init__(self, with_frames):
        super().__init__()
        self.with_frames = with_frames
        self.embed = nn.Sequential(nn.Linear(12, 64), nn.ReLU(), nn.Linear(64, 32))
        self.ipa = InvariantPointAttention(SMALL)
        nn.init.normal_(self.ipa.output.weight, std=0.1)
        self.answer = nn.Sequential(nn.Linear(32 + 12, 64), nn.ReLU(), nn.Linear(64, 3))


# %%
def say(self, T):
    """T [b, i] -> [b, i, 3]"""
    numbers = torch.cat([T.t, T.R.flatten(-2)], dim=-1)  # the twelve numbers of each frame
    if self.with_frames:
        numbers = torch.zeros_like(numbers)
    else:
        T = Rigid.identity(T.shape)
    b, i = T.shape
    s = self.embed(numbers)
    s = s + self.ipa(s, torch.zeros(b, i, i, 16), T, torch.ones(b, i))
    return self.answer(torch.cat([s, numbers], dim=-1))


Pointer.forward = say


# %%
def turned(T, degrees, generator):
    """Each protein [b] turned about an axis of its own through the origin."""
    axis = torch.randn(len(T.t), 1, 3, generator=generator)
    half = math.radians(min(degrees, 179.9)) / 2
    axis = axis / axis.norm(dim=-1, keepdim=True) * math.tan(half)
    return Rigid.from_update(torch.cat([axis, 0 * axis], dim=-1)).compose(T)


def anyhow(T, generator):
    """Each protein [b] in a random pose."""
    q = torch.randn(len(T.t), 1, 4, generator=generator)
    R = quaternion_to_rotation(q / q.norm(dim=-1, keepdim=True))
    return Rigid(R, torch.zeros(len(T.t), 1, 3)).compose(T)


# %% [markdown]
# There is a remedy for the second network: show it every protein in many poses, turned at random each time
# ([*augmentation*](../docs/glossary.md#augmentation)). So we train three: IPA, global coordinates, and global coordinates with random turns. Three seeds each, 150 steps.
#
# **Predict first:** we test on the proteins that they have learned from, but turned by 0°, 10°, 30°, 90°, 180°. Draw three curves. Then: which one does best on *new* proteins?


# %%
def train_pointer(with_frames, turns, seed, steps=150):
    """A pointer that has learned from eight proteins."""
    generator = torch.manual_seed(seed)
    model = Pointer(with_frames)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1, 0.01, total_iters=steps)
    for _ in range(steps):
        T = anyhow(TOY[KNOWN], generator) if turns else TOY[KNOWN]
        loss = (model(T) - MIDDLE[KNOWN]).square().sum(-1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return model


# %%
@torch.no_grad()
def misses(model, which, degrees):
    """By how many Å the answers miss (root mean square)."""
    T = turned(TOY[which], degrees, torch.Generator().manual_seed(1))
    return 10 * (model(T) - MIDDLE[which]).square().sum(-1).mean().sqrt().item()


KINDS = {"IPA": (True, False), "global": (False, False), "global, turned at random": (False, True)}
ANGLES = (0, 10, 30, 90, 180)
known, new = {}, {}
for name, kind in KINDS.items():
    models = [train_pointer(*kind, seed) for seed in range(3)]
    known[name] = np.array([[misses(m, KNOWN, a) for a in ANGLES] for m in models])  # [3, 5]
    new[name] = np.array([misses(m, NEW, 0) for m in models])  # [3]
no_idea = 10 * (MIDDLE[NEW] - MIDDLE[KNOWN].mean((0, 1))).square().sum(-1).mean().sqrt().item()

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(8.5, 3.2), width_ratios=(1.5, 1))
for k, (name, color) in enumerate(zip(KINDS, style.CYCLE)):
    mean, spread = known[name].mean(0), known[name].std(0)
    left.errorbar(ANGLES, mean, spread, label=name, color=color, marker="o", capsize=3)
    bar = right.bar(k, new[name].mean(), yerr=new[name].std(), color=color, capsize=4)
    right.bar_label(bar, fmt="%.1f", padding=3)
right.axhline(no_idea, color=style.INK, linewidth=1, linestyle=":")
right.text(-0.4, no_idea + 0.15, "always the mean answer", fontsize=9)
left.set(title="proteins it has learned from", xlabel="turned by (°)", ylabel="misses by (Å)")
left.set_xticks(ANGLES)
left.legend()
right.set(title="new proteins", ylim=(0, 9))
right.set_xticks(range(3), ["IPA", "global", "global, turned\nat random"])
plt.show()

# %%
assert (known["IPA"].max(1) - known["IPA"].min(1)).max() < 0.01  # deaf to turning
assert known["global"][:, 0].max() < 1 < 4 < known["global"][:, -1].min()
assert (
    new["IPA"].max() < 0.8 < 1.2 < new["global, turned at random"].min() and new["global"].min() > 3
)
print("three seeds each; bars show one standard deviation")
print("global coordinates: below 1 Å in the pose they were learned in, above 4 Å turned by 180°")

# %% [markdown]
# - The network with **global coordinates** knows its eight proteins by heart, as long as nobody turns them. A turn by 30° is enough to
#   confuse it, and new proteins are new poses, too.
# - **Random turns** heal most of it, but the network spends its strength on learning what rotations are, and still misses by three times as much.
# - **IPA** need not learn it. Its curve is flat, to the last digit: what it has learned in one pose it knows in all.
#
# (One task, one small network. With endless data and large networks, random turns can work very well: AlphaFold 3 dropped the frames and does just that. But it has to pay for it with training.)
#
# ## 6 · The structure module
#
# Now the whole machine. Eight layers (with *one* set of weights), each with an IPA, a [transition](../docs/glossary.md#transition), and six
# numbers per residue that move its frame, read in the frame itself ([lesson 07](07_protein_geometry.ipynb)). Beside it, a small network
# makes the torsion angles of the side chains from the vectors $s_i$.

# %%
figure, ax = style.canvas(9.2, 3.2)
for x, y, words, color in (
    (0.85, 2.5, "MSA, first row\n→ $s_i$", style.SKY),
    (0.85, 1.6, "pairs $z_{ij}$", style.PURPLE),
    (0.85, 0.7, "frames $T_i$,\nat first all at 0", style.ORANGE),
    (2.95, 1.6, "IPA", style.YELLOW),
    (4.75, 1.6, "transition", style.SKY),
    (6.55, 1.6, "6 numbers\nper residue", style.ORANGE),
    (4.75, 2.8, "torsion network", style.GREEN),
    (8.35, 1.6, "all atoms\n(lesson 07)", style.GREEN),
):
    style.box(ax, (x, y), words, size=(1.42, 0.64), color=color, fontsize=10)
for ends in ((1.57, 2.5, 2.23, 1.8), (1.57, 1.6, 2.23, 1.6), (1.57, 0.7, 2.23, 1.4),
             (3.67, 1.6, 4.03, 1.6), (5.47, 1.6, 5.83, 1.6), (7.27, 1.6, 7.63, 1.6),
             (4.75, 1.93, 4.75, 2.47), (5.47, 2.8, 7.75, 1.93), (2.95, 0.3, 2.95, 1.27)):  # fmt: skip
    style.arrow(ax, ends[:2], ends[2:])
ax.plot([6.55, 6.55, 2.95], [1.28, 0.3, 0.3], "-", color=style.INK, linewidth=1.6)
ax.text(4.75, 0.4, "moved frames: next layer (8 times)", ha="center", fontsize=9)
plt.show()

# %% [markdown]
# We take a model that knows seven proteins by heart, [seven-nano](../weights/seven-nano.md), let it fold them, and keep what its Evoformer
# hands to the structure module. (It has 4 layers and starts from a line instead of the origin, because it is small; more on that below.)

# %%
MODEL = minifold.load("seven-nano").eval()
MODULE = MODEL.structure_module
KUNITZ = "../data/sample_msas/kunitz_1bpi.a3m"  # BPTI was learned with its family
TAPS = ("*/evoformer/s", "*/evoformer.1/z", "*/structure.*")
handed_over = {}
for chain in CHAINS:
    with record(MODEL, *TAPS) as taps:
        minifold.fold(KUNITZ if chain.name == "1BPI" else chain.sequence, MODEL, recycles=0)
    s, z = (torch.as_tensor(taps[f"recycle0/evoformer{x}"])[None] for x in ("/s", ".1/z"))
    handed_over[chain.name] = s, z, taps
print("s and z of", ", ".join(handed_over))


# %%
@torch.no_grad()
def structure_loop(module, s, z, T):
    """Algorithm 20: the backbone frames [b, i] after every layer, in units of 10 Å."""
    layer, mask = module.iteration, torch.ones(s.shape[:2])
    s, z = module.initial(module.single_norm(s)), module.pair_norm(z)
    frames = []
    for _ in range(module.config.structure_layers):
        s = layer.ipa_norm(s + layer.ipa(s, z, T, mask))
        x = s
        for linear in layer.transition[:-1]:
            x = torch.relu(linear(x))
        s = layer.transition_norm(s + layer.transition[-1](x))
        T = T.compose(Rigid.from_update(layer.backbone_update(s)))  # from the right
        frames.append(T)
    return frames


# %%
s, z, taps = handed_over["1UBQ"]
line = MODULE.start(torch.ones(1, n))
ours = structure_loop(MODULE, s, z, line)
for k, frames in enumerate(ours):
    package = taps[f"recycle0/structure.{k}/frames"]  # rotation, and origin in Å
    assert np.allclose(10 * frames.t[0], package[..., 3], atol=1e-2)
    assert np.allclose(frames.R[0], package[..., :3], atol=1e-3)
print(f"{len(ours)} layers: our loop equals the package's structure module")

# %% [markdown]
# **Predict first:** how good is the structure after each of the four layers? We measure with [*lDDT*](../docs/glossary.md#lddt), the share of distances that
# are right (1 is perfect; you will write it yourself in section 9). The same once more, with the start turned and carried away by the motion $M$.

# %%
one = torch.ones(1, n)
for name, start in (("as it is", line), ("moved by M", M.scale(1 / 10).compose(line))):
    frames = structure_loop(MODULE, s, z, start)
    scores = [lddt(10 * f.t, T.t[None], one).item() for f in [start, *frames]]
    print(f"start {name:10s}: lDDT at the start and after each layer", np.round(scores, 2))
    if name == "as it is":
        first_time = frames[-1]
expected = M.scale(1 / 10).compose(first_time)
assert torch.allclose(frames[-1].t, expected.t, atol=1e-3) and scores[-1] > 0.9
print("the second structure is the first one, moved by M: the module is equivariant")

# %% [markdown]
# How do the voices work together? The pair voice says the same in all layers, since $z$ does not change. The point voice hears the structure
# *so far*. Here are both, means over the heads, for ubiquitin, with the true distances beside.

# %%
voices = {
    "pairs, all layers": taps["recycle0/structure.0/ipa_pair"].mean(0),
    "points, layer 1": taps["recycle0/structure.0/ipa_points"].mean(0),
    "points, layer 4": taps["recycle0/structure.3/ipa_points"].mean(0),
    "−distance, truth": -torch.cdist(T.t, T.t).numpy(),
}
lower = np.tril_indices(n, -4)  # pairs at least four apart
for title, voice in list(voices.items())[:3]:
    r = np.corrcoef((voice + voice.T)[lower], voices["−distance, truth"][lower])[0, 1]
    print(f"{title:18s} correlation with −distance: {r:.2f}")
shown = {title: v.clip(*np.percentile(v, [5, 99])) for title, v in voices.items()}
few = plt.get_cmap(style.SEQUENTIAL, 8)
plots.pair_maps(shown, cmap=few, axes=("residue asked", "residue that asks"))

# %% [markdown]
# (Yellow is loud.) In layer 1 the frames still lie along a line, and the points can only say who is near along the chain. In layer 4 they show the fold. Structure is not
# only the output of this attention, it is part of its input.
#
# ### Does it need all three voices?
#
# A map is not a proof ([lesson 02](02_multi_head_attention.ipynb)). We intervene: switch off one voice, or one of the answers that come back, and let the model fold its
# seven proteins again. **Predict first:** which one does it miss most?


# %%
def silence(layer):
    """Make a linear layer put out 0."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)


def without(part):
    """A copy of the structure module in which IPA lacks one voice or one kind of answer."""
    module = copy.deepcopy(MODULE)
    ipa = module.iteration.ipa
    a, b = ipa.h * ipa.c, ipa.h * (ipa.c + 4 * ipa.value_points)  # values | points | pairs
    columns = {"values": slice(0, a), "pairs back": slice(b, None), "points back": slice(a, b)}
    if part in ("sequence", "pairs"):
        silence(ipa.q_scalar if part == "sequence" else ipa.pair_bias)
    elif part == "points":
        nn.init.constant_(ipa.point_weights, -1e4)  # γ = 0
    elif part in columns:
        ipa.output.weight.data[:, columns[part]] = 0
    return module


# %%
def lddt_of(x, chain):
    """lDDT of Cα positions x [n, 3]."""
    return lddt(x[None], frames_of(chain).t[None], torch.ones(1, len(x))).item()


PARTS = ("nothing", "sequence", "pairs", "points", "values", "pairs back", "points back")
kept = {part: [] for part in PARTS}
for part in PARTS:
    module = without(part)
    for chain in CHAINS:
        s_c, z_c, _ = handed_over[chain.name]
        frames = structure_loop(module, s_c, z_c, module.start(torch.ones(s_c.shape[:2])))
        kept[part].append(lddt_of(10 * frames[-1].t[0], chain))
rng = np.random.default_rng(0)
walks = [lddt_of(torch.as_tensor(random_walk(len(c.sequence), rng)), c) for c in CHAINS]

# %%
figure, ax = plt.subplots(figsize=(8.5, 3.2))
colors = (style.GREY, *2 * (style.SKY, style.PURPLE, style.ORANGE))
places = (0, 1.5, 2.5, 3.5, 5, 6, 7)
for x, part, color in zip(places, PARTS, colors):
    ax.bar(x, np.mean(kept[part]), yerr=np.std(kept[part]), color=color, capsize=4)
    ax.plot(x + np.linspace(-0.25, 0.25, 7), kept[part], ".", color=style.INK, markersize=4)
ax.axhline(np.mean(walks), color=style.INK, linewidth=1, linestyle=":")
ax.text(7.55, np.mean(walks) + 0.02, "random walk", fontsize=9, ha="right")
ax.set_xticks(places, ["nothing", *2 * ["sequence", "pairs", "points"]])
for x, words in ((0, "switched off:"), (2.5, "a voice"), (6, "an answer")):
    ax.text(x, 1.1, words, ha="center", weight="bold", fontsize=10)
ax.set(ylabel="lDDT, seven proteins", ylim=(0, 1.2))
plt.show()

# %%
assert min(kept["nothing"]) > 0.9
for part in ("pairs", "points", "pairs back", "points back"):
    assert np.mean(kept[part]) < 0.4  # no better than a random walk
assert 0.5 < np.mean(kept["values"]) < np.mean(kept["sequence"]) < 0.75
print("without pairs or points: no better than a random walk; without the sequence terms: damaged")

# %% [markdown]
# (Bars: mean of seven proteins and their spread; dots: the proteins; the answer of the sequence is the values.) This model cannot do without the pairs, and not without the points. It would be rash to conclude that *no* model could: these weights were trained with
# all parts in place. DeepMind trained a network without IPA from the beginning; as long as recycling stayed, it lost little (Fig. 4a of the paper). [Lesson 13](13_ablations.ipynb) repeats that in small.
#
# ### The black hole
#
# Where do the frames start? In AlphaFold2 all of them start as $T_i = (1, \vec 0)$: no rotation, at the origin, everybody in the same place. DeepMind calls this
# the [*black hole*](../docs/glossary.md#black-hole). It sounds mad, but it is the most honest start: nobody is preferred, no shape is suggested, and
# what the first layer hears of the points says nothing about who is where. The fold has to come from $z$.
#
# Our small model learned to start from a line along x, with neighbours 1.5 Å apart, which tells it at once who is whose neighbour along the chain.
# **Predict first:** what does it do if we throw it into the black hole?

# %%
for name, start in (("line", line), ("black hole", Rigid.identity((1, n)))):
    print(
        f"{name:10s} lDDT {lddt_of(10 * structure_loop(MODULE, s, z, start)[-1].t[0], UBIQUITIN):.2f}"
    )

# %% [markdown]
# It is lost: the start is part of what was learned. Why the black hole is a good start for *training* is a question for section 10.
#
# ## 7 · FAPE: the error as every residue sees it
#
# We have a structure. How wrong is it? Its coordinates cannot be compared with the true ones: they belong to different observers. The classical way out is to
# lay one structure on the other as well as possible (a *superposition*) and measure what remains: the RMSD of lesson 07. But there is only one best superposition, and if a
# protein has a hinge, it satisfies nobody.
#
# [*FAPE*](../docs/glossary.md#fape), *frame aligned point error*, asks every residue: lay the prediction on the truth such that *your own frame* fits exactly. How far is everybody else from where they belong?


# %%
def flat_chain(bend):
    """Eight points of a zigzag in the plane, bent in the middle (degrees), and their directions."""
    heading = np.radians(np.where(np.arange(8) % 2, -28, 28) + np.where(np.arange(8) > 3, bend, 0))
    steps = np.stack([np.cos(heading), np.sin(heading)], axis=1)
    return np.cumsum(steps, axis=0) - steps, heading


def lay_on(k, points, heading, onto, onto_heading):
    """The points moved such that point k and its direction fit."""
    a = onto_heading[k] - heading[k]
    R = np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
    return (points - points[k]) @ R.T + onto[k]


# %%
truth, prediction = flat_chain(0), flat_chain(50)
figure, axes = plt.subplots(1, 2, figsize=(8.5, 2.9), sharey=True)
for ax, k in zip(axes, (1, 6)):
    moved = lay_on(k, *prediction, *truth)
    ax.plot(*truth[0].T, "o-", color=style.GREY, label="truth")
    ax.plot(*moved.T, "s-", color=style.BLUE, label="prediction")
    for a, b in zip(truth[0], moved):
        ax.plot(*np.array([a, b]).T, "-", color=style.RED, linewidth=1.2)
    ax.plot(*truth[0][k], "o", color="none", markeredgecolor=style.ORANGE, markersize=17, mew=2.5)
    ax.set(title=f"laid on point {k + 1}", aspect="equal", xticks=[], yticks=[], ylim=(-0.5, 3.4))
    ax.spines[["left", "bottom"]].set_visible(False)
axes[0].legend(loc="upper left", fontsize=9)
plt.show()

# %% [markdown]
# (Orange: the point whose frame is made to fit. Red: the errors it sees.) Each half of this chain is perfect, only the hinge is wrong. Every frame finds its own half right and the other half wrong. No superposition is needed, just
# one subtraction:
#
# $$\text{FAPE} = \frac{1}{Z} \; \underset{i,\,j}{\text{mean}} \; \min\left( d_{\text{clamp}},\; \left| T_i^{-1} \vec x_j - T_i^{\text{true}\,-1} \vec x_j^{\text{ true}} \right| \right), \qquad Z = d_{\text{clamp}} = 10 \text{ Å}.$$
#
# Two details: errors above 10 Å count as 10 Å (the *clamp*; section 10), and the result is given in units of 10 Å, so that it lies between 0 and 1.


# %%
def errors(T, T_true, x, x_true):
    """Å, [*, i, j]: by how much frames T [*, i] see the points x [*, j, 3] misplaced."""
    seen = T[..., None].invert_apply(x[..., None, :, :])
    true = T_true[..., None].invert_apply(x_true[..., None, :, :])
    return ((seen - true).square().sum(-1) + 1e-4).sqrt()  # 1e-4: a finite slope at 0


def fape(T, T_true, x, x_true, clamp=10.0):
    """Algorithm 28, in units of 10 Å; clamp None: no limit."""
    error = errors(T, T_true, x, x_true)
    return (error if clamp is None else error.clamp(max=clamp)).mean((-1, -2)) / 10


# %% [markdown]
# Now in space, with ubiquitin, bent by 90° at residue 39.


# %%
def bend(T, k, degrees):
    """Bent at residue k: everything behind it turns about the x axis of its frame."""
    turn = torch.tensor([math.tan(math.radians(degrees) / 2), 0, 0, 0, 0, 0])
    moved = T[k].compose(Rigid.from_update(turn)).compose(T[k].inverse()).compose(T)
    behind = torch.arange(len(T.t)) > k
    R = torch.where(behind[:, None, None], moved.R, T.R)
    return Rigid(R, torch.where(behind[:, None], moved.t, T.t))


BENT = bend(T, 38, 90)
ones = torch.ones(n)
for clamp in (10.0, None):
    package = frame_aligned_point_error(BENT, T, ones, BENT.t, T.t, ones, clamp)
    assert torch.allclose(fape(BENT, T, BENT.t, T.t, clamp), package, atol=1e-5)
print("our FAPE equals the package's, with and without clamp")
away = M.compose(T)
print(f"perfect, but moved 30 Å away: {fape(away, T, away.t, T.t):.3f}")

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(8.5, 3.4), width_ratios=(1, 1.15))
left.plot(T.t[:, 0], T.t[:, 1], "-", color=style.GREY, linewidth=4)
left.plot(BENT.t[:, 0], BENT.t[:, 1], "-", color=style.BLUE)
left.set(xlabel="x (Å)", ylabel="y (Å)", aspect="equal", title="truth (grey), bent (blue)")
who = ("point j", "frame i")
plots.pair_image(right, errors(BENT, T, BENT.t, T.t).numpy(), "error seen", "Å", axes=who)
plt.show()

# %% [markdown]
# A map of who is wrong about whom: two perfect halves, and a wrong relation between them. (The predicted aligned error, PAE, that AlphaFold2 prints is its guess of this very
# map.) Compare some wrong structures:

# %%
generator = torch.manual_seed(3)
noise = torch.randn(n, 6, generator=generator) * torch.tensor([0.05] * 3 + [1.0] * 3)
WRONG = {
    "bent by 90° in the middle": BENT,
    "the last 6 residues flung away": bend(T, 69, 120),
    "every residue off by 1 Å or so": T.compose(Rigid.from_update(noise)),
    "all in one point": Rigid.identity((n,)),
}
print("                                RMSD    lDDT   FAPE")
for name, frames in WRONG.items():
    off = rmsd(frames.t[None], T.t[None], one).item()
    print(f"{name:30s} {off:4.1f} Å   {lddt_of(frames.t, UBIQUITIN):.2f}", end="   ")
    print(f"{fape(frames, T, frames.t, T.t):.2f}")

# %% [markdown]
# By RMSD, the bent chain is nearly as bad as a single point, although both of its halves are perfect; lDDT and FAPE give credit for what is right. FAPE also looks at how
# each residue is *turned*: in the third row every frame is turned by 10° or so, and what a turned frame sees far away is far off.
#
# ### Exercise 3 · FAPE (needs a thought)
#
# Write `my_fape(R, t, x, R_true, t_true, x_true)`, clamped at 10 Å and in units of 10 Å: `R` [i, 3, 3] and `t` [i, 3] are predicted frames, `x` [j, 3] predicted points, in Å; the others are the truth.
# Close your eyes to ours. (What undoes a rotation?)


# %% nbgrader={"grade": false, "grade_id": "fape", "locked": false, "schema_version": 3, "solution": true, "task": false}
def my_fape(R, t, x, R_true, t_true, x_true):
    """One number, in units of 10 Å."""

    ### BEGIN SOLUTION
    def seen(R, t, x):
        R, t, x = (np.asarray(a, dtype=float) for a in (R, t, x))
        return np.einsum("iyx,ijy->ijx", R, x[None] - t[:, None])  # the transpose undoes R

    error = np.linalg.norm(seen(R, t, x) - seen(R_true, t_true, x_true), axis=-1)
    return np.minimum(error, 10).mean() / 10
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check-fape", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
minifold.check("fape", my_fape)

# %% [markdown]
# ## 8 · The gradient of FAPE folds a chain
#
# A loss is there to be followed downhill. In training, its gradient says how to change the weights. Now we leave out the network altogether: the 76 frames *themselves* are the
# parameters, a quaternion and a shift each, 532 numbers. Nobody tells them that they are a chain. They begin (almost) in the black hole, in a cloud 0.1 Å wide, and follow the gradient of FAPE for 200 steps; twelve
# different clouds, all at once.
#
# **Predict first:** does ubiquitin come out? In how many of the twelve?


# %%
def fold(loss, starts=12, steps=200, spread=0.1):
    """Frames [starts, n] after gradient descent from clouds of this width (Å); Cα every 5 steps."""
    generator = torch.Generator().manual_seed(0)
    q = torch.tensor([1.0, 0, 0, 0]) + 0.1 * torch.randn(starts, n, 4, generator=generator)
    t = spread / 10 * torch.randn(starts, n, 3, generator=generator)
    optimizer = torch.optim.Adam([q.requires_grad_(), t.requires_grad_()], lr=0.1)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1, 0.01, total_iters=steps)
    way = []
    for step in range(steps + 1):
        frames = Rigid(quaternion_to_rotation(q / q.norm(dim=-1, keepdim=True)), 10 * t)
        if step % 5 == 0:
            way.append(frames.t.detach())
        optimizer.zero_grad()
        loss(frames).sum().backward()
        optimizer.step()
        schedule.step()
    return frames.map(torch.Tensor.detach), torch.stack(way)


# %%
def fape_to(truth, clamp=10.0):
    """Backbone FAPE [b] of frames [b, n], by the package's function, which is faster than ours."""
    return lambda F: frame_aligned_point_error(F, truth, ones, F.t, truth.t, ones, clamp)


def judge(frames):
    """RMSD (Å), lDDT and "nearer to the mirror image" of each prediction [b]."""
    b = len(frames.t)
    arguments = frames.t, T.t.expand(b, n, 3), torch.ones(b, n)
    return [f(*arguments).numpy() for f in (rmsd, lddt, mirrored)]


folded, way = fold(fape_to(T))
off, score, _ = judge(folded)
print("RMSD after 200 steps (Å):", off.round(1))
print(f"folded (RMSD below 0.5 Å): {(off < 0.5).sum()} of 12; mean lDDT {score.mean():.3f}")
assert (off < 0.5).sum() >= 10

# %% tags=["nbval-ignore-output"]
steps = [f"step {10 * k}" for k in range(11)]
words = "FAPE gradient descent folds ubiquitin (grey: the truth)"
truth = only(UBIQUITIN, BACKBONE)
trajectory(UBIQUITIN, way[:21:2, 1].numpy(), truth=truth, labels=steps, caption=words)

# %% [markdown]
# (The slider, in Jupyter, goes through the first 100 steps of the second cloud.) First the dense cloud explodes, then strands and helix sort themselves out, all residues at the same time. DeepMind speaks of a *residue gas*: nothing holds the chain together but the
# loss. A network that learns from this loss gets at each step of its training exactly such hints, "this residue further to my left".
#
# The first of the twelve clouds is stuck at 2.4 Å. What is wrong with it?

# %%
seen = errors(folded[0], T, folded.t[0], T.t)  # [frame, point]
for k in (seen.median(dim=0).values > 2).nonzero()[:, 0].tolist():
    print(
        f"residue {k + 1} is in the wrong place: off by {seen[:, k].median():.0f} Å in most frames,"
    )
    print(f"by more than 10 Å in {(seen[:, k] > 10).sum()} of {n} (one of the others is its own)")

# %% [markdown]
# A single residue was thrown too far out by the explosion. All others see it more than 10 Å away from its place, count that as 10 Å, and feel no slope. Keep that in mind until section 10.
#
# ## 9 · In the mirror
#
# Hold a protein in front of a mirror. The mirror image has the same distances, the same contacts, the same everything, but it is another molecule: its helices wind to the left, its amino acids are the D form, which
# life does not use. Chemists call such twins *stereoisomers*; that something differs from its mirror image is called [*chirality*](../docs/glossary.md#chirality), handedness.


# %%
def mirror_image(chain, beside=0.0):
    """The chain mirrored across its longest direction, and moved along it (Å)."""
    ca = chain.positions[:, CA]
    along = np.linalg.svd(ca - ca.mean(0), full_matrices=False)[2][0]
    height = (chain.positions - ca.mean(0)) @ along
    positions = chain.positions + (beside - 2 * height)[..., None] * along
    return replace(chain, positions=positions.astype(np.float32), name=f"{chain.name} mirrored")


villin = next(chain for chain in CHAINS if chain.name == "1VII")
pair = [only(chain, BACKBONE) for chain in (villin, mirror_image(villin, 38))]
words = "Villin headpiece, 36 residues, and its mirror image: look at the helices"
view(pair, "chain", width=600, height=280, caption=words)

# %% [markdown]
# (In the still picture the twin is only a thread: the painter draws ribbons where it recognises helices, and it knows the right-handed ones of life. The live view is less particular.)
#
# How do our measures like the twin? Besides FAPE and lDDT we take [*dRMSD*](../docs/glossary.md#drmsd): the root mean square difference of all *distances*. Remember:
# lDDT is the share of distances below 15 Å that are kept, within 0.5, 1, 2 and 4 Å (the mean of four shares).
#
# **Predict first:** four numbers for the mirror image: lDDT, dRMSD, RMSD, FAPE.

# %%
print("mirror image of         lDDT   dRMSD      RMSD    FAPE    (FAPE of a random walk)")
rng = np.random.default_rng(0)
for chain in CHAINS:
    T_c, twin, size = frames_of(chain), frames_of(mirror_image(chain)), len(chain.sequence)
    arguments = twin.t[None], T_c.t[None], torch.ones(1, size)
    same, off, moved = (f(*arguments).item() for f in (lddt, drmsd, rmsd))
    walk = Rigid(
        T_c.R[torch.as_tensor(rng.permutation(size))], torch.as_tensor(random_walk(size, rng))
    )
    scores = [fape(x, T_c, x.t, T_c.t).item() for x in (twin, walk)]
    print(f"{chain.name}, {size} residues:    {same:.2f}  {off:.2f} Å  {moved:6.1f} Å", end="    ")
    print(f"{scores[0]:.2f}    ({scores[1]:.2f})")
    assert same > 0.999 and off < 0.01 and scores[0] > 0.5

# %% [markdown]
# lDDT: perfect. dRMSD: perfect. Of course: a mirror keeps all distances. RMSD notices, since a superposition may turn but not mirror. And FAPE notices: it is not far from that of a random
# walk.
#
# How can FAPE see the mirror? It, too, adds up lengths; but of the difference between what a frame *sees* and what it should see. Compare the coordinates of all residues in all frames, in ubiquitin and in its twin.

# %%
twin = frames_of(mirror_image(UBIQUITIN))
here, there = (F[:, None].invert_apply(F.t) for F in (T, twin))
assert torch.allclose(there, here * torch.tensor([1.0, 1, -1]), atol=1e-3)
expected = (2 * here[..., 2].abs()).clamp(max=10).mean() / 10
print(f"FAPE of the twin {fape(twin, T, twin.t, T.t):.3f}, mean of 2|z| (clamped) {expected:.3f}")

# %% [markdown]
# Exactly. What is $z$ of point $j$ in frame $i$? Its height above the plane of N, Cα and C. The three atoms of residue $i$ say where left and right, front and back are, and the third axis is made such that the frame is right-handed
# (lesson 07). In the twin everything is mirrored *except this rule*, so what was above is now below. Every frame sees every point off by $2|z|$.
#
# ### Folding by distances
#
# Is that a matter for purists? Let us fold by distances instead: the loss is now the mean error of all distances between Cα atoms. Everything else stays the same, 24 clouds.
#
# **Predict first:** lDDT in the end? And how many of the 24 are right?


# %%
def distance_loss(frames):
    """Mean error of all distances between Cα atoms [b], in units of 10 Å."""
    x = frames.t
    distance = ((x[:, :, None] - x[:, None]).square().sum(-1) + 1e-4).sqrt()
    return (distance - torch.cdist(T.t, T.t)).abs().mean((1, 2)) / 10


by_loss = {"FAPE": fold(fape_to(T), 24)[0], "distances": fold(distance_loss, 24)[0]}
for name, frames in by_loss.items():
    off, score, twins = judge(frames)
    print(f"{name:9s}: mean lDDT {score.mean():.2f}, mean RMSD {off.mean():.1f} Å", end=", ")
    print(f"mirror images: {twins.sum():.0f} of 24")
_, score, twins = judge(by_loss["distances"])
assert 5 <= twins.sum() <= 19 and score.min() > 0.98 and judge(by_loss["FAPE"])[2].sum() == 0

# %% [markdown]
# Half of them are twins: the toss of a coin, decided by the first cloud. And nothing in lDDT or dRMSD shows it: look at the scores of this "prediction".

# %% tags=["nbval-ignore-output"]
first_twin = only(UBIQUITIN, [CA])
first_twin.positions[:, CA] = by_loss["distances"].t[int(twins.argmax())]
words = "Folded by distances, on the truth (grey): a perfect lDDT, and wrong"
view([first_twin, only(UBIQUITIN, BACKBONE)], "position", superpose=True, caption=words)

# %% [markdown]
# So distances, contacts and lDDT alone cannot teach a network the hand of life; FAPE can. (If you ever see a model with a splendid lDDT and a poor RMSD, count its left-handed helices.) lDDT remains a good *measure*: it needs no superposition
# and forgives hinges. AlphaFold2 predicts its own lDDT: that is the pLDDT in its files.
#
# ### Exercise 4 · lDDT (needs a thought)
#
# Write `my_lddt(predicted, true)` for points [n, 3] in Å: of all pairs of *different* points nearer than 15 Å **in the truth**, the share whose distance in the prediction is off by less than 0.5 Å; the same for 1, 2 and 4 Å; the mean of the four
# shares. (A public code compares positions instead of distances: there a perfect copy, shifted by 20 Å, scores 0.)


# %% nbgrader={"grade": false, "grade_id": "lddt", "locked": false, "schema_version": 3, "solution": true, "task": false}
def my_lddt(predicted, true):
    """One number between 0 and 1."""

    ### BEGIN SOLUTION
    def distances(x):
        x = np.asarray(x, dtype=float)
        return np.linalg.norm(x[:, None] - x[None], axis=-1)

    D = distances(true)
    pairs = (D < 15) & ~np.eye(len(D), dtype=bool)
    error = np.abs(distances(predicted) - D)[pairs]
    return np.mean([(error < cutoff).mean() for cutoff in (0.5, 1, 2, 4)])
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check-lddt", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
minifold.check("lddt", my_lddt)

# %% [markdown]
# ## 10 · The clamp
#
# Errors above 10 Å count as 10 Å. Such an error has no slope: pull the point a little nearer, and the loss stays the same. Whoever is far away is left in peace. Good or bad?
#
# Take a badly folded chain: ubiquitin bent by 90°. Which residues feel a pull? We look at the gradient of FAPE with respect to the positions of the Cα atoms.

# %%
pulls = {}
for name, clamp in (("clamped", 10.0), ("not clamped", None)):
    t = BENT.t.clone().requires_grad_()
    fape(Rigid(BENT.R, t), T, t, T.t, clamp).backward()
    pulls[name] = t.grad.norm(dim=-1) * n
error = errors(BENT, T, BENT.t, T.t)
print(f"pairs without gradient: {(error > 10).float().mean():.0%}")

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(8.5, 3.2), width_ratios=(1, 1.6))
left.set_facecolor(style.tint(style.GREY, 0.5))
near = np.where(error > 10, np.nan, error)
plots.pair_image(left, near, "clamped (grey): no gradient", "Å", axes=who)
for name, pull in pulls.items():
    right.plot(np.arange(1, n + 1), pull, label=name)
right.set(title="pull on each Cα", xlabel="residue", ylabel="gradient × residues")
right.legend()
plt.show()

# %% [markdown]
# With the clamp, only the neighbours of the hinge feel anything, and a few residues that happen to come near their place. Without it, everybody is pulled. Then why clamp at all?
#
# Now crumple the bent chain as well: every residue is shifted by 1 Å or so and turned a little. Two jobs: smooth out the halves (small errors, nearby), and unbend the hinge (large errors, far away). Eighty steps of gradient
# descent, 8 different crumplings, with clamp, without, and with a mixture: 90 % clamped and 10 % not, as in the training of AlphaFold2.
#
# **Predict first:** who does which job first?


# %%
HALVES = (slice(0, 39), slice(39, n))


def repair(clamped, seeds=8, steps=80):
    """lDDT inside the halves, and RMSD, [steps + 1, seeds]; clamped: share of the clamped loss."""
    generator = torch.Generator().manual_seed(0)
    u = 0.1 * torch.randn(seeds, n, 6, generator=generator)  # in units of 10 Å
    optimizer = torch.optim.Adam([u.requires_grad_()], lr=0.02)
    halves, everything = [], []
    for _ in range(steps + 1):
        F = BENT.compose(Rigid.from_update(u * torch.tensor([1.0, 1, 1, 10, 10, 10])))
        x, x_true, m = F.t.detach(), T.t.expand(seeds, n, 3), torch.ones(seeds, n)
        two = [lddt(x[:, p], x_true[:, p], m[:, p]) for p in HALVES]
        halves.append(sum(two) / 2)
        everything.append(rmsd(x, x_true, m))
        optimizer.zero_grad()
        (clamped * fape_to(T)(F) + (1 - clamped) * fape_to(T, None)(F)).sum().backward()
        optimizer.step()
    return torch.stack(halves).numpy(), torch.stack(everything).numpy()


# %%
shares = {"clamped": 1.0, "not clamped": 0.0, "90 % clamped": 0.9}
repaired = {name: repair(share) for name, share in shares.items()}
figure, axes = plt.subplots(1, 2, figsize=(8.5, 3.2))
titles = (("local order", "lDDT inside the halves"), ("the hinge", "RMSD of the whole (Å)"))
for k, (ax, (title, label)) in enumerate(zip(axes, titles)):
    for (name, curves), color in zip(repaired.items(), style.CYCLE):
        mean, spread = curves[k].mean(1), curves[k].std(1)
        ax.plot(mean, label=name, color=color)
        ax.fill_between(range(81), mean - spread, mean + spread, alpha=0.2, color=color)
    ax.set(xlabel="step", ylabel=label, title=title)
axes[1].legend()
plt.show()

# %%
print("                 halves (lDDT)  whole (RMSD, Å)   at step 30 and 80")
for name, (halves, everything) in repaired.items():
    numbers = [x[k].mean() for x in (halves, everything) for k in (30, 80)]
    print("{:14s}   {:.2f}  {:.2f}     {:4.1f}  {:4.1f}".format(name, *numbers))
local = {name: halves[30].mean() for name, (halves, _) in repaired.items()}
whole = {name: everything[80].mean() for name, (_, everything) in repaired.items()}
assert local["not clamped"] < 0.8 < 0.98 < min(local["clamped"], local["90 % clamped"])
assert max(whole["not clamped"], whole["90 % clamped"]) < 1 < 5 < whole["clamped"]

# %% [markdown]
# (Lines: mean of 8 crumplings; bands: their spread.) Two tempers:
#
# - **With clamp**, small errors are mended first and fast. For what is far away it does next to nothing.
# - **Without**, most of the pull comes from large errors. The hinge is set right at once, but meanwhile the halves stay crumpled; for a while they even get worse.
# - **The mixture** does both jobs, one after the other. (The dip at the end of the green curve is the moment when the hinge snaps in.) In AlphaFold2's training the clamp of the backbone FAPE is taken off for 10 % of the examples.
#
# For a network, the second point is the important one: early in training it cannot set all hinges right, and shall still learn what a good helix is.
#
# ### Why the black hole?
#
# A clamped loss is blind to what is more than 10 Å away. So it matters where the frames begin. We fold once more, from clouds of different widths, 12 each.
#
# **Predict first:** from how wide a cloud does ubiquitin (about 40 Å long) still fold with the clamp? And without?

# %%
SPREADS, EYE = (0.1, 2, 5, 10, 30), torch.eye(3).expand(12, n, 3, 3)
alive, share = [], {10.0: [], None: []}
for spread in SPREADS:
    for clamp, found in share.items():
        frames, way = fold(fape_to(T, clamp), spread=spread)
        found.append((judge(frames)[0] < 2).mean())
    start = Rigid(EYE, way[0])
    alive.append((errors(start, T, start.t, T.t) < 10).float().mean().item())
print("pairs with a gradient at the start:", *(f"{a:.0%}" for a in alive))
assert share[10.0][0] > 0.8 and share[10.0][-1] == 0 and min(share[None]) == 1

# %%
figure, ax = plt.subplots(figsize=(7, 2.9))
for found, name in zip(share.values(), ("folded, clamped", "folded, not clamped")):
    p = np.array(found)
    ax.errorbar(range(5), p, np.sqrt(p * (1 - p) / 12), marker="o", capsize=4, label=name)
ax.plot(alive, ":", color=style.GREY, label="pairs with a gradient at the start")
ax.set_xticks(range(5), [f"{x:g} Å" for x in SPREADS])
ax.set(xlabel="width of the cloud", ylabel="share", ylim=(-0.05, 1.1))
ax.legend(loc="center right", fontsize=9)
plt.show()

# %% [markdown]
# (Folded: RMSD below 2 Å; error bars: standard error of a share of 12.) From the black hole, the clamped loss works. In a wide cloud it has nothing to hold on to. In the black hole nobody is farther from
# their place than the protein is large, and that is near enough. (The paper does not give this reason; it is what we measure here. Ubiquitin is small. For large proteins fewer pairs are within reach, one more reason for the 10 % without clamp.)
#
# %% [markdown]
# ## 11 · Distances, not squares; and all the atoms
#
# Inside one error there is an ordinary length, $\sqrt{\Delta x^2 + \Delta y^2 + \Delta z^2}$ (an *L2 norm*). But over the pairs the errors are added as they are, not their squares (an *L1 norm*). Does that matter? RMSD, for one, is made of squares.
#
# Suppose the protein has been seen in two shapes: bent by 60° to one side in one crystal, by 60° to the other in another. The network cannot know which one is asked for. Its loss is the mean of both. What will it answer?
#
# **Predict first:** with squares? With FAPE?


# %%
def squares_to(truth):
    """Mean square of the errors instead of FAPE."""
    return lambda F: errors(F, truth, F.t, truth.t).square().mean((1, 2)) / 100


# %%
TWO = [bend(T, 38, degrees) for degrees in (-60, 60)]
print("                  halves (lDDT)   RMSD to the first, to the second shape (Å)")
inside = {}
for name, loss in (
    ("squares", squares_to),
    ("FAPE, not clamped", lambda t: fape_to(t, None)),
    ("FAPE, clamped", fape_to),
):
    one_shape, other = loss(TWO[0]), loss(TWO[1])
    frames, _ = fold(lambda F, a=one_shape, b=other: a(F) + b(F), starts=8, steps=250)
    m = torch.ones(8, n)
    two = [lddt(frames.t[:, p], T.t[p].expand(8, -1, 3), m[:, p]) for p in HALVES]
    inside[name] = sum(two).mean().item() / 2
    away = [rmsd(frames.t, t.t.expand(8, n, 3), m).mean() for t in TWO]
    print(f"{name:18s}     {inside[name]:.2f}          {away[0]:4.1f}   {away[1]:4.1f}")
assert inside["squares"] < 0.8 < 0.95 < min(inside["FAPE, clamped"], inside["FAPE, not clamped"])

# %% [markdown]
# The mean of two shapes is no shape: squares make a compromise in which even the halves, on which both shapes agree, are squashed. FAPE decides for one of them and keeps the halves intact. (The same reason for which a
# median is less disturbed by one wild number than a mean.) What is not known does not ruin what is known.
#
# ### With or without side chains
#
# The points $\vec x_j$ need not be Cα atoms. AlphaFold2 uses FAPE twice: for the *backbone* (Cα in the backbone frames, after each of the 8 layers), and at the end for *all heavy atoms*, in the frames of all rigid groups ([lesson 07](07_protein_geometry.ipynb)). We take
# all atoms in the backbone frames, and turn *one* residue of ubiquitin, isoleucine 44, into its mirror image: a D amino acid. The backbone stays.

# %%
positions, there = torch.as_tensor(UBIQUITIN.positions).float(), torch.as_tensor(UBIQUITIN.mask) > 0
with_twin = positions.clone()
local = T[43].invert_apply(positions[43])
flipped = T[43].apply(local * torch.tensor([1.0, 1, -1]))
side_chain = [k for k in range(37) if there[43, k] and k not in (N, CA, C, ATOM_INDEX["O"])]
with_twin[43, side_chain] = flipped[side_chain]
T_twin = Rigid.from_3_points(*(with_twin[:, k] for k in (N, CA, C)))
backbone = fape(T_twin, T, T_twin.t, T.t)
all_atoms = fape(T_twin, T, with_twin[there], positions[there])
perfect = fape(T, T, positions[there], positions[there])
print(f"one D amino acid: backbone FAPE {backbone:.4f}, of all atoms {all_atoms:.4f}", end=" ")
print(f"(of a perfect copy {perfect:.4f})")
assert backbone < 1.1e-3 < 1.2 * perfect < all_atoms

# %% [markdown]
# Backbone FAPE ignores side chains, FAPE of all atoms sees that 4 of 602 atoms are on the wrong side. (A perfect copy scores 0.001 and not 0, because of the $10^{-4}$ under the root.)
#
# ### Exercise 5 · Find the bug (needs a thought)
#
# This is a backbone FAPE for training as it might be found on the web: for a batch of proteins, padded to the same length (`mask` is 0 there), with `use_clamped` 1 or 0 for each. It runs, the loss falls, and nobody notices anything. Mistakes of all three kinds in
# it have been found in public implementations.


# %%
def found_on_the_web(T, T_true, mask, use_clamped):
    """Backbone FAPE [b] of frames T [b, i]; mask [b, i]; use_clamped [b]."""
    local = T[:, :, None].invert_apply(T.t[:, None])
    local_true = T[:, :, None].invert_apply(T_true.t[:, None])
    error = ((local - local_true).square().sum(-1) + 1e-4).sqrt()
    error = error.clamp(max=10)
    clamped = error.mean((1, 2)) / 10
    unclamped = error.mean((1, 2)) / 10
    return use_clamped * clamped + (1 - use_clamped) * unclamped


# %% [markdown]
# How do you find mistakes in code that runs? You write down what has to be *true* of it, and test that: **properties**. Here are seven.

# %%
for words, holds in fape_properties(found_on_the_web).items():
    print("✓" if holds else "✗", words)

# %% [markdown]
# Find the line behind each ✗, and write `my_mended(T, T_true, mask, use_clamped)`.


# %% nbgrader={"grade": false, "grade_id": "mend", "locked": false, "schema_version": 3, "solution": true, "task": false}
def my_mended(T, T_true, mask, use_clamped):
    """Backbone FAPE [b] of frames T [b, i]; mask [b, i]; use_clamped [b]."""
    ### BEGIN SOLUTION
    local = T[:, :, None].invert_apply(T.t[:, None])
    local_true = T_true[:, :, None].invert_apply(T_true.t[:, None])  # the truth in its own frames
    error = ((local - local_true).square().sum(-1) + 1e-4).sqrt()
    pairs = mask[:, :, None] * mask[:, None]  # padding does not count

    def mean(error):
        return (pairs * error).sum((1, 2)) / pairs.sum((1, 2)) / 10

    clamped, unclamped = mean(error.clamp(max=10)), mean(error)  # each from the same errors
    return use_clamped * clamped + (1 - use_clamped) * unclamped
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check-mend", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
minifold.check("mend", my_mended)

# %% [markdown]
# Such tests are cheap. minifold has many of them, in `tests/test_losses.py` and `tests/test_mistakes.py` for instance.
#
# ## Quiz
#
# <details><summary>1. Which of these are invariant, which equivariant: the distance of two atoms; the centre of the protein; the position of residue 5 in the frame of residue 9; the frame of residue 9?</summary>
#
# Invariant: the distance, and the position in a frame. Equivariant: the centre and the frame; they move along.
# </details>
#
# <details><summary>2. A head of IPA has γ close to 0. What is left of it?</summary>
#
# Ordinary attention with a pair bias. Its value points still come back from space, though.
# </details>
#
# <details><summary>3. Somebody forgets to bring the value points back into the frame of the residue that asks. Does the layer still work?</summary>
#
# It computes something, but its output now depends on where the protein lies: not invariant any more (section 5 shows what this costs).
# </details>
#
# <details><summary>4. Your model reaches an lDDT of 0.95 and an RMSD of 12 Å on one protein. Name two possible reasons.</summary>
#
# A hinge or a long tail at the wrong angle; or the mirror image. FAPE or a look at the helices tells them apart.
# </details>
#
# <details><summary>5. All three atoms N, Cα, C of every residue and all points lie in one plane. Can FAPE still tell the molecule from its mirror image?</summary>
#
# No: all z are 0, and the error is the mean of 2|z|. A flat molecule *is* its own mirror image, after a turn.
# </details>
#
# <details><summary>6. A point is 60 Å from its place in the view of a frame. What does the clamped FAPE do about it?</summary>
#
# It counts it as 10 Å and gives it no gradient. Other frames, in whose view it is nearer, may pull it; so may the examples without clamp.
# </details>
#
# ## In the paper
#
# AlphaFold2 (Jumper et al., *Nature* 596, 583, 2021), Figure 3d-f and the supplementary information:
#
# - IPA: section 1.8.2, Algorithm 22; the proof of its invariance is there, too. The weights $w_C$ and $w_L$: lines 5 and 6.
# - Structure module: section 1.8, Algorithm 20; the black hole: line 4; the update of the frames: Algorithm 23. Between layers no gradient flows through the rotations (line 20).
# - FAPE: section 1.9.2, Algorithm 28. Why it is not blind to mirror images: section 1.9.3. The clamp is off for 10 % of the examples: section 1.11.5.
# - The auxiliary loss $\mathcal{L}_{\text{aux}}$: the mean of the backbone FAPE over all layers, and of the torsion angles' errors (Algorithm 20, lines 17 and 22). All losses: [lesson 10](10_losses_and_training.ipynb).
# - Without IPA: Figure 4a. lDDT: Mariani et al., *Bioinformatics* 29, 2722 (2013). Superposition: Kabsch, *Acta Cryst.* A32, 922 (1976).
#
# ## In real AlphaFold2
#
# | | here | AlphaFold2 |
# |---|---|---|
# | single representation, pair representation | 32, 16 (section 2); 128, 32 (seven-nano) | 384, 128 |
# | heads of IPA | 4 | 12 |
# | numbers of scalar query, key, value | 16 | 16 |
# | query points, value points | 4, 8 (section 2); 4, 4 (seven-nano) | 4, 8 |
# | layers, one set of weights | 4 | 8 |
# | start | a line (seven-nano), a cloud of 0.1 Å (section 8) | the black hole |
# | unit of length inside | 10 Å | 10 Å |
# | clamp of FAPE, its unit | 10 Å, 10 Å | the same |
# | without clamp | 10 % in one experiment | backbone: 10 % of the examples; all atoms: always clamped |
# | weight of FAPE in the loss | 1 | 0.5 backbone (mean of the layers), 0.5 all atoms |
#
# ## What next
#
# The structure module has made a structure in one go. AlphaFold2 then shows it to the network again, three times. [Lesson 09](09_recycling.ipynb) finds out what that is good for.
#
# <details><summary>Review: every claim of this lesson, and where it is shown</summary>
#
# | claim | where |
# |---|---|
# | the structure module takes our sequence's vectors out of the MSA representation, and the pair representation | 2, text; 6, drawing, and the loop runs on just these two |
# | most of the work is done by IPA, which joins three sources: sequence, pairs, frames | 2, drawing; 3, asserted equal to the package |
# | affinities of all three are added | 2: three voices; their variances measured; 6: maps of a trained model |
# | points are computed from the sequence's vectors alone, then placed by the current frames | 2: `local_points`, `place` |
# | all three affect the result | 6: each switched off, seven proteins, beside a random walk |
# | without IPA but with recycling AlphaFold2 works nearly as well | 6, by citation; measured in small in lesson 13 |
# | SE(3): invariant to turning and moving | 4: moved by 30 Å, a proof in three lines; 6: the whole loop is equivariant |
# | why that is worth having | 5: three networks, three seeds: global coordinates, with and without random turns |
# | frames start at the centre: the black hole | 6; 10: what it is good for, measured |
# | frames are updated with six numbers from the updated vectors | 6: the loop, equal to the package (quaternions: lesson 07) |
# | the backbone by frames, the side chains' χ by a separate ResNet | 6, drawing; lesson 07 |
# | the structure module is a transformer, too | 6: attention, transition, layer by layer |
# | FAPE does not depend on the viewpoint | 7: 0.001 after a motion of 30 Å |
# | FAPE is an L2 norm of each error, made robust, summed as L1 | 7, the formula, equal to the package; 11: squares against FAPE with two truths |
# | "regularisations, crops, engineering tricks": clamp, unit, $10^{-4}$ | 7; 10: clamped, not clamped, 90 %; 11: a perfect copy scores 0.001 |
# | it is more robust to outliers | 7: the flung tail; 11 |
# | it can tell stereoisomers apart | 9: seven proteins and their mirror images by lDDT, dRMSD, RMSD, FAPE; why: 2\|z\|; 24 foldings; 11: one D amino acid |
# | with or without side chains | 11 |
# | gradients of FAPE fold a chain | 8: 12 clouds; film |
# | relaxation with OpenMM comes afterwards | [lesson 14](14_real_proteins.ipynb) |
#
# </details>
