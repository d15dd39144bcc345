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
# # 02 · Multi-head attention: several questions at once
#
# > *Serine and aspartate are both small and both like water. But aspartate carries a charge, serine
# > does not. So: are they alike? And who decides that in a network?*
#
# **Time:** about 60 minutes of reading and trying, 40 more for the exercises.
#
# **You need:** [lesson 01](01_fuzzy_search_attention.ipynb) (attention, softmax, dot product) and what
# multiplying a matrix with a vector means.
#
# **Afterwards you can**
# - say what a *head* is, and why "alike" always means "alike in some respect";
# - write multi-head attention with and without a gate, and show that it equals PyTorch's layer and
#   the one inside AlphaFold2;
# - train a layer whose heads specialise, and *prove* what each head does by switching it off.
#
# New words are *set like this* at first use and collected in the [glossary](../docs/glossary.md).

# %%
import math

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F

import minifold
from minifold.data.residues import RESTYPES
from minifold.look import style
from minifold.model.primitives import Attention

style.use()
torch.set_num_threads(1)  # our matrices are tiny: one thread is fastest

# %% [markdown]
# ## 1 · Alike in what?
#
# A protein is a chain of [*amino acids*](../docs/glossary.md#amino-acid); there are twenty kinds, each
# with a one-letter name. One amino acid of a chain is called a [*residue*](../docs/glossary.md#residue).
# Residues have many dealings with each other at the same time. Look at seven residues of a chain and at
# three questions that one might ask about them:

# %%
figure, ax = style.canvas(8.5, 3.3)
letters, xs = "CAKGSDC", np.linspace(0.7, 7.8, 7)
for x, letter in zip(xs, letters):
    style.box(ax, (x, 1.5), letter, size=(0.6, 0.55), color=style.GREY, weight="bold")
relations = (
    (style.ORANGE, ((0, 6),), -0.2, "who could be my\ndisulfide partner?", (4.25, 2.95)),
    (style.BLUE, ((2, 5),), 0.32, "who has the\nopposite charge?", (4.75, 0.33)),
    (style.GREEN, ((1, 3), (3, 4)), 0.55, "who is as\nsmall as I am?", (1.35, 0.6)),
)
for color, pairs, bend, words, place in relations:
    y = 1.82 if bend < 0 else 1.18
    for i, j in pairs:
        style.arrow(ax, (xs[i], y), (xs[j], y), color=color, bend=bend)
    ax.text(*place, words, color=color, ha="center", va="center", fontsize=9, weight="bold")
plt.show()

# %% [markdown]
# (Two cysteines, C, can join their sulphur atoms: a [*disulfide bond*](../docs/glossary.md#disulfide-bond).
# K is positive and D is negative, so they attract each other. A, G and S are small.)
#
# One attention has one set of scores, so it can ask one question at a time. If we want answers to three
# questions, we need three attentions side by side. Each is called a
# [*head*](../docs/glossary.md#attention-head).
#
# ## 2 · A relation is a projection
#
# Describe each amino acid by four numbers: how well it dissolves in water (*solubility*), how large it is
# (*size*), its positive and its negative charge. For solubility we take the hydropathy of lesson 01 with
# the sign turned round; solubility and size are shifted and scaled to mean 0 and spread 1. A negative charge
# is written as −1.

# %%
# fmt: off
LETTERS = "DEKRHNQSTGPACVILMFYW"  # charged, polar, small, oily, aromatic
HYDROPATHY = [-3.5, -3.5, -3.9, -4.5, -3.2, -3.5, -3.5, -0.8, -0.7, -0.4,
              -1.6, 1.8, 2.5, 4.2, 4.5, 3.8, 1.9, 2.8, -1.3, -0.9]
VOLUME = [111.1, 138.4, 168.6, 173.4, 153.2, 114.1, 143.8, 89.0, 116.1, 60.1,
          112.7, 88.6, 108.5, 140.0, 166.7, 166.7, 162.9, 189.9, 193.6, 227.8]
# fmt: on
solubility, size = ((x - x.mean()) / x.std() for x in (-np.array(HYDROPATHY), np.array(VOLUME)))
positive = np.array([letter in "KR" for letter in LETTERS], dtype=float)
negative = 0 - np.array([letter in "DE" for letter in LETTERS], dtype=float)
X = np.stack([solubility, size, positive, negative], axis=1)  # [20 amino acids, 4 properties]
S, D, K = (X[LETTERS.index(letter)] for letter in "SDK")
print("S =", S.round(2), "  D =", D.round(2), "  K =", K.round(2))

# %% [markdown]
# A network does not ask about single properties but about mixtures: "small *and* soluble", "charged *and*
# large". Such a question is a matrix $W$ with one row for each thing we want to know. The product $Wx$ is
# called the [*projection*](../docs/glossary.md#projection) of $x$: it keeps what the question is about and
# forgets the rest. For "charged and large":
#
# $$W = \begin{pmatrix} 0 & 0 & 1 & -1 \\ 0 & 1 & 0 & 0 \end{pmatrix}, \qquad
#   W \begin{pmatrix} \text{solubility} \\ \text{size} \\ \text{positive} \\ \text{negative} \end{pmatrix}
#   = \begin{pmatrix} |\text{charge}| \\ \text{size} \end{pmatrix} .$$
#
# Notice the trick in the first row. The absolute value is not a linear function, so no matrix could compute
# it from *one* number "charge". With positive and negative charge in two separate numbers it is a simple
# difference: $0 - (-1) = 1$ for D, $1 - 0 = 1$ for K.

# %%
CHARGED_LARGE = np.array([[0, 0, 1, -1], [0, 1, 0, 0]], dtype=float)
SMALL_SOLUBLE = np.array([[1, 0, 0, 0], [0, -1, 0, 0]], dtype=float)
CHARGED = np.array([[0, 0, 1, -1]], dtype=float)


def draw_numbers(ax, matrix, left, color, rows=None, columns=None):
    """A matrix as a grid of boxes, centred on the line y = 1.3."""
    matrix = np.atleast_2d(matrix)
    top = 1.3 + 0.2 * (len(matrix) - 1)
    for (i, j), number in np.ndenumerate(matrix):
        place = (left + 0.6 * j, top - 0.4 * i)
        style.box(ax, place, f"{number:.3g}", size=(0.56, 0.36), color=color, fontsize=9)
    for i, word in enumerate(rows or []):
        ax.text(left - 0.36, top - 0.4 * i, word, ha="right", va="center", fontsize=9)
    for j, word in enumerate(columns or []):
        ax.text(left + 0.6 * j, top + 0.26, word, rotation=40, fontsize=8)


