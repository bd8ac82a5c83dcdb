// A cluster file is TOML, as `qbft init` writes it; some kinds of its lines matter here.

import type { Cluster } from "./verify.js";

/** A node as clients reach it. */
export interface Node {
  client: string;
  certificate: string;
}

/** Name, epoch and vote keys of a cluster file; throws where it is none. */
export function parseCluster(text: string): Cluster {
  const name = /^name = "([A-Za-z0-9._-]+)"\s*$/m.exec(text)?.[1];
  const epoch = /^epoch = (\d+)\s*$/m.exec(text)?.[1];
  const keys = [...text.matchAll(/^vote_key = "([0-9a-f]{64})"\s*$/gm)].map((key) => Buffer.from(key[1]!, "hex"));
  if (name === undefined || epoch === undefined || keys.length === 0) {
    throw new Error("not a cluster file: it needs name, epoch and vote keys");
  }
  return { name, epoch: BigInt(epoch), keys };
}

/** The nodes of a cluster file, in order. */
export function parseNodes(text: string): Node[] {
  const form = /^client = "([^"]+)"[\s\S]*?^tls_certificate = '''\s*([\s\S]*?)'''/gm;
  return [...text.matchAll(form)].map((node) => ({ client: node[1]!, certificate: node[2]! }));
}
