"""What the kernel's memory holds, as its own structures tell it: copied by BPF, decoded here."""
