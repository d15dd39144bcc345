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
# # 03 · Alignments and co-evolution: what a protein's relatives tell
#
# > *A protein's sequence is a string of letters. Its shape is in space. How can a computer see from letters
# > alone which two of them touch, forty places apart?*
#
# **Time:** about 90 minutes of reading and trying, 45 more for the exercises.
#
# **You need:** [lesson 01](01_fuzzy_search_attention.ipynb) and [lesson 02](02_multi_head_attention.ipynb);
# probabilities, and what the inverse of a matrix is.
#
# **Afterwards you can**
# - say why structures are predicted from sequences, and what a *homologue* is;
# - search a database for relatives with HMMER, and say what happens inside;
# - read conservation and co-evolution out of an alignment, and know how far to trust them;
# - build the numbers that AlphaFold2 is fed.
#
# New words are *set like this* at first use and collected in the [glossary](../docs/glossary.md).

# %%
from collections import Counter
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from pyhmmer import easel, plan7

import minifold
from minifold.config import PRESETS
from minifold.data import features, msa
from minifold.data.profile import Profile
from minifold.data.residues import ATOM_INDEX, RESTYPES
from minifold.data.search import AMINO, jackhmmer, profile_of
from minifold.data.structures import read_structure
from minifold.data.toyworld import ToyWorld
from minifold.look import plots, style
from minifold.model.atoms import pseudo_beta
from minifold.training import baselines
from minifold.training.metrics import contact_precision

# %%
style.use()
torch.set_num_threads(1)  # small matrices: one thread is fastest
DATA = Path("../data")
GAP, MASK = 21, 22  # letters of an alignment are numbers: 0-19 amino acids, 20 unknown, then these

# %% [markdown]
# ## 1 · Cheap letters, dear shapes
#
# A protein is a chain of amino acids that folds into a shape. The shape decides what the protein does, and which
# drug fits into it. To read the
# *sequence* is cheap: directly with a mass spectrometer, or from the DNA. To measure the *structure*, the place
# of every atom, is not: mostly by shining X-rays on a crystal
# ([*X-ray crystallography*](../docs/glossary.md#x-ray-crystallography)) or by nuclear magnetic resonance (NMR, the
# effect behind the MRI scanner of a hospital). Rough figures of the year 2021, in which AlphaFold2 was published:

# %%
dollars = {
    "sequence, mass spectrometer": (80, 125),  # about 100
    "sequence, from DNA": (100, 1000),
    "structure": (100_000, 1_000_000),
}
known = {"sequences (UniProt)": 200e6, "structures (PDB)": 200e3}
figure, (left, right) = plt.subplots(2, 1, figsize=(7.5, 3.2), height_ratios=(3, 2))
for y, (low, high) in enumerate(dollars.values()):
    left.barh(y, high - low, left=low, color=style.CYCLE[y], height=0.6)
left.set_yticks(range(3), list(dollars))
left.set(xscale="log", xlim=(10, 3e6), xlabel="dollars for one protein")
right.barh(list(known), list(known.values()), color=(style.ORANGE, style.GREEN), height=0.6)
right.set(xscale="log", xlim=(1e4, 1e9), xlabel="number known")
plt.show()
ratio = known["sequences (UniProt)"] / known["structures (PDB)"]
print(f"{ratio:.0f} known sequences for each known structure: {1 / ratio:.1%} have one")

# %% [markdown]
# (UniProt is the public database of protein sequences, the PDB that of structures. The range for a structure:
# about 100,000 dollars for a protein of a bacterium, ten times as much for a difficult one of higher organisms, *Science*,
# news of July 2005.) Why is a structure so dear? Because many steps have to go well, one after the other. When
# whole projects were built to measure structures in series, somebody counted: a protein passed each of the steps
# cloning, expression, purification and crystallisation in about 45 % of the cases, and of those that gave X-ray data
# 80 % gave a structure (O'Toole and others, *Proteins* 56, 201, 2004).
#
# **Predict first:** of 1000 proteins that one starts with, how many end as a structure?

# %%
steps = (
    ("copy the\ngene", 0.45, "cannot be\ncopied"),
    ("let cells\nmake it", 0.45, "cells do not\nmake it"),
    ("make it\npure", 0.45, "does not\ndissolve"),
    ("grow a\ncrystal", 0.45, "no crystal\n(membranes!)"),
    ("X-rays,\nphases", 0.8, "phase\nproblem"),
)
figure, ax = style.canvas(9.4, 3.2)
ax.text(0.55, 2.5, "1000\nproteins", ha="center", va="center")
left = 1000
for x, (step, chance, trouble) in zip(np.linspace(2.1, 8.6, 5), steps):
    style.arrow(ax, (x - 0.98, 2.5), (x - 0.58, 2.5))
    style.box(ax, (x, 2.5), step, size=(1.14, 0.75), color=style.SKY)
    ax.text(x, 1.85, trouble, ha="center", va="center", fontsize=9, color=style.RED)
    left *= chance
    ax.bar(x, 1.2 * left / 450, 0.6, bottom=0.2, color=style.GREEN)
    ax.text(x + 0.36, 0.3, f"{left:.0f}", fontsize=11)
ax.text(0.55, 0.6, "are left\nafter it", ha="center", va="center")
plt.show()

# %% [markdown]
# Thirty-three, and the failures have to be paid, too. Proteins that sit in the cell's membranes are the hardest: they
# avoid water, so they hardly dissolve.
#
# The *phase problem* deserves a look. A crystal turns the picture of the molecule into its
# [*Fourier transform*](../docs/glossary.md#fourier-transform): a list of waves, each with a height (*amplitude*) and a
# place where it starts (*phase*). The detector measures the heights. The phases are lost. How bad is that? We take
# the shadows of two proteins, BPTI and ubiquitin, and mix: the heights of the one with the phases of the other.
#
# **Predict first:** whom will the mixture look like?


# %%
def shadow(name):
    """The atoms of a structure, looked at along z and blurred a little: [72, 72]."""
    chain = read_structure(DATA / f"structures/{name}.cif")
    atoms = chain.positions[chain.mask > 0]
    x, y, _ = (atoms - atoms.mean(axis=0)).T  # each [atoms], in Å
    grid = np.linspace(-24, 24, 72)[:, None]
    return np.exp(-((grid - y) ** 2) / 2) @ np.exp(-((grid - x) ** 2) / 2).T


bpti, ubiquitin = shadow("1bpi"), shadow("1ubq")
waves_b, waves_u = np.fft.fft2(bpti), np.fft.fft2(ubiquitin)
mixture = np.fft.ifft2(np.abs(waves_b) * np.exp(1j * np.angle(waves_u))).real
no_phases = np.fft.fftshift(np.fft.ifft2(np.abs(waves_b)).real)

# %%
pictures = {
    "BPTI": bpti,
    "ubiquitin": ubiquitin,
    "heights of BPTI,\nphases of ubiquitin": mixture,
    "heights of BPTI,\nall phases 0": no_phases,
}
figure, axes = plt.subplots(1, 4, figsize=(9, 2.6))
for ax, (title, image) in zip(axes, pictures.items()):
    ax.imshow(image, vmin=0, vmax=np.quantile(image, 0.995), interpolation="nearest")
    ax.set_title(title, fontsize=10)
    ax.axis("off")
plt.show()

both = (bpti > 1) & (ubiquitin > 1)  # where both proteins are: there the outline gives no hint
like_b, like_u = (np.corrcoef(mixture[both], p[both])[0, 1] for p in (bpti, ubiquitin))
print(f"inside, the mixture correlates with BPTI {like_b:.1f}, with ubiquitin {like_u:.1f}")
assert like_u > like_b + 0.3

# %% [markdown]
# The mixture shows ubiquitin, of which *nothing was measured*. The phases carry the shape, and the
# experiment throws them away. To get them back is something of an art. A well-known overview lists seven ways, from
# molecular replacement (start from the structure of a relative) to heavy atoms that are soaked into the crystal
# (Taylor, *Acta Cryst.* D66, 325, 2010).
#
# Even with phases, the result is a blurred map into which somebody has to build the atoms, and two experts may build
# different models into the same map. By a rule of thumb 10 to 20 % of a model is judgement, most of all where the map is
# poor. Some parts cannot be seen at all:

# %%
for path in sorted((DATA / "structures").glob("*.cif")):
    chain = read_structure(path)
    unseen = int((chain.mask.sum(axis=1) == 0).sum())
    if unseen:
        print(f"{path.stem}: {unseen} of {len(chain.sequence)} residues were never located")

# %% [markdown]
# So there are a thousand sequences for every structure, and a prediction from sequence would be worth a lot.
# Computing the physics of folding from scratch has not reached the precision of experiments. Statistics
# did better, because evolution has done experiments for us.
#
# ## 2 · Relatives
#
# Humans, horses and fish each have their own haemoglobin, inherited from a common ancestor. Proteins with a
# common ancestor are [*homologues*](../docs/glossary.md#homologue). In each species the gene has mutated in its own way. A
# mutation that breaks the protein dies out; most of those that stay hardly matter (evolution is mostly
# *neutral*). How far apart have they drifted? We compare proteins of the *globin* family by
# [*sequence identity*](../docs/glossary.md#sequence-identity), the share of places with the same letter:


# %%
def identity(a, b):
    """Share of equal letters where both rows have one."""
    both = (a < 20) & (b < 20)
    return (a == b)[both].mean()


