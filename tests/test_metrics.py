"""Scores of structures: properties, and equality with independent tools."""

import dataclasses

import numpy as np
import pytest
import torch

from minifold.data.residues import ATOM_INDEX
from minifold.data.structures import Chain, read_structure
from minifold.errors import BadInput
from minifold.training import metrics
from tests.conftest import ROOT

biotite_structure = pytest.importorskip("biotite.structure")
tmtools = pytest.importorskip("tmtools")

SHIPPED = sorted((ROOT / "data" / "structures").glob("*.cif"))
CA = ATOM_INDEX["CA"]


def tensors(chain: Chain):
    return torch.from_numpy(chain.positions)[None].float(), torch.from_numpy(chain.mask)[None]


def rotation(seed: int = 0) -> torch.Tensor:
    q, _ = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(seed)))
    return q * torch.linalg.det(q)


def move(x: torch.Tensor) -> torch.Tensor:
    return x @ rotation().T + torch.tensor([20.0, -7.0, 3.0])


def spoil(chain: Chain, kind: int, rng: np.random.Generator) -> Chain:
    """The chain with noise, with its second half turned away, or with a reversed backbone."""
    x, n = chain.positions.copy(), len(chain.sequence)
    if kind == 0:
        x = x + rng.normal(size=x.shape) * rng.uniform(0.3, 5)
    elif kind == 1:
        x[n // 2 :] = x[n // 2 :] @ rotation(int(rng.integers(99))).numpy().T + 8
    else:
        x = x[::-1].copy()
    return dataclasses.replace(chain, positions=(x * chain.mask[..., None]).astype(np.float32))


@pytest.fixture(scope="module", params=SHIPPED, ids=lambda path: path.stem)
def chain(request) -> Chain:
    return read_structure(request.param)


# ------------------------------------------------------------------ independent tools


def assert_equals_tools(chain: Chain, spoiled: Chain):
    keep = chain.mask[:, CA] > 0
    x, y = spoiled.positions[keep], chain.positions[keep]
    mask = torch.from_numpy(chain.mask[keep])[None]
    predicted, true = (torch.from_numpy(z)[None] for z in (x, y))
    ca = predicted[..., CA, :], true[..., CA, :], mask[..., CA]

    sequence = "".join(np.array(list(chain.sequence))[keep])
    tm = tmtools.tm_align(
        x[:, CA].astype(float), y[:, CA].astype(float), sequence, sequence, [sequence] * 2
    )
    assert float(metrics.tm_score(*ca)) == pytest.approx(tm.tm_norm_chain2, abs=1e-3)

    residue, atom = mask[0].numpy().nonzero()
    reference, subject = atoms(y, residue, atom), atoms(x, residue, atom)
    ours = float(metrics.lddt_all_atom(predicted, true, mask))
    assert ours == pytest.approx(biotite_structure.lddt(reference, subject), abs=1e-3)
    only_ca = atom == CA
    reference, subject = reference[only_ca], subject[only_ca]
    assert float(metrics.lddt(*ca)) == pytest.approx(
        biotite_structure.lddt(reference, subject), abs=1e-3
    )
    per_residue = biotite_structure.lddt(reference, subject, aggregation="residue")
    np.testing.assert_allclose(metrics.lddt_per_point(*ca)[0], per_residue, atol=1e-3)
    fitted, _ = biotite_structure.superimpose(reference, subject)
    assert float(metrics.rmsd(*ca)) == pytest.approx(
        biotite_structure.rmsd(reference, fitted), abs=1e-3
    )


def atoms(x: np.ndarray, residue: np.ndarray, atom: np.ndarray):
    array = biotite_structure.AtomArray(len(residue))
    array.coord, array.res_id = x[residue, atom], residue + 1
    array.chain_id[:], array.res_name[:], array.element[:] = "A", "ALA", "C"
    array.atom_name = np.array(list(ATOM_INDEX))[atom]
    return array


@pytest.mark.parametrize("kind", range(3))
def test_equal_to_biotite_and_tmtools_on_shipped_structures(chain, kind):
    assert_equals_tools(chain, spoil(chain, kind, np.random.default_rng(kind)))


@pytest.mark.parametrize("number", range(24))
def test_equal_to_biotite_and_tmtools_on_real_chains(shared_data, number):
    files = sorted((shared_data / "chains_full_atom" / "experimental").glob("*.pdb"))
    chain = read_structure(files[number * 6])
    assert_equals_tools(chain, spoil(chain, number % 3, np.random.default_rng(number)))


# ------------------------------------------------------------------ properties


def test_a_moved_copy_is_perfect(chain):
    """Peers' mistake 9: lDDT in raw coordinates gives a copy that was shifted by 20 Å a 0."""
    x, mask = tensors(chain)
    moved = move(x)
    ca = moved[..., CA, :], x[..., CA, :], mask[..., CA]
    for score in (metrics.lddt, metrics.tm_score, metrics.gdt_ts, metrics.gdt_ha):
        assert float(score(*ca)) == pytest.approx(1, abs=1e-4)
    assert float(metrics.lddt_all_atom(moved, x, mask)) == pytest.approx(1, abs=1e-4)
    assert float(metrics.rmsd(*ca)) < 1e-3
    assert float(metrics.fape(moved, x, mask)) < 2e-3
    assert float(metrics.mirrored(*ca)) == 0


def test_only_some_scores_see_a_mirror_image(chain):
    x, mask = tensors(chain)
    mirror = x * torch.tensor([1.0, 1.0, -1.0])
    ca = mirror[..., CA, :], x[..., CA, :], mask[..., CA]
    assert float(metrics.lddt(*ca)) == pytest.approx(1, abs=1e-5)
    assert float(metrics.lddt_all_atom(mirror, x, mask)) == pytest.approx(1, abs=1e-5)
    assert float(metrics.drmsd(*ca)) < 1e-4
    assert float(metrics.rmsd(*ca)) > 3
    assert float(metrics.tm_score(*ca)) < 0.5
    assert float(metrics.fape(mirror, x, mask)) > 0.2
    assert float(metrics.mirrored(*ca)) == 1
    right, left = metrics.helix_turns(ca[1], ca[2])
    mirror_right, mirror_left = metrics.helix_turns(ca[0], ca[2])
    assert float(right) == float(mirror_left) > float(left) == float(mirror_right)


def test_superposition_never_reflects_and_heeds_weights():
    x = torch.randn(4, 9, 3)
    y = x @ rotation().T + 5
    y[:, 0] += 30  # an outlier without weight
    weight = torch.ones(4, 9)
    weight[:, 0] = 0
    assert torch.allclose(metrics.superpose(x, y, weight)[:, 1:], y[:, 1:], atol=1e-4)
    flat = torch.randn(1, 9, 3) * torch.tensor([1.0, 1.0, 0.0])  # a plane: rank 2
    assert torch.allclose(
        metrics.superpose(flat, flat @ rotation().T, torch.ones(1, 9)),
        flat @ rotation().T,
        atol=1e-4,
    )


def test_what_is_masked_does_not_count():
    x, y = torch.randn(2, 40, 3) * 8, torch.randn(2, 40, 3) * 8
    mask = torch.ones(2, 40)
    mask[:, 25:] = 0
    noise = torch.randn_like(x) * (1 - mask)[..., None] * 50
    index = torch.arange(40).expand(2, 40)
    for score in (metrics.lddt, metrics.tm_score, metrics.gdt_ts, metrics.rmsd, metrics.drmsd):
        whole = score(x[:, :25], y[:, :25], mask[:, :25])
        assert torch.allclose(score(x + noise, y - noise, mask), whole, atol=1e-5), score.__name__
        assert torch.allclose(score(x[1:], y[1:], mask[1:]), whole[1:], atol=1e-5)  # batch
    assert torch.allclose(
        metrics.ca_ca_error(x + noise, mask, index),
        metrics.ca_ca_error(x[:, :25], mask[:, :25], index[:, :25]),
    )


def test_lddt_by_hand():
    """Three points on a line; one distance is off by 0.7 Å (kept by 3 of 4), one by 1.4 (by 2)."""
    true = torch.tensor([[[0.0, 0, 0], [5, 0, 0], [20.5, 0, 0]]])
    predicted = torch.tensor([[[0.0, 0, 0], [5.7, 0, 0], [20.5, 0, 0]]])
    mask = torch.ones(1, 3)
    # only the pair (0, 1) is nearer than 15 Å
    assert metrics.lddt_per_point(predicted, true, mask)[0].tolist() == pytest.approx(
        [0.75] * 2 + [1]
    )
    predicted[0, 1, 0] = 6.4
    assert float(metrics.lddt(predicted, true, mask)) == pytest.approx(0.5)
    assert float(metrics.lddt(true, true, mask, present=mask * torch.tensor([1.0, 0, 1]))) < 1e-6
    assert float(metrics.lddt(predicted, true, mask, separation=2)) == 1  # no pair is that far


def test_gdt_by_hand():
    """8 residues in place, 2 far away: 0.8 within any cutoff."""
    true = torch.randn(1, 10, 3) * 10
    predicted = move(true)
    predicted[0, 8] += 40
    predicted[0, 9] -= 40
    mask = torch.ones(1, 10)
    assert float(metrics.gdt_ts(predicted, true, mask)) == pytest.approx(0.8)
    assert float(metrics.gdt_ha(predicted, true, mask, 20)) == pytest.approx(0.4)
    # no single superposition is better than the search
    predicted = move(true) + torch.randn(1, 10, 3) * 2
    near = (metrics.superpose(predicted, true, mask) - true).norm(dim=-1)
    shares = [float((near <= cutoff).float().mean()) for cutoff in (1, 2, 4, 8)]
    assert float(metrics.gdt_ts(predicted, true, mask)) >= sum(shares) / 4


def test_contact_precision_by_hand():
    cb = torch.zeros(1, 12, 3)
    cb[0, :, 0] = torch.arange(12) * 20.0
    cb[0, 11] = cb[0, 0] + 4  # the only contact: 0-11
    mask, scores = torch.ones(1, 12), torch.zeros(1, 12, 12)
    scores[0, 0, 11], scores[0, 1, 9] = 3, 2
    scores[0, 3, 4] = 99  # neighbours in the chain are not asked
    scores[0, 9, 0] = 99  # nor is the lower triangle
    assert float(metrics.contact_precision(scores, cb, mask, 1 / 12)) == 1
    assert float(metrics.contact_precision(scores, cb, mask, 2 / 12)) == 0.5


def test_real_proteins_look_like_proteins(chain):
    x, mask = tensors(chain)
    ca, mask = x[..., CA, :], mask[..., CA]
    index = torch.from_numpy(chain.residue_index).long()[None]
    assert float(metrics.ca_ca_error(ca, mask, index)) < 0.1
    assert float(metrics.clashes(ca, mask)) < 0.02
    ratio = float(metrics.radius_of_gyration(ca, mask)) / (2.2 * len(chain.sequence) ** 0.38)
    assert 0.8 < ratio < 1.2
    right, left = metrics.helix_turns(ca, mask)
    assert right >= 3 and left == 0
    assert float(metrics.clashes(ca * 0.5, mask)) > 0.2
    assert float(metrics.ca_ca_error(ca * 0.5, mask, index)) == pytest.approx(1.9, abs=0.1)


# ------------------------------------------------------------------ evaluate


def test_evaluate_a_copy(chain):
    scores = metrics.evaluate(chain, chain)
    assert list(scores) == ["lddt", "lddt_ca", "tm_score", "gdt_ts", "gdt_ha", "rmsd_ca"]
    assert scores["rmsd_ca"] < 1e-3
    assert all(scores[k] == pytest.approx(1, abs=1e-3) for k in scores if k != "rmsd_ca")


def test_evaluate_ignores_numbering_and_unresolved_residues(chain):
    n = len(chain.sequence)
    full = metrics.evaluate(spoil(chain, 1, np.random.default_rng(1)), chain)
    renumbered = dataclasses.replace(
        spoil(chain, 1, np.random.default_rng(1)), residue_index=chain.residue_index + 100
    )
    assert metrics.evaluate(renumbered, chain) == full

    # a longer construct: tags at both ends; the same residues are compared
    def lengthen(array, value):
        width = [(5, 5)] + [(0, 0)] * (array.ndim - 1)
        return np.pad(array, width, constant_values=value)

    longer = Chain(
        "GSHMA" + chain.sequence + "HHHHH",
        lengthen(renumbered.positions, 0.0),
        lengthen(chain.mask, 0.0),
        np.arange(n + 10, dtype=np.int32),
        np.zeros(n + 10, np.float32),
    )
    assert metrics.evaluate(longer, chain) == pytest.approx(full, abs=1e-6)
    # the reference lacks a loop: those residues do not count
    mask = chain.mask.copy()
    mask[4:8] = 0
    gap = dataclasses.replace(chain, mask=mask, positions=chain.positions * mask[..., None])
    assert metrics.evaluate(chain, gap)["lddt"] == pytest.approx(1, abs=1e-3)
    assert metrics.evaluate(chain, gap)["tm_score"] == pytest.approx(1, abs=1e-3)


def test_evaluate_counts_missing_residues_as_wrong(chain):
    keep = np.arange(len(chain.sequence)) >= 5
    part = Chain(
        chain.sequence[5:],
        chain.positions[keep],
        chain.mask[keep],
        chain.residue_index[keep],
        chain.b_factors[keep],
    )
    resolved = chain.mask[:, CA]
    share = float(resolved[keep].sum() / resolved.sum())
    scores = metrics.evaluate(part, chain)
    assert scores["rmsd_ca"] < 1e-3
    assert scores["gdt_ha"] == pytest.approx(share, abs=1e-6)
    assert scores["tm_score"] == pytest.approx(share, abs=1e-3)
    assert scores["lddt"] < 0.99 and scores["lddt_ca"] < 0.99
    assert metrics.evaluate(chain, part)["lddt"] == pytest.approx(1, abs=1e-3)


def test_evaluate_rejects_strangers(chain):
    stranger = dataclasses.replace(chain, sequence="W" * len(chain.sequence))
    with pytest.raises(BadInput, match="not of one protein"):
        metrics.evaluate(stranger, chain)
    empty = dataclasses.replace(chain, mask=chain.mask * 0)
    with pytest.raises(BadInput, match="no Cα atom"):
        metrics.evaluate(empty, chain)
