// A cluster file is TOML, as `qbft init` writes it; some kinds of its lines matter here.

import type { Cluster } from "./verify.js";

/** A node as clients reach it. */
export interface Node {
  client: string;
  certificate: string;
}

/**
 * The strings and comments of TOML: what looks like a line within one of many lines is none. One that does not end
 * goes on to the end of the file.
 */
const NOT_LINES =
  /'''[\s\S]*?(?:'{3,5}|$)|"""(?:\\[\s\S]|[^\\])*?(?:"{3,5}|$)|"(?:\\.|[^"\\\n])*"|'[^'\n]*'|#[^\n]*/g;

/** What stands before `=`, and what after it; strings of many lines without their quotes. */
type Table = Map<string, string>;

/** What stands above all tables, and each validator's table. */
function read(text: string): { top: Table; validators: Table[] } {
  const long: string[] = [];
  const lines = text.replace(NOT_LINES, (token) => {
    if (token.startsWith("#")) return "";
    if (!token.startsWith("'''") && !token.startsWith('"""')) return token;
    return `long ${long.push(token.slice(3, -3)) - 1}`;
  });
  const top: Table = new Map();
  const validators: Table[] = [];
  let table = top;
  for (const line of lines.split("\n").map((one) => one.trim())) {
    const [, key, value] = /^(\w+) = (.+)$/.exec(line) ?? [];
    if (line.startsWith("[")) {
      table = new Map();
      if (line === "[[validators]]") validators.push(table);
    } else if (key !== undefined && value !== undefined) {
      const at = /^long (\d+)$/.exec(value)?.[1];
      table.set(key, at === undefined ? value : long[Number(at)]!);
    }
  }
  return { top, validators };
}

/** Name, epoch and vote keys of a cluster file; throws where it is none. */
export function parseCluster(text: string): Cluster {
  const { top, validators } = read(text);
  const name = /^"([A-Za-z0-9._-]+)"$/.exec(top.get("name") ?? "")?.[1];
  const epoch = /^\d+$/.exec(top.get("epoch") ?? "")?.[0];
  const keys = validators.map((table) => /^"([0-9a-f]{64})"$/.exec(table.get("vote_key") ?? "")?.[1]);
  if (name === undefined || epoch === undefined || keys.length === 0 || keys.includes(undefined)) {
    throw new Error("not a cluster file: it needs name, epoch and vote keys");
  }
  return { name, epoch: BigInt(epoch), keys: keys.map((key) => Buffer.from(key!, "hex")) };
}

/** The nodes of a cluster file, in order. */
export function parseNodes(text: string): Node[] {
  return read(text).validators.map((table) => ({
    client: (table.get("client") ?? "").replaceAll('"', ""),
    certificate: (table.get("tls_certificate") ?? "").trim(),
  }));
}
