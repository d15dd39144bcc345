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
# # 01 · Fuzzy search: attention is a forgiving dictionary
#
# > *A dictionary answers only if the key is spelt exactly right. What would a dictionary do that
# > forgives a typo, and why is that the heart of AlphaFold2?*
#
# **Time:** about 60 minutes of reading and trying, 30 more for the exercises.
#
# **You need:** Python, the exponential function, and what a vector is.
#
# **Afterwards you can**
# - build attention from an ordinary `dict`, step by step, and say why each step is there;
# - explain what softmax and its temperature do, and why scores are divided by $\sqrt{d_k}$;
# - write attention in NumPy and in PyTorch, with a mask, and show that it equals the function
#   inside AlphaFold2.
#
# New words are *set like this* at first use and collected in the [glossary](../docs/glossary.md).

# %%
import math

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F

import minifold
from minifold.look import style

style.use()

# %% [markdown]
# ## 1 · A dictionary that does not forgive
#
# Three people and a number for each: say, how many books they have borrowed.
# Somebody asks for "Pvanov". There is no such person; a finger slipped on the keyboard.

# %%
database = {"Ivanov": 25, "Petrov": 100, "Sidorov": 5}
query = "Pvanov"

try:
    database[query]
except KeyError as error:
    print("KeyError:", error)

# %% [markdown]
# You would not give up so soon. Five of six letters say *Ivanov*, three of six say *Petrov*
# (the P, the o and the v). A careful answer takes all three people into account, each as much as
# their name resembles what was typed.
#
# That is the whole idea of *attention*. It has three ingredients:
#
# - a [*query*](../docs/glossary.md#query): what we look for ("Pvanov"),
# - [*keys*](../docs/glossary.md#key): what we compare it with (the names),
# - [*values*](../docs/glossary.md#value): what we get back (the numbers).
#
# The drawing shows the plan. The thicker an arrow, the more that value counts.

# %%
figure, ax = style.canvas(8, 3.0)
style.box(ax, (1.0, 1.4), '"Pvanov"', size=(1.5, 0.6), color=style.ORANGE)
rows = zip(database.items(), (2.3, 1.4, 0.5), (5, 3, 0.6))
for (name, number), y, width in rows:
    middle = 1.4 + 0.2 * (y - 1.4)  # where the arrow leaves the query and enters the answer
    style.arrow(ax, (1.8, middle), (3.2, y), color=style.ORANGE, width=width)
    style.box(ax, (4.0, y), name, size=(1.4, 0.55), color=style.SKY)
    style.arrow(ax, (4.7, y), (5.2, y), color=style.GREY)
    style.box(ax, (5.65, y), str(number), size=(0.8, 0.55), color=style.GREEN)
    style.arrow(ax, (6.1, y), (7.0, middle), color=style.GREEN, width=width)
style.box(ax, (7.45, 1.4), "?", size=(0.7, 0.6), color=style.YELLOW)
for x, word in ((1.0, "query"), (4.0, "keys"), (5.65, "values"), (7.45, "answer")):
    ax.text(x, 2.75, word, ha="center", weight="bold")
plt.show()

# %% [markdown]
# ## 2 · How similar are two words?
#
# Count the places where two words differ: this is the
# [*Hamming distance*](../docs/glossary.md#hamming-distance). Then turn it round, so that 1 means
# "the same" and 0 means "nothing in common".
#
# We compare as many letters as the query has; of "Sidorov" the seventh letter is not looked at.


# %%
def hamming_distance(query: str, key: str) -> int:
    """Number of places where the letters differ."""
    return sum(a != b for a, b in zip(query, key))


def similarity(query: str, key: str) -> float:
    """1 if no letter differs, 0 if all do."""
    return 1 - hamming_distance(query, key) / len(query)


similarities = {name: similarity(query, name) for name in database}
for name, s in similarities.items():
    print(f"{name:8s} {s:.4f}")

# %% [markdown]
# Now the answer: every value times its similarity, added up,
#
# $$\text{answer} = \sum_i \langle q, k_i \rangle\, v_i .$$
#
# The angle brackets $\langle q, k_i \rangle$ are short for "how similar are query and key $i$".

# %%
answer = sum(similarities[name] * number for name, number in database.items())
print(f"answer: {answer:.4f}")
assert round(answer, 4) == 70.8333

# %% [markdown]
# ## 3 · Something is wrong with 70.8
#
# **Predict first:** suppose *everyone* in the database has borrowed 100 books. Whoever was meant,
# the right answer is 100. What does our formula say?

# %%
everyone_100 = sum(similarities[name] * 100 for name in database)
print(f"if everyone has 100, we answer {everyone_100:.2f}")
print(f"because the similarities add up to {sum(similarities.values()):.4f}")

# %% [markdown]
# An average of 100, 100 and 100 cannot be 133. The similarities are not
# *probabilities*: they add up to more than 1. We cannot read 0.8333 as "with 83 % probability
# Ivanov was meant". We need *weights* that are positive and add up to 1, so that the answer is a
# [*weighted average*](../docs/glossary.md#weighted-average).
#
# The first idea is to divide by the sum:

