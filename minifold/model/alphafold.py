"""The whole model: Algorithm 2 (inference), with recycling as in Algorithms 30 and 31.

features ─► embed ─► templates ─► extra MSA stack ─► Evoformer ─► structure module ─► heads
              ▲                                         │                │
              └───────────── recycling: first row of m, z, Cβ positions ◄┘
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from minifold.config import Config
from minifold.data.features import Batch
from minifold.data.residues import ATOM_INDEX
from minifold.model.atoms import atom14_to_atom37, lookup, pseudo_beta
from minifold.model.embed import (
    ExtraMSAEmbedder,
    InputEmbedder,
    RecyclingEmbedder,
    extra_msa_features,
)
from minifold.model.evoformer import Evoformer, EvoformerStack
from minifold.model.heads import (
    DistogramHead,
    ExperimentallyResolvedHead,
    MaskedMSAHead,
    PredictedAlignedErrorHead,
    PredictedLDDTHead,
)
from minifold.model.structure import StructureModule, StructureOutput
from minifold.model.templates import (
    TemplateAngleEmbedder,
    TemplateEmbedder,
    template_angle_features,
)

CA = ATOM_INDEX["CA"]


@dataclass(frozen=True)
class Recycled:
    """What one pass hands to the next."""

    m_first: Float[Tensor, "b i c_m"]
    z: Float[Tensor, "b i i c_z"]
    positions: Float[Tensor, "b i 37 3"]  # Å


@dataclass(frozen=True)
class Output:
    """Everything the model computes in its last pass; positions in Å."""

    m: Float[Tensor, "b s i c_m"]
    m_first: Float[Tensor, "b i c_m"]
    z: Float[Tensor, "b i i c_z"]
    s: Float[Tensor, "b i c_s"]
    structure: StructureOutput
    positions: Float[Tensor, "b i 37 3"]
    atom_mask: Float[Tensor, "b i 37"]
    distogram_logits: Float[Tensor, "b i i bins"]
    masked_msa_logits: Float[Tensor, "b s i 23"]
    plddt_logits: Float[Tensor, "b i plddt_bins"]
    resolved_logits: Float[Tensor, "b i 37"]
    pae_logits: Float[Tensor, "b i i pae_bins"] | None
    passes: int  # how many passes were run: 1 + recycles, fewer after an early stop


class Trunk(nn.Module):
    """From features to m, z and s: Algorithm 2 lines 5-17."""

    def __init__(self, config: Config):
        super().__init__()
        self.input = InputEmbedder(config)
        self.recycling = RecyclingEmbedder(config)
        self.templates = TemplateEmbedder(config) if config.templates else None
        self.template_angles = TemplateAngleEmbedder(config) if config.templates else None
        self.extra_msa = ExtraMSAEmbedder(config)
        self.extra_stack = EvoformerStack(config, config.extra_msa_blocks, extra=True)
        self.evoformer = Evoformer(config)

    def forward(
        self, batch: Batch, previous: Recycled
    ) -> tuple[Float[Tensor, "b s i c_m"], Float[Tensor, "b i i c_z"], Float[Tensor, "b i c_s"]]:
        pair_mask = batch.seq_mask[:, :, None] * batch.seq_mask[:, None, :]
        m, z = self.input(batch.target_feat, batch.residue_index, batch.msa_feat)  # Alg. 2 line 5
        every_atom = torch.ones_like(previous.positions[..., 0])
        beta, _ = pseudo_beta(batch.aatype, previous.positions, every_atom)
        m_first, z_recycled = self.recycling(previous.m_first, previous.z, beta)  # line 6
        z = z + z_recycled
        m = torch.cat([(m[:, 0] + m_first)[:, None], m[:, 1:]], dim=1)
        msa_mask, sequences = batch.msa_mask, m.shape[1]
        with_templates = self.templates is not None and batch.template_mask is not None
        if with_templates:
            structures = (
                batch.template_aatype,
                batch.template_all_atom_positions,
                batch.template_all_atom_mask,
            )
            z = z + self.templates(z, *structures, batch.template_mask, pair_mask)  # lines 9-13
        a = extra_msa_features(
            batch.extra_msa, batch.extra_has_deletion, batch.extra_deletion_value
        )  # line 14
        _, z = self.extra_stack(self.extra_msa(a), z, batch.extra_msa_mask, pair_mask)  # 15, 16
        if with_templates:
            features, row_mask = template_angle_features(*structures)
            m = torch.cat([m, self.template_angles(features)], dim=1)  # lines 7, 8
            msa_mask = torch.cat([msa_mask, row_mask], dim=1)
        m, z, s = self.evoformer(m, z, msa_mask, pair_mask)  # line 17
        return m[:, :sequences], z, s


class AlphaFold(nn.Module):
    """AlphaFold2 (monomer): Algorithm 2.

    Args:
        config: sizes; see minifold.config.PRESETS.
    """

    def __init__(self, config: Config):
        super().__init__()
        self.config = config
        self.trunk = Trunk(config)
        self.structure_module = StructureModule(config)
        self.distogram = DistogramHead(config)
        self.masked_msa = MaskedMSAHead(config)
        self.plddt = PredictedLDDTHead(config)
        self.resolved = ExperimentallyResolvedHead(config)
        self.pae = PredictedAlignedErrorHead(config) if config.pae else None

    def forward(
        self,
        batch: Batch | Sequence[Batch],
        recycles: int = 3,
        ensembles: int = 1,
        tolerance: float = 0.0,
    ) -> Output:
        """Predict structures; only the last pass has gradients (Algorithm 31).

        Args:
            batch: one Batch for all passes, or a list of ensembles · (recycles + 1) of them,
                pass after pass, which differ in their sample of the alignment.
            recycles: how often the result is fed back; the number of passes less one.
            ensembles: representations are averaged over this many samples in every pass.
            tolerance: stop early once a pass changes the Cα distances by less than this (Å,
                root mean square); 0 never stops. At inference only.
        """
        batches = [batch] if isinstance(batch, Batch) else list(batch)
        if len(batches) not in (1, ensembles * (recycles + 1)):
            raise ValueError(
                f"{len(batches)} batches do not make {recycles + 1} passes of {ensembles}"
            )
        previous = self.nothing(batches[0])
        for number in range(recycles + 1):  # Alg. 30 line 2, Alg. 31 line 3
            last = number == recycles
            start = number * ensembles if len(batches) > 1 else 0
            members = batches[start : start + ensembles]
            with torch.set_grad_enabled(torch.is_grad_enabled() and last):
                if last and torch.is_autocast_enabled(batches[0].seq_mask.device.type):
                    torch.clear_autocast_cache()  # it holds weights cast without gradients
                output = self._one_pass(members, previous, number + 1)
            if last or (not self.training and self._settled(output, previous, members, tolerance)):
                return output
            previous = Recycled(output.m_first, output.z, output.positions)
        raise AssertionError("unreachable")

    def _one_pass(self, members: list[Batch], previous: Recycled, number: int) -> Output:
        """Lines 3-22 of Algorithm 2, averaged over the ensemble; m is the first member's."""
        m, z, s = self.trunk(members[0], previous)
        m_first = m[:, 0]
        for member in members[1:]:
            m_k, z_k, s_k = self.trunk(member, previous)
            m_first, z, s = m_first + m_k[:, 0], z + z_k, s + s_k
        m_first, z, s = (x / len(members) for x in (m_first, z, s))

        batch = members[0]
        distogram_logits = self.distogram(z)
        structure = self.structure_module(
            s, z, batch.aatype, batch.seq_mask, distogram_logits
        )  # line 21
        positions = atom14_to_atom37(structure.atom14[-1], batch.aatype)
        exists = lookup("ATOM37_MASK", batch.aatype, positions.dtype)
        return Output(
            m=m,
            m_first=m_first,
            z=z,
            s=s,
            structure=structure,
            positions=positions,
            atom_mask=exists * batch.seq_mask[..., None],
            distogram_logits=distogram_logits,
            masked_msa_logits=self.masked_msa(m),
            plddt_logits=self.plddt(structure.s),
            resolved_logits=self.resolved(s),
            pae_logits=None if self.pae is None else self.pae(z),
            passes=number,
        )

    def nothing(self, batch: Batch) -> Recycled:
        """The zeros that enter the first pass (Alg. 30 line 1)."""
        b, i = batch.aatype.shape
        zeros = batch.target_feat.new_zeros
        return Recycled(
            m_first=zeros(b, i, self.config.c_m),
            z=zeros(b, i, i, self.config.c_z),
            positions=zeros(b, i, 37, 3),
        )

    @staticmethod
    def _settled(
        output: Output, previous: Recycled, members: list[Batch], tolerance: float
    ) -> bool:
        """Whether the Cα distances of all proteins changed by less than the tolerance."""
        if tolerance <= 0.0:
            return False
        mask = members[0].seq_mask
        pairs = mask[:, :, None] * mask[:, None, :]
        new, old = (
            torch.cdist(x[:, :, CA], x[:, :, CA], compute_mode="donot_use_mm_for_euclid_dist")
            for x in (output.positions, previous.positions)
        )
        change = ((new - old).square() * pairs).sum((1, 2)) / pairs.sum((1, 2))
        return bool((change.sqrt() < tolerance).all())
