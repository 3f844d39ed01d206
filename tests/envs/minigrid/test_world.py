"""The world around the kernels: state, pictures, snapshots, threads, moving obstacles, bad input."""

import numpy as np
import pytest
import torch
from scipy import stats
from upstream_twins import Twins, fresh_references, hand_of, obstacle_cells, random_actions

import cairngym
from cairngym.envs.minigrid.cells import LEFT

OBSTACLES = "MiniGrid-Dynamic-Obstacles-8x8-v0"
PICTURED = ("DoorKey-8x8-v0", "ObstructedMaze-1Dlhb-v0", "Empty-5x5-v0", "Dynamic-Obstacles-6x6-v0", "LockedRoom-v0")


def make(name, num_envs=8, **options):
    """A small env, after reset."""
    env = cairngym.make(
        "MiniGrid-" + name, **{"num_envs": num_envs, "bank_size": 8, "threads": 1, "seed": 2, **options}
    )
    env.reset()
    return env


def actions_for(env, steps, seed=0):
    """Random actions `(steps, N)`; an env's do not depend on N."""
    columns = [
        np.random.default_rng((seed, i)).integers(0, env.single_action_space.n, steps) for i in range(env.num_envs)
    ]
    return torch.as_tensor(np.stack(columns, axis=1))


def kept(step):
    """What a step returned, as one flat dict of tensors, the final state included."""
    obs, reward, terminated, truncated, info = step
    flat = {"reward": reward, "terminated": terminated, "truncated": truncated, "success": info["success"]}
    for name in ("final_obs", "final_state", "episode"):
        flat |= {f"{name}/{key}": value.clone() for key, value in info[name].items()}
    return flat | {f"obs/{key}": value.clone() for key, value in obs.items()}


def assert_equal_steps(left, right, what=""):
    for t, (a, b) in enumerate(zip(left, right, strict=True)):
        for name in a:
            assert torch.equal(a[name], b[name]), f"{name} of step {t} differs {what}"


def upstream_state(env):
    """The state fields of an upstream env."""
    return {
        "agent_pos": list(map(int, env.agent_pos)),
        "agent_dir": int(env.agent_dir),
        "carrying": list(hand_of(env)),
        "step_count": env.step_count,
        "grid": env.grid.encode().tolist(),
    }


def row_of(state, i):
    return {name: state[name][i].tolist() for name in ("agent_pos", "agent_dir", "carrying", "step_count", "grid")}


@pytest.mark.parametrize("name", ["DoorKey-8x8-v0", "Fetch-8x8-N3-v0", "ObstructedMaze-2Dlh-v0", "GoToDoor-6x6-v0"])
def test_state_is_upstreams(name):
    references = fresh_references("MiniGrid-" + name, 6)
    references[0].step_count = references[0].max_steps - 12
    twins = Twins("MiniGrid-" + name, references)
    rng = np.random.default_rng(0)
    ended = 0
    for _ in range(60):
        last = []
        reseed = twins.reseed
        twins.reseed = lambda rows: last.extend(map(upstream_state, references)) or reseed(rows)  # noqa: B023
        *_, info = twins.step(random_actions(references, rng))
        twins.reseed = reseed
        final, now = info["final_state"], twins.env.state
        for i, env in enumerate(references):
            assert row_of(final, i) == last[i], "final_state is not the terminal state"
            assert row_of(now, i) == upstream_state(env)
        ended += int(info["_final_obs"].sum())
    assert ended >= 1


def test_final_state_keeps_the_old_plan():
    env = make("MultiRoom-N2-S4-v0", num_envs=32)
    life = env.unwrapped.episodes
    life.length.fill_(env.task.horizon - 1)
    before = dict(env.state)
    *_, info = env.step(torch.full((32,), LEFT))
    assert info["_final_obs"].all()
    assert torch.equal(info["final_state"]["planned"], before["planned"])
    assert torch.equal(info["final_state"]["remaining"], before["remaining"])
    assert (info["final_state"]["step_count"] == env.task.horizon).all()
    assert not torch.equal(env.state["grid"], before["grid"])
    assert not env.state["step_count"].any()


