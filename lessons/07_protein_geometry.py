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
# # 07 · Protein geometry: six numbers and a few angles per residue
#
# > *Ubiquitin has 602 atoms, hydrogens not counted: 1806 coordinates. AlphaFold2 does not predict a single one
# > of them. What does it predict instead, and why is that cleverer?*
#
# **Time:** about 90 minutes of reading and trying, 45 more for the exercises.
#
# **You need:** vectors, dot and cross product, matrices as rotations. Of the lessons before only the words
# amino acid and residue ([lesson 02](02_multi_head_attention.ipynb)).
#
# **Afterwards you can**
# - name the angles of a protein chain, compute them, and say which of them may turn and why;
# - build a helix and a strand from two numbers;
# - put a frame on a residue, and move, combine and nudge frames as AlphaFold2 does;
# - take a protein apart into frames and angles, put it together again, and say what is lost.
#
# New words are *set like this* at first use and collected in the [glossary](../docs/glossary.md).

# %%
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import torch

import minifold
from minifold.data import residues
from minifold.data.residues import ATOM_INDEX
from minifold.data.structures import Chain, read_structure, structure_files
from minifold.look import plots, style
from minifold.look.view3d import trajectory, view
from minifold.model import atoms
from minifold.model.rigid import Rigid
from minifold.training.baselines import ideal_chain
from minifold.training.superposition import rmsd

# %%
style.use()
torch.set_num_threads(1)
N, CA, C, CB = (ATOM_INDEX[name] for name in ("N", "CA", "C", "CB"))
BACKBONE = [N, CA, C, ATOM_INDEX["O"]]
CHAINS = [read_structure(path) for path in structure_files("../data/structures")]
UBIQUITIN = next(chain for chain in CHAINS if chain.name == "1UBQ")
n_atoms = int(UBIQUITIN.mask.sum())
print(f"{len(CHAINS)} proteins; ubiquitin: {len(UBIQUITIN.sequence)} residues, {n_atoms} atoms")

# %% [markdown]
# ## 1 · A chain of triangles
#
# Every residue has the same three atoms in the chain: a nitrogen N (of the *amino group*), a carbon Cα in the
# middle, a carbon C (of the *acid group*; an oxygen O hangs on it). Together they are the
# [*backbone*](../docs/glossary.md#backbone). On Cα sits the [*side chain*](../docs/glossary.md#side-chain), in the
# drawing R (for *radical*); it is what makes the twenty amino acids different.
# The bond from C to the N of the next residue, which makes a chain of residues, is the
# [*peptide bond*](../docs/glossary.md#peptide-bond).

# %%
NAME_COLORS = {"N": style.BLUE, "Cα": style.INK, "C": style.GREY, "O": style.RED, "R": style.GREEN}
figure, ax = style.canvas(8.2, 3.5)
xs, ys = 0.5 + 0.9 * np.arange(9), np.where(np.arange(9) % 2 == 0, 1.35, 2.05)
for k in (1, 4):  # a peptide plane: Cα, C, O, N, Cα
    corners = [xs[k] - 0.1, xs[k] + 0.2, xs[k + 3] + 0.1, xs[k + 3] - 0.2]
    ax.fill(corners, [0.95, 2.75, 2.75, 0.95], color=style.tint(style.YELLOW, 0.45), linewidth=0)
ax.text(xs[1] + 0.95, 2.55, "peptide plane", ha="center", fontsize=9)
ax.plot(xs, ys, "-", color=style.INK, zorder=1)
for k, (x, y) in enumerate(zip(xs, ys)):
    name, up = ("N", "Cα", "C")[k % 3], 1 if y > 1.7 else -1
    if name != "N":  # O hangs on C, R on Cα
        hung, wide = ("R", 2) if name == "Cα" else ("O", 4)
        ax.plot([x, x], [y, y + 0.75 * up], "-", color=style.INK, linewidth=wide, zorder=1)
        style.box(ax, (x, y + 0.85 * up), hung, size=(0.36, 0.34), color=NAME_COLORS[hung])
    style.box(ax, (x, y), name, size=(0.44, 0.36), color=NAME_COLORS[name], fontsize=10)
for x, y, word in ((3.84, 1.77, "φ"), (4.33, 1.77, "ψ"), (5.66, 1.77, "ω")):
    ax.text(x, y, word, fontsize=15, ha="center", color=style.PURPLE, weight="bold")
ax.text(xs[4] + 0.75, 0.45, "← residue 2", ha="center", va="center", fontsize=10)
plt.show()

# %%
view(UBIQUITIN, color="position", caption="Ubiquitin; tick the box to see the side chains")

# %% [markdown]
# (The Greek letters in the drawing are the next section. The picture stands still; below it, in Jupyter, is a live view that you can turn. GitHub shows the picture only.)
#
# ## 2 · A torsion is what you see along a bond
#
# Four atoms in a row, a-b-c-d. Look along the bond from b to c, so that c hides behind b. You see two
# hands of a clock: one points to a, one to d. The angle from a to d is the
# [*torsion*](../docs/glossary.md#torsion-angle) of the bond: positive if you have to turn clockwise, between −180°
# and 180°. It is 0° when a and d are on the same side (*cis*) and 180° when they are on opposite sides (*trans*).

# %%
figure, axes = plt.subplots(1, 4, figsize=(8, 2.3))
for ax, degrees in zip(axes, (0, 60, -60, 180)):
    t = np.radians(degrees)
    ax.plot([0, 0], [0.42, 1.15], "-", color=style.BLUE, linewidth=4)  # b-a, in front
    aside = 0.07 if degrees == 0 else 0
    ends = [aside, aside + 1.15 * np.sin(t)], [0, 1.15 * np.cos(t)]
    ax.plot(*ends, "-", color=style.ORANGE, linewidth=4)  # c-d, behind
    ax.add_patch(plt.Circle((0, 0), 0.42, color="white", ec=style.INK, linewidth=2, zorder=3))
    arc = np.linspace(0, t, 40)
    ax.plot(0.72 * np.sin(arc), 0.72 * np.cos(arc), ":", color=style.PURPLE)
    ax.text(-0.16, 1.25, "a", color=style.BLUE, ha="center", weight="bold")
    place_d = 3 * aside + 1.38 * np.sin(t), 1.38 * np.cos(t) - 0.13
    ax.text(*place_d, "d", color=style.ORANGE, ha="center", weight="bold")
    ax.text(0, -0.12, "b", ha="center", zorder=4)
    ax.set_title(f"{degrees}°".replace("-", "−"), loc="center")
    ax.set(xlim=(-1.7, 1.7), ylim=(-1.6, 1.7), aspect="equal")
    ax.axis("off")
plt.show()

# %% [markdown]
# The three bonds of the backbone have torsions with Greek names. For residue $i$:
#
# | torsion | atoms | bond that turns |
# |---|---|---|
# | φ (phi) | C of residue $i-1$, N, Cα, C | N-Cα |
# | ψ (psi) | N, Cα, C, N of residue $i+1$ | Cα-C |
# | ω (omega) | Cα, C, N of residue $i+1$, Cα of residue $i+1$ | C-N, the peptide bond |
#
# ### Exercise 1 · A torsion from four points (easy)
#
# Write `my_torsion(a, b, c, d)` in degrees. A hint: the planes a-b-c and b-c-d have the normals
# $n_1 = (b-a) \times (c-b)$ and $n_2 = (c-b) \times (d-c)$; their angle is the torsion, but where does the *sign* come
# from? `np.arctan2(y, x)` knows all four quadrants.
#
# *In all exercises: try by yourself first. One possible answer stands between the two lines that
# start with `###`; delete it, write yours, run the check.*