# %%
figure, ax = style.canvas(8.5, 2.5)
properties = ["solubility", "size", "positive", "negative"]
draw_numbers(ax, CHARGED_LARGE, 1.2, style.ORANGE, ["|charge|", "size"], properties)
draw_numbers(ax, D[:, None].round(2), 4.9, style.SKY, properties)
draw_numbers(ax, (CHARGED_LARGE @ D)[:, None].round(2), 7.0, style.GREEN, ["|charge|", "size"])
for x, sign in ((3.6, "×"), (5.75, "=")):
    ax.text(x, 1.3, sign, ha="center", va="center", fontsize=16)
for x, word in ((2.1, "the question W"), (4.9, "D, aspartate"), (7.0, "as W sees D")):
    ax.text(x, 0.25, word, ha="center", weight="bold")
plt.show()

# %% [markdown]
# Every question draws its own map of the twenty amino acids. **Predict first:** on which of the two maps are
# S and D neighbours?

# %%
maps = (
    ("small and soluble", SMALL_SOLUBLE, "soluble →", "small →"),
    ("charged and large", CHARGED_LARGE, "|charge| →", "large →"),
)
figure, axes = plt.subplots(1, 2, figsize=(8.5, 4))
for ax, (title, W, x_label, y_label) in zip(axes, maps):
    x, y = W @ X.T
    x = x + (0.05 * (np.arange(20) % 7 - 3) if title.startswith("charged") else 0)  # spread out
    ax.scatter(x, y, s=14, color=style.GREY)
    for letter, a, b in zip(LETTERS, x, y):
        color = {"S": style.GREEN, "D": style.RED}.get(letter, style.INK)
        look = {"weight": "bold", "fontsize": 15} if letter in "SD" else {"fontsize": 10}
        ax.annotate(letter, (a, b), (4, 2), textcoords="offset points", color=color, **look)
    ax.set(title=title, xlabel=x_label, ylabel=y_label)
axes[1].set_xticks([0, 1])
plt.show()

# %% [markdown]
# (On the right, points are moved sideways a little so that they do not cover each other.) Now in numbers. To
# compare two amino acids in the light of a question, project both, then take the dot product:
#
# $$\langle q, k \rangle = (W q) \cdot (W k) = q^\top W^\top W k .$$
#
# Divided by both lengths it is the cosine similarity of lesson 01.


# %%
def similarity(q, k, W):
    """Cosine of two vectors after projection; 0 if one of them is projected onto nothing."""
    a, b = W @ q, W @ k
    assert np.isclose(a @ b, q @ W.T @ W @ k)  # the two ways of writing it
    return a @ b / max(np.linalg.norm(a) * np.linalg.norm(b), 1e-9)


for name, W in (("small and soluble", SMALL_SOLUBLE), ("charged", CHARGED)):
    print(f"{name:18s} S and D: {similarity(S, D, W):.2f}   K and D: {similarity(K, D, W):5.2f}")

# %% [markdown]
# So both answers are right. As small soluble amino acids, S and D can stand in for each other (0.65). As
# charged ones they cannot (0.00): seen through this question, S is nothing at all. For K and D it is the other
# way round.
#
# A projection, followed by attention, is a head. The twenty amino acids ask each other:


# %%
def softmax(scores):
    """Softmax over the last axis, as in lesson 01."""
    e = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


figure, axes = plt.subplots(1, 2, figsize=(8.5, 4), sharey=True)
for ax, (name, W) in zip(axes, (("small and soluble", SMALL_SOLUBLE), ("charged", CHARGED))):
    projected = 2 * X @ W.T  # [20, 2] or [20, 1]; the factor 2 makes the head a little bolder
    weights = softmax(projected @ projected.T / math.sqrt(len(W)))
    image = style.heatmap(ax, weights[:, :14], LETTERS, LETTERS[:14], limits=(0, 0.6))
    ax.set(title=name, xlabel="key")
axes[0].set_ylabel("query")
figure.colorbar(image, ax=axes, label="weight", extend="max")
plt.show()
row = weights[LETTERS.index("D")]
shares = [f"{letter} {row[LETTERS.index(letter)]:.2f}" for letter in "DEKRS"]
print("charged head, query D:", *shares)

# %% [markdown]
# (Six keys at the right are left out to save room.) In the left head each amino acid looks along its own
# direction on the map: S at G, the smallest of all, K at R, the most soluble. In the right head D, E, K and R look at each other, and everybody else looks everywhere: a softmax must hand out
# a weight of 1 in total, even to those who have no question. We come back to that in section 6.
#
# ### Exercise 1 · A head of your own (easy)
#
# Write `my_relation(X, W)`: the weights with which each row of `X` looks at each other row (and itself) in the
# light of the question `W`: project, dot products, divide by $\sqrt{d}$ with $d$ the number of rows of `W`,
# softmax.
#
# *In all exercises: try by yourself first. One possible answer stands between the two lines that
# start with `###`; delete it, write yours, run the check.*


# %% nbgrader={"grade": false, "grade_id": "relation", "locked": false, "schema_version": 3, "solution": true, "task": false}
def my_relation(X, W):
    """Weights [n, n] of n vectors X [n, c] that compare each other through W [d, c]."""
    ### BEGIN SOLUTION
    X, W = np.asarray(X), np.asarray(W)
    projected = X @ W.T
    return softmax(projected @ projected.T / math.sqrt(len(W)))
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check-relation", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
minifold.check("relation", my_relation)

# %% [markdown]
# ## 3 · Asking is not the same as being asked
#
# So far query and key went through the same $W$. When queries, keys and values are all made from the same
# vectors, we speak of [*self-attention*](../docs/glossary.md#self-attention).
#
# **Predict first:** with one and the same $W$ for queries and keys, can there be a head in which opposite
# charges attract, so that D looks more at K than at itself, and K more at D than at itself?

# %%
rng = np.random.default_rng(0)
attracted = 0
for _ in range(10_000):
    W = rng.normal(size=(2, 4))
    x = np.stack([D, K]) @ W.T  # projected
    attracted += (x @ x.T)[0, 1] > (x @ x.T)[0, 0] and (x @ x.T)[1, 0] > (x @ x.T)[1, 1]
print(f"of 10000 random questions, D prefers K and K prefers D in {attracted}")

# %% [markdown]
# Never, and it is easy to see why. The score of a vector with itself is $|Wx|^2$, a square. If both
# $a \cdot b > |a|^2$ and $a \cdot b > |b|^2$ were true, then $|a - b|^2 = |a|^2 - 2\, a \cdot b + |b|^2$ would be
# negative. With a single $W$, like seeks like.
#
# Therefore each head has *two* matrices: $W_q$ says what I am looking for, $W_k$ says what I am. A third one,
# $W_v$, says what I tell to those who find me. In the drawing of section 1, the blue question needs it: D
# looks for "positive" and is "negative".
#
# ### Exercise 2 · Opposites attract (needs a thought)
#
# Write `my_salt_bridge()` that returns two matrices $W_q$ and $W_k$ (any number of rows, four columns:
# solubility, size, positive, negative) such that
#
# - D and E give a higher score to K and R than to anyone else, and the other way round;
# - the sixteen neutral amino acids give the same score to everyone: they do not ask.
#
# (Two opposite charges that touch in a protein are called a *salt bridge*.)


