"""Torsions to atoms and back, on random torsions and on real proteins."""

from pathlib import Path

import pytest
import torch

from minifold.data import residues
from minifold.data.structures import read_structure
from minifold.model import atoms
from minifold.model.rigid import Rigid
from tests.test_rigid import random_rigid

STRUCTURES = sorted((Path(__file__).parent.parent / "data" / "structures").glob("*.cif"))


def random_protein(n: int = 60, dtype=torch.float64):
    """Residue types, random backbone frames and random torsions, with a batch axis."""
    aatype = torch.arange(n)[None] % 20
    angle = (torch.rand(1, n, 7, dtype=dtype) * 2 - 1) * torch.pi
    return aatype, random_rigid(1, n, dtype=dtype), torch.stack([angle.sin(), angle.cos()], -1)


def real_protein(path: Path):
    """Residue types, atom37 positions and mask of a file, with a batch axis."""
    chain = read_structure(path)
    aatype = torch.from_numpy(chain.aatype).long()
    return aatype[None], torch.from_numpy(chain.positions)[None], torch.from_numpy(chain.mask)[None]


def test_torsions_survive_the_way_to_atoms_and_back():
    aatype, backbone, torsions = random_protein()
    atom14 = atoms.torsions_to_atom14(backbone, torsions, aatype)
    atom37 = atoms.atom14_to_atom37(atom14, aatype)
    mask = atoms.lookup("ATOM37_MASK", aatype, torch.float64)
    back, _, exists = atoms.atom37_to_torsions(aatype, atom37, mask)
    # omega and phi depend on the residue before, which was placed at random
    expected = torch.cat([torch.ones(1, 60, 1), atoms.lookup("CHI_MASK", aatype)], -1).double()
    assert torch.equal(exists[..., 2:], expected)
    assert expected.sum() > 100
    difference = ((back - torsions)[..., 2:, :] * expected[..., None]).abs().max()
    assert difference < 5e-3  # proline's and the rings' ideal coordinates are rounded to 1e-3 Å
    torch.testing.assert_close(atoms.atom37_to_atom14(atom37, aatype), atom14)


def test_frames_survive_the_way_to_atoms_and_back():
    aatype, backbone, torsions = random_protein()
    frames8 = atoms.torsions_to_frames(backbone, torsions, aatype)
    atom37 = atoms.atom14_to_atom37(atoms.frames_to_atom14(frames8, aatype), aatype)
    mask = atoms.lookup("ATOM37_MASK", aatype, torch.float64)
    back, alternative, exists = atoms.atom37_to_frames(aatype, atom37, mask)
    keep = exists.bool()
    assert keep.sum() == 2 * 60 + int(atoms.lookup("CHI_MASK", aatype).sum())
    torch.testing.assert_close(back.R[keep], frames8.R[keep], atol=5e-3, rtol=0)
    torch.testing.assert_close(back.t[keep], frames8.t[keep], atol=5e-3, rtol=0)
    ambiguous = atoms.lookup("GROUP_AMBIGUOUS", aatype).bool()
    changed = (alternative.R - back.R).abs().amax((-1, -2)) > 1e-6
    assert torch.equal(changed, ambiguous)
    swapped = atoms.atom37_to_atom14(atom37, aatype)
    slots = atoms.lookup("RENAMING", aatype, torch.int64)[..., None]
    swapped = atoms.atom14_to_atom37(torch.take_along_dim(swapped, slots, dim=-2), aatype)
    of_swapped, _, _ = atoms.atom37_to_frames(aatype, swapped, mask)
    torch.testing.assert_close(of_swapped.R[keep], alternative.R[keep], atol=0.02, rtol=0)


def test_ideal_bond_lengths_whatever_the_torsions():
    aatype, backbone, torsions = random_protein(200)
    atom14 = atoms.torsions_to_atom14(backbone, torsions, aatype)
    lower, upper = (torch.from_numpy(x)[aatype] for x in residues.distance_bounds())
    d = torch.cdist(atom14, atom14)
    bond = (upper < 1e9) & (upper > 0)
    bond[aatype == residues.RESTYPES.index("P")] = False  # its ring closes at few torsions only
    assert bond.sum() > 3000
    assert ((d > lower) & (d < upper))[bond].all()


def test_atoms_move_with_the_backbone():
    aatype, backbone, torsions = random_protein()
    move = random_rigid(1, 1)
    atom14 = atoms.torsions_to_atom14(backbone, torsions, aatype)
    moved = atoms.torsions_to_atom14(move.compose(backbone), torsions, aatype)
    mask = atoms.lookup("ATOM14_MASK", aatype).bool()
    torch.testing.assert_close(moved[mask], move[..., None].apply(atom14)[mask])


def test_psi_turns_only_the_oxygen_and_chi2_nothing_before_it():
    aatype, backbone, torsions = random_protein(40)
    before = atoms.torsions_to_atom14(backbone, torsions, aatype)
    for torsion, groups in ((2, [3]), (4, [5, 6, 7])):
        changed = torsions.clone()
        changed[..., torsion, :] = torsions[..., torsion, :].flip(-1)
        after = atoms.torsions_to_atom14(backbone, changed, aatype)
        group = atoms.lookup("ATOM14_GROUP", aatype, torch.int64)
        on_axis = atoms.lookup("ATOM14_POSITIONS", aatype)[..., 1:].abs().sum(-1) < 1e-3
        may = torch.isin(group, torch.tensor(groups)) & ~on_axis
        may &= atoms.lookup("ATOM14_MASK", aatype).bool()
        moved = (after - before).norm(dim=-1) > 1e-6
        assert not moved[torch.isin(group, torch.tensor(groups), invert=True)].any()
        assert moved[may & (group == groups[0])].all()


