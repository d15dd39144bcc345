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
# # 09 · Recycling: show the network its own answer
#
# > *A network has just drawn a protein. We ask the same network the same question again, and lay its own drawing beside it. Will the
# > second answer be better than the first? And could it be worse?*
#
# **Time:** about 80 minutes of reading and trying, 40 more for the exercises.
#
# **You need:** the [pair representation](../docs/glossary.md#pair-representation) and the Evoformer ([lesson 05](05_evoformer.ipynb)), the structure module and its
# loop ([lesson 08](08_ipa_fape.ipynb)).
#
# **Afterwards you can**
# - write a network that mends its own answer, in NumPy, and say why the number of rounds has to be random in training;
# - write the three loops of AlphaFold2 one inside the other, and show that yours equal the package's;
# - write the *recycling embedder*, and say what it can see and to what it is blind;
# - measure what recycling costs (memory, operations) and what it brings on proteins that a model has not seen;
# - recognise three mistakes that are easily made in recycling code.
#
# New words are *set like this* at first use and collected in the [glossary](../docs/glossary.md).

# %%
import random
import tempfile
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

import minifold
from minifold.checks.lesson_09 import recycling_properties
from minifold.data.features import collate, make_batch
from minifold.data.residues import ATOM_INDEX
from minifold.data.structures import read_structure, structure_files
from minifold.data.toyworld import ToyWorld
from minifold.look import style
from minifold.look.view3d import trajectory

# %%
from minifold.model.alphafold import AlphaFold, Recycled
from minifold.model.atoms import atom14_to_atom37, pseudo_beta
from minifold.model.embed import RecyclingEmbedder
from minifold.model.rigid import Rigid
from minifold.training.baselines import random_walk
from minifold.training.controls import hide
from minifold.training.fape import frame_aligned_point_error
from minifold.training.loop import Trainer
from minifold.training.metrics import evaluate, lddt
from minifold.training.runs import LEARNT, TOY
from minifold.training.sources import Example
from minifold.training.toy import HELD_OUT, ToyFamilies

# %%
style.use()
torch.set_num_threads(1)
N, CA, C = (ATOM_INDEX[name] for name in ("N", "CA", "C"))

# %% [markdown]
# ## 1 · A pose, drawn and mended
#
# The idea comes from computer vision. A photograph shows a person; wanted are the places of the joints (the *pose*). Instead of answering at once, the
# network starts from a default pose, looks at **two pictures, the photograph and its own current pose**, and says how the pose
# should be *changed*. Then it looks again. This is called [*iterative error feedback*](../docs/glossary.md#iterative-error-feedback).
#
# Ours is the smallest person possible: an arm with three joints. The pose is three angles. A picture has 10 × 10 pixels, in which elbow, wrist and
# fingertip are blurred spots.

# %%
LENGTHS = np.array([1.0, 0.8, 0.6], "f4")
HIGH = np.array([1.6, 1.2, 1.2], "f4")  # angles lie between -HIGH and HIGH; default: 0, stretched
PIXELS = np.linspace(-LENGTHS.sum(), LENGTHS.sum(), 10, dtype="f4")


def joints(pose):
    """Elbow, wrist and fingertip [b, 3, 2] of poses [b, 3]."""
    heading = np.cumsum(pose, axis=-1)
    steps = LENGTHS[:, None] * np.stack([np.cos(heading), np.sin(heading)], axis=-1)
    return np.cumsum(steps, axis=-2)


def picture(pose):
    """100 pixels for each pose: [b, 100]."""
    points = joints(pose)
    x, y = (np.exp(-((PIXELS - points[..., k : k + 1]) ** 2) / 0.5) for k in (0, 1))
    return (y.transpose(0, 2, 1) @ x).reshape(len(pose), -1)


# %% [markdown]
# The network: 200 pixels in (both pictures, side by side), **8** hidden units, three numbers out, the change of the angles. Two matrices, nothing else. And a round is nothing
# but a call of it.


# %%
def fresh(rng, hidden):
    """Two matrices and two biases, random."""
    first = 1.5 / np.sqrt(200) * rng.normal(size=(200, hidden))
    sizes = first, np.zeros(hidden), 0.01 * rng.normal(size=(hidden, 3)), np.zeros(3)
    return [w.astype("f4") for w in sizes]


def change(w, photo, pose):
    """What the network sees, its hidden units, and how it would change the pose."""
    seen = np.concatenate([photo, picture(pose)], axis=1)
    hidden = np.tanh(seen @ w[0] + w[1])
    return seen, hidden, hidden @ w[2] + w[3]


def refine(w, photo, rounds):
    """The pose at the start and after each round."""
    poses = [np.zeros((len(photo), 3), "f4")]
    for _ in range(rounds):
        poses.append(poses[-1] + change(w, photo, poses[-1])[2])
    return poses


# %% [markdown]
# Training: draw poses, take their pictures, let the network run for some rounds, **and correct the last round only**. What the earlier rounds did is
# taken as given: no gradient goes through them. So the gradient is that of one small network, a few lines by hand:


# %%
def gradient(w, photo, pose, truth):
    """Gradient of the squared error after one more round from this pose, for each parameter."""
    seen, hidden, step = change(w, photo, pose)
    g = 2 * (pose + step - truth) / len(truth)
    g_hidden = (g @ w[2].T) * (1 - hidden**2)
    return [seen.T @ g_hidden, g_hidden.sum(0), hidden.T @ g, g.sum(0)]


# %%
def train(draw, seed, hidden=8, steps=2000):
    """draw(rng): how many rounds this step has; Adam with a falling rate."""
    rng = np.random.default_rng(seed)
    w = fresh(rng, hidden)
    m, v = [0 * a for a in w], [0 * a for a in w]
    for t in range(steps):
        truth = rng.uniform(-HIGH, HIGH, size=(64, 3)).astype("f4")
        photo = picture(truth)
        start = refine(w, photo, draw(rng) - 1)[-1]
        for k, g in enumerate(gradient(w, photo, start, truth)):
            m[k], v[k] = 0.9 * m[k] + 0.1 * g, 0.999 * v[k] + 0.001 * g * g
            size = np.sqrt(v[k] / (1 - 0.999 ** (t + 1))) + 1e-8
            w[k] -= 0.006 * (1 - t / steps) * m[k] / (1 - 0.9 ** (t + 1)) / size
    return w


# %% [markdown]
# Three recipes, three seeds each: always **one** round; always **four**; a **random** number from one to four.
#
# **Predict first:** we let all of them run for ten rounds on new pictures and plot the error against the rounds. Draw three curves. What does the first network do in its second
# round? What does the second one do in its *first*?

