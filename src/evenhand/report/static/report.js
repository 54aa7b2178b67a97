"use strict";
// The panel of responses behind every mark, sortable tables, panels as tabs, and the theme button.
// Text from the run reaches the page through textContent only.
(function () {
  const PAGE = 50;
  const NONE = "(none)";
  const $ = (id) => document.getElementById(id);
  const make = (tag, className, text) => {
    const node = document.createElement(tag);
    if (className) node.className = className;
    if (text !== undefined) node.textContent = text;
    return node;
  };
  const grouped = (n) => n.toLocaleString("en-US");

  // ---- theme ------------------------------------------------------------------------------------------------------
  const root = document.documentElement;
  const themeButton = $("theme");
  const systemDark = window.matchMedia("(prefers-color-scheme: dark)");
  const remembered = () => {
    try { return localStorage.getItem("evenhand-theme"); } catch { return null; }
  };
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : systemDark.matches);
  const nameTheme = () => {
    themeButton.textContent = isDark() ? "Light theme" : "Dark theme";
  };
  const saved = remembered();
  if (saved === "dark" || saved === "light") root.dataset.theme = saved;
  themeButton.hidden = false;
  themeButton.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    try { localStorage.setItem("evenhand-theme", root.dataset.theme); } catch { /* storage may be closed to files */ }
    nameTheme();
  });
  systemDark.addEventListener("change", nameTheme);
  nameTheme();

  // ---- responses --------------------------------------------------------------------------------------------------
  const data = JSON.parse($("evidence").textContent);
  const facets = data.facets;
  const [TEXT, PROMPT, REPETITION, ID, FINISH, FLAGS, FOLD] = [0, 1, 2, 3, 4, 5, 6].map((i) => facets.length + i);
  const dialog = $("responses");
  const selects = new Map();
  let state = null;

  const parse = () => {
    const hash = location.hash;
    if (!hash.startsWith("#responses?")) return null;
    const asked = new URLSearchParams(hash.slice("#responses?".length));
    const filter = new Map();
    for (const facet of facets) if (asked.has(facet.key)) filter.set(facet.key, asked.get(facet.key));
    const page = Number.parseInt(asked.get("page") || "1", 10);
    return { filter, page: Number.isFinite(page) && page > 0 ? page : 1 };
  };
  const address = (filter, page) => {
    const asked = new URLSearchParams();
    for (const [key, value] of filter) asked.set(key, value);
    if (page > 1) asked.set("page", String(page));
    return "#responses?" + asked.toString();
  };
  const codesFor = (facet, value) => {
    const set = facet.sets.find((s) => "set:" + s.key === value || (s.key === value && !facet.values.includes(value)));
    if (set) return new Set(set.members);
    const code = facet.values.indexOf(value === NONE && !facet.values.includes(NONE) ? "" : value);
    return new Set(code < 0 ? [] : [code]);
  };
  const wanted = (filter) =>
    facets.map((facet, column) => ({ column, facet })).filter(({ facet }) => filter.has(facet.key))
      .map(({ column, facet }) => ({ column, codes: codesFor(facet, filter.get(facet.key)) }));
  const passes = (row, tests) => tests.every(({ column, codes }) => codes.has(row[column]));

  const option = (value, title, chosen) => {
    const node = make("option", "", title);
    node.value = value;
    node.selected = value === chosen;
    return node;
  };
  const buildFilters = () => {
    const form = $("responses-filters");
    for (const facet of facets) {
      const label = make("label", "", facet.title + " ");
      const select = make("select");
      select.name = facet.key;
      select.addEventListener("change", () => {
        const filter = new Map(state.filter);
        if (select.value) filter.set(facet.key, select.value); else filter.delete(facet.key);
        location.hash = address(filter, 1);
      });
      label.append(select);
      form.append(label);
      selects.set(facet.key, { select, label });
    }
    form.addEventListener("submit", (event) => event.preventDefault());
  };
  const showFilters = (filter) => {
    for (const facet of facets) {
      const { select, label } = selects.get(facet.key);
      const chosen = filter.get(facet.key) || "";
      const sets = facet.sets.map((s) => option(facet.values.includes(s.key) ? "set:" + s.key : s.key, s.title, chosen));
      const order = facet.values.map((value, i) => ({ value: value || NONE, name: facet.names[i] || NONE }));
      order.sort((a, b) => a.name.localeCompare(b.name, "en", { numeric: true }));
      const values = order.map(({ value, name }) => option(value, name, chosen));
      const known = facet.values.includes(chosen) || chosen === NONE || facet.sets.some((s) => s.key === chosen || "set:" + s.key === chosen);
      const strange = filter.has(facet.key) && !known ? [option(chosen, chosen + " (not in this run)", chosen)] : [];
      select.replaceChildren(option("", "All", filter.has(facet.key) ? null : ""), ...sets, ...values, ...strange);
      label.hidden = facet.values.length < 2 && !filter.has(facet.key);
    }
  };

  const texted = (className, text) => {
    const node = make("p", className, text);
    node.dir = "auto";
    return node;
  };
  const card = (row) => {
    const item = make("li", "response");
    const chips = make("p", "chips");
    facets.forEach((facet, column) => {
      const name = facet.names[row[column]];
      if (!name || facet.values.length < 2) return;
      const value = facet.values[row[column]];
      const chip = make("span", "chip " + facet.key, name.startsWith(value + " ") ? value : name);
      chip.dir = "auto";
      chip.title = facet.title;
      chips.append(chip);
    });
    const prompt = data.prompts[row[PROMPT]];
    const text = data.texts[row[TEXT]];
    const fold = data.notes[row[FOLD]];
    item.append(chips);
    if (prompt) item.append(make("p", "tag", "Prompt"), texted("prompt", prompt));
    if (data.promptLengths[row[PROMPT]]) item.append(cutNote(prompt, data.promptLengths[row[PROMPT]]));
    item.append(make("p", "tag", "Response"));
    const body = text ? texted("text", text) : make("p", "text sub", "(no text)");
    const length = data.textLengths[row[TEXT]];
    if (fold && text) {
      const details = make("details", "fold");
      details.append(make("summary", "", fold + ": open the text"), body);
      if (length) details.append(cutNote(text, length));
      item.append(details);
    } else {
      item.append(body);
      if (length) item.append(cutNote(text, length));
    }
    const foot = [row[ID], "repetition " + row[REPETITION], data.notes[row[FINISH]], data.notes[row[FLAGS]]];
    item.append(texted("sub foot", foot.filter(Boolean).join(" · ")));
    return item;
  };
  const cutNote = (text, length) =>
    make("p", "sub", "Cut: the first " + grouped([...text].length) + " of " + grouped(length) + " characters.");

  const show = () => {
    const tests = wanted(state.filter);
    const rows = data.rows.filter((row) => passes(row, tests));
    const pages = Math.max(1, Math.ceil(rows.length / PAGE));
    const page = Math.min(state.page, pages);
    const first = (page - 1) * PAGE;
    showFilters(state.filter);
    let all = rows.length;
    if (data.totals) all = data.totals.reduce((sum, row) => (passes(row, tests) ? sum + row[facets.length] : sum), 0);
    const noun = all === 1 ? " response" : " responses";
    let said = grouped(all) + noun + ".";
    if (all !== rows.length) {
      said = "Showing " + grouped(rows.length) + " of " + grouped(all) + noun + "; see all with ";
    } else if (!all) said = "No response matches this filter.";
    const counter = $("responses-count");
    counter.replaceChildren(said);
    if (all !== rows.length) counter.append(make("code", "", data.command));
    counter.dataset.count = String(all);
    $("responses-list").start = first + 1;
    $("responses-list").replaceChildren(...rows.slice(first, first + PAGE).map(card));
    $("responses-page").textContent = "Page " + page + " of " + pages;
    $("responses-previous").disabled = page <= 1;
    $("responses-next").disabled = page >= pages;
    $("responses-pages").hidden = pages === 1;
    state.page = page;
    dialog.scrollTop = 0;
  };
  const turn = (step) => { location.hash = address(state.filter, state.page + step); };
  $("responses-previous").addEventListener("click", () => turn(-1));
  $("responses-next").addEventListener("click", () => turn(1));

  const leave = () => {
    if (!parse()) return;
    const bare = location.pathname + location.search;
    try { history.pushState(null, "", bare); } catch { location.hash = "#verdict"; }
    state = null;
  };
  const follow = () => {
    const next = parse();
    if (!next) {
      state = null;
      if (dialog.open) dialog.close();
      return;
    }
    state = next;
    show();
    if (!dialog.open) {
      dialog.showModal();
      $("responses-heading").focus();
    }
  };
  $("responses-close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  dialog.addEventListener("close", leave);
  window.addEventListener("hashchange", follow);
  window.addEventListener("popstate", follow);

  // ---- sortable tables ----------------------------------------------------------------------------------------------
  const keyOf = (row, column) => {
    const cell = row.cells[column];
    const given = cell.dataset.sort;
    const number = given === undefined ? NaN : Number(given);
    return Number.isNaN(number) ? (given === undefined ? cell.textContent.trim() : given) : number;
  };
  const compare = (a, b) =>
    typeof a === "number" && typeof b === "number" ? a - b
      : typeof a === "number" ? -1 : typeof b === "number" ? 1 : String(a).localeCompare(String(b), "en", { numeric: true });
  for (const table of document.querySelectorAll("table.sortable")) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      const button = make("button", "sort", head.textContent);
      button.type = "button";
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        const up = head.getAttribute("aria-sort") === "descending" ||
          (!head.hasAttribute("aria-sort") && !head.classList.contains("num"));
        for (const other of heads) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", up ? "ascending" : "descending");
        const body = table.tBodies[0];
        const rows = [...body.rows].map((row) => ({ row, key: keyOf(row, column) }));
        const missing = ({ key }) => key === "" || key === "—";
        rows.sort((a, b) => missing(a) - missing(b) || (up ? 1 : -1) * compare(a.key, b.key));
        body.append(...rows.map(({ row }) => row));
      });
    });
  }

  // ---- panels as tabs -------------------------------------------------------------------------------------------------
  for (const panels of document.querySelectorAll(".panels")) {
    const parts = [...panels.children];
    if (parts.length < 2) continue;
    const list = make("div", "tabs");
    list.setAttribute("role", "tablist");
    list.setAttribute("aria-label", panels.dataset.title);
    const tabs = parts.map((part) => {
      const tab = make("button", "tab", part.dataset.title);
      tab.type = "button";
      tab.id = part.id + "-tab";
      tab.setAttribute("role", "tab");
      tab.setAttribute("aria-controls", part.id);
      part.setAttribute("role", "tabpanel");
      part.setAttribute("aria-labelledby", tab.id);
      list.append(tab);
      return tab;
    });
    const choose = (chosen, focus) => {
      tabs.forEach((tab, i) => {
        tab.setAttribute("aria-selected", String(i === chosen));
        tab.tabIndex = i === chosen ? 0 : -1;
        parts[i].hidden = i !== chosen;
      });
      if (focus) tabs[chosen].focus();
    };
    const step = { ArrowRight: 1, ArrowLeft: -1 };
    tabs.forEach((tab, i) => {
      tab.addEventListener("click", () => choose(i, false));
      tab.addEventListener("keydown", (event) => {
        if (event.key in step) choose((i + step[event.key] + tabs.length) % tabs.length, true);
        else if (event.key === "Home") choose(0, true);
        else if (event.key === "End") choose(tabs.length - 1, true);
        else return;
        event.preventDefault();
      });
    });
    panels.prepend(list);
    choose(Math.min(Number(panels.dataset.opened) || 0, parts.length - 1), false);
  }

  // ---- print: nothing stays folded --------------------------------------------------------------------------------------
  let opened = [];
  window.addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("main details:not([open])")];
    for (const node of opened) node.open = true;
  });
  window.addEventListener("afterprint", () => {
    for (const node of opened) node.open = false;
    opened = [];
  });

  buildFilters();
  follow();
})();
