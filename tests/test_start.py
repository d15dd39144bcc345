"""First frames from a distogram: distances become points, points a chain of the right hand."""

from __future__ import annotations

import pytest
import torch

from minifold.data.backbone import CB, backbone_sites, build_poses
from minifold.model.heads import distogram_edges
from minifold.model.start import (
    distances_of,
    fold_distances,
    lay_chain,
    points_from_distances,
)
from minifold.training.superposition import mirrored, rmsd

ALA, GLY, N = 0, 7, 14


def chain(b: int = 3, n: int = N, seed: int = 0):
    """Torsions of bent helices, so short that all distances are known; poses and CB atoms."""
    generator = torch.Generator().manual_seed(seed)
    phi = -1.1 + 0.4 * torch.randn(b, n, generator=generator)
    psi = -0.8 + 0.4 * torch.randn(b, n, generator=generator)
    poses = build_poses(phi, psi)
    return phi, psi, poses, backbone_sites(poses, psi)[:, :, CB]


def pairwise(x):
    return torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist")


def certain(distance, sharpness: float = 30.0):
    """A distogram that is sure of each distance's bin."""
    edges = distogram_edges()
    bins = (distance[..., None] > edges).sum(-1)
    return sharpness * torch.nn.functional.one_hot(bins, len(edges) + 1).float()


def as_angles(phi, psi):
    angles = torch.zeros(*phi.shape, 7, 2)
    angles[..., 1] = 1.0
    for k, angle in ((1, phi), (2, psi)):
        angles[:, :, k] = torch.stack([angle.sin(), angle.cos()], -1)
    return angles


def folded(phi, psi, beta, mask=None):
    b, n = phi.shape
    mask = torch.ones(b, n) if mask is None else mask
    aatype = torch.full((b, n), ALA)
    return fold_distances(certain(pairwise(beta)), as_angles(phi, psi), aatype, mask)


def nearer(a, b):
    one = torch.ones(a.shape[:2])
    return torch.minimum(rmsd(a, b, one), rmsd(-a, b, one))


def test_exact_distances_give_the_points_or_their_mirror_image():
    beta = chain()[3]
    every = torch.ones(3, N, N)
    found = points_from_distances(pairwise(beta), every, every > 0, torch.ones(3, N))
    assert nearer(found, beta).max() < 1e-3


def test_majorisation_lowers_the_weighted_stress(monkeypatch):
    beta = chain()[3]
    generator = torch.Generator().manual_seed(1)
    noise = torch.randn(3, N, N, generator=generator)
    distance = (pairwise(beta) + noise + noise.mT).clamp(min=0) * (1 - torch.eye(N))
    weight = torch.rand(3, N, N, generator=generator)
    weight = weight + weight.mT
    stress = []
    for rounds in (0, 1, 10, 30):
        monkeypatch.setattr("minifold.model.start.ROUNDS", rounds)
        x = points_from_distances(distance, weight, weight > 0, torch.ones(3, N))
        stress.append((weight * (pairwise(x) - distance).square()).sum((1, 2)))
    assert all((later < earlier).all() for earlier, later in zip(stress, stress[1:]))


def test_a_sure_distogram_gives_the_fold_and_its_hand():
    """Bins are 0.31 Å wide, and beyond 22 Å nothing is known."""
    phi, psi, poses, beta = chain()
    T, mask = folded(phi, psi, beta), torch.ones(3, N)
    assert rmsd(T.t, poses[..., :3, 3], mask).max() < 0.15
    assert not mirrored(T.t, poses[..., :3, 3], mask).any()
    torch.testing.assert_close(T.R @ T.R.mT, torch.eye(3).expand(3, N, 3, 3), atol=1e-5, rtol=0)
    assert torch.allclose(torch.linalg.det(T.R), torch.ones(3, N), atol=1e-5)
    true = poses[:, :1, :3, :3].mT @ poses[..., :3, :3]
    cosine = ((T.R.mT @ true).diagonal(dim1=-2, dim2=-1).sum(-1) - 1) / 2
    assert cosine.mean() > 0.98  # of the angle between frames, 11 degrees


