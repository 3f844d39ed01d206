"""Errors at the public borders: what was expected, what came, how to fix it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from gymnasium import spaces

MAX_SEED = 2**63 - 1


class UnknownNameError(KeyError):
    """A name that is not registered; the message lists the nearest valid ones."""

    def __str__(self) -> str:
        return str(self.args[0])


def unknown_name(kind: str, name: str, valid: Iterable[str]) -> UnknownNameError:
    """Build the error for an unregistered `name`, naming the nearest valid ones.

    Example:
        >>> print(unknown_name("shaper", "potental", ["count", "potential"]))
        Unknown shaper 'potental'. Did you mean 'potential'? Valid: 'count', 'potential'.
    """
    names = sorted(valid)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
    shown = ", ".join(map(repr, names[:20])) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
    return UnknownNameError(f"Unknown {kind} {name!r}.{hint} Valid: {shown}.")


def check_options(kind: str, given: Iterable[str], valid: Iterable[str]) -> None:
    """Raise `TypeError` when `given` holds a keyword that is not in `valid`.

    Raises:
        TypeError: naming the first unknown keyword and the nearest valid one.
    """
    allowed = sorted(valid)
    for name in given:
        if name not in allowed:
            near = difflib.get_close_matches(name, allowed, n=1, cutoff=0.5)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise TypeError(f"{kind} has no option {name!r}.{hint} Valid: {', '.join(allowed) or 'none'}.")


def check_seed(seed: Any) -> int:
    """Return `seed` as an int in [0, 2**63).

    Raises:
        TypeError: if it is not an integer.
        ValueError: if it is out of range.
    """
    if isinstance(seed, bool) or not hasattr(seed, "__index__"):
        raise TypeError(
            f"Expected one integer seed, got {seed!r} ({type(seed).__name__}). Each env derives its own stream from it."
        )
    seed = int(seed)
    if not 0 <= seed <= MAX_SEED:
        raise ValueError(f"Expected a seed in [0, 2**63), got {seed}.")
    return seed


def check_shape(name: str, tensor: torch.Tensor, shape: tuple[int, ...], meaning: str) -> None:
    """Raise `ValueError` unless `tensor.shape == shape`; `meaning` names the axes, e.g. "(num_envs,)"."""
    if tuple(tensor.shape) != shape:
        raise ValueError(f"Expected {name} of shape {shape}, i.e. {meaning}, got {tuple(tensor.shape)}.")


def check_device(device: Any) -> torch.device:
    """Return `device` as a `torch.device` that can be used.

    Raises:
        ValueError: not a device, or CUDA where there is none.
    """
    import torch

    try:
        found = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"Expected device 'cpu' or 'cuda', got {device!r}.") from error
    if found.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            f"Expected a device that PyTorch can use, got {device!r}, but it finds no CUDA GPU. Use device='cpu', or "
            "install a CUDA build of PyTorch on a machine with an NVIDIA GPU."
        )
    return found


def check_dtype(dtype: Any) -> torch.dtype:
    """Return `dtype`, given as torch's or by name, as float32 or float64.

    Raises:
        ValueError: another.
    """
    import torch

    valid = {"float32": torch.float32, "float64": torch.float64}
    name = str(dtype).removeprefix("torch.")
    if name not in valid:
        raise ValueError(f"Expected dtype float32 or float64, got {dtype!r}.")
    return valid[name]


def check_action(action: Any, space: spaces.Space, num_envs: int, device: torch.device) -> torch.Tensor:
    """Return `action` as a tensor on `device`: int64 `(N,)` for Discrete, float32 `(N, *shape)` for Box.

    Values are held against the space where that needs no wait for the device, that is on the CPU.

    Raises:
        TypeError: wrong dtype.
        ValueError: wrong shape, NaN, or out of range.
    """
    import torch
    from gymnasium import spaces

    tensor = torch.as_tensor(action, device=device)
    if isinstance(space, spaces.Discrete):
        check_shape("actions", tensor, (num_envs,), "(num_envs,)")
        if tensor.is_floating_point() or tensor.is_complex() or tensor.dtype is torch.bool:
            raise TypeError(f"Expected integer actions for {space}, got {tensor.dtype}. Convert with actions.long().")
        if device.type == "cpu":
            # By numpy: torch would wake its threads for this, which then spin on the cores that step the worlds.
            values = tensor.numpy()
            low, high = int(values.min()), int(values.max())
            if low < space.start or high >= space.start + space.n:
                raise ValueError(
                    f"Expected actions in [{space.start}, {space.start + space.n - 1}] for {space}, "
                    f"got values from {low} to {high}."
                )
        return tensor.long().contiguous()
    if not isinstance(space, spaces.Box):
        raise TypeError(f"Expected a Discrete or Box action space, got {space}.")
    check_shape("actions", tensor, (num_envs, *space.shape), "(num_envs, *action_shape)")
    if not tensor.is_floating_point():
        raise TypeError(f"Expected floating-point actions for {space}, got {tensor.dtype}.")
    tensor = tensor.to(torch.float32)
    if device.type == "cpu":
        low_bound = torch.as_tensor(space.low)
        high_bound = torch.as_tensor(space.high)
        if not bool(((tensor >= low_bound - 1e-6) & (tensor <= high_bound + 1e-6)).all()):
            raise ValueError(
                f"Expected finite actions within [{space.low.min()}, {space.high.max()}] for {space}, "
                f"got values from {float(tensor.min())} to {float(tensor.max())}. Clip them first."
            )
    return tensor
