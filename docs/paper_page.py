"""Writes docs/PAPER.md: rule -> function -> tests -> traces that hit it; `--check` only compares.

Functions are looked up, so that a renamed one fails here. A test shows a rule where its docstring
begins with it ("REFERENCE rule 14: ...") or names it so later. What counts as a hit is said beside
each rule: that one of its functions ran, or something seen in the trace.
"""

from __future__ import annotations

import ast
import functools
import importlib
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FrameType

from qbft.core import Message, MessageType, UponRule
from qbft.parity import Outcome, Trace, observed, read_traces

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "PAPER.md"
TRACES = ROOT / "tests" / "parity" / "reference-traces.jsonl.gz"
CORE = tuple(
    importlib.import_module(f"qbft.core.{name}")
    for name in ("instance", "justification", "message_log", "messages", "quorum")
)

_NAMED = re.compile(r"REFERENCE rules? (\d+(?:(?:, | and |, and )\d+)*)")

HEAD = """\
# The paper, the reference's rules, and where each is

Written by `python docs/paper_page.py` from the code, the tests' docstrings and a replay of the
recorded traces; a test fails when it is stale. The paper is Moniz, *The Istanbul BFT Consensus
Algorithm* (arXiv 2002.03613); the rules are those of its reference engine, by their numbers there.
All functions are in `qbft/core`, all tests in `tests/core`. Besides, every step of every trace is
compared by `tests/parity`, and the whole engine with a naive one by
`tests/core/test_differential_fuzz.py`.
"""


@dataclass
class Life:
    """One trace, replayed: what the engine was given, did, and ran."""

    trace: Trace
    outcomes: list[Outcome]
    ran: set[str]
    mismatches: list[int]

    @functools.cached_property
    def received(self) -> list[Message]:
        """The messages received."""
        instance = self.trace.instance
        return [e.msg.message(instance) for e in self.trace.events if e.msg is not None]

    @functools.cached_property
    def everything(self) -> list[Message]:
        """The messages received and those they carry."""
        return [vote for message in self.received for vote in (message, *message.justification)]

    def fired(self, *rules: UponRule) -> bool:
        """Whether one of these rules fired."""
        return any(rule in outcome.rule for outcome in self.outcomes for rule in rules)

    def sent(self, type_: MessageType) -> bool:
        """Whether such a message was broadcast."""
        return any(m.type is type_ for outcome in self.outcomes for m in outcome.broadcast)


Witness = Callable[[Life], bool]


@dataclass(frozen=True)
class Rule:
    """A rule in a few words, the functions that hold it, and what counts as a hit.

    Without a witness a hit is that the first of the functions ran.
    """

    what: str
    functions: tuple[str, ...]
    hit: str = ""
    witness: Witness | None = None


def equivocates(life: Life) -> bool:
    """Whether a source voted for two values of a round."""
    said: dict[tuple[object, ...], set[object]] = {}
    for vote in life.everything:
        said.setdefault((vote.type, vote.source, vote.round), set()).add(vote.value)
    voted = (MessageType.PREPARE, MessageType.COMMIT)
    return any(len(values) > 1 for (type_, *_), values in said.items() if type_ in voted)


def is_strange(life: Life) -> bool:
    """Whether a message of a stranger or of a round below 1 came."""
    return any(not 0 <= m.source < life.trace.nodes or m.round < 1 for m in life.everything)


def proposes_late(life: Life) -> bool:
    """Whether an input led to a PRE-PREPARE at once."""
    return any(
        event.kind == "input" and outcome.broadcast
        for event, outcome in zip(life.trace.events, life.outcomes, strict=True)
    )


def goes_on_after_a_mismatch(life: Life) -> bool:
    """Whether after a failed comparison a COMMIT was sent or a decision taken."""
    later = life.outcomes[life.mismatches[0] + 1 :] if life.mismatches else []
    return any(
        outcome.decide or any(m.type is MessageType.COMMIT for m in outcome.broadcast)
        for outcome in later
    )


def leads_round_1(life: Life) -> bool:
    """Whether the engine under test leads round 1."""
    trace = life.trace
    return (trace.instance + 1) % trace.nodes == trace.process