@pytest.mark.parametrize("name", PICTURED)
def test_render_is_upstreams_frame(name):
    references = fresh_references("MiniGrid-" + name, 3)
    twins = Twins("MiniGrid-" + name, references)
    rng = np.random.default_rng(3)
    for _ in range(3):
        for _ in range(15):
            twins.step(random_actions(references, rng))
        frames = twins.env.render()
        assert len(frames) == 3
        for env, frame in zip(references, frames, strict=True):
            assert frame.dtype == np.uint8
            assert np.array_equal(frame, env.get_frame(env.highlight, env.tile_size))
    assert np.array_equal(twins.env.render([2])[0], frames[2])


@pytest.mark.parametrize("mode", ["SameStep", "NextStep", "Disabled"])
@pytest.mark.parametrize("name", ["Fetch-5x5-N2-v0", "Dynamic-Obstacles-5x5-v0", "KeyCorridorS3R1-v0"])
def test_snapshots_bring_everything_back(name, mode):
    env = make(name, num_envs=16, autoreset_mode=mode)
    env.unwrapped.episodes.length.copy_(env.task.horizon - 6 - env.unwrapped.episodes.env_id)
    actions = actions_for(env, 40)
    ended = False
    for action in actions[:15]:
        *_, info = env.step(action)
        ended |= bool(info["_final_obs"].any())
    assert ended, "the snapshot is not taken after a reset"
    snapshot, state = env.get_state(), dict(env.state)
    after = [kept(env.step(action)) for action in actions[15:]]
    env.set_state(snapshot)
    for field, value in state.items():
        assert torch.equal(env.state[field], value), field
    assert_equal_steps(after, [kept(env.step(action)) for action in actions[15:]], "after set_state")
    other = make(name, num_envs=16, autoreset_mode=mode, seed=99)
    other.set_state(snapshot)
    assert_equal_steps(after, [kept(other.step(action)) for action in actions[15:]], "in another env")


def test_snapshots_are_copies():
    env = make("DoorKey-5x5-v0")
    snapshot = env.get_state()
    kept_cells = snapshot["world"]["cells"].clone()
    for action in actions_for(env, 120):
        env.step(action)
    assert torch.equal(snapshot["world"]["cells"], kept_cells)
    assert not torch.equal(env.world.cells, kept_cells)


def test_state_is_read_in_time():
    env = make("DoorKey-5x5-v0")
    early, read = env.state, env.state
    positions = read["agent_pos"]
    *_, info = env.step(actions_for(env, 1)[0])
    final = info["final_state"]
    assert torch.equal(read["agent_pos"], positions), "what was read stays"
    with pytest.raises(RuntimeError, match="Read it before the next step"):
        early["agent_pos"]
    env.step(actions_for(env, 1)[0])
    with pytest.raises(RuntimeError, match="Read it before the next step"):
        final["grid"]
    with pytest.raises(KeyError, match="Did you mean 'agent_pos'"):
        env.state["agent_position"]


def test_copies_stay_and_shared_memory_is_overwritten():
    for copy in (True, False):
        env = make("Fetch-5x5-N2-v0", num_envs=32, copy=copy)
        first = env.step(actions_for(env, 1)[0])
        remembered = first[0]["image"].clone()
        second = env.step(actions_for(env, 1, seed=1)[0])
        assert (first[0]["image"].data_ptr() == second[0]["image"].data_ptr()) is not copy
        assert torch.equal(first[0]["image"], remembered) is copy
        assert torch.equal(first[1], second[1]) or copy


def test_copy_changes_no_trajectory():
    left, right = (make("Fetch-5x5-N2-v0", num_envs=32, copy=copy) for copy in (True, False))
    for action in actions_for(left, 40):
        assert_equal_steps([kept(left.step(action))], [kept(right.step(action))])


def test_threads_change_no_trajectory():
    envs = [make("Dynamic-Obstacles-6x6-v0", num_envs=4099, threads=threads) for threads in (1, 2)]
    assert [len(env.world._slices) for env in envs] == [1, 2]
    envs += [make("Dynamic-Obstacles-6x6-v0", num_envs=4099, threads=4)]
    actions = torch.randint(3, (20, 4099), generator=torch.Generator().manual_seed(0))
    for action in actions:
        steps = [kept(env.step(action)) for env in envs]
        assert_equal_steps(steps[:1], steps[1:2], "with two threads")
        assert_equal_steps(steps[:1], steps[2:], "with four threads")
    for env in envs:
        env.close()


