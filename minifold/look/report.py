"""Pages that hold everything they show: one HTML file, no network, the same bytes every time.

``write_prediction_page`` is the view.html of one prediction; ``write_report`` puts any sections on
a page, such as the report of ``make demo``. A page carries one copy of 3Dmol.js, however many views
it has, and forbids its browser to load anything (Content-Security-Policy).
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np
import torch
from matplotlib.figure import Figure

from minifold.data.files import write_text
from minifold.data.residues import ATOM_INDEX
from minifold.data.structures import Chain
from minifold.look import plots
from minifold.look.view3d import (
    METRICS,
    PLDDT_BANDS,
    View,
    asset,
    data_uri,
    library,
    trajectory,
    view,
)
from minifold.training.metrics import align_sequences, evaluate, lddt_per_point

if TYPE_CHECKING:
    from minifold.predict import Prediction

CA, CB = ATOM_INDEX["CA"], ATOM_INDEX["CB"]
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
POLICY += "script-src 'unsafe-inline' 'unsafe-eval'"  # eval: the library is unpacked in the page


@dataclass(frozen=True)
class Row:
    """One protein of a score table, beside what costs nothing to predict."""

    name: str
    metrics: Mapping[str, float]  # such as {"lddt_ca": 0.9, "rmsd_ca": 0.8}
    baselines: Mapping[str, Mapping[str, float]] = field(default_factory=dict)  # {"helix": {...}}
    note: str = ""  # such as the number of residues


@dataclass(frozen=True)
class Section:
    """A part of a page; what is empty is left out, the order is that of the fields."""

    title: str
    text: Sequence[str] = ()  # paragraphs, plain text
    rows: Sequence[Row] = ()  # a score table
    numbers: Mapping[str, str | float | int] = field(default_factory=dict)  # name: value, in boxes
    views: Sequence[View] = ()
    plddt_key: bool = False  # explain the colours of the views
    figures: Sequence[Figure] = ()
    sequence: str = ""  # shown in lines of 60
    html: str = ""  # anything else, as it is


def write_report(
    path: str | Path, title: str, lead: str, sections: Sequence[Section], footer: str = ""
) -> None:
    """Write one self-contained page.

    Args:
        lead: what the reader should know first, in one or two sentences.
        footer: plain text at the end, such as the command that made the page.

    Raises:
        BadInput: the file cannot be written.
    """
    body = "".join(_section(section) for section in sections)
    scripts = library() if any(section.views for section in sections) else ""
    libraries = " 3D by 3Dmol.js (BSD-3-Clause; its licence is in this file)." if scripts else ""
    page = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>{_text(title)}</title>
<style>{asset("report.css")}{asset("view.css")}</style>
</head>
<body>
<main>
<h1>{_text(title)}</h1>
<p class="lead">{_text(lead)}</p>
{body}
<footer>{_text(footer)}{" " if footer else ""}This page works offline.{libraries}</footer>
</main>
{scripts}
</body>
</html>
"""
    write_text(path, page)


def write_prediction_page(
    prediction: Prediction, path: str | Path, truth: Chain | None = None
) -> None:
    """Write view.html: the structure, how sure the model is and why, and how it was made.

    With ``truth`` the page compares: superposition, scores, true distances and true lDDT.

    Raises:
        BadInput: the file cannot be written, or the truth is another protein.
    """
    p, n = prediction, len(prediction.sequence)
    numbers: dict[str, str | float | int] = {
        "residues": n,
        "mean pLDDT": _number(float(p.plddt.mean()), 1),
    }
    if p.ptm is not None:
        numbers["pTM"] = _number(p.ptm, 3)
    numbers["sequences (median)"] = f"{np.median(p.msa_depth):.0f}"
    chains, caption = [p.chain], "Predicted structure, coloured by confidence."
    distances = contacts = lddt = None
    if truth is not None:
        chains, caption = [p.chain, truth], "Prediction in colour, experiment in grey, superposed."
        for metric, value in evaluate(p.chain, truth).items():
            label, unit, *_ = METRICS[metric]
            numbers[f"{label} ({unit})" if unit else label] = _metric(metric, value)
        distances, lddt = _true_distances(truth, p.sequence), _true_lddt(p.chain, truth)
        contacts = np.where(np.isfinite(distances), distances < 8, np.nan)
    main = Section(
        title="Structure",
        numbers=numbers,
        views=[
            view(chains, "plddt", superpose=truth is not None, caption=caption),
            trajectory(
                p.chain,
                p.trajectory,
                labels=[f"after layer {k + 1}" for k in range(len(p.trajectory))],
                caption="Cα trace after each layer of the structure module, in the last pass; "
                "from the N-terminus (dark) to the C-terminus (bright).",
            ),
        ],
        plddt_key=True,
        sequence=p.sequence,
    )
    pairs = [plots.distance_map(p.distances, distances), plots.contact_map(p.contacts, contacts)]
    sure = Section(
        title="How sure the model is",
        text=[
            "pLDDT is the model's own estimate, from 0 to 100, of how well the surroundings of "
            "each residue are predicted. It can be wrong, above all in a small model.",
        ],
        figures=[plots.plddt(p.plddt, lddt, p.residue_index)]
        + ([] if p.pae is None else [plots.pae(p.pae)]),
    )
    belief = Section(
        title="What it believes about pairs of residues",
        text=[
            "From the distogram, the distribution over distances that is read from the pair "
            "representation before any structure is built: the expected distance, and the "
            "probability of a contact."
        ],
        figures=pairs,
    )
    made = Section(
        title="How it was made",
        text=["What went in is the alignment; its depth is the number of related sequences."],
        numbers={str(k): v for k, v in p.about.items()},
        figures=[plots.msa_depth(p.msa_depth)],
    )
    lead = f"A predicted structure of {n} residues"
    lead += (
        " beside the experimental one." if truth is not None else ", with the model's confidence."
    )
    write_report(path, p.name or "Prediction", lead, [main, sure, belief, made])


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
        second += '<th class="first">model</th>' + "".join(f"<th>{_text(x)}</th>" for x in names)
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
        f'<div class="wide"><table><caption>{_text(words)}</caption>'
        f"<thead>{top}</tr>{second}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _score_row(row: Row, metrics: list[str], names: list[str], kind: str = "") -> str:
    note = f" <small>{_text(row.note)}</small>" if row.note else ""
    cells = f"<td>{_text(row.name)}{note}</td>"
    for metric in metrics:
        values = [row.metrics.get(metric)]
        values += [row.baselines.get(name, {}).get(metric) for name in names]
        known = [x for x in values if x is not None]
        best = (max if METRICS[metric][3] else min)(known) if len(known) > 1 else None
        for k, value in enumerate(values):
            classes = " ".join(
                ["ours first"] * (k == 0) + ["best"] * (value is not None and value == best)
            )
            shown = "–" if value is None else _metric(metric, value)
            cells += f'<td class="{classes}">{shown}</td>' if classes else f"<td>{shown}</td>"
    return f'<tr class="{kind}">{cells}</tr>' if kind else f"<tr>{cells}</tr>"