# %%
total = sum(similarities.values())
shares = {name: s / total for name, s in similarities.items()}
answer = sum(shares[name] * number for name, number in database.items())
print({name: round(s, 4) for name, s in shares.items()}, "answer:", round(answer, 3))

# %% [markdown]
# That is an honest average. But it has two weak points, and the second is fatal:
#
# 1. We cannot tell it to be bolder or more careful: the shares are what they are.
# 2. Soon our similarities will be negative, too. Then the "shares" make no sense:

# %%
scores = {"Ivanov": 2.0, "Petrov": -1.0, "Sidorov": -0.9}
total = sum(scores.values())
print({name: round(s / total, 1) for name, s in scores.items()})

# %% [markdown]
# A share of 20, and two negative ones. We need something better.
#
# ## 4 · Softmax
#
# Two steps. Make every number positive with the exponential function (it keeps the order: more
# similar stays more). Then divide by the sum. This is [*softmax*](../docs/glossary.md#softmax):
#
# $$p_i = \frac{e^{s_i}}{\sum_j e^{s_j}} .$$
#
# Here $s_i$ is the similarity, or *score*, of key $i$, and $p_i$ its weight.


# %%
def softmax_of_dict(scores: dict) -> dict:
    """Positive weights that add up to 1; a higher score gives a higher weight."""
    total = sum(math.exp(s) for s in scores.values())
    return {name: math.exp(s) / total for name, s in scores.items()}


weights = softmax_of_dict(similarities)
for name, w in weights.items():
    print(f"{name:8s} {w:.5f}")
print(f"sum      {sum(weights.values()):.5f}")

# %% [markdown]
# **Predict first:** with plain shares the answer was 53.125. Ivanov (25 books) is the best match.
# Will softmax bring the answer nearer to 25 or not?

# %%
answer = sum(weights[name] * number for name, number in database.items())
print(f"answer: {answer:.4f}")
assert round(answer, 4) == 45.9415

# %% [markdown]
# Nearer to 25, but not because softmax believes more in Ivanov! Ivanov's weight *fell*, from 0.625
# to 0.465. What happened is that Sidorov, who has nothing in common with the query and only 5
# books, rose from 0 to 0.202 and pulls the average down. Look at both:

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(8, 2.8), sharey=True)
for ax, numbers, title in (
    (left, similarities, f"similarities: sum {sum(similarities.values()):.2f}"),
    (right, weights, f"softmax weights: sum {sum(weights.values()):.2f}"),
):
    bars = ax.bar(list(numbers), list(numbers.values()), color=style.CYCLE[:3], width=0.6)
    ax.bar_label(bars, fmt="%.3f", padding=2)
    ax.set(title=title, ylim=(0, 1))
plt.show()

# %% [markdown]
# Softmax never gives a weight of exactly 0, and with scores between 0 and 1 it is timid. Can we
# make it bolder?
#
# ## 5 · Temperature
#
# Physics has had this formula since the 1860s. A system that can be in states with energies
# $E_i$ is found in state $i$ with the probability
#
# $$p_i = \frac{e^{-E_i / T}}{\sum_j e^{-E_j / T}},$$
#
# the [*Boltzmann distribution*](../docs/glossary.md#boltzmann-distribution) (with $T$ in units of
# energy). A score is a negative energy: the best match is the lowest, most comfortable state. The
# sum below the line has the German name *Zustandssumme*, the sum over states. $T$ is the
# [*temperature*](../docs/glossary.md#temperature). When it is hot, everything is about equally
# likely; when it is cold, everything sits in the lowest state.
#
# From here on we work with arrays instead of dicts:


