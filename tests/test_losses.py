"""The losses: invariance, masks, batches, the clamped share, gradients."""

import dataclasses

import numpy as np
import pytest
import torch

from minifold.config import preset
from minifold.data.features import Batch, collate, pad
from minifold.data.residues import ATOM14_NAMES, RESIDUE_NAMES, sequence_to_aatype
from minifold.data.structures import read_structure
from minifold.errors import BadInput
from minifold.model.alphafold import Output
from minifold.model.atoms import (
    atom14_to_atom37,
    frames_to_atom14,
    ground_truth,
    lookup,
    torsions_to_frames,
)
from minifold.model.rigid import Rigid
from minifold.model.structure import StructureOutput
from minifold.training import fape, losses, metrics
from tests.conftest import ROOT

CONFIG = preset("nano").replace(pae=True)
EVERYTHING = dataclasses.replace(losses.FINE_TUNING, smooth_lddt=1.0, fape_local=1.0, geometry=1.0)
CA = 1


def make_batch(name: str = "1l2y", rows: int = 3, **changes) -> Batch:
    """A shipped protein with a random alignment."""
    chain = read_structure(ROOT / "data" / "structures" / f"{name}.cif")
    n = len(chain.sequence)
    generator = torch.Generator().manual_seed(n)
    batch = Batch(
        aatype=torch.from_numpy(chain.aatype).long()[None],
        residue_index=torch.from_numpy(chain.residue_index).long()[None],
        seq_mask=torch.ones(1, n),
        target_feat=torch.zeros(1, n, 22),
        msa_feat=torch.zeros(1, rows, n, 49),
        msa_mask=torch.ones(1, rows, n),
        extra_msa=torch.zeros(1, 1, n, dtype=torch.long),
        extra_has_deletion=torch.zeros(1, 1, n),
        extra_deletion_value=torch.zeros(1, 1, n),
        extra_msa_mask=torch.ones(1, 1, n),
        true_msa=torch.randint(22, (1, rows, n), generator=generator),
        bert_mask=(torch.rand(1, rows, n, generator=generator) < 0.3).float(),
        all_atom_positions=torch.from_numpy(chain.positions).float()[None],
        all_atom_mask=torch.from_numpy(chain.mask).float()[None],
        resolution=torch.tensor([2.0]),
        use_clamped_fape=torch.tensor([1.0]),
    )
    return dataclasses.replace(batch, **changes)


def make_output(batch: Batch, seed: int = 0, layers: int = 2, noise: float = 1.0) -> Output:
    """A prediction: the truth plus noise in frames and torsions (0: as it is), random logits."""
    truth = ground_truth(batch.aatype, batch.all_atom_positions, batch.all_atom_mask)
    b, n = batch.aatype.shape
    rows = batch.msa_mask.shape[1]
    generator = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    frames, frames8, atoms, raw, angles = [], [], [], [], []
    for _ in range(layers):
        update = random(b, n, 6) * torch.tensor([0.2, 0.2, 0.2, 1.0, 1.0, 1.0]) * noise
        T = truth.backbone.compose(Rigid.from_update(update))
        raw.append(truth.torsions + noise * random(b, n, 7, 2))
        angles.append(raw[-1] / raw[-1].norm(dim=-1, keepdim=True))
        frames.append(T)
        frames8.append(torsions_to_frames(T, angles[-1], batch.aatype))
        atoms.append(frames_to_atom14(frames8[-1], batch.aatype))
    structure = StructureOutput(
        frames,
        torch.stack(angles),
        torch.stack(raw),
        Rigid.stack(frames8),
        torch.stack(atoms),
        random(b, n, CONFIG.c_s),
    )
    return Output(
        m=random(b, rows, n, CONFIG.c_m),
        m_first=random(b, n, CONFIG.c_m),
        z=random(b, n, n, CONFIG.c_z),
        s=random(b, n, CONFIG.c_s),
        structure=structure,
        positions=atom14_to_atom37(atoms[-1], batch.aatype),
        atom_mask=lookup("ATOM37_MASK", batch.aatype) * batch.seq_mask[..., None],
        distogram_logits=random(b, n, n, 64),
        masked_msa_logits=random(b, rows, n, 23),
        plddt_logits=random(b, n, 50),
        resolved_logits=random(b, n, 37),
        pae_logits=random(b, n, n, 64),
        passes=1,
    )


