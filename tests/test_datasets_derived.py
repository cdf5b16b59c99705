"""Derived fields and bits follow the fields of their records: recorded, in eager runs, and of computed events."""

from __future__ import annotations

import awkward as ak
import numpy as np
import pytest
from drawing import examples
from hypothesis import given, settings
from hypothesis import strategies as st

import hepgraph as hg
from hepgraph.errors import FieldError, SchemaError, UnsupportedError
from hepgraph.graph.form import record_of

FORMULAS = {
    "ratio": "energy / pt",
    "energy": "e",
    "isHard": "(pt > 40) & ~(e < 60)",
    "twice": "2 * ratio + pi",
    "flat": "where(isHard, 2.0 * pt, -1)",
    "slope": "sqrt(abs(eta)) * scale",
    "small": "2 * eta * 3",
    "both": "loose & isHard",
}
SCHEMA = "\n".join(
    [
        'name = "mine"\n[collections.Jet]\nconstants = { scale = 0.5 }\nbits = { id = ["loose", "tight"] }',
        "[collections.Jet.derived]",
        *(f'{name} = "{text}"' for name, text in FORMULAS.items()),
        'dir = "vector(pt=ratio, phi=phi)"',
        '[collections.Muon]\nderived = { half = "pt / 2" }\n[[references]]\nfrom = "Muon"\nindex = "jetIdx"\n'
        'to = "Jet"\nname = "jet"',
    ]
)
QUIET = {"engine": "interpreter", "executor": "serial", "progress": False}
NAMES = [*FORMULAS, "loose", "tight"]
USES = {"pt": "ratio isHard twice flat both", "e": "ratio energy isHard twice flat both", "eta": "slope small",
        "id": "loose tight both", "energy": "ratio twice", "ratio": "twice", "scale": "slope"}  # fmt: skip


def data(rng, option):
    counts = rng.integers(0, 4, rng.integers(0, 7))
    total = int(counts.sum())
    jets = {
        "pt": rng.uniform(20, 80, total).astype("float32"),
        "e": rng.uniform(20, 80, total),
        "eta": rng.normal(size=total).astype("float32"),
        "phi": rng.normal(size=total),
        "id": rng.integers(0, 4, total).astype("uint8"),
    }
    if option:
        jets["e"] = ak.mask(jets["e"], rng.random(total) < 0.7)
    jets = ak.unflatten(ak.zip(jets, depth_limit=1), counts)
    muons = ak.zip({"pt": rng.uniform(0, 9, len(counts)), "jetIdx": np.where(counts > 0, 0, -1)})
    return ak.Array({"Jet": jets, "Muon": ak.unflatten(muons, np.ones(len(counts), int))})


def wanted(jets, name):
    """A field by its formula, of plain arrays."""
    if name in jets.fields:
        return jets[name]
    if name in ("loose", "tight"):
        return jets.id & (1 if name == "loose" else 2) != 0
    if name == "scale":
        return np.float32(0.5) * ak.ones_like(jets.eta)
    names = [each for each in [*jets.fields, *NAMES, "scale"] if each in FORMULAS[name] and each != name]
    values = {each: wanted(jets, each) for each in names}
    return eval(FORMULAS[name], {"where": ak.where, "sqrt": np.sqrt, "abs": abs, "pi": np.pi, **values})


def agree(found, expected):
    """Whether values and Nones are the same, and numbers of one dtype, up to the last bits."""
    found, expected = ak.Array(found), ak.Array(expected)
    gone = ak.is_none(expected, axis=1)
    assert ak.is_none(found, axis=1).to_list() == gone.to_list()
    a, b = (ak.to_numpy(ak.flatten(ak.drop_none(x), axis=None)) for x in (found, expected))
    assert a.dtype == b.dtype or not len(b)
    assert np.allclose(a.astype(float), b.astype(float), rtol=1e-6, equal_nan=True)


def changed(jets, sets, how):
    for name, factor in sets:
        new = jets.id // 2 if name == "id" else factor * jets[name]
        if how == "with_field":
            jets = ak.with_field(jets, new, name)
        else:
            jets[name] = new
    return jets


