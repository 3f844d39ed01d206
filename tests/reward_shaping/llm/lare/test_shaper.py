import warnings

import pytest
import torch
from gymnasium.vector import AutoresetMode
from lare_toys import FACTORS, LENGTH, Script, fenced, matching

from cairngym.envs.core import Transition
from cairngym.envs.registry import make
from cairngym.reward_shaping.core import ShapedEnv, Term
from cairngym.reward_shaping.llm.lare.shaper import LaReShaper
from cairngym.reward_shaping.llm.program import ProgramRefused

SMALL = {"hidden": (16,), "capacity": 32, "batch": 8, "updates": 4, "learning_rate": 0.01, "warmup": 8}
BEST = """
def reward(state, action, next_state, memory):
    best = torch.maximum(memory.get("best", 0.0), next_state.node.float())
    memory["best"] = best
    return best, {"best": best}
"""


def shaped(env, **options):
    return ShapedEnv(env, [Term(name="lare", shaper=LaReShaper(**{**SMALL, **options}))])


def lare(env):
    return env.own_terms[0].shaper


def walk(env, steps, seed=0, right=0.5):
    """Random steps; gives the rewards, the terms and the task's rewards, `(steps, N)` each."""
    generator = torch.Generator().manual_seed(seed)
    high = int(env.single_action_space.n)
    rows = []
    for _ in range(steps):
        action = torch.randint(high, (env.num_envs,), generator=generator)
        if high == 2:
            action = (torch.rand(env.num_envs, generator=generator) < right).long()
        _, reward, _, _, info = env.step(action)
        rows.append((reward, info["reward_terms"]["lare"], info["task_reward"]))
    return [torch.stack(column) for column in zip(*rows, strict=True)]


def test_the_redistributed_reward_takes_the_place_of_the_tasks():
    env, kept = (shaped(matching(), source=FACTORS, keep_task=keep) for keep in (False, True))
    for some in (env, kept):
        some.reset(seed=0)
        walk(some, 3 * LENGTH)
        some.update_shapers()
    reward, term, task = walk(env, 2 * LENGTH, seed=1)
    with_task, fitted, _ = walk(kept, 2 * LENGTH, seed=1)
    assert task.any()
    assert fitted.any()
    torch.testing.assert_close(reward, fitted)
    torch.testing.assert_close(term, fitted - task)
    torch.testing.assert_close(with_task, fitted + task)


def test_what_an_episode_pays_comes_to_its_return():
    env = shaped(matching(64), source=FACTORS, hidden=(), updates=400, learning_rate=0.02, capacity=128, batch=32)
    env.reset(seed=0)
    walk(env, 2 * LENGTH)
    metrics = env.update_shapers()
    assert metrics["lare/episodes"] == 128
    reward, _, task = walk(env, LENGTH, seed=1)
    torch.testing.assert_close(reward.sum(0), task.sum(0), atol=0.02, rtol=0.0)
    assert not task[:-1].any(), "which was told at the end only"


def test_episodes_that_end_and_that_are_cut_both_count_whole():
    env = shaped(make("Chain-N10-v0", num_envs=4), factors="state", capacity=64)
    env.reset(seed=0)
    for t in range(80):
        env.step([1, 1, 0, t % 2])
    found = lare(env).ring.since(0)
    lengths, returns = found.length.tolist(), found.returned.tolist()
    assert lengths == [9, 9] * 4 + [40, 40] + [9, 9] * 4 + [40, 40]
    assert returns == [1.0, 1.0] * 4 + [0.0, 0.0] + [1.0, 1.0] * 4 + [0.0, 0.0]
    names = lare(env).factors.names
    assert names == ("node", "node change", "action 0", "action 1")
    first = found.factors[0, :9]
    assert first[:, 0].tolist() == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0], (
        "the true next state, before the reset"
    )
    assert first[:, 1].tolist() == [1.0] * 9
    assert first[:, 2:].tolist() == [[0.0, 1.0]] * 9


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_every_way_of_resetting_keeps_the_same_episodes(mode):
    env = shaped(make("Chain-N10-v0", num_envs=3, autoreset_mode=mode), factors="state")
    env.reset(seed=0)
    for _ in range(30):
        _, _, terminated, truncated, _ = env.step([1, 0, 1])
        over = terminated | truncated
        if mode is AutoresetMode.DISABLED and over.any():
            env.step([1, 0, 1])  # what ended stands still
            env.reset(options={"reset_mask": over})
    found = lare(env).ring.since(0)
    assert found.length.tolist() == [9] * 6
    assert found.returned.tolist() == [1.0] * 6
    assert found.factors[:, :, 0].tolist() == [[1, 2, 3, 4, 5, 6, 7, 8, 9]] * 6


def test_an_episode_reset_by_hand_is_not_learned_from():
    env = shaped(make("Chain-N10-v0", num_envs=2), factors="state")
    env.reset(seed=0)
    for _ in range(5):
        env.step([1, 1])
    env.reset(options={"reset_mask": torch.tensor([True, False])})
    for _ in range(9):
        env.step([1, 1])
    assert lare(env).ring.since(0).length.tolist() == [9, 9]


