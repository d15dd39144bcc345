"""The attention viewer: what its page contains, and what it does in a browser."""

from __future__ import annotations

import base64
import gzip
import io
import json
import re

import numpy as np
import pytest
from PIL import Image

import minifold
from minifold.cli import main
from minifold.data.structures import read_structure
from minifold.errors import BadInput
from minifold.look import Record, attention_pictures, record
from minifold.look import attention_view as viewer
from minifold.look.attention_maps import KINDS, in_order, quantised
from minifold.look.attention_view import AttentionView, attention_view, write_attention_page
from minifold.look.report import Section, write_report
from minifold.look.view3d import view
from tests.browser import Browser, needs_chromium
from tests.conftest import ROOT
from tests.small import SMALL, small_model

TRP_CAGE = ROOT / "data" / "structures" / "1l2y.cif"
CHAIN = read_structure(TRP_CAGE)
N = len(CHAIN.sequence)
QUERY, KEY = 4, 15  # in block 1, head 1 of the rows of the query this weight stands out


def random_record(
    n: int = N,
    blocks: int = 2,
    heads: int = 2,
    passes: int = 2,
    sequences: int = 3,
    sharp: float = 1.0,
    kinds: tuple[str, ...] = tuple(KINDS),
) -> Record:
    """Attention of random logits."""
    rng = np.random.default_rng(0)

    def weights(*shape):
        x = np.exp(sharp * rng.normal(size=shape))
        return (x / x.sum(-1, keepdims=True)).astype(np.float32)

    shapes = {
        "msa_row": (sequences, heads, n, n),
        "ipa": (heads, n, n),
        "triangle_starting": (n, heads, n, n),
        "triangle_ending": (n, heads, n, n),
        "msa_column": (n, heads, sequences, sequences),
    }
    letters = "ARNDCQEGHILKMFPSTWYV"
    aatype = [letters.index(x) for x in (CHAIN.sequence * (1 + n // N))[:n]]
    arrays = {"input/aatype": np.array(aatype), "input/residue_index": np.arange(n)}
    for r in range(passes):
        for b in range(blocks):
            for kind in kinds:
                arrays[f"recycle{r}/{KINDS[kind].stack}.{b}/{kind}"] = weights(*shapes[kind])
    return Record(arrays)


@pytest.fixture(scope="module")
def taps() -> Record:
    taps = random_record()
    row = taps[f"recycle1/evoformer.{1}/msa_row"][0, 1]
    row[QUERY] = 0.01
    row[QUERY, KEY] = 0.81
    return taps


def spec_of(text: str) -> tuple[dict, np.ndarray]:
    """What the script reads: the description and the bytes."""
    inside = re.search(r'application/json">(.*?)</script>', text, re.S).group(1)
    spec = json.loads(inside)
    data = np.frombuffer(gzip.decompress(base64.b64decode(spec["data"])), np.uint8)
    return spec, data


def test_the_weights_of_the_page_are_those_of_the_record(taps):
    spec, data = spec_of(attention_view(taps, max_bytes=10_000_000))
    assert len(spec["maps"]) == 2 + 2 * 5 - 2 + (3 + 1 - 1) + 3 * N  # by hand: see the next test
    for m in spec["maps"]:
        blocks, heads, nq, nk = m["shape"]
        part = data[m["at"] : m["at"] + np.prod(m["shape"])].reshape(m["shape"])
        for b, block in enumerate(m["blocks"]):
            for h in range(heads):
                expected = eval(m["code"].format(b=block, h=h))  # what the page tells to type
                assert expected.shape == (nq, nk)
                largest = m["max"][b][h]
                assert abs(part[b, h] / 255 * largest - expected).max() < 0.6 * largest / 255
    assert sum(np.prod(m["shape"]) for m in spec["maps"]) == len(data)


def test_the_order_of_what_is_shown(taps):
    maps = list(in_order(taps, 4))
    first = [(m.kind, m.recycle, m.row) for m in maps[:13]]
    each = ["ipa", "triangle_starting", "triangle_ending", "msa_column"]
    assert first[:5] == [("msa_row", 1, 0), *((kind, 1, None) for kind in each)]
    assert first[5:10] == [("msa_row", 0, 0), *((kind, 0, None) for kind in each)]
    assert first[10:] == [("msa_row", 1, None), *((k, 1, 0) for k in each[1:3])]
    for kind, rows in (("msa_row", 3), ("triangle_ending", N), ("msa_column", N)):
        shown = [m.row for m in maps if m.kind == kind and m.recycle == 1]
        assert sorted(shown, key=lambda row: -1 if row is None else row) == [None, *range(rows)]
    assert {m.blocks for m in in_order(random_record(blocks=7, passes=1), 4)} == {(0, 2, 4, 6)}


def test_kept_rows_and_means_keep_their_names(taps):
    inputs = {name: taps[name] for name in taps.match("input/*")}
    name = "recycle1/evoformer.1/triangle_starting"
    code = 'taps["recycle1/evoformer.{b}/triangle_starting"]'
    few = Record({**inputs, "input/rows": np.array([2, 9]), name: taps[name][[2, 9]]})
    assert [(m.row, m.label, m.code) for m in in_order(few, 4)] == [
        (2, "Tyr 3", code + "[0, {h}]"),
        (9, "Gly 10", code + "[1, {h}]"),
    ]
    (mean,) = in_order(Record({**inputs, name: taps[name].mean(0)}), 4)
    assert (mean.row, mean.label, mean.code) == (None, "mean over residues", code + "[{h}]")


def test_quantised_to_bytes_of_the_largest():
    weights = np.array([[[[0.0, 0.5], [1.0, 0.25]], [[0.0, 0.0], [0.0, 0.0]]]], np.float32)
    assert quantised(weights).tolist() == [[[[0, 128], [255, 64]], [[0, 0], [0, 0]]]]


@pytest.mark.parametrize("sharp", [0.1, 1.0, 3.0])
def test_the_page_is_small(sharp):
    """4 blocks, 4 heads, 64 residues, even where nothing can be compressed."""
    taps = random_record(n=64, blocks=4, heads=4, passes=1, sequences=32, sharp=sharp)
    page = AttentionView(taps).page().encode()
    assert len(page) < 280_000  # and 20 kB for the structure
    spec, _ = spec_of(page.decode())
    assert {m["kind"] for m in spec["maps"]} >= {KINDS[k].label for k in ("msa_row", "ipa")}
    assert "slices are left out" in page.decode()


def test_the_structure_is_small_and_complete(taps):
    spec, _ = spec_of(attention_view(taps, CHAIN))
    lines = spec["pdb"].splitlines()
    assert len(lines) == 4 * N and {line[12:16].strip() for line in lines} == {"N", "CA", "C", "O"}
    assert [int(line[22:26]) for line in lines[::4]] == spec["numbers"] == list(range(1, N + 1))
    assert len(spec["pdb"]) < 300 * N
    assert spec["names"][4] == "Gln 5" and spec["letters"] == CHAIN.sequence


def test_page_is_self_contained_and_the_same_every_time(taps, tmp_path):
    for name in ("a", "b"):
        write_attention_page(tmp_path / f"{name}.html", taps, CHAIN, "Trp <cage>")
    text = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert text == (tmp_path / "b.html").read_text(encoding="utf-8")
    assert "default-src 'none'" in text and "<h1>Trp &lt;cage&gt;</h1>" in text
    markup = re.sub(r"<script.*?</script>|<style.*?</style>", "", text, flags=re.S)
    assert re.findall(r'(?:src|href)="(?!data:)', markup) == [] and "url(" not in markup
    assert text.count('id="minifold-3dmol"') == 1
    assert 'id="minifold-3dmol"' not in AttentionView(taps).page(), "no structure: no library"
    still = base64.b64decode(re.search(r'<img [^>]*base64,([^"]*)"', text).group(1))
    assert min(Image.open(io.BytesIO(still)).size) > 100
    assert 'alt="Attention weights (MSA rows) of each block and head"' in text


def test_notebook_gets_a_picture_and_a_frame(taps, monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda data, raw: shown.append(data))
    AttentionView(taps)._ipython_display_()
    picture, frame = shown
    assert base64.b64decode(picture["image/png"])[:4] == b"\x89PNG"
    assert frame["text/html"].startswith("<iframe title=") and "srcdoc=" in frame["text/html"]


def test_bad_input(taps):
    with pytest.raises(BadInput, match="differ"):
        attention_view(random_record(n=21), CHAIN)
    nothing = {name: taps[name] for name in ("input/aatype", "input/residue_index")}
    with pytest.raises(BadInput, match="no attention in the record"):
        attention_view(Record(nothing))


# --- The command ----------------------------------------------------------------------------------


def test_attend_averages_what_is_large(monkeypatch):
    model = small_model(templates=False)
    source = ROOT / "data" / "sample_msas" / "kunitz_1bpi.a3m"
    full, prediction = viewer.attend(source, model, recycles=1, device="cpu")
    monkeypatch.setattr(viewer, "LARGE", 1000)
    mean, again = viewer.attend(source, model, recycles=1, device="cpu")
    np.testing.assert_allclose(prediction.positions, again.positions, atol=1e-2)
    assert full["recycle0/evoformer.0/msa_row"].shape == (8, 4, 58, 58)
    assert "recycle0/evoformer.0/msa_row" not in mean, "the last pass only"
    for kind in ("msa_row", "msa_column", "triangle_starting", "triangle_ending"):
        name = f"recycle1/evoformer.1/{kind}"
        np.testing.assert_allclose(mean[name], full[name].mean(0), atol=1e-4)
    assert all(module.chunk is None for module in model.modules() if hasattr(module, "chunk"))
    assert "recycle1/structure.2/frames" in mean and SMALL.structure_layers == 3


def test_command_writes_page_pictures_and_arrays(tmp_path, capsys):
    out = tmp_path / "out"
    argv = ["attention", "NLYIQWLKDGGPSSGRPPPS", "--out", str(out), "--json"]
    with pytest.raises(SystemExit) as stop:
        main(argv)
    assert stop.value.code == 0
    kinds = [*KINDS, "head", "structure", "triangle_starting_slices", "triangle_ending_slices"]
    files = {"attention.html", "attention.npz", *(f"attention_{kind}.png" for kind in kinds)}
    assert {path.name for path in out.iterdir()} == files
    assert len(json.loads(capsys.readouterr().out)["files"]) == len(files)
    taps = Record.load(out / "attention.npz")
    assert taps.sequence == CHAIN.sequence
    assert taps.match("*/evoformer.1/distogram") and taps.match("*/structure.0/ipa_points")
    spec, _ = spec_of((out / "attention.html").read_text(encoding="utf-8"))
    assert {m["kind"] for m in spec["maps"]} == {kind.label for kind in KINDS.values()}
    with pytest.raises(SystemExit) as stop:
        main(["attention", "nowhere.a3m", "--out", str(tmp_path / "no")])
    assert stop.value.code == 2 and not (tmp_path / "no").exists()


def test_pictures_show_the_strongest(monkeypatch):
    taps = Record({**random_record(), "recycle1/msa": np.zeros((3, N), np.uint8)})
    taps["recycle1/evoformer.1/msa_row"][0, 1, 2, 17] = 5.0
    firsts = AttentionView(taps, CHAIN).firsts
    seen = {}

    def spy(name):
        original = getattr(attention_pictures.plots, name)
        monkeypatch.setattr(
            attention_pictures.plots,
            name,
            lambda *a, **o: seen.update({name: a}) or original(*a, **o),
        )

    for name in ("attention_head", "msa_column", "triangle_slices"):
        spy(name)
    drawn = attention_pictures.pictures(firsts, taps, CHAIN)
    assert set(drawn) == {*KINDS, "head", "structure", "msa_column_tree"} | {
        f"triangle_{end}_slices" for end in ("starting", "ending")
    }
    assert all(picture[:4] == b"\x89PNG" for picture in drawn.values())
    weights, letters, numbers, place = seen["attention_head"]
    assert np.array_equal(weights, taps["recycle1/evoformer.1/msa_row"][0, 1])
    assert letters == CHAIN.sequence and place == "MSA rows, block 1, head 1"
    assert attention_pictures.farthest(weights[None]) == (0, 2)
    assert seen["msa_column"][0].shape == (2, 3, 3)
    assert seen["triangle_slices"][0].shape == (N, 2, N, N)


def test_glance_takes_what_a_page_shows(monkeypatch):
    model = small_model(templates=False)
    source = ROOT / "data" / "sample_msas" / "kunitz_1bpi.a3m"
    taps, prediction = viewer.glance(source, model, recycles=1, device="cpu")
    full, same = viewer.attend(source, model, recycles=1, device="cpu")
    np.testing.assert_allclose(prediction.positions, same.positions, atol=1e-2)
    assert taps.match("recycle0/*") == [] and taps.nbytes < full.nbytes / 10
    assert len(taps.match("recycle1/evoformer.1/*")) == 5, "four kinds and the distogram"
    for name in taps.match("*/evoformer.*/*a*"):
        kept = full[name] if full[name].ndim == taps[name].ndim else full[name].mean(0)
        np.testing.assert_allclose(taps[name], kept, atol=1e-4, err_msg=name)
    monkeypatch.setattr(viewer, "LONGEST", 57)
    nothing, plain = viewer.glance(source, model, recycles=1, device="cpu")
    assert nothing is None and np.abs(plain.positions - prediction.positions).max() < 1e-2


def test_taps_of_a_fold_fit_the_viewer():
    model = minifold.load()
    with record(model, "*/msa_row") as taps:
        prediction = minifold.fold("NLYIQWLKDGGPSSGRPPPS", model)
    assert "mf-attention" in attention_view(taps, prediction.chain)


# --- In a browser ---------------------------------------------------------------------------------

FIGURE = "document.querySelector('.mf-attention')"
STATE = f"({FIGURE} || {{dataset: {{}}}}).dataset"
MAP = "document.querySelector('.mfa-map').toDataURL()"
SELECTS = ".mfa-bar label:nth-of-type({}) select"
FOCUS = "document.activeElement.className || document.activeElement.tagName"
PIXELS = """(function () {
  const canvas = document.querySelector(".mfa-stage canvas");
  const copy = document.createElement("canvas");
  copy.width = canvas.width; copy.height = canvas.height;
  const pen = copy.getContext("2d");
  pen.drawImage(canvas, 0, 0);
  const data = pen.getImageData(0, 0, copy.width, copy.height).data, back = data.slice(0, 3);
  let different = 0;
  for (let k = 0; k < data.length; k += 4) if (Math.abs(data[k] - back[0]) > 30) different += 1;
  return [different, back[0]];
})()"""


def says(page: Browser) -> str:
    return page.run("document.querySelector('.mfa-says').textContent")


def click_cell(page: Browser, query: int, key: int, n: int = N) -> None:
    margin, width = 34, page.run("document.querySelector('.mfa-map').clientWidth")
    at = [(margin + (x + 0.5) * (width - margin) / n) / width for x in (key, query)]
    page.click(".mfa-map", *at)


@pytest.fixture(scope="module")
def browser(taps, tmp_path_factory):
    folder = tmp_path_factory.mktemp("browser")
    write_attention_page(folder / "attention.html", taps, CHAIN)
    with Browser(folder) as browser:
        browser.path = folder / "attention.html"
        yield browser


@pytest.fixture
def page(browser):
    """The viewer, freshly opened: rows of the query, last pass, block 1, head 0."""
    browser.complaints.clear()
    browser.open(browser.path)
    browser.wait(f"{STATE}.structure")
    return browser


@needs_chromium
def test_it_starts_without_complaint_and_shows_the_largest(page):
    assert page.run(f"[{STATE}.state, {STATE}.structure]") == ["live", "live"]
    assert page.complaints == []
    assert page.run("getComputedStyle(document.querySelector('.mfa-still')).display") == "none"
    assert page.run("document.querySelectorAll('.mfa-heads input').length") == 2
    assert page.run(PIXELS)[0] > 2000, "a structure is drawn"


@needs_chromium
def test_click_hover_and_keys_change_what_is_shown(page):
    page.click(".mfa-heads label:nth-of-type(1) input")
    first = page.run(MAP)
    page.click(".mfa-heads label:nth-of-type(2) input")
    assert page.run(MAP) != first
    click_cell(page, QUERY, KEY)
    sentence = "In the query (sequence 1), Gln 5 looks at Arg 16: weight 0.810"
    assert says(page) == sentence
    assert page.run("document.querySelector('.mfa-query').title") == "Gln 5"
    most = page.run("document.querySelector('.mfa-most').textContent")
    assert most.startswith("Gln 5 looks most at Arg 16 (0.810), ")
    code = page.run("document.querySelector('.mfa-note code').textContent")
    assert code == 'taps["recycle1/evoformer.1/msa_row"][0, 1][4, 15]'

    page.hover(".mfa-map", 0.99, 0.99)
    assert "Ser 20 looks at Ser 20" in says(page)
    page.hover("h1")
    assert says(page) == sentence, "the choice stays"

    page.run("document.querySelector('.mfa-map').focus()")
    before = page.run(MAP)
    page.press("ArrowRight", times=2)
    page.press("ArrowUp")
    assert "Ile 4 looks at Pro 18" in says(page) and page.run(MAP) != before
    page.press("Home")
    assert "Ile 4 looks at Asn 1" in says(page)
    page.press("End")
    page.press("ArrowRight")
    assert "Ile 4 looks at Ser 20" in says(page), "it stops at the border"
    page.click(".mfa-letters span:nth-child(5)")
    assert "Gln 5 looks at Ser 20" in says(page)
    assert page.complaints == []


@needs_chromium
def test_arcs_follow_the_residue_and_the_threshold(page):
    page.run("document.querySelector('.mfa-map').focus()")
    click_cell(page, QUERY, KEY)
    page.click(".mfa-heads label:nth-of-type(2) input")
    slider = "document.querySelector('.mfa-bar input')"
    page.run(f"({slider}.value = 50, {slider}.dispatchEvent(new Event('input')))")
    assert page.run(f"{STATE}.arcs") == "1"
    drawn = page.run(PIXELS)[0]
    page.run(f"{slider}.focus()")
    page.press("Home")
    assert page.run(f"{STATE}.arcs") == str(N - 1), "every other residue gets an arc"
    assert page.run(PIXELS)[0] > drawn
    page.press("ArrowRight", times=2)
    assert "from 2 %" in page.run("document.querySelector('.mfa-bar').textContent")
    assert page.run(f"{STATE}.arcs") == "1"


@needs_chromium
def test_everything_can_be_reached_and_chosen_by_keys(page):
    page.run(f"document.querySelector({SELECTS.format(1)!r}).focus()")
    order = []
    for _ in range(8):
        order.append(page.run(FOCUS))
        if order[-1] in ("INPUT", "SELECT", "mfa-map", "mfa-stage"):
            outline = "getComputedStyle(document.activeElement).outlineStyle"
            canvas = "document.activeElement.nextElementSibling"
            drawn = page.run(outline) == "solid" or (
                page.run(f"getComputedStyle({canvas}).outlineStyle") == "solid"
            )
            assert drawn, "focus is visible"
        page.press("Tab")
    assert order == [*["SELECT"] * 4, "INPUT", "INPUT", "mfa-map", "mfa-stage"]

    page.run("document.querySelector('.mfa-heads input:checked').focus()")
    head = page.run("document.querySelector('.mfa-heads input:checked').value")
    page.press("ArrowRight")
    assert page.run("document.querySelector('.mfa-heads input:checked').value") != head
    page.run(f"document.querySelector({SELECTS.format(1)!r}).focus()")
    page.press("ArrowDown", times=2)
    chosen = f"document.querySelector({SELECTS.format(1)!r}).value"
    assert page.run(chosen) == KINDS["triangle_starting"].label
    assert says(page).startswith("On average over all i, the edge i → ")
    scene = page.run("document.querySelector('.mfa-stage canvas').toDataURL()")
    page.run("document.querySelector('.mfa-stage').focus()")
    page.press("ArrowLeft", times=3)
    assert page.run("document.querySelector('.mfa-stage canvas').toDataURL()") != scene
    unnamed = """[...document.querySelectorAll("select, input, [tabindex]")].filter(
      e => !(e.getAttribute('aria-label') || e.closest('label')?.textContent)
    ).length"""
    assert page.run(unnamed) == 0
    assert page.complaints == []


@needs_chromium
def test_every_choice_shows_its_map(page):
    """All kinds, passes, blocks and slices: the sentence names them, no complaint."""
    choose = (
        "(s => {{ s.selectedIndex = {}; s.dispatchEvent(new Event('change')); return s.value; }})"
    )
    seen = {}
    for kind in range(5):
        label = page.run(choose.format(kind) + f"(document.querySelector({SELECTS.format(1)!r}))")
        for which in (2, 3, 4):
            select = f"document.querySelector({SELECTS.format(which)!r})"
            for k in range(min(2, page.run(f"{select}.options.length"))):
                page.run(choose.format(k) + f"({select})")
                names = r"(sequence|[A-Z][a-z]{2}) \d+"
                said = re.sub(names, "X", says(page)).split(":")[0]
                seen.setdefault(label, set()).add(said)
    assert list(seen) == [kind.label for kind in KINDS.values()]
    for kind in KINDS.values():
        expected = {kind.says, kind.on_average} - {""}
        expected = {re.sub(r"{\w+}", "X", sentence) for sentence in expected}
        shown = {said.replace("the query (X)", "X") for said in seen[kind.label]}
        assert shown == expected
    assert page.complaints == []


@needs_chromium
def test_dark_and_narrow(page, tmp_path):
    light = page.run(PIXELS)[1]
    page.scheme(dark=True)
    page.wait(f"{PIXELS}[1] < 60")
    assert light > 240 and page.run(PIXELS)[1] < 60, "the structure's background, too"
    colors = page.run(
        f"(s => [s.color, s.backgroundColor])(getComputedStyle({FIGURE}))"
        ".map(c => c.match(/\\d+/g).slice(0, 3).reduce((a, b) => a + Number(b), 0) / 3)"
    )
    assert colors[0] - colors[1] > 150, "bright on dark"
    page.resize(400, 800)
    assert page.run("document.documentElement.scrollWidth <= window.innerWidth")
    assert page.run("document.querySelector('.mfa-map').clientWidth") > 250
    page.resize(1200, 900)
    page.scheme(dark=False)


@needs_chromium
def test_in_a_frame_of_a_notebook_and_without_a_structure(taps, tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda data, raw: shown.append(data))
    AttentionView(taps, CHAIN)._ipython_display_()
    AttentionView(taps)._ipython_display_()
    html = "".join(data.get("text/html", "") for data in shown)
    (tmp_path / "notebook.html").write_text(f"<!doctype html><body>{html}</body>", encoding="utf-8")
    with Browser(tmp_path) as page:
        page.open(tmp_path / "notebook.html")
        frames = "[...document.querySelectorAll('iframe')].map(f => f.contentDocument)"
        states = f"{frames}.map(document => {STATE}.structure)"
        page.wait(f"{states}.every(Boolean)")
        assert page.run(states) == ["live", "none"]
        most = page.run(f"{frames}.map(f => f.querySelector('.mfa-most').textContent)")
        assert all("looks most at" in text for text in most)
        assert page.complaints == []


@needs_chromium
def test_as_a_part_of_a_report(taps, tmp_path):
    part = Section("Attention", views=[view(CHAIN)], html=attention_view(taps, CHAIN))
    write_report(tmp_path / "report.html", "Report", "The lead.", [part])
    with Browser(tmp_path) as page:
        page.open(tmp_path / "report.html")
        page.wait(f"{STATE}.structure")
        assert page.run(f"{STATE}.structure") == "live" and page.complaints == []


@needs_chromium
def test_the_still_picture_stays_where_the_script_cannot_run(taps, tmp_path):
    text = AttentionView(taps).page().replace("new DecompressionStream", "new Missing")
    (tmp_path / "old.html").write_text(text, encoding="utf-8")
    with Browser(tmp_path) as page:
        page.open(tmp_path / "old.html")
        page.wait(f"{STATE}.state !== 'starting'")
        assert page.run(f"{STATE}.state") == "still"
        assert page.run("document.querySelector('.mfa-still').clientHeight") > 100
