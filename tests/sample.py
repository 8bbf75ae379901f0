"""Snapshots as they come from a busy container host, for the tests of what shows them."""

import dataclasses
import zlib

from kmemtrace.cgroups.labels import label
from kmemtrace.model.account import Account, CacheUse, CensusInfo, added_caches
from kmemtrace.model.census import Counted, Joiner, row_of
from kmemtrace.model.enums import CgroupState, Confidence, Exemption, MismatchClass, SiteKind, Tier
from kmemtrace.model.histogram import Histogram
from kmemtrace.model.losses import Losses, MapFill
from kmemtrace.model.mismatch import Mismatch
from kmemtrace.model.objects import ObjectSite
from kmemtrace.model.snapshot import Cgroup, CgroupKey, Gone, Site, Snapshot
from kmemtrace.model.unseen import Unseen

POD = (
    "/kubepods.slice/kubepods-burstable.slice"
    "/kubepods-burstable-pod8a7f2c31_4c1e_4a77_9d0b_5a0c2f1e77aa.slice"
)
CONTAINER = f"{POD}/cri-containerd-{'4f2a9c1b03de' * 5}4f2a.scope"
NGINX = "/system.slice/nginx.service"

PIPE_STACK = (
    "__alloc_frozen_pages_noprof+0x2e9",
    "alloc_pages_noprof+0x4b",
    "anon_pipe_write+0x18e",
    "vfs_write+0x2d1",
    "ksys_write+0x6f",
    "do_syscall_64+0x82",
)
TABLE_STACK = (
    "__alloc_frozen_pages_noprof+0x2e9",
    "pte_alloc_one+0x1c",
    "__pte_alloc+0x21",
    "handle_mm_fault+0x9c",
)

_BEGAN, _WATCHED = 1_779_999_998.0, 2.0
LIFETIMES = Histogram.of([5_000] * 90 + [2_000_000] * 9 + [7_000_000_000])


def site(
    charged: int,
    uncharged: int = 0,
    kind: SiteKind = SiteKind.PIPE,
    symbol: str = "anon_pipe_write",
    stack: tuple[str, ...] = PIPE_STACK,
) -> Site:
    return Site(kind, symbol, stack, charged, uncharged)


def cgroup(
    path: str,
    sites: tuple[Site, ...] = (),
    *,
    id: int = 0,  # noqa: A002 the model's word
    dead: bool = False,
    failed: int = 0,
    oldest: float | None = None,
    lifetime: Histogram = LIFETIMES,
) -> Cgroup:
    """Its oldest page is `oldest` seconds old in the first snapshot(); its pages are those of its sites.

    Its id follows from the path unless given. `dead`: removed.
    """
    held = sum(s.held_pages for s in sites)
    return Cgroup(
        key=CgroupKey(0, id or 1 + zlib.crc32(path.encode())),
        path=path,
        label=label(path),
        state=(CgroupState.DEAD if held else CgroupState.GONE) if dead else CgroupState.ONLINE,
        charged_pages=sum(s.charged_pages for s in sites),
        uncharged_pages=sum(s.uncharged_pages for s in sites),
        failed_charges=failed,
        oldest_at=None if oldest is None else _WATCHED - oldest,
        sites=sites,
        latency={"lifetime": lifetime},
    )


def snapshot(*cgroups: Cgroup, time: float = _BEGAN + _WATCHED) -> Snapshot:
    """Of the tracepoint tier, with a few losses."""
    return Snapshot(
        time=time,
        host="node-7",
        kernel="6.18.44-amd64",
        tier=Tier.TRACEPOINT,
        watched_seconds=time - _BEGAN,
        page_size=4096,
        cgroups=cgroups,
        losses=Losses(
            recursion_misses={"page_alloc": 17, "page_free": 800},
            map_full={"pages": 0, "cgroups": 0, "sites": 0, "lives": 0},
            ring_drops=0,
            healed=419,
            swept=35,
            unmatched_frees=0,
            unknown_stacks=2,
            checked_stacks=313,
            wrong_stacks=0,
        ),
        maps={"pages": MapFill(1900, 98304), "cgroups": MapFill(3, 8192), "sites": MapFill(5, 32768)},
        gone=Gone(cgroups=2, charged_pages=211, uncharged_pages=211),
        preexisting_pages=3011,
        own_bytes=29_360_128,
        exempt={Exemption.ROOT: 12_345, Exemption.REPARENTED: 17},
        unseen={Unseen.CHARGE: "function probes only", Unseen.LOST_UNCHARGE: "its end is not seen"},
    )


