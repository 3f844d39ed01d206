"""Replay under other plans: a toy plan worked out by hand, and the plans of temporal tasks from env to learner."""

import pytest
import torch
from goal_toys import make_line
from replay_toys import column, equal, make_record, make_replay
from test_replay import Ops

import cairngym
from cairngym.agents.hindsight import Hindsight
from cairngym.agents.off_policy_config import SACConfig, TD3Config
from cairngym.agents.records import required_fields
from cairngym.agents.replay import Replay, read_state, record_step
from cairngym.agents.sac import SAC
from cairngym.agents.td3 import TD3
from cairngym.envs.core import Observation, StateField
from cairngym.envs.relabelling import Relabeller, Steps
from cairngym.envs.wrapper import TensorWrapper
from cairngym.envs.wrapper_registry import make_wrapper
from cairngym.reward_shaping.core import ShapedEnv, Shaper, Term

PLAIN = ("clock", "plan")


class Later(Relabeller):
    """Plans that are the clock at a later step: what an episode really did."""

    fields, glimpse_fields, glimpses, draws = PLAIN, ("clock",), 1, 1

    def relabel(self, steps, later, uniforms):
        assert uniforms.shape == (len(later["clock"]), 1)
        plan = later["clock"].expand(steps.state["plan"].shape)

        def shown(part):
            return {**part, "plan": plan.unsqueeze(2)} if "observation" in part else {**part, "plan": plan}

        return Steps(*(shown(part) for part in steps))


class Planned(TensorWrapper):
    """Adds a clock and a plan, a step, to the state of the line."""

    @property
    def relabeller(self):
        return Later()

    @property
    def state_spec(self):
        field = StateField(shape=(), unit="step", description="A step.")
        return {**self.env.state_spec, "clock": field, "plan": field}


class OnTime(Shaper):
    """Pays one for arriving when planned."""

    requires = PLAIN

    def shape(self, transition):
        seen = transition.next_obs["plan"][:, 0]
        assert torch.equal(seen, transition.next_state["plan"])
        assert torch.equal(seen, transition.state["plan"])
        return (transition.next_state["clock"] == seen).float()


def planned():
    return ShapedEnv(Planned(make_line(1, size=99.0)), [Term(name="on_time", shaper=OnTime())])


def lived(env, lengths, *, ended=True, **options):
    """A replay of one env with episodes of these lengths; steps are numbered through, clocks begin at 0."""
    replay, number = make_replay(env, strategy="times", **options), 0
    for episode, length in enumerate(lengths):
        for clock in range(length):
            end = clock == length - 1 and (ended or episode < len(lengths) - 1)
            record = make_record(env, [number], [clock], [clock + 1], [50], truncated=[end])
            state, after = ({"clock": torch.tensor([float(t)]), "plan": torch.zeros(1)} for t in (clock, clock + 1))
            obs, next_obs = ({**part, "plan": column([0])} for part in (record.obs, record.next_obs))
            replay.add(record._replace(obs=obs, next_obs=next_obs, state=state, next_state=after))
            number += 1
    return replay


def samples(replay, count=600):
    """Sampled (number, plan, reward, next number, discount), as a set."""
    batch = replay.sample(count)
    assert torch.equal(batch.obs["plan"], batch.next_obs["plan"])
    rows = torch.stack((
        batch.obs["observation"][:, 0], batch.obs["plan"][:, 0], batch.reward,
        batch.next_obs["observation"][:, 0] - 0.5, batch.discount,
    ), dim=1)  # fmt: skip
    return {tuple(row) for row in rows.tolist()}


# Every step earns -1 from the task, and 1 where the clock after it is the plan; gamma is 0.5.


@pytest.mark.parametrize("ended", [True, False], ids=["ended", "running"])
def test_plans_come_from_what_the_episode_did_later(ended):
    assert samples(lived(planned(), [3], ended=ended)) == {
        (0, 1, 0.0, 0, 0.5), (0, 2, -1.0, 0, 0.5), (0, 3, -1.0, 0, 0.5),
        (1, 2, 0.0, 1, 0.5), (1, 3, -1.0, 1, 0.5), (2, 3, 0.0, 2, 0.5),
    }  # fmt: skip


def test_all_rewards_of_a_window_are_judged_by_its_plan():
    assert samples(lived(planned(), [4], n_step=2)) == {
        (0, 1, -0.5, 1, 0.25),  # 0 - 1/2
        (0, 2, -1.0, 1, 0.25),  # -1 + 0
        (0, 3, -1.5, 1, 0.25), (0, 4, -1.5, 1, 0.25),
        (1, 2, -0.5, 2, 0.25), (1, 3, -1.0, 2, 0.25), (1, 4, -1.5, 2, 0.25),
        (2, 3, -0.5, 3, 0.25), (2, 4, -1.0, 3, 0.25),
        (3, 4, 0.0, 3, 0.5),  # one step to the end
    }  # fmt: skip


def test_plans_never_come_from_another_episode():
    found = {(number, plan) for number, plan, *_ in samples(lived(planned(), [2, 3]))}
    assert found == {(0, 1), (0, 2), (1, 2), (2, 1), (2, 2), (2, 3), (3, 2), (3, 3), (4, 3)}


