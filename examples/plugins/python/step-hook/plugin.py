"""Guidance rescale: what guidance makes is brought back to the standard deviation of the prompt's own estimate, and mixed with
what it was (Lin et al. 2023, "Common Diffusion Noise Schedules and Sample Steps are Flawed", equations 15 and 16)."""

from gesso_plugin import Arguments, Host, Moment, StepTensors


def on_step(arguments: list, at: Moment, tensors: StepTensors, host: Host) -> None:
    share = Arguments(arguments).number(0, "Share", (0, 1))
    factor = tensors.positive.reduce("deviation")
    factor.combine("divide", tensors.guided.reduce("deviation"))
    # share * factor + (1 - share), as one factor.
    factor.combine_number("multiply", share)
    factor.combine_number("add", 1 - share)
    tensors.guided.combine("multiply", factor)
