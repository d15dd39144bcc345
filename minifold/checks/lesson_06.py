"""Exercises of lesson 06: triangles."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from minifold.checks import CheckFailed, exercise, expect, to_array
from minifold.data.toyworld import ToyWorld
from minifold.model.pair_stack import PairStack, TriangleMultiplication

# --- Tightening bounds ----------------------------------------------------------------------------


@exercise("tighten")
def _check_tighten(function: Callable) -> str:
    rng = np.random.default_rng(6)
    for n, share in ((4, 0.4), (6, 0.4), (6, 1.0)):  # of unknown pairs, but for neighbours
        x = rng.normal(size=(n, 3)) * 5
        bounds = np.linalg.norm(x[:, None] - x[None], axis=-1) + 3 * rng.random((n, n))
        bounds = (bounds + bounds.T) / 2
        unknown = np.triu(rng.random((n, n)) < share, 2)
        bounds[unknown | unknown.T] = 1000
        np.fill_diagonal(bounds, 0)
        detours = bounds[:, :, None] + bounds[None]  # i, k, j
        wanted = np.minimum(bounds, detours.min(axis=1))
        other = np.where(np.eye(n, dtype=bool)[:, :, None] | np.eye(n, dtype=bool)[None], np.inf, 0)
        slips = {
            "the largest detour is taken instead of the smallest": detours.max(axis=1),
            "the detours are added up": detours.sum(axis=1),
            "only detours are looked at, and the direct bound is forgotten": (
                (detours + other).min(axis=1)
            ),
            "the two legs are subtracted (that gives a lower bound)": (
                abs(bounds[:, :, None] - bounds[None]).max(axis=1)
            ),
            "nothing is tightened": bounds,
        }
        tensor = torch.from_numpy(bounds)
        forms = [(bounds,), (tensor,), (tensor.float(),), (bounds.tolist(),)]
        expect(function, forms, wanted, f"for the bounds of {n} points", slips)
    return "every bound is as tight as one detour makes it"


# --- Algorithm 11 ---------------------------------------------------------------------------------


def _randomised(layer: nn.Module, seed: int) -> nn.Module:
    """The layer with random numbers in all weights (new ones have zeros in places)."""
    generator = torch.Generator().manual_seed(seed)
    for weight in layer.parameters():
        with torch.no_grad():
            weight.copy_(0.5 * torch.randn(weight.shape, generator=generator))
    return layer.eval()


@exercise("outgoing")
@torch.no_grad()
def _check_outgoing(function: Callable) -> str:
    layer = _randomised(TriangleMultiplication(6, 5, outgoing=True), 11)
    z = torch.randn(7, 7, 6, generator=torch.Generator().manual_seed(1))
    normed = layer.norm(z)
    for there in (7, 5):  # residues that exist
        seen = (torch.arange(7) < there).float()
        mask = seen[:, None] * seen[None]

        def update(x=normed, seen=mask, edges="ikc,jkc->ijc", gates=True, norm=True, gate=True):
            a, b = layer.a(x) * seen[..., None], layer.b(x) * seen[..., None]
            if gates:
                a, b = a * layer.a_gate(x).sigmoid(), b * layer.b_gate(x).sigmoid()
            product = torch.einsum(edges, a, b)
            product = layer.norm_output(product) if norm else product
            return layer.output(product) * (layer.gate(x).sigmoid() if gate else 1)

        wanted = update()
        slips = {
            "the edges that arrive at i and j are used (Algorithm 12, incoming)": update(
                edges="kic,kjc->ijc"
            ),
            "it is a plain matrix product, with the edges i→k and k→j": update(
                edges="ikc,kjc->ijc"
            ),
            "i and j are exchanged": update(edges="jkc,ikc->ijc"),
            "z is not normalised first (line 1)": update(x=z),
            "the product is not normalised (line 4)": update(norm=False),
            "the gate of the result is missing (line 3)": update(gate=False),
            "the gates of a and b are missing (line 2)": update(gates=False),
            "z is added to the result (the stack does that)": wanted + z,
        }
        if there < 7:
            slips |= {
                "the mask is forgotten, or put on the result only": update(seen=torch.ones(7, 7)),
            }

        def real(*args, there=there):
            answer = function(*args)
            answer = None if answer is None else to_array(answer)
            if answer is None or answer.ndim < 3:
                return answer
            answer = answer.reshape(answer.shape[-3:])  # with or without a batch axis
            return answer[:there, :there]

        slips = {name: np.array(x[:there, :there]) for name, x in slips.items()}
        case = f"for 7 residues, {there} of which exist"
        forms = [(layer, z.clone(), mask), (layer, z[None].clone(), mask[None])]
        expect(real, forms, np.array(wanted[:there, :there]), case, slips)
    return "the update is the package's, with and without masked residues"


# --- Find the bug ---------------------------------------------------------------------------------


class BrokenPairStack(PairStack):
    """The pair layers of an Evoformer block, with two mistakes of published programs."""

    def forward(self, z: Tensor, pair_mask: Tensor) -> Tensor:
        all_pairs = torch.ones_like(pair_mask)
        z = z + self.dropout_row(self.triangle_outgoing(z, all_pairs))
        z = z + self.dropout_row(self.triangle_incoming(z, all_pairs))
        z = z + self.dropout_column(self.triangle_starting(z, all_pairs))
        z = z + self.dropout_row(self.triangle_ending(z, all_pairs))
        z = z + self.transition(z)
        return z * pair_mask[..., None]  # masked pairs hold nothing


def _stack(make: Callable, dropout: float = 0.0, seed: int = 3) -> PairStack:
    """A stack of 6 channels with random numbers in all weights."""
    return _randomised(make(6, 5, 2, 2, dropout), seed)


def _pairs(n: int, b: int = 1, seed: int = 4) -> Tensor:
    return torch.randn(b, n, n, 6, generator=torch.Generator().manual_seed(seed))


def _new_adds_nothing(make: Callable) -> str | None:
    z = _pairs(5)
    out = make(6, 5, 2, 2, 0.0).eval()(z, torch.ones(1, 5, 5))
    if not torch.allclose(out, z, atol=1e-5):
        return (
            f"a new stack should hand on z as it is; it changes it by {(out - z).abs().max():.2g}"
        )


def _order_does_not_matter(make: Callable) -> str | None:
    stack, z, mask = _stack(make), _pairs(6), torch.ones(1, 6, 6)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    first = stack(z, mask)[:, order][:, :, order]
    second = stack(z[:, order][:, :, order], mask)
    if not torch.allclose(first, second, atol=1e-4):
        return f"numbering the residues differently changes z by {(first - second).abs().max():.2g}"


def _padding_changes_nothing(make: Callable) -> str | None:
    stack, z = _stack(make), _pairs(8)
    seen = (torch.arange(8) < 6).float()
    whole = stack(z, seen[None, :, None] * seen[None, None])[:, :6, :6]
    alone = stack(z[:, :6, :6], torch.ones(1, 6, 6))
    change = ((whole - alone).norm() / alone.norm()).item()
    if not change < 1e-4:
        return f"two padded residues behind six real ones change the real part of z by {change:.0%}"


def _proteins_do_not_mix(make: Callable) -> str | None:
    stack, z, mask = _stack(make), _pairs(5, b=2), torch.ones(2, 5, 5)
    change = (stack(z, mask)[:1] - stack(z[:1], mask[:1])).abs().max()
    if not change < 1e-4:
        return f"a second protein in the batch changes the first one by {change:.2g}"


def _dropout_is_shared(make: Callable) -> str | None:
    layers = ("triangle_outgoing", "triangle_incoming", "triangle_starting", "triangle_ending")
    for name in layers:
        stack, z = _stack(make, dropout=0.5), _pairs(9)
        others = [stack.transition.linear_2] + [
            last(stack.get_submodule(other)) for other in layers if other != name
        ]
        for other in others:  # all other layers add nothing
            other.weight.zero_()
            other.bias.zero_()
        torch.manual_seed(0)
        dropped = (stack.train()(z, torch.ones(1, 9, 9)) - z).abs() < 1e-6  # [1, i, j, c]
        rows = bool((dropped == dropped[:, :1]).all())  # the same in all rows i
        columns = bool((dropped == dropped[:, :, :1]).all())
        wanted = "columns" if name == "triangle_ending" else "rows"
        if not dropped.any():
            return f"nothing of {name} is dropped in training"
        if not (columns if wanted == "columns" else rows):
            found = "columns" if columns else "rows" if rows else "neither rows nor columns"
            return f"what is dropped of {name} should be the same in all {wanted}; found: {found}"


def last(layer: nn.Module) -> nn.Linear:
    """The last linear layer of a triangle layer."""
    return getattr(layer, "attention", layer).output


PROPERTIES: dict[str, Callable[[Callable], str | None]] = {
    "a new stack adds nothing": _new_adds_nothing,
    "the numbering of residues does not matter": _order_does_not_matter,
    "padding changes nothing": _padding_changes_nothing,
    "proteins of a batch do not mix": _proteins_do_not_mix,
    "dropout is shared along the right axis": _dropout_is_shared,
}


@torch.no_grad()
def examine(make: Callable) -> dict[str, str | None]:
    """Try the properties of a pair stack: name → what is wrong, None if it holds.

    Args:
        make: the class, called with (c_z, c_triangle, heads, factor, dropout) as `PairStack`.
    """
    return {name: test(make) for name, test in PROPERTIES.items()}


@exercise("pair_stack")
@torch.no_grad()
def _check_pair_stack(function: Callable) -> str:
    try:
        mine, ours = _stack(function), _stack(PairStack)
        wrong = {name: words for name, words in examine(function).items() if words}
    except Exception as error:
        raise CheckFailed(
            "give a class that is made and called as PairStack, such as a child of "
            f"BrokenPairStack; it raised {type(error).__name__}: {error}"
        ) from None
    if wrong:
        name, words = next(iter(wrong.items()))
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        raise CheckFailed(f"{name!r} does not hold: {words}{more}")
    z, mask = _pairs(6), torch.ones(1, 6, 6)
    if not torch.allclose(mine(z, mask), ours(z, mask), atol=1e-4):
        raise CheckFailed(
            "all properties hold, but the result is not that of PairStack: are the five layers "
            "called one after the other, each added to z?"
        )
    return "all five properties hold, and the result is the package's"


# --- Complete a map -------------------------------------------------------------------------------

LENGTH = 20  # residues of the pieces in this lesson


def pieces(block: int) -> np.ndarray:
    """Cα atoms [192, 20, 3] (Å) of pieces of toy proteins of 60 residues."""
    traces = np.stack(ToyWorld(length=3 * LENGTH, seed=1).ca_traces(block))
    return traces.reshape(-1, LENGTH, 3).astype(float)


def hidden_maps(count: int, block: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """Distance maps [count, 20, 20] (Å) of such pieces and which pairs are known (20 %)."""
    traces = pieces(block)[:count]
    distance = np.linalg.norm(traces[:, :, None] - traces[:, None], axis=-1)
    rng = np.random.default_rng(block)
    known = np.triu(rng.random(distance.shape) < 0.2, 2)
    known = known | known.transpose(0, 2, 1)
    apart = abs(np.subtract.outer(np.arange(LENGTH), np.arange(LENGTH)))
    return distance, known | (apart <= 1)


def bounds(seen: np.ndarray, known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper bound (Å) of every distance from the known ones, by the triangle inequality.

    Args:
        seen: [n, n], Å; anything where ``known`` is False.
    """
    upper = np.where(known, seen, 1e3)
    for k in range(len(upper)):  # shortest paths
        upper = np.minimum(upper, upper[:, k, None] + upper[None, k])
    lower = np.where(known, seen, 0.0)
    for _ in range(3):
        lower = np.maximum(lower, (lower[:, :, None] - upper[None]).max(axis=1))
        lower = np.maximum(lower, lower.T)
    return lower, upper


