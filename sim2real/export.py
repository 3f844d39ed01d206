"""Trained policies as ONNX files: normaliser, squashing and limits in the graph, and what the numbers are beside it.

A file runs under `onnxruntime` alone. It is written only if it does what the agent does (`cairngym.sim2real.parity`).
"""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from cairngym.agents.behavior_cloning import BehaviorCloning
from cairngym.agents.core import Agent
from cairngym.agents.critics import PolicyNetwork
from cairngym.agents.dynamics_gradient import DynamicsGradient
from cairngym.agents.evolution.cem import CEM
from cairngym.agents.evolution.evolution import Evolution
from cairngym.agents.off_policy import OffPolicy
from cairngym.agents.ppo import PPO
from cairngym.agents.residual import Residual
from cairngym.envs.core import TensorEnv
from cairngym.envs.files import replacing
from cairngym.envs.layout import LONE, entries, wrappers
from cairngym.envs.wrapper import TensorWrapper
from cairngym.envs.wrappers import ActionDelay, StickyActions
from cairngym.sim2real.export_metadata import KEY, Training, describe, encode
from cairngym.sim2real.parity import Parity, Runner, check_parity, compare
from cairngym.sim2real.policy_modules import (
    ActorCriticGraph,
    ChunkGraph,
    GenomeGraph,
    GradientGraph,
    MeanGraph,
    OffPolicyGraph,
    PolicyGraph,
)

if TYPE_CHECKING:
    import onnx

OPSET = 18
PACKAGES = ("onnx", "onnxscript", "onnxruntime")
GRAPHS: tuple[tuple[type[Agent], Callable[[Any, tuple[str, ...]], PolicyGraph]], ...] = (
    (PPO, ActorCriticGraph),
    (OffPolicy, OffPolicyGraph),
    (BehaviorCloning, ChunkGraph),
    (DynamicsGradient, GradientGraph),
    (CEM, MeanGraph),
    (Evolution, GenomeGraph),
)
"""Agents whose policy is a graph, and how it is made."""
DISTURBANCES: tuple[type[TensorWrapper], ...] = (ActionDelay, StickyActions)
"""Wrappers that change an action as a robot would by itself; a policy needs no part of them."""


class NotExportableError(ValueError):
    """A policy that cannot be a file of its own; the message says why and what can."""


@dataclass(frozen=True, kw_only=True)
class Exported:
    """An exported policy."""

    path: Path
    size: int
    """Bytes."""
    metadata: dict[str, Any]
    parity: Parity


def export_policy(
    agent: Agent,
    env: TensorEnv,
    path: str | Path,
    *,
    training: Training | None = None,
    states: int = 10_000,
    seed: int = 0,
    allow_rounding: bool = False,
) -> Exported:
    """Write an agent's deterministic policy as an ONNX file that `onnxruntime` runs without torch and cairngym.

    Args:
        agent: trained, on the CPU.
        env: as the policy meets it, in its wrappers, unshaped or not; the agent plays some episodes in it. It must
            reset within the step.
        path: of the file; its folder is made where it is missing.
        training: how the policy came about, for the metadata.
        states: on how many states file and agent are compared.
        seed: of those states.
        allow_rounding: see `check_parity`.

    Raises:
        ImportError: onnx, onnxscript or onnxruntime is missing.
        NotExportableError: a policy that is no graph, or that commands something else than the robot.
        ParityError: the file does something else than the agent; nothing is written.
        OSError: the file cannot be written; an older one stays as it was.

    Example:
        >>> import tempfile, cairngym
        >>> from cairngym.agents.registry import make_agent
        >>> env = cairngym.make("PointMaze_UMaze-v3", num_envs=2)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     exported = export_policy(make_agent("ppo", env), env, f"{folder}/policy.onnx", states=50)
        >>> exported.metadata["inputs"][2]["units"], exported.parity.largest < 1e-5
        (['m', 'm', 'm/s', 'm/s'], True)
    """
    check_packages()
    graph = policy_graph(agent, env)
    names = input_names(graph)
    model = _to_onnx(graph, env, names)
    content = describe(env, agent.name, graph, names, opset=OPSET, training=training or Training())
    text = encode(content)
    data = _finish(model, text)
    parity = compare(agent, env, Runner(data, graph, names), states=states, seed=seed)
    check_parity(parity, allow_rounding=allow_rounding)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        file.write(data)
    return Exported(path=path, size=len(data), metadata=json.loads(text), parity=parity)


def check_packages() -> None:
    """Raise `ImportError` where a package that exports need is missing."""
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        raise ImportError(
            f"Exporting needs {', '.join(PACKAGES)}, got no {', '.join(missing)}: pip install 'cairngym[deploy]'."
        )