# %% nbgrader={"grade": false, "grade_id": "torsion", "locked": false, "schema_version": 3, "solution": true, "task": false}
def my_torsion(a, b, c, d):
    """Torsion a-b-c-d in degrees."""
    ### BEGIN SOLUTION
    a, b, c, d = (np.asarray(x, dtype=float) for x in (a, b, c, d))
    n1, n2 = np.cross(b - a, c - b), np.cross(c - b, d - c)
    bond = (c - b) / np.linalg.norm(c - b)
    return np.degrees(np.arctan2(np.cross(n1, n2) @ bond, n1 @ n2))
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check-torsion", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
minifold.check("torsion", my_torsion)

# %% [markdown]
# Our own version does as the drawing says: take away from both hands what lies along the bond, then measure the angle.
# It works on arrays of points, `[*, 3]`.


# %%
def dot(a, b):
    return (a * b).sum(axis=-1, keepdims=True)


def unit(v):
    return v / np.sqrt(dot(v, v))


def torsion(a, b, c, d):
    """Torsions [*] in degrees, from points [*, 3]."""
    bond = unit(c - b)
    front = (a - b) - dot(a - b, bond) * bond  # the two hands of the clock
    back = (d - c) - dot(d - c, bond) * bond
    return np.degrees(np.arctan2(dot(np.cross(front, back), bond), dot(front, back)))[..., 0]


# %% [markdown]
# And the package's: `atom37_to_torsions` returns seven torsions per residue as pairs (sine, cosine): first
# ω of the bond *before* the residue, then φ and ψ, then the side chain. (An array of shape [n, 37, 3] has a place
# for each of the 37 atom names that occur in proteins.)


# %%
def tensors(chain):
    """What minifold's functions take: residue types, positions, mask."""
    arrays = (chain.aatype, chain.positions.astype(np.float64), chain.mask)
    return tuple(torch.as_tensor(array)[None] for array in arrays)


def all_torsions(chain):
    """Degrees [n, 7]: ω before the residue, φ, ψ, χ1 to χ4; NaN where there is none."""
    angles, _, defined = atoms.atom37_to_torsions(*tensors(chain))
    degrees = torch.atan2(*angles.unbind(-1)).rad2deg()
    return degrees.where(defined > 0, torch.nan)[0].numpy()


# %%
x = UBIQUITIN.positions.astype(float)
theirs = all_torsions(UBIQUITIN)
phi = torsion(x[:-1, C], x[1:, N], x[1:, CA], x[1:, C])
psi = torsion(x[:-1, N], x[:-1, CA], x[:-1, C], x[1:, N])
omega = torsion(x[:-1, CA], x[:-1, C], x[1:, N], x[1:, CA])


def apart(a, b):
    """Largest difference of angles, on the circle."""
    return np.nanmax(abs((a - b + 180) % 360 - 180))


assert apart(phi, theirs[1:, 1]) < 0.01 and apart(omega, theirs[1:, 0]) < 0.01
print(f"φ and ω agree with the package; ψ to {apart(psi, theirs[:-1, 2]):.0f} degrees")

# %% [markdown]
# Why not ψ? The package measures it with O instead of the next N, since the last residue has no next one.
# Both hang on C, opposite to each other, in one plane with it: 180° apart, if the plane is flat. Nature is
# not quite so exact.
#
# ## 3 · What is stiff, and what turns?
#
# Now we can measure seven real proteins. **Predict first:** three bond lengths, three bond angles, three torsions.
# Which of the nine hardly vary? Is the bond C-N (peptide) longer or shorter than the bond N-Cα?

# %%
BACKBONES = [
    chain.positions[chain.mask[:, [N, CA, C]].all(axis=1)][:, [N, CA, C]].astype(float)
    for chain in CHAINS
]  # [n, 3, 3] each


def angle(a, b, c):
    return np.degrees(np.arccos(dot(unit(a - b), unit(c - b))))[..., 0]


def measured(f):
    """f(this residue [n, 3, 3], the next one) of all seven proteins, in one list."""
    return np.concatenate([f(x[:-1].swapaxes(0, 1), x[1:].swapaxes(0, 1)) for x in BACKBONES])


def norm(v):
    return np.linalg.norm(v, axis=-1)


# %%
FACTS = {
    "N-Cα": measured(lambda i, j: norm(i[1] - i[0])),
    "Cα-C": measured(lambda i, j: norm(i[2] - i[1])),
    "C-N": measured(lambda i, j: norm(j[0] - i[2])),
    "N-Cα-C": measured(lambda i, j: angle(*i)),
    "Cα-C-N": measured(lambda i, j: angle(i[1], i[2], j[0])),
    "C-N-Cα": measured(lambda i, j: angle(i[2], j[0], j[1])),
    "ω": measured(lambda i, j: torsion(i[1], i[2], j[0], j[1])) % 360,
    "φ": measured(lambda i, j: torsion(i[2], *j)),
    "ψ": measured(lambda i, j: torsion(*i, j[0])),
}
for name, values in FACTS.items():
    unit_name, digits = ("Å", 2) if name.count("-") == 1 else ("°", 0)
    mean, spread = round(values.mean(), digits), round(values.std(), digits)
    print(f"{name:7s} mean {mean:7.{digits}f} {unit_name}  spread {spread:5.{digits}f} {unit_name}")

# %%
figure, ax = plt.subplots(figsize=(8, 3.1))
rng = np.random.default_rng(0)
for y, name in enumerate(list(FACTS)[:2:-1]):  # the six angles, from the bottom
    values = FACTS[name]
    color = style.ORANGE if name in "φψ" else style.BLUE
    jitter = rng.uniform(-0.25, 0.25, len(values))
    ax.scatter(values % 360, y + jitter, s=4, color=color)
ax.set_yticks(range(6), list(FACTS)[:2:-1])
ax.set(xlabel="degrees (0 to 360)", xlim=(0, 360), title="six angles of 348 residues")
ax.set_xticks(range(0, 361, 60))
plt.show()

# %% [markdown]
# Bond lengths are known to 0.02 Å, bond angles to 3°. The angle N-Cα-C is obtuse, 111°: the triangle N, Cα, C
# has the same shape in every residue. Only φ and ψ go where they like. And the third torsion, ω,
# does not turn at all: it stays at 180°.
#
# The reason is in the third line. A single bond between C and N is about 1.47 Å long, a double bond 1.28 Å; the
# peptide bond, 1.32 Å, is *almost a double bond*. The nitrogen has a pair of electrons to spare, and shares it with the double
# bond C=O next door. For that, all six atoms of the *peptide plane* (Cα, C, O, N, H, Cα) must lie in one plane;
# turning the bond would cost about 80 kJ/mol. (At one place of the chain in 300, mostly before proline, ω is about 0 instead: *cis*.
# Our seven proteins have none.)
#
# So: two free angles per residue, and the whole backbone is fixed. Do we have it, then? Wait for section 9.

# %%
turned = abs(FACTS["ω"] - 180)
print(f"ω is within 15° of 180° in {np.mean(turned < 15):.0%} of the peptide bonds")
print(f"nearest to cis: {turned.max():.0f}° away from 180°")
assert np.mean(turned < 15) > 0.95 and FACTS["C-N"].mean() < FACTS["N-Cα"].mean() - 0.1

# %% [markdown]
# ## 4 · A frame on every residue
#
# If the triangle N, Cα, C is stiff, then we know where all three atoms are as soon as we know where the triangle lies and
# how it is turned. A [*frame*](../docs/glossary.md#frame) says exactly that. It is a small coordinate system that
# sits on the residue:
#
# - its origin $t$ (three numbers) is Cα, the corner with the obtuse angle;
# - its x axis points from Cα to C;
# - its y axis is perpendicular to x, in the plane of the triangle, on the side of N;
# - its z axis is perpendicular to both (right hand: thumb x, first finger y, second finger z).
#
# Making perpendicular unit vectors out of any two vectors is called the
# [*Gram-Schmidt process*](../docs/glossary.md#gram-schmidt-process): take the first, shorten it to length 1; take away from the
# second its part along the first, shorten it, too; the cross product is the third. The three axes are the *columns* of
# the rotation matrix $R$.

