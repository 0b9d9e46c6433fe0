// The services, over Connect's protocol on the address that the page came from.
import { createClient } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-web";
import { AliasService } from "../gen/modelyard/v1/alias_pb";
import { EventService } from "../gen/modelyard/v1/event_pb";
import { ModelArtifactService } from "../gen/modelyard/v1/model_artifact_pb";
import { ProjectService } from "../gen/modelyard/v1/project_pb";
import { RegisteredModelService } from "../gen/modelyard/v1/registered_model_pb";
import { RunService } from "../gen/modelyard/v1/run_pb";
import { ServerService } from "../gen/modelyard/v1/server_pb";

export const transport = createConnectTransport({ baseUrl: location.origin, useBinaryFormat: true });

export const aliases = createClient(AliasService, transport);
export const artifacts = createClient(ModelArtifactService, transport);
export const events = createClient(EventService, transport);
export const projects = createClient(ProjectService, transport);
export const registry = createClient(RegisteredModelService, transport);
export const runs = createClient(RunService, transport);
export const server = createClient(ServerService, transport);

/** A key for a write, so that it may be sent again. */
export function requestId(): string {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
