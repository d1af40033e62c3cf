// Seats are held: how long, what they cost, what the wallet has, and paying.

import { timestampMs } from "@bufbuild/protobuf/wkt";
import type { Money } from "../gen/usher/v1/common_pb.js";
import type { Campaign, Coupon } from "../gen/usher/v1/coupon_pb.js";
import type { Wallet } from "../gen/usher/v1/payment_pb.js";
import { type Reservation, ReservationState } from "../gen/usher/v1/reservation_pb.js";
import { ask, newKey } from "./api.js";
import type { Context, View } from "./context.js";
import { appliesTo, discountOn, discountText, usableCoupons } from "./coupons.js";
import { fill, h, setText, show } from "./dom.js";
import { countdown, decimals, money } from "./format.js";
import { refusalText } from "./words.js";

const WARN_AT_S = [120, 60, 30, 10];
/** How long the page waits beyond the end it knows, before it asks what became of the hold. */
const EXPIRY_SLACK_MS = 1000;

export interface CheckoutOptions {
  reservation: Reservation;
  concertId: string;
  serverNowMs: () => number;
  /** `paid`: less than the total with a coupon; unknown if its answer was lost. */
  onPaid: (reservation: Reservation, paid?: Money) => void;
  onGone: (text: string) => void;
}

export function checkoutView(context: Context, options: CheckoutOptions): View {
  const { api } = context;
  let { reservation } = options;
  const currency = reservation.total?.currencyCode ?? "";
  const full = reservation.total?.amountMinor ?? 0n;
  let total = full;
  let usable: { coupon: Coupon; campaign: Campaign }[] = [];
  const closed = new AbortController();
  let balance: bigint | undefined;
  let asking = false;
  let warned = Infinity;
  // A key belongs to one wish to pay: it changes when the server has refused for good.
  let payKey = newKey();

  const left = h("span", { class: "hold-left", role: "timer", "aria-label": "Time left to pay" });
  const problem = h("p", { class: "notice error", role: "alert", hidden: true });
  const balanceText = h("dd", { id: "balance" }, "…");
  const pay = h("button", { class: "primary huge", type: "button", id: "pay" }, `Pay ${money(reservation.total)}`);
  const toPay = h("dd", { id: "total" }, money(reservation.total));
  const coupon = h("select", { id: "coupon" }, h("option", { value: "" }, "None"));
  const couponField = h("div", { class: "fields", hidden: true }, h("label", { for: "coupon" }, "Coupon", coupon));
  const extend = h("button", { class: "quiet", type: "button" }, "I need more time");
  const giveBack = h("button", { class: "quiet", type: "button" }, "Give the seats back");
  const amount = h("input", { id: "top-up-amount", inputMode: "decimal", autocomplete: "off", required: true });
  const topUp = h(
    "form",
    { class: "top-up", hidden: true, "aria-labelledby": "top-up-title" },
    h("h3", { id: "top-up-title" }, "Put money into your wallet"),
    h("p", { class: "muted" }, "This is a sandbox: the money is play money."),
    h(
      "div",
      { class: "fields" },
      h("label", { for: "top-up-amount" }, `Amount in ${currency}`, amount),
      h("button", { class: "primary", type: "submit", id: "top-up" }, "Top up"),
    ),
  );
  const element = h(
    "section",
    { class: "card checkout", "aria-labelledby": "checkout-title" },
    h("h2", { id: "checkout-title", tabIndex: -1 }, "Your seats are held"),
    h("p", { class: "lead" }, "Pay within ", left, " and they are yours."),
    problem,
    seatTable(reservation),
    h(
      "dl",
      { class: "facts" },
      h("div", {}, h("dt", {}, "To pay"), toPay),
      h("div", {}, h("dt", {}, "In your wallet"), balanceText),
    ),
    couponField,
    topUp,
    h("p", { class: "actions" }, pay),
    h("p", { class: "actions" }, extend, giveBack),
  );

  function heard(wallet: Wallet | undefined): void {
    if (!wallet?.balance) return;
    setText(balanceText, money(wallet.balance));
    showWallet(wallet.balance.amountMinor);
  }

  function showWallet(has: bigint): void {
    balance = has;
    const short = total > balance;
    show(topUp, short);
    pay.disabled = short;
    if (short && !amount.value) amount.value = String(Number(total - balance) / 10 ** decimals(currency));
  }

  /** Those that take something off; a coupon that is refused stays to be chosen otherwise. */
  async function readCoupons(): Promise<void> {
    const { total: price } = reservation;
    if (!price) return;
    const mine = await usableCoupons(api, closed.signal);
    usable = mine.filter(
      ({ campaign }) =>
        appliesTo(campaign, options.concertId, reservation.performanceId) && discountOn(campaign, price) > 0n,
    );
    const choices = usable.map((one) =>
      h("option", { value: one.coupon.id }, `${one.campaign.name}: ${discountText(one.campaign)}`),
    );
    coupon.append(...choices);
    show(couponField, usable.length > 0);
  }

  function choose(): void {
    const chosen = usable.find((one) => one.coupon.id === coupon.value);
    const price = reservation.total;
    total = chosen && price ? full - discountOn(chosen.campaign, price) : full;
    payKey = newKey();
    const left = { currencyCode: currency, amountMinor: total };
    setText(toPay, money(left));
    setText(pay, `Pay ${money(left)}`);
    if (balance !== undefined) showWallet(balance);
  }

  async function readWallet(): Promise<void> {
    const answer = await ask(() => api.payments.getWallet({ currencyCode: currency }));
    if (answer.value) heard(answer.value.wallet);
    else complain(refusalText(answer.refusal));
  }

  function complain(text: string): void {
    setText(problem, text);
    show(problem, true);
  }

  /** Runs one command at a time, with the buttons out of reach meanwhile. */
  async function busy(run: () => Promise<void>): Promise<void> {
    if (asking) return;
    asking = true;
    show(problem, false);
    const buttons = [...element.querySelectorAll<HTMLButtonElement | HTMLSelectElement>("button, select")];
    const disabled = buttons.map((button) => button.disabled);
    for (const button of buttons) button.disabled = true;
    await run();
    buttons.forEach((button, index) => (button.disabled = disabled[index] ?? false));
    asking = false;
    pay.disabled = balance !== undefined && total > balance;
  }

  async function doPay(): Promise<void> {
    const request = {
      reservationId: reservation.id,
      method: { case: "wallet" as const, value: {} },
      ...(coupon.value && { couponId: coupon.value }),
      idempotencyKey: payKey,
    };
    const answer = await ask(() => api.payments.payReservation(request));
    if (answer.refusal && answer.refusal.reason !== "ALREADY_PAID") {
      payKey = newKey();
      if (answer.refusal.reason === "HOLD_EXPIRED") return options.onGone(refusalText(answer.refusal));
      complain(refusalText(answer.refusal));
      return readWallet();
    }
    const paid = await ask(() => api.reservations.getReservation({ reservationId: reservation.id }));
    if (paid.value?.reservation) options.onPaid(paid.value.reservation, answer.value?.payment?.amount);
    else complain("You have paid. The tickets could not be read yet: see My tickets.");
  }

  async function doTopUp(): Promise<void> {
    const minor = Math.round(Number(amount.value.replace(",", ".")) * 10 ** decimals(currency));
    if (!Number.isSafeInteger(minor) || minor <= 0) return complain("Please enter an amount, such as 50.");
    const request = {
      amount: { currencyCode: currency, amountMinor: BigInt(minor) },
      source: { case: "sandbox" as const, value: {} },
      idempotencyKey: newKey(),
    };
    const answer = await ask(() => api.payments.topUpWallet(request));
    if (answer.refusal) return complain(refusalText(answer.refusal));
    amount.value = "";
    await readWallet();
    context.announce("Your wallet is topped up.");
    if (balance !== undefined && balance >= total) setTimeout(() => pay.focus());
  }

  async function doExtend(): Promise<void> {
    const answer = await ask(() => api.reservations.extendHold({ reservationId: reservation.id }));
    if (answer.value?.reservation) reservation = answer.value.reservation;
    else if (answer.refusal) complain(refusalText(answer.refusal));
    show(extend, false);
  }

  async function doGiveBack(): Promise<void> {
    const request = { reservationId: reservation.id, idempotencyKey: newKey() };
    const answer = await ask(() => api.reservations.cancelReservation(request));
    if (answer.refusal && answer.refusal.reason !== "HOLD_EXPIRED") return complain(refusalText(answer.refusal));
    options.onGone("You have given the seats back.");
  }

  async function lookAfterExpiry(): Promise<void> {
    const answer = await ask(() => api.reservations.getReservation({ reservationId: reservation.id }));
    const now = answer.value?.reservation;
    if (now?.state === ReservationState.CONFIRMED) return options.onPaid(now);
    if (now?.state === ReservationState.HELD) reservation = now;
    else if (now) options.onGone("The time to pay has run out, and the seats are free again.");
  }

  function tick(): void {
    if (!reservation.holdExpireTime) return;
    const leftMs = timestampMs(reservation.holdExpireTime) - options.serverNowMs();
    setText(left, countdown(leftMs));
    context.title(`Pay within ${countdown(leftMs)}`);
    const seconds = Math.ceil(leftMs / 1000);
    const warning = WARN_AT_S.find((at) => seconds <= at && warned > at);
    if (warning && warned !== Infinity) context.announce(`${warning} seconds left to pay.`, true);
    warned = Math.min(warned, seconds);
    if (leftMs < -EXPIRY_SLACK_MS) void busy(lookAfterExpiry);
  }

  show(extend, !reservation.extended);
  pay.addEventListener("click", () => void busy(doPay));
  extend.addEventListener("click", () => void busy(doExtend));
  giveBack.addEventListener("click", () => void busy(doGiveBack));
  topUp.addEventListener("submit", (event) => {
    event.preventDefault();
    void busy(doTopUp);
  });
  coupon.addEventListener("change", choose);
  void readWallet();
  // Who has none, or whose coupons cannot be read now, pays all of it.
  readCoupons().catch(() => {});
  tick();
  return { element, tick, close: () => closed.abort() };
}

export function seatTable(reservation: Reservation): HTMLElement {
  const body = h("tbody");
  fill(
    body,
    ...reservation.seats.map(({ section, row, number, price }) =>
      h(
        "tr",
        {},
        h("td", {}, section),
        h("td", {}, row),
        h("td", {}, String(number)),
        h("td", { class: "amount" }, money(price)),
      ),
    ),
  );
  const head = ["Section", "Row", "Seat", "Price"].map((name) =>
    h("th", { scope: "col", class: name === "Price" ? "amount" : "" }, name),
  );
  return h(
    "table",
    { class: "seat-table" },
    h("caption", { class: "hidden" }, "Your seats"),
    h("thead", {}, h("tr", {}, ...head)),
    body,
  );
}
