"""Prints the tables that the Rust tests of this crate compare against.

    pip install torch diffusers k-diffusion torchsde scipy
    python host/core/tests/reference_tables.py [schedules|samplers|noise|slerp|philox|seeds|brownian]

The numbers come from k-diffusion (schedules, samplers), diffusers (DDIM, PLMS, UniPC, LCM), scipy (beta), torch
(mt19937, norms), numpy (seed sequences) and torchsde (Brownian motion); the closed form below stands in for a network
so that no weights are needed.
"""

import math
import sys

import k_diffusion.sampling as kd
import numpy as np
import torch

from reference_model import SCHEDULES, STEPS, aligned, alphas_cumprod, beta, karras, show, sigma_to_t, table
from reference_samplers import samplers


def schedules():
    for name, make in SCHEDULES.items():
        show(name, make(STEPS))
    # k-diffusion's own functions, in f32, as a check of the two closed forms above.
    show("karras (k-diffusion, f32)", kd.get_sigmas_karras(STEPS, float(table[0]), float(table[-1])))
    show("exponential (k-diffusion, f32)", kd.get_sigmas_exponential(STEPS, float(table[0]), float(table[-1])))
    poly = kd.get_sigmas_polyexponential
    show("polyexponential (k-diffusion, f32)", poly(STEPS, float(table[0]), float(table[-1])))
    show("polyexponential rho 2 (k-diffusion, f32)", poly(STEPS, 0.1, 10.0, rho=2.0))
    for n in (6, 20):
        show(f"align_your_steps {n}", aligned(n))
        show(f"beta {n}", beta(n))
    # As k-diffusion computes them from a tensor of halves: each step is rounded.
    halves = alphas_cumprod.half()
    sigmas = ((1 - halves) / halves) ** 0.5
    for name, values in (("alphas", halves), ("sigmas", sigmas), ("logarithms", sigmas.log())):
        show(f"in halves, {name} 0, 1, 500, 998, 999", [values[i] for i in (0, 1, 500, 998, 999)])
    # Without terminal signal (Lin et al. 2023): shifted to end in 0, scaled to begin as before.
    # In halves the shares of signal are rounded first.
    for name, alphas in (("zero terminal SNR", alphas_cumprod), ("zero terminal SNR in halves", halves.double())):
        root = alphas**0.5
        rescaled = (((root - root[-1]) * root[0] / (root[0] - root[-1])) ** 2).float().double()
        rescaled[-1] = 4.8973451890853435e-08
        show(f"{name} 0, 500, 998, 999", [((1 - rescaled[i]) / rescaled[i]) ** 0.5 for i in (0, 500, 998, 999)])
    show("beta 0.9 1.4", beta(6, 0.9, 1.4))
    from k_diffusion.external import DiscreteSchedule

    discrete = DiscreteSchedule(table.float(), quantize=False)
    show("uniform (k-diffusion, f32)", discrete.get_sigmas(STEPS))
    for sigma in (0.02, 0.0291671582, 0.5, 3.0, 14.0, 20.0):
        show(f"sigma_to_t({sigma})", [discrete.sigma_to_t(torch.tensor(sigma)), sigma_to_t(torch.tensor(sigma, dtype=torch.float64))])


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
    for seed, call in ((0, 0), (0, 1), (2**40 + 7, 2)):
        show(f"philox seed {seed} call {call}", philox_normals(seed, call, 6))


def philox_normals(seed, call, count):
    """Philox 4x32-10 in Python integers, after Salmon et al. 2011; the numbers web UIs call NV."""
    inverse = float(np.float32(2.3283064e-10))
    inverse_tau = float(np.float32(2.3283064e-10 * 6.2831855))
    values = []
    for element in range(count):
        c, k0, k1 = [call, 0, element, 0], seed & 0xFFFFFFFF, seed >> 32
        for _ in range(10):
            a, b = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
            c = [(b >> 32) ^ c[1] ^ k0, b & 0xFFFFFFFF, (a >> 32) ^ c[3] ^ k1, a & 0xFFFFFFFF]
            k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
        u, v = c[0] * inverse + inverse / 2, c[1] * inverse_tau + inverse_tau / 2
        values.append(math.sqrt(-2 * math.log(u)) * math.sin(v))
    return values


def seeds():
    """What numpy makes of a seed and a place in a tree."""
    for entropy, spawn, pool in ((0, (), 4), (42, (3, 2), 24), (2**40 + 7, (0, 0), 24), (2**64 - 1, (2**33 + 5, 34), 24)):
        words = np.random.SeedSequence(entropy, spawn_key=spawn, pool_size=pool).generate_state(4)
        print(f"seed sequence {entropy} {spawn} {pool}", [int(word) for word in words])


def brownian():
    """torchsde's Brownian motion as k-diffusion drives it, by either source of normals."""
    import torchsde._brownian.brownian_interval as interval

    def nv(size, dtype, device, seed):
        return torch.tensor(philox_normals(int(seed), 0, math.prod(size)), dtype=dtype).reshape(size)

    cpu = interval._randn
    shape = torch.zeros(4, 5)
    for source, randn in (("cpu", cpu), ("nv", nv)):
        interval._randn = randn
        for name, seed, sigmas, second_order in (
            ("karras", 7, karras(4), False),
            ("exponential", 2**40 + 3, SCHEDULES["exponential"](5), False),
            ("middle", 7, karras(4), True),
        ):
            levels = sigmas[sigmas > 0].float()
            sampler = kd.BrownianTreeNoiseSampler(shape, levels.min(), levels.max(), seed=seed)
            for sigma, to in zip(levels[:-1], levels[1:]):
                there_and_back = lambda s: s.log().neg().neg().exp()
                pairs = [(sigma, to)]
                if second_order:
                    middle = (sigma.double() * to.double()).sqrt().float()
                    pairs = [(there_and_back(a), there_and_back(b)) for a, b in ((sigma, middle), (sigma, to))]
                for a, b in pairs:
                    drawn = sampler(a, b).reshape(-1)
                    picked = [float(drawn[k]) for k in (0, 7, 19)]
                    print(f"({source!r}, {name!r}, {seed}, {float(a)!r}, {float(b)!r}, {picked}),")
    interval._randn = cpu


if __name__ == "__main__":
    parts = {"schedules": schedules, "samplers": samplers, "noise": noise, "slerp": slerp, "philox": philox}
    parts.update(seeds=seeds, brownian=brownian)
    for part in sys.argv[1:] or parts:
        parts[part]()
