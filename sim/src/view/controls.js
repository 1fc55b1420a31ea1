// What a person does with the page: keys, mouse, slider, filter; and the two panels that follow the chosen event.

const byId = (id) => document.getElementById(id);
const tip = byId('tip');
let wanted = null;
let drawAsked = false;

function redraw() {
  if (drawAsked) return;
  drawAsked = true;
  requestAnimationFrame(() => { drawAsked = false; draw(); });
}

// Chooses an event and keeps it in sight.
function choose(number, keepSight) {
  sight.now = Math.max(0, Math.min(records.length - 1, number));
  const here = place(records[sight.now]?.at ?? 0);
  const room = sight.to - sight.from;
  if (!keepSight && (here < sight.from + room * 0.06 || here > sight.to - room * 0.06)) look(here - room * 0.6, room);
  byId('slider').value = sight.now;
  byId('now').textContent = `${clock(records[sight.now]?.at ?? 0)} s  #${sight.now + 1}/${records.length}`;
  showStates();
  showEvents();
  redraw();
}

function look(from, room) {
  const least = sight.scale === 'steps' ? 4 : 20;
  const wide = Math.max(least, Math.min(room, last() * 1.04));
  sight.from = Math.max(-0.02 * last() - 1, Math.min(from, last() * 1.02 - wide + 1));
  sight.to = sight.from + wide;
  redraw();
}

function zoom(factor, middle) {
  const at = middle ?? place(records[sight.now]?.at ?? 0);
  const room = (sight.to - sight.from) * factor;
  look(at - (at - sight.from) * factor, room);
}

function fit() {
  look(-0.01 * last(), last() * 1.03);
}

function toError() {
  const number = run.failed ? records.length - 1 : 0;
  const room = sight.scale === 'steps' ? 90 : Math.max(2000, end / 50);
  look(place(records[number]?.at ?? 0) - room * (run.failed ? 0.88 : 0.02), room);
  choose(number, true);
}

// The next event in a direction that the filter lets through.
function step(by) {
  const direction = Math.sign(by);
  let number = sight.now;
  for (let left = Math.abs(by); left > 0; left -= 1) {
    let next = number + direction;
    while (next >= 0 && next < records.length && !passes(next)) next += direction;
    if (next < 0 || next >= records.length) break;
    number = next;
  }
  choose(number);
}

function passes(number) {
  if (wanted === null) return true;
  const text = columns(records[number]).join(' ').toLowerCase();
  return wanted.every((word) => text.includes(word));
}

const ROWS = [
  ['role', (s) => s.role], ['state', (s) => s.state], ['epoch', (s) => `${s.epoch}/${s.opened_by}`],
  ['armed', (s) => (s.armed ? 'yes' : 'no')], ['leader', (s) => (s.leader ?? '-').split(':')[0]], ['last', (s) => s.last], ['durable', (s) => s.durable],
  ['committed', (s) => s.committed], ['applied', (s) => s.applied], ['lag', (s) => s.lag], ['keys', (s) => s.keys],
  ['state hash', (s) => s.hash.slice(0, 8)],
];

function showStates() {
  const table = byId('states');
  table.replaceChildren();
  const row = table.insertRow();
  const cell = (parent, tag, text, name) => {
    const made = document.createElement(tag);
    made.textContent = text;
    if (name) made.className = name;
    parent.append(made);
    return made;
  };
  cell(row, 'th', '');
  model.nodes.forEach((node, number) => {
    const head = cell(row, 'th', `n${number}`);
    const standing = standingAt(number, sight.now);
    if (!standing) return;
    const swatch = document.createElement('span');
    swatch.className = 'swatch';
    swatch.style.background = standing.epoch > 0 ? colourOf(`${standing.epoch}/${standing.opened_by}`) : '#8d96aa';
    head.prepend(swatch);
  });
  ROWS.forEach(([name, value]) => {
    const line = table.insertRow();
    cell(line, 'td', name);
    model.nodes.forEach((node, number) => {
      const [before, now] = [standingAt(number, sight.now - 1), standingAt(number, sight.now)];
      if (!now) { cell(line, 'td', name === 'role' ? 'down' : '', 'down'); return; }
      const isNew = !before || value(before) !== value(now);
      cell(line, 'td', value(now), isNew ? 'new' : '');
    });
  });
}

