"""First frames from predicted distances. Ours: AlphaFold2 starts with all residues in one point.

    distogram ─► distances ─► points in space ─► a piece of ideal chain laid onto each ─► frames
                (median)   (scaling)           (torsions φ, ψ; they decide the hand, too)

Distances are the same in a fold and in its mirror image. Torsions are not: helices are
right-handed. Nothing here has parameters or gradients.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from minifold.data.backbone import CA, CB, backbone_sites, build_poses
from minifold.data.residues import RESTYPES
from minifold.model.heads import distogram_centers
from minifold.model.rigid import Rigid

SOFTEST = 0.3  # Å added to the standard deviation of a distance, so that none counts infinitely
NEAR = 10.0  # Å over which the weight of a distance falls by e: far ones say little about the fold
ROUNDS = 30  # of majorisation
REACH = 2  # residues of the laid piece on each side


@torch.no_grad()
def fold_distances(
    logits: Float[Tensor, "b i i bins"],
    angles: Float[Tensor, "b i 7 2"],
    aatype: Int[Tensor, "b i"],
    mask: Float[Tensor, "b i"],
) -> Rigid:
    """Frames [b, i] (Å) of a fold with the distances of a distogram and these torsions φ and ψ.

    Its centre is at the origin; the first residue has the orientation of the axes. What is not a
    number counts as 0, so that the loss, not this, says that a training has failed.
    """
    points = points_from_distances(*distances_of(logits.to(angles.dtype)), mask)
    phi, psi = (torch.atan2(*angles[:, :, k].float().nan_to_num().unbind(-1)) for k in (1, 2))
    T = lay_chain(points, phi, psi, aatype, mask)
    T = T[:, :1].inverse().compose(T)
    w = (mask / mask.sum(1, keepdim=True).clamp(min=1))[..., None]
    return Rigid(T.R, T.t - (w * T.t).sum(1, keepdim=True))


def distances_of(
    logits: Float[Tensor, "b i i bins"],
) -> tuple[Float[Tensor, "b i i"], Float[Tensor, "b i i"], Bool[Tensor, "b i i"]]:
    """Median of each distance in a distogram (Å), how much it counts, and whether it is known.

    The weight is 1 / variance, and falls with the distance. In the last bin a distance is not
    known: only that it is at least so large.
    """
    p = torch.softmax(logits.nan_to_num(), dim=-1)
    centers = distogram_centers(p.shape[-1], p.device).to(p.dtype)
    bins = (p.cumsum(-1) < 0.5).sum(-1).clamp(max=len(centers) - 1)
    variance = p @ centers.square() - (p @ centers).square()
    spread = variance.clamp(min=0).sqrt()
    weight = (spread + SOFTEST) ** -2 * torch.exp(-centers[bins] / NEAR)
    return centers[bins], weight, bins < len(centers) - 1


def points_from_distances(
    distance: Float[Tensor, "b i i"],
    weight: Float[Tensor, "b i i"],
    known: Bool[Tensor, "b i i"],
    mask: Float[Tensor, "b i"],
) -> Float[Tensor, "b i 3"]:
    """Points whose distances are these as nearly as can be (Å), or their mirror image.

    Classical scaling (Torgerson 1952) gives the points if the distances are exact; where one is not
    known it takes the shortest way over others (Tenenbaum et al. 2000). Majorisation of the
    weighted stress Σ w (|x_i - x_j| - d_ij)² (de Leeuw 1977) makes the best of inexact ones; those
    that are not known may be larger.
    """
    pairs = mask[:, :, None] * mask[:, None, :]
    way = torch.where(known & (pairs > 0), distance, torch.inf)
    for k in range(mask.shape[1]):
        way = torch.minimum(way, way[:, :, k, None] + way[:, None, k])
    way = torch.where(way.isinf(), distance, way) * (1 - torch.eye(mask.shape[1]).to(way))
    centring = torch.diag_embed(mask) - pairs / mask.sum(1).clamp(min=1)[:, None, None]
    values, vectors = torch.linalg.eigh(-0.5 * centring @ (way.square() * pairs) @ centring)
    x = vectors[..., -3:] * values[:, None, -3:].clamp(min=0).sqrt()
    x = torch.nn.functional.pad(x, (0, 3 - x.shape[-1]))  # one or two residues span less
    w = weight * pairs * (1 - torch.eye(mask.shape[1]).to(weight))
    inverse = torch.linalg.inv(_laplacian(w) + torch.diag_embed(1 - mask) + pairs)
    for _ in range(ROUNDS):
        now = torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist").clamp(min=0.5)
        wanted = torch.where(known, distance, torch.maximum(distance, now))
        x = inverse @ (_laplacian(w * wanted / now) @ x)
    return x


def _laplacian(w: Float[Tensor, "b i i"]) -> Float[Tensor, "b i i"]:
    return torch.diag_embed(w.sum(-1)) - w


def lay_chain(
    points: Float[Tensor, "b i 3"],
    phi: Float[Tensor, "b i"],
    psi: Float[Tensor, "b i"],
    aatype: Int[Tensor, "b i"],
    mask: Float[Tensor, "b i"],
) -> Rigid:
    """Frames [b, i] (Å): each from the best fit of a short ideal chain to the CB points around it.

    The fit is Kabsch's: with H = U S Vᵀ it is R = V diag(1, 1, ±1) Uᵀ, and the sign that makes R
    a rotation costs S₃ where it is -1. The mirror image of all points has the other signs and the
    same S: it is taken if that costs less in sum. Glycine's point is its CA.
    """
    n = phi.shape[1]
    offsets = torch.arange(-REACH, REACH + 1, device=phi.device)
    near = torch.arange(n, device=phi.device)[:, None] + offsets
    inside = ((near >= 0) & (near < n)).to(points)
    near = near.clamp(0, n - 1)
    poses = build_poses(phi, psi)
    sites = backbone_sites(poses, psi)
    glycine = (aatype == RESTYPES.index("G"))[..., None]
    beta = torch.where(glycine, sites[:, :, CA], sites[:, :, CB])
    chain = Rigid(poses[..., :3, :3], poses[..., :3, 3])
    piece = chain[:, :, None].invert_apply(beta[:, near]).to(points)
    target = points[:, near]
    w = inside * mask[:, near] * torch.exp(-(1.5 * offsets / REACH).square())
    w = (w / w.sum(-1, keepdim=True).clamp(min=1e-6))[..., None]
    p, q = (w * piece).sum(2, keepdim=True), (w * target).sum(2, keepdim=True)
    u, s, vt = torch.linalg.svd((w * (piece - p)).mT @ (target - q))
    sign = torch.linalg.det(u @ vt).sign()
    hand = torch.where((sign * s[..., 2] * mask).sum(1) < 0, -1.0, 1.0)[:, None].to(points)
    u = torch.cat([u[..., :2], (sign * hand)[..., None, None] * u[..., 2:]], dim=-1)
    R = hand[..., None, None] * (u @ vt).mT
    t = hand[..., None] * q[:, :, 0] - (R @ p.mT)[..., 0]
    return Rigid(R, t)
