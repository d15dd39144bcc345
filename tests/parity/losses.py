"""Losses, lDDT and violations against DeepMind's, and the gradients of the structure loss."""

from __future__ import annotations

import torch

from minifold.model import atoms, weights
from minifold.model.atoms import GroundTruth
from minifold.model.rigid import Rigid
from minifold.model.structure import StructureModule
from minifold.physics.violations import find_violations, violation_loss, violation_metrics
from minifold.training import fape, losses, metrics
from tests.parity.geometry import rigid_from_affine
from tests.parity.registry import Check, Vector, case


def rigid_from_flat12(x: torch.Tensor) -> Rigid:
    """DeepMind's twelve numbers: rotation by rows, then translation."""
    return Rigid(x[..., :9].unflatten(-1, (3, 3)), x[..., 9:])


@case("lddt")
def lddt(v: Vector) -> list[Check]:
    points = v.input("predicted_points"), v.input("true_points")
    mask = v.input("true_points_mask")[..., 0]
    return [
        Check("overall", metrics.lddt(*points, mask), v.out("overall")),
        Check("per residue", metrics.lddt_per_point(*points, mask), v.out("per_residue")),
    ]


def violation_checks(v: Vector, found, metric, prefix: str) -> list[Check]:
    names = {
        "violations_extreme_ca_ca_distance": "ca_ca_stretched",
        "violations_between_residue_bond": "connection",
        "violations_between_residue_clash": "clash",
        "violations_within_residue": "within",
        "violations_per_residue": "any",
    }
    return [Check(k, metric[ours][0], v.out(f"{prefix}{k}")) for k, ours in names.items()]


