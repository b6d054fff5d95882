/** The label sets that this server has, and what the chosen one was taught. */

import { labelSet, list } from "./api.js";
import { byId, h } from "./dom.js";

const MOST_SHOWN = 8;

const known = {
  sets: [],
  details: null, // of the chosen set: its active controller and cascade; null where labels are typed
};

export const usesLabelSet = () => byId("mode-set").checked;
export const chosenLabelSet = () => known.sets.find(({ name }) => name === byId("label-set").value);
export const labelNames = ({ labels }) => (Array.isArray(labels) ? labels : Object.keys(labels));
export const details = () => known.details;

/** Read the list anew; the choice stays where it can. */
export async function loadLabelSets(key) {
  const chosen = byId("label-set").value;
  known.sets = await list("v1/label-sets", key);
  const options = () => known.sets.map(({ name }) => h("option", { value: name }, name));
  byId("label-set").replaceChildren(...options());
  byId("teach-names").replaceChildren(...options());
  if (known.sets.some(({ name }) => name === chosen)) byId("label-set").value = chosen;
  byId("mode-set").disabled = !known.sets.length;
  byId("mode-set-name").textContent = known.sets.length ? "Registered set" : "No registered set";
}

/** Choose the set of this name. */
export function choose(name) {
  byId("label-set").value = name;
  byId("mode-set").checked = true;
}

/** Show the fields of typed labels, or those of a set. */
export function drawMode() {
  byId("typed").hidden = usesLabelSet();
  byId("template").disabled = usesLabelSet();
  byId("registered").hidden = !usesLabelSet();
  byId("labels-error").textContent = "";
  const chosen = chosenLabelSet();
  if (!chosen) return;
  const names = labelNames(chosen);
  const shown = names.slice(0, MOST_SHOWN).join(", ");
  byId("label-set-preview").textContent = `${names.length} labels: ${shown}${names.length > MOST_SHOWN ? ", …" : ""}`;
}

/** Ask what the chosen set was taught; `changed` is called whenever that is known to be something else. */
export async function loadDetails(key, changed) {
  const name = usesLabelSet() ? byId("label-set").value : null;
  known.details = null;
  changed();
  if (!name) return;
  const found = await labelSet(name, key);
  if (!usesLabelSet() || byId("label-set").value !== name) return; // another one was chosen meanwhile
  known.details = found;
  changed();
}
