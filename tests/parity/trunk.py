"""Parity of primitives, Evoformer and templates."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from minifold.model.atoms import pseudo_beta
from minifold.model.embed import distance_bins, extra_msa_features
from minifold.model.evoformer import EvoformerBlock
from minifold.model.msa_stack import (
    MSAColumnAttention,
    MSAColumnGlobalAttention,
    MSARowAttentionWithPairBias,
    OuterProductMean,
)
from minifold.model.pair_stack import TemplatePairBlock, TriangleAttention, TriangleMultiplication
from minifold.model.primitives import (
    Attention,
    GlobalAttention,
    LayerNorm,
    Linear,
    Transition,
    set_attention,
)
from minifold.model.templates import TemplateEmbedder, TemplatePairEmbedder
from minifold.model.weights import dump_arrays, load_arrays
from tests.parity.registry import Check, Vector, case


def both_paths(module, *inputs):
    """The outputs of the fast and of the clear attention path."""
    results = []
    for path in ("fast", "clear"):
        set_attention(module, path)
        results.append(module(*inputs))
    return results


@case("attention_gated", "attention_gated_bias", "attention_nogate", "attention_nogate_bias")
def attention(v: Vector) -> list[Check]:
    q_data, m_data, mask = v.input("q_data"), v.input("m_data"), v.input("mask")
    arrays = v.params
    _, heads, c_qk = arrays["attention//query_w"].shape
    _, _, c_v = arrays["attention//value_w"].shape
    c_out = arrays["attention//output_w"].shape[-1]
    gated = "attention//gating_w" in arrays
    module = Attention(
        q_data.shape[-1], m_data.shape[-1], c_out, heads, heads * c_qk, heads * c_v, gated
    )
    v.load(module, "attention")
    bias = v.input("nonbatched_bias")[None] if v.has("nonbatched_bias") else None
    fast, clear = both_paths(module, q_data, m_data, mask[:, 0, 0], bias)
    return [Check("out, fast", fast, v.out("out")), Check("out, clear", clear, v.out("out"))]


@case("global_attention")
def global_attention(v: Vector) -> list[Check]:
    x = v.input("q_data")
    heads = v.params["attention//query_w"].shape[1]
    module = v.load(GlobalAttention(x.shape[-1], heads), "attention")
    return [Check("out", module(x, v.input("q_mask")[..., 0]), v.out("out"))]


@case("layer_norm_linear")
def layer_norm_linear(v: Vector) -> list[Check]:
    x = v.input("x")
    norm = v.load(LayerNorm(x.shape[-1]), "layer_norm")
    linear = v.load(Linear(*v.params["linear//weights"].shape), "linear")
    return [
        Check("layer_norm", norm(x), v.out("layer_norm")),
        Check("linear", linear(x), v.out("linear")),
    ]


@case("msa_row_attention_with_pair_bias")
def msa_row(v: Vector) -> list[Check]:
    c = v.config
    module = v.load(MSARowAttentionWithPairBias(c.c_m, c.c_z, c.msa_heads), v.name)
    m, mask, z = v.input("msa_act"), v.input("msa_mask"), v.input("pair_act")
    fast, clear = both_paths(module, m[None], z[None], mask[None])
    return [
        Check("out, fast", fast[0], v.out("out")),
        Check("out, clear", clear[0], v.out("out")),
    ]


@case("msa_column_attention")
def msa_column(v: Vector) -> list[Check]:
    module = v.load(MSAColumnAttention(v.config.c_m, v.config.msa_heads), v.name)
    out = module(v.input("msa_act")[None], v.input("msa_mask")[None])[0]
    return [Check("out", out, v.out("out"))]


@case("msa_column_global_attention")
def msa_column_global(v: Vector) -> list[Check]:
    module = v.load(MSAColumnGlobalAttention(v.config.c_e, v.config.msa_heads), v.name)
    out = module(v.input("msa_act")[None], v.input("msa_mask")[None])[0]
    return [Check("out", out, v.out("out"))]


@case("msa_transition", "pair_transition")
def transition(v: Vector) -> list[Check]:
    x = v.input("msa_act" if v.name.startswith("msa") else "pair_act")
    module = v.load(Transition(x.shape[-1], v.config.transition_factor), v.name)
    return [Check("out", module(x), v.out("out"))]


@case("outer_product_mean")
def outer_product_mean(v: Vector) -> list[Check]:
    c = v.config
    module = v.load(OuterProductMean(c.c_m, c.c_z, c.c_outer), v.name)
    out = module(v.input("msa_act")[None], v.input("msa_mask")[None])[0]
    return [Check("out", out, v.out("out"))]


@case("triangle_attention_starting_node", "triangle_attention_ending_node")
def triangle_attention(v: Vector) -> list[Check]:
    module = TriangleAttention(v.config.c_z, v.config.pair_heads, starting="starting" in v.name)
    v.load(module, v.name)
    fast, clear = both_paths(module, v.input("pair_act")[None], v.input("pair_mask")[None])
    return [
        Check("out, fast", fast[0], v.out("out")),
        Check("out, clear", clear[0], v.out("out")),
    ]


@case("triangle_multiplication_outgoing", "triangle_multiplication_incoming")
def triangle_multiplication(v: Vector) -> list[Check]:
    outgoing = "outgoing" in v.name
    module = TriangleMultiplication(v.config.c_z, v.config.c_triangle, outgoing)
    v.load(module, f"triangle_multiplication_{'outgoing' if outgoing else 'incoming'}")
    out = module(v.input("pair_act")[None], v.input("pair_mask")[None])[0]
    return [Check("out", out, v.out("out"))]


@case("triangle_multiplication_outgoing_fused", "triangle_multiplication_incoming_fused")
def triangle_multiplication_fused(v: Vector) -> list[Check]:
    """The multimer's layout holds the left and right factors side by side in one matrix."""
    outgoing = "outgoing" in v.name
    scope = next(iter(v.params)).split("/")[0]
    arrays = {}
    for key, array in v.params.items():
        part, kind = key[len(scope) + 1 :].split("//")
        if part in ("projection", "gate"):
            left, right = np.split(array, 2, axis=-1)
            arrays[f"{scope}/left_{part}//{kind}"] = left
            arrays[f"{scope}/right_{part}//{kind}"] = right
        else:
            name = {"left_norm_input": "layer_norm_input", "center_norm": "center_layer_norm"}
            arrays[f"{scope}/{name.get(part, part)}//{kind}"] = array
    c = arrays[f"{scope}/left_projection//weights"].shape[-1]
    module = TriangleMultiplication(v.config.c_z, c, outgoing).eval()
    load_arrays(module, arrays, scope)
    out = module(v.input("pair_act")[None], v.input("pair_mask")[None])[0]
    return [Check("out", out, v.out("out"))]