@exercise("completion")
def _check_completion(function: Callable) -> str:
    maps, known = hidden_maps(24)
    errors, floor = [], []
    for distance, there in zip(maps, known):
        seen = np.where(there, distance, 0.0)
        try:
            answer = function(seen.copy(), there.copy())
        except Exception as error:
            raise CheckFailed(
                f"it is given two arrays [20, 20]; it raised {type(error).__name__}: {error}"
            ) from None
        guess = None if answer is None else to_array(answer)
        if guess is None or guess.shape != distance.shape or not np.isfinite(guess).all():
            got = f"a {type(answer).__name__}" if guess is None else f"shape {guess.shape}"
            raise CheckFailed(f"return a map of 20 x 20 finite distances; got {got}")
        errors.append(abs(guess - distance)[~there].mean())
        middle = sum(bounds(seen, there)) / 2
        floor.append(abs(middle - distance)[~there].mean())
    told = f"mean error {np.mean(errors):.2f} Å on the hidden pairs of 24 toy pieces"
    if np.mean(errors) > 0.95 * np.mean(floor):
        raise CheckFailed(
            f"{told}; the middle between the bounds has {np.mean(floor):.2f} Å, "
            f"and the target is {0.95 * np.mean(floor):.2f} Å"
        )
    return f"{told}; the middle between the bounds has {np.mean(floor):.2f} Å"
