"""The tree of sums, the slow obvious way, for those who make it another way."""


def paired(a, b):
    """A sum that shows in which order, and in which pairs, it was made: no two trees give the same."""
    return f"({a}{b})"


def level_by_level(values):
    """The sum of all, level by level."""
    while len(values) > 1:
        pairs = [values[i : i + 2] for i in range(0, len(values), 2)]
        values = [paired(*pair) if len(pair) == 2 else pair[0] for pair in pairs]
    return values[0]


def letters(count):
    """So many values to add up, each of its own."""
    return [chr(0x4E00 + i) for i in range(count)]
