"""Edits of configuration files: lines that move, and values of every kind where others stood."""

from __future__ import annotations

from random import Random

from protobuf_edits import Fill

VALUES = (
    *("true", "0", "-1", "1", "65536", "9223372036854775808", "1e400", "-nan", "0x_", "1979-05-27"),
    *(
        '""',
        '"\\u0000"',
        '"x"',
        "''",
        '"0.0.0.0:1"',
        '"[::1]:7400"',
        "'''\n'''",
        '"' + "a" * 600 + '"',
    ),
    *("[]", "[[]]", "{}", "{ a = 1 }", "[1, 'x']", "[" * 400, "{ x = " * 400),
)
KEYS = ("self", "cls", "_env_file", "_secrets_dir", "_cli_parse_args", "a.b", '""', '"\\n"', "__x")
TABLES = ("[listen]", "[limits]", "[[validators]]", "[[prefixes]]", "[[retention]]", "[x]", "[")


def edited_text(data: bytes, random: Random, fill: Fill) -> bytes:
    """The text after one edit of a line."""
    lines = data.split(b"\n")
    at, other = random.randrange(len(lines)), random.randrange(len(lines))
    key, _, value = lines[at].partition(b"=")
    match random.randrange(7):
        case 0:
            del lines[at]
        case 1:
            lines.insert(at, lines[other])
        case 2:
            lines[at], lines[other] = lines[other], lines[at]
        case 3:
            lines[at] = key + b"= " + random.choice(VALUES).encode()
        case 4:
            lines[at] = random.choice(KEYS).encode() + b" = " + (value or b"1")
        case 5:
            lines.insert(at, random.choice(TABLES).encode())
        case _:
            lines[at] = fill(lines[at])
    return b"\n".join(lines)
