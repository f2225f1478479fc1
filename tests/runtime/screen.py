"""What a terminal shows of what is written to it: text, line ends, cursor movements and erased lines."""

import fcntl
import os
import pty
import re
import struct
import termios

_TOKEN = re.compile(r"\x1b\[(?P<args>[\d;?]*)(?P<kind>[A-Za-z])|(?P<char>.)", re.DOTALL)


class Screen:
  """So many columns wide, as long as need be. `hidden`: whether the cursor was left hidden."""

  def __init__(self, width: int):
    self._width, self._rows, self._x, self._y = width, [[]], 0, 0
    self.hidden = False
    self.wrapped = 0  # lines that went on in the next row

  @property
  def lines(self) -> list[str]:
    rows = ["".join(row).rstrip() for row in self._rows]
    while rows and not rows[-1]:
      rows.pop()
    return rows

  def feed(self, text: str) -> "Screen":
    for token in _TOKEN.finditer(text):
      if token["kind"]:
        self._control(token["args"], token["kind"])
      elif token["char"] == "\r":
        self._x = 0
      elif token["char"] == "\n":
        self._x, self._y = 0, self._y + 1
      else:
        self._put(token["char"])
      while len(self._rows) <= self._y:
        self._rows.append([])
    return self

  def _control(self, args: str, kind: str) -> None:
    if kind == "A":
      self._y = max(self._y - int(args or 1), 0)
    elif kind == "K":
      self._rows[self._y] = [] if args == "2" else self._rows[self._y][: self._x]
    elif kind in "lh" and args == "?25":
      self.hidden = kind == "l"
    else:
      assert kind == "m", f"{args}{kind}"

  def _put(self, character: str) -> None:
    if self._x == self._width:
      self._x, self._y, self.wrapped = 0, self._y + 1, self.wrapped + 1
      self._rows.append([])
    row = self._rows[self._y]
    row += " " * (self._x + 1 - len(row))
    row[self._x] = character
    self._x += 1


def open_terminal(width: int) -> tuple[int, int]:
  """(ours, theirs) of a pseudo terminal."""
  ours, theirs = pty.openpty()
  fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 24, width, 0, 0))
  return ours, theirs


def read_all(ours: int) -> str:
  """Until the other end is closed."""
  found = b""
  while True:
    try:
      part = os.read(ours, 65536)
    except OSError:  # EIO: Linux's word for its end
      part = b""
    if not part:
      os.close(ours)
      return found.decode()
    found += part
