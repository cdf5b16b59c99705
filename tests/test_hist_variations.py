"""Histograms of varied arrays: the axis, what is in it, and what is refused."""

from __future__ import annotations

import operator
import pickle
from itertools import product

import awkward as ak
import hist
import numpy as np
import pytest
from drawing import examples
from hypothesis import given, settings
from hypothesis import strategies as st

import hepgraph as hg
from hepgraph.errors import FillError, LazyError
from hepgraph.hist.variations import aligned
from hepgraph.runner.compute import passes

MET = np.array([5.0, 15.0, 25.0, 35.0, 12.0])
W = np.array([1.0, 2.0, 0.5, -1.0, 3.0])


@pytest.fixture
def events():
    return hg.from_awkward(ak.zip({"met": MET, "w": W}), npartitions=2)


@pytest.fixture
def met(events):
    return hg.vary(events.met, "S", up=events.met + 10, down=events.met - 10)


@pytest.fixture
def weight(events):
    return hg.vary(events.w, "B", up=events.w * 2)


def expected(name, weighted=True):
    x = MET + {"S_up": 10, "S_down": -10}.get(name, 0)
    h = hist.Hist.new.Reg(4, 0, 40, name="x").Weight()
    return h.fill(x, weight=W * (2 if name == "B_up" else 1) if weighted else None).view(flow=True)


ALL = ["nominal", "S_up", "S_down", "B_up"]


@pytest.mark.parametrize("engine", ["auto", "interpreter"])
@pytest.mark.parametrize("where", ["first", "last", "added", "fixed"])
def test_the_axis(met, weight, where, engine):
    new = hg.Hist.new
    match where:
        case "first":
            h = new.StrCat([], growth=True, name="variation", label="which").Reg(4, 0, 40, name="x").Weight()
        case "last":
            h = new.Reg(4, 0, 40, name="x").StrCat([], growth=True, name="variation").Weight()
        case "fixed":
            h = (
                new.Reg(4, 0, 40, name="x")
                .StrCat(["B_up", "S_down", "other", "S_up", "nominal"], name="variation")
                .Weight()
            )
        case "added":
            h = new.Reg(4, 0, 40, name="x").Weight()
    h.fill(met, weight=weight)
    assert h.variations == tuple(ALL)
    assert "3 variations" in repr(h)
    out = h.compute(engine=engine, executor="serial")
    assert isinstance(out, hist.Hist)
    axis = out.axes["variation"]
    place = list(out.axes).index(axis)
    if where != "fixed":
        assert list(axis) == ALL
        assert axis.traits.growth
    assert axis.label == ("which" if where == "first" else "variation" if where == "added" else axis.label)
    for name in ALL:
        got = np.take(out.view(flow=True), list(axis).index(name), axis=place)
        assert got.tobytes() == expected(name).tobytes(), name
    if where == "fixed":
        assert out[{"variation": "other"}].sum(flow=True).value == 0


def test_by_place(met, events):
    h = hg.Hist.new.Reg(4, 0, 40, name="x").StrCat([], growth=True, name="variation").Reg(2, -1, 3, name="y").Double()
    out = h.fill(met, events.w).compute()
    assert out[{"variation": "S_up"}] == hist.Hist.new.Reg(4, 0, 40, name="x").Reg(2, -1, 3, name="y").Double().fill(
        MET + 10, W
    )


def test_names_of_other_fills_get_the_nominal(met, weight, events):
    h = hg.Hist.new.Reg(4, 0, 40, name="x").Weight()
    h.fill(met).fill(events.met, weight=weight).fill(events.met + 1)
    out = h.compute()
    for name in ALL:
        total = expected(name, weighted=False) if name in ("S_up", "S_down") else expected("nominal", weighted=False)
        both = [expected("B_up" if name == "B_up" else "nominal")]
        both.append(hist.Hist.new.Reg(4, 0, 40, name="x").Weight().fill(MET + 1).view(flow=True))
        for each in both:
            total = total + each
        got = out[{"variation": name}].view(flow=True)
        assert np.array_equal(got.value, total.value)
        assert np.array_equal(got.variance, total.variance)


