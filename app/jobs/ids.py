"""Ids of jobs, models and datasets."""

import secrets
import time
from typing import Literal

#: Crockford's base 32 in lower case: no i, l, o or u, in the order of its values.
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_CHARACTERS = 26
_RANDOM_BITS = 80


def new_id(prefix: Literal["job", "mdl", "dat"]) -> str:
    """Return an id that nobody can guess; ids made later sort later, by the millisecond.

    The form after the prefix is a ULID: 48 bits of milliseconds since 1970, 80 random bits.
    """
    milliseconds = time.time_ns() // 1_000_000
    value = milliseconds << _RANDOM_BITS | secrets.randbits(_RANDOM_BITS)
    digits = (value >> 5 * place & 31 for place in reversed(range(_CHARACTERS)))
    return f"{prefix}_{''.join(_ALPHABET[digit] for digit in digits)}"
