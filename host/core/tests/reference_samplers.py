"""Where samplers end on the closed-form network: k-diffusion, diffusers, and numpy where neither has the formula.
`reference_tables.py samplers` prints all of it.
"""

import math

import k_diffusion.sampling as kd
import numpy as np
import torch

from reference_model import (
    SCHEDULES, STEPS, Draws, alphas_cumprod, discarding, karras, model, show, t_to_sigma, table, unet, with_zero,
)


def samplers():
    # k-diffusion makes tensors of the default kind on the way.
    torch.set_default_dtype(torch.float64)
    kd_samplers()
    dpm_solvers()
    restart()
    timestep_samplers()
    unipc()
    lcm()
    torch.set_default_dtype(torch.float32)


SHAPE = torch.zeros(1, 4, dtype=torch.float64)


def kd_samplers():
    churn = dict(s_churn=3.0, s_tmin=0.4, s_noise=1.01)
    quiet = dict(eta=0.4, s_noise=1.01)
    heun = dict(solver_type="heun")
    cases = [
        ("dpmpp_2m karras", kd.sample_dpmpp_2m, "karras", {}),
        ("dpmpp_2m sgm_uniform", kd.sample_dpmpp_2m, "sgm_uniform", {}),
        ("dpmpp_sde karras", kd.sample_dpmpp_sde, "karras", {}),
        ("dpmpp_sde karras eta 0.4", kd.sample_dpmpp_sde, "karras", dict(eta=0.4)),
        ("dpmpp_2m_sde exponential", kd.sample_dpmpp_2m_sde, "exponential", {}),
        ("dpmpp_2m_sde exponential eta 0.4", kd.sample_dpmpp_2m_sde, "exponential", dict(eta=0.4)),
        ("dpmpp_2m_sde_heun exponential", kd.sample_dpmpp_2m_sde, "exponential", heun),
        ("dpmpp_2s_a karras", kd.sample_dpmpp_2s_ancestral, "karras", {}),
        ("dpmpp_2s_a karras eta 0.4", kd.sample_dpmpp_2s_ancestral, "karras", quiet),
        ("dpmpp_3m_sde exponential", kd.sample_dpmpp_3m_sde, "exponential", {}),
        ("dpmpp_3m_sde exponential eta 0.4", kd.sample_dpmpp_3m_sde, "exponential", dict(eta=0.4)),
        ("euler_a uniform", kd.sample_euler_ancestral, "uniform", {}),
        ("euler_a karras eta 0.4", kd.sample_euler_ancestral, "karras", dict(eta=0.4)),
        ("euler uniform", kd.sample_euler, "uniform", {}),
        ("euler karras churn", kd.sample_euler, "karras", churn),
        ("lms uniform", kd.sample_lms, "uniform", {}),
        ("lms karras", kd.sample_lms, "karras", {}),
        ("heun karras", kd.sample_heun, "karras", {}),
        ("heun uniform churn", kd.sample_heun, "uniform", churn),
        ("dpm_2 karras", kd.sample_dpm_2, "karras", {}),
        ("dpm_2 karras churn", kd.sample_dpm_2, "karras", churn),
        ("dpm_2_a karras", kd.sample_dpm_2_ancestral, "karras", {}),
        ("dpm_2_a karras eta 0.4", kd.sample_dpm_2_ancestral, "karras", quiet),
    ]
    discard = (kd.sample_dpmpp_3m_sde, kd.sample_dpm_2, kd.sample_dpm_2_ancestral)
    for name, sample, schedule, extra in cases:
        draws = Draws()
        kd.torch.randn_like = draws
        make = SCHEDULES[schedule]
        sigmas = discarding(make, STEPS) if sample in discard else make(STEPS)
        x = draws(SHAPE) * sigmas[0]
        if "_sde" in name:
            # Both sides take the draws above for increments of the Brownian motion.
            extra = dict(extra, noise_sampler=lambda *_: draws(SHAPE))
        show(name, sample(model, x, sigmas, disable=True, **extra).reshape(-1))


def dpm_solvers():
    ends = float(table[0]), float(table[-1])
    for name, n, eta in (("dpm_fast 9", 9, 1.0), ("dpm_fast 8 eta 0", 8, 0.0), ("dpm_fast 7 eta 0.4", 7, 0.4)):
        draws = Draws()
        kd.torch.randn_like = draws
        show(name, kd.sample_dpm_fast(model, draws(SHAPE) * table[-1], *ends, n, eta=eta, disable=True).reshape(-1))
    for name, eta in (("dpm_adaptive eta 0", 0.0), ("dpm_adaptive", 1.0)):
        draws = Draws()
        kd.torch.randn_like = draws
        x = draws(SHAPE) * table[-1]
        x, info = kd.sample_dpm_adaptive(model, x, *ends, eta=eta, disable=True, return_info=True)
        show(name, x.reshape(-1))
        print("   ", info)


