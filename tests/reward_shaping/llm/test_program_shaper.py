import math
import pickle
import warnings
from dataclasses import replace

import pytest
import torch
from gymnasium.vector import AutoresetMode
from hypothesis import given, settings
from hypothesis import strategies as st
from scribe import answer, program

import cairngym
from cairngym.envs.core import TensorEnv, Transition
from cairngym.envs.tabular import TabularTask, TabularWorld
from cairngym.reward_shaping.core import ShapedEnv, Term
from cairngym.reward_shaping.invariance import check_policy_invariance, dead_end_world
from cairngym.reward_shaping.llm.program_shaper import ProgramShaper
from cairngym.reward_shaping.llm.program_term import compile_for, idle_action
from cairngym.reward_shaping.llm.refusal import ProgramFailed, ProgramRefused
from cairngym.reward_shaping.llm.switching import Fuse
from cairngym.reward_shaping.registry import make_term, register_shaper

BEST = """
def reward(state, action, next_state, memory):
    before = memory.get("best", state.node.float())
    best = torch.maximum(before, next_state.node.float())
    memory["best"] = best
    gain = best - before
    return gain, {"gain": gain, "level": next_state.node.float()}
"""
PUSH = """
def reward(state, action, next_state, memory):
    before = torch.linalg.norm(state.object_position - state.goal, dim=-1)
    after = torch.linalg.norm(next_state.object_position - next_state.goal, dim=-1)
    reach = torch.linalg.norm(next_state.gripper_position - next_state.object_position, dim=-1)
    record = torch.minimum(memory.get("record", before), after)
    memory["record"] = record
    pull = before - after
    return pull - 0.1 * reach - 0.01 * (action * action).sum(dim=-1) - record, {"pull": pull, "reach": -reach}
"""
KEYS = """
def reward(state, action, next_state, memory):
    mask = (next_state.grid[..., 0] == 6).float()
    gone = 1.0 - mask.amax(dim=(1, 2))
    seen = torch.maximum(memory.get("moved", 0.0), (state.agent_pos != next_state.agent_pos).any(dim=-1).float())
    memory["moved"] = seen
    return gone + 0.1 * seen, {"gone": gone, "seen": seen}
"""


@pytest.fixture(scope="module", autouse=True)
def registered():
    register_shaper("program under test", ProgramShaper)


def shaped(source, env=None, **options):
    env = env or cairngym.make("Chain-N10-v0", num_envs=3)
    shaper = ProgramShaper(source=source, **options)
    return ShapedEnv(env, [Term(name="p", shaper=shaper)]), shaper


def random_actions(env, steps, seed=0):
    generator = torch.Generator().manual_seed(seed)
    space = env.single_action_space
    if hasattr(space, "n"):
        return [torch.randint(0, int(space.n), (env.num_envs,), generator=generator) for _ in range(steps)]
    return [torch.rand(env.num_envs, *space.shape, generator=generator) * 2 - 1 for _ in range(steps)]


def test_the_value_is_the_program_s_and_the_requirements_are_its_fields():
    env, shaper = shaped(PUSH, cairngym.make("FetchPush-v4", num_envs=2))
    env.reset(seed=0)
    assert shaper.requires == ("goal", "gripper_position", "object_position")
    assert shaper.memory
    assert not shaper.policy_invariant
    assert shaper.gamma is None
    memory = {}
    for action in random_actions(env, 5):
        before = dict(env.state)
        _, reward, _, _, info = env.step(action)
        total, components = compile_for(env, PUSH)(before, action, info["final_state"], memory)
        assert torch.equal(info["reward_terms"]["p"], total)
        assert torch.equal(reward, info["task_reward"] + total)
        assert {name: value.tolist() for name, value in shaper.components.items()} == {
            name: value.tolist() for name, value in components.items()
        }


