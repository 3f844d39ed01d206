"""What an identification found, for people (HTML), for programs (JSON) and as presets of randomization (YAML)."""

from __future__ import annotations

import base64
import html
import json
import math
from pathlib import Path
from typing import Any

from cairngym.envs.files import replacing
from cairngym.sim2real.identification.figures import draw_estimates, draw_prediction, draw_spectrum
from cairngym.sim2real.identification.fit import Estimate
from cairngym.sim2real.identification.presets import save_presets
from cairngym.sim2real.identification.run import Outcome

WHITE = 0.3
"""Residuals that correlate more with their neighbours than this are not noise."""
STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "table{border-collapse:collapse}td,th{padding:.2rem .7rem;text-align:right;border-bottom:1px solid #ddd}"
    "td:first-child,th:first-child{text-align:left}.unknown td{color:#888}img{max-width:100%}"
)


def write_report(outcome: Outcome, folder: str | Path, *, spread: float = 0.0) -> Path:
    """Write `report.html`, `identification.json`, `identified.yaml` and `identified_randomized.yaml`.

    Args:
        outcome: what was found.
        folder: made if it is not there.
        spread: least half width of the randomized ranges, as a part of the estimates.

    Returns:
        The path of the report.
    """
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    save_presets(outcome.found, place, spread)
    for name, text in (("identification.json", json.dumps(summary(outcome), indent=2)), ("report.html", page(outcome))):
        with replacing(place / name) as draft:
            draft.write(text.encode("utf-8"))
    return place / "report.html"


def summary(outcome: Outcome) -> dict[str, Any]:
    """Plain data for JSON; infinities are null."""
    found = outcome.found
    return {
        "model": outcome.plant.name,
        "estimates": [_plain(one) for one in found.estimates],
        "unidentifiable": [
            {"change": one.change, "error": _finite(one.error), "text": str(one)} for one in found.combinations
        ],
        "noise_ratio": found.noise_ratio, "whiteness": found.whiteness, "noise": found.noise,
        "costs": list(found.costs), "singular_values": found.singular.tolist(),
        "held_out": {
            "segments": list(outcome.held_out),
            "rmse_nominal": outcome.nominal.error(), "rmse_identified": outcome.identified.error(),
            "noise_units_nominal": outcome.nominal.in_noise(), "noise_units_identified": outcome.identified.in_noise(),
        },
        "fitted": list(outcome.fitted), "notes": list(outcome.notes), "warnings": warnings(outcome),
    }  # fmt: skip


def _plain(one: Estimate) -> dict[str, Any]:
    return {
        "label": one.label, "unit": one.unit, "identified": one.identified, "value": one.value, "nominal": one.nominal,
        "low": one.low, "high": one.high, "standard_error": _finite(one.error),
        "interval": [_finite(edge) for edge in one.interval], "at_bound": one.at_bound,
    }  # fmt: skip


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def warnings(outcome: Outcome) -> list[str]:
    """What makes the estimates doubtful."""
    found, result = outcome.found, []
    result += [f"{one.label} ended at a bound: widen it, or the model errs" for one in found.estimates if one.at_bound]
    if found.whiteness > WHITE:
        result.append(
            f"residuals follow one another (correlation {found.whiteness:.2f}): the model leaves something out, and "
            "the intervals are too narrow"
        )
    if found.agreeing < len(found.costs):
        result.append(f"{found.agreeing} of {len(found.costs)} starts found the lowest minimum")
    if outcome.identified.in_noise() > outcome.nominal.in_noise():
        result.append("held-out logs are predicted worse than by the nominal model")
    return result


def page(outcome: Outcome) -> str:
    """The report as one HTML page with its pictures inside."""
    found = outcome.found
    parts = [
        f"<h1>Identification of {html.escape(outcome.plant.name)}</h1>",
        _list("Doubts", warnings(outcome)),
        "<h2>Parameters</h2>", _table(found.estimates), _picture(draw_estimates(found)),
        _list("What these logs do not tell", [str(one) for one in found.combinations]),
        "<h2>Prediction of held-out logs</h2>", _errors(outcome),
        _picture(draw_prediction(outcome.nominal, outcome.identified)),
        "<h2>Information</h2>",
        f"<p>Residuals of the fit: {found.noise_ratio:.2f} standard deviations of the noise; correlation with the next "
        f"row {found.whiteness:.2f}; {found.agreeing} of {len(found.costs)} starts found the lowest minimum.</p>",
        _picture(draw_spectrum(found, outcome.config.fit.resolution)),
        _list("Logs", [f"fitted: {', '.join(outcome.fitted)}", *outcome.notes]),
    ]  # fmt: skip
    body = "\n".join(part for part in parts if part)
    head = f'<meta charset="utf-8"><title>Identification</title><style>{STYLE}</style>'
    return f'<!doctype html><html lang="en">{head}{body}</html>'


def _table(estimates: tuple[Estimate, ...]) -> str:
    rows = ["<tr><th>parameter<th>estimate<th>95 % interval<th>nominal<th>bounds<th>unit</tr>"]
    for one in estimates:
        known = f"<td>{one.value:.5g}<td>[{one.interval[0]:.5g}, {one.interval[1]:.5g}]"
        told = known if one.identified else "<td colspan=2>not identifiable"
        style = "" if one.identified else ' class="unknown"'
        rows.append(
            f"<tr{style}><td>{html.escape(one.label)}{told}<td>{one.nominal:.5g}<td>[{one.low:.5g}, {one.high:.5g}]"
            f"<td>{html.escape(one.unit)}</tr>"
        )
    return f"<table>{''.join(rows)}</table>"


def _errors(outcome: Outcome) -> str:
    before, after, noise = outcome.nominal.error(), outcome.identified.error(), outcome.found.noise
    rows = [
        f"<tr><td>{html.escape(name)}<td>{before[name]:.4g}<td>{after[name]:.4g}<td>{max(noise[name]):.4g}</tr>"
        for name in after
    ]
    head = "<tr><th>channel<th>nominal<th>identified<th>noise</tr>"
    return (
        f"<p>Root mean square errors in open loop over {html.escape(', '.join(outcome.held_out))}; the first state of "
        f"each window is fitted.</p><table>{head}{''.join(rows)}</table>"
    )


def _picture(png: bytes) -> str:
    return f'<img alt="" src="data:image/png;base64,{base64.b64encode(png).decode()}">'


def _list(title: str, lines: list[str]) -> str:
    if not lines:
        return ""
    return f"<h2>{title}</h2><ul>{''.join(f'<li>{html.escape(line)}</li>' for line in lines)}</ul>"
