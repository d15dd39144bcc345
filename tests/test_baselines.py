"""Baselines: what they are, and what they score (the floors below every result)."""

import numpy as np
import pytest
import torch

from minifold.data.msa import read_alignment
from minifold.data.residues import ATOM_INDEX
from minifold.data.structures import read_structure
from minifold.errors import BadInput
from minifold.model.atoms import atom37_to_torsions, pseudo_beta
from minifold.physics.violations import find_violations
from minifold.training import baselines, metrics
from tests.conftest import ROOT

SHIPPED = sorted((ROOT / "data" / "structures").glob("*.cif"))
CA = ATOM_INDEX["CA"]


def batch(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.array(array, dtype=np.float32))[None]


def test_helix_is_a_right_handed_alpha_helix():
    positions, mask = baselines.helix("ACDEFGHIKLMNPQRSTVWY" * 2)
    x, m = batch(positions), batch(mask)
    ca = x[..., CA, :]
    assert mask.sum(-1).tolist() == [
        4 if letter == "G" else 5 for letter in "ACDEFGHIKLMNPQRSTVWY" * 2
    ]
    right, left = metrics.helix_turns(ca, m[..., CA])
    assert float(right) == 36 and float(left) == 0
    rise = float((ca[0, 36] - ca[0, 0]).norm()) / 36
    assert rise == pytest.approx(1.5, abs=0.06)
    aatype = torch.zeros(1, 40, dtype=torch.long)
    torsions, _, _ = atom37_to_torsions(aatype, x, m)
    degrees = torch.rad2deg(torch.atan2(torsions[..., 0], torsions[..., 1]))[0, 5, :3]
    assert degrees.abs().tolist() == pytest.approx([180, 57.8, 47.0], abs=0.1)
    found = find_violations(x[..., [0, 1, 2, 4, 3], :].new_zeros(1, 40, 14, 3) + _atom14(x),
                            _atom14_mask(m), torch.arange(40)[None], aatype)  # fmt: skip
    assert float(found.violated.sum()) == 0


def test_an_ideal_chain_has_the_torsions_it_was_built_from():
    phi, psi = np.random.default_rng(0).uniform(-180, 180, (2, 12))
    positions, mask = baselines.ideal_chain("A" * 12, phi, psi)
    aatype = torch.zeros(1, 12, dtype=torch.long)
    torsions, _, _ = atom37_to_torsions(aatype, batch(positions), batch(mask))
    degrees = torch.rad2deg(torch.atan2(torsions[..., 0], torsions[..., 1]))[0].numpy()
    np.testing.assert_allclose(np.abs(degrees[1:, 0]), 180, atol=0.1)
    np.testing.assert_allclose(degrees[1:, 1], phi[1:], atol=0.1)
    np.testing.assert_allclose(degrees[:, 2], psi, atol=0.1)


