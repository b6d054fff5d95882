/** Labelled pictures: whose class each file belongs to. Everything here is a function of its arguments. */

/** Files that a folder holds and nobody would call a picture are passed over; what a picture really is, the server tells. */
const isPicture = ({ name, type }) => !name.startsWith(".") && type.startsWith("image/");

/** Browsers list folders in no order of their own. */
const compare = (one, other) => one.join("/").localeCompare(other.join("/"), "en");

/**
 * What a picked folder means: [[label, file], …] and the count of files that were left out. A folder with sub-folders has
 * one per class; a folder without is a class itself. Anything that lies elsewhere is left out.
 */
export function fromFolder(files) {
  const pictures = files.filter(isPicture).map((file) => [file.webkitRelativePath.split("/"), file]);
  const depth = pictures.some(([path]) => path.length > 2) ? 3 : 2;
  const found = pictures.filter(([path]) => path.length === depth).sort(([one], [other]) => compare(one, other));
  return {
    labelled: found.map(([path, file]) => [path.at(-2).normalize("NFC"), file]),
    leftOut: files.filter(({ name }) => !name.startsWith(".")).length - found.length,
  };
}

/** `classes` (label → files) with more pictures in it. The same file twice stays one. */
export function withPictures(classes, labelled) {
  const more = new Map([...classes].map(([label, files]) => [label, new Map(files.map((file) => [keyOf(file), file]))]));
  for (const [label, file] of labelled) {
    if (!more.has(label)) more.set(label, new Map());
    more.get(label).set(keyOf(file), file);
  }
  return new Map([...more].map(([label, files]) => [label, [...files.values()]]));
}

const keyOf = ({ name, size, lastModified, webkitRelativePath }) => [name, size, lastModified, webkitRelativePath].join("\0");

export const pictureCount = (classes) => [...classes.values()].reduce((sum, files) => sum + files.length, 0);

const byteCount = (classes) => [...classes.values()].flat().reduce((sum, { size }) => sum + size, 0);

export const plural = (count, noun) => `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;

/** Why these pictures cannot be sent, as [field, sentence], or null. `known` is the label set of that name, if any. */
export function problemOf({ name, classes, known, limits }) {
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/.test(name)) {
    return ["teach-name", "Name it with letters, digits, dots, dashes and underscores."];
  }
  const labels = known && (Array.isArray(known.labels) ? known.labels : Object.keys(known.labels));
  const foreign = labels ? [...classes.keys()].filter((label) => !labels.includes(label)) : [];
  if (foreign.length) {
    return ["teach-name", `“${name}” exists and has no label “${foreign[0]}”. Choose another name, or its labels.`];
  }
  if (classes.size < (labels ? 1 : 2)) return ["teach-folder", "Bring pictures of two labels at least."];
  const count = pictureCount(classes);
  if (count > limits.max_job_images) {
    return ["teach-folder", `${plural(count, "picture")}, and this server takes ${limits.max_job_images} at once.`];
  }
  if (byteCount(classes) > limits.max_job_body_bytes) {
    const mebibytes = Math.floor(limits.max_job_body_bytes / 2 ** 20);
    return ["teach-folder", `These pictures are larger than the ${mebibytes} MiB that this server takes at once.`];
  }
  return null;
}
