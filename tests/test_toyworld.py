"""The toy world: reproducible, physical, and with covariation that tells the contacts."""

import dataclasses
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import Generator

from minifold.data import backbone, toyfamilies, toyfolds, toysidechains
from minifold.data.msa import read_alignment
from minifold.data.residues import ATOM_INDEX, RESTYPES
from minifold.data.structures import read_structure
from minifold.data.toyworld import ToyWorld, write_world
from minifold.errors import BadInput
from minifold.model.atoms import atom37_to_torsions, pseudo_beta

N, CA, C, O, CB = (ATOM_INDEX[name] for name in ("N", "CA", "C", "O", "CB"))  # noqa: E741


@pytest.fixture(scope="module")
def examples():
    """32 proteins of 32 residues with 64 sequences."""
    return ToyWorld(length=32, depth=64, seed=7, block=32).sample(32)


def contacts(examples):
    """1 where CB are within 8 Å, and the pairs |i - j| >= 6."""
    beta, mask = pseudo_beta(examples.aatype, examples.positions, examples.atom_mask)
    n = beta.shape[1]
    far = (torch.arange(n) - torch.arange(n)[:, None]) >= 6
    known = (mask[:, :, None] * mask[:, None]).bool() & far
    return (torch.cdist(beta, beta) < 8) & known, known


def covariation(tokens):
    """Mutual information of every pair of columns, corrected by the average product (APC)."""
    one_hot = torch.nn.functional.one_hot(tokens, 22).float()
    single = one_hot.mean(1)
    pair = torch.einsum("bsia,bsjc->bijac", one_hot, one_hot) / tokens.shape[1]
    expected = single[:, :, None, :, None] * single[:, None, :, None]
    information = (pair * ((pair + 1e-9) / (expected + 1e-9)).log()).sum((-1, -2))
    total = information.sum((1, 2), keepdim=True)
    return information - information.sum(1, keepdim=True) * information.sum(2, keepdim=True) / total


