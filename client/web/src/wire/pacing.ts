// How often what changes all the time is read again, and what is shown meanwhile.
import { useEffect, useRef, useState } from "preact/hooks";

/** A number that follows another one at most once in a while. */
export function useThrottled(value: number, milliseconds: number): number {
  const [shown, setShown] = useState(value);
  const latest = useRef(value);
  latest.current = value;
  useEffect(() => {
    if (value === shown) return;
    const timer = setTimeout(() => setShown(latest.current), milliseconds);
    return () => clearTimeout(timer);
  }, [shown, value === shown]);
  return shown;
}

/** A value; while it is undefined, the last one that was there for the key. */
export function useLast<T>(value: T | undefined, key: string): T | undefined {
  const last = useRef<{ key: string; value: T } | undefined>(undefined);
  if (value !== undefined) last.current = { key, value };
  return value ?? (last.current?.key === key ? last.current.value : undefined);
}