def policy_graph(agent: Agent, env: TensorEnv) -> PolicyGraph:
    """The agent's policy as a graph of tensors.

    Raises:
        NotExportableError: it is none, or it commands something else than the robot.
    """
    check_exportable(agent, env)
    space = entries(env.single_observation_space)
    lone = list(space) == [LONE] and not hasattr(env.single_observation_space, "spaces")
    make = next(make for kind, make in GRAPHS if isinstance(agent, kind))
    return make(agent, ("",) if lone else tuple(space)).eval().requires_grad_(False)


def check_exportable(agent: Agent, env: TensorEnv) -> None:
    """Refuse an agent whose policy cannot be a file of its own.

    Raises:
        NotExportableError: saying why, and what can be exported.
    """
    able = "ppo, sac, rlpd, td3, bc, cem, dynamics_gradient and evolving agents"
    if isinstance(agent, Residual):
        raise NotExportableError(
            f"Expected a policy that acts by itself, got {agent.name!r}, which corrects a base policy that is not part "
            f"of its networks. Export the base, or train without it; {able} can be exported."
        )
    if not isinstance(agent, tuple(kind for kind, _ in GRAPHS)):
        hint = (
            "Stable-Baselines3 describes how to export its own models." if agent.name.startswith("sb3-")
            else "Add its graph to cairngym.sim2real.export.GRAPHS."
        )  # fmt: skip
        raise NotExportableError(f"Expected one of {able}, got {agent.name!r}. {hint}")
    if isinstance(agent, OffPolicy) and not isinstance(agent.policy, PolicyNetwork):
        raise NotExportableError(
            f"Expected the policy of {agent.name!r} to be a PolicyNetwork with tanh after its head, got "
            f"{type(agent.policy).__name__}. Add its graph to cairngym.sim2real.export.GRAPHS."
        )
    if torch.device(env.device).type != "cpu":
        raise NotExportableError(f"Expected agent and env on the CPU, got {env.device}. Load the run with device cpu.")
    for wrapper in wrappers(env):
        action = getattr(type(wrapper), "action", TensorWrapper.action)
        if action is not TensorWrapper.action and not _disturbs(wrapper):
            raise NotExportableError(
                f"Expected a policy that commands the robot, got one that commands the wrapper "
                f"{type(wrapper).__name__}, whose part the file would lack. Train without it to export."
            )


def _disturbs(wrapper: TensorEnv) -> bool:
    return isinstance(wrapper, DISTURBANCES) or getattr(wrapper, "disturbs", False)


def input_names(graph: PolicyGraph) -> tuple[str, ...]:
    """Names of the file's inputs: the observation's entries, then the memories.

    Raises:
        NotExportableError: an entry is called like an output or a memory.
    """
    names = [*(entry or LONE for entry in graph.entries), *(memory.name for memory in graph.memories)]
    taken = [*names, *output_names(graph)]
    twice = sorted({name for name in taken if taken.count(name) > 1})
    if twice:
        raise NotExportableError(
            f"Expected entries of the observation of other names than {twice}, which the file needs."
        )
    return tuple(names)


def output_names(graph: PolicyGraph) -> tuple[str, ...]:
    """Names of the file's outputs."""
    logits = ("logits",) if graph.gives_logits else ()
    return ("action", *logits, *(f"next_{memory.name}" for memory in graph.memories))


def _to_onnx(graph: PolicyGraph, env: TensorEnv, names: tuple[str, ...]) -> onnx.ModelProto:
    space = entries(env.single_observation_space)
    # Two rows: a batch of one would be taken for a constant.
    arguments = [torch.zeros(2, *(space[e or LONE].shape or ()), dtype=_dtype(space[e or LONE])) for e in graph.entries]
    arguments += [torch.zeros(2, *memory.shape, dtype=memory.dtype) for memory in graph.memories]
    batch = torch.export.Dim("batch")
    with torch.no_grad(), _quiet():
        program = torch.onnx.export(
            graph, tuple(arguments), dynamo=True, opset_version=OPSET, external_data=False, verbose=False,
            input_names=names, output_names=output_names(graph), dynamic_shapes=(tuple({0: batch} for _ in arguments),),
        )  # fmt: skip
    if program is None:
        raise NotExportableError("Expected torch.onnx.export to give a model, got none.")
    return program.model_proto


def _dtype(space: Any) -> torch.dtype:
    return getattr(torch, str(space.dtype))


def _finish(model: onnx.ModelProto, metadata: str) -> bytes:
    """Drop what tells where the code lies, add the metadata, check, and serialise."""
    import onnx

    for node in model.graph.node:
        node.ClearField("metadata_props")
        node.ClearField("doc_string")
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info, *model.graph.initializer):
        value.ClearField("metadata_props")
        value.ClearField("doc_string")
    model.graph.ClearField("metadata_props")
    model.graph.name = "policy"
    model.ClearField("metadata_props")
    onnx.helper.set_model_props(model, {KEY: metadata})
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString(deterministic=True)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's remarks on itself from the user."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
