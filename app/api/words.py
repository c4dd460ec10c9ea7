"""Figures in words, as the page has them in ``format.js``.

Every function takes the API's units: fractions, bytes, seconds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime

#: What stands where nothing was measured.
NOTHING = "\N{EN DASH}"

_THOUSAND = 1000
_UNITS = ("B", "kB", "MB", "GB", "TB")


def count(number: int) -> str:
    """Return the number with its thousands apart.

    >>> count(283994)
    '283,994'
    """
    return f"{number:,}"


def counted(number: int, noun: str) -> str:
    """Return the number and its noun, in the plural where it needs one.

    >>> counted(1, "layer"), counted(2000, "sample")
    ('1 layer', '2,000 samples')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def size(number: int) -> str:
    """Return bytes with three significant digits, in decimal units.

    >>> size(999), size(1174885), size(11743)
    ('999 B', '1.17 MB', '11.7 kB')
    """
    if number < _THOUSAND:
        return f"{number} {_UNITS[0]}"
    power = min(int(math.log10(number)) // 3, len(_UNITS) - 1)
    value = number / _THOUSAND**power
    digits = max(0, 2 - int(math.log10(value)))
    return f"{value:.{digits}f} {_UNITS[power]}"


def percent(fraction: float, digits: int = 1) -> str:
    """Return a share, all its digits written so that figures below each other line up.

    >>> percent(0.9), percent(0.99123, digits=2)
    ('90.0 %', '99.12 %')
    """
    return f"{100 * fraction:.{digits}f} %"


def short_percent(fraction: float) -> str:
    """Return a share with a digit after the point only where it says something.

    >>> short_percent(0.9), short_percent(0.125)
    ('90 %', '12.5 %')
    """
    return f"{percent(fraction).removesuffix(' %').removesuffix('.0')} %"


def figure(number: float) -> str:
    """Return a loss or an error with four significant digits.

    >>> [figure(number) for number in (0.0, 0.12345, 12.346, 0.00001234)]
    ['0', '0.1235', '12.35', '1.23e-05']
    """
    if number == 0:
        return "0"
    magnitude = math.floor(math.log10(abs(number)))
    if not -4 <= magnitude <= 3:  # noqa: PLR2004 - where digits end being easy to count
        return f"{number:.2e}"
    return f"{number:.{min(4, 3 - magnitude)}f}"


def signed(text: str) -> str:
    """Return a written number with its sign, and a real minus.

    >>> signed("0.5"), signed("1,234"), signed("-0.00")
    ('+0.5', '+1,234', '±0.00')
    """
    if float(text.replace(",", "")) == 0:
        return f"±{text.removeprefix('-')}"
    return f"\N{MINUS SIGN}{text[1:]}" if text.startswith("-") else f"+{text}"


def milliseconds(time: float) -> str:
    """Return a time of a prediction.

    >>> milliseconds(1.5)
    '1.50 ms'
    """
    return f"{time:.2f} ms"


def duration(seconds: float) -> str:
    """Return a time for the eye.

    >>> duration(42.4), duration(200), duration(7300)
    ('42 s', '3 min 20 s', '2 h 1 min')
    """
    minutes, rest = divmod(round(seconds), 60)
    if not minutes:
        return f"{rest} s"
    hours, minutes_left = divmod(minutes, 60)
    return f"{hours} h {minutes_left} min" if hours else f"{minutes} min {rest} s"


def moment(time: datetime) -> str:
    """Return the date and the time of day, in UTC."""
    return f"{time:%Y-%m-%d %H:%M} UTC"


def shape(sizes: Sequence[int]) -> str:
    """Return a shape for the eye.

    >>> shape((8,)), shape(())
    ('8', 'scalar')
    """
    return " \N{MULTIPLICATION SIGN} ".join(map(str, sizes)) or "scalar"


def title(name: str) -> str:
    """Return a metric's name as a heading.

    >>> title("mean_squared_error")
    'Mean squared error'
    """
    words = name.replace("_", " ")
    return words[:1].upper() + words[1:]