def test_nothing_is_learned_or_drawn_outside_of_update():
    env = shaped(matching(), source=FACTORS, warmup=0)
    env.reset(seed=0)
    walk(env, 2 * LENGTH)
    env.update_shapers()
    before, drawn = lare(env).decoder.get_state(), torch.random.get_rng_state()
    walk(env, 2 * LENGTH, seed=1)
    after = lare(env).decoder.get_state()
    assert torch.equal(before["generator"], after["generator"])
    assert all(torch.equal(before["network"][name], after["network"][name]) for name in before["network"])
    assert before["moments"]["count"] == after["moments"]["count"]
    env.update_shapers()
    learned = lare(env).decoder.get_state()["network"]
    assert not all(torch.equal(before["network"][name], learned[name]) for name in learned)
    assert torch.equal(drawn, torch.random.get_rng_state())


def test_every_episode_is_taken_into_the_statistics_once():
    env = shaped(matching(8), source=FACTORS, capacity=64)
    env.reset(seed=0)
    for count in (1, 2, 3):
        walk(env, LENGTH)
        env.update_shapers()
        assert lare(env).decoder.moments.count == 8 * LENGTH * count
    env.update_shapers()
    assert lare(env).decoder.moments.count == 8 * LENGTH * 3


def test_the_task_stands_alone_until_enough_episodes_were_finished():
    env = shaped(matching(8), source=FACTORS, warmup=16)
    env.reset(seed=0)
    assert env.update_shapers() == {"lare/episodes": 0.0, "lare/switched_off": 0.0}
    for paid in (False, False, True):
        reward, term, task = walk(env, LENGTH)
        assert bool(term.any()) is paid
        if not paid:
            assert torch.equal(reward, task)
        metrics = env.update_shapers()
    assert sorted(metrics) == ["lare/episodes", "lare/loss", "lare/scale", "lare/switched_off"]


def test_factors_that_remember_begin_anew_with_each_episode():
    env = shaped(make("Chain-N10-v0", num_envs=1), source=BEST)
    env.reset(seed=0)
    for action in [1] * 4 + [0] * 4 + [1] * 9 + [1, 0, 1]:
        env.step([action])
    assert lare(env).memory
    assert lare(env).requires == ("node",)
    ring = lare(env).ring
    assert ring.since(0).factors[0, :, 0].tolist() == [1, 2, 3, 4, 4, 4, 4, 4, 4, 4, 4, 4, 5, 6, 7, 8, 9]
    for _ in range(8):
        env.step([1])
    assert ring.since(1).factors[0, :3, 0].tolist() == [1, 1, 1]
    env.update_shapers()
    lare(env)._ready = True
    replayed = Transition(
        obs=torch.zeros(1), state={"node": torch.tensor([1])}, action=torch.tensor([1]), next_obs=torch.zeros(1),
        next_state={"node": torch.tensor([2])}, reward=torch.zeros(1), terminated=torch.tensor([False]),
        truncated=torch.tensor([False]), success=torch.tensor([False]), env_id=None,
    )  # fmt: skip
    with pytest.raises(ValueError, match="keep the value collected"):
        lare(env).shape(replayed)


def test_factors_without_memory_are_judged_anew_when_replayed():
    env = shaped(matching(8), source=FACTORS, warmup=0)
    env.reset(seed=0)
    walk(env, LENGTH)
    env.update_shapers()
    assert not lare(env).memory
    zero, no = torch.zeros(4), torch.zeros(4, dtype=torch.bool)
    shown = {"shown": torch.tensor([0, 1, 2, 3])}
    replayed = Transition(
        obs=zero, state=shown, action=torch.tensor([0, 1, 0, 0]), next_obs=zero, next_state=shown, reward=zero,
        terminated=no, truncated=no, success=no, env_id=None,
    )  # fmt: skip
    value = lare(env).shape(replayed)
    assert value.shape == (4,)
    assert value.unique().numel() > 1


@pytest.mark.parametrize("fault", ["1.0 / (next_state.node - 5)", "torch.exp(100.0 * next_state.node.float())"])
def test_factors_that_are_not_finite_are_switched_off_with_one_warning(fault):
    text = f"def reward(state, action, next_state, memory):\n    x = {fault}\n    return x, {{'x': x}}"
    env = shaped(make("Chain-N10-v0", num_envs=2), source=text, warmup=0)
    env.reset(seed=0)
    for _ in range(3):
        env.step([0, 0])
    env.update_shapers()
    with pytest.warns(RuntimeWarning, match="SWITCHED OFF for the rest of this run") as found:
        walk(env, 60, right=0.9)
    assert len(found) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert env.update_shapers()["lare/switched_off"] == 1.0
        reward, _, task = walk(env, 60, right=0.9)
        assert torch.equal(reward, task)
        assert env.update_shapers()["lare/switched_off"] == 1.0


