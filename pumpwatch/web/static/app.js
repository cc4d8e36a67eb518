// Keeps a page fresh: ages tick, gauges follow the samples, sections follow the alerts.
// The page is whole without this; texts come from the page itself, in its language.

const texts = document.body.dataset;
const lang = document.documentElement.lang;
const STALE_MS = 25_000; // the server sends something every 10 s
const REDRAW_MS = 1_000;
const CHART_MS = 15_000;
const REFRESH_MS = 60_000;

let speed = Number(texts.speed);
let nowAt = Number(texts.now);
let seenAt = performance.now();
let heardAt = performance.now();

const now = () => nowAt + (performance.now() - seenAt) * speed;

function setClock({ now_ms, speed: factor }) {
  nowAt = now_ms;
  seenAt = performance.now();
  speed = factor;
  for (const place of document.querySelectorAll("[data-speed-text]")) place.textContent = factor;
}

// -- ages ---------------------------------------------------------------------------------------

const UNITS = [["year", 31_536_000], ["month", 2_592_000], ["week", 604_800], ["day", 86_400],
  ["hour", 3_600], ["minute", 60], ["second", 1]];
const relative = new Intl.RelativeTimeFormat(lang, { numeric: "always" });

function age(ms) {
  const seconds = ms / 1000;
  if (seconds < 1) return texts.justNow;
  // One unit, and at least two of it, as the server writes it.
  const [unit, size] = UNITS.find(([name, s]) => seconds >= 2 * s || name === "second");
  const text = relative.format(-Math.round(seconds / size), unit);
  return lang === "ja" ? text.replaceAll(" ", "") : text;
}

function tick() {
  if (document.hidden) return;
  for (const time of document.querySelectorAll("time[data-age]")) {
    const text = age(now() - Number(time.dataset.age));
    if (time.textContent !== text) time.textContent = text;
  }
  const silent = performance.now() - heardAt;
  const notice = document.querySelector("[data-stale]");
  notice.hidden = silent < STALE_MS && source.readyState !== EventSource.CLOSED && !lost;
  if (!notice.hidden) notice.querySelector("[data-stale-age]").textContent = age(silent);
  const dead = source.readyState === EventSource.CLOSED || silent > 2 * STALE_MS;
  if (dead && performance.now() - triedAt > STALE_MS) connect();
}

// -- samples ------------------------------------------------------------------------------------

function showSample({ tenant, site, t_ms, values }) {
  for (const place of document.querySelectorAll(`[data-station="${tenant}/${site}"]`)) {
    const time = place.querySelector("time[data-age]");
    if (time && Number(time.dataset.age) > t_ms) continue;
    if (time) time.dataset.age = t_ms;
    else redrawSoon();
    if (Number.isFinite(values.level_m)) showLevel(place, values.level_m);
    showRuns(place, values);
  }
  if (document.querySelector("[data-refresh]") && location.pathname === `/sites/${tenant}/${site}`) {
    redrawSoon(CHART_MS);
  }
}

function showLevel(place, level) {
  const share = Math.min(1, Math.max(0, level / Number(place.dataset.top)));
  const water = place.querySelector("[data-water]");
  water.setAttribute("y", 57 - 54 * share);
  water.setAttribute("height", 54 * share);
  place.querySelector(".gauge .unknown")?.remove();
  place.querySelector("[data-level]").textContent = `${level.toFixed(2)} m`;
}

function showRuns(place, values) {
  const signals = [1, 2, 3, 4].filter((n) => `pump${n}_run` in values);
  if (!signals.length) return;
  const pumps = signals.filter((n) => values[`pump${n}_run`] >= 0.5)
    .map((n) => texts.pump.replace("{n}", n));
  place.querySelector("[data-runs]").textContent = pumps.length
    ? texts.running.replace("{pumps}", pumps.join(texts.comma)) : texts.stopped;
}

// -- sections -----------------------------------------------------------------------------------

let redrawTimer = 0;
let redrawDue = Infinity;

function redrawSoon(delay = REDRAW_MS) {
  const due = performance.now() + delay;
  if (due >= redrawDue) return;
  clearTimeout(redrawTimer);
  redrawDue = due;
  redrawTimer = setTimeout(redraw, delay);
}

async function redraw() {
  redrawDue = Infinity;
  try {
    const address = new URL(location.href);
    address.searchParams.delete("notice");
    const answer = await fetch(address, { headers: { Accept: "text/html" } });
    if (!answer.ok) return;
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const section of fresh.querySelectorAll("[data-live]")) {
      const old = document.getElementById(section.id);
      if (!old || inUse(old)) continue;
      const unfolded = section.querySelectorAll("details");
      old.querySelectorAll("details").forEach((d, i) => { if (unfolded[i]) unfolded[i].open = d.open; });
      old.replaceWith(document.adoptNode(section));
    }
    tick();
  } catch {
    redrawSoon(10_000); // away for now; the notice tells the reader
  }
}

// Never take a form away from under somebody's fingers.
function inUse(section) {
  if (section.contains(document.activeElement) && document.activeElement.matches("input, select, textarea")) return true;
  return [...section.querySelectorAll("input:not([type=hidden]), textarea")]
    .some((field) => field.value !== field.defaultValue);
}

// -- events -------------------------------------------------------------------------------------

let source = null;
let lost = false;
let triedAt = 0;
let lastId = texts.event;

function connect() {
  source?.close();
  triedAt = performance.now();
  source = new EventSource(`/live?after=${encodeURIComponent(lastId)}`);
  source.onopen = () => { lost = false; };
  source.onerror = () => { lost = true; };
  const on = (kind, act) => source.addEventListener(kind, (event) => {
    heardAt = performance.now();
    lost = false;
    if (event.lastEventId) lastId = event.lastEventId;
    act(JSON.parse(event.data));
  });
  on("clock", setClock);
  on("sample", showSample);
  on("alert", () => redrawSoon());
  on("site", () => redrawSoon());
  on("resync", () => redrawSoon());
}

// A hidden page holds no connection: browsers allow few of them, and phones pay for each.
function comeAndGo() {
  heardAt = performance.now();
  if (document.hidden) source?.close();
  else connect();
}

comeAndGo();
document.addEventListener("visibilitychange", comeAndGo);
setInterval(tick, 1000);
setInterval(() => document.hidden || redrawSoon(), REFRESH_MS); // silence makes no event
// A page that comes back from the browser's memory may be hours old.
addEventListener("pageshow", (event) => { if (event.persisted) redrawSoon(0); });
