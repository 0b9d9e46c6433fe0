// How to use a version, in Python, in a shell, and in Go with the generated stubs.
import type { ModelArtifactVersion } from "../../gen/modelyard/v1/model_artifact_pb";
import type { RegisteredModelVersion } from "../../gen/modelyard/v1/registered_model_pb";
import { Code, type Snippet } from "../../parts/code";

export function Usage({ snippets }: { snippets: readonly Snippet[] }) {
  return (
    <div class="stack usage">
      {snippets.map((snippet) => (
        <>
          <h2>{snippet.name}</h2>
          <Code {...snippet} />
        </>
      ))}
    </div>
  );
}

export function snippetsOf(version: ModelArtifactVersion, link: RegisteredModelVersion | undefined): Snippet[] {
  const holder = link ?? version;
  const ref = `${holder.entity}/${holder.project}/${holder.name}:v${holder.number}`;
  const call = version.type.includes("model") ? `path = run.use_model(${JSON.stringify(ref)})` : `path = run.use_artifact(${JSON.stringify(ref)}).download()`;
  return [
    { name: "Python", text: `import modelyard\n\nwith modelyard.init(project="serving") as run:\n    ${call}` },
    { name: "Shell", text: `modelyard use ${quotedForShell(ref)} --root models` },
    { name: "Go", text: inGo(ref) },
  ];
}

function quotedForShell(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

function inGo(ref: string): string {
  return `// pb "modelyard/v1": the generated stubs; client/go has a whole program.
models := pb.NewModelArtifactServiceClient(connection)
found, err := models.GetModelArtifactVersion(ctx, &pb.GetModelArtifactVersionRequest{
	Selector: &pb.GetModelArtifactVersionRequest_Ref{Ref: ${JSON.stringify(ref)}},
})
if err != nil {
	return err
}
files, err := models.ListModelArtifactFiles(ctx, &pb.ListModelArtifactFilesRequest{
	Selector: &pb.ListModelArtifactFilesRequest_Id{Id: found.Version.Id},
})`;
}