globins = msa.read_alignment(DATA / "sample_msas/globins.a3m")
print(f"{globins.depth} globins, {len(globins.query)} columns")
pairs_of_globins = {
    "haemoglobin α of orang-utan and trout": ("HBA_PONPY", "HBA4_SALIR"),
    "haemoglobin β of wild ass and tadpole": ("HBB_EQUHE", "HBBL_RANCA"),
    "haemoglobin α and β, orang-utan and wild ass": ("HBA_PONPY", "HBB_EQUHE"),
    "myoglobin of horse, haemoglobin α of trout": ("MYG_HORSE", "HBA4_SALIR"),
}
for words, pair in pairs_of_globins.items():
    a, b = (globins.tokens[globins.names.index(name)] for name in pair)
    print(f"  {words:45s} {identity(a, b):.0%} identical")

# %% [markdown]
# Between myoglobin and haemoglobin three quarters of the letters have changed. Yet all of them fold into
# nearly the same shape. That was the surprise when the first two protein structures were compared (Perutz and others,
# *Nature* 185, 416, 1960), and it is the rule: **structure is more conservative than sequence** (Chothia and Lesk,
# *EMBO J.* 5, 823, 1986).
#
# We can see a trace of that in our own data. BPTI, the small protein from lesson 02, is held together by
# three disulfide bonds: six cysteines in fixed places. It belongs to the Kunitz family.

# %%
family = msa.read_alignment(DATA / "sample_msas/kunitz_1bpi.a3m")
query, others = family.tokens[0], family.tokens[1:]
CYS = RESTYPES.index("C")
bonds = [(5, 55), (14, 38), (30, 51)]  # residue numbers, counted from 1
places = np.array(bonds).ravel() - 1
ids = np.array([identity(query, row) for row in others])
kept = (others[:, places] == CYS).all(axis=1)
print(
    f"{len(others)} relatives of BPTI, half of them less than {np.median(ids):.0%} identical to it"
)
print(f"all six cysteines are kept by {kept.mean():.0%}")
kinds = [len(set(column[column < 20])) for column in others[:, 3:55].T]
print(f"yet a typical column has seen {np.median(kinds):.0f} different amino acids")

# %% [markdown]
# ## 3 · The alignment
#
# Write the relatives below each other such that places of common descent stand in one column. This table is a
# [*multiple sequence alignment*](../docs/glossary.md#multiple-sequence-alignment), **MSA** for short. Where
# a sequence has lost a residue it gets a gap, "-". The first row is the protein whose structure we want, the
# *query*. The drawing shows the two things that we are going to read from it.

# %%
rows = ["AKLVGSEP", "GKIVGTEA", "AELMGSKP", "SEIVGTKA", "AKVLGSEP"]
PAINT = {"K": style.BLUE, "E": style.RED, "G": style.GREEN}
figure, ax = style.canvas(8.5, 2.7)
for i, row in enumerate(rows):
    for j, letter in enumerate(row):
        color = PAINT.get(letter, style.GREY) if j in (1, 4, 6) else style.GREY
        style.box(ax, (0.6 + 0.5 * j, 2.45 - 0.4 * i), letter, size=(0.44, 0.34), color=color)
words = {"ha": "center", "weight": "bold", "fontsize": 10}
ax.text(2.6, 0.42, "conserved", color=style.GREEN, **words)
ax.text(2.35, 0.1, "↑ these two change together ↑", color=style.BLUE, **words)
turn = np.linspace(-0.5 * np.pi, 0.5 * np.pi, 4)
x = np.concatenate([[5.3, 6.1], 6.9 + 0.9 * np.cos(turn), [6.1, 5.3]])
y = np.concatenate([[0.9, 0.9], 1.45 + 0.55 * np.sin(turn), [2.0, 2.0]])
ax.plot(x, y, "-", color=style.GREY, linewidth=3, zorder=0)
for k, letter in enumerate(rows[0]):
    style.box(ax, (x[k], y[k]), letter, size=(0.4, 0.34), color=PAINT.get(letter, style.GREY))
ax.plot([x[1]] * 2, [y[1] + 0.2, y[6] - 0.2], ":", color=style.INK)
ax.text(6.25, 1.45, "they touch", va="center", fontsize=10)
plt.show()

# %% [markdown]
# - A column that never changes is [*conserved*](../docs/glossary.md#conservation): whatever is mutated there is fatal,
#   because the place matters for the fold or for what the protein does.
# - Two columns that change *together* show [*co-evolution*](../docs/glossary.md#co-evolution). A positive and a negative residue
#   touch; if one is exchanged, the protein suffers, until the other is exchanged, too. So co-evolution hints at
#   *contact in space*, however far apart the two are along the chain.
#
# That is the source from which AlphaFold2 drinks. Here is the real alignment of BPTI's family, one row per
# sequence, coloured by chemistry:

# %%
groups = ("KRH", "DE", "NQST", "AVLIMFWYP", "C", "G")
names = ("basic", "acidic", "polar", "oily", "Cys", "Gly", "gap")
colors = (style.BLUE, style.RED, style.GREEN, "#cccccc", style.ORANGE, style.YELLOW, "white")
kind = np.full(23, 6)
for k, letters in enumerate(groups):
    kind[[RESTYPES.index(letter) for letter in letters]] = k
figure, ax = plt.subplots(figsize=(8.5, 4.2))
palette = plt.matplotlib.colors.ListedColormap(colors)
ax.imshow(kind[family.tokens], cmap=palette, vmin=0, vmax=6, aspect="auto", interpolation="none",
          extent=(0.5, 58.5, 97.5, 0.5))  # fmt: skip
for name, color in zip(names[:6], colors):
    ax.scatter([], [], marker="s", color=color, label=name)
ax.legend(ncols=6, loc="lower center", bbox_to_anchor=(0.5, 1.0), fontsize=9, handletextpad=0.1)
ax.set(xlabel="residue of BPTI", ylabel="sequence")
plt.show()

# %% [markdown]
# (White is a gap. The orange stripes are the cysteines.) But where do the rows come from?
#
# ## 4 · Searching for relatives
#
# From a database. Ours is small: the sequences of five families, not aligned and mixed. Besides globins and the
# Kunitz family there are pieces of fibronectin (`fn3`), domains that bind RNA (`rrm`) and an enzyme
# (`tautomerase`). Who belongs to BPTI?

# %%
database, origin = [], {}
for path in sorted((DATA / "sequences").glob("*.fasta")):
    for name, sequence in msa.read_fasta(path):
        database.append((name, sequence))
        origin[name] = path.stem
print(len(database), "sequences:", dict(Counter(origin.values())))

# %% [markdown]
# Comparing letter by letter is not enough: what counts differs from place to place. A *C* at place 5 is a must,
# place 19 is open to all. So we write down, for each column, how much more often each letter occurs there
# than anywhere: the logarithm of the ratio. This table is a
# [*profile*](../docs/glossary.md#profile). The score of a sequence is the sum over its letters, in *bits* if the
# logarithm has the base 2. We slide the sequence along the profile
# and keep the best place. So that nothing has the probability 0, we add to each column 20 imagined letters of the
# usual mixture ([*pseudo-counts*](../docs/glossary.md#pseudo-count)).

# %%
letters = "".join(sequence for _, sequence in database)
usual = np.array([letters.count(letter) for letter in RESTYPES]) / len(letters)


def make_profile(tokens):
    """[n, 20]: log2 of (frequency in the column / usual frequency)."""
    counts = (tokens[..., None] == np.arange(20)).sum(axis=0) + 20 * usual
    return np.log2(counts / counts.sum(axis=1, keepdims=True) / usual)


def best_score(profile, sequence):
    """The best score over all ways to lay the sequence on the profile, without gaps."""
    n = len(profile)
    code = [RESTYPES.find(letter) for letter in sequence]
    padded = np.array([-1] * n + code + [-1] * n)
    windows = np.lib.stride_tricks.sliding_window_view(padded, n)  # [places, n]
    scores = np.where(windows < 0, 0, profile[np.arange(n), windows])
    return scores.sum(axis=1).max()


# %%
is_kunitz = np.array([origin[name] == "kunitz" for name, _ in database])
figure, axes = plt.subplots(1, 2, figsize=(8.5, 2.9), sharey=True)
for ax, rows_used in zip(axes, (1, 97)):
    table = make_profile(family.tokens[:rows_used])
    scores = np.array([best_score(table, sequence) for _, sequence in database])
    bins = np.linspace(scores.min(), scores.max(), 40)
    ax.hist(scores[~is_kunitz], bins, color=style.GREY, label="other families")
    ax.hist(scores[is_kunitz], bins, color=style.BLUE, alpha=0.8, label="BPTI's family")
    ax.set(title=f"profile of {rows_used} sequence{'s' * (rows_used > 1)}", xlabel="score (bits)")
    margin = scores[is_kunitz].min() - scores[~is_kunitz].max()
    print(f"profile of {rows_used:2d}: worst relative minus best stranger: {margin:.0f} bits")
axes[0].set_ylabel("sequences")
axes[0].legend()
plt.show()

# %% [markdown]
# The profile of the whole family tells friend from stranger much better than the query alone.
#
# ## 5 · A profile that can skip: hidden Markov models
#
# Our profile has a weak point. The Kunitz family is unusually rigid. In most families, some members have lost a few
# residues or have grown a few more. One lost letter, and everything behind it is compared with the wrong column: the
# trouble of "Ianov" in exercise 4 of lesson 01. Myoglobins have 153 residues; what does the profile of all globins say about a
# haemoglobin of 141?

