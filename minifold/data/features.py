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

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from minifold.config import Config
from minifold.data import msa
from minifold.data.msa import Alignment
from minifold.data.residues import sequence_to_aatype
from minifold.data.structures import Chain
from minifold.errors import BadInput

MASKED_FRACTION = 0.15  # of the letters of the clusters, in training
CLAMPED_FRACTION = 0.9  # of the training examples with clamped backbone FAPE (supplement 1.11.5)


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


def make_batch(
    alignment: Alignment | None,
    chain: Chain | None,
    config: Config,
    seed: int = 0,
    *,
    training: bool = False,
    mask_fraction: float | None = None,
    clamped_fraction: float = CLAMPED_FRACTION,
) -> Batch:
    """Features of one protein (b = 1), in AlphaFold's order; the same seed gives the same batch.

    Args:
        alignment: its query is the protein; None: the sequence of ``chain`` alone.
        chain: the true structure, or None where it is not known.
        config: sets the number of clusters and extra sequences, and the longest query. Clusters
            and templates share ``max_msa`` rows, as in AlphaFold.
        training: delete blocks of the alignment (Alg. 1), and decide whether FAPE is clamped.
        mask_fraction: how many letters the masked-MSA task replaces. Default: 0.15 in training,
            else 0. DeepMind's released models were run with 0.15 also in inference.
        clamped_fraction: how often FAPE is clamped in training; AlphaFold2: 0.9.

    Returns:
        A batch; ``true_msa`` and ``bert_mask`` are None where nothing is masked.

    Raises:
        BadInput: neither alignment nor chain; the query is longer than the preset allows, or is
            not the sequence of the chain.
    """
    if alignment is None:
        if chain is None:
            raise BadInput("neither an alignment nor a structure; give at least one of them")
        alignment = Alignment.from_sequence(chain.sequence, chain.name)
    _check_query(alignment, chain, config)
    rng = np.random.default_rng(seed)
    if mask_fraction is None:
        mask_fraction = MASKED_FRACTION if training else 0.0
    features = _query_features(alignment, chain)
    features |= _msa_features(alignment, config, rng, training, mask_fraction)
    if chain is not None:
        features |= _truth(chain)
        if training:
            features["use_clamped_fape"] = np.float32(rng.random() < clamped_fraction)
    return Batch(**{name: torch.as_tensor(value)[None] for name, value in features.items()})


def _check_query(alignment: Alignment, chain: Chain | None, config: Config) -> None:
    """Refuse a query that is too long for the preset or is not the chain's sequence."""
    query = alignment.query
    if len(query) > config.max_residues:
        raise BadInput(
            f"{alignment.names[0]!r} has {len(query)} residues, preset {config.name!r} takes at "
            f"most {config.max_residues}; cut it into domains or choose a larger preset"
        )
    if chain is None or chain.sequence == query:
        return
    where = [k for k, (a, b) in enumerate(zip(chain.sequence, query), start=1) if a != b]
    if where:
        k = where[0]
        found = f"residue {k} is {chain.sequence[k - 1]} in the structure, {query[k - 1]} here"
    else:
        found = f"the structure has {len(chain.sequence)} residues, the query {len(query)}"
    raise BadInput(
        f"the query {alignment.names[0]!r} is not the sequence of {chain.name} chain "
        f"{chain.chain_id}: {found}; anchor the alignment on that sequence"
    )


def _query_features(alignment: Alignment, chain: Chain | None) -> dict[str, np.ndarray]:
    aatype = sequence_to_aatype(alignment.query)
    count = len(aatype)
    target_feat = np.zeros((count, 22), np.float32)
    target_feat[:, 1:] = msa.one_hot(aatype, 21)
    return {
        "aatype": aatype.astype(np.int64),
        "residue_index": np.arange(count) if chain is None else chain.residue_index.astype(int),
        "seq_mask": np.ones(count, np.float32),
        "target_feat": target_feat,
    }


def _msa_features(
    alignment: Alignment,
    config: Config,
    rng: np.random.Generator,
    training: bool,
    mask_fraction: float,
) -> dict[str, np.ndarray]:
    """The clusters with their 49 features, and the extra sequences. Supplement 1.2.6-1.2.9."""
    alignment = msa.deduplicate(alignment)
    column_profile = msa.profile(alignment.tokens)
    if training:
        alignment = msa.delete_blocks(alignment, rng)

    # cluster centres: the query, and a random choice of the others
    clusters = config.max_msa - (config.max_templates if config.templates else 0)
    order = np.append(0, 1 + rng.permutation(alignment.depth - 1))
    centres, extra = alignment.take(order[:clusters]), alignment.take(order[clusters:])
    masked, chosen = msa.mask_letters(centres.tokens, column_profile, mask_fraction, rng)
    cluster = msa.nearest_cluster(masked, extra.tokens)
    frequencies, mean_deletions = msa.cluster_profiles(
        masked, centres.deletions, extra.tokens, extra.deletions, cluster
    )
    msa_feat = np.concatenate(
        [
            msa.one_hot(masked),
            _has_deletion(centres.deletions)[..., None],
            _squash(centres.deletions)[..., None],
            frequencies,
            _squash(mean_deletions)[..., None],
        ],
        axis=-1,
    )
    extra = extra.take(np.arange(min(extra.depth, config.max_extra_msa)))  # in random order
    features = {
        "msa_feat": msa_feat,
        "msa_mask": np.ones(masked.shape, np.float32),
        "extra_msa": extra.tokens.astype(np.int64),
        "extra_has_deletion": _has_deletion(extra.deletions),
        "extra_deletion_value": _squash(extra.deletions),
        "extra_msa_mask": np.ones(extra.tokens.shape, np.float32),
    }
    if mask_fraction > 0:
        features |= {"true_msa": centres.tokens.astype(np.int64), "bert_mask": chosen}
    return features


def _has_deletion(deletions: np.ndarray) -> np.ndarray:
    return (deletions > 0).astype(np.float32)


def _squash(deletions: np.ndarray) -> np.ndarray:
    """A number of deletions, 0 to infinity, as a value from 0 to 1."""
    return (2 / np.pi * np.arctan(deletions / 3)).astype(np.float32)


def _truth(chain: Chain) -> dict[str, np.ndarray]:
    """Known positions; an atom without finite coordinates does not exist."""
    known = chain.mask * np.isfinite(chain.positions).all(axis=-1)
    return {
        "all_atom_positions": np.where(known[..., None] > 0, chain.positions, 0).astype(np.float32),
        "all_atom_mask": known.astype(np.float32),
        "resolution": np.float32(chain.resolution or 0),
    }
