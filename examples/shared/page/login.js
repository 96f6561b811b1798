// SPDX-License-Identifier: MIT
/**
 * Who uses the page: the login box, and requests that say who we are.
 *
 * What the server has is told by `/page.json`: the paths `login`, `logout` and `restock`, each of
 * which may be missing, and the name of the server; where several workers serve it, the destination
 * `worker` that tells which. Where the answer to a login holds an
 * `access_token`, it goes along as a bearer token, and as passcode in CONNECT; elsewhere the
 * browser holds a cookie, and nothing is to be done.
 */

import { find } from "./text.js";

const TOKEN = "stocksync-token";

async function load() {
  try {
    const response = await fetch("/page.json");
    return response.ok ? await response.json() : {};
  } catch {
    return {}; // the page comes back by itself, and can be looked at without a login
  }
}

export const server = await load();

const token = () => sessionStorage.getItem(TOKEN);

export const connectHeaders = () => (token() ? { passcode: token() } : {});

/** Returns whether there was one. */
export function forgetToken() {
  const known = Boolean(token());
  sessionStorage.removeItem(TOKEN);
  return known;
}

/** A request that changes something. */
export function post(path, body) {
  const headers = {};
  if (token()) headers.authorization = `Bearer ${token()}`;
  const csrf = /(?:^|; )csrftoken=([^;]+)/.exec(document.cookie); // of Django and of Litestar
  if (csrf) headers["x-csrftoken"] = csrf[1];
  return fetch(path, { method: "POST", headers, body });
}

/** Logs in; returns what is to be shown where that failed, else "". */
async function logIn(form) {
  try {
    const response = await post(server.login, new URLSearchParams(new FormData(form)));
    if ([400, 401, 403].includes(response.status)) return "That name or password is not right.";
    if (!response.ok) return `The server answered ${response.status}.`;
    const answer = await response.json();
    if (answer.access_token) sessionStorage.setItem(TOKEN, answer.access_token);
    return "";
  } catch {
    return "The server could not be reached.";
  }
}

/** The login box; dispatches `change` when another user is to connect. */
class Account extends EventTarget {
  /** By which name the server knows this connection, null for none. */
  user = null;

  constructor() {
    super();
    if (server.server) find("tagline").textContent += ` on ${server.server}`;
    if (!server.login) return;
    find("account").hidden = false;
    find("log-in").addEventListener("click", () => find("login").showModal());
    find("log-out").addEventListener("click", () => this.#logOut());
    find("login-cancel").addEventListener("click", () => find("login").close());
    find("login-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submit(event.target);
    });
    find("login").addEventListener("close", () => {
      find("login-form").reset();
      find("login-error").textContent = "";
    });
  }

  show(user) {
    this.user = user;
    find("user").textContent = user ?? "";
    find("user").hidden = find("log-out").hidden = !user;
    find("log-in").hidden = Boolean(user);
  }

  async #submit(form) {
    const problem = await logIn(form);
    find("login-error").textContent = problem;
    if (problem) return;
    find("login").close();
    this.dispatchEvent(new Event("change"));
  }

  async #logOut() {
    forgetToken();
    if (server.logout) await post(server.logout).catch(() => {});
    this.dispatchEvent(new Event("change"));
  }
}

export const account = new Account();
