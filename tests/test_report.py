"""Report pages: self-contained, deterministic, and alive in a browser."""

import html
import re
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure

from minifold.data.residues import ATOM_INDEX
from minifold.data.structures import read_structure
from minifold.look import Record, plots
from minifold.look.prediction_page import write_prediction_page
from minifold.look.report import Row, Section, score_table, write_report
from minifold.look.view3d import view
from minifold.predict import Prediction
from tests.browser import Browser, needs_chromium
from tests.conftest import ROOT

CA = ATOM_INDEX["CA"]


def trp_cage():
    return read_structure(ROOT / "data" / "structures" / "1l2y.cif")


def fake_prediction(name="trp-cage <1L2Y>", pae=True) -> Prediction:
    """The experimental structure, bent, as if it were predicted."""
    c, rng = trp_cage(), np.random.default_rng(0)
    n = len(c.sequence)
    bent = (c.positions + np.cumsum(rng.normal(0, 0.2, (n, 1, 3)), 0)) * c.mask[..., None]
    bent = bent.astype(np.float32)
    ca = bent[:, CA]
    distances = np.linalg.norm(ca[:, None] - ca[None], axis=-1)
    return Prediction(
        name=name,
        sequence=c.sequence,
        residue_index=c.residue_index,
        positions=bent,
        atom_mask=c.mask,
        plddt=np.linspace(40, 95, n).astype(np.float32),
        contacts=1 / (1 + np.exp(distances - 8)),
        distances=distances,
        trajectory=np.stack([ca * (k + 1) / 4 for k in range(4)]),
        msa_depth=np.full(n, 12),
        msa=rng.integers(0, 22, (12, n)).astype(np.int8),
        pae=distances / 3 if pae else None,
        ptm=0.625 if pae else None,
        about={"weights": "none & fake", "recycles": 3},
    )


def fake_taps(n=20, blocks=2, heads=2, kinds=("msa_row", "ipa")) -> Record:
    """Random attention, as dense as can be, and a distogram that is sure of one far pair."""
    rng = np.random.default_rng(0)
    c = trp_cage()
    arrays = {"input/aatype": np.resize(c.aatype, n), "input/residue_index": np.arange(n)}
    for k in range(blocks):
        for kind in kinds:
            stack = "structure" if kind == "ipa" else "evoformer"
            weights = rng.random((heads, n, n), np.float32)
            arrays[f"recycle0/{stack}.{k}/{kind}"] = weights / weights.sum(-1, keepdims=True)
    sure = np.eye(64, dtype=np.float32)[np.full((n, n), 9)]
    sure[2, 12] = 1 / 64
    arrays[f"recycle0/evoformer.{blocks - 1}/distogram"] = sure
    return Record(arrays)


ROWS = [
    Row("A", {"lddt_ca": 0.9, "rmsd_ca": 1.0}, {"helix": {"lddt_ca": 0.3, "rmsd_ca": 9.0}}),
    Row("B", {"lddt_ca": 0.2, "rmsd_ca": 3.0}, {"helix": {"lddt_ca": 0.4, "rmsd_ca": 11.0}}),
]


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "view.html"
    write_prediction_page(fake_prediction(), path, trp_cage(), fake_taps(), ["scores.json"])
    return path


def loads(text: str) -> list[str]:
    """Everything that a page would fetch from elsewhere."""
    markup = re.sub(r"<script.*?</script>|<style.*?</style>", "", text, flags=re.S)
    found = re.findall(r"""(?:src|href|action|data|poster)\s*=\s*["']([^"']*)""", markup)
    found += re.findall(r"url\(([^)]*)\)|@import\s+(\S+)", text)
    return [str(x) for x in found if not str(x).startswith("data:")]


def test_page_loads_nothing_and_is_small(page):
    text = page.read_text(encoding="utf-8")
    assert loads(text) == []
    assert "default-src 'none'" in text
    assert page.stat().st_size < 3_000_000
    assert text.count('id="minifold-3dmol"') == 1


