// SPDX-License-Identifier: MIT
/** The feed of what happened, and the toast for what has no place of its own. */

import { find, make, timeElement } from "./text.js";

const FEED = 100; // entries kept in the feed
const TOAST_MS = 8_000;

/** Adds an entry on top of the feed; its parts are texts or elements. */
export function tell(kind, title, parts = [], time = new Date().toISOString()) {
  const entry = make(
    "li",
    "entry",
    { "data-kind": kind },
    make("span", "entry-title", {}, title),
    timeElement(time),
  );
  const texts = parts.map((part) => (part.nodeType ? part : make("span", "", {}, part)));
  if (texts.length) entry.append(make("span", "entry-text", {}, ...texts));
  const entries = find("entries");
  entries.prepend(entry);
  while (entries.children.length > FEED) entries.lastElementChild.remove();
  find("feed-empty").hidden = true;
}

/** Where the toast takes room instead of lying over the page: see the style sheet. */
const inFlow = matchMedia("(max-width: 940px)");
let toastTimer = null;

export function toast(title, message) {
  const element = find("toast");
  element.hidden = true;
  find("toast-title").textContent = title;
  find("toast-message").textContent = message;
  void element.offsetWidth; // shown anew: it slides in and is announced again
  element.hidden = false;
  keepToast();
  leaveToast();
}

const keepToast = () => clearTimeout(toastTimer);
const hideToast = () => (find("toast").hidden = true);

function leaveToast() {
  keepToast();
  // In the flow it stays until it is closed: the page must not move under a finger by itself.
  if (!inFlow.matches) toastTimer = setTimeout(hideToast, TOAST_MS);
}

find("toast-close").addEventListener("click", hideToast);
inFlow.addEventListener("change", leaveToast);
for (const [event, listener] of [
  ["pointerenter", keepToast],
  ["pointerleave", leaveToast],
  ["focusin", keepToast],
  ["focusout", leaveToast],
]) {
  find("toast").addEventListener(event, listener);
}
