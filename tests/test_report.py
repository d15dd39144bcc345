"""Report pages: self-contained, deterministic, and alive in a browser."""

import base64
import gzip
import html
import json
import re
import time
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure

from minifold.data.residues import ATOM_INDEX
from minifold.data.structures import read_structure
from minifold.errors import BadInput
from minifold.look import Record, plots, prediction_page
from minifold.look.pair_view import LEVELS, PairView, pae_map
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


def downloads_of(text: str) -> dict[str, bytes]:
    """Name and content of every file in a page."""
    links = re.findall(r'<a download="([^"]*)" href="data:[^,]*;base64,([^"]*)">', text)
    return {name: base64.b64decode(data) for name, data in links}


def test_the_page_brings_the_files_that_lie_beside_it(page, tmp_path, monkeypatch):
    prediction = fake_prediction()
    monkeypatch.setattr(prediction_page, "write_prediction_page", lambda *_, **__: None)
    prediction.save(tmp_path)
    found = downloads_of(page.read_text(encoding="utf-8"))
    assert set(found) == {"prediction.cif", "prediction.pdb", "scores.json", "pae.json"}
    for name, content in found.items():
        assert content == (tmp_path / name).read_bytes()
    first, second = (replace(prediction, about={"weights": "Å", "seconds": x}) for x in (1.5, 9.0))
    assert first.files() == second.files(), "not the clock"


def spec_of(view: PairView) -> tuple[dict, np.ndarray]:
    inside = re.search(r'application/json">(.*?)</script>', view.html(), re.S).group(1)
    spec = json.loads(inside)
    return spec, np.frombuffer(gzip.decompress(base64.b64decode(spec["data"])), np.uint8)


def pair_view(values: np.ndarray) -> PairView:
    n = len(values)
    names = [f"Ala {k + 3}" for k in range(n)]
    return PairView([pae_map(values)], names, np.arange(2, n + 2), b"", "a map")


def test_values_of_a_map_are_those_given():
    values = np.array([[0.0, 12.3, 40.0], [1.0, 31.75, 2.0], [3.0, 4.0, 5.0]])
    spec, data = spec_of(pair_view(values))
    (m,) = spec["maps"]
    assert spec["names"][0] == "Ala 3" and spec["numbers"] == [3, 4, 5] and m["levels"] == 255
    shown = m["low"] + data.reshape(3, 3) / m["levels"] * (m["high"] - m["low"])
    assert np.abs(shown - values.clip(0, 31.75)).max() <= m["step"] / 2 + 0.01
    with pytest.raises(BadInput, match="give n x n"):
        PairView([pae_map(values)], ["Ala 1"], np.arange(1), b"", "")


def test_a_large_map_has_fewer_levels_and_a_huge_one_is_a_picture():
    rng = np.random.default_rng(0)
    view = pair_view(31 * rng.random((620, 620)))
    spec, data = spec_of(view)
    assert spec["maps"][0]["levels"] in LEVELS[1:] and data.max() <= spec["maps"][0]["levels"]
    assert len(view.html()) < 500_000
    huge = pair_view(31 * rng.random((1000, 1000)))
    assert "<script" not in huge.html() and "mfp-still" in huge.html()


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
    prediction = long_prediction(n)
    files = prediction.files()
    write_prediction_page(prediction, tmp_path / "view.html", taps=taps, files=list(files))
    assert (tmp_path / "view.html").stat().st_size < 3_000_000
    text = (tmp_path / "view.html").read_text(encoding="utf-8")
    assert ("mf-attention" in text) == (n == 150)
    found = downloads_of(text)
    assert {name: content.decode() for name, content in found.items()} == {
        name: files[name] for name in files if name != "pae.json" or n == 150
    }
    assert ("in its folder: pae.json." in text) == (n == 400)


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
    with Browser(tmp_path, height=4500) as browser:
        browser.open(page)
        browser.wait(SETTLED)
        assert browser.run(STATES) == ["live", "live"] and browser.complaints == []
        dark = browser.run(DARK)
        assert len(dark) == 2 and min(dark) > 1000, "pixels of the structure: not blank"


