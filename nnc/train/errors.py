"""The codes of the errors of a run."""

#: Every code that this package raises, with the title of its page.
CODES = {
    "E0701": "a value that is not finite during training",
    "E0702": "a stop that watches nothing",
    "E0703": "a checkpoint or run that cannot be read",
    "E0704": "a file or directory that cannot be written",
    "E0705": "a directory that already holds a run",
    "E0706": "a checkpoint of another program, seed or data",
    "E0707": "an input for prediction that does not fit",
    "E0708": "weights that cannot be loaded",
    "E0709": "a framework that cannot do what a program asks",
}
