"""Files on S3, through s3fs, from a server of the S3 protocol on this machine; where moto and s3fs are installed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from serving import free_port, running

pytest.importorskip("s3fs", reason="s3fs is not installed")
pytest.importorskip("moto.server", reason="moto[server] is not installed")
import boto3  # comes with moto
from hepgraph.processors.adl import AllQueries

import hepgraph as hg
from hepgraph.errors import AccessError, MissingFileError

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # botocore's own
DATA = Path(__file__).resolve().parent.parent / "data"
SECRETS = {"key": "who", "secret": "knows"}


@pytest.fixture(scope="module")
def options():
    """The storage options of a bucket that holds the samples."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    code = f"from moto.server import main; main(['-H', '127.0.0.1', '-p', '{port}'])"
    with running([sys.executable, "-c", code], port):
        names = {"aws_access_key_id": "who", "aws_secret_access_key": "knows", "region_name": "us-east-1"}
        client = boto3.client("s3", endpoint_url=url, **names)
        client.create_bucket(Bucket="events")
        for name in ("sample.root", "sample.parquet"):
            client.upload_file(str(DATA / name), "events", name)
        yield {"endpoint_url": url, **SECRETS}


@pytest.mark.parametrize("executor", ["serial", "threads", "processes"])
@pytest.mark.parametrize("name", ["sample.root", "sample.parquet", "samp*.root"])
def test_the_queries_on_s3(options, name, executor):
    def histograms(path, **given):
        return hg.compute(AllQueries().process(hg.open(path, schema="nanoaod", **given)), executor=executor)

    here = histograms(str(DATA / name))
    there = histograms(f"s3://events/{name}", storage_options=options)
    assert here.keys() == there.keys()
    assert all(here[query] == there[query] for query in here)


def test_what_is_not_there(options):
    with pytest.raises(MissingFileError, match=r"^No such file: s3://events/none\.root\.$"):
        hg.open("s3://events/none.root", storage_options=options)
    nobody = {"endpoint_url": "http://127.0.0.1:9", **SECRETS, "hepgraph": {"tries": 1}}
    with pytest.raises(AccessError, match=r"^Cannot open s3://events/sample\.root: .*127\.0\.0\.1:9"):
        hg.open("s3://events/sample.root", storage_options=nobody)