# %% nbgrader={"grade": false, "grade_id": "salt_bridge", "locked": false, "schema_version": 3, "solution": true, "task": false}
def my_salt_bridge():
    """W_q and W_k, each [d, 4]."""
    ### BEGIN SOLUTION
    charge = np.array([[0, 0, 1, 1]])  # +1 for K and R, −1 for D and E, 0 for the others
    return charge, -charge
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check-salt_bridge", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
minifold.check("salt_bridge", my_salt_bridge)

# %% [markdown]
# ## 4 · Many heads, one layer
#
# In a network nobody writes $W_q$, $W_k$ and $W_v$ by hand. The vectors are longer, too. A residue is described
# by, say, $c = 256$ learned numbers, called its [*embedding*](../docs/glossary.md#embedding); a head projects
# them onto $d = 64$:
#
# $$\underbrace{W_h}_{64 \times 256}\; \underbrace{X_i}_{256} = \text{64 numbers}, \qquad
#   256 / 64 = 4 \text{ heads}.$$
#
# Each head hands back 64 numbers per residue. We write the answers of the 4 heads one after the other
# ([*concatenate*](../docs/glossary.md#concatenation) them), which gives 256 numbers again. A last matrix $W_o$, the *output*
# layer, mixes them. The whole is [*multi-head attention*](../docs/glossary.md#multi-head-attention):

# %%
figure, ax = style.canvas(9, 3.3)
style.box(ax, (0.75, 1.65), "X\n[n, 256]", size=(1.0, 0.9), color=style.SKY)
for h, (y, color) in enumerate(zip((2.75, 2.0, 1.3, 0.55), style.CYCLE), start=1):
    style.arrow(ax, (1.28, 1.65), (1.85, y))
    style.box(ax, (2.4, y), "$W_q$  $W_k$  $W_v$", size=(1.1, 0.5), color=color, fontsize=10)
    style.arrow(ax, (2.95, y), (3.4, y))
    style.box(ax, (4.05, y), f"attention {h}", size=(1.25, 0.5), color=color, fontsize=10)
    style.arrow(ax, (4.68, y), (5.5, 1.65 + 0.26 * (2.5 - h)), color=color)
    style.box(ax, (5.8, 1.65 + 0.3 * (2.5 - h)), "", size=(0.5, 0.3), color=color)
style.arrow(ax, (6.08, 1.65), (6.6, 1.65))
style.box(ax, (7.1, 1.65), "$W_o$", size=(0.9, 0.6), color=style.YELLOW)
style.arrow(ax, (7.55, 1.65), (8.0, 1.65))
ax.text(8.05, 1.65, "[n, 256]", va="center")
for x, word in ((2.4, "project"), (4.05, "attend"), (5.8, "concatenate"), (7.1, "output")):
    ax.text(x, 3.12, word, ha="center", weight="bold", fontsize=10)
ax.text(5.8, 0.75, "64 each", ha="center", fontsize=9)
plt.show()

# %% [markdown]
# The smallest version is a loop over heads. We use PyTorch from here on. As usual there, a matrix of a layer is stored as
# [numbers out, numbers in], and vectors are rows, so a projection is written `X @ W.T`.


# %%
def attention(Q, K, V):
    """Answers [*, q, c] and weights [*, q, k]: lesson 01."""
    weights = torch.softmax(Q @ K.transpose(-2, -1) / math.sqrt(K.shape[-1]), dim=-1)
    return weights @ V, weights


def multi_head_loop(X, W_q, W_k, W_v, W_o, heads):
    """X [n, c], matrices [c, c]; head h owns its share of the rows of W_q, W_k and W_v."""
    answers = []
    for w_q, w_k, w_v in zip(W_q.chunk(heads), W_k.chunk(heads), W_v.chunk(heads)):
        answer, _ = attention(X @ w_q.T, X @ w_k.T, X @ w_v.T)  # [n, d]
        answers.append(answer)
    return torch.cat(answers, dim=-1) @ W_o.T  # [n, c]


# %%
torch.manual_seed(0)
c, heads, n = 256, 4, 7
Y = torch.randn(n, c)
W_q, W_k, W_v, W_o = torch.randn(4, c, c) / math.sqrt(c)
print("out:", tuple(multi_head_loop(Y, W_q, W_k, W_v, W_o, heads).shape))
print("one head's question:", tuple(W_q.chunk(heads)[0].shape))

# %% [markdown]
# Loops are slow, so real code does all heads in one go: project once with the whole matrix, then cut the last
# axis into heads. The order of axes is a famous trap. After the cut the array is [n, heads, d]; the heads have
# to come *before* the residues, or the softmax compares heads with each other.


