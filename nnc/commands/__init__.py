"""One module a command: `run(args)` does it and gives the exit code."""

#: Every code that this package raises, with the title of its page.
CODES = {
    "E0801": "an error code that does not exist",
    "E0802": "a name without documentation",
}
