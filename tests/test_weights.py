"""DeepMind's parameter files and our own: names, shapes, round trips, errors."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import minifold.predict
from minifold.config import preset
from minifold.errors import BadInput
from minifold.model import weights
from minifold.model.alphafold import AlphaFold
from tests.small import SMALL, random_batch, small_model

GOLDEN = Path(__file__).parent / "golden"
HEAD = "alphafold/alphafold_iteration/predicted_aligned_error_head/"
TEMPLATES = "/template_"


def published(model: str) -> dict[str, list[int]]:
    """Names and shapes in the released ``params_<model>.npz``.

    The stored list is that of model_1_ptm; the others lack the pTM head or the templates.
    """
    shapes = json.loads((GOLDEN / "af2_param_shapes.json").read_text())
    if not model.endswith("_ptm"):
        shapes = {k: v for k, v in shapes.items() if not k.startswith(HEAD)}
    if not model.startswith("model_1"):
        shapes = {k: v for k, v in shapes.items() if TEMPLATES not in k}
    return shapes


@pytest.fixture
def tiny(monkeypatch):
    """Small models behind the names of the full-size presets."""
    small = SMALL.replace(pae=False)
    sizes = {"alphafold2": small, "alphafold2_ptm": small.replace(pae=True)}
    monkeypatch.setattr(weights, "preset", lambda name: sizes[name].replace(name=name))


@pytest.mark.parametrize(
    "model, arrays, values",
    [
        ("model_1", 336, 93_229_082),
        ("model_3", 265, 92_899_674),
        ("model_1_ptm", 338, 93_237_338),
        ("model_3_ptm", 267, 92_907_930),
    ],
)
def test_full_size_names_and_shapes_are_the_published_ones(model, arrays, values):
    config = preset("alphafold2_ptm" if model.endswith("_ptm") else "alphafold2")
    with torch.device("meta"):
        ours = AlphaFold(config.replace(templates=model.startswith("model_1")))
    assert all(p.is_meta for p in ours.parameters())  # built without memory
    entries = list(weights.entries(ours, weights.ROOT_SCOPE))
    assert {e.key: list(e.full_shape) for e in entries} == published(model)
    assert len(entries) == len({e.key for e in entries}) == arrays
    assert sum(int(np.prod(e.full_shape)) for e in entries) == values
    held = [id(p) for e in entries for p in e.parameters]
    assert sorted(held) == sorted(id(p) for p in ours.parameters())  # each exactly once


@pytest.mark.parametrize("templates", [True, False])
@pytest.mark.parametrize("pae", [True, False])
def test_round_trip_is_exact(tiny, templates, pae):
    model = small_model(templates=templates, pae=pae)
    arrays = weights.dump_deepmind(model)
    again = weights.load_deepmind(arrays, "alphafold2_ptm" if pae else "alphafold2")
    assert again.config.templates is templates and not again.training
    for (name, p), (other, q) in zip(model.named_parameters(), again.named_parameters()):
        assert name == other and torch.equal(p, q), name
    back = weights.dump_deepmind(again)
    assert back.keys() == arrays.keys()
    assert all(np.array_equal(arrays[k], back[k]) for k in arrays)


def test_round_trip_through_a_file(tiny, tmp_path):
    model, batch = small_model(), random_batch()
    path = tmp_path / "params_model_1_ptm.npz"
    np.savez(path, **weights.dump_deepmind(model))
    for again in (
        weights.load_deepmind(path, "alphafold2_ptm"),
        weights.load_deepmind(str(path), "alphafold2_ptm"),
        minifold.predict.load(str(path)),  # which sees by itself that there is a pTM head
    ):
        assert again.config.name == "alphafold2_ptm"
        with torch.no_grad():
            one, two = model(batch, recycles=1), again(batch, recycles=1)
        assert torch.equal(one.positions, two.positions)
        assert torch.equal(one.pae_logits, two.pae_logits)


def test_the_file_decides_the_preset(tiny, tmp_path):
    for name, changes in (
        ("params_model_1", {"pae": False}),
        ("params_model_5", {"pae": False, "templates": False}),
    ):
        np.savez(tmp_path / name, **weights.dump_deepmind(small_model(**changes)))
        config = minifold.predict.load(str(tmp_path / f"{name}.npz")).config
        assert config.name == "alphafold2" and config.pae is False
        assert config.templates is changes.get("templates", True)


@pytest.mark.parametrize("number, extra", [(1, 5120), (2, 1024), (3, 5120), (4, 5120), (5, 1024)])
def test_the_name_of_a_file_decides_the_number_of_extra_sequences(tiny, tmp_path, number, extra):
    path = tmp_path / f"params_model_{number}.npz"
    np.savez(path, **weights.dump_deepmind(small_model(pae=False, templates=number < 3)))
    assert SMALL.max_extra_msa == 8
    wanted = extra if extra == 5120 else SMALL.max_extra_msa
    assert weights.load_npz(path).config.max_extra_msa == wanted
    assert preset("alphafold2").max_extra_msa == 1024


def test_linear_layers_are_transposed_and_heads_have_an_axis():
    """Spot checks of the layout, beside the parity vectors."""
    model = small_model()
    arrays = weights.dump_deepmind(model)
    scope = "alphafold/alphafold_iteration/evoformer/"
    row = scope + "evoformer_iteration/msa_row_attention_with_pair_bias/"
    block = model.trunk.evoformer.stack.blocks[1].msa_row
    assert np.array_equal(arrays[row + "/feat_2d_weights"][1], block.pair_bias.weight.detach().T)
    assert arrays[row + "attention//query_w"].shape == (2, 16, 4, 4)  # block, in, head, channel
    q = block.attention.q.weight.detach().numpy()
    assert arrays[row + "attention//query_w"][1, 3, 2, 1] == q[2 * 4 + 1, 3]
    single = arrays[scope + "single_activations//weights"]
    assert np.array_equal(single, model.trunk.evoformer.single.weight.detach().T)


def test_incoming_triangles_take_the_factors_the_other_way_round():
    pair = small_model().trunk.evoformer.stack.blocks[0].pair
    for module, name in ((pair.triangle_outgoing, "left"), (pair.triangle_incoming, "right")):
        arrays = weights.dump_arrays(module, "x")
        assert np.array_equal(arrays[f"x/{name}_projection//weights"], module.a.weight.detach().T)


def broken(change) -> dict[str, np.ndarray]:
    arrays = weights.dump_deepmind(small_model())
    change(arrays)
    return arrays


KEY = "alphafold/alphafold_iteration/distogram_head/half_logits//bias"


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda a: a.pop(KEY), f"missing {KEY}"),
        (lambda a: a.update({KEY + "_2": a[KEY]}), f"unexpected {KEY}_2"),
        (lambda a: a.update({KEY: a[KEY][:-1]}), rf"{KEY} has shape \[63\], wanted \[64\]"),
        (lambda a: a.clear(), "missing .* more"),
    ],
    ids=["missing", "extra", "misshaped", "empty"],
)
def test_errors_name_the_array(tiny, change, message):
    with pytest.raises(BadInput, match=message) as error:
        weights.load_deepmind(broken(change), "alphafold2_ptm")
    assert "\n" not in str(error.value)


def test_nothing_is_loaded_if_something_is_wrong(tiny):
    model = small_model(seed=1)
    before = [p.clone() for p in model.parameters()]
    with pytest.raises(BadInput):
        weights.load_arrays(model, broken(lambda a: a.pop(KEY)), weights.ROOT_SCOPE)
    assert all(torch.equal(p, q) for p, q in zip(before, model.parameters()))


def test_the_wrong_preset_is_named(tiny):
    with pytest.raises(BadInput, match="unexpected .*predicted_aligned_error_head"):
        weights.load_deepmind(broken(lambda a: None), "alphafold2")
    with pytest.raises(BadInput, match="missing .*predicted_aligned_error_head"):
        arrays = weights.dump_deepmind(small_model(pae=False))
        weights.load_deepmind(arrays, "alphafold2_ptm")


@pytest.mark.parametrize("content", [b"", b"no zip file", b"PK\x03\x04 broken"])
def test_foreign_npz_files(tmp_path, content):
    path = tmp_path / "params.npz"
    path.write_bytes(content)
    with pytest.raises(BadInput, match=r"params\.npz") as error:
        minifold.predict.load(str(path))
    assert "\n" not in str(error.value)


def test_npz_files_of_other_programs(tiny, tmp_path):
    path = tmp_path / "other.npz"
    np.savez(path, x=np.zeros(3))
    with pytest.raises(BadInput, match=r"missing alphafold/"):
        minifold.predict.load(str(path))
    with pytest.raises(BadInput, match="no_such_file"):
        weights.load_deepmind(tmp_path / "no_such_file.npz", "alphafold2")


def test_safetensors_round_trip(tmp_path):
    model = small_model()
    path = tmp_path / "folder" / "w.safetensors"
    weights.save(model, path)
    again = minifold.predict.load(str(path))
    assert again.config == model.config and not again.training
    for p, q in zip(model.parameters(), again.parameters()):
        assert torch.equal(p, q)
    assert [p.name for p in path.parent.iterdir()] == ["w.safetensors"]  # nothing half-written


def test_foreign_safetensors(tmp_path):
    from safetensors.torch import save_file

    path = tmp_path / "w.safetensors"
    path.write_bytes(b"not this")
    with pytest.raises(BadInput, match="not a readable safetensors"):
        weights.load(path)
    save_file({"x": torch.zeros(2)}, path)
    with pytest.raises(BadInput, match="another program"):
        weights.load(path)
    weights.save(small_model(), path)
    with pytest.raises(BadInput, match="no such weight file"):
        weights.load(tmp_path / "none.safetensors")
    tensors = {k: v for k, v in small_model().state_dict().items() if "pae" not in k}
    from dataclasses import asdict

    save_file(tensors, path, metadata={"minifold_config": json.dumps(asdict(SMALL))})
    with pytest.raises(BadInput, match=r"does not fit.*pae") as error:
        weights.load(path)
    assert "\n" not in str(error.value)
