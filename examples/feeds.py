"""Four price feeds, one of which may lie: what is decided is the median of what they have signed.

Beside each node runs this program with a feed of its own. A value is a report: observations of at
least n-f feeds, signed for this instance, and their median. Every node's program checks that before
its node votes, so that neither a feed nor a node that lies, nor the client, has a say in the price:
of n-f observations at most f are false, and the median lies between honest ones.

    python feeds.py init FOLDER ADDRESS ADDRESS ADDRESS ADDRESS   # keys; where each feed is asked
    python feeds.py run FOLDER FEED unix:/PATH                    # FEED from 0; --lie: a false one
    python feeds.py ask FOLDER CLUSTER_FILE TOPIC HEIGHT          # have a price decided
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
from pathlib import Path

from grpc import aio

from qbft.client import Client
from qbft.core.quorum import max_faulty
from qbft.crypto.keys import VoteKey, is_signature_valid
from qbft.wire.v1 import application_pb2 as pb
from qbft.wire.v1 import application_pb2_grpc as pb_grpc

REPORT_BYTES_MAX = 4_096
PRICE_MAX = 10**12
ANSWER_SECONDS = 0.3
"""How long another feed has; less than a round, so that the leader proposes in its own."""

ASK_SECONDS = 10.0
"""How long it is tried; feeds that were just started need some seconds."""

Observation = tuple[int, int, str]  # feed, price in cents, signature


def signed_bytes(instance: str, feed: int, price: int) -> bytes:
    """What a feed signs: of this instance and no other, so that an old price proves nothing."""
    return f"qbft example: observation\n{instance}\n{feed}\n{price}".encode()


def median(observations: list[Observation]) -> int:
    """The middle price, the lower one of two."""
    prices = sorted(price for _, price, _ in observations)
    return prices[(len(prices) - 1) // 2]


def is_report(value: bytes, instance: str, keys: list[bytes]) -> bool:
    """Whether so many feeds have signed this, and the median is theirs. Looks at nothing else."""
    try:
        if len(value) > REPORT_BYTES_MAX:
            return False
        report = json.loads(value)
        observations = [(int(f), int(p), str(s)) for f, p, s in report["observations"]]
        if value != encoded(observations) or len(observations) < needed(len(keys)):
            return False
        return all(is_observation(o, instance, keys) for o in observations)
    except (ValueError, LookupError, TypeError, ArithmeticError, RecursionError):
        return False  # it is no report at all


def encoded(observations: list[Observation]) -> bytes:
    """The one report of these observations: a feed counts once, in order."""
    by_feed = sorted({o[0]: o for o in observations}.values())
    return json.dumps({"median": median(by_feed), "observations": by_feed}).encode()


def is_observation(observation: Observation, instance: str, keys: list[bytes]) -> bool:
    """Whether that feed has signed it, for this instance."""
    feed, price, signature = observation
    if not (0 <= feed < len(keys) and 0 < price <= PRICE_MAX):
        return False
    signed = signed_bytes(instance, feed, price)
    return is_signature_valid(keys[feed], signed, bytes.fromhex(signature))


def needed(feeds: int) -> int:
    """N-f of them, among which the honest are more than the others."""
    return feeds - max_faulty(feeds)


class Feeds:
    """The feeds as all know them: their public keys, and where to ask them."""

    def __init__(self, folder: Path) -> None:
        known = json.loads((folder / "feeds.json").read_text())
        self.keys = [bytes.fromhex(feed["key"]) for feed in known]
        self._addresses = [feed["address"] for feed in known]

    async def report(self, instance: str) -> bytes | None:
        """Ask every feed what it observes; None if too few answer."""
        answers = await asyncio.gather(*(self._ask(a, instance) for a in self._addresses))
        genuine = [o for o in answers if o and is_observation(o, instance, self.keys)]
        report = encoded(genuine) if genuine else b""
        return report if is_report(report, instance, self.keys) else None

    async def _ask(self, address: str, instance: str) -> Observation | None:
        host, _, port = address.rpartition(":")
        writer = None
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                reader, writer = await asyncio.open_connection(host, int(port), limit=1_024)
                writer.write(f"{instance}\n".encode())
                feed, price, signature = json.loads(await reader.readline())
            return int(feed), int(price), bytes.fromhex(signature).hex()
        except (OSError, ValueError, TypeError, ArithmeticError):
            return None
        finally:
            if writer is not None:
                writer.close()


class Feed(pb_grpc.ApplicationServiceServicer):
    """One feed, and the program of its node."""

    def __init__(self, folder: Path, feed: int, *, lies: bool = False) -> None:
        self._feeds = Feeds(folder)
        self._feed = feed
        self._key = VoteKey((folder / f"feed-{feed}.key").read_bytes())
        self._lies = lies

    async def CheckValue(self, request, context):  # noqa: N802, D102
        instance = f"{request.instance.topic}/{request.instance.height}"
        return pb.CheckValueReply(valid=is_report(request.value, instance, self._feeds.keys))

    async def ProvideValue(self, request, context):  # noqa: N802, D102
        report = await self._feeds.report(f"{request.instance.topic}/{request.instance.height}")
        reply = pb.ProvideValueReply()
        if report is not None:
            reply.proposal.instance.CopyFrom(request.instance)
            reply.proposal.value = report.replace(b'"median": ', b'"median": 9', self._lies)
        return reply

    async def Decided(self, request, context):  # noqa: N802, D102
        where = f"{request.decision.instance.topic}/{request.decision.instance.height}"
        if is_report(request.decision.value, where, self._feeds.keys):  # else it would not end
            print(where, "=", json.loads(request.decision.value)["median"] / 100, flush=True)
        return pb.DecidedReply()

    def observe(self, instance: str) -> Observation:
        """What this feed sees, signed. Put your own source here; this one makes prices up."""
        price = random.Random(instance).randint(60_000_00, 70_000_00)  # the market
        price += random.Random(f"{instance} {self._feed}").randint(-5_00, 5_00)  # the feed's view
        price *= 10 if self._lies else 1
        signature = self._key.sign(signed_bytes(instance, self._feed, price))
        return self._feed, price, signature.hex()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Tell another feed's program, which checks the signature, so that it need not be known."""
        try:
            async with asyncio.timeout(1):
                instance = (await reader.readline()).decode().strip()
                writer.write(json.dumps(self.observe(instance)).encode() + b"\n")
                await writer.drain()
        except (OSError, ValueError):
            pass
        finally:
            writer.close()

    async def run(self, own_address: str, node_address: str) -> None:
        """Serve the other feeds and the node until cancelled."""
        host, _, port = own_address.rpartition(":")
        node = aio.server()
        pb_grpc.add_ApplicationServiceServicer_to_server(self, node)
        node.add_insecure_port(node_address)
        async with await asyncio.start_server(self.answer, host, int(port), limit=1_024):
            await node.start()
            try:
                await node.wait_for_termination()
            finally:
                await node.stop(None)