def test_what_is_not_varied_is_nominal_on_an_own_axis(events):
    h = hg.Hist.new.StrCat([], growth=True, name="variation").Reg(4, 0, 40, name="x").Double().fill(events.met)
    assert list(h.compute().axes[0]) == ["nominal"]
    plain = hg.Hist.new.Reg(4, 0, 40, name="x").Double().fill(events.met)
    assert plain.variations == ()
    assert plain.compute().ndim == 1


def test_every_declared_variation_is_there_where_no_event_passes(met, events):
    h = hg.Hist.new.Reg(4, 0, 40, name="x").Double().fill(met[met > 1000])
    out = h.compute()
    assert list(out.axes["variation"]) == ["nominal", "S_up", "S_down"]
    assert out.sum(flow=True) == 0


def test_varied_masks(met, events):
    h = hg.Hist.new.Reg(4, 0, 40, name="x").Double().fill(events[met > 20].met)
    out = h.compute()
    assert [out[{"variation": name}].sum() for name in out.axes["variation"]] == [2, 4, 1]


def test_other_growing_axes(met, events):
    h = hg.Hist.new.StrCat([], growth=True, name="region").Reg(4, 0, 40, name="x").Double()
    h.fill("low", met[met < 15]).fill("none", met[met > 1000]).fill(region="high", x=met[met > 20])
    out = h.compute()
    assert list(out.axes["region"]) == ["low", "high"]
    assert out[{"variation": "S_up", "region": "high"}].sum(flow=True) == 4
    wide = hg.Hist.new.Reg(4, 0, 40, growth=True, name="x").Double().fill(met).compute()
    assert wide[{"variation": "S_down"}].sum() == 5


def test_averages(met, weight, events):
    for storage, more in (("Mean", {}), ("WeightedMean", {"weight": weight})):
        h = getattr(hg.Hist.new.Reg(4, 0, 40, name="x"), storage)()
        out = h.fill(met, sample=events.w, **more).compute()
        for name in out.axes["variation"]:
            one = getattr(hg.Hist.new.Reg(4, 0, 40, name="x"), storage)()
            own = {"weight": hg.variation(weight, name) if name == "B_up" else events.w} if more else {}
            one = one.fill(hg.variation(met, name) if name[0] == "S" else events.met, sample=events.w, **own).compute()
            assert out[{"variation": name}].view(flow=True).tobytes() == one.view(flow=True).tobytes()


def test_what_was_filled_before_is_in_all(met):
    h = hg.Hist.new.Reg(4, 0, 40, name="x").Double().fill(np.array([5.0, 6.0]))
    out = h.fill(met).compute()
    assert [out[{"variation": name}].sum(flow=True) for name in out.axes["variation"]] == [7, 7, 7]
    assert out[{"variation": "S_down"}].values()[0] == 2 + 2


@pytest.mark.parametrize("storage", ["Double", "Weight", "Int64", "Mean"])
@pytest.mark.parametrize("where", ["first", "last", "none"])
@pytest.mark.parametrize("late", [False, True])
def test_what_was_filled_at_once_is_in_all(met, storage, where, late):
    """Arrays of NumPy are in each variation, wherever the axis is, and before or after the varied fill."""
    new = hg.Hist.new
    if where == "first":
        new = new.StrCat([], growth=True, name="variation").Reg(4, 0, 50, name="x")
    elif where == "last":
        new = new.Reg(4, 0, 50, name="x").StrCat(["nominal", "S_up"], growth=True, name="variation")
    else:
        new = new.Reg(4, 0, 50, name="x")
    h = getattr(new, storage)()
    more = {"sample": np.array([1.0, 2.0])} if storage == "Mean" else {}
    fills = [
        lambda: h.fill(x=met, **({"sample": met} if more else {})),
        lambda: h.fill(x=np.array([4.0, 16.0]), **more),
    ]
    for fill in fills if late else reversed(fills):
        fill()
    out = h.compute(progress=False)
    for name, shift in {"nominal": 0, "S_up": 10, "S_down": -10}.items():
        wanted = getattr(hist.Hist.new.Reg(4, 0, 50, name="x"), storage)()
        wanted.fill(
            np.concatenate([MET + shift, [4.0, 16.0]]),
            **({"sample": np.concatenate([MET + shift, more["sample"]])} if more else {}),
        )
        got, want = out[{"variation": name}].view(flow=True), wanted.view(flow=True)
        for field in got.dtype.names or [...]:
            np.testing.assert_allclose(got[field], want[field], rtol=1e-12)


