// Where someone types the code that a room, or one of its lanes, asks for.

import { h } from "./dom.js";

/** Longer ones are refused by the server. */
const CODE_CHARS_MAX = 64;

export function accessCodeForm(problem: string, join: (code: string) => void): HTMLElement {
  const code = h("input", {
    id: "access-code",
    type: "text",
    required: true,
    maxLength: CODE_CHARS_MAX,
    autocomplete: "off",
    spellcheck: false,
    "aria-describedby": problem ? "access-code-problem" : undefined,
  });
  const form = h(
    "form",
    { class: "card", "aria-labelledby": "access-code-title" },
    h("h2", { id: "access-code-title", tabIndex: -1 }, "Your access code"),
    h("p", { class: "notice error", role: "alert", id: "access-code-problem", hidden: !problem }, problem),
    h(
      "div",
      { class: "fields" },
      h("label", { for: "access-code" }, "Access code", code),
      h("button", { class: "primary", type: "submit", id: "join-with-code" }, "Join with this code"),
    ),
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (code.value.trim()) join(code.value.trim());
  });
  return form;
}
