# ruff: noqa: E501 - code is quoted as it stands
"""Bugs that the suite must find, each as a patch of one file of `qbft` (SCENARIOS, section 2).

The bugs that others shipped, the traps of incremental tallies (REFERENCE, section 3), and what
HARDENING asks of the replica, taken away. Each has the hunter that is tried first:

- swarm: `qbft simulate swarm`, seeds from 0;
- scenarios: the plans of `scenarios.py`, under seeds from 0; one of them by its name;
- duel: hostile lives of the engine beside the naive one, `tests/core/differential_fuzz.py`. What
  the gate of the wire, the replica's own checks or its caller keep from an engine is seen only
  there;
- tests: `tests/core/test_shipped_bugs.py` and `test_engine_resume.py`, for what even hostile lives
  hardly ever meet, or what the replica cures by itself; a file of tests by its name, for what shows
  only at the surface of one part.

What is left out, and why, is in `EXCLUDED`.
"""

from __future__ import annotations

from dataclasses import dataclass

ENGINE = "core/instance.py"
JUSTIFICATION = "core/justification.py"
LOG = "core/message_log.py"
QUORUM = "core/quorum.py"
REPLICA = "replica/replica.py"
ARRIVALS = "replica/arrivals.py"
OPEN = "replica/open_instance.py"
VOICE = "replica/voice.py"
OWN_VOTES = "replica/own_votes.py"
DRIVER = "replica/driver.py"


@dataclass(frozen=True)
class Mutant:
    """A bug: in this file of `qbft`, `old`, which occurs exactly once, becomes `new`."""

    name: str
    says: str
    file: str
    old: str
    new: str
    hunter: str = "swarm"

    def apply(self, source: str) -> str:
        """Give the source with the bug in it.

        Raises:
            ValueError: the place is not there, or not only once; the code has moved on.
        """
        if source.count(self.old) != 1:
            raise ValueError(
                f"{self.name}: {self.file} has its place {source.count(self.old)} times"
            )
        return source.replace(self.old, self.new)