# %%
def softmax(scores: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """Softmax over the last axis."""
    e = np.exp(np.asarray(scores) / temperature)
    return e / e.sum(axis=-1, keepdims=True)


names = list(database)
values = np.array(list(database.values()), dtype=float)  # [3]
scores = np.array(list(similarities.values()))  # [3]
assert np.allclose(softmax(scores), list(weights.values()))

# %% [markdown]
# Our three people once more, as a physicist would draw them, at three temperatures. The height of
# a line is its energy, and 20 balls are shared out by the formula.

# %%
figure, axes = plt.subplots(1, 3, figsize=(8, 2.6), sharey=True)
places = np.linspace(0.03, 0.97, 20)
for ax, temperature in zip(axes, (0.1, 1, 10)):
    ax.hlines(-scores, 0, 1, color=style.INK)
    for name, score, p, color in zip(names, scores, softmax(scores, temperature), style.CYCLE):
        balls = places[: round(20 * p)]
        ax.scatter(balls, np.full(len(balls), 0.035 - score), s=18, color=color)
        ax.text(1.04, -score, name, va="center", fontsize=9)
    ax.set(title=f"T = {temperature}", xlim=(0, 1.45), xticks=[])
    ax.spines["bottom"].set_visible(False)
axes[0].set_ylabel("energy = −score")
plt.show()

# %% [markdown]
# **Predict first.** What is the answer when it is very cold ($T = 0.01$)? When it is very hot
# ($T = 100$)? Write two numbers down before you run the cell.

# %%
for temperature in (0.01, 0.1, 0.3, 1, 10, 100):
    p = softmax(scores, temperature)
    print(f"T = {temperature:<5}  weights {np.round(p, 3)}  answer {p @ values:6.2f}")

# %%
temperatures = np.geomspace(0.02, 20, 200)
curves = np.array([softmax(scores, t) for t in temperatures])
figure, ax = plt.subplots(figsize=(7, 3.2))
ax.axhline(1 / 3, color=style.GREY, linewidth=1, linestyle="-")
for curve, name in zip(curves.T, names):
    ax.semilogx(temperatures, curve, label=name)
ax.text(0.022, 0.6, "cold:\nan ordinary\ndictionary")
ax.text(4, 0.5, "hot:\nthe plain mean")
ax.set(xlabel="temperature T", ylabel="weight", ylim=(0, 1.02), xlim=(0.02, 20))
ax.set_xticks([0.1, 1, 10], ["0.1", "1", "10"])
ax.legend(loc="upper right")
plt.show()

# %% [markdown]
# Cold attention is an ordinary dictionary that picks the best key (25). Hot attention does not
# look at the query at all and returns the mean of the values, $(25 + 100 + 5) / 3 = 43.33$.
# Everything useful is in between. The answer does not simply climb from the one to the other: as it gets
# warmer, Petrov's 100 books come in first and lift it above the mean, then Sidorov's 5 pull it back.
#
# Two more facts that cost one line each. First, only *differences* of scores matter: adding the
# same number to all of them changes nothing.
#
# Second, if there are two keys, softmax is the *sigmoid* function
# $\sigma(x) = 1 / (1 + e^{-x})$ of their difference. So softmax does for many choices what the
# sigmoid does for yes or no.

# %%
assert np.allclose(softmax(scores + 7), softmax(scores))

x = np.linspace(-5, 5, 11)
two_keys = np.stack([x, np.zeros_like(x)], axis=-1)  # scores x and 0
assert np.allclose(softmax(two_keys)[:, 0], 1 / (1 + np.exp(-x)))
print("both hold")

# %% [markdown]
# So far a weight only *looks* like a probability. When is it the probability that this person was
# meant? Let everybody be asked for equally often, and let a typist hit each letter wrong with the same
# probability, and then each of the 25 wrong letters equally often. Now we can compute it: how likely is this
# query for each name, divided by the sum over the names.
#
# **Predict first:** how careless is the typist for whom $T = 1$ is right?


# %%
def meant(query, error):
    """Probability that each name was meant; `error` is that of a wrong letter."""
    right, wrong = 1 - error, error / 25
    chances = [math.prod(right if a == b else wrong for a, b in zip(query, n)) for n in names]
    return np.array(chances) / sum(chances)


for error in (0.05, 0.5, 0.9, 25 / (25 + math.exp(1 / 6))):
    temperature = 1 / (len(query) * math.log(25 * (1 - error) / error))
    p = softmax(scores, temperature)
    assert np.allclose(p, meant(query, error))
    print(f"{error:.1%} wrong letters: T = {temperature:.3f}, probabilities {np.round(p, 3)}")

# %% [markdown]
# Softmax gives exactly these probabilities, if the temperature fits the typist. $T = 1$ fits one who hits 95.5 % of all
# letters wrong: no wonder that our first softmax was timid. A typist with 5 % needs $T = 0.027$.
#
# ### Exercise 1 · A softmax that survives (easy)
#
# Our `softmax` breaks for large scores: $e^{1000}$ is more than a computer number can hold.

# %%
with np.errstate(over="ignore", invalid="ignore"):
    print(softmax(np.array([1000.0, 999.0, -1000.0])))

# %% [markdown]
# Write `my_softmax(scores)` for one list of scores that gives the same weights and survives this.
# You know from above what you may do to all scores without changing the weights.
#
# *In all exercises: try by yourself first. One possible answer stands between the two lines that
# start with `###`; delete it, write yours, run the check.*


# %% nbgrader={"grade": false, "grade_id": "softmax", "locked": false, "schema_version": 3, "solution": true, "task": false}
def my_softmax(scores):
    """Weights for a list of scores."""
    ### BEGIN SOLUTION
    scores = np.asarray(scores, dtype=float)
    e = np.exp(scores - scores.max())  # the largest exponent is now 0
    return e / e.sum()
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check-softmax", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
minifold.check("softmax", my_softmax)

# %% [markdown]
# ### Exercise 2 · Choose the temperature (needs a thought)
#
# Write `my_temperature(scores, target)`: the temperature at which the *best* key has exactly the
# weight `target`. (The colder, the larger is its weight. How do you find a word in a printed
# dictionary of a thousand pages without reading them all?)


# %% nbgrader={"grade": false, "grade_id": "temperature", "locked": false, "schema_version": 3, "solution": true, "task": false}
def my_temperature(scores, target):
    """The temperature at which the largest softmax weight is `target`."""
    ### BEGIN SOLUTION
    gaps = np.asarray(scores, dtype=float) - max(scores)  # 0 for the best key
    cold, hot = 1e-3, 1e3
    for _ in range(60):
        middle = math.sqrt(cold * hot)
        if softmax(gaps, middle).max() > target:
            cold = middle  # still too sure of itself
        else:
            hot = middle
    return middle
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check-temperature", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
minifold.check("temperature", my_temperature)

# %% [markdown]
# ## 6 · Many queries at once
#
# Real attention answers many queries in one go. Put the scores into a matrix $S$: one row for each
# query, one column for each key. Softmax makes each *row* add up to 1. Then one matrix product with
# the values answers all queries:
#
# $$\text{answers} = \operatorname{softmax}(S)\, V .$$

# %%
queries = ["Pvanov", "Petrof", "Sidorof"]
S = np.array([[similarity(q, k) for k in database] for q in queries])  # [query, key]
A = softmax(S, temperature=0.2)  # [query, key], every row adds up to 1
answers = A @ values  # [query]

figure, ax = plt.subplots(figsize=(5.5, 2.6))
style.heatmap(ax, A, rows=queries, columns=names, digits=3, limits=(0, 1))
ax.set(title="weights at T = 0.2", ylabel="query", xlabel="key")
plt.show()
print("answers:", np.round(answers, 1))

# %% [markdown]
# Each misspelt name finds its owner. A common mistake is to apply softmax along the wrong axis, so
# that the *columns* add up to 1. Then the weights of one query are no average any more:

# %%
print("rows add up to   ", np.round(A.sum(axis=1), 3))
wrong = softmax(S.T, temperature=0.2).T
print("with wrong axis  ", np.round(wrong.sum(axis=1), 3))

# %% [markdown]
# ## 7 · From words to vectors
#
# Counting equal letters is a special case of something more general. Write every letter as a list
# of zeros with a single 1 at the letter's place in the alphabet: a
# [*one-hot vector*](../docs/glossary.md#one-hot-vector). A word is the list of its letters, one
# after the other. Now multiply two words place by place and add up: there is a 1 exactly where the
# letters agree. That is the [*dot product*](../docs/glossary.md#dot-product),
# $q \cdot k = \sum_c q_c k_c$, and it counts equal letters.

# %%
ALPHABET = "abcdefghijklmnopqrstuvwxyz"


def one_hot(word: str, length: int = 7) -> np.ndarray:
    """[length * 26], one 1 for each letter; places after the end stay 0."""
    code = np.zeros((length, len(ALPHABET)))
    for place, letter in enumerate(word.lower()[:length]):
        code[place, ALPHABET.index(letter)] = 1
    return code.ravel()


q = one_hot(query)  # [182]
K = np.stack([one_hot(name) for name in names])  # [3, 182]
print("equal letters:", K @ q)
assert np.allclose(K @ q / len(query), scores)

# %% [markdown]
# So similarity *is* a dot product, once words are vectors. This opens the door: anything that can
# be written as a vector can be a query or a key.
#
# Amino acids, for instance, the twenty building blocks of proteins, each with a one-letter name.
# Let us describe each by three numbers: how much it avoids water (*hydropathy*), how large it is
# (*volume*, in Å³; 1 Å = 0.1 nm), and its electric charge in water.
#
# Sources: hydropathy from Kyte & Doolittle (*J. Mol. Biol.* 157, 105, 1982); volume from Zamyatnin
# (*Prog. Biophys. Mol. Biol.* 24, 107, 1972); charge at pH 7, where D and E have given away a
# proton, K and R have taken one, and H is almost always neutral.

# %%
# fmt: off
LETTERS = "DEKRHNQSTGPACVILMFYW"  # charged, polar, small, oily, aromatic
HYDROPATHY = [-3.5, -3.5, -3.9, -4.5, -3.2, -3.5, -3.5, -0.8, -0.7, -0.4,
              -1.6, 1.8, 2.5, 4.2, 4.5, 3.8, 1.9, 2.8, -1.3, -0.9]
VOLUME = [111.1, 138.4, 168.6, 173.4, 153.2, 114.1, 143.8, 89.0, 116.1, 60.1,
          112.7, 88.6, 108.5, 140.0, 166.7, 166.7, 162.9, 189.9, 193.6, 227.8]
CHARGE = [-1, -1, 1, 1] + 16 * [0]
# fmt: on

X = np.array([HYDROPATHY, VOLUME, CHARGE], dtype=float).T  # [20, 3]
X = (X - X.mean(axis=0)) / X.std(axis=0)  # each property: mean 0, spread 1
print("D =", X[LETTERS.index("D")].round(2), " E =", X[LETTERS.index("E")].round(2))

# %%
figure, ax = plt.subplots(figsize=(7, 4.2))
kinds = {-1: (style.RED, "v", "negative"), 0: (style.GREY, "o", "neutral")}
kinds[1] = (style.BLUE, "^", "positive")
for charge, (color, marker, label) in kinds.items():
    here = np.array(CHARGE) == charge
    ax.scatter(*X[here, :2].T, s=60, color=color, marker=marker, label=label)
for letter, (x, y), charge in zip(LETTERS, X[:, :2], CHARGE):
    side = (-16, -5) if charge else (7, -4)  # charged ones: name at the left
    ax.annotate(letter, (x, y), xytext=side, textcoords="offset points")
ax.set(xlabel="hydropathy  (avoids water →)", ylabel="volume  (large →)")
ax.legend(loc="lower right")
plt.show()

# %% [markdown]
# Each amino acid is now a point (the third property, charge, is shown by colour and shape), and
# we can search fuzzily among them. **Predict first:** which amino acid is most similar to D? And
# which one to T?

# %%
dots = X @ X.T  # [20, 20]
for letter in "DKLT":
    best = np.argsort(-dots[LETTERS.index(letter)])[:3]
    row = dots[LETTERS.index(letter)]
    print(letter, "→", ", ".join(f"{LETTERS[i]} {row[i]:.1f}" for i in best))

# %% [markdown]
# D resembles E, as it should: both are negative. But look at T, and at K and L: each finds another
# amino acid *more similar than itself*. The dot product rewards long vectors: it is
#
# $$q \cdot k = |q|\,|k| \cos\alpha ,$$
#
# with $\alpha$ the angle between both. G is far out (it is by far the smallest), so it wins many
# comparisons. If only the direction is to count, divide by both lengths: this is
# [*cosine similarity*](../docs/glossary.md#cosine-similarity), between −1 and 1.

# %%
lengths = np.linalg.norm(X, axis=1)
cosines = dots / np.outer(lengths, lengths)
assert (cosines.argmax(axis=1) == np.arange(20)).all()  # everyone is most like themselves
for letter in "DKLT":
    row = cosines[LETTERS.index(letter)]
    print(letter, "→", ", ".join(f"{LETTERS[i]} {row[i]:.3f}" for i in np.argsort(-row)[:3]))

# %%
figure, ax = plt.subplots(figsize=(5.6, 4.8))
image = style.heatmap(ax, cosines, LETTERS, LETTERS, cmap=style.DIVERGING, limits=(-1, 1))
figure.colorbar(image, label="cosine similarity")
ax.set_title("who resembles whom")
plt.show()

# %% [markdown]
# Blocks appear by themselves: negative (D, E), positive (K, R), oily (V, I, L, M, F).
#
# Attention uses the plain dot product nevertheless. A network *learns* its vectors, and a long
# key is its way to say "look at me, whoever asks".
#
# ## 8 · Why divide by $\sqrt{d_k}$?
#
# Three properties are few. AlphaFold2's queries have between 8 and 32 numbers, those of language models
# often 128; this length is called $d_k$. What happens to the scores when it grows? Take random queries and keys
# whose numbers have mean 0 and *variance* 1 (the variance is the mean square of the deviation
# from the mean) and measure.
#
# **Predict first:** four times as many numbers: how much larger is the variance of
# the dot product?

# %%
rng = np.random.default_rng(0)
sizes = [4, 16, 64, 256, 1024]
raw_scores = {}
for d in sizes:
    q, k = rng.normal(size=(1000, 1, d)), rng.normal(size=(1000, 8, d))  # 8 keys per query
    raw_scores[d] = (q * k).sum(-1)  # [1000, 8]
    variance, scaled = raw_scores[d].var(), (raw_scores[d] / math.sqrt(d)).var()
    print(f"d_k = {d:4d}   variance {variance:7.1f}   after division {scaled:.2f}")
    assert abs(variance / d - 1) < 0.1

# %% [markdown]
# The variance is $d_k$: each of the $d_k$ products adds a variance of 1. So the typical score is
# as large as $\sqrt{d_k}$, and dividing by $\sqrt{d_k}$ brings the variance back to 1, whatever the
# length. Dividing the scores is nothing but choosing a temperature $T = \sqrt{d_k}$.
#
# Why bother? Because large scores mean cold attention. We measure the weight of the
# best of the 8 keys, and the slope $p(1-p)$ of that weight with respect to its own score. Learning
# follows slopes; where the slope is 0, nothing is learned.

# %%
bold, fair, bold_slope, fair_slope = [], [], [], []
for d in sizes:
    stable = raw_scores[d] - raw_scores[d].max(axis=1, keepdims=True)
    for scaled, tops, slopes in (
        (stable, bold, bold_slope),
        (stable / math.sqrt(d), fair, fair_slope),
    ):
        p = softmax(scaled).max(axis=1)
        tops.append(p.mean())
        slopes.append((p * (1 - p)).mean())
print("weight of best key, not divided:", np.round(bold, 2), " divided:", np.round(fair, 2))
assert bold[-1] > 0.9 and max(fair) < 0.5 and bold_slope[-1] < 0.25 * fair_slope[-1]

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3))
for ax, a, b in ((left, bold, fair), (right, bold_slope, fair_slope)):
    ax.semilogx(sizes, a, "o-", label="not divided", color=style.RED)
    ax.semilogx(sizes, b, "s--", label=r"divided by $\sqrt{d_k}$", color=style.BLUE)
    ax.set_xticks(sizes, sizes)
    ax.set_xlabel(r"$d_k$")
