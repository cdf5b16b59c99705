"""The language of schema files: what each key means, on small files; what is wrong, in words (in `snapshots/`)."""

import awkward as ak
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import hepgraph as hg
from hepgraph import errors
from hepgraph.datasets.guess import guess
from hepgraph.datasets.schemafile import read_text
from hepgraph.datasets.schemarules import COLLECTION, TOP, json_schema
from hepgraph.processor.chunk import eager_events

QUIETLY = {"executor": "serial", "progress": False}


def compute(x, **options):
    return hg.compute(x, **QUIETLY, **options)


COLUMNS = {
    "njet": [2, 0, 1],
    "jet_pt": [[5.0, 4.0], [], [3.0]],
    "jet_nsub": [[1, 2], [], [0]],
    "jet_first": [[0, 1], [], [0]],
    "jet_last": [[1, 3], [], [0]],
    "sub_pt": [[1.0, 2.0, 3.0], [], []],
    "mu_px": [[3.0], [1.0], []],
    "mu_py": [[4.0], [0.0], []],
    "mu_jet": [[1], [-1], []],
    "met": [[7.0], [8.0], [9.0]],
    "weight": [1.0, 2.0, 3.0],
}

TEN_LINES = """
[collections.Jet]
columns = "jet_{field}"
counts = "njet"
[collections.Muon]
columns = "mu_{field}"
derived = { pt = "sqrt(px**2 + py**2)", fast = "(pt > 2) & ~(px < 0)", also = "px" }
[[references]]
from = "Muon"
index = "jet"
to = "Jet"
name = "its_jet"
"""


@pytest.fixture
def opened(tmp_path):
    """Opens a file with some columns changed, by a schema."""

    def make(schema, **changes):
        columns = {name: values for name, values in {**COLUMNS, **changes}.items() if values is not None}
        pq.write_table(pa.table(columns), tmp_path / "a.parquet")
        (tmp_path / "my.toml").write_text(f'name = "mine"\n{schema}')
        return hg.from_parquet(tmp_path / "a.parquet", schema=tmp_path / "my.toml")

    return make


@pytest.mark.parametrize("engine", ["auto", "interpreter"])
def test_my_ntuple_in_ten_lines(opened, engine):
    events = opened(TEN_LINES)
    assert events.fields[:1] == ["Jet"]
    assert {"Jet", "Muon", "weight", "met"} <= set(events.fields)
    assert compute(events.Jet.pt, engine=engine).to_list() == COLUMNS["jet_pt"]
    assert compute(events.Muon.pt, engine=engine).to_list() == [[5.0], [1.0], []]
    assert compute(events.Muon.fast, engine=engine).to_list() == [[True], [False], []]
    assert compute(events.Muon.also, engine=engine).to_list() == COLUMNS["mu_px"]
    assert compute(events.Muon.its_jet.pt, engine=engine).to_list() == [[4.0], [None], []]
    assert sorted(hg.necessary_columns(events.Muon.pt)) == ["mu_px", "mu_py"]
    assert "pt" not in events.Muon.fields


def test_lists_that_others_deal_out(opened):
    dealt = """
    [[columns]]
    match = "sub_{field}"
    to = "Jet.sub.{field}"
    [collections.Jet]
    columns = "jet_{field}"
    """
    events = opened(dealt + 'lengths = { sub = "nsub" }')
    assert compute(events.Jet["sub"].pt).to_list() == [[[1.0], [2.0, 3.0]], [], [[]]]
    assert compute(events.Jet[events.Jet.pt < 4.5]["sub"].pt).to_list() == [[[2.0, 3.0]], [], [[]]]
    ranged = opened(dealt + 'ranges = { sub = ["first", "last"] }')
    assert compute(ranged.Jet["sub"].pt).to_list() == [[[1.0], [2.0, 3.0]], [], [[]]]
    assert compute(ak.sum(ranged.Jet["sub"].pt, axis=2)).to_list() == [[1.0, 5.0], [], [0.0]]