def test_page_shows_everything(page):
    text = page.read_text(encoding="utf-8")
    assert (
        "trp-cage &lt;1L2Y&gt;" in text
        and "<1L2Y>" not in text.split("<main>")[1].split("<figure")[0]
    )
    assert "none &amp; fake" in text and ">pTM<" in text and "0.625" in text
    letters = re.findall(
        r"<span data-k=\"(\d+)\"[^>]*#(\w+)[^>]*title=\"([^\"]*)\">(\w)</span>", text
    )
    assert "".join(letter for *_, letter in letters) == "NLYIQWLKDGGPSSGRPPPS"
    assert letters[0] == ("0", "FF7D45", "Asn 1 · pLDDT 40", "N") and letters[19][1] == "0053D6"
    alt = html.unescape(" ".join(re.findall(r'alt="([^"]*)"', text)))
    for words in ("Confidence", "aligned error", "Distance between", "Contacts", "The alignment"):
        assert words in alt
    assert text.count('<figure class="mf-view"') == 2
    assert ">TM-score<" in text and ">RMSD Cα<" in text and ">GDT-TS<" in text
    assert text.count('<figure class="mf-attention"') == 1 and "scores.json" in text
    assert "Distance between Tyr 3 and Ser 13" in alt, "the pair that is least decided"
    nearest = np.where(np.triu(np.ones((20, 20)), 6) > 0, fake_prediction().contacts, 0)
    i, j = np.unravel_index(nearest.argmax(), (20, 20))
    assert re.search(rf"Distance between \w+ {i + 1} and \w+ {j + 1} ", alt)


def test_page_without_pae_and_truth(tmp_path):
    write_prediction_page(fake_prediction(pae=False), tmp_path / "view.html")
    text = (tmp_path / "view.html").read_text(encoding="utf-8")
    assert ">pTM<" not in text and ">TM-score<" not in text
    assert "has no head for the predicted aligned error" in text and "mf-attention" not in text
    assert "Predicted aligned error" not in text


def long_prediction(n: int) -> Prediction:
    c, p, rng = trp_cage(), fake_prediction(), np.random.default_rng(0)

    def grown(x, axes=1):
        return np.resize(x, (n,) * axes + x.shape[axes:])

    walk = np.cumsum(rng.normal(0, 2, (n, 1, 3)), 0)
    positions = (grown(c.positions) + walk).astype(np.float32) * grown(c.mask)[..., None]
    values = {"residue_index": np.arange(n), "sequence": "".join(np.resize([*c.sequence], n))}
    values |= {name: grown(getattr(p, name)) for name in ("atom_mask", "plddt", "msa_depth")}
    noise = {name: 20 * rng.random((n, n)) for name in ("distances", "pae")}
    noise["contacts"] = rng.random((n, n))
    moving = np.stack([positions[:, CA]] * 8)
    msa = rng.integers(0, 22, (500, n)).astype(np.int8)
    return replace(p, positions=positions, trajectory=moving, msa=msa, **values, **noise)


@pytest.mark.parametrize("n", [150, 400])
def test_page_of_a_long_protein_is_below_3_mb(tmp_path, n):
    """Even if nothing in it can be compressed."""
    kinds = ("msa_row", "ipa", "triangle_starting", "triangle_ending")[: 4 if n == 150 else 1]
    taps = fake_taps(n, blocks=4, heads=8, kinds=kinds)
    write_prediction_page(long_prediction(n), tmp_path / "view.html", taps=taps)
    assert (tmp_path / "view.html").stat().st_size < 3_000_000
    text = (tmp_path / "view.html").read_text(encoding="utf-8")
    assert ("mf-attention" in text) == (n == 150)


def test_same_input_same_bytes_and_nothing_left_behind(page, tmp_path):
    write_prediction_page(
        fake_prediction(), tmp_path / "view.html", trp_cage(), fake_taps(), ["scores.json"]
    )
    assert (tmp_path / "view.html").read_bytes() == page.read_bytes()
    assert [p.name for p in tmp_path.iterdir()] == ["view.html"]


def test_table_marks_the_best_and_adds_the_mean():
    table = score_table(ROWS)
    cells = re.findall(r"<tr[^>]*>(.*?)</tr>", table.split("<tbody>")[1])
    assert len(cells) == 3
    best = [re.findall(r'class="[^"]*best[^"]*">([^<]*)', row) for row in cells]
    assert best == [["0.900", "1.00"], ["0.400", "3.00"], ["0.550", "2.00"]]
    assert "0.350" in cells[2] and "10.00" in cells[2]  # the baseline's means


def test_table_with_a_missing_value():
    rows = [ROWS[0], Row("C", {"lddt_ca": 0.5})]
    table = score_table(rows)
    assert table.count("–") == 5  # C: RMSD, two baselines; mean: two baselines
    assert "0.700" in table


