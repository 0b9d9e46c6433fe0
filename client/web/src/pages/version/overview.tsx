// Where does a version come from, where is it linked, how is it used?
import type { ModelArtifactVersion } from "../../gen/modelyard/v1/model_artifact_pb";
import type { RegisteredModelVersion } from "../../gen/modelyard/v1/registered_model_pb";
import { Alias, sortedAliases } from "../../parts/alias";
import { Snippets } from "../../parts/code";
import { Icon } from "../../parts/icon";
import { bytes, Copied, count, shortDigest, Time } from "../../parts/text";
import { flattened, textOf } from "../../parts/values";
import { hrefOfRef, hrefs } from "../../routes";
import { results, useProducer } from "./producer";
import { snippetsOf } from "./usage";
import { VersionLineage } from "./version-lineage";

const MOST_VALUES = 12;

interface Props {
  version: ModelArtifactVersion;
  link: RegisteredModelVersion | undefined;
  editAliases: () => void;
}

export function Overview({ version, link, editAliases }: Props) {
  const producer = useProducer(version);
  const metrics = results(producer);
  const metadata = flattened(version.metadata);
  return (
    <div class="cols">
      <div>
        <section class="sec">
          <h2>Version overview</h2>
          <dl class="kv">
            {link && <Source version={version} link={link} />}
            <dt>Linked To</dt>
            <dd>
              {version.linkedTo.length === 0 && <span class="mute">not linked</span>}
              {version.linkedTo.map((one) => (
                <span key={one.id}>
                  <a class="mono" href={hrefOfRef(one.ref, "link")}>
                    {one.ref.split("/").pop()}
                  </a>
                  {one.id === link?.id && <span class="mute"> this page</span>}
                </span>
              ))}
            </dd>
            <dt>Aliases</dt>
            <dd>
              {sortedAliases((link ?? version).aliases, (alias) => alias).map((alias) => (
                <Alias key={alias} alias={alias} />
              ))}
              <button type="button" class="btn bare icon" aria-label="Edit aliases" onClick={editAliases}>
                <Icon name="edit" small />
              </button>
            </dd>
            <dt>Digest</dt>
            <dd>
              <Copied text={version.digest} shown={shortDigest(version.digest)} />
            </dd>
            <dt>Size</dt>
            <dd class="tab">
              {bytes(version.sizeBytes)} <span class="mute">in {count(version.fileCount, "file")}</span>
            </dd>
            <dt>Logged by</dt>
            <dd>
              {producer && <a href={hrefs.run(producer.entity, producer.project, producer.name)}>{producer.displayName || producer.name}</a>}
              <span class="mute">
                {version.createdBy}, <Time at={version.createTime} />
                {version.historyStep !== undefined && `, at step ${Number(version.historyStep).toLocaleString("en")}`}
              </span>
            </dd>
            {link && (
              <>
                <dt>Linked</dt>
                <dd>
                  <Time at={link.createTime} />
                  <span class="mute">by {link.createdBy}</span>
                </dd>
              </>
            )}
            <dt>Expires</dt>
            <dd>
              {version.expireTime ? <Time at={version.expireTime} /> : "never"}
              {version.linkedTo.length > 0 && <span class="mute">(linked versions are kept)</span>}
            </dd>
          </dl>
        </section>
        <section class="sec">
          <h2>Use it</h2>
          <Snippets snippets={snippetsOf(version, link)} />
        </section>
      </div>
      <div>
        <Values title="Metadata" values={metadata} />
        <Values
          title="Metrics of the run"
          values={metrics}
          all={producer && hrefs.run(producer.entity, producer.project, producer.name, "overview")}
        />
        <VersionLineage version={version} />
      </div>
    </div>
  );
}

function Source({ version, link }: { version: ModelArtifactVersion; link: RegisteredModelVersion }) {
  return (
    <>
      <dt>Source Version</dt>
      <dd>
        <a class="mono" href={hrefOfRef(link.sourceRef, "version", version.type)}>
          {version.name}:v{String(version.number)}
        </a>
        <span class="mute">
          in {version.entity}/{version.project}
        </span>
      </dd>
    </>
  );
}

function Values({ title, values, all }: { title: string; values: ReturnType<typeof flattened>; all?: string | undefined }) {
  if (!values.length) return null;
  return (
    <section class="sec">
      <div class="sec-head">
        <h2>{title}</h2>
        {values.length > MOST_VALUES && (
          <span class="push faint">{all ? <a href={all}>All {values.length}</a> : `${MOST_VALUES} of ${values.length}`}</span>
        )}
      </div>
      <dl class="kv kv-num">
        {values.slice(0, MOST_VALUES).map(([key, value]) => (
          <Row key={key} name={key} text={textOf(value)} />
        ))}
      </dl>
    </section>
  );
}

function Row({ name, text }: { name: string; text: string }) {
  return (
    <>
      <dt class="mono">{name}</dt>
      <dd>{text}</dd>
    </>
  );
}
