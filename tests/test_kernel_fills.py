"""Fills and reductions of the kernel against boost-histogram and NumPy, where it matters most: on the edges."""

from __future__ import annotations

from typing import Any

import awkward as ak
import hist
import numpy as np
import pytest
from limiting import Limit

import hepgraph as hg
from hepgraph.kernel import lower
from hepgraph.limits import limits
from hepgraph.runner.compute import passes

EDGES = [-1.0, -0.3, 0.1, 0.7, 2.5]
AXES = {
    "regular": lambda: hist.axis.Regular(7, -0.3, 1.1),
    "thirds": lambda: hist.axis.Regular(3, 0.1, 0.7),
    "wide": lambda: hist.axis.Regular(1000, -1e9, 3.3e9),
    "narrow": lambda: hist.axis.Regular(5, 1.0, 1.0 + 1e-12),
    "down": lambda: hist.axis.Regular(5, 3.0, -1.0),
    "variable": lambda: hist.axis.Variable(EDGES),
    "one": lambda: hist.axis.Variable([0.0, 1.0]),
    "no flow": lambda: hist.axis.Regular(7, -0.3, 1.1, flow=False),
    "no underflow": lambda: hist.axis.Regular(7, -0.3, 1.1, underflow=False),
    "no overflow": lambda: hist.axis.Regular(3, 0.1, 0.7, overflow=False),
    "variable, no flow": lambda: hist.axis.Variable(EDGES, flow=False),
    "variable, no underflow": lambda: hist.axis.Variable(EDGES, underflow=False),
    "variable, no overflow": lambda: hist.axis.Variable(EDGES, overflow=False),
    "many": lambda: hist.axis.Variable(np.cumsum(np.linspace(0.1, 2, 41))),
}
WHOLE = {
    "integer": lambda: hist.axis.Integer(-2, 5),
    "high": lambda: hist.axis.Integer(2**31 - 10, 2**31 - 3),
    "category": lambda: hist.axis.IntCategory([3, -1, 7, 0]),
    "integer, no flow": lambda: hist.axis.Integer(-2, 5, flow=False),
    "integer, no underflow": lambda: hist.axis.Integer(-2, 5, underflow=False),
    "integer, no overflow": lambda: hist.axis.Integer(-2, 5, overflow=False),
    "category, no others": lambda: hist.axis.IntCategory([3, -1, 7, 0], overflow=False),
}
BOOSTS = {  # filled by boost, with arrays that the kernel makes
    "circular": lambda: hist.axis.Regular(5, -1, 1, circular=True),
    "variable circle": lambda: hist.axis.Variable(EDGES, circular=True),
    "growing": lambda: hist.axis.Regular(5, -1, 1, growth=True),
    "logarithmic": lambda: hist.axis.Regular(5, 1, 10, transform=hist.axis.transform.log),
}


def compiled(tree: Any) -> Any:
    """The result, which a kernel must have made."""
    for each in passes(tree, "kernel")[0]:
        assert not each.compiled.plain, each.compiled.plain
        assert not each.compiled.kernel.asked
    out, report = hg.compute(tree, executor="serial", progress=False, engine="kernel", report=True)
    assert {row.how for row in report.rows} == {"kernel"}
    return out


def points(axis: Any) -> Any:
    """All edges of an axis, what is next to them, and the rest."""
    edges = np.asarray(axis.edges, float)
    near = [edges, np.nextafter(edges, -np.inf), np.nextafter(edges, np.inf), (edges[1:] + edges[:-1]) / 2]
    return np.concatenate([*near, [np.nan, np.inf, -np.inf, 0.0, -0.0, 1e300, -1e300, 5e-324]])


