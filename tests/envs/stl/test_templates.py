"""Templates: horizons, and that their plans satisfy their formulas."""

import pytest
import torch

from cairngym.envs.checks import UnknownNameError
from cairngym.envs.stl.robustness import robustness
from cairngym.envs.stl.specs import TEMPLATES as LISTED
from cairngym.envs.stl.templates import TEMPLATES, check_horizon, get_template

HORIZONS = (50, 51, 100, 333, 1000)


def visits_of(plan, horizon):
    """Every visit that is made within the horizon."""
    yield from plan.visits
    if plan.repeat:
        for _ in range(horizon):
            yield from plan.visits[-plan.repeat :]


def trace(template, plan, horizon, share):
    """Margins of +-1 on a trace that makes each visit `share` of the way from its earliest to its latest step."""
    names = template.formula(horizon).predicates
    margins = {name: -torch.ones(1, horizon + 1) for name in names}
    time = 0
    for visit in visits_of(plan, horizon):
        latest = min(visit.latest, time + visit.gap)
        arrived = max(time, visit.earliest)
        arrived += int(share * (latest - arrived))
        if arrived > horizon:
            break
        time = arrived + visit.stay
        assert time <= horizon
        margins[f"in_{visit.region}"][:, arrived : time + 1] = 1.0
    return margins


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("horizon", HORIZONS)
def test_formulas_end_by_the_horizon(name, horizon):
    template = get_template(name)
    formula = template.formula(horizon)
    assert 0.9 * horizon <= formula.horizon <= horizon
    assert {f"in_{region}" for region in template.names} | {"in_obstacle"} == set(formula.predicates)


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("horizon", HORIZONS)
@pytest.mark.parametrize("share", [0.5, 1.0])
def test_plans_made_in_time_satisfy_the_formula(name, horizon, share):
    template = TEMPLATES[name]
    for plan in template.plans(horizon):
        margins = trace(template, plan, horizon, share)
        assert robustness(template.formula(horizon), margins, steps=1).item() == 1.0


@pytest.mark.parametrize("name", TEMPLATES)
def test_no_visits_and_obstacles_do_not(name):
    template = TEMPLATES[name]
    idle = {p: -torch.ones(1, 101) for p in template.formula(100).predicates}
    assert robustness(template.formula(100), idle, steps=1).item() == -1.0
    touching = trace(template, template.plans(100)[0], 100, 0.5)
    touching["in_obstacle"][:, 100] = 0.5
    assert robustness(template.formula(100), touching, steps=1).item() == -0.5


def test_text():
    texts = {name: str(template.formula(100)) for name, template in TEMPLATES.items()}
    safe = " & G[0,100] !in_obstacle"
    assert texts == {
        "ReachAvoid": "F[0,100] in_a & F[0,100] in_b" + safe,
        "Sequence": "F[0,33] in_a & F[33,66] in_b & F[66,99] in_c" + safe,
        "ReachStay": "F[0,70] G[0,20] in_a & F[0,100] in_b" + safe,
        "Until": "!in_door U[0,100] in_key & F[0,100] in_goal" + safe,
        "Nested": "F[0,33](in_a & F[0,33](in_b & F[0,33] in_c))" + safe,
        "Branch": "(F[0,100] in_a | F[0,100] in_b) & (F[0,100] in_c | F[0,100] in_d)" + safe,
        "Patrol": "G[0,50] F[0,50] in_a & G[0,50] F[0,50] in_b" + safe,
    }


def test_names_and_horizons_are_checked():
    assert tuple(TEMPLATES) == LISTED
    with pytest.raises(UnknownNameError, match="Did you mean 'Patrol'"):
        get_template("Patrl")
    for horizon in (49, 1001):
        with pytest.raises(ValueError, match=f"from 50 to 1000 steps, got {horizon}"):
            check_horizon(horizon)
    with pytest.raises(TypeError, match="whole number"):
        check_horizon(100.0)
