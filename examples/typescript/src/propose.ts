// Proposes a value to a running cluster and believes nothing but the certificate.

import { readFileSync } from "node:fs";

import { Client, credentials, type MethodDefinition } from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";

import { parseCluster, parseNodes } from "./cluster.js";
import { type Decision, leader, verify } from "./verify.js";
import { fields } from "./wire.js";

/** The name in every node's certificate: which node it is, only its key says. */
const TLS_NAME = "qbft-node";

const SECONDS_MAX = 30;

/** Asks the leader of round 1 (any node would do), and verifies the bytes of its answer. */
export async function propose(
  clusterFile: string,
  protos: string,
  topic: string,
  height: bigint,
  value: Buffer,
): Promise<Decision> {
  const text = readFileSync(clusterFile, "utf8");
  const cluster = parseCluster(text);
  const node = parseNodes(text)[leader(cluster, topic, height, 1n)]!;
  const service = loadSync("qbft/v1/decision.proto", { includeDirs: [protos] })["qbft.v1.DecisionService"];
  const method = (service as Record<string, MethodDefinition<object, object>>)["Propose"]!;
  const client = new Client(node.client, credentials.createSsl(Buffer.from(node.certificate)), {
    "grpc.ssl_target_name_override": TLS_NAME,
    "grpc.enable_http_proxy": 0,
  });
  const request = { proposal: { instance: { topic, height: String(height) }, value } };
  const deadline = Date.now() + SECONDS_MAX * 1_000;
  try {
    const reply = await new Promise<Buffer>((resolve, reject) => {
      client.makeUnaryRequest(
        method.path,
        method.requestSerialize,
        (bytes) => bytes, // as it came: a certificate is checked from its bytes
        request,
        { deadline },
        (error, bytes) => (error ? reject(error) : resolve(bytes!)),
      );
    });
    const decision = fields(reply).find((field) => field.number === 1);
    if (decision === undefined) throw new Error("the node gave no decision");
    return verify(decision.bytes, cluster);
  } finally {
    client.close();
  }
}
