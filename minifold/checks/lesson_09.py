"""Exercises of lesson 09: recycling."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from minifold.checks import CheckFailed, exercise, expect
from minifold.model.embed import distance_bins

EDGES = np.linspace(3.25, 20.75, 15)  # Å, lower edges of the bins


def _forms(*arrays: np.ndarray) -> list[tuple]:
    """Arrays, tensors of both precisions, and lists."""
    tensors = [torch.from_numpy(a.copy()) for a in arrays]
    floats = [x.float() for x in tensors]
    return [arrays, tuple(tensors), tuple(floats), tuple(a.tolist() for a in arrays)]


# --- Distance bins --------------------------------------------------------------------------------


@exercise("recycle_bins")
def _check_recycle_bins(function: Callable) -> str:
    line = np.array([0.0, 3.0, 4.0, 9.1, 25.0])
    cloud = np.random.default_rng(9).normal(size=(7, 3)) * 7
    cases = (
        ("for five points on a line, at 0, 3, 4, 9.1 and 25 Å", line[:, None] * [1, 0, 0]),
        ("for seven random points", cloud),
    )
    for case, x in cases:
        d = np.linalg.norm(x[:, None] - x[None], axis=-1)[..., None]
        above = d > EDGES
        right = above & (d < np.append(EDGES[1:], np.inf))
        assert np.array_equal(right, distance_bins(torch.as_tensor(x), 3.25, 20.75, 15).bool())
        closed = above & (d < np.append(EDGES[1:], EDGES[-1] + 1.25))
        nearest = np.eye(15)[abs(d - EDGES).argmin(-1)]
        first = right.copy()
        first[..., 0] |= d[..., 0] < EDGES[0]
        slips = {
            "the last bin ends; it has to take everything above 20.75 Å": closed,
            "what is nearer than 3.25 Å goes into the first bin; it belongs to none": first,
            "each distance goes to the nearest edge; 3.25 is the lower edge of the first bin": (
                nearest
            ),
            "every edge below the distance counts, not the last one alone": above,
            "squared distances are compared with edges that are not squared": (
                (d**2 > EDGES) & (d**2 < np.append(EDGES[1:], np.inf))
            ),
        }
        wanted = right.astype(float)
        slips = {k: v.astype(float) for k, v in slips.items() if not np.array_equal(v, right)}
        expect(function, _forms(x), wanted, case, slips)
    return "one bin for each pair; none for the very near, the last one for the far"


# --- One pass of training -------------------------------------------------------------------------


class _Network:
    """Stands for the model: weight · (protein + previous) + 1, and keeps account of its calls."""

    def __init__(self):
        self.weight = torch.tensor(1.5, requires_grad=True)
        self.calls: list[tuple[Tensor, Tensor]] = []

    def __call__(self, protein: Tensor, previous: Tensor) -> Tensor:
        self.calls.append((protein, torch.as_tensor(previous)))
        return self.weight * (protein + previous) + 1


@exercise("train_pass")
def _check_train_pass(function: Callable) -> str:
    protein, nothing = torch.tensor([1.0, -2.0, 3.0]), torch.zeros(3)
    for recycles in (0, 3):
        rounds: Counter[int] = Counter()
        for _ in range(60 * (recycles + 1)):
            network = _Network()
            result = _call(function, network, protein, nothing, recycles)
            rounds[len(network.calls)] += 1
            _check_one_pass(network, result, protein, nothing, recycles)
        _check_rounds(rounds, recycles)
    return "1 to 4 passes, all equally often; only the last one has a gradient"


def _call(function: Callable, *arguments):
    try:
        return function(*arguments)
    except Exception as error:  # whatever the student's code raises belongs into the message
        raise CheckFailed(f"your function raised {type(error).__name__}: {error}") from None


def _check_one_pass(
    network: _Network, result: object, protein: Tensor, nothing: Tensor, recycles: int
) -> None:
    case = f"with recycles = {recycles}: "
    if not network.calls:
        raise CheckFailed(f"{case}the network was not called; recycles = 0 still takes one pass")
    if not isinstance(result, Tensor):
        raise CheckFailed(f"{case}expected the result of the last pass, got {result!r:.60}")
    weight, previous = float(network.weight), nothing
    for number, (shown, fed) in enumerate(network.calls, start=1):
        if not torch.equal(shown, protein):
            raise CheckFailed(f"{case}pass {number} has to see the protein itself, too")
        if not torch.allclose(fed.detach(), previous):
            what = "`nothing`" if number == 1 else "the result of the pass before"
            raise CheckFailed(f"{case}pass {number} has to be fed {what}")
        previous = weight * (protein + previous) + 1
    if not torch.allclose(result.detach(), previous):
        raise CheckFailed(f"{case}expected the result of the last pass, got another number")
    if not result.requires_grad:
        raise CheckFailed(f"{case}the result of the last pass has no gradient: nothing is learned")
    (gradient,) = torch.autograd.grad(result.sum(), network.weight)
    last = network.calls[-1]
    wanted = (last[0] + last[1].detach()).sum()
    if not torch.allclose(gradient, wanted):
        raise CheckFailed(
            f"{case}after {len(network.calls)} passes the gradient is {gradient:.4g}, of the last "
            f"pass alone it would be {wanted:.4g}: it flows through earlier passes, too"
        )


def _check_rounds(rounds: Counter[int], recycles: int) -> None:
    told = ", ".join(f"{n} × {rounds[n]}" for n in sorted(rounds))
    wanted = set(range(1, recycles + 2))
    if set(rounds) == {recycles + 1} and recycles:
        raise CheckFailed(
            f"with recycles = {recycles}: always {recycles + 1} passes; draw their number"
        )
    if set(rounds) != wanted:
        raise CheckFailed(
            f"with recycles = {recycles} there have to be 1 to {recycles + 1} passes; "
            f"counted (passes × how often): {told}"
        )
    if min(rounds.values()) < 0.5 * max(rounds.values()):
        raise CheckFailed(f"not all numbers of passes are equally likely; counted: {told}")


# --- When to stop ---------------------------------------------------------------------------------


@exercise("settled")
def _check_settled(function: Callable) -> str:
    rng = np.random.default_rng(3)
    old = rng.normal(size=(8, 3)) * 8
    q = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    one = old.copy()
    one[0] += [6.0, 0, 0]
    noisy = old + rng.normal(size=old.shape) * 0.2
    cases = {
        "the structure has not changed": old,
        "the structure was turned and moved by 30 Å": old @ q.T + [30.0, 0, 0],
        "every residue has moved a little": noisy,
        "one of eight residues has moved by 6 Å": one,
    }
    asked = []  # new structure, tolerance, answer
    for words, new in cases.items():
        size = _size(_distances(new) - _distances(old))
        for tolerance in (0.5,) if size < 1e-6 else (0.8 * size, 1.2 * size):
            wanted, got = size < tolerance, _answer(function, new, old, tolerance)
            asked.append((new, tolerance, got))
            if got != wanted:
                raise CheckFailed(
                    f"{words}: the distances change by {size:.3g} Å (root mean square), with a "
                    f"tolerance of {tolerance:.3g} Å the answer is {wanted}, not {got}"
                    f"{_reason(old, asked)}"
                )
    return "it stops when the distances do, wherever the protein lies"


def _distances(x: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n n"]:
    return np.linalg.norm(x[:, None] - x[None], axis=-1)


def _answer(function: Callable, new: np.ndarray, old: np.ndarray, tolerance: float) -> bool:
    errors = []
    for arguments in _forms(new, old):
        try:
            answer = function(*arguments, tolerance)
            if answer is not None:
                return bool(answer)
            errors.append("your function returned None; does it end with `return ...`?")
        except Exception as error:
            errors.append(f"your function raised {type(error).__name__}: {error}")
    raise CheckFailed(errors[0])


def _size(change: np.ndarray) -> float:
    return float(np.sqrt(np.square(change).mean()))


def _reason(old: np.ndarray, asked: list[tuple[np.ndarray, float, bool]]) -> str:
    """The first usual mistake that explains all answers so far."""
    usual = {
        "coordinates are compared, not distances": lambda new, change: _size(new - old),
        "the square root is missing": lambda _, change: np.square(change).mean(),
        "the largest change is taken": lambda _, change: abs(change).max(),
        "the mean of the changes is taken, not the root mean square": (
            lambda _, change: abs(change).mean()
        ),
    }
    for words, measure in usual.items():
        changes = [_distances(new) - _distances(old) for new, _, _ in asked]
        if all((measure(new, c) < limit) == got for (new, limit, got), c in zip(asked, changes)):
            return f" ({words}?)"
    return ""


# --- Find the bug ---------------------------------------------------------------------------------

Loop = Callable[[Callable, Callable, Tensor, int], Tensor]  # network, norm, x, recycles → result


def recycling_properties(loop: Loop) -> dict[str, bool]:
    """What has to be true of a recycling loop ``loop(network, norm, x, recycles)``.

    ``network(y)`` makes a result from y = x + norm(what is fed back), and recycles + 1 passes are
    run, the first of them on zeros.
    """
    generator = torch.Generator().manual_seed(1)
    a, b = torch.randn(2, 6, 16, generator=generator)
    norm = nn.LayerNorm(16)

    def network(scale: float = 1.0) -> Callable:
        linear = torch.randn(16, 16, generator=torch.Generator().manual_seed(2)) / 4
        linear.requires_grad_()
        inputs: list[Tensor] = []

        def run(y: Tensor) -> Tensor:
            inputs.append(y.detach().clone())
            return scale * torch.tanh(y @ linear)

        run.inputs, run.weight = inputs, linear
        return run

    def same(x: Tensor, y: Tensor) -> bool:
        return x.shape == y.shape and torch.allclose(x, y, atol=1e-5)

    once, four, again, small, large, last = (network(k) for k in (1.0, 1.0, 1.0, 1.0, 1000.0, 1.0))
    loop(once, norm, a, 0)
    loop(four, norm, a, 3)
    loop(network(), norm, b, 2)  # another protein in between
    after_b, after_a = loop(again, norm, a, 2), loop(network(), norm, a, 2)
    loop(small, norm, a, 1)
    loop(large, norm, a, 1)
    silent = [network(0.0), network(0.0)]  # nothing comes back from these
    for run, x in zip(silent, (a, b)):
        loop(run, norm, x, 1)
    loop(last, norm, a, 2).sum().backward()
    (alone,) = torch.autograd.grad(torch.tanh(last.inputs[-1] @ last.weight).sum(), last.weight)
    kept = [_kept(lambda r=r: loop(network(), norm, a, r)) for r in (0, 4)]
    return {
        "recycles = 0 is one pass, recycles = 3 are four": (
            len(once.inputs) == 1 and len(four.inputs) == 4
        ),
        "the first pass sees the protein and zeros": same(again.inputs[0], a),
        "the result does not depend on the protein before": same(after_a, after_b),
        "every pass sees the protein": all(len(run.inputs) == 2 for run in silent)
        and same(silent[0].inputs[1] - silent[1].inputs[1], a - b),
        "a result 1000 times as large is fed back as the same": len(large.inputs) > 1
        and torch.allclose(large.inputs[1], small.inputs[1], atol=1e-2),
        "the gradient is that of the last pass alone": last.weight.grad is not None
        and torch.allclose(last.weight.grad, alone, atol=1e-4),
        "four more passes keep no more for the backward pass": kept[1] <= 1.05 * kept[0],
    }


def _kept(run: Callable[[], Tensor]) -> int:
    """Bytes that the graph of the result keeps for the backward pass."""
    alive: Counter[int] = Counter()  # by size

    class Kept:  # dies with the graph that holds it
        def __init__(self, x: Tensor):
            self.size = x.nbytes
            alive[self.size] += 1

        def __del__(self):
            alive[self.size] -= 1

    with torch.autograd.graph.saved_tensors_hooks(Kept, lambda kept: None):
        result = run()
    total = sum(size * count for size, count in alive.items())
    del result
    return total


@exercise("mend_recycling")
def _check_mend_recycling(function: Callable) -> str:
    if len(inspect.signature(function).parameters) < 4:
        raise CheckFailed("the function has to take network, norm, x and recycles")
    try:
        found = recycling_properties(function)
    except Exception as error:
        raise CheckFailed(f"your function raised {type(error).__name__}: {error}") from None
    broken = [name for name, holds in found.items() if not holds]
    if broken:
        more = f" ({len(broken)} of {len(found)} properties fail)" if len(broken) > 1 else ""
        raise CheckFailed(f"this is not true yet: {broken[0]}{more}")
    return f"all {len(found)} properties hold"
