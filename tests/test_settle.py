"""Cα atoms at possible distances: a heap becomes a chain, and a chain stays what it is."""

from __future__ import annotations

import pytest
import torch

from minifold.config import preset
from minifold.data.features import make_batch
from minifold.data.structures import read_structure
from minifold.model.alphafold import AlphaFold
from minifold.model.settle import settle
from minifold.training.metrics import ca_ca_error, clashes
from tests.conftest import ROOT

CA = 1


def heap(b: int = 3, n: int = 50, seed: int = 0) -> torch.Tensor:
    """A random chain with bonds from 2 to 6 Å, in a third of the space that it should take."""
    generator = torch.Generator().manual_seed(seed)
    steps = torch.randn(b, n, 3, generator=generator)
    lengths = 2 + 4 * torch.rand(b, n, 1, generator=generator)
    x = (steps / steps.norm(dim=-1, keepdim=True) * lengths).cumsum(1)
    x = x - x.mean(1, keepdim=True)
    return x * 8 / x.square().sum(-1).mean(-1).sqrt()[:, None, None]


def quality(x: torch.Tensor) -> tuple[float, float]:
    mask, index = torch.ones(x.shape[:2]), torch.arange(x.shape[1]).expand(x.shape[:2])
    return float(clashes(x, mask).mean()), float(ca_ca_error(x, mask, index).mean())


def test_a_heap_becomes_a_chain():
    x = heap()
    before, after = quality(x), quality(settle(x, torch.ones(x.shape[:2])))
    assert before[0] > 0.2 and before[1] > 0.5
    assert after[0] < 0.01 and after[1] < 0.05


@pytest.mark.parametrize("name", ["1ubq", "2gb1", "1crn"])
def test_a_real_chain_stays(name):
    x = torch.from_numpy(read_structure(ROOT / "data/structures" / f"{name}.cif").positions[:, CA])
    moved = (settle(x[None], torch.ones(1, len(x)))[0] - x).norm(dim=-1)
    assert moved.mean() < 0.05 and moved.max() < 0.5


def test_it_turns_with_the_chain_and_padding_changes_nothing():
    x = heap().double()
    mask = torch.ones(x.shape[:2]).double()
    turn, _ = torch.linalg.qr(
        torch.randn(3, 3, generator=torch.Generator().manual_seed(1)).double()
    )
    y = settle(x, mask)
    assert torch.allclose(settle(x @ turn + 5, mask), y @ turn + 5, atol=1e-6)
    longer = torch.cat([x, torch.zeros(3, 4, 3).double()], 1)
    padded = settle(longer, torch.cat([mask, torch.zeros(3, 4).double()], 1))
    assert torch.allclose(padded[:, :50], y) and torch.equal(padded[:, 50:], longer[:, 50:])


def test_points_in_one_place_and_what_is_no_number_do_no_harm():
    same = settle(torch.zeros(1, 5, 3), torch.ones(1, 5))
    assert torch.isfinite(same).all()
    assert settle(torch.full((1, 5, 3), torch.nan), torch.ones(1, 5)).isnan().all()
    assert settle(torch.zeros(1, 1, 3), torch.ones(1, 1)).shape == (1, 1, 3)


def test_only_models_that_ask_for_it_settle():
    """The same weights, with and without; the other layers, and a training, know nothing of it."""
    chain = read_structure(ROOT / "data" / "structures" / "1l2y.cif")
    assert not preset("nano").settle and not preset("alphafold2").settle
    torch.manual_seed(0)
    plain = AlphaFold(preset("nano")).eval()
    settled = AlphaFold(preset("nano").replace(settle=True)).eval()
    settled.load_state_dict(plain.state_dict())
    batch = make_batch(None, chain, plain.config)
    with torch.no_grad():
        one, two = (model(batch, recycles=0).structure for model in (plain, settled))
        three = settled.train()(batch, recycles=0).structure
    assert torch.equal(one.atom14[:-1], two.atom14[:-1])
    assert torch.equal(one.atom14, three.atom14)
    ca, expected = two.atom14[-1, :, :, CA], settle(one.atom14[-1, :, :, CA], batch.seq_mask)
    assert torch.allclose(ca, expected, atol=1e-4)
    assert torch.equal(two.frames[-1].R, one.frames[-1].R)
