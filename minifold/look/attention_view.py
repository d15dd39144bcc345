"""The attention viewer: one page in which every attention map can be looked through.

    with record(model) as taps:
        prediction = minifold.fold("data/sample_msas/kunitz_1bpi.a3m", model)
    write_attention_page("attention.html", taps, prediction.chain)   # a page of its own
    attention_view(taps, prediction.chain)       # a part of a page that has `view3d.library()`
    AttentionView(taps, prediction.chain)        # in a notebook

What is shown: ``minifold.look.attention_maps``. Weights are stored as bytes, 0 to 255 of the map's
largest, all together as gzip in base64. Nothing is loaded from the network; the same input gives
the same bytes.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import html
import json
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from minifold.data.files import write_bytes, write_text
from minifold.data.msa import Alignment
from minifold.data.residues import ATOM_INDEX
from minifold.data.structures import Chain
from minifold.errors import BadInput
from minifold.look import plots
from minifold.look.attention_maps import (
    KINDS,
    Maps,
    evenly,
    in_order,
    quantised,
    residue_names,
    that_fit,
)
from minifold.look.attention_pictures import grid, pictures, unit
from minifold.look.drawing3d import atom_lines
from minifold.look.taps import Record, record
from minifold.look.view3d import asset, data_uri, library, view
from minifold.model.alphafold import AlphaFold
from minifold.model.primitives import set_attention
from minifold.predict import DEFAULT_WEIGHTS, Prediction, fold, load, read_source

if TYPE_CHECKING:
    from minifold.data.template_search import Template

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
POLICY += "script-src 'unsafe-inline' 'unsafe-eval'"  # eval: the library is unpacked in the page
BLOCKS = 4  # as many blocks of each kind are shown, evenly spaced
LONGEST = 400  # residues: of longer proteins a page has no room for the attention
LARGE = 1 << 28  # bytes: more attention than this is averaged while it is recorded
SMALL = {"dpi": 84, "colors": 48}  # of still pictures: enough for one scale and its words
BACKBONE = [ATOM_INDEX[name] for name in ("N", "CA", "C", "O")]


def attention_view(
    record: Record,
    chain: Chain | None = None,
    blocks: int = BLOCKS,
    max_bytes: int | None = None,
) -> str:
    """The viewer as a part of a page that has ``view3d.library()`` in it once.

    Args:
        record: taps of the attentions, from one protein.
        chain: its structure; without it nothing is shown in 3D, and the page needs no library.
        blocks: the largest number of blocks shown of each kind, evenly spaced.
        max_bytes: budget for the weights, base64; None takes what is usual for the size.

    Raises:
        BadInput: the record has no attention, or the chain is another protein.
    """
    return AttentionView(record, chain, blocks, max_bytes).html()


def write_attention_page(
    path: str | Path,
    record: Record,
    chain: Chain | None = None,
    title: str = "Attention",
    **options,
) -> None:
    """Write one self-contained page; ``options`` as for `attention_view`.

    Raises:
        BadInput: as `attention_view`, or the file cannot be written.
    """
    write_text(path, AttentionView(record, chain, **options).page(title))


def attend(
    source: str | Path | Alignment,
    weights: str | AlphaFold = DEFAULT_WEIGHTS,
    recycles: int | None = None,
    seed: int = 0,
    device: str = "auto",
    templates: Sequence[Template] = (),
) -> tuple[Record, Prediction]:
    """Fold a protein and record its attention, distograms and frames; arguments as for `fold`.

    Where that would take more than 0.25 GB, attention is averaged over its rows as it comes, and of
    the last pass only.

    Raises:
        BadInput: as `minifold.fold`.
    """
    alignment = source if isinstance(source, Alignment) else read_source(source)
    model = weights if isinstance(weights, AlphaFold) else load(weights)
    c, n = model.config, len(alignment.query)
    last = c.recycles if recycles is None else recycles
    s = min(alignment.depth, c.max_msa) + (c.max_templates if c.templates else 0)
    size = 4 * (1 + last) * c.evoformer_blocks * n
    size *= c.msa_heads * s * (n + s) + 2 * c.pair_heads * n * n
    patterns = ["msa", "evoformer.*/msa_*", "evoformer.*/triangle_*", "structure.*/ipa*"]
    patterns += ["structure.*/frames", "evoformer.*/distogram"]
    options = (recycles, seed, device, templates)
    if size > LARGE:
        return _averaged(alignment, model, last, patterns, options)
    with record(model, *(f"*/{pattern}" for pattern in patterns)) as taps:
        return taps, fold(alignment, model, *options)


def glance(
    source: str | Path | Alignment,
    weights: str | AlphaFold = DEFAULT_WEIGHTS,
    recycles: int | None = None,
    seed: int = 0,
    device: str = "auto",
    templates: Sequence[Template] = (),
) -> tuple[Record | None, Prediction]:
    """Fold a protein and record what a page about it shows; arguments as for `fold`.

    That is the attention of four blocks in the last pass, averaged over its rows, and the last
    distogram. Of more than 400 residues nothing is recorded: it would not fit into a page.

    Raises:
        BadInput: as `minifold.fold`.
    """
    alignment = source if isinstance(source, Alignment) else read_source(source)
    model = weights if isinstance(weights, AlphaFold) else load(weights)
    options = (recycles, seed, device, templates)
    if len(alignment.query) > LONGEST:
        return None, fold(alignment, model, *options)
    c = model.config
    patterns = [f"evoformer.{c.evoformer_blocks - 1}/distogram"]
    for k in evenly(c.evoformer_blocks, BLOCKS):
        patterns += [f"evoformer.{k}/msa_*", f"evoformer.{k}/triangle_*"]
    patterns += [f"structure.{k}/ipa" for k in evenly(c.structure_layers, BLOCKS)]
    return _averaged(
        alignment, model, c.recycles if recycles is None else recycles, patterns, options
    )


def _averaged(
    alignment: Alignment, model: AlphaFold, last: int, patterns: Sequence[str], options: tuple
) -> tuple[Record, Prediction]:
    """Fold and record in the last pass, averaged over rows; a few rows at a time."""
    names = [f"recycle{last}/{pattern}" for pattern in patterns]
    chunked = len(alignment.query) > 64
    if chunked:
        set_attention(model, chunk=16)
    try:
        with record(model, *names, keep="mean", max_bytes=4 << 30) as taps:
            return taps, fold(alignment, model, *options)
    finally:
        if chunked:
            set_attention(model)


def write_attention(folder: str | Path, record: Record, chain: Chain, title: str) -> list[Path]:
    """Write attention.html, pictures, and the arrays, attention.npz.

    Pictures: all heads and blocks of each kind; one head, large; what one residue looks at, on the
    structure; MSA columns with the tree of the sequences; triangles with one corner fixed.

    Raises:
        BadInput: as `attention_view`, or a file cannot be written.
    """
    folder = Path(folder)
    viewer = AttentionView(record, chain)
    page = folder / "attention.html"
    write_text(page, viewer.page(title))
    paths = [page]
    for name, picture in pictures(viewer.firsts, record, chain).items():
        paths.append(folder / f"attention_{name}.png")
        write_bytes(paths[-1], picture)
    paths.append(folder / "attention.npz")
    record.save(paths[-1])
    return paths


class AttentionView:
    """The viewer with its faces: ``html()`` for a page, ``page()``, ``png()``; or in a notebook.

    There it is a still picture, for places where no script runs, and below it the live viewer in a
    frame of its own.
    """

    def __init__(
        self,
        record: Record,
        chain: Chain | None = None,
        blocks: int = BLOCKS,
        max_bytes: int | None = None,
    ):
        if chain is not None and chain.sequence != record.sequence:
            raise BadInput(
                f"the chain ({len(chain.sequence)} residues) and the taps "
                f"({len(record.sequence)} residues) differ; give both of one run"
            )
        self.record, self.chain = record, chain
        everything = list(in_order(record, blocks))
        if not everything:
            raise BadInput(
                "no attention in the record; record some, such as record(model, '*msa_row')"
            )
        self._maps = that_fit(everything, len(record.sequence), max_bytes)
        self._left_out = len(everything) - len(self._maps)
        firsts: dict[str, Maps] = {}
        for maps in everything:
            firsts.setdefault(maps.kind, maps)
        self.firsts = list(firsts.values())  # for pictures: of each kind the first slice

    @property
    def complete(self) -> bool:
        """Whether there was room for every kind of attention."""
        return {m.kind for m in self._maps} == {m.kind for m in self.firsts}

    def html(self) -> str:
        """The viewer, for a page that has ``view3d.library()`` in it once."""
        still = f'alt="{html.escape(self._alt)}" src="{data_uri(self._still())}"'
        return (
            f"<style>{asset('attention.css')}</style>"
            f'<figure class="mf-attention" id="{self.identifier}">'
            f'<img class="mfa-still" {still}>'
            f'<script type="application/json">{self._spec}</script></figure>'
            f"<script>{asset('tools.js')}</script><script>{asset('attention.js')}</script>"
        )

    def page(self, title: str = "Attention") -> str:
        """A page of its own."""
        words = html.escape(title)
        scripts = "" if self.chain is None else library()
        credit = " 3D by 3Dmol.js (BSD-3-Clause; its licence is in this file)." if scripts else ""
        return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>{words}</title>
<style>{asset("report.css")}{asset("view.css")}</style>
</head>
<body>
<main>
<h1>{words}</h1>
{self.html()}
<footer>{html.escape(self._about)} This page works offline.{credit}</footer>
</main>
{scripts}
</body>
</html>
"""

    def png(self) -> bytes:
        """A still picture: all heads and blocks of the first kind, last pass."""
        return plots.png(grid(self._maps[0]), **SMALL)

    def _still(self) -> bytes:
        """What a page shows where no script runs: the heads of the last block."""
        first = self._maps[0]
        last = replace(first, weights=first.weights[-1:], blocks=first.blocks[-1:])
        return plots.png(grid(last), **SMALL)

    @property
    def identifier(self) -> str:
        """A name made from the content."""
        return "attention-" + hashlib.sha256(self._spec.encode()).hexdigest()[:12]

    def _ipython_display_(self) -> None:
        from IPython.display import display  # notebooks have it

        text = {"text/plain": self._alt}
        display({"image/png": base64.b64encode(self.png()).decode(), **text}, raw=True)
        page = html.escape(self.page().replace("<h1>Attention</h1>\n", ""))
        frame = f'<iframe title="Attention viewer" srcdoc="{page}" '
        frame += 'style="width:100%;height:900px;border:0"></iframe>'
        display({"text/html": frame, **text}, raw=True)

    @property
    def _alt(self) -> str:
        first = self._maps[0]
        return f"Attention weights ({KINDS[first.kind].label}) of each block and head"

    @property
    def _about(self) -> str:
        n, words = len(self.record.sequence), "Weights are shown to 1/255 of the largest of a map."
        left = f" {self._left_out} of {self._left_out + len(self._maps)} slices are left out."
        return f"{n} residues. {words}{left if self._left_out else ''}"

    @cached_property
    def _spec(self) -> str:
        """What attention.js reads, as JSON that may stand in a page."""
        maps, data = [], bytearray()
        names = residue_names(self.record)
        for m in self._maps:
            largest = m.weights.max((2, 3))
            kind, row = KINDS[m.kind], m.row is not None
            maps.append(
                {
                    "kind": kind.label,
                    "recycle": m.recycle,
                    "slice": m.label,
                    "row": -1 if m.row is None else m.row,
                    "fixed": m.row if row and kind.row == "residue" else None,
                    "says": (kind.says if row or not kind.row else kind.on_average).replace(
                        "{row}", m.label
                    ),
                    "code": m.code,
                    "unit": unit(m),
                    "blocks": m.blocks,
                    "shape": m.weights.shape,
                    "sequences": kind.sequences,
                    "at": len(data),
                    "max": [[float(f"{x:.4g}") for x in block] for block in largest],
                }
            )
            data += quantised(m.weights).tobytes()
        spec = {
            "names": names,
            "numbers": [int(x) + 1 for x in self.record["input/residue_index"]],
            "letters": self.record.sequence,
            "pdb": "" if self.chain is None else _backbone(self.chain),
            "maps": maps,
            "data": base64.b64encode(gzip.compress(bytes(data), 9, mtime=0)).decode(),
        }
        return json.dumps(spec, separators=(",", ":"), ensure_ascii=False).replace("</", "<\\/")


def _backbone(chain: Chain) -> str:
    """N, CA, C and O atoms as PDB lines; longest axis to the right, shortest to the viewer."""
    chain = view(chain).layers[0].chain
    mask = np.zeros_like(chain.mask)
    mask[:, BACKBONE] = chain.mask[:, BACKBONE]
    return atom_lines(replace(chain, mask=mask))
