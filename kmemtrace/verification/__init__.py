"""Makes a verification, from the command's cgroup to the verdict: no arguments, no printing."""
