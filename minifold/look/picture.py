"""A still picture of protein chains, painted with NumPy: ribbons of many small shaded balls.

Every 3D view has one, for places where no script runs: printed pages, notebooks on the web.
Coordinates are in Å with x to the right, y up and z towards the viewer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import matplotlib
import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image, ImageDraw, ImageFont

SAMPLES = 18  # along the ribbon, per residue
TUBE, HELIX, STRAND, ARROW = 0.0, 1.35, 1.05, 1.9  # half widths of the ribbon, Å
BALL = 0.34  # radius of the balls, Å
SUPERSAMPLING = 2
LINE = 19  # pixels, height of a line of text


@dataclass(frozen=True)
class Balls:
    """What is painted: k balls of one radius."""

    centers: Float[np.ndarray, "k 3"]
    colors: Float[np.ndarray, "k 3"]  # red, green, blue: 0..1
    radius: float = BALL


def secondary_structure(ca: Float[np.ndarray, "n 3"]) -> str:
    """One letter for each residue, from Cα atoms alone: H helix, E strand, - neither.

    Helix: four Cα atoms with a torsion of 50° ± 25°, the ends 4.5-6.5 Å apart. Strand: at least
    three residues stretched to more than 6 Å between second neighbours, half of them nearer than
    5.8 Å to another stretched residue.
    """
    n = len(ca)
    kind = np.full(n, "-")
    if n < 4:
        return "-" * n
    bond = np.diff(ca, axis=0)
    normal = np.cross(bond[:-1], bond[1:])
    sine = (np.cross(normal[:-1], normal[1:]) * bond[1:-1]).sum(-1)
    sine /= np.linalg.norm(bond[1:-1], axis=-1).clip(1e-6)
    torsion = np.degrees(np.arctan2(sine, (normal[:-1] * normal[1:]).sum(-1)))
    span = np.linalg.norm(ca[3:] - ca[:-3], axis=-1)
    turn = (abs(torsion - 50) < 25) & (span > 4.5) & (span < 6.5)
    for i in np.flatnonzero(turn[:-1] & turn[1:]):
        kind[i + 1 : i + 4] = "H"
    distance = np.linalg.norm(ca[:, None] - ca[None], axis=-1)
    apart = abs(np.subtract.outer(np.arange(n), np.arange(n))) > 2
    long = np.zeros(n, bool)
    long[1:-1] = np.linalg.norm(ca[2:] - ca[:-2], axis=-1) > 6.0
    long &= kind != "H"
    partner = ((distance < 5.8) & apart & long[None]).any(1)
    for start, end in _runs(long):
        if end - start >= 3 and partner[start:end].mean() >= 0.5:
            kind[start:end] = "E"
    return "".join(kind)


def _runs(flag: Bool[np.ndarray, " n"]) -> list[tuple[int, int]]:
    """Start and end (exclusive) of every stretch of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flag.astype(int), [0]])))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist()))


def ribbon(
    ca: Float[np.ndarray, "n 3"], colors: Float[np.ndarray, "n 3"], flat: bool = True
) -> Balls:
    """The balls of one unbroken piece of chain; ``flat=False`` draws a round tube only."""
    n = len(ca)
    if n == 1:
        return Balls(ca.astype(np.float64), colors.astype(np.float64))
    kind = np.array(list(secondary_structure(ca) if flat else "-" * n))
    points = ca.astype(np.float64)
    smooth = points.copy()  # strands zigzag: take out their pleats
    smooth[1:-1] = (points[:-2] + 2 * points[1:-1] + points[2:]) / 4
    points = np.where((kind == "E")[:, None], smooth, points)
    at = np.linspace(0, n - 1, SAMPLES * (n - 1) + 1)
    line = _spline(points, at)
    side = _spline(_sides(ca.astype(np.float64)), at)
    side /= np.linalg.norm(side, axis=-1, keepdims=True).clip(1e-6)
    half = np.select([kind == "H", kind == "E"], [HELIX, STRAND], TUBE)
    width = np.interp(at, np.arange(n), half)
    for _, end in _runs(kind == "E"):  # an arrow head on the last residue of a strand
        head = (at > end - 2.5) & (at <= end - 1)
        width[head] = ARROW * (end - 1 - at[head]) / 1.5
        width[(at > end - 1) & (at < end)] = TUBE
    color = colors[np.rint(at).astype(int)]
    reach = int(ARROW / (BALL / 3))
    across = np.arange(-reach, reach + 1) * BALL / 3
    keep = abs(across)[None] <= width[:, None] + 1e-6
    keep[:, reach] = True
    sample, place = np.nonzero(keep)
    return Balls(line[sample] + across[place, None] * side[sample], color[sample])


