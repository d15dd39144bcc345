"""From alignment and chain to the batch: the 49 features, and what padding and cropping keep."""

import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from minifold.config import PRESETS, Config
from minifold.data.features import AXES, Batch, collate, crop, make_batch, pad
from minifold.data.msa import Alignment
from minifold.data.residues import ATOM37_MASK, GAP, MASK, RESTYPES
from minifold.data.structures import Chain
from minifold.errors import BadInput

NANO = PRESETS["nano"]


def random_chain(length: int, seed: int = 0) -> Chain:
    rng = np.random.default_rng(seed)
    aatype = rng.integers(0, 20, length)
    mask = ATOM37_MASK[aatype] * (rng.random((length, 37)) < 0.9)
    return Chain(
        sequence="".join(RESTYPES[a] for a in aatype),
        positions=(rng.normal(size=(length, 37, 3)) * mask[..., None]).astype(np.float32),
        mask=mask.astype(np.float32),
        residue_index=np.cumsum(rng.integers(1, 3, length)).astype(np.int32),
        b_factors=np.zeros(length, np.float32),
        name="random",
        resolution=1.5,
    )


def random_alignment(chain: Chain, depth: int, seed: int = 0) -> Alignment:
    rng = np.random.default_rng(seed)
    tokens = rng.integers(0, 22, (depth, len(chain.sequence))).astype(np.int8)
    tokens[0] = chain.aatype
    deletions = rng.poisson(0.3, tokens.shape).astype(np.int32)
    deletions[0] = 0
    return Alignment([f"s{k}" for k in range(depth)], tokens, deletions)


def example(length: int = 20, depth: int = 120, seed: int = 0, **options) -> Batch:
    chain = random_chain(length, seed)
    return make_batch(random_alignment(chain, depth, seed), chain, NANO, seed, **options)


# --- make_batch -----------------------------------------------------------------------------------


def test_the_49_features_in_order():
    """A tiny alignment where every number can be worked out by hand; all rows are clusters."""
    tokens = np.array([[0, 3], [0, GAP], [20, 3]], np.int8)
    deletions = np.array([[0, 0], [3, 0], [1, 0]], np.int32)
    batch = make_batch(Alignment(["q", "b", "c"], tokens, deletions), None, NANO)
    feat = batch.msa_feat[0]
    assert (feat[0] == make_batch(Alignment.from_sequence("AD"), None, NANO).msa_feat[0, 0]).all()
    _, c, b = feat[:, 0, 24].argsort().tolist()  # the clusters are in random order
    np.testing.assert_array_equal(feat[b, :, :23].argmax(-1), [0, GAP])
    np.testing.assert_array_equal(feat[c, :, :23].argmax(-1), [20, 3])
    assert feat[b, 0, 23] == 1 and feat[b, 1, 23] == 0  # has_deletion
    assert feat[b, 0, 24] == pytest.approx(0.5)  # 2 / pi * arctan(3 / 3)
    assert feat[c, 0, 24] == pytest.approx(2 / np.pi * np.arctan(1 / 3))
    torch.testing.assert_close(feat[..., 25:48], feat[..., :23])  # a cluster of one
    torch.testing.assert_close(feat[..., 48], feat[..., 24])
    assert batch.extra_msa.shape == (1, 0, 2)
    assert batch.true_msa is None and batch.bert_mask is None
    assert batch.all_atom_positions is None and batch.resolution is None


def test_query_is_first_and_target_feat_has_a_leading_zero():
    chain = random_chain(12)
    batch = make_batch(random_alignment(chain, 300), chain, NANO, 5)
    np.testing.assert_array_equal(batch.aatype[0], chain.aatype)
    np.testing.assert_array_equal(batch.msa_feat[0, 0, :, :23].argmax(-1), chain.aatype)
    assert (batch.target_feat[..., 0] == 0).all()
    np.testing.assert_array_equal(batch.target_feat[0, :, 1:].argmax(-1), chain.aatype)
    assert (batch.target_feat.sum(-1) == 1).all()
    np.testing.assert_array_equal(batch.residue_index[0], chain.residue_index)


def test_sizes_follow_the_preset():
    batch = example(depth=300)
    assert batch.msa_feat.shape[1] == NANO.max_msa
    assert batch.extra_msa.shape[1] == NANO.max_extra_msa
    # templates take rows of the MSA, as in models 1 and 2
    chain = random_chain(5)
    full = make_batch(random_alignment(chain, 2000), chain, Config())
    assert full.msa_feat.shape[1] == 512 - 4 and full.extra_msa.shape[1] == 1024