# %%
sequences = dict(database)
goose = sequences["HBA_ANSSE"]  # haemoglobin α of the magpie goose
table = make_profile(globins.tokens)
row = globins.tokens[globins.names.index("HBA_ANSSE")]
right = sum(table[k, a] for k, a in enumerate(row) if a < 20)
print(f"{len(goose)} residues; best place without gaps: {best_score(table, goose):.0f} bits")
print(f"with the {(row == GAP).sum()} gaps of the alignment: {right:.0f} bits")

# %% [markdown]
# The remedy comes from speech recognition, where words are spoken now slowly, now quickly: the
# [*hidden Markov model*](../docs/glossary.md#hidden-markov-model). Think of a machine that walks through the
# columns and writes a protein. For each column it has a *match* state, which writes one letter drawn from that
# column's profile. A *delete* state writes nothing; an *insert* state writes extra letters. Which state follows
# depends on the present one alone, with fixed probabilities (that is what "Markov" means). We see the letters; the
# path is *hidden*.

# %%
figure, ax = style.canvas(7.6, 2.8)
for k, x in enumerate(np.linspace(0.9, 4.9, 3)):
    style.box(ax, (x, 0.4), f"match {k + 1}", size=(1.0, 0.46), color=style.SKY, fontsize=9)
    style.box(ax, (x, 1.35), "insert", size=(0.66, 0.34), color=style.ORANGE, fontsize=9)
    style.box(ax, (x, 2.5), f"delete {k + 1}", size=(1.0, 0.4), color=style.GREY, fontsize=9)
    style.arrow(ax, (x - 0.1, 0.64), (x - 0.1, 1.17), color=style.ORANGE)
    style.arrow(ax, (x - 0.18, 1.53), (x + 0.18, 1.53), color=style.ORANGE, bend=-1.2)
    if k < 2:
        style.arrow(ax, (x + 0.51, 0.4), (x + 1.49, 0.4), width=3)
        style.arrow(ax, (x + 0.34, 1.3), (x + 1.7, 0.65), color=style.ORANGE)
        style.arrow(ax, (x + 0.3, 0.64), (x + 1.75, 2.29), color=style.GREY)
        style.arrow(ax, (x + 0.51, 2.5), (x + 1.49, 2.5), color=style.GREY)
        style.arrow(ax, (x + 0.3, 2.29), (x + 1.85, 0.64), color=style.GREY)
words = ("a letter of\nthis column", "extra letters,\nany number", "a gap")
for y, meaning in zip((0.4, 1.35, 2.5), words):
    ax.text(5.75, y, meaning, va="center", fontsize=9)
plt.show()

# %% [markdown]
# A path through this graph is one way to align a sequence. Its score is the sum of the logarithms on the way. There are
# very many paths. But all paths into a state end with one of three steps, so the best score of a state after $i$ letters
# follows from three that are already known. Filling a table in this way is the
# [*Viterbi algorithm*](../docs/glossary.md#viterbi-algorithm). With a sum over the paths in place of the best one it is
# called the *forward algorithm*: the same lines, with another `add`.

# %%
chances = {"MM": 0.96, "MI": 0.02, "MD": 0.02, "IM": 0.6, "II": 0.4, "DM": 0.6, "DD": 0.4}
MOVES = {pair: np.log2(chance) for pair, chance in chances.items()}  # from state, to state


# %%
def fill(match, code, add, moves=MOVES):
    """Bits of all paths (add = np.logaddexp2) or of the best one (np.maximum)."""
    (m, _), n = match.shape, len(code)
    mat, ins, out = np.full((3, m + 1, n + 1), -np.inf)  # match, insert, delete: [column, letter]
    mat[0, 0] = 0  # the beginning counts as a match
    for k in range(m + 1):
        for i in range(n + 1):
            if k and i:  # a match: one column and one letter further
                before = [(mat, "MM"), (ins, "IM"), (out, "DM")]
                mat[k, i] = add.reduce([x[k - 1, i - 1] + moves[step] for x, step in before])
                mat[k, i] += match[k - 1, code[i - 1]]
            if i:  # an insert: one letter further
                ins[k, i] = add(mat[k, i - 1] + moves["MI"], ins[k, i - 1] + moves["II"])
            if k:  # a delete: one column further
                out[k, i] = add(mat[k - 1, i] + moves["MD"], out[k - 1, i] + moves["DD"])
    return add.reduce([mat[m, n], ins[m, n], out[m, n]])


# %% [markdown]
# Is it right? For a profile of 4 columns and a sequence of 5 letters we can afford to list every single path.


# %%
def every_path(match, code, state="M", k=0, i=0):
    """The score of each path from here to the end."""
    if k == len(match) and i == len(code):
        yield 0.0
    for new, dk, di in (("M", 1, 1), ("I", 0, 1), ("D", 1, 0)):
        if state + new in MOVES and k + dk <= len(match) and i + di <= len(code):
            score = MOVES[state + new] + (match[k, code[i]] if new == "M" else 0)
            for rest in every_path(match, code, new, k + dk, i + di):
                yield score + rest


few, code = table[19:23], [RESTYPES.index(letter) for letter in "DVAGH"]
paths = np.array(list(every_path(few, code)))
print(
    f"{len(paths)} paths, the best has {paths.max():.2f} bits, all together {np.log2(np.exp2(paths).sum()):.2f}"
)
assert np.isclose(fill(few, code, np.maximum), paths.max())
assert np.isclose(fill(few, code, np.logaddexp2), np.log2(np.exp2(paths).sum()))

# %%
goose_code = [RESTYPES.index(letter) for letter in goose]
free = dict.fromkeys(MOVES, 0.0)  # every step costs nothing, every letter too: this counts paths
count = fill(np.zeros((153, 20)), goose_code, np.logaddexp2, free)
print(
    f"153 columns, {len(goose)} letters: 10^{count / np.log2(10):.0f} paths, 3 x 154 x 142 numbers"
)
print(f"best path: {fill(table, goose_code, np.maximum):.0f} bits")

# %% [markdown]
# There are more paths than atoms in our galaxy, and a table of 65,000 numbers settles them all. And the profile that may
# skip gives the goose far more than the stiff one.
#
# Real search programs do the same with a few refinements: chances of their own for every column, and states for what
# stands before, behind and between the copies of a domain. [*HMMER*](../docs/glossary.md#hmmer) is the program that
# AlphaFold2 uses. Its model is written out in `minifold.data.profile`, in as few lines as we could. We take a profile that
# HMMER has built, and compare our sum over all paths with HMMER's score for each of the 45 globins:

# %%
hmm = profile_of(globins.take(np.arange(7)))  # HMMER builds it from the seven myoglobins
ours = Profile.from_pyhmmer(hmm)
targets = easel.DigitalSequenceBlock(
    AMINO,
    [
        easel.TextSequence(name=name, sequence=sequences[name]).digitize(AMINO)
        for name in globins.names
    ],
)
everything = plan7.Pipeline(AMINO, bias_filter=False, null2=False, F1=1, F2=1, F3=1)
theirs = {str(hit.name): hit.score for hit in everything.search_hmm(hmm, targets)}
difference = max(abs(ours.forward(sequences[name]) - score) for name, score in theirs.items())
assert len(theirs) == 45 and difference < 0.01
score, path = ours.viterbi(goose)
print(f"{len(theirs)} globins: ours and HMMER's differ by less than 0.01 bits")
print(f"the goose: {theirs['HBA_ANSSE']:.0f} bits over all paths, {score:.0f} for the best path")

# %% [markdown]
# (Far fewer bits than ours: this profile knows seven myoglobins and no haemoglobin, and HMMER is more careful with what a few
# sequences can tell.) The best path *is* the alignment. Read it off: a match puts the letter below its column, a delete puts a gap.

# %%
lines = {"column": "", "state ": "", "goose ": ""}
for state, k, i in path:
    if state in "MID":
        lines["column"] += globins.query[k - 1] if state != "I" else "."
        lines["state "] += state
        lines["goose "] += goose[i - 1] if state != "D" else "-"
for start in (0, 77):
    for name, line in lines.items():
        print(name, line[start : start + 77])
    print()
assert "DDD" in lines["state "]

# %% [markdown]
# (The line "column" shows the first myoglobin; the profile knows seven.) From this profile, HMMER also computes how
# surprising a score is. The
# [*E-value*](../docs/glossary.md#e-value) says how many hits of this quality
# one would expect by pure chance in a database of this size. We take what is below 0.001.
#
# ### Going round in circles
#
# We need the family for the profile, and the profile for the family! The way out is to go round in circles. The
# program is called *JackHMMER*:

# %%
figure, ax = style.canvas(9.2, 2.4)
stations = (
    (1.1, "query", style.SKY),
    (3.2, "profile", style.YELLOW),
    (5.5, "search the\ndatabase", style.GREY),
    (7.9, "hits,\naligned", style.GREEN),
)
for x, words, color in stations:
    style.box(ax, (x, 1.5), words, size=(1.4, 0.7), color=color)
for start, end in ((1.82, 2.47), (3.92, 4.77), (6.22, 7.17)):
    style.arrow(ax, (start, 1.5), (end, 1.5))
ax.plot([7.9, 7.9, 3.2], [1.15, 0.5, 0.5], "-", color=style.INK, linewidth=1.6)
style.arrow(ax, (3.2, 0.5), (3.2, 1.13))
words = "next round: a wider profile finds more distant relatives"
ax.text(5.5, 0.62, words, ha="center", fontsize=9)
plt.show()

