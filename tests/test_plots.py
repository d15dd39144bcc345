"""Plots: what is drawn is what was given."""

import io

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from minifold.data.residues import RESTYPES
from minifold.errors import BadInput
from minifold.look import plots

RNG = np.random.default_rng(0)


def image_of(figure):
    return np.asarray(figure.axes[0].images[0].get_array().filled(np.nan))


def test_distance_map_has_prediction_above_and_truth_below():
    predicted, true = np.full((6, 6), 5.0), np.full((6, 6), 9.0)
    drawn = image_of(plots.distance_map(predicted, true))
    i, j = np.indices(drawn.shape)
    assert (drawn[j > i] == 5).all() and (drawn[j < i] == 9).all()
    assert np.isnan(drawn[i == j]).all()
    assert (image_of(plots.distance_map(predicted)) == 5).all()


def test_contact_map_has_probabilities_and_contacts():
    drawn = image_of(plots.contact_map(np.full((4, 4), 0.3), np.ones((4, 4), bool)))
    assert drawn[0, 3] == 0.3 and drawn[3, 0] == 1


def test_pae_starts_at_zero():
    figure = plots.pae(np.full((5, 5), 7.0))
    assert figure.axes[0].images[0].get_clim() == (0.0, 31.75)
    assert figure.axes[0].get_xlabel() == "scored residue"


def test_heads_share_one_scale():
    weights = RNG.dirichlet(np.ones(5), (6, 5))
    figure = plots.attention_heads(weights)
    maps = [ax.images[0] for ax in figure.axes if ax.images and ax.get_title(loc="left")]
    assert len(maps) == 6
    assert {m.get_clim() for m in maps} == {(0.0, weights.max())}
    assert np.array_equal(maps[5].get_array(), weights[5])


def test_plddt_points_have_alphafolds_colours():
    figure = plots.plddt(np.array([95.0, 80.0, 60.0, 30.0]), residue_index=np.array([4, 5, 6, 9]))
    points = figure.axes[0].collections[-1]
    assert points.get_offsets()[:, 0].tolist() == [5, 6, 7, 10]
    assert np.allclose(points.get_facecolors()[0][:3], np.array([0x00, 0x53, 0xD6]) / 255)
    assert "66.2" in figure.axes[0].get_title(loc="left")


def test_depth():
    figure = plots.msa_depth(np.array([3, 5, 4]))
    assert figure.axes[0].lines[0].get_ydata().tolist() == [3, 5, 4]


def test_logo_heights_are_bits():
    trp, gap = RESTYPES.index("W"), 21
    tokens = np.full((20, 3), trp)
    tokens[:, 1] = np.arange(20)  # all letters alike: no information
    tokens[10:, 2] = gap  # gaps do not count
    letters = plots.logo(tokens).axes[0].patches
    assert len(letters) == 2
    for letter, x in zip(letters, (1, 3)):
        box = letter.get_path().get_extents()
        assert box.height == pytest.approx(np.log2(20), abs=1e-6)
        assert (box.x0 + box.x1) / 2 == pytest.approx(x, abs=0.05)


def test_distogram_bars():
    edges = np.array([4.0, 6.0, 8.0])
    figure = plots.distogram(np.array([0.1, 0.2, 0.3, 0.4]), edges, ("C 5", "C 55"), true=5.0)
    bars = figure.axes[0].patches
    assert [bar.get_height() for bar in bars] == [0.1, 0.2, 0.3, 0.4]
    assert [bar.get_x() for bar in bars] == [2.0, 4.0, 6.0, 8.0]
    with pytest.raises(BadInput, match="4 bins need 3 edges"):
        plots.distogram(np.ones(4), np.ones(4))


def test_ramachandran_marks_glycine():
    figure = plots.ramachandran(
        np.array([-60.0, 80.0]), np.array([-45.0, 10.0]), np.array([False, True])
    )
    others, glycine = figure.axes[0].collections
    assert others.get_offsets().tolist() == [[-60, -45]]
    assert glycine.get_offsets().tolist() == [[80, 10]]


def test_log_is_read_with_empty_fields(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("step,minutes,loss,lddt_ca\n1,0.1,5.5,\n2,0.2,4.5,0.31\n")
    log = plots.read_log(path)
    assert log["loss"].tolist() == [5.5, 4.5]
    assert np.isnan(log["lddt_ca"][0]) and log["lddt_ca"][1] == 0.31
    figure = plots.loss_curve(log, ["lddt_ca"], {"lddt_ca": {"helix": 0.2, "walk": 0.25}})
    loss, metric = figure.axes
    assert loss.lines[0].get_ydata().tolist() == [5.5, 4.5]
    assert metric.lines[0].get_xydata().tolist() == [[2, 0.31]]
    assert [t.get_text() for t in metric.texts] == ["helix", "walk"]
    assert [line.get_ydata()[0] for line in metric.lines[1:]] == [0.2, 0.25]
    with pytest.raises(BadInput, match="no column 'tm_score'"):
        plots.loss_curve(log, ["tm_score"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no rows"),
        ("step,loss\n", "no rows"),
        ("step,loss\n1,x\n", "line 2: 'x' in column loss"),
    ],
)
def test_bad_log(tmp_path, text, message):
    (tmp_path / "log.csv").write_text(text)
    with pytest.raises(BadInput, match=message):
        plots.read_log(tmp_path / "log.csv")


def test_close_baseline_names_do_not_overlap():
    log = {"step": np.arange(3.0), "loss": np.ones(3), "tm_score": np.array([0.1, 0.5, 0.9])}
    easy = {"tm_score": {"one": 0.3, "two": 0.301, "three": 0.302}}
    heights = [t.get_position()[1] for t in plots.loss_curve(log, ["tm_score"], easy).axes[1].texts]
    assert np.diff(sorted(heights)).min() > 0.07


def test_png_is_deterministic_and_not_blank():
    figure = plots.pair_map(RNG.random((8, 8)), "Map", "a.u.")
    assert isinstance(figure, Figure)
    one = plots.png(figure)
    assert one == plots.png(figure)
    picture = np.asarray(Image.open(io.BytesIO(one)).convert("L"))
    assert picture.std() > 20
