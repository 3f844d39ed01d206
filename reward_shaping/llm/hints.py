"""Why a name is not in the language, in the words a repair prompt needs.

These tables refuse nothing: what is not in `allowlist` is refused whether it is here or not. They only give the reason.
"""

from __future__ import annotations

import ast

from cairngym.reward_shaping.llm.refusal import unknown

_FILES = "reads or writes files"
_OBJECTS = "reaches Python objects outside the program"
_CODE = "compiles or loads code"
_SETTINGS = "changes settings of the whole process"
_RANDOM = "draws random numbers; a reward must be the same whenever it is asked"
_ADDRESS = "reaches raw memory"
_CALLBACK = "calls functions back"
_LEAVES = "leaves torch for Python values; the batch must stay one tensor"
_GRADIENT = "belongs to learning, not to a reward"
_DEVICE = "moves between devices; tensors already live where the state does"
_LARGE = "makes tensors that grow with products of sizes"
_UNINITIALISED = "returns memory that was never written"
_SHAPES = "has a shape that depends on the data; use torch.where"
_MIXES = "multiplies matrices; write (a * b).sum(dim=-1)"

_NAMES: dict[str, str] = {
    _FILES: "load save from_file tofile to_file open fopen hub package tofile load_state_dict serialization",
    _OBJECTS: """getattr setattr delattr hasattr vars dir globals locals type object super classmethod staticmethod
        property isinstance issubclass callable id memoryview bytearray input print repr str format ascii chr ord hash
        iter next map filter slice help breakpoint storage untyped_storage typed_storage grad_fn data mro builtins
        sys os subprocess socket pathlib pickle ctypes importlib inspect gc copyreg threading multiprocessing asyncio
        gi_frame gi_code cr_frame ag_frame f_back f_globals f_locals f_builtins tb_frame tb_next func_globals
        with_traceback""",
    _CODE: """eval exec compile jit ops classes utils library autograd fx export onnx cpp_extension script trace
        distributed multiprocessing overrides testing backends fft special sparse sandbox""",
    _SETTINGS: """set_default_dtype set_default_device set_default_tensor_type set_num_threads set_printoptions
        use_deterministic_algorithms set_grad_enabled set_flush_denormal set_float32_matmul_precision no_grad
        inference_mode enable_grad manual_seed seed initial_seed set_rng_state""",
    _RANDOM: """rand randn randint randperm rand_like randn_like randint_like bernoulli multinomial normal poisson
        dropout random Generator""",
    _ADDRESS: """data_ptr as_strided set share_memory pin_memory from_dlpack to_dlpack frombuffer from_numpy
        asarray byteswap""",
    _CALLBACK: "apply map register_hook register_post_accumulate_grad_hook vmap func cond while_loop scan reduce",
    _LEAVES: "item tolist numpy any_item is_nonzero equal allclose np numpy jnp tf",
    _GRADIENT: "backward grad requires_grad retain_grad optim Module Linear Parameter",
    _DEVICE: "cuda cpu xpu mps get_device",
    _LARGE: """outer ger kron cartesian_prod combinations tril_indices triu_indices meshgrid eye block_diag tile
        repeat_interleave vander diag diag_embed tensordot einsum cdist pdist histc bincount one_hot conv1d conv2d
        fold unfold pad""",
    _UNINITIALISED: "empty empty_like new_empty empty_strided resize resize_as",
    _SHAPES: "nonzero argwhere masked_select unique unique_consecutive index_select take index_put index_add scatter",
    _MIXES: "matmul mm bmm mv dot inner addmm baddbmm chain_matmul vdot",
}
_REASONS = {name: reason for reason, names in _NAMES.items() for name in names.split()}


def why_not(shown: str, name: str, kind: str, valid: list[str]) -> str:
    """The reason for a name that is not in the language.

    Args:
        shown: as the program writes it, e.g. "torch.load".
        name: the name that decides, e.g. "load".
        kind: what it is, e.g. "torch function".
        valid: the names there are.
    """
    if name.startswith("_"):
        return f"{shown} is private; names that begin with an underscore do not exist here."
    if name.endswith("_"):
        return f"{shown} writes in place; use the form without the underscore at the end."
    if name in _REASONS:
        return f"{shown} is not in the language: it {_REASONS[name]}."
    return unknown(kind, shown, valid) if valid else f"There is no {kind} {shown}."


def dotted(node: ast.expr) -> str | None:
    """The path a chain of attributes spells from a name, e.g. "torch.linalg.norm"."""
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(names)]) if isinstance(node, ast.Name) else None


def decisive(path: str) -> str:
    """The part of a path that says why it is refused: the first that is private or has a reason of its own."""
    parts = path.split(".")
    return next((part for part in parts if part.startswith("_") or part in _REASONS), parts[-1])