# %%
figure, ax = style.canvas(7, 3.0)
ca, c_atom, n_atom = np.array([[3.6, 0.8], [6.2, 0.8], [2.7, 2.7]])
foot = np.array([n_atom[0], ca[1]])
ax.plot(*np.stack([n_atom, ca, c_atom]).T, "-", color=style.GREY, linewidth=3, zorder=0)
ax.plot(*np.stack([ca, foot, n_atom]).T, ":", color=style.GREY, linewidth=1.2)
style.arrow(ax, ca, ca + [1.4, 0], color=style.RED, width=3)
style.arrow(ax, ca, ca + [0, 1.4], color=style.GREEN, width=3)
ax.add_patch(plt.Circle(ca, 0.1, color=style.BLUE, zorder=5))
ax.text(*(ca + [1.3, -0.32]), "x", color=style.RED, weight="bold", fontsize=13)
ax.text(*(ca + [0.1, 1.35]), "y", color=style.GREEN, weight="bold", fontsize=13)
ax.text(*(ca + [-0.12, -0.4]), "z, towards you", color=style.BLUE, ha="center", weight="bold")
for point, name, color in ((c_atom, "C", style.GREY), (n_atom, "N", style.BLUE)):
    style.box(ax, point, name, size=(0.45, 0.4), color=color)
ax.text(*(ca + [0.28, 0.2]), "Cα", fontsize=11)
ax.text(1.35, 0.55, "part along x: taken away", ha="center", fontsize=9)
style.arrow(ax, (2.4, 0.62), (3.1, 0.76), color=style.GREY, width=1)
ax.text(1.0, 1.8, "what remains is\nthe direction of y", ha="center", fontsize=9)
style.arrow(ax, (1.85, 1.9), (2.6, 1.75), color=style.GREY, width=1)
plt.show()

# %% [markdown]
# ### Exercise 2 · Gram-Schmidt (needs a thought)
#
# Write `my_frame(n, ca, c)` that returns $R$ [3, 3] with the axes as columns, and $t$.


# %% nbgrader={"grade": false, "grade_id": "frame", "locked": false, "schema_version": 3, "solution": true, "task": false}
def my_frame(n, ca, c):
    """R [3, 3], axes as columns, and t [3] of the frame of one residue."""
    ### BEGIN SOLUTION
    n, ca, c = (np.asarray(x, dtype=float) for x in (n, ca, c))
    x = (c - ca) / np.linalg.norm(c - ca)
    y = (n - ca) - ((n - ca) @ x) * x
    y = y / np.linalg.norm(y)
    return np.column_stack([x, y, np.cross(x, y)]), ca
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check-frame", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
minifold.check("frame", my_frame)

# %% [markdown]
# Ours, for many residues at once, and what frames are for: a point $x$ in the coordinates of the frame
# (*local*) is at $Rx + t$ in space (*global*); back again, $R^\top (x - t)$.


# %%
def frame(n, ca, c):
    """Frames (R [*, 3, 3], t [*, 3]) of triangles of points [*, 3]."""
    e1 = unit(c - ca)
    e2 = unit((n - ca) - dot(n - ca, e1) * e1)
    return np.stack([e1, e2, np.cross(e1, e2)], axis=-1), ca


def to_global(T, x):
    R, t = T
    return np.einsum("...xy,...y->...x", R, x) + t


def to_local(T, x):
    R, t = T
    return np.einsum("...yx,...y->...x", R, x - t)  # the transpose turns back


# %%
T = frame(x[:, N], x[:, CA], x[:, C])  # 76 frames
package = Rigid.from_3_points(*torch.as_tensor(x[:, [N, CA, C]]).unbind(1))
assert np.allclose(T[0], package.R, atol=1e-6) and np.allclose(T[1], package.t)
assert np.allclose(to_local(T, x[:, N]), package.invert_apply(torch.as_tensor(x[:, N])), atol=1e-5)
print("our 76 frames are minifold's (Algorithm 21 of the supplement)")

# %% [markdown]
# Here they are on ubiquitin's helix (residues 23 to 34), the chain drawn as a thread: x is red, y green, z
# blue. See how regularly they turn.


# %%
def part(chain, first, last):
    """Residues first to last (counted from 1) of a chain."""
    cut = slice(first - 1, last)
    names = ("positions", "mask", "residue_index", "b_factors", "sequence")
    return replace(chain, **{name: getattr(chain, name)[cut] for name in names})


view(
    part(UBIQUITIN, 21, 36),
    color="position",
    axes=True,
    caption="Ubiquitin 21-36, one frame per residue",
)

# %% [markdown]
# Is a frame worth anything? Look at Cβ, the first atom of the side chain. **Predict first:** relative to Cα, in
# global coordinates, Cβ may be anywhere on a sphere of radius 1.53 Å. How much does it vary in the coordinates of the residue's own frame?

# %%
has = UBIQUITIN.mask[:, CB] > 0  # not in glycine
outside, inside = (x[:, CB] - x[:, CA])[has], to_local(T, x[:, CB])[has]
print("spread in x, y, z, global:", outside.std(axis=0).round(2), "Å")
print("spread in x, y, z, local: ", inside.std(axis=0).round(2), "Å")
print("mean, local:              ", inside.mean(axis=0).round(2), "Å")

# %%
figure, axes = plt.subplots(1, 2, figsize=(7.5, 3.7), sharey=True)
for ax, points, title in (
    (axes[0], outside, "global"),
    (axes[1], inside, "in the residue's frame"),
):
    shade = ax.scatter(
        *points[:, :2].T,
        c=points[:, 2],
        cmap=style.DIVERGING,
        vmin=-1.6,
        vmax=1.6,
        s=30,
        ec=style.INK,
        linewidth=0.5,
    )
    ax.plot(0, 0, "+", color=style.INK, markersize=12)
    ax.set(title=title, xlabel="x (Å)", xlim=(-1.8, 1.8), ylim=(-1.8, 1.8), aspect="equal")
axes[0].set_ylabel("y (Å)")
figure.colorbar(shade, ax=axes, label="z (Å)")
plt.show()

# %% [markdown]
# Seventy points on a sphere become one: Cβ is always at the same place, to 0.07 Å. What is true of every residue can be said
# *once*, in the frame. The z of Cβ is always negative, because life uses only one of two mirror images of each amino acid (the *L* form).
# In a mirrored protein it would be positive: a frame can tell a protein from its mirror image, distances cannot
# ([lesson 08](08_ipa_fape.ipynb)).

# %%
mirrored = x * [1, 1, -1]
in_mirror = to_local(frame(*(mirrored[:, a] for a in (N, CA, C))), mirrored[:, CB])[has]
assert (inside[:, 2] < -0.9).all() and (in_mirror[:, 2] > 0.9).all()
print(f"z of Cβ: {inside[:, 2].mean():.2f} Å, in the mirror: {in_mirror[:, 2].mean():+.2f} Å")

# %% [markdown]
# ## 5 · Building with angles: helix and strand
#
# With frames, building a chain is easy. Put a frame on the last three atoms a, b, c. In it, the next atom
# d has fixed coordinates: distance from c and bond angle are known, and the torsion says how far to turn about x.


# %%
def place(a, b, c, length, angle, torsion):
    """The atom at `length` (Å) from c, with the angle b-c-d and the torsion a-b-c-d (degrees)."""
    bend, turn = np.radians(180 - angle), np.radians(torsion)
    local = [np.cos(bend) + 0 * turn, np.sin(bend) * np.cos(turn), np.sin(bend) * np.sin(turn)]
    R, _ = frame(a, b, c)  # x along the bond, a in the xy plane
    return to_global((R, c), length * np.stack(local, axis=-1))


