// SPDX-License-Identifier: MIT
/** Elements, and how numbers and times are written. */

export const find = (id) => document.getElementById(id);

/** An element with classes, attributes and children; a string child becomes text, never markup. */
export function make(tag, className = "", attributes = {}, ...children) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

export const signed = (delta) => (delta < 0 ? `−${-delta}` : `+${delta}`);
const clock = new Intl.DateTimeFormat("en-GB", { timeStyle: "medium" });
const calendar = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });
const precise = new Intl.DateTimeFormat("en-GB", { dateStyle: "full", timeStyle: "long" });

/** The time of day, and on another day than today that day. */
export function timeText(date) {
  const today = date.toDateString() === new Date().toDateString();
  return today ? clock.format(date) : `${calendar.format(date)}, ${clock.format(date)}`;
}

export function timeElement(value) {
  const date = new Date(value ?? NaN);
  if (Number.isNaN(date.getTime())) return make("span", "", {}, "–");
  const when = { datetime: date.toISOString(), title: precise.format(date) };
  return make("time", "", when, timeText(date));
}

/** Orders two ISO 8601 times, also below the milliseconds that `Date` knows. */
export function compareTimes(one, other) {
  const difference = Date.parse(one) - Date.parse(other);
  if (difference) return difference;
  const fraction = (text) => (/\.(\d+)/.exec(text)?.[1] ?? "").padEnd(9, "0");
  return fraction(one).localeCompare(fraction(other));
}
