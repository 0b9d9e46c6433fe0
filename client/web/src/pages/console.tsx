// The last lines that a run printed; searched on the server, followed while it goes on.
import { useSignal } from "@preact/signals";
import { createClient } from "@connectrpc/connect";
import { useEffect, useRef } from "preact/hooks";
import { type ConsoleLine, ConsoleStream, RunConsoleService } from "../gen/modelyard/v1/run_console_pb";
import { Icon } from "../parts/icon";
import { Bones, Empty, Failed } from "../parts/states";
import { transport } from "../wire/clients";
import { useQuery } from "../wire/queries";

const consoles = createClient(RunConsoleService, transport);
const LINES = 1_000;
const AGAIN_MS = 3_000;
const NEAR_END = 80;
// eslint-disable-next-line no-control-regex
const COLOURS = /\u001b\[[0-9;]*m/g;

export function Console({ runId, isRunning }: { runId: string; isRunning: boolean }) {
  const text = useSignal("");
  const turn = useSignal(0);
  const end = useRef<HTMLPreElement>(null);
  const { value: lines, failure } = useQuery(
    `console ${runId} ${text.value} ${turn.value}`,
    async () => (await consoles.listConsoleLines({ runId, text: text.value, fromEnd: true, pageSize: LINES })).lines,
    (event) => event.runId === runId,
  );
  const kept = useRef<ConsoleLine[]>([]);
  if (lines) kept.current = lines;
  useEffect(() => {
    if (!isRunning) return;
    const timer = setInterval(() => (turn.value += 1), AGAIN_MS);
    return () => clearInterval(timer);
  }, [isRunning]);
  useEffect(() => {
    const element = end.current;
    if (!element) return;
    if (element.scrollHeight - element.scrollTop - element.clientHeight < NEAR_END || !lines) element.scrollTop = element.scrollHeight;
  }, [lines]);
  const shown = lines ?? kept.current;
  return (
    <>
      <div class="tools">
        <label class="with regex">
          <span class="vh">Search the console</span>
          <Icon name="search" />
          <input class="in mono" data-filter placeholder="Search the console" onChange={(event) => (text.value = event.currentTarget.value)} />
        </label>
        <span class="hint push">The last {LINES.toLocaleString("en")} lines</span>
      </div>
      {failure && <Failed failure={failure} />}
      {!lines && !kept.current.length && !failure && <Bones />}
      {lines && !shown.length && <Empty title={text.value ? `No line has ${text.value}` : "Nothing was printed"} />}
      {shown.length > 0 && (
        <div class="code">
          <pre class="console" ref={end} tabIndex={0} aria-label="Console">
            {shown.map((line) => (
              <span key={`${line.writer} ${line.number}`} class={line.stream === ConsoleStream.STDERR ? "no" : ""}>
                {line.process && <span class="c">{line.process} </span>}
                {line.text.replace(COLOURS, "")}
                {"\n"}
              </span>
            ))}
          </pre>
        </div>
      )}
    </>
  );
}
