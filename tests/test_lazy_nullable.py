"""What may be None at any depth of a Parquet file: lazy results equal those of eager awkward, on drawn tables."""

import awkward as ak
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from drawing import examples
from hypothesis import example, given, settings
from hypothesis import strategies as st

import hepgraph as hg
from hepgraph import errors
from hepgraph.io.required import record_holder
from hepgraph.io.source import reads
from hepgraph.processor.chunk import eager_events


def compute(x):
    return hg.compute(x, executor="serial", progress=False)


# a table of a fixed shape: which parts of it may be None is drawn

PLACES = ["rows", "muon", "pt", "hits", "hit", "vertex", "z", "met", "phi", "inner", "jets", "jet", "tracks", "track"]


def schema_of(none):
    def field(name, kind, place):
        return pa.field(name, kind, place in none)

    vertex = pa.struct([field("z", pa.float32(), "z")])
    muon = pa.struct(
        [
            field("pt", pa.float64(), "pt"),
            pa.field("q", pa.int8(), False),
            field("hits", pa.list_(field("item", pa.int32(), "hit")), "hits"),
            field("vertex", vertex, "vertex"),
        ]
    )
    met = pa.struct(
        [field("phi", pa.float32(), "phi"), field("inner", pa.struct([pa.field("n", pa.int64(), False)]), "inner")]
    )
    jet = pa.struct([pa.field("e", pa.int16(), False), field("tracks", pa.list_(track_of(field)), "tracks")])
    return pa.schema(
        [
            field("Muon", pa.list_(field("item", muon, "muon")), "rows"),
            field("MET", met, "met"),
            field("Jet", pa.large_list(field("item", jet, "jet")), "jets"),
            pa.field("run", pa.int64(), False),
        ]
    )


def track_of(field):
    return field("item", pa.struct([pa.field("d", pa.float32(), False)]), "track")


def rows_of(none):
    """Rows of the table, None at the places named."""
    small = st.integers(-3, 3)

    def at(place, values):
        return st.none() | values if place in none else values

    number = small.map(float)
    vertex = st.fixed_dictionaries({"z": at("z", number)})
    hits = st.lists(at("hit", small), max_size=2)
    muon = st.fixed_dictionaries(
        {"pt": at("pt", number), "q": small, "hits": at("hits", hits), "vertex": at("vertex", vertex)}
    )
    inner = st.fixed_dictionaries({"n": small})
    met = st.fixed_dictionaries({"phi": at("phi", number), "inner": at("inner", inner)})
    tracks = st.lists(at("track", st.fixed_dictionaries({"d": number})), max_size=2)
    jet = st.fixed_dictionaries({"e": small, "tracks": at("tracks", tracks)})
    return st.fixed_dictionaries(
        {
            "Muon": at("rows", st.lists(at("muon", muon), max_size=3)),
            "MET": at("met", met),
            "Jet": at("jets", st.lists(at("jet", jet), max_size=2)),
            "run": small,
        }
    )


def eager(rows, none):
    """The rows as awkward builds them from Python: `ak.from_arrow` of awkward 2.14 loses the nulls of sliced arrays.

    Rows that have everything, and None wherever there may be one, come behind, and are cut off: they make the types.
    """

    def some(place, value):
        return [value, None] if place in none else [value]

    def full(vertex, hit):
        return {"pt": 1.0, "q": 1, "hits": [hit], "vertex": vertex}

    muon = full({"z": 1.0}, 1)
    muons = [muon]
    muons += [{**muon, "pt": value} for value in some("pt", 1.0)]
    muons += [{**muon, "hits": value} for value in some("hits", [1])]
    muons += [{**muon, "hits": some("hit", 1)}]
    muons += [{**muon, "vertex": value} for value in some("vertex", {"z": 1.0})]
    muons += [{**muon, "vertex": {"z": value}} for value in some("z", 1.0)]
    met = {"phi": 1.0, "inner": {"n": 1}}
    jet = {"e": 1, "tracks": [{"d": 1.0}]}
    jets = [jet, *({**jet, "tracks": value} for value in some("tracks", [{"d": 1.0}]))]
    jets += [{**jet, "tracks": some("track", {"d": 1.0})}]
    base = {"Muon": muons + some("muon", muon)[1:], "MET": met, "Jet": jets + some("jet", jet)[1:], "run": 1}
    behind = [base]
    behind += [{**base, "Muon": value} for value in some("rows", muons)]
    behind += [{**base, "Jet": value} for value in some("jets", [jet])]
    behind += [{**base, "MET": value} for value in some("met", met)]
    behind += [{**base, "MET": {**met, "phi": value}} for value in some("phi", 1.0)]
    behind += [{**base, "MET": {**met, "inner": value}} for value in some("inner", {"n": 1})]
    return ak.from_iter([*rows, *behind])[: len(rows)]