@pytest.mark.parametrize("mode", [AutoresetMode.SAME_STEP, AutoresetMode.NEXT_STEP])
def test_memory_lives_as_long_as_its_episode(mode):
    env, _ = shaped(BEST, cairngym.make("Chain-N10-v0", num_envs=4, autoreset_mode=mode))
    env.reset(seed=0)
    best, over = [0.0] * 4, [False] * 4
    for action in random_actions(env, 150, seed=1):
        node = env.state["node"].tolist()
        _, _, terminated, truncated, info = env.step(action)
        after = info["final_state"]["node"].tolist()
        wanted = []
        for i in range(4):
            if over[i]:
                wanted.append(0.0)
            else:
                now = max(best[i], node[i], after[i])
                wanted.append(now - max(best[i], node[i]))
                best[i] = now
        assert info["reward_terms"]["p"].tolist() == wanted
        done = (terminated | truncated).tolist()
        same = mode is AutoresetMode.SAME_STEP
        fresh = done if same else over
        best = [0.0 if again else value for again, value in zip(fresh, best, strict=True)]
        over = [False] * 4 if same else done
    assert info["episode"]["length"].max() < 150, "episodes began anew meanwhile"


def test_asking_twice_changes_nothing():
    env = cairngym.make("Chain-N10-v0", num_envs=2)
    shaper = ProgramShaper(source=BEST)
    shaper.bind(env)
    zero, one = torch.tensor([0, 0]), torch.tensor([1, 0])
    nothing = torch.zeros(2, dtype=torch.bool)
    transition = Transition(
        obs=zero, state={"node": zero}, action=one, next_obs=one, next_state={"node": one}, reward=torch.zeros(2),
        terminated=nothing, truncated=nothing, success=nothing, env_id=torch.arange(2),
    )  # fmt: skip
    state = shaper.get_state()
    first, second = shaper.shape(transition), shaper.shape(replace(transition))
    assert first.tolist() == second.tolist() == [1.0, 0.0]
    assert shaper.get_state() == state
    shaper.observe(transition)
    assert shaper.shape(replace(transition)).tolist() == [0.0, 0.0], "the best is remembered now"
    with pytest.raises(ValueError, match="running episodes"):
        shaper.shape(replace(transition, env_id=None))


def test_a_program_without_memory_takes_replayed_batches_of_any_size():
    shaper = shaped(program("(next_state.node - state.node).float()"))[1]
    assert not shaper.memory
    node = torch.arange(7)
    flags = torch.zeros(7, dtype=torch.bool)
    batch = Transition(
        obs=node, state={"node": node}, action=node * 0, next_obs=node, next_state={"node": node * 2},
        reward=torch.zeros(7), terminated=flags, truncated=flags, success=flags, env_id=None,
    )  # fmt: skip
    assert shaper.shape(batch).tolist() == node.tolist()


def test_means_of_the_components_are_metrics():
    env, _ = shaped(BEST)
    env.reset(seed=0)
    values, levels = [], []
    for action in random_actions(env, 20):
        info = env.step(action)[4]
        values.append(info["reward_terms"]["p"])
        levels.append(info["final_state"]["node"].double())
    metrics = env.update_shapers()
    assert metrics["p/value"] == pytest.approx(float(torch.stack(values).double().mean()))
    assert metrics["p/components/gain"] == metrics["p/value"]
    assert metrics["p/components/level"] == pytest.approx(float(torch.stack(levels).mean()))
    assert metrics["p/switched_off"] == 0.0
    assert env.update_shapers() == {"p/switched_off": 0.0}, "counted from the last update"


# Switching off --------------------------------------------------------------------------------------------------------

EXPLODING = {
    "not a number": program("torch.log(4.0 - next_state.node) * 0.0"),
    "infinite": program("1.0 / (next_state.node - 4.0)"),
    "exploding": program("10.0 ** (next_state.node * 1.25)"),
}


def explode(env):
    """Walk to where all of these do."""
    with pytest.warns(RuntimeWarning, match="SWITCHED OFF"):
        [env.step([1, 1, 1]) for _ in range(5)]


@pytest.mark.parametrize("name", EXPLODING)
def test_a_term_that_explodes_is_switched_off_with_one_warning(name):
    env, _ = shaped(EXPLODING[name])
    env.reset(seed=0)
    right, left = torch.ones(3, dtype=torch.int64), torch.zeros(3, dtype=torch.int64)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sound = [env.step(right)[4]["reward_terms"]["p"] for _ in range(3)]
    assert all(bool(torch.isfinite(value).all()) for value in sound)
    with pytest.warns(RuntimeWarning, match=r"SWITCHED OFF.*after 9 transitions") as caught:
        values = [env.step(action)[4]["reward_terms"]["p"].tolist() for action in (right, left, right, left, left)]
    assert values == [[0.0] * 3] * 5
    assert len(caught) == 1
    metrics = env.update_shapers()
    assert metrics["p/switched_off"] == 1.0
    assert metrics["p/switched_off_at"] == 9.0
    assert env.update_shapers()["p/switched_off"] == 1.0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env.reset(seed=1)
        assert env.step(left)[4]["reward_terms"]["p"].tolist() == [0.0] * 3, "for the rest of the run"


