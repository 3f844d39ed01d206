import math

import pytest
import torch
from line_recording import BAD, GOOD, SPEC, distance, nearness, odd_sum, one, pays_less_at_the_goal, record_line
from scipy.stats import spearmanr

from cairngym.reward_shaping.llm import exploits, soundness, usefulness
from cairngym.reward_shaping.llm.trial import Steps, Trial, episodes_of
from cairngym.reward_shaping.llm.verification import Standards, examine, twins


@pytest.fixture(scope="module")
def line():
    return record_line()


def found(program, recorded, **standards):
    result = examine(program, recorded, SPEC, Standards(**standards))
    return {(finding.check, finding.severity) for finding in result.findings}


@pytest.mark.parametrize("program", GOOD, ids=lambda program: program.__name__)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_good_programs_pass_every_check_on_any_recording(program, seed):
    result = examine(program, record_line(seed=seed), SPEC)
    assert result.findings == ()
    assert result.unchecked == ()
    assert result.call_s > 0
    assert result.statistics[0].name == "total"
    assert result.statistics[0].correlation > 0.05


@pytest.mark.parametrize(("program", "check", "severity"), BAD, ids=lambda value: getattr(value, "__name__", value))
def test_each_check_finds_the_program_made_to_fail_it(line, program, check, severity):
    assert (check, severity) in found(program, line)


def test_components_must_add_up_only_where_the_prompt_asked_for_it(line):
    assert ("sums", "error") in found(odd_sum, line, components_sum=True)
    assert not found(odd_sum, line)
    assert not found(nearness, line, components_sum=True)


def test_where_success_goes_on_the_goal_must_pay_no_less_than_the_way():
    recorded = record_line(terminates=False)
    assert ("loitering", "error") in found(pays_less_at_the_goal, recorded)
    assert not found(nearness, recorded)


@pytest.mark.parametrize(
    ("returned", "check"),
    [
        (lambda near: near, "components"),
        (lambda near: (near, [near]), "components"),
        (lambda near: (near, {}), "components"),
        (lambda near: (near, {0: near}), "components"),
        (lambda near: (near, {str(k): near for k in range(65)}), "components"),
        (lambda near: (near.mean(), {"near": near}), "shape"),
        (lambda near: (near.unsqueeze(1), {"near": near}), "shape"),
        (lambda near: (near, {"near": near.sum()}), "shape"),
        (lambda near: (near > 0, {"near": near}), "dtype"),
        (lambda near: (near.half(), {"near": near}), "dtype"),
        (lambda near: (1.0, {"near": near}), "type"),
        (lambda near: (near, {"near": 1.0}), "type"),
        (lambda near: (near.to("meta"), {"near": near}), "device"),
        (lambda near: (near / 0.0, {"near": near}), "finite"),
        (lambda near: (near, {"near": near.log()}), "finite"),
        (lambda near: (0.0 * near, {"near": near}), "constant"),
        (lambda near: (1000.0 * near, {"near": near}), "scale"),
        (lambda near: (near.unknown, {"near": near}), "failure"),
    ],
)
def test_what_breaks_the_contract_is_refused(line, returned, check):
    def program(state, action, next_state, memory):
        return returned(-distance(next_state) * 0.1)

    assert (check, "error") in found(program, line)


def test_scale_is_held_against_the_sparse_reward(line):
    def scaled(factor):
        return lambda state, action, next_state, memory: one(factor * (distance(state) - distance(next_state)))

    assert ("scale", "warning") in found(scaled(30.0), line)
    assert ("scale", "warning") in found(scaled(1e-4), line)
    assert not found(scaled(1.0), line)


def test_a_program_may_fail_at_any_moment_and_examine_says_how(line):
    calls = []

    def tired(state, action, next_state, memory):
        calls.append(1)
        if len(calls) > 5:
            raise RuntimeError("enough")
        return one(-distance(next_state))

    result = examine(tired, line, SPEC)
    assert [finding.message for finding in result.findings] == ["RuntimeError: enough"]


def test_what_the_recording_cannot_tell_is_said():
    nothing_done = record_line(num_envs=2, steps=3)
    spots = " ".join(examine(nearness, nothing_done, SPEC).unchecked)
    assert "loitering" in spots
    assert "standing still" in spots
    assert "order" in spots


def test_memory_is_played_through_each_episode_alone(line):
    def counts(state, action, next_state, memory):
        memory["steps"] = memory.get("steps", torch.zeros(len(action))) + 1.0
        return one(memory["steps"] + 0.0 * distance(state))

    trial = Trial(counts, line)
    assert trial.stateful
    assert torch.equal(trial.score().total, line.step + 1.0)
    chosen = torch.tensor([5, 2])
    assert torch.equal(trial.score(chosen).total, line.step[trial.scored_rows(chosen)] + 1.0)


def test_episodes_lie_side_by_side(line):
    index, lives = episodes_of(line)
    for column, number in enumerate(line.episode.unique()):
        rows = (line.episode == number).nonzero().squeeze(1)
        assert torch.equal(index[:, column][lives[:, column]], rows)
        assert (index[len(rows) :, column] == rows[-1]).all()


def test_twins_share_unit_and_shape():
    assert twins(SPEC) == [("position", "goal")]


def test_made_up_transitions(line):
    steps = Steps.of(line)
    still = steps.still(line.idle, after=True)
    assert torch.equal(still.state["position"], line.next_state["position"])
    assert torch.equal(still.next_state["position"], line.next_state["position"])
    assert (still.action == 0).all()
    back = steps.back()
    assert torch.equal(back.next_state["clock"], line.state["clock"])
    assert torch.equal(back.action, line.action)


