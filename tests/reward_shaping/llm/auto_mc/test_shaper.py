"""The shaper: designs given, replayed and refused; values; NaN; and runs that go on bit for bit."""

import pickle
import warnings

import pytest
import torch
from auto_mc_toys import BEST, CHAIN, GRID, PUSH, Scripted, fenced, named

import cairngym
from cairngym.reward_shaping.core import ShapedEnv, Term
from cairngym.reward_shaping.llm.auto_mc.designer import DesignRefused
from cairngym.reward_shaping.llm.auto_mc.prompts import designer_request
from cairngym.reward_shaping.llm.auto_mc.shaper import AutoMCShaper
from cairngym.reward_shaping.llm.program import ProgramRefused
from cairngym.reward_shaping.llm.provider import MissingRecordingError
from cairngym.reward_shaping.llm.recording import record_texts
from cairngym.reward_shaping.registry import list_shapers, make_term, register_shaper

VALUES = {-1.1, -1.0, -0.9, -0.1, 0.0, 0.1, 0.9, 1.0, 1.1}
TASKS = {"Chain-N10-v0": BEST, "MiniGrid-DoorKey-5x5-v0": GRID, "FetchPush-v4": PUSH}


def shaped(env_id="Chain-N10-v0", num_envs=4, **options):
    env = named(env_id, num_envs=num_envs, **({"bank_size": 64} if env_id.startswith("MiniGrid") else {}))
    env = ShapedEnv(env, [Term(name="mc", shaper=AutoMCShaper(**options))])
    env.reset(seed=3)
    return env


def actions(env, count, seed=0):
    env.action_space.seed(seed)
    return [torch.as_tensor(env.action_space.sample()) for _ in range(count)]


@pytest.mark.parametrize("env_id", TASKS)
def test_a_run_pays_the_nine_values_and_goes_on_bit_for_bit(env_id):
    one = shaped(env_id, source=TASKS[env_id])
    moves = actions(one, 30)
    rows = [one.step(move) for move in moves]
    paid = torch.stack([info["reward_terms"]["mc"] for *_, info in rows])
    assert {round(value, 4) for value in paid.flatten().tolist()} <= VALUES
    assert bool((paid != 0).any())
    two = shaped(env_id, source=TASKS[env_id])
    for move in moves[:13]:
        two.step(move)
    snapshot = pickle.loads(pickle.dumps(two.get_state()))
    three = shaped(env_id, source=TASKS[env_id])
    three.set_state(snapshot)
    for row, move in zip(rows[13:], moves[13:], strict=True):
        assert torch.equal(three.step(move)[1], row[1])
    assert three.update_shapers() == one.update_shapers()


def test_metrics_are_the_means_of_the_signs():
    env = shaped(source=CHAIN, num_envs=1)
    for move in (1, 1, 0, 1):
        env.step([move])
    metrics = env.update_shapers()
    assert metrics["mc/components/dense"] == pytest.approx(0.5)
    assert metrics["mc/components/sparse"] == 0.0
    assert metrics["mc/value"] == pytest.approx(0.05)
    assert metrics["mc/switched_off"] == 0.0


def test_a_replayed_design_is_verified_and_asked_for_once(tmp_path):
    env, path = named("Chain-N10-v0", num_envs=2), tmp_path / "auto_mc.jsonl"
    bad = CHAIN.replace('"dense": change', '"dense": change.abs() + 1')
    record_texts(path, designer_request(env), (fenced(bad), fenced(CHAIN)), source="a test", date="2026-01-31")
    shaper = AutoMCShaper(provider=f"recorded:{path}", candidate=1)
    shaper.bind(env)
    assert (shaper.written.verdict.accepted, shaper.note) == (True, "")
    assert shaper.design.program.source.strip() == CHAIN.strip()
    path.unlink()
    shaper.bind(named("Chain-N10-v0", num_envs=3))
    assert shaper.requires == ("node",)
    with pytest.raises(cairngym.envs.checks.UnknownNameError):
        AutoMCShaper(provider=f"recorded:{path}").bind(env)


def test_a_rejected_recording_without_a_recorded_repair_says_what_is_missing(tmp_path):
    env, path = named("Chain-N10-v0"), tmp_path / "auto_mc.jsonl"
    record_texts(path, designer_request(env), ("No.",), source="a test", date="2026-01-31")
    with pytest.raises(MissingRecordingError, match="no code") as caught:
        AutoMCShaper(provider=f"recorded:{path}", verify=False).bind(env)
    assert "1 attempts, none accepted" in caught.value.__notes__[0]