def test_sums_of_histograms(met, weight, events):
    a, b = (hg.Hist.new.Reg(4, 0, 40, name="x").Weight() for _ in range(2))
    total = (a.fill(met) + b.fill(events.met, weight=weight)).compute()
    assert list(total.axes["variation"]) == ALL
    assert total[{"variation": "B_up"}].sum(flow=True).value == 5 + 2 * W.sum()


def test_refused(met, events):
    with pytest.raises(FillError, match="Leave variation= out"):
        hg.Hist.new.StrCat([], growth=True, name="variation").Reg(4, 0, 40, name="x").Double().fill(
            variation="a", x=met
        )
    with pytest.raises(FillError, match=r"no category 'S_up'; let it grow(.|\n)*S_upp"):
        hg.Hist.new.StrCat(["nominal", "S_upp"], name="variation").Reg(4, 0, 40, name="x").Double().fill(met)
    with pytest.raises(FillError, match="takes the names of variations"):
        hg.Hist.new.Reg(3, 0, 1, name="variation").Reg(4, 0, 40, name="x").Double().fill(met)
    with pytest.raises(FillError, match="takes real numbers, not strings"):
        hg.Hist.new.Reg(4, 0, 40, name="x").Double().fill(ak.where(met > 3, "a", "b"))
    with pytest.raises(FillError, match="records"):
        hg.Hist.new.Reg(4, 0, 40, name="x").Double().fill(ak.zip({"a": met}))
    with pytest.raises(LazyError):
        hg.Hist.new.Reg(4, 0, 40, name="x").Double().fill(met).values()


def test_by_hand(events):
    """An axis of that name that each fill has a value for is one like others."""
    h = hg.Hist.new.StrCat([], growth=True, name="variation").Reg(4, 0, 40, name="x").Double()
    h.fill("up", events.met + 10).fill(variation="nominal", x=events.met)
    out = h.compute()
    assert list(out.axes[0]) == ["up", "nominal"]


def test_aligned(met, weight, events):
    def made(x, w=None):
        return hg.Hist.new.Reg(4, 0, 40, name="x").Weight().fill(x, weight=w).compute()

    a, b, c = made(met), made(events.met, weight), made(events.met)
    for one, two in ((a, b), (b, a), (a, c), (c, a)):
        x, y = aligned([one, two])
        assert x.axes[0] == y.axes[0]
        assert set(x.axes[1]) == set(y.axes[1])
        names = {name for h in (one, two) if h.ndim == 2 for name in h.axes["variation"]}
        assert next(iter(x.axes["variation"])) == "nominal"
        assert set(x.axes["variation"]) == names
        for new, old in ((x, one), (y, two)):
            for name in names:
                known = (
                    old[{"variation": name if name in old.axes["variation"] else "nominal"}] if old.ndim == 2 else old
                )
                assert new[{"variation": name}].view(flow=True).tobytes() == known.view(flow=True).tobytes()
    assert aligned([c, c])[0] is c


