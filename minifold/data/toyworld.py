"""The toy world: endless small proteins with families whose covariation encodes their contacts.

Why: no laptop holds enough natural families to teach a network to read co-evolution. Here the
physics is known, the proteins are unlimited and the truth is exact, so that a right model learns in
minutes and controls can prove how.

    world = ToyWorld(length=32, depth=64, seed=1)
    examples = world.sample(8)             # ToyExamples: alignments and structures
    for examples in world.stream(8): ...   # for ever

    backbone      ideal bonds: from torsions to poses and atoms
    toyfolds      folds: layout, Monte Carlo, relaxation
    toyfamilies   sequences: Potts model on the contacts, Gibbs sampling along a tree
    here          indels, side chains, and files that every tool of the field reads
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.random import SeedSequence
from torch import Generator, Tensor

from minifold.data import backbone, toyfamilies, toyfolds, toysidechains
from minifold.data.msa import Alignment, write_alignment
from minifold.data.residues import RESTYPES, aatype_to_sequence
from minifold.data.structures import Chain, write_structure
from minifold.data.toyfamilies import GAP
from minifold.errors import BadInput

UNKNOWN = len(RESTYPES)  # X fills the padding


@dataclass(frozen=True)
class ToyExamples:
    """b toy proteins of up to i residues and s sequences. Å; padding is 0, X or gap."""

    aatype: Int[Tensor, "b i"]  # the query
    tokens: Int[Tensor, "b s i"]  # row 0 is the query; 21 is a gap
    deletions: Int[Tensor, "b s i"]  # residues left out just before this column
    row_mask: Float[Tensor, "b s"]  # 1 for the sequences of the family
    mask: Float[Tensor, "b i"]  # 1 for residues
    positions: Float[Tensor, "b i 37 3"]
    atom_mask: Float[Tensor, "b i 37"]
    torsions: Float[
        Tensor, "b i 7 2"
    ]  # (sin, cos) of ω, φ, ψ, χ1 to χ4 that the atoms were built from
    couplings: Float[Tensor, "b i i"]  # 1 for pairs that evolve together
    structure: Int[Tensor, "b i"]  # 0 loop, 1 helix, 2 strand

    def map(self, f) -> "ToyExamples":
        """Apply `f` to every tensor."""
        return ToyExamples(**{x.name: f(getattr(self, x.name)) for x in fields(self)})

    def to(self, device: torch.device | str) -> "ToyExamples":
        return self.map(lambda x: x.to(device))

    def __len__(self) -> int:
        return len(self.aatype)

    def __getitem__(self, index: slice) -> "ToyExamples":
        return self.map(lambda x: x[index])

    def alignment(self, n: int, name: str = "toy") -> Alignment:
        """The family of example n, without padding."""
        rows, length = int(self.row_mask[n].sum()), int(self.mask[n].sum())
        names = [name] + [f"{name}_{row}" for row in range(1, rows)]
        tokens, deletions = self.tokens[n, :rows, :length], self.deletions[n, :rows, :length]
        return Alignment(
            names, tokens.cpu().numpy().astype("int8"), deletions.cpu().numpy().astype("int32")
        )

    def chain(self, n: int, name: str = "toy") -> Chain:
        """The structure of example n, without padding."""
        length = int(self.mask[n].sum())
        return Chain(
            sequence=aatype_to_sequence(self.aatype[n, :length].cpu().numpy()),
            positions=self.positions[n, :length].cpu().numpy(),
            mask=self.atom_mask[n, :length].cpu().numpy(),
            residue_index=torch.arange(1, length + 1, dtype=torch.int32).numpy(),
            b_factors=torch.zeros(length).numpy(),
            name=name,
            method="theoretical model",
        )


@dataclass(frozen=True)
class ToyWorld:
    """Endless toy proteins: example n of a seed is always the same, however it is asked for.

    Examples are made in blocks of `block`; a block has its own random numbers, from the seed and
    its number. The same seed gives the same proteins on every CPU (they are made in float64), and
    others on another device or with other dials. A larger block is faster on a GPU.

    Raises:
        BadInput: a dial is out of its range.
    """

    length: int | tuple[int, int] = 32  # residues, or a range, both ends included
    depth: int | tuple[int, int] = 64  # sequences, or a range
    seed: int = 0
    device: str = "cpu"
    block: int = 64
    coupling: float = 0.85  # strength of the Potts couplings; families freeze if it is too large
    profile: float = 0.15  # how much secondary structure biases the columns
    noise: float = 0.3  # conservation of a column by chance
    hidden: bool = True  # hidden partners fill the free slots
    physical: bool = True  # signs of the couplings as in nature, or at random for every contact
    gaps: float = (
        0.25  # expected deletions and insertions, each, of a sequence and again of its clade
    )
    disulfides: float = 0.0  # chance that a family keeps a disulfide, if its fold has room for one
    sweeps: int = 5  # Gibbs sweeps between two doublings of the family

    def __post_init__(self):
        for name, low, high in (("length", 8, 512), ("depth", 1, 4096)):
            bounds = self._range(name)
            if not low <= bounds[0] <= bounds[1] <= high:
                raise BadInput(
                    f"{name} is {getattr(self, name)}: give {low} to {high}, or a range of them"
                )
        if self.block < 1:
            raise BadInput(f"block is {self.block}: give 1 or more")

    def _range(self, name: str) -> tuple[int, int]:
        value = getattr(self, name)
        return (value, value) if isinstance(value, int) else tuple(value)

    def sample(self, count: int, start: int = 0) -> ToyExamples:
        """Examples start ... start + count - 1."""
        first, last = start // self.block, (start + count - 1) // self.block
        blocks = [self.make_block(number) for number in range(first, last + 1)]
        return _concatenate(blocks)[start - first * self.block :][:count]

    def stream(self, batch: int, start: int = 0) -> Iterator[ToyExamples]:
        """Batches of fresh examples for ever, from example `start` on."""
        number, ready = start // self.block, None
        skip = start - number * self.block
        while True:
            while ready is None or len(ready) < batch:
                fresh = self.make_block(number)[skip:]
                ready = fresh if ready is None else _concatenate([ready, fresh])
                number, skip = number + 1, 0
            yield ready[:batch]
            ready = ready[batch:]

    @torch.no_grad()
    def make_block(self, number: int) -> ToyExamples:
        """`block` examples, made from nothing but the dials, the seed and this number."""
        layout, torsion, poses, generator = self._fold_block(number)
        cb = backbone.backbone_sites(poses, torsion[..., 1])[:, :, backbone.CB]
        square = toyfolds.squared_distances(cb, cb)

        partners = toyfamilies.find_partners(square, layout.mask)
        field = self._field(layout, torsion, generator)
        if self.disulfides:
            toyfamilies.add_disulfides(field, partners, square, self.disulfides, generator)
        potts = toyfamilies.make_potts(
            partners, field, self.coupling, self.hidden, self.physical, generator
        )
        leaves = toyfamilies.evolve(potts, self._range("depth")[1], self.sweeps, generator)
        leaves = leaves.view(self.block, -1, leaves.shape[1]).transpose(1, 2)
        aatype, tokens, deletions, row_mask = self._align(leaves, layout, generator)
        positions, atom_mask, torsions = toysidechains.place_atoms(
            poses, torsion, aatype, layout.code, layout.mask, generator
        )
        paired = torch.zeros_like(square, dtype=torch.int64).scatter_add_(
            2, partners.clamp(min=0), (partners >= 0).long()
        )
        return ToyExamples(
            aatype, tokens, deletions, row_mask, layout.mask.float(),
            positions, atom_mask, torsions, couplings=paired.clamp(0, 1).float(),
            structure=layout.code,
        )  # fmt: skip

    @torch.no_grad()
    def ca_traces(self, number: int) -> list[Float[np.ndarray, "_ 3"]]:
        """Cα atoms (Å) of the proteins of a block, without their families: twice as fast."""
        layout, _, poses, _ = self._fold_block(number)
        lengths = layout.mask.sum(1).int().tolist()
        return [p[:n, :3, 3].float().cpu().numpy() for p, n in zip(poses, lengths)]

    def _fold_block(self, number: int):
        """Layout, torsions and poses of a block, and the generator for what comes after them."""
        seed = SeedSequence((self.seed, number)).generate_state(1)[0]
        generator = Generator(self.device).manual_seed(int(seed))
        lengths = self._draw("length", generator)
        layout = toyfolds.make_layout(lengths, self._range("length")[1], generator)
        torsion = toyfolds.fold(layout, generator)
        poses = backbone.build_poses(torsion[..., 0], torsion[..., 1])
        return layout, torsion, poses, generator

    def _draw(self, name: str, generator: Generator) -> Int[Tensor, "block"]:
        low, high = self._range(name)
        return torch.randint(low, high + 1, (self.block,), generator=generator, device=self.device)

    def _field(self, layout, torsion, generator: Generator) -> Float[Tensor, "b i 20"]:
        """What each column likes by itself: background, chance, and secondary structure.

        Not burial: a profile that shows it gives the fold away without covariation.
        """
        bias = toyfamilies.PROPENSITY.to(self.device)[layout.code]
        left_handed = torsion[..., :1] > 0
        bias = bias + left_handed * toyfamilies.LEFT_HANDED.to(self.device)
        noise = torch.randn(bias.shape, generator=generator, device=self.device, dtype=bias.dtype)
        noise = noise * torch.rand(*bias.shape[:2], 1, generator=generator, device=self.device)
        background = toyfamilies.LOG_BACKGROUND.to(self.device)
        return 0.15 * background + self.noise * noise + self.profile * bias

    def _align(self, leaves: Int[Tensor, "b t i"], layout, generator: Generator):
        """Query first, the other leaves in random order, with indels; families of any depth."""
        b, t, n = leaves.shape
        loops = layout.mask * torch.where(layout.code == toyfolds.LOOP, 1.0, 0.2)
        order = torch.rand(b, t, generator=generator, device=self.device).argsort(1)
        tokens, deletions = toyfamilies.add_indels(leaves, loops, self.gaps, generator)
        query = leaves[torch.arange(b, device=self.device), order[:, 0]]
        order = order[:, : self._range("depth")[1], None].expand(-1, -1, n)
        tokens, deletions = tokens.gather(1, order), deletions.gather(1, order)
        tokens[:, 0], deletions[:, 0] = query, 0
        row_mask = (
            torch.arange(tokens.shape[1], device=self.device)
            < self._draw("depth", generator)[:, None]
        )
        padding = ~(row_mask[:, :, None] & (layout.mask[:, None] > 0))
        aatype = query.masked_fill(layout.mask == 0, UNKNOWN)
        return (
            aatype,
            tokens.masked_fill(padding, GAP),
            deletions.masked_fill(padding, 0),
            row_mask.float(),
        )


def _concatenate(parts: list[ToyExamples]) -> ToyExamples:
    columns = {x.name: torch.cat([getattr(p, x.name) for p in parts]) for x in fields(ToyExamples)}
    return ToyExamples(**columns)


def write_world(out_dir: str | Path, count: int, length: int, depth: int, seed: int) -> list[Path]:
    """Write toy proteins as files: NAME.a3m beside NAME.cif in `out_dir` -> their paths.

    Raises:
        BadInput: length or depth is out of range, or `out_dir` is a file.
    """
    if count < 1:
        raise BadInput(f"count is {count}: give 1 or more")
    folder = Path(out_dir)
    if folder.exists() and not folder.is_dir():
        raise BadInput(f"{folder} is a file: give a folder for the toy proteins")
    examples = ToyWorld(length=length, depth=depth, seed=seed).sample(count)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for n in range(count):
        name = f"toy_s{seed}_{n:05d}"
        write_alignment(examples.alignment(n, name), folder / f"{name}.a3m")
        write_structure(examples.chain(n, name), folder / f"{name}.cif")
        paths += [folder / f"{name}.a3m", folder / f"{name}.cif"]
    return paths
