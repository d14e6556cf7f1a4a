"""The formulas that there are composites for, one family a file: what `recognize` looks for."""