# %% [markdown]
# The search runs inside this notebook, through the package `pyhmmer`. **Predict first:** we search with one member of
# each family. How many of its relatives does the first round find, and how many the third?

# %%
firsts = {family_name: name for name, family_name in reversed(origin.items())}
for family_name, name in sorted(firsts.items()):
    found = [jackhmmer((name, sequences[name]), database, iterations=k) for k in (1, 2, 3)]
    hits = [[n.rsplit("/", 1)[0] for n in result.names] for result in found]
    counts = [len(set(h)) for h in hits]
    strangers = sum(origin.get(h, family_name) != family_name for h in hits[-1])
    size = sum(o == family_name for o in origin.values())
    print(f"{family_name:12s} of {size}: found in round 1, 2, 3: {counts}, strangers: {strangers}")

# %% [markdown]
# For two families, `fn3` and `rrm`, the first round finds less than half. Those hits make the profile wider, and
# the next round finds nearly all: relatives of relatives. No stranger slips in.
#
# A control: the same database, every sequence written backwards. The letters are the same, evolution
# never saw them. Do we find anything?

# %%
backwards = [(f"{name}_backwards", sequence[::-1]) for name, sequence in database]
for family_name, name in sorted(firsts.items()):
    result = jackhmmer((name, sequences[name]), backwards, iterations=3)
    print(f"{family_name:12s} hits among {len(backwards)} backward sequences: {result.depth - 1}")

# %% [markdown]
# AlphaFold2 searches in the same way, only in databases of hundreds of millions of sequences.
#
# ## 6 · Conservation
#
# How conserved is a column? Suppose you have to guess its letter. With nothing known, there are 20 possibilities:
# $\log_2 20 = 4.32$ yes-or-no questions (bits). If the letters occur with frequencies $p_a$, on average only
# $H = -\sum_a p_a \log_2 p_a$ questions are needed: the [*entropy*](../docs/glossary.md#entropy). The difference is what the
# column tells us, its [*information*](../docs/glossary.md#information):
#
# $$I = \log_2 20 - H .$$


# %%
def information(tokens):
    """Bits of each column [n]; gaps are not counted."""
    counts = (tokens[..., None] == np.arange(20)).sum(axis=0)  # [n, 20]
    p = counts / counts.sum(axis=1, keepdims=True)
    return np.log2(20) + (p * np.log2(p, where=p > 0, out=np.zeros_like(p))).sum(axis=1)


def most_conserved(alignment, count):
    """Names of the columns with most bits among those in which half of the rows have a letter."""
    bits = information(alignment.tokens)
    bits[(alignment.tokens < 20).mean(axis=0) < 0.5] = 0
    best = np.argsort(-bits, kind="stable")[:count]
    return [f"{alignment.query[i]}{i + 1} {bits[i]:.2f}" for i in best]


print("most conserved:", ", ".join(most_conserved(family, 10)))

# %% [markdown]
# A picture of this is called a [*sequence logo*](../docs/glossary.md#sequence-logo): the height of a column is its information,
# shared among the letters by their frequency.

# %%
plots.logo(family.tokens)

# %% [markdown]
# The six cysteines stick out, and with them glycines that fit where nothing else does. But beware of the ends: columns
# 1 to 3 look perfectly conserved *because no other sequence reaches that far*. A statistic is worth as much as the number of
# sequences behind it:

# %%
counted = (family.tokens < 20).sum(axis=0)
print("columns with a letter in fewer than 50 sequences:", *(np.flatnonzero(counted < 50) + 1))
print("sequences with a letter in column 1:", counted[0], " in column 5:", counted[4])

# %% [markdown]
# What is a conserved residue good for? In BPTI it is the *fold*. In an enzyme it may be the place where the
# reaction happens, in a carrier the place that holds its load. Look at two other families:

# %%
tautomerase = msa.read_alignment(DATA / "sample_msas/tautomerase.a3m")
print("tautomerase:", ", ".join(most_conserved(tautomerase, 7)))
print("globins:    ", ", ".join(most_conserved(globins, 10)))
for word, alignment, residue in (("tautomerase", tautomerase, 1), ("globins", globins, 93)):
    assert information(alignment.tokens)[residue - 1] > 4.3, word

# %% [markdown]
# The tautomerase works with its very first residue, proline 1, and holds its
# substrate with arginine 11 (Stivers and others, *Biochemistry* 35, 814,
# 1996; Harris and others, *Biochemistry* 38, 12343, 1999). In the globins,
# histidine 93 carries the iron of the haem, and histidine 64 stands on the other side, where the oxygen is bound. Conservation means
# "important", but not *for what*.
#
# ### Exercise 1 · Information (easy)
#
# Write `my_information(letters)`: the bits of one column, given as a string such as `"CCCC-A"`. Gaps ("-") do not
# count.
#
# *In all exercises: try by yourself first. One possible answer stands between the two lines that
# start with `###`; delete it, write yours, run the check.*


# %% nbgrader={"grade": false, "grade_id": "information", "locked": false, "schema_version": 3, "solution": true, "task": false}
def my_information(letters):
    """log2(20) minus the entropy of the letters."""
    ### BEGIN SOLUTION
    counts = Counter(letter for letter in letters if letter != "-")
    p = np.array(list(counts.values())) / sum(counts.values())
    return np.log2(20) + (p * np.log2(p)).sum()
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check-information", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
minifold.check("information", my_information)

# %% [markdown]
# ## 7 · Co-evolution
#
# Now pairs of columns. Look at the letters at places 14 and 38 of BPTI's family:

# %%
pairs = Counter(RESTYPES[a] + RESTYPES[b] for a, b in family.tokens[:, [13, 37]] if max(a, b) < 20)
print("places 14 and 38:", dict(pairs))

# %% [markdown]
# Two sequences have lost the cysteine at 14, and both have lost the one at 38, too. One cysteine alone has no partner.
# From this table alone you could guess that 14 and 38 are bound to each other, and they are.
#
# To measure "changing together" for any two columns, compare how often letters $a$ and $b$ occur *together*,
# $p_{ab}$, with how often they would if the columns knew nothing of each other, $p_a p_b$. The mean logarithm of
# the ratio is the [*mutual information*](../docs/glossary.md#mutual-information):
#
# $$\mathrm{MI} = \sum_{a,b} p_{ab} \log \frac{p_{ab}}{p_a\, p_b} .$$
#
# It is 0 if the columns are independent. (With the natural logarithm its unit is called *nat*; 1 nat = 1.44 bits.)
#
# ### Exercise 2 · Mutual information (needs a thought)
#
# Write `my_mutual_information(a, b)` for two columns given as strings of equal length, in nats. Treat a gap as a
# letter like any other. (What is the MI of a fully conserved column with any other?)


# %% nbgrader={"grade": false, "grade_id": "mutual_information", "locked": false, "schema_version": 3, "solution": true, "task": false}
def my_mutual_information(a, b):
    """Mutual information of two columns, in nats."""
    ### BEGIN SOLUTION
    n = len(a)
    p_a, p_b, p_ab = Counter(a), Counter(b), Counter(zip(a, b))
    return sum(c / n * np.log(c * n / (p_a[x] * p_b[y])) for (x, y), c in p_ab.items())
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check-mutual_information", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
minifold.check("mutual_information", my_mutual_information)

# %% [markdown]
# ### Three repairs
#
# Raw MI has three faults in practice, and each has a simple repair.
#
# 1. *Copies*: ten nearly equal sequences are no ten independent witnesses. Each sequence gets the
#    [*weight*](../docs/glossary.md#sequence-weight) 1 / (number of sequences at least 80 % identical to it). The sum of weights is the
#    *effective number of sequences*, **Neff**.
# 2. *Small numbers*: with 97 sequences and 441 possible pairs of letters, chance makes patterns. We mix in a few
#    made-up pairs: pseudo-counts again.
# 3. *Loud columns*: some columns have high MI with *everybody* (because they vary a lot, or because of the family
#    tree). We subtract what can be explained by the two columns alone, the
#    [*average product correction*](../docs/glossary.md#average-product-correction), **APC**: row mean × column mean / mean of all.

# %%
for name in ("kunitz_1bpi", "fn3", "rrm", "tautomerase", "globins"):
    tokens = msa.read_alignment(DATA / f"sample_msas/{name}.a3m").tokens
    print(f"{name:12s} {len(tokens)} sequences, Neff {msa.weights(tokens).sum():5.1f}")


# %%
def frequencies(tokens, pseudocount):
    """Weighted frequencies of letters [n, 21] and of pairs [n, n, 21, 21]; 20: gap or unknown."""
    n, w = tokens.shape[1], msa.weights(tokens)
    one_hot = np.eye(21)[np.minimum(tokens, 20)]  # [s, n, 21]
    single = np.einsum("s,sia->ia", w / w.sum(), one_hot)
    flat = one_hot.reshape(len(tokens), n * 21)
    pair = flat.T @ (flat * (w / w.sum())[:, None])
    pair = pair.reshape(n, 21, n, 21).transpose(0, 2, 1, 3)
    single = (1 - pseudocount) * single + pseudocount / 21
    pair = (1 - pseudocount) * pair + pseudocount / 21**2
    for i in range(n):
        pair[i, i] = np.diag(single[i])  # a letter is paired with itself only
    return single, pair


def apc(scores):
    """Scores minus (row mean × column mean / mean of all); the diagonal does not count."""
    scores = scores - np.diag(np.diag(scores))
    mean = scores.sum(axis=1) / (len(scores) - 1)
    return (scores - np.outer(mean, mean) / mean.mean()) * (1 - np.eye(len(scores)))


