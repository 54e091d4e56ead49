"""Programs that a model wrote, each run in a process of its own behind limits."""
