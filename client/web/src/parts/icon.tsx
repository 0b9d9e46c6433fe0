// Icons of 16 × 16, drawn in the colour of the text.
const PATHS: Record<string, preact.ComponentChildren> = {
  artifacts: <path d="M8 1.9 13.4 5v6L8 14.1 2.6 11V5zM2.6 5 8 8.05 13.4 5M8 8.05v6.05" />,
  check: <path d="m3 8.5 3.25 3.25L13 4.75" />,
  columns: (
    <>
      <rect x="2.5" y="3" width="11" height="10" rx="1.5" />
      <path d="M6.2 3v10M9.85 3v10" />
    </>
  ),
  copy: (
    <>
      <rect x="5.5" y="5.5" width="8" height="8" rx="1.5" />
      <path d="M10.5 5.5V4A1.5 1.5 0 0 0 9 2.5H4A1.5 1.5 0 0 0 2.5 4v5A1.5 1.5 0 0 0 4 10.5h1.5" />
    </>
  ),
  cross: <path d="m4 4 8 8M12 4l-8 8" />,
  down: <path d="M3.75 6 8 10.25 12.25 6" />,
  right: <path d="M6 3.75 10.25 8 6 12.25" />,
  download: <path d="M8 2.5v8M4.5 7.25 8 10.75l3.5-3.5M2.75 13.5h10.5" />,
  edit: <path d="m10.5 3 2.5 2.5L6 12.5l-3.25.75L3.5 10z" />,
  file: <path d="M4 1.75h5l3 3v9.5H4zM9 1.75v3h3" />,
  filter: <path d="M2.5 4h11M4.75 8h6.5M6.75 12h2.5" />,
  fold: <path d="M2.5 3h11v10h-11zM6 3v10M11 6.5 9.5 8l1.5 1.5" />,
  folder: <path d="M2 4.25c0-.7.5-1.25 1.25-1.25H6l1.5 1.75h5.25c.7 0 1.25.5 1.25 1.25v5.75c0 .7-.5 1.25-1.25 1.25h-9.5C2.5 13 2 12.45 2 11.75z" />,
  history: <path d="M2.75 5.5A5.75 5.75 0 1 1 2.25 8M2.5 2.75v3h3M8 5v3.25L10.25 9.5" />,
  keys: <path d="M1.75 4h12.5v8H1.75zM4.5 6.75h.01M7 6.75h.01M9.5 6.75h.01M12 6.75h.01M5 9.5h6" />,
  lineage: (
    <>
      <circle cx="3.75" cy="8" r="1.75" />
      <circle cx="12.25" cy="3.75" r="1.75" />
      <circle cx="12.25" cy="12.25" r="1.75" />
      <path d="M5.5 8h1.7c1.5 0 1.3-4.25 3.3-4.25M7.2 8c1.5 0 1.3 4.25 3.3 4.25" />
    </>
  ),
  link: (
    <path d="M6.75 9.25a2.7 2.7 0 0 0 3.8 0l2.25-2.25a2.7 2.7 0 1 0-3.8-3.8l-.75.75M9.25 6.75a2.7 2.7 0 0 0-3.8 0L3.2 9a2.7 2.7 0 1 0 3.8 3.8l.75-.75" />
  ),
  more: (
    <>
      <circle cx="3.5" cy="8" r=".6" fill="currentColor" />
      <circle cx="8" cy="8" r=".6" fill="currentColor" />
      <circle cx="12.5" cy="8" r=".6" fill="currentColor" />
    </>
  ),
  plus: <path d="M8 3v10M3 8h10" />,
  registry: <path d="M2.5 5 8 2.25 13.5 5 8 7.75zm0 3 5.5 2.75L13.5 8m-11 3L8 13.75 13.5 11" />,
  runs: <path d="M2.5 2.5v11h11M5 10l2.5-3.5 2.25 2 3.25-5" />,
  search: (
    <>
      <circle cx="7" cy="7" r="4.25" />
      <path d="m10.2 10.2 3.3 3.3" />
    </>
  ),
  tag: (
    <>
      <path d="M2.5 2.5h5.25l5.75 5.75-5.25 5.25L2.5 7.75z" />
      <circle cx="5.25" cy="5.25" r=".6" fill="currentColor" />
    </>
  ),
  theme: (
    <>
      <circle cx="8" cy="8" r="5.5" />
      <path d="M8 2.5a5.5 5.5 0 0 1 0 11z" fill="currentColor" />
    </>
  ),
  trash: <path d="M3 4.5h10M6.5 4.5V3h3v1.5M4.25 4.5l.6 8.5h6.3l.6-8.5" />,
  up: <path d="M3.75 10 8 5.75 12.25 10" />,
  warn: <path d="M8 2.5 14 13H2zM8 6.5v3M8 11.4v.1" />,
};

export function Icon({ name, small, class: extra = "" }: { name: string; small?: boolean; class?: string }) {
  return (
    <svg class={`i${small ? " s" : ""} ${extra}`} viewBox="0 0 16 16" aria-hidden="true">
      {PATHS[name]}
    </svg>
  );
}
