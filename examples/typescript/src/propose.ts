// Proposes a value to a running cluster and believes nothing but the certificate.

import { readFileSync } from "node:fs";

import { Client, credentials, type MethodDefinition } from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";

import { type Node, parseCluster, parseNodes } from "./cluster.js";
import { type Cluster, type Decision, leader, verify } from "./verify.js";
import { fields } from "./wire.js";

/** The name in every node's certificate: which node it is, only its key says. */
const TLS_NAME = "qbft-node";

/** How long one node has; enough for a few rounds, as when the leader of the first is down. */
const NODE_SECONDS = 15;

/** Asks one node after the other, the leader of round 1 first, until one proves what was decided. */
export async function propose(
  clusterFile: string,
  protos: string,
  topic: string,
  height: bigint,
  value: Buffer,
): Promise<Decision> {
  const text = readFileSync(clusterFile, "utf8");
  const [cluster, nodes] = [parseCluster(text), parseNodes(text)];
  const service = loadSync("qbft/v1/decision.proto", { includeDirs: [protos] })["qbft.v1.DecisionService"];
  const method = (service as Record<string, MethodDefinition<object, object>>)["Propose"]!;
  const request = { proposal: { instance: { topic, height: String(height) }, value } };
  const first = leader(cluster, topic, height, 1n);
  const failures: string[] = [];
  for (let i = 0; i < nodes.length; i++) {
    const index = (first + i) % nodes.length;
    try {
      return proven(await ask(nodes[index]!, method, request), cluster, topic, height);
    } catch (error) {
      failures.push(`node ${index}: ${error instanceof Error ? error.message : error}`);
    }
  }
  throw new Error(`no node gave a proof; ${failures.join("; ")}`);
}

/** What a reply proves of that instance; throws where it proves nothing, or something of another one. */
export function proven(reply: Buffer, cluster: Cluster, topic: string, height: bigint): Decision {
  const answer = fields(reply).find((field) => field.number === 1);
  if (answer === undefined) throw new Error("it gave no decision");
  const decision = verify(answer.bytes, cluster);
  if (decision.topic !== topic || decision.height !== height) {
    throw new Error(`it answered about another instance, ${decision.topic}/${decision.height}`);
  }
  if (decision.value === undefined) throw new Error("it kept the value back");
  return decision;
}

/** A node's reply as it came: a certificate is checked from its bytes. */
async function ask(node: Node, method: MethodDefinition<object, object>, request: object): Promise<Buffer> {
  const client = new Client(node.client, credentials.createSsl(Buffer.from(node.certificate)), {
    "grpc.ssl_target_name_override": TLS_NAME,
    "grpc.enable_http_proxy": 0,
  });
  const deadline = Date.now() + NODE_SECONDS * 1_000;
  try {
    return await new Promise<Buffer>((resolve, reject) => {
      client.makeUnaryRequest(
        method.path,
        method.requestSerialize,
        (bytes) => bytes,
        request,
        { deadline },
        (error, bytes) => (error ? reject(error) : resolve(bytes!)),
      );
    });
  } finally {
    client.close();
  }
}
