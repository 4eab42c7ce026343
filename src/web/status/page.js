// Filter, sort and refresh. Without this the page shows the same, and all of it.
"use strict";
(() => {
  const EVERY = 15000;
  const $ = (id) => document.getElementById(id);
  const [text, state, pause, shown, trouble] = ["text", "state", "pause", "shown", "trouble"].map($);
  const tables = [...document.querySelectorAll("table")];
  const collator = new Intl.Collator(undefined, { numeric: true });
  // By table: the rows as the server ordered them, and the column that orders them here.
  const rows = new Map();
  const order = new Map();

  const take = () => tables.forEach((table) => rows.set(table, [...table.tBodies[0].rows]));

  const key = (row, column) => {
    const cell = row.cells[column];
    return cell.dataset.v ?? cell.querySelector("time")?.dateTime ?? cell.textContent;
  };

  // What has no value comes last, whichever the direction.
  const compare = (a, b, down) => (a === "" || b === "" ? (a === "") - (b === "") : collator.compare(a, b) * (down ? -1 : 1));

  const sort = (table) => {
    const by = order.get(table);
    let sorted = rows.get(table);
    if (by) {
      const keyed = sorted.map((row) => [key(row, by.column), row]);
      sorted = keyed.sort((a, b) => compare(a[0], b[0], by.down)).map((pair) => pair[1]);
    }
    // Moving thousands of rows costs a layout, and mostly they are in order.
    const body = table.tBodies[0];
    if (sorted.some((row, index) => row !== body.rows[index])) body.append(...sorted);
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      if (by?.column === column) head.setAttribute("aria-sort", by.down ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    });
  };

  const filter = () => {
    const wanted = text.value.trim().toLowerCase();
    const counts = tables.map((table) => {
      let visible = 0;
      for (const row of rows.get(table)) {
        const s = row.dataset.s;
        const fits = !s || !state.value || (state.value === "!up" ? s !== "up" : s === state.value);
        const hidden = !fits || (wanted !== "" && !row.textContent.toLowerCase().includes(wanted));
        if (row.hidden !== hidden) row.hidden = hidden;
        visible += !hidden;
      }
      return [table.id, visible, rows.get(table).length];
    });
    const words = { worries: "connections that need a look" };
    const some = counts.filter(([id, , all]) => all > 0 && (id === "targets" || wanted));
    shown.textContent = some.map(([id, visible, all]) => `${visible} of ${all} ${words[id] ?? id}`).join(", ");
  };

  // What was chosen is in the address, so that a reload and a bookmark keep it.
  const remember = () => {
    const kept = new URLSearchParams();
    if (text.value) kept.set("q", text.value);
    if (state.value) kept.set("state", state.value);
    order.forEach((by, table) => by && kept.set(table.id, `${by.column}${by.down ? "d" : ""}`));
    const hash = kept.toString();
    history.replaceState(null, "", hash ? `#${hash}` : location.pathname + location.search);
  };

  const recall = () => {
    const kept = new URLSearchParams(location.hash.slice(1));
    text.value = kept.get("q") ?? "";
    state.value = kept.get("state") ?? "";
    if (state.selectedIndex < 0) state.value = "";
    tables.forEach((table) => {
      const [, column, down] = /^(\d+)(d?)$/.exec(kept.get(table.id) ?? "") ?? [];
      order.set(table, column < table.tHead.rows[0].cells.length ? { column: Number(column), down: down === "d" } : null);
      sort(table);
    });
    filter();
  };

  // Ascending, descending, and back to the server's order.
  const turn = (table, column) => {
    const by = order.get(table);
    if (by?.column !== column) order.set(table, { column, down: false });
    else order.set(table, by.down ? null : { column, down: true });
    sort(table);
    remember();
  };

  const selects = () => !(getSelection()?.isCollapsed ?? true);

  const refresh = async () => {
    if (document.hidden || pause.getAttribute("aria-pressed") === "true" || selects()) return;
    try {
      const answer = await fetch(location.pathname + location.search, { cache: "no-store", signal: AbortSignal.timeout(EVERY) });
      if (!answer.ok) throw new Error(`the exporter answered ${answer.status}`);
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      // Another version may have another page.
      if (page.body.dataset.build !== document.body.dataset.build) return location.reload();
      for (const part of document.querySelectorAll("[data-live]")) part.replaceChildren(...page.getElementById(part.id).childNodes);
      document.title = page.title;
      trouble.textContent = "";
      take();
      tables.filter((table) => order.get(table)).forEach(sort);
      filter();
    } catch (error) {
      trouble.textContent = `This is not current: ${error.message}.`;
    }
  };

  tables.forEach((table) =>
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = head.textContent;
      button.addEventListener("click", () => turn(table, column));
      head.replaceChildren(button);
    }),
  );
  text.addEventListener("input", () => (filter(), remember()));
  state.addEventListener("input", () => (filter(), remember()));
  pause.addEventListener("click", () => {
    pause.setAttribute("aria-pressed", String(pause.getAttribute("aria-pressed") !== "true"));
    refresh();
  });
  // A link to a part of the page is no choice.
  addEventListener("hashchange", () => ($(location.hash.slice(1)) ? remember() : recall()));
  document.addEventListener("visibilitychange", refresh);
  // The exact time, in the reader's own zone.
  document.addEventListener("mouseover", ({ target }) => {
    const time = target.closest?.("time");
    if (time) time.title = new Date(time.dateTime).toLocaleString();
  });
  take();
  recall();
  $("controls").hidden = false;
  setInterval(refresh, EVERY);
})();