def _block(v: Vector, extra: bool) -> EvoformerBlock:
    scope = next(iter(v.params)).split("/")[0]
    return v.load(EvoformerBlock(v.config, extra), scope)


@case("evoformer_iteration_main", "evoformer_iteration_extra_msa")
def evoformer_iteration(v: Vector) -> list[Check]:
    block = _block(v, extra="extra" in v.name)
    names = ("msa_act", "pair_act", "msa_mask", "pair_mask")
    m, z = block(*(v.input(name)[None] for name in names))
    return [
        Check("msa", m[0], v.out("msa"), mask=v.input("msa_mask")),
        Check("pair", z[0], v.out("pair")),
    ]


@case("grad_evoformer_iteration_main")
def grad_evoformer_iteration(v: Vector) -> list[Check]:
    block = _block(v, extra=False)
    m, z = (v.input(name)[None].requires_grad_() for name in ("msa_act", "pair_act"))
    m_mask, z_mask = v.input("msa_mask")[None], v.input("pair_mask")[None]
    m_out, z_out = block(m, z, m_mask, z_mask)
    loss = (v.input("weight_msa") * m_out * m_mask[..., None]).sum()
    loss = loss + (v.input("weight_pair") * z_out * z_mask[..., None]).sum()
    loss.backward()
    checks = [
        Check("loss", loss, v.out("loss")),
        Check("grad_in/msa_act", m.grad[0], v.out("grad_in/msa_act")),
        Check("grad_in/pair_act", z.grad[0], v.out("grad_in/pair_act")),
    ]
    scope = next(iter(v.params)).split("/")[0]
    return checks + gradient_checks(v, dump_arrays(block, scope, grads=True))


