"""Frame aligned point error (Alg. 28): the loss that sees a structure from every residue."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from minifold.model.rigid import Rigid


def frame_aligned_point_error(
    frames: Rigid,
    true_frames: Rigid,
    frames_mask: Float[Tensor, "*b f"],
    points: Float[Tensor, "*b p 3"],
    true_points: Float[Tensor, "*b p 3"],
    points_mask: Float[Tensor, "*b p"],
    clamp: float | None = 10.0,
    scale: float = 10.0,
    eps: float = 1e-4,
) -> Float[Tensor, "*b"]:
    """Mean distance, in all frames, between points and true points as that frame sees them.

    Unchanged when prediction or truth are moved as a whole, but not by a reflection. Alg. 28.

    Args:
        frames, true_frames: rigids [*b, f], Å.
        clamp: largest error that counts, Å; None for no limit.
        scale: the unit of the result, Å.
    """
    seen = frames[..., :, None].invert_apply(points[..., None, :, :])  # line 1
    true = true_frames[..., :, None].invert_apply(true_points[..., None, :, :])  # line 2
    error = (eps + (seen - true).square().sum(-1)).sqrt()  # line 3
    if clamp is not None:
        error = error.clamp(max=clamp)
    pairs = frames_mask[..., :, None] * points_mask[..., None, :]  # line 4, masked
    return (pairs * error).sum((-2, -1)) / scale / (eps + pairs.sum((-2, -1)))