// So many events before and after the chosen one.
const AROUND = 60;

function showEvents() {
  const list = byId('events');
  const numbers = [];
  for (let number = sight.now; number >= 0 && numbers.length < AROUND; number -= 1) if (number === sight.now || passes(number)) numbers.unshift(number);
  for (let number = sight.now + 1, more = 0; number < records.length && more < AROUND; number += 1) if (passes(number)) { numbers.push(number); more += 1; }
  list.replaceChildren(...numbers.map((number) => {
    const line = document.createElement('div');
    const record = records[number];
    if (number === sight.now) line.classList.add('now');
    if (number > sight.now) line.classList.add('later');
    if (isBad(record) || (run.failed && number === records.length - 1)) line.classList.add('bad');
    line.title = columns(record)[2];
    [clock(record.at), ...columns(record)].forEach((text) => {
      const part = document.createElement('span');
      part.textContent = text;
      line.append(part);
    });
    line.onclick = () => choose(number);
    return line;
  }));
  const now = list.querySelector('.now');
  if (now) list.scrollTop = now.offsetTop - list.offsetTop - list.clientHeight * 0.55;
}

function isBad(record) {
  return record.step === 'ended' || record.step === 'fault_began' || (record.step === 'told' && record.loud)
    || (record.step === 'disk' && !record.good) || (record.step === 'answered' && record.answer === 'unknown');
}

// The thing under the mouse: its event, and its words.
function under(px, py) {
  const near = (at, within) => Math.abs(x(at) - px) <= within;
  const inside = (from, to) => px >= x(from) - 2 && px <= Math.max(x(from) + 4, x(to)) + 2;
  for (const fault of model.faults) {
    const top = TOP + fault.row * FAULT;
    if (py >= top && py < top + FAULT && inside(fault.from, fault.to ?? end)) {
      return { number: fault.number, text: `fault ${fault.fault}: ${fault.text}\n${clock(fault.from)} s to ${fault.to === null ? 'the end' : `${clock(fault.to)} s`}` };
    }
  }
  for (const [number, node] of model.nodes.entries()) {
    if (py < nodeTop(number) || py >= nodeTop(number) + NODE) continue;
    const mark = node.marks.find((mark) => near(mark.at, 6) && Math.abs(py - nodeLine(number)) < 8);
    if (mark) return told(mark.number);
    const disk = layers.disk && node.disk.find((step) => inside(step.from, step.to)
      && Math.abs(py - 3 - diskTop(number, step.record.lane)) <= 5);
    if (disk) return told(disk.number);
  }
  const arrow = layers.messages && nearest(px, py);
  if (arrow) {
    const fate = arrow.heard === null ? arrow.fate : `heard ${clock(arrow.heard)} s, ${Math.round(arrow.heard - arrow.at)} us later`;
    return { number: arrow.number, text: `n${arrow.from} > n${arrow.to}  ${arrow.record.kind}  m${arrow.record.message}\n${arrow.record.text}\nsent ${clock(arrow.at)} s, ${fate}` };
  }
  if (layers.clients) {
    for (const [number, client] of model.clients.entries()) {
      if (Math.abs(py - clientLine(number)) > CLIENT / 2) continue;
      const op = client.ops.find((op) => inside(op.at, op.end ?? end));
      if (op) return { number: op.number, text: `o${op.record.op} n${op.record.node}: ${op.record.text}\n${op.answer}: ${op.text}\n${clock(op.at)} s to ${op.end === null ? 'the end' : `${clock(op.end)} s`}` };
    }
  }
  const lane = model.nodes.findIndex((node, number) => py >= nodeTop(number) && py < nodeTop(number) + NODE);
  if (lane < 0) return null;
  const number = lastUpTo(records, timeAtX(px), (record) => record.at);
  const standing = standingAt(lane, number);
  return { number, text: standing ? `n${lane} ${standing.role} ${standing.state}, epoch ${standing.epoch}/${standing.opened_by}\nlast ${standing.last} durable ${standing.durable} committed ${standing.committed} applied ${standing.applied}` : `n${lane} is down` };
}

