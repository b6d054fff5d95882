/** The ways in which a picture of the user's own arrives: chosen, dropped anywhere on a view, or pasted. */

import { byId } from "./dom.js";

function watchDrops(take, { view, drop }) {
  const meant = (event) => !byId(view).hidden && event.dataTransfer?.types.includes("Files");
  const hover = (on) => (event) => {
    if (!meant(event)) return;
    event.preventDefault();
    byId(drop).toggleAttribute("data-over", on);
  };
  document.addEventListener("dragover", hover(true));
  document.addEventListener("dragleave", (event) => event.relatedTarget === null && hover(false)(event));
  document.addEventListener("drop", (event) => {
    hover(false)(event);
    if (meant(event)) take(event.dataTransfer.files[0]);
  });
}

function watchPastes(take, { view }) {
  document.addEventListener("paste", (event) => {
    if (byId(view).hidden) return;
    const file = [...(event.clipboardData?.files ?? [])].find(({ type }) => type.startsWith("image/"));
    if (!file) return;
    event.preventDefault();
    take(file);
  });
}

/**
 * Call `take` with every file that arrives while the view is shown. `places` has ids: `view`, `file` of the input, and
 * `drop` of what shows that a file may be dropped.
 */
export function watchArrivals(take, places) {
  byId(places.file).addEventListener("change", ({ target }) => {
    take(target.files[0]);
    target.value = ""; // so that choosing the same file again is a change
  });
  watchDrops(take, places);
  watchPastes(take, places);
}
