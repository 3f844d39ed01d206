"""What is said of steps in a grid world, held against a slow and separate reading of the same states."""

import pytest
import torch

from cairngym.envs.core import Transition
from cairngym.envs.minigrid.cells import BALL, BOX, DOOR, FORWARD, GOAL, KEY, LAVA, TOGGLE, WALL
from cairngym.envs.registry import make
from cairngym.reward_shaping.llm.oni.minigrid_captions import COLORS, FIELDS, MiniGridCaptioner

STEPS = ((1, 0), (0, 1), (-1, 0), (0, -1))
NAMES = {DOOR: "door", KEY: "key", BALL: "ball", BOX: "box", GOAL: "goal", LAVA: "lava", WALL: "wall"}
STATES = ("open", "closed", "locked")


def named(cell):
    kind, color, _ = cell
    return NAMES[kind] if kind in (GOAL, LAVA, WALL) else f"{COLORS[color]} {NAMES[kind]}"


def shown(cell):
    return f"{STATES[cell[2]]} {named(cell)}" if cell[0] == DOOR else named(cell)


def front(position, direction, grid):
    x, y = position[0] + STEPS[direction][0], position[1] + STEPS[direction][1]
    return grid[x][y]


def told(before, after, action):
    """One env's caption, from lists."""
    (pos, way, held, grid), (pos2, way2, held2, grid2) = before, after
    ahead = front(pos, way, grid)
    if held[0] == 1 != held2[0]:
        return f"you pick up the {named((*held2, 0))}"
    if held[0] != 1 == held2[0]:
        return f"you drop the {named((*held, 0))}"
    x, y = pos[0] + STEPS[way][0], pos[1] + STEPS[way][1]
    changed = grid2[x][y]
    if ahead[0] == DOOR and ahead[2] != changed[2]:
        verb = {(2, 0): "unlock", (1, 0): "open", (0, 1): "close"}[ahead[2], changed[2]]
        return f"you {verb} the {named(ahead)}" + (" with the key" if verb == "unlock" else "")
    if ahead[0] == BOX and changed[0] != BOX:
        return f"you open the {named(ahead)}"
    here = grid2[pos2[0]][pos2[1]]
    if pos2 != pos and here[0] in (DOOR, GOAL, LAVA):
        return {DOOR: f"you walk through the {named(here)}", GOAL: "you reach the goal"}.get(
            here[0], "you fall into the lava"
        )
    new = front(pos2, way2, grid2)
    if pos2 == pos and way2 == way:
        if action != FORWARD or new[0] not in NAMES:
            return ""
        return f"you bump into {'a' if new[0] == WALL else 'the'} {shown(new)}"
    if new[0] in NAMES and new[0] != WALL:
        article = {GOAL: "the ", LAVA: ""}.get(new[0], "an " if shown(new)[0] == "o" else "a ")
        return f"you see {article}{shown(new)}"
    return ""


def advance(env, action):
    state = {name: env.state[name] for name in FIELDS}
    _, reward, terminated, truncated, info = env.step(action)
    after = {name: info["final_state"][name] for name in FIELDS}
    return Transition(
        obs=action, state=state, action=action, next_obs=action, next_state=after, reward=reward,
        terminated=terminated, truncated=truncated, success=info["success"], env_id=None,
    )  # fmt: skip


def rows(state):
    return list(zip(*(state[name].tolist() for name in FIELDS), strict=True))


@pytest.mark.parametrize(
    ("env_id", "least"),
    [
        ("MiniGrid-ObstructedMaze-1Dlhb-v0", ("pick up", "drop", "open the", "see", "bump into the locked")),
        ("MiniGrid-DoorKey-6x6-v0", ("unlock the", "close the", "walk through", "see the goal", "bump into a wall")),
        ("MiniGrid-LavaCrossingS9N1-v0", ("see lava", "fall into the lava")),
    ],
)
def test_every_env_is_told_what_a_slow_reading_says(env_id, least):
    env = make(env_id, num_envs=32, seed=3, threads=1, bank_size=32)
    captioner = MiniGridCaptioner()
    captioner.bind(env)
    env.reset()
    draws = torch.Generator().manual_seed(0)
    likely = torch.tensor([1.0, 1.0, 3.0, 1.0, 0.5, 2.0, 0.1][: env.single_action_space.n])
    said = set()
    for _ in range(120):
        action = torch.multinomial(likely, 32, replacement=True, generator=draws)
        transition = advance(env, action)
        texts = [captioner.text(code) if code else "" for code in captioner.codes(transition).tolist()]
        both = zip(rows(transition.state), rows(transition.next_state), action.tolist(), strict=True)
        assert texts == [told(*args) for args in both]
        said |= set(texts)
    for words in least:
        assert any(words in text for text in said), f"nothing was said of {words!r}"
    assert said - {""} <= set(captioner.captions)


