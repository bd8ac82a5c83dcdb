# ruff: noqa: E501 - code is quoted as it stands
"""Bugs around the engine: of the replica, its driver, the timers and the gate of the wire.

Those that others shipped, and what HARDENING asks of the replica, taken away.
"""

from __future__ import annotations

from mutants.mutant import Mutant

REPLICA = "replica/replica.py"
ARRIVALS = "replica/arrivals.py"
OPEN = "replica/open_instance.py"
VOICE = "replica/voice.py"
OWN_VOTES = "replica/own_votes.py"
DRIVER = "replica/driver.py"

AROUND_ENGINE = [
    # --- restarts ----------------------------------------------------------------------------
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
    Mutant(
        "values-not-journaled",
        "K16: the bytes that a vote is for are not journaled with it",
        VOICE,
        "                self._records.append(ProposalRecord(proposal, is_input=False))\n",
        "                pass\n",
        "scenarios:K16-value",
    ),
    Mutant(
        "collector-not-seeded",
        "K16: a node that restarts does not count its own COMMIT outside its round",
        OPEN,
        "            if cast.own.vote.type is MessageType.COMMIT:\n                self._collector.add(cast.own.vote)",
        "            if False:\n                self._collector.add(cast.own.vote)",
        "tests:replica/test_resume.py",
    ),
    Mutant(
        "bytes-not-awaited",
        "B15: a PRE-PREPARE is PREPAREd before the bytes of its value are here",
        OPEN,
        "        if awaited is not None:\n            self._note_kept(sender, kept=self.awaited",
        "        if False:\n            self._note_kept(sender, kept=self.awaited",
    ),
    # --- lost votes --------------------------------------------------------------------------
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
    # --- epochs ------------------------------------------------------------------------------
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
    # --- around the engine -------------------------------------------------------------------
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
