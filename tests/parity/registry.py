"""The registry of parity cases and the little they share."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from minifold.config import Config
from minifold.model import weights

CASES: dict[str, Callable[[Vector], list[Check]]] = {}


def case(*names: str):
    """Register a function that turns a vector file of that case into checks."""

    def register(function):
        for name in names:
            assert name not in CASES, f"two parity cases are called {name}"
            CASES[name] = function
        return function

    return register


class Vector:
    """One reference file: inputs, parameters and outputs of a DeepMind module."""

    def __init__(self, path: str | Path):
        with np.load(path) as z:
            self.arrays = {key: z[key] for key in z.files}
        self.meta = json.loads(str(self.arrays["meta"])) if "meta" in self.arrays else {}
        self.dm = self.meta.get("reduced_model_config", {})
        self.name = self.meta.get("case", Path(path).stem)
        self.used: set[str] = set()

    def input(self, name: str) -> Tensor:
        return self._tensor("in/" + name)

    def out(self, name: str) -> Tensor:
        self.used.add(name)
        return self._tensor("out/" + name)

    def has(self, name: str) -> bool:
        return "in/" + name in self.arrays

    @property
    def outputs(self) -> list[str]:
        return [key[4:] for key in self.arrays if key.startswith("out/")]

    @property
    def params(self) -> dict[str, np.ndarray]:
        return {k[6:]: v for k, v in self.arrays.items() if k.startswith("param/")}

    @property
    def config(self) -> Config:
        return config_from_deepmind(self.dm, self.meta["model_preset"])

    def load(self, module: nn.Module, scope: str) -> nn.Module:
        """Load the parameters below a haiku scope; every array must be used."""
        weights.load_arrays(module, self.params, scope)
        return module.eval()

    def _tensor(self, key: str) -> Tensor:
        x = torch.from_numpy(np.array(self.arrays[key]))
        return x.long() if not x.is_floating_point() else x


@dataclass
class Check:
    """Ours against the reference; ``mask`` is broadcast from the left."""

    name: str
    ours: Tensor
    reference: Tensor
    mask: Tensor | None = None
    tol: float = 1e-4

    def error(self) -> float:
        """The largest difference, relative to the scale of the reference."""
        ours, ref = self.ours.detach().double(), self.reference.double()
        assert ours.shape == ref.shape, f"{self.name}: {tuple(ours.shape)} != {tuple(ref.shape)}"
        if self.mask is not None:
            keep = self.mask.bool()
            ours, ref = ours[keep], ref[keep]
        if ref.numel() == 0:
            return 0.0
        difference = float((ours - ref).abs().max())
        scale = float(ref.abs().max())
        return difference / scale if scale > 0 else difference


def config_from_deepmind(dm: dict, model_preset: str) -> Config:
    """Our Config for one of DeepMind's configurations."""
    embed, heads = dm["embeddings_and_evoformer"], dm["heads"]
    evo, template, structure = embed["evoformer"], embed["template"], heads["structure_module"]
    pair_stack = template["template_pair_stack"]
    return Config(
        name=model_preset,
        c_m=embed["msa_channel"],
        c_z=embed["pair_channel"],
        c_s=embed["seq_channel"],
        c_e=embed["extra_msa_channel"],
        c_t=pair_stack["triangle_attention_ending_node"]["value_dim"],
        evoformer_blocks=embed["evoformer_num_block"],
        extra_msa_blocks=embed["extra_msa_stack_num_block"],
        template_blocks=pair_stack["num_block"],
        msa_heads=evo["msa_row_attention_with_pair_bias"]["num_head"],
        pair_heads=evo["triangle_attention_starting_node"]["num_head"],
        template_heads=pair_stack["triangle_attention_starting_node"]["num_head"],
        c_template_attention=template["attention"]["key_dim"],
        c_outer=evo["outer_product_mean"]["num_outer_channel"],
        c_triangle=evo["triangle_multiplication_outgoing"]["num_intermediate_channel"],
        transition_factor=evo["msa_transition"]["num_intermediate_factor"],
        template_transition_factor=pair_stack["pair_transition"]["num_intermediate_factor"],
        max_relative=embed["max_relative_feature"],
        recycle_bins=embed["prev_pos"]["num_bins"],
        recycle_min=embed["prev_pos"]["min_bin"],
        recycle_max=embed["prev_pos"]["max_bin"],
        templates=template["enabled"],
        template_bins=template["dgram_features"]["num_bins"],
        template_min=template["dgram_features"]["min_bin"],
        template_max=template["dgram_features"]["max_bin"],
        structure_layers=structure["num_layer"],
        ipa_heads=structure["num_head"],
        ipa_scalars=structure["num_scalar_qk"],
        ipa_query_points=structure["num_point_qk"],
        ipa_value_points=structure["num_point_v"],
        structure_transition_layers=structure["num_layer_in_transition"],
        c_torsion=structure["sidechain"]["num_channel"],
        torsion_blocks=structure["sidechain"]["num_residual_block"],
        position_scale=structure["position_scale"],
        distogram_bins=heads["distogram"]["num_bins"],
        c_plddt=heads["predicted_lddt"]["num_channels"],
        plddt_bins=heads["predicted_lddt"]["num_bins"],
        pae=model_preset.endswith("_ptm"),
        pae_bins=heads["predicted_aligned_error"]["num_bins"],
    )