# %%
RECIPES = {
    "always one": lambda rng: 1,
    "always four": lambda rng: 4,
    "one to four": lambda rng: rng.integers(1, 5),
}
truth = np.random.default_rng(99).uniform(-HIGH, HIGH, size=(300, 3)).astype("f4")


def misses(w, rounds=10):
    """Mean distance of the joints from their places, at the start and after each round."""
    poses = refine(w, picture(truth), rounds)
    return [np.linalg.norm(joints(p) - joints(truth), axis=-1).mean() for p in poses]


refiners = {name: [train(draw, seed) for seed in range(3)] for name, draw in RECIPES.items()}
errors = {name: np.array([misses(w) for w in ws]) for name, ws in refiners.items()}
large = np.array([misses(train(RECIPES["always one"], seed, 32), 1) for seed in range(3)])

# %%
figure, ax = plt.subplots(figsize=(7.4, 3.4))
for name, curves in errors.items():
    ax.errorbar(range(11), curves.mean(0), curves.std(0), marker="o", capsize=3, label=name)
ax.set(xlabel="round", ylabel="error (the arm is 2.4 long)", yscale="log", xticks=range(11))
ax.set_yticks([0.1, 0.3, 1, 2], ["0.1", "0.3", "1", "2"])
ax.minorticks_off()
ax.legend(title="rounds in training", loc="center right", bbox_to_anchor=(1, 0.38), fontsize=9)
plt.show()

# %%
for name, curves in errors.items():
    shown = ", ".join(f"{curves[:, k].mean():.2f}" for k in (1, 2, 4, 10))
    print(f"{name:12s} after 1, 2, 4, 10 rounds: {shown}")
print(f"always one, four times as many hidden units: {large[:, 1].mean():.2f} after its round")
one, four, some = (errors[name].mean(0) for name in RECIPES)
assert one[2] > 5 * one[1] and four[1] > 5 * four[4] and some.argmin() > 1
assert errors["one to four"][:, 3].mean() < errors["always one"][:, 1].mean() and some[10] < 0.5
assert large[:, 1].mean() < some.min()

# %% [markdown]
# (Points: mean of three trainings; bars: their standard deviation.)
#
# - **Always one** is good after one round and ruins its work in the second. It has never seen a pose that was nearly right, so it does the whole movement once more.
# - **Always four** is good after exactly four. The way there is not its concern, nobody ever corrected it; and then it goes on moving.
# - **A random number** makes every round count: each of them is the last one at times. It improves from round to round, and it can stop nearly anywhere. Far beyond four it gets slowly worse, but nothing breaks.
#
# With the same 8 hidden units, looking again is worth it: the third round of the random recipe beats the only round of the first. It is not magic. A network with four times as many hidden units does better still in a single round (last line). **Rounds buy depth without new
# parameters**; they are not the only way to get it.
#
# One arm, in three rounds (grey: the truth):

# %%
figure, axes = plt.subplots(1, 4, figsize=(9, 2.4), sharey=True)
for ax, name, rounds in zip(
    axes, ("always one", "always one", "one to four", "one to four"), (1, 2, 1, 3)
):
    pose = refine(refiners[name][0], picture(truth[:20]), rounds)[-1][11]
    for p, color, mark in ((truth[11], style.GREY, "s"), (pose, style.BLUE, "o")):
        points = np.concatenate([np.zeros((1, 2)), joints(p[None])[0]])
        ax.plot(*points.T, "-", marker=mark, color=color)
    ax.set(xlim=(-2.5, 2.5), ylim=(-2.5, 2.5), aspect="equal", xticks=[], yticks=[])
    ax.set_title(f"{name},\nround {rounds}", fontsize=10)
plt.show()

# %% [markdown]
# ## 2 · Three loops
#
# AlphaFold2 has a loop in a loop in a loop:
#
# 1. inside one *pass*, the Evoformer: 48 blocks, each with parameters **of its own**;
# 2. behind it the structure module: 8 layers with **one** set of parameters, which move the frames (lesson 08);
# 3. around both: the whole pass is run again with the **same** parameters, and sees what it made before. This is
#    [*recycling*](../docs/glossary.md#recycling). AlphaFold2 recycles three times: four passes.

# %%
PARTS = (
    (0.9, "alignment,\nsequence", (1.3, 0.8), style.SKY),
    (2.75, "embed\n(lesson 03, 05)", (1.4, 0.8), style.GREY),
    (4.75, "Evoformer\n48 blocks", (1.4, 0.8), style.PURPLE),
    (6.75, "structure module\n8 × one layer", (1.6, 0.8), style.ORANGE),
    (8.65, "positions", (1.2, 0.8), style.GREEN),
)

# %%
figure, ax = style.canvas(9.4, 3.3)
for x, words, size, color in PARTS:
    style.box(ax, (x, 2.3), words, size=size, color=color, fontsize=10)
for start, end in ((1.55, 2.05), (3.45, 4.05), (5.45, 5.95), (7.55, 8.05)):
    style.arrow(ax, (start, 2.3), (end, 2.3))
ax.plot([7.35, 7.35, 6.25], [2.7, 3.0, 3.0], "-", color=style.ORANGE)
style.arrow(ax, (6.25, 3.0), (6.25, 2.7), color=style.ORANGE)
style.box(ax, (4.75, 0.7), "recycling embedder", size=(2.2, 0.6), color=style.YELLOW, fontsize=10)
for x, words in ((5.15, "m: first row\nz: all pairs"), (8.65, "Cβ distances")):
    ax.text(x + 0.1, 1.45, words, fontsize=9, va="center", color=style.BLUE)
style.arrow(ax, (5.15, 1.9), (5.15, 1.0), color=style.BLUE)
ax.plot([8.65, 8.65], [1.9, 0.7], "-", color=style.BLUE, linewidth=1.6)
style.arrow(ax, (8.65, 0.7), (5.85, 0.7), color=style.BLUE)
ax.plot([3.65, 2.75], [0.7, 0.7], "-", color=style.BLUE)
style.arrow(ax, (2.75, 0.7), (2.75, 1.9), color=style.BLUE)
ax.text(0.2, 0.75, "three times:\nthe same weights", fontsize=10, color=style.BLUE, va="center")
plt.show()

# %% [markdown]
# Compare it with the arm. The photograph is shown in every round (the alignment), and beside it the last answer. One thing is different: the arm was *changed*, round by round. AlphaFold2 makes a **new** structure in each pass, from the same start: all residues in one point. What it gets
# from the last one is a hint. (minifold's small models start where the distogram of *this* pass puts the residues, see [DEVIATIONS.md](../DEVIATIONS.md), D27: their first layer has a fold to begin with, and the layers only polish it.)
#
# Here is the outer loop (Algorithm 30), with the package's parts: `trunk` is everything up to the Evoformer, the recycling embedder included. We will build that one in section 4.


