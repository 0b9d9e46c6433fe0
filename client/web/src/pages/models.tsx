// The list of registered models: only the rows in sight are in the document. Rows can be selected.
import { useSignal } from "@preact/signals";
import type { RegisteredModel } from "../gen/modelyard/v1/registered_model_pb";
import { DeleteChosen } from "../dialogs/delete-chosen";
import { LinkNewVersion } from "../dialogs/link-new-version";
import { Alias, sortedAliases } from "../parts/alias";
import { Icon } from "../parts/icon";
import { useKeys } from "../parts/keyboard/keys";
import { focusedRow } from "../parts/keyboard/rows";
import { selectable, SelectBox, type Selection, SelectionBar, useSelection } from "../parts/lists/selection";
import { firstLine } from "../parts/markdown";
import { Menu } from "../parts/menu";
import { copy, Time } from "../parts/text";
import { Windowed } from "../parts/windowed";
import { hrefs } from "../routes";
import { registry, requestId } from "../wire/clients";
import type { Listed } from "../wire/lists";

const ROW_HEIGHT = 53;
const COLUMNS = 7;

interface Props {
  list: Listed<RegisteredModel>;
  need: (count: number) => void;
}

export function Models({ list, need }: Props) {
  const linking = useSignal<RegisteredModel | undefined>(undefined);
  const isDeleting = useSignal(false);
  const selection = useSelection(list.rows.map((model) => model.id));
  const chosen = list.rows.filter((model) => selection.has(model.id));
  const copyRefs = () => void copy(chosen.map(refOf).join("\n"));
  useKeys({
    c: () => (chosen.length ? copyRefs() : false),
    l: () => {
      const path = focusedRow()?.pathname;
      const model = list.rows.find((one) => hrefOf(one) === path);
      if (!model) return false;
      linking.value = model;
    },
  });
  return (
    <>
      <Table list={list} need={need} selection={selection} link={(model) => (linking.value = model)} />
      <SelectionBar selection={selection}>
        <button type="button" class="btn" onClick={copyRefs}>
          <Icon name="copy" />
          {chosen.length === 1 ? "Copy ref" : "Copy refs"}
        </button>
        <button type="button" class="btn" onClick={() => (isDeleting.value = true)}>
          <Icon name="trash" />
          Delete…
        </button>
      </SelectionBar>
      {linking.value && <LinkNewVersion model={linking.value} close={() => (linking.value = undefined)} />}
      {isDeleting.value && (
        <DeleteChosen
          noun="registered model"
          items={chosen.map((model) => ({ id: model.id, name: `${model.project}/${model.name}` }))}
          consequence="Their links, aliases and cards are deleted; the versions that are linked stay in their projects."
          force="Also those whose versions have aliases other than latest"
          remove={(id, force) => registry.deleteRegisteredModel({ id, force, requestId: requestId() })}
          close={() => (isDeleting.value = false)}
        />
      )}
    </>
  );
}

function Table({ list, need, selection, link }: Props & Omit<RowProps, "model">) {
  return (
    <table class="tbl tall fold-up ticked">
      <thead>
        <tr>
          <th>
            <span class="vh">Select</span>
          </th>
          <th>Name</th>
          <th>Type</th>
          <th>Aliases</th>
          <th class="num">Versions</th>
          <th>Last linked</th>
          <th>
            <span class="vh">Actions</span>
          </th>
        </tr>
      </thead>
      <Windowed
        as="tbody"
        count={list.rows.length + (list.next ? 1 : 0)}
        height={ROW_HEIGHT}
        columns={COLUMNS}
        need={need}
        row={(index) => {
          const model = list.rows[index];
          return model ? <ModelRow key={model.id} model={model} selection={selection} link={link} /> : <Unread key="unread" />;
        }}
      />
    </table>
  );
}

/** Stands for the rows that are being read. */
function Unread() {
  return (
    <tr>
      <td colSpan={COLUMNS} class="bones">
        <i />
      </td>
    </tr>
  );
}

const SHOWN_ALIASES = 4;

interface RowProps {
  model: RegisteredModel;
  selection: Selection;
  link: (model: RegisteredModel) => void;
}

function ModelRow({ model, selection, link }: RowProps) {
  const href = hrefOf(model);
  return (
    <tr {...selectable(selection, model.id)}>
      <td class="tick">
        <SelectBox selection={selection} id={model.id} label={model.name} />
      </td>
      <td class="full">
        {model.project !== "model-registry" && <span class="faint">{model.project} / </span>}
        <a class="name" href={href}>
          {model.name}
        </a>
        {model.description && <span class="two">{firstLine(model.description)}</span>}
      </td>
      <td class="no-phone">
        <span class="tag">{model.type}</span>
      </td>
      <td class="full">
        <Aliases model={model} />
      </td>
      <td class="num" data-unit={Number(model.versionCount) === 1 ? "version" : "versions"}>
        {Number(model.versionCount)}
      </td>
      <td class="last">
        <LastLinked model={model} />
      </td>
      <td class="acts">
        <span class="row acts-in">
          <a class="btn" href={href} aria-label={`View details of ${model.name}`}>
            View details
          </a>
          <Menu
            label={model.name}
            items={[
              { label: "Link new version", icon: "link", act: () => link(model) },
              { label: "Copy ref", icon: "copy", act: () => void copy(refOf(model)) },
            ]}
          />
        </span>
      </td>
    </tr>
  );
}

function Aliases({ model }: { model: RegisteredModel }) {
  const aliases = sortedAliases(model.aliases, (one) => one.alias);
  const shown = aliases.length > SHOWN_ALIASES ? aliases.slice(0, SHOWN_ALIASES - 1) : aliases;
  return (
    <span class="row">
      {shown.map(({ alias, version }) => (
        <Alias key={alias} alias={alias} version={version} href={hrefs.link(model.entity, model.project, model.name, version)} />
      ))}
      {aliases.length > shown.length && <span class="faint">+ {aliases.length - shown.length}</span>}
    </span>
  );
}

function LastLinked({ model }: { model: RegisteredModel }) {
  if (!model.lastLinkTime) return <span class="mute">never</span>;
  return (
    <>
      <span class="no-phone">
        <Time at={model.lastLinkTime} />
      </span>
      <span class="two">
        by {model.lastLinkedBy}
        <span class="only-phone">
          , <Time at={model.lastLinkTime} />
        </span>
      </span>
    </>
  );
}

function refOf(model: RegisteredModel): string {
  return `${model.entity}/${model.project}/${model.name}`;
}

function hrefOf(model: RegisteredModel): string {
  return hrefs.model(model.entity, model.project, model.name);
}