def restart():
    """Heun's steps down a Karras schedule; the stretch from about 2 to about 0.1 is noised up and run again."""
    for n, inner, times in ((20, 9, 1), (40, 10, 2)):
        draws = Draws()
        kd.torch.randn_like = lambda like: torch.zeros_like(like)
        base = karras(n - inner * times)
        low, high = (int((base - level).abs().argmin()) for level in (0.1, 2.0))
        x = draws(SHAPE) * base[0]
        x = kd.sample_heun(model, x, base[: low + 1], disable=True)
        again = kd.get_sigmas_karras(inner + 1, float(base[low]), float(base[high]))[:-1]
        for _ in range(times):
            x = x + draws(SHAPE) * (again[0] ** 2 - again[-1] ** 2) ** 0.5
            x = kd.sample_heun(model, x, again, disable=True)
        show(f"restart {n}", kd.sample_heun(model, x, base[low:], disable=True).reshape(-1))


def negative(x, t):
    """What a network says to the negative prompt: data of mean -0.2 and variance 1."""
    sigma = t_to_sigma(t)
    x = x * (sigma**2 + 1) ** 0.5
    return (x - (x - 0.2 * sigma**2) / (1 + sigma**2)) / sigma


def timestep_samplers():
    from diffusers import DDIMScheduler, PNDMScheduler

    betas = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", set_alpha_to_one=False, steps_offset=1)

    def ddim(steps):
        scheduler = DDIMScheduler(clip_sample=False, **betas)
        scheduler.alphas_cumprod = alphas_cumprod
        scheduler.set_timesteps(steps)
        return scheduler

    # Web UIs make one evaluation less than they have timesteps; diffusers goes on to timestep 0.
    for steps, eta in ((5, 0.0), (8, 0.7)):
        draws, scheduler = Draws(), ddim(steps)
        x = draws(SHAPE)
        for t in scheduler.timesteps[:-1]:
            noise = draws(SHAPE) if eta else None
            x = scheduler.step(unet(x, t), int(t), x, eta=eta, variance_noise=noise).prev_sample
        show(f"ddim {steps} steps eta {eta}", x.reshape(-1))
    for name, steps, eta in (("ddim_cfgpp 5", 5, 0.0), ("ddim_cfgpp 8 eta 0.7", 8, 0.7)):
        draws, scheduler = Draws(), ddim(steps)
        x = draws(SHAPE)
        for t in scheduler.timesteps[:-1]:
            noise = draws(SHAPE)
            without = negative(x, t)
            guided = without + 7.0 / 12.5 * (unet(x, t) - without)
            to = int(t) - 1000 // steps
            out = scheduler.step(guided, int(t), x, eta=eta, variance_noise=noise if eta else None).prev_sample
            kept = 1 - alphas_cumprod[to] - eta**2 * scheduler._get_variance(int(t), to)
            x = out + kept**0.5 * (without - guided)
        show(name, x.reshape(-1))
    scheduler = PNDMScheduler(skip_prk_steps=True, **betas)
    scheduler.alphas_cumprod = alphas_cumprod
    scheduler.final_alpha_cumprod = alphas_cumprod[0]
    scheduler.set_timesteps(8)
    x = Draws()(SHAPE)
    for t in scheduler.timesteps[:-1]:
        x = scheduler.step(unet(x, t), int(t), x).prev_sample
    show("plms 8", x.reshape(-1))


def unipc_levels(skip, n):
    """Timesteps, and log signal at them: linear in time between those of the table."""
    log_signal = 0.5 * alphas_cumprod.log().numpy()
    half_snr = lambda log: log - 0.5 * np.log1p(-np.exp(2 * log))
    if skip == "logSNR":
        wanted = np.linspace(half_snr(log_signal[-1]), half_snr(log_signal[0]), n + 1)
        wanted = -0.5 * np.logaddexp(0, -2 * wanted)
        t = np.interp(wanted, log_signal[::-1], np.arange(1000.0)[::-1])
    elif skip == "quadratic":
        t = np.linspace(1, 0.001**0.5, n + 1) ** 2 * 1000 - 1
    else:
        t = np.linspace(1, 0.001, n + 1) * 1000 - 1
    return t, np.interp(t, np.arange(1000.0), log_signal)


