/** The playground: what the user chose, what is being asked, and what is shown. */

import { drawAnswer, drawError, drawZoo, spokenAnswer } from "./answer.js";
import { ApiError, asCurl, classify, classifyRequest, info, list, wantsKey } from "./api.js";
import { watchArrivals } from "./arrivals.js";
import { watchCopies } from "./copies.js";
import { byId, h } from "./dom.js";
import { watchGallery } from "./gallery.js";
import {
  choose, chosenLabelSet, details, drawMode, labelNames, loadDetails, loadLabelSets, usesLabelSet,
} from "./label-sets.js";
import { offered, policyHint, policyName, usualPolicy } from "./policies.js";
import { loadSamples, markPicked, sampleAddress } from "./samples.js";
import { watchTabs } from "./tabs.js";
import { watchTeaching } from "./teach.js";

const MOST_LABELS_SHOWN = 10;

const state = {
  picture: null, // {blob, name, sample}: `sample` is null for the user's own file
  labelsEdited: false, // the user's labels are theirs: no sample overwrites them
  zoo: [],
  server: { policies: [], default_policy: null, limits: {} },
  running: null, // the AbortController of the request in flight
  answered: null, // {picture, curl}: the question that the shown answer belongs to
  refused: false, // whether what is shown says that another key is needed
  empty: byId("result").firstElementChild, // what stands where the answer will
};

// ---- the picture -------------------------------------------------------------------------------------------------

function showPicture(picture, caption) {
  cancel();
  state.picture = picture;
  const preview = byId("preview");
  if (preview.src.startsWith("blob:")) URL.revokeObjectURL(preview.src);
  preview.src = picture.sample ? sampleAddress(picture.sample) : URL.createObjectURL(picture.blob);
  preview.hidden = false;
  byId("drop").dataset.filled = "";
  byId("caption").replaceChildren(...caption);
  byId("file-error").textContent = "";
  byId("file").removeAttribute("aria-invalid");
  markPicked(picture.sample);
  offerSuggestion();
  drawCurl();
}

function takeFile(file) {
  if (!file) return;
  const kilobytes = Math.max(1, Math.round(file.size / 1000));
  showPicture({ blob: file, name: file.name || "picture", sample: null }, [
    `Your picture: ${file.name || "pasted"} `,
    h("span", { class: "minor" }, `${kilobytes} kB`),
  ]);
}

function pickSample(sample) {
  const credit = [sample.author, sample.source.title, sample.source.licence].filter(Boolean).join(", ");
  showPicture({ blob: null, name: sample.file, sample }, [`${sample.alt} `, h("span", { class: "minor" }, credit)]);
  if (!state.labelsEdited) useSuggestion();
}

async function pictureBlob(picture, signal) {
  if (picture.blob) return picture.blob;
  const response = await fetch(sampleAddress(picture.sample), { signal });
  if (!response.ok) throw new ApiError("The sample cannot be loaded.", { status: response.status });
  return response.blob();
}

function showBrokenPreview() {
  byId("preview").hidden = true;
  delete byId("drop").dataset.filled;
  byId("caption").lastElementChild.replaceWith(h("span", { class: "minor" }, "No preview: the browser cannot show it."));
}

// ---- the labels --------------------------------------------------------------------------------------------------

const split = (text) => text.split(/[,\n]/).map((label) => label.trim()).filter(Boolean);
const typedLabels = () => [...new Set(split(byId("labels").value))];
const labelCount = () => (usesLabelSet() ? labelNames(chosenLabelSet()).length : typedLabels().length);

function countLabels() {
  const count = typedLabels().length;
  byId("labels-count").textContent = count === 1 ? "1 label" : `${count} labels`;
  byId("labels-error").textContent = "";
  byId("labels").removeAttribute("aria-invalid");
  drawCurl();
}

function useSuggestion() {
  byId("labels").value = state.picture.sample.labels.join(", ");
  state.labelsEdited = false;
  countLabels();
  offerSuggestion();
}

