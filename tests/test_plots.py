"""Plots: what is drawn is what was given."""

import io

import gemmi
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from minifold.data.residues import RESTYPES
from minifold.data.structures import read_structure
from minifold.errors import BadInput
from minifold.look import plots
from minifold.look.attention_plots import relatives
from tests.conftest import ROOT

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


def test_maps_side_by_side_share_a_scale_if_there_is_one():
    maps = {"a": np.eye(4), "b": 3 * np.eye(4)}
    figure = plots.pair_maps(maps, "odds", (0.0, 2.0))
    first, second, scale = figure.axes
    for ax, (title, values) in zip((first, second), maps.items()):
        assert ax.get_title(loc="left") == title
        assert np.array_equal(ax.images[0].get_array(), values)
        assert ax.images[0].get_clim() == (0, 2)
        assert ax.images[0].get_extent() == [0.5, 4.5, 4.5, 0.5], "residues count from 1"
    assert scale.get_ylabel() == "odds"
    own = plots.pair_maps(maps)
    assert [ax.images[0].get_clim() for ax in own.axes] == [(0, 1), (0, 3)]


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


def maps_of(figure):
    """The images of a figure, those of colour bars left out, in order."""
    return [ax.images[0].get_array() for ax in figure.axes if ax.images]


def test_grid_scales_each_map_by_its_largest():
    weights = RNG.dirichlet(np.ones(5), (3, 2, 4))
    figure = plots.attention_grid(weights, "Rows", ["block 0", "block 5", "block 9"])
    maps = maps_of(figure)
    assert len(maps) == 6
    for drawn, w in zip(maps, weights.reshape(6, 4, 5)):
        np.testing.assert_allclose(drawn, w / w.max())
    assert [ax.get_ylabel() for ax in figure.axes[:6:2]] == ["block 0", "block 5", "block 9"]
    assert figure.axes[5].get_xlabel() == "head 1"
    with pytest.raises(BadInput, match="2 names for 3 layers"):
        plots.attention_grid(weights, layers=["a", "b"])


def test_one_head_has_letters_numbers_and_means():
    weights = RNG.dirichlet(np.ones(6), 6)
    figure = plots.attention_head(weights, "ACDEFG", np.arange(10, 16))
    above, large = figure.axes[:2]
    np.testing.assert_array_equal(large.images[0].get_array(), weights)
    np.testing.assert_allclose([bar.get_height() for bar in above.patches], weights.mean(0))
    for axis in (large.xaxis, large.yaxis):
        assert [t.get_text() for t in axis.get_ticklabels(minor=True)] == [*"ACDEFG"]
        assert [t.get_text() for t in axis.get_ticklabels()] == ["11", "12", "13", "14", "15", "16"]
    with pytest.raises(BadInput, match="5 letters for a map of 6 x 6"):
        plots.attention_head(weights, "ACDEF")


FAMILIES = np.array([[0, 0, 0, 0], [5, 5, 5, 5], [0, 0, 0, 1], [5, 5, 5, 6], [0, 0, 2, 1]])


def test_ward_tree_is_that_of_the_sums_of_squares():
    """Ward joins what adds least to the sum of squared distances to the groups' means."""
    one_hot = (FAMILIES[..., None] == np.arange(7)).reshape(5, -1) / np.sqrt(2 * 4)
    groups = {k: [k] for k in range(5)}

    def scatter(rows):
        return ((one_hot[rows] - one_hot[rows].mean(0)) ** 2).sum()

    for step, (a, b, height, size) in enumerate(relatives(FAMILIES)):
        costs = {
            (i, j): scatter(groups[i] + groups[j]) - scatter(groups[i]) - scatter(groups[j])
            for i in groups
            for j in groups
            if i < j
        }
        a, b = sorted((int(a), int(b)))
        assert costs[a, b] == pytest.approx(min(costs.values()))
        assert height == pytest.approx(np.sqrt(2 * costs[a, b])) and size == len(groups[a]) + len(
            groups[b]
        )
        groups[5 + step] = groups.pop(a) + groups.pop(b)


