/** The form that teaches: labelled pictures in, a fitted controller out. */

import { drawError } from "./answer.js";
import { ApiError, cancelJob, fitController, job as getJob, list, putLabelSet } from "./api.js";
import { byId, h } from "./dom.js";
import { fromFolder, pictureCount, plural, problemOf, withPictures } from "./examples.js";
import { drawLesson, spokenLesson } from "./lesson.js";

const POLL_MS = 500;
const MOST_LOST_POLLS = 60;
const STATES = { queued: "Waiting for other jobs", running: "Fitting" };
const FIELDS = ["teach-name", "teach-folder", "teach-label"];

const lesson = {
  classes: new Map(), // label → files
  running: null, // {cancelled, jobId} of the lesson in progress
};

// ---- the pictures ------------------------------------------------------------------------------------------------

function setClasses(classes, note = "") {
  lesson.classes = classes;
  byId("teach-classes").replaceChildren(...[...classes].map(([label, files]) =>
    h("li", { class: "class", data: { label } },
      h("span", { class: "class-name" }, label),
      h("span", { class: "minor numeric" }, `${files.length}`),
      h("button", { class: "remove", type: "button", aria: { label: `Remove ${label}` }, onclick: () => drop(label) }, "×"))));
  const count = pictureCount(classes);
  const sum = count ? `${plural(count, "picture")} of ${plural(classes.size, "label")}.` : "";
  byId("teach-count").textContent = [sum, note].filter(Boolean).join(" ");
  sayProblem(null);
}

function drop(label) {
  const rest = new Map(lesson.classes);
  rest.delete(label);
  setClasses(rest);
  byId("teach-folder").focus(); // the button is gone now
}

function takeFolder({ target }) {
  const { labelled, leftOut } = fromFolder([...target.files]);
  target.value = "";
  const note = leftOut ? `${plural(leftOut, "other file")} left out.` : "";
  setClasses(withPictures(lesson.classes, labelled), note);
  if (!labelled.length) sayProblem(["teach-folder", "There are no pictures in this folder."]);
}

function takeFiles({ target }) {
  const files = [...target.files];
  target.value = "";
  const label = byId("teach-label").value.trim();
  if (!label) {
    sayProblem(["teach-label", "First type the label of these pictures."]);
    return;
  }
  setClasses(withPictures(lesson.classes, files.map((file) => [label, file])));
  byId("teach-label").value = "";
  byId("teach-label").focus();
}

function sayProblem(problem) {
  for (const field of FIELDS) byId(field).removeAttribute("aria-invalid");
  byId("teach-error").textContent = problem ? problem[1] : "";
  if (!problem) return;
  byId(problem[0]).setAttribute("aria-invalid", "true");
  byId(problem[0]).focus();
}

// ---- the lesson --------------------------------------------------------------------------------------------------

async function teach(page) {
  if (lesson.running) return;
  const [name, template, key] = [byId("teach-name").value.trim(), byId("teach-template").value.trim(), page.key()];
  const { classes } = lesson;
  const running = { cancelled: false, jobId: null };
  setRunning(running);
  byId("teach-result").replaceChildren();
  try {
    const limits = page.limits();
    const problem = problemOf({ name, classes, limits });
    const existing = problem ? null : (await list("v1/label-sets", key)).find((set) => set.name === name);
    const misfit = problem ?? problemOf({ name, classes, limits, known: existing });
    if (misfit) {
      setRunning(null);
      say("");
      sayProblem(misfit);
      return;
    }
    await begin({ name, template, key, classes, existing, running }, page);
  } catch (error) {
    showError(error, page);
  } finally {
    if (lesson.running === running) setRunning(null);
  }
}

async function begin({ name, template, key, classes, existing, running }, page) {
  if (running.cancelled) {
    say("Cancelled: nothing was sent.");
    return;
  }
  if (!existing) await putLabelSet({ name, labels: [...classes.keys()], template, key });
  const examples = [...classes].flatMap(([label, files]) => files.map((file) => ({ label, file })));
  say(`Sending ${plural(examples.length, "picture")}.`);
  // A request that is broken off may have begun a job that nobody would then know of: it is cancelled once it has a name.
  const begun = await fitController({ name, examples, key });
  running.jobId = begun.id;
  if (running.cancelled) await cancel(page);
  const ended = await follow(begun, key);
  if (ended.state !== "succeeded") {
    if (ended.state === "cancelled") say("Cancelled: nothing was activated.");
    else showError(new ApiError(ended.error.message, { ...ended.error, requestId: ended.error.request_id, body: ended }), page);
    return;
  }
  byId("teach-result").replaceChildren(...drawLesson(ended, page.zoo(), examples.map(({ file }) => file.name)));
  say(spokenLesson(ended), true);
  await page.taught(name);
}

async function follow(begun, key) {
  let current = begun;
  while (current.state in STATES) {
    const share = Math.round(100 * current.progress);
    byId("teach-progress").value = current.progress;
    say(`${STATES[current.state]}${current.state === "running" ? `, ${share}%` : ""}.`);
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    current = await polled(current, key);
  }
  return current;
}

/** The job goes on whether it is heard of or not: a connection that is lost for a while does not end the lesson. */
async function polled(job, key) {
  for (let left = MOST_LOST_POLLS; ; left -= 1) {
    try {
      return await getJob(job.id, key);
    } catch (error) {
      const passing = error instanceof ApiError && (error.status === null || error.status === 429 || error.status >= 500);
      if (!passing || left === 0) throw error;
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
  }
}

async function cancel(page) {
  const { running } = lesson;
  if (!running) return;
  running.cancelled = true;
  if (running.jobId === null) {
    say("Cancelling.");
    return;
  }
  try {
    await cancelJob(running.jobId, page.key());
  } catch (error) {
    if (!(error instanceof ApiError && error.status === 409)) showError(error, page); // 409: it was faster
  }
}

function setRunning(running) {
  lesson.running = running;
  byId("teach-form").setAttribute("aria-busy", `${running !== null}`);
  byId("teach-start").disabled = running !== null;
  byId("teach-cancel").hidden = running === null;
  byId("teach-progress").hidden = running === null;
  byId("teach-progress").value = 0;
}

/** `heard` alone where the same is drawn beside it. */
function say(sentence, heard = false) {
  byId("teach-status").textContent = sentence;
  byId("teach-status").classList.toggle("visually-hidden", heard);
}

function showError(error, page) {
  if (!(error instanceof ApiError)) throw error;
  page.failed(error);
  say("");
  byId("teach-result").replaceChildren(...drawError(error, "teach-failure"));
}

/**
 * Wire the form. `page` has what it needs of the rest: `key()`, `zoo()`, `limits()`, `taught(name)` once a label set was
 * taught, and `failed(error)`.
 */
export function watchTeaching(page) {
  byId("teach-form").addEventListener("submit", (event) => {
    event.preventDefault();
    teach(page);
  });
  byId("teach-cancel").addEventListener("click", () => cancel(page));
  byId("teach-folder").addEventListener("change", takeFolder);
  byId("teach-files").addEventListener("change", takeFiles);
  byId("teach-name").addEventListener("input", () => sayProblem(null));
}
