"""Counts the words of the text that is posted to it, under `/ext/<id>/`."""

import json

from gesso_plugin import Host, Request, Response


def handle(request: Request, host: Host) -> Response:
    if request.method != "POST":
        return Response(405, json.dumps({"error": "Post a text."}))
    try:
        text = request.body.decode()
    except UnicodeDecodeError:
        return Response(400, json.dumps({"error": "The body is no text in UTF-8."}))
    return Response(200, json.dumps({"words": len(text.split())}))
