// The whole sale in headless Chromium: join, wait, claim, choose seats by keyboard, pay, ticket. Every stage is
// checked for its texts and for accessibility (axe), and may be photographed.
//
//   npm run browser -- --binary ../../target/debug/usher [--screenshots ../../docs/images]

import assert from "node:assert/strict";
import { parseArgs } from "node:util";
import axe from "axe-core";
import { type Browser, chromium, type Page } from "playwright-core";
import { aRoomComesFirst, CAMPAIGN, couponsAreTaken } from "./coupons.js";
import { crowd, firstTarget, goOn, pause, slowDown, type Target } from "./crowd.js";
import { startServer } from "./server.js";

const CROWD_SIZE = 40;
const RATE_PER_S = 4;
const STEP_WITHIN_MS = 30_000;
/** The pictures that the README shows. */
const PICTURES = new Set(["concerts", "line", "line-dark", "turn", "seats", "checkout", "ticket"]);
const CHROMIUM_ARGS = [
  "--headless",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

const { values: options } = parseArgs({
  options: {
    binary: { type: "string", default: "../../target/debug/usher" },
    /** A server that runs already, instead of the binary; nobody is put in front there. */
    url: { type: "string" },
    chromium: { type: "string", default: "/usr/bin/chromium" },
    /** Where to put the README's pictures. */
    screenshots: { type: "string" },
    /** Take a picture of everything, phone and dark too. */
    every: { type: "boolean", default: false },
  },
});

const server = options.url ? { url: options.url, stop: async () => {} } : await startServer(options.binary);
const browser = await chromium.launch({ executablePath: options.chromium, args: CHROMIUM_ARGS });
try {
  await journey(browser, server.url);
  console.log("browser: the journey is complete");
} finally {
  await browser.close();
  await server.stop();
}

async function journey(browser: Browser, url: string): Promise<void> {
  const target = await firstTarget(url);
  const context = await browser.newContext({
    viewport: { width: 1180, height: 900 },
    colorScheme: "light",
    reducedMotion: "reduce",
  });
  const page = await context.newPage();
  page.setDefaultTimeout(STEP_WITHIN_MS);
  const complaints: string[] = [];
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("console", (message) => {
    const favicon = message.location().url.endsWith("/favicon.ico");
    if (message.type() === "error" && !favicon) complaints.push(message.text());
  });
  if (!options.url) await couponsAreTaken(page, url, check);
  const sendHome = options.url ? () => {} : await lineUp(url, target);

  await chooses(page, url, target);
  await waits(page, url, target);
  await claims(page);
  await choosesSeats(page);
  await pays(page);
  await comesBackToTheTickets(page, target);
  sendHome();
  if (!options.url) await aRoomComesFirst(page, url);
  assert.deepEqual(complaints, []);
}

async function lineUp(url: string, { roomId }: Target): Promise<() => void> {
  await slowDown(url, roomId, RATE_PER_S);
  await pause(url, roomId);
  return crowd(url, roomId, CROWD_SIZE);
}

async function chooses(page: Page, url: string, target: Target): Promise<void> {
  await page.goto(`${url}/`);
  await page.getByRole("heading", { name: target.concertName }).waitFor();
  await page.locator(".chip").first().waitFor();
  await check(page, "concerts");
  await page.locator(`a.performance[href$="${target.performanceId}"]`).click();
  await page.getByRole("button", { name: "Join the waiting room" }).waitFor();
  await check(page, "intro");
  await page.getByRole("button", { name: "Join the waiting room" }).press("Enter");
}

async function waits(page: Page, url: string, { roomId }: Target): Promise<void> {
  await page.getByRole("heading", { name: "You are in line" }).waitFor();
  const first = await positionOf(page);
  if (!options.url) {
    assert.equal(first, CROWD_SIZE + 1);
    await page.getByText("The line is paused").waitFor();
    // A reload keeps the place.
    await page.reload();
    await page.getByRole("heading", { name: "You are in line" }).waitFor();
    assert.equal(await positionOf(page), first);
    await goOn(url, roomId);
    await page.getByText("The line is paused").waitFor({ state: "hidden" });
  }
  await page.waitForFunction((from) => Number(document.querySelector("#position")?.textContent) < from, first);
  assert.match(await page.title(), /^\d+ in line · Usher$/);
  await check(page, "line");
}

async function positionOf(page: Page): Promise<number> {
  await page.waitForFunction(() => /^[\d,]+$/.test(document.querySelector("#position")?.textContent ?? ""));
  return Number((await page.locator("#position").textContent())?.replace(",", ""));
}

async function claims(page: Page): Promise<void> {
  await page.getByRole("heading", { name: "It is your turn!" }).waitFor({ timeout: 2 * STEP_WITHIN_MS });
  assert.match(await page.title(), /^Your turn! \d+:\d\d · Usher$/);
  assert.equal(await page.evaluate(() => document.activeElement?.id), "claim", "the claim button has the focus");
  // Spoken a moment later, so that a screen reader notices the change; seen by nobody.
  await page.locator("#urgent", { hasText: "your turn" }).waitFor({ state: "attached" });
  await check(page, "turn");
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "Choose your seats" }).waitFor();
}