/** Offered where the user's own labels were kept although the picked sample suggests others. */
function offerSuggestion() {
  const offered = state.labelsEdited && Boolean(state.picture?.sample);
  byId("suggest").hidden = !offered;
  byId("labels-hint").classList.toggle("visually-hidden", offered);
}

function labelsChanged() {
  state.labelsEdited = byId("labels").value.trim() !== "";
  countLabels();
  offerSuggestion();
}

function switchMode() {
  drawMode();
  drawCurl();
  return loadDetails(byId("key").value, drawPolicies).catch(showError);
}

// ---- what the server has -----------------------------------------------------------------------------------------

async function loadZoo() {
  const models = await list("v1/models", byId("key").value);
  state.zoo = models.filter(({ id }) => id !== "committee");
  byId("backbone").replaceChildren(
    h("option", { value: "" }, "Committee"),
    ...state.zoo.map(({ id }) => h("option", { value: id }, id)));
  state.empty.querySelector(".members")?.remove();
  state.empty.append(drawZoo(state.zoo));
  policyChanged();
}

async function loadPolicies() {
  state.server = await info(byId("key").value);
  drawPolicies();
}

/** A choice that is gone falls back to the default. */
function drawPolicies() {
  const chosen = byId("policy").value;
  byId("policy").replaceChildren(
    h("option", { value: "" }, "Default"),
    ...offered(state.server.policies, details()).map((name) => h("option", { value: name }, policyName(name))));
  byId("policy").value = chosen;
  if (byId("policy").selectedIndex < 0) byId("policy").value = "";
  policyChanged();
}

async function loadServer() {
  if (state.refused) show([state.empty], "", null);
  state.refused = false;
  for (const outcome of await Promise.allSettled([loadPolicies(), loadZoo(), loadLabelSets(byId("key").value)])) {
    if (outcome.status === "rejected") showError(outcome.reason);
  }
}

function policyChanged() {
  const backbone = byId("backbone");
  const single = byId("policy").value === "single";
  backbone.disabled = !single;
  if (!single) backbone.value = "";
  else if (!backbone.value && state.zoo.length) backbone.value = state.zoo[0].id;
  backbone.options[0].disabled = single;
  byId("policy-hint").textContent = policyHint(
    byId("policy").value, usualPolicy(state.server.default_policy, details()));
  drawCurl();
}

// ---- asking ------------------------------------------------------------------------------------------------------

function currentRequest() {
  return classifyRequest({
    labels: typedLabels(),
    labelSet: usesLabelSet() ? byId("label-set").value : null,
    template: byId("template").value.trim(),
    policy: byId("policy").value,
    backbone: byId("backbone").value,
    topK: Math.max(1, Math.min(MOST_LABELS_SHOWN, labelCount())),
  });
}

function drawCurl() {
  const { picture } = state;
  byId("curl").textContent = asCurl({
    name: picture?.name ?? "picture.jpg",
    request: currentRequest(),
    download: picture?.sample ? sampleAddress(picture.sample) : null,
    key: byId("key").value,
  });
  markStale();
}

/** An answer beside another question would mislead. */
function markStale() {
  const { answered, picture } = state;
  const stale = answered !== null && (answered.picture !== picture || answered.curl !== byId("curl").textContent);
  byId("stale").hidden = !stale;
  byId("answer").toggleAttribute("data-stale", stale);
}

/** The first thing that is missing, said beside its field; the field gets the focus. */
function missing() {
  const problem = !state.picture
    ? ["file", "Choose a picture first."]
    : !usesLabelSet() && !typedLabels().length && ["labels", "Type at least one label."];
  if (!problem) return false;
  const [field, message] = problem;
  byId(`${field}-error`).textContent = message;
  byId(field).setAttribute("aria-invalid", "true");
  byId(field).focus();
  return true;
}

