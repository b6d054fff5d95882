/** The gallery view: a gallery is chosen or filled, and searched by words or by a picture. */

import { drawError } from "./answer.js";
import { ApiError, wantsKey } from "./api.js";
import { watchCopies } from "./copies.js";
import { byId } from "./dom.js";
import { drawEmpty, drawHits, spokenHits } from "./gallery-answer.js";
import { search, searchAsCurl } from "./gallery-api.js";
import { chosenGallery, loadGalleries, noGalleries, watchChoice } from "./gallery-choice.js";
import { pictureOf, sampleGallery } from "./gallery-pictures.js";
import {
  currentRequest, drawChoices, missing, queryPicture, queryTitle, takeItem, watchQuery,
} from "./gallery-query.js";

const state = {
  running: null, // the AbortController of the search in flight
  answered: null, // {gallery, asked}: what the shown answer belongs to
};

/** What would be asked, to be compared: the request, and the picture it is about. */
const askedNow = () => ({ curl: byId("gallery-curl").textContent, picture: queryPicture() });

function drawCurl(page) {
  const picture = queryPicture();
  byId("gallery-curl").textContent = searchAsCurl({
    name: chosenGallery()?.name ?? "GALLERY",
    request: currentRequest(),
    file: picture && picture.id === undefined ? picture.name : null,
    key: page.key(),
  });
  markStale();
}

/** An answer beside another query would mislead. */
function markStale() {
  const now = askedNow();
  const stale = state.answered !== null && (state.answered.curl !== now.curl || state.answered.picture !== now.picture);
  byId("gallery-stale").hidden = !stale;
  byId("gallery-answer").toggleAttribute("data-stale", stale);
}

// ---- searching ---------------------------------------------------------------------------------------------------

function setBusy(controller) {
  state.running = controller;
  const busy = controller !== null;
  byId("gallery-answer").setAttribute("aria-busy", `${busy}`);
  byId("gallery-search").textContent = busy ? "Searching…" : "Search";
  byId("gallery-cancel").hidden = !busy;
}

function cancel() {
  if (!state.running) return;
  state.running.abort();
  setBusy(null);
  byId("gallery-status").textContent = "Cancelled.";
}

function noGalleryChosen() {
  if (chosenGallery()) return false;
  byId("gallery-query-error").textContent = "There is no gallery to search in yet: load the sample gallery or add pictures.";
  byId("gallery-sample").focus();
  return true;
}

async function ask(page) {
  if (noGalleryChosen() || missing()) return;
  state.running?.abort();
  const controller = new AbortController();
  setBusy(controller);
  byId("gallery-status").textContent = "Searching.";
  const [gallery, request, asked, title] = [chosenGallery(), currentRequest(), askedNow(), queryTitle()];
  const options = { name: gallery.name, request, blob: asked.picture?.blob, key: page.key(), signal: controller.signal };
  try {
    showHits(await search(options), { page, gallery, title, filtered: "filter" in request });
  } catch (error) {
    if (controller.signal.aborted) return;
    showError(error, page);
  } finally {
    if (state.running === controller) setBusy(null);
  }
  state.answered = asked;
  markStale();
}

function searchByItem(page, id) {
  takeItem(id);
  drawCurl(page);
  byId("gallery-answer").focus({ preventScroll: true }); // the pressed picture is about to go
  return ask(page);
}

// ---- showing -----------------------------------------------------------------------------------------------------

function show(elements, spoken, raw) {
  byId("gallery-result").replaceChildren(...elements);
  byId("gallery-status").textContent = spoken;
  byId("gallery-raw").textContent = raw ? JSON.stringify(raw, null, 2) : "No JSON was received.";
  const { top } = byId("gallery-answer").getBoundingClientRect();
  if (top < 0 || top > innerHeight * 0.4) {
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    byId("gallery-answer").scrollIntoView({ behavior: calm ? "auto" : "smooth" });
  }
}

function showHits(answer, { page, gallery, title, filtered }) {
  const [result] = answer.body.results;
  if (result.error) {
    showError(new ApiError(result.error.message, { ...result.error, requestId: answer.requestId, body: answer.body }), page);
    return;
  }
  const context = {
    title,
    gallery,
    filtered,
    zoo: page.zoo(),
    picture: (id) => pictureOf(gallery.name, id),
    more: (id) => searchByItem(page, id),
  };
  show(drawHits(answer, context), spokenHits(result, gallery, filtered), answer.body);
}

function showError(error, page) {
  if (!(error instanceof ApiError)) throw error;
  page.failed(error);
  show(drawError(error, "gallery-error"), `Error: ${error.message}`, error.body);
  state.answered = null;
}

/** Another gallery is known, or none: what can be asked of it, and nothing that was found in another. */
function galleryChanged(page, gallery) {
  drawChoices(gallery);
  drawCurl(page);
  if (state.answered && byId("gallery-hits")) return markStale();
  state.answered = null;
  byId("gallery-result").replaceChildren(drawEmpty({ gallery, none: noGalleries(), zoo: page.zoo() }));
}

async function load(page, wanted) {
  byId("gallery-answer").setAttribute("aria-busy", "true");
  try {
    await Promise.all([sampleGallery(), loadGalleries(page, wanted)]);
  } catch (error) {
    showError(error, page);
  } finally {
    if (!state.running) byId("gallery-answer").setAttribute("aria-busy", "false");
    byId("view-gallery").dataset.ready = "";
  }
}

// ---- wiring ------------------------------------------------------------------------------------------------------

function watchForm(page) {
  byId("gallery-form").addEventListener("submit", (event) => {
    event.preventDefault();
    ask(page);
  });
  document.addEventListener("keydown", (event) => {
    if (byId("view-gallery").hidden) return;
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      ask(page);
    } else if (event.key === "Escape") cancel();
  });
  byId("gallery-cancel").addEventListener("click", cancel);
  // One key for the whole page: the other view's field has it.
  byId("gallery-key").addEventListener("change", () => {
    byId("key").value = byId("gallery-key").value;
    byId("key").dispatchEvent(new Event("change"));
  });
  byId("key").addEventListener("change", () => {
    byId("gallery-key").value = byId("key").value;
    load(page);
  });
}

function build(page) {
  byId("view-gallery").append(byId("gallery-template").content.cloneNode(true));
  watchChoice(page);
  watchQuery(() => drawCurl(page));
  watchForm(page);
  watchCopies(byId("view-gallery"));
  drawChoices(null);
}

/**
 * What to call when the view is shown, with the name of a gallery or null: it is built by the first call. `rest` is what
 * it needs of the page: `zoo()`, `limits()` and `failed(error)`.
 */
export function watchGallery(rest) {
  const page = {
    ...rest,
    key: () => byId("key").value,
    changed: (gallery) => galleryChanged(page, gallery),
    failed: (error) => {
      rest.failed(error);
      if (wantsKey(error)) byId("gallery-key-field").hidden = false;
    },
  };
  return (wanted) => {
    if (!byId("gallery-form")) build(page);
    else if (wanted === null) return null; // shown again: it is as it was left
    return load(page, wanted);
  };
}
