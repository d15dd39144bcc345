"""Taps: what they catch is what the modules compute, and without them nothing is different."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from minifold.data.features import make_batch
from minifold.data.msa import Record as AlignedRow
from minifold.data.msa import anchored
from minifold.errors import BadInput
from minifold.look import Record, record
from minifold.model.alphafold import AlphaFold
from minifold.model.primitives import set_attention
from tests.small import random_batch, small_model

N, S, TEMPLATES, ROWS = 11, 5, 2, 7  # ROWS: sequences and the rows of the templates


@pytest.fixture(scope="module")
def model() -> AlphaFold:
    return small_model()


@pytest.fixture(scope="module")
def batch():
    return random_batch(i=N, s=S, T=TEMPLATES)


@pytest.fixture(scope="module")
def everything(model, batch) -> Record:
    with torch.no_grad(), record(model) as taps:
        model(batch, recycles=1)
    return taps


class Counter(TorchDispatchMode):
    """Counts the operators that run and the bytes that they make."""

    def __init__(self):
        super().__init__()
        self.operators, self.bytes = 0, 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        self.operators += 1
        for x in torch.utils._pytree.tree_leaves(result):
            self.bytes += x.nbytes if isinstance(x, torch.Tensor) else 0
        return result


def run(model, batch, **options):
    with torch.no_grad():
        return model(batch, **options)


def cost(model, batch) -> tuple[int, int]:
    with Counter() as counter:
        run(model, batch, recycles=0)
    return counter.operators, counter.bytes


def close(a, b) -> None:
    b = b.detach().numpy() if isinstance(b, torch.Tensor) else b
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_every_kind_is_there_with_its_shape(everything):
    shapes = {
        "input/aatype": (N,),
        "recycle0/msa": (S, N),
        "recycle1/evoformer.1/msa_row": (ROWS, 4, N, N),
        "recycle0/evoformer.0/msa_column": (N, 4, ROWS, ROWS),
        "recycle0/evoformer.0/triangle_starting": (N, 2, N, N),
        "recycle0/evoformer.0/triangle_ending": (N, 2, N, N),
        "recycle0/evoformer.1/m": (ROWS, N, 16),
        "recycle0/evoformer.1/z": (N, N, 12),
        "recycle0/evoformer.1/distogram": (N, N, 64),
        "recycle0/evoformer/s": (N, 20),
        "recycle1/extra_msa.0/msa_row": (6, 4, N, N),
        "recycle1/extra_msa.0/msa_column": (N, 4, 6),
        "recycle0/template1.0/triangle_ending": (N, 2, N, N),
        "recycle0/templates/attention": (N, N, 2, TEMPLATES),
        "recycle1/structure.2/ipa": (3, N, N),
        "recycle1/structure.2/ipa_points": (3, N, N),
        "recycle1/structure.2/frames": (N, 3, 4),
        "recycle1/structure.2/s": (N, 20),
    }
    assert {name: everything[name].shape for name in shapes} == shapes
    # two passes; the letters, a stack of 7 taps a block, 2 a template, 6 a layer
    assert len(everything) == 2 + 2 * (1 + 3 * 7 + 1 + TEMPLATES * 2 + 1 + 3 * 6)


def test_attention_weights_sum_to_one(everything):
    kinds = ("*/msa_row", "*/msa_column", "*/triangle_*", "*/ipa", "*/attention", "*/distogram")
    for name in (name for kind in kinds for name in everything.match(kind)):
        assert everything[name].min() >= 0, name
        np.testing.assert_allclose(everything[name].sum(-1), 1, rtol=1e-5, err_msg=name)


def test_the_last_values_are_the_model_s_output(model, batch, everything):
    output = run(model, batch, recycles=1)
    last = "recycle1/evoformer.1"
    close(everything[f"{last}/m"][:S], output.m[0])
    close(everything[f"{last}/z"], output.z[0])
    close(everything[f"{last}/distogram"], output.distogram_logits[0].softmax(-1))
    close(everything["recycle1/structure.2/s"], output.structure.s[0])
    frames = everything.stack("recycle1/structure.*/frames")
    for layer, rigid in enumerate(output.structure.frames):
        close(frames[layer, ..., :3], rigid.R[0])
        np.testing.assert_allclose(frames[layer, ..., 3], rigid.t[0], atol=1e-3)  # Å
    assert not np.allclose(everything["recycle0/evoformer.1/z"], everything[f"{last}/z"])


def test_row_attention_is_algorithm_7(model, batch, everything):
    """The weights again, from what went into block 1: the taps m and z of block 0."""
    row = model.trunk.evoformer.stack.blocks[1].msa_row
    m, z = (torch.from_numpy(everything[f"recycle0/evoformer.0/{x}"]) for x in "mz")
    with torch.no_grad():
        x, bias = row.norm_m(m), row.pair_bias(row.norm_z(z))
        q, k = (lin(x).unflatten(-1, (4, -1)) for lin in (row.attention.q, row.attention.k))
        logits = torch.einsum("sihc,sjhc->shij", q, k) / 2 + bias.permute(2, 0, 1)  # c = 4
    close(everything["recycle0/evoformer.1/msa_row"], logits.softmax(-1))


def test_triangle_attention_around_the_ending_node_is_algorithm_14(model, batch):
    """[j, h, i, k]: the edge i→j looks at the edges k→j, biased by the edge k→i."""
    triangle, inputs = model.trunk.evoformer.stack.blocks[0].pair.triangle_ending, []
    handle = triangle.register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
    with record(model, "*/triangle_ending") as taps:
        run(model, batch, recycles=0)
    handle.remove()
    with torch.no_grad():
        z = triangle.norm(inputs[0][0])
        q, k = (
            lin(z).unflatten(-1, (2, -1)) for lin in (triangle.attention.q, triangle.attention.k)
        )
        logits = torch.einsum("ijhc,kjhc->jhik", q, k) * 6**-0.5  # c = 12 / 2
        logits += torch.einsum("kih->hik", triangle.triangle_bias(z))
    close(taps["recycle0/evoformer.0/triangle_ending"], logits.softmax(-1))


def test_ipa_is_the_softmax_of_its_three_parts(everything):
    place = "recycle0/structure.1/ipa"
    parts = [everything[f"{place}_{part}"] for part in ("scalar", "pair", "points")]
    close(everything[place], torch.from_numpy(sum(parts)).softmax(-1))
    assert parts[2].max() < 1e-4, "minus a distance"


def test_the_letters_are_those_of_the_alignment():
    rows = ["ACDEFGH", "ACD-FGH", "WCDEF-H"]
    alignment = anchored([AlignedRow(f"row {k}", row) for k, row in enumerate(rows)], "test")
    model = small_model(templates=False, max_msa=3)
    with record(model, "*/msa") as taps:
        run(model, make_batch(alignment, None, model.config, seed=0), recycles=1)
    assert taps.match("*/msa") == ["recycle0/msa", "recycle1/msa"]
    letters = taps["recycle1/msa"]
    assert letters.dtype == np.uint8 and letters[0].tolist() == alignment.tokens[0].tolist()
    assert sorted(letters.tolist()) == sorted(alignment.tokens.tolist())


def test_templates_attention_sees_the_templates_that_are_there(model, batch):
    one = replace(batch, template_mask=torch.tensor([[1.0, 0.0]]))
    with record(model, "*/templates/attention") as taps:
        run(model, one, recycles=0)
    close(taps["recycle0/templates/attention"][..., 0], np.ones((N, N, 2), np.float32))


def test_without_recording_nothing_is_different(model, batch):
    before, price = run(model, batch, recycles=1), cost(model, batch)
    with record(model):
        run(model, batch, recycles=0)
        assert cost(model, batch)[1] > price[1], "the counter sees what recording makes"
    after = run(model, batch, recycles=1)
    for name in ("m", "z", "s", "positions", "distogram_logits", "plddt_logits"):
        assert torch.equal(getattr(before, name), getattr(after, name)), name
    assert cost(model, batch) == price, "the same operators, the same bytes"
    for module in model.modules():
        assert not module._forward_hooks and not module._forward_pre_hooks
        assert getattr(module, "record", None) is None


def test_recording_changes_no_result(model, batch):
    plain = run(model, batch, recycles=1)
    with record(model) as taps:
        watched = run(model, batch, recycles=1)
    close(watched.positions.numpy(), plain.positions)
    with record(model, "*/z", "*/frames") as taps:  # no attention: not even rounding differs
        watched = run(model, batch, recycles=1)
    assert torch.equal(watched.positions, plain.positions)
    assert len(taps.match("*/z")) == 6


def test_only_what_is_named_takes_the_clear_path(model, batch, monkeypatch):
    clear, original = [], type(model.trunk.evoformer.stack.blocks[0].msa_row.attention)._clear
    monkeypatch.setattr(
        "minifold.model.primitives.Attention._clear",
        lambda self, *args: clear.append(self) or original(self, *args),
    )
    with record(model, "recycle1/evoformer.1/msa_row") as taps:
        run(model, batch, recycles=2)
    assert clear == [model.trunk.evoformer.stack.blocks[1].msa_row.attention]
    assert [*taps] == ["input/aatype", "input/residue_index", "recycle1/evoformer.1/msa_row"]


@pytest.mark.parametrize("chunk", [None, 2, 3])
def test_rows_are_kept_or_averaged_on_the_fly(model, batch, everything, chunk):
    set_attention(model, chunk=chunk)
    try:
        with record(model) as full:
            run(model, batch, recycles=0)
        with record(model, "*evoformer*", keep=[4, 0]) as some:
            run(model, batch, recycles=0)
        with record(model, "*msa*", "*triangle*", keep="mean") as mean:
            run(model, batch, recycles=0)
    finally:
        set_attention(model)
    for name in full:
        np.testing.assert_allclose(full[name], everything[name], atol=1e-4, err_msg=name)
    for kind in ("msa_row", "msa_column", "triangle_starting", "triangle_ending"):
        name = f"recycle0/evoformer.1/{kind}"
        close(some[name], everything[name][[0, 4]])
        close(mean[name], everything[name].mean(0))
    assert some["recycle0/evoformer.1/z"].shape == (N, N, 12)
    assert some["input/rows"].tolist() == [0, 4] and "input/rows" not in mean
    column = "recycle0/extra_msa.0/msa_column"  # of Algorithm 19 all columns stay
    close(mean[column], everything[column])


@pytest.mark.parametrize("chunk", [None, 2])
def test_no_extra_sequences_at_all(model, chunk):
    set_attention(model, chunk=chunk)
    try:
        with record(model, keep="mean") as taps:
            run(model, random_batch(i=N, s=S, t=0, T=0), recycles=0)
    finally:
        set_attention(model)
    assert taps["recycle0/extra_msa.0/msa_row"].tolist() == np.zeros((4, N, N)).tolist()
    assert all(np.isfinite(taps[name]).all() for name in taps)


def test_members_of_a_batch_and_of_an_ensemble(model):
    batch = random_batch(b=2, i=N, s=S, T=0)
    with record(model, "*/ipa", "*/m", member=1) as taps:
        output = run(model, batch, recycles=0)
    close(taps["recycle0/evoformer.1/m"], output.m[1])
    assert taps.sequence == "".join("ARNDCQEGHILKMFPSTWYV"[k] for k in batch.aatype[1])
    samples = [random_batch(i=N, s=S, T=0, seed=k) for k in (0, 1)]
    with record(model, "*evoformer.1/m") as taps:
        run(model, samples, recycles=0, ensembles=2)
    names = ["recycle0/evoformer.1/m", "recycle0/sample1/evoformer.1/m"]
    assert taps.match("*m") == names
    with record(model, "*evoformer.1/m") as second:  # a second run replaces the first
        run(model, samples[0], recycles=0)
        run(model, samples[1], recycles=0)
    assert second.match("*m") == names[:1]
    close(second[names[0]], taps[names[1]])


def test_training_can_be_watched_but_not_with_checkpointing(batch):
    model = small_model()
    with record(model, "*evoformer*") as taps:
        model(batch, recycles=0).positions.sum().backward()
    assert len(taps) == 2 + 2 * 7 + 1
    assert model.trunk.evoformer.single.weight.grad.abs().sum() > 0
    model.trunk.evoformer.stack.checkpointing = True
    with pytest.raises(BadInput, match="recomputed"), record(model):
        model(batch, recycles=0)
    with record(model, "*/s"):
        run(model, batch, recycles=0)


def test_saved_and_loaded_again(everything, tmp_path):
    path = tmp_path / "new" / "taps.npz"
    everything.save(path)
    loaded = Record.load(path)
    assert list(loaded) == list(everything) and loaded.sequence == everything.sequence
    assert all(np.array_equal(loaded[name], everything[name]) for name in loaded)
    before = path.read_bytes()
    loaded.save(path)
    assert path.read_bytes() == before
    assert repr(loaded) == f"Record({len(loaded)} arrays, {loaded.nbytes / 1e6:.1f} MB)"


def test_files_that_hold_no_taps(tmp_path):
    with pytest.raises(BadInput, match="does not exist"):
        Record.load(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("no numbers")
    np.save(tmp_path / "one.npy", np.zeros(3))
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    for name in ("text.npz", "one.npy", "other.npz"):
        with pytest.raises(BadInput, match=name):
            Record.load(tmp_path / name)


def test_bad_requests_are_refused_and_leave_no_trace(model, batch):
    def refused(match, *patterns, **options):
        with pytest.raises(BadInput, match=match), record(model, *patterns, **options):
            run(model, batch, recycles=0)
        assert not any(module._forward_hooks for module in model.modules())
        assert all(getattr(module, "record", None) is None for module in model.modules())

    refused(r"more than 0 MB from recycle0/.*keep=\[0\]", max_bytes=10_000)
    refused("no tap matches '.raw.'.*such as recycle0", "*z", "*raw*")
    refused("no protein 1 in a batch of 1", member=1)
    refused("rows 0 to 6", "*evoformer*msa_row", keep=[7])
    refused("keep must be None, 'mean' or", keep="median")
    refused("keep must be None, 'mean' or", keep=[])
    with pytest.raises(BadInput, match="no tap matches"):
        Record().stack("*")
    with record(model) as taps:
        pass
    assert len(taps) == 0, "nothing ran"


def test_stack_wants_one_shape(everything):
    assert everything.stack("recycle0/evoformer.*/msa_row").shape == (2, ROWS, 4, N, N)
    with pytest.raises(BadInput, match="differ in shape"):
        everything.stack("recycle0/*/msa_row")
    with pytest.raises(KeyError, match="no tap 'x'"):
        everything["x"]