def test_only_the_unsound_row_is_zero_before_the_term_is_off():
    env, _ = shaped(program("1.0 / (1.0 - next_state.node)"))
    env.reset(seed=0)
    with pytest.warns(RuntimeWarning, match="SWITCHED OFF"):
        assert env.step([0, 1, 0])[4]["reward_terms"]["p"].tolist() == [1.0, 0.0, 1.0]
    assert env.step([0, 0, 0])[4]["reward_terms"]["p"].tolist() == [0.0] * 3


def test_rows_that_are_not_valid_switch_nothing_off():
    source = program("1.0 / (9.0 - state.node)")
    env = cairngym.make("Chain-N10-v0", num_envs=2, autoreset_mode=AutoresetMode.NEXT_STEP)
    env, shaper = shaped(source, env)
    env.reset(seed=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(12):
            env.step([1, 1])
    assert not shaper.fuse.blown
    assert env.update_shapers()["p/switched_off"] == 0.0


def test_a_program_that_fails_at_run_time_is_switched_off(monkeypatch):
    env, shaper = shaped(BEST)
    env.reset(seed=0)
    env.step([1, 1, 1])

    def fails(*arguments):
        raise ProgramFailed("torch has no memory left", line=3)

    monkeypatch.setattr(shaper, "program", fails)
    with pytest.warns(RuntimeWarning, match="line 3: torch has no memory left"):
        assert env.step([1, 1, 1])[4]["reward_terms"]["p"].tolist() == [0.0] * 3
    assert env.update_shapers()["p/switched_off_at"] == 3.0


def test_being_off_survives_a_snapshot_and_is_not_said_again():
    env, _ = shaped(EXPLODING["infinite"])
    env.reset(seed=0)
    explode(env)
    snapshot = pickle.loads(pickle.dumps(env.get_state()))
    again, _ = shaped(EXPLODING["infinite"])
    again.set_state(snapshot)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert again.step([0, 0, 0])[4]["reward_terms"]["p"].tolist() == [0.0] * 3
        assert again.update_shapers()["p/switched_off_at"] == 9.0


def test_binding_again_starts_afresh():
    env, shaper = shaped(EXPLODING["infinite"])
    env.reset(seed=0)
    explode(env)
    shaper.bind(env.env)
    assert not shaper.fuse.blown
    assert shaper.update() == {"switched_off": 0.0}


@settings(deadline=None, max_examples=100)
@given(st.lists(st.floats(width=32, allow_nan=True, allow_infinity=True), min_size=1, max_size=6), st.data())
def test_a_fuse_never_lets_anything_unsound_through(values, data):
    fuse = Fuse("test", limit=100.0)
    value = torch.tensor(values)
    valid = torch.tensor(data.draw(st.lists(st.booleans(), min_size=len(values), max_size=len(values))))
    sound = fuse.sound(value)
    wanted = [math.isfinite(v) and abs(v) <= 100.0 for v in value.tolist()]
    assert sound.tolist() == wanted
    assert fuse.passed(value, sound).tolist() == [
        v if ok else 0.0 for v, ok in zip(value.tolist(), wanted, strict=True)
    ]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fuse.observe(sound, valid)
    blown = any(not ok and counts for ok, counts in zip(wanted, valid.tolist(), strict=True))
    assert fuse.blown == blown == bool(caught)


# Resuming -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "source", "steps", "options"),
    [
        ("Chain-N10-v0", BEST, 60, {}), ("FetchPush-v4", PUSH, 6, {}),
        ("MiniGrid-KeyCorridorS3R3-v0", KEYS, 40, {"bank_size": 64}),
    ],
)  # fmt: skip
def test_a_run_resumes_bit_for_bit(name, source, steps, options):
    def fresh():
        return shaped(source, cairngym.make(name, num_envs=3, **options))[0]

    whole = fresh()
    whole.reset(seed=4)
    actions = random_actions(whole, 2 * steps)
    for action in actions[:steps]:
        whole.step(action)
    snapshot = pickle.loads(pickle.dumps(whole.get_state()))
    resumed = fresh()
    resumed.set_state(snapshot)
    for action in actions[steps:]:
        one, other = whole.step(action), resumed.step(action)
        assert torch.equal(one[1], other[1])
        assert torch.equal(one[4]["reward_terms"]["p"], other[4]["reward_terms"]["p"])
    assert whole.update_shapers() == resumed.update_shapers()


