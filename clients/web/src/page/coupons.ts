// The user's coupons, each with the terms of its campaign, and the words for terms, which the page of a campaign shows.

import { timestampMs } from "@bufbuild/protobuf/wkt";
import { type Campaign, type Coupon, CouponState } from "../gen/usher/v1/coupon_pb.js";
import type { Money } from "../gen/usher/v1/common_pb.js";
import type { Refusal } from "../errors.js";
import { type Api, ask } from "./api.js";
import { type Catalog, type Context, loadCatalog, type View } from "./context.js";
import { fill, h } from "./dom.js";
import { count, dayAndTime, money } from "./format.js";
import { refusalText } from "./words.js";

const states: Record<CouponState, string> = {
  [CouponState.UNSPECIFIED]: "Unknown",
  [CouponState.AVAILABLE]: "Can be used",
  [CouponState.USED]: "Used",
  [CouponState.EXPIRED]: "Expired",
};

export function discountText({ discount, discountMax }: Campaign): string {
  if (discount.case === "amountOff") return `${money(discount.value)} off`;
  const most = discountMax ? `, at most ${money(discountMax)}` : "";
  return `${discount.value ?? 0} % off${most}`;
}

/** In minor units; nothing where the total is too small, or in another currency. The server decides the rest. */
export function discountOn(campaign: Campaign, total: Money): bigint {
  const { discount, discountMax, orderMin } = campaign;
  const amounts = [orderMin, discountMax, discount.case === "amountOff" ? discount.value : undefined];
  const foreign = amounts.some((amount) => amount && amount.currencyCode !== total.currencyCode);
  if (foreign || (orderMin && total.amountMinor < orderMin.amountMinor)) return 0n;
  const off =
    discount.case === "amountOff"
      ? discount.value.amountMinor
      : (total.amountMinor * BigInt(discount.value ?? 0)) / 100n;
  const most = discountMax ? least(discountMax.amountMinor, total.amountMinor) : total.amountMinor;
  return least(off, most);
}

function least(one: bigint, other: bigint): bigint {
  return one < other ? one : other;
}

/** Names of what it is good for; those that the catalog does not have are counted. */
function targetsText({ concertIds, performanceIds }: Campaign, catalog: Catalog): string {
  if (concertIds.length + performanceIds.length === 0) return "every performance";
  const names = catalog.concerts.flatMap(({ concert, performances }) => [
    ...(concertIds.includes(concert.id) ? [concert.name] : []),
    ...performances
      .filter(({ id }) => performanceIds.includes(id))
      .map(({ startsAt }) => `${concert.name}, ${dayAndTime(startsAt)}`),
  ]);
  const others = concertIds.length + performanceIds.length - names.length;
  return [...names, ...(others > 0 ? [`${count(others)} more`] : [])].join("; ");
}

/** What a coupon takes off, of what, and when. */
export function termsList(campaign: Campaign, catalog: Catalog): HTMLElement {
  const { orderMin, validFrom, validUntil } = campaign;
  const facts: [string, string][] = [
    ["Takes off", discountText(campaign)],
    ["Good for", targetsText(campaign, catalog)],
  ];
  if (orderMin) facts.push(["From a total of", money(orderMin)]);
  if (validFrom && timestampMs(validFrom) > Date.now()) facts.push(["Usable from", dayAndTime(validFrom)]);
  facts.push(["Usable until", validUntil ? dayAndTime(validUntil) : "no end is set"]);
  return h(
    "dl",
    { class: "facts terms" },
    ...facts.map(([name, text]) => h("div", {}, h("dt", {}, name), h("dd", {}, text))),
  );
}

export function couponCard(coupon: Coupon, campaign: Campaign | undefined, catalog: Catalog): HTMLElement {
  const name = campaign?.name ?? "Coupon";
  return h(
    "article",
    { class: "ticket coupon", "aria-label": `Coupon, ${name}` },
    h("p", { class: "ticket-name" }, name),
    h("p", { class: "muted coupon-state" }, `${states[coupon.state]} · issued ${dayAndTime(coupon.issueTime)}`),
    campaign ? termsList(campaign, catalog) : null,
    h("div", { class: "ticket-code" }, h("p", { class: "muted" }, "Coupon"), h("code", {}, coupon.id)),
  );
}