# %%
def passes(model, batches, count, gradients=False, edit=lambda handed: handed):
    """What each pass hands over, and its structure; a batch, or one for each pass."""
    batches = batches if isinstance(batches, list) else [batches] * count
    (b, n), size = batches[0].aatype.shape, model.config
    zeros = torch.zeros(b, n, size.c_m), torch.zeros(b, n, n, size.c_z), torch.zeros(b, n, 37, 3)
    handed, made = Recycled(*zeros), []
    for batch in batches[:count]:
        with torch.set_grad_enabled(gradients):
            m, z, s = model.trunk(batch, edit(handed))
            inputs = s, z, batch.aatype, batch.seq_mask, model.distogram(z)
            structure = model.structure_module(*inputs)
            positions = atom14_to_atom37(structure.atom14[-1], batch.aatype)
        handed = Recycled(m[:, 0], z, positions)
        made.append((handed, structure))
    return made


# %% [markdown]
# The model is `toy-nano` of lesson 05. Beside it stands `toy-nano-early`, a copy of the first minutes of its training, when it never recycled. The proteins are of the toy world and held out: three seeds, 16 families each, of 32 residues and 64 sequences.

# %%
MODEL = minifold.load("toy-nano").eval()
TRAINED = MODEL.config.recycles
EARLY = minifold.load("toy-nano-early").eval()
assert EARLY.config == MODEL.config.replace(recycles=0)
SEEDS, FAMILIES = (1, 2, 3), 16
EXAMPLES = {}
for seed in SEEDS:
    world = ToyWorld(length=32, depth=64, seed=HELD_OUT + seed, block=FAMILIES).sample(FAMILIES)
    EXAMPLES[seed] = [Example(world.chain(k), world.alignment(k)) for k in range(FAMILIES)]


def features(examples, control="none", seed=0):
    """All families in one batch, seen as the control allows."""
    hidden = [hide(x, control, k) for k, x in enumerate(examples)]
    return collate([make_batch(x.alignment, x.chain, MODEL.config, seed) for x in hidden])


# %%
BATCH = features(EXAMPLES[1])
few = BATCH.map(lambda x: x[:2])
with torch.no_grad():
    package = MODEL(few, recycles=3)
assert torch.allclose(passes(MODEL, few, 4)[-1][0].positions, package.positions, atol=1e-2)
print("our four passes equal the package's")
print(f"trained with: toy-nano 0 to {TRAINED} recycles, toy-nano-early {EARLY.config.recycles}")

# %% [markdown]
# ## 3 · The way of a chain
#
# First the inner loop: one family of the first seed, first pass, the structure after each layer of the structure module. (In the live view there is a slider; the still picture shows all moments.)

# %%
made = passes(MODEL, BATCH, 4)
TRUE, MASK = BATCH.all_atom_positions, BATCH.all_atom_mask


def lddt_of(x):
    """lDDT of Cα positions [b, i, 3] of the 16 families of the first seed: [b]."""
    return lddt(x, TRUE[:, :, CA], MASK[:, :, CA])


first = lddt_of(made[0][0].positions[:, :, CA])
chosen = int(first.argmax())  # the family that the first pass folds best
print(f"family {chosen}: lDDT-Cα after the first pass {first[chosen]:.2f}")

# %% tags=["nbval-ignore-output"]
layers = torch.stack([frames.t[chosen] for frames in made[0][1].frames])
labels = [f"layer {k + 1}" for k in range(len(layers))]
truth_chain = EXAMPLES[1][chosen].chain
words = "One pass, layer by layer (grey: the truth)"
trajectory(truth_chain, layers.numpy(), truth=truth_chain, labels=labels, caption=words)

# %% [markdown]
# Now the outer loop: the same family, the last layer of each of the first four passes.

# %%
along = [lddt_of(handed.positions[:, :, CA])[chosen].item() for handed, _ in made]
print("lDDT-Cα after passes 1 to 4:", *(f"{x:.2f}" for x in along))

# %% tags=["nbval-ignore-output"]
rounds = torch.stack([handed.positions[chosen, :, CA] for handed, _ in made])
labels = [f"pass {k + 1}" for k in range(4)]
words = "Pass by pass (grey: the truth)"
trajectory(truth_chain, rounds.numpy(), truth=truth_chain, labels=labels, caption=words)

# %% [markdown]
# How do the two loops fit together? **Predict first:** plot the lDDT after *every layer of every pass*, mean of the 16 families. Does the first layer of pass 2 go on where the last layer of pass 1 stopped?

# %%
by_layer = [[lddt_of(f.t).mean().item() for f in structure.frames] for _, structure in made]
LAYERS = len(by_layer[0])
figure, ax = plt.subplots(figsize=(7.4, 2.9))
for k, scores in enumerate(by_layer):
    ax.plot(np.arange(LAYERS) + k * (LAYERS + 1), scores, "o-", color=style.BLUE)
    ax.text(k * (LAYERS + 1) + (LAYERS - 1) / 2, 0.92, f"pass {k + 1}", ha="center", weight="bold")
ticks = [k * (LAYERS + 1) + x for k in range(4) for x in range(LAYERS)]
ax.set_xticks(ticks, [str(x + 1) for _ in range(4) for x in range(LAYERS)])
ax.set(xlabel="layer of the structure module", ylabel="lDDT-Cα", ylim=(0.2, 1.0))
plt.show()
jumps = [b[0] - a[-1] for a, b in zip(by_layer, by_layer[1:])]
print("from the last layer of a pass to the first of the next:", *(f"{x:+.2f}" for x in jumps))

# %% [markdown]
# It looks like that, but it does not: each pass draws its structure **anew**. Frames are not handed over, only hints to the Evoformer. The first layer of a small model is near the last one because the distogram of its own pass has told it where to start. (Whether later passes are better or worse, and why, is the question of section 6.)
#
# ## 4 · The recycling embedder
#
# Three things go back (Algorithm 32):
#
# - the first row of $m$, our sequence, through a [layer normalisation](../docs/glossary.md#layer-normalisation), added to the new first row;
# - all of $z$, through a layer normalisation of its own, added to the new $z$;
# - the distances of all Cβ atoms (Cα in glycine), cut into 15 bins, [one-hot](../docs/glossary.md#one-hot-vector), through a matrix, added to $z$, too.
#
# The lower edges of the bins are 3.25, 4.5, ... 20.75 Å. The last bin takes all that is farther. What is *nearer* than 3.25 Å falls into no bin at all:

