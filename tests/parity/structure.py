"""Invariant point attention and the structure module against DeepMind's."""

from __future__ import annotations

from minifold.model.atoms import atom14_to_atom37, frames_to_atom14, lookup, torsions_to_frames
from minifold.model.ipa import InvariantPointAttention
from minifold.model.rigid import Rigid
from minifold.model.structure import FoldIteration, StructureModule
from tests.parity.geometry import flat12, rigid_checks, rigid_from_affine
from tests.parity.registry import Check, Vector, case

# Vectors have no batch axis; x[None] adds it. Masked residues are noise: see the README there.


@case("invariant_point_attention")
def invariant_point_attention(v: Vector) -> list[Check]:
    module = v.load(InvariantPointAttention(v.config), "invariant_point_attention")
    T, mask = rigid_from_affine(v.input("affine"))[None], v.input("mask")[:, 0]
    ours = module(v.input("inputs_1d")[None], v.input("inputs_2d")[None], T, mask[None])
    return [Check("out", ours[0], v.out("out"), mask)]


@case("fold_iteration")
def fold_iteration(v: Vector) -> list[Check]:
    config = v.config
    module = v.load(FoldIteration(config), "fold_iteration")
    aatype, mask = v.input("aatype"), v.input("sequence_mask")[:, 0]
    s, T, unnormalized, angles = module(
        v.input("act")[None],
        v.input("initial_act")[None],
        v.input("static_feat_2d")[None],
        rigid_from_affine(v.input("affine"))[None],
        mask[None],
    )
    frames8 = torsions_to_frames(T.scale(config.position_scale), angles, aatype[None])
    atom14 = frames_to_atom14(frames8, aatype[None])
    return [
        Check("s", s[0], v.out("new/act"), mask),
        *rigid_checks("T", T[0], v.out("affine"), mask),
        *rigid_checks("T for the next layer", T[0], v.out("new/affine"), mask),
        Check("angles", angles[0], v.out("sc/angles_sin_cos"), mask),
        Check("unnormalized", unnormalized[0], v.out("sc/unnormalized_angles_sin_cos"), mask),
        Check("atom14", atom14[0], v.out("sc/atom_pos"), mask),
        Check("frames8", flat12(frames8[0]), v.out("sc/frames"), mask),
    ]


@case("structure_module")
def structure_module(v: Vector) -> list[Check]:
    module = v.load(StructureModule(v.config), "structure_module")
    aatype, mask = v.input("aatype"), v.input("seq_mask")
    ours = module(v.input("single")[None], v.input("pair")[None], aatype[None], mask[None])
    layers = mask.expand(len(ours.frames), -1)
    atom14_mask = lookup("ATOM14_MASK", aatype) * mask[:, None]
    atom37_mask = lookup("ATOM37_MASK", aatype) * mask[:, None]
    atom37 = atom14_to_atom37(ours.atom14[-1], aatype[None])
    return [
        *rigid_checks("traj", Rigid.stack(ours.frames)[:, 0], v.out("traj"), layers),
        *rigid_checks("final_affines", ours.frames[-1][0], v.out("final_affines"), mask),
        Check("angles", ours.angles[:, 0], v.out("sidechains/angles_sin_cos"), layers),
        Check(
            "unnormalized",
            ours.unnormalized_angles[:, 0],
            v.out("sidechains/unnormalized_angles_sin_cos"),
            layers,
        ),
        Check("frames8", flat12(ours.frames8[:, 0]), v.out("sidechains/frames"), layers),
        Check("atom14", ours.atom14[:, 0], v.out("sidechains/atom_pos"), layers),
        Check("final atom14", ours.atom14[-1, 0], v.out("final_atom14_positions"), mask),
        Check("final atom14 mask", atom14_mask, v.out("final_atom14_mask"), tol=0),
        Check("final atom37", atom37[0], v.out("final_atom_positions"), mask),
        Check("final atom37 mask", atom37_mask, v.out("final_atom_mask"), tol=0),
        Check("s", ours.s[0], v.out("representations/structure_module"), mask),
    ]