@needs_chromium
def test_sequence_and_structure_point_at_each_other(page, tmp_path):
    with Browser(tmp_path, height=4500) as browser:
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


PAIRS = "document.querySelector('.mf-pairs')"
MAP = "document.querySelector('.mfp-map').toDataURL()"
SELECTED = f"{PAIRS}.dataset.selected"
SAYS = "document.querySelector('.mfp-says').textContent"
COLORS = "[...document.querySelectorAll('.sequence [data-k]')].map(s => s.style.backgroundColor)"
ORANGE, VIOLET, GREEN = "rgb(213, 94, 0)", "rgb(138, 63, 181)", "rgb(0, 121, 107)"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with Browser(tmp_path_factory.mktemp("browser"), height=4500) as browser:
        yield browser


@pytest.fixture
def opened(page, browser):
    """The page, freshly opened."""
    browser.complaints.clear()
    browser.hover("body", 0, 0)
    browser.open(page)
    browser.wait(SETTLED)
    browser.wait(f"{PAIRS}.dataset.state === 'live'")
    return browser


def cell(browser: Browser, row: int, column: int, n: int = 20) -> tuple[float, float]:
    """Where a cell of the map is, as fractions of its canvas."""
    margin, width = 34, browser.run("document.querySelector('.mfp-map').clientWidth")
    x, y = ((margin + (k + 0.5) * (width - margin) / n) / width for k in (column, row))
    return x, y


def value_in(sentence: str) -> float:
    return float(re.search(r": ([\d.]+)(\u00a0Å)?$", sentence).group(1))


@needs_chromium
def test_the_map_names_the_pair_under_the_mouse(opened):
    p = fake_prediction()
    assert opened.run(SAYS) == "Point at a pair of residues."
    opened.hover(".mfp-map", *cell(opened, 2, 12))
    said = opened.run(SAYS)
    assert said.startswith("Expected error at Ser 13, if prediction and truth are superposed at Ty")
    assert value_in(said) == pytest.approx(p.pae[2, 12], abs=0.12)
    select = "document.querySelector('.mfp-bar select')"
    names = opened.run(f"[...{select}.options].map(o => o.textContent)")
    assert names == ["predicted aligned error", "expected distance", "contact probability"]
    for k, values in enumerate([p.pae, p.distances, p.contacts]):
        picture = opened.run(MAP)
        event = f"{select}.dispatchEvent(new Event('change'))"
        opened.run(f"({select}.selectedIndex = {k}, {event})")
        assert (opened.run(MAP) == picture) == (k == 0)
        opened.hover(".mfp-map", *cell(opened, 4, 9))
        assert value_in(opened.run(SAYS)) == pytest.approx(values[4, 9].clip(0, 31), abs=0.13)
    assert opened.complaints == []


@needs_chromium
def test_a_rectangle_in_the_map_is_shown_in_structure_and_sequence(opened):
    before, dark = opened.run(MAP), opened.run(DARK)[0]
    painted = "document.querySelector('.mf-view').dataset.painted"
    picture = "document.querySelector('.mf-view canvas').toDataURL()"
    plain = opened.run(picture)
    opened.drag(".mfp-map", cell(opened, 15, 3), cell(opened, 11, 6))
    opened.hover("h1")
    assert opened.run(SELECTED) == "3-6,11-15" and opened.run(painted) == "yes"
    assert opened.run(COLORS) == [ORANGE if 3 <= k <= 6 else VIOLET if 11 <= k <= 15 else ""
                                  for k in range(20)]  # fmt: skip
    assert opened.run(MAP) != before and opened.run(picture) != plain
    about = opened.run("document.querySelector('.mfp-note').textContent")
    part = fake_prediction().pae[11:16, 3:7]
    assert about.startswith("Selected: Ile 4 to Leu 7 (columns), Pro 12 to Arg 16 (rows): mean ")
    assert float(re.search(r"mean ([\d.]+)", about).group(1)) == pytest.approx(part.mean(), abs=0.1)
    opened.click(".mfp-bar button")
    opened.hover("h1")
    assert opened.run(SELECTED) == "" and opened.run(painted) == "" and opened.run(picture) == plain
    assert set(opened.run(COLORS)) == {""} and opened.run(DARK)[0] == dark
    opened.click(".mfp-map", *cell(opened, 0, 19))
    assert opened.run(SELECTED) == "19-19,0-0", "a click selects one pair"
    opened.drag(".mfp-map", cell(opened, 2, 1), cell(opened, 3, 2))
    assert opened.run(COLORS)[:5] == ["", ORANGE, GREEN, VIOLET, ""]
    assert "in both" in opened.run("document.querySelector('.mfp-note').textContent")
    assert opened.complaints == []