# %%
def multi_head(X, W_q, W_k, W_v, W_o, heads):
    """The same without a loop; returns the weights [heads, n, n], too."""

    def split(Z):
        n, c = Z.shape
        return Z.view(n, heads, c // heads).transpose(0, 1)  # [heads, n, d]

    answers, weights = attention(split(X @ W_q.T), split(X @ W_k.T), split(X @ W_v.T))
    together = answers.transpose(0, 1).reshape(len(X), -1)  # [n, heads * d]: concatenated
    return together @ W_o.T, weights


ours, weights = multi_head(Y, W_q, W_k, W_v, W_o, heads)
assert torch.allclose(ours, multi_head_loop(Y, W_q, W_k, W_v, W_o, heads), atol=1e-5)
print("weights:", tuple(weights.shape), "- loop and no loop agree")

# %% [markdown]
# What do "concatenate" and "output" do together? Cut $W_o$ into one piece per head. Then the result is a plain
# *sum*: each head adds its own contribution to each residue. **Each residue receives a weighted sum of the
# others for each of the $h$ relations.** This will be useful: to switch a head off, drop its term.

# %%
total = 0
for h, (w_v, w_o) in enumerate(zip(W_v.chunk(heads), W_o.chunk(heads, dim=1))):
    total = total + weights[h] @ (Y @ w_v.T) @ w_o.T  # weights · values · piece of W_o
assert torch.allclose(total, ours, atol=1e-5)
print("the output is the sum over heads")

for h in (1, 4, 8):  # the number of parameters does not depend on the number of heads
    numbers = 3 * h * (c // h) * c + c * c
    print(f"{h} heads of {c // h:3d} numbers: {numbers:,} parameters")

# %% [markdown]
# More heads do not cost more: each is narrower. One wide head or several narrow ones is a question of whether one
# residue has to look at several places *for different reasons*. In section 7 we measure it.
#
# ### Exercise 3 · Multi-head attention (needs a thought)
#
# Write `my_multi_head(X, W_q, W_k, W_v, W_o, heads)` that returns the output [n, c]. Close your eyes to ours and
# start from the drawing. NumPy or PyTorch, loop or no loop.


# %% nbgrader={"grade": false, "grade_id": "multi_head", "locked": false, "schema_version": 3, "solution": true, "task": false}
def my_multi_head(X, W_q, W_k, W_v, W_o, heads):
    """X [n, c]; matrices [c, c] as in PyTorch, [out, in]; heads divides c."""
    ### BEGIN SOLUTION
    q, k, v = (np.asarray(X) @ np.asarray(W).T for W in (W_q, W_k, W_v))
    d = q.shape[1] // heads
    parts = []
    for h in range(heads):
        mine = slice(h * d, (h + 1) * d)
        parts.append(softmax(q[:, mine] @ k[:, mine].T / math.sqrt(d)) @ v[:, mine])
    return np.concatenate(parts, axis=1) @ np.asarray(W_o).T
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check-multi_head", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
minifold.check("multi_head", my_multi_head)

# %% [markdown]
# ## 5 · The same as PyTorch's layer, the same as AlphaFold2's
#
# PyTorch has `torch.nn.MultiheadAttention`. It keeps $W_q$, $W_k$ and $W_v$ stacked in one matrix. (It insists
# that the number of heads divides $c$, as we do.)

# %%
layer = torch.nn.MultiheadAttention(c, heads, bias=False, batch_first=True)
with torch.no_grad():
    layer.in_proj_weight.copy_(torch.cat([W_q, W_k, W_v]))
    layer.out_proj.weight.copy_(W_o)
    theirs, their_weights = layer(Y[None], Y[None], Y[None], average_attn_weights=False)
assert torch.allclose(theirs[0], ours, atol=1e-5)
assert torch.allclose(their_weights[0], weights, atol=1e-5)
print("PyTorch's MultiheadAttention agrees, output and weights")

# %% [markdown]
# And the class that minifold uses everywhere:

# %%
package = Attention(c_q=c, c_kv=c, c_out=c, heads=heads, gated=False)
with torch.no_grad():
    for linear, W in zip((package.q, package.k, package.v, package.output), (W_q, W_k, W_v, W_o)):
        linear.weight.copy_(W)
    assert torch.allclose(package(Y, Y), ours, atol=1e-5)
print("minifold's Attention agrees, too")

# %% [markdown]
# The mask of lesson 01 works here, too, and one mask serves all heads: nobody may look at filling, for whatever
# reason. **Predict first:** the last two residues are filling, and we put nonsense there. Which of the five others
# notice, in which head?

# %%
mask = torch.tensor([1.0, 1, 1, 1, 1, 0, 0])
nonsense = Y.clone()
nonsense[5:] = 1000
with torch.no_grad():
    masked = package(Y, Y, mask=mask)
    assert torch.allclose(package(Y, nonsense, mask=mask), masked, atol=1e-5)
    theirs, their_weights = layer(
        Y[None], Y[None], Y[None], key_padding_mask=mask[None] == 0, average_attn_weights=False
    )
assert torch.allclose(theirs[0], masked, atol=1e-5)
assert not torch.allclose(masked, ours, atol=1e-2)  # without the mask the filling was seen
assert not their_weights[..., 5:].any()
print("weight on filling, each head:", their_weights[0, :, :, 5:].sum(dim=(1, 2)).tolist())

# %% [markdown]
# Nobody, in none.
#
# ## 6 · The gate: a right to remain silent
#
# A softmax hands out a weight of exactly 1, whoever asks. A head that looks for cysteine partners gives *every*
# residue an answer, also those that are no cysteine and did not ask: for them it is noise. AlphaFold2 therefore
# puts a [*gate*](../docs/glossary.md#gate) behind each head. It looks at the residue that asks, $x_i$, and lets
# through a share between 0 and 1 of each number of the answer:
#
# $$o_i = \sigma(W_g x_i + b_g) \odot \sum_j a_{ij} v_j .$$
#
# Here $a_{ij}$ is the weight with which $i$ looks at $j$, $v_j$ the value of $j$, $\sigma$ the sigmoid function
# of lesson 01, and $\odot$ means: number by number. The gate works like a tap.

# %%
figure, ax = style.canvas(8.5, 2.7)
for y, who, opening in ((2.0, "C asks", 0.95), (0.75, "A asks", 0.05)):
    style.box(ax, (0.8, y), who, size=(1.1, 0.5), color=style.SKY)
    style.arrow(ax, (1.35, y), (2.0, y))
    style.box(ax, (2.85, y), "cysteine head", size=(1.6, 0.5), color=style.ORANGE)
    style.arrow(ax, (3.65, y), (4.75, y), color=style.GREEN, width=4)
    style.box(ax, (5.2, y), f"gate\n{opening}", size=(0.85, 0.62), color=style.YELLOW, fontsize=10)
    ax.plot([0.8, 0.8, 5.2, 5.2], [y - 0.25, y - 0.48, y - 0.48, y - 0.33], "-", color=style.GREY)
    if opening > 0.5:
        style.arrow(ax, (5.65, y), (6.6, y), color=style.GREEN, width=4)
        ax.text(6.7, y, "the answer passes", va="center")
    else:
        ax.text(5.8, y, "nothing passes", va="center")
plt.show()

# %% [markdown]
# Let us build such a head by hand and put it on a real protein: the first 24 residues of BPTI, a small protein
# from the pancreas of cattle that we will meet often. Its key matrix picks "is a cysteine"; its query matrix
# does the same; its value is a 1 at the residue's own place, so that the answer shows where the head has looked.
# The gate is open if the residue's projection onto "is a cysteine" is large, else shut.

# %%
BPTI_24 = "RPDFCLEPPYTGPCKARIIRYFYN"
is_cys = torch.tensor([[float(letter == "C")] for letter in BPTI_24])  # [24, 1]
scores = 6 * is_cys @ is_cys.T
scores.fill_diagonal_(-1e9)  # masked: nobody is their own partner
answer = torch.softmax(scores, dim=-1) @ torch.eye(24)
gate = torch.sigmoid(10 * is_cys - 5)  # [24, 1]
figure, axes = plt.subplots(1, 2, figsize=(8.5, 3.9), sharey=True)
for ax, picture, title in (
    (axes[0], answer, "without gate"),
    (axes[1], gate * answer, "with gate"),
):
    image = style.heatmap(ax, picture, BPTI_24, BPTI_24, limits=(0, 1))
    ax.set(title=title, xlabel="where the head has looked")
    ax.tick_params(labelsize=8)
axes[0].set_ylabel("who asks")
figure.colorbar(image, ax=axes, label="what arrives")
plt.show()
print(f"without gate, R receives {answer[0].sum():.2f} in total")
received = (gate * answer).sum(dim=1)
print(f"with gate, C receives {received[4]:.2f} and R {received[0]:.2f}")

# %% [markdown]
# Now the gate in the package. A gate that starts shut would never learn anything, since nothing passes. So
# AlphaFold2 starts with $W_g = 0$ and $b_g = 1$: open to $\sigma(1) = 0.73$ for everyone, and learns the rest.

# %%
gated = Attention(c_q=c, c_kv=c, c_out=c, heads=heads)
assert not gated.gate.weight.any() and (gated.gate.bias == 1).all()
with torch.no_grad():
    print(f"a fresh gate lets through {torch.sigmoid(gated.gate(Y)).mean():.2f}")
    for linear, W in zip((gated.q, gated.k, gated.v), (W_q, W_k, W_v)):
        linear.weight.copy_(W)
    gated.gate.weight.normal_(0, 0.1)
    gated.output.weight.copy_(torch.eye(c))
    together, _ = multi_head(Y, W_q, W_k, W_v, torch.eye(c), heads)  # before the output layer
    opening = torch.sigmoid(Y @ gated.gate.weight.T + gated.gate.bias)
    assert torch.allclose(gated(Y, Y), opening * together, atol=1e-5)
print("gate × answers = minifold's gated Attention")

# %% [markdown]
# ## 7 · Do heads specialise by themselves?
#
# Time for an experiment. We make random chains of 24 residues with exactly two cysteines each, and give a
# single layer two questions that every residue has to answer:
#
# - **ahead**: which amino acid stands four places ahead of me? (In an α-helix, a common screw-like shape of
#   protein chains, residue $i$ holds on to residue $i + 4$.)
# - **partner**: if I am a cysteine: at which place is the other one? All others answer "none".

# %%
figure, ax = style.canvas(9, 2.6)
chain, xs = "GKCLAEDVMTRCWS", np.linspace(0.5, 8.5, 14)
for x, (place, letter) in zip(xs, enumerate(chain, start=1)):
    color = style.ORANGE if letter == "C" else style.GREY
    style.box(ax, (x, 1.25), letter, size=(0.46, 0.5), color=color, weight="bold")
    ax.text(x, 1.62, place, ha="center", fontsize=8, color=style.GREY)
for i in (0, 2):
    style.arrow(ax, (xs[i], 0.95), (xs[i + 4], 0.95), color=style.BLUE, bend=0.35)
style.arrow(ax, (xs[2], 1.85), (xs[11], 1.85), color=style.ORANGE, bend=-0.15)
style.arrow(ax, (xs[11], 1.85), (xs[2], 1.85), color=style.ORANGE, bend=0.15)
ax.text(4.4, 0.35, "ahead: G answers A, C answers D, ...", color=style.BLUE, weight="bold")
ax.text(4.95, 2.43, "partner: C answers 12", color=style.ORANGE, weight="bold")
plt.show()

# %% [markdown]
# A cysteine must look at *two* places at once, for two reasons. All others need one.
#
# Attention does not know who comes first, so the place has to be written into the vectors. We use eight
# clocks of different speed: at place $i$ the hand of a clock with period $T$ points to the angle
# $2\pi i / T$, and we note its sine and cosine. Four places ahead, every hand has turned by a fixed angle: this
# is something a matrix can do.

# %%
PERIODS = torch.tensor([3.0, 5, 8, 13, 21, 34, 55, 89])
ANGLES = 2 * math.pi * torch.arange(24)[:, None] / PERIODS
CLOCKS = torch.cat([ANGLES.sin(), ANGLES.cos()], dim=1)  # [24 places, 16]
CYS, NONE, NOBODY = RESTYPES.index("C"), 24, -100  # NOBODY: no question asked, not counted


def chains(count, generator):
    """Vectors [count, 24, 36], right answers "ahead" and "partner" [count, 24]."""
    kinds = torch.randint(0, 19, (count, 24), generator=generator)
    kinds = kinds + (kinds >= CYS)  # any amino acid but cysteine
    two = torch.rand(count, 24, generator=generator).argsort(dim=1)[:, :2]  # two places
    kinds.scatter_(1, two, CYS)
    partner = torch.full((count, 24), NONE).scatter_(1, two, two.flip(1))
    ahead = kinds.roll(-4, dims=1)
    ahead[:, -4:] = NOBODY  # the last four have nobody there
    x = torch.cat([F.one_hot(kinds, 20), CLOCKS.expand(count, -1, -1)], dim=-1)
    return x, ahead, partner


# %% [markdown]
# The model is one gated attention layer and nothing else. Its 45 output numbers are scores: 20 for the kinds
# of amino acid, 25 for the places and "none". We train by *gradient descent*: show it 32 fresh chains, measure
# how surprised it is by the right answers (the [*cross-entropy*](../docs/glossary.md#cross-entropy), minus the
# logarithm of the probability that it gave to them), change every parameter a little in the direction that
# makes it less surprised, 800 times. Cysteines are rare; the loss counts them as much as all the others
# together.


# %%
def surprise(scores, right, cys):
    """Cross-entropy, half of it from cysteines; NOBODY is not counted."""
    parts = (
        F.cross_entropy(scores[some], right[some], ignore_index=NOBODY) for some in (cys, ~cys)
    )
    return sum(parts) / 2


# %%
SELF = -1e9 * torch.eye(24)  # added to the scores: nobody looks at themselves


def train(heads, seed, steps=800):
    """A layer trained on the two questions."""
    generator = torch.manual_seed(seed)
    model = Attention(36, 36, 45, heads, c_qk=64, c_v=64)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.03)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1, 0.01, total_iters=steps)
    for _ in range(steps):
        x, ahead, partner = chains(32, generator)
        out, cys = model(x, x, bias=SELF), partner != NONE
        loss = surprise(out[..., :20], ahead, cys) + surprise(out[..., 20:], partner, cys)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return model


