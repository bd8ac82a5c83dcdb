// The dashboard. Everything that is shown is set as text, never as markup.
"use strict";

const byId = (id) => document.getElementById(id);

function element(name, text, className) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

// A cell is a text, [text, class], or an element.
function cell(name, content) {
  if (content instanceof Node) {
    const made = element(name);
    made.append(content);
    return made;
  }
  return Array.isArray(content) ? element(name, content[0], content[1]) : element(name, content);
}

function fill(id, head, rows, nothing) {
  const table = byId(id);
  if (!rows.length) {
    table.replaceChildren(element("caption", nothing, "faint"));
    return;
  }
  const line = (name, cells) => {
    const made = element("tr");
    made.append(...cells.map((content) => cell(name, content)));
    [...made.children].forEach((each, column) => { each.dataset.name = head[column]; });
    if (cells.length < head.length) made.lastChild.colSpan = head.length - cells.length + 1;
    return made;
  };
  const top = element("thead");
  top.append(line("th", head));
  const body = element("tbody");
  body.append(...rows.map((cells) => line("td", cells)));
  update(table, [top, body]);
}

// Leaves out the columns that no row has anything in; on a phone there is no room for them.
function fillUsed(id, head, rows) {
  const used = head.map((_, column) => rows.some((cells) => cells[column]));
  const kept = (cells) => cells.filter((_, column) => used[column]);
  fill(id, kept(head), rows.map(kept), "");
}

// Only what has changed is replaced, so that a click is not lost to an overview that comes just then.
function update(old, made) {
  made.forEach((child, index) => {
    const before = old.children[index];
    if (!before) old.append(child);
    else if (before.isEqualNode(child)) return;
    else if (before.tagName !== child.tagName || !["TBODY", "TR"].includes(child.tagName)) before.replaceWith(child);
    else update(before, [...child.children]);
  });
  while (old.children.length > made.length) old.lastElementChild.remove();
}

const milliseconds = (ms) =>
  ms === null ? "" : Math.abs(ms) < 1000 ? `${ms} ms` : `${(ms / 1000).toFixed(1)} s`;

// How long ago, as coarse as it is read.
function ago(ms) {
  if (ms === null) return "";
  const seconds = Math.floor(ms / 1000);
  if (seconds < 60) return `${seconds} s`;
  return seconds < 3600 ? `${Math.floor(seconds / 60)} min` : `${Math.floor(seconds / 3600)} h`;
}

// How far a node's clock is ahead of this one's, as far as it can be known.
function clock(node) {
  if (node.self) return "";
  if (node.clock_offset_ms === null) return `within ${milliseconds(node.clock_within_ms)}`;
  return `${node.clock_offset_ms > 0 ? "+" : ""}${milliseconds(node.clock_offset_ms)}`;
}

// A reason beside the node's number, which it need not begin with.
const withoutNode = (node, reason) => {
  const name = `node ${node}: `;
  return reason.startsWith(name) ? reason.slice(name.length) : reason;
};

function named(nodes) {
  const numbers = nodes.map((node) => node.node);
  const last = numbers.pop();
  return numbers.length ? `nodes ${numbers.join(", ")} and ${last}` : `node ${last}`;
}

// Who never votes in something undecided, by its own word.
const keepingOut = (state) => state.cluster.filter((node) => node.kept_out);

function showVerdict(state) {
  const answering = state.cluster.filter((node) => node.answers);
  const down = state.cluster.filter((node) => !node.answers && !node.linked && !node.self);
  const verdict = byId("verdict");
  const but = [];
  if (down.length) but.push(`without ${named(down)}`);
  const out = keepingOut(state);
  if (out.length) but.push(`though ${named(out)} ${out.length > 1 ? "keep" : "keeps"} out of undecided instances`);
  const { voting, why_not_voting: why, quorum_reachable: reachable } = state.node;
  if (!voting) verdict.textContent = `This node does not vote: ${why}.`;
  else if (!reachable)
    verdict.textContent = `No quorum: nothing can be decided${down.length ? ` without ${named(down)}` : ""}.`;
  else if (but.length) verdict.textContent = `Deciding, ${but.join(", and ")}.`;
  else verdict.textContent = "All is well: every node is there.";
  verdict.className = !voting || !reachable ? "bad" : but.length ? "warn" : "good";
  byId("name").textContent = `${state.node.name} · ${state.node.version}`;
  byId("quorum").textContent = `${state.node.quorum} of ${state.node.nodes}`;
  const numbers = {
    "nodes that answer": `${answering.length} of ${state.node.nodes}`,
    decided: state.node.decisions,
    "a second": rate(state.node.decisions),
    open: state.node.open_instances,
    "held votes": state.node.held_votes,
    evidence: state.node.evidence,
  };
  byId("numbers").replaceChildren(
    ...Object.entries(numbers)
      .filter(([, number]) => number !== null)
      .map(([name, number]) => {
        const made = element("div");
        made.append(element("dt", name), element("dd", number));
        return made;
      }),
  );
}

const counted = [];

// Decisions a second over the last ten samples.
function rate(decisions) {
  counted.push([performance.now(), decisions]);
  if (counted.length > 10) counted.shift();
  const [[began, before], [now, after]] = [counted[0], counted[counted.length - 1]];
  return now > began ? Math.max(0, ((after - before) * 1000) / (now - began)).toFixed(1) : "0.0";
}

