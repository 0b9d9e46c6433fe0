// The table of runs: only the rows in sight are in the document; runs may stand in groups.
import type { Run } from "../../gen/modelyard/v1/run_pb";
import { Icon } from "../../parts/icon";
import { useKeys } from "../../parts/keyboard/keys";
import { selectable, SelectBox, type Selection } from "../../parts/lists/selection";
import { StateMark } from "../../parts/run-state";
import { count } from "../../parts/text";
import { numberText, shortText } from "../../parts/values";
import { Windowed } from "../../parts/windowed";
import { hrefs } from "../../routes";
import type { Extremes } from "../../wire/samples";
import type { DrawnLine } from "../charts/lines";
import type { Column } from "./columns";
import { type Group, summaryOf } from "./groups";
import type { Row } from "./rows";

interface Props {
  rows: readonly Row[];
  /** How many rows there are, read or not. */
  total: number;
  need: (count: number) => void;
  columns: readonly Column[];
  extremes: Extremes;
  best: ReadonlyMap<string, number>;
  lines: ReadonlyMap<string, DrawnLine>;
  sort: { id: string; isDescending: boolean };
  setSort: (id: string) => void;
  selection: Selection;
  toggle: (key: string) => void;
  solo: (key: string) => void;
  open: (value: string) => void;
}

const ROW_HEIGHT = 36;
/** Choose, draw, name. */
const OWN_COLUMNS = 3;

export function RunsTable(props: Props) {
  const { rows, total, columns, sort, setSort } = props;
  useKeys({ h: () => onFocused(props.toggle), s: () => onFocused(props.solo) });
  const order = (column: { id: string; label: string; of: string; isNumeric: boolean }) => (
    <th
      key={column.id}
      class={column.isNumeric ? "num" : ""}
      aria-sort={sort.id === column.id ? (sort.isDescending ? "descending" : "ascending") : undefined}
      title={column.id}
    >
      <button type="button" class="sorter fold" onClick={() => setSort(column.id)}>
        {column.label} {column.of && <span class="faint">{column.of}</span>}
      </button>
    </th>
  );
  return (
    <table class="tbl runs-table" aria-rowcount={total + 1} ref={(table) => table?.style.setProperty("--columns", String(columns.length))}>
      <colgroup>
        <col class="col-tick" />
        <col class="col-eye" />
        <col class="col-name" />
        {columns.map((column) => (
          <col key={column.id} class="col-value" />
        ))}
      </colgroup>
      <thead>
        <tr>
          <th>
            <span class="vh">Select</span>
          </th>
          <th>
            <span class="vh">Shown in the charts</span>
          </th>
          {order({ id: "display_name", label: "Name", of: "", isNumeric: false })}
          {columns.map(order)}
        </tr>
      </thead>
      <Windowed
        as="tbody"
        count={total}
        height={ROW_HEIGHT}
        columns={OWN_COLUMNS + columns.length}
        need={props.need}
        row={(index) => {
          const row = rows[index];
          if (!row) return <Unread key={index} index={index} columns={columns.length} />;
          return row.group ? <GroupRow key={row.key} row={row} index={index} table={props} /> : <RunRow key={row.key} row={row} index={index} table={props} />;
        }}
      />
    </table>
  );
}

/** Does something with the line of the row that has the focus; false where there is none. */
function onFocused(act: (key: string) => void): void | false {
  const key = document.activeElement?.closest<HTMLElement>("tr[data-line]")?.dataset["line"];
  if (key === undefined) return false;
  act(key);
}

function Unread({ index, columns }: { index: number; columns: number }) {
  return (
    <tr aria-rowindex={index + 2}>
      <td colSpan={2} />
      <td class="bones">
        <i />
      </td>
      <td colSpan={columns} />
    </tr>
  );
}

function Eye({ line, name, toggle }: { line: DrawnLine | undefined; name: string; toggle: () => void }) {
  return (
    <button
      type="button"
      class={`eye ${line ? `c${line.colour}${line.isDashed ? " dashed" : ""}` : "off"}`}
      aria-pressed={Boolean(line)}
      aria-label={`Show ${name} in the charts`}
      onClick={toggle}
    >
      <i />
    </button>
  );
}

function RunRow({ row, index, table }: { row: Extract<Row, { run: Run }>; index: number; table: Props }) {
  const { columns, extremes, selection, best, lines } = table;
  const { run } = row;
  return (
    <tr aria-rowindex={index + 2} {...selectable(selection, run.name)} {...(row.inGroup ? { class: "in-group" } : { "data-line": run.name })}>
      <td>
        <SelectBox selection={selection} id={run.name} label={run.displayName} />
      </td>
      <td>{!row.inGroup && <Eye line={lines.get(run.name)} name={run.displayName} toggle={() => table.toggle(run.name)} />}</td>
      <td class="fold">
        <StateMark state={run.state} isIcon /> <a class="name" href={hrefs.run(run.entity, run.project, run.name)} title={run.displayName}>
          {run.displayName}
        </a>
      </td>
      {columns.map((column) => {
        const text = column.text(run, extremes);
        const number = column.isNumber ? column.number(run, extremes) : undefined;
        const isBest = table.total > 1 && best.has(column.id) && best.get(column.id) === number;
        return (
          <td key={column.id} class={`fold ${column.isNumeric ? "num" : "mute"}`} title={column.content ? undefined : text}>
            {isBest && <span class="tag best">best</span>}
            {column.content ? column.content(run) : number === undefined ? text : shortText(number)}
          </td>
        );
      })}
    </tr>
  );
}

function GroupRow({ row, index, table }: { row: Extract<Row, { group: Group }>; index: number; table: Props }) {
  const { columns, extremes, selection, lines } = table;
  const { value, runs } = row.group;
  const names = runs.map((run) => run.name);
  const isSelected = names.every(selection.has);
  return (
    <tr class="group-row" aria-rowindex={index + 2} data-line={value}>
      <td>
        <input type="checkbox" aria-label={`Select the runs of ${value}`} checked={isSelected} onClick={() => selection.set(names, !isSelected)} />
      </td>
      <td>
        <Eye line={lines.get(value)} name={value} toggle={() => table.toggle(value)} />
      </td>
      <td class="fold">
        <button type="button" class="quiet-button" aria-expanded={row.isOpen} onClick={() => table.open(value)}>
          <Icon name={row.isOpen ? "down" : "right"} small />
          <span class="fold mono">{value}</span>
          <span class="faint num">{count(runs.length, "run")}</span>
        </button>
      </td>
      {columns.map((column) => {
        const summary = summaryOf(runs, column, extremes);
        if (!summary || !column.isNumeric) return <td key={column.id} />;
        const exact = `mean ${numberText(summary.mean)} of ${count(summary.count, "run")}, from ${numberText(summary.min)} to ${numberText(summary.max)}`;
        const shown = (number: number, digits: number) => (column.isNumber ? shortText(number, digits) : column.shown(number));
        const [mean, min, max] = [shown(summary.mean, 4), shown(summary.min, 3), shown(summary.max, 3)];
        return (
          <td key={column.id} class="num fold" title={exact}>
            {mean} {min !== max && <span class="two">{`${min}–${max}`}</span>}
          </td>
        );
      })}
    </tr>
  );
}