# %%
def mutual_information(tokens):
    """Mutual information of all pairs of columns, with the three repairs: [n, n]."""
    single, pair = frequencies(tokens, pseudocount=0.05)
    independent = single[:, None, :, None] * single[None, :, None, :]
    ratio = np.log(np.where(pair > 0, pair, 1) / independent)
    return apc((pair * ratio).sum(axis=(2, 3)))


mi = mutual_information(family.tokens)
assert np.allclose(mi, baselines.mutual_information(family.tokens), atol=1e-6)
print("mutual information with repairs: equal to the package's")

# %% [markdown]
# The globins are the family of close cousins: 45 sequences count as 17. In the other files, near copies have been
# removed beforehand.
#
# ### A family whose couplings we know
#
# Is it any good? To judge, we need the truth. For that, minifold has a
# [*toy world*](../docs/glossary.md#toy-world): random little proteins that fold, and families that evolve on a tree while contacts in
# the fold are held together by chemistry (unlike charges attract, large goes with small ...). Which pairs of
# residues are *coupled* is known exactly. You will train on this world later; here it is our test bench.

# %%
WORLD = ToyWorld(length=32, depth=512, seed=3, block=12).sample(12)  # 12 families


def contacts_of(chain):
    """True where two Cβ atoms (Cα in glycine) are nearer than 8 Å: [n, n]."""
    beta = chain.positions[:, ATOM_INDEX["CB"]]
    alpha = chain.positions[:, ATOM_INDEX["CA"]]
    place = np.where(chain.mask[:, [ATOM_INDEX["CB"]]] > 0, beta, alpha)
    return np.linalg.norm(place[:, None] - place[None], axis=-1) < 8


toy_families = [WORLD.alignment(k).tokens for k in range(12)]
toy_contacts = [contacts_of(WORLD.chain(k)) for k in range(12)]
toy, toy_couplings = toy_families[0][:128], WORLD.couplings[0].numpy() > 0
print("a toy family of 512; its first three rows:")
for row in toy[:3]:
    print("   ", "".join(msa.TOKEN_LETTERS[a] for a in row))

# %% [markdown]
# Two residues form a [*contact*](../docs/glossary.md#contact) if their side chains' first atoms, Cβ, are nearer than
# 8 Å. We ask only for pairs at least 6 places apart: neighbours along the chain touch anyway. As many pairs as half
# the length, here 16, is a usual yardstick ("top L/2"). The measure is *precision*: which share of the best
# pairs are contacts?
#
# ### Exercise 3 · Precision (needs a thought)
#
# Write `my_precision(scores, contacts, top)`: `scores` and `contacts` are symmetric tables [n, n]. Each pair
# counts once, pairs with $|i - j| < 6$ do not count.


# %% nbgrader={"grade": false, "grade_id": "precision", "locked": false, "schema_version": 3, "solution": true, "task": false}
def my_precision(scores, contacts, top):
    """Share of contacts among the best `top` pairs with |i - j| of at least 6."""
    ### BEGIN SOLUTION
    n = len(scores)
    pairs = [(scores[i][j], contacts[i][j]) for i in range(n) for j in range(i + 6, n)]
    pairs.sort(key=lambda pair: -pair[0])
    return sum(bool(contact) for _, contact in pairs[:top]) / top
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check-precision", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
minifold.check("precision", my_precision)


# %%
def best_pairs(scores, top):
    """The `top` best pairs at least 6 apart along the chain: two arrays of places."""
    i, j = np.triu_indices(len(scores), 6)
    rounded = scores[i, j].round(6)  # a tie must not be decided by the last digit
    best = np.argsort(-rounded, kind="stable")[:top]
    return i[best], j[best]


def precision(scores, contacts, top):
    """Share of contacts among them."""
    return contacts[best_pairs(scores, top)].mean()


# %%
tables = np.stack([mutual_information(tokens[:128]) for tokens in toy_families])
shares = [precision(table, c, 16) for table, c in zip(tables, toy_contacts)]
beta, _ = pseudo_beta(WORLD.aatype, WORLD.positions, WORLD.atom_mask)
assert np.allclose(shares, contact_precision(torch.tensor(tables), beta, WORLD.mask))  # top L/2
chance = np.mean([c[np.triu_indices(32, 6)].mean() for c in toy_contacts])
print(f"128 sequences: MI {np.mean(shares):.2f}, random pairs {chance:.2f} (mean of 12 families)")

# %% [markdown]
# Nine of ten pairs are right. The toy world is kind: only contacts are coupled, and weakly. In a real protein there is
# one more trouble.
#
# ### Hearsay: direct and indirect coupling
#
# If 1 is coupled to 2 and 2 to 3, then 1 and 3 change together, too,
# although they may be far apart. Like a rumour, correlation travels. Five columns in a line, with two letters each;
# each column copies its left neighbour with probability 0.85. **Predict first:** which pairs are
# correlated? Which are *coupled*?

# %%
rng = np.random.default_rng(0)
flips = np.where(rng.random((50_000, 5)) < 0.85, 1, -1)
spins = np.cumprod(flips, axis=1)  # letters +1 and −1; each column is the one before, or turned
covariance = np.cov(spins.T)
direct = -np.linalg.inv(covariance)
np.fill_diagonal(direct, 0)
print("covariance of column 1 with 2, 3, 4:", covariance[0, 1:4].round(2) + 0)
print("minus inverse, the same pairs:      ", direct[0, 1:4].round(1) + 0)

# %%
figure, axes = plt.subplots(1, 3, figsize=(8, 2.6), width_ratios=(0.75, 1, 1))
axes[0].plot(np.zeros(5), -np.arange(5), "o-", color=style.BLUE, markersize=16, linewidth=3)
for k in range(5):
    axes[0].text(0, -k, k + 1, ha="center", va="center", color="white", weight="bold")
for k, length in ((0, 2), (1, 3)):
    t = np.linspace(0, np.pi, 40)
    axes[0].plot(0.5 * np.sin(t) + 0.12, -k - length * t / np.pi, ":", color=style.RED)
axes[0].text(0.72, -1.9, "hearsay", color=style.RED, va="center")
axes[0].set(xlim=(-0.4, 1.5), ylim=(-4.5, 0.5), title="coupled")
axes[0].axis("off")
maps = ((covariance - np.diag(np.diag(covariance)), "covariance"), (direct, "minus inverse"))
for ax, (values, title) in zip(axes[1:], maps):
    rounded = values.round(1) + 0  # + 0 turns −0.0 into 0.0
    style.heatmap(ax, rounded, range(1, 6), range(1, 6), 1, style.DIVERGING, (-1.8, 1.8))
    ax.set_title(title)
plt.show()

# %% [markdown]
# The covariance fades slowly along the line. Its *inverse* is zero except between neighbours: it
# untangles who talks to whom directly. (For Gaussian variables this is exact: the inverse covariance holds
# what two variables share when all others are known. For letters it is the first step of an expansion, called *mean
# field* in physics.)
#
# The same for alignments is [*direct coupling analysis*](../docs/glossary.md#direct-coupling-analysis), **DCA**: take the covariance of all letters in
# all columns, a table of $20 n \times 20 n$ numbers, and invert it. For each pair of columns this gives a 20 × 20 block
# of couplings. Its size (root of the sum of squares) is the score; APC at the end.


# %%
def direct_coupling(tokens):
    """Mean-field DCA: how strongly each two columns are coupled directly, [n, n]."""
    n, q = tokens.shape[1], 20
    single, pair = frequencies(tokens, pseudocount=0.5)
    covariance = pair - single[:, None, :, None] * single[None, :, None, :]
    square = covariance[:, :, :q, :q].transpose(0, 2, 1, 3).reshape(n * q, n * q)
    couplings = np.zeros((n, n, 21, 21))  # the gap is the reference, its couplings are 0
    couplings[:, :, :q, :q] = -np.linalg.inv(square).reshape(n, q, n, q).transpose(0, 2, 1, 3)
    for axis in (2, 3):  # only differences between letters count: rows and columns with mean 0
        couplings -= couplings.mean(axis=axis, keepdims=True)
    return apc(np.sqrt((couplings[:, :, :q, :q] ** 2).sum(axis=(2, 3))))


dca = direct_coupling(family.tokens)
assert np.allclose(dca, baselines.direct_coupling(family.tokens), atol=1e-6)
print("DCA: equal to the package's")

# %%
toy_dca = direct_coupling(toy)
count = int(toy_couplings[np.triu_indices(32, 6)].sum())
share = precision(toy_dca, toy_couplings, count)
print(f"of the {count} best pairs at least 6 apart, {share:.0%} are truly coupled")
assert share > 0.8
seen = toy_dca.clip(0, np.quantile(toy_dca, 0.99))
plots.pair_maps({"true couplings": toy_couplings, "what DCA sees in 128 sequences": seen})

# %% [markdown]
# DCA sees the couplings as if they were written there.
#
# ## 8 · The real thing: BPTI
#
# Now a real family and a measured structure. Beside the scores stand two floors. *Random* is the share of contacts among all pairs. The
# *control* is stricter: we shuffle each column by itself (the query stays). That destroys all co-evolution, and keeps the letters of each column.
#
# **Predict first:** a control that has no co-evolution left: will it be as bad as guessing?