# %%
TEST = chains(500, torch.Generator().manual_seed(12345))  # never used for training


@torch.no_grad()
def accuracy(model):
    """Share of cysteines in the test chains that answer "ahead" and "partner" right."""
    x, ahead, partner = TEST
    out, cys = model(x, x, bias=SELF), partner != NONE
    asked = cys & (ahead != NOBODY)
    right = (out[..., :20].argmax(-1) == ahead)[asked], (out[..., 20:].argmax(-1) == partner)[cys]
    return tuple(r.float().mean().item() for r in right)


layers = {(heads, seed): train(heads, seed) for heads in (1, 2) for seed in range(3)}
model = layers[2, 0]
for seed in range(3):
    ahead, partner = accuracy(layers[2, seed])
    print(f"two heads, seed {seed}: ahead {ahead:.2f}, partner {partner:.2f}")
    assert min(ahead, partner) > 0.95

# %% [markdown]
# About 2 seconds of training each. Is that good? We need something to compare with: what does guessing give, and
# what does the layer give before training? (A *seed* fixes the random numbers. One run could be luck; we look
# at three.)

# %%
x, ahead, partner = TEST
cys = partner != NONE
asked = cys & (ahead != NOBODY)
guess_ahead = torch.bincount(ahead[asked]).max() / asked.sum()  # always the most frequent answer
guess_partner = torch.bincount(partner[cys]).max() / cys.sum()
print(f"best guess without looking: ahead {guess_ahead:.2f}, partner {guess_partner:.2f}")
fresh = Attention(36, 36, 45, heads=2, c_qk=64, c_v=64)
print("untrained: ahead {:.2f}, partner {:.2f}".format(*accuracy(fresh)))
assert max(guess_ahead, guess_partner, *accuracy(fresh)) < 0.2