@pytest.mark.parametrize("name", ["Fetch-5x5-N2-v0", "Dynamic-Obstacles-6x6-v0"])
def test_lives_do_not_depend_on_the_number_of_envs(name):
    few, many = make(name, num_envs=5), make(name, num_envs=3000, threads=2)
    actions = actions_for(many, 60)
    for action in actions:
        a, b = kept(few.step(action[:5])), kept(many.step(action))
        assert_equal_steps([a], [{key: value[:5] for key, value in b.items()}])
    assert few.unwrapped.episodes.number.sum() > 0
    many.close()


def test_levels_are_drawn_from_the_whole_bank():
    env = make("FourRooms-v0", num_envs=8192)

    def current():
        return env.get_state()["world"]["current"].long()

    first = current()
    assert stats.chisquare(torch.bincount(first, minlength=8).numpy()).pvalue > 1e-3
    env.reset()
    assert not torch.equal(current(), first)
    env.reset(seed=2)
    assert torch.equal(current(), first)


@pytest.mark.parametrize(
    ("actions", "error", "match"),
    [
        (torch.zeros(7, dtype=torch.int64), ValueError, r"shape \(8,\)"),
        (torch.zeros(8), TypeError, "integer actions"),
        (torch.full((8,), 7), ValueError, r"\[0, 6\]"),
        (torch.full((8,), -1), ValueError, r"\[0, 6\]"),
        (torch.ones(8, dtype=torch.bool), TypeError, "integer actions"),
    ],
)
def test_bad_actions(actions, error, match):
    env = make("DoorKey-5x5-v0")
    before = env.get_state()["world"]["agent"]
    with pytest.raises(error, match=match):
        env.step(actions)
    assert torch.equal(before, env.world.agent)


def test_obstacle_tasks_know_three_actions():
    with pytest.raises(ValueError, match=r"\[0, 2\]"):
        make("Dynamic-Obstacles-5x5-v0").step(torch.full((8,), 3))


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"bank_sise": 8}, TypeError, "Did you mean"),
        ({"levels": "infinite"}, ValueError, "'bank' or 'procedural'"),
        ({"split": "val"}, ValueError, "split"),
        ({"threads": 0}, ValueError, "threads >= 1"),
        ({"num_envs": 0}, ValueError, "num_envs >= 1"),
        ({"seed": -1}, ValueError, "seed"),
    ],
)
def test_bad_options(options, error, match):
    with pytest.raises(error, match=match):
        cairngym.make("MiniGrid-DoorKey-5x5-v0", **{"bank_size": 8, **options})


def test_ids_without_a_generator_say_so():
    with pytest.raises(ValueError, match="no procedural generator"):
        cairngym.make("MiniGrid-Playground-v0", levels="procedural", bank_size=8)


def test_bad_injections():
    env = cairngym.make("MiniGrid-DoorKey-8x8-v0", num_envs=2, bank_size=8)
    references = fresh_references("MiniGrid-DoorKey-8x8-v0", 3)
    with pytest.raises(RuntimeError, match="reset"):
        env.world.inject(references[:1])
    env.reset()
    with pytest.raises(ValueError, match="at most 2"):
        env.world.inject(references)
    with pytest.raises(ValueError, match=r"with 8 x 8 cells, got one of DoorKeyEnv with 5 x 5"):
        env.world.inject(fresh_references("MiniGrid-DoorKey-5x5-v0", 1))
    with pytest.raises(ValueError, match=r"DoorKeyEnv.*got one of EmptyEnv"):
        env.world.inject(fresh_references("MiniGrid-Empty-8x8-v0", 1))


def test_inject_leaves_the_other_worlds_alone():
    env = make("DoorKey-8x8-v0", num_envs=6)
    for action in actions_for(env, 10):
        obs, *_ = env.step(action)
    before = dict(env.state)
    shown = env.world.inject(fresh_references("MiniGrid-DoorKey-8x8-v0", 2, seed=77))
    for name, value in before.items():
        assert torch.equal(env.state[name][2:], value[2:]), name
    assert torch.equal(shown["image"][2:], obs["image"][2:])
    assert not torch.equal(env.state["grid"][:2], before["grid"][:2])


