"""Writes a line into its log for each checkpoint that comes into memory."""

from gesso_plugin import Host, LoadedModel


def on_loaded(model: LoadedModel, host: Host) -> None:
    host.log(line(model))


def line(model: LoadedModel) -> str:
    # As web UIs show the hash.
    return f"loaded {model.name} [{model.sha256[:10]}], for {model.kind}"