def precision(score, contact, known):
    """Share of contacts among the L / 2 best pairs."""
    best = score.masked_fill(~known, -1e9).flatten(1).topk(score.shape[1] // 2, dim=1).indices
    return contact.flatten(1).gather(1, best).float().mean().item()


def equal(a, b):
    return all(torch.equal(getattr(a, x.name), getattr(b, x.name)) for x in dataclasses.fields(a))


# --- The same seed, the same world ----------------------------------------------------------------


def test_an_example_does_not_depend_on_how_it_is_asked_for():
    world = ToyWorld(length=12, depth=4, seed=3, block=4)
    ten = world.sample(10)
    assert equal(world.sample(3, start=5), ten[5:8])
    stream = world.stream(3, start=2)
    next(stream)
    assert equal(next(stream), ten[5:8])


REPRINT = """
import hashlib
from minifold.data.toyworld import ToyWorld
x = ToyWorld(length=32, depth=64, seed=3, block=16).sample(16)
radius = x.positions[:, :, 1].norm(dim=-1).mean()
print(hashlib.sha256(x.tokens.numpy().tobytes()).hexdigest()[:12], f"{radius:.3f}")
"""


@pytest.mark.parametrize(
    "processor",
    [
        {},
        {"ATEN_CPU_CAPABILITY": "default", "MKL_CBWR": "COMPATIBLE"},
        {"ATEN_CPU_CAPABILITY": "avx2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"},
    ],
)
def test_every_processor_makes_the_same_proteins(processor):
    """Kernels for other processors round in other ways; the world must not notice."""
    command = [sys.executable, "-c", REPRINT]
    done = subprocess.run(
        command, env=os.environ | processor, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["bbf1bef14e7a", "10.861"]


def test_other_seeds_give_other_folds_and_families():
    a, b = (ToyWorld(length=24, depth=8, seed=seed, block=8).sample(8) for seed in (1, 2))
    distances = [torch.cdist(x.positions[:, :, CA], x.positions[:, :, CA]) for x in (a, b)]
    rms = (distances[0][:, None] - distances[1]).square().mean((-1, -2)).sqrt()
    assert rms.min() > 0.5  # Å, between any two folds
    assert (a.aatype[:, None] != b.aatype).float().mean() > 0.7


# --- Structures -----------------------------------------------------------------------------------


def test_bonds_and_peptides_are_ideal(examples):
    x = examples.positions
    assert ((x[:, :, CA] - x[:, :, N]).norm(dim=-1) - 1.46).abs().max() < 0.02
    assert ((x[:, 1:, N] - x[:, :-1, C]).norm(dim=-1) - 1.33).abs().max() < 0.06
    assert ((x[:, 1:, CA] - x[:, :-1, CA]).norm(dim=-1) - 3.80).abs().max() < 0.02
    assert (x[:, 1:, N] - x[:, :-1, O]).norm(dim=-1).sub(2.25).abs().max() < 0.08


def test_amino_acids_and_helices_have_the_right_hand(examples):
    x, has_cb = examples.positions, examples.atom_mask[..., CB] > 0
    to_n, to_c, to_cb = (x[:, :, a] - x[:, :, CA] for a in (N, C, CB))
    chirality = (torch.linalg.cross(to_n, to_c) * to_cb).sum(-1)
    assert (chirality[has_cb] > 2).all()  # L amino acids: +2.5 Å^3
    ca = x[:, :, CA]
    bonds = ca[:, 1:] - ca[:, :-1]
    triple = (torch.linalg.cross(bonds[:, :-2], bonds[:, 1:-1]) * bonds[:, 2:]).sum(-1)
    helix = (examples.structure == toyfolds.HELIX).float()
    whole = helix[:, :-3] * helix[:, 1:-2] * helix[:, 2:-1] * helix[:, 3:] > 0
    assert whole.any() and (triple[whole] > 0).all()


def test_folds_are_compact_and_in_contact(examples):
    ca = examples.positions[:, :, CA]
    radius = (ca - ca.mean(1, keepdim=True)).square().sum(-1).mean(1).sqrt()
    assert 0.9 < (radius / (2.2 * 32**0.38)).mean() < 1.1
    contact, _ = contacts(examples)
    per_residue = contact.sum((1, 2)) / 32
    assert 1.0 < per_residue.mean() < 2.2
    assert per_residue.min() > 0.2


def test_few_backbone_atoms_clash(examples):
    x = examples.positions[:, :, [N, CA, C, O]].flatten(1, 2)
    residue = torch.arange(32).repeat_interleave(4)
    kind = torch.arange(4).repeat(32)
    hydrogen_bond = (kind[:, None] - kind).abs() == 3  # N and O
    apart = (residue[:, None] - residue) >= 2
    close = (torch.cdist(x, x) < 3.0) & apart & ~hydrogen_bond
    assert close.sum() / (32 * 32) < 0.3  # per residue; 0.29 in short natural proteins


def test_atoms_agree_with_the_torsions(examples):
    measured, _, exists = atom37_to_torsions(
        examples.aatype, examples.positions, examples.atom_mask
    )
    difference = (measured - examples.torsions).norm(dim=-1) * exists
    assert exists.mean() > 0.6
    assert difference.max() < 0.1  # radians: backbone angles differ between residue types


def test_slope_of_the_torsions_is_the_derivative():
    torsion = torch.randn(2, 8, 2, requires_grad=True)
    push = torch.randn(2, 8, 5, 3)
    poses = backbone.build_poses(torsion[..., 0], torsion[..., 1])
    sites = backbone.backbone_sites(poses, torsion[..., 1])
    (sites * push).sum().backward()
    slope = toyfolds._torsion_gradient(poses.detach(), sites.detach(), push)
    slope[:, 0, 0] = 0  # φ of residue 0 turns the whole chain
    torch.testing.assert_close(slope, torsion.grad, rtol=1e-4, atol=1e-3)


def test_rotamers_are_staggered():
    aatype = torch.full((1, 4000), RESTYPES.index("L"))
    chi = toysidechains.draw_chi(aatype, torch.zeros_like(aatype), Generator().manual_seed(0))
    degrees = torch.rad2deg(chi[0])
    nearest = torch.tensor([-60.0, 180.0, 60.0])
    off = (degrees[:, :2, None] - nearest + 180).remainder(360).sub(180).abs().amin(-1)
    assert off.quantile(0.99) < 30
    assert (degrees[:, 2:] == 0).all()  # leucine has two


# --- Families -------------------------------------------------------------------------------------


def test_partners_touch_are_mutual_and_few(examples):
    contact, known = contacts(examples)
    couplings = examples.couplings
    assert torch.equal(couplings, couplings.transpose(1, 2))
    assert couplings.sum(-1).max() <= toyfamilies.SLOTS
    assert (couplings.sum((1, 2)) > 0).all()
    beta = examples.positions[:, :, CB]
    real = examples.atom_mask[..., CB][:, :, None] * examples.atom_mask[..., CB][:, None]
    assert (torch.cdist(beta, beta) * couplings * real).max() < 8.1


def test_colours_never_hold_coupled_sites():
    beta = torch.randn(4, 20, 3) * 6
    partners = toyfamilies.find_partners(torch.cdist(beta, beta).square(), torch.ones(4, 20))
    seen = torch.cat(colours := toyfamilies._colours(partners))
    assert torch.equal(seen.sort().values, torch.arange(80))
    colour = torch.empty(80, dtype=torch.long)
    for number, sites in enumerate(colours):
        colour[sites] = number
    colour = colour.view(4, 20)
    for slot in range(toyfamilies.SLOTS):
        other = colour.gather(1, partners[..., slot].clamp(min=0))
        assert ((other != colour) | (partners[..., slot] < 0)).all()


def test_gibbs_sampling_reaches_the_boltzmann_distribution():
    """Two coupled sites, and hidden ones: pair frequencies as counted exactly."""
    partners = torch.full((1, 2, 3), -1)
    partners[0, 0, 0], partners[0, 1, 0] = 1, 0
    field = 0.3 * torch.randn(1, 2, 20)
    potts = toyfamilies.make_potts(partners, field, 0.5, False, True, Generator().manual_seed(1))
    assert torch.equal(potts.weight[0, 0], potts.weight[1, 0])
    assert (potts.weight[:, 1:] == 0).all()  # without hidden partners
    leaves = toyfamilies.evolve(potts, 2**15, 3, Generator().manual_seed(2))
    counted = torch.bincount(leaves[0] * 20 + leaves[1], minlength=400) / leaves.shape[1]
    f = toyfamilies.FEATURES
    energy = torch.einsum("ak,ck,k->ac", f, f, potts.weight[0, 0])
    energy = energy + potts.field[0][:, None] + potts.field[1]
    exact = energy.flatten().softmax(0)
    assert (counted - exact).abs().sum() < 0.15  # 2^15 leaves of 400 states, related by descent


def test_covariation_tells_contacts_and_shuffled_columns_do_not(examples):
    contact, known = contacts(examples)
    chance = (contact.sum() / known.sum()).item() / examples.mask.shape[0]
    shuffled = examples.tokens.gather(1, torch.rand(examples.tokens.shape).argsort(1))
    found = precision(covariation(examples.tokens), contact, known)
    lost = precision(covariation(shuffled), contact, known)
    assert found > lost + 0.2
    assert lost < 2.5 * max(chance, 0.12)


def test_query_and_indels(examples):
    assert torch.equal(examples.tokens[:, 0], examples.aatype)
    assert (examples.deletions[:, 0] == 0).all()
    gaps = (examples.tokens == toyfamilies.GAP).float().mean()
    assert 0.01 < gaps < 0.15
    assert 0.003 < (examples.deletions > 0).float().mean() < 0.05


def test_sequences_are_related_by_descent(examples):
    one_hot = torch.nn.functional.one_hot(examples.tokens, 22)[..., :20].float().flatten(2)
    identity = (one_hot @ one_hot.transpose(1, 2)) / 32 - 2 * torch.eye(64)
    mean = identity[identity >= 0].mean()
    assert identity.amax(-1).mean() > mean + 0.1  # the nearest relative
    assert identity.max() < 1  # and no copies


def test_disulfides_are_kept():
    examples = ToyWorld(length=32, depth=16, seed=1, block=16, disulfides=1.0).sample(16)
    cys = RESTYPES.index("C")
    kept = ((examples.tokens == cys).float().mean(1) > 0.7).sum(-1)
    assert set(kept.tolist()) <= {0, 1, 2, 3} and (kept == 2).any()
    row = int((kept == 2).nonzero()[0])
    i, j = ((examples.tokens[row] == cys).float().mean(0) > 0.7).nonzero()[:, 0]
    assert (examples.positions[row, i, CB] - examples.positions[row, j, CB]).norm() < 5


# --- Sizes, files, errors -------------------------------------------------------------------------


@pytest.mark.parametrize(("length", "depth"), [(24, 1), (64, 2), (128, 3), (16, 256)])
def test_extreme_sizes(length, depth):
    examples = ToyWorld(length=length, depth=depth, seed=5, block=2).sample(2)
    assert examples.tokens.shape == (2, depth, length)
    assert examples.positions.isfinite().all() and examples.torsions.isfinite().all()
    assert (examples.atom_mask.sum(-1) >= 4).all()


def test_ranges_of_lengths_and_depths_are_padded():
    examples = ToyWorld(length=(12, 20), depth=(1, 9), seed=2, block=16).sample(16)
    lengths, depths = examples.mask.sum(1), examples.row_mask.sum(1)
    assert lengths.min() < lengths.max() <= 20 and depths.min() < depths.max() <= 9
    padding = examples.mask == 0
    assert (examples.aatype[padding] == 20).all()
    assert (examples.tokens.transpose(1, 2)[padding] == toyfamilies.GAP).all()
    assert (examples.tokens[examples.row_mask == 0] == toyfamilies.GAP).all()
    assert (examples.positions[padding] == 0).all() and (examples.couplings[padding] == 0).all()
    assert examples.alignment(3).depth == depths[3]
    assert len(examples.chain(3).sequence) == lengths[3]


def test_files_are_read_back(tmp_path):
    paths = write_world(tmp_path / "world", count=2, length=20, depth=12, seed=4)
    assert [path.suffix for path in paths] == [".a3m", ".cif"] * 2
    examples = ToyWorld(length=20, depth=12, seed=4).sample(2)
    for n in range(2):
        alignment, chain = read_alignment(paths[2 * n]), read_structure(paths[2 * n + 1])
        assert np.array_equal(alignment.tokens, examples.alignment(n).tokens)
        assert np.array_equal(alignment.deletions, examples.alignment(n).deletions)
        assert chain.sequence == alignment.query == examples.chain(n).sequence
        assert np.array_equal(chain.mask, examples.chain(n).mask)
        assert np.abs(chain.positions - examples.chain(n).positions).max() < 1e-3


@pytest.mark.parametrize("dials", [{"length": 3}, {"length": (40, 30)}, {"depth": 0}, {"block": 0}])
def test_dials_out_of_range(dials):
    with pytest.raises(BadInput, match=next(iter(dials))):
        ToyWorld(**dials)


def test_world_into_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match="is a file"):
        write_world(tmp_path / "file", count=1, length=20, depth=4, seed=1)
    with pytest.raises(BadInput, match="count"):
        write_world(tmp_path / "other", count=0, length=20, depth=4, seed=1)