def test_env_i_earns_the_same_however_many_there_are():
    few, many = shaped(BEST)[0], shaped(BEST, cairngym.make("Chain-N10-v0", num_envs=8))[0]
    few.reset(seed=0)
    many.reset(seed=0)
    for action in random_actions(many, 60):
        one = few.step(action[:3])[4]["reward_terms"]["p"]
        assert torch.equal(many.step(action)[4]["reward_terms"]["p"][:3], one)


def test_a_snapshot_brings_its_program_back():
    env, _ = shaped(BEST)
    env.reset(seed=0)
    snapshot = env.get_state()
    other, shaper = shaped(program())
    other.set_state(snapshot)
    assert shaper.program.source == BEST
    assert shaper.memory
    grid, _ = shaped(KEYS, cairngym.make("MiniGrid-KeyCorridorS3R3-v0", bank_size=64))
    grid.reset(seed=0)
    less, _ = shaped(program("next_state.agent_dir / 4"), cairngym.make("MiniGrid-KeyCorridorS3R3-v0", bank_size=64))
    with pytest.raises(ValueError, match=r"agent_pos.*grid"):
        less.set_state(grid.get_state())


# As a potential -------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=25)
@given(
    st.integers(0, 10_000), st.sampled_from([0.8, 0.95, 0.99]), st.sampled_from(["zero", "goal", 2.5]),
    st.sampled_from([None, 1.0]),
)  # fmt: skip
def test_any_score_leaves_the_optimal_policies_as_they_are(seed, gamma, offset, clip):
    generator = torch.Generator().manual_seed(seed)
    rows = torch.rand(6, 3, 6, generator=generator) ** 4
    world = TabularWorld(rows / rows.sum(-1, keepdim=True), torch.ones(6) / 6, 1, "cpu")
    task = TabularTask(6, (5,), failures=(4,))
    slopes = torch.rand(3, generator=generator).tolist()
    source = program(
        f"{slopes[0]:.3f} * next_state.node - torch.sin(state.node * {9 * slopes[1]:.3f}) + {slopes[2]:.3f}"
    )
    options = {"invariant": True, "gamma": gamma, "offset": offset, "clip": clip}
    report = check_policy_invariance(ProgramShaper(source=source, **options), world, task, gamma)
    assert report.invariant


def test_the_kit_finds_a_plain_program_that_turns_the_policy():
    world, task = dead_end_world()
    source = program("3.0 * (next_state.node == 1).float()")
    assert not check_policy_invariance(ProgramShaper(source=source), world, task, 0.99)
    assert check_policy_invariance(ProgramShaper(source=source, invariant=True, gamma=0.99), world, task, 0.99)


def test_the_potential_telescopes_and_is_zero_at_terminal_states_only():
    gamma = 0.9
    env, shaper = shaped(program("1.0 + state.node / 9 + next_state.node / 9"), invariant=True, gamma=gamma)
    assert shaper.policy_invariant
    assert shaper.gamma == gamma

    def phi(node):
        return 1.0 + 2.0 * node / 9

    env.reset(seed=0)
    paid = [float(env.step([1, 1, 1])[4]["reward_terms"]["p"][0]) for _ in range(9)]
    assert sum(gamma**t * value for t, value in enumerate(paid)) == pytest.approx(-phi(0), abs=1e-5)
    assert env.update_shapers()["p/components/near"] == pytest.approx(sum(map(phi, range(1, 10))) / 9)
    env.reset(seed=0)
    paid = [float(env.step([0, 0, 0])[4]["reward_terms"]["p"][0]) for _ in range(40)]
    total = sum(gamma**t * value for t, value in enumerate(paid))
    assert total == pytest.approx(gamma**40 * phi(0) - phi(0), abs=1e-5), "truncated: the last potential stays"


