// The page: header, routes by the part after "#", and the two regions that speak to screen readers.

import { Api } from "./api.js";
import { campaignView } from "./campaign.js";
import { concertsView } from "./concerts.js";
import type { Context, View } from "./context.js";
import { couponsView } from "./coupons.js";
import { fill } from "./dom.js";
import { saleView } from "./sale.js";
import { ticketsView } from "./tickets.js";

const USER_KEY = "usher.user";
const TICK_MS = 250;

const main = byId("main");
const polite = byId("polite");
const urgent = byId("urgent");
const userName = byId("user-name") as HTMLInputElement;
let view: View | undefined;
let api = new Api(loadUser());

const context: Context = {
  get api() {
    return api;
  },
  announce(text, isUrgent = false) {
    const region = isUrgent ? urgent : polite;
    // The same text twice is told twice only if the region was empty between.
    region.textContent = "";
    setTimeout(() => (region.textContent = text), 50);
  },
  title(text) {
    const full = `${text} · Usher`;
    if (document.title !== full) document.title = full;
  },
};

function route(focus = true): void {
  view?.close?.();
  const [, name, id, performanceId] = location.hash.split("/").map(decodeURIComponent);
  if (name === "sale" && performanceId) view = saleView(context, performanceId);
  else if (name === "tickets") view = ticketsView(context);
  else if (name === "coupon" && id) view = campaignView(context, id);
  else if (name === "coupons") view = couponsView(context);
  else view = concertsView(context);
  fill(main, view.element);
  if (focus) main.querySelector<HTMLElement>("h1")?.focus();
}

function loadUser(): string {
  const known = read();
  if (known) return known;
  const chance = crypto.getRandomValues(new Uint16Array(1))[0] ?? 0;
  const name = `guest-${1000 + (chance % 9000)}`;
  save(name);
  return name;
}

function read(): string | undefined {
  try {
    return localStorage.getItem(USER_KEY) ?? undefined;
  } catch {
    return undefined;
  }
}

function save(name: string): void {
  try {
    localStorage.setItem(USER_KEY, name);
  } catch {
    // Known to this tab only.
  }
}

function byId(id: string): HTMLElement {
  const element = document.getElementById(id);
  if (!element) throw new Error(`the page has no #${id}`);
  return element;
}

userName.value = api.user;
byId("user").addEventListener("submit", (event) => {
  event.preventDefault();
  userName.blur();
});
userName.addEventListener("change", () => {
  const name = userName.value.trim();
  if (!userName.checkValidity() || name === "" || name === api.user) {
    userName.value = api.user;
    return;
  }
  save(name);
  api = new Api(name);
  route(false);
  context.announce(`You are now ${name}.`);
});
addEventListener("hashchange", () => {
  // "#main" is the skip link's.
  if (location.hash === "" || location.hash.startsWith("#/")) route();
});
setInterval(() => view?.tick?.(), TICK_MS);
route(false);
