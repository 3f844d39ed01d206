"""`cairn bench oni`: what annotating captions aside costs the learner, which goes on meanwhile.

PPO learns the same task three times, in turns of one iteration each: without the shaper, with it but unannotated
(captions and counts alone), and with it annotated by rules as slow as a model, or by a model. The figure is the ratio
of the median speeds of the annotated and the unannotated learner; a busy machine slows all three.

Captions are soon all judged, and an annotator without questions costs nothing. So the annotated learner forgets every
judgement before each turn, and the whole vocabulary that it meets is asked about again while it collects and learns.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from cairngym.experiments.provenance import hardware, versions

if TYPE_CHECKING:
    from cairngym.agents.ppo import PPO
    from cairngym.reward_shaping.llm.oni.shaper import OniShaper

PLAIN, UNANNOTATED, ANNOTATED = "without", "unannotated", "annotated"


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """What `cairn bench oni` measures."""

    env: str = "MiniGrid-KeyCorridorS3R3-v0"
    """The id."""
    batch: int = 256
    """Number of envs stepped together."""
    rollout: int = 64
    """Steps of every env between two updates of the agent."""
    rounds: int = 15
    """Iterations of each learner."""
    annotator: str = "rules"
    """Who judges: "rules", or a provider such as "endpoint:URL#MODEL"."""
    latency: float = 0.05
    """Seconds that the rules take for a batch of captions."""
    model: Literal["hash", "classifier", "ranking"] = "hash"
    """What learns from the judgements."""
    threads: int = 1
    """CPU threads."""
    device: str = "cpu"
    """Where the worlds live."""
    bar: float = 0.95
    """The least ratio of annotated to unannotated speed for which the command succeeds."""
    out: Path | None = None
    """JSON file for the result."""


@dataclass
class Learner:
    """One PPO, its shaper if it has one, and how long its iterations took."""

    agent: PPO
    shaper: OniShaper | None
    steps: int
    seconds: list[float] = field(default_factory=list)

    def turn(self, *, forget: bool) -> None:
        """Learn for one iteration, after every judgement was forgotten."""
        if forget and self.shaper is not None:
            forget_judgements(self.shaper)
        start = time.perf_counter()
        self.agent.learn(self.agent.env, self.steps)
        self.seconds.append(time.perf_counter() - start)

    @property
    def speed(self) -> float:
        """Env steps a second in the median iteration."""
        return self.steps / statistics.median(self.seconds)


def make_learner(config: Benchmark, annotator: str | None) -> Learner:
    """PPO on the task; None leaves the shaper out."""
    import cairngym
    from cairngym.agents.ppo import PPO, PPOConfig
    from cairngym.reward_shaping.core import ShapedEnv, Term
    from cairngym.reward_shaping.llm.oni.shaper import OniShaper

    env = cairngym.make(config.env, config.batch, config.device, seed=0, threads=config.threads)
    shaper = None
    if annotator is not None:
        shaper = OniShaper(annotator=annotator, model=config.model, latency=config.latency)
        env = ShapedEnv(env, [Term(name="oni", shaper=shaper, weight=0.1)])
    steps = config.batch * config.rollout
    return Learner(PPO(env, PPOConfig(rollout_steps=config.rollout, minibatch=min(4096, steps))), shaper, steps)


def forget_judgements(shaper: OniShaper) -> None:
    """Have the whole vocabulary judged again: nothing is known, and everything is as if just met."""
    shaper.known.clear()
    if shaper.annotator is not None:
        shaper.annotator.set_state({"known": {}, "prompts": 0, "unparsable": 0, "unanswered": 0})
    texts = shaper.vocabulary.texts[1:]
    if shaper.annotation is not None and shaper.model.asks == "labels":
        shaper.annotation.offer(texts)


def measure(config: Benchmark) -> dict[str, Learner]:
    """Let the learners take turns, after two iterations that are not counted."""
    made = {
        PLAIN: make_learner(config, None),
        UNANNOTATED: make_learner(config, "none"),
        ANNOTATED: make_learner(config, config.annotator),
    }
    for turn in range(config.rounds + 2):
        for learner in list(made.values())[:: 1 if turn % 2 else -1]:
            learner.turn(forget=turn >= 2)
        if turn == 1:
            for learner in made.values():
                learner.seconds.clear()
    return made


def summary(made: Mapping[str, Learner]) -> dict[str, Any]:
    """Speeds and the two ratios."""
    speeds = {name: learner.speed for name, learner in made.items()}
    return {
        "steps_per_second": speeds,
        "annotated_over_unannotated": speeds[ANNOTATED] / speeds[UNANNOTATED],
        "annotated_over_without": speeds[ANNOTATED] / speeds[PLAIN],
    }


def run(config: Benchmark) -> int:
    """Measure, print the table and write the JSON; 1 where the ratio misses the bar."""
    import torch

    torch.set_num_threads(config.threads)
    made = measure(config)
    figures = summary(made)
    for learner in made.values():
        if learner.shaper is not None:
            learner.shaper.close()
    print(f"PPO on {config.env}, {config.batch} envs, {config.rounds} iterations each, medians\n")
    print("| ONI | k steps/s |\n|---|---:|")
    for name, speed in figures["steps_per_second"].items():
        print(f"| {name} | {speed / 1e3:.1f} |")
    ratio, whole = figures["annotated_over_unannotated"], figures["annotated_over_without"]
    print(f"\nAnnotated / unannotated: {ratio:.3f} (bar: {config.bar}). Annotated / without: {whole:.3f}.")
    write(config, figures)
    return int(ratio < config.bar)


def write(config: Benchmark, figures: Mapping[str, Any]) -> None:
    """Write the figures with versions and hardware as JSON, if there is a path."""
    if config.out is None:
        return
    settings = {name: getattr(config, name) for name in ("env", "batch", "rollout", "rounds", "annotator", "model")}
    record = {**figures, **settings, "versions": versions(), "hardware": hardware(config.device)}
    config.out.parent.mkdir(parents=True, exist_ok=True)
    config.out.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    print(f"\nWritten to {config.out}")