@pytest.mark.parametrize("storage", ["Double", "Weight", "Int64", "Mean", "WeightedMean"])
@pytest.mark.parametrize("grows", [False, True])
def test_computed_histograms_add_up(events, storage, grows):
    """Results of several runs: a variation that one does not know is its nominal there, as in a run over both."""
    x = events.met + 0.7

    def made(*names, shift=0.0):
        new = hg.Hist.new.Reg(4, 0, 20, name="x", growth=grows, label="x [GeV]")
        y = hg.vary(x + shift, {name: x * (2 + i) for i, name in enumerate(names)}) if names else x + shift
        sample = {"sample": y} if "Mean" in storage else {}
        return getattr(new, storage)().fill(y, **sample)

    parts = [made("a", "b"), made("b", "c", shift=40.0), made(), made("a")]
    for one, two in product(parts, parts):
        if one is two:
            continue
        wanted = (one + two).compute(progress=False)
        first, second = (h.compute(progress=False) for h in (one, two))
        sums = [first + second, sum([first, second]), pickle.loads(pickle.dumps(first)) + second]
        if "variation" in first.axes.name:  # a plain one is hist's own, and refuses
            again = alias = first.copy()
            if "Mean" in storage:
                with pytest.raises(FillError, match="write h = h \\+ other"):
                    again += second
            elif not grows:  # boost does not add other ranges in place
                again += second
                assert alias is again
                sums.append(again)
        for got in sums:
            assert list(got.axes.name) == list(wanted.axes.name)
            assert got.axes[0] == wanted.axes[0]
            assert got.axes[0].label == "x [GeV]"
            for name in wanted.axes["variation"] if "variation" in wanted.axes.name else [None]:
                at = {} if name is None else {"variation": name}
                a, b = got[at].view(flow=True), wanted[at].view(flow=True)
                for field in a.dtype.names or [...]:
                    np.testing.assert_allclose(a[field], b[field], rtol=1e-12)


@settings(max_examples=examples(40), deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["lazy", "computed", "at once", "plain"]), st.sets(st.sampled_from("abc"))),
             min_size=2, max_size=4),
    st.sampled_from(["first", "last", "none"]),
    st.sampled_from(["Double", "Weight", "Int64"]),
    st.booleans(),
)  # fmt: skip
def test_histograms_of_all_kinds_add_up(drawn, where, storage, in_place):
    """Waiting, computed, filled at once: a sum has for each variation what each part has there, or its nominal."""
    events = hg.from_awkward(ak.zip({"met": MET}), npartitions=2)
    shift = {"a": 10, "b": -10, "c": 3}

    def made(kind, names):
        new = hg.Hist.new
        if where == "first":
            new = new.StrCat([], growth=True, name="variation").Reg(4, 0, 50, name="x")
        else:
            new = new.Reg(4, 0, 50, name="x")
            new = new.StrCat([], growth=True, name="variation") if where == "last" else new
        h = getattr(new, storage)()
        if kind in ("at once", "plain"):
            h.fill(x=MET)
            return h if kind == "at once" else hg.compute(h)
        x = hg.vary(events.met, {name: events.met + shift[name] for name in names}) if names else events.met
        h.fill(x=x)
        return h if kind == "lazy" else h.compute(progress=False)

    parts = [made(kind, names) for kind, names in drawn]
    total = parts[0]
    for other in parts[1:]:
        if in_place and type(total) is not hist.Hist:  # whose += is its own
            try:
                total += other
            except (LazyError, FillError, ValueError):  # told, where axes would have to be others
                total = total + other
        else:
            total = total + other
    done = total.compute(progress=False) if getattr(total, "fills", ()) else total
    every = set().union(*(names for kind, names in drawn if kind in ("lazy", "computed")))
    there = set(done.axes["variation"]) if "variation" in done.axes.name else {"nominal"}
    assert there - {"nominal"} == every
    for name in there:
        mets = [MET + (shift[name] if kind in ("lazy", "computed") and name in names else 0) for kind, names in drawn]
        wanted = np.histogram(np.concatenate(mets), bins=4, range=(0, 50))[0]
        got = done[{"variation": name}] if "variation" in done.axes.name else done
        assert got.values().tolist() == wanted.tolist(), name


