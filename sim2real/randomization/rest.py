"""What a mocap body is told at rest: to stay where the body welded to it is."""

from __future__ import annotations

import mujoco
import torch

from cairngym.envs.physics.driver import Driver
from cairngym.sim2real.randomization.parts import Command

WELD, BODY = int(mujoco.mjtEq.mjEQ_WELD), int(mujoco.mjtObj.mjOBJ_BODY)


class MocapRest:
    """Poses of mocap bodies at which their welds are satisfied; bodies without a weld keep the pose they have.

    Args:
        driver: whose mocap bodies; only drivers of models that have such keep their derived poses current for it.
    """

    def __init__(self, driver: Driver) -> None:
        model = driver.model
        self._welds: list[tuple[int, int, bool, torch.Tensor, torch.Tensor, torch.Tensor]] = []
        for index in range(model.neq):
            if int(model.eq_type[index]) != WELD or int(model.eq_objtype[index]) != BODY:
                continue
            first, second = int(model.eq_obj1id[index]), int(model.eq_obj2id[index])
            mocap, other = (first, second) if model.body_mocapid[first] >= 0 else (second, first)
            if model.body_mocapid[mocap] < 0 or model.body_mocapid[other] >= 0:
                continue
            data = torch.as_tensor(model.eq_data[index]).to(driver.device, driver.dtype)
            relative = data[6:10] / (data[6:10] * data[6:10]).cumsum(0)[-1].sqrt()
            self._welds.append((int(model.body_mocapid[mocap]), other, mocap == first, data[:3], data[3:6], relative))
        if self._welds:
            self._position, self._rotation = driver.view("xpos"), driver.view("xquat")

    def __call__(self, command: Command) -> Command:
        """The entries `mocap_pos` and `mocap_quat` of the rest command, where there are welds.

        A weld holds x1 + R1 r = x2 + R2 a and q1 s = q2, with the anchor a and the relative pose (r, s) of its data.
        """
        if not self._welds:
            return {}
        position, rotation = command["mocap_pos"].clone(), command["mocap_quat"].clone()
        for mocap, other, is_first, anchor, offset, relative in self._welds:
            at, turned = self._position[:, other], self._rotation[:, other]
            quat = product(turned, conjugate(relative) if is_first else relative)
            own, others = (offset, anchor) if is_first else (anchor, offset)
            rotation[:, mocap] = quat
            position[:, mocap] = at + rotate(turned, others) - rotate(quat, own)
        return {"mocap_pos": position, "mocap_quat": rotation}


def conjugate(quat: torch.Tensor) -> torch.Tensor:
    """The inverse of a unit quaternion `(..., 4)`, w first."""
    return quat * quat.new_tensor([1.0, -1.0, -1.0, -1.0])


def product(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """The product of quaternions `(..., 4)`, w first."""
    a, b, c, d = left.unbind(-1)
    w, x, y, z = right.unbind(-1)
    return torch.stack(
        (
            a * w - b * x - c * y - d * z,
            a * x + b * w + c * z - d * y,
            a * y - b * z + c * w + d * x,
            a * z + b * y - c * x + d * w,
        ),
        dim=-1,
    )


def rotate(quat: torch.Tensor, vector: torch.Tensor) -> torch.Tensor:
    """A vector `(3,)` turned by unit quaternions `(N, 4)`."""
    pure = torch.cat((vector.new_zeros(1), vector))
    return product(product(quat, pure), conjugate(quat))[..., 1:]