@pytest.mark.parametrize("how", ["setitem", "with_field"])
@settings(max_examples=examples(10), deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    sets=st.lists(st.tuples(st.sampled_from([*USES]), st.sampled_from([2, 0.5])), max_size=3, unique_by=lambda s: s[0]),
    cut=st.booleans(),
    option=st.booleans(),
)
def test_derived_fields_follow(how, seed, sets, cut, option, tmp_path_factory):
    """Whatever fields are set: formulas are those of the fields as they are, in every mode."""
    folder = tmp_path_factory.mktemp("derived")
    (folder / "mine.toml").write_text(SCHEMA)
    array = data(np.random.default_rng(seed), option)
    plain = array.Jet
    for name, factor in sets:
        new = plain.id // 2 if name == "id" else factor * wanted(plain, name)
        plain = ak.with_field(plain, new, name)
    events = hg.from_awkward(array, schema=folder / "mine.toml", npartitions=2)
    computed = events.compute(**QUIET)
    alike = {"recorded": events, "view": events.eager(), "computed": computed}
    for mode, each in alike.items():
        jets, expected = each.Jet, plain
        if cut:
            mask = array.Jet.eta > 0
            jets, expected = jets[jets.eta > 0], plain[mask]
        jets = changed(jets, sets, how)
        found = {name: jets[name] for name in NAMES}
        found["picked"], found["last"] = jets[["ratio", "isHard"]].ratio, jets[:, "twice"]
        if mode == "recorded":
            found = hg.compute(found, **QUIET)
        for name, values in found.items():
            agree(values, wanted(expected, {"picked": "ratio", "last": "twice"}.get(name, name)))
    untouched = [name for name in NAMES if not any(name in USES[each].split() or name == each for each, _ in sets)]
    jets, before = changed(events.Jet, sets, how), events.Jet
    for name in untouched:
        assert record_of(jets._form)[name] is record_of(before._form)[name]


@pytest.fixture
def events(tmp_path):
    (tmp_path / "mine.toml").write_text(SCHEMA)
    return hg.from_awkward(data(np.random.default_rng(6), False), schema=tmp_path / "mine.toml", npartitions=2)


def analysis(events):
    jets = hg.vary(events.Jet, "JES", up={"pt": 2 * events.Jet.pt}, down={"energy": events.Jet.energy / 4})
    events["Jet"] = jets
    h = hg.Hist.new.Reg(10, 0, 8, name="x").StrCat([], growth=True, name="variation").Weight()
    h.fill(ak.flatten(events.Jet.ratio))
    led = ak.drop_none(ak.flatten(events.Muon.jet.ratio))
    hard = ak.num(events.Jet[events.Jet.isHard])
    return {"h": h, "hard": ak.sum(hard), "led": ak.sum(led), "half": ak.sum(events.Muon.half)}


def test_variations(events, tmp_path):
    """`hg.vary` of a field, and of a derived one; references lead to what follows."""
    ak.to_parquet(events.compute(), tmp_path / "file.parquet")
    one, two = (
        hg.run(analysis, {"a": [str(tmp_path / "file.parquet")]}, schema=tmp_path / "mine.toml", executor="serial",
               eager=eager, strict=not eager, progress=False)
        for eager in (False, True)
    )  # fmt: skip
    jets = ak.Array(events.Jet.compute().to_list())
    for name, (pt, e) in {"nominal": (1, 1), "JES_up": (2, 1), "JES_down": (1, 0.25)}.items():
        ratio = e * jets.e / (pt * jets.pt)
        values = np.histogram(ak.to_numpy(ak.flatten(ratio)), 10, (0, 8))[0]
        for found in (one, two):
            assert np.array_equal(found["h"][{"variation": name}].values(), values)
            assert np.isclose(found["led"][name], ak.sum(ak.firsts(ratio)))
            hard = found["hard"]  # an eager run tells variations by what they count
            hard = hard.get(name, hard["nominal"]) if isinstance(hard, dict) else hard
            assert hard == ak.sum((pt * jets.pt > 40) & (jets.e >= 60))
    assert set(one["hard"]) == {"nominal", "JES_up"}  # what uses `energy` alone is no other for `isHard`
    assert not isinstance(one["half"], dict)


def test_vectors_and_bits(events):
    jets = events.Jet
    jets["pt"] = 2 * jets.pt
    jets["id"] = jets.id * 0 + np.uint8(2)
    assert np.allclose(ak.flatten(jets.dir.pt.compute()), ak.flatten(events.Jet.ratio.compute()) / 2)
    assert not ak.any(jets.loose.compute())
    assert ak.all(jets.tight.compute())
    view = events.eager().Jet
    view["pt"] = 2 * view.pt
    assert np.allclose(ak.flatten(view.dir.pt), ak.flatten(jets.dir.pt.compute()))
    view["id"] = 1.5 * view.id
    with pytest.raises(SchemaError, match=r"Jet\.id has no bits: it holds no integers"):
        _ = view.tight
    assert view[0].ratio.to_list() == view.ratio[0].to_list()
    pairs = ak.combinations(view, 2, fields=["a", "b"])
    assert pairs["a", "ratio"].to_list() == pairs.a.ratio.to_list()
    assert pairs[:, "a", "ratio"].to_list() == pairs.a.ratio.to_list()
    assert pairs[ak.num(pairs) > 0, "b", "ratio"].to_list() == pairs.b.ratio[ak.num(pairs) > 0].to_list()
    assert events.eager()["Jet", "twice"].to_list() == events.Jet.twice.compute().to_list()


