"""3D views: what they contain, that they are deterministic, that pictures show something."""

import base64
import gzip
import io
import json
import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from minifold.data.residues import ATOM_INDEX
from minifold.data.structures import read_structure
from minifold.errors import BadInput
from minifold.look import drawing3d, live3d
from minifold.look.picture import Balls, paint, ribbon, secondary_structure
from minifold.look.view3d import AXIS, attention, disulfides, library, plddt_color, trajectory, view
from minifold.training.metrics import evaluate
from tests.browser import Browser, needs_chromium
from tests.conftest import ROOT

CA = ATOM_INDEX["CA"]


def chain(name="1l2y"):
    return read_structure(ROOT / "data" / "structures" / f"{name}.cif")


def turned(c):
    """The same chain elsewhere and turned, with pLDDT as B-factors."""
    rotation = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    rotation *= np.sign(np.linalg.det(rotation))
    moved = (c.positions @ rotation + 30).astype(np.float32) * c.mask[..., None]
    plddt = np.linspace(20, 99, len(c.sequence)).astype(np.float32)
    return replace(c, positions=moved, b_factors=plddt)


def spec_of(v):
    return json.loads(re.search(r'application/json">(.*?)</script>', v.html(), re.S).group(1))


def calls_of(v, method):
    """The arguments of every call of a method of 3Dmol's viewer."""
    text = re.search(r"<template[^>]*>(.*?)</template>", v.html(), re.S).group(1)
    calls = re.findall(rf"viewer_\w+\.{method}\((.*)\);\n", text)
    return [json.loads(f"[{arguments}]") for arguments in calls]


def cartoon_of(v, model=0):
    (style,) = (s for which, s in calls_of(v, "setStyle") if which == {"model": model})
    return style["cartoon"]


def test_same_input_same_bytes():
    one, two = view(turned(chain())), view(turned(chain()))
    assert one.html() == two.html()
    assert one.png() == two.png()
    assert one.identifier != view(chain(), color="position").identifier


def test_picture_does_not_depend_on_where_the_protein_lies():
    a = np.asarray(view(chain(), color="position").image(), float)
    b = np.asarray(view(turned(chain()), color="position").image(), float)
    assert np.abs(a - b).mean() < 1.0


def test_superposition_puts_the_truth_onto_the_prediction():
    first, second = view([turned(chain()), chain()], superpose=True).layers
    there = first.chain.mask > 0
    assert np.abs(first.chain.positions - second.chain.positions)[there].max() < 1e-3
    assert second.ghost and not first.ghost
    assert set(second.colors) == {drawing3d.GHOST}


def test_scores_stand_beside_a_superposition():
    c = chain()
    bent = c.positions + np.cumsum(np.random.default_rng(0).normal(0, 0.3, (20, 1, 3)), 0)
    bent = replace(c, positions=(bent * c.mask[..., None]).astype(np.float32))
    v = view([bent, turned(c)], superpose=True)
    scores = evaluate(bent, c)
    expected = {
        "lDDT-Cα": f"{scores['lddt_ca']:.3f}",
        "lDDT (all atoms)": f"{scores['lddt']:.3f}",
        "TM-score": f"{scores['tm_score']:.3f}",
        "RMSD Cα": f"{scores['rmsd_ca']:.2f} Å",
    }
    assert dict(v.scores) == expected and 0.1 < scores["rmsd_ca"] < 3
    for name, value in expected.items():
        assert f"<dt>{name}</dt><dd>{value}</dd>" in v.html()
    assert f"RMSD Cα {expected['RMSD Cα']}" in re.search('alt="([^"]*)"', v.html()).group(1)
    lines = [np.asarray(view([bent, x], superpose=True).image())[320:] for x in (c, bent)]
    assert (lines[0] != lines[1]).any(), "the picture has the numbers, too"
    traced = trajectory(c, np.stack([bent.positions[:, CA], c.positions[:, CA]]), truth=c)
    assert dict(traced.scores)["TM-score"] == "1.000" and "lDDT (all atoms)" not in dict(
        traced.scores
    )
    assert view(c).scores == () and view([c, bent], "chain").scores == ()