@pytest.mark.parametrize("path", STRUCTURES, ids=lambda p: p.stem)
def test_real_proteins_are_rebuilt_from_frames_and_torsions(path):
    """Frames and torsions are enough: what remains are the real bond lengths and angles."""
    aatype, positions, mask = real_protein(path)
    truth = atoms.ground_truth(aatype, positions, mask)
    rebuilt = atoms.torsions_to_atom14(truth.backbone, truth.torsions, aatype)
    moved_by = atoms.lookup("ATOM14_GROUP", aatype, torch.int64)
    known = torch.gather(
        torch.cat([truth.backbone_mask[..., None], truth.torsion_mask], -1), -1, moved_by
    )
    keep = (truth.atom14_mask * known * truth.backbone_mask[..., None]).bool()
    error = (rebuilt - truth.atom14).norm(dim=-1)[keep]
    assert keep.sum() > 0.95 * mask.sum()  # nearly every atom is checked
    assert error.square().mean().sqrt() < 0.35 and error.median() < 0.1


@pytest.mark.parametrize("path", STRUCTURES, ids=lambda p: p.stem)
def test_real_proteins_have_trans_peptides_and_the_right_hand(path):
    aatype, positions, mask = real_protein(path)
    torsions, _, exists = atoms.atom37_to_torsions(aatype, positions, mask)
    assert exists[0, 0, :2].sum() == 0 and exists[0, 1:, :2].mean() > 0.9
    angle = torch.atan2(torsions[..., 0], torsions[..., 1])
    omega, phi = angle[..., 0][exists[..., 0] > 0], angle[..., 1]
    assert (omega.abs() > 2.5).float().mean() > 0.9
    not_glycine = (aatype != residues.RESTYPES.index("G")) & (exists[..., 1] > 0)
    assert (phi[not_glycine] < 0).float().mean() > 0.85  # L amino acids


def test_alternative_truth_is_the_same_molecule_with_names_exchanged():
    aatype, positions, mask = real_protein(next(p for p in STRUCTURES if "1ubq" in p.stem))
    truth = atoms.ground_truth(aatype, positions, mask)
    changed = (truth.alt_atom14 != truth.atom14).any(-1)
    assert changed.any() and (truth.atom14_ambiguous.bool() >= changed).all()
    d_phe = residues.RESTYPES.index("F")
    phe = (aatype[0] == d_phe).nonzero()[0, 0]
    cd1, cd2 = (residues.ATOM14_NAMES[d_phe].index(x) for x in ("CD1", "CD2"))
    torch.testing.assert_close(truth.alt_atom14[0, phe, cd1], truth.atom14[0, phe, cd2])
    # the alternative torsions build the alternative atoms
    alt = atoms.torsions_to_atom14(truth.backbone, truth.alt_torsions, aatype)
    normal = atoms.torsions_to_atom14(truth.backbone, truth.torsions, aatype)
    ring = torch.tensor([cd1, cd2])
    assert (alt[0, phe, ring] - truth.alt_atom14[0, phe, ring]).norm(dim=-1).max() < 0.4
    assert (normal[0, phe, ring] - truth.alt_atom14[0, phe, ring]).norm(dim=-1).min() > 1.5


def test_missing_atoms_are_masked_everywhere():
    aatype, positions, mask = real_protein(STRUCTURES[0])
    i = int((aatype[0] == residues.RESTYPES.index("K")).nonzero()[0, 0])
    assert i > 0
    mask = mask.clone()
    mask[0, i, residues.ATOM_INDEX["C"]] = 0
    truth = atoms.ground_truth(aatype, positions * mask[..., None], mask)
    assert truth.backbone_mask[0, i] == 0 and truth.backbone_mask[0, i - 1] == 1
    assert truth.frames8_mask[0, i].tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    assert truth.torsion_mask[0, i].tolist() == [1, 0, 0, 1, 1, 1, 1]
    assert truth.torsion_mask[0, i + 1, :2].tolist() == [0, 0]
    assert torch.equal(truth.torsions[0, i, 2], torch.tensor([1.0, 0.0]))  # placeholder
    for field in (truth.torsions, truth.frames8.R, truth.atom14, truth.chi_angles):
        assert torch.isfinite(field).all()


def test_pseudo_beta_is_cb_or_the_ca_of_glycine():
    aatype = torch.tensor([[residues.RESTYPES.index("G"), residues.RESTYPES.index("A")]])
    positions, mask = torch.randn(1, 2, 37, 3), torch.ones(1, 2, 37)
    mask[0, :, residues.ATOM_INDEX["CA"]] = 0
    beta, known = atoms.pseudo_beta(aatype, positions, mask)
    expected = positions[0, [0, 1], [residues.ATOM_INDEX["CA"], residues.ATOM_INDEX["CB"]]]
    assert torch.equal(beta[0], expected) and known.tolist() == [[0, 1]]


def test_gradients_of_torsions_to_atoms():
    aatype = torch.tensor([[residues.RESTYPES.index(x) for x in "RW"]])
    angle = torch.randn(1, 2, 7, 2, dtype=torch.float64, requires_grad=True)
    t = torch.randn(1, 2, 3, dtype=torch.float64, requires_grad=True)
    R = random_rigid(1, 2).R

    def f(angle, t):
        return atoms.torsions_to_atom14(Rigid(R, t), angle, aatype)

    assert torch.autograd.gradcheck(f, (angle, t))


def test_tables_made_in_inference_mode_serve_training():
    atoms._on_device.cache_clear()
    aatype, backbone, torsions = random_protein(4)
    with torch.inference_mode():
        atoms.torsions_to_atom14(backbone, torsions, aatype)
    torsions.requires_grad_()
    atoms.torsions_to_atom14(backbone, torsions, aatype).sum().backward()
    assert torsions.grad.abs().sum() > 0
