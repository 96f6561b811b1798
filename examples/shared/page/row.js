// SPDX-License-Identifier: MIT
/** A product's row: its numbers, its trend, and the buttons that change it. */

import { make, signed, timeElement, timeText } from "./text.js";

export const LOW = 5; // at or below this a quantity is shown as low
const STEPS = [-10, -1, 1, 10];
const URGENT_MS = 8_000; // how long a row stays marked after an urgent change was seen
const REFUSAL_MS = 8_000; // how long a refusal stays, whatever else happens to the row
const URGENT = "Who made this change wants everybody to see it.";
const BELOW_THE_BAR = { rootMargin: "-60px 0px 0px 0px" };
const SVG = "http://www.w3.org/2000/svg";

/** Its element dispatches `sight`, which bubbles, when it comes into view. */
export class Row {
  inView = false;

  /** @param adjust Called with the product and the change, for a button. */
  constructor(product, adjust) {
    const { id } = product;
    this.name = make("span", "name");
    this.low = make("span", "tag tag-low");
    this.urgent = make("span", "tag tag-urgent", { hidden: "" });
    this.qty = make("span", "qty", { "data-testid": `qty-${id}` });
    this.asOf = make("span", "as-of", { "data-testid": `as-of-${id}` });
    this.delta = make("span", "delta", { "aria-hidden": "true" });
    this.updated = make("td", "updated when", { role: "cell" });
    this.refusal = make("p", "refusal", { role: "alert", "data-testid": `refusal-${id}` });
    this.buttons = STEPS.map((step) => {
      const hook = `${step < 0 ? "minus" : "plus"}${Math.abs(step)}-${id}`;
      const button = make("button", "step", { type: "button", "data-testid": hook }, signed(step));
      button.addEventListener("click", () => !isOff(button) && adjust(product, step));
      return button;
    });
    this.group = make("div", "buttons", { role: "group" }, ...this.buttons);
    this.group.addEventListener("keydown", (event) => moveFocus(event, this.buttons));
    this.sparkline = document.createElementNS(SVG, "svg");
    this.sparkline.setAttribute("class", "sparkline");
    this.sparkline.setAttribute("viewBox", "0 0 120 36");
    this.sparkline.setAttribute("preserveAspectRatio", "none");
    this.sparkline.setAttribute("role", "img");
    this.sparkline.dataset.testid = `sparkline-${id}`;
    this.element = this.#build(id);
    new IntersectionObserver((entries) => this.#look(entries.at(-1)), BELOW_THE_BAR).observe(
      this.urgent.parentElement,
    );
  }

