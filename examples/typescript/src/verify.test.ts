// The verifier against the vectors that the service's own tests pin.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { parseCluster, parseNodes } from "./cluster.js";
import { signed } from "./ed25519.js";
import { type Cluster, clusterId, leader, root, valueDigest, verify } from "./verify.js";

const vectors = JSON.parse(readFileSync(new URL("../../../tests/crypto/vectors.json", import.meta.url), "utf8"));
const hex = (text: string): Buffer => Buffer.from(text, "hex");
const cluster: Cluster = {
  name: vectors.cluster.name,
  epoch: BigInt(vectors.cluster.epoch),
  keys: vectors.cluster.vote_keys.map(hex),
};

test("cluster id, values and leaders", () => {
  assert.equal(clusterId(cluster).toString("hex"), vectors.cluster.cluster_id);
  for (const one of vectors.values) assert.equal(valueDigest(hex(one.value)).toString("hex"), one.digest);
  for (const one of vectors.leaders) {
    const height = BigInt(one.height);
    const leaders = one.leaders.map((_: number, i: number) => leader(cluster, one.topic, height, BigInt(i + 1)));
    assert.deepEqual(leaders, one.leaders);
  }
});

test("the keys of a cluster file", () => {
  const { text, clients, refused } = vectors.cluster_file;
  assert.deepEqual(parseCluster(text), cluster);
  assert.deepEqual(parseNodes(text).map((node) => node.client), clients);
  for (const one of refused) assert.throws(() => parseCluster(one));
});

test("paths lead to the root", () => {
  const { votes, paths } = vectors.batch;
  const size = BigInt(votes.length);
  votes.forEach((vote: { leaf: string }, i: number) => {
    const path = paths[i].map(hex);
    assert.equal(root(hex(vote.leaf), BigInt(i), size, path)?.toString("hex"), vectors.batch.root);
    assert.equal(root(hex(vote.leaf), BigInt(i), size, path.slice(1)), undefined);
  });
});

test("Ed25519 by the one rule", () => {
  for (const one of vectors.ed25519) {
    assert.equal(signed(hex(one.public), hex(one.message), hex(one.signature)), one.valid, one.name);
  }
});

test("a certificate and a decision", () => {
  for (const data of [hex(vectors.certificate.protobuf), hex(vectors.certificate.decision_protobuf)]) {
    const decision = verify(data, cluster);
    assert.equal(decision.topic, vectors.certificate.topic);
    assert.equal(decision.digest.toString("hex"), vectors.certificate.digest);
    for (let end = 0; end < data.length; end++) assert.throws(() => verify(data.subarray(0, end), cluster));
    assert.throws(() => verify(data, { ...cluster, name: "another" }));
  }
});
