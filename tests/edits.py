"""Small packages from text files: with an edit, or with what cannot be tracked; how they are written and imported."""

import importlib
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import awkward as ak

MARK = re.compile("«(.*?)\\|(.*?)»", re.DOTALL)
SHARED = {
    "scaled": {"helpers": "FACTOR = «2|3»\ndef scaled(x): return x * FACTOR\ndef other(x): return x\n"},
    "deep": {
        "consts": "FACTOR = «2|3»\n",
        "helpers": "from stale.consts import FACTOR\ndef scaled(x): return x * FACTOR\n",
        "sub.__init__": "",
        "sub.deep": "from stale.consts import FACTOR\ndef scaled(x): return x * FACTOR\n",
    },
}


@dataclass(frozen=True)
class Package:
    """The texts of a package called `stale` by the names of its modules, of which `main` has `it`."""

    kind: str
    files: dict[str, str]
    needs: str = ""
    told: str = ""

    def write(self, folder: Path, edited: bool = False) -> None:
        """Writes the package into a folder, before or after the edit, in place of another."""
        shutil.rmtree(folder / "stale", ignore_errors=True)
        for name, text in self.files.items():
            path = folder / "stale" / (name.replace(".", "/") + (".txt" if name == "data" else ".py"))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(MARK.sub(lambda found: found[1 + edited], text))


def packages(name: str) -> list[Package]:
    """All packages of a text file, in its order."""
    text = re.sub("^# .*\n", "", (Path(__file__).parent / name).read_text(), flags=re.MULTILINE)
    made = []
    for part in re.split("^=== ", text, flags=re.MULTILINE)[1:]:
        head, _, body = part.partition("\n")
        head, _, told = head.partition(" -> ")
        kind, *words = head.split(" | ")
        options = dict(word.split(" ") for word in words)
        _, *texts = re.split(r"^\[(.*)\]\n", "[main]\n" + body, flags=re.MULTILINE)
        own = dict(zip(texts[::2], texts[1::2], strict=True))
        files = {"__init__": "", **SHARED.get(options.get("with", ""), {}), **own}
        made.append(Package(kind, files, options.get("needs", ""), told))
    return made


def imported() -> object:
    """`it`, of the package that was written last, read anew."""
    forget()
    return importlib.import_module("stale.main").it


def forget() -> None:
    """Forgets the package, and what it registered."""
    for each in [each for each in sys.modules if each.partition(".")[0] == "stale"]:
        del sys.modules[each]
    for key in [key for key, value in ak.behavior.items() if getattr(value, "__module__", "") == "stale.main"]:
        del ak.behavior[key]
    importlib.invalidate_caches()