def test_singletons_aliases_names_and_columns_that_are_left_out(opened):
    events = opened(
        """
        names = { pt = "PT" }
        aliases = { J = "Jet" }
        [[columns]]
        match = "met"
        to = "MET.sum"
        [[columns]]
        match = "jet_{field}"
        to = "Jet.{field}"
        [[leave]]
        match = "mu_*"
        reason = "they are of another analysis"
        [collections.MET]
        singleton = true
        """
    )
    assert compute(events.MET["sum"]).to_list() == [7.0, 8.0, 9.0]
    assert compute(events.J.PT).to_list() == COLUMNS["jet_pt"]
    told = hg.schema_of(events)
    assert told.left == dict.fromkeys(["mu_px", "mu_py", "mu_jet"], "they are of another analysis")
    assert told.collections["Jet"]["PT"] == "jet_pt"
    assert "left out: they are of another analysis" in str(told)
    assert not [name for name in events.fields if name.startswith("mu")]
    with pytest.raises(errors.HepgraphError, match="met"):
        compute(opened('[collections.met]\ncolumns="m{field}"\nsingleton=true\n', met=[[1.0], [], [2.0]]).met.et)


def test_versions(opened):
    versions = 'versions = [{ use = "base", lacks = ["jet_pt"] }]\n[collections.Jet]\ncolumns = "jet_{field}"\n'
    assert hg.schema_of(opened(versions)).name == "mine"
    assert hg.schema_of(opened(versions, jet_pt=None)).name == "base"


def test_variations_by_pattern(opened):
    """With collections that are claimed by pattern."""
    events = opened('[collections.jet]\ncolumns = "jet_{field}"\n[variations]\ncolumns = "{field}_{name}{direction}"\n',
                    jet_pt_JESUp=[[6.0, 5.0], [], [4.0]])  # fmt: skip
    assert compute(events.jet.pt)["JES_up"].to_list() == [[6.0, 5.0], [], [4.0]]


def test_a_guess_is_a_schema(opened, capsys):
    source = opened("").source
    text = guess(source.columns)
    assert '[collections.jet]\ncolumns = "jet_{field}"\ncounts = "njet"' in text
    assert read_text(text, "guessed").told("mu").columns == ("mu_{field}",)
    events = hg.from_source(source, schema="auto")
    assert capsys.readouterr().out.strip() == text
    assert compute(events.jet.pt).to_list() == COLUMNS["jet_pt"]


def test_the_json_schema_has_every_key():
    made = json_schema()
    assert set(made["properties"]) == set(TOP)
    assert set(made["properties"]["collections"]["additionalProperties"]["properties"]) == set(COLLECTION)
    assert all(each["description"] for each in made["properties"].values())


def test_schemas_that_are_wrong(opened, says):
    jet = '[collections.Jet]\ncolumns = "jet_{field}"\n'
    says(opened, '[[columns]]\nmatch = "jet_{field}"\nto = "Jet.{fild}"\n')
    says(opened, '[collections.Jet]\ncolumns = "jet_*"\n')
    says(opened, '[[columns]]\nmatch = "{a}{b}"\nto = "x.y"\n')
    says(opened, jet + '[collections.Other]\ncolumns = "jet_p{field}"\n')
    says(opened, '[[columns]]\nmatch = "{a}_{field}"\nto = "All.{field}"\n')
    says(opened, jet + 'counts = "njets"\n')
    says(opened, '[[references]]\nfrom = "a"\nindex = "b"\nname = "c"\n')
    says(opened, '[[references]]\nfrom = "a"\nindex = "b"\nto = ["c", "d"]\nname = "e"\n')
    says(opened, '[[references]]\nfrom = "a"\nindex = "b"\nto = "d"\nrange = true\nname = "e"\n')
    says(lambda: opened(jet + 'fields = { raw = "jet_raw" }\n').Jet.raw)
    says(lambda: opened(jet + 'derived = { a = "b + 1", b = "a - 1" }\n').Jet.a)
    says(lambda: opened(jet + 'derived = { a = "sqrtt(pt)" }\n').Jet.a)
    says(lambda: opened(jet + 'derived = { a = "pt +" }\n').Jet.a)
    says(lambda: opened(jet + 'derived = { a = "[pt]" }\n').Jet.a)
    says(lambda: opened(jet + 'lengths = { nsub = "pt" }\n').Jet.nsub)