# %%
edges = np.linspace(3.25, 20.75, 15)
distance = np.linspace(0, 26, 521)
number = np.searchsorted(edges, distance)  # 0: no bin
figure, (ax, right) = plt.subplots(1, 2, figsize=(8.6, 3.1), width_ratios=(1.2, 1))
ax.step(distance, np.where(number > 0, number, np.nan), color=style.BLUE, where="post")
ax.axvspan(0, 3.25, color=style.tint(style.GREY, 0.4))
ax.text(1.6, 7.5, "no bin", rotation=90, ha="center", va="center")
ax.set(xlabel="distance (Å)", ylabel="bin", yticks=[1, 5, 10, 15], title="fifteen bins")
beta, _ = pseudo_beta(BATCH.aatype, made[0][0].positions, torch.ones_like(MASK))
seen = np.searchsorted(edges, torch.cdist(beta[chosen], beta[chosen]).numpy())
image = right.imshow(seen, cmap=style.SEQUENTIAL, vmin=0, vmax=15, extent=(0.5, 32.5, 32.5, 0.5))
right.set(title="what pass 2 sees of pass 1", xlabel="residue j", ylabel="residue i")
figure.colorbar(image, ax=right, label="bin (0: none)")
plt.show()

# %% [markdown]
# DeepMind's code, and ours, never takes a root: it compares *squared* distances with *squared* edges, which gives the same bins. (The paper's text has other edges, 3⅜ to 21⅜ Å; the code, and so all weights, has these:
# [DEVIATIONS.md](../DEVIATIONS.md), D8.)
#
# ### Exercise 1 · Fifteen bins (easy)
#
# Write `my_recycle_bins(x)`: points [n, 3] in Å → [n, n, 15], with 1 in the bin of the distance and 0 elsewhere.
#
# *In all exercises: try by yourself first. One possible answer stands between the two lines that
# start with `###`; delete it, write yours, run the check.*


# %% nbgrader={"grade": false, "grade_id": "recycle_bins", "locked": false, "schema_version": 3, "solution": true, "task": false}
def my_recycle_bins(x):
    """One-hot distance bins [n, n, 15] of points [n, 3]."""
    ### BEGIN SOLUTION
    x = np.asarray(x, dtype=float)
    square = np.square(x[:, None] - x[None]).sum(-1, keepdims=True)
    lower = np.linspace(3.25, 20.75, 15) ** 2
    upper = np.append(lower[1:], np.inf)
    return ((square > lower) & (square < upper)).astype(float)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check-recycle_bins", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
minifold.check("recycle_bins", my_recycle_bins)

# %% [markdown]
# The whole embedder, with random parameters, and the package's:


# %%
def recycling_embedder(m_first, z, beta, layer):
    """Algorithm 32 for one protein: what is added to the first row of m, and to z."""
    bins = torch.as_tensor(my_recycle_bins(beta)).float()
    d = bins @ layer.distances.weight.T + layer.distances.bias
    norm_m, norm_z = layer.norm_m, layer.norm_z
    z = F.layer_norm(z, z.shape[-1:], norm_z.weight, norm_z.bias)
    return F.layer_norm(m_first, m_first.shape[-1:], norm_m.weight, norm_m.bias), z + d


torch.manual_seed(0)
layer = RecyclingEmbedder(MODEL.config).requires_grad_(False)
for parameter in layer.parameters():
    torch.nn.init.normal_(parameter)
handed = made[0][0]
previous = handed.m_first[chosen], handed.z[chosen], beta[chosen]
ours = recycling_embedder(*previous, layer)
for mine, theirs in zip(ours, layer(*(x[None] for x in previous))):
    assert torch.allclose(mine, theirs[0], atol=1e-3)
print("our recycling embedder equals the package's")

# %% [markdown]
# Four questions to it. **Predict first:**
#
# 1. In the *first* pass there is no last answer: $m$, $z$ and all positions are zeros. What does the embedder add?
# 2. The last structure is turned and moved by 30 Å. What changes?
# 3. The last structure is replaced by its **mirror image**?
# 4. $m$ and $z$ are a hundred times as large?

# %%
m1, z1, b1 = previous
turn = torch.linalg.qr(torch.randn(3, 3, generator=torch.manual_seed(1)))[0]
turn = turn * torch.det(turn)  # a rotation, no mirror
nothing = recycling_embedder(0 * m1, 0 * z1, 0 * b1, layer)
constant = layer.distances.bias + layer.norm_z.bias
assert torch.allclose(nothing[0], layer.norm_m.bias.expand_as(m1), atol=1e-5)
assert torch.allclose(nothing[1], constant.expand_as(z1), atol=1e-5)
print("1. the same constant for all pairs: zeros fall into no bin; only the biases are left")
for words, arguments in {
    "2. turned and moved": (m1, z1, b1 @ turn.T + 30 / 3**0.5),
    "3. mirror image": (m1, z1, b1 * torch.tensor([1.0, 1, -1])),
    "4. a hundred times as large": (100 * m1, 100 * z1, b1),
}.items():
    difference = max(
        (a - b).abs().max() for a, b in zip(ours, recycling_embedder(*arguments, layer))
    )
    print(f"{words}: {'nothing changes' if difference < 0.01 else 'something changes'}")
    assert difference < 0.01

# %% [markdown]
# The embedder does not care about the observer (lesson 08), since distances do not. For the same reason it **cannot see a mirror image**: whoever has folded the wrong hand is told "your distances are fine". Whatever of the hand the next pass
# knows, it does not know from here. And the layer normalisation keeps the loop from running away: without it, numbers that grow a little in each pass would grow in the next one as well.
#
# ## 5 · How to train a loop
#
# Algorithm 31 in one sentence: **draw a number of passes, run all but the last without gradient, and learn from the last one.** The arm of section 1 was trained just so. The draw makes every pass the last one at times. The stopped gradient saves memory.
#
# **Predict first:** we measure two things for 1, 2 and 4 passes: the memory that is kept for the backward pass, and the number of operations (forward and backward). What do they look like with the gradient stopped? And if it flows through all passes?

# %%
truth_frames = Rigid.from_3_points(*(few.all_atom_positions[:, :, k] for k in (N, CA, C)))


def fape_of(structure):
    """The loss: mean backbone FAPE of two families (lesson 08)."""
    T, ones = structure.frames[-1], few.seq_mask
    return frame_aligned_point_error(T, truth_frames, ones, T.t, truth_frames.t, ones).mean()