def _atom14(x: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.pad(x[..., [0, 1, 2, 4, 3], :], (0, 0, 0, 9))


def _atom14_mask(mask: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.pad(mask[..., [0, 1, 2, 4, 3]], (0, 9))


@pytest.mark.parametrize("n", [2, 20, 64, 150])
def test_random_walk_has_the_radius_of_a_protein(n):
    walk = baselines.random_walk(n, np.random.default_rng(0))
    steps = np.linalg.norm(np.diff(walk, axis=0), axis=-1)
    np.testing.assert_allclose(steps, 3.8, atol=1e-4)
    if n > 2:
        assert baselines.radius_of(walk) == pytest.approx(2.2 * n**0.38, rel=0.01)
    other = baselines.random_walk(n, np.random.default_rng(1))
    assert not np.allclose(walk, other)
    np.testing.assert_array_equal(walk, baselines.random_walk(n, np.random.default_rng(0)))


def test_floors(record_property, capsys):
    """Peers' mistake 12: errors shown without a baseline. Here are the floors of shipped proteins.

    lDDT-Cα of one point is about 0, of a random walk and of a straight helix about 0.3: below
    that nothing was learnt.
    """
    rng, table = np.random.default_rng(0), {}
    chains = [read_structure(path) for path in SHIPPED]
    library = [chain.positions[:, CA] for chain in chains]
    for k, chain in enumerate(chains):
        n, true, mask = len(chain.sequence), batch(chain.positions[:, CA]), batch(chain.mask[:, CA])
        others = [ca for i, ca in enumerate(library) if i != k]
        guesses = {
            "one point": baselines.one_point(n),
            "random walk": baselines.random_walk(n, rng),
            "helix": baselines.helix(chain.sequence)[0][:, CA],
        }
        if n <= max(len(ca) for ca in others):
            guesses["random structure"] = baselines.random_structure(others, n, rng)
            guesses["nearest structure"] = baselines.nearest_structures(others, [library[k]])[0][0]
        for name, guess in guesses.items():
            guess = batch(guess)
            scores = metrics.lddt(guess, true, mask), metrics.rmsd(guess, true, mask)
            table.setdefault(name, []).append([float(score) for score in scores])
    means = {name: np.mean(rows, axis=0) for name, rows in table.items()}
    with capsys.disabled():
        for name, (lddt, rmsd) in means.items():
            print(f"\n  {name:18s} lDDT-CA {lddt:.2f}  RMSD {rmsd:5.1f} Å", end="")
    record_property("floors", {name: list(map(float, row)) for name, row in means.items()})
    assert means["one point"][0] < 0.05
    assert 0.2 < means["random walk"][0] < 0.35
    assert 0.2 < means["helix"][0] < 0.5
    assert all(rmsd > 4 for name, (_, rmsd) in means.items() if name != "nearest structure")
    assert means["nearest structure"][0] > means["random structure"][0]


def test_floors_on_real_chains(shared_data):
    """One point, random walk and helix on 78 compact chains of 30 to 100 residues."""
    data = np.load(shared_data / "chains_backbone" / "backbone.npz")
    rng, scores, start = np.random.default_rng(0), [], data["offsets"]
    chosen = (data["split"] == "val") & data["compact"] & data["nr90"] & (np.diff(start) >= 30)
    for k in chosen.nonzero()[0]:
        true = batch(data["CA"][start[k] : start[k + 1]])
        n = true.shape[1]
        guesses = (
            baselines.one_point(n),
            baselines.random_walk(n, rng),
            baselines.helix("A" * n)[0][:, CA],
        )
        scores.append([float(metrics.lddt(batch(x), true, torch.ones(1, n))) for x in guesses])
    assert np.mean(scores, axis=0) == pytest.approx([0.01, 0.28, 0.28], abs=0.02)


def test_nearest_structures_are_the_nearest():
    """Targets of several lengths, against a plain search through all windows."""
    rng = np.random.default_rng(0)
    library = [baselines.random_walk(n, rng) for n in (30, 50, 40)]
    piece = library[1][7:27] @ np.diag([-1, -1, 1]).astype("f4") + 5
    targets = [piece, baselines.random_walk(45, rng), baselines.random_walk(20, rng)]
    found = baselines.nearest_structures(library, targets)

    def drmsd(a, b):
        upper = np.triu_indices(len(a), 1)
        a, b = (np.linalg.norm(x[:, None] - x[None], axis=-1)[upper] for x in (a, b))
        return np.sqrt(np.square(a - b).mean())

    for target, (window, distance) in zip(targets, found):
        n = len(target)
        windows = [ca[k : k + n] for ca in library for k in range(len(ca) - n + 1)]
        best = min(windows, key=lambda w: drmsd(w, target))
        np.testing.assert_array_equal(window, best)
        assert distance == pytest.approx(drmsd(best, target), abs=1e-4)
    np.testing.assert_array_equal(found[0][0], library[1][7:27])
    assert found[0][1] < 1e-4 and found[2][1] > 1


def test_a_library_that_is_too_short_is_refused():
    rng = np.random.default_rng(0)
    library = [baselines.random_walk(n, rng) for n in (30, 50)]
    window = baselines.random_structure(library, 45, rng)
    assert any(np.array_equal(window, library[1][k : k + 45]) for k in range(6))
    for function in (
        lambda: baselines.random_structure(library, 60, rng),
        lambda: baselines.nearest_structures(library, [library[0], np.zeros((60, 3))]),
        lambda: baselines.nearest_structures([], [np.zeros((60, 3))]),
    ):
        with pytest.raises(BadInput, match="60 residues"):
            function()


def test_shuffled_columns_keep_the_profile_and_the_query():
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, 22, (50, 30)).astype(np.int8)
    tokens[:, 1] = tokens[:, 0]  # two columns that vary together
    shuffled = baselines.shuffle_columns(tokens, np.random.default_rng(1))
    np.testing.assert_array_equal(shuffled[0], tokens[0])
    np.testing.assert_array_equal(np.sort(shuffled, axis=0), np.sort(tokens, axis=0))
    assert (shuffled[:, 0] == shuffled[:, 1]).mean() < 0.3
    assert shuffled.dtype == tokens.dtype


@pytest.mark.parametrize("score", [baselines.direct_coupling, baselines.mutual_information])
def test_couplings_find_columns_that_vary_together(score):
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, 20, (300, 12))
    tokens[:, 9] = (tokens[:, 2] + 5) % 20
    scores = score(tokens)
    np.testing.assert_allclose(scores, scores.T, atol=1e-8)
    assert np.unravel_index(scores.argmax(), scores.shape) in [(2, 9), (9, 2)]
    others = np.delete(scores[np.triu_indices(12, 1)], 2 * 12 - 3 + 9 - 3)
    assert scores[2, 9] > 3 * np.sort(others)[-2]


def test_direct_coupling_tells_direct_from_indirect():
    """A chain 0-4-8 of couplings: mutual information of the ends is high, their coupling is not."""
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, 4, (4000, 9))

    def copy(column):
        return np.where(rng.random(4000) < 0.7, column, rng.integers(0, 4, 4000))

    tokens[:, 4] = copy(tokens[:, 0])
    tokens[:, 8] = copy(tokens[:, 4])
    direct, mutual = baselines.direct_coupling(tokens), baselines.mutual_information(tokens)
    assert direct[0, 8] / direct[0, 4] < 0.5 * mutual[0, 8] / mutual[0, 4]


def test_couplings_of_a_real_family_are_contacts():
    """The Kunitz family against BPTI: several times better than random, gone when shuffled."""
    chain = read_structure(ROOT / "data" / "structures" / "1bpi.cif")
    tokens = read_alignment(ROOT / "data" / "sample_msas" / "kunitz_1bpi.a3m").tokens
    aatype = torch.from_numpy(chain.aatype).long()[None]
    cb, mask = pseudo_beta(aatype, batch(chain.positions), batch(chain.mask))
    rng = np.random.default_rng(0)

    def precision(scores):
        return float(metrics.contact_precision(batch(scores), cb, mask))

    random = np.mean([precision(rng.normal(size=(58, 58))) for _ in range(40)])
    real = precision(baselines.direct_coupling(tokens))
    shuffled = precision(baselines.direct_coupling(baselines.shuffle_columns(tokens, rng)))
    assert real > 4 * random
    assert real > 1.7 * shuffled
