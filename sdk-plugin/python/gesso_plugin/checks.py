"""What crosses to the host has the contract's types. One that is wrong ends the component without a word, so it is brought to
its type or refused here, where a trace says whose it is.
"""

import json
import operator
from typing import Any, Collection, Mapping

from gesso_plugin import InvalidInput

U16_MAX = (1 << 16) - 1
U32_MAX = (1 << 32) - 1
U64_MAX = (1 << 64) - 1


def text(what: str, value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"`{what}` must be text, not {value!r:.80}")
    return value


def data(what: str, value: Any) -> bytes:
    # Of a number, `bytes` would make as many zeros, of an empty object nothing, and of a set an order of its own.
    if not isinstance(value, (str, int, dict, set, frozenset)):
        try:
            return bytes(value)
        except (TypeError, ValueError):
            pass
    remedy = "; `.encode()` makes them of text" if isinstance(value, str) else ""
    raise TypeError(f"`{what}` must be bytes, not {type(value).__name__}{remedy}")


def whole(what: str, value: Any, most: int = U32_MAX) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"`{what}` must be a whole number, not {value!r:.80}") from None
    if not 0 <= number <= most:
        raise ValueError(f"`{what}` must be from 0 to {most}, not {number}")
    return number


def seed(value: Any) -> int:
    """A tensor's, in the words of the other kits."""
    try:
        return whole("seed", value, U64_MAX)
    except (TypeError, ValueError):
        raise InvalidInput(f"a seed is a whole number from 0 to 2^64, not {value!r:.80}") from None


def number(what: str, value: Any) -> float:
    # `float` reads texts and switches, too.
    if not isinstance(value, (str, bytes, bytearray, bool)):
        try:
            return float(value)
        except (TypeError, ValueError, OverflowError):
            pass
    raise TypeError(f"`{what}` must be a number, not {value!r:.80}")


def word(what: str, value: Any, words: Collection[str]) -> str:
    if value not in words:
        raise ValueError(f"`{what}` must be one of {', '.join(words)}, not {value!r:.80}")
    return value


def written(value: Any) -> str:
    """How it stands in a text; None is nothing."""
    return "" if value is None else str(value)


def written_json(what: str, value: Any) -> str:
    try:
        # NaN and the infinities would be words that JSON does not have.
        return json.dumps(value, allow_nan=False)
    except (TypeError, ValueError) as why:
        raise TypeError(f"`{what}` must be what JSON can say: {why}") from None


def pairs(fields: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(str(name), str(value)) for name, value in fields.items()]
