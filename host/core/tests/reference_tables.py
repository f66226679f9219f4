"""Prints the tables that the Rust tests of this crate compare against.

    pip install torch diffusers k-diffusion
    python host/core/tests/reference_tables.py [schedules|samplers|noise|slerp|philox]

The numbers come from k-diffusion (schedules, samplers), diffusers (DDIM) and torch (mt19937, norms); the closed
form below stands in for a network so that no weights are needed.
"""

import math
import sys

import k_diffusion.sampling as kd
import numpy as np
import torch

STEPS = 6

# Stable Diffusion 1: scaled-linear betas, the product in f64, stored as f32, then used as f64.
betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
alphas_cumprod = torch.cumprod(1 - betas, 0).to(torch.float32).to(torch.float64)
table = ((1 - alphas_cumprod) / alphas_cumprod) ** 0.5
log_table = table.log()


def sigma_to_t(sigma):
    """Linear in log sigma, as k-diffusion's DiscreteSchedule does without quantisation."""
    low = int((sigma.log() - log_table >= 0).cumsum(0).argmax().clamp(max=998))
    w = ((log_table[low] - sigma.log()) / (log_table[low] - log_table[low + 1])).clamp(0, 1)
    return (1 - w) * low + w * (low + 1)


def t_to_sigma(t):
    t = torch.as_tensor(t, dtype=torch.float64)
    low, high, w = int(t.floor()), int(t.ceil()), t.frac()
    return ((1 - w) * log_table[low] + w * log_table[high]).exp()


def with_zero(values):
    return torch.tensor([float(v) for v in values] + [0.0], dtype=torch.float64)


def karras(n):
    ramp = torch.linspace(0, 1, n, dtype=torch.float64)
    low, high = table[0] ** (1 / 7), table[-1] ** (1 / 7)
    return with_zero((high + ramp * (low - high)) ** 7)


def spaced(first, last, n):
    return with_zero([t_to_sigma(t) for t in torch.linspace(first, last, n, dtype=torch.float64)])


