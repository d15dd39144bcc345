"""The whole model put together: rows of templates, small inputs, first frames, samples."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from minifold.config import PRESETS, preset
from minifold.data.msa import Alignment
from minifold.model.alphafold import AlphaFold
from minifold.model.start import fold_distances
from minifold.predict import inference_batches
from tests.small import SMALL, random_batch, small_model


def alignment(rows: int = 6, columns: int = 12) -> Alignment:
    tokens = np.random.default_rng(0).integers(0, 20, (rows, columns)).astype(np.int8)
    return Alignment([f"r{k}" for k in range(rows)], tokens, np.zeros(tokens.shape, np.int32))


def test_the_msa_comes_out_without_the_rows_of_templates():
    model, batch, seen = small_model(), random_batch(s=5, T=2), []
    model.trunk.evoformer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs))
    with torch.no_grad():
        output = model(batch, recycles=0)
    assert seen[0][0].shape[1] == 7 and seen[0][2].shape[1] == 7
    assert output.m.shape[1] == output.masked_msa_logits.shape[1] == 5


def test_the_raw_first_row_is_recycled():
    """Not the single representation made from it."""
    model, batch, seen = small_model(), random_batch(), []
    model.trunk.recycling.register_forward_pre_hook(lambda _, inputs: seen.append(inputs))
    with torch.no_grad():
        first, _ = model(batch, recycles=0), model(batch, recycles=1)
    assert not any(x.any() for x in seen[0])  # zeros enter the first pass
    assert torch.equal(seen[2][0], first.m[:, 0]) and torch.equal(seen[2][1], first.z)


@pytest.mark.parametrize("sizes", [{"i": 1, "s": 1}, {"i": 3, "s": 1, "t": 0}, {"i": 2, "T": 0}])
def test_the_smallest_inputs(sizes):
    with torch.no_grad():
        output = small_model()(random_batch(**sizes), recycles=1)
    assert torch.isfinite(output.positions).all() and torch.isfinite(output.z).all()


def test_frames_may_start_on_a_line():
    """Ours, in the small presets: neighbours 1.5 Å apart; the published models start in a point."""
    mask = torch.tensor([[1.0, 1, 1, 1, 0, 0]])
    line = small_model(start="line").structure_module.start(mask)
    x = SMALL.position_scale * line.t[0, :4, 0]
    assert torch.allclose(x[1:] - x[:-1], torch.tensor(1.5), atol=1e-5)
    assert x.mean().abs() < 1e-5 and not line.t[..., 1:].any()
    assert torch.equal(line.R, torch.eye(3).expand(1, 6, 3, 3))
    hole = small_model().structure_module.start(mask)
    assert not hole.t.any() and torch.equal(hole.R, line.R)
    assert [PRESETS[k].start for k in ("nano", "mini")] == ["distances", "distances"]
    assert {PRESETS[k].start for k in ("alphafold2", "alphafold2_ptm")} == {"black_hole"}


def test_frames_may_start_from_the_distogram():
    """Ours, in the small presets: the first layer works on the fold that the distances give."""
    model, batch, seen = small_model(start="distances"), random_batch(), []
    model.structure_module.iteration.register_forward_pre_hook(lambda _, x: seen.append(x[3]))
    with torch.no_grad():
        output = model(batch, recycles=0)
    line, folded = seen[0], seen[1]
    assert torch.equal(line.t, model.structure_module.start(batch.seq_mask).t)
    expected = fold_distances(
        output.distogram_logits, output.structure.start_angles, batch.aatype, batch.seq_mask
    )
    torch.testing.assert_close(SMALL.position_scale * folded.t, expected.t, atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(folded.R, expected.R)


def test_the_full_size_presets_fold_as_deepmind_did():
    """15 % of the letters masked, 4 rows left for templates, a new sample in each pass."""
    config = preset("alphafold2").replace(max_msa=8, max_extra_msa=3)
    batches = inference_batches(alignment(rows=40), config, recycles=2, seed=0)
    assert len(batches) == 3
    assert all(batch.msa_feat.shape[1] == 8 - 4 for batch in batches)
    assert all(batch.extra_msa.shape[1] == 3 for batch in batches)
    assert all(batch.bert_mask.sum() > 0 for batch in batches)
    assert not torch.equal(batches[0].msa_feat, batches[1].msa_feat)
    without = config.replace(templates=False)
    assert inference_batches(alignment(rows=40), without, 0, 0)[0].msa_feat.shape[1] == 8
    assert inference_batches(alignment(), preset("nano"), 0, 0)[0].bert_mask is None


def test_atoms_that_do_not_exist_are_masked():
    model, batch = small_model(), random_batch()
    glycine = replace(batch, aatype=torch.full_like(batch.aatype, 7))
    with torch.no_grad():
        output = model(glycine, recycles=0)
    assert bool((output.atom_mask.sum(-1) == 4).all())
    assert not output.positions[output.atom_mask == 0].any()


def test_no_templates_no_parameters():
    with torch.device("meta"):
        model = AlphaFold(SMALL.replace(templates=False, pae=False))
    assert not [n for n, _ in model.named_parameters() if "template" in n or "pae" in n]
