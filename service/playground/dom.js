/** The few things this page needs from the document. */

/** The element with this id. */
export const byId = (id) => document.getElementById(id);

/**
 * A new element. Properties are set as DOM properties; `data`, `aria`, `class` and `vars` (CSS custom properties) are
 * the exceptions. Texts are set as text: nothing that came from a server is ever parsed as HTML.
 */
export function h(tag, { class: className, aria = {}, data = {}, vars = {}, ...properties } = {}, ...children) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  Object.assign(element, properties);
  for (const [name, value] of Object.entries(aria)) element.setAttribute(`aria-${name}`, value);
  for (const [name, value] of Object.entries(data)) element.dataset[name] = value;
  for (const [name, value] of Object.entries(vars)) element.style.setProperty(`--${name}`, value);
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** 0.7213 → "72%", small values with one digit, never a false "0%" or "100%". */
export function percent(fraction) {
  const value = fraction * 100;
  if (value > 0 && value < 0.1) return "<0.1%";
  if (value < 100 && value > 99.9) return ">99.9%";
  return `${value < 10 || (value > 99 && value < 100) ? value.toFixed(1) : Math.round(value)}%`;
}

/** 0.4712 → "0.471": three digits that count. */
export const number = (value) => (value === 0 ? "0" : Number(value.toPrecision(3)).toString());

export const milliseconds = (value) => `${value < 10 ? value.toFixed(1) : Math.round(value)}\u202fms`;

/** ["a", "b", "c"] → "a, b and c". */
export function listing(names) {
  return names.length < 2 ? names.join("") : `${names.slice(0, -1).join(", ")} and ${names.at(-1)}`;
}