SCHEDULES = {
    "uniform": lambda n: spaced(999, 0, n),
    "karras": karras,
    "exponential": lambda n: with_zero(torch.linspace(table[-1].log(), table[0].log(), n, dtype=torch.float64).exp()),
    "sgm_uniform": lambda n: with_zero(spaced(999, 0, n + 1)[:n]),
    "simple": lambda n: with_zero([table[-(1 + int(x * 1000 / n))] for x in range(n)]),
    "normal": lambda n: spaced(sigma_to_t(table[-1]), sigma_to_t(table[0]), n),
    "ddim": lambda n: with_zero(table[1 :: max(1000 // n, 1)].flip(0)),
}


def gaussian(x, sigma):
    """The exact denoiser for data drawn from a normal of mean 0.5 and variance 0.64."""
    return (0.64 * x + 0.5 * sigma**2) / (0.64 + sigma**2)


def unet(x, t):
    """Predicts noise from the scaled input and a fractional timestep, as a network would."""
    sigma = t_to_sigma(t)
    x = x * (sigma**2 + 1) ** 0.5
    return (x - gaussian(x, sigma)) / sigma


def model(x, sigma, **_):
    sigma = sigma.reshape(-1)[0]
    return x - sigma * unet(x / (sigma**2 + 1) ** 0.5, sigma_to_t(sigma))


class Draws:
    """Noise that both sides can make: element i of draw k is sin(1 + 2.3 k + 0.7 i); draw 0 is the start."""

    def __init__(self):
        self.k = 0

    def __call__(self, like):
        values = [math.sin(1 + 2.3 * self.k + 0.7 * i) for i in range(like.numel())]
        self.k += 1
        return torch.tensor(values, dtype=torch.float64).reshape(like.shape)


def show(name, values):
    print(f"{name:34} [" + ", ".join(f"{float(v):.12g}" for v in values) + "]")


def schedules():
    for name, make in SCHEDULES.items():
        show(name, make(STEPS))
    # k-diffusion's own functions, in f32, as a check of the two closed forms above.
    show("karras (k-diffusion, f32)", kd.get_sigmas_karras(STEPS, float(table[0]), float(table[-1])))
    show("exponential (k-diffusion, f32)", kd.get_sigmas_exponential(STEPS, float(table[0]), float(table[-1])))
    from k_diffusion.external import DiscreteSchedule

    discrete = DiscreteSchedule(table.float(), quantize=False)
    show("uniform (k-diffusion, f32)", discrete.get_sigmas(STEPS))
    for sigma in (0.02, 0.0291671582, 0.5, 3.0, 14.0, 20.0):
        show(f"sigma_to_t({sigma})", [discrete.sigma_to_t(torch.tensor(sigma)), sigma_to_t(torch.tensor(sigma, dtype=torch.float64))])


def samplers():
    shape = torch.zeros(1, 4, dtype=torch.float64)
    churn = dict(s_churn=3.0, s_tmin=0.4, s_noise=1.01)
    cases = [
        ("dpmpp_2m karras", kd.sample_dpmpp_2m, "karras", {}),
        ("dpmpp_2m sgm_uniform", kd.sample_dpmpp_2m, "sgm_uniform", {}),
        ("euler_a uniform", kd.sample_euler_ancestral, "uniform", {}),
        ("euler_a karras eta 0.4", kd.sample_euler_ancestral, "karras", dict(eta=0.4)),
        ("euler uniform", kd.sample_euler, "uniform", {}),
        ("euler karras churn", kd.sample_euler, "karras", churn),
        ("heun karras", kd.sample_heun, "karras", {}),
        ("heun uniform churn", kd.sample_heun, "uniform", churn),
    ]
    for name, sample, schedule, extra in cases:
        draws = Draws()
        kd.torch.randn_like = draws
        sigmas = SCHEDULES[schedule](STEPS)
        x = draws(shape) * sigmas[0]
        show(name, sample(model, x, sigmas, disable=True, **extra).reshape(-1))

    from diffusers import DDIMScheduler

    for steps, eta in ((5, 0.0), (8, 0.7)):
        draws = Draws()
        scheduler = DDIMScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear",
            clip_sample=False, set_alpha_to_one=False, steps_offset=1,
        )
        scheduler.alphas_cumprod = alphas_cumprod
        scheduler.set_timesteps(steps)
        x = draws(shape)
        # A1111 makes one evaluation less than it has timesteps; diffusers goes on to timestep 0.
        for t in scheduler.timesteps[:-1]:
            noise = draws(shape) if eta else None
            x = scheduler.step(unet(x, t), int(t), x, eta=eta, variance_noise=noise).prev_sample
        show(f"ddim {steps} steps eta {eta}", x.reshape(-1))


def noise():
    for seed in (0, 1, 42, 2**32 + 1, 2**40 + 7, 2**64 - 1):
        for n in (5, 16, 20):
            show(f"seed {seed} randn({n})", torch.randn(n, generator=torch.Generator().manual_seed(seed)))
    g = torch.Generator().manual_seed(7)
    show("seed 7 randn(3)", torch.randn(3, generator=g))
    show("  then randn(16)[:4]", torch.randn(16, generator=g)[:4])
    show("  then randn(3)", torch.randn(3, generator=g))
    big = torch.randn(4 * 64 * 64, generator=torch.Generator().manual_seed(1234)).double()
    show("seed 1234 randn(16384) tail", big[-4:])
    show("  sum, sum of squares", [big.sum(), (big**2).sum()])


def slerp():
    """Two latents of 2 channels, 3 rows and 4 columns; norms along dim 1, as the reference describes."""
    low = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(10))
    high = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(20))
    unit = lambda v: v / torch.linalg.vector_norm(v, dim=1, keepdim=True)
    omega = torch.acos((unit(low) * unit(high)).sum(1, keepdim=True))
    mixed = torch.sin(0.7 * omega) / torch.sin(omega) * low + torch.sin(0.3 * omega) / torch.sin(omega) * high
    show("slerp 0.3", mixed.reshape(-1))


def philox():
    """Philox 4x32-10 in Python integers, after Salmon et al. 2011; the numbers web UIs call NV."""
    inverse = float(np.float32(2.3283064e-10))
    inverse_tau = float(np.float32(2.3283064e-10 * 6.2831855))
    for seed, call in ((0, 0), (0, 1), (2**40 + 7, 2)):
        values = []
        for element in range(6):
            c, k0, k1 = [call, 0, element, 0], seed & 0xFFFFFFFF, seed >> 32
            for _ in range(10):
                a, b = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
                c = [(b >> 32) ^ c[1] ^ k0, b & 0xFFFFFFFF, (a >> 32) ^ c[3] ^ k1, a & 0xFFFFFFFF]
                k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
            u, v = c[0] * inverse + inverse / 2, c[1] * inverse_tau + inverse_tau / 2
            values.append(math.sqrt(-2 * math.log(u)) * math.sin(v))
        show(f"philox seed {seed} call {call}", values)


if __name__ == "__main__":
    parts = {"schedules": schedules, "samplers": samplers, "noise": noise, "slerp": slerp, "philox": philox}
    for part in sys.argv[1:] or parts:
        parts[part]()