def test_what_was_put_together(events, tmp_path):
    """Collections with one formula have it together; with several, each its own, unless a field is set after that."""
    (tmp_path / "two.toml").write_text(
        'name = "mine"\n[collections.Jet]\nderived = { big = "2 * pt" }\n'
        '[collections.Muon]\nderived = { big = "3 * pt" }\n'
    )
    events = hg.from_awkward(events.compute(), schema=tmp_path / "two.toml")
    plain = events.compute()
    both = ak.concatenate([events.Jet, events.Muon], axis=1)
    wanted = ak.concatenate([2 * plain.Jet.pt, 3 * plain.Muon.pt], axis=1)
    assert np.allclose(ak.flatten(both.big.compute()), ak.flatten(wanted))
    both["pt"] = both.pt + 1
    with pytest.raises(UnsupportedError, match="big is made of pt, which was set after records were put together"):
        _ = both.big
    view = events.eager()
    assert np.allclose(ak.flatten(ak.concatenate([view.Jet, view.Muon], axis=1).big), ak.flatten(wanted))


def test_a_circle(tmp_path):
    (tmp_path / "mine.toml").write_text('name = "x"\n[collections.Jet]\nderived = { a = "b + pt", b = "a - 1" }\n')
    jets = hg.from_awkward(ak.Array({"Jet": [[{"pt": 1.0}]]}), schema=tmp_path / "mine.toml").Jet
    jets["pt"] = jets.pt + 1
    for take in (lambda: jets.a, lambda: jets.b, lambda: jets.eager().a):
        with pytest.raises(SchemaError, match="fields of Jet need each other"):
            take()
    with pytest.raises(FieldError):
        _ = jets.c


NUMBERS = [name for name in NAMES if name != "both"]


@settings(deadline=None, max_examples=examples(25))
@given(
    st.integers(0, 1 << 20),
    st.lists(
        st.tuples(st.sampled_from(["pt", "e", "eta", "id", "ratio", "tight", "isHard"]), st.booleans()), max_size=3
    ),
    st.lists(st.sampled_from(NUMBERS), min_size=1, max_size=3, unique=True),
    st.sampled_from(["concatenate", "chosen", "chosen first", "nested", "varied", "varied after"]),
)
def test_eager_runs_are_as_recorded_ones(tmp_path_factory, seed, sets, names, how):
    """Fields that were set stay set where collections are put together; those that were chosen are as they were."""
    folder = tmp_path_factory.mktemp("derived")
    (folder / "mine.toml").write_text(SCHEMA)
    ak.to_parquet(data(np.random.default_rng(seed), False), str(folder / "a.parquet"))

    def changed_of(jets, at):
        for name, late in sets:
            if late == at:
                old = jets[name]
                jets[name] = ~old if name in ("tight", "isHard") else old // 2 if name == "id" else 2 * old
        return jets

    def process(events):
        jets = (
            changed_of(events.Jet[["pt", *names]] if how == "chosen first" else events.Jet, False)
            if sets
            else events.Jet
        )
        if how == "concatenate":
            low, high = changed_of(jets[jets.pt <= 50], True), jets[jets.pt > 50]
            jets = ak.concatenate([high, low], axis=1)
        elif how == "chosen":
            jets = jets[["pt", *names]]
            jets["pt"] = 3 * jets.pt
        elif how == "nested":
            events["Jet"] = jets
            jets = events["Jet", ["pt", *names]]
        elif how.startswith("varied"):
            jets = changed_of(jets, True)
            first = names[0]
            new = ~jets[first] if jets[first].type is None or first in ("loose", "tight", "isHard") else 2 * jets[first]
            jets = hg.vary(jets, "V", up={first: new})
            jets = ak.concatenate([jets, events.Jet], axis=1) if how == "varied after" else jets
        return {name: ak.sum(jets[name]) for name in names}

    def run(**options):
        path = {"a": [str(folder / "a.parquet")]}
        return hg.run(process, path, schema=str(folder / "mine.toml"), executor="serial", progress=False, **options)

    if how == "chosen first" and any(name not in ("pt", *names) for name, _ in sets):
        return
    lazily, eagerly = run(strict=True), run(eager=True)
    for name in names:
        one, two = ({"nominal": x} if not isinstance(x, dict) else x for x in (lazily[name], eagerly[name]))
        for variation in one.keys() | two.keys():
            a, b = (x.get(variation, x["nominal"]) for x in (one, two))
            assert np.isclose(float(a), float(b), rtol=1e-5, equal_nan=True), (name, variation)


def test_vectors_whose_coordinates_formulas_make(events):
    """Methods keep what they do not change, also where a formula makes it."""
    jets = events.eager().Jet
    found = ak.with_name(jets, "Momentum4D").dir.rotateZ(0.5)
    assert np.allclose(ak.to_numpy(ak.flatten(found.pt)), ak.to_numpy(ak.flatten(jets.ratio)))
