// Draws a request with several seeds. All drawings are asked for before the first is waited for, so that they share the
// device's steps.

import { Arguments } from "./.kit/arguments.js";

/**
 * @param {string} title
 * @param {import("gesso-plugin").Params} params
 * @param {unknown[]} args
 * @param {import("gesso-plugin").Picture[]} initImages
 * @param {import("gesso-plugin").Picture | null} mask
 * @param {import("gesso-plugin").Host} host
 * @returns {import("gesso-plugin").Made[]}
 */
export function run(title, params, args, initImages, mask, host) {
  const count = Math.trunc(new Arguments(args, host).number(0, "Seeds", [1, 16]));
  const first = params.seed ?? 0;
  const seeds = Array.from({ length: count }, (_, index) => first + index);
  const jobs = seeds.map((seed) => host.generate({ ...params, seed }, initImages, mask));
  return jobs.flatMap((job) => {
    const { images, infotexts } = job.finish();
    return images.map((picture, index) => ({ picture, infotext: infotexts[index] }));
  });
}
