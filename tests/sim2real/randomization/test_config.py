"""Events and their YAML: what is read back, and what is refused with which words."""

import pytest
import yaml

from cairngym.envs.checks import UnknownNameError
from cairngym.sim2real.randomization.config import (
    EVENTS,
    ActionDelay,
    ActuatorModel,
    FieldEvent,
    PacketLoss,
    Push,
    RandomForce,
    RandomizationConfig,
    SensorDelay,
    SensorNoise,
    list_presets,
    load_config,
    parse_config,
    resolve_config,
    save_config,
    to_yaml,
)

ALL = RandomizationConfig(
    description="Some of everything: ünits.",
    events=(
        FieldEvent(field="body_mass", names=("a", "b*"), low=0.5, high=2.0, distribution="log_uniform", inertia=False),
        FieldEvent(field="opt.gravity", operation="add", distribution="gaussian", mean=0.0, std=0.1, mode="interval",
                   every_s=(0.5, 1.0)),
        ActionDelay(low=1, high=3, mode="interval"),
        PacketLoss(probability=0.25),
        Push(velocity=(0.0, 1.0), every_s=(1.0, 2.0), bodies=("torso",)),
        RandomForce(force=(0.0, 5.0), every_s=(0.0, 0.0), joints=("*",)),
        ActuatorModel(kind="dc_motor", stall_effort=3.0, no_load_speed=20.0, stiffness=10.0),
        SensorNoise(field="position", std=0.01, bias_range=(-0.1, 0.1)),
        SensorDelay(fields=("position", "velocity"), low=0, high=4),
    ),
)  # fmt: skip


def test_what_is_written_is_read_back(tmp_path):
    save_config(ALL, tmp_path / "all.yaml")
    assert load_config(tmp_path / "all.yaml") == ALL
    assert resolve_config(yaml.safe_load(to_yaml(ALL))) == ALL
    assert resolve_config(ALL) is ALL


def test_presets_are_named_and_described():
    assert {"point_maze", "fetch_push", "quadrotor", "random_force"} <= set(list_presets())
    for name in list_presets():
        config = load_config(name)
        assert config.events
        assert config.description
        assert resolve_config(name) == config
    with pytest.raises(UnknownNameError, match="'fetch_push'"):
        load_config("fetch_psuh")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("events:\n- {event: feild, field: body_mass}", "events\\[0\\].event: Unknown event 'feild'.*'field'"),
        ("events:\n- {event: field, field: body_mas, low: 1, high: 2}", "Unknown model field 'body_mas'.*'body_mass'"),
        ("events:\n- {event: field, field: body_mass, lo: 1}", "events\\[0\\].lo: unknown key\\. Did you mean 'low'"),
        ("events:\n- {event: field, low: 1, high: 2}", "events\\[0\\].field: missing"),
        ("events:\n- {event: field, field: body_mass, low: a, high: 2}", "low: expected a number, got 'a'"),
        (
            "events:\n- {event: field, field: body_mass, low: 1, high: 2, mode: restart}",
            "expected one of startup, reset, interval",
        ),
        ("events:\n- {event: action_delay, low: 0.5, high: 2}", "low: expected a whole number"),
        ("events:\n- {event: push, velocity: [1], every_s: [1, 2], bodies: [a]}", "expected a list of 2, got 1"),
        ("events: {event: push}", "events: expected a list"),
        ("evnts: []", "Unknown key 'evnts'. Did you mean 'events'"),
        ("events: []\nevents: []", "stands twice"),
        ("events: [", "not readable as YAML"),
        ("[]", "expected `key: value` lines"),
    ],
)  # fmt: skip
def test_yaml_is_strict(tmp_path, text, words):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=words) as error:
        load_config(path)
    assert "bad.yaml" in str(error.value)


def test_exponents_are_numbers_and_missing_files_are_named(tmp_path):
    (tmp_path / "a.yaml").write_text("events:\n- {event: field, field: dof_damping, low: 1e-3, high: 1e1}")
    assert load_config(tmp_path / "a.yaml").events[0].low == 1e-3
    with pytest.raises(ValueError, match=r"none\.yaml: can't be read"):
        load_config(tmp_path / "none.yaml")
    with pytest.raises(ValueError, match="expected a mapping with the key 'event'"):
        parse_config({"events": [3]}, "here")