def muons(e):
    """The muons that are there, of the events that have a list of them."""
    return ak.drop_none(e.Muon, axis=1)


def called(f, x):
    """A function of arrays, recorded if they are lazy."""
    return hg.map_partitions(f, x) if isinstance(x, hg.Lazy) else f(x)


def cleaned(some, others):
    """Some of the records: those that are near none of the others."""
    pairs = ak.cartesian({"a": some, "b": others}, nested=True)
    return some[~ak.any(abs(pairs.a.q - pairs.b.e) < 1, axis=-1)]


def scaled(e, twice):
    """A function's result beside the lists that it was given, after a cut."""
    some = e.Muon[e.Muon.q > -2]
    made = called(lambda q: q * 2, some.q)
    return some.q * made if twice else some[made > 0].pt


# by the record that must be nullable for them to have a meaning
EXPRESSIONS = {
    "": {
        "records": lambda e: e.Muon,
        "field": lambda e: e.Muon.pt,
        "field of a record in a record": lambda e: e.Muon.vertex.z,
        "record in a record": lambda e: e.Muon.vertex,
        "lists in records": lambda e: e.Muon.hits,
        "lengths": lambda e: ak.num(e.Muon),
        "lengths inside": lambda e: ak.num(e.Muon.hits, axis=2),
        "events by lengths": lambda e: e.Muon[ak.fill_none(ak.num(e.Muon), 0) > 1],
        "cut": lambda e: e.Muon[e.Muon.q > 0],
        "cut with lists": lambda e: e.Muon[e.Muon.q > 0].hits,
        "pairs of all": lambda e: ak.combinations(e.Muon, 2, fields=["a", "b"]).a,
        "sum": lambda e: ak.sum(e.Muon.q, axis=1),
        "everything": lambda e: ak.sum(e.Muon.pt, axis=None),
        "none": lambda e: ak.is_none(e.Muon, axis=0),
        "dropped lists": lambda e: ak.drop_none(e.Muon, axis=0),
        "first": lambda e: ak.firsts(e.Muon),
        "padded": lambda e: ak.pad_none(e.Muon, 2),
        "flat": lambda e: ak.flatten(e.Muon, axis=1),
        "by position": lambda e: e.Muon[:, :1],
        "numbers": lambda e: e.Muon.pt * 2 + e.Muon.q,
        "by event": lambda e: e.Muon.q + e.run,
        "record": lambda e: e.MET,
        "field of a record": lambda e: e.MET.phi,
        "deep field of a record": lambda e: e.MET.inner.n,
        "filled": lambda e: ak.fill_none(e.MET.phi, -1.0),
        "filled inside": lambda e: ak.fill_none(e.Muon.q, 0, axis=1),
        "jets": lambda e: e.Jet,
        "tracks": lambda e: e.Jet.tracks.d,
        "charges": lambda e: ak.zip({"q": e.Muon.q, "run": e.run}),
        "concatenated": lambda e: ak.concatenate([e.Muon.q, e.Jet.e], axis=1),
        "cleaned": lambda e: cleaned(e.Muon, e.Jet),
        "cut and cleaned": lambda e: cleaned(e.Muon[e.Muon.q > -2], e.Jet[e.Jet.e > -2]).hits,
        "cleaned twice": lambda e: cleaned(cleaned(e.Muon[e.Muon.q > -2], e.Jet), e.Jet[:, :1]).q,
        "times a function": lambda e: scaled(e, True),
        "cut by a function": lambda e: scaled(e, False),
        "difference of slices": lambda e: e.Muon.q[:, 1:] - e.Muon.q[:, :-1],
        "some of everything": lambda e: e[["Muon", "MET", "run"]][e.run > 0],
    },
    "muon": {
        "dropped": lambda e: muons(e),
        "dropped field": lambda e: muons(e).q,
        "dropped, cut": lambda e: (lambda m: m[m.q > 0])(muons(e)),
        "dropped lengths": lambda e: ak.num(muons(e)),
        "events by dropped lengths": lambda e: e.MET[ak.fill_none(ak.num(muons(e)), 0) >= 1],
        "pairs": lambda e: ak.combinations(muons(e), 2, fields=["a", "b"]).b.q,
        "how many": lambda e: ak.sum(ak.num(muons(e)), axis=None),
        "none inside": lambda e: ak.is_none(e.Muon, axis=1),
        "none of all": lambda e: ak.sum(ak.is_none(e.Muon, axis=1), axis=None),
        "first there": lambda e: ak.firsts(muons(e)).vertex,
        "with a field": lambda e: ak.with_field(muons(e), muons(e).q * 2, "r"),
    },
    "met": {
        "is record none": lambda e: ak.is_none(e.MET),
        "records there": lambda e: ak.drop_none(e.MET),
        "events by records": lambda e: e.Muon[~ak.is_none(e.MET)],
    },
    "inner": {
        "is inner record none": lambda e: ak.is_none(e.MET.inner),
        "inner records there": lambda e: ak.drop_none(e.MET.inner, axis=0).n,
    },
    "track": {
        "none among tracks": lambda e: ak.is_none(e.Jet.tracks, axis=2),
        "tracks there": lambda e: ak.drop_none(e.Jet.tracks, axis=2).d,
    },
    "jet": {
        "jets there": lambda e: ak.drop_none(e.Jet, axis=1).tracks,
    },
}


