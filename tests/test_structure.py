"""The structure module: masks, padding, start, stopped gradients, precision, dropout."""

import pytest
import torch

from minifold.config import PRESETS
from minifold.errors import BadInput
from minifold.model.atoms import torsions_to_atom14
from minifold.model.rigid import Rigid
from minifold.model.structure import FoldIteration, StructureModule, TorsionResNet

NANO = PRESETS["nano"].replace(start="black_hole")


def random_module(config=NANO, std=0.15) -> StructureModule:
    """Weights of ordinary size, so that every part has an effect."""
    module = StructureModule(config)
    for name, p in module.named_parameters():
        if "norm.weight" not in name:
            torch.nn.init.normal_(p, std=std)
    return module.eval()


def random_input(b=2, n=12, config=NANO):
    aatype = torch.randint(0, 20, (b, n))
    return (
        torch.randn(b, n, config.c_s),
        torch.randn(b, n, n, config.c_z),
        aatype,
        torch.ones(b, n),
    )


def pad(x: torch.Tensor, extra: int, axes: tuple[int, ...], value: float = 3.0) -> torch.Tensor:
    for axis in axes:
        shape = list(x.shape)
        shape[axis] = extra
        x = torch.cat([x, torch.full(shape, value, dtype=x.dtype)], dim=axis)
    return x


