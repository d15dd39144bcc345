"""Training on the toy world: families made while the model learns from them."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float

from minifold.config import Config
from minifold.data.features import MASKED_FRACTION, Batch, collate, make_batch, pad
from minifold.data.toyworld import ToyExamples, ToyWorld
from minifold.errors import BadInput
from minifold.model.alphafold import AlphaFold
from minifold.training.controls import CONTROLS, hide
from minifold.training.sources import Example
from minifold.training.toyscores import family_scores, summary

HELD_OUT = 1_000_003  # the seeds of held-out families are this much larger
LOGGED = ("precision", "lddt_ca", "lddt_long", "rmsd_ca", "mirrored")
FEWER = 0.25  # share of the examples that show only some rows of the family
BLOCK, GPU_BLOCK = 64, 256  # families made together; a GPU takes as long for many as for few
SPACING = 16  # blocks between two uses of a family
MULTIPLE = 8  # lengths are padded to one: kernels prepare themselves for every new shape anew


def newborn(config: Config) -> AlphaFold:
    """An untrained model whose outer products are random numbers instead of zeros (deviation D39).

    As in AlphaFold2, the last matrix of all other layers is 0. If that of the outer product is, it
    learns only once the distogram listens to it, and the distogram has nothing to listen to before
    the outer product has learnt: hundreds of steps go by until contacts are seen.
    """
    model = AlphaFold(config)
    for block in model.trunk.evoformer.stack.blocks:
        torch.nn.init.normal_(block.outer_product.output.weight)
    return model


class ToyFamilies:
    """Families of the toy world; families of another seed are held out.

    Making a family takes as long as learning from it, so each is used ``uses`` times, far apart
    and with other rows. Mostly the whole family is shown, else a random number of its rows: a
    model that saw only deep alignments would fail on a sequence alone.

    Args:
        config: sizes of the model.
        length, depth: residues and sequences of a family, or ranges of them.
        seed: of the training families, and of all draws.
        held_out: how many families are measured.
        control: what is hidden from the model, in training as in measuring: nothing ("none"),
            covariation ("shuffled" columns), or all rows but the "query".
        uses: how often a family is shown.
        clamped: share of the clamped FAPE in the loss (10 Å); the rest is unclamped.
        device: where families are made.
    """

    def __init__(
        self,
        config: Config,
        length: int | tuple[int, int] = (24, 48),
        depth: int | tuple[int, int] = 64,
        seed: int = 0,
        held_out: int = 32,
        control: str = "none",
        uses: int = 6,
        clamped: float = 0.5,
        device: str = "cpu",
    ):
        if control not in CONTROLS:
            raise BadInput(f"control is {control!r}: choose one of {', '.join(CONTROLS)}")
        self.config, self.seed, self.control = config, seed, control
        self.uses, self.clamped = uses, clamped
        self.data = f"toy families (length {length}, depth {depth}, seed {seed}, hidden: {control})"
        block = BLOCK if device == "cpu" else GPU_BLOCK
        self.world = ToyWorld(length=length, depth=depth, seed=seed, device=device, block=block)
        unseen = ToyWorld(length=length, depth=depth, seed=seed + HELD_OUT).sample(held_out)
        self.held_out = [
            hide(Example(unseen.chain(n, f"toy{n}"), unseen.alignment(n, f"toy{n}")), control, n)
            for n in range(held_out)
        ]
        self._maker = ThreadPoolExecutor(1)
        self._blocks: dict[int, Future[ToyExamples]] = {}

    def batch(self, step: int, size: int) -> Batch:
        """The families of a step, of similar lengths; the same step gives the same examples."""
        per_round = self.world.block // size
        if per_round == 0 or self.world.block % size:
            raise BadInput(f"batch is {size}: give a divisor of {self.world.block}")
        number, part = divmod(step, per_round)
        examples = self._examples(number)
        rng = np.random.default_rng([self.seed, number])
        lengths = examples.mask.sum(1).numpy()
        by_length = np.lexsort([rng.random(len(lengths)), lengths])
        mine = by_length.reshape(per_round, size)[rng.permutation(per_round)[part]]
        rng = np.random.default_rng([self.seed, number, part])
        batch = collate([self._features(examples, int(n), rng) for n in mine])
        batch = pad(batch, -(-batch.length // MULTIPLE) * MULTIPLE)
        return batch if self.control == "query" else pad(batch, self.config.max_msa, "s")

    def block_of_round(self, number: int) -> int:
        """Which block a round shows: every ``uses``-th round a fresh one, between them old ones."""
        newest, use = divmod(number, self.uses)
        wanted = newest - use * SPACING
        if wanted < 0:  # too early for an old one
            wanted = int(np.random.default_rng([self.seed, number]).integers(newest + 1))
        return wanted

    def _examples(self, number: int) -> ToyExamples:
        block = self._future(self.block_of_round(number))
        self._future(number // self.uses + 1)  # made while the model learns from this one
        for old in sorted(self._blocks)[: -(self.uses - 1) * SPACING - 2]:
            del self._blocks[old]
        return block.result()

    def _future(self, number: int) -> Future[ToyExamples]:
        if number not in self._blocks:
            self._blocks[number] = self._maker.submit(self._make, number)
        return self._blocks[number]

    def _make(self, number: int) -> ToyExamples:
        return self.world.make_block(number).to("cpu")  # features are made there

    def _features(self, examples: ToyExamples, n: int, rng: np.random.Generator) -> Batch:
        one, two = (int(x) for x in rng.integers(2**31, size=2))
        example = hide(Example(examples.chain(n), examples.alignment(n)), self.control, one)
        alignment = example.alignment
        if rng.random() < FEWER:  # fewer rows: 1 to all, as many small numbers as large ones
            rows = round(np.exp(rng.uniform(0, np.log(alignment.depth))))
            others = 1 + rng.permutation(alignment.depth - 1)[: rows - 1]
            alignment = alignment.take(np.append(0, others))
        features = make_batch(
            alignment, example.chain, self.config, two, mask_fraction=MASKED_FRACTION
        )
        return replace(
            features,
            use_clamped_fape=torch.full((1,), self.clamped),
            resolution=torch.ones(1),  # the truth is exact: it may teach confidence
        )

    def measure(self, model: AlphaFold) -> dict[str, float]:
        """Scores of the held-out families; see ``toyscores.summary``."""
        scores = summary(family_scores(model, self.held_out))
        return {key: scores[key] for key in LOGGED}

    def folds(self, steps: int, size: int) -> Iterator[Float[np.ndarray, "_ 3"]]:
        """Cα atoms of all families that the first ``steps`` steps have shown."""
        rounds = -(-steps // (self.world.block // size))
        for number in range(-(-rounds // self.uses)):
            yield from self.world.ca_traces(number)