def training_loss(count, through_all):
    """The loss of the last of `count` passes."""
    if through_all:
        return fape_of(passes(MODEL, few, count, gradients=True)[-1][1])
    return fape_of(MODEL(few, recycles=count - 1).structure)


# %%
def measure(count, through_all):
    """Bytes kept for the backward pass (each tensor once), operations, and the gradient."""
    kept = {}

    def note(x):
        kept[x.untyped_storage().data_ptr()] = x.untyped_storage()
        return x

    MODEL.zero_grad()
    with FlopCounterMode(display=False) as counter:
        with torch.autograd.graph.saved_tensors_hooks(note, lambda x: x):
            loss = training_loss(count, through_all)
        loss.backward()
    gradient = [p.grad.flatten() for p in MODEL.parameters() if p.grad is not None]
    return sum(x.nbytes() for x in kept.values()), counter.get_total_flops(), torch.cat(gradient)


# %%
COUNTS = (1, 2, 4)
measured = {way: [measure(count, way) for count in COUNTS] for way in (False, True)}
memory, work, gradients = (
    {way: [x[k] for x in measured[way]] for way in measured} for k in range(3)
)

# %%
figure, axes = plt.subplots(1, 2, figsize=(8.4, 2.9))
for ax, table, title in zip(axes, (memory, work), ("memory kept", "operations")):
    for through_all, words in ((False, "gradient stopped"), (True, "through all passes")):
        values = np.array(table[through_all]) / table[False][0]
        ax.plot(COUNTS, values, marker="o", label=words)
        print(f"{title}, {words}, 1, 2, 4 passes:", *(f"{x:.2f}" for x in values))
    ax.set(title=title, xlabel="passes", ylabel="one pass = 1", xticks=COUNTS, ylim=(0, 4.4))
axes[0].legend()
plt.show()
stopped, full = memory[False], memory[True]
assert max(stopped) < 1.1 * stopped[0] and full[-1] > 3 * full[0]

# %% [markdown]
# Stopped, the memory is that of one pass, however many there are. Operations grow by a third for each further pass: forward 1, backward about 2. With a random number, 1 to 4, the mean is 2.5 passes: 1.5 thirds more, so a step costs **about half as much again** as one without recycling. With
# gradients through everything, four passes cost about three and a half times as much, in operations *and* in memory. AlphaFold2's training did not even have the memory for one pass without tricks ([lesson 10](10_losses_and_training.ipynb)).
#
# (Why not four times? The positions are cut into bins, and a bin is a step without slope. So no gradient reaches the structure modules of the earlier passes.)
#
# The gradients really are those of the last pass alone:

# %%
modes = []
hook = MODEL.trunk.register_forward_pre_hook(lambda *_: modes.append(torch.is_grad_enabled()))
output = MODEL(few, recycles=3)
hook.remove()
print("gradients on, pass by pass:", modes)
with torch.no_grad():
    third = passes(MODEL, few, 3)[-1][0]
handed_over = {name: x.clone().requires_grad_() for name, x in vars(third).items()}
assert not third.z.requires_grad and output.z.requires_grad
MODEL.zero_grad()
_, z, s = MODEL.trunk(few, Recycled(*handed_over.values()))
distances = MODEL.distogram(z)
fape_of(MODEL.structure_module(s, z, few.aatype, few.seq_mask, distances)).backward()
alone = torch.cat([p.grad.flatten() for p in MODEL.parameters() if p.grad is not None])
assert torch.allclose(alone, gradients[False][-1], atol=1e-4 * alone.abs().max().item())
print("the same as from one pass that is given the third's result as a constant")
MODEL.zero_grad()

# %% [markdown]
# So the first three passes get no gradient at all, not a small one. The true gradient of the fourth pass's loss would contain them: a change of the weights changes what they hand over. How different are the two?

# %%
a, b = (gradients[way][-1] for way in (False, True))
cosine = torch.dot(a, b) / (a.norm() * b.norm())
print(
    f"4 passes: cosine between stopped and full gradient {cosine:.2f}, full / stopped length",
    end=" ",
)
print(f"{b.norm() / a.norm():.1f}")

# %% [markdown]
# (1 is the same direction, 0 is a right angle.) The stopped gradient is *not* the gradient of the four-pass loss. It follows another one: do as well as you can **with what you are given**. If every number of passes comes up equally often, the expected loss is the mean over the passes:

# %%
with torch.no_grad():
    of_pass = [fape_of(structure).item() for _, structure in passes(MODEL, few, 4)]
rng = random.Random(0)
drawn = np.mean([of_pass[rng.randint(0, 3)] for _ in range(20_000)])
print(f"mean loss of the four passes {np.mean(of_pass):.3f}, of 20,000 draws {drawn:.3f}")
assert abs(np.mean(of_pass) - drawn) < 0.01

# %% [markdown]
# The draw trains all four, for the price of one backward pass. (In AlphaFold2 a whole batch of 128 gets the same number.)
#
# ### Exercise 2 · One step (needs a thought)
#
# Write `my_train_pass(network, protein, nothing, recycles)`: `network(protein, previous)` is one pass, `nothing` enters the first one. Take 1 to `recycles + 1` passes, all equally likely, and return the last result, with a gradient of the last pass alone.


# %% nbgrader={"grade": false, "grade_id": "train_pass", "locked": false, "schema_version": 3, "solution": true, "task": false}
def my_train_pass(network, protein, nothing, recycles):
    """Algorithm 31: the result of the last pass."""
    ### BEGIN SOLUTION
    more = random.randint(0, recycles)  # both ends included
    previous = nothing
    with torch.no_grad():
        for _ in range(more):
            previous = network(protein, previous)
    return network(protein, previous)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check-train_pass", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
minifold.check("train_pass", my_train_pass)

# %% [markdown]
# ## 6 · Does it help? lDDT by cycle
#
# Now the 48 held-out families, 0 to 6 recycles. Beside them two controls: the same families with all alignment columns shuffled (no co-evolution left), and the query alone; and a floor, a random walk.
#
# Both sets of weights: `toy-nano`, trained with no recycle or one, at random, and `toy-nano-early`, which has never been recycled.
#
# **Predict first:** draw the two curves from 0 to 6 recycles. Which arm of section 1 is the one, which the other? `toy-nano` has seen one recycle at most: what will it do with three, and with six?


# %%
def cycle_scores(model, batches, count, truth=BATCH, edit=lambda handed: handed):
    """lDDT-Cα after each pass, of each family: [pass, family]."""
    y, mask = truth.all_atom_positions[:, :, CA], truth.all_atom_mask[:, :, CA]
    made = passes(model, batches, count, edit=edit)
    return np.array([lddt(handed.positions[:, :, CA], y, mask).numpy() for handed, _ in made])


