"""The auxiliary heads, their losses and the confidences against DeepMind's."""

from __future__ import annotations

import torch

from minifold.data.residues import ATOM_INDEX
from minifold.model import heads
from minifold.training import losses
from tests.parity.geometry import rigid_from_affine
from tests.parity.registry import Check, Vector, case


@case("distogram_head")
def distogram_head(v: Vector) -> list[Check]:
    logits = v.load(heads.DistogramHead(v.config), "distogram_head")(v.input("pair")[None])
    beta, mask = v.input("pseudo_beta")[None], v.input("pseudo_beta_mask")[None]
    loss = losses.distogram_loss(logits, beta, mask)
    square = (beta[0, :, None] - beta[0]).square().sum(-1)
    edges = heads.distogram_edges(v.config.distogram_bins)
    return [
        Check("logits", logits[0], v.out("logits")),
        Check("edges", edges, v.out("bin_edges")),
        Check("loss", loss[0], v.out("loss_output/loss")),
        # the reference keeps the true distances for inspection; no part of ours needs them
        Check("true distance", (square + 1e-6).sqrt(), v.out("loss_output/true_dist")),
    ]


@case("masked_msa_head")
def masked_msa_head(v: Vector) -> list[Check]:
    logits = v.load(heads.MaskedMSAHead(v.config), "masked_msa_head")(v.input("msa")[None])
    loss = losses.masked_msa_loss(logits, v.input("true_msa")[None], v.input("bert_mask")[None])
    return [
        Check("logits", logits[0], v.out("logits")),
        Check("loss", loss[0], v.out("loss_output/loss")),
    ]


@case("predicted_lddt_head")
def predicted_lddt_head(v: Vector) -> list[Check]:
    head = v.load(heads.PredictedLDDTHead(v.config), "predicted_lddt_head")
    logits = head(v.input("structure_module")[None])
    CA = ATOM_INDEX["CA"]
    loss = losses.plddt_loss(
        logits,
        v.input("final_atom_positions")[None, :, CA],
        v.input("all_atom_positions")[None, :, CA],
        v.input("all_atom_mask")[None, :, CA],
        v.input("resolution")[None],
    )
    return [
        Check("logits", logits[0], v.out("logits")),
        Check("loss", loss[0], v.out("loss")),
        Check("plddt", heads.plddt_from_logits(logits)[0], v.out("plddt")),
    ]


@case("experimentally_resolved_head")
def experimentally_resolved_head(v: Vector) -> list[Check]:
    head = v.load(heads.ExperimentallyResolvedHead(v.config), "experimentally_resolved_head")
    logits = head(v.input("single")[None])
    loss = losses.resolved_loss(
        logits,
        v.input("all_atom_mask")[None],
        v.input("atom37_atom_exists")[None],
        v.input("resolution")[None],
    )
    return [Check("logits", logits[0], v.out("logits")), Check("loss", loss[0], v.out("loss"))]


@case("predicted_aligned_error_head")
def predicted_aligned_error_head(v: Vector) -> list[Check]:
    head = v.load(heads.PredictedAlignedErrorHead(v.config), "predicted_aligned_error_head")
    logits = head(v.input("pair")[None])
    loss = losses.pae_loss(
        logits,
        rigid_from_affine(v.input("final_affines"))[None],
        rigid_from_affine(v.input("backbone_affine_tensor"))[None],
        v.input("backbone_affine_mask")[None],
        v.input("resolution")[None],
    )
    bins = logits.shape[-1]
    largest = heads.pae_centers(bins)[-1]
    everyone = torch.ones(logits.shape[:2])
    ptm = v.out("ptm")
    return [
        Check("logits", logits[0], v.out("logits")),
        Check("edges", heads.pae_edges(bins), v.out("breaks")),
        Check("loss", loss[0], v.out("loss")),
        Check("pae", heads.pae_from_logits(logits)[0], v.out("predicted_aligned_error")),
        Check("largest", largest, v.out("max_predicted_aligned_error")),
        Check("ptm", heads.ptm_from_logits(logits)[0], ptm),
        Check("ptm, mask of ones", heads.ptm_from_logits(logits, everyone)[0], ptm),
    ]