def test_a_potential_is_scored_with_the_idle_action():
    env = cairngym.make("FetchPush-v4", num_envs=2)
    source = program("-(action * action).sum(dim=-1) - state.goal[:, 0]", "cost")
    env, _ = shaped(source, env, invariant=True, gamma=0.5)
    env.reset(seed=0)
    goal = env.state["goal"][:, 0].clone()
    term = env.step(torch.ones(2, 4))[4]["reward_terms"]["p"]
    torch.testing.assert_close(term, -0.5 * goal + goal)
    assert idle_action(env.single_action_space).tolist() == [0.0] * 4
    assert idle_action(cairngym.make("Chain-N10-v0").single_action_space).tolist() == 0


def test_a_potential_that_explodes_is_switched_off():
    env, _ = shaped(EXPLODING["infinite"], invariant=True, gamma=0.9)
    env.reset(seed=0)
    with pytest.warns(RuntimeWarning, match="SWITCHED OFF"):
        values = [env.step([1, 1, 1])[4]["reward_terms"]["p"] for _ in range(6)]
    assert all(bool(torch.isfinite(value).all()) for value in values)
    assert values[4].tolist() == [0.0] * 3


def test_memory_and_a_potential_do_not_go_together():
    with pytest.raises(ValueError, match=r"without memory.*remembers best"):
        shaped(BEST, invariant=True, gamma=0.9)


# Options --------------------------------------------------------------------------------------------------------------


def test_options_come_from_yaml_and_a_completion_in_a_file_will_do(tmp_path):
    file = tmp_path / "answer.md"
    file.write_text(answer(program()), encoding="utf-8")
    config = {
        "name": "program under test",
        "path": str(file),
        "clip": "0.5",
        "limit": "1e3",
        "weight": 2,
        "term": "near",
    }
    term = make_term(config)
    assert (term.name, term.weight, term.shaper.clip, term.shaper.fuse.limit) == ("near", 2.0, 0.5, 1000.0)
    env = ShapedEnv(cairngym.make("Chain-N10-v0"), [term])
    env.reset(seed=0)
    values = [round(float(env.step([1])[4]["reward_terms"]["near"]), 3) for _ in range(6)]
    assert values == [0.111, 0.222, 0.333, 0.444, 0.5, 0.5]


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({}, ValueError, "either as source"),
        ({"source": "x", "path": "y"}, ValueError, "either as source"),
        ({"source": "x", "invariant": True}, ValueError, "Expected gamma"),
        ({"source": "x", "invariant": True, "gamma": 1.5}, ValueError, "gamma in"),
        ({"source": "x", "invariant": True, "gamma": "high"}, ValueError, "gamma as a number"),
        ({"source": "x", "invariant": True, "gamma": 0.9, "offset": "low"}, ValueError, "offset"),
        ({"source": "x", "invariant": "yes"}, TypeError, "true or false"),
        ({"source": "x", "clip": 0}, ValueError, "clip above zero"),
        ({"source": "x", "limit": -1}, ValueError, "limit above zero"),
        ({"source": "x", "limit": "much"}, ValueError, "limit as a number"),
        ({"source": "x", "sauce": "y"}, TypeError, "Did you mean 'source'"),
    ],
)
def test_wrong_options_are_refused(options, kind, message):
    with pytest.raises(kind, match=message):
        make_term({"name": "program under test", **options})


def test_a_program_that_does_not_compile_is_refused_at_once(tmp_path):
    with pytest.raises(ProgramRefused, match="Imports"):
        shaped("import os")
    with pytest.raises(FileNotFoundError, match="Expected a file"):
        ShapedEnv(cairngym.make("Chain-N10-v0"), [Term(name="p", shaper=ProgramShaper(path=tmp_path / "none.py"))])


def test_diverging_sums_do_not_spoil_the_metrics():
    source = """
def reward(state, action, next_state, memory):
    odd = 1.0 / (next_state.node - 1.0)
    return next_state.node / 9, {"odd": odd}
"""
    env, shaper = shaped(source)
    env.reset(seed=0)
    env.step([1, 0, 0])
    metrics = env.update_shapers()
    assert metrics["p/components/odd"] == pytest.approx(-2 / 3), "what is not finite counts as zero"
    assert not shaper.fuse.blown, "components are only shown"


def test_it_works_on_any_tensor_env():
    world, task = dead_end_world(num_envs=2)
    env, _ = shaped(program(), TensorEnv(world, task))
    env.reset(seed=0)
    term = env.step([0, 1])[4]["reward_terms"]["p"]
    torch.testing.assert_close(term, torch.tensor([1 / 9, 2 / 9]))