def of_all_seeds(control, count, model=MODEL):
    """The same for the families of all seeds."""
    parts = [
        cycle_scores(model, features(x, control), count, features(x)) for x in EXAMPLES.values()
    ]
    return np.concatenate(parts, axis=1)


def mean_and_error(values):
    """Mean over the families and its standard error; the last axis is the family."""
    return values.mean(-1), values.std(-1, ddof=1) / np.sqrt(values.shape[-1])


# %%
by_cycle = {
    "toy-nano": of_all_seeds("none", 7),
    "toy-nano-early": of_all_seeds("none", 7, EARLY),
    "columns shuffled": of_all_seeds("shuffled", 3),
    "query alone": of_all_seeds("query", 3),
}
rng = np.random.default_rng(0)
walks = torch.as_tensor(np.stack([random_walk(32, rng) for _ in range(FAMILIES)])).float()
floor = lddt_of(walks).mean().item()

# %%
figure, ax = plt.subplots(figsize=(7.4, 3.2))
for name, scores in by_cycle.items():
    mean, error = mean_and_error(scores)
    ax.errorbar(range(len(mean)), mean, error, marker="o", capsize=3, label=name)
    print(f"{name:17s}", *(f"{a:.3f}±{b:.3f}" for a, b in zip(mean[:4], error[:4])))
ax.axhline(floor, color=style.INK, linewidth=1, linestyle=":")
ax.text(6, floor - 0.045, "random walk", ha="right", fontsize=9)
ax.axvspan(-0.2, TRAINED + 0.2, color=style.tint(style.YELLOW, 0.3), zorder=0)
words = "recycles (yellow: toy-nano was trained with)"
ax.set(xlabel=words, ylabel="lDDT-Cα", ylim=(0.2, 0.95))
ax.legend(fontsize=9, ncols=2, loc="upper right")
plt.show()
print(f"random walk       {floor:.3f}")

# %%
print("gain over the first pass (mean ± standard error), better in, seed by seed")
for name in ("toy-nano", "toy-nano-early"):
    gain = by_cycle[name] - by_cycle[name][0]  # of the same family
    for k in (1, 2, 3, 6):
        mean, error = mean_and_error(gain[k])
        seeds = " ".join(f"{x:+.3f}" for x in gain[k].reshape(len(SEEDS), FAMILIES).mean(1))
        better = f"{(gain[k] > 0).sum():2d} of {gain.shape[1]}"
        print(f"{name:15s} recycles {k}: {mean:+.3f} ± {error:.3f}   {better}   {seeds}")
gains = {name: by_cycle[name] - by_cycle[name][0] for name in ("toy-nano", "toy-nano-early")}
evidence = by_cycle["toy-nano"][: TRAINED + 1] - by_cycle["columns shuffled"][: TRAINED + 1]
assert evidence.mean() > 0.1 and by_cycle["toy-nano"][0].mean() > floor + 0.1
assert gains["toy-nano"][1].mean() > 0 and gains["toy-nano-early"][3].mean() < -0.03

# %% [markdown]
# (Means of 48 families, bars and ±: standard error over the families. The gain is that of each family over its own first pass, so the spread of the families drops out. One training of each model; what other trainings
# would give, these bars do not say.)
#
# `toy-nano-early` is the full-size version of *always one*: one more look at its own answer brings it nothing, and from the second on each look **harms**. Nothing is wrong with the loop. What comes back is simply something the network has never seen in its life, so it disturbs.
# `toy-nano` has practised one recycle, gains by it, and with more of them, which nobody has trained, the gain melts away slowly and nothing breaks. The gain is small: its first pass is good already, because *no recycle* was practised just as often.
#
# So what if we never recycle? For weights that were never recycled in training, nothing bad happens, on the contrary. **Recycling is not a trick for using a network, it is a way to train one.** Models by heart are no exception. `seven-nano` of lesson 08, which knows seven real
# proteins by heart, has never been recycled either:

# %%
SEVEN = minifold.load("seven-nano").eval()
CHAINS = [read_structure(path) for path in structure_files("../data/structures")]
KUNITZ = "../data/sample_msas/kunitz_1bpi.a3m"  # BPTI was learned with its family
print("lDDT-Cα after   0     1     3 recycles")
for chain in CHAINS:
    source = KUNITZ if chain.name == "1BPI" else chain.sequence
    found = [minifold.fold(source, SEVEN, recycles=r).chain for r in (0, 1, 3)]
    scores = [evaluate(x, chain)["lddt_ca"] for x in found]
    print(f"{chain.name:12s}", *(f"{x:5.2f}" for x in scores))
    assert SEVEN.config.recycles == 0 and scores[0] > 0.9 and scores[-1] < 0.6

# %% [markdown]
# From nearly perfect to ruins, with weights that have not changed by a digit.
#
# ## 7 · Practice
#
# Can it be learned afterwards? We let `toy-nano-early` train on, for 32 small steps only, in two ways: with a random number of 0 to 3 recycles (two seeds), and without any, as a control: the same 32 steps, never recycled.
#
# **Predict first:** which of the curves changes, and where? What does it cost at 0 recycles?


# %%
def practise(recycles, seed, steps=32):
    """toy-nano-early after a few more steps with 0 to `recycles` recycles."""
    config = EARLY.config.replace(recycles=recycles)
    torch.manual_seed(seed)
    model = AlphaFold(config)
    model.load_state_dict(EARLY.state_dict())
    source = ToyFamilies(config, length=24, depth=32, held_out=1, seed=70 + seed)
    settings = replace(TOY, **LEARNT, steps=steps, warmup=8, ema=0.97, evaluations=1)
    settings = replace(settings, learning_rate=7e-4)
    with tempfile.TemporaryDirectory() as folder:
        return Trainer(model, source, settings, folder).run(quiet=True).eval()


practised = [practise(3, seed) for seed in range(2)]
control = practise(0, 0)

# %%
after = {"toy-nano-early": by_cycle["toy-nano-early"][:7, :FAMILIES]}
after["32 steps more, no recycling"] = cycle_scores(control, BATCH, 7)
for k, model in enumerate(practised):
    after[f"32 steps more, 0 to 3 recycles ({k + 1})"] = cycle_scores(model, BATCH, 7)

# %% tags=["nbval-ignore-output"]
figure, ax = plt.subplots(figsize=(7.4, 3.2))
for (name, scores), color in zip(after.items(), (style.GREY, style.ORANGE, style.BLUE, style.SKY)):
    mean, error = mean_and_error(scores)
    ax.errorbar(range(7), mean, error, marker="o", capsize=3, label=name, color=color)
    print(f"{name:35s}", *(f"{x:.2f}" for x in mean))
