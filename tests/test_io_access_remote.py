"""Files behind HTTP: few requests, tried again when the trouble may pass, and a clear error when it does not."""

import io
import re
import time
from pathlib import Path

import awkward as ak
import numpy as np
import pyarrow.parquet
import pytest
import uproot
from baskets import same, write
from hypothesis import given
from hypothesis import strategies as st
from limiting import limited
from serving import serving

import hepgraph as hg
from hepgraph import errors
from hepgraph.io.access import sparse
from hepgraph.io.access.files import edge
from hepgraph.io.access.handles import settings_of
from hepgraph.io.access.ranges import opened
from hepgraph.io.access.remote import AnswerError, Patience, check_answer, may_pass, met, system_options
from hepgraph.io.parquet import source as parquet
from hepgraph.io.parquet.source import open_parquet
from hepgraph.io.root import open_root
from hepgraph.io.source import Need, Partition
from hepgraph.io.trees import handles
from hepgraph.io.ttree.source import layouts
from hepgraph.runner.retry import Policy

XROOTD = "XRootD error: [ERROR] Server responded with an error:"
QUICK = {"hepgraph": {"timeout": 0.5, "tries": 3, "wait": 0.01}}


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """A Parquet file with lists and what may be None, in row groups."""
    rng = np.random.default_rng(1)
    counts = rng.integers(0, 4, 4000)
    jets = ak.zip({"pt": rng.random(counts.sum()), "id": rng.integers(0, 9, counts.sum())})
    array = ak.Array(
        {
            "flat": np.arange(4000),
            "jets": ak.unflatten(jets, counts),
            "some": [None if i % 3 == 0 else {"x": float(i)} for i in range(4000)],
            "noise": rng.random(4000),
        }
    )
    path = tmp_path_factory.mktemp("table") / "t.parquet"
    pyarrow.parquet.write_table(ak.to_arrow_table(array, extensionarray=False), path, row_group_size=1000)
    return path


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    path = write(folder / "a.root", uproot.ZSTD(1))
    with uproot.recreate(folder / "n.root") as file:
        file.mkrntuple("Events", {"x": np.arange(1000), "y": np.arange(1000) / 2})
    return {"a.root": Path(path).read_bytes(), "n.root": (folder / "n.root").read_bytes(), "path": path}


@pytest.fixture
def server(content):
    with serving({name: data for name, data in content.items() if name != "path"}) as mine:
        yield mine
        layouts.clear()
        handles.clear()


def source_of(server, name="a.root"):
    """A source whose file is known, so that all that is asked for from now on are data."""
    source = open_root(f"{server.url}/{name}", storage_options=QUICK)
    source.read(part_of(source, 0, 1), dict.fromkeys(source.columns, Need.DATA))
    server.asked.clear()
    return source


def part_of(source, start=30, stop=100):
    file = source.files[0]
    return Partition(file.path, file.tree, start, stop, start)


def test_near_ranges_are_one_request(server, content):
    source, local = source_of(server), open_root(content["path"])
    names = dict.fromkeys(source.columns, Need.DATA)
    found = source.read(part_of(source), names)
    assert len(server.asked) == 1
    for name, data in local.read(part_of(local), names).items():
        assert same(found[name], data)


def test_far_ranges_are_apart_and_asked_for_once():
    with serving({"x": bytes(range(256)) * 10_000}) as server, opened(f"{server.url}/x", QUICK) as data:
        ranges = [(2_000_000, 2_000_010), (5, 10), (0, 3), (300_000, 300_020), (7, 100)]
        found = data.fetch(ranges)
        assert [bytes(each) for each in found] == [server.files["x"][start:stop] for start, stop in ranges]
        assert sorted(server.asked) == [(0, 100), (300_000, 300_020), (2_000_000, 2_000_010)]


def test_pages_of_ntuples_are_one_request(server):
    source = source_of(server, "n.root")
    found = source.read(part_of(source, 100, 900), {"x": Need.DATA, "y": Need.DATA})
    assert len(server.asked) == 1
    assert found["x"].values.tolist() == list(range(100, 900))
    assert found["y"].values.tolist() == [i / 2 for i in range(100, 900)]


