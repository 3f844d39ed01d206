"""Whole searches on a chain: what is trained, what goes on, and what an interruption leaves."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from searching import LEFT, NAN, PARTS, RIGHT, SMALL, WRONG, InProcess, Model, answer, search, silent

from cairngym.envs.checks import UnknownNameError
from cairngym.experiments.config import AgentConfig, EvaluationConfig
from cairngym.experiments.overlay import write_yaml
from cairngym.experiments.runfolder import FolderInUseError, MixedRunsError, RunFolder
from cairngym.experiments.search import evolution
from cairngym.experiments.search.archive import Archive, read_archive
from cairngym.experiments.search.config import RungConfig
from cairngym.experiments.search.evolution import evolve, next_requests, stopped
from cairngym.experiments.search.fitness import Course, Trial
from cairngym.experiments.search.prompts import generic_request, requests
from cairngym.reward_shaping.llm.messages import ChatRequest
from cairngym.reward_shaping.llm.provider import BudgetExhausted, MissingRecordingError, UnreachableError
from cairngym.reward_shaping.llm.recorded import RecordedProvider
from cairngym.reward_shaping.llm.recording import record_texts

FLAT = Course(values=(0.5, 0.5), least=0.5, mean=0.5, greatest=0.5)
ALL = ["r1_c0", "r1_c1", "r2_c0", "r2_c1"]


@pytest.fixture
def table(monkeypatch):
    """Replaces training by a table of fitness by candidate, one number for each rung; returns what was trained."""
    trained, scores = [], {}

    def train(comparison, rung, root, launcher, console):
        trained.append((root.name, rung, list(comparison.variants)))
        found = {name: scores[name][rung] for name in comparison.variants}
        common = {"rung": rung, "steps": 512, "components": {"part": FLAT}, "total": FLAT, "success": FLAT}
        return {name: Trial(fitness=fitness, runs={"1000": fitness}, **common) for name, fitness in found.items()}

    monkeypatch.setattr(evolution, "train", train)
    return trained, scores


def test_halving_sends_the_best_on_and_improves_the_best_of_all_rounds(tmp_path, table):
    trained, scores = table
    scores |= {"r1_c0": (0.1, 0.9), "r1_c1": (0.4, 0.5), "r2_c0": (0.2, 0.3), "r2_c1": (0.1, 0.9), "r3_c0": (0.7, 0.4)}
    scores |= {"r3_c1": (0.0, 1.0)}
    model = Model([RIGHT, LEFT], PARTS[:2], PARTS[2:4])
    _, found = search(replace(SMALL, rounds=3), tmp_path / "small", model)
    assert trained == [
        ("round_1", 0, ["r1_c0", "r1_c1"]), ("round_1", 1, ["r1_c1"]),
        ("round_2", 0, ["r2_c0", "r2_c1"]), ("round_2", 1, ["r2_c0"]),
        ("round_3", 0, ["r3_c0", "r3_c1"]), ("round_3", 1, ["r3_c0"]),
    ]  # fmt: skip
    assert found.name == "r1_c1"  # 0.5, before 0.3 and 0.4
    archive = {one.name: one for one in read_archive(tmp_path / "small" / "archive.jsonl")}
    assert [one.parent for one in archive.values()] == ["", "", "r1_c1", "r1_c1", "r1_c1", "r1_c1"]
    assert "'far': r" in model.asked[2].messages[2].content
    assert archive["r1_c0"].trial(1) is None
    assert archive["r1_c1"].trial(0).promoted


def test_refused_candidates_are_not_trained_with(tmp_path, table):
    trained, scores = table
    scores |= dict.fromkeys(ALL, (0.1, 0.1))
    search(SMALL, tmp_path / "small", Model([WRONG, RIGHT], [LEFT, ""]))
    assert [names for _, _, names in trained] == [["r1_c1"], ["r1_c1"], ["r2_c0"], ["r2_c0"]]


def test_a_round_of_refusals_is_asked_again_within_bounds(tmp_path, table):
    trained, scores = table
    scores |= {"r1_c2": (0.1, 0.1), "r1_c3": (0.1, 0.0), "r2_c4": (0.5, 0.5)}
    model = Model([WRONG, ""], [RIGHT, WRONG], ["", ""], ["", "no"])
    _, found = search(SMALL, tmp_path / "small", model)
    assert [name for name, _, _ in trained] == ["round_1_again_1", "round_1_again_1"]
    assert found.name == "r1_c2"
    assert [request.hash for request in model.asked[:2]] == [requests(SMALL)[0].hash] * 2
    assert len(model.asked) == 4  # each round once more, then no further
    names = [one.name for one in read_archive(tmp_path / "small" / "archive.jsonl")]
    assert names == ["r1_c0", "r1_c1", "r1_c2", "r1_c3", "r2_c0", "r2_c1", "r2_c2", "r2_c3"]


def test_candidates_that_fail_in_training_count_as_failed(tmp_path, table):
    _, scores = table
    scores |= {"r1_c0": (None, None), "r1_c1": (None, None), "r1_c2": (0.2, None), "r1_c3": (0.1, 0.0)}
    scores |= {"r2_c0": (0.0, 0.25), "r2_c1": (None, None)}
    _, found = search(SMALL, tmp_path / "small", Model(PARTS[:2], PARTS[2:4], PARTS[4:6]))
    assert found.name == "r2_c0"
    assert [one.parent for one in read_archive(tmp_path / "small" / "archive.jsonl")] == [""] * 6


def test_all_rounds_in_vain_end_without_a_program(tmp_path):
    outcome = evolve(SMALL, tmp_path, provider=Model(*[["", "no"]] * 4), launcher=InProcess(), console=silent())
    assert (outcome.best, outcome.final) == (None, None)
    assert "nothing to compare" in outcome.report.read_text()
    assert len(read_archive(outcome.folder / "archive.jsonl")) == 8


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A search that nothing interrupted."""
    place, launcher, model = tmp_path_factory.mktemp("whole"), InProcess(), Model([RIGHT, LEFT], PARTS[:2])
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        outcome = evolve(SMALL, Path("search"), provider=model, launcher=launcher, console=silent())
    return place / "search" / "small", outcome, launcher