  #build(id) {
    const meta = make("span", "meta", {}, make("span", "", {}, id), this.low, this.urgent);
    const number = make("span", "quantity-box", {}, this.delta, this.qty, this.asOf);
    const cells = [
      make("th", "product", { role: "rowheader", scope: "row" }, this.name, meta),
      make("td", "quantity", { role: "cell" }, number),
      make("td", "trend", { role: "cell" }, this.sparkline),
      this.updated,
      make("td", "adjust", { role: "cell" }, this.group, this.refusal),
    ];
    return make("tr", "", { role: "row", "data-testid": `row-${id}` }, ...cells);
  }

  #look({ isIntersecting }) {
    this.inView = isIntersecting;
    if (isIntersecting) this.element.dispatchEvent(new Event("sight", { bubbles: true }));
  }

  /** Shows the state of the product, and what of it has just changed. */
  show(product, delta, enabled) {
    const { name, quantity } = product;
    this.name.textContent = name;
    this.group.setAttribute("aria-label", `Adjust ${name}`);
    this.buttons.forEach((button, index) => {
      const step = STEPS[index];
      const [verb, joint] = step < 0 ? ["Remove", "from"] : ["Add", "to"];
      button.setAttribute("aria-label", `${verb} ${Math.abs(step)} ${joint} ${name}`);
      button.disabled = !enabled;
      switchOff(button, quantity + step < 0 && `Only ${quantity} left`);
    });
    this.qty.textContent = String(quantity);
    this.element.classList.toggle("low", quantity <= LOW);
    this.low.hidden = quantity > LOW;
    this.low.textContent = quantity > 0 ? "Low" : "Out of stock";
    this.updated.replaceChildren(timeElement(product.updatedAt));
    drawSparkline(this.sparkline, product);
    if (delta) this.flash(delta);
    if (delta && performance.now() - this.refusedAt > REFUSAL_MS) this.refuse("");
  }

  flash(delta) {
    this.delta.textContent = signed(delta);
    for (const element of [this.qty, this.delta]) {
      element.classList.remove("up", "down");
      void element.offsetWidth; // so that the animation starts anew
      element.classList.add(delta > 0 ? "up" : "down");
    }
  }

  /** Says that the number was right at a time, null: that it is. */
  date(time) {
    this.asOf.textContent = time ? `as of ${timeText(time)}` : "";
    this.element.classList.toggle("stale", Boolean(time));
  }

  /** Says beside the buttons why a change was not made; "" takes it away. */
  refuse(text) {
    this.refusedAt = performance.now();
    this.refusal.textContent = text;
  }

  markUrgent(again) {
    clearTimeout(this.urgentTimer);
    this.urgent.textContent = again ? "Urgent, again" : "Urgent";
    this.urgent.title = again ? `${URGENT} It comes again, since it had not been seen.` : URGENT;
    this.urgent.hidden = false;
  }

  /** The mark was seen: it may go after a while. */
  leaveUrgent() {
    clearTimeout(this.urgentTimer);
    this.urgentTimer = setTimeout(() => (this.urgent.hidden = true), URGENT_MS);
  }
}

const isOff = (button) => button.getAttribute("aria-disabled") === "true";

/** A button whose change would be refused keeps the focus, and its place among the others. */
function switchOff(button, reason) {
  if (reason) button.setAttribute("aria-disabled", "true");
  else button.removeAttribute("aria-disabled");
  button.title = reason || "";
}

function drawSparkline(svg, { name, history }) {
  const [left, right, top, bottom] = [2, 116, 5, 31];
  const points = history.length > 1 ? history : [history[0], history[0]];
  const low = Math.min(...points);
  const span = Math.max(...points) - low;
  const x = (index) => left + ((right - left) * index) / (points.length - 1);
  const y = (value) => bottom - (bottom - top) * (span ? (value - low) / span : 0.5);
  const point = (value, index) => `${x(index).toFixed(1)},${y(value).toFixed(1)}`;
  const line = points.map(point).join("L");
  const shape = (className, d) => {
    const path = document.createElementNS(SVG, "path");
    path.setAttribute("class", className);
    path.setAttribute("d", d);
    path.setAttribute("vector-effect", "non-scaling-stroke");
    return path;
  };
  const tip = `${right},${y(points.at(-1)).toFixed(1)}`;
  svg.replaceChildren(
    shape("area", `M${left},36L${line}L${right},36Z`),
    shape("line", `M${line}`),
    shape("tip-edge", `M${tip}h0`), // lines of no length: round dots at every width
    shape("tip", `M${tip}h0`),
  );
  const story =
    history.length > 1
      ? `went from ${history[0]} to ${history.at(-1)}, lowest ${low}, highest ${low + span}`
      : "no change yet";
  svg.setAttribute("aria-label", `${name}: ${story}`);
}

/** Left and right move between the buttons of a row, up and down between rows. */
function moveFocus(event, buttons) {
  const column = buttons.indexOf(event.target);
  const row = event.target.closest("tr");
  const target = {
    ArrowLeft: () => buttons[column - 1],
    ArrowRight: () => buttons[column + 1],
    ArrowUp: () => row.previousElementSibling?.querySelectorAll(".step")[column],
    ArrowDown: () => row.nextElementSibling?.querySelectorAll(".step")[column],
  }[event.key];
  if (!target) return;
  event.preventDefault();
  target()?.focus();
}
