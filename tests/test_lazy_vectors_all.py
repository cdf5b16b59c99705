"""Every public method and property of scikit-hep vector's awkward classes, found by introspection, in every coordinate
system: the same type, coordinates and numbers by the kernel, the interpreter and on the arrays of an eager run.
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable
from typing import Any

import awkward as ak
import numpy as np
import pytest
from drawing import examples
from hypothesis import given, settings
from hypothesis import strategies as st

import hepgraph as hg
from hepgraph.lazy.behavior import TABLE
from hepgraph.lazy.coordinates import system
from hepgraph.processor.chunk import eager_events

vector = pytest.importorskip("vector")
backend = pytest.importorskip("vector.backends.awkward")

QUIET = {"executor": "serial", "progress": False}
LEFT_OUT = {
    "lib": "the module that vector computes with",
    "GenericClass": "a class of computed arrays",
    "MomentumClass": "a class of computed arrays",
    **{f"ProjectionClass{d}D": "a class of computed arrays" for d in (2, 3, 4)},
}
MOMENTUM = {"x": "px", "y": "py", "rho": "pt", "z": "pz", "t": "E", "tau": "mass"}
SYSTEMS = [
    (*across, *along, *time)
    for across in (("x", "y"), ("rho", "phi"))
    for along in ((), ("z",), ("eta",), ("theta",))
    for time in (((), ("t",), ("tau",)) if along else ((),))
]


def public(kind: str, d: int) -> list[str]:
    """The public names of a class of vector."""
    return sorted(
        {name for name in dir(backend.behavior["*", f"{kind}{d}D"]) if name[0] != "_"}
        - set(dir(ak.Array))
        - set(LEFT_OUT)
    )


MATRIX = {a + b: 0.3 * i - 0.7 for i, (a, b) in enumerate(itertools.product("xyzt", repeat=2))}
WITH_OTHER = {
    "add", "subtract", "dot", "deltaphi", "equal", "not_equal", "isclose", "is_parallel", "is_antiparallel",
    "is_perpendicular", "like", "deltaeta", "deltaR", "deltaR2", "deltaangle", "deltaRapidityPhi", "deltaRapidityPhi2",
    "allclose",
}  # fmt: skip
# how methods that need more than another vector are called: v, w in the dimensions of v, and events with numbers
CALLS: dict[str, Callable[[Any, Any, Any], Any]] = {
    "cross": lambda v, w, e: v.to_Vector3D().cross(w.to_Vector3D()),
    "rotateX": lambda v, w, e: v.rotateX(0.7),
    "rotateY": lambda v, w, e: v.rotateY(angle=e.angle),
    "rotateZ": lambda v, w, e: v.rotateZ(e.angle),
    "rotate_axis": lambda v, w, e: v.rotate_axis(w.to_Vector3D(), e.angle),
    "rotate_euler": lambda v, w, e: v.rotate_euler(e.angle, 0.3, -2.0, order="YXZ"),
    "rotate_nautical": lambda v, w, e: v.rotate_nautical(e.angle, 0.3, -2.0),
    "rotate_quaternion": lambda v, w, e: v.rotate_quaternion(0.1, e.angle, -0.4, 0.8),
    **{f"transform{d}D": lambda v, w, e, d=d: getattr(v, f"transform{d}D")(MATRIX) for d in (2, 3, 4)},
    **{f"scale{d}": lambda v, w, e, d=d: getattr(v, f"scale{d}")(-1.7) for d in ("", "2D", "3D", "4D")},
    "boost": lambda v, w, e: v.boost(w),
    "boost_p4": lambda v, w, e: v.boost_p4(w),
    "boost_beta3": lambda v, w, e: v.boost_beta3(w.to_beta3()),
    "boostCM_of": lambda v, w, e: v.boostCM_of(w.to_beta3()),
    "boostCM_of_p4": lambda v, w, e: v.boostCM_of_p4(w),
    "boostCM_of_beta3": lambda v, w, e: v.boostCM_of_beta3(beta3=w.to_beta3()),
    "boostX": lambda v, w, e: v.boostX(beta=0.6),
    "boostY": lambda v, w, e: v.boostY(gamma=-3.0),
    "boostZ": lambda v, w, e: v.boostZ(-0.99),
    **{name: lambda v, w, e, name=name: getattr(v, name)(w) for name in WITH_OTHER},
}  # fmt: skip
# the same in other ways, beside the names
MORE: dict[str, tuple[int, Callable[[Any, Any, Any], Any]]] = {
    "v + w": (2, lambda v, w, e: v + w),
    "v - w": (2, lambda v, w, e: v - w),
    "v == w": (2, lambda v, w, e: v == w),
    "v != w": (2, lambda v, w, e: v != w),
    "-v": (2, lambda v, w, e: -v),
    "+v": (2, lambda v, w, e: +v),
    "2.5 v": (2, lambda v, w, e: 2.5 * v),
    "v / -2": (2, lambda v, w, e: v / -2),
    "abs": (2, lambda v, w, e: abs(v)),
    "v**2": (2, lambda v, w, e: v**2),
    "v**3": (2, lambda v, w, e: v**3),
    "square": (2, lambda v, w, e: np.square(v)),
    "sqrt": (2, lambda v, w, e: np.sqrt(v)),
    "cbrt": (2, lambda v, w, e: np.cbrt(v)),
    "z and m": (2, lambda v, w, e: v.to_2D().to_Vector4D(eta=1.5, mass=2.5)),
    "theta and E": (2, lambda v, w, e: v.to_2D().to_4D(theta=1.5, E=200.0)),
    "given coordinates": (2, lambda v, w, e: v.to_2D().to_ptphietamass(eta=1.5, mass=0.2)),
    "three": (2, lambda v, w, e: v.to_2D().to_Vector3D(pz=7.0)),
    "like more": (2, lambda v, w, e: v.to_2D().like(w)),
    "like fewer": (2, lambda v, w, e: v.like(w.to_Vector2D())),
    "tolerance": (2, lambda v, w, e: v.is_perpendicular(w, 0.3)),
    "near": (2, lambda v, w, e: v.isclose(w, rtol=0.5, atol=1.0, equal_nan=True)),
    "default order": (3, lambda v, w, e: v.rotate_euler(0.1, 0.2, 0.3)),
    "time-like": (4, lambda v, w, e: v.is_timelike(4.0)),
    "boost to the velocity": (4, lambda v, w, e: v.boost(w.to_beta3())),
    "rest frame": (4, lambda v, w, e: v.boostCM_of(w)),
}


def programs(kind: str, d: int) -> dict[str, Callable[[Any, Any, Any], Any]]:
    """All that is asked of vectors of a class."""
    found: dict[str, Callable[[Any, Any, Any], Any]] = {}
    for name in public(kind, d):
        if name in CALLS:
            found[name] = CALLS[name]
        elif isinstance(inspect.getattr_static(backend.behavior["*", f"{kind}{d}D"], name), property):
            found[name] = lambda v, w, e, name=name: getattr(v, name)
        else:  # all others are called with nothing: to_xyz(), unit()
            found[name] = lambda v, w, e, name=name: getattr(v, name)()
    return found | {name: f for name, (least, f) in MORE.items() if least <= d}


N, COUNTS = 24, [3, 0, 1, 5, 0, 2, 4, 6, 3]
COORDINATES = ("x", "y", "rho", "phi", "z", "eta", "theta", "t", "tau")


def exact(seed: int) -> dict[str, Any]:
    """All coordinates of vectors of ordinary sizes, in float64."""
    n, rng = N, np.random.default_rng(seed)
    pt, eta, phi, tau = (
        rng.uniform(1, 100, n),
        rng.uniform(-2.5, 2.5, n),
        rng.uniform(-3.1, 3.1, n),
        rng.uniform(1, 20, n),
    )
    pt[rng.random(n) < 0.1] = 0
    z = np.where(pt == 0, rng.normal(0, 10, n), pt * np.sinh(eta))
    return {"x": pt * np.cos(phi), "y": pt * np.sin(phi), "rho": pt, "phi": phi, "z": z, "eta": eta,
            "theta": 2 * np.arctan(np.exp(-eta)), "t": np.sqrt(pt * pt + z * z + tau * tau), "tau": tau}  # fmt: skip


def drawn(seed: int, names: tuple[str, ...], kind: str, like: Any = None) -> tuple[ak.Array, dict[str, Any]]:
    """Vectors in some coordinates, among them zeros and NaN, with a field that is none; `like` some others in part."""
    n, rng = N, np.random.default_rng(seed + 1)
    parts = exact(seed)
    if like is not None:
        times = rng.choice([1.0, 1.0, 2.0, -3.0], n)
        part = rng.random(n) < 0.5
        back = times < 0
        along = {c: like[c] * (times if c in "xyz" else abs(times)) for c in ("x", "y", "z", "rho", "t", "tau")}
        along["eta"] = like["eta"] * np.sign(times)
        along["theta"] = np.where(back, np.pi - like["theta"], like["theta"])
        along["phi"] = np.where(back, like["phi"] - np.copysign(np.pi, like["phi"]), like["phi"])
        parts = {c: np.where(part, along[c], parts[c]) for c in parts}
    for c in names:
        parts[c] = np.where(rng.random(n) < 0.05, np.nan, parts[c])
    made = ak.zip(
        {(MOMENTUM.get(c, c) if kind == "Momentum" else c): parts[c] for c in names} | {"also": np.arange(n)},
        with_name=f"{kind}{len(names)}D",
    )
    return made, parts


def events_of(
    seed: int, one: tuple[str, ...], other: tuple[str, ...], kinds: tuple[str, str], options: bool
) -> ak.Array:
    """Events with two lists of vectors, some empty, some vectors None, and numbers."""
    rng = np.random.default_rng(seed)
    v, parts = drawn(seed, one, kinds[0])
    w, _ = drawn(seed + 7, other, kinds[1], parts)
    if options:
        v = ak.mask(v, rng.random(N) > 0.2)
    angle = rng.uniform(-4, 4, len(COUNTS))
    return ak.zip({"v": ak.unflatten(v, COUNTS), "w": ak.unflatten(w, COUNTS), "angle": angle}, depth_limit=1)


def asked(events: Any, d: int, kinds: tuple[str, str]) -> dict[str, Any]:
    """All that is asked of the vectors of events, tuples of coordinates as dicts."""
    v, w = (ak.with_name(events[field], f"{kind}{d}D") for field, kind in zip("vw", kinds, strict=True))
    with np.errstate(all="ignore"):
        found = {name: f(v, w, events) for name, f in programs(kinds[0], d).items()}
    for name in ("azimuthal", "longitudinal", "temporal"):
        if name in found:
            assert len(found[name].elements) == 1 + (name == "azimuthal")
            found[name] = {c: getattr(found[name], c) for c in COORDINATES if hasattr(found[name], c)}
    return found


def numbers(q: Any) -> tuple[Any, Any]:
    """The numbers of lists, and where they are None."""
    layout = q.layout
    while layout.is_list:
        layout = layout.to_ListOffsetArray64(True).content
    values = ak.to_numpy(layout, allow_missing=True)
    return np.ma.getdata(values), np.ma.getmaskarray(values)


# where there is a NaN, what is not vector's, and why
OTHER_NAN = {
    "theta": "arctan2 keeps it, where vector gives 0",
    **dict.fromkeys(["equal", "not_equal", "v == w", "v != w"], "the same, or rounding"),
    "sum": "it stays in its components, where vector has it in all, or takes one of theta for a z of 0",
    **dict.fromkeys(["dot", "deltaangle"], "it stays, where vector takes the product for 0"),
    **dict.fromkeys(["is_parallel", "is_antiparallel", "is_perpendicular", "tolerance"], "the same"),
    **dict.fromkeys(["is_timelike", "is_spacelike", "is_lightlike", "time-like"], "a mass that is known is taken"),
}
# where one is along z, and the other has an eta, vector loses z
PRODUCTS = {"dot", "deltaangle", "is_parallel", "is_antiparallel", "is_perpendicular", "tolerance"}
EXACT = {"equal", "not_equal", "v == w", "v != w"}  # in other coordinates, up to rounding
SUMS = {"add", "subtract", "v + w", "v - w"}  # kept in x, y, z, t
BOOSTS = {name for name in (*CALLS, *MORE) if name.startswith("boost")} | {"rest frame"}  # of a theta of NaN
VELOCITIES = {"to_beta3"}  # in x, y, z where x and y are coordinates: a velocity of zero has no direction


def compare(name: str, got: Any, right: Any, nan: Any) -> None:
    """The same type and coordinates, the same numbers but for rounding, the same None; other fields as they were."""
    if isinstance(right, dict):
        assert got.keys() == right.keys()
        for c in right:
            compare(c, got[c], right[c], nan)
    elif not isinstance(right, ak.Array):
        assert got == right
    elif right.fields:
        assert got.layout.purelist_parameter("__record__") == right.layout.purelist_parameter("__record__")
        ours, theirs = (system(ak.Array(array.layout)) for array in (got, right))
        rest, other = (
            {field for field in array.fields if field not in used.values()}
            for array, used in ((got, ours), (right, theirs))
        )
        assert rest == other
        for field in rest:
            np.testing.assert_array_equal(numbers(got[field])[0], numbers(right[field])[0])
        assert len(ours) == len(theirs)
        if name in SUMS or (name in VELOCITIES and "x" in ours):
            assert list(ours) == ["x", "y", "z", "t"][: len(ours)]
            still = np.all([numbers(got[ours[c]])[0] == 0 for c in ours if c != "t"], axis=0)
            if "tau" in theirs:  # vector loses the sign of the energy of a difference
                got = ak.with_field(got, abs(got["t"]), "t")
            right = {c: getattr(right, c) for c in ours}
            theirs = {c: c for c in ours}
            lost = still & np.any([np.isnan(numbers(right[c])[0]) for c in ours], axis=0)
            nan = nan | lost  # vector has no theta of a sum of nothing, and then nothing else
        assert ours.keys() == theirs.keys()
        for c in theirs:
            compare("sum" if name in SUMS | VELOCITIES | BOOSTS else c, got[ours[c]], right[theirs[c]], nan)
    else:
        (a, none), (b, none_too) = numbers(got), numbers(right)
        np.testing.assert_array_equal(none, none_too)
        if a.dtype == bool:
            assert b.dtype == bool
            fits = a == b
        else:
            fits = np.isclose(a, b, rtol=1e-7, atol=1e-7, equal_nan=True)
            if name in ("phi", "deltaphi"):  # the ends of the range are one
                fits |= np.isclose(np.abs(a - b), 2 * np.pi, atol=1e-7)
        fits |= none | (nan if name in OTHER_NAN else False)
        assert fits.all(), (a[~fits][:4], b[~fits][:4])


def check(
    one: tuple[str, ...], other: tuple[str, ...], kinds: tuple[str, str], seed: int, options: bool, eager: bool = True
) -> None:
    """Compares all with vector on awkward arrays; in the kernel nothing is left to the interpreter."""
    d = len(one)
    array = events_of(seed, one, other, kinds, options)
    right = asked(ak.Array(array, behavior=backend.behavior), d, kinds)
    nan, turned, along = np.zeros(N, bool), np.zeros(N, bool), np.zeros(N, bool)
    for field in "vw":
        for c in array[field].fields:
            values, none = numbers(array[field][c])
            nan |= np.isnan(values) | none
            if c == "theta":
                turned |= np.isnan(values)
            elif c in ("rho", "pt") and {"eta", "z"} <= {*one, *other}:
                along |= values == 0
    events = hg.from_awkward(array, npartitions=2)
    lazy = asked(events, d, kinds)
    chunk = hg.from_awkward(array)
    found = {engine: hg.compute(lazy, engine=engine, **QUIET) for engine in ("kernel", "interpreter")}
    if eager:
        found["eager"] = asked(eager_events(chunk, chunk.source.partitions()[0]), d, kinds)
    near = numbers(right["isclose"])[0] if set(system(array.v)) != set(system(array.w)) else np.zeros(N, bool)
    wrong = []
    for where, got in found.items():
        assert got.keys() == right.keys()
        for name in right:
            try:
                apart = nan | near if name in EXACT else turned if name in BOOSTS else nan
                apart = apart | along if name in PRODUCTS else apart
                compare(name, got[name], right[name], apart)
            except AssertionError as error:
                wrong.append(f"{where} {name}: {str(error)[:200]}")
    assert not wrong, "\n".join(wrong)
    if not options:  # whether records of arrays in memory are None is told by the interpreter
        assert "interpreter" not in str(hg.explain(lazy))


def of_dimension(d: int) -> list[tuple[str, ...]]:
    """The coordinate systems of so many dimensions."""
    return [s for s in SYSTEMS if len(s) == d]


@pytest.mark.fuzz  # all systems; without HEPGRAPH_FUZZ every third, of each dimension
@pytest.mark.parametrize("one", SYSTEMS if examples(1) > 1 else SYSTEMS[::3], ids=" ".join)
def test_all_that_vector_has(one: tuple[str, ...]) -> None:
    """The other vectors are in each of the other systems in turn; every fourth time on an eager run's arrays, too."""
    number, same = SYSTEMS.index(one), of_dimension(len(one))
    kinds = (("Momentum", "Vector"), ("Vector", "Vector"), ("Vector", "Momentum"), ("Momentum", "Momentum"))[number % 4]
    check(one, same[(5 * number + 1) % len(same)], kinds, number, number % 3 == 0, number % 4 == 3)