def plain(x):
    return x.to_list() if isinstance(x, ak.Array) else np.asarray(x).item()


@settings(max_examples=examples(25), deadline=None)
@given(st.data(), st.integers(1, 5), st.integers(1, 4), st.sampled_from(["base", "nanoaod"]))
def test_every_expression_equals_eager_awkward(tmp_path_factory, draw, group, parts, schema):
    none = draw.draw(st.sets(st.sampled_from(PLACES)) | st.just(set(PLACES)))
    rows = draw.draw(st.lists(rows_of(none), min_size=1, max_size=8))
    path = str(tmp_path_factory.mktemp("n") / "x.parquet")
    pq.write_table(pa.Table.from_pylist(rows, schema_of(none)), path, row_group_size=group)
    arrays = eager(rows, none)
    assert arrays.to_list() == rows
    events = hg.from_parquet(path, schema=schema).repartition(parts)
    known = {name: work for place in ("", *none) for name, work in EXPRESSIONS.get(place, {}).items()}
    names = draw.draw(st.lists(st.sampled_from(sorted(known)), min_size=8, max_size=12, unique=True))
    wanted = {name: plain(known[name](arrays)) for name in names}
    got = {name: plain(x) for name, x in compute({name: known[name](events) for name in names}).items()}
    assert got == wanted


@settings(max_examples=examples(25), deadline=None)
@given(st.data(), st.integers(1, 5), st.integers(1, 3))
def test_chunks_for_eager_processors_are_the_same(tmp_path_factory, draw, group, parts):
    none = draw.draw(st.sets(st.sampled_from(PLACES)) | st.just(set(PLACES)))
    rows = draw.draw(st.lists(rows_of(none), min_size=1, max_size=6))
    path = str(tmp_path_factory.mktemp("n") / "x.parquet")
    pq.write_table(pa.Table.from_pylist(rows, schema_of(none)), path, row_group_size=group)
    events = hg.from_parquet(path).repartition(parts)
    for part in events.source.partitions():
        chunk = eager_events(events, part)
        for name in rows[0]:
            assert chunk[name].to_list() == [row[name] for row in rows[part.start : part.stop]]


