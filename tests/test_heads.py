"""Heads and confidences: what the numbers must be for logits whose meaning is known."""

import pytest
import torch

from minifold.config import PRESETS
from minifold.model import heads

NANO = PRESETS["nano"]


def certain(bins: torch.Tensor, number: int) -> torch.Tensor:
    """Logits that put all probability into the given bins."""
    return 1e4 * torch.nn.functional.one_hot(bins, number).float()


@pytest.mark.parametrize(
    "head, x",
    [
        (heads.DistogramHead, (1, 4, 4, NANO.c_z)),
        (heads.MaskedMSAHead, (1, 3, 4, NANO.c_m)),
        (heads.PredictedLDDTHead, (1, 4, NANO.c_s)),
        (heads.ExperimentallyResolvedHead, (1, 4, NANO.c_s)),
        (heads.PredictedAlignedErrorHead, (1, 4, 4, NANO.c_z)),
    ],
)
def test_an_untrained_head_has_no_opinion(head, x):
    assert (head(NANO)(torch.randn(x)) == 0).all()


def test_distogram_is_symmetric():
    head = heads.DistogramHead(NANO)
    torch.nn.init.normal_(head.logits.weight)
    z = torch.randn(2, 5, 5, NANO.c_z)
    logits = head(z)
    torch.testing.assert_close(logits, logits.transpose(1, 2))
    torch.testing.assert_close(logits[0, 1, 3], head.logits(z[0, 1, 3]) + head.logits(z[0, 3, 1]))


def test_edges_are_alphafolds():
    edges = heads.distogram_edges()
    assert len(edges) == 63 and edges[0] == 2.3125 and edges[-1] == 21.6875
    torch.testing.assert_close(edges.diff(), torch.full((62,), 0.3125))
    assert heads.pae_edges()[[0, -1]].tolist() == [0.0, 31.0]
    centers = heads.pae_centers()
    torch.testing.assert_close(centers[[0, 1, 63]], torch.tensor([0.25, 0.75, 31.75]))


def test_plddt_is_the_centre_of_a_certain_bin():
    plddt = heads.plddt_from_logits(certain(torch.tensor([[0, 25, 49]]), 50))
    torch.testing.assert_close(plddt, torch.tensor([[1.0, 51.0, 99.0]]))
    undecided = heads.plddt_from_logits(torch.zeros(1, 2, 50))
    torch.testing.assert_close(undecided, torch.full((1, 2), 50.0))


def test_pae_is_the_centre_of_a_certain_bin():
    bins = torch.tensor([[[0, 10], [63, 0]]])
    expected = torch.tensor([[[0.25, 5.25], [31.75, 0.25]]])
    torch.testing.assert_close(heads.pae_from_logits(certain(bins, 64)), expected)


def test_ptm_of_known_errors():
    n = 30
    d0 = 1.24 * (n - 15) ** (1 / 3) - 1.8
    bins = torch.full((1, n, n), 20)
    everywhere = heads.ptm_from_logits(certain(bins, 64))
    torch.testing.assert_close(everywhere, torch.tensor([1 / (1 + (10.25 / d0) ** 2)]))
    bins[0, 7] = 0  # one good superposition is enough: the best row counts
    best = heads.ptm_from_logits(certain(bins, 64))
    torch.testing.assert_close(best, torch.tensor([1 / (1 + (0.25 / d0) ** 2)]))
    bins = bins.transpose(1, 2)  # one residue that is right in all frames is not
    assert heads.ptm_from_logits(certain(bins, 64)) < everywhere + 0.05


def test_ptm_ignores_padding():
    logits = torch.randn(1, 25, 25, 64)
    padded = torch.zeros(1, 40, 40, 64)
    padded[:, :25, :25] = logits
    padded[:, 25:, :, 0] = padded[:, :, 25:, 0] = 1e4  # perfect, but not there
    mask = (torch.arange(40) < 25).float()[None]
    torch.testing.assert_close(heads.ptm_from_logits(padded, mask), heads.ptm_from_logits(logits))
    assert heads.ptm_from_logits(padded) > heads.ptm_from_logits(logits) + 0.1


def test_short_proteins_use_the_scale_of_nineteen_residues():
    short = heads.ptm_from_logits(certain(torch.full((1, 5, 5), 8), 64))
    d0 = 1.24 * 4 ** (1 / 3) - 1.8
    torch.testing.assert_close(short, torch.tensor([1 / (1 + (4.25 / d0) ** 2)]))


def test_distogram_centers_are_the_middles_of_the_bins():
    centers, edges = heads.distogram_centers(), heads.distogram_edges()
    torch.testing.assert_close(centers[1:-1], (edges[:-1] + edges[1:]) / 2)
    torch.testing.assert_close(centers[[0, -1]], torch.tensor([2.15625, 21.84375]))


def test_a_contact_is_nearer_than_8_angstrom():
    centers = heads.distogram_centers()
    near = int((centers < 8).sum())
    bins = torch.tensor([[[near - 1, near], [0, 63]]])
    found = heads.contact_probability(certain(bins, 64))
    torch.testing.assert_close(found, torch.tensor([[[1.0, 0.0], [1.0, 0.0]]]))
