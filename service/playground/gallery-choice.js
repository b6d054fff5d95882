/** The form's first half: which gallery, and what is put into it. */

import { ApiError } from "./api.js";
import { byId, h } from "./dom.js";
import { plural } from "./examples.js";
import { galleryDetails, listGalleries, putGallery } from "./gallery-api.js";
import { fill, fillSentence } from "./gallery-fill.js";
import { remember, sampleGallery, samplePicture } from "./gallery-pictures.js";

const NEW = ""; // the value of the choice that makes a gallery
const MOST_FAILURES_SAID = 3;
const POLL_MS = 1000;

const choice = {
  names: [],
  details: null, // of the chosen gallery, once known
  filling: null, // the AbortController of what is being put in
};

export const chosenGallery = () => choice.details;
export const noGalleries = () => choice.names.length === 0;

/** Read the list anew and choose `wanted`, or else what was chosen, or else the first. Raises ApiError. */
export async function loadGalleries(page, wanted = null) {
  const select = byId("gallery-name");
  const before = choice.details?.name;
  choice.names = (await listGalleries(page.key())).map(({ name }) => name);
  select.replaceChildren(
    ...choice.names.map((name) => h("option", { value: name }, name)),
    h("option", { value: NEW }, "New gallery…"));
  select.value = [wanted, before, choice.names[0]].find((name) => choice.names.includes(name)) ?? NEW;
  await loadDetails(page);
}

/** Learn about the chosen gallery; `page.changed` hears of it. Raises ApiError. */
async function loadDetails(page) {
  const name = byId("gallery-name").value;
  const found = name === NEW ? null : await galleryDetails(name, page.key());
  if (byId("gallery-name").value !== name) return; // another one was chosen meanwhile
  choice.details = found;
  byId("gallery-new-field").hidden = name !== NEW;
  byId("gallery-count").textContent = found ? countText(found) : "";
  byId("gallery-stale-note").hidden = !found?.stale;
  byId("gallery-stale-note").textContent = found?.stale
    ? `It cannot be searched or added to as it is: ${found.stale} Delete it by the API and make it anew.`
    : "";
  page.changed(found);
  if (found?.state === "loading") setTimeout(() => lookAgain(page, found), POLL_MS);
}

/** Is the gallery that was still being loaded ready now? */
function lookAgain(page, before) {
  if (choice.details === before) loadDetails(page).catch((error) => sayError(error, page));
}

function countText({ items, state, index }) {
  if (state === "loading") return "Being loaded…";
  return state === "ready" ? `${plural(items, "item")}${index.exact ? "" : `, index ${index.type}`}` : `State: ${state}`;
}

// ---- putting pictures in -----------------------------------------------------------------------------------------

function setFilling(controller) {
  choice.filling = controller;
  const busy = controller !== null;
  byId("gallery-filling").hidden = !busy;
  byId("gallery-sample").disabled = byId("gallery-files").disabled = byId("gallery-name").disabled = busy;
  byId("gallery-own").toggleAttribute("data-disabled", busy);
  byId("gallery-progress").value = 0;
}

function say(sentence, problem = "") {
  byId("gallery-fill-status").textContent = sentence;
  byId("gallery-fill-error").textContent = problem;
}

function showProgress({ done, total }) {
  byId("gallery-progress").value = total ? done / total : 1;
  say(`${done} of ${plural(total, "picture")}.`);
}

/** Put `items` into the gallery `name`, which is made where it has `fields` and there is none. */
async function put(page, { name, fields, items }) {
  if (choice.filling) return;
  const controller = new AbortController();
  const { signal } = controller;
  let made = fields === null;
  setFilling(controller);
  say("Asking what is there.");
  try {
    if (!made) await putGallery({ name, fields, key: page.key(), signal });
    made = true;
    const outcome = await fill({ name, items, limits: page.limits(), key: page.key(), signal, progress: showProgress });
    say(fillSentence(outcome), failuresText(outcome.failed));
  } catch (error) {
    if (signal.aborted) say("Stopped. What was added stays; what is missing can be added later.");
    else sayError(error, page);
  } finally {
    setFilling(null);
  }
  if (made) await settled(page, name);
}

async function settled(page, name) {
  try {
    await loadGalleries(page, name);
  } catch (error) {
    sayError(error, page);
  }
}

function failuresText(failed) {
  const more = failed.length - MOST_FAILURES_SAID;
  const said = failed.slice(0, MOST_FAILURES_SAID).map(({ id, message }) => `${id}: ${message}`);
  return [...said, more > 0 ? `And ${more} more.` : ""].filter(Boolean).join("\n");
}

function sayError(error, page) {
  if (!(error instanceof ApiError)) throw error;
  page.failed(error);
  const request = error.requestId ? ` (${error.code}, request ${error.requestId})` : "";
  say("", `${error.message}${request}`);
}

async function loadSample(page) {
  const sample = await sampleGallery();
  if (!sample) {
    say("", "The sample gallery cannot be loaded from this server.");
    return;
  }
  const items = sample.items.map((item) => ({ ...item, size: 0, load: () => samplePicture(item.id) }));
  await put(page, { name: sample.name, fields: sample.fields, items });
}

const idOf = ({ name }) => name.normalize("NFC");

async function addOwn(page, files) {
  const name = byId("gallery-name").value || byId("gallery-new").value.trim();
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/.test(name)) {
    say("", "Name the gallery with letters, digits, dots, dashes and underscores.");
    byId("gallery-new").focus();
    return;
  }
  const byName = new Map(files.map((file) => [idOf(file), file]));
  const items = [...byName].map(([id, file]) => ({ id, fields: {}, size: file.size, load: async () => file }));
  const fields = choice.names.includes(name) ? null : {};
  if (items.length) await put(page, { name, fields, items: items.map((item) => ({ ...item, load: remembering(name, item) })) });
}

/** Pictures are kept in this page once they are sent. */
const remembering = (gallery, { id, load }) => async () => {
  const file = await load();
  remember(gallery, id, file);
  return file;
};

function watchOwn(page) {
  const [area, input] = [byId("gallery-own"), byId("gallery-files")];
  input.addEventListener("change", () => {
    const files = [...input.files];
    input.value = ""; // so that choosing the same files again is a change
    addOwn(page, files);
  });
  area.addEventListener("drop", (event) => {
    event.preventDefault();
    event.stopPropagation(); // elsewhere on the view a dropped picture is searched by
    byId("gallery-drop").removeAttribute("data-over");
    if (!choice.filling) addOwn(page, [...event.dataTransfer.files].filter(({ type }) => type.startsWith("image/")));
  });
}

/** Wire this half. `page`: `key()`, `limits()`, `failed(error)`, and `changed(details)` once another gallery is known. */
export function watchChoice(page) {
  byId("gallery-name").addEventListener("change", () => {
    say("");
    loadDetails(page).catch((error) => sayError(error, page));
  });
  byId("gallery-sample").addEventListener("click", () => loadSample(page));
  byId("gallery-stop").addEventListener("click", () => choice.filling?.abort());
  watchOwn(page);
}
