"""Patterns of branch names, as schema files write them: `{collection}_{field}`, `*_begin`.

`{name}` stands for some text without a dot, as short as it can be, `{name*}` for any text, `*` for any text without a
name, also none. There is no other syntax: everything else means itself. A pattern has few such places, and never two
side by side, so that no name takes long to compare.
"""

from __future__ import annotations

import re
from functools import lru_cache

from hepgraph.errors import SchemaError

MOST = 4  # places of a pattern: each multiplies the ways in which a name may fit by its length

_PLACE = re.compile(r"\{(\w+)(\*?)\}|\*")


@lru_cache(maxsize=4096)
def _compiled(pattern: str) -> tuple[re.Pattern[str], frozenset[str]]:
    made, end, names, places = "", 0, [], 0
    for place in _PLACE.finditer(pattern):
        literal = pattern[end : place.start()]
        if "{" in literal or "}" in literal:
            raise SchemaError(f"{pattern!r} has a brace that is not part of a place like {{field}}")
        if places and not literal:
            raise SchemaError(f"{pattern!r} has two places side by side: nothing tells where the first one ends")
        made += re.escape(literal)
        if place[1] in names:
            made += f"(?P={place[1]})"
        elif place[1]:
            made += f"(?P<{place[1]}>{'.+?' if place[2] else '[^.]+?'})"
            names.append(place[1])
        else:
            made += ".*?"
        end, places = place.end(), places + 1
    rest = pattern[end:]
    if "{" in rest or "}" in rest:
        raise SchemaError(f"{pattern!r} has a brace that is not part of a place like {{field}}")
    if places > MOST:
        raise SchemaError(f"{pattern!r} has {places} places; {MOST} are the most that are compared quickly")
    return re.compile(made + re.escape(rest), re.DOTALL), frozenset(names)


def names_of(pattern: str) -> frozenset[str]:
    """The names of the places of a pattern; raises SchemaError if it is none.

    >>> sorted(names_of("{collection}_{field}"))
    ['collection', 'field']
    """
    return _compiled(pattern)[1]


def matched(pattern: str, name: str) -> dict[str, str] | None:
    """The texts that a name has in the places of a pattern; None if it does not fit.

    >>> matched("{collection}_{field}", "Jet_btag_deep")
    {'collection': 'Jet', 'field': 'btag_deep'}
    >>> matched("HLT_*", "MET_pt") is None
    True
    """
    found = _compiled(pattern)[0].fullmatch(name)
    return None if found is None else found.groupdict()


def fits(pattern: str, name: str) -> bool:
    """Whether a name fits a pattern."""
    return pattern == name if "*" not in pattern and "{" not in pattern else matched(pattern, name) is not None


def filled(template: str, texts: dict[str, str]) -> str:
    """A template with the texts in its places.

    >>> filled("{collection}.{field}", {"collection": "Jet", "field": "pt"})
    'Jet.pt'
    """
    return _PLACE.sub(lambda place: texts.get(place[1] or "", place[0]), template)
