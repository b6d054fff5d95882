"""The cascade: is its promise kept in two hundred calibrations, what does it cost, and where does it pay at all?"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from training.evaluate.committee.cascade_trials import (
    AIM_SHARE,
    DELTA,
    EPSILONS,
    IMAGES,
    MORE_EPSILONS,
    MOST_POOL,
    ROUTED_EVERY,
    SEED,
    Possible,
    Trials,
    possible,
    trials,
)
from training.evaluate.committee.pools import TaskPools
from training.evaluate.committee.sections import SHOTS, Run, best_fixed, read_as, task_unit
from training.evaluate.markdown import markdown_table, points

VERSION = "1"
TRIALS, MOST_BROKEN = 200, 27
"""A promise that is kept in nine of ten cases breaks more often than that in 4 % of such experiments."""
LEAST_TASKS = 3
LEAST_POOL = 500
"""Images. A smaller pool is worth a calibration in theory; nobody would believe what it says about exits."""


@dataclass(frozen=True)
class CascadeReport:
    """`backbones` with `gflops` per image; `best_fixed` is the best single one over all tasks. `tasks` holds every
    task, `trials` those that were calibrated, by epsilon and source; `trials_wanted` is how many per epsilon."""

    backbones: tuple[str, ...]
    gflops: tuple[float, ...]
    best_fixed: str
    delta: float
    trials_wanted: int
    tasks: tuple[Possible, ...]
    trials: tuple[Trials, ...]

    @property
    def epsilons(self) -> tuple[float, ...]:
        return tuple(sorted({each.epsilon for each in self.trials}))

    @property
    def gflops_best_fixed(self) -> float:
        return self.gflops[self.backbones.index(self.best_fixed)]

    def task(self, source: str) -> Possible:
        return next(each for each in self.tasks if each.source == source)

    def at(self, epsilon: float) -> tuple[Trials, ...]:
        return tuple(each for each in self.trials if each.epsilon == epsilon)

    def broken(self, epsilon: float) -> tuple[int, int]:
        """Calibrations that broke the promise, and all."""
        found = self.at(epsilon)
        return sum(each.broken for each in found), sum(len(each.disagreements) for each in found)

    def cost_share(self, epsilon: float, *, usually_right: bool) -> float | None:
        """Mean over tasks of the GFLOPs as a share of the full committee's; null without such tasks."""
        found = [each for each in self.at(epsilon) if self.task(each.source).usually_right or not usually_right]
        return float(np.mean([each.gflops for each in found]) / sum(self.gflops)) if found else None


def measure_cascade(pools: Sequence[TaskPools], run: Run, *, count: int = TRIALS) -> CascadeReport:
    """Every task's possibilities, then `count` calibrations per epsilon, shared among the tasks that `chosen` names."""
    first = [
        task_unit("cascade-possible", VERSION, task, (SHOTS, SEED, MOST_POOL, MORE_EPSILONS), partial(possible, task))
        for task in pools
    ]
    tasks = read_as(Possible, run(first))
    names = chosen(tasks)
    shares = dict(zip(names, _shared(count, len(names)), strict=True))
    second = [
        task_unit(
            f"cascade-{epsilon:g}",
            VERSION,
            task,
            (SHOTS, SEED, MOST_POOL, IMAGES, ROUTED_EVERY, DELTA, epsilon, shares[task.source]),
            partial(trials, task, epsilon, shares[task.source]),
        )
        for epsilon in EPSILONS
        for task in pools
        if shares.get(task.source)
    ]
    return CascadeReport(
        backbones=pools[0].backbones,
        gflops=pools[0].gflops,
        best_fixed=pools[0].backbones[best_fixed(pools)],
        delta=DELTA,
        trials_wanted=count,
        tasks=tasks,
        trials=read_as(Trials, run(second)),
    )


def chosen(tasks: Sequence[Possible]) -> tuple[str, ...]:
    """The sources whose committee is right more often than not, with the most accurate of the others where these are
    fewer than `LEAST_TASKS`; all with a pool of `LEAST_POOL`."""
    large = sorted((task for task in tasks if task.pool >= LEAST_POOL), key=lambda task: -task.accuracy_full)
    count = max(LEAST_TASKS, sum(task.usually_right for task in large))
    return tuple(sorted(task.source for task in large[:count]))


