// A version of a registered model.
import { useSignal } from "@preact/signals";
import { LinkToRegistry } from "../dialogs/link-to-registry";
import { useVisit } from "../parts/kept/recent";
import { Icon } from "../parts/icon";
import { useKeys } from "../parts/keyboard/keys";
import { Bones, Failed } from "../parts/states";
import { hrefs, type VersionTab } from "../routes";
import { registry } from "../wire/clients";
import { useQuery } from "../wire/queries";
import { isAbout } from "./registry";
import { VersionView } from "./version/version";

interface Props {
  entity: string;
  project: string;
  name: string;
  version: string;
  tab: VersionTab;
}

export function LinkPage({ entity, project, name, version, tab }: Props) {
  const ref = `${entity}/${project}/${name}:${version}`;
  const { value: link, failure } = useQuery(
    `link ${ref}`,
    async () => (await registry.getRegisteredModelVersion({ selector: { case: "ref", value: ref } })).version,
    (event) => isAbout(event, entity, project, name) || event.linked === ref,
  );
  useVisit(link && { kind: "link", title: `${name}:${version}`, second: `${entity}/${project}`, href: hrefs.link(entity, project, name, version) });
  const isLinking = useSignal(false);
  useKeys({ l: () => (link?.source ? void (isLinking.value = true) : false) });
  return (
    <main class="main">
      <div class="wide">
        {failure && <Failed failure={failure} />}
        {!link && !failure && <Bones lines={9} />}
        {link && !link.source && (
          <p class="note">This version is in an entity that your key does not reach: only its number and its aliases are shown here.</p>
        )}
        {link?.source && (
          <VersionView
            version={link.source}
            link={link}
            tab={tab}
            href={(one) => hrefs.link(entity, project, name, version, one)}
            actions={
              <button type="button" class="btn" onClick={() => (isLinking.value = true)}>
                <Icon name="link" />
                Link to registry
              </button>
            }
          />
        )}
      </div>
      {isLinking.value && link?.source && <LinkToRegistry version={link.source} close={() => (isLinking.value = false)} />}
    </main>
  );
}
