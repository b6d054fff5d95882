/** Draws an answer or an error. Everything here is a function of its arguments. */

import { h, listing, milliseconds, number, percent } from "./dom.js";

const HUES = 6;

/** A backbone keeps its colour, whoever answers. */
export const hue = (zoo, name) => (Math.max(0, zoo.findIndex((member) => member.id === name)) % HUES) + 1;

export const dot = (zoo, name) => h("span", { class: "dot", data: { hue: hue(zoo, name) }, aria: { hidden: "true" } });

export const bar = (fraction, data = {}) =>
  h("div", { class: "bar", aria: { hidden: "true" }, data, vars: { value: Math.min(1, Math.max(0, fraction)) } }, h("i"));

const EXITS = {
  confident: ({ stages }) => `That was sure enough after stage ${stages}, so nobody else was asked.`,
  last_stage: ({ stages }) =>
    stages > 1 ? `It took all ${stages} stages to get there.` : "Nobody else was to be asked.",
  deadline: () => "Time ran out: only those who had voted by then count.",
  budget: () => "The compute budget ran out: only those who had voted by then count.",
  degraded: () => "A backbone failed, so the others answered without it.",
};

export const exitSentence = (result) =>
  EXITS[result.exit_reason]?.(result) ?? `It ended for this reason: ${result.exit_reason}.`;

/** Those that vote where a request names nobody. */
export const committeeOf = (zoo) => zoo.filter(({ votes }) => votes !== "when_asked");

/** "2 of 3 backbones voted, both for “banana”." */
export function voteSentence(result, zoo) {
  const votes = Object.values(result.backbones);
  if (votes.length === 1) return `Only ${Object.keys(result.backbones)[0]} voted.`;
  const top = result.predictions[0].label;
  const agreeing = votes.filter((vote) => vote.top_label === top).length;
  const members = committeeOf(zoo).length;
  const who = `${votes.length >= members ? `All ${votes.length}` : `${votes.length} of ${members}`} backbones voted`;
  const all = votes.length === 2 ? "both" : "all";
  return `${who}, ${agreeing === votes.length ? all : agreeing === 0 ? "none" : agreeing} for “${top}”.`;
}

/** One sentence for people who hear the answer. */
export function spokenAnswer(result, zoo) {
  const [top] = result.predictions;
  return `${top.label}, ${percent(top.probability)}. ${voteSentence(result, zoo)} ${exitSentence(result)}`;
}

function hero(result, zoo) {
  const [top] = result.predictions;
  return h("header", { class: "hero" },
    h("p", { class: "hero-line" },
      h("strong", { class: "hero-label" }, top.label),
      h("span", { class: "hero-value" }, percent(top.probability))),
    h("p", { class: "hero-sentence" }, `${voteSentence(result, zoo)} ${exitSentence(result)}`),
    promise(result));
}

function promise({ promise: given }) {
  if (!given) return null;
  const [most, sure] = [percent(given.epsilon), percent(1 - given.delta)];
  return h("p", { class: "hero-sentence" },
    `Promise: with ${sure} confidence, such answers differ from the full committee’s on at most ${most} of inputs.`);
}

function degradedNotice(result, zoo) {
  if (!result.degraded) return null;
  const absent = committeeOf(zoo).map((member) => member.id).filter((name) => !(name in result.backbones));
  const who = absent.length ? listing(absent) : "A backbone";
  return h("p", { class: "callout", data: { tone: "warning" } },
    h("strong", {}, "Degraded. "), `${who} did not answer, so the committee was smaller than asked for.`);
}

function voters(result, zoo, label) {
  const names = Object.entries(result.backbones).filter(([, vote]) => vote.top_label === label).map(([name]) => name);
  if (!names.length) return null;
  return h("span", { class: "voters", title: `Top label of ${listing(names)}` }, names.map((name) => dot(zoo, name)),
    h("span", { class: "visually-hidden" }, `, top label of ${listing(names)}`));
}

