// How charts are drawn: which metrics, over what, how smooth. The address has it all.
import { Icon } from "../../parts/icon";
import { Menu } from "../../parts/menu";
import { parameter, setParameters } from "../../routes";
import type { Drawing } from "./sampled-chart";

interface Props {
  names: readonly string[];
  drawing: Drawing;
  isBadPattern: boolean;
  hasGroups: boolean;
  /** Whether training and validation can share charts. */
  hasSplits: boolean;
  download: () => void;
}

/** What x may be besides a metric. */
export const AXES: Record<string, string> = { _step: "step", _runtime: "seconds since the start", _timestamp: "time" };
const MOST_AXES = 200;

export function ChartTools({ names, drawing, isBadPattern, hasGroups, hasSplits, download }: Props) {
  const { xAxis, smoothing, band } = drawing;
  const chosen = parameter("x");
  const choices = [...new Set([...Object.keys(AXES), ...(chosen ? [chosen] : []), ...names.slice(0, MOST_AXES)])];
  return (
    <div class="tools">
      <label class="with regex">
        <span class="vh">Metrics by regular expression</span>
        <Icon name="search" />
        <input
          class={`in mono${isBadPattern ? " bad" : ""}`}
          placeholder="loss|acc"
          value={parameter("metric")}
          aria-invalid={isBadPattern || undefined}
          onInput={(event) => setParameters({ metric: event.currentTarget.value })}
        />
      </label>
      <label class="row">
        x
        <select class="in axis-field" aria-label="x axis" value={chosen} onChange={(event) => setParameters({ x: event.currentTarget.value, range: "" })}>
          <option value="">{`usual: ${AXES[xAxis] ?? xAxis}`}</option>
          {choices.map((key) => (
            <option key={key} value={key}>
              {AXES[key] ?? key}
            </option>
          ))}
        </select>
      </label>
      <label class="row">
        Band
        <select class="in" value={band || "none"} onChange={(event) => setParameters({ band: event.currentTarget.value })}>
          <option value="none">none</option>
          <option value="minmax">min–max</option>
          {hasGroups && <option value="std">± deviation</option>}
        </select>
      </label>
      <Menu label="the charts" items={[{ label: "CSV of every row, all metrics", icon: "download", act: download }]} />
      <label class="row smooth">
        Smoothing
        <input
          type="range"
          min="0"
          max="0.99"
          step="0.01"
          value={smoothing}
          onInput={(event) => setParameters({ smooth: Number(event.currentTarget.value) ? event.currentTarget.value : "" })}
        />
        <output>{smoothing.toFixed(2)}</output>
      </label>
      <Switch name="log" label="log y" isOn={drawing.isLogY} on="1" off="" />
      <Switch name="logx" label="log x" isOn={drawing.isLogX} on="1" off="" />
      {hasSplits && <Switch name="split" label="train + val" isOn={parameter("split") !== "0"} on="" off="0" />}
    </div>
  );
}

function Switch({ name, label, isOn, on, off }: { name: string; label: string; isOn: boolean; on: string; off: string }) {
  return (
    <label class="row">
      <input type="checkbox" checked={isOn} onChange={(event) => setParameters({ [name]: event.currentTarget.checked ? on : off })} />
      {label}
    </label>
  );
}