def gradient_checks(v: Vector, ours: dict[str, np.ndarray]) -> list[Check]:
    """Gradients of all parameters, on the scale of the largest gradient of the same module.

    The offset of a pair bias's layer norm shifts all logits alike: its gradient is exactly 0
    and the reference holds rounding noise of 1e-14, which has no scale of its own.
    """
    checks = []
    for key, gradient in ours.items():
        reference = v.out(f"grad_param/{key}")
        ours_k = torch.from_numpy(np.array(gradient))
        if max(reference.abs().max(), ours_k.abs().max()) < 1e-5:
            ours_k, reference = ours_k + 1.0, reference + 1.0
        checks.append(Check(f"grad_param/{key}", ours_k, reference, tol=2e-4))
    return checks


@case("template_pair_stack")
def template_pair_stack(v: Vector) -> list[Check]:
    c = v.config
    module = TemplatePairEmbedder(c).eval()
    scope = "template_pair_stack/__layer_stack_no_state"
    for k, block in enumerate(module.blocks):
        part = {key: array[k] for key, array in v.params.items()}
        assert isinstance(block, TemplatePairBlock)
        load_arrays(block, part, scope)
    z, mask = v.input("pair_act")[None], v.input("pair_mask")[None]
    for block in module.blocks:
        z = block(z, mask)
    return [Check("out", z[0], v.out("out"))]


@case("single_template_embedding")
def single_template_embedding(v: Vector) -> list[Check]:
    module = v.load(TemplatePairEmbedder(v.config), v.name)
    names = ("template_aatype", "template_all_atom_positions", "template_all_atom_masks", "mask_2d")
    return [Check("out", module(*(v.input(name)[None] for name in names))[0], v.out("out"))]


@case("template_embedding", "template_embedding_all_masked")
def template_embedding(v: Vector) -> list[Check]:
    module = v.load(TemplateEmbedder(v.config), "template_embedding")
    names = ("query_embedding", "template_aatype", "template_all_atom_positions")
    names += ("template_all_atom_masks", "template_mask", "mask_2d")
    return [Check("out", module(*(v.input(name)[None] for name in names))[0], v.out("out"))]


@case("input_feature_functions")
def input_feature_functions(v: Vector) -> list[Check]:
    c = v.config
    prev_pos = v.input("prev_pos")[None]
    beta, _ = pseudo_beta(v.input("aatype")[None], prev_pos, torch.ones_like(prev_pos[..., 0]))
    template_beta, template_mask = pseudo_beta(
        v.input("template_aatype"),
        v.input("template_all_atom_positions"),
        v.input("template_all_atom_masks"),
    )
    recycle = (c.recycle_min, c.recycle_max, c.recycle_bins)
    template = (c.template_min, c.template_max, c.template_bins)
    extra = (v.input(f"extra_{x}") for x in ("msa", "has_deletion", "deletion_value"))
    return [
        Check("pseudo_beta", beta[0], v.out("pseudo_beta")),
        Check("template_pseudo_beta", template_beta, v.out("template_pseudo_beta")),
        Check("template_pseudo_beta_mask", template_mask, v.out("template_pseudo_beta_mask")),
        Check("dgram_prev_pos", distance_bins(beta[0], *recycle), v.out("dgram_prev_pos")),
        Check(
            "dgram_prev_pos_all_zero_positions",
            distance_bins(torch.zeros_like(beta[0]), *recycle),
            v.out("dgram_prev_pos_all_zero_positions"),
        ),
        Check(
            "dgram_template0",
            distance_bins(template_beta[0], *template),
            v.out("dgram_template0"),
        ),
        Check(
            "extra_msa_feature",
            extra_msa_features(*(x[None] for x in extra))[0],
            v.out("extra_msa_feature"),
        ),
    ]


def relative_one_hot(residue_index: torch.Tensor, max_relative: int) -> torch.Tensor:
    d = residue_index[:, None] - residue_index[None, :]
    d = torch.clamp(d + max_relative, 0, 2 * max_relative)
    return F.one_hot(d, 2 * max_relative + 1).float()