def busy(step: int = 0) -> Snapshot:
    """Three living cgroups and a removed one; what was charged grows with `step`."""
    return snapshot(
        cgroup(
            CONTAINER,
            (
                site(40_000 + 1000 * step, 38_800 + 1000 * step),
                site(311, 0, SiteKind.PAGE_TABLE, "pte_alloc_one", TABLE_STACK),
            ),
            failed=3 + step,
            oldest=3720.0,
        ),
        cgroup(NGINX, (site(521, 401, SiteKind.UNIX_SOCKET, "alloc_skb_with_frags"),), oldest=12.0),
        cgroup("/user.slice", (site(17, 17),)),
        cgroup("/batch/job-17", (site(1009, 0),), dead=True, oldest=91_000.0),
        time=1_780_000_000.0 + 2 * step,
    )


DENTRIES = CacheUse("dentry", 20_003, 20_003 * 200, True)
FILES = CacheUse("filp", 211, 211 * 240, False)


def account(
    *caches: CacheUse, kernel: int, pages: int = 0, percpu: int = 4608, sock: int | None = None
) -> Account:
    """Of which 96 bytes are charged ahead."""
    return Account(
        kernel_bytes=kernel,
        pages_bytes=pages * 4096,
        page_tables_bytes=0,
        slab_bytes=sum(use.bytes for use in caches),
        caches=caches,
        percpu_bytes=percpu,
        zswap_bytes=0,
        ahead_bytes=96,
        moved_bytes=0,
        doubtful_bytes=0,
        sock_bytes=sock,
    )


def counted(step: int = 0) -> Snapshot:
    """busy() with the accounts of a census, and a service that was charged nothing since the start."""
    now = busy(step)
    container, nginx, _, job = (c.key for c in now.cgroups)
    old = Counted(
        CgroupKey(0, 77), "/old.service", CgroupState.ONLINE, account(DENTRIES, kernel=4_005_400, percpu=0)
    )
    accounts = {
        container: account(DENTRIES, FILES, kernel=11_000_000, pages=1511, sock=211 * 4096),
        nginx: account(FILES, kernel=600_000, pages=120, sock=53 * 4096),
        job: account(kernel=0, percpu=0),
        old.key: old.account,
    }
    info = CensusInfo(
        age_seconds=12.5,
        seconds=0.25,
        cpu_seconds=0.125,
        objects=40_217,
        dying_cgroups=3,
        pinned={"file": 8 << 20, "shmem": 0, "anon": 4096, "slab": 700},
        caches=added_caches(use for one in accounts.values() for use in one.caches),
        unseen={},
    )
    return Joiner().joined(now, info, accounts, [row_of(old, old.path, "old.service")])


DENTRIES_MADE = ObjectSite("dentry", "__d_alloc", 4001, 3, 0, 200)
FILES_OPENED = ObjectSite("filp", "alloc_empty_file", 307, 300, 2, 240)


def followed(step: int = 0) -> Snapshot:
    """counted() with the slab objects that were followed: 10 more names a step."""
    now = counted(step)
    made = dataclasses.replace(DENTRIES_MADE, charged_objects=DENTRIES_MADE.charged_objects + 10 * step)
    objects = {CONTAINER: (made, FILES_OPENED), NGINX: (FILES_OPENED,)}
    return dataclasses.replace(
        now,
        cgroups=tuple(dataclasses.replace(c, objects=objects.get(c.path, ())) for c in now.cgroups),
        losses=dataclasses.replace(now.losses, mended_objects=7),
    )


def mismatch(**changes: object) -> Mismatch:
    """A certain one, with both stacks."""
    found = Mismatch(
        mismatch_class=MismatchClass.WRONG_CGROUP,
        confidence=Confidence.CERTAIN,
        page=0xFFFFEA0004002180,
        order=0,
        charged_to=CONTAINER,
        uncharged_from=NGINX,
        alloc_stack=PIPE_STACK,
        free_stack=("free_unref_page+0x1b", "free_pipe_info+0x5d"),
        comm="nginx",
        pid=811,
        time=1_779_999_997.0,
        first_time=1_779_999_900.0,
        count=3,
        charged_pages=1,
        ended_page=0xFFFFEA0004002180,
        ended_pages=1,
        lost_pages=3,
        taken_pages=3,
        events=("charged by its allocation, order 0", "freed, order 0, its mark naming another owner"),
    )
    return dataclasses.replace(found, **changes)  # type: ignore[arg-type]