function setBusy(controller) {
  state.running = controller;
  const busy = controller !== null;
  byId("answer").setAttribute("aria-busy", `${busy}`);
  byId("classify").textContent = busy ? "Asking…" : "Classify";
  document.body.toggleAttribute("data-busy", busy);
}

function cancel() {
  if (!state.running) return;
  state.running.abort();
  setBusy(null);
  byId("status").textContent = "Cancelled.";
}

async function ask() {
  if (missing()) return;
  state.running?.abort();
  const controller = new AbortController();
  setBusy(controller);
  byId("status").textContent = "Asking the committee.";
  const { picture } = state;
  const [count, request, curl] = [labelCount(), currentRequest(), byId("curl").textContent];
  try {
    const blob = await pictureBlob(picture, controller.signal);
    const options = { blob, name: picture.name, request, key: byId("key").value, signal: controller.signal };
    showAnswer(await classify(options), count);
  } catch (error) {
    if (controller.signal.aborted) return;
    showError(error);
  } finally {
    if (state.running === controller) setBusy(null);
  }
  state.answered = { picture, curl };
  markStale();
}

// ---- showing -----------------------------------------------------------------------------------------------------

function show(elements, spoken, raw) {
  byId("result").replaceChildren(...elements);
  byId("status").textContent = spoken;
  byId("raw").textContent = raw ? JSON.stringify(raw, null, 2) : "No JSON was received.";
  const { top } = byId("answer").getBoundingClientRect();
  if (top > innerHeight * 0.7) {
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    byId("answer").scrollIntoView({ behavior: calm ? "auto" : "smooth" });
  }
}

function showAnswer(answer, count) {
  const [result] = answer.body.results;
  if (result.error) {
    showError(new ApiError(result.error.message, { ...result.error, requestId: answer.requestId, body: answer.body }));
    return;
  }
  show(drawAnswer(answer, state.zoo, count), spokenAnswer(result, state.zoo), answer.body);
}

function showError(error) {
  if (!(error instanceof ApiError)) throw error;
  failed(error);
  state.refused = wantsKey(error);
  show(drawError(error), `Error: ${error.message}`, error.body);
}

// ---- wiring ------------------------------------------------------------------------------------------------------

function watchForm() {
  byId("form").addEventListener("submit", (event) => {
    event.preventDefault();
    ask();
  });
  document.addEventListener("keydown", (event) => {
    if (byId("view-classify").hidden || byId("teach").contains(event.target)) return; // another form
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      ask();
    } else if (event.key === "Escape") cancel();
  });
  byId("cancel").addEventListener("click", cancel);
  byId("labels").addEventListener("input", labelsChanged);
  byId("suggest").addEventListener("click", () => {
    useSuggestion();
    byId("labels").focus(); // the button is gone now
  });
  byId("template").addEventListener("input", drawCurl);
  byId("policy").addEventListener("change", policyChanged);
  byId("backbone").addEventListener("change", drawCurl);
  byId("label-set").addEventListener("change", switchMode);
  byId("mode-typed").addEventListener("change", switchMode);
  byId("mode-set").addEventListener("change", switchMode);
  byId("key").addEventListener("change", loadServer);
}

/** A label set that was taught is the one to ask about next. */
async function taught(name) {
  await loadLabelSets(byId("key").value);
  choose(name);
  await switchMode();
}

function failed(error) {
  if (wantsKey(error)) byId("key-field").hidden = false;
}

watchArrivals(takeFile, { view: "view-classify", file: "file", drop: "drop" });
byId("preview").addEventListener("error", showBrokenPreview);
watchForm();
watchTeaching({
  key: () => byId("key").value,
  zoo: () => state.zoo,
  limits: () => state.server.limits,
  taught,
  failed,
});
watchCopies();
watchTabs({ gallery: watchGallery({ zoo: () => state.zoo, limits: () => state.server.limits, failed }) });
countLabels();
policyChanged();
const [samples] = await Promise.all([loadSamples(pickSample), loadServer()]);
if (samples.length && !state.picture) pickSample(samples[0]);
document.body.dataset.ready = "";
