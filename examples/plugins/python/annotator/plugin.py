"""Makes a picture's map of few levels. Rows go through in bands, so that a large picture takes no large memory."""

from gesso_plugin import Host, Picture

BAND_ROWS = 256


def annotate(module: str, source: Picture, mask: Picture | None, arguments: dict, host: Host) -> Picture:
    table = levels(int(arguments.get("threshold_a", 4)))
    for first in range(0, source.height, BAND_ROWS):
        rows = source.read_rows(first, min(BAND_ROWS, source.height - first))
        source.write_rows(first, rows.translate(table))
    return source


def levels(count: int) -> bytes:
    """For each level the nearest of `count` levels from black to white."""
    steps = max(count, 2) - 1
    return bytes((level * steps + 127) // 255 * 255 // steps for level in range(256))