def carries(*types: MessageType) -> Witness:
    """Whether a message of these types came with a justification."""
    return lambda life: any(m.justification and m.type in types for m in life.received)


def ran(*functions: str) -> Witness:
    """Whether all of these functions ran."""
    return lambda life: life.ran.issuperset(functions)


def rule_fired(*rules: UponRule) -> Witness:
    """Whether one of these rules fired."""
    return lambda life: life.fired(*rules)


RULES: dict[int, Rule] = {
    1: Rule("state of a run", ("Instance.__init__",), "every trace", lambda _: True),
    2: Rule("quorum and faulty", ("quorum", "max_faulty"), "every trace", lambda _: True),
    3: Rule(
        "no checks of signature, membership, rounds; bugs end the engine",
        ("Instance._fail", "_nests"),
        "a message of a stranger or of a round below 1",
        is_strange,
    ),
    4: Rule("fields sent", ("Instance._broadcast", "Instance._broadcast_round_change", "in_order")),
    5: Rule(
        "own messages come back",
        ("Instance._receive",),
        "an own message received",
        lambda life: any(m.source == life.trace.process for m in life.received),
    ),
    6: Rule("the input counts once", ("Instance._take_input",)),
    7: Rule(
        "start", ("Instance._start", "Instance._propose_own"), "the engine leads round 1",
        leads_round_1,
    ),
    8: Rule(
        "a late input", ("Instance._take_input", "Instance._pre_prepare"),
        "an input that is proposed at once", proposes_late,
    ),
    9: Rule("after the decision", ("Instance._answer_laggard",)),
    10: Rule(
        "whom a decided engine answers", ("Instance._answer_laggard",), "a DECIDED sent",
        lambda life: life.sent(MessageType.DECIDED),
    ),
    11: Rule("justify, log, classify, act", ("Instance._receive", "Instance._fires")),
    12: Rule("the timer", ("Instance._time_out", "Instance._change_round")),
    13: Rule(
        "when a timer starts",
        (
            "Instance._start", "Instance._upon_pre_prepare", "Instance._time_out",
            "Instance._upon_later_round_change",
        ),
        "a timer after the first",
        lambda life: sum(len(outcome.timer) for outcome in life.outcomes) > 1,
    ),
    14: Rule(
        "a FIFO for each source", ("MessageLog.add", "MessageLog._evict"), "an eviction",
        ran("MessageLog._evict"),
    ),
    15: Rule(
        "carried votes", ("MessageLog._count", "MessageLog._uncount"), "a message that carries",
        carries(*MessageType),
    ),
    16: Rule(
        "filter, then the first of each source",
        ("first_of_each", "MessageLog.round_changes_up_to"),
        "a source that votes twice in a round", equivocates,
    ),
    17: Rule(
        "PREPARE and COMMIT are justified", ("Instance._receive",), "one with a justification",
        carries(MessageType.PREPARE, MessageType.COMMIT),
    ),
    18: Rule("justified ROUND-CHANGE", ("is_justified_round_change", "is_null", "_is_quorum_of")),
    19: Rule("justified DECIDED", ("is_justified_decided",)),
    20: Rule("justified PRE-PREPARE", ("is_justified_pre_prepare",)),
    21: Rule("J1 and J2 at the receiver", ("_proven_value", "_proves")),
    22: Rule(
        "J1 and J2 at the leader",
        ("round_change_proof", "_provable", "MessageLog.prepare_quorums"),
    ),
    23: Rule(
        "DECIDED and PRE-PREPARE, by round",
        ("Instance._upon_decided", "Instance._upon_pre_prepare"),
        "one acted on",
        rule_fired(UponRule.JUSTIFIED_DECIDED, UponRule.JUSTIFIED_PRE_PREPARE),
    ),
    24: Rule(
        "PREPARE and COMMIT, in their round",
        (
            "Instance._upon_prepare", "Instance._upon_commit", "MessageLog.has_prepare_quorum",
            "MessageLog.has_commit_quorum",
        ),
        "a quorum acted on",
        rule_fired(UponRule.QUORUM_PREPARES, UponRule.QUORUM_COMMITS),
    ),
    25: Rule(
        "ROUND-CHANGEs of the round",
        ("Instance._upon_same_round_change", "is_round_change_justified"),
    ),
    26: Rule(
        "the F+1 rule",
        (
            "Instance._upon_later_round_change", "MessageLog.count_ahead", "MessageLog.walk_ahead",
        ),
        "a jump",
        rule_fired(UponRule.F_PLUS_1_ROUND_CHANGES),
    ),
    27: Rule(
        "upon a justified PRE-PREPARE", ("Instance._upon_pre_prepare",), "acted on",
        rule_fired(UponRule.JUSTIFIED_PRE_PREPARE),
    ),
    28: Rule(
        "upon a quorum of PREPAREs", ("Instance._upon_prepare", "MessageLog.prepares"), "acted on",
        rule_fired(UponRule.QUORUM_PREPARES),
    ),
    29: Rule(
        "upon a quorum of COMMITs, or DECIDED", ("Instance._decide", "MessageLog.commits"),
        "a decision", lambda life: any(outcome.decide for outcome in life.outcomes),
    ),
    30: Rule(
        "upon a quorum of ROUND-CHANGEs", ("Instance._propose_justified",), "acted on",
        rule_fired(UponRule.QUORUM_ROUND_CHANGES),
    ),
    31: Rule(
        "which value wins", ("Instance._propose_justified", "Instance._propose_own"),
        "a PRE-PREPARE sent", lambda life: life.sent(MessageType.PRE_PREPARE),
    ),
    32: Rule(
        "the comparison", ("Instance._conclude_comparison",), "a comparison that fails or hangs",
        lambda life: bool(life.mismatches),
    ),
    33: Rule(
        "what it gates", ("Instance._conclude_comparison",), "a COMMIT or a decision after that",
        goes_on_after_a_mismatch,
    ),
}  # fmt: skip