def whole_links(mask: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """Residues whose links to both neighbours exist: at others, the reference counts atoms that
    are not there (DeepMind's code does not mask this diagnostic; nothing is computed from it)."""
    backbone = mask[..., :3].prod(-1)
    link = backbone[:, :-1] * backbone[:, 1:] * (index[:, 1:] - index[:, :-1] == 1)
    return torch.nn.functional.pad(link, (0, 1), value=1) * torch.nn.functional.pad(
        link, (1, 0), value=1
    )


@case("structural_violations")
def structural_violations(v: Vector) -> list[Check]:
    mask = v.input("atom14_atom_exists")[None]
    atom14, index = v.input("atom14_pred_positions")[None], v.input("residue_index")[None]
    found = find_violations(atom14, mask, index, v.input("aatype")[None])
    metric = violation_metrics(found, atom14, mask, index, v.input("seq_mask")[None])
    names = {
        "between_residues/bonds_c_n_loss_mean": found.bond_c_n,
        "between_residues/angles_ca_c_n_loss_mean": found.angle_ca_c_n,
        "between_residues/angles_c_n_ca_loss_mean": found.angle_c_n_ca,
        "between_residues/connections_per_residue_loss_sum": found.connection_loss,
        "between_residues/connections_per_residue_violation_mask": found.connection_violated,
        "between_residues/clashes_mean_loss": found.clash,
        "between_residues/clashes_per_atom_loss_sum": found.clash_loss,
        "between_residues/clashes_per_atom_clash_mask": found.clash_violated,
        "within_residues/per_atom_loss_sum": found.within_loss,
        "within_residues/per_atom_violations": found.within_violated,
        "total_per_residue_violations_mask": found.violated,
    }
    where = {"between_residues/connections_per_residue_loss_sum": whole_links(mask, index)[0]}
    checks = [
        Check(name, x[0], v.out(f"violations/{name}"), where.get(name)) for name, x in names.items()
    ]
    loss = Check("loss", violation_loss(found, mask)[0], v.out("loss"))
    return [loss, *checks, *violation_checks(v, found, metric, "metrics/")]


@case("fape_backbone")
def fape_backbone(v: Vector) -> list[Check]:
    frames = rigid_from_affine(v.input("traj"))[:, None]
    true = rigid_from_affine(v.input("backbone_affine_tensor"))[None]
    mask, checks = v.input("backbone_affine_mask")[None], []
    for name, share in (("clamped", 1.0), ("mixed09", 0.9), ("unclamped", 0.0)):
        share = torch.tensor([share])
        last = fape.backbone_fape(frames[-1:], true, mask, share)
        mean = fape.backbone_fape(frames, true, mask, share)
        checks += [
            Check(f"{name} last", last[0], v.out(f"{name}/fape")),
            Check(f"{name} mean", mean[0], v.out(f"{name}/loss")),
        ]
    plain = fape.backbone_fape(frames, true, mask)
    return [*checks, Check("default is clamped", plain[0], v.out("clamped/loss"))]


def read_truth(v: Vector) -> GroundTruth:
    """The stored truth; what the vector lacks is zero."""

    def get(name: str, *shape: int) -> torch.Tensor:
        return (v.input(name) if v.has(name) else torch.zeros(len(v.input("aatype")), *shape))[None]

    chi, chi_mask = get("chi_angles", 4), get("chi_mask", 4)
    torsions = torch.nn.functional.pad(torch.stack([chi.sin(), chi.cos()], -1), (0, 0, 3, 0))
    half_turn = 1 - 2 * atoms.lookup("CHI_PI_PERIODIC", v.input("aatype"))[None]
    sign = torch.nn.functional.pad(half_turn, (3, 0), value=1.0)[..., None]
    return GroundTruth(
        backbone=rigid_from_affine(get("backbone_affine_tensor", 7)),
        backbone_mask=get("backbone_affine_mask"),
        frames8=rigid_from_flat12(get("rigidgroups_gt_frames", 8, 12)),
        alt_frames8=rigid_from_flat12(get("rigidgroups_alt_gt_frames", 8, 12)),
        frames8_mask=get("rigidgroups_gt_exists", 8),
        atom14=get("atom14_gt_positions", 14, 3),
        alt_atom14=get("atom14_alt_gt_positions", 14, 3),
        atom14_mask=get("atom14_gt_exists", 14),
        alt_atom14_mask=get("atom14_alt_gt_exists", 14),
        atom14_ambiguous=get("atom14_atom_is_ambiguous", 14),
        torsions=torsions,
        alt_torsions=torsions * sign,
        torsion_mask=torch.nn.functional.pad(chi_mask, (3, 0)),
        chi_angles=chi,
        chi_mask=chi_mask,
        pseudo_beta=torch.zeros_like(chi[..., :3]),
        pseudo_beta_mask=torch.zeros_like(chi[..., 0]),
    )


def renaming_checks(v: Vector, renamed: fape.RenamedTruth) -> list[Check]:
    exists = v.out("renamed_atom14_gt_exists")
    return [
        Check("swap", renamed.renamed[0], v.out("alt_naming_is_better"), tol=0),
        Check("renamed exists", renamed.atom14_mask[0], exists, tol=0),
        Check("renamed", renamed.atom14[0], v.out("renamed_atom14_gt_positions")),
    ]


@case("fape_sidechain_and_renaming")
def fape_sidechain_and_renaming(v: Vector) -> list[Check]:
    frames8 = rigid_from_flat12(v.input("frames"))[-1:]
    atom14 = v.input("atom_pos")[-1:]
    renamed = fape.rename_ambiguous(atom14, read_truth(v))
    clamped = fape.sidechain_fape(frames8, atom14, renamed)
    unclamped = fape.sidechain_fape(frames8, atom14, renamed, clamp=None)
    return [
        *renaming_checks(v, renamed),
        Check("fape", clamped[0], v.out("fape")),
        Check("fape unclamped", unclamped[0], v.out("fape_unclamped")),
    ]


@case("supervised_chi_loss")
def supervised_chi_loss(v: Vector) -> list[Check]:
    truth = read_truth(v)
    chi, norm = losses.torsion_loss(
        v.input("angles_sin_cos")[:, None],
        v.input("unnormalized_angles_sin_cos")[:, None],
        (truth.torsions, truth.alt_torsions),
        truth.torsion_mask,
        v.input("seq_mask")[None],
    )
    w = losses.LossWeights()
    return [
        Check("chi", chi[0], v.out("chi_loss")),
        Check("angle norm", norm[0], v.out("angle_norm_loss")),
        Check("loss", w.chi * chi[0] + w.angle_norm * norm[0], v.out("loss")),
    ]


def run_structure_loss(v: Vector, module: StructureModule, s, z):
    """Prediction, losses and their weighted sum, in DeepMind's released configuration."""
    aatype, index, mask = (v.input(k)[None] for k in ("aatype", "residue_index", "seq_mask"))
    predicted = module(s[None], z[None], aatype, mask)
    parts = losses.structure_losses(
        predicted,
        read_truth(v),
        aatype,
        index,
        mask,
        v.input("use_clamped_fape").reshape(1),
        losses.FINE_TUNING,
    )
    total = sum(getattr(losses.FINE_TUNING, name) * part for name, part in parts.items())
    return predicted, parts, total[0]


@case("structure_module_loss")
def structure_module_loss(v: Vector) -> list[Check]:
    module = v.load(StructureModule(v.config), "structure_module")
    predicted, parts, total = run_structure_loss(v, module, v.input("single"), v.input("pair"))
    mask, exists = v.input("seq_mask"), v.input("atom14_atom_exists")[None]
    atom14, index = predicted.atom14[-1], v.input("residue_index")[None]
    found = find_violations(atom14, exists, index, v.input("aatype")[None])
    metric = violation_metrics(found, atom14, exists, index, mask[None])
    last = fape.backbone_fape(
        Rigid.stack(predicted.frames[-1:]),
        read_truth(v).backbone,
        read_truth(v).backbone_mask,
        v.input("use_clamped_fape").reshape(1),
    )
    return [
        Check("final atom14", atom14[0], v.out("final_atom14_positions"), mask),
        *renaming_checks(v, fape.rename_ambiguous(atom14, read_truth(v))),
        *violation_checks(v, found, metric, "loss/metrics/"),
        Check("backbone fape of the last layer", last[0], v.out("loss/fape")),
        Check("side-chain fape", parts["fape_sidechain"][0], v.out("loss/sidechain_fape")),
        Check("chi", parts["chi"][0], v.out("loss/chi_loss")),
        Check("angle norm", parts["angle_norm"][0], v.out("loss/angle_norm_loss")),
        Check("loss", total, v.out("loss/loss")),
    ]


@case("grad_structure_loss")
def grad_structure_loss(v: Vector) -> list[Check]:
    module = v.load(StructureModule(v.config), "structure_module")
    s, z = v.input("single").requires_grad_(), v.input("pair").requires_grad_()
    _, _, total = run_structure_loss(v, module, s, z)
    total.backward()
    ours = weights.dump_arrays(module, "structure_module", grads=True)
    expected = {k.removeprefix("grad_param/") for k in v.outputs if k.startswith("grad_param/")}
    assert set(ours) == expected, f"parameters without a counterpart: {set(ours) ^ expected}"
    largest = max(float(v.out(f"grad_param/{name}").abs().max()) for name in ours)
    checks = [
        Check("loss", total, v.out("loss")),
        Check("single", s.grad, v.out("grad_in/single")),
        Check("pair", z.grad, v.out("grad_in/pair")),
    ]
    for name, grad in ours.items():
        grad, reference = torch.from_numpy(grad), v.out(f"grad_param/{name}")
        if float(reference.abs().max()) < 1e-6 * largest:
            # a bias before a softmax: its gradient is 0, both sides are rounding noise
            grad, reference = (grad - reference) / largest, torch.zeros_like(reference)
        checks.append(Check(name, grad, reference))
    return checks
