// What charts draw lines of: runs, or groups of runs. A line keeps its colour as long as it is drawn.

export interface DrawnLine {
  id: string;
  name: string;
  /** 1 to 8: the colours of page.css. */
  colour: number;
  isDashed: boolean;
  /** The runs whose mean is drawn; of a single run its points are. */
  runIds: readonly string[];
  /** How many runs the group has, drawn or not. */
  size: number;
}

const COLOURS = 8;

/** The colour of a number from 0 on; the ninth is the first again, dashed. */
export function colourOf(number: number): { colour: number; isDashed: boolean } {
  return { colour: (number % COLOURS) + 1, isDashed: number >= COLOURS };
}

export function lineOfRun(run: { id: string; displayName: string }, number: number): DrawnLine {
  return { id: run.id, name: run.displayName, ...colourOf(number), runIds: [run.id], size: 1 };
}

/** The number of each line: as before where it was drawn before, else the least that is free. */
export function numbered(ids: readonly string[], before: ReadonlyMap<string, number>): Map<string, number> {
  const numbers = new Map<string, number>();
  const taken = new Set<number>();
  for (const id of ids) {
    const number = before.get(id);
    if (number === undefined || taken.has(number)) continue;
    numbers.set(id, number);
    taken.add(number);
  }
  let next = 0;
  for (const id of ids) {
    if (numbers.has(id)) continue;
    while (taken.has(next)) next += 1;
    taken.add(next);
    numbers.set(id, next);
  }
  return numbers;
}