@settings(max_examples=examples(100), deadline=None)
@given(st.data(), st.integers(1, 5))
def test_types_have_options_where_something_is_none_and_nowhere_else(tmp_path_factory, draw, group):
    none = draw.draw(st.sets(st.sampled_from(PLACES)))
    rows = draw.draw(st.lists(rows_of(none), min_size=1, max_size=6))
    path = str(tmp_path_factory.mktemp("n") / "x.parquet")
    pq.write_table(pa.Table.from_pylist(rows, schema_of(PLACES)), path, row_group_size=group)
    columns = hg.from_parquet(path).source.columns

    def there(values):
        return [value for value in values if value is not None]

    def some_none(values):
        return len(there(values)) < len(values)

    def inside(values):
        return [item for value in there(values) for item in value]

    def of(values, name):
        return [value[name] for value in there(values)]

    lists, jets = of(rows, "Muon"), of(rows, "Jet")
    muons, jet = inside(lists), inside(jets)
    vertex, hits, tracks = of(muons, "vertex"), of(muons, "hits"), of(jet, "tracks")

    def of_column(name):
        column = columns[name]
        return (
            [level.nullable for level in column.levels],
            [record.nullable for record in column.records],
            column.nullable,
        )

    rows_none, muon_none = some_none(lists), some_none(muons)
    assert of_column("Muon.pt") == ([rows_none], [muon_none], some_none(of(muons, "pt")))
    assert of_column("Muon.q") == ([rows_none], [muon_none], False)
    hit = some_none(inside(hits))
    assert of_column("Muon.hits") == ([rows_none, some_none(hits)], [muon_none], hit)
    assert of_column("Muon.vertex.z") == ([rows_none], [muon_none, some_none(vertex)], some_none(of(vertex, "z")))
    met = of(rows, "MET")
    inner = of(met, "inner")
    assert of_column("MET.phi") == ([], [some_none(met)], some_none(of(met, "phi")))
    assert of_column("MET.inner.n") == ([], [some_none(met), some_none(inner)], False)
    track = inside(tracks)
    levels = [some_none(jets), some_none(tracks)]
    assert of_column("Jet.tracks.d") == (levels, [some_none(jet), some_none(track)], False)


MUON = {"pt": 1.5, "q": 1}
MUONS = pa.list_(pa.field("item", pa.struct([("pt", pa.float64()), pa.field("q", pa.int8(), False)])))


def written(path, muons):
    table = pa.table({"Muon": pa.array(muons, MUONS), "run": pa.array(range(len(muons)))})
    pq.write_table(table, path, row_group_size=2)
    return str(path)


@pytest.fixture
def some_none(tmp_path):
    return written(tmp_path / "b.parquet", [[MUON, None], [{"pt": None, "q": 2}], None, [None]])


@pytest.mark.parametrize(
    ("wanted", "columns"),
    [
        (lambda m: m.pt, ["Muon.pt"]),
        (lambda m: m.q[m.pt > 0], ["Muon.pt", "Muon.q"]),
        (lambda m: ak.is_none(m, axis=1), ["Muon.q"]),
        (lambda m: ak.num(ak.drop_none(m, axis=1)), ["Muon.q"]),
        (lambda m: ak.drop_none(m, axis=1).pt, ["Muon.pt"]),
        (lambda m: ak.num(m), ["Muon.q"]),
    ],
)
def test_which_records_are_there_is_read_off_a_column_that_is_read_anyway(some_none, wanted, columns):
    x = wanted(hg.from_parquet(some_none).Muon)
    assert sorted(hg.necessary_columns(x)) == columns
    with reads() as seen:
        compute(x)
    assert sorted({reading.column for reading in seen}) == columns


def test_types(some_none):
    events = hg.from_parquet(some_none)
    assert events.Muon.typestr == "## * option[var * ?Muon[pt: ?float64, q: int8]]"
    assert ak.drop_none(events.Muon, axis=1).typestr == "## * option[var * Muon[pt: ?float64, q: int8]]"
    assert ak.drop_none(events.Muon, axis=1).q.typestr == "## * option[var * int8]"
    assert events.Muon.q.typestr == events["Muon.q"].typestr == "## * option[var * ?int8]"
    for each in (events.Muon.q, events["Muon.q"]):
        assert compute(each).to_list() == [[1, None], [2], None, [None]]


