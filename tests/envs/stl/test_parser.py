"""Text to formulas: everything that prints reads back, and every mistake is pointed at."""

import pickle

import pytest
from formulas import formulas
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cairngym.envs.stl.formula import Interval, Predicate, always, eventually, release, until, weak_until
from cairngym.envs.stl.parser import FormulaError, parse

A, B, C = map(Predicate, "abc")
REACH_AND_STAY = eventually(A & eventually(always(B, 0, 2), 0, 4), 0, 8)


def failure(text, **options):
    with pytest.raises(FormulaError) as caught:
        parse(text, **options)
    return caught.value


@settings(max_examples=300, deadline=None)
@given(formulas(4, bounded=False))
def test_what_prints_reads_back(formula):
    assert parse(str(formula)) == formula


@pytest.mark.parametrize(
    ("text", "formula"),
    [
        ("F[0,8](a & F[0,4] G[0,2] b) & G[0,20] !c", REACH_AND_STAY & always(~C, 0, 20)),
        ("eventually [ 0 , 8 ] a and always not b", eventually(A, 0, 8) & always(~B)),
        ("~a || !b or not c", ~A | ~B | ~C),
        ("a && b & c and (a & b)", A & B & C & A & B),
        ("a implies b -> c", A >> (B >> C)),
        ("a | b & c -> a", (A | (B & C)) >> A),
        ("a & b U c", A & until(B, C)),
        ("!a U b", until(~A, B)),
        ("F a U G b", until(eventually(A), always(B))),
        ("a until[1,2] b | c", until(A, B, 1, 2) | C),
        ("a Ui[1,2] (b W c)", until(A, weak_until(B, C), 1, 2, inclusive=True)),
        ("a Wi b & b R[2,inf) c", weak_until(A, B, inclusive=True) & release(B, C, 2)),
        ("c Ri[2,inf] a", release(C, A, 2, inclusive=True)),
        ("F[3,3]a", eventually(A, 3, 3)),
        ("((a))", A),
        ("G\n  (a\t|\n b)", always(A | B)),
        ("inf & s & Fa", Predicate("inf") & Predicate("s") & Predicate("Fa")),
    ],
)  # fmt: skip
def test_reads(text, formula):
    assert parse(text) == formula


@pytest.mark.parametrize(
    ("text", "dt", "interval"),
    [
        ("F[0s,8s] a", 0.5, Interval(0, 16)),
        ("F[0 s, 1.5 s] a", 0.1, Interval(0, 15)),
        ("F[0.25s,0.9s] a", 0.5, Interval(1, 1)),
        ("F[2s,inf) a", 0.1, Interval(20)),
        ("F[2,4] a", 0.1, Interval(2, 4)),
    ],
)
def test_reads_seconds(text, dt, interval):
    assert parse(text, dt=dt).interval == interval


@pytest.mark.parametrize(
    ("text", "position", "message"),
    [
        ("", 0, "Expected a formula, got empty text."),
        (" \n ", 3, "Expected a formula, got empty text."),
        ("a &", 3, "Expected a predicate, true, false, !, F, G or '(', got the end of the text."),
        ("a & & b", 4, "Expected a predicate, true, false, !, F, G or '(', got '&'."),
        ("U b", 0, "Expected a predicate, true, false, !, F, G or '(', got 'U'."),
        ("F(0,8) a", 2, "got '0'. An interval is written [low,high]."),
        ("()", 1, "Expected a predicate, true, false, !, F, G or '(', got ')'."),
        ("(a & b", 6, "Expected an operator, or ')' to close the '(' at character 1, got the end of the text."),
        ("c & (a b)", 7, "Expected an operator, or ')' to close the '(' at character 5, got 'b'."),
        ("a)", 1, "Expected an operator or the end of the text, got ')'."),
        ("a b", 2, "Expected an operator or the end of the text, got 'b'."),
        ("a untill b", 2, "Expected an operator or the end of the text, got 'untill'. Did you mean 'until'?"),
        ("(a impies b)", 3, "got 'impies'. Did you mean 'implies'?"),
        ("a U b U c", 6, "Expected parentheses around 'U' or 'U', which stand in one chain."),
        ("a R b Wi[0,2] c", 6, "Expected parentheses around 'R' or 'Wi'"),
        ("F[8,0] a", 4, "Expected an interval [low,high] with low <= high, got [8,0]; swap its bounds."),
        ("F[8s,2s] a", 5, "with 0 <= low <= high, got [8.0,2.0]."),
        ("F[-1,2] a", 2, "Expected a bound of zero or more, got a negative one."),
        ("F[0,-2] a", 4, "Expected a bound of zero or more, got a negative one."),
        ("F[0.5,2] a", 2, "Expected a whole number of steps, got '0.5'; write 0.5s for seconds."),
        ("F[0,1.5] a", 4, "Expected a whole number of steps, got '1.5'"),
        ("F[0s,2] a", 5, "Expected both bounds of the interval in seconds (s), or both in steps."),
        ("F[0,2s] a", 2, "Expected both bounds of the interval in seconds (s), or both in steps."),
        ("F[0m,2m] a", 3, "Expected the end of the bound, or the unit s (seconds), got 'm'."),
        ("F[0.6s,0.9s] a", 7, "Expected a step of 0.5 s within [0.6,0.9] s, got none; widen the interval."),
        ("F[0,4000000000] a", 4, "Expected bounds up to 1000000000 steps, got [0,4000000000]"),
        ("F[9999999999999999999999,inf) a", 2, "Expected numbers of up to 20 digits."),
        ("F[inf,inf) a", 2, "Expected a number of steps, or of seconds as in 1.5s, got 'inf'."),
        ("F[0,] a", 4, "Expected a number of steps, or of seconds as in 1.5s, or inf, got ']'."),
        ("F[3] a", 3, "Expected ',' between the bounds of the interval, got ']'."),
        ("F[0,8) a", 5, "Expected ']' to end the interval, got ')'."),
        ("F[0,8", 5, "Expected ']' to end the interval, got the end of the text."),
        ("F[0,8]", 6, "Expected a predicate, true, false, !, F, G or '(', got the end of the text."),
        ("F[0,1e3] a", 5, "Expected the end of the bound, or the unit s (seconds), got 'e3'."),
        ("a $ b", 2, "Expected names, numbers, brackets and operators, got '$'."),
        ("in.b", 2, "Expected names, numbers, brackets and operators, got '.'."),
        ("a >= 3", 2, "Expected names of predicates, got '>'; comparisons belong in the margin of a predicate."),
        ("a & __import__('os')", 15, "Expected names, numbers, brackets and operators, got \"'\"."),
        ("!" * 151 + "a", 151, "Expected at most 150 operators and parentheses within one another."),
        ("(" * 5000, 151, "Expected at most 150 operators and parentheses within one another."),
        ("a -> " * 5000 + "a", 5 * 151, "Expected at most 150 operators and parentheses within one another."),
    ],
)  # fmt: skip
def test_mistakes_are_pointed_at(text, position, message):
    error = failure(text, dt=0.5)
    assert error.position == position
    assert message in error.message
    assert error.text == text


