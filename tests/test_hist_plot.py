"""Pictures of histograms: what is drawn, what is written on it, and that nothing else is touched."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import awkward as ak
import hist
import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest

import hepgraph as hg
from hepgraph.errors import LazyError
from hepgraph.hist.plot import Panel, draw, entries, errors, grid, mean, number, outside, save, summary

RNG = np.random.default_rng(5)
VALUES = RNG.normal(91, 4, 500)
NEW = hist.Hist.new


def mass(data=VALUES, **options):
    return NEW.Reg(20, 80, 100, name="m", label="Dimuon mass [GeV]").Weight().fill(data, **options)


KINDS = {
    "counts": NEW.Reg(20, 80, 100, name="m", label="m [GeV]").Double().fill(VALUES),
    "weights": mass(weight=RNG.normal(1, 1, 500)),
    "weighted counts": NEW.Reg(20, 80, 100, name="m").Double().fill(VALUES, weight=2.0),
    "mean": NEW.Reg(20, 80, 100, name="m").Mean().fill(VALUES, sample=VALUES),
    "weighted mean": NEW.Reg(20, 80, 100, name="m").WeightedMean().fill(VALUES, sample=VALUES, weight=2.0),
    "variable": NEW.Var([80, 90, 91, 100], name="m").Double().fill(VALUES),
    "log": NEW.Reg(20, 1, 1000, name="m", transform=hist.axis.transform.log).Double().fill(VALUES),
    "integers": NEW.Int(0, 5, name="n").Int64().fill(RNG.poisson(2, 500)),
    "booleans": NEW.Bool(name="b").Int64().fill(VALUES > 91),
    "categories": NEW.StrCat(["ee", "mumu"], name="c").Double().fill(["ee", "tautau", "ee"]),
    "integer categories": NEW.IntCat([11, 13], name="c").Double().fill([11, 13, 15]),
    "empty": NEW.Reg(20, 80, 100, name="m").Double(),
    "two axes": NEW.Reg(4, 80, 100, name="x").Reg(5, 0, 1, name="y").Double().fill(VALUES, RNG.random(500)),
    "categories and numbers": NEW.StrCat(["a"], name="c").Reg(5, 0, 1, name="y").Double().fill("a", RNG.random(9)),
    "no name": NEW.Reg(20, 80, 100).Double().fill(VALUES),
    "millions": mass(weight=12345.6),
    "small": NEW.Reg(20, -2e-6, 2e-6, name="x", label="$x$ [m]").Double().fill(RNG.normal(0, 1e-6, 500), weight=1e-7),
    "large": NEW.Reg(20, 0, 2e6, name="x", label="$x$ [m]").Double().fill(RNG.uniform(0, 3e6, 500), weight=-1e3),
}


@pytest.mark.parametrize("logy", [False, True])
@pytest.mark.parametrize("data", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_drawn(kind, data, logy, tmp_path):
    before = KINDS[kind].copy()
    save(grid([Panel(KINDS[kind], kind, data)], logy=logy), tmp_path / "page.png")
    assert (tmp_path / "page.png").read_bytes().startswith(b"\x89PNG")
    assert KINDS[kind] == before


def test_what_is_written():
    figure = grid({"Z": mass(), "categories": KINDS["categories"]}, title="Two of them", ncols=2)
    one, two = figure.axes
    assert (one.get_title(loc="left"), one.get_xlabel(), one.get_ylabel()) == (
        "Z", "Dimuon mass [GeV]", "Entries / 1 GeV",
    )  # fmt: skip
    assert (two.get_xlabel(), two.get_ylabel()) == ("c", "Entries")
    assert [text.get_text() for text in two.texts] == ["Entries 3\nOther 1"]
    assert figure.get_suptitle() == "Two of them"
    assert one.get_xlim() == (80, 100)


def test_axes_of_logarithms_are_drawn_so():
    (ax,) = grid([Panel(KINDS["log"])]).axes
    assert ax.get_xscale() == "log"
    (ax,) = grid([Panel(KINDS["counts"])], logy=True).axes
    assert ax.get_yscale() == "log"


def test_error_bars_are_the_roots_of_counts():
    h = KINDS["counts"]
    np.testing.assert_array_equal(errors(h), np.sqrt(h.values()))
    np.testing.assert_array_equal(errors(KINDS["weights"]), np.sqrt(KINDS["weights"].variances()))
    assert not errors(KINDS["weighted counts"]).any(), "the storage does not know them"
    for data in (False, True):
        (ax,) = grid([Panel(h, data=data)]).axes
        (bars,) = ax.containers
        tops = [segment[1, 1] for segment in bars.lines[2][0].get_segments()]
        np.testing.assert_allclose(tops, h.values() + np.sqrt(h.values()))


def test_computed_lazy_histograms_have_error_bars():
    events = hg.from_awkward(ak.Array({"m": VALUES}), npartitions=3)
    h = hg.Hist.new.Reg(20, 80, 100, name="m").Double().fill(events.m).compute()
    np.testing.assert_array_equal(errors(h), np.sqrt(h.values()))


def test_many_panels_fill_rows():
    figure = grid([Panel(mass(), str(i)) for i in range(7)], ncols=3)
    boxes = [ax.get_position() for ax in figure.axes]
    assert [round(box.x0, 6) for box in boxes[:3]] == [round(box.x0, 6) for box in boxes[3:6]]
    assert boxes[0].y0 > boxes[3].y1 > boxes[3].y0 > boxes[6].y1


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_written_outside_of_a_page_or_over_another_cell(kind):
    """The room for labels is fixed: what is written, the longest numbers included, stays in its cell."""
    figure = grid(
        [Panel(KINDS[kind], title) for title in ("one line", "of two lines " * 6, "", "four")], "A page", ncols=2
    )
    figure.draw_without_rendering()
    boxes = [ax.get_tightbbox() for ax in figure.axes]
    top = figure._suptitle.get_window_extent().y0
    for box in boxes:
        assert 0 <= box.x0 < box.x1 <= figure.bbox.width
        assert 0 <= box.y0 < box.y1 <= top
    middle, between = figure.bbox.width / 2, figure.axes[0].get_tightbbox().y0
    upper = [box for box in boxes if box.y0 >= between]
    assert len(upper) == len(boxes) / 2
    assert all(box.y1 <= between for box in boxes if box not in upper)
    assert sum(box.x1 <= middle for box in boxes) == sum(box.x0 >= middle for box in boxes) == len(boxes) / 2


def test_a_long_title_is_folded():
    (ax,) = grid([Panel(mass(), "word " * 30)]).axes
    assert ax.get_title(loc="left").count("\n") >= 2


def test_draw_into_axes_of_the_user():
    figure, ax = plt.subplots()
    draw(Panel(mass(), "mine"), ax)
    assert ax.get_title(loc="left") == "mine"
    plt.close(figure)


def test_nothing_global_is_touched():
    before, windows = dict(mpl.rcParams), plt.get_fignums()
    for kind in KINDS:
        grid({kind: KINDS[kind]})
    assert dict(mpl.rcParams) == before
    assert plt.get_fignums() == windows, "no window is opened"


def test_import_draws_in_no_library():
    code = (
        "import sys, hepgraph.hist.plot; assert 'matplotlib' not in sys.modules or 'hist' in sys.modules\nprint('ok')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "ok\n"


def test_what_cannot_be_drawn():
    events = hg.from_awkward(ak.Array({"m": VALUES}))
    lazy = hg.Hist.new.Reg(20, 80, 100, name="m").Double().fill(events.m)
    with pytest.raises(LazyError, match="computed histograms"):
        grid({"lazy": lazy})
    with pytest.raises(LazyError, match="computed histograms"):
        grid({"array": events.m})
    with pytest.raises(ValueError, match="no histogram"):
        grid({})
    with pytest.raises(ValueError, match="cube has 3 axes"):
        grid({"cube": NEW.Reg(2, 0, 1).Reg(2, 0, 1).Reg(2, 0, 1).Double()})


def test_numbers_of_a_histogram():
    h = NEW.Reg(4, 0, 4, name="x").Double().fill([-1, 0.5, 1.5, 1.5, 9, 9, 9])
    assert entries(h) == 7
    assert mean(h) == pytest.approx(3.5 / 3)
    assert outside(h) == (1, 3)
    assert summary(h).splitlines() == ["Entries 7", "Mean 1.167", "Below 1", "Above 3"]
    assert np.isnan(mean(KINDS["empty"]))
    assert entries(KINDS["mean"]) == 500
    assert entries(mass()) == 500
    assert summary(KINDS["two axes"]).startswith("Entries 500\nOutside ")
    assert (number(0.0), number(12.0), number(1e6), number(2.5)) == ("0", "12", "1,000,000", "2.5")


@pytest.mark.parametrize("ending", ["png", "pdf", "svg"])
def test_formats(ending, tmp_path):
    path = Path(tmp_path) / f"page.{ending}"
    save(grid({"Z": mass()}), path)
    assert path.stat().st_size > 1000


def test_a_page_has_little_empty_room():
    """Titles of one line and of four do not push each other's rows apart."""
    titles = ["short", "short", "word " * 20, "word " * 40, "short", "short"]
    figure = grid([Panel(mass(), title) for title in titles], "A page", ncols=2)
    figure.draw_without_rendering()
    page = figure.bbox.width * figure.bbox.height
    drawn = [ax.get_tightbbox() for ax in figure.axes]
    assert sum(box.width * box.height for box in drawn) / page > 0.8
    heights = [ax.get_window_extent().height for ax in figure.axes]
    assert max(heights) - min(heights) < 1e-6
