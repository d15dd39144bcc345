"""Structure module: from single and pair representation to atoms (supplement 1.8, Algorithm 20).

    s, z ──► IPA ──► transition ──► frame update ──► torsions ──► frames of 8 groups ──► atoms
              ▲            (one set of weights, structure_layers times)
              └── frames T

Inside, translations are in units of `Config.position_scale` Å; everything handed out is in Å.
The module computes in float32, also under autocast.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from minifold.config import Config
from minifold.errors import BadInput
from minifold.model.atoms import frames_to_atom14, torsions_to_frames
from minifold.model.ipa import InvariantPointAttention
from minifold.model.primitives import LayerNorm, Linear
from minifold.model.rigid import Rigid
from minifold.model.settle import settle
from minifold.model.start import fold_distances

STARTS = ("black_hole", "line", "distances")


@dataclass(frozen=True)
class StructureOutput:
    """What the structure module predicts in each of its l layers; the last one is the answer."""

    frames: list[Rigid]  # backbone frames [b, i] of each layer, Å
    angles: Float[Tensor, "l b i 7 2"]  # torsions (sin, cos): pre-omega, phi, psi, chi1 to chi4
    unnormalized_angles: Float[Tensor, "l b i 7 2"]
    frames8: Rigid  # [l, b, i, 8], frames of the rigid groups, Å
    atom14: Float[Tensor, "l b i 14 3"]  # Å
    s: Float[Tensor, "b i c_s"]  # single representation after the last layer
    # torsions (sin, cos) that the first frames were built from, where they start from distances
    start_angles: Float[Tensor, "b i 7 2"] | None = None


class StructureModule(nn.Module):
    """Algorithm 20, StructureModule (without the losses)."""

    def __init__(self, config: Config):
        super().__init__()
        if config.start not in STARTS:
            raise BadInput(f"start is {config.start!r}; choose one of {', '.join(STARTS)}")
        self.config = config
        self.single_norm = LayerNorm(config.c_s)
        self.pair_norm = LayerNorm(config.c_z)
        self.initial = Linear(config.c_s, config.c_s)
        self.iteration = FoldIteration(config)

    def forward(
        self,
        s: Float[Tensor, "b i c_s"],
        z: Float[Tensor, "b i j c_z"],
        aatype: Int[Tensor, "b i"],
        seq_mask: Float[Tensor, "b i"],
        distogram_logits: Float[Tensor, "b i j bins"] | None = None,
    ) -> StructureOutput:
        with torch.autocast(s.device.type, enabled=False):
            return self._forward(
                _full_precision(s), _full_precision(z), aatype, seq_mask, distogram_logits
            )

    def _forward(
        self, s: Tensor, z: Tensor, aatype: Tensor, seq_mask: Tensor, logits: Tensor | None
    ) -> StructureOutput:
        s_initial = self.single_norm(s)  # line 1
        z = self.pair_norm(z)  # line 2
        s = self.initial(s_initial)  # line 3
        T, start_angles = self.start(seq_mask.to(s.dtype)), None  # line 4
        if self.config.start == "distances":
            s, _, _, start_angles = self.iteration(s, s_initial, z, T, seq_mask)
            T = fold_distances(logits, start_angles.detach(), aatype, seq_mask)
            T = T.scale(1 / self.config.position_scale)
        frames, angles, unnormalized = [], [], []
        for _ in range(self.config.structure_layers):  # line 5
            s, T, raw, alpha = self.iteration(s, s_initial, z, T, seq_mask)
            frames.append(T.scale(self.config.position_scale))
            angles.append(alpha)
            unnormalized.append(raw)
            T = T.stop_rotation_gradient()  # lines 19-21
        if self.config.settle and not self.training:
            frames[-1] = Rigid(frames[-1].R, settle(frames[-1].t, seq_mask.to(s.dtype)))
        alphas, backbones = torch.stack(angles), Rigid.stack(frames)
        types = aatype.expand(len(frames), *aatype.shape)
        frames8 = torsions_to_frames(backbones, alphas, types)  # line 24, all layers at once
        atom14 = frames_to_atom14(frames8, types)
        raw = torch.stack(unnormalized)
        return StructureOutput(frames, alphas, raw, frames8, atom14, s, start_angles)

    def start(self, seq_mask: Float[Tensor, "b i"]) -> Rigid:
        """First frames [b, i]: all at the origin ("black hole", line 4), or else along a line.

        The line is ours: neighbours 1.5 Å apart along x, centred on the residues that exist. It
        tells the first layer who is whose neighbour, which a small model learns late otherwise.
        """
        T = Rigid.identity(seq_mask.shape, seq_mask.device, seq_mask.dtype)
        if self.config.start == "black_hole":
            return T
        i = torch.arange(seq_mask.shape[1], device=seq_mask.device, dtype=seq_mask.dtype)
        centre = (seq_mask * i).sum(-1, keepdim=True) / seq_mask.sum(-1, keepdim=True).clamp(min=1)
        x = (i - centre) * (1.5 / self.config.position_scale)
        return Rigid(T.R, torch.stack([x, torch.zeros_like(x), torch.zeros_like(x)], dim=-1))


class FoldIteration(nn.Module):
    """One layer of the structure module: Algorithm 20 lines 6 to 14."""

    def __init__(self, config: Config):
        super().__init__()
        c_s, n = config.c_s, config.structure_transition_layers
        self.ipa = InvariantPointAttention(config)
        self.ipa_norm = LayerNorm(c_s)
        inits = ["relu"] * (n - 1) + ["zero"]
        self.transition = nn.ModuleList(Linear(c_s, c_s, init=init) for init in inits)
        self.transition_norm = LayerNorm(c_s)
        self.dropout = nn.Dropout(config.structure_dropout)
        self.backbone_update = Linear(c_s, 6, init="zero")
        self.torsions = TorsionResNet(config)

    def forward(
        self,
        s: Float[Tensor, "b i c_s"],
        s_initial: Float[Tensor, "b i c_s"],
        z: Float[Tensor, "b i j c_z"],
        T: Rigid,
        seq_mask: Float[Tensor, "b i"],
    ) -> tuple[Float[Tensor, "b i c_s"], Rigid, Float[Tensor, "b i 7 2"], Float[Tensor, "b i 7 2"]]:
        """New s, new frames (in units of position_scale), torsions before and after normalising."""
        s = s + self.ipa(s, z, T, seq_mask)  # line 6
        s = self.ipa_norm(self.dropout(s))  # line 7
        x = s
        for linear in self.transition[:-1]:
            x = torch.relu(linear(x))
        s = s + self.transition[-1](x)  # line 8
        s = self.transition_norm(self.dropout(s))  # line 9
        T = T.compose(Rigid.from_update(self.backbone_update(s)))  # line 10
        unnormalized, angles = self.torsions(s, s_initial)  # lines 11-14
        return s, T, unnormalized, angles


class TorsionResNet(nn.Module):
    """Torsion angles from the single representation: Algorithm 20 lines 11 to 14.

    The ReLU on both inputs is DeepMind's, not the supplement's.
    """

    def __init__(self, config: Config):
        super().__init__()
        c = config.c_torsion
        self.project_s = Linear(config.c_s, c)
        self.project_initial = Linear(config.c_s, c)
        self.blocks = nn.ModuleList(ResidualBlock(c) for _ in range(config.torsion_blocks))
        self.output = Linear(c, 14)

    def forward(
        self, s: Float[Tensor, "b i c_s"], s_initial: Float[Tensor, "b i c_s"]
    ) -> tuple[Float[Tensor, "b i 7 2"], Float[Tensor, "b i 7 2"]]:
        """Torsions (sin, cos), unnormalised and of unit length."""
        a = self.project_s(torch.relu(s)) + self.project_initial(torch.relu(s_initial))  # line 11
        for block in self.blocks:  # lines 12, 13
            a = block(a)
        raw = self.output(torch.relu(a)).unflatten(-1, (7, 2))  # line 14
        return raw, raw / raw.square().sum(-1, keepdim=True).clamp(min=1e-12).sqrt()


class ResidualBlock(nn.Module):
    """a + two linear layers, each after a ReLU: Algorithm 20 lines 12 and 13."""

    def __init__(self, c: int):
        super().__init__()
        self.linear_1 = Linear(c, c, init="relu")
        self.linear_2 = Linear(c, c, init="zero")

    def forward(self, a: Float[Tensor, "b i c"]) -> Float[Tensor, "b i c"]:
        return a + self.linear_2(torch.relu(self.linear_1(torch.relu(a))))


def _full_precision(x: Tensor) -> Tensor:
    """float32 for half-precision input; float32 and float64 stay what they are."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