@pytest.mark.parametrize("op", [operator.mul, operator.truediv])
def test_scaled_by_numbers_of_each_variation(events, met, op):
    """The sums of weights of each variation scale its own."""
    h = hg.Hist.new.Reg(4, 0, 40, name="x").Weight().fill(met).compute(progress=False)
    by = ak.sum(hg.vary(events.w, {"S_up": events.w * 2, "B_up": events.w * 3})).compute(progress=False)
    scaled = [op(h, by)] + ([by * h, h * (1.0 * by)] if op is operator.mul else [h / (by * 1.0)])
    for got in scaled:
        assert set(got.axes["variation"]) == {"nominal", "S_up", "S_down", "B_up"}
        for name in got.axes["variation"]:
            own = h[{"variation": name if name in h.axes["variation"] else "nominal"}]
            number = by[name if name in by else "nominal"]
            np.testing.assert_allclose(got[{"variation": name}].values(), op(own.values(), number))
            np.testing.assert_allclose(got[{"variation": name}].variances(), op(own.variances(), number**2))
    assert set(op(np.float64(3), by)) == set(by)


def test_axes_at_different_places(events, met):
    one = hg.Hist.new.StrCat([], growth=True, name="variation").Reg(4, 0, 40, name="x").Double().fill(x=met)
    two = hg.Hist.new.Reg(4, 0, 40, name="x").Double().fill(x=hg.vary(events.met, "B", up=events.met * 2))
    with pytest.raises(FillError, match="at different places"):
        one.compute(progress=False) + two.compute(progress=False)


@pytest.mark.parametrize("kwargs", [{"flow": False}, {"overflow": False}, {"underflow": False}])
def test_nothing_is_lost_where_an_axis_has_no_bin_for_a_value(kwargs):
    """boost drops all entries after one of them, where another axis gets one value for all."""
    x = np.array([9.0, 0.5, 1.5, 7.0, -3.0, 2.5])
    weights = hg.Weights(x).add("w", np.ones(6), up=2 * np.ones(6))

    def empty():
        return hg.Hist(
            hist.axis.Regular(3, 0, 3, name="x", **kwargs), hist.axis.StrCategory([], growth=True, name="variation")
        )

    assert empty().fill(x).values().ravel().tolist() == [1, 1, 1]
    assert empty().fill(ak.Array(x), "a").values().ravel().tolist() == [1, 1, 1]
    assert empty().fill(x=x, variation="a").values().ravel().tolist() == [1, 1, 1]
    assert empty().fill(x, weight=weights).values().T.tolist() == [[1, 1, 1], [2, 2, 2]]


def test_a_category_that_is_no_variation_stays_empty(events):
    """Where results are brought together, what was declared and never filled is no nominal."""

    def made(*names):
        new = hg.Hist.new.StrCat(["nominal", "a", "other"], growth=True, name="variation").Reg(4, 0, 20, name="x")
        x = hg.vary(events.met, dict.fromkeys(names, events.met + 1)) if names else events.met
        return new.Weight().fill(x=x).compute(progress=False)

    for one, two in product([made("a"), made("b"), made()], repeat=2):
        total = one + two
        assert total[{"variation": "other"}].sum(flow=True).value == 0
        assert total[{"variation": "nominal"}].sum(flow=True).value == 2 * len(MET)


def test_computed_and_others_add_up(met):
    """Beside fills that wait, and beside arrays filled at once, none is lost."""
    own = hg.Hist.new.StrCat([], growth=True, name="variation").Reg(4, 0, 40, name="x").Double
    done = own().fill(x=met).compute(progress=False)
    waiting = own().fill(x=met)
    again = own().fill(x=met)
    again += done
    for total in (done + waiting, waiting + done, again):
        assert total.compute(progress=False).values().tolist() == (2 * done).values().tolist()
    with pytest.raises(LazyError, match="write h = h \\+ other"):
        done += waiting
    plain = hg.Hist.new.Reg(4, 0, 40, name="x").Double
    at_once, varied = plain().fill(MET), plain().fill(met).compute(progress=False)
    for total in (at_once + varied, varied + at_once):
        for name in varied.axes["variation"]:
            wanted = varied[:, name].values() + at_once.values()
            assert total[:, name].values().tolist() == wanted.tolist()


