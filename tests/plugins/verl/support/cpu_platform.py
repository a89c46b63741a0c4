# pyright: basic, reportMissingImports=false
"""A CPU as one of verl's platforms, so that stock verl runs without an accelerator.

Loaded through verl's own switches: VERL_USE_EXTERNAL_MODULES=cpu_platform,cpu_rollout
VERL_PLATFORM=cpu VERL_ENGINE_DEVICE=cuda.
"""

import functools
import types
from contextlib import contextmanager

import torch
import torch.distributed
import torch.distributed.fsdp
from verl.plugin.platform import PlatformBase, PlatformRegistry


def device_module() -> types.ModuleType:
    """Return a stand-in for `torch.cuda`: there is no device, and nothing to wait for or free."""
    module = types.ModuleType("cpu_device")
    for name in (
        "empty_cache",
        "synchronize",
        "ipc_collect",
        "set_device",
        "reset_peak_memory_stats",
        "manual_seed",
        "manual_seed_all",
    ):
        setattr(module, name, lambda *_, **__: None)
    for name in (
        "max_memory_allocated",
        "max_memory_reserved",
        "memory_allocated",
        "memory_reserved",
    ):
        setattr(module, name, lambda *_, **__: 0)
    values = {
        "is_available": lambda: False,
        "mem_get_info": lambda *_, **__: (8 << 30, 16 << 30),
        "device_count": lambda: 1,
        "current_device": lambda: "cpu",
        "get_device_name": lambda *_: "CPU",
        "get_rng_state": lambda *_: torch.get_rng_state(),
        "set_rng_state": lambda state, *_: torch.set_rng_state(state),
    }
    for name, value in values.items():
        setattr(module, name, value)
    return module


DEVICE = device_module()


@PlatformRegistry.register(platform="cpu")
class PlatformCPU(PlatformBase):
    """One CPU that calls itself a GPU where Ray counts them."""

    device_name = property(lambda _: "cpu")
    vendor_name = property(lambda _: "cpu")
    device_module = property(lambda _: DEVICE)

    def is_available(self):
        return True

    def current_device(self):
        return "cpu"

    def device_count(self):
        return 1

    def set_device(self, device_index):
        pass

    def synchronize(self, device_index=None):
        pass

    def manual_seed(self, seed):
        torch.manual_seed(seed)

    def manual_seed_all(self, seed):
        torch.manual_seed(seed)

    def set_allocator_settings(self, settings):
        pass

    def empty_cache(self):
        pass

    def get_device_capability(self, device_index=0):
        return None, None

    def communication_backend_name(self):
        return "gloo"

    def visible_devices_envvar(self):
        return "CUDA_VISIBLE_DEVICES"

    def ray_resource_name(self):
        return "GPU"

    def ray_noset_envvars(self):
        return ["RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES"]

    def is_ipc_supported(self):
        return False

    @contextmanager
    def nvtx_range(self, msg):
        yield

    def profiler_start(self):
        pass

    def profiler_stop(self):
        pass

    def cudart(self):
        return None


def once(init_process_group):
    """Wrap torch's function: verl names the backend of CPU and device, which here are the same."""

    @functools.wraps(init_process_group)
    def wrapped(*args, backend=None, **settings):
        if backend == "cpu:gloo,cpu:gloo":
            backend = "cpu:gloo"
        return init_process_group(*args, backend=backend, **settings)

    return wrapped


class UnpinnedOffload(torch.distributed.fsdp.CPUOffloadPolicy):
    """What verl asks for where a reference policy rests on the CPU: pinning wants a GPU."""

    def __init__(self, pin_memory=True):
        super().__init__(pin_memory=False)


torch.distributed.init_process_group = once(torch.distributed.init_process_group)
torch.distributed.fsdp.CPUOffloadPolicy = UnpinnedOffload
