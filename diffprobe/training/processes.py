"""The processes that train one network together, as torchrun starts them.

Each draws the whole batch of a step and keeps a part of it: what is trained on does not depend on
how many they are. Their gradients are averaged by DistributedDataParallel. The first one writes;
whether they go on, stop or fail is decided by all, at the same step.
"""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache

import torch
import torch.distributed as dist
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import Tensor

from diffprobe.foundations.devices import resolve_device
from diffprobe.foundations.errors import DiffprobeError, ProcessError, UsageError


def make_accelerator(device: str, mixed_precision: str, *, compiled: bool = False) -> Accelerator:
    """Return an accelerator for a training of its own; it may compile the network.

    Raises:
        UsageError: If there is no such device, it is one and several processes need more, or
            nothing is there to compile with.
    """
    # accelerate keeps one state a process and refuses a second device or precision.
    AcceleratorState._reset_state(reset_partial_state=True)
    chosen = resolve_device(device)
    if compiled and chosen.type == "cpu":
        _check_compiler()
    accelerator = Accelerator(
        cpu=chosen.type == "cpu",
        mixed_precision=mixed_precision,
        dynamo_backend="inductor" if compiled else "no",
    )
    if chosen.index is not None:
        if accelerator.num_processes > 1:
            raise UsageError(
                f"device {device!r} is one, and {accelerator.num_processes} processes take one "
                f"each: ask for {chosen.type!r}"
            )
        accelerator.state.device = chosen
        if chosen.type == "cuda":
            torch.cuda.set_device(chosen)
    return accelerator


def _check_compiler() -> None:
    # As PyTorch finds it.
    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler) is None:
        raise UsageError(
            f"training.compile needs a C++ compiler, and there is no {compiler}: install g++, "
            "or name one in CXX"
        )


class Processes:
    """All processes of a training, seen from one of them.

    Args:
        accelerator: Of this process.
        batch_size: Of a step, over all of them.

    Attributes:
        count: How many there are.
        rank: Which one this is, from 0.

    Raises:
        UsageError: If the batch cannot be divided among them.
    """

    def __init__(self, accelerator: Accelerator, batch_size: int) -> None:
        self.rank: int = accelerator.process_index
        self.count: int = accelerator.num_processes
        if batch_size % self.count:
            raise UsageError(
                f"training.batch_size={batch_size} is the batch of all processes, and does not "
                f"divide among {self.count}: choose a multiple of {self.count}"
            )
        self._group = _group() if self.count > 1 else None

    @property
    def is_main(self) -> bool:
        """Whether this is the one that writes."""
        return self.rank == 0

    def part(self, batch: Tensor) -> Tensor:
        """Return the rows of a step's batch that are this process's."""
        return batch if self.count == 1 else batch.chunk(self.count)[self.rank]

    def mean(self, values: Tensor) -> Tensor:
        """Return the mean over the processes, on the CPU."""
        if self.count == 1:
            return values
        total = values.cpu()
        dist.all_reduce(total, group=self._group)
        return total / self.count

    def most(self, number: int) -> int:
        """Return the largest of the numbers that the processes give."""
        if self.count == 1:
            return number
        largest = torch.tensor(number)
        dist.all_reduce(largest, dist.ReduceOp.MAX, group=self._group)
        return int(largest)

    def as_main_says(self, answer: bool) -> bool:
        """Return the answer of the first process, whatever the others found."""
        return bool(self.most(int(self.is_main and answer)))

    def check_equal(self, tensors: Sequence[Tensor], step: int) -> None:
        """Raise ProcessError unless all processes have the same weights, bit for bit."""
        if self.count == 1:
            return
        ours = torch.tensor([step, *_sums(tensors).tolist()])
        all_of_them = [torch.empty_like(ours) for _ in range(self.count)]
        dist.all_gather(all_of_them, ours, group=self._group)
        for rank, theirs in enumerate(all_of_them):
            if not torch.equal(theirs, all_of_them[0]):
                raise ProcessError(
                    f"process {rank} has other weights after step {int(theirs[0]):,} than process "
                    f"0 after step {int(all_of_them[0][0]):,}; training stopped, and the last "
                    "checkpoint stays. All processes need the same run folder, kind of device and "
                    "versions"
                )

    @contextmanager
    def agreeing(self) -> Iterator[None]:
        """Leave the block together: an error in one process is an error in all.

        Raises:
            ProcessError: Where another process failed and this one did not.
        """
        failure: Exception | None = None
        try:
            yield
        except Exception as error:
            if self.count == 1:
                raise
            failure = error
        if self.count == 1:
            return
        told: list[tuple[str, int] | None] = [None] * self.count
        code = failure.exit_code if isinstance(failure, DiffprobeError) else 1
        dist.all_gather_object(told, failure and (str(failure), code), group=self._group)
        if failure is not None:
            raise failure
        for rank, reason in enumerate(told):
            if reason is not None:
                raise ProcessError(f"process {rank}: {reason[0]}", reason[1])

    @contextmanager
    def connected(self) -> Iterator[None]:
        """Say in the program's words that another process is gone.

        Raises:
            ProcessError: If one ended, or could not be reached.
        """
        try:
            yield
        except RuntimeError as error:
            if self.count == 1 or not (isinstance(error, dist.DistError) or "gloo" in str(error)):
                raise
            raise ProcessError(
                "another process of this training ended; the last save stays, and the same "
                "command goes on from there"
            ) from error


@cache
def _group() -> dist.ProcessGroup:
    # What is told between steps is on the CPU, wherever they compute.
    group: dist.ProcessGroup = dist.new_group(backend="gloo")
    return group


def _sums(tensors: Sequence[Tensor]) -> Tensor:
    """The sum of each tensor's numbers, each read as an integer: (tensors,) long."""
    integers = {8: torch.int64, 4: torch.int32, 2: torch.int16, 1: torch.int8}
    return torch.stack([t.detach().view(integers[t.element_size()]).sum() for t in tensors])
