"""Puts the template that a prompt was made of back in its place: plugins that fill templates leave them in the infotext."""

from gesso_plugin import Host, Infotext


def on_infotext(text: str, infotext: Infotext, host: Host) -> Infotext:
    fields = dict(infotext.fields)
    prompt = fields.pop("Template", infotext.prompt)
    return Infotext(prompt, fields.pop("Negative Template", infotext.negative_prompt), fields)
