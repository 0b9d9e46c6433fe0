// Markdown of users. micromark leaves out raw HTML and links with other protocols than web ones.
import { micromark } from "micromark";
import { gfmTable, gfmTableHtml } from "micromark-extension-gfm-table";
import { useEffect, useRef } from "preact/hooks";

export function Markdown({ text }: { text: string }) {
  const host = useRef<HTMLDivElement>(null);
  useEffect(() => {
    // Links of others open apart, and learn nothing of this page. Pictures would tell where it is read.
    host.current?.querySelectorAll("a").forEach((link) => {
      link.rel = "noopener noreferrer nofollow";
      link.target = "_blank";
    });
  }, [text]);
  const html = micromark(text, { extensions: [gfmTable()], htmlExtensions: [gfmTableHtml()] }).replace(
    /<img [^>]*alt="([^"]*)"[^>]*>/g,
    "<em>$1</em>",
  );
  return <div class="md" ref={host} dangerouslySetInnerHTML={{ __html: html }} />;
}

/** The first line of a card, without its marks. */
export function firstLine(markdown: string): string {
  const line = markdown.split("\n").find((one) => one.trim() && !one.startsWith("#")) ?? "";
  return line.replace(/[*_`]|\[([^\]]*)\]\([^)]*\)/g, "$1").trim();
}
