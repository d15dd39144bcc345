"""The losses (supplement 1.9): how wrong an output is, so that gradients can say what is better.

Each function gives one value per example [b], computed from unmasked positions only, so padding
changes nothing and a batch is worth the mean of its members. ``loss`` puts them together.
Computed in float32 (float64 if the input is), also under autocast.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from minifold.data.features import Batch
from minifold.errors import BadInput
from minifold.model.alphafold import AlphaFold, Output
from minifold.model.atoms import GroundTruth, ground_truth, lookup, pseudo_beta
from minifold.model.heads import distogram_edges, pae_edges
from minifold.model.rigid import Rigid
from minifold.model.structure import StructureOutput
from minifold.physics.violations import find_violations, violation_loss
from minifold.training.fape import backbone_fape, local_fape, rename_ambiguous, sidechain_fape
from minifold.training.metrics import LDDT_CUTOFFS, lddt_per_point

CA = 1  # in atom14 and atom37


@dataclass(frozen=True)
class LossWeights:
    """What each loss counts. The defaults are AlphaFold2's initial training.

    They are those of DeepMind's released configuration, except for ``violation``: 0 in initial
    training (supplement 1.9, equation 7), 1 in fine-tuning and in the released configuration.
    (By the supplement, ``resolved`` and ``pae`` too only count in fine-tuning; the released
    configuration has one value for all.)
    """

    fape_backbone: float = 0.5
    fape_sidechain: float = 0.5
    chi: float = 0.5
    angle_norm: float = 0.01
    violation: float = 0.0
    distogram: float = 0.3
    masked_msa: float = 2.0
    plddt: float = 0.01
    resolved: float = 0.01
    pae: float = 0.1
    smooth_lddt: float = 0.0  # ours, for small models
    fape_local: float = 0.0  # ours, likewise
    geometry: float = 0.0  # ours: chains that hold together and keep their distance
    start_torsions: float = 1.0  # ours, for models whose frames start from distances
    # Multiply the total of each example by the root of its number of residues: so AlphaFold2 was
    # trained (supplement 1.9); the released code's total is without it, which is the default here.
    sqrt_length: bool = False


FINE_TUNING = LossWeights(violation=1.0)  # also DeepMind's released configuration


def loss(
    output: Output, batch: Batch, weights: LossWeights | None = None
) -> dict[str, Float[Tensor, ""]]:
    """Every loss, averaged over the batch; ``total`` is the weighted sum to differentiate.

    Raises:
        BadInput: the batch has no true structure.
    """
    return {k: v.mean() for k, v in losses_per_example(output, batch, weights).items()}


def losses_per_example(
    output: Output, batch: Batch, weights: LossWeights | None = None
) -> dict[str, Float[Tensor, " b"]]:
    """Every loss and their weighted sum ``total``, for each example.

    What costs much is left out if its weight is 0 (fape_sidechain, violation, smooth_lddt,
    fape_local, geometry), and so is what the batch or the model does not have (masked_msa, pae).

    Raises:
        BadInput: the batch has no true structure.
    """
    weights = weights or LossWeights()
    if batch.all_atom_positions is None or batch.all_atom_mask is None:
        raise BadInput("this batch has no true structure; give one to compute losses")
    with torch.autocast(batch.aatype.device.type, enabled=False):
        truth = ground_truth(batch.aatype, batch.all_atom_positions, batch.all_atom_mask)
        parts = structure_losses(
            output.structure,
            truth,
            batch.aatype,
            batch.residue_index,
            batch.seq_mask,
            batch.use_clamped_fape,
            weights,
        )
        parts |= _head_losses(output, batch, truth)
        total = sum(getattr(weights, name) * part for name, part in parts.items())
        if weights.sqrt_length:
            total = total * batch.seq_mask.sum(-1).sqrt()
    return {"total": total, **parts}


def trunk_losses(
    model: AlphaFold, batch: Batch, weights: LossWeights | None = None
) -> dict[str, Float[Tensor, ""]]:
    """The losses of a pass that ends before the structure module: distogram and masked MSA."""
    weights = weights or LossWeights()
    m, z, _ = model.trunk(batch, model.nothing(batch))
    positions, mask = batch.all_atom_positions, batch.all_atom_mask
    parts = {
        "distogram": distogram_loss(model.distogram(z), *pseudo_beta(batch.aatype, positions, mask))
    }
    if batch.true_msa is not None and batch.bert_mask is not None:
        parts["masked_msa"] = masked_msa_loss(model.masked_msa(m), batch.true_msa, batch.bert_mask)
    parts = {key: value.mean() for key, value in parts.items()}
    return {"total": sum(getattr(weights, k) * v for k, v in parts.items()), **parts}


def structure_losses(
    predicted: StructureOutput,
    truth: GroundTruth,
    aatype: Int[Tensor, "b i"],
    residue_index: Int[Tensor, "b i"],
    seq_mask: Float[Tensor, "b i"],
    use_clamped: Float[Tensor, " b"] | None,
    weights: LossWeights,
) -> dict[str, Float[Tensor, " b"]]:
    """Algorithm 20 lines 17, 22, 23 and 28."""
    frames, atom14 = Rigid.stack(predicted.frames), predicted.atom14[-1]
    chi, angle_norm = torsion_loss(
        predicted.angles,
        predicted.unnormalized_angles,
        (truth.torsions, truth.alt_torsions),
        truth.torsion_mask,
        seq_mask,
    )
    parts = {
        "fape_backbone": backbone_fape(frames, truth.backbone, truth.backbone_mask, use_clamped),
        "chi": chi,
        "angle_norm": angle_norm,
    }
    if weights.fape_sidechain:
        renamed = rename_ambiguous(atom14, truth)
        parts["fape_sidechain"] = sidechain_fape(predicted.frames8[-1], atom14, renamed)
    if weights.violation:
        exists = lookup("ATOM14_MASK", aatype) * seq_mask[..., None]
        found = find_violations(atom14, exists, residue_index, aatype)
        parts["violation"] = violation_loss(found, exists)
    if weights.smooth_lddt:
        ca, mask = truth.atom14[..., CA, :], truth.atom14_mask[..., CA]
        parts["smooth_lddt"] = smooth_lddt_loss(predicted.atom14[..., CA, :], ca, mask).mean(0)
    if weights.geometry:
        ca, mask = truth.atom14[..., CA, :], truth.atom14_mask[..., CA]
        parts["geometry"] = geometry_loss(
            predicted.atom14[..., CA, :], ca, mask, residue_index
        ).mean(0)
    if predicted.start_angles is not None:
        parts["start_torsions"] = backbone_torsion_loss(
            predicted.start_angles, truth.torsions, truth.torsion_mask
        )
    if weights.fape_local:
        parts["fape_local"] = local_fape(
            frames, truth.backbone, truth.backbone_mask, residue_index
        ).mean(0)
    return parts


def _head_losses(
    output: Output, batch: Batch, truth: GroundTruth
) -> dict[str, Float[Tensor, " b"]]:
    ca, ca_mask = truth.atom14[..., CA, :], truth.atom14_mask[..., CA]
    exists = lookup("ATOM37_MASK", batch.aatype) * batch.seq_mask[..., None]
    parts = {
        "distogram": distogram_loss(
            output.distogram_logits, truth.pseudo_beta, truth.pseudo_beta_mask
        ),
        "plddt": plddt_loss(
            output.plddt_logits, output.positions[..., CA, :], ca, ca_mask, batch.resolution
        ),
        "resolved": resolved_loss(
            output.resolved_logits, batch.all_atom_mask, exists, batch.resolution
        ),
    }
    if batch.true_msa is not None and batch.bert_mask is not None:
        parts["masked_msa"] = masked_msa_loss(
            output.masked_msa_logits, batch.true_msa, batch.bert_mask
        )
    if output.pae_logits is not None:
        parts["pae"] = pae_loss(
            output.pae_logits,
            output.structure.frames[-1],
            truth.backbone,
            truth.backbone_mask,
            batch.resolution,
        )
    return parts


# ------------------------------------------------------------------ structure


def torsion_loss(
    angles: Float[Tensor, "l b i 7 2"],
    unnormalized: Float[Tensor, "l b i 7 2"],
    true: tuple[Float[Tensor, "b i 7 2"], Float[Tensor, "b i 7 2"]],
    mask: Float[Tensor, "b i 7"],
    seq_mask: Float[Tensor, "b i"],
) -> tuple[Float[Tensor, " b"], Float[Tensor, " b"]]:
    """Algorithm 27: loss of chi1 to chi4, and of the length of all unnormalised torsion vectors.

    The backbone torsions are not supervised (DeepMind's code; the supplement has all seven).

    Args:
        true: (sin, cos) with either name of the ambiguous atoms; the nearer one counts.
    """
    length = (unnormalized.square().sum(-1) + 1e-6).sqrt()  # Alg. 27 line 1
    squares = [(angles - x).square().sum(-1)[..., 3:] for x in true]  # line 3
    nearest = torch.minimum(*squares)
    layers = len(angles)
    chi_mask = mask[..., 3:]
    chi = (chi_mask * nearest).sum((0, 2, 3)) / (layers * chi_mask.sum((1, 2)) + 1e-10)
    off = seq_mask[..., None] * (length - 1).abs()  # line 4
    return chi, off.sum((0, 2, 3)) / (layers * 7 * seq_mask.sum(1) + 1e-10)


def backbone_torsion_loss(
    angles: Float[Tensor, "b i 7 2"],
    true: Float[Tensor, "b i 7 2"],
    mask: Float[Tensor, "b i 7"],
) -> Float[Tensor, " b"]:
    """Squared distance of φ and ψ on the unit circle, 0 to 4: Algorithm 27 line 3 for these two."""
    square = (angles - true)[..., 1:3, :].square().sum(-1)
    mask = mask[..., 1:3]
    return (mask * square).sum((1, 2)) / (1e-10 + mask.sum((1, 2)))


def smooth_lddt_loss(
    predicted: Float[Tensor, "*l b n 3"],
    true: Float[Tensor, "b n 3"],
    mask: Float[Tensor, "b n"],
    cutoff: float = 15.0,
) -> Float[Tensor, "*l b"]:
    """1 - lDDT-Cα with sigmoids 1 Å wide in place of its four steps.

    Not part of AlphaFold2; off by default. It teaches small models faster than FAPE does, but is
    blind to mirror images and to clashes: use it beside FAPE only. A perfect copy scores 0.196.
    """
    n = mask.shape[-1]

    def distances(x: Tensor) -> Tensor:
        return (1e-6 + (x[..., :, None, :] - x[..., None, :, :]).square().sum(-1)).sqrt()

    distance = distances(true)
    pairs = mask[:, :, None] * mask[:, None, :] * (1 - torch.eye(n, device=mask.device))
    pairs = pairs * (distance < cutoff)
    error = (distances(predicted) - distance).abs()
    score = sum(torch.sigmoid(c - error) for c in LDDT_CUTOFFS) / len(LDDT_CUTOFFS)
    return 1 - (pairs * score).sum((-2, -1)) / (1e-10 + pairs.sum((-2, -1)))


def geometry_loss(
    predicted: Float[Tensor, "*l b n 3"],
    true: Float[Tensor, "b n 3"],
    mask: Float[Tensor, "b n"],
    residue_index: Int[Tensor, "b n"],
    nearest: float = 4.2,
) -> Float[Tensor, "*l b"]:
    """How far Cα atoms are from a chain that could exist, in Å: 0 for the truth.

    Not part of AlphaFold2; off by default. The sum of three means: the error of the distance
    between neighbours in the chain; how much two others come nearer than ``nearest`` Å (or than in
    the truth, if that is less), over all pairs, per residue; the error of the radius of gyration,
    which falls where a model that does not know a fold places everything in the middle.
    """

    def distances(x: Tensor) -> Tensor:
        return (1e-6 + (x[..., :, None, :] - x[..., None, :, :]).square().sum(-1)).sqrt()

    def radius(x: Tensor) -> Tensor:
        w = (mask / mask.sum(-1, keepdim=True).clamp(min=1))[..., None]
        square = (x - (w * x).sum(-2, keepdim=True)).square()
        return (1e-6 + (w * square).sum((-2, -1))).sqrt()

    pairs = mask[:, :, None] * mask[:, None, :]
    apart = residue_index[:, None, :] - residue_index[:, :, None]
    seen, wanted = distances(predicted), distances(true)
    bonds = pairs * (apart == 1)
    bond = (bonds * (seen - wanted).abs()).sum((-2, -1)) / bonds.sum((-2, -1)).clamp(min=1)
    overlap = (wanted.clamp(max=nearest) - seen).clamp(min=0) * pairs * (apart >= 2)
    clash = overlap.sum((-2, -1)) / mask.sum(-1).clamp(min=1)
    return bond + clash + (radius(predicted) - radius(true)).abs()


# ------------------------------------------------------------------ heads


def distogram_loss(
    logits: Float[Tensor, "b i i bins"],
    pseudo_beta: Float[Tensor, "b i 3"],
    mask: Float[Tensor, "b i"],
) -> Float[Tensor, " b"]:
    """Cross entropy of the binned Cβ-Cβ distance (supplement 1.9.8)."""
    edges = distogram_edges(logits.shape[-1], device=logits.device)
    square = (pseudo_beta[:, :, None] - pseudo_beta[:, None, :]).square().sum(-1)
    error = _cross_entropy(logits, _bin(square, edges.square()))
    return _mean_over_pairs(error, mask, 1e-6)


def masked_msa_loss(
    logits: Float[Tensor, "b s i 23"],
    true_msa: Int[Tensor, "b s i"],
    bert_mask: Float[Tensor, "b s i"],
) -> Float[Tensor, " b"]:
    """Cross entropy of the letters that were hidden (supplement 1.9.9)."""
    error = bert_mask * _cross_entropy(logits, true_msa)
    return error.sum((1, 2)) / (1e-8 + bert_mask.sum((1, 2)))


def plddt_loss(
    logits: Float[Tensor, "b i bins"],
    predicted_ca: Float[Tensor, "b i 3"],
    true_ca: Float[Tensor, "b i 3"],
    mask: Float[Tensor, "b i"],
    resolution: Float[Tensor, " b"] | None,
) -> Float[Tensor, " b"]:
    """Cross entropy of the binned lDDT-Cα of each residue (supplement 1.9.6)."""
    bins = logits.shape[-1]
    target = lddt_per_point(predicted_ca.detach(), true_ca, mask)
    error = _cross_entropy(logits, (target * bins).long().clamp(max=bins - 1))
    return _trust(resolution, mask) * (mask * error).sum(-1) / (1e-8 + mask.sum(-1))


def resolved_loss(
    logits: Float[Tensor, "b i 37"],
    resolved: Float[Tensor, "b i 37"],
    exists: Float[Tensor, "b i 37"],
    resolution: Float[Tensor, " b"] | None,
) -> Float[Tensor, " b"]:
    """Was each existing atom seen in the experiment? Cross entropy (supplement 1.9.10)."""
    x = _precise(logits)
    error = exists * (torch.nn.functional.softplus(x) - resolved * x)
    return _trust(resolution, exists) * error.sum((1, 2)) / (1e-8 + exists.sum((1, 2)))


def pae_loss(
    logits: Float[Tensor, "b i i bins"],
    frames: Rigid,
    true_frames: Rigid,
    mask: Float[Tensor, "b i"],
    resolution: Float[Tensor, " b"] | None,
) -> Float[Tensor, " b"]:
    """Cross entropy of the binned error of Cα j in frame i (supplement 1.9.7); frames [b, i], Å."""
    seen, true = (T[:, :, None].invert_apply(T.t[:, None]) for T in (frames, true_frames))
    square = (seen - true).detach().square().sum(-1)
    edges = pae_edges(logits.shape[-1], device=logits.device)
    error = _cross_entropy(logits, _bin(square, edges.square()))
    return _trust(resolution, mask) * _mean_over_pairs(error, mask, 1e-8)


# ------------------------------------------------------------------ small parts


def _precise(x: Tensor) -> Tensor:
    """float32 at least."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


def _bin(value: Tensor, edges: Float[Tensor, " edges"]) -> Tensor:
    """How many edges the value exceeds."""
    return (value[..., None] > edges).sum(-1)


def _cross_entropy(logits: Float[Tensor, "*b c"], target: Int[Tensor, "*b"]) -> Tensor:
    log_p = torch.log_softmax(_precise(logits), dim=-1)
    return -log_p.gather(-1, target[..., None])[..., 0]


def _mean_over_pairs(
    error: Float[Tensor, "b i i"], mask: Float[Tensor, "b i"], eps: float
) -> Float[Tensor, " b"]:
    pairs = mask[:, :, None] * mask[:, None, :]
    return (pairs * error).sum((1, 2)) / (eps + pairs.sum((1, 2)))


def _trust(resolution: Float[Tensor, " b"] | None, like: Tensor) -> Tensor:
    """1 where the resolution is 0.1 to 3.0 Å or not given: the others teach no confidence."""
    if resolution is None:
        return like.new_ones(len(like))
    return ((resolution >= 0.1) & (resolution <= 3.0)).to(like.dtype)
