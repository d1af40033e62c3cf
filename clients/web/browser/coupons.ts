// Coupons in the page: an operator makes a campaign, one user presses and has a coupon, the next is told that all are
// gone, and where a room protects the campaign the line comes first.

import { createClient } from "@connectrpc/connect";
import assert from "node:assert/strict";
import type { Page } from "playwright-core";
import { AdminService } from "../src/gen/usher/v1/admin_service_pb.js";
import { CouponService } from "../src/gen/usher/v1/coupon_service_pb.js";
import { transportOf } from "./crowd.js";

/** Ten percent off. */
export const CAMPAIGN = "Spring in the page";

type Check = (page: Page, stage: string) => Promise<void>;

function admin(url: string) {
  return createClient(AdminService, transportOf(url, "operator", "admin"));
}

async function makeCampaign(url: string, name: string): Promise<string> {
  const { campaign } = await admin(url).createCampaign({
    campaign: { name, stock: 2n, discount: { case: "percent", value: 10 } },
    idempotencyKey: name.replaceAll(" ", "-"),
  });
  assert.ok(campaign);
  return campaign.id;
}

async function becomes(page: Page, user: string): Promise<void> {
  await page.locator("#user-name").fill(user);
  await page.locator("#user-name").press("Enter");
  await page.locator("#polite", { hasText: `You are now ${user}.` }).waitFor({ state: "attached" });
}

export async function couponsAreTaken(page: Page, url: string, check: Check): Promise<void> {
  const id = await makeCampaign(url, CAMPAIGN);
  // Someone else was faster with the first one.
  const coupons = createClient(CouponService, transportOf(url, "faster"));
  await coupons.issueCoupon({ campaignId: id });
  await page.goto(`${url}/#/coupons`);
  await page.getByText("You have no coupons yet.").waitFor();
  await check(page, "no-coupons");
  await page.getByLabel("Campaign").fill(id);
  await page.getByRole("button", { name: "Show" }).click();
  await page.getByRole("heading", { name: CAMPAIGN }).waitFor();
  await page.getByText("1 of 2 left").waitFor();
  await check(page, "campaign");
  await page.locator("#press").press("Enter");
  await page.getByRole("heading", { name: "The coupon is yours" }).waitFor();
  const code = await page.locator(".coupon code").textContent();
  assert.match(code ?? "", /\S{10}/);
  await page.locator(".coupon").getByText("10 % off").waitFor();
  await page.locator(".coupon").getByText("every performance").waitFor();
  await page.getByText("0 of 2 left").waitFor();
  await check(page, "coupon");
  // A reload shows the same one, and so does the list.
  await page.reload();
  await page.getByRole("heading", { name: "The coupon is yours" }).waitFor();
  assert.equal(await page.locator(".coupon code").textContent(), code);
  await page.getByRole("link", { name: "My coupons" }).first().click();
  await page.locator("#coupons .coupon").waitFor();
  assert.equal(await page.locator(".coupon code").textContent(), code);
  assert.match((await page.locator(".coupon-state").textContent()) ?? "", /^Can be used/);
  await check(page, "coupons");

  const before = await page.locator("#user-name").inputValue();
  await page.goto(`${url}/#/coupon/${id}`);
  await page.getByRole("heading", { name: "The coupon is yours" }).waitFor();
  await becomes(page, "too-late");
  await page.locator("#press").click();
  await page.getByRole("heading", { name: "All coupons are gone" }).waitFor();
  await check(page, "coupons-gone");
  await becomes(page, before);
}

export async function aRoomComesFirst(page: Page, url: string): Promise<void> {
  const id = await makeCampaign(url, "Spring behind a room");
  await admin(url).createRoom({
    room: { name: "Coupons", policy: { capacity: 1, rate: 10, protects: { campaignIds: [id] } } },
    idempotencyKey: "coupon-room",
  });
  await page.goto(`${url}/#/coupon/${id}`);
  await page.getByRole("button", { name: "Join the waiting room" }).click();
  await page.getByRole("heading", { name: "It is your turn!" }).waitFor();
  await page.locator("#claim").click();
  await page.locator("#press").click();
  await page.getByRole("heading", { name: "The coupon is yours" }).waitFor();
}