def _shared(count: int, tasks: int) -> list[int]:
    return [count // tasks + (place < count % tasks) for place in range(tasks)]


def cascade_table(report: CascadeReport) -> str:
    """The promise, the calibrated tasks, and what all tasks would need."""
    parts = [_explained(report), *promises(report)]
    text = "\n".join([parts[0], "", *parts[1:]])
    return "\n\n".join([text, _trials_table(report), _needs_explained(), _needs_table(report)])


def promises(report: CascadeReport) -> list[str]:
    """By epsilon, as items of a list: whether the promise was kept, and what the cascade costs."""
    return [_verdict(report, epsilon) for epsilon in report.epsilons]


def _explained(report: CascadeReport) -> str:
    return (
        f"For each epsilon {report.trials_wanted} calibrations of {IMAGES:,} images, shared among the tasks whose "
        f"committee is right more often than not (marked; filled up to {LEAST_TASKS} tasks by the most accurate "
        f"others). Images are drawn with replacement from the task's calibrate and test images, and the risk is "
        f"measured on all of these. The committee speaks through the ladder's pick from {SHOTS} shots. Every "
        f"{ROUTED_EVERY}th calibration looked for a router besides. The best fixed backbone is `{report.best_fixed}`."
    )


def _verdict(report: CascadeReport, epsilon: float) -> str:
    broken, count = report.broken(epsilon)
    kept = "kept" if broken <= MOST_BROKEN * count / TRIALS else "**broken**"
    lines = f"- ε = {epsilon:.0%}, δ = {report.delta:.0%}: {broken} of {count} calibrations exceed ε "
    lines += f"(at most {MOST_BROKEN} of {TRIALS} may): {kept}."
    share = report.cost_share(epsilon, usually_right=True)
    if share is None:
        return f"{lines} On no task is the committee right more often than not."
    lines += f" Where the committee is right more often than not it costs {points(share)} % of the full one"
    if epsilon != EPSILONS[-1]:
        return f"{lines}."
    return f"{lines} (aim: at most {AIM_SHARE:.0%}; {'reached' if share <= AIM_SHARE else '**missed**'})."


def _trials_table(report: CascadeReport) -> str:
    header = ["ε", "task", "calibrations", "exceed ε", "changed answers: mean, 90th percentile", "full committee"]
    header += [f"cascade, accuracy (`{report.best_fixed}`)", "GFLOPs", "of the full committee", "of the best fixed"]
    header += [f"leave after {asked}" for asked in range(1, len(report.backbones) + 1)] + ["most often begins"]
    return markdown_table(header, [_trials_row(report, each) for each in report.trials])


def _trials_row(report: CascadeReport, each: Trials) -> list[str]:
    task = report.task(each.source)
    high = float(np.quantile(each.disagreements, 0.9))
    return [
        f"{each.epsilon:.0%}",
        f"{each.source}{' ✓' if task.usually_right else ''}",
        f"{len(each.disagreements)}",
        f"{each.broken}",
        f"{100 * float(np.mean(each.disagreements)):.2f}, {100 * high:.2f}",
        points(task.accuracy_full),
        f"{points(each.accuracy)} ({points(task.accuracies[report.best_fixed])})",
        f"{each.gflops:.4f}",
        f"{points(each.gflops / sum(report.gflops))} %",
        f"{points(each.gflops / report.gflops_best_fixed)} %",
        *(points(share) for share in each.exits),
        f"`{next(iter(each.first))}`",
    ]


def _needs_explained() -> str:
    return (
        "What would be needed, task by task, if calibration images were without end (thresholds chosen on the whole "
        "pool): the share of the full committee's GFLOPs at each ε, and the least ε at which it falls to "
        f"{AIM_SHARE:.0%}. Agreement is the share of images that the cheapest backbones, so many of them, answer as "
        "all do."
    )


def _needs_table(report: CascadeReport) -> str:
    full = sum(report.gflops)
    asked = range(1, len(report.backbones))
    header = ["task", "new about it", "images", "voice", "committee right", *(f"agreement of {k}" for k in asked)]
    wanted = [place for place, epsilon in enumerate(MORE_EPSILONS) if epsilon in (0.02, 0.05, 0.1, 0.2)]
    header += [f"GFLOPs at ε {MORE_EPSILONS[place]:.0%}" for place in wanted] + [f"ε for {AIM_SHARE:.0%}"]
    rows = []
    for task in report.tasks:
        aim = "never" if task.epsilon_for_aim is None else f"{task.epsilon_for_aim:.1%}"
        rows.append([f"{task.source}{' ✓' if task.usually_right else ''}", task.novelty, f"{task.pool:,}", task.voice])
        rows[-1] += [points(task.accuracy_full), *(points(share) for share in task.agreement[:-1])]
        rows[-1] += [*(f"{points(task.gflops[place] / full)} %" for place in wanted), aim]
    return markdown_table(header, rows)