@pytest.mark.parametrize(
    ("make", "options", "words"),
    [
        (FieldEvent, {"field": "body_mass", "operation": "abs", "low": -1.0, "high": 1.0}, "above 0, got -1"),
        (FieldEvent, {"field": "body_mass", "low": 0.0, "high": 1.0}, "factors above 0"),
        (FieldEvent, {"field": "geom_friction", "low": -0.5, "high": 1.0}, "factors of at least 0"),
        (FieldEvent, {"field": "dof_damping", "operation": "abs", "low": -0.1, "high": 0.0}, "of at least 0"),
        (FieldEvent, {"field": "body_mass", "low": 2.0, "high": 1.0}, "low <= high, got 2 and 1"),
        (FieldEvent, {"field": "body_mass", "low": 0.0, "high": 1.0, "distribution": "log_uniform"}, "low > 0"),
        (FieldEvent, {"field": "body_mass", "low": 1.0}, "Expected low and high"),
        (FieldEvent, {"field": "body_mass", "distribution": "gaussian", "mean": 1.0, "std": -1.0}, "std >= 0"),
        (FieldEvent, {"field": "body_mass", "distribution": "gaussian", "mean": 1.0, "std": 0.3}, "factors above 0"),
        (FieldEvent, {"field": "body_mass", "low": 1.0, "high": float("inf")}, "finite high"),
        (FieldEvent, {"field": "body_mass", "low": 1.0, "high": 2.0, "names": ()}, "at least one name"),
        (FieldEvent, {"field": "geom_size", "low": 1.0, "high": 2.0, "component": 3}, r"component in \[0, 2\]"),
        (FieldEvent, {"field": "body_mass", "low": 1.0, "high": 2.0, "mode": "interval"}, "for mode interval"),
        (FieldEvent, {"field": "body_mass", "low": 1.0, "high": 2.0, "every_s": (1.0, 2.0)}, "for mode interval"),
        (FieldEvent, {"field": "actuator_strength", "operation": "add", "low": -1.5, "high": 0.0}, "of at least -1"),
        (ActionDelay, {"low": -1, "high": 2}, "0 <= low <= high"),
        (ActionDelay, {"low": 3, "high": 2}, "0 <= low <= high"),
        (PacketLoss, {"probability": 1.5}, r"in \[0, 1\]"),
        (Push, {"velocity": (2.0, 1.0), "every_s": (1.0, 2.0), "bodies": ("a",)}, "the lower one first"),
        (Push, {"velocity": (0.0, 1.0), "every_s": (0.0, 2.0), "bodies": ("a",)}, "above 0"),
        (Push, {"velocity": (0.0, 1.0), "every_s": (1.0, 2.0)}, "bodies or joints, got neither"),
        (RandomForce, {"force": (0, 1), "every_s": (0, 1), "joints": ("a",), "of_weight": True}, "expected bodies"),
        (SensorDelay, {"fields": (), "low": 0, "high": 1}, "at least one field"),
        (SensorNoise, {"field": "a", "std": -1.0}, "at least 0"),
        (ActuatorModel, {"kind": "mlp"}, "needs path"),
    ],
)  # fmt: skip
def test_events_refuse_what_can_not_be(make, options, words):
    with pytest.raises(ValueError, match=words):
        make(**options)


@pytest.mark.parametrize("options", [{"operation": "skale"}, {"distribution": "normal"}, {"mode": "episode"}])
def test_unknown_words_are_named(options):
    with pytest.raises(UnknownNameError, match="Unknown"):
        FieldEvent(**{"field": "body_mass", "low": 1.0, "high": 2.0} | options)


def test_configs_hold_events_only():
    assert len(EVENTS) == 12
    with pytest.raises(TypeError, match="Expected events"):
        RandomizationConfig(events=({"event": "push"},))
    with pytest.raises(ValueError, match="at most 128"):
        RandomizationConfig(events=(PacketLoss(probability=0.0),) * 129)
