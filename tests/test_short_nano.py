"""The weights short-nano, and the benchmark that measures them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import minifold
from benchmarks.short_nano import Short, fold_class, read_bundle, scores_of, summary, threaded
from minifold.data.residues import ATOM_INDEX
from minifold.data.structures import read_structure
from minifold.errors import BadInput
from minifold.training import baselines
from minifold.training.sources import Example
from tests.conftest import ROOT

CA = ATOM_INDEX["CA"]


@pytest.fixture(scope="module")
def model():
    return minifold.load("short-nano").eval()


@pytest.mark.parametrize("name, least", [("1l2y", 0.45), ("1vii", 0.42), ("1ubq", 0.33)])
def test_it_folds_possible_chains_that_it_has_not_seen(model, name, least):
    """A sequence alone gives no fold: but the chain holds together, and turns to the right."""
    truth = read_structure(ROOT / "data" / "structures" / f"{name}.cif")
    predicted = minifold.fold(truth.sequence, model)
    scores = scores_of(torch.from_numpy(predicted.positions), truth)
    assert scores["lddt_ca"] > least  # walk and helix: see results/short_nano.md
    assert scores["clashes"] <= 0.02 and scores["bond"] < 0.05
    assert 0.7 < scores["rg_ratio"] < 1.3
    assert scores["turns_right"] >= scores["turns_left"]


def test_it_is_small_and_settles(model):
    assert model.config.settle and model.config.name == "nano"
    assert (ROOT / "weights" / "short-nano.safetensors").stat().st_size < 5e6
    assert (ROOT / "weights" / "short-nano.md").is_file()


def test_without_the_data_one_line_says_so(tmp_path):
    with pytest.raises(BadInput, match="--data"):
        read_bundle(tmp_path, "train")


def bundle(folder, sequence: str) -> None:
    """A bundle of one helix, as the data have it: the last O is not known."""
    n = len(sequence)
    positions, _ = baselines.helix(sequence)
    oxygen = positions[:, ATOM_INDEX["O"]].copy()
    oxygen[-1] = np.nan
    letters = {"seq": sequence, "ss_observed": "H" * n, "ss_predicted": "H" * n}
    arrays = {k: np.array([x.encode() for x in v]) for k, v in letters.items()}
    arrays |= {key: positions[:, ATOM_INDEX[key]] for key in ("N", "CA", "C")}
    facts = {"ids": "1ABC_A", "split": "val", "cluster": 7, "compact": True, "nr90": True}
    (folder / "chains_backbone").mkdir()
    np.savez(
        folder / "chains_backbone" / "backbone.npz",
        O_rebuilt=oxygen,
        offsets=np.array([0, n]),
        **arrays,
        **{key: np.array([value]) for key, value in facts.items()},
    )


def test_a_bundle_becomes_chains_with_an_ideal_cb(tmp_path):
    sequence = "AG" * 20
    bundle(tmp_path, sequence)
    assert read_bundle(tmp_path, "train") == []
    (short,) = read_bundle(tmp_path, "val")
    chain = short.example.chain
    assert (chain.sequence, chain.name, chain.chain_id, short.cluster) == (sequence, "1ABC", "A", 7)
    expected = baselines.helix(sequence)[0]
    beta = ATOM_INDEX["CB"]
    assert chain.mask[::2, beta].all() and not chain.mask[1::2, beta].any()
    error = np.linalg.norm(chain.positions[::2, beta] - expected[::2, beta], axis=-1)
    assert error.max() < 0.1
    assert chain.mask[-1, ATOM_INDEX["O"]] == 0 and np.isfinite(chain.positions).all()


def test_threading_finds_the_window_with_this_secondary_structure():
    chain = read_structure(ROOT / "data" / "structures" / "1ubq.cif")
    ss = "C" * 20 + "H" * 12 + "C" * 44
    library = [Short(Example(chain), 0, ss, ss)]
    found = threaded("CCHHHHHHHHHHHHCC", library, 16, "ss", np.random.default_rng(0))
    assert np.array_equal(found, chain.positions[18:34, CA])


def test_classes_and_means():
    assert fold_class("H" * 8 + "C" * 2) == "helices" and fold_class("C" * 10) == "mostly coil"
    assert fold_class("E" * 4 + "C" * 6) == "strands"
    assert fold_class("EEHHCCCCCC") == "helices and strands"
    chain = read_structure(ROOT / "data" / "structures" / "1vii.cif")
    row = scores_of(torch.from_numpy(chain.positions), chain)
    mirror = scores_of(torch.from_numpy(chain.positions * [1, 1, -1]), chain)
    assert row["lddt_ca"] == mirror["lddt_ca"] == pytest.approx(1.0)
    assert row["rg_ratio"] == pytest.approx(1.0) and row["clashes"] == 0
    means = summary([row, mirror, row | {"turns_right": 0.0, "turns_left": 0.0}])
    assert row["turns_right"] > 5 and means["right"] == pytest.approx(0.5, abs=0.01)