def test_a_whole_search(whole):
    folder, outcome, launcher = whole
    assert [name.split()[0] for name in launcher.launched] == [
        *["round_1/rung_0"] * 2, "round_1/rung_1", *["round_2/rung_0"] * 2, "round_2/rung_1", *["small/final"] * 4,
    ]  # fmt: skip
    assert outcome.final.finished == 4
    assert (folder / "final" / "report.html").is_file()
    assert len((folder / "completions.jsonl").read_text().splitlines()) == 2
    for one in read_archive(folder / "archive.jsonl"):
        assert (folder / one.source).is_file()
        assert one.trial(0).env_steps == 256
        assert one.trial(0).components


def test_a_second_call_does_nothing_and_comes_to_the_same(whole, monkeypatch):
    folder, outcome, _ = whole
    monkeypatch.chdir(folder.parents[1])
    before = {name: (folder / name).read_bytes() for name in ("archive.jsonl", "completions.jsonl", "report.md")}
    launcher = InProcess()
    again = evolve(SMALL, Path("search"), provider=Model(), launcher=launcher, console=silent())
    assert launcher.launched == []
    assert again.best == outcome.best
    assert {name: (folder / name).read_bytes() for name in before} == before


@pytest.mark.parametrize("runs", [1, 5])
def test_an_interrupted_search_comes_to_the_same(whole, tmp_path, monkeypatch, runs):
    monkeypatch.chdir(tmp_path)
    folder = Path("search/small")
    model = Model([RIGHT, LEFT], PARTS[:2])
    with pytest.raises(KeyboardInterrupt):
        search(SMALL, folder, model, InProcess(stop_after=runs))
    launcher = InProcess()
    _, found = search(SMALL, folder, model, launcher)
    assert len(launcher.launched) == 6 - runs
    assert found == whole[1].best
    for name in ("archive.jsonl", "completions.jsonl"):
        assert (folder / name).read_bytes() == (whole[0] / name).read_bytes()


