"""The sizes of a model, and the presets.

The default of every field is AlphaFold2's published value (supplement 1.2-1.11), so that
``Config()`` is the full-size model and each preset shows only what it changes.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

from minifold.errors import BadInput


@dataclass(frozen=True)
class Config:
    """Sizes of the model. The default is AlphaFold2's value (monomer, with templates)."""

    name: str = "alphafold2"

    # Widths of the representations (supplement 1.5, 1.6)
    c_m: int = 256  # MSA representation m
    c_z: int = 128  # pair representation z
    c_s: int = 384  # single representation s
    c_e: int = 64  # extra MSA representation
    c_t: int = 64  # template pair representation

    # Stacks
    evoformer_blocks: int = 48
    extra_msa_blocks: int = 4
    template_blocks: int = 2

    # Inside a block; an attention head has (width of its input) / heads channels
    msa_heads: int = 8
    pair_heads: int = 4
    template_heads: int = 4
    c_template_attention: int = 64  # all heads of the template pointwise attention together
    c_outer: int = 32  # outer product mean, left and right
    c_triangle: int = 128  # triangle multiplication
    transition_factor: int = 4
    template_transition_factor: int = 2
    msa_dropout: float = 0.15
    pair_dropout: float = 0.25

    # Embedding
    max_relative: int = 32  # relative positions are clipped at this many residues
    recycle_bins: int = 15  # distance bins of the recycling embedder, 3.25 to 20.75 Å
    recycle_min: float = 3.25
    recycle_max: float = 20.75
    templates: bool = True  # False: models 3, 4, 5
    template_bins: int = 39  # distance bins of a template, 3.25 to 50.75 Å
    template_min: float = 3.25
    template_max: float = 50.75

    # Structure module (supplement 1.8)
    structure_layers: int = 8
    ipa_heads: int = 12
    ipa_scalars: int = 16  # scalar query/key/value channels of a head
    ipa_query_points: int = 4
    ipa_value_points: int = 8
    structure_transition_layers: int = 3
    structure_dropout: float = 0.1
    c_torsion: int = 128
    torsion_blocks: int = 2
    position_scale: float = 10.0  # Å per unit of length inside the structure module
    # where frames start; ours: "line", 1.5 Å apart along the x axis, or "distances", where the
    # distogram and predicted torsions put them
    start: str = "black_hole"
    settle: bool = (
        False  # ours: move the predicted Cα atoms to possible distances (not in training)
    )

    # Heads (supplement 1.9)
    distogram_bins: int = 64
    c_plddt: int = 128
    plddt_bins: int = 50
    pae: bool = False  # predicted aligned error and pTM: the "_ptm" models
    pae_bins: int = 64

    # Recycling: training draws 0 to this many (supplement 1.10), folding takes this many
    recycles: int = 3

    # Size of the input (supplement 1.2)
    max_msa: int = 512  # rows of m: clusters, and templates where the model has them
    max_extra_msa: int = 1024
    max_templates: int = 4
    max_residues: int = 2500  # the longest query this preset accepts
    crop: int = 256  # residues of a training example

    def replace(self, **changes) -> Config:
        """A copy with some fields changed; unknown fields are an error."""
        known = {f.name for f in fields(self)}
        for key in changes:
            if key not in known:
                raise BadInput(f"Config has no field {key!r}; the fields are {sorted(known)}")
        return replace(self, **changes)


_NANO = Config(
    name="nano",
    c_m=32,
    c_z=32,
    c_s=128,
    c_e=16,
    c_t=16,
    evoformer_blocks=2,
    extra_msa_blocks=0,  # rows that are no cluster centres count in the profiles of the clusters
    template_blocks=1,
    msa_heads=4,
    pair_heads=2,
    template_heads=2,
    c_template_attention=16,
    c_outer=12,
    c_triangle=16,
    transition_factor=2,
    msa_dropout=0.0,
    pair_dropout=0.0,
    structure_layers=4,
    ipa_heads=8,
    ipa_scalars=16,
    ipa_query_points=4,
    ipa_value_points=4,
    structure_dropout=0.0,
    c_torsion=32,
    start="distances",
    templates=False,
    c_plddt=32,
    recycles=0,  # a step costs a third less; `mini` recycles
    max_msa=32,
    max_extra_msa=64,
    max_residues=256,
    crop=128,
)

PRESETS: dict[str, Config] = {
    "nano": _NANO,
    "mini": _NANO.replace(
        name="mini",
        c_m=64,
        c_z=64,
        c_s=128,
        c_e=32,
        evoformer_blocks=4,
        extra_msa_blocks=1,
        pair_heads=4,
        c_outer=16,
        c_triangle=64,
        transition_factor=4,
        structure_layers=6,
        c_torsion=64,
        recycles=1,
        c_plddt=64,
        max_msa=64,
        max_extra_msa=128,
        max_residues=512,
    ),
    "alphafold2": Config(),
    "alphafold2_ptm": Config(name="alphafold2_ptm", pae=True),
}


def preset(name: str) -> Config:
    """The preset of that name.

    Raises:
        BadInput: there is no such preset.
    """
    if name not in PRESETS:
        raise BadInput(f"unknown preset {name!r}; choose one of {', '.join(PRESETS)}")
    return PRESETS[name]
