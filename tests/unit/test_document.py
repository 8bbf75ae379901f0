"""The JSON contract: docs/top.schema.json describes every document that is printed."""

import dataclasses
import json
from pathlib import Path

import jsonschema
import pytest

from kmemtrace.model.document import document
from kmemtrace.model.enums import Confidence, MismatchClass, SiteKind
from kmemtrace.model.histogram import Histogram
from kmemtrace.model.mismatch import Mismatch
from kmemtrace.model.snapshot import Allocations, Snapshot
from tests.sample import LIFETIMES, busy, cgroup, counted, followed, site, snapshot

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "top.schema.json").read_text())

FULL = dataclasses.replace(
    busy(),
    cgroups=(
        dataclasses.replace(
            cgroup("/full", (site(7),), dead=True, oldest=1.0, lifetime=Histogram.of([1 << 60])),
            failed_by_errno={"ENOMEM": 7},
            explicit_pages=4,
            reclaim_stalls=1,
            reclaim_stall_seconds=0.5,
            reparented_to="/",
            kernel_pages_change=-3,
            mismatches={MismatchClass.LOST_UNCHARGE: 1},
        ),
    ),
    allocations=(Allocations(True, 3, LIFETIMES),),
    charge_share=0.25,
    mismatches=(
        Mismatch(
            MismatchClass.LOST_UNCHARGE,
            Confidence.SUSPECT,
            0xFFFFEA0004,
            0,
            "/a",
            None,
            ("a+0x1",),
            (),
            "sh",
            7,
            1.0,
        ),
    ),
)
POOR = dataclasses.replace(
    snapshot(cgroup("(id 7)", (), lifetime=Histogram.empty())),
    preexisting_pages=None,
    own_bytes=None,
    losses=dataclasses.replace(busy().losses, recursion_misses=None),
)


@pytest.mark.parametrize(
    "of",
    [busy(), FULL, POOR, snapshot(), counted(), followed()],
    ids=["busy", "full", "poor", "empty", "counted", "followed"],
)
def test_every_document_is_as_the_schema_says(of: Snapshot) -> None:
    through_json = json.loads(json.dumps(document(of), allow_nan=False))
    jsonschema.Draft202012Validator(SCHEMA).validate(through_json)


def test_the_schema_itself() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    spoilt = document(busy()) | {"another": 1}
    with pytest.raises(jsonschema.ValidationError, match="another"):
        jsonschema.Draft202012Validator(SCHEMA).validate(spoilt)


def test_the_schema_knows_every_kind_of_call_site() -> None:
    sites = SCHEMA["$defs"]["cgroup"]["properties"]["sites"]
    assert sites["items"]["properties"]["kind"]["enum"] == [kind.value for kind in SiteKind]


def test_the_schema_knows_every_class_of_mismatch() -> None:
    classes = SCHEMA["$defs"]["mismatch"]["properties"]["class"]["enum"]
    assert classes == [one.value for one in MismatchClass]


def test_what_is_not_known_is_absent_and_never_zero() -> None:
    poor = document(POOR)
    assert {"preexisting_pages", "own_bytes", "allocations", "charge_share"}.isdisjoint(poor)
    assert "recursion_misses" not in poor["losses"]
    assert {"oldest_seconds", "explicit_pages", "failed_by_errno"}.isdisjoint(poor["cgroups"][0])


@pytest.mark.parametrize("of", [busy(), FULL])
def test_pages_balance(of: Snapshot) -> None:
    for row in document(of)["cgroups"]:
        assert row["held_pages"] == row["charged_pages"] - row["uncharged_pages"]
        assert row["held_bytes"] == 4096 * row["held_pages"]
