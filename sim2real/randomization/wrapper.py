"""The wrapper "randomization": a TensorEnv whose simulations differ from the model as a config says."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from gymnasium.vector import AutoresetMode

from cairngym.envs.checks import check_seed
from cairngym.envs.core import Observation, State, TensorEnv, clone, judged, where
from cairngym.envs.relabelling import Relabeller
from cairngym.envs.wrapper import TensorWrapper
from cairngym.sim2real.randomization.config import RandomizationConfig, resolve_config
from cairngym.sim2real.randomization.disturber import Disturber, physics_of
from cairngym.sim2real.randomization.parts import (
    MAX_UNIT,
    PHYSICS_PARTS,
    SENSOR_PARTS,
    Lives,
    Moment,
    PhysicsContext,
    SensorContext,
    SensorPart,
    make_parts,
)


class Randomization(TensorWrapper):
    """Randomizes the physics under an env, and what is seen of it.

    `state`, the reward, success and termination stay those of the true simulation; observations are made from the state
    as sensors see it. It goes directly around the env, inside of all other wrappers.

    Draws are keyed by the seed and, at startup, by the unit; for each episode by unit, env and the episode's number;
    within it by the step, too. So env i lives the same life for any number of envs.

    Args:
        env: as `make` makes it; for events on the physics its world must be a `PhysicsWorld`.
        config: the config, plain data as YAML gives it, the name of a preset, or the path of a YAML file.
        seed: of all draws here; None takes the env's seed, and follows it.
        units: which unit, a physical copy of the robot, each env is: env i is unit `units[i % len(units)]`. Equal units
            have equal startup draws under one seed. None makes every env a unit of its own.

    Raises:
        TypeError: the env is wrapped already, or its world or task can't be randomized so.
        UnknownNameError: a preset, model field, element or state field that is not there.
        ValueError: values that the model can't have, units out of range, or a world that is disturbed already.
    """

    keeps_layout = True

    def __init__(
        self,
        env: TensorEnv,
        *,
        config: RandomizationConfig | Mapping[str, Any] | str | Path,
        seed: int | None = None,
        units: Sequence[int] | None = None,
    ) -> None:
        if isinstance(env, TensorWrapper):
            raise TypeError(
                f"Expected an env without wrappers, got {type(env).__name__}. Randomize it first, then wrap it."
            )
        super().__init__(env)
        self.config = resolve_config(config)
        self._seed = None if seed is None else check_seed(seed)
        self._unit = None if units is None else self._units(tuple(units))
        self.sensors: list[SensorPart] = make_parts(
            SENSOR_PARTS, self.config.events, self._sensor_context, lambda: self.lives
        )
        self._seen: dict[str, torch.Tensor] = {}
        if self.sensors:
            judged(env.task)
        self._disturb()

    def _units(self, units: tuple[int, ...]) -> torch.Tensor:
        if not units or not all(0 <= unit <= MAX_UNIT for unit in units):
            raise ValueError(f"Expected at least one unit, each in [0, {MAX_UNIT}], got {list(units)}.")
        chosen = torch.tensor(units, device=self.device)
        return chosen[torch.arange(self.num_envs, device=self.device) % len(units)]

    @property
    def lives(self) -> Lives:
        """Whose numbers are drawn."""
        episodes = self.unwrapped.episodes
        return Lives(episodes.seed if self._seed is None else self._seed, episodes.env_id, self._unit)

    @property
    def _sensor_context(self) -> SensorContext:
        world = physics_of(self.unwrapped.world)
        substeps, step_s = 1, float(getattr(self.unwrapped.world, "time_step", 1.0))
        if world is not None:
            substeps, step_s = world.substeps, world.substeps * float(world.model.opt.timestep)
        return SensorContext(self.state_spec, self.num_envs, self.device, substeps, step_s)

    def _disturb(self) -> None:
        """Put the parts between the world and its driver, where there are any."""
        world = physics_of(self.unwrapped.world)
        physical = [event for event in self.config.events if type(event) in PHYSICS_PARTS]
        if world is None:
            if physical:
                raise TypeError(
                    f"Expected a world that MuJoCo simulates for {type(physical[0]).__name__}, got "
                    f"{type(self.unwrapped.world).__name__}. Only sensor events act on others."
                )
            return
        if world.disturbance is not None:
            raise ValueError("Expected a world that nothing disturbs yet. Put all events into one config.")
        if physical or self.sensors:
            context = PhysicsContext(world.driver, world.substeps, float(world.model.opt.timestep))
            parts = make_parts(PHYSICS_PARTS, self.config.events, context, lambda: self.lives)
            world.disturbance = Disturber(world, parts, self.sensors)

    # What is seen -----------------------------------------------------------------------------------------------------

    def observation(self, obs: Observation, state: State) -> Observation:
        """The task's observation of the state as sensors see it."""
        if not self.sensors:
            return obs
        return judged(self.unwrapped.task).observe(self.overlaid(state))

    def overlaid(self, state: State) -> State:
        """`state` with the fields that sensors see otherwise as they were seen last."""
        return ChainMap(self._seen, state)  # type: ignore[arg-type]

    def begin(self, mask: torch.Tensor, obs: Observation, state: State) -> None:
        """See the first states of new episodes."""
        del obs
        if not self.sensors or (self.device.type == "cpu" and not bool(mask.any())):
            return
        number = self.unwrapped.episodes.number.clone()
        first: dict[str, torch.Tensor] = {}
        for part in self.sensors:
            first |= part.begin(mask, ChainMap(first, state), Moment(number, torch.zeros_like(number)))  # type: ignore[arg-type]
        self._seen = {name: where(mask, value, self._seen.get(name, value)) for name, value in first.items()}

    def step(self, actions: Any) -> tuple[Observation, torch.Tensor, torch.Tensor, torch.Tensor, dict[str, Any]]:
        """Step the env; what is shown passes through the sensors."""
        if not self.sensors:
            return self.env.step(actions)
        episodes = self.unwrapped.episodes
        moment = Moment(episodes.number.clone(), episodes.length + 1)
        obs, reward, terminated, truncated, info = self.env.step(actions)
        final: State = info["final_state"]
        self._seen = self._sensed(final, moment)
        info["final_obs"] = self.observation(info["final_obs"], final)
        self.begin(self.fresh(info), obs, self.state)
        obs = self.observation(obs, self.state)
        if self.unwrapped.autoreset_mode is AutoresetMode.NEXT_STEP:  # what begins in this step is its final state
            info["final_obs"] = clone(obs)
        return obs, reward, terminated, truncated, info

    def _sensed(self, state: State, moment: Moment) -> dict[str, torch.Tensor]:
        seen: dict[str, torch.Tensor] = {}
        for part in self.sensors:
            seen |= part.sense(ChainMap(seen, state), moment)  # type: ignore[arg-type]
        return seen

    @property
    def relabeller(self) -> Relabeller | None:
        """The inner env's, unless sensors change what is seen, which it would not show."""
        return None if self.sensors else self.env.relabeller

    @property
    def observes_truth(self) -> bool:
        """False where there are sensors: a learner in hindsight then judges by what was truly achieved."""
        return not self.sensors and self.env.observes_truth

    # Snapshots --------------------------------------------------------------------------------------------------------

    def get_state(self) -> dict[str, Any]:
        """Snapshot of the env, which holds what acts on the physics, and of the sensors."""
        return {
            "env": self.env.get_state(),
            "sensors": [part.get_state() for part in self.sensors],
            "seen": clone(self._seen),
        }

    def set_state(self, snapshot: Mapping[str, Any]) -> None:
        """Return to a snapshot taken by `get_state` under the same config.

        Raises:
            ValueError: it is of another config.
        """
        kept = snapshot["sensors"]
        if len(kept) != len(self.sensors):
            raise ValueError(f"Expected a snapshot with {len(self.sensors)} kinds of sensor events, got {len(kept)}.")
        super().set_state(snapshot)
        for part, state in zip(self.sensors, kept, strict=True):
            part.set_state(state)
        self._seen = clone(snapshot["seen"])
