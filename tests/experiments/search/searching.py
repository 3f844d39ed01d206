"""A small search on a chain: config, model, and a launcher that trains in this process."""

import io

from rich.console import Console

from cairngym.experiments.config import AgentConfig, EvaluationConfig, load_run
from cairngym.experiments.launcher import Finished
from cairngym.experiments.run import run
from cairngym.experiments.search.config import FinalConfig, RungConfig, SearchConfig
from cairngym.experiments.search.evolution import Search
from cairngym.reward_shaping.llm.messages import Completion, Provenance, Usage
from cairngym.reward_shaping.llm.provider import Provider, ProviderError
from cairngym.reward_shaping.registry import list_shapers, register_shaper

SMALL = SearchConfig(
    name="small",
    task="Chain-N10-v0",
    candidates=2,
    rounds=2,
    verify=False,
    repairs=0,
    retries=1,
    rungs=(RungConfig(share=0.5, seeds=1, keep=0.5), RungConfig(share=1.0, seeds=1)),
    steps=512,
    agent=AgentConfig(options={"num_envs": 16, "rollout_steps": 8, "minibatch": 128, "hidden": (8,)}),
    evaluation=EvaluationConfig(every=128, episodes=8),
    final=FinalConfig(seeds=(0, 1)),
)


def register():
    if "program" not in list_shapers():
        register_shaper("program", "cairngym.reward_shaping.llm.program_shaper:ProgramShaper")
    if "task_reward" not in list_shapers():
        register_shaper("task_reward", "cairngym.reward_shaping.combiners:TaskRewardShaper")


def program(expression, name="near"):
    return f"def reward(state, action, next_state, memory):\n    r = {expression}\n    return r, {{'{name}': r}}\n"


def answer(expression="(next_state.node - state.node) / 9.0", name="near"):
    return f"First think.\n\n```python\n{program(expression, name)}```\n"


RIGHT = answer()
"""Pays for going to the goal."""
LEFT = answer("(state.node - next_state.node) / 9.0", "far")
"""Pays for going away from it."""
WRONG = answer("next_state.nod / 9.0")
NAN = answer("torch.log(next_state.node - 100.0)", "log")
PARTS = [answer(f"{n}.0 * (next_state.node - state.node) / 9.0", f"part_{n}") for n in range(2, 9)]
"""Programs that differ."""


class Model(Provider):
    """Answers each request with the next list of texts; an exception in the list is raised."""

    def __init__(self, *answers):
        super().__init__()
        self.answers, self.asked = list(answers), []

    async def complete(self, request):
        self.asked.append(request)
        if not self.answers:
            raise ProviderError("nothing left to say")
        texts = self.answers.pop(0)
        if isinstance(texts, Exception):
            raise texts
        texts = [texts] if isinstance(texts, str) else texts
        return Completion(
            texts=tuple(texts), finish_reasons=("stop",) * len(texts), model="tiny",
            provenance=Provenance(source="test"), usage=Usage(prompt_tokens=100, completion_tokens=10),
        )  # fmt: skip


class InProcess:
    """A launcher that trains here, one run after another; some names fail, and it can be interrupted."""

    def __init__(self, fail=(), stop_after=None):
        self.fail, self.stop_after, self.launched = fail, stop_after, []

    def launch(self, jobs):
        for job in jobs:
            if len(self.launched) == self.stop_after:
                raise KeyboardInterrupt
            self.launched.append(f"{job.folder.parts[-5]}/{job.folder.parts[-4]} {job.name}")
            failed = any(word in self.launched[-1] for word in self.fail)
            if failed:
                job.log.write_text("Traceback …\nValueError: out of luck\n")
            else:
                run(load_run(job.folder / "config.yaml"), job.folder, tell=lambda text: None)
            yield Finished(job=job, returncode=1 if failed else 0, seconds=0.1)


def silent():
    return Console(file=io.StringIO(), width=200)


def search(config, folder, model, launcher=None, console=None):
    """The rounds of a search in a folder; returns it and its best candidate."""
    folder.mkdir(parents=True, exist_ok=True)
    made = Search(config, folder, launcher or InProcess(), console or silent())
    return made, made.run(model)