@pytest.mark.parametrize("n_step", [1, 3])
def test_a_wrapped_ring_shows_what_it_still_holds(n_step):
    # Four slots for six steps: of the first episode (clocks 0 to 3) steps 2 and 3 are held, of the second 4 and 5.
    replay = lived(planned(), [4, 2], ended=False, capacity=4, n_step=n_step)
    found = {(number, plan) for number, plan, *_ in samples(replay)}
    assert found == {(2, 3), (2, 4), (3, 4), (4, 1), (4, 2), (5, 2)}


def test_a_share_of_the_samples_keeps_its_plan():
    replay = lived(planned(), [3], ratio=0.7)
    plans = replay.sample(4000).obs["plan"][:, 0]
    assert abs(float((plans > 0).float().mean()) - 0.7) < 4 * (0.7 * 0.3 / 4000) ** 0.5
    assert (0, 0, -1.0, 0, 0.5) in samples(replay)
    assert {plan for _, plan, *_ in samples(lived(planned(), [3], ratio=0.0))} == {0.0}


# Temporal tasks ------------------------------------------------------------------------------------------------------


def temporal(num_envs=8, seed=0, horizon=50):
    env = cairngym.make("StlLinear-ReachAvoid-v0", num_envs=num_envs, horizon=horizon, seed=seed)
    return cairngym.shape(make_wrapper("temporal", env), "stages")


def filled(env, steps, **options):
    replay = Replay(
        env, capacity=options.pop("capacity", 4000), gamma=0.9, generator=torch.Generator().manual_seed(0),
        hindsight=Hindsight(strategy="times", ratio=options.pop("ratio", 0.8)), **options,
    )  # fmt: skip
    generator = torch.Generator().manual_seed(1)
    obs, _ = env.reset(seed=0)
    for _ in range(steps):
        state = read_state(env, replay.windows.fields)
        action = torch.rand(env.num_envs, *env.single_action_space.shape, generator=generator) * 2 - 1
        result = env.step(action)
        replay.add(record_step(env, obs, state, action, result))
        obs = result[0]
    return replay


def test_replay_keeps_what_relabelling_reads_beside_what_shapers_do():
    env = temporal()
    fields = env.relabeller.fields
    assert {"stl_margins", "stl_time", "plan_times", "plan_leads"} <= set(fields)
    assert set(required_fields(env, fields)) == {*required_fields(env), *fields}
    replay = filled(env, 2)
    assert replay.ring.columns["state"].keys() == set(required_fields(env, fields))


def test_only_the_plan_of_a_sample_changes():
    env = temporal()
    replay, twin = filled(env, 70), filled(temporal(), 70, ratio=0.0)
    replay.generator.manual_seed(3)
    twin.generator.manual_seed(3)
    anew, recorded = replay.sample(512), twin.sample(512)
    size = env.env.features.size
    for name in ("obs", "next_obs"):
        mine, old = getattr(anew, name), getattr(recorded, name)
        assert torch.equal(mine[:, :-size], old[:, :-size])
        assert 0.5 < float((mine[:, -size:] != old[:, -size:]).any(1).float().mean()) < 0.85
    assert torch.equal(anew.action, recorded.action)
    assert torch.equal(anew.discount, recorded.discount)
    assert not torch.equal(anew.reward, recorded.reward)


def test_sampling_touches_as_much_whatever_is_held_and_waits_for_nothing():
    touched = []
    for steps in (10, 60):
        replay = filled(temporal(), steps, n_step=2, capacity=8 * steps)
        with Ops() as ops:
            replay.sample(16)
        touched.append(ops.touched)
        assert not ops.names & {"_local_scalar_dense", "nonzero", "masked_select", "is_nonzero"}
    assert touched[0] == touched[1]


SMALL = {"num_envs": 8, "warmup_steps": 80, "batch": 32, "hidden": (16,), "updates_per_step": 0.0625, "capacity": 320}


@pytest.mark.parametrize(("agent", "config"), [(TD3, TD3Config), (SAC, SACConfig)])
def test_a_run_resumes_bit_for_bit(agent, config, tmp_path):
    settings = config(hindsight="times", n_step=2, **SMALL)
    straight, first, second = (agent(temporal(), settings) for _ in range(3))
    straight.learn(straight.env, 480)
    first.learn(first.env, 240)
    first.save(tmp_path / "agent.pt")
    second.load(tmp_path / "agent.pt")
    second.learn(second.env, 240)
    assert equal(straight.networks.state_dict(), second.networks.state_dict())
    assert equal(straight.replay.ring.columns, second.replay.ring.columns)


# What it refuses -----------------------------------------------------------------------------------------------------


class Doubled(TensorWrapper):
    """Changes what is seen of a plan."""

    def observation(self, obs: Observation, state) -> Observation:
        return 2.0 * obs


class Halved(TensorWrapper):
    """Changes what is done only."""

    def action(self, action):
        return 0.5 * action


def test_envs_without_plans_or_with_hidden_ones_are_refused():
    for env in (make_line(2), Doubled(temporal().env)):
        assert env.relabeller is None
        with pytest.raises(TypeError, match=r'whose episodes follow plans.*"temporal", outside of'):
            make_replay(env, strategy="times")
    assert make_replay(Halved(temporal()), strategy="times").windows.fields
