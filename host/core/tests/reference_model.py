"""What the reference scripts share: the noise table, the schedules in closed form, and a network in closed form that
stands in for a real one, so that no weights are needed. `reference_tables.py` is the command.
"""

import math

import numpy as np
import torch
from scipy import stats

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


ALIGNED = [14.615, 6.475, 3.861, 2.697, 1.886, 1.396, 0.963, 0.652, 0.399, 0.152, 0.029]


def aligned(n):
    xs = np.linspace(0, 1, len(ALIGNED))
    return with_zero(np.exp(np.interp(np.linspace(0, 1, n), xs, np.log(ALIGNED))))


def beta(n, a=0.6, b=0.6):
    quantiles = stats.beta.ppf(1 - np.linspace(0, 1, n), a, b)
    return with_zero(float(table[0]) + quantiles * float(table[-1] - table[0]))


def kl_optimal(n):
    share = torch.arange(n + 1, dtype=torch.float64) / n
    return (share * table[0].atan() + (1 - share) * table[-1].atan()).tan()


SCHEDULES = {
    "uniform": lambda n: spaced(999, 0, n),
    "karras": karras,
    "exponential": lambda n: with_zero(torch.linspace(table[-1].log(), table[0].log(), n, dtype=torch.float64).exp()),
    "sgm_uniform": lambda n: with_zero(spaced(999, 0, n + 1)[:n]),
    "kl_optimal": kl_optimal,
    "simple": lambda n: with_zero([table[-(1 + int(x * 1000 / n))] for x in range(n)]),
    "normal": lambda n: spaced(sigma_to_t(table[-1]), sigma_to_t(table[0]), n),
    "ddim": lambda n: with_zero(table[1 :: max(1000 // n, 1)].flip(0)),
}


def discarding(make, n):
    """A level more, without the one before the last."""
    sigmas = make(n + 1)
    return torch.cat([sigmas[:-2], sigmas[-1:]])


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
