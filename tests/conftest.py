"""What tests have in common."""

import pytest
from faulting import Faults, fileset_in, write

from hepgraph.io import remembered


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """Files that stay as they are."""
    return write(tmp_path_factory.mktemp("sound"))


@pytest.fixture
def fileset(sound):
    return fileset_in(sound)


@pytest.fixture
def no_waiting(monkeypatch):
    """What is tried again is tried at once."""
    monkeypatch.setattr("hepgraph.attempt.WAIT", 0.0)


@pytest.fixture
def faults(monkeypatch):
    return Faults(monkeypatch)


@pytest.fixture(autouse=True)
def nothing_remembered(monkeypatch):
    """Tests start with what is known of no file, whatever ran before on this machine."""
    monkeypatch.setattr(remembered, "directory", lambda: None)