@pytest.mark.parametrize("writes", range(7))
def test_a_crash_before_any_change_of_the_archive_loses_nothing(tmp_path, table, monkeypatch, writes):
    _, scores = table
    scores |= {"r1_c2": (0.2, 0.3), "r1_c3": (0.3, 0.2), "r2_c0": (0.1, 0.1), "r2_c1": (0.6, 0.6)}
    config, answers = replace(SMALL, repairs=1), ([WRONG, "no"], "", "", PARTS[:2], [RIGHT, LEFT])
    _, expected = search(config, tmp_path / "whole" / "small", Model(*answers))
    model, count, write = Model(*answers), [0], Archive._write

    def dying(self, candidates):
        count[0] += 1
        if count[0] == writes + 1:
            raise RuntimeError("power cut")
        write(self, candidates)

    monkeypatch.setattr(Archive, "_write", dying)
    folder = tmp_path / "cut" / "small"
    with pytest.raises(RuntimeError, match="power cut"):
        search(config, folder, model)
    _, found = search(config, folder, model)
    assert found == expected
    for name in ("archive.jsonl", "completions.jsonl"):
        assert (folder / name).read_bytes() == (tmp_path / "whole" / "small" / name).read_bytes()


def test_other_settings_are_not_mixed_in(whole, tmp_path, monkeypatch):
    monkeypatch.chdir(whole[0].parents[1])
    changed = replace(SMALL, weight=0.5)
    with pytest.raises(MixedRunsError, match=r"weight: 1\.0 -> 0\.5"):
        evolve(changed, Path("search"), provider=Model(), launcher=InProcess(), console=silent())
    write_yaml(tmp_path / "search.yaml", SMALL)
    other = replace(SMALL, provider_options={"token_budget": 10}, provider="openai:x")
    with pytest.raises(MixedRunsError, match="provider: 'recorded:' -> 'openai:x'"):
        evolve(other, Path("search"), provider=Model(), launcher=InProcess(), console=silent())


def test_fresh_moves_the_old_search_aside(tmp_path, table):
    _, scores = table
    scores |= dict.fromkeys(ALL, (None, None)) | dict.fromkeys(["r1_c2", "r1_c3", "r2_c2", "r2_c3"], (None, None))
    evolve(SMALL, tmp_path, provider=Model(*[["", ""]] * 4), launcher=InProcess(), console=silent())
    changed = replace(SMALL, weight=0.5)
    evolve(changed, tmp_path, provider=Model(*[["", ""]] * 4), launcher=InProcess(), fresh=True, console=silent())
    assert (tmp_path / ".old" / "small" / "archive.jsonl").is_file()
    assert len(read_archive(tmp_path / "small" / "archive.jsonl")) == 8


def test_bad_names_are_refused_before_anything_is_asked(tmp_path):
    model = Model()
    with pytest.raises(UnknownNameError, match="Did you mean 'Chain-N10-v0'"):
        evolve(replace(SMALL, task="Chain-N11-v0"), tmp_path, provider=model, console=silent())
    with pytest.raises(TypeError, match="clap"):
        evolve(replace(SMALL, program={"clap": 1.0}), tmp_path, provider=model, console=silent())
    assert (model.asked, list(tmp_path.iterdir())) == ([], [])