def build(phi, psi, omega=None):
    """N, CA, C [n, 3, 3] of a chain with these torsions; bonds and angles as in the textbook."""
    omega = np.full(len(phi), 180.0) if omega is None else omega
    bend = np.radians(180 - 111.0)
    start = [[0, 0, 0], [1.458, 0, 0], [1.458 + 1.525 * np.cos(bend), 1.525 * np.sin(bend), 0]]
    chain = list(np.array(start))
    for i in range(1, len(phi)):
        chain.append(place(*chain[-3:], 1.329, 117.2, psi[i - 1]))  # N
        chain.append(place(*chain[-3:], 1.458, 121.7, omega[i]))  # CA
        chain.append(place(*chain[-3:], 1.525, 111.0, phi[i]))  # C
    return np.reshape(chain, (-1, 3, 3))


# %% [markdown]
# First give all residues the same two angles. There are only two pairs that proteins use for long stretches: one makes
# the [*α-helix*](../docs/glossary.md#helix), the other one the [*strand*](../docs/glossary.md#strand).
# **Predict first:** which one is longer, for twenty residues, and by what factor?

# %%
n = 20
helix = build(np.full(n, -57.8), np.full(n, -47.0))
strand = build(np.full(n, -120.0), np.full(n, 130.0))
rng = np.random.default_rng(1)
phi, psi = rng.uniform(-180, 180, (2, n))
theirs = ideal_chain("A" * n, phi, psi)[0][:, [N, CA, C]]  # the package's builder
assert np.allclose(build(phi, psi), theirs, atol=1e-3)
for name, chain in (("helix", helix), ("strand", strand)):
    print(f"{name:7s} {norm(chain[-1, 1] - chain[0, 1]) / (n - 1):.2f} Å per residue")


# %%
def as_chain(backbone, name, sequence=None):
    """A backbone [n, 3, 3] as something that can be drawn; O lies opposite the next N."""
    n, (n_, ca_, c_) = len(backbone), backbone.swapaxes(0, 1)
    psi = np.append(torsion(n_[:-1], ca_[:-1], c_[:-1], n_[1:]), 0)
    o_ = place(n_, ca_, c_, 1.231, 120.1, psi + 180)
    positions, mask = np.zeros((n, 37, 3), np.float32), np.zeros((n, 37), np.float32)
    positions[:, BACKBONE], mask[:, BACKBONE] = np.stack([n_, ca_, c_, o_], axis=1), 1
    zeros, index = np.zeros(n, np.float32), np.arange(n, dtype=np.int32)
    return Chain(sequence or "A" * n, positions, mask, index, zeros, name=name)


def lay(backbone):
    """The same chain, its longest direction along x."""
    centred = backbone - backbone.mean(axis=(0, 1))
    x_, y_, _ = np.linalg.svd(centred.reshape(-1, 3))[2]
    return centred @ np.stack([x_, y_, np.cross(x_, y_)], axis=1)


pair = [as_chain(lay(helix), "helix"), as_chain(lay(strand) + [0, 9, 0], "strand")]
view(pair, color="chain", height=220, caption="Twenty residues each")

# %% [markdown]
# The strand is stretched out, zigzag, 3.4 Å per residue. The helix winds up like a spring with 1.5 Å. What holds a helix
# together? The oxygen of residue $i$ comes close to the nitrogen of residue $i + 4$, and a hydrogen sits
# between them: a [*hydrogen bond*](../docs/glossary.md#hydrogen-bond), O to N typically 2.7 to 3.3 Å.

# %%
oxygen = place(helix[:, 0], helix[:, 1], helix[:, 2], 1.231, 120.1, np.full(n, -47.0 + 180))
for ahead in (3, 4, 5):
    print(
        f"O of residue 5 to N of residue {5 + ahead}: {norm(oxygen[4] - helix[4 + ahead, 0]):.1f} Å"
    )

# %% [markdown]
# **Predict first:** what do you get if you turn the signs of *both* angles of the helix?

# %%
other = build(np.full(n, 57.8), np.full(n, 47.0))
assert np.allclose(other, helix * [1, 1, -1])
print("exactly the mirror image: a helix that winds to the left")

# %% [markdown]
# (It hardly occurs in nature: with L amino acids, the Cβ atoms would collide with the backbone. The next section shows it.)
#
# All shapes in between can be had, too: here both angles go from the strand to the helix. Move the slider.

# %%
share = np.linspace(0, 1, 13)
moments = [build(np.full(n, -120 + 62.2 * s), np.full(n, 130 - 177 * s)) for s in share]
labels = [f"φ {-120 + 62.2 * s:.0f}°, ψ {130 - 177 * s:.0f}°" for s in share]
trajectory(
    as_chain(helix, "coiling"),
    np.array(moments)[:, :, 1],
    labels=labels,
    height=240,
    caption="A strand coils up when two angles change",
)

# %% [markdown]
# ## 6 · Where may φ and ψ go?
#
# Each residue is a point in a plane with the axes φ and ψ, called the
# [*Ramachandran plot*](../docs/glossary.md#ramachandran-plot). **Predict first:** do the residues of our seven proteins fill the plane evenly?

# %%
pairs = np.concatenate([np.stack(plots.phi_psi(chain), axis=1) for chain in CHAINS])
letters = np.array(list("".join(chain.sequence for chain in CHAINS)))
known = np.isfinite(pairs).all(axis=1)
pairs, glycine = pairs[known], letters[known] == "G"
plots.ramachandran(*pairs.T, glycine)

# %% [markdown]
# Not at all. Most are in two clouds, helix and strand, and the right half is almost empty but for glycine, the
# amino acid without a side chain. Why? In 1963 Ramachandran and his colleagues answered with nothing but
# billiard balls: two atoms must not come nearer than the sum of their radii. We repeat it. Take one residue with the two peptide planes next to it:
#
# Cα, C, O (residue before) - N, Cα, Cβ, C, O - N, Cα (residue after)
#
# and build it for all 72 × 72 pairs of angles in steps of 5°.

# %%
grid = np.arange(-177.5, 180, 5)
P, S = np.meshgrid(grid, grid, indexing="ij")  # φ, ψ [72, 72]
zero = np.zeros((*P.shape, 3))
ca0, c0 = zero, zero + [1.525, 0, 0]
n1 = c0 + 1.329 * np.array([np.cos(np.radians(62.8)), np.sin(np.radians(62.8)), 0])
ca1 = place(ca0, c0, n1, 1.458, 121.7, 180.0)
c1 = place(c0, n1, ca1, 1.525, 111.0, P)
n2 = place(n1, ca1, c1, 1.329, 117.2, S)
DIPEPTIDE = {
    "C ca0": ca0,
    "C c0": c0,
    "O o0": place(ca1, n1, c0, 1.231, 122.7, 0.0),
    "N n1": n1,
    "C ca1": ca1,
    "C cb1": place(c0, n1, ca1, 1.530, 110.5, P - 122.5),
    "C c1": c1,
    "O o1": place(n1, ca1, c1, 1.231, 120.1, S + 180),
    "N n2": n2,
    "C ca2": place(ca1, c1, n2, 1.458, 121.7, 180.0),
}

# %% [markdown]
# How near is too near? The outer limits of Ramachandran and his colleagues, in Å, by the elements of the two atoms. We look only at pairs
# whose distance changes when φ or ψ turns; the others are bonded or held by the planes.

# %%
LIMIT = {"CC": 3.0, "CN": 2.8, "CO": 2.7, "NN": 2.6, "NO": 2.6, "OO": 2.6}


def allowed(atoms, softer=0.0):
    """Which of the 72 × 72 pairs of angles leave all atoms room; `softer`: Å of overlap allowed."""
    free = np.ones(P.shape, dtype=bool)
    names = list(atoms)
    for k, one in enumerate(names):
        for other in names[k + 1 :]:
            distance = norm(atoms[one] - atoms[other])
            if np.ptp(distance) > 1e-6:
                free &= distance >= LIMIT["".join(sorted(one[0] + other[0]))] - softer
    return free