def change_structure(output: Output, f) -> Output:
    """The output with ``f`` applied to its frames and atoms: f(Rigid or Tensor of points)."""
    s = output.structure
    structure = dataclasses.replace(
        s, frames=[f(T) for T in s.frames], frames8=f(s.frames8), atom14=f(s.atom14)
    )
    return dataclasses.replace(output, structure=structure, positions=f(output.positions))


def turn(x):
    """A rotation and a shift of frames or points."""
    q, _ = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(5)))
    T = Rigid(q * torch.linalg.det(q), torch.tensor([12.0, -30.0, 7.0]))
    return T.compose(x) if isinstance(x, Rigid) else T.apply(x)


def close(one: dict, other: dict, tolerance: float = 1e-4):
    assert one.keys() == other.keys()
    for name in one:
        assert torch.allclose(one[name], other[name], atol=tolerance, rtol=tolerance), (
            f"{name}: {one[name]} != {other[name]}"
        )


# ------------------------------------------------------------------ together


def test_a_perfect_structure_has_no_structure_loss():
    batch = make_batch()
    parts = losses.loss(make_output(batch, noise=0), batch, EVERYTHING)
    # eps 1e-4 below the square root: at least 0.01 Å, 0.001 in units of 10 Å
    assert float(parts["fape_backbone"]) == pytest.approx(0.001, abs=5e-4)
    assert float(parts["fape_sidechain"]) < 0.04  # ideal bond lengths against the real ones
    assert float(parts["chi"]) < 1e-6 and float(parts["angle_norm"]) < 1e-5
    assert float(parts["violation"]) < 0.02
    assert float(parts["geometry"]) < 1e-3
    assert float(parts["smooth_lddt"]) == pytest.approx(0.196, abs=0.001)
    wrong = losses.loss(make_output(batch), batch, EVERYTHING)
    for name in (
        "fape_backbone",
        "fape_sidechain",
        "chi",
        "angle_norm",
        "violation",
        "smooth_lddt",
        "geometry",
    ):
        assert float(wrong[name]) > 1.5 * float(parts[name]) + 0.01, name


def test_total_is_the_weighted_sum():
    batch = make_batch()
    output = make_output(batch)
    parts = losses.loss(output, batch, EVERYTHING)
    total = sum(getattr(EVERYTHING, name) * x for name, x in parts.items() if name != "total")
    assert torch.allclose(parts["total"], total)
    names = {f.name for f in dataclasses.fields(EVERYTHING)}
    assert set(parts) == names - {"sqrt_length", "start_torsions"} | {"total"}
    weighted = losses.loss(output, batch, dataclasses.replace(EVERYTHING, sqrt_length=True))
    assert torch.allclose(weighted["total"], total * 20**0.5)


def test_torsions_of_a_start_are_learnt():
    """Models whose frames start from distances have that loss: 0 for the truth, 4 for opposites."""
    batch = make_batch()
    output = make_output(batch)
    truth = ground_truth(batch.aatype, batch.all_atom_positions, batch.all_atom_mask)
    for sign, expected in ((1, 0.0), (-1, 4.0)):
        start = dataclasses.replace(output.structure, start_angles=sign * truth.torsions)
        parts = losses.loss(dataclasses.replace(output, structure=start), batch)
        assert parts["start_torsions"].item() == pytest.approx(expected, abs=1e-5)