# %% [markdown]
# So the layer has learned it. Who does what? minifold's `Attention` hands out its weights to a function that we
# put into `record`. Here are both heads on the first test chain.


# %%
@torch.no_grad()
def look(model, x):
    """The weights [chains, heads, 24, 24]."""
    caught = []
    model.record = caught.append
    model(x, x, bias=SELF)
    model.record = None
    return caught[0]


first = "".join(RESTYPES[k] for k in x[0, :, :20].argmax(-1))
figure, axes = plt.subplots(1, 2, figsize=(8.5, 4.3), sharey=True)
for h, ax in enumerate(axes):
    image = style.heatmap(ax, look(model, x[:1])[0, h], first, first, limits=(0, 1))
    ax.set(title=f"head {h + 1}", xlabel="key")
    ax.tick_params(labelsize=8)
axes[0].set_ylabel("query")
figure.colorbar(image, ax=axes, label="weight")
plt.show()

# %% [markdown]
# You can see it with the naked eye. One head has a line parallel to the diagonal, four places to the right: it
# looks ahead. In the other one the two cysteines look at each other. All other residues rest their
# eyes elsewhere: they have no partner to find, and their weight must go somewhere. Nobody told the layer to share the work like this.
#
# **Predict first:** what does a layer with *one* head do, of the same total width? Can it answer both
# questions?


# %%
@torch.no_grad()
def habits(model):
    """For each head: the mean weight from a cysteine to four ahead and to its partner."""
    weights = look(model, x).transpose(0, 1)  # [heads, chains, 24, 24]
    chain, place = asked.nonzero(as_tuple=True)
    to_ahead = weights[:, chain, place, place + 4].mean(dim=1)
    to_partner = weights[:, chain, place, partner[asked]].mean(dim=1)
    return torch.stack([to_ahead, to_partner], dim=1)


# %%
figure, axes = plt.subplots(1, 2, figsize=(7.6, 2.9), sharey=True)
for ax, count in zip(axes, (1, 2)):
    mine = habits(layers[count, 0])
    for h, (row, color) in enumerate(zip(mine, style.CYCLE)):
        bars = ax.bar(np.arange(2) + 0.4 * h, row, 0.36, color=color, label=f"head {h + 1}")
        ax.bar_label(bars, fmt="%.1f")
    ax.set_xticks(np.arange(2) + 0.2 * (count - 1), ["four ahead", "partner"])
    ax.set(title="one head" if count == 1 else "two heads", ylim=(0, 1.15))
    ax.legend()
axes[0].set_ylabel("weight, cysteine → there")
plt.show()

# %%
for seed in range(3):
    one, two = habits(layers[1, seed]), habits(layers[2, seed])
    assert one.max() < 0.85  # one head: it cannot give much to both
    assert two.max(dim=1).values.min() > 0.6 and two.min(dim=1).values.max() < 0.3
    assert two[0].argmax() != two[1].argmax()  # and the two divide the work
right = [round(min(accuracy(layers[1, seed])), 1) for seed in range(3)]
partner_head = habits(model)[:, 1].argmax()
from_others = (look(model, x)[:, partner_head] * cys[:, None]).sum(dim=-1)[~cys].mean()
assert from_others < 0.25  # who is no cysteine does not look at the cysteines
print("one head divides its weight, two heads divide the work: all 3 seeds")
print("lowest accuracy of one head above 0.5:", [r > 0.5 for r in right])

# %% [markdown]
# The surprise: one head does not simply fail. It *divides* its weight between the two places, so that both
# answers arrive in one mixture, and the output layer sorts them apart as well as it can. Two heads need no
# such acrobatics: each keeps to one question.
#
# ### A map is not a proof
#
# A bright spot shows where a head *looks*. It does not show that the answer *depends* on it. The test is to
# intervene: switch one head off (drop its term from the sum of section 4) and see which answer breaks.


# %%
def switch_off(model, head):
    """A copy of a two-headed layer without the contribution of one head."""
    copy = Attention(36, 36, 45, 2, c_qk=64, c_v=64)
    copy.load_state_dict(model.state_dict())
    with torch.no_grad():
        copy.output.weight[:, 32 * head : 32 * (head + 1)] = 0
    return copy


bars = np.array([accuracy(m) for m in (model, switch_off(model, 0), switch_off(model, 1))])
figure, ax = plt.subplots(figsize=(7, 3))
for k, (name, color) in enumerate((("ahead", style.BLUE), ("partner", style.ORANGE))):
    ax.bar(np.arange(3) + 0.38 * k, bars[:, k], 0.34, label=name, color=color)
ax.axhline(guess_ahead, color=style.INK, linewidth=1, linestyle=":")
ax.text(2.62, guess_ahead + 0.02, "guess", fontsize=9)
ax.set_xticks(np.arange(3) + 0.19, ["both heads", "without head 1", "without head 2"])
ax.set(ylabel="right answers", ylim=(0, 1.1), xlim=(-0.3, 3.4))
ax.legend(loc="upper right")
plt.show()

# %%
for seed in range(3):
    lost = [accuracy(switch_off(layers[2, seed], head)) for head in range(2)]
    ahead_head = 0 if lost[0][0] < lost[1][0] else 1
    assert lost[ahead_head][0] < 0.3 < 0.8 < lost[ahead_head][1]  # only "ahead" breaks
    assert lost[1 - ahead_head][1] < 0.3 < 0.8 < lost[1 - ahead_head][0]  # only "partner" breaks