left.set(title="weight of the best of 8 keys", ylim=(0, 1))
right.set(title="slope p(1 − p)", ylim=(0, 0.3))
left.legend(loc="center right")
right.minorticks_off()
left.minorticks_off()
plt.show()

# %% [markdown]
# Without the division a long query puts almost all weight on one key, chosen by chance, and the
# slope dies. With it, all sizes behave alike.
#
# ## 9 · The whole recipe
#
# Put the pieces together and you have
# [*scaled dot-product attention*](../docs/glossary.md#scaled-dot-product-attention):
#
# $$\operatorname{Attention}(Q, K, V) = \operatorname{softmax}\!\left(\frac{Q K^\top}{\sqrt{d_k}}\right) V .$$
#
# $Q$ holds one query in each row, $K$ one key, $V$ one value (values may be vectors, too). The
# drawing is read from left to right; the shapes are written below the boxes.

# %%
figure, ax = style.canvas(9, 2.6)
for label, y, shape in (("Q", 2.2, "[q, d]"), ("K", 1.3, "[k, d]"), ("V", 0.4, "[k, c]")):
    style.box(ax, (0.5, y), label, size=(0.6, 0.45), color=style.SKY)
    ax.text(0.5, y - 0.36, shape, ha="center", va="center", fontsize=9)
