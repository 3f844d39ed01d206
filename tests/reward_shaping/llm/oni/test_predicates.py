import pytest
import torch
from oni_toys import happen

from cairngym.envs.core import StateField
from cairngym.envs.registry import make
from cairngym.reward_shaping.llm.oni.captioner import make_captioner
from cairngym.reward_shaping.llm.oni.predicates import Predicate, PredicateCaptioner


def captions(captioner, before, after):
    return [captioner.text(code) if code else "" for code in captioner.codes(moved(before, after)).tolist()]


def moved(before, after):
    def state(rows):
        hand = torch.tensor(rows, dtype=torch.float32)
        return {"hand": hand, "cup": torch.zeros_like(hand), "height": hand[:, 0]}

    return happen(*[0] * len(before), state=state(before), next_state=state(after))


class Bench:
    """The little that a captioner asks of an env."""

    device = torch.device("cpu")
    state_spec = {  # noqa: RUF012
        "hand": StateField(shape=(2,), unit="m", description="The hand."),
        "cup": StateField(shape=(2,), unit="m", description="The cup."),
        "height": StateField(shape=(), unit="m", description="The height."),
        "plan": StateField(shape=(), unit="m", description="The plan.", privileged=True),
    }


def bound(*predicates):
    captioner = PredicateCaptioner(predicates)
    captioner.bind(Bench())
    return captioner


def test_crossing_is_told_once_in_each_direction_and_the_first_in_order_wins():
    captioner = bound(
        Predicate(becomes="near", ceases="far", field="hand", other="cup", below=1.0),
        Predicate(becomes="high", ceases="low", field="height", above=2.0),
        Predicate(becomes="right", field="hand", component=1, above=5.0),
    )
    # In turn: comes near; stays; leaves and rises; rises; ceases with nothing to say; two come to hold.
    before = [[1.2, 1.6], [0.3, 0.4], [0.6, 0.0], [1.0, 3.0], [1.0, 6.0], [1.0, 1.0]]
    after = [[0.3, 0.4], [0.5, 0.0], [3.0, 0.0], [2.5, 3.0], [1.0, 4.0], [2.5, 6.0]]
    assert captions(captioner, before, after) == ["near", "", "high", "high", "", "high"]
    assert captions(captioner, after, before) == ["far", "", "near", "low", "right", "low"]
    assert captioner.captions == ("near", "high", "right", "far", "low")
    assert captioner.requires == ("cup", "hand", "height")


def test_what_only_a_planner_knows_is_refused():
    with pytest.raises(ValueError, match="can't read the state field 'plan'"):
        bound(Predicate(becomes="soon", field="plan", below=1.0))
    with pytest.raises(ValueError, match="either below or above"):
        Predicate(becomes="soon", field="hand")


def test_places_of_a_maze_are_captioned_without_being_asked():
    env = make("PointMaze_UMaze-v3", num_envs=4)
    captioner = make_captioner(env)
    captioner.bind(env)
    assert captioner.captions == ("the agent comes near the goal", "the agent moves away from the goal")
    goal = torch.zeros(1, 2)
    far, near = ({"position": torch.full((1, 2), at), "goal": goal} for at in (2.0, 0.1))
    assert captioner.codes(happen(0, state=far, next_state=near)).tolist() == [1]
    assert "Where the point is" in captioner.setting


def test_a_world_without_places_says_what_to_pass():
    with pytest.raises(ValueError, match="captioner=PredicateCaptioner"):
        make_captioner(make("Chain-N10-v0", num_envs=1))
