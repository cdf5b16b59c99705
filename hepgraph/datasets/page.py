"""Lazy arrays in a notebook: one page of at most 30 kB, from metadata alone.

Rows of fields are plain HTML. Where they would be too many, the page holds their names (`<details>`, one a collection)
and, compressed, the whole, which a few lines of JavaScript put in their place; titles are cut, then fields left out,
until it fits.
"""

from __future__ import annotations

import base64
import html
import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from typing import Any, TypeAlias

from hepgraph.datasets.grouping import Grouping, is_list
from hepgraph.datasets.schema import EventFields, RecordFields
from hepgraph.errors import many
from hepgraph.graph.form import Overlay, record_of, type_of
from hepgraph.io.source import Column
from hepgraph.lazy.array import Lazy

LIMIT = 30_000  # bytes
TEXT = 2_000  # characters of a type
SORTED = 200  # fields of a collection from which on they are in the order of their names: triggers
OUTLINE = 120  # collections that are named without JavaScript

Field: TypeAlias = tuple[str, str, int, str]  # name, type, bytes on disk, title

_STYLE = (
    "<style>.hepgraph>div{max-height:30em;overflow:auto}.hepgraph td{text-align:left;padding:0 1em 0 0}"
    ".hepgraph i{opacity:.6;margin-left:.6em}</style>"
)
_SEARCH = (
    "<input type=search placeholder='search fields' oninput=\"const q=this.value.toLowerCase();"
    "for(const d of this.parentNode.querySelectorAll('details')){let n=0;const a=d.firstChild.firstChild.data+'_';"
    "for(const r of d.querySelectorAll('tr')){r.hidden=!(a+r.textContent).toLowerCase().includes(q);n+=!r.hidden}"
    'd.hidden=!n;d.open=q&&n}">'
)
_UNPACK = (
    "<script>(async()=>{{const a='{alphabet}',s='{packed}',o=[];for(let i=0;i<s.length;i+=5){{let v=0;"
    "for(let j=0;j<5;j++)v=v*85+a.indexOf(s[i+j]);o.push(v>>>24,v>>>16&255,v>>>8&255,v&255)}}"
    "const b=new Blob([new Uint8Array(o).slice(0,{size})]).stream().pipeThrough(new DecompressionStream('deflate'));"
    "const t=await new Response(b).text();document.querySelectorAll('#{name}').forEach(e=>e.innerHTML=t)}})()</script>"
)
_ALPHABET = (
    "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~"  # of base64.b85encode
)


def page(x: Lazy) -> str:
    """A lazy array as HTML: where it comes from, its collections and fields with types, sizes and titles."""
    cuts, parts = len(x._guard), x.npartitions
    cut = f", {many(cuts, 'cut')}" if cuts else ""
    head = f"<b>lazy array</b> of {html.escape(x.source.name)}: {many(parts, 'partition')}{cut}"
    groups = _groups(x)
    if not groups:
        text = x.type.text()
        text = (
            text if len(text) <= TEXT else f"{text[:TEXT].rpartition(chr(10))[0]}\n... {len(text):,} characters in all"
        )
        return f"{head}<pre>{html.escape(text)}</pre>"
    number = sum(len(fields) for fields in groups.values())
    size = sum(size for fields in groups.values() for _, _, size, _ in fields)
    head += (
        f"<br>{many(x.source.entries, 'entry', 'entries')} in {many(len(x.source.files), 'file')}; "
        f"{many(number, 'field')} in {many(len(groups), 'collection')}{f', {_bytes(size)}' if size else ''}<br>"
    )
    for title, most in [*product((200, 60, 48, 36, 28, 20, 0), (10**6,)), *product((0,), (500, 100, 20, 4, 0))]:
        shown = _details(groups, title, most)
        made = f"<div class=hepgraph>{_STYLE}{head}{_SEARCH}<div>{shown}</div></div>"
        if len(made.encode()) >= LIMIT:
            made = f"<div class=hepgraph>{_STYLE}{head}{_SEARCH}{_packed(shown, list(groups))}</div>"
        if len(made.encode()) < LIMIT:
            return made
    return f"<div class=hepgraph>{head}</div>"


