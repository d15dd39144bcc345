"""Taps: what the model computes inside, caught while it runs.

    with record(model, "*row*") as taps:
        prediction = minifold.fold("data/sample_msas/kunitz_1bpi.a3m", model)
    taps["recycle0/evoformer.1/msa_row"]        # [s, h, i, j]
    taps.save("taps.npz"); Record.load("taps.npz")

Everything is counted from 0. After ``recycleR/`` (and ``sampleE/`` in an ensemble, from its second
member on) a name goes on as follows; k is a block, T a template, l a layer of the structure module.

    msa                            [s, i], the letters (0 to 22) as the model saw them
    evoformer.k/, extra_msa.k/     m [s, i, c], z [i, j, c], distogram [i, j, bins] read from this z
      msa_row                      [s, h, i, j]: sequence s; residue i looks at j
      msa_column                   [i, h, s, t]: column i; sequence s looks at t; extra: [i, h, t]
      triangle_starting            [i, h, j, k]: edge i→j looks at the edges i→k
      triangle_ending              [j, h, i, k]: edge i→j looks at the edges k→j
    evoformer/s                    [i, c], single representation
    templateT.k/                   triangle_starting, triangle_ending
    templates/attention            [i, j, h, T]: edge i→j looks at template T
    structure.l/                   s [i, c], frames [i, 3, 4]: rotation, and origin in Å
      ipa                          [h, i, j], weights; ipa_scalar, ipa_pair, ipa_points: the three
                                   parts of their logits

``input/aatype`` and ``input/residue_index`` are always there, with ``keep=[...]`` also the numbers
of the rows, ``input/rows``. Hooks do the work and are gone when the context ends: without it the
model is as it was. Attention that is recorded takes the clear path by itself, all other the path
it had.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from minifold.data.files import write_bytes
from minifold.data.msa import NUM_TOKENS
from minifold.data.residues import aatype_to_sequence
from minifold.errors import BadInput
from minifold.model.alphafold import AlphaFold

Keep = str | Sequence[int] | None
INPUTS = ("input/aatype", "input/residue_index")


class Record(Mapping[str, np.ndarray]):
    """What was recorded: arrays by name, in the order in which they were computed."""

    def __init__(self, arrays: Mapping[str, np.ndarray] | None = None):
        self._arrays = dict(arrays or {})

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self._arrays:
            raise KeyError(f"no tap {name!r}; list(taps) names those there are")
        return self._arrays[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def __repr__(self) -> str:
        return f"Record({len(self)} arrays, {self.nbytes / 1e6:.1f} MB)"

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays together."""
        return sum(array.nbytes for array in self._arrays.values())

    @property
    def sequence(self) -> str:
        """The protein, one letter for each residue."""
        return aatype_to_sequence(self["input/aatype"])

    def match(self, pattern: str) -> list[str]:
        """The names that match a shell-like pattern such as ``"recycle0/evoformer.*/msa_row"``."""
        return [name for name in self if fnmatchcase(name, pattern)]

    def stack(self, pattern: str) -> np.ndarray:
        """The arrays whose names match, along a new first axis.

        Raises:
            BadInput: none match, or they differ in shape.
        """
        arrays = [self[name] for name in self.match(pattern)]
        if not arrays:
            raise BadInput(f"no tap matches {pattern!r}; list(taps) names those there are")
        if len({array.shape for array in arrays}) > 1:
            raise BadInput(f"the taps {pattern!r} differ in shape; choose those of one kind")
        return np.stack(arrays)

    def save(self, path: str | Path) -> None:
        """Write all arrays to an ``.npz`` file; the same arrays give the same bytes.

        Raises:
            BadInput: the file cannot be written.
        """
        file = io.BytesIO()
        np.savez_compressed(file, **self._arrays)
        write_bytes(path, file.getvalue())

    @classmethod
    def load(cls, path: str | Path) -> Record:
        """What ``save`` wrote.

        Raises:
            BadInput: no such file, or not one of ours.
        """
        try:
            with zipfile.ZipFile(path), np.load(path, allow_pickle=False) as arrays:
                loaded = {name: arrays[name] for name in arrays.files}
        except FileNotFoundError:
            raise BadInput(f"{path} does not exist; check the name") from None
        except (OSError, ValueError, EOFError, zipfile.BadZipFile):
            raise BadInput(f"{path} is no .npz file of taps; write one with Record.save") from None
        if not set(INPUTS) <= set(loaded):
            raise BadInput(f"{path} holds no taps: {INPUTS[0]} is missing; was it written by save?")
        return cls(loaded)


