import dataclasses

import numpy as np
import pytest
import torch
from agent_toys import identity
from gymnasium import spaces

import cairngym
from cairngym.agents.dynamics_gradient import DynamicsGradient, check_differentiable
from cairngym.agents.dynamics_gradient_config import DynamicsGradientConfig
from cairngym.agents.evaluation import evaluate
from cairngym.agents.registry import agent_config_class, load_agent, make_agent
from cairngym.envs.core import StateField, Task, TensorEnv, World, where
from cairngym.envs.random import Stream, uniform
from cairngym.envs.wrapper import TensorWrapper

STEP, RADIUS = 0.2, 0.3
SMALL = DynamicsGradientConfig(hidden=(16,), learning_rate=1e-2)


class Point(World):
    """A point in the plane that moves by STEP times the action; `goal` is a disc's centre, away from the start."""

    def __init__(self, num_envs):
        self.num_envs, self.device = num_envs, torch.device("cpu")
        self.single_action_space = spaces.Box(-1.0, 1.0, (2,), np.float32)
        place = StateField(shape=(2,), unit="m", description="Where it is.")
        age = StateField(shape=(), unit="step", description="Steps taken.")
        self.state_spec = {"position": place, "goal": place, "age": age}
        self.fields = {"position": torch.zeros(num_envs, 2), "goal": torch.zeros(num_envs, 2)}
        self.fields["age"] = torch.zeros(num_envs)

    def begin(self, mask, episodes):
        drawn = uniform(episodes.seed, episodes.env_id, episodes.number, Stream.LEVEL, 3)
        angle = 2.0 * torch.pi * drawn[:, 2]
        start = drawn[:, :2] - 0.5
        goal = start + torch.stack((angle.cos(), angle.sin()), 1)
        fresh = {"position": start, "goal": goal, "age": torch.zeros(self.num_envs)}
        self.fields = where(mask, fresh, self.fields)

    def dynamics(self, state, action):
        return {"position": state["position"] + STEP * action, "age": state["age"] + 1.0}

    def advance(self, action):
        self.fields = {**self.fields, **self.dynamics(self.fields, action)}

    @property
    def state(self):
        return dict(self.fields)

    def get_state(self):
        return {name: value.clone() for name, value in self.fields.items()}

    def set_state(self, snapshot):
        self.fields = {name: value.clone() for name, value in snapshot.items()}


class Reach(Task):
    """Be in the disc at some step: max over time of (radius - distance), judged at the horizon."""

    single_observation_space = spaces.Box(-np.inf, np.inf, (3,), np.float32)
    terminate_on_success = False

    def __init__(self, horizon=8):
        self.horizon = horizon

    def observe(self, state):
        share = (state["age"] / self.horizon).unsqueeze(1)
        return torch.cat((state["goal"] - state["position"], share), 1)

    def margin(self, state):
        return RADIUS - (state["goal"] - state["position"]).square().sum(1).add(1e-12).sqrt()

    def success(self, state):
        return self.margin(state) >= 0.0

    def objective(self, states, smooth=None):
        margins = torch.stack([self.margin(state) for state in states], 1)
        return margins.amax(1) if smooth is None else (margins * smooth).logsumexp(1) / smooth


def reach(num_envs=32, horizon=8):
    return TensorEnv(Point(num_envs), Reach(horizon))


def make(env, **changes):
    return DynamicsGradient(env, dataclasses.replace(SMALL, **changes))


# What it must learn --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("changes", [{}, {"smooth": 2.0, "final_smooth": 20.0, "anneal_steps": 8000}])
def test_learns_to_reach_a_disc(changes):
    agent, heard = make(reach(), **changes), []
    before = evaluate(agent, reach(), episodes=64).success
    agent.learn(agent.env, 60 * 8 * 32, [heard.append])
    assert before < 0.3
    assert evaluate(agent, reach(), episodes=64).success > 0.95
    assert heard[-1]["success_rate"] > 0.9
    assert heard[-1]["objective/exact"] > 0.1 > heard[0]["objective/exact"]
    assert heard[-1]["smooth"] == (20.0 if changes else 10.0)


def test_what_is_unrolled_is_what_the_env_does():
    agent, env = make(reach(num_envs=4)), reach(num_envs=4)
    agent.learn(agent.env, 20 * 8 * 4)
    obs, _ = env.reset(seed=5)
    with torch.no_grad():
        states, features = agent.unroll(env, env.state)
    assert len(states) == 9
    assert features.shape == (32, 3)
    actor = agent.actor(4)
    for state in states[1:]:
        assert torch.equal(obs, env.task.observe(env.state))
        obs, _, _, _, info = env.step(actor.act(obs))
        assert torch.equal(info["final_state"]["position"], state["position"])


# The gradient --------------------------------------------------------------------------------------------------------