@pytest.mark.parametrize("name", AXES)
@pytest.mark.parametrize("dtype", ["f8", "f4", "i4", "i8", "u8", "?"])
def test_real_axes(name: str, dtype: str) -> None:
    axis = AXES[name]()
    x = points(axis)
    with np.errstate(all="ignore"):
        x = x.astype(dtype) if dtype[0] == "f" else np.clip(np.nan_to_num(x), 0, 2**31 - 1).astype(dtype)
    h = hg.Hist(axis).fill(hg.from_awkward(ak.Array(x), npartitions=3))
    wanted = hist.Hist(AXES[name]()).fill(x)
    got = (
        h.compute(executor="serial", progress=False, engine="kernel")
        if name == "down" or name == "narrow"
        else compiled(h)
    )
    assert np.array_equal(got.view(flow=True), wanted.view(flow=True))
    assert got == wanted


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize("dtype", ["i1", "i2", "i4", "i8", "u1", "u4", "u8", "?"])
def test_whole_axes(name: str, dtype: str) -> None:
    numbers = [*range(-5, 9), 2**31 - 1, -(2**31), 2**31 - 10, 2**31 - 3, 127, -128]
    kind = np.dtype(dtype)
    if kind.kind in "iu":
        info = np.iinfo(kind)
        numbers = [n for n in numbers if info.min <= n <= info.max]
    x = np.array(numbers).astype(kind)
    got = compiled(hg.Hist(WHOLE[name]()).fill(hg.from_awkward(ak.Array(x), npartitions=2)))
    assert np.array_equal(got.view(flow=True), hist.Hist(WHOLE[name]()).fill(x).view(flow=True))


def test_booleans_and_strings() -> None:
    x = np.array([True, False, True])
    b = hg.from_awkward(ak.Array(x))
    h = hg.Hist(hist.axis.Boolean(), hist.axis.StrCategory(["a", "b"]))
    h.fill(b, "b").fill(~b, "a").fill(b, "c")
    wanted = hist.Hist(hist.axis.Boolean(), hist.axis.StrCategory(["a", "b"])).fill(x, "b").fill(~x, "a").fill(x, "c")
    assert compiled(h) == wanted


def filled(*axes: Any, columns: Any, **options: Any) -> Any:
    """A histogram of some columns filled by a kernel, which agrees with the one that boost fills."""
    events = hg.from_awkward(ak.zip(columns), npartitions=3)
    own = {name: ak.to_numpy(columns[part]) for name, part in options.items() if name != "storage"}
    lazy = {name: events[part] for name, part in options.items() if name != "storage"}
    storage = options.get("storage", hist.storage.Double)
    names = [name for name in columns if name not in options.values()]
    got = compiled(hg.Hist(*axes, storage=storage()).fill(*(events[name] for name in names), **lazy))
    wanted = hist.Hist(*axes, storage=storage())
    wanted.fill(*(columns[name].tolist() for name in names), **own)
    return got, wanted


@pytest.mark.parametrize("name", BOOSTS)
def test_axes_that_boost_fills(name: str) -> None:
    x = np.random.default_rng(6).normal(1, 2, 200)
    got, wanted = filled(BOOSTS[name](), AXES["regular"](), columns={"x": x, "y": -x})
    assert np.array_equal(got.view(flow=True), wanted.view(flow=True))


def test_categories_that_grow() -> None:
    rng = np.random.default_rng(7)
    i, s = rng.integers(0, 5, 90), np.array(["mu", "e", "tau"])[rng.integers(0, 3, 90)]
    axes = hist.axis.IntCategory([], growth=True), hist.axis.StrCategory(["jet"], growth=True)
    got, wanted = filled(*axes, columns={"i": i, "s": s})
    assert got == wanted
    assert [list(axis) for axis in got.axes] == [list(axis) for axis in wanted.axes]
    assert next(iter(got.axes[1])) == "jet"
    for value in ("e", "jet"):
        x = hg.from_awkward(ak.Array(i), npartitions=2)
        h = hg.Hist(hist.axis.StrCategory([], growth=True), hist.axis.Integer(0, 5)).fill(value, x).fill("mu", x + 1)
        wanted = hist.Hist(*h.axes).fill(value, i).fill("mu", i + 1)
        assert compiled(h) == wanted
        assert list(compiled(h).axes[0]) == [value, "mu"]


def test_a_string_that_is_no_category() -> None:
    x = hg.from_awkward(ak.Array([0.5, 0.7]))
    for flow, total in ((True, 3.0), (False, 1.0)):
        axis = hist.axis.StrCategory(["a"], overflow=flow)
        h = hg.Hist(axis, hist.axis.Regular(1, 0, 1)).fill("b", x).fill("a", x[:1])
        assert compiled(h).sum(flow=True) == total


