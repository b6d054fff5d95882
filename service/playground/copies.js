/** Buttons that copy what stands beside them. */

import { byId } from "./dom.js";

const SHOWN_MS = 1500;

/** Wire the buttons in `part`. Without a clipboard (a page that came over plain HTTP from elsewhere) they stay hidden. */
export function watchCopies(part = document) {
  if (!navigator.clipboard) return;
  for (const button of part.querySelectorAll("[data-copies]")) {
    button.hidden = false;
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(byId(button.dataset.copies).textContent);
      button.textContent = "Copied";
      setTimeout(() => (button.textContent = "Copy"), SHOWN_MS);
    });
  }
}
