// Aliases: `latest` moves by itself, and looks so.
export function Alias({ alias, version, href }: { alias: string; version?: string; href?: string }) {
  const auto = alias === "latest";
  const content = (
    <>
      {alias}
      {version && <b>{version}</b>}
      {auto && <span class="vh"> (moves by itself)</span>}
    </>
  );
  const kind = `alias${auto ? " auto" : ""}`;
  return href ? (
    <a class={kind} href={href}>
      {content}
    </a>
  ) : (
    <span class={kind}>{content}</span>
  );
}

/** `latest` last, the others by name. */
export function sortedAliases<T>(items: readonly T[], nameOf: (item: T) => string): T[] {
  return [...items].sort(
    (a, b) => Number(nameOf(a) === "latest") - Number(nameOf(b) === "latest") || nameOf(a).localeCompare(nameOf(b)),
  );
}
