"""Writes a line into its log for each picture that is saved."""

from gesso_plugin import Host, SavedPicture


def on_saved(params: dict, picture: SavedPicture, host: Host) -> None:
    host.log(line(picture))


def line(picture: SavedPicture) -> str:
    what = "grid" if picture.is_grid else "picture"
    return f"saved the {what} {picture.path}, {picture.bytes} bytes of {picture.format}"