# %%
chain = read_structure(DATA / "structures/1bpi.cif")
contacts = contacts_of(chain)
far = np.triu_indices(58, 6)
rng = np.random.default_rng(0)
shuffled = [
    baselines.direct_coupling(baselines.shuffle_columns(family.tokens, rng)) for _ in range(10)
]
print("share of contacts among the best    10     29 pairs (29 is half the length)")
print(f"random pairs                       {contacts[far].mean():.2f}   {contacts[far].mean():.2f}")
control = [[precision(s, contacts, top) for top in (10, 29)] for s in shuffled]
print("DCA, columns shuffled              {:.2f}   {:.2f}".format(*np.mean(control, axis=0)))
for name, scores in (("mutual information", mi), ("DCA", dca)):
    shares = [precision(scores, contacts, top) for top in (10, 29)]
    print("{:34s} {:.2f}   {:.2f}".format(name, *shares))

# %% [markdown]
# Surprise: the control is far better than guessing, without any co-evolution! Never ignore such a thing. Which pairs
# does it have among its best ten?

# %%
chosen = Counter()
for scores in shuffled:
    for i, j in zip(*best_pairs(scores, 10)):
        chosen[f"{family.query[i]}{i + 1}-{family.query[j]}{j + 1}"] += 1
constant = np.array([len(set(column[column < 20])) == 1 for column in family.tokens.T])
often = sorted(pair for pair, count in chosen.items() if count >= 5)
print("in half of the shuffled alignments or more:", *often)
print("columns that never vary:", *[f"{family.query[k]}{k + 1}" for k in np.flatnonzero(constant)])

# %% [markdown]
# They are pairs of columns that *never vary*. The trap is in repair 2. Mixing in made-up pairs means: half of the
# sequences have a cysteine at 30 *and* at 51, the other half have anything at both. That looks like a strong coupling, and in
# truth nothing has been observed. As the constant cysteines sit together in the core of BPTI, the mistake happens to pay. It is knowledge of
# conservation, not of co-evolution. To judge co-evolution, leave out the columns that never vary:

# %%
varies = ~constant[:, None] & ~constant[None, :]


def only_varying(scores):
    """Pairs with a constant column get the lowest place."""
    return np.where(varies, scores, scores.min() - 1)


floor = contacts[far][varies[far]].mean()
rivals = {"mutual information": [mi], "DCA": [dca], "DCA, columns shuffled": shuffled}
print("varying columns only: best         10     29 pairs")
print(f"random pairs                       {floor:.2f}   {floor:.2f}")
for name, tables in rivals.items():
    shares = [[precision(only_varying(s), contacts, top) for top in (10, 29)] for s in tables]
    print("{:34s} {:.2f}   {:.2f}".format(name, *np.mean(shares, axis=0)))

# %% [markdown]
# Now the control is where it belongs, near guessing, and the rest is real: of DCA's ten best pairs eight
# touch. Mutual information, which believes hearsay, finds far fewer. See it on the map:

# %%
figure, axes = plt.subplots(1, 2, figsize=(8, 4.3), sharey=True)
for ax, (name, scores) in zip(axes, (("mutual information", mi), ("DCA", dca))):
    row, column = np.nonzero(np.tril(contacts, -6))
    ax.scatter(column + 1, row + 1, s=9, marker="s", color=style.GREY, label="true contact")
    i, j = best_pairs(only_varying(scores), 29)
    hit = contacts[i, j]
    ax.scatter(j[hit] + 1, i[hit] + 1, s=30, color=style.BLUE, label="found, right")
    ax.scatter(j[~hit] + 1, i[~hit] + 1, s=26, marker="x", color=style.RED, label="found, wrong")
    ax.plot([1, 58], [1, 58], "-", color=style.GREY, linewidth=1)
    ax.set(title=f"{name}: {hit.sum()} of 29", xlabel="residue", aspect="equal")
    ax.set(xlim=(0, 59), ylim=(59, 0))
axes[0].set_ylabel("residue")
figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
plt.show()

# %%
ranks = []
order = list(zip(*best_pairs(only_varying(dca), 58)))
for a, b in bonds:
    rank = order.index((a - 1, b - 1)) + 1 if (a - 1, b - 1) in order else None
    ranks.append(rank)
    print(f"disulfide bond {a}-{b}: {'rank ' + str(rank) if rank else 'not to be seen'}")
assert ranks == [None, 1, None]

# %% [markdown]
# The best pair of all is a disulfide bond, 14-38: the one that two sequences have lost. The other two bonds are
# never lost, so *nothing changes there together because nothing changes*. Conservation and co-evolution complement each
# other: what is too important to vary cannot co-vary.
#
# Remember the question at the end of lesson 02, which cysteine belongs to which? The alignment has answered for
# one bond, and left four cysteines. AlphaFold2 has to combine many weak hints.

# %% [markdown]
# ## 9 · How many relatives are enough?
#
# **Predict first:** in the toy world we take 4, 8, 16 ... 512 sequences. Where does it begin to work? And
# where do further sequences hardly help any more?

# %%
depths = [4, 8, 16, 32, 64, 128, 256, 512]
methods = {"DCA": baselines.direct_coupling, "mutual information": baselines.mutual_information}
by_depth = {
    name: [
        np.mean([precision(f(t[:d]), c, 16) for t, c in zip(toy_families, toy_contacts)])
        for d in depths
    ]
    for name, f in methods.items()
}
for name, values in by_depth.items():
    print(f"{name:18s}", " ".join(f"{d}: {v:.2f}" for d, v in zip(depths, values)))

# %%
figure, ax = plt.subplots(figsize=(7, 3.2))
ax.axvspan(3.5, 30, color=style.tint(style.RED, 0.15), linewidth=0)
ax.axvspan(100, 600, color=style.tint(style.GREEN, 0.15), linewidth=0)
for (name, values), marker in zip(by_depth.items(), "os"):
    ax.semilogx(depths, values, marker=marker, label=name)
ax.axhline(chance, color=style.INK, linewidth=1, linestyle=":")
ax.text(300, chance + 0.02, "random", fontsize=9)
ax.text(3.8, 0.93, "under 30: too thin", fontsize=9)
ax.text(105, 0.2, "over 100:\nlittle gain", fontsize=9)
ax.set(xlabel="sequences", ylabel="precision, top L/2", ylim=(0, 1.02), xlim=(3.5, 600))
ax.set_xticks(depths, depths)
ax.minorticks_off()
ax.legend(loc="center right", bbox_to_anchor=(1, 0.5))
plt.show()

# %% [markdown]
# For AlphaFold2 itself, the authors saw the same two borders (Jumper and others 2021, Fig. 5a): with fewer than about 30
# relatives at a residue, the prediction becomes much worse; beyond about 100, it gains little. Copies do not count:

# %%
copies = [np.concatenate([t[:16]] * 32) for t in toy_families]
share = np.mean([precision(direct_coupling(t), c, 16) for t, c in zip(copies, toy_contacts)])
neff = msa.weights(copies[0]).sum()
print(
    f"16 sequences, 32 copies of each: {len(copies[0])} rows, Neff {neff:.0f}, precision {share:.2f}"
)
assert np.isclose(share, by_depth["DCA"][depths.index(16)])

# %% [markdown]
# ### Metagenomes: relatives that nobody has ever seen
#
# Where do more relatives come from? Databases such as UniProt mostly know organisms that can be grown in a
# laboratory. Most microbes cannot. Since the 2000s people take a spoonful of soil or a bottle of sea water and
# read *all* the DNA in it, without knowing whose it is: a [*metagenome*](../docs/glossary.md#metagenome). AlphaFold2 searches the
# metagenomes of MGnify and BFD beside UniProt. How much that helps we can play through. Pretend that only
# 24 of BPTI's relatives come from organisms that somebody could grow, and the rest from a bottle of sea water.
#
# **Predict first:** does the precision of DCA double?

# %%
bpti_record, *relatives = msa.read_fasta(DATA / "sequences/kunitz.fasta")
strangers = [record for record in database if origin[record[0]] != "kunitz"]
rng = np.random.default_rng(0)
shares = []
for _ in range(10):
    grown = [relatives[k] for k in rng.permutation(len(relatives))[:24]]
    alignment = jackhmmer(bpti_record, grown + strangers)
    shares.append(precision(direct_coupling(alignment.tokens), contacts, 29))
everything = jackhmmer(bpti_record, database)
share = precision(direct_coupling(everything.tokens), contacts, 29)
print(f"24 from cultures:            precision {np.mean(shares):.2f} (mean of 10 choices)")
print(f"and {everything.depth - 25} from the metagenome: precision {share:.2f}")

# %% [markdown]
# Nearly. In the 2010s metagenomes did that for structure prediction as a whole: hundreds of families became deep enough
# (Ovchinnikov and others, *Science* 355, 294, 2017).
#
# ### Too many: clusters
#
# A deep alignment has tens of thousands of rows, and the time of a network grows with the number of rows ([lesson
# 04](04_axial_msa_attention.ipynb) measures how). So AlphaFold2 chooses some rows at random as *centres*, the query always among
# them, and every other row joins the centre that it resembles most ([*cluster*](../docs/glossary.md#cluster)). The centres go on; of the others only
# the statistics of their cluster remain, and a cheaper part of the network looks at some thousand of them. Here are the
# globins with 8 centres, drawn such that similar sequences lie near each other. (The two axes are the directions in
# which the one-hot coded rows differ most: *principal components*.)