MUTANTS = [
    # --- how many -----------------------------------------------------------------------------
    Mutant(
        "quorum-2f-plus-1",
        "IBFT 1.0, arXiv 1901.07160, D14: a quorum of 2F+1, too small for n = 5, 6, 8, ...",
        QUORUM,
        "    return -(-2 * nodes // 3)",
        "    return 2 * ((nodes - 1) // 3) + 1",
        "scenarios:C23-5",
    ),
    Mutant(
        "quorum-majority",
        "go-ibft 628065c: a mere majority decides",
        QUORUM,
        "    return -(-2 * nodes // 3)",
        "    return nodes // 2 + 1",
        "scenarios:B4",
    ),
    Mutant(
        "faulty-n-over-3",
        "charon #503: F computed as n / 3, rounded up",
        QUORUM,
        "    return (nodes - 1) // 3",
        "    return -(-nodes // 3)",
    ),
    # --- justifications -----------------------------------------------------------------------
    Mutant(
        "j2-wants-all-prepared",
        "charon #504, anchor #592: under J2 every ROUND-CHANGE must be prepared, where one is enough",
        JUSTIFICATION,
        "            return False\n        exact |= change",
        "            return False\n        if not change.prepared_round:\n            return False\n        exact |= change",
        "duel",
    ),
    Mutant(
        "j2-ignores-higher-rounds",
        "B9: a PREPARE set below some ROUND-CHANGE's prepared round is accepted",
        JUSTIFICATION,
        "        if change.prepared_round > prepared_round:\n            return False\n",
        "",
        "duel",
    ),
    Mutant(
        "j2-value-of-round-changes",
        "charon #540: the prepared value is taken without a match among the ROUND-CHANGEs",
        JUSTIFICATION,
        "        exact |= change.prepared_round == prepared_round and change.prepared_value == value",
        "        exact |= change.prepared_round == prepared_round",
        "duel",
    ),
    Mutant(
        "j1-any-null",
        "celo #200: one ROUND-CHANGE without anything prepared leaves the value free",
        JUSTIFICATION,
        "    if all(is_null(change) for change in round_changes.values()):",
        "    if any(is_null(change) for change in round_changes.values()):",
        "duel",
    ),
    Mutant(
        "leader-j1-of-all",
        "anchor #600: a leader whose ROUND-CHANGEs prove nothing falls back to its own value",
        JUSTIFICATION,
        "    if provable is None:\n        return None\n    prepared_round, value = provable",
        "    if provable is None:\n        return RoundChangeProof(in_order(log.round_changes_up_to(round_, round_)))\n    prepared_round, value = provable",
        "duel",
    ),
    Mutant(
        "round-change-unproven",
        "charon #3946, #4011, anchor #549: a prepared round is believed without PREPAREs",
        JUSTIFICATION,
        "        return is_null(message)\n",
        "        return True\n",
        "duel",
    ),
    Mutant(
        "pre-prepare-of-anyone",
        "B6: a PRE-PREPARE need not come from the round's leader",
        JUSTIFICATION,
        "    if message.source != definition.leader(message.instance, message.round):\n        return False\n",
        "",
        "duel",
    ),
    Mutant(
        "zero-value",
        "charon #4619: a PRE-PREPARE without a value is PREPAREd",
        JUSTIFICATION,
        "    if message.value is None:\n        return False\n",
        "",
        "duel",
    ),
    Mutant(
        "unproven-later-proposal",
        "B7: a PRE-PREPARE of any round needs no proof",
        JUSTIFICATION,
        "    if message.round in (1, compare_failure_round + 1):",
        "    if message.round >= 1:",
        "duel",
    ),
    Mutant(
        "prepares-not-distinct",
        "B10: PREPAREs of one source count twice in a justification",
        JUSTIFICATION,
        "    return len(sources) == len(messages)",
        "    return True",
        "duel",
    ),
    Mutant(
        "decided-of-few",
        "C8: a DECIDED with one COMMIT too few is believed",
        JUSTIFICATION,
        "    return len(sources) >= quorum",
        "    return len(sources) >= quorum - 1",
        "duel",
    ),
    # --- rules --------------------------------------------------------------------------------
    Mutant(
        "rules-fire-again",
        "charon #536, issue 523: a rule may fire more than once in a round",
        ENGINE,
        "        self._fired.add((rule, round_))\n        self._effects.append(RuleFired",
        "        self._effects.append(RuleFired",
    ),
    Mutant(
        "timeout-keeps-fired",
        "charon #628: a round change forgets to let the rules fire again",
        ENGINE,
        "        self._fired.clear()\n        self._waiting_proof = None",
        "        self._waiting_proof = None\n        self._fired = {key for key in self._fired if key[0] is not UponRule.QUORUM_ROUND_CHANGES}\n        self._fired |= {(rule, self.round) for rule, _ in self._fired}",
    ),
    Mutant(
        "equivocator-gets-two-prepares",
        "charon #4624: a PRE-PREPARE that changes the round is forgotten, a second one is PREPAREd",
        ENGINE,
        "        self._fired.add((UponRule.JUSTIFIED_PRE_PREPARE, message.round))\n",
        "",
        "duel",
    ),
    Mutant(
        "no-prepare",
        "charon #4372: with the comparison off nobody PREPAREs",
        ENGINE,
        "        else:\n            self._broadcast(MessageType.PREPARE, message.value)",
        "        else:\n            pass",
    ),
    Mutant(
        "later-leader-without-input",
        "charon #2139, #2144: a later leader without input proposes no value",
        ENGINE,
        "        if self._input is not None:\n            self._pre_prepare(self._input, justification)",
        "        if self._input is not None or justification:\n            self._pre_prepare(self._input, justification)",
    ),
    Mutant(
        "unjust-is-logged",
        "charon #535: what is not justified is kept and counted",
        ENGINE,
        "            self._effects.append(Unjustified(message))\n        return justified",
        "            self._effects.append(Unjustified(message))\n            self._log.add(message)\n        return justified",
        "duel",
    ),
    Mutant(
        "timer-after-decision",
        "charon #513: the round timer fires after the decision",
        ENGINE,
        '        """Algorithm 3:1. The timer expired: go to the next round and say what is prepared."""\n        if self.decision is not None:\n            return\n',
        '        """Algorithm 3:1. The timer expired: go to the next round and say what is prepared."""\n',
        "duel",
    ),
    Mutant(
        "first-commit-tells",
        "charon #4622: value and round of a DECIDED are those of its first COMMIT",
        ENGINE,
        "            message.round, message.value, message.justification, UponRule.JUSTIFIED_DECIDED",
        "            message.justification[0].round, message.justification[0].value, message.justification, UponRule.JUSTIFIED_DECIDED",
        "tests",
    ),
    Mutant(
        "decided-of-past-round",
        "ssv #132, anchor #979, #981: a DECIDED of an earlier round is dropped",
        ENGINE,
        '        """Algorithm 3:17, at the receiver. Upon a justified DECIDED of any round: decide it."""\n',
        '        """Algorithm 3:17, at the receiver. Upon a justified DECIDED of any round: decide it."""\n        if message.round < self.round:\n            return\n',
    ),
    Mutant(
        "prepared-is-forgotten",
        "a quorum of PREPAREs is not remembered: the next ROUND-CHANGE hides the COMMIT",
        ENGINE,
        "        self.prepared_round = round_\n        self.prepared_value = value\n        self.prepared_justification = self._log.prepares(round_, value)\n",
        "",
    ),
    Mutant(
        "f-instead-of-f-plus-1",
        "Algorithm 3:5 with F sources: liars alone pull rounds along",
        ENGINE,
        "        enough = max(1, self._definition.faulty + 1)",
        "        enough = max(1, self._definition.faulty)",
        "scenarios:C18",
    ),
    Mutant(
        "jump-to-the-highest",
        "Algorithm 3:5: the jump goes to the highest round instead of the lowest",
        ENGINE,
        "        self._change_round(min(highest.values()), UponRule.F_PLUS_1_ROUND_CHANGES)",
        "        self._change_round(max(highest.values()), UponRule.F_PLUS_1_ROUND_CHANGES)",
        "duel",
    ),
    Mutant(
        "jump-is-not-told",
        "issue 4478: whoever jumps to a later round sends no ROUND-CHANGE",
        ENGINE,
        "        self._effects.append(StartTimer(self.round))\n        self._broadcast_round_change()\n\n    def _upon_same",
        "        self._effects.append(StartTimer(self.round))\n\n    def _upon_same",
    ),
    Mutant(
        "prepare-of-other-round",
        "go-ibft eea78df: a quorum of PREPAREs of another round is COMMITted in this one",
        ENGINE,
        "        if round_ != self.round or not self._log.has_prepare_quorum(round_, value):",
        "        if not self._log.has_prepare_quorum(round_, value):",
    ),
    Mutant(
        "leader-proposes-its-own",
        "go-ibft d055e2b: a leader shows what is prepared and proposes another value",
        ENGINE,
        "            self._pre_prepare(proof.prepares[0].value, proof.justification)",
        "            self._propose_own(proof.justification)",
        "duel",
    ),
    Mutant(
        "a-laggard-draws-any-number",
        "charon #4557: each ROUND-CHANGE after the decision draws a DECIDED",
        ENGINE,
        "        if message.round <= served_round or served >= DECIDED_ANSWERS_MAX:",
        "        if False:",
        "tests",
    ),
    # --- tallies (REFERENCE, section 3) -------------------------------------------------------
    Mutant(
        "evicted-carrier-leaves-votes",
        "embedded votes stay counted when their carrier is evicted",
        LOG,
        "        self._uncount(place, message)\n        for position, nested in enumerate(message.justification, place + 1):\n            self._uncount(position, nested)",
        "        self._uncount(place, message)",
        "duel",
    ),
    Mutant(
        "carriers-are-not-counted",
        "a vote held by several carriers is gone when the first of them is evicted",
        LOG,
        "    del held[place]\n    if not held:",
        "    del held[place]\n    held.clear()\n    if not held:",
        "duel",
    ),
    Mutant(
        "quorum-only-when-crossed",
        "a quorum is acted on only when the count crosses it, so not after a round change",
        LOG,
        "        return len(self._commits.get((round_, value), _NOBODY)) >= self.quorum",
        "        return len(self._commits.get((round_, value), _NOBODY)) == self.quorum",
        "duel",
    ),
    Mutant(
        "quorum-is-latched",
        "a quorum of PREPAREs once reached is never given up, whatever is evicted",
        LOG,
        "            if len(self._prepares.get(candidate, _NOBODY)) < self.quorum:\n                self._prepare_quorums.pop(candidate, None)\n",
        "",
        "duel",
    ),
    Mutant(
        "round-change-wipes-log",
        "charon #504, #507: a round change trims the votes of earlier rounds",
        ENGINE,
        "        self._fired.clear()\n",
        "        self._fired.clear()\n        self._log = MessageLog(self._quorum, self._definition.fifo_messages_max)\n",
        "duel",
    ),
    Mutant(
        "votes-are-not-distinct",
        "charon #508, Besu 2449: votes are counted, not their sources",
        LOG,
        "        return len(self._commits.get((round_, value), _NOBODY)) >= self.quorum",
        "        return sum(map(len, self._commits.get((round_, value), _NOBODY).values())) >= self.quorum",
    ),
    Mutant(
        "values-are-not-told-apart",
        "C3: COMMITs of a round count whatever their value",
        LOG,
        "        return len(self._commits.get((round_, value), _NOBODY)) >= self.quorum",
        "        return len({s for (r, _), v in self._commits.items() if r == round_ for s in v}) >= self.quorum",
    ),
    Mutant(
        "last-of-each-source",
        "tari #2649: of several votes of a source the last one represents it, not the first",
        LOG,
        "        place = next(iter(held)) if len(held) == 1 else min(held)\n        firsts[place]",
        "        place = max(held)\n        firsts[place]",
        "duel",
    ),
    Mutant(
        "fifo-forgets-the-newest",
        "charon #539: a full buffer drops what is new",
        LOG,
        "            self._evict(*fifo.popleft())",
        "            self._evict(*fifo.pop())",
        "duel",
    ),
    # --- restarts -----------------------------------------------------------------------------
    Mutant(
        "resume-in-round-1",
        "babylon-node #243: a node that restarts begins in round 1",
        ENGINE,
        "        self.round = max(own.vote.round for own in votes)\n",
        "        self.round = 1\n",
    ),
    Mutant(
        "resume-forgets-prepare",
        "malachite #850: a node that restarts PREPAREs again",
        ENGINE,
        "        if MessageType.PREPARE in sent:\n",
        "        if False:\n",
    ),
    Mutant(
        "resume-forgets-prepared",
        "a node that restarts forgets what it had prepared",
        ENGINE,
        "            if vote.type is MessageType.COMMIT and vote.round >= self.prepared_round:",
        "            if False:",
    ),
    Mutant(
        "resume-proposes-again",
        "malachite #864, K10: a leader that restarts with another input proposes it too",
        ENGINE,
        "        elif self.round == 1 and self._leads(1):\n            self._waiting_proof = ()",
        "        if self.round == 1 and self._leads(1):\n            self._waiting_proof = ()",
        "tests",
    ),
    Mutant(
        "recover-nothing",
        "D4: the journal is written and never read",
        REPLICA,
        "read_journal(self._journal.recover(), now_ms)",
        "read_journal((), now_ms)",
    ),
    Mutant(
        "proposal-not-journaled",
        "commonware #2797: PRE-PREPAREs are not journaled",
        VOICE,
        "        records.extend(VoteRecord(cast.own.vote, cast.own.prepares) for cast in self._votes)",
        "        records.extend(VoteRecord(cast.own.vote, cast.own.prepares) for cast in self._votes if cast.own.vote.type is not MessageType.PRE_PREPARE)",
    ),
    Mutant(
        "prepare-not-journaled",
        "W1: PREPAREs are not journaled",
        VOICE,
        "        records.extend(VoteRecord(cast.own.vote, cast.own.prepares) for cast in self._votes)",
        "        records.extend(VoteRecord(cast.own.vote, cast.own.prepares) for cast in self._votes if cast.own.vote.type is not MessageType.PREPARE)",
    ),
    Mutant(
        "commit-not-journaled",
        "W1: COMMITs are not journaled",
        VOICE,
        "        records.extend(VoteRecord(cast.own.vote, cast.own.prepares) for cast in self._votes)",
        "        records.extend(VoteRecord(cast.own.vote, cast.own.prepares) for cast in self._votes if cast.own.vote.type is not MessageType.COMMIT)",
    ),
    Mutant(
        "round-change-not-journaled",
        "era-consensus #228: ROUND-CHANGEs are not journaled",
        VOICE,
        "        records.extend(VoteRecord(cast.own.vote, cast.own.prepares) for cast in self._votes)",
        "        records.extend(VoteRecord(cast.own.vote, cast.own.prepares) for cast in self._votes if cast.own.vote.type is not MessageType.ROUND_CHANGE)",
    ),
    Mutant(
        "prepares-not-journaled",
        "W1: with a COMMIT the PREPAREs that led to it are not journaled",
        VOICE,
        "VoteRecord(cast.own.vote, cast.own.prepares)",
        "VoteRecord(cast.own.vote, ())",
    ),
    Mutant(
        "send-before-commit",
        "W1: frames leave before their votes are durable",
        DRIVER,
        "        if turn.records and self._journal is not None:\n            await self._journal.commit(turn.records)\n        for peer, frame in turn.frames:\n            await self._transport.send(frame, peer)\n",
        "        for peer, frame in turn.frames:\n            await self._transport.send(frame, peer)\n        if turn.records and self._journal is not None:\n            await self._journal.commit(turn.records)\n",
    ),
    Mutant(
        "commit-is-let-go",
        "docs/adr/012: the COMMIT of an earlier round is forgotten with the other votes of it",
        OWN_VOTES,
        "        if type_ is MessageType.COMMIT and round_ == self.commit:\n            return True\n",
        "",
        "tests:core/test_engine_resume.py",
    ),
    Mutant(
        "round-is-let-go",
        "docs/adr/012: of the highest round the PREPARE and the PRE-PREPARE are forgotten too",
        OWN_VOTES,
        "        return round_ == self.top\n",
        "        return round_ == self.top and type_ >= MessageType.COMMIT\n",
        "tests:core/test_engine_resume.py",
    ),
    # --- lost votes ---------------------------------------------------------------------------
    Mutant(
        "forgotten-votes-are-lost-ones",
        "docs/adr/012: an own vote of a round that was left, handed on by a peer, stops the voting",
        ARRIVALS,
        "            is_old = opened.has_left(vote.round) and not self.lost_votes.is_news(vote)\n",
        "            is_old = False\n",
    ),
    Mutant(
        "one-answer-is-enough",
        "W7: a node without its votes takes the word of one peer",
        "replica/recollection.py",
        "1 + len(self._counting()) >= nodes - self._faulty",
        "len(self._counting()) >= min(1, nodes - 1)",
        "tests:replica/test_lost_votes.py",
    ),
    Mutant(
        "nothing-was-voted-on",
        "W7: a node without its votes votes in what its peers told it of",
        "replica/recollection.py",
        "        return sorted({i for answer in self._answers.values() for i in answer.listed})",
        "        return []",
        "tests:replica/test_lost_votes.py",
    ),
    Mutant(
        "votes-at-once",
        "W7, K24: a node without its votes asks nobody",
        "replica/lost_votes.py",
        "        if standing is Standing.COMPLETE:\n",
        "        if standing:\n",
        "tests:replica/test_lost_votes.py",
    ),
    Mutant(
        "one-witness-names-floors",
        "docs/adr/006: a single peer says below which height no vote is given",
        "replica/recollection.py",
        "            if marks[self._faulty] > 0:\n                floors[topic] = marks[self._faulty]",
        "            floors[topic] = marks[0]",
        "tests:replica/test_let_go.py",
    ),
    # --- epochs -------------------------------------------------------------------------------
    Mutant(
        "any-seal-will-do",
        "docs/adr/013: a node PREPAREs a seal though it has voted on what that gives away",
        "replica/sealing.py",
        "answer = self._answers[digest] = not any(map(seal.claims, self._used()))",
        "answer = self._answers[digest] = True",
        "tests:replica/test_sealing.py",
    ),
    Mutant(
        "held-to-no-seal",
        "docs/adr/013: a node that has PREPAREd a seal goes on voting where the successor decides",
        "replica/epoch.py",
        "return not any(seal.claims(instance) for seal in self._accepted.values())",
        "return True",
        "tests:replica/test_sealing.py",
    ),
    # --- around the engine --------------------------------------------------------------------
    Mutant(
        "no-loopback",
        "D12, commonware #4275: a node's own vote does not return to its engine",
        OPEN,
        "                self._collector.add(message)\n        inputs.append(message)",
        "                self._collector.add(message)",
    ),
    Mutant(
        "rounds-never-meet",
        "timers at their cap: at most F nodes that are ahead never wait for the others",
        OPEN,
        "        self._is_ahead = round_ > 1 and not self._has_company(round_)",
        "        self._is_ahead = False",
    ),
    Mutant(
        "no-relay",
        "D28: votes of others are not handed on",
        REPLICA,
        "        self._relay.tick()\n",
        "",
        "scenarios:M8",
    ),
    Mutant(
        "justifications-unverified",
        "#2079: what a vote nests is believed without its signature",
        ARRIVALS,
        "            if vote.justification and not self.authenticator.is_justification_genuine(vote):",
        "            if False:",
        "scenarios:B11",
    ),
    Mutant(
        "relayed-unverified",
        "F15: a relayed vote is believed without its source's signature",
        ARRIVALS,
        "        if self.authenticator.is_genuine(vote):\n            self._deliver",
        "        if True:\n            self._deliver",
        "scenarios:B11",
    ),
    Mutant(
        "certificates-unverified",
        "G10: a certificate is believed without its signatures",
        ARRIVALS,
        "        if not self.authenticator.proves(certificate):",
        "        if False:",
        "scenarios:B11",
    ),
    Mutant(
        "late-commits-are-lost",
        "charon #532, D1: a quorum of COMMITs outside a node's round is not looked for",
        OPEN,
        "            commits = self._collector.quorum_outside(self.round)",
        "            commits = ()",
        "scenarios:A22",
    ),
    Mutant(
        "answers-without-end",
        "charon #4557, U2: each late vote of a peer draws a certificate",
        "replica/aftermath.py",
        "        if not self._peers[sender].answers.take(now_ms):\n"
        "            self._bites.note(Bound.ANSWER_BURST_MAX, sender)\n"
        "            return\n",
        "",
        "tests:replica/test_decided.py",
    ),
    Mutant(
        "locked-values-are-judged-again",
        "Besu 7875, issue 6613: the application may refuse a value that is prepared",
        "replica/value_checks.py",
        "        if not isinstance(value, bytes) or _is_prepared(message, self._quorum):",
        "        if not isinstance(value, bytes):",
        "tests:replica/test_validity.py",
    ),
    Mutant(
        "prepared-in-its-own-round",
        "anchor #599, C7: a ROUND-CHANGE may be prepared in the round that it asks for",
        "wire/shape.py",
        "not 0 <= message.prepared_round < message.round:",
        "not 0 <= message.prepared_round <= message.round:",
        "tests:wire/test_shape.py",
    ),
    Mutant(
        "values-unchecked",
        "B14: the application is not asked",
        "replica/value_checks.py",
        "        answer = self._answers.get(value)\n",
        "        answer = True\n",
        "scenarios:B14",
    ),
    Mutant(
        "invalid-is-valid",
        "B14: the application's no is taken for a yes",
        "replica/value_checks.py",
        "        self._answers[digest] = valid\n",
        "        self._answers[digest] = valid = True\n",
        "scenarios:B14",
    ),
    Mutant(
        "no-catch-up",
        "U3: a peer's feed of decisions is not read",
        "replica/catch_up.py",
        "        if feed.asked_until_ms is None or page.position <= feed.position < page.end:\n            feed.end = max(feed.end, page.end)\n            return True\n",
        "        return True\n",
        "scenarios:late",
    ),
    Mutant(
        "round-2-of-nanoseconds",
        "charon #4537: a later round lasts no time, for a unit is missing",
        "timers.py",
        "    return lambda round_: min(cap_ms, base_ms << min(round_ - 1, 40))",
        "    return lambda round_: base_ms if round_ == 1 else 0",
        "scenarios:M10",
    ),
    Mutant(
        "constant-rounds",
        "D15: rounds do not grow",
        "timers.py",
        "    return lambda round_: min(cap_ms, base_ms << min(round_ - 1, 40))",
        "    return lambda round_: base_ms",
        "scenarios:M10",
    ),
]

