// The metadata of a version.
import type { ModelArtifactVersion } from "../../gen/modelyard/v1/model_artifact_pb";
import { Empty } from "../../parts/states";
import { flattened, textOf } from "../../parts/values";

export function Metadata({ version }: { version: ModelArtifactVersion }) {
  const values = flattened(version.metadata);
  if (!values.length) return <Empty title="No metadata">Artifact(…, metadata={"{…}"}) and artifact.save() set it.</Empty>;
  return (
    <div class="box clip" tabIndex={0} role="region" aria-label="Metadata">
      <table class="diff">
        <thead>
          <tr>
            <th>Key</th>
            <th>Value</th>
          </tr>
        </thead>
        <tbody>
          {values.map(([key, value]) => (
            <tr key={key}>
              <th scope="row">{key}</th>
              <td>{textOf(value)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
