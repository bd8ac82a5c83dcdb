// What a node may answer, and what of it is believed.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { proven } from "./propose.js";

const vectors = JSON.parse(readFileSync(new URL("../../../tests/crypto/vectors.json", import.meta.url), "utf8"));
const hex = (text: string): Buffer => Buffer.from(text, "hex");
const cluster = {
  name: vectors.cluster.name,
  epoch: BigInt(vectors.cluster.epoch),
  keys: vectors.cluster.vote_keys.map(hex),
};
const { topic } = vectors.certificate;
const height = BigInt(vectors.certificate.height);

/** A ProposeReply: a decision as its field 1. */
function reply(decision: Buffer): Buffer {
  const size: number[] = [];
  let rest = decision.length;
  for (; rest > 0x7f; rest >>= 7) size.push((rest & 0x7f) | 0x80);
  return Buffer.concat([Buffer.of(0x0a, ...size, rest), decision]);
}

test("a decision about what was asked", () => {
  const decision = proven(reply(hex(vectors.certificate.decision_protobuf)), cluster, topic, height);
  assert.equal(decision.height, height);
});

test("a genuine certificate of another instance is no answer", () => {
  const genuine = reply(hex(vectors.certificate.decision_protobuf));
  assert.throws(() => proven(genuine, cluster, topic, height + 1n), /another instance/);
  assert.throws(() => proven(genuine, cluster, `${topic}s`, height), /another instance/);
});

test("a certificate without its value, and nothing at all", () => {
  const alone = reply(hex(vectors.certificate.protobuf));
  assert.throws(() => proven(alone, cluster, topic, height), /kept the value back/);
  assert.throws(() => proven(Buffer.alloc(0), cluster, topic, height), /no decision/);
});
