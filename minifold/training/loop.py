"""The training loop (supplement 1.11): Adam, warm-up, clipping per example, EMA, checkpoints."""

from __future__ import annotations

import csv
import json
import math
import os
import platform
import random
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from tqdm import tqdm

from minifold.data.features import Batch
from minifold.data.files import write_text
from minifold.errors import BadInput
from minifold.model import weights as weight_files
from minifold.model.alphafold import AlphaFold
from minifold.model.evoformer import EvoformerStack
from minifold.model.primitives import set_attention
from minifold.training import distributed
from minifold.training.losses import LossWeights, loss, trunk_losses
from minifold.training.sources import Source


@dataclass(frozen=True)
class Settings:
    """How to train. AlphaFold2's value stands beside each default."""

    steps: int | None = None  # stop after so many steps ...
    minutes: float | None = None  # ... or minutes: CPU time of all threads, wall time on a GPU
    wall: bool = False  # count wall time on a CPU too
    batch: int = 8  # 128
    micro_batch: int | None = None  # examples per backward pass, clipped together; 1
    learning_rate: float = 2e-3  # 1e-3
    structure_rate: float = 1.0  # of structure module and confidence heads, times the rate; 1
    trunk_first: float = 0.0  # share of the budget without the structure module, at the start; 0
    warmup: int = 50  # steps; 1000
    final: float = 0.02  # the rate falls to this share along a cosine; 0.95 after 50,000 steps
    clip: float = 1.0  # largest norm of a micro-batch's gradient; 0.1
    ema: float = 0.998  # decay of the weights' moving average; 0.999
    bfloat16: bool = False  # compute the trunk in bfloat16 (autocast); True on TPUs
    checkpointing: bool = False  # keep no activations inside the blocks; True
    seed: int = 0
    evaluations: int = 8  # how often the held-out proteins are measured
    loss: LossWeights = field(default_factory=LossWeights)


def clip_and_accumulate(
    parameters: Sequence[nn.Parameter], sums: Sequence[Tensor], limit: float
) -> float:
    """Clip the gradient of one micro-batch by its global norm and add it to the sums.

    Clipping comes before averaging (supplement 1.11.3): clipping an average, or a gradient that
    was already divided by the number of micro-batches, is a weaker limit. Returns the norm.
    """
    gradients = [p.grad if p.grad is not None else torch.zeros_like(p) for p in parameters]
    norm = float(nn.utils.get_total_norm(gradients))
    torch._foreach_add_(list(sums), gradients, alpha=min(1.0, limit / (norm + 1e-6)))
    for parameter in parameters:
        parameter.grad = None
    return norm


