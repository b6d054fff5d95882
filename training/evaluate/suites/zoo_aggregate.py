"""The zoo's means over tasks."""

from collections.abc import Sequence
from itertools import combinations

from service.repository import Zoo
from training.evaluate.aggregate import Measured, choice, mean_difference, mean_score
from training.evaluate.suites.zoo_report import Aggregate, Committee, TaskReport

ALL_LABELLED = "labelled tasks"
EVERYTHING = "labelled tasks and retrieval"
POLICIES = ("mean", "mean_logit", "vote")

Pairs = Sequence[tuple[TaskReport, Measured]]


def pair_name(first: str, second: str) -> str:
    """Under which the probability mean of two backbones is kept, in either order."""
    return " + ".join(sorted((first, second)))


def groups_of(pairs: Pairs, names: Sequence[str]) -> tuple[Aggregate, ...]:
    """All labelled tasks, those of each novelty, and all with the retrieval sets; empty groups are left out."""
    labelled = [pair for pair in pairs if pair[0].classes is not None]
    groups = {ALL_LABELLED: labelled}
    for novelty in dict.fromkeys(report.novelty for report, _ in labelled):
        groups[novelty] = [pair for pair in labelled if pair[0].novelty == novelty]
    if len(labelled) < len(pairs):
        groups[EVERYTHING] = list(pairs)
    return tuple(aggregate(group, [m for _, m in members], names) for group, members in groups.items() if members)


def aggregate(group: str, tasks: Sequence[Measured], names: Sequence[str]) -> Aggregate:
    """One group of tasks. names: of the backbones."""
    chosen = choice(tasks, names)
    policies = [policy for policy in POLICIES if all(policy in task.values for task in tasks)]
    return Aggregate(
        group=group,
        tasks=tuple(task.task for task in tasks),
        choice=chosen,
        backbones={name: mean_score(tasks, name) for name in names},
        committees={policy: mean_score(tasks, policy) for policy in policies},
        over_best_fixed={policy: mean_difference(tasks, policy, chosen.best_fixed) for policy in policies},
        oracle=mean_score(tasks, "oracle"),
        oracle_shuffled=mean_score(tasks, "oracle_shuffled").value,
    )


def committees_by_cost(zoo: Zoo, labelled: Sequence[Measured]) -> tuple[Committee, ...]:
    """The probability mean of every two backbones, and the full committee under each policy; none without tasks."""
    if not labelled:
        return ()
    backbones = zoo.backbones
    pairs = combinations(backbones, 2) if len(backbones) > 2 else ()
    found = [
        Committee((a.name, b.name), "mean", a.gflops + b.gflops, mean_score(labelled, pair_name(a.name, b.name)))
        for a, b in pairs
    ]
    full = [Committee(zoo.names, policy, zoo.gflops, mean_score(labelled, policy)) for policy in POLICIES]
    return (*found, *full)
