"""The shaper pays each end once, for what was judged; the contract, resuming, and PPO."""

import contract
import pytest
import torch
from calm_helpers import TASK, Scribe

import cairngym
from cairngym.agents.ppo import PPO, PPOConfig
from cairngym.reward_shaping.core import ShapedEnv, Term
from cairngym.reward_shaping.llm.beacons.subgoals import Subgoal
from cairngym.reward_shaping.llm.calm.events import decode, encode
from cairngym.reward_shaping.llm.calm.judges import ModelJudge, RuleJudge
from cairngym.reward_shaping.llm.calm.shaper import CalmShaper
from cairngym.reward_shaping.llm.calm.terminations import rule
from cairngym.reward_shaping.llm.scripted import Lookahead
from cairngym.reward_shaping.llm.transitions import record_transitions


def shaped(shaper, name=TASK, num_envs=4, **options):
    inner = cairngym.make(name, num_envs=num_envs, bank_size=16, threads=1, **options)
    return ShapedEnv(inner, [Term(name="calm", shaper=shaper, weight=0.1)])


class Prepared(CalmShaper):
    """Has every event judged that was seen in a recording."""

    events = torch.empty(0, dtype=torch.int64)

    def bind(self, env):
        super().bind(env)
        self._waiting = [self.events]
        self.update()


@pytest.fixture(scope="module")
def prepared():
    played = cairngym.make(TASK, num_envs=8, bank_size=16, threads=1)
    recorded = record_transitions(played, 80, Lookahead(played), 5)
    Prepared.events = encode(recorded.state, recorded.next_state)
    return Prepared


@pytest.mark.parametrize("check", contract.CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
def test_contract(prepared, check):
    def make(num_envs=1, **options):
        return shaped(prepared(), num_envs=num_envs, **options)

    check(make)


def test_each_end_is_paid_once_an_episode_and_only_when_judged():
    shaper = CalmShaper()
    env = shaped(shaper, num_envs=6, seed=2)
    env.reset()
    policy, generator = Lookahead(env.unwrapped), torch.Generator().manual_seed(0)
    judged, met, ended = set(), set(), [set() for _ in range(6)]
    paid = unpaid = 0
    for t in range(120):
        random = torch.randint(7, (6,), generator=generator)
        before = dict(env.unwrapped.state)
        action = torch.where(torch.rand(6, generator=generator) < 0.6, policy(env.unwrapped.state), random)
        *_, info = env.step(action)
        codes = encode(before, info["final_state"]).tolist()
        for i, code in enumerate(codes):
            ends = {goal for goal in shaper.subgoals if rule(goal, decode(code))}
            due = len(ends - ended[i]) if code in judged else 0
            assert info["reward_terms"]["calm"][i].item() == due
            if code in judged:
                ended[i] |= ends
            paid, unpaid = paid + due, unpaid + (len(ends) if code not in judged else 0)
            met.add(code)
            if info["_final_obs"][i]:
                ended[i] = set()
        if t % 20 == 19:
            fresh = met - judged
            metrics = env.update_shapers()
            assert metrics["calm/asked"] == len(fresh) * len(shaper.subgoals)
            judged |= met
            assert metrics["calm/judged"] == len(judged)
            assert metrics["calm/unanswered"] == 0
    assert paid > 5
    assert unpaid


def test_an_endpoint_that_is_down_is_asked_again_and_harms_nothing():
    down = [True]
    with Scribe(lambda request: None if down[0] else "no") as provider:
        env = shaped(CalmShaper(judge=ModelJudge(provider), subgoals=[Subgoal(deed=2, kind=5)]))
        env.reset()
        for _ in range(2):
            env.step([0, 1, 0, 1])
        metrics = env.update_shapers()
        assert (metrics["calm/judged"], metrics["calm/unanswered"]) == (0, metrics["calm/asked"])
        assert metrics["calm/asked"] > 0
        down[0] = False
        for _ in range(2):
            env.step([1, 0, 1, 0])
        metrics = env.update_shapers()
        assert metrics["calm/unanswered"] == 0
        assert metrics["calm/judged"] == metrics["calm/asked"] > 0
        assert env.update_shapers()["calm/asked"] == 0


def test_resume_is_bitwise():
    def play(env, actions):
        steps = []
        for t, action in enumerate(actions):
            steps.append(contract.frozen(env.step(action)))
            if t % 7 == 6:
                steps.append({name: torch.tensor(value) for name, value in env.update_shapers().items()})
        return dict(enumerate(steps))

    env = shaped(CalmShaper(judge="rule", noise=0.3), num_envs=5, seed=6)
    env.reset()
    actions = contract.actions_of(env, 45)
    play(env, actions[:25])
    snapshot = env.get_state()
    life = play(env, actions[25:])
    assert any(step["reward_terms"]["calm"].any() for step in life.values() if "reward_terms" in step)
    other = shaped(CalmShaper(judge="rule", noise=0.3), num_envs=5, seed=99)
    other.set_state(snapshot)
    contract.assert_same(life, play(other, actions[25:]), "steps")


def test_a_snapshot_of_other_subgoals_is_refused():
    snapshot = shaped(CalmShaper()).own_terms[0].shaper.get_state()
    with pytest.raises(ValueError, match="Expected a snapshot of the subgoals"):
        shaped(CalmShaper(subgoals=[Subgoal(deed=2, kind=5)])).own_terms[0].shaper.set_state(snapshot)


def test_subgoals_and_judgements_from_recordings(cassette):
    source = f"recorded:{cassette}"
    env = shaped(CalmShaper(judge=source, subgoals=source), num_envs=8, seed=1)
    shaper = env.own_terms[0].shaper
    assert [goal.sentence for goal in shaper.subgoals] == ["pick up the key", "open the locked door"]
    paid = []
    for _ in range(2):  # what the first life meets, the second is paid for
        env.reset(seed=1)
        policy, total = Lookahead(env.unwrapped), 0.0
        for _ in range(40):
            *_, info = env.step(policy(env.unwrapped.state))
            total += float(info["reward_terms"]["calm"].sum())
        paid.append(total)
        env.update_shapers()
    assert paid[0] == 0
    assert paid[1] >= 4


def test_what_can_not_be():
    with pytest.raises(ValueError, match="noise with judge='rule' only"):
        CalmShaper(judge="recorded:", noise=0.1)
    with pytest.raises(TypeError, match="MiniGrid"):
        CalmShaper().bind(cairngym.make("Chain-N10-v0"))
    with pytest.raises(ValueError, match="got none"):
        shaped(CalmShaper(subgoals=[]))


def test_ppo_learns_with_it():
    env = shaped(CalmShaper(judge=RuleJudge()), name="MiniGrid-MultiRoom-N2-S4-v0", num_envs=32)
    agent = PPO(env, PPOConfig(rollout_steps=32, minibatch=256, hidden=(32,)))
    records = []
    agent.learn(env, 3 * 1024, [records.append])
    assert records[-1]["shaper/calm/judged"] > records[0]["shaper/calm/judged"] > 10
    assert records[-1]["reward_terms/calm"] > 0
