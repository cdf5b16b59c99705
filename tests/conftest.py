"""What holds for all tests."""

import pytest

from hepgraph.io import remembered


@pytest.fixture(autouse=True)
def nothing_remembered(monkeypatch):
    """Tests start with what is known of no file, whatever ran before on this machine."""
    monkeypatch.setattr(remembered, "directory", lambda: None)