@pytest.mark.filterwarnings("ignore:List indexing selection is experimental")
def test_a_slice_of_a_computed_histogram(events, met):
    h = hg.Hist.new.Reg(4, 0, 40, name="x").Double().fill(met).compute(progress=False)
    plain = hg.Hist.new.Reg(4, 0, 40, name="x").Double().fill(events.met).compute(progress=False)
    up = next(name for name in h.axes["variation"] if name != "nominal")
    one = h[:, up]
    assert (one + plain).values().tolist() == (one.values() + plain.values()).tolist()
    assert (one + one).values().tolist() == (2 * one.values()).tolist()
    some = h[:, ["nominal", up]] + h
    assert list(some.axes["variation"]) == list(dict.fromkeys(["nominal", up, *h.axes["variation"]]))
    assert some[:, up].values().tolist() == (2 * one.values()).tolist()
    assert (2 * h)[:, up].values().tolist() == (2 * one.values()).tolist()


def test_fills_by_hand_beside_others(events, met):
    """Fills with a name of their own and fills that get the names of variations are not for one histogram."""

    def empty():
        return hg.Hist.new.StrCat([], growth=True, name="variation").Reg(2, 0, 40, name="x").Double()

    for first, then in (({"variation": "nominal"}, {}), ({}, {"variation": "nominal"})):
        h = empty().fill(x=events.met, **first)
        with pytest.raises(FillError, match="Leave variation= out of all of them"):
            h.fill(x=met if not then else events.met, **then)
    for first, then in (({"variation": "nominal"}, {}), ({}, {"variation": "nominal"})):
        h = empty().fill(x=MET, **first)  # at once
        with pytest.raises(FillError, match="Leave variation= out of all of them"):
            h.fill(x=met if not then else events.met, **then)
    alone = empty().fill(x=events.met, variation="a").fill(x=events.met, variation="b").compute()
    assert list(alone.axes["variation"]) == ["a", "b"]


@settings(max_examples=examples(12), deadline=None)
@given(st.integers(0, 1 << 30), st.sampled_from(("Double", "Weight", "Int64")), st.integers(1, 12), st.integers(0, 3))
def test_fills_that_differ_by_their_weights_are_one(seed, storage, weights, shapes):
    """A batch is binned once, whatever is NaN, outside or empty; each variation is as if it was filled alone."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(0, 900))
    x = ak.unflatten(rng.choice([*rng.normal(20, 15, 50), np.nan, np.inf], 2 * n), np.full(n, 2))
    array = ak.zip({"x": x, "w": rng.normal(1, 0.5, n)}, depth_limit=1)
    events = hg.from_awkward(array, npartitions=3)
    own = hg.vary(events.x, {f"s{i}": events.x + i for i in range(1, shapes + 1)}) if shapes else events.x
    w = hg.vary(events.w, {f"w{i}": events.w * (1 + i / 10) for i in range(1, weights + 1)})

    def filled(x, w):
        h = getattr(hg.Hist.new.StrCat(["a", "b"], name="c").Reg(5, 0, 40, name="x"), storage)()
        more = {} if storage == "Int64" else {"weight": w}
        h.fill("b", x, **more).fill("zz", x=x, **({} if storage == "Int64" else {"weight": 2})).fill("a", x[x > 10])
        return h

    h = filled(own, w)
    kernel = passes(h)[0][0].compiled.kernel if h.variations else None
    assert kernel is None or kernel.fills <= 2 + 3 * (1 + shapes)
    out = h.compute(executor="serial")
    again = h.compute(executor="serial", engine="interpreter")
    assert out.view(flow=True).tobytes() == again.view(flow=True).tobytes()
    for name in h.variations:
        alone = filled(
            hg.variation(own, name) if name in own.variations else events.x,
            hg.variation(w, name) if name in w.variations else events.w,
        ).compute(executor="serial")
        assert out[{"variation": name}].view(flow=True).tobytes() == alone.view(flow=True).tobytes()


def test_more_than_fit_into_batches(events):
    """The fills of so many shapes are written in place."""
    met = hg.vary(events.met, {f"s{i}": events.met + i for i in range(1, 150)})
    h = hg.Hist.new.Reg(40, 0, 200, name="x").Weight().fill(met, weight=events.w)
    assert passes(h)[0][0].compiled.kernel.fills == 150
    assert h.compute() == h.compute(engine="interpreter")
