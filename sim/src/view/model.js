'use strict';
// From the records of a run to what is drawn: bands, spans, arrows, marks. Knows nothing of pixels.

const run = JSON.parse(document.getElementById('run').textContent);
const records = run.records;

// Every instant at which something happened, for the scale on which each event has the same room.
const instants = [...new Set(records.map((record) => record.at))].sort((a, b) => a - b);

// The last place in sorted `list` whose `key` is not beyond `value`; -1 if there is none.
function lastUpTo(list, value, key) {
  let low = 0;
  let high = list.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (key(list[middle]) <= value) low = middle + 1; else high = middle;
  }
  return low - 1;
}

// Where a time stands among the instants: 3.5 is half-way between the fourth and the fifth.
function placeOf(at) {
  const place = lastUpTo(instants, at, (instant) => instant);
  if (place < 0) return 0;
  if (place >= instants.length - 1) return instants.length - 1;
  return place + (at - instants[place]) / (instants[place + 1] - instants[place]);
}

// The time at a place; the inverse of `placeOf`.
function timeAt(place) {
  const whole = Math.max(0, Math.min(instants.length - 1, Math.floor(place)));
  const next = instants[Math.min(whole + 1, instants.length - 1)];
  return instants[whole] + (next - instants[whole]) * Math.max(0, Math.min(1, place - whole));
}

const end = run.end;
const model = { nodes: [], clients: [], arrows: [], faults: [], epochs: [] };

function build() {
  for (let node = 0; node < run.nodes; node += 1) {
    model.nodes.push({ stands: [], bands: [], disk: [], marks: [], alive: false });
  }
  for (let client = 0; client < run.clients; client += 1) model.clients.push({ ops: [] });
  const operator = { ops: [] };
  const sent = new Map();
  const asked = new Map();
  records.forEach((record, number) => {
    const node = model.nodes[record.node];
    switch (record.step) {
      case 'started':
        node.alive = true;
        node.marks.push({ at: record.at, number, kind: 'start' });
        changeBand(node, record.at, null, true);
        break;
      case 'ended':
        node.alive = false;
        node.marks.push({ at: record.at, number, kind: record.power ? 'power' : 'end' });
        node.stands.push({ number, standing: null });
        changeBand(node, record.at, null, false);
        break;
      case 'told':
        node.marks.push({ at: record.at, number, kind: record.loud ? 'loud' : 'told' });
        break;
      case 'stands':
        node.stands.push({ number, standing: record.standing });
        changeBand(node, record.at, record.standing, true);
        break;
      case 'disk':
        node.disk.push({ from: record.at - record.us, to: record.at, number, record });
        break;
      case 'sent': {
        const arrow = { from: record.from, to: record.to, at: record.at, heard: null, number, record };
        sent.set(record.message, arrow);
        model.arrows.push(arrow);
        break;
      }
      case 'heard': {
        const arrow = sent.get(record.message);
        if (arrow) { arrow.heard = record.at; arrow.heardNumber = number; }
        break;
      }
      case 'asked': {
        const op = { at: record.at, end: null, number, record, answer: 'open', text: '' };
        asked.set(record.op, op);
        (record.client === null ? operator : model.clients[record.client]).ops.push(op);
        break;
      }
      case 'answered': {
        const op = asked.get(record.op);
        if (op && op.end === null) Object.assign(op, { end: record.at, answer: record.answer, text: record.text });
        break;
      }
      case 'fault_began':
        model.faults.push({ fault: record.fault, from: record.at, to: null, nodes: record.nodes, text: record.text, number });
        break;
      case 'fault_ended':
        model.faults.filter((fault) => fault.fault === record.fault && fault.to === null)
          .forEach((fault) => { fault.to = record.at; });
        break;
    }
  });
  if (operator.ops.length > 0) model.clients.push(operator);
  model.operator = operator.ops.length > 0 ? model.clients.length - 1 : null;
  model.nodes.forEach((node) => { const last = node.bands.at(-1); if (last) last.to = end; });
  stackFaults();
  tellFates();
}

