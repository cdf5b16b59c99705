"""What tests have in common."""

from contextlib import ExitStack

import pytest
from drawing import examples
from faulting import Faults, fileset_in, write
from hypothesis import settings
from limiting import limited

# what a property test draws, unless it says so itself; HEPGRAPH_FUZZ=10 draws ten times as much
settings.register_profile("hepgraph", max_examples=examples(30))
settings.load_profile("hepgraph")


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """Files that stay as they are."""
    return write(tmp_path_factory.mktemp("sound"))


@pytest.fixture
def fileset(sound):
    return fileset_in(sound)


@pytest.fixture
def limit():
    """Sets limits until the test ends."""
    with ExitStack() as stack:
        yield lambda **limits: stack.enter_context(limited(**limits))


@pytest.fixture
def no_waiting(limit):
    """What is tried again is tried at once."""
    limit(wait=0)


@pytest.fixture
def answers(monkeypatch):
    """Has what a method answers kept, each time that it is asked."""

    def of(owner, name):
        found, real = [], getattr(owner, name)

        def asked(self, *args):
            found.append(real(self, *args))
            return found[-1]

        monkeypatch.setattr(owner, name, asked)
        return found

    return of


@pytest.fixture
def faults(monkeypatch):
    return Faults(monkeypatch)


@pytest.fixture(autouse=True)
def nothing_remembered(limit):
    """Tests start with what is known of no file, whatever ran before on this machine."""
    limit(remember=0)


def pytest_terminal_summary(terminalreporter):
    """How many tests of real files were skipped, in one line."""
    skipped = [each for each in terminalreporter.stats.get("skipped", ()) if "shared" in str(each.longrepr)]
    if skipped:
        terminalreporter.write_line(f"{len(skipped)} tests of real files were skipped: ../shared/data is not there")
