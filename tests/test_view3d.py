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
from minifold.look import view3d
from minifold.look.picture import Balls, paint, ribbon, secondary_structure
from minifold.look.view3d import disulfides, library, plddt_color, trajectory, view
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
    assert set(second.colors) == {view3d.GHOST}


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
    colors = spec_of(view(c))["models"][0]["colors"]
    assert colors["1"] == "#FF7D45" and colors[str(len(c.sequence))] == "#0053D6"


def test_one_copy_of_the_structure_and_its_atoms():
    c = chain()
    v = view(c)
    pdb = spec_of(v)["models"][0]["pdb"]
    assert pdb.count("ATOM") == int(c.mask.sum())
    assert v.html().count("ATOM") == int(c.mask.sum())
    assert 'src="http' not in v.html() + v._repr_html_()


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
    drawn = spec_of(view(c, color="chain"))["models"][0]["disulfides"]
    assert {tuple(pair) for pair in drawn} == pairs


def test_trajectory_is_superposed_and_carries_every_frame():
    c, n = chain(), len(chain().sequence)
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    rotation *= np.sign(np.linalg.det(rotation))
    ca = c.positions[:, CA]
    v = trajectory(c, np.stack([ca @ rotation + 5, ca]), truth=c)
    assert np.abs(v.frames[0] - v.frames[1]).max() < 1e-3
    spec = spec_of(v)
    assert spec["frames"] == 2 and spec["models"][1]["ghost"]
    moving = np.array(spec["models"][0]["moving"]) / 100
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
    assert code.endswith((view3d.ASSETS / "3Dmol-min.js").read_text(encoding="utf-8"))
    assert len(packed) < 250_000


def test_notebook_gets_the_library_once(monkeypatch):
    monkeypatch.setattr(view3d, "_bearer", None)
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