def test_without_an_accepted_design_the_attempts_are_listed():
    shaper = AutoMCShaper(provider=Scripted("No.", "Never."), repairs=1, verify=False)
    with pytest.raises(DesignRefused, match="auto_mc/Chain-N10-v0, candidate 0") as caught:
        shaper.bind(named("Chain-N10-v0"))
    assert "1. " in str(caught.value)
    assert "2. " in str(caught.value)


def test_a_critic_may_be_another_model():
    critic = Scripted("FAIL: no.", "PASS")
    shaper = AutoMCShaper(provider=Scripted(fenced(BEST), fenced(CHAIN)), critic=critic, verify=False)
    shaper.bind(named("Chain-N10-v0"))
    assert shaper.design.program.source.strip() == CHAIN.strip()
    assert len(critic.asked) == 2


def test_an_env_that_cannot_be_rehearsed_is_not_verified_and_says_so(monkeypatch):
    monkeypatch.setattr("cairngym.reward_shaping.llm.auto_mc.shaper.rehearse", lambda env: None)
    shaper = AutoMCShaper(provider=Scripted(fenced(CHAIN)))
    with pytest.warns(UserWarning, match="not tried on transitions"):
        shaper.bind(named("Chain-N10-v0"))
    assert "not tried" in shaper.note


def test_a_component_that_is_not_finite_switches_the_term_off_once():
    source = CHAIN.replace('"dense": change', '"dense": change / (state.node - 2).float()')
    env = shaped(source=source, num_envs=1)
    with pytest.warns(RuntimeWarning, match="SWITCHED OFF") as caught:
        rewards = [float(env.step([1])[1]) for _ in range(5)]
    assert len(caught) == 1
    assert rewards == pytest.approx([-0.1, -0.1, 0.0, 0.0, 0.0])
    assert env.update_shapers()["mc/switched_off"] == 1.0


def test_huge_components_are_as_good_as_small_ones():
    source = CHAIN.replace('"dense": change', '"dense": 1e30 * change')
    env = shaped(source=source, num_envs=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert float(env.step([1])[1]) == pytest.approx(0.1)


def test_a_design_comes_from_a_file_or_a_completion_in_it(tmp_path):
    path = tmp_path / "design.md"
    path.write_text(fenced(CHAIN))
    assert float(shaped(path=path, num_envs=1).step([1])[1]) == pytest.approx(0.1)
    assert float(shaped(source=CHAIN, sparse_weight="2", dense_weight="0.5", num_envs=1).step([1])[1]) == 0.5


def test_replayed_transitions_are_paid_as_they_were_collected():
    env = shaped(source=CHAIN)
    shaper = env.own_terms[0].shaper
    assert not shaper.memory
    assert shaper.policy_invariant is False
    assert AutoMCShaper(source=BEST).memory is False
    assert shaped(source=BEST).own_terms[0].shaper.memory is True


def test_a_potential_of_what_standing_still_is_paid():
    level = CHAIN.replace('"sparse": arrived', '"sparse": (state.node >= 1).float()')
    env = shaped(source=level, invariant=True, gamma=0.9, num_envs=1)
    assert [round(float(env.step([1])[1]), 6) for _ in range(2)] == [0.9, -0.1]
    assert env.own_terms[0].shaper.policy_invariant


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"source": "x", "path": "y"}, "got both"),
        ({"candidate": -1}, "candidate"),
        ({"repairs": 1.5}, "repairs"),
        ({"sparse_weight": "much"}, "sparse_weight"),
        ({"dense_weight": -1}, "dense weight"),
        ({"invariant": True}, "gamma"),
    ],
)
def test_bad_options_are_refused(options, problem):
    with pytest.raises(ValueError, match=problem):
        AutoMCShaper(**options)


def test_bad_designs_that_are_given_are_refused(tmp_path):
    with pytest.raises(ProgramRefused, match="exactly the components"):
        AutoMCShaper(source=CHAIN.replace("dense", "near")).bind(cairngym.make("Chain-N10-v0"))
    with pytest.raises(FileNotFoundError, match="none at"):
        AutoMCShaper(path=tmp_path / "missing.py").bind(cairngym.make("Chain-N10-v0"))


def test_options_are_those_of_a_configuration():
    if "auto_mc_test" not in list_shapers():
        register_shaper("auto_mc_test", "cairngym.reward_shaping.llm.auto_mc.shaper:AutoMCShaper")
    term = make_term({"name": "auto_mc_test", "weight": 0.5, "source": CHAIN, "dense_weight": 0.2})
    env = ShapedEnv(cairngym.make("Chain-N10-v0"), [term])
    env.reset(seed=0)
    assert float(env.step([1])[1]) == pytest.approx(0.1)