ax.set(xlabel="recycles", ylabel="lDDT-Cα", ylim=(0.3, 0.95), xticks=range(7))
ax.legend(fontsize=9, loc="lower left")
plt.show()
trained_so = [scores for name, scores in after.items() if "0 to 3" in name]
for scores in trained_so:
    mean, error = mean_and_error(scores[1] - scores[0])
    print(f"practised: first recycle {mean:+.3f} ± {error:.3f}")
rest = after["32 steps more, no recycling"]
assert min(x[6].mean() for x in trained_so) > rest[6].mean() + 0.02

# %% [markdown]
# (16 families; bars: standard error over them.) Thirty-two steps are a tiny part of a training. Even so they take away a part of the harm, the more the farther you go: the network begins to learn what the new numbers mean, or at least not to be
# disturbed by them. The control, with just as many steps, gets a small part of this, no more.
#
# Is it a *gain*? Two comparisons, and the second is the one that counts: the practised model with one recycle against itself without (the lines `first recycle`), and its best point against the best point of the control. To answer that for good one has to train both ways from the beginning, for the same time. [results/toy_curve.md](../results/toy_curve.md) did so, for six minutes each: after so short a training the one that practised recycling is no better (it had made fewer steps, since each costs more). The same page says what depth, triangles, the start of the frames and most of the losses buy.
#
# In DeepMind's ablations (Fig. 4a of the paper) recycling is worth much more: without it the network loses more than without IPA, and it loses most without both. There, each pass has 48 blocks and hard proteins. [Lesson 13](13_ablations.ipynb) goes on from here.
#
# ## 8 · What does it listen to?
#
# Three things come back: $m$, $z$, distances. We hold back one of them, or let only one through, in the second and all further passes (zeros instead; then the embedder adds its biases alone, as in the first pass).
#
# **Predict first:** which one carries most?


# %%
def only(*names):
    """Hand over these, and zeros for the rest."""
    return lambda handed: Recycled(
        **{name: x if name in names else 0 * x for name, x in vars(handed).items()}
    )


WAYS = {
    "all three": ("m_first", "z", "positions"),
    "nothing": (),
    "m alone": ("m_first",),
    "z alone": ("z",),
    "distances alone": ("positions",),
}
kept = {
    name: {words: cycle_scores(model, BATCH, 2, edit=only(*w)) for words, w in WAYS.items()}
    for name, model in (("toy-nano", MODEL), ("toy-nano-early", EARLY))
}

# %%
print("gain of the first recycle (mean ± standard error, 16 families)")
print(" " * 17, *(f"{name:>18s}" for name in kept))
for words in WAYS:
    cells = [mean_and_error(scores[words][1] - scores[words][0]) for scores in kept.values()]
    print(f"{words:17s}", *(f"    {a:+.3f} ± {b:.3f}" for a, b in cells))
    if words == "nothing":
        assert all(abs(a) < 1e-6 for a, _ in cells)

# %% [markdown]
# ("nothing" is exactly 0: the second pass repeats the first. It is the control of this table.) The representations $m$ and $z$ hold everything that was ever computed; the distances are only fifteen
# numbers a pair, but they are the one thing that comes back from *space*. Read the table before you trust the drawing: what matters in one set of weights may not in another.
#
# ### Think longer, or see more?
#
# In `minifold.fold`, as in AlphaFold2, each pass gets another random sample of the alignment: other sequences as cluster centres. So a later pass has not only thought longer, its memory also holds sequences that the last sample lacks. Which of the two helps?

# %%
samples = [features(EXAMPLES[1], seed=seed) for seed in range(4)]
ways = {
    "same sample in all passes": samples[0],
    "new sample in each pass": samples,
}
for words, batches in ways.items():
    scores = cycle_scores(MODEL, batches, 4)
    mean, error = mean_and_error(scores[1:] - scores[0])
    print(f"{words:26s} 1 to 3 recycles:", *(f"{a:+.3f}±{b:.3f}" for a, b in zip(mean, error)))

# %% [markdown]
# (Gains over the first pass.) Toy alignments have 64 rows and half of them are centres, so a new sample brings little news. With tens of thousands of sequences, as in AlphaFold2, it may bring more. Compare the two lines with their errors before you believe in a difference.
#
# ## 9 · When to stop
#
# More passes cost time. If a pass has hardly changed the structure, the next one will not either. So: stop as soon as the distances between Cα atoms change by less than a *tolerance* (root mean square over all pairs). Distances, because each pass may lay its structure into space as it likes.
#
# ### Exercise 3 · Settled (easy)
#
# Write `my_settled(new, old, tolerance)` for Cα positions [n, 3] of two passes, in Å: True if it may stop.


# %% nbgrader={"grade": false, "grade_id": "settled", "locked": false, "schema_version": 3, "solution": true, "task": false}
def my_settled(new, old, tolerance):
    """Whether the distances have changed by less than the tolerance (Å, root mean square)."""

    ### BEGIN SOLUTION
    def distances(x):
        x = np.asarray(x, dtype=float)
        return np.linalg.norm(x[:, None] - x[None], axis=-1)

    return np.sqrt(np.square(distances(new) - distances(old)).mean()) < tolerance
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check-settled", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
minifold.check("settled", my_settled)

# %% [markdown]
# **Predict first:** how many passes (of at most seven) does `toy-nano` take with a tolerance of 0.5, 1 or 2 Å, and how much lDDT is lost or won against always taking all of them?


# %%
def stops_at(made, tolerance):
    """How many passes each family takes."""
    x = torch.stack([handed.positions[:, :, CA] for handed, _ in made]).numpy()
    count = np.full(x.shape[1], len(x))
    for k in range(len(x) - 1, 0, -1):
        for family in range(x.shape[1]):
            if my_settled(x[k, family], x[k - 1, family], tolerance):
                count[family] = k + 1
    return count


# %%
trial = passes(MODEL, BATCH, 7)
scores = np.array([lddt_of(handed.positions[:, :, CA]).numpy() for handed, _ in trial])
print("tolerance   passes   lDDT-Cα   (against always 7 passes)")
for tolerance in (0.0, 0.5, 1.0, 2.0):
    count = stops_at(trial, tolerance)
    taken = scores[count - 1, np.arange(FAMILIES)]
    mean, error = mean_and_error(taken - scores[-1])
    print(
        f"{tolerance:.1f} Å       {count.mean():.1f}      {taken.mean():.3f}     {mean:+.3f} ± {error:.3f}"
    )
