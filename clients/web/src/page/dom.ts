// Building and changing elements. No inline styles or handlers in markup: the page runs under default-src 'self'.

type Child = Node | string | number | false | null | undefined;
type Props<E> = { [name: `aria-${string}`]: string | undefined } & {
  class?: string;
  id?: string;
  role?: string;
  for?: string;
  on?: { [K in keyof HTMLElementEventMap]?: (event: HTMLElementEventMap[K]) => void };
} & Partial<Omit<E, "children" | "style" | "role" | "id">>;

export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  props: Props<HTMLElementTagNameMap[K]> = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined) continue;
    if (name === "on") {
      for (const [event, run] of Object.entries(value as object)) element.addEventListener(event, run as EventListener);
    } else if (name === "class" || name === "for" || name === "role" || name.startsWith("aria-")) {
      element.setAttribute(name, String(value));
    } else {
      Object.assign(element, { [name]: value });
    }
  }
  element.append(...keep(children));
  return element;
}

export function fill(element: Element, ...children: Child[]): void {
  element.replaceChildren(...keep(children));
}

/** Changes a text only where it differs, so that screen readers and selections are left in peace. */
export function setText(element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

export function show(element: HTMLElement, visible: boolean): void {
  element.hidden = !visible;
}

function keep(children: Child[]): (Node | string)[] {
  return children
    .filter((child): child is Node | string | number => child !== false && child !== null && child !== undefined)
    .map((child) => (typeof child === "number" ? String(child) : child));
}
