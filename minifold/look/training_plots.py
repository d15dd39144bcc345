"""Curves of a training, each metric beside what costs nothing to predict."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from minifold.data.files import read_text
from minifold.errors import BadInput
from minifold.look import style


def read_log(path: str | Path) -> dict[str, np.ndarray]:
    """The columns of a training log (CSV of numbers with a header); NaN where a field is empty.

    Raises:
        BadInput: no such file, no rows, or something that is no number.
    """
    rows = list(csv.DictReader(io.StringIO(read_text(path))))
    if not rows:
        raise BadInput(f"{path} has no rows; is it a training log with a header line?")
    columns: dict[str, list[float]] = {name: [] for name in rows[0]}
    for line, row in enumerate(rows, start=2):
        for name, values in columns.items():
            try:
                values.append(float(row[name]) if row[name] else float("nan"))
            except (TypeError, ValueError):
                raise BadInput(
                    f"{path} line {line}: {row[name]!r} in column {name} is no number; "
                    "give a training log"
                ) from None
    return {name: np.array(values) for name, values in columns.items()}


def loss_curve(
    log: Mapping[str, np.ndarray],
    metrics: Sequence[str] = (),
    baselines: Mapping[str, Mapping[str, float]] | None = None,
) -> Figure:
    """Loss over the steps of a training, and beside it each metric with its baselines.

    Args:
        log: columns "step", "loss", and the metrics; as ``read_log`` gives them.
        baselines: for each metric the values of what is easy, such as {"lddt_ca": {"helix": 0.3}}.

    Raises:
        BadInput: a column is missing.
    """
    for name in ("step", "loss", *metrics):
        if name not in log:
            raise BadInput(f"the log has no column {name!r}, but {', '.join(log)}")
    panels = ("loss", *metrics)
    figure, grid = style.sheet(3.6 * len(panels) if metrics else 5.6, 3.0, len(panels))
    for ax, name, color in zip(grid[0], panels, style.CYCLE * 3):
        there = np.isfinite(log[name])
        step, values = log["step"][there], log[name][there]
        many = len(values) > 150
        thin = {"linewidth": 1.0, "alpha": 0.35} if many else {"linewidth": 1.8}
        marker = None if len(values) > 40 else "o"
        ax.plot(step, values, color=color, marker=marker, markersize=4, **thin)
        if many:  # the running mean is what the eye looks for
            window = max(5, len(values) // 40)
            mean = np.convolve(values, np.ones(window) / window, mode="valid")
            ax.plot(step[window - 1 :], mean, color=color, linewidth=2.0)
        ax.set(xlabel="training step")
        easy = dict((baselines or {}).get(name, {}))
        _baselines(ax, easy)
        if name == "loss" and len(values) and values.min() > 0 and values.max() > 20 * values.min():
            ax.set_yscale("log")
        style.headline(ax, METRIC_NAMES.get(name, name))
    return figure


METRIC_NAMES = {
    "loss": "Loss",
    "lddt": "lDDT, all atoms (higher is better)",
    "lddt_ca": "lDDT-Cα (higher is better)",
    "tm_score": "TM-score (higher is better)",
    "gdt_ts": "GDT-TS (higher is better)",
    "gdt_ha": "GDT-HA (higher is better)",
    "rmsd_ca": "RMSD of Cα in Å (lower is better)",
}


def _baselines(ax: Axes, values: Mapping[str, float]) -> None:
    """Dashed lines with their names at the right end, moved apart where they would collide."""
    low, high = ax.get_ylim()
    if values:
        low, high = min(low, *values.values()), max(high, *values.values())
        margin = 0.06 * (high - low)
        ax.set_ylim(low - margin, high + margin)
        low, high = ax.get_ylim()
    place = -np.inf
    for name, value in sorted(values.items(), key=lambda item: item[1]):
        ax.axhline(value, color=style.INK, linewidth=1.2, linestyle=(0, (4, 3)))
        place = max((value - low) / (high - low), place + 0.08)
        ax.text(1.02, place, name, transform=ax.transAxes, fontsize=9, va="center")