def test_local_fape_sees_neighbours_only():
    """Unchanged when the chain bends far away; a stretched bond counts at its place."""
    batch = make_batch()
    truth = ground_truth(batch.aatype, batch.all_atom_positions, batch.all_atom_mask)
    T, mask = truth.backbone, truth.backbone_mask
    b, n = mask.shape
    index = batch.residue_index

    def local(frames: Rigid) -> float:
        return fape.local_fape(Rigid.stack([frames]), T, mask, index).mean().item()

    assert local(T) == pytest.approx(0.001, abs=1e-4)  # the root of 1e-4, in units of 10 Å
    assert local(Rigid(T.R, T.t + 30.0)) == pytest.approx(0.001, abs=1e-4)  # moved as a whole
    mirror = Rigid(T.R, T.t * T.t.new_tensor([1.0, 1.0, -1.0]))
    assert local(mirror) > 0.05
    apart = T.t.clone()
    apart[:, n // 2 :] += 50.0  # two halves, far from each other: the pairs across the gap only
    across = local(Rigid(T.R, apart))
    step = 50 * 3**0.5 / 10
    pairs = sum(2 * (n - k) for k in range(1, 5))
    assert across == pytest.approx(step * 2 * (1 + 2 + 3 + 4) / pairs, rel=0.05)


def test_geometry_by_hand():
    """A straight chain of four, 3.8 Å apart: bonds, clashes and the radius of gyration."""
    x = torch.arange(4.0)[None, :, None] * torch.tensor([3.8, 0, 0])
    mask, index = torch.ones(1, 4), torch.arange(4)[None]

    def geometry(y: torch.Tensor, index: torch.Tensor = index) -> float:
        return losses.geometry_loss(y[None], x, mask, index).item()

    assert geometry(x) == pytest.approx(0.0, abs=1e-5)
    assert geometry(-x + 7) == pytest.approx(0.0, abs=1e-5)  # moved and turned
    # doubled: every bond 3.8 Å too long, no clash, the radius 3.8 √(5/4) instead of half of it
    assert geometry(2 * x) == pytest.approx(3.8 + 3.8 * 1.25**0.5, abs=1e-4)
    # the last one laid upon the second: its bond is right; it is 4.2 Å too near to the second and
    # 0.4 Å to the first, for four residues; the radius is that of (0, 1, 2, 1)
    back = x[:, [0, 1, 2, 1]]
    expected = (4.2 + 0.4) / 4 + 3.8 * (1.25**0.5 - 0.5**0.5)
    assert geometry(back) == pytest.approx(expected, abs=1e-2)
    # across a gap in the numbers there is no bond, and no nearest distance but the true one
    stretched = torch.cat([x[:, :2], x[:, 2:] + torch.tensor([1.0, 0, 0])], 1)
    gap = torch.tensor([[0, 1, 8, 9]])
    assert geometry(stretched) - geometry(stretched, gap) == pytest.approx(1 / 3, abs=1e-4)


def test_default_weights_are_initial_training():
    batch = make_batch()
    parts = losses.loss(make_output(batch), batch)
    assert not {"violation", "smooth_lddt", "fape_local", "geometry"} & set(parts)
    without = dataclasses.replace(batch, true_msa=None, bert_mask=None)
    output = dataclasses.replace(make_output(batch), pae_logits=None)
    assert set(parts) - set(losses.loss(output, without)) == {"masked_msa", "pae"}


def test_a_batch_without_truth_is_refused():
    batch = make_batch()
    output = make_output(batch)
    with pytest.raises(BadInput, match="no true structure"):
        losses.loss(output, dataclasses.replace(batch, all_atom_positions=None))


def test_every_loss_is_invariant_under_rotation_and_translation():
    batch = make_batch("1vii")
    output = make_output(batch)
    parts = losses.loss(output, batch, EVERYTHING)
    close(parts, losses.loss(change_structure(output, turn), batch, EVERYTHING))
    moved = dataclasses.replace(batch, all_atom_positions=turn(batch.all_atom_positions))
    close(parts, losses.loss(output, moved, EVERYTHING))


def test_padding_changes_nothing():
    """All losses, with rubbish in the padded part of the output."""
    batch = make_batch()
    n = batch.length
    padded = pad(pad(batch, n + 7), batch.msa_mask.shape[1] + 2, axis="s")
    output, rubbish = make_output(batch), make_output(padded, seed=9, noise=3.0)

    def fill(whole: torch.Tensor, part: torch.Tensor) -> torch.Tensor:
        whole = whole.clone()
        whole[tuple(slice(0, size) for size in part.shape)] = part
        return whole

    def fill_rigid(whole: Rigid, part: Rigid) -> Rigid:
        return Rigid(fill(whole.R, part.R), fill(whole.t, part.t))

    s, r = output.structure, rubbish.structure
    structure = StructureOutput(
        [fill_rigid(a, b) for a, b in zip(r.frames, s.frames)],
        fill(r.angles, s.angles),
        fill(r.unnormalized_angles, s.unnormalized_angles),
        fill_rigid(r.frames8, s.frames8),
        fill(r.atom14, s.atom14),
        fill(r.s, s.s),
    )
    values = {
        f.name: fill(getattr(rubbish, f.name), getattr(output, f.name))
        for f in dataclasses.fields(Output)
        if f.name not in ("structure", "passes")
    }
    longer = Output(structure=structure, passes=1, **values)
    close(losses.loss(longer, padded, EVERYTHING), losses.loss(output, batch, EVERYTHING), 1e-5)


def test_a_batch_is_worth_the_mean_of_its_members():
    members = [
        make_batch("1l2y", use_clamped_fape=torch.tensor([0.0])),
        make_batch("1vii", resolution=torch.tensor([4.5])),
        make_batch("2gb1"),
    ]
    together = collate(members)
    output = make_output(together)
    parts = losses.losses_per_example(output, together, EVERYTHING)

    def member(x, k: int):
        """Example k, which is at axis 0, or 1 behind the layers."""
        if isinstance(x, Rigid):
            return x.map(lambda y: y[k : k + 1])
        return x[k : k + 1] if isinstance(x, torch.Tensor) else x

    for k in range(3):
        s = output.structure
        structure = StructureOutput(
            [member(T, k) for T in s.frames],
            s.angles[:, k : k + 1],
            s.unnormalized_angles[:, k : k + 1],
            s.frames8.map(lambda y, k=k: y[:, k : k + 1]),
            s.atom14[:, k : k + 1],
            s.s[k : k + 1],
        )
        values = {f.name: member(getattr(output, f.name), k) for f in dataclasses.fields(Output)}
        alone = losses.losses_per_example(
            Output(**values | {"structure": structure}),
            together.map(lambda x, k=k: x[k : k + 1]),
            EVERYTHING,
        )
        close({name: x[k : k + 1] for name, x in parts.items()}, alone, 1e-5)
    close({k: v.mean() for k, v in parts.items()}, losses.loss(output, together, EVERYTHING))


def test_autocast_changes_nothing_and_bfloat16_logits_are_taken():
    batch = make_batch()
    output = make_output(batch)
    parts = losses.loss(output, batch, EVERYTHING)
    with torch.autocast("cpu", torch.bfloat16):
        close(losses.loss(output, batch, EVERYTHING), parts, 0)
    half = {
        name: getattr(output, name).bfloat16()
        for name in ("distogram_logits", "masked_msa_logits", "plddt_logits", "pae_logits")
    }
    rounded = losses.loss(dataclasses.replace(output, **half), batch, EVERYTHING)
    assert all(x.dtype == torch.float32 for x in rounded.values())
    close(rounded, parts, 0.01)


# ------------------------------------------------------------------ structure


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_the_unclamped_loss_really_happens(share):
    """Peers' mistake 2: the 10 % of examples with unclamped FAPE never happen."""
    batch = make_batch("2gb1", use_clamped_fape=torch.tensor([share]))
    output = make_output(batch)

    def push(x):  # the last residues 60 Å away: everything across is beyond the clamp
        far = torch.zeros(batch.length, 3)
        far[-20:] = 60.0
        if isinstance(x, Rigid):
            far = far[:, None] if x.t.shape[-2] == 8 else far
            return Rigid(x.R, x.t + far)
        return x + far[:, None] if x.shape[-2] in (14, 37) else x + far

    near = losses.loss(output, batch)["fape_backbone"]
    far = losses.loss(change_structure(output, push), batch)["fape_backbone"]
    assert float(near) < 1.0
    if share == 1.0:
        assert float(far) <= 1.0  # at most the clamp, 10 Å
    else:
        assert float(far) > 3.0
    # and it is what the model is told: the gradient reaches the distant residues
    T = output.structure.frames[-1]
    t = (
        T.t + torch.nn.functional.pad(torch.full((1, 20, 3), 60.0), (0, 0, 36, 0))
    ).requires_grad_()
    truth = ground_truth(batch.aatype, batch.all_atom_positions, batch.all_atom_mask)
    frames = Rigid(T.R[None], t[None])
    loss = fape.backbone_fape(frames, truth.backbone, truth.backbone_mask, batch.use_clamped_fape)
    cross = torch.autograd.grad(loss.sum(), t)[0][:, -20:].sum(1).norm()
    assert (float(cross) > 1e-3) == (share == 0.0)


def test_mixed_fape_is_between():
    batch = make_batch("1vii")
    frames = Rigid.stack(make_output(batch, noise=4.0).structure.frames)
    truth = ground_truth(batch.aatype, batch.all_atom_positions, batch.all_atom_mask)
    clamped, unclamped, mixed = (
        float(fape.backbone_fape(frames, truth.backbone, truth.backbone_mask, torch.tensor([x])))
        for x in (1.0, 0.0, 0.9)
    )
    assert unclamped > clamped + 0.01
    assert mixed == pytest.approx(0.9 * clamped + 0.1 * unclamped)


def test_fape_sees_a_mirror_image_and_lddt_does_not():
    batch = make_batch("2gb1")
    truth = ground_truth(batch.aatype, batch.all_atom_positions, batch.all_atom_mask)
    flip = torch.tensor([1.0, 1.0, -1.0])
    mirror = batch.all_atom_positions * flip
    frames = ground_truth(batch.aatype, mirror, batch.all_atom_mask).backbone
    loss = fape.backbone_fape(frames[None], truth.backbone, truth.backbone_mask)
    assert float(loss) > 0.3
    ca, true_ca = mirror[..., CA, :], truth.atom14[..., CA, :]
    mask = truth.atom14_mask[..., CA]
    assert float(losses.smooth_lddt_loss(ca, true_ca, mask)) == pytest.approx(0.196, abs=0.001)
    assert float(metrics.lddt(ca, true_ca, mask)) == pytest.approx(1, abs=1e-5)
    assert float(metrics.drmsd(ca, true_ca, mask)) < 1e-4


def test_fape_by_hand():
    """Two frames at the origin, one point 3 Å off: mean of (0.01, 3.00002) / 10."""
    T = Rigid.identity((1, 2))
    points = torch.tensor([[[1.0, 0, 0], [5.0, 0, 0]]])
    true = torch.tensor([[[1.0, 0, 0], [5.0, 3.0, 0]]])
    ones = torch.ones(1, 2)
    loss = fape.frame_aligned_point_error(T, T, ones, points, true, ones)
    assert float(loss) == pytest.approx((0.01 + 3.0) / 2 / 10, rel=1e-3)
    loss = fape.frame_aligned_point_error(T, T, ones, points, true, ones, clamp=2.0)
    assert float(loss) == pytest.approx((0.01 + 2.0) / 2 / 10, rel=1e-3)
    loss = fape.frame_aligned_point_error(T, T, ones, points, true, torch.tensor([[1.0, 0]]))
    assert float(loss) == pytest.approx(0.001, rel=1e-2)


def swap_names(batch: Batch, which: torch.Tensor) -> Batch:
    """The batch with the ambiguous atoms of some residues under their other names."""
    truth = ground_truth(batch.aatype, batch.all_atom_positions, batch.all_atom_mask)
    other = atom14_to_atom37(truth.alt_atom14, batch.aatype)
    positions = torch.where(which[..., None, None] > 0, other, batch.all_atom_positions)
    return dataclasses.replace(batch, all_atom_positions=positions)


def test_ambiguous_names_do_not_matter():
    """Trp-cage has TYR and ASP: the loss is the same whichever way their atoms are called."""
    batch = make_batch("1l2y")
    ambiguous = lookup("ATOM14_AMBIGUOUS", batch.aatype).amax(-1)
    assert float(ambiguous.sum()) == 2
    output = make_output(batch, noise=0.1)
    renamed = swap_names(batch, ambiguous)
    assert not torch.equal(renamed.all_atom_positions, batch.all_atom_positions)
    # not to the last digit: real rings are not exactly symmetric, the alternative frames are
    parts, other = (losses.loss(output, x, EVERYTHING) for x in (batch, renamed))
    close(parts, other, 5e-4)

    atom14 = output.structure.atom14[-1]
    for variant, expected in ((batch, torch.zeros_like(ambiguous)), (renamed, ambiguous)):
        truth = ground_truth(variant.aatype, variant.all_atom_positions, variant.all_atom_mask)
        assert torch.equal(fape.rename_ambiguous(atom14, truth).renamed, expected)
    # without renaming it would matter
    truth = ground_truth(renamed.aatype, renamed.all_atom_positions, renamed.all_atom_mask)
    stubborn = fape.RenamedTruth(
        truth.frames8, truth.frames8_mask, truth.atom14, truth.atom14_mask, ambiguous
    )
    renamed_truth = fape.rename_ambiguous(atom14, truth)
    last = output.structure.frames8[-1]
    best, worse = (float(fape.sidechain_fape(last, atom14, t)) for t in (renamed_truth, stubborn))
    assert worse > best + 0.003


def test_chi_loss_by_hand():
    """90 degrees off costs 2 (the squared chord), 180 degrees 4, but nothing for PHE's chi2."""
    aatype = torch.from_numpy(sequence_to_aatype("FK")).long()[None]
    true = torch.zeros(1, 2, 7, 2)
    true[..., 1] = 1.0
    sign = 1 - 2 * lookup("CHI_PI_PERIODIC", aatype)
    alternative = true.clone()
    alternative[..., 3:, :] *= sign[..., None]
    mask = torch.zeros(1, 2, 7)
    mask[..., 3:] = lookup("CHI_MASK", aatype)
    predicted = true.clone()[None]
    predicted[0, 0, 0, 4] = torch.tensor([0.0, -1.0])  # chi2 of PHE turned by 180: the same
    chi, norm = losses.torsion_loss(
        predicted, 3 * predicted, (true, alternative), mask, torch.ones(1, 2)
    )
    assert float(chi) == pytest.approx(0, abs=1e-6) and float(norm) == pytest.approx(2, abs=1e-5)
    predicted[0, 0, 1, 4] = torch.tensor([1.0, 0.0])  # chi2 of LYS by 90
    chi, _ = losses.torsion_loss(predicted, predicted, (true, alternative), mask, torch.ones(1, 2))
    assert float(chi) == pytest.approx(2 / 6)  # of six chi angles
    predicted[0, 0, 1, 4] = torch.tensor([0.0, -1.0])  # by 180
    predicted[0, 0, :, :3] *= -1  # backbone torsions are not supervised
    chi, _ = losses.torsion_loss(predicted, predicted, (true, alternative), mask, torch.ones(1, 2))
    assert float(chi) == pytest.approx(4 / 6)


# ------------------------------------------------------------------ heads


def test_bins_of_the_distogram():
    """Cβ 2.0, 2.4 and 30 Å apart: the first, the second and the last bin."""
    beta = torch.zeros(1, 4, 3)
    beta[0, :, 0] = torch.tensor([0.0, 2.0, 2.4, 30.0])
    for j, expected in ((1, 0), (2, 1), (3, 63)):
        logits = torch.zeros(1, 4, 4, 64)
        logits[..., expected] = 20.0
        mask = torch.zeros(1, 4)
        mask[0, [0, j]] = 1
        # of the four pairs 0-0, 0-j, j-0, j-j the two on the diagonal are in bin 0
        diagonal = 0.0 if expected == 0 else 10.0
        assert float(losses.distogram_loss(logits, beta, mask)) == pytest.approx(diagonal, abs=1e-3)


def test_confidence_learns_from_good_structures_only():
    batch = make_batch()
    output = make_output(batch)
    parts = losses.loss(output, batch)
    for resolution, factor in ((0.0, 0), (0.1, 1), (3.0, 1), (3.1, 0)):
        changed = dataclasses.replace(batch, resolution=torch.tensor([resolution]))
        other = losses.loss(output, changed)
        for name in ("plddt", "resolved", "pae"):
            assert torch.allclose(other[name], factor * parts[name]), (name, resolution)
        assert torch.equal(other["distogram"], parts["distogram"])


def test_confidence_targets():
    """The best answers: pLDDT bin 49 for a perfect copy, and low losses for who knows its error."""
    batch = make_batch()
    output = make_output(batch, noise=0)
    plddt = torch.zeros(1, batch.length, 50)
    plddt[..., 49] = 20
    pae = torch.zeros(1, batch.length, batch.length, 64)
    pae[..., 1] = 20  # an error above 0 and below 0.5 Å
    resolved = 40 * batch.all_atom_mask - 20
    output = dataclasses.replace(
        output, plddt_logits=plddt, pae_logits=pae, resolved_logits=resolved
    )
    output = change_structure(output, lambda x: x)
    parts = losses.loss(output, batch)
    assert float(parts["plddt"]) < 1e-3
    assert float(parts["resolved"]) < 1e-3
    # a quarter turn of every frame: no error in Cα itself, but in what frames see
    truth = ground_truth(batch.aatype, batch.all_atom_positions, batch.all_atom_mask)
    noisy = truth.backbone.compose(Rigid.from_update(1e-3 * torch.randn(1, batch.length, 6)))
    loss = losses.pae_loss(pae, noisy, truth.backbone, truth.backbone_mask, None)
    assert float(loss) == pytest.approx(20 / batch.length, rel=0.2)  # only the diagonal is bin 0


def test_masked_msa_counts_hidden_letters_only():
    batch = make_batch()
    logits = torch.nn.functional.one_hot(batch.true_msa, 23).float() * 20
    assert float(losses.masked_msa_loss(logits, batch.true_msa, batch.bert_mask)) < 1e-3
    wrong = logits.roll(1, -1)
    assert float(losses.masked_msa_loss(wrong, batch.true_msa, batch.bert_mask)) > 10
    mixed = torch.where(batch.bert_mask[..., None] > 0, logits, wrong)
    assert float(losses.masked_msa_loss(mixed, batch.true_msa, batch.bert_mask)) < 1e-3
    nothing = torch.zeros_like(batch.bert_mask)
    assert float(losses.masked_msa_loss(wrong, batch.true_msa, nothing)) == 0


def test_resolved_looks_at_atoms_that_exist():
    batch = make_batch()
    exists = lookup("ATOM37_MASK", batch.aatype)
    logits = torch.randn(1, batch.length, 37)
    loss = losses.resolved_loss(logits, batch.all_atom_mask, exists, None)
    noise = logits + 50 * torch.randn_like(logits) * (1 - exists)
    assert torch.allclose(losses.resolved_loss(noise, batch.all_atom_mask, exists, None), loss)


# ------------------------------------------------------------------ gradients


def gradcheck(f, *inputs: torch.Tensor, fast: bool = False):
    """In float64, at points where nothing sits on a kink; fast: along one random direction."""
    inputs = tuple(x.double().requires_grad_() for x in inputs)
    assert torch.autograd.gradcheck(f, inputs, fast_mode=fast)


def small(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Types, positions and mask of a few residues of a real protein, with noise, float64."""
    batch = make_batch("1vii")
    keep = slice(8, 13)  # with PHE and ASP nearby
    noise = torch.randn(1, 5, 37, 3, generator=torch.Generator().manual_seed(seed))
    positions = batch.all_atom_positions[:, keep] + noise * batch.all_atom_mask[:, keep, :, None]
    return batch.aatype[:, keep], positions.double(), batch.all_atom_mask[:, keep].double()


@pytest.mark.parametrize("share", [0.0, 0.9])
def test_gradient_of_backbone_fape(share):
    aatype, positions, mask = small()
    truth = ground_truth(aatype, positions, mask)
    update = 0.3 * torch.randn(2, 1, 5, 6)

    def f(update):
        T = Rigid(truth.backbone.R.expand(2, 1, 5, 3, 3), truth.backbone.t.expand(2, 1, 5, 3))
        frames = T.compose(Rigid.from_update(update))
        share_ = torch.tensor([share], dtype=torch.float64)
        return fape.backbone_fape(frames, truth.backbone, truth.backbone_mask, share_)

    gradcheck(f, update)


def test_gradient_of_sidechain_fape():
    aatype, positions, mask = small()
    truth = ground_truth(aatype, positions, mask)

    def f(update, raw):
        T = truth.backbone.compose(Rigid.from_update(update))
        angles = raw / raw.norm(dim=-1, keepdim=True)
        frames8 = torsions_to_frames(T, angles, aatype)
        atom14 = frames_to_atom14(frames8, aatype)
        return fape.sidechain_fape(frames8, atom14, fape.rename_ambiguous(atom14, truth))

    gradcheck(
        f, 0.2 * torch.randn(1, 5, 6), truth.torsions + 0.3 * torch.randn(1, 5, 7, 2), fast=True
    )


def test_gradient_of_torsion_loss():
    aatype, positions, mask = small()
    truth = ground_truth(aatype, positions, mask)
    true, ones = (truth.torsions, truth.alt_torsions), torch.ones(1, 5, dtype=torch.float64)

    def f(raw):
        angles = raw / raw.norm(dim=-1, keepdim=True)
        return losses.torsion_loss(angles, raw, true, truth.torsion_mask, ones)

    gradcheck(f, torch.randn(2, 1, 5, 7, 2))


def test_gradient_of_violations():
    aatype, positions, mask = small(seed=3)
    truth = ground_truth(aatype, positions, mask)
    index = torch.arange(5)[None]

    def f(atom14):
        found = losses.find_violations(atom14, truth.atom14_mask, index, aatype)
        return losses.violation_loss(found, truth.atom14_mask), found.clash, found.connection_loss

    assert all(float(x.sum()) > 0 for x in f(truth.atom14))
    gradcheck(f, truth.atom14, fast=True)


def test_gradient_of_smooth_lddt():
    x, y = torch.randn(2, 1, 6, 3) * 4, torch.randn(1, 6, 3, dtype=torch.float64) * 4
    mask = torch.tensor([[1.0, 1, 1, 1, 1, 0]], dtype=torch.float64)
    gradcheck(lambda x: losses.smooth_lddt_loss(x, y, mask), x)


def test_gradient_of_geometry():
    x, y = torch.randn(2, 1, 6, 3) * 4, torch.randn(1, 6, 3, dtype=torch.float64) * 4
    mask = torch.tensor([[1.0, 1, 1, 1, 1, 0]], dtype=torch.float64)
    gradcheck(lambda x: losses.geometry_loss(x, y, mask, torch.arange(6)[None]), x)


def test_gradients_of_heads():
    aatype, positions, mask = small()
    truth = ground_truth(aatype, positions, mask)
    ca, ca_mask = truth.atom14[..., CA, :], truth.atom14_mask[..., CA]
    resolution = torch.tensor([2.0], dtype=torch.float64)
    pair_logits = torch.randn(1, 5, 5, 64)
    gradcheck(
        lambda x: losses.distogram_loss(x, truth.pseudo_beta, ca_mask), pair_logits, fast=True
    )
    frames = truth.backbone.compose(Rigid.from_update(torch.randn(1, 5, 6, dtype=torch.float64)))
    gradcheck(
        lambda x: losses.pae_loss(x, frames, truth.backbone, ca_mask, resolution),
        pair_logits,
        fast=True,
    )
    guess = ca + torch.randn_like(ca)
    gradcheck(lambda x: losses.plddt_loss(x, guess, ca, ca_mask, resolution), torch.randn(1, 5, 50))
    exists = lookup("ATOM37_MASK", aatype, torch.float64)
    gradcheck(lambda x: losses.resolved_loss(x, mask, exists, resolution), torch.randn(1, 5, 37))
    letters, hidden = torch.randint(23, (1, 2, 5)), torch.ones(1, 2, 5, dtype=torch.float64)
    gradcheck(lambda x: losses.masked_msa_loss(x, letters, hidden), torch.randn(1, 2, 5, 23))


def test_gradients_are_finite_where_everything_coincides():
    """The black-hole start: all frames and atoms in one point, and a perfect prediction."""
    batch = make_batch()
    for seed, factor in ((0, 0.0), (1, 1.0)):
        output = make_output(batch, seed=seed, noise=0)
        points = [(T.t * factor).requires_grad_() for T in output.structure.frames]
        atom14 = (output.structure.atom14 * factor).requires_grad_()
        frames = [Rigid(T.R, t) for T, t in zip(output.structure.frames, points)]
        structure = dataclasses.replace(output.structure, frames=frames, atom14=atom14)
        parts = losses.loss(dataclasses.replace(output, structure=structure), batch, EVERYTHING)
        for gradient in torch.autograd.grad(parts["total"], [*points, atom14]):
            assert bool(torch.isfinite(gradient).all())


def test_names_of_atoms_used_here():
    """CA is atom 1 of every residue in both orders; SG the sixth of cysteine."""
    assert all(names[CA] == "CA" for names in ATOM14_NAMES[:20])
    assert ATOM14_NAMES[RESIDUE_NAMES.index("CYS")].index("SG") == 5
    assert np.all([names[:4] == ["N", "CA", "C", "O"] for names in ATOM14_NAMES[:20]])
