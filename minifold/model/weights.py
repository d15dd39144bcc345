"""Weights in and out: DeepMind's parameter files, and our own safetensors files.

DeepMind's files are dictionaries ``"scope//name" -> array``. Linear weights are [in, out],
attention keeps its heads as an axis of its own, and the blocks of a stack share one array with
a leading block axis. `NAMES` says for each of our classes what its parts are called there; all
else follows from three small rules (linear, layer norm, attention).
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from minifold.config import Config, preset
from minifold.errors import BadInput
from minifold.model import embed, evoformer, heads, ipa, msa_stack, pair_stack, structure, templates
from minifold.model.alphafold import AlphaFold, Trunk
from minifold.model.primitives import Attention, GlobalAttention, Transition

ROOT_SCOPE = "alphafold/alphafold_iteration"

# our attribute -> DeepMind's name inside the scope of the module. "" is the same scope,
# "//name" an array of the module itself, a trailing "*" a list whose members are numbered
# (name, name_1, name_2), a trailing "[]" a stack with a leading block axis.
NAMES: dict[type, dict[str, str]] = {
    Transition: {
        "norm": "input_layer_norm",
        "linear_1": "transition1",
        "linear_2": "transition2",
    },
    msa_stack.MSARowAttentionWithPairBias: {
        "norm_m": "query_norm",
        "norm_z": "feat_2d_norm",
        "pair_bias": "//feat_2d_weights",
        "attention": "attention",
    },
    msa_stack.MSAColumnAttention: {"norm_m": "query_norm", "attention": "attention"},
    msa_stack.MSAColumnGlobalAttention: {"norm_m": "query_norm", "attention": "attention"},
    msa_stack.OuterProductMean: {
        "norm_m": "layer_norm_input",
        "left": "left_projection",
        "right": "right_projection",
        "output": "//output",
    },
    pair_stack.TriangleAttention: {
        "norm": "query_norm",
        "triangle_bias": "//feat_2d_weights",
        "attention": "attention",
    },
    pair_stack.PairStack: {
        "triangle_outgoing": "triangle_multiplication_outgoing",
        "triangle_incoming": "triangle_multiplication_incoming",
        "triangle_starting": "triangle_attention_starting_node",
        "triangle_ending": "triangle_attention_ending_node",
        "transition": "pair_transition",
    },
    evoformer.EvoformerStack: {"blocks": "[]"},
    evoformer.Evoformer: {"stack": "evoformer_iteration", "single": "single_activations"},
    embed.InputEmbedder: {
        "left": "left_single",
        "right": "right_single",
        "relative_position": "",
        "msa": "preprocess_msa",
        "target": "preprocess_1d",
    },
    embed.RelativePosition: {"linear": "pair_activiations"},  # sic
    embed.RecyclingEmbedder: {
        "distances": "prev_pos_linear",
        "norm_z": "prev_pair_norm",
        "norm_m": "prev_msa_first_row_norm",
    },
    embed.ExtraMSAEmbedder: {"linear": "extra_msa_activations"},
    templates.TemplatePairEmbedder: {
        "linear": "embedding2d",
        "blocks": "template_pair_stack/__layer_stack_no_state[]",
        "norm": "output_layer_norm",
    },
    templates.TemplateEmbedder: {"pair": "single_template_embedding", "attention": "attention"},
    templates.TemplateAngleEmbedder: {
        "linear_1": "template_single_embedding",
        "linear_2": "template_projection",
    },
    Trunk: {
        "input": "",
        "recycling": "",
        "templates": "template_embedding",
        "template_angles": "",
        "extra_msa": "",
        "extra_stack": "extra_msa_stack",
        "evoformer": "",
    },
    ipa.InvariantPointAttention: {
        "q_scalar": "q_scalar",
        "kv_scalar": "kv_scalar",
        "q_point": "q_point_local",
        "kv_point": "kv_point_local",
        "pair_bias": "attention_2d",
        "point_weights": "//trainable_point_weights",
        "output": "output_projection",
    },
    structure.ResidualBlock: {"linear_1": "resblock1", "linear_2": "resblock2"},
    structure.TorsionResNet: {
        "project_s": "input_projection",
        "project_initial": "input_projection_1",
        "blocks": "*",
        "output": "unnormalized_angles",
    },
    structure.FoldIteration: {
        "ipa": "invariant_point_attention",
        "ipa_norm": "attention_layer_norm",
        "transition": "transition*",
        "transition_norm": "transition_layer_norm",
        "backbone_update": "affine_update",
        "torsions": "rigid_sidechain",
    },
    structure.StructureModule: {
        "single_norm": "single_layer_norm",
        "pair_norm": "pair_layer_norm",
        "initial": "initial_projection",
        "iteration": "fold_iteration",
    },
    heads.DistogramHead: {"logits": "half_logits"},
    heads.MaskedMSAHead: {"logits": "logits"},
    heads.ExperimentallyResolvedHead: {"logits": "logits"},
    heads.PredictedAlignedErrorHead: {"logits": "logits"},
    heads.PredictedLDDTHead: {
        "norm": "input_layer_norm",
        "linear_1": "act_0",
        "linear_2": "act_1",
        "logits": "logits",
    },
    AlphaFold: {
        "trunk": "evoformer",
        "structure_module": "structure_module",
        "distogram": "distogram_head",
        "masked_msa": "masked_msa_head",
        "plddt": "predicted_lddt_head",
        "resolved": "experimentally_resolved_head",
        "pae": "predicted_aligned_error_head",
    },
}
NAMES[pair_stack.TemplatePairBlock] = NAMES[pair_stack.PairStack]


@dataclass(frozen=True)
class Entry:
    """One array of DeepMind's and the parameters of ours that it holds."""

    key: str
    parameters: list[nn.Parameter]  # one, or one per block of a stack
    shape: tuple[int, ...]  # of the array, without the block axis
    stacked: bool = False

    @property
    def full_shape(self) -> tuple[int, ...]:
        return ((len(self.parameters),) if self.stacked else ()) + self.shape

    def read(self, array: np.ndarray) -> None:
        """Copy the array into the parameters."""
        parts = array if self.stacked else [array]
        for parameter, part in zip(self.parameters, parts, strict=True):
            part = torch.from_numpy(np.ascontiguousarray(part, dtype=np.float32))
            if parameter.dim() == 2:
                part = part.reshape(parameter.shape[::-1]).T
            with torch.no_grad():
                parameter.copy_(part.reshape(parameter.shape))

    def write(self, gradients: bool = False) -> np.ndarray:
        """The parameters (or their gradients) as DeepMind's array."""
        parts = []
        for parameter in self.parameters:
            x = parameter.grad if gradients else parameter.detach()
            x = torch.zeros_like(parameter) if x is None else x
            parts.append((x.T if x.dim() == 2 else x).reshape(self.shape).cpu().numpy())
        return np.stack(parts) if self.stacked else parts[0]


