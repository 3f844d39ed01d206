def cheapest_neighbour(d):
    far_x = torch.full_like(d[:, :1, :], 60.0)
    far_y = torch.full_like(d[:, :, :1], 60.0)
    right = torch.cat([d[:, 1:, :], far_x], dim=1)
    left = torch.cat([far_x, d[:, :6, :]], dim=1)
    down = torch.cat([d[:, :, 1:], far_y], dim=-1)
    up = torch.cat([far_y, d[:, :, :6]], dim=-1)
    return torch.minimum(torch.minimum(right, left), torch.minimum(down, up))


def path_length(s, target, longest):
    kind = s.grid[..., 0]
    wall = (kind == 2).float()
    shut = ((kind == 4) & (s.grid[..., 2] > 0)).float()
    cost = 1.0 + shut + 60.0 * wall
    d = 60.0 * (1.0 - target)
    for i in range(24):
        d = torch.minimum(d, cheapest_neighbour(d + cost))
    xs = torch.arange(7).view(1, 7, 1)
    ys = torch.arange(7).view(1, 1, 7)
    here = ((xs == s.agent_pos[:, 0][:, None, None]) & (ys == s.agent_pos[:, 1][:, None, None])).float()
    return torch.clamp((d * here).sum(dim=(1, 2)), 0.0, longest)


def parts(s):
    longest = 20.0
    near_value = 0.5
    kind = s.grid[..., 0]
    lock_mask = ((kind == 4) & (s.grid[..., 2] == 2)).float()
    key_mask = (kind == 5).float()
    ball_mask = (kind == 6).float()
    locked = lock_mask.amax(dim=(1, 2)) > 0.5
    has_key = s.carrying[:, 0] == 5
    has_ball = s.carrying[:, 0] == 6

    to_key = locked & ~has_key & ~has_ball
    to_lock = locked & has_key
    to_drop = ~locked & has_key
    to_ball = ~locked & ~has_key & ~has_ball

    target = torch.where(
        to_key[:, None, None], key_mask, torch.where(to_lock[:, None, None], lock_mask, ball_mask)
    )
    near = near_value * (1.0 - path_length(s, target, longest) / longest)
    zero = torch.zeros_like(near)
    near_key = torch.where(to_key, near, zero)
    near_lock = torch.where(to_lock, near, zero)
    near_ball = torch.where(to_ball, near, zero)

    base = torch.where(
        has_ball,
        zero + 6.0,
        torch.where(
            to_ball, zero + 3.4, torch.where(to_drop, zero + 2.6, torch.where(to_lock, zero + 1.0, zero))
        ),
    )
    return base, near_key, near_lock, near_ball


def reward(state, action, next_state, memory):
    door_value = 0.15

    base_a, key_a, lock_a, ball_a = parts(state)
    base_b, key_b, lock_b, ball_b = parts(next_state)
    stage = base_b - base_a
    near_key = key_b - key_a
    near_lock = lock_b - lock_a
    near_ball = ball_b - ball_a

    # doors opened for the first time, while the key has not been held
    open_a = ((state.grid[..., 0] == 4) & (state.grid[..., 2] == 0)).float()
    open_b = ((next_state.grid[..., 0] == 4) & (next_state.grid[..., 2] == 0)).float()
    held = memory.get("held", torch.zeros_like(base_a))
    ever_open = memory.get("ever_open", open_a)
    search_doors = door_value * torch.relu(open_b - ever_open).sum(dim=(1, 2)) * (1.0 - held)
    memory["ever_open"] = torch.maximum(ever_open, open_b)
    memory["held"] = torch.maximum(held, (next_state.carrying[:, 0] == 5).float())

    total = stage + near_key + near_lock + near_ball + search_doors
    return total, {
        "stage": stage,
        "near_key": near_key,
        "near_lock": near_lock,
        "near_ball": near_ball,
        "search_doors": search_doors,
    }
