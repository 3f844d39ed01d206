"""The examples of CONTRIBUTING.md run as they stand and do what it says of them."""

import copy
import importlib.util
import re
import runpy
import subprocess
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import gymnasium
import pytest
import torch

import cairngym
from cairngym.agents import registry as agents
from cairngym.agents.evaluation import evaluate
from cairngym.envs import registry as envs
from cairngym.experiments.config import AgentConfig, EvaluationConfig, RunConfig, ShaperConfig
from cairngym.experiments.run import run
from cairngym.reward_shaping import registry as shapers

ROOT = Path(__file__).resolve().parents[1]
GUIDE = (ROOT / "CONTRIBUTING.md").read_text()
PHYSICS_GUIDE = (ROOT / "docs/physics_worlds.md").read_text()
CONTRACT = runpy.run_path(str(ROOT / "tests/envs/contract.py"))["CHECKS"]
WORLD, TASK, SHAPER, AGENT = "Add a world", "Add a task", "Add a shaper", "Add an agent"
ARM = ("The model", "The world", "The task")
MOST_LINES = 30
SMALL = {"num_envs": 64, "rollout_steps": 16, "minibatch": 256, "hidden": [32], "learning_rate": 3e-3}


def python_blocks(text):
    """The fenced python blocks by the heading they stand under; a heading has one at most."""
    blocks = {}
    for section in re.split(r"^#+ ", text, flags=re.MULTILINE)[1:]:
        heading, _, body = section.partition("\n")
        found = re.findall(r"^```python\n(.*?)^```$", body, flags=re.MULTILINE | re.DOTALL)
        assert len(found) <= 1, heading
        if found:
            blocks[heading] = found[0]
    return blocks


EXAMPLES = python_blocks(GUIDE)
ARM_EXAMPLES = {heading: block for heading, block in python_blocks(PHYSICS_GUIDE).items() if heading in ARM}


def load(folder, name, *headings):
    """Write the examples of the headings to one file, as a contributor would, and import it."""
    path = folder / f"{name}.py"
    path.write_text("\n\n".join({**EXAMPLES, **ARM_EXAMPLES}[heading] for heading in headings))
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def added(tmp_path_factory):
    """The modules made of the examples; what they register is gone after this file."""
    folder, envs_before = tmp_path_factory.mktemp("examples"), set(cairngym.list_envs())
    with pytest.MonkeyPatch.context() as patch:
        for registry, table in ((envs, "_specs"), (shapers, "_shapers"), (agents, "_agents")):
            patch.setattr(registry, table, copy.deepcopy(getattr(registry, table)))
        yield SimpleNamespace(
            track=load(folder, "track", WORLD, TASK),
            still=load(folder, "still", SHAPER),
            penalty=load(folder, "penalty", AGENT),
            arm=load(folder, "arm", *ARM),
        )
        for env_id in set(cairngym.list_envs()) - envs_before:
            del gymnasium.registry[f"cairngym/{env_id}"]


# The guide -----------------------------------------------------------------------------------------------------------


def test_every_example_is_executed_here():
    assert list(EXAMPLES) == [WORLD, TASK, SHAPER, AGENT]
    assert list(ARM_EXAMPLES) == [*ARM]


@pytest.mark.parametrize("heading", [*EXAMPLES, *ARM_EXAMPLES])
def test_examples_are_short_and_formatted(heading):
    example = {**EXAMPLES, **ARM_EXAMPLES}[heading]
    assert len(example.splitlines()) <= MOST_LINES + 10 * (heading in ARM)
    command = [sys.executable, "-m", "ruff", "format", "--check", "--line-length", "120", "--isolated", "-"]
    done = subprocess.run(command, input=example, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def test_paths_and_targets_in_the_text_exist():
    paths = {path for path in re.findall(r"`([\w./]+)`", GUIDE) if "/" in path}
    assert len(paths) > 20
    assert not [path for path in paths if not (ROOT / path).exists()]
    targets = set(re.findall(r"`make (\w+)`", GUIDE))
    assert targets
    assert targets <= set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))


# A world and a task --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("check", CONTRACT, ids=lambda check: check.__name__.removeprefix("check_"))
def test_the_task_keeps_the_contract(added, check):
    assert "Track-v0" in cairngym.list_envs()
    check(partial(cairngym.make, "Track-v0"))


def test_the_task_reaches_gymnasium(added):
    env = gymnasium.make("cairngym/Track-v0")
    obs, _ = env.reset(seed=1)
    assert obs in env.observation_space
    assert gymnasium.make_vec("cairngym/Track-v0", num_envs=3).reset(seed=1)[0].shape == (3, 1)


