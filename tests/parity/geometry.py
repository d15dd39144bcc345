"""Tables, rigid motions, torsions and atoms against DeepMind's."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from minifold.data import residues
from minifold.model import atoms
from minifold.model.rigid import Rigid, quaternion_multiply, quaternion_to_rotation
from tests.parity.registry import Check, Vector, case


def rigid_from_affine(affine: Tensor) -> Rigid:
    """DeepMind's seven numbers: quaternion (w, x, y, z) and translation."""
    return Rigid(quaternion_to_rotation(affine[..., :4]), affine[..., 4:])


def flat12(T: Rigid) -> Tensor:
    """DeepMind's twelve numbers: rotation by rows, then translation."""
    return torch.cat([T.R.flatten(-2), T.t], dim=-1)


def rigid_checks(name: str, ours: Rigid, affine: Tensor, mask: Tensor | None = None) -> list[Check]:
    """Compare frames by their matrix, because q and -q are the same rotation."""
    reference = rigid_from_affine(affine)
    return [
        Check(name + " rotation", ours.R, reference.R, mask),
        Check(name + " translation", ours.t, reference.t, mask),
    ]


@case("residue_constants")
def residue_constants(v: Vector) -> list[Check]:
    lower, upper = residues.distance_bounds()
    letters = np.array(list("ACDEFGHIKLMNPQRSTVWYX-"))  # HHblits' order
    ours = {
        "restypes": np.array(list(residues.RESTYPES + "X")),
        "restype_3letter": np.array(residues.RESIDUE_NAMES),
        "atom_types": np.array(residues.ATOM_TYPES),
        "atom14_names": np.array(residues.ATOM14_NAMES),
        "restype_atom14_to_atom37": residues.ATOM14_TO_ATOM37,
        "restype_atom37_to_atom14": residues.ATOM37_TO_ATOM14,
        "restype_atom14_mask": residues.ATOM14_MASK,
        "restype_atom37_mask": residues.ATOM37_MASK,
        "chi_angles_mask": residues.CHI_MASK,
        "chi_pi_periodic": residues.CHI_PI_PERIODIC,
        "chi_atom37_indices": residues.CHI_ATOMS,
        "restype_rigid_group_default_frame": residues.RIGID_GROUP_FRAMES,
        "restype_atom14_to_rigid_group": residues.ATOM14_GROUP,
        "restype_atom14_rigid_group_positions": residues.ATOM14_POSITIONS,
        "renaming_matrices": np.eye(14)[residues.RENAMING],
        "atom37_vdw_radius": residues.VDW_RADIUS,
        "atom14_dists_lower_bound": lower,
        "atom14_dists_upper_bound": upper,
        "ca_ca": residues.CA_CA,
        "between_res_bond_length_c_n": residues.BETWEEN_C_N,
        "between_res_bond_length_stddev_c_n": residues.BETWEEN_C_N_STDDEV,
        "between_res_cos_angles_c_n_ca": (residues.COS_C_N_CA, residues.COS_C_N_CA_STDDEV),
        "between_res_cos_angles_ca_c_n": (residues.COS_CA_C_N, residues.COS_CA_C_N_STDDEV),
        "map_hhblits_aatype_to_our_aatype": [residues.LETTER_TO_TOKEN[x] for x in letters],
    }
    assert set(v.arrays) - {"meta"} == set(ours), "a table without a check, or the other way round"
    checks = []
    for name, array in ours.items():
        array, reference = np.asarray(array), v.arrays[name]
        if array.dtype.kind == "U":
            assert array.shape == reference.shape, name
            array, reference = array == reference, np.ones(reference.shape)
        pair = (torch.from_numpy(np.array(x, np.float64)) for x in (array, reference))
        checks.append(Check(name, *pair, tol=1e-6))
    # the scale of the upper bounds is 1e10 (no bound); compare the others by themselves
    bounded = torch.from_numpy(v.arrays["atom14_dists_upper_bound"] < 1e9)
    upper_reference = torch.from_numpy(v.arrays["atom14_dists_upper_bound"])
    checks.append(Check("upper", torch.from_numpy(upper), upper_reference, bounded, tol=1e-6))
    return checks