def test_one_process_searches_at_a_time(tmp_path, monkeypatch):
    script = (
        "import sys; from pathlib import Path; from cairngym.experiments.runfolder import RunFolder\n"
        f"with RunFolder(Path({str(tmp_path / 'small')!r})).lock():\n    print('held', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "held\n"
    original = RunFolder.lock
    monkeypatch.setattr(RunFolder, "lock", lambda self: original(self, patience=0.0))
    with pytest.raises(FolderInUseError):
        evolve(SMALL, tmp_path, provider=Model(), launcher=InProcess(), console=silent())
    holder.communicate("")


# What a provider does ------------------------------------------------------------------------------------------------


def recorded(path: Path, *exchanges: tuple[ChatRequest, list[str]]) -> RecordedProvider:
    for request, texts in exchanges:
        record_texts(path, request, tuple(texts), source="by hand", date="2026-01-31")
    return RecordedProvider(path)


def test_recordings_made_ahead_serve_later_rounds_by_generic_prompts(tmp_path, table):
    _, scores = table
    scores |= {"r1_c0": (0.1, 0.1), "r1_c1": (0.4, 0.5), "r2_c0": (0.9, 0.9), "r2_c1": (0.1, 0.1)}
    (first,) = requests(SMALL)
    generic = generic_request(first, 2, 2, LEFT.split("```python\n")[1].split("```")[0])
    provider = recorded(tmp_path / "c.jsonl", (first, [RIGHT, LEFT]), (generic, PARTS[:2]))
    _, found = search(SMALL, tmp_path / "small", provider)
    assert (found.name, found.generic, found.prompt) == ("r2_c0", True, generic.hash)
    assert found.provenance["source"] == "by hand"
    assert [one.generic for one in read_archive(tmp_path / "small" / "archive.jsonl")] == [False, False, True, True]
    assert stopped(tmp_path / "small") is None


def test_recordings_with_the_figures_come_first(tmp_path, table):
    _, scores = table
    scores |= {"r1_c0": (0.1, 0.1), "r1_c1": (0.4, 0.5), "r2_c0": (0.9, 0.9), "r2_c1": (0.1, 0.1)}
    cassette, folder = tmp_path / "c.jsonl", tmp_path / "small"
    (first,) = requests(SMALL)
    folder.mkdir()
    made = evolution.Search(SMALL, folder, InProcess(), silent(), strict=True)
    begun = recorded(cassette, (first, [RIGHT, LEFT]))
    with pytest.raises(MissingRecordingError):
        made.run(begun)
    exact, generic = next_requests(SMALL, folder)
    assert "success of the task: [0.5, 0.5]" in exact.messages[-1].content
    assert "success of the task" not in generic.messages[-1].content
    provider = recorded(cassette, (exact, PARTS[:2]), (generic, PARTS[2:4]))
    _, found = search(SMALL, folder, provider)
    assert (found.name, found.generic, found.prompt) == ("r2_c0", False, exact.hash)
    assert next_requests(SMALL, folder) == ()


def test_no_recording_at_all_is_an_error_that_says_how_to_record(tmp_path):
    (tmp_path / "c.jsonl").write_text("")
    with pytest.raises(MissingRecordingError, match="cairn reward record --task Chain-N10-v0 --system eureka"):
        search(SMALL, tmp_path / "small", RecordedProvider(tmp_path / "c.jsonl"))


@pytest.mark.parametrize("error", [BudgetExhausted("all is spent\nreally"), MissingRecordingError("none", "0")])
def test_a_search_ends_with_what_it_has_where_no_answers_are_left(tmp_path, table, error):
    _, scores = table
    scores |= dict.fromkeys(ALL, (0.1, 0.1))
    folder = tmp_path / "small"
    _, found = search(SMALL, folder, Model([RIGHT, LEFT], error))
    assert found.name == "r1_c0"
    assert stopped(folder)[0] == 2
    model = Model(PARTS[:2])
    assert search(SMALL, folder, model)[1].name == "r1_c0"
    assert model.asked == []  # going on does not change a result that stands


def test_a_failing_endpoint_ends_the_call_and_the_next_one_goes_on(tmp_path, table):
    _, scores = table
    scores |= dict.fromkeys(ALL, (0.1, 0.1))
    folder, model = tmp_path / "small", Model([RIGHT, LEFT], UnreachableError("down"), PARTS[:2])
    with pytest.raises(UnreachableError):
        search(SMALL, folder, model)
    search(SMALL, folder, model)
    assert len(read_archive(folder / "archive.jsonl")) == 4
    assert len(model.asked) == 3


# Real training -------------------------------------------------------------------------------------------------------


def test_a_program_that_pays_nan_or_whose_runs_fail_does_not_end_the_search(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = replace(SMALL, rounds=1, candidates=3, rungs=(RungConfig(share=1.0),), retries=0, keep_task=False)
    launcher = InProcess(fail=("r1_c1",))
    with pytest.warns(RuntimeWarning, match="SWITCHED OFF"):
        _, found = search(config, Path("small"), Model([NAN, LEFT, RIGHT]), launcher)
    first, second, third = read_archive(Path("small/archive.jsonl"))
    assert first.trials[0].switched_off == 1
    assert (second.trials[0].fitness, second.trials[0].problem) == (None, "ValueError: out of luck")
    assert sum("r1_c1" in name for name in launcher.launched) == 2  # a failed run is tried once more
    assert not second.trials[0].promoted
    assert third.trials[0].switched_off == 0
    assert found.name in ("r1_c0", "r1_c2")


def test_training_tells_a_good_program_from_a_bad_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = replace(
        SMALL, rounds=1, steps=4096, rungs=(RungConfig(share=1.0, seeds=1),),
        agent=AgentConfig(options={**SMALL.agent.options, "learning_rate": 1e-2}),
        evaluation=EvaluationConfig(every=2048, episodes=32),
    )  # fmt: skip
    left, right = answer("(state.node - next_state.node) * 1.0"), answer("(next_state.node - state.node) * 1.0")
    _, found = search(config, Path("small"), Model([left, right]))
    first, second = read_archive(Path("small/archive.jsonl"))
    assert found == second
    assert second.fitness(0) > 0.9
    assert first.fitness(0) < 0.2
    assert second.trials[0].components["near"].values[-1] > second.trials[0].components["near"].values[0]


REGISTER = (
    "from cairngym.reward_shaping.registry import list_shapers, register_shaper\n"
    "if 'program' not in list_shapers():\n"
    "    register_shaper('program', 'cairngym.reward_shaping.llm.program_shaper:ProgramShaper')\n"
)


@pytest.mark.slow
def test_kill_9_in_the_middle_of_training(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("shapers_of_mine.py").write_text(REGISTER)
    config = replace(
        SMALL, imports=("shapers_of_mine",), provider="recorded:c.jsonl", rounds=1, steps=2048,
        rungs=(RungConfig(share=1.0, seeds=1),), evaluation=EvaluationConfig(every=1024, episodes=8),
        final=replace(SMALL.final, seeds=(0,)),
    )  # fmt: skip
    (first,) = requests(SMALL)
    provider = recorded(Path("c.jsonl"), (first, [RIGHT, LEFT]))
    write_yaml(Path("small.yaml"), config)
    script = "import sys; from cairngym.commands.evolve import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", script, "small.yaml", "--workers", "2", "--runs", "search"]
    quiet = {"stdout": subprocess.DEVNULL, "env": {**os.environ, "OMP_NUM_THREADS": "1"}}
    process = subprocess.Popen(command, start_new_session=True, **quiet)
    assert _wait_for(Path("search/small/round_1/rung_0/Chain-N10-v0/r1_c0/seed_1000/metrics.jsonl").is_file)
    process.send_signal(signal.SIGKILL)
    process.wait()
    subprocess.run(command, check=True, **quiet)
    assert Path("search/small/final/report.html").is_file()
    archive, kept = (Path("search/small", name).read_bytes() for name in ("archive.jsonl", "completions.jsonl"))
    os.rename("search", "cut")
    search(config, Path("search/small"), provider)
    assert Path("search/small/archive.jsonl").read_bytes() == archive
    assert Path("search/small/completions.jsonl").read_bytes() == kept


def _wait_for(condition, seconds: float = 120.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return False
