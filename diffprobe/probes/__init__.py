"""The probes, one a room: what can be measured of a denoiser beside what is known of the optimum.

A probe is a kind: the settings that are its own, whether it applies, and what is measured, told and
drawn. One from outside is a class too:

    @dataclass(frozen=True)
    class GainConfig(ProbeKind):
        \"\"\"How large the output is.\"\"\"

        name: ClassVar[str] = "gain"
        images: int = 64

        def measure(self, subject, keep):
            return keep("network", Gain, lambda: gain(subject, self.images))

What several probes share, the Jacobian, regions, noise levels, is in `diffprobe.probing`.
"""

import pkgutil

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__, submodules=[room.name for room in pkgutil.iter_modules(__path__)]
)
