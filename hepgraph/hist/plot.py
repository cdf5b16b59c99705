"""Pictures of histograms: many on one page, with their axes' labels, entries and error bars.

matplotlib is imported when a picture is drawn, not before; nothing of its configuration is changed. The pages are laid
out by hand: matplotlib's own layouts draw everything twice, which is a third of the time to the first picture.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np

from hepgraph import imports
from hepgraph.errors import LazyError
from hepgraph.runner.compute import leaves

# what the style of CMS asks for, without its fonts: ticks inwards on all sides, small ones between
STYLE: Mapping[str, Any] = {
    "font.family": "sans-serif",
    "font.size": 11.0,
    "mathtext.fontset": "dejavusans",
    "axes.labelsize": 12.0,
    "axes.linewidth": 1.2,
    "axes.titlesize": 10.5,
    "axes.unicode_minus": True,
    "xtick.direction": "in",
    "ytick.direction": "in",
    "xtick.top": True,
    "ytick.right": True,
    "xtick.minor.visible": True,
    "ytick.minor.visible": True,
    "xtick.major.size": 7.0,
    "ytick.major.size": 7.0,
    "xtick.minor.size": 3.5,
    "ytick.minor.size": 3.5,
    "legend.frameon": False,
    "axes.formatter.limits": (-3, 5),  # longer numbers do not fit beside a cell
}
WIDTH, HEIGHT = 4.7, 3.8  # of a cell with all that is written around it, in inches; below, what that takes on each side
LEFT, RIGHT, BOTTOM, TOP = 0.95, 0.25, 0.52, 0.12
LINE, HEAD = 0.18, 0.4  # a line of a title, and the title of the page


@dataclass(frozen=True)
class Panel:
    """One histogram of a page, and what is written above it; `data` draws points with error bars, not a filled area."""

    hist: Any
    title: str = ""
    data: bool = False


def grid(panels: Sequence[Panel] | Mapping[str, Any], title: str = "", ncols: int = 3, logy: bool = False) -> Any:
    """A matplotlib figure with a histogram of one or two axes in each cell, `ncols` in a row.

    `panels`: a dict of histograms by their titles, or `Panel`s. What lies outside of an axis is counted in the corner.
    The figure belongs to no window; a notebook shows it, `figure.savefig("page.png")` writes it.
    Raises LazyError for histograms that are not computed, ValueError for those of three axes or more.

    >>> import hist
    >>> h = hist.Hist.new.Reg(20, -2, 2, name="x", label="$x$ [cm]").Double().fill([0.1, 0.2, 7.0])
    >>> figure = grid({"positions": h}, ncols=1)
    >>> figure.axes[0].get_xlabel(), figure.axes[0].get_ylabel()
    ('$x$ [cm]', 'Entries / 0.2 cm')
    """
    if isinstance(panels, Mapping):
        panels = [Panel(h, str(name)) for name, h in panels.items()]
    if not panels:
        raise ValueError("There is no histogram to draw.")
    if any(leaves(panel.hist) and getattr(panel.hist, "fills", True) for panel in panels):
        raise LazyError("A picture needs computed histograms; use hg.compute(histograms) first.")
    with imports.together():
        import matplotlib as mpl
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

    ncols = min(ncols, len(panels))
    nrows = ceil(len(panels) / ncols)
    lines = [_title(panel).count("\n") + 1 if panel.title else 0 for panel in panels]
    most = [max(lines[row * ncols : (row + 1) * ncols]) for row in range(nrows)]  # of the titles of each row
    heights = [HEIGHT + LINE * max(0, number - 1) for number in most]
    size = (WIDTH * ncols, sum(heights) + (HEAD if title else 0))
    with mpl.rc_context(dict(STYLE)):
        figure = Figure(figsize=size)
        FigureCanvasAgg(figure)
        for i, panel in enumerate(panels):
            row, column = divmod(i, ncols)
            left, bottom = WIDTH * column + LEFT, sum(heights[row + 1 :]) + BOTTOM
            width, height = WIDTH - LEFT - RIGHT, heights[row] - BOTTOM - TOP - LINE * most[row]
            box = (left / size[0], bottom / size[1], width / size[0], height / size[1])
            draw(panel, figure.add_axes(box), logy)
        if title:
            figure.suptitle(title, fontsize=14, fontweight="bold", y=1 - HEAD / 3 / size[1], va="center")
    return figure


def _title(panel: Panel) -> str:
    return textwrap.fill(panel.title, 50)


def draw(panel: Panel, ax: Any, logy: bool = False) -> None:
    """Draws one histogram into matplotlib axes."""
    if panel.title:
        ax.set_title(_title(panel), loc="left")
    match panel.hist.ndim:
        case 1:
            _draw_one(panel, ax, logy)
        case 2:
            _draw_two(panel.hist, ax)
        case n:
            raise ValueError(f"{panel.title or 'A histogram'} has {n} axes; project it to one or two first.")


def _draw_one(panel: Panel, ax: Any, logy: bool) -> None:
    h = panel.hist
    edges, values = _edges(h.axes[0]), h.values()
    points = panel.data or h.kind != "COUNT"
    if not points:
        ax.stairs(values, edges, fill=True, facecolor="#c6dcf4", edgecolor="#1f4e8c", linewidth=0.9)
    drawn = {"color": "black", "marker": "o", "markersize": 4} if points else {"color": "#1f4e8c", "elinewidth": 0.7}
    ax.errorbar((edges[:-1] + edges[1:]) / 2, values, yerr=errors(h), linestyle="none", **drawn)
    axis = h.axes[0]
    far = max(abs(edges[0]), abs(edges[-1]))  # then matplotlib writes a power of ten at the right end
    ax.set_xlabel(label_of(axis), loc="right" if 1e-4 < far < 1e5 else "center")
    ax.set_ylabel(_height(h), loc="top")
    top = float(np.max(values, initial=0.0))
    if logy and top > 0:
        ax.set_yscale("log")
        ax.set_ylim(bottom=0.5)
    elif h.kind == "COUNT":
        ax.set_ylim(min(0.0, float(np.min(values, initial=0.0))), 1.35 * top if top > 0 else 1.0)
    else:
        ax.margins(y=0.3)
    _ticks(axis, ax.xaxis, "x")
    ax.text(0.96, 0.94, summary(h), transform=ax.transAxes, ha="right", va="top", fontsize=9, linespacing=1.4)


def _edges(axis: Any) -> Any:
    """The edges of an axis; the bin of a whole number is around it, that of the n-th category around n."""
    if axis.traits.continuous:
        return np.asarray(axis.edges)
    first = axis.bin(0) if type(axis).__name__ == "Integer" and len(axis) else 0
    return first - 0.5 + np.arange(len(axis) + 1)


def _draw_two(h: Any, ax: Any) -> None:
    edges = [_edges(axis) for axis in h.axes]
    values = h.values().T
    least = min(0.0, float(np.min(values)))
    made = ax.pcolormesh(*edges, np.ma.masked_equal(values, 0), cmap="viridis", vmin=least, rasterized=True)
    ax.figure.colorbar(made, ax=ax, label="Entries" if h.kind == "COUNT" else "Mean")
    for axis, side, name in zip(h.axes, (ax.xaxis, ax.yaxis), "xy", strict=True):
        _ticks(axis, side, name)
    ax.set_xlabel(label_of(h.axes[0]), loc="right")
    ax.set_ylabel(label_of(h.axes[1]), loc="top")
    ground = {"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 2.5}
    place = {"transform": ax.transAxes, "ha": "right", "va": "top"}
    ax.text(0.96, 0.95, summary(h), fontsize=9, linespacing=1.4, bbox=ground, **place)


def _ticks(axis: Any, side: Any, name: str) -> None:
    """The range and ticks of a side of a picture: by the edges and the scale of an axis, or one for each category."""
    edges = _edges(axis)
    side.axes.set(**{f"{name}lim": (edges[0], edges[-1])} if len(axis) else {})
    if axis.traits.continuous:
        if repr(getattr(axis, "transform", None)) == "log":
            side.axes.set(**{f"{name}scale": "log"})
        return
    side.axes.tick_params(axis=name, which="minor", length=0)
    match type(axis).__name__:
        case "Integer":
            side.get_major_locator().set_params(integer=True)
        case "Boolean":
            side.set_ticks([0, 1], ["no", "yes"])
        case _:
            side.set_ticks(range(len(axis)), [str(part) for part in axis])


def label_of(axis: Any) -> str:
    """The label of an axis."""
    return str(axis.label or axis.name or "")


def errors(h: Any) -> Any:
    """The error of each bin: the root of its variance, which for numbers of entries is the root of the number.

    Of an empty bin, and where the storage knows no variance, it is zero.
    """
    found = h.variances()
    if found is None:
        return np.zeros(h.shape)
    return np.sqrt(np.clip(np.nan_to_num(np.asarray(found, float)), 0, None))


def _height(h: Any) -> str:
    """The label of bin heights, with the width of the bins where all have the same."""
    if h.kind != "COUNT":
        return "Mean"
    axis = h.axes[0]
    if not axis.traits.continuous:
        return "Entries"
    widths = np.diff(axis.edges)
    if not np.allclose(widths, widths[0], rtol=1e-6):
        return "Entries / bin"
    _, bracket, unit = label_of(axis).rpartition("[")
    return f"Entries / {widths[0]:.3g} {unit.partition(']')[0] if bracket else ''}".strip()


def entries(h: Any) -> float:
    """All that was filled into a histogram, what lies outside of the axes included; of means, their number."""
    return float(np.sum(h.counts(flow=True) if h.kind != "COUNT" else h.values(flow=True)))


def mean(h: Any) -> float:
    """The mean of what is inside of the only axis of a histogram, by the centres of the bins; nan if nothing is."""
    values = h.counts() if h.kind != "COUNT" else h.values()
    total = float(np.sum(values))
    return float(np.sum(values * h.axes[0].centers)) / total if total else float("nan")


def outside(h: Any) -> tuple[float, float]:
    """How much lies below and above the only axis of a histogram."""
    axis = h.axes[0]
    values = h.counts(flow=True) if h.kind != "COUNT" else h.values(flow=True)
    below = float(values[0]) if axis.traits.underflow else 0.0
    above = float(values[-1]) if axis.traits.overflow else 0.0
    return below, above


def summary(h: Any) -> str:
    """The entries of a histogram, its mean and what lies outside, one a line.

    >>> import hist
    >>> print(summary(hist.Hist.new.Reg(4, 0, 2, name="x").Double().fill([0.1, 0.6, 7.0])))
    Entries 3
    Mean 0.5
    Above 1
    """
    lines = [f"Entries {number(entries(h))}"]
    axis = h.axes[0]
    if h.ndim > 1:
        inside = float(np.sum(h.values()))
        return "\n".join([*lines, f"Outside {number(entries(h) - inside)}"] if inside != entries(h) else lines)
    if axis.traits.continuous and h.kind == "COUNT" and np.isfinite(mean(h)):
        lines.append(f"Mean {mean(h):.4g}")
    below, above = outside(h)
    lines += [f"Below {number(below)}"] if below else []
    lines += [f"{'Above' if axis.traits.ordered else 'Other'} {number(above)}"] if above else []
    return "\n".join(lines)


def number(x: float) -> str:
    """A number of entries: whole ones with separators, others with some digits.

    >>> number(1234567.0), number(0.123456)
    ('1,234,567', '0.1235')
    """
    return f"{round(x):,}" if abs(x - round(x)) < 1e-6 * abs(x) or x == 0 else f"{x:,.4g}"


def save(figure: Any, path: str | Path) -> None:
    """Writes a figure; the ending of the path says how (png, pdf, svg)."""
    figure.savefig(path, dpi=140)