/** Those that can be used, each with its campaign. */
/** Whether it may be used for this performance now; its minimum is judged by the discount. */
export function appliesTo(campaign: Campaign, concertId: string, performanceId: string): boolean {
  const { concertIds, performanceIds, validFrom, validUntil } = campaign;
  const now = Date.now();
  if (validFrom && now < timestampMs(validFrom)) return false;
  if (validUntil && now >= timestampMs(validUntil)) return false;
  if (concertIds.length + performanceIds.length === 0) return true;
  return concertIds.includes(concertId) || performanceIds.includes(performanceId);
}

export async function usableCoupons(api: Api, signal: AbortSignal): Promise<{ coupon: Coupon; campaign: Campaign }[]> {
  const usable = (await myCoupons(api, signal)).filter(({ state }) => state === CouponState.AVAILABLE);
  const known = await Promise.all(
    usable.map(async (coupon) => {
      const answer = await ask(() => api.coupons.getCampaign({ campaignId: coupon.campaignId }, { signal }), signal);
      return { coupon, campaign: answer.value?.campaign };
    }),
  );
  return known.flatMap(({ coupon, campaign }) => (campaign ? [{ coupon, campaign }] : []));
}

/** All of them, the latest first. */
export async function myCoupons(api: Api, signal: AbortSignal): Promise<Coupon[]> {
  const all: Coupon[] = [];
  for (let pageToken = ""; ; ) {
    const page = await ask(() => api.coupons.listCoupons({ pageSize: 100, pageToken }, { signal }), signal);
    if (page.refusal) throw page.refusal;
    all.push(...page.value.coupons);
    pageToken = page.value.nextPageToken;
    if (pageToken === "") return all;
  }
}

export function couponsView(context: Context): View {
  const { api } = context;
  const closed = new AbortController();
  const { signal } = closed;
  const list = h("div", { class: "tickets", id: "coupons" }, h("p", { class: "muted" }, "Loading…"));
  const name = h("input", { id: "campaign-id", required: true, autocomplete: "off", spellcheck: false });
  const find = h(
    "form",
    { class: "card", "aria-labelledby": "find-title" },
    h("h2", { id: "find-title" }, "Get a coupon"),
    h(
      "div",
      { class: "fields" },
      h("label", { for: "campaign-id" }, "Campaign", name),
      h("button", { class: "primary", type: "submit" }, "Show"),
    ),
  );
  find.addEventListener("submit", (event) => {
    event.preventDefault();
    location.hash = `#/coupon/${encodeURIComponent(name.value.trim())}`;
  });
  const element = h(
    "section",
    { class: "reservations", "aria-labelledby": "coupons-title" },
    h("h1", { id: "coupons-title", tabIndex: -1 }, "My coupons"),
    list,
    find,
  );
  context.title("My coupons");

  async function load(): Promise<void> {
    const [coupons, catalog] = await Promise.all([
      myCoupons(api, signal),
      loadCatalog(api, signal).catch((): Catalog => ({ concerts: [] })),
    ]);
    const ids = [...new Set(coupons.map(({ campaignId }) => campaignId))];
    const campaigns = await Promise.all(
      ids.map((campaignId) => ask(() => api.coupons.getCampaign({ campaignId }, { signal }), signal)),
    );
    if (signal.aborted) return;
    if (coupons.length === 0) return fill(list, h("p", {}, "You have no coupons yet."));
    const known = new Map(campaigns.map(({ value }) => [value?.campaign?.id, value?.campaign]));
    fill(list, ...coupons.map((coupon) => couponCard(coupon, known.get(coupon.campaignId), catalog)));
  }

  load().catch((refusal: Refusal) => {
    if (!signal.aborted) fill(list, h("p", { class: "notice error", role: "alert" }, refusalText(refusal)));
  });
  return { element, close: () => closed.abort() };
}