LINES: tuple[tuple[str, str, str, str, Witness], ...] = (
    ("1:11", "start, and the leader's PRE-PREPARE", "Instance._start", "7", leads_round_1),
    ("1:13", "the input", "Instance._take_input", "6, 8", ran("Instance._take_input")),
    ("2:1", "justified PRE-PREPARE", "Instance._upon_pre_prepare", "23, 27",
     rule_fired(UponRule.JUSTIFIED_PRE_PREPARE)),
    ("2:4", "quorum of PREPAREs", "Instance._upon_prepare", "24, 28",
     rule_fired(UponRule.QUORUM_PREPARES)),
    ("2:8", "quorum of COMMITs", "Instance._upon_commit", "24, 29",
     rule_fired(UponRule.QUORUM_COMMITS)),
    ("3:1", "the timer expires", "Instance._time_out", "12", ran("Instance._time_out")),
    ("3:5", "F+1 ROUND-CHANGEs ahead", "Instance._upon_later_round_change", "26",
     rule_fired(UponRule.F_PLUS_1_ROUND_CHANGES)),
    ("3:11", "quorum of ROUND-CHANGEs", "Instance._upon_same_round_change", "25",
     rule_fired(UponRule.QUORUM_ROUND_CHANGES, UponRule.UNJUST_QUORUM_ROUND_CHANGES)),
    ("3:12-16", "what the leader proposes", "Instance._propose_justified", "30, 31",
     rule_fired(UponRule.QUORUM_ROUND_CHANGES)),
    ("3:17", "a laggard is answered", "Instance._answer_laggard", "9, 10",
     lambda life: life.sent(MessageType.DECIDED)),
    ("3:17", "the answer, at the laggard", "Instance._upon_decided", "19, 23, 29",
     rule_fired(UponRule.JUSTIFIED_DECIDED)),
    ("4:1-4", "justified ROUND-CHANGE", "is_justified_round_change", "18",
     ran("is_justified_round_change")),
    ("4:5-11", "justified PRE-PREPARE", "is_justified_pre_prepare", "20, 21",
     ran("is_justified_pre_prepare")),
)  # fmt: skip


