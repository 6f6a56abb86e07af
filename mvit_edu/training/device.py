"""On which device, and in which precision, a training computes (Chapter 8)."""

from __future__ import annotations

import torch

from mvit_edu.distributed import launched, launched_ranks


def pick_device(name: str = "auto") -> torch.device:
    """ "auto": a GPU if there is one; otherwise the device of that name. Under `torchrun`, "cuda" is one's own GPU.

    Raises:
        ValueError: there is no such device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    ranks = launched_ranks()
    if name == "cuda" and launched():
        if ranks.local_rank >= torch.cuda.device_count():
            raise ValueError(
                f"This host has {torch.cuda.device_count()} GPUs and {ranks.local_size} processes; start one for each "
                "GPU (--nproc-per-node), or take device cpu."
            )
        name = f"cuda:{ranks.local_rank}"
    elif name.startswith("cuda:") and ranks.local_size > 1:
        raise ValueError(
            f"{ranks.local_size} processes of this host cannot share the device {name!r}; give cuda, and each "
            "takes its own GPU."
        )
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"The device {name!r} cannot be used here; try auto, cpu or cuda.") from error
    return device


def pick_precision(name: str, device: torch.device) -> str:
    """ "auto": "bf16" on a GPU that computes with it, "fp32" elsewhere; otherwise the name itself."""
    if name == "auto":
        return "bf16" if device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    return name


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Inside it, layers compute in bfloat16 if that is the precision; the weights stay float32."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")