labels = ("$QK^T$", r"$\div\sqrt{d_k}$", "mask", "softmax", "dropout", "$\\times V$")
xs = np.linspace(1.9, 7.4, 6)
colors = (style.BLUE, style.BLUE, style.GREY, style.ORANGE, style.GREY, style.GREEN)
for x, label, color in zip(xs, labels, colors):
    style.box(ax, (x, 1.75), label, size=(0.85, 0.55), color=color)
for x, next_x in zip(xs[:-1], xs[1:]):
    style.arrow(ax, (x + 0.43, 1.75), (next_x - 0.43, 1.75))
for y, end in ((2.2, 1.85), (1.3, 1.65)):
    style.arrow(ax, (0.8, y), (1.47, end))
ax.plot([0.8, xs[-1]], [0.4, 0.4], color=style.INK, linewidth=1.6)
style.arrow(ax, (xs[-1], 0.4), (xs[-1], 1.47))
style.arrow(ax, (7.83, 1.75), (8.2, 1.75))
ax.text(8.25, 1.75, "answers\n[q, c]", va="center", fontsize=10)
ax.text((xs[0] + xs[1]) / 2, 1.25, "scores [q, k]", ha="center", fontsize=9)
ax.text((xs[3] + xs[4]) / 2, 1.25, "weights [q, k]", ha="center", fontsize=9)
plt.show()

