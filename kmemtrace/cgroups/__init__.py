"""Cgroups as user space knows them: where they are mounted, what an id is called, who lives there."""
