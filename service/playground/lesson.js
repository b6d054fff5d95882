/** Draws what came of a fit. Everything here is a function of its arguments. */

import { bar, dot } from "./answer.js";
import { h, percent } from "./dom.js";
import { plural } from "./examples.js";

const RUNGS = {
  mean: "The plain mean.",
  generic: "The generic controller.",
  static: "Every backbone has one weight, the same for all pictures.",
  nlc: "Every picture has weights of its own.",
};
const SPEAKERS = {
  mean: "Mean of probabilities",
  mean_logit: "Mean of logits",
  generic: "Generic controller",
};
const MOST_SKIPPED = 5;

const points = (share) => `${share < 0 ? "\u2212" : "+"}${Math.abs(100 * share).toFixed(1)}`;

/** "+2.5 ± 1.2 points": a gain with its standard error. */
const gainText = ({ accuracy, standard_error: error }) => `${points(accuracy)} ± ${(100 * error).toFixed(1)} points`;

function row(name, scores, gain, data = {}) {
  return h("li", { class: "row", data },
    h("div", { class: "row-line" },
      h("span", { class: "row-name" }, name),
      h("span", { class: "figures" },
        gain && h("span", { class: "minor numeric" }, `the fit gains ${gainText(gain)}`),
        h("span", { class: "value" }, percent(scores.accuracy)))),
    bar(scores.accuracy));
}

function heldOut(result, zoo) {
  const rivals = Object.entries(result.unfitted).map(([name, scores]) =>
    row(SPEAKERS[name] ?? name, scores, result.gain_over_unfitted[name], { rival: name }));
  const alone = Object.entries(result.backbones).map(([name, scores]) =>
    row([dot(zoo, name), name], scores, result.gain_over_backbones[name], { rival: name }));
  const own = result.held_out && row("The fit", result.held_out, null, { rival: "fit" });
  return h("section", { class: "part", id: "held-out" },
    h("h3", {}, "On held-out pictures", h("small", {}, "Accuracy, and what the fit gains with its standard error.")),
    h("ul", { class: "rows" }, own, rivals, alone));
}

function skippedNotice({ skipped = [] }, names) {
  if (!skipped.length) return null;
  const line = ({ index, message }) => `${names[index] ?? `Picture ${index + 1}`}: ${message}`;
  return h("div", { class: "callout", data: { tone: "warning" } },
    h("strong", {}, `${plural(skipped.length, "picture")} could not be read.`),
    skipped.slice(0, MOST_SKIPPED).map((each) => h("p", {}, line(each))),
    skipped.length > MOST_SKIPPED ? h("p", {}, `And ${skipped.length - MOST_SKIPPED} more.`) : null);
}

/** One sentence for people who hear the outcome. */
export function spokenLesson(job) {
  const { accepted, version, reasons } = job.result;
  return accepted ? `Accepted as ${job.label_set}/${version}.` : `Refused, nothing was activated. ${reasons.join(" ")}`;
}

function verdict(job) {
  const { accepted, rung, reasons, version, about } = job.result;
  const [fewest, most] = about.shots;
  const each = fewest === most ? `${fewest}` : `${fewest} to ${most}`;
  const rival = "generic" in job.result.unfitted ? "generic" : "mean";
  const gain = accepted && job.result.gain_over_unfitted[rival];
  return h("div", { class: "verdict-box", data: { accepted: `${accepted}` } },
    h("p", { class: "verdict-title" }, accepted ? "Accepted" : "Refused",
      accepted && version ? h("span", { class: "minor" }, `${job.label_set}/${version}`) : null),
    gain && h("p", { class: "verdict-gain" }, gainText(gain),
      h("span", { class: "minor" }, `on held-out pictures over the ${SPEAKERS[rival].toLowerCase()}`)),
    accepted ? h("p", {}, `${RUNGS[rung] ?? rung} It answers from now on: choose a picture above and press Classify.`) : reasons.map((reason) => h("p", {}, reason)),
    !accepted && h("p", {}, "Nothing was activated: pictures are answered as before."),
    h("p", { class: "minor" },
      `${plural(about.examples, "different picture")} of ${about.classes_with_examples} of ${about.classes} labels, `,
      `${each} of each.`));
}

/** The outcome of a job that succeeded; `names` are those of the pictures, as they were sent. */
export function drawLesson(job, zoo, names) {
  return [verdict(job), skippedNotice(job.result, names), heldOut(job.result, zoo)].filter(Boolean);
}