family = BATCH.map(lambda x: x[:1])
with torch.no_grad():
    package = MODEL(family, recycles=6, tolerance=1.0)
assert package.passes == stops_at(trial, 1.0)[0]
print("the package stops in the same pass as ours")

# %% [markdown]
# Stopping early is meant to save time. (Where later passes harm, it even wins something.) It is no matter of truth: a structure that has settled may be wrong. (AlphaFold2's monomer always takes its four passes. AlphaFold-Multimer later got the early stop, with 0.5 Å and up to 20 recycles. In minifold: `model(batch, recycles=20, tolerance=0.5)`, off by default.)
#
# ## 10 · Find the bug
#
# ### Exercise 4 · Three mistakes (needs a thought)
#
# Mistakes in a loop are quiet. This loop runs, its loss falls, and it contains three mistakes, one of which has been found in a public implementation of AlphaFold2. `network(y)` is a pass, `norm` a layer normalisation.

# %%
LAST = {}


def found_on_the_web(network, norm, x, recycles):
    """recycles + 1 passes; the result of the last one."""
    previous = LAST.get(x.shape, torch.zeros_like(x))
    for _ in range(recycles + 1):
        previous = network(x + previous)
    LAST[x.shape] = previous.detach()
    return previous


for words, holds in recycling_properties(found_on_the_web).items():
    print("✓" if holds else "✗", words)

# %% [markdown]
# Find the line behind each ✗ (some mistakes break more than one property), and write `my_mended_loop(network, norm, x, recycles)`.


# %% nbgrader={"grade": false, "grade_id": "mend_recycling", "locked": false, "schema_version": 3, "solution": true, "task": false}
def my_mended_loop(network, norm, x, recycles):
    """recycles + 1 passes; the result of the last one."""
    ### BEGIN SOLUTION
    previous = torch.zeros_like(x)  # not the leftovers of another protein
    with torch.no_grad():  # nothing is kept of these
        for _ in range(recycles):
            previous = network(x + norm(previous))
    return network(x + norm(previous))
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check-mend_recycling", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
minifold.check("mend_recycling", my_mended_loop)

# %% [markdown]
# ## Quiz
#
# <details><summary>1. A model was trained with exactly four passes, always. A user runs it with one, to save time. What will happen?</summary>
#
# Nobody ever corrected its first pass. Think of "always four": it may hand over anything there that suits the fourth pass.
# </details>
#
# <details><summary>2. Two recycles: how many passes, and how many Evoformer blocks does AlphaFold2 run?</summary>
#
# Three passes, 3 × 48 = 144 blocks, with the parameters of 48.
# </details>
#
# <details><summary>3. Does the structure module of pass 2 begin with the frames of pass 1?</summary>
#
# No. It begins where it always begins. Only the embedder has seen pass 1: distances, z, and the first row of m.
# </details>
#
# <details><summary>4. Why does a gradient through all passes still not reach the structure module of an early pass?</summary>
#
# Its positions are cut into bins, and a bin is a step: no slope. Only m and z would carry a gradient.
# </details>
#
# <details><summary>5. The first structure is the mirror image of the truth. Can the distances tell the next pass?</summary>
#
# No, they are the same in both (section 4). It must find out from m and z, or start from scratch and be luckier.
# </details>
#
# <details><summary>6. With shuffled columns, three recycles give a structure that has settled to 0.1 Å. Is it right?</summary>
#
# There is no reason: settled means that the network agrees with itself. Compare with a control, or ask pLDDT.
# </details>
#
# ## In the paper
#
# AlphaFold2 (Jumper et al., *Nature* 596, 583, 2021), supplementary information:
#
# - Recycling: section 1.10, Algorithms 30 (use) and 31 (training). The embedder: Algorithm 32.
# - Without recycling: Fig. 4a of the paper, and section 1.13. Structures pass by pass and block by block: Fig. 4b.
# - Attention before and after recycling: section 1.16, Fig. 13 ([lesson 12](12_attention_maps.ipynb)).
# - Iterative error feedback: Carreira and others, *Human Pose Estimation with Iterative Error Feedback*, CVPR 2016.
#
# ## In real AlphaFold2
#
# | | here (`toy-nano`) | AlphaFold2 |
# |---|---|---|
# | passes | 1 to 9 in the experiments | 4 |
# | in training | printed in section 2; 1 to 4 in section 7 | 1 to 4, uniform, the same for a whole batch |
# | blocks in a pass, layers of the structure module | 2, 4 | 48, 8 |
# | what goes back | first row of m, z, Cβ distances | the same |
# | distance bins | 15, from 3.25 to 20.75 Å | the same |
# | sample of the alignment | the same in all passes, but for section 8 | a new one in each pass |
# | early stop | off | none (Multimer: 0.5 Å) |
# | relaxation | not in the loop | not in the loop: once, at the end |
#
# ## What next
#
# All parts are there. What do they learn from? The losses, one by one, and a real training: [lesson 10](10_losses_and_training.ipynb).
#
# <details><summary>Review: every claim of this lesson, and where it is shown</summary>
#
# | claim | where |
# |---|---|
# | recycling matters more than all the structural know-how | Fig. 4a, by citation; **not shown in small**: section 7 shows that it has to be trained, not that it pays; lesson 13 trains with and without |
# | without IPA but with recycling it works well; the other way round it is worse | Fig. 4a, by citation; lesson 13 |
# | the idea comes from human pose estimation | 1: an arm, from scratch |
# | a picture and a default pose go in side by side; the network chooses an update, step by step | 1: `change`, `refine`; three recipes, three seeds |
# | protein backbones are not much different | 2 and 3: similar, but **each pass draws anew**: the first layer of a pass does not go on where the last one stopped, measured |
# | IPA and refinement are two approaches, and both were kept | 2: three loops; 3: layers and passes side by side |
# | the process is repeated three times | 2: four passes, equal to the package. (Relaxation with OpenMM is not part of the loop.) |
# | the structure module works iteratively | 3: layer by layer |
# | recycling helps | 6: by cycle, 48 families, controls, floor; **it depends on the training**: weights that were never recycled are harmed, `seven-nano`, too; 7: 32 steps of practice against 32 without |
# | what if we never recycle; or more than trained | 6: 0 to 8; 1: up to ten rounds |
# | gradients of all passes but the last are stopped | 5: modes, equal to one pass with a constant; memory and operations counted; cosine with the full gradient |
# | the number of passes has to be random | 1: three recipes; 5: the draw's expected loss is the mean of the passes |
# | the embedder takes m, z, distances | 4: asserted equal; blind to motions and mirrors; 8: held back one by one |
# | one may stop early | 9: asserted equal to the package |
#
# </details>