class Trainer:
    """Trains a model on a source and writes log, checkpoints and weights into a folder.

    Files: ``weights.safetensors`` (moving average), ``checkpoint.pt``, ``log.csv``,
    ``settings.json``.

    Args:
        model: what is trained.
        source: where the examples come from.
        settings: how.
        folder: where the files go.
        device: where the model is trained.

    Raises:
        BadInput: no budget is given, or the processes cannot share the batch.
    """

    def __init__(
        self,
        model: AlphaFold,
        source: Source,
        settings: Settings,
        folder: str | Path,
        device: torch.device | str = "cpu",
    ):
        if settings.steps is None and settings.minutes is None:
            raise BadInput("give a number of steps or of minutes")
        self.rank, self.world = distributed.rank(), distributed.world()
        if settings.batch % self.world:
            raise BadInput(
                f"{self.world} processes cannot share a batch of {settings.batch} evenly; "
                "start a number of processes that divides it"
            )
        self.settings, self.source = settings, source
        self.folder, self.device = Path(folder), torch.device(device)
        self.model = model.to(self.device)
        if self.device.type == "cpu":  # there the fused kernel is the slower one for small heads
            set_attention(self.model, "clear")
        self.average = AlphaFold(model.config).to(self.device).eval().requires_grad_(False)
        self.average.load_state_dict(model.state_dict())
        for module in self.model.modules():
            if isinstance(module, EvoformerStack):
                module.checkpointing = settings.checkpointing
        self.optimizer = torch.optim.Adam(self._groups(), eps=1e-6, fused=True)
        self.step, self.spent = 0, 0.0  # steps done, minutes spent
        self.rows: list[dict[str, float]] = []

    # --- one step ---------------------------------------------------------------------------

    def progress(self) -> float:
        """How much of the budget is used, 0 to 1."""
        parts = [0.0]
        if self.settings.steps:
            parts.append(self.step / self.settings.steps)
        if self.settings.minutes:
            parts.append(self.spent / self.settings.minutes)
        return min(1.0, max(parts))

    def _groups(self) -> list[dict]:
        """Parameters that may learn alone (trunk and its heads), and those from the structure on.

        "factor" multiplies the rate of a group, "steps" counts its updates.
        """
        trunk, structure = [], []
        for name, parameter in self.model.named_parameters():
            early = name.split(".")[0] in ("trunk", "distogram", "masked_msa")
            (trunk if early else structure).append(parameter)
        factor = self.settings.structure_rate
        return [
            {"params": trunk, "factor": 1.0, "steps": 0},
            {"params": structure, "factor": factor, "steps": 0},
        ]

    def learning_rate(self, steps: int) -> float:
        """Linear warm-up over a group's first steps; half a cosine down to the final share."""
        s = self.settings
        cosine = 0.5 * (1 + torch.cos(torch.tensor(torch.pi * self.progress())).item())
        rate = s.final + (1 - s.final) * cosine
        return s.learning_rate * rate * min(1.0, (steps + 1) / max(1, s.warmup))

    def train_step(self, batch: Batch) -> dict[str, float]:
        """One update of the weights; returns the losses, averaged over the batch.

        With several processes each of them takes its share of the batch, whose gradients are
        clipped there; their sums, clipped, are then averaged over all.
        """
        s = self.settings
        self.model.train()
        trunk_only = self.progress() < s.trunk_first
        groups = self.optimizer.param_groups[: 1 if trunk_only else 2]
        parameters = [p for group in groups for p in group["params"]]
        sums = [torch.zeros_like(p) for p in parameters]
        draw = random.Random(s.seed * 1_000_003 + self.step)
        recycles = draw.randint(0, self.model.config.recycles)  # Alg. 31 line 1
        size = batch.aatype.shape[0] // self.world
        batch = batch.map(lambda x: x[self.rank * size : (self.rank + 1) * size])
        micro = s.micro_batch or size
        values: dict[str, float] = {}
        for start in range(0, size, micro):
            part = batch.map(lambda x, a=start: x[a : a + micro]).to(self.device)
            with torch.autocast(self.device.type, torch.bfloat16, enabled=s.bfloat16):
                if trunk_only:
                    losses = trunk_losses(self.model, part, s.loss)
                else:
                    losses = loss(self.model(part, recycles=recycles), part, s.loss)
            losses["total"].backward()
            share = part.aatype.shape[0] / size
            for key, value in losses.items():
                key = "loss" if key == "total" else key
                values[key] = values.get(key, 0.0) + share * float(value.detach())
            norm = clip_and_accumulate(parameters, sums, s.clip)
            values["gradient"] = max(values.get("gradient", 0.0), norm)
        means = distributed.mean_over_processes(list(values.values()), self.device)
        values = dict(zip(values, means))
        if not math.isfinite(values["loss"] + values["gradient"]):
            raise BadInput(
                f"the loss is {values['loss']} at step {self.step}; the last good checkpoint is "
                f"kept in {self.folder}; resume from it with a lower Settings.learning_rate"
            )
        distributed.sum_over_processes(sums)
        torch._foreach_div_(sums, self.world * -(-size // micro))
        for parameter, total in zip(parameters, sums):
            parameter.grad = total
        for group in groups:
            group["lr"] = group["factor"] * self.learning_rate(group["steps"])
            group["steps"] += 1
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self._update_average()
        self.step += 1
        return values

    def _update_average(self) -> None:
        """Exponential moving average of the weights (supplement 1.11.7), short at the start."""
        decay = min(self.settings.ema, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            mean, now = list(self.average.parameters()), list(self.model.parameters())
            torch._foreach_lerp_(mean, now, 1 - decay)

    # --- the whole run ----------------------------------------------------------------------

    def run(self, quiet: bool = False, stop_after: int | None = None) -> AlphaFold:
        """Train until the budget is used; returns the averaged model.

        Args:
            quiet: no progress bar.
            stop_after: leave after so many steps, as an interruption would (for tests).
        """
        s, first = self.settings, self.rank == 0
        if first:
            write_text(self.folder / "settings.json", json.dumps(asdict(s), indent=1) + "\n")
        marks = [(k + 1) / s.evaluations for k in range(s.evaluations)]
        done = sum(mark <= self.progress() for mark in marks)
        total = s.steps if s.minutes is None else round(60 * s.minutes)
        unit = "step" if s.minutes is None else "s"
        bar = tqdm(total=total, disable=quiet or not first, unit=unit)
        running: dict[str, float] = {}
        with ThreadPoolExecutor(1) as ahead, bar:
            upcoming = ahead.submit(self.source.batch, self.step, s.batch)
            while self.progress() < 1.0 and self.step != stop_after:
                started = self._clock()
                batch = upcoming.result()
                upcoming = ahead.submit(self.source.batch, self.step + 1, s.batch)
                values = self.train_step(batch)
                for key, value in values.items():
                    running[key] = 0.95 * running.get(key, value) + 0.05 * value
                self.spent += (self._clock() - started) / 60
                (self.spent,) = distributed.mean_over_processes([self.spent], self.device)
                at = self.step if s.minutes is None else min(total, round(60 * self.spent))
                bar.update(at - bar.n)
                bar.set_postfix_str(self._postfix(running), refresh=False)
                if done < len(marks) and self.progress() >= marks[done]:
                    done += 1
                    if first:
                        self._log(running)
            upcoming.cancel()
        return self.average

    def _clock(self) -> float:
        """Seconds: CPU time of all threads on a CPU (fair on a busy machine), else wall time."""
        cpu = self.device.type == "cpu" and not self.settings.wall
        return time.process_time() if cpu else time.perf_counter()

    def _postfix(self, running: dict[str, float]) -> str:
        parts = [f"step {self.step}", f"loss {running['loss']:.2f}"]
        if self.rows:
            last = self.rows[-1]
            parts += [f"{key} {last[key]:.2f}" for key in ("lddt_ca", "rmsd_ca") if key in last]
        return ", ".join(parts)

    def _log(self, running: dict[str, float]) -> None:
        """Measure, add a row to the log, and write checkpoint and weights."""
        started = self._clock()
        scores = self.source.measure(self.average)
        self.spent += (self._clock() - started) / 60
        self.rows.append(
            {"step": self.step, "minutes": round(self.spent, 4)}
            | {key: round(value, 5) for key, value in (running | scores).items()}
        )
        self.save()

    # --- checkpoints ------------------------------------------------------------------------

    def save(self) -> None:
        """Write log, weights and checkpoint, each under a temporary name first.

        Raises:
            BadInput: the disk is full, or the folder cannot be written; the last files are kept.
        """
        try:
            self._replace("log.csv", self._write_log)
            state = {
                "config": asdict(self.model.config),
                "data": self.source.data,
                "model": self.model.state_dict(),
                "average": self.average.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "step": self.step,
                "spent": self.spent,
                "rows": self.rows,
                "random": torch.get_rng_state(),
            }
            self._replace("checkpoint.pt", lambda path: torch.save(state, path))
            weight_files.save(self.average, self.folder / "weights.safetensors")
        except (OSError, RuntimeError, SafetensorError) as error:
            raise BadInput(
                f"{self.folder}: cannot write the checkpoint, perhaps the disk is full "
                f"({_reason(error)}); the last one is kept"
            ) from None

    def _replace(self, name: str, write) -> None:
        path = self.folder / name
        temporary = path.with_name(name + ".part")
        try:
            write(temporary)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)

    def _write_log(self, path: Path) -> None:
        keys = list(dict.fromkeys(key for row in self.rows for key in row))
        with open(path, "w", newline="") as file:
            writer = csv.DictWriter(file, keys, restval="")
            writer.writeheader()
            writer.writerows(self.rows)

    def resume(self) -> None:
        """Go on from the checkpoint in the folder.

        Raises:
            BadInput: there is none, it cannot be read, or it is of another model or other data.
        """
        path = self.folder / "checkpoint.pt"
        if not path.is_file():
            raise BadInput(f"{path} is not there: nothing to resume; leave --resume out to start")
        try:
            state = torch.load(path, map_location=self.device, weights_only=True)
        except Exception as error:  # each kind of damage has its own
            raise BadInput(f"{path}: not a readable checkpoint ({_reason(error)})") from None
        if not isinstance(state, dict) or "config" not in state:
            raise BadInput(f"{path}: a file of another program, not a checkpoint of minifold")
        mine, theirs = asdict(self.model.config), state["config"]
        different = [key for key in mine if mine[key] != theirs.get(key)]
        if different:
            raise BadInput(
                f"{path} is of preset {theirs.get('name')!r}, not {mine['name']!r} "
                f"(they differ in {', '.join(different[:4])}); give the preset it was made with"
            )
        data = state.get("data", self.source.data)  # early checkpoints do not say
        if data != self.source.data:
            raise BadInput(
                f"{path} was trained on {data}, not on {self.source.data}; give the data and the "
                "seed it was made with"
            )
        try:
            self.model.load_state_dict(state["model"])
            self.average.load_state_dict(state["average"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.step, self.spent, self.rows = state["step"], state["spent"], state["rows"]
            torch.set_rng_state(state["random"].cpu())
        except (KeyError, RuntimeError, ValueError) as error:
            raise BadInput(
                f"{path}: does not fit this version of minifold ({_reason(error)})"
            ) from None


def _reason(error: Exception) -> str:
    """The first line of what an error says, or its name if it says nothing."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def hardware() -> str:
    """The machine in neutral words, for results files."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return (
        f"{platform.machine()} CPU, {os.cpu_count()} cores, threads used: {torch.get_num_threads()}"
    )
