"""The device and the threads that a run computes with."""

from __future__ import annotations

import contextlib
import ctypes
import os

import torch

from ptr_training.errors import TrainingError

from .config import Config


def set_up(config: Config) -> torch.device:
    """Choose the device and the number of threads.

    Raises:
        TrainingError: If PyTorch does not find the device.
    """
    set_up_cpu(config)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = config.tf32
    name = config.device
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(name)
    if device.type != "cuda":
        return device
    if not torch.cuda.is_available():
        raise TrainingError(
            f"device is {name}, but PyTorch finds no GPU; "
            "use --set device=cpu or install its CUDA build"
        )
    if device.index is None:
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    count = torch.cuda.device_count()
    if device.index >= count:
        raise TrainingError(
            f"device is {device}, but PyTorch finds {count} GPUs, cuda:0 to cuda:{count - 1}; "
            "change device, or start fewer processes"
        )
    return device


def set_up_cpu(config: Config) -> None:
    """Use as many threads as the configuration names: those of two processes hinder each other."""
    if config.threads:
        torch.set_num_threads(config.threads)
    keep_freed_memory()


def keep_freed_memory() -> None:
    """Let glibc reuse freed memory: page faults took an eighth of a small CPU step."""
    with contextlib.suppress(OSError, AttributeError):  # another C library
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(-1, 1 << 30)  # M_TRIM_THRESHOLD
        libc.mallopt(-3, 1 << 25)  # M_MMAP_THRESHOLD, the largest that glibc takes
