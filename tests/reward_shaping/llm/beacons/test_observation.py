"""The wrapper and the shaper against a referee in plain Python, and the contract of every env."""

import contract
import pytest
import torch

import cairngym
from cairngym.agents.inputs import InputEncoder
from cairngym.envs.checks import UnknownNameError
from cairngym.envs.minigrid import cells as c
from cairngym.reward_shaping.core import ShapedEnv, Term
from cairngym.reward_shaping.llm.beacons import subgoals as s
from cairngym.reward_shaping.llm.beacons.errors import ErrorModel
from cairngym.reward_shaping.llm.beacons.observation import BeaconObservation
from cairngym.reward_shaping.llm.beacons.shaper import BeaconShaper
from cairngym.reward_shaping.llm.scripted import Lookahead

TASKS = ("MultiRoom-N2-S4-v0", "MultiRoom-N4-S5-v1", "KeyCorridorS3R3-v0", "KeyCorridorS6R3-v0",
         "ObstructedMaze-1Dlh-v0", "ObstructedMaze-1Dlhb-v0")  # fmt: skip
OTHERS = ("PutNear-6x6-N2-v0", "GoToDoor-6x6-v0", "DoorKey-5x5-v0", "MemoryS7-v0", "Dynamic-Obstacles-5x5-v0")
NOISE = {"accuracy": 0.6, "position_error": 2.0, "extra": 0.2}


def make(name="MultiRoom-N2-S4-v0", *, bank_size=16, kind="object", frame="agent", num_envs=3, **options):
    noise = {key: options.pop(key) for key in (*NOISE, "missing", "error_model") if key in options}
    env = cairngym.make("MiniGrid-" + name, num_envs=num_envs, bank_size=bank_size, threads=1, **options)
    return BeaconObservation(env, kind=kind, frame=frame, **noise)


def shaped(**options):
    return ShapedEnv(make(**options), [Term(name="beacons", shaper=BeaconShaper(), weight=0.2)])


