/** The ways in which a picture of the user's own arrives: chosen, dropped anywhere on the page, or pasted. */

import { byId } from "./dom.js";

function watchDrops(take) {
  const carriesFiles = (event) => event.dataTransfer?.types.includes("Files");
  const hover = (on) => (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    byId("drop").toggleAttribute("data-over", on);
  };
  document.addEventListener("dragover", hover(true));
  document.addEventListener("dragleave", (event) => event.relatedTarget === null && hover(false)(event));
  document.addEventListener("drop", (event) => {
    hover(false)(event);
    take(event.dataTransfer?.files[0]);
  });
}

function watchPastes(take) {
  document.addEventListener("paste", (event) => {
    const file = [...(event.clipboardData?.files ?? [])].find(({ type }) => type.startsWith("image/"));
    if (!file) return;
    event.preventDefault();
    take(file);
  });
}

/** Call `take` with every file that arrives. */
export function watchArrivals(take) {
  byId("file").addEventListener("change", ({ target }) => {
    take(target.files[0]);
    target.value = ""; // so that choosing the same file again is a change
  });
  watchDrops(take);
  watchPastes(take);
}
