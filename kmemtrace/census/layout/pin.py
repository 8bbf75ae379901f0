"""From what keeps a removed cgroup to its name."""

from dataclasses import dataclass

from kmemtrace.census.layout.find import at, first, value
from kmemtrace.kernel.facts import Facts


@dataclass(frozen=True, slots=True)
class PinLayout:
    """From a page of user space's memory to the file that it is of, and a removed cgroup's references."""

    page_bytes: int
    page_mapping: int
    swap_backed_bit: int
    mapping_host: int
    inode_super: int
    inode_number: int
    inode_dentries: int
    super_name: int
    dentry_alias: int
    dentry_parent: int
    dentry_name: int
    css_references: int
    """Of the pointer to what counts them."""
    count: int
    """There."""


def pin_layout(facts: Facts, page_bytes: int) -> PinLayout:
    """Raises UnknownLayoutError."""
    css = at(facts, "mem_cgroup", "css")
    return PinLayout(
        page_bytes=page_bytes,
        page_mapping=at(facts, "page", "mapping"),
        swap_backed_bit=value(facts, "PG_swapbacked", "pageflags"),
        mapping_host=at(facts, "address_space", "host"),
        inode_super=at(facts, "inode", "i_sb"),
        inode_number=at(facts, "inode", "i_ino"),
        inode_dentries=at(facts, "inode", "i_dentry"),
        super_name=at(facts, "super_block", "s_id"),
        dentry_alias=first(facts, "dentry", "d_u", "d_alias"),
        dentry_parent=at(facts, "dentry", "d_parent"),
        dentry_name=at(facts, "dentry", "d_name.name"),
        css_references=css + at(facts, "cgroup_subsys_state", "refcnt.data"),
        count=at(facts, "percpu_ref_data", "count"),
    )