@pytest.mark.parametrize("storage", [hist.storage.Mean, hist.storage.WeightedMean])
@pytest.mark.parametrize("weighted", [False, True])
def test_averages(storage: Any, weighted: bool) -> None:
    rng = np.random.default_rng(8)
    x, y = rng.normal(size=500), rng.normal(10, 3, 500)
    w = np.where(rng.random(500) < 0.3, 0, rng.normal(1, 1, 500))
    options = {"weight": "w"} if weighted else {}
    columns = {"x": x, "y": y, "w": w} if weighted else {"x": x, "y": y}
    got, _ = filled(AXES["regular"](), columns=columns, storage=storage, sample="y", **options)
    events = hg.from_awkward(ak.zip({"x": x, "y": y, "w": w}), npartitions=3)
    more = {"weight": events.w} if weighted else {}
    h = hg.Hist(AXES["regular"](), storage=storage()).fill(events.x, sample=events.y, **more)
    wanted = h.compute(executor="serial", progress=False, engine="interpreter")
    for name in got.view().dtype.names:
        assert np.array_equal(got.view(flow=True)[name], wanted.view(flow=True)[name], equal_nan=True)


def test_weights_that_may_be_missing() -> None:
    events = hg.from_awkward(ak.Array([{"x": 1.0, "w": 2.0}, {"x": 2.0, "w": None}, {"x": 3.0, "w": 1.0}]))
    h = hg.Hist(hist.axis.Regular(4, 0, 4)).fill(events.x[events.x != 2], weight=events.w[events.x != 2])
    assert compiled(h).values().tolist() == [0, 2, 0, 1]
    h = hg.Hist(hist.axis.Regular(4, 0, 4)).fill(events.x, weight=events.w)
    with pytest.raises(hg.errors.FillError, match="weight or sample of 1 entries is None"):
        h.compute(executor="serial", progress=False, engine="kernel")


@pytest.mark.parametrize("dtype", ["i8", "u8", "u4"])
def test_integers_that_boost_refuses(dtype: str) -> None:
    x = hg.from_awkward(ak.Array(np.array([1, 2**31], dtype)))
    for axis in (hist.axis.Integer(0, 4), hist.axis.IntCategory([1])):
        with pytest.raises(ValueError, match="32-bit"):
            hg.Hist(axis).fill(x).compute(executor="serial", progress=False, engine="kernel")


@pytest.mark.parametrize("storage", [hist.storage.Double, hist.storage.Weight, hist.storage.Int64])
@pytest.mark.parametrize("weighted", [False, True])
def test_storages(storage: Any, weighted: bool) -> None:
    if weighted and storage is hist.storage.Int64:
        pytest.skip("takes no weights")
    rng = np.random.default_rng(1)
    x, w = rng.normal(size=1000), rng.normal(size=1000)
    events = hg.from_awkward(ak.zip({"x": x, "w": w}))
    options = {"weight": events.w} if weighted else {}
    got = compiled(hg.Hist(hist.axis.Regular(9, -2, 2), storage=storage()).fill(events.x, **options))
    wanted = hist.Hist(hist.axis.Regular(9, -2, 2), storage=storage()).fill(x, **({"weight": w} if weighted else {}))
    assert got == wanted
    if storage is hist.storage.Weight:
        assert np.array_equal(got.variances(flow=True), wanted.variances(flow=True))


def test_one_axis_of_each_kind_at_once() -> None:
    rng = np.random.default_rng(2)
    data = ak.zip({"a": rng.normal(size=500), "b": rng.integers(-3, 9, 500), "c": rng.random(500) < 0.3})
    events = hg.from_awkward(data, npartitions=4)

    def axes() -> Any:
        return [AXES["regular"](), WHOLE["integer"](), hist.axis.Boolean(), AXES["variable"](), WHOLE["category"]()]

    columns = [data.a, data.b, data.c, data.a, data.b]
    lazy = [events.a, events.b, events.c, events.a, events.b]
    assert compiled(hg.Hist(*axes()).fill(*lazy)) == hist.Hist(*axes()).fill(*map(ak.to_numpy, columns))


@pytest.mark.parametrize("dtype", ["i1", "i4", "i8", "u1", "u8", "f4", "f8", "?"])
@pytest.mark.parametrize("kind", ["sum", "prod", "any", "all", "min", "max", "count_nonzero", "count"])
def test_reductions(dtype: str, kind: str) -> None:
    rng = np.random.default_rng(3)
    counts = rng.integers(0, 4, 60)
    flat = rng.integers(0, 5, counts.sum()).astype(dtype)
    if dtype[0] == "f":
        flat[::7] = np.nan
        flat[3::11] = np.inf
        flat[5::13] = -0.0
    elif dtype != "?":
        flat[::9] = np.iinfo(dtype).max
        flat[4::9] = np.iinfo(dtype).min
    x = ak.unflatten(flat, counts)
    events = hg.from_awkward(x, npartitions=3)
    options = {"mask_identity": False} if kind in ("min", "max") else {}
    with np.errstate(all="ignore"):
        wanted = getattr(ak, kind)(x, axis=1, **options)
    y = getattr(ak, kind)(events, axis=1, **options)
    axes = [hist.axis.Variable([-np.inf, -1e4, -200, -2, -0.5, 0.5, 1.5, 3.5, 200, 1e4, 1e10, np.inf])]
    got = compiled(hg.Hist(*axes).fill(y))
    assert np.array_equal(got.view(flow=True), hist.Hist(*axes).fill(ak.to_numpy(wanted)).view(flow=True))


