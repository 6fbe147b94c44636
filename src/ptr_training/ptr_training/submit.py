"""`ptr submit`: any command of `ptr` as jobs of a Slurm cluster, or of this computer.

The jobs are those of the library submitit: a folder holds what was submitted and the output of
each job. In the arguments of the command `{job}` stands for the number of the job, from 0, and
`{jobs}` for their count, so that one submission reads the shards of an import, or trains the
seeds of a study. Every command of ours goes on where it was stopped, so what a time limit has
ended is submitted once more.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ptr_common.arguments import VerbParser, positive_int, whole_number
from ptr_common.errors import PtrError
from ptr_common.process.ptr_program import ptr_program

from .errors import TrainingError

POLL = 0.5
"""Time between two looks at the state of the jobs [s]."""

CLUSTERS = ("slurm", "local")


def main(argv: list[str]) -> int:
    """Run a command of ptr as jobs of a Slurm cluster, or of this computer."""
    ours, command = _split(argv)
    options = _parser().parse_args(ours)
    commands = [_command(command, number, options) for number in range(options.jobs)]
    executor = _executor(options)
    if options.cluster == "local":
        return _run_here(executor, commands, options.at_once or os.cpu_count() or 1)
    jobs = _submit(executor, commands)
    return _wait(jobs, len(jobs)) if options.wait else 0


def run_command(words: Sequence[str]) -> None:
    """Run the command of a job, with its output as the job's.

    Raises:
        PtrError: If it fails.
    """
    status = subprocess.run(words, check=False).returncode
    if status:
        raise PtrError(f"`{_shown(words)}` ended with status {status}")


def _split(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the options of `ptr submit`, and the command after `--`."""
    arguments = list(argv)
    if "--" not in arguments:
        return arguments, []
    place = arguments.index("--")
    return arguments[:place], arguments[place + 1 :]


def _parser() -> VerbParser:
    parser = VerbParser(
        "submit",
        main.__doc__,
        usage="ptr submit [OPTIONS] -- VERB ARGUMENTS…",
        epilog="in ARGUMENTS {job} stands for the number of the job, {jobs} for their count:\n"
        "ptr submit --jobs 16 -- import rlds DATA --out data/bridge --shard {job}/{jobs}",
    )
    parser.add_argument(
        "--cluster", choices=CLUSTERS, default="slurm", help="where the jobs run"
    )
    parser.add_argument("--jobs", type=positive_int, default=1, help="number of jobs")
    parser.add_argument(
        "--at-once",
        type=whole_number(0),
        default=0,
        help="jobs that run at the same time; 0: as many as the cluster has room for, and one "
        "for each core of this computer",
    )
    parser.add_argument(
        "--folder",
        type=Path,
        default=Path("runs/submitted"),
        help="folder of what is submitted and of the output; the cluster must share it",
    )
    parser.add_argument(
        "--minutes", type=positive_int, default=60, help="longest time of a job"
    )
    parser.add_argument("--cpus", type=positive_int, default=1, help="cores of a process")
    parser.add_argument("--gpus", type=whole_number(0), default=0, help="GPUs of a job")
    parser.add_argument(
        "--memory", type=positive_int, default=8, metavar="GB", help="memory of a job [GB]"
    )
    parser.add_argument(
        "--processes",
        type=positive_int,
        default=1,
        help="processes of a job, which share each batch (torchrun); more than 1 is for "
        "pretrain and finetune",
    )
    parser.add_argument("--partition", help="partition of Slurm (default: the cluster's)")
    parser.add_argument("--account", help="account of Slurm (default: the user's)")
    parser.add_argument(
        "--wait",
        action="store_true",
        help="wait for the jobs, and fail if one of them does (default: with "
        "--cluster local only)",
    )
    return parser


