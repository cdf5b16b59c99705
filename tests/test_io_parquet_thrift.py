"""What pyarrow does not tell of a Parquet footer: what it writes is found, anything else is refused."""

import base64
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from drawing import examples
from hypothesis import example, given, settings
from hypothesis import strategies as st

import hepgraph as hg
from hepgraph.errors import DamagedFileError, MissingColumnError, SourceError
from hepgraph.io.parquet import footer
from hepgraph.io.parquet import source as parquet
from hepgraph.io.parquet.thrift import ColumnChunk, chunks


def footer_of(path):
    with open(path, "rb") as file:
        return parquet._footer(file)


def histograms(data):
    return [[chunk.definition for chunk in group] for group in chunks(data)]


def test_histograms(tmp_path):
    path = tmp_path / "x.parquet"
    lists = [[1, None], [], None, [2, 3, None]]
    table = pa.table(
        {"flat": [1, 2, 3, 4], "x": lists, "s": [{"a": 1}, {"a": None}, None, {"a": 2}], "t": list("abcd")}
    )
    pq.write_table(table, path, row_group_size=2)
    found = histograms(footer_of(path))
    assert [[sum(levels) for levels in group] for group in found] == [[2, 3, 2, 2], [2, 4, 2, 2]]
    assert [group[1] for group in found] == [[0, 1, 1, 1], [1, 0, 1, 2]]  # None, empty, None inside, a value
    assert [group[2] for group in found] == [[0, 1, 1], [1, 0, 1]]


@settings(max_examples=examples(50), deadline=None)
@given(
    st.lists(st.none() | st.lists(st.none() | st.lists(st.none() | st.integers(0, 9), max_size=3), max_size=3)),
    st.integers(1, 4),
    st.integers(0, 40),
)
def test_histograms_of_lists_of_lists(tmp_path_factory, rows, group, more):
    path = tmp_path_factory.mktemp("t") / "x.parquet"
    kind = pa.list_(pa.list_(pa.int32()))
    columns = {f"more{i}": pa.array(range(len(rows))) for i in range(more)}
    meta = {f"key{i}": "v" * i for i in range(more)}
    table = pa.table({**columns, "x": pa.array(rows, kind)}).replace_schema_metadata(meta)
    pq.write_table(table, path, row_group_size=group)
    found = [levels[-1] for levels in histograms(footer_of(path))]
    inner = [item for row in rows if row for item in row]
    leaves = [leaf for item in inner if item for leaf in item]
    wanted = [
        sum(row is None for row in rows),
        sum(row == [] for row in rows),
        sum(item is None for item in inner),
        sum(item == [] for item in inner),
        sum(leaf is None for leaf in leaves),
        sum(leaf is not None for leaf in leaves),
    ]
    assert np.sum([levels for levels in found if levels], axis=0).tolist() == wanted or not rows


@settings(max_examples=examples(300), deadline=None)
@given(st.binary(max_size=60))
@example(b"\x1c" * 5000)
@example(b"\x19\xf2\xff\xff\xff\xff\xff\xff\xff\x7f")
def test_what_is_no_footer_is_refused_or_says_nothing(data):
    with suppress(ValueError):
        assert all(isinstance(group, list) for group in histograms(data))
    with pytest.raises(ValueError, match=r"^these bytes are not the footer of a Parquet file$"):
        histograms(b"\x19" + data[:0])


@pytest.mark.parametrize("told", [[[[]]], [[[1, 1, 1, 1]]], [[[], []]], []])
def test_columns_stay_nullable_where_the_file_does_not_say(tmp_path, monkeypatch, told):
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"x": [[1.0], []]}), path)
    assert hg.from_parquet(path).x.typestr == "## * var * float64"
    said = [[ColumnChunk(levels, [], False, False) for levels in group] for group in told]
    monkeypatch.setattr(footer, "chunks", lambda data: iter(said))
    parquet._footers.clear()
    parquet.handles.clear()
    assert hg.from_parquet(path).x.typestr == "## * option[var * ?float64]"


