"""Brings pictures of one colour: a request that says `colour:ff8800` in place of a picture gets an orange square, which nobody
sends or keeps."""

import re

from gesso_plugin import Host, InvalidInput

# Pixels along a side; a request brings the picture to the size that it needs.
SIDE = 64


def fetch(reference: str, host: Host) -> bytes:
    digits = re.fullmatch("[^:]+:([0-9a-fA-F]{6})", reference)
    if digits is None:
        raise InvalidInput(f"{reference[:100]} names no colour; colour:ff8800 is orange")
    return bitmap(*bytes.fromhex(digits[1]))


def bitmap(red: int, green: int, blue: int) -> bytes:
    """A BMP file, the simplest of those that a server reads."""
    pixels = bytes([blue, green, red]) * SIDE * SIDE
    head = b"BM" + words(54 + len(pixels), 0, 54, 40, SIDE, SIDE)
    # One plane of 24 bits, not compressed.
    return head + bytes([1, 0, 24, 0]) + words(0, len(pixels), 0, 0, 0, 0) + pixels


def words(*numbers: int) -> bytes:
    return b"".join(number.to_bytes(4, "little") for number in numbers)