def test_a_door_is_unlocked_and_walked_through():
    """By hand: the agent at (1, 1) looks right at a locked yellow door at (2, 1) and holds its key."""
    env = make("MiniGrid-ObstructedMaze-1Dlhb-v0", num_envs=1, bank_size=32)
    captioner = MiniGridCaptioner()
    captioner.bind(env)

    def state(x, door, kind=KEY):
        grid = torch.ones(1, 11, 6, 3, dtype=torch.uint8)
        grid[0, 2, 1] = torch.tensor([DOOR, 4, door])
        place, way = torch.tensor([[x, 1]]), torch.tensor([0])
        return {"agent_pos": place, "agent_dir": way, "carrying": torch.tensor([[kind, 4]]), "grid": grid}

    def say(before, after, action, captioner=captioner):
        zero = torch.zeros(1)
        code = captioner.codes(
            Transition(
                obs=zero, state=before, action=torch.tensor([action]), next_obs=zero, next_state=after, reward=zero,
                terminated=zero.bool(), truncated=zero.bool(), success=zero.bool(), env_id=None,
            )
        )  # fmt: skip
        return captioner.text(int(code)) if int(code) else ""

    assert say(state(1, 2), state(1, 0), TOGGLE) == "you unlock the yellow door with the key"
    assert say(state(1, 1), state(1, 0), TOGGLE) == "you open the yellow door"
    assert say(state(1, 0), state(1, 1), TOGGLE) == "you close the yellow door"
    assert say(state(1, 2), state(1, 2), TOGGLE) == ""
    assert say(state(1, 2), state(1, 2), FORWARD) == "you bump into the locked yellow door"
    assert say(state(1, 0), state(2, 0), FORWARD) == "you walk through the yellow door"
    plain = MiniGridCaptioner(colors=False)
    plain.bind(env)
    assert say(state(1, 2), state(1, 0), TOGGLE, plain) == "you unlock the door with the key"
    assert len(plain.captions) * 3 < len(captioner.captions)


def test_a_caption_does_not_depend_on_the_other_envs():
    few, many = (
        make("MiniGrid-ObstructedMaze-1Dlhb-v0", num_envs=count, seed=5, threads=1, bank_size=32) for count in (3, 17)
    )
    captioner = MiniGridCaptioner()
    captioner.bind(many)
    few.reset()
    many.reset()
    draws = torch.Generator().manual_seed(1)
    spoken = 0
    for _ in range(60):
        action = torch.randint(0, 7, (17,), generator=draws)
        one, other = captioner.codes(advance(few, action[:3])), captioner.codes(advance(many, action))
        assert torch.equal(one, other[:3])
        spoken += int((one > 0).sum())
    assert spoken > 10


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_says_what_the_cpu_says():
    envs = [make("MiniGrid-ObstructedMaze-1Dlhb-v0", num_envs=64, device=at, bank_size=32) for at in ("cpu", "cuda")]
    captioners = [MiniGridCaptioner(), MiniGridCaptioner()]
    for env, captioner in zip(envs, captioners, strict=True):
        captioner.bind(env)
        env.reset(seed=0)
    draws = torch.Generator().manual_seed(0)
    for _ in range(50):
        action = torch.randint(0, 7, (64,), generator=draws)
        one, other = (
            captioner.codes(advance(env, action.to(env.device)))
            for env, captioner in zip(envs, captioners, strict=True)
        )
        assert torch.equal(one, other.cpu())


def test_nothing_privileged_is_read():
    env = make("MiniGrid-ObstructedMaze-1Dlhb-v0", num_envs=2, bank_size=32)
    assert not any(env.state_spec[name].privileged for name in MiniGridCaptioner.requires)