def test_inject_revives_an_ended_world():
    env = make("DoorKey-8x8-v0", num_envs=2, autoreset_mode="Disabled")
    env.unwrapped.episodes.length.fill_(env.task.horizon - 1)
    *_, truncated, _ = env.step(torch.tensor([LEFT, LEFT]))
    assert truncated.all()
    env.world.inject(fresh_references("MiniGrid-DoorKey-8x8-v0", 1))
    *_, truncated, info = env.step(torch.tensor([LEFT, LEFT]))
    assert truncated.tolist() == [False, True]
    assert info["episode"]["length"].tolist() == [1, env.task.horizon]


def test_scripted_obstacles_go_where_they_are_told():
    references = fresh_references(OBSTACLES, 2)
    twins = Twins(OBSTACLES, references)
    env = twins.env
    script = torch.as_tensor([obstacle_cells(one) for one in references])
    for _ in range(3):
        env.world.script_obstacles(script)
        env.step(torch.tensor([LEFT, LEFT]))
        assert torch.equal(env.world.variables.long(), script), "they stay where they are told to"
    with pytest.raises(ValueError, match=r"\(num_envs, 8\)"):
        env.world.script_obstacles(script[:1])
    env.world.script_obstacles(None)
    for _ in range(5):
        env.step(torch.tensor([LEFT, LEFT]))
    assert not torch.equal(env.world.variables.long(), script), "they move by themselves again"


def free_neighbours(env, i, cell, balls):
    """Free squares around a ball of world i: empty, and not the agent's."""
    width = env.world.width
    x, y, agent = cell % width, cell // width, tuple(env.state["agent_pos"][i].tolist())
    around = [(x + dx, y + dy) for dx in (-1, 0, 1) for dy in (-1, 0, 1) if (dx, dy) != (0, 0)]
    grid = env.state["grid"][i, :, :, 0]
    return [a + width * b for a, b in around if int(grid[a, b]) == 1 and (a, b) != agent and a + width * b not in balls]


def test_obstacles_roll_evenly_to_free_squares():
    count = 6000
    env = cairngym.make(OBSTACLES, num_envs=count, bank_size=1, seed=5)
    env.reset()
    balls = env.world.variables[0].tolist()
    first = balls[0]
    free = free_neighbours(env, 0, first, balls)
    assert len(free) >= 3
    *_, info = env.step(torch.full((count,), LEFT))
    assert not info["_final_obs"].any()
    places, counts = torch.unique(env.world.variables[:, 0], return_counts=True)
    assert sorted(places.tolist()) == sorted(free)
    assert stats.chisquare(counts.numpy()).pvalue > 1e-3
    assert (env.world.variables[:, 4:] == -1).all()
    second = torch.unique(env.world.variables[:, :2], dim=0)
    assert len(second) > len(free), "the balls do not move as one"
    env.close()


def test_obstacles_stay_on_the_board():
    env = make("Dynamic-Obstacles-8x8-v0", num_envs=64, seed=8)
    for action in actions_for(env, 80):
        env.step(torch.where(action == 2, 1, action))  # turning in place ends nothing
        balls = (env.state["grid"][..., 0] == 6).sum((1, 2))
        assert (balls == 4).all()
        places = env.world.variables[:, :4].long()
        assert (env.world.cells.gather(1, places) & 15 == 6).all()
        agents = env.world.agent[:, :1] + env.world.width * env.world.agent[:, 1:2]
        assert not (places == agents).any(), "a ball rolled onto the agent"


def test_obstacles_that_cannot_move_stay():
    env = make("Dynamic-Obstacles-5x5-v0", num_envs=1)
    wall = env.world.cells[0, 0].item()
    ball = env.world.variables[0, 0].item()
    cells = env.world.cells[0]
    around = torch.arange(25)
    cells[around[(around != ball) & (cells & 15 == 1)]] = wall
    others = env.world.variables[0, 1:4].tolist()
    env.world.variables[0, 1:] = -1
    for other in others:
        if other >= 0:
            cells[other] = wall
    env.step(torch.tensor([LEFT]))
    assert env.world.variables[0, 0].item() == ball


def test_obstacles_move_the_same_way_again():
    first, second, third = (make("Dynamic-Obstacles-8x8-v0", num_envs=32, seed=seed) for seed in (3, 3, 4))
    third.world.inject([])
    for action in actions_for(first, 40):
        assert_equal_steps([kept(first.step(action))], [kept(second.step(action))])
        third.step(action)
    assert not torch.equal(first.world.variables, third.world.variables)
