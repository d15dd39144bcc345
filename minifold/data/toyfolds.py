"""Toy protein folds: random secondary structure, folded by Monte Carlo, relaxed in torsion space.

A fold is a set of backbone torsions (φ, ψ; ω = 180°) on ideal bond geometry, made in three steps:

    layout      helices, strands and loops of random lengths      -> ideal φ, ψ for each
    collapse    annealed Monte Carlo: pivots of loop residues     -> a compact topology
    relax       steepest descent on all torsions, forces from all backbone atoms
                                                                  -> no clashes, paired strands

Everything is batched over b proteins of i residues; `backbone` has the geometry. It is computed in
float64: the Monte Carlo is chaotic, and the last digits of float32, which differ from one kind of
processor to the next, would soon give other proteins.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor

from minifold.data.backbone import CA, CB, DEGREE, C, N, O, backbone_sites, build_poses

LOOP, HELIX, STRAND = 0, 1, 2
PRECISE = torch.float64
# Loop residues are drawn from four Ramachandran basins: weight, φ, ψ, spread (degrees).
BASINS = (
    (0.36, -68.0, -30.0, 12.0),  # right-handed turn
    (0.30, -72.0, 145.0, 13.0),  # polyproline II
    (0.24, -112.0, 130.0, 15.0),  # extended
    (0.10, 58.0, 40.0, 8.0),  # left-handed turn
)
IDEAL = {HELIX: (-63.0, -42.0, 3.0), STRAND: (-115.0, 133.0, 9.0)}  # φ, ψ, spread (degrees)
# Tight turns of a hairpin, types I', II' and I with a G1 bulge: φ, ψ (degrees).
TIGHT = 0.25  # share of tight turns in hairpins
TURNS = (
    ((56.0, 38.0), (82.0, 5.0)),
    ((58.0, -125.0), (-82.0, 0.0)),
    ((-58.0, -30.0), (-92.0, -5.0), (82.0, 12.0)),
)


@dataclass
class Layout:
    """Secondary structure of b proteins, and the torsions that every residue wants (radians)."""

    code: Int[Tensor, "b i"]  # LOOP, HELIX or STRAND; LOOP in the padding
    home: Float[Tensor, "b i 2"]  # φ, ψ
    spread: Float[Tensor, "b i"]
    turn: Float[Tensor, "b i"]  # 1 in the tight turn of a hairpin
    affinity: Float[
        Tensor, "b i i"
    ]  # how much two residues attract: a random matter of their segments
    mask: Float[Tensor, "b i"]


def _layout_of(length: int, draw) -> tuple[list[int], list[tuple[float, float] | None]]:
    """Codes of one chain, and the torsions of its tight turns; `draw()` is uniform in [0, 1)."""

    def between(low: int, high: int) -> int:
        return low + int(draw() * (high - low + 1))

    helices = (1.0, 0.0, 0.5)[int(draw() * 3)]  # all helices, all strands, mixed
    codes, turns = [LOOP] * between(1, 3), [None] * length
    while len(codes) < length:
        if draw() < helices:
            codes += [HELIX] * between(7, 10 + length // 8)
            codes += [LOOP] * between(3, 5)
            continue
        codes += [STRAND] * (strand := between(4, 6))
        for _ in range(between(1, 2) if helices else between(1, 4)):  # hairpins
            if draw() < TIGHT:
                turn = TURNS[int(draw() * len(TURNS))]
                turns[len(codes) : len(codes) + len(turn)] = turn
                codes += [LOOP] * len(turn) + [STRAND] * strand
            else:
                codes += [LOOP] * between(3, 5) + [STRAND] * strand
        codes += [LOOP] * between(3, 5)
    return codes[: length - 1] + [LOOP], (turns + [None] * length)[:length]


def make_layout(lengths: Int[Tensor, "b"], width: int, generator: Generator) -> Layout:
    """Random layouts, a third each all-α, all-β and mixed, padded to `width` residues."""
    device, shape = lengths.device, (len(lengths), width)
    uniform = torch.rand(len(lengths), 4 * width + 8, generator=generator, device=device)
    centre, spread = _draw_basins(shape, generator)
    codes, centre = torch.full(shape, LOOP), centre.cpu()
    turn = torch.zeros(shape, dtype=PRECISE)
    for b, (length, row) in enumerate(zip(lengths.tolist(), uniform.tolist(), strict=True)):
        chain, turns = _layout_of(length, iter(row).__next__)
        codes[b, :length] = torch.tensor(chain)
        for i, torsion in enumerate(turns):
            if torsion and chain[i] == LOOP:
                centre[b, i], turn[b, i] = torch.tensor(torsion, dtype=PRECISE) * DEGREE, 1
    codes, centre, turn = codes.to(device), centre.to(device), turn.to(device)
    for code, (phi, psi, width_) in IDEAL.items():
        centre[codes == code] = torch.tensor((phi, psi), dtype=PRECISE, device=device) * DEGREE
        spread[codes == code] = width_ * DEGREE
    spread = torch.where(turn > 0, 8 * DEGREE, spread)
    mask = (torch.arange(width, device=device) < lengths[:, None]).to(PRECISE)
    return Layout(codes, centre, spread, turn, _affinity(codes, turn, generator), mask)


def _affinity(code, turn, generator: Generator) -> Float[Tensor, "b i i"]:
    """Attraction between segments, at random: the same secondary structure folds in many ways."""
    b, n = code.shape
    segment = torch.cat([code[:, :1] * 0, (code[:, 1:] != code[:, :-1]).cumsum(1)], 1)
    draw = torch.rand(b, n, n, generator=generator, device=code.device)
    draw = 3 * (draw + draw.transpose(1, 2) > 1.2).to(PRECISE)
    strand = (code == STRAND).to(PRECISE)
    both = torch.einsum("bi,bj->bij", strand, strand)
    pick = segment[:, :, None] * n + segment[:, None]
    return (0.3 + draw.flatten(1).gather(1, pick.flatten(1)).view(b, n, n)) * (1 + both) / 1.5


def _draw_basins(shape: tuple[int, int], generator: Generator) -> tuple[Tensor, Tensor]:
    """Basin centres (φ, ψ) [*shape, 2] and spreads [*shape], radians, for loop residues."""
    table = torch.tensor(BASINS, dtype=PRECISE, device=generator.device)
    index = torch.rand(shape, generator=generator, device=generator.device)
    index = (index[..., None] > table[:, 0].cumsum(0)[:-1]).sum(-1)
    return table[index][..., 1:3] * DEGREE, table[index][..., 3] * DEGREE


def squared_distances(
    x: Float[Tensor, "b n 3"], y: Float[Tensor, "b m 3"]
) -> Float[Tensor, "b n m"]:
    """All squared distances between two sets of points (Å²), as one matrix product of 5-vectors."""
    x2, y2 = (x * x).sum(-1, keepdim=True), (y * y).sum(-1, keepdim=True)
    left = torch.cat([-2 * x, x2, torch.ones_like(x2)], -1)
    right = torch.cat([y, torch.ones_like(y2), y2], -1)
    return torch.bmm(left, right.transpose(1, 2))


def radius_target(mask: Float[Tensor, "b i"]) -> Float[Tensor, "b"]:
    """Radius of gyration of a compact protein of this length: 2.2 N^0.38 Å."""
    return 2.2 * mask.sum(-1) ** 0.38


class CoarseEnergy:
    """Energy of a chain of CB: clashes, contacts, radius of gyration."""

    def __init__(self, layout: Layout):
        mask = layout.mask
        pair = torch.einsum("bi,bj->bij", mask, mask)
        self.clash = pair.triu(3)
        self.contact = (pair * layout.affinity).triu(4) / 64
        self.weight, self.count = mask / mask.sum(1, keepdim=True), mask.sum(1)
        self.target = radius_target(mask)

    def __call__(self, cb: Float[Tensor, "b i 3"]) -> Float[Tensor, "b"]:
        square = squared_distances(cb, cb)
        energy = square.clamp(36, 100).mul_(self.contact)
        energy = energy.sub_(square.clamp_(0, 20).mul_(self.clash)).sum((1, 2))
        centred = cb - torch.bmm(self.weight[:, None], cb)
        radius = ((centred * centred).sum(-1) * self.weight).sum(1).sqrt()
        return energy + self.count * (radius - self.target).clamp(0, 1e9)


def collapse(
    layout: Layout, steps: int, generator: Generator
) -> tuple[Float[Tensor, "b i 2"], Float[Tensor, "b i 2"]]:
    """Annealed Monte Carlo on loop torsions -> torsions, and the basin centres of each (radians).

    Each step gives one loop residue of every chain new torsions, from a new basin or near the old
    ones (tight turns stay in theirs); the chain behind it follows as one rigid body.
    """
    energy, device = CoarseEnergy(layout), layout.home.device
    b, n = layout.code.shape
    home = layout.home.clone()
    noise = torch.randn(b, n, 2, generator=generator, device=device, dtype=PRECISE)
    torsion = home + layout.spread[..., None] * noise
    x = backbone_sites(build_poses(torsion[..., 0], torsion[..., 1]), torsion[..., 1])[:, :, :4]
    now = energy(x[:, :, CB])
    mobile = (layout.code == LOOP) * layout.mask * torch.where(layout.turn > 0, 0.3, 1.0)
    sites = torch.multinomial(mobile, steps, replacement=True, generator=generator)
    centres, spreads = _draw_basins((steps, b), generator)
    noise = torch.randn(steps, b, 2, generator=generator, device=device, dtype=PRECISE)
    far = centres + spreads[..., None] * noise
    uniform = torch.rand(2, steps, b, generator=generator, device=device)
    row, index = torch.arange(b, device=device), torch.arange(n, device=device)
    for step in range(steps):
        k, cold = sites[:, step], step / steps
        here, old, old_home = x[row, k], torsion[row, k], home[row, k]
        jump = (uniform[0, step] < 0.6 - 0.5 * cold) & (layout.turn[row, k] == 0)
        near = torch.lerp(old_home, old, 0.7) + 7 * DEGREE * noise[step]
        new = torch.where(jump[:, None], far[step], near)
        # Turn about N-CA, and all behind about CA-C as well; both axes pass through CA.
        bonds = here[:, 1:3] - here[:, :2]
        about = _rotation(bonds / bonds.norm(dim=-1, keepdim=True), new - old)
        origin = here[:, None, CA]
        tail = torch.bmm(x.flatten(1, 2) - origin, (about[:, 0] @ about[:, 1]).transpose(1, 2))
        behind = (index > k[:, None])[..., None, None]
        moved = torch.where(behind, (tail + origin).view_as(x), x)
        moved[row, k] = torch.bmm(here - origin, about[:, 0].transpose(1, 2)) + origin
        then = energy(moved[:, :, CB])
        temperature = 4.0 * 0.1**cold
        accept = uniform[1, step] < ((now - then) / temperature).exp()
        now = torch.where(accept, then, now)
        x = torch.where(accept[:, None, None, None], moved, x)
        torsion[row, k] = torch.where(accept[:, None], new, old)
        home[row, k] = torch.where((accept & jump)[:, None], centres[step], old_home)
    return torsion, home


def _rotation(axis: Float[Tensor, "*n 3"], angle: Float[Tensor, "*n"]) -> Float[Tensor, "*n 3 3"]:
    """Rotation about a unit vector (Rodrigues)."""
    one = torch.eye(3).to(axis)
    cross = torch.linalg.cross(one.expand(*angle.shape, 3, 3), axis[..., None, :])  # @ v: axis x v
    angle = angle[..., None, None]
    return one + angle.sin() * cross + (1 - angle.cos()) * (cross @ cross)


# Pairs of atoms that the relaxation looks at, and their closest approach (Å).
PAIRS = (
    (CB, CB, 4.0), (CA, CA, 3.9), (O, N, 2.8), (CB, O, 3.2), (CA, O, 3.2), (O, O, 3.2),
    (CB, N, 3.2), (CB, C, 3.3),
)  # fmt: skip


def relax(
    torsion: Float[Tensor, "b i 2"], home: Float[Tensor, "b i 2"], layout: Layout, steps: int
) -> Float[Tensor, "b i 2"]:
    """Downhill on all torsions: clashes go, CB and paired strands attract, torsions stay near home.

    The slope of the energy along a torsion is its axis dotted with the torque on all behind it.
    """
    b, n = layout.code.shape
    mask, strand = layout.mask, layout.mask * (layout.code == STRAND)
    left, right = [p[0] for p in PAIRS], [p[1] for p in PAIRS]
    closest = torch.tensor([p[2] ** 2 for p in PAIRS]).to(mask)[:, None, None, None]
    apart = (torch.arange(n)[:, None] - torch.arange(n)).abs().to(mask.device)
    pair = torch.einsum("bi,bj->bij", mask, mask)
    far, bond = 2 * pair * (apart >= 2), torch.einsum("bi,bj->bij", strand, strand) * (apart >= 3)
    contact = layout.affinity * pair * (apart >= 4)
    stiff = 0.1 / layout.spread.square()[..., None]
    count, target = mask.sum(1)[:, None, None], radius_target(mask)
    mean, variance = torch.zeros_like(torsion), torch.zeros_like(torsion)
    for step in range(steps):
        poses = build_poses(torsion[..., 0], torsion[..., 1])
        x = backbone_sites(poses, torsion[..., 1])
        p, q = x[:, :, left].permute(2, 0, 1, 3), x[:, :, right].permute(2, 0, 1, 3)
        square = squared_distances(p.flatten(0, 1), q.flatten(0, 1)).view(len(PAIRS), b, n, n)
        slope = (square - closest).clamp_(-20, 0).mul_(far)  # d energy / d square
        slope[0] += 0.02 * ((square[0] > 30) & (square[0] < 100)) * contact
        slope[2] += 1.0 * (-square[2] / 12).exp() * bond
        on_p = (slope.sum(-1, keepdim=True) * p).sub_(slope @ q)
        on_q = (slope.sum(-2).unsqueeze(-1) * q).sub_(slope.transpose(-1, -2) @ p)
        force = torch.zeros_like(x)  # of the energy's gradient, per atom
        for i in range(len(PAIRS)):
            force[:, :, left[i]] += on_p[i]
            force[:, :, right[i]] += on_q[i]
        ca = x[:, :, CA]
        centred = (ca - (ca * mask[..., None]).sum(1, keepdim=True) / count) * mask[..., None]
        radius = (centred.square().sum((1, 2)) / count[:, 0, 0]).sqrt()
        force[:, :, CA] += (2.0 * (radius - target).clamp(0, 2))[:, None, None] * centred
        gradient = _torsion_gradient(poses, x, force)
        gradient += stiff * torch.remainder(torsion - home + math.pi, 2 * math.pi).sub(math.pi)
        mean = 0.8 * mean + 0.2 * gradient  # Adam (Kingma & Ba 2015), without bias correction
        variance = 0.95 * variance + 0.05 * gradient.square()
        pace = 2.5 * DEGREE * (1 - step / steps)
        torsion = torsion - pace * mean / (variance.sqrt() + 1.0)
    return torsion


def _torsion_gradient(
    poses: Float[Tensor, "b i 4 4"], x: Float[Tensor, "b i a 3"], force: Float[Tensor, "b i a 3"]
) -> Float[Tensor, "b i 2"]:
    """Slope of the energy along φ and ψ (per radian) from its gradient on every site."""

    def behind(per_residue: Tensor) -> Tensor:  # sum over this residue and all behind it
        return per_residue.flip(1).cumsum(1).flip(1)

    torque = torch.linalg.cross(x, force)
    push, twist = behind(force.sum(2)), behind(torque.sum(2))
    ca, along_c = x[:, :, CA], poses[..., :3, 0]
    from_n = torch.nn.functional.normalize(ca - x[:, :, N], dim=-1)
    phi = (from_n * (twist - torch.linalg.cross(ca, push))).sum(-1)
    # ψ moves the residue's own O, and all residues behind.
    push = push - force.sum(2) + force[:, :, O]
    twist = twist - torque.sum(2) + torque[:, :, O]
    psi = (along_c * (twist - torch.linalg.cross(ca, push))).sum(-1)
    return torch.stack([phi, psi], -1)


def fold(layout: Layout, generator: Generator) -> Float[Tensor, "b i 2"]:
    """Torsions φ, ψ (radians) of a compact fold of each layout."""
    torsion, home = collapse(layout, 300, generator)
    return relax(torsion, home, layout, 60)
