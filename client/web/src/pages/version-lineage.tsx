// The runs that made and used a version.
import { LineageDirection, LineageRelation, type LineageRun, type ModelArtifactVersion } from "../gen/modelyard/v1/model_artifact_pb";
import { StateMark } from "../parts/run-state";
import { Bones, Empty, Failed } from "../parts/states";
import { hrefOfRun } from "../routes";
import { artifacts } from "../wire/clients";
import { useQuery } from "../wire/queries";

const SHOWN = 8;
export function VersionLineage({ version, isShort }: { version: ModelArtifactVersion; isShort?: boolean }) {
  const { value, failure } = useQuery(
    `lineage ${version.id}`,
    () => artifacts.getLineage({ selector: { case: "id", value: version.id }, depth: 1, direction: LineageDirection.UNSPECIFIED }),
    (event) => event.versionId === version.id || event.runId !== "",
  );
  if (failure) return <Failed failure={failure} />;
  if (!value) return <Bones lines={4} />;
  const runsOf = (relation: LineageRelation) => {
    const ids = new Set(value.edges.filter((edge) => edge.relation === relation && edge.versionId === version.id).map((edge) => edge.runId));
    return value.runs.filter((run) => ids.has(run.id));
  };
  const [made, used] = [runsOf(LineageRelation.OUTPUT), runsOf(LineageRelation.INPUT)];
  if (!made.length && !used.length) {
    return isShort ? null : <Empty title="No run is known">It was logged without a run, and no run has used it.</Empty>;
  }
  return (
    <>
      {made.length > 0 && <Runs title="Logged by" runs={made} most={isShort ? SHOWN : Infinity} />}
      {used.length > 0 && <Runs title="Used by" runs={used} most={isShort ? SHOWN : Infinity} />}
    </>
  );
}

function Runs({ title, runs, most }: { title: string; runs: readonly LineageRun[]; most: number }) {
  return (
    <section class="sec">
      <div class="sec-head">
        <h2>{title}</h2>
        <span class="push faint num">
          {runs.length} {runs.length === 1 ? "run" : "runs"}
        </span>
      </div>
      <ul class="stack">
        {runs.slice(0, most).map((run) => (
          <li class="row" key={run.id}>
            <span class="row">
              <StateMark state={run.state} />
              <a href={hrefOfRun(run.ref)}>{run.displayName || run.ref.split("/").pop()}</a>
            </span>
            {run.deleted && <span class="push mute small">deleted</span>}
          </li>
        ))}
      </ul>
    </section>
  );
}
