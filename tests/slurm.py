"""A real Slurm on this machine, and a study through it: `make test-slurm`.

Starts munge, the controller and one node in a folder of their own, as root and beside whatever runs
here; runs a small study; takes one job away in the middle, as a preemption does, and has another
one run into the signal of its time limit; sees both queued again, go on and end; and kills a third.
"""

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CONFIGURATION = """
ClusterName=diffprobe
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={node}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket,cred_expire=5
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
JobRequeue=1
KillWait=60
MpiDefault=none
ReturnToService=2
SwitchType=switch/none
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus}
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""

GRID = """
question = "Does a study go on when its jobs are taken away?"
base = "hypercube-mlp"
seeds = 3
measures = ["loss"]

[fixed]
"grammar.length" = 4
"images.grid" = [2, 2]
"network.width" = 8
"training.steps" = 8000
"training.batch_size" = 8
"training.checkpoints" = 2
"training.validation_size" = 8
"training.save_every" = 8000
"training.log_every" = 8000
"""
STEPS = 8000


@contextmanager
def slurm(folder: Path) -> Iterator[None]:
    """Run munge, slurmctld and slurmd in a folder, for commands of this process."""
    for name in ("munge", "state", "spool"):
        (folder / name).mkdir(mode=0o700)
    key = folder / "munge" / "key"
    key.write_bytes(secrets.token_bytes(1024))
    key.chmod(0o400)
    configuration = folder / "slurm.conf"
    configuration.write_text(
        CONFIGURATION.format(
            host=socket.gethostname().partition(".")[0],
            folder=folder,
            controller=free_port(),
            node=free_port(),
            cpus=len(os.sched_getaffinity(0)),
        )
    )
    os.environ["SLURM_CONF"] = str(configuration)
    munge = [f"--{name}-file={folder}/munge/{name}" for name in ("key", "log", "pid", "seed")]
    programs = [
        ["munged", "--foreground", "--force", f"--socket={folder}/munge/socket", *munge],
        ["slurmctld", "-D", "-c"],
        ["slurmd", "-D", "-c"],
    ]
    going = []
    try:
        for program in programs:
            going.append(subprocess.Popen(program, stderr=subprocess.DEVNULL))
            time.sleep(1)
        until(lambda: "idle" in said("sinfo", "--noheader", "--format=%T"), "no node came up")
        yield
    finally:
        for process in reversed(going):
            process.terminate()
            process.wait(30)


def free_port() -> int:
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        port: int = opened.getsockname()[1]
        return port


def said(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def until(true: Callable[[], Any], otherwise: str, seconds: float = 300) -> Any:
    end = time.monotonic() + seconds
    while not (found := true()):
        if time.monotonic() > end:
            raise SystemExit(f"slurm: {otherwise} in {seconds:.0f} seconds")
        time.sleep(0.2)
    return found


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="diffprobe-slurm-") as name:
        folder = Path(name)
        with slurm(folder):
            study(folder)


def study(folder: Path) -> None:
    (folder / "mine.toml").write_text(GRID)
    driver = subprocess.Popen(
        [sys.executable, "-m", "diffprobe", "study", "run", "mine.toml", "--cluster", "slurm",
         "--device", "cpu", "--cluster-set", "timeout_min=30"],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    try:
        runs = until(lambda: _training(folder, 2), "two jobs did not begin to train")
        first, second, third = sorted(said("squeue", "--noheader", "--format=%i").split())
        print(f"slurm: jobs {first} and {second} are training")
        # What the scheduler does to a job that has to make room: SIGTERM, and queued again.
        subprocess.run(["scontrol", "requeue", first], check=True)
        # What a job gets before its time limit: submitit's signal, and it queues itself again.
        subprocess.run(["scancel", f"--signal={signal.SIGUSR2.name[3:]}", second], check=True)
        for job in (first, second):
            until(lambda job=job: _restarts(job) >= 1, f"job {job} was not queued again")
            print(f"slurm: job {job} was queued again")
        until(lambda: all(_steps(run) > 0 for run in runs), "a job had not saved")
        print(f"slurm: saved at steps {[_steps(run) for run in runs]} of {STEPS}")
        # As where memory runs out: no result, and nobody who asks for the job again.
        until(lambda: "RUNNING" in said("squeue", "--noheader", "--format=%T", "--jobs", third), "")
        until(lambda: _training(folder, 3), "the third job did not begin to train")
        subprocess.run(["scancel", "--signal=KILL", third], check=True)
        code = driver.wait(600)
    finally:
        if driver.poll() is None:
            driver.terminate()
            driver.wait()
    cells = json.loads((folder / "runs/studies/mine/cells.json").read_text())["cells"]
    errors = [cell["outcome"]["error"] for cell in cells]
    told = [error for error in errors if error]
    if code != 1 or len(told) != 1 or f"job {third} ended without a result" not in told[0]:
        raise SystemExit(f"slurm: the study ended with {code}, {errors}")
    if [_steps(run) for run in runs] != [STEPS, STEPS]:
        raise SystemExit(f"slurm: {[_steps(run) for run in runs]} steps are done of {STEPS}")
    print("slurm: two went on where they had saved, and ended; of the third:", told[0])


def _training(folder: Path, n: int) -> list[Path] | None:
    runs = [path.parent for path in folder.glob("runs/cells/*/config.json")]
    return runs if len(runs) == n else None


def _restarts(job: str) -> int:
    told = said("scontrol", "show", "job", job)
    return int(told.partition("Restarts=")[2].split()[0]) if "Restarts=" in told else 0


def _steps(run: Path) -> int:
    from diffprobe.training.run_folder import RunFolder

    return RunFolder(run).steps_done()


if __name__ == "__main__":
    main()
