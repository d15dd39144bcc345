"""Toy protein families: sequences that evolve on a tree while their fold holds still.

A Potts model says which amino acids like to touch: J_ij(a, b) = Σ_k w_ijk f_k(a) f_k(b) over
charge, volume, hydropathy, aromaticity and polarity. Only residues that touch in the fold are
coupled, so that columns that vary together betray contacts: the signal that AlphaFold2 reads.

Every column has exactly two strong couplings and a weak one. Where the fold offers no partner, a
*hidden* one (a ligand, another chain) evolves with the family and is never shown: else the number
of couplings of a column, visible in its entropy, would tell where it is in the fold without any
covariation.

After Göbel et al. 1994 (correlated mutations) and Weigt et al. 2009, Morcos et al. 2011 (Potts).
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor

from minifold.data.residues import RESTYPES
from minifold.data.toyfolds import PRECISE

GAP = 21
CYS = RESTYPES.index("C")
EARLY = 4  # the first branches of the tree are longer, by 4 and 2
SLOTS = 3  # couplings of a column: two long-range (|i - j| >= 6), one short-range
SLOT_STRENGTH = (1.0, 1.0, 0.6)
# Unlike charges and volumes attract, always. Whether like or unlike hydropathy, aromaticity and
# polarity do (0) is drawn for every contact: if like always sought like, patches of one kind would
# grow over the fold and every column alone would tell to which it belongs.
PHYSICAL_SIGN = (-1.0, -1.0, 0.0, 0.0, 0.0)

# Charge; volume (Å^3, Zamyatnin 1972); hydropathy (Kyte & Doolittle 1982); aromatic; polar. Then
# frequency in vertebrates (%), propensity for helix, strand and turn (Chou & Fasman 1978).
_TABLE = """
A  0    88.6  1.8 0   0  7.4 1.42 0.83 0.66
R  1   173.4 -4.5 0   1  4.2 0.98 0.93 0.95
N  0   114.1 -3.5 0   1  4.4 0.67 0.89 1.56
D -1   111.1 -3.5 0   1  5.9 1.01 0.54 1.46
C  0   108.5  2.5 0   0  3.3 0.70 1.19 1.19
Q  0   143.8 -3.5 0   1  3.7 1.11 1.10 0.98
E -1   138.4 -3.5 0   1  5.8 1.51 0.37 0.74
G  0    60.1 -0.4 0   0  7.4 0.57 0.75 1.56
H  0.3 153.2 -3.2 0.5 1  2.9 1.00 0.87 0.95
I  0   166.7  4.5 0   0  3.8 1.08 1.60 0.47
L  0   166.7  3.8 0   0  7.6 1.21 1.30 0.59
K  1   168.6 -3.9 0   1  7.2 1.16 0.74 1.01
M  0   162.9  1.9 0   0  1.8 1.45 1.05 0.60
F  0   189.9  2.8 1   0  4.0 1.13 1.38 0.60
P  0   112.7 -1.6 0   0  5.0 0.57 0.55 1.52
S  0    89.0 -0.8 0   1  8.1 0.77 0.75 1.43
T  0   116.1 -0.7 0   1  6.2 0.83 1.19 0.96
W  0   227.8 -0.9 1   0  1.3 1.08 1.37 0.96
Y  0   193.6 -1.3 1   0  3.3 0.69 1.47 1.14
V  0   140.0  4.2 0   0  6.8 1.06 1.70 0.50
"""
_NUMBERS = torch.tensor(
    [[float(x) for x in line.split()[1:]] for line in _TABLE.strip().split("\n")], dtype=PRECISE
)


def _features() -> Float[Tensor, "20 5"]:
    """Properties of the amino acids, with mean 0, variance 1 and no correlation.

    Whitening (the symmetric kind, which stays near the original properties) gives a coupling five
    independent ways to be satisfied: much mutual information, and yet neither end freezes.
    """
    values = _NUMBERS[:, :5] - _NUMBERS[:, :5].mean(0)
    values = values / values.std(0, correction=0)
    scale, axes = torch.linalg.eigh(values.T @ values / 20)
    return values @ (axes * scale.rsqrt()) @ axes.T


FEATURES = _features()
LOG_BACKGROUND = (_NUMBERS[:, 5] / 100).log()
# Left-handed residues (φ > 0) are mostly glycine, asparagine and aspartate.
LEFT_HANDED = torch.tensor(
    [{"G": 5.0, "N": 2.0, "D": 1.0}.get(letter, -1.0) for letter in RESTYPES], dtype=PRECISE
)
PROPENSITY = (
    _NUMBERS[:, [8, 6, 7]].log().T
)  # [3, 20]: loop, helix, strand, as the codes of `toyfolds`


def find_partners(
    square: Float[Tensor, "b i i"], mask: Float[Tensor, "b i"]
) -> Int[Tensor, "b i 3"]:
    """Partners of every residue, -1 where there is none, from squared CB distances (Å²).

    Contacts (8 Å) are taken in turn, each the nearest free one for both of its residues.
    """
    b, n = mask.shape
    apart = (torch.arange(n)[:, None] - torch.arange(n)).abs().to(mask.device)
    touching = (square < 64) & (mask[:, :, None] * mask[:, None] > 0)
    partners = torch.full((b, n, SLOTS), -1, device=mask.device)
    own = torch.arange(n, device=mask.device).expand(b, n)
    for slots, allowed in (((0, 1), apart >= 6), ((2,), (apart >= 2) & (apart < 6))):
        cost = torch.where(touching & allowed, square, torch.inf)
        for _ in range(5 * len(slots)):
            price, best = cost.min(-1)
            matched = (best.gather(1, best) == own) & price.isfinite()
            rows, i = matched.nonzero(as_tuple=True)
            j = best[rows, i]
            slot = slots[0] + (partners[rows, i][:, list(slots)] >= 0).sum(-1)
            partners[rows, i, slot] = j
            cost[rows, i, j] = torch.inf  # used up
            full = (partners[:, :, list(slots)] >= 0).all(-1)
            cost = cost.masked_fill(full[:, :, None] | full[:, None], torch.inf)
    return partners


@dataclass
class Potts:
    """The Potts models of b families as one graph of v = b * i visible and 3 * v hidden sites.

    Sites 0 to v - 1 are residues; site v + 3 * residue + slot is the hidden partner in that slot.
    """

    field: Float[Tensor, "v 20"]  # of the visible sites, balance included
    balance: Float[Tensor, "v 3 20"]  # what makes a coupling alone favour no amino acid
    partner: Int[Tensor, "v 3"]  # site that sits in each slot
    weight: Float[Tensor, "v 3 5"]  # w_k of each slot
    colours: list[Int[Tensor, "_"]]  # visible sites without couplings among themselves
    hidden: Int[Tensor, "_"]  # slots (3 * visible site + slot) that hold a hidden partner


def make_potts(
    partners: Int[Tensor, "b i 3"],
    field: Float[Tensor, "b i 20"],
    coupling: float,
    hidden: bool,
    physical: bool,
    generator: Generator,
) -> Potts:
    """Draw the couplings; both ends of a coupling get the same weights."""
    b, n, _ = partners.shape
    device, v = field.device, b * n
    spread = 0.75 + 0.5 * torch.rand(v, SLOTS, 5, generator=generator, device=device)
    sign = torch.where(torch.rand(v, SLOTS, 5, generator=generator, device=device) < 0.5, -1.0, 1.0)
    if physical:
        known = torch.tensor(PHYSICAL_SIGN, device=device)
        sign = torch.where(known == 0, sign, known)
    slot_strength = torch.tensor(SLOT_STRENGTH, device=device, dtype=PRECISE)[:, None]
    weight = coupling * spread * sign * slot_strength

    site = torch.arange(v, device=device).view(b, n, 1).expand(b, n, SLOTS)
    slot = torch.arange(SLOTS, device=device).expand(b, n, SLOTS)
    start = torch.arange(b, device=device)[:, None, None] * n
    absent = partners < 0
    other = torch.where(absent, site, partners + start)
    # The slot of the other residue that points back here.
    back = (partners.view(v, SLOTS)[other] == (site - start)[..., None]).float().argmax(-1)
    weight = weight * (hidden | ~absent.view(v, SLOTS, 1))
    lead = absent | (site < other)  # this end's draw counts for both
    weight = weight[
        torch.where(lead, site, other).view(v, SLOTS), torch.where(lead, slot, back).view(v, SLOTS)
    ]
    hidden_site = v + SLOTS * site + slot
    balance = _balance(weight)
    return Potts(
        field=field.reshape(v, 20) + balance.sum(1),
        balance=balance,
        partner=torch.where(absent, hidden_site, other).view(v, SLOTS),
        weight=weight,
        colours=_colours(partners),
        hidden=absent.flatten().nonzero()[:, 0],
    )


def _balance(weight: Float[Tensor, "v 3 5"]) -> Float[Tensor, "v 3 20"]:
    """Fields that undo what a coupling does to the frequencies of its two ends (Sinkhorn scaling).

    Without them aromatic residues, say, would pile up where contacts are many, and every column by
    itself would tell how deep it lies in the fold.
    """
    features = FEATURES.to(weight.device)
    table = torch.einsum("vpk,ak,ck->vpac", weight, features, features).flatten(0, 1).exp()
    scale = torch.ones_like(table[:, :, :1])
    for _ in range(8):
        scale = (scale / torch.bmm(table, scale)).sqrt()
    return scale.log().view(*weight.shape[:2], 20)


def _colours(partners: Int[Tensor, "b i 3"]) -> list[Int[Tensor, "_"]]:
    """Greedy colouring: sites of one colour have no coupling among them and can move at once."""
    b, n, slots = partners.shape
    colour = torch.full((b, n + 1), slots + 1, device=partners.device)  # last column: no partner
    lookup = partners.remainder(n + 1)
    for i in range(n):
        around = colour.gather(1, lookup[:, i])
        used = (around[:, :, None] == torch.arange(slots + 1, device=colour.device)).any(1)
        colour[:, i] = used.float().argmin(1)
    flat = colour[:, :n].flatten()
    return [where for c in range(slots + 1) if len(where := (flat == c).nonzero()[:, 0])]


def evolve(potts: Potts, depth: int, sweeps: int, generator: Generator) -> Int[Tensor, "v s"]:
    """Gibbs sampling along a binary tree -> amino acids of the visible sites in s >= depth leaves.

    One sequence is burnt in, then the family doubles and moves on for `sweeps` sweeps, until it has
    `depth` leaves or, as it doubles, a few more.
    """
    device, v = potts.field.device, len(potts.field)
    features, upper = FEATURES.to(device), potts.field.new_ones(20, 20).triu()

    def draw(cumulative: Float[Tensor, "n s 20"]) -> Int[Tensor, "n s"]:
        uniform = torch.rand(*cumulative.shape[:2], 1, generator=generator, device=device)
        return torch.searchsorted(cumulative, uniform * cumulative[..., -1:])[..., 0]

    # What a hidden site wants depends on one neighbour only: a table of 20 cases.
    owner, weight = potts.hidden // SLOTS, potts.weight.flatten(0, 1)[potts.hidden]
    push = torch.einsum("hk,ak,ck->hac", weight, features, features)
    wish = (push + potts.balance.flatten(0, 1)[potts.hidden][:, None]).exp() @ upper
    rows = torch.arange(len(owner), device=device)[:, None]

    tokens = torch.randint(20, (v, 1), generator=generator, device=device)
    state = features[torch.randint(20, (v * (1 + SLOTS), 1), generator=generator, device=device)]
    state[:v] = features[tokens]
    colours = [
        (sites, potts.partner[sites].T, potts.weight[sites].transpose(0, 1)[:, :, None])
        for sites in potts.colours
    ]
    while True:
        for _ in range(sweeps * max(1, EARLY // tokens.shape[1])):
            for sites, partners, weights in colours:
                push = sum(state[p] * w for p, w in zip(partners, weights, strict=True))
                likelihood = (push @ features.T).add_(potts.field[sites][:, None]).exp_()
                tokens[sites] = new = draw(likelihood @ upper)
                state[sites] = features[new]
            state[v + potts.hidden] = features[draw(wish[rows, tokens[owner]])]
        if tokens.shape[1] >= depth:
            return tokens
        tokens, state = tokens.repeat(1, 2), state.repeat(1, 2, 1)


def add_disulfides(
    field: Float[Tensor, "b i 20"],
    partners: Int[Tensor, "b i 3"],
    square: Float[Tensor, "b i i"],
    chance: float,
    generator: Generator,
) -> None:
    """Keep a cysteine pair (CB within 4.5 Å) with this chance: changes `field` in place."""
    first = partners[..., 0]
    distance = square.gather(2, first.clamp(min=0)[..., None])[..., 0].masked_fill(
        first < 0, torch.inf
    )
    nearest, i = distance.min(1)
    lucky = torch.rand(len(field), generator=generator, device=field.device) < chance
    row = (lucky & (nearest < 4.5**2)).nonzero()[:, 0]
    i = i[row]
    field[row, i, CYS] += 8
    field[row, first[row, i], CYS] += 8


def add_indels(
    tokens: Int[Tensor, "b s i"], weight: Float[Tensor, "b i"], rate: float, generator: Generator
) -> tuple[Int[Tensor, "b s i"], Int[Tensor, "b s i"]]:
    """Deletions and insertions in the leaves of a tree, in their order -> tokens, deletions.

    A sequence loses a block of residues with chance `rate`, and gains one; so does an eighth of the
    family as a whole. `weight` says where this is likely. Block lengths are geometric, about 3.
    """
    b, s, n = tokens.shape
    device = tokens.device
    gap, deletions = torch.zeros_like(tokens, dtype=torch.bool), torch.zeros_like(tokens)
    column = torch.arange(n, device=device)
    for group in {1, max(1, s // 8)}:
        rows = s // group
        place = torch.multinomial(weight, 2 * rows, replacement=True, generator=generator)
        place = place.view(b, rows, 2, 1)
        happens = torch.rand(b, rows, 2, 1, generator=generator, device=device) < rate
        waiting = torch.rand(b, rows, 2, 1, generator=generator, device=device).log()
        size = (1 - 2.5 * waiting).long() * happens
        lost = (column >= place[:, :, 0]) & (column < place[:, :, 0] + size[:, :, 0])
        gained = (column == place[:, :, 1]) * (column > 0) * size[:, :, 1]
        gap |= lost.repeat_interleave(group, 1)
        deletions += gained.repeat_interleave(group, 1)
    return tokens.masked_fill(gap, GAP), deletions