@needs_chromium
def test_the_map_answers_to_keys(opened):
    opened.run("document.querySelector('.mfp-bar select').focus()")
    opened.press("Tab")
    assert opened.run("document.activeElement.className") == "mfp-map", "nothing to clear yet"
    outline = "getComputedStyle(document.activeElement).outlineStyle"
    assert opened.run(outline) == "solid", "focus is visible"
    opened.press("ArrowDown")
    opened.press("ArrowDown", times=2)
    opened.press("End")
    said = opened.run(SAYS)
    assert "at Ser 20, if prediction and truth are superposed at Tyr 3" in said
    opened.press("ArrowLeft", times=3, shift=True)
    opened.press("ArrowDown", shift=True)
    assert opened.run(SELECTED) == "16-19,2-3"
    opened.press("ArrowUp", times=9)
    assert "superposed at Asn 1" in opened.run(SAYS), "it stops at the border"
    assert opened.run(SELECTED) == "16-19,2-3", "moving on keeps the selection"
    opened.press("ArrowRight", shift=True)
    assert opened.run(SELECTED) == "16-17,0-0", "a new one starts where the cursor is"
    opened.press("Escape")
    assert opened.run(SELECTED) == ""
    opened.press("Enter")
    assert opened.run(SELECTED) == "17-17,0-0"
    assert opened.complaints == []


@needs_chromium
def test_a_residue_of_the_sequence_is_shown_in_the_map(opened):
    before = opened.run(MAP)
    opened.hover('[data-k="7"]')
    assert opened.run(MAP) != before
    opened.hover("h1")
    assert opened.run(MAP) == before


@needs_chromium
def test_a_click_downloads_the_file(opened, tmp_path):
    opened.keep_downloads(tmp_path)
    for name, content in fake_prediction().files().items():
        opened.click(f'[download="{name}"]')
        for _ in range(100):
            if (tmp_path / name).exists():
                break
            time.sleep(0.05)
        assert (tmp_path / name).read_text(encoding="utf-8") == content
    assert opened.complaints == []


@needs_chromium
def test_without_scripts_the_page_has_pictures(tmp_path, page):
    """As in a reader that runs none."""
    text = page.read_text(encoding="utf-8").replace("script-src 'unsafe-inline' 'unsafe-eval'", "")
    (tmp_path / "view.html").write_text(text, encoding="utf-8")
    with Browser(tmp_path) as browser:
        browser.open(tmp_path / "view.html")
        pictures = "[...document.images].filter(i => i.naturalWidth > 100 && i.checkVisibility())"
        alt = browser.run(f"{pictures}.map(i => i.alt)")
        assert len(alt) == text.count("<img ") and "Predicted aligned error, map" in alt


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
    with Browser(tmp_path, height=4500) as browser:
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
    with Browser(tmp_path, height=4500) as browser:
        browser.open(path)
        browser.wait(SETTLED)
        assert browser.run(STATES) == ["live", "live"] and browser.complaints == []
