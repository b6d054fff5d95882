/** The row of bundled samples: a toolbar with one tab stop, moved through with the arrow keys. */

import { byId, h } from "./dom.js";

export const sampleAddress = (sample) => `playground/samples/${sample.file}`;

function sampleButton(sample, pick) {
  return h("button",
    { type: "button", class: "sample", tabIndex: -1, aria: { pressed: "false", label: `${sample.name}: ${sample.alt}` },
      title: sample.name, data: { file: sample.file }, onclick: () => pick(sample) },
    h("img", { src: sampleAddress(sample), alt: "", width: 56, height: 56, draggable: false }));
}

/** How far an arrow key moves; Up and Down go by one row of the grid. */
function step(key, buttons) {
  const columns = buttons.filter((button) => button.offsetTop === buttons[0].offsetTop).length;
  return { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns, Home: -Infinity, End: Infinity }[key];
}

function moveFocus(event) {
  const buttons = [...event.currentTarget.children];
  const distance = step(event.key, buttons);
  if (distance === undefined) return;
  event.preventDefault();
  const next = Math.min(buttons.length - 1, Math.max(0, buttons.indexOf(document.activeElement) + distance));
  buttons[next].focus();
}

function keepOneTabStop(event) {
  for (const button of event.currentTarget.children) button.tabIndex = button === event.target ? 0 : -1;
}

/** Mark the picked sample, or none for a picture of the user's own. */
export function markPicked(sample) {
  for (const button of byId("samples").children) {
    const picked = button.dataset.file === sample?.file;
    button.setAttribute("aria-pressed", `${picked}`);
    if (picked) keepOneTabStop({ currentTarget: byId("samples"), target: button });
  }
}

function drawSources(sources) {
  byId("sources-list").replaceChildren(...Object.values(sources).flatMap(({ title, licence, attribution, changes }) => [
    h("dt", {}, title, h("span", { class: "licence" }, licence)),
    h("dd", {}, `${attribution} ${changes}`),
  ]));
}

/** Load samples.json and draw the toolbar; returns the samples, each with its source filled in. */
export async function loadSamples(pick) {
  const response = await fetch("playground/samples/samples.json");
  if (!response.ok) return [];
  const { sources, samples } = await response.json();
  const filled = samples.map((sample) => ({ ...sample, source: sources[sample.source] }));
  const toolbar = byId("samples");
  toolbar.replaceChildren(...filled.map((sample) => sampleButton(sample, pick)));
  toolbar.firstElementChild.tabIndex = 0;
  toolbar.addEventListener("keydown", moveFocus);
  toolbar.addEventListener("focusin", keepOneTabStop);
  drawSources(sources);
  return filled;
}