def test_records_that_could_be_none_and_never_are(tmp_path):
    """The same code runs on a file in which none happens to be None; the types know that none is."""
    muon = hg.from_parquet(written(tmp_path / "a.parquet", [[MUON], [], [MUON, MUON]])).Muon
    assert muon.typestr == "## * var * Muon[pt: float64, q: int8]"
    assert compute(ak.is_none(muon, axis=1)).to_list() == [[False], [], [False, False]]
    muon = ak.with_field(muon, ak.mask(muon.pt, muon.pt > 2), "r")
    assert compute(ak.drop_none(muon, axis=1).r).to_list() == [[None], [], [None, None]]
    singles = compute(ak.singletons(muon[:, :1], axis=1))
    assert singles.to_list() == [[[{**MUON, "r": None}]], [], [[{**MUON, "r": None}]]]


def test_none_in_one_file_of_two(tmp_path, some_none):
    files = [written(tmp_path / "a.parquet", [[MUON], []]), some_none]
    for paths in (files, files[::-1]):
        events = hg.from_parquet(paths)
        rows = [row for path in paths for row in pq.read_table(path)["Muon"].to_pylist()]
        assert compute(events.Muon).to_list() == rows
        there = [None if row is None else [m is None for m in row] for row in rows]
        assert compute(ak.is_none(events.Muon, axis=1)).to_list() == there


def test_files_that_nest_records_and_lists_in_another_way(tmp_path):
    inner = pa.struct([("pt", pa.list_(pa.float64()))])
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"Muon": pa.array([{"pt": [1.0]}, None], inner), "run": [1, 2]}), path)
    events = hg.from_parquet([written(tmp_path / "b.parquet", [[MUON, None]]), path])
    with pytest.raises(errors.DisagreementError, match=r"(?s)'Muon\.pt'.*nested in another way"):
        compute(events.Muon.pt)


def test_records_of_which_nothing_can_be_read(tmp_path):
    kind = pa.struct([("cost", pa.decimal128(3))])
    pq.write_table(pa.table({"r": pa.array([None, None], kind), "run": [1, 2]}), tmp_path / "a.parquet")
    events = hg.from_parquet(tmp_path / "a.parquet")
    with pytest.raises(errors.MissingColumnError, match=r"Column 'r\.cost' of .*a\.parquet cannot be read"):
        ak.is_none(events.r)
    with pytest.raises(errors.MissingColumnError) as caught:
        record_holder(events.source, "r")
    said = f"No column of {tmp_path / 'a.parquet'} that can be read tells which records 'r' are None."
    assert str(caught.value) == said


def test_opaque_functions_keep_what_is_none(some_none):
    """Also lists inside of records that are None."""
    events = hg.from_parquet(some_none)
    example = ak.Array([{"a": 1, "b": [1]}, None])

    def records(run):
        return ak.Array([{"a": 1, "b": [2]} if k % 2 else None for k in run.to_list()])

    x = hg.map_partitions(records, events.run, meta=example)
    assert compute(x).to_list() == [None, {"a": 1, "b": [2]}] * 2
    assert compute(x.b).to_list() == [None, [2]] * 2
    assert compute(ak.is_none(x)).to_list() == [True, False] * 2
    assert compute(ak.drop_none(x).b).to_list() == [[2]] * 2


