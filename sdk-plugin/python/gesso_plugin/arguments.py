"""What clients say to a plugin: the arguments of scripts and step hooks, and what a request holds for a hook. Both are read in
every spelling of clients, and both name what is wrong in the sentence for them."""

import re
from typing import Any, Mapping, Sequence

from gesso_plugin import InvalidInput, lax

_VERSIONED = re.compile(r"(.*) v[0-9][0-9.]*", re.DOTALL)


class Arguments:
    """Arguments of a script or a step hook, in the order of the manifest: numbers and switches as themselves or as text, choices
    by name or by place. What is wrong raises `InvalidInput` with the label of the argument."""

    def __init__(self, values: Sequence[Any]):
        self._values = values

    def flag(self, place: int, label: str) -> bool:
        """A switch; nothing reads as False."""
        value = self._get(place)
        if value is None:
            return False
        if isinstance(value, (bool, int, float)):
            return value != 0
        said = value.lower() if isinstance(value, str) else None
        if said in ("true", "on", "1", "yes"):
            return True
        if said in ("false", "off", "0", "no", ""):
            return False
        raise _wrong(label, value, "true or false")

    def number(self, place: int, label: str, bounds: tuple[float, float]) -> float:
        """A number between two others, both allowed."""
        (least, most), value = bounds, self._get(place)
        said = lax.numeral(value)
        if said is None or not least <= said <= most:
            raise _wrong(label, value, f"a number between {lax.shown_number(least)} and {lax.shown_number(most)}")
        return float(said)

    def text(self, place: int) -> str:
        """Anything that reads as text; nothing is empty."""
        value = self._get(place)
        return "" if value is None else _text(value)

    def texts(self, place: int) -> list[str]:
        """The texts of a list, or one text."""
        value = self._get(place)
        if isinstance(value, list):
            return [_text(item) for item in value]
        return [value] if isinstance(value, str) and value else []

    def choice(self, place: int, label: str, choices: Sequence[str]) -> int:
        """The place among `choices` of one that is named, in any case, or counted from 0."""
        value = self._get(place)
        if isinstance(value, str):
            named = [_folded(choice) for choice in choices]
            said = _folded(lax.trimmed(value))
            if said in named:
                return named.index(said)
        # A bool is an int in Python, and no place in a list.
        elif type(value) is int and 0 <= value < len(choices):
            return value
        raise _wrong(label, value, f"one of {', '.join(choices)}")

    def _get(self, place: int) -> Any:
        return self._values[place] if place < len(self._values) else None


def arguments_of(params: Mapping[str, Any], name: str, table: lax.Table) -> dict[str, Any] | None:
    """What the request says to the plugin `name` under `alwayson_scripts.<name>.args`, by a table of `lax`; None where it says
    nothing. Names are compared without regard to case, as clients of the web UI write titles, and with a version behind them
    or without, as in `Dynamic Prompts v2.17.1`.

    The arguments are an object, or a list: of what the table names in its order, or of one object. What does not fit the table
    raises `InvalidInput`."""
    scripts = params.get("alwayson_scripts")
    if not isinstance(scripts, dict):
        return None
    key = next((key for key in scripts if _is_named(key, name)), None)
    script = scripts.get(key)
    given = script.get("args") if isinstance(script, dict) else None
    if given is None or given == []:
        return None
    if isinstance(given, list) and len(given) == 1 and isinstance(given[0], dict):
        given = given[0]
    try:
        return lax.from_value(given, table)
    except InvalidInput as wrong:
        raise InvalidInput(f"alwayson_scripts.{key}.args cannot be used: {wrong}.") from None


def _is_named(key: str, name: str) -> bool:
    versioned = _VERSIONED.fullmatch(key)
    return _folded(name) in (_folded(key), _folded(versioned[1] if versioned else key))


def _folded(text: str) -> bytes:
    # Bytes know the letters of ASCII alone, as the server does where it compares names.
    return text.encode().lower()


def _text(value: Any) -> str:
    return value if isinstance(value, str) else lax.shown(value)


def _wrong(label: str, value: Any, expected: str) -> InvalidInput:
    return InvalidInput(f"{lax.shown(label)} is {lax.shown(value)}; it must be {expected}.")
