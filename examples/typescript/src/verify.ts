// Checks certificates of a qbft cluster offline, from its public keys alone.
//
// Written from docs/PROTOCOL.md; shares no code with the service and needs Node's own modules only.
// Numbers of sections are that page's.

import { createHash } from "node:crypto";

import { signed } from "./ed25519.js";
import { fields } from "./wire.js";

/** What a certificate is checked against. */
export interface Cluster {
  name: string;
  epoch: bigint;
  keys: Buffer[];
}

/** What a cluster has decided, beyond doubt as long as at most f of its validators lie. */
export interface Decision {
  topic: string;
  height: bigint;
  round: bigint;
  digest: Buffer;
  /** Absent where the file has none. */
  value?: Buffer;
  signers: bigint[];
}

interface Commit {
  source: bigint;
  storeId: Buffer;
  sequence: bigint;
  size: bigint;
  index: bigint;
  path: Buffer[];
  signature: Buffer;
}

interface Certificate {
  topic: string;
  height: bigint;
  round: bigint;
  digest: Buffer;
  commits: Commit[];
}

const TOPIC = /^[a-z0-9][a-z0-9._/-]{0,127}$/;
const COMMIT = 3n;
const ROUND_MAX = (1n << 31n) - 1n;
const HEIGHT_MAX = (1n << 63n) - 1n;
const BATCH_MAX = 256n;
const NOTHING = Buffer.alloc(0);

const hash = (...parts: Buffer[]): Buffer => createHash("sha256").update(Buffer.concat(parts)).digest();

function u64(x: bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(x);
  return bytes;
}

function pack(...parts: (Buffer | string)[]): Buffer {
  return Buffer.concat(
    parts.flatMap((part) => {
      const bytes = Buffer.from(part as Buffer);
      const length = Buffer.alloc(4);
      length.writeUInt32BE(bytes.length);
      return [length, bytes];
    }),
  );
}

/** How many of n validators prove a decision (section 1). */
export const quorum = (n: number): number => Math.ceil((2 * n) / 3);

/** Section 2. */
export const clusterId = (cluster: Cluster): Buffer =>
  hash(
    pack("qbft/cluster/v1", cluster.name, u64(cluster.epoch), u64(BigInt(cluster.keys.length)), ...cluster.keys),
  );

/** What the validators agree on (section 7). */
export const valueDigest = (value: Buffer): Buffer => hash(Buffer.from("qbft/value/v1\0"), value);

/** Who leads an instance in a round (section 7). */
export function leader(cluster: Cluster, topic: string, height: bigint, round: bigint): number {
  const first = hash(pack("qbft/leader/v1", clusterId(cluster), topic, u64(height))).readBigUInt64BE();
  return Number((first + round - 1n) % BigInt(cluster.keys.length));
}

/** Where a path leads from a leaf; undefined where it leads nowhere (section 4). */
export function root(leaf: Buffer, index: bigint, size: bigint, path: Buffer[]): Buffer | undefined {
  if (index >= size) return undefined;
  let [h, i, last] = [leaf, index, size - 1n];
  for (const beside of path) {
    if (last === 0n || beside.length !== 32) return undefined;
    if (i % 2n === 1n || i === last) {
      h = hash(Buffer.of(1), beside, h);
      while (i % 2n === 0n && i !== 0n) [i, last] = [i / 2n, last / 2n];
    } else {
      h = hash(Buffer.of(1), h, beside);
    }
    [i, last] = [i / 2n, last / 2n];
  }
  return last === 0n ? h : undefined;
}