export const signed = (value) => value.toFixed(3).replace("-", "\u2212");

function labelRow(result, zoo, { label, probability, cosine }) {
  return h("li", { class: "row" },
    h("div", { class: "row-line" },
      h("span", { class: "row-name" }, label, voters(result, zoo, label)),
      h("span", { class: "figures" },
        h("span", { class: "minor" }, "cosine ", h("span", { class: "numeric" }, signed(cosine))),
        h("span", { class: "value" }, percent(probability)))),
    bar(probability));
}

function labelSection(result, zoo, labelCount) {
  const shown = result.predictions.length;
  const rest = labelCount > shown ? ` The ${shown} likeliest of ${labelCount}.` : "";
  return h("section", { class: "part", id: "label-bars" },
    h("h3", {}, "Labels", h("small", {}, `Probability and cosine.${rest}`)),
    h("ol", { class: "rows" }, result.predictions.map((prediction) => labelRow(result, zoo, prediction))));
}

export const memberName = (zoo, { id, family }) =>
  h("span", { class: "row-name" }, dot(zoo, id), id, family && h("span", { class: "minor" }, family));

const ABSENCES = { degraded: "no answer", deadline: "no answer in time" };

/** Whose weights they are: null where everybody counts the same, so that nothing needs to be drawn. */
const weighedBy = (result) => result.controller;

function weightLine(zoo, name, result) {
  const { weight } = result.backbones[name];
  if (weighedBy(result) === null) return null;
  const most = Math.max(...Object.values(result.backbones).map((vote) => vote.weight));
  return h("div", { class: "weight-line" },
    h("span", { class: "minor numeric" }, `weight ${weight.toFixed(2)}`),
    h("div", {
      class: "weight-bar",
      aria: { hidden: "true" },
      data: { hue: hue(zoo, name) },
      vars: { value: most > 0 ? weight / most : 0 },
    }, h("i")));
}

function voteRow(zoo, name, result) {
  const vote = result.backbones[name];
  const member = zoo.find((candidate) => candidate.id === name) ?? { id: name };
  const facts = [
    ...(vote && weighedBy(result) === null ? [`weight ${vote.weight.toFixed(2)}`] : []),
    ...(member.gflops ? [`${number(member.gflops)} GFLOPs`] : []),
    ...(vote ? [vote.cached ? "from cache" : "computed"] : []),
  ];
  const verdict = vote && (vote.top_label === result.predictions[0].label ? "agrees" : "disagrees");
  return h("li", { class: "row", data: { backbone: name, ...(vote ? { verdict } : { absent: "" }) } },
    h("div", { class: "row-line" },
      memberName(zoo, member),
      vote
        ? h("span", { class: "figures" },
          h("span", { class: "choice" }, vote.top_label),
          h("span", { class: "value" }, percent(vote.probability)))
        : h("span", { class: "figures minor" }, ABSENCES[result.exit_reason] ?? "not asked")),
    bar(vote ? vote.probability : 0, { hue: hue(zoo, name) }),
    vote && weightLine(zoo, name, result),
    h("p", { class: "facts minor" },
      h("span", {}, facts.join(" · ")),
      verdict && h("span", { class: "verdict" }, verdict)));
}

function voteSection(result, zoo) {
  const known = committeeOf(zoo).map((member) => member.id);
  const names = [...known, ...Object.keys(result.backbones).filter((name) => !known.includes(name))];
  const weights = result.controller ? `, weights for this picture by ${result.controller}` : "";
  return h("section", { class: "part", id: "votes" },
    h("h3", {}, "Votes", h("small", {}, `Each backbone’s own top label. Policy: ${result.policy}${weights}.`)),
    h("ul", { class: "rows" },
      names.map((name) => voteRow(zoo, name, result))));
}

const ALL_CACHED = "Nothing was computed: every embedding came from the cache.";