def test_files_that_disagree_with_their_schema(opened, says):
    def run(x):
        """The result of `x()`; an error without its notes, which have lines of this file."""
        try:
            return compute(x())
        except errors.HepgraphError as error:
            error.__notes__ = []
            raise

    says(run, lambda: opened(TEN_LINES, njet=[2, 1, 0]).Jet.pt)
    says(run, lambda: opened(TEN_LINES, mu_jet=[[5], [-1], []]).Muon.its_jet.pt)
    dealt = '[[columns]]\nmatch="sub_{field}"\nto="Jet.sub.{field}"\n[collections.Jet]\ncolumns="jet_{field}"\n'
    says(run, lambda: opened(dealt + 'lengths={sub="nsub"}', jet_nsub=[[1, 1], [], [0]]).Jet["sub"].pt)
    says(run, lambda: opened(dealt + 'ranges={sub=["first","last"]}', jet_last=[[1, 4], [], [0]]).Jet["sub"].pt)


def test_floats_stay_floats(opened):
    events = opened(TEN_LINES, mu_px=ak.values_astype(ak.Array(COLUMNS["mu_px"]), np.float32).to_list())
    assert compute(events.Muon.pt).type.content.content.primitive == "float64"


# files that differ


@pytest.fixture
def differing(tmp_path):
    """Three files: the first lacks a trigger bit, the second another."""

    def make(schema):
        (tmp_path / "my.toml").write_text(f'name = "mine"\n{schema}')
        for name, more in (("a", {"HLT_b": [True, False]}), ("b", {"HLT_a": [False, True]}), ("c", {})):
            if name == "c":
                more = {"HLT_a": [True, True], "HLT_b": [False, False]}
            pq.write_table(pa.table({"x": [1.0, 2.0], **more}), tmp_path / f"{name}.parquet")
        return hg.from_parquet([tmp_path / f"{name}.parquet" for name in "abc"], schema=tmp_path / "my.toml")

    return make


@pytest.mark.parametrize("engine", ["auto", "interpreter"])
@pytest.mark.parametrize("executor", ["serial", "threads"])
def test_a_column_that_some_files_lack(differing, engine, executor):
    def run(x):
        return hg.compute(x, engine=engine, executor=executor, progress=False)

    optional = differing('[optional]\nHLT_a = "none"\nHLT_b = false\n')
    assert run(optional.HLT_a).to_list() == [None, None, False, True, True, True]
    assert run(optional.HLT_b).to_list() == [True, False, False, False, False, False]
    assert run(optional.HLT_b & (optional.x > 0)).to_list() == [True, False, False, False, False, False]
    assert run(ak.fill_none(optional.HLT_a, True)).to_list() == [True, True, False, True, True, True]
    eager = [eager_events(optional, part) for part in optional.source.partitions()]
    assert [each for chunk in eager for each in chunk.HLT_a.to_list()] == [None, None, False, True, True, True]
    required = differing("")
    if engine == "auto" and executor == "serial":
        assert "HLT_a" not in required.fields
    with pytest.raises(errors.FieldError, match=r"No column 'HLT_a' in 1 of the 3 files .*a.parquet\.\n.*"):
        required.HLT_a
    with pytest.raises(errors.DisagreementError, match=r"No column 'HLT_b' in 1 of the 3 files .*/b\.parquet\."):
        run(required.HLT_b)
    with pytest.raises(errors.DisagreementError, match=r"7 cannot stand for 'HLT_b'"):
        differing("[optional]\nHLT_b = 7\n")


# references


