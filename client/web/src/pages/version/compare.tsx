// What changed from another version to this one: files, metadata, and the results of the runs that made them.
import { useSignal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import type { ModelArtifactVersion } from "../../gen/modelyard/v1/model_artifact_pb";
import type { RegisteredModelVersion } from "../../gen/modelyard/v1/registered_model_pb";
import { Alias, sortedAliases } from "../../parts/alias";
import { Combobox } from "../../parts/fields/combobox";
import { Icon } from "../../parts/icon";
import { Bones, Empty, Failed } from "../../parts/states";
import { Time } from "../../parts/text";
import { flattened } from "../../parts/values";
import { hrefOfRef, hrefOfRun, parameter, setParameters } from "../../routes";
import { artifacts } from "../../wire/clients";
import { useQuery } from "../../wire/queries";
import { ChangedFiles, Sums } from "./changed-files";
import { type Comparison, compare } from "./comparison";
import { Differences } from "./differences";
import { results, useProducer } from "./producer";
import { type Holder, refOf, useSiblings } from "./siblings";

interface Props {
  version: ModelArtifactVersion;
  link: RegisteredModelVersion | undefined;
}

/** The base is in the address; without one it is the version before this one. */
export function Compare({ version, link }: Props) {
  const siblings = useSiblings(version, link);
  const holder = link ?? version;
  const before = siblings?.find((one) => one.number < holder.number) ?? siblings?.[0];
  const base = parameter("with") || (before ? refOf(before) : "");
  const choose = (ref: string) => setParameters({ with: ref });
  if (!siblings) return <Bones />;
  return (
    <>
      <BaseFields siblings={siblings} base={base} choose={choose} />
      {base ? (
        <Compared version={version} holder={holder} base={base} key={base} />
      ) : (
        <Empty title="There is no other version yet">Any version that you may read can be named above, such as project/name:v3.</Empty>
      )}
    </>
  );
}

function BaseFields({ siblings, base, choose }: { siblings: readonly Holder[]; base: string; choose: (ref: string) => void }) {
  const isOther = base !== "" && !siblings.some((one) => refOf(one) === base);
  const typed = useSignal(isOther ? base : "");
  return (
    <div class="tools compare-tools">
      <Combobox
        label="Compare with"
        value={base}
        placeholder="Another artifact"
        choose={(ref) => {
          typed.value = "";
          choose(ref);
        }}
        choices={siblings.map((one) => ({
          value: refOf(one),
          text: `v${one.number} ${one.aliases.join(" ")}`,
          content: (
            <>
              <span class="mono">v{String(one.number)}</span>
              {sortedAliases(one.aliases, (alias) => alias).map((alias) => (
                <Alias key={alias} alias={alias} />
              ))}
              <span class="faint small">
                <Time at={one.createTime} />
              </span>
            </>
          ),
        }))}
      />
      <form
        onSubmit={(event) => {
          event.preventDefault();
          choose(typed.value.trim());
        }}
      >
        <label class="field">
          <span class="label">or any version</span>
          <input
            class="in mono"
            placeholder="project/name:v3"
            spellcheck={false}
            value={typed.value}
            onInput={(event) => (typed.value = event.currentTarget.value)}
          />
        </label>
      </form>
    </div>
  );
}

function Compared({ version, holder, base: baseRef }: { version: ModelArtifactVersion; holder: Holder; base: string }) {
  const { value, failure } = useQuery(
    `comparison ${version.id} ${baseRef}`,
    () => compare(version.id, baseRef),
    () => false,
  );
  if (failure) return <Failed failure={failure} />;
  if (!value) return <Bones lines={9} />;
  const own = `${holder.entity}/${holder.project}/${holder.name}:`;
  const baseName = baseRef.startsWith(own) ? baseRef.slice(own.length) : (baseRef.split("/").pop() ?? "");
  return <Shown version={version} comparison={value} name={`v${holder.number}`} baseName={baseName} baseRef={baseRef} />;
}

interface ShownProps {
  version: ModelArtifactVersion;
  comparison: Comparison;
  name: string;
  baseName: string;
  baseRef: string;
}

function Shown({ version, comparison, name, baseName, baseRef }: ShownProps) {
  const onlyChanged = useSignal(true);
  const base = useBase(comparison.baseId);
  const [run, baseRun] = [useProducer(version), useProducer(base)];
  return (
    <>
      <Sums total={comparison.total} size={version.sizeBytes} baseName={baseName} />
      <Section title="Files">
        <ChangedFiles comparison={comparison} name={name} baseName={baseName} />
      </Section>
      <Section
        title="Metadata"
        push={
          <label class="row">
            <input type="checkbox" checked={onlyChanged.value} onChange={(event) => (onlyChanged.value = event.currentTarget.checked)} />
            Only what differs
          </label>
        }
      >
        {base ? (
          <Differences
            label="Differences of the metadata"
            values={flattened(version.metadata)}
            base={flattened(base.metadata)}
            name={name}
            baseName={baseName}
            onlyChanged={onlyChanged.value}
          />
        ) : (
          <Bones lines={3} />
        )}
      </Section>
      <Section
        title="Results of the runs"
        push={
          <span class="row small mute">
            {baseRun && <a href={hrefOfRun(`${baseRun.entity}/${baseRun.project}/${baseRun.name}`)}>{baseRun.displayName || baseRun.name}</a>}
            {baseRun && run && <Icon name="right" small />}
            {run && <a href={hrefOfRun(`${run.entity}/${run.project}/${run.name}`)}>{run.displayName || run.name}</a>}
          </span>
        }
      >
        <Differences label="Differences of the results" values={results(run)} base={results(baseRun)} name={name} baseName={baseName} onlyChanged={onlyChanged.value} />
      </Section>
      {base && (
        <p class="hint compare-foot">
          Compared with <a href={hrefOfRef(`${base.entity}/${base.project}/${base.name}:v${base.number}`, "version", base.type)}>{baseRef}</a>. In a shell:{" "}
          <code>
            modelyard diff {base.entity}/{base.project}/{base.name}:v{String(base.number)} {version.entity}/{version.project}/{version.name}:v{String(version.number)}
          </code>
        </p>
      )}
    </>
  );
}

function useBase(id: string): ModelArtifactVersion | undefined {
  return useQuery(
    `version by id ${id}`,
    async () => (await artifacts.getModelArtifactVersion({ selector: { case: "id", value: id } })).version,
    (event) => event.versionId === id,
  ).value;
}

function Section({ title, push, children }: { title: string; push?: ComponentChildren; children: ComponentChildren }) {
  return (
    <section class="sec sec-gap">
      <div class="sec-head">
        <h2>{title}</h2>
        {push && <span class="push">{push}</span>}
      </div>
      {children}
    </section>
  );
}