def test_the_key_says_what_colours_mean():
    c = turned(chain("1crn"))
    bands = view(c).key
    assert bands[0] == ("#0053D6", "pLDDT very high (≥ 90)") and len(bands) == 4
    ends = view(c, "position")
    assert [words for _, words in ends.key] == ["N-terminus", "C-terminus"]
    image = ends.image().reshape(-1, 3).tolist()
    for color, _ in ends.key:
        assert [int(color[k : k + 2], 16) for k in (1, 3, 5)] in image, "exactly this colour"
    assert view([c, chain("1crn")], "chain", superpose=True).key[-1] == ("#B4B4B4", "1CRN")


def test_attention_of_a_residue():
    c = chain()
    weights = np.full(20, 0.01)
    weights[[3, 12, 17]] = 0.1, 0.4, 0.02
    v = attention(c, weights, 3)
    balls, arcs = calls_of(v, "addSphere"), calls_of(v, "addCurve")
    assert len(balls) == 2 and len(arcs) == 1, "itself, and 12; 17 has less than a tenth of it"
    at = [[ball["center"][x] for x in "xyz"] for (ball,) in balls]
    ca = v.layers[0].chain.positions[[3, 12], CA]
    assert np.abs(np.array(at) - ca).max() < 0.006
    points = np.array([[p[x] for x in "xyz"] for p in arcs[0][0]["points"]])
    assert np.abs(points[[0, -1]] - ca).max() < 0.006
    middle = v.layers[0].chain.positions[:, CA].mean(0)
    straight = np.linalg.norm(ca.mean(0) - middle)
    assert np.linalg.norm(points[6] - middle) > straight + 0.9, "it bends outwards"
    assert spec_of(v)["notes"][0]["13"] == " · weight 0.4"
    assert v.caption == "Ile 4 looks most at Ser 13 (0.4)."
    shades = [sum(int(x[k : k + 2], 16) for k in (1, 3, 5)) for x in v.layers[0].colors]
    assert shades[12] < shades[3] < shades[0], "the darker, the more"
    assert (v.image() != view(c, weights / 0.4).image()).any()
    assert len(attention(c, weights, 3, least=0.01).marks) == 1 + 2 * 19
    for bad in (weights[:19], np.full(20, np.nan)):
        with pytest.raises(BadInput, match="does not fit to 20 residues"):
            attention(c, bad, 3)
    with pytest.raises(BadInput, match="residue 20"):
        attention(c, weights, 20)


def test_torn_bonds_are_bridged():
    c = chain()
    far = c.positions.copy()
    far[10:] += 4 * (c.mask[10:, :, None] > 0)
    torn = replace(c, positions=far.astype(np.float32))
    assert spec_of(view(c))["torn"] == []
    assert spec_of(view(torn))["torn"] == [[0, 10, 11]]
    gap = replace(torn, residue_index=torn.residue_index + 5 * (np.arange(20) > 9))
    assert spec_of(view(gap))["torn"] == [], "missing residues stay missing"


def test_superposition_pairs_by_sequence():
    c = chain("1crn")
    part = replace(
        c,
        sequence=c.sequence[5:],
        positions=c.positions[5:],
        mask=c.mask[5:],
        residue_index=c.residue_index[5:],
        b_factors=c.b_factors[5:],
    )
    first, second = view([turned(part), c], superpose=True).layers
    assert np.abs(first.chain.positions[:, CA] - second.chain.positions[5:, CA]).max() < 1e-3
    with pytest.raises(BadInput, match="not of one protein"):
        view([chain("1l2y"), replace(c, sequence="W" * len(c.sequence))], superpose=True)


def test_confidence_has_alphafolds_colours():
    assert [plddt_color(x) for x in (95.0, 90.0, 80.0, 60.0, 10.0)] == [
        "#0053D6", "#0053D6", "#65CBF3", "#FFDB13", "#FF7D45",
    ]  # fmt: skip
    c = turned(chain())
    colors = cartoon_of(view(c))["colorscheme"]["map"]
    assert colors["1"] == "#FF7D45" and colors[str(len(c.sequence))] == "#0053D6"


def test_one_copy_of_the_structure_and_its_atoms():
    c = chain()
    v = view(c)
    ((pdb, form),) = calls_of(v, "addModel")
    assert pdb.count("ATOM") == int(c.mask.sum()) and form == "pdb"
    assert v.html().count("ATOM") == int(c.mask.sum())
    assert "http" not in v.html() and v._repr_html_().count('src="http') == 0


