"""From an alignment and a structure to what the model eats (supplement 1.2).

    Alignment ─ deduplicate ─ block deletion ─ sample clusters ─ mask ─ assign ─ profiles ─┐
                              (training only)      │                                       ├─ Batch
                                                   └─ the rest ────── extra MSA ───────────┤
    Chain ─────────────────────────────────────────────── truth (training, evaluation) ────┘

The annotations of ``Batch`` are the one place where the axes of its tensors are written down;
``pad``, ``crop`` and ``collate`` read them there.
"""

# No `from __future__ import annotations` here: Batch's annotations are used at run time.
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor

from minifold.errors import BadInput


@dataclass(frozen=True)
class Batch:
    """Features (and truth, if known) of b proteins of i residues. Å; masks are floats of 0 or 1.

    Axes: b batch, i residues, s MSA clusters, t extra sequences, T templates. Amino acids are
    0..19 in the order of ``residues.RESTYPES``, 20 unknown, 21 gap, 22 mask. Padding is at the
    end of an axis, all zero.
    """

    aatype: Int[Tensor, "b i"]  # 0..20
    residue_index: Int[Tensor, "b i"]  # place in the chain; a crop or a gap keeps it
    seq_mask: Float[Tensor, "b i"]
    target_feat: Float[Tensor, "b i 22"]  # a zero column ("between segments"), one-hot 21
    # one-hot 23 (after masking), has_deletion, deletion_value, profile 23, deletion_mean_value
    msa_feat: Float[Tensor, "b s i 49"]
    msa_mask: Float[Tensor, "b s i"]
    extra_msa: Int[Tensor, "b t i"]  # 0..22
    extra_has_deletion: Float[Tensor, "b t i"]
    extra_deletion_value: Float[Tensor, "b t i"]
    extra_msa_mask: Float[Tensor, "b t i"]
    # the masked-MSA task: the letters before masking, and where they were replaced
    true_msa: Int[Tensor, "b s i"] | None = None
    bert_mask: Float[Tensor, "b s i"] | None = None
    template_aatype: Int[Tensor, "b T i"] | None = None  # 0..21
    template_all_atom_positions: Float[Tensor, "b T i 37 3"] | None = None
    template_all_atom_mask: Float[Tensor, "b T i 37"] | None = None
    template_mask: Float[Tensor, "b T"] | None = None
    # the truth
    all_atom_positions: Float[Tensor, "b i 37 3"] | None = None
    all_atom_mask: Float[Tensor, "b i 37"] | None = None
    resolution: Float[Tensor, " b"] | None = None  # Å; 0 where the method has none (NMR)
    use_clamped_fape: Float[Tensor, " b"] | None = None  # 1 clamped, 0 unclamped

    def map(self, f: Callable[[Tensor], Tensor]) -> "Batch":
        """The batch with ``f`` applied to every tensor that is present."""
        return Batch(**{name: f(tensor) for name, tensor in self.present().items()})

    def to(self, device: torch.device | str) -> "Batch":
        """The batch on another device."""
        return self.map(lambda tensor: tensor.to(device))

    def present(self) -> dict[str, Tensor]:
        """The tensors that are not None, by name."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value is not None}

    @property
    def length(self) -> int:
        """Number of residues, padding included."""
        return self.aatype.shape[1]


def _axes(kind) -> list[str]:
    """["b", "s", "i", "49"] of Float[Tensor, "b s i 49"] or of the same | None."""
    annotation = (get_args(kind) or (kind,))[0]
    return annotation.dim_str.split()


AXES: dict[str, list[str]] = {field.name: _axes(field.type) for field in fields(Batch)}


def _grow(tensor: Tensor, axis: int, size: int) -> Tensor:
    """The tensor with zeros appended until ``axis`` has ``size`` entries."""
    missing = size - tensor.shape[axis]
    if missing <= 0:
        return tensor
    shape = list(tensor.shape)
    shape[axis] = missing
    return torch.cat([tensor, tensor.new_zeros(shape)], dim=axis)


def pad(batch: Batch, size: int, axis: str = "i") -> Batch:
    """The batch with zeros (and masks 0) appended until an axis of ``Batch`` has ``size`` entries.

    An axis that is already that long stays as it is.
    """
    grown = {
        name: _grow(tensor, AXES[name].index(axis), size)
        for name, tensor in batch.present().items()
        if axis in AXES[name]
    }
    return replace(batch, **grown)


def crop(batch: Batch, length: int, generator: torch.Generator | None = None) -> Batch:
    """A random contiguous piece of ``length`` residues, the same one from every protein.

    ``residue_index`` keeps the original numbers, so relative positions stay true; templates and
    truth are cropped alike. A batch that is not longer than ``length`` comes back unchanged.
    Source: supplement 1.2.8 (here the start is uniform).
    """
    if batch.length <= length:
        return batch
    start = int(torch.randint(batch.length - length + 1, (), generator=generator))
    cut = {
        name: tensor.narrow(AXES[name].index("i"), start, length)
        for name, tensor in batch.present().items()
        if "i" in AXES[name]
    }
    return replace(batch, **cut)


def collate(batches: Sequence[Batch]) -> Batch:
    """One batch of several; every axis is padded at its end to the longest.

    Raises:
        BadInput: there is nothing to collate, or a field is present in some batches only.
    """
    if not batches:
        raise BadInput("nothing to collate; give at least one protein")
    names = batches[0].present().keys()
    for batch in batches:
        if odd := names ^ batch.present().keys():
            raise BadInput(f"{', '.join(sorted(odd))} is present in some of the proteins only")
    for axis in ("i", "s", "t", "T"):
        sizes = [
            tensor.shape[AXES[name].index(axis)]
            for batch in batches
            for name, tensor in batch.present().items()
            if axis in AXES[name]
        ]
        batches = [pad(batch, max(sizes, default=0), axis) for batch in batches]
    return Batch(**{n: torch.cat([b.present()[n] for b in batches]) for n in names})
