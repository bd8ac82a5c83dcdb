"""Writes docs/PROTO.md from the .proto files; with `--check` only says if it is stale.

Needs the `dev` extra, as `proto/generate.py` does: what the files say beside each call, message and
field is known to their compiler alone.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from google.protobuf import descriptor_pb2 as pb
from grpc_tools import protoc
from written_page import write_or_check

PAGE = Path(__file__).with_name("PROTO.md")
PROTO = Path(__file__).parents[1] / "proto"
FILES = (
    "decision",
    "messages",
    "application",
    "inspection",
    "capture",
    "peer",
    "signer",
    "journal",
    "charon",
)
"""In the order in which somebody who writes a client wants them."""

SERVICES, MESSAGES, ENUMS = 6, 4, 5
METHODS, FIELDS, NESTED, VALUES = 2, 2, 3, 2
"""The numbers of these in descriptor.proto, of which the paths of comments are made."""

HEAD = """\
# The protobuf schema

Written by `docs/proto_page.py` from the files in `proto/qbft/v1`, which are the source;
[PROTOCOL.md](PROTOCOL.md) says what the bytes mean, and [VERSIONS.md](VERSIONS.md) what is promised
of them. Clients need `decision.proto` and `messages.proto`, an application beside a node
`application.proto`; the others are what nodes, their journals and their tools say to each other.
"""

Path_ = tuple[int, ...]


class _File:
    """One file, with what stands beside its parts."""

    def __init__(self, file: pb.FileDescriptorProto) -> None:
        self.file = file
        self._said = {
            tuple(at.path): (at.leading_comments or at.trailing_comments)
            for at in file.source_code_info.location
        }
        first = min(file.source_code_info.location, key=lambda at: at.span[0], default=None)
        detached = next(
            (at for at in file.source_code_info.location if tuple(at.path) == (12,)), first
        )
        self.head = _one_line(detached.leading_comments) if detached is not None else ""

    def said(self, *path: int) -> str:
        """The comment of a part, on one line."""
        return _one_line(self._said.get(path, ""))

    def page(self) -> Iterator[str]:
        """The section of this file."""
        yield f"\n## {self.file.name.rpartition('/')[2]}\n"
        if self.head:
            yield f"\n{self.head}\n"
        for number, service in enumerate(self.file.service):
            yield from self._service(service, (SERVICES, number))
        for number, message in enumerate(self.file.message_type):
            yield from self._message(message, (MESSAGES, number), "")
        for number, enum in enumerate(self.file.enum_type):
            yield from self._enum(enum, (ENUMS, number), "")

    def _service(self, service: pb.ServiceDescriptorProto, path: Path_) -> Iterator[str]:
        yield f"\n### service {service.name}\n"
        if said := self.said(*path):
            yield f"\n{said}\n"
        yield "\n| call | takes | gives | |\n|---|---|---|---|\n"
        for number, method in enumerate(service.method):
            takes, gives = _short(method.input_type), _short(method.output_type)
            takes = f"stream of `{takes}`" if method.client_streaming else f"`{takes}`"
            gives = f"stream of `{gives}`" if method.server_streaming else f"`{gives}`"
            yield _row(f"`{method.name}`", takes, gives, self.said(*path, METHODS, number))

    def _message(self, message: pb.DescriptorProto, path: Path_, within: str) -> Iterator[str]:
        name = f"{within}{message.name}"
        yield f"\n### {name}\n"
        if said := self.said(*path):
            yield f"\n{said}\n"
        if message.field:
            yield "\n| field | number | type | |\n|---|---|---|---|\n"
        for number, field in enumerate(message.field):
            said = self.said(*path, FIELDS, number)
            if field.HasField("oneof_index") and not field.proto3_optional:
                one_of = message.oneof_decl[field.oneof_index].name
                said = f"One of `{one_of}`. {said}".strip()
            yield _row(f"`{field.name}`", f"{field.number}", f"`{_type(field)}`", said)
        for number, nested in enumerate(message.nested_type):
            yield from self._message(nested, (*path, NESTED, number), f"{name}.")
        for number, enum in enumerate(message.enum_type):
            yield from self._enum(enum, (*path, 4, number), f"{name}.")

    def _enum(self, enum: pb.EnumDescriptorProto, path: Path_, within: str) -> Iterator[str]:
        yield f"\n### enum {within}{enum.name}\n"
        if said := self.said(*path):
            yield f"\n{said}\n"
        yield "\n| value | number | |\n|---|---|---|\n"
        for number, value in enumerate(enum.value):
            yield _row(f"`{value.name}`", f"{value.number}", self.said(*path, VALUES, number))


def page() -> str:
    """The page: every file once."""
    return HEAD + "".join(part for file in _read() for part in _File(file).page())


def _read() -> list[pb.FileDescriptorProto]:
    """What the compiler makes of the files, comments included."""
    with tempfile.TemporaryDirectory() as directory:
        made = Path(directory) / "all.pb"
        files = [f"qbft/v1/{name}.proto" for name in FILES]
        kept = ["--include_source_info", f"--descriptor_set_out={made}"]
        if protoc.main(["protoc", f"-I{PROTO}", *kept, *files]):
            raise SystemExit("the .proto files cannot be compiled")
        by_name = {
            file.name: file for file in pb.FileDescriptorSet.FromString(made.read_bytes()).file
        }
    return [by_name[name] for name in files]


def _type(field: pb.FieldDescriptorProto) -> str:
    name = (
        _short(field.type_name)
        if field.type_name
        else pb.FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()
    )
    if field.label == pb.FieldDescriptorProto.LABEL_REPEATED:
        return f"repeated {name}"
    return f"optional {name}" if field.proto3_optional else name


def _short(name: str) -> str:
    return name.removeprefix(".qbft.v1.")


def _one_line(comment: str) -> str:
    """A comment as a cell, in which no bar ends it and no bracket begins a link."""
    return " ".join(comment.split()).replace("|", "\\|").replace("[", "\\[")


def _row(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |\n"


if __name__ == "__main__":
    sys.exit(write_or_check(PAGE, page(), __file__))
