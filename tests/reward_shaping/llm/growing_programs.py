"""Programs made of any operation with arguments of any kind, statement by statement, keeping what is accepted."""

import torch

from cairngym.envs.data import StateField
from cairngym.reward_shaping.llm import allowlist
from cairngym.reward_shaping.llm.program import ProgramRefused, compile_program


def field(*shape, dtype=torch.float32):
    return StateField(shape=shape, unit="", description="A measurement.", dtype=dtype)


SPEC = {
    "x": field(), "a": field(3), "b": field(3), "i": field(3, dtype=torch.int64), "u": field(4, dtype=torch.uint8),
    "n": field(dtype=torch.int64), "cube": field(3, 2, 4),
}  # fmt: skip
ACTION = field(3)
WHOLE = ["0", "1", "-1", "2", "-2", "3", "6", "64", "-64", "4096", "-4096", "10**6", "-10**6", "2**53", "-2**53"]
NUMBERS = [*WHOLE, "1e9", "-1e9", "1e300", "1e-300", "-0.0", "math.inf", "-math.inf", "math.nan", "True", "None"]
SMALL = [
    "-1",
    "-1",
    "1",
    "0",
    "2",
    "-2",
    "3",
    "0.5",
    "2.0",
    "-1.5",
    "True",
    "False",
    "None",
    "(-1,)",
    "(0, 1)",
    "(1, 2)",
]
OTHERS = ["'a'", "(1, 2)", "()", "[]", "(-1,)", "torch.float64", "torch.uint8", "state", "memory", "{'a': 1}", "..."]
SIZES = [
    "(action.shape[0], 4096)", "(action.shape[0], 3)", "(action.shape[0], -1)", "(-1, 3)", "(4096, 4096)",
    "(64, 64, 64)", "(-1, 1, 4000)", "(1, 10**6)", "(1, 3)", "(1, 2, 2)", "(0, 3)", "(2, -1)", "(0, 2, 1)",
]  # fmt: skip
INDICES = [
    ":", "...", ":, 0", "..., 0", ":, None", "..., None", "0", "-1:", "::2", ":, ::2", "..., 1:", ":, -1", "None",
    "..., :", "None, :", "0, :", "..., 0, :", ":, 1:1",
]  # fmt: skip
SYMBOLS = ["+", "-", "*", "/", "//", "%", "**", "&", "|", "^", "<", "==", "!=", ">="]
FIRST = {"input", "other", "x", "y", "x1", "x2", "index", "mask", "condition", "end", "weight", "value"}


def wild(rng, tensors, numbers):
    """Any operation, or function of numbers, with arguments that are mostly of the kind that torch's names tell."""

    def argument(name):
        if rng.random() < 0.1:
            return rng.choice([*tensors, *numbers, *OTHERS, *SIZES])
        if name in FIRST:
            return rng.choice(tensors)
        if name in {"dim", "dim0", "dim1"} and rng.random() < 0.7:
            return rng.choice(["0", "1", "-1", "-2"])
        if name in {"size", "shape", "repeats", "dims", "axes"}:
            return rng.choice([*SIZES, f"({rng.choice(numbers)}, {rng.choice(numbers)})"])
        if name == "tensors":
            return f"[{rng.choice(tensors)}, {rng.choice(tensors)}]"
        return rng.choice(numbers)

    kind = rng.random()
    if kind < 0.1:
        names = [*allowlist.BUILTINS, *(f"math.{name}" for name in sorted(allowlist.MATH))]
        return f"{rng.choice(names)}({', '.join(rng.choice(numbers) for _ in range(rng.randint(1, 3)))})"
    if kind < 0.25:
        symbol = rng.choice(SYMBOLS)
        return f"({rng.choice([*tensors, *numbers])}) {symbol} ({rng.choice([*tensors, *tensors, *numbers, *OTHERS])})"
    if kind < 0.35:
        return f"({rng.choice(tensors)})[{rng.choice(INDICES)}]"
    torch_form = rng.random() < 0.5
    table = allowlist.functions() if torch_form else allowlist.methods()
    sort = rng.choice(sorted({operation.kind for operation in table.values()}))
    name, operation = rng.choice([entry for entry in table.items() if entry[1].kind == sort])
    required = [argument(parameter) for parameter in (*operation.required, operation.variadic) if parameter]
    chance = 0.8 if "dim" in operation.optional else 0.3
    named = [f"{option}={argument(option)}" for option in operation.optional if rng.random() < chance]
    owner = "torch" if torch_form else required.pop(0)
    return f"{owner}.{name}({', '.join([*required, *named])})"


def accepted(lines, extra, parts=()):
    """The program that the lines make, followed by others, with more components; or what is said against it."""
    text = "\n".join(f"    {line}" for line in ["r = -state.x", *lines, *extra])
    components = ", ".join(f"'{name}': {name}" for name in ("r", *parts))
    source = f"def reward(state, action, next_state, memory):\n{text}\n    return r, {{{components}}}\n"
    try:
        compile_program(source, SPEC, action=ACTION)
    except ProgramRefused as refusal:
        return "", refusal.reason
    return source, ""


def grown(rng, statements):
    """A program of some accepted statements whose reward and components depend on all they compute.

    Returns:
        Its source, and the reasons for which others were refused.
    """
    tensors = [*(f"state.{name}" for name in SPEC), "next_state.a", "action", "torch.tensor([1.0, 2.0, 3.0])"]
    lines, reasons, number = [], [], 0
    for _ in range(statements):
        name, made = f"v{number}", wild(rng, tensors, SMALL)
        new = [f"{name} = {made}"]
        if rng.random() < 0.1:
            new += [f"{name} = memory.get('{name}', {name})", f"memory['{name}'] = {name}"]
        source, reason = accepted(lines, new)
        if source:
            lines += new
            tensors += [name, f"{name}[0]"]
            number += 1
        else:
            reasons.append(reason)
    for name in (f"v{i}" for i in range(number)):
        one = f"{name}.float().nan_to_num(0.0, 1.0, -1.0)"
        many, first = f"{one}.flatten(1).sum(dim=-1)", one.replace(".float", "[0].float")
        for end in (one, many, first, many.replace(one, first)):
            if accepted(lines, [f"r = r + {end}"])[0]:
                lines.append(f"r = r + {end}")
                break
    parts = [f"v{i}" for i in range(number) if accepted(lines, [], [f"v{i}"])[0]]
    return accepted(lines, [], parts)[0], reasons
