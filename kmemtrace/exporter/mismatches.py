"""Reads what broke the promise, by the cgroup that was charged, as many of these as may have series."""

from collections.abc import Callable, Mapping

from kmemtrace.exporter.label import label_of
from kmemtrace.exporter.series import OTHER
from kmemtrace.exporter.together import bytes_of
from kmemtrace.exporter.told import Reader, Told
from kmemtrace.model.enums import Confidence, MismatchClass
from kmemtrace.model.metric import Reading
from kmemtrace.model.metrics import Metric
from kmemtrace.model.mismatch import Mismatch
from kmemtrace.model.unseen import Unseen

_Kind = tuple[str, MismatchClass, Confidence]
"""The values of the labels: cgroup, class and confidence."""


def _found(told: Told) -> dict[_Kind, list[Mismatch]]:
    """Returns the mismatches by the labels of the series that tells of them.

    A class that can be judged is there, without any mismatch, before it is ever found, so that its first
    finding is an increase. The mismatches of a cgroup keep their series: an alert needs them longer than the
    cgroup lives.
    """
    found: dict[_Kind, list[Mismatch]] = {
        (OTHER, one, confidence): []
        for one in MismatchClass
        if Unseen(one) not in told.snapshot.unseen
        for confidence in Confidence
    }
    labels: set[str] = set()
    room = told.most_bytes
    for mismatch in sorted(told.snapshot.mismatches, key=lambda m: m.first_time):
        path = mismatch.charged_to or mismatch.uncharged_from or OTHER
        label = label_of(path)
        if path != OTHER and label not in labels:
            room -= bytes_of(label, path)
            if len(labels) < told.most_cgroups and room >= 0:
                labels.add(label)
        kind = (label if label in labels else OTHER, mismatch.mismatch_class, mismatch.confidence)
        found.setdefault(kind, []).append(mismatch)
    return found


def _sum(of: Callable[[Mismatch], int]) -> Reader:
    """Makes a reader that adds up a number of each mismatch."""

    def read(told: Told) -> Reading:
        return [(kind, sum(map(of, those))) for kind, those in _found(told).items()]

    return read


READERS: Mapping[Metric, Reader] = {
    Metric.MISMATCHES: _sum(lambda m: m.count),
    Metric.LOST_PAGES: _sum(lambda m: m.lost_pages),
}
