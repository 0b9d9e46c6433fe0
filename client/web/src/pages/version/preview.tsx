// A look at a file without downloading all of it. Everything that others wrote is shown as text.
import type { ManifestEntry } from "../../gen/modelyard/v1/model_artifact_pb";
import { Markdown } from "../../parts/markdown";
import { Bones, Failed } from "../../parts/states";
import { bytes, count } from "../../parts/text";
import { artifacts } from "../../wire/clients";
import { useQuery } from "../../wire/queries";

const TEXT_BYTES = 64_000;
const HEADER_BYTES = 2_000_000;
const LENGTH_BYTES = 8;
const IMAGE_BYTES = 20_000_000;
const MOST_ROWS = 200;
const IMAGES = /\.(png|jpe?g|webp|gif)$/i;

interface Props {
  versionId: string;
  entry: ManifestEntry;
  href: string;
}

export function Preview({ versionId, entry, href }: Props) {
  if (IMAGES.test(entry.path)) return <Picture entry={entry} href={href} />;
  if (entry.path.endsWith(".safetensors")) return <Safetensors versionId={versionId} entry={entry} />;
  return <Text versionId={versionId} entry={entry} />;
}

function Picture({ entry, href }: { entry: ManifestEntry; href: string }) {
  if (Number(entry.sizeBytes ?? 0) > IMAGE_BYTES) return <p class="hint file-foot">Pictures of more than {bytes(IMAGE_BYTES)} are not shown.</p>;
  return <img class="preview-image" src={href} alt={entry.path} loading="lazy" />;
}

/** Part of a file, at most `length` bytes from an offset on. */
async function readPart(versionId: string, path: string, offset: number, length: number): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  for await (const reply of artifacts.downloadFile({ selector: { case: "id", value: versionId }, path, offset: BigInt(offset), length: BigInt(length) })) {
    parts.push(reply.data);
  }
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

function Text({ versionId, entry }: { versionId: string; entry: ManifestEntry }) {
  const { value, failure } = useQuery(`start of ${versionId} ${entry.path}`, () => readPart(versionId, entry.path, 0, TEXT_BYTES), () => false);
  if (failure) return <Failed failure={failure} />;
  if (!value) return <Bones lines={5} />;
  const text = asText(value);
  if (text === undefined) return <p class="hint file-foot">There is no preview of this kind of file.</p>;
  const isWhole = Number(entry.sizeBytes ?? 0) <= TEXT_BYTES;
  return (
    <>
      {entry.path.endsWith(".md") && isWhole ? (
        <div class="file-foot">
          <Markdown text={text} />
        </div>
      ) : /\.[ct]sv$/.test(entry.path) ? (
        <Csv text={text} separator={entry.path.endsWith(".tsv") ? "\t" : ","} />
      ) : (
        <pre class="preview-text" tabIndex={0} aria-label={entry.path}>
          {entry.path.endsWith(".json") && isWhole ? pretty(text) : text}
        </pre>
      )}
      {!isWhole && <p class="hint file-foot">The first {bytes(TEXT_BYTES)} are shown.</p>}
    </>
  );
}

/** The bytes as text; undefined if they are none. A character that is cut at the end is left out. */
export function asText(data: Uint8Array): string | undefined {
  if (data.subarray(0, 8_000).includes(0)) return undefined;
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(data, { stream: true });
  } catch {
    return undefined;
  }
}