def rod(points: Float[np.ndarray, "n 3"], color: Float[np.ndarray, " 3"], radius: float) -> Balls:
    """Straight rods from each point to the next."""
    steps = np.linspace(0, 1, 40)[:, None]
    centers = np.concatenate([a + steps * (b - a) for a, b in pairwise(points)])
    return Balls(centers.astype(np.float64), np.tile(color, (len(centers), 1)), radius)


def _sides(ca: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
    """Direction in which a ribbon is wide: across helix turns and in the plane of a sheet."""
    if len(ca) < 3:
        return np.tile([0.0, 1.0, 0.0], (len(ca), 1))
    bond = np.diff(ca, axis=0)
    side = np.cross(bond[:-1], bond[1:])
    side /= np.linalg.norm(side, axis=-1, keepdims=True).clip(1e-6)
    for i in range(1, len(side)):  # neighbours point the same way: no twist by 180 degrees
        if side[i] @ side[i - 1] < 0:
            side[i] *= -1
    side = np.concatenate([side[:1], side, side[-1:]])
    soft = side.copy()
    soft[1:-1] = side[:-2] + side[1:-1] + side[2:]
    return soft


def _spline(points: Float[np.ndarray, "n c"], at: Float[np.ndarray, " k"]) -> np.ndarray:
    """Catmull-Rom curve through the points, at real-valued indices."""
    padded = np.concatenate([2 * points[:1] - points[1:2], points, 2 * points[-1:] - points[-2:-1]])
    i = np.minimum(at.astype(int), len(points) - 2)
    u = (at - i)[:, None]
    a, b, c, d = (padded[i + k] for k in range(4))
    return (
        2 * b + (c - a) * u + (2 * a - 5 * b + 4 * c - d) * u**2 + (3 * (b - c) + d - a) * u**3
    ) / 2


def paint(balls: list[Balls], width: int, height: int) -> UInt8[np.ndarray, "height width 3"]:
    """The picture: z-buffer, light from the upper left, dark outlines, distance fades to white.

    The scene fills the picture; its middle is in the middle.
    """
    w, h = width * SUPERSAMPLING, height * SUPERSAMPLING
    every = np.concatenate([b.centers for b in balls])
    low, high = every.min(0) - 1.0, every.max(0) + 1.0
    scale = min(w / (high[0] - low[0]), h / (high[1] - low[1])) * 0.97  # pixels per Å
    depth = np.full(h * w, -np.inf)
    normal = np.zeros((h * w, 3), np.float32)
    color = np.ones((h * w, 3), np.float32)
    middle = (low + high) / 2
    for group in balls:
        x = (group.centers[:, 0] - middle[0]) * scale + w / 2
        y = h / 2 - (group.centers[:, 1] - middle[1]) * scale
        column, row = np.floor(x).astype(int), np.floor(y).astype(int)
        reach = int(group.radius * scale) + 1
        for dy in range(-reach, reach + 1):
            for dx in range(-reach, reach + 1):
                # the pixel's centre, seen from the centre of each ball, in radii
                nx = (column + dx + 0.5 - x) / (group.radius * scale)
                ny = (y - row - dy - 0.5) / (group.radius * scale)
                inside = nx**2 + ny**2 < 1
                inside &= (column + dx >= 0) & (column + dx < w) & (row + dy >= 0) & (row + dy < h)
                if not inside.any():
                    continue
                nx, ny = nx[inside], ny[inside]
                nz = np.sqrt(1 - nx**2 - ny**2)
                pixel = (row[inside] + dy) * w + column[inside] + dx
                z = group.centers[inside, 2] + group.radius * nz
                np.maximum.at(depth, pixel, z)
                won = depth[pixel] == z
                normal[pixel[won]] = np.stack([nx, ny, nz], -1)[won]
                color[pixel[won]] = group.colors[inside][won]
    depth, normal, color = depth.reshape(h, w), normal.reshape(h, w, 3), color.reshape(h, w, 3)
    image = _shade(depth, normal, color, low[2], high[2])
    image = image.reshape(height, SUPERSAMPLING, width, SUPERSAMPLING, 3).mean((1, 3))
    return np.rint(255 * image.clip(0, 1)).astype(np.uint8)


def _smooth(normal, depth) -> Float[np.ndarray, "h w 3"]:
    """Mean of the normals around each pixel on the same surface: the balls melt together."""
    for axis in (0, 1):
        total = normal.copy()
        for step in (-5, -3, -1, 1, 3, 5):
            near = abs(np.roll(depth, step, axis) - depth) < 0.15 * abs(step)
            total += np.where(near[..., None], np.roll(normal, step, axis), 0)
        normal = total / np.linalg.norm(total, axis=-1, keepdims=True).clip(1e-9)
    return normal


def _shade(depth, normal, color, far: float, near: float) -> Float[np.ndarray, "h w 3"]:
    """Colours of the pixels from depth, surface normal and the colour of the material."""
    there = np.isfinite(depth)
    solid = np.where(there, depth, far - 3)
    normal = _smooth(normal, solid)
    light = np.array([-0.45, 0.55, 0.70]) / np.linalg.norm([-0.45, 0.55, 0.70])
    half = (light + [0, 0, 1]) / np.linalg.norm(light + [0, 0, 1])
    diffuse = (normal @ light).clip(0)[..., None]
    shine = (normal @ half).clip(0)[..., None] ** 30
    image = color * (0.52 + 0.53 * diffuse) + 0.22 * shine
    border = np.zeros(depth.shape)  # how far the surface behind an edge lies, Å
    for axis, step in ((0, 1), (0, -1), (1, 1), (1, -1)):
        border = np.maximum(border, np.roll(solid, step, axis) - solid)
    edge = ((border - 0.7) / 0.8).clip(0, 1)[..., None]
    fade = 0.45 * ((near - solid) / max(near - far, 1e-6)).clip(0, 1)[..., None]
    image = np.where(there[..., None], image * (1 - fade) + fade, 1.0)
    return image * (1 - 0.72 * edge)


# --- Words under and into a picture ---------------------------------------------------------------


def write(
    picture: UInt8[np.ndarray, "h w 3"],
    words: Sequence[tuple[str, str]],
    at: tuple[int, int] = (8, 2),
) -> UInt8[np.ndarray, "h w 3"]:
    """The picture with words in it, one after the other, broken into lines where they must be.

    Args:
        words: colour of a square before it ("" for none), text.
        at: the upper left corner, pixels.
    """
    image = Image.fromarray(picture)
    pen = ImageDraw.Draw(image)
    for x, y, color, text in _places(words, image.width, at[0]):
        x, y = x + at[0], y + at[1]
        if color:
            pen.rectangle((x, y + 3, x + 10, y + 13), fill=color)
            x += 16
        pen.text((x, y), text, fill="#222222", font=_font())
    return np.asarray(image)


def lines(words: Sequence[tuple[str, str]], width: int) -> int:
    """How many lines ``write`` needs."""
    return 1 + max((y for _, y, _, _ in _places(words, width, 8)), default=-LINE) // LINE


def _places(words, width: int, margin: int) -> list[tuple[int, int, str, str]]:
    places, x, y = [], 0, 0
    for color, text in words:
        wide = int(_font().getlength(text)) + (16 if color else 0)
        if x and margin + x + wide > width:
            x, y = 0, y + LINE
        places.append((x, y, color, text))
        x += wide + 18
    return places


@cache
def _font() -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(f"{matplotlib.get_data_path()}/fonts/ttf/DejaVuSans.ttf", 12)
