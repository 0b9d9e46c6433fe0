// Choices that the browser keeps for this page. A browser that keeps nothing gives the default at each visit.
export function kept(name: string): string {
  try {
    return localStorage.getItem(`modelyard-${name}`) ?? "";
  } catch {
    return "";
  }
}

/** Keeps a choice; "" forgets it. */
export function keep(name: string, value: string): void {
  try {
    if (value) localStorage.setItem(`modelyard-${name}`, value);
    else localStorage.removeItem(`modelyard-${name}`);
  } catch {
    // The browser keeps nothing for this page.
  }
}
