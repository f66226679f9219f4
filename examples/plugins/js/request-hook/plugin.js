// Ends every prompt with a style, which the admin may choose.

/** @param {import("gesso-plugin").Params} params @param {import("gesso-plugin").Host} host */
export function before(params, host) {
  return { ...params, prompt: styled(params.prompt ?? "", host.settings.style ?? "oil on canvas") };
}

export function styled(prompt, style) {
  return prompt ? `${prompt}, ${style}` : style;
}