def test_leaves_of_parquet_files_are_few_requests(table):
    local = open_parquet(table)
    with serving({"t.parquet": table.read_bytes()}) as server:
        source = open_parquet(f"{server.url}/t.parquet", storage_options=QUICK)
        assert len(server.asked) <= 6
        for start, stop in ((0, 4000), (1000, 3000), (500, 1700)):
            for names in (["flat"], ["jets.pt"], ["flat", "jets.id", "some.x"], list(source.columns)):
                parquet.kept.clear()
                server.asked.clear()
                needs = dict.fromkeys(names, Need.DATA)
                found = source.read(Partition(source.files[0].path, "", start, stop), needs)
                for name, data in local.read(Partition(local.files[0].path, "", start, stop), needs).items():
                    assert same(found[name], data)
                groups = (stop + 999) // 1000 - start // 1000
                assert len(server.asked) <= max(2, groups)
        parquet.kept.clear()
        server.asked.clear()
        source.read(Partition(source.files[0].path, "", 1000, 2000), {"noise": Need.DATA})
        assert sum(stop - start for start, stop in server.asked) < 0.4 * table.stat().st_size
        server.asked.clear()
        server.trouble = lambda number, where: "503" if number < 2 else None
        source.read(Partition(source.files[0].path, "", 2000, 3000), {"noise": Need.DATA})
        server.trouble = lambda number, where: "503"
        with pytest.raises(errors.AccessError, match=r"Cannot read bytes \d+ to \d+ of http.*503 Service Unavailable"):
            source.read(Partition(source.files[0].path, "", 0, 1000), {"flat": Need.DATA})
        parquet.handles.clear()


@given(
    st.binary(max_size=300),
    st.lists(st.tuples(st.integers(0, 300), st.integers(0, 300)), max_size=5),
    st.lists(st.tuples(st.integers(0, 310), st.integers(-1, 310)), max_size=6),
    st.integers(0, 20),
)
def test_sparse_files_hold_what_the_file_holds(content, ranges, reads, gap):
    class Whole:
        def fetch(self, ranges):
            assert all(0 <= start <= stop <= len(content) for start, stop in ranges)
            return [memoryview(content)[start:stop] for start, stop in ranges]

    ranges = [(min(pair), max(pair)) for pair in ranges if min(pair) <= len(content)]
    with limited(gap=gap):
        before = sparse.fetched(Whole(), [(start, min(stop, len(content))) for start, stop in ranges])
        mine, plain = sparse.SparseFile(Whole(), len(content), before), io.BytesIO(content)
    for at, size in reads:
        assert mine.seek(at) == plain.seek(at)
        assert mine.read(size) == plain.read(size)
        assert mine.tell() == plain.tell()
    assert mine.seek(0, 2) == mine.size() == len(content)


@pytest.mark.parametrize("trouble", ["503", "later", "drop", "cut", "stall"])
def test_what_fails_twice_is_read_the_third_time(server, content, trouble):
    source, local = source_of(server), open_root(content["path"])
    server.trouble = lambda number, where: trouble if number < 2 else None
    found = source.read(part_of(source), {"noise": Need.DATA})
    assert same(found["noise"], local.read(part_of(local), {"noise": Need.DATA})["noise"])
    assert len(server.asked) >= 3
    assert len(set(server.asked)) == 1


def test_only_what_did_not_come_is_asked_for_again():
    with serving({"x": bytes(3_000_000)}) as server, opened(f"{server.url}/x", QUICK) as data:
        failed = []
        server.trouble = lambda number, where: failed.append(1) or "503" if where[0] and not failed else None
        data.fetch([(0, 10), (2_000_000, 2_000_010)])
        assert server.asked.count((0, 10)) == 1
        assert server.asked.count((2_000_000, 2_000_010)) == 2


