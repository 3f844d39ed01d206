"""Reward reflection: what training with a program was like, in coarse figures, and what strikes in them."""

from __future__ import annotations

from collections.abc import Mapping

from cairngym.experiments.search.fitness import Course, Trial

CONSTANT = 0.05
"""A component that varies by less than this share of its largest absolute value hardly changes."""
DOMINANT = 0.9
"""A component that makes up more than this share of all absolute values drowns the others."""
NEVER = 0.02
"""Success that is never above this is none."""
SOLVED = 0.95
"""Fitness from which the task counts as learned."""
ASTRAY = (
    "The task never succeeds, although the reward grows: the agent is paid for something else. Find out what, and "
    "write another reward."
)
LOST = "The task never succeeds: the reward does not lead there. Write another one rather than tune this one."
TOTAL = "the reward (what the program returns)"
SUCCESS = "success of the task"


def coarse(value: float) -> str:
    """A number to two significant digits, and nothing but noise as zero.

    Example:
        >>> coarse(0.012345), coarse(1234.0), coarse(-3e-9), coarse(0.5)
        ('0.012', '1200', '0', '0.5')
    """
    return "0" if abs(value) < 1e-6 else f"{float(f'{value:.2g}'):g}"


def reflect(trial: Trial) -> str:
    """Tell what training with a program was like.

    Args:
        trial: of the furthest rung that it got to.

    Returns:
        A line for each component, the reward and the success, the fitness, and a line of advice for everything that
        strikes; figures have two significant digits, so that small differences between machines do not show.
    """
    seeds = len(trial.runs)
    lines = [f"{seeds} run{'s' * (seeds != 1)} of {trial.steps} environment steps.", ""]
    lines += [_line(f'component "{name}"', course) for name, course in trial.components.items()]
    lines += [_line(TOTAL, trial.total)] if trial.total else []
    lines += [_line(SUCCESS, trial.success)] if trial.success else []
    lines += ["", f"Success at the end of training: {coarse(trial.fitness or 0.0)}."]
    remarks = advice(trial)
    return "\n".join([*lines, *(["", "What strikes:"] if remarks else []), *(f"- {remark}" for remark in remarks)])


def _line(name: str, course: Course) -> str:
    values = ", ".join(map(coarse, course.values))
    ends = f"least {coarse(course.least)}, mean {coarse(course.mean)}, greatest {coarse(course.greatest)}"
    return f"- {name}: [{values}]; {ends}"


def advice(trial: Trial) -> list[str]:
    """What strikes in the figures of a trial, a sentence or two each."""
    constant = [name for name, course in trial.components.items() if is_constant(course)]
    dominant = dominating(trial.components)
    remarks = []
    if trial.switched_off:
        remarks.append(
            f"In {trial.switched_off} of {len(trial.runs)} runs the reward was switched off, since it was NaN, "
            "infinite or exploded. Guard divisions, square roots and logarithms, and bound what can grow."
        )
    failed = sum(fitness is None for fitness in trial.runs.values())
    if failed:
        remarks.append(f"{failed} of {len(trial.runs)} runs broke down and count as no success.")
    remarks += [
        f'The component "{name}" is near constant: the agent cannot improve it as it is, or need not. Change its scale '
        "or temperature, write it anew, or drop it."
        for name in constant
    ]
    if dominant:
        remarks.append(
            f'The component "{dominant}" makes up nearly all of the reward and drowns the others. Bring it to their '
            "scale."
        )
    return remarks + _outcome(trial)


def _outcome(trial: Trial) -> list[str]:
    """Advice that follows from the success."""
    if trial.success is None:
        return []
    if trial.success.greatest <= NEVER:
        grows = trial.total is not None and rises(trial.total)
        return [ASTRAY if grows else LOST]
    if (trial.fitness or 0.0) >= SOLVED:
        return ["The task is learned. What can still be won is time: let the success come sooner."]
    return []


def is_constant(course: Course) -> bool:
    """Whether a course hardly changes, measured by its largest absolute value."""
    size = max(abs(course.least), abs(course.greatest))
    return course.greatest - course.least <= CONSTANT * size


def dominating(components: Mapping[str, Course]) -> str:
    """The component that makes up nearly all of the absolute values of several; empty where none does."""
    sizes = {name: sum(map(abs, course.values)) / len(course.values) for name, course in components.items()}
    name = max(sizes, key=lambda each: sizes[each], default="")
    return name if len(sizes) > 1 and sizes[name] > DOMINANT * sum(sizes.values()) else ""


def rises(course: Course) -> bool:
    """Whether a course ends clearly above its beginning."""
    first, last = course.values[0], course.values[-1]
    return last - first > CONSTANT * max(abs(course.least), abs(course.greatest)) > 0