/** Checks a file that holds a Decision, or only its Certificate; throws where it proves nothing (section 8). */
export function verify(data: Buffer, cluster: Cluster): Decision {
  const { certificate, value } = decode(data);
  const { topic, height, round, digest, commits } = certificate;
  demand(TOPIC.test(topic) && height <= HEIGHT_MAX, "there can be no such instance");
  demand(round >= 1n && round <= ROUND_MAX, `there is no round ${round}`);
  demand(digest.length === 32 && digest.some((byte) => byte !== 0), "not a digest");
  demand(commits.length >= quorum(cluster.keys.length), `${commits.length} COMMITs are no quorum`);
  demand(!value || valueDigest(value).equals(digest), "the value is not the one that was decided");
  const id = clusterId(cluster);
  let before = -1n;
  for (const commit of commits) {
    demand(commit.source > before, "the sources do not ascend");
    before = commit.source;
    const key = cluster.keys[Number(commit.source)];
    demand(
      key !== undefined && isSigned(commit, id, canonical(certificate, id, commit.source), key),
      `the signature of validator ${commit.source} is not valid`,
    );
  }
  return { topic, height, round, digest, value, signers: commits.map((commit) => commit.source) };
}

/** The bytes that stand for a COMMIT of the certificate (section 3). */
function canonical(of: Certificate, id: Buffer, source: bigint): Buffer {
  const number = [u64(COMMIT), u64(source), u64(of.round)];
  return pack("qbft/vote", u64(1n), id, of.topic, u64(of.height), ...number, of.digest, u64(0n), NOTHING);
}

/** Checks a portable signature (section 5). */
function isSigned(commit: Commit, id: Buffer, vote: Buffer, key: Buffer): boolean {
  const { source, storeId, sequence, size, index, path, signature } = commit;
  if (size < 1n || size > BATCH_MAX || storeId.length !== 16) return false;
  if (sequence < 1n || sequence > HEIGHT_MAX - BATCH_MAX) return false;
  const top = root(hash(Buffer.of(0), vote), index, size, path);
  if (top === undefined) return false;
  return signed(key, pack("qbft/batch/v1", id, u64(source), storeId, u64(sequence), u64(size), top), signature);
}

function demand(holds: boolean, otherwise: string): void {
  if (!holds) throw new Error(otherwise);
}

function decode(data: Buffer): { certificate: Certificate; value?: Buffer } {
  const outer = { topic: "", height: 0n, round: 0n };
  const nested: Buffer[] = [];
  let value: Buffer | undefined;
  for (const field of fields(data)) {
    if (field.number === 1) readInstance(field.bytes, outer);
    else if (field.number === 2) outer.round = field.value;
    else if (field.number === 8) value = field.bytes;
    else if (field.number === 9) nested.push(field.bytes);
  }
  if (nested.length === 0) return { certificate: decodeCertificate(data) };
  const certificate = decodeCertificate(Buffer.concat(nested));
  demand(
    outer.topic === certificate.topic && outer.height === certificate.height && outer.round === certificate.round,
    "the certificate is of another instance or round",
  );
  return { certificate, value };
}

function decodeCertificate(data: Buffer): Certificate {
  const certificate: Certificate = { topic: "", height: 0n, round: 0n, digest: NOTHING, commits: [] };
  for (const field of fields(data)) {
    if (field.number === 1) readInstance(field.bytes, certificate);
    else if (field.number === 2) certificate.round = field.value;
    else if (field.number === 3) certificate.digest = field.bytes;
    else if (field.number === 4) certificate.commits.push(decodeCommit(field.bytes));
  }
  return certificate;
}

function readInstance(data: Buffer, into: { topic: string; height: bigint }): void {
  for (const field of fields(data)) {
    if (field.number === 1) into.topic = field.bytes.toString("latin1");
    else if (field.number === 2) into.height = field.value;
  }
}

function decodeCommit(data: Buffer): Commit {
  const commit: Commit = {
    source: 0n, storeId: NOTHING, sequence: 0n, size: 0n, index: 0n, path: [], signature: NOTHING,
  };
  for (const field of fields(data)) {
    if (field.number === 1) commit.source = field.value;
    else if (field.number === 2) readSignature(field.bytes, commit);
  }
  return commit;
}

function readSignature(data: Buffer, into: Commit): void {
  for (const field of fields(data)) {
    if (field.number === 1) into.storeId = field.bytes;
    else if (field.number === 2) into.sequence = field.value;
    else if (field.number === 3) into.size = field.value;
    else if (field.number === 4) into.index = field.value;
    else if (field.number === 5) into.path.push(field.bytes);
    else if (field.number === 6) into.signature = field.bytes;
  }
}