def test_column_attention_stands_in_the_order_of_the_tree():
    weights = RNG.dirichlet(np.ones(5), (6, 5))
    figure = plots.msa_column(weights, FAMILIES.astype(np.uint8))
    shown = [im for im in maps_of(figure) if im.shape == (5, 5)]
    assert len(shown) == 6, "two rows of panels, the tree in each"
    strip = next(im for im in maps_of(figure) if im.shape == (5, 1))[:, 0]
    identity = np.array([1, 0, 0.75, 0, 0.5])
    order = [identity.tolist().index(x) for x in strip if x > 0]
    families = [x > 0 for x in strip]
    assert families in ([True] * 3 + [False] * 2, [False] * 2 + [True] * 3), "relatives together"
    some = np.flatnonzero(strip > 0)
    for w, drawn in zip(weights, shown):
        expected = w[np.ix_(order, order)] / w.max()
        np.testing.assert_allclose(drawn[np.ix_(some, some)], expected)
    tree = figure.axes[0].collections[0].get_segments()
    assert len(tree) == 4 and max(x for line in tree for x, _ in line) > 0.5
    leaves = {y for line in tree for x, y in line if x == 0}
    assert leaves == {0, 1, 2, 3, 4}
    with pytest.raises(BadInput, match="attention of 5 sequences, letters of 4"):
        plots.msa_column(weights, FAMILIES[:4])


@pytest.mark.parametrize(("ending", "fixed"), [(False, "i"), (True, "j")])
def test_triangle_slices_hold_one_corner(ending, fixed):
    weights = RNG.dirichlet(np.ones(7), (7, 2, 7))
    figure = plots.triangle_slices(weights, [1, 6], "ACDEFGH", ending)
    shown = maps_of(figure)
    for drawn, (head, row) in zip(shown, [(0, 1), (0, 6), (1, 1), (1, 6)], strict=True):
        np.testing.assert_allclose(drawn, weights[row, head] / weights[row, head].max())
    titles = [ax.get_title(loc="left") for ax in figure.axes[:2]]
    assert titles == [f"{fixed} = Cys 2", f"{fixed} = His 7"]
    assert len(maps_of(plots.triangle_slices(weights))) == 8
    with pytest.raises(BadInput, match="residues 0 to 6"):
        plots.triangle_slices(weights, [7])


def test_plddt_points_have_alphafolds_colours():
    figure = plots.plddt(np.array([95.0, 80.0, 60.0, 30.0]), residue_index=np.array([4, 5, 6, 9]))
    points = figure.axes[0].collections[-1]
    assert points.get_offsets()[:, 0].tolist() == [5, 6, 7, 10]
    assert np.allclose(points.get_facecolors()[0][:3], np.array([0x00, 0x53, 0xD6]) / 255)
    assert "66.2" in figure.axes[0].get_title(loc="left")


def test_depth():
    figure = plots.msa_depth(np.array([3, 5, 4]))
    assert figure.axes[0].lines[0].get_ydata().tolist() == [3, 5, 4]


def test_coverage_sorts_by_identity_and_leaves_gaps_white():
    tokens = np.array([[0, 1, 2, 3], [9, 9, 2, 21], [0, 1, 2, 21], [0, 1, 9, 3]])
    figure = plots.msa_coverage(tokens)
    drawn = image_of(figure)
    expected = [[1] * 4, [1, 1, 1, np.nan], [0.75] * 4, [1 / 3, 1 / 3, 1 / 3, np.nan]]
    np.testing.assert_allclose(drawn, expected)
    assert figure.axes[0].lines[0].get_ydata().tolist() == [4, 4, 4, 2]


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


def test_torsions_of_a_structure_are_gemmis():
    path = ROOT / "data" / "structures" / "1ubq.cif"
    phi, psi = plots.phi_psi(read_structure(path))
    polymer = gemmi.read_structure(str(path))[0][0].get_polymer()
    for k in range(1, len(phi) - 1):
        angles = gemmi.calculate_phi_psi(polymer[k - 1], polymer[k], polymer[k + 1])
        assert np.degrees(angles[0]) == pytest.approx(phi[k], abs=0.1)
        atoms = (polymer[k].sole_atom(name).pos for name in ("N", "CA", "C", "O"))
        opposite = np.degrees(gemmi.calculate_dihedral(*atoms)) + 180  # O, across from the next N
        assert abs((opposite - psi[k] + 180) % 360 - 180) < 0.1
        assert abs((np.degrees(angles[1]) - psi[k] + 180) % 360 - 180) < 15
    assert np.isnan(phi[0]) and not np.isnan(psi[0])


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
