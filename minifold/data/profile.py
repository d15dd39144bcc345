"""A profile hidden Markov model in full: HMMER's "Plan 7", its best path and its sum over paths.

    N ──► B ──► M1 ──► M2 ──► … ──► Mm ──► E ──► C      N, J, C: residues before, between and
          ▲      └► I1 ─┘▲                 │            after the domains of the family; each
          │      └► D2 ──┘                 │            of them, like Ik, may repeat itself
          └────────────── J ◄──────────────┘

Each column k of a family has a match state Mk, which emits one residue, an insert state Ik (more
residues before the next column) and a delete state Dk (no residue). Viterbi takes the maximum
where Forward takes the sum; nothing else differs, so both are one recursion here.

Sources: Durbin, Eddy, Krogh & Mitchison 1998, chapter 5; Eddy 2011, PLoS Comput Biol 7, e1002195.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from pyhmmer import plan7

from minifold.data.msa import Alignment, weights
from minifold.data.residues import GAP, RESTYPES, sequence_to_aatype
from minifold.data.search import AMINO

ORDER = [AMINO.symbols.index(letter) for letter in RESTYPES]  # our letters in HMMER's order
BACKGROUND = np.array(plan7.Background(AMINO).residue_frequencies, float)[ORDER]  # any protein
TRANSITIONS = "MM MI MD IM II DM DD".split()  # from the states of one column
PRIOR = np.array([0.96, 0.02, 0.02, 0.6, 0.4, 0.6, 0.4])  # what HMMER gives a single sequence
HALF = np.log(0.5)  # after a domain: is there another one?


@dataclass(frozen=True)
class Profile:
    """Probabilities of a family of m columns; scores are log-odds against ``BACKGROUND``.

    ``local``: a path may begin and end at every column; else it passes through all of them.
    """

    emissions: Float[np.ndarray, "m 20"]  # of the match states, in the order of RESTYPES
    transitions: Float[np.ndarray, "k 7"]  # k = m + 1: from column 0 (begin), 1, ..., m
    local: bool = True

    @classmethod
    def from_pyhmmer(cls, hmm: plan7.HMM, local: bool = True) -> Profile:
        """The parameters of a protein HMM of HMMER."""
        emissions = np.array(hmm.match_emissions, float)[1:, ORDER]
        return cls(emissions, np.array(hmm.transition_probabilities, float), local)

    @classmethod
    def from_alignment(cls, alignment: Alignment, pseudocounts: float = 5.0) -> Profile:
        """Count letters and transitions and add pseudocounts; similar rows share a weight.

        The pseudocounts are distributed as ``BACKGROUND`` and ``PRIOR``. Gaps at the ends of a row
        are missing, not deleted. An insertion beside a deletion is skipped: Plan 7 has none.
        """
        m = alignment.tokens.shape[1]
        letters = np.tile(pseudocounts * BACKGROUND, (m, 1))
        moves = np.tile(pseudocounts * PRIOR, (m + 1, 1))
        rows = zip(alignment.tokens, alignment.deletions, weights(alignment.tokens))
        for row, inserted, weight in rows:
            letters[row < 20, row[row < 20]] += weight
            states, present = np.where(row == GAP, "D", "M"), np.flatnonzero(row != GAP)
            for k in range(present.min(initial=m), present.max(initial=0)):  # column k + 1 to k + 2
                move = states[k] + states[k + 1]
                if inserted[k + 1] and move == "MM":
                    moves[k + 1, [1, 3, 4]] += weight * np.array([1, 1, inserted[k + 1] - 1])
                else:
                    moves[k + 1, TRANSITIONS.index(move)] += weight
        for same in ([0, 1, 2], [3, 4], [5, 6]):  # from M, from I, from D
            moves[:, same] /= moves[:, same].sum(axis=1, keepdims=True)
        return cls(letters / letters.sum(axis=1, keepdims=True), moves)

    def forward(self, sequence: str) -> float:
        """Bits by which the family explains a sequence better than chance does, all paths together.

        Raises:
            BadInput: the sequence is empty or has a letter that is no amino acid.
        """
        return self._fill(sequence_to_aatype(sequence), np.logaddexp)[0]

    def viterbi(self, sequence: str) -> tuple[float, list[tuple[str, int, int]]]:
        """Bits of the best path, and the path: (state, column or 0, residues so far), N to C.

        M and I emit the residue of that number; so do N, J, C where they repeat. Raises: see above.
        """
        score, t = self._fill(sequence_to_aatype(sequence), np.maximum)
        _, moves, enter, leave, stay, _ = self._scores(len(sequence))
        path = [("C", 0, len(sequence))]
        while path[-1] != ("N", 0, 0):  # from the end: which state before explains the score?
            state, k, i = path[-1]
            if state in "MID":
                c, r = {"M": (k - 1, i - 1), "I": (k, i - 1), "D": (k - 1, i)}[state]
                states = {"M": "MID", "I": "MI", "D": "MD"}[state]
                before = [(t[s][r, c] + moves[s + state][c], s, c, r) for s in states]
                before += [(t["B"][r] + enter[k - 1], "B", 0, r)] if state == "M" else []
            elif state == "E":
                columns = range(1, len(leave) + 1)
                before = [(t[s][i, c] + leave[c - 1], s, c, i) for s in "MD" for c in columns]
            elif state == "B":
                before = [(t[s][i], s, 0, i) for s in "NJ"]
            else:
                before = [(t[state][i - 1] + stay, state, 0, i - 1)]
                before += [(t["E"][i] + HALF, "E", 0, i)] if state != "N" else []
            path.append(max(before)[1:])
        return score, path[::-1]

    def _fill(self, tokens: Int[np.ndarray, " n"], add: np.ufunc) -> tuple[float, dict]:
        """Score, and for each state that of its paths after i residues, joined by ``add``."""
        n, m = len(tokens), len(self.emissions)
        match, moves, enter, leave, stay, go = self._scores(n)
        mm, mi, md, im, ii, dm, dd = moves.values()
        M, I, D = np.full((3, n + 1, m + 1), -np.inf)  # noqa: E741
        N, B, E, J, C = np.full((5, n + 1), -np.inf)
        N[0], B[0] = 0, go
        for i, token in enumerate(tokens, start=1):
            inside = add(add(M[i - 1] + mm, I[i - 1] + im), D[i - 1] + dm)[:-1]
            M[i, 1:] = match[:, token] + add(inside, B[i - 1] + enter)
            I[i, 1:m] = add(M[i - 1] + mi, I[i - 1] + ii)[1:m]  # emits the background: log-odds 0
            for k in range(2, m + 1):
                D[i, k] = add(M[i, k - 1] + md[k - 1], D[i, k - 1] + dd[k - 1])
            E[i] = add.reduce(add(M[i, 1:], D[i, 1:]) + leave)
            J[i], C[i] = add([J[i - 1] + stay, C[i - 1] + stay], E[i] + HALF)
            N[i] = N[i - 1] + stay
            B[i] = add(N[i], J[i]) + go
        chance = n * np.log(n / (n + 1)) - np.log(n + 1)  # of the length of a random sequence
        return (C[n] + go - chance) / np.log(2), dict(zip("MIDNBEJC", (M, I, D, N, B, E, J, C)))

    @np.errstate(divide="ignore")  # log 0: impossible
    def _scores(self, n: int) -> tuple:
        """Log-odds of residues, log of transitions, B → Mk, Mk or Dk → E, N → N, N → B.

        Global: before a first match Mk all columns are deleted; only the last one leads to E.
        Local: all pieces count alike, times how often paths use the column where they begin;
        leaving is free. N, J and C emit all n residues on average, in 3 visits.
        """
        odds, t, m = np.log(self.emissions / BACKGROUND), self.transitions, len(self.emissions)
        if self.local:
            used = [t[0, 0] + t[0, 1]]
            for mm, mi, _, _, _, dm, _ in t[1:m]:
                used.append(used[-1] * (mm + mi) + (1 - used[-1]) * dm)
            enter, leave = used / (used @ np.arange(m, 0, -1)), np.zeros(m)
        else:
            deleted = t[0, 2] * np.cumprod(np.append(1, t[1 : m - 1, 6]))
            enter = np.append(1 - t[0, 2], (deleted * t[1:m, 5])[: m - 1])
            leave = np.append(np.full(m - 1, -np.inf), 0)
        match = np.column_stack([odds, odds @ BACKGROUND])  # an unknown residue: the mean
        moves = dict(zip(TRANSITIONS, np.log(t).T))
        return match, moves, np.log(enter), leave, np.log(n / (n + 3)), np.log(3 / (n + 3))
