"""Level banks: what upstream generated, cached so that nothing broken is ever read."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from minigrid.core.grid import Grid

import cairngym
from cairngym.envs.minigrid import ids, levels, missions
from cairngym.envs.minigrid.cells import unpack_object
from cairngym.envs.minigrid.levels import (
    PARALLEL_FROM,
    SPLIT_SEEDS,
    LevelBank,
    cache_path,
    generate,
    load_bank,
    make_reference,
    read_file,
    write_file,
)

ID = "MiniGrid-Fetch-5x5-N2-v0"
SIZE = 12


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CAIRNGYM_CACHE", str(tmp_path))
    return tmp_path


def assert_same_bank(left, right):
    assert left.missions == right.missions
    for name in LevelBank.ARRAYS:
        assert getattr(left, name).dtype == getattr(right, name).dtype, name
        assert np.array_equal(getattr(left, name), getattr(right, name)), name


def files_in(folder):
    return sorted(path.name for path in Path(folder).rglob("*") if path.is_file())


@pytest.mark.parametrize("env_id", ["MiniGrid-LockedRoom-v0", "MiniGrid-ObstructedMaze-Full-v1", ID])
def test_a_bank_holds_upstreams_levels(env_id):
    bank = generate(env_id, 40, 5)
    env = make_reference(env_id)
    for i in range(5):
        env.reset(seed=40 + i)
        grid = Grid(env.width, env.height)
        grid.grid = [unpack_object(int(cell)) for cell in bank.cells[i]]
        assert grid == env.grid
        assert bank.agent[i].tolist() == [*env.agent_pos, env.agent_dir]
        assert bank.missions[bank.mission[i]] == env.mission


def test_file_round_trip(tmp_path):
    bank = generate(ID, 0, SIZE)
    assert len(bank) == SIZE
    write_file(tmp_path / "deep" / "bank.npz", bank)
    assert_same_bank(read_file(tmp_path / "deep" / "bank.npz"), bank)
    assert files_in(tmp_path) == ["bank.npz"]


def test_take_and_join():
    bank = generate(ID, 0, SIZE)
    parts = generate(ID, 0, 5), generate(ID, 5, SIZE - 5)
    joined = LevelBank.join(parts)
    assert_same_bank(joined, bank)
    assert_same_bank(LevelBank.join([bank.take(3), bank.take(0)]), LevelBank.join([bank.take(3)]))
    assert np.array_equal(bank.take(3).cells, bank.cells[:3])


def test_kinds_looks_into_boxes():
    kinds = generate("MiniGrid-ObstructedMaze-1Dlh-v0", 0, 3).kinds()
    assert kinds == {1, 2, 4, 5, 6, 7}  # the key (5) lies in a box


def test_second_load_reads_the_cache(cache, monkeypatch):
    bank = load_bank(ID, SIZE)
    assert len(files_in(cache)) == 1
    monkeypatch.setattr(levels, "_generate_parallel", lambda *_: pytest.fail("generated again"))
    assert_same_bank(load_bank(ID, SIZE), bank)


def test_the_cache_is_keyed_by_id_version_and_seeds(cache, monkeypatch):
    paths = {cache_path(ID, 0, 8), cache_path(ID, 0, 9), cache_path(ID, 1, 8), cache_path(ids()[0], 0, 8)}
    monkeypatch.setattr(levels.importlib.metadata, "version", lambda _: "9.9")
    paths.add(cache_path(ID, 0, 8))
    assert len(paths) == 5
    assert all(path.is_relative_to(cache) for path in paths)


def test_the_cache_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.delenv("CAIRNGYM_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_path(ID, 0, 8).is_relative_to(tmp_path / "cairngym")


def shorten_one_part(path):
    bank = read_file(path)
    np.savez(path, missions=np.array(bank.missions), **{n: getattr(bank, n) for n in bank.ARRAYS[1:]},
             cells=bank.cells[:-1])  # fmt: skip


def shorten_all_parts(path):
    write_file(path, read_file(path).take(SIZE - 1))


def leave_out_a_part(path):
    bank = read_file(path)
    np.savez(path, missions=np.array(bank.missions), **{n: getattr(bank, n) for n in bank.ARRAYS[:-1]})


def flip_a_byte(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 0xFF
    path.write_bytes(bytes(data))


def write_noise(path):
    path.write_bytes(b"PK\x03\x04 this was a zip file once")


def cut_in_half(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty_it(path):
    path.write_bytes(b"")


def put_a_folder_there(path):
    path.unlink()
    path.mkdir()


DAMAGES = (shorten_one_part, shorten_all_parts, leave_out_a_part, flip_a_byte, write_noise, cut_in_half, empty_it)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_cache_is_rebuilt(cache, damage):
    bank = load_bank(ID, SIZE)
    path = cache_path(ID, 0, SIZE)
    damage(path)
    with pytest.warns(UserWarning, match="damaged.*rebuilt"):
        assert_same_bank(load_bank(ID, SIZE), bank)
    assert_same_bank(read_file(path), bank)
    assert files_in(cache) == [path.name]


def test_a_folder_in_the_caches_place_is_no_error(cache):
    bank = load_bank(ID, SIZE)
    put_a_folder_there(cache_path(ID, 0, SIZE))
    with pytest.warns(UserWarning, match="rebuilt|could not be cached"):
        assert_same_bank(load_bank(ID, SIZE), bank)


def test_a_cache_folder_that_is_a_file_costs_only_the_caching(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("CAIRNGYM_CACHE", str(tmp_path / "file"))
    with pytest.warns(UserWarning, match="could not be cached"):
        bank = load_bank(ID, SIZE)
    assert_same_bank(bank, generate(ID, 0, SIZE))


def full_disk(*_, **__):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def half_write_then_full(file, **_):
    file.write(b"PK\x03\x04 half a file")
    full_disk()


@pytest.mark.parametrize(("module", "name", "fake"), [(os, "replace", full_disk), (np, "savez", half_write_then_full)])
def test_a_full_disk_leaves_no_partial_file(cache, monkeypatch, module, name, fake):
    monkeypatch.setattr(module, name, fake)
    with pytest.warns(UserWarning, match="could not be cached.*No space left"):
        bank = load_bank(ID, SIZE)
    assert files_in(cache) == []
    monkeypatch.undo()
    assert_same_bank(bank, generate(ID, 0, SIZE))


def test_a_full_disk_keeps_the_old_file(tmp_path, monkeypatch):
    old, new = generate(ID, 0, 3), generate(ID, 3, 3)
    write_file(tmp_path / "bank.npz", old)
    monkeypatch.setattr(np, "savez", half_write_then_full)
    with pytest.raises(OSError, match="No space left"):
        write_file(tmp_path / "bank.npz", new)
    assert_same_bank(read_file(tmp_path / "bank.npz"), old)
    assert files_in(tmp_path) == ["bank.npz"]


def test_splits_have_levels_of_their_own(cache):
    env_id = "MiniGrid-FourRooms-v0"
    train, test = (load_bank(env_id, SIZE, split) for split in ("train", "test"))
    assert_same_bank(test, generate(env_id, SPLIT_SEEDS["test"], SIZE))

    def distinct(bank):
        return {bank.cells[i].tobytes() + bank.agent[i].tobytes() for i in range(len(bank))}

    assert not distinct(train) & distinct(test)
    assert abs(SPLIT_SEEDS["test"] - SPLIT_SEEDS["train"]) >= levels.MAX_BANK
    assert len(files_in(cache)) == 2


@pytest.mark.parametrize("split", ["val", "Train", ""])
def test_unknown_split(cache, split):
    with pytest.raises(ValueError, match="Expected split to be one of"):
        load_bank(ID, SIZE, split)
    assert files_in(cache) == []


@pytest.mark.parametrize("size", [0, -1, 1_000_001])
def test_bad_size(cache, size):
    with pytest.raises(ValueError, match=r"Expected bank_size in \[1, 1000000\]"):
        load_bank(ID, size)
    with pytest.raises(ValueError, match="bank_size"):
        cairngym.make(ID, bank_size=size)
    assert files_in(cache) == []


@pytest.mark.slow
def test_parallel_is_serial(cache, monkeypatch):
    monkeypatch.setattr(levels, "PARALLEL_FROM", 10)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1}, raising=False)
    started = []
    spawn = levels._spawn
    monkeypatch.setattr(levels, "_spawn", lambda *args: started.append(args) or spawn(*args))
    assert_same_bank(load_bank(ID, 30), generate(ID, 0, 30))
    assert len(started) > 1
    assert PARALLEL_FROM > 1


def test_a_failing_process_is_named(cache, monkeypatch):
    monkeypatch.setattr(levels, "PARALLEL_FROM", 10)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1}, raising=False)
    broken = [sys.executable, "-c", "raise SystemExit(3)"]
    monkeypatch.setattr(levels, "_spawn", lambda *_: subprocess.Popen(broken))
    with pytest.raises(RuntimeError, match=r"generating levels of MiniGrid-Fetch.*code 3"):
        load_bank(ID, 30)
    assert files_in(cache) == []


def test_dead_ends_are_retried(monkeypatch):
    class DeadEnd:
        def __init__(self):
            self.inner, self.seeds = make_reference(ID), []

        def __getattr__(self, name):
            return getattr(self.inner, name)

        def reset(self, seed):
            self.seeds.append(seed)
            if len(self.seeds) < 3:
                raise RecursionError("rejection sampling failed")
            return self.inner.reset(seed=seed)

    env = DeadEnd()
    monkeypatch.setattr(levels, "make_reference", lambda *_: env)
    monkeypatch.setattr(levels, "read_level", lambda _: generate_one)
    generate_one = LevelBank(
        cells=np.zeros((1, 25), np.int32), agent=np.zeros((1, 3), np.int32), variables=np.zeros((1, 8), np.int32),
        targets=np.zeros((1, 2, 3), np.int32), mission=np.zeros(1, np.int32), missions=("go",),
    )  # fmt: skip
    assert len(generate(ID, 4, 1)) == 1
    assert env.seeds == [4, 4 + 2**32, 4 + 2 * 2**32]
    env.seeds = []
    monkeypatch.setattr(env, "reset", full_of_dead_ends, raising=False)
    with pytest.raises(RuntimeError, match="could not generate a level from seed 4 in 100 attempts"):
        generate(ID, 4, 1)


def full_of_dead_ends(seed):
    raise RecursionError(f"rejection sampling failed for {seed}")


@pytest.mark.parametrize("env_id", ids())
def test_missions_fit_and_are_known(env_id):
    env = make_reference(env_id)
    length, constant = missions.longest(env.observation_space["mission"])
    texts = set()
    for seed in range(6):
        env.reset(seed=seed)
        texts.add(env.mission)
        tokens = missions.encode(env.mission, length)
        assert tokens.shape == (length,)
        assert missions.UNKNOWN not in tokens
        assert missions.decode(tokens) == env.mission.lower().replace(",", "")
    assert len(texts) == 1 or not constant


def test_mission_tokens():
    assert missions.encode("get a xylophone", 4).tolist() == [missions.TOKENS["get"], missions.TOKENS["a"], 1, 0]
    assert missions.decode(missions.encode("get a xylophone", 4)) == "get a ?"
    with pytest.raises(ValueError, match="at most 2 words, got 3"):
        missions.encode("get a ball", 2)


def test_the_env_shows_its_levels_mission():
    env = cairngym.make(ID, num_envs=16, bank_size=SIZE, seed=4)
    obs, _ = env.reset()
    bank, current = load_bank(ID, SIZE), env.get_state()["world"]["current"]
    for i in range(16):
        assert missions.decode(obs["mission"][i].tolist()) == bank.missions[bank.mission[current[i]]]
