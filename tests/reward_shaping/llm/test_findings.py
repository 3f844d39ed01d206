"""Verdicts: what is read from a child that is not trusted, and how a table shows it."""

import math

import pytest

from cairngym.reward_shaping.llm.findings import Finding, Verdict, warning


@pytest.mark.parametrize(
    "change",
    [
        {"findings": [1]}, {"findings": [{"severity": "fine", "check": "a", "message": "b"}]},
        {"findings": [{"severity": "error", "check": 1, "message": "b"}]}, {"findings": [{}] * 65},
        {"statistics": [{"name": "a"}]}, {"statistics": "a"}, {"unchecked": [None]}, {"call_s": "1"},
        {"call_s": True}, {"call_s": 10**400}, {"memory_bytes": math.inf}, {"memory_bytes": None},
    ],
)  # fmt: skip
def test_what_is_no_report_is_refused(change):
    with pytest.raises(ValueError, match="Expected"):
        Verdict.from_report({**Verdict(accepted=True).report(), **change})


def test_acceptance_follows_from_the_findings_alone():
    report = Verdict(accepted=True, findings=(Finding(severity="error", check="a", message="b"),)).report()
    assert not Verdict.from_report({**report, "accepted": True}).accepted
    assert Verdict.from_report(Verdict(accepted=True, findings=(warning("a", "b"),)).report()).accepted


def test_the_table_stays_a_table_whatever_a_message_holds():
    verdict = Verdict.refusal("a|b", "one\n| two |\nthree")
    assert verdict.table().splitlines()[-1] == "| error | a\\|b | one \\| two \\| three |"
    assert verdict.table().startswith("**refused**: 1 error, 0 warnings; not run")