def test_py3dmol_is_named_by_the_content_not_by_the_clock():
    one = view(chain())
    name = one.identifier.removeprefix("view-")
    assert f"viewer_{name}" in one.html() and f'id="3dmolviewer_{name}"' in one.html()
    assert not re.search(r"(viewer|3dmolwarning)_(?!" + name + ")", one.html())
    captioned = view(chain(), caption="other words, same drawing")
    assert captioned.identifier == one.identifier


@pytest.mark.parametrize(
    ("name", "pairs"),
    [
        ("1crn", {(3, 40), (4, 32), (16, 26)}),
        ("1bpi", {(5, 55), (14, 38), (30, 51)}),
        ("1ubq", set()),
    ],
)
def test_disulfides(name, pairs):
    c = chain(name)
    assert {(i + 1, j + 1) for i, j in disulfides(c)} == pairs
    v = view(c, color="chain")
    sticks = [which for which, style in calls_of(v, "addStyle") if style["stick"]["radius"] == 0.2]
    assert {tuple(which["resi"]) for which in sticks} == pairs
    assert all(which["atom"] == ["CA", "CB", "SG"] for which in sticks)
    bonds = [rod for (rod,) in calls_of(v, "addCylinder") if rod["color"] == drawing3d.SULFUR]
    lengths = [np.linalg.norm([rod["start"][x] - rod["end"][x] for x in "xyz"]) for rod in bonds]
    assert len(bonds) == len(pairs) and all(1.9 < length < 2.2 for length in lengths)


def test_trajectory_is_superposed_and_carries_every_frame():
    c, n = chain(), len(chain().sequence)
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    rotation *= np.sign(np.linalg.det(rotation))
    ca = c.positions[:, CA]
    v = trajectory(c, np.stack([ca @ rotation + 5, ca]), truth=c)
    assert np.abs(v.frames[0] - v.frames[1]).max() < 1e-3
    assert v.layers[1].ghost and calls_of(v, "setStyle")[0] == [{"model": 0}, {}]
    spec = spec_of(v)["moving"]
    assert spec["labels"] == ["1 of 2", "2 of 2"] and len(spec["colors"]) == n
    moving = np.array(spec["frames"]) / 100
    assert moving.shape == (2, n, 3) and np.abs(moving - v.frames).max() <= 0.006
    assert v.image().shape == (360, 480, 3)
    with pytest.raises(BadInput, match="frames have shape"):
        trajectory(c, np.zeros((3, n + 1, 3), np.float32))


def test_bad_input_is_named():
    c = chain()
    with pytest.raises(BadInput, match="no colouring 'confidence'"):
        view(c, color="confidence")
    with pytest.raises(BadInput, match="3 colour values for 20 residues"):
        view(c, color=[0.1, 0.2, 0.3])
    with pytest.raises(BadInput, match="at least one chain"):
        view([])
    with pytest.raises(BadInput, match="no CA atoms"):
        view(replace(c, mask=np.zeros_like(c.mask)))


def test_values_per_residue_colour_the_chain():
    c = chain()
    colors = view(c, color=np.linspace(0, 1, len(c.sequence))).layers[0].colors
    assert len(set(colors)) == len(c.sequence)


def test_library_is_3dmol_with_its_licence_unchanged():
    packed = re.search(r'id="minifold-3dmol">([^<]*)<', library()).group(1)
    code = gzip.decompress(base64.b64decode(packed)).decode()
    assert "University of Pittsburgh" in code
    assert code.endswith((live3d.ASSETS / "3Dmol-min.js").read_text(encoding="utf-8"))
    assert len(packed) < 250_000


def test_notebook_gets_the_library_once(monkeypatch):
    monkeypatch.setattr(drawing3d, "_bearer", None)
    first, second = view(chain()), view(chain(), color="position")
    assert 'id="minifold-3dmol"' in first._repr_html_()
    assert 'id="minifold-3dmol"' not in second._repr_html_()
    assert 'id="minifold-3dmol"' in first._repr_html_()  # run again: still there
    assert "<img" not in first._repr_html_()  # the picture is an output of its own


