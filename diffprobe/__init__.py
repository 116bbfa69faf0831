"""diffprobe: a diffusion hallucination probe toolkit.

What most people need is here, and imported when it is first used:

    import diffprobe

    config = diffprobe.resolve(preset="demo")
    run = diffprobe.train(config, "runs/demo")
    subject = diffprobe.open_subject("runs/demo")
    print(*diffprobe.run_probes(subject).lines(), sep="\\n")
"""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