def init(folder: Path, addresses: list[str]) -> None:
    """Make the feeds' keys. In earnest each operator makes its own, and tells the public half."""
    folder.mkdir(parents=True)
    keys = [VoteKey.generate() for _ in addresses]
    for feed, key in enumerate(keys):
        descriptor = os.open(folder / f"feed-{feed}.key", os.O_WRONLY | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(key.seed)
    pairs = zip(keys, addresses, strict=True)
    known = [{"key": key.public.hex(), "address": address} for key, address in pairs]
    (folder / "feeds.json").write_text(json.dumps(known, indent=1))


async def ask(folder: Path, cluster_file: Path, topic: str, height: int) -> dict[str, object]:
    """Have a price decided: anybody may, for what is decided is the feeds' word and not ours."""
    feeds = Feeds(folder)
    deadline = asyncio.get_running_loop().time() + ASK_SECONDS
    while (report := await feeds.report(f"{topic}/{height}")) is None:
        if asyncio.get_running_loop().time() > deadline:
            raise SystemExit("too few feeds answer: do they run?")
        await asyncio.sleep(ANSWER_SECONDS)
    async with Client(cluster_file) as client:
        decision = await client.propose(topic, height, report)
    if not is_report(decision.value, f"{topic}/{height}", feeds.keys):
        raise SystemExit("no report was decided: do all nodes ask their feeds?")
    return dict(json.loads(decision.value))


def main() -> None:
    """The command; see the module."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    for name, words in {
        "init": ("addresses",),
        "run": ("feed", "node_address"),
        "ask": ("cluster_file", "topic", "height"),
    }.items():
        command = commands.add_parser(name)
        command.add_argument("folder", type=Path)
        for word in words:
            kind = int if word in {"feed", "height"} else str
            command.add_argument(word, type=kind, nargs="+" if word == "addresses" else None)
    commands.choices["run"].add_argument("--lie", action="store_true")
    commands.choices["run"].add_argument("--listen", help="for the other feeds, if not there")
    given = parser.parse_args()
    match given.command:
        case "init":
            init(given.folder, given.addresses)
        case "run":
            own = json.loads((given.folder / "feeds.json").read_text())[given.feed]["address"]
            feed = Feed(given.folder, given.feed, lies=given.lie)
            asyncio.run(feed.run(given.listen or own, given.node_address))
        case _:
            print(asyncio.run(ask(given.folder, given.cluster_file, given.topic, given.height)))


if __name__ == "__main__":
    main()
