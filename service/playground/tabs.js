/** The tabs: one view at a time, chosen by pointer, arrow keys or address (#gallery, #gallery/NAME). */

import { byId } from "./dom.js";

const VIEWS = { classify: { skip: "#answer" }, gallery: { skip: "#gallery-answer" } };

const tabOf = (view) => byId(`tab-${view}`);

/** "#gallery/pets" → ["gallery", "pets"]; null for an address of something else, such as a part of the page. */
function meant(hash) {
  const [, view, detail] = /^#?([a-z]*)(?:\/(.*))?$/.exec(hash) ?? [];
  if (view === "") return ["classify", null];
  return view in VIEWS ? [view, detail ? decoded(detail) : null] : null;
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return null; // a stray % is nobody's name
  }
}

/**
 * Wire the tabs. `openers` has a function for each view that wants to know that it is shown; it gets what the address
 * says after the view's name, or null.
 */
export function watchTabs(openers) {
  function show(view, detail = null) {
    for (const name of Object.keys(VIEWS)) {
      const chosen = name === view;
      tabOf(name).setAttribute("aria-selected", `${chosen}`);
      tabOf(name).tabIndex = chosen ? 0 : -1;
      byId(`view-${name}`).hidden = !chosen;
    }
    byId("skip").setAttribute("href", VIEWS[view].skip);
    openers[view]?.(detail);
  }

  function choose(view) {
    history.replaceState(null, "", view === "classify" ? location.pathname + location.search : `#${view}`);
    show(view);
  }

  function follow() {
    const found = meant(location.hash);
    if (found) show(...found);
  }

  const names = Object.keys(VIEWS);
  names.forEach((name) => tabOf(name).addEventListener("click", () => choose(name)));
  byId("tabs").addEventListener("keydown", (event) => {
    const at = names.findIndex((name) => tabOf(name) === event.target);
    const next = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: names.length - 1 }[event.key];
    if (next === undefined) return;
    event.preventDefault();
    const name = names.at(next % names.length);
    choose(name);
    tabOf(name).focus();
  });
  addEventListener("hashchange", follow);
  follow();
}
