"""Whether two arrays are the same, to the bit."""

from __future__ import annotations

from typing import Any

import numpy as np


def check(eager: Any, lazy: Any, text: str, where: str = "", signs: bool = True) -> None:
    """Two layouts hold the same: types, lengths, None, and every bit of the numbers (but for the signs of zeros)."""
    eager, lazy = plain(eager), plain(lazy)
    assert eager.length == lazy.length, f"{where}: {eager.length} and {lazy.length} entries"
    if eager.is_unknown or lazy.is_unknown:
        assert eager.length == lazy.length == 0
        return
    if eager.is_option or lazy.is_option:
        masks = [np.asarray(x.mask_as_bool(valid_when=True)) if x.is_option else np.ones(x.length, bool)
                 for x in (eager, lazy)]  # fmt: skip
        assert np.array_equal(*masks), f"{where}: None at other places"
        needless = eager.is_option and not lazy.is_option and masks[0].all()  # awkward keeps some masks without None
        late = lazy.is_option and masks[1].all() and "pad_none" in text  # awkward's type depends on the data there
        assert eager.is_option == lazy.is_option or needless or late, f"{where}: an option in lazy only"
        check(*(x.project() if x.is_option else x for x in (eager, lazy)), text, f"{where}?", signs)
        return
    if eager.is_record:
        assert eager.is_record
        assert lazy.is_record
        assert eager.fields == lazy.fields, f"{where}: fields {eager.fields} and {lazy.fields}"
        for name in eager.fields:
            check(eager[name], lazy[name], text, f"{where}.{name}", signs)
        return
    if eager.is_list:
        assert lazy.is_list, f"{where}: a list in eager only"
        assert np.array_equal(eager.offsets, lazy.offsets), f"{where}: lists of other lengths"
        check(eager.content[: eager.offsets[-1]], lazy.content[: lazy.offsets[-1]], text, f"{where}[]", signs)
        return
    assert eager.is_numpy
    assert lazy.is_numpy, f"{where}: a number in eager only"
    a, b = eager.data, lazy.data
    assert a.dtype == b.dtype, f"{where}: {a.dtype} and {b.dtype}"
    same = (a == b) | ((a != a) & (b != b))
    if signs and a.dtype.kind == "f":
        same &= (np.signbit(a) == np.signbit(b)) | (a != a)
    assert same.all(), f"{where}: {a[~same][:5]} and {b[~same][:5]}"


def plain(layout: Any) -> Any:
    """A layout without what is only another way to store the same."""
    if layout.is_indexed and not layout.is_option:
        return plain(layout.project())
    if layout.is_numpy and layout.data.ndim > 1:
        return plain(layout.to_RegularArray())
    if layout.is_list:
        return layout.to_ListOffsetArray64(True)
    return layout