def test_report_has_one_library_for_many_views(tmp_path):
    views = [view(trp_cage(), color=c) for c in ("position", "chain")]
    figure = plots.msa_depth(np.array([1, 2, 3]))
    assert isinstance(figure, Figure)
    sections = [
        Section("Scores", ["By <heart>."], rows=ROWS),
        Section("Structures", views=views),
        Section("Depth", figures=[figure], html="<p>more</p>"),
    ]
    write_report(tmp_path / "report.html", "Report", "The lead.", sections, "make demo")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert text.count('id="minifold-3dmol"') == 1
    assert text.count("<img ") == 3 and loads(text) == []
    assert "By &lt;heart&gt;." in text and "<p>more</p>" in text
    write_report(tmp_path / "plain.html", "Report", "No views.", sections[:1])
    assert "minifold-3dmol" not in (tmp_path / "plain.html").read_text(encoding="utf-8")


# --- In a browser ---------------------------------------------------------------------------------

STATES = "[...document.querySelectorAll('.mf-view')].map(f => f.dataset.state)"
SETTLED = STATES + ".every(s => s === 'live' || s === 'still')"
DARK = """[...document.querySelectorAll(".mf-live canvas")].map(canvas => {
  const copy = document.createElement("canvas");
  copy.width = canvas.width; copy.height = canvas.height;
  const pen = copy.getContext("2d");
  pen.drawImage(canvas, 0, 0);
  const pixels = pen.getImageData(0, 0, copy.width, copy.height).data;
  let dark = 0;
  for (let k = 0; k < pixels.length; k += 4)
    if (pixels[k] < 200 && pixels[k + 3] > 200) dark += 1;
  return dark;
})"""


@needs_chromium
def test_views_come_alive_without_complaint(page, tmp_path):
    with Browser(tmp_path, height=2600) as browser:
        browser.open(page)
        browser.wait(SETTLED)
        assert browser.run(STATES) == ["live", "live"] and browser.complaints == []
        dark = browser.run(DARK)
        assert len(dark) == 2 and min(dark) > 1000, "pixels of the structure: not blank"


@needs_chromium
def test_sequence_and_structure_point_at_each_other(page, tmp_path):
    with Browser(tmp_path, height=2600) as browser:
        browser.open(page)
        browser.wait(SETTLED)
        before = browser.run(DARK)[0]
        browser.hover('[data-k="7"]')
        assert browser.run("document.querySelector('.mf-at').textContent") == "K"
        assert abs(browser.run(DARK)[0] - before) > 50, "a ball"
        browser.hover("h1")
        assert browser.run("document.querySelector('.mf-at')") is None
        assert browser.run(DARK)[0] == before
        viewer = "Object.entries(window).find(([k, v]) => /^viewer_.*_0$/.test(k) && v)[1]"
        atom = f"{viewer}.selectedAtoms({{model: 0, resi: 5, atom: 'CA'}})[0]"
        browser.run(f"{atom}.hover_callback({atom}, {viewer})")
        assert browser.run("document.querySelector('.mf-at').dataset.k") == "4"
        assert browser.complaints == []


@needs_chromium
def test_page_is_readable_on_a_phone_and_in_the_dark(page, tmp_path):
    with Browser(tmp_path, width=390, height=800, dark=True) as browser:
        browser.open(page)
        browser.wait("document.querySelector('.mf-attention').dataset.structure")
        assert browser.run("document.documentElement.scrollWidth <= window.innerWidth")
        colors = browser.run(
            "(s => [s.color, s.backgroundColor])(getComputedStyle(document.body))"
            ".map(c => c.match(/\\d+/g).slice(0, 3).reduce((a, b) => a + Number(b), 0) / 3)"
        )
        assert colors[0] - colors[1] > 150, "bright on dark"


@needs_chromium
def test_without_the_library_the_picture_stays(tmp_path, page):
    text = page.read_text(encoding="utf-8").replace('id="minifold-3dmol"', 'id="elsewhere"')
    (tmp_path / "view.html").write_text(text, encoding="utf-8")
    with Browser(tmp_path, height=2600) as browser:
        browser.open(tmp_path / "view.html")
        browser.wait(SETTLED)
        assert browser.run(STATES) == ["still", "still"]
        shown = "getComputedStyle(document.querySelector('.mf-stage img')).visibility"
        assert browser.run(shown) == "visible"


@needs_chromium
def test_notebook_output_comes_alive(tmp_path, monkeypatch):
    monkeypatch.setattr("minifold.look.drawing3d._bearer", None)
    c = trp_cage()
    views = [view(c, color="position"), view(replace(c, name="again"), color="chain")]
    outputs = "".join(f"<div>{v._repr_html_()}</div>" for v in views)
    path = tmp_path / "notebook.html"
    path.write_text(f'<!doctype html><meta charset="utf-8">{outputs}', encoding="utf-8")
    with Browser(tmp_path, height=2600) as browser:
        browser.open(path)
        browser.wait(SETTLED)
        assert browser.run(STATES) == ["live", "live"] and browser.complaints == []
