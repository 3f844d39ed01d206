"""The pool of local processes: order, failures, threads, and stopping."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cairngym.experiments.launcher import Job, LocalPool, cores, train_job


def job(folder: Path, name: str, code: str) -> Job:
    return Job(name=name, command=(sys.executable, "-c", code), folder=folder, log=folder / f"{name}.txt")


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def wait_for(condition, seconds: float = 10.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return False


def test_every_job_ends_once_and_a_failure_does_not_stop_the_others(tmp_path):
    jobs = [job(tmp_path, str(i), f"import sys; print('out {i}'); sys.exit({3 if i == 1 else 0})") for i in range(4)]
    results = list(LocalPool(2).launch(jobs))
    assert {r.job.name: r.returncode for r in results} == {"0": 0, "1": 3, "2": 0, "3": 0}
    assert (tmp_path / "1.txt").read_text() == "out 1\n"


def test_stdout_and_stderr_are_appended_to_the_log(tmp_path):
    noisy = job(tmp_path, "noisy", "import sys; print('a', flush=True); print('b', file=sys.stderr)")
    list(LocalPool(1).launch([noisy]))
    list(LocalPool(1).launch([noisy]))
    assert (tmp_path / "noisy.txt").read_text() == "a\nb\na\nb\n"


def test_no_more_than_workers_run_at_a_time(tmp_path):
    code = (
        f"import os, pathlib, time; d = pathlib.Path(r'{tmp_path}'); f = d / f'{{os.getpid()}}.on'; f.touch(); "
        "time.sleep(0.3); print(len(list(d.glob('*.on')))); f.unlink()"
    )
    list(LocalPool(2).launch([job(tmp_path, f"j{i}", code) for i in range(5)]))
    counts = [int((tmp_path / f"j{i}.txt").read_text()) for i in range(5)]
    assert max(counts) == 2


def test_threads_are_shared_out(tmp_path):
    for workers in sorted({1, cores(), cores() + 3}):
        pool = LocalPool(workers)
        assert pool.threads == max(1, cores() // workers)
        list(pool.launch([job(tmp_path, f"t{workers}", "import os; print(os.environ['OMP_NUM_THREADS'])")]))
        assert int((tmp_path / f"t{workers}.txt").read_text()) == pool.threads
    assert LocalPool().workers == cores()
    with pytest.raises(ValueError, match="Expected workers >= 1, got 0"):
        LocalPool(0)


def test_closing_stops_running_jobs_and_their_children(tmp_path):
    code = (
        "import subprocess, sys, time, pathlib; child = subprocess.Popen([sys.executable, '-c', 'import time; "
        "time.sleep(60)']); pathlib.Path(r'{}').write_text(str(child.pid)); time.sleep(60)"
    ).format(tmp_path / "pid")
    pool = LocalPool(2)
    results = pool.launch([job(tmp_path, "quick", "pass"), job(tmp_path, "long", code)])
    assert next(results).job.name == "quick"
    assert wait_for(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
    child = int((tmp_path / "pid").read_text())
    assert alive(child)
    results.close()
    assert wait_for(lambda: not alive(child) or _zombie(child))


def _zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


def test_a_job_that_ignores_sigterm_is_killed(tmp_path):
    code = (
        "import signal, time, pathlib; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        f"pathlib.Path(r'{tmp_path / 'ready'}').touch(); time.sleep(60)"
    )
    pool = LocalPool(2, patience=0.3)
    results = pool.launch([job(tmp_path, "quick", "pass"), job(tmp_path, "deaf", code)])
    next(results)
    assert wait_for((tmp_path / "ready").exists)
    began = time.monotonic()
    results.close()
    assert time.monotonic() - began < 5


def test_ctrl_c_reaches_the_jobs_once_through_the_pool(tmp_path):
    script = tmp_path / "pool.py"
    child = (
        "import signal, sys, time, pathlib\n"
        f"folder = pathlib.Path(r'{tmp_path}')\n"
        "def note(number, frame):\n"
        "    with (folder / 'signals').open('a') as f: f.write(f'{number} ')\n"
        "    sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, note); signal.signal(signal.SIGINT, note)\n"
        "(folder / 'ready').touch(); time.sleep(60)\n"
    )
    script.write_text(
        "import sys\nfrom pathlib import Path\nfrom cairngym.experiments.launcher import Job, LocalPool\n"
        f"folder = Path(r'{tmp_path}')\n"
        f"child = Job(name='c', command=(sys.executable, '-c', {child!r}), folder=folder, log=folder / 'log')\n"
        "try:\n    list(LocalPool(1).launch([child]))\nexcept KeyboardInterrupt:\n    sys.exit(130)\n"
    )
    pool = subprocess.Popen([sys.executable, str(script)], start_new_session=True)
    assert wait_for((tmp_path / "ready").exists)
    os.killpg(pool.pid, signal.SIGINT)
    assert pool.wait(10) == 130
    assert (tmp_path / "signals").read_text().split() == [str(int(signal.SIGTERM))]


def test_a_training_job_is_the_train_command(tmp_path):
    made = train_job("name", tmp_path)
    assert made.command[1:4] == ("-m", "cairngym", "train")
    assert str(tmp_path / "config.yaml") in made.command
    assert made.log == tmp_path / "log.txt"