def test_a_chain_longer_than_the_distogram_sees():
    """A straight helix of 60 residues, 90 Å: half of its distances are in the last bin."""
    phi, psi = torch.full((1, 60), -1.05), torch.full((1, 60), -0.8)
    poses = build_poses(phi, psi)
    logits = certain(pairwise(backbone_sites(poses, psi)[:, :, CB]))
    assert not distances_of(logits)[2].all()
    T = fold_distances(logits, as_angles(phi, psi), torch.zeros(1, 60).long(), torch.ones(1, 60))
    assert rmsd(T.t, poses[..., :3, 3], torch.ones(1, 60)) < 2.0


def test_torsions_decide_the_hand():
    """The distances of a fold and of its mirror image are the same."""
    phi, psi, poses, beta = chain()
    left, mask = folded(-phi, -psi, beta), torch.ones(3, N)
    assert mirrored(left.t, poses[..., :3, 3], mask).all()
    assert torch.allclose(torch.linalg.det(left.R), torch.ones(3, N), atol=1e-5)


def test_the_points_given_in_either_hand_make_the_same_chain():
    phi, psi, poses, beta = chain()
    aatype, mask = torch.full(phi.shape, ALA), torch.ones(phi.shape)
    one, two = (lay_chain(x, phi, psi, aatype, mask) for x in (beta, -beta))
    assert rmsd(one.t, two.t, mask).max() < 1e-3
    assert rmsd(one.t, poses[..., :3, 3], mask).max() < 1e-3  # exact points, exact torsions


def test_a_glycine_is_where_its_point_is():
    phi, psi, poses, beta = chain()
    points = beta.clone()
    points[:, 5] = poses[:, 5, :3, 3]
    aatype, mask = torch.full(phi.shape, ALA), torch.ones(phi.shape)
    aatype[:, 5] = GLY
    T = lay_chain(points, phi, psi, aatype, mask)
    assert rmsd(T.t, poses[..., :3, 3], mask).max() < 1e-3


def test_an_unsure_distance_hardly_counts():
    """One wrong distance: sure of it, the fold bends; unsure, it does not."""
    phi, psi, _, beta = chain(b=1)
    logits = {}
    for name, sharpness in (("sure", 30.0), ("unsure", 0.5)):
        logits[name] = certain(pairwise(beta))
        wrong = certain(torch.full((1,), 4.0), sharpness)[0]
        logits[name][:, 2, 11] = logits[name][:, 11, 2] = wrong
    far = {
        name: nearer(points_from_distances(*distances_of(x), torch.ones(1, N)), beta).item()
        for name, x in logits.items()
    }
    assert far["unsure"] < 0.5 * far["sure"]


def test_weights_fall_with_spread_and_distance():
    sure, far = (certain(torch.tensor([[[d]]])) for d in (5.0, 20.0))
    (d_near, w_near, _), (d_far, w_far, _) = distances_of(sure), distances_of(far)
    assert abs(d_near.item() - 5.0) < 0.16 and abs(d_far.item() - 20.0) < 0.16
    assert w_near > w_far > distances_of(torch.zeros(1, 1, 1, 64))[1]


def test_padding_and_neighbours_in_the_batch_change_nothing():
    phi, psi, _, beta = chain()
    whole, grow = folded(phi, psi, beta), torch.nn.functional.pad
    mask = grow(torch.ones(3, N), (0, 6))
    padded = folded(grow(phi, (0, 6)), grow(psi, (0, 6)), grow(beta, (0, 0, 0, 6)), mask)
    torch.testing.assert_close(padded.t[:, :N], whole.t, atol=2e-2, rtol=0)
    alone = folded(phi[1:2], psi[1:2], beta[1:2])
    torch.testing.assert_close(alone.t[0], whole.t[1], atol=2e-2, rtol=0)
    assert whole.t.mean(1).abs().max() < 1e-3
    torch.testing.assert_close(whole.R[:, 0], torch.eye(3).expand(3, 3, 3), atol=1e-5, rtol=0)


@pytest.mark.parametrize("n", [1, 2, 3, 12])
@pytest.mark.parametrize("logits", [0.0, float("nan"), float("inf")])
def test_short_chains_and_useless_distograms_give_finite_frames(n, logits):
    angle = torch.full((2, n), logits)
    angles = as_angles(angle, angle).requires_grad_(True)
    mask = torch.ones(2, n)
    mask[1, 1:] = 0
    given = torch.full((2, n, n, 64), logits)
    T = fold_distances(given, angles, torch.zeros(2, n, dtype=torch.long), mask)
    assert torch.isfinite(T.t).all() and torch.isfinite(T.R).all()
    assert not T.t.requires_grad