def test_full_speed_succeeds_when_the_distance_is_covered(added):
    env = cairngym.make("Track-v0", num_envs=32, seed=2, autoreset_mode="Disabled")
    env.reset()
    start = env.state["position"].double()
    assert bool(((start > -1) & (start <= 0)).all())
    assert len(start.unique()) == 32
    torch.testing.assert_close(env.progress().double(), (1 + start) / 2)
    exact = (1 - start) / 0.1
    for t in range(1, 21):
        _, reward, terminated, truncated, info = env.step(torch.ones(32, 1))
        assert torch.equal(reward, info["success"].float())
        assert not truncated.any()
        assert terminated[exact < t - 1e-4].all()
        assert not terminated[exact > t + 1e-4].any()
        assert bool((env.progress()[terminated] == 1).all())
        assert bool((env.progress()[~terminated] < 1).all())
    assert terminated.all()


def test_time_is_up_after_the_horizon(added):
    env = cairngym.make("Track-v0", num_envs=2)
    env.reset()
    flags = [env.step(torch.zeros(2, 1))[2:4] for _ in range(50)]
    assert not any(bool(terminated.any()) for terminated, _ in flags)
    assert [bool(truncated.all()) for _, truncated in flags] == [False] * 49 + [True]


def test_an_agent_learns_the_task(added):
    env = cairngym.shape(cairngym.make("Track-v0", num_envs=64), "potential")
    agent = agents.make_agent("ppo", env, **SMALL)
    agent.learn(env, 40_000)
    test_env = cairngym.make("Track-v0", num_envs=64)
    assert evaluate(agent, test_env, episodes=64, seed=3, deterministic=True).success == 1.0


# A physics world -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("check", CONTRACT, ids=lambda check: check.__name__.removeprefix("check_"))
def test_the_physics_task_keeps_the_contract(added, check):
    check(partial(cairngym.make, "SwingArm-v0"))


def angle_of(point):
    """The arm's angle `(N,)` that puts its tip at `point` `(N, 3)`."""
    return torch.atan2(-point[:, 0], 1.0 - point[:, 2])


def hold(state):
    """Swing to the goal and bear the arm's weight there."""
    here, there = angle_of(state["tip"]), angle_of(state["goal"])
    torque = 1.0 * (there - here) - 0.1 * state["speed"][:, 0] + 0.2 * 9.81 * 0.25 * there.sin()
    return (torque / 2.0).clamp(-1.0, 1.0).unsqueeze(1)


def test_the_arm_swings_to_its_goals(added):
    env = cairngym.make("SwingArm-v0", num_envs=32, seed=1, autoreset_mode="Disabled")
    env.reset()
    assert len(env.state["goal"].unique(dim=0)) == 32
    torch.testing.assert_close(env.state["tip"], torch.tensor([[0.0, 0.0, 0.5]]).expand(32, 3))
    for _ in range(100):
        state = env.state
        assert bool(((state["tip"] - torch.tensor([0.0, 0.0, 1.0])).norm(dim=1) - 0.5).abs().max() < 1e-5)
        _, reward, _, truncated, info = env.step(hold(state))
        goals = info["final_obs"]["achieved_goal"], info["final_obs"]["desired_goal"]
        assert torch.equal(reward, env.compute_reward(*goals))
    assert truncated.all()
    assert float(info["episode"]["success_at_end"].float().mean()) >= 0.95


def test_the_arm_learns_in_hindsight(added):
    env = cairngym.make("SwingArm-v0", num_envs=8, seed=2)
    agent = agents.make_agent("td3", env, hindsight="final", hindsight_ratio=1.0, hidden=[32], warmup_steps=1600)
    agent.learn(env, 1600)
    replayed = agent.replay.sample(512)
    ends = agent.replay.ring.columns["next_obs"]["achieved_goal"][[99, 199]].flatten(0, 1)
    assert bool((replayed.obs["desired_goal"].unsqueeze(1) == ends).all(2).any(1).all())


