"""Layout of what leads from the pages that keep a removed cgroup to the names of their files."""

from dataclasses import dataclass

from kmemtrace.census.layout.find import at, first, value
from kmemtrace.kernel.facts import Facts


@dataclass(frozen=True, slots=True)
class PinLayout:
    """Offsets that lead from a page of user space to its file, and to a removed cgroup's references."""

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
    """Offset of the pointer to what counts the references."""
    count: int
    """Offset of the number within that."""


def pin_layout(facts: Facts, page_bytes: int) -> PinLayout:
    """Works out the PinLayout of this kernel.

    Raises:
        UnknownLayoutError: This kernel lacks one of the fields.
    """
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
