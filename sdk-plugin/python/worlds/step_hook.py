"""Joins `plugin.py` to the world step-hook: `on_step(arguments, at, tensors, host)` changes the tensors that it is given."""

import json

import plugin
from gesso_plugin import Moment, StepTensors
from gesso_plugin.host import Host, StepTensor, answered


class WitWorld:
    def on_step(self, arguments: str, at, given) -> None:
        def work():
            told = {name: getattr(at, name) for name in Moment.__dataclass_fields__}
            moment = Moment(**told | {"point": at.point.name.lower()})
            there = {name: getattr(given, name) for name in StepTensors.__dataclass_fields__}
            lent = {name: StepTensor(tensor) for name, tensor in there.items() if tensor is not None}
            plugin.on_step(json.loads(arguments), moment, StepTensors(**lent), Host())

        return answered(work)