def test_padded_lists_beside_numbers():
    """Lists of a fixed length that hold others do not go with one number an event, unless there is one of them."""
    nested = ak.Array([[[], [1.1, 5.9]], [[8.5]], [], [[1.0]], [[2.0], [3.0], [4.0]]])
    lazy = hg.from_awkward(ak.zip({"nested": nested, "x": np.arange(5.0)}, depth_limit=1), npartitions=2)
    for size in (1, 2, 5):

        def summed(events, size=size):
            return ak.pad_none(events.nested, size, axis=1, clip=True) + events.x

        eager = ak.Array({"nested": nested, "x": np.arange(5.0)})
        if size == 1:
            assert compute(summed(lazy)).to_list() == summed(eager).to_list()
        else:
            with pytest.raises(ValueError, match="cannot broadcast"):
                summed(eager)
            with pytest.raises(hg.errors.UnsupportedError, match=r"use ak\.from_regular"):
                summed(lazy)
            var = ak.from_regular(ak.pad_none(lazy.nested, size, axis=1, clip=True), axis=1) + lazy.x
            assert compute(var).to_list() == ak.to_list(
                ak.from_regular(ak.pad_none(nested, size, axis=1, clip=True), axis=1) + np.arange(5.0)
            )


@pytest.mark.parametrize("engine", ["kernel", "interpreter"])
def test_cuts_of_padded_lists_of_lists(engine):
    """A list that padding added has no elements, wherever the lists that it might stand for begin."""
    nested = [[[0], None], [[], [3, 2, 1]], [[-3, 1, 2], []], [[3], None, [1, 0]], [], [[7, 7], [5]]]
    whole = ak.zip({"nested": ak.Array(nested), "cut": [False, True, True, False, True, True]}, depth_limit=1)

    def padded(events):
        return ak.pad_none(events.nested, 3, axis=1)[events.cut]

    for first in range(len(whole)):
        for last in range(first + 1, len(whole) + 1):
            data = whole[first:last]
            lazy = hg.from_awkward(data)
            tree = {
                "lists": padded(lazy),
                "lengths": ak.num(padded(lazy), axis=2),
                "sums": ak.sum(padded(lazy), axis=2),
            }
            got = hg.compute(tree, executor="serial", progress=False, engine=engine)
            assert ak.is_valid(got["lists"])
            assert got["lists"].to_list() == padded(data).to_list()
            assert got["lengths"].to_list() == ak.num(padded(data), axis=2).to_list()
            assert got["sums"].to_list() == ak.sum(padded(data), axis=2).to_list()


@pytest.mark.parametrize("engine", ["interpreter", "kernel"])
def test_function_of_records_in_records_that_are_none(engine):
    """A value in a record that is None is no new None."""
    data = ak.Array([[{"q": 1, "v": {"z": 1.0}}], [None], [None, {"q": 2, "v": {"z": 3.0}}]])
    e = hg.from_awkward(data, npartitions=3)
    same = hg.map_partitions(lambda x: x[:, ::-1][:, ::-1], e)
    assert hg.compute(same, executor="serial", engine=engine).to_list() == data.to_list()
    assert hg.compute(same.v.z, executor="serial", engine=engine).to_list() == data.v.z.to_list()


CHOICES = {
    "lists": lambda e: ak.where(e.x > 0, e.a, -e.a),
    "other lists": lambda e: ak.where(e.x > 0, e.a, e.f),
    "sums of lists": lambda e: ak.sum(ak.where(e.x > 0, e.f, e.a), axis=1),
    "records": lambda e: ak.where(e.x > 0, ak.firsts(e.v), ak.firsts(e.u)),
    "vectors": lambda e: ak.where(e.x > 0, ak.firsts(e.v), ak.firsts(e.u)).pt,
    "ranges": lambda e: ak.ptp(e.a, axis=1, mask_identity=False),
    "ranges in lists": lambda e: ak.ptp(e.a, axis=-1, mask_identity=False, keepdims=True),
}


@settings(deadline=None)
@given(st.integers(0, 500), st.sampled_from(sorted(CHOICES)), st.sampled_from([(1, "kernel"), (3, "interpreter")]))
def test_choices_between_lists_that_are_none(seed, name, way):
    """Choices from lists or records that may be None, and the ranges of such, are those of eager awkward."""
    rng = np.random.default_rng(seed)

    def lists(n=12):
        counts = rng.integers(0, 4, n)
        return ak.unflatten(np.round(rng.normal(1, 2, counts.sum()), 1), counts)

    data = ak.zip({"x": rng.normal(0, 1, 12), "f": lists()}, depth_limit=1)
    data["a"] = ak.mask(lists(), rng.random(12) > 0.3)
    for field in "uv":
        pt = lists()
        data[field] = ak.zip({"pt": pt, "eta": pt * 2})
    parts, engine = way
    got = hg.compute(CHOICES[name](hg.from_awkward(data, parts)), executor="serial", engine=engine, progress=False)
    expected = CHOICES[name](data)
    assert got.to_list() == expected.to_list()
    assert str(ak.with_name(got, None).type) == str(expected.type)