async function choosesSeats(page: Page): Promise<void> {
  await page.locator(".tile .left", { hasText: "free" }).first().waitFor();
  await page.locator(".tile").first().click();
  const grid = page.locator(".seats");
  await grid.waitFor();
  // By keyboard alone: into the grid, take a seat, one to the right, take that.
  await grid.locator('button[tabindex="0"]').focus();
  const from = await page.evaluate(() => document.activeElement?.getAttribute("aria-label"));
  await page.keyboard.press("Space");
  await nextFreeToTheRight(page);
  await page.keyboard.press("Space");
  assert.equal(await grid.locator('[aria-pressed="true"]').count(), 2, `two seats from ${from}`);
  assert.match((await page.locator(".summary-text").textContent()) ?? "", /, row \d+, seats \d+ and \d+: /);
  await check(page, "seats");
  await page.getByRole("button", { name: "Hold these seats" }).click();
  await page.getByRole("heading", { name: "Your seats are held" }).waitFor();
}

async function nextFreeToTheRight(page: Page): Promise<void> {
  const key = "ArrowRight";
  for (let steps = 0; steps < 50; steps++) {
    await page.keyboard.press(key);
    const taken = await page.evaluate(() => document.activeElement?.getAttribute("aria-disabled"));
    if (taken === "false") return;
  }
  throw new Error("no free seat in the row");
}

async function pays(page: Page): Promise<void> {
  await page.locator("#balance", { hasText: /\d/ }).waitFor();
  if (await page.locator("#top-up").isVisible()) {
    assert.equal(await page.locator("#pay").isDisabled(), true, "nobody pays with an empty wallet");
    await check(page, "wallet");
    await page.locator("#top-up").click();
    await page.locator("#pay:not([disabled])").waitFor();
  }
  const full = await page.locator("#total").textContent();
  if (!options.url) {
    await page.locator("#coupon").selectOption({ label: `${CAMPAIGN}: 10 % off` });
    await page.locator("#total").filter({ hasNotText: full ?? "" }).waitFor();
  }
  await check(page, "checkout");
  const total = await page.locator("#total").textContent();
  assert.equal(await page.locator("#pay").textContent(), `Pay ${total}`);
  await page.locator("#pay").click();
  await page.getByRole("heading", { name: "Enjoy the show!" }).waitFor();
  await page.getByText(`You have paid ${total}.`).waitFor();
  assert.equal(await page.locator(".ticket").count(), 2);
  assert.match((await page.locator(".ticket code").first().textContent()) ?? "", /\S{10}/);
  await check(page, "ticket");
}

async function comesBackToTheTickets(page: Page, target: Target): Promise<void> {
  await page.getByRole("link", { name: "My tickets" }).first().click();
  await page.getByRole("heading", { name: "My tickets" }).waitFor();
  await page.getByRole("heading", { name: target.concertName }).waitFor();
  assert.equal(await page.locator(".ticket").count(), 2);
  await check(page, "tickets");
}

/** No serious violation of accessibility in light and dark, no sideways scrolling on a phone; and a picture. */
async function check(page: Page, stage: string): Promise<void> {
  for (const colorScheme of ["dark", "light"] as const) {
    await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
    await page.evaluate(axe.source);
    const { violations } = await page.evaluate(() => (globalThis as unknown as { axe: typeof axe }).axe.run());
    const found = violations
      .filter(({ impact }) => impact === "serious" || impact === "critical")
      .map(({ id, nodes }) => `${stage}, ${colorScheme}: ${id}: ${nodes.map((node) => node.html).join(" ")}`);
    assert.deepEqual(found, []);
    await photograph(page, colorScheme === "dark" ? `${stage}-dark` : stage);
  }
  const wide = page.viewportSize();
  await page.setViewportSize({ width: 360, height: 740 });
  const overflow = await page.evaluate(
    () => document.documentElement.scrollWidth - document.documentElement.clientWidth,
  );
  assert.ok(overflow <= 0, `${stage} scrolls sideways on a phone by ${overflow} px`);
  await photograph(page, `${stage}-phone`);
  if (wide) await page.setViewportSize(wide);
}

async function photograph(page: Page, name: string): Promise<void> {
  if (!options.screenshots || (!options.every && !PICTURES.has(name))) return;
  await page.screenshot({ path: `${options.screenshots}/${name}.png`, fullPage: true });
}