WHAT = {
    "503": "the server answered 503 Service Unavailable, 3 times",
    "stall": "nothing came for 0.5 s, 3 times",
    "drop": "ServerDisconnectedError: Server disconnected, 3 times",
    "403": "the server answered 403 Forbidden",
}


@pytest.mark.parametrize("trouble", WHAT)
def test_giving_up_names_file_range_and_trouble(server, trouble):
    source = source_of(server)
    server.trouble = lambda number, where: trouble
    with pytest.raises(errors.AccessError) as caught:
        source.read(part_of(source), {"noise": Need.DATA})
    start, stop = server.asked[0]
    url = f"{server.url}/a.root"
    assert str(caught.value) == f"Cannot read bytes {start} to {stop} of {url}: {WHAT[trouble]}."


def test_an_answer_that_ends_early_is_an_error_of_access(server):
    source = source_of(server)
    server.trouble = lambda number, where: "cut"
    with pytest.raises(errors.AccessError, match=r"Cannot read bytes \d+ to \d+ of .*ClientPayloadError: .*, 3 times"):
        source.read(part_of(source), {"noise": Need.DATA})


def test_a_file_that_is_gone_is_not_waited_for(server):
    source = source_of(server)
    server.trouble = lambda number, where: "404"
    with pytest.raises(errors.MissingFileError) as caught:
        source.read(part_of(source), {"noise": Need.DATA})
    assert str(caught.value) == f"No such file: {server.url}/a.root."
    assert len(server.asked) == 1


OTHER = {
    "whole": "The server of {url} does not give parts of files, only whole ones (it answered 200 where bytes {start} "
    "to {stop} were asked for): fetch the file first, and give its path.",
    "shifted": "The server of {url} gave bytes {start+1} to {stop+1} where bytes {start} to {stop} were asked for. "
    "It, or a proxy before it, is at fault: fetch the file first, and give its path, or read it from another server.",
    "short": "The server of {url} gave bytes {start} to {stop-1} where bytes {start} to {stop} were asked for. It, "
    "or a proxy before it, is at fault: fetch the file first, and give its path, or read it from another server.",
    "416": "The server of {url} has no bytes {start} to {stop}: it has {size} (it answered 416). The file is "
    "shorter than it should be, or was replaced: open the dataset again, and if that does not help, copy the file to "
    "its server once more.",
    "page": "The server of {url} answered with a web page where bytes {start} to {stop} were asked for, maybe one to "
    "log in: fetch the file first, and give its path, or give what the server wants in storage_options.",
    "touched": '{url} changed while it was read: its tag was "one", and is "two" now. Open the dataset again.',
    "grown": "{url} changed while it was read: it had {size} bytes, and it has {size+9} bytes now. Open the dataset "
    "again.",
}


def filled(text, **names):
    return re.sub(r"{(\w+)([-+]\d+)?}", lambda m: str(names[m[1]] + int(m[2]) if m[2] else names[m[1]]), text)


@pytest.mark.parametrize("trouble", OTHER)
@pytest.mark.parametrize("name", ["a.root", "n.root", "t.parquet"])
def test_an_answer_with_other_bytes_than_were_asked_for(server, table, name, trouble):
    server.files["t.parquet"] = table.read_bytes()
    if name == "t.parquet":
        source = open_parquet(f"{server.url}/{name}", storage_options=QUICK)
        parquet.kept.clear()
        server.asked.clear()
    else:
        source = source_of(server, name)
    size, column = len(server.files[name]), next(iter(source.columns))
    if trouble == "grown":
        server.files[name] += b"123456789"
    else:
        server.trouble = lambda number, where: trouble
    error = errors.ChangedFileError if trouble in ("touched", "grown") else errors.AccessError
    with pytest.raises(error) as caught:
        source.read(part_of(source, 30, 100), {column: Need.DATA})
    (start, stop), *more = server.asked
    assert str(caught.value) == filled(OTHER[trouble], url=f"{server.url}/{name}", start=start, stop=stop, size=size)
    assert not more, "it is not asked again"
    assert Policy().tries(caught.value) == 1