def functions_of_core() -> dict[str, tuple[str, CodeType]]:
    """Every function of the core by its qualified name: its module's name, its code."""
    found: dict[str, tuple[str, CodeType]] = {}
    for module in CORE:
        spaces = [vars(module), *(vars(c) for c in vars(module).values() if isinstance(c, type))]
        for space in spaces:
            for item in space.values():
                function = getattr(item, "__func__", item)
                if getattr(function, "__module__", None) == module.__name__ and hasattr(
                    function, "__code__"
                ):
                    name = module.__name__.rpartition(".")[2]
                    found[function.__qualname__] = (name, function.__code__)
    return found


def lives() -> Iterator[Life]:
    """Replay all traces, noting which functions of the core ran."""
    names = {code: name for name, (_, code) in functions_of_core().items()}
    for _, trace in read_traces(TRACES):
        called: set[CodeType] = set()

        def note(frame: FrameType, event: str, _: object, called: set[CodeType] = called) -> None:
            if event == "call":
                called.add(frame.f_code)

        engine = trace.engine()
        outcomes, mismatches = [], []
        before = sys.getprofile()
        for number, event in enumerate(trace.events):
            sys.setprofile(note)
            try:
                effects = trace.step(engine, event)
            finally:
                sys.setprofile(before)
            outcomes.append(observed(effects))
            compared = UponRule.JUSTIFIED_PRE_PREPARE in outcomes[-1].rule
            if compared and event.msg and event.msg.value in trace.reject | trace.hang:
                mismatches.append(number)
        yield Life(trace, outcomes, {names[c] for c in called if c in names}, mismatches)


def tests_by_rule() -> dict[int, list[str]]:
    """The tests of each rule, the one that bears its number first."""
    found: dict[int, list[str]] = {number: [] for number in RULES}
    for path in sorted((ROOT / "tests" / "core").glob("test_*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                named = _NAMED.findall(ast.get_docstring(node) or "")
                numbers = {int(n) for names in named for n in re.findall(r"\d+", names)}
                for number in numbers & set(RULES):
                    found[number].append(f"`{path.name}::{node.name}`")
    return {
        n: sorted(tests, key=lambda t: f"::test_rule_{n:02}" not in t) for n, tests in found.items()
    }


def table(head: str, rows: Iterable[tuple[object, ...]]) -> str:
    """A table in Markdown."""
    columns = head.count("|") + 1
    lines = [f"| {head} |", "|" + "---|" * columns]
    lines += ["| " + " | ".join(map(str, row)) + " |" for row in rows]
    return "\n".join(lines)


def page() -> str:
    """The whole page."""
    functions = functions_of_core()
    tests = tests_by_rule()
    replayed = list(lives())

    def where(name: str) -> str:
        return f"`{functions[name][0]}.{name}`"

    def hits(witness: Witness) -> int:
        return sum(map(witness, replayed))

    lines = table(
        "line of the paper | what | function | rules | traces",
        ((line, what, where(f), rules, hits(w)) for line, what, f, rules, w in LINES),
    )
    rules = table(
        "rule | what | functions | tests | traces | a hit is",
        (
            (
                number,
                rule.what,
                "<br>".join(map(where, rule.functions)),
                "<br>".join(tests[number]),
                hits(rule.witness or ran(rule.functions[0])),
                rule.hit or f"{where(rule.functions[0])} ran",
            )
            for number, rule in RULES.items()
        ),
    )
    steps = sum(len(life.outcomes) for life in replayed)
    count = f"{len(replayed):,} traces, {steps:,} steps."
    return f"{HEAD}\n{count}\n\n## By line of the paper\n\n{lines}\n\n## By rule\n\n{rules}\n"


def main(arguments: list[str]) -> int:
    """Write the page, or with `--check` say whether it is up to date."""
    content = page()
    if "--check" not in arguments:
        PAGE.write_text(content, encoding="utf-8")
        return 0
    if PAGE.exists() and content == PAGE.read_text(encoding="utf-8"):
        return 0
    sys.stderr.write("docs/PAPER.md is stale: run `python docs/paper_page.py`\n")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
