"""What a call costs, measured, of any operation with the worst arguments."""

import random

import torch
from growing_programs import NUMBERS, wild
from test_allowlist import ARGUMENTS, SPECIAL
from torch.autograd.profiler import profile

from cairngym.envs.data import StateField
from cairngym.reward_shaping.llm import allowlist
from cairngym.reward_shaping.llm.program import ProgramFailed, ProgramRefused, compile_program

BATCH = 16
SPEC = {
    "a": StateField(shape=(300, 3), unit="", description="Many."),
    "b": StateField(shape=(300, 3), unit="", description="Many."),
    "i": StateField(shape=(300, 3), unit="", description="Indices.", dtype=torch.int64),
    "u": StateField(shape=(900,), unit="", description="Bytes.", dtype=torch.uint8),
    "cube": StateField(shape=(3, 20, 15), unit="", description="A block."),
    "x": StateField(shape=(), unit="", description="One."),
}
HEAD = "def reward(state, action, next_state, memory):\n    r = -state.x\n"
TENSORS = (
    "state.x", "state.a", "state.u", "state.i", "state.cube", "action", "torch.ones(4096)", "torch.ones(4096, 1)",
    "torch.ones(1, 4096)", "torch.tensor(2.0)", "state.a.reshape(action.shape[0], 900)", "(state.x > 0)",
    "state.x[:, None].expand(-1, 4000)", "state.x[:, None].expand(-1, 4000)[:, :, None]",
    "state.x[:, None].expand(-1, 4000)[:, None]",
)  # fmt: skip


def measured(program, seed=0, batch=BATCH):
    """The largest number of bytes that torch holds at any moment of a call, beyond what it held before."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, field in SPEC.items():
        shape = (batch, *field.shape)
        small = torch.randint(0, 3, shape, generator=generator).to(field.dtype)
        state[name] = torch.randn(shape, generator=generator) if field.dtype.is_floating_point else small
    action, memory = torch.zeros(batch, 8), {}
    with profile(profile_memory=True, use_kineto=True) as seen:
        program(state, action, state, memory)
    events = [
        (event.start_ns(), event.nbytes()) for event in seen.kineto_results.events() if event.name() == "[memory]"
    ]
    held = most = 0
    for _, change in sorted(events, key=lambda event: event[0]):
        held += change
        most = max(most, held)
    return most


def calls():
    """Every operation with arguments that are large, each with and without its options."""
    for form, table in (("torch.", allowlist.functions()), (".", allowlist.methods())):
        for name, operation in table.items():
            texts = {**ARGUMENTS, "size": "(state.a.shape[0], 300, 3)", **SPECIAL.get(name, {})}
            texts["repeats"] = "(1, 2, 1)"
            placed = [texts[parameter] for parameter in (*operation.required, operation.variadic) if parameter]
            for full in (False, True):
                named = [f"{p}={texts[p]}" for p in operation.optional if full or p in {"dim", "min", "start_dim"}]
                owner, rest = (placed[0], placed[1:]) if form == "." else ("torch", placed)
                yield f"{owner}.{name}({', '.join([*rest, *named])})"


def tried(call, seed=0):
    """Compile a program around a call, run it within its bound, and tell whether it was refused, failed, or ran."""
    reason = ""
    try:
        program = compile_program(f"{HEAD}    x = {call}\n    return r, {{'r': r}}\n", SPEC)
    except ProgramRefused as refusal:
        reason = refusal.reason
    assert "cannot follow" not in reason, f"{call}: {reason}"
    if reason:
        return "refused"
    try:
        most = measured(program, seed)
    except ProgramFailed:
        return "failed"
    assert most <= BATCH * program.bytes_per_env, f"{call}: {most / BATCH} bytes per env, said {program.bytes_per_env}"
    return "ran"


def try_many(seed, count, say):
    """Try wild calls; `say` is told each before it is tried. Returns how often each end came."""
    rng, ends = random.Random(seed), {"refused": 0, "failed": 0, "ran": 0}
    for number in range(count):
        call = wild(rng, TENSORS, NUMBERS)
        say(call)
        ends[tried(call, number)] += 1
    return ends