# %%
def held(free, some):
    """Share of the residues `some` that fall into the free cells."""
    cell = ((pairs[some] + 180) // 5).astype(int) % 72
    return free[cell[:, 0], cell[:, 1]].mean()


bare = {name: at for name, at in DIPEPTIDE.items() if name != "C cb1"}  # glycine: no Cβ
for name, atoms_, some in (("with Cβ", DIPEPTIDE, ~glycine), ("without", bare, glycine)):
    for softer in (0.0, 0.1):
        free = allowed(atoms_, softer)
        print(
            f"{name}, {softer} Å softer: {free.mean():4.0%} of the plane holds {held(free, some):.0%}"
        )

# %%
figure, axes = plt.subplots(1, 2, figsize=(8, 4), sharey=True)
for ax, atoms_, some, title in (
    (axes[0], DIPEPTIDE, ~glycine, "with Cβ"),
    (axes[1], bare, glycine, "glycine: without Cβ"),
):
    shade = allowed(atoms_).astype(int) + allowed(atoms_, 0.1)
    colors = ["white", style.tint(style.SKY, 0.3), style.tint(style.SKY, 0.75)]
    ax.contourf(grid, grid, shade.T, levels=[-0.5, 0.5, 1.5, 2.5], colors=colors)
    ax.scatter(*pairs[some].T, s=9, color=style.INK)
    ax.set(title=title, xlabel="φ", xlim=(-180, 180), ylim=(-180, 180), aspect="equal")
    ax.set_xticks(range(-180, 181, 90))
axes[0].set(ylabel="ψ")
axes[0].set_yticks(range(-180, 181, 90))
plt.show()
assert held(allowed(DIPEPTIDE), ~glycine) > 3 * allowed(DIPEPTIDE).mean()

# %% [markdown]
# (Dark: allowed. Light: allowed if atoms may overlap by 0.1 Å. Points: real residues.) Billiard balls alone forbid three quarters of the plane, and four fifths of the real
# residues are in the quarter that is left. With balls that give way by a tenth of an Å, nearly all are. The left half of
# the plane is Cβ's doing: without it much of the right side is open. Nobody has to teach AlphaFold2 this map: it
# learns it from examples, as it learns everything else.
#
# ## 7 · Moving frames
#
# A frame $T = (R, t)$ is also a *motion*: it carries the coordinate system of space onto the residue. Motions can be done one after the other, which
# is called [*composition*](../docs/glossary.md#composition-of-frames): first $T_2$, then $T_1$:
#
# $$ T_1 \circ T_2 = (R_1 R_2,\; R_1 t_2 + t_1), \qquad T^{-1} = (R^\top,\; -R^\top t) . $$
#
# The order matters. With $T$ on the left, what follows happens in the frame's *own* coordinates: "one step along *my* x axis".


# %%
def compose(T1, T2):
    """First T2, then T1."""
    return T1[0] @ T2[0], to_global(T1, T2[1])


def inverse(T):
    back = np.swapaxes(T[0], -1, -2)
    return back, -np.einsum("...xy,...y->...x", back, T[1])


def about_z(degrees):
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])


# %%
here = (about_z(50), np.array([1.5, 0.6, 0]))
step = (np.eye(3), np.array([1.6, 0, 0]))  # 1.6 along x
figure, axes = plt.subplots(1, 2, figsize=(8.5, 2.9), sharey=True)
for ax, after, title in (
    (axes[0], compose(here, step), "here ∘ step: along its own x axis"),
    (axes[1], compose(step, here), "step ∘ here: along the x axis of space"),
):
    for T_, name in (((np.eye(3), np.zeros(3)), "space"), (here, "here"), (after, "after")):
        R, t = T_
        for axis, color in ((0, style.RED), (1, style.GREEN)):
            style.arrow(ax, t[:2], t[:2] + 0.7 * R[:2, axis], color=color, width=2)
        ax.text(t[0] + 0.12, t[1] - 0.28, name, fontsize=10)
    ax.plot(*np.stack([here[1], after[1]])[:, :2].T, ":", color=style.GREY)
    ax.set(title=title, xlim=(-0.4, 4.2), ylim=(-0.5, 2.8), aspect="equal")
plt.show()

# %% [markdown]
# $T_i^{-1} \circ T_{i+1}$ is the next residue *as residue i sees it*. It does not depend on where the protein lies. **Predict first:** in an ideal helix,
# how do these relative frames differ from residue to residue?

# %%
H = frame(*helix.swapaxes(0, 1))
relative = compose(inverse((H[0][:-1], H[1][:-1])), (H[0][1:], H[1][1:]))
assert np.allclose(relative[0], relative[0][0]) and np.allclose(relative[1], relative[1][0])
R, t = relative[0][0], relative[1][0]
turn = np.degrees(np.arccos((np.trace(R) - 1) / 2))  # the angle of a rotation
axis = unit(np.array([R[2, 1] - R[1, 2], R[0, 2] - R[2, 0], R[1, 0] - R[0, 1]]))
print(f"all the same: turn by {turn:.0f}° and move {t @ axis:.2f} Å along the axis of the turn")
print(f"that makes {360 / turn:.2f} residues for a whole turn")

# %% [markdown]
# One relative frame is the whole helix: 3.6 residues per turn. Now a promise that the structure module lives on. It corrects each frame by a small motion
# $U$, composed *from the right*: $T \leftarrow T \circ U$. If the whole protein is moved by some $G$, then
# $(G \circ T) \circ U = G \circ (T \circ U)$: the result moves along, and the correction need not know where the protein lies. Composed from the left
# this is not so:

# %%
G = (about_z(70), np.array([9.0, 3, -5]))
U = (about_z(20), np.array([0.5, 0, 0]))
right = norm(compose(compose(G, T), U)[1] - compose(G, compose(T, U))[1]).max()
left = norm(compose(U, compose(G, T))[1] - compose(G, compose(U, T))[1]).max()
assert right < 1e-6 < 1 < left
print(f"from the right: {right:.1f} Å difference; from the left: {left:.1f} Å")
theirs = Rigid(*map(torch.tensor, G)).compose(Rigid(*map(torch.tensor, T)))
assert np.allclose(theirs.t, compose(G, T)[1]) and np.allclose(theirs.R, compose(G, T)[0])

# %% [markdown]
# ### Three numbers for a rotation
#
# $t$ is three numbers, and a network can put out any three. $R$ has nine, but must be a rotation: unit columns, perpendicular. Nine numbers from a
# network are none. AlphaFold2 uses a [*quaternion*](../docs/glossary.md#quaternion), four numbers $(w, x, y, z)$ of length 1. The rotation by the angle θ about the unit vector $k$ is
#
# $$ (w, x, y, z) = \bigl(\cos\tfrac{θ}{2},\; k \sin\tfrac{θ}{2}\bigr) . $$
#
# The network puts out only three, $(b, c, d)$, and $(1, b, c, d)$ is divided by its length. Zeros mean: do not turn. Whatever comes out is a rotation.


