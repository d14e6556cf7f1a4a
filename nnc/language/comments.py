"""Keeping comments in their places while a program is printed anew.

The printer goes through the tree in the order of the text and says which token it writes; this
module goes along in the text and hands each comment to the nearest place where a line can end.
So no comment can get lost, whatever the printer does with the lines.
"""

from __future__ import annotations

from nnc.language.layout import Line
from nnc.language.lexer import Token, tokens


class NoComments:
    """For trees without a text."""

    def take(self, text: str) -> str:
        """`text`, which is the next token to be written."""
        return text

    def skip(self, *texts: str) -> bool:
        """Passes over tokens that may stand next and are not written; whether they did."""
        return False

    def line(self, flat: str | None, outdent: int = 0) -> Line:
        """A place for a line to end before the next token."""
        return Line(flat, outdent=outdent)

    def opens_line(self) -> bool:
        """Whether the next token stood first on its line; a body that starts so, stays so."""
        return True

    def waiting(self) -> bool:
        """Whether a comment stands before the next token."""
        return False


class Comments(NoComments):
    """The comments of a text, handed out while the tokens around them are written."""

    def __init__(self, text: str):
        self.text = text
        self.tokens = list(tokens(text))
        self.next = 0  # the first token or comment not yet dealt with
        self.end = 0  # where the last one dealt with ended
        self.last = Line(None)
        self.carried: list[Token] = []  # comments before a comma belong behind it

    def take(self, text: str) -> str:
        """`text`, after the comments before it found their places."""
        while self.tokens[self.next].kind == "comment":
            comment = self.tokens[self.next]
            if text == ",":
                self.carried.append(comment)
            else:  # the line cannot end here: the comment moves up
                self.last.own.append((self.last.blank, comment.text.rstrip()))
                self.last.blank = False
            self._pass()
        token = self.tokens[self.next]
        if token.text != text and token.kind != "string":
            raise AssertionError(f"the printer wrote {text!r} for {token.text!r}")
        self._pass()
        return text

    def skip(self, *texts: str) -> bool:
        ahead = self.next
        for text in texts:
            while self.tokens[ahead].kind == "comment":
                ahead += 1
            if self.tokens[ahead].text != text:
                return False
            ahead += 1
        for text in texts:
            self.take(text)
        return True

    def line(self, flat: str | None, outdent: int = 0) -> Line:
        line = self.last = Line(flat, outdent=outdent)
        for comment in self.carried:
            self._hand(line, comment)
        self.carried = []
        first = self.next
        while self.next < len(self.tokens) and self.tokens[self.next].kind == "comment":
            comment = self.tokens[self.next]
            gap = self.text[self.end : comment.start]
            if first and self.next == first and "\n" not in gap:
                self._hand(line, comment)
            else:
                line.own.append((gap.count("\n") > 1, comment.text.rstrip()))
            self._pass()
        if self.next < len(self.tokens):
            line.blank = self.text[self.end : self.tokens[self.next].start].count("\n") > 1
        return line

    def opens_line(self) -> bool:
        return "\n" in self.text[self.end : self.tokens[self.next].start]

    def waiting(self) -> bool:
        return self.next < len(self.tokens) and self.tokens[self.next].kind == "comment"

    def _hand(self, line: Line, comment: Token) -> None:
        text = comment.text.rstrip()
        if line.trailing:
            line.own.append((False, text))
        else:
            line.trailing = text

    def _pass(self) -> None:
        self.end = self.tokens[self.next].end
        self.next += 1