@case("quaternion_and_frames")
def quaternion_and_frames(v: Vector) -> list[Check]:
    q1, vec = v.input("q1"), v.input("vec")
    T, points = rigid_from_affine(v.input("affine")), v.input("points")
    back, origin, plane = v.input("p_neg_x"), v.input("p_origin"), v.input("p_xy")
    updated = T.compose(Rigid.from_update(v.input("update")))
    n, ca, c = back, origin, plane
    reference = Rigid.from_3_points(n, ca, c)
    pure = torch.cat([torch.zeros_like(vec[..., :1]), vec], dim=-1)
    return [
        Check("q1 q2", quaternion_multiply(q1, v.input("q2")), v.out("q1_times_q2")),
        Check("q1 (0, v)", quaternion_multiply(q1, pure), v.out("q1_times_vec")),
        Check("rotation", quaternion_to_rotation(q1), v.out("rot_from_q1")),
        Check("apply", T[:, None].apply(points), v.out("apply_to_point")),
        Check("invert_apply", T[:, None].invert_apply(points), v.out("invert_point")),
        *rigid_checks("update", updated, v.out("pre_compose")),
        Check("update rotation matrix", updated.R, v.out("pre_compose_rot")),
        Check(
            "from_axes",
            flat12(Rigid.from_axes(origin - back, plane - origin, origin)),
            v.out("rigid_from_3_points"),
        ),
        Check("from_3_points R", reference.R, v.out("transform_from_reference_rot")),
        Check("from_3_points t", reference.t, v.out("transform_from_reference_trans")),
    ]


@case("atom14_from_torsions")
def atom14_from_torsions(v: Vector) -> list[Check]:
    aatype, torsions = v.input("aatype"), v.input("torsion_angles_sin_cos")
    frames = atoms.torsions_to_frames(
        rigid_from_affine(v.input("backbone_affine")), torsions, aatype
    )
    atom14 = atoms.frames_to_atom14(frames, aatype)
    exists = v.input("atom37_atom_exists")  # the reference's masks are 0 for padded residues
    real = exists.amax(-1)
    atom37 = atoms.atom14_to_atom37(atom14, aatype) * exists[..., None]
    round_trip = atoms.atom37_to_atom14(atom37, aatype)
    mask37, mask14 = atoms.lookup("ATOM37_MASK", aatype), atoms.lookup("ATOM14_MASK", aatype)
    return [
        Check("frames", flat12(frames), v.out("frames")),
        Check("atom14", atom14, v.out("atom14_pos")),
        Check("atom37", atom37, v.out("atom37_pos")),
        Check("round trip", round_trip, v.out("atom14_roundtrip")),
        Check("atom37 mask", mask37, exists, real, tol=0),
        Check("atom14 mask", mask14, v.input("atom14_atom_exists"), real, tol=0),
    ]


@case("rigidgroup_frames_from_atom37")
def rigidgroup_frames_from_atom37(v: Vector) -> list[Check]:
    aatype = v.input("aatype")
    frames, alternative, exists = atoms.atom37_to_frames(
        aatype, v.input("all_atom_positions"), v.input("all_atom_mask")
    )
    ambiguous = atoms.lookup("GROUP_AMBIGUOUS", aatype)
    return [
        Check("exists", exists, v.out("rigidgroups_gt_exists"), tol=0),
        Check(
            "group", atoms.lookup("GROUP_MASK", aatype), v.out("rigidgroups_group_exists"), tol=0
        ),
        Check("ambiguous", ambiguous, v.out("rigidgroups_group_is_ambiguous"), tol=0),
        Check("frames", flat12(frames), v.out("rigidgroups_gt_frames"), exists),
        Check("alternative", flat12(alternative), v.out("rigidgroups_alt_gt_frames"), exists),
    ]


@case("torsion_angles_from_atom37")
def torsion_angles_from_atom37(v: Vector) -> list[Check]:
    checks = []
    for name in ("placeholder", "no_placeholder"):
        torsions, alternative, mask = atoms.atom37_to_torsions(
            v.input("aatype"),
            v.input("all_atom_positions"),
            v.input("all_atom_mask"),
            placeholder=name == "placeholder",
        )
        where = None if name == "placeholder" else mask  # else noise of degenerate frames
        checks += [
            Check(f"{name} mask", mask, v.out(f"{name}/torsion_angles_mask"), tol=0),
            Check(name, torsions, v.out(f"{name}/torsion_angles_sin_cos"), where),
            Check(f"{name} alt", alternative, v.out(f"{name}/alt_torsion_angles_sin_cos"), where),
        ]
    return checks