function told(number) {
  return { number, text: `${clock(records[number].at)} s\n${columns(records[number]).join('  ')}` };
}

function nearest(px, py) {
  let best = null;
  let least = 5;
  model.arrows.forEach((arrow) => {
    if (arrow.record.kind === 'beat' && !layers.beats) return;
    const [left, top] = [x(arrow.at), nodeLine(arrow.from)];
    const arrives = arrow.heard !== null;
    const right = arrives ? x(arrow.heard) : left + 14;
    const bottom = arrives ? nodeLine(arrow.to) : top + Math.sign(arrow.to - arrow.from) * NODE * 0.45;
    if (Math.max(left, right) < px - 6 || Math.min(left, right) > px + 6) return;
    const length = Math.hypot(right - left, bottom - top) || 1;
    const along = Math.max(0, Math.min(1, ((px - left) * (right - left) + (py - top) * (bottom - top)) / (length * length)));
    const off = Math.hypot(px - left - along * (right - left), py - top - along * (bottom - top));
    if (off < least) { least = off; best = arrow; }
  });
  return best;
}

function onMouse() {
  let held = null;
  scene.onmousedown = (event) => { held = { px: event.offsetX, from: sight.from, room: sight.to - sight.from, moved: false }; };
  window.addEventListener('mouseup', (event) => {
    if (held && !held.moved && event.target === scene) {
      const thing = under(event.offsetX, event.offsetY);
      if (thing) choose(thing.number, true);
    }
    held = null;
  });
  scene.onmousemove = (event) => {
    if (held && Math.abs(event.offsetX - held.px) > 3) held.moved = true;
    if (held?.moved) { look(held.from - ((event.offsetX - held.px) / width()) * held.room, held.room); tip.hidden = true; return; }
    const thing = event.offsetX > LEFT ? under(event.offsetX, event.offsetY) : null;
    tip.hidden = !thing;
    if (!thing) return;
    tip.textContent = thing.text;
    const box = scene.parentElement;
    tip.style.left = `${Math.min(event.offsetX + 14, box.clientWidth - tip.offsetWidth - 8)}px`;
    tip.style.top = `${event.offsetY - box.scrollTop + 52 + (event.offsetY - box.scrollTop > box.clientHeight - 120 ? -90 : 0)}px`;
  };
  scene.onmouseleave = () => { tip.hidden = true; };
  scene.addEventListener('wheel', (event) => {
    if (event.shiftKey) return;
    event.preventDefault();
    const middle = sight.from + ((event.offsetX - LEFT) / width()) * (sight.to - sight.from);
    zoom(event.deltaY > 0 ? 1.18 : 1 / 1.18, middle);
  }, { passive: false });
  map.onclick = (event) => {
    const at = ((event.offsetX - 7) / (map.clientWidth - 28)) * end;
    choose(Math.max(0, lastUpTo(records, at, (record) => record.at)));
  };
}

function onKeys() {
  document.addEventListener('keydown', (event) => {
    if (event.target.tagName === 'INPUT' && event.target.type === 'search') return;
    const does = {
      ArrowLeft: () => step(event.shiftKey ? -10 : -1), ArrowRight: () => step(event.shiftKey ? 10 : 1),
      Home: () => choose(0), End: () => choose(records.length - 1), e: toError, f: fit,
      '+': () => zoom(0.6), '=': () => zoom(0.6), '-': () => zoom(1.7), t: () => rescale(sight.scale === 'steps' ? 'time' : 'steps'),
    }[event.key];
    if (!does) return;
    event.preventDefault();
    does();
  });
}