def test_clusters_and_extra_sequences_are_all_rows_once():
    chain = random_chain(9)
    alignment = random_alignment(chain, 60)
    batch = make_batch(alignment, chain, NANO, 1)
    found = torch.cat([batch.msa_feat[0, ..., :23].argmax(-1), batch.extra_msa[0]])
    assert sorted(map(tuple, found.tolist())) == sorted(map(tuple, alignment.tokens.tolist()))
    # and the deletions went with them
    total = torch.cat([batch.msa_feat[0, ..., 24], batch.extra_deletion_value[0]])
    expected = 2 / np.pi * np.arctan(alignment.deletions / 3)
    order = {tuple(row): k for k, row in enumerate(alignment.tokens.tolist())}
    rows = [order[tuple(row)] for row in found.tolist()]
    np.testing.assert_allclose(total, expected[rows], atol=1e-6)
    assert (batch.extra_has_deletion == (batch.extra_deletion_value > 0)).all()


def test_profiles_never_show_masked_letters():
    """No profile of a cluster of one may differ from what is left after masking."""
    chain = random_chain(40)
    batch = make_batch(random_alignment(chain, 20), chain, NANO, 3, mask_fraction=0.5)
    assert batch.extra_msa.shape[1] == 0  # every cluster is its centre alone
    feat, hidden = batch.msa_feat[0], batch.bert_mask[0] > 0
    torch.testing.assert_close(feat[..., 25:48], feat[..., :23])
    shown = feat[..., 25:48].gather(-1, batch.true_msa[0][..., None])[..., 0]
    assert shown[hidden].mean() < 0.3  # 10 % stay by design, a few are redrawn by chance
    assert (shown[~hidden] == 1).all()
    assert (feat[..., MASK][hidden]).mean() == pytest.approx(0.7, abs=0.1)


def test_profile_of_a_cluster_counts_its_masked_centre_and_its_extra_rows():
    chain = random_chain(25)
    batch = make_batch(random_alignment(chain, 200), chain, NANO, 3, mask_fraction=0.15)
    profile = batch.msa_feat[0, ..., 25:48]
    np.testing.assert_allclose(profile.sum(-1), 1, atol=1e-5)
    # only centres carry mask tokens: the mask share of a column is 0 or 1 / members
    members = 1 / profile[..., MASK][profile[..., MASK] > 0]
    np.testing.assert_allclose(members, members.round(), atol=1e-3)
    assert members.max() > 1


def test_masking_is_for_training():
    assert example().bert_mask is None
    training = example(training=True)
    assert 0.1 < training.bert_mask.mean() < 0.2
    assert example(mask_fraction=0.15).use_clamped_fape is None


def test_same_seed_same_batch_other_seed_other_batch():
    one, same = example(training=True), example(training=True)
    chain = random_chain(20)
    other = make_batch(random_alignment(chain, 120), chain, NANO, 1, training=True)
    for name, tensor in one.present().items():
        assert torch.equal(tensor, same.present()[name]), name
    assert one.msa_feat.shape != other.msa_feat.shape or (one.msa_feat != other.msa_feat).any()


def test_one_in_ten_examples_is_unclamped():
    chain = random_chain(3)
    flags = [
        float(make_batch(None, chain, NANO, k, training=True).use_clamped_fape) for k in range(500)
    ]
    assert set(flags) == {0.0, 1.0}
    assert abs(np.mean(flags) - 0.9) < 0.04


def test_blocks_are_deleted_in_training_only():
    chain = random_chain(6)
    alignment = random_alignment(chain, 90)
    rows = [
        make_batch(alignment, chain, NANO, k, training=t) for t in (False, True) for k in (0, 1)
    ]
    counts = [b.msa_feat.shape[1] + b.extra_msa.shape[1] for b in rows]
    assert counts[:2] == [90, 90] and max(counts[2:]) < 70


def test_truth_has_no_nan():
    chain = random_chain(8)
    positions = chain.positions.copy()
    positions[2, 1] = np.nan
    positions[3] = np.inf
    batch = make_batch(None, replace(chain, positions=positions), NANO)
    assert torch.isfinite(batch.all_atom_positions).all()
    assert batch.all_atom_mask[0, 2, 1] == 0 and (batch.all_atom_mask[0, 3] == 0).all()
    np.testing.assert_array_equal(batch.all_atom_mask[0, 4:], chain.mask[4:])
    assert (batch.all_atom_positions[batch.all_atom_mask == 0] == 0).all()
    assert batch.resolution.item() == 1.5
    assert make_batch(None, replace(chain, resolution=None), NANO).resolution.item() == 0


def test_bad_input_is_refused():
    chain = random_chain(10)
    alignment = random_alignment(chain, 5)
    with pytest.raises(BadInput, match="neither an alignment nor a structure"):
        make_batch(None, None, NANO)
    with pytest.raises(BadInput, match="has 10 residues, preset 'nano' takes at most 9"):
        make_batch(alignment, None, NANO.replace(max_residues=9))
    letter = "A" if chain.sequence[6] != "A" else "C"
    mutant = replace(chain, sequence=chain.sequence[:6] + letter + chain.sequence[7:])
    with pytest.raises(BadInput, match=f"residue 7 is {letter} in the structure"):
        make_batch(alignment, mutant, NANO)
    with pytest.raises(BadInput, match="the structure has 12 residues, the query 10"):
        longer = random_chain(12)
        make_batch(Alignment.from_sequence(longer.sequence[:10]), longer, NANO)


