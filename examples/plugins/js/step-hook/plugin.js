// Guidance rescale: what guidance makes is brought back to the standard deviation of the prompt's own estimate, and mixed with
// what it was (Lin et al. 2023, "Common Diffusion Noise Schedules and Sample Steps are Flawed", equations 15 and 16).

import { Arguments } from "./.kit/arguments.js";

/**
 * @param {unknown[]} args
 * @param {import("gesso-plugin").Moment} at
 * @param {import("gesso-plugin").StepTensors} tensors
 * @param {import("gesso-plugin").Host} host
 */
export function onStep(args, at, { positive, guided }, host) {
  const share = new Arguments(args, host).number(0, "Share", [0, 1]);
  const factor = positive.reduce("deviation");
  factor.combine("divide", guided.reduce("deviation"));
  // share * factor + (1 - share), as one factor.
  factor.combineNumber("multiply", share);
  factor.combineNumber("add", 1 - share);
  guided.combine("multiply", factor);
}
