"""Runs in which things go wrong: the result is as if nothing had, or lacks exactly what the report says.

HEPGRAPH_FAULTS says how many faults are drawn, HEPGRAPH_SEED from which number.
"""

import os
import random
import shutil
import warnings
from pathlib import Path

import pytest
from faulting import Faults, analysis, check_short, fileset_in, run, same, write

import hepgraph as hg
from hepgraph.errors import (
    AccessError,
    DamagedFileError,
    IncompleteWarning,
    MissingFileError,
    SourceError,
)

pytestmark = pytest.mark.usefixtures("no_waiting")

FAULTS = int(os.environ.get("HEPGRAPH_FAULTS", "30"))
SEED = int(os.environ.get("HEPGRAPH_SEED", "0"))


# files that change while they are read


def test_replicas(tmp_path):
    fileset = fileset_in(write(tmp_path), "root")
    plain, _ = run(fileset)
    copies = {
        name: [f"{tmp_path}/none/{name}.root", f"{tmp_path}/copy/{name}.root", f"{tmp_path}/{name}.root"]
        for name in "abc"
    }
    (tmp_path / "copy").mkdir()
    for name in "abc":
        shutil.copy(tmp_path / f"{name}.root", tmp_path / "copy")
    many = {"data": [copies["a"], copies["b"]], "mc": [copies["c"]]}
    out, report = run(many)
    assert same(out, plain)
    assert {row.path for row in report.rows} == {paths[0] for paths in copies.values()}
    known = hg.preprocess(many, cache=False, executor="serial")
    shutil.rmtree(tmp_path / "copy")
    assert same(run(known)[0], plain)
    (tmp_path / "a.root").unlink()
    with pytest.raises(MissingFileError) as caught:
        run(known)
    assert sum("another place of the same file" in note for note in caught.value.__notes__) == 2


def test_a_replica_of_other_content_is_not_read(tmp_path):
    write(tmp_path)
    known = hg.preprocess({"x": [[f"{tmp_path}/a.root", f"{tmp_path}/b.root"]]}, cache=False, executor="serial")
    (tmp_path / "a.root").unlink()
    with pytest.raises(SourceError):
        run(known)


# drawn at random


@pytest.mark.parametrize("seed", range(SEED, SEED + FAULTS))
def test_faults_drawn_at_random(tmp_path, seed, monkeypatch):
    rng = random.Random(seed)
    suffix = rng.choice(["root", "parquet"])
    options = {"executor": rng.choice(["serial", "threads"]), "step_size": rng.choice([5, 10, 20])}
    fileset = fileset_in(write(tmp_path), suffix)
    keep = tmp_path / "keep"
    shutil.copytree(tmp_path, keep, ignore=shutil.ignore_patterns("keep"))
    plain, _ = run(fileset, executor="serial", step_size=options["step_size"])
    if rng.random() < 0.5:
        options["checkpoint"] = tmp_path / "cp"
    faults = Faults(monkeypatch)
    victim = tmp_path / f"{rng.choice('abc')}.{suffix}"
    starts = range(0, 40, options["step_size"])
    kind = rng.choice(["deleted", "truncated", "replaced", "passing", "stuck", "interrupted", "memory"])
    when = rng.randint(1, 120 // options["step_size"])
    match kind:
        case "deleted":
            faults.at[when] = victim.unlink
        case "truncated":
            faults.at[when] = lambda: os.truncate(victim, rng.randint(0, victim.stat().st_size - 1))
        case "replaced":
            faults.at[when] = lambda: shutil.copy(
                tmp_path / f"{rng.choice('abc'.replace(victim.stem, ''))}.{suffix}", victim
            )
        case "passing":
            for name in "abc":
                faults.add(name, rng.choice(starts), TimeoutError("slow"), times=rng.randint(1, 3))
        case "stuck":
            for name in "abc":
                faults.add(name, rng.choice(starts), rng.choice([DamagedFileError("bad"), AccessError("busy")]))
        case "interrupted":
            faults.add(victim.stem, rng.choice(starts), KeyboardInterrupt())
        case "memory":
            faults.add(victim.stem, rng.choice(starts), MemoryError(), longer_than=rng.randint(1, 9))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", IncompleteWarning)
            out, report = run(fileset, on_error="skip", **options)
    except KeyboardInterrupt as error:
        report = error.report
    except SourceError as error:
        if "Nothing of dataset" not in str(error):
            raise
        report = error.report
    else:
        if report.complete:
            assert out["pt"].to_list() == plain["pt"].to_list()
            assert out["h"] == plain["h"]
            if kind != "memory":
                assert same(out, plain)
            return
        check_short(out, report)
    faults.plan.clear()
    faults.at.clear()
    shutil.copy2(keep / victim.name, victim)
    if "checkpoint" not in options:
        options["resume"] = report
    out, again = run(fileset, **options)
    assert again.complete
    assert again.events == 120
    assert same(out, plain)


def spoil(pt, path, how):
    """Deletes or truncates a file, from the worker that comes first."""
    if len(pt) > 3 and os.path.exists(path) and os.path.getsize(path) > 100:
        os.unlink(path) if how == "deleted" else os.truncate(path, 100)
    return pt


@pytest.mark.parametrize("how", ["deleted", "truncated"])
def test_a_file_that_goes_away_under_real_processes(tmp_path, how):
    fileset = fileset_in(write(tmp_path))

    def process(events):
        pt = hg.map_partitions(spoil, events.MET.pt, str(tmp_path / "c.parquet"), how)
        return {**analysis(events), "pt": pt, "h": hg.Hist.new.Reg(8, 0, 80, name="met").Double().fill(pt)}

    fileset = {"all": fileset["data"] + fileset["mc"]}
    with pytest.warns(IncompleteWarning):
        out, report = run(fileset, process, on_error="skip", executor=hg.executors.Processes(1))
    check_short(out, report)
    assert {Path(row.path).stem for row in report.failed} == {"c"}
    assert len({row.worker for row in report.rows}) == 1
    assert str(os.getpid()) not in report.rows[0].worker
