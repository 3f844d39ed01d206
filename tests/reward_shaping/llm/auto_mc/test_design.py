"""Designs: exactly two components, of which the signs are paid."""

import itertools

import pytest
import torch
from auto_mc_toys import CHAIN, SPEC

import cairngym
from cairngym.reward_shaping.llm.auto_mc.design import Weights, compile_design, signed
from cairngym.reward_shaping.llm.program import ProgramRefused, compile_program

ECHO = """\
def reward(state, action, next_state, memory):
    return state.x, {"sparse": state.x, "dense": next_state.x}
"""


@pytest.fixture(scope="module")
def chain():
    return cairngym.make("Chain-N10-v0", num_envs=2)


def pays(sparse, dense, weights=None):
    program = compile_program(signed(ECHO, weights or Weights()), SPEC)
    values = torch.tensor(sparse), torch.tensor(dense)
    return program({"x": values[0]}, torch.zeros(len(sparse), 1), {"x": values[1]})


def test_every_combination_of_signs_and_sizes_pays_one_of_nine_values():
    sizes = (-1e30, -2.0, -1e-30, 0.0, 1e-30, 0.5, 1e30)
    pairs = list(itertools.product(sizes, sizes))
    total, components = pays(*zip(*pairs, strict=True))
    signs = [[(value > 0) - (value < 0) for value in pair] for pair in pairs]
    expected = torch.tensor([1.0 * sparse + 0.1 * dense for sparse, dense in signs])
    torch.testing.assert_close(total, expected, rtol=0, atol=1e-7)
    assert {round(value, 6) for value in total.tolist()} == {-1.1, -1.0, -0.9, -0.1, 0.0, 0.1, 0.9, 1.0, 1.1}
    assert torch.equal(components["sparse"], torch.tensor(signs)[:, 0].float())
    assert torch.equal(components["dense"], torch.tensor(signs)[:, 1].float())


def test_weights_are_options():
    total, _ = pays((3.0, -3.0, 0.0), (-1.0, 0.0, 9.0), Weights(sparse=2.0, dense=0.25))
    assert total.tolist() == [1.75, -2.0, 0.25]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_has_no_sign(value):
    total, components = pays((value, 1.0, 1.0), (1.0, value, 1.0))
    assert torch.isnan(total).tolist() == [True, True, False]
    assert torch.isnan(components["sparse"]).tolist() == [True, False, False]
    assert torch.isnan(components["dense"]).tolist() == [False, True, False]


@pytest.mark.parametrize("weights", [(-1.0, 0.1), (float("nan"), 0.1), (1.0, float("inf")), (0.0, 0.0)])
def test_weights_must_be_sizes(weights):
    with pytest.raises(ValueError, match="weight"):
        Weights(sparse=weights[0], dense=weights[1])


@pytest.mark.parametrize(
    ("returned", "named"),
    [
        ("{'sparse': c}", "got 'sparse'"),
        ("{'sparse': c, 'dense': c, 'extra': c}", "got 'sparse', 'dense', 'extra'"),
        ("{'event': c, 'progress': c}", "got 'event', 'progress'"),
    ],
)
def test_other_components_are_refused(chain, returned, named):
    source = f"def reward(state, action, next_state, memory):\n    c = state.node.float()\n    return c, {returned}\n"
    with pytest.raises(ProgramRefused, match=f"exactly the components 'sparse' and 'dense', {named}"):
        compile_design(chain, source)


def test_a_fault_is_told_with_the_line_of_the_text_as_written(chain):
    with pytest.raises(ProgramRefused, match="line 4") as caught:
        compile_design(chain, CHAIN.replace("next_state.node - state.node", "next_state.nodes - state.node"))
    assert "'node'" in str(caught.value)


def test_lines_keep_their_numbers_and_names_do_not_clash(chain):
    source = CHAIN.replace("change", "auto_mc").replace("arrived", "auto_mcx")
    paid = signed(source, Weights())
    written, made = source.splitlines(), paid.splitlines()
    assert made[0] == "def auto_mcxx_design(state, action, next_state, memory):"
    assert made[1 : len(written)] == written[1:]
    design = compile_design(chain, source)
    before, after = {"node": torch.tensor([8, 4])}, {"node": torch.tensor([9, 3])}
    action = torch.zeros(2, dtype=torch.int64)
    assert design.paid(before, action, after)[0].tolist() == pytest.approx([1.1, -0.1])
    assert design.program(before, action, after)[1]["sparse"].tolist() == [1.0, 0.0]


@pytest.mark.parametrize("ending", ["\r\n", "\r", "\n"])
def test_helpers_docstrings_and_line_endings_do_not_matter(chain, ending):
    source = (
        '"""def reward: not this one."""\n\n\ndef sparse(x):\n    """def reward."""\n    return x.float()\n\n\n'
        "def reward(state, action, next_state, memory): return sparse(state.node), "
        "{'sparse': sparse(state.node == 3), 'dense': state.node > 4}"
    )
    total, _ = compile_design(chain, source.replace("\n", ending)).paid(
        {"node": torch.tensor([3, 5, 1])}, torch.zeros(3, dtype=torch.int64), {"node": torch.tensor([3, 5, 1])}
    )
    assert total.tolist() == pytest.approx([1.0, 0.1, 0.0])


def test_a_definition_broken_over_lines_is_refused_in_words(chain):
    with pytest.raises(ProgramRefused, match="on one line"):
        compile_design(chain, CHAIN.replace("def reward", "def \\\n  reward"))
