"""What people bring along from other languages, and what nn has in its place.

Tables only: the words, signs and look-alike characters that programs in Python, JSON or C would
use, each with the sentence that helps.
"""

from __future__ import annotations

# Signs that the lexer calls foreign.
SIGNS = {
    "**": "a power is written `x^2`",
    "&&": "write `and`",
    "||": "write `or`",
    "&": "write `and`",
    "|": "write `or`; data flows through `|>`",
    "!": "write `not`",
    "~": "write `not`",
    "===": "write `==`",
    "!==": "write `!=`",
    "++": "write `x + 1`",
    "=>": "a result type follows `->`, a body `=`",
    ":=": "`let x = ...` introduces a name, `x = ...` sets one",
    "::": "parts are reached with `.`",
    "/*": "comments start with `#` and end with the line",
    ";": "a statement ends with its line",
    "?": "write `if c { a } else { b }`",
    "\\": "a line goes on by itself when the next one starts with an operator",
    "$": "names are used as they are, without a sign in front",
    "`": "strings stand in double quotes",
}  # fmt: skip

# Words at the start of a statement (or of an expression: `lambda`) that are no nn.
WORDS = {
    "def": "a function is `fn f(x: f32[...]) -> f32[...] = ...`, a layer is a `block`",
    "func": "a function is `fn f(x: f32[...]) -> f32[...] = ...`",
    "function": "a function is `fn f(x: f32[...]) -> f32[...] = ...`",
    "class": "a network is `model Net(...)(x: ...) -> ... { ... }`, a layer is a `block`",
    "struct": "a record type is `(a: f32[N], b: i32[N])`",
    "lambda": "there are no lambdas; a stage is written `_ + 1`, or as an `fn` of its own",
    "import": "other programs are brought in with `use other` or `use \"other.nn\" (Name)`",
    "from": "other programs are brought in with `use other (Name)`",
    "include": "other programs are brought in with `use \"other.nn\"`",
    "var": "`let x = ...` introduces a name",
    "val": "`let x = ...` introduces a name",
    "const": "`let x = ...` introduces a name",
    "auto": "`let x = ...` introduces a name",
    "mut": "names cannot change; a layer's state is a `buffer`",
    "new": "a block is made by calling it: `Dense(10)`",
    "while": "loops over time are `scan`; a fixed number of layers is `repeat n { ... }`",
    "elif": "write `else if`",
    "switch": "write `if a { ... } else if b { ... } else { ... }`",
    "match": "write `if a { ... } else if b { ... } else { ... }`",
    "try": "a program states conditions with `assert`",
    "raise": "a program states conditions with `assert`",
    "pass": "an empty body is `{}`",
    "del": "names cannot be removed",
    "global": "names of the file are seen everywhere in it",
    "print": "values are shown by `metrics = (name = value)` while training",
}  # fmt: skip

# Characters that look like, or stand for, something a program can say.
LOOKALIKES = {
    "\u201c": 'strings stand in straight double quotes `"`',
    "\u201d": 'strings stand in straight double quotes `"`',
    "\u201e": 'strings stand in straight double quotes `"`',
    "\u2018": 'strings stand in straight double quotes `"`',
    "\u2019": 'strings stand in straight double quotes `"`',
    "\u00d7": "write `*`",
    "\u00b7": "write `*`",
    "\u22c5": "write `*`",
    "\u00f7": "write `/`",
    "\u2212": "this is a typographic minus; write `-`",
    "\u2013": "this is a dash; write `-`",
    "\u2014": "this is a dash; write `-`",
    "\u2264": "write `<=`",
    "\u2265": "write `>=`",
    "\u2260": "write `!=`",
    "\u2192": "write `->`",
    "\u00b2": "write `^2`",
    "\u2026": "write `...` with three dots",
    "\u00a0": "this is a no-break space; write a plain one",
    "\u200b": "this is an invisible space; remove it",
    "\ufeff": "this is an invisible byte order mark; remove it",
    "\x0c": "this is a form feed; remove it",
}  # fmt: skip
