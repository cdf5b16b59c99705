"""Pictures of histograms: many on one page, with their axes' labels, entries and error bars.

matplotlib and mplhep are imported when a picture is drawn, not before; no configuration of theirs is changed.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np

from hepgraph.compute import leaves
from hepgraph.errors import LazyError

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
}


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
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    ncols = min(ncols, len(panels))
    nrows = ceil(len(panels) / ncols)
    with mpl.rc_context(dict(STYLE)):
        figure = Figure(figsize=(4.6 * ncols, 3.7 * nrows + (0.5 if title else 0)), layout="constrained")
        FigureCanvasAgg(figure)
        cells = figure.subplots(nrows, ncols, squeeze=False).flat
        for panel, cell in zip(panels, cells, strict=False):
            draw(panel, cell, logy)
        for cell in list(cells):
            cell.set_axis_off()
        if title:
            figure.suptitle(title, fontsize=14, fontweight="bold")
    return figure


def draw(panel: Panel, ax: Any, logy: bool = False) -> None:
    """Draws one histogram into matplotlib axes."""
    if panel.title:
        ax.set_title(textwrap.fill(panel.title, 50), loc="left")
    match panel.hist.ndim:
        case 1:
            _draw_one(panel, ax, logy)
        case 2:
            _draw_two(panel.hist, ax)
        case n:
            raise ValueError(f"{panel.title or 'A histogram'} has {n} axes; project it to one or two first.")


def _draw_one(panel: Panel, ax: Any, logy: bool) -> None:
    import mplhep

    h = panel.hist
    bars = {"histtype": "errorbar", "yerr": errors(h), "flow": "none", "ax": ax}
    if panel.data or h.kind != "COUNT":
        mplhep.histplot(h, color="black", markersize=4, **bars)
    else:
        mplhep.histplot(h, ax=ax, histtype="fill", facecolor="#c6dcf4", edgecolor="#1f4e8c", linewidth=0.9, flow="none")
        mplhep.histplot(h, color="#1f4e8c", marker="none", elinewidth=0.7, **bars)
    axis = h.axes[0]
    ax.set_xlabel(label_of(axis), loc="right")
    ax.set_ylabel(_height(h), loc="top")
    top = float(np.max(h.values(), initial=0.0))
    if logy and top > 0:
        ax.set_yscale("log")
        ax.set_ylim(bottom=0.5)
    else:
        ax.set_ylim(min(0.0, float(np.min(h.values(), initial=0.0))), 1.35 * top if top > 0 else 1.0)
    _ticks(axis, ax)
    ax.text(0.96, 0.94, summary(h), transform=ax.transAxes, ha="right", va="top", fontsize=9, linespacing=1.4)


def _draw_two(h: Any, ax: Any) -> None:  # mplhep's own would open a window of pyplot
    edges = [axis.edges if axis.traits.continuous else np.arange(len(axis) + 1) for axis in h.axes]
    values = h.values().T
    least = min(0.0, float(np.min(values)))
    made = ax.pcolormesh(*edges, np.ma.masked_equal(values, 0), cmap="viridis", vmin=least, rasterized=True)
    ax.figure.colorbar(made, ax=ax, label="Entries" if h.kind == "COUNT" else "Mean")
    for axis, side, name in zip(h.axes, (ax.xaxis, ax.yaxis), "xy", strict=True):
        if axis.traits.continuous:
            if _logarithmic(axis):
                ax.set(**{f"{name}scale": "log"})
        else:
            side.set_ticks(np.arange(len(axis)) + 0.5, [str(part) for part in axis])
            ax.tick_params(axis=name, which="minor", length=0)
    ax.set_xlabel(label_of(h.axes[0]), loc="right")
    ax.set_ylabel(label_of(h.axes[1]), loc="top")
    ground = {"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 2.5}
    place = {"transform": ax.transAxes, "ha": "right", "va": "top"}
    ax.text(0.96, 0.95, summary(h), fontsize=9, linespacing=1.4, bbox=ground, **place)


def _logarithmic(axis: Any) -> bool:
    return repr(getattr(axis, "transform", None)) == "log"


def _ticks(axis: Any, ax: Any) -> None:
    """The ticks along an axis: by its edges and its scale, or one for each category."""
    if axis.traits.continuous:
        ax.set_xlim(axis.edges[0], axis.edges[-1])
        if _logarithmic(axis):
            ax.set_xscale("log")
        return
    ax.tick_params(axis="x", which="minor", length=0)
    if type(axis).__name__ == "Boolean":
        ax.set_xticks([0.5, 1.5], ["no", "yes"])


def label_of(axis: Any) -> str:
    """What to write along an axis."""
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
    """What the height of a bin is, with the width of the bins where all have the same."""
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
    return f"{round(x):,}" if abs(x - round(x)) < 1e-6 * max(1.0, abs(x)) else f"{x:,.4g}"


def save(figure: Any, path: str | Path) -> None:
    """Writes a figure; the ending of the path says how (png, pdf, svg)."""
    figure.savefig(path, dpi=140)
