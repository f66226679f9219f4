"""Writes into each picture's infotext how bright it is."""

from gesso_plugin import DrawnPicture, Finished, Host, Picture


def finish(params: dict, about: DrawnPicture, picture: Picture, source: Picture | None, host: Host) -> Finished:
    levels = picture.convert("gray8").read_rows(0, picture.height)
    percent = sum(levels) * 100 // (len(levels) * 255)
    return Finished(picture, {"Brightness": f"{percent} %"})