def test_seconds_need_dt():
    error = failure("G a & F[0s,8 s] a")
    assert error.position == 9
    assert "pass dt, the length of a step in seconds" in error.message


@pytest.mark.parametrize("dt", [0.0, -1.0, float("inf"), "0.1", True])
def test_bad_dt(dt):
    with pytest.raises(ValueError, match="positive step length dt"):
        parse("a", dt=dt)


def test_text_must_be_text():
    with pytest.raises(TypeError, match="Expected a formula's text, got Predicate"):
        parse(A)


def test_unknown_predicates_offer_the_nearest():
    error = failure("F in_a & G !in_c", predicates=["in_a", "in_b", "touch_d"])
    assert error.position == 12
    assert error.message.startswith("Unknown predicate 'in_c'. Did you mean 'in_")
    assert error.message.endswith("Valid: 'in_a', 'in_b', 'touch_d'.")
    assert parse("F in_a", predicates=iter(["in_a"])).predicates == ("in_a",)
    assert failure("a", predicates=[]).position == 0


def test_the_caret_stands_under_the_character():
    assert str(failure("F[0,8(a)")).splitlines()[1:] == ["  F[0,8(a)", "       ^"]
    assert str(failure("a &\n\tb $ c\n| a")).splitlines()[1:] == ["   b $ c", "     ^"]
    shown, caret = str(failure("a & " * 100 + "a $ " + "& a" * 100)).splitlines()[1:]
    assert shown[caret.index("^")] == "$"
    assert len(shown) < 110
    assert shown.strip().startswith("…")
    assert shown.endswith("…")


def test_errors_survive_pickling():
    error = pickle.loads(pickle.dumps(failure("a &")))
    assert (error.position, error.text) == (3, "a &")
    assert "got the end of the text" in str(error)


def test_long_and_deep_formulas():
    names = " & ".join(f"p{i}" for i in range(3000))
    assert len(parse(names).of) == 3000
    deep = "F[0,1](a & " * 70 + "a" + ")" * 70
    assert parse(deep).horizon == 70
    assert parse(str(parse(deep))) == parse(deep)
    negated = parse("!" * 150 + "a")
    assert (negated.nnf(), len(str(negated))) == (A, 151)


def read(text):
    """What `parse` makes of any text: a formula that reads back, or a `FormulaError` that points into the text."""
    try:
        formula = parse(text, dt=0.1)
    except FormulaError as refusal:
        error = refusal
    else:
        assert parse(str(formula)) == formula
        return
    assert 0 <= error.position <= len(text)
    assert str(error).endswith("^")


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=40) | st.text("abFGUWRi!~&|->()[],0123456789. s\n", max_size=40))
@example("٣")
@example("F[0,٣] a")
@example("F[0,1_0] a")
@example("F[0s,99999999999999999999s] a")
def test_any_text_is_read_or_refused(text):
    read(text)


@settings(max_examples=300, deadline=None)
@given(formulas(3, bounded=False).map(str), st.data())
def test_damaged_formulas_are_read_or_refused(text, data):
    at = data.draw(st.integers(0, len(text)))
    read(
        text[:at] + data.draw(st.text("ab FGUWR&|!()[],-09.s", max_size=3)) + text[at + data.draw(st.integers(0, 2)) :]
    )
