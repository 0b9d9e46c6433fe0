// The runs that made and used a version; the first that made it is in the overview.
import { LineageDirection, LineageRelation, type LineageRun, type ModelArtifactVersion } from "../../gen/modelyard/v1/model_artifact_pb";
import { StateMark } from "../../parts/run-state";
import { Bones, Failed } from "../../parts/states";
import { hrefOfRun } from "../../routes";
import { artifacts } from "../../wire/clients";
import { useQuery } from "../../wire/queries";

const SHOWN = 8;
export function VersionLineage({ version }: { version: ModelArtifactVersion }) {
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
  return (
    <>
      {(made.length > 1 || made.some((run) => run.deleted)) && <Runs title="Logged by" runs={made} />}
      {used.length > 0 && <Runs title="Used by" runs={used} />}
    </>
  );
}

function Runs({ title, runs }: { title: string; runs: readonly LineageRun[] }) {
  return (
    <section class="sec">
      <div class="sec-head">
        <h2>{title}</h2>
        <span class="push faint num">
          {runs.length} {runs.length === 1 ? "run" : "runs"}
        </span>
      </div>
      <ul class="stack">
        {runs.slice(0, SHOWN).map((run) => (
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
