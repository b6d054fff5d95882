"""From single units to groups of equal fits: which of them count, and what was tried for their rates."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from training.adapters.pack import Pack
from training.evaluate.adapters.bench import LOST
from training.evaluate.adapters.grid import TUNING_SEED, UNIONS, Rates, chosen_rates
from training.evaluate.adapters.plans import rate_like
from training.evaluate.adapters.report import Group, SourceFacts, Tried
from training.evaluate.adapters.units import Result

Place = tuple[str, str, int, int]
"""Label, training set, epochs, batch size."""


def source_facts(pack: Pack) -> dict[str, SourceFacts]:
    """Every source that has test rows in `pack`."""
    pictures: dict[str, int] = defaultdict(int)
    captions: dict[str, set[str]] = defaultdict(set)
    for row in pack.rows:
        if row.split == "test":
            pictures[row.source] += 1
            captions[row.source].update(text.lower() for text in row.captions)
    return {
        source: SourceFacts(pictures[source], len(captions[source]), len(pack.classes.get(source, ())))
        for source in sorted(pictures)
    }


def rates_tried(results: Iterable[Result]) -> tuple[Tried, ...]:
    """All fits by which rates are chosen."""
    found: dict[tuple[str, str, int], dict[float, float | None]] = defaultdict(dict)
    for result in results:
        if result.seed == TUNING_SEED:
            loss = None if result.calibrate >= LOST else result.calibrate
            found[result.label, result.fitted, result.epochs][result.rate] = loss
    return tuple(Tried(*place, rates=tuple(sorted(rates.items()))) for place, rates in found.items())


def grouped(results: Sequence[Result]) -> tuple[Group, ...]:
    """Fits that differ in their seed alone. Where a design was fitted under several rates, those count that were made
    under the rate chosen since; where one seed was computed twice, the later unit counts for what it was tested on."""
    rates = chosen_rates(results)
    places: dict[Place, list[Result]] = defaultdict(list)
    for result in results:
        if result.seed != TUNING_SEED:
            places[result.label, result.fitted, result.epochs, result.batch_size].append(result)
    return tuple(_group(_of_one_rate(found, rates)) for found in places.values())


def _of_one_rate(found: Sequence[Result], rates: Rates) -> list[Result]:
    """Those of the chosen rate; without one, those of the rate that has most seeds."""
    first = found[0]
    made: dict[float, list[Result]] = defaultdict(list)
    for result in found:
        made[result.rate].append(result)
    union = first.fitted if first.fitted in UNIONS else "reserved"
    for like in rate_like(first.label):
        rate = rates.get((like, union, first.epochs))
        if rate in made:
            return made[rate]
    return max(made.values(), key=lambda each: len({result.seed for result in each}))


def _group(found: Sequence[Result]) -> Group:
    by_seed: dict[int, Result] = {}
    for result in found:
        before = by_seed.get(result.seed)
        scores = {} if before is None else before.scores
        by_seed[result.seed] = replace(result, scores=scores | result.scores)
    last = found[-1]
    whole = [by_seed[seed] for seed in sorted(by_seed) if by_seed[seed].scores]
    return Group(
        label=last.label,
        fitted=last.fitted,
        epochs=last.epochs,
        batch_size=last.batch_size,
        rate=last.rate if last.steps else None,
        seeds=tuple(result.seed for result in whole),
        lost=len(by_seed) - len(whole),
        added=sum(last.added.values()),
        share=last.share,
        calibrate=tuple(result.calibrate for result in whole),
        scores=_scores([result.scores for result in whole]),
        seconds=sum(result.seconds for result in found) / len(found),
        machines=tuple(sorted({result.machine for result in found})),
    )


def _scores(scores: Sequence[Mapping[str, Mapping[str, float]]]) -> dict[str, dict[str, tuple[float, ...]]]:
    """By source and metric, one value per fit; sources on which every fit was tested."""
    if not scores:
        return {}
    common = [source for source in scores[0] if all(source in each for each in scores)]
    return {
        source: {metric: tuple(each[source][metric] for each in scores) for metric in scores[0][source]}
        for source in common
    }
