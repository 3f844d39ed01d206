"""What a reward program may name: torch functions, tensor methods, numbers, and how much of each.

A name that is not here does not exist for a program. Every entry is a pure function of its arguments: it draws no
random numbers, keeps no state, writes to no argument, reads no storage and calls nothing back. What an operation takes
is bounded by the sizes of its arguments and results, which `ledger.Ledger` counts. `docs/security.md` reviews them.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import torch

MAX_CHARACTERS = 20_000
"""Of a source."""
MAX_NODES = 4_000
"""Of its syntax tree."""
MAX_DEPTH = 60
"""Of its syntax tree."""
MAX_BRACKETS = 30
"""Open at once, wherever they stand; keeps the parser itself shallow."""
MAX_CALLS = 8
"""Of helper functions within one another."""
MAX_STEPS = 50_000
"""Expressions and statements evaluated in one call, loops unrolled."""
MAX_OPERATIONS = 2_000
"""Tensor operations in one call, loops unrolled; one that returns several tensors counts as several."""
MAX_ELEMENTS = 4_096
"""Of one tensor, per env; raised to four times the largest state field."""
MAX_BYTES = 2**18
"""Of all results of one call together, per env; raised to 64 floats for each element of the largest state field."""
TEMPORARY_BYTES = 48
"""That an operation may take while it lasts, for each element of its broadcast arguments: six copies of eight bytes."""
MAX_WORK = 2**18
"""Elements that all operations of one call read, per env; raised to 256 times the largest state field."""
MAX_MEMORIES = 16
"""Names in memory."""
MAX_REMEMBERED = 1_024
"""Elements in memory, per env; raised to four times the largest state field."""
MAX_DIFFERENCES = 4
"""Of `diff`, which goes over its tensor as often."""
MAX_DIGITS = 15
"""That `round` keeps, before or behind the point; Python computes 10 to that power."""
MAX_RANK = 6
MAX_ITERATIONS = 64
"""Of one loop."""
MAX_ITEMS = 256
"""Of a tuple, list or dict; of a tensor written out."""
MAX_COMPONENTS = 32
MAX_INTEGER = 2**53

Kind = Literal["elementwise", "reduce", "along", "join", "shape", "create", "like"]


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One function of tensors.

    Its signature is written as torch's parameter names, required ones, then after a bar the optional ones; `dim:-1` has
    that default, `*size` takes one tuple or several numbers.
    """

    name: str
    """As a program writes it: "torch.linalg.norm" or ".norm"."""
    kind: Kind
    """Which rule keeps the envs apart in it."""
    required: tuple[str, ...]
    optional: tuple[str, ...]
    defaults: dict[str, int] = field(default_factory=dict)
    variadic: str = ""

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of all parameters, in order."""
        return (*self.required, *((self.variadic,) if self.variadic else ()), *self.optional)


_UNARY = """abs absolute neg negative positive exp exp2 expm1 log log1p log2 log10 sqrt rsqrt square sin cos tan asin
acos atan arcsin arccos arctan sinh cosh tanh sigmoid relu sign floor ceil trunc frac reciprocal isnan isinf isfinite
logical_not erf deg2rad rad2deg"""
_BINARY = """add sub subtract mul multiply div divide true_divide fmod remainder floor_divide atan2 arctan2 hypot
maximum minimum fmax fmin eq ne lt le gt ge less less_equal greater greater_equal not_equal logical_and logical_or
logical_xor copysign"""
_CUMULATIVE = "softmax log_softmax cumsum cumprod"
_JOINS = "cat concat concatenate"
_CASTS = "float double int long bool"
_REDUCTIONS = "sum mean prod amax amin max min any all std var argmax argmin logsumexp median"

_BOTH: dict[Kind, dict[str, str]] = {
    "elementwise": {
        **dict.fromkeys(_UNARY.split(), "input"),
        **dict.fromkeys(_BINARY.split(), "input other"),
        "round": "input | decimals",
        "pow": "input exponent",
        "clamp": "input | min max",
        "clip": "input | min max",
        "clamp_min": "input min",
        "clamp_max": "input max",
        "lerp": "input end weight",
        "nan_to_num": "input | nan posinf neginf",
        "masked_fill": "input mask value",
    },
    "reduce": {
        **dict.fromkeys(_REDUCTIONS.split(), "input | dim keepdim"),
        "count_nonzero": "input | dim",
        "norm": "input | p dim keepdim",
    },
    "along": {
        **dict.fromkeys(_CUMULATIVE.split(), "input dim"),
        "sort": "input | dim:-1 descending stable",
        "argsort": "input | dim:-1 descending stable",
        "topk": "input k | dim:-1 largest sorted",
        "diff": "input | n dim:-1",
        "flip": "input *dims",
        "gather": "input dim index",
        "cross": "input other | dim:-1",
        "unbind": "input | dim:0",
        "chunk": "input chunks | dim:0",
        "squeeze": "input dim",
    },
    "shape": {
        "reshape": "input *shape",
        "flatten": "input | start_dim:0 end_dim:-1",
        "unsqueeze": "input dim",
        "transpose": "input dim0 dim1",
        "permute": "input *axes",
        "clone": "input",
        "detach": "input",
    },
}
_FUNCTIONS: dict[Kind, dict[str, str]] = {
    "elementwise": {
        "where": "condition input other",
        "nn.functional.relu": "input",
        "nn.functional.leaky_relu": "input | negative_slope",
        "nn.functional.softplus": "input | beta threshold",
        "nn.functional.sigmoid": "input",
        "nn.functional.tanh": "input",
    },
    "reduce": {"linalg.norm": "x | ord dim keepdim", "linalg.vector_norm": "x | ord dim keepdim"},
    "along": {
        "linalg.cross": "input other | dim:-1",
        "linalg.vecdot": "x y | dim:-1",
        "cosine_similarity": "x1 x2 | dim:1 eps",
        "nn.functional.cosine_similarity": "x1 x2 | dim:1 eps",
        "nn.functional.normalize": "input | p dim:1 eps",
        "nn.functional.softmax": "input dim",
        "nn.functional.log_softmax": "input dim",
    },
    "join": {
        **dict.fromkeys(_JOINS.split(), "tensors | dim:0"),
        "stack": "tensors | dim:0",
    },
    "shape": {"broadcast_to": "input size"},
    "create": {
        "zeros": "*size | dtype device",
        "ones": "*size | dtype device",
        "full": "size fill_value | dtype device",
        "tensor": "data | dtype device",
        "as_tensor": "data | dtype device",
        "arange": "start | end step dtype device",
        "linspace": "start end steps | dtype device",
    },
    "like": {
        "zeros_like": "input | dtype device",
        "ones_like": "input | dtype device",
        "full_like": "input fill_value | dtype device",
    },
}
_METHODS: dict[Kind, dict[str, str]] = {
    "elementwise": {
        "where": "input condition other",
        "to": "input dtype",
        **dict.fromkeys(_CASTS.split(), "input"),
    },
    "shape": {
        "view": "input *shape",
        "expand": "input *size",
        "expand_as": "input other",
        "repeat": "input *repeats",
        "contiguous": "input",
    },
}
_PAIRS = {"max": "input other", "min": "input other"}

INTEGER_DIVISIONS = frozenset({"fmod", "remainder", "floor_divide"})
_DTYPES = "float32 float float64 double int64 long int32 int uint8 bool"
DTYPES: dict[str, torch.dtype] = {name: getattr(torch, name) for name in _DTYPES.split()}
CONSTANTS = {name: getattr(math, name) for name in ("pi", "e", "tau", "inf", "nan")}
_MATH = """sqrt exp log log2 log10 log1p expm1 sin cos tan asin acos atan atan2 sinh cosh tanh hypot pow fabs floor ceil
radians degrees copysign isnan isinf isfinite"""
MATH = frozenset(_MATH.split())
BUILTINS: dict[str, Callable[..., Any]] = {
    **{function.__name__: function for function in (abs, bool, float, int, len, max, min, range, round, sum)},
    "enumerate": lambda items: list(enumerate(items)),
    "zip": lambda *lists: list(zip(*lists, strict=False)),
}
"""Iterators become lists, so that going through one twice gives the same."""
PARAMETERS = ("state", "action", "next_state", "memory")
RESERVED = frozenset({*PARAMETERS, *BUILTINS, "torch", "math"})
TENSOR_ATTRIBUTES = frozenset({"shape", "ndim", "dtype", "device"})
PAIR_ATTRIBUTES = frozenset({"values", "indices"})


def gather(input: torch.Tensor, dim: int, index: torch.Tensor) -> torch.Tensor:
    """`torch.gather` with the indices clamped into range: on a GPU one outside would end the whole process."""
    return torch.gather(input, dim, index.clamp(0, input.shape[dim] - 1))


_REPLACED: dict[str, Callable[..., Any]] = {
    "gather": gather,
    "cross": torch.linalg.cross,  # torch.cross without dim takes the first axis of length 3, which may be the batch's
}
REPLACED_METHODS = frozenset({*_REPLACED})


def _operation(name: str, kind: Kind, signature: str) -> Operation:
    before, _, after = signature.partition("|")
    required = before.split()
    variadic = required.pop()[1:] if required and required[-1].startswith("*") else ""
    optional = [part.partition(":") for part in after.split()]
    return Operation(
        name=name, kind=kind, required=tuple(required), variadic=variadic,
        optional=tuple(part[0] for part in optional), defaults={part[0]: int(part[2]) for part in optional if part[2]},
    )  # fmt: skip


@functools.cache
def functions() -> dict[str, Operation]:
    """Every torch function, by its path under `torch`."""
    return {
        name: _operation(f"torch.{name}", kind, signature)
        for table in (_BOTH, _FUNCTIONS)
        for kind, entries in table.items()
        for name, signature in entries.items()
    }


@functools.cache
def methods() -> dict[str, Operation]:
    """Every tensor method; its first parameter is the tensor."""
    return {
        name: _operation(f".{name}", kind, signature)
        for table in (_BOTH, _METHODS)
        for kind, entries in table.items()
        for name, signature in entries.items()
    }


@functools.cache
def pair(name: str) -> Operation:
    """The elementwise form of `max` and `min`, for two tensors."""
    return _operation(name, "elementwise", _PAIRS[name.rpartition(".")[2]])


@functools.cache
def resolve(path: str) -> Callable[..., Any]:
    """The function behind a path under `torch`."""
    if path in _REPLACED:
        return _REPLACED[path]
    found: Any = torch
    for part in path.split("."):
        found = getattr(found, part)
    return found
