"""An endpoint that dies in the middle of training and comes back changes nothing but the judgements."""

import time

import numpy as np
import torch
from oni_toys import annotation_threads, wait_until
from server import Reply

from cairngym.envs.registry import make
from cairngym.reward_shaping.core import ShapedEnv, Term
from cairngym.reward_shaping.llm.oni.captioner import Captioner
from cairngym.reward_shaping.llm.oni.minigrid_captions import MiniGridCaptioner
from cairngym.reward_shaping.llm.oni.shaper import OniShaper

BLOCK = 200


class Endless(Captioner):
    """Grid captions with the step they come at, so that there is always something to judge."""

    def __init__(self):
        self.inner = MiniGridCaptioner()
        self.requires = (*self.inner.requires, "step_count")
        self.size = 600 * self.inner.size

    def bind(self, env):
        self.inner.bind(env)

    def codes(self, transition):
        codes = self.inner.codes(transition)
        at = transition.next_state["step_count"].clamp(max=599)
        return torch.where(codes > 0, at * self.inner.size + codes, 0)

    def text(self, code):
        return f"{self.inner.text(code % self.inner.size)} at step {code // self.inner.size}"


def answering():
    """Every line is FOO."""

    def act(handler, body):
        Reply.chat("\n".join(f"{number}: FOO" for number in range(1, 21))).act(handler, body)

    return Reply(act, delay=0.02)


def shaped(annotator):
    env = make("MiniGrid-ObstructedMaze-1Dlhb-v0", num_envs=64, threads=1, bank_size=32)
    shaper = OniShaper(annotator=annotator, captioner=Endless(), capacity=200, backoff=0.05, beta=1.0)
    shaper._line["max_backoff"] = 0.2
    made = ShapedEnv(env, [Term(name="oni", shaper=shaper)])
    made.reset(seed=0)
    return made, shaper


def train(env, draws, steps=BLOCK, every=50):
    """Step times in seconds, the updates between them included, and the last metrics."""
    seconds, metrics = [], {}
    for step in range(1, steps + 1):
        action = torch.randint(0, 7, (64,), generator=draws)
        begin = time.perf_counter()
        reward = env.step(action)[1]
        if step % every == 0:
            metrics = env.update_shapers()
        seconds.append(time.perf_counter() - begin)
        assert torch.isfinite(reward).all()
    return seconds, metrics


def test_killed_and_restarted_while_envs_step(server, connect):
    server.default = answering()
    provider = connect(retries=1, timeout=2.0)
    env, shaper = shaped(provider)
    off, _ = shaped("none")
    draws = torch.Generator().manual_seed(0)

    wait_until(lambda: train(env, draws, 50)[1]["oni/judged"] > 50)
    server.kill()
    before = train(env, draws, 50)[1]["oni/failures"]
    wait_until(lambda: train(env, draws, 50)[1]["oni/failures"] > before + 1)

    dead, alone = [], []
    for _ in range(4):  # in turns, so that a busy machine slows both
        dead += train(env, draws)[0]
        alone += train(off, draws)[0]
    metrics = train(env, draws, 50)[1]
    assert metrics["oni/failures"] > before + 2, "it was tried all the while"
    assert len(shaper.annotation.line) <= 200 + 100, "bounded: what waits and one batch under way"
    assert metrics["oni/dropped"] > 0
    assert metrics["oni/stopped"] == 0
    assert float(shaper._values.max()) > 0, "what was judged before still pays"
    p99 = [1e3 * np.quantile(seconds, 0.99) for seconds in (dead, alone)]
    p50 = [1e3 * np.quantile(seconds, 0.5) for seconds in (dead, alone)]
    print(f"\nstep time in ms, endpoint dead / no annotation: p50 {p50[0]:.2f} / {p50[1]:.2f}, "
          f"p99 {p99[0]:.2f} / {p99[1]:.2f}")  # fmt: skip
    assert p99[0] < 4 * p99[1] + 10.0

    judged, prompts = metrics["oni/judged"], len(server.requests)
    server.restart()
    wait_until(lambda: train(env, draws, 50)[1]["oni/judged"] > judged + 50)
    assert len(server.requests) > prompts
    shaper.close()
    assert not annotation_threads()
