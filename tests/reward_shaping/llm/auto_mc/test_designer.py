"""The loop of designer and critic: bad designs are repaired, or given up with what was wrong in each attempt."""

import pytest
from auto_mc_toys import CHAIN, Scripted, fenced, named

from cairngym.reward_shaping.llm.auto_mc.design import Weights
from cairngym.reward_shaping.llm.auto_mc.designer import DesignRefused, accepted, write_design
from cairngym.reward_shaping.llm.auto_mc.prompts import designer_request
from cairngym.reward_shaping.llm.provider import ProviderError
from cairngym.reward_shaping.llm.rehearsal import rehearse

WRONG_NAME = CHAIN.replace("next_state.node == 9", "next_state.position == 9")
WRONG_PARTS = CHAIN.replace('"dense"', '"progress"')
WRONG_SIGN = CHAIN.replace("(next_state.node - state.node)", "(state.node - next_state.node)")
ALWAYS = CHAIN.replace('"dense": change', '"dense": change.abs() + 1')


@pytest.fixture(scope="module")
def chain():
    return named("Chain-N10-v0", num_envs=2)


@pytest.fixture(scope="module")
def recorded(chain):
    return rehearse(chain)


def test_each_kind_of_fault_is_told_and_repaired(chain, recorded):
    answers = ["", fenced(WRONG_NAME), fenced(WRONG_PARTS), fenced(WRONG_SIGN), fenced(ALWAYS), fenced(CHAIN)]
    designer = Scripted(*answers)
    written = write_design(designer, chain, repairs=5, recorded=recorded)
    assert written.source.strip() == CHAIN.strip()
    assert [attempt.accepted for attempt in written.attempts] == [False] * 5 + [True]
    said = [request.messages[-1].content for request in designer.asked[1:]]
    wanted = ("empty", "'node'", "exactly the components", "dense against progress", "dense one-sided")
    assert all(word in text for word, text in zip(wanted, said, strict=True))
    assert designer.asked[0].hash == designer_request(chain).hash
    assert written.verdict is not None
    assert written.verdict.statistics[0].maximum == pytest.approx(1.1)


def test_after_the_last_round_it_is_given_up_with_every_attempt_listed(chain):
    designer = Scripted(fenced(WRONG_NAME), fenced(WRONG_PARTS), fenced(CHAIN))
    written = write_design(designer, chain, repairs=1)
    assert written.program is None
    assert len(designer.asked) == 2
    with pytest.raises(DesignRefused, match="2 attempts, none accepted") as caught:
        accepted(written)
    message = str(caught.value)
    assert "1. line 3" in message
    assert "2. Expected exactly the components" in message


def test_a_critic_that_never_agrees_is_asked_once_a_round(chain):
    designer, critic = Scripted(*[fenced(CHAIN)] * 4), Scripted(*[f"FAIL: reason {k}" for k in range(4)])
    written = write_design(designer, chain, repairs=2, critic=critic)
    assert written.program is None
    assert (len(designer.asked), len(critic.asked)) == (3, 3)
    assert [f"reason {k}" in written.report() for k in range(4)] == [True, True, True, False]
    assert "critic: reason 1" in designer.asked[2].messages[-1].content


def test_the_critic_does_not_see_what_fails_before(chain):
    critic = Scripted("PASS")
    written = write_design(Scripted(fenced(WRONG_NAME), fenced(CHAIN)), chain, critic=critic)
    assert accepted(written).program.source.strip() == CHAIN.strip()
    assert len(critic.asked) == 1


def test_a_later_candidate_and_other_weights(chain):
    designer = Scripted("", fenced(CHAIN))
    written = write_design(designer, chain, candidate=1, weights=Weights(sparse=3.0, dense=0.5))
    assert designer.asked[0].n == 2
    assert "3.0 *" in accepted(written).paid.source


def test_a_request_to_refine_takes_the_place_of_the_first(chain):
    from cairngym.reward_shaping.llm.messages import ChatRequest

    designer, asked = Scripted(fenced(CHAIN)), ChatRequest.ask("Again, please.")
    assert write_design(designer, chain, request=asked).program is not None
    assert designer.asked[0].messages == asked.messages


def test_a_provider_that_fails_ends_it(chain):
    class Dying(Scripted):
        async def complete(self, request):
            if len(self.asked) == 1:
                raise ProviderError("gone")
            return await super().complete(request)

    with pytest.raises(ProviderError, match="gone"):
        write_design(Dying(fenced(WRONG_NAME)), chain)
