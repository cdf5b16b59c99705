"""What tests have in common."""

import os
import re
from contextlib import ExitStack
from pathlib import Path

import pytest
from drawing import examples
from faulting import Faults, fileset_in, write
from hypothesis import settings
from limiting import limited

SNAPSHOTS = Path(__file__).parent / "snapshots"
BREAK = "\n----\n\n"

# what a property test draws, unless it says so itself; HEPGRAPH_FUZZ=10 draws ten times as much
settings.register_profile("hepgraph", max_examples=examples(20))
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


def _written(error, tmp_path, file):
    """An error as text: its type, its words, its notes; without what changes from run to run."""
    lines = [f"{type(error).__name__}: {error}", *getattr(error, "__notes__", [])]
    text = "\n".join(lines).replace(str(tmp_path), "<tmp>").replace(str(file), "<file>")
    text = re.sub(r"<file>:\d+", "<file>:LINE", text)
    text = re.sub(r"0x[0-9a-f]+", "0x...", text)
    return "\n".join(line.rstrip() for line in text.splitlines()) + "\n"


@pytest.fixture
def says(request, tmp_path):
    """Checks what each call raises against the next part of the snapshot of the test; gives the error.

    HEPGRAPH_UPDATE_SNAPSHOTS=1 writes the snapshots again.
    """
    name = re.sub(r"\W+", "_", request.node.name.removeprefix("test_")).strip("_")
    path, update = SNAPSHOTS / f"error_{name}.txt", bool(os.environ.get("HEPGRAPH_UPDATE_SNAPSHOTS"))
    known = path.read_text().split(BREAK) if path.exists() and not update else []
    seen = []

    def check(call, *args, **kwargs):
        with pytest.raises(Exception) as caught:
            call(*args, **kwargs)
        seen.append(_written(caught.value, tmp_path, request.node.path))
        if not update:
            assert len(seen) <= len(known), f"not in {path.name} yet:\n{seen[-1]}"
            assert seen[-1] == known[len(seen) - 1]
        return caught.value

    yield check
    if update:
        path.write_text(BREAK.join(seen))
    else:
        assert len(seen) == len(known), f"{path.name} has {len(known)} messages, the test gave {len(seen)}"


def pytest_terminal_summary(terminalreporter):
    """How many tests of real files were skipped, in one line."""
    skipped = [each for each in terminalreporter.stats.get("skipped", ()) if "shared" in str(each.longrepr)]
    if skipped:
        terminalreporter.write_line(f"{len(skipped)} tests of real files were skipped: ../shared/data is not there")