def test_shared_parts_count_once() -> None:
    x = hg.from_awkward(ak.Array([[1.0], [], [2.0, 3.0]]))
    n, again = ak.num(x, axis=0), ak.num(x, axis=0)
    assert compiled([n, again, ak.mean(x), ak.sum(x)][:2]) == [3, 3]


def test_threads_give_the_same_bits() -> None:
    rng = np.random.default_rng(4)
    x = hg.from_awkward(ak.Array(rng.normal(size=20_000)), npartitions=16)
    h = hg.Hist(AXES["regular"](), storage=hist.storage.Weight()).fill(x, weight=x * 1e-3)
    one = hg.compute(h, executor="serial", progress=False, engine="kernel")
    for _ in range(3):
        assert hg.compute(h, executor="threads", progress=False, engine="kernel") == one


def test_many_fills_share_functions() -> None:
    x = hg.from_awkward(ak.Array(np.linspace(-1, 2, 100)))
    fills = [hg.Hist(hist.axis.Regular(10, 0, 1)).fill(x * k) for k in range(limits().batched + 1)]
    (each,) = passes(fills, "kernel")[0]
    text = each.compiled.kernel.text
    assert text.count("define internal void @fill") == 1
    assert "noinline" in text
    for k, h in enumerate(compiled(fills)):
        assert h == hist.Hist(hist.axis.Regular(10, 0, 1)).fill(np.linspace(-1, 2, 100) * k)


def test_checks_find_what_is_out_of_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    from hepgraph.io.required import Loaded

    monkeypatch.setenv("HEPGRAPH_KERNEL_CHECK", "1")
    x = hg.from_awkward(ak.Array([[1.0, 2.0], [3.0]]))
    (each,) = passes(hg.Hist(hist.axis.Regular(10, 0, 5)).fill(x), "kernel")[0]
    assert each.run(each.partitions()[0])
    loaded = Loaded(each.origin, each.partitions()[0], each.needs())
    monkeypatch.setattr(Loaded, "levels", lambda *_: [])
    monkeypatch.setattr(Loaded, "offsets", lambda *_: np.array([0, 2, 3]))
    (column,) = (data for data in loaded.data[each.origin].values() if data.values is not None)
    monkeypatch.setattr("hepgraph.kernel.columns._check", lambda *_: None)
    object.__setattr__(column, "values", column.values[:2])
    with pytest.raises(AssertionError, match="looked at 2 of Argument"):
        each.compiled.kernel.run(loaded)


