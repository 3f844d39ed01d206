"""Names to shapers: `shape`, `list_shapers`, `register_shaper`, and terms from configuration."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from cairngym.envs.checks import check_options
from cairngym.envs.factories import Factories, Factory

if TYPE_CHECKING:
    from cairngym.envs.core import TensorEnv
    from cairngym.reward_shaping.core import ShapedEnv, Shaper, Term

_shapers: Factories[Shaper] = Factories(
    "shaper",
    {
        "potential": "cairngym.reward_shaping.potential:PotentialShaper",
        "count": "cairngym.reward_shaping.curiosity.count:CountShaper",
        "rnd": "cairngym.reward_shaping.curiosity.rnd:RNDShaper",
        "rdd": "cairngym.reward_shaping.curiosity.rdd:RDDShaper",
        "e3b": "cairngym.reward_shaping.curiosity.e3b:E3BShaper",
        "icm": "cairngym.reward_shaping.curiosity.icm:ICMShaper",
        "pbim": "cairngym.reward_shaping.invariant_bonus:InvariantBonusShaper",
        "empowerment": "cairngym.reward_shaping.empowerment.variational:EmpowermentShaper",
        "sampled_empowerment": "cairngym.reward_shaping.empowerment.sampled:SampledEmpowermentShaper",
        "novelty": "cairngym.reward_shaping.quality_diversity.shaper:NoveltyShaper",
        "robustness": "cairngym.reward_shaping.temporal.robustness:RobustnessShaper",
        "stages": "cairngym.reward_shaping.temporal.stages:StagesShaper",
        "program": "cairngym.reward_shaping.llm.program_shaper:ProgramShaper",
        "text2reward": "cairngym.reward_shaping.llm.text2reward.shaper:Text2RewardShaper",
        "auto_mc": "cairngym.reward_shaping.llm.auto_mc.shaper:AutoMCShaper",
        "beacons": "cairngym.reward_shaping.llm.beacons.shaper:BeaconShaper",
        "calm": "cairngym.reward_shaping.llm.calm.shaper:CalmShaper",
        "lare": "cairngym.reward_shaping.llm.lare.shaper:LaReShaper",
        "oni": "cairngym.reward_shaping.llm.oni.shaper:OniShaper",
        "task_reward": "cairngym.reward_shaping.combiners:TaskRewardShaper",
        "sum": "cairngym.reward_shaping.composition:SumShaper",
        "gate": "cairngym.reward_shaping.composition:GateShaper",
        "product": "cairngym.reward_shaping.composition:ProductShaper",
        "blend": "cairngym.reward_shaping.composition:BlendShaper",
        "sign": "cairngym.reward_shaping.combiners:SignShaper",
        "accumulate": "cairngym.reward_shaping.combiners:AccumulateShaper",
        "count_divided": "cairngym.reward_shaping.combiners:CountDividedShaper",
    },
)


def register_shaper(name: str, factory: Factory[Shaper]) -> None:
    """Add a shaper under `name`; `factory(**options)` makes one, or "module:class" names it.

    Raises:
        ValueError: if the name is taken.
    """
    _shapers.register(name, factory)


def list_shapers() -> list[str]:
    """Every name that `shape` takes, sorted."""
    return _shapers.names()


def get_shaper(name: str) -> Callable[..., Shaper]:
    """The factory registered under `name`.

    Raises:
        UnknownNameError: naming the nearest valid names.
    """
    return _shapers.get(name)


def make_shaper(shaper: str, **options: Any) -> Shaper:
    """Make the shaper registered under that name, with its options.

    Raises:
        UnknownNameError: unknown name.
        TypeError: an option it does not have.
    """
    factory = get_shaper(shaper)
    parameters = inspect.signature(factory).parameters
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        check_options(f"The shaper {shaper!r}", options, parameters)
    return factory(**options)


def make_term(config: Mapping[str, Any]) -> Term:
    """Make a term from `{"name": shaper, "weight": 1.0, "term": its name in info, **options}`; only `name` is needed.

    Raises:
        ValueError: no `name`.
        UnknownNameError: unknown shaper.
        TypeError: an option the shaper does not have.

    Example:
        >>> make_term({"name": "potential", "weight": 0.5, "gamma": 0.9}).shaper.gamma
        0.9
    """
    from cairngym.reward_shaping.core import Term

    options = dict(config)
    if "name" not in options:
        raise ValueError(f"Expected a term such as {{'name': 'count', 'weight': 0.01}}, got {options}: no 'name'.")
    name, weight = options.pop("name"), float(options.pop("weight", 1.0))
    label = options.pop("term", None) or name
    return Term(name=label, shaper=make_shaper(name, **options), weight=weight)


def shape(env: TensorEnv, name: str, weight: float = 1.0, *, term: str | None = None, **options: Any) -> ShapedEnv:
    """Add a shaper to an env; shaping a shaped env adds a term to it, and starts its terms afresh.

    Args:
        env: any TensorEnv.
        name: one of `list_shapers()`.
        weight: what the term is multiplied by in the reward.
        term: the term's name in `info["reward_terms"]`; default is `name`.
        options: the shaper's own.

    Example:
        >>> import cairngym
        >>> env = cairngym.shape(cairngym.make("Chain-N10-v0", num_envs=2), "count", weight=0.01)
        >>> obs, info = env.reset(seed=0)
        >>> sorted(env.step([1, 1])[4]["reward_terms"])
        ['count']
    """
    from cairngym.reward_shaping.core import ShapedEnv

    added = make_term({**options, "name": name, "weight": weight, "term": term})
    if isinstance(env, ShapedEnv):
        return ShapedEnv(env.env, (*env.own_terms, added))
    return ShapedEnv(env, (added,))
