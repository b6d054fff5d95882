/** Draws what a search found. Everything here is a function of its arguments. */

import { bar, costSection, dot, hue, memberName, signed, timeSection } from "./answer.js";
import { h, listing, percent } from "./dom.js";
import { plural } from "./examples.js";

const EXITS = {
  full: () => "",
  confident: () => "That was sure enough, so nobody else was asked.",
  escalated: () => "The first were not sure enough, so everybody was asked.",
  degraded: ({ failed }) => `${failed.length ? listing(failed) : "A backbone"} did not answer.`,
};
const MOST_VALUES = 3;

/** "All 4 backbones were asked, weighed for this query by retrieval/1." */
export function askedSentence({ backbones, controller }, gallery) {
  const total = gallery.backbones.length;
  if (backbones.length === 1) return `Only ${backbones[0]} was asked.`;
  const who = backbones.length === total ? `All ${total}` : `${backbones.length} of ${total}`;
  return `${who} backbones were asked${controller ? `, weighed for this query by ${controller}` : ""}.`;
}

function foundSentence({ hits }, gallery, filtered) {
  if (!hits.length) return filtered ? "Nothing in this gallery is as the filter says." : "There is nothing in this gallery.";
  const closest = `The ${hits.length === 1 ? "closest" : `${hits.length} closest`}`;
  return `${closest}${filtered ? " that pass the filter," : ""} of ${plural(gallery.items, "item")}.`;
}

const sentences = (result, gallery, filtered) =>
  [
    foundSentence(result, gallery, filtered),
    askedSentence(result, gallery),
    EXITS[result.exit_reason]?.(result) ?? `It ended for this reason: ${result.exit_reason}.`,
    result.confidence === null || !result.hits.length ? "" : `Confidence in the first: ${percent(result.confidence)}.`,
  ].filter(Boolean).join(" ");

/** One sentence for people who hear the answer. */
export function spokenHits(result, gallery, filtered) {
  const first = result.hits[0] ? ` First: ${nameOf(result.hits[0])}.` : "";
  return `${sentences(result, gallery, filtered)}${first}`;
}

const valuesOf = ({ fields }) => Object.entries(fields).filter(([, value]) => value !== null);

/** What an item shows, if it says so, else its id. */
function nameOf(hit) {
  return typeof hit.fields.label === "string" ? hit.fields.label : hit.id;
}

/** Each backbone's cosine as a thin bar, beside the largest of all that are shown. */
function scoreBars(scores, most, zoo) {
  return h("span", { class: "hit-bars", aria: { hidden: "true" } }, Object.entries(scores).map(([name, score]) =>
    h("i", { data: { hue: hue(zoo, name) }, vars: { value: most > 0 ? Math.max(0, score / most) : 0 } })));
}

function tile(hit) {
  return h("span", { class: "hit-tile" },
    h("b", {}, hit.id),
    valuesOf(hit).slice(0, MOST_VALUES).map(([name, value]) => h("span", {}, `${name}: ${value}`)));
}

function scoresText({ scores }) {
  return scores ? Object.entries(scores).map(([name, score]) => `${name} ${signed(score)}`).join("\n") : "";
}

function hitView(hit, rank, most, { zoo, picture, more }) {
  const address = picture(hit.id);
  const image = address && h("img", { src: address, alt: "", draggable: false });
  image?.addEventListener("error", () => image.replaceWith(tile(hit)));
  const button = h("button",
    { type: "button", class: "hit", data: { id: hit.id }, title: [hit.id, scoresText(hit)].filter(Boolean).join("\n"),
      aria: { label: `${rank}: ${nameOf(hit)}, score ${signed(hit.score)}. More like this.` }, onclick: () => more(hit.id) },
    h("span", { class: "hit-picture" }, image ?? tile(hit)),
    h("span", { class: "hit-line" },
      h("span", { class: "hit-name" }, nameOf(hit)),
      h("span", { class: "hit-score" }, signed(hit.score))),
    hit.scores && scoreBars(hit.scores, most, zoo));
  return h("li", {}, button);
}

function hitSection(result, context) {
  if (!result.hits.length) return null;
  const most = Math.max(...result.hits.flatMap(({ scores }) => Object.values(scores ?? {})));
  return h("section", { class: "part" },
    h("h3", {}, "Found", h("small", {}, "Score: the backbones’ cosines together; bars: each one’s. Press a picture for more like it.")),
    h("ol", { class: "hits", id: "gallery-hits" },
      result.hits.map((hit, index) => hitView(hit, index + 1, most, context))));
}

function weightRow(name, result, zoo) {
  const share = result.weights?.[name];
  const member = zoo.find(({ id }) => id === name) ?? { id: name };
  const asked = result.backbones.includes(name);
  const absence = result.failed.includes(name) ? "no answer" : "not asked";
  return h("li", { class: "row", data: { backbone: name, ...(asked ? {} : { absent: "" }) } },
    h("div", { class: "row-line" },
      memberName(zoo, member),
      h("span", { class: "figures" }, asked
        ? share !== undefined && h("span", { class: "value" }, percent(share))
        : h("span", { class: "minor" }, absence))),
    bar(asked ? share ?? 0 : 0, { hue: hue(zoo, name) }));
}

function weightSection(result, gallery, zoo) {
  return h("section", { class: "part", id: "gallery-weights" },
    h("h3", {}, "Who was asked", h("small", {}, `Each one’s share of the score. Policy: ${result.policy}.`)),
    h("ul", { class: "rows" }, gallery.backbones.map(({ name }) => weightRow(name, result, zoo))));
}

function degradedNotice(result) {
  if (!result.degraded) return null;
  return h("p", { class: "callout", data: { tone: "warning" } },
    h("strong", {}, "Degraded. "),
    `${result.failed.length ? listing(result.failed) : "A backbone"} did not answer, so fewer than asked for decided.`);
}

/**
 * The whole answer to one query. `context`: `title` of the query, `gallery` and whether it was `filtered`, `zoo`,
 * `picture(id)` for an address or null, and `more(id)`.
 */
export function drawHits(answer, context) {
  const [result] = answer.body.results;
  const { title, gallery, filtered, zoo } = context;
  const free = "Nothing was computed: all embeddings were there already.";
  return [
    h("header", { class: "hero" },
      h("p", { class: "hero-line" },
        h("strong", { class: "query-title" }, title), h("span", { class: "minor" }, `in ${gallery.name}`)),
      h("p", { class: "hero-sentence" }, sentences(result, gallery, filtered))),
    degradedNotice(result),
    hitSection(result, context),
    weightSection(result, gallery, zoo),
    h("div", { class: "meters" },
      costSection(result, { id: "gallery-cost", free }), timeSection(answer, "gallery-timings")),
  ].filter(Boolean);
}

/** What to say before the first search: `gallery` is null where none is chosen. */
export function drawEmpty({ gallery, none, zoo }) {
  const [title, text] = gallery === null
    ? [none ? "No gallery yet" : "A new gallery",
      "Load the sample gallery, or add pictures of your own: a gallery is made for them. Then search it."]
    : gallery.items === 0
      ? ["This gallery is empty", "Add pictures, then search by words or by a picture."]
      : ["What are you looking for?",
        `Say it in words or show a picture: the committee finds the closest of ${plural(gallery.items, "item")}.`];
  const members = gallery?.backbones.map(({ name }) => name) ?? [];
  return h("div", { class: "empty" },
    h("p", { class: "empty-title" }, title),
    h("p", {}, text),
    members.length ? h("p", { class: "chips" }, members.map((name) => h("span", {}, dot(zoo, name), ` ${name}`))) : null);
}
