"""Joins `plugin.py` to the world http-handler: `handle(request, host)` answers a `Response`. Bodies are whole."""

import plugin
import wit_world
from gesso_plugin import Request, checks
from gesso_plugin.host import Host, answered


class WitWorld:
    def handle(self, request: wit_world.Request) -> wit_world.Response:
        def work():
            path, _, query = request.path.partition("?")
            asked = Request(request.method, path, query, dict(request.headers), request.body)
            answer = plugin.handle(asked, Host())
            body = answer.body.encode() if isinstance(answer.body, str) else checks.data("body", answer.body)
            own = {name.lower(): value for name, value in checks.pairs(answer.headers)}
            headers = {"content-type": answer.content_type} | own
            status = checks.whole("status", answer.status, checks.U16_MAX)
            return wit_world.Response(status, checks.pairs(headers), body)

        return answered(work)