@pytest.mark.parametrize("trouble", ["whole", "shifted", "416", "page"])
@pytest.mark.parametrize("name", ["a.root", "n.root", "t.parquet"])
def test_files_that_cannot_be_opened_for_the_answers_of_their_server(server, table, name, trouble):
    server.files["t.parquet"] = table.read_bytes()
    server.trouble = lambda number, where: trouble
    parquet.handles.clear()
    with pytest.raises(errors.AccessError) as caught:
        hg.open(f"{server.url}/{name}", storage_options=QUICK)
    assert str(caught.value).startswith(f"The server of {server.url}/{name} ")
    assert re.search("fetch the file|copy the file|is at fault", str(caught.value))


def test_another_tag_of_another_server_is_the_same_file(server, content):
    server.modified = "Wed, 21 Oct 2026 07:28:00 GMT"
    source, local = source_of(server), open_root(content["path"])
    server.trouble = lambda number, where: "touched"
    found = source.read(part_of(source), {"noise": Need.DATA})
    assert same(found["noise"], local.read(part_of(local), {"noise": Need.DATA})["noise"])


def test_a_file_that_was_replaced_between_two_runs_is_opened_as_it_is(server, content):
    source_of(server)
    handles.clear()
    layouts.clear()
    server.trouble = lambda number, where: "touched"
    assert source_of(server).entries == 120


@given(st.integers(0, 50), st.integers(0, 50), st.integers(0, 60), st.integers(0, 60), st.sampled_from([200, 206, 416]),
       st.integers(0, 60), st.booleans())  # fmt: skip
def test_an_answer_is_taken_only_if_it_is_the_range(start, more, first, length, status, size, known):
    """An answer holds the bytes that were asked for, or all that there are of them."""
    asked, headers = (start, start + more), {"Content-Length": str(length)}
    if status == 206:
        headers["Content-Range"] = f"bytes {first}-{first + length}/{size if known else '*'}"
    if status == 416:
        headers["Content-Range"] = f"bytes */{size}"
    met("http://x/y")
    try:
        check_answer("http://x/y", f"bytes={asked[0]}-{asked[1]}", status, headers)
    except AnswerError:
        fine = False
    else:
        fine = True
    if status == 206:
        whole = first + length == asked[1] or (known and first + length + 1 == size and first + length < asked[1])
        assert fine == (first == start and whole)
    elif status == 200:
        assert fine == (start == 0 and length <= asked[1] + 1)
    else:
        assert fine == (size == 0)


def test_opening_is_tried_again(server):
    server.trouble = lambda number, where: "503" if number < 2 else None
    assert open_root(f"{server.url}/a.root", storage_options=QUICK).entries == 120
    handles.clear()
    server.trouble = lambda number, where: "503"
    before = len(server.asked)
    with pytest.raises(errors.AccessError, match="503"):
        open_root(f"{server.url}/a.root", storage_options={"hepgraph": {"tries": 2, "wait": 0}})
    assert len(server.asked) <= before + 2


