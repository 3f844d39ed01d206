"""The contact sheet and the video, on made-up episodes and on a policy that is known."""

from types import SimpleNamespace

import cv2
import numpy as np
import torch

import cairngym
from cairngym.envs.tabular import TabularWorld
from cairngym.experiments.video import ContactSheet, VideoFile, play


def shade(value, height=20, width=40):
    return np.full((height, width, 3), (value, 0, 0), np.uint8)


def test_contact_sheet_shows_even_frames_of_every_episode(tmp_path):
    sheet = ContactSheet(tmp_path / "sheet.png", columns=3, size=20)
    for count, success in ((5, True), (2, False)):
        for index in range(count):
            sheet.add(shade(50 * index + 10))
        sheet.end_episode(success)
    sheet.save()
    assert [path.name for path in tmp_path.iterdir()] == ["sheet.png"]
    image = cv2.cvtColor(cv2.imread(str(sheet.path)), cv2.COLOR_BGR2RGB)
    row = sheet.LABEL + 10
    assert image.shape == (2 * (row + sheet.GAP), 3 * 20 + 2 * sheet.GAP, 3)
    columns = [10, 10 + 26, 10 + 2 * 26]
    assert [image[sheet.LABEL + 5, x].tolist() for x in columns] == [[10, 0, 0], [110, 0, 0], [210, 0, 0]]
    second = row + sheet.GAP + sheet.LABEL + 5
    assert [image[second, x].tolist() for x in columns] == [[10, 0, 0], [60, 0, 0], [255, 255, 255]]
    assert image[: sheet.LABEL].min() < 128  # the label
    assert (image[row : row + sheet.GAP] == 255).all()


def test_contact_sheet_of_frames_smaller_than_its_size(tmp_path):
    sheet = ContactSheet(tmp_path / "sheet.png", columns=2)
    sheet.add(shade(9, 64, 48))
    sheet.end_episode(success=False)
    sheet.save()
    assert cv2.imread(str(sheet.path)).shape == (64 + sheet.LABEL + sheet.GAP, 2 * 48 + sheet.GAP, 3)


def test_a_sheet_or_a_video_without_frames_is_no_file(tmp_path):
    ContactSheet(tmp_path / "sheet.png").save()
    VideoFile(tmp_path / "video.mp4", 10).close()
    assert not list(tmp_path.iterdir())


def test_play_shows_the_true_last_frame(monkeypatch):
    def render(world, env_ids):
        return tuple(shade(int(world.state["node"][i])) for i in env_ids)

    monkeypatch.setattr(TabularWorld, "render", render)
    env = cairngym.make("Chain-N10-v0", autoreset_mode="Disabled")
    right = SimpleNamespace(act=lambda obs: torch.ones(1, dtype=torch.int64))
    agent = SimpleNamespace(actor=lambda *args, **kwargs: right)
    for _ in range(2):
        frames, successes = zip(*play(agent, env, greedy=True, seed=0), strict=True)
        nodes = [int(frame[0, 0, 0]) for frame in frames]
        assert nodes == list(range(nodes[0], nodes[0] + len(nodes)))
        assert nodes[-1] == 9
        assert successes == (False,) * (len(nodes) - 1) + (True,)
