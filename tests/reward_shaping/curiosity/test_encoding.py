import numpy as np
import pytest
import torch
from gymnasium import spaces

from cairngym.reward_shaping.curiosity.encoding import ObservationEncoder, Reservoir

CPU = torch.device("cpu")
SPACE = spaces.Dict(
    image=spaces.Box(0, 255, (2, 2, 3), np.uint8),
    direction=spaces.Box(0, 3, (1,), np.int64),
    speed=spaces.Box(-1, 1, (2,), np.float32),
)


def observe():
    image = torch.tensor([[[[1, 9, 0], [2, 9, 1]], [[5, 9, 2], [1, 9, 2]]]], dtype=torch.uint8)
    return {"image": image, "direction": torch.tensor([[3]]), "speed": torch.tensor([[0.5, -0.5]])}


def test_numbers_are_flattened_in_the_order_of_the_space():
    encoder = ObservationEncoder(SPACE, {}, CPU)
    features = encoder(observe())
    assert features.tolist() == [[value for name in SPACE.spaces for value in observe()[name].flatten().tolist()]]
    assert features.dtype is torch.float32
    assert encoder.features == features.shape[1] == 15


def test_codes_become_one_hot_and_channels_without_codes_are_dropped():
    encoder = ObservationEncoder(SPACE, {"image": ((1, 2), (), (0, 1, 2))}, CPU)
    features = encoder(observe())
    assert encoder.features == features.shape[1] == 1 + 2 + 4 * 5
    start = 1 if next(iter(SPACE.spaces)) == "direction" else 0
    image = features[0, start : start + 20].tolist()
    assert image[:8] == [1, 0, 0, 1, 0, 0, 1, 0], "the code 5 is none of those listed"
    assert image[8:] == [1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 1]


def test_a_box_alone_and_codes_that_do_not_fit():
    encoder = ObservationEncoder(spaces.Box(0, 1, (3,), np.float32), {"": ((1,),)}, CPU)
    assert encoder(torch.tensor([[1.0, 2.0, 3.0]])).tolist() == [[1.0, 2.0, 3.0]]
    with pytest.raises(TypeError, match="boxes"):
        ObservationEncoder(spaces.Discrete(3), {}, CPU)


def test_the_reservoir_is_bounded_and_uniform():
    kept = torch.zeros(100)
    for seed in range(400):
        reservoir = Reservoir(10, 1, torch.Generator().manual_seed(seed))
        for chunk in torch.arange(100.0).view(-1, 1).split(7):
            reservoir.add(chunk)
        assert len(reservoir.rows()) == 10
        kept[reservoir.rows().long().flatten()] += 1
    # 40 expected of each, binomial std 6.
    assert kept.min() > 15
    assert kept.max() < 65
    assert abs(float(kept[:50].mean()) - 40) < 2.5


def test_the_reservoir_leaves_out_what_is_not_valid_and_starts_anew():
    reservoir = Reservoir(10, 1, torch.Generator().manual_seed(0))
    reservoir.add(torch.tensor([[1.0], [2.0], [3.0]]), torch.tensor([True, False, True]))
    assert reservoir.rows().flatten().tolist() == [1.0, 3.0]
    other = Reservoir(10, 1, torch.Generator())
    other.set_state(reservoir.get_state())
    assert other.rows().flatten().tolist() == [1.0, 3.0]
    assert other.seen == 3
    reservoir.clear()
    assert len(reservoir.rows()) == 0
