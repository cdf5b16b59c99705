"""The table of EDM4hep's types: what it takes from definitions of several versions, and what it leaves to names."""

import json
from pathlib import Path

import pytest
import uproot

from hepgraph.datasets.patterns import filled, matched
from hepgraph.datasets.schemafile import load, read_text

yaml = pytest.importorskip("yaml")
from hepgraph.schemas import make_edm4hep  # noqa: E402

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"

OLD = """
components:
  edm4hep::State: {Members: [float D0]}
datatypes:
  edm4hep::Hit:
    Members: ["float EDep // energy", "int32_t quality{9} // 9 if unset"]
  edm4hep::Particle:
    Members: [float mass, "edm4hep::Vector3f momentum [GeV] // at the vertex"]
    OneToManyRelations: ["edm4hep::Particle parents // those before"]
  edm4hep::Track:
    Members: [float chi2]
    VectorMembers: [edm4hep::State states, "int32_t numbers // of hits"]
    OneToManyRelations: [edm4hep::Hit hits]
    OneToOneRelations: [edm4hep::Particle first]
"""
NEW = """
components:
  edm4hep::State: {Members: [float D0]}
datatypes:
  edm4hep::Hit3D:
    Members: ["float eDep [GeV]", int32_t quality]
  edm4hep::HitPlane:
    Members: ["float eDep [GeV]", int32_t quality, float du]
  edm4hep::Particle:
    Members: [double mass, "edm4hep::Vector3d momentum [GeV]"]
    OneToManyRelations: [edm4hep::Particle parents]
  edm4hep::Track:
    Members: [float chi2, int32_t ndf]
    VectorMembers: [edm4hep::State states]
    OneToManyRelations: [edm4hep::Hit hits]
interfaces:
  edm4hep::Hit: {Types: [edm4hep::Hit3D, edm4hep::HitPlane]}
links:
  edm4hep::TrackParticleLink: {From: edm4hep::Track, To: edm4hep::Particle}
  edm4hep::HitParticleLink: {From: edm4hep::Hit, To: edm4hep::Particle}
"""


@pytest.fixture
def made(tmp_path, capsys):
    """The schema of two versions."""
    for name, text in (("old", OLD), ("new", NEW)):
        (tmp_path / f"{name}.yaml").write_text(text)
    make_edm4hep.main([str(tmp_path / "old.yaml"), str(tmp_path / "new.yaml")])
    return read_text(capsys.readouterr().out, "made")


def placed(schema, branch):
    """Where the first rule that fits puts a branch."""
    for rule in schema.columns:
        if (texts := matched(rule.match, branch)) is not None:
            return filled(rule.to, texts)
    return None


def test_types_are_known_by_fields_that_no_other_has(made):
    kinds = {name: kind.has for name, kind in made.kinds.items()}
    assert kinds == {"Hit": ("EDep",), "Particle": ("mass",), "Track": ("chi2",), "HitPlane": ("du",),
                     "Hit3D": ("eDep",)}  # fmt: skip
    assert list(kinds).index("HitPlane") < list(kinds).index("Hit3D")  # which would fit a plane, too


def test_relations_lead_to_the_types_of_all_versions(made):
    found = {
        (each.of or start, each.name): each.kinds
        for start, some in made.references.items()
        for each in some
    }  # fmt: skip
    assert found == {
        ("Particle", "parents"): ("Particle",),
        ("Track", "hits"): ("Hit", "Hit3D", "HitPlane"),
        ("Track", "first"): ("Particle",),
        ("*TrackParticleLink*", "from"): ("Track",),
        ("*TrackParticleLink*", "to"): ("Particle",),
        ("*HitParticleLink*", "from"): ("Hit3D", "HitPlane"),
        ("*HitParticleLink*", "to"): ("Particle",),
    }


@pytest.mark.parametrize(
    ("branch", "place"),
    [
        ("_My_Tracks_hits.index", "My_Tracks.hits_links.index"),
        ("_My_Tracks_first.collectionID", "My_Tracks.first_links.collectionID"),
        ("_My_Tracks_states.D0", "My_Tracks.states.D0"),
        ("_My_Tracks_numbers", "My_Tracks.numbers"),
        ("My_Tracks.chi2", "My_Tracks.chi2"),
        ("_Others_friends.index", "Others.friends_links.index"),
        ("_Others_values", "Others.values"),
    ],
)
def test_branches_by_the_names_of_relations_and_members(made, branch, place):
    assert placed(made, branch) == place


def test_the_table_that_comes_along_has_what_a_file_says_of_itself():
    """podio writes the definitions into its files."""
    path = DATA / "edm4hep.root"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    with uproot.open(path) as file:
        ((definition, *_),) = file["podio_metadata"]["EDMDefinitions/EDMDefinitions._1"].array().to_list()
    told = make_edm4hep.version(json.loads(definition))
    schema = load("edm4hep_types")
    known = {name: kind.has for name, kind in schema.kinds.items()}
    relations = 0
    for name, one in told.types.items():
        kind = make_edm4hep.found_as(one, known)
        some = [each for each in schema.refers(name) if each.of in (None, kind)]
        for relation, to in one.relations.items():
            (reference,) = [each for each in some if each.name == relation]
            for target in told.interfaces.get(to, [to]):
                assert make_edm4hep.found_as(told.types[target], known) in reference.kinds
            relations += 1
        for vector, has_fields in one.vectors.items():
            assert placed(schema, f"_My_{name}_{vector}{'.x' * has_fields}") == f"My_{name}.{vector}{'.x' * has_fields}"
    assert relations == 31