def test_png_file(tmp_path):
    v = view(chain(), width=200, height=150)
    v.png(tmp_path / "a.png")
    picture = Image.open(tmp_path / "a.png")
    assert picture.size == (200, 150)
    assert (tmp_path / "a.png").stat().st_size < 30_000
    assert (np.asarray(picture.convert("RGB")) < 200).any(-1).mean() > 0.05  # not blank


# --- In a browser ---------------------------------------------------------------------------------

LIVE = "[...document.querySelectorAll('.mf-view')].every(f => /live|still/.test(f.dataset.state))"
STATES = "[...document.querySelectorAll('.mf-view')].map(f => f.dataset.state)"
DRAWN = """(function (n) {
  const canvas = document.querySelectorAll(".mf-live canvas")[n];
  const copy = document.createElement("canvas");
  copy.width = canvas.width; copy.height = canvas.height;
  const pen = copy.getContext("2d");
  pen.drawImage(canvas, 0, 0);
  const { width, height } = copy, data = pen.getImageData(0, 0, width, height).data;
  let box = [width, height, 0, 0], count = 0;
  for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) {
    const at = 4 * (y * width + x);
    if (data[at + 3] < 200 || data[at] + data[at + 1] + data[at + 2] > 700) continue;
    count += 1;
    box = [Math.min(box[0], x), Math.min(box[1], y), Math.max(box[2], x), Math.max(box[3], y)];
  }
  return [count, box[0] / width, box[1] / height, box[2] / width, box[3] / height];
})"""


def page_of(*views):
    body = "".join(v.html() for v in views)
    rules = live3d.asset("view.css")
    return f"<!doctype html><meta charset='utf-8'><style>{rules}</style>{body}{library()}"


@needs_chromium
def test_live_views(tmp_path):
    """Two alike, a superposition, attention, a trajectory: all alive, whole, moved by hand."""
    c = chain()
    bent = c.positions[:, CA] + np.linspace(0, 3, 20)[:, None]
    views = [
        view(c, "position"),
        view(c, "position"),
        view([turned(c), c], superpose=True),
        attention(c, np.linspace(0, 0.1, 20), 3),
        trajectory(c, np.stack([0.2 * bent, bent]), labels=["first", "last"]),
    ]
    (tmp_path / "views.html").write_text(page_of(*views), encoding="utf-8")
    with Browser(tmp_path, height=3000) as page:
        page.open(tmp_path / "views.html")
        page.wait(LIVE)
        assert page.run(STATES) == ["live"] * 5 and page.complaints == []
        boxes = [page.run(f"{DRAWN}({k})") for k in range(5)]
        for count, left, top, right, bottom in boxes:
            assert count > 2000
            assert min(left, top) > 0.005 and max(right, bottom) < 0.995, "nothing is cut off"
            assert max(right - left, bottom - top) > 0.6, "and not small"
        assert boxes[0] == boxes[1], "the same drawing twice in one page"

        one = "document.querySelector('.mf-view .mf-controls input')"
        page.click(".mf-view .mf-controls input")
        assert page.run(f"{one}.checked") and page.run(f"{DRAWN}(0)")[0] > boxes[0][0] + 500
        page.click(".mf-view .mf-controls input")
        assert page.run(f"{DRAWN}(0)") == boxes[0]
        page.run("document.querySelector('.mf-stage').focus()")
        page.press("ArrowUp", times=3)
        assert page.run(f"{DRAWN}(0)") != boxes[0]
        page.click(".mf-view .mf-controls button")
        assert page.run(f"{DRAWN}(0)") == boxes[0], "reset"

        page.run("document.querySelector('input[type=range]').focus()")
        assert page.run("document.querySelector('output').textContent") == "last"
        page.press("Home")
        assert page.run("document.querySelector('output').textContent") == "first"
        assert page.run(f"{DRAWN}(4)")[0] < boxes[4][0] - 500, "the first frame is smaller"
        assert page.complaints == []