# %%
def rotation(bcd):
    """Rotation matrices [*, 3, 3] of any three numbers [*, 3]: Algorithm 23."""
    q = np.concatenate([np.ones((*bcd.shape[:-1], 1)), bcd], axis=-1)
    w, x, y, z = np.moveaxis(q / np.sqrt((q**2).sum(axis=-1, keepdims=True)), -1, 0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.moveaxis(np.array(rows), (0, 1), (-2, -1))


bcd = rng.normal(size=(5, 3))
package = Rigid.from_update(torch.as_tensor(np.concatenate([bcd, np.zeros((5, 3))], axis=1)))
assert np.allclose(rotation(bcd), package.R)
assert np.allclose(rotation(np.array([0, 0, np.tan(np.radians(10))])), about_z(20))
print("agrees with Rigid.from_update; (0, 0, tan 10°) turns by 20° about z")

# %% [markdown]
# **Predict first:** a network is never exact. Disturb the nine numbers of a matrix, or the three of a quaternion, by 0.1 each. What happens to the
# bond N-Cα (1.46 Å) of a residue that is moved by it?

# %%
points = to_local(T, x[:, N])[:1]  # N in its frame; CA is at the origin
noise = rng.normal(size=(1000, 9)) * 0.1
nine = np.eye(3) + noise.reshape(-1, 3, 3)
three = rotation(noise[:, :3])
for name, R in (("nine numbers", nine), ("quaternion", three)):
    bond = norm(np.einsum("kxy,ny->kx", R, points))
    print(f"{name:13s} bond {bond.mean():.2f} Å, spread {bond.std():.2f} Å")
    assert bond.std() > 0.1 or name == "quaternion" and bond.std() < 1e-9

# %% [markdown]
# The matrix breaks the residue, the quaternion only turns it. (One rotation is out of reach: half a turn, for which $w = 0$. But the structure module
# corrects each frame eight times, and eight small turns reach everything.)
#
# ## 8 · Side chains: χ angles and rigid groups
#
# A side chain turns about its bonds, too. Its torsions are χ1, χ2, ... (chi), counted outwards. Glycine and alanine have none, lysine and
# arginine have four. (Arginine has a fifth bond of this kind, but what lies behind it is flat, like a peptide plane, and AlphaFold2 does not turn it.)
#
# **Predict first:** do χ angles go everywhere, or do they prefer some values?

# %%
chi = np.concatenate([all_torsions(chain)[:, 3:] for chain in CHAINS])
counts = [len(residues.CHI_ATOM_NAMES[name]) for name in residues.RESIDUE_NAMES[:20]]
print("number of χ angles:", dict(sorted(zip(residues.RESTYPES, counts), key=lambda p: p[1])))
chi1 = chi[(letters != "P") & np.isfinite(chi[:, 0]), 0]
away = np.min([abs((chi1 - home + 180) % 360 - 180) for home in (-60, 60, 180)], axis=0)
print(
    f"{np.mean(away < 30):.0%} of χ1 are within 30° of −60°, 60° or 180°; by chance it would be 50%"
)
figure, ax = plt.subplots(figsize=(7, 2.6))
ax.hist(chi1 % 360, bins=np.arange(0, 361, 10), color=style.BLUE)
ax.set(xlabel="χ1 (degrees, 0 to 360)", ylabel="residues", xlim=(0, 360))
ax.set_xticks(range(0, 361, 60))
plt.show()

# %% [markdown]
# Three peaks, where the atoms at both ends of the bond stand in each other's gaps. (Proline is left out: its side chain is closed to a ring.)
#
# What turns together about one bond is a [*rigid group*](../docs/glossary.md#rigid-group). A residue is eight of them, each with a frame of its own: the backbone, two that carry no
# heavy atom of their own (ω, φ), ψ (which carries O), and χ1 to χ4. Here are the groups of arginine 42 of ubiquitin: backbone black, ψ red, χ1 blue, χ2
# orange, χ3 green, χ4 pink. (A bond has the colour of its outer atom.)

# %%
PALETTE = "INK GREY GREY RED BLUE ORANGE GREEN PURPLE".split()  # one for each of the eight groups
BONDS = "N-CA CA-C C-O CA-CB CB-CG CG-CD CD-NE NE-CZ CZ-NH1 CZ-NH2".split()
arginine = replace(part(UBIQUITIN, 42, 42), name="Cα")
group_of = dict(zip(residues.ATOM14_NAMES[1], residues.ATOM14_GROUP[1]))  # 1: arginine
rods = []
for bond in BONDS:
    inner, outer = (arginine.positions[0, ATOM_INDEX[name]] for name in bond.split("-"))
    group = group_of[bond.split("-")[1]]
    rods.append((inner, outer, getattr(style, PALETTE[group])))
    print(f"{bond:7s} {residues.RIGID_GROUPS[group]}")
words = "Arginine; one colour for each rigid group"
view(arginine, color="chain", rods=rods, height=240, width=420, caption=words)

# %% [markdown]
# Each group hangs on the one before it: its frame is the parent's, composed with a fixed motion (where the bond sits in the parent: bond length and angle,
# from the textbook) and a rotation about x by the torsion. The atoms are fixed points in their group's frame. That is all of *Algorithm 24*:


# %%
def about_x(degrees):
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[1, 0, 0], [0, c, -s], [0, s, c]]), np.zeros(3)


def side_chain(T, kind, chis):
    """Atoms {name: position} of a residue from its frame and χ angles (degrees)."""
    fixed = residues.RIGID_GROUP_FRAMES[kind].astype(float)  # [8, 4, 4], in the parent
    frames, parent = {0: T}, T
    for group, degrees in enumerate(chis, start=4):
        parent = compose(parent, (fixed[group, :3, :3], fixed[group, :3, 3]))
        parent = compose(parent, about_x(degrees))
        frames[group] = parent
    where = zip(
        residues.ATOM14_NAMES[kind], residues.ATOM14_GROUP[kind], residues.ATOM14_POSITIONS[kind]
    )
    return {name: to_global(frames[g], x) for name, g, x in where if name and g in frames}


# %%
aatype, positions, mask = tensors(UBIQUITIN)
angles, _, _ = atoms.atom37_to_torsions(aatype, positions, mask)
frames8, _, _ = atoms.atom37_to_frames(aatype, positions, mask)
package = atoms.torsions_to_atom14(frames8[..., 0], angles, aatype)[0].numpy()  # [76, 14, 3]
ours = side_chain((T[0][41], T[1][41]), 1, all_torsions(UBIQUITIN)[41, 3:])
for slot, name in enumerate(residues.ATOM14_NAMES[1]):
    assert name in ("", "O") or np.allclose(ours[name], package[41, slot], atol=1e-3)
print("arginine 42 from its frame and four angles: equal to the package's, every atom")

# %% [markdown]
# ### Exercise 3 · Turn a bond (needs a thought)
#
# Write `my_turn(points, start, end, angle)`: points [n, 3], turned by `angle` degrees about the line from `start` to `end`; clockwise when you look from
# `start` to `end`. (You have all the pieces: a frame with its x axis on the bond, and a rotation about x. Or find Rodrigues' formula.)


# %% nbgrader={"grade": false, "grade_id": "turn", "locked": false, "schema_version": 3, "solution": true, "task": false}
def my_turn(points, start, end, angle):
    """Points [n, 3] after turning them about a bond."""
    ### BEGIN SOLUTION
    points, start, end = (np.asarray(p, dtype=float) for p in (points, start, end))
    anywhere = start + np.eye(3)[np.argmin(abs(end - start))]  # a point not on the bond
    bond, _ = frame(anywhere, start, end)  # its x axis is the bond
    turned = compose(compose((bond, start), about_x(angle)), inverse((bond, start)))
    return to_global(turned, points)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check-turn", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
minifold.check("turn", my_turn)

# %% [markdown]
# ### Angles that a network can learn
#
# Who predicts the torsions? A small network behind the structure module, a [*residual network*](../docs/glossary.md#residual-connection), from what is known of each
# residue: `TorsionResNet`. It does not put out an angle, but for each of the seven torsions *two* numbers, divided by their length: the cosine and sine of the angle.
# **Predict first:** what is wrong with angles? What is the mean of 179° and −179°?

# %%
two = np.radians([179, -179])
print(f"mean of the angles: {np.degrees(two.mean()):.0f}°")
print(
    f"mean of the arrows: {abs(np.degrees(np.arctan2(np.sin(two).mean(), np.cos(two).mean()))):.0f}°"
)

# %% [markdown]
# Two angles that are 2° apart have the mean 0°, on the other side of the circle. Sines and cosines do not jump. Here is the network, written out, beside the package's:

# %%
from minifold.config import PRESETS
from minifold.model.structure import TorsionResNet