# %%
rng = np.random.default_rng(7)
order = np.append(0, 1 + rng.permutation(globins.depth - 1))
centres, extra = globins.tokens[order[:8]], globins.tokens[order[8:]]
agree = (extra[:, None] == centres[None]) & (extra[:, None] < 20)  # [extra, centre, n]
joins = agree.sum(axis=-1).argmax(axis=1)
assert (joins == msa.nearest_cluster(centres, extra)).all()
flat = np.eye(23)[globins.tokens].reshape(globins.depth, -1)
u, size, _ = np.linalg.svd(flat - flat.mean(axis=0), full_matrices=False)
xy = (u * size)[:, :2] * np.sign(u[0, :2])  # a direction has no sign: the query to the upper right

# %%
figure, ax = plt.subplots(figsize=(6.6, 4))
for row, centre in zip(order[8:], joins):
    ends = xy[[row, order[centre]]]
    ax.plot(*ends.T, "-", color=style.GREY, linewidth=1, zorder=0)
looks = (("MYG", "myoglobin", style.RED, "s"), ("HBA", "haemoglobin α", style.BLUE, "o"))
looks += (("HB", "haemoglobin β", style.GREEN, "^"),)
prefix = np.array([name[:3] if name[:3] in ("MYG", "HBA") else "HB" for name in globins.names])
for start, label, color, marker in looks:
    ax.scatter(*xy[prefix == start].T, s=26, color=color, marker=marker, label=label)
ax.scatter(*xy[order[:8]].T, s=170, facecolor="none", edgecolor=style.INK, label="centre")
ax.annotate("query", xy[0], (16, -4), textcoords="offset points")
ax.set(xlabel="first direction", ylabel="second direction")
ax.legend(loc="upper left", bbox_to_anchor=(1, 1))
plt.show()

# %% [markdown]
# ## 10 · What the network is fed
#
# Now we can draw where this lesson stands in the whole of AlphaFold2: it is the upper path. Besides relatives, the program looks for a
# relative with a *known structure*, a [*template*](../docs/glossary.md#template), with HHsearch, another program built on
# hidden Markov models. A good one makes the task easy; section 1 tells you how rarely there is one. The network also
# runs without. At the end a physics program, OpenMM, takes the last strain out of the structure.

# %%
figure, ax = style.canvas(9.6, 3.1)
places = (
    ("sequence", 0.75, 1.6, 1.05, style.ORANGE),
    ("HMMER:\nrelatives", 2.45, 2.5, 1.4, style.SKY),
    ("HHsearch:\ntemplates", 2.45, 0.7, 1.4, style.SKY),
    ("alignment\nrow = sequence", 4.3, 2.5, 1.5, style.GREEN),
    ("pairs\nof residues", 4.3, 0.7, 1.5, style.GREEN),
    ("Evoformer\n48 blocks", 6.2, 1.6, 1.2, style.YELLOW),
    ("structure\nmodule", 7.7, 1.6, 1.2, style.YELLOW),
    ("OpenMM", 9.05, 1.6, 0.95, style.GREY),
)
for words, x, y, wide, color in places:
    style.box(ax, (x, y), words, size=(wide, 0.75), color=color, fontsize=10)
for start, end in ((0, 1), (0, 2), (1, 3), (2, 4), (3, 5), (4, 5), (5, 6), (6, 7)):
    (_, x0, y0, wide0, _), (_, x1, y1, wide1, _) = places[start], places[end]
    style.arrow(ax, (x0 + wide0 / 2, y0), (x1 - wide1 / 2, y1))
style.arrow(ax, (7.7, 1.99), (6.2, 1.99), bend=0.45)
ax.text(6.95, 2.5, "recycling, 3 times", ha="center", fontsize=9)
plt.show()

# %% [markdown]
# (The Evoformer is lesson 05, the structure module lesson 08, recycling lesson 09.) Attention needs vectors. So every
# letter of the alignment becomes a vector of 49 numbers, which a learned matrix then turns into its
# [*embedding*](../docs/glossary.md#embedding) of 256. The pairs of residues get vectors, too; if there is no template they
# know only which two amino acids meet and how far apart they are along the chain. The 49:
#
# | numbers | what |
# |---|---|
# | 23 | the letter of the centre, one-hot: 20 amino acids, unknown, gap, mask |
# | 1 | has it lost something? 1 if the sequence has extra letters just before this column |
# | 1 | how many, squeezed to 0 ... 1 by $\frac{2}{\pi} \arctan(d/3)$ |
# | 23 | frequencies of the letters in its cluster |
# | 1 | the mean number of extra letters in its cluster, squeezed the same way |
#
# (AlphaFold2 calls extra letters *deletions*, seen from the query.) The smallest version, for the `fn3` family with 32 centres:


# %%
def squeeze(d):
    """A count from 0 to infinity as a number from 0 to 1."""
    return 2 / np.pi * np.arctan(d / 3)


def my_features(rows, lost, extra, extra_lost):
    """[s, n, 49] from the centres' letters and extra letters, and those of all other rows."""
    agree = (extra[:, None] == rows[None]) & (extra[:, None] != GAP)
    joins = agree.sum(axis=-1).argmax(axis=1)
    profiles, means = [], []
    for k in range(len(rows)):
        members = np.concatenate([rows[[k]], extra[joins == k]])
        profiles.append(np.eye(23)[members].mean(axis=0))
        means.append(np.concatenate([lost[[k]], extra_lost[joins == k]]).mean(axis=0))
    single = [lost > 0, squeeze(lost)], [squeeze(np.array(means))]
    single = [np.stack(part, axis=-1) for part in single]
    return np.concatenate([np.eye(23)[rows], single[0], np.array(profiles), single[1]], axis=-1)


# %%
fn3 = msa.read_alignment(DATA / "sample_msas/fn3.a3m")
batch = features.make_batch(fn3, None, PRESETS["nano"], seed=0)
package = batch.msa_feat[0].numpy()  # [32, 86, 49]
rows = package[..., :23].argmax(axis=-1)  # which rows became centres is a matter of chance: ask
where = {row.tobytes(): k for k, row in enumerate(fn3.tokens)}
centre_of = np.array([where[row.astype(np.int8).tobytes()] for row in rows])
rest = np.setdiff1d(np.arange(fn3.depth), centre_of)
mine = my_features(rows, fn3.deletions[centre_of], fn3.tokens[rest], fn3.deletions[rest])
assert centre_of[0] == 0 and np.allclose(mine, package, atol=1e-6)
print(f"{package.shape}: equal to the package's; the first centre is the query")

# %%
row = int(fn3.deletions[centre_of].sum(axis=1).argmax())  # the centre with most extra letters
figure, ax = plt.subplots(figsize=(9, 4.2))
image = ax.imshow(package[row].T, cmap="cividis", vmin=0, vmax=1, aspect="auto",
                  interpolation="none", extent=(0.5, 86.5, 48.5, -0.5))  # fmt: skip
for y in (22.5, 24.5, 47.5):
    ax.axhline(y, color="white", linewidth=1, linestyle="-")
ax.set_yticks(
    [11, 23.5, 36, 48], ["letter, one-hot", "extra letters", "cluster profile", "mean extra"]
)
ax.tick_params(axis="y", length=0)
ax.set(xlabel="column", title="one of the 32 centres: 49 numbers for each of 86 columns")
figure.colorbar(image)
plt.show()

# %% [markdown]
# Above, each column has one bright spot: its letter. Below, the cluster gives a frequency for each letter. All rows that did
# not become centres go into the *extra MSA*, with 25 numbers each (letter and extra letters), which lesson 04 takes up.
#
# ## 11 · Masking: learn by filling in
#
# In training, AlphaFold2 hides 15 % of the letters and has the network guess them: the
# [*masked MSA*](../docs/glossary.md#masked-msa) task, learned from the language model BERT. Of the chosen letters, 70 % are replaced by
# the mask sign, 10 % by a random amino acid, 10 % by a letter drawn from the column, and 10 % stay. (If all became mask
# signs, the network would learn that a letter without mask sign can be trusted blindly.)


# %%
def mask_letters(tokens, profile, fraction, rng):
    """Hide a share of the letters; also returns which ones were chosen."""
    tokens, chosen = tokens.copy(), rng.random(tokens.shape) < fraction
    for s, i in zip(*np.nonzero(chosen)):
        lot = rng.random()
        if lot < 0.1:
            tokens[s, i] = rng.integers(20)
        elif lot < 0.2:
            tokens[s, i] = rng.choice(22, p=profile[i])
        elif lot > 0.3:
            tokens[s, i] = MASK
    return tokens, chosen


column_profile = np.eye(22)[family.tokens].mean(axis=0)
assert np.allclose(column_profile, msa.profile(family.tokens))
masked, chosen = mask_letters(family.tokens, column_profile, 0.15, np.random.default_rng(1))
LETTERS = msa.TOKEN_LETTERS + "#"
for name, row in (("true  ", family.tokens[1]), ("masked", masked[1])):
    print(name, "".join(LETTERS[a] for a in row))

# %%
true = family.tokens
theirs, their_choice = msa.mask_letters(true, column_profile, 0.15, np.random.default_rng(1))
print("            chosen   of these: mask sign   unchanged")
for name, new, picked in (("ours", masked, chosen), ("minifold", theirs, their_choice > 0)):
    signs, same = (new == MASK)[picked].mean(), (new == true)[picked].mean()
    print(f"{name:10s}   {picked.mean():.2f}                 {signs:.2f}        {same:.2f}")
    assert abs(picked.mean() - 0.15) < 0.02 and abs(signs - 0.7) < 0.05 and 0.1 < same < 0.25
    assert (new == true)[~picked].all()