@pytest.mark.parametrize("check", contract.CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
def test_contract(check):
    check(lambda **options: shaped(kind="position", **NOISE, **options))


# A referee ------------------------------------------------------------------------------------------------------------

FORWARD = ((1, 0), (0, 1), (-1, 0), (0, -1))


def is_reached(entry, state, row, width):
    """Whether a subgoal holds, from the whole grid of one env."""
    deed, cell, kind, color, _, detail = entry
    x, y = cell % width, cell // width
    grid, place = state["grid"][row], state["agent_pos"][row].tolist()
    ahead = [a + b for a, b in zip(place, FORWARD[int(state["agent_dir"][row])], strict=True)]
    found = grid[x, y].tolist()
    if deed == s.TAKE:
        return state["carrying"][row].tolist() == [kind, color]
    if deed == s.OPEN and kind == c.DOOR:
        return found == [c.DOOR, color, c.OPEN]
    if deed == s.OPEN:
        return found[0] != c.BOX
    if deed == s.GO:
        return abs(place[0] - x) + abs(place[1] - y) <= detail
    if deed == s.FACE:
        return [x, y] in (place, ahead)
    around = grid[max(0, x - 1) : x + 2, max(0, y - 1) : y + 2].reshape(-1, 3).tolist()
    return any(a | b << 8 == detail for a, b, _ in around)


@pytest.mark.parametrize("kind", ["position", "object"])
@pytest.mark.parametrize("name", TASKS + OTHERS)
def test_subgoals_follow_the_referee(name, kind):
    """Index and steps before and after every reset, and the shaper's pay, under a mixture of plan and chance."""
    env = ShapedEnv(
        make(name, kind=kind, num_envs=6, seed=1, **NOISE), [Term(name="beacons", shaper=BeaconShaper())]
    )  # fmt: skip
    env.reset()
    table, width, horizon = env.subgoals, env.world.width, env.task.horizon
    policy, generator = Lookahead(env.unwrapped), torch.Generator().manual_seed(0)
    index, steps, level = [0] * 6, [0] * 6, env.world.store.current.tolist()
    paid = 0
    for t in range(40):
        random = torch.randint(int(env.single_action_space.n), (6,), generator=generator)
        plan = policy(env.unwrapped.state) if t % 2 else random
        action = torch.where(torch.rand(6, generator=generator) < 0.7, plan, random)
        *_, info = env.step(action)
        final = dict(info["final_state"])
        for i in range(6):
            goals = table.entries[level[i], : int(table.count[level[i]])].tolist()
            done = index[i] < len(goals) and is_reached(goals[index[i]], final, i, width)
            worth = 1 - (steps[i] + 1) / horizon if done else 0.0
            assert info["reward_terms"]["beacons"][i].item() == pytest.approx(worth, abs=1e-6)
            index[i], steps[i], paid = index[i] + done, 0 if done else steps[i] + 1, paid + done
            assert (final["beacon_index"][i], final["beacon_steps"][i]) == (index[i], steps[i])
            assert final["beacon_count"][i] == len(goals)
            if info["_final_obs"][i]:
                index[i], steps[i], level[i] = 0, 0, int(env.world.store.current[i])
        now = env.state
        assert now["beacon_index"].tolist() == index
        assert now["beacon_steps"].tolist() == steps
        assert now["beacon_count"].tolist() == table.count[level].tolist()
    assert paid or "1Dlhb" in name, "nothing was reached"  # the plan that is followed moves no balls


@pytest.mark.parametrize("name", ["MultiRoom-N2-S4-v0", "MultiRoom-N4-S5-v1", "KeyCorridorS3R1-v0", "DoorKey-5x5-v0"])
def test_whoever_succeeds_has_reached_all_right_subgoals(name):
    env = make(name, num_envs=8, seed=2)
    env.reset()
    policy, successes = Lookahead(env.unwrapped), 0
    for _ in range(50):
        *_, info = env.step(policy(env.unwrapped.state))
        done = info["success"]
        successes += int(done.sum())
        state = info["final_state"]
        assert torch.equal(state["beacon_index"][done], state["beacon_count"][done])
        assert torch.equal(info["final_obs"]["beacon"][done], torch.tensor(env.codes.none).repeat(int(done.sum()), 1))
    assert successes


# What is shown --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["KeyCorridorS3R3-v0", "MultiRoom-N4-S5-v1"])
def test_a_position_ahead_and_right_is_where_the_image_shows_the_thing(name):
    env, seen = make(name, kind="position", num_envs=16, seed=3), 0
    things = make(name, kind="object", num_envs=16, seed=3)
    obs, shown = env.reset()[0], things.reset()[0]
    policy = Lookahead(env.unwrapped)
    for _ in range(25):
        for i in range(16):
            ahead, right = (obs["beacon"][i] - env.codes.reach).tolist()
            thing = shown["beacon"][i].tolist()
            if tuple(thing) != things.codes.none and 0 < ahead <= 6 and abs(right) <= 3:
                found = obs["image"][i][3 + right, 6 - ahead].tolist()
                assert found in (thing, [0, 0, 0]), "the subgoal is not there, and not out of sight"
                seen += found == thing
        action = policy(env.unwrapped.state)
        obs, shown = env.step(action)[0], things.step(action)[0]
    assert seen > 20


def test_a_position_on_the_grid_is_columns_and_rows():
    env = make(kind="position", frame="grid", num_envs=4, seed=1)
    obs, _ = env.reset()
    for _ in range(3):
        entry = env.subgoals.entries[env.world.store.current.long(), 0]
        cell = torch.stack((entry[:, s.CELL] % env.world.width, entry[:, s.CELL] // env.world.width), 1)
        assert torch.equal(obs["beacon"] - env.codes.reach, cell - env.state["agent_pos"])
        obs, *_ = env.step([0, 1, 0, 1])


def test_language_says_verb_colour_and_noun():
    env = make("ObstructedMaze-1Dlhb-v0", kind="language", num_envs=2)
    obs, _ = env.reset()
    for i, row in enumerate(env.world.store.current.tolist()):
        verb, color, noun = obs["beacon"][i].tolist()
        assert f"{s.VERBS[verb]} the {s.COLORS[color]} {s.NOUNS[noun]}" == env.subgoals.level(row)[0].sentence


@pytest.mark.parametrize("kind", ["position", "object", "language"])
def test_every_code_shown_has_a_symbol_of_its_own(kind):
    env = make("KeyCorridorS3R3-v0", kind=kind, num_envs=32, seed=1, accuracy=0.3, extra=0.3, missing=0.1)
    assert env.task.single_observation_space is env.single_observation_space
    encoder = InputEncoder(env.single_observation_space, env.task.categories)
    blind = InputEncoder(env.env.single_observation_space, env.env.task.categories)
    places = len(env.codes.none)
    assert encoder.num_sites == blind.num_sites + places
    obs, _ = env.reset()
    policy, symbols = Lookahead(env.unwrapped), set()
    for _ in range(10):
        sites = encoder(obs).symbols[:, -places:]
        assert bool((sites < encoder.num_symbols).all()), "a code is not listed"
        symbols |= {tuple(row) for row in sites.tolist()}
        obs, *_ = env.step(policy(env.unwrapped.state))
    assert len(symbols) > 5


@pytest.mark.parametrize("kind", ["object", "language"])
def test_networks_have_one_size_whatever_the_errors(kind):
    right, noisy = make("KeyCorridorS3R3-v0", kind=kind), make("KeyCorridorS3R3-v0", kind=kind, **NOISE)
    assert right.task.categories == noisy.task.categories
    assert right.single_observation_space == noisy.single_observation_space


def test_what_it_adds_to_the_state_is_kept_from_language_models():
    env = make()
    added = set(env.state_spec) - set(env.env.state_spec)
    assert added == {"beacon_index", "beacon_count", "beacon_steps"}
    assert all(env.state_spec[name].privileged for name in added)


# Errors belong to levels ----------------------------------------------------------------------------------------------


def named_by_level(env, steps):
    """The subgoals that each level was seen to come with, as the first codes of its episodes."""
    obs, _ = env.reset()
    seen, fresh = {}, torch.ones(env.num_envs, dtype=torch.bool)
    generator = torch.Generator().manual_seed(1)
    for t in range(steps):
        rows = zip(env.world.store.current[fresh].tolist(), obs["beacon"][fresh].tolist(), strict=True)
        for row, codes in rows:
            seen.setdefault(row, set()).add(tuple(codes))
        if t % 8 == 0:
            contract.hasten(env)
        obs, *_, info = env.step(torch.randint(3, (env.num_envs,), generator=generator))
        fresh = info["_final_obs"]
    return seen


def test_a_level_has_the_same_wrong_subgoals_in_every_episode():
    env = make("KeyCorridorS3R3-v0", num_envs=16, bank_size=8, seed=4, accuracy=0.4, extra=0.4)
    seen = named_by_level(env, 40)
    assert len(seen) == 8
    assert all(len(codes) == 1 for codes in seen.values())
    other = make("KeyCorridorS3R3-v0", num_envs=16, bank_size=8, seed=5, accuracy=0.4, extra=0.4)
    assert named_by_level(other, 40) != seen


def test_a_seed_of_its_own_outlives_the_envs():
    def tables(**options):
        env = BeaconObservation(cairngym.make("MiniGrid-KeyCorridorS3R3-v0", bank_size=8), **NOISE, **options)
        for seed in (1, 2):
            env.reset(seed=seed)
            yield env.subgoals.entries

    assert torch.equal(*tables(seed=9))
    first, second = tables()
    assert first.shape != second.shape or not torch.equal(first, second)


# Resuming -------------------------------------------------------------------------------------------------------------


def test_resume_is_bitwise_at_any_moment():
    env = shaped(name="KeyCorridorS3R3-v0", kind="position", num_envs=5, seed=6, **NOISE)
    env.reset()
    actions = contract.actions_of(env, 40)
    policy = Lookahead(env.unwrapped)
    for action in actions[:20]:
        env.step(torch.where(torch.arange(5) < 3, policy(env.unwrapped.state), action))
    snapshot = env.get_state()
    contract.hasten(env)
    life = contract.play(env, actions[20:])
    assert any(step["reward_terms"]["beacons"].any() for step in life) or any(step["_final_obs"].any() for step in life)
    other = shaped(name="KeyCorridorS3R3-v0", kind="position", num_envs=5, seed=99, **NOISE)
    other.set_state(snapshot)
    contract.hasten(other)
    contract.assert_same(dict(enumerate(life)), dict(enumerate(contract.play(other, actions[20:]))), "steps")


# Bad input ------------------------------------------------------------------------------------------------------------


def test_envs_without_subgoals_are_refused():
    with pytest.raises(TypeError, match="Expected a MiniGrid env"):
        BeaconObservation(cairngym.make("Chain-N10-v0"))
    with pytest.raises(ValueError, match="no plan"):
        make("Playground-v0", bank_size=2)
    with pytest.raises(ValueError, match="levels='bank'"):
        make("MultiRoom-N2-S4-v0", levels="procedural")
    with pytest.raises(ValueError, match="without an entry 'beacon'"):
        BeaconObservation(make())


def test_options_that_can_not_be():
    with pytest.raises(UnknownNameError, match="Did you mean 'object'"):
        make(kind="objects")
    with pytest.raises(UnknownNameError, match="frame of positions"):
        make(frame="world")
    with pytest.raises(ValueError, match="got both: error_model and accuracy"):
        make(accuracy=0.5, error_model=ErrorModel())
    with pytest.raises(ValueError, match="accuracy"):
        make(accuracy=1.1)


def test_the_shaper_needs_the_wrapper():
    with pytest.raises(TypeError, match='wrapper "beacons"'):
        ShapedEnv(cairngym.make("MiniGrid-Empty-5x5-v0", bank_size=2), [Term(name="beacons", shaper=BeaconShaper())])
    with pytest.raises(RuntimeError, match="bind"):
        BeaconShaper().shape(None)