torch.manual_seed(0)
config = PRESETS["alphafold2"]
network = TorsionResNet(config)
for weight in network.parameters():
    torch.nn.init.normal_(weight, std=0.05)  # a fresh one would start with zeros in places
s, s_initial = torch.randn(2, 1, 76, config.c_s)
with torch.no_grad():
    a = network.project_s(s.relu()) + network.project_initial(s_initial.relu())
    for block in network.blocks:  # each adds to what is there
        a = a + block.linear_2(block.linear_1(a.relu()).relu())
    raw = network.output(a.relu()).reshape(1, 76, 7, 2)
    ours = raw / raw.norm(dim=-1, keepdim=True)
    assert torch.allclose(ours, network(s, s_initial)[1], atol=1e-6)
size = sum(p.numel() for p in network.parameters())
print(f"{tuple(ours.shape)}, all of length 1; {len(network.blocks)} blocks, {size:,} parameters")

# %% [markdown]
# One more subtlety. Turn the ring of phenylalanine by 180° about χ2: the *names* of the atoms CD1 and CD2 (and CE1, CE2) change places, the molecule is the same. For the χ angles
# of Phe, Tyr, Asp and Glu for which this holds, 30° and −150° are both right, and the losses accept both.

# %%
kind = residues.RESTYPES.index("F")
one, other = (side_chain((np.eye(3), np.zeros(3)), kind, (-60, angle)) for angle in (30, -150))
pairs_ = [("CD1", "CD2"), ("CE1", "CE2"), ("CZ", "CZ")]
gap = max(norm(one[a] - other[b]) for a, b in pairs_)
print(
    f"same name: CD1 moves {norm(one['CD1'] - other['CD1']):.1f} Å; names exchanged: at most {gap:.2f} Å"
)

# %% [markdown]
# ## 9 · Ubiquitin, taken apart and rebuilt
#
# Now all at once. Take ubiquitin's coordinates, keep only the 76 frames and the angles ψ and χ, throw the coordinates away, and rebuild. (φ and ω need not be kept:
# they follow from the frames. ψ could follow, too, but O hangs on it.) **Predict first:** how far off are the atoms?

# %%
n_chi = int(np.isfinite(all_torsions(UBIQUITIN)[:, 3:]).sum())
print(
    f"{3 * n_atoms} coordinates → {76 * 6} numbers for frames + 76 ψ + {n_chi} χ = {76 * 7 + n_chi}"
)
true = atoms.atom37_to_atom14(positions, aatype)[0].numpy()
there = atoms.atom37_to_atom14(mask[..., None], aatype)[0, ..., 0].numpy() > 0
error = norm(package - true)
group = residues.ATOM14_GROUP[UBIQUITIN.aatype]
print(f"RMSD of all {there.sum()} atoms: {np.sqrt((error[there] ** 2).mean()):.2f} Å")
by_group = {
    name: np.sqrt((error[there & (group == g)] ** 2).mean())
    for g, name in enumerate(residues.RIGID_GROUPS)
    if (there & (group == g)).any()
}
figure, ax = plt.subplots(figsize=(7, 2.6))
bars = ax.bar(list(by_group), list(by_group.values()), color=style.BLUE, width=0.6)
ax.bar_label(bars, fmt="%.2f")
ax.set(ylabel="RMSD (Å)", ylim=(0, 0.8), title="error of the rebuilt atoms, by rigid group")
plt.show()

# %%
rebuilt = atoms.atom14_to_atom37(torch.as_tensor(package)[None], aatype)[0].numpy()
seen = UBIQUITIN.mask * (norm(rebuilt) > 0)
rebuilt = replace(
    UBIQUITIN, positions=(rebuilt * seen[..., None]).astype(np.float32), mask=seen, name="rebuilt"
)


def bare(chain):
    """N, Cα, C and O only."""
    mask = chain.mask * np.isin(np.arange(37), BACKBONE)
    return replace(chain, mask=mask.astype(np.float32))


view(
    [rebuilt, UBIQUITIN],
    color="position",
    superpose=True,
    caption="Rebuilt from frames and angles; the original in grey",
)

# %% [markdown]
# Less than 0.3 Å, on average: you would not see it by eye, and an experiment at ordinary resolution is not more certain. (RMSD: root mean square deviation, the usual measure of how far two structures are
# apart.) 689 numbers do the work of 1806. The error grows outwards: a bond angle that is a degree off the textbook moves all that hangs behind it.
#
# ### Why frames, and not just torsions?
#
# Section 3 said: two free angles per residue and the whole backbone is fixed. That would be far fewer numbers: no frames at all. So let us rebuild ubiquitin with
# *its own, exact* φ, ψ and ω, from one end to the other with our `build`. **Predict first:** how far off now?

# %%
own = all_torsions(UBIQUITIN)
psi_own = np.append(torsion(x[:-1, N], x[:-1, CA], x[:-1, C], x[1:, N]), 0)
from_angles = build(np.nan_to_num(own[:, 1]), psi_own, np.nan_to_num(own[:, 0]))


def rms(one, other):
    """RMSD after the best superposition, Å, of points [*, 3]."""
    a, b = (torch.as_tensor(p.reshape(1, -1, 3).copy()) for p in (one, other))
    return float(rmsd(a, b, torch.ones(1, a.shape[1])))


real = x[:, [N, CA, C]]
for n in (10, 20, 40, 76):
    print(f"first {n:2d} residues: {rms(from_angles[:n], real[:n]):.1f} Å")
assert rms(from_angles, real) > 4 > 20 * rms(package[:, :3], real)

# %%
view(
    [as_chain(from_angles, "from torsions", UBIQUITIN.sequence), bare(UBIQUITIN)],
    color="position",
    superpose=True,
    caption="Rebuilt from exact torsions alone; the original in grey",
)

# %% [markdown]
# More than 4 Å, and nothing was wrong but the bond angles, by 3°. It is the lever that does it: a small turn at residue 20 swings *everything* behind it, like the
# tip of a fishing rod. With frames, each residue stands for itself.
#
# Measure it. Disturb (a) the exact torsions φ and ψ by 5° each, (b) the frames: each turned by 5° about each of its axes and moved by 0.1 Å.
# **Predict first:** how does the error grow with the length of the chain in (a), how in (b)?


# %%
def shake_torsions(rng):
    """Ubiquitin's backbone from torsions that are off by 5°."""
    off = 5 * rng.normal(size=(2, 76))
    return build(np.nan_to_num(own[:, 1]) + off[0], psi_own + off[1], np.nan_to_num(own[:, 0]))


def shake_frames(rng):
    """Ubiquitin's backbone from frames that are turned by 5° and moved by 0.1 Å."""
    turn = rotation(np.tan(np.radians(5 * rng.normal(size=(76, 3))) / 2))
    R, t = compose(T, (turn, 0.1 * rng.normal(size=(76, 3))))
    triangles = to_local((T[0][:, None], T[1][:, None]), real)  # [76, 3, 3]
    return to_global((R[:, None], t[:, None]), triangles)


# %%
lengths, seeds = (5, 10, 20, 40, 76), range(10)
lever, gas = np.zeros((2, len(lengths), len(seeds)))
torn = []
for seed in seeds:
    a, b = (f(np.random.default_rng(seed)) for f in (shake_torsions, shake_frames))
    lever[:, seed] = [rms(a[:n], from_angles[:n]) for n in lengths]
    gas[:, seed] = [rms(b[:n], real[:n]) for n in lengths]
    torn.append(abs(norm(b[1:, 0] - b[:-1, 2]) - norm(real[1:, 0] - real[:-1, 2])).mean())
for n, a, b in zip(lengths, lever, gas):
    words = f"torsions {a.mean():.1f} ± {a.std():.1f} Å, frames {b.mean():.1f} ± {b.std():.1f} Å"
    print(f"{n:2d} residues: {words}")
