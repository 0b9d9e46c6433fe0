// Asks for the next rows when the end of a list comes near; the button is for those who do not scroll.
import { useEffect, useRef } from "preact/hooks";

export function MoreRows({ more }: { more: () => void }) {
  const button = useRef<HTMLButtonElement>(null);
  useEffect(() => {
    const seen = new IntersectionObserver((entries) => entries.some((entry) => entry.isIntersecting) && more(), {
      rootMargin: "600px",
    });
    if (button.current) seen.observe(button.current);
    return () => seen.disconnect();
  }, [more]);
  return (
    <p class="more-rows">
      <button type="button" class="btn" ref={button} onClick={more}>
        Show more
      </button>
    </p>
  );
}