def test_a_run_over_a_server_with_bad_days(server, content):
    def count(events):
        return {"n": hg.Hist.new.Reg(5, 0, 5, name="n").Double().fill(events.nJet)}

    options = {"schema": "nanoaod", "executor": "threads", "progress": False, "step_size": 20, "report": True}
    plain, _ = hg.run(count, {"a": [content["path"]]}, **options)
    server.trouble = lambda number, where: ["503", "drop", "cut"][number // 10 % 3] if number % 10 == 3 else None
    found, report = hg.run(count, {"a": [f"{server.url}/a.root"]}, storage_options=QUICK, **options)
    assert np.array_equal(found["n"].values(), plain["n"].values())
    assert report.complete


def test_columns_of_a_server_are_cached_until_its_tag_changes(server, tmp_path):
    options = {"storage_options": QUICK, "cache": tmp_path / "cache"}
    total = hg.from_root(f"{server.url}/a.root", **options).noise
    first = hg.compute(total, executor="serial", progress=False)
    server.asked.clear()
    again, report = hg.compute(total, executor="serial", progress=False, report=True)
    assert not server.asked
    assert report.cached == report.bytes
    assert first.to_list() == again.to_list()
    assert len([path for path in (tmp_path / "cache").rglob("*") if path.is_file()]) == 1


# options


def test_time_outs_are_the_users_if_there_are_any():
    assert system_options("https://a/b", {"hepgraph": {"timeout": 7}})["client_kwargs"]["timeout"].sock_read == 7
    mine = {"client_kwargs": {"timeout": 5, "trust_env": True}, "hepgraph": {"tries": 1}}
    found = system_options("https://a/b", mine)
    assert found == system_options("https://a/b", mine), "one file system for all of them"
    (checks,) = found["client_kwargs"].pop("trace_configs")
    assert found == {"client_kwargs": {"timeout": 5, "trust_env": True}}
    traced = {"client_kwargs": {"trace_configs": ["mine"]}}
    assert system_options("https://a/b", traced)["client_kwargs"]["trace_configs"] == ["mine", checks]
    assert system_options("s3://a/b", {"anon": True, "hepgraph": {}}) == {"anon": True}
    assert system_options("/a/b", None) == {}
    assert settings_of(mine)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"retry": 3}, "storage_options['hepgraph'] has no 'retry'; there are timeout, tries, wait"),
        ({"tries": 0}, "timeout must be positive, tries at least 1, and wait not negative: "
                       "Patience(timeout=60.0, tries=0, wait=0.5)"),
    ],
)  # fmt: skip
def test_wrong_options(options, message):
    with pytest.raises(ValueError) as caught:
        Patience.of({"hepgraph": options})
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (FileNotFoundError("x"), False), (PermissionError("x"), False), (ConnectionResetError("x"), True),
        (TimeoutError("x"), True), (OSError("x"), True), (ValueError("x"), False),
        (OSError("XRootD error: [ERROR] Operation expired"), True),
        (OSError(f"{XROOTD} [3005] Unable to read /a; input/output error"), True),
        (OSError(f"{XROOTD} [3010] Unable to open /a; permission denied"), False),
        (OSError(f"{XROOTD} [3011] Unable to open /a; no such file"), False),
    ],
)  # fmt: skip
def test_what_may_pass(error, passes):
    assert may_pass(error) == passes


def test_what_xrootd_says_of_files_that_are_not_there():
    with (
        pytest.raises(errors.MissingFileError, match=r"^No such file: root://host//a\.root\.$"),
        edge("root://host//a.root"),
    ):
        raise OSError(f"{XROOTD} [3011] Unable to locate /a.root; no such file or directory")
    denied = r"^Cannot open root://host//a\.root: OSError: .* permission denied$"
    with pytest.raises(errors.AccessError, match=denied), edge("root://host//a.root"):
        raise OSError(f"{XROOTD} [3010] Unable to open /a; permission denied")


def test_waits_grow_and_heed_the_server(monkeypatch):
    waited = []
    monkeypatch.setattr(time, "sleep", waited.append)
    patience = Patience(wait=1)
    error = OSError("busy")
    for tried in (1, 2, 3, 9):
        patience.pause(tried, error)
    error.headers = {"Retry-After": "7"}
    patience.pause(1, error)
    error.headers = {"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}
    patience.pause(1, error)
    assert waited == [1, 3, 9, 60, 7, 1]


@pytest.mark.parametrize(
    ("path", "options", "error", "says"),
    [
        ("http://127.0.0.1:1/x.root", {}, errors.AccessError, "x.root: ClientConnectorError: Cannot connect to host"),
        ("{}/a.root", {"foo": 1}, errors.FilesetError, "with these storage_options: TypeError: .*argument 'foo'"),
        ("htp://127.0.0.1/x.root", {}, errors.FilesetError, "^htp://127.0.0.1/x.root begins with a protocol that is"),
    ],
)
def test_what_is_not_the_files_fault_is_not_said_to_be(server, path, options, error, says):
    with pytest.raises(error, match=says):
        hg.open(path.format(server.url), storage_options=options)