function rescale(scale) {
  const [from, to] = sight.scale === 'steps' ? [timeAt(sight.from), timeAt(sight.to)] : [sight.from, sight.to];
  sight.scale = scale;
  byId('scale').value = scale;
  look(place(from), Math.max(1, place(to) - place(from)));
}

function layer(name, title) {
  const label = document.createElement('label');
  const box = document.createElement('input');
  box.type = 'checkbox';
  box.checked = layers[name];
  box.onchange = () => { layers[name] = box.checked; nameLanes(); redraw(); };
  label.append(box, ` ${title}`);
  byId('layers').append(label);
}

function tellColours() {
  const colours = [
    ...Object.entries(KINDS).filter(([kind]) => kind !== 'welcome').map(([kind, colour]) => [kind === 'hello' ? 'hello, welcome' : kind, colour]),
    ['lost ✕', ink('--bad')], ['disk sync', ink('--accent')], ['disk write', ink('--quiet')],
    ...Object.entries(ANSWERS).map(([answer, colour]) => [`op ${answer}`, colour]),
  ];
  byId('legend').replaceChildren(...colours.map(([text, colour]) => {
    const [entry, swatch] = [document.createElement('span'), document.createElement('span')];
    swatch.className = 'swatch';
    swatch.style.background = colour;
    entry.append(swatch, text);
    return entry;
  }));
}

function nameLanes() {
  giveRoom();
  const names = byId('names');
  const name = (text, top, kind) => {
    const made = document.createElement('div');
    made.textContent = text;
    made.className = kind;
    made.style.top = `${top}px`;
    return made;
  };
  const lanes = [name('faults', TOP - 3, 'client')];
  model.nodes.forEach((node, number) => lanes.push(name(`n${number}`, nodeLine(number) - 10, 'node')));
  if (layers.clients) model.clients.forEach((client, number) => lanes.push(name(number === model.operator ? 'operator' : `c${number}`, clientLine(number) - 9, 'client')));
  names.replaceChildren(...lanes);
}

function begin() {
  byId('verdict').textContent = run.failed ? `✗ ${run.oracle}` : '✓ every oracle is content';
  byId('verdict').classList.add(run.failed ? 'bad' : 'good');
  const missing = run.left_out > 0 ? `  ·  ${run.left_out} early records are left out` : '';
  byId('cause').textContent = `${run.failed ? `${clock(run.failed_at)} s: ${run.cause}` : run.what}${missing}`;
  byId('script').textContent = run.script;
  byId('to-error').disabled = !run.failed;
  byId('slider').max = Math.max(0, records.length - 1);
  byId('slider').oninput = (event) => choose(Number(event.target.value));
  byId('to-start').onclick = () => choose(0);
  byId('back').onclick = () => step(-1);
  byId('forward').onclick = () => step(1);
  byId('to-error').onclick = toError;
  byId('fit').onclick = fit;
  byId('zoom-in').onclick = () => zoom(0.6);
  byId('zoom-out').onclick = () => zoom(1.7);
  byId('scale').onchange = (event) => rescale(event.target.value);
  byId('filter').oninput = (event) => {
    const words = event.target.value.toLowerCase().split(/\s+/).filter((word) => word.length > 0);
    wanted = words.length > 0 ? words : null;
    showEvents();
  };
  layer('messages', 'messages');
  layer('beats', 'heartbeats');
  layer('disk', 'disks');
  layer('clients', 'clients');
  onMouse();
  onKeys();
  nameLanes();
  tellColours();
  window.addEventListener('resize', () => { nameLanes(); redraw(); });
  toError();
  draw();
  // For whoever looks without eyes.
  Object.assign(document.body.dataset, {
    lanes: model.nodes.length + model.clients.length,
    arrows: model.arrows.filter((arrow) => arrow.fate === 'heard').length,
    lost: model.arrows.filter((arrow) => arrow.fate === 'lost').length,
    syncs: model.nodes.reduce((sum, node) => sum + node.disk.filter((step) => step.record.sync).length, 0),
    epochs: model.epochs.length,
    faults: model.faults.length,
    error: run.failed ? String(sight.now) : '',
    ready: 'yes',
  });
}

begin();
