"""Values as web UIs take them from clients: a number may be written as text, a whole number with a point, a switch as 0 or 1 or
as text. Knows no request.

A table names what is read, in the order that a list has it:

    OPTIONS = {"enabled": lax.flag(True), "depth": lax.whole(4, 1, 16), "model": lax.text()}

What has no default must be there; None is a default, too.
"""

import copy
import json
import math
import re
from dataclasses import dataclass
from typing import Any, Callable, Mapping, NoReturn, Sequence

from gesso_plugin import InvalidInput

_REQUIRED: Any = object()
_NUMERAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
# No longer than 64 bits are: what is longer is no number that anyone means.
_DIGITS = re.compile(r"[+-]?[0-9]{1,19}")
_INT_MIN, _INT_MAX, _UINT_MAX = -(1 << 63), (1 << 63) - 1, (1 << 64) - 1
# What the other kits strip, too: `str.strip` without them would take ASCII's separators along.
_SPACE = "\t\n\v\f\r \x85\xa0\u1680" + "".join(map(chr, range(0x2000, 0x200B))) + "\u2028\u2029\u202f\u205f\u3000"
# Numbers beyond are no longer exact where they have a point.
_EXACT_MAX = 1 << 53


@dataclass(frozen=True)
class Kind:
    """How one value is read, and what stands for one that is left out. `read` raises `InvalidInput`."""

    read: Callable[[Any], Any]
    default: Any = _REQUIRED


Table = Mapping[str, Kind]


def flag(default: bool | None = _REQUIRED) -> Kind:
    """A switch: true or false, 0 or 1, or such a word."""
    return Kind(_flag, default)


def whole(default: int | None = _REQUIRED, least: int | None = None, most: int | None = None) -> Kind:
    """A whole number; the bounds are allowed."""
    return Kind(_bounded(_integer, "a whole number", least, most), default)


def number(default: float | None = _REQUIRED, least: float | None = None, most: float | None = None) -> Kind:
    """Any number; the bounds are allowed."""
    return Kind(_bounded(numeral, "a number", least, most), default)


def text(default: str | None = _REQUIRED) -> Kind:
    def read(value: Any) -> str:
        return value if isinstance(value, str) else _refuse(value, "a text")

    return Kind(read, default)


def one_of(choices: Sequence[str], default: str | None = _REQUIRED) -> Kind:
    """One of these texts, as they are written."""
    names = [f"`{choice}`" for choice in choices]
    expected = " or ".join(names) if len(names) < 3 else f"one of {', '.join(names)}"

    def read(value: Any) -> str:
        if not isinstance(value, str):
            _refuse(value, expected)
        if value not in choices:
            raise InvalidInput(f"unknown variant `{value}`, expected {expected}")
        return value

    return Kind(read, default)


def list_of(kind: Kind, default: Sequence[Any] | None = _REQUIRED) -> Kind:
    def read(value: Any) -> list[Any]:
        return [kind.read(item) for item in value] if isinstance(value, list) else _refuse(value, "a list")

    return Kind(read, default)


def anything(default: Any = None) -> Kind:
    """As the client sent it."""
    return Kind(lambda value: value, default)


def from_value(value: Any, table: Table) -> dict[str, Any]:
    """An object or a list by a table. What is null counts as left out; what the table does not name, and what stands behind its
    last in a list, is nobody's.

    `InvalidInput` begins with the name of what is wrong, or with its place where it is in a list."""
    if isinstance(value, list):
        places = enumerate(zip(table, value), 1)
        given = {name: (f"number {place} of the list", item) for place, (name, item) in places}
    elif isinstance(value, dict):
        given = {name: (name, item) for name, item in value.items()}
    else:
        _refuse(value, "a list or an object")
    return {name: _field(name, kind, *given.get(name, (name, None))) for name, kind in table.items()}


def _field(name: str, kind: Kind, where: str, value: Any) -> Any:
    if value is None:
        if kind.default is _REQUIRED:
            raise InvalidInput(f"missing field `{name}`")
        # A plugin may add to a list that it was given; the next call has the default again.
        return copy.copy(kind.default)
    try:
        return kind.read(value)
    except InvalidInput as wrong:
        raise InvalidInput(f"{where}: {wrong}") from None


def numeral(value: Any) -> int | float | None:
    """The number that a value is or, where it is text, says."""
    if isinstance(value, str):
        value = trimmed(value)
        value = float(value) if _NUMERAL.fullmatch(value) else None
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return value if is_number and math.isfinite(value) else None


def trimmed(text: str) -> str:
    return text.strip(_SPACE)


def shown(value: Any) -> str:
    """A value in the words of the client, JSON."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def shown_number(number: float) -> str:
    """Without a point where it is whole."""
    return str(int(number)) if float(number).is_integer() else str(number)


def _flag(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    said = trimmed(value).lower() if isinstance(value, str) else value
    if said in (1, "true", "on", "yes", "1"):
        return True
    if said in (0, "false", "off", "no", "0"):
        return False
    _refuse(value, "a boolean")


def _integer(value: Any) -> int | None:
    if isinstance(value, str) and _DIGITS.fullmatch(trimmed(value)):
        said = int(trimmed(value))
        return said if _INT_MIN <= said <= _INT_MAX else None
    said = numeral(value)
    if isinstance(said, float):
        return int(said) if said.is_integer() and abs(said) <= _EXACT_MAX else None
    return said if said is not None and _INT_MIN <= said <= _UINT_MAX else None


def _bounded(reader: Callable[[Any], Any], what: str, least: float | None, most: float | None) -> Callable[[Any], Any]:
    expected = what
    if least is not None and most is not None:
        expected = f"{what} between {shown_number(least)} and {shown_number(most)}"
    elif least is not None:
        expected = f"{what} of at least {shown_number(least)}"
    elif most is not None:
        expected = f"{what} of at most {shown_number(most)}"

    def read(value: Any) -> Any:
        said = reader(value)
        if said is None:
            _refuse(value, expected)
        if (least is not None and said < least) or (most is not None and said > most):
            raise InvalidInput(f"invalid value: {_named(said)}, expected {expected}")
        return said

    return read


def _refuse(value: Any, expected: str) -> NoReturn:
    raise InvalidInput(f"invalid type: {_named(value)}, expected {expected}")


def _named(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return f"boolean `{shown(value)}`"
        case int():
            return f"integer `{value}`"
        case float():
            return f"floating point `{value}`"
        case str():
            return f"string {shown(value)}"
        case list():
            return "sequence"
    return "map"
