// Joins plugin.js to the world step-hook: `onStep(args, at, tensors, host)` changes the tensors that it is given.
import assets from "gesso:plugin/assets@0.2.0";
import call from "gesso:plugin/call@0.1.0";
import "gesso:plugin/tensors@0.2.0";
import * as plugin from "../plugin.js";
import { Host, StepTensor, answered, consoleOn } from "./host.js";

globalThis.console = consoleOn(call);

export function onStep(args, at, given) {
  return answered(call, () => {
    const there = Object.entries(given).map(([name, tensor]) => [name, tensor && new StepTensor(tensor)]);
    plugin.onStep(JSON.parse(args), at, Object.fromEntries(there), new Host({ call, assets }));
  });
}