def _command(command: Sequence[str], number: int, options: argparse.Namespace) -> list[str]:
    """Return the words of a job's command.

    Raises:
        TrainingError: If there is none, or `{…}` in it stands for nothing.
    """
    if not command:
        raise TrainingError(
            "no command to submit; it stands behind --, as in `ptr submit -- pretrain …`"
        )
    words = [
        word.replace("{job}", str(number)).replace("{jobs}", str(options.jobs))
        for word in command
    ]
    return [*ptr_program(options.processes), *words]


def _executor(options: argparse.Namespace) -> Any:
    """Return the executor of submitit that the options describe.

    Raises:
        TrainingError: If Slurm is not there.
    """
    import submitit

    if options.cluster == "slurm" and shutil.which("sbatch") is None:
        raise TrainingError(
            "--cluster is slurm, and this computer has no command sbatch; submit on a machine "
            "of the cluster, or use --cluster local"
        )
    executor = submitit.AutoExecutor(options.folder, cluster=options.cluster)
    executor.update_parameters(
        name="ptr",
        timeout_min=options.minutes,
        cpus_per_task=options.cpus * options.processes,
        gpus_per_node=options.gpus,
        mem_gb=options.memory,
    )
    if options.cluster == "slurm":
        executor.update_parameters(slurm_array_parallelism=options.at_once or options.jobs)
        for name in ("partition", "account"):
            if value := getattr(options, name):
                executor.update_parameters(**{f"slurm_{name}": value})
    return executor


def _submit(executor: Any, commands: Sequence[Sequence[str]]) -> list[Any]:
    """Submit a job for each command at once, and return the jobs.

    Raises:
        TrainingError: If Slurm refuses.
    """
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    try:
        jobs = executor.map_array(run_command, commands)
    except (FailedJobError, FailedSubmissionError, OSError) as error:
        raise TrainingError(f"Slurm refused the jobs: {error}") from error
    for job, words in zip(jobs, commands, strict=True):
        _print_submitted(job, words)
    return list(jobs)


def _print_submitted(job: Any, words: Sequence[str]) -> None:
    tqdm.write(f"{job.job_id}: {_shown(words)}   > {job.paths.stdout}")


def _run_here(executor: Any, commands: Sequence[Sequence[str]], at_once: int) -> int:
    """Run jobs on this computer, so many at a time; return the exit status."""
    started: list[Any] = []

    def start_more(running: int) -> list[Any]:
        """Start and return as many jobs as there is room for."""
        first = len(started)
        for words in commands[first : first + at_once - running]:
            started.append(executor.submit(run_command, words))
            _print_submitted(started[-1], words)
        return started[first:]

    try:
        return _wait([], len(commands), start_more)
    finally:
        for job in started:
            if not job.done():
                job.cancel()


def _wait(
    running: list[Any],
    total: int,
    start_more: Callable[[int], list[Any]] = lambda _: [],
) -> int:
    """Wait for jobs; return the exit status.

    Args:
        running: Those that run already.
        total: Number of jobs in all.
        start_more: Starts and returns further ones, given how many run.
    """
    failed = 0
    with tqdm(total=total, unit="job", desc="submit") as bar:
        while running := running + start_more(len(running)):
            running, new_failures = _look(running, bar)
            failed += new_failures
            time.sleep(POLL)
    return int(failed > 0)


def _look(jobs: Sequence[Any], bar: tqdm[Any]) -> tuple[list[Any], int]:
    """Return the jobs that still run, and how many have failed; name those that failed."""
    running = []
    failed = 0
    for job in jobs:
        if not job.done():
            running.append(job)
            continue
        bar.update()
        if job.exception() is not None:
            failed += 1
            bar.write(f"{job.job_id} failed: see {job.paths.stdout} and {job.paths.stderr}")
    return running, failed


def _shown(words: Sequence[str]) -> str:
    """Return a job's command as a user would type it."""
    return f"ptr {shlex.join(words[list(words).index('ptr_common.cli') + 1 :])}"
