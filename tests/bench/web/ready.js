// Runs before the scripts of a page. `bench.until(ready)` resolves with the time, in milliseconds since the navigation
// began, of the first frame in which the page is ready: `ready` is a selector of what a person waits for, perhaps with
// a text that it must contain.
globalThis.bench = {
  isReady({ selector, text }) {
    const found = document.querySelectorAll(selector);
    return [...found].some((one) => !text || one.textContent.includes(text) || one.getAttribute("aria-label")?.includes(text));
  },
  until(ready, seconds = 60) {
    return new Promise((resolve, reject) => {
      const look = () => {
        if (this.isReady(ready)) resolve(performance.now());
        else if (performance.now() > seconds * 1000 + this.begun) reject(new Error(`not ready: ${JSON.stringify(ready)}`));
        else requestAnimationFrame(look);
      };
      this.begun = performance.now();
      look();
    });
  },
  // Goes to another view without loading the page again, as a click on a link does.
  async go(path, ready) {
    const begun = performance.now();
    if (path.startsWith("/#")) location.hash = path.slice(1);
    else {
      history.pushState(null, "", path);
      dispatchEvent(new PopStateEvent("popstate"));
    }
    return (await this.until(ready)) - begun;
  },
  // From the next end of a drag to the frame with the points that were read for it: `bench.zoomed`.
  watchZoom() {
    this.zoomed = new Promise((resolve) => {
      const drawn = (begun) => requestAnimationFrame(() => requestAnimationFrame(() => resolve(performance.now() - begun)));
      const released = () => {
        const begun = performance.now();
        new PerformanceObserver((list, observer) => {
          if (!list.getEntries().some((one) => one.name.endsWith("SampleMetrics") && one.startTime >= begun)) return;
          observer.disconnect();
          drawn(begun);
        }).observe({ type: "resource" });
      };
      addEventListener("mouseup", released, { capture: true, once: true });
    });
  },
  // Scrolls what is around the first element of a selector down for a while; the milliseconds of each frame.
  frames(selector, seconds, speed) {
    const scrolls = (one) => one.scrollHeight > one.clientHeight && /auto|scroll/.test(getComputedStyle(one).overflowY);
    let scroller = document.querySelector(selector);
    while (scroller && !scrolls(scroller)) scroller = scroller.parentElement;
    scroller ??= document.scrollingElement;
    let furthest = 0;
    return new Promise((resolve) => {
      const taken = [];
      const end = performance.now() + seconds * 1000;
      let before = 0;
      const step = (now) => {
        if (before) taken.push(now - before);
        before = now;
        scroller.scrollBy(0, speed);
        furthest = Math.max(furthest, scroller.scrollTop);
        if (now < end) requestAnimationFrame(step);
        else resolve({ taken, furthest });
      };
      requestAnimationFrame(step);
    });
  },
  // The calls that ended since a time: their bytes on the wire and their time at the server, the wire included.
  calls(since) {
    const calls = performance.getEntriesByType("resource").filter((one) => one.initiatorType === "fetch" || one.initiatorType === "xmlhttprequest");
    const ended = calls.filter((one) => one.startTime >= since && one.responseEnd > 0);
    const sum = (of) => ended.reduce((total, one) => total + of(one), 0);
    return { count: ended.length, kilobytes: sum((one) => one.transferSize) / 1000, milliseconds: sum((one) => one.responseStart - one.requestStart) };
  },
};
performance.setResourceTimingBufferSize(5000);
