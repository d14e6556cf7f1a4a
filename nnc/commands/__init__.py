"""One module a command: `run(args)` does it and gives the exit code."""
