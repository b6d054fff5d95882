/** Buttons that copy what stands beside them. */

import { byId } from "./dom.js";

const SHOWN_MS = 1500;

/** Without a clipboard (a page that came over plain HTTP from elsewhere) the buttons stay hidden. */
export function watchCopies() {
  if (!navigator.clipboard) return;
  for (const button of document.querySelectorAll("[data-copies]")) {
    button.hidden = false;
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(byId(button.dataset.copies).textContent);
      button.textContent = "Copied";
      setTimeout(() => (button.textContent = "Copy"), SHOWN_MS);
    });
  }
}