def test_a_program_that_fails_is_switched_off_and_the_run_goes_on(monkeypatch):
    from cairngym.reward_shaping.llm.program import ProgramFailed, RewardProgram

    env = shaped(matching(4), source=FACTORS, warmup=0)
    env.reset(seed=0)
    walk(env, LENGTH)
    env.update_shapers()

    def fails(self, *arguments):
        raise ProgramFailed("out of memory", 3)

    monkeypatch.setattr(RewardProgram, "__call__", fails)
    with pytest.warns(RuntimeWarning, match="line 3: out of memory"):
        reward, _, task = walk(env, LENGTH)
    assert torch.equal(reward, task)
    assert env.update_shapers()["lare/switched_off"] == 1.0


@pytest.mark.parametrize("options", [{"source": FACTORS}, {"factors": "state", "loss": "unbiased", "subset": 5}])
def test_a_copy_goes_on_bit_for_bit(options):
    env, other = (shaped(matching(16), **options) for _ in range(2))
    env.reset(seed=0)
    for _ in range(2):
        walk(env, LENGTH - 5)
        env.update_shapers()
    other.reset(seed=3)
    walk(other, 7)
    other.set_state(env.get_state())
    for seed in (1, 2, 3):
        for mine, theirs in zip(walk(env, LENGTH - 5, seed), walk(other, LENGTH - 5, seed), strict=True):
            assert torch.equal(mine, theirs)
        assert env.update_shapers() == other.update_shapers()
    assert lare(env).ready


def test_a_copy_brings_its_program_along():
    env = shaped(make("Chain-N10-v0", num_envs=2), source=BEST)
    other = shaped(make("Chain-N10-v0", num_envs=2), factors="state")
    for some in (env, other):
        some.reset(seed=0)
        walk(some, 60)
        some.update_shapers()
    snapshot = env.get_state()
    other.set_state(snapshot)
    assert lare(other).factors.names == ("best",)
    assert lare(other).memory
    assert torch.equal(walk(env, 30, seed=4)[0], walk(other, 30, seed=4)[0])
    state = shaped(make("Chain-N10-v0", num_envs=2), factors="state")
    state.reset(seed=0)
    env.set_state(state.get_state())
    assert lare(env).factors.names == ("node", "node change", "action 0", "action 1")


def test_a_copy_whose_program_reads_what_nobody_keeps_is_refused():
    env = shaped(matching(2), source=FACTORS)
    text = "def reward(state, action, next_state, memory):\n    x = (action == 1).float()\n    return x, {'x': x}"
    other = shaped(matching(2), source=text)
    for some in (env, other):
        some.reset(seed=0)
    with pytest.raises(ValueError, match=r"fields \['shown'\]"):
        other.set_state(env.get_state())


def test_programs_come_from_files_and_from_completions(tmp_path):
    path = tmp_path / "answer.md"
    path.write_text(fenced(FACTORS), encoding="utf-8")
    assert lare(shaped(matching(2), path=path)).factors.names == ("right", "first", "code")
    with pytest.raises(ProgramRefused, match="hits"):
        shaped(matching(2), source=FACTORS.replace("state.shown", "state.hits"))


def test_a_model_is_asked_once_for_an_env(monkeypatch):
    from cairngym.reward_shaping.llm.lare import authoring

    monkeypatch.setattr(authoring, "record_factors", lambda env: pytest.fail("verified"))
    monkeypatch.setattr(authoring.write_factors, "__kwdefaults__", {"candidates": 3, "repairs": 5, "verify": False})
    provider = Script("a", "b", fenced(FACTORS))
    env = shaped(matching(2), provider=provider, candidates=2)
    assert [request.n for request in provider.asked] == [2, 1]
    again = ShapedEnv(env.env, (*env.own_terms, Term(name="other", shaper=LaReShaper(factors="state"))))
    assert len(provider.asked) == 2
    assert again.own_terms[0].shaper.factors.names == ("right", "first", "code")


def test_options_that_make_no_sense_are_refused():
    for options, message in [
        ({"factors": "program", "source": "x", "path": "y"}, "one of source, path and provider"),
        ({"factors": "state", "source": "x"}, "no program"),
        ({"factors": "pixels"}, "'program' or 'state'"),
        ({"source": FACTORS, "fields": ["shown"]}, "factors='state' only"),
        ({"factors": "state", "capacity": 0}, "capacity >= 1"),
        ({"factors": "state", "warmup": -1}, "warmup >= 0"),
        ({"factors": "state", "loss": "l2"}, "'rrd'"),
        ({"candidates": 0}, "candidates >= 1"),
    ]:
        with pytest.raises(ValueError, match=message):
            LaReShaper(**options)
    with pytest.raises(KeyError, match="Did you mean 'shown'"):
        shaped(matching(2), factors="state", fields=["show"])
    with pytest.raises(ValueError, match="fit into 1024 MiB"):
        shaped(matching(2), factors="state", capacity=10**7)


def test_privileged_measurements_are_no_factors():
    names = lare(shaped(matching(2), factors="state")).factors.names
    assert names == ("shown", "shown change", "action 0", "action 1", "action 2", "action 3")
