"""Policies as Warp functions, for kernels that play policy and world together.

`policy_function(policy)` makes `act(genomes, p, obs) -> action`, in float32 what `cairngym.envs.fused.feed_forward`
computes: `genomes` is a `wp.array2d` `(P, policy.size)`, `p` the row, `obs` and `action` are Warp vectors of the
policy's inputs and outputs. The widths are constants in the generated code, so that its loops unroll. A kernel takes
such a function as a closure:

    act = policy_function(policy)

    @wp.kernel(enable_backward=False, module="unique")
    def play(genomes: wp.array2d(dtype=wp.float32), ...) -> None:
        p = wp.tid()
        ...
        action = act(genomes, p, obs)
"""

# No postponed annotations here: Warp reads those of functions made in functions as they are.

import itertools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any

import torch
import warp as wp

from cairngym.envs.fused import FeedForward, check_inputs
from cairngym.envs.warp_setup import start_warp


def launch_place(device: torch.device) -> dict[str, Any]:
    """Arguments of `wp.launch` that put a kernel on torch's device, and on a GPU into torch's stream."""
    stream = {"stream": wp.stream_from_torch(device)} if device.type == "cuda" else {}
    return {"device": str(device), **stream}


def play_all(kernel: wp.Kernel, count: int, inputs: Sequence[Any], threads: int, device: torch.device) -> None:
    """Launch a kernel for `count` policies, shared out among CPU threads; a launch releases the GIL.

    Args:
        kernel: takes the first policy's number, then `inputs`.
        count: policies; none are no launch.
        inputs: the kernel's further arguments.
        threads: how many launches run side by side.
        device: torch's.
    """
    if not count:
        return
    place, wanted = launch_place(device), max(1, min(threads, count))
    edges = [round(i * count / wanted) for i in range(wanted + 1)]
    launches = [
        wp.launch(kernel, dim=stop - start, inputs=[start, *inputs], record_cmd=True, **place)
        for start, stop in itertools.pairwise(edges)
    ]
    if wanted == 1:
        launches[0].launch(**{name: value for name, value in place.items() if name == "stream"})
        return
    with ThreadPoolExecutor(wanted) as pool:
        for done in [pool.submit(launch.launch) for launch in launches]:
            done.result()


@lru_cache(maxsize=64)
def vector(size: int) -> Any:
    """The type of float32 vectors of `size` numbers; one per size, for Warp tells types apart by identity."""
    return wp.types.vector(length=size, dtype=wp.float32)


@wp.func
def squashed(value: wp.float32) -> wp.float32:
    """The sigmoid rescaled to [-1, 1]."""
    return wp.float32(2.0) / (wp.float32(1.0) + wp.exp(-value)) - wp.float32(1.0)


def _layer(fan_in: int, fan_out: int, biases: int, place: int) -> Any:
    """A layer whose numbers begin at `place` of a genome."""
    fan_in_type, fan_out_type = vector(fan_in), vector(fan_out)
    bias = place + fan_in * fan_out
    stride = 1 if biases > 1 else 0

    @wp.func
    def layer(genomes: wp.array2d(dtype=wp.float32), p: int, value: fan_in_type) -> fan_out_type:
        result = fan_out_type()
        for j in range(fan_out):
            total = genomes[p, bias + stride * j]
            for i in range(fan_in):
                total += value[i] * genomes[p, place + i * fan_out + j]
            result[j] = squashed(total)
        return result

    return layer


def _after(first: Any, second: Any, fan_in: int, fan_out: int) -> Any:
    """`second` of `first`."""
    fan_in_type, fan_out_type = vector(fan_in), vector(fan_out)

    @wp.func
    def both(genomes: wp.array2d(dtype=wp.float32), p: int, value: fan_in_type) -> fan_out_type:
        return second(genomes, p, first(genomes, p, value))

    return both


@lru_cache(maxsize=64)
def policy_function(policy: FeedForward) -> Any:
    """The Warp function `act(genomes, p, obs) -> action` of a policy's layout; the same one for equal layouts."""
    place, layers = 0, []
    for fan_in, fan_out in policy.layers:
        biases = policy.biases(fan_out)
        layers.append(_layer(fan_in, fan_out, biases, place))
        place += fan_in * fan_out + biases
    act = layers[0]
    for layer, (_, fan_out) in zip(layers[1:], policy.layers[1:], strict=True):
        act = _after(act, layer, policy.inputs, fan_out)
    return act


@lru_cache(maxsize=64)
def _act_kernel(policy: FeedForward) -> wp.Kernel:
    act_once = policy_function(policy)
    seen_type, inputs, outputs = vector(policy.inputs), policy.inputs, policy.outputs

    @wp.kernel(enable_backward=False, module="unique")
    def act_all(
        genomes: wp.array2d(dtype=wp.float32), obs: wp.array3d(dtype=wp.float32), action: wp.array3d(dtype=wp.float32)
    ) -> None:
        p = wp.tid() // obs.shape[1]
        k = wp.tid() % obs.shape[1]
        seen = seen_type()
        for i in range(inputs):
            seen[i] = obs[p, k, i]
        chosen = act_once(genomes, p, seen)
        for i in range(outputs):
            action[p, k, i] = chosen[i]

    return act_all


def act(genomes: torch.Tensor, policy: FeedForward, obs: torch.Tensor) -> torch.Tensor:
    """What `feed_forward` computes, by the function that fused rollouts act by and so with its rounding.

    Args:
        genomes: float32 `(P, policy.size)`.
        policy: the layers.
        obs: float32 `(P, K, policy.inputs)`.

    Returns:
        `(P, K, policy.outputs)` in [-1, 1].
    """
    check_inputs(genomes, policy, obs)
    start_warp()
    action = torch.empty((*obs.shape[:2], policy.outputs), dtype=torch.float32, device=obs.device)
    arrays = [wp.from_torch(tensor.detach().contiguous()) for tensor in (genomes, obs, action)]
    wp.launch(_act_kernel(policy), dim=len(action) * action.shape[1], inputs=arrays, **launch_place(obs.device))
    return action