def test_the_gradient_agrees_with_finite_differences():
    env = reach(num_envs=16, horizon=5)
    agent = make(env, enough=None, smooth=5.0)
    agent.learn(env, 1)  # features are normalised from here on
    env.reset(seed=3)
    start = env.state
    parameters = list(agent.model.parameters())

    def loss():
        return agent.loss(env.task.objective(agent.unroll(env, start)[0], 5.0))

    gradients = torch.autograd.grad(loss(), parameters)
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        direction = [torch.randn(p.shape, generator=generator) for p in parameters]
        slope = sum(float((g * d).sum()) for g, d in zip(gradients, direction, strict=True))
        ends = []
        for shift in (5e-3, -5e-3):
            with torch.no_grad():
                [p.add_(shift * d) for p, d in zip(parameters, direction, strict=True)]
                ends.append(float(loss()))
                [p.sub_(shift * d) for p, d in zip(parameters, direction, strict=True)]
        assert abs(slope) > 1e-3
        assert (ends[0] - ends[1]) / 1e-2 == pytest.approx(slope, rel=0.02, abs=1e-3)


def test_the_gradient_of_one_step_by_hand():
    env = reach(num_envs=1, horizon=1)
    env.reset(seed=0)
    start = env.state
    towards = 0.5 * (start["goal"] - start["position"])
    action = towards.clone().requires_grad_()
    last = {**start, **env.world.dynamics(start, action)}
    env.task.objective([start, last]).sum().backward()
    # The last state is the nearest, and its margin grows along the way to the goal.
    torch.testing.assert_close(action.grad, STEP * towards / towards.norm())


def test_a_good_enough_trajectory_pulls_no_more():
    agent = make(reach(), enough=0.1)
    objective = torch.tensor([-1.0, 0.05, 0.2, 5.0], requires_grad=True)
    loss = agent.loss(objective)
    loss.backward()
    assert loss.item() == pytest.approx(-(-1.0 + 0.05 + 0.1 + 0.1) / 4)
    assert objective.grad.tolist() == [-0.25, -0.25, 0.0, 0.0]
    assert make(reach(), enough=None).loss(objective).item() == pytest.approx(-4.25 / 4)


def test_the_gradient_is_clipped():
    slow, fast = make(reach(), max_grad_norm=1e-3), make(reach(), max_grad_norm=None)
    for agent, bound in ((slow, 1e-3), (fast, torch.inf)):
        heard = []
        agent.learn(agent.env, 1, [heard.append])
        norm = torch.cat([p.grad.flatten() for p in agent.model.parameters()]).norm()
        assert norm == pytest.approx(min(bound, heard[0]["gradient_norm"]), rel=1e-3)
        assert heard[0]["gradient_norm"] > 1e-2


class Broken(Reach):
    def objective(self, states, smooth=None):
        return super().objective(states, smooth) * torch.nan


def test_a_gradient_that_is_not_finite_is_not_followed():
    env = TensorEnv(Point(8), Broken())
    agent, heard = make(env), []
    before = parameters(agent)
    agent.learn(env, 1, [heard.append])
    assert torch.equal(parameters(agent), before)
    assert not heard[0]["gradient_norm"] < torch.inf
    assert heard[0]["success_rate"] == 0.0


# How it goes on ------------------------------------------------------------------------------------------------------


def parameters(agent):
    return torch.cat([parameter.detach().flatten() for parameter in agent.model.parameters()])


def test_the_same_seed_learns_the_same_and_another_does_not():
    agents = [make(reach(), seed=seed) for seed in (3, 3, 4)]
    for agent in agents:
        torch.rand(agent.config.seed + 1)  # the global random numbers play no part
        agent.learn(agent.env, 4 * 8 * 32)
    assert torch.equal(parameters(agents[0]), parameters(agents[1]))
    assert not torch.equal(parameters(agents[0]), parameters(agents[2]))


def test_saved_and_continued_equals_uninterrupted(tmp_path):
    changes = {"final_smooth": 20.0, "anneal_steps": 2000}
    straight, first, second = (make(reach(), **changes) for _ in range(3))
    straight.learn(straight.env, 6 * 8 * 32)
    first.learn(first.env, 3 * 8 * 32)
    first.save(tmp_path / "agent.pt")
    first.learn(first.env, 3 * 8 * 32)
    second.load(tmp_path / "agent.pt")
    assert second.steps_done == 3 * 8 * 32
    second.learn(second.env, 3 * 8 * 32)
    for other in (first, second):
        assert torch.equal(parameters(straight), parameters(other))
        assert straight.model.normalizer.count == other.model.normalizer.count == 6 * 8 * 32
        assert torch.equal(straight.env.episodes.number, other.env.episodes.number)


def test_a_snapshot_does_not_move_with_the_learning():
    agent = make(reach())
    agent.learn(agent.env, 2 * 8 * 32)
    snapshot, world = agent.get_state(), agent.env.get_state()
    for _ in range(2):
        agent.learn(agent.env, 2 * 8 * 32)
        learned = parameters(agent)
        agent.set_state(snapshot)
        agent.env.set_state(world)
    agent.learn(agent.env, 2 * 8 * 32)
    assert torch.equal(parameters(agent), learned)


