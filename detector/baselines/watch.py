"""Whether a share has risen: of the traces of a group in which something was slow, failed or cost much.

**A run.** Bernoulli CUSUM: each trace adds the logarithm of how much likelier it is if the share has risen than if it
is still the usual one, and the sum never falls below 0. At `evidence` it has risen, at the trace where the sum left 0.
The usual share is learned (a mean over the last traces, from a prior), so that a group which is slow in every fifth
trace anyway takes longer to convince than one that never was. **Suspects** are the traces that the sum stands on: they
are told when it has convinced, and forgotten when it is back at 0.

**An episode** lasts until the sum is back at 0, counted down against the share that the episode itself has shown.
Whatever happens in it belongs to it. A state is a value: what is stored is what goes on.
"""

import math
from typing import Final

import msgspec

from core.model.measurement import Measurement

# the share that is presumed of a group of which nothing is known, and how many traces that is worth
_PRIOR: Final = 0.05
_PRIOR_TRACES: Final = 20
# a share below it is not told from it in a few traces; one above it cannot rise enough to be seen
_LEAST: Final = 0.01
_MOST: Final = 0.6
# so that one quick call does not end an episode in which all were slow
_MOST_IN_EPISODE: Final = 0.95
# the mean of the share forgets beyond as many traces
_REMEMBERED: Final = 500
# what a value that its key has had before (in a hundredth of its calls) says for a run, compared with one that is new
_SEEN_BEFORE: Final = 0.5
# times the quantile of single values above which one is new: the quantile of a few hundred values is that uncertain
_NEW: Final = 1.5
# suspects kept: a run that takes longer to convince has enough to show with its last ones
_SUSPECTS: Final = 16
# what an episode shows of itself
_EVIDENCE: Final = 10
_RECENT: Final = 31


class Suspect(msgspec.Struct, frozen=True, array_like=True):
    """A measurement above its limit, with what was known of its key then."""

    measurement: Measurement
    value: float
    median: float
    usual: float
    observations: int
    is_told: bool = False
    """Whether it was a finding by itself."""


class Episode(msgspec.Struct, frozen=True, array_like=True):
    """A time in which a share, or a level, is higher than before."""

    operation: str
    began_ns: int
    before: float
    """The median, or the share, before it."""
    by_level: bool = False
    """Whether the level of `operation` shifted, rather than the share of the group."""
    rate: float = 0.75
    """Share in it, smoothed."""
    seen: int = 0
    members: int = 0
    after: float = 0.0
    """Of `by_level`: the level since."""
    recent: tuple[float, ...] = ()
    trace_ids: tuple[str, ...] = ()
    last_ns: int = 0


class Watch(msgspec.Struct, frozen=True, array_like=True):
    """What is known of one group."""

    seen: int = 0
    rate: float = _PRIOR
    evidence: float = 0.0
    run: tuple[bool, ...] = ()
    """Since the sum left 0: not in `rate` yet, which is what they are compared with."""
    suspects: tuple[Suspect, ...] = ()
    episode: Episode | None = None
    last_ns: int = 0
    """Start of the last trace of a run."""


def observed(
    watch: Watch, suspect: Suspect | None, *, at_ns: int, needed: float, risen_to: float, gap_ns: int
) -> Watch:
    """Return the watch after one trace of its group, `suspect` if that was high; no episode is begun or ended here.

    `at_ns` is when the trace started, `needed` caps the sum, `risen_to` is the share that a rise is tested against;
    a run that has a gap is none.
    """
    if suspect is None and watch.evidence == 0.0 and watch.episode is None:
        # nearly all of them
        weight = min(watch.seen, _REMEMBERED) + _PRIOR_TRACES + 1
        return Watch(watch.seen + 1, watch.rate - watch.rate / weight)
    if watch.run and watch.episode is None and at_ns - watch.last_ns > gap_ns:
        watch = learned(watch, watch.run)
    is_high = suspect is not None
    usual = min(max(watch.rate, _LEAST), _MOST)
    episode = watch.episode
    if episode is None:
        risen = risen_share(usual, risen_to)
    else:
        # a share that falls back makes the sum fall no slower than the rise that was tested for
        risen = min(max(episode.rate, risen_share(usual, risen_to)), _MOST_IN_EPISODE)
        episode = msgspec.structs.replace(
            episode, rate=episode.rate + (is_high - episode.rate) / 10, seen=episode.seen + 1
        )
    step = math.log((1 - risen) / (1 - usual))
    if suspect is not None:
        step = math.log(risen / usual) * (1.0 if suspect.value > _NEW * suspect.usual else _SEEN_BEFORE)
    evidence = min(max(watch.evidence + step, 0.0), needed)
    if episode is not None:
        return Watch(watch.seen, watch.rate, evidence, (), (), episode)
    if suspect is not None:
        suspects = (*watch.suspects, suspect)[-_SUSPECTS:]
        return Watch(watch.seen, watch.rate, evidence, (*watch.run, True)[-_REMEMBERED:], suspects, None, at_ns)
    if evidence:
        return Watch(watch.seen, watch.rate, evidence, (*watch.run, False)[-_REMEMBERED:], watch.suspects, None, at_ns)
    return learned(watch, (*watch.run, False))


def learned(watch: Watch, run: tuple[bool, ...]) -> Watch:
    """Return the watch with these traces in its share, and nothing suspected."""
    seen, rate = watch.seen, watch.rate
    for is_high in run:
        rate += (is_high - rate) / (min(seen, _REMEMBERED) + _PRIOR_TRACES + 1)
        seen += 1
    return Watch(seen, rate)


def risen_share(usual: float, least: float) -> float:
    """Return the share that a rise above the usual one is tested against: three times as much, at least `least`."""
    return max(least, min(3 * usual, (1 + usual) / 2))


def joined(episode: Episode, suspect: Suspect) -> Episode:
    """Return the episode with a trace that belongs to it."""
    m = suspect.measurement
    recent, trace_ids = episode.recent, episode.trace_ids
    if m.operation == episode.operation:
        recent = (*recent, suspect.value)[-_RECENT:]
    if m.trace_id not in trace_ids:
        trace_ids = (*trace_ids, m.trace_id)[:_EVIDENCE]
    return msgspec.structs.replace(
        episode,
        members=episode.members + 1,
        recent=recent,
        trace_ids=trace_ids,
        last_ns=max(episode.last_ns, m.ended_ns),
    )


def now_of(episode: Episode) -> float:
    """Return the level in the episode: the median of its last values, or the level that had shifted."""
    if episode.by_level or not episode.recent:
        return episode.after
    ordered = sorted(episode.recent)
    return ordered[len(ordered) // 2]