print("each head, switched off, takes exactly one answer with it: all 3 seeds")

# %% [markdown]
# That is proof: each head is needed for one answer and not for the other. DeepMind found heads of both kinds in
# AlphaFold2: one that looks about four residues to both sides, and one that looks for cysteines
# ([lesson 12](12_attention_maps.ipynb)).
#
# ### A real protein keeps us honest
#
# Show the layer the 24 residues of BPTI from section 6. They contain two cysteines, 5 and 14.
# **Predict first:** whom does cysteine 5 name as its partner?

# %%
kinds = torch.tensor([RESTYPES.index(letter) for letter in BPTI_24])
bpti = torch.cat([F.one_hot(kinds, 20), CLOCKS], dim=-1)[None]
with torch.no_grad():
    places = model(bpti, bpti, bias=SELF)[0, :, 20:].argmax(dim=-1)
for i in (5, 14):
    print(f"C{i} names residue {places[i - 1] + 1}")


# %%
def bow(ax, start, end, height, color, dashes):
    """A flat arc between two points of a line."""
    t = np.linspace(0, 1, 50)
    ax.plot(start[0] + (end[0] - start[0]) * t, start[1] + 4 * height * t * (1 - t),
            color=color, linewidth=2, linestyle=dashes)  # fmt: skip


# %%
figure, ax = style.canvas(9, 2.2)
xs = np.linspace(0.2, 8.8, 58)
for place, x_place in enumerate(xs, start=1):
    cysteine = place in (5, 14, 30, 38, 51, 55)
    color, size = (style.ORANGE, 8) if cysteine else (style.GREY, 3)
    ax.plot(x_place, 1.0, "o", color=color, markersize=size)
    if cysteine:
        ax.text(x_place, 0.7, f"C{place}", ha="center", fontsize=9)
for (i, j), height in (((5, 55), 0.95), ((14, 38), 0.6), ((30, 51), 0.4)):
    bow(ax, (xs[i - 1], 1.1), (xs[j - 1], 1.1), height, style.GREEN, "-")
bow(ax, (xs[4], 0.6), (xs[13], 0.6), -0.3, style.RED, "--")
ax.text(xs[14], 0.25, "what our layer says", color=style.RED, va="center")
ax.text(xs[-1], 1.9, "the disulfide bonds of BPTI", color=style.GREEN, ha="right", va="center")
plt.show()

# %% [markdown]
# The layer names the only other cysteine it can see. It is wrong: in BPTI, 5 is bound to 55, 14 to 38, and 30
# to 51. And it could not be right. With six cysteines in view, *one* sequence does not say which belong
# together. Where does AlphaFold2 take that from? From the protein's relatives:
# [lesson 03](03_msa_and_coevolution.ipynb).
#
# ## 8 · Layers on layers
#
# One layer answers "who is my partner?" and "who is four ahead of me?". What about **"who is four ahead of my
# partner?"** To answer, I have to look at my partner, and my partner must have looked ahead *before*: two steps,
# one after the other.
#
# **Predict first:** can one layer learn this? Can two?
#
# We stack layers as AlphaFold2 does: each layer *adds* its answer to the residue's vector, so that nothing is
# forgotten (a [*residual connection*](../docs/glossary.md#residual-connection)).


# %%
class Stack(torch.nn.Module):
    """Layers of attention, each added to what was there; answers to three questions."""

    def __init__(self, layers):
        super().__init__()
        self.embed = torch.nn.Linear(36, 64)
        self.layers = torch.nn.ModuleList(Attention(64, 64, 64, heads=2) for _ in range(layers))
        self.answer = torch.nn.Linear(64, 20 + 25 + 20)  # ahead, partner, ahead of my partner

    def forward(self, x):
        x = self.embed(x)
        for layer in self.layers:
            x = x + layer(x, x, bias=SELF)
        return self.answer(x).split([20, 25, 20], dim=-1)


def two_steps(ahead, partner):
    """Right answers to the third question; NOBODY where it cannot be asked."""
    there = ahead.gather(1, partner.clamp(max=23))
    return torch.where(partner == NONE, NOBODY, there)


# %%
def train_stack(layers, steps=700):
    """A stack trained on all three questions."""
    generator = torch.manual_seed(0)
    model = Stack(layers)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.005)
    for _ in range(steps):
        x, ahead, partner = chains(32, generator)
        answers, cys = model(x), partner != NONE
        rights = (ahead, partner, two_steps(ahead, partner))
        loss = sum(
            F.cross_entropy(a[cys], r[cys], ignore_index=NOBODY) for a, r in zip(answers, rights)
        )
        loss = loss + F.cross_entropy(answers[0][~cys], ahead[~cys], ignore_index=NOBODY)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model


# %%
third = two_steps(ahead, partner)
possible = third != NOBODY
found = {}
for layers_count in (1, 2):
    answer = train_stack(layers_count)(x)[2].argmax(dim=-1)
    found[layers_count] = (answer == third)[possible].float().mean().item()
guess = (torch.bincount(third[possible]).max() / possible.sum()).item()
assert found[1] < 0.2 and found[2] > 0.95
print(f"two layers: {found[2]:.2f} right; one layer: less than 0.2; guess: {guess:.2f}")

# %%
figure, ax = style.canvas(9, 3.1)
names, xs = ["C", "D", "K", "C'", "L", "A", "G", "W"], np.linspace(0.6, 7.1, 8)
for y, words in ((0.45, "input"), (1.55, "after layer 1"), (2.65, "after layer 2")):
    ax.text(7.6, y, words, va="center", fontsize=9)
    for name, x_box in zip(names, xs):
        color = style.ORANGE if name.startswith("C") else style.GREY
        style.box(ax, (x_box, y), name, size=(0.55, 0.42), color=color)
style.arrow(ax, (xs[7], 0.66), (xs[3] + 0.1, 1.33), color=style.BLUE)
style.arrow(ax, (xs[3], 1.76), (xs[0] + 0.1, 2.43), color=style.ORANGE)
ax.text(5.5, 1.08, "C' looks ahead: W", color=style.BLUE, fontsize=9)
ax.text(2.6, 2.1, "C looks at its partner C', who knows W by now", color=style.ORANGE, fontsize=9)
plt.show()