def entries(module: nn.Module, scope: str, suffix: str = "") -> Iterator[Entry]:
    """DeepMind's arrays for a module of ours, with ``scope`` as the module's own scope."""
    if isinstance(module, nn.LayerNorm):
        yield _bare(module.weight, f"{scope}//scale")
        yield _bare(module.bias, f"{scope}//offset")
    elif isinstance(module, nn.Linear):
        yield Entry(f"{scope}//weights", [module.weight], tuple(module.weight.shape[::-1]))
        if module.bias is not None:
            yield _bare(module.bias, f"{scope}//bias")
    elif isinstance(module, Attention | GlobalAttention):
        yield from _attention_entries(module, scope)
    else:
        for attribute, name in _names(module).items():
            child = getattr(module, attribute)
            if child is None:
                continue
            if name.endswith("[]"):
                yield from _stacked(child, _join(scope, name[:-2]))
            elif name.endswith("*"):
                for k, member in enumerate(child):
                    number = f"_{k}" if k else ""
                    own = _join(scope, name[:-1] + number) if name[:-1] else scope
                    yield from entries(member, own, number)
            elif name.startswith("//"):
                yield from _own_arrays(child, scope + name)
            else:
                yield from entries(child, _join(scope, name + suffix if name else ""))


def _names(module: nn.Module) -> dict[str, str]:
    if isinstance(module, pair_stack.TriangleMultiplication):
        # DeepMind's incoming update multiplies left[k, j] by right[k, i]: a is its right factor
        a, b = ("left", "right") if module.outgoing else ("right", "left")
        return {
            "norm": "layer_norm_input",
            "a": f"{a}_projection",
            "a_gate": f"{a}_gate",
            "b": f"{b}_projection",
            "b_gate": f"{b}_gate",
            "norm_output": "center_layer_norm",
            "output": "output_projection",
            "gate": "gating_linear",
        }
    if isinstance(module, evoformer.EvoformerBlock):
        extra = isinstance(module.msa_column, msa_stack.MSAColumnGlobalAttention)
        return {
            "msa_row": "msa_row_attention_with_pair_bias",
            "msa_column": "msa_column_global_attention" if extra else "msa_column_attention",
            "msa_transition": "msa_transition",
            "outer_product": "outer_product_mean",
            "pair": "",
        }
    return NAMES[type(module)]