def _section(section: Section) -> str:
    parts = [f"<section><h2>{_text(section.title)}</h2>"]
    parts += [f"<p>{_text(paragraph)}</p>" for paragraph in section.text]
    if section.rows:
        parts.append(score_table(section.rows))
    if section.numbers:
        boxes = "".join(
            f"<div><dt>{_text(name)}</dt><dd>{_text(str(value))}</dd></div>"
            for name, value in section.numbers.items()
        )
        parts.append(f'<dl class="numbers">{boxes}</dl>')
    if section.plddt_key:
        bands = "".join(
            f'<span><i style="background:{color}"></i>{_text(words)}</span>'
            for _, words, color in PLDDT_BANDS
        )
        parts.append(f'<div class="key"><b>pLDDT</b>{bands}</div>')
    if section.views:
        parts.append('<div class="grid">' + "".join(v.html() for v in section.views) + "</div>")
    if section.figures:
        parts.append('<div class="grid">' + "".join(map(_figure, section.figures)) + "</div>")
    if section.sequence:
        lines = range(0, len(section.sequence), 60)
        text = "\n".join(_numbered(section.sequence[k : k + 60], k) for k in lines)
        parts.append(f'<div class="sequence" tabindex="0">{_text(text)}</div>')
    return "\n".join([*parts, section.html, "</section>"])


def _figure(figure: Figure) -> str:
    titles = [figure.get_suptitle(), *(ax.get_title(loc="left") for ax in figure.axes)]
    words = _text("; ".join(title for title in titles if title))
    width = round(figure.get_figwidth() * 96)
    picture = data_uri(plots.png(figure))
    return f'<figure class="plot"><img alt="{words}" width="{width}" src="{picture}"></figure>'


def _numbered(line: str, start: int) -> str:
    """A line of sequence in blocks of ten, with the number of its first residue."""
    return f"{start + 1:5d}  " + " ".join(line[k : k + 10] for k in range(0, len(line), 10))


def _true_distances(truth: Chain, sequence: str) -> np.ndarray:
    """Cβ distances (Cα in glycine) [n, n] of the truth at the residues of a sequence, or NaN."""
    ours, theirs = align_sequences(sequence, truth.sequence)
    has_cb = truth.mask[:, CB, None] > 0
    x = np.where(has_cb, truth.positions[:, CB], truth.positions[:, CA]).astype(np.float64)
    x[(truth.mask[:, CA] == 0) & ~has_cb[:, 0]] = np.nan
    placed = np.full((len(sequence), 3), np.nan)
    placed[ours] = x[theirs]
    return np.linalg.norm(placed[:, None] - placed[None], axis=-1)


def _true_lddt(predicted: Chain, truth: Chain) -> np.ndarray:
    """lDDT-Cα, 0-100, of each predicted residue; NaN where the truth has none."""
    ours, theirs = align_sequences(predicted.sequence, truth.sequence)
    both = predicted.mask[ours, CA] * truth.mask[theirs, CA] > 0
    ours, theirs = ours[both], theirs[both]
    x, y = (
        torch.from_numpy(np.asarray(chain.positions[at, CA], np.float32))[None]
        for chain, at in ((predicted, ours), (truth, theirs))
    )
    result = np.full(len(predicted.sequence), np.nan)
    result[ours] = 100 * lddt_per_point(x, y, torch.ones(1, len(ours)))[0].numpy()
    return result


def _metric(name: str, value: float) -> str:
    return _number(value, METRICS[name][2])


def _number(value: float, digits: int) -> str:
    return f"{value:.{digits}f}"


def _text(words: str) -> str:
    return html.escape(words)