function pretty(text: string): string {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

function Csv({ text, separator }: { text: string; separator: string }) {
  const rows = parseCsv(text, MOST_ROWS + 1, separator);
  const [head = [], ...body] = rows;
  return (
    <div class="clip" tabIndex={0} role="region" aria-label="Rows">
      <table class="tbl">
        <thead>
          <tr>
            {head.map((name, column) => (
              <th key={column}>{name}</th>
            ))}
          </tr>
        </thead>
        <tbody>
          {body.map((row, number) => (
            <tr key={number}>
              {row.map((cell, column) => (
                <td key={column} class={cell !== "" && Number.isFinite(Number(cell)) ? "num" : ""}>
                  {cell}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
      {body.length === MOST_ROWS && <p class="hint file-foot">At most {MOST_ROWS} rows are shown.</p>}
    </div>
  );
}

/** The first rows of separated values, with quoted cells. */
export function parseCsv(text: string, most: number, separator = ","): string[][] {
  const rows: string[][] = [];
  let row: string[] = [];
  let cell = "";
  let isQuoted = false;
  for (let at = 0; at < text.length && rows.length < most; at += 1) {
    const character = text[at];
    if (isQuoted) {
      if (character !== '"') cell += character;
      else if (text[at + 1] === '"') cell += text[(at += 1)];
      else isQuoted = false;
    } else if (character === '"') isQuoted = true;
    else if (character === separator) {
      row.push(cell);
      cell = "";
    } else if (character === "\n") {
      rows.push([...row, cell.replace(/\r$/, "")]);
      row = [];
      cell = "";
    } else cell += character;
  }
  if ((cell || row.length) && rows.length < most) rows.push([...row, cell]);
  return rows;
}

interface Tensor {
  dtype: string;
  shape: number[];
  data_offsets: [number, number];
}

function Safetensors({ versionId, entry }: { versionId: string; entry: ManifestEntry }) {
  const { value, failure } = useQuery(`tensors of ${versionId} ${entry.path}`, () => readTensors(versionId, entry.path), () => false);
  if (failure) return <Failed failure={failure} />;
  if (!value) return <Bones lines={5} />;
  if (!value.length) return <p class="hint file-foot">The header cannot be read, or is larger than {bytes(HEADER_BYTES)}.</p>;
  const parameters = value.reduce((sum, [, tensor]) => sum + size(tensor), 0);
  return (
    <>
      <div class="clip" tabIndex={0} role="region" aria-label="Tensors">
        <table class="tbl">
          <thead>
            <tr>
              <th>Tensor</th>
              <th>Type</th>
              <th class="num">Shape</th>
              <th class="num">Parameters</th>
              <th class="num">Bytes</th>
            </tr>
          </thead>
          <tbody class="mono">
            {value.slice(0, MOST_ROWS).map(([name, tensor]) => (
              <tr key={name}>
                <td>{name}</td>
                <td>{tensor.dtype}</td>
                <td class="num">{tensor.shape.join(" × ") || "scalar"}</td>
                <td class="num">{size(tensor).toLocaleString("en")}</td>
                <td class="num">{bytes(tensor.data_offsets[1] - tensor.data_offsets[0])}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      <p class="hint file-foot">
        Read from the header: {count(value.length, "tensor")}, {parameters.toLocaleString("en")} parameters. The weights were not loaded.
      </p>
    </>
  );
}

async function readTensors(versionId: string, path: string): Promise<[string, Tensor][]> {
  const start = await readPart(versionId, path, 0, LENGTH_BYTES);
  if (start.length < LENGTH_BYTES) return [];
  const length = new DataView(start.buffer).getBigUint64(0, true);
  if (length > HEADER_BYTES) return [];
  const data = await readPart(versionId, path, LENGTH_BYTES, Number(length));
  try {
    const header: unknown = JSON.parse(new TextDecoder().decode(data));
    if (typeof header !== "object" || header === null) return [];
    return Object.entries(header).filter((one): one is [string, Tensor] => isTensor(one[1]));
  } catch {
    return [];
  }
}

function isTensor(value: unknown): value is Tensor {
  const tensor = value as Partial<Tensor> | null;
  return typeof tensor?.dtype === "string" && Array.isArray(tensor.shape) && Array.isArray(tensor.data_offsets);
}

function size(tensor: Tensor): number {
  return tensor.shape.reduce((product, length) => product * length, 1);
}
