"""The checks of lesson 06 accept every right answer and say what is wrong with a wrong one."""

import numpy as np
import pytest
import torch

from minifold.checks import CheckFailed, check
from minifold.checks.lesson_06 import BrokenPairStack, bounds, examine, hidden_maps
from minifold.model.pair_stack import PairStack


def wrong_with(name, answer, message):
    with pytest.raises(CheckFailed, match=message) as caught:
        check(name, answer)
    assert str(caught.value).startswith(f"{name}: ") and "\n" not in str(caught.value)


# --- tighten --------------------------------------------------------------------------------------


def tighten(U):
    U = np.asarray(U)
    return np.minimum(U, (U[:, :, None] + U[None]).min(axis=1))


def tighten_lists(U):
    n = range(len(U))
    return [[min(U[i][j], min(U[i][k] + U[k][j] for k in n)) for j in n] for i in n]


@pytest.mark.parametrize(
    "answer",
    [
        tighten,
        tighten_lists,
        lambda U: (U[:, :, None] + U[None]).amin(dim=1),  # k = i is the direct way
        lambda U: torch.tensor(tighten(U)),
    ],
)
def test_right_tighten(answer, capsys):
    check("tighten", answer)
    assert capsys.readouterr().out.startswith("✓ tighten: ")


def all_the_way(U):
    """Shortest paths: more than one round."""
    for _ in range(len(U)):
        U = tighten(U)
    return U


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda U: (np.asarray(U)[:, :, None] + np.asarray(U)[None]).max(axis=1), "largest detour"),
        (lambda U: (np.asarray(U)[:, :, None] + np.asarray(U)[None]).sum(axis=1), "added up"),
        (lambda U: abs(U[:, :, None] - U[None]).max(axis=1), "subtracted"),
        (lambda U: U, "nothing is tightened"),
        (lambda U: None, "returned None"),
        (all_the_way, "expected"),
    ],
)
def test_wrong_tighten(answer, message):
    wrong_with("tighten", answer, message)


def test_detours_without_the_direct_way():
    def answer(U):
        U = np.asarray(U)
        n = len(U)
        return [
            [min(U[i][k] + U[k][j] for k in range(n) if k not in (i, j)) for j in range(n)]
            for i in range(n)
        ]

    wrong_with("tighten", answer, "direct bound is forgotten")


# --- outgoing -------------------------------------------------------------------------------------


def outgoing(layer, z, mask, edges="...ikc,...jkc->...ijc", normed=True, gates=True, mask_at="ab"):
    x = layer.norm(z) if normed else z
    m = mask[..., None]
    a, b = layer.a(x), layer.b(x)
    if gates:
        a, b = a * torch.sigmoid(layer.a_gate(x)), b * torch.sigmoid(layer.b_gate(x))
    a = a * m if "a" in mask_at else a
    b = b * m if "b" in mask_at else b
    out = layer.output(layer.norm_output(torch.einsum(edges, a, b))) * layer.gate(x).sigmoid()
    return out * m if "o" in mask_at else out


def test_right_outgoing():
    check("outgoing", outgoing)
    check("outgoing", lambda layer, z, mask: layer(z[None], mask[None])[0])
    check("outgoing", lambda layer, z, mask: layer(z, mask))  # with a batch axis
    check("outgoing", lambda layer, z, mask: outgoing(layer, z, mask, mask_at="abo"))
    check("outgoing", lambda layer, z, mask: outgoing(layer, z, mask).numpy())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"edges": "...kic,...kjc->...ijc"}, "Algorithm 12"),
        ({"edges": "...ikc,...kjc->...ijc"}, "i→k and k→j"),
        ({"edges": "...jkc,...ikc->...ijc"}, "exchanged"),
        ({"normed": False}, "not normalised first"),
        ({"gates": False}, "gates of a and b are missing"),
        ({"mask_at": ""}, "mask is forgotten"),
        ({"mask_at": "o"}, "mask is forgotten"),
    ],
)
def test_wrong_outgoing(change, message):
    wrong_with("outgoing", lambda *args: outgoing(*args, **change), message)


def test_other_wrong_outgoing():
    wrong_with("outgoing", lambda layer, z, mask: z + outgoing(layer, z, mask), "stack does that")
    wrong_with("outgoing", lambda layer, z, mask: outgoing(layer, z, mask)[..., :3], "shape")
    wrong_with("outgoing", lambda layer, z, mask: None, "returned None")

    def no_gate(layer, z, mask):
        return outgoing(layer, z, mask) / layer.gate(layer.norm(z)).sigmoid()

    wrong_with("outgoing", no_gate, "gate of the result")


# --- find the bug ---------------------------------------------------------------------------------