def test_it_is_fast_enough_for_every_training_step():
    chain = random_chain(64)
    alignment = random_alignment(chain, 64)
    times = []
    for seed in range(20):
        start = time.perf_counter()
        make_batch(alignment, chain, NANO, seed, training=True)
        times.append(time.perf_counter() - start)
    assert min(times) < 0.02  # 3 ms on an idle core, more with shape checks


# --- pad, crop, collate ---------------------------------------------------------------------------


@settings(max_examples=25)
@given(st.integers(1, 12), st.integers(0, 9), st.sampled_from("ist"), st.integers(0, 99))
def test_padding_appends_zeros_and_changes_nothing_else(length, more, axis, seed):
    batch = example(length, depth=40, seed=seed, training=True)
    sizes = {"i": length, "s": batch.msa_feat.shape[1], "t": batch.extra_msa.shape[1]}
    padded = pad(batch, sizes[axis] + more, axis)
    for name, tensor in padded.present().items():
        before = batch.present()[name]
        if axis not in AXES[name]:
            assert torch.equal(tensor, before)
            continue
        place = AXES[name].index(axis)
        assert tensor.shape[place] == sizes[axis] + more
        assert torch.equal(tensor.narrow(place, 0, sizes[axis]), before)
        assert (tensor.narrow(place, sizes[axis], more) == 0).all()


@settings(max_examples=20)
@given(st.lists(st.tuples(st.integers(1, 15), st.integers(1, 60)), min_size=1, max_size=4))
def test_collate_keeps_every_protein(shapes):
    singles = [example(n, depth, seed=k) for k, (n, depth) in enumerate(shapes)]
    batch = collate(singles)
    assert batch.length == max(n for n, _ in shapes)
    for k, single in enumerate(singles):
        assert batch.seq_mask[k].sum() == single.length
        for name, tensor in single.present().items():
            inside = tuple(slice(size) for size in tensor.shape[1:])
            whole = batch.present()[name][k]
            assert torch.equal(whole[inside], tensor[0])
            assert whole.sum() == pytest.approx(tensor.sum().item(), abs=1e-3)  # the rest is zero


def test_collate_wants_the_same_fields_in_all():
    chain = random_chain(5)
    with pytest.raises(BadInput, match="all_atom_mask.* is present in some"):
        collate(
            [make_batch(None, chain, NANO), make_batch(Alignment.from_sequence("ACD"), None, NANO)]
        )
    with pytest.raises(BadInput, match="nothing to collate"):
        collate([])


def test_crop_is_one_piece_of_everything():
    batch = with_templates(example(30, training=True))
    starts = set()
    for seed in range(60):
        cropped = crop(batch, 8, torch.Generator().manual_seed(seed))
        start = (batch.residue_index[0] == cropped.residue_index[0, 0]).nonzero().item()
        starts.add(start)
        for name, tensor in cropped.present().items():
            whole = batch.present()[name]
            if "i" in AXES[name]:
                whole = whole.narrow(AXES[name].index("i"), start, 8)
            assert torch.equal(tensor, whole), name
    assert starts >= {0, 22} and max(starts) == 22  # both ends are reached
    assert crop(batch, 30) is batch and crop(batch, 99) is batch


def with_templates(batch: Batch) -> Batch:
    b, i = batch.aatype.shape
    return replace(
        batch,
        template_aatype=torch.randint(0, 22, (b, 2, i)),
        template_all_atom_positions=torch.randn(b, 2, i, 37, 3),
        template_all_atom_mask=torch.ones(b, 2, i, 37),
        template_mask=torch.ones(b, 2),
    )


def test_templates_are_padded_with_masked_ones():
    one = with_templates(example(6))
    two = replace(
        one,
        template_aatype=one.template_aatype[:, :1],
        template_all_atom_positions=one.template_all_atom_positions[:, :1],
        template_all_atom_mask=one.template_all_atom_mask[:, :1],
        template_mask=one.template_mask[:, :1],
    )
    batch = collate([one, two])
    np.testing.assert_array_equal(batch.template_mask, [[1, 1], [1, 0]])
    assert batch.template_all_atom_mask[1, 1].sum() == 0


def test_map_and_to_touch_every_tensor():
    batch = example(training=True)
    doubled = batch.map(lambda tensor: tensor * 2)
    for name, tensor in doubled.present().items():
        assert torch.equal(tensor, batch.present()[name] * 2)
    assert batch.to("meta").msa_feat.device.type == "meta"
    assert batch.to("meta").template_mask is None
