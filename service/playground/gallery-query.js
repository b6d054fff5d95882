/** The form's second half: what to search by, and how. */

import { watchArrivals } from "./arrivals.js";
import { byId, h, listing } from "./dom.js";
import { searchRequest } from "./gallery-api.js";
import { pictureOf, sampleValues } from "./gallery-pictures.js";
import { policyName } from "./policies.js";

const POLICIES = ["mean", "nlc", "cascade", "single"];
const HINTS = {
  "": () => "The server’s choice: its controllers where it has some for these backbones, else the mean.",
  mean: () => "Everyone is asked, and no controller weighs them.",
  nlc: () => "Everyone is asked; a fitted controller weighs them for each query.",
  cascade: ({ prefix }) => `${listing(prefix)} first, the others only where that is not sure enough.`,
  single: () => "Only the chosen backbone is asked.",
};
const READERS = {
  string: (text) => text,
  integer: (text) => (/^-?\d+$/.test(text) ? Number(text) : undefined),
  number: (text) => (text !== "" && Number.isFinite(Number(text)) ? Number(text) : undefined),
  boolean: (text) => ({ true: true, false: false })[text],
};
const EXPECTED = { integer: "Type a whole number.", number: "Type a number.", boolean: "Type true or false." };
const FIELDS = ["gallery-words", "gallery-file", "gallery-top", "gallery-value"];

const query = {
  gallery: null, // the details of the gallery that is searched
  picture: null, // {name, blob} of a file, {name, id} of an item
};

const byPicture = () => byId("gallery-by-picture").checked;
const chosenType = () => query.gallery?.fields[byId("gallery-filter").value];

/** The picture that is searched by, if one is: {name, blob} or {name, id}. */
export const queryPicture = () => (byPicture() ? query.picture : null);

/** The query in a few words. */
export function queryTitle() {
  if (!byPicture()) return `“${byId("gallery-words").value.trim()}”`;
  return query.picture.id === undefined ? `Like your picture ${query.picture.name}` : `Like ${query.picture.name}`;
}

/** The request as it would be sent now; a picture is put in later. */
export function currentRequest() {
  const { picture } = query;
  const words = { text: byId("gallery-words").value.trim() };
  const field = byId("gallery-filter").value;
  return searchRequest({
    query: !byPicture() ? words : picture?.id === undefined ? {} : { id: picture.id },
    topK: Number(byId("gallery-top").value),
    filter: field ? { [field]: READERS[chosenType()](byId("gallery-value").value.trim()) } : null,
    policy: byId("gallery-policy").value,
    backbone: byId("gallery-backbone").value,
  });
}

/** The first thing that is missing or wrong, said in words; its field gets the focus. */
export function missing() {
  const problem = problemNow();
  sayProblem(problem);
  if (problem) byId(problem[0]).focus();
  return problem !== null;
}

function problemNow() {
  const top = byId("gallery-top");
  if (!byPicture() && !byId("gallery-words").value.trim()) return ["gallery-words", "Type what to search for."];
  if (byPicture() && !query.picture) return ["gallery-file", "Choose a picture first."];
  if (!top.validity.valid || top.value === "") return ["gallery-top", `Ask for 1 to ${top.max} results.`];
  const type = chosenType();
  if (!type) return null;
  const text = byId("gallery-value").value.trim();
  if (text === "") return ["gallery-value", "Type the value to look for."];
  return READERS[type](text) === undefined ? ["gallery-value", EXPECTED[type]] : null;
}

function sayProblem(problem) {
  for (const field of FIELDS) byId(field).removeAttribute("aria-invalid");
  byId("gallery-query-error").textContent = problem ? problem[1] : "";
  if (problem) byId(problem[0]).setAttribute("aria-invalid", "true");
}

// ---- the picture -------------------------------------------------------------------------------------------------

function showPicture(picture, address, caption) {
  const preview = byId("gallery-preview");
  if (query.picture?.blob) URL.revokeObjectURL(preview.src);
  query.picture = picture;
  preview.hidden = address === null;
  byId("gallery-drop").toggleAttribute("data-filled", address !== null);
  if (address !== null) preview.src = address;
  else preview.removeAttribute("src");
  byId("gallery-caption").textContent = caption;
  byId("gallery-by-picture").checked = true;
  drawMode();
}

