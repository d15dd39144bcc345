"""Rigid motions: a rotation and a translation per residue (supplement 1.8, Algorithms 21 and 23).

Geometry is computed in the precision of the frame, float32 or float64, never in bfloat16: a
rotation of 8 significant bits moves an atom 30 Å away by 0.1 Å. Autocast is therefore off here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Rigid:
    """T = (R, t): a point x of the local frame is at R x + t in the global frame.

    ``R`` is a rotation matrix whose columns are the axes of the frame; ``t`` its origin, in Å
    unless said otherwise. Leading axes are free; `apply` and `compose` broadcast them.
    """

    R: Float[Tensor, "*shape 3 3"]
    t: Float[Tensor, "*shape 3"]

    @classmethod
    def identity(
        cls, shape: Sequence[int], device: torch.device | None = None, dtype=torch.float32
    ) -> Rigid:
        """The identity for every element of ``shape``."""
        R = torch.eye(3, device=device, dtype=dtype).expand(*shape, 3, 3)
        return cls(R, torch.zeros(*shape, 3, device=device, dtype=dtype))

    @classmethod
    def from_axes(
        cls,
        x_axis: Float[Tensor, "*shape 3"],
        xy_plane: Float[Tensor, "*shape 3"],
        origin: Float[Tensor, "*shape 3"],
    ) -> Rigid:
        """Frame with x along the first vector, the second vector in the xy plane with y > 0.

        The Gram-Schmidt process of Algorithm 21. Degenerate input gives a matrix that is no
        rotation, but no NaN, and finite gradients; such frames must be masked.
        """
        e1 = _unit(x_axis)  # Alg. 21 line 3
        e2 = _unit(xy_plane - (xy_plane * e1).sum(-1, keepdim=True) * e1)  # lines 4, 5
        e3 = torch.linalg.cross(e1, e2)  # line 6
        return cls(torch.stack([e1, e2, e3], dim=-1), origin)  # lines 7, 8

    @classmethod
    def from_3_points(
        cls,
        x1: Float[Tensor, "*shape 3"],
        x2: Float[Tensor, "*shape 3"],
        x3: Float[Tensor, "*shape 3"],
    ) -> Rigid:
        """Algorithm 21, rigidFrom3Points: origin x2, x axis towards x3, x1 in the xy plane.

        For the backbone the points are N, CA and C.
        """
        return cls.from_axes(x3 - x2, x1 - x2, x2)  # lines 1, 2

    @classmethod
    def from_update(cls, update: Float[Tensor, "*shape 6"]) -> Rigid:
        """The rigid motion of six unconstrained numbers (b, c, d, tx, ty, tz): Algorithm 23.

        The quaternion (1, b, c, d) is normalised; zeros give the identity. The frames are
        updated by composition from the right, ``T.compose(Rigid.from_update(x))``.
        """
        bcd, t = update.split(3, dim=-1)
        q = torch.cat([torch.ones_like(bcd[..., :1]), bcd], dim=-1)
        q = q / q.square().sum(-1, keepdim=True).sqrt()  # Alg. 23 line 2
        return cls(quaternion_to_rotation(q), t)  # line 3

    @property
    def shape(self) -> torch.Size:
        return self.t.shape[:-1]

    def __getitem__(self, index) -> Rigid:
        index = index if isinstance(index, tuple) else (index,)
        return Rigid(self.R[(*index, slice(None), slice(None))], self.t[(*index, slice(None))])

    def map(self, f: Callable[[Tensor], Tensor]) -> Rigid:
        """``f`` of the rotation and of the translation."""
        return Rigid(f(self.R), f(self.t))

    @staticmethod
    def stack(rigids: Sequence[Rigid], dim: int = 0) -> Rigid:
        """Join along a new axis ``dim`` of the shape."""
        dim %= len(rigids[0].shape) + 1
        return Rigid(
            torch.stack([T.R for T in rigids], dim), torch.stack([T.t for T in rigids], dim)
        )

    def apply(self, x: Float[Tensor, "*points 3"]) -> Float[Tensor, "*shape 3"]:
        """Local to global: R x + t. The frame's shape broadcasts against that of the points."""
        return rotate(self.R, x) + self.t

    def invert_apply(self, x: Float[Tensor, "*points 3"]) -> Float[Tensor, "*shape 3"]:
        """Global to local: Rᵀ (x - t)."""
        return rotate(self.R.mT, x.to(self.t.dtype) - self.t)

    def compose(self, other: Rigid) -> Rigid:
        """self ∘ other: first ``other``, then ``self``."""
        with torch.autocast(self.R.device.type, enabled=False):
            R = self.R @ other.R.to(self.R.dtype)
        return Rigid(R, self.apply(other.t))

    def inverse(self) -> Rigid:
        """The motion that undoes this one."""
        return Rigid(self.R.mT, -rotate(self.R.mT, self.t))

    def scale(self, factor: float) -> Rigid:
        """The same rotation with the translation multiplied: a change of the unit of length."""
        return Rigid(self.R, self.t * factor)

    def stop_rotation_gradient(self) -> Rigid:
        """The same frame, through whose rotation no gradient flows (Alg. 20 line 20)."""
        return Rigid(self.R.detach(), self.t)


def rotate(R: Float[Tensor, "*shape 3 3"], x: Float[Tensor, "*points 3"]) -> Tensor:
    """R x, with leading axes that broadcast, in the precision of R."""
    with torch.autocast(R.device.type, enabled=False):
        return torch.einsum("...xy,...y->...x", R, x.to(R.dtype))


def quaternion_multiply(
    p: Float[Tensor, "*shape 4"], q: Float[Tensor, "*shape 4"]
) -> Float[Tensor, "*shape 4"]:
    """Hamilton product p q of quaternions (w, x, y, z); as rotations: first q, then p."""
    pw, pv = p[..., :1], p[..., 1:]
    qw, qv = q[..., :1], q[..., 1:]
    w = pw * qw - (pv * qv).sum(-1, keepdim=True)
    return torch.cat([w, pw * qv + qw * pv + torch.linalg.cross(pv, qv)], dim=-1)


def quaternion_to_rotation(q: Float[Tensor, "*shape 4"]) -> Float[Tensor, "*shape 3 3"]:
    """Rotation matrix of a unit quaternion (w, x, y, z): Algorithm 23 line 3."""
    w, x, y, z = q.unbind(-1)
    rows = [
        [w * w + x * x - y * y - z * z, 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), w * w - x * x + y * y - z * z, 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), w * w - x * x - y * y + z * z],
    ]
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


def _unit(v: Tensor) -> Tensor:
    """v / |v|, safe at zero (1e-8 under the root, as in DeepMind's code)."""
    return v / (v.square().sum(-1, keepdim=True) + 1e-8).sqrt()