@contextmanager
def record(
    model: AlphaFold,
    *patterns: str,
    keep: Keep = None,
    member: int = 0,
    max_bytes: int = 1 << 30,
) -> Iterator[Record]:
    """Record what the model computes while the context is open.

    Args:
        patterns: shell-like patterns of the names to record; none means everything. A second
            run of the model within the context replaces what the first left.
        keep: of an attention that runs once for each row (the first axis of msa_row, msa_column
            and the triangles) keep all rows (None), those with these numbers, or their "mean",
            [h, q, k]. The others are dropped at once: with `set_attention(model, chunk=...)` not
            even one whole layer is ever in memory.
        member: which protein of a batch.
        max_bytes: how much memory the arrays may take.

    Raises:
        BadInput: the arrays would take more than ``max_bytes``, a pattern matches nothing, a row
            or a member is not there, or blocks are checkpointed (as in training).
    """
    if not (keep is None or keep == "mean" or (not isinstance(keep, str) and len(keep))):
        raise BadInput(f"keep must be None, 'mean' or numbers of rows, not {keep!r}")
    result = Record()
    recorder = _Recorder(model, result._arrays, patterns, keep, member, max_bytes)
    try:
        recorder.attach()
        yield result
    finally:
        recorder.detach()
    recorder.check_patterns()


class _Recorder:
    """Puts hooks into a model; each knows the name of what it sees."""

    def __init__(
        self,
        model: AlphaFold,
        arrays: dict[str, np.ndarray],
        patterns: tuple[str, ...],
        keep: Keep,
        member: int,
        max_bytes: int,
    ):
        self.model, self.arrays, self.patterns = model, arrays, patterns or ("*",)
        self.keep = keep if keep is None or keep == "mean" else sorted({int(row) for row in keep})
        self.member, self.max_bytes = member, max_bytes
        self.handles: list[torch.utils.hooks.RemovableHandle] = []
        self.listening: set[nn.Module] = set()  # those whose `record` is set
        self.offered: set[str] = set()

    def _start(self, *_) -> None:
        """A run of the model begins."""
        stacks = (self.model.trunk.extra_stack, self.model.trunk.evoformer.stack)
        if torch.is_grad_enabled() and any(stack.checkpointing for stack in stacks):
            raise BadInput(
                "recomputed blocks cannot be recorded; use torch.no_grad() or checkpointing = False"
            )
        self.arrays.clear()
        self.bytes = self.pass_number = self.layer = 0
        self.sample = self.template = -1

    # --- Which module makes what ------------------------------------------------------------------

    def attach(self) -> None:
        model, trunk = self.model, self.model.trunk
        self._before(model, self._start)
        self._before(trunk, self._new_sample)
        if trunk.templates is not None:
            self._before(trunk.templates.pair, self._new_template)
            for k, block in enumerate(trunk.templates.pair.blocks):
                self._triangles(f"template{{template}}.{k}", block)
            self._attention("templates/attention", trunk.templates, rows=False)
        for k, block in enumerate(trunk.extra_stack.blocks):
            self._block(f"extra_msa.{k}", block, global_column=True)
        for k, block in enumerate(trunk.evoformer.stack.blocks):
            self._block(f"evoformer.{k}", block)
        self._after(trunk.evoformer, lambda output: self._tap("evoformer/s", lambda: output[2]))

        iteration = model.structure_module.iteration
        self._before(iteration, self._listen_to_ipa)
        self._after(iteration, self._new_layer)
        self._after(model.structure_module, self._new_pass)

    def _block(self, place: str, block: nn.Module, global_column: bool = False) -> None:
        def representations(output: tuple[Tensor, Tensor]) -> None:
            m, z = output
            self._tap(f"{place}/m", lambda: m)
            self._tap(f"{place}/z", lambda: z)
            self._tap(f"{place}/distogram", lambda: self.model.distogram(z).float().softmax(-1))

        self._attention(f"{place}/msa_row", block.msa_row)
        self._attention(f"{place}/msa_column", block.msa_column, rows=not global_column)
        self._triangles(place, block.pair)
        self._after(block, representations)

    def _triangles(self, place: str, pair: nn.Module) -> None:
        self._attention(f"{place}/triangle_starting", pair.triangle_starting)
        self._attention(f"{place}/triangle_ending", pair.triangle_ending)

    # --- What happens when they run ---------------------------------------------------------------

    def _new_sample(self, inputs: tuple) -> None:
        self.sample += 1
        self.template = -1
        batch = inputs[0]
        if not 0 <= self.member < len(batch.aatype):
            raise BadInput(f"no protein {self.member} in a batch of {len(batch.aatype)}")
        for name, value in zip(INPUTS, (batch.aatype, batch.residue_index)):
            self.arrays[name] = value[self.member].cpu().numpy().copy()
        if isinstance(self.keep, list):
            self.arrays["input/rows"] = np.array(self.keep)
        if self._wanted("msa"):
            letters = batch.msa_feat[self.member, ..., :NUM_TOKENS].argmax(-1)  # one-hot
            self.arrays[self._name("msa")] = letters.to("cpu", torch.uint8).numpy()

    def _new_template(self, _: tuple) -> None:
        self.template += 1

    def _listen_to_ipa(self, _: tuple) -> None:
        place = f"structure.{self.layer}/ipa"
        ends = {"weights": "", "scalar": "_scalar", "pair": "_pair", "points": "_points"}
        wanted = {key: place + end for key, end in ends.items() if self._wanted(place + end)}
        if wanted:
            ipa = self.model.structure_module.iteration.ipa
            self._listen(
                ipa, lambda parts: [self._tap(wanted[k], lambda k=k: parts[k]) for k in wanted]
            )

    def _new_layer(self, output: tuple) -> None:
        self._stop_listening(self.model.structure_module.iteration.ipa)
        s, T = output[0], output[1].scale(self.model.config.position_scale)
        self._tap(f"structure.{self.layer}/s", lambda: s)
        frames = f"structure.{self.layer}/frames"
        self._tap(frames, lambda: torch.cat([T.R, T.t[..., None]], dim=-1))
        self.layer += 1

    def _new_pass(self, _) -> None:
        self.pass_number += 1
        self.layer, self.sample = 0, -1

    def _attention(self, place: str, parent: nn.Module, rows: bool = True) -> None:
        """Record ``parent.attention``; with ``rows`` its weights are [b, row, h, q, k]."""
        running: list[_Rows] = []

        def begin(_) -> None:
            if self._wanted(place):
                running[:] = [_Rows(self.keep if rows else None, self._copy, self._name(place))]
                self._listen(parent.attention, lambda w: running[0].add(w[self.member]))

        def end(_) -> None:
            if running:
                self._stop_listening(parent.attention)
                weights = running.pop().result()
                # Algorithm 17 has a single query: [i, j, h, 1, T]
                self.arrays[self._name(place)] = (
                    weights[..., 0, :] if weights.ndim == 5 else weights
                )

        self._before(parent, begin)
        self._after(parent, end)

    # --- Tools ------------------------------------------------------------------------------------

    def _name(self, place: str) -> str:
        sample = f"sample{self.sample}/" if self.sample > 0 else ""
        return f"recycle{self.pass_number}/{sample}{place.format(template=self.template)}"

    def _wanted(self, place: str) -> bool:
        name = self._name(place)
        self.offered.add(name)
        return any(fnmatchcase(name, pattern) for pattern in self.patterns)

    def _tap(self, place: str, make: Callable[[], Tensor]) -> None:
        """Keep what ``make`` gives, [b, ...], if its name is wanted."""
        if self._wanted(place):
            with torch.no_grad():
                self.arrays[self._name(place)] = self._copy(make()[self.member], self._name(place))

    def _copy(self, values: Tensor, name: str) -> np.ndarray:
        self.bytes += 4 * values.numel()
        if self.bytes > self.max_bytes:
            raise BadInput(
                f"the taps take more than {self.max_bytes / 1e6:.0f} MB from {name} on; name fewer "
                "by a pattern, keep fewer rows (keep=[0] or 'mean'), or raise max_bytes"
            )
        return values.detach().to("cpu", torch.float32, copy=True).numpy()

    def _before(self, module: nn.Module, act: Callable[[tuple], None]) -> None:
        hook = module.register_forward_pre_hook(lambda _, inputs: act(inputs))
        self.handles.append(hook)

    def _after(self, module: nn.Module, act: Callable[[Any], None]) -> None:
        hook = module.register_forward_hook(lambda _, inputs, output: act(output))
        self.handles.append(hook)

    def _listen(self, module: nn.Module, hear: Callable) -> None:
        module.record = hear
        self.listening.add(module)

    def _stop_listening(self, module: nn.Module) -> None:
        if module in self.listening:
            module.record = None
            self.listening.remove(module)

    def detach(self) -> None:
        for handle in self.handles:
            handle.remove()
        for module in list(self.listening):
            self._stop_listening(module)

    def check_patterns(self) -> None:
        for pattern in self.patterns:
            if self.offered and not any(fnmatchcase(name, pattern) for name in self.offered):
                some = sorted(self.offered)
                raise BadInput(
                    f"no tap matches {pattern!r}; there are {len(some)}, such as {some[0]}, "
                    f"{some[len(some) // 2]}, {some[-1]}"
                )