# The functions by themselves ------------------------------------------------------------------------------------------


def test_rank_correlation_is_spearman_s():
    generator = torch.Generator().manual_seed(3)
    left = torch.randint(0, 9, (200,), generator=generator).float()
    right = left + torch.randint(0, 9, (200,), generator=generator)
    assert usefulness.rank_correlation(left, right) == pytest.approx(spearmanr(left, right).statistic, abs=1e-12)
    assert math.isnan(usefulness.rank_correlation(left, torch.ones(200)))


def test_centred_takes_each_episode_s_mean():
    value, episode = torch.tensor([1.0, 2.0, 3.0, 10.0]), torch.tensor([4, 7, 4, 7])
    assert usefulness.centred(value, episode).tolist() == [-1.0, -4.0, 1.0, 4.0]


def test_shares_leave_successes_aside():
    parts = {"a": torch.tensor([0.0, 2.0, 0.0]), "b": torch.tensor([0.0, 6.0, 100.0])}
    assert usefulness.shares_of(parts, torch.tensor([False, False, True])) == pytest.approx({"a": 0.25, "b": 0.75})


def test_rare_events_are_not_taken_for_saturation():
    event = torch.zeros(100)
    event[3] = 1.0
    assert not usefulness.saturation({"bonus": event, "penalty": -event})
    assert usefulness.saturation({"late": 1.0 - event})


def test_first_transitions_are_compared_with_the_others():
    step = torch.arange(40) % 10
    usual = torch.linspace(-0.1, 0.1, 40)
    never = torch.zeros(40, dtype=torch.bool)
    assert not usefulness.at_reset(usual, step, never)
    assert usefulness.at_reset(torch.where(step == 0, 5.0, usual), step, never)
    assert not usefulness.at_reset(torch.where(step == 0, 5.0, usual), step, step == 0)


def test_round_trips_of_a_recording_are_found():
    recorded = record_line(num_envs=3, steps=80, whole=True, terminates=False)
    where, after = recorded.state["position"][:, 0], recorded.next_state["position"][:, 0]
    for length in exploits.ROUND_TRIPS:
        expected = [
            row
            for row in range(len(recorded) - 3 * (length - 1))
            if recorded.episode[row] == recorded.episode[row + 3 * (length - 1)]
            and where[row] == after[row + 3 * (length - 1)]
            and where[row] != after[row]
        ]
        assert len(expected) > 5
        assert exploits.trips(recorded, length).tolist() == expected


def test_a_velocity_reward_is_warned_of_but_not_refused_for_reversals_that_physics_forbids():
    change = torch.tensor([0.1, -0.1] * 10)
    fast = exploits.Probes(
        change=change, earned=change * 10, still_before=change * 0, still_after=change * 0, round_trip=change.abs() * 5
    )
    assert [finding.severity for finding in exploits.going_back_and_forth(fast)] == ["warning"]
    free = exploits.Probes(
        change=change, earned=change.clamp(min=0.0), still_before=change * 0, still_after=change * 0,
        round_trip=change.abs(),
    )  # fmt: skip
    assert [finding.severity for finding in exploits.going_back_and_forth(free)] == ["error"]


def test_the_worth_of_finishing_is_the_discounted_sum_to_the_first_success():
    recorded = record_line(terminates=False)
    pay, staying = torch.rand(len(recorded)), torch.rand(len(recorded))
    worth = exploits.worth_of_finishing(pay, staying, recorded, episodes_of(recorded), 0.9)
    checked = 0
    for row in range(len(recorded)):
        rows = list(range(row, len(recorded), recorded.num_envs))
        rows = [later for later in rows if recorded.episode[later] == recorded.episode[row]]
        first = next((k for k, later in enumerate(rows) if recorded.success[later]), None)
        if first is None or first >= exploits.NEAR or recorded.progress[row] >= 1.0:
            assert math.isnan(worth[row])
            continue
        expected = sum(0.9**k * float(pay[rows[k]]) for k in range(first + 1))
        assert float(worth[row]) == pytest.approx(expected + 0.9 ** (first + 1) * float(staying[rows[first]]) / 0.1)
        checked += 1
    assert checked > 50


def test_nothing_is_paid_after_an_end(line):
    ends = line.success & line.terminated & (line.progress < 1.0)
    worth = exploits.worth_of_finishing(line.reward, torch.ones(len(line)), line, episodes_of(line), 0.9)
    assert torch.equal(worth[ends], line.reward[ends].double())


def test_loitering_is_refused_when_short_sight_is_enough_for_it():
    waiting, finishing = torch.full((50,), 6.0), torch.full((50,), 2.0)
    assert [entry.severity for entry in exploits.loitering(waiting, finishing, 20)] == ["error"]
    assert [entry.severity for entry in exploits.loitering(waiting, finishing, 100)] == ["warning"]
    assert not exploits.loitering(finishing, waiting, 20)
    assert not exploits.loitering(waiting, torch.full((50,), torch.nan), 20)


def test_rounding_between_batches_is_forgiven():
    value = torch.tensor([1.0, -2.0])
    assert not soundness.independent({"r": value}, {"r": value * (1 + 1e-6)}, "one by one")
    assert soundness.independent({"r": value}, {"r": value * 1.01}, "one by one")
    assert soundness.deterministic({"r": value}, {"r": value * (1 + 1e-6)})