# %% [markdown]
# (Weights flow from the residue that is looked at to the one that looks.) One layer is no better than a guess, two layers get it right. The first lets every residue look ahead; the
# second looks at the partner, who now knows. The more layers, the more complex the relations that can be found.
# AlphaFold2 stacks 48 blocks, with four attentions in each. A network built of such layers, with small steps
# in between that work on each residue by itself, is called a *transformer*.
#
# ### Exercise 4 · Two heads by hand (open)
#
# Our layer needed 800 steps of training to find two heads. You can do it without any, because you know
# what they should do. Write `my_two_heads(x)`: for one chain `x` (24 rows of 36 numbers: 20 one-hot letters in
# the order of `RESTYPES`, then 8 sines and 8 cosines of the clocks of section 7) the weights [2, 24, 24] of two
# heads, made by projection and softmax: one whose largest weight is four places ahead, one in which each
# cysteine looks at the other one.
#
# Target: 95 % of the looks go to the right place, on 100 chains that you do not know. (Who looks at themselves is
# ignored, as in the training. Hint: $\cos(a - b) = \cos a \cos b + \sin a \sin b$.) Then the open part: how few
# clocks do you need? With how few numbers per query can it be done?


# %% nbgrader={"grade": false, "grade_id": "two_heads", "locked": false, "schema_version": 3, "solution": true, "task": false}
def my_two_heads(x):
    """Weights [2, 24, 24] of the chain x [24, 36]."""
    ### BEGIN SOLUTION
    x = torch.as_tensor(x).float()
    turn = 2 * math.pi * 4 / PERIODS
    sin, cos = x[:, 20:28], x[:, 28:]
    sin, cos = sin * turn.cos() + cos * turn.sin(), cos * turn.cos() - sin * turn.sin()
    query = torch.cat([sin, cos], dim=1)  # every clock as it will be four places ahead
    cysteine = x[:, [CYS]]
    scores = torch.stack([query @ x[:, 20:].T, cysteine @ cysteine.T])
    return torch.softmax(20 * scores, dim=-1)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check-two_heads", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
minifold.check("two_heads", my_two_heads)

# %% [markdown]
# ## Quiz
#
# <details><summary>1. Two amino acids are alike in one head and not alike in another. Is one of the heads wrong?</summary>
#
# No. Each head projects onto what its own question is about; being alike depends on the question.
# </details>
#
# <details><summary>2. You double the number of heads and keep the total width. How many parameters are added?</summary>
#
# None. Each head becomes half as wide (section 4).
# </details>
#
# <details><summary>3. Why not use one matrix for queries and keys?</summary>
#
# Then the score of two vectors is the same in both directions, and two vectors can never both prefer each other to themselves:
# like seeks like (section 3). "Positive looks for negative" needs two matrices.
# </details>
#
# <details><summary>4. A head's gate is shut for a residue. Do the others still see that residue?</summary>
#
# Yes. The gate depends on the residue that asks and stops what *it* receives. Its key and value are there for all others.
# </details>
#
# <details><summary>5. A head shows a beautiful attention map. What do you have to do before you say "this head finds disulfide bonds"?</summary>
#
# Switch it off and see whether the answer suffers, and compare with an untrained layer and with guessing (section 7).
# </details>
#
# <details><summary>6. What is the output of a layer in which all heads have the same matrices?</summary>
#
# All heads give the same answers; concatenated and mixed by the output layer they are worth one head.
# Starting from random matrices is what makes them differ.
# </details>
#
# ## In the paper
#
# - Multi-head attention: Vaswani et al., *Attention Is All You Need* (2017), section 3.2.2. There $c = 512$, 8 heads
#   of 64.
# - AlphaFold2, supplementary information, Algorithm 7: line 2 makes queries, keys and values (without a constant
#   term), line 4 the gate, line 6 multiplies gate and answer, line 7 concatenates the heads and applies the output layer.
# - Initial values: section 1.11.4 (gates start with weights 0 and bias 1; output layers start at 0, so that a fresh
#   layer adds nothing).
# - Heads seen at work: section 1.16 and Supplementary Figures 12 and 13.
#
# ## In real AlphaFold2
#
# | attention | heads | numbers per head | width of the input | gated |
# |---|---|---|---|---|
# | here, section 4 | 4 | 64 | 256 | no |
# | here, section 7 | 2 | 32 | 36 | yes |
# | along rows and columns of the alignment | 8 | 32 | 256 | yes |
# | extra alignment | 8 | 8 | 64 | yes |
# | triangle attention over pairs | 4 | 32 | 128 | yes |
# | invariant point attention (structure module) | 12 | 16, and points in space | 384 | no |
#
# In the Evoformer heads times numbers per head is the width of the input. In the structure module it is not:
# $12 \times 16 = 192$.
#
# ## What next
#
# One sequence does not say which cysteines belong together. Its relatives do.
# [Lesson 03](03_msa_and_coevolution.ipynb) finds them, lines them up and reads contacts out of the columns.
#
# <details><summary>Review: every claim of this lesson, and where it is shown</summary>
#
# | claim | where |
# |---|---|
# | self-attention: queries, keys and values come from the same vectors | 2: the twenty amino acids ask each other; 3, text |
# | a vector may hold solubility, size, positive and negative charge | 2: built from published tables; in a trained network nobody says what a number means |
# | S and D: interchangeable as small and soluble, not as charged | 2: maps, 0.65 and 0.00 printed |
# | $W$ makes (\|charge\|, size) from four numbers | 2: drawing with the product computed |
# | two vectors are compared by $q^\top W^\top W k$, then softmax | 2: both ways of writing asserted equal; exercise 1 |
# | one matrix $W_h$ per relation, for queries, keys and values | 3: **not enough**: with one $W$, D and K never prefer each other; a head has three matrices |
# | a projection followed by attention is a head | 2: heat maps of two heads |
# | 256 numbers onto 64, 4 heads | 4: drawing, shapes printed |
# | the heads' answers are concatenated | 4: loop and no loop asserted equal |
# | then mixed into a weighted sum by a matrix | 4: asserted to be the sum over heads |
# | every residue receives weighted sums of the others, one for each relation | 4: the same; 7: each head switched off takes one answer with it |
# | heads extract different relations | 7: trained, three seeds, beside guess and untrained layer |
# | the width is divided among the heads; $d_v = d_k$ | 4: parameters counted; other widths: 7, and the table above |
# | the same mask for all heads | 5: asserted, against PyTorch's layer too |
# | dropout of the weights | lesson 01, section 9; here it is left out, as AlphaFold2 drops whole rows and columns |
# | the class in PyTorch | 5: asserted equal to PyTorch's layer and to minifold's `Attention` |
# | each head has a gate (not in this part of the article) | 6: by hand on BPTI, asserted equal to the package; more in lesson 04 |
# | the more layers, the more complex the relations | 8: a question that two layers learn and one does not; beyond two layers not shown |
# | transformers are built of such layers; the Evoformer is one | 8, text; the Evoformer: lesson 05 |
# | the structure module is a transformer as well | text only, in a wide sense: its attention is built in lesson 08 |
#
# </details>
