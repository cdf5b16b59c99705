"""What tests with clusters of dask share."""

import pytest

# dask's own: sockets and loops of clusters that are closed, in its threads
CLOSING = [
    pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def closing(test):
    """A test that closes a cluster of its own."""
    for mark in CLOSING:
        test = mark(test)
    return test
