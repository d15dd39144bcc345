"""A table of scores for a page, each beside what costs nothing to predict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from statistics import fmean

from minifold.look.view3d import METRICS


@dataclass(frozen=True)
class Row:
    """One protein of a score table, beside what costs nothing to predict."""

    name: str
    metrics: Mapping[str, float]  # such as {"lddt_ca": 0.9, "rmsd_ca": 0.8}
    baselines: Mapping[str, Mapping[str, float]] = field(default_factory=dict)  # {"helix": {...}}
    note: str = ""  # such as the number of residues


def score_table(rows: Sequence[Row], caption: str = "") -> str:
    """Scores of each protein and their mean as an HTML table, each metric beside the baselines."""
    metrics = [m for m in METRICS if any(m in row.metrics for row in rows)]
    names = list(dict.fromkeys(name for row in rows for name in row.baselines))
    top, second = "<tr><th></th>", "<tr><th>protein</th>"
    for metric in metrics:
        label, unit, _, more = METRICS[metric]
        unit = f", {unit}" if unit else ""
        arrow = "↑" if more else "↓"
        top += f'<th class="first group" colspan="{1 + len(names)}">{label}{unit} {arrow}</th>'
        second += '<th class="first">model</th>' + "".join(f"<th>{escape(x)}</th>" for x in names)
    body = "".join(_score_row(row, metrics, names) for row in rows)
    if len(rows) > 1:
        scored = {m: [row.metrics[m] for row in rows if m in row.metrics] for m in metrics}
        easy = {
            name: {
                m: fmean(row.baselines[name][m] for row in rows)
                for m in metrics
                if all(m in row.baselines.get(name, {}) for row in rows)
            }
            for name in names
        }
        mean = Row("mean", {m: fmean(values) for m, values in scored.items()}, easy)
        body += _score_row(mean, metrics, names, "mean")
    words = caption or "↑ higher is better, ↓ lower is better; the best of each row is marked."
    return (
        f'<div class="wide"><table><caption>{escape(words)}</caption>'
        f"<thead>{top}</tr>{second}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _score_row(row: Row, metrics: list[str], names: list[str], kind: str = "") -> str:
    note = f" <small>{escape(row.note)}</small>" if row.note else ""
    cells = f"<td>{escape(row.name)}{note}</td>"
    for metric in metrics:
        values = [row.metrics.get(metric)]
        values += [row.baselines.get(name, {}).get(metric) for name in names]
        known = [x for x in values if x is not None]
        best = (max if METRICS[metric][3] else min)(known) if len(known) > 1 else None
        for k, value in enumerate(values):
            classes = " ".join(
                ["ours first"] * (k == 0) + ["best"] * (value is not None and value == best)
            )
            shown = "–" if value is None else metric_text(metric, value)
            cells += f'<td class="{classes}">{shown}</td>' if classes else f"<td>{shown}</td>"
    return f'<tr class="{kind}">{cells}</tr>' if kind else f"<tr>{cells}</tr>"


def metric_text(name: str, value: float) -> str:
    """A score with as many digits as make sense."""
    return f"{value:.{METRICS[name][2]}f}"
