"""Pages that hold everything they show: one HTML file, no network, the same bytes every time.

``write_report`` puts any sections on a page, such as the report of ``make demo``; the page of a
prediction is in ``minifold.look.prediction_page``. A page carries one copy of 3Dmol.js, however
many views it has, and forbids its browser to load anything (Content-Security-Policy).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

from matplotlib.figure import Figure

from minifold.data.files import write_text
from minifold.look import plots
from minifold.look.pair_view import PairView
from minifold.look.score_table import Row, score_table
from minifold.look.view3d import View, asset, data_uri, library

__all__ = ["Row", "Section", "score_table", "write_report"]

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
POLICY += "script-src 'unsafe-inline' 'unsafe-eval'"  # eval: the library is unpacked in the page


@dataclass(frozen=True)
class Section:
    """A part of a page; what is empty is left out, the order is that of the fields."""

    title: str
    text: Sequence[str] = ()  # paragraphs, plain text
    rows: Sequence[Row] = ()  # a score table
    numbers: Mapping[str, str | float | int] = field(default_factory=dict)  # name: value, in boxes
    downloads: Sequence[tuple[str, str, str]] = ()  # words, name of the file, its text
    views: Sequence[View | PairView] = ()
    figures: Sequence[Figure] = ()
    sequence: str = ""
    shades: Sequence[str] = ()  # a colour for each letter of it
    notes: Sequence[str] = ()  # shown when the mouse is over a letter
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
<title>{escape(title)}</title>
<style>{asset("report.css")}{asset("view.css")}</style>
</head>
<body>
<main>
<h1>{escape(title)}</h1>
<p class="lead">{escape(lead)}</p>
{body}
<footer>{escape(footer)}{" · " if footer else ""}This page works offline.{libraries}</footer>
</main>
{scripts}
</body>
</html>
"""
    write_text(path, page)


def _section(section: Section) -> str:
    parts = [f"<section><h2>{escape(section.title)}</h2>"]
    parts += [f"<p>{escape(paragraph)}</p>" for paragraph in section.text]
    if section.rows:
        parts.append(score_table(section.rows))
    if section.numbers:
        boxes = "".join(
            f"<div><dt>{escape(name)}</dt><dd>{escape(str(value))}</dd></div>"
            for name, value in section.numbers.items()
        )
        parts.append(f'<dl class="numbers">{boxes}</dl>')
    if section.downloads:
        links = " ".join(map(_link, section.downloads))
        parts.append(f'<p class="downloads">Download: {links}</p>')
    if section.views:
        parts.append('<div class="grid">' + "".join(v.html() for v in section.views) + "</div>")
    if section.sequence:
        parts.append(_letters(section.sequence, section.shades, section.notes))
    if section.figures:
        parts.append('<div class="grid">' + "".join(map(_figure, section.figures)) + "</div>")
    return "\n".join([*parts, section.html, "</section>"])


def _link(download: tuple[str, str, str]) -> str:
    words, name, text = download
    kind = "application/json" if name.endswith(".json") else "text/plain;charset=utf-8"
    address = data_uri(text.encode(), kind)
    return f'<a download="{escape(name)}" href="{address}">{escape(words)}</a>'


def _figure(figure: Figure) -> str:
    titles = [figure.get_suptitle(), *(ax.get_title(loc="left") for ax in figure.axes)]
    words = escape("; ".join(title for title in titles if title))
    width = round(figure.get_figwidth() * 96)
    picture = data_uri(plots.png(figure, colors=256))
    return f'<figure class="plot"><img alt="{words}" width="{width}" src="{picture}"></figure>'


def _letters(sequence: str, shades: Sequence[str], notes: Sequence[str]) -> str:
    """The sequence in blocks of ten, each with the number of its first residue."""
    blocks = []
    for start in range(0, len(sequence), 10):
        letters = ""
        for k in range(start, min(start + 10, len(sequence))):
            shade = f' style="border-color:{shades[k]}"' if shades else ""
            note = f' title="{escape(notes[k])}"' if notes else ""
            letters += f'<span data-k="{k}"{shade}{note}>{escape(sequence[k])}</span>'
        blocks.append(f"<div><small>{start + 1}</small>{letters}</div>")
    return f'<div class="sequence">{"".join(blocks)}</div>'