# None, [{"x": 1.0}] and [], written by pyarrow 21, whose statistics say that there are no nulls
MISCOUNTED = (
    "c-oavy$ZrW3{KAyi+f5BZs=mEP(_7q1#xq55C<m*OF2;Rr?yr5M8283k6_wTTwDy7zx%%AE?Ldj69Nh-2nabqLgiRc%X{{XZ18{F"
    "vJtEZCfm*qpasa3+YlVglf6F0Bp?)y!Jcp#F(EV^^LWUM2I%UeKIwCnQLoR$5^R)8Di0L(WFJ8;jJPgnsYXf6v7ZJX&x-!|u~a-I"
    "@Ke#i<Hj2yni;BI=vnN*chfk#-gGfc(sUSS+2!Hhb(SA4XLmXojYngt6qmeMSG>Ou3tKc4"
)


def test_lists_of_records_are_missing_where_the_statistics_miscount_them(tmp_path):
    path = tmp_path / "x.parquet"
    path.write_bytes(zlib.decompress(base64.b85decode(MISCOUNTED)))
    assert pq.ParquetFile(path).metadata.row_group(0).column(0).statistics.null_count == 0
    lazy = hg.from_parquet(path).a
    assert lazy.typestr == "## * option[var * a[x: float64]]"
    assert lazy.compute(executor="serial", progress=False).to_list() == [None, [{"x": 1.0}], []]


def test_sizes_that_do_not_fit_are_refused_before_pyarrow_ends_the_process(tmp_path):
    path, damaged = tmp_path / "x.parquet", tmp_path / "damaged.parquet"
    pq.write_table(pa.table({"x": [[1.0], [], None], "n": [1, 2, 3], "t": list("abc")}), path)
    good, raw, meta = path.read_bytes(), footer_of(path), pq.read_metadata(path)
    said = []
    for at in range(len(raw) - 8):
        changed = bytearray(raw)
        changed[at] = (changed[at] + 16) % 256
        with suppress(ValueError, NotImplementedError):
            footer._told(meta, bytes(changed))
            continue
        damaged.write_bytes(good[: -len(raw)] + changed)
        with pytest.raises((DamagedFileError, MissingColumnError), match=r"damaged\.parquet") as caught:
            hg.from_parquet(damaged)
        said.append(str(caught.value))
    assert any("the sizes that it states of column 'x.list.element' do not fit its type" in each for each in said)


def test_row_groups_have_as_many_rows_as_the_file(tmp_path):
    path, damaged = tmp_path / "x.parquet", tmp_path / "damaged.parquet"
    pq.write_table(pa.table({"x": [1, 2, 3]}), path, row_group_size=2, store_schema=False, write_statistics=False)
    good, raw = path.read_bytes(), footer_of(path)
    said = []
    for at in range(len(raw) - 8):
        changed = bytearray(raw)
        changed[at] ^= 64
        damaged.write_bytes(good[: -len(raw)] + changed)
        try:
            assert hg.from_parquet(damaged)._origin.source.entries == 3
        except SourceError as error:
            said.append(str(error))
    assert all("damaged.parquet" in each for each in said)
    assert any("its row groups have" in each for each in said)


@pytest.mark.parametrize("plaintext", [True, False])
def test_encrypted_files_are_refused(tmp_path, plaintext):
    encryption = pytest.importorskip("pyarrow.parquet.encryption")

    class Keys(encryption.KmsClient):
        def wrap_key(self, key, name):
            return key.hex()

        def unwrap_key(self, key, name):
            return bytes.fromhex(key)

    secret = encryption.EncryptionConfiguration("footer", column_keys={"c": ["x"]}, plaintext_footer=plaintext)
    factory = encryption.CryptoFactory(lambda config: Keys())
    properties = factory.file_encryption_properties(encryption.KmsConnectionConfig(), secret)
    path, table = tmp_path / "x.parquet", pa.table({"x": [1, 2], "y": [1.0, 2.0]})
    with pq.ParquetWriter(path, table.schema, encryption_properties=properties) as file:
        file.write_table(table)
    wanted = r"x\.parquet: .*column 'x' is encrypted" if plaintext else r"x\.parquet is an encrypted Parquet file"
    with pytest.raises((MissingColumnError, DamagedFileError), match=wanted):
        hg.from_parquet(path)


def test_the_sample_has_no_options():
    """Its schema allows None everywhere, and it has empty lists, which count as nulls: only the levels tell."""
    events = hg.from_parquet(Path(__file__).resolve().parents[1] / "data" / "sample.parquet", schema="nanoaod")
    assert "?" not in events.typestr
    assert "option" not in events.typestr