class _Rows:
    """Rows of attention weights that come a few at a time, reduced as they come."""

    def __init__(self, keep: str | list[int] | None, copy: Callable, name: str):
        self.keep, self.copy, self.name = keep, copy, name
        self.parts: list[np.ndarray] = []
        self.total: Tensor | None = None
        self.seen = 0

    def add(self, weights: Tensor) -> None:
        """Args: weights: [row, ...]"""
        weights, rows = weights.detach(), len(weights)
        if self.keep == "mean":
            part = weights.float().sum(0)
            self.total = part if self.total is None else self.total + part
        elif self.keep is None:
            self.parts.append(self.copy(weights, self.name))
        else:
            here = [row - self.seen for row in self.keep if self.seen <= row < self.seen + rows]
            self.parts.append(self.copy(weights[here], self.name))
        self.seen += rows

    def result(self) -> np.ndarray:
        if self.keep == "mean":
            return self.copy(self.total / max(self.seen, 1), self.name)
        if self.keep is not None and not 0 <= self.keep[0] <= self.keep[-1] < self.seen:
            raise BadInput(
                f"{self.name} has rows 0 to {self.seen - 1}; keep={self.keep} does not fit"
            )
        # chunks are of axis -4: rows; of templates/attention j
        return self.parts[0] if len(self.parts) == 1 else np.concatenate(self.parts, axis=-4)
