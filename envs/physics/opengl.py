"""OpenGL without a screen: EGL where a driver offers it, else OSMesa, or what `MUJOCO_GL` names."""

from __future__ import annotations

import ctypes
import ctypes.util
import importlib
import os
import sys
from contextlib import AbstractContextManager
from typing import Protocol

DISABLED = ("disable", "disabled", "off", "false", "0")
EGL_PLATFORM_DEVICE = 0x313F
INSTALL = (
    "On Debian or Ubuntu: apt-get install libegl1 libgl1 (EGL), or apt-get install libosmesa6 (OSMesa, in software). "
    "MUJOCO_GL=egl, osmesa or glfw forces one of them."
)


class Context(Protocol):
    """An OpenGL context, as MuJoCo's backends make it."""

    def as_current(self) -> AbstractContextManager[None]:
        """Make it current, and what was current before again afterwards."""

    def free(self) -> None:
        """Release it."""


def make_context(width: int, height: int) -> Context:
    """Make an OpenGL context for pictures that no screen shows.

    Raises:
        RuntimeError: nothing here can draw; the message names the packages to install.
    """
    backend = choose_backend()
    module = {"default": "mujoco.rendering.classic.gl_context"}.get(backend, f"mujoco.{backend}")
    try:
        return importlib.import_module(module).GLContext(width, height)
    except Exception as error:  # every backend fails in ways of its own
        raise RuntimeError(f"MuJoCo's OpenGL backend {backend!r} can't draw here: {error}. {INSTALL}") from error


def choose_backend() -> str:
    """The name of the backend to draw with: "egl", "osmesa", "glfw", or "default" for MuJoCo's own choice.

    `MUJOCO_GL` decides, then `PYOPENGL_PLATFORM` (a process that has loaded one backend can't load another), then
    what works.

    Raises:
        RuntimeError: drawing is disabled, or nothing works.
    """
    wanted = os.environ.get("MUJOCO_GL", "").strip().lower()
    if wanted in DISABLED:
        raise RuntimeError(f"MUJOCO_GL={wanted} disables drawing. Unset it, or set it to egl, osmesa or glfw.")
    if wanted in ("egl", "osmesa", "glfw"):
        return wanted
    if sys.platform != "linux" or wanted in ("glx", "cgl", "wgl"):
        return "default"
    loaded = os.environ.get("PYOPENGL_PLATFORM", "").strip().lower()
    if loaded in ("egl", "osmesa"):
        return loaded
    if egl_works():
        return "egl"
    if ctypes.util.find_library("OSMesa"):
        return "osmesa"
    raise RuntimeError(f"Expected EGL or OSMesa to draw pictures with, found neither. {INSTALL}")


def egl_works() -> bool:
    """Whether some EGL device can be drawn on; asked of the library itself, before PyOpenGL settles on a platform."""
    name = ctypes.util.find_library("EGL")
    if name is None or not (ctypes.util.find_library("OpenGL") or ctypes.util.find_library("GL")):
        return False
    try:
        library = ctypes.CDLL(name)
    except OSError:
        return False
    library.eglGetProcAddress.restype = ctypes.c_void_p
    query = library.eglGetProcAddress(b"eglQueryDevicesEXT")
    display_of = library.eglGetProcAddress(b"eglGetPlatformDisplayEXT")
    if not query or not display_of:
        return False
    devices, count = (ctypes.c_void_p * 64)(), ctypes.c_int(0)
    query_devices = ctypes.CFUNCTYPE(ctypes.c_uint, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)(query)
    if not query_devices(len(devices), devices, ctypes.byref(count)):
        return False
    get_display = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_uint, ctypes.c_void_p, ctypes.c_void_p)(display_of)
    library.eglInitialize.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)
    displays = (get_display(EGL_PLATFORM_DEVICE, device, None) for device in devices[: count.value])
    return any(display and library.eglInitialize(display, None, None) for display in displays)
