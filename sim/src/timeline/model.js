"use strict";
// What happened: the data of the page as moments, each with a kind, a time, the hosts it concerns and what it says.

/** Kinds that can be shown or not, in the order of the legend: a word for all and for one, and whether they are shown at first. */
const KINDS = {
  broken: ["broken promises and assertions", "broken", true],
  fault: ["faults", "fault", true],
  troubled: ["messages lost, held or open", "message", true],
  peer: ["messages between nodes", "message", true],
  client: ["messages of clients", "message", true],
  control: ["SYN, FIN and RST", "message", false],
  request: ["posts, and what came of them", "post", true],
  word: ["what else clients and the world say", "said", true],
  warning: ["warnings and errors", "warning or error", true],
  info: ["other log lines", "log line", true],
};

/** Rows of a lane in which requests are, one below the other. */
const ROWS = 4;

/** What came of a request, by what the client was told; anything that is not known is unsure. */
function outcomeOf(text) {
  if (/^"?(stands|ok|acknowledged)/i.test(text)) return "good";
  return /^"?(refused|failed|error)/i.test(text) ? "bad" : "unsure";
}

/** A run, from the JSON that `data.rs` makes. Times are microseconds from its beginning. */
class Run {
  constructor(data) {
    this.caption = data.caption;
    this.hosts = data.hosts;
    this.ids = data.ids;
    this.leftOut = data.leftOut;
    this.end = Math.max(data.caption.lasted, 1);
    this.artifactOf = new Map();
    this.moments = [
      ...data.spans.map(([from, until, sort, hosts, text]) => this.moment("fault", from, until, hosts, text, [], { sort })),
      ...this.requests(data.words),
      ...data.lines.map(([at, host, weight, text, ids]) =>
        this.moment(weight ? "warning" : "info", at, at, host === null ? [] : [host], text, ids)),
      ...data.messages.map((message) => this.message(message, data.texts)),
      ...data.broken.map(({ promise, what, ids, hosts }) =>
        this.moment("broken", this.end, this.end, hosts, `${promise}: ${what}`, ids)),
    ];
    this.moments.sort((one, other) => one.from - other.from);
    const ranks = [0, 0, 0, 0];
    this.moments.forEach((moment, at) => {
      moment.at = at;
      if (moment.isMessage) moment.rank = ranks[moment.fate]++;
    });
    this.broken = this.moments.filter((moment) => moment.kind === "broken");
  }

  moment(kind, from, until, hosts, text, ids, more) {
    return { kind, from, until, hosts, text, ids, ...more };
  }

  message([sent, arrived, from, to, fate, place, bytes, segments, ids, sender, receiver], texts) {
    const name = texts[place];
    const isNode = (host) => this.hosts[host].isNode;
    const calm = /^(SYN|FIN|RST)/.test(name) ? "control" : isNode(from) && isNode(to) ? "peer" : "client";
    const size = `${bytes} bytes in ${segments} segment${segments === 1 ? "" : "s"}`;
    const text = `${name ? `${name}, ` : ""}${size}, port ${sender} to ${receiver}`;
    const isTroubled = fate === 1 || fate === 2 || (fate === 3 && calm !== "control");
    const kind = isTroubled ? "troubled" : calm;
    return this.moment(kind, sent, arrived ?? sent, [from, to], text, ids, { isMessage: true, fate, arrived });
  }

  /** What clients say of one id, as one moment; all else as it is. */
  requests(words) {
    const moments = [];
    const open = new Map();
    for (const [at, host, name, id, artifact, node, outcome, text] of words) {
      if (id !== null && artifact !== null) this.artifactOf.set(id, artifact);
      const key = `${host} ${id}`;
      const hosts = host === null ? [] : [host];
      const ids = [id, artifact].filter((one) => one !== null);
      if (id !== null && name === "posts") {
        const request = this.moment("request", at, this.end, hosts, text, ids, { told: [], outcome: "unsure" });
        open.set(key, request);
        moments.push(request);
      } else if (outcome !== null && open.has(key)) {
        const request = open.get(key);
        request.until = at;
        request.told.push({ at, node, outcome });
        if (request.outcome !== "good") request.outcome = outcomeOf(outcome);
      } else {
        moments.push(this.moment("word", at, at, node === null || hosts.includes(node) ? hosts : [...hosts, node], text, ids));
      }
    }
    this.rows(moments.filter(({ kind }) => kind === "request"));
    return moments;
  }

  /** Puts requests of one host that are under way together in rows of their own, as far as there are any. */
  rows(requests) {
    const ends = new Map();
    for (const request of requests) {
      const [host] = request.hosts;
      if (!ends.has(host)) ends.set(host, Array(ROWS).fill(-1));
      const rows = ends.get(host);
      const free = rows.findIndex((end) => end <= request.from);
      request.row = free < 0 ? rows.indexOf(Math.min(...rows)) : free;
      rows[request.row] = Math.max(rows[request.row], request.until);
    }
  }

  /** All moments that a text is about: by an id or an artifact if it is one, or else by any id or text that has it in it. */
  about(text) {
    const exact = this.ids.indexOf(text);
    const wanted = text.toLowerCase();
    const isMeant = (id, place) =>
      exact < 0 ? id.toLowerCase().includes(wanted) : place === exact || this.artifactOf.get(place) === exact;
    const ids = new Set(this.ids.map((id, place) => (isMeant(id, place) ? place : -1)).filter((place) => place >= 0));
    return this.moments.filter((moment) =>
      moment.ids.some((id) => ids.has(id)) || (exact < 0 && moment.text.toLowerCase().includes(wanted)));
  }

  /** Whom a moment concerns, and how, as a line. */
  heading(moment) {
    const names = moment.hosts.map((host) => this.hosts[host].name);
    if (!moment.isMessage) return [KINDS[moment.kind][1], ...names].join(" · ");
    const held = moment.arrived === null ? "held" : "held, then delivered";
    const fate = ["delivered", "lost", held, "not arrived by the end"][moment.fate];
    return `${names.join(" → ")} · ${fate}`;
  }
}

/** A time as people read it. */
function timeText(micros) {
  return `${(micros / 1e6).toFixed(3)} s`;
}