def unipc():
    from diffusers import UniPCMultistepScheduler

    cases = [
        ("unipc bh1 order 3", "bh1", 3, "uniform", True),
        ("unipc bh2 order 2", "bh2", 2, "uniform", True),
        ("unipc bh2 logSNR order 3", "bh2", 3, "logSNR", True),
        ("unipc bh1 quadratic no lower", "bh1", 3, "quadratic", False),
    ]
    for name, variant, order, skip, lower in cases:
        timesteps, log_signal = unipc_levels(skip, 8)
        scheduler = UniPCMultistepScheduler(solver_order=order, solver_type=variant, lower_order_final=lower)
        scheduler.set_timesteps(8)
        signal = np.exp(log_signal)
        scheduler.sigmas = torch.tensor((1 - signal**2) ** 0.5 / signal)
        scheduler.timesteps = torch.tensor(timesteps[:-1])
        scheduler.set_begin_index(0)
        x = Draws()(SHAPE)
        for t in scheduler.timesteps:
            x = scheduler.step(unet(x, t), t, x).prev_sample
        show(name, x.reshape(-1))
    unipc_varying()


def unipc_varying():
    """UniPC with varying coefficients: the inverse of the matrix of scaled powers, weighed by the phi functions."""
    steps, most = 8, 3
    timesteps, log_signal = unipc_levels("uniform", steps)
    signal, spread = np.exp(log_signal), np.sqrt(1 - np.exp(2 * log_signal))
    half_snr = log_signal - np.log(spread)
    data = lambda x, i: (x - spread[i] * unet(torch.tensor(x), timesteps[i]).numpy()) / signal[i]

    def update(x, known, i, order, this=None):
        h = half_snr[i] - half_snr[i - 1]
        ratios = [(half_snr[i - 1 - k] - half_snr[i - 1]) / h for k in range(1, order)] + [1.0]
        slopes = [(known[i - 1 - k] - known[i - 1]) / r for k, r in zip(range(1, order), ratios)]
        phis = [math.expm1(-h)]
        for k in range(1, order + 1):
            phis.append(phis[-1] / -h - 1 / math.factorial(k))
        matrix = np.array([[r**k / math.factorial(k + 1) for k in range(order)] for r in ratios])
        x = spread[i] / spread[i - 1] * x - signal[i] * phis[0] * known[i - 1]
        inverse = np.linalg.inv(matrix if this is not None else matrix[:-1, :-1])
        for k in range(order - 1):
            x = x - signal[i] * phis[k + 1] * sum(inverse[k][m] * slopes[m] for m in range(order - 1))
        if this is not None:
            # The authors' code takes the row before the last here.
            x = x - signal[i] * phis[order] * inverse[max(order - 2, 0)][-1] * (this - known[i - 1])
        return x

    corrected = Draws()(SHAPE).numpy()
    known = {0: data(corrected, 0)}
    for i in range(1, steps + 1):
        order = i if i < most else min(most, steps + 1 - i)
        x = update(corrected, known, i, order)
        if i < steps:
            known[i] = data(x, i)
            corrected = update(corrected, known, i, order, known[i])
    show("unipc vary order 3", x.reshape(-1))


def lcm():
    from diffusers import LCMScheduler

    boundary = LCMScheduler(timestep_scaling=10.0)
    known = table[19::20]
    index = torch.linspace(49, 0, 4, dtype=torch.float64)
    low, high = index.floor().long(), index.ceil().long()
    even = with_zero(((1 - index.frac()) * known[low].log() + index.frac() * known[high].log()).exp())
    ramp = torch.linspace(0, 1, 6, dtype=torch.float64)
    uneven = with_zero((known[-1] ** (1 / 7) + ramp * (known[0] ** (1 / 7) - known[-1] ** (1 / 7))) ** 7)
    for name, sigmas in (("lcm 4", even), ("lcm karras", uneven)):
        draws = Draws()
        x = draws(SHAPE) * sigmas[0]
        for sigma, to in zip(sigmas[:-1], sigmas[1:]):
            t = int((sigma.log() - known.log()).abs().argmin()) * 20 + 19
            c_skip, c_out = boundary.get_scalings_for_boundary_condition_discrete(t)
            x = c_skip * x + c_out * (x - sigma * unet(x / (sigma**2 + 1) ** 0.5, t))
            if to > 0:
                x = x + to * draws(SHAPE)
        show(name, x.reshape(-1))