# %% [markdown]
# The grey boxes are optional.
#
# The [*mask*](../docs/glossary.md#mask) says which keys may be seen: 1 for yes, 0 for no. We need
# it because proteins have different lengths: to compute several at once, the short ones are
# filled up with meaningless positions, and nobody must look at those. A masked score becomes a huge
# negative number, so that its weight after softmax is exactly 0.


# %%
def attention(Q, K, V, mask=None):
    """Answers [q, c] and weights [q, k]; mask [k] or [q, k] is 1 for keys that may be seen."""
    scores = Q @ K.T / np.sqrt(K.shape[-1])
    if mask is not None:
        scores = np.where(mask == 0, -1e9, scores)
    scores = scores - scores.max(axis=-1, keepdims=True)  # exercise 1
    weights = softmax(scores)
    return weights @ V, weights


Q = rng.normal(size=(3, 16))
K, V = rng.normal(size=(5, 16)), rng.normal(size=(5, 2))
mask = np.array([1, 1, 1, 0, 0])  # the last two keys are only filling
answers, weights = attention(Q, K, V, mask)
print(np.round(weights, 3))

# %% [markdown]
# **Predict first:** if we now put nonsense into the two masked values, what happens to the answers?

# %%
nonsense = V.copy()
nonsense[3:] = 1e6
assert np.array_equal(attention(Q, K, nonsense, mask)[0], answers)
print("nothing at all")

# %% [markdown]
# ### Dropout
#
# During training one may throw away some weights by chance, so that the network does not rely on
# a single key: [*dropout*](../docs/glossary.md#dropout). With rate $p$ each weight becomes 0 with
# probability $p$; the others are divided by $1 - p$, so that the *mean* stays what it was.
# When the trained network is used, dropout is off.

# %%
rate = 0.25
w = weights[0]
draws = np.array([np.where(rng.random(5) < rate, 0, w / (1 - rate)) for _ in range(20000)])
print("weights          ", np.round(w, 3))
print("three draws      ", *np.round(draws[:3], 3), sep="\n  ")
print("mean of all draws", np.round(draws.mean(axis=0), 2))
assert np.allclose(draws.mean(axis=0), w, atol=0.01)

# %% [markdown]
# Note that after dropout the weights of one query no longer add up to 1. AlphaFold2 does not drop
# single weights; it drops whole rows or columns of a layer's *result*. You will meet this in
# [lesson 05](05_evoformer.ipynb).
#
# ### Exercise 3 · Your own attention (needs a thought)
#
# Write `my_attention(Q, K, V, mask=None)` that returns the answers. Try not to look at ours: start
# from the drawing. It may use NumPy or PyTorch.


