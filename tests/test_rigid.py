"""Rigid motions form a group, and quaternions and matrices say the same."""

import math

import pytest
import torch

from minifold.model.rigid import Rigid, quaternion_multiply, quaternion_to_rotation, rotate


def random_rigid(*shape, dtype=torch.float64, size=10.0) -> Rigid:
    q = torch.nn.functional.normalize(torch.randn(*shape, 4, dtype=dtype), dim=-1)
    return Rigid(quaternion_to_rotation(q), size * torch.randn(*shape, 3, dtype=dtype))


def same(a: Rigid, b: Rigid, tol: float = 1e-10) -> bool:
    return torch.allclose(a.R, b.R, atol=tol) and torch.allclose(a.t, b.t, atol=tol)


def test_group_laws():
    A, B, C = (random_rigid(5) for _ in range(3))
    identity = Rigid.identity((5,), dtype=torch.float64)
    assert same(A.compose(B).compose(C), A.compose(B.compose(C)))
    assert same(A.compose(identity), A) and same(identity.compose(A), A)
    assert same(A.compose(A.inverse()), identity) and same(A.inverse().compose(A), identity)
    assert not same(A.compose(B), B.compose(A))


def test_apply_is_the_action_of_the_group():
    A, B, x = random_rigid(5), random_rigid(5), torch.randn(5, 3, dtype=torch.float64)
    torch.testing.assert_close(A.compose(B).apply(x), A.apply(B.apply(x)))
    torch.testing.assert_close(A.invert_apply(A.apply(x)), x)
    torch.testing.assert_close(A.inverse().apply(x), A.invert_apply(x))
    points = torch.randn(5, 7, 3, dtype=torch.float64)
    moved = A[:, None].apply(points)
    torch.testing.assert_close(torch.cdist(moved, moved), torch.cdist(points, points))


def test_quaternions_and_matrices_agree():
    p, q = torch.nn.functional.normalize(torch.randn(2, 6, 4, dtype=torch.float64), dim=-1)
    P, Q = quaternion_to_rotation(p), quaternion_to_rotation(q)
    torch.testing.assert_close(quaternion_to_rotation(quaternion_multiply(p, q)), P @ Q)
    torch.testing.assert_close(quaternion_to_rotation(-q), Q)
    torch.testing.assert_close(torch.linalg.det(P), torch.ones(6, dtype=torch.float64))
    torch.testing.assert_close(P @ P.mT, torch.eye(3, dtype=torch.float64).expand(6, 3, 3))


def test_quaternion_of_a_known_rotation():
    half = math.radians(90) / 2
    R = quaternion_to_rotation(torch.tensor([math.cos(half), 0.0, 0.0, math.sin(half)]))
    torch.testing.assert_close(rotate(R, torch.tensor([1.0, 0.0, 0.0])), torch.tensor([0.0, 1, 0]))


def test_frame_of_three_points():
    T = Rigid.from_3_points(*(torch.tensor(x) for x in ([1.0, 3, 2], [1.0, 1, 2], [4.0, 1, 2])))
    torch.testing.assert_close(T.R, torch.eye(3))
    torch.testing.assert_close(T.t, torch.tensor([1.0, 1, 2]))


def test_frames_move_with_their_points():
    n, ca, c = torch.randn(3, 9, 3, dtype=torch.float64)
    T, move = Rigid.from_3_points(n, ca, c), random_rigid(1)
    moved = Rigid.from_3_points(*(move.apply(x) for x in (n, ca, c)))
    assert same(moved, move.compose(T), tol=1e-7)
    local = T.invert_apply(n)
    assert (local[:, 1] > 0).all() and local[:, 2].abs().max() < 1e-6
    torch.testing.assert_close(T.invert_apply(c)[:, 1:], torch.zeros(9, 2, dtype=torch.float64))


def test_degenerate_points_give_finite_frames_and_gradients():
    x = torch.zeros(3, 2, 3, requires_grad=True)
    T = Rigid.from_3_points(*x)
    (T.R.sum() + T.t.sum()).backward()
    assert torch.isfinite(T.R).all() and torch.isfinite(x.grad).all()


def test_update_of_zeros_is_the_identity_and_turns_about_its_axis():
    assert same(Rigid.from_update(torch.zeros(4, 6)), Rigid.identity((4,)))
    angle = math.radians(40)
    update = torch.tensor([math.tan(angle / 2), 0, 0, 1.0, 2.0, 3.0])
    T = Rigid.from_update(update)
    cos, sin = math.cos(angle), math.sin(angle)
    expected = [[1, 0, 0], [0, cos, -sin], [0, sin, cos]]
    torch.testing.assert_close(T.R, torch.tensor(expected))
    torch.testing.assert_close(T.t, torch.tensor([1.0, 2, 3]))


def test_gradients_are_right():
    update = torch.randn(2, 6, dtype=torch.float64, requires_grad=True)
    points = torch.randn(3, 2, 3, dtype=torch.float64, requires_grad=True)

    def f(update, points):
        T = Rigid.from_3_points(*points).compose(Rigid.from_update(update))
        return T.inverse().apply(points[0]), T.R

    assert torch.autograd.gradcheck(f, (update, points))


@pytest.mark.parametrize("index", [0, (0, 1), (slice(None), 2), (..., None), (None, 1)])
def test_indexing_is_that_of_the_shape(index):
    T = random_rigid(3, 4)
    numbers = torch.arange(12).reshape(3, 4)[index]
    picked = T[index]
    assert picked.shape == numbers.shape
    torch.testing.assert_close(picked.t, T.t.reshape(12, 3)[numbers])
    torch.testing.assert_close(picked.R, T.R.reshape(12, 3, 3)[numbers])


@pytest.mark.parametrize("dim", [0, 1, -1])
def test_stack_is_undone_by_indexing(dim):
    A, B = random_rigid(3), random_rigid(3)
    both = Rigid.stack([A, B], dim)
    assert same(both.map(lambda x: x)[(0,) if dim == 0 else (slice(None), 0)], A)
    assert same(both[(1,) if dim == 0 else (slice(None), 1)], B)


def test_scale_and_stopped_gradient():
    T = random_rigid(2)
    assert same(T.scale(10.0), Rigid(T.R, T.t * 10))
    R, t = T.R.clone().requires_grad_(), T.t.clone().requires_grad_()
    stopped = Rigid(R, t).stop_rotation_gradient()
    stopped.apply(torch.ones(2, 3, dtype=torch.float64)).sum().backward()
    assert R.grad is None and (t.grad == 1).all()


def test_geometry_stays_in_float32_under_autocast():
    T, x = random_rigid(8, dtype=torch.float32, size=100.0), torch.randn(8, 3)
    with torch.autocast("cpu", torch.bfloat16):
        inside = [T.apply(x), T.invert_apply(x), T.compose(T.inverse()).t, T.compose(T).R]
    outside = [T.apply(x), T.invert_apply(x), T.compose(T.inverse()).t, T.compose(T).R]
    for a, b in zip(inside, outside):
        assert a.dtype == torch.float32 and torch.equal(a, b)
