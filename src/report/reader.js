"use strict";
// The reader of queries. All texts of a run are inserted as text, never as markup.
(() => {
  const settings = JSON.parse(document.getElementById("reader-data").textContent);
  const PAGE = 50;
  const byId = (id) => document.getElementById(id);
  const state = { offset: 0, total: 0, rows: [], current: null, asked: 0 };

  // Characters that control a terminal or the direction of text are replaced by their code.
  const shown = (text) => String(text ?? "").replace(
    /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g,
    (mark) => "\u27e8" + mark.codePointAt(0).toString(16).padStart(4, "0") + "\u27e9");

  const make = (name, attributes, ...children) => {
    const node = document.createElement(name);
    for (const [key, value] of Object.entries(attributes || {})) {
      if (value !== null && value !== undefined) node.setAttribute(key, value);
    }
    for (const child of children) node.append(child instanceof Node ? child : document.createTextNode(shown(child)));
    return node;
  };
  const rate = (value) => (value === null || value === undefined ? "-" : Math.round(100 * value) + "%");

  const filter = () => ({
    search: byId("search").value.trim().toLowerCase(), outcome: byId("outcome").value,
    difficulty: byId("difficulty").value, source: byId("source").value, order: byId("order").value,
  });
  // The order of `Rank` in entries.rs.
  const RANKS = ["failed", "excluded", "outstanding", "sample"];
  const fits = (row, wanted) =>
    (!wanted.outcome || row.outcome === wanted.outcome || wanted.outcome === "!" + row.rank) && (!wanted.difficulty || row.difficulty === wanted.difficulty) &&
    (!wanted.source || row.source === wanted.source) &&
    (!wanted.search || [row.id, row.question, row.gold, row.answer, row.justification, row.detail]
      .some((text) => text && text.toLowerCase().includes(wanted.search)));

  const embedded = {
    async list(wanted, offset) {
      const rows = settings.rows.filter((row) => fits(row, wanted));
      if (wanted.order === "failures") rows.sort((a, b) => RANKS.indexOf(a.rank) - RANKS.indexOf(b.rank) || a.ordinal - b.ordinal);
      return { total: rows.length, rows: rows.slice(offset, offset + PAGE) };
    },
    async get(ordinal) { return settings.rows.find((row) => row.ordinal === ordinal); },
  };
  const ask = async (path) => {
    const reply = await fetch(path);
    if (!reply.ok) throw new Error(reply.status + " " + (await reply.text()));
    return reply.json();
  };
  const remote = {
    list: (wanted, offset) => ask("api/queries?" + new URLSearchParams({ ...wanted, offset, limit: PAGE })),
    get: (ordinal) => ask("api/query?" + new URLSearchParams({ ordinal })),
  };
  const source = settings.remote ? remote : embedded;

  const tell = (text) => { byId("told").textContent = text; };

  async function list(keep) {
    const asked = ++state.asked;
    try {
      const found = await source.list(filter(), state.offset);
      if (asked !== state.asked) return;
      state.total = found.total;
      state.rows = found.rows;
    } catch (error) { tell("Cannot load the list: " + error.message); return; }
    const items = state.rows.map((row) => {
      const button = make("button", { type: "button", "data-ordinal": row.ordinal },
        make("span", { class: "isolate" }, row.id || "row " + row.ordinal), " ",
        make("small", { class: "isolate" }, (row.question || row.detail || "").slice(0, 120)),
        make("small", {}, [row.outcome, row.difficulty, "on " + rate(row.p_on) + " off " + rate(row.p_off)].filter(Boolean).join(" \u00b7 ")));
      button.addEventListener("click", () => open(row.ordinal));
      return make("li", {}, button);
    });
    byId("list").replaceChildren(...items);
    const last = Math.min(state.offset + PAGE, state.total);
    tell(state.total ? `${state.offset + 1} to ${last} of ${state.total}` : "no query matches");
    byId("earlier").disabled = state.offset === 0;
    byId("later").disabled = last >= state.total;
    if (keep && state.current !== null) mark(state.current);
    else if (state.rows.length) open(state.rows[0].ordinal);
    else byId("story").replaceChildren();
  }

  function mark(ordinal) {
    for (const button of byId("list").querySelectorAll("button")) {
      const is = Number(button.dataset.ordinal) === ordinal;
      button.setAttribute("aria-current", is ? "true" : "false");
      if (!is) continue;
      // Scroll the list, not the page.
      const box = byId("list");
      const top = button.getBoundingClientRect().top - box.getBoundingClientRect().top;
      if (top < 0 || top + button.offsetHeight > box.clientHeight) box.scrollTop += top - box.clientHeight / 3;
    }
  }

  async function open(ordinal) {
    state.current = ordinal;
    mark(ordinal);
    let row;
    try { row = await source.get(ordinal); } catch (error) { tell("Cannot load the query: " + error.message); return; }
    if (state.current !== ordinal || !row) return;
    byId("story").replaceChildren(...story(row));
  }

  function response(one, row) {
    const chosen = one.mode === row.outcome && one.index === row.chosen_index;
    const head = make("p", {}, `#${one.index} `, make("b", { class: one.verdict }, one.verdict),
      ` \u00b7 ${one.tokens} tokens \u00b7 ${one.finish}${chosen ? " \u00b7 chosen" : ""}`);
    const parts = [head, make("p", { class: "soft isolate" }, `${one.reason || ""}${one.extracted ? "; read: " + one.extracted : ""}`)];
    if (one.thinking) parts.push(make("pre", { class: "thought", tabindex: "0", "aria-label": "thinking" }, one.thinking));
    parts.push(make("pre", { tabindex: "0", "aria-label": "answer" }, one.answer));
    return make("div", { class: "response" + (chosen ? " chosen" : "") }, ...parts);
  }

  function story(row) {
    const parts = [make("h3", { class: "isolate" }, row.id || "row " + row.ordinal)];
    parts.push(make("p", { class: "soft" }, [row.source, row.kind, row.difficulty].filter(Boolean).join(" \u00b7 ")));
    if (row.question) parts.push(make("pre", { tabindex: "0", "aria-label": "question" }, row.question));
    if (row.gold) parts.push(make("p", { class: "isolate" }, make("b", {}, "reference: "), row.gold));
    const decided = row.outcome === "think_on" || row.outcome === "think_off";
    parts.push(decided
      ? make("p", {}, make("b", {}, row.outcome), ` (${row.mode_reason}); pass rates on ${rate(row.p_on)}, off ${rate(row.p_off)}`)
      : make("p", { class: "isolate" }, make("b", {}, row.outcome), ": ", row.detail || "", ` \u00b7 pass rates on ${rate(row.p_on)}, off ${rate(row.p_off)}`));
    if (row.justification) parts.push(make("p", { class: "isolate" }, make("b", {}, "justification: "), row.justification, make("span", { class: "soft" }, ` (${row.judge_model})`)));
    const side = (mode, title) => {
      const all = (row.rollouts || []).filter((one) => one.mode === mode);
      return make("section", { "aria-label": title }, make("h3", {}, `${title} (${all.length})`), ...all.map((one) => response(one, row)));
    };
    if ((row.rollouts || []).length) parts.push(make("div", { class: "pair" }, side("think_on", "Think-on"), side("think_off", "Think-off")));
    return parts;
  }

  let waiting = 0;
  const changed = () => { clearTimeout(waiting); waiting = setTimeout(() => { state.offset = 0; list(false); }, 150); };
  document.querySelector("form").addEventListener("submit", (event) => event.preventDefault());
  for (const id of ["search", "order", "outcome", "difficulty", "source"]) byId(id).addEventListener("input", changed);
  byId("earlier").addEventListener("click", () => { state.offset = Math.max(0, state.offset - PAGE); list(false); });
  byId("later").addEventListener("click", () => { state.offset += PAGE; list(false); });
  document.addEventListener("keydown", (event) => {
    const inField = ["INPUT", "SELECT", "TEXTAREA"].includes(document.activeElement?.tagName);
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "/" && !inField) { event.preventDefault(); byId("search").focus(); }
    if (inField || !["j", "k"].includes(event.key)) return;
    const at = state.rows.findIndex((row) => row.ordinal === state.current);
    const next = state.rows[at + (event.key === "j" ? 1 : -1)];
    if (next) { open(next.ordinal); byId("list").querySelector(`[data-ordinal="${next.ordinal}"]`)?.focus(); }
  });

  async function refresh() {
    try {
      const now = await ask("api/summary");
      byId("summary").innerHTML = now.html; // The program builds this HTML and escapes all texts of a run.
      for (const [id, names] of Object.entries(now.choices)) fill(byId(id), names);
    } catch (error) { tell("Cannot reach the server: " + error.message); }
  }
  function fill(select, names) {
    const chosen = select.value;
    // Keep the page's own options: all, and the groups.
    const kept = [...select.options].filter((option) => option.value === "" || option.value.startsWith("!"));
    select.replaceChildren(...kept, ...names.map((name) => make("option", { value: name }, name)));
    select.value = chosen;
    if (select.selectedIndex < 0) select.value = "";
  }
  if (settings.remote) setInterval(async () => { if (!document.hidden) { await refresh(); await list(true); } }, settings.every_ms);
  list(false);
})();
