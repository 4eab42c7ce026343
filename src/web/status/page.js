// Filter, sort and refresh. Without this the pages show the same, and all of it.
"use strict";
(() => {
  const EVERY = 15000;
  // Tables with names that one looks for.
  const SOUGHT = "table:not(.polls, .days)";
  const $ = (id) => document.getElementById(id);
  const [text, state, pause, next, shown, none, trouble] = ["text", "state", "pause", "next", "shown", "none", "trouble"].map($);
  // The table that the page is about.
  const subject = $("targets") ? "targets" : "connections";
  const collator = new Intl.Collator(undefined, { numeric: true });
  // As the server writes them.
  const digits = (number) => number.toLocaleString("en-US");
  const query = (what, within = document) => [...within.querySelectorAll(what)];
  // By table: the rows as the server ordered them. By kind of table: the column that orders them here.
  const rows = new Map();
  const order = new Map();
  // By group: whether the server shows it open, and whether the reader opened or closed it. By element: as it was set here.
  const served = new Map();
  const chosen = new Map();
  const opened = new WeakMap();
  const wants = () => ({ words: text?.value.trim().toLowerCase() ?? "", health: state?.value ?? "" });

  const heads = (table) => [...table.tHead.rows[0].cells];

  const key = (row, column) => {
    const cell = row.cells[column];
    return cell.dataset.v ?? cell.querySelector("time")?.dateTime ?? cell.textContent;
  };

  // What has no value comes last, whichever the direction.
  const compare = (a, b, down) => (a === "" || b === "" ? (a === "") - (b === "") : collator.compare(a, b) * (down ? -1 : 1));

  const sort = (table) => {
    const by = order.get(table.dataset.t);
    let sorted = rows.get(table);
    if (by) {
      const keyed = sorted.map((row) => [key(row, by.column), row]);
      sorted = keyed.sort((a, b) => compare(a[0], b[0], by.down)).map((pair) => pair[1]);
    }
    // Moving thousands of rows costs a layout, and mostly they are in order.
    const body = table.tBodies[0];
    if (sorted.some((row, index) => row !== body.rows[index])) body.append(...sorted);
    heads(table).forEach((head, column) => {
      if (by?.column === column) head.setAttribute("aria-sort", by.down ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    });
  };

  const show = (element, visible) => {
    if (element.hidden === visible) element.hidden = !visible;
  };

  const open = (details, is) => {
    opened.set(details, is);
    if (details.open !== is) details.open = is;
  };

  const filter = () => {
    const { words, health } = wants();
    // Rows that match, and all rows: of the table that the page is about, and of the others.
    const counts = { main: [0, 0], other: [0, 0] };
    let partial = "";
    rows.forEach((all, table) => {
      if (!table.matches(SOUGHT)) return;
      const group = table.closest(".group");
      // A group's name belongs to each of its rows.
      const name = group && words ? group.querySelector("h3").textContent.toLowerCase() : "";
      let visible = 0;
      for (const row of all) {
        const s = row.dataset.s;
        const fits = !s || !health || (health === "!up" ? s !== "up" : s === health);
        const found = fits && (words === "" || `${name} ${row.textContent.toLowerCase()}`.includes(words));
        show(row, found);
        visible += found;
      }
      // No frame without rows stays.
      const frame = group ?? table.closest("details.list") ?? table;
      // A list of which not all is here stays, with its note that says so.
      const more = frame.dataset.more !== undefined;
      if (more) partial = ", as far as they are shown";
      show(frame, visible > 0 || all.length === 0 || more);
      if (table.dataset.t === "issues") show($("unmatched"), visible === 0 && !more);
      const count = counts[table.dataset.t === subject ? "main" : "other"];
      count[0] += visible;
      count[1] += all.length;
    });
    // What the filter found is shown open, and afterwards as it was.
    for (const details of query("details[data-g]")) {
      const found = words || (health && details.matches(".group"));
      const group = details.dataset.g;
      open(details, (found && details.querySelector(`${SOUGHT} tbody tr:not([hidden])`) !== null) || (chosen.get(group) ?? served.get(group)));
    }
    const [[visible, total], [others]] = [counts.main, counts.other];
    if (shown) shown.textContent = `${digits(visible)} of ${digits(total)} ${subject}${words ? `, ${digits(others)} in other lists${partial}` : ""}`;
    if (none) show(none, total > 0 && visible === 0);
    for (const tile of query(".tile[data-state]")) {
      if (tile.dataset.state === health) tile.setAttribute("aria-current", "true");
      else tile.removeAttribute("aria-current");
    }
    const note = $("filtered");
    if (note) note.hidden = true;
  };

  // The address keeps what was chosen, so a reload and a bookmark do, too. Parameters of others stay.
  const OURS = /^(q|state|sort\..*)$/;
  const others = () => {
    const kept = new URLSearchParams(location.search);
    [...kept.keys()].filter((name) => OURS.test(name)).forEach((name) => kept.delete(name));
    return kept;
  };

  const remember = () => {
    const kept = others();
    if (text?.value) kept.set("q", text.value);
    if (state?.value) kept.set("state", state.value);
    order.forEach((by, kind) => by && kept.set(`sort.${kind}`, `${by.column}${by.down ? "d" : ""}`));
    const search = kept.toString();
    history.replaceState(null, "", location.pathname + (search && `?${search}`));
  };

  const recall = () => {
    const kept = new URLSearchParams(location.search);
    if (text) text.value = kept.get("q") ?? "";
    if (state) {
      state.value = kept.get("state") ?? "";
      if (state.selectedIndex < 0) state.value = "";
    }
    kept.forEach((value, name) => {
      const [, column, down] = /^(\d+)(d?)$/.exec(value) ?? [];
      if (name.startsWith("sort.") && column) order.set(name.slice(5), { column: Number(column), down: down === "d" });
    });
  };

  // Ascending, descending, and back to the server's order.
  const turn = (kind, column) => {
    const by = order.get(kind);
    if (by?.column !== column) order.set(kind, { column, down: false });
    else order.set(kind, by.down ? null : { column, down: true });
    query(`table[data-t="${kind}"]`).forEach(sort);
    remember();
  };

  // Takes over what the server sent.
  const take = () => {
    rows.clear();
    for (const table of query("table")) {
      rows.set(table, [...table.tBodies[0].rows]);
      const kind = table.dataset.t;
      heads(table).forEach((head, column) => {
        if (head.className) return;
        const button = document.createElement("button");
        button.type = "button";
        button.textContent = head.textContent;
        button.addEventListener("click", () => turn(kind, column));
        head.replaceChildren(button);
      });
      if (order.get(kind)?.column >= heads(table).length) order.delete(kind);
      if (order.get(kind)) sort(table);
    }
    for (const details of query("details[data-g]")) {
      const group = details.dataset.g;
      // A group that began or ceased to need attention is shown as that demands.
      if (served.has(group) && served.get(group) !== details.open) chosen.delete(group);
      served.set(group, details.open);
    }
  };

  // Where the focus is, to find the same place again after a refresh.
  const place = (element) => {
    if (!element?.closest("[data-live]")) return null;
    const group = element.closest("[data-g]")?.dataset.g;
    const within = group ? `[data-g="${CSS.escape(group)}"] ` : "";
    if (element.matches("summary")) return `${within}> summary`;
    if (element.matches("thead button")) return `${within}th:nth-child(${element.parentElement.cellIndex + 1}) button`;
    return element.matches("a") ? `${within}a[href="${CSS.escape(element.getAttribute("href"))}"]` : null;
  };

  const selects = () => !(getSelection()?.isCollapsed ?? true);
  const paused = () => pause.getAttribute("aria-pressed") === "true";
  let due = Date.now() + EVERY;

  const refresh = async () => {
    due = Date.now() + EVERY;
    if (document.hidden || paused() || selects()) return;
    try {
      const answer = await fetch(`${location.pathname}?${others()}`, { cache: "no-store", signal: AbortSignal.timeout(EVERY) });
      if (!answer.ok) throw new Error(`the exporter answered ${answer.status}`);
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      // Another version may have another page.
      if (page.body.dataset.build !== document.body.dataset.build) return location.reload();
      const focus = place(document.activeElement);
      for (const part of query("[data-live]")) part.replaceChildren(...page.getElementById(part.id).childNodes);
      document.title = page.title;
      trouble.textContent = "";
      take();
      filter();
      if (focus) document.querySelector(focus)?.focus({ preventScroll: true });
    } catch (error) {
      // What the browser says of it is its own jargon.
      const why = error instanceof TypeError ? "the exporter cannot be reached" : error.message;
      trouble.textContent = `This is not current: ${why}.`;
      document.title = `not current – ${document.title.replace(/^not current – /, "")}`;
    }
  };

  const tick = () => {
    if (Date.now() >= due) refresh();
    const seconds = Math.max(0, Math.ceil((due - Date.now()) / 1000));
    next.textContent = paused() ? "refresh paused" : `next refresh in ${seconds} s`;
  };

  const set = (is) => {
    for (const details of query("#targets details[data-g]:not([hidden])")) {
      open(details, is);
      chosen.set(details.dataset.g, is);
    }
  };

  text?.addEventListener("input", () => (filter(), remember()));
  state?.addEventListener("input", () => (filter(), remember()));
  none?.querySelector("button").addEventListener("click", () => {
    text.value = "";
    if (state) state.value = "";
    filter();
    remember();
    text.focus();
  });
  $("expand")?.addEventListener("click", () => set(true));
  $("collapse")?.addEventListener("click", () => set(false));
  pause.addEventListener("click", () => {
    pause.setAttribute("aria-pressed", String(!paused()));
    refresh();
    tick();
  });
  document.addEventListener("click", (event) => {
    const tile = event.target.closest?.(".tile");
    if (!tile || event.ctrlKey || event.metaKey || event.shiftKey) return;
    if (tile.dataset.state === undefined) {
      // What a link leads to is open.
      const details = document.querySelector(`[data-g="${CSS.escape(tile.hash.slice(1))}"]`);
      if (details) details.open = true;
      return;
    }
    event.preventDefault();
    state.value = tile.dataset.state;
    filter();
    remember();
    $("targets-title").scrollIntoView();
  });
  // Opened or closed by the reader, or by the browser's search in the page.
  document.addEventListener("toggle", ({ target }) => {
    if (target.dataset?.g && opened.get(target) !== target.open) chosen.set(target.dataset.g, target.open);
  }, true);
  addEventListener("popstate", () => {
    if (location.hash) return;
    recall();
    filter();
  });
  document.addEventListener("visibilitychange", refresh);
  // The exact time, in the reader's own zone.
  document.addEventListener("mouseover", ({ target }) => {
    const time = target.closest?.("time");
    if (time) time.title = new Date(time.dateTime).toLocaleString();
  });
  recall();
  take();
  filter();
  if ($("controls")) $("controls").hidden = false;
  $("refresh").hidden = false;
  tick();
  setInterval(tick, 1000);
})();