class Mended(BrokenPairStack):
    def forward(self, z, pair_mask):
        z = z + self.dropout_row(self.triangle_outgoing(z, pair_mask))
        z = z + self.dropout_row(self.triangle_incoming(z, pair_mask))
        z = z + self.dropout_row(self.triangle_starting(z, pair_mask))
        z = z + self.dropout_column(self.triangle_ending(z, pair_mask))
        return z + self.transition(z)


def variant(body):
    return type("Variant", (BrokenPairStack,), {"forward": body})


def test_right_pair_stack(capsys):
    check("pair_stack", Mended)
    assert "all five" in capsys.readouterr().out
    check("pair_stack", PairStack)


def test_the_broken_stack_is_broken_in_two_ways():
    wrong = {name for name, words in examine(BrokenPairStack).items() if words}
    assert wrong == {"padding changes nothing", "dropout is shared along the right axis"}
    assert not any(examine(PairStack).values())
    wrong_with("pair_stack", BrokenPairStack, "padding changes nothing.*and 1 more")


def dropout_only(self, z, pair_mask):
    ones = torch.ones_like(pair_mask)
    return Mended.forward(self, z, ones) * pair_mask[..., None]


def mask_only(self, z, pair_mask):
    z = z + self.dropout_row(self.triangle_outgoing(z, pair_mask))
    z = z + self.dropout_row(self.triangle_incoming(z, pair_mask))
    z = z + self.dropout_column(self.triangle_starting(z, pair_mask))
    z = z + self.dropout_row(self.triangle_ending(z, pair_mask))
    return z + self.transition(z)


def no_dropout(self, z, pair_mask):
    was = self.training
    out = Mended.forward(self.eval(), z, pair_mask)
    self.train(was)
    return out


def no_residual(self, z, pair_mask):
    return Mended.forward(self, z, pair_mask) - z


def mixed(self, z, pair_mask):
    return Mended.forward(self, z + 0.1 * (z.mean(0, keepdim=True) - z), pair_mask)


def ordered(self, z, pair_mask):
    return Mended.forward(self, z, pair_mask) + 0.1 * torch.tril(z.transpose(1, 3)).transpose(
        1, 3
    ) * (self.transition.linear_2.weight.abs().sum() > 0)


def parallel(self, z, pair_mask):
    return z + sum(
        layer
        for layer in (
            self.dropout_row(self.triangle_outgoing(z, pair_mask)),
            self.dropout_row(self.triangle_incoming(z, pair_mask)),
            self.dropout_row(self.triangle_starting(z, pair_mask)),
            self.dropout_column(self.triangle_ending(z, pair_mask)),
            self.transition(z),
        )
    )


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (dropout_only, "padding changes nothing"),
        (mask_only, "dropout is shared.*triangle_starting should be the same in all rows.*columns"),
        (no_dropout, "nothing of triangle_outgoing is dropped"),
        (no_residual, "a new stack adds nothing"),
        (mixed, "do not mix"),
        (ordered, "numbering of residues"),
        (parallel, "one after the other"),
    ],
)
def test_wrong_pair_stack(body, message):
    wrong_with("pair_stack", variant(body), message)


def test_no_stack_at_all():
    wrong_with("pair_stack", lambda: None, "made and called as PairStack.*TypeError")


# --- completion -----------------------------------------------------------------------------------


def middle(seen, known):
    lower, upper = bounds(seen, known)
    return (lower + upper) / 2


def test_bounds_hold():
    maps, known = hidden_maps(8)
    assert 0.2 < known.mean() < 0.4 and (known == known.transpose(0, 2, 1)).all()
    for distance, there in zip(maps, known):
        lower, upper = bounds(np.where(there, distance, -7.0) * there, there)
        assert (lower <= distance + 1e-6).all() and (distance <= upper + 1e-6).all()
        assert np.allclose(lower[there], distance[there]) and np.allclose(
            upper[there], distance[there]
        )


def test_wrong_completion():
    wrong_with("completion", middle, "mean error 1.44.*the target is 1.37")
    wrong_with("completion", lambda seen, known: seen, "mean error")
    wrong_with("completion", lambda seen, known: None, "NoneType")
    wrong_with("completion", lambda seen, known: seen[:3], r"shape \(3, 20\)")
    wrong_with("completion", lambda seen, known: seen @ 3, "raised")
    wrong_with("completion", lambda seen, known: seen / 0 if known.any() else seen, "finite")


def test_right_completion(capsys):
    """Whoever knows the answer passes."""
    maps, known = hidden_maps(24)
    answers = {(np.where(k, d, 0)).tobytes(): d for d, k in zip(maps, known)}
    check("completion", lambda seen, known: answers[seen.tobytes()] + 1)
    assert "mean error 1.00 Å" in capsys.readouterr().out