KINDS = st.tuples(*[st.sampled_from(["Momentum", "Vector"])] * 2)


@settings(deadline=None, max_examples=examples(2))
@given(st.data(), st.sampled_from(SYSTEMS), KINDS, st.integers(0, 2**32), st.booleans())
def test_any_two_systems(
    data: st.DataObject, one: tuple[str, ...], kinds: tuple[str, str], seed: int, options: bool
) -> None:
    check(one, data.draw(st.sampled_from(of_dimension(len(one)))), kinds, seed, options)


@pytest.mark.parametrize("d", [2, 3, 4])
@pytest.mark.parametrize("kind", ["Momentum", "Vector"])
def test_no_name_is_missing(kind: str, d: int) -> None:
    """Of lazy arrays and of those of an eager run; and what is left out is there to be left out."""
    array = events_of(1, of_dimension(d)[0], of_dimension(d)[0], (kind, kind), False)
    events = hg.from_awkward(array)
    eager = eager_events(events, events.source.partitions()[0])
    for v in (events.v, eager.v):
        assert [name for name in public(kind, d) if name not in dir(v)] == []
    assert set(public(kind, d)) <= set(TABLE)
    assert all(hasattr(backend.behavior["*", f"{kind}{d}D"], name) for name in LEFT_OUT)