@pytest.mark.parametrize("alone", [False, True])
@pytest.mark.parametrize("deep", [0, 1, 2])
@pytest.mark.parametrize("weighted", [False, True])
def test_batches(limit: Limit, deep: int, weighted: bool, alone: bool) -> None:
    """Entries of events, lists and pairs, more than a batch holds: the bits of boost, which takes them in order."""
    if alone:
        limit(batched=0)
    rng = np.random.default_rng(5)
    n = 4 * limits().batch + 13
    counts = rng.integers(0, 6, n)
    inner = [rng.normal(1, 2, counts.sum()), rng.integers(-3, 9, counts.sum()), rng.random(counts.sum()) < 0.3]
    data = ak.zip({name: ak.unflatten(x, counts) for name, x in zip("abc", inner, strict=True)})
    lazy = hg.from_awkward(data, npartitions=2)

    def values(x: Any) -> list[Any]:
        if deep == 0:
            some = x[ak.num(x) > 0]
            return [some.a[:, 0], some.b[:, -1], ak.any(some.c, axis=1), some.a[:, -1] ** 2]
        if deep == 1:
            kept = x[x.a > 0]
            return [kept.a, kept.b, kept.c, kept.a**2]
        p, q = ak.unzip(ak.combinations(x, 2))
        return [p.a + q.a, p.b - q.b, p.c | q.c, p.a**2]

    def filled(x: Any, flat: Any) -> Any:
        *axes, weight = map(flat, values(x))
        weight = {"weight": weight} if weighted else {}
        storage = hist.storage.Weight if weighted else hist.storage.Double
        makers = [AXES["regular"], WHOLE["integer"], hist.axis.Boolean]
        out = [hg.Hist(make(), storage=storage()).fill(v, **weight) for make, v in zip(makers, axes, strict=True)]
        out.append(hg.Hist(AXES["many"](), WHOLE["category"](), storage=storage()).fill(*axes[:2], **weight))
        out.append(hg.Hist(hist.axis.Regular(2000, -1, 7), storage=storage()).fill(axes[0], **weight))
        return out

    got = compiled(filled(lazy, lambda x: x))
    parts = [filled(part, lambda x: ak.to_numpy(ak.flatten(x, axis=None))) for part in (data[: n // 2], data[n // 2 :])]
    assert got == [one + two for one, two in zip(*parts, strict=True)]


@pytest.mark.parametrize("guess", [0, 12, 1000])
def test_entries_are_collected_with_and_without_branches(
    guess: int, monkeypatch: pytest.MonkeyPatch, limit: Limit
) -> None:
    """Under one condition and under several, of events, lists and pairs: the same bits, in the same order."""
    taken: list[bool] = []
    cheap = lower.Lowered.cheap

    def noted(self: Any, *args: Any) -> bool:
        taken.append(cheap(self, *args))
        return taken[-1]

    monkeypatch.setattr(lower.Lowered, "cheap", noted)
    limit(guess=guess, batch=8)
    rng = np.random.default_rng(6)
    counts = rng.integers(0, 6, 500)
    flat = {"a": rng.normal(size=counts.sum()), "k": rng.integers(-3, 9, counts.sum())}
    data = ak.Array(
        {"x": ak.zip({name: ak.unflatten(v, counts) for name, v in flat.items()}), "e": rng.normal(size=500)}
    )

    def values(events: Any) -> list[Any]:
        x = events.x
        some = x[x.a > 0.3]
        few = events[(ak.num(some) > 1) & (events.e > 0)]
        p, q = ak.unzip(ak.combinations(x, 2))
        near = p.a[abs(p.a - q.a) < 0.5]
        return [
            some.k,
            some[some.k > 2].a * 2,
            few.e,
            few.x.k[few.x.a > few.e],
            ak.sum(some.k, axis=1)[ak.sum(x.a, axis=1) > 0],
            near,
            near[near > 0],
        ]

    def filled(events: Any, ready: Any) -> list[Any]:
        axes = [hist.axis.Integer(-3, 8), *(hist.axis.Regular(9, -1, 4) for _ in range(6))]
        axes[3] = hist.axis.IntCategory([1, 4])
        plain = [hg.Hist(axis).fill(ready(v)) for axis, v in zip(axes, values(events), strict=True)]
        weight = hist.storage.Weight
        return plain + [hg.Hist(axes[1], storage=weight()).fill(ready(v), weight=ready(v)) for v in values(events)[:3]]

    got = compiled(filled(hg.from_awkward(data), lambda v: v))
    assert got == filled(data, lambda v: ak.to_numpy(ak.flatten(v, axis=None)))
    assert any(taken) is (guess > 0)
    assert not all(taken) or guess == 1000


@pytest.mark.parametrize("kind", ["any", "all"])
def test_loops_end_when_nothing_can_change(kind: str) -> None:
    """Lists whose answer is known after the first, the last, or no element; of elements, of some of them, of pairs."""
    x = ak.Array([[], [1.0], [-1.0], [1.0, -1.0, 1.0], [-1.0, 1.0], [-1.0, -1.0, 2.0], [np.nan, 1.0], [1.0, 1.0]] * 50)
    lazy = hg.from_awkward(x, npartitions=3)
    reduce = getattr(ak, kind)

    def answers(x: Any) -> list[Any]:
        p, q = ak.unzip(ak.combinations(x, 2))
        a, b = ak.unzip(ak.cartesian([x, x], nested=True))
        masks = [x > 0, x[x < 1.5] > 0, p + q > 0, reduce(a * b > 0, axis=2)]
        return [reduce(mask, axis=1) for mask in masks]

    axis = hist.axis.Boolean
    got = compiled([hg.Hist(axis()).fill(answer) for answer in answers(lazy)])
    assert got == [hist.Hist(axis()).fill(ak.to_numpy(answer)) for answer in answers(x)]
