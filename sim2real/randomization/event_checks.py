"""Checks that the events share: what was expected, and what came."""

from __future__ import annotations

import math

from cairngym.envs.checks import unknown_name


def check_word(what: str, value: str, valid: tuple[str, ...]) -> None:
    """Raise `UnknownNameError` unless a word is one of those valid."""
    if value not in valid:
        raise unknown_name(what, value, valid)


def check_mode(mode: str, valid: tuple[str, ...]) -> None:
    """Raise `UnknownNameError` unless a mode is one of those valid."""
    check_word("mode", mode, valid)


def check_interval(what: str, mode: str, every_s: tuple[float, float] | None) -> None:
    """Raise `ValueError` unless times are given for mode interval, and for no other."""
    if (mode == "interval") != (every_s is not None):
        raise ValueError(f"{what}: expected every_s for mode interval and for no other, got {mode} and {every_s}.")
    if every_s is not None:
        check_span(f"{what}: every_s", every_s, 0.0)


def check_span(what: str, span: tuple[float, float], least: float, *, strict: bool = False) -> None:
    """Raise `ValueError` unless two finite numbers stand in order, none below (or with `strict` at) the least."""
    if len(span) != 2 or not all(map(math.isfinite, span)) or span[0] > span[1]:
        raise ValueError(f"{what}: expected two numbers, the lower one first, got {list(span)}.")
    if span[0] < least or (strict and span[0] == least):
        raise ValueError(f"{what}: expected numbers {'above' if strict else 'of at least'} {least:g}, got {span[0]:g}.")


def check_delay(what: str, low: int, high: int) -> None:
    """Raise `ValueError` unless a range of delays runs upward from zero or more."""
    if not 0 <= low <= high:
        raise ValueError(f"{what}: expected 0 <= low <= high in physics steps, got {low} and {high}.")


def check_probability(what: str, value: float) -> None:
    """Raise `ValueError` unless a number lies in [0, 1]."""
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"{what}: expected a number in [0, 1], got {value}.")


def check_at_least_zero(what: str, value: float) -> None:
    """Raise `ValueError` unless a number is finite and not negative."""
    if not 0.0 <= value < math.inf:
        raise ValueError(f"{what}: expected a finite number of at least 0, got {value}.")


def check_component(what: str, component: int | None) -> None:
    """Raise `ValueError` for a negative component."""
    if component is not None and component < 0:
        raise ValueError(f"{what}: expected a component of at least 0, got {component}.")


def check_fields(what: str, fields: tuple[str, ...]) -> None:
    """Raise `ValueError` where no field is named."""
    if not fields:
        raise ValueError(f"{what}: expected at least one field of the state, got none.")


def check_either(what: str, bodies: tuple[str, ...], joints: tuple[str, ...]) -> None:
    """Raise `ValueError` unless bodies or joints are named, and not both."""
    if bool(bodies) == bool(joints):
        raise ValueError(f"{what}: expected bodies or joints, got {'both' if bodies else 'neither'}.")