# %% [markdown]
# ("Unchanged" is more than 10 %, because a letter drawn from the column is often the same.) What can one learn by
# filling in? Three sources can tell what the hidden letter was:
#
# - the **column**: take its most frequent letter (conservation);
# - the **closest relative**: take its letter (descent);
# - the **partners**: start from the column; then whoever has the same letter as we have in one of the two columns that DCA
#   couples most strongly to this one, votes (co-evolution).
#
# The first half of a family plays the alignment, the second half has its letters guessed, one at a time.
# **Predict first:** which source is best for the globins? Which one for the toy world?


# %%
def guesses(known, asked):
    """What column, closest relative and partners say about each letter of `asked` [t, n]."""
    n = known.shape[1]
    counts = (known[..., None] == np.arange(20)).sum(axis=0)  # [n, 20]
    same = asked[:, None] == known[None]  # [t, s, n]
    closest = (same.sum(axis=-1, keepdims=True) - same).argmax(axis=1)  # not counting the column
    partners = np.argsort(-baselines.direct_coupling(known).round(6), kind="stable")[:, :2]
    votes = np.log(counts + 1.0)[None].repeat(len(asked), axis=0)  # [t, n, 20]
    for i, two in enumerate(partners):
        for j in two:
            alike = same[:, :, j].astype(float) @ np.eye(23)[known[:, i]][:, :20]  # [t, 20]
            expected = alike.sum(axis=1, keepdims=True) * counts[i] / max(counts[i].sum(), 1)
            votes[:, i] += np.log((alike + 1) / (expected + 1))
    return counts.argmax(axis=-1), known[closest, np.arange(n)], votes.round(6).argmax(axis=-1)


# %%
rng = np.random.default_rng(0)
tests = {
    "kunitz_1bpi": [rng.permutation(family.tokens[1:])],
    "globins": [rng.permutation(globins.tokens[1:, 20:90])],  # 70 columns, to save memory
    "toy world": [tokens[:256] for tokens in toy_families],
}
print("letters guessed right by   column   relative   partners")
for name, tables in tests.items():
    right = []
    for tokens in tables:
        known, asked = np.array_split(tokens, 2)
        right.append([(g == asked)[asked < 20].mean() for g in guesses(known, asked)])
    print("{:26s}  {:.2f}      {:.2f}       {:.2f}".format(name, *np.mean(right, axis=0)))

# %% [markdown]
# In BPTI's family the column knows nearly all that can be known; in the globins a close cousin knows best; in the toy world
# the partners know twice as much as anyone else. A network that has to fill in letters is driven to use *all three*: to look down its column, across to its
# relatives, and along its row to the partners. That is the plan of the next lesson.
#
# ### Exercise 4 · Contacts from 32 sequences (open)
#
# With 32 sequences, mutual information is right in about half of its guesses. A network does better, because it *knows
# chemistry*: that D and E are alike, that opposite charges attract. Statistics of 20 bare letters cannot know.
#
# Write `my_contacts(tokens)`: scores [32, 32] for a toy family `tokens` [32 sequences, 32 columns] (numbers as above, 21 is a gap). Target: a mean precision
# (top 16) of 0.60 on 20 families that you do not know. How far can you get? (An idea: describe letters by a few properties, as in
# lesson 02, and look which *properties* vary together. `properties()` gives solubility, size, positive and negative charge
# for the letters of `LETTERS_02`.)

# %%
from minifold.checks.lesson_02 import LETTERS as LETTERS_02
from minifold.checks.lesson_02 import properties


# %% nbgrader={"grade": false, "grade_id": "contacts", "locked": false, "schema_version": 3, "solution": true, "task": false}
def my_contacts(tokens):
    """Scores [n, n]: the higher, the more likely a contact."""
    ### BEGIN SOLUTION
    solubility, size, positive, negative = properties().T
    known = np.stack([solubility, size, positive + negative], axis=1)  # charge as one number
    known = (known - known.mean(axis=0)) / known.std(axis=0)
    table = np.zeros((23, 3))  # gaps and unknown letters: the mean
    table[[RESTYPES.index(letter) for letter in LETTERS_02]] = known
    x = table[np.asarray(tokens)]  # [s, n, 3]
    x = (x - x.mean(axis=0)) / (x.std(axis=0) + 1e-9)
    correlation = np.einsum("sia,sjb->ijab", x, x) / len(x)
    return apc(np.sqrt((correlation**2).sum(axis=(2, 3))))
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check-contacts", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
minifold.check("contacts", my_contacts)

# %% [markdown]
# ## Quiz
#
# <details><summary>1. A column is fully conserved. What is its mutual information with any other column?</summary>
#
# 0. What never varies cannot vary together with anything. (That DCA gave such pairs high scores was the doing of the pseudo-counts: section 8.)
# </details>
#
# <details><summary>2. Somebody doubles the alignment by writing every sequence twice. What happens to Neff, and to the precision?</summary>
#
# Neither changes: every copy gets half the weight.
# </details>
#
# <details><summary>3. Columns 3 and 40 co-evolve strongly, but their residues are 20 Å apart in the structure. Name three possible reasons.</summary>
#
# Hearsay along a chain of contacts; too few sequences; or they touch after all: in another state of the protein, or in a complex where residue 3
# of one copy meets residue 40 of another.
# </details>
#
# <details><summary>4. Why does the second round of JackHMMER find more than the first?</summary>
#
# Its profile is made from the hits of the first round and knows which places may vary, and how. It finds relatives of relatives.
# </details>
#
# <details><summary>5. Why is the control with shuffled columns stricter than random pairs?</summary>
#
# It keeps everything but co-evolution: the letters of each column, its conservation, the gaps. What it still finds was not found by co-evolution.
# </details>
#
# <details><summary>6. The detector records the heights of the waves but not their phases. Which of the two would you rather keep?</summary>
#
# The phases: the mixture in section 1 looks like the protein that gave the phases.
# </details>
#
# ## In the paper
#
# - Databases and search: Jumper et al., *Nature* 596, 583 (2021), Methods; supplementary information, sections 1.2.1-1.2.3: JackHMMER on UniRef90
#   and MGnify, HHblits on BFD and Uniclust30; HHsearch for templates.
# - Clusters and masking: section 1.2.7; the 49 numbers: 1.2.9 and Table 1. In training, whole blocks of rows are deleted at random: 1.2.6, Algorithm 1.
# - Depth of the alignment: Fig. 5a of the paper.
# - Mutual information: Göbel et al. (1994) compared columns first; APC: Dunn et al., *Bioinformatics* 24, 333 (2008). DCA: Weigt et al. (2009); mean field:
#   Morcos et al., *PNAS* 108, E1293 (2011). Profile hidden Markov models: Krogh et al. (1994); Eddy, *PLoS Comput. Biol.* 7, e1002195 (2011).
#
# ## In real AlphaFold2
#
# | | here | AlphaFold2 |
# |---|---|---|
# | database | 415 sequences | UniRef90, MGnify, BFD: more than 2 · 10⁹ |
# | rounds of JackHMMER | 3 | 1 |
# | centres | 32 | 512 (some of the models: 508 and 4 templates) |
# | extra sequences | 64 | 1024 or 5120, by model |
# | numbers per letter | 49 | 49 |
# | masked letters in training | 15 % | 15 % |
# | co-evolution | computed by hand: MI, DCA | learned: the outer product mean in the Evoformer ([lesson 05](05_evoformer.ipynb)) |
#
# ## What next
#
# The network shall look along rows, down columns, and do both in an alignment of 512 rows. What does that cost?
# [Lesson 04](04_axial_msa_attention.ipynb) counts, and finds the trick.
#
# <details><summary>Review: every claim of this lesson, and where it is shown</summary>
#
# | claim | where |
# |---|---|
# | a sequence costs 100 to 1000 dollars, a structure 100,000 to 1,000,000; 200 million sequences, 200 thousand structures | 1, first figure (published figures, not measured here) |
# | the other method is magnetic resonance: NMR (MRI is the scanner) | 1, text |
# | few proteins survive the pipeline of X-ray crystallography; membrane proteins are hardest | 1, second figure (published rates) |
# | the phase problem; about seven ways around it | 1, third figure with assert; the seven by citation |
# | a model is partly judgement | 1: residues never located; 10 to 20 % is a rule of thumb without a measurement |
# | homologues; structure is more conservative than sequence; 70 % of the letters may change | 2: identities of globins, six cysteines; the structures by citation |
# | evolution is mostly neutral | 2, text; a column of BPTI's family has seen 13 letters |
# | rows are species, columns are places | 3, both figures |
# | HMMER finds the relatives and aligns them; it is a hidden Markov model, an idea from speech recognition | 4 and 5: profile, Viterbi and forward against all paths, against HMMER, searches with control |
# | conservation means importance for fold, catalysis or binding | 6: logo; proline 1, histidine 93 |
# | co-evolution hints at contact | 7: toy world with known couplings; 8: BPTI against random and shuffled |
# | fewer than 30 sequences are too few; over 100 help little | 9, curve |
# | metagenomes bring many more homologues | 9, played through with BPTI |
# | deep alignments are clustered | 9, asserted equal to the package |
# | templates: HHsearch; fewer than 0.1 % of sequences have a structure of their own | 10, drawing; the ratio in 1 (a template may also be that of a relative, so more have one) |
# | embeddings of letters and pairs | 10: 49 numbers, asserted equal to the package |
# | relaxation with OpenMM, recycling three times | 10, drawing (relaxation comes once, after the last round) |
# | masked letters are guessed | 11 |
#
# </details>