JET, MUON = '[collections.Jet]\ncolumns = "jet_{field}"\n', '[collections.Muon]\ncolumns = "mu_{field}"\n'
BACK = '[[references]]\nfrom = "Jet"\nindex = "jet"\nto = "Muon"\nname = "muons"\ninverse = true\n'


def test_references_that_are_wrong(opened, says):
    keyed = '[[references]]\nfrom = "a"\nindex = "b"\nto = ["c", "d"]\nname = "e"\nkey = "k"\n'
    says(opened, keyed)
    says(opened, f'keys = "podio"\n{keyed}inverse = true\n')
    says(opened, f'keys = {{ tree = "metadata" }}\n{keyed}')
    says(opened, f'keys = "root"\n{keyed}')
    says(opened, '[[references]]\nindex = "b"\nto = "d"\nname = "e"\n')
    two = '[[columns]]\nmatch = "jet_{field}"\nto = "All.{field}"\nkey = "jets"\n'
    says(opened, f'keys = "podio"\n{two}[[columns]]\nmatch = "mu_{{field}}"\nto = "All.{{field}}"\n')
    says(lambda: opened(MUON + 'derived = { far = "sqrt(px**2 + pz**2)" }\n').Muon.far)


@pytest.mark.parametrize("engine", ["auto", "interpreter"])
def test_indices_that_lead_nowhere(opened, says, engine):
    """Beyond the end, an error or None, as the schema says; negative, None."""

    def run(x):
        try:
            return compute(x, engine=engine).to_list()
        except errors.HepgraphError as error:
            error.__notes__ = []
            raise

    says(run, opened(JET + MUON + BACK, mu_jet=[[2], [-1], []]).Jet.muons.px)
    for bad in (2, -1, -7):
        events = opened(JET + MUON + BACK + 'beyond = "none"\n', mu_jet=[[bad], [-1], []])
        assert run(events.Jet.muons.px) == [[[], []], [], [[]]]


def test_references_in_a_circle(opened):
    """Each is followed as far as it is written: that parents are each other's costs nothing."""
    text = '[[references]]\nfrom = "Jet"\nindex = "nsub"\nto = "Jet"\nname = "{}"\n'
    events = opened(JET + text.format("parent") + text.format("children") + "inverse = true\n",
                    jet_nsub=[[1, 0], [], [0]])  # fmt: skip
    jets = events.Jet
    assert compute(jets.parent.pt).to_list() == [[4.0, 5.0], [], [3.0]]
    assert compute(jets.parent.parent.parent.pt).to_list() == [[4.0, 5.0], [], [3.0]]
    assert compute(jets.children.children.pt).to_list() == [[[[5.0]], [[4.0]]], [], [[[3.0]]]]


def test_versions_in_a_circle(opened, tmp_path):
    (tmp_path / "other.toml").write_text('name = "other"\nversions = [{ use = "my.toml", has = ["met"] }]\n')
    with pytest.raises(errors.SchemaError, match=r"other\.toml uses my\.toml for this file, which leads back to .*my"):
        opened('versions = [{ use = "other.toml", has = ["met"] }]\n')
    assert hg.schema_of(opened('versions = [{ use = "other.toml", has = ["met"] }]\n', met=None)).name == "mine"


def test_a_schema_goes_before_the_one_that_it_extends(opened, tmp_path):
    text = '[[references]]\nfrom = "Muon"\nindex = "jet"\nto = "Jet"\nname = "its"\n'
    (tmp_path / "below.toml").write_text(f'name = "below"\n{JET}{MUON}{text}')
    beyond = [[5], [-1], []]
    with pytest.raises(errors.DisagreementError, match="'mu_jet' is 5 where Jet has 2 elements"):
        compute(opened('extends = "below.toml"\n', mu_jet=beyond).Muon.its.pt)
    found = opened(f'extends = "below.toml"\n{text}beyond = "none"\n', mu_jet=beyond).Muon.its.pt
    assert compute(found).to_list() == [[None], [None], []]