function showCluster(state) {
  byId("keeps-out").hidden = !keepingOut(state).length;
  fillUsed(
    "cluster",
    ["node", "link", "votes", "quorum", "open", "keeps out of", "decided", "version", "clock"],
    state.cluster.map((node) => {
      const link = node.self ? "this one" : node.linked ? ["up", "good"] : ["down", "bad"];
      const name = `${node.node}`;
      if (!node.answers) return [name, link, [withoutNode(node.node, node.why), "faint"]];
      return [
        name,
        link,
        node.voting ? ["yes", "good"] : ["no", "bad"],
        node.quorum_reachable ? ["yes", "good"] : ["no", "bad"],
        `${node.open_instances}`,
        node.kept_out ? [`${node.kept_out}`, "warn"] : "",
        `${node.decisions}`,
        node.version,
        clock(node),
      ];
    }),
  );
  // Whom nobody reaches is away, and tells nobody anything, as far as can be seen from here.
  const isReached = (node) =>
    node.linked || state.cluster.some((other) => other.connected?.includes(node.node));
  const mark = (listener, teller) => {
    if (listener.node === teller.node) return ["·", "faint"];
    if (teller.connected === null) return isReached(teller) ? "" : ["✕", "bad"];
    return teller.connected.includes(listener.node) ? ["●", "good"] : ["✕", "bad"];
  };
  fill(
    "links",
    ["", ...state.cluster.map((node) => `${node.node}`)],
    state.cluster.map((listener) => [
      [`${listener.node}`, "faint"],
      ...state.cluster.map((teller) => mark(listener, teller)),
    ]),
    "",
  );
}

function asking(instance) {
  const button = element("button", instance, "link");
  button.type = "button";
  button.addEventListener("click", () => ask(instance));
  return button;
}

function showInstances(state) {
  fill(
    "open",
    ["instance", "round", "leader", "timer", "waits for"],
    state.open.map((each) => [
      asking(each.instance),
      each.round ? `${each.round}` : "",
      each.leader === null ? "" : `${each.leader}`,
      milliseconds(each.timer_ms),
      each.waits_for || each.state,
    ]),
    "Nothing is undecided here.",
  );
  fill(
    "decided",
    ["instance", "ago", "round", "leader", "took", "signers", "digest"],
    state.decided.map((each) => [
      asking(each.instance),
      ago(each.ago_ms),
      `${each.round}`,
      `${each.leader}`,
      milliseconds(each.took_ms),
      each.signers.join(" "),
      [each.digest, "faint"],
    ]),
    "Nothing is decided yet.",
  );
  fill(
    "refused",
    ["what", "of node", "how often"],
    state.refused.map((each) => [each.proven ? [each.what, "bad"] : each.what, each.whose, `${each.count}`]),
    "Nothing was refused.",
  );
}

let asked = 0; // of several questions the last one is shown, whichever answer comes last

async function ask(instance) {
  asked += 1;
  const number = asked;
  byId("instance").value = instance;
  byId("why").hidden = false;
  byId("sentence").textContent = `Asking every node about ${instance} …`;
  byId("also").replaceChildren();
  byId("rows").replaceChildren();
  byId("diagram").hidden = true;
  byId("undrawn").hidden = true;
  byId("ask").scrollIntoView({ block: "nearest" });
  try {
    const reply = await fetch(`why?${new URLSearchParams({ instance })}`);
    if (!reply.ok) throw new Error(reply.status === 400 ? "There can be no such instance." : reply.statusText);
    const found = await reply.json();
    if (number !== asked) return;
    showWhy(found);
    draw(instance);
  } catch (error) {
    if (number === asked) byId("sentence").textContent = error.message;
  }
}

// Who said what to whom, and when, as far as nodes have recorded it.
function draw(instance) {
  const diagram = byId("diagram");
  diagram.hidden = true;
  diagram.onload = () => { diagram.hidden = false; };
  diagram.onerror = () => { byId("undrawn").hidden = false; };
  diagram.src = `diagram?${new URLSearchParams({ instance, at: Date.now() })}`;
  byId("alone").href = diagram.src;
}

function showWhy(found) {
  byId("sentence").textContent = found.sentence;
  byId("also").replaceChildren(...found.findings.slice(1).map((each) => element("li", each.text)));
  fillUsed(
    "rows",
    ["node", "state", "round", "leads", "cast", "lacks", "links down", "refused, ever", "limits, ever", "timer"],
    found.nodes.map((row) =>
      row.why_silent
        ? [`${row.node}`, [withoutNode(row.node, row.why_silent), "bad"]]
        : [
            `${row.node}`,
            row.voting ? row.state : [`${row.state}, does not vote`, "bad"],
            row.round ? `${row.round}` : "",
            row.leader === null ? "" : `${row.leader}`,
            row.cast.join(", "),
            row.lacks ? [row.lacks, "wide"] : "",
            row.links_down.join(" "),
            row.refused,
            row.limits,
            milliseconds(row.timer_ms),
          ],
    ),
  );
}

function show(state) {
  showVerdict(state);
  showCluster(state);
  showInstances(state);
  document.body.classList.remove("stale");
}

const SILENT_MS = 5000; // a node that lives sends an overview every second
let watchdog;

// What is shown is not so any more, or nobody knows.
function isSilent() {
  byId("verdict").textContent = "This node does not answer.";
  byId("verdict").className = "bad";
  document.body.classList.add("stale");
}

function listen() {
  clearTimeout(watchdog);
  watchdog = setTimeout(isSilent, SILENT_MS);
}

byId("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  const instance = byId("instance").value.trim();
  if (instance) ask(instance);
});

// A browser tries again by itself where the connection breaks, but not where it was refused.
function connect() {
  const events = new EventSource("events");
  events.addEventListener("message", (event) => {
    listen();
    show(JSON.parse(event.data));
  });
  events.addEventListener("error", () => {
    isSilent();
    if (events.readyState === EventSource.CLOSED) setTimeout(connect, SILENT_MS);
  });
}

listen();
connect();