# %% nbgrader={"grade": false, "grade_id": "attention", "locked": false, "schema_version": 3, "solution": true, "task": false}
def my_attention(Q, K, V, mask=None):
    """Scaled dot-product attention; mask [k] is 1 for keys that may be seen."""
    ### BEGIN SOLUTION
    scores = np.einsum("ic,jc->ij", Q, K) / math.sqrt(Q.shape[-1])
    if mask is not None:
        scores = np.where(mask, scores, -np.inf)
    e = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.einsum("ij,jc->ic", e / e.sum(axis=1, keepdims=True), V)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check-attention", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
minifold.check("attention", my_attention)

# %% [markdown]
# ## 10 · The same in PyTorch, and in AlphaFold2
#
# [*PyTorch*](../docs/glossary.md#pytorch) computes with *tensors*: arrays that can live on a
# graphics card and know how to compute slopes. Our function, written with tensors:


# %%
def torch_attention(Q, K, V, mask=None):
    """Answers [*, q, c]; the star stands for any leading axes."""
    scores = Q @ K.transpose(-2, -1) / math.sqrt(K.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(mask == 0, -1e9)
    return torch.softmax(scores, dim=-1) @ V


tQ, tK, tV = (torch.from_numpy(x).float() for x in (Q, K, V))
tmask = torch.from_numpy(mask)
ours = torch_attention(tQ, tK, tV, tmask)
assert np.allclose(ours, answers, atol=1e-6)

theirs = F.scaled_dot_product_attention(tQ[None], tK[None], tV[None], attn_mask=tmask == 1)[0]
assert torch.allclose(ours, theirs, atol=1e-6)
print("NumPy, our PyTorch and PyTorch's own function agree")

# %% [markdown]
# Now the class that minifold uses everywhere, from the alignment to the side chains of proteins:
# `minifold.model.primitives.Attention`. It does one thing more. It makes queries, keys and values
# itself, by multiplying its input with matrices that are learned (the next lesson is about them).
# If those matrices change nothing (ones on the diagonal, zeros elsewhere), what remains must be our
# function. Queries and keys are made from `q_data` and `kv_data`; the values are made from `kv_data`,
# too, so for this test we let keys and values be the same vectors.

# %%
from minifold.model.primitives import Attention

layer = Attention(c_q=16, c_kv=16, c_out=16, heads=1, gated=False)
with torch.no_grad():
    for linear in (layer.q, layer.k, layer.v, layer.output):
        linear.weight.copy_(torch.eye(16))
    package = layer(tQ, tK, mask=tmask.float())
assert torch.allclose(package, torch_attention(tQ, tK, tK, tmask), atol=1e-6)
print("minifold's Attention agrees, too")

# %% [markdown]
# And to close the circle: can the very class that folds proteins search in our little database? Its
# input is one vector for each person: the name in one-hot code and, as the last number, the
# books. The key matrix picks the name, the value matrix picks the books, and the query is scaled
# so that division by $\sqrt{d_k}$ leaves us with the share of equal letters.

# %%
people = torch.tensor([[*one_hot(name), books] for name, books in database.items()]).float()
asked = torch.tensor(one_hot("Pvanov"))[None].float() * math.sqrt(182) / 6
pick_name, pick_books = torch.eye(183)[:182], torch.eye(183)[182:]

search = Attention(c_q=182, c_kv=183, c_out=1, heads=1, c_qk=182, c_v=1, gated=False)
with torch.no_grad():
    search.q.weight.copy_(torch.eye(182))
    search.k.weight.copy_(pick_name)
    search.v.weight.copy_(pick_books)
    search.output.weight.fill_(1)
    result = search(asked, people)
print(f"AlphaFold2's attention says: {result.item():.4f}")
assert abs(result.item() - 45.9415) < 1e-3

# %% [markdown]
# The number from section 4. AlphaFold2 is not given such matrices; it *learns* what to compare
# and what to fetch.
#
# ### Exercise 4 · A better search (open)
#
# Hamming similarity has a weakness. Lose one letter at the beginning, and every letter after it is
# compared with the wrong neighbour:

# %%
from minifold.checks.lesson_01 import found, typos

print(f"Ivanov and Ianov: {similarity('Ianov', 'Ivanov'):.2f}")
tests = typos()  # 120 misspelt names: a letter lost, added, changed or swapped
print("for example:", tests[:3])
hits = found(similarity, tests)
print(f"Hamming similarity finds {hits} of {len(tests)}")

# %% [markdown]
# Write `my_similarity(query, key)`, any number that is larger for more similar words, that finds at
# least 90 % of the 120. How far can you get? (An idea: which *pairs* of neighbouring letters do
# both words share? Or: how many single-letter changes lead from one word to the other?)


# %% nbgrader={"grade": false, "grade_id": "search", "locked": false, "schema_version": 3, "solution": true, "task": false}
def my_similarity(query, key):
    """Similarity of two words of any length: the share of letter pairs they have in common."""

    ### BEGIN SOLUTION
    def pairs(word):
        word = f"^{word.lower()}$"  # so that first and last letter count as pairs, too
        return {word[i : i + 2] for i in range(len(word) - 1)}

    common, all_pairs = pairs(query) & pairs(key), pairs(query) | pairs(key)
    return len(common) / len(all_pairs)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check-search", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
minifold.check("search", my_similarity)

# %% [markdown]
# ## Quiz
#
# <details><summary>1. All scores are equal. What are the weights, and does the temperature matter?</summary>
#
# All weights are 1/n for n keys, at any temperature: only differences of scores count, and there are none.
# </details>
#
# <details><summary>2. Can the answer of attention be larger than the largest value?</summary>
#
# No. The weights are positive and add up to 1, so the answer is a weighted average and lies between
# the smallest and the largest value. (With raw similarities it could: section 3. With dropout, too.)
# </details>
#
# <details><summary>3. You swap two keys together with their values. What happens to the answer?</summary>
#
# Nothing. A sum does not care about order. Attention by itself does not know which residue comes first
# in a protein; positions have to be written into the vectors.
# </details>
#
# <details><summary>4. Why is a masked score set to −10⁹ and not to 0?</summary>
#
# A score of 0 is an ordinary score with weight e⁰ = 1 before the division. Only a huge negative score has weight 0.
# </details>
#
# <details><summary>5. d_k grows from 16 to 64 and somebody forgets the division. By how much do typical scores grow?</summary>
#
# The variance grows fourfold, so typical scores double. That is as if the temperature had been halved.
# </details>
#
# ## In the paper
#
# - Attention as we use it: Vaswani et al., *Attention Is All You Need* (2017), section 3.2.1; the reason
#   for the division is in footnote 4.
# - Before that, attention was an addition to networks that translate a sentence word by word: Bahdanau, Cho and Bengio,
#   *Neural Machine Translation by Jointly Learning to Align and Translate* (2014).
# - AlphaFold2 (Jumper et al., *Nature* 596, 583, 2021), supplementary information, Algorithm 7, line 5: softmax of the scaled dot
#   product plus a bias (lesson 04); line 6: the weighted average of the values, times a gate (lesson 04). Algorithms 8, 13 and 14 contain the same two steps.
# - Dropout of whole rows and columns: supplement, section 1.11.6.
#
# ## In real AlphaFold2
#
# | | here | AlphaFold2 |
# |---|---|---|
# | a key stands for | a person | a residue of one sequence, a sequence at one residue, or a pair of residues |
# | length of query and key, $d_k$ | 16 | 32 in the Evoformer, 8 in the extra MSA stack, 16 for the scalar part of the structure module |
# | temperature | 1, then $\sqrt{d_k}$ | $\sqrt{d_k}$, and the learned matrices may scale the rest |
# | mask | $-10^9$ for masked scores | the same |
# | heads: attentions side by side | 1 | 8 over the MSA, 4 over pairs, 12 in the structure module |
# | layers with attention | 1 | 4 in each of the 48 Evoformer blocks: along rows and columns of the MSA, and twice over pairs |
#
# ## What next
#
# One comparison is not enough: two amino acids may be alike in size and unlike in charge.
# [Lesson 02](02_multi_head_attention.ipynb) lets several attentions look at the same data side by side, each with its own idea of similarity.
#
# <details><summary>Review: every claim of this lesson, and where it is shown</summary>
#
# | claim | where |
# |---|---|
# | attention began as an addition to translating networks (2014-2015) | by citation, In the paper |
# | attention alone does as well or better, for a hundredth of the training cost | **not shown**: Vaswani et al. compare costs in their Table 2; the factor depends on the rival |
# | it is of use far beyond language | for proteins: this course; for the rest, not shown |
# | attention is a fuzzy search in a dictionary: query, keys, values | 1: `KeyError`, drawing; 10: the package's class searches the dictionary, asserted |
# | similarity is 1 for the same word, 0 for nothing in common | 2: 0.8333, 0.5 and 0 printed |
# | the answer is a sum of values, each times its similarity | 2: 70.8333 asserted |
# | these similarities add up to more than 1 and are no probabilities | 3: sum printed; if all have 100, the answer is 133 |
# | softmax turns them into weights that add up to 1 | 4: weights and sum printed, 45.9415 asserted |
# | the weight is the probability that this key was meant | 5: asserted for a typist of a known error rate; else it is only a weight that adds up to 1 |
# | softmax is the sigmoid for many choices | 5: asserted for two keys |
# | softmax is the Boltzmann distribution; the sum below the line is the *Zustandssumme* | 5: formula, balls on levels (the score is *minus* the energy; they are equal, neither is more general); the word: text |
# | cold picks the best key, hot gives the mean | 5: table and curves |
# | a list of queries is answered at once | 6: matrix of weights, answers printed |
# | queries, keys and values are vectors, compared by dot product or cosine | 7: letters as vectors asserted; amino acids by both, asserted for the cosine |
# | the dot product is scaled, by $\sqrt{d_k}$ | 8: variance asserted for 4 to 1024 numbers; weights and slopes without it, asserted |
# | the picture: MatMul, Scale, Mask, Softmax, MatMul | 9, drawing |
# | masked keys get −10⁹ and no weight | 9: nonsense behind the mask changes nothing, asserted |
# | dropout of weights | 9: mean of 20,000 draws asserted |
# | the function in PyTorch | 10: asserted equal to NumPy, to PyTorch's own and to minifold's `Attention` |
#
# </details>