// A way is ordered: what was sent before something that arrived, and did not arrive, is lost; so is what has had ten
// times the longest way's time. The rest is on its way.
function tellFates() {
  const longest = Math.max(1000, ...model.arrows.slice(-5000).map((arrow) => (arrow.heard ?? arrow.at) - arrow.at));
  const newest = new Map();
  for (const arrow of [...model.arrows].reverse()) {
    const way = `${arrow.from} ${arrow.to}`;
    if (arrow.heard !== null) newest.set(way, true);
    arrow.fate = arrow.heard !== null ? 'heard' : newest.has(way) || end - arrow.at > 10 * longest ? 'lost' : 'under way';
  }
}

// A band is a stretch of a node's life in one role of one epoch; `standing` is how it began.
function changeBand(node, at, standing, alive) {
  const last = node.bands.at(-1);
  const epoch = standing ? `${standing.epoch}/${standing.opened_by}` : null;
  const role = !alive ? 'down' : !standing ? 'starting' : standing.role === 'master' && standing.serves ? 'serving' : standing.role;
  if (last && last.role === role && last.epoch === epoch) return;
  if (last) last.to = at;
  if (epoch !== null && standing.epoch > 0 && !model.epochs.includes(epoch)) model.epochs.push(epoch);
  node.bands.push({ from: at, to: end, role, epoch, standing });
}

// Faults that overlap get rows of their own.
function stackFaults() {
  const rows = [];
  model.faults.forEach((fault) => {
    fault.row = rows.findIndex((free) => free < fault.from);
    if (fault.row < 0) fault.row = rows.push(0) - 1;
    rows[fault.row] = fault.to ?? end;
  });
  model.faultRows = Math.max(1, rows.length);
}

// How a node stands just after event `number`; null while it is down or has not told yet.
function standingAt(node, number) {
  const list = model.nodes[node].stands;
  const place = lastUpTo(list, number, (entry) => entry.number);
  return place < 0 ? null : list[place].standing;
}

// Who, what, and the rest: a record in the columns of the terminal.
function columns(record) {
  const [who, what, rest] = wordsOf(record);
  return [who, what, short(rest)];
}

function wordsOf(record) {
  const client = record.client === null || record.client === undefined ? 'oper' : `c${record.client}`;
  const op = `o${record.op} ${record.text ?? ''}`;
  switch (record.step) {
    case 'started': return [`n${record.node}`, 'starts', `life ${record.life}; ${record.text}`];
    case 'ended': return [`n${record.node}`, 'ends', record.text];
    case 'told': return [`n${record.node}`, record.loud ? 'warns' : 'tells', record.text];
    case 'stands': {
      const s = record.standing;
      return [`n${record.node}`, 'stands', `${s.role} ${s.state} epoch=${s.epoch}/${s.opened_by}${s.armed ? ' armed' : ''} last=${s.last} durable=${s.durable} committed=${s.committed} applied=${s.applied} lag=${s.lag}`];
    }
    case 'batch': return [`n${record.node}`, 'batch', `${record.lane} #${record.batch} ${record.text}`];
    case 'disk': return [`n${record.node}`, record.good ? 'disk' : 'disk!', `${record.lane}: ${record.text} (${record.us} us)`];
    case 'sent': return [`n${record.from} > n${record.to}`, record.kind, `m${record.message} ${record.text}`];
    case 'heard': return [`n${record.to} < n${record.from}`, record.kind, `m${record.message}`];
    case 'link': return [`n${record.node}`, 'link', record.text];
    case 'asked': return [`${client} > n${record.node}`, 'asks', op];
    case 'answered': return [`${client} < n${record.node}`, record.answer, op];
    case 'fault_began': return [`fault ${record.fault}`, 'begins', record.text];
    case 'fault_ended': return [`fault ${record.fault}`, 'ends', ''];
    default: return ['', record.step, ''];
  }
}

// Ids are long; their ends tell them apart.
const short = (text) => text.replace(/\b[0-9a-f]{28}([0-9a-f]{4})\b/g, '…$1');

function clock(at) {
  return `${Math.floor(at / 1e6)}.${String(Math.floor(at % 1e6)).padStart(6, '0')}`;
}

build();