EXCLUDED = {
    "vote guard off (W2, W3)": "no engine meets it, so a run is the same without it; "
    "tests/replica/test_guard.py asks it directly, and the mutants above break what it guards",
    "re-sending off (D5)": "who is stuck asks and is told the current votes of others (U3), and votes are "
    "relayed (U9): what is lost comes within the bound; tests/replica/test_resend.py",
    "no certificate for a late vote (#3643, D2, D3)": "who is late asks as well (U3), so it comes within the "
    "bound; tests/replica/test_decided.py",
    "re-delivery on entering a round off (A19)": "as above: what is re-sent does it within 500 ms",
    "comparison of values (#4011, #4628, D7, D8, D21)": "it is off wherever there is a journal; "
    "the duel has it on in a fifth of its lives",
    "two rules of one key (#1505)": "the dedup key is a pair by type; leaving the round out is "
    "`rules-fire-again` or `timeout-keeps-fired`",
    "nil maps, closed channels, leaked streams (#977, #1469, #3416, #2448, #4626, GoQuorum 1516)": "bugs "
    "of Go's memory and channels; what they would be here are tests of driver, runner, transports",
    "signed bytes, unknown fields, copy of the wrong hash (#1223, #1556, #1861, #2040, #2115)": "the "
    "simulator hands over objects, not bytes: tests/wire and tests/crypto",
    "leader's timer at the proposal (#2096)": "a property of a timer policy, not of this code: "
    "tests/timers, and the matrix of timers",
    "timers by taste (#2213, #4243, #4623, Besu 7642)": "not wrong but slow, or too long at last: "
    "policies and their caps are the operator's; tests/timers and the matrix compare them",
    "who started it gets the result (#2249)": "all who propose for an instance wait for "
    "its one result: the tests of G2 to G5",
    "nil where a message should be (#2338)": "the gate builds whole messages or none: "
    "tests/fuzz/test_hostile_bytes.py",
    "duties that are not due (#2542)": "there are no duties here; who may open what is bounded by "
    "budgets: tests/replica/test_opening.py",
    "a metric for missing ROUND-CHANGEs (#4512, issue 4478)": "nothing is decided by it; the race "
    "that it counted is SCENARIOS B12",
    "races of tests and shutdown (#1989, #2869)": "there is one thread; the flaky history itself is "
    "in tests/core/test_shipped_bugs.py, by its number",
    "decided of the running round (ssv #1343)": "`decided-of-past-round` stands for it: what "
    "a DECIDED decides does not depend on the round of who hears it",
    "ROUND-CHANGE before there is a block (Besu 2095)": "a round begins with an input or a peer's "
    "vote; no ROUND-CHANGE waits for a value",
    "restarted with empty data directories (Besu 8307)": "where more than F have lost their "
    "disks none votes, by design (K25); that a new cluster begins: tests/replica/test_lost_votes.py",
    "a halt after a bad sequence of rounds (go-ibft 00f7637)": "no state of its kind is here; a run "
    "that halts is I9 of every swarm run",
}
"""Bugs of the catalogue that no mutant stands for, and why."""
