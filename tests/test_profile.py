"""The profile HMM from scratch: against HMMER, against all paths one by one, and by hand."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import numpy as np
import pytest
from pyhmmer import plan7

from minifold.data import profile as module
from minifold.data.msa import Alignment, Record, anchored, read_alignment, read_fasta
from minifold.data.profile import BACKGROUND, PRIOR, TRANSITIONS, Profile
from minifold.data.residues import GAP, RESTYPES, sequence_to_aatype
from minifold.data.search import AMINO, digital, profile_of
from minifold.errors import BadInput
from tests.conftest import ROOT

DATA = ROOT / "data"
FAMILIES = {"kunitz": "kunitz_1bpi", "rrm": "rrm", "fn3": "fn3", "tautomerase": "tautomerase"}
TOLERANCE = 1e-3  # bits; HMMER computes with 32-bit numbers


def family(name: str) -> Alignment:
    return read_alignment(DATA / "sample_msas" / f"{FAMILIES[name]}.a3m")


def sequences(name: str) -> list[tuple[str, str]]:
    return read_fasta(DATA / "sequences" / f"{name}.fasta")


def hmmers_hits(hmm: plan7.HMM, records: list[tuple[str, str]]) -> list[plan7.Hit]:
    """What HMMER says of every sequence, without its filters and corrections."""
    pipeline = plan7.Pipeline(
        AMINO, bias_filter=False, null2=False, F1=1.0, F2=1.0, F3=1.0, E=1e9, domE=1e9
    )
    block = digital([(str(k), letters) for k, (_, letters) in enumerate(records)])
    return list(pipeline.search_hmm(hmm, block))


# --- Against HMMER --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("rows", [1, None])
def test_forward_is_hmmers_score(name, rows):
    """To 0.001 bits, for profiles of one sequence and of families, for members and strangers.

    Where the sum over its domains is higher, HMMER reports that instead of the Forward score.
    """
    alignment = family(name)
    hmm = profile_of(alignment.take(np.arange(rows or alignment.depth)))
    ours = Profile.from_pyhmmer(hmm)
    stranger = "rrm" if name == "kunitz" else "kunitz"
    records = sequences(name)[:14] + sequences(stranger)[:4]
    records += [("twice", 2 * sequences(name)[1][1]), ("unknown", "XX" + sequences(name)[2][1])]
    compared, scores = 0, []
    for hit in hmmers_hits(hmm, records):
        bits = ours.forward(records[int(hit.name)][1])
        scores.append(bits)
        if hit.pre_score == hit.sum_score:
            assert bits < hit.pre_score + TOLERANCE
        else:
            assert bits == pytest.approx(hit.pre_score, abs=TOLERANCE)
            compared += 1
    assert compared >= 10 and max(scores) > 60 > 10 > min(scores)


@pytest.mark.parametrize("name", ["kunitz", "fn3"])
def test_viterbi_aligns_as_hmmer_does(name):
    """HMMER takes the most probable pairs, Viterbi the most probable path: nearly the same."""
    hmm = profile_of(family(name))
    ours, records = Profile.from_pyhmmer(hmm), sequences(name)[:12]
    agree = total = 0
    for hit in hmmers_hits(hmm, records):
        a = max(hit.domains, key=lambda d: d.score).alignment
        theirs, column, residue = set(), a.hmm_from, a.target_from
        for model, letter in zip(a.hmm_sequence, a.target_sequence):
            if model != "." and letter != "-":
                theirs.add((column, residue))
            column, residue = column + (model != "."), residue + (letter != "-")
        _, path = ours.viterbi(records[int(hit.name)][1])
        agree += len(theirs & {(k, i) for state, k, i in path if state == "M"})
        total += len(theirs)
    assert agree >= 0.93 * total and total > 500


# --- Against all paths ----------------------------------------------------------------------------


def random_profile(m: int, local: bool, seed: int) -> Profile:
    rng = np.random.default_rng(seed)
    moves = rng.random((m + 1, 7)) + 0.05
    for same in ([0, 1, 2], [3, 4], [5, 6]):
        moves[:, same] /= moves[:, same].sum(axis=1, keepdims=True)
    return Profile(rng.dirichlet(np.ones(20), m), moves, local)


def all_paths(p: Profile, tokens: np.ndarray) -> Iterator[tuple[float, tuple]]:
    """(log-odds, path) of every path, one after the other, straight from the picture."""
    n, m = len(tokens), len(p.emissions)
    t = {name: np.log(p.transitions[:, k]) for k, name in enumerate(TRANSITIONS)}
    stay, go = np.log(n / (n + 3)), np.log(3 / (n + 3))

    def emission(k: int, i: int) -> float:
        return np.log(p.emissions[k - 1, tokens[i]] / BACKGROUND[tokens[i]])

    def begin(k: int) -> float:
        """B → Mk: through deleted columns, or, locally, as often as paths use column k."""
        if not p.local:
            if k == 1:
                return np.log(1 - p.transitions[0, 2])
            return t["MD"][0] + t["DD"][1 : k - 1].sum() + t["DM"][k - 1]
        used = [1 - p.transitions[0, 2]]
        for k_ in range(1, m):
            match = p.transitions[k_, 0] + p.transitions[k_, 1]
            used.append(used[-1] * match + (1 - used[-1]) * p.transitions[k_, 5])
        return np.log(used[k - 1] / sum(u * (m - k_) for k_, u in enumerate(used)))

    def after(state: str, k: int, i: int) -> Iterator[tuple[float, tuple[str, int, int]]]:
        """The states that may follow, with what it costs to get there and to emit there."""
        if state in "NJC" and i < n:
            yield stay, (state, 0, i + 1)
        if state in "NJ":
            yield go, ("B", 0, i)
        if state == "B" and i < n:
            for first in range(1, m + 1):
                yield begin(first) + emission(first, i), ("M", first, i + 1)
        if state == "E":
            yield np.log(0.5), ("J", 0, i)
            yield np.log(0.5), ("C", 0, i)
        if state in "MID" and k < m:
            if i < n:
                yield t[state + "M"][k] + emission(k + 1, i), ("M", k + 1, i + 1)
            if i < n and state != "D":
                yield t[state + "I"][k], ("I", k, i + 1)
            if state != "I":
                yield t[state + "D"][k], ("D", k + 1, i)
        if state in "MD" and (p.local or k == m):
            yield 0.0, ("E", 0, i)

    stack = [(0.0, (("N", 0, 0),))]
    while stack:
        score, path = stack.pop()
        state, k, i = path[-1]
        if state == "C" and i == n:
            yield score + go, path
        stack += [(score + more, (*path, next_)) for more, next_ in after(state, k, i)]


@pytest.mark.parametrize("local", [True, False])
@pytest.mark.parametrize(
    ("m", "letters"), [(1, "AC"), (2, "WAC"), (3, "CDE"), (3, "A"), (4, "GCW")]
)
def test_viterbi_is_the_best_path_and_forward_the_sum(m, letters, local):
    p = random_profile(m, local, seed=m)
    tokens = sequence_to_aatype(letters)
    paths = list(all_paths(p, tokens))
    assert len(paths) == len({path for _, path in paths}) > m - 1
    n = len(letters)
    chance = n * np.log(n / (n + 1)) + np.log(1 / (n + 1))
    scores = np.array([score for score, _ in paths])
    assert p.forward(letters) == pytest.approx((np.logaddexp.reduce(scores) - chance) / np.log(2))
    bits, path = p.viterbi(letters)
    best, best_path = max(paths)
    assert bits == pytest.approx((best - chance) / np.log(2))
    assert tuple(path) == best_path
    assert bits < p.forward(letters)


@pytest.mark.parametrize("name", ["kunitz", "rrm"])
def test_a_path_emits_every_residue_once(name):
    p = Profile.from_alignment(family(name))
    letters = "GSGS" + sequences(name)[3][1] + "GSGSGS" + sequences(name)[4][1]
    _, path = p.viterbi(letters)
    assert path[0] == ("N", 0, 0) and path[-1] == ("C", 0, len(letters))
    emitted = [b[2] for a, b in zip(path, path[1:]) if b[0] in "MI" or a[0] == b[0] != "D"]
    assert emitted == list(range(1, len(letters) + 1))
    assert [state for state, _, _ in path].count("B") == 2  # it has the domain twice


# --- From an alignment ----------------------------------------------------------------------------


def test_counts_by_hand():
    """Three unlike rows (weight 1 each), 2 pseudocounts: an insertion of two, a deletion, ends."""
    rows = ["ACDEF", "GHwyI-L", "--KMN"]
    alignment = anchored([Record(str(k), row) for k, row in enumerate(rows)], "here")
    p = Profile.from_alignment(alignment, pseudocounts=2.0)
    column = np.zeros(20)
    for letter in "DIK":
        column[RESTYPES.index(letter)] += 1
    np.testing.assert_allclose(p.emissions[2], (column + 2 * BACKGROUND) / 5, rtol=1e-6)
    column = np.zeros(20)
    for letter in "EM":
        column[RESTYPES.index(letter)] += 1
    np.testing.assert_allclose(p.emissions[3], (column + 2 * BACKGROUND) / 4, rtol=1e-6)
    mm, mi, md, im, ii, dm, dd = p.transitions.T
    prior = dict(zip(TRANSITIONS, 2 * PRIOR))
    # column 2: C → D matches, H → wy → I inserts; row 3 has not begun
    assert mm[2] == pytest.approx((1 + prior["MM"]) / 4)
    assert mi[2] == pytest.approx((1 + prior["MI"]) / 4)
    assert (im[2], ii[2]) == pytest.approx(((1 + prior["IM"]) / 4, (1 + prior["II"]) / 4))
    # column 3: D → E, K → M, and I → deleted; column 4: deleted → L
    assert md[3] == pytest.approx((1 + prior["MD"]) / 5)
    assert mm[3] == pytest.approx((2 + prior["MM"]) / 5)
    assert dm[4] == pytest.approx((1 + prior["DM"]) / 3)
    # nothing begins with a deletion: missing ends are not counted
    np.testing.assert_allclose(p.transitions[0], PRIOR)


def test_similar_rows_share_a_vote():
    rng = np.random.default_rng(0)
    rows = ["".join(rng.choice(list(RESTYPES), 30)) for _ in range(3)]
    once = anchored([Record(str(k), row) for k, row in enumerate(rows)], "here")
    often = once.take(np.array([0, 1, 1, 1, 1, 2]))
    one, two = Profile.from_alignment(once), Profile.from_alignment(often)
    np.testing.assert_allclose(one.emissions, two.emissions, rtol=1e-5)
    np.testing.assert_allclose(one.transitions, two.transitions, rtol=1e-5)


@pytest.mark.parametrize("name", FAMILIES)
def test_half_of_a_family_finds_the_other_half(name):
    """Every held-out member scores above every stranger, with our own profile."""
    alignment, records = family(name), sequences(name)
    p = Profile.from_alignment(alignment.take(np.arange(0, alignment.depth, 2)))
    np.testing.assert_allclose(p.emissions.sum(axis=1), 1)
    for same in ([0, 1, 2], [3, 4], [5, 6]):
        np.testing.assert_allclose(p.transitions[:, same].sum(axis=1), 1)
    members = [p.forward(letters) for _, letters in records[1::8]]
    strangers = [
        p.forward(letters)
        for other in FAMILIES
        if other != name
        for _, letters in sequences(other)[::24]
    ]
    backwards = [p.forward(letters[::-1]) for _, letters in records[1::16]]
    assert min(members) > 10 > max(strangers + backwards)


def test_rows_without_residues_change_nothing():
    alignment = family("kunitz").take(np.arange(5))
    empty = alignment.take(np.array([0, 1, 2, 3, 4, 4]))
    empty.tokens[5] = GAP
    one, two = Profile.from_alignment(alignment), Profile.from_alignment(empty)
    np.testing.assert_allclose(one.emissions, two.emissions)
    np.testing.assert_allclose(one.transitions, two.transitions)


# --- The promise of the lesson, and bad input -----------------------------------------------------


def test_all_of_it_is_at_most_150_lines():
    assert len(inspect.getsource(module).splitlines()) <= 150


@pytest.mark.parametrize(("letters", "says"), [("", "is empty"), ("AC1", "'1' at position 3")])
def test_bad_sequences_are_refused(letters, says):
    p = random_profile(3, True, 0)
    for method in (p.forward, p.viterbi):
        with pytest.raises(BadInput, match=says):
            method(letters)
