"""Ends every prompt with a style, which the admin may choose."""

from gesso_plugin import Host


def before(params: dict, host: Host) -> dict:
    style = host.settings.get("style", "oil on canvas")
    return params | {"prompt": styled(params.get("prompt", ""), style)}


def styled(prompt: str, style: str) -> str:
    return f"{prompt}, {style}" if prompt else style
