"""Violations: found where they are made, absent in real structures, blind to padding."""

import dataclasses

import pytest
import torch

from minifold.data.residues import ATOM14_NAMES, RESIDUE_NAMES
from minifold.data.structures import read_structure
from minifold.model.atoms import atom37_to_atom14
from minifold.physics.violations import (
    Violations,
    find_violations,
    violation_loss,
    violation_metrics,
)
from tests.conftest import ROOT

SHIPPED = sorted((ROOT / "data" / "structures").glob("*.cif"))
N, CA, C = 0, 1, 2


@pytest.fixture
def protein() -> dict[str, torch.Tensor]:
    return read(ROOT / "data" / "structures" / "1crn.cif")


def read(path) -> dict[str, torch.Tensor]:
    chain = read_structure(path)
    aatype = torch.from_numpy(chain.aatype).long()[None]
    mask = torch.from_numpy(chain.mask).float()[None]
    return {
        "atom14": atom37_to_atom14(torch.from_numpy(chain.positions).float()[None], aatype),
        "atom14_mask": atom37_to_atom14(mask[..., None], aatype)[..., 0],
        "residue_index": torch.from_numpy(chain.residue_index).long()[None],
        "aatype": aatype,
    }


def measure(p: dict[str, torch.Tensor]) -> tuple[Violations, float, dict[str, float]]:
    found = find_violations(**p)
    metrics = violation_metrics(
        found, p["atom14"], p["atom14_mask"], p["residue_index"], p["atom14_mask"][..., CA]
    )
    loss = violation_loss(found, p["atom14_mask"])
    return found, float(loss), {k: float(v) for k, v in metrics.items()}


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_real_structures_have_hardly_any(path):
    found, loss, metrics = measure(read(path))
    assert loss < 0.01
    assert metrics["any"] < 0.05 and metrics["connection"] == 0


@pytest.mark.parametrize(
    ("at", "ideal", "stddev"), [(24, 1.329, 0.014), (20, 1.341, 0.016)], ids=["A-I", "T-P"]
)
def test_a_stretched_bond_costs_what_it_should(protein, at, ideal, stddev):
    """A peptide bond 2 Å too long, of which 12 standard deviations are tolerated."""
    x = protein["atom14"].clone()
    c, n = x[0, at, C], x[0, at + 1, N]
    x[0, at + 1 :] += (n - c) / (n - c).norm() * (ideal + 2 - (n - c).norm())
    found, loss, metrics = measure({**protein, "atom14": x})
    bonds = protein["aatype"].shape[1] - 1
    assert float(found.bond_c_n) == pytest.approx((2 - 12 * stddev) / bonds, rel=1e-3)
    assert found.connection_violated[0].nonzero()[:, 0].tolist() == [at, at + 1]
    assert metrics["ca_ca_stretched"] == pytest.approx(1 / bonds)
    assert loss > measure(protein)[1]


def test_a_bend_is_seen_in_the_right_angle(protein):
    """With CA of a residue in line with the bond before it, the angle at N is 180 degrees."""
    x = protein["atom14"].clone()
    n, c = x[0, 21, N], x[0, 20, C]
    x[0, 21, CA] = n + (n - c) / (n - c).norm() * 1.46
    found = find_violations(**{**protein, "atom14": x})
    bonds = protein["aatype"].shape[1] - 1
    # the cosine of the angle at N between C and CA is -1 where -0.5203 is right
    expected = (1 - 0.5203 - 12 * 0.0353) / bonds
    assert float(found.angle_c_n_ca) == pytest.approx(expected, rel=1e-2)
    assert float(found.bond_c_n) == 0


def test_a_clash_is_seen_by_both_atoms(protein):
    names = ATOM14_NAMES[RESIDUE_NAMES.index("ALA")]
    x = protein["atom14"].clone()
    i, j = 10, 33
    a = b = names.index("CB")
    x[0, i, a] = x[0, j, b] + torch.tensor([1.0, 0.0, 0.0])
    found = find_violations(**{**protein, "atom14": x})
    assert found.clash_violated[0, i, a] == found.clash_violated[0, j, b] == 1
    # two carbons 1.0 Å apart: 2 x 1.7 - 1.5 - 1.0 = 0.9 Å too near
    assert float(found.clash_loss[0, j, b]) >= 0.9 - 1e-4


def test_bonded_atoms_do_not_clash(protein):
    """C-N of neighbours is a bond, SG-SG of crambin's cystines too: no loss at either."""
    found = find_violations(**protein)
    sulfur = ATOM14_NAMES[RESIDUE_NAMES.index("CYS")].index("SG")
    cysteines = protein["aatype"][0] == RESIDUE_NAMES.index("CYS")
    assert cysteines.sum() == 6
    assert float(found.clash_loss[0, cysteines, sulfur].sum()) == 0
    assert float(found.clash_loss[0, :, [N, C]].sum()) == 0


def test_a_squeezed_residue_is_seen(protein):
    x = protein["atom14"].clone()
    x[0, 12] = x[0, 12, CA] + 0.5 * (x[0, 12] - x[0, 12, CA])
    found = find_violations(**{**protein, "atom14": x})
    assert found.within_violated[0].amax(-1).nonzero()[:, 0].tolist() == [12]


def test_gaps_in_the_chain_are_no_broken_bonds(protein):
    keep = torch.cat([torch.arange(15), torch.arange(20, protein["aatype"].shape[1])])
    p = {name: x[:, keep] for name, x in protein.items()}
    assert float(find_violations(**p).connection_violated.sum()) == 0
    p["residue_index"] = torch.arange(len(keep))[None]
    assert find_violations(**p).connection_violated[0].nonzero()[:, 0].tolist() == [14, 15]


def test_padding_changes_nothing(protein):
    """Peers' mistake 3: a violation loss that counts padding (103.4 becomes 80.0)."""
    spoiled = {**protein, "atom14": protein["atom14"] + torch.randn_like(protein["atom14"])}
    n = spoiled["aatype"].shape[1]
    # eight padded residues: their coordinates are whatever the model makes of them
    padded = {
        name: torch.cat([x, torch.zeros_like(x[:, :8])], dim=1) for name, x in spoiled.items()
    }
    padded["atom14"][:, n:] = torch.randn_like(padded["atom14"][:, n:])
    found, loss, metrics = measure(spoiled)
    found_padded, loss_padded, metrics_padded = measure(padded)
    assert loss > 1
    assert loss_padded == pytest.approx(loss, rel=1e-5)
    assert metrics_padded == pytest.approx(metrics, abs=1e-6)
    for field in dataclasses.fields(Violations):
        one, other = getattr(found, field.name), getattr(found_padded, field.name)
        assert torch.allclose(one, other if one.dim() == 1 else other[:, :n], atol=1e-4)
        assert one.dim() == 1 or float(other[:, n:].abs().sum()) == 0


def test_a_batch_is_its_members(protein):
    other = {**protein, "atom14": protein["atom14"] + torch.randn_like(protein["atom14"])}
    both = find_violations(**{name: torch.cat([protein[name], other[name]]) for name in protein})
    loss = violation_loss(both, torch.cat([protein["atom14_mask"]] * 2))
    assert loss.tolist() == pytest.approx([measure(protein)[1], measure(other)[1]], abs=1e-5)