def test_metrics_counting_and_stopping():
    heard = []
    agent = make(reach(num_envs=4))
    agent.learn(agent.env, 10_000, [lambda metrics: metrics["step"] < 64, heard.append])
    assert [metrics["step"] for metrics in heard] == [32, 64]
    assert (heard[0]["episodes"], heard[0]["episode_length"]) == (4, 8.0)
    assert {"success_rate", "episode_return", "steps_per_s", "objective/smooth", "gradient_norm"} <= set(heard[0])
    assert agent.env.episodes.length.tolist() == [0] * 4  # the env itself was never stepped
    assert agent.env.episodes.number.tolist() == [1] * 4


def test_the_registry_makes_and_loads_it(tmp_path):
    assert agent_config_class("dynamics_gradient") is DynamicsGradientConfig
    agent = make_agent("dynamics_gradient", reach(), hidden=[8])
    agent.learn(agent.env, 1)
    agent.save(tmp_path / "agent.pt")
    obs, _ = reach(num_envs=3).reset(seed=0)
    other = load_agent(tmp_path / "agent.pt", reach(num_envs=3))
    assert torch.equal(other.act(obs), agent.act(obs))
    with pytest.raises(ValueError, match=r"Expected networks with head.weight of shape"):
        make(reach(), hidden=(9,)).load(tmp_path / "agent.pt")


# Formulas ------------------------------------------------------------------------------------------------------------


def reach_and_avoid(num_envs):
    return cairngym.make("StlLinear-ReachAvoid-v0", num_envs=num_envs, horizon=50)


def test_ascends_the_robustness_of_a_formula():
    agent, heard = make(reach_and_avoid(16)), []
    agent.learn(agent.env, 12 * 50 * 16, [heard.append])
    robustness = [metrics["objective/exact"] for metrics in heard]
    assert max(robustness[-3:]) > robustness[0] + 0.1
    assert heard[0]["episode_length"] == 50


def test_the_objective_is_the_robustness_that_the_env_judges_by():
    agent, env = make(reach_and_avoid(8)), reach_and_avoid(8)
    obs, _ = env.reset(seed=5)
    with torch.no_grad():
        states, _ = agent.unroll(env, dict(env.state))
        exact = env.task.objective(states)
        near = env.task.objective(states, 1e4)
    actor = agent.actor(8)
    for _ in range(50):
        obs, _, _, _, info = env.step(actor.act(obs))
    assert info["_episode"].all()
    torch.testing.assert_close(info["final_state"]["stl_low"], exact)
    torch.testing.assert_close(near, exact, atol=1e-2, rtol=0.0)
    assert torch.equal(info["success"], exact >= 0.0)


# What it refuses -----------------------------------------------------------------------------------------------------


def test_envs_without_a_gradient_are_refused():
    with pytest.raises(TypeError, match=r"differentiable dynamics\(state, action\), got ToyWorld.*StlLinear"):
        make(identity())
    with pytest.raises(TypeError, match=r"differentiable dynamics.*got MiniGrid"):
        make(cairngym.make("MiniGrid-Empty-5x5-v0", num_envs=2))

    class Plain(Task):
        horizon, single_observation_space = 3, spaces.Box(-1.0, 1.0, (1,))
        observe = success = lambda self, state: state["age"]

    with pytest.raises(TypeError, match=r"differentiable objective\(states, smooth\), got Plain.*specify"):
        make(TensorEnv(Point(2), Plain()))
    with pytest.raises(TypeError, match="Expected an env without wrappers, got TensorWrapper"):
        make(TensorWrapper(reach()))
    agent = make(reach())
    with pytest.raises(TypeError, match="Expected an env without wrappers"):
        agent.learn(TensorWrapper(reach()), 1)


class Detached(Point):
    def dynamics(self, state, action):
        return {name: value.detach() for name, value in super().dynamics(state, action).items()}


def test_a_world_that_cuts_the_gradient_is_refused():
    env = TensorEnv(Detached(4), Reach())
    check_differentiable(env)
    with pytest.raises(ValueError, match=r"depends on the actions through the dynamics.*without detach"):
        make(env).learn(env, 1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_envs": 0}, "Expected num_envs >= 1"),
        ({"learning_rate": 0.0}, "Expected learning_rate > 0, got 0.0"),
        ({"smooth": -1.0}, "Expected smooth > 0"),
        ({"final_smooth": 20.0}, "Expected smooth and anneal_steps with final_smooth, got 10.0 and None"),
        ({"hidden": ()}, "at least one hidden layer"),
        ({"activation": "tahn"}, "Did you mean 'tanh'"),
        ({"seed": -1}, "Expected a seed in"),
    ],
)
def test_settings_out_of_range_are_refused(changes, message):
    with pytest.raises((ValueError, KeyError), match=message):
        DynamicsGradientConfig(**changes)