@pytest.mark.parametrize("d", [2, 3, 4])
def test_single_vectors(d: int) -> None:
    """One record of an eager run, beside one record of vector."""
    array = events_of(3, of_dimension(d)[-1], of_dimension(d)[0], ("Momentum", "Momentum"), False)
    events = hg.from_awkward(array)
    chunk = eager_events(events, events.source.partitions()[0])
    known = ak.Array(array, behavior=backend.behavior)
    with np.errstate(all="ignore"):
        for name, f in programs("Momentum", d).items():
            if name in MORE or name in ("allclose", "azimuthal", "longitudinal", "temporal"):
                continue  # vector has no operators of single records; of arrays; of coordinates
            got, right = (f(ak.with_name(e.v, f"Momentum{d}D")[3, 1], ak.with_name(e.w, f"Momentum{d}D")[3, 2], e[3])
                          for e in (chunk, known))  # fmt: skip
            if isinstance(right, ak.Record):
                assert isinstance(got, ak.Record), name
                names = [c for c in ("x", "y", "z", "t") if hasattr(right, c)]
                np.testing.assert_allclose(
                    [getattr(got, c) for c in names], [getattr(right, c) for c in names], 1e-9, 1e-9
                )
                assert got.also == right.also if "also" in right.fields else True
            else:
                np.testing.assert_allclose(got, right, rtol=1e-9, atol=1e-9, err_msg=name)


def test_products_of_matrices() -> None:
    """`v @ w` is the scalar product, as vector has it where awkward lets it."""
    events = hg.from_awkward(events_of(2, SYSTEMS[-1], SYSTEMS[-2], ("Momentum", "Momentum"), False))
    got = hg.compute({"@": events.v @ events.w, "dot": events.v.dot(events.w)}, **QUIET)
    np.testing.assert_array_equal(numbers(got["@"])[0], numbers(got["dot"])[0])