function takeFile(file) {
  if (!file) return;
  const name = file.name || "picture.png";
  showPicture({ name, blob: file }, URL.createObjectURL(file), `Your picture: ${name}`);
}

/** Search by an item of the gallery. */
export function takeItem(id) {
  showPicture({ name: id, id }, pictureOf(query.gallery.name, id), `The item ${id}`);
}

function drawMode() {
  byId("gallery-words-part").hidden = byPicture();
  byId("gallery-picture-part").hidden = !byPicture();
  sayProblem(null);
}

function showBrokenPreview() {
  byId("gallery-preview").hidden = true;
  byId("gallery-drop").removeAttribute("data-filled");
  byId("gallery-caption").textContent += ". No preview: the browser cannot show it.";
}

// ---- how ---------------------------------------------------------------------------------------------------------

function options(element, entries) {
  const chosen = element.value;
  element.replaceChildren(...entries.map(([value, name]) => h("option", { value }, name)));
  element.value = chosen;
  if (element.selectedIndex < 0) element.selectedIndex = 0;
}

/** Offer what this gallery can be asked; null where there is none. */
export function drawChoices(gallery) {
  const another = query.gallery?.name !== gallery?.name;
  query.gallery = gallery;
  if (another && query.picture?.id !== undefined) {
    showPicture(null, null, ""); // the item of another gallery
    byId("gallery-by-words").checked = true;
    drawMode();
  }
  const members = (gallery?.backbones ?? []).map(({ name }) => name);
  options(byId("gallery-policy"), [["", "Default"], ...POLICIES.map((name) => [name, policyName(name)])]);
  options(byId("gallery-backbone"), [["", "All"], ...members.map((name) => [name, name])]);
  const fields = Object.keys(gallery?.fields ?? {});
  options(byId("gallery-filter"), [["", "No filter"], ...fields.map((name) => [name, name])]);
  byId("gallery-filter-part").hidden = byId("gallery-value-part").hidden = fields.length === 0;
  policyChanged();
  filterChanged();
}

function policyChanged() {
  const [policy, backbone] = [byId("gallery-policy").value, byId("gallery-backbone")];
  const single = policy === "single";
  backbone.disabled = !single;
  backbone.options[0].disabled = single;
  if (!single) backbone.value = "";
  else if (!backbone.value && backbone.options.length > 1) backbone.selectedIndex = 1;
  byId("gallery-policy-hint").textContent = query.gallery ? HINTS[policy](query.gallery) : "";
}

function filterChanged() {
  const field = byId("gallery-filter").value;
  byId("gallery-value").disabled = !field;
  if (!field) byId("gallery-value").value = "";
  const values = chosenType() === "boolean" ? ["true", "false"] : field ? sampleValues(query.gallery.name, field) : [];
  byId("gallery-values").replaceChildren(...values.map((value) => h("option", { value })));
  sayProblem(null);
}

/** Wire this half; `changed` is called after every change of what would be asked. */
export function watchQuery(changed) {
  const then = (handler) => (event) => {
    handler(event);
    changed();
  };
  const arrived = then(takeFile);
  watchArrivals((file) => file && arrived(file), { view: "view-gallery", file: "gallery-file", drop: "gallery-drop" });
  byId("gallery-preview").addEventListener("error", showBrokenPreview);
  for (const id of ["gallery-by-words", "gallery-by-picture"]) byId(id).addEventListener("change", then(drawMode));
  for (const id of ["gallery-words", "gallery-top", "gallery-value"]) {
    byId(id).addEventListener("input", then(() => sayProblem(null)));
  }
  byId("gallery-backbone").addEventListener("change", changed);
  byId("gallery-policy").addEventListener("change", then(policyChanged));
  byId("gallery-filter").addEventListener("change", then(() => {
    byId("gallery-value").value = ""; // it was one of another field
    filterChanged();
  }));
}
