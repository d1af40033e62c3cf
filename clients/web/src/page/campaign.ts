// One campaign: what is left of it, one button, and the final answer. Where a room protects it the line comes first,
// and the button when it is the user's turn.

import { timestampMs } from "@bufbuild/protobuf/wkt";
import type { Refusal } from "../errors.js";
import type { Campaign, Coupon } from "../gen/usher/v1/coupon_pb.js";
import { EndReason, PlaceState } from "../gen/usher/v1/place_pb.js";
import { sleep, systemClock } from "../clock.js";
import { WaitingRoom } from "../waiting-room.js";
import { accessCodeForm } from "./access-code.js";
import { ask } from "./api.js";
import { type Catalog, type Context, loadCatalog, type View } from "./context.js";
import { couponCard, myCoupons, termsList } from "./coupons.js";
import { fill, h, setText } from "./dom.js";
import { count } from "./format.js";
import { type LineView, lineView } from "./line.js";
import { turnView } from "./turn.js";
import { ending, refusalText } from "./words.js";

const REFRESH_MS = 5000;

export function campaignView(context: Context, campaignId: string): View {
  const { api } = context;
  const closed = new AbortController();
  const { signal } = closed;
  const title = h("h1", { id: "campaign-title", tabIndex: -1 }, "…");
  const left = h("p", { class: "muted", id: "left", role: "status" });
  const stage = h("div", { class: "stage-area" });
  const element = h(
    "section",
    { "aria-labelledby": "campaign-title" },
    h("p", {}, h("a", { href: "#/coupons", class: "back" }, "← My coupons")),
    title,
    left,
    stage,
  );
  let campaign: Campaign | undefined;
  let catalog: Catalog = { concerts: [] };
  let coupon: Coupon | undefined;
  let room: WaitingRoom | undefined;
  /** It was said that none is left, and no more have come since. */
  let gone = false;
  /** Whether the coupon was looked for after the place had ended as used. */
  let lookedAgain = false;
  let shown = "";
  let view: View | undefined;

  function enter(key: string, build: () => View): void {
    if (shown === key) return;
    const first = shown === "";
    shown = key;
    view?.close?.();
    view = build();
    fill(stage, view.element);
    if (!first) stage.querySelector<HTMLElement>(key === "turn" ? "#claim" : "h2")?.focus();
  }

  function isOver(): boolean {
    return campaign?.validUntil !== undefined && timestampMs(campaign.validUntil) <= Date.now();
  }

  function decide(): void {
    if (!campaign || signal.aborted) return;
    if (coupon) return showCoupon(coupon);
    if (gone) {
      return showMessage("gone", "All coupons are gone", "Others were faster: every coupon of this campaign is taken.");
    }
    if (isOver()) return showMessage("over", "This campaign is over", "Its coupons are not issued any more.");
    const state = room?.state;
    if (!room || !state) return showButton();
    if (state.place?.endReason === EndReason.COMPLETED && !lookedAgain) return void lookAgain();
    if (state.phase === "stopped") return showStopped(state.stopped?.refusal);
    if (!state.place || (state.phase === "idle" && !room.hasPlace)) return showJoin(state.phase === "idle");
    if (state.place.state === PlaceState.ACTIVE) return state.pass ? showButton() : showJoin(false);
    if (state.place.state === PlaceState.ACTIVATED) return enter("turn", () => turnView(context, room as WaitingRoom));
    enter("line", () => lineView(context, room as WaitingRoom, () => void room?.leave()));
    (view as LineView).update(state);
  }

  /** The coupon may be the user's although its answer was lost, or another tab got it. */
  async function lookAgain(): Promise<void> {
    lookedAgain = true;
    const mine = await myCoupons(api, signal).catch((): Coupon[] => []);
    coupon ??= mine.find((one) => one.campaignId === campaignId);
    decide();
  }

  function showStopped(refusal: Refusal | undefined): void {
    if (refusal?.reason === "ACCESS_CODE_INVALID") {
      const problem = refusalText(refusal);
      return enter(`code ${problem}`, () => ({ element: accessCodeForm(problem, (code) => room?.join(code)) }));
    }
    if (room?.state.stopped?.why === "replaced") {
      const text = "This room is open in several other tabs. Go on there, or continue here instead.";
      const act = { label: "Continue here", run: () => room?.resume() };
      return showMessage("replaced", "Open in another tab", text, act);
    }
    const words = ending(room?.state.place?.endReason);
    const text = refusal ? refusalText(refusal) : words.text;
    showMessage(`stopped ${text}`, refusal ? "You could not join" : words.title, text, {
      label: "Join again",
      run: () => room?.join(),
    });
  }

  function showJoin(idle: boolean): void {
    const label = idle ? "Join the waiting room" : "One moment…";
    enter(`join ${idle}`, () => {
      const join = h("button", { class: "primary huge", type: "button", id: "join", disabled: !idle }, label);
      join.addEventListener("click", () => room?.join());
      return offer("Coupons are issued in turn", "Take a place in the line. When it is your turn, get yours.", join);
    });
  }

  function offer(heading: string, text: string, button: HTMLElement, problem?: HTMLElement): View {
    const terms = campaign ? termsList(campaign, catalog) : null;
    return {
      element: h(
        "section",
        { class: "card intro", "aria-labelledby": "offer-title" },
        h("h2", { id: "offer-title", tabIndex: -1 }, heading),
        h("p", { class: "lead" }, text),
        terms,
        button,
        problem,
      ),
    };
  }

  function showButton(): void {
    enter("offer", () => {
      const problem = h("p", { class: "notice error", role: "alert", hidden: true });
      const press = h("button", { class: "primary huge", type: "button", id: "press" }, "Get my coupon");
      press.addEventListener("click", () => void issue(press, problem));
      context.title(campaign?.name ?? "Coupon");
      return offer("First come, first served", "One for each person. The answer is final.", press, problem);
    });
  }

  async function issue(press: HTMLButtonElement, problem: HTMLElement): Promise<void> {
    press.disabled = true;
    problem.hidden = true;
    setText(press, "One moment…");
    const pass = room?.state.pass;
    const headers: Record<string, string> = pass ? { "x-usher-pass": pass } : {};
    const answer = await ask(() => api.coupons.issueCoupon({ campaignId }, { headers, signal }), signal);
    if (signal.aborted) return;
    if (answer.value?.coupon) {
      coupon = answer.value.coupon;
      context.announce("The coupon is yours.", true);
      return decide();
    }
    if (answer.refusal?.reason === "COUPON_SOLD_OUT") {
      gone = true;
      // Whoever is next hears the same.
      room?.leave();
      return decide();
    }
    press.disabled = false;
    setText(press, "Get my coupon");
    setText(problem, answer.refusal ? refusalText(answer.refusal) : "Something went wrong.");
    problem.hidden = false;
  }

  function showCoupon(mine: Coupon): void {
    enter(`coupon ${mine.id}`, () => {
      context.title("Your coupon");
      return {
        element: h(
          "section",
          { class: "card paid", "aria-labelledby": "yours-title" },
          h("h2", { id: "yours-title", tabIndex: -1 }, "The coupon is yours"),
          h("p", { class: "lead" }, "It is taken off a payment when you use it, once."),
          couponCard(mine, campaign, catalog),
          h("p", { class: "actions" }, h("a", { class: "button", href: "#/coupons" }, "My coupons")),
        ),
      };
    });
  }

  function showMessage(key: string, heading: string, text: string, act?: { label: string; run: () => void }): void {
    enter(key, () => {
      context.title(heading);
      context.announce(`${heading}. ${text}`, true);
      const button = act && h("button", { class: "primary", type: "button", on: { click: act.run } }, act.label);
      return {
        element: h(
          "section",
          { class: "card" },
          h("h2", { tabIndex: -1 }, heading),
          h("p", {}, text),
          button && h("p", { class: "actions" }, button),
        ),
      };
    });
  }

  async function read(): Promise<void> {
    const answer = await ask(() => api.coupons.getCampaign({ campaignId }, { signal }), signal);
    if (answer.refusal) throw answer.refusal;
    campaign = answer.value.campaign;
    if (!campaign) return;
    if (gone && campaign.issued < campaign.stock) {
      gone = false;
      decide();
    }
    setText(title, campaign.name);
    setText(left, `${count(Number(campaign.stock - campaign.issued))} of ${count(Number(campaign.stock))} left`);
  }

  async function start(): Promise<void> {
    const [, mine, known] = await Promise.all([
      read(),
      myCoupons(api, signal),
      loadCatalog(api, signal).catch((): Catalog => ({ concerts: [] })),
    ]);
    if (signal.aborted) return;
    catalog = known;
    coupon = mine.find((one) => one.campaignId === campaignId);
    if (campaign?.roomId && !coupon) {
      room = new WaitingRoom({
        roomId: campaign.roomId,
        user: api.user,
        transport: api.transport,
        storage: localStorage,
        onChange: decide,
      });
      if (room.hasPlace) room.resume();
    }
    decide();
    while (!signal.aborted) {
      await sleep(systemClock, REFRESH_MS, signal);
      // What is left is shown as it was while it cannot be read.
      if (!signal.aborted && !document.hidden) await read().catch(() => {});
    }
  }

  start().catch((refusal: Refusal) => {
    if (!signal.aborted) showMessage("failed", "This campaign cannot be shown", refusalText(refusal));
  });
  return {
    element,
    tick: () => view?.tick?.(),
    close: () => {
      closed.abort();
      view?.close?.();
      room?.pause();
    },
  };
}