def _attention_entries(module: Attention | GlobalAttention, scope: str) -> Iterator[Entry]:
    h = module.heads
    for attribute, name in (("q", "query"), ("k", "key"), ("v", "value"), ("gate", "gating")):
        linear = getattr(module, attribute)
        if linear is None:
            continue
        c_in, c_out = linear.in_features, linear.out_features
        one_head = isinstance(module, GlobalAttention) and attribute in "kv"
        shape = (c_in, c_out) if one_head else (c_in, h, c_out // h)
        yield Entry(f"{scope}//{name}_w", [linear.weight], shape)
        if linear.bias is not None:
            yield Entry(f"{scope}//{name}_b", [linear.bias], shape[1:])
    c_in, c_out = module.output.in_features, module.output.out_features
    yield Entry(f"{scope}//output_w", [module.output.weight], (h, c_in // h, c_out))
    yield _bare(module.output.bias, f"{scope}//output_b")


def _own_arrays(child: nn.Module | nn.Parameter, key: str) -> Iterator[Entry]:
    if isinstance(child, nn.Parameter):
        yield _bare(child, key)
    elif child.bias is None:  # the projection of a pair bias
        yield Entry(key, [child.weight], tuple(child.weight.shape[::-1]))
    else:  # the output of the outer product mean
        c = round(child.in_features**0.5)
        yield Entry(f"{key}_w", [child.weight], (c, c, child.out_features))
        yield _bare(child.bias, f"{key}_b")


def _bare(parameter: nn.Parameter, key: str) -> Entry:
    return Entry(key, [parameter], tuple(parameter.shape))


def _stacked(blocks: nn.ModuleList, scope: str) -> Iterator[Entry]:
    for same in zip(*(entries(block, scope) for block in blocks), strict=True):
        parameters = [entry.parameters[0] for entry in same]
        yield Entry(same[0].key, parameters, same[0].shape, stacked=True)


def _join(scope: str, name: str) -> str:
    return f"{scope}/{name}" if scope and name else scope or name


def load_arrays(module: nn.Module, arrays: Mapping[str, np.ndarray], scope: str) -> None:
    """Copy DeepMind's arrays below ``scope`` into a module.

    Raises:
        BadInput: an array is missing, has another shape, or is not used by the module.
    """
    wanted = {entry.key: entry for entry in entries(module, scope)}
    there = {key for key in arrays if key.startswith((scope + "//", scope + "/"))}
    problems = [f"missing {key}" for key in wanted if key not in arrays]
    problems += [f"unexpected {key}" for key in sorted(there - set(wanted))]
    problems += [
        f"{key} has shape {list(arrays[key].shape)}, wanted {list(entry.full_shape)}"
        for key, entry in wanted.items()
        if key in arrays and tuple(arrays[key].shape) != entry.full_shape
    ]
    if problems:
        more = f" (and {len(problems) - 3} more)" if len(problems) > 3 else ""
        raise BadInput(f"these weights do not fit the model: {'; '.join(problems[:3])}{more}")
    for key, entry in wanted.items():
        entry.read(np.asarray(arrays[key]))


def dump_arrays(module: nn.Module, scope: str, grads: bool = False) -> dict[str, np.ndarray]:
    """The parameters of a module, or their gradients, under DeepMind's names."""
    return {entry.key: entry.write(grads) for entry in entries(module, scope)}


def load_deepmind(source: str | Path | Mapping[str, np.ndarray], preset_name: str) -> AlphaFold:
    """A model with DeepMind's published parameters.

    Args:
        source: a released ``params_model_*.npz``, or the dictionary read from it.
        preset_name: "alphafold2", or "alphafold2_ptm" for the files with the pTM head. Models 3
            to 5 have no templates; that is read off the file.

    Raises:
        BadInput: no such file, not an .npz, or arrays that are missing, unexpected or misshaped.
    """
    arrays = source if isinstance(source, Mapping) else _read_npz(Path(source))
    return _from_deepmind(arrays, preset(preset_name))


def load_npz(path: str | Path) -> AlphaFold:
    """`load_deepmind` with what the file asks for: with the pTM head or without.

    Models 1, 3 and 4, told by the file's name, were trained with 5120 extra sequences.
    """
    arrays = _read_npz(Path(path))
    with_pae = any("/predicted_aligned_error_head" in key for key in arrays)
    config = preset("alphafold2_ptm" if with_pae else "alphafold2")
    if re.search(r"model_[134](_|$)", Path(path).stem):
        config = config.replace(max_extra_msa=5120)
    return _from_deepmind(arrays, config)


def _from_deepmind(arrays: Mapping[str, np.ndarray], config: Config) -> AlphaFold:
    if not any("/template_" in key for key in arrays):
        config = config.replace(templates=False)
    model = AlphaFold(config)
    load_arrays(model, arrays, ROOT_SCOPE)
    return model.eval()


def dump_deepmind(model: AlphaFold) -> dict[str, np.ndarray]:
    """All parameters of a model in the layout of the released files."""
    return dump_arrays(model, ROOT_SCOPE)


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise BadInput(f"{path}: no such weight file; docs/weights.md says where to get it")
    try:
        with np.load(path, allow_pickle=False) as file:
            return {key: file[key] for key in file.files}
    except Exception as error:
        raise BadInput(f"{path}: not a readable .npz weight file ({error})") from None


def save(model: AlphaFold, path: str | Path) -> None:
    """Write weights and config to a safetensors file (a temporary name first, then renamed)."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".part")
    tensors = {key: value.contiguous() for key, value in model.state_dict().items()}
    metadata = {"minifold_config": json.dumps(asdict(model.config))}
    try:
        save_file(tensors, temporary, metadata=metadata)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def load(path: str | Path) -> AlphaFold:
    """Read a model that `save` wrote.

    Raises:
        BadInput: no such file, not one of ours, or its tensors do not fit its config.
    """
    path = Path(path)
    if not path.is_file():
        raise BadInput(f"{path}: no such weight file")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise BadInput(f"{path}: not a readable safetensors file ({error})") from None
    if "minifold_config" not in metadata:
        raise BadInput(f"{path}: weights of another program (no minifold_config in its header)")
    try:
        model = AlphaFold(Config(**json.loads(metadata["minifold_config"])))
        model.load_state_dict(tensors)
    except (RuntimeError, TypeError) as error:
        first = str(error).replace("\n", " ")[:200]
        raise BadInput(f"{path}: does not fit this version of minifold: {first}") from None
    return model.eval()