/** `free` says why nothing was computed, where nothing was. */
export function costSection({ gflops, gflops_full: full }, { id = "cost", free = ALL_CACHED } = {}) {
  const share = full > 0 ? gflops / full : 0;
  const saying = gflops === 0 ? free : `${percent(share)} of the full committee’s cost.`;
  return h("section", { class: "part cost", id },
    h("h3", {}, "Cost"),
    h("p", { class: "row-line" },
      h("span", {}, h("span", { class: "value" }, number(gflops)), ` of ${number(full)} GFLOPs`),
      h("span", { class: "minor" }, saying)),
    bar(share));
}

export function timeSection({ timings, browserMs, requestId }, id = "timings") {
  const total = timings.find(({ id }) => id === "total");
  const stages = timings.filter((timing) => timing !== total);
  const saying = total ? `${milliseconds(total.ms)} in the server.` : "The server named no total.";
  return h("section", { class: "part", id },
    h("h3", {}, "Time"),
    h("p", { class: "row-line" },
      h("span", {}, h("span", { class: "value" }, milliseconds(browserMs)), " as the browser saw it"),
      h("span", { class: "minor" }, saying)),
    h("ul", { class: "chips" }, stages.map(({ name, ms }) =>
      h("li", {}, name, " ", h("span", { class: "numeric" }, milliseconds(ms))))),
    requestId && h("p", { class: "minor request-id" }, "Request ", h("code", {}, requestId)));
}

/** The whole answer to one picture. `labelCount` is how many labels there were to choose between. */
export function drawAnswer(answer, zoo, labelCount) {
  const [result] = answer.body.results;
  return [
    hero(result, zoo),
    degradedNotice(result, zoo),
    labelSection(result, zoo, labelCount),
    voteSection(result, zoo),
    h("div", { class: "meters" }, costSection(result), timeSection(answer)),
  ].filter(Boolean);
}

const TITLES = {
  invalid_image: "The picture cannot be read",
  image_too_large: "The picture is too large",
  gallery_differs: "There is another gallery of this name",
  gallery_stale: "This gallery was made with other backbones",
  rate_limited: "The API key has used up its limit",
  unavailable: "That is not available now",
  400: "The request cannot be read",
  401: "This server wants an API key",
  403: "The API key does not allow this",
  404: "There is no such thing here",
  409: "That does not fit the present state",
  413: "That is too large",
  415: "That kind of content is not accepted",
  422: "The request is not valid",
  429: "The server is busy",
  504: "Time ran out",
};

/** An ApiError, with all that helps to mend or to report it. */
export function drawError(error, id = "error") {
  const refusal = error.status >= 500 ? "The server failed" : "The request was refused";
  const facts = [
    ["Status", error.status],
    ["Code", error.code],
    ["Field", error.param],
    ["Request", error.requestId],
  ].filter(([, value]) => value !== null && value !== undefined);
  return [
    h("div", { class: "callout", data: { tone: "error" }, id },
      h("h3", {}, TITLES[error.code] ?? TITLES[error.status] ?? (error.status === null ? "No answer" : refusal)),
      h("p", { class: "error-message" }, error.message),
      error.retryAfter && h("p", {}, `Try again in ${error.retryAfter} s.`),
      h("dl", { class: "facts-list" }, facts.map(([name, value]) =>
        h("div", {}, h("dt", {}, name), h("dd", {}, h("code", {}, `${value}`)))))),
  ];
}

/** Who sits on the committee, and who only votes when asked, for the time before the first question. */
export function drawZoo(zoo) {
  return h("ul", { class: "rows members" }, zoo.map((member) =>
    h("li", { class: "row-line" },
      memberName(zoo, member),
      h("span", { class: "minor numeric" }, `${member.votes === "when_asked" ? "only when asked · " : ""}${member.image_size ? `${member.image_size} px · ` : ""}${number(member.gflops)} GFLOPs`))));
}