print(f"but the peptide bonds between the frames are off by {np.mean(torn):.2f} Å")
assert lever[-1].mean() > 5 * lever[0].mean() and abs(gas[-1].mean() - gas[0].mean()) < 0.1

# %%
figure, ax = plt.subplots(figsize=(7, 3.3))
look = {"capsize": 3, "marker": "o"}
for values, name in ((gas, "frames ± 5° and ± 0.1 Å"), (lever, "torsions ± 5°")):
    ax.errorbar(lengths, values.mean(axis=1), values.std(axis=1), label=name, **look)
ax.set(xlabel="residues", ylabel="RMSD (Å)", xlim=(0, 80), ylim=(0, None))
ax.legend()
plt.show()

# %% [markdown]
# (Bars: the spread over ten seeds.) The error of torsions grows with the length of the chain, that of frames does not. This is why AlphaFold2 treats a protein as a *gas of residues*: 76 triangles that float freely
# in space and are moved one by one, as if nothing tied them together.
#
# The price is the last line: neighbours do not fit exactly any more. AlphaFold2 pays it in three ways: the network learns from proteins whose bonds are right; a loss punishes
# violations ([lesson 10](10_losses_and_training.ipynb)); and at the very end a force field relaxes what is left ([lesson 14](14_real_proteins.ipynb)).
#
# ### Exercise 4 · A hairpin (open)
#
# Twelve residues, `AAAAAGGAAAAA`. Find angles such that two strands lie side by side, joined by a tight turn of two glycines: a *β-hairpin*. Write `my_hairpin()` that returns two
# lists of 12 angles in degrees, φ and ψ. The mean Cα distance of the five pairs 1-12, 2-11, 3-10, 4-9, 5-8 has to be at most 6 Å, strands stay stretched (a Cα at least 6 Å from the next but one),
# and no two atoms of residues that are not neighbours are nearer than 2.5 Å. In ubiquitin's own hairpin it looks like this:

# %%
ca = x[:, CA]
print("Cα distances:", *(f"{i}-{18 - i}: {norm(ca[i - 1] - ca[17 - i]):.1f}" for i in range(2, 7)))
print("φ, ψ of the turn:", *(f"({own[i - 1, 1]:.0f}, {psi_own[i - 1]:.0f})" for i in range(7, 12)))

# %% [markdown]
# (A first guess: strands at −120 and 130, the glycines at 55, 40 and 80, 0: not good enough. What would a computer do that has no idea, but patience? And how close can you get?)


# %% nbgrader={"grade": false, "grade_id": "hairpin", "locked": false, "schema_version": 3, "solution": true, "task": false}
def my_hairpin():
    """φ [12] and ψ [12] in degrees."""
    ### BEGIN SOLUTION
    from minifold.checks.lesson_07 import hairpin

    def unfold(q):  # four angles of the turn, two of the strands
        return np.array(
            [[q[4]] * 5 + [q[0], q[2]] + [q[4]] * 5, [q[5]] * 5 + [q[1], q[3]] + [q[5]] * 5]
        )

    def cost(q):
        pairs, nearest, step = hairpin(*unfold(q))
        return pairs.mean() + 5 * max(0, 2.6 - nearest) + 5 * max(0, 6.1 - step)

    rng, best = np.random.default_rng(0), np.array([55, 40, 80, 0, -120, 130.0])
    for _ in range(300):  # a small random step; keep it if it helps
        tried = best + rng.normal(0, 10, 6)
        best = min(best, tried, key=cost)
    return unfold(best)[0].tolist(), unfold(best)[1].tolist()
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check-hairpin", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
minifold.check("hairpin", my_hairpin)

# %% [markdown]
# ## Quiz
#
# <details><summary>1. Which three torsions of the backbone can a network be wrong about, and which one hardly?</summary>
#
# φ and ψ. ω is 180° nearly always; "always 180°" would be a good prediction.
# </details>
#
# <details><summary>2. You get a structure in which Cβ is at z = +1.2 Å in the residues' frames. What has happened?</summary>
#
# It is a mirror image: these would be D amino acids (section 4).
# </details>
#
# <details><summary>3. A residue's frame is known. Which atoms are known without any angle?</summary>
#
# N, Cα, C and Cβ: the backbone group. O needs ψ, all others need χ angles.
# </details>
#
# <details><summary>4. The network puts out zeros for all six numbers of the update. What happens to the frame?</summary>
#
# Nothing: $(1, 0, 0, 0)$ is the rotation by 0°, and the shift is 0. AlphaFold2 starts training that way.
# </details>
#
# <details><summary>5. Why is the update composed from the right?</summary>
#
# Then it is read in the residue's own coordinates, and the result does not depend on where the protein lies (section 7).
# </details>
#
# <details><summary>6. Somebody predicts all φ and ψ of a protein of 300 residues to 5°. Is the structure right?</summary>
#
# Every piece is, the whole is not: in section 9 the error was about 5 Å after 76 residues, and it grows with the length.
# </details>
#
# ## In the paper
#
# - Frames and the "residue gas": Jumper et al., *Nature* 596, 583 (2021), Figure 3e and "End-to-end structure prediction"; supplementary information, section 1.8.
# - Frames from three points: Algorithm 21. Update of the frames: Algorithm 23 (and Algorithm 20, line 10). Atoms from frames and angles: Algorithms 24 and 25.
# - The angles and their network: Algorithm 20, lines 11 to 14. Rigid groups: section 1.8.4 and Table 2. Ambiguous names: Table 3.
# - Ideal bonds and angles: Engh & Huber, *Acta Cryst.* A47, 392 (1991). Billiard balls: Ramachandran, Ramakrishnan & Sasisekharan, *J. Mol. Biol.* 7, 95 (1963).
#
# ## In real AlphaFold2
#
# | | here | AlphaFold2 |
# |---|---|---|
# | frame of a residue | Cα, x to C, N in the xy plane | the same |
# | number of updates of a frame | 1 | 8 in the structure module, 4 times over with recycling |
# | start | the true frames | all frames at the origin ("black hole", [lesson 08](08_ipa_fape.ipynb)) |
# | unit of length inside | 1 Å | 10 Å |
# | torsions | ω, φ, ψ, χ1 to χ4 | the same seven; ω and φ only for the loss |
# | network of the torsions | `TorsionResNet`, random | the same: 2 blocks of 128 channels, trained |
# | bonds and angles inside a group | textbook | textbook |
#
# ## What next
#
# Frames can be moved. But who says where to? [Lesson 08](08_ipa_fape.ipynb): an attention whose keys are points in space, and a loss that measures error from every frame.
#
# <details><summary>Review: every claim of this lesson, and where it is shown</summary>
#
# | claim | where |
# |---|---|
# | each residue has an amino group, Cα and an acid group: the backbone; side chains make the 20 amino acids | 1, drawing and 3D view |
# | three torsions, φ, ψ and ω | 2, equal to the package |
# | φ and ψ vary, ω is almost exactly 180° | 3, measured on 348 residues |
# | the peptide bond is almost a double bond | 3: its measured length between that of a single and a double bond; the cost of turning it by citation of textbooks |
# | side chains turn about χ1 and so on, "up to χ5" | 8: four are used; the fifth (arginine) is flat |
# | the backbone frame is a triangle with Cα at the obtuse corner | 3, angle N-Cα-C; 4 |
# | a frame is a shift and a 3 × 3 rotation | 4, equal to the package |
# | frames are updated, in their own coordinates | 7: equal to the package, invariant from the right, not from the left |
# | why a quaternion | 7: noise in nine numbers breaks bonds |
# | χ angles come from a separate residual network | 8, written out, equal to the package |
# | few pairs φ, ψ are possible, because atoms collide | 6, against the share of the plane |
# | frames and angles are enough for all atoms | 9, RMSD of ubiquitin by group |
# | why frames and not torsions | 9, ten seeds, error bars |
#
# </details>
