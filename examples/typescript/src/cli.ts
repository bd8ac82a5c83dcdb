// cli.js verify CLUSTER_FILE CERT... | cli.js propose CLUSTER_FILE PROTO_DIRECTORY TOPIC HEIGHT VALUE

import { readFileSync } from "node:fs";

import { parseCluster } from "./cluster.js";
import { type Decision, verify } from "./verify.js";

const told = (decision: Decision): string =>
  `${decision.topic}/${decision.height}  round ${decision.round}  ${decision.value?.toString("utf8") ?? ""}  ` +
  `digest ${decision.digest.toString("hex")}  signers ${decision.signers.join(" ")}`;

const [command, clusterFile, ...rest] = process.argv.slice(2);
try {
  if (command === "verify" && clusterFile !== undefined && rest.length > 0) {
    const cluster = parseCluster(readFileSync(clusterFile, "utf8"));
    for (const path of rest) console.log(`${path}  genuine  ${told(verify(readFileSync(path), cluster))}`);
  } else if (command === "propose" && clusterFile !== undefined && rest.length === 4) {
    const { propose } = await import("./propose.js"); // only here gRPC is needed
    const [protos, topic, height, value] = rest as [string, string, string, string];
    console.log(told(await propose(clusterFile, protos, topic, BigInt(height), Buffer.from(value))));
  } else {
    console.error("usage: verify CLUSTER_FILE CERT... | propose CLUSTER_FILE PROTO_DIRECTORY TOPIC HEIGHT VALUE");
    process.exitCode = 2;
  }
} catch (error) {
  console.error(`qbft: ${error instanceof Error ? error.message : error}`);
  process.exitCode = 1;
}