def _packed(shown: str, names: Sequence[str]) -> str:
    """The names of the collections, and a script that puts all that is known of them there."""
    packed = zlib.compress(shown.encode(), 9)
    outline = "".join(f"<details><summary>{html.escape(name)}</summary></details>" for name in names[:OUTLINE])
    text, name = base64.b85encode(packed, pad=True).decode(), f"hepgraph{zlib.crc32(packed):08x}"
    script = _UNPACK.format(alphabet=_ALPHABET, packed=text, size=len(packed), name=name)
    return f"<div id={name}>{outline}</div>{script}"


def _details(groups: Mapping[str, Sequence[Field]], title: int, most: int) -> str:
    """Collections, closed unless there is but one, with the first `most` fields of each, and cut titles."""
    out = []
    for name, fields in groups.items():
        size = sum(size for _, _, size, _ in fields)
        told = f"{many(len(fields), 'field')}{f', {_bytes(size)}' if size else ''}"
        rows = [f"<tr><td>{html.escape(n)}<td>{html.escape(t)}<td>{_bytes(b)}<td>{html.escape(_cut(text, title))}"
                for n, t, b, text in fields[:most]]  # fmt: skip
        rows += [f"<tr><td>... and {len(fields) - most:,} more"] if len(fields) > most else []
        opened = " open" if len(groups) == 1 else ""
        summary = f"<summary>{html.escape(name)}<i>{told}</i></summary>"
        out.append(f"<details{opened}>{summary}<table>{''.join(rows)}</table></details>")
    return "".join(out)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1].rstrip()}…" if most else ""


def _bytes(size: int) -> str:
    """A size with two digits, which also pack well."""
    if not size:
        return ""
    value, unit = (size / 1e6, "MB") if size >= 1e6 else (size / 1e3, "kB")
    return f"{value:.0f} {unit}" if value >= 10 else f"{value:.2g} {unit}"


def _groups(x: Lazy) -> dict[str, list[Field]]:
    """The fields of events, or of one of their collections, by collection; nothing for other arrays."""
    record = record_of(x._form)
    if record is None:
        return {}
    fields, own = record.fields, dict[str, Any]()
    while isinstance(fields, Overlay):
        own = {**fields.own, **own}
        fields = fields.below.fields
    added = [(name, type_of(form, 1), 0, "") for name, form in own.items() if name in record]
    match fields:
        case EventFields():
            found = _collections(fields.layout, [name for name in record if name not in own])
            return {**({"added": added} if added else {}), **found}
        case RecordFields():
            columns = _columns(fields.events.layout, fields.name).items()
            told = [_field(name, column) for name, column in columns if name in record and name not in own]
            return {fields.name: [*added, *told]}
    return {}


def _collections(layout: Grouping, names: Iterable[str]) -> dict[str, list[Field]]:
    """Collections, in the order of the file; columns that are in none come last, together."""
    found: dict[str, list[Field]] = {}
    alone: list[Field] = []
    for name in names:
        columns = _columns(layout, name)
        if list(columns) == [name]:
            alone.append(_field(name, columns[name], whole=True))
        else:
            told = [_field(rest, column) for rest, column in columns.items()]
            found[name] = sorted(told) if len(told) > SORTED else told
    return {**found, **({"columns": alone} if alone else {})}


def _columns(layout: Grouping, name: str) -> dict[str, Column]:
    """The columns of a field of the events, by the names that they have in it."""
    nested, split = layout.groups
    if layout.names.get(name) == "split":
        return split[name]
    return {full.removeprefix(f"{name}.") if name else full: column for full, column in nested[name].items()}


def _field(name: str, column: Column, whole: bool = False) -> Field:
    """A column as a field: its type without the lists of its collection, its title where that says anything."""
    kind = column.type.removeprefix("" if whole else "var * ") if is_list(column) else column.type
    bare = re.sub(r"(\[\w+\])*(/\w)?$", "", column.title)
    return (
        name,
        "unreadable" if column.problem else kind,
        column.bytes,
        column.title * (bare not in (column.name, name)),
    )