@pytest.mark.parametrize("start", ["black_hole", "line", "distances"])
def test_padding_changes_nothing(start):
    module = random_module(NANO.replace(start=start)).double()
    s, z, aatype, mask = (x.double() if x.is_floating_point() else x for x in random_input())
    n = s.shape[1]
    logits = torch.randn(2, n, n, 64, dtype=torch.float64)
    logits = 5 * (logits + logits.transpose(1, 2))
    out = module(s, z, aatype, mask, logits)
    padded = module(
        pad(s, 5, (1,)),
        pad(z, 5, (1, 2)),
        pad(aatype, 5, (1,), 4),
        pad(mask, 5, (1,), 0.0),
        pad(logits, 5, (1, 2)),
    )
    assert out.atom14.abs().max() > 5  # it is not all at the origin
    torch.testing.assert_close(padded.atom14[:, :, :n], out.atom14, atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(padded.angles[:, :, :n], out.angles, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(padded.s[:, :n], out.s, atol=1e-5, rtol=1e-5)
    unmasked = module(
        pad(s, 5, (1,)),
        pad(z, 5, (1, 2)),
        pad(aatype, 5, (1,), 4),
        torch.ones(2, 17).double(),
        pad(logits, 5, (1, 2)),
    )
    assert not torch.allclose(unmasked.s[:, :n], out.s, atol=1e-2)


def test_a_batch_is_its_members():
    module = random_module().double()
    s, z, aatype, mask = (x.double() if x.is_floating_point() else x for x in random_input(b=3))
    mask[1, -4:] = 0
    out = module(s, z, aatype, mask)
    for k in range(3):
        one = module(s[k : k + 1], z[k : k + 1], aatype[k : k + 1], mask[k : k + 1])
        keep = mask[k].bool()
        torch.testing.assert_close(one.s[0, keep], out.s[k, keep], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(
            one.atom14[:, 0, keep], out.atom14[:, k, keep], atol=1e-4, rtol=1e-5
        )


def test_renumbering_residues_renumbers_the_output():
    """With all frames at the origin the module knows no order; with a line it does."""
    s, z, aatype, mask = random_input(b=1)
    order = torch.randperm(s.shape[1])
    args = s[:, order], z[:, order][:, :, order], aatype[:, order], mask
    hole = random_module()
    expected = hole(s, z, aatype, mask).atom14[:, :, order]
    torch.testing.assert_close(hole(*args).atom14, expected, atol=2e-4, rtol=1e-5)
    line = random_module(NANO.replace(start="line"))
    line.load_state_dict(hole.state_dict())
    assert not torch.allclose(
        line(*args).atom14, line(s, z, aatype, mask).atom14[:, :, order], atol=0.1
    )


def test_atoms_belong_to_the_frames_and_torsions_of_their_layer():
    module, (s, z, aatype, mask) = random_module(), random_input()
    out = module(s, z, aatype, mask)
    assert len(out.frames) == NANO.structure_layers
    for layer, T in enumerate(out.frames):
        atom14 = torsions_to_atom14(T, out.angles[layer], aatype)
        torch.testing.assert_close(out.atom14[layer], atom14, atol=1e-4, rtol=1e-5)
        torch.testing.assert_close(out.frames8[layer, ..., 0].t, T.t)
        torch.testing.assert_close(T.R @ T.R.mT, torch.eye(3).expand_as(T.R), atol=1e-5, rtol=0)
        torch.testing.assert_close(
            out.angles[layer].norm(dim=-1), torch.ones(2, 12, 7), atol=1e-5, rtol=0
        )
    steps = [(b.t - a.t).abs().max() for a, b in zip(out.frames, out.frames[1:])]
    assert min(steps) > 0.1  # every layer moves the residues


def test_an_untrained_module_leaves_the_frames_where_they_start():
    s, z, aatype, mask = random_input(b=1, n=5)
    hole = StructureModule(NANO)(s, z, aatype, mask).frames[-1]
    assert torch.equal(hole.t, torch.zeros(1, 5, 3))
    line = StructureModule(NANO.replace(start="line"))(s, z, aatype, mask).frames[-1]
    torch.testing.assert_close(line.t[0, :, 0], torch.tensor([-3.0, -1.5, 0.0, 1.5, 3.0]))
    assert (line.t[..., 1:] == 0).all()
    for T in (hole, line):
        torch.testing.assert_close(T.R, torch.eye(3).expand(1, 5, 3, 3))
    with pytest.raises(BadInput, match="black_hole"):
        StructureModule(NANO.replace(start="circle"))


def test_gradients_pass_between_layers_through_translations_only():
    module, (s, z, aatype, mask) = random_module(), random_input(b=1)
    rotations: list[torch.Tensor] = []
    translations: list[torch.Tensor] = []

    def watch(_, args):
        T = args[3]
        rotations.append(T.R)
        translations.append(T.t)

    hook = module.iteration.register_forward_pre_hook(watch)
    out = module(s.requires_grad_(), z, aatype, mask)
    hook.remove()
    assert len(rotations) == NANO.structure_layers
    assert not any(R.requires_grad for R in rotations)
    assert all(t.requires_grad for t in translations[1:])
    # yet each layer's own rotation is trained
    for T in out.frames:
        grad = torch.autograd.grad(T.R.square().mul(torch.rand(3, 3)).sum(), s, retain_graph=True)
        assert grad[0].abs().max() > 0


def test_one_set_of_weights_for_all_layers():
    few, many = (StructureModule(NANO.replace(structure_layers=n)) for n in (1, 8))
    count = [sum(p.numel() for p in m.parameters()) for m in (few, many)]
    assert count[0] == count[1]


def test_iteration_is_equivariant_for_given_frames():
    """Moving the frames moves the new frames and leaves s and the torsions alone."""
    module = random_module().iteration.double()
    s, z, _, mask = (x.double() for x in random_input(b=1))
    q = torch.nn.functional.normalize(torch.randn(1, 1, 6).double(), dim=-1)
    move = Rigid.from_update(5 * q)
    T = Rigid.from_update(torch.randn(1, 12, 6).double())
    s1, T1, raw1, _ = module(s, s, z, T, mask)
    s2, T2, raw2, _ = module(s, s, z, move.compose(T), mask)
    torch.testing.assert_close(s1, s2)
    torch.testing.assert_close(raw1, raw2)
    expected = move.compose(T1)
    torch.testing.assert_close(T2.R, expected.R)
    torch.testing.assert_close(T2.t, expected.t)
    assert not torch.allclose(T1.t, T.t, atol=0.01)


def test_float32_inside_under_autocast():
    module, (s, z, aatype, mask) = random_module(), random_input()
    exact = module(s, z, aatype, mask)
    with torch.autocast("cpu", torch.bfloat16):
        out = module(s, z, aatype, mask)
        half = module(s.bfloat16(), z.bfloat16(), aatype, mask)
    assert torch.equal(out.atom14, exact.atom14)
    assert half.s.dtype == half.atom14.dtype == torch.float32
    assert torch.isfinite(half.atom14).all()


def test_dropout_is_on_in_training_only():
    config = NANO.replace(structure_dropout=0.5)
    module, args = random_module(config), random_input(config=config)
    assert torch.equal(module(*args).s, module(*args).s)
    module.train()
    assert not torch.equal(module(*args).s, module(*args).s)
    iteration = FoldIteration(config)
    calls: list[torch.Size] = []
    iteration.dropout.register_forward_hook(lambda m, i, o: calls.append(o.shape))
    s, z, _, mask = args
    iteration(s, s, z, Rigid.identity(mask.shape), mask)
    assert calls == [s.shape, s.shape]  # after the attention and after the transition


def test_torsions_of_zero_input_are_finite():
    net = TorsionResNet(NANO)
    torch.nn.init.zeros_(net.output.weight)
    s = torch.zeros(1, 2, NANO.c_s, requires_grad=True)
    raw, angles = net(s, s)
    (raw.sum() + angles.sum()).backward()
    assert torch.isfinite(angles).all() and torch.isfinite(net.output.weight.grad).all()