def test_choices_that_are_refused():
    x = ak.Array({"x": [1.0, -1.0, 0.5], "l": [[1.0], [], [2.0, 3.0]]})
    e = hg.from_awkward(x)
    with pytest.raises(errors.UnsupportedError, match=r"a condition that may be None; .* by ak\.fill_none\(condition"):
        ak.where(ak.mask(e.x, e.x > 0) > 0.7, e.l, -e.l)


def test_directions_of_sums_in_lists_that_are_none():
    """The pseudorapidity of what has x, y and z, in lists that may be None, of lazy arrays and of chunks."""
    vectors = ak.Array([[{"x": 1.0, "y": 2.0, "z": 3.0}, {"x": 1.0, "y": 0.0, "z": 0.0}], None, []])
    e = hg.from_awkward(ak.zip({"v": vectors}, depth_limit=1), npartitions=2)
    for eta in (compute(e.v.eta), e.compute(executor="serial", progress=False).v.eta):
        assert eta.to_list() == [[pytest.approx(np.arcsinh(3 / np.sqrt(5))), 0.0], None, []]


# one or the other, where one is not there

CONDITIONS = {
    "never": lambda e: ak.is_none(e.met),
    "zeros": lambda e: ak.zeros_like(e.met, dtype=bool),
    "always": lambda e: ak.ones_like(e.met, dtype=bool),
    "data": lambda e: e.met > 2,
    "none there": lambda e: ak.is_none(ak.firsts(e.q)),
    "data, never": lambda e: (e.met > 2) & ak.zeros_like(e.met, dtype=bool),
}
SIDES = {
    "padded": lambda e: ak.pad_none(e.q, 2)[:, 1],
    "clipped": lambda e: ak.pad_none(e.q[e.q > 3], 2, clip=True)[:, 1],
    "first": lambda e: ak.firsts(e.q),
    "first of some": lambda e: ak.firsts(e.q[e.q > 3]),
    "filled": lambda e: ak.fill_none(ak.firsts(e.q), -9),
    "5": lambda e: 5,
    "fives": lambda e: ak.full_like(e.met, 5),
    "ones": lambda e: ak.ones_like(e.met),
    "flat": lambda e: e.met,
    "sum": lambda e: ak.sum(e.q, axis=1),
    "twice": lambda e: ak.firsts(e.q) * 2,
}


@settings(max_examples=examples(60), deadline=None)
@given(
    st.lists(st.lists(st.integers(1, 6), max_size=3), min_size=1, max_size=6),
    *[st.sampled_from([*names]) for names in (CONDITIONS, CONDITIONS, SIDES, SIDES, SIDES)],
    st.integers(1, 3),
    st.sampled_from(["kernel", "interpreter"]),
)
@example([[], [1], [5, 6]], "always", "never", "padded", "padded", "5", 1, "kernel")
@example([[1], [2]], "always", "never", "first of some", "first of some", "5", 1, "interpreter")
def test_one_or_the_other_where_one_is_not_there(q, first, second, one, two, three, npartitions, engine):
    whole = ak.zip({"q": ak.values_astype(ak.Array(q), np.int64), "met": np.arange(1.0, 1 + len(q))}, depth_limit=1)

    def chosen(e):
        inner = ak.where(CONDITIONS[first](e), SIDES[one](e), SIDES[two](e))
        return ak.where(CONDITIONS[second](e), inner, SIDES[three](e))

    if "5" == one == two:
        return
    lazy = chosen(hg.from_awkward(whole, npartitions=npartitions))
    got = hg.compute(lazy, engine=engine, executor="serial", progress=False)
    assert got.to_list() == chosen(whole).to_list()