@pytest.mark.slow
def test_the_arm_swings_alike_on_the_other_driver(added):
    pytest.importorskip("mujoco_warp")
    env, other = (cairngym.make("SwingArm-v0", num_envs=3, seed=3, driver=driver) for driver in ("threads", "warp"))
    env.reset()
    other.reset()
    for t in range(10):
        action = torch.full((3, 1), (-1.0) ** (t // 3))
        obs, found = env.step(action)[0], other.step(action)[0]
        for name, values in obs.items():
            torch.testing.assert_close(found[name], values, atol=1e-4, rtol=1e-4)


# A shaper ------------------------------------------------------------------------------------------------------------


def test_the_shaper_pays_for_standing_still(added):
    assert "still" in cairngym.list_shapers()
    env = cairngym.shape(cairngym.make("Chain-N10-v0", num_envs=2), "still", weight=0.1, fields=["node"])
    env.reset(seed=0)
    rewards, tasks, terms = [], [], []
    for action in [[0, 1]] * 2 + [[1, 1]] * 8:  # nodes 0 0 0 1 … 8 and 0 1 2 3 … 9 0 1
        _, reward, _, _, info = env.step(action)
        rewards.append(reward.tolist())
        tasks.append(info["task_reward"].tolist())
        terms.append(info["reward_terms"]["still"].tolist())
    assert terms == [[-1.0, 0.0]] * 2 + [[0.0, 0.0]] * 8, "the reset at the goal is no standing still"
    assert tasks == [[0.0, 0.0]] * 8 + [[0.0, 1.0], [0.0, 0.0]]
    torch.testing.assert_close(torch.tensor(rewards), torch.tensor(tasks) + 0.1 * torch.tensor(terms))


def test_the_shaper_looks_at_every_field(added):
    shaper = shapers.make_shaper("still", fields=["place", "door"])
    before = {"place": torch.tensor([[1, 1], [1, 1], [1, 1]]), "door": torch.tensor([0, 0, 0])}
    after = {"place": torch.tensor([[1, 1], [1, 2], [1, 1]]), "door": torch.tensor([0, 0, 1])}
    reward = torch.zeros(3)
    flags = {"terminated": reward.bool(), "truncated": reward.bool(), "success": reward.bool()}
    transition = cairngym.Transition(
        obs=reward, state=before, action=reward, next_obs=reward, next_state=after, reward=reward, env_id=None, **flags
    )
    assert shaper.shape(transition).tolist() == [-1.0, 0.0, 0.0]


def test_the_shaper_names_the_fields_it_misses(added):
    with pytest.raises(ValueError, match=r"'still' reads the state fields \['nod'\].*measures: node"):
        cairngym.shape(cairngym.make("Chain-N10-v0"), "still", fields=["nod"])


# An agent ------------------------------------------------------------------------------------------------------------


def chain(num_envs=64):
    return cairngym.shape(cairngym.make("Chain-N10-v0", num_envs=num_envs, seed=4), "potential")


def learner(env, **config):
    return agents.make_agent("ppo-penalty", env, **SMALL, **config)


def test_the_agent_learns_and_acts(added):
    assert "ppo-penalty" in agents.list_agents()
    agent = learner(chain())
    assert agent.config.penalty == 1.0
    agent.learn(agent.env, 20_000)
    assert evaluate(agent, cairngym.make("Chain-N10-v0", num_envs=4), episodes=8, deterministic=True).success == 1.0
    assert agent.act(torch.eye(10)[:9], deterministic=True).tolist() == [1] * 9


def test_the_agents_loss_is_as_worked_out_by_hand(added):
    """Two samples of a policy that gave them the probabilities 1/2 and 1/2 and now gives 3/4 and 1/4."""
    agent = learner(chain(), penalty=2.0, value_coefficient=0.5, entropy_coefficient=0.1)
    agent.model = SimpleNamespace(sequence=lambda inputs, memory, begins: (None, torch.tensor([[1.0], [3.0]])))
    agent.distribution = SimpleNamespace(
        evaluate=lambda outputs, action: (torch.tensor([0.75, 0.25]).log(), torch.tensor([0.4, 0.6]))
    )
    batch = SimpleNamespace(
        inputs=None, memory=None, begins=None, action=None, log_prob=torch.tensor([0.5, 0.5]).log(),
        advantage=torch.tensor([1.0, -1.0]), target=torch.tensor([[0.0], [1.0]]),
    )  # fmt: skip
    loss, parts = agent.loss(batch)
    kl = (0.5 - torch.tensor(1.5).log() - 0.5 - torch.tensor(0.5).log()) / 2  # mean of ratio - 1 - log ratio
    policy = 2.0 * kl - (1.5 - 0.5) / 2
    torch.testing.assert_close(parts, torch.stack((policy, torch.tensor(1.25), torch.tensor(0.5), kl, kl * 0)))
    torch.testing.assert_close(loss, policy + 0.5 * 1.25 - 0.1 * 0.5)


def test_a_higher_penalty_stays_nearer(added):
    moved = []
    for penalty in (0.0, 10.0):
        agent, seen = learner(chain(), penalty=penalty, epochs=4), []
        agent.learn(agent.env, 2048, [seen.append])
        moved.append(sum(metrics["loss/kl"] for metrics in seen))
    assert moved[1] < moved[0] / 2


def test_the_agent_goes_on_from_a_checkpoint_bit_for_bit(added, tmp_path):
    whole = learner(chain())
    whole.learn(whole.env, 2048)
    whole.save(tmp_path / "half.pt")
    whole.learn(whole.env, 2048)
    again = agents.load_agent(tmp_path / "half.pt", chain())
    assert type(again).__name__ == "PenaltyPPO"
    assert again.steps_done == 2048
    again.learn(again.env, 2048)
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, again.model.state_dict()[name]), name


# Together ------------------------------------------------------------------------------------------------------------


def test_a_run_takes_all_three_by_name(added, tmp_path):
    config = RunConfig(
        task="Track-v0", steps=2048, evaluation=EvaluationConfig(episodes=8),
        agent=AgentConfig(name="ppo-penalty", options={**SMALL, "penalty": 0.5}),
        shapers=(ShaperConfig(name="still", weight=0.1, options={"fields": ["position"]}),),
    )  # fmt: skip
    summary = run(config, tmp_path / "run", tell=lambda line: None)
    assert (summary["status"], summary["steps"], summary["final"]["episodes"]) == ("finished", 2048, 8)
    assert "reward_terms/still" in (tmp_path / "run" / "metrics.jsonl").read_text()