@needs_chromium
def test_the_mouse_names_residues(tmp_path):
    c = turned(chain())
    (tmp_path / "view.html").write_text(page_of(view(c)), encoding="utf-8")
    with Browser(tmp_path) as page:
        page.open(tmp_path / "view.html")
        page.wait(LIVE)
        viewer = "Object.entries(window).find(([k, v]) => /^viewer_/.test(k) && v)[1]"
        page.run(
            f"window.words = []; {viewer}.addLabel = text => {{ words.push(text); return {{}}; }}"
        )
        for x in np.linspace(0.3, 0.7, 15):
            page.hover(".mf-live canvas", float(x), 0.5)
            page.run("new Promise(done => setTimeout(done, 60))")
        words = page.run("new Promise(done => setTimeout(() => done(words), 600))")
        assert words and all(re.fullmatch(r"[A-Z]{3} \d+ · pLDDT \d+", text) for text in words)


def test_frames_are_drawn_as_axes():
    c = turned(chain())
    marks = view(c, color="position", axes=True).marks
    assert len(marks) == 3 * len(c.sequence)
    sides = np.array([mark.points[1] - mark.points[0] for mark in marks]).reshape(-1, 3, 3)
    assert np.allclose(sides @ sides.transpose(0, 2, 1), AXIS**2 * np.eye(3), atol=1e-3)
    drawn = view(c, color="position").layers[0].chain.positions
    x = np.array([mark.points for mark in marks[::3]])
    assert np.allclose(x[:, 0], drawn[:, CA], atol=1e-3)  # from CA towards C
    toward = drawn[:, ATOM_INDEX["C"]] - drawn[:, CA]
    toward = toward / np.linalg.norm(toward, axis=-1, keepdims=True)
    assert np.allclose((x[:, 1] - x[:, 0]) / AXIS, toward, atol=1e-3)


def test_rods_turn_with_the_chain():
    c = chain()
    ends = c.positions[0, CA], c.positions[9, CA]
    v = view(c, color="position", rods=[(*ends, "#D55E00")])
    assert np.allclose(v.marks[0].points, v.layers[0].chain.positions[[0, 9], CA], atol=1e-3)
    assert "#D55E00" in v.html()
    assert v.png() != view(c, color="position").png()


# --- The painter ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "helix", "strand"), [("1vii", 0.3, 0.0), ("1ubq", 0.15, 0.25), ("2gb1", 0.2, 0.35)]
)
def test_secondary_structure(name, helix, strand):
    c = chain(name)
    kind = secondary_structure(c.positions[:, CA])
    assert len(kind) == len(c.sequence)
    assert kind.count("H") / len(kind) >= helix
    assert kind.count("E") / len(kind) >= strand
    mirror = secondary_structure(c.positions[:, CA] * np.array([-1, 1, 1], np.float32))
    assert mirror.count("H") < 0.2 * kind.count("H") + 1  # helices are right-handed


def test_nearer_balls_hide_farther_ones():
    red, blue = np.array([[1.0, 0, 0]]), np.array([[0, 0, 1.0]])
    balls = [Balls(np.zeros((1, 3)), red, 1.0), Balls(np.array([[0, 0, 5.0]]), blue, 1.0)]
    for order in (balls, balls[::-1]):
        middle = paint(order, 16, 16)[8, 8].astype(int)
        assert middle[2] > middle[0] + 50


def test_up_is_up_and_right_is_right():
    colors = np.array([[1.0, 0, 0], [0, 0, 1.0]])
    picture = paint([Balls(np.array([[-5.0, -5, 0], [5.0, 5, 0]]), colors, 2.0)], 60, 60).astype(
        int
    )
    red, blue = picture[..., 0] - picture[..., 2] > 60, picture[..., 2] - picture[..., 0] > 60
    assert np.argwhere(red).mean(0)[0] > 35 and np.argwhere(red).mean(0)[1] < 25
    assert np.argwhere(blue).mean(0)[0] < 25 and np.argwhere(blue).mean(0)[1] > 35


def test_ribbon_follows_the_chain():
    ca = chain().positions[:, CA]
    tube = ribbon(ca, np.ones((len(ca), 3)), flat=False)
    distance = np.linalg.norm(tube.centers[:, None] - ca[None], axis=-1).min(0)
    assert distance.max() < 1e-3  # through every atom


def test_png_is_palette_of_the_picture():
    v = view(chain())
    assert np.array_equal(v.image(), np.asarray(Image.open(io.BytesIO(v.png())).convert("RGB")))
